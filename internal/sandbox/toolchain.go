package sandbox

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/fault"
)

// CacheDir is where a build binds the writable cache of its app. Toolchains keep theirs in it.
const CacheDir = "/cache"

// Toolchain is what a language needs from the host to build.
type Toolchain struct {
	Name  string
	Binds []Bind   // read-only
	Env   []string // with a PATH of its own, see Spec.Env
	Hosts []string // what its packages are fetched from, for Proxy.Allow
}

var toolchains = map[string]func(context.Context) (Toolchain, error){"go": goToolchain, "node": nodeToolchain}

// FindToolchain returns the toolchain of this name as the host has it.
func FindToolchain(ctx context.Context, name string) (Toolchain, error) {
	find, ok := toolchains[name]
	if !ok {
		known := slices.Sorted(maps.Keys(toolchains))
		return Toolchain{}, fault.New(fault.Invalid, "toolchain.unknown", "There is no toolchain %q.", name).
			Do("The platform has: %s.", strings.Join(known, ", "))
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	t, err := find(ctx)
	if err != nil {
		return Toolchain{}, fault.New(fault.Unavailable, "toolchain.missing", "The toolchain %q is not installed where Flywheel runs.", name).
			Do("Install it, or build elsewhere and post the result.").Because(err)
	}
	return t, nil
}

func goToolchain(ctx context.Context) (Toolchain, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOROOT")
	cmd.Dir = "/" // the go.mod of another folder must not choose
	out, err := cmd.Output()
	if err != nil {
		return Toolchain{}, err
	}
	root, err := filepath.EvalSymlinks(strings.TrimSpace(string(out)))
	if err != nil {
		return Toolchain{}, err
	}
	return Toolchain{
		Name: "go", Binds: outsideUsr(root),
		Env: []string{
			"PATH=" + root + "/bin", "GOROOT=" + root, "GOTOOLCHAIN=local", "GOENV=off", "GOTELEMETRY=off",
			"GOCACHE=" + CacheDir + "/go-build", "GOMODCACHE=" + CacheDir + "/go-mod",
		},
		Hosts: []string{"proxy.golang.org", "sum.golang.org", "storage.googleapis.com"},
	}, nil
}

func nodeToolchain(context.Context) (Toolchain, error) {
	path, err := exec.LookPath("node")
	if err != nil {
		return Toolchain{}, err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return Toolchain{}, err
	}
	// Not the folder above both, which may be somebody's home.
	bin := filepath.Dir(path)
	modules := filepath.Join(bin, "../lib/node_modules")
	return Toolchain{
		Name: "node", Binds: append(outsideUsr(bin), outsideUsr(modules)...),
		Env:   []string{"PATH=" + bin, "npm_config_cache=" + CacheDir + "/npm", "npm_config_update_notifier=false", "NO_UPDATE_NOTIFIER=1"},
		Hosts: []string{"registry.npmjs.org"},
	}, nil
}

// outsideUsr returns the bind that shows a folder, or none where there is none or the base system shows it.
func outsideUsr(dir string) []Bind {
	if _, err := os.Stat(dir); err != nil || dir == "/usr" || strings.HasPrefix(dir, "/usr/") {
		return nil
	}
	return []Bind{{Source: dir, Target: dir}}
}
