package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/runlog"
)

// order is the order of deployments without their effects: workflows are admitted and never run, and the
// test says how each one ends.
type order struct {
	t *testing.T
	*Service
	consumers *event.Consumers
}

func newOrder(t *testing.T) *order {
	t.Helper()
	d := dbtest.Open(t)
	log := slog.New(slog.DiscardHandler)
	engine, err := durable.New(t.Context(), d, "test", log) // never launched
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &Service{DB: d, Durable: engine, Changes: &change.Service{DB: d}, Log: log, Logs: &runlog.Store{Dir: filepath.Join(dir, "logs")},
		Runs: &Runs{DB: d, Dir: filepath.Join(dir, "run")}}
	s.Register()
	o := &order{t, s, &event.Consumers{DB: d, Events: event.New(d), Log: log, As: account.System}}
	for _, c := range s.Consumers() {
		o.consumers.Register(c)
	}
	if err := o.consumers.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	apps := &app.Service{DB: d}
	for _, e := range []app.Environment{{Name: "staging", Class: "staging"}, {Name: "prod", Class: "production", After: "staging"},
		{Name: "lab", Class: "development", OnNewer: app.ReplacePending}} {
		if _, err := apps.SaveEnvironment(o.as(), e, true, ""); err != nil {
			t.Fatal(err)
		}
	}
	o.write(func(tx *db.Tx) error {
		_, err := tx.Exec(`insert into app (id, name, title, team, state, pin, description, created_by, created_at) values ('app_1','shop','','shop','active','{}','{}','',$1)`, tx.Now())
		return err
	})
	return o
}

func (o *order) as() context.Context {
	return account.With(context.Background(), account.Actor{ID: "usr_1", Name: "dana", Admin: true})
}

func (o *order) write(fn func(tx *db.Tx) error) {
	o.t.Helper()
	if err := o.DB.Write(o.as(), fn); err != nil {
		o.t.Fatal(err)
	}
}

// state is a desired state with an artifact; "" is none.
func state(artifact string) app.Desired {
	if artifact == "" {
		return app.Desired{}
	}
	return app.Desired{Pattern: "web", Digest: "sha256:web", Artifact: artifact, Variables: map[string]any{}}
}

// merged makes a merged change that brings an artifact to environments. mends is the change it reverts.
func (o *order) merged(id, mends, artifact string, environments ...string) {
	o.t.Helper()
	o.write(func(tx *db.Tx) error {
		_, err := tx.Exec(`insert into change (id, kind, subject, team, branch, title, body, state, why, remedy, lane, reasons, effects, revision, head, main,
			merged, story, needs, reverts, revert, fix, opener, authors, merge_requested, released, proposal, opened_at, updated_at)
			values ($1,'app','shop','shop',$1,'','','merged','','','software','[]','[]',1,'','','abc','','',$2,'','','usr_1','[]',false,'','null',$3,$3)`, id, mends, tx.Now())
		if err != nil {
			return err
		}
		c, err := change.Find(tx, id)
		if err != nil {
			return err
		}
		targets := []change.Target{}
		for _, e := range environments {
			targets = append(targets, change.Target{Environment: e, Desired: state(artifact)})
		}
		return o.Rollout(tx, c, targets)
	})
}

// main says that the app's main describes an artifact in every environment.
func (o *order) main(artifact string) {
	o.t.Helper()
	o.write(func(tx *db.Tx) error {
		if _, err := tx.Exec(`insert into artifact (source, app, digest, size, built_at) values ('src', 'shop', $1, 1, $2)`, artifact, tx.Now()); err != nil {
			return err
		}
		return app.SetDescription(tx, "shop", app.Description{Pin: app.Pin{Pattern: "web", Digest: "sha256:web"}, Source: "src",
			Environments: map[string]manifest.Values{"staging": {}, "prod": {}, "lab": {}}})
	})
}

// of returns the newest deployment of a change, or of the instance if change is "".
func (o *order) of(id, environment string) (d Deployment) {
	o.t.Helper()
	o.write(func(tx *db.Tx) error {
		found, err := list(tx, Filter{App: "shop", Environment: environment, Change: id, Limit: 100})
		if err == nil && len(found) > 0 {
			d = slices.MaxFunc(found, func(a, b Deployment) int { return int(a.Number - b.Number) })
			d, err = Find(tx, d.ID)
		}
		return err
	})
	return d
}

func (o *order) instance(environment string) (i app.Instance) {
	o.t.Helper()
	o.write(func(tx *db.Tx) (err error) { i, err = app.FindInstance(tx, "shop", environment); return err })
	return i
}

func (o *order) change(id string) (c change.Change) {
	o.t.Helper()
	o.write(func(tx *db.Tx) (err error) { c, err = change.Find(tx, id); return err })
	return c
}

// succeeds ends the deployment of a change well, fails after it did something, or refused before.
func (o *order) succeeds(id, environment string) { o.end(id, environment, "release", outcome{}) }
func (o *order) fails(id, environment string) {
	o.end(id, environment, "release", outcome{Failed: "it broke"})
}
func (o *order) refused(id, environment string) {
	o.end(id, environment, "plan", outcome{Failed: "it may not"})
}

func (o *order) end(id, environment, step string, out outcome) {
	o.t.Helper()
	o.finish(o.of(id, environment), step, out)
}

