package db

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// hearers are those who are told what transactions of this process were about. It belongs to the DB, so that a
// transaction needs no handle that every store function would have to carry.
type hearers struct {
	mu  sync.Mutex
	all map[*func([]any)]bool
}

// Hear calls fn after every commit with what the transaction told (Tx.Tell), until stop is called. The one that has
// committed waits for fn, so it must return at once.
func (d *DB) Hear(fn func(told []any)) (stop func()) {
	h := &d.hearers
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all = map[*func([]any)]bool{}
	}
	h.all[&fn] = true
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.all, &fn)
	}
}

func (h *hearers) tell(told []any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for fn := range h.all {
		(*fn)(told)
	}
}

// MessageLimit is how long a message of Notify may be, in bytes: PostgreSQL takes less than 8000.
const MessageLimit = 7900

// quiet is how long Listen waits for a message before it looks whether the connection still lives.
const quiet = 15 * time.Second

// Notify sends messages to those who Listen at this PostgreSQL database. It is a transaction of its own: inside of
// another one its commit would wait for every other that notifies.
func (d *DB) Notify(ctx context.Context, channel string, messages []string) error {
	_, err := d.Pool.Exec(ctx, `select pg_notify($1, m) from unnest($2::text[]) as m`, channel, messages)
	return err
}

// Listen calls heard with every message that is sent through the channel of this PostgreSQL database, on a
// connection of its own, until the connection or ctx ends. It calls begun when it begins: what was sent before is
// not heard.
func (d *DB) Listen(ctx context.Context, channel string, begun func(), heard func(message string)) error {
	conn, err := pgx.ConnectConfig(ctx, d.Pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		conn.Close(closing)
	}()
	if _, err := conn.Exec(ctx, "listen "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return err
	}
	begun()
	for {
		waiting, cancel := context.WithTimeout(ctx, quiet)
		n, err := conn.WaitForNotification(waiting)
		cancel()
		switch {
		case err == nil:
			heard(n.Payload)
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded) && !conn.IsClosed():
			// A connection whose other end is gone is as quiet as one on which nothing is said.
			asking, cancel := context.WithTimeout(ctx, quiet)
			err = conn.Ping(asking)
			cancel()
			if err != nil {
				return err
			}
		default:
			return err
		}
	}
}
