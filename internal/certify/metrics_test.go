package certify_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"flywheel.dev/flywheel/internal/certify"
	"flywheel.dev/flywheel/internal/change"
)

func TestMetricsTellWhichDisciplineACertificationWaitsFor(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	registry := prometheus.NewRegistry()
	registry.MustRegister(certify.MetricsOf(p.Certify))
	gather := func(name string) map[string]float64 {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == name {
					found[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
				}
			}
		}
		if len(found) != 3 {
			t.Fatalf("%s is %v", name, found)
		}
		return found
	}
	want := func(security, operations float64) {
		t.Helper()
		if got := gather("flywheel_certifications"); got["security"] != security || got["operations"] != operations {
			t.Errorf("certifications wait for %v", got)
		}
	}
	want(0, 0)
	c := addSearch(p, "search")
	want(1, 1)
	now := p.DB.Now
	p.DB.Now = func() time.Time { return now().Add(time.Hour) }
	if age := gather("flywheel_certification_oldest_seconds")["security"]; age < 3590 {
		t.Errorf("the oldest waits for %v s", age)
	}
	p.DB.Now = now
	approve(p, c.ID, "sam")
	want(0, 1)
	if age := gather("flywheel_certification_oldest_seconds")["security"]; age != 0 {
		t.Errorf("security has approved and %v s are told", age)
	}
	approve(p, c.ID, "otto", "dev")
	p.Reaches(c.ID, change.Merged)
	want(0, 0)
}
