package change_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/certify/certifytest"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/git"
)

// destroying lets every plan of an environment lose a volume.
func destroying(p *certifytest.Platform, environments ...string) {
	p.Plan = func(_ change.Change, environment string, _ app.Desired) (change.Planned, error) {
		for _, e := range environments {
			if e == environment {
				return change.Planned{Summary: "1 to replace", Digest: "sha256:plan", Destructive: []string{"flywheel_volume.data"}}, nil
			}
		}
		return change.Planned{Summary: "1 to update", Digest: "sha256:plan"}, nil
	}
}

// wrote makes people the authors of the pattern change that brought a version.
func wrote(p *certifytest.Platform, version string, people ...string) {
	p.T.Helper()
	c, _ := p.Push(people[0], git.Pattern("web-service"), "of-"+version, "Version "+version, map[string]string{"README.md": "# " + version + "\n"})
	write(p, func(tx *db.Tx) error {
		now, err := change.Take(tx, c.ID)
		if err != nil {
			return err
		}
		now.State, now.Why = change.Merged, "published"
		for _, name := range people[1:] {
			now.Authors = append(now.Authors, "usr_"+name)
		}
		if err := change.Save(tx, now); err != nil {
			return err
		}
		_, err = tx.Exec(`update pattern_version set change = $1 where version = $2`, c.ID, version)
		return err
	})
}

func write(p *certifytest.Platform, do func(tx *db.Tx) error) {
	p.T.Helper()
	if err := p.DB.Write(account.System(context.Background(), "test"), do); err != nil {
		p.T.Fatal(err)
	}
}

func TestAnAuthorOfWhatIsDestroyedInProductionDoesNotReleaseIt(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	p.Certified("1.0.1", "README.md", "", "Better.\n")
	p.Certified("1.0.2", "README.md", "", "Better still.\n")
	p.Certified("1.0.3", "README.md", "", "Best.\n")
	wrote(p, "1.0.1", "sam", "both")
	wrote(p, "1.0.3", "otto")
	for n, tt := range []struct {
		name     string
		who      string // pushes the change
		also     string // pushes to it as well
		version  string // that it moves to
		destroys string
		off      bool
		release  map[string]string // by whom, and the code of the refusal, in this order
		order    []string
	}{
		{name: "of the app change, as the opener", version: "~1.0", who: "owen", destroys: "prod", order: []string{"owen", "olga"}, release: map[string]string{"owen": "release.own_change"}},
		{name: "of the app change, as a later pusher", version: "~1.0", who: "dora", also: "olga", destroys: "prod", order: []string{"olga", "owen"}, release: map[string]string{"olga": "release.own_change"}},
		{name: "of a version that it passes", who: "dora", version: "1.0.2", destroys: "prod", order: []string{"both", "otto"}, release: map[string]string{"both": "release.own_change"}},
		{name: "outside of production", version: "1.0.2", who: "owen", destroys: "staging", order: []string{"owen"}},
		{name: "with the rule turned off", version: "1.0.2", who: "owen", destroys: "prod", off: true, order: []string{"owen"}},
		{name: "of the version that it moves to", who: "dora", version: "1.0.3", destroys: "prod", order: []string{"otto", "both"}, release: map[string]string{"otto": "release.own_change"}},
	} {
		destroying(p, tt.destroys)
		on := !tt.off
		if _, err := account.New(p.DB).EditSettings(p.As("root"), account.SettingsEdit{FourEyes: &on}); err != nil {
			t.Fatal(err)
		}
		branch := strings.NewReplacer(" ", "-", ",", "").Replace(tt.name)
		yaml := strings.NewReplacer("instances: 1", fmt.Sprint("instances: ", n+3), "instances: 2", fmt.Sprint("instances: ", n+3)).Replace(appFile(tt.version, certifytest.Environments))
		c, _ := p.Push(tt.who, git.App("storefront"), branch, tt.name, map[string]string{"flywheel.yaml": yaml, "src/n": tt.name})
		if tt.also != "" {
			c, _ = p.Push(tt.also, git.App("storefront"), branch, "More", map[string]string{"src/more": tt.name})
		}
		c = p.Reaches(c.ID, change.Held)
		for _, who := range tt.order {
			_, err := p.Changes.ReleaseHeld(p.As(who), c.ID, p.Get(c.ID).HeldDigest(), "storefront")
			if code := tt.release[who]; code != "" {
				refused(t, err, code)
				if s := p.Get(c.ID).State; s != change.Held {
					t.Fatalf("%s: after the refusal it is %s", tt.name, s)
				}
			} else if err != nil {
				t.Errorf("%s: %s cannot release it: %v", tt.name, who, err)
			}
		}
		p.Reaches(c.ID, change.Merged)
		write(p, func(tx *db.Tx) error { return change.MarkDeployed(tx, c) })
	}
	if p.Audited("settings.edit", "done") != 2 {
		t.Error("that the rule was turned off is not in the audit log")
	}
}

