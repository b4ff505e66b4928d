package tofu_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/tofu"
	"flywheel.dev/flywheel/internal/tofu/supervisor"
)

var counter = map[string]string{"main.tf": `
variable "size" {
  type    = number
  default = 1
}
variable "password" {
  type      = string
  default   = "none"
  sensitive = true
}
resource "terraform_data" "one" {
  input = var.size
}
resource "terraform_data" "secret" {
  triggers_replace = var.password
}
output "size" {
  value = terraform_data.one.output
}
`}

func TestAPlanIsAppliedAndItsStateIsKept(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		p := start(t, engine)
		r := p.run(t, "ins_a", counter)
		r.Variables = map[string]any{"size": 3}
		planned := p.deploy(t, r)
		if got := actions(planned); got["terraform_data.one"] != tofu.Create || len(got) != 2 {
			t.Errorf("actions: %v", got)
		}
		state, err := p.States.Current(t.Context(), "ins_a")
		if err != nil || !strings.Contains(string(state), `"value":3`) && !strings.Contains(string(state), `"value": 3`) {
			t.Errorf("state: %s, %v", state, err)
		}

		again := p.run(t, "ins_a", counter)
		again.Variables = map[string]any{"size": 3}
		result, err := p.Plan(t.Context(), again)
		if err != nil || !result.Plan.Empty() {
			t.Errorf("the same again is not empty: %+v, %v", result.Plan, err)
		}

		other := p.run(t, "ins_b", counter)
		if result, err := p.Plan(t.Context(), other); err != nil || actions(result.Plan)["terraform_data.one"] != tofu.Create {
			t.Errorf("another instance does not start empty: %v, %v", result.Plan, err)
		}

		gone := p.run(t, "ins_a", counter)
		gone.Destroy = true
		if planned := p.deploy(t, gone); actions(planned)["terraform_data.one"] != tofu.Delete {
			t.Errorf("a destroy plan does not delete: %v", actions(planned))
		}
		if err := p.Close(t.Context(), gone); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(gone.ApplyLog()); err != nil {
			t.Error("a closed run has lost its log")
		}
	})
}

func TestASecretIsNowhereInWhatARunLeaves(t *testing.T) {
	const secret = "hunter2\nand \"more\""
	module := map[string]string{"main.tf": `
variable "password" { type = string }
resource "terraform_data" "x" {
  input            = "pre-${var.password}-post"
  triggers_replace = sensitive(var.password)
}
check "leak" {
  assert {
    condition     = var.password == ""
    error_message = "the password is ${var.password}"
  }
}`}
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		p := start(t, engine)
		r := p.run(t, "ins_a", module)
		r.Secrets = map[string]string{"password": secret}
		var live bytes.Buffer
		r.Log = &live
		planned := p.deploy(t, r)
		if err := p.Close(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		shown, _ := json.Marshal(planned)
		if !strings.Contains(string(shown), tofu.SensitiveValue) {
			t.Errorf("the plan does not say that something is hidden: %s", shown)
		}
		left := map[string]string{"live log": live.String(), "plan": string(shown)}
		filepath.WalkDir(r.Dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				text, _ := os.ReadFile(path)
				left[path] = string(text)
			}
			return err
		})
		for where, text := range left {
			if strings.Contains(text, "hunter2") || strings.Contains(text, `more\"`) || strings.Contains(text, `"more"`) {
				t.Errorf("%s holds the secret: %s", where, text)
			}
		}
		state, err := p.States.Current(t.Context(), "ins_a")
		if err != nil || !strings.Contains(string(state), "hunter2") {
			t.Errorf("the engine did not get the secret: %s, %v", state, err)
		}
		if p.db.Path() != "" {
			for _, file := range []string{p.db.Path(), p.db.Path() + "-wal"} {
				if text, _ := os.ReadFile(file); bytes.Contains(text, []byte("hunter2")) {
					t.Errorf("%s holds the secret", file)
				}
			}
		}
	})
}

