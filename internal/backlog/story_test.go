package backlog

import (
	"context"
	"fmt"
	"testing"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/fault"
)

func as(team string) context.Context {
	return account.With(context.Background(), account.Actor{ID: "usr_1", Name: "dora", Teams: map[string]account.Role{team: account.Developer}})
}

// service returns a service on a database with two teams.
func service(t *testing.T) *Service {
	s := &Service{DB: dbtest.Open(t)}
	for _, team := range []string{"shop", "other"} {
		if _, err := account.New(s.DB).CreateTeam(account.System(t.Context(), "test"), team, ""); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestStoriesAreNumberedOneByOneAlsoAtTheSameTime(t *testing.T) {
	s := service(t)
	type answer struct {
		story Story
		err   error
	}
	answers := make(chan answer)
	for range 8 {
		go func() {
			st, err := s.Create(as("shop"), " Shops near me ", "shop")
			answers <- answer{st, err}
		}()
	}
	keys := map[string]bool{}
	for range 8 {
		a := <-answers
		if a.err != nil || a.story.Title != "Shops near me" {
			t.Errorf("%+v, %v", a.story, a.err)
		}
		keys[a.story.Key] = true
	}
	for n := 1; n <= 8; n++ {
		if !keys[fmt.Sprintf("STY-%d", n)] {
			t.Errorf("STY-%d is missing in %v", n, keys)
		}
	}
}

func TestStoriesOfOtherTeamsAreSkippedAndDoNotEndTheList(t *testing.T) {
	s := service(t)
	for _, team := range []string{"shop", "other", "other", "other", "shop", "other"} {
		if _, err := s.Create(as(team), "A story", team); err != nil {
			t.Fatal(err)
		}
	}
	for _, limit := range []int{1, 2, 3} {
		seen, before := "", int64(1)<<62
		for {
			page, err := s.List(as("shop"), "", before, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, st := range page {
				seen, before = seen+st.Key+" ", st.number
			}
			if len(page) < limit {
				break
			}
		}
		if seen != "STY-5 STY-1 " {
			t.Errorf("with pages of %d the team sees %s", limit, seen)
		}
	}
	for _, tt := range []struct {
		team string
		want int
		code string
	}{{"shop", 2, ""}, {"other", 0, ""}, {"nope", 0, "team.not_found"}} {
		page, err := s.List(as("shop"), tt.team, 1<<62, 10)
		if len(page) != tt.want || (err != nil) != (tt.code != "") || err != nil && !fault.Is(err, tt.code) {
			t.Errorf("of %s: %d stories, %v", tt.team, len(page), err)
		}
	}
}

func TestAStoryNeedsATitleAndATeamOnesOwn(t *testing.T) {
	s := service(t)
	if _, err := s.Create(as("shop"), " ", "shop"); !fault.Is(err, "story.title_missing") {
		t.Errorf("got %v", err)
	}
	if _, err := s.Create(as("shop"), "Theirs", "other"); !fault.Is(err, "permission.denied") {
		t.Errorf("a story of another team is answered %v", err)
	}
	for name, actor := range map[string]context.Context{"a developer": as("shop"), "an admin": account.With(t.Context(), account.Actor{ID: "usr_2", Name: "root", Admin: true})} {
		if _, err := s.Create(actor, "Nobody's", "nope"); !fault.Is(err, "team.not_found") {
			t.Errorf("a story of no team by %s is answered %v", name, err)
		}
	}
}
