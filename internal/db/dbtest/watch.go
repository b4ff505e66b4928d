package dbtest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Watch counts the transactions on a PostgreSQL database that wait for a lock, until the test ends. The test fails
// if none did, because it proved nothing then, and if two ever waited for each other. On SQLite it does nothing.
func Watch(t testing.TB, rawURL string) {
	t.Helper()
	if !strings.HasPrefix(rawURL, "postgres") {
		return
	}
	conn, err := pgx.Connect(context.Background(), rawURL)
	if err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	type transaction struct {
		pid   int32
		begun time.Time
	}
	waited := map[transaction]bool{}
	var failed error
	go func() {
		defer close(done)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for failed == nil {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			rows, err := conn.Query(context.Background(), `select pid, xact_start from pg_stat_activity
				where datname = current_database() and wait_event_type = 'Lock' and xact_start is not null`)
			if err != nil {
				failed = err
				return
			}
			var x transaction
			_, failed = pgx.ForEachRow(rows, []any{&x.pid, &x.begun}, func() error { waited[x] = true; return nil })
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		defer conn.Close(context.Background())
		var deadlocks int64
		if failed == nil {
			// A backend tells its numbers within a second after its transaction.
			time.Sleep(1200 * time.Millisecond)
			failed = conn.QueryRow(context.Background(), `select deadlocks from pg_stat_database where datname = current_database()`).Scan(&deadlocks)
		}
		switch {
		case failed != nil:
			t.Errorf("the locks could not be watched: %v", failed)
		case deadlocks > 0:
			t.Errorf("%d times transactions waited for each other", deadlocks)
		case len(waited) == 0 && !t.Failed():
			t.Error("no transaction waited for a lock: nothing met")
		}
		t.Logf("%d transactions waited for a lock", len(waited))
	})
}
