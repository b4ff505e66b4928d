package certify

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
)

// metrics tell which discipline the certifications under review wait for, and for how long. They are read
// from the database when somebody asks, so all replicas say the same.
type metrics struct{ *Service }

var (
	lacking = prometheus.NewDesc("flywheel_certifications", "Certifications under review that lack an approval, by discipline.", []string{"discipline"}, nil)
	oldest  = prometheus.NewDesc("flywheel_certification_oldest_seconds", "Age of the oldest certification under review that lacks an approval, by discipline; 0 if none does.", []string{"discipline"}, nil)
)

// Describe implements prometheus.Collector.
func (m metrics) Describe(to chan<- *prometheus.Desc) {
	to <- lacking
	to <- oldest
}

// Collect implements prometheus.Collector. With the database away it says nothing, rather than that nobody
// has to decide. It reads a certification for each pattern change under review, and nothing of apps.
func (m metrics) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	counts, ages := map[string]int{}, map[string]time.Duration{}
	err := m.DB.Read(ctx, func(tx *db.Tx) error {
		open, err := change.InState(tx, change.Review)
		if err != nil {
			return err
		}
		for _, c := range open {
			found, err := Find(tx, c.ID, c.Revision)
			if fault.Is(err, "certification.not_found") {
				continue // its revision has just begun
			}
			if err != nil {
				return err
			}
			for _, d := range found.Missing() {
				counts[d]++
				ages[d] = max(ages[d], tx.Now().Sub(found.CreatedAt))
			}
		}
		return nil
	})
	if err != nil {
		m.Log.Warn("the certifications could not be counted", "error", err)
		return
	}
	for _, d := range account.Disciplines() {
		to <- prometheus.MustNewConstMetric(lacking, prometheus.GaugeValue, float64(counts[d]), d)
		to <- prometheus.MustNewConstMetric(oldest, prometheus.GaugeValue, ages[d].Seconds(), d)
	}
}
