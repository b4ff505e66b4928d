package tofu_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gocloud.dev/secrets/localsecrets"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/patience"
	"flywheel.dev/flywheel/internal/sandbox"
	"flywheel.dev/flywheel/internal/tofu"
	"flywheel.dev/flywheel/internal/tofu/supervisor"
)

// TestMain lets the test binary be the supervisor too. Plain runs never come here.
func TestMain(m *testing.M) {
	os.Setenv("TF_LOG_SDK", "off") // the plugin library of the test's provider tells every step otherwise
	if len(os.Args) == 3 && os.Args[1] == supervisor.Name {
		os.Exit(tofu.RunSupervisor(os.Args[2], serveProvider))
	}
	os.Exit(m.Run())
}

// eachEngine runs a test with every engine that this machine has; it needs one at least.
func eachEngine(t *testing.T, test func(t *testing.T, engine tofu.Engine)) {
	for _, engine := range engines(t) {
		t.Run(engine.Name, func(t *testing.T) {
			t.Parallel()
			test(t, engine)
		})
	}
}

func engines(t testing.TB) []tofu.Engine {
	t.Helper()
	paths := []string{os.Getenv("FLYWHEEL_TOFU")}
	for _, name := range []string{"tofu", "terraform"} {
		if path, err := exec.LookPath(name); err == nil {
			paths = append(paths, path)
		}
	}
	if home, err := os.UserHomeDir(); err == nil {
		built, _ := filepath.Glob(filepath.Join(home, ".cache", "flywheel", "tofu-*", "tofu"))
		paths = append(paths, built...)
	}
	found := map[string]bool{}
	list := []tofu.Engine{}
	for _, path := range paths {
		if path == "" {
			continue
		}
		engine, err := tofu.Find(t.Context(), tofu.FindOptions{Path: path, Sandbox: box(t)})
		if err != nil {
			t.Fatal(err)
		}
		if !found[engine.Name] {
			found[engine.Name] = true
			list = append(list, engine)
		}
	}
	if len(list) == 0 {
		t.Fatal("neither tofu nor terraform is on PATH; run `make tofu`")
	}
	return list
}

var theBox = sync.OnceValues(func() (*sandbox.Sandbox, error) { return sandbox.New(sandbox.Options{}) })

// box is the sandbox of all tests.
func box(t testing.TB) *sandbox.Sandbox {
	t.Helper()
	s, err := theBox()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// platform is a service with a state backend that engines reach on a socket.
type platform struct {
	*tofu.Service
	db     *db.DB
	runs   string
	socket string
	stop   func() // answering the engines
	count  int
}

func start(t testing.TB, engine tofu.Engine) *platform {
	t.Helper()
	key, err := localsecrets.NewRandomKey()
	if err != nil {
		t.Fatal(err)
	}
	keeper := localsecrets.NewKeeper(key)
	t.Cleanup(func() { keeper.Close() })
	d := dbtest.Open(t)
	p := &platform{db: d, runs: t.TempDir(), socket: filepath.Join(short(t), "state.sock")}
	p.Service = &tofu.Service{
		Engine: engine, Dir: t.TempDir(), States: &tofu.States{DB: d, Keeper: keeper}, StateSocket: p.socket,
		Grace: time.Minute, ServeProvider: serveProvider, Sandbox: box(t),
	}
	p.stop = p.serve(t)
	t.Cleanup(func() { p.stop() })
	return p
}

// serve answers the engines until the returned func is called.
func (p *platform) serve(t testing.TB) (stop func()) {
	t.Helper()
	l, err := net.Listen("unix", p.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: p.States.Handler()}
	go server.Serve(l)
	return func() { server.Close() }
}

// short returns a folder whose path fits into the address of a socket.
func short(t testing.TB) string {
	dir, err := os.MkdirTemp("", "fw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// run returns a fresh run of an instance on a module.
func (p *platform) run(t testing.TB, instance string, module map[string]string) tofu.Run {
	t.Helper()
	w, err := p.Prepare(t.Context(), digest(module), write(t, module))
	if err != nil {
		t.Fatal(err)
	}
	p.count++
	id := fmt.Sprintf("dpl_%d", p.count)
	return tofu.Run{ID: id, Dir: filepath.Join(p.runs, id), Instance: instance, Workspace: w, Fence: 1}
}

func write(t testing.TB, module map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range module {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func digest(module map[string]string) string {
	sum := sha256.Sum256([]byte(fmt.Sprint(module)))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// deploy plans and applies, and expects both to succeed.
func (p *platform) deploy(t testing.TB, r tofu.Run) *tofu.Plan {
	t.Helper()
	planned, err := p.Plan(t.Context(), r)
	if err != nil {
		t.Fatalf("plan: %v\n%s", err, logs(r))
	}
	if _, err := p.Apply(t.Context(), r); err != nil {
		t.Fatalf("apply: %v\n%s", err, logs(r))
	}
	return planned.Plan
}

func logs(r tofu.Run) string {
	var b bytes.Buffer
	filepath.Walk(r.Dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && strings.HasSuffix(path, "log") {
			text, _ := os.ReadFile(path)
			fmt.Fprintf(&b, "%s:\n%s", path, text)
		}
		return nil
	})
	return b.String()
}

// another is a server that knows nothing of what this one has begun.
func (p *platform) another() *tofu.Service {
	return &tofu.Service{Engine: p.Engine, Dir: p.Dir, States: p.States, StateSocket: p.StateSocket, Sandbox: p.Sandbox}
}

// eventually polls until ok, for things that another process does.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience.Of(patience.Limit))
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within 30 s: %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func actions(p *tofu.Plan) map[string]tofu.Action {
	m := map[string]tofu.Action{}
	for _, c := range p.Changes {
		m[c.Address] = c.Action
	}
	return m
}