func TestAFailureNamesFileLineAndReason(t *testing.T) {
	module := map[string]string{"main.tf": `
variable "size" {
  type = number
  validation {
    condition     = var.size < 5
    error_message = "At most four."
  }
}`}
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		p := start(t, engine)
		r := p.run(t, "ins_a", module)
		r.Variables = map[string]any{"size": 9}
		result, err := p.Plan(t.Context(), r)
		var f *fault.Fault
		if !errors.As(err, &f) || f.Code != "engine.failed" || !strings.Contains(f.Fields[0].Message, "At most four.") ||
			!strings.HasPrefix(f.Fields[0].Path, "variables.tfvars.json:1:") && !strings.HasPrefix(f.Fields[0].Path, "main.tf:2:") {
			t.Errorf("fault: %#v", f)
		}
		if result.Outcome != tofu.Failed {
			t.Errorf("outcome: %s", result.Outcome)
		}
		if _, err := p.Apply(t.Context(), r); !fault.Is(err, "run.unplanned") {
			t.Errorf("apply without a plan: %v", err)
		}
	})
}

// slow has a provisioner, which the gate would refuse: here it holds an apply where a test wants it. It runs in
// the folder where the engine works.
var slow = map[string]string{"main.tf": `
variable "seconds" {
  type    = number
  default = 60
}
resource "terraform_data" "first" { input = 1 }
resource "terraform_data" "slow" {
  depends_on = [terraform_data.first]
  provisioner "local-exec" {
    command = "touch reached; for i in $(seq ${var.seconds * 20}); do test -e release && exit 0; sleep 0.05; done"
  }
}
resource "terraform_data" "last" { depends_on = [terraform_data.slow] }`}

func reached(r tofu.Run) bool { return exists(filepath.Join(r.Dir, "work", "reached")) }

func release(t *testing.T, r tofu.Run) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.Dir, "work", "release"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// atOnce is a run of slow that does not wait.
func (p *platform) atOnce(t *testing.T) tofu.Run {
	t.Helper()
	r := p.run(t, "ins_a", slow)
	r.Variables = map[string]any{"seconds": 0}
	return r
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// background applies a planned run and hands over how it ended.
func (p *platform) background(ctx context.Context, t *testing.T, r tofu.Run) <-chan outcome {
	t.Helper()
	if _, err := p.Plan(t.Context(), r); err != nil {
		t.Fatalf("%v\n%s", err, logs(r))
	}
	ended := make(chan outcome, 1)
	go func() {
		result, err := p.Apply(ctx, r)
		ended <- outcome{result, err}
	}()
	return ended
}

type outcome struct {
	tofu.Result
	err error
}

func TestAnApplyOutlivesTheServerThatStartedIt(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		p := start(t, engine)
		r := p.run(t, "ins_a", slow)
		ctx, stop := context.WithCancel(t.Context())
		ended := p.background(ctx, t, r)
		eventually(t, "the apply is under way", func() bool { return reached(r) })
		stop() // the server stops waiting
		if o := <-ended; !errors.Is(o.err, context.Canceled) {
			t.Fatalf("waiting ended with %v", o.err)
		}

		next := p.another() // knows nothing of it
		release(t, r)
		result, err := next.Apply(t.Context(), r)
		if err != nil || result.Outcome != tofu.Succeeded || len(result.Commands) != 1 {
			t.Fatalf("%+v, %v\n%s", result, err, logs(r))
		}
		if versions, err := p.States.Versions(t.Context(), "ins_a"); err != nil || len(versions) != 1 {
			t.Errorf("the apply ran %d times, %v", len(versions), err)
		}
	})
}

func TestAnApplyWaitsForAServerThatRestarts(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		p := start(t, engine)
		r := p.run(t, "ins_a", slow)
		ended := p.background(t.Context(), t, r)
		eventually(t, "the apply is under way", func() bool { return reached(r) })
		p.stop()
		release(t, r)
		eventually(t, "the apply has made everything", func() bool {
			log, _ := os.ReadFile(r.ApplyLog())
			return strings.Contains(string(log), "terraform_data.last: Creation complete")
		})
		p.stop = p.serve(t)
		if o := <-ended; o.err != nil || o.Outcome != tofu.Succeeded {
			t.Fatalf("%+v, %v\n%s", o.Result, o.err, logs(r))
		}
		if state, err := p.States.Current(t.Context(), "ins_a"); err != nil || !strings.Contains(string(state), `"last"`) {
			t.Errorf("state: %s, %v", state, err)
		}
	})
}