// finish is end of a certain deployment.
func (o *order) finish(d Deployment, step string, out outcome) {
	o.t.Helper()
	if d.State != Running {
		o.t.Fatalf("the deployment %s of %s in %s is %s (%s), not running", d.ID, d.Change, d.Environment, d.State, d.Reason)
	}
	o.write(func(tx *db.Tx) error {
		if _, err := beginStep(tx, d, 0, step); err != nil {
			return err
		}
		if out.ok() {
			return o.succeed(tx, d, out)
		}
		_, err := o.giveUp(tx, d, out)
		return err
	})
}

func (o *order) want(id, environment string, wanted State, reason string) {
	o.t.Helper()
	if d := o.of(id, environment); d.State != wanted || !strings.Contains(d.Reason, reason) {
		o.t.Errorf("the deployment of %s in %s is %q (%s), want %s (%s)", id, environment, d.State, d.Reason, wanted, reason)
	}
}

func (o *order) wantChange(id string, wanted change.State, why string) {
	o.t.Helper()
	if c := o.change(id); c.State != wanted || !strings.Contains(c.Why, why) {
		o.t.Errorf("the change %s is %s (%s), want %s (%s)", id, c.State, c.Why, wanted, why)
	}
}

func TestAnEnvironmentComesAfterTheOneBefore(t *testing.T) {
	o := newOrder(t)
	o.merged("chg_a", "", "a", "staging", "prod")
	o.want("chg_a", "prod", "", "")
	o.succeeds("chg_a", "staging")
	o.wantChange("chg_a", change.Merged, "")
	o.want("chg_a", "prod", Running, "")
	o.succeeds("chg_a", "prod")
	o.wantChange("chg_a", change.Deployed, "")
	if i := o.instance("prod"); i.State != app.Healthy || i.Deployed.Artifact != "a" || i.Fence != 1 {
		t.Errorf("%+v", i)
	}
}

func TestWhatComesWithACancelledDeploymentIsToldAndArrivesWithTheNext(t *testing.T) {
	o := newOrder(t)
	o.merged("chg_a", "", "a", "lab")
	o.merged("chg_b", "", "b", "lab")
	o.merged("chg_c", "", "c", "lab")
	o.want("chg_b", "lab", Superseded, "replaced by "+o.of("chg_c", "lab").ID)
	if _, err := o.Cancel(o.as(), o.of("chg_c", "lab").ID); err != nil {
		t.Fatal(err)
	}
	o.wantChange("chg_c", change.Merged, "cancelled by dana")
	o.wantChange("chg_b", change.Merged, "It came with the change chg_c, whose deployment "+o.of("chg_c", "lab").ID+" in lab was cancelled by dana")
	o.succeeds("chg_a", "lab")
	o.merged("chg_d", "", "d", "lab")
	o.succeeds("chg_d", "lab")
	for _, id := range []string{"chg_a", "chg_b", "chg_c", "chg_d"} {
		o.wantChange(id, change.Deployed, "")
	}
}

func TestARedeploymentBringsWhatWasStuckAndItGoesOn(t *testing.T) {
	o := newOrder(t)
	o.merged("chg_a", "", "a", "staging", "prod")
	o.fails("chg_a", "staging") // the first one has nothing to go back to
	o.wantChange("chg_a", change.Merged, "it broke")
	if c := o.change("chg_a"); !strings.Contains(c.Remedy, "flywheel deployment redeploy") {
		t.Errorf("the way out is %q", c.Remedy)
	}
	o.want("", "prod", "", "")
	o.main("a")
	if _, err := o.Redeploy(o.as(), "shop", "staging"); err != nil {
		t.Fatal(err)
	}
	o.succeeds("", "staging")
	o.wantChange("chg_a", change.Merged, "")
	o.succeeds("chg_a", "prod")
	o.wantChange("chg_a", change.Deployed, "")
}

func TestWhatArrivesWithANewerChangeDoesNotTakeItBackLater(t *testing.T) {
	o := newOrder(t)
	o.merged("chg_0", "", "0", "staging", "prod")
	o.succeeds("chg_0", "staging")
	o.succeeds("chg_0", "prod")
	o.merged("chg_a", "", "a", "staging", "prod")
	o.refused("chg_a", "staging")
	o.wantChange("chg_a", change.Merged, "it may not")
	o.merged("chg_b", "", "b", "staging", "prod")
	o.succeeds("chg_b", "staging")
	o.want("chg_a", "prod", "", "") // it comes with chg_b
	o.succeeds("chg_b", "prod")
	o.wantChange("chg_a", change.Deployed, "")
	o.wantChange("chg_b", change.Deployed, "")
	if i := o.instance("prod"); i.Deployed.Artifact != "b" || i.Running != "" {
		t.Errorf("prod has %+v", i)
	}
}

