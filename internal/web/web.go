// Package web is the HTTP server: one router with the operations of every feature, described as
// OpenAPI 3.1; errors as problems (RFC 9457); live updates as Server-Sent Events; the pages; and what
// an operator asks for (/healthz, /readyz). What Prometheus reads has an address of its own (Metrics).
//
// A request passes, in this order: request id, log, metrics and panics (observe) → headers that
// protect the browser and refusal of bytes no part could store (guard) → cross-origin protection →
// for operations: who is it (authenticate), was it done already (idempotent), may nobody do it
// (signedIn) → validation by huma → the feature's handler. Handlers decide nothing about permissions.
//
// Feature packages register with huma.Register(api, huma.Operation{…}, handler), and with api.Router
// where a protocol is not JSON (Git, module registry, state). An operation needs a signed-in person
// unless it says `Security: web.Anonymous()`.
//
// Deliberately absent: TLS (a proxy in front has it), compression of answers, and versions of
// operations other than /api/v1.
package web

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
)

// Authenticate finds out who sends a request. It returns a context that carries the actor, and the id
// of the person, which is empty for a request without credentials. Credentials that are wrong or have
// ended are a fault.
type Authenticate func(r *http.Request) (ctx context.Context, person string, err error)

// Options is what the server is made of. Only DB is required.
type Options struct {
	DB           *db.DB // keeps idempotency keys
	Log          *slog.Logger
	Version      string
	Authenticate Authenticate
	Refused      func(ctx context.Context, what string, f *fault.Fault) // notes that somebody known may not do what was asked
	Ready        map[string]func(context.Context) error                 // what /readyz asks, by name
	Told         map[string]func(context.Context) error                 // what /readyz tells as well; the server is ready all the same
	UI           fs.FS                                                  // the built pages, with index.html at its root
	Schemas      map[string][]byte                                      // JSON Schemas served at /schemas/<name>
	Origins      []string                                               // other origins whose pages may send requests
	Proxies      []string                                               // addresses and ranges of proxies that are believed who their clients are
}

// API is where feature packages register.
type API struct {
	huma.API
	Router       chi.Router           // for protocols that are not JSON; these routes authenticate themselves
	Metrics      *prometheus.Registry // for a feature's own metrics
	Authenticate Authenticate

	config   huma.Config
	document func() ([]byte, error)
}

// Config lets huma find its configuration behind this type.
func (a *API) Config() huma.Config { return a.config }

// Document returns the OpenAPI description of every operation registered before its first call.
func (a *API) Document() ([]byte, error) { return a.document() }

// Server serves an API.
type Server struct {
	API *API

	http     http.Server
	options  Options
	duration *prometheus.HistogramVec
	draining chan struct{}
	drain    sync.Once
}

