package change

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
)

// changes writes n changes, of which every hundredth is in one of the states that have not ended.
func changes(t testing.TB, d *db.DB, n int, states ...State) {
	t.Helper()
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		for i := range n {
			c := Change{ID: db.NewID("chg"), Kind: OfApp, Subject: fmt.Sprintf("app-%d", i%1000), Team: "shop", State: Deployed, Lane: Variable, OpenedAt: tx.Now(), UpdatedAt: tx.Now()}
			if i%100 == 0 {
				c.State = states[i/100%len(states)]
			}
			if err := insert(tx, c); err != nil {
				return err
			}
		}
		_, err := tx.Exec("analyze change")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestMetricsTellWhichChangesStandStillAndForWhat(t *testing.T) {
	d := dbtest.Open(t)
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics{&Service{DB: d, Log: slog.New(slog.DiscardHandler)}})
	gather := func(name string, labels ...string) float64 {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				values := []string{}
				for _, l := range m.GetLabel() {
					values = append(values, l.GetValue())
				}
				if f.GetName() == name && slices.Equal(values, labels) {
					return m.GetGauge().GetValue()
				}
			}
		}
		return -1
	}
	if gather("flywheel_change_oldest_seconds", "approval") != 0 || gather("flywheel_changes", "variable", "waiting") != -1 {
		t.Error("something is open before anything was pushed")
	}
	changes(t, d, 600, Waiting, Review)
	now := d.Now
	d.Now = func() time.Time { return now().Add(time.Hour) }
	if waiting, review := gather("flywheel_changes", "variable", "waiting"), gather("flywheel_changes", "variable", "review"); waiting != 3 || review != 3 {
		t.Errorf("%v wait and %v are under review", waiting, review)
	}
	for what, hour := range map[string]bool{"pattern": true, "approval": true, "operator": false, "author": false, "platform": false, "deployment": false, "merge": false} {
		if age := gather("flywheel_change_oldest_seconds", what); hour != (age > 3590 && age < 3700) || !hour && age != 0 {
			t.Errorf("for %s the oldest waits %v s", what, age)
		}
	}
}

func TestEveryStateIsCountedOrHasEnded(t *testing.T) {
	for _, s := range []State{Checking, Waiting, Review, ChangesRequested, Held, Ready, Refused, Failed, Blocked, Merging, Merged} {
		if waitsFor[s] == "" || !strings.Contains(selectUnended, "'"+string(s)+"'") {
			t.Errorf("%s is not counted", s)
		}
	}
	for s := range waitsFor {
		if !s.Open() && s != Merged {
			t.Errorf("%s has ended and is counted", s)
		}
	}
}

func TestCountingChangesDoesNotReadTheHistory(t *testing.T) {
	d := dbtest.Open(t)
	changes(t, d, 20_000, Waiting, Review, Held)
	err := d.Read(t.Context(), func(tx *db.Tx) error {
		explain := "explain query plan "
		if tx.Postgres() {
			explain = "explain "
		}
		plan, err := db.Collect(tx, func(r db.Row) (line string, err error) {
			var a, b, c any
			if tx.Postgres() {
				return line, r.Scan(&line)
			}
			return line, r.Scan(&a, &b, &c, &line)
		}, explain+selectUnended)
		if text := strings.Join(plan, "\n"); !strings.Contains(text, "change_by_state") {
			t.Errorf("%s", text)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// BenchmarkMetrics counts 10,000 changes that wait, one of each of 10,000 apps.
func BenchmarkMetrics(b *testing.B) {
	d := dbtest.Open(b)
	changes(b, d, 10_000, Waiting)
	err := d.Write(b.Context(), func(tx *db.Tx) error { _, err := tx.Exec("update change set state = 'waiting'"); return err })
	if err != nil {
		b.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics{&Service{DB: d, Log: slog.New(slog.DiscardHandler)}})
	for b.Loop() {
		if _, err := registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
