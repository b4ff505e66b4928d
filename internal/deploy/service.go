package deploy

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/runlog"
)

// Service admits, runs and shows deployments.
type Service struct {
	DB       *db.DB
	Durable  *durable.Engine
	Changes  *change.Service
	Drivers  map[string]Driver // how a release rolls out, by the name a pattern uses
	Runs     *Runs             // infrastructure runs
	Smoke    *Smoke
	Logs     *runlog.Store
	Log      *slog.Logger
	Interval time.Duration // of the sweeper; 0 means 5 s

	sweeper   durable.Sweeper
	canceller durable.Sweeper
	ongoing   ongoing
}

// Register makes the workflow known to the engine. Call it before the engine launches.
func (s *Service) Register() { s.Durable.Register("deploy/v1", s.run) }

// Start begins to sweep: what was admitted but not started, because the process died in between, is
// started, and deployments that waited for something that has passed go on.
func (s *Service) Start() {
	interval := s.Interval
	if interval == 0 {
		interval = 5 * time.Second
	}
	s.sweeper.Start(context.Background(), interval, s.Log, "deployments", s.Sweep)
	s.canceller.Start(context.Background(), time.Second, s.Log, "cancels", s.obey)
}

// Stop ends the sweepers.
func (s *Service) Stop() {
	s.sweeper.Stop()
	s.canceller.Stop()
}

// Sweep starts every deployment that is admitted, and lets those go on whose freeze has ended. Starting one
// that runs already does nothing.
func (s *Service) Sweep(ctx context.Context) error {
	if err := s.thaw(ctx); err != nil {
		return err
	}
	var running []Deployment
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		running, err = inState(tx, Running)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.Runs.forget(s.DB.Now().Add(-24 * time.Hour)); err != nil {
		return err
	}
	for _, d := range running {
		if err := s.Durable.Start(s.run, d.workflow()); err != nil {
			return err
		}
	}
	return nil
}