func TestAFailedDeploymentGoesBackAndLaterOnesWaitForWhatMendsIt(t *testing.T) {
	o := newOrder(t)
	o.merged("chg_a", "", "a", "staging", "prod")
	o.succeeds("chg_a", "staging")
	o.succeeds("chg_a", "prod")
	o.merged("chg_b", "", "b", "staging", "prod")
	o.fails("chg_b", "staging")
	back := o.of("chg_b", "staging")
	if back.Trigger != ByRollback || back.State != Running || back.Desired.Artifact != "a" {
		t.Fatalf("it goes back with %+v", back)
	}
	o.wantChange("chg_b", change.RolledBack, "staging went back by itself")
	o.end("chg_b", "staging", "release", outcome{})
	if i := o.instance("staging"); i.State != app.Healthy || i.PinnedBy != "chg_b" || i.Deployed.Artifact != "a" {
		t.Errorf("%+v", i)
	}
	o.merged("chg_c", "", "c", "staging", "prod")
	o.want("chg_c", "staging", Waiting, "chg_b was rolled back here")
	if d := o.of("chg_c", "staging"); d.Code != "change.rolled_back" {
		t.Errorf("its code is %q", d.Code)
	}
	// The fix is declared while it waits: it goes on, and lifts the pin.
	if _, err := o.Changes.DeclareFix(o.as(), "chg_c", "chg_b"); err != nil {
		t.Fatal(err)
	}
	if err := o.consumers.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.succeeds("chg_c", "staging")
	o.succeeds("chg_c", "prod")
	if i := o.instance("staging"); i.PinnedBy != "" {
		t.Errorf("it is still pinned by %s", i.PinnedBy)
	}
	o.wantChange("chg_b", change.RolledBack, "")
	o.wantChange("chg_c", change.Deployed, "")
}

func TestAChangeOfALaterEnvironmentWaitsWhereAnotherWasRolledBack(t *testing.T) {
	o := newOrder(t)
	o.merged("chg_a", "", "a", "staging", "prod")
	o.succeeds("chg_a", "staging")
	o.succeeds("chg_a", "prod")
	o.merged("chg_b", "", "b", "staging", "prod")
	o.fails("chg_b", "staging")
	o.succeeds("chg_b", "staging") // it goes back
	// A variable of prod: main has the artifact that failed in staging, and prod would get it as well.
	o.merged("chg_c", "", "b", "prod")
	o.want("chg_c", "staging", Waiting, "chg_b was rolled back here")
	o.want("chg_c", "prod", "", "")
	// The revert contains it.
	o.merged("chg_r", "chg_b", "a", "staging", "prod")
	o.succeeds("chg_r", "staging")
	o.succeeds("chg_r", "prod")
	o.wantChange("chg_c", change.Deployed, "")
	o.wantChange("chg_r", change.Deployed, "")
	if i := o.instance("prod"); i.Deployed.Artifact != "a" {
		t.Errorf("prod has %+v", i)
	}
	// The order is mended: the next change of prod alone goes there at once.
	o.merged("chg_d", "", "d", "prod")
	o.want("chg_d", "staging", "", "")
	o.succeeds("chg_d", "prod")
}

func TestAPersonWhoDeploysMainWhereItWasRolledBackLetsLaterChangesPass(t *testing.T) {
	o := newOrder(t)
	o.merged("chg_a", "", "a", "staging", "prod")
	o.succeeds("chg_a", "staging")
	o.succeeds("chg_a", "prod")
	o.merged("chg_b", "", "b", "staging", "prod")
	o.fails("chg_b", "staging") // for a secret that nobody has set, say
	o.succeeds("chg_b", "staging")
	o.merged("chg_c", "", "c", "staging", "prod")
	o.want("chg_c", "staging", Waiting, "chg_b was rolled back here")
	o.main("c")
	if _, err := o.Redeploy(o.as(), "shop", "staging"); err != nil {
		t.Fatal(err)
	}
	o.succeeds("", "staging")
	if i := o.instance("staging"); i.PinnedBy != "" {
		t.Errorf("it is still pinned by %s", i.PinnedBy)
	}
	if c := o.change("chg_b"); c.State != change.RolledBack || !strings.Contains(c.Remedy, "later changes pass there") {
		t.Errorf("%s: %s", c.State, c.Remedy)
	}
	o.succeeds("chg_c", "staging")
	o.succeeds("chg_c", "prod")
	o.wantChange("chg_c", change.Deployed, "")
}

func TestARedeploymentThatSomebodyRollsBackMeanwhileLetsNothingPass(t *testing.T) {
	o := newOrder(t)
	o.merged("chg_a", "", "a", "staging")
	o.succeeds("chg_a", "staging")
	o.merged("chg_b", "", "b", "staging")
	o.succeeds("chg_b", "staging")
	o.main("b")
	redeployment, err := o.Redeploy(o.as(), "shop", "staging")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.RollBack(o.as(), "shop", "staging", ""); err != nil {
		t.Fatal(err)
	}
	o.write(func(tx *db.Tx) error {
		again, err := Find(tx, redeployment.ID)
		if err != nil {
			return err
		}
		return o.succeed(tx, again, outcome{})
	})
	o.succeeds("chg_b", "staging") // it goes back
	if i := o.instance("staging"); i.PinnedBy != "chg_b" || i.Deployed.Artifact != "a" {
		t.Errorf("%+v", i)
	}
}

func TestARevertThatANewerChangeReplacesMendsNonetheless(t *testing.T) {
	o := newOrder(t)
	o.merged("chg_a", "", "a", "lab")
	o.succeeds("chg_a", "lab")
	o.merged("chg_b", "", "b", "lab")
	o.fails("chg_b", "lab") // and goes back, which takes a while
	o.merged("chg_r", "chg_b", "a", "lab")
	o.merged("chg_c", "", "c", "lab")
	o.want("chg_r", "lab", Superseded, "replaced by")
	o.succeeds("chg_b", "lab")
	o.succeeds("chg_c", "lab") // it contains the revert
	o.wantChange("chg_r", change.Deployed, "")
	o.wantChange("chg_c", change.Deployed, "")
	if i := o.instance("lab"); i.PinnedBy != "" {
		t.Errorf("it is still pinned by %s", i.PinnedBy)
	}
}

