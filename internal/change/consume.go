package change

import (
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/event"
)

// Consumers are what changes do about facts of others.
func (s *Service) Consumers() []event.Consumer {
	return []event.Consumer{{
		Name: "change-waived", Types: []string{event.TypeOf(event.WaiverGranted{})},
		Handle: func(tx *db.Tx, e event.Event) error { return s.reconsider(tx, e.App) },
	}}
}
