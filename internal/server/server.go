// Package server is the sole wiring of Flywheel: it makes every part, connects them, starts them in
// order and stops them in reverse.
//
// Feedback against the import order is a func field that New fills; they are all here, in one place,
// and listed in ARCHITECTURE.md.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"golang.org/x/sys/unix"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/backlog"
	"flywheel.dev/flywheel/internal/certify"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/deploy"
	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/git"
	"flywheel.dev/flywheel/internal/local"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/outbound"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/runlog"
	"flywheel.dev/flywheel/internal/sandbox"
	"flywheel.dev/flywheel/internal/secret"
	"flywheel.dev/flywheel/internal/tofu"
	"flywheel.dev/flywheel/internal/web"
	ui "flywheel.dev/flywheel/web"
)

// Options are what an operator decides. The zero value of each but Data means its default.
type Options struct {
	Data        string   // folder of everything but a PostgreSQL database
	DatabaseURL string   // postgres://…; default: an SQLite file in Data
	Listen      string   // default 127.0.0.1:7270; port 0 chooses one
	PublicURL   string   // how people reach it; default: http:// and the address it listens on
	Replica     string   // name of this replica, unique among those on one database; default "main"
	Engine      string   // path of tofu or terraform; default: as found on PATH
	Key         string   // key file, or URL of the keeper of secrets; default Data/keys/secret.key
	Agent       string   // folder of the local agent; default Data/agent
	SandboxOff  bool     // run engines, builds and apps without isolation; audited
	FetchHosts  []string // that the fetch command of a build may reach
	Mirror      string   // folder with provider plugins
	Registry    bool     // let init download allowed providers and modules
	// RegistryHosts are what it may download them from; default RegistryHosts.
	RegistryHosts []string
	Providers     []string // providers a pattern may use besides Flywheel's own
	PushLimit     int64    // MiB that a push may have; default 512
	Self          string   // the flywheel binary; default: this program
	Metrics       string   // address at which Prometheus reads metrics; default none
	Proxies       []string // addresses and ranges of proxies that are believed who their clients are
	Version       string
	Log           *slog.Logger
	Now           func() time.Time // the clock; nil means the real one
}

// RegistryHosts are what the public registries answer from, and where they send those who download.
var RegistryHosts = []string{
	"registry.opentofu.org", "registry.terraform.io", "releases.hashicorp.com",
	"github.com", "codeload.github.com", "objects.githubusercontent.com", "release-assets.githubusercontent.com",
}

// Server is a running Flywheel.
type Server struct {
	Options  Options
	DB       *db.DB
	API      *web.API
	Accounts *account.Service
	Apps     *app.Service
	Changes  *change.Service
	Certify  *certify.Service
	Deploy   *deploy.Service
	Patterns *pattern.Service
	Stories  *backlog.Service
	Git      *git.Host
	Blobs    *blob.Bucket
	Sandbox  *sandbox.Sandbox
	Events   *event.Log
	Topics   *web.Topics
	Engine   tofu.Engine

	// Consumers hand out the facts of Events.
	Consumers *event.Consumers

	// SignIn is the name and password of the first admin, on the first start only.
	SignIn [2]string

	secrets  *secret.Service
	web      *web.Server
	durable  *durable.Engine
	listener net.Listener
	outbound outbound.Guard
	metrics  net.Listener // nil without Options.Metrics
	states   *http.Server
	log      *slog.Logger
	cleanup  []func() // run in reverse order by Stop
}

