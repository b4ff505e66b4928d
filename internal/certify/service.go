package certify

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/git"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/plain"
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

	// Plan plans a live instance as it would be on a version that is not certified, whose module is in
	// moduleDir, in the sandbox.
	Plan func(ctx context.Context, run string, instance app.Instance, desired app.Desired, v pattern.Version, moduleDir string) (change.Planned, error)

	sweeper durable.Sweeper
}

// Register makes the workflows known to the engine. Call it before the engine launches.
func (s *Service) Register() {
	s.Durable.Register("certify/v1", s.certify)
	s.Durable.Register("effects/v1", s.again)
	s.Durable.Register("publish/v1", s.publish)
}

// Begin certifies a revision of a pattern change, or publishes it when it is being merged. Package
// change calls it through a func field.
func (s *Service) Begin(c change.Change) error {
	if c.State == change.Merging {
		return s.beginToPublish(c)
	}
	if c.State != change.Checking { // decided in the meantime
		return nil
	}
	return s.Durable.Start(s.certify, c.Workflow())
}

// beginToPublish publishes a revision. Where publishing stopped because an approval did not count any more, it is
// another workflow than before.
func (s *Service) beginToPublish(c change.Change) error {
	var found Certification
	err := s.DB.Read(context.Background(), func(tx *db.Tx) (err error) {
		found, err = Find(tx, c.ID, c.Revision)
		return err
	})
	if err != nil {
		return err
	}
	id := c.Workflow() + ".publish"
	if found.lapses > 0 {
		id = fmt.Sprintf("%s.%d", id, found.lapses)
	}
	return s.Durable.Start(s.publish, id)
}

// often is how long a changed instance may stay unnoticed by the changes that people decide about.
const often = 3 * time.Second

// Start begins to look after the changes that people decide about; see Sweep.
func (s *Service) Start() {
	s.sweeper.Start(account.System(context.Background(), "certify"), often, s.Log, "pattern changes", s.Sweep)
}

// Stop ends the sweeper.
func (s *Service) Stop() { s.sweeper.Stop() }

// Sweep plans the effect of every change that people decide about again, as far as the live instances
// have changed since, and says of which approvals do not count any more (rule of change 10).
func (s *Service) Sweep(ctx context.Context) error {
	type pass struct {
		c change.Change
		n int
	}
	var passes []pass
	var others []change.Change // whose decisions do not stand as the change says
	err := s.DB.Read(ctx, func(tx *db.Tx) error {
		passes, others = nil, nil
		for _, state := range []change.State{change.Review, change.ChangesRequested} {
			list, err := change.InState(tx, state)
			if err != nil {
				return err
			}
			for _, c := range list {
				found, err := Find(tx, c.ID, c.Revision)
				if err != nil {
					return err
				}
				stale, moving, err := compare(tx, found, c.Subject)
				if err != nil {
					return err
				}
				// Approved by all and still here: it waited for deployments, which have ended.
				decided, why := found.standing()
				if decided != change.Merging && (decided != c.State || why != c.Why) {
					others = append(others, c)
				}
				if stale > 0 || decided == change.Merging && moving == 0 {
					passes = append(passes, pass{c, found.passes + 1})
				}
			}
		}
		return nil
	})
	for _, p := range passes {
		if err == nil {
			err = s.Durable.Start(s.again, passID(p.c, p.n))
		}
	}
	for _, c := range others {
		if err == nil {
			err = durable.UnlessOutdated(s.recount(ctx, c))
		}
	}
	return err
}

// recount says on a change that people decide about what its decisions make of it now.
func (s *Service) recount(ctx context.Context, c change.Change) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		now, err := underReview(tx, c.ID, c.Revision)
		if err != nil {
			return err
		}
		found, err := Find(tx, c.ID, c.Revision)
		if err != nil {
			return err
		}
		_, err = s.conclude(tx, now, found, false)
		return err
	})
}

// passID is the workflow that plans the effect of a revision for the n-th time since people decide.
func passID(c change.Change, n int) string { return fmt.Sprintf("%s.effects.%d", c.Workflow(), n) }

// shown is how many effects a certification shows; the rest is paged.
const shown = 50

// Get returns the certification of a pattern change's current revision, with its blast radius and the
// gravest effects that the actor may see.
func (s *Service) Get(ctx context.Context, c change.Change) (found Certification, err error) {
	actor := account.From(ctx)
	err = s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if found, err = Find(tx, c.ID, c.Revision); err != nil {
			return err
		}
		if found.Radius, err = readRadius(tx, found, actor.Sees); err != nil {
			return err
		}
		found.Instances, err = pageOf(tx, c, Filter{Limit: shown}, actor.Sees)
		return err
	})
	return found, err
}

