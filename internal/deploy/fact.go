package deploy

import (
	"slices"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/event"
)

// origin fills in team, class and lane, which every fact about the deployment carries.
func (d *Deployment) origin(tx *db.Tx, e app.Environment) error {
	a, err := app.Known(tx, d.App)
	if err != nil {
		return err
	}
	d.team, d.class = a.Team, e.Class
	if d.Change != "" {
		lane, err := change.LaneOf(tx, d.Change)
		if err != nil {
			return err
		}
		d.lane = string(lane)
	}
	return nil
}

// causes are what a deployment waits for, by its code. A step that stands still waits for the platform.
var causes = map[string]event.Cause{
	codeQueued:     event.WaitsForQueue,
	codeFrozen:     event.WaitsForFreeze,
	codeRolledBack: event.WaitsForFix,
}

// enter notes that the deployment is in a state from now on, with the code of what it waits for there. It returns the
// move from the state before, as the fact about it says.
func (d *Deployment) enter(to State, code string, now time.Time) event.Moved {
	waits := event.Cause("")
	switch to {
	case Waiting:
		waits = causes[code]
	case Held:
		waits = event.WaitsForOperator
	case Running:
		if code != "" {
			waits = event.WaitsForPlatform
		}
	}
	told := event.Moved{From: string(d.at()), State: string(to), Since: d.since, WaitedFor: d.waitsFor, WaitsFor: waits}
	if to != d.at() || waits != d.waitsFor {
		d.since, d.waitsFor = now, waits
	}
	return told
}

// changed reports whether the state or the cause of waiting is another one, so that there is a fact to write.
func changed(m event.Moved) bool { return m.From != m.State || m.WaitedFor != m.WaitsFor }

func (d Deployment) of(tx *db.Tx) event.OfDeployment {
	return event.OfDeployment{
		Deployment: d.ID, App: d.App, Team: d.team, Environment: d.Environment, Class: d.class, Change: d.Change, Lane: d.lane, Kind: string(d.Kind), Trigger: string(d.Trigger),
		Number: d.Number, Artifact: d.Desired.Artifact, PatternVersion: d.Desired.Version, By: account.From(tx.Context()).Name,
	}
}

// announce writes the fact about the move that an input caused, if the deployment moved.
func announce(tx *db.Tx, d Deployment, h input, told event.Moved, w with) error {
	if h == planning || !changed(told) { // a plan is no fact: what comes of it is
		return nil
	}
	told.Why, told.Code = d.Reason, d.Code
	of := d.of(tx)
	switch d.at() {
	case Waiting:
		if h == admission {
			return event.Emit(tx, event.DeploymentQueued{OfDeployment: of, Moved: told})
		}
		return event.Emit(tx, event.DeploymentDelayed{OfDeployment: of, Moved: told})
	case Running:
		switch h {
		case turn:
			return event.Emit(tx, event.DeploymentStarted{OfDeployment: of, Moved: told})
		case release:
			return event.Emit(tx, event.DeploymentReleased{OfDeployment: of, Moved: told})
		}
		return event.Emit(tx, event.DeploymentDelayed{OfDeployment: of, Moved: told})
	case cancelling:
		return event.Emit(tx, event.DeploymentCancelling{OfDeployment: of, Moved: told})
	case Held:
		return event.Emit(tx, event.DeploymentHeld{OfDeployment: of, Moved: told, Destroys: d.Destroys})
	case Cancelled:
		return event.Emit(tx, event.DeploymentCancelled{OfDeployment: of, Moved: told})
	case Superseded:
		return event.Emit(tx, event.DeploymentSuperseded{OfDeployment: of, Moved: told, Newer: w.by.ID})
	case Interrupted:
		return event.Emit(tx, event.DeploymentFailed{OfDeployment: of, Moved: told, Outcome: "error"})
	case Failed:
		return event.Emit(tx, event.DeploymentFailed{OfDeployment: of, Moved: told, Outcome: "failure"})
	}
	return d.announceSuccess(tx, of, told, w.brought)
}

func (d Deployment) announceSuccess(tx *db.Tx, of event.OfDeployment, told event.Moved, changes []string) (err error) {
	b := event.Brought{OfDeployment: of, Moved: told, Changes: changes, QueuedAt: d.CreatedAt}
	if d.Change != "" && d.Trigger != ByRollback && !slices.Contains(changes, d.Change) {
		b.Changes = append([]string{d.Change}, changes...)
	}
	if d.StartedAt != nil {
		b.BegunAt = *d.StartedAt
	}
	if b.Previous, err = succeededBefore(tx, d); err != nil {
		return err
	}
	switch {
	case d.Kind == Destroy:
		return event.Emit(tx, event.ServiceRemoved{Brought: b})
	case d.Trigger == ByRollback:
		return event.Emit(tx, event.ServiceRolledBack{Brought: b, TakesBack: d.Change})
	case d.Previous.IsZero():
		return event.Emit(tx, event.ServiceDeployed{Brought: b})
	}
	return event.Emit(tx, event.ServiceUpgraded{Brought: b})
}
