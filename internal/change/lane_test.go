package change

import (
	"slices"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/manifest"
)

var environments = []app.Environment{{Name: "prod", Order: 20}, {Name: "staging", Order: 10}, {Name: "dev", Order: 1}}

func described(edit func(*app.Description)) app.Description {
	d := app.Description{
		Pin:    app.Pin{Pattern: "web-service", Range: "~1.0", Version: "1.0.0", Digest: "sha256:one"},
		Source: "sha256:code",
		Environments: map[string]manifest.Values{
			"staging": {"instances": 1},
			"prod":    {"instances": 2, "db_version": "15"},
		},
	}
	if edit != nil {
		edit(&d)
	}
	return d
}

func TestEachKindOfChangeFindsItsLane(t *testing.T) {
	tests := []struct {
		name    string
		main    app.Description
		edit    func(*app.Description)
		lane    Lane
		held    bool
		effects string // environment:action, + where a plan is needed
		reason  string
	}{
		{"only code", described(nil), func(d *app.Description) { d.Source = "sha256:new" }, Software, false, "staging:deploy prod:deploy", "new artifact"},
		{"nothing that runs", described(nil), nil, Software, false, "", "deploys nothing"},
		{"a variable in one environment", described(nil), func(d *app.Description) { d.Environments["prod"]["db_version"] = "16" }, Variable, false, "prod:deploy+", "prod.db_version 15 → 16"},
		{"code and a variable together", described(nil), func(d *app.Description) {
			d.Source = "sha256:new"
			d.Environments["prod"]["instances"] = 3
		}, Variable, false, "staging:deploy prod:deploy+", "prod.instances 2 → 3"},
		{"a variable set to what it is, written as a float", described(nil), func(d *app.Description) { d.Environments["prod"]["instances"] = 2.0 }, Software, false, "", "deploys nothing"},
		{"a variable that goes back to its default", described(nil), func(d *app.Description) { delete(d.Environments["prod"], "db_version") }, Variable, false, "prod:deploy+", "prod.db_version 15 → (default)"},
		{"another certified version", described(nil), func(d *app.Description) { d.Pin.Version, d.Pin.Digest = "1.1.0", "sha256:two" }, Variable, false, "staging:deploy+ prod:deploy+", "web-service 1.0.0 → 1.1.0"},
		{"a wider range that still means the same version", described(nil), func(d *app.Description) { d.Pin.Range = "^1.0" }, Software, false, "", "deploys nothing"},
		{"the first deployment of the app", app.Description{}, nil, Variable, false, "staging:deploy+ prod:deploy+", "staging: first deployment"},
		{"a new environment", described(nil), func(d *app.Description) { d.Environments["dev"] = nil }, Variable, false, "dev:deploy+", "dev: first deployment"},
		{"an environment removed", described(nil), func(d *app.Description) { delete(d.Environments, "staging") }, Variable, true, "staging:remove+", "staging is removed"},
		{"the app removed", described(nil), func(d *app.Description) { d.Environments = nil }, Variable, true, "staging:remove+ prod:remove+", "prod is removed"},
		{"another pattern", described(nil), func(d *app.Description) {
			d.Pin = app.Pin{Pattern: "batch-job", Version: "1.0.0", Digest: "sha256:job"}
		}, Variable, true, "staging:deploy+ prod:deploy+", "moves from pattern web-service to batch-job"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := Classify(tt.main, described(tt.edit), environments, nil, nil)
			if v.Lane != tt.lane || (len(v.Held()) > 0) != tt.held {
				t.Errorf("lane %s held %v, want %s %v", v.Lane, v.Held(), tt.lane, tt.held)
			}
			effects := []string{}
			for _, e := range v.Effects {
				text := e.Environment + ":" + e.Action
				if e.Plan {
					text += "+"
				}
				effects = append(effects, text)
			}
			if got := strings.Join(effects, " "); got != tt.effects {
				t.Errorf("effects %q, want %q", got, tt.effects)
			}
			if !slices.ContainsFunc(v.Reasons, func(r Reason) bool { return strings.Contains(r.Text, tt.reason) }) {
				t.Errorf("no reason says %q: %v", tt.reason, v.Reasons)
			}
		})
	}
}

func TestAReasonNamesTheBoundsOfTheVariable(t *testing.T) {
	v := Classify(described(nil), described(func(d *app.Description) { d.Environments["prod"]["db_version"] = "16" }), environments, nil,
		func(environment, variable string) string { return "team-controlled, allowed 15, 16" })
	if want := "prod.db_version 15 → 16: team-controlled, allowed 15, 16"; v.Reasons[0].Text != want {
		t.Errorf("reason %q, want %q", v.Reasons[0].Text, want)
	}
}

func TestAnInstanceThatLagsBehindMainIsSaidToNeedAnInfrastructureRun(t *testing.T) {
	main := described(nil)
	upToDate := func(edit func(prod *app.Desired)) map[string]app.Desired {
		deployed := map[string]app.Desired{}
		for _, e := range environments {
			if _, selected := main.Environments[e.Name]; selected {
				deployed[e.Name] = main.Desired(e, "sha256:artifact")
			}
		}
		prod := deployed["prod"]
		edit(&prod)
		deployed["prod"] = prod
		return deployed
	}
	code := func(d *app.Description) { d.Source = "sha256:new" }
	tests := []struct {
		name     string
		edit     func(*app.Description)
		deployed map[string]app.Desired
		lane     Lane
		says     string
		never    string
	}{
		{"nothing lags", code, upToDate(func(*app.Desired) {}), Software, "as on main: no infrastructure run", "lags"},
		{"another artifact is no lag", code, upToDate(func(d *app.Desired) { d.Artifact = "sha256:older" }), Software, "as on main: no infrastructure run", "lags"},
		{"prod has an older version of the pattern", code, upToDate(func(d *app.Desired) { d.Digest, d.Version = "sha256:old", "0.9.0" }), Software, "prod lags behind main (web-service 0.9.0 is deployed there)", "as on main: no infrastructure run"},
		{"prod has older variables", code, upToDate(func(d *app.Desired) { d.Variables = map[string]any{"instances": 1} }), Software, "prod lags behind main (other variables", "staging lags"},
		{"prod was never deployed", code, upToDate(func(d *app.Desired) { *d = app.Desired{} }), Software, "prod lags behind main (nothing is deployed there yet)", "staging lags"},
		{"the change needs an infrastructure run there anyway", func(d *app.Description) {
			code(d)
			d.Environments["prod"]["instances"] = 3
		}, upToDate(func(d *app.Desired) { d.Version, d.Digest = "0.9.0", "sha256:old" }), Variable, "prod.instances 2 → 3", "lags"},
		{"a change that deploys nothing there", nil, upToDate(func(d *app.Desired) { d.Digest = "sha256:old" }), Software, "deploys nothing", "lags"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := Classify(main, described(tt.edit), environments, tt.deployed, nil)
			texts := []string{}
			for _, r := range v.Reasons {
				texts = append(texts, r.Text)
			}
			said := strings.Join(texts, "\n")
			if v.Lane != tt.lane || !strings.Contains(said, tt.says) || strings.Contains(said+"\n", tt.never+"\n") || tt.never != "as on main: no infrastructure run" && strings.Contains(said, tt.never) {
				t.Errorf("lane %s, and it says:\n%s", v.Lane, said)
			}
		})
	}
}
