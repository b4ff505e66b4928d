package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/sandbox"
)

// AgentOptions says where and how an agent runs.
type AgentOptions struct {
	Data       string       // its folder; nothing else may use it
	Self       string       // the flywheel binary, for the first process inside a sandbox; "" is this one
	Version    string       // shown by Health
	Log        *slog.Logger // nil discards
	Proxies    []string     // addresses and ranges of proxies in front of apps, which are believed who their clients are
	HomeMB     int          // what the home of one process may hold; 0 means DefaultHomeMB
	SandboxOff bool         // apps run as plain processes; for machines without user namespaces, and audited by the platform
}

// Stable ports are chosen here, below the range that the kernel gives to outgoing connections: an
// address that is kept must not be taken by somebody's connection while the agent is away.
const (
	firstPort = 20000
	lastPort  = 29999
)

// linger is how long processes that were replaced stay at least: their end takes processor time, which the first
// requests to the new ones need more.
const linger = 100 * time.Millisecond

// stopPatience bounds how long a stopping agent lets requests finish.
const stopPatience = 10 * time.Second

// agent runs the services of one folder.
type agent struct {
	options   AgentOptions
	dir       string
	log       *slog.Logger
	sandbox   *sandbox.Sandbox
	store     *store
	artifacts artifacts
	proxies   []netip.Prefix
	started   time.Time
	ctx       context.Context // ends when the agent stops
	stopping  context.CancelFunc

	locks    sync.Map // id → *sync.Mutex: one change of a service at a time
	retiring sync.WaitGroup

	mu       sync.Mutex
	services map[string]*service
	gateways map[string]*front   // id of a service → the socket through which others reach it
	applying map[string]applying // what is being brought up, by the id of its service
	measured measurement
	disks    disks
	starting []*process // of services that are being brought up
	restarts atomic.Int64
	fences   sync.Mutex // one reader and writer of an instance's record at a time
}

// applying is a service that is being brought up. Nothing that it needs is removed meanwhile.
type applying struct {
	service Service
	fence   int64
	giveUp  context.CancelCauseFunc
}

// service is one running service.
type service struct {
	id       string
	instance string
	log      *serviceLog
	proxy    *proxy

	mu     sync.Mutex
	record serviceRecord
	fleet  *fleet
	front  *front // nil while the stable port is taken by somebody else
	reason string // why front is nil
	change string // what is being changed now, "" if nothing

	standbys []*standby // sandboxes for the next release
	prepared time.Time  // when they were last asked for; read and written with the service's lock
}

// RunAgent runs the agent of options.Data until ctx ends or a client asks it to stop. It returns a fault
// `agent.running` if another agent has the folder.
func RunAgent(ctx context.Context, options AgentOptions) error {
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	options.HomeMB = cmp.Or(options.HomeMB, DefaultHomeMB)
	dir, err := filepath.Abs(options.Data)
	if err != nil {
		return err
	}
	for _, name := range []string{"", "artifacts", "volumes", "homes", "logs", "run"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return full(err)
		}
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	clearLeftovers(dir)
	a := &agent{
		options: options, dir: dir, log: options.Log, started: time.Now().UTC(),
		artifacts: artifacts{dir: filepath.Join(dir, "artifacts")},
		services:  map[string]*service{}, gateways: map[string]*front{}, applying: map[string]applying{},
	}
	for _, text := range options.Proxies {
		trusted, err := trustedProxy(text)
		if err != nil {
			return err
		}
		a.proxies = append(a.proxies, trusted)
	}
	a.ctx, a.stopping = context.WithCancel(ctx)
	defer a.stopping()
	if a.store, err = openStore(dir); err != nil {
		return err
	}
	if a.sandbox, err = sandbox.New(sandbox.Options{Self: options.Self, Off: options.SandboxOff}); err != nil {
		return err
	}
	if err := a.restore(); err != nil {
		a.stop()
		return err
	}
	socket := filepath.Join(dir, "agent.sock")
	listener, err := listenUnix(socket)
	if err != nil {
		a.stop()
		return err
	}
	api := &http.Server{Handler: a.routes(), ReadHeaderTimeout: headTimeout, IdleTimeout: idleTimeout, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelWarn)}
	go api.Serve(listener)
	go a.watchDisks()
	a.log.Info("the agent runs", "folder", dir, "services", len(a.services))
	<-a.ctx.Done()
	a.log.Info("the agent stops")
	os.Remove(socket)
	a.stop()
	ended, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	api.Shutdown(ended)
	api.Close()
	return nil
}

