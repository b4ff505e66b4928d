// Package deploy brings instances to their desired state, one durable deployment at a time.
//
// A merged change hands over a target for each environment it alters (Rollout). The first becomes a
// deployment; when it is verified, its record admits the next environment's, and after the last one
// the change is deployed. Deployments of one instance run strictly in order: the table is the queue,
// admission happens in a transaction that raises the instance's fence, and the finisher of one
// admits the next. What was admitted and not started (the process died in between) a sweeper starts.
//
// The kind of run compares with what is deployed, not with main: when only the artifact differs it is
// a release, which needs no infrastructure run; else the plan, policy and apply of the certified
// pattern. A failed deployment goes back by itself where that destroys nothing stateful.
//
// Deliberately absent: finding lanes and running an app's tests (package change), and waiting inside
// a running workflow: a held deployment is a row that an operator's decision starts again.
package deploy

import (
	"time"

	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/event"
)

// Deployment is one durable run that brings an instance to a desired state.
type Deployment struct {
	ID          string      `json:"id"`
	App         string      `json:"app"`
	Environment string      `json:"environment"`
	Instance    string      `json:"instance"`
	Number      int64       `json:"number" doc:"Its place in the order of its instance"`
	Change      string      `json:"change,omitempty"`
	Trigger     Trigger     `json:"trigger" enum:"change,rollback,redeploy"`
	Kind        Kind        `json:"kind" enum:"release,infrastructure,destroy"`
	State       State       `json:"state" enum:"waiting,running,held,succeeded,failed,cancelled,superseded,interrupted"`
	Reason      string      `json:"reason,omitempty"`
	Code        string      `json:"code,omitempty" doc:"Stable name of what it waits for, or of why it did not succeed, for scripts" example:"environment.frozen"`
	Desired     app.Desired `json:"desired"`
	Previous    app.Desired `json:"previous"`
	Plan        any         `json:"plan,omitempty" doc:"Only where one deployment is asked for: a list has none"`
	PlanDigest  string      `json:"planDigest,omitempty"`
	Destroys    []string    `json:"destroys" doc:"Stateful addresses that its plan would destroy or replace"`
	Evidence    []Probe     `json:"evidence" doc:"What was asked of the instance after the rollout, and what it answered"`
	RequestID   string      `json:"requestId,omitempty" doc:"Id of the request that led to it"`
	CreatedBy   string      `json:"createdBy"`
	CreatedAt   time.Time   `json:"createdAt"`
	StartedAt   *time.Time  `json:"startedAt,omitempty"`
	FinishedAt  *time.Time  `json:"finishedAt,omitempty"`
	Steps       []Step      `json:"steps,omitempty"`

	fence       int64
	shown       *change.Shown     // to the operator who released it, or its change
	releases    int               // of its own held plans
	cancelledBy string            // name of who wants it to stop while it runs
	cancelled   <-chan struct{}   // closed when the effect that runs is to be given up
	was         app.InstanceState // of the instance, before it began
	attempt     int               // of the infrastructure run; more than 0 after its engine was killed
	undo        *undo             // of a rollback that was not carried out yet

	// What its facts say.
	team, class, lane string      // of its app, its environment and its change
	since             time.Time   // it is where it is
	waitsFor          event.Cause // there
}

// undo is what a rollback changed when it was asked for. It is put back if the rollback is never carried out:
// nothing was rolled back then.
type undo struct {
	Pinned string          `json:"pinned"`           // by what its instance was pinned
	Change change.Standing `json:"change"`           // how its change stood
	Failed string          `json:"failed,omitempty"` // the deployment whose failure it follows
	How    string          `json:"how,omitempty"`    // that one ended
}

// Kind of run.
type Kind string

const (
	Release        Kind = "release"        // only the artifact differs from what is deployed
	Infrastructure Kind = "infrastructure" // plan, policy, apply
	Destroy        Kind = "destroy"        // the instance is removed
)

// Trigger is what asked for the deployment.
type Trigger string

const (
	ByChange   Trigger = "change"
	ByRollback Trigger = "rollback"
	ByRedeploy Trigger = "redeploy"
)

// State of a deployment.
type State string

const (
	Waiting     State = "waiting" // for its turn; Reason says for what
	Running     State = "running"
	Held        State = "held" // its plan waits for an operator
	Succeeded   State = "succeeded"
	Failed      State = "failed"
	Cancelled   State = "cancelled"
	Superseded  State = "superseded"  // a newer one took its place, as the environment's policy says
	Interrupted State = "interrupted" // the engine was killed; addresses may exist that nobody recorded
)

// Over reports whether the deployment has ended.
func (s State) Over() bool {
	switch s {
	case Waiting, Running, Held, cancelling:
		return false
	}
	return true
}

// Step is one part of a deployment, as it went.
type Step struct {
	Position   int        `json:"position"`
	Name       string     `json:"name" enum:"prepare,plan,policy,apply,release,destroy,verify,record"`
	State      string     `json:"state" enum:"running,waiting,succeeded,failed,cancelled,held"`
	Detail     string     `json:"detail,omitempty"`
	StartedAt  time.Time  `json:"startedAt"`
	FinishedAt *time.Time `json:"finishedAt,omitempty"`
}

// Probe is one question to a deployed instance and its answer.
type Probe struct {
	URL    string    `json:"url"`
	Status int       `json:"status,omitempty"`
	Error  string    `json:"error,omitempty"`
	Millis int64     `json:"milliseconds"`
	At     time.Time `json:"at"`
}

// KindOf returns the kind of run that brings an instance from what is deployed to what is desired
// (rule of change 2).
func KindOf(deployed, desired app.Desired) Kind {
	switch {
	case desired.IsZero():
		return Destroy
	case !deployed.IsZero() && deployed.SameInfrastructure(desired):
		return Release
	}
	return Infrastructure
}

// kind is KindOf for this deployment. A rollback of an infrastructure run and a redeployment are asked
// for as infrastructure runs and stay such: what is recorded as deployed is then not what is there.
func (d Deployment) kind(deployed app.Desired) Kind {
	found := KindOf(deployed, d.Desired)
	if found == Release && d.Trigger != ByChange && d.Kind == Infrastructure {
		return Infrastructure
	}
	return found
}
