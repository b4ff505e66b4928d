package app

import (
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/pattern"
)

func TestAWaiverAcceptsOneValueInOneInstanceUntilItsEnd(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	end := now.Add(24 * time.Hour)
	granted := Waiver{App: "shop", Environment: "prod", Variable: "instances", Value: 40.0, State: Granted, Until: &end}
	for name, tt := range map[string]struct {
		state                      WaiverState
		app, environment, variable string
		value                      any
		at                         time.Time
		accepted                   bool
	}{
		"that value":          {Granted, "shop", "prod", "instances", 40, now, true},
		"the last moment":     {Granted, "shop", "prod", "instances", 40, end.Add(-time.Second), true},
		"after its end":       {Granted, "shop", "prod", "instances", 40, end, false},
		"another value":       {Granted, "shop", "prod", "instances", 41, now, false},
		"another variable":    {Granted, "shop", "prod", "memory", 40, now, false},
		"another environment": {Granted, "shop", "staging", "instances", 40, now, false},
		"another app":         {Granted, "kiosk", "prod", "instances", 40, now, false},
		"only asked for":      {Requested, "shop", "prod", "instances", 40, now, false},
		"revoked":             {Revoked, "shop", "prod", "instances", 40, now, false},
		"declined":            {Declined, "shop", "prod", "instances", 40, now, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := granted
			w.State = tt.state
			w.InForce = w.inForce(tt.at)
			if w.Accepts(tt.app, tt.environment, tt.variable, tt.value) != tt.accepted {
				t.Errorf("accepted is not %v", tt.accepted)
			}
			if over := name == "after its end" || name == "revoked"; w.Over(tt.app, tt.environment, tt.variable, tt.value) != over {
				t.Errorf("over is not %v", over)
			}
		})
	}
}

func TestAWaiverEndsWithinAYear(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) *time.Time { end := now.Add(d); return &end }
	for name, tt := range map[string]struct {
		until *time.Time
		code  string
	}{
		"tomorrow": {at(24 * time.Hour), ""}, "never": {nil, "waiver.end_missing"}, "now": {at(0), "waiver.end_passed"},
		"yesterday": {at(-24 * time.Hour), "waiver.end_passed"}, "in two years": {at(2 * 366 * 24 * time.Hour), "waiver.end_far"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := checkEnd(tt.until, now); tt.code == "" && err != nil || tt.code != "" && !fault.Is(err, tt.code) {
				t.Errorf("got %v, want %q", err, tt.code)
			}
		})
	}
}

func TestAnInstanceIsOutsideItsBoundsSinceItsLastWaiverEnded(t *testing.T) {
	p := &manifest.Pattern{}
	p.Metadata.Name = "web"
	p.Spec.Variables = map[string]manifest.Variable{"instances": {Control: "team", Bounds: map[string]any{"maximum": 10.0}}, "region": {Control: "coe"}}
	early, late := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	ended := func(id, environment string, value any, at *time.Time) Waiver {
		return Waiver{ID: id, Environment: environment, Variable: "instances", Value: value, State: Granted, EndedAt: at, InForce: at == nil}
	}
	for name, tt := range map[string]struct {
		value   any
		waivers []Waiver
		want    string
		since   time.Time
	}{
		"the last one ended":            {40, []Waiver{ended("one", "prod", 40.0, &early), ended("two", "prod", 40.0, &late)}, "two", late},
		"another one is in force":       {40, []Waiver{ended("one", "prod", 40.0, &early), ended("two", "prod", 40.0, nil)}, "", time.Time{}},
		"it runs another value":         {41, []Waiver{ended("one", "prod", 40.0, &early)}, "", time.Time{}},
		"it is inside again":            {4, []Waiver{ended("one", "prod", 4.0, &early)}, "", time.Time{}},
		"it was for another place":      {40, []Waiver{ended("one", "staging", 40.0, &early)}, "", time.Time{}},
		"nothing was accepted for it":   {40, nil, "", time.Time{}},
		"only asked for and not ending": {40, []Waiver{{ID: "one", Environment: "prod", Variable: "instances", Value: 40.0, State: Requested}}, "", time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			i := Instance{Environment: "prod", Deployed: Desired{Variables: map[string]any{"instances": tt.value, "region": "here"}}}
			got := outsideSince(pattern.Version{Manifest: p}, Environment{Name: "prod", Class: "production", Values: map[string]any{"region": "here"}}, i, tt.waivers)
			switch {
			case tt.want == "" && len(got) != 0, tt.want != "" && len(got) != 1:
				t.Errorf("got %+v", got)
			case tt.want != "" && (got[0].Waiver != tt.want || !got[0].Since.Equal(tt.since) || got[0].Variable != "instances"):
				t.Errorf("got %+v", got[0])
			}
		})
	}
}