// thaw gives every idle instance the first deployment that waits for it.
func (s *Service) thaw(ctx context.Context) error {
	var idle []app.Instance
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) { idle, err = waitedFor(tx); return err })
	if err != nil {
		return err
	}
	for _, one := range idle {
		err := s.DB.Write(ctx, func(tx *db.Tx) error {
			instance, err := lock(tx, one.App, one.ID)
			if err != nil {
				return err
			}
			return s.next(tx, &instance)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// workflow returns the id of the run: the deployment's own, and a new one after each release of a
// held plan.
func (d Deployment) workflow() string {
	if d.releases == 0 {
		return d.ID
	}
	return fmt.Sprintf("%s.r%d", d.ID, d.releases)
}

// engineRun returns the id of the infrastructure run: the workflow's, and a new one for each attempt.
func (d Deployment) engineRun() string {
	if d.attempt == 0 {
		return d.workflow()
	}
	return fmt.Sprintf("%s.%d", d.workflow(), d.attempt)
}

// Rollout hands over what a merged change brings, environment by environment in their order, and
// admits the first. It is part of the transaction that marks the change merged.
func (s *Service) Rollout(tx *db.Tx, c change.Change, targets []change.Target) error {
	if _, err := app.LockInstances(tx, c.Subject); err != nil {
		return err
	}
	before, err := s.before(tx, c, targets)
	if err != nil {
		return err
	}
	for i, t := range append(before, targets...) {
		if err := saveLeg(tx, c.ID, leg{Position: i, App: c.Subject, Environment: t.Environment, Desired: t.Desired, Shown: t.Shown, State: "waiting"}); err != nil {
			return err
		}
	}
	return s.advance(tx, c)
}

// before returns where a change has to pass although it alters nothing there: an environment before its first
// one in which another change was rolled back. Main still holds what was taken back, so the change would
// bring that to the later environments, past the one that it failed in.
func (s *Service) before(tx *db.Tx, c change.Change, targets []change.Target) ([]change.Target, error) {
	if len(targets) == 0 || targets[0].Desired.IsZero() { // a removal brings nothing
		return nil, nil
	}
	instances, err := app.Instances(tx, c.Subject)
	if err != nil {
		return nil, err
	}
	passes := []change.Target{}
	for _, i := range instances {
		if i.PinnedBy == "" || slices.ContainsFunc(targets, func(t change.Target) bool { return t.Environment == i.Environment }) {
			continue
		}
		sooner, err := app.ComesBefore(tx, i.Environment, targets[0].Environment)
		if err != nil {
			return nil, err
		}
		if !sooner {
			continue
		}
		mends, err := change.Mends(tx, c.ID, i.PinnedBy)
		if err != nil {
			return nil, err
		}
		if mends {
			continue
		}
		desired, err := described(tx, i.ID)
		if err != nil {
			return nil, err
		}
		if !desired.IsZero() {
			passes = append(passes, change.Target{Environment: i.Environment, Desired: desired})
		}
	}
	return passes, nil
}

// advance admits the next environment of a change, or marks the change deployed after the last.
func (s *Service) advance(tx *db.Tx, c change.Change) error {
	if c.State == change.RolledBack {
		return nil // what was taken back goes no further
	}
	all, err := legs(tx, c.ID)
	if err != nil {
		return err
	}
	for _, l := range all {
		switch l.State {
		case "succeeded":
			continue
		case "waiting":
			d, err := s.admit(tx, Deployment{App: l.App, Environment: l.Environment, Change: c.ID, Trigger: ByChange, Desired: l.Desired, CreatedBy: c.Opener, shown: l.Shown})
			if err != nil {
				return err
			}
			l.Deployment, l.State = d.ID, "running"
			return saveLeg(tx, c.ID, l)
		}
		return nil // one is running, is carried by another change, or has failed and ends the way
	}
	if err := change.MarkDeployed(tx, c); err != nil {
		return err
	}
	return app.RemoveIfGone(tx, c.Subject, c.Opener)
}

// Codes of what a deployment waits for.
const (
	codeQueued     = "deployment.queued"
	codeFrozen     = "environment.frozen"
	codeRolledBack = "change.rolled_back"
)

// admit puts a deployment into the order of its instance and starts it if it is its turn. The caller has locked
// the app's instances, so that the number is free.
func (s *Service) admit(tx *db.Tx, d Deployment) (Deployment, error) {
	instance, err := app.EnsureInstance(tx, d.App, d.Environment)
	if err != nil {
		return d, err
	}
	environment, err := app.FindEnvironment(tx, d.Environment)
	if err != nil {
		return d, err
	}
	d.ID, d.Instance, d.CreatedAt = db.NewID("dpl"), instance.ID, tx.Now()
	d.Kind, d.Previous, d.Evidence = d.kind(instance.Deployed), instance.Deployed, []Probe{}
	d.Destroys = []string{}
	if err := d.origin(tx, environment); err != nil {
		return d, err
	}
	if d.Number, err = nextNumber(tx, instance.ID); err != nil {
		return d, err
	}
	if environment.OnNewer == app.ReplacePending && d.Trigger == ByChange {
		if err := s.supersede(tx, &instance, d); err != nil {
			return d, err
		}
	}
	w := with{}
	if instance.Running != "" {
		w.code, w.reason = codeQueued, "waits for "+instance.Running+", which runs on this instance"
	}
	_, err = s.accept(tx, &d, &instance, admission, w)
	return d, err
}

// supersede marks the waiting deployments of an instance as replaced by a newer one, which contains
// what they would have brought. Nothing is dropped silently: each says by what.
func (s *Service) supersede(tx *db.Tx, instance *app.Instance, by Deployment) error {
	old, err := waiting(tx, instance.ID, 10_000)
	if err != nil {
		return err
	}
	for _, d := range old {
		if d.Trigger != ByChange {
			continue
		}
		w := with{by: by, reason: "replaced by " + by.ID + ", as the environment's policy replace-pending says"}
		if _, err := s.accept(tx, &d, instance, replacement, w); err != nil {
			return err
		}
	}
	return nil
}

// carried lets the change of a newer deployment bring the state of one that was replaced: main is one line, so what
// was merged later contains what was merged before. Where both changes go, the older one has arrived when the
// newer one has; deployed after it, it would take the newer one back.
func (s *Service) carried(tx *db.Tx, d, by Deployment) error {
	if _, err := tx.Exec(`update rollout set state = 'carried', deployment = $3 where change = $1 and (deployment = $2 or state = 'waiting')
		and environment in (select environment from rollout where change = $3)`, d.Change, d.ID, by.Change); err != nil {
		return err
	}
	return s.recarry(tx, d.Change, by.Change)
}

// recarry hands over what one change carried to another one that goes to the same environments.
func (s *Service) recarry(tx *db.Tx, from, to string) error {
	_, err := tx.Exec(`update rollout set deployment = $2 where state = 'carried' and deployment = $1
		and environment in (select environment from rollout where change = $2)`, from, to)
	if err != nil {
		return err
	}
	return s.landed(tx, to)
}

// landed says of what a change carries to where it has arrived already that it is there as well, and lets it go on.
func (s *Service) landed(tx *db.Tx, carrier string) error {
	ids, err := db.Collect(tx, func(r db.Row) (id string, err error) { return id, r.Scan(&id) },
		`update rollout set state = 'succeeded' where state = 'carried' and deployment = $1
			and environment in (select environment from rollout where change = $1 and state = 'succeeded') returning change`, carrier)
	if err != nil {
		return err
	}
	for _, id := range ids {
		c, err := change.Find(tx, id)
		if err != nil {
			return err
		}
		if err := s.advance(tx, c); err != nil {
			return err
		}
	}
	return nil
}

// brought returns the changes that a verified deployment brings to its environment beside its own: those that it
// carried, and those whose own deployment here came before and ended without bringing them, because main is one line.
func brought(tx *db.Tx, d Deployment) ([]string, error) {
	if d.Trigger == ByRollback {
		return []string{}, nil
	}
	ids, err := db.Collect(tx, func(r db.Row) (id string, err error) { return id, r.Scan(&id) },
		`select change from rollout where app = $1 and environment = $2 and state in ('carried', 'failed') and (state = 'carried' and deployment = $3
			or state = 'failed' and deployment in (select id from deployment where instance = $4 and number < $5)) order by deployment, change`,
		d.App, d.Environment, d.Change, d.Instance, d.Number)
	if err != nil {
		return nil, err
	}
	for n := 0; n < len(ids); n++ {
		also, err := db.Collect(tx, func(r db.Row) (id string, err error) { return id, r.Scan(&id) },
			`select change from rollout where app = $1 and environment = $2 and state = 'carried' and deployment = $3 order by change`, d.App, d.Environment, ids[n])
		if err != nil {
			return nil, err
		}
		for _, one := range also { // what the one carried is here with it
			if !slices.Contains(ids, one) {
				ids = append(ids, one)
			}
		}
	}
	return ids, nil
}

// arrived says of the changes that a verified deployment brought beside its own that they are here, and lets each go
// on to where only it goes.
func (s *Service) arrived(tx *db.Tx, d Deployment, brought []string) error {
	for _, id := range brought {
		c, err := change.Find(tx, id)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`update rollout set state = 'succeeded' where change = $1 and environment = $2`, id, d.Environment); err != nil {
			return err
		}
		if c.State == change.RolledBack {
			continue // its revert says how it goes on
		}
		// Where the newer change goes on to as well, the older one comes with it: on its own it would come after.
		if _, err := tx.Exec(`update rollout set state = 'carried', deployment = $2 where change = $1 and state = 'waiting'
			and environment in (select environment from rollout where change = $2 and change <> $1)`, id, d.Change); err != nil {
			return err
		}
		if err := s.landed(tx, d.Change); err != nil {
			return err
		}
		if err := s.advance(tx, c); err != nil {
			return err
		}
	}
	return nil
}

// stuck says of the change of a deployment that ended without bringing it, and of those it carried, that
// they do not get here. Nothing is dropped silently.
func (s *Service) stuck(tx *db.Tx, d Deployment, how string) error {
	if d.Change == "" || d.Trigger != ByChange {
		return nil
	}
	ids, err := db.Collect(tx, func(r db.Row) (id string, err error) { return id, r.Scan(&id) },
		`update rollout set state = 'failed', deployment = $1 where state = 'carried' and deployment = $2 and app = $3 and environment = $4 returning change`,
		d.ID, d.Change, d.App, d.Environment)
	if err != nil {
		return err
	}
	for _, id := range append(ids, d.Change) {
		whose := "Its deployment"
		if id != d.Change {
			whose = "It came with the change " + d.Change + ", whose deployment"
		}
		if err := change.MarkStuck(tx, id, fmt.Sprintf("%s %s in %s %s", whose, d.ID, d.Environment, how)); err != nil {
			return err
		}
	}
	return nil
}

// unpin lets later changes pass where another one was rolled back, once a deployment has succeeded that mends
// what was broken: a change's, or one of main that a person asked for after the rollback, and that proves what
// was taken back there. One that was running when somebody rolled back proves nothing.
func (s *Service) unpin(tx *db.Tx, d Deployment, instance *app.Instance) (err error) {
	broken, mended := instance.PinnedBy, false
	switch {
	case broken == "":
		return nil
	case d.Trigger == ByChange:
		mended, err = s.mends(tx, d, broken)
	case d.Trigger == ByRedeploy:
		if mended, err = newerThanRollbacks(tx, d); mended && err == nil {
			err = change.MarkRunsAgain(tx, broken, d.Environment)
		}
	}
	if !mended || err != nil {
		return err
	}
	return app.PinTo(tx, instance, "")
}

// mends reports whether a deployment may pass an instance that is pinned where the broken change was rolled
// back: its change mends it, or one that it carries does, or nothing is left to be mended.
func (s *Service) mends(tx *db.Tx, d Deployment, broken string) (bool, error) {
	ids, err := db.Collect(tx, func(r db.Row) (id string, err error) { return id, r.Scan(&id) },
		`select change from rollout where state = 'carried' and deployment = $1 and app = $2 and environment = $3`, d.Change, d.App, d.Environment)
	if err != nil || d.Desired.IsZero() {
		return d.Desired.IsZero(), err
	}
	for _, id := range append(ids, d.Change) {
		if mends, err := change.Mends(tx, id, broken); mends || err != nil {
			return mends, err
		}
	}
	return false, nil
}

// next starts the first deployment of an instance that may run now, if none is running. The caller has locked the
// instance.
func (s *Service) next(tx *db.Tx, instance *app.Instance) error {
	if instance.Running != "" {
		return nil
	}
	// A pinned instance lets only its rollback and the change that mends it pass.
	limit := 1
	if instance.PinnedBy != "" {
		limit = 10_000
	}
	queue, err := waiting(tx, instance.ID, limit)
	if err != nil {
		return err
	}
	for i, d := range queue {
		if wait, err := s.frozen(tx, d, instance); err != nil || wait {
			return err
		}
		if instance.PinnedBy != "" && d.Trigger == ByChange {
			mends, err := s.mends(tx, d, instance.PinnedBy)
			if err != nil {
				return err
			}
			if !mends {
				reason := fmt.Sprintf("%s was rolled back here: waits until its revert is merged, a fix is declared, or main is deployed here again", instance.PinnedBy)
				if d.Reason != reason {
					if _, err := s.accept(tx, &d, instance, delay, with{code: codeRolledBack, reason: reason}); err != nil {
						return err
					}
				}
				continue
			}
			for _, older := range queue[:i] { // they contain what is mended
				if older.Trigger != ByChange {
					continue
				}
				w := with{by: d, reason: "what it brings comes with " + d.ID + ", which mends " + instance.PinnedBy}
				if _, err := s.accept(tx, &older, instance, replacement, w); err != nil {
					return err
				}
			}
			if err := s.recarry(tx, instance.PinnedBy, d.Change); err != nil {
				return err
			}
		}
		_, err := s.accept(tx, &d, instance, turn, with{})
		return err
	}
	return nil
}

// frozen reports whether the deployment waits for the end of a freeze of its environment, and makes it say
// so. A rollback never does: what is broken must not stay so for the sake of peace.
func (s *Service) frozen(tx *db.Tx, d Deployment, instance *app.Instance) (bool, error) {
	if d.Trigger == ByRollback {
		return false, nil
	}
	e, err := app.FindEnvironment(tx, d.Environment)
	if err != nil {
		return false, err
	}
	f, now := e.Frozen(tx.Now())
	if !now {
		return false, nil
	}
	reason := fmt.Sprintf("%s is frozen until %s", e.Name, f.Until.UTC().Format("2006-01-02 15:04 UTC"))
	if f.Reason != "" {
		reason += ": " + f.Reason
	}
	if d.Reason == reason {
		return true, nil
	}
	_, err = s.accept(tx, &d, instance, delay, with{code: codeFrozen, reason: reason})
	return true, err
}

func (s *Service) startAfter(tx *db.Tx, d Deployment) {
	tx.AfterCommit(func() {
		if err := s.Durable.Start(s.run, d.workflow()); err != nil {
			s.Log.Warn("a deployment is admitted and will be started by the sweeper", "deployment", d.ID, "error", err)
		}
	})
}

// visible loads a deployment for a person who may see its app.
func (s *Service) visible(ctx context.Context, tx *db.Tx, id string, perm account.Permission) (Deployment, app.App, error) {
	d, err := Find(tx, id)
	if err != nil {
		return d, app.App{}, err
	}
	a, err := app.Known(tx, d.App)
	if err != nil {
		return d, a, fault.Missing("deployment", id)
	}
	return d, a, account.From(ctx).RequireOf(perm, a.Team, "deployment", id)
}

// Get returns a deployment with its steps.
func (s *Service) Get(ctx context.Context, id string) (d Deployment, err error) {
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		if d, _, err = s.visible(ctx, tx, id, account.ViewApp); err != nil {
			return err
		}
		d.Steps, err = Steps(tx, id)
		return err
	})
	return d, err
}

