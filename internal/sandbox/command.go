package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/sandbox/first"
)

// Spec is a command and everything it may use.
type Spec struct {
	Args []string // a bare name is looked up in the PATH inside
	Dir  string   // working folder inside, by default /
	// Env is the whole environment. HOME and LANG are added where they are missing. PATH may be there several
	// times, so that toolchains add up; the folders of the base system come last.
	Env []string
	// Binds show files and folders of the host. A later bind covers an earlier one.
	Binds    []Bind
	Network  Network
	Forwards []Forward // port inside → Unix socket of the host
	Listen   []Forward // Unix socket made on the host → port inside
	// Proxy serves what HTTP_PROXY and HTTPS_PROXY name until the listener is closed: a proxy.Proxy's Serve, which
	// lets the command fetch from listed hosts.
	Proxy func(net.Listener)

	Memory    int64 // bytes, 0 for no limit; also the size of /tmp
	Processes int   // processes and threads together, as the kernel counts them; 0 for no limit
	Disk      int64 // bytes that the writable binds may hold together, 0 for no limit; looked at while it runs

	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Grace          time.Duration // between the request to end and the kill, by default 5s
	// Orphan is what the command has to end when the platform is killed: it is interrupted, interrupted again after
	// that time, and killed after it once more. Its output then goes nowhere, and its Forwards answer 410 to HTTP.
	// Zero kills it at once.
	Orphan time.Duration
}

// Bind shows Source of the host at Target inside.
type Bind struct {
	Source, Target string
	Writable       bool
}

// Forward is a port of 127.0.0.1 inside and a Unix socket of the host.
type Forward struct {
	Port     int // of a Spec's Forwards, 0 takes a free one: see Cmd.Port
	Socket   string
	Patience time.Duration // how long a connection waits for a server that restarts; 0 does not wait
}

// Network says what a command can reach besides its Forwards and its Proxy.
type Network int

const (
	None Network = iota // its own loopback
	Host                // everything the host can, also the host's loopback: only where an environment grants it
)

// ExitError says how a command failed.
type ExitError struct {
	Code   int            // 128 + Signal for a killed command, as a shell says it
	Signal syscall.Signal // 0 for a command that ended by itself
}

func (e *ExitError) Error() string {
	if e.Signal != 0 {
		return "killed by signal: " + e.Signal.String()
	}
	return "exit status " + strconv.Itoa(e.Code)
}

// Cmd is one command in a sandbox of its own. Its methods may be called from several goroutines.
type Cmd struct {
	sandbox *Sandbox
	spec    Spec
	ctx     context.Context

	outer     *exec.Cmd    // bubblewrap, or the first process itself with --sandbox=off
	complaint bytes.Buffer // what bubblewrap said
	control   *control
	first     *os.Process // the first process inside, once prepared
	ports     []int       // of the Forwards
	proxied   []string    // environment that leads to the proxy
	limits    *limits
	copying   sync.WaitGroup // of standard error
	alive     context.Context
	ended     context.CancelFunc // of alive
	open      []io.Closer        // what listens for the command

	reason error         // why we stopped it; read it after gone
	gone   chan struct{} // closed when everything inside is dead and the host has its things back
	wait   func() error
}

// Command returns a command to start. Its context ends it: first with SIGTERM, after spec.Grace with
// SIGKILL for everything inside.
func (s *Sandbox) Command(ctx context.Context, spec Spec) (*Cmd, error) {
	if len(spec.Args) == 0 {
		return nil, errors.New("sandbox: no command")
	}
	for _, b := range spec.Binds {
		if !filepath.IsAbs(b.Target) {
			return nil, fmt.Errorf("sandbox: the target %q of a bind is not absolute", b.Target)
		}
		if _, err := os.Stat(b.Source); err != nil {
			return nil, fmt.Errorf("sandbox: bind: %w", err)
		}
	}
	if spec.Dir == "" {
		spec.Dir = "/"
	}
	if spec.Grace == 0 {
		spec.Grace = 5 * time.Second
	}
	c := &Cmd{sandbox: s, spec: spec, ctx: ctx, gone: make(chan struct{})}
	c.wait = sync.OnceValue(c.collect)
	return c, nil
}

// Run starts the command and waits for its end.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Prepare makes the sandbox up to the moment before the command: its namespaces, mounts, limits and ports
// are there, and the first process waits. Nothing inside knows the command or its environment yet. Start
// does it where it has not been done; Signal with SIGKILL ends a sandbox that is not to be started.
func (c *Cmd) Prepare() error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if err := c.launch(); err != nil {
		return err
	}
	c.alive, c.ended = context.WithCancel(context.Background())
	err := c.unlessEnded(c.prepare)
	if err == nil {
		go c.watch()
		return nil
	}
	c.abandon()
	<-c.control.gone
	waited := c.outer.Wait()
	c.release()
	switch {
	case c.ctx.Err() != nil:
		return context.Cause(c.ctx)
	case errors.Is(err, errSilent):
		return unavailable(c.complaint.String(), waited)
	}
	return err
}

