package certify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/plain"
)

// Foresee begins the certification of a change's revision with the version that its content would be: it
// saves what the new interface and bounds make of every live instance of the pattern, from what is stored
// and before any plan. Get shows it.
func (s *Service) Foresee(ctx context.Context, c change.Change, next pattern.Proposal) error {
	found := Certification{Change: c.ID, Revision: c.Revision, Version: next.Version, Bump: next.Bump, Reasons: next.Reasons, Pattern: next.Digest,
		Needed: next.Approvals, manifest: next.Manifest, asks: next.Interface, ownVersion: next.Version, ownBump: next.Bump}
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if _, err := current(tx, change.Take, c.ID, c.Revision, change.Checking); err != nil {
			return err
		}
		if err := forget(tx, found); err != nil {
			return err
		}
		effects, err := s.foreseeNew(tx, found, c.Subject)
		if err != nil {
			return err
		}
		found.Digest = found.digest(effects)
		return begin(tx, found)
	})
}

// foreseeNew adds an effect for every live instance that has none, and returns those it added.
func (s *Service) foreseeNew(tx *db.Tx, found Certification, pattern string) ([]Effect, error) {
	instances, err := unforeseen(tx, found, pattern)
	if err != nil || len(instances) == 0 {
		return nil, err
	}
	environments, err := app.Environments(tx)
	if err != nil {
		return nil, err
	}
	teams, err := app.Teams(tx)
	if err != nil {
		return nil, err
	}
	waivers, err := app.WaiversInForce(tx)
	if err != nil {
		return nil, err
	}
	effects := foreseeAll(found.version(pattern), instances, environments, teams, waivers)
	for i := range effects {
		if effects[i].Outcome != Unplanned {
			effects[i].looked = tx.Now()
		}
	}
	return effects, insertEffects(tx, found, effects)
}

// digest sets the certification's digest to that of its effects.
func digest(tx *db.Tx, found *Certification) error {
	effects, err := allEffects(tx, found.Change, found.Revision)
	found.Digest = found.digest(effects)
	return err
}

// announce says on the change what was found about its interface and what comes next, before the checks
// that take longer: who pushed is still at the terminal.
func (s *Service) announce(ctx context.Context, c change.Change) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		c, err := current(tx, change.Take, c.ID, c.Revision, change.Checking)
		if err != nil {
			return err
		}
		found, err := Find(tx, c.ID, c.Revision)
		if err != nil {
			return err
		}
		r, err := readRadius(tx, found, account.From(ctx).Sees)
		if err != nil {
			return err
		}
		c.Lane, c.Reasons = change.Pattern, found.reasons(c.Subject)
		c.Why = "it is validated and tested"
		switch {
		case r.Breaking > 0:
			c.Why += fmt.Sprintf(", and planned on %s, of which %d would break", live(r.Instances), r.Breaking)
		case r.Instances > 0:
			c.Why += fmt.Sprintf(", and planned on %s", live(r.Instances))
		}
		needed := []string{}
		for _, d := range account.Disciplines() {
			switch n := found.Needed[d]; {
			case n == 1:
				needed = append(needed, d)
			case n > 1:
				needed = append(needed, fmt.Sprintf("%d of %s", n, d))
			}
		}
		if len(needed) > 0 {
			c.Why += "; then it needs the approval of " + strings.Join(needed, ", ")
		}
		return change.Save(tx, c)
	})
}

// batch is how many effects one durable step plans: what a killed server plans again at most.
const batch = 20

