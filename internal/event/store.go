package event

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/db"
)

const columns = "id, type, subject, app, team, audience, actor, request_id, client_request_id, at, data"

// insert writes an event: with its number on SQLite, whose one writer commits before the next one begins,
// and to be numbered on PostgreSQL. A number taken there would have to be locked until the commit, or a
// reader could pass it before its event appears; that lock let no two deployments commit together.
func insert(tx *db.Tx, e Event, data string) error {
	into := `insert into event (seq, ` + columns + `) select coalesce(max(seq), 0) + 1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11 from event`
	if tx.Postgres() {
		into = `insert into event_unnumbered (` + columns + `) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`
	}
	_, err := tx.Exec(into, e.ID, e.Type, e.Subject, e.App, e.Team, string(e.Audience), e.Actor, e.RequestID, e.ClientRequestID, e.At, data)
	return err
}

// Number gives their numbers to the events that have been committed without one. One transaction at a time
// does so, of all replicas, so that numbers appear in their order; whoever reads the log calls it before.
// On SQLite there is nothing to do.
func Number(ctx context.Context, d *db.DB) error {
	if !d.Postgres() {
		return nil
	}
	return d.Write(ctx, func(tx *db.Tx) error {
		if _, err := tx.Exec("select pg_advisory_xact_lock(7270003)"); err != nil {
			return err
		}
		// The bounds keep it from reading the places of rows that were numbered before.
		_, err := tx.Exec(`with committed as (delete from event_unnumbered
				where place between (select min(place) from event_unnumbered) and (select max(place) from event_unnumbered) returning *)
			insert into event (seq, ` + columns + `)
			select (select coalesce(max(seq), 0) from event) + row_number() over (order by place), ` + columns + ` from committed`)
		return err
	})
}

// Filter selects events; an empty field selects all. Types match whole or, with a trailing "*", by
// their beginning.
type Filter struct {
	Subjects []string
	App      string
	Types    []string
	Requests []string // ids of requests, those that clients gave included
}

// Match reports whether e passes the filter.
func (f Filter) Match(e Event) bool {
	if len(f.Subjects) > 0 && !slices.Contains(f.Subjects, e.Subject) || f.App != "" && e.App != f.App ||
		len(f.Requests) > 0 && !slices.Contains(f.Requests, e.RequestID) && !slices.Contains(f.Requests, e.ClientRequestID) {
		return false
	}
	for _, t := range f.Types {
		if prefix, ok := strings.CutSuffix(t, "*"); ok && strings.HasPrefix(e.Type, prefix) || t == e.Type {
			return true
		}
	}
	return len(f.Types) == 0
}

// After returns up to limit events that follow seq, oldest first.
func After(tx *db.Tx, seq int64, f Filter, limit int) ([]Event, error) {
	where, args := f.where([]any{seq, int64(limit)})
	return db.Collect(tx, scan, selectEvent+" where seq > $1"+where+" order by seq limit $2", args...)
}

// Before returns up to limit events that precede seq, newest first. A seq of 0 means the end.
func Before(tx *db.Tx, seq int64, f Filter, limit int) ([]Event, error) {
	if seq == 0 {
		seq = 1<<63 - 1
	}
	where, args := f.where([]any{seq, int64(limit)})
	return db.Collect(tx, scan, selectEvent+" where seq < $1"+where+" order by seq desc limit $2", args...)
}

// RequestsNamed returns the id with those of the newest requests, a few, which their clients called so.
func RequestsNamed(tx *db.Tx, id string) ([]string, error) {
	ids, err := db.Collect(tx, func(row db.Row) (id string, err error) { return id, row.Scan(&id) },
		`select request_id from event where client_request_id = $1 group by request_id order by max(seq) desc limit 20`, id)
	return append(ids, id), err
}

// Head returns the number of the last event, 0 for an empty log.
func Head(tx *db.Tx) (seq int64, err error) {
	err = tx.QueryRow("select coalesce(max(seq), 0) from event").Scan(&seq)
	return seq, err
}

const selectEvent = "select seq, " + columns + " from event"

