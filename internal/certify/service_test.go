package certify_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/certify"
	"flywheel.dev/flywheel/internal/certify/certifytest"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/git"
	"flywheel.dev/flywheel/internal/pattern"
)

var webService = git.Pattern("web-service")

// certifying is a platform with the app storefront on web-service ~1.0, and an engine that validates.
func certifying(t *testing.T) *certifytest.Platform {
	t.Helper()
	p := certifytest.New(t)
	if p.Certify.Engine == nil {
		t.Skip("neither tofu nor terraform is on PATH")
	}
	p.Certified("1.0.0")
	p.Storefront("~1.0")
	return p
}

const search = `
variable "search" {
  type    = bool
  default = false
}
`

// propose pushes a change of the pattern as dora.
func propose(p *certifytest.Platform, branch, message string, edits ...string) (change.Change, string) {
	p.T.Helper()
	files := map[string]string{}
	for name, content := range certifytest.Files(edits...) {
		files[name] = string(content)
	}
	return p.Push("dora", webService, branch, message, files)
}

func addSearch(p *certifytest.Platform, branch string) change.Change {
	p.T.Helper()
	c, _ := propose(p, branch, "Add a search", "main.tf", "", search, "pattern.yaml", "    vpc_id:", "    search: {control: team}\n    vpc_id:")
	return p.Reaches(c.ID, change.Review)
}

func certification(p *certifytest.Platform, id string) certify.Certification {
	p.T.Helper()
	found, err := p.Certify.Get(p.As("root"), p.Get(id))
	if err != nil {
		p.T.Fatal(err)
	}
	return found
}

// approve lets the disciplines approve what is shown now.
func approve(p *certifytest.Platform, id string, who ...string) {
	p.T.Helper()
	for _, name := range who {
		discipline := map[string]string{"sam": "security", "sue": "security", "otto": "operations", "dev": "development"}[name]
		if _, err := p.Certify.Approve(p.As(name), id, certify.Vote{Discipline: discipline, Digest: certification(p, id).Digest}); err != nil {
			p.T.Fatalf("%s: %v", name, err)
		}
	}
}

func versions(p *certifytest.Platform) (all []string) {
	p.T.Helper()
	s, err := p.Patterns.Get(p.As("root"), "web-service")
	if err != nil {
		p.T.Fatal(err)
	}
	for _, v := range s.Versions {
		all = append(all, fmt.Sprintf("%s %s", v.Version, v.State))
	}
	slices.Sort(all)
	return all
}

func use(p *certifytest.Platform, branch, wanted, trailer string) (change.Change, string) {
	p.T.Helper()
	yaml := fmt.Sprintf(certifytest.App, wanted, certifytest.Environments)
	return p.Shop(branch, "Search the shop"+trailer, map[string]string{"flywheel.yaml": yaml, "src/search": "geo"})
}

func has(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not say %q", text, part)
		}
	}
}

func refused(t *testing.T, err error, code string) {
	t.Helper()
	if !fault.Is(err, code) {
		t.Errorf("got %v, want %s", err, code)
	}
}

func TestAnAppWaitsForItsPatternAndGoesOnByItself(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	c := addSearch(p, "search")
	found := certification(p, c.ID)
	if found.Version != "1.1.0" || found.Bump != "minor" || len(found.Instances) != 2 || len(found.Missing()) != 3 {
		t.Errorf("%+v", found)
	}
	waiting, said := use(p, "near", "~1.1", "")
	waiting = p.Reaches(waiting.ID, change.Waiting)
	has(t, said, "Lane: pattern", "~1.1", c.ID, "waiting:")
	if waiting.Needs != c.ID || p.Checks(waiting.ID)["lane"].State != change.CheckHeld {
		t.Errorf("%+v", waiting)
	}
	approve(p, c.ID, "sam", "otto")
	if s := p.Get(c.ID); s.State != change.Review || s.Why != "waits for the approval of development" {
		t.Errorf("%s: %s", s.State, s.Why)
	}
	approve(p, c.ID, "dev")
	p.Reaches(c.ID, change.Merged)
	waiting = p.Reaches(waiting.ID, change.Merged)
	if waiting.Lane != change.Variable {
		t.Errorf("it went on in the lane %s", waiting.Lane)
	}
	if got := strings.Join(p.Rolled(), "; "); !strings.HasPrefix(got, "staging 1.1.0") || !strings.Contains(got, "prod 1.1.0") {
		t.Errorf("rolled out %s", got)
	}
	if got := strings.Join(versions(p), ", "); got != "1.0.0 certified, 1.1.0 certified" {
		t.Errorf("versions %s", got)
	}
	for action, n := range map[string]int{"change.approved": 3, "pattern.certify": 2} {
		if p.Audited(action, "allowed") != n {
			t.Errorf("%s is %d times in the audit log", action, p.Audited(action, "allowed"))
		}
	}
}

