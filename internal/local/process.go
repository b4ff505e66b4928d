package local

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/sandbox"
)

const (
	insidePort    = 8080                   // where an app listens inside its own network
	insideUses    = 9001                   // the first port inside that leads to another service
	maxProcesses  = 512                    // of one copy of an app, threads included
	firstBackOff  = 250 * time.Millisecond // before the first restart; doubles up to lastBackOff
	lastBackOff   = 30 * time.Second
	steadyAfter   = time.Minute     // a process that ran so long starts again with firstBackOff
	probeEvery    = 5 * time.Second // of a ready process
	probeFailures = 3               // in a row until it counts as not ready
	killAfter     = 5 * time.Second // from SIGTERM to SIGKILL
)

// fleet is the set of processes that run one version of a service.
type fleet struct {
	service   Service
	secrets   map[string]string // environment name → value
	processes []*process
}

// same reports whether the fleet's processes can go on for this service and these secrets.
func (f *fleet) same(service Service, secrets map[string]string) bool {
	return f.service.sameFleet(service) && maps.Equal(f.secrets, secrets)
}

// process keeps one copy of a service running: it starts it in the sandbox, watches its health, and
// starts it again with exponential back-off when it ends.
type process struct {
	id      string
	service Service
	log     *serviceLog
	backend *backend
	proxy   *proxy
	start   func() (*sandbox.Cmd, int, error) // returns the port inside too
	explain func(error) error                 // why it could not be started
	hint    func() string                     // what is odd about its program; "" if nothing is
	room    func() error                      // why it must not start now: a volume is full
	cleanup func()
	full    chan overfull // gets why it is stopped, where it fills the disk
	output  *output

	restarted *atomic.Int64 // of all processes of the agent

	first   chan error    // how the first start went, once
	quit    chan struct{} // closed by stop
	once    sync.Once
	stopped chan struct{} // closed when nothing of it is left

	mu       sync.Mutex
	cmd      *sandbox.Cmd // nil while none runs
	port     int          // where it listens inside
	health   Health
	reason   string
	restarts int
	started  time.Time
	lastExit string
	barred   bool // the last attempt could not even start it
}

// status returns what the process does now, and why if it is not healthy.
func (p *process) status() (Process, string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	status := Process{ID: p.id, Health: p.health, Restarts: p.restarts, Started: p.started, LastExit: p.lastExit}
	if p.cmd != nil {
		status.Pid = p.cmd.Pid()
	}
	return status, p.reason, p.barred
}

func (p *process) set(health Health, reason string) {
	p.mu.Lock()
	p.health, p.reason = health, reason
	p.mu.Unlock()
	p.proxy.setReady(p.backend, health == Healthy)
}

// run keeps the process running until stop. The result of the first start goes to p.first.
func (p *process) run() {
	defer close(p.stopped)
	defer p.cleanup()
	backOff := firstBackOff
	for {
		began := time.Now()
		err := p.live()
		select {
		case <-p.quit:
			p.set(Degraded, "it was stopped")
			p.report(errors.New("it was stopped"))
			return
		default:
		}
		p.report(err)
		p.set(Degraded, err.Error())
		if time.Since(began) > steadyAfter {
			backOff = firstBackOff
		}
		select {
		case <-p.quit:
			return
		case <-time.After(backOff):
		}
		backOff = min(2*backOff, lastBackOff)
		p.mu.Lock()
		p.restarts++
		p.mu.Unlock()
		p.restarted.Add(1)
	}
}

// report hands over the result of the first start; later calls do nothing.
func (p *process) report(err error) {
	select {
	case p.first <- err:
	default:
	}
}

// live is one life of the process: from its start to its end. It returns why it ended.
func (p *process) live() error {
	p.set(Progressing, "it is starting")
	select {
	case <-p.full: // of a life before
	default:
	}
	if err := p.room(); err != nil {
		p.mu.Lock()
		p.barred = true
		p.mu.Unlock()
		return err
	}
	cmd, port, err := p.start()
	p.mu.Lock()
	p.barred = err != nil
	if err == nil {
		p.cmd, p.port, p.started = cmd, port, time.Now().UTC()
	}
	p.mu.Unlock()
	if err != nil {
		return fmt.Errorf("it could not be started: %w", p.explain(err))
	}
	ctx, stopWatching := context.WithCancel(context.Background())
	unhealthy := make(chan error, 1)
	go func() { unhealthy <- p.watch(ctx) }()
	var why error
	select {
	case <-cmd.Done():
		why = p.ended(cmd.Wait())
	case why = <-unhealthy:
		unhealthy <- nil
	case filled := <-p.full:
		why = errors.New("it was stopped, because " + filled.why)
		if filled.home {
			defer p.cleanup()
		}
	case <-p.quit:
		why = errors.New("it was stopped")
	}
	stopWatching()
	<-unhealthy
	p.proxy.setReady(p.backend, false)
	cmd.Signal(syscall.SIGTERM)
	select {
	case <-cmd.Done():
	case <-time.After(killAfter):
		cmd.Signal(syscall.SIGKILL)
	}
	err = cmd.Wait()
	p.output.flush()
	p.mu.Lock()
	p.cmd, p.lastExit = nil, describeExit(err)
	p.mu.Unlock()
	return why
}