func readRadius(tx *db.Tx, c Certification, seen func(team string) bool) (Radius, error) {
	found, err := counts(tx, c.Change, c.Revision)
	return radius(found, seen), err
}

// pageOf returns a full page of effects that may be seen, as long as there are any.
func pageOf(tx *db.Tx, c change.Change, f Filter, seen func(team string) bool) ([]Effect, error) {
	return db.Fill(f.Limit, func(e Effect) bool { return seen(e.Team) }, func(last *Effect) ([]Effect, error) {
		if last != nil {
			f.After = last.Cursor()
		}
		return listEffects(tx, c.ID, c.Revision, f)
	})
}

// Effects returns the effects of a pattern change that match and that the actor may see, the gravest
// first, without their plans.
func (s *Service) Effects(ctx context.Context, id string, f Filter) (found []Effect, err error) {
	c, err := s.ofPattern(ctx, id)
	if err != nil {
		return nil, err
	}
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		found, err = pageOf(tx, c, f, account.From(ctx).Sees)
		return err
	})
	return found, err
}

// Effect returns the effect on one instance with its plan.
func (s *Service) Effect(ctx context.Context, id, name, environment string) (found Effect, err error) {
	c, err := s.ofPattern(ctx, id)
	if err != nil {
		return found, err
	}
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		found, err = findEffect(tx, c.ID, c.Revision, name, environment)
		if err == nil && !account.From(ctx).Sees(found.Team) {
			err = fault.Missing("effect", name+"/"+environment)
		}
		return err
	})
	return found, err
}

func (s *Service) ofPattern(ctx context.Context, id string) (change.Change, error) {
	c, _, err := s.Changes.Get(ctx, id)
	if err == nil && c.Kind != change.OfPattern {
		err = fault.New(fault.Conflict, "change.not_of_pattern", "Change %s is a change of an app: it has no effect on other instances.", id)
	}
	return c, err
}

// Awaits returns the disciplines for which the change still waits for the actor's decision, or none.
func (s *Service) Awaits(ctx context.Context, c change.Change) (disciplines []string, err error) {
	actor := account.From(ctx)
	if c.State != change.Review || !actor.CoE() {
		return nil, nil
	}
	var found Certification
	err = s.DB.Read(ctx, func(tx *db.Tx) (err error) { found, err = Find(tx, c.ID, c.Revision); return err })
	if err != nil {
		return nil, err
	}
	for _, d := range found.Missing() {
		if actor.Can(account.Approve(d), "") && found.mayDecide(actor, c, Vote{Discipline: d, Digest: found.Digest, Confirm: c.Subject}, Approved) == nil {
			disciplines = append(disciplines, d)
		}
	}
	return disciplines, nil
}

// Approve records a person's approval for a discipline. After the last one that is needed the change
// is merged and published by itself.
func (s *Service) Approve(ctx context.Context, id string, v Vote) (c change.Change, err error) {
	if account.From(ctx).Can(account.Approve(v.Discipline), "") { // else decide says why not
		unopened, err := s.Changes.Unopened(ctx, id)
		if err != nil {
			return c, err
		}
		if len(unopened) > 0 {
			f := fault.New(fault.Conflict, "approval.not_opened", "The diff is too long to show %s whole, and you have not opened it.", strings.Join(unopened, ", ")).
				Do("Open each on the page of the change, or with `flywheel change diff %s --file FILE`, and decide then.", id)
			for _, file := range unopened {
				f.At(file, "not shown whole")
			}
			return c, f
		}
	}
	return s.decide(ctx, id, v, Approved)
}

// RequestChanges says what would have to be different. The change waits for its authors; their next push
// clears the request, and so does another decision of the same person.
func (s *Service) RequestChanges(ctx context.Context, id string, v Vote) (c change.Change, err error) {
	if strings.TrimSpace(v.Reason) == "" {
		return c, fault.New(fault.Invalid, "approval.reason_missing", "A request for changes needs a reason.").Do("Say what would have to be different.").At("reason", "missing")
	}
	return s.decide(ctx, id, v, ChangesRequested)
}

// Reject ends a pattern change for everybody, with the reason. Apps that wait for it are blocked.
func (s *Service) Reject(ctx context.Context, id string, v Vote) (c change.Change, err error) {
	if strings.TrimSpace(v.Reason) == "" {
		return c, fault.New(fault.Invalid, "approval.reason_missing", "A rejection needs a reason.").Do("Say what would have to be different.").At("reason", "missing")
	}
	return s.decide(ctx, id, v, Rejected)
}

