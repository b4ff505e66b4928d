package web

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"
	"github.com/rs/xid"

	"flywheel.dev/flywheel/internal/fault"
)

// exchange is what belongs to one request and its answer. One value in the context holds it all.
type exchange struct {
	log      *slog.Logger
	draining <-chan struct{}
	person   string // who, as soon as authenticate knows
	denied   error  // why the credentials of the request do not count
	what     string // method and path
	refused  func(ctx context.Context, what string, f *fault.Fault)
	renew    func() (context.Context, error)
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return x
	}
	return &exchange{log: slog.Default()}
}

// RequestKey is the key under which the context of a request, and of what goes on without it, carries its id.
type RequestKey struct{}

// clientRequestKey is the key of what the client calls its request.
type clientRequestKey struct{}

// RequestHeader is the header of an answer that has the id of its request. A client may send one too, and what it
// says is kept beside ours, never in its place.
const RequestHeader = "X-Request-Id"

// ForRequest returns a context for work that goes on without the request that began it: what it logs,
// decides and tells names that request. An empty id changes nothing.
func ForRequest(ctx context.Context, id string) context.Context {
	if id == "" {
		return ctx
	}
	return context.WithValue(ctx, RequestKey{}, id)
}

// RequestID returns the id of the request a context belongs to, or goes on for, or "".
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(RequestKey{}).(string)
	return id
}

// ClientRequestID returns what the client of the request a context belongs to calls it, or "". It is the client's
// word: cleaned, and nothing else about it is known.
func ClientRequestID(ctx context.Context) string {
	id, _ := ctx.Value(clientRequestKey{}).(string)
	return id
}

// LogHandler returns a handler that adds the request id to every record written with the context of a
// request, or of what goes on for it.
func LogHandler(inner slog.Handler) slog.Handler { return logHandler{inner} }

type logHandler struct{ slog.Handler }

func (h logHandler) Handle(ctx context.Context, record slog.Record) error {
	if id := RequestID(ctx); id != "" {
		known := false
		record.Attrs(func(a slog.Attr) bool { known = known || a.Key == "request_id"; return !known })
		if !known {
			record.AddAttrs(slog.String("request_id", id))
		}
		if given := ClientRequestID(ctx); given != "" {
			record.AddAttrs(slog.String("client_request_id", given))
		}
	}
	return h.Handler.Handle(ctx, record)
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs)}
}
func (h logHandler) WithGroup(name string) slog.Handler { return logHandler{h.Handler.WithGroup(name)} }

// observe gives the request its id, and writes its line in the log and its metrics. A panic becomes an
// internal fault.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		x := &exchange{log: s.options.Log, draining: s.draining, what: r.Method + " " + r.URL.Path, refused: s.options.Refused}
		id := "req_" + xid.New().String()
		w.Header().Set(RequestHeader, id)
		rec := &recorder{ResponseWriter: w}
		ctx := ForRequest(r.Context(), id)
		if given := clean(r.Header.Get(RequestHeader)); given != "" {
			ctx = context.WithValue(ctx, clientRequestKey{}, given)
		}
		r = r.WithContext(context.WithValue(ctx, exchangeKey{}, x))
		defer func() {
			route := chi.RouteContext(r.Context()).RoutePattern()
			if route == "" || route == "/*" {
				route = "other"
			}
			if v := recover(); v != nil {
				rec.recovered(r, v) // may panic again to cut the connection
			}
			took := time.Since(start)
			if !strings.HasPrefix(rec.Header().Get("Content-Type"), "text/event-stream") {
				s.duration.WithLabelValues(method(r.Method), route, strconv.Itoa(rec.code())).Observe(took.Seconds())
			}
			level := slog.LevelInfo
			if route == "other" || route == "/healthz" || route == "/readyz" || route == "/metrics" {
				level = slog.LevelDebug
			}
			x.log.LogAttrs(r.Context(), level, "request",
				slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", rec.code()),
				slog.Duration("took", took), slog.Int64("bytes", rec.bytes), slog.String("person", x.person),
				slog.String("request_id", id))
		}()
		next.ServeHTTP(rec, r)
	})
}

// clean returns what a client calls its request so short and plain that it can stand in logs and records: the
// letters, digits, dashes, dots and underscores among its first characters.
func clean(given string) string {
	var b strings.Builder
	for _, c := range []byte(given[:min(len(given), 256)]) {
		if b.Len() == 64 {
			break
		}
		if c == '-' || c == '_' || c == '.' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// method bounds the label: clients may send any word.
func method(m string) string {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "LOCK", "UNLOCK":
		return m
	}
	return "other"
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Flush implements http.Flusher for handlers that do not use http.ResponseController.
func (w *recorder) Flush() { http.NewResponseController(w.ResponseWriter).Flush() }

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

func (w *recorder) recovered(r *http.Request, v any) {
	if v == http.ErrAbortHandler || r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // the client has gone, or the handler cuts it off
	}
	err := fmt.Errorf("panic: %v\n%s", v, debug.Stack())
	if w.status != 0 {
		problemOf(r.Context(), err)
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
	Fail(w, r, err)
}

const contentSecurity = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"font-src 'self'; connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// guard sets the headers that protect a reader in a browser (styles may be inline because the parts of
// the pages compute them; scripts never are), and refuses names that no part of the platform could
// store.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentSecurity)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		query := r.URL.RawQuery
		if strings.Contains(query, "%") {
			var err error
			if query, err = url.QueryUnescape(query); err != nil {
				Fail(w, r, fault.New(fault.Invalid, "request.query", "The query of the URL is not encoded correctly."))
				return
			}
		}
		if !storable(r.URL.Path) || !storable(query) {
			Fail(w, r, fault.New(fault.Invalid, "request.text", "The URL holds bytes that are not UTF-8 text."))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func storable(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// authenticate finds out who it is. It refuses nothing: an operation for everybody must work with a
// session that has ended.
func (s *Server) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "private, no-cache")
		x := exchangeOf(r.Context())
		ctx, person, err := s.options.Authenticate(r)
		if err != nil {
			x.denied = err
		} else {
			x.person = person
			request := r
			x.renew = func() (context.Context, error) {
				ctx, again, err := s.options.Authenticate(request)
				if err == nil && again != person {
					err = fault.New(fault.Unauthenticated, "session.ended", "The session has ended.")
				}
				return ctx, err
			}
			r = r.WithContext(ctx)
		}
		r.Body = &body{r.Body, http.NewResponseController(w)}
		next.ServeHTTP(w, r)
	})
}

// body lifts the read deadline when the request has been read. huma sets one for reading the body, and
// net/http, which listens for the client going away while the handler runs, would take its passing
// for that and cancel the context of a handler that merely takes its time.
type body struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// signedIn refuses nobody, except where the operation is for everybody.
func signedIn(ctx huma.Context, next func(huma.Context)) {
	x := exchangeOf(ctx.Context())
	if x.person == "" && !anonymous(ctx.Operation()) {
		err := x.denied
		if err == nil {
			err = fault.New(fault.Unauthenticated, "session.missing", "You are not signed in.").
				Do("Sign in, or send a token: flywheel login.")
		}
		p := problemOf(ctx.Context(), err)
		p.headers(ctx.SetHeader)
		ctx.SetHeader("Content-Type", p.ContentType(""))
		ctx.SetStatus(p.Status)
		huma.DefaultJSONFormat.Marshal(ctx.BodyWriter(), p)
		return
	}
	next(ctx)
}

func anonymous(op *huma.Operation) bool {
	for _, requirement := range op.Security {
		if len(requirement) == 0 {
			return true
		}
	}
	return false
}
