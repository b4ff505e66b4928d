package deploy

import (
	"fmt"
	"slices"

	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/secret"
)

// lock returns an instance for writing: until the transaction ends nobody else decides about deployments of
// its app.
func lock(tx *db.Tx, name, id string) (app.Instance, error) {
	all, err := app.LockInstances(tx, name)
	if err != nil {
		return app.Instance{}, err
	}
	at := slices.IndexFunc(all, func(i app.Instance) bool { return i.ID == id })
	if at < 0 {
		return app.Instance{}, fault.Missing("instance", id)
	}
	return all[at], nil
}

// take returns a deployment with its instance as they are now, for writing. Rows are locked in one order: the
// instances of the app, the deployment, then changes (docs/decisions/0022).
func take(tx *db.Tx, d Deployment) (Deployment, app.Instance, error) {
	i, err := lock(tx, d.App, d.Instance)
	if err != nil {
		return d, i, err
	}
	now, err := find(tx, d.ID, tx.ForUpdate())
	return now, i, err
}

// takeRun is take for a run of the deployment, which ends with durable.ErrOutdated if another deployment has the
// instance.
func takeRun(tx *db.Tx, d Deployment) (Deployment, app.Instance, error) {
	now, i, err := take(tx, d)
	if err == nil && (i.Fence != now.fence || i.Running != now.ID) {
		err = durable.ErrOutdated
	}
	return now, i, err
}

// with is what comes with an input.
type with struct {
	code, reason string
	who          string     // name of the person
	by           Deployment // the newer one, of a replacement
	plan         planned
	out          outcome  // of the last step of the run
	touched      bool     // it changed the world
	brought      []string // by a deployment that succeeded, beside its own change
}

// accept moves a deployment: it writes what that changes, appends the fact, and does what follows. The caller has
// taken the deployment and the instance, and both are up to date afterwards. opens reports whether the revert of
// the deployment's change is to be opened after the commit.
func (s *Service) accept(tx *db.Tx, d *Deployment, i *app.Instance, h input, w with) (opens bool, err error) {
	m := decide(d.at(), h)
	if m.refused != "" {
		return false, m.refused.answer(*d, h)
	}
	told := d.enter(m.to, d.codeAfter(h, w), tx.Now())
	if err := d.write(tx, i, m.to, h, w); err != nil {
		return false, err
	}
	if h == success {
		if w.brought, err = brought(tx, *d); err != nil {
			return false, err
		}
	}
	effects := m.effects
	if len(effects) > 0 && effects[0] == closeSteps { // a step ends before its deployment does
		if _, err := s.follow(tx, d, i, h, w, closeSteps); err != nil {
			return false, err
		}
		effects = effects[1:]
	}
	if err := announce(tx, *d, h, told, w); err != nil {
		return false, err
	}
	for _, e := range effects {
		more, err := s.follow(tx, d, i, h, w, e)
		if err != nil {
			return false, err
		}
		opens = opens || more
	}
	return opens, nil
}

// codeAfter returns the code that the deployment has after an input.
func (d Deployment) codeAfter(h input, w with) string {
	switch h {
	case planning:
		return d.Code
	case turn, release:
		return ""
	}
	return w.code
}

// write writes what an input changes about the deployment itself.
func (d *Deployment) write(tx *db.Tx, i *app.Instance, to State, h input, w with) error {
	now := tx.Now()
	switch h {
	case admission:
		d.State, d.Code, d.Reason = to, w.code, w.reason
		return insert(tx, *d)
	case turn:
		d.State, d.Code, d.Reason, d.StartedAt = to, "", "", &now
		d.was, d.fence, d.Previous, d.Kind = i.State, i.Fence+1, i.Deployed, d.kind(i.Deployed)
		return writeTurn(tx, *d)
	case delay, pause:
		d.Code, d.Reason = w.code, w.reason
		return writeReason(tx, *d)
	case planning:
		d.Plan, d.PlanDigest, d.Destroys = w.plan.Tree, w.plan.Digest, w.plan.Destructive
		return writePlan(tx, *d)
	case release:
		d.State, d.Reason, d.releases = to, "released by "+w.who, d.releases+1
		d.shown = &change.Shown{Desired: d.Desired.Hash(), Plan: d.PlanDigest, Destroys: d.Destroys}
		return writeRelease(tx, *d)
	}
	switch to {
	case cancelling:
		d.cancelledBy, d.Reason = w.who, "cancelling, as "+w.who+" asked"
		return writeWish(tx, *d)
	case Held:
		d.State, d.Reason = to, w.reason
		return writeHold(tx, *d)
	}
	d.State, d.Code, d.Reason, d.FinishedAt = to, w.code, w.reason, &now
	if w.out.Probes != nil {
		d.Evidence = w.out.Probes
		if err := writeEvidence(tx, *d); err != nil {
			return err
		}
	}
	return writeEnd(tx, *d)
}

