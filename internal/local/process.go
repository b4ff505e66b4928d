package local

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

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
	socket  string // leads to the server inside
	backend *backend
	proxy   *proxy
	start   func(ctx context.Context, p *process) (*sandbox.Cmd, error)
	cleanup func(p *process)

	first   chan error    // how the first start went, once
	quit    chan struct{} // closed by stop
	once    sync.Once
	stopped chan struct{} // closed when nothing of it is left

	mu       sync.Mutex
	health   Health
	reason   string
	pid      int
	restarts int
	started  time.Time
	lastExit string
	barred   bool // the last attempt could not even start it
}

// status returns what the process does now, and why if it is not healthy.
func (p *process) status() (Process, string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Process{
		ID: p.id, Pid: p.pid, Health: p.health, Restarts: p.restarts, Started: p.started, LastExit: p.lastExit,
	}, p.reason, p.barred
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
	defer p.cleanup(p)
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
	ctx, kill := context.WithCancel(context.Background())
	defer kill()
	p.set(Progressing, "it is starting")
	os.Remove(p.socket)
	cmd, err := p.start(ctx, p)
	p.mu.Lock()
	p.barred = err != nil
	p.mu.Unlock()
	if err != nil {
		return fmt.Errorf("it could not be started: %w", err)
	}
	p.mu.Lock()
	p.pid, p.started = cmd.Pid(), time.Now().UTC()
	p.mu.Unlock()
	exit := make(chan error, 1)
	go func() { exit <- cmd.Wait() }()

	watch, stopWatching := context.WithCancel(ctx)
	unhealthy := make(chan error, 1)
	go func() { unhealthy <- p.watch(watch) }()

	var why error
	select {
	case err := <-exit:
		exit <- err
		why = p.ended(err)
	case why = <-unhealthy:
		unhealthy <- why
	case <-p.quit:
		why = errors.New("it was stopped")
	}
	stopWatching()
	<-unhealthy
	p.proxy.setReady(p.backend, false)
	cmd.Signal(syscall.SIGTERM)
	select {
	case err = <-exit:
	case <-time.After(killAfter):
		kill()
		err = <-exit
	}
	p.mu.Lock()
	p.pid, p.lastExit = 0, describeExit(err)
	p.mu.Unlock()
	return why
}

// ended says how a process that ended by itself did so.
func (p *process) ended(err error) error {
	text := "it ended: " + describeExit(err)
	if strings.Contains(text, "killed") {
		text += fmt.Sprintf("; its memory limit is %d MB", p.service.MemoryMB)
	}
	return errors.New(text)
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
	deadline := time.Now().Add(time.Duration(p.service.StartSec) * time.Second)
	pause := 5 * time.Millisecond
	for {
		err := p.probe(ctx)
		if err == nil {
			p.set(Healthy, "")
			p.report(nil)
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("it was not healthy within %d s: %w", p.service.StartSec, err)
		}
		if !sleep(ctx, pause) {
			return nil
		}
		pause = min(pause*3/2, 250*time.Millisecond)
	}
	for failures := 0; sleep(ctx, probeEvery); {
		err := p.probe(ctx)
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

func (p *process) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeEvery)
	defer cancel()
	return answers(ctx, p.socket, p.service.Health)
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

// newProcess makes a process of the fleet; nothing runs before run.
func (a *agent) newProcess(f *fleet, log *serviceLog, to *proxy) *process {
	random := make([]byte, 4)
	rand.Read(random)
	p := &process{
		id: "p" + hex.EncodeToString(random), service: f.service, log: log, proxy: to,
		first: make(chan error, 1), quit: make(chan struct{}), stopped: make(chan struct{}),
		health: Progressing, reason: "it is starting",
	}
	p.socket = filepath.Join(a.dir, "run", p.id, "http.sock")
	p.backend = newBackend(p.socket, a.log.With("service", f.service.Name, "process", p.id))
	p.start = func(ctx context.Context, p *process) (*sandbox.Cmd, error) { return a.startSandboxed(ctx, f, p) }
	p.cleanup = func(p *process) {
		os.RemoveAll(filepath.Dir(p.socket))
		removeTree(a.home(p))
	}
	return p
}

func (a *agent) home(p *process) string { return filepath.Join(a.dir, "homes", p.id) }

// startSandboxed starts one copy of the fleet's service. Inside it sees its artifact at /app, a folder of
// its own at /home/app, its volumes, and nothing else of this machine.
func (a *agent) startSandboxed(ctx context.Context, f *fleet, p *process) (*sandbox.Cmd, error) {
	s := f.service
	if !a.artifacts.has(s.Artifact) {
		return nil, artifactMissing(s.Artifact)
	}
	home := a.home(p)
	if err := cmp.Or(os.MkdirAll(home, 0o700), os.MkdirAll(filepath.Dir(p.socket), 0o700)); err != nil {
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
	spec.Listen = []sandbox.Forward{{Port: port, Socket: p.socket}}
	env := map[string]string{
		"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/app", "TMPDIR": "/tmp", "LANG": "C.UTF-8",
		"PORT": strconv.Itoa(port), "FLYWHEEL_SERVICE": s.Name, "FLYWHEEL_PROCESS": p.id, "FLYWHEEL_RELEASE": s.Artifact,
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
	maps.Copy(env, f.secrets)
	for _, name := range sortedKeys(env) {
		spec.Env = append(spec.Env, name+"="+env[name])
	}
	out := &lineWriter{log: p.log, process: p.id, hide: hider(f.secrets)}
	spec.Stdout, spec.Stderr = out, out
	cmd, err := a.sandbox.Command(ctx, spec)
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { <-ctx.Done(); out.flush() }()
	return cmd, nil
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

// hider replaces the values of secrets in what an app prints. Very short values are left, they would
// make the log unreadable and hide nothing.
func hider(secrets map[string]string) *strings.Replacer {
	var pairs []string
	for _, name := range sortedKeys(secrets) {
		if len(secrets[name]) >= 6 {
			pairs = append(pairs, secrets[name], "[secret "+name+"]")
		}
	}
	return strings.NewReplacer(pairs...)
}