// New returns a server without operations; register them on its API, then Serve.
func New(o Options) (*Server, error) {
	useFaults()
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Authenticate == nil {
		o.Authenticate = func(r *http.Request) (context.Context, string, error) { return r.Context(), "", nil }
	}
	s := &Server{options: o, draining: make(chan struct{})}
	router := chi.NewRouter()
	protection := http.NewCrossOriginProtection()
	for _, origin := range o.Origins {
		if err := protection.AddTrustedOrigin(origin); err != nil {
			return nil, fault.New(fault.Invalid, "configuration.origin", "%q is not an origin.", origin).
				Do("Write scheme, host and port only, for example https://flywheel.example.com.").Because(err)
		}
	}
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Fail(w, r, fault.New(fault.Forbidden, "request.cross_origin", "A page of another site sent this request.").
			Do("If that page is yours, add its origin to the configuration."))
	}))
	fromClients, err := clients(o.Proxies)
	if err != nil {
		return nil, err
	}
	router.Use(fromClients, s.observe, guard, protection.Handler, middleware.GetHead)

	metrics := prometheus.NewRegistry()
	s.duration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "flywheel_http_request_duration_seconds",
		Help:    "Time from the first byte of a request to the last byte of its answer, streams excepted.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"method", "route", "status"})
	metrics.MustRegister(s.duration, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	s.API = &API{Router: router, Metrics: metrics, Authenticate: o.Authenticate, config: description(o.Version)}
	s.API.API = humachi.New(router.With(s.authenticate, s.idempotent), s.API.config)
	s.API.UseMiddleware(signedIn)
	s.API.document = sync.OnceValues(func() ([]byte, error) {
		return json.MarshalIndent(s.API.OpenAPI(), "", "  ")
	})
	s.routes(router)
	s.http = http.Server{
		Handler:           router,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// ServeHTTP answers one request; tests use it without a listener.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.http.Handler.ServeHTTP(w, r) }

// Metrics returns what Prometheus reads, at /metrics. It asks nobody to sign in, so it belongs to an address of its
// own: numbers tell how many changes wait and which route is called.
func (s *Server) Metrics() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.API.Metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	return mux
}

// Serve answers requests until Stop. It returns nil after Stop.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Stop refuses new connections, ends live streams so that their readers reconnect elsewhere, and waits
// for the requests in flight until ctx ends; then it cuts them off.
func (s *Server) Stop(ctx context.Context) error {
	s.drain.Do(func() { close(s.draining) })
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}

func (s *Server) routes(router chi.Router) {
	router.Get("/healthz", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write([]byte("ok\n"))
	})
	router.Get("/readyz", s.ready)
	router.Get("/metrics", func(w http.ResponseWriter, r *http.Request) {
		Fail(w, r, fault.New(fault.NotFound, "metrics.elsewhere", "Metrics are not for everybody who reaches this address.").
			Do("Start the server with --metrics-listen and an address that only Prometheus reaches."))
	})
	router.Get("/openapi.json", func(w http.ResponseWriter, r *http.Request) {
		document, err := s.API.Document()
		if err != nil {
			Fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/openapi+json")
		w.Write(document)
	})
	router.Get("/schemas/{name}", func(w http.ResponseWriter, r *http.Request) {
		name := chi.URLParam(r, "name")
		schema, ok := s.options.Schemas[name]
		if !ok {
			Fail(w, r, fault.Missing("schema", name))
			return
		}
		w.Header().Set("Content-Type", "application/schema+json")
		w.Header().Set("Access-Control-Allow-Origin", "*") // editors in a browser fetch it
		w.Write(schema)
	})
	router.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		problem := problemOf(r.Context(), fault.New(fault.Invalid, "request.method", "%s cannot be done here.", r.Method))
		problem.Status, problem.Title = http.StatusMethodNotAllowed, http.StatusText(http.StatusMethodNotAllowed)
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			if router.Match(chi.NewRouteContext(), method, r.URL.Path) {
				w.Header().Add("Allow", method)
			}
		}
		problem.write(w)
	})
	pages := ui(s.options.UI)
	router.NotFound(func(w http.ResponseWriter, r *http.Request) {
		read := r.Method == http.MethodGet || r.Method == http.MethodHead
		if !read || slices.ContainsFunc([]string{"/api/", "/internal/", "/schemas/", "/v1/", "/git/"}, func(prefix string) bool {
			return strings.HasPrefix(r.URL.Path, prefix)
		}) {
			Fail(w, r, fault.New(fault.NotFound, "request.path", "There is nothing at %s.", r.URL.Path))
			return
		}
		pages.ServeHTTP(w, r)
	})
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	answer := map[string]string{}
	status := http.StatusOK
	for name, check := range s.options.Ready {
		answer[name] = "ok"
		if err := check(ctx); err != nil {
			answer[name], status = Known(err).Message, http.StatusServiceUnavailable
			s.options.Log.WarnContext(r.Context(), "not ready", "check", name, "error", err)
		}
	}
	for name, check := range s.options.Told {
		answer[name] = "ok"
		if err := check(ctx); err != nil {
			answer[name] = Known(err).Message
		}
	}
	select {
	case <-s.draining:
		answer["server"], status = "stopping", http.StatusServiceUnavailable
	default:
		answer["server"] = "ok"
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(answer)
}

// Anonymous is the Security of an operation that needs nobody signed in.
func Anonymous() []map[string][]string { return []map[string][]string{{}} }