// trustedProxy reads an address or a range.
func trustedProxy(text string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return prefix, fault.New(fault.Invalid, "configuration.proxy", "%q is not the address of a proxy.", text).
			Do("Write addresses or ranges, for example 127.0.0.1 or 10.0.0.0/8.").Because(err)
	}
	if ip := prefix.Addr(); ip.Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(ip.Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), nil
}

// lockFolder makes this process the only agent of dir for as long as the file is open.
func lockFolder(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, "agent.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, fault.New(fault.Conflict, "agent.running", "Another agent runs in %s.", dir).
			Do("Use that one, or stop it first.").Because(err)
	}
	return file, nil
}

// clearLeftovers removes what an agent that was killed left behind. Its apps died with it.
func clearLeftovers(dir string) {
	for _, name := range []string{"run", "homes"} {
		entries, _ := os.ReadDir(filepath.Join(dir, name))
		for _, entry := range entries {
			removeTree(filepath.Join(dir, name, entry.Name()))
		}
	}
	incoming, _ := filepath.Glob(filepath.Join(dir, "artifacts", "incoming-*"))
	for _, name := range incoming {
		removeTree(name)
	}
	records, _ := filepath.Glob(filepath.Join(dir, "state", "*", ".new-*"))
	for _, name := range records {
		os.Remove(name)
	}
}

// restore brings back every service on its address. A service that cannot run now is kept and shown with
// the reason; it never keeps the others from running.
func (a *agent) restore() error {
	ids, err := a.store.ids("services")
	if err != nil {
		return err
	}
	for _, id := range ids {
		s := &service{id: id, proxy: &proxy{}}
		if err := a.store.load("services", id, &s.record); err != nil {
			return err
		}
		secrets, err := a.secretsOf(s.record.Service)
		if err != nil {
			a.log.Warn("a service comes back without its secrets", "service", id, "error", err)
		}
		s.instance, s.log = s.record.Service.Instance, openLog(a.logFile(id))
		s.fleet = &fleet{service: s.record.Service, secrets: secrets}
		for range s.record.Service.Instances {
			s.fleet.processes = append(s.fleet.processes, a.newProcess(s.fleet, s.log, s.proxy, nil))
		}
		s.proxy.replace(s.fleet.backends())
		a.services[id] = s
		a.openFront(s)
	}
	a.letGo() // a process that had one may have died with the agent before
	for _, s := range a.services {
		for _, p := range s.fleet.processes {
			go p.run()
		}
	}
	return nil
}

// openFront listens on the service's stable port. If somebody else has the port it tries again until the
// service or the agent ends.
func (a *agent) openFront(s *service) {
	listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(s.record.Port))
	if err == nil {
		s.mu.Lock()
		s.front, s.reason = a.front(listener, s), ""
		s.mu.Unlock()
		return
	}
	s.mu.Lock()
	s.reason = fmt.Sprintf("port %d is taken by another program", s.record.Port)
	s.mu.Unlock()
	time.AfterFunc(time.Second, func() {
		unlock := a.lock(s.id)
		defer unlock()
		if a.ctx.Err() == nil && a.find(s.id) == s && s.front == nil {
			a.openFront(s)
		}
	})
}

// front serves the service's stable address on the listener.
func (a *agent) front(listener net.Listener, s *service) *front {
	return serveFront(listener, func() *proxy { return s.proxy }, a.proxies, a.log)
}

// stop ends every service, letting requests finish for stopPatience.
func (a *agent) stop() {
	a.stopping()
	a.mu.Lock()
	services, gateways := a.services, a.gateways
	a.services, a.gateways = map[string]*service{}, map[string]*front{}
	a.mu.Unlock()
	var all sync.WaitGroup
	for _, s := range services {
		all.Go(func() {
			unlock := a.lock(s.id)
			defer unlock()
			if s.front != nil {
				s.front.stop(stopPatience)
			}
			a.discard(s.setStandbys(nil))
			s.fleet.stop()
			s.log.close(false)
		})
	}
	for _, gateway := range gateways {
		all.Go(func() { gateway.stop(stopPatience) })
	}
	all.Wait()
	a.retiring.Wait()
}

func (f *fleet) backends() []*backend {
	var backends []*backend
	for _, p := range f.processes {
		backends = append(backends, p.backend)
	}
	return backends
}