func (f Filter) where(args []any) (string, []any) {
	var b strings.Builder
	parameter := func(v string) string {
		args = append(args, v)
		return "$" + strconv.Itoa(len(args))
	}
	for i, subject := range f.Subjects {
		b.WriteString([]string{" and subject in (", ", "}[min(i, 1)] + parameter(subject))
	}
	if len(f.Subjects) > 0 {
		b.WriteString(")")
	}
	if f.App != "" {
		b.WriteString(" and app = " + parameter(f.App))
	}
	for i, id := range f.Requests {
		b.WriteString([]string{" and (", " or "}[min(i, 1)] + "request_id = " + parameter(id))
		b.WriteString(" or client_request_id = " + parameter(id))
	}
	if len(f.Requests) > 0 {
		b.WriteString(")")
	}
	for i, t := range f.Types {
		b.WriteString([]string{" and (", " or "}[min(i, 1)])
		if prefix, ok := strings.CutSuffix(t, "*"); ok {
			// A range, not LIKE: it needs no escaping and means the same on both engines.
			b.WriteString("(type >= " + parameter(prefix) + " and type < " + parameter(prefix+"\U0010FFFF") + ")")
		} else {
			b.WriteString("type = " + parameter(t))
		}
	}
	if len(f.Types) > 0 {
		b.WriteString(")")
	}
	return b.String(), args
}

func scan(row db.Row) (Event, error) {
	var e Event
	var data string
	err := row.Scan(&e.Seq, &e.ID, &e.Type, &e.Subject, &e.App, &e.Team, &e.Audience, &e.Actor, &e.RequestID, &e.ClientRequestID, &e.At, &data)
	e.Data = json.RawMessage(data)
	return e, err
}

// at returns the event with a number.
func at(tx *db.Tx, seq int64) (Event, error) {
	return scan(tx.QueryRow(selectEvent+" where seq = $1", seq))
}

// begin gives a consumer its place unless it has one, and returns it.
func begin(tx *db.Tx, name string, seq int64) (int64, error) {
	if _, err := tx.Exec("insert into consumer (name, seq, updated_at) values ($1, $2, $3) on conflict do nothing", name, seq, tx.Now()); err != nil {
		return 0, err
	}
	p, err := findPlace(tx, name, "")
	return p.Seq, err
}

const selectPlace = "select name, seq, stands_at, attempts, failure, next_at from consumer where name = $1"

func findPlace(tx *db.Tx, name, lock string) (Place, error) {
	return scanPlace(tx.QueryRow(selectPlace+lock, name))
}

// take returns a consumer's place for writing if the fact is still before it and may be tried now, and false if
// not, or if another replica has taken it. It waits for nobody.
func take(tx *db.Tx, name string, seq int64) (Place, bool, error) {
	lock := tx.ForUpdate()
	if lock != "" {
		lock += " skip locked"
	}
	p, err := scanPlace(tx.QueryRow(selectPlace+" and seq < $2 and (next_at is null or next_at <= $3)"+lock, name, seq, tx.Now()))
	if errors.Is(err, db.ErrNoRows) {
		return Place{}, false, nil
	}
	return p, err == nil, err
}

// move sets a consumer's place behind a fact, never back. Nothing holds it up there.
func move(tx *db.Tx, name string, seq int64) error {
	_, err := tx.Exec("update consumer set seq = $2, stands_at = 0, attempts = 0, failure = '', next_at = null, updated_at = $3 where name = $1 and seq < $2", name, seq, tx.Now())
	return err
}

// keep writes down that a consumer has passed facts that are nothing to it. The fact where it stands still, if there
// is one, comes after them.
func keep(tx *db.Tx, name string, seq int64) error {
	_, err := tx.Exec("update consumer set seq = $2, updated_at = $3 where name = $1 and seq < $2", name, seq, tx.Now())
	return err
}

// saveFailure notes a failed attempt at a fact, unless it is behind the consumer by now or the attempt is noted.
func saveFailure(tx *db.Tx, name string, seq int64, attempts int, failure string, next time.Time) error {
	_, err := tx.Exec("update consumer set stands_at = $2, attempts = $3, failure = $4, next_at = $5, updated_at = $6 where name = $1 and seq < $2 and attempts < $3",
		name, seq, attempts, failure, next, tx.Now())
	return err
}

// behind counts the events after seq that pass the filter. It looks at a bounded number of them, whatever the
// length of the log.
func behind(tx *db.Tx, seq int64, f Filter) (n int64, err error) {
	where, args := f.where([]any{seq, seq + 100_000})
	err = tx.QueryRow("select count(*) from event where seq > $1 and seq <= $2"+where, args...).Scan(&n)
	return n, err
}

func scanPlace(row db.Row) (p Place, err error) {
	err = row.Scan(&p.Consumer, &p.Seq, &p.standsAt, &p.Attempts, &p.Failure, &p.NextAt)
	return p, err
}
