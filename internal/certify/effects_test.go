package certify_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/certify"
	"flywheel.dev/flywheel/internal/certify/certifytest"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/patience"
	"flywheel.dev/flywheel/internal/tofu"
)

// plannedAgain sweeps, and waits until the effect of the change was planned so often since people decide.
func plannedAgain(p *certifytest.Platform, id string, times int) certify.Certification {
	p.T.Helper()
	system := account.System(p.T.Context(), "test")
	if err := p.Certify.Sweep(system); err != nil {
		p.T.Fatal(err)
	}
	for deadline := time.Now().Add(patience.Of(patience.Limit)); ; time.Sleep(10 * time.Millisecond) {
		var passes int
		err := p.DB.Read(system, func(tx *db.Tx) error {
			return tx.QueryRow(`select max(passes) from certification where change = $1`, id).Scan(&passes)
		})
		if err != nil {
			p.T.Fatal(err)
		}
		if passes >= times {
			return certification(p, id)
		}
		if time.Now().After(deadline) {
			p.T.Fatalf("the effect was planned again %d times, not %d", passes, times)
		}
	}
}

// ofVariables plans every instance as an update that depends on its variables, except for what it hides.
func ofVariables(hide string) func(app.Instance, app.Desired) (change.Planned, error) {
	return func(_ app.Instance, d app.Desired) (change.Planned, error) {
		seen := fmt.Sprint(d.Variables)
		if hide != "" {
			seen = strings.ReplaceAll(seen, hide, "")
		}
		return change.Planned{Summary: "1 to update", Worst: tofu.Update, Digest: "sha256:" + seen}, nil
	}
}

func occurred(p *certifytest.Platform, kind string) int {
	p.T.Helper()
	if err := event.Number(p.As("root"), p.DB); err != nil {
		p.T.Fatal(err)
	}
	var found []event.Event
	err := p.DB.Read(p.As("root"), func(tx *db.Tx) (err error) {
		found, err = event.After(tx, 0, event.Filter{Types: []string{kind}}, 100)
		return err
	})
	if err != nil {
		p.T.Fatal(err)
	}
	return len(found)
}

func TestApprovalsDoNotOutliveAnotherEffectOnAnInstance(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	p.PlanInstance = ofVariables("")
	c := addSearch(p, "search")
	before := certification(p, c.ID)
	approve(p, c.ID, "sam", "otto")

	p.Runs("storefront", "prod", map[string]any{"instances": 3})
	after := plannedAgain(p, c.ID, 1)
	if after.Digest == before.Digest {
		t.Fatal("another effect has the same digest")
	}
	for _, a := range after.Approvals {
		if a.Lapsed == "" {
			t.Errorf("it still counts: %+v", a)
		}
	}
	c = p.Get(c.ID)
	has(t, c.Why, "waits for the approval of security, operations, development", "2 approvals were given on an earlier digest")
	has(t, c.Remedy, after.Digest)
	if c.State != change.Review || occurred(p, event.Own("change", "effectchanged")) != 1 {
		t.Errorf("it is %s", c.State)
	}
	_, err := p.Certify.Approve(p.As("dev"), c.ID, certify.Vote{Discipline: "development", Digest: before.Digest})
	refused(t, err, "approval.not_what_was_shown")
	has(t, fault.From(err).Remedy, after.Digest)

	approve(p, c.ID, "sam", "otto", "dev")
	p.Reaches(c.ID, change.Merged)
	if got := strings.Join(versions(p), ", "); got != "1.0.0 certified, 1.1.0 certified" {
		t.Errorf("versions %s", got)
	}
}

func TestApprovalsOutliveADeploymentWithTheSameEffect(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	p.PlanInstance = ofVariables("instances:3")
	p.Runs("storefront", "prod", map[string]any{})
	c := addSearch(p, "search")
	before := certification(p, c.ID)
	approve(p, c.ID, "sam", "otto")
	p.Runs("storefront", "prod", map[string]any{"instances": 3})
	after := plannedAgain(p, c.ID, 1)
	if after.Digest != before.Digest || len(after.Missing()) != 1 || occurred(p, event.Own("change", "effectchanged")) != 0 {
		t.Errorf("%+v", after)
	}
	approve(p, c.ID, "dev")
	p.Reaches(c.ID, change.Merged)
}

