package tofu

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/hashicorp/terraform-config-inspect/tfconfig"
	tfjson "github.com/hashicorp/terraform-json"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/sandbox"
	"flywheel.dev/flywheel/internal/sandbox/proxy"
	"flywheel.dev/flywheel/internal/tofu/supervisor"
)

const (
	lockFile        = ".terraform.lock.hcl"
	backendOverride = "flywheel_override.tf"
	workspaceFile   = "workspace.json"
)

var digestForm = regexp.MustCompile(`^[a-z0-9]+[:-][a-f0-9]{8,128}$`)

func (w Workspace) module() string { return filepath.Join(w.Dir, "module") }
func (w Workspace) data() string   { return filepath.Join(w.Dir, "data") }
func (w Workspace) config() string { return filepath.Join(w.Dir, "engine.tfrc") }

// Prepare returns the workspace of a pattern digest, and makes it from moduleDir if it is not there:
// a copy of the module whose backend is Flywheel's, after init. It may be called by many at once, also
// from several servers on one folder; a workspace that is there is whole. The fault init.failed carries
// what the engine said.
func (s *Service) Prepare(ctx context.Context, digest, moduleDir string) (Workspace, error) {
	if !digestForm.MatchString(digest) {
		return Workspace{}, fmt.Errorf("tofu: %q is not a digest", digest)
	}
	// Another engine would not find what this one has installed.
	name := strings.ReplaceAll(digest, ":", "-") + "-" + s.Engine.Name + "-" + s.Engine.Version
	final := filepath.Join(s.Dir, name)
	if w, err := openWorkspace(final); err == nil {
		return w, nil
	}
	w, err, _ := s.preparing.Do(name, func() (any, error) { return s.prepare(context.WithoutCancel(ctx), digest, moduleDir, final) })
	if err != nil {
		return Workspace{}, err
	}
	return w.(Workspace), nil
}

func openWorkspace(dir string) (Workspace, error) {
	w := Workspace{Dir: dir}
	b, err := os.ReadFile(filepath.Join(dir, workspaceFile))
	if err != nil {
		return Workspace{}, err
	}
	return w, json.Unmarshal(b, &w)
}

func (s *Service) prepare(ctx context.Context, digest, moduleDir, final string) (Workspace, error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return Workspace{}, err
	}
	part, err := os.MkdirTemp(s.Dir, ".preparing-")
	if err != nil {
		return Workspace{}, err
	}
	defer sandbox.RemoveAll(part)
	w := Workspace{Digest: digest, Dir: part, Own: usesOwnProvider(moduleDir)}
	if err := s.fill(w, moduleDir); err != nil {
		return Workspace{}, err
	}
	text := []byte("# The state belongs to Flywheel; each run brings its own address and token.\nterraform {\n  backend \"http\" {}\n}\n")
	if err := os.WriteFile(filepath.Join(w.module(), backendOverride), text, 0o600); err != nil {
		return Workspace{}, err
	}
	if err := s.init(ctx, w); err != nil {
		return Workspace{}, err
	}
	meta, err := json.Marshal(w)
	if err != nil {
		return Workspace{}, err
	}
	if err := os.WriteFile(filepath.Join(part, workspaceFile), meta, 0o600); err != nil {
		return Workspace{}, err
	}
	// Whoever comes second finds the folder taken, by a workspace as good as this one.
	if err := os.Rename(part, final); err != nil && !errors.Is(err, fs.ErrExist) {
		return Workspace{}, err
	}
	return openWorkspace(final)
}

// fill makes the folders of a workspace that is not initialised.
func (s *Service) fill(w Workspace, moduleDir string) error {
	if err := copyModule(moduleDir, w.module()); err != nil {
		return err
	}
	if err := os.MkdirAll(w.data(), 0o700); err != nil {
		return err
	}
	return os.WriteFile(w.config(), []byte(s.engineConfig()), 0o600)
}

