package account

import (
	"slices"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
)

// FourEyes refuses that the actor lets go what destroys or replaces something stateful in production, and what they
// caused themselves: causes are the ids of everybody who wrote part of it. confirm is the name that the actor typed
// and name the one of the app. Where nobody else is active the name is asked for instead; note says so then, for the
// audit log.
func FourEyes(tx *db.Tx, causes []string, name, confirm string) (note string, err error) {
	actor := From(tx.Context())
	if !slices.Contains(causes, actor.ID) {
		return "", nil
	}
	settings, err := FindSettings(tx)
	if err != nil {
		return "", err
	}
	if !settings.FourEyes {
		return "by an author of what it destroys: four-eyes is off", nil
	}
	active, err := countPeople(tx, "active")
	switch {
	case err != nil:
		return "", err
	case active > 1:
		return "", fault.New(fault.Forbidden, "release.own_change", "You wrote part of what would be destroyed or replaced in production, so somebody else must release it.").
			Do("Ask another operator of the team, or somebody of operations. An admin may turn that rule off: `flywheel settings edit --four-eyes=false`.")
	case confirm != name:
		return "", fault.New(fault.Invalid, "release.confirm", "You wrote part of what would be destroyed or replaced in production, and nobody else is active who could look at it.").
			Do("Type the name of the app to release it: `--confirm %s`.", name).At("confirm", "the name of the app")
	}
	return "by its author, who is the only active person and typed the name " + name, nil
}