func TestAnOvertakenApplyKeepsItsStateForAnOperator(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		p := start(t, engine)
		var fence atomic.Int64
		fence.Store(1)
		p.States.Fenced = func(_ *db.Tx, _ string, token int64) error {
			if token != fence.Load() {
				return fault.New(fault.Stale, "instance.fenced", "A newer run has the instance.")
			}
			return nil
		}
		r := p.run(t, "ins_a", slow)
		ended := p.background(t.Context(), t, r)
		eventually(t, "the apply is under way", func() bool { return reached(r) })
		fence.Store(2)
		release(t, r)
		if o := <-ended; o.Outcome == tofu.Succeeded || o.err == nil {
			t.Fatalf("%+v, %v\n%s", o.Result, o.err, logs(r))
		}
		if state, err := p.States.Current(t.Context(), "ins_a"); err != nil || strings.Contains(string(state), `"last"`) {
			t.Errorf("it wrote: %s, %v", state, err)
		}
		if err := p.Close(t.Context(), r); !fault.Is(err, "run.unrecovered") {
			t.Errorf("what it made is forgotten: %v", err)
		}
	})
}

func TestTwoServersThatTakeUpOneRunRunItOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		p := start(t, engine)
		r := p.run(t, "ins_a", counter)
		var all sync.WaitGroup
		for range 3 {
			s := p.another()
			all.Go(func() {
				if _, err := s.Plan(t.Context(), r); err != nil {
					t.Errorf("plan: %v\n%s", err, logs(r))
				}
			})
		}
		all.Wait()
		log, _ := os.ReadFile(r.PlanLog())
		if n := strings.Count(string(log), "Plan: 2 to add"); n != 1 {
			t.Errorf("planned %d times:\n%s", n, log)
		}
		// The supervisors that came too late may still be on their way out of it.
		eventually(t, "the folder of the run is left alone", func() bool { return os.RemoveAll(r.Dir) == nil && !exists(r.Dir) })
	})
}

func TestCancelStopsAnApplyInOrder(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		p := start(t, engine)
		r, asked := p.run(t, "ins_a", slow), make(chan struct{})
		r.Cancel = asked
		ended := p.background(t.Context(), t, r)
		eventually(t, "the apply is under way", func() bool { return reached(r) })
		close(asked)
		if o := <-ended; !fault.Is(o.err, "engine.cancelled") || o.Outcome != tofu.Cancelled {
			t.Errorf("%+v, %v\n%s", o.Result, o.err, logs(r))
		}
		state, err := p.States.Current(t.Context(), "ins_a")
		if err != nil || !strings.Contains(string(state), `"first"`) || strings.Contains(string(state), `"last"`) {
			t.Errorf("state after a cancel: %s, %v", state, err)
		}
		next := p.run(t, "ins_a", slow)
		next.Cancel = asked
		if _, err := p.Plan(t.Context(), next); !fault.Is(err, "engine.cancelled") || exists(next.PlanLog()) {
			t.Errorf("a run that was cancelled before it began: %v", err)
		}
		release(t, r)
		p.deploy(t, p.atOnce(t)) // nothing is locked
	})
}

func TestAServerThatRestartedCancelsTheApplyOfTheOneBefore(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		p := start(t, engine)
		r, asked := p.run(t, "ins_a", slow), make(chan struct{})
		ctx, stop := context.WithCancel(t.Context())
		ended := p.background(ctx, t, r)
		eventually(t, "the apply is under way", func() bool { return reached(r) })
		stop()
		<-ended
		close(asked)
		r.Cancel = asked
		next := p.another()
		if result, err := next.Apply(t.Context(), r); !fault.Is(err, "engine.cancelled") || result.Outcome != tofu.Cancelled {
			t.Errorf("%+v, %v\n%s", result, err, logs(r))
		}
	})
}

func TestAnApplyOverItsTimeIsInterrupted(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		p := start(t, engine)
		p.Timeouts.Apply = 2 * time.Second
		r := p.run(t, "ins_a", slow)
		o := <-p.background(t.Context(), t, r)
		if !fault.Is(o.err, "engine.timeout") {
			t.Errorf("%+v, %v\n%s", o.Result, o.err, logs(r))
		}
	})
}

