package tofu

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/go-chi/chi/v5"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
)

// maxState bounds what one state may hold.
const maxState = 64 << 20

func init() {
	// chi knows only the methods of HTTP itself; the `http` backend locks with methods of its own.
	chi.RegisterMethod("LOCK")
	chi.RegisterMethod("UNLOCK")
}

// Handler answers the `http` backend of the engines at /internal/state/{instance}. It is no part of
// the API: it takes only tokens of runs, as the password of the run's id.
func (s *States) Handler() http.Handler {
	r := chi.NewRouter()
	const path = "/internal/state/{instance}"
	r.Get(path, s.with(s.get))
	r.Post(path, s.with(s.post))
	r.Delete(path, s.with(s.delete))
	r.MethodFunc("LOCK", path, s.with(s.lock))
	r.MethodFunc("UNLOCK", path, s.with(s.unlock))
	return r
}

// with finds what the token allows. A token for another instance is answered like no token at all.
func (s *States) with(next func(http.ResponseWriter, *http.Request, grant) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		run, token, _ := r.BasicAuth()
		var g grant
		err := s.DB.Read(r.Context(), func(tx *db.Tx) (err error) {
			g, err = grantOf(tx, digestOf([]byte(token)))
			return err
		})
		if errors.Is(err, db.ErrNoRows) || err == nil && (g.run != run || g.instance != chi.URLParam(r, "instance")) {
			err = fault.New(fault.Unauthenticated, "state.token", "This token is not for the state of this instance, or its run has ended.")
		}
		if err == nil {
			r.Body = http.MaxBytesReader(w, r.Body, maxState)
			err = next(w, r, g)
		}
		if err != nil {
			refuse(w, r, err)
		}
	}
}

func (s *States) get(w http.ResponseWriter, r *http.Request, g grant) error {
	body, err := s.Current(r.Context(), g.instance)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		w.WriteHeader(http.StatusNotFound) // the engine takes it as an empty state
		return nil
	}
	sum := md5.Sum(body) // what the backend's protocol asks for, against damage on the way
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-MD5", base64.StdEncoding.EncodeToString(sum[:]))
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, err = w.Write(body)
	if err != nil {
		slog.WarnContext(r.Context(), "state not delivered", "run", g.run, "error", err)
	}
	return nil
}

func (s *States) post(_ http.ResponseWriter, r *http.Request, g grant) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return unread(err)
	}
	if want := r.Header.Get("Content-MD5"); want != "" {
		if sum := md5.Sum(body); base64.StdEncoding.EncodeToString(sum[:]) != want {
			return fault.New(fault.Invalid, "state.damaged", "The state was damaged on its way.").Do("Send it again.")
		}
	}
	return s.push(r.Context(), g, body, r.URL.Query().Get("ID"))
}

// delete ends a state but keeps its versions: a version without content is put on top.
func (s *States) delete(_ http.ResponseWriter, r *http.Request, g grant) error {
	return s.DB.Write(r.Context(), func(tx *db.Tx) error {
		return s.store(tx, g, state{StateVersion: StateVersion{Run: g.run}, body: []byte{}}, r.URL.Query().Get("ID"))
	})
}

func (s *States) lock(w http.ResponseWriter, r *http.Request, g grant) error {
	info, id, err := lockInfo(r.Body)
	if err != nil {
		return err
	}
	var holder stateLock
	err = s.DB.Write(r.Context(), func(tx *db.Tx) error {
		if err := s.mayWrite(tx, g); err != nil {
			return err
		}
		taken, err := insertLock(tx, g.instance, stateLock{run: g.run, id: id, info: info})
		if err != nil || taken {
			return err
		}
		holder, err = lockOf(tx, g.instance)
		return err
	})
	if err == nil && holder.id != "" && holder.id != id { // the same id is the same request again
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusLocked)
		io.WriteString(w, holder.info)
	}
	return err
}

// unlock also frees a lock of the same run with another id: a run breaks its own lock, never another's.
func (s *States) unlock(_ http.ResponseWriter, r *http.Request, g grant) error {
	return s.DB.Write(r.Context(), func(tx *db.Tx) error {
		holder, err := lockOf(tx, g.instance)
		if err != nil {
			return err
		}
		if holder.id != "" && holder.run != g.run {
			return locked(holder)
		}
		_, err = tx.Exec(`delete from state_lock where instance = $1 and run = $2`, g.instance, g.run)
		return err
	})
}

func lockInfo(body io.Reader) (info, id string, err error) {
	b, err := io.ReadAll(io.LimitReader(body, 64<<10))
	if err != nil {
		return "", "", unread(err)
	}
	var l struct{ ID string }
	if err := json.Unmarshal(b, &l); err != nil || l.ID == "" {
		return "", "", fault.New(fault.Invalid, "state.lock_malformed", "A lock needs its info as JSON, with an ID.")
	}
	return string(b), l.ID, nil
}

func unread(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return fault.New(fault.TooLarge, "state.too_large", "A state may hold %d MB.", maxState>>20)
	}
	return fault.New(fault.Invalid, "state.unread", "The state did not arrive whole.").Because(err)
}

// refuse answers with one sentence: the engine shows it to the user as it is.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	f := fault.From(err)
	status := map[fault.Kind]int{
		fault.Invalid: http.StatusBadRequest, fault.Unauthenticated: http.StatusUnauthorized, fault.Forbidden: http.StatusForbidden,
		fault.NotFound: http.StatusNotFound, fault.Conflict: http.StatusConflict, fault.Stale: http.StatusConflict,
		fault.TooLarge: http.StatusRequestEntityTooLarge, fault.Unavailable: http.StatusServiceUnavailable,
	}[f.Kind]
	if status == 0 {
		status = http.StatusInternalServerError
		slog.ErrorContext(r.Context(), "state request failed", "instance", chi.URLParam(r, "instance"), "error", err)
	}
	if f.Code == "state.locked" {
		status = http.StatusLocked
	}
	http.Error(w, f.Error(), status)
}
