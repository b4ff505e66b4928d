package local

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics tell how the agent of a client does. With the agent away they say only that.
type Metrics struct{ Agent *Client }

var (
	up        = prometheus.NewDesc("flywheel_agent_up", "1 if the agent answers, else 0.", nil, nil)
	processes = prometheus.NewDesc("flywheel_agent_processes", "Processes of apps that should run, by health.", []string{"health"}, nil)
	restarts  = prometheus.NewDesc("flywheel_agent_restarts_total", "Processes that ended by themselves and were started again, since the agent was started.", nil, nil)
	stored    = prometheus.NewDesc("flywheel_agent_bytes", "Bytes of artifacts and volumes, measured every five minutes at most.", []string{"of"}, nil)
)

// Describe implements prometheus.Collector.
func (m Metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{up, processes, restarts, stored} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m Metrics) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	u, err := (&Client{Socket: m.Agent.Socket}).Usage(ctx)
	if err != nil {
		to <- prometheus.MustNewConstMetric(up, prometheus.GaugeValue, 0)
		return
	}
	to <- prometheus.MustNewConstMetric(up, prometheus.GaugeValue, 1)
	for health, n := range u.Processes {
		to <- prometheus.MustNewConstMetric(processes, prometheus.GaugeValue, float64(n), string(health))
	}
	to <- prometheus.MustNewConstMetric(restarts, prometheus.CounterValue, float64(u.Restarts))
	if !u.Measured.IsZero() {
		to <- prometheus.MustNewConstMetric(stored, prometheus.GaugeValue, float64(u.Artifacts), "artifacts")
		to <- prometheus.MustNewConstMetric(stored, prometheus.GaugeValue, float64(u.Volumes), "volumes")
	}
}
