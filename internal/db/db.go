// Package db keeps everything Flywheel knows: one schema and one SQL text for SQLite and PostgreSQL.
//
// Rules that make one text serve both engines: parameters are written $1, $2, …; a time is a
// `timestamp` column and always UTC with microseconds; JSON is a `text` column; flags are `boolean`;
// numbers are `bigint`; there is no autoincrement, ids come from NewID. Store functions take a *Tx,
// never the DB, so that a service decides what belongs to one transaction.
//
// On SQLite there is one file in WAL mode with synchronous=FULL: an acknowledged write survives the
// loss of power. Write transactions begin immediately and queue for their turn (see sqlite.go).
//
// Deliberately absent: an ORM, query builders and a repository layer. Migrations are forward only;
// `flywheel restore` is the way back.
package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"
)

//go:embed migrations/*.sql
var migrations embed.FS

// ErrNoRows is what Row.Scan returns when nothing matched. A store turns it into a fault.Missing.
var ErrNoRows = pgx.ErrNoRows

// DB is the open database. SQL is the handle of both engines for libraries that need one; Pool is set
// on PostgreSQL only. Now is the clock of every transaction and may be replaced by a test.
type DB struct {
	SQL  *sql.DB
	Pool *pgxpool.Pool
	Now  func() time.Time
	path string // of the SQLite file

	hearers hearers
}

// Open opens the database at rawURL, a `postgres://` URL or the path of an SQLite file, and brings its
// schema up to date. It fails with a sentence for the operator if the database cannot be reached.
func Open(ctx context.Context, rawURL string) (*DB, error) {
	d := &DB{Now: time.Now}
	var err error
	if strings.HasPrefix(rawURL, "postgres://") || strings.HasPrefix(rawURL, "postgresql://") {
		err = d.openPostgres(ctx, rawURL)
	} else {
		err = d.openSQLite(strings.TrimPrefix(rawURL, "sqlite:"))
	}
	if err != nil {
		return nil, err
	}
	if err := d.migrate(ctx); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *DB) openPostgres(ctx context.Context, rawURL string) error {
	config, err := pgxpool.ParseConfig(rawURL)
	if err != nil {
		return fmt.Errorf("the database URL cannot be read: %w", err)
	}
	if config.MaxConns < 16 {
		config.MaxConns = 16
	}
	if d.Pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return err
	}
	d.SQL = stdlib.OpenDBFromPool(d.Pool)
	if err := d.SQL.PingContext(ctx); err != nil {
		d.Close()
		return fmt.Errorf("PostgreSQL does not answer: %w", err)
	}
	return nil
}

// asURI spells a path as SQLite reads one in a URI, in which these characters mean something else.
var asURI = strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23")

func (d *DB) openSQLite(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := closeToOthers(path); err != nil {
		return err
	}
	q := url.Values{
		"_txlock":      {"immediate"},
		"_time_format": {"sqlite"},
		"_pragma": {
			fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds()), "journal_mode(WAL)", "synchronous(FULL)",
			"foreign_keys(ON)", "cache_size(-16000)", "temp_store(MEMORY)",
		},
	}
	c, err := newConnector("file:" + asURI.Replace(path) + "?" + q.Encode())
	if err != nil {
		return err
	}
	d.SQL, d.path = sql.OpenDB(c), path
	d.SQL.SetMaxOpenConns(8)
	d.SQL.SetMaxIdleConns(8)
	return d.SQL.Ping()
}

// closeToOthers lets nobody else read the file, which it makes where there is none; SQLite gives the files beside
// it the same permissions.
func closeToOthers(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if chmod := os.Chmod(name, 0o600); chmod != nil && !errors.Is(chmod, fs.ErrNotExist) {
			err = chmod
		}
	}
	return errors.Join(err, file.Close())
}

func (d *DB) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	dialect := goose.DialectSQLite3
	if d.Postgres() {
		dialect = goose.DialectPostgres
	}
	p, err := goose.NewProvider(dialect, d.SQL, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	if d.Postgres() {
		// Replicas that start together must not migrate together.
		conn, err := d.Pool.Acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		if _, err := conn.Exec(ctx, "select pg_advisory_lock(7270001)"); err != nil {
			return err
		}
		defer conn.Exec(context.WithoutCancel(ctx), "select pg_advisory_unlock(7270001)")
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("the database schema cannot be brought up to date: %w", err)
	}
	return nil
}

// Postgres reports whether the engine is PostgreSQL (or speaks its protocol).
func (d *DB) Postgres() bool { return d.Pool != nil }

// Path returns the SQLite file, or "" on PostgreSQL.
func (d *DB) Path() string { return d.path }

// Close closes every connection.
func (d *DB) Close() {
	if d.SQL != nil {
		d.SQL.Close()
	}
	if d.Pool != nil {
		d.Pool.Close()
	}
}

// NewID returns a fresh id with the prefix of its kind, for example "chg_06hs…". Ids sort by the time they
// were made: in one process strictly in its order, between processes to the millisecond, as far as their
// clocks agree. They are names, not secrets.
func NewID(prefix string) string {
	// The time in milliseconds and a counter within them, then 30 random bits: what follows in a UUID is
	// randomness that one process does not need and few processes do not either.
	u := uuid.Must(uuid.NewV7())
	return prefix + "_" + sortable.EncodeToString(u[:12])
}

// sortable writes bytes so that the text sorts as they do.
var sortable = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// IsUnique reports whether err is the violation of a unique constraint, on either engine.
func IsUnique(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "23505"
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return lite.Code() == sqlitelib.SQLITE_CONSTRAINT_UNIQUE || lite.Code() == sqlitelib.SQLITE_CONSTRAINT_PRIMARYKEY
	}
	return false
}

// IsAway reports whether err says that the database cannot be reached right now: it was restarted, or the
// network between was cut.
func IsAway(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		// Connection exceptions, shutdown and start-up, and a database that takes no connections.
		return strings.HasPrefix(pg.Code, "08") || strings.HasPrefix(pg.Code, "57P") || pg.Code == "55000" || pg.Code == "53300"
	}
	var refused *pgconn.ConnectError
	var lost lostError
	return errors.As(err, &refused) || errors.As(err, &lost) || errors.Is(err, driver.ErrBadConn) || pgconn.Timeout(err) || err != nil && strings.Contains(err.Error(), "conn closed")
}

// IsFull reports whether err says that the disk under the database is full.
func IsFull(err error) bool {
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return lite.Code()&0xff == sqlitelib.SQLITE_FULL
	}
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "53100"
}