// engineConfig says where providers may come from; an empty block means from nowhere.
func (s *Service) engineConfig() string {
	var b strings.Builder
	b.WriteString("disable_checkpoint = true\nprovider_installation {\n")
	if s.Mirror != "" {
		fmt.Fprintf(&b, "  filesystem_mirror {\n    path = %q\n  }\n", s.Mirror)
	}
	if s.Registry {
		b.WriteString("  direct {}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// init runs the engine's init in a workspace. The backend asks for the state while it is initialised; it
// is told that there is none, so that no instance plays a part in a workspace.
func (s *Service) init(ctx context.Context, w Workspace) error {
	dir, err := os.MkdirTemp("", "flywheel-init-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "state.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	empty := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute}
	defer empty.Close()
	go empty.Serve(listener)
	_, err = s.runInit(ctx, w, supervisor.Call{StateSocket: socket, StatePath: "/"})
	return err
}

// initDisk is what the modules and providers of one pattern may take.
const initDisk = 10 << 30

// runInit returns the fault init.failed together with what the engine named, the first cause first.
func (s *Service) runInit(ctx context.Context, w Workspace, c supervisor.Call, more ...string) ([]Problem, error) {
	ctx, cancel := context.WithTimeout(ctx, or(s.Timeouts.Init, 5*time.Minute))
	defer cancel()
	box, err := s.box()
	if err != nil {
		return nil, err
	}
	c.Args = append([]string{"init", "-input=false", "-no-color"}, more...)
	if s.Engine.initTellsJSON() {
		c.Args = append(c.Args, "-json")
	}
	if _, err := os.Stat(filepath.Join(w.module(), lockFile)); err == nil {
		c.Args = append(c.Args, "-lockfile=readonly")
	}
	c.Engine, c.Dir, c.Env = s.Engine.Path, w.module(), append(engineEnv(box, w.data(), w.config(), w.data()), notServed)
	c.Readable, c.Writable, c.Disk = dirOf(s.Mirror), []string{w.Dir}, initDisk
	hosts := &proxy.Proxy{Allow: s.RegistryHosts}
	if s.Registry {
		c.Fetch = hosts.Serve
	}
	var out, said bytes.Buffer
	err = c.Run(ctx, box, &out, &said)
	var f *fault.Fault
	switch code, _ := supervisor.ExitOf(err); {
	case err == nil:
		return nil, s.checkLoaded(w)
	case ctx.Err() != nil:
		return nil, fault.New(fault.Unavailable, "init.timeout", "The module could not be initialised in %s.", or(s.Timeouts.Init, 5*time.Minute)).Because(err)
	case errors.As(err, &f) || code < 0:
		return nil, err
	}
	problems := w.named("init", out.Bytes())
	if len(problems) == 0 {
		problems = []Problem{{Code: "init", Message: w.relative(clip(strings.TrimSpace(said.String())))}}
	}
	f = fault.New(fault.Invalid, "init.failed", "The module cannot be initialised.").
		Do("Correct what the engine names; a module may use only providers and modules that are allowed and reachable.").Because(err)
	for _, p := range problems {
		f.At(cmp.Or(p.Where(), "init"), "%s", p.Message)
	}
	if refused := hosts.Refused(); len(refused) > 0 {
		f.At("network", "Init may not fetch from %s; an operator can add a host with --registry-host.", strings.Join(refused, ", "))
	}
	return problems, f
}

// initTellsJSON reports whether init of the engine can answer in JSON lines.
func (e Engine) initTellsJSON() bool {
	v, err := semver.NewVersion(e.Version)
	since := map[string]string{"tofu": "1.9.0", "terraform": "1.10.0"}[e.Name]
	return err == nil && !v.LessThan(semver.MustParse(since))
}

// named returns the errors in the JSON lines of a command, in their order, each once and with the paths of the module.
func (w Workspace) named(command string, out []byte) []Problem {
	problems := []Problem{}
	for line := range bytes.Lines(out) {
		var message struct{ Diagnostic *tfjson.Diagnostic }
		if json.Unmarshal(line, &message) != nil || message.Diagnostic == nil || message.Diagnostic.Severity != tfjson.DiagnosticSeverityError {
			continue
		}
		if p := w.problem(command, *message.Diagnostic); !slices.Contains(problems, p) {
			problems = append(problems, p)
		}
	}
	return problems
}

func (w Workspace) problem(command string, d tfjson.Diagnostic) Problem {
	p := problemOf(command, d)
	p.File, p.Message = w.relative(p.File), w.relative(p.Message)
	return p
}

// relative leaves out where the module lies on this machine.
func (w Workspace) relative(text string) string {
	return strings.NewReplacer(w.module()+"/", "", w.module(), "the module", w.Dir+"/", "", w.Dir, "the workspace").Replace(text)
}

// checkLoaded refuses a workspace whose engine loads what the gate has not read.
func (s *Service) checkLoaded(w Workspace) error {
	problems, err := loaded(w.module(), w.data(), s.Allow)
	if err != nil || len(problems) == 0 {
		return err
	}
	f := fault.New(fault.Invalid, "init.refused", "The module uses what no pattern may use.").Do("Correct what is named, and push again.")
	for _, p := range problems {
		f.At(p.Where(), "%s", p.Message)
	}
	return f
}

// clip bounds what an engine says to what a person reads.
func clip(s string) string {
	const most = 4000
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + " …"
}

// copyModule copies the files of a module. What an engine made is left out, and what is neither file nor
// folder is refused: a link could point anywhere.
func copyModule(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir() && slices.Contains([]string{".git", ".terraform"}, d.Name()):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(target, 0o700)
		case !d.Type().IsRegular():
			return fault.New(fault.Invalid, "module.link", "%s is neither a file nor a folder.", rel).Do("Replace it by the file itself.")
		case strings.HasSuffix(d.Name(), ".tfstate"), rel == backendOverride:
			return nil
		}
		return copyFile(path, target)
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// usesOwnProvider reports whether the module or a module inside it needs Flywheel's provider.
func usesOwnProvider(dir string) bool {
	uses := false
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || uses {
			return err
		}
		module, _ := tfconfig.LoadModule(path) // what it cannot read, init refuses
		if module != nil {
			for _, p := range module.RequiredProviders {
				uses = uses || p.Source == ProviderAddress
			}
		}
		return nil
	})
	return uses
}

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}
