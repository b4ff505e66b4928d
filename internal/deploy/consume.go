package deploy

import (
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/event"
)

// Consumers are what deployments do about facts of others.
func (s *Service) Consumers() []event.Consumer {
	return []event.Consumer{{Name: "deploy-mended", Types: []string{event.TypeOf(event.FixDeclared{})}, Handle: s.mended}}
}

// mended lets a change that was declared to mend another one pass where it waits. Which one it mends is read after
// the instances are locked: it may have been declared anew since.
func (s *Service) mended(tx *db.Tx, e event.Event) error {
	instances, err := app.LockInstances(tx, e.App)
	if err != nil {
		return err
	}
	c, err := change.Find(tx, e.Subject)
	if err != nil {
		return err
	}
	for _, i := range instances {
		if c.Fix == "" || i.PinnedBy != c.Fix {
			continue
		}
		if err := s.next(tx, &i); err != nil {
			return err
		}
	}
	return nil
}