func (s *Service) decide(ctx context.Context, id string, v Vote, decision Decision) (c change.Change, err error) {
	discipline, digest, reason := v.Discipline, v.Digest, plain.Show(v.Reason)
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
			if !decidable(c) {
				return fault.New(fault.Conflict, "approval.not_now", "Change %s is %s, so nobody can decide about it now.", id, c.State).Do("%s", c.Why)
			}
			if found, err = Find(tx, id, c.Revision); err != nil {
				return err
			}
			refusal = found.mayDecide(actor, c, v, decision)
		}
		if refusal != nil {
			// A refused decision is a decision too: it is in the audit log, and the refusal is answered after the commit.
			return account.Audit(tx, account.Entry{Action: "change." + string(decision), Subject: id, Decision: "refused", Reason: discipline + ": " + fault.From(refusal).Message})
		}
		a := Approval{Discipline: discipline, Person: actor.ID, Name: actor.Name, Decision: decision, Reason: reason, Digest: digest, At: tx.Now()}
		if err := saveApproval(tx, id, c.Revision, a); err != nil {
			return err
		}
		if err := event.Emit(tx, event.ChangeReviewed{OfChange: c.OfChange(tx), Discipline: discipline, Decision: string(decision), Name: actor.Name, Reason: reason, Digest: digest}); err != nil {
			return err
		}
		if err := account.Audit(tx, account.Entry{Action: "change." + string(decision), Subject: id, Decision: "allowed", Reason: discipline + " " + digest + " " + reason}); err != nil {
			return err
		}
		if decision == Rejected {
			c.State, c.Why, c.Remedy = change.Rejected, discipline+" ("+actor.Name+") rejected it: "+reason, "Push what was asked for as a new change."
			if err := change.Save(tx, c); err != nil {
				return err
			}
			return s.Changes.Over(tx, c)
		}
		if found, err = Find(tx, id, c.Revision); err != nil {
			return err
		}
		c, err = s.conclude(tx, c, found, false)
		return err
	})
	if err == nil {
		err = refusal
	}
	return c, err
}

// decidable reports whether people decide about the change now.
func decidable(c change.Change) bool {
	return c.State == change.Review || c.State == change.ChangesRequested
}

// conclude saves what the decisions so far make of the change, and begins to publish it when nothing is
// missing and the live instances are those that the approvals saw; settled says that their effects have just been
// planned, after the last decision.
func (s *Service) conclude(tx *db.Tx, c change.Change, found Certification, settled bool) (change.Change, error) {
	state, why := found.standing()
	c.State, c.Why, c.Remedy = state, why, ""
	switch state {
	case change.Review:
		c.Remedy = "`flywheel change approve " + c.ID + " --discipline … --digest " + found.Digest + "`"
		if found.Destroys > 0 {
			c.Remedy = "`flywheel change approve " + c.ID + " --discipline … --digest " + found.Digest + " --confirm " + c.Subject + "`"
		}
	case change.ChangesRequested:
		c.Remedy = "Push what was asked for to " + c.Branch + ": it is checked again by itself, and decided about anew."
	case change.Merging:
		wait, err := s.notAsShown(tx, c, found, settled)
		if err != nil {
			return c, err
		}
		if wait != "" {
			c.State, c.Why = change.Review, "every discipline has approved; "+wait
			if err := change.SetCheck(tx, c, change.Check{Name: "effect", State: change.CheckRunning, Summary: wait}); err != nil {
				return c, err
			}
			break
		}
		merging := c
		tx.AfterCommit(func() {
			if err := s.Begin(merging); err != nil {
				s.Log.Warn("an approved change will be published by the sweeper", "change", c.ID, "error", err)
			}
		})
	}
	return c, change.Save(tx, c)
}

// notAsShown says what is awaited before an approved change is published, because live instances are not, or will not
// be, what the approvals saw; "" if they are. It begins to plan what is different.
func (s *Service) notAsShown(tx *db.Tx, c change.Change, found Certification, settled bool) (string, error) {
	stale, moving, err := compare(tx, found, c.Subject)
	if err != nil || settled && moving == 0 {
		return "", err
	}
	if stale == 0 && moving > 0 { // the sweeper goes on
		return fmt.Sprintf("the deployments that run on live instances end first (%d left), because they may change the effect", moving), nil
	}
	if stale == 0 {
		effects, err := allEffects(tx, found.Change, found.Revision)
		if err != nil || found.digest(effects) == found.Digest {
			return "", err
		}
	}
	again := passID(c, found.passes+1)
	tx.AfterCommit(func() { _ = s.Durable.Start(s.again, again) }) // the sweeper starts it otherwise
	return "the effect on instances that changed meanwhile is planned again first", nil
}
