package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/secret"
)

// outcome is what a step remembers of its effect. A failed effect is an answer of the step, not an
// error of the workflow: the workflow goes on to record it.
type outcome struct {
	Detail      string   `json:"detail,omitempty"`
	Failed      string   `json:"failed,omitempty"` // the sentence
	Code        string   `json:"code,omitempty"`
	Held        bool     `json:"held,omitempty"`
	Interrupted bool     `json:"interrupted,omitempty"`
	Untouched   bool     `json:"untouched,omitempty"` // what ran before the step runs as if it had not begun
	Full        bool     `json:"full,omitempty"`      // the disk was, and has room again: it is planned anew
	URL         string   `json:"url,omitempty"`
	Probes      []Probe  `json:"probes,omitempty"`
	Addresses   []string `json:"addresses,omitempty"`
}

func (o outcome) ok() bool { return o.Failed == "" && !o.Held }

// run is the deployment workflow: prepare → plan → policy → apply, or release → verify → record.
// The id is the deployment's; after the release of a held plan it has a suffix.
func (s *Service) run(flow durable.Flow, workflow string) (string, error) {
	id, _, _ := strings.Cut(workflow, ".")
	// What the steps need of it never changes in a run, so it is read rather than remembered.
	var d Deployment
	var steps []step
	err := s.DB.Read(flow, func(tx *db.Tx) (err error) {
		if d, err = Find(tx, id); err == nil {
			steps, err = s.plan(tx, d)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	flow = durable.ForRequest(flow, d.RequestID)

	out, position := outcome{}, 0
	for i := 0; i < len(steps); i++ {
		if out, err = s.step(flow, d, position, steps[i], out); err != nil {
			return "lost", durable.UnlessOutdated(err)
		}
		position++
		if out.Full || out.again() && d.attempt < attempts {
			// What the engine did is recorded, or found again by its provider: a new plan sees what is there.
			d.attempt++
			i = -1
			continue
		}
		if !out.ok() {
			break
		}
	}
	switch {
	case out.Held:
		s.Log.InfoContext(flow, "a deployment is held", "deployment", d.ID, "app", d.App, "environment", d.Environment, "why", out.Failed)
		return "held", s.hold(flow, d)
	case !out.ok():
		s.Log.WarnContext(flow, "a deployment fails", "deployment", d.ID, "app", d.App, "environment", d.Environment, "why", out.Failed, "code", out.Code)
		return "failed", s.fail(flow, d, out)
	}
	s.Log.InfoContext(flow, "a deployment succeeds", "deployment", d.ID, "app", d.App, "environment", d.Environment)
	return "succeeded", s.record(flow, d, out)
}

// attempts bounds how often an infrastructure run is planned again after its engine was killed.
const attempts = 3

// again reports whether the step ended without a word, but without leaving anything unknown behind
// (rule of change 11).
func (o outcome) again() bool { return o.Interrupted && len(o.Addresses) == 0 }

// step is one named part of a deployment: an effect outside (do), or one that only concerns the database
// (within).
type step struct {
	name   string
	do     func(ctx context.Context, d Deployment) outcome
	within func(tx *db.Tx, d Deployment) outcome
}

// verify is the last step: what is rolled out by then stays, and is looked at.
const verify = "verify"

// plan returns the steps of this kind of run, in order. The last one answers with the URL and the
// probes.
func (s *Service) plan(tx *db.Tx, d Deployment) ([]step, error) {
	v, err := s.Runs.Patterns.ByDigest(tx, d.Desired.Digest) // whose manifest never changes
	if err != nil && fault.From(err).Kind != fault.NotFound {
		return nil, err
	}
	switch d.Kind {
	case Release:
		if err == nil && v.Manifest.Spec.Release.Driver == noop {
			return []step{{name: "release", within: s.Runs.releaseNothing}, {name: verify, within: verifyNothing}}, nil
		}
		return []step{{name: "release", do: s.releaseArtifact}, {name: verify, do: s.verify}}, nil
	case Destroy:
		return []step{{name: "prepare", do: s.Runs.prepare}, {name: "plan", do: s.planRun}, {name: "destroy", do: s.Runs.apply}}, nil
	}
	steps := []step{{name: "prepare", do: s.Runs.prepare}, {name: "plan", do: s.planRun}, {name: "policy", do: s.Runs.policy}, {name: "apply", do: s.Runs.apply}}
	if err == nil && v.Manifest.Spec.Release.Driver == command {
		// Of this driver nothing in the module carries the artifact to where it runs.
		steps = append(steps, step{name: "release", do: s.releaseArtifact})
	}
	return append(steps, step{name: verify, do: s.verify}), nil
}

// step runs one part. The transaction before an effect writes the intent, closes the step before, and
// looks again at what may have changed since admission: the fence, and a wish to cancel. Where nothing
// happens outside, that transaction is the whole step.
func (s *Service) step(flow durable.Flow, d Deployment, position int, st step, before outcome) (outcome, error) {
	if st.within != nil {
		return durable.Transaction(s.Durable, flow, st.name, func(tx *db.Tx) (outcome, error) {
			if out, _, err := intend(tx, d, position, st.name, before); err != nil || !out.ok() {
				return out, err
			}
			return st.within(tx, d), nil
		})
	}
	return durable.Step(flow, st.name, func(ctx context.Context) (out outcome, err error) {
		// A stopping server must not turn a running effect into a failed one: it is resumed at the next
		// start, so the step does not see the stop. It ends by its own time-outs.
		ctx = account.System(context.WithoutCancel(ctx), "deploy")
		if st.name != verify {
			cancelled, done := s.ongoing.begin(d.ID)
			defer done()
			d.cancelled = cancelled
		}
		var under bool
		err = s.DB.Write(ctx, func(tx *db.Tx) error { out, under, err = intend(tx, d, position, st.name, before); return err })
		if err != nil || !out.ok() && !under {
			return out, err
		}
		if !out.ok() { // cancelled while nobody listened, with an effect under way that may have finished
			s.ongoing.cancel(d.ID)
		}
		for {
			out = st.do(ctx, d)
			if !out.ok() && !out.Interrupted && isClosed(d.cancelled) {
				untouched := out.Untouched
				err = s.DB.Read(ctx, func(tx *db.Tx) error { out, err = mayGoOn(tx, d, "during", st.name); return err })
				out.Untouched = untouched
				return out, err
			}
			if !out.passes() && !out.Full {
				return out, nil
			}
			s.Log.WarnContext(ctx, "a deployment waits", "deployment", d.ID, "step", st.name, "why", out.Failed)
			pause := time.Second << min(d.attempt, 5) // the disk may not be the one that is looked at
			wake := d.cancelled
			for {
				s.waits(ctx, d, position, "waiting", out.Code, out.Failed)
				select {
				case <-time.After(pause):
				case <-wake:
					wake = nil
				}
				var stop outcome
				err := s.DB.Read(ctx, func(tx *db.Tx) (err error) { stop, err = mayGoOn(tx, d, "during", st.name); return err })
				if errors.Is(err, durable.ErrOutdated) || !stop.ok() {
					return stop, err
				}
				if !out.Full || s.Runs.room() {
					break
				}
			}
			s.waits(ctx, d, position, "running", "", "")
			if out.Full {
				return out, nil
			}
		}
	})
}

// waits says that a step waits, and for what, or that it goes on. Where even that cannot be written nobody
// reads it.
func (s *Service) waits(ctx context.Context, d Deployment, position int, state, code, reason string) {
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		now, err := Find(tx, d.ID)
		if err != nil || now.Reason == reason || now.cancelledBy != "" {
			return err
		}
		if _, err := tx.Exec(`update deployment_step set state = $3, detail = $4 where deployment = $1 and position = $2`, d.ID, position, state, reason); err != nil {
			return err
		}
		now.Code, now.Reason = code, reason
		return save(tx, now)
	})
	if err != nil {
		s.Log.WarnContext(ctx, "why a deployment waits could not be written", "deployment", d.ID, "error", err)
	}
}

// intend writes that a step begins. Its outcome is not ok if the step must not; under then says that its effect
// is under way nonetheless, begun by a process that died.
func intend(tx *db.Tx, d Deployment, position int, name string, before outcome) (out outcome, under bool, err error) {
	if out, err = mayGoOn(tx, d, "before", name); err != nil {
		return out, false, err
	}
	if position > 0 {
		state, detail := "succeeded", before.Detail
		if !before.ok() { // it is planned anew
			state, detail = "failed", before.Failed
		}
		if err := closeStep(tx, d, position-1, state, detail); err != nil {
			return outcome{}, false, err
		}
	}
	if !out.ok() {
		under, err = stepRuns(tx, d, position)
		return out, under, err
	}
	begun, err := beginStep(tx, d, position, name)
	if err != nil || !begun {
		return outcome{}, false, err
	}
	return outcome{}, false, announce(tx, d, name)
}

// mayGoOn is durable.ErrOutdated if a newer deployment owns the instance. Its outcome is not ok if somebody has cancelled it
// before the step, or during it.
func mayGoOn(tx *db.Tx, d Deployment, when, name string) (outcome, error) {
	var fence int64
	var running, who string
	err := tx.QueryRow(`select i.fence, i.running, d.cancelled_by from deployment d join instance i on i.id = d.instance where d.id = $1`, d.ID).
		Scan(&fence, &running, &who)
	if err != nil {
		return outcome{}, err
	}
	if fence != d.fence || running != d.ID {
		return outcome{}, durable.ErrOutdated
	}
	if who != "" && name != verify {
		return outcome{Failed: fmt.Sprintf("cancelled by %s %s its step %s", who, when, name), Code: codeCancelled}, nil
	}
	return outcome{}, nil
}

func closeStep(tx *db.Tx, d Deployment, position int, state, detail string) error {
	_, err := tx.Exec(`update deployment_step set state = $3, finished_at = $4, detail = case when $5 = '' then detail else $5 end
		where deployment = $1 and position = $2 and state in ('running', 'waiting')`, d.ID, position, state, tx.Now(), detail)
	return err
}

// closeRunning ends whatever step is running, in the state that the deployment ends in.
func closeRunning(tx *db.Tx, d Deployment, state, detail string) error {
	_, err := tx.Exec(`update deployment_step set state = $2, finished_at = $3, detail = $4 where deployment = $1 and state in ('running', 'waiting')`,
		d.ID, state, tx.Now(), detail)
	return err
}

// record writes that the instance is in its desired state, and opens the revert of what a person rolled back.
func (s *Service) record(flow durable.Flow, d Deployment, out outcome) error {
	_, err := durable.Transaction(s.Durable, flow, "record", func(tx *db.Tx) (string, error) { return "", s.succeed(tx, d, out) })
	if err != nil || d.Trigger != ByRollback || d.Change == "" {
		return durable.UnlessOutdated(err)
	}
	return s.openRevert(flow, d.Change)
}

// openRevert opens the change that takes back what was rolled back, unless it is open.
func (s *Service) openRevert(flow durable.Flow, id string) error {
	_, err := durable.Step(flow, "revert", func(ctx context.Context) (string, error) {
		return "", s.Changes.OpenRevert(account.System(context.WithoutCancel(ctx), "deploy"), id)
	})
	return err
}

// succeed writes that the instance is in its desired state, admits the next deployment of the instance,
// and lets the change go on to its next environment. All in one transaction.
func (s *Service) succeed(tx *db.Tx, d Deployment, out outcome) error {
	now, err := Find(tx, d.ID)
	if err != nil {
		return err
	}
	instance, err := app.FindInstance(tx, d.App, d.Environment)
	if err != nil {
		return err
	}
	if instance.Fence != now.fence || now.State != Running {
		return durable.ErrOutdated
	}
	if err := closeRunning(tx, d, "succeeded", out.Detail); err != nil {
		return err
	}
	at := tx.Now()
	now.State, now.Code, now.Reason, now.FinishedAt = Succeeded, "", "", &at
	if now.Evidence = out.Probes; now.Evidence == nil {
		now.Evidence = []Probe{}
	}
	instance.State, instance.Reason, instance.Deployed, instance.URL = app.Healthy, "", d.Desired, out.URL
	if d.Kind == Destroy {
		instance.State, instance.Deployed, instance.URL = app.Gone, app.Desired{}, ""
		if err := secret.DeleteAll(tx, d.App, d.Environment); err != nil {
			return err
		}
	}
	if d.Trigger == ByRollback {
		instance.Reason = "rolled back by " + d.ID
	}
	if instance.PinnedBy != "" {
		if err := s.unpin(tx, d, &instance); err != nil {
			return err
		}
	}
	if err := save(tx, now); err != nil {
		return err
	}
	if err := s.release(tx, instance); err != nil {
		return err
	}
	if d.Trigger == ByRollback {
		return nil
	}
	if d.Trigger == ByChange {
		if err := s.endLeg(tx, d, "succeeded"); err != nil {
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
	return s.arrive(tx, d)
}

// hold leaves the deployment as a row that waits for an operator. The instance stays its own.
func (s *Service) hold(flow durable.Flow, d Deployment) error {
	_, err := durable.Transaction(s.Durable, flow, "hold", func(tx *db.Tx) (string, error) { return "", s.holds(tx, d) })
	return durable.UnlessOutdated(err)
}

func (s *Service) holds(tx *db.Tx, d Deployment) error {
	now, err := Find(tx, d.ID)
	if err != nil {
		return err
	}
	if now.cancelledBy != "" { // since it was planned
		_, err := s.giveUp(tx, d, outcome{Failed: "cancelled by " + now.cancelledBy + " before its plan was held", Code: codeCancelled})
		return err
	}
	if err := closeRunning(tx, d, "held", now.Reason); err != nil {
		return err
	}
	now.State = Held
	if err := save(tx, now); err != nil {
		return err
	}
	instance, err := app.FindInstance(tx, d.App, d.Environment)
	if err != nil {
		return err
	}
	instance.State = now.was // nothing moves until it is released
	instance.Reason = d.ID + " is held for an operator: " + now.Reason
	return app.SaveInstance(tx, instance)
}

// fail records a failed deployment and opens the revert of a change that was rolled back.
func (s *Service) fail(flow durable.Flow, d Deployment, out outcome) error {
	back, err := durable.Transaction(s.Durable, flow, "fail", func(tx *db.Tx) (bool, error) { return s.giveUp(tx, d, out) })
	if err != nil || !back {
		return durable.UnlessOutdated(err)
	}
	return s.openRevert(flow, d.Change)
}

// giveUp records a failed deployment and, where there is something to go back to, admits the rollback
// (rule of change 8). It reports whether the change that caused it was marked and needs its revert.
func (s *Service) giveUp(tx *db.Tx, d Deployment, out outcome) (back bool, err error) {
	now, err := Find(tx, d.ID)
	if err != nil {
		return false, err
	}
	instance, err := app.FindInstance(tx, d.App, d.Environment)
	if err != nil {
		return false, err
	}
	if instance.Fence != now.fence || now.State != Running {
		return false, durable.ErrOutdated
	}
	at := tx.Now()
	step, how := "failed", "ended: "+out.Failed
	now.State, now.Reason, now.Code, now.FinishedAt = Failed, out.Failed, out.Code, &at
	if out.Probes != nil {
		now.Evidence = out.Probes
	}
	switch {
	case out.Interrupted:
		now.State = Interrupted
	case out.Code == codeCancelled:
		now.State, step, how = Cancelled, "cancelled", "was "+out.Failed+"."
	case out.Code == "engine.cancelled": // by somebody else than us
		now.State = Cancelled
	}
	if err := closeRunning(tx, d, step, out.Failed); err != nil {
		return false, err
	}
	if err := save(tx, now); err != nil {
		return false, err
	}
	if err := s.endLeg(tx, d, "failed"); err != nil {
		return false, err
	}
	touched, err := effects(tx, d)
	if err != nil {
		return false, err
	}
	touched = touched && !(out.Untouched && d.Kind == Release)
	instance.State, instance.Reason = app.Degraded, d.ID+": "+out.Failed
	if !touched && !instance.Deployed.IsZero() {
		instance.State = now.was // what ran before still runs, and nothing was done to it
	}
	if !touched || d.Trigger == ByRollback || d.Previous.IsZero() || out.Interrupted || d.Kind == Destroy || now.State == Cancelled {
		// Nothing to go back from or to, or going back is what failed: a person decides.
		if err := s.stuck(tx, d, how); err != nil {
			return false, err
		}
		return false, s.release(tx, instance)
	}
	if d.Trigger == ByChange {
		instance.PinnedBy = d.Change
		if err := change.MarkRolledBack(tx, d.Change, fmt.Sprintf("%s went back by itself, because %s failed: %s", d.Environment, d.ID, out.Failed)); err != nil {
			return false, err
		}
	}
	if err := app.SaveInstance(tx, instance); err != nil {
		return false, err
	}
	if _, err := s.admit(tx, Deployment{App: d.App, Environment: d.Environment, Change: d.Change, Trigger: ByRollback, Kind: d.Kind, Desired: d.Previous, CreatedBy: "flywheel"}); err != nil {
		return false, err
	}
	fresh, err := app.FindInstance(tx, d.App, d.Environment)
	if err != nil {
		return false, err
	}
	return d.Trigger == ByChange, s.release(tx, fresh)
}

// effects reports whether the deployment began to change the world.
func effects(tx *db.Tx, d Deployment) (bool, error) {
	var n int
	err := tx.QueryRow(`select count(*) from deployment_step where deployment = $1 and name in ('apply', 'release', 'destroy')`, d.ID).Scan(&n)
	return n > 0, err
}

// planRun plans an infrastructure run and holds it where it would destroy or replace something
// stateful that no operator has released.
func (s *Service) planRun(ctx context.Context, d Deployment) outcome {
	plan, out := s.Runs.plan(ctx, d)
	if !out.ok() {
		return out
	}
	reason := ""
	switch {
	case d.Kind == Destroy:
		reason = fmt.Sprintf("it removes %s from %s: %s", d.App, d.Environment, plan.Summary)
	case len(plan.Destructive) > 0:
		reason = "it would destroy or replace " + strings.Join(plan.Destructive, ", ")
	}
	held := reason != ""
	if held && d.shown != nil {
		missing := d.shown.Missing(d.Desired, plan.Destructive)
		reason, held = reason+"; "+missing, missing != ""
	}
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		now, err := Find(tx, d.ID)
		if err != nil {
			return err
		}
		now.Plan, now.PlanDigest, now.Destroys = plan.Tree, plan.Digest, plan.Destructive
		if held {
			now.Reason = reason
		}
		return save(tx, now)
	})
	if err != nil {
		return failed(err)
	}
	return outcome{Detail: plan.Summary, Held: held}
}

// passes reports whether the step failed for what is no fault of the deployment and passes by itself or
// when somebody frees some space: it waits then, and what ran before runs meanwhile.
func (o outcome) passes() bool { return o.Code == "agent.disk_full" || o.Code == codeAway }

const codeAway = "deployment.waits"

func failed(err error) outcome {
	if db.IsAway(err) || db.IsFull(err) || errors.Is(err, syscall.ENOSPC) {
		return outcome{Failed: err.Error(), Code: codeAway}
	}
	f := fault.From(err)
	if f.Kind == fault.Internal {
		return outcome{Failed: err.Error(), Code: f.Code}
	}
	return outcome{Failed: strings.TrimSpace(f.Message + " " + f.Remedy), Code: f.Code}
}
