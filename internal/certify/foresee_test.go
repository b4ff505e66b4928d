package certify_test

import (
	"testing"

	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
)

const required = `
variable "zone" { type = string }
`

func TestCertificationForeseesWhatCreatingAnAppWillNeed(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	c, _ := propose(p, "zone", "Ask for a zone", "main.tf", "", required, "pattern.yaml", "    vpc_id:", "    zone: {control: coe}\n    vpc_id:")
	p.Reaches(c.ID, change.Review)
	k := p.Checks(c.ID)["environments"]
	has(t, k.Summary, "staging has no value of zone, which web-service 2.0.0 needs.", "flywheel environment update staging --set zone=VALUE", "flywheel environment update prod --set zone=VALUE")
	if k.State != change.CheckWarning {
		t.Errorf("the check is %s", k.State)
	}
	approve(p, c.ID, "sam", "otto", "dev")
	p.Reaches(c.ID, change.Merged)

	_, _, err := p.Apps.Create(p.As("dora"), app.Create{Name: "kiosk", Team: "shop", Pattern: "web-service", Version: "~2.0"})
	refused(t, err, "environment.value_missing")
	has(t, err.Error(), "staging has no value of zone")
	moved, _ := use(p, "move", "~2.0", "")
	moved = p.Reaches(moved.ID, change.Refused)
	has(t, moved.Why+moved.Remedy+moved.Code, "staging has no value of zone", "flywheel environment update staging --set zone=VALUE", "environment.value_missing")

	for _, name := range []string{"staging", "prod"} {
		e, err := p.Apps.GetEnvironment(p.As("otto"), name)
		if err != nil {
			t.Fatal(err)
		}
		e.Values = map[string]any{"zone": "north"}
		if _, err := p.Apps.SaveEnvironment(p.As("otto"), e, false, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Changes.Recheck(p.As("dora"), moved.ID); err != nil {
		t.Fatal(err)
	}
	p.Reaches(moved.ID, change.Merged)
	_, id, err := p.Apps.Create(p.As("dora"), app.Create{Name: "kiosk", Team: "shop", Pattern: "web-service", Version: "~2.0"})
	if err != nil {
		t.Fatal(err)
	}
	p.Reaches(id, change.Merged)
}

func TestAPatternWithoutASkeletonSaysWhatThatMeans(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	c, _ := propose(p, "bare", "Without a skeleton", "pattern.yaml", "  skeleton: skeleton\n", "")
	p.Reaches(c.ID, change.Review)
	if k := p.Checks(c.ID)["skeleton"]; k.State != change.CheckWarning {
		t.Errorf("%+v", k)
	} else {
		has(t, k.Summary, "flywheel app create", "spec.skeleton")
	}
	approve(p, c.ID, "sam", "otto", "dev")
	p.Reaches(c.ID, change.Merged)
	_, _, err := p.Apps.Create(p.As("dora"), app.Create{Name: "kiosk", Team: "shop", Pattern: "web-service"})
	refused(t, err, "pattern.no_skeleton")
}

func TestTheOwnerOfAPatternIsATeamOrTheCenterOfExcellence(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	for owner, state := range map[string]change.State{"nobody": change.Failed, "Shop": change.Failed, "shop": change.Review, "coe": change.Review} {
		c, _ := propose(p, "owner-"+owner, "Owned by "+owner, "pattern.yaml", "owner: coe", "owner: "+owner)
		c = p.Reaches(c.ID, state)
		if state == change.Failed {
			has(t, c.Code+c.Why+c.Remedy, "pattern.owner_unknown", owner, "Name a team")
		}
		if owner == "shop" {
			approve(p, c.ID, "sam", "otto", "dev")
			p.Reaches(c.ID, change.Merged)
			if s, err := p.Patterns.Get(p.As("dora"), "web-service"); err != nil || s.Owner != "shop" {
				t.Errorf("the pattern is of %q, %v", s.Owner, err)
			}
		}
	}
}