func TestAVersionIsDraftThenInReviewThenCertified(t *testing.T) {
	p := certifying(t)
	shown := func(want string) {
		t.Helper()
		if got := strings.Join(versions(p), ", "); got != want {
			t.Errorf("the pattern shows %s, want %s", got, want)
		}
	}
	c := addSearch(p, "search")
	shown("1.0.0 certified, 1.1.0 in_review")
	v, err := p.Patterns.GetVersion(p.As("dana"), "web-service", "1.1.0")
	if err != nil || v.State != pattern.InReview || v.Change != c.ID || v.Digest != certification(p, c.ID).Pattern || len(v.Interface.Variables) == 0 {
		t.Errorf("%+v, %v", v, err)
	}
	err = p.DB.Read(t.Context(), func(tx *db.Tx) error { _, err := p.Patterns.Resolve(tx, "web-service", "~1.1"); return err })
	refused(t, err, "pattern.nothing_in_range")
	_, err = p.Patterns.Move(p.As("otto"), "web-service", "1.1.0", pattern.Certified)
	refused(t, err, "pattern_version.not_found")

	if _, err := p.Certify.RequestChanges(p.As("sam"), c.ID, certify.Vote{Discipline: "security", Digest: certification(p, c.ID).Digest, Reason: "Say who may call it."}); err != nil {
		t.Fatal(err)
	}
	shown("1.0.0 certified, 1.1.0 draft")
	other, _ := propose(p, "broken", "Break it", "main.tf", "", "\nresource \"nothing\"\n")
	p.Reaches(other.ID, change.Failed)
	shown("1.0.0 certified, 1.1.0 draft") // what cannot be read has no interface, and so no number

	c, _ = p.Push("dora", webService, "search", "Say who may call it", map[string]string{"README.md": "# Web service\n\nThe team may.\n"})
	p.Reaches(c.ID, change.Review)
	shown("1.0.0 certified, 1.1.0 in_review")
	approve(p, c.ID, "sam", "otto", "dev")
	p.Reaches(c.ID, change.Merged)
	shown("1.0.0 certified, 1.1.0 certified")

	again, _ := propose(p, "more", "Again", "main.tf", "", strings.ReplaceAll(search, "search", "found"), "pattern.yaml", "    vpc_id:", "    found: {control: team}\n    vpc_id:")
	p.Reaches(again.ID, change.Review)
	if _, err := p.Certify.Reject(p.As("sam"), again.ID, certify.Vote{Discipline: "security", Digest: certification(p, again.ID).Digest, Reason: "Not again."}); err != nil {
		t.Fatal(err)
	}
	shown("1.0.0 certified, 1.1.0 certified") // a rejected change publishes nothing
	_, err = p.Patterns.GetVersion(p.As("dana"), "web-service", "2.0.0")
	refused(t, err, "pattern_version.not_found")
}

func TestARejectionBlocksTheWaitingAppWithTheReason(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	c := addSearch(p, "search")
	waiting, _ := use(p, "near", "~1.1", "\n\nNeeds: "+c.ID)
	p.Reaches(waiting.ID, change.Waiting)
	_, err := p.Certify.Reject(p.As("sam"), c.ID, certify.Vote{Discipline: "security", Digest: certification(p, c.ID).Digest, Reason: " "})
	refused(t, err, "approval.reason_missing")
	if _, err := p.Certify.Reject(p.As("sam"), c.ID, certify.Vote{Discipline: "security", Digest: certification(p, c.ID).Digest, Reason: "it opens a port\u202e"}); err != nil {
		t.Fatal(err)
	}
	if s := p.Get(c.ID); s.State != change.Rejected {
		t.Errorf("it is %s", s.State)
	}
	waiting = p.Reaches(waiting.ID, change.Blocked)
	has(t, waiting.Why, c.ID, "it opens a port⟨U+202E⟩")
	has(t, waiting.Remedy, "Needs:")
	// A later version in range frees it nonetheless.
	other := addSearch(p, "search-again")
	approve(p, other.ID, "sam", "otto", "dev")
	p.Reaches(waiting.ID, change.Merged)
}

