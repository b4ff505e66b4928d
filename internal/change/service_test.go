package change_test

import (
	"fmt"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/certify/certifytest"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/git"
)

var shop = git.App("storefront")

// manifest is a flywheel.yaml with a range and the block of environments.
func appFile(wanted, environments string) string {
	return fmt.Sprintf(certifytest.App, wanted, environments)
}

// shopped is a platform with the app storefront on web-service ~1.0.
func shopped(t *testing.T) *certifytest.Platform {
	p := certifytest.New(t)
	p.Certified("1.0.0")
	p.Storefront("~1.0")
	return p
}

func has(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not say %q", text, part)
		}
	}
}

func rolled(t *testing.T, p *certifytest.Platform, want ...string) {
	t.Helper()
	got := p.Rolled()
	if len(got) != len(want) {
		t.Fatalf("rolled out %q, want %q", got, want)
	}
	for i := range want {
		has(t, got[i], want[i])
	}
}

func TestAFirstDeploymentIsInTheVariableLaneAndReachesEveryEnvironment(t *testing.T) {
	t.Parallel()
	p := certifytest.New(t)
	p.Certified("1.0.0")
	a, id, err := p.Apps.Create(p.As("dora"), app.Create{Name: "storefront", Team: "shop", Pattern: "web-service"})
	if err != nil {
		t.Fatal(err)
	}
	c := p.Reaches(id, change.Merged)
	if c.Lane != change.Variable || a.Team != "shop" {
		t.Errorf("lane %s of %+v", c.Lane, a)
	}
	has(t, certifytest.Texts(c), "staging: first deployment", "prod: first deployment")
	rolled(t, p, "staging 1.0.0 map[instances:1]", "prod 1.0.0 map[db_version:15 instances:2]")
	checks := p.Checks(id)
	for _, name := range []string{"lane", "tests", "plan: staging", "plan: prod"} {
		if checks[name].State != change.CheckPassed {
			t.Errorf("the check %s is %+v", name, checks[name])
		}
	}
	if p.Audited("change.merged", "allowed") != 1 {
		t.Error("the merge is not in the audit log")
	}
}

func TestOnlyCodeIsInTheSoftwareLane(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	c, said := p.Shop("greet", "Greet warmly\n\nStory: STY-1", map[string]string{"src/main.txt": "hello you\n"})
	has(t, said, "Lane: software", "new artifact", "http://flywheel.test/changes/"+c.ID)
	c = p.Reaches(c.ID, change.Merged)
	if c.Title != "Greet warmly" || c.Story != "STY-1" || c.Lane != change.Software {
		t.Errorf("%+v", c)
	}
	rolled(t, p, "staging", "prod")
	for name := range p.Checks(c.ID) {
		if strings.HasPrefix(name, "plan") {
			t.Errorf("a software change was planned: %s", name)
		}
	}
}

func TestCodeAndVariableAreOneChangeInTheHigherLane(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	c, said := p.Shop("both", "More and warmer", map[string]string{
		"src/main.txt": "hello all\n", "flywheel.yaml": appFile("~1.0", strings.ReplaceAll(certifytest.Environments, `"15"`, `"16"`)),
	})
	has(t, said, "Lane: variable", "prod.db_version 15 → 16: team-controlled, allowed 15, 16", "own code differs")
	p.Reaches(c.ID, change.Merged)
	rolled(t, p, "staging 1.0.0", "prod 1.0.0 map[db_version:16")
	checks := p.Checks(c.ID)
	if _, planned := checks["plan: staging"]; planned || checks["plan: prod"].State != change.CheckPassed {
		t.Errorf("checks %v", checks)
	}
}

