package web

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/plain"
)

// tooMany is the kind of a refusal because of too many attempts; only HTTP knows it.
const tooMany fault.Kind = "too_many"

// TooMany returns the refusal of one attempt too many: status 429 with the wait as Retry-After. There is
// no other way to that status, so that none goes without.
func TooMany(wait time.Duration, code, format string, args ...any) *fault.Fault {
	return fault.New(tooMany, code, format, args...).After(wait).Do("Wait %s and try again.", plain.Count(Seconds(wait), "second", "seconds"))
}

// Seconds returns a wait as Retry-After says it: rounded up, because an attempt that comes a moment early is
// refused again.
func Seconds(wait time.Duration) int { return max(1, int((wait+time.Second-1)/time.Second)) }

// Problem is a fault as HTTP shows it: RFC 9457 with the fault's code, remedy and fields.
type Problem struct {
	Type      string        `json:"type" doc:"urn:flywheel:problem: and the code" example:"urn:flywheel:problem:variable.out_of_bounds"`
	Title     string        `json:"title" doc:"Text of the HTTP status" example:"Unprocessable Entity"`
	Status    int           `json:"status" doc:"HTTP status" example:"422"`
	Code      string        `json:"code" doc:"Stable name of the problem, for scripts" example:"variable.out_of_bounds"`
	Detail    string        `json:"detail" doc:"What is wrong, in one sentence"`
	Remedy    string        `json:"remedy,omitempty" doc:"What to do about it"`
	Fields    []fault.Field `json:"fields,omitempty" doc:"Messages for single fields of the input"`
	RequestID string        `json:"requestId" doc:"Names this request in the server's log"`

	wait time.Duration
}

func (p *Problem) Error() string { return p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// headers sets what HTTP asks for beside a status.
func (p *Problem) headers(set func(name, value string)) {
	if p.Status == http.StatusUnauthorized {
		set("WWW-Authenticate", `Bearer realm="Flywheel"`)
	}
	if p.wait > 0 {
		set("Retry-After", strconv.Itoa(Seconds(p.wait)))
	}
}

func (p *Problem) write(w http.ResponseWriter) {
	p.headers(w.Header().Set)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p)
}

// Fail answers a request outside of huma with the fault in err, or with an internal one that is logged.
func Fail(w http.ResponseWriter, r *http.Request, err error) { problemOf(r.Context(), err).write(w) }

