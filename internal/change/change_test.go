package change_test

import (
	"testing"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/change"
)

func TestAChangeAwaitsOnlyThoseWhoMayAct(t *testing.T) {
	member := func(id string, role account.Role) account.Actor {
		return account.Actor{ID: id, Teams: map[string]account.Role{"shop": role}}
	}
	author, developer, operator := member("usr_author", account.Developer), member("usr_dev", account.Developer), member("usr_op", account.Operator)
	operations := account.Actor{ID: "usr_coe", Disciplines: []string{account.Operations}}
	for _, c := range []struct {
		state change.State
		who   account.Actor
		want  string
	}{
		{change.Held, operator, "release"}, {change.Held, operations, "release"}, {change.Held, developer, ""},
		{change.Ready, developer, "merge"}, {change.Ready, member("usr_v", account.Viewer), ""}, {change.Ready, operations, ""},
		{change.Blocked, author, "correct"}, {change.Refused, author, "correct"}, {change.Failed, author, "correct"}, {change.Blocked, operator, ""},
		{change.Checking, author, ""}, {change.Deployed, author, ""}, {change.Review, author, ""},
	} {
		got := change.Change{State: c.state, Team: "shop", Opener: "usr_author", Authors: []string{"usr_author"}}.Awaits(c.who)
		if got != c.want {
			t.Errorf("a %s change awaits %q of %s, not %q", c.state, got, c.who.ID, c.want)
		}
	}
}
