package durable

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
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
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatal("it did not happen in 30 seconds")
}
