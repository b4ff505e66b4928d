package db

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Tx is one transaction with its own moment in time: every row it writes carries the same Now.
type Tx struct {
	ctx      context.Context
	now      time.Time
	q        dbos.Querier
	postgres bool
	alone    bool
	last     []func() error
	after    []func()
	told     []any
	hearers  *hearers
}

// Rows is an open result. Call Close, and look at Err after the last Next. Scan has the rules of
// database/sql.
type Rows = dbos.Rows

// Row is the only row of a result, or ErrNoRows from its Scan.
type Row = dbos.Row

// Write runs fn in a transaction that may write, commits it, and then runs what fn handed to
// AfterCommit. If fn fails nothing was written. A transaction that PostgreSQL refused because of
// another one running beside it is tried again, so fn must have no effect outside the transaction.
func (d *DB) Write(ctx context.Context, fn func(*Tx) error) error {
	for attempt := 0; ; attempt++ {
		err := d.once(ctx, fn, false)
		if IsFull(err) {
			return errors.Join(err, syscall.ENOSPC) // what a full disk is called everywhere else
		}
		if err == nil || attempt == 4 || !retryable(err) {
			return err
		}
	}
}

// Read runs fn in a read-only transaction, which sees one state of the database.
func (d *DB) Read(ctx context.Context, fn func(*Tx) error) error { return d.once(ctx, fn, true) }

func (d *DB) once(ctx context.Context, fn func(*Tx) error, readOnly bool) error {
	tx := &Tx{ctx: ctx, now: d.now(), postgres: d.Postgres(), hearers: &d.hearers}
	var commit, rollback func() error
	lost := func() bool { return false }
	if d.Pool != nil {
		options := pgx.TxOptions{}
		if readOnly {
			options = pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
		}
		t, err := d.Pool.BeginTx(ctx, options)
		if err != nil {
			return orLost(err, ctx.Err() == nil) // nothing but the connection can have failed
		}
		conn := t.Conn()
		lost = func() bool { return ctx.Err() == nil && conn.IsClosed() } // the end of ctx closes it too
		tx.q, commit, rollback = pgxQuerier{t}, func() error { return t.Commit(ctx) }, func() error { return t.Rollback(context.WithoutCancel(ctx)) }
	} else {
		t, err := d.SQL.BeginTx(ctx, &sql.TxOptions{ReadOnly: readOnly})
		if err != nil {
			return err
		}
		tx.q, commit, rollback = sqlQuerier{t}, t.Commit, t.Rollback
	}
	defer rollback() // harmless after a commit; ends the transaction when fn fails or panics
	err := fn(tx)
	if err == nil {
		err = tx.Finish()
	}
	if err == nil {
		err = commit()
	}
	if err != nil {
		return orLost(err, lost())
	}
	tx.Committed()
	return nil
}

// lostError is whatever error a transaction ended with when its connection was lost: a server that crashes
// says no more than the end of a file.
type lostError struct{ error }

func (l lostError) Unwrap() error { return l.error }

func orLost(err error, lost bool) error {
	if lost {
		return lostError{err}
	}
	return err
}

// Join wraps a transaction that the workflow engine has begun, so that store functions write into the
// same commit as the engine's own checkpoint. The caller runs Finish when its own work has succeeded, and
// Committed after the engine committed.
func (d *DB) Join(ctx context.Context, q dbos.Querier) *Tx {
	return &Tx{ctx: ctx, now: d.now(), q: q, postgres: d.Postgres(), hearers: &d.hearers}
}

func (d *DB) now() time.Time { return d.Now().UTC().Truncate(time.Microsecond) }

// Context returns the context of the transaction, which carries the actor.
func (tx *Tx) Context() context.Context { return tx.ctx }

// In makes ctx the context of the transaction from here on, and returns the same transaction. A
// transaction of a workflow has no actor of its own: whoever writes there says who acts.
func (tx *Tx) In(ctx context.Context) *Tx {
	tx.ctx = ctx
	return tx
}

// Now returns the moment of the transaction, in UTC with microseconds.
func (tx *Tx) Now() time.Time { return tx.now }

// Postgres reports whether the engine is PostgreSQL, for the few statements that only it has.
func (tx *Tx) Postgres() bool { return tx.postgres }

// ForUpdate ends a query of one table so that nobody else locks or changes the rows it returns until the
// transaction has ended. On SQLite it is empty: there is one writer. Whoever decides on what a row says and then
// writes reads it so: PostgreSQL runs at READ COMMITTED, and a row that was read without it may be another one
// by then. docs/decisions/0022 has the order in which rows are locked.
func (tx *Tx) ForUpdate() string {
	if tx.postgres {
		return " for update"
	}
	return ""
}

// Serialize makes the caller the only transaction that numbers rows until it commits. There is one such
// lock: with two of them, transactions that need both could block each other.
func (tx *Tx) Serialize() error {
	if !tx.postgres || tx.alone {
		return nil // SQLite has one writer
	}
	_, err := tx.Exec("select pg_advisory_xact_lock(7270002)")
	tx.alone = err == nil
	return err
}