func TestARemovalPassesWhereAChangeWasRolledBack(t *testing.T) {
	o := newOrder(t)
	o.merged("chg_a", "", "a", "staging")
	o.succeeds("chg_a", "staging")
	o.merged("chg_b", "", "b", "staging")
	o.fails("chg_b", "staging")
	o.succeeds("chg_b", "staging")
	o.merged("chg_c", "", "c", "staging")
	o.want("chg_c", "staging", Waiting, "chg_b was rolled back here")
	if d := o.of("chg_c", "staging"); d.Code != "change.rolled_back" {
		t.Errorf("its code is %q", d.Code)
	}
	o.merged("chg_d", "", "", "staging")
	o.want("chg_c", "staging", Superseded, o.of("chg_d", "staging").ID)
	o.end("chg_d", "staging", "destroy", outcome{})
	if i := o.instance("staging"); i.State != app.Gone || i.PinnedBy != "" || i.Running != "" {
		t.Errorf("%+v", i)
	}
	// What was removed is no state to go back to.
	o.merged("chg_e", "", "e", "staging")
	o.succeeds("chg_e", "staging")
	back, err := o.RollBack(o.as(), "shop", "staging", "")
	if err != nil || back.Desired.Artifact != "a" {
		t.Errorf("it goes back to %+v, %v", back.Desired, err)
	}
}

func TestSecretsGoWithWhatWasRemoved(t *testing.T) {
	o := newOrder(t)
	o.write(func(tx *db.Tx) error {
		_, err := tx.Exec(`insert into secret (app, environment, name, version, value, actor, updated_at) values ('shop','staging','key',1,'','',$1),
			('shop','prod','key',1,'','',$1), ('shop','lab','key',1,'','',$1), ('other','staging','key',1,'','',$1), ('','staging','key',1,'','',$1)`, tx.Now())
		if err != nil {
			return err
		}
		_, err = tx.Exec(`update app set pin = $1 where name = 'shop'`, `{"name":"web"}`)
		return err
	})
	left := func(want ...string) {
		t.Helper()
		var got []string
		o.write(func(tx *db.Tx) (err error) {
			got, err = db.Collect(tx, func(r db.Row) (s string, err error) { return s, r.Scan(&s) }, `select app || '/' || environment from secret order by 1`)
			return err
		})
		if !slices.Equal(got, want) {
			t.Errorf("secrets of %v are left, not of %v", got, want)
		}
	}
	o.merged("chg_a", "", "a", "staging", "prod")
	o.succeeds("chg_a", "staging")
	o.succeeds("chg_a", "prod")
	o.merged("chg_b", "", "", "staging", "prod")
	left("/staging", "other/staging", "shop/lab", "shop/prod", "shop/staging")
	o.end("chg_b", "staging", "destroy", outcome{})
	left("/staging", "other/staging", "shop/lab", "shop/prod")
	o.end("chg_b", "prod", "destroy", outcome{}) // and with that the app is gone
	left("/staging", "other/staging")
}

func TestWhatWasTakenBackGoesNoFurther(t *testing.T) {
	o := newOrder(t)
	o.merged("chg_a", "", "a", "staging", "prod")
	o.succeeds("chg_a", "staging")
	o.succeeds("chg_a", "prod")
	o.merged("chg_b", "", "b", "staging", "lab")
	o.succeeds("chg_b", "staging")
	if _, err := o.RollBack(o.as(), "shop", "staging", ""); err != nil {
		t.Fatal(err)
	}
	o.wantChange("chg_b", change.RolledBack, "dana rolled staging back")
	o.succeeds("chg_b", "lab") // it ran already
	o.wantChange("chg_b", change.RolledBack, "dana rolled staging back")
}