type sandboxDialer func(cmd *sandbox.Cmd, ctx context.Context, port int) (net.Conn, error)

// dial connects to the server inside.
func (p *process) dial(ctx context.Context) (net.Conn, error) {
	return p.reach(ctx, (*sandbox.Cmd).Dial)
}

func (p *process) reach(ctx context.Context, dial sandboxDialer) (net.Conn, error) {
	p.mu.Lock()
	cmd, port := p.cmd, p.port
	p.mu.Unlock()
	if cmd == nil {
		return nil, errors.New("the process does not run")
	}
	return dial(cmd, ctx, port)
}

// ended says how a process that ended by itself did so.
func (p *process) ended(err error) error {
	if fault.Is(err, "sandbox.out_of_memory") {
		return fmt.Errorf("it ended: it used more than its %d MB of memory", p.service.MemoryMB)
	}
	why := "it ended: " + describeExit(err)
	if hint := p.hint(); hint != "" {
		why += "; " + hint
	}
	return errors.New(why)
}

func describeExit(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// watch waits until the process is healthy, then looks after its health until ctx ends. It returns an
// error if the process does not become healthy in time.
func (p *process) watch(ctx context.Context) error {
	began := time.Now()
	deadline := began.Add(time.Duration(p.service.StartSec) * time.Second)
	pause := time.Millisecond
	for {
		// A process that does not listen yet is waited for, so that the release waits no longer than it must.
		err := p.probe(ctx, (*sandbox.Cmd).DialListening)
		if err == nil {
			p.set(Healthy, "")
			p.report(nil)
			break
		}
		if time.Now().After(deadline) {
			if port, silent := p.nothingListens(ctx); silent {
				return fmt.Errorf("nothing listens on port %d of 127.0.0.1, which $PORT names, after %d s", port, p.service.StartSec)
			}
			return fmt.Errorf("it was not healthy within %d s: %w", p.service.StartSec, err)
		}
		if !sleep(ctx, pause) {
			return nil
		}
		pause = min(pause*3/2, 250*time.Millisecond)
	}
	for failures := 0; sleep(ctx, probeEvery); {
		err := p.probe(ctx, (*sandbox.Cmd).Dial)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil && failures >= probeFailures:
			p.set(Healthy, "")
			failures = 0
		case err == nil:
			failures = 0
		default:
			if failures++; failures == probeFailures {
				p.set(Degraded, err.Error())
			}
		}
	}
	return nil
}

// nothingListens reports whether the port where the server is to listen is closed.
func (p *process) nothingListens(ctx context.Context) (port int, silent bool) {
	p.mu.Lock()
	port = p.port
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, probeEvery)
	defer cancel()
	conn, err := p.dial(ctx)
	if err == nil {
		conn.Close()
	}
	return port, errors.Is(err, syscall.ECONNREFUSED)
}

// probe returns nil if the server inside, reached by dial, answers its health check.
func (p *process) probe(ctx context.Context, dial sandboxDialer) error {
	ctx, cancel := context.WithTimeout(ctx, probeEvery)
	defer cancel()
	return answers(ctx, func(ctx context.Context) (net.Conn, error) { return p.reach(ctx, dial) }, p.service.HealthPath)
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// stop ends the process: SIGTERM, then SIGKILL. It returns when nothing of it is left.
func (p *process) stop() {
	p.once.Do(func() { close(p.quit) })
	<-p.stopped
}

// newProcess makes a process of the fleet; nothing runs before run. Its first start is in the sandbox that
// was prepared for it, if there is one.
func (a *agent) newProcess(f *fleet, log *serviceLog, to *proxy, prepared *standby) *process {
	p := &process{
		service: f.service, log: log, proxy: to, restarted: &a.restarts,
		first: make(chan error, 1), full: make(chan overfull, 1), quit: make(chan struct{}), stopped: make(chan struct{}),
		health: Progressing, reason: "it is starting",
	}
	if prepared != nil {
		p.id, p.output = prepared.process, prepared.output
	} else {
		p.id = newProcessID()
		p.output = newOutput(log, p.id)
	}
	p.output.hides(f.secrets)
	p.backend = newBackend(p.dial, a.log.With("service", f.service.Name, "process", p.id))
	p.start = func() (*sandbox.Cmd, int, error) {
		defer func() { prepared = nil }()
		return a.startIn(prepared, f, p)
	}
	p.explain = func(err error) error { return a.notStarted(f.service, err) }
	p.room = func() error { return a.room(f.service) }
	p.hint = func() string { return a.lineEndings(f.service) }
	p.cleanup = func() { removeTree(a.home(p.id)) }
	return p
}

func newProcessID() string {
	random := make([]byte, 4)
	rand.Read(random)
	return "p" + hex.EncodeToString(random)
}

// insidePort returns the port an app sees. Each sandbox has its own network, so it may be the same for
// all; without the sandbox it must be a free one of this machine.
func (a *agent) insidePort(inside int) (int, error) {
	if !a.options.SandboxOff {
		return inside, nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