func TestTheLastApprovalWaitsForWhatChangedMeanwhile(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	p.PlanInstance = ofVariables("")
	c := addSearch(p, "search")
	approve(p, c.ID, "sam", "otto")
	p.Runs("storefront", "prod", map[string]any{"instances": 3})
	approve(p, c.ID, "dev") // nobody has noticed yet
	plannedAgain(p, c.ID, 1)
	if c = p.Get(c.ID); c.State != change.Review {
		t.Errorf("it is %s although its effect is another one: %s", c.State, c.Why)
	}
	// A value that the new bounds exclude is seen without a plan, and one that comes back is what was approved.
	p.Runs("storefront", "prod", map[string]any{"instances": 99})
	if found := plannedAgain(p, c.ID, 2); found.Radius.Outcomes[certify.OutOfBounds] != 1 {
		t.Errorf("%+v", found.Radius)
	}
	p.Runs("storefront", "prod", map[string]any{"instances": 2, "db_version": "15"})
	p.Reaches(func() string { plannedAgain(p, c.ID, 3); return c.ID }(), change.Merged)
}

// state says that a deployment begins or ends on an instance.
func state(p *certifytest.Platform, name, environment string, now app.InstanceState) {
	p.T.Helper()
	err := p.DB.Write(account.System(p.T.Context(), "test"), func(tx *db.Tx) error {
		i, err := app.FindInstance(tx, name, environment)
		if err != nil {
			return err
		}
		return app.Tell(tx, &i, now, "")
	})
	if err != nil {
		p.T.Fatal(err)
	}
}

// ofStates plans every instance as an update, and one that is being deployed as nothing that lasts.
func ofStates(i app.Instance, _ app.Desired) (change.Planned, error) {
	if i.State == app.Deploying {
		return change.Planned{Summary: "1 to create", Worst: tofu.Create, Digest: "sha256:half"}, nil
	}
	return change.Planned{Summary: "1 to update", Worst: tofu.Update, Digest: "sha256:whole"}, nil
}

func TestAnInstanceIsNotPlannedInTheMiddleOfItsDeployment(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	p.PlanInstance = ofStates
	c := addSearch(p, "search")
	before, began := certification(p, c.ID), p.Checks(c.ID)["effect"].StartedAt
	approve(p, c.ID, "sam", "otto")
	state(p, "storefront", "prod", app.Deploying)
	p.Runs("storefront", "staging", map[string]any{"instances": 3, "db_version": "15"})
	found := plannedAgain(p, c.ID, 1) // of staging alone
	if found.Digest != before.Digest || len(found.Missing()) != 1 {
		t.Errorf("%+v", found)
	}
	if !p.Checks(c.ID)["effect"].StartedAt.After(began) {
		t.Error("the check that was run again counts its time from the first")
	}
	if found = plannedAgain(p, c.ID, 0); found.Digest != before.Digest {
		t.Errorf("%+v", found)
	}
	state(p, "storefront", "prod", app.Healthy)
	if found = plannedAgain(p, c.ID, 2); found.Digest != before.Digest || occurred(p, event.Own("change", "effectchanged")) != 0 {
		t.Errorf("%+v", found)
	}
}

func TestAPlanThatADeploymentOvertookIsNotKept(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	p.PlanInstance = ofStates
	c := addSearch(p, "search")
	before := certification(p, c.ID)
	approve(p, c.ID, "sam")
	p.PlanInstance = func(i app.Instance, d app.Desired) (change.Planned, error) {
		state(p, i.App, i.Environment, app.Deploying)
		i.State = app.Deploying
		return ofStates(i, d)
	}
	p.Runs("storefront", "prod", map[string]any{"instances": 3, "db_version": "15"})
	found := plannedAgain(p, c.ID, 1)
	if found.Digest != before.Digest || len(found.Approvals) != 1 || found.Approvals[0].Lapsed != "" {
		t.Errorf("%+v", found)
	}
	p.PlanInstance = ofVariables("")
	state(p, "storefront", "prod", app.Healthy)
	if found = plannedAgain(p, c.ID, 2); found.Digest == before.Digest {
		t.Error("what the deployment brought was not planned after its end")
	}
}