// A rollback that is never carried out leaves nothing: neither the change nor the pin says that something was
// rolled back, no revert is owed, and later changes go on (issue 9, D1).
func TestARollbackThatIsNeverCarriedOutLeavesNothing(t *testing.T) {
	for name, end := range map[string]func(o *order, r Deployment){
		"cancelled while another deployment runs": func(o *order, redeployment Deployment) {
			o.cancels("chg_b", "prod")
			o.want("chg_b", "prod", Cancelled, "before it started")
			o.finish(redeployment, "release", outcome{}) // the redeployment that it waited for
		},
		"cancelled while it runs, before it touched anything": func(o *order, redeployment Deployment) {
			o.finish(redeployment, "release", outcome{})
			o.cancels("chg_b", "prod")
			o.end("chg_b", "prod", "prepare", outcome{Failed: "cancelled by dana before its step plan", Code: codeCancelled})
		},
		"cancelled in the middle of a release that the agent gave up": func(o *order, redeployment Deployment) {
			o.finish(redeployment, "release", outcome{})
			o.cancels("chg_b", "prod")
			o.write(func(tx *db.Tx) error { // as it is where only the artifact differs
				_, err := tx.Exec(`update deployment set kind = 'release' where state = 'running'`)
				return err
			})
			o.end("chg_b", "prod", "release", outcome{Failed: "cancelled by dana during its step release", Code: codeCancelled, Untouched: true})
		},
		"dropped while its plan is held": func(o *order, redeployment Deployment) {
			o.finish(redeployment, "release", outcome{})
			d := o.of("chg_b", "prod")
			o.write(func(tx *db.Tx) error { _, err := o.holds(tx, d, "it would destroy volume.x"); return err })
			o.cancels("chg_b", "prod")
		},
		"cancelled just before its plan is held": func(o *order, redeployment Deployment) {
			o.finish(redeployment, "release", outcome{})
			d := o.of("chg_b", "prod")
			o.cancels("chg_b", "prod")
			o.write(func(tx *db.Tx) error { _, err := o.holds(tx, d, "it would destroy volume.x"); return err })
		},
		"refused by its plan": func(o *order, redeployment Deployment) {
			o.finish(redeployment, "release", outcome{})
			o.refused("chg_b", "prod")
		},
		"asked for twice, and both cancelled, the first one first": func(o *order, redeployment Deployment) {
			first := o.of("chg_b", "prod")
			second, err := o.RollBack(o.as(), "shop", "prod", "")
			if err != nil {
				o.t.Fatal(err)
			}
			for _, id := range []string{first.ID, second.ID} {
				if i := o.instance("prod"); i.PinnedBy != "chg_b" {
					o.t.Errorf("it is pinned by %q while a rollback waits", i.PinnedBy)
				}
				if _, err := o.Cancel(o.as(), id); err != nil {
					o.t.Fatal(err)
				}
			}
			o.finish(redeployment, "release", outcome{})
		},
		"asked for twice, and both cancelled, the second one first": func(o *order, redeployment Deployment) {
			first := o.of("chg_b", "prod")
			second, err := o.RollBack(o.as(), "shop", "prod", "")
			if err != nil {
				o.t.Fatal(err)
			}
			for _, id := range []string{second.ID, first.ID} {
				if _, err := o.Cancel(o.as(), id); err != nil {
					o.t.Fatal(err)
				}
			}
			o.finish(redeployment, "release", outcome{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrder(t)
			for _, id := range []string{"chg_a", "chg_b"} {
				o.merged(id, "", id, "staging", "prod")
				o.succeeds(id, "staging")
				o.succeeds(id, "prod")
			}
			before := o.change("chg_b")
			o.main("chg_b")
			_, err := o.Redeploy(o.as(), "shop", "prod")
			if err != nil {
				t.Fatal(err)
			}
			redeployment := o.of("", "prod") // it runs by now
			if _, err := o.RollBack(o.as(), "shop", "prod", ""); err != nil {
				t.Fatal(err)
			}
			o.wantChange("chg_b", change.RolledBack, "dana rolled prod back")
			o.merged("chg_c", "", "c", "staging", "prod")
			o.succeeds("chg_c", "staging")
			end(o, redeployment)
			o.want("chg_c", "prod", Running, "")
			o.succeeds("chg_c", "prod")
			o.wantChange("chg_c", change.Deployed, "")
			if after := o.change("chg_b"); after.State != before.State || after.Why != before.Why || after.Remedy != before.Remedy || after.Revert != "" {
				t.Errorf("the change is %s (%s, %s), and was %s", after.State, after.Why, after.Remedy, before.State)
			}
			if i := o.instance("prod"); i.PinnedBy != "" || i.Deployed.Artifact != "c" || i.State != app.Healthy {
				t.Errorf("%+v", i)
			}
		})
	}
}

func TestARollbackThatWasCarriedOutInPartOpensTheRevert(t *testing.T) {
	o := newOrder(t)
	for _, id := range []string{"chg_a", "chg_b"} {
		o.merged(id, "", id, "staging")
		o.succeeds(id, "staging")
	}
	d, err := o.RollBack(o.as(), "shop", "staging", "")
	if err != nil {
		t.Fatal(err)
	}
	o.write(func(tx *db.Tx) error {
		if _, err := beginStep(tx, d, 0, "apply"); err != nil {
			return err
		}
		opens, err := o.giveUp(tx, d, outcome{Failed: "it broke"})
		if !opens {
			t.Error("no revert is opened")
		}
		return err
	})
	o.wantChange("chg_b", change.RolledBack, "dana rolled staging back")
	if i := o.instance("staging"); i.PinnedBy != "chg_b" || i.State != app.Degraded {
		t.Errorf("%+v", i)
	}
}

// Its change failed here, and nothing was taken back: it says so, and so do those it carries.
func TestAnAutomaticRollbackThatIsCancelledLeavesItsChangeFailed(t *testing.T) {
	o := newOrder(t)
	o.merged("chg_a", "", "a", "lab")
	o.succeeds("chg_a", "lab")
	o.merged("chg_0", "", "0", "lab") // runs, so that what follows waits
	o.merged("chg_b", "", "b", "lab")
	o.merged("chg_c", "", "c", "lab") // carries chg_b
	o.succeeds("chg_0", "lab")
	failed := o.of("chg_c", "lab")
	o.fails("chg_c", "lab")
	o.wantChange("chg_c", change.RolledBack, "lab went back by itself")
	o.cancels("chg_c", "lab")
	o.end("chg_c", "lab", "prepare", outcome{Failed: "cancelled by dana before its step plan", Code: codeCancelled})
	o.wantChange("chg_c", change.Merged, "Its deployment "+failed.ID+" in lab ended: it broke")
	o.wantChange("chg_b", change.Merged, "It came with the change chg_c, whose deployment "+failed.ID+" in lab ended: it broke")
	o.merged("chg_d", "", "d", "lab")
	o.succeeds("chg_d", "lab")
	for _, id := range []string{"chg_b", "chg_c", "chg_d"} {
		o.wantChange(id, change.Deployed, "")
	}
	if i := o.instance("lab"); i.PinnedBy != "" || i.State != app.Healthy {
		t.Errorf("%+v", i)
	}
}

// What its change did elsewhere in the meantime is not lost.
func TestAChangeGoesOnWhereItStoodWhenItsRollbackIsCancelled(t *testing.T) {
	o := newOrder(t)
	o.merged("chg_a", "", "a", "staging")
	o.succeeds("chg_a", "staging")
	o.merged("chg_b", "", "b", "staging", "lab", "prod")
	o.succeeds("chg_b", "staging")
	o.main("b")
	if _, err := o.Redeploy(o.as(), "shop", "staging"); err != nil { // so that the rollback waits
		t.Fatal(err)
	}
	if _, err := o.RollBack(o.as(), "shop", "staging", ""); err != nil {
		t.Fatal(err)
	}
	o.succeeds("chg_b", "lab")
	o.want("chg_b", "prod", "", "") // what was taken back goes no further
	o.cancels("chg_b", "staging")
	o.succeeds("chg_b", "prod")
	o.wantChange("chg_b", change.Deployed, "")
}

// A change that two environments went back from stands where it stood only when neither of them does.
func TestAChangeStaysRolledBackWhileOneOfItsRollbacksStands(t *testing.T) {
	for _, first := range []string{"staging", "lab"} {
		for _, carriedOut := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s is cancelled first, the other is carried out: %v", first, carriedOut), func(t *testing.T) {
				o := newOrder(t)
				o.merged("chg_a", "", "a", "staging", "lab")
				o.succeeds("chg_a", "staging")
				o.succeeds("chg_a", "lab")
				o.merged("chg_b", "", "b", "staging", "lab", "prod")
				o.succeeds("chg_b", "staging")
				o.main("b")
				running := map[string]Deployment{}
				for _, environment := range []string{"staging", "lab"} { // so that the rollbacks wait
					if environment == "lab" {
						o.succeeds("chg_b", "lab")
					}
					if _, err := o.Redeploy(o.as(), "shop", environment); err != nil {
						t.Fatal(err)
					}
					running[environment] = o.of("", environment)
				}
				for _, environment := range []string{"staging", "lab"} {
					if _, err := o.RollBack(o.as(), "shop", environment, ""); err != nil {
						t.Fatal(err)
					}
				}
				other := map[string]string{"staging": "lab", "lab": "staging"}[first]
				o.cancels("chg_b", first)
				o.wantChange("chg_b", change.RolledBack, "")
				if carriedOut {
					o.finish(running[other], "release", outcome{})
					o.succeeds("chg_b", other)
					o.wantChange("chg_b", change.RolledBack, "")
					return
				}
				o.cancels("chg_b", other)
				o.succeeds("chg_b", "prod")
				o.wantChange("chg_b", change.Deployed, "")
			})
		}
	}
}