// stop ends all processes of the fleet at once.
func (f *fleet) stop() { stopAll(f.processes) }

func stopAll(processes []*process) {
	var all sync.WaitGroup
	for _, p := range processes {
		all.Go(p.stop)
	}
	all.Wait()
}

// lock waits for its turn to change the service id and returns what ends the turn.
func (a *agent) lock(id string) (unlock func()) {
	value, _ := a.locks.LoadOrStore(id, &sync.Mutex{})
	mu := value.(*sync.Mutex)
	mu.Lock()
	return mu.Unlock
}

func (a *agent) find(id string) *service {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.services[id]
}

// own returns a service of the instance. One of another instance looks as if it were not there.
func (a *agent) own(instance, id string) (*service, error) {
	if s := a.find(id); s != nil && s.instance == instance {
		return s, nil
	}
	return nil, serviceMissing(id)
}

// apply brings a service to what is asked and returns when it is. If the new processes do not become
// healthy it stops them, leaves everything as it was and returns the fault `service.unhealthy`.
func (a *agent) apply(wanted Service, fence int64) (Status, error) {
	wanted = wanted.withDefaults()
	if err := wanted.check(); err != nil {
		return Status{}, err
	}
	unlock := a.lock(wanted.ID())
	defer unlock()
	if err := a.raiseFence(wanted.Instance, fence); err != nil {
		return Status{}, err
	}
	secrets, err := a.secretsOf(wanted)
	if err != nil {
		return Status{}, err
	}
	return a.applyLocked(wanted, secrets, fence, nil)
}

// release is apply with only the artifact changed, and with the secrets that come with it. They are written
// while the new processes start, and before anything that lasts.
func (a *agent) release(instance, id string, asked releaseRequest, fence int64) (Status, error) {
	unlock := a.lock(id)
	defer unlock()
	s, err := a.own(instance, id)
	if err != nil {
		return Status{}, err
	}
	wanted := s.record.Service
	wanted.Artifact = asked.Artifact
	if err := wanted.check(); err != nil {
		return Status{}, err
	}
	secrets, err := wanted.pick(asked.Secrets)
	if err != nil {
		return Status{}, err
	}
	write, err := a.replaceSecrets(wanted.Instance, asked.Secrets, fence)
	if err != nil {
		return Status{}, err
	}
	written := make(chan error, 1)
	go func() { written <- write() }()
	return a.applyLocked(wanted, secrets, fence, written)
}

// applyLocked is apply for who has the service's lock. Nothing lasting happens before written, where there is
// one, has told that the instance's record is on disk.
func (a *agent) applyLocked(wanted Service, secrets map[string]string, fence int64, written <-chan error) (Status, error) {
	id := wanted.ID()
	s := a.find(id)
	ctx, err := a.reserve(wanted, fence)
	if fault.Is(err, cancelled) && s != nil && reflect.DeepEqual(s.record.Service, wanted) {
		return a.status(s), nil // it had switched before
	}
	if err != nil {
		return Status{}, err
	}
	defer a.unreserve(id)
	if s == nil {
		return a.create(ctx, wanted, secrets) // never by a release, so nothing is being written
	}
	s.setChange("it is being changed")
	defer s.setChange("")

	// First the address: it must be free before anything is started for it.
	next := serviceRecord{Service: wanted, Port: s.record.Port}
	var moved *front
	if wanted.Port != 0 && wanted.Port != s.record.Port {
		listener, err := a.listen(wanted.Port)
		if err != nil {
			return Status{}, err
		}
		next.Port = wanted.Port
		moved = a.front(listener, s)
	}
	if err := a.replaceProcesses(ctx, s, next, secrets, written); err != nil {
		if moved != nil {
			moved.stop(time.Second)
		}
		return Status{}, err
	}
	if moved != nil {
		s.mu.Lock()
		old := s.front
		s.front, s.reason = moved, ""
		s.mu.Unlock()
		if old != nil {
			a.retiring.Go(func() { old.stop(time.Duration(wanted.DrainSec) * time.Second) })
		}
	}
	s.setChange("")
	return a.status(s), nil
}

