package certify

import (
	"context"
	"log/slog"
	"strings"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/git"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/runlog"
	"flywheel.dev/flywheel/internal/tofu"
)

// Service certifies pattern changes.
type Service struct {
	DB       *db.DB
	Durable  *durable.Engine
	Git      *git.Host
	Changes  *change.Service
	Patterns *pattern.Service
	Engine   *tofu.Service
	Builder  *app.Builder // of skeletons
	Allowed  tofu.Allow   // providers and module sources a pattern may use
	Logs     *runlog.Store
	Log      *slog.Logger
	Dir      string // of work folders

	// Plan plans a live instance as it would be on the pattern in moduleDir, in the sandbox.
	Plan func(ctx context.Context, run string, instance app.Instance, desired app.Desired, moduleDir string, stateful []string) (change.Planned, error)
}

// Register makes the workflows known to the engine. Call it before the engine launches.
func (s *Service) Register() {
	s.Durable.Register("certify/v1", s.certify)
	s.Durable.Register("publish/v1", s.publish)
}

// Start certifies a revision of a pattern change, or publishes it when it is being merged. Package
// change calls it through a func field.
func (s *Service) Start(c change.Change) error {
	if c.State == change.Merging {
		return s.Durable.Start(s.publish, c.Workflow()+".publish")
	}
	if c.State != change.Checking { // decided in the meantime
		return nil
	}
	return s.Durable.Start(s.certify, c.Workflow())
}

// Get returns the certification of a pattern change's current revision.
func (s *Service) Get(ctx context.Context, c change.Change) (found Certification, err error) {
	err = s.DB.Read(ctx, func(tx *db.Tx) (err error) { found, err = Find(tx, c.ID, c.Revision); return err })
	return found, err
}

// Approve records a person's approval for a discipline. After the last one that is needed the change
// is merged and published by itself.
func (s *Service) Approve(ctx context.Context, id, discipline, digest, reason string) (c change.Change, err error) {
	return s.decide(ctx, id, discipline, digest, reason, "approved")
}

// Reject ends a pattern change for everybody, with the reason. Apps that wait for it are blocked.
func (s *Service) Reject(ctx context.Context, id, discipline, digest, reason string) (c change.Change, err error) {
	if strings.TrimSpace(reason) == "" {
		return c, fault.New(fault.Invalid, "approval.reason_missing", "A rejection needs a reason.").Do("Say what would have to be different.").At("reason", "missing")
	}
	return s.decide(ctx, id, discipline, digest, reason, "rejected")
}

func (s *Service) decide(ctx context.Context, id, discipline, digest, reason, decision string) (c change.Change, err error) {
	actor := account.From(ctx)
	var refusal error
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		refusal = nil
		// Taken, so that of two last approvals at the same time the second sees the first.
		if c, err = change.Take(tx, id); err != nil {
			return err
		}
		if c.Kind != change.OfPattern {
			return fault.New(fault.Conflict, "approval.not_needed", "Change %s is a change of an app: nobody's approval is needed.", id)
		}
		refusal = actor.Require(account.Approve(discipline), "")
		var found Certification
		if refusal == nil {
			if c.State != change.Review {
				return fault.New(fault.Conflict, "approval.not_now", "Change %s is %s, so nobody can decide about it now.", id, c.State).Do("%s", c.Why)
			}
			if found, err = Find(tx, id, c.Revision); err != nil {
				return err
			}
			refusal = found.mayDecide(actor, c.Authors, discipline, digest)
		}
		if refusal != nil {
			// A refused decision is a decision too: it is in the audit log, and the refusal is answered after the commit.
			return account.Audit(tx, account.Entry{Action: "change." + decision, Subject: id, Decision: "refused", Reason: discipline + ": " + fault.From(refusal).Message})
		}
		a := Approval{Discipline: discipline, Person: actor.ID, Name: actor.Name, Decision: decision, Reason: reason, Digest: digest, At: tx.Now()}
		if err := saveApproval(tx, id, c.Revision, a); err != nil {
			return err
		}
		if err := event.Append(tx, event.Event{Type: event.Own("change", decision), Subject: id, Actor: actor.ID, Data: a}); err != nil {
			return err
		}
		if err := account.Audit(tx, account.Entry{Action: "change." + decision, Subject: id, Decision: "allowed", Reason: discipline + " " + digest + " " + reason}); err != nil {
			return err
		}
		found.Approvals = append(found.Approvals, a)
		if decision == "rejected" {
			c.State, c.Why, c.Remedy = change.Rejected, discipline+" ("+actor.Name+") rejected it: "+reason, "Push what was asked for as a new change."
			if err := change.Save(tx, c); err != nil {
				return err
			}
			return s.Changes.Wake(tx)
		}
		missing := found.Missing()
		c.Why = "waits for the approval of " + strings.Join(missing, ", ")
		if len(missing) == 0 {
			c.State, c.Why, c.Remedy = change.Merging, "", ""
			merging := c
			tx.AfterCommit(func() {
				if err := s.Start(merging); err != nil {
					s.Log.Warn("an approved change will be published by the sweeper", "change", id, "error", err)
				}
			})
		}
		return change.Save(tx, c)
	})
	if err == nil {
		err = refusal
	}
	return c, err
}