func TestAClosedPatternChangeBlocksTheWaitingApp(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	c := addSearch(p, "search")
	waiting, _ := use(p, "near", "~1.1", "")
	p.Reaches(waiting.ID, change.Waiting)
	p.Pushed("dora", webService, "search", "")
	waiting = p.Reaches(waiting.ID, change.Blocked)
	has(t, waiting.Why, c.ID, "closed", "deleted")
}

func TestAVersionOutOfRangeBlocksTheWaitingApp(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	// Without an output the next version is a major one.
	c, _ := propose(p, "major", "Drop the output", "main.tf", "output \"service\" { value = terraform_data.service.id }\n", "")
	p.Reaches(c.ID, change.Review)
	waiting, _ := use(p, "near", "~1.1", "")
	p.Reaches(waiting.ID, change.Waiting)
	approve(p, c.ID, "sam", "otto", "dev")
	waiting = p.Reaches(waiting.ID, change.Blocked)
	has(t, waiting.Why, "2.0.0")
}

func TestTheTrailerNeedsIsTakenAtItsWord(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	code, _ := p.Shop("code", "Code", map[string]string{"src/code": "x"})
	for name, tt := range map[string]struct {
		trailer string
		state   change.State
		says    string
	}{
		"nothing open":       {"", change.Blocked, "No certified version"},
		"no such change":     {"\n\nNeeds: chg_nothing", change.Refused, "not a change of the pattern"},
		"a change of an app": {"\n\nNeeds: " + code.ID, change.Refused, "not a change of the pattern"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := use(p, "needs-"+strings.ReplaceAll(name, " ", "-"), "~1.1", tt.trailer)
			c = p.Reaches(c.ID, tt.state)
			has(t, c.Why, tt.says)
			if c.Remedy == "" {
				t.Error("it does not say what to do")
			}
		})
	}
	t.Run("two open, none named", func(t *testing.T) {
		first := addSearch(p, "one")
		addSearch(p, "two")
		c, _ := use(p, "ambiguous", "~1.1", "")
		p.Reaches(c.ID, change.Blocked)
		c, _ = use(p, "named", "~1.1", "\n\nNeeds: "+first.ID)
		if c = p.Reaches(c.ID, change.Waiting); c.Needs != first.ID {
			t.Errorf("it waits for %s", c.Needs)
		}
	})
}

func TestOnlyTheRightPeopleDecide(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	c := addSearch(p, "search")
	digest := certification(p, c.ID).Digest
	decide := func(who, discipline, digest string) error {
		_, err := p.Certify.Approve(p.As(who), c.ID, certify.Vote{Discipline: discipline, Digest: digest})
		return err
	}
	refused(t, decide("dora", "security", digest), "permission.denied")
	refused(t, decide("root", "security", digest), "permission.denied")
	refused(t, decide("sam", "operations", digest), "permission.denied")
	refused(t, decide("sam", "magic", digest), "permission.unknown")
	refused(t, decide("sam-token", "security", digest), "permission.person")
	refused(t, decide("sam", "security", "sha256:else"), "approval.not_what_was_shown")
	if err := decide("both", "security", digest); err != nil {
		t.Fatal(err)
	}
	refused(t, decide("both", "operations", digest), "approval.one_discipline")
	if n := p.Audited("change.approved", "refused"); n != 7 {
		t.Errorf("%d refusals are in the audit log", n)
	}
	if err := decide("otto", "operations", digest); err != nil {
		t.Fatal(err)
	}
	if err := decide("dev", "development", digest); err != nil {
		t.Fatal(err)
	}
	p.Reaches(c.ID, change.Merged)
	refused(t, decide("sam", "security", digest), "approval.not_now")
}

