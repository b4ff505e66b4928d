package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
)

// outcome is what a step remembers of its effect. A failed effect is an answer of the step, not an
// error of the workflow: the workflow goes on to record it.
type outcome struct {
	Detail      string   `json:"detail,omitempty"`
	Failed      string   `json:"failed,omitempty"` // the sentence
	Code        string   `json:"code,omitempty"`
	Held        bool     `json:"held,omitempty"`
	Why         string   `json:"why,omitempty"` // it is held
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
		s.Log.InfoContext(flow, "a deployment is held", "deployment", d.ID, "app", d.App, "environment", d.Environment, "why", out.Why)
		return "held", s.hold(flow, d, out.Why)
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
		now, instance, err := takeRun(tx, d)
		if err != nil || now.Reason == reason || now.at() == cancelling {
			return err
		}
		touchStep(tx, d)
		if _, err := tx.Exec(`update deployment_step set state = $3, detail = $4 where deployment = $1 and position = $2`, d.ID, position, state, reason); err != nil {
			return err
		}
		_, err = s.accept(tx, &now, &instance, pause, with{code: code, reason: reason})
		return err
	})
	if durable.UnlessOutdated(err) != nil {
		s.Log.WarnContext(ctx, "why a deployment waits could not be written", "deployment", d.ID, "error", err)
	}
}

// intend writes that a step begins. Its outcome is not ok if the step must not; under then says that its effect
// is under way nonetheless, begun by a process that died.
func intend(tx *db.Tx, d Deployment, position int, name string, before outcome) (out outcome, under bool, err error) {
	if _, err := app.LockInstances(tx, d.App); err != nil {
		return outcome{}, false, err
	}
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
	return outcome{}, false, event.Emit(tx, event.StepStarted{OfDeployment: d.of(tx), Step: name})
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
	touchStep(tx, d)
	return endSteps(tx, d, `update deployment_step set state = $2, finished_at = $3, detail = case when $4 = '' then detail else $4 end
		where deployment = $1 and state in ('running', 'waiting') and position = $5`, state, tx.Now(), detail, position)
}

// closeRunning ends whatever step is running, in the state that the deployment ends in.
func closeRunning(tx *db.Tx, d Deployment, state, detail string) error {
	touchStep(tx, d)
	return endSteps(tx, d, `update deployment_step set state = $2, finished_at = $3, detail = $4 where deployment = $1 and state in ('running', 'waiting')`,
		state, tx.Now(), detail)
}

func endSteps(tx *db.Tx, d Deployment, update, state string, more ...any) error {
	ended, err := db.Collect(tx, func(r db.Row) (s Step, err error) { return s, r.Scan(&s.Name, &s.StartedAt) },
		update+` returning name, started_at`, append([]any{d.ID, state}, more...)...)
	if err != nil {
		return err
	}
	for _, s := range ended {
		if err := event.Emit(tx, event.StepFinished{OfDeployment: d.of(tx), Step: s.Name, State: state, StartedAt: s.StartedAt}); err != nil {
			return err
		}
	}
	return nil
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
	now, instance, err := takeRun(tx, d)
	if err == nil {
		_, err = s.accept(tx, &now, &instance, success, with{out: out})
	}
	return err
}

// hold leaves the deployment as a row that waits for an operator. The instance stays its own.
func (s *Service) hold(flow durable.Flow, d Deployment, why string) error {
	back, err := durable.Transaction(s.Durable, flow, "hold", func(tx *db.Tx) (string, error) {
		opens, err := s.holds(tx, d, why)
		if opens {
			return "revert", err
		}
		return "", err
	})
	if err != nil || back == "" {
		return durable.UnlessOutdated(err)
	}
	return s.openRevert(flow, d.Change)
}

// holds holds a deployment for an operator, or ends it if somebody has cancelled it since it was planned.
func (s *Service) holds(tx *db.Tx, d Deployment, why string) (opens bool, err error) {
	now, instance, err := takeRun(tx, d)
	if err != nil {
		return false, err
	}
	w := with{reason: cmp.Or(why, now.Reason)}
	if now.at() == cancelling {
		w.code, w.reason = codeCancelled, "cancelled by "+now.cancelledBy+" before its plan was held"
		if w.touched, err = touches(tx, now); err != nil {
			return false, err
		}
	}
	return s.accept(tx, &now, &instance, hold, w)
}

// fail records a failed deployment and opens the revert of a change that was rolled back in part.
func (s *Service) fail(flow durable.Flow, d Deployment, out outcome) error {
	opens, err := durable.Transaction(s.Durable, flow, "fail", func(tx *db.Tx) (bool, error) { return s.giveUp(tx, d, out) })
	if err != nil || !opens {
		return durable.UnlessOutdated(err)
	}
	return s.openRevert(flow, d.Change)
}

// giveUp records a failed deployment and, where there is something to go back to, admits the rollback
// (rule of change 8). It reports whether the revert of its change is to be opened.
func (s *Service) giveUp(tx *db.Tx, d Deployment, out outcome) (opens bool, err error) {
	now, instance, err := takeRun(tx, d)
	if err != nil {
		return false, err
	}
	touched, err := touches(tx, now)
	if err != nil {
		return false, err
	}
	touched = touched && !(out.Untouched && now.Kind == Release)
	return s.accept(tx, &now, &instance, now.ending(out, touched), with{code: out.Code, reason: out.Failed, out: out, touched: touched})
}

// ending returns what the end of a run without success is to the deployment. There is nothing to go back to, or
// going back is what failed, where a person decides.
func (d Deployment) ending(out outcome, touched bool) input {
	switch {
	case out.Interrupted:
		return crash
	case out.Code == codeCancelled, out.Code == "engine.cancelled": // by somebody else than us
		return stopping
	case !touched, d.Trigger == ByRollback, d.Previous.IsZero(), d.Kind == Destroy:
		return failure
	}
	return partialFailure
}

// touches reports whether the deployment began to change the world.
func touches(tx *db.Tx, d Deployment) (bool, error) {
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
	err := s.DB.Write(ctx, func(tx *db.Tx) error { return s.plans(tx, d, plan) })
	if err != nil {
		return failed(err)
	}
	if !held {
		reason = ""
	}
	return outcome{Detail: plan.Summary, Held: held, Why: reason}
}

// plans records the plan of a deployment.
func (s *Service) plans(tx *db.Tx, d Deployment, plan planned) error {
	now, instance, err := takeRun(tx, d)
	if err == nil {
		_, err = s.accept(tx, &now, &instance, planning, with{plan: plan})
	}
	return err
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
