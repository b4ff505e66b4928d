// Package supervisor is the process between the server and an engine: `flywheel engine-run FOLDER`.
//
// It outlives the server. It takes its orders from standard input, claims the folder of its run, runs the
// engine's commands one after the other, and leaves a result. What it leaves in the folder:
//
//	run.json     who it is: pid and start time; made once, so two supervisors never run one run
//	engine.json  the same of the engine command that runs now
//	log          what the engine said, with secrets hidden
//	result.json  how it ended; there is a result or there was a kill
//
// SIGINT or SIGTERM asks it to cancel: the engine is interrupted, writes its state and ends. Only an
// engine that does not react to a second interrupt either is killed.
//
// Where the supervisor itself is killed, an engine that looks only is killed with it. One that applies is
// interrupted by the first process of its sandbox, cannot reach its state any more, and leaves it in its folder.
//
// A run that needs no provider of Flywheel's is started with --plain: it then runs from init, before most other
// packages of the binary are initialised, which saves most of the start of a large binary. Hence this package and
// what it imports import little.
package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/redact"
	"flywheel.dev/flywheel/internal/sandbox"
)

// Name is the argument that makes the binary run as a supervisor; Plain follows it for a plain run.
const (
	Name  = "engine-run"
	Plain = "--plain"
)

// Files in the folder of a run.
const (
	RunFile    = "run.json"
	EngineFile = "engine.json"
	LogFile    = "log"
	ResultFile = "result.json"
)

func init() {
	if len(os.Args) == 4 && os.Args[1] == Name && os.Args[2] == Plain {
		os.Exit(Main(os.Args[3], nil))
	}
}

// Launch is what a supervisor is told on standard input. It holds secrets, so it is never a file.
type Launch struct {
	Call     Call // what all commands have in common
	Sandbox  sandbox.Settings
	Commands []Order
	Hide     []string // values that must not reach the log
	Remove   []string // files to delete after the last command
	Grace    time.Duration
	Durable  bool // it changes the world: its traces survive a loss of power, and its engine the kill of the supervisor
	// Provider asks for Flywheel's own provider, which reaches what Scope names.
	Provider bool
	Scope    Scope
}

// Order is one command to run.
type Order struct {
	Name     string
	Args     []string
	Writable []string
	Output   string // file for its standard output; empty means the log
	Timeout  time.Duration
}

// Scope is what Flywheel's own provider may touch in one step of a run. The zero Scope knows the schema only.
type Scope struct {
	Instance string
	Agent    string // socket
	Fence    int64  // what was overtaken changes nothing
	Writes   bool   // a plan only looks
}

// Serve serves Flywheel's own provider on socket until ctx ends, and returns TF_REATTACH_PROVIDERS. A plain run
// does without.
type Serve func(ctx context.Context, socket string, scope Scope) (string, error)

// Main runs the supervisor of the run in folder and returns its exit code: 0 when it left a result.
func Main(folder string, serve Serve) int {
	if err := run(folder, serve); err != nil {
		fmt.Fprintln(os.Stderr, "engine-run:", err)
		return 1
	}
	return 0
}

func run(folder string, serve Serve) error {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var launch Launch
	if err := json.Unmarshal(text, &launch); err != nil {
		return fmt.Errorf("orders did not arrive whole: %w", err) // the server died while it wrote them
	}
	if err := reserve(folder); err != nil {
		return err
	}
	// Before anybody can find out whom to interrupt.
	cancelled := make(chan os.Signal, 4)
	signal.Notify(cancelled, syscall.SIGINT, syscall.SIGTERM)
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	if err := claim(folder, launch.Durable); err != nil {
		os.Remove(partOf(folder))
		return err
	}

	s := &supervisor{Launch: launch, folder: folder, serve: serve, cancelled: cancelled, redactor: redact.New(launch.Hide...)}
	s.result = Result{Outcome: Succeeded, Started: time.Now().UTC(), Commands: []Command{}, Diagnostics: []Diagnostic{}}
	if err := s.commands(); err != nil {
		s.result.Outcome, s.result.Failure = Failed, s.redactor.Text(err.Error())
		s.blame(err)
	}
	for _, file := range launch.Remove {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			fmt.Fprintln(os.Stderr, "engine-run:", err)
		}
	}
	s.result.Ended = time.Now().UTC()
	for { // what the engine did would be unknown without its result: one that needs more than was reserved waits
		err := s.result.Save(folder)
		if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
			return err
		}
		time.Sleep(time.Second)
	}
}

// claim makes run.json, or fails if another supervisor has it. The file appears with its content.
func claim(folder string, durable bool) error {
	mine := filepath.Join(folder, fmt.Sprintf(".%s.%d", RunFile, os.Getpid()))
	if err := writeJSON(mine, Self(), durable); err != nil {
		return err
	}
	defer os.Remove(mine)
	if err := os.Link(mine, filepath.Join(folder, RunFile)); err != nil {
		return fmt.Errorf("the run has a supervisor: %w", err)
	}
	if durable {
		return syncDir(folder)
	}
	return nil
}

type supervisor struct {
	Launch
	folder    string
	serve     Serve
	box       *sandbox.Sandbox
	cancelled chan os.Signal
	redactor  *redact.Redactor
	log       io.WriteCloser // without secrets
	result    Result
}

