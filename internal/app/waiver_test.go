package app

import (
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/fault"
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
