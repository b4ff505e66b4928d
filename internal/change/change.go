// Package change carries a proposal from a pushed branch to main, through the lane it needs.
//
// A push opens or updates a change. Process (workflow.go) then describes what the branch, merged into
// main as it is now, would make of every instance; finds the lane; builds and tests; plans each
// affected instance; and merges when nothing asks for a decision. Merging hands the new desired
// states to package deploy. Whatever has to wait, for a pattern, an operator, a person's merge,
// waits as a row, and a new revision of the change is processed when what it waits for happened.
//
// A revision is one attempt with fixed inputs: the head of the branch, main, and the pattern
// versions. A push, a moved main or a certified pattern starts the next revision, and steps of an
// older one find themselves outdated and stop.
//
// Merging is the point of no return: main moves in git and then in the database, and in between nobody
// may stop it, push into it, or compare with that main. A commit pushed then is the next change.
//
// Changes of a pattern repository are opened and closed here as well, but certified in package
// certify. Deliberately absent: effects on the world (package deploy), and comments or reviews of
// lines, which belong to the forge.
package change

import (
	"slices"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
)

// Change is a proposal that alters an app or a pattern.
type Change struct {
	ID       string   `json:"id"`
	Kind     Kind     `json:"kind" enum:"app,pattern"`
	Subject  string   `json:"subject" doc:"Name of the app or the pattern"`
	Team     string   `json:"team,omitempty"`
	Branch   string   `json:"branch"`
	Title    string   `json:"title"`
	Body     string   `json:"body,omitempty"`
	State    State    `json:"state"`
	Why      string   `json:"why,omitempty" doc:"Why it is in this state, in a sentence"`
	Remedy   string   `json:"remedy,omitempty" doc:"The way out, where there is one"`
	Code     string   `json:"code,omitempty" doc:"Stable name of why it is refused, failed or blocked, or of what it waits for, for scripts"`
	Lane     Lane     `json:"lane,omitempty" enum:"software,variable,pattern"`
	Reasons  []Reason `json:"reasons"`
	Effects  []Effect `json:"effects"`
	Revision int      `json:"revision"`
	Head     string   `json:"head"`
	Main     string   `json:"main,omitempty" doc:"The commit of main the lane was found against"`
	Merged   string   `json:"merged,omitempty" doc:"The merge commit"`
	Story    string   `json:"story,omitempty"`
	Needs    string   `json:"needs,omitempty" doc:"The pattern change it waits for"`
	Reverts  string   `json:"reverts,omitempty" doc:"The change it takes back"`
	Revert   string   `json:"revert,omitempty" doc:"The change that takes this one back"`
	Fix      string   `json:"fixForward,omitempty" doc:"The rolled back change it declares to fix"`
	Opener   string   `json:"opener"`
	Authors  []string `json:"authors" doc:"Everybody who may not approve it: opener and authenticated pushers"`

	MergeRequested bool      `json:"-"`
	Released       string    `json:"-"` // digest of what an operator released, of a held change
	Proposal       *Proposal `json:"-"`
	RequestID      string    `json:"requestId,omitempty" doc:"Id of the last request that moved it, itself or through what went on for it"`
	OpenedAt       time.Time `json:"openedAt"`
	UpdatedAt      time.Time `json:"updatedAt"`

	commits []event.Commit // that were pushed now; nil if none were
}

// Kind of repository a change alters.
type Kind string

const (
	OfApp     Kind = "app"
	OfPattern Kind = "pattern"
)

// State of a change.
type State string

const (
	Checking         State = "checking"          // the platform is at work
	Waiting          State = "waiting"           // for a pattern version that is not certified yet
	Review           State = "review"            // of a pattern change: for approvals
	ChangesRequested State = "changes_requested" // of a pattern change: a reviewer asks for another push
	Held             State = "held"              // for an operator: it would destroy something stateful
	Ready            State = "ready"             // green; somebody merges it (merge: manual)
	Refused          State = "refused"           // out of bounds or not valid: push a correction
	Failed           State = "failed"            // a check failed: push a correction
	Blocked          State = "blocked"           // conflict, rejected pattern, or nothing in range
	Merging          State = "merging"           // in order behind others of the same repository
	Merged           State = "merged"            // on main; being deployed
	Deployed         State = "deployed"          // verified in the last environment of its order
	RolledBack       State = "rolled_back"       // an environment went back to what ran before
	Closed           State = "closed"            // its branch is gone, unmerged
	Rejected         State = "rejected"          // the Center of Excellence said no
)

