package change

import (
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/pattern"
)

// version returns a version whose digest is its own, so that two of the same number differ by it.
func version(number string, state pattern.State) pattern.Version {
	return pattern.Version{Pattern: "web-service", Version: number, Digest: "sha256:" + number, State: state}
}

func TestAProposalKeepsThePinOfMainUntilItsRangeChanges(t *testing.T) {
	pinned := app.Pin{Pattern: "web-service", Range: "~1.4", Version: "1.4.0", Digest: "sha256:1.4.0"}
	published := []pattern.Version{version("1.3.0", pattern.Certified), version("1.4.0", pattern.Certified), version("1.4.1", pattern.Certified), version("1.5.0", pattern.Certified)}
	for _, tt := range []struct {
		name     string
		main     app.Pin
		pattern  string
		wanted   string
		versions []pattern.Version
		want     string // the version, or the code of the refusal
	}{
		{"the first deployment takes the newest in its range", app.Pin{}, "web-service", "~1.4", published, "1.4.1"},
		{"a code push keeps its version although 1.4.1 and 1.5.0 were published meanwhile", pinned, "web-service", "~1.4", published, "1.4.0"},
		{"a code push keeps its version although it is deprecated by now", pinned, "web-service", "~1.4",
			[]pattern.Version{version("1.4.0", pattern.Deprecated), version("1.4.1", pattern.Certified)}, "1.4.0"},
		{"a range that says 1.5 moves to it", pinned, "web-service", "~1.5", published, "1.5.0"},
		{"a wider range moves to the newest in it", pinned, "web-service", "^1.4", published, "1.5.0"},
		{"a narrower range goes back", pinned, "web-service", "1.3.x", published, "1.3.0"},
		{"what is not certified is in no range", pinned, "web-service", "~1.6",
			append(published, version("1.6.0", pattern.Draft), version("1.6.1", pattern.InReview), version("1.6.2", pattern.Deprecated), version("1.6.3", pattern.Retired)), "pattern.nothing_in_range"},
		{"another pattern with the same range is resolved anew", pinned, "batch-job", "~1.4", []pattern.Version{version("1.4.1", pattern.Certified)}, "1.4.1"},
		{"no range at all", pinned, "web-service", "newest", published, "pattern.range_invalid"},
		{"a pin whose version is gone says so", pinned, "web-service", "~1.4", []pattern.Version{version("1.4.1", pattern.Certified)}, "pattern_version.not_found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, err := ResolvePin(tt.main, manifest.PatternRef{Name: tt.pattern, Version: tt.wanted}, tt.versions)
			got := v.Version
			if err != nil {
				got = fault.From(err).Code
			}
			if got != tt.want {
				t.Errorf("it is %q (%v), want %q", got, err, tt.want)
			}
		})
	}
}

func TestAChangeWaitsForThePatternChangeThatBringsItsVersion(t *testing.T) {
	of := func(id string, state State, why string) Change {
		return Change{ID: id, Kind: OfPattern, Subject: "web-service", Title: "Search", State: state, Why: why}
	}
	review, rejected := of("chg_p", Review, ""), of("chg_p", Rejected, "too dear")
	merged, closed := of("chg_p", Merged, "it brought 1.1.0"), of("chg_p", Closed, "its branch is gone")
	mail := of("chg_p", Review, "")
	mail.Subject = "mail"
	app := Change{ID: "chg_p", Kind: OfApp, Subject: "web-service", State: Checking}
	for _, tt := range []struct {
		name    string
		needs   string
		trailer *Change
		open    []Change
		state   State
		code    string
		why     string
	}{
		{"the one that its trailer names, of several", "chg_p", &review, []Change{review, of("chg_q", Review, "")}, Waiting, "", "pattern change chg_p (Search) brings"},
		{"the only open one that fits, without a trailer", "", nil, []Change{review}, Waiting, "", "pattern change chg_p (Search) brings"},
		{"one that failed its checks can still be corrected", "", nil, []Change{of("chg_p", Failed, "tests")}, Waiting, "", "chg_p"},
		{"none of two without a trailer", "", nil, []Change{review, of("chg_q", Review, "")}, Blocked, "pattern.nothing_in_range", "nothing in range"},
		{"none, because there is none", "", nil, nil, Blocked, "pattern.nothing_in_range", "nothing in range"},
		{"the rejection of the awaited pattern blocks it", "chg_p", &rejected, nil, Blocked, "change.needs_ended", "chg_p is rejected: too dear"},
		{"the awaited pattern change was closed", "chg_p", &closed, nil, Blocked, "change.needs_ended", "chg_p is closed: its branch is gone"},
		{"the awaited pattern change brought a version out of range", "chg_p", &merged, nil, Blocked, "change.needs_ended", "storefront needs web-service ~1.2, and the pattern change chg_p is merged"},
		{"a trailer that names nothing", "chg_x", nil, []Change{review}, "", "change.needs_wrong", ""},
		{"a trailer that names a change of another pattern", "chg_p", &mail, nil, "", "change.needs_wrong", ""},
		{"a trailer that names a change of an app", "chg_p", &app, nil, "", "change.needs_wrong", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			missing := fault.From(fault.New(fault.Conflict, "pattern.nothing_in_range", "nothing in range").Do("Use another."))
			w, err := WaitFor(Change{ID: "chg_a", Subject: "storefront", Needs: tt.needs}, manifest.PatternRef{Name: "web-service", Version: "~1.2"}, tt.trailer, tt.open, missing)
			if err != nil {
				w.Code = fault.From(err).Code
			}
			if w.State != tt.state || w.Code != tt.code || !strings.Contains(w.Why, tt.why) {
				t.Errorf("it is %+v (%v)", w, err)
			}
			if err == nil && w.Reason == "" || w.State == Blocked && w.Remedy == "" || w.State == Waiting && w.Needs != "chg_p" {
				t.Errorf("it gives no reason, no way out, or does not name what it waits for: %+v", w)
			}
		})
	}
}

func TestAManifestSelectsOnlyWhatThePlatformKnows(t *testing.T) {
	a := app.App{Name: "storefront", Team: "shop", FormerTeams: []string{"sales"}}
	for _, tt := range []struct {
		name, app, team, environment, code string
	}{
		{"its own name, team and environments pass", "storefront", "shop", "prod", ""},
		{"the team that it was given away by passes", "storefront", "sales", "prod", ""},
		{"an unknown environment is refused", "storefront", "shop", "production", "environment.unknown"},
		{"the name of another app is refused", "other", "shop", "prod", "manifest.name_differs"},
		{"another team is refused", "storefront", "finance", "prod", "manifest.team_differs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &manifest.App{Environments: map[string]manifest.Environment{tt.environment: {}}}
			m.Metadata.Name, m.Metadata.Team = tt.app, tt.team
			classed := []app.Environment{{Name: "staging", Class: "staging"}, {Name: "prod", Class: "production"}}
			code := ""
			if f := fault.From(checkManifest(m, a, classed)); f != nil {
				code = f.Code
			}
			if code != tt.code {
				t.Errorf("it is answered with %q, want %q", code, tt.code)
			}
		})
	}
}