// Start returns when the command runs. Its faults are sandbox.unavailable, where no sandbox can be made,
// and sandbox.cannot_run, where the command itself cannot be executed. What env holds is added to the
// environment of the Spec: values that nobody was to know before.
func (c *Cmd) Start(env ...string) error {
	if c.first == nil {
		if err := c.Prepare(); err != nil {
			return err
		}
	}
	err := c.unlessEnded(func() error { return c.control.start(c.command(slices.Concat(c.spec.Env, c.proxied, env))) })
	if err == nil {
		return nil
	}
	c.abandon()
	c.Wait()
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	return err
}

// unlessEnded does what brings the command further, and gives all up when the context ends meanwhile.
func (c *Cmd) unlessEnded(do func() error) error {
	stop := context.AfterFunc(c.ctx, c.abandon)
	err := do()
	if !stop() && err == nil {
		err = c.ctx.Err()
	}
	return err
}

// launch starts bubblewrap with the first process in it, which waits for orders.
func (c *Cmd) launch() (err error) {
	control, theirs, err := newControl()
	if err != nil {
		return err
	}
	inherited := []*os.File{theirs, c.sandbox.self, nil} // 3, 4, 5: see package first
	closing := []*os.File{theirs}
	defer func() {
		closeAll(closing)
		if err != nil {
			control.conn.Close()
		}
	}()
	stderr, err := c.stderr()
	if err != nil {
		return err
	}
	inherited[2] = stderr
	if stderr != c.spec.Stderr {
		closing = append(closing, stderr)
	}
	self := "/proc/self/fd/" + itoa(first.SelfFD)
	if c.sandbox.Off() {
		c.outer = exec.Command(self, first.Name)
		c.outer.Env = []string{}
		c.outer.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	} else {
		flags, files, err := c.sandbox.flags(c.spec, 3+len(inherited))
		if err != nil {
			return err
		}
		inherited, closing = append(inherited, files...), append(closing, files...)
		c.outer = exec.Command(c.sandbox.settings.Bwrap, append(flags, "--", self, first.Name)...)
	}
	c.outer.ExtraFiles = inherited
	stdin, err := c.stdin()
	if err != nil {
		return err
	}
	if stdin != nil {
		c.outer.Stdin = stdin
		if stdin != c.spec.Stdin {
			closing = append(closing, stdin)
		}
	}
	c.outer.Stdout, c.outer.Stderr = c.spec.Stdout, &c.complaint
	c.control = control
	return c.outer.Start()
}

// stdin returns the file that the command reads, nil for none. A reader that never ends is not waited for.
func (c *Cmd) stdin() (*os.File, error) {
	if c.spec.Stdin == nil {
		return nil, nil
	}
	if file, ok := c.spec.Stdin.(*os.File); ok {
		return file, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		defer w.Close()
		io.Copy(w, c.spec.Stdin)
	}()
	return r, nil
}

// stderr returns the file that the command writes its errors to. Bubblewrap's own go elsewhere, so that
// they can be told apart.
func (c *Cmd) stderr() (*os.File, error) {
	if c.spec.Stderr == nil || c.merged() {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	if file, ok := c.spec.Stderr.(*os.File); ok {
		return file, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.copying.Go(func() {
		defer r.Close()
		io.Copy(c.spec.Stderr, r)
	})
	return w, nil
}

// merged reports whether both outputs go to one writer, which then sees them in order.
func (c *Cmd) merged() bool {
	out, err := c.spec.Stdout, c.spec.Stderr
	return out != nil && err != nil && reflect.TypeOf(out).Comparable() && out == err
}

// prepare limits the first process and opens the ports.
func (c *Cmd) prepare() (err error) {
	pid, err := c.control.awaitReady()
	if err != nil {
		return err
	}
	if c.first, err = os.FindProcess(pid); err != nil {
		return err
	}
	if c.limits, err = c.sandbox.settings.limit(pid, c.spec.Memory, c.spec.Processes); err != nil {
		return err
	}
	for _, f := range c.spec.Forwards {
		port, err := c.forward(f)
		if err != nil {
			return err
		}
		c.ports = append(c.ports, port)
	}
	for _, f := range c.spec.Listen {
		if err := c.listen(f); err != nil {
			return err
		}
	}
	if c.spec.Proxy != nil {
		listener, err := c.listenInside(0)
		if err != nil {
			return err
		}
		go c.spec.Proxy(listener)
		url := "http://" + listener.Addr().String()
		for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
			c.proxied = append(c.proxied, name+"="+url)
		}
	}
	return nil
}

// basePath are the folders of programs in the base system.
const basePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func (c *Cmd) command(env []string) first.Command {
	inside := func(text string) string { return c.sandbox.hostPath(c.spec.Binds, text) }
	command := first.Command{Dir: inside(c.spec.Dir), MergeStderr: c.merged(), Orphan: c.spec.Orphan}
	for _, arg := range c.spec.Args {
		command.Args = append(command.Args, inside(arg))
	}
	var path []string
	has := map[string]bool{}
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		parts := strings.Split(value, ":")
		for i := range parts {
			parts[i] = inside(parts[i])
		}
		has[name] = true
		if name == "PATH" {
			path = append(path, parts...)
			continue
		}
		command.Env = append(command.Env, name+"="+strings.Join(parts, ":"))
	}
	command.Env = append(command.Env, "PATH="+strings.Join(append(path, basePath), ":"))
	home := "/tmp"
	if c.sandbox.Off() {
		home = os.TempDir()
	}
	if !has["HOME"] {
		command.Env = append(command.Env, "HOME="+home)
	}
	if !has["LANG"] {
		command.Env = append(command.Env, "LANG=C.UTF-8")
	}
	return command
}