func (s *supervisor) commands() error {
	// An engine that keeps nothing dies with its parent, and the kernel means the thread that started it.
	runtime.LockOSThread()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	file, err := os.OpenFile(filepath.Join(s.folder, LogFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	s.log = s.redactor.Writer(file)
	defer s.log.Close()
	if s.box, err = sandbox.Open(s.Sandbox); err != nil {
		return err
	}
	if s.Provider {
		dir, err := s.provide(ctx)
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	for _, order := range s.Commands {
		if err := s.command(order); err != nil {
			return err
		}
		if s.result.Outcome != Succeeded {
			return nil
		}
	}
	return nil
}

// provide serves Flywheel's provider in a folder of its own: the path of a socket must be short.
func (s *supervisor) provide(ctx context.Context) (dir string, err error) {
	if s.serve == nil {
		return "", errors.New("this program cannot serve Flywheel's provider")
	}
	if dir, err = os.MkdirTemp("", "flywheel-run-"); err != nil {
		return "", err
	}
	s.Call.Provider = filepath.Join(dir, "provider.sock")
	if s.Call.Reattach, err = s.serve(ctx, s.Call.Provider, s.Scope); err != nil {
		os.RemoveAll(dir)
		return "", fmt.Errorf("serve Flywheel's provider: %w", err)
	}
	return dir, nil
}

// command runs one order to its end and adds what happened to the result.
func (s *supervisor) command(order Order) error {
	stdout := &lines{fn: s.say}
	stderr := &lines{fn: s.echo}
	var output io.Writer = stdout
	if order.Output != "" {
		file, err := os.OpenFile(order.Output, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer file.Close()
		output = file
	}
	done := Command{Name: order.Name, Started: time.Now().UTC()}
	call := s.Call
	call.Args, call.Writable = order.Args, order.Writable
	if s.Durable {
		call.Orphan = s.Grace
	}
	process, err := call.Prepare(context.Background(), s.box, output, stderr)
	if err != nil {
		return fmt.Errorf("start %s: %w", order.Name, err)
	}
	// Before it runs: an engine that nobody could find again must not begin.
	if err := writeJSON(filepath.Join(s.folder, EngineFile), IdentityOf(process.Pid()), false); err != nil {
		return errors.Join(err, process.Signal(os.Kill), process.Wait())
	}
	// One that was killed before it began is no other than one that was killed then: Wait says so.
	if err := process.Start(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("start %s: %w", order.Name, err)
	}
	why, err := s.wait(process, order.Timeout)
	stdout.Close()
	stderr.Close()

	code, killed := ExitOf(err)
	done.Exit, done.Ended = code, time.Now().UTC()
	s.result.Commands = append(s.result.Commands, done)
	switch {
	case code == 0: // whatever was asked of it in the meantime: it has finished
	case killed:
		s.result.Outcome = Interrupted
		if s.blame(err) && !s.Durable { // it went over a limit, and there is nothing that it may have half-done
			s.result.Outcome = Failed
		}
	case why != "":
		s.result.Outcome = why
	default:
		s.result.Outcome = Failed
	}
	return nil
}

// blame keeps the fault in err as the reason of the outcome, if there is one.
func (s *supervisor) blame(err error) bool {
	if !errors.As(err, &s.result.Fault) {
		return false
	}
	s.echo([]byte(s.result.Fault.Error() + "\n"))
	return true
}

// wait waits for the end of a command. A cancel request or the timeout interrupts it; one grace later it
// is interrupted again, by which engines stop at once, and yet another grace later it is killed.
func (s *supervisor) wait(process *Prepared, timeout time.Duration) (why Outcome, err error) {
	ended := make(chan error, 1)
	go func() { ended <- process.Wait() }()
	late := time.After(timeout)
	var next <-chan time.Time
	interrupts := 0
	interrupt := func() {
		sig := os.Interrupt
		if interrupts++; interrupts > 2 {
			sig = os.Kill
		}
		s.echo([]byte("Flywheel sends " + sig.String() + " to the engine.\n"))
		process.Signal(sig)
		next = time.After(s.Grace)
	}
	for {
		select {
		case err := <-ended:
			return why, err
		case <-s.cancelled:
			if why == "" {
				why = Cancelled
				interrupt()
			}
		case <-late:
			if why == "" {
				why = TimedOut
				interrupt()
			}
		case <-next:
			why = Interrupted
			interrupt()
		}
	}
}

// say reads one line of the engine's JSON output: its message goes to the log, a diagnostic to the
// result as well.
func (s *supervisor) say(line []byte) {
	var message struct {
		Message    string         `json:"@message"`
		Diagnostic *rawDiagnostic `json:"diagnostic"`
	}
	if json.Unmarshal(line, &message) != nil || message.Message == "" {
		s.echo(line)
		return
	}
	s.echo([]byte(message.Message + "\n"))
	if d := message.Diagnostic; d != nil {
		s.result.Diagnostics = append(s.result.Diagnostics, d.hidden(s.redactor))
		if d.Detail != "" {
			s.echo([]byte(d.Detail + "\n"))
		}
	}
}

// echo writes to the log: a line with its end, or a piece of a very long one.
func (s *supervisor) echo(line []byte) { _, _ = s.log.Write(line) }
