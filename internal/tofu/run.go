package tofu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/sandbox"
	"flywheel.dev/flywheel/internal/tofu/supervisor"
)

// Plan plans a run and returns what it would do. On a run that was planned already, by this server or
// one before it, it waits for that plan instead of making another. The end of ctx ends the waiting, not
// the run. A run that did not succeed returns its result together with a fault: engine.failed,
// engine.cancelled, engine.timeout or engine.interrupted.
func (s *Service) Plan(ctx context.Context, r Run) (Result, error) {
	step := filepath.Join(r.Dir, planStep)
	if err := s.begin(ctx, r, step, s.startPlan); err != nil {
		return Result{}, err
	}
	result, err := s.await(ctx, r, step)
	if err != nil {
		return result, err
	}
	text, err := os.ReadFile(r.planJSON())
	if err != nil {
		return result, err
	}
	result.Plan, err = ReadPlan(text, r.hidden()...)
	return result, err
}

// Apply applies the plan that Plan made, exactly that one, and waits like Plan. Whatever it leaves behind
// when it fails, the state that was not written and its lock, is recovered. After an interrupted apply
// MayExist names what may be there unmanaged.
func (s *Service) Apply(ctx context.Context, r Run) (Result, error) {
	if r.Untrusted {
		return Result{}, fault.New(fault.Forbidden, "run.uncertified", "Only a certified pattern version can be applied.")
	}
	step := filepath.Join(r.Dir, applyStep)
	if err := s.begin(ctx, r, step, s.startApply); err != nil {
		return Result{}, err
	}
	result, failure := s.await(ctx, r, step)
	if ctx.Err() != nil && result.Outcome == "" {
		return result, failure
	}
	tidy := s.States.Recover
	if result.Outcome == Succeeded {
		tidy = func(ctx context.Context, r Run) error { return s.States.Revoke(ctx, r.ID) }
	}
	if err := tidy(ctx, r); err != nil {
		return result, errors.Join(failure, err)
	}
	if result.Outcome == Interrupted {
		var err error
		if result.MayExist, err = s.mayExist(ctx, r); err != nil {
			return result, errors.Join(failure, err)
		}
	}
	return result, failure
}

// begin starts a step that no supervisor has ever taken.
func (s *Service) begin(ctx context.Context, r Run, step string, start func(context.Context, Run) error) error {
	if claimed(step) {
		return nil
	}
	select {
	case <-r.Cancel:
		return cancelled(r)
	default:
		return start(ctx, r)
	}
}

// Close removes everything of a run that may hold values, and leaves its logs and results. It refuses
// while the run goes on.
func (s *Service) Close(ctx context.Context, r Run) error {
	for _, step := range []string{planStep, applyStep} {
		if s.goingOn(ctx, filepath.Join(r.Dir, step)) {
			return fault.New(fault.Conflict, "run.going_on", "Run %s is going on.", r.ID)
		}
	}
	if _, err := os.Stat(r.erroredState()); err == nil {
		return fault.New(fault.Conflict, "run.unrecovered", "Run %s holds a state that is not stored.", r.ID).Do("Recover the run first.")
	}
	return errors.Join(sandbox.RemoveAll(r.work()), sandbox.RemoveAll(r.out()), os.RemoveAll(r.planJSON()), s.States.Revoke(ctx, r.ID))
}

// goingOn reports whether the supervisor of a step lives. One that has left its result is only about to
// end, which on a busy machine takes a moment.
func (s *Service) goingOn(ctx context.Context, step string) bool {
	for range 100 {
		who, err := supervisor.LoadIdentity(step, supervisor.RunFile)
		if err != nil || !who.Running() {
			return false
		}
		if _, err := supervisor.Load(step); err != nil {
			return true
		}
		select {
		case <-ctx.Done():
			return true
		case <-time.After(50 * time.Millisecond):
		}
	}
	return true
}

// PlanJSON returns the plan of a run as `show -json` printed it. It holds sensitive values.
func (s *Service) PlanJSON(r Run) ([]byte, error) { return os.ReadFile(r.planJSON()) }

func (s *Service) startPlan(ctx context.Context, r Run) error {
	if err := r.fill(); err != nil {
		return err
	}
	plan := []string{"plan", "-json", "-input=false", "-no-color", "-lock=false", "-var-file=" + r.variables(), "-out=" + r.planFile()}
	if r.Destroy {
		plan = append(plan, "-destroy")
	}
	limit := or(s.Timeouts.Plan, 15*time.Minute)
	return s.launch(ctx, r, planStep, false, []supervisor.Order{
		{Name: "plan", Args: plan, Writable: []string{r.out()}, Timeout: limit},
		{Name: "show", Args: []string{"show", "-json", "-no-color", r.planFile()}, Output: r.planJSON(), Timeout: limit}, // what it shows stays
	}, r.variables())
}

