package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/sandbox"
)

// Call is one engine command and everything that it may use. There is no other way to run an engine: what a
// module says is a stranger's, whoever certified it.
type Call struct {
	Engine   string
	Args     []string
	Dir      string
	Env      []string
	Readable []string // of the host, at the same place inside
	Writable []string
	Disk     int64              // bytes that Writable may hold; 0 for the usual limit
	Network  bool               // the host's; granted by an environment
	Fetch    func(net.Listener) `json:"-"` // a proxy.Proxy's Serve: what it may fetch without a network of its own
	Orphan   time.Duration      // what it has to end when the platform is killed; 0 kills it at once
	// StateSocket is the Unix socket where the state is served, and StatePath its path there. The engine reaches it
	// on a port of its loopback.
	StateSocket string
	StatePath   string
	// Provider is the Unix socket of Flywheel's own provider, and Reattach the value of TF_REATTACH_PROVIDERS that
	// leads there.
	Provider string
	Reattach string
}

// Bounds of every engine and its plugins.
const (
	memory = 4 << 30
	tasks  = 512
	disk   = 2 << 30
)

// away is how long a connection waits for a server that restarts, so that a finished apply still gets
// its state stored.
const away = 2 * time.Minute

// grace is what an engine that keeps nothing has to end.
const grace = 10 * time.Second

// Prepared is a command whose sandbox is made. Nothing of it runs before Start.
type Prepared struct {
	*sandbox.Cmd
	env []string
}

// Prepare makes the sandbox of the command, so that its process can be noted before anything in it runs. The end of
// ctx interrupts the command.
func (c Call) Prepare(ctx context.Context, box *sandbox.Sandbox, stdout, stderr io.Writer) (*Prepared, error) {
	spec := sandbox.Spec{
		Args: append([]string{c.Engine}, c.Args...), Dir: c.Dir, Env: c.Env, Stdout: stdout, Stderr: stderr,
		Memory: memory, Processes: tasks, Disk: disk, Grace: grace, Orphan: c.Orphan, Proxy: c.Fetch,
	}
	if c.Disk > 0 {
		spec.Disk = c.Disk
	}
	for _, path := range append([]string{c.Engine}, c.Readable...) {
		spec.Binds = append(spec.Binds, sandbox.Bind{Source: path, Target: path})
	}
	for _, path := range c.Writable {
		spec.Binds = append(spec.Binds, sandbox.Bind{Source: path, Target: path, Writable: true})
	}
	if c.Network {
		spec.Network = sandbox.Host
	}
	if c.StateSocket != "" {
		spec.Forwards = []sandbox.Forward{{Socket: c.StateSocket, Patience: away}}
	}
	if c.Provider != "" {
		// The socket itself and nothing beside it. On a port, whoever else has the host's network would reach it.
		spec.Binds = append(spec.Binds, sandbox.Bind{Source: c.Provider, Target: c.Provider})
	}
	cmd, err := box.Command(ctx, spec)
	if err != nil {
		return nil, err
	}
	p := &Prepared{Cmd: cmd}
	if c.Reattach != "" {
		reattach, err := reattachInside(c.Reattach, box.Off())
		if err != nil {
			return nil, err
		}
		p.env = append(p.env, "TF_REATTACH_PROVIDERS="+reattach)
	}
	if err := cmd.Prepare(); err != nil {
		return nil, err
	}
	if c.StateSocket != "" {
		address := "http://127.0.0.1:" + strconv.Itoa(cmd.Port(0)) + c.StatePath
		p.env = append(p.env, "TF_HTTP_ADDRESS="+address, "TF_HTTP_LOCK_ADDRESS="+address, "TF_HTTP_UNLOCK_ADDRESS="+address)
	}
	return p, nil
}

// Start starts the command.
func (p *Prepared) Start() error { return p.Cmd.Start(p.env...) }

// Run runs the command to its end.
func (c Call) Run(ctx context.Context, box *sandbox.Sandbox, stdout, stderr io.Writer) error {
	p, err := c.Prepare(ctx, box, stdout, stderr)
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		return err
	}
	return p.Wait()
}

// reattachInside makes the provider's process the first one of the sandbox: the engine gives up when it cannot
// signal it.
func reattachInside(reattach string, off bool) (string, error) {
	if off {
		return reattach, nil
	}
	var providers map[string]map[string]any
	if err := json.Unmarshal([]byte(reattach), &providers); err != nil {
		return "", fmt.Errorf("TF_REATTACH_PROVIDERS: %w", err)
	}
	for _, p := range providers {
		p["Pid"] = 1
	}
	b, err := json.Marshal(providers)
	return string(b), err
}

// ExitOf says how a command ended: its exit code, and whether it was killed. One that an interrupt ended
// was not: it had not come so far as to catch it.
func ExitOf(err error) (code int, killed bool) {
	var exit *sandbox.ExitError
	switch {
	case err == nil:
		return 0, false
	case errors.As(err, &exit):
		return exit.Code, exit.Signal != 0 && exit.Signal != syscall.SIGINT
	}
	return -1, true
}