// replaceProcesses makes the processes of s those of next, in the order: start, wait until healthy, write
// the record, switch, drain, stop. Processes that can go on are kept.
func (a *agent) replaceProcesses(ctx context.Context, s *service, next serviceRecord, secrets map[string]string, written <-chan error) error {
	old := s.fleet
	fresh := &fleet{service: next.Service, secrets: secrets}
	var keep, leave []*process
	if old.same(next.Service, secrets) && settled(ctx, old) {
		keep = old.processes[:min(len(old.processes), next.Service.Instances)]
	}
	leave = old.processes[len(keep):]
	fresh.processes = append(fresh.processes, keep...)
	var begun []*process
	for range next.Service.Instances - len(keep) {
		begun = append(begun, a.newProcess(fresh, s.log, s.proxy, s.take(fresh.service)))
	}
	a.discard(s.setStandbys(nil))
	fresh.processes = append(fresh.processes, begun...)
	if err := a.startAll(ctx, fresh.service, s.log, begun); err != nil {
		return err
	}
	var err error
	if written != nil {
		err = <-written
	}
	next.Updated = time.Now().UTC()
	if err == nil {
		err = a.store.save("services", s.id, next)
	}
	if err != nil {
		stopAll(begun)
		return err
	}
	s.mu.Lock()
	s.record, s.fleet = next, fresh
	idle := s.proxy.replace(fresh.backends())
	s.mu.Unlock()
	a.retire(leave, idle, time.Duration(next.Service.DrainSec)*time.Second)
	return nil
}

// settled waits while processes of the fleet are starting, and reports whether all are healthy then.
func settled(ctx context.Context, f *fleet) bool {
	for {
		health, _ := f.health()
		if health != Progressing {
			return health == Healthy
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return false
		}
	}
}

// startAll starts the processes and returns when all are healthy. If one does not become so it stops them
// all and returns the fault `service.unhealthy` with the reason and their last lines; if ctx ends before, it
// stops them as well and returns the cause.
func (a *agent) startAll(ctx context.Context, s Service, log *serviceLog, processes []*process) error {
	a.mu.Lock()
	a.starting = append(a.starting, processes...)
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.starting = slices.DeleteFunc(a.starting, func(p *process) bool { return slices.Contains(processes, p) })
	}()
	failed := make(chan error, len(processes))
	for _, p := range processes {
		go p.run()
		go func() { failed <- <-p.first }()
	}
	var err error
	for range processes {
		select {
		case err = <-failed:
		case <-ctx.Done():
			if err = context.Cause(ctx); a.ctx.Err() != nil {
				err = agentStopping()
			}
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		return nil
	}
	stopAll(processes)
	var known *fault.Fault
	if errors.As(err, &known) && known.Code != "sandbox.cannot_run" { // not the version's fault
		return known
	}
	var ids []string
	for _, p := range processes {
		ids = append(ids, p.id)
	}
	f := fault.New(fault.Conflict, "service.unhealthy", "The new version of %s did not become healthy: %s.", s.Name, err).
		Do("What ran before still runs.").Because(err)
	if lines := log.last(20, ids...); len(lines) > 0 {
		f.At("log", "%s", strings.Join(lines, "\n"))
	}
	return f
}

// retire ends processes that no new request reaches, once their last request has ended or the patience
// is over.
func (a *agent) retire(processes []*process, idle []<-chan struct{}, patience time.Duration) {
	if len(processes) == 0 {
		return
	}
	a.retiring.Go(func() {
		sleep(a.ctx, linger)
		timer := time.NewTimer(patience)
		defer timer.Stop()
	drain:
		for _, done := range idle {
			select {
			case <-done:
			case <-timer.C:
				break drain
			case <-a.ctx.Done():
				break drain
			}
		}
		stopAll(processes)
		a.letGo()
	})
}

// create brings up a service that does not exist yet.
func (a *agent) create(ctx context.Context, wanted Service, secrets map[string]string) (Status, error) {
	id := wanted.ID()
	listener, err := a.listen(wanted.Port, id)
	if err != nil {
		return Status{}, err
	}
	s := &service{
		id: id, instance: wanted.Instance, proxy: &proxy{}, log: openLog(a.logFile(id)),
		fleet: &fleet{service: wanted, secrets: secrets},
	}
	next := serviceRecord{Service: wanted, Port: listener.Addr().(*net.TCPAddr).Port}
	if err := a.replaceProcesses(ctx, s, next, secrets, nil); err != nil {
		listener.Close()
		s.log.close(true)
		return Status{}, err
	}
	s.front = a.front(listener, s)
	a.mu.Lock()
	if a.ctx.Err() != nil { // stop has gone through the services already
		a.mu.Unlock()
		s.front.stop(time.Second)
		s.fleet.stop()
		return Status{}, agentStopping()
	}
	a.services[id] = s
	a.mu.Unlock()
	return a.status(s), nil
}