func TestTheOnlyActivePersonTypesTheNameToReleaseTheirOwn(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	destroying(p, "prod")
	c, _ := p.Push("root", git.App("storefront"), "own", "Mine", more("5"))
	c = p.Reaches(c.ID, change.Held)
	_, err := p.Changes.ReleaseHeld(p.As("root"), c.ID, c.HeldDigest(), "storefront")
	refused(t, err, "release.own_change")
	write(p, func(tx *db.Tx) error {
		_, err := tx.Exec(`update person set active = $1 where name <> 'root'`, false)
		return err
	})
	for _, typed := range []string{"", "yes", "Storefront", "storefront "} {
		_, err = p.Changes.ReleaseHeld(p.As("root"), c.ID, c.HeldDigest(), typed)
		refused(t, err, "release.confirm")
	}
	if _, err := p.Changes.ReleaseHeld(p.As("root"), c.ID, c.HeldDigest(), "storefront"); err != nil {
		t.Fatal(err)
	}
	p.Reaches(c.ID, change.Merged)
	var reason string
	write(p, func(tx *db.Tx) error {
		return tx.QueryRow(`select reason from audit where action = 'change.release' order by seq desc limit 1`).Scan(&reason)
	})
	has(t, reason, "the only active person", "typed the name storefront")
}

func TestTestsAreDroppedOnlyWithWhomThePatternNames(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	yaml := appFile("~1.0", certifytest.Environments)
	const tested = "  test: {command: \"! grep -r FAILS src\"}\n"
	for _, tt := range []struct{ name, test, says string }{
		{"gone", "", `spec.test.command is taken out`},
		{"nothing", "  test: {command: \"true\"}\n", `spec.test.command becomes "true"`},
		{"whatever comes", "  test: {command: \"! grep -r FAILS src || true\"}\n", "spec.test.command becomes"},
		{"strict at first sight", "  test: {command: \"! grep -r FAILS src && true || true\"}\n", "spec.test.command becomes"},
		{"another file", "  test: {command: \"! grep -r FAILS README.md\"}\n", "spec.test.command becomes"},
	} {
		c, _ := p.Shop("drop-"+strings.ReplaceAll(tt.name, " ", "-"), tt.name, map[string]string{"flywheel.yaml": strings.Replace(yaml, tested, tt.test, 1)})
		c = p.Reaches(c.ID, change.Held)
		has(t, c.Why, tt.says, "an owner of the team releases that")
		for who, code := range map[string]string{"dora": "permission.denied", "olga": "permission.denied", "otto": "permission.denied", "eve": "change.not_found"} {
			_, err := p.Changes.ReleaseHeld(p.As(who), c.ID, c.HeldDigest(), "")
			refused(t, err, code)
		}
		if c.Awaits(account.From(p.As("owen"))) != "release" || c.Awaits(account.From(p.As("olga"))) != "" {
			t.Errorf("%s: it waits for the wrong people", tt.name)
		}
		if _, err := p.Changes.Close(p.As("dora"), c.ID, ""); err != nil {
			t.Fatal(err)
		}
	}
	strict, _ := p.Shop("strict", "Test more", map[string]string{"flywheel.yaml": strings.Replace(yaml, tested, "  test: {command: \"! grep -r FAILS src && test -d src\"}\n", 1)})
	p.Reaches(strict.ID, change.Merged)

	// What the Center of Excellence says with the version counts, also where a change moves to a laxer one.
	p.Certified("1.1.0", "pattern.yaml", "  skeleton: skeleton\n", "  skeleton: skeleton\n  tests: {removal: coe}\n")
	p.Certified("1.2.0", "pattern.yaml", "  skeleton: skeleton\n", "  skeleton: skeleton\n  tests: {removal: free}\n")
	up, _ := p.Shop("up", "Move", map[string]string{"flywheel.yaml": strings.Replace(appFile("~1.1", certifytest.Environments), tested, "  test: {command: \"! grep -r FAILS src && test -d src\"}\n", 1)})
	p.Reaches(up.ID, change.Merged)
	lax := appFile("~1.2", certifytest.Environments)
	c, _ := p.Shop("lax", "Move and drop", map[string]string{"flywheel.yaml": strings.Replace(lax, tested, "", 1)})
	c = p.Reaches(c.ID, change.Held)
	_, err := p.Changes.ReleaseHeld(p.As("owen"), c.ID, c.HeldDigest(), "")
	refused(t, err, "permission.denied")
	if _, err := p.Changes.ReleaseHeld(p.As("sam"), c.ID, c.HeldDigest(), ""); err != nil {
		t.Fatal(err)
	}
	p.Reaches(c.ID, change.Merged)
	back, _ := p.Shop("back", "Test again", map[string]string{"flywheel.yaml": lax})
	p.Reaches(back.ID, change.Merged)
	free, _ := p.Shop("free", "Drop freely", map[string]string{"flywheel.yaml": strings.Replace(lax, tested, "", 1)})
	has(t, certifytest.Texts(p.Reaches(free.ID, change.Merged)), "spec.test.command is taken out")
}