// follow does one of the things that follow when a deployment moved.
func (s *Service) follow(tx *db.Tx, d *Deployment, i *app.Instance, h input, w with, e effect) (opens bool, err error) {
	switch e {
	case tryNext:
		return false, s.next(tx, i)
	case occupy:
		return false, app.Occupy(tx, i, d.ID)
	case start:
		s.startAfter(tx, *d)
		return false, nil
	case tell:
		tx.AfterCommit(func() { s.ongoing.cancel(d.ID) })
		return false, nil
	case closeSteps:
		return false, closeRunning(tx, *d, d.stepState(), d.stepDetail(w))
	case rest:
		return false, app.Tell(tx, i, d.was, d.ID+" is held for an operator: "+d.Reason)
	case wake:
		return false, app.Tell(tx, i, app.Deploying, "")
	case arrive:
		return false, s.arrive(tx, *d, i, w.out.URL)
	case free:
		if i.Running == d.ID {
			state, reason := d.leaves(*i, h, w.touched)
			if err := app.Leave(tx, i, state, reason); err != nil {
				return false, err
			}
		}
		return false, s.next(tx, i)
	case advance:
		return false, s.goesOn(tx, *d, w.brought)
	case stick:
		if err := endLeg(tx, *d, "failed"); err != nil {
			return false, err
		}
		return false, s.stuck(tx, *d, d.how())
	case carry:
		return false, s.carried(tx, *d, w.by)
	case goBack:
		return false, s.goBack(tx, *d, i)
	case restore:
		return s.restore(tx, *d, i, w.touched)
	case openRevert:
		return d.Trigger == ByRollback && d.Change != "", nil
	}
	return false, fmt.Errorf("deploy: nothing does %q", e)
}

// stepState returns the state in which the step that was running has ended.
func (d Deployment) stepState() string {
	switch {
	case d.State == Succeeded:
		return "succeeded"
	case d.State == Held:
		return "held"
	case d.State == Cancelled && d.Code == codeCancelled:
		return "cancelled"
	}
	return "failed"
}

func (d Deployment) stepDetail(w with) string {
	if d.State == Succeeded {
		return w.out.Detail
	}
	return d.Reason
}

// how returns how the deployment ended, as the end of a sentence.
func (d Deployment) how() string {
	if d.Code == codeCancelled {
		return "was " + d.Reason + "."
	}
	return "ended: " + d.Reason
}

// leaves returns how an instance is after a deployment that did not bring it to its desired state.
func (d Deployment) leaves(i app.Instance, h input, touched bool) (app.InstanceState, string) {
	switch {
	case h == cancel && (touched || d.was == app.Degraded):
		return app.Degraded, d.ID + " was " + d.Reason
	case h == cancel:
		return d.was, ""
	case touched || i.Deployed.IsZero():
		return app.Degraded, d.ID + ": " + d.Reason
	}
	return d.was, d.ID + ": " + d.Reason // what ran before still runs, and nothing was done to it
}

