package tofu

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/hashicorp/terraform-exec/tfexec"

	"flywheel.dev/flywheel/internal/fault"
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
}

// Find returns the engine to use. The fault engine.missing says how to get one, engine.unusable why the
// one that is there cannot be used.
func Find(ctx context.Context, options FindOptions) (Engine, error) {
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
	version, err := versionOf(ctx, path)
	if err != nil {
		return Engine{}, fault.New(fault.Unavailable, "engine.unusable", "%s does not answer `version -json` like OpenTofu or Terraform.", path).
			Do("Name another engine with --engine.").Because(err)
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

func versionOf(ctx context.Context, path string) (*semver.Version, error) {
	engine, err := tfexec.NewTerraform(os.TempDir(), path)
	if err != nil {
		return nil, err
	}
	// The user's own configuration of the engine plays no part in any run of Flywheel.
	if err := engine.SetEnv(map[string]string{"CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": os.DevNull}); err != nil {
		return nil, err
	}
	version, _, err := engine.Version(ctx, true)
	if err != nil {
		return nil, err
	}
	return semver.NewVersion(version.String())
}