// OfChange returns the deployments of a change with their steps, the first one first.
func (s *Service) OfChange(ctx context.Context, id string) (found []Deployment, err error) {
	found, err = s.List(ctx, Filter{Change: id, Limit: 100})
	if err != nil {
		return nil, err
	}
	slices.Reverse(found)
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		for i := range found {
			if found[i].Steps, err = Steps(tx, found[i].ID); err != nil {
				return err
			}
		}
		return nil
	})
	return found, err
}

// Fenced fails unless token is the current fence of the instance, and keeps it so until the transaction ends: a
// run that was overtaken may not write the state.
func Fenced(tx *db.Tx, instance string, token int64) error {
	var now int64
	err := tx.QueryRow(`select fence from instance where id = $1`+tx.ForUpdate(), instance).Scan(&now)
	if err != nil {
		return err
	}
	if now != token {
		return fault.New(fault.Conflict, "deployment.fenced", "A newer deployment owns this instance.")
	}
	return nil
}

// List returns the deployments that match, newest first, of apps the actor may see, without their plans.
func (s *Service) List(ctx context.Context, f Filter) (found []Deployment, err error) {
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		if err := app.CheckNamed(tx, f.App, f.Environment); err != nil {
			return err
		}
		may, err := app.Visible(tx, account.From(ctx))
		if err != nil {
			return err
		}
		found, err = db.Fill(f.Limit, func(d Deployment) bool { return may(d.App) }, func(last *Deployment) ([]Deployment, error) {
			if last != nil {
				f.Before = last.ID
			}
			return list(tx, f)
		})
		return err
	})
	return found, err
}