// arrive records of an instance what a deployment brought.
func (s *Service) arrive(tx *db.Tx, d Deployment, i *app.Instance, url string) error {
	deployed, reason := d.Desired, ""
	if d.Trigger == ByRollback {
		reason = "rolled back by " + d.ID
	}
	if d.Kind == Destroy {
		deployed = app.Desired{}
		if err := secret.DeleteAll(tx, d.App, d.Environment); err != nil {
			return err
		}
	}
	if err := app.Arrive(tx, i, deployed, url, reason); err != nil {
		return err
	}
	return s.unpin(tx, d, i)
}

// goesOn lets the change of a deployment that succeeded go on to its next environment, and whatever else arrived
// with it.
func (s *Service) goesOn(tx *db.Tx, d Deployment, brought []string) error {
	if d.Trigger == ByRollback {
		return nil
	}
	if d.Trigger == ByChange {
		if err := endLeg(tx, d, "succeeded"); err != nil {
			return err
		}
		c, err := change.Find(tx, d.Change)
		if err != nil {
			return err
		}
		if err := s.advance(tx, c); err != nil {
			return err
		}
	}
	return s.arrived(tx, d, brought)
}

// goBack admits the deployment to what ran before (rule of change 8).
func (s *Service) goBack(tx *db.Tx, d Deployment, i *app.Instance) (err error) {
	before := undo{Pinned: i.PinnedBy, Failed: d.ID, How: d.how()}
	if err := endLeg(tx, d, "failed"); err != nil {
		return err
	}
	if d.Trigger == ByChange {
		if err := app.PinTo(tx, i, d.Change); err != nil {
			return err
		}
		why := fmt.Sprintf("%s went back by itself, because %s failed: %s", d.Environment, d.ID, d.Reason)
		if before.Change, err = change.MarkRolledBack(tx, d.Change, why); err != nil {
			return err
		}
	}
	_, err = s.admit(tx, Deployment{App: d.App, Environment: d.Environment, Change: d.Change, Trigger: ByRollback, Kind: d.Kind, Desired: d.Previous, CreatedBy: "flywheel", undo: &before})
	return err
}

// restore puts back what a rollback changed when it was asked for, if it ended before it changed anything in the
// world: then nothing was rolled back, and later changes go on. It reports whether something was, so that the
// revert is needed.
func (s *Service) restore(tx *db.Tx, d Deployment, i *app.Instance, touched bool) (opens bool, err error) {
	if d.Trigger != ByRollback || d.undo == nil {
		return false, nil
	}
	if touched || d.State == Interrupted {
		return d.Change != "", nil
	}
	if err := writeUndo(tx, d.ID, nil); err != nil {
		return false, err
	}
	later, err := laterRollbacks(tx, d)
	if err != nil {
		return false, err
	}
	for _, l := range later {
		switch {
		case l.undo == nil:
		case l.Change == d.Change: // which is rolled back nonetheless, unless that one ends like this as well
			return false, writeUndo(tx, l.ID, d.undo)
		case l.undo.Pinned == d.Change:
			l.undo.Pinned = d.undo.Pinned
			if err := writeUndo(tx, l.ID, l.undo); err != nil {
				return false, err
			}
		}
	}
	if i.PinnedBy == d.Change && d.undo.Pinned != d.Change {
		if err := app.PinTo(tx, i, d.undo.Pinned); err != nil {
			return false, err
		}
	}
	if d.Change == "" {
		return false, nil
	}
	others, err := otherRollbacks(tx, d)
	if err != nil {
		return false, err
	}
	if len(others) > 0 { // it is rolled back nonetheless; the first that was asked for later puts back more than itself
		for _, o := range others {
			if o.undo != nil && o.undo.Change.State == change.RolledBack {
				o.undo.Change = d.undo.Change
				return false, writeUndo(tx, o.ID, o.undo)
			}
		}
		return false, nil
	}
	c, err := change.MarkNotRolledBack(tx, d.Change, d.undo.Change)
	if err != nil || c.State == change.RolledBack {
		return false, err
	}
	if d.undo.Failed != "" {
		failed := Deployment{ID: d.undo.Failed, App: d.App, Environment: d.Environment, Change: d.Change, Trigger: ByChange}
		if err := s.stuck(tx, failed, d.undo.How); err != nil {
			return false, err
		}
	}
	return false, s.advance(tx, c)
}