// Status returns the HTTP status of a kind of fault.
func Status(kind fault.Kind) int {
	switch kind {
	case fault.Invalid:
		return http.StatusUnprocessableEntity
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Forbidden:
		return http.StatusForbidden
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Conflict:
		return http.StatusConflict
	case fault.Stale:
		return http.StatusPreconditionFailed
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge
	case tooMany:
		return http.StatusTooManyRequests
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// problemOf is the edge: here an unknown error is logged, once, and hidden.
func problemOf(ctx context.Context, err error) *Problem {
	f := Known(err)
	x := exchangeOf(ctx)
	if f.Kind == fault.Internal || f.Kind == fault.Unavailable {
		if !errors.Is(ctx.Err(), context.Canceled) { // else the client has gone, and its request with it
			x.log.LogAttrs(ctx, slog.LevelError, "request failed", slog.String("request_id", RequestID(ctx)),
				slog.String("code", f.Code), slog.Any("error", cause(f)))
		}
	}
	if f.Kind == fault.Forbidden && x.refused != nil {
		x.refused(ctx, x.what, f)
	}
	status := Status(f.Kind)
	return &Problem{
		Type: "urn:flywheel:problem:" + f.Code, Title: http.StatusText(status), Status: status,
		Code: f.Code, Detail: f.Message, Remedy: f.Remedy, Fields: f.Fields, RequestID: RequestID(ctx), wait: f.Wait,
	}
}

// Known returns the fault inside err. A database that is away is no defect: who asks again is answered.
func Known(err error) *fault.Fault {
	f := fault.From(err)
	if f.Kind != fault.Internal {
		return f
	}
	switch {
	case db.IsAway(err):
		return fault.New(fault.Unavailable, "database.away", "The database does not answer right now.").
			Do("Try again in a moment; nothing is lost.").After(databaseBack).Because(err)
	case db.IsFull(err):
		return fault.New(fault.Unavailable, "database.full", "The disk under the database is full.").Do("Free some space and try again.").Because(err)
	}
	return f
}

// databaseBack is how long a database takes that is started again or hands over to its standby.
const databaseBack = 2 * time.Second

func cause(f *fault.Fault) error {
	if err := f.Unwrap(); err != nil {
		return err
	}
	return f
}

var useFaultsOnce sync.Once

// useFaults makes huma answer with problems. huma offers package variables for this and nothing else.
// They are set once for the process, by the first New, and the functions keep no state: what belongs
// to a request or a server comes with the request's context.
func useFaults() {
	useFaultsOnce.Do(func() {
		huma.DefaultArrayNullable = false // transform keeps it true for answers
		huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
			return newError(context.Background(), status, message, errs)
		}
		huma.NewErrorWithContext = func(ctx huma.Context, status int, message string, errs ...error) huma.StatusError {
			p := newError(ctx.Context(), status, message, errs)
			p.headers(ctx.SetHeader)
			return p
		}
	})
}

// newError turns what huma or a handler reports into a problem. huma's own statuses for malformed
// requests stay, except that a body which cannot be read is the client's failure, not ours.
func newError(ctx context.Context, status int, message string, errs []error) *Problem {
	for _, err := range errs {
		var f *fault.Fault
		if errors.As(err, &f) {
			return problemOf(ctx, err)
		}
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
	}
	if message == "cannot read request body" && status == http.StatusInternalServerError {
		status = http.StatusBadRequest
	}
	if status >= 500 {
		return problemOf(ctx, errors.Join(append(errs, errors.New(message))...))
	}
	f := fault.New(fault.Invalid, code(status), "%s", sentence(strings.Replace(message, " limit=", ": the limit is ", 1)))
	for _, err := range errs {
		if detail, ok := err.(huma.ErrorDetailer); ok { // without the value: it may be a secret
			f.At(detail.ErrorDetail().Location, "%s", humaSays(detail.ErrorDetail().Message))
		} else if err != nil {
			f.At("", "%s", err.Error())
		}
	}
	if message == "validation failed" {
		f.Message = "The request is not valid."
		if len(f.Fields) == 1 {
			_, name, _ := strings.Cut(f.Fields[0].Path, ".") // where it stood is for programs: body, query, path
			f.Message = sentence("the request is not valid: " + strings.TrimSpace(name+" "+f.Fields[0].Message))
		}
	}
	p := problemOf(ctx, f)
	p.Status, p.Title = status, http.StatusText(status)
	return p
}

// expectations are what huma says of a value that does not fit, and what people read.
var expectations = []struct {
	said  *regexp.Regexp
	plain string
}{
	{regexp.MustCompile(`^expected value to be one of "(.*)"$`), "must be one of $1"},
	{regexp.MustCompile(`^expected string to be (.*)$`), "must have the form: $1"},
	{regexp.MustCompile(`^expected length >= (\d+)$`), "must have at least $1 characters"},
	{regexp.MustCompile(`^expected length <= (\d+)$`), "must have at most $1 characters"},
	{regexp.MustCompile(`^expected (?:number|integer) >= (\S+)$`), "must be at least $1"},
	{regexp.MustCompile(`^expected (?:number|integer) <= (\S+)$`), "must be at most $1"},
	{regexp.MustCompile(`^expected required property (\S+) to be present$`), "$1 is missing"},
	{regexp.MustCompile(`^required (query|header|path|cookie) parameter is missing$`), "is missing"},
	{regexp.MustCompile(`^unexpected property$`), "is not known"},
	{regexp.MustCompile(`^expected (string|number|integer|boolean|array|object)$`), "must be of the type $1"},
}

// humaSays returns what huma says of a value in words for people, or as it is.
func humaSays(message string) string {
	for _, one := range expectations {
		if one.said.MatchString(message) {
			return one.said.ReplaceAllString(message, one.plain)
		}
	}
	return message
}

func code(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "request.malformed"
	case http.StatusRequestEntityTooLarge:
		return "request.too_large"
	case http.StatusRequestTimeout:
		return "request.timeout"
	case http.StatusUnsupportedMediaType:
		return "request.media_type"
	case http.StatusNotAcceptable:
		return "request.not_acceptable"
	}
	return "request.invalid"
}

func sentence(s string) string {
	if s == "" {
		return "The request cannot be answered."
	}
	return title(strings.TrimSuffix(s, ".")) + "."
}