func TestWhatIsNotAllowedIsRefusedWithTheWayOut(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	for name, tt := range map[string]struct {
		yaml string
		says []string
	}{
		"out of bounds":       {appFile("~1.0", strings.ReplaceAll(certifytest.Environments, "instances: 2", "instances: 1")), []string{"prod.instances", "allowed 2 to 10 in production", "waiver"}},
		"a value of the CoE":  {appFile("~1.0", "  environments:\n    prod: {variables: {vpc_id: vpc-1}}\n"), []string{"prod.vpc_id", "Center of Excellence"}},
		"unknown variable":    {appFile("~1.0", "  environments:\n    prod: {variables: {instance: 3}}\n"), []string{`did you mean "instances"`}},
		"unknown environment": {appFile("~1.0", "  environments:\n    production: {}\n"), []string{`"production"`, "staging, prod"}},
		"another app":         {strings.ReplaceAll(appFile("~1.0", ""), "name: storefront", "name: backstore"), []string{"backstore", "Set metadata.name to storefront"}},
		"another team":        {strings.ReplaceAll(appFile("~1.0", ""), "team: shop", "team: other"), []string{`"other"`, "Set metadata.team to shop"}},
		"not YAML":            {"spec: [", []string{"flywheel.yaml:1:"}},
		"not a range":         {appFile("one", ""), []string{"not a range"}},
		"unknown pattern":     {strings.ReplaceAll(appFile("~1.0", ""), "name: web-service", "name: web-servise"), []string{"web-servise"}},
	} {
		t.Run(name, func(t *testing.T) {
			c, said := p.Shop("bad-"+strings.ReplaceAll(name, " ", "-"), "Try "+name, map[string]string{"flywheel.yaml": tt.yaml})
			c = p.Reaches(c.ID, change.Refused)
			has(t, c.Why+" "+c.Remedy, tt.says...)
			has(t, said, tt.says...)
			if k := p.Checks(c.ID)["lane"]; k.State != change.CheckFailed {
				t.Errorf("the check lane is %+v", k)
			}
		})
	}
	rolled(t, p)
}

func TestAMissingManifestIsRefused(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	head := p.Commit("dora", shop, "gone", "Remove it", map[string][]byte{"flywheel.yaml": nil})
	c, _ := p.Pushed("dora", shop, "gone", head)
	c = p.Reaches(c.ID, change.Refused)
	has(t, c.Why+c.Remedy, "no flywheel.yaml", "flywheel app delete")
}

func TestACorrectionGoesOnFromARefusal(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	c, _ := p.Shop("scale", "Scale", map[string]string{"flywheel.yaml": appFile("~1.0", strings.ReplaceAll(certifytest.Environments, "instances: 2", "instances: 99"))})
	p.Reaches(c.ID, change.Refused)
	again, said := p.Shop("scale", "Scale less", map[string]string{"flywheel.yaml": appFile("~1.0", strings.ReplaceAll(certifytest.Environments, "instances: 2", "instances: 9"))})
	if again.ID != c.ID || again.Title != "Scale" {
		t.Errorf("the push made %+v of %s", again, c.ID)
	}
	has(t, said, "prod.instances 2 → 9")
	p.Reaches(c.ID, change.Merged)
}

func TestAFailedTestIsShownAndAPushAnswersWithItsOwnLane(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	c, _ := p.Shop("break", "Break", map[string]string{"src/main.txt": "FAILS\n"})
	c = p.Reaches(c.ID, change.Failed)
	has(t, c.Why, "failed")
	if k := p.Checks(c.ID)["tests"]; k.State != change.CheckFailed || k.Log == "" {
		t.Errorf("tests: %+v", k)
	}
	_, said := p.Shop("break", "Mend", map[string]string{"src/main.txt": "works\n", "flywheel.yaml": appFile("~1.0", strings.ReplaceAll(certifytest.Environments, `"15"`, `"16"`))})
	has(t, said, "Lane: variable") // not the lane of the first push
	p.Reaches(c.ID, change.Merged)
}

func TestAPlanThatFailsOrIsRefusedFailsTheChangeAndItsChecksStayReadable(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]struct {
		planned change.Planned
		err     error
		says    string
	}{
		"engine": {err: fault.New(fault.Invalid, "plan.failed", "The engine says no."), says: "The engine says no."},
		"policy": {planned: change.Planned{Refused: []string{"no public ports"}}, says: "no public ports"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := shopped(t)
			p.Plan = func(change.Change, string, app.Desired) (change.Planned, error) { return answer.planned, answer.err }
			c, _ := p.Shop("more", "More", map[string]string{"flywheel.yaml": appFile("~1.0", strings.ReplaceAll(certifytest.Environments, "instances: 2", "instances: 3"))})
			c = p.Reaches(c.ID, change.Failed)
			has(t, c.Why, answer.says)
			checks := p.Checks(c.ID)
			if checks["plan: prod"].State != change.CheckFailed || checks["lane"].State != change.CheckPassed {
				t.Errorf("checks: %+v", checks)
			}
			rolled(t, p)
		})
	}
}

func TestAnAppIsRefusedForATeamThatDoesNotExist(t *testing.T) {
	t.Parallel()
	p := certifytest.New(t)
	p.Certified("1.0.0")
	_, _, err := p.Apps.Create(p.As("root"), app.Create{Name: "lost", Team: "nobody", Pattern: "web-service"})
	refused(t, err, "team.not_found")
	f := fault.From(err)
	has(t, f.Message, `"nobody"`)
	if len(f.Fields) != 1 || f.Fields[0].Path != "team" {
		t.Errorf("the fields are %v", f.Fields)
	}
}
