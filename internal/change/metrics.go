package change

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"flywheel.dev/flywheel/internal/db"
)

// metrics are what an operator of the platform watches: the changes that have not ended, and for how long
// the longest has stood still. They are read from the database when somebody asks, so all replicas say the
// same.
type metrics struct{ *Service }

var (
	unended = prometheus.NewDesc("flywheel_changes", "Changes that have not ended, by lane (empty until it is found) and state.", []string{"lane", "state"}, nil)
	still   = prometheus.NewDesc("flywheel_change_oldest_seconds", "How long the change that stands still longest was not updated, by what it waits for; 0 if none does.", []string{"waits_for"}, nil)
)

// waitsFor is what a change in a state waits for.
var waitsFor = map[State]string{
	Checking: "platform", Merging: "platform", Merged: "deployment", Waiting: "pattern", Review: "approval", Held: "operator", Ready: "merge",
	ChangesRequested: "author", Refused: "author", Failed: "author", Blocked: "author",
}

// Describe implements prometheus.Collector.
func (m metrics) Describe(to chan<- *prometheus.Desc) {
	to <- unended
	to <- still
}

// selectUnended reads along the index by state: only what has not ended, however long the history.
const selectUnended = `select lane, state, updated_at from change
	where state in ('checking', 'merging', 'merged', 'waiting', 'review', 'held', 'ready', 'changes_requested', 'refused', 'failed', 'blocked')`

// Collect implements prometheus.Collector. With the database away it says nothing, rather than that nothing
// is open.
func (m metrics) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	type place struct {
		lane  Lane
		state State
	}
	counts, longest := map[place]int{}, map[string]time.Duration{}
	for _, what := range waitsFor {
		longest[what] = 0
	}
	err := m.DB.Read(ctx, func(tx *db.Tx) error {
		_, err := db.Collect(tx, func(r db.Row) (struct{}, error) {
			var p place
			var at time.Time
			err := r.Scan(&p.lane, &p.state, &at)
			counts[p]++
			longest[waitsFor[p.state]] = max(longest[waitsFor[p.state]], tx.Now().Sub(at))
			return struct{}{}, err
		}, selectUnended)
		return err
	})
	if err != nil {
		m.Log.Warn("the changes could not be counted", "error", err)
		return
	}
	for p, n := range counts {
		to <- prometheus.MustNewConstMetric(unended, prometheus.GaugeValue, float64(n), string(p.lane), string(p.state))
	}
	for what, age := range longest {
		to <- prometheus.MustNewConstMetric(still, prometheus.GaugeValue, age.Seconds(), what)
	}
}
