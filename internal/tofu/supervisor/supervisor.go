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
// A run that needs neither Flywheel's provider nor the sandbox is started with --plain: it then runs
// from init, before the other packages of the binary are initialised, which saves most of the start of a
// large binary. Hence this package and what it imports, package redact, import the standard library only.
package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/redact"
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
		os.Exit(Main(os.Args[3], Hooks{}))
	}
}

// Launch is what a supervisor is told on standard input. It holds secrets, so it is never a file.
type Launch struct {
	Engine   string
	Dir      string // working folder of the commands
	Env      []string
	Commands []Order
	Hide     []string // values that must not reach the log
	Remove   []string // files to delete after the last command
	Grace    time.Duration
	Durable  bool // its traces must survive a loss of power, because it must not run twice
	// StateSocket is the Unix socket where the state is served, and StatePath its path there. The engine reaches
	// it on a port of the loopback: StatePort in the sandbox, else one that the supervisor gets.
	StateSocket string
	StatePath   string
	StatePort   int
	// Provider asks for Flywheel's own provider, which reaches what Scope names.
	Provider bool
	Scope    Scope
	// Sandboxed runs every command through the Start hook.
	Sandboxed  bool
	SandboxOff bool // the operator runs untrusted code without isolation
	Network    bool // the sandbox has the host's
	Readable   []string
	Writable   []string
}

// Order is one command to run.
type Order struct {
	Name    string
	Args    []string
	Output  string // file for its standard output; empty means the log
	Timeout time.Duration
}

// Scope is what Flywheel's own provider may touch in one step of a run. The zero Scope knows the schema only.
type Scope struct {
	Instance string
	Agent    string // socket
	Fence    int64  // what was overtaken changes nothing
	Writes   bool   // a plan only looks
}

// Hooks are what a plain run does without.
type Hooks struct {
	// Serve serves Flywheel's own provider on socket until ctx ends, and returns TF_REATTACH_PROVIDERS.
	Serve func(ctx context.Context, socket string, scope Scope) (string, error)
	// Start starts a command in the sandbox. The socket is the one of Serve, or empty.
	Start func(l Launch, o Order, env []string, socket string, stdout, stderr io.Writer) (Process, error)
	// Exit reads the error of a Process's Wait.
	Exit func(error) (code int, killed bool)
}

// Process is a started command.
type Process interface {
	Wait() error
	Signal(os.Signal) error
	Pid() int
}

// Main runs the supervisor of the run in folder and returns its exit code: 0 when it left a result.
func Main(folder string, hooks Hooks) int {
	if err := run(folder, hooks); err != nil {
		fmt.Fprintln(os.Stderr, "engine-run:", err)
		return 1
	}
	return 0
}

