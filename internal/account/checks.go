package account

import (
	"regexp"
	"slices"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
)

// A token for checks posts the results of an outer system, such as a CI. It is bound to a team, or to one app, and
// stands for its maker there as a developer: what that person may do elsewhere, and may decide, it may not. It ends
// to speak when its maker is no longer of that team.

var systemName = regexp.MustCompile(`^[a-z][a-z0-9._-]{0,38}$`)

// checkSystem refuses a token for checks without what it needs, and another one that names a system.
func (t *Token) checkSystem(actor Actor) error {
	if !slices.Contains(t.Scopes, ScopeChecks) {
		if t.System+t.Team+t.App != "" {
			return fault.New(fault.Invalid, "token.system", "Only a token with the scope checks:write speaks for a system, and is bound to a team or an app.").
				Do("Add --scope checks:write, or leave --system, --team and --app out.").At("body.system", "without checks:write")
		}
		return nil
	}
	switch {
	case len(t.Scopes) > 1:
		return fault.New(fault.Invalid, "token.scopes", "A token with the scope checks:write has no other one.").Do("Make two tokens.").At("body.scopes", "checks:write alone")
	case !systemName.MatchString(t.System):
		return fault.New(fault.Invalid, "token.system", "A token for checks is named after the system it speaks for.").
			Do("Name it as flywheel.yaml does, in small letters: --system ci.").At("body.system", "a name such as ci")
	case (t.Team == "") == (t.App == ""):
		return fault.New(fault.Invalid, "token.team", "A token for checks is about the apps of one team, or about one app.").Do("Add --team TEAM or --app APP.").At("body.team", "either team or app")
	}
	t.Service = true
	return nil
}

// bind checks that the actor may let somebody speak for the team of a token for checks, and notes that team.
func (s *Service) bind(tx *db.Tx, t *Token) (err error) {
	if t.System == "" {
		return nil
	}
	actor := From(tx.Context())
	if t.App != "" {
		if t.Team, err = s.TeamOf(tx, t.App); err == nil {
			err = actor.RequireOf(SpeakForChecks, t.Team, "app", t.App)
		}
		return err
	}
	_, err = TeamFor(tx, SpeakForChecks, t.Team)
	return err
}

// speaks says for whom a token speaks, for the audit log.
func (t Token) speaks() string {
	switch {
	case t.System == "":
		return ""
	case t.App != "":
		return ", speaks for " + t.System + " about the app " + t.App
	}
	return ", speaks for " + t.System + " about the apps of " + t.Team
}

// speaking is the actor of a token for checks: a developer of its team, if its maker is one still, and nobody else.
func (a Actor) speaking(team string) Actor {
	member := a.Admin || a.Teams[team].atLeast(Developer)
	a.Admin, a.Disciplines, a.Teams, a.Service = false, nil, map[string]Role{}, true
	if member {
		a.Teams[team] = Developer
	}
	return a
}