// Awaits reports whether the deployment is held for an operator who the actor may be.
func (s *Service) Awaits(ctx context.Context, d Deployment) (yes bool, err error) {
	if d.State != Held {
		return false, nil
	}
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		team, err := app.Team(tx, d.App)
		yes = err == nil && account.From(ctx).Can(account.HoldRelease, team)
		return err
	})
	return yes, err
}

// Proceed lets a held deployment go on. It binds to the plan that was shown: planDigest must be its
// digest, so that nobody releases what they have not seen (rule of change 10). confirm is the name of the app, where
// one who may not is the only person; see account.FourEyes.
func (s *Service) Proceed(ctx context.Context, id, planDigest, confirm string) (d Deployment, err error) {
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if d, _, err = s.visible(ctx, tx, id, account.HoldRelease); err != nil {
			return err
		}
		var instance app.Instance
		if d, instance, err = take(tx, d); err != nil {
			return err
		}
		if d.State == Held && planDigest != d.PlanDigest {
			return fault.New(fault.Stale, "deployment.plan_changed", "The plan of deployment %s is not the one you looked at.", d.ID).
				Do("Look at the plan again and release it with its digest %s.", d.PlanDigest)
		}
		note, err := s.fourEyes(tx, d, confirm)
		if err != nil {
			return err
		}
		if _, err := s.accept(tx, &d, &instance, release, with{who: account.From(ctx).Name}); err != nil {
			return err
		}
		return account.Audit(tx, account.Entry{Action: "deployment.release", Subject: d.ID, Decision: "allowed", Reason: strings.TrimSpace(planDigest + " " + note)})
	})
	return d, err
}

