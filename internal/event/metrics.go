package event

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"flywheel.dev/flywheel/internal/db"
)

// metrics tell how many events are committed and have no number yet, so that no reader sees them. On SQLite
// there are none.
type metrics struct{ *Service }

var unnumbered = prometheus.NewDesc("flywheel_events_unnumbered", "Events that are committed and that no reader sees yet.", nil, nil)

// Describe implements prometheus.Collector.
func (m metrics) Describe(to chan<- *prometheus.Desc) { to <- unnumbered }

// Collect implements prometheus.Collector. With the database away it says nothing.
func (m metrics) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var n int
	err := m.DB.Read(ctx, func(tx *db.Tx) error {
		return tx.QueryRow("select count(*) from event_unnumbered where place >= (select min(place) from event_unnumbered)").Scan(&n)
	})
	if err == nil {
		to <- prometheus.MustNewConstMetric(unnumbered, prometheus.GaugeValue, float64(n))
	}
}
