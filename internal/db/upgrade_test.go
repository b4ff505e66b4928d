package db_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
)

// testdata/migrations.sum is what `sha256sum *.sql` prints in the folder of the migrations. Its lines for
// migrations that have been released never change.
func TestReleasedMigrationsStayAsTheyAre(t *testing.T) {
	sums := map[string]string{}
	file, err := os.Open("testdata/migrations.sum")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		sum, name, ok := strings.Cut(lines.Text(), "  ")
		if !ok {
			t.Fatalf("testdata/migrations.sum: %q is not a line of sha256sum", lines.Text())
		}
		sums[name] = sum
	}
	files, err := filepath.Glob("migrations/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no migrations", err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(path)
		switch sum := fmt.Sprintf("%x", sha256.Sum256(text)); sums[name] {
		case sum:
		case "":
			t.Errorf("%s has no checksum. Add this line to testdata/migrations.sum:\n%s  %s", name, sum, name)
		default:
			t.Errorf("%s was edited. Databases that ran it would differ from new ones: take the edit back and write a new migration.", name)
		}
		delete(sums, name)
	}
	for name := range sums {
		t.Errorf("%s is gone, and databases that ran it cannot be opened without it", name)
	}
}

// testdata/before-*.sql.gz are dumps of what the demo left in a database before the migrations after 00011 existed,
// on each engine.
func TestADatabaseOfAnEarlierReleaseIsUpgraded(t *testing.T) {
	url := dbtest.URL(t)
	engine := engineOf(url)
	before := engine.open(t, url)
	before.load(t)
	old, rows := before.tables(t), before.rows(t)
	if len(old["event"]) == 0 || rows["event"] < 100 || rows["deployment"] == 0 {
		t.Fatalf("the dump holds %d events and %d deployments", rows["event"], rows["deployment"])
	}

	d, err := db.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	freshURL := dbtest.URL(t)
	if d, err = db.Open(t.Context(), freshURL); err != nil {
		t.Fatal(err)
	}
	d.Close()

	upgraded, fresh := before.tables(t), engine.open(t, freshURL).tables(t)
	for table, want := range fresh {
		if got := upgraded[table]; !slices.Equal(got, want) {
			t.Errorf("%s is\n  %s\nafter the upgrade, and in a new database\n  %s", table, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
		}
	}
	if maps.EqualFunc(old, upgraded, slices.Equal) {
		t.Error("the upgrade changed no table: the dump is of a database that needs none")
	}
	for table, n := range before.rows(t) {
		if n < rows[table] {
			t.Errorf("%s had %d rows and has %d", table, rows[table], n)
		}
	}
}

// engine asks a database about itself with the words of its kind.
type engine struct{ driver, dump, tables, columns string }

func engineOf(url string) engine {
	if strings.HasPrefix(url, "postgres") {
		return engine{"pgx", "testdata/before-postgres.sql.gz",
			`select table_name from information_schema.tables where table_schema = 'public'`,
			`select 'column ' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' || coalesce(column_default, '') from information_schema.columns where table_schema = 'public' and table_name = $1
				union all select indexdef from pg_indexes where schemaname = 'public' and tablename = $1`}
	}
	return engine{"sqlite", "testdata/before-sqlite.sql.gz",
		`select name from sqlite_schema where type = 'table' and name not like 'sqlite_%'`,
		`select sql from sqlite_schema where tbl_name = $1 and sql is not null`}
}

type database struct {
	engine
	url string
	sql *sql.DB
}

func (e engine) open(t *testing.T, url string) database {
	t.Helper()
	handle, err := sql.Open(e.driver, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { handle.Close() })
	return database{e, url, handle}
}

// load runs the statements of the dump.
func (d database) load(t *testing.T) {
	t.Helper()
	file, err := os.Open(d.dump)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	if d.driver == "sqlite" {
		if _, err := d.sql.Exec(string(text)); err != nil {
			t.Fatal(err)
		}
		return
	}
	// One connection of its own: the dump sets what a later user of the connection would not expect.
	conn, err := pgx.Connect(t.Context(), d.url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.PgConn().Exec(t.Context(), string(text)).ReadAll(); err != nil {
		t.Fatal(err)
	}
}

func (d database) strings(t *testing.T, query string, args ...any) (found []string) {
	t.Helper()
	rows, err := d.sql.Query(query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		found = append(found, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

// tables returns what each table is made of, its columns and indexes, in order.
func (d database) tables(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, name := range d.strings(t, d.engine.tables) {
		found[name] = d.strings(t, d.columns, name)
	}
	return found
}

// rows returns how many rows each table has.
func (d database) rows(t *testing.T) map[string]int {
	t.Helper()
	found := map[string]int{}
	for _, name := range d.strings(t, d.engine.tables) {
		var n int
		if err := d.sql.QueryRow(`select count(*) from "` + name + `"`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		found[name] = n
	}
	return found
}
