package change_test

import (
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/certify/certifytest"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
)

func more(n string) map[string]string {
	return map[string]string{"flywheel.yaml": appFile("~1.0", strings.ReplaceAll(certifytest.Environments, "instances: 2", "instances: "+n))}
}

func refused(t *testing.T, err error, code string) {
	t.Helper()
	if !fault.Is(err, code) {
		t.Errorf("got %v, want %s", err, code)
	}
}

func TestRemovingAnEnvironmentIsHeldForAnOperatorWhoReleasesWhatWasShown(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	plan := "sha256:one"
	p.Plan = func(_ change.Change, environment string, desired app.Desired) (change.Planned, error) {
		if !desired.IsZero() {
			t.Errorf("%s is planned as %+v", environment, desired)
		}
		return change.Planned{Summary: "3 to destroy", Digest: plan, Destructive: []string{"flywheel_volume.data"}}, nil
	}
	c, err := p.Changes.Remove(p.As("olga"), "storefront", "prod")
	if err != nil {
		t.Fatal(err)
	}
	c = p.Reaches(c.ID, change.Held)
	has(t, c.Why, "prod is removed", "flywheel_volume.data")
	if p.Checks(c.ID)["plan: prod"].State != change.CheckHeld {
		t.Errorf("checks %v", p.Checks(c.ID))
	}
	_, err = p.Changes.ReleaseHeld(p.As("dora"), c.ID, c.HeldDigest(), "")
	refused(t, err, "permission.denied")
	_, err = p.Changes.ReleaseHeld(p.As("eve"), c.ID, c.HeldDigest(), "")
	refused(t, err, "change.not_found")
	_, err = p.Changes.ReleaseHeld(p.As("olga"), c.ID, c.HeldDigest(), "")
	refused(t, err, "release.own_change")
	_, err = p.Changes.ReleaseHeld(p.As("owen"), c.ID, "sha256:something else", "")
	refused(t, err, "change.plan_changed")
	rolled(t, p)

	// The plan changes after it was looked at: the release does not count for the new one.
	plan = "sha256:two"
	shown := c.HeldDigest()
	if c, err = p.Changes.ReleaseHeld(p.As("owen"), c.ID, shown, ""); err != nil || c.State != change.Held {
		t.Fatalf("the release answers %s, %v", c.State, err)
	}
	if c.HeldDigest() == shown {
		t.Error("another plan has the same digest")
	}
	rolled(t, p)
	if c, err = p.Changes.ReleaseHeld(p.As("owen"), c.ID, c.HeldDigest(), ""); err != nil || c.State != change.Merged {
		t.Fatalf("the release answers %s, %v", c.State, err)
	}
	p.Reaches(c.ID, change.Merged)
	rolled(t, p, "prod  map[]")
	if p.Audited("change.release", "allowed") != 2 {
		t.Error("the releases are not in the audit log")
	}
}

func TestRemovingAnAppIsHeldToo(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	_, err := p.Changes.Remove(p.As("dora"), "storefront", "")
	refused(t, err, "permission.denied")
	c, err := p.Changes.Remove(p.As("olga"), "storefront", "")
	if err != nil {
		t.Fatal(err)
	}
	c = p.Reaches(c.ID, change.Held)
	has(t, c.Why, "staging is removed", "prod is removed")
	if _, err := p.Changes.ReleaseHeld(p.As("olga"), c.ID, c.HeldDigest(), ""); err != nil {
		t.Fatal(err)
	}
	p.Reaches(c.ID, change.Merged)
	rolled(t, p, "staging  map[]", "prod  map[]")
}

func TestAMergeByHandWaitsForAPerson(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	c, _ := p.Shop("careful", "Carefully", map[string]string{"src/main.txt": "careful\n", "flywheel.yaml": appFile("~1.0", "  merge: manual\n"+certifytest.Environments)})
	c = p.Reaches(c.ID, change.Ready)
	has(t, c.Why+c.Remedy, "merge: manual", "flywheel change merge "+c.ID)
	_, err := p.Changes.Merge(p.As("eve"), c.ID)
	refused(t, err, "change.not_found")
	if c, err = p.Changes.Merge(p.As("dan"), c.ID); err != nil || c.State != change.Merged {
		t.Fatalf("the merge answers %s, %v", c.State, err)
	}
	rolled(t, p, "staging", "prod")
	_, err = p.Changes.Merge(p.As("dan"), c.ID)
	refused(t, err, "change.not_ready")
}