func run(folder string, hooks Hooks) error {
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

	s := &supervisor{Launch: launch, folder: folder, hooks: hooks, cancelled: cancelled, redactor: redact.New(launch.Hide...)}
	s.result = Result{Outcome: Succeeded, Started: time.Now().UTC(), Commands: []Command{}, Diagnostics: []Diagnostic{}}
	if err := s.commands(); err != nil {
		s.result.Outcome, s.result.Failure = Failed, s.redactor.Text(err.Error())
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
	hooks     Hooks
	cancelled chan os.Signal
	redactor  *redact.Redactor
	log       io.WriteCloser // without secrets
	result    Result
}

func (s *supervisor) commands() error {
	// The engine is told when its parent dies, and the kernel means the thread that started it.
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
	socket, err := s.provider(ctx)
	if err != nil {
		return err
	}
	if socket != "" {
		defer os.RemoveAll(filepath.Dir(socket))
	}
	if err := s.state(ctx); err != nil {
		return err
	}
	for _, order := range s.Commands {
		if err := s.command(order, socket); err != nil {
			return err
		}
		if s.result.Outcome != Succeeded {
			return nil
		}
	}
	return nil
}

// state lets the engine reach its state, and tells it where.
func (s *supervisor) state(ctx context.Context) (err error) {
	port := s.StatePort
	if !s.Sandboxed {
		if port, err = forward(ctx, s.StateSocket); err != nil {
			return err
		}
	}
	address := "http://127.0.0.1:" + strconv.Itoa(port) + s.StatePath
	s.Env = append(s.Env, "TF_HTTP_ADDRESS="+address, "TF_HTTP_LOCK_ADDRESS="+address, "TF_HTTP_UNLOCK_ADDRESS="+address)
	return nil
}

// provider serves Flywheel's provider if the run needs it, in a folder of its own: the path of a socket
// must be short, and the sandbox shows the whole folder.
func (s *supervisor) provider(ctx context.Context) (socket string, err error) {
	if !s.Provider {
		return "", nil
	}
	if s.hooks.Serve == nil {
		return "", errors.New("this program cannot serve Flywheel's provider")
	}
	dir, err := os.MkdirTemp("", "flywheel-run-")
	if err != nil {
		return "", err
	}
	socket = filepath.Join(dir, "provider.sock")
	reattach, err := s.hooks.Serve(ctx, socket, s.Scope)
	if err != nil {
		os.RemoveAll(dir)
		return "", fmt.Errorf("serve Flywheel's provider: %w", err)
	}
	s.Env = append(s.Env, "TF_REATTACH_PROVIDERS="+reattach)
	return socket, nil
}

// command runs one order to its end and adds what happened to the result.
func (s *supervisor) command(order Order, socket string) error {
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
	process, err := s.start(order, socket, output, stderr)
	if err != nil {
		return fmt.Errorf("start %s: %w", order.Name, err)
	}
	unknown := writeJSON(filepath.Join(s.folder, EngineFile), IdentityOf(process.Pid()), false)
	if unknown != nil { // an engine that nobody could find again must not go on
		s.cancelled <- os.Interrupt
	}
	why, err := s.wait(process, order.Timeout)
	stdout.Close()
	stderr.Close()
	if unknown != nil {
		return unknown
	}

	code, killed := s.exit(err)
	done.Exit, done.Ended = code, time.Now().UTC()
	s.result.Commands = append(s.result.Commands, done)
	switch {
	case code == 0: // whatever was asked of it in the meantime: it has finished
	case killed:
		s.result.Outcome = Interrupted
	case why != "":
		s.result.Outcome = why
	default:
		s.result.Outcome = Failed
	}
	return nil
}

func (s *supervisor) start(order Order, socket string, stdout, stderr io.Writer) (Process, error) {
	if s.Sandboxed {
		if s.hooks.Start == nil {
			return nil, errors.New("this program has no sandbox")
		}
		return s.hooks.Start(s.Launch, order, s.Env, socket, stdout, stderr)
	}
	cmd := exec.Command(s.Engine, order.Args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.Dir, s.Env, stdout, stderr
	// If the supervisor is killed the engine is asked to stop, so that it still writes its state. The
	// group of its own keeps the signals of a terminal away.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT}
	cmd.WaitDelay = 5 * time.Second // a child of the engine that keeps its output open must not hold Wait
	return plain{cmd}, cmd.Start()
}

type plain struct{ *exec.Cmd }

// Wait forgives an output that stayed open: the engine itself has ended well.
func (p plain) Wait() error {
	err := p.Cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	return err
}

func (p plain) Signal(sig os.Signal) error { return p.Process.Signal(sig) }
func (p plain) Pid() int                   { return p.Process.Pid }

func (s *supervisor) exit(err error) (code int, killed bool) {
	if s.Sandboxed {
		return s.hooks.Exit(err)
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, false
	case errors.As(err, &exit):
		return ExitOf(exit)
	}
	return -1, true
}

// ExitOf says how a command ended: its exit code, and whether it was killed. One that an interrupt ended
// was not: it had not come so far as to catch it.
func ExitOf(err *exec.ExitError) (code int, killed bool) {
	status, ok := err.Sys().(syscall.WaitStatus)
	return err.ExitCode(), ok && status.Signaled() && status.Signal() != syscall.SIGINT
}

// wait waits for the end of a command. A cancel request or the timeout interrupts it; one grace later it
// is interrupted again, by which engines stop at once, and yet another grace later it is killed.
func (s *supervisor) wait(process Process, timeout time.Duration) (why Outcome, err error) {
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
