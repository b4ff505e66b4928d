package certify_test

import (
	"fmt"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/certify"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/pattern"
)

func TestAVersionThatLosesSomethingStatefulIsMajorAndNamedBeforeItIsApproved(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	gone := change.Planned{Summary: "1 to replace", Digest: "sha256:gone", Destructive: []string{"flywheel_volume.data"}}
	refusedToo := gone
	refusedToo.Refused = []string{"no volume is deleted"}
	for _, tt := range []struct {
		name     string
		plans    map[string]change.Planned
		version  string
		bump     string
		destroys int
	}{
		{"everywhere", map[string]change.Planned{"staging": gone, "prod": gone}, "2.0.0", "major", 2},
		{"in one environment", map[string]change.Planned{"staging": gone}, "2.0.0", "major", 1},
		{"where a policy refuses it as well", map[string]change.Planned{"prod": refusedToo}, "2.0.0", "major", 1},
		{"nowhere", nil, "1.1.0", "minor", 0},
	} {
		p.PlanInstance = func(i app.Instance, _ app.Desired) (change.Planned, error) {
			if plan, there := tt.plans[i.Environment]; there {
				return plan, nil
			}
			return change.Planned{Summary: "1 to update", Digest: "sha256:plan"}, nil
		}
		c := addSearch(p, strings.ReplaceAll(tt.name, " ", "-"))
		found := certification(p, c.ID)
		if found.Version != tt.version || found.Bump != tt.bump || found.Destroys != tt.destroys {
			t.Errorf("%s: %s %s, destroys %d", tt.name, found.Version, found.Bump, found.Destroys)
		}
		breaking := strings.Contains(certifytestTexts(c), "breaking: it destroys or replaces something stateful on")
		if breaking != (tt.destroys > 0) || strings.Contains(c.Why, "breaking") != breaking {
			t.Errorf("%s: %s; %s", tt.name, certifytestTexts(c), c.Why)
		}
		has(t, certifytestTexts(c), "web-service "+tt.version+" ("+tt.bump+")")
		v, err := p.Patterns.GetVersion(p.As("dora"), "web-service", tt.version)
		if err != nil || (v.Breaking != "") != breaking {
			t.Errorf("%s: %+v, %v", tt.name, v.Breaking, err)
		}
		for _, typed := range []string{"", "yes", "storefront", "Web-service"} {
			if tt.destroys == 0 {
				break
			}
			_, err := p.Certify.Approve(p.As("sam"), c.ID, certify.Vote{Discipline: "security", Digest: found.Digest, Confirm: typed})
			refused(t, err, "approval.confirm")
		}
		if _, err := p.Changes.Close(p.As("dora"), c.ID, ""); err != nil {
			t.Fatal(err)
		}
	}
}

func certifytestTexts(c change.Change) string {
	texts := []string{}
	for _, r := range c.Reasons {
		texts = append(texts, r.Text)
	}
	return strings.Join(texts, "\n")
}

func TestAVersionThatLosesSomethingStatefulIsNeverRecommendedByItself(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	p.PlanInstance = func(app.Instance, app.Desired) (change.Planned, error) {
		return change.Planned{Summary: "1 to replace", Digest: "sha256:gone", Destructive: []string{"flywheel_volume.data"}}, nil
	}
	c := addSearch(p, "search")
	has(t, c.Remedy, "--confirm web-service")
	for who, discipline := range map[string]string{"sam": account.Security, "otto": account.Operations, "dev": account.Development} {
		vote := certify.Vote{Discipline: discipline, Digest: certification(p, c.ID).Digest, Confirm: "web-service"}
		if _, err := p.Certify.Approve(p.As(who), c.ID, vote); err != nil {
			t.Fatal(err)
		}
	}
	c = p.Reaches(c.ID, change.Merged)
	has(t, c.Why, "published as web-service 2.0.0", "not recommended by itself")
	recommended := func() (v pattern.Version) {
		err := p.DB.Read(t.Context(), func(tx *db.Tx) (err error) { v, err = p.Patterns.Recommended(tx, "web-service"); return err })
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if v := recommended(); v.Version != "1.0.0" {
		t.Errorf("new apps get %s", v.Version)
	}
	if _, err := p.Patterns.Recommend(p.As("otto"), "web-service", "2.0.0"); err != nil {
		t.Fatal(err)
	}
	if v := recommended(); v.Version != "2.0.0" || v.Breaking == "" {
		t.Errorf("new apps get %s, %q", v.Version, v.Breaking)
	}
}

func TestTheNumberFollowsWhatIsLostNow(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	p.PlanInstance = func(i app.Instance, d app.Desired) (change.Planned, error) {
		if i.Environment == "prod" && fmt.Sprint(d.Variables["instances"]) == "3" {
			return change.Planned{Summary: "1 to replace", Digest: "sha256:gone", Destructive: []string{"flywheel_volume.data"}}, nil
		}
		return change.Planned{Summary: "1 to update", Digest: "sha256:plan"}, nil
	}
	c := addSearch(p, "search")
	approve(p, c.ID, "sam")
	for n, tt := range []struct {
		instances int
		version   string
	}{{3, "2.0.0"}, {2, "1.1.0"}} {
		p.Runs("storefront", "prod", map[string]any{"instances": tt.instances})
		if found := plannedAgain(p, c.ID, n+1); found.Version != tt.version || n == 0 && len(found.Missing()) != 3 {
			t.Errorf("with %d instances it is %s, missing %v", tt.instances, found.Version, found.Missing())
		}
		has(t, certifytestTexts(p.Get(c.ID)), "web-service "+tt.version)
	}
}
