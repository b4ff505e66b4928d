package db

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func openFile(t *testing.T) *DB {
	t.Helper()
	d, err := Open(t.Context(), filepath.Join(t.TempDir(), "flywheel.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	write(t, d, `create table thing (id text primary key, n bigint not null)`)
	return d
}

func TestOnlyItsOwnerReadsTheDatabase(t *testing.T) {
	for name, before := range map[string]fs.FileMode{"new": 0, "open before": 0o644} {
		path := filepath.Join(t.TempDir(), "flywheel.db")
		if before != 0 {
			if err := errors.Join(os.WriteFile(path, nil, before), os.Chmod(path, before)); err != nil {
				t.Fatal(err)
			}
		}
		d, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, d, `create table thing (id text primary key)`)
		files, err := filepath.Glob(path + "*")
		if err != nil || len(files) != 3 {
			t.Errorf("%s: %v %v, want the database with its log and index", name, files, err)
		}
		for _, file := range files {
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %s has %v %v", name, file, info.Mode(), err)
			}
		}
		d.Close()
	}
}

func write(t *testing.T, d *DB, query string, args ...any) {
	t.Helper()
	if err := d.Write(t.Context(), func(tx *Tx) error { _, err := tx.Exec(query, args...); return err }); err != nil {
		t.Fatal(err)
	}
}

func numbers(tx *Tx) ([]int, error) {
	return Collect(tx, func(r Row) (n int, err error) { return n, r.Scan(&n) }, `select n from thing order by n`)
}

func TestTheDatabaseIsWhereItsPathSays(t *testing.T) {
	for _, name := range []string{"a#b", "a?b", "a%23b", "a b", "ä&c=d"} {
		path := filepath.Join(t.TempDir(), name, "flywheel.db")
		d, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		d.Close()
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("there is no database at %s: %v", path, err)
		}
	}
}

func TestAStatementMayRunWhileItRuns(t *testing.T) {
	d := openFile(t)
	write(t, d, `insert into thing values ('a', 1), ('b', 2)`)
	for range 2 { // the second time with statements that were kept
		err := d.Read(t.Context(), func(tx *Tx) error {
			rows, err := tx.Query(`select n from thing order by n`)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				inner, err := numbers(tx)
				if err != nil || len(inner) != 2 {
					t.Errorf("inside, %v came back (%v)", inner, err)
				}
			}
			return rows.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAKeptStatementSeesANewSchema(t *testing.T) {
	d := openFile(t)
	star := func(tx *Tx) (columns int, err error) {
		rows, err := tx.Query(`select * from thing`)
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		if !rows.Next() {
			return 0, rows.Err()
		}
		var id, n, more any
		if rows.Scan(&id, &n, &more) == nil {
			return 3, nil
		}
		return 2, rows.Scan(&id, &n)
	}
	write(t, d, `insert into thing values ('a', 1)`)
	for want := 2; want <= 3; want++ {
		var got int
		if err := d.Read(t.Context(), func(tx *Tx) (err error) { got, err = star(tx); return err }); err != nil || got != want {
			t.Errorf("%d columns, want %d (%v)", got, want, err)
		}
		if want == 2 {
			write(t, d, `alter table thing add column more text not null default ''`)
		}
	}
}

func TestAStatementThatFailedRunsAgain(t *testing.T) {
	d := openFile(t)
	insert := func(id string) error {
		return d.Write(t.Context(), func(tx *Tx) error { _, err := tx.Exec(`insert into thing values ($1, 1)`, id); return err })
	}
	for _, c := range []struct {
		id    string
		taken bool
	}{{"a", false}, {"a", true}, {"b", false}, {"b", true}, {"c", false}} {
		if err := insert(c.id); IsUnique(err) != c.taken || !c.taken && err != nil {
			t.Errorf("inserting %s: %v", c.id, err)
		}
	}
}

func TestWritersTakeTurns(t *testing.T) {
	d := openFile(t)
	write(t, d, `insert into thing values ('a', 0)`)
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			for range 5 {
				err := d.Write(t.Context(), func(tx *Tx) error {
					var n int
					if err := tx.QueryRow(`select n from thing where id = 'a'`).Scan(&n); err != nil {
						return err
					}
					_, err := tx.Exec(`update thing set n = $1 where id = 'a'`, n+1)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := d.Read(t.Context(), func(tx *Tx) error {
		list, err := numbers(tx)
		if len(list) != 1 || list[0] != 200 {
			t.Errorf("200 writes left %v", list)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func TestAWriterWhoseContextEndsLeavesTheQueue(t *testing.T) {
	d := openFile(t)
	err := d.Write(t.Context(), func(*Tx) error { // has the turn
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := d.Write(ctx, func(*Tx) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the second writer got %v", err)
		}
		return errors.New("and the first one gives up")
	})
	if err == nil {
		t.Error("the first writer did not fail")
	}
	write(t, d, `insert into thing values ('a', 1)`) // the turn is free
}

func TestWhatFailsBeforeTheCommitUndoesTheTransaction(t *testing.T) {
	d := openFile(t)
	err := d.Write(t.Context(), func(tx *Tx) error {
		tx.BeforeCommit(func() error { return errors.New("no number left") })
		tx.AfterCommit(func() { t.Error("it was not committed") })
		_, err := tx.Exec(`insert into thing values ('a', 1)`)
		return err
	})
	if err == nil || err.Error() != "no number left" {
		t.Errorf("the transaction ended with %v", err)
	}
	if err := d.Read(t.Context(), func(tx *Tx) error {
		list, err := numbers(tx)
		if len(list) > 0 {
			t.Errorf("%v were written", list)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