// Lock makes the caller the only transaction that holds this name until it commits, where there is no row yet to be
// locked. Names are told apart by a hash: two that share one wait for each other once in a while.
func (tx *Tx) Lock(name string) error {
	if !tx.postgres {
		return nil // SQLite has one writer
	}
	_, err := tx.Exec("select pg_advisory_xact_lock(7270004, hashtext($1))", name)
	return err
}

// BeforeCommit runs fn as one of the last things of the transaction. It is for what holds a lock that
// everybody wants: the lock is then held for the commit only.
func (tx *Tx) BeforeCommit(fn func() error) { tx.last = append(tx.last, fn) }

// Finish runs what BeforeCommit collected. Only Write and the owner of a joined transaction call it.
func (tx *Tx) Finish() error {
	for _, fn := range tx.last {
		if err := fn(); err != nil {
			return err
		}
	}
	tx.last = nil
	return nil
}

// AfterCommit runs fn once the transaction is durable; it never runs if the transaction fails.
// It is a nudge, not a promise: a process that dies between commit and fn does not run it.
func (tx *Tx) AfterCommit(fn func()) { tx.after = append(tx.after, fn) }

// Committed runs what AfterCommit collected, and passes on what was told. Only Write and the owner of a joined
// transaction call it.
func (tx *Tx) Committed() {
	for _, fn := range tx.after {
		fn()
	}
	if len(tx.told) > 0 {
		tx.hearers.tell(tx.told)
	}
	tx.after, tx.told = nil, nil
}

// Tell notes something comparable that whoever hears this database is told after the commit, once however often it
// is noted. Like AfterCommit it is a nudge, not a promise.
func (tx *Tx) Tell(what any) {
	if !slices.Contains(tx.told, what) {
		tx.told = append(tx.told, what)
	}
}

// Exec runs a statement and returns the number of rows it changed.
func (tx *Tx) Exec(query string, args ...any) (int64, error) {
	result, err := tx.q.Exec(tx.ctx, query, utc(args)...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// Query runs a statement that returns rows.
func (tx *Tx) Query(query string, args ...any) (Rows, error) {
	return tx.q.Query(tx.ctx, query, utc(args)...)
}

// QueryRow runs a statement that returns at most one row.
func (tx *Tx) QueryRow(query string, args ...any) Row {
	return tx.q.QueryRow(tx.ctx, query, utc(args)...)
}

// Collect runs a query and scans each row with scan. It returns an empty slice, never nil, so that
// an empty list is `[]` in JSON.
func Collect[T any](tx *Tx, scan func(Row) (T, error), query string, args ...any) ([]T, error) {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []T{}
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	return list, rows.Err()
}

// utc makes every time a UTC time with microseconds: PostgreSQL's `timestamp` drops the zone, and
// SQLite compares times as text.
func utc(args []any) []any {
	for i, a := range args {
		switch t := a.(type) {
		case time.Time:
			args[i] = t.UTC().Truncate(time.Microsecond)
		case *time.Time:
			if t != nil {
				args[i] = t.UTC().Truncate(time.Microsecond)
			}
		}
	}
	return args
}

func retryable(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01")
}

type sqlQuerier struct{ tx *sql.Tx }

func (s sqlQuerier) Exec(ctx context.Context, q string, args ...any) (dbos.Result, error) {
	return s.tx.ExecContext(ctx, q, args...)
}

func (s sqlQuerier) Query(ctx context.Context, q string, args ...any) (dbos.Rows, error) {
	rows, err := s.tx.QueryContext(ctx, q, args...)
	if err != nil {
		return nil, err
	}
	return rows, nil
}

func (s sqlQuerier) QueryRow(ctx context.Context, q string, args ...any) dbos.Row {
	return sqlRow{s.tx.QueryRowContext(ctx, q, args...)}
}

type sqlRow struct{ row *sql.Row }

func (r sqlRow) Scan(dest ...any) error {
	err := r.row.Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNoRows
	}
	return err
}

type pgxQuerier struct{ tx pgx.Tx }

func (p pgxQuerier) Exec(ctx context.Context, q string, args ...any) (dbos.Result, error) {
	tag, err := p.tx.Exec(ctx, q, args...)
	return pgxResult(tag.RowsAffected()), err
}

func (p pgxQuerier) Query(ctx context.Context, q string, args ...any) (dbos.Rows, error) {
	rows, err := p.tx.Query(ctx, q, args...)
	if err != nil {
		return nil, err
	}
	return pgxRows{rows}, nil
}

func (p pgxQuerier) QueryRow(ctx context.Context, q string, args ...any) dbos.Row {
	return p.tx.QueryRow(ctx, q, args...)
}

type pgxResult int64

func (r pgxResult) RowsAffected() (int64, error) { return int64(r), nil }

type pgxRows struct{ pgx.Rows }

func (r pgxRows) Close() error { r.Rows.Close(); return nil }
