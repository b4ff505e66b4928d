package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing/fstest"
	"time"

	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/git"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/server"
)

const (
	tenPattern = `apiVersion: flywheel.dev/v1
kind: Pattern
metadata: {name: ten, title: Ten resources, owner: coe}
spec:
  variables:
    size: {control: team, minimum: 1, maximum: 100}
  artifact: {variable: artifact}
  release: {driver: noop}
`
	tenModule = `variable "artifact" {
  description = "Digest of the app's artifact. Flywheel sets it."
  type        = string
  default     = "none"
}

variable "size" {
  type    = number
  default = 10
}

resource "terraform_data" "x" {
  count = var.size
  input = "value-${count.index}"
}
`
)

// engine measures variable-lane deployments of ten resources against the same by hand: init, plan -out,
// show -json, apply, with the same engine, each time for an instance that has nothing yet. The two take
// turns, alone and two at a time; first without the platform around the engine, then whole deployments.
func (b *bench) engine(ctx context.Context) error {
	if err := b.engineAlone(ctx); err != nil {
		return err
	}
	l, err := b.newLive(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	v, err := addPattern(ctx, l.db, l.server.Patterns, filepath.Join(l.dir, "ten"), map[string]string{"pattern.yaml": tenPattern, "main.tf": tenModule})
	if err != nil {
		return err
	}
	desired := app.Desired{Pattern: v.Pattern, Version: v.Version, Digest: v.Digest, Variables: map[string]any{"size": 10}, Artifact: "none"}
	if err := l.deployNew(ctx, "warm", desired); err != nil { // prepares the workspace: paid once for a pattern version
		return err
	}
	const rounds = 7
	for width := 1; width <= 2; width++ {
		var hand, ours []time.Duration
		for i := range rounds {
			took, err := together(width, func(int) error { return byHand(ctx, l.server.Engine.Path) })
			if err != nil {
				return err
			}
			hand = append(hand, took)
			took, err = together(width, func(w int) error { return l.deployNew(ctx, fmt.Sprintf("ten-%d-%d-%d", width, i, w), desired) })
			if err != nil {
				return err
			}
			ours = append(ours, took)
		}
		b.note(fmt.Sprintf("%s by hand, ten resources, %d at a time", l.server.Engine.Name, width), millis(median(hand)), "ms")
		b.note("  a whole deployment: prepare, plan, policy, apply, verify, record", millis(median(ours)), "ms")
		b.atMost("  deployment / by hand", float64(median(ours))/float64(median(hand)), 1, "×")
	}
	return nil
}

var ratio = regexp.MustCompile(`BenchmarkDeployment/(\w+)/(\d)-at-a-time\S*\s.*?([\d.]+) ratio`)

// engineAlone runs the benchmark of package tofu: plan and apply under the supervisor, and nothing else.
func (b *bench) engineAlone(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "BenchmarkDeployment", "-benchtime", "7x", "./internal/tofu").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	for _, m := range ratio.FindAllStringSubmatch(string(out), -1) {
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return err
		}
		b.atMost(fmt.Sprintf("%s: plan and apply of ten resources / by hand, %s at a time", m[1], m[2]), value, 1, "×")
	}
	return nil
}

func together(width int, do func(int) error) (time.Duration, error) {
	began := time.Now()
	var all sync.WaitGroup
	failures := make(chan error, width)
	for w := range width {
		all.Go(func() { failures <- do(w) })
	}
	all.Wait()
	took := time.Since(began)
	for range width {
		if err := <-failures; err != nil {
			return 0, err
		}
	}
	return took, nil
}

func byHand(ctx context.Context, engine string) error {
	dir, err := os.MkdirTemp("", "by-hand-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(tenModule), 0o600); err != nil {
		return err
	}
	for _, line := range []string{"init -input=false", "plan -input=false -out=plan", "show -json plan", "apply -input=false plan"} {
		cmd := exec.CommandContext(ctx, engine, strings.Fields(line)...)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "CHECKPOINT_DISABLE=1"}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", line, err, out)
		}
	}
	return nil
}

// live is a whole Flywheel in this process, with an agent and engines beside it.
type live struct {
	*platform
	server *server.Server
	dir    string
}

func (b *bench) newLive(ctx context.Context) (*live, error) {
	dir, err := b.folder("live")
	if err != nil {
		return nil, err
	}
	l := &live{dir: dir}
	if l.server, err = server.New(ctx, server.Options{Data: filepath.Join(dir, "data"), Listen: "127.0.0.1:0", Self: b.flywheel, Log: b.log}); err != nil {
		return nil, err
	}
	l.platform = &platform{db: l.server.DB, deploy: l.server.Deploy, done: map[string]chan error{}}
	if err := l.server.Start(ctx); err != nil {
		l.server.Stop()
		return nil, err
	}
	l.follow(ctx)
	if _, err = untilAgent(ctx, l.server.Options.Data); err == nil {
		err = addEnvironment(ctx, l.db)
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *live) close() {
	l.stop()
	l.server.Stop()
	stopAgent(l.server.Options.Data)
}

// deployNew deploys a new app.
func (l *live) deployNew(ctx context.Context, app string, desired app.Desired) error {
	done := make(chan error, 1)
	err := l.db.Write(ctx, func(tx *db.Tx) error {
		if err := addApp(tx, app); err != nil {
			return err
		}
		return l.rollout(tx, app, desired, done)
	})
	if err != nil {
		return err
	}
	return wait(ctx, done)
}

const flywheelYAML = `apiVersion: flywheel.dev/v1
kind: App
metadata: {name: %s, team: bench}
spec:
  pattern: {name: %s, version: "1.0.0"}
  build: {command: "true", artifact: dist/}
  test: {command: "true"}
  environments: {prod: {}}
`

// repository gives an app a repository: a deployment that probes looks there for a smoke test.
func (l *live) repository(ctx context.Context, app, pattern string) (err error) {
	l.commit, err = l.server.Git.Create(ctx, git.App(app), git.Identity{Name: "bench", Email: "bench@example.com"},
		fstest.MapFS{"flywheel.yaml": {Data: fmt.Appendf(nil, flywheelYAML, app, pattern)}}, "Begin")
	return err
}

// certify makes a certified version of a pattern that is on disk.
func (l *live) certify(ctx context.Context, dir, name string) (v pattern.Version, err error) {
	if v, err = l.server.Patterns.Add(ctx, name, "1.0.0", dir, "0"); err != nil {
		return v, err
	}
	return v, l.db.Write(ctx, func(tx *db.Tx) error { return l.server.Patterns.Certify(tx, v, "") })
}