func TestWhoeverPushedCannotApproveAndAPushResetsApprovals(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	c := addSearch(p, "search")
	shown := certification(p, c.ID).Digest
	approve(p, c.ID, "otto")
	// Sam of security adds a commit.
	p.Push("sam", webService, "search", "Explain it", map[string]string{"README.md": "# Searching\n"})
	p.Reaches(c.ID, change.Review)
	if found := certification(p, c.ID); len(found.Approvals) != 0 || found.Digest == shown {
		t.Errorf("an approval outlived the push: %+v", found)
	}
	_, err := p.Certify.Approve(p.As("sam"), c.ID, certify.Vote{Discipline: "security", Digest: certification(p, c.ID).Digest})
	refused(t, err, "approval.own_change")
	_, err = p.Certify.Approve(p.As("otto"), c.ID, certify.Vote{Discipline: "operations", Digest: shown})
	refused(t, err, "approval.not_what_was_shown")
	approve(p, c.ID, "otto")
}

func TestABadPatternFailsItsCheckAndSaysWhere(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	for name, tt := range map[string]struct {
		edits []string
		check string
		says  []string
	}{
		"a provisioner":       {[]string{"main.tf", "", "resource \"terraform_data\" \"x\" {\n  provisioner \"local-exec\" { command = \"id\" }\n}\n"}, "gate", []string{"main.tf:", "provisioner"}},
		"external data":       {[]string{"main.tf", "", "data \"external\" \"x\" { program = [\"id\"] }\n"}, "gate", []string{"external"}},
		"another name":        {[]string{"pattern.yaml", "name: web-service", "name: web-servise"}, "gate", []string{"web-servise"}},
		"a broken manifest":   {[]string{"pattern.yaml", "control: team", "controll: team"}, "gate", []string{"pattern.yaml:", "control"}},
		"an unknown argument": {[]string{"main.tf", "input =", "inputt ="}, "validate", []string{"main.tf:", "inputt"}},
		"a test that fails":   {[]string{"tests/x.tftest.hcl", "", "run \"x\" {\n  command = plan\n  variables { artifact = \"a\" }\n  assert {\n    condition     = var.instances == 77\n    error_message = \"not 77\"\n  }\n}\n"}, "test", []string{"1 of 1 test runs"}},
		"an unknown variable": {[]string{"pattern.yaml", "    vpc_id:", "    vcp_id:"}, "interface", []string{"vcp_id"}},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := propose(p, "bad-"+strings.ReplaceAll(name, " ", "-"), "Try", tt.edits...)
			c = p.Reaches(c.ID, change.Failed)
			has(t, c.Why, append(tt.says, "the check "+tt.check+" failed")...)
			if k := p.Checks(c.ID)[tt.check]; k.State != change.CheckFailed || k.Log == "" {
				t.Errorf("the check is %+v", k)
			}
		})
	}
}

func TestNarrowerBoundsListEveryInstanceThatFallsOutside(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	c, _ := propose(p, "narrow", "Only 16", "pattern.yaml", `enum: ["15", "16"]`, `enum: ["16"]`, "main.tf", `default = "15"`, `default = "16"`)
	p.Reaches(c.ID, change.Review)
	found := certification(p, c.ID)
	if found.Bump != "major" || found.Version != "2.0.0" {
		t.Errorf("%s %s %v", found.Bump, found.Version, found.Reasons)
	}
	outside := map[string]bool{}
	for _, e := range found.Instances {
		outside[e.Environment] = e.Breaking
		if e.Environment == "prod" {
			has(t, strings.Join(e.OutOfBounds, " "), "db_version", `"15"`, "allowed 16")
		}
	}
	if !outside["prod"] || outside["staging"] {
		t.Errorf("outside: %v", outside)
	}
	has(t, p.Checks(c.ID)["effect"].Summary, "1 of 2 live instances would break")
}

func TestWhatAPlanWouldDestroyIsShownAndBound(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	p.PlanInstance = func(i app.Instance, desired app.Desired) (change.Planned, error) {
		if i.Environment == "staging" {
			return change.Planned{}, fault.New(fault.Invalid, "plan.failed", "The engine says no.")
		}
		return change.Planned{Summary: "1 to replace", Digest: "sha256:" + desired.Digest, Destructive: []string{"flywheel_volume.data"}}, nil
	}
	c := addSearch(p, "search")
	for _, e := range certification(p, c.ID).Instances {
		if !e.Breaking || e.Environment == "staging" && e.Error == "" || e.Environment == "prod" && len(e.Destructive) != 1 {
			t.Errorf("%+v", e)
		}
	}
}