func (o *order) cancels(id, environment string) {
	o.t.Helper()
	found := o.of(id, environment)
	o.write(func(tx *db.Tx) error { // as Cancel does, which waits for the end of what runs
		d, i, err := take(tx, found)
		if err != nil {
			return err
		}
		_, err = o.accept(tx, &d, &i, cancel, with{code: codeCancelled, reason: "cancelled by dana before it started", who: "dana"})
		return err
	})
}

func TestAnInstanceIsDegradedUntilSomethingMendsIt(t *testing.T) {
	o := newOrder(t)
	o.merged("chg_a", "", "a", "staging")
	o.succeeds("chg_a", "staging")
	o.merged("chg_b", "", "b", "staging")
	o.fails("chg_b", "staging")
	hold := func(id string) Deployment {
		t.Helper()
		d := o.of(id, "staging")
		o.write(func(tx *db.Tx) error { _, err := o.holds(tx, d, "it would destroy volume.x"); return err })
		return o.of(id, "staging")
	}
	held := hold("chg_b")
	if i := o.instance("staging"); held.Trigger != ByRollback || held.State != Held || i.State != app.Degraded || !strings.Contains(i.Reason, "held for an operator") {
		t.Errorf("%+v of %+v", held, i)
	}
	// An operator who drops the way back leaves it as it is.
	if _, err := o.Cancel(o.as(), held.ID); err != nil {
		t.Fatal(err)
	}
	if i := o.instance("staging"); i.State != app.Degraded || i.Running != "" {
		t.Errorf("%+v", i)
	}
	// So does a fix that comes to nothing before it has done anything.
	o.merged("chg_c", "chg_b", "a2", "staging")
	o.refused("chg_c", "staging")
	if i := o.instance("staging"); i.State != app.Degraded {
		t.Errorf("%+v", i)
	}
	o.merged("chg_d", "chg_b", "a3", "staging")
	o.succeeds("chg_d", "staging")
	if i := o.instance("staging"); i.State != app.Healthy || i.PinnedBy != "" {
		t.Errorf("%+v", i)
	}
	// A change that is held on a healthy instance, and dropped, leaves that healthy and says so.
	o.merged("chg_e", "", "e", "staging")
	held = hold("chg_e")
	if i := o.instance("staging"); i.State != app.Healthy || i.Running != held.ID || !strings.Contains(i.Reason, "held for an operator") {
		t.Errorf("%+v", i)
	}
	if _, err := o.Proceed(o.as(), held.ID, held.PlanDigest, ""); err != nil {
		t.Fatal(err)
	}
	if i := o.instance("staging"); i.State != app.Deploying || i.Reason != "" {
		t.Errorf("%+v", i)
	}
	held = hold("chg_e")
	if _, err := o.Cancel(o.as(), held.ID); err != nil {
		t.Fatal(err)
	}
	if i := o.instance("staging"); i.State != app.Healthy || i.Reason != "" {
		t.Errorf("%+v", i)
	}
	o.wantChange("chg_e", change.Merged, "cancelled by dana while its plan was held")
}

