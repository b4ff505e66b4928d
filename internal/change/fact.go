package change

import (
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/git"
)

// Which facts a change makes follows from how it was stored before and how it is now, so that none depends on who
// saves it, nor on how often.

// stored is what the row of a change says before it is written.
type stored struct {
	state              State
	lane               Lane
	revision           int
	head               string
	waitsFor           event.Cause
	since              time.Time
	checkedAt, readyAt *time.Time
	commits            []event.Commit
}

func findStored(tx *db.Tx, id string) (b stored, err error) {
	var since *time.Time
	err = tx.QueryRow(`select state, lane, revision, head, waits_for, since, checked_at, ready_at, commits from change where id = $1`, id).
		Scan(&b.state, &b.lane, &b.revision, &b.head, &b.waitsFor, &since, &b.checkedAt, &b.readyAt, db.Into(&b.commits))
	if since != nil {
		b.since = *since
	}
	return b, err
}

const (
	CodeConflict = "change.conflict"    // with main
	codeBehind   = "change.behind_main" // and an outer check builds the branch alone
	codeQueued   = "change.queued"      // being checked, but another change of the app is being merged
	codeTrouble  = "change.trouble"     // being checked, but the platform is in trouble and tries again
)

// waitsFor returns what a change in its state waits for, or "" while the platform is at work or when it is over.
func (c Change) waitsFor() event.Cause {
	switch c.State {
	case Checking:
		return map[string]event.Cause{codeQueued: event.WaitsForQueue, codeTrouble: event.WaitsForPlatform}[c.Code]
	case Waiting:
		if c.Code == codeOuterAwaited {
			return event.WaitsForTest
		}
		return event.WaitsForCertification
	case Review:
		return event.WaitsForApproval
	case Held:
		return event.WaitsForOperator
	case Ready:
		return event.WaitsForMerge
	case Blocked:
		if c.Code == CodeConflict || c.Code == codeBehind {
			return event.WaitsForAuthor
		}
		return event.WaitsForPattern
	case Refused, Failed, ChangesRequested:
		return event.WaitsForAuthor
	}
	return ""
}

// next returns what the row is to say of a change that is written now.
func (b stored) next(c Change, now time.Time) stored {
	n := stored{state: c.State, lane: c.Lane, revision: c.Revision, head: c.Head, waitsFor: c.waitsFor(), since: b.since, checkedAt: b.checkedAt, readyAt: b.readyAt, commits: b.commits}
	if c.commits != nil {
		n.commits = c.commits
	}
	if n.revision != b.revision {
		n.checkedAt, n.readyAt = nil, nil
	}
	if n.state != b.state || n.waitsFor != b.waitsFor {
		n.since = now
	}
	switch n.state {
	case Review, Held, Ready, Merging:
		if n.checkedAt == nil {
			n.checkedAt = &now
		}
	}
	switch n.state {
	case Ready, Merging:
		if n.readyAt == nil {
			n.readyAt = &now
		}
	}
	return n
}

// facts returns what became true of a change by writing it.
func (b stored) facts(n stored, c Change, by string) (facts []event.Fact) {
	of := c.ofChange(by)
	if n.revision != b.revision {
		revised := event.ChangeRevised{OfChange: of, Head: c.Head, Pushed: n.head != b.head, Planned: c.Story != "", Reverts: c.Reverts, Fixes: c.Fix}
		if revised.Pushed {
			revised.Commits = n.commits
		}
		facts = append(facts, revised)
	}
	if n.lane != "" && n.lane != b.lane {
		reasons := []string{}
		for _, r := range c.Reasons {
			reasons = append(reasons, r.Text)
		}
		facts = append(facts, event.ChangeLaned{OfChange: of, Reasons: reasons})
	}
	if n.state == b.state && n.waitsFor == b.waitsFor {
		return facts
	}
	moved := event.Moved{From: string(b.state), State: string(n.state), Since: b.since, WaitedFor: b.waitsFor, WaitsFor: n.waitsFor, Why: c.Why, Code: c.Code}
	switch {
	case b.state == RolledBack && (n.state == Merged || n.state == Deployed):
		return append(facts, event.ChangeRestored{OfChange: of, Moved: moved})
	case n.state == Merged:
		return append(facts, event.ChangeMerged{OfChange: of, Moved: moved, Commit: c.Merged, Commits: n.commits, Planned: c.Story != "", Reverts: c.Reverts, Fixes: c.Fix,
			OpenedAt: c.OpenedAt, CheckedAt: n.checkedAt, ReadyAt: n.readyAt})
	case n.state == Deployed:
		return append(facts, event.ChangeDeployed{OfChange: of, Moved: moved})
	case n.state == RolledBack:
		return append(facts, event.ChangeRolledBack{OfChange: of, Moved: moved})
	case n.state == Closed, n.state == Rejected:
		return append(facts, event.ChangeAbandoned{OfChange: of, Moved: moved})
	}
	return append(facts, event.ChangeMoved{OfChange: of, Moved: moved})
}

func (c Change) ofChange(by string) event.OfChange {
	return event.OfChange{Change: c.ID, Kind: string(c.Kind), Subject: c.Subject, Team: c.Team, Lane: string(c.Lane), Revision: c.Revision, Story: c.Story, By: by}
}

// OfChange returns what every fact about the change says when the actor of the transaction brings it about.
func (c Change) OfChange(tx *db.Tx) event.OfChange {
	return c.ofChange(account.From(tx.Context()).Name)
}

// timesOf returns the hashes and times of commits as they were pushed. A merge or a squash does not keep these times.
func timesOf(commits []git.Commit) []event.Commit {
	times := make([]event.Commit, len(commits))
	for i, c := range commits {
		times[i] = event.Commit{SHA: c.SHA, AuthoredAt: c.AuthoredAt, CommittedAt: c.CommittedAt}
	}
	return times
}