func TestTwoPatternChangesRaceAndTheSecondIsDecidedAnew(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	first := addSearch(p, "one")
	second, _ := propose(p, "two", "Explain", "README.md", "", "More words.\n")
	p.Reaches(second.ID, change.Review)
	approve(p, first.ID, "sam", "otto")
	approve(p, second.ID, "sam", "otto")
	if found := certification(p, second.ID); found.Version != "1.0.1" {
		t.Errorf("the second would be %s", found.Version)
	}
	before := certification(p, second.ID).Digest
	approve(p, first.ID, "dev")
	p.Reaches(first.ID, change.Merged)
	for p.Get(second.ID).Main != p.Get(first.ID).Merged {
		p.Reaches(second.ID, change.Review, change.Checking)
	}
	p.Reaches(second.ID, change.Review)
	_, err := p.Certify.Approve(p.As("dev"), second.ID, certify.Vote{Discipline: "development", Digest: before})
	refused(t, err, "approval.not_what_was_shown")
	if found := certification(p, second.ID); found.Version != "1.1.1" || len(found.Approvals) != 0 {
		t.Errorf("the second is now %+v", found)
	}
	approve(p, second.ID, "dev", "sam", "otto")
	p.Reaches(second.ID, change.Merged)
	if got := strings.Join(versions(p), ", "); got != "1.0.0 certified, 1.1.0 certified, 1.1.1 certified" {
		t.Errorf("versions %s", got)
	}
}

// lastApproval has dev approve what otto has approved, without the publication that this would begin.
func lastApproval(tx *db.Tx, id string) error {
	_, err := tx.Exec(`insert into approval (change, revision, discipline, person, name, decision, reason, digest, at)
		select a.change, a.revision, 'development', p.id, p.name, a.decision, a.reason, a.digest, a.at from approval a, person p
		where a.change = $1 and a.name = 'otto' and p.name = 'dev'`, id)
	return err
}

func TestWhatIsPushedWhileAVersionIsPublishedIsTheNextChange(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	c := addSearch(p, "search")
	approve(p, c.ID, "sam", "otto")
	system := account.System(t.Context(), "test")
	// As if the process had died just after the last approval.
	if err := p.DB.Write(system, func(tx *db.Tx) error {
		now, err := change.Take(tx, c.ID)
		if err != nil {
			return err
		}
		if err := lastApproval(tx, c.ID); err != nil {
			return err
		}
		now.State = change.Merging
		return change.Save(tx, now)
	}); err != nil {
		t.Fatal(err)
	}
	_, err := p.Changes.Close(p.As("dora"), c.ID, "")
	refused(t, err, "change.not_open")
	next, _ := p.Push("dora", webService, "search", "Explain", map[string]string{"README.md": "# More\n"})
	if next.ID == c.ID {
		t.Fatal("the push changed what is being published")
	}
	// The sweeper publishes what was approved, and the next change is certified on top of it.
	if err := p.Changes.Sweep(system, false); err != nil {
		t.Fatal(err)
	}
	merged := p.Reaches(c.ID, change.Merged)
	for p.Get(next.ID).Main != merged.Merged {
		p.Reaches(next.ID, change.Review, change.Checking)
	}
	p.Reaches(next.ID, change.Review)
	if found := certification(p, next.ID); found.Version != "1.1.1" {
		t.Errorf("the next is %s", found.Version)
	}
}

func TestPublishingTwiceGivesOneVersion(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	c := addSearch(p, "search")
	found := certification(p, c.ID)
	main, err := p.Git.Resolve(t.Context(), webService, "refs/heads/main")
	if err != nil {
		t.Fatal(err)
	}
	// As if the process had died after the merge and after the version was stored, before either was noted.
	merged, err := p.Changes.MergeToMain(t.Context(), p.Get(c.ID))
	if err != nil || merged == "" || merged == main {
		t.Fatalf("%q, %v", merged, err)
	}
	dir := t.TempDir()
	if err := p.Git.Export(t.Context(), webService, merged, dir); err != nil {
		t.Fatal(err)
	}
	stored, err := p.Patterns.Add(p.As("root"), "web-service", found.Version, dir, merged)
	if err != nil || stored.State != pattern.InReview {
		t.Fatalf("%+v, %v", stored, err)
	}
	approve(p, c.ID, "sam", "otto", "dev")
	c = p.Reaches(c.ID, change.Merged)
	if c.Merged != merged {
		t.Errorf("merged as %s and as %s", merged, c.Merged)
	}
	if got := strings.Join(versions(p), ", "); got != "1.0.0 certified, 1.1.0 certified" {
		t.Errorf("versions %s", got)
	}
}