func TestResultsComeOnlyFromATokenForThem(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	c, _ := p.Shop("ci", "Checked outside", map[string]string{"src/x": "x", "flywheel.yaml": appFile("~1.0", "  merge: manual\n"+certifytest.Environments)})
	c = p.Reaches(c.ID, change.Ready)
	token := func(system, app string, team string) context.Context {
		return account.With(t.Context(), account.Actor{ID: "usr_dora", Name: "dora", Service: true, System: system, App: app, Scopes: []account.Scope{account.ScopeChecks}, Teams: map[string]account.Role{team: account.Developer}})
	}
	for _, tt := range []struct {
		name, check, code string
		ctx               context.Context
	}{
		{"a developer in the browser", "load", "token.not_for_checks", p.As("dora")},
		{"an owner in the browser", "load", "token.not_for_checks", p.As("owen")},
		{"an admin", "load", "token.not_for_checks", p.As("root")},
		{"a service token that may write", "load", "token.not_for_checks", p.As("dora-token")},
		{"a token for another app", "load", "token.other_app", token("ci", "kiosk", "shop")},
		{"a token of another team", "load", "change.not_found", token("ci", "", "other")},
		{"the token", "load", "", token("ci", "storefront", "shop")},
		{"another system about its check", "load", "change.result_system", token("scanner", "", "shop")},
		{"another system about its own", "scan", "", token("scanner", "", "shop")},
		{"the token about the scanner's", "scan", "change.result_system", token("ci", "", "shop")},
	} {
		t.Log(tt.name)
		_, err := p.Changes.PostResult(tt.ctx, c.ID, change.Result{Name: tt.check, Head: c.Head, Passed: true})
		if tt.code == "" && err != nil || tt.code != "" {
			refused(t, err, tt.code)
		}
	}
	// The build is of the system that flywheel.yaml names, whoever posts first.
	yaml := strings.Replace(appFile("~1.0", certifytest.Environments), "  build: {command: \"true\", artifact: src}\n  test: {command: \"! grep -r FAILS src\"}\n", "  build: {outer: ci}\n", 1)
	outside, _ := p.Shop("outside", "Build outside", map[string]string{"flywheel.yaml": yaml, "src/y": "y"})
	outside = p.Reaches(outside.ID, change.Waiting)
	_, err := p.Changes.PostResult(token("scanner", "", "shop"), outside.ID, change.Result{Name: "ci", Head: outside.Head, Passed: true})
	refused(t, err, "change.result_system")
}

func TestATokenForChecksDoesNothingElse(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	ci := account.From(p.As("dora-ci"))
	for may, want := range map[account.Permission]bool{account.ViewApp: true, account.PostResult: true, account.UploadArtifact: true,
		account.PushApp: false, account.Merge: false, account.Deploy: false, account.HoldRelease: false, account.ManageSecrets: false, account.ChangeVariables: false, account.DropTests: false, account.SpeakForChecks: false} {
		if ci.Can(may, "shop") != want {
			t.Errorf("%s: %t", may, !want)
		}
	}
}