func (s *Service) startApply(ctx context.Context, r Run) error {
	if result, err := supervisor.Load(filepath.Join(r.Dir, planStep)); err != nil || result.Outcome != Succeeded {
		return fault.New(fault.Conflict, "run.unplanned", "Run %s has no plan to apply.", r.ID).Because(err)
	}
	apply := []string{"apply", "-json", "-input=false", "-no-color", "-auto-approve", "-lock-timeout=30s", r.planFile()}
	return s.launch(ctx, r, applyStep, true, []supervisor.Order{
		{Name: "apply", Args: apply, Writable: []string{r.work()}, Timeout: or(s.Timeouts.Apply, time.Hour)},
	})
}

// fill makes the run's folder. The engine works in a folder of links to the workspace, because it writes
// the state that it cannot store into the folder where it works, and that one belongs to one run.
func (r Run) fill() error {
	for _, dir := range []string{r.work(), r.out()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(r.Workspace.module())
	if err != nil {
		return err
	}
	for _, e := range entries {
		err := os.Symlink(filepath.Join(r.Workspace.module(), e.Name()), filepath.Join(r.work(), e.Name()))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	variables := r.Variables
	if variables == nil {
		variables = map[string]any{}
	}
	text, err := json.Marshal(variables)
	if err != nil {
		return err
	}
	return os.WriteFile(r.variables(), text, 0o600)
}

// launch starts a supervisor and waits until it has its orders.
func (s *Service) launch(ctx context.Context, r Run, step string, writes bool, orders []supervisor.Order, remove ...string) error {
	folder := filepath.Join(r.Dir, step)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	box, err := s.box()
	if err != nil {
		return err
	}
	token, err := s.States.Issue(ctx, r.ID, r.Instance, writes, r.Fence)
	if err != nil {
		return err
	}
	l := supervisor.Launch{
		Call: supervisor.Call{
			Engine: s.Engine.Path, Dir: r.work(), Readable: append(dirOf(s.Mirror), r.Workspace.Dir, r.work(), r.out()), Network: r.Network,
			StateSocket: s.StateSocket, StatePath: "/internal/state/" + url.PathEscape(r.Instance),
		},
		Sandbox: box.Settings(), Commands: orders, Hide: append(r.hidden(), token), Remove: remove,
		Grace: or(s.Grace, 5*time.Minute), Durable: writes, Provider: r.Workspace.Own,
		Scope: Scope{Instance: r.Instance, Agent: s.Agent, Fence: r.Fence, Writes: writes},
	}
	l.Call.Env = append(engineEnv(box, r.Workspace.data(), r.Workspace.config(), r.out()),
		"TF_HTTP_USERNAME="+r.ID, "TF_HTTP_PASSWORD="+token,
		// A server that restarts is away for seconds: the engine asks again for a minute before it gives up.
		"TF_HTTP_RETRY_MAX=20", "TF_HTTP_RETRY_WAIT_MIN=1", "TF_HTTP_RETRY_WAIT_MAX=5")
	l.Call.Env = append(l.Call.Env, r.values()...)
	orderText, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return s.spawn(folder, l, orderText)
}

// spawn starts the process of a supervisor in a session of its own, so that nothing that ends the server
// ends it. It is reaped here, but awaited by its traces only.
func (s *Service) spawn(folder string, l supervisor.Launch, orders []byte) error {
	self := s.Self
	if self == "" {
		var err error
		if self, err = os.Executable(); err != nil {
			return err
		}
	}
	args := []string{supervisor.Name, folder}
	if !l.Provider {
		args = []string{supervisor.Name, supervisor.Plain, folder}
	}
	complaints, err := os.OpenFile(filepath.Join(folder, "supervisor.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer complaints.Close()
	cmd := exec.Command(self, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(orders), complaints, complaints
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start supervisor: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.children == nil {
		s.children = map[string]chan struct{}{}
	}
	gone := make(chan struct{})
	s.children[folder] = gone
	go func() {
		cmd.Wait()
		close(gone)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.children, folder)
	}()
	return nil
}

// values are the run's own values in the environment of its commands. A plan of what is not certified
// gets none of them; a placeholder stands for each secret variable, so that it can be planned at all.
func (r Run) values() []string {
	env := []string{}
	for name, value := range r.Secrets {
		if r.Untrusted {
			value = "flywheel-secret-placeholder"
		}
		env = append(env, "TF_VAR_"+name+"="+value)
	}
	if !r.Untrusted {
		for name, value := range r.Environment {
			env = append(env, name+"="+value)
		}
	}
	slices.Sort(env)
	return env
}

func (r Run) hidden() []string {
	list := []string{}
	for _, v := range r.Secrets {
		list = append(list, v)
	}
	for _, v := range r.Environment {
		list = append(list, v)
	}
	return list
}

// claimed reports whether a supervisor has ever taken the step.
func claimed(step string) bool {
	_, err := os.Stat(filepath.Join(step, supervisor.RunFile))
	return err == nil
}

// await waits for the result of a step, copies its log meanwhile, and turns an outcome into a fault.
func (s *Service) await(ctx context.Context, r Run, step string) (Result, error) {
	log := &tail{path: filepath.Join(step, supervisor.LogFile), to: r.Log}
	result, err := s.outcome(ctx, r, step, log)
	log.copy()
	if err != nil {
		return Result{}, err
	}
	return Result{Result: result}, failure(r, result)
}

// outcome polls, because a supervisor may be the child of a server that is gone; the one that this server
// started tells it at once.
func (s *Service) outcome(ctx context.Context, r Run, step string, log *tail) (supervisor.Result, error) {
	s.mu.Lock()
	gone := s.children[step]
	s.mu.Unlock()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	asked, interrupted := false, false
	for {
		result, err := supervisor.Load(step)
		if !errors.Is(err, fs.ErrNotExist) {
			return result, err
		}
		if ended, err := s.settle(step, gone); ended || err != nil {
			if err != nil {
				return result, err
			}
			continue
		}
		if asked && !interrupted {
			if interrupted, err = interrupt(step); err != nil {
				return result, err
			}
		}
		select {
		case <-ctx.Done():
			return result, ctx.Err()
		case <-r.Cancel:
			r.Cancel, asked = nil, true
		case <-gone:
			gone = nil
		case <-tick.C:
		}
		log.copy()
	}
}

// interrupt asks the supervisor of a step to cancel. It reports false while there is none yet.
func interrupt(step string) (bool, error) {
	who, err := supervisor.LoadIdentity(step, supervisor.RunFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = who.Signal(os.Interrupt)
	}
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	return err == nil, err
}

// settle looks at a step without a result. If its supervisor is gone, the engine that it may have left is
// awaited, and the step ends interrupted.
func (s *Service) settle(step string, gone chan struct{}) (ended bool, err error) {
	who, err := supervisor.LoadIdentity(step, supervisor.RunFile)
	if errors.Is(err, fs.ErrNotExist) {
		if gone != nil {
			return false, nil // it has not come to its folder yet
		}
		complaints, _ := os.ReadFile(filepath.Join(step, "supervisor.log"))
		return false, fmt.Errorf("the supervisor of %s did not start: %s", step, bytes.TrimSpace(complaints))
	}
	if err != nil || who.Running() {
		return false, err
	}
	if _, err := supervisor.Load(step); err == nil {
		return true, nil // it left its result between two looks
	}
	if engine, err := supervisor.LoadIdentity(step, supervisor.EngineFile); err == nil && engine.Running() {
		return false, nil // it was interrupted when its supervisor died, and a second interrupt would hurt
	}
	now := time.Now().UTC()
	return true, supervisor.Result{
		Outcome: Interrupted, Commands: []supervisor.Command{}, Diagnostics: []Diagnostic{}, Started: now, Ended: now,
		Failure: "the supervisor was killed",
	}.Save(step)
}

func failure(r Run, result supervisor.Result) error {
	switch result.Outcome {
	case Succeeded:
		return nil
	case Cancelled:
		return cancelled(r)
	case TimedOut:
		return fault.New(fault.Unavailable, "engine.timeout", "Run %s took longer than it may.", r.ID)
	case Interrupted:
		f := fault.New(fault.Unavailable, "engine.interrupted", "Run %s was killed before it could end.", r.ID).
			Do("Plan it again; look first at the addresses that may exist.")
		if result.Fault != nil {
			f.Message = strings.TrimSuffix(f.Message, ".") + ": " + result.Fault.Message
		}
		return f
	}
	if result.Fault != nil {
		return result.Fault
	}
	if result.Failure != "" {
		return fmt.Errorf("run %s: %s", r.ID, result.Failure)
	}
	f := fault.New(fault.Invalid, "engine.failed", "The engine refused run %s.", r.ID).Do("Correct what it names.")
	for _, d := range result.Diagnostics {
		if d.Severity != "error" {
			continue
		}
		if f.Fields == nil {
			f.Message = fmt.Sprintf("The engine refused run %s: %s.", r.ID, strings.TrimSuffix(d.Summary, "."))
		}
		f.At(d.Where(), "%s", strings.TrimSpace(d.Summary+". "+d.Detail))
	}
	return f
}

func cancelled(r Run) *fault.Fault {
	return fault.New(fault.Conflict, "engine.cancelled", "Run %s was cancelled.", r.ID)
}

func (s *Service) mayExist(ctx context.Context, r Run) ([]string, error) {
	text, err := os.ReadFile(r.planJSON())
	if err != nil {
		return nil, err
	}
	plan, err := ReadPlan(text, r.hidden()...)
	if err != nil {
		return nil, err
	}
	state, err := s.States.Current(ctx, r.Instance)
	if err != nil {
		return nil, err
	}
	return plan.mayExist(state)
}

// tail copies what was added to a file since it last looked.
type tail struct {
	path string
	to   io.Writer
	at   int64
}

func (t *tail) copy() {
	if t.to == nil {
		return
	}
	f, err := os.Open(t.path)
	if err != nil {
		return // there is no log yet
	}
	defer f.Close()
	n, _ := io.Copy(t.to, io.NewSectionReader(f, t.at, 1<<62))
	t.at += n
}