func TestTwoLastApprovalsAtTheSameTimePublish(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	c := addSearch(p, "search")
	digest := certification(p, c.ID).Digest
	people := map[string]string{"sam": "security", "sue": "security", "otto": "operations", "dev": "development"}
	errs := make(chan error, len(people))
	for who, discipline := range people {
		go func() {
			_, err := p.Certify.Approve(p.As(who), c.ID, certify.Vote{Discipline: discipline, Digest: digest})
			errs <- err
		}()
	}
	late := 0 // the second approval of security comes when nothing is to be decided any more, or in time
	for range people {
		if err := <-errs; fault.Is(err, "approval.not_now") {
			late++
		} else if err != nil {
			t.Error(err)
		}
	}
	if late > 1 {
		t.Errorf("%d of %d people were too late, and the pattern needs three", late, len(people))
	}
	p.Reaches(c.ID, change.Merged)
}

func TestASkeletonIsBuiltAndTestedBeforeAnybodyDecides(t *testing.T) {
	p := certifying(t)
	sick, _ := propose(p, "sick", "Begin with a test that fails", "skeleton/src/main.txt", "hello", "FAILS")
	sick = p.Reaches(sick.ID, change.Failed)
	has(t, sick.Why, "the check skeleton failed", "grep -r FAILS src")
	has(t, sick.Remedy, "log")

	empty, _ := propose(p, "empty", "Begin with nothing to run", "skeleton/flywheel.yaml", "artifact: src", "artifact: dist")
	empty = p.Reaches(empty.ID, change.Failed)
	has(t, empty.Why, "the check skeleton failed", "left nothing")

	wrong, _ := propose(p, "wrong", "Begin with a file nobody can read", "skeleton/flywheel.yaml", "kind: App", "kind: Apple")
	wrong = p.Reaches(wrong.ID, change.Failed)
	has(t, wrong.Why, "the check skeleton failed", "skeleton/flywheel.yaml")
}

func TestAnAppBeginsWithWhatItsCertifiedSkeletonHasBuilt(t *testing.T) {
	p := certifying(t)
	// The command finds in its cache what an earlier build left there, and says so with the artifact.
	command := `command: "ls $XDG_CACHE_HOME >src/found; echo x >$XDG_CACHE_HOME/of-the-skeleton"`
	other, _ := propose(p, "other", "Try another", "skeleton/flywheel.yaml", `command: "true"`, strings.ReplaceAll(command, "of-the-skeleton", "of-another"))
	p.Reaches(other.ID, change.Review) // and never published
	c, _ := propose(p, "warm", "Build with a cache", "skeleton/flywheel.yaml", `command: "true"`, command)
	p.Reaches(c.ID, change.Review)
	approve(p, c.ID, "sam", "otto", "dev")
	p.Reaches(c.ID, change.Merged)

	_, id, err := p.Apps.Create(p.As("dora"), app.Create{Name: "kiosk", Team: "shop", Pattern: "web-service"})
	if err != nil {
		t.Fatal(err)
	}
	p.Reaches(id, change.Merged)
	if got := p.Built("kiosk", "found"); got != "of-the-skeleton\n" {
		t.Errorf("the first build found %q", got)
	}
}

func TestAChangeAwaitsTheDisciplinesThatMayStillDecide(t *testing.T) {
	p := certifying(t)
	c := addSearch(p, "search")
	awaits := func(name string) string {
		got, err := p.Certify.Awaits(p.As(name), p.Get(c.ID))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(got, " ")
	}
	if got := awaits("sam") + ", " + awaits("otto") + ", " + awaits("dora"); got != "security, operations, " {
		t.Error(got)
	}
	approve(p, c.ID, "sam")
	if got := awaits("sam") + ", " + awaits("otto"); got != ", operations" {
		t.Error(got)
	}
}

