package deploy

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"flywheel.dev/flywheel/internal/db"
)

// metrics are what an operator of the platform watches: what is under way, and for how long the longest
// has waited. They are read from the database when somebody asks, so all replicas say the same.
type metrics struct{ *Service }

var (
	underWay = prometheus.NewDesc("flywheel_deployments", "Deployments that have not ended, by state.", []string{"state"}, nil)
	oldest   = prometheus.NewDesc("flywheel_deployment_oldest_seconds", "Age of the oldest deployment that has not ended, by state; 0 if there is none.", []string{"state"}, nil)
)

// Describe implements prometheus.Collector.
func (m metrics) Describe(to chan<- *prometheus.Desc) {
	to <- underWay
	to <- oldest
}

// Collect implements prometheus.Collector. With the database away it says nothing, rather than that nothing
// is under way.
func (m metrics) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var found []prometheus.Metric
	err := m.DB.Read(ctx, func(tx *db.Tx) error {
		for _, state := range []State{Waiting, Running, Held} {
			var count int
			if err := tx.QueryRow(`select count(*) from deployment where state = $1`, state).Scan(&count); err != nil {
				return err
			}
			first := tx.Now()
			err := tx.QueryRow(`select created_at from deployment where state = $1 order by id limit 1`, state).Scan(&first)
			if err != nil && !errors.Is(err, db.ErrNoRows) {
				return err
			}
			found = append(found, prometheus.MustNewConstMetric(underWay, prometheus.GaugeValue, float64(count), string(state)),
				prometheus.MustNewConstMetric(oldest, prometheus.GaugeValue, tx.Now().Sub(first).Seconds(), string(state)))
		}
		return nil
	})
	if err != nil {
		m.Log.Warn("the deployments could not be counted", "error", err)
		return
	}
	for _, metric := range found {
		to <- metric
	}
}
