package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/git"
	"flywheel.dev/flywheel/internal/outbound"
	"flywheel.dev/flywheel/internal/sandbox"
)

// Smoke runs the smoke test of an app (`test.smoke` in flywheel.yaml) against an instance that was just
// deployed: in the sandbox, with the app's own source, and with the instance as the only thing that it
// can reach.
type Smoke struct {
	DB      *db.DB
	Git     *git.Host
	Sandbox *sandbox.Sandbox
	Dir     string // of work folders
}

const (
	smokeTimeout  = 5 * time.Minute
	bridgeTimeout = 30 * time.Second // until a connection stands
	smokeDisk     = 4 << 30          // bytes that the source and what the test adds may take
)

// smokePort is where the test finds the instance inside the sandbox, as $URL says.
const smokePort = 8080

// run returns a summary, or a fault if the test failed. A change without a smoke test has none to fail.
func (s *Smoke) run(ctx context.Context, d Deployment, at outbound.Target, log io.Writer) (string, error) {
	if d.Change == "" || d.Trigger != ByChange {
		return "", nil // what is gone back to was tested when it came
	}
	var c change.Change
	if err := s.DB.Read(ctx, func(tx *db.Tx) (err error) { c, err = change.Find(tx, d.Change); return err }); err != nil {
		return "", err
	}
	if c.Proposal == nil || c.Proposal.Smoke == "" {
		return "", nil
	}
	work, err := os.MkdirTemp(s.Dir, "smoke-")
	if err != nil {
		return "", err
	}
	defer sandbox.RemoveAll(work)
	source := filepath.Join(work, "source")
	if err := s.Git.Export(ctx, c.Repo(), c.Merged, source); err != nil {
		return "", err
	}
	socket := filepath.Join(work, "instance.sock")
	bridge, err := openBridge(socket, at)
	if err != nil {
		return "", err
	}
	defer bridge.Close()
	ctx, cancel := context.WithTimeout(ctx, smokeTimeout)
	defer cancel()
	fmt.Fprintf(log, "$ %s\n", c.Proposal.Smoke)
	cmd, err := s.Sandbox.Command(ctx, sandbox.Spec{
		Args: []string{"/bin/sh", "-c", c.Proposal.Smoke}, Dir: "/app", Env: []string{fmt.Sprintf("URL=http://127.0.0.1:%d", smokePort), "CI=true"},
		Binds: []sandbox.Bind{{Source: source, Target: "/app", Writable: true}}, Forwards: []sandbox.Forward{{Port: smokePort, Socket: socket}},
		Memory: 1 << 30, Processes: 500, Disk: smokeDisk, Stdout: log, Stderr: log,
	})
	if err != nil {
		return "", err
	}
	err = cmd.Run()
	var exit *sandbox.ExitError
	switch {
	case ctx.Err() != nil:
		return "", fault.New(fault.Conflict, "verify.smoke_timeout", "The smoke test did not end within %s.", smokeTimeout)
	case errors.As(err, &exit):
		return "", fault.New(fault.Conflict, "verify.smoke_failed", "The smoke test failed: %s.", exit).Do("Its output is in the deployment's log.")
	}
	return "the smoke test passed", err
}

// openBridge listens on a Unix socket and carries each connection to the instance, and nowhere else. The test speaks
// plain HTTP; where the instance wants TLS, the bridge adds it.
func openBridge(socket string, to outbound.Target) (io.Closer, error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return // closed
			}
			go func() {
				defer in.Close()
				ctx, cancel := context.WithTimeout(context.Background(), bridgeTimeout)
				defer cancel()
				out, err := to.Dial(ctx)
				if err != nil {
					return // the test sees a connection that ends
				}
				defer out.Close()
				go func() {
					_, _ = io.Copy(out, in)
					_ = out.(interface{ CloseWrite() error }).CloseWrite()
				}()
				_, _ = io.Copy(in, out)
			}()
		}
	}()
	return l, nil
}