// listen opens the stable port, or chooses one that is free and belongs to no other service.
func (a *agent) listen(port int, id ...string) (net.Listener, error) {
	if port != 0 {
		listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			return nil, fault.New(fault.Conflict, "service.port_taken", "Port %d is in use on this machine.", port).
				Do("Choose another port, or leave it out.").Because(err)
		}
		return listener, nil
	}
	a.mu.Lock()
	taken := map[int]bool{}
	for _, s := range a.services {
		taken[s.address()] = true
	}
	a.mu.Unlock()
	start, _ := strconv.ParseUint(strings.TrimPrefix(id[0], "svc_")[:8], 16, 32)
	for i := range lastPort - firstPort + 1 {
		port := firstPort + (int(start)+i)%(lastPort-firstPort+1)
		if taken[port] {
			continue
		}
		if listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			return listener, nil
		}
	}
	return nil, fault.New(fault.Unavailable, "service.no_port", "No port from %d to %d is free.", firstPort, lastPort).
		Do("Remove services that are not needed.")
}

func (s *service) address() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.record.Port
}

func (s *service) setChange(change string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change = change
}

// delete ends a service of the instance and forgets it. Its volumes stay. It is fine if there is none.
func (a *agent) delete(instance, id string, fence int64) error {
	unlock := a.lock(id)
	defer unlock()
	if a.find(id) == nil {
		return nil
	}
	s, err := a.own(instance, id)
	if err != nil {
		return err
	}
	if err := a.raiseFence(s.instance, fence); err != nil {
		return err
	}
	if err := a.store.remove("services", id); err != nil {
		return err
	}
	a.mu.Lock()
	delete(a.services, id)
	a.mu.Unlock()
	if s.front != nil {
		s.front.stop(time.Duration(s.record.Service.DrainSec) * time.Second)
	}
	s.proxy.replace(nil)
	a.discard(s.setStandbys(nil))
	s.fleet.stop()
	s.log.close(true)
	a.letGo()
	return nil
}

// reserve checks that what the service needs is there, and keeps it there until unreserve. The context that it
// returns ends when the service is to be given up, with the fault that says why.
func (a *agent) reserve(s Service, fence int64) (context.Context, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	// With a.mu: a cancel that is not noted yet will find what is reserved here.
	record, err := a.store.instance(s.Instance)
	if err != nil {
		return nil, err
	}
	if 0 < fence && fence <= record.Cancelled {
		return nil, givenUp(s)
	}
	if !a.artifacts.has(s.Artifact) {
		return nil, artifactMissing(s.Artifact)
	}
	for _, target := range sortedKeys(s.Volumes) {
		var volume Volume
		err := a.store.load("volumes", filepath.Base(s.Volumes[target]), &volume)
		// The very id: a path that only ends in it would be mounted as it is, through links that the app made.
		if errors.Is(err, fs.ErrNotExist) || err == nil && (volume.Instance != s.Instance || volume.ID != s.Volumes[target]) {
			return nil, volumeMissing(s.Volumes[target])
		}
		if err != nil {
			return nil, err
		}
	}
	for _, name := range sortedKeys(s.Uses) {
		// The instance of a service never changes, so it may be read without its lock.
		if used := a.services[s.Uses[name]]; used == nil || used.instance != s.Instance {
			return nil, serviceMissing(s.Uses[name])
		}
	}
	ctx, giveUp := context.WithCancelCause(a.ctx)
	a.applying[s.ID()] = applying{s, fence, giveUp}
	return ctx, nil
}

func (a *agent) unreserve(id string) {
	a.mu.Lock()
	a.applying[id].giveUp(nil)
	delete(a.applying, id)
	used := map[string]bool{}
	for _, one := range a.applying {
		used[one.service.Artifact] = true
	}
	for _, s := range a.services {
		s.mu.Lock()
		used[s.record.Service.Artifact] = true
		s.mu.Unlock()
	}
	defer a.mu.Unlock()
	if err := a.artifacts.prune(used); err != nil {
		a.log.Warn("old artifacts stay", "error", err)
	}
}

// cancel gives up what is being brought up for an instance with this fence, and refuses what still comes with
// it, also after a restart. It does not wait for the end of that. What has switched is finished, and stays.
func (a *agent) cancel(instance string, fence int64) error {
	if err := a.noteCancel(instance, fence); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, one := range a.applying {
		if one.service.Instance == instance && 0 < one.fence && one.fence <= fence {
			one.giveUp(givenUp(one.service))
		}
	}
	return nil
}

