package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/deploy"
	"flywheel.dev/flywheel/internal/local"
	"flywheel.dev/flywheel/internal/sandbox"
)

// storefront measures a software-lane release through the local agent against starting the same process by
// hand until its health check passes. They take turns. A release runs in a sandbox, beside the process that
// runs and is then drained, and ends with a verified address and a record.
//
// As in the product, an artifact is brought to the agent and the release prepared when it is built, while
// its change merges: what that takes is measured apart. A cold release is one of an artifact that the agent
// has never seen, as after the loss of its folder.
func (b *bench) storefront(ctx context.Context) error {
	l, err := b.newLive(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	v, err := l.certify(ctx, "examples/patterns/web-service", "web-service")
	if err != nil {
		return err
	}
	built := filepath.Join(l.dir, "built")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(built, "app"), "./examples/storefront")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("the storefront cannot be built: %w\n%s", err, out)
	}
	desired := app.Desired{Pattern: v.Pattern, Version: v.Version, Digest: v.Digest, Variables: map[string]any{"instances": 1}}
	if desired.Artifact, err = l.artifact(ctx, built, 0); err != nil {
		return err
	}
	const shop = "storefront"
	if err := l.repository(ctx, shop, v.Pattern); err != nil {
		return err
	}
	if err := l.deployNew(ctx, shop, desired); err != nil {
		return err
	}
	rollout := &timed{Driver: l.deploy.Drivers["local"]}
	l.deploy.Drivers["local"] = rollout
	const rounds = 15
	var hand, boxed, prepared, ours, alone, cold, known []time.Duration
	for i := range rounds {
		took, err := startByHand(ctx, built)
		if err != nil {
			return err
		}
		hand = append(hand, took)
		if took, err = l.startBoxed(ctx, built); err != nil {
			return err
		}
		boxed = append(boxed, took)
		before := desired
		if desired.Artifact, err = l.artifact(ctx, built, 2*i+1); err != nil {
			return err
		}
		began := time.Now()
		if err := l.deploy.Prepare(ctx, shop, desired.Artifact); err != nil {
			return err
		}
		prepared = append(prepared, time.Since(began))
		if took, err = l.release(ctx, shop, desired); err != nil {
			return err
		}
		ours, alone = append(ours, took), append(alone, rollout.took)
		if took, err = l.release(ctx, shop, before); err != nil {
			return err
		}
		known = append(known, took)
		if desired.Artifact, err = l.artifact(ctx, built, 2*i+2); err != nil {
			return err
		}
		if took, err = l.release(ctx, shop, desired); err != nil {
			return err
		}
		cold = append(cold, took)
	}
	b.note("Storefront started by hand until it is healthy", millis(median(hand)), "ms")
	b.note("  the same in the sandbox, with nothing around it", millis(median(boxed)), "ms")
	b.note("  artifact brought and sandbox prepared, when it is built, before its change merges", millis(median(prepared)), "ms")
	b.note("  then released, admission to record: start in the sandbox, health, switch, probe", millis(median(ours)), "ms")
	b.note("    of which the rollout: the driver's part, until the new process serves at the stable address", millis(median(alone)), "ms")
	b.note("    the release step alone / by hand", float64(median(alone))/float64(median(hand)), "×")
	b.atMost("  the whole deployment: released / by hand", float64(median(ours))/float64(median(hand)), 1.5, "×")
	b.atMost("  released / by hand in the same sandbox", float64(median(ours))/float64(median(boxed)), 1.5, "×")
	b.note("  released without preparation, the agent has the artifact (a rollback)", millis(median(known)), "ms")
	b.note("  released cold, the agent has never seen the artifact", millis(median(cold)), "ms")
	return nil
}

// timed is a release driver that says how long its last release took. Deployments are one at a time here.
type timed struct {
	deploy.Driver
	took time.Duration
}

func (t *timed) Release(ctx context.Context, r deploy.Rollout) error {
	began := time.Now()
	defer func() { t.took = time.Since(began) }()
	return t.Driver.Release(ctx, r)
}

// artifact stores another artifact that does the same and returns its digest.
func (l *live) artifact(ctx context.Context, dir string, n int) (string, error) {
	if err := os.WriteFile(filepath.Join(dir, "release"), []byte(strconv.Itoa(n)), 0o600); err != nil {
		return "", err
	}
	file, err := os.CreateTemp(l.dir, "artifact-")
	if err != nil {
		return "", err
	}
	defer file.Close()
	digest, err := local.PackDir(file, dir)
	if err != nil {
		return "", err
	}
	_, err = app.PutArtifact(ctx, l.server.Blobs, digest, file)
	return digest, err
}

func (l *live) release(ctx context.Context, app string, desired app.Desired) (time.Duration, error) {
	began, done := time.Now(), make(chan error, 1)
	if err := l.db.Write(ctx, func(tx *db.Tx) error { return l.rollout(tx, app, desired, done) }); err != nil {
		return 0, err
	}
	err := wait(ctx, done)
	return time.Since(began), err
}

// startByHand returns how long the app takes from its start until its health check passes.
func startByHand(ctx context.Context, dir string) (time.Duration, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	data, err := os.MkdirTemp("", "by-hand-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(data)
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "app"))
	cmd.Env = []string{fmt.Sprintf("PORT=%d", port), "DATA_DIR=" + data}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	return untilHealthy(ctx, began, http.DefaultClient, fmt.Sprintf("http://127.0.0.1:%d/healthz", port))
}

func untilHealthy(ctx context.Context, began time.Time, client *http.Client, url string) (time.Duration, error) {
	for time.Since(began) < 20*time.Second {
		if status, err := get(ctx, client, url); err == nil && status == http.StatusOK {
			return time.Since(began), nil
		}
		time.Sleep(time.Millisecond)
	}
	return 0, fmt.Errorf("the storefront is not healthy after 20 s")
}

// startBoxed returns the same for a start in the sandbox that the agent uses.
func (l *live) startBoxed(ctx context.Context, dir string) (time.Duration, error) {
	const port = 8080
	data, err := os.MkdirTemp(l.dir, "boxed-")
	if err != nil {
		return 0, err
	}
	if err := os.Chmod(data, 0o777); err != nil { // inside, nobody is who owns it
		return 0, err
	}
	began := time.Now()
	cmd, err := l.server.Sandbox.Command(ctx, sandbox.Spec{
		Args: []string{"./app"}, Dir: "/app", Env: []string{fmt.Sprintf("PORT=%d", port), "DATA_DIR=/data"},
		Binds: []sandbox.Bind{{Source: dir, Target: "/app"}, {Source: data, Target: "/data", Writable: true}}, Memory: 256 << 20, Processes: 500,
	})
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		cmd.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
	}()
	inside := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return cmd.Dial(ctx, port) }}}
	return untilHealthy(ctx, began, inside, "http://app/healthz")
}
