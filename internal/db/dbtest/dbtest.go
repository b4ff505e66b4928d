// Package dbtest opens a fresh database for a test, on the engine the run asks for: SQLite in the
// test's own folder, or PostgreSQL at FLYWHEEL_TEST_DATABASE_URL, where each test gets a database.
package dbtest

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/rs/xid"

	"flywheel.dev/flywheel/internal/db"
)

// Open returns a migrated database that goes away with the test.
func Open(t testing.TB) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), URL(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// URL returns the URL of an empty database that goes away with the test, for a server that opens it
// itself.
func URL(t testing.TB) string {
	t.Helper()
	base := os.Getenv("FLYWHEEL_TEST_DATABASE_URL")
	if base == "" {
		return filepath.Join(t.TempDir(), "flywheel.db")
	}
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	name := "test_" + strings.ToLower(xid.New().String())
	admin(t, base, "create database "+name)
	t.Cleanup(func() { admin(t, base, "drop database "+name+" with (force)") })
	u.Path = "/" + name
	return u.String()
}

func admin(t testing.TB, base, statement string) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), base)
	if err != nil {
		t.Fatalf("PostgreSQL at FLYWHEEL_TEST_DATABASE_URL does not answer: %v", err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(context.Background(), statement); err != nil {
		t.Fatal(err)
	}
}
