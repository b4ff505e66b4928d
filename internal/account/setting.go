package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/web"
)

// Settings are what an admin decides for the whole platform.
type Settings struct {
	FourEyes  bool      `json:"fourEyes" doc:"Whoever wrote what destroys or replaces something stateful in production may not release it; on unless it was turned off"`
	UpdatedAt time.Time `json:"updatedAt,omitempty"`
	UpdatedBy string    `json:"updatedBy,omitempty" doc:"Name of who last changed it"`
}

const fourEyes = "four-eyes"

// FindSettings returns the settings. What nobody has set is as it is safe.
func FindSettings(tx *db.Tx) (Settings, error) {
	s, value := Settings{FourEyes: true}, ""
	err := tx.QueryRow(`select value, updated_at, updated_by from setting where name = $1`, fourEyes).Scan(&value, &s.UpdatedAt, &s.UpdatedBy)
	if errors.Is(err, db.ErrNoRows) {
		return s, nil
	}
	s.FourEyes = value != "off"
	return s, err
}

// Settings returns the settings to whoever is signed in.
func (s *Service) Settings(ctx context.Context) (found Settings, err error) {
	if err := From(ctx).Require(ViewTeam, ""); err != nil {
		return found, err
	}
	err = s.db.Read(ctx, func(tx *db.Tx) error { found, err = FindSettings(tx); return err })
	return found, err
}

// SettingsEdit is what may be changed about the settings; nil leaves it as it is.
type SettingsEdit struct {
	FourEyes *bool
}

// EditSettings changes the settings.
func (s *Service) EditSettings(ctx context.Context, edit SettingsEdit) (now Settings, err error) {
	if err := From(ctx).Require(ManageSettings, ""); err != nil {
		return now, err
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if now, err = FindSettings(tx); err != nil || edit.FourEyes == nil || *edit.FourEyes == now.FourEyes {
			return err
		}
		value := map[bool]string{true: "on", false: "off"}[*edit.FourEyes]
		now = Settings{FourEyes: *edit.FourEyes, UpdatedAt: tx.Now(), UpdatedBy: From(ctx).Name}
		web.Touch(tx, web.Topic{Noun: web.NounSetting, Everybody: true})
		if _, err := tx.Exec(`insert into setting (name, value, updated_at, updated_by) values ($1,$2,$3,$4)
			on conflict (name) do update set value = excluded.value, updated_at = excluded.updated_at, updated_by = excluded.updated_by`,
			fourEyes, value, now.UpdatedAt, now.UpdatedBy); err != nil {
			return err
		}
		return record(tx, event.SettingsUpdated{OfAccount: of("settings.edit", fourEyes, "")}, fmt.Sprintf("%s is %s", fourEyes, value))
	})
	return now, err
}