// New opens and connects everything, and listens, so that URL is known. It starts nothing.
func New(ctx context.Context, o Options) (s *Server, err error) {
	if o, err = withDefaults(o); err != nil {
		return nil, err
	}
	s = &Server{Options: o, log: o.Log}
	defer func(made *Server) { // a failure answers no server, and what was made has to go all the same
		if err != nil {
			made.undo()
		}
	}(s)
	if info, err := os.Stat(o.Mirror); o.Mirror != "" && (err != nil || !info.IsDir()) {
		return nil, fault.New(fault.Invalid, "configuration.invalid", "The folder of provider plugins %s is not there.", o.Mirror).Do("Correct --provider-mirror.")
	}
	for _, dir := range []string{"run", "repos", "blobs", "logs", "workspaces", "patterns", "work"} {
		if err := os.MkdirAll(filepath.Join(o.Data, dir), 0o700); err != nil {
			return nil, fault.New(fault.Unavailable, "data.unwritable", "The data folder %s cannot be written.", o.Data).Do("Give --data a folder that this user owns.").Because(err)
		}
	}
	if err := s.lock(); err != nil {
		return nil, err
	}
	if s.listener, err = net.Listen("tcp", o.Listen); err != nil {
		return nil, fault.New(fault.Unavailable, "listen.refused", "Nobody can listen on %s: %v.", o.Listen, err).Do("Choose another address with --listen.")
	}
	s.defer_(func() { s.listener.Close() })
	s.outbound.Protect(s.listener.Addr())
	if o.Metrics != "" {
		if s.metrics, err = net.Listen("tcp", o.Metrics); err != nil {
			return nil, fault.New(fault.Unavailable, "listen.refused", "Nobody can listen on %s: %v.", o.Metrics, err).Do("Choose another address with --metrics-listen.")
		}
		s.defer_(func() { s.metrics.Close() })
		s.outbound.Protect(s.metrics.Addr())
	}
	if s.Options.PublicURL == "" {
		s.Options.PublicURL = "http://" + s.listener.Addr().String()
	}
	s.outbound.Name(s.Options.PublicURL)
	if s.DB, err = db.Open(ctx, o.DatabaseURL); err != nil {
		return nil, err
	}
	s.defer_(s.DB.Close)
	if o.Now != nil {
		s.DB.Now = o.Now
	}
	return s, s.connect(ctx)
}

func withDefaults(o Options) (Options, error) {
	var err error
	if o.Data, err = filepath.Abs(o.Data); err != nil {
		return o, err
	}
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&o.DatabaseURL, filepath.Join(o.Data, "flywheel.db"))
	set(&o.Listen, "127.0.0.1:7270")
	set(&o.Replica, "main")
	set(&o.Key, filepath.Join(o.Data, "keys", "secret.key"))
	set(&o.Agent, filepath.Join(o.Data, "agent"))
	set(&o.Version, "development")
	if o.Self == "" {
		if o.Self, err = os.Executable(); err != nil {
			return o, err
		}
	}
	if o.RegistryHosts == nil {
		o.RegistryHosts = RegistryHosts
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	o.PublicURL = strings.TrimRight(o.PublicURL, "/")
	if u, err := url.Parse(o.PublicURL); o.PublicURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path+u.RawQuery != "") {
		return o, fault.New(fault.Invalid, "configuration.invalid", "%q is not an address at which people reach Flywheel.", o.PublicURL).
			Do("Give --public-url as https://flywheel.example.com, without a path.")
	}
	return o, nil
}