func TestAWishToCancelIsNotForgottenWhereAPlanWouldBeHeld(t *testing.T) {
	o := newOrder(t)
	o.merged("chg_a", "", "a", "staging")
	o.succeeds("chg_a", "staging")
	o.merged("chg_b", "", "b", "staging")
	d := o.of("chg_b", "staging")
	o.write(func(tx *db.Tx) error {
		_, err := tx.Exec(`update deployment set cancelled_by = 'dana' where id = $1`, d.ID)
		return err
	})
	o.write(func(tx *db.Tx) error { _, err := o.holds(tx, d, "it would destroy volume.x"); return err })
	o.want("chg_b", "staging", Cancelled, "cancelled by dana before its plan was held")
	o.wantChange("chg_b", change.Merged, "in staging was cancelled by dana")
	if i := o.instance("staging"); i.State != app.Healthy || i.Running != "" {
		t.Errorf("%+v", i)
	}
}

func TestWhatACancelledDeploymentLeavesIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		step string
		out  outcome
		want app.InstanceState
	}{
		"given up by the agent":       {"release", outcome{Untouched: true}, app.Healthy},
		"in the middle of a command":  {"release", outcome{}, app.Degraded},
		"in the middle of an apply":   {"apply", outcome{}, app.Degraded},
		"before it touched the world": {"plan", outcome{}, app.Healthy},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrder(t)
			o.merged("chg_a", "", "a", "staging")
			o.succeeds("chg_a", "staging")
			o.merged("chg_b", "", "b", "staging")
			o.merged("chg_c", "", "c", "staging")
			c.out.Failed, c.out.Code = "cancelled by dana during its step "+c.step, codeCancelled
			o.end("chg_b", "staging", c.step, c.out)
			o.want("chg_b", "staging", Cancelled, "cancelled by dana during its step "+c.step)
			o.want("chg_c", "staging", Running, "")
			if was := o.of("chg_c", "staging").was; was != c.want {
				t.Errorf("the instance was %s, want %s", was, c.want)
			}
		})
	}
}

func TestWhoWasOvertakenWritesNothing(t *testing.T) {
	o := newOrder(t)
	o.merged("chg_a", "", "a", "staging")
	old := o.of("chg_a", "staging")
	o.write(func(tx *db.Tx) error {
		_, err := tx.Exec(`update instance set fence = fence + 1`)
		return err
	})
	fenced := func(tx *db.Tx) error { return Fenced(tx, old.Instance, old.fence) }
	if err := o.DB.Write(o.as(), fenced); !fault.Is(err, "deployment.fenced") {
		t.Errorf("its engine is answered %v", err)
	}
	for name, write := range map[string]func(tx *db.Tx) error{
		"succeed": func(tx *db.Tx) error { return o.succeed(tx, old, outcome{}) },
		"give up": func(tx *db.Tx) error { _, err := o.giveUp(tx, old, outcome{Failed: "late"}); return err },
		"intend":  func(tx *db.Tx) error { _, _, err := intend(tx, old, 0, "release", outcome{}); return err },
	} {
		if err := o.DB.Write(o.as(), write); !errors.Is(err, durable.ErrOutdated) {
			t.Errorf("%s answers %v", name, err)
		}
	}
	o.want("chg_a", "staging", Running, "")
}