func TestTextThatHidesSomethingIsRefusedWhereItIs(t *testing.T) {
	p := certifying(t)
	for i, c := range []struct{ file, old, new, at string }{
		{"main.tf", "", "# \x00\n", "main.tf:"},
		{"main.tf", "", "# } \u202e { x\n", "main.tf:"},
		{"README.md", "", "run this\u200b\n", "README.md:2:9"},
		{"pattern.yaml", "Web service", "Web\u2066 service", "pattern.yaml:"},
		{"skeleton/flywheel.yaml", "", "# \x1b[2J\n", "skeleton/flywheel.yaml:"},
	} {
		proposed, _ := propose(p, fmt.Sprint("hidden-", i), "Hide", c.file, c.old, c.new)
		failed := p.Reaches(proposed.ID, change.Failed)
		has(t, failed.Why, c.at, "U+")
		if failed.Code != "gate.hidden_text" {
			t.Errorf("%s fails with %s: %s", c.file, failed.Code, failed.Why)
		}
	}
}

func TestWhatIsNotShownWholeIsOpenedBeforeItIsApproved(t *testing.T) {
	p := certifying(t)
	big := "# " + strings.Repeat("0123456789", 30_000) + "\n"
	c, _ := propose(p, "big", "Add much", "modules/much/main.tf", "", big)
	c = p.Reaches(c.ID, change.Review)
	digest := certification(p, c.ID).Digest
	_, err := p.Certify.Approve(p.As("sam"), c.ID, certify.Vote{Discipline: "security", Digest: digest})
	refused(t, err, "approval.not_opened")
	has(t, fmt.Sprint(err), "modules/much/main.tf", "flywheel change diff "+c.ID+" --file")
	var whole strings.Builder
	if err := p.Changes.FileDiff(p.As("sam"), c.ID, "modules/much/main.tf", &whole); err != nil || !strings.Contains(whole.String(), big[:len(big)-1]) {
		t.Fatalf("%d bytes, %v", whole.Len(), err)
	}
	approve(p, c.ID, "sam")
	_, err = p.Certify.Approve(p.As("otto"), c.ID, certify.Vote{Discipline: "operations", Digest: digest})
	refused(t, err, "approval.not_opened") // what sam opened otto has not seen
	if err := p.Changes.FileDiff(p.As("otto"), c.ID, "main.tf", io.Discard); fault.From(err).Kind != fault.NotFound {
		t.Errorf("a file that is not in the diff: %v", err)
	}

	again, _ := propose(p, "big", "Add more", "modules/much/main.tf", "", big+"# more\n")
	again = p.Reaches(again.ID, change.Review)
	_, err = p.Certify.Approve(p.As("sam"), again.ID, certify.Vote{Discipline: "security", Digest: certification(p, again.ID).Digest})
	refused(t, err, "approval.not_opened") // the file holds something else now
}

func TestTheDiffIsWhatTheMergeDoesToMain(t *testing.T) {
	p := certifying(t)
	ctx := t.Context()
	base := p.Get(addSearch(p, "first").ID)
	head := must(p.Git.CommitFiles(p.As("dora"), webService, "guard", base.Main, map[string][]byte{"guard.tf": []byte("# guards\n")}, "Guard", git.Platform))
	main := must(p.Git.CommitMerge(ctx, webService, base.Main, head, "Guard", git.Platform))
	// A merge of main's two parents that drops what one of them brought: against that parent nothing differs.
	dir := filepath.Join(p.Git.Root, "patterns/web-service.git")
	cmd := exec.Command("git", "-C", dir, "commit-tree", base.Main+"^{tree}", "-p", base.Main, "-p", head, "-m", "Merge")
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=x", "GIT_AUTHOR_EMAIL=x@x", "GIT_COMMITTER_NAME=x", "GIT_COMMITTER_EMAIL=x@x")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	sly := strings.TrimSpace(string(out))
	if out, err := exec.Command("git", "-C", dir, "update-ref", "refs/heads/sly", sly).CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	tree, conflicts, err := p.Git.MergeTree(ctx, webService, main, sly)
	if err != nil || len(conflicts) > 0 {
		t.Fatal(conflicts, err)
	}
	entries := must(p.Git.ListTree(ctx, webService, tree))
	gone := !slices.ContainsFunc(entries, func(e git.Entry) bool { return e.Path == "guard.tf" })
	c, _ := p.Pushed("dora", webService, "sly", sly)
	files := must(p.Changes.Diff(p.As("root"), c.ID))
	shown := slices.ContainsFunc(files, func(f git.FileDiff) bool { return f.Path == "guard.tf" && f.Status == "deleted" })
	if gone != shown || !gone {
		t.Errorf("the merge takes guard.tf out: %v; the diff shows it: %v", gone, shown)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
