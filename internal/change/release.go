package change

import (
	"slices"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/pattern"
)

// mayRelease refuses whoever may not let the held change go. An operator decides about what is destroyed, and who the
// pattern names about tests that are dropped.
func (c Change) mayRelease(actor account.Actor) error {
	operator := len(c.destroys()) > 0
	needs := []manifest.Who{}
	for _, r := range c.Reasons {
		if r.Held && r.Needs != "" {
			needs = append(needs, r.Needs)
		} else if r.Held {
			operator = true
		}
	}
	if operator || len(needs) == 0 {
		if err := actor.Require(account.HoldRelease, c.Team); err != nil {
			return err
		}
	}
	if slices.Contains(needs, manifest.Owner) {
		if err := actor.Require(account.DropTests, c.Team); err != nil {
			return err
		}
	}
	if slices.Contains(needs, manifest.CoE) {
		return actor.Require(account.CuratePattern, "")
	}
	return nil
}

// destroys returns the environments in which the change would destroy or replace something stateful.
func (c Change) destroys() (environments []string) {
	if c.Proposal == nil {
		return nil
	}
	for name, shown := range c.Proposal.Plans {
		if len(shown.Destroys) > 0 {
			environments = append(environments, name)
		}
	}
	return environments
}

// fourEyes refuses that an author of what a held change destroys in production releases it; see account.FourEyes.
func (s *Service) fourEyes(tx *db.Tx, c Change, confirm string) (note string, err error) {
	causes := []string{}
	for _, name := range c.destroys() {
		e, err := app.FindEnvironment(tx, name)
		if fault.Is(err, "environment.not_found") || err == nil && e.Class != "production" {
			continue
		}
		if err != nil {
			return "", err
		}
		i, err := app.FindInstance(tx, c.Subject, name)
		if err != nil && !fault.Is(err, "instance.not_found") {
			return "", err
		}
		more, err := s.Causes(tx, c.Subject, []string{c.ID}, i.Deployed, c.Proposal.Description.Pin)
		if err != nil {
			return "", err
		}
		causes = append(causes, more...)
	}
	return account.FourEyes(tx, causes, c.Subject, confirm)
}

// Causes returns the ids of everybody who wrote part of what a deployment of an app does: the authors of its changes,
// of those that are merged and have not arrived everywhere, and of the pattern changes that brought the versions
// between the one that is deployed and the one that is to be.
func (s *Service) Causes(tx *db.Tx, name string, changes []string, deployed app.Desired, pin app.Pin) (people []string, err error) {
	merged, err := db.Collect(tx, func(r db.Row) (id string, err error) { return id, r.Scan(&id) },
		`select id from change where kind = $1 and subject = $2 and state = $3`, OfApp, name, Merged)
	if err != nil {
		return nil, err
	}
	ids := append(slices.Clone(changes), merged...)
	if pin.Pattern != "" {
		versions, err := s.Patterns.Versions(tx, pin.Pattern)
		if err != nil && !fault.Is(err, "pattern.not_found") {
			return nil, err
		}
		from := deployed.Version
		if deployed.Pattern != pin.Pattern {
			from = ""
		}
		for _, v := range pattern.Passed(from, pin.Version, versions) {
			ids = append(ids, v.Change)
		}
	}
	for _, id := range ids {
		if id == "" {
			continue
		}
		c, err := Find(tx, id)
		if err != nil && !fault.Is(err, "change.not_found") {
			return nil, err
		}
		people = append(people, append(c.Authors, c.Opener)...)
	}
	return people, nil
}