func TestNobodyReleasesAloneWhatTheirChangeDestroysInProduction(t *testing.T) {
	o := newOrder(t)
	held := func(id, environment string) Deployment {
		t.Helper()
		o.merged(id, "", id, environment)
		d := o.of(id, environment)
		o.write(func(tx *db.Tx) error {
			if err := o.plans(tx, d, planned{Digest: "sha256:plan", Destructive: []string{"volume.x"}}); err != nil {
				return err
			}
			_, err := o.holds(tx, d, "it destroys volume.x")
			return err
		})
		return o.of(id, environment)
	}
	person := func(id string) {
		t.Helper()
		o.write(func(tx *db.Tx) error {
			_, err := tx.Exec(`insert into person (id, name, title, password, admin, disciplines, active, created_at, updated_at, updated_by) values ($1,$1,'','',$3,'[]',$3,$2,$2,'')`, id, tx.Now(), true)
			return err
		})
	}
	release := func(d Deployment, who, confirm string) error {
		_, err := o.Proceed(account.With(t.Context(), account.Actor{ID: who, Name: who, Admin: true}), d.ID, d.PlanDigest, confirm)
		return err
	}
	person("usr_1") // who opened each of the changes
	d := held("chg_a", "prod")
	for _, typed := range []string{"", "prod", "Shop"} {
		if err := release(d, "usr_1", typed); !fault.Is(err, "release.confirm") {
			t.Errorf("alone, with the name %q: %v", typed, err)
		}
	}
	if err := release(d, "usr_1", "shop"); err != nil {
		t.Errorf("alone, with the name of the app: %v", err)
	}
	o.succeeds("chg_a", "prod")
	person("usr_2")
	d = held("chg_b", "prod")
	if err := release(d, "usr_1", "shop"); !fault.Is(err, "release.own_change") {
		t.Errorf("an author where somebody else is active: %v", err)
	}
	if err := release(d, "usr_2", ""); err != nil {
		t.Errorf("another person: %v", err)
	}
	if err := release(held("chg_c", "staging"), "usr_1", ""); err != nil {
		t.Errorf("outside of production: %v", err)
	}
	back := account.With(t.Context(), account.Actor{ID: "usr_2", Name: "usr_2", Admin: true})
	o.succeeds("chg_b", "prod")
	if _, err := o.RollBack(back, "shop", "prod", ""); err != nil {
		t.Fatal(err)
	}
	d = o.of("chg_b", "prod")
	o.write(func(tx *db.Tx) error {
		if err := o.plans(tx, d, planned{Digest: "sha256:back", Destructive: []string{"volume.x"}}); err != nil {
			return err
		}
		_, err := o.holds(tx, d, "it destroys volume.x")
		return err
	})
	if err := release(o.of("chg_b", "prod"), "usr_2", ""); !fault.Is(err, "release.own_change") {
		t.Errorf("who asked for the rollback: %v", err)
	}
	if err := release(o.of("chg_b", "prod"), "usr_3", ""); err != nil {
		t.Errorf("a third person: %v", err)
	}
	o.succeeds("chg_b", "prod")
	o.write(func(tx *db.Tx) error { _, err := tx.Exec(`update change set state = 'deployed'`); return err })
	desired := o.instance("prod").Deployed
	o.write(func(tx *db.Tx) (err error) {
		if d, err = o.admit(tx, Deployment{App: "shop", Environment: "prod", Trigger: ByRedeploy, Kind: Infrastructure, Desired: desired, CreatedBy: "usr_2"}); err != nil {
			return err
		}
		if err := o.plans(tx, d, planned{Digest: "sha256:again", Destructive: []string{"volume.x"}}); err != nil {
			return err
		}
		_, err = o.holds(tx, d, "it destroys volume.x")
		return err
	})
	d.PlanDigest = "sha256:again"
	if err := release(d, "usr_2", ""); !fault.Is(err, "release.own_change") {
		t.Errorf("who deployed again what nobody has changed: %v", err)
	}
	if err := release(d, "usr_1", ""); err != nil {
		t.Errorf("who did not ask for it: %v", err)
	}
}

func TestEachReleaseOfAHeldPlanIsARunOfItsOwn(t *testing.T) {
	d, seen := Deployment{ID: "dpl_1"}, map[string]bool{}
	for d.releases = range 3 {
		for d.attempt = range 3 {
			seen[d.engineRun()] = true
		}
		if id, _, _ := strings.Cut(d.workflow(), "."); id != d.ID {
			t.Errorf("the run %s is not one of %s", d.workflow(), d.ID)
		}
	}
	if len(seen) != 9 {
		t.Errorf("nine runs share the ids %v", seen)
	}
}

func TestAReleaseCoversWhatWasShownAndNoMore(t *testing.T) {
	shown := change.Shown{Desired: state("a").Hash(), Destroys: []string{"volume.x", "volume.y"}}
	for _, c := range []struct {
		name     string
		shown    change.Shown
		desired  app.Desired
		destroys []string
		missing  string
	}{
		{"the same", shown, state("a"), []string{"volume.y", "volume.x"}, ""},
		{"less, because the rest is gone", shown, state("a"), []string{"volume.x"}, ""},
		{"more", shown, state("a"), []string{"volume.x", "volume.z"}, "its release knew of volume.x, volume.y only"},
		{"another state", shown, state("b"), []string{"volume.x"}, "another desired state was released"},
		{"nothing was destroyed", change.Shown{Desired: state("a").Hash()}, state("a"), []string{"volume.x"}, "its release knew of none of them"},
	} {
		if got := c.shown.Missing(c.desired, c.destroys); got != c.missing {
			t.Errorf("%s: %q, want %q", c.name, got, c.missing)
		}
	}
	var stored change.Shown // as the rollout keeps it
	if err := json.Unmarshal([]byte(db.JSON(shown)), &stored); err != nil || stored.Missing(state("a"), shown.Destroys) != "" {
		t.Errorf("%+v, %v", stored, err)
	}
}

func TestAPageIsFullOfWhatTheActorMaySee(t *testing.T) {
	o := newOrder(t)
	for _, id := range []string{"chg_a", "chg_b", "chg_c"} {
		o.merged(id, "", id, "staging")
		o.succeeds(id, "staging")
	}
	o.write(func(tx *db.Tx) error {
		if _, err := tx.Exec(`insert into app (id, name, title, team, state, pin, description, created_by, created_at) values ('app_2','other','','other','active','{}','{}','',$1)`, tx.Now()); err != nil {
			return err
		}
		for range 3 {
			if _, err := o.admit(tx, Deployment{App: "other", Environment: "prod", Trigger: ByRedeploy, Desired: state("x")}); err != nil {
				return err
			}
		}
		return nil
	})
	viewer := account.With(t.Context(), account.Actor{ID: "usr_2", Name: "vera", Teams: map[string]account.Role{"shop": account.Viewer}})
	found, err := o.List(viewer, Filter{Limit: 2})
	if err != nil || len(found) != 2 {
		t.Fatalf("the first page has %d, %v", len(found), err)
	}
	rest, err := o.List(viewer, Filter{Limit: 2, Before: found[1].ID})
	if err != nil || len(rest) != 1 || rest[0].App != "shop" {
		t.Errorf("the second page has %+v, %v", rest, err)
	}
}
