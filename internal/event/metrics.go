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

// ConsumerMetrics tell how the consumers of facts get on. They are read from the database when somebody asks, so all
// replicas say the same.
type ConsumerMetrics struct{ *Consumers }

var (
	lag      = prometheus.NewDesc("flywheel_consumer_lag", "Facts that a consumer has yet to handle, of the next 100,000 in the log.", []string{"consumer"}, nil)
	failures = prometheus.NewDesc("flywheel_consumer_failures", "Failed attempts at the fact where a consumer stands still; 0 while it goes on.", []string{"consumer"}, nil)
)

// Describe implements prometheus.Collector.
func (m ConsumerMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- lag
	to <- failures
}

// Collect implements prometheus.Collector. With the database away it says nothing, rather than that nothing is
// left.
func (m ConsumerMetrics) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	places, err := m.Places(ctx)
	if err != nil {
		return
	}
	for _, p := range places {
		to <- prometheus.MustNewConstMetric(lag, prometheus.GaugeValue, float64(p.Lag), p.Consumer)
		to <- prometheus.MustNewConstMetric(failures, prometheus.GaugeValue, float64(p.Attempts), p.Consumer)
	}
}