// planEffects plans every effect that is due, batch by batch. What changes after since is left to the next
// pass, so that it comes to an end however often instances change.
func (s *Service) planEffects(flow durable.Flow, ctx context.Context, id string, revision int, tree string, since time.Time) error {
	var known Radius
	for n, left := 1, true; left; n++ {
		var err error
		left, err = durable.Step(flow, fmt.Sprintf("effects %d", n), func(context.Context) (bool, error) {
			return s.planBatch(ctx, id, revision, tree, since, &known)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// planBatch plans the next effects that are due, as many at a time as half of the processors and at least two, and reports
// whether there were any. It may run again: an effect that was saved is not due any more. The radius is read
// by the first batch of a process and kept up by each one, because it spans all instances.
func (s *Service) planBatch(ctx context.Context, id string, revision int, tree string, since time.Time, known *Radius) (bool, error) {
	var c change.Change
	var found Certification
	var list []Effect
	var environments []app.Environment
	err := s.DB.Write(ctx, func(tx *db.Tx) (err error) {
		if c, err = change.Take(tx, id); err != nil {
			return err
		}
		if c.Revision != revision || c.State != change.Checking && !decidable(c) {
			return durable.ErrOutdated
		}
		if found, err = Find(tx, id, revision); err != nil {
			return err
		}
		if environments, err = app.Environments(tx); err != nil {
			return err
		}
		if list, err = due(tx, found, since, batch); err != nil || len(list) == 0 {
			return err
		}
		if decidable(c) {
			return change.SetCheck(tx, c, change.Check{Name: "effect", State: change.CheckRunning, Summary: "planning again what has changed"})
		}
		if known.Outcomes == nil {
			if *known, err = readRadius(tx, found, account.From(ctx).Sees); err != nil {
				return err
			}
		}
		return change.SetCheck(tx, c, change.Check{Name: "effect", State: change.CheckRunning, Summary: known.summary()})
	})
	if err != nil || len(list) == 0 {
		return false, err
	}
	v := found.version(c.Subject)
	dir, err := os.MkdirTemp(s.Dir, "effect-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	if err := s.Git.Export(ctx, c.Repo(), tree, dir); err != nil {
		return false, err
	}
	group, limited := errgroup.WithContext(ctx)
	group.SetLimit(max(2, runtime.NumCPU()/2)) // deployments need the rest
	now := make([]Effect, len(list))
	for n, old := range list {
		group.Go(func() (err error) {
			now[n], err = s.planOne(limited, found, v, old, environments, dir)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		*known = Radius{} // some were saved
		return true, err
	}
	if known.Outcomes != nil {
		for n := range list {
			known.move(list[n].Outcome, now[n].Outcome)
		}
	}
	return true, nil
}

// planOne finds the effect on an instance as it is now, saves it and returns it. It leaves what is known of
// an instance on which a deployment began; see outdated.
func (s *Service) planOne(ctx context.Context, found Certification, v pattern.Version, old Effect, environments []app.Environment, dir string) (Effect, error) {
	var i app.Instance
	var waivers []app.Waiver
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if i, err = app.FindInstance(tx, old.App, old.Environment); err != nil {
			return err
		}
		waivers, err = app.Waivers(tx, old.App)
		return err
	})
	if err != nil {
		return Effect{}, err
	}
	at := slices.IndexFunc(environments, func(e app.Environment) bool { return e.Name == i.Environment })
	if at < 0 {
		return Effect{}, fmt.Errorf("certify: %s is in an unknown environment", i.ID)
	}
	e := foresee(v, i, environments[at], old.Team, waivers)
	looked := s.DB.Now()
	if e.Outcome == Unplanned {
		planned, err := s.Plan(ctx, runID(found, i), i, desired(v, i, environments[at]), v, dir)
		f := fault.From(err)
		switch {
		case err == nil:
			e = e.plan(planned)
		case ctx.Err() != nil || f.Kind == fault.Unavailable:
			return Effect{}, err
		default:
			s.Log.InfoContext(ctx, "an instance cannot be planned on a version under review", "change", found.Change, "app", i.App, "environment", i.Environment, "error", err)
			e.Outcome, e.Breaking, e.Error = Fails, true, f.Message
		}
	}
	e.looked, e.position = looked, old.position
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		now, err := app.FindInstance(tx, old.App, old.Environment)
		if err != nil {
			return err
		}
		if now.State == app.Deploying && old.Outcome != Unplanned {
			e = old
			return nil
		}
		return saveEffect(tx, found, e)
	})
	return e, err
}

// runID names the plan of an instance as it is now. It is short: sockets have it in their path.
func runID(found Certification, i app.Instance) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %s %d", found.Change, found.Revision, i.ID, i.UpdatedAt.UnixMicro()))
	return "effect-" + hex.EncodeToString(sum[:8])
}

// review hands a checked revision to the people who decide.
func (s *Service) review(tx *db.Tx, id string, revision int) error {
	c, err := current(tx, change.Take, id, revision, change.Checking)
	if err != nil {
		return err
	}
	found, err := Find(tx, id, revision)
	if err != nil {
		return err
	}
	if _, err := s.settle(tx, &c, &found); err != nil {
		return err
	}
	_, err = s.conclude(tx, c, found, true)
	return err
}

// settle ends the planning: the number of the version and the digest become those of the effects as they are now,
// and the change gets the reasons for them. It reports whether the digest is another one than before.
func (s *Service) settle(tx *db.Tx, c *change.Change, found *Certification) (bool, error) {
	before := found.Digest
	lost, err := losing(tx, found.Change, found.Revision)
	if err != nil {
		return false, err
	}
	if err := found.lose(lost); err != nil {
		return false, err
	}
	c.Reasons = found.reasons(c.Subject)
	if err := digest(tx, found); err != nil {
		return false, err
	}
	if err := writeSettled(tx, *found); err != nil {
		return false, err
	}
	radius, err := readRadius(tx, *found, func(string) bool { return false })
	if err != nil {
		return false, err
	}
	k := change.Check{Name: "effect", State: change.CheckPassed, Summary: radius.summary()}
	if radius.Breaking > 0 || radius.Outcomes[Deferred] > 0 {
		k.State = change.CheckWarning
	}
	return found.Digest != before, change.SetCheck(tx, *c, k)
}

// again plans the effect on the instances that changed while people decide. The digest changes only if an
// effect does; approvals given on another one do not count any more, and people are told.
func (s *Service) again(flow durable.Flow, workflow string) (string, error) {
	id, revision := parse(workflow)
	ctx, err := s.Changes.GoOn(flow, "certify", id)
	if err != nil {
		return "", err
	}
	return "settled", durable.UnlessOutdated(s.pass(flow, ctx, id, revision))
}

// begun is a pass that has begun.
type begun struct {
	Tree  string    `json:"tree"`
	Since time.Time `json:"since"`
}

func (s *Service) pass(flow durable.Flow, ctx context.Context, id string, revision int) error {
	b, err := durable.Step(flow, "begin", func(context.Context) (begun, error) { return s.beginPass(ctx, id, revision) })
	if err != nil {
		return err
	}
	if err := s.planEffects(flow, ctx, id, revision, b.Tree, b.Since); err != nil {
		return err
	}
	_, err = durable.Transaction(s.Durable, flow, "settle", func(tx *db.Tx) (string, error) {
		return "", s.endPass(tx.In(ctx), id, revision, b.Since)
	})
	return err
}

// beginPass takes in the instances that came and forgets those that went.
func (s *Service) beginPass(ctx context.Context, id string, revision int) (b begun, err error) {
	var c change.Change
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if c, err = underReview(tx, id, revision); err != nil {
			return err
		}
		found, err := Find(tx, id, revision)
		if err != nil {
			return err
		}
		if err := forgetGone(tx, found, c.Subject); err != nil {
			return err
		}
		b.Since = tx.Now()
		_, err = s.foreseeNew(tx, found, c.Subject)
		return err
	})
	if err != nil {
		return b, err
	}
	var conflicts []string
	b.Tree, conflicts, err = s.Git.MergeTree(ctx, c.Repo(), c.Main, c.Head)
	if err == nil && len(conflicts) > 0 {
		err = fmt.Errorf("certify: what merged before does not merge any more: %v", conflicts)
	}
	return b, err
}