func TestAKilledEngineLeavesWhatMayExist(t *testing.T) {
	for name, victim := range map[string]func(t *testing.T, r tofu.Run) supervisor.Identity{
		"the engine":         func(t *testing.T, r tofu.Run) supervisor.Identity { return engineOf(t, r) },
		"everything with it": func(t *testing.T, r tofu.Run) supervisor.Identity { return identity(t, r, supervisor.EngineFile) },
		"its supervisor":     func(t *testing.T, r tofu.Run) supervisor.Identity { return identity(t, r, supervisor.RunFile) },
		"what watches its sandbox": func(t *testing.T, r tofu.Run) supervisor.Identity {
			return parentOf(identity(t, r, supervisor.EngineFile))
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine tofu.Engine) {
				p := start(t, engine)
				r := p.run(t, "ins_a", slow)
				ended := p.background(t.Context(), t, r)
				eventually(t, "the apply is under way", func() bool { return reached(r) })
				if err := victim(t, r).Signal(syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				if name == "what watches its sandbox" { // it is not what anything depends on
					release(t, r)
					if o := <-ended; o.err != nil {
						t.Fatalf("%+v, %v\n%s", o.Result, o.err, logs(r))
					}
					return
				}
				o := <-ended
				if o.Outcome != tofu.Interrupted || !fault.Is(o.err, "engine.interrupted") {
					t.Fatalf("%+v, %v\n%s", o.Result, o.err, logs(r))
				}
				if got := strings.Join(o.MayExist, " "); !strings.Contains(got, "terraform_data.last") {
					t.Errorf("may exist: %s; %v", got, o.err)
				}
				if name == "its supervisor" { // the engine was interrupted and has written down what it did
					state, err := p.States.Current(t.Context(), "ins_a")
					if err != nil || !strings.Contains(string(state), `"first"`) || slices.Contains(o.MayExist, "terraform_data.first") {
						versions, _ := p.States.Versions(t.Context(), "ins_a")
						t.Errorf("may exist: %v; state: %s, %v; %v\n%s", o.MayExist, state, err, versions, logs(r))
					}
				}
				p.deploy(t, p.atOnce(t)) // its lock is broken, and the state fits
			})
		})
	}
}

func identity(t *testing.T, r tofu.Run, file string) supervisor.Identity {
	t.Helper()
	who, err := supervisor.LoadIdentity(filepath.Join(r.Dir, "apply"), file)
	if err != nil {
		t.Fatal(err)
	}
	return who
}

// engineOf returns the engine of an apply itself, which is a child of the first process in its sandbox.
func engineOf(t *testing.T, r tofu.Run) supervisor.Identity {
	t.Helper()
	first := identity(t, r, supervisor.EngineFile).Pid
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", first))
	for _, file := range tasks {
		text, _ := os.ReadFile(file)
		for _, child := range strings.Fields(string(text)) {
			pid, _ := strconv.Atoi(child)
			return supervisor.IdentityOf(pid)
		}
	}
	t.Fatal("there is no engine")
	return supervisor.Identity{}
}

func parentOf(who supervisor.Identity) supervisor.Identity {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", who.Pid))
	for line := range strings.Lines(string(text)) {
		if ppid, ok := strings.CutPrefix(line, "PPid:"); ok {
			pid, _ := strconv.Atoi(strings.TrimSpace(ppid))
			return supervisor.IdentityOf(pid)
		}
	}
	return supervisor.Identity{}
}

func TestAStateThatCouldNotBeWrittenIsRecovered(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		p := start(t, engine)
		r := p.run(t, "ins_a", counter)
		p.deploy(t, r)
		state, err := p.States.Current(t.Context(), "ins_a")
		if err != nil {
			t.Fatal(err)
		}
		newer := regexp.MustCompile(`"serial": ?`).ReplaceAllString(string(state), `"serial":1`)
		left := filepath.Join(r.Dir, "work", "errored.tfstate")
		if err := os.WriteFile(left, []byte(newer), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(t.Context(), r); !fault.Is(err, "run.unrecovered") {
			t.Errorf("a run with a state that is nowhere else was closed: %v", err)
		}
		if err := p.States.Recover(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if got, _ := p.States.Current(t.Context(), "ins_a"); string(got) != newer {
			t.Errorf("state: %s", got)
		}
		if exists(left) {
			t.Error("the recovered file is still there")
		}
	})
}