func TestMainMovesUnderAnOpenChangeWhichIsLanedAnew(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	manual := "  merge: manual\n" + certifytest.Environments
	c, _ := p.Shop("wait", "More instances", map[string]string{"flywheel.yaml": appFile("~1.0", strings.ReplaceAll(manual, "instances: 2", "instances: 3"))})
	c = p.Reaches(c.ID, change.Ready)
	other, _ := p.Shop("code", "Other code", map[string]string{"src/main.txt": "other\n"})
	p.Reaches(other.ID, change.Merged)
	p.Rolled()
	for c.Main != p.Get(other.ID).Merged {
		c = p.Reaches(c.ID, change.Ready, change.Checking)
	}
	c = p.Reaches(c.ID, change.Ready)
	if strings.Contains(certifytest.Texts(c), "code differs") {
		t.Errorf("main's own code counts for the change: %s", certifytest.Texts(c))
	}
	own := func() {
		t.Helper()
		if files, err := p.Changes.Diff(p.As("dora"), c.ID); err != nil || len(files) != 1 || files[0].Path != "flywheel.yaml" {
			t.Errorf("it is shown to alter %+v, %v", files, err)
		}
	}
	own()
	// The same lines are changed on main: now it conflicts.
	third, _ := p.Shop("third", "Five", map[string]string{"flywheel.yaml": appFile("~1.0", strings.ReplaceAll(certifytest.Environments, "instances: 2", "instances: 5"))})
	p.Reaches(third.ID, change.Merged)
	c = p.Reaches(c.ID, change.Blocked)
	has(t, c.Why+c.Remedy, "conflicts with main in flywheel.yaml", "resolve the conflict")
	own()
}

func TestChangesThatRaceAllGetMergedAndNoneIsLost(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	ids := []string{}
	for _, name := range []string{"a", "b", "c", "d"} {
		head := p.Commit("dora", shop, name, "Add "+name, map[string][]byte{"src/" + name: []byte(name)})
		c, _ := p.Pushed("dora", shop, name, head)
		ids = append(ids, c.ID)
	}
	for _, id := range ids {
		p.Reaches(id, change.Merged)
	}
	tree, err := p.Git.ListTree(t.Context(), shop, "refs/heads/main")
	if err != nil || len(tree) != 6+1 {
		t.Errorf("main has %v, %v", tree, err)
	}
	// What is recorded about main is what main has: nothing that runs differs for a change of no file.
	v := description(t, p)
	c, _ := p.Shop("nothing", "Say it in the README", map[string]string{"flywheel.yaml": appFile("~1.0", certifytest.Environments) + "# a comment\n"})
	c = p.Reaches(c.ID, change.Merged)
	has(t, certifytest.Texts(c), "merging deploys nothing")
	if now := description(t, p); now.Source != v.Source {
		t.Errorf("a comment changed the source from %s to %s", v.Source, now.Source)
	}
}

