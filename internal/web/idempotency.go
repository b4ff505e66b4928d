package web

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
)

const (
	idempotencyKept  = 24 * time.Hour
	idempotencyBusy  = 5 * time.Minute // longer than any operation takes
	idempotencyLimit = 1 << 20
)

// attempt is what is known about the first request with a key. Status 0: it has begun.
type attempt struct {
	request   string // hash of method, URL and body
	status    int64
	headers   map[string]string
	body      string
	createdAt time.Time
}

// idempotent lets a client repeat a creation whose answer it did not get. The first request with a key
// claims it; a repetition gets the first answer. Only success is remembered, because a failure had no
// effect and may be tried again. An answer that shows a secret is not kept, only that it was given.
func (s *Server) idempotent(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, person := r.Header.Get("Idempotency-Key"), exchangeOf(r.Context()).person
		// Only JSON is kept to compare: an upload is under the digest of its content, so that a repetition does nothing.
		upload := !strings.HasPrefix(cmp.Or(r.Header.Get("Content-Type"), "application/json"), "application/json")
		if r.Method != http.MethodPost || key == "" || upload || person == "" || s.options.DB == nil {
			next.ServeHTTP(w, r)
			return
		}
		request, err := fingerprint(w, r, key)
		if err != nil {
			Fail(w, r, err)
			return
		}
		first, err := s.claim(r.Context(), person, key, request)
		if err != nil {
			Fail(w, r, err)
			return
		}
		if first != nil {
			if err := first.replay(w, request, s.options.DB.Now()); err != nil {
				Fail(w, r, err)
			}
			return
		}
		rec := &answer{ResponseWriter: w}
		finished := false
		defer func() { // also when the handler panics: the claim must not outlive the failure
			// The client may have gone; what was done must be remembered all the same.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 10*time.Second)
			defer cancel()
			if !finished {
				rec.status = http.StatusInternalServerError
			}
			if err := s.settle(ctx, person, key, rec); err != nil {
				s.options.Log.ErrorContext(ctx, "the answer to an idempotent request was not kept", "error", err)
			}
		}()
		next.ServeHTTP(rec, r)
		finished = true
	})
}

func fingerprint(w http.ResponseWriter, r *http.Request, key string) (string, error) {
	if len(key) > 255 || strings.ContainsFunc(key, func(c rune) bool { return c < 0x21 || c > 0x7e }) {
		return "", fault.New(fault.Invalid, "idempotency.key", "The Idempotency-Key is longer than 255 characters or not plain ASCII.")
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, idempotencyLimit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return "", fault.New(fault.TooLarge, "request.too_large", "The body is larger than 1 MiB.")
	case err != nil:
		return "", fault.New(fault.Invalid, "request.malformed", "The body cannot be read.").Because(err)
	}
	r.Body = &body{io.NopCloser(bytes.NewReader(text)), http.NewResponseController(w)}
	hash := sha256.New()
	io.WriteString(hash, r.Method+" "+r.URL.RequestURI()+"\n")
	hash.Write(text)
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// claim returns nil if this request is the first with its key, else what is known about the first.
func (s *Server) claim(ctx context.Context, person, key, request string) (first *attempt, err error) {
	err = s.options.DB.Write(ctx, func(tx *db.Tx) error {
		first = nil
		if _, err := tx.Exec("delete from idempotency where created_at < $1", tx.Now().Add(-idempotencyKept)); err != nil {
			return err
		}
		n, err := tx.Exec(`insert into idempotency (person, key, request, status, headers, body, created_at)
			values ($1, $2, $3, 0, '{}', '', $4) on conflict do nothing`, person, key, request, tx.Now())
		if err != nil || n == 1 {
			return err
		}
		first = &attempt{}
		return tx.QueryRow("select request, status, headers, body, created_at from idempotency where person = $1 and key = $2",
			person, key).Scan(&first.request, &first.status, db.Into(&first.headers), &first.body, &first.createdAt)
	})
	return first, err
}

func (a *attempt) replay(w http.ResponseWriter, request string, now time.Time) error {
	switch {
	case a.request != request:
		return fault.New(fault.Invalid, "idempotency.reused", "This Idempotency-Key was used for another request.").
			Do("Use a new key for each request.")
	case a.status == 0 && now.Sub(a.createdAt) < idempotencyBusy:
		return fault.New(fault.Conflict, "idempotency.busy", "The first request with this Idempotency-Key is still running.").
			Do("Repeat it in a moment.")
	case a.status == 0:
		return fault.New(fault.Conflict, "idempotency.interrupted", "The first request with this Idempotency-Key was interrupted.").
			Do("Look whether it was done; if not, use a new key.")
	case a.headers["Cache-Control"] == "no-store":
		return fault.New(fault.Conflict, "idempotency.shown_once", "It was done already, and its answer held a secret that is shown only once.").
			Do("If you did not get the answer, delete what was made and make it again with a new key.")
	}
	for name, value := range a.headers {
		w.Header().Set(name, value)
	}
	w.Header().Set("Idempotency-Replayed", "true")
	w.WriteHeader(int(a.status))
	io.WriteString(w, a.body)
	return nil
}

func (s *Server) settle(ctx context.Context, person, key string, rec *answer) error {
	return s.options.DB.Write(ctx, func(tx *db.Tx) error {
		if rec.status < 200 || rec.status > 299 {
			_, err := tx.Exec("delete from idempotency where person = $1 and key = $2", person, key)
			return err
		}
		headers := map[string]string{}
		for _, name := range []string{"Content-Type", "Location", "ETag", "Cache-Control"} {
			if v := rec.Header().Get(name); v != "" {
				headers[name] = v
			}
		}
		if strings.Contains(headers["Cache-Control"], "no-store") {
			headers, rec.text = map[string]string{"Cache-Control": "no-store"}, bytes.Buffer{}
		}
		_, err := tx.Exec("update idempotency set status = $1, headers = $2, body = $3 where person = $4 and key = $5",
			int64(rec.status), db.JSON(headers), rec.text.String(), person, key)
		return err
	})
}

// answer keeps a copy of what is answered.
type answer struct {
	http.ResponseWriter
	status int
	text   bytes.Buffer
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	a.text.Write(b)
	return a.ResponseWriter.Write(b)
}

func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
