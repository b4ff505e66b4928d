package certify

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/pattern"
)

// publish merges an approved pattern change and publishes its version. The engine tries until both are
// done: main would hold what nobody can use.
func (s *Service) publish(flow durable.Flow, workflow string) (string, error) {
	id, revision := parse(workflow)
	ctx, err := s.Changes.GoOn(flow, "certify", id)
	if err != nil {
		return "", err
	}
	return "published", durable.UnlessOutdated(s.publishOnce(flow, ctx, id, revision))
}

func (s *Service) publishOnce(flow durable.Flow, ctx context.Context, id string, revision int) error {
	commit, err := durable.Step(flow, "merge", func(context.Context) (string, error) {
		c, err := s.count(ctx, id, revision)
		if err != nil {
			return "", err
		}
		return s.Changes.MergeToMain(ctx, c)
	})
	if err != nil {
		return err
	}
	if commit == "" { // main moved: what was approved is not what would be merged
		_, err = durable.Transaction(s.Durable, flow, "again", func(tx *db.Tx) (string, error) {
			c, err := current(tx.In(ctx), change.Take, id, revision, change.Merging)
			if err != nil {
				return "", err
			}
			return "", s.Changes.Missed(tx, c)
		})
		return err
	}
	p, err := durable.Step(flow, "publish", func(context.Context) (publication, error) {
		return s.publishVersion(ctx, id, revision, commit)
	})
	if err != nil {
		return err
	}
	_, err = durable.Transaction(s.Durable, flow, "certified", func(tx *db.Tx) (string, error) {
		if p.Refused != "" {
			return "", s.unpublished(tx.In(ctx), id, revision, p, commit)
		}
		return "", s.certified(tx.In(ctx), id, revision, p.Version, commit)
	})
	return err
}

// count returns the change that is about to be merged, if its approvals still count. Whoever approved may have been
// deactivated, or have left the discipline, since the last decision; then the change goes back to the people who
// decide, and it fails with durable.ErrOutdated. What is on main already is not asked for again.
func (s *Service) count(ctx context.Context, id string, revision int) (c change.Change, err error) {
	err = s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		c, err = current(tx, change.Find, id, revision, change.Merging)
		return err
	})
	if err != nil {
		return c, err
	}
	if merged, err := s.Git.Contains(ctx, c.Repo(), "refs/heads/main", c.Head); err != nil || merged {
		return c, err
	}
	return s.recheck(ctx, id, revision)
}

// recheck is count for a change that is not on main yet.
func (s *Service) recheck(ctx context.Context, id string, revision int) (c change.Change, err error) {
	lapsed := false
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		lapsed = false
		if c, err = current(tx, change.Take, id, revision, change.Merging); err != nil {
			return err
		}
		found, err := Find(tx, id, revision)
		if err != nil {
			return err
		}
		state, _ := found.standing()
		if lapsed = state != change.Merging; !lapsed {
			return nil
		}
		found.lapses++
		if err := writeLapse(tx, found); err != nil {
			return err
		}
		c, err = s.conclude(tx, c, found, true)
		return err
	})
	if err == nil && lapsed {
		err = durable.ErrOutdated
	}
	return c, err
}

// publication is a stored version, or why it can never be stored.
type publication struct {
	Version pattern.Version `json:"version"`
	Refused string          `json:"refused,omitempty"`
	Remedy  string          `json:"remedy,omitempty"`
	Code    string          `json:"code,omitempty"`
}

// unpublished ends the publishing of what trying again would not publish. Main has it nonetheless, so that
// the next push is compared with it.
func (s *Service) unpublished(tx *db.Tx, id string, revision int, p publication, commit string) error {
	c, err := takeMerging(tx, id, revision)
	if err != nil {
		return err
	}
	c.State, c.Merged, c.Code = change.Failed, commit, p.Code
	c.Why, c.Remedy = "it is merged and cannot be published: "+p.Refused, cmp.Or(p.Remedy, "Push a correction to "+c.Branch+": it is certified as the next revision of this change.")
	if err := change.Save(tx, c); err != nil {
		return err
	}
	if err := account.Audit(tx, account.Entry{Action: "pattern.certify", Subject: c.Subject, Decision: "refused", Reason: c.ID + ": " + p.Refused}); err != nil {
		return err
	}
	return s.releaseOthers(tx, c)
}

// takeMerging takes a change that is being published, and with it the others of the pattern, whose main moves.
func takeMerging(tx *db.Tx, id string, revision int) (change.Change, error) {
	c, err := change.Find(tx, id)
	if err != nil {
		return c, err
	}
	if err := change.TakeOpen(tx, change.OfPattern, c.Subject); err != nil {
		return c, err
	}
	return current(tx, change.Take, id, revision, change.Merging)
}

// certified records the published version.
func (s *Service) certified(tx *db.Tx, id string, revision int, version pattern.Version, commit string) error {
	c, err := takeMerging(tx, id, revision)
	if err != nil {
		return err
	}
	found, err := Find(tx, id, revision)
	if err != nil {
		return err
	}
	version.Breaking = found.breaking()
	if err := s.Patterns.Certify(tx, version, c.ID); err != nil {
		return err
	}
	c.State, c.Merged, c.Why, c.Remedy = change.Merged, commit, "published as "+c.Subject+" "+version.Version, ""
	if version.Breaking != "" {
		c.Why += ", and not recommended by itself: " + version.Breaking
		c.Remedy = fmt.Sprintf("Recommend it when new apps are to get it: `flywheel pattern recommend %s %s`.", c.Subject, version.Version)
	}
	if err := change.Save(tx, c); err != nil {
		return err
	}
	return s.releaseOthers(tx, c)
}

// releaseOthers looks again at the other changes of the pattern, whose main has moved, and lets go what
// waits for this one.
func (s *Service) releaseOthers(tx *db.Tx, c change.Change) error {
	others, err := change.OpenOf(tx, change.OfPattern, c.Subject)
	if err != nil {
		return err
	}
	if err := s.Changes.AgainBeside(tx, c, others); err != nil {
		return err
	}
	return s.Changes.Wake(tx)
}

// publishVersion stores what was merged as the version that was approved. It compares first: what
// was not approved is never stored.
func (s *Service) publishVersion(ctx context.Context, id string, revision int, commit string) (p publication, err error) {
	var c change.Change
	var found Certification
	err = s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if c, err = current(tx, change.Find, id, revision, change.Merging); err != nil {
			return err
		}
		found, err = Find(tx, id, revision)
		return err
	})
	if err != nil {
		return p, err
	}
	dir, err := os.MkdirTemp(s.Dir, "publish-")
	if err != nil {
		return p, err
	}
	defer os.RemoveAll(dir)
	if err := s.Git.Export(ctx, c.Repo(), commit, dir); err != nil {
		return p, err
	}
	content, err := pattern.Digest(dir)
	if err != nil {
		return p, err
	}
	if content != found.Pattern {
		p.Refused = fmt.Sprintf("main has the content %s, and %s was approved.", content, found.Pattern)
		return p, nil
	}
	p.Version, err = s.Patterns.Add(ctx, c.Subject, found.Version, dir, commit)
	if f := fault.From(err); f != nil && f.Kind != fault.Internal && f.Kind != fault.Unavailable {
		return publication{Refused: f.Message, Remedy: f.Remedy, Code: f.Code}, nil
	}
	if err != nil {
		return p, err
	}
	return p, s.Git.Tag(ctx, c.Repo(), "v"+found.Version, commit)
}
