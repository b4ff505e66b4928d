package change_test

import (
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/certify/certifytest"
	"flywheel.dev/flywheel/internal/change"
)

// teamed is the flywheel.yaml of the storefront with another team.
func teamed(team string) string {
	return strings.Replace(appFile("~1.0", certifytest.Environments), "team: shop", "team: "+team, 1)
}

func TestAnAppIsGivenToAnotherTeamWithItsChanges(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	if _, err := account.New(p.DB).CreateTeam(account.System(t.Context(), "test"), "third", ""); err != nil {
		t.Fatal(err)
	}
	// A branch that names the other team is refused as long as the app is not its own.
	named, said := p.Shop("named", "Name the other team", map[string]string{"flywheel.yaml": teamed("other")})
	has(t, said, "flywheel app give storefront other")
	p.Reaches(named.ID, change.Refused)

	for _, tt := range []struct{ who, team, code string }{
		{"olga", "other", "permission.denied"}, // an operator does not give it away
		{"eve", "other", "app.not_found"},      // nobody takes what they do not see
		{"owen", "third", "permission.denied"}, // nobody gets what they did not ask for
		{"owen", "nope", "team.not_found"},
	} {
		_, err := p.Apps.Give(p.As(tt.who), "storefront", tt.team)
		refused(t, err, tt.code)
	}
	d, err := p.Apps.Give(p.As("owen"), "storefront", "other")
	if err != nil || d.Team != "other" {
		t.Fatalf("%+v, %v", d.App, err)
	}

	// What was refused only for that goes on by itself, and it is the other team's now.
	c := p.Reaches(named.ID, change.Merged)
	if c.Team != "other" {
		t.Errorf("the change is still of %s", c.Team)
	}
	_, _, err = p.Changes.Get(p.As("dora"), c.ID)
	refused(t, err, "change.not_found")
	if _, _, err = p.Changes.Get(p.As("eve"), c.ID); err != nil {
		t.Error(err)
	}
	// flywheel.yaml may go on naming the team of before, but no third one.
	before, _ := p.Shop("before", "Still the old team", map[string]string{"flywheel.yaml": teamed("shop")})
	p.Reaches(before.ID, change.Merged)
	third, _ := p.Shop("third", "A third team", map[string]string{"flywheel.yaml": teamed("third")})
	p.Reaches(third.ID, change.Refused)
}

func TestAListOfWhatIsNotThereSaysSo(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	for _, tt := range []struct {
		who, code string
		f         change.Filter
	}{
		{"dora", "", change.Filter{Kind: change.OfApp, Subject: "storefront"}},
		{"dora", "", change.Filter{Subject: "web-service"}},
		{"dora", "app.not_found", change.Filter{Kind: change.OfApp, Subject: "nope"}},
		{"eve", "app.not_found", change.Filter{Kind: change.OfApp, Subject: "storefront"}},
		{"dora", "pattern.not_found", change.Filter{Kind: change.OfPattern, Subject: "nope"}},
	} {
		tt.f.Limit = 10
		_, err := p.Changes.List(p.As(tt.who), tt.f)
		if tt.code == "" && err != nil || tt.code != "" {
			refused(t, err, tt.code)
		}
	}
}

func TestAppsAreFoundByTheirTeamAndByAPartOfTheirNames(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	for name, f := range map[string]app.Filter{
		"storefront": {Team: "shop", Words: "FRONT"},
		"":           {Team: "other"},
		" ":          {Words: "sto%nt"}, // what was typed is no pattern
		"  ":         {Words: "s_orefront"},
	} {
		found, err := p.Apps.List(p.As("root"), f, "", 10)
		if err != nil || len(found) != len(strings.Fields(name)) || len(found) == 1 && found[0].Name != name {
			t.Errorf("%+v finds %d apps, %v", f, len(found), err)
		}
	}
	_, err := p.Apps.List(p.As("root"), app.Filter{Team: "nope"}, "", 10)
	refused(t, err, "team.not_found")
}