// fourEyes refuses that an author of what a held deployment destroys in production releases it; see
// account.FourEyes. What a rollback destroys, who asked for the rollback caused as well; and so did who asked for a
// deployment of what nobody has changed, such as one for another value of the environment.
func (s *Service) fourEyes(tx *db.Tx, d Deployment, confirm string) (note string, err error) {
	e, err := app.FindEnvironment(tx, d.Environment)
	if err != nil || e.Class != "production" || len(d.Destroys) == 0 {
		return "", err
	}
	changes, err := db.Collect(tx, func(r db.Row) (id string, err error) { return id, r.Scan(&id) },
		`select change from rollout where state = 'carried' and deployment = $1 and app = $2 and environment = $3`, d.Change, d.App, d.Environment)
	if err != nil {
		return "", err
	}
	pin := app.Pin{Pattern: d.Desired.Pattern, Version: d.Desired.Version}
	causes, err := s.Changes.Causes(tx, d.App, append(changes, d.Change), d.Previous, pin)
	if err != nil {
		return "", err
	}
	if d.Trigger == ByRollback || len(causes) == 0 {
		causes = append(causes, d.CreatedBy)
	}
	return account.FourEyes(tx, causes, d.App, confirm)
}

// RollBack deploys what an earlier deployment of the instance brought, and pins the instance there:
// later changes stop before it until that is mended (see unpin). to is the deployment to go back to; empty
// means the one before the current.
func (s *Service) RollBack(ctx context.Context, name, environment, to string) (d Deployment, err error) {
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		a, err := app.Find(tx, name)
		if err != nil {
			return err
		}
		if err := account.From(ctx).RequireOf(account.Rollback, a.Team, "app", name); err != nil {
			return err
		}
		if _, err := app.LockInstances(tx, name); err != nil {
			return err
		}
		instance, err := app.FindInstance(tx, name, environment)
		if err != nil {
			return err
		}
		target, blamed, err := s.earlier(tx, instance, to)
		if err != nil {
			return err
		}
		before := undo{Pinned: instance.PinnedBy}
		if err := app.PinTo(tx, &instance, blamed); err != nil {
			return err
		}
		if blamed != "" {
			why := fmt.Sprintf("%s rolled %s back to deployment %s", account.From(ctx).Name, environment, target.ID)
			if before.Change, err = change.MarkRolledBack(tx, blamed, why); err != nil {
				return err
			}
		}
		d, err = s.admit(tx, Deployment{App: name, Environment: environment, Change: blamed, Trigger: ByRollback, Desired: target.Desired, CreatedBy: account.From(ctx).ID, undo: &before})
		if err != nil {
			return err
		}
		return account.Audit(tx, account.Entry{Action: "deployment.rollback", Subject: d.ID, Decision: "allowed", Reason: "to " + target.ID})
	})
	return d, err
}