// gateway returns the socket through which other services reach the service id. It stays for as long as
// the agent runs, also while the service is away, so that it may be mounted into a sandbox.
func (a *agent) gateway(id string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	socket := filepath.Join(a.dir, "run", id+".sock")
	if a.gateways[id] != nil {
		return socket, nil
	}
	listener, err := listenUnix(socket)
	if err != nil {
		return "", err
	}
	a.gateways[id] = serveFront(listener, func() *proxy {
		if s := a.find(id); s != nil {
			return s.proxy
		}
		return nil
	}, nil, a.log)
	return socket, nil
}

// health sums up the processes of the fleet.
func (f *fleet) health() (Health, string) {
	worst, why, running := Healthy, "", len(f.processes)
	for _, p := range f.processes {
		process, reason, barred := p.status()
		if barred {
			running--
		}
		switch {
		case process.Health == Degraded:
			worst, why = Degraded, cmp.Or(why, fmt.Sprintf("process %s: %s", process.ID, reason))
		case process.Health == Progressing && worst == Healthy:
			worst, why = Progressing, fmt.Sprintf("process %s: %s", process.ID, reason)
		}
	}
	if running == 0 {
		return Missing, why
	}
	return worst, why
}

func (a *agent) status(s *service) Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := Status{
		Service: s.record.Service, ID: s.id, URL: "http://127.0.0.1:" + strconv.Itoa(s.record.Port),
		Updated: s.record.Updated, Processes: []Process{},
	}
	status.Port = s.record.Port
	status.Health, status.Reason = s.fleet.health()
	if s.front == nil && s.reason != "" {
		status.Health, status.Reason = Degraded, s.reason
	}
	if s.change != "" && status.Health == Healthy {
		status.Health, status.Reason = Progressing, s.change
	}
	status.Prepared = len(s.standbys)
	for _, p := range s.fleet.processes {
		process, _, _ := p.status()
		status.Processes = append(status.Processes, process)
	}
	return status
}

func (a *agent) get(instance, id string) (Status, error) {
	s, err := a.own(instance, id)
	if err != nil {
		return Status{}, err
	}
	status := a.status(s)
	secrets, err := a.secretsOf(status.Service)
	s.mu.Lock()
	defer s.mu.Unlock()
	status.Outdated = err != nil || !maps.Equal(secrets, s.fleet.secrets) // one that is gone is a secret that changed
	return status, nil
}

// list returns the services of an instance, or all if it is "", in the order of their ids.
func (a *agent) list(instance string) []Status {
	a.mu.Lock()
	var found []*service
	for _, id := range sortedKeys(a.services) {
		found = append(found, a.services[id])
	}
	a.mu.Unlock()
	statuses := []Status{}
	for _, s := range found {
		if status := a.status(s); instance == "" || status.Instance == instance {
			statuses = append(statuses, status)
		}
	}
	return statuses
}

// addresses returns the stable addresses of an instance on which the agent itself listens.
func (a *agent) addresses(instance string) []string {
	own := []string{}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range sortedKeys(a.services) {
		s := a.services[id]
		s.mu.Lock()
		if s.instance == instance && s.front != nil {
			own = append(own, "127.0.0.1:"+strconv.Itoa(s.record.Port))
		}
		s.mu.Unlock()
	}
	return own
}

func (a *agent) logFile(id string) string { return filepath.Join(a.dir, "logs", id+".log") }

// cancelled is the code of the fault of a service that was given up before it was healthy.
const cancelled = "service.cancelled"

func givenUp(s Service) *fault.Fault {
	return fault.New(fault.Conflict, cancelled, "The new version of %s was given up, because its deployment was cancelled.", s.Name).
		Do("What ran before still runs.")
}

func agentStopping() *fault.Fault {
	return fault.New(fault.Unavailable, "agent.stopping", "The agent is stopping.").Do("Try again when it runs.")
}

func serviceMissing(id string) *fault.Fault {
	return fault.Missing("service", id).Do("Deploy the app again.")
}

func artifactMissing(digest string) *fault.Fault {
	return fault.Missing("artifact", digest).Do("Bring it to the agent first.")
}

func volumeMissing(id string) *fault.Fault {
	return fault.Missing("volume", id).Do("Create it first, in the same instance.")
}