// watch ends the command with its context or when it goes over a limit, until all inside is dead.
func (c *Cmd) watch() {
	tick := make(<-chan time.Time)
	if c.limits.any() {
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		tick = ticker.C
	}
	full := make(chan error, 1)
	if c.spec.Disk > 0 {
		go c.watchDisk(full)
	}
	ctxDone, kill := c.ctx.Done(), make(<-chan time.Time)
	for {
		select {
		case <-c.control.gone:
			c.release()
			return
		case <-tick:
			if err := c.limits.exceeded(); err != nil {
				c.stop(err)
				c.kill()
			}
		case err := <-full:
			c.stop(err)
			c.kill()
		case <-ctxDone:
			ctxDone = nil
			c.stop(context.Cause(c.ctx))
			c.control.signal(syscall.SIGTERM)
			timer := time.NewTimer(c.spec.Grace)
			defer timer.Stop()
			kill = timer.C
		case <-kill:
			c.kill()
		}
	}
}

// stop keeps why the command was ended, for Wait.
func (c *Cmd) stop(reason error) {
	if c.reason == nil {
		c.reason = reason
	}
}

// kill ends everything inside. The end of the first process of a process namespace is the end of all
// its processes; with --sandbox=off it has to kill them itself.
func (c *Cmd) kill() {
	if c.sandbox.Off() {
		c.control.killAll()
		return
	}
	c.first.Kill()
}

// abandon ends a command that is not yet running.
func (c *Cmd) abandon() {
	c.control.abandon()
	if !c.sandbox.Off() {
		c.outer.Process.Kill()
	}
}

// release gives back what the command used on the host.
func (c *Cmd) release() {
	defer close(c.gone)
	c.ended()
	for _, o := range c.open {
		o.Close()
	}
	if c.limits != nil {
		if err := c.limits.exceeded(); err != nil {
			c.stop(err)
		}
		c.limits.close()
	}
}

// Wait waits until the command has ended and nothing of it is left. It returns nil for exit status 0, an
// *ExitError for another end, the cause of the context's end, or the fault sandbox.out_of_memory,
// sandbox.too_many_processes, sandbox.too_much_disk or sandbox.too_deep.
func (c *Cmd) Wait() error { return c.wait() }

func (c *Cmd) collect() error {
	<-c.gone
	c.outer.Wait()
	c.copying.Wait()
	end := c.control.end
	var f *fault.Fault
	switch {
	case errors.As(c.reason, &f):
		return f
	case c.reason != nil:
		return fmt.Errorf("the command was stopped: %w", c.reason)
	case end == nil:
		return &ExitError{Code: 137, Signal: syscall.SIGKILL}
	case end.Code != 0:
		return end
	}
	return nil
}

// Signal sends a signal to the command, or SIGKILL to everything inside.
func (c *Cmd) Signal(sig os.Signal) error {
	n, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("sandbox: %v is not a signal", sig)
	}
	select {
	case <-c.gone:
		return os.ErrProcessDone
	default:
		if n == syscall.SIGKILL {
			c.kill()
			return nil
		}
		return c.control.signal(n)
	}
}

// Port returns the port inside of the Spec's Forward with this index, once the command is prepared. It is taken
// and stays so: nobody else can have come to listen there.
func (c *Cmd) Port(forward int) int { return c.ports[forward] }

// Pid returns the process on the host that is the root of the command's processes, once it is prepared.
func (c *Cmd) Pid() int { return c.first.Pid }

// Done is closed when the command has ended and nothing of it is left.
func (c *Cmd) Done() <-chan struct{} { return c.gone }

// Dial connects to a port of 127.0.0.1 inside. It fails at once where nothing listens.
func (c *Cmd) Dial(ctx context.Context, port int) (net.Conn, error) {
	fd, err := c.control.socket()
	if err != nil {
		return nil, err
	}
	return connect(ctx, fd, port)
}

// DialListening is Dial that waits until something listens, and fails when the command has ended.
func (c *Cmd) DialListening(ctx context.Context, port int) (net.Conn, error) {
	fd, err := c.control.socket()
	if err != nil {
		return nil, err
	}
	if err := c.connectPatiently(ctx, fd, port); err != nil {
		syscall.Close(fd)
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "inside")
	defer file.Close()
	return net.FileConn(file)
}

func itoa[T int | int64](n T) string { return strconv.FormatInt(int64(n), 10) }