// earlier finds the successful deployment to go back to, and the change that brought the current one.
func (s *Service) earlier(tx *db.Tx, instance app.Instance, to string) (target Deployment, blamed string, err error) {
	done, err := db.Collect(tx, scan, selectSucceeded, instance.ID)
	if err != nil {
		return target, "", err
	}
	for i, d := range done {
		if i == 0 {
			blamed = d.Change
			continue
		}
		if d.Desired.IsZero() {
			continue // it was removed then: that is no state to go back to
		}
		if to == d.ID || (to == "" && d.Desired.Hash() != instance.Deployed.Hash()) {
			return d, blamed, nil
		}
	}
	return target, "", fault.New(fault.Conflict, "deployment.nothing_earlier", "There is no earlier successful deployment of %s in %s to go back to.", instance.App, instance.Environment).
		Do("`flywheel deployment list --app %s` shows what there is.", instance.App)
}

// Redeploy brings an instance to the state its main branch describes again, for example after drift
// or a failure whose cause is gone.
func (s *Service) Redeploy(ctx context.Context, name, environment string) (d Deployment, err error) {
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		a, err := app.Find(tx, name)
		if err != nil {
			return err
		}
		if err := account.From(ctx).RequireOf(account.Deploy, a.Team, "app", name); err != nil {
			return err
		}
		e, err := app.FindEnvironment(tx, environment)
		if err != nil {
			return err
		}
		if _, err := app.LockInstances(tx, name); err != nil {
			return err
		}
		artifact, err := app.Artifact(tx, a.Name, a.Description.Source)
		if err != nil {
			return err
		}
		desired := a.Description.Desired(e, artifact)
		if desired.IsZero() {
			return fault.New(fault.Conflict, "deployment.not_selected", "%s does not select the environment %s.", name, environment).Do("Add it under `environments` in flywheel.yaml.")
		}
		d, err = s.admit(tx, Deployment{App: name, Environment: environment, Trigger: ByRedeploy, Kind: Infrastructure, Desired: desired, CreatedBy: account.From(ctx).ID})
		if err != nil {
			return err
		}
		return account.Audit(tx, account.Entry{Action: "deployment.redeploy", Subject: d.ID, Decision: "allowed"})
	})
	return d, err
}
