package local

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/sandbox"
)

// standbyFor is how long a sandbox waits for the release that it was prepared for.
const standbyFor = 5 * time.Minute

// standby is a sandbox for one copy of a service in which nothing runs yet. It knows no secret: their
// values come with the start.
type standby struct {
	service Service
	process string // id of the process that it is for
	output  *output
	port    int // where the process is to listen inside
	cmd     *sandbox.Cmd
}

// newStandby makes a sandbox for one copy of the service. Inside it has its artifact at /app, a folder of
// its own at /home/app, its volumes, and nothing else of this machine.
func (a *agent) newStandby(s Service, process string, output *output) (*standby, error) {
	if !a.artifacts.has(s.Artifact) {
		return nil, artifactMissing(s.Artifact)
	}
	home := a.home(process)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, full(err)
	}
	spec := sandbox.Spec{
		Args: s.Command,
		Dir:  "/app",
		Binds: []sandbox.Bind{
			{Source: a.artifacts.path(s.Artifact), Target: "/app"},
			{Source: home, Target: "/home/app", Writable: true},
		},
		Memory:    int64(s.MemoryMB) << 20,
		Processes: maxProcesses,
		Stdout:    output,
		Stderr:    output,
		Grace:     killAfter,
	}
	for _, target := range sortedKeys(s.Volumes) {
		folder := a.volumePath(s.Volumes[target])
		if _, err := os.Stat(folder); err != nil {
			return nil, volumeMissing(s.Volumes[target])
		}
		spec.Binds = append(spec.Binds, sandbox.Bind{Source: folder, Target: target, Writable: true})
	}
	port, err := a.insidePort(insidePort)
	if err != nil {
		return nil, err
	}
	env := map[string]string{
		"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/app", "TMPDIR": "/tmp", "LANG": "C.UTF-8",
		"PORT": strconv.Itoa(port), "FLYWHEEL_SERVICE": s.Name, "FLYWHEEL_PROCESS": process, "FLYWHEEL_RELEASE": s.Artifact,
	}
	for i, name := range sortedKeys(s.Uses) {
		port, err := a.insidePort(insideUses + i)
		if err != nil {
			return nil, err
		}
		gateway, err := a.gateway(s.Uses[name])
		if err != nil {
			return nil, err
		}
		spec.Forwards = append(spec.Forwards, sandbox.Forward{Port: port, Socket: gateway})
		env[name] = "http://127.0.0.1:" + strconv.Itoa(port)
	}
	maps.Copy(env, s.Env)
	spec.Env = environ(env)
	// The process ends by Signal, after its requests, not with a context.
	cmd, err := a.sandbox.Command(context.Background(), spec)
	if err != nil {
		return nil, err
	}
	return &standby{service: s, process: process, output: output, port: port, cmd: cmd}, cmd.Prepare()
}

func environ(values map[string]string) (env []string) {
	for _, name := range sortedKeys(values) {
		env = append(env, name+"="+values[name])
	}
	return env
}

// start starts the app.
func (b *standby) start(secrets map[string]string) error { return b.cmd.Start(environ(secrets)...) }

// fits reports whether a process of the service can start in it.
func (b *standby) fits(s Service) bool {
	select {
	case <-b.cmd.Done():
		return false
	default:
		return b.service.sameFleet(s)
	}
}

// discard ends sandboxes that no process will start in.
func (a *agent) discard(surplus []*standby) {
	for _, b := range surplus {
		a.retiring.Go(func() {
			b.cmd.Signal(syscall.SIGKILL)
			b.cmd.Wait()
			removeTree(a.home(b.process))
		})
	}
}

// prepare makes the sandboxes that the release of this artifact will need, one for each process, and
// nothing else: no line of the app runs. The release starts in them, if the service is still the same by
// then; else, or where they are gone, it makes its own. Asked again it keeps what fits.
func (a *agent) prepare(instance, id, artifact string) error {
	unlock := a.lock(id)
	defer unlock()
	s, err := a.own(instance, id)
	if err != nil {
		return err
	}
	wanted := s.record.Service
	wanted.Artifact = artifact
	if err := wanted.check(); err != nil {
		return err
	}
	if !a.artifacts.has(artifact) {
		return artifactMissing(artifact)
	}
	// Without the sandbox, the port of a process that does not run yet could be taken by another program.
	if a.options.SandboxOff || artifact == s.record.Service.Artifact {
		return nil
	}
	var ready []*standby
	for len(ready) < wanted.Instances {
		b := s.take(wanted)
		if b == nil {
			process := newProcessID()
			var err error
			if b, err = a.newStandby(wanted, process, newOutput(s.log, process)); err != nil {
				removeTree(a.home(process))
				a.discard(ready)
				return err
			}
		}
		ready = append(ready, b)
	}
	a.discard(s.setStandbys(ready))
	s.prepared = time.Now()
	time.AfterFunc(standbyFor, func() {
		unlock := a.lock(id)
		defer unlock()
		if time.Since(s.prepared) >= standbyFor {
			a.discard(s.setStandbys(nil))
		}
	})
	return nil
}

// take returns a prepared sandbox that fits, nil if there is none. The caller has the service's lock.
func (s *service) take(wanted Service) *standby {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, b := range s.standbys {
		if b.fits(wanted) {
			s.standbys = append(s.standbys[:i:i], s.standbys[i+1:]...)
			return b
		}
	}
	return nil
}

// setStandbys replaces the prepared sandboxes and returns those before.
func (s *service) setStandbys(ready []*standby) (before []*standby) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, s.standbys = s.standbys, ready
	return before
}

// startIn starts the fleet's process in the sandbox that was prepared for it, or in a new one if it is gone.
func (a *agent) startIn(prepared *standby, f *fleet, p *process) (*sandbox.Cmd, int, error) {
	if prepared != nil {
		if err := prepared.start(f.secrets); !errors.Is(err, os.ErrProcessDone) {
			return prepared.cmd, prepared.port, err
		}
	}
	b, err := a.newStandby(f.service, p.id, p.output)
	if err != nil {
		return nil, 0, err
	}
	return b.cmd, b.port, b.start(f.secrets)
}

// home is the folder of a process.
func (a *agent) home(process string) string { return filepath.Join(a.dir, "homes", process) }
