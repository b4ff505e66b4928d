package durable

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/patience"
)

type counter struct {
	engine *Engine
	effect atomic.Int64
	block  chan struct{}
}

func (c *counter) run(flow Flow, id string) (string, error) {
	if _, err := Transaction(c.engine, flow, "first", func(tx *db.Tx) (int, error) {
		_, err := tx.Exec(`insert into replica (name, seen_at) values ($1, $2)`, "row-"+id, tx.Now().Add(time.Hour))
		return 1, err
	}); err != nil {
		return "", err
	}
	return Step(flow, "second", func(ctx context.Context) (string, error) {
		c.effect.Add(1)
		if c.block != nil {
			<-c.block
		}
		return id, nil
	})
}

func launch(t *testing.T, d *db.DB, replica string, c *counter) *Engine {
	t.Helper()
	e, err := New(t.Context(), d, replica, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	c.engine = e
	e.Register("count/v1", c.run)
	if err := e.Launch(); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestAWorkflowWritesOnceAndIsNotStartedTwice(t *testing.T) {
	d := dbtest.Open(t)
	c := &counter{}
	e := launch(t, d, "one", c)
	defer e.Stop(5 * time.Second)
	for range 3 {
		if err := e.Start(c.run, "wf-1"); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() bool { return c.effect.Load() == 1 })
}

func TestAnotherReplicaFinishesWhatADeadOneLeft(t *testing.T) {
	url := dbtest.URL(t)
	dead := &counter{block: make(chan struct{})}
	first := launch(t, open(t, url), "dead", dead)
	if err := first.Start(dead.run, "wf-2"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return dead.effect.Load() == 1 })
	first.Stop(50 * time.Millisecond) // its heart stops; its step hangs until the test is over
	t.Cleanup(func() { close(dead.block) })
	d := open(t, url) // the dead one's handle went with it
	if err := d.Write(t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec(`update replica set seen_at = $1 where name = 'dead'`, tx.Now().Add(-time.Hour))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	alive := &counter{}
	second := launch(t, d, "alive", alive)
	defer second.Stop(5 * time.Second)
	eventually(t, func() bool { return alive.effect.Load() == 1 })
}

// troubled fails in a step, then in a transaction, before it ends well.
type troubled struct {
	engine              *Engine
	first, second, last atomic.Int64
}

func (c *troubled) run(flow Flow, id string) (string, error) {
	if _, err := Step(flow, "first", func(context.Context) (int64, error) { return c.first.Add(1), nil }); err != nil {
		return "", err
	}
	if _, err := Step(flow, "second", func(context.Context) (int64, error) {
		if n := c.second.Add(1); n > 1 {
			return n, nil
		}
		return 0, errors.New("no space left on device")
	}); err != nil {
		return "", err
	}
	return Transaction(c.engine, flow, "last", func(tx *db.Tx) (string, error) {
		if _, err := tx.Exec(`insert into replica (name, seen_at) values ($1, $2)`, fmt.Sprintf("try-%d", c.last.Add(1)), tx.Now().Add(time.Hour)); err != nil {
			return "", err
		}
		if c.last.Load() == 1 {
			return "", errors.New("database or disk is full")
		}
		return "done", nil
	})
}

func TestAFailedWorkflowIsTriedAgainFromItsLastFinishedStep(t *testing.T) {
	d := dbtest.Open(t)
	c := &troubled{}
	var err error
	if c.engine, err = New(t.Context(), d, "one", slog.New(slog.NewTextHandler(t.Output(), nil))); err != nil {
		t.Fatal(err)
	}
	c.engine.Register("troubled/v1", c.run)
	if err := c.engine.Launch(); err != nil {
		t.Fatal(err)
	}
	defer c.engine.Stop(5 * time.Second)
	if err := c.engine.Start(c.run, "wf-3"); err != nil {
		t.Fatal(err)
	}
	var rows []string
	eventually(t, func() bool {
		err := d.Read(t.Context(), func(tx *db.Tx) (err error) {
			rows, err = db.Collect(tx, func(r db.Row) (s string, err error) { return s, r.Scan(&s) }, `select name from replica where name like 'try-%'`)
			return err
		})
		return err == nil && len(rows) > 0
	})
	if c.first.Load() != 1 || c.second.Load() != 2 || c.last.Load() != 2 || rows[0] != "try-2" {
		t.Errorf("the steps ran %d, %d and %d times and wrote %v", c.first.Load(), c.second.Load(), c.last.Load(), rows)
	}
}

func TestAWorkflowThatRunsNoStepIsQuiet(t *testing.T) {
	now := time.Now()
	a := &activity{last: map[string]time.Time{}, steps: map[string]int{"busy": 1}}
	if found := a.quiet([]string{"busy", "stopped"}, now); len(found) > 0 {
		t.Errorf("%v were quiet at first sight", found)
	}
	if found := a.quiet([]string{"busy", "stopped", "new"}, now.Add(quietness+time.Second)); len(found) != 1 || found[0] != "stopped" {
		t.Errorf("%v were quiet, want stopped", found)
	}
}

func open(t *testing.T, url string) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	patience.Until(t, "what it waits for", done)
}

func TestOutdatedWorkIsKnownByTheTextThatIsLeftOfIt(t *testing.T) {
	if err := UnlessOutdated(errors.New("step 3: " + ErrOutdated.Error())); err != nil {
		t.Error(err)
	}
	if UnlessOutdated(errors.New("the disk is full")) == nil || UnlessOutdated(nil) != nil {
		t.Error("another error is not outdated, and none is none")
	}
}