// lock makes sure that a replica's name is used once: two processes under one name would take each
// other's workflows for their own.
func (s *Server) lock() error {
	path := filepath.Join(s.Options.Data, "run", "replica-"+s.Options.Replica+".lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	// A process that was just killed may hold it for a moment while the kernel tidies up.
	for range 50 {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			s.defer_(func() { f.Close() })
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	f.Close()
	return fault.New(fault.Conflict, "data.in_use", "Another Flywheel runs as replica %q on %s.", s.Options.Replica, s.Options.Data).
		Do("Stop it first, or give this one another --replica and the same PostgreSQL.")
}

// connect makes the parts and fills every func field.
func (s *Server) connect(ctx context.Context) (err error) {
	o := s.Options
	at := func(parts ...string) string { return filepath.Join(append([]string{o.Data}, parts...)...) }

	if s.durable, err = durable.New(context.WithoutCancel(ctx), s.DB, o.Replica, s.log); err != nil {
		return err
	}
	s.Events, s.Topics = event.New(s.DB), web.NewTopics(s.DB, s.log)
	s.Consumers = &event.Consumers{DB: s.DB, Events: s.Events, Log: s.log}
	s.Accounts = account.New(s.DB)
	if s.Blobs, err = fileblob.OpenBucket(at("blobs"), &fileblob.Options{NoTempDir: true, Metadata: fileblob.MetadataDontWrite}); err != nil {
		return err
	}
	s.defer_(func() { s.Blobs.Close() })
	if s.Sandbox, err = sandbox.New(sandbox.Options{Self: o.Self, Off: o.SandboxOff}); err != nil {
		return err
	}
	keeper, err := secret.OpenKeeper(ctx, o.Key)
	if err != nil {
		return err
	}
	s.defer_(func() { keeper.Close() })
	secrets := secret.New(s.DB, keeper)
	engine, err := tofu.Find(ctx, tofu.FindOptions{Path: o.Engine, Sandbox: s.Sandbox})
	if err != nil {
		return err
	}
	s.Engine = engine
	policies, err := tofu.CompilePolicies(ctx, tofu.ShippedPolicies())
	if err != nil {
		return err
	}
	logs := &runlog.Store{Dir: at("logs")}
	agent := &local.Client{Socket: filepath.Join(o.Agent, "agent.sock"), Patience: agentPatience}
	states := &tofu.States{DB: s.DB, Keeper: keeper, Fenced: deploy.Fenced}
	stateSocket := at("run", o.Replica+".state.sock")
	if err := s.serveStates(stateSocket, states); err != nil {
		return err
	}
	runner := &tofu.Service{
		Engine: engine, Self: o.Self, Dir: at("workspaces"), States: states, StateSocket: stateSocket, Agent: agent.Socket,
		ServeProvider: ServeProvider, Sandbox: s.Sandbox, Mirror: o.Mirror, Registry: o.Registry, RegistryHosts: o.RegistryHosts,
		Allow: tofu.Allow{Providers: o.Providers},
	}

	s.Git = &git.Host{
		Root: at("repos"), Run: at("run"), Self: o.Self, DB: s.DB, Logger: s.log, PushLimit: o.PushLimit << 20,
		Authenticate: s.gitAuthenticate, Authorize: s.gitAuthorize,
		Person: func(ctx context.Context) string { return account.From(ctx).ID },
	}
	s.Patterns = &pattern.Service{DB: s.DB, Git: s.Git, Blobs: s.Blobs, Dir: at("patterns"), BaseURL: s.Options.PublicURL}
	s.Apps = &app.Service{DB: s.DB, Git: s.Git, Patterns: s.Patterns, BaseURL: s.Options.PublicURL}
	builder := app.NewBuilder(app.Builder{DB: s.DB, Sandbox: s.Sandbox, Blobs: s.Blobs, Logs: logs, Dir: at("work"), Hosts: o.FetchHosts, Bring: agent.PutArtifact})
	s.Changes = &change.Service{DB: s.DB, Durable: s.durable, Git: s.Git, Patterns: s.Patterns, Builder: builder, Logs: logs, Log: s.log, BaseURL: s.Options.PublicURL}
	runs := &deploy.Runs{
		Outbound: &s.outbound, DB: s.DB, Engine: runner, Policies: policies, Patterns: s.Patterns, Secrets: secrets, Blobs: s.Blobs, Agent: agent, Logs: logs, Dir: at("run", "engine"),
	}
	s.Deploy = &deploy.Service{
		DB: s.DB, Durable: s.durable, Changes: s.Changes, Runs: runs, Logs: logs, Log: s.log,
		Smoke:   &deploy.Smoke{DB: s.DB, Git: s.Git, Sandbox: s.Sandbox, Dir: at("work")},
		Drivers: map[string]deploy.Driver{"local": deploy.Local{Runs: runs}, "command": deploy.Command{Runs: runs, Sandbox: s.Sandbox, Dir: at("work")}},
	}
	s.Certify = &certify.Service{
		DB: s.DB, Durable: s.durable, Git: s.Git, Changes: s.Changes, Patterns: s.Patterns, Engine: runner, Builder: builder, Logs: logs, Log: s.log, Dir: at("work"),
		Allowed: runner.Allow, Plan: runs.PlanInstance,
	}
	s.Stories = &backlog.Service{DB: s.DB}

	// Feedback against the import order.
	s.Git.Pushed = s.Changes.Pushed
	s.Patterns.Opened = func(ctx context.Context, name, branch, head string) (string, error) {
		return s.Changes.Opened(ctx, git.Pattern(name), branch, head)
	}
	s.Patterns.About, s.Patterns.Proposed = change.About, certify.Proposed
	s.Apps.Opened = func(ctx context.Context, name, branch, head string) (string, error) {
		return s.Changes.Opened(ctx, git.App(name), branch, head)
	}
	s.Apps.Given = func(tx *db.Tx, name, team string) error {
		if err := s.Changes.Given(tx, name, team); err != nil {
			return err
		}
		return certify.Given(tx, name, team)
	}
	s.Changes.Plan = runs.PlanChange
	s.Changes.Built = s.built
	s.Changes.Rollout = s.Deploy.Rollout
	s.Changes.Certify = s.Certify.Begin
	s.Consumers.As = account.System
	secrets.Team = func(tx *db.Tx, name, environment string) (string, error) {
		if _, err := app.FindEnvironment(tx, environment); environment != "" && err != nil {
			return "", err
		}
		if name == "" {
			return "", nil // of the environment itself
		}
		return app.Team(tx, name)
	}
	s.Accounts.TeamInUse, s.Accounts.TeamOf = app.OfTeam, app.Team
	s.Accounts.HTTPS = strings.HasPrefix(o.PublicURL, "https://")

	s.Topics.Visible = s.visibleTopics

	s.Changes.Register()
	s.Certify.Register()
	s.Deploy.Register()
	for _, c := range slices.Concat(s.Changes.Consumers(), s.Deploy.Consumers()) {
		s.Consumers.Register(c)
	}

	s.web, err = web.New(web.Options{
		DB: s.DB, Log: s.log, Version: o.Version, Authenticate: s.Accounts.Authenticate, Refused: s.Accounts.Refused, UI: ui.Files(), Schemas: manifest.Schemas(), Proxies: o.Proxies,
		Ready: map[string]func(context.Context) error{
			"database": func(ctx context.Context) error { return s.DB.SQL.PingContext(ctx) },
			"agent": func(ctx context.Context) error {
				_, err := (&local.Client{Socket: agent.Socket}).Health(ctx)
				return err
			},
		},
		Told: map[string]func(context.Context) error{"consumers": s.Consumers.Check},
	})
	if err != nil {
		return err
	}
	s.API = s.web.API
	s.API.Router.Handle("/git/*", s.Git)
	s.API.Metrics.MustRegister(local.Metrics{Agent: agent}, event.ConsumerMetrics{Consumers: s.Consumers})
	s.secrets = secrets
	s.register(s.API)
	return nil
}

// built has the release of a new artifact prepared while its change merges.
func (s *Server) built(name, artifact string) {
	go func() {
		ctx, cancel := context.WithTimeout(account.System(context.Background(), "deploy"), time.Minute)
		defer cancel()
		if err := s.Deploy.Prepare(ctx, name, artifact); err != nil {
			s.log.Info("a release is not prepared and will take longer", "app", name, "error", err)
		}
	}()
}

// register registers every operation.
func (s *Server) register(api *web.API) {
	s.Accounts.Routes(api)
	s.secrets.Routes(api)
	s.Patterns.Routes(api)
	s.Apps.Routes(api)
	s.Changes.Routes(api)
	s.Certify.Routes(api)
	s.Deploy.Routes(api)
	s.Stories.Routes(api)
	s.routes(api)
}

// Describe registers every operation on an API that will only be described, never called.
func Describe(api *web.API) {
	s := &Server{
		Accounts: account.New(nil), secrets: secret.New(nil, nil), Patterns: &pattern.Service{}, Apps: &app.Service{}, Changes: &change.Service{},
		Certify: &certify.Service{}, Deploy: &deploy.Service{}, Stories: &backlog.Service{}, Events: event.New(nil), Consumers: &event.Consumers{}, Topics: web.NewTopics(nil, nil),
	}
	s.register(api)
}

// Start begins to work: accounts, git, workflows and sweepers, and last the HTTP server.
func (s *Server) Start(ctx context.Context) error {
	name, password, err := s.Accounts.Bootstrap(ctx)
	if err != nil {
		return err
	}
	s.SignIn = [2]string{name, password}
	s.Topics.Start()
	s.defer_(s.Topics.Stop)
	if err := s.Git.Start(ctx); err != nil {
		return err
	}
	s.defer_(s.Git.Close)
	packing := &durable.Sweeper{} // pushes leave what they bring loose, so that nobody waits for it
	packing.Start(context.WithoutCancel(ctx), time.Hour, s.log, "repositories", s.Git.Maintain)
	s.defer_(packing.Stop)
	if err := s.durable.Launch(); err != nil {
		return err
	}
	s.defer_(func() { s.durable.Stop(20 * time.Second) })
	s.superviseAgent()
	s.Changes.Start()
	s.defer_(s.Changes.Stop)
	s.Certify.Start()
	s.defer_(s.Certify.Stop)
	s.Apps.Start(s.log)
	s.defer_(s.Apps.Stop)
	s.Deploy.Start()
	s.defer_(s.Deploy.Stop)
	if err := s.Consumers.Start(ctx); err != nil {
		return err
	}
	s.defer_(s.Consumers.Stop)
	if s.Options.SandboxOff {
		ctx := account.System(ctx, "server")
		err := s.DB.Write(ctx, func(tx *db.Tx) error {
			return account.Audit(tx, account.Entry{Action: "sandbox.off", Subject: s.Options.Replica, Decision: "allowed", Reason: "started with --sandbox=off"})
		})
		if err != nil {
			return err
		}
	}
	if s.metrics != nil {
		metrics := &http.Server{Handler: s.web.Metrics(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
		go func() {
			if err := metrics.Serve(s.metrics); !errors.Is(err, http.ErrServerClosed) {
				s.log.Error("metrics are not served any more", "error", err)
			}
		}()
		s.defer_(func() { metrics.Close() })
	}
	go func() {
		if err := s.web.Serve(s.listener); err != nil {
			s.log.Error("the HTTP server has ended", "error", err)
		}
	}()
	s.defer_(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.web.Stop(ctx); err != nil {
			s.log.Info("requests were cut off", "error", err)
		}
	})
	return nil
}

// URL returns how people reach the server.
func (s *Server) URL() string { return s.Options.PublicURL }

// Stop ends everything in reverse order. Apps go on: they belong to the agent.
func (s *Server) Stop() { s.undo() }

func (s *Server) defer_(fn func()) { s.cleanup = append(s.cleanup, fn) }

func (s *Server) undo() {
	for i := len(s.cleanup) - 1; i >= 0; i-- {
		s.cleanup[i]()
	}
	s.cleanup = nil
}

// serveStates answers the engines' state backend on a socket of its own, which reaches into the sandbox
// where a port would not.
func (s *Server) serveStates(socket string, states *tofu.States) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	s.states = &http.Server{Handler: states.Handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := s.states.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the state backend has ended", "error", err)
		}
	}()
	s.defer_(func() { s.states.Close() })
	return nil
}

// superviseAgent starts the local agent if it does not answer, now and whenever it is gone. It is a
// process of its own and outlives the server.
func (s *Server) superviseAgent() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	flags := []string{}
	if s.Options.SandboxOff {
		flags = append(flags, "--sandbox=off")
	}
	for _, proxy := range s.Options.Proxies {
		flags = append(flags, "--trusted-proxy", proxy)
	}
	go func() {
		defer close(done)
		for {
			if _, err := local.EnsureAgent(ctx, s.Options.Agent, s.Options.Self, flags...); err != nil && ctx.Err() == nil {
				s.log.Warn("the local agent does not start", "error", err)
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
		}
	}()
	s.defer_(func() { cancel(); <-done })
}

// agentPatience is how long deployments wait for an agent that was killed or is being upgraded.
const agentPatience = time.Minute

// ServeProvider serves Flywheel's own provider for one instance, for the supervisor of an engine run.
func ServeProvider(ctx context.Context, socket string, scope tofu.Scope) (string, error) {
	agent := &local.Client{Socket: scope.Agent, Fence: scope.Fence, ReadOnly: !scope.Writes, Patience: agentPatience}
	return local.ServeProvider(ctx, socket, agent, scope.Instance)
}

func (s *Server) gitAuthenticate(ctx context.Context, user, token string) (context.Context, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if err != nil {
		return nil, err
	}
	r.SetBasicAuth(user, token)
	ctx, _, err = s.Accounts.Authenticate(r)
	return ctx, err
}

// gitAuthorize says who may read and write a repository. Patterns are readable by everybody signed in.
func (s *Server) gitAuthorize(ctx context.Context, repo git.Repo, write bool) error {
	actor := account.From(ctx)
	if repo.Kind == git.Patterns {
		if write {
			return actor.Require(account.DevelopPattern, "")
		}
		return actor.Require(account.ViewPattern, "")
	}
	permission := account.ViewApp
	if write {
		permission = account.PushApp
	}
	return s.DB.Read(ctx, func(tx *db.Tx) error {
		find := app.Known // the code of a removed app can be read
		if write {
			find = app.Find
		}
		a, err := find(tx, repo.Name)
		if err != nil {
			return err
		}
		return actor.RequireOf(permission, a.Team, "app", repo.Name)
	})
}
