package deploy

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestMetricsTellWhatIsUnderWayAndForHowLong(t *testing.T) {
	o := newOrder(t)
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics{o.Service})
	gather := func(name, state string) float64 {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == name && m.GetLabel()[0].GetValue() == state {
					return m.GetGauge().GetValue()
				}
			}
		}
		t.Fatalf("there is no %s of %s", name, state)
		return 0
	}
	if gather("flywheel_deployments", "running") != 0 || gather("flywheel_deployment_oldest_seconds", "running") != 0 {
		t.Error("something is under way before anything was merged")
	}
	o.merged("chg_1", "", "sha256:one", "staging")
	o.merged("chg_2", "", "sha256:two", "staging")
	now := o.DB.Now
	o.DB.Now = func() time.Time { return now().Add(time.Hour) }
	if running, waiting := gather("flywheel_deployments", "running"), gather("flywheel_deployments", "waiting"); running != 1 || waiting != 1 {
		t.Errorf("%v run and %v wait", running, waiting)
	}
	if age := gather("flywheel_deployment_oldest_seconds", "waiting"); age < 3599 || age > 3700 {
		t.Errorf("the oldest waits for %v s", age)
	}
	o.succeeds("chg_1", "staging")
	o.succeeds("chg_2", "staging")
	if left := gather("flywheel_deployments", "running") + gather("flywheel_deployments", "waiting"); left != 0 {
		t.Errorf("%v are left", left)
	}
}