func TestTheLastApprovalWaitsForTheDeploymentsThatRun(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	p.PlanInstance = ofStates
	c := addSearch(p, "search")
	state(p, "storefront", "prod", app.Deploying)
	approve(p, c.ID, "sam", "otto", "dev")
	c = p.Get(c.ID)
	has(t, c.Why, "every discipline has approved; the deployments that run on live instances end first (1 left)")
	if found := plannedAgain(p, c.ID, 0); c.State != change.Review || len(found.Missing()) != 0 {
		t.Errorf("it is %s, %+v", c.State, found)
	}
	// One that began after the last approval does not hold it up.
	state(p, "storefront", "staging", app.Deploying)
	state(p, "storefront", "prod", app.Healthy)
	plannedAgain(p, c.ID, 1)
	p.Reaches(c.ID, change.Merged)
}

func TestAnInstanceThatComesOrGoesIsAnotherEffect(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	p.PlanInstance = ofVariables("")
	c := addSearch(p, "search")
	before := certification(p, c.ID)
	_, id, err := p.Apps.Create(p.As("dora"), app.Create{Name: "kiosk", Team: "shop", Pattern: "web-service"})
	if err != nil {
		t.Fatal(err)
	}
	p.Reaches(id, change.Merged)
	more := plannedAgain(p, c.ID, 1)
	if more.Radius.Instances != 4 || more.Digest == before.Digest {
		t.Errorf("%+v", more.Radius)
	}
	gone(p, "kiosk", "staging", "prod")
	if less := plannedAgain(p, c.ID, 2); less.Radius.Instances != 2 || less.Digest != before.Digest {
		t.Errorf("%+v", less.Radius)
	}
}