// Open reports whether the change can still be merged.
func (s State) Open() bool {
	switch s {
	case Merged, Deployed, RolledBack, Closed, Rejected:
		return false
	}
	return true
}

// Awaits returns what the change waits for this actor to do: release, merge or correct, or "" if it
// waits for nobody or for others. Approvals are package certify's.
func (c Change) Awaits(actor account.Actor) string {
	switch c.State {
	case Held:
		if c.mayRelease(actor) == nil {
			return "release"
		}
	case Ready:
		if actor.Can(account.Merge, c.Team) {
			return "merge"
		}
	case Refused, Failed, Blocked, ChangesRequested:
		if c.Opener == actor.ID || slices.Contains(c.Authors, actor.ID) {
			return "correct"
		}
	}
	return ""
}

// Proposal is what a revision of an app change would make true.
type Proposal struct {
	Description app.Description  `json:"description"`
	Tree        string           `json:"tree"`            // of the merge result
	Artifact    string           `json:"artifact"`        // once built
	Plans       map[string]Shown `json:"plans,omitempty"` // by environment
	Auto        bool             `json:"auto"`            // merge by itself when green
	Smoke       string           `json:"smoke,omitempty"` // the app's smoke test, run after each deployment
}

// Shown is what an operator sees of one environment before they release what is held. Their decision
// covers a deployment to this desired state that destroys nothing else (rule of change 10).
type Shown struct {
	Desired  string   `json:"desired"`  // digest of the desired state
	Plan     string   `json:"plan"`     // digest of the plan
	Destroys []string `json:"destroys"` // stateful addresses that it would destroy or replace
}

// Missing says what a deployment would do that was not shown, or "" if the decision covers it.
func (s Shown) Missing(desired app.Desired, destroys []string) string {
	if s.Desired != desired.Hash() {
		return "another desired state was released"
	}
	more := slices.DeleteFunc(slices.Clone(destroys), func(address string) bool { return slices.Contains(s.Destroys, address) })
	switch {
	case len(more) == 0:
		return ""
	case len(s.Destroys) == 0:
		return "its release knew of none of them"
	}
	return "its release knew of " + strings.Join(s.Destroys, ", ") + " only"
}

// Check is one thing that was looked at, with its result.
type Check struct {
	ID         string     `json:"id"`
	Change     string     `json:"change"`
	Revision   int        `json:"revision"`
	Name       string     `json:"name" doc:"lane, tests, plan: staging, policy, validate, …"`
	State      CheckState `json:"state" enum:"running,passed,failed,held,warning"`
	Summary    string     `json:"summary"`
	Detail     any        `json:"detail,omitempty" doc:"For a plan: its resources; for tests: nothing; for policy: the results"`
	DetailSize int        `json:"detailSize,omitempty" doc:"Bytes of a detail that is too large to come with the change: it is at /changes/{change}/checks/{check}"`
	Log        string     `json:"log,omitempty"`
	StartedAt  time.Time  `json:"startedAt"`
	FinishedAt *time.Time `json:"finishedAt,omitempty"`
}

// CheckState is how a check stands.
type CheckState string

const (
	CheckRunning CheckState = "running"
	CheckPassed  CheckState = "passed"
	CheckFailed  CheckState = "failed"
	CheckHeld    CheckState = "held"
	CheckWarning CheckState = "warning"
)

// Target is the desired state of one environment that a merged change brings, for package deploy.
type Target struct {
	Environment string
	Desired     app.Desired // zero: the instance is to be removed
	Shown       *Shown      // to the operator who released the change; nil if nobody had to
}

// notOpen is the answer to an action on a change that is past it.
func notOpen(c Change) error {
	return fault.New(fault.Conflict, "change.not_open", "Change %s is %s, so nothing can be decided about it any more.", c.ID, c.State)
}
