package event

import (
	"encoding/json"
	"strconv"
	"strings"

	"flywheel.dev/flywheel/internal/db"
)

// Filter selects events; an empty field selects all. Types match whole or, with a trailing "*", by
// their beginning.
type Filter struct {
	Subject string
	App     string
	Types   []string
}

// Match reports whether e passes the filter.
func (f Filter) Match(e Event) bool {
	if f.Subject != "" && e.Subject != f.Subject || f.App != "" && e.App != f.App {
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

// Head returns the number of the last event, 0 for an empty log.
func Head(tx *db.Tx) (seq int64, err error) {
	err = tx.QueryRow("select coalesce(max(seq), 0) from event").Scan(&seq)
	return seq, err
}

const selectEvent = "select seq, id, type, subject, app, actor, at, data from event"

func (f Filter) where(args []any) (string, []any) {
	var b strings.Builder
	parameter := func(v string) string {
		args = append(args, v)
		return "$" + strconv.Itoa(len(args))
	}
	if f.Subject != "" {
		b.WriteString(" and subject = " + parameter(f.Subject))
	}
	if f.App != "" {
		b.WriteString(" and app = " + parameter(f.App))
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
	err := row.Scan(&e.Seq, &e.ID, &e.Type, &e.Subject, &e.App, &e.Actor, &e.At, &data)
	e.Data = json.RawMessage(data)
	return e, err
}
