package server

import (
	"context"
	"slices"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/event"
)

func TestAnEventIsSeenByItsAudienceOnly(t *testing.T) {
	d := dbtest.Open(t)
	s := &Server{DB: d}
	shop, press := map[string]account.Role{"shop": account.Viewer}, map[string]account.Role{"press": account.Owner}
	actors := map[string]account.Actor{
		"otto": {ID: "usr_otto", Name: "otto"}, "dana": {ID: "usr_dana", Name: "dana", Teams: shop}, "pia": {ID: "usr_pia", Name: "pia", Teams: press},
		"sam": {ID: "usr_sam", Name: "sam", Disciplines: []string{account.Security}}, "admin": {ID: "usr_admin", Name: "admin", Admin: true},
	}
	above := []string{"admin", "sam"}
	cases := map[string]struct {
		e    event.Event
		seen []string
	}{
		"a secret of an environment":   {event.Event{Type: event.Own("secret", "set"), Subject: "AWS_KEY"}, nil},
		"what says nothing":            {event.Event{Type: "x", Subject: "x"}, nil},
		"what says what nobody knows":  {event.Event{Type: "x", Subject: "x", Audience: "friends"}, nil},
		"a team without a name":        {event.Event{Type: "x", Subject: "x", Audience: event.OfTeam("")}, nil},
		"a person without a name":      {event.Event{Type: "x", Subject: "x", Audience: event.OfPerson("")}, nil},
		"an app":                       {event.Event{Type: event.TypeOf(event.ServiceDeployed{}), Subject: "dpl_1", App: "store"}, []string{"dana"}},
		"an app that is not there":     {event.Event{Type: event.TypeOf(event.ServiceDeployed{}), Subject: "dpl_2", App: "gone"}, nil},
		"an audience of no app":        {event.Event{Type: "x", Subject: "x", Audience: event.OfApp}, nil},
		"a story":                      {event.Event{Type: event.TypeOf(event.StoryCreated{}), Subject: "sty_1", Audience: event.OfTeam("press")}, []string{"pia"}},
		"a token":                      {event.Event{Type: event.Own("token", "created"), Subject: "tok_1", Audience: event.OfPerson("otto")}, []string{"otto"}},
		"a pattern":                    {event.Event{Type: event.Own("pattern", "certified"), Subject: "web", Audience: event.Everybody}, []string{"dana", "otto", "pia"}},
		"a secret of an app":           {event.Event{Type: event.Own("secret", "set"), Subject: "KEY", App: "store", Audience: event.OfApp}, []string{"dana"}},
		"of an app, for its team only": {event.Event{Type: "x", Subject: "x", App: "store", Audience: event.OfTeam("press")}, []string{"pia"}},
	}
	names := []string{}
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec(`insert into app (id, name, title, team, state, pin, description, created_by, created_at) values ('app_1','store','Store','shop','active','{}','{}','',$1)`, tx.Now())
		for name, c := range cases {
			names = append(names, name)
			if err == nil {
				c.e.ID = "evt_" + name
				err = event.Append(tx, c.e)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := event.Number(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	var all []event.Event
	if err := d.Read(t.Context(), func(tx *db.Tx) (err error) { all, err = event.After(tx, 0, event.Filter{}, 100); return err }); err != nil || len(all) != len(names) {
		t.Fatal(len(all), err)
	}
	seen := map[string][]string{}
	for who, actor := range actors {
		visible, err := s.visibleEvents(account.With(context.Background(), actor), all)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range visible {
			seen[strings.TrimPrefix(e.ID, "evt_")] = append(seen[strings.TrimPrefix(e.ID, "evt_")], who)
		}
	}
	for name, c := range cases {
		want := append(slices.Clone(above), c.seen...)
		slices.Sort(want)
		slices.Sort(seen[name])
		if !slices.Equal(seen[name], want) {
			t.Errorf("%s is seen by %v, want %v", name, seen[name], want)
		}
	}
}