func gone(p *certifytest.Platform, name string, environments ...string) {
	p.T.Helper()
	err := p.DB.Write(account.System(p.T.Context(), "test"), func(tx *db.Tx) error {
		for _, e := range environments {
			i, err := app.FindInstance(tx, name, e)
			if err != nil {
				return err
			}
			if err := app.Arrive(tx, &i, app.Desired{}, "", ""); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		p.T.Fatal(err)
	}
}

func TestARequestForChangesWaitsForThePush(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	c := addSearch(p, "search")
	digest := certification(p, c.ID).Digest
	_, err := p.Certify.RequestChanges(p.As("sam"), c.ID, certify.Vote{Discipline: "security", Digest: digest, Reason: " "})
	refused(t, err, "approval.reason_missing")
	_, err = p.Certify.RequestChanges(p.As("dora"), c.ID, certify.Vote{Discipline: "security", Digest: digest, Reason: "no"})
	refused(t, err, "permission.denied")
	approve(p, c.ID, "otto")
	c, err = p.Certify.RequestChanges(p.As("sam"), c.ID, certify.Vote{Discipline: "security", Digest: digest, Reason: "bind it to loopback"})
	if err != nil || c.State != change.ChangesRequested {
		t.Fatalf("%s, %v", c.State, err)
	}
	has(t, c.Why, "security (sam) asks for changes: bind it to loopback")
	has(t, c.Remedy, "search")
	approve(p, c.ID, "dev") // the others go on deciding
	if c = p.Get(c.ID); c.State != change.ChangesRequested {
		t.Errorf("it is %s", c.State)
	}
	// What is merged beside it does not clear the request.
	other, _ := propose(p, "words", "Explain", "NOTES.md", "", "More words.\n")
	p.Reaches(other.ID, change.Review)
	approve(p, other.ID, "sam", "otto", "dev")
	p.Reaches(other.ID, change.Merged)
	if c = p.Get(c.ID); c.State != change.ChangesRequested {
		t.Errorf("it is %s", c.State)
	}
	p.Push("dora", webService, "search", "Bind it", map[string]string{"README.md": "# Bound\n"})
	p.Reaches(c.ID, change.Review)
	if found := certification(p, c.ID); len(found.Approvals) != 0 {
		t.Errorf("the push did not clear %+v", found.Approvals)
	}
	if p.Audited("change.changes_requested", "allowed") != 1 || p.Audited("change.changes_requested", "refused") != 1 {
		t.Error("the requests are not in the audit log")
	}
}

func TestWhoAskedForChangesMayApproveAfterAll(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	c := addSearch(p, "search")
	approve(p, c.ID, "otto", "dev")
	if _, err := p.Certify.RequestChanges(p.As("sam"), c.ID, certify.Vote{Discipline: "security", Digest: certification(p, c.ID).Digest, Reason: "why?"}); err != nil {
		t.Fatal(err)
	}
	approve(p, c.ID, "sam")
	p.Reaches(c.ID, change.Merged)
}

func TestThePusherReadsTheLaneAndWhatComesNext(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	_, said := propose(p, "search", "Add a search", "main.tf", "", search, "pattern.yaml", "    vpc_id:", "    search: {control: team}\n    vpc_id:")
	has(t, said, "Lane: pattern", "web-service 1.1.0 (minor)", "new variable search", "validated and tested", "2 live instances", "approval of security, operations, development", "http://flywheel.test/changes/")
	_, said = propose(p, "bad", "Run something", "main.tf", "", "data \"external\" \"x\" { program = [\"id\"] }\n")
	has(t, said, "failed:", "the check gate failed", "external")
}

func TestWhatIsNotWhatWasApprovedIsRefusedOnceAndNotStored(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	c := addSearch(p, "search")
	approve(p, c.ID, "sam", "otto")
	err := p.DB.Write(account.System(t.Context(), "test"), func(tx *db.Tx) error {
		now, err := change.Take(tx, c.ID)
		if err != nil {
			return err
		}
		if err := lastApproval(tx, c.ID); err != nil {
			return err
		}
		if _, err := tx.Exec(`update certification set pattern = $2 where change = $1`, c.ID, "sha256:another"); err != nil {
			return err
		}
		now.State = change.Merging
		return change.Save(tx, now)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Changes.Sweep(account.System(t.Context(), "test"), false); err != nil {
		t.Fatal(err)
	}
	c = p.Reaches(c.ID, change.Failed)
	has(t, c.Why, "cannot be published", "sha256:another was approved")
	if got := strings.Join(versions(p), ", "); got != "1.0.0 certified, 1.1.0 draft" {
		t.Errorf("versions %s", got)
	}
	// The next push of the branch is certified as any other.
	p.Push("dora", webService, "search", "Explain it", map[string]string{"README.md": "# Searching\n"})
	p.Reaches(c.ID, change.Review)
	approve(p, c.ID, "sam", "otto", "dev")
	p.Reaches(c.ID, change.Merged)
}

func TestEveryInstanceIsPlannedOnceAndTheGravestIsShownFirst(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	crowd(p, 70)
	var mu sync.Mutex
	var order []string
	p.PlanInstance = func(i app.Instance, d app.Desired) (change.Planned, error) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, fmt.Sprint(i.App, " ", d.Variables["instances"]))
		switch {
		case i.App == "app-9":
			return change.Planned{Summary: "1 to delete", Digest: "sha256:x", Worst: tofu.Delete, Destructive: []string{"flywheel_volume.data"}}, nil
		case i.App == "app-8":
			return change.Planned{}, fault.New(fault.Invalid, "plan.failed", "The engine says no.")
		}
		return change.Planned{Summary: "1 to update", Digest: "sha256:y", Worst: tofu.Update}, nil
	}
	c, said := propose(p, "narrow", "Only 16", "pattern.yaml", `enum: ["15", "16"]`, `enum: ["16"]`, "main.tf", `default = "15"`, `default = "16"`)
	has(t, said, "planned on 72 live instances, of which 11 would break")
	p.Reaches(c.ID, change.Review)
	if sorted := slices.Sorted(slices.Values(order)); len(order) != 61 || len(slices.Compact(sorted)) != 61 {
		t.Errorf("%d plans, of 61 instances that can be planned", len(order))
	}
	// One of each kind comes first: staging of the storefront, and a crowd with 1, 2 and 3 instances.
	kinds := map[string]bool{}
	for _, one := range order[:4] {
		kinds[one[strings.LastIndex(one, " "):]] = true
	}
	if len(kinds) < 3 {
		t.Errorf("the first plans are %v", order[:4])
	}
	found := certification(p, c.ID)
	r := found.Radius
	if r.Instances != 72 || r.Planned != 72 || r.Breaking != 13 || r.Outcomes[certify.OutOfBounds] != 11 || r.Outcomes[certify.Destroys] != 1 || r.Outcomes[certify.Fails] != 1 || r.Outcomes[certify.Updates] != 59 {
		t.Errorf("%+v", r)
	}
	if len(r.Classes) != 2 || len(r.Teams) != 2 || r.Teams[0].Name != "crowd" || r.Teams[0].Breaking != 12 {
		t.Errorf("%+v %+v", r.Classes, r.Teams)
	}
	has(t, p.Checks(c.ID)["effect"].Summary, "13 of 72 live instances would break")
	if len(found.Instances) != 50 || found.Instances[0].App != "app-8" || found.Instances[0].Outcome != certify.Fails {
		t.Errorf("%d effects, the first %+v", len(found.Instances), found.Instances[0])
	}
	// Page by page, everything once; and who sees less is shown less.
	seen := []string{}
	f := certify.Filter{Limit: 20}
	for {
		page, err := p.Certify.Effects(p.As("root"), c.ID, f)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			seen = append(seen, e.App+"/"+e.Environment)
			f.After = e.Cursor()
		}
		if len(page) < f.Limit {
			break
		}
	}
	slices.Sort(seen)
	if len(seen) != 72 || len(slices.Compact(seen)) != 72 {
		t.Errorf("%d effects in pages", len(seen))
	}
	if of, err := p.Certify.Effects(p.As("dora"), c.ID, certify.Filter{Limit: 50}); err != nil || len(of) != 2 {
		t.Errorf("dora sees %d, %v", len(of), err)
	}
	if of, err := p.Certify.Effects(p.As("root"), c.ID, certify.Filter{Limit: 50, Outcome: certify.Destroys}); err != nil || len(of) != 1 || of[0].App != "app-9" {
		t.Errorf("%+v, %v", of, err)
	}
	_, err := p.Certify.Effect(p.As("dora"), c.ID, "app-9", "prod")
	refused(t, err, "effect.not_found")
	if e, err := p.Certify.Effect(p.As("root"), c.ID, "app-9", "prod"); err != nil || len(e.Destructive) != 1 {
		t.Errorf("%+v, %v", e, err)
	}
}

// crowd adds live instances of another team to prod: every seventh still on db_version 15, the others on 16.
func crowd(p *certifytest.Platform, n int) {
	p.T.Helper()
	err := p.DB.Write(account.System(p.T.Context(), "test"), func(tx *db.Tx) error {
		like, err := app.FindInstance(tx, "storefront", "prod")
		if err != nil {
			return err
		}
		for k := range n {
			name := fmt.Sprintf("app-%d", k)
			if _, err := tx.Exec(`insert into app (id, name, title, team, state, pin, description, created_by, created_at)
				values ($1, $2, $2, 'crowd', 'active', '{}', '{}', '', $3)`, db.NewID("app"), name, tx.Now()); err != nil {
				return err
			}
			i, err := app.EnsureInstance(tx, name, "prod")
			if err != nil {
				return err
			}
			runs := like.Deployed
			runs.Variables = map[string]any{"instances": 2 + k%3, "db_version": "16"}
			if k%7 == 0 {
				runs.Variables["db_version"] = "15"
			}
			if err := app.Arrive(tx, &i, runs, "", ""); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		p.T.Fatal(err)
	}
}

func TestAValueThatTheVersionNeedsIsMissedBeforeAnyPlan(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	p.PlanInstance = func(i app.Instance, _ app.Desired) (change.Planned, error) {
		return change.Planned{}, fault.New(fault.Invalid, "plan.failed", "%s was planned", i.Environment)
	}
	c, _ := propose(p, "region", "Ask for the region", "main.tf", "", "variable \"region\" { type = string }\n", "pattern.yaml", "    vpc_id:", "    region: {control: coe}\n    vpc_id:")
	p.Reaches(c.ID, change.Review)
	found := certification(p, c.ID)
	if found.Radius.Outcomes[certify.NeedsValue] != 2 || !slices.Equal(found.Instances[0].NeedsValue, []string{"region"}) {
		t.Fatalf("%+v", found)
	}
	// The Center of Excellence gives the value of one environment: its instances can be planned.
	e := app.Environment{Name: "staging", Class: "staging", Values: map[string]any{"region": "eu"}}
	if _, err := p.Apps.SaveEnvironment(p.As("root"), e, false, ""); err != nil {
		t.Fatal(err)
	}
	found = plannedAgain(p, c.ID, 1)
	if found.Radius.Outcomes[certify.NeedsValue] != 1 || found.Instances[0].Error != "staging was planned" {
		t.Errorf("%+v", found.Instances)
	}
}

func TestAVersionThatNeedsCredentialsIsNotPlannedBeforeItIsCertified(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	p.PlanInstance = func(app.Instance, app.Desired) (change.Planned, error) {
		t.Error("it was planned")
		return change.Planned{}, nil
	}
	c, _ := propose(p, "cloud", "Sign in to a cloud", "pattern.yaml", "  artifact:", "  credentials: [AWS_ACCESS_KEY_ID]\n  artifact:")
	p.Reaches(c.ID, change.Review)
	found := certification(p, c.ID)
	if found.Radius.Outcomes[certify.Deferred] != 2 || found.Radius.Breaking != 0 || found.Radius.Planned != 2 {
		t.Errorf("%+v", found)
	}
}

func TestNobodySpeaksForAnOwnCheckOfAPatternChange(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	c, _ := propose(p, "checks", "Say more", "README.md", "", "More words.\n")
	c = p.Reaches(c.ID, change.Review)
	_, checks, err := p.Changes.Get(p.As("dora"), c.ID)
	if err != nil || len(checks) < 6 {
		t.Fatal(checks, err)
	}
	for _, k := range checks {
		_, err := p.Changes.PostResult(p.As("dora-ci"), c.ID, change.Result{Name: k.Name, Head: c.Head, Passed: true, Summary: "all is well"})
		refused(t, err, "change.result_name")
	}
	if _, err := p.Changes.PostResult(p.As("dora-ci"), c.ID, change.Result{Name: "outer/lint", Head: c.Head, Passed: true, Summary: "all is well"}); err != nil {
		t.Error(err)
	}
}

func TestPlanningThatIsInterruptedGoesOnWithWhatIsLeft(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	crowd(p, 70)
	var mu sync.Mutex
	tries := map[string]int{}
	p.PlanInstance = func(i app.Instance, _ app.Desired) (change.Planned, error) {
		mu.Lock()
		defer mu.Unlock()
		if len(tries) == 30 && tries["failed"] == 0 {
			tries["failed"]++
			return change.Planned{}, fault.New(fault.Unavailable, "database.away", "The database is away.")
		}
		tries[i.ID]++
		return change.Planned{Summary: "1 to update", Digest: "sha256:y", Worst: tofu.Update}, nil
	}
	c := addSearch(p, "search")
	twice := 0
	for id, n := range tries {
		if n > 1 && id != "failed" {
			twice++
		}
	}
	// Only what was being planned at that moment is planned again.
	if len(tries) != 73 || twice > runtime.NumCPU() {
		t.Errorf("%d instances were planned, %d of them twice", len(tries)-1, twice)
	}
	if found := certification(p, c.ID); found.Radius.Outcomes[certify.Updates] != 72 {
		t.Errorf("%+v", found.Radius)
	}
}

func TestAValueThatAWaiverAcceptsIsNotOutsideTheBounds(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	w, err := p.Apps.RequestWaiver(p.As("dora"), app.AskWaiver{App: "storefront", Environment: "prod", Variable: "db_version", Value: "14", Reason: "the old driver"})
	if err == nil {
		until := time.Now().Add(24 * time.Hour)
		w, err = p.Apps.GrantWaiver(p.As("sam"), w.ID, &until, "for a day")
	}
	if err != nil {
		t.Fatal(err)
	}
	p.Runs("storefront", "prod", map[string]any{"db_version": "14"})
	c := addSearch(p, "search")
	if r := certification(p, c.ID).Radius; r.Breaking != 0 || r.Planned != 2 {
		t.Errorf("%+v", r)
	}
	if _, err := p.Apps.RevokeWaiver(p.As("sam"), w.ID, "the driver is new"); err != nil {
		t.Fatal(err)
	}
	if r := plannedAgain(p, c.ID, 1).Radius; r.Outcomes[certify.OutOfBounds] != 1 {
		t.Errorf("%+v", r)
	}
}
