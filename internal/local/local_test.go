package local

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/patience"
)

// appBinary is testdata/app, built once for all tests.
var appBinary string

// TestMain is also the agent: EnsureAgent starts this binary again. The first process inside a sandbox
// starts from an init function of package sandbox.
func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == "agent" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		err := RunAgent(ctx, AgentOptions{
			Data: os.Args[3], Version: "test", Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
			SandboxOff: slices.Contains(os.Args, "--sandbox=off"), HomeMB: map[bool]int{true: 8}[slices.Contains(os.Args, "--home-mb=8")],
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "local-test-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	appBinary = filepath.Join(dir, "app")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", appBinary, "./testdata/app")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "the test app cannot be built: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// startAgent runs an agent in a process of its own until the test ends.
func startAgent(t *testing.T, flags ...string) (*Client, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "agent")
	return startAgentIn(t, dir, flags...), dir
}

// ensureAgent returns a client for the instance that most tests are about.
func ensureAgent(t *testing.T, dir string, flags ...string) (*Client, error) {
	agent, err := EnsureAgent(t.Context(), dir, "", flags...)
	if err == nil {
		agent.Instance = "ins_shop"
	}
	return agent, err
}

func startAgentIn(t *testing.T, dir string, flags ...string) *Client {
	t.Helper()
	agent, err := ensureAgent(t, dir, flags...)
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "agent.log"))
		t.Fatalf("%v\n%s", err, log)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience.Of(patience.Limit))
		defer cancel()
		if health, err := agent.Health(ctx); err == nil {
			agent.Stop(ctx)
			awaitEnd(t, health.Pid)
		}
		log, _ := os.ReadFile(filepath.Join(dir, "agent.log"))
		if bytes.Contains(log, []byte("DATA RACE")) || bytes.Contains(log, []byte("panic")) {
			t.Error("the agent raced or panicked")
		}
		if t.Failed() {
			t.Logf("agent.log:\n%s", log)
		}
		removeTree(dir)
	})
	return agent
}

// eventually waits for a condition, which says what is missing.
func eventually(t *testing.T, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(patience.Of(patience.Limit))
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	eventually(t, func() error {
		// A process that ended and was not waited for yet has no command line.
		if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && len(line) > 0 {
			return fmt.Errorf("process %d still runs: %q", pid, line)
		}
		return nil
	})
}

// artifact packs the test app and brings it to the agent.
func artifact(t *testing.T, agent *Client, version, mode string) string {
	t.Helper()
	digest, archive := pack(t, version, mode)
	must(t, agent.PutArtifact(t.Context(), digest, archive))
	return digest
}

// tryArtifact brings an artifact that may be refused.
func tryArtifact(t *testing.T, agent *Client, version string) error {
	t.Helper()
	digest, archive := pack(t, version, "")
	return agent.PutArtifact(t.Context(), digest, archive)
}

func pack(t *testing.T, version, mode string) (string, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Link(appBinary, filepath.Join(dir, "app")))
	must(t, os.WriteFile(filepath.Join(dir, "version"), []byte(version), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "mode"), []byte(mode), 0o644))
	var archive bytes.Buffer
	digest, err := PackDir(&archive, dir)
	must(t, err)
	return digest, &archive
}

func shop(artifact string) Service {
	return Service{Instance: "ins_shop", Name: "shop", Artifact: artifact, Command: []string{"./app"}, MemoryMB: 128, StartSec: 10}
}

func apply(t *testing.T, agent *Client, s Service) Status {
	t.Helper()
	status, err := agent.ApplyService(t.Context(), s)
	must(t, err)
	if status.Health != Healthy || len(status.Processes) != max(1, s.Instances) {
		t.Fatalf("after apply the service is %+v", status)
	}
	return status
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v\n%+v", err, fault.From(err))
	}
}

func wantFault(t *testing.T, err error, code string) *fault.Fault {
	t.Helper()
	if !fault.Is(err, code) {
		t.Fatalf("got %v, want the fault %s", err, code)
	}
	return fault.From(err)
}

// get returns the answer to a GET that must succeed.
func get(t *testing.T, url string) string {
	t.Helper()
	code, text := ask(t, url)
	if code != http.StatusOK {
		t.Fatalf("GET %s: %d %s", url, code, text)
	}
	return text
}

func ask(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	must(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(t, err)
	return response.StatusCode, strings.TrimSpace(string(text))
}

func version(t *testing.T, s Status) string {
	t.Helper()
	version, _, _ := strings.Cut(get(t, s.URL+"/version"), " ")
	return version
}