// underReview takes the change and fails with durable.ErrOutdated unless people decide about this revision.
func underReview(tx *db.Tx, id string, revision int) (change.Change, error) {
	c, err := change.Take(tx, id)
	if err == nil && (c.Revision != revision || !decidable(c)) {
		err = durable.ErrOutdated
	}
	return c, err
}

func (s *Service) endPass(tx *db.Tx, id string, revision int, since time.Time) error {
	c, err := underReview(tx, id, revision)
	if err != nil {
		return err
	}
	found, err := Find(tx, id, revision)
	if err != nil {
		return err
	}
	found.passes++
	earlier := found.Digest
	differs, err := s.settle(tx, &c, &found)
	if err != nil {
		return err
	}
	if differs {
		// With the approvals of before, as they count from now on.
		if found, err = Find(tx, id, revision); err != nil {
			return err
		}
		lapsed := []string{}
		for _, a := range found.Approvals {
			if a.Lapsed == earlierDigest {
				lapsed = append(lapsed, a.Person)
			}
		}
		if err := event.Emit(tx, event.EffectChanged{OfChange: c.OfChange(tx), Digest: found.Digest, Earlier: earlier, Approvals: lapsed}); err != nil {
			return err
		}
		reason := fmt.Sprintf("the effect on live instances changed from %s to %s: %s any more", earlier, found.Digest, plain.Count(len(lapsed), "approval does not count", "approvals do not count"))
		if err := account.Audit(tx, account.Entry{Action: "change.effectchanged", Subject: id, Decision: "allowed", Reason: reason}); err != nil {
			return err
		}
	}
	_, err = s.conclude(tx, c, found, since.After(found.lastDecision()))
	return err
}