func description(t *testing.T, p *certifytest.Platform) (d app.Description) {
	t.Helper()
	err := p.DB.Read(t.Context(), func(tx *db.Tx) error {
		a, err := app.Find(tx, "storefront")
		d = a.Description
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestABranchThatMovesTakesItsChangeWithIt(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	manual := appFile("~1.0", "  merge: manual\n"+certifytest.Environments)
	c, _ := p.Shop("moves", "First\n\nStory: STY-1", map[string]string{"src/one": "1", "flywheel.yaml": manual})
	p.Reaches(c.ID, change.Ready)

	// A force push replaces the commits, the title and the trailers.
	head := p.Commit("dan", shop, "elsewhere", "Second\n\nStory: STY-2", map[string][]byte{"src/two": []byte("2"), "flywheel.yaml": []byte(manual)})
	moved, _ := p.Pushed("dan", shop, "moves", head)
	if moved.ID != c.ID || moved.Title != "Second" || moved.Story != "STY-2" || len(moved.Authors) != 2 {
		t.Errorf("%+v", moved)
	}
	p.Reaches(c.ID, change.Ready)

	// A force push back to main leaves nothing to propose.
	main, err := p.Git.Resolve(t.Context(), shop, "refs/heads/main")
	if err != nil {
		t.Fatal(err)
	}
	_, said := p.Pushed("dora", shop, "moves", main)
	has(t, said, "no commits that main lacks", "is closed")
	if c = p.Get(c.ID); c.State != change.Closed {
		t.Errorf("it is %s", c.State)
	}
	// Its checks are still there to be read.
	if p.Checks(c.ID)["lane"].State != change.CheckPassed {
		t.Errorf("checks %v", p.Checks(c.ID))
	}
	if _, said = p.Pushed("dora", shop, "nothing", main); said != "" {
		t.Errorf("a branch without commits became %s", said) // what the host of git says is enough
	}

	// A deleted branch closes its change.
	d, _ := p.Shop("deleted", "Third", map[string]string{"src/three": "3", "flywheel.yaml": manual})
	p.Reaches(d.ID, change.Ready)
	_, said = p.Pushed("dora", shop, "deleted", "")
	has(t, said, d.ID+" is closed", "deleted")
	if p.Get(d.ID).State != change.Closed || p.Audited("change.close", "allowed") != 2 {
		t.Error("a deleted branch left its change open, or nobody wrote it down")
	}
	rolled(t, p)
}

func TestARangeKeepsItsVersionUntilTheVariableLaneMovesIt(t *testing.T) {
	t.Parallel()
	p := certifytest.New(t)
	p.Certified("1.4.0")
	p.Storefront("~1.4")
	p.Certified("1.4.1", "README.md", "", "Better.\n")
	p.Certified("1.5.0", "README.md", "", "Best.\n")
	c, _ := p.Shop("code", "Only code", map[string]string{"src/main.txt": "new\n"})
	p.Reaches(c.ID, change.Merged)
	rolled(t, p, "staging 1.4.0", "prod 1.4.0")

	// A range that comes to mean another version moves the pin, in the variable lane.
	c, said := p.Shop("move", "Move", map[string]string{"flywheel.yaml": appFile("~1.4.1", certifytest.Environments)})
	has(t, said, "Lane: variable", "web-service 1.4.0 → 1.4.1")
	p.Reaches(c.ID, change.Merged)
	rolled(t, p, "staging 1.4.1", "prod 1.4.1")

	// An exact version moves within what the range before allowed too.
	c, err := p.Changes.Create(p.As("dora"), "storefront", change.Form{Version: "1.5.0", Title: "Take 1.5"})
	if err != nil {
		t.Fatal(err)
	}
	p.Reaches(c.ID, change.Merged)
	rolled(t, p, "staging 1.5.0", "prod 1.5.0")

	// A version with the content of an older one is another version nonetheless.
	p.Certified("1.6.0")
	c, _ = p.Shop("more", "More code", map[string]string{"src/main.txt": "newer\n"})
	p.Reaches(c.ID, change.Merged)
	rolled(t, p, "staging 1.5.0", "prod 1.5.0")
}

func TestAFormShowsItsLaneBeforeItIsSent(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	preview, err := p.Changes.Preview(p.As("dora"), "storefront", change.Form{Environments: map[string]manifest.Values{"prod": {"instances": 3.0}}})
	if err != nil || preview.Lane != change.Variable || preview.Refused != "" {
		t.Errorf("%+v, %v", preview, err)
	}
	preview, err = p.Changes.Preview(p.As("dora"), "storefront", change.Form{Environments: map[string]manifest.Values{"prod": {"instances": 30.0}}})
	if err != nil || preview.Refused == "" || preview.Remedy == "" {
		t.Errorf("%+v, %v", preview, err)
	}
	c, err := p.Changes.Create(p.As("dora"), "storefront", change.Form{Environments: map[string]manifest.Values{"prod": {"instances": 3.0}}, Story: "STY-9"})
	if err != nil {
		t.Fatal(err)
	}
	if c = p.Reaches(c.ID, change.Merged); c.Story != "STY-9" {
		t.Errorf("%+v", c)
	}
	rolled(t, p, "prod 1.0.0 map[db_version:15 instances:3]")
	_, err = p.Changes.Create(p.As("dora"), "storefront", change.Form{Environments: map[string]manifest.Values{"prod": {"instances": 3.0}}})
	refused(t, err, "change.nothing_changes")
	// Nobody has the branch of a form at hand to resolve a conflict in.
	p.Plan = func(change.Change, string, app.Desired) (change.Planned, error) {
		return change.Planned{Summary: "1 to replace", Digest: "sha256:held", Destructive: []string{"flywheel_volume.data"}}, nil
	}
	held, err := p.Changes.Create(p.As("dora"), "storefront", change.Form{Environments: map[string]manifest.Values{"prod": {"instances": 4.0}}})
	if err != nil {
		t.Fatal(err)
	}
	p.Reaches(held.ID, change.Held)
	p.Plan = nil
	moved, _ := p.Shop("five", "Five", more("5"))
	p.Reaches(moved.ID, change.Merged)
	held = p.Reaches(held.ID, change.Blocked)
	has(t, held.Remedy, "flywheel change close "+held.ID)
	_, err = p.Changes.Create(p.As("eve"), "storefront", change.Form{Version: "1.0.0"})
	refused(t, err, "app.not_found")
}

func TestAChangeThatFailedForACauseElsewhereIsCheckedAgainWithoutAPush(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	away := true
	p.Plan = func(change.Change, string, app.Desired) (change.Planned, error) {
		if away {
			return change.Planned{}, fault.New(fault.Conflict, "secret.missing", "A secret is not set.")
		}
		return change.Planned{Summary: "1 to update"}, nil
	}
	c, _ := p.Shop("three", "Run three", map[string]string{"flywheel.yaml": strings.ReplaceAll(appFile("~1.0", certifytest.Environments), "instances: 2", "instances: 3")})
	c = p.Reaches(c.ID, change.Failed)
	has(t, c.Remedy, "flywheel change recheck "+c.ID)
	_, err := p.Changes.Recheck(p.As("sam"), c.ID)
	refused(t, err, "permission.denied")
	if c, err = p.Changes.Recheck(p.As("dora"), c.ID); err != nil || c.State != change.Failed {
		t.Errorf("it is %s, %v", c.State, err)
	}
	away = false
	if _, err := p.Changes.Recheck(p.As("dora"), c.ID); err != nil {
		t.Fatal(err)
	}
	p.Reaches(c.ID, change.Merged)
	_, err = p.Changes.Recheck(p.As("dora"), c.ID)
	refused(t, err, "change.not_failed")
	if p.Audited("change.recheck", "allowed") != 2 {
		t.Error("who checked it again is not in the audit log")
	}
}

func TestAnOuterResultCountsForTheHeadItIsAbout(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	c, _ := p.Shop("ci", "Checked outside", map[string]string{"src/x": "x", "flywheel.yaml": appFile("~1.0", "  merge: manual\n"+certifytest.Environments)})
	c = p.Reaches(c.ID, change.Ready)
	post := func(r change.Result) error { _, err := p.Changes.PostResult(p.As("dora-ci"), c.ID, r); return err }
	refused(t, post(change.Result{Head: "0000", Name: "load", Passed: true}), "change.result_stale")
	refused(t, post(change.Result{Head: c.Head, Name: "tests", Passed: true}), "change.result_name")
	if err := post(change.Result{Head: c.Head, Name: "load", Passed: false, Summary: "too slow\u202e"}); err != nil {
		t.Fatal(err)
	}
	c = p.Reaches(c.ID, change.Failed)
	has(t, c.Why, "load", "too slow")
	_, err := p.Changes.Recheck(p.As("dora"), c.ID)
	refused(t, err, "change.outer_failed") // or it would pass without that check
	// With two that failed it waits for both.
	if err := post(change.Result{Head: c.Head, Name: "style", Passed: false, Summary: "tabs"}); err != nil {
		t.Fatal(err)
	}
	if err := post(change.Result{Head: c.Head, Name: "style", Passed: true}); err != nil {
		t.Fatal(err)
	}
	if c = p.Get(c.ID); c.State != change.Failed || c.Code != "change.outer_failed" || c.Why != "the outer check load failed: too slow⟨U+202E⟩" {
		t.Errorf("%s %s: %s", c.State, c.Code, c.Why)
	}
	if checks := p.Checks(c.ID); checks["lane"].State != change.CheckPassed || checks["load"].State != change.CheckFailed {
		t.Errorf("checks %v", checks)
	}
	if err := post(change.Result{Head: c.Head, Name: "load", Passed: true, Summary: "fast"}); err != nil {
		t.Fatal(err)
	}
	c = p.Reaches(c.ID, change.Ready)
	if _, err := p.Changes.Merge(p.As("dora"), c.ID); err != nil {
		t.Fatal(err)
	}
	p.Reaches(c.ID, change.Merged)
	if p.Checks(c.ID)["load"].State != change.CheckPassed {
		t.Errorf("the outer result is gone: %v", p.Checks(c.ID))
	}
	refused(t, post(change.Result{Head: c.Head, Name: "load", Passed: true}), "change.not_open")
}

func TestAnOuterCIBuildsInsteadOfThePlatform(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	yaml := strings.ReplaceAll(appFile("~1.0", certifytest.Environments), `build: {command: "true", artifact: src}`, "build: {outer: ci}")
	both, _ := p.Shop("both", "Build here and there", map[string]string{"flywheel.yaml": yaml})
	has(t, p.Reaches(both.ID, change.Refused).Why, "test.command")
	yaml = strings.ReplaceAll(yaml, "  test: {command: \"! grep -r FAILS src\"}\n", "")
	c, _ := p.Shop("outside", "Build outside", map[string]string{"flywheel.yaml": yaml, "src/x": "x"})
	c = p.Reaches(c.ID, change.Waiting)
	has(t, c.Code, "change.outer_awaited")
	has(t, c.Why+c.Remedy, "outer check ci", "flywheel change result "+c.ID+" --name ci --head "+c.Head)

	post := func(c change.Change, r change.Result) error {
		r.Head, r.Name = c.Head, "ci"
		_, err := p.Changes.PostResult(p.As("dora-ci"), c.ID, r)
		return err
	}
	refused(t, post(c, change.Result{Passed: true, Artifact: "sha256:0000"}), "artifact.not_found")
	if err := post(c, change.Result{Summary: "it does not compile"}); err != nil {
		t.Fatal(err)
	}
	has(t, p.Reaches(c.ID, change.Failed).Why, "ci", "it does not compile")
	if err := post(c, change.Result{Passed: true}); err != nil { // without what it built
		t.Fatal(err)
	}
	c = p.Reaches(c.ID, change.Waiting)
	digest := p.Store("", "file", "built outside\n")
	refused(t, post(c, change.Result{Passed: true, Artifact: digest}), "artifact.not_found") // it is for patterns
	if again := p.Store("storefront", "file", "built outside\n"); again != digest {
		t.Errorf("%s is now %s", digest, again)
	}
	if err := post(c, change.Result{Passed: true, Artifact: digest}); err != nil {
		t.Fatal(err)
	}
	c = p.Reaches(c.ID, change.Held)
	has(t, c.Why, "the outer CI ci builds and tests it from now on", "an owner of the team releases that")
	if _, err := p.Changes.ReleaseHeld(p.As("owen"), c.ID, c.HeldDigest(), ""); err != nil {
		t.Fatal(err)
	}
	p.Reaches(c.ID, change.Merged)
	if got := p.Built("storefront", "file"); got != "built outside\n" {
		t.Errorf("what runs is %q", got)
	}

	// A change of variables takes the artifact that its source has already.
	p.Rolled()
	more, _ := p.Shop("more", "Run three", map[string]string{"flywheel.yaml": strings.ReplaceAll(yaml, "instances: 2", "instances: 3")})
	p.Reaches(more.ID, change.Merged)
	rolled(t, p, "prod 1.0.0 map[db_version:15 instances:3]")
}

func TestARevertIsOpenedOnceAndAPersonDecides(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	c, _ := p.Shop("bad", "Break prod", map[string]string{"src/main.txt": "bad\n"})
	c = p.Reaches(c.ID, change.Merged)
	ctx := account.System(t.Context(), "deploy")
	for range 2 {
		if err := p.Changes.OpenRevert(ctx, c.ID); err != nil {
			t.Fatal(err)
		}
	}
	c = p.Get(c.ID)
	r := p.Reaches(c.Revert, change.Ready)
	if r.Reverts != c.ID || r.Branch != "revert-"+strings.TrimPrefix(c.ID, "chg_") || !strings.HasPrefix(r.Title, "Revert") {
		t.Errorf("%+v", r)
	}
	mends := func(id string) (m bool) {
		err := p.DB.Read(t.Context(), func(tx *db.Tx) (err error) { m, err = change.Mends(tx, id, c.ID); return err })
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if !mends(r.ID) {
		t.Error("the revert does not mend")
	}
	// Anybody may name a branch like a revert; it takes nothing back and merges by itself.
	n, _ := p.Shop("revert-the-look", "Another look", map[string]string{"src/look": "x"})
	if n = p.Reaches(n.ID, change.Merged); n.Reverts != "" || mends(n.ID) {
		t.Errorf("%+v", n)
	}
	// A correction declares itself, by trailer or by a person, and a later push does not take that back.
	f, _ := p.Shop("fix", "Mend it\n\nFixes: "+c.ID, map[string]string{"src/main.txt": "good\n", "flywheel.yaml": appFile("~1.0", "  merge: manual\n"+certifytest.Environments)})
	if f = p.Reaches(f.ID, change.Ready); f.Fix != c.ID || !mends(f.ID) {
		t.Errorf("%+v", f)
	}
	g, _ := p.Shop("fix2", "Mend it otherwise", map[string]string{"src/other": "x", "flywheel.yaml": appFile("~1.0", "  merge: manual\n"+certifytest.Environments)})
	g = p.Reaches(g.ID, change.Ready)
	_, err := p.Changes.DeclareFix(p.As("dora"), g.ID, "chg_nothing")
	refused(t, err, "change.fix_unknown")
	if _, err := p.Changes.DeclareFix(p.As("dora"), g.ID, c.ID); err != nil {
		t.Fatal(err)
	}
	g, _ = p.Shop("fix2", "Tidy", map[string]string{"src/other": "y"})
	if !mends(g.ID) {
		t.Error("a push took the declaration back")
	}
}

func TestWhatMayBeSeenIsListedPageByPage(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	c, _ := p.Shop("one", "One", map[string]string{"src/one": "1"})
	p.Reaches(c.ID, change.Merged)
	for who, want := range map[string]int{"dora": 2, "sam": 2, "eve": 0} {
		found, err := p.Changes.List(p.As(who), change.Filter{Subject: "storefront", Limit: 10})
		if err != nil || len(found) != want {
			t.Errorf("%s sees %d changes, %v", who, len(found), err)
		}
	}
	first, err := p.Changes.List(p.As("dora"), change.Filter{Limit: 1})
	if err != nil || len(first) != 1 || first[0].ID != c.ID {
		t.Fatalf("%v, %v", first, err)
	}
	if _, err := p.Changes.List(t.Context(), change.Filter{Limit: 1}); err == nil {
		t.Error("nobody sees a list")
	}
	if _, _, err := p.Changes.Get(p.As("eve"), c.ID); !fault.Is(err, "change.not_found") {
		t.Errorf("eve gets %v", err)
	}
}

func TestWhatHappenedWhileNobodyLookedIsNoticed(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	system := account.System(t.Context(), "change")
	gone, _ := p.Shop("gone", "Gone", map[string]string{"src/gone": "x", "flywheel.yaml": appFile("~1.0", "  merge: manual\n"+certifytest.Environments)})
	p.Reaches(gone.ID, change.Ready)
	p.Commit("dora", shop, "unseen", "Unseen", map[string][]byte{"src/unseen": []byte("x")})
	// As if the branch had been deleted while the server was away.
	if err := p.DB.Write(system, func(tx *db.Tx) error {
		_, err := tx.Exec(`update change set branch = 'no-more' where id = $1`, gone.ID)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := p.Changes.Sweep(system, true); err != nil {
		t.Fatal(err)
	}
	if s := p.Get(gone.ID).State; s != change.Closed {
		t.Errorf("the change without a branch is %s", s)
	}
	found, err := p.Changes.List(p.As("root"), change.Filter{Subject: "storefront", Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range found {
		if c.Branch == "unseen" {
			if c = p.Reaches(c.ID, change.Merged); !strings.Contains(strings.Join(c.Authors, " "), "usr_dora") {
				t.Errorf("its author is forgotten: %v", c.Authors)
			}
			return
		}
	}
	t.Error("the branch that nobody saw did not become a change")
}
