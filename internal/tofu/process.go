package tofu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/sandbox"
	"flywheel.dev/flywheel/internal/tofu/supervisor"
)

// Hooks are what the supervisor of a run needs from the rest of the platform.
type Hooks struct {
	ServeProvider ServeProvider
	Sandbox       func(off bool) (*sandbox.Sandbox, error)
}

// RunSupervisor is the process `flywheel engine-run FOLDER`: it runs the orders on its standard input
// and leaves their result in the folder. It returns the exit code.
func RunSupervisor(folder string, hooks Hooks) int {
	start := func(l supervisor.Launch, o supervisor.Order, env []string, socket string, stdout, stderr io.Writer) (supervisor.Process, error) {
		box, err := hooks.Sandbox(l.SandboxOff)
		if err != nil {
			return nil, err
		}
		c := call{
			engine: l.Engine, args: o.Args, dir: l.Dir, env: env, readable: l.Readable, writable: l.Writable,
			stdout: stdout, stderr: stderr, forwards: []sandbox.Forward{{Port: l.StatePort, Socket: l.StateSocket}},
		}
		if l.Network {
			c.network = sandbox.Host
		}
		if socket != "" {
			if err := c.forwardProvider(socket); err != nil {
				return nil, err
			}
		}
		return c.sandboxed(context.Background(), box)
	}
	return supervisor.Main(folder, supervisor.Hooks{Serve: hooks.ServeProvider, Start: start, Exit: exitOf})
}

// call is one engine command and everything it may use. What it can read and reach is its limit only in
// the sandbox.
type call struct {
	engine   string
	args     []string
	dir      string
	env      []string
	readable []string // of the host, at the same place inside
	writable []string
	forwards []sandbox.Forward
	network  sandbox.Network
	stdout   io.Writer
	stderr   io.Writer
}

// run runs the command to its end, in box, or outside if box is nil. The end of ctx interrupts it.
func (c call) run(ctx context.Context, box *sandbox.Sandbox) error {
	if box != nil {
		cmd, err := c.sandboxed(ctx, box)
		if err != nil {
			return err
		}
		return cmd.Wait()
	}
	cmd := exec.CommandContext(ctx, c.engine, c.args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.dir, c.env, c.stdout, c.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = sandboxGrace
	return cmd.Run()
}

// sandboxGrace is what an engine that keeps nothing has to end.
const sandboxGrace = 10 * time.Second

func (c call) sandboxed(ctx context.Context, box *sandbox.Sandbox) (*sandbox.Cmd, error) {
	spec := sandbox.Spec{
		Args: append([]string{c.engine}, c.args...), Dir: c.dir, Env: c.env,
		Network: c.network, Forwards: c.forwards, Stdout: c.stdout, Stderr: c.stderr, Grace: sandboxGrace,
		Binds:  []sandbox.Bind{{Source: c.engine, Target: c.engine}},
		Memory: 2 << 30, Processes: 512,
	}
	for _, path := range c.readable {
		spec.Binds = append(spec.Binds, sandbox.Bind{Source: path, Target: path})
	}
	for _, path := range c.writable {
		spec.Binds = append(spec.Binds, sandbox.Bind{Source: path, Target: path, Writable: true})
	}
	cmd, err := box.Command(ctx, spec)
	if err != nil {
		return nil, err
	}
	return cmd, cmd.Start()
}

// forwardProvider makes Flywheel's provider, served on socket, reachable inside, and says so in the
// environment: no socket of the host is in the sandbox's files.
func (c *call) forwardProvider(socket string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	c.forwards = append(c.forwards, sandbox.Forward{Port: port, Socket: socket})
	env := make([]string, 0, len(c.env))
	for _, v := range c.env {
		if reattach, ok := strings.CutPrefix(v, "TF_REATTACH_PROVIDERS="); ok {
			moved, err := reattachAt(reattach, port)
			if err != nil {
				return err
			}
			v = "TF_REATTACH_PROVIDERS=" + moved
		}
		env = append(env, v)
	}
	c.env = env
	return nil
}

func reattachAt(reattach string, port int) (string, error) {
	var providers map[string]map[string]any
	if err := json.Unmarshal([]byte(reattach), &providers); err != nil {
		return "", fmt.Errorf("TF_REATTACH_PROVIDERS: %w", err)
	}
	for _, p := range providers {
		p["Addr"] = map[string]string{"Network": "tcp", "String": "127.0.0.1:" + strconv.Itoa(port)}
		p["Pid"] = 1 // the engine gives up when it cannot signal it: inside, that is the sandbox's first process
	}
	b, err := json.Marshal(providers)
	return string(b), err
}

// exitOf says how a command ended: its exit code, and whether it was killed. One that an interrupt ended
// was not: it had not come so far as to catch it.
func exitOf(err error) (code int, killed bool) {
	var inside *sandbox.ExitError
	var plain *exec.ExitError
	switch {
	case err == nil:
		return 0, false
	case errors.As(err, &inside):
		return inside.Code, inside.Signal != 0 && inside.Signal != syscall.SIGINT
	case errors.As(err, &plain):
		return supervisor.ExitOf(plain)
	}
	return -1, true
}

// freePort returns a port of the loopback that nobody has right now, by chance: the kernel gives the same one to
// several who ask at the same time and let it go. In the sandbox every port is free.
func freePort() (int, error) {
	for tries := 1; ; tries++ {
		port := 33000 + rand.IntN(27000)
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			return port, l.Close()
		}
		if tries == 100 {
			return 0, err
		}
	}
}

// engineEnv is the environment of every engine command, to which a run adds its own. Nothing is
// inherited.
func engineEnv(data, config, home string) []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + home, "LANG=C.UTF-8",
		"TF_DATA_DIR=" + data, "TF_CLI_CONFIG_FILE=" + config,
		"TF_IN_AUTOMATION=1", "TF_INPUT=0", "CHECKPOINT_DISABLE=1",
		// An engine lives for a tenth of a second: collecting less garbage makes it a tenth faster.
		"GOGC=400", "GOMEMLIMIT=1GiB",
	}
}

// notServed tells init that somebody else starts Flywheel's provider, so that it is not looked for in a
// registry. Init does not connect to it.
const notServed = `TF_REATTACH_PROVIDERS={"` + ProviderAddress +
	`":{"Protocol":"grpc","ProtocolVersion":6,"Pid":1,"Test":true,"Addr":{"Network":"unix","String":"/nowhere"}}}`

func dirOf(paths ...string) []string {
	dirs := []string{}
	for _, p := range paths {
		if p != "" {
			dirs = append(dirs, filepath.Clean(p))
		}
	}
	return dirs
}
