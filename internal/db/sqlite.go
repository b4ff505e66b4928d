package db

import (
	"context"
	"database/sql/driver"
	"time"

	"modernc.org/sqlite"
)

// connector opens SQLite connections with two things that the driver leaves to its user, because a
// deployment is many short transactions of few different statements.
//
// A connection keeps its prepared statements: parsing and planning them anew each time took more than a
// quarter of a deployment's processor time. And the writers of this process stand in a queue: SQLite lets
// one write and makes the others ask again after a sleep that grows to 100 ms, in no order.
type connector struct {
	driver.Connector
	turn chan struct{} // holds the one token of the writer
}

const (
	busy       = 15 * time.Second // how long a writer waits for another one, of this process or not
	statements = 200              // kept in a connection
)

func newConnector(dsn string) (*connector, error) {
	c, err := sqlite.NewConnector(dsn)
	return &connector{c, make(chan struct{}, 1)}, err
}

// Connect implements driver.Connector.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &connection{sqliteConn: conn.(sqliteConn), turn: c.turn, idle: map[string]statement{}}, nil
}

// sqliteConn is what database/sql makes use of in the driver's connection.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

type statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// connection is used by one goroutine at a time, as database/sql promises.
type connection struct {
	sqliteConn
	turn   chan struct{}
	writes bool                 // it has the turn
	idle   map[string]statement // by their text; one that runs is not in it
}

// BeginTx waits for its turn, unless the transaction only reads.
func (c *connection) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	if o.ReadOnly {
		return c.sqliteConn.BeginTx(ctx, o)
	}
	if err := c.take(ctx); err != nil {
		return nil, err
	}
	tx, err := c.sqliteConn.BeginTx(ctx, o)
	if err != nil {
		c.give()
		return nil, err
	}
	return &transaction{tx, c}, nil
}

// take waits for the turn to write. Whoever has it for too long loses nothing: SQLite itself decides then.
func (c *connection) take(ctx context.Context) error {
	patience := time.NewTimer(busy)
	defer patience.Stop()
	select {
	case c.turn <- struct{}{}:
		c.writes = true
	case <-patience.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (c *connection) give() {
	if c.writes {
		c.writes = false
		<-c.turn
	}
}

type transaction struct {
	driver.Tx
	conn *connection
}

func (t *transaction) Commit() error {
	defer t.conn.give()
	return t.Tx.Commit()
}

func (t *transaction) Rollback() error {
	defer t.conn.give()
	return t.Tx.Rollback()
}

// prepared takes a statement out of the idle ones, or prepares it.
func (c *connection) prepared(ctx context.Context, query string) (statement, error) {
	if s, ok := c.idle[query]; ok {
		delete(c.idle, query)
		return s, nil
	}
	s, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.(statement), nil
}

// done puts a statement back, unless it failed or its place is taken.
func (c *connection) done(query string, s statement, err error) error {
	if _, taken := c.idle[query]; taken || err != nil || len(c.idle) >= statements {
		if closing := s.Close(); err == nil {
			err = closing
		}
		return err
	}
	c.idle[query] = s
	return nil
}

// ExecContext implements driver.ExecerContext.
func (c *connection) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	s, err := c.prepared(ctx, query)
	if err != nil {
		return nil, err
	}
	result, err := s.ExecContext(ctx, args)
	return result, c.done(query, s, err)
}

// QueryContext implements driver.QueryerContext.
func (c *connection) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.prepared(ctx, query)
	if err != nil {
		return nil, err
	}
	rows, err := s.QueryContext(ctx, args)
	if err != nil {
		return nil, c.done(query, s, err)
	}
	return &result{rows.(sqliteRows), func(err error) error { return c.done(query, s, err) }}, nil
}

// Close implements driver.Conn.
func (c *connection) Close() error {
	c.give()
	for query, s := range c.idle {
		delete(c.idle, query)
		_ = s.Close() // the connection's own end says what matters
	}
	return c.sqliteConn.Close()
}

// sqliteRows is what database/sql makes use of in the driver's rows.
type sqliteRows interface {
	driver.Rows
	driver.RowsColumnTypeDatabaseTypeName
	driver.RowsColumnTypeScanType
}

// result gives its statement back when it is closed.
type result struct {
	sqliteRows
	done func(error) error
}

func (r *result) Close() error {
	if r.done == nil {
		return nil
	}
	done := r.done
	r.done = nil
	return done(r.sqliteRows.Close())
}
