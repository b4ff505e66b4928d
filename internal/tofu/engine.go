package tofu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/Masterminds/semver/v3"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/sandbox"
	"flywheel.dev/flywheel/internal/tofu/supervisor"
)

// oldest are the first versions that have everything Flywheel uses: tests, JSON output, state over HTTP.
var oldest = map[string]*semver.Version{
	"tofu":      semver.MustParse("1.7.0"),
	"terraform": semver.MustParse("1.7.0"),
}

// FindOptions say where an engine may be.
type FindOptions struct {
	Path  string // of the program; empty means the first of tofu and terraform on PATH, then Cache
	Cache string // folder where `make tofu` leaves what it built
	// Sandbox is what the engine is asked in, as it will run.
	Sandbox *sandbox.Sandbox
}

// Find returns the engine to use. The fault engine.missing says how to get one, engine.unusable why the
// one that is there cannot be used.
func Find(ctx context.Context, options FindOptions) (Engine, error) {
	if options.Sandbox == nil {
		return Engine{}, errors.New("tofu: an engine is looked for without a sandbox")
	}
	path, err := lookup(options)
	if err != nil {
		return Engine{}, fault.New(fault.Unavailable, "engine.missing", "Neither OpenTofu nor Terraform was found.").
			Do("Install one of them, name it with --engine, or run `make tofu` to build OpenTofu.").Because(err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return Engine{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	engine := Engine{Path: path, Name: nameOf(path)}
	version, err := versionOf(ctx, options.Sandbox, path)
	if fault.Is(err, "sandbox.unavailable") {
		return Engine{}, err
	}
	if err != nil {
		return Engine{}, fault.New(fault.Unavailable, "engine.unusable", "%s does not answer `version -json` like OpenTofu or Terraform.", path).
			Do("Name another engine with --engine: the program itself, because it runs in the sandbox and sees nothing beside it.").Because(err)
	}
	engine.Version = version.String()
	if least := oldest[engine.Name]; version.LessThan(least) {
		return Engine{}, fault.New(fault.Unavailable, "engine.old", "%s is version %s; Flywheel needs %s or newer.", path, version, least).
			Do("Install a newer one, or run `make tofu` to build OpenTofu.")
	}
	return engine, nil
}

func lookup(options FindOptions) (string, error) {
	if options.Path != "" {
		return exec.LookPath(options.Path)
	}
	for _, name := range []string{"tofu", "terraform"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	built, err := filepath.Glob(filepath.Join(options.Cache, "tofu-*", "tofu"))
	if err != nil || options.Cache == "" || len(built) == 0 {
		return "", errors.Join(exec.ErrNotFound, err)
	}
	return exec.LookPath(built[len(built)-1])
}

// nameOf tells the engines apart by their file name: `version -json` of both calls itself terraform.
func nameOf(path string) string {
	if base := filepath.Base(path); len(base) >= 4 && base[:4] == "tofu" {
		return "tofu"
	}
	return "terraform"
}

func versionOf(ctx context.Context, box *sandbox.Sandbox, path string) (*semver.Version, error) {
	var said bytes.Buffer
	c := supervisor.Call{Engine: path, Args: []string{"version", "-json"}}
	// The user's own configuration of the engine plays no part in any run of Flywheel.
	c.Env = engineEnv(box, os.DevNull, os.DevNull, os.DevNull)
	if err := c.Run(ctx, box, &said, io.Discard); err != nil {
		return nil, err
	}
	var answer struct {
		Version string `json:"terraform_version"`
	}
	if err := json.Unmarshal(said.Bytes(), &answer); err != nil {
		return nil, err
	}
	return semver.NewVersion(answer.Version)
}
