package certify

import "github.com/prometheus/client_golang/prometheus"

// MetricsOf returns the collector of a service.
func MetricsOf(s *Service) prometheus.Collector { return metrics{s} }
