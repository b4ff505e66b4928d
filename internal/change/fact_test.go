package change

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/event"
)

// told returns every fact about a change as a line: its kind and what it says of the state and of waiting.
func told(t *testing.T, d *db.DB, id string) (lines []string) {
	t.Helper()
	if err := event.Number(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	err := d.Read(t.Context(), func(tx *db.Tx) error {
		events, err := event.After(tx, 0, event.Filter{Subjects: []string{id}}, 100)
		for _, e := range events {
			var m event.Moved
			if err := e.Decode(&m); err != nil {
				return err
			}
			_, kind, _ := strings.Cut(strings.TrimPrefix(e.Type, "dev.cdevents"), ".")
			line := kind
			if m.State != "" {
				line += fmt.Sprintf(" %s>%s", m.From, m.State)
			}
			if m.WaitedFor != "" {
				line += fmt.Sprintf(" after %s of %s", e.At.Sub(m.Since), m.WaitedFor)
			}
			if m.WaitsFor != "" {
				line += " for " + string(m.WaitsFor)
			}
			lines = append(lines, line)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestAFactIsWrittenWhenSomethingChangesAndOnlyThen(t *testing.T) {
	d := dbtest.Open(t)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	d.Now = func() time.Time { return now }
	ctx := account.System(t.Context(), "test")
	c := Change{ID: db.NewID("chg"), Kind: OfApp, Subject: "shop", Team: "press", State: Checking, Revision: 1, Head: "a", Reasons: []Reason{}, Effects: []Effect{}, Authors: []string{},
		OpenedAt: now, UpdatedAt: now, commits: []event.Commit{{SHA: "a", AuthoredAt: now.Add(-time.Hour), CommittedAt: now.Add(-time.Minute)}}}
	if err := d.Write(ctx, func(tx *db.Tx) error { return insert(tx, c) }); err != nil {
		t.Fatal(err)
	}
	seen := 1
	for _, step := range []struct {
		does string
		edit func(*Change)
		want string
	}{
		{"nothing", func(*Change) {}, ""},
		{"find the lane", func(c *Change) { c.Lane = Software }, "flywheel-change.laned"},
		{"say more of why", func(c *Change) { c.Reasons = []Reason{{Text: "the artifact differs"}} }, ""},
		{"stand behind another", func(c *Change) { c.Code, c.Why = codeQueued, "waits until another is merged" }, "flywheel-change.moved checking>checking for queue"},
		{"go on", func(c *Change) { c.Why = "" }, "flywheel-change.moved checking>checking after 1m0s of queue"},
		{"be held", func(c *Change) { c.State, c.Why = Held, "it would destroy a volume" }, "flywheel-change.moved checking>held for operator"},
		{"say that in other words", func(c *Change) { c.Why = "it would destroy a volume of prod" }, ""},
		{"look again", func(c *Change) { c.State, c.Why, c.Revision = Checking, "", 2 }, "change.updated|flywheel-change.moved held>checking after 2m0s of operator"},
		{"be pushed while it is looked at", func(c *Change) { c.Revision, c.Head, c.Lane = 3, "b", "" }, "change.updated"},
		{"fail", func(c *Change) { c.State, c.Code = Failed, "tests.failed" }, "flywheel-change.moved checking>failed for author"},
		{"be pushed", func(c *Change) { c.State, c.Revision, c.Head = Checking, 4, "c" }, "change.updated|flywheel-change.moved failed>checking after 1m0s of author"},
		{"find another lane", func(c *Change) { c.Lane = Variable }, "flywheel-change.laned"},
		{"wait for a pattern", func(c *Change) { c.State = Waiting }, "flywheel-change.moved checking>waiting for certification"},
		{"merge", func(c *Change) { c.State = Merging }, "flywheel-change.moved waiting>merging after 1m0s of certification"},
		{"be merged", func(c *Change) { c.State, c.Merged = Merged, "m" }, "change.merged merging>merged"},
		{"be stuck", func(c *Change) { c.Why = "its deployment failed" }, ""},
		{"be rolled back", func(c *Change) { c.State = RolledBack }, "flywheel-change.rolledback merged>rolled_back"},
		{"be put back", func(c *Change) { c.State = Merged }, "flywheel-change.restored rolled_back>merged"},
		{"arrive", func(c *Change) { c.State = Deployed }, "flywheel-change.deployed merged>deployed"},
	} {
		now = now.Add(time.Minute)
		for range 2 { // saved again, it says nothing new
			err := d.Write(ctx, func(tx *db.Tx) error {
				at, err := Take(tx, c.ID)
				if err != nil {
					return err
				}
				step.edit(&at)
				return Save(tx, at)
			})
			if err != nil {
				t.Fatal(step.does, err)
			}
		}
		lines := told(t, d, c.ID)
		if got := strings.Join(lines[seen:], "|"); got != step.want {
			t.Errorf("to %s tells %q, want %q", step.does, got, step.want)
		}
		seen = len(lines)
	}
}

func TestAMergedChangeTellsTheTimesOfItsCommits(t *testing.T) {
	d := dbtest.Open(t)
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	d.Now = func() time.Time { return now }
	ctx := account.System(t.Context(), "test")
	pushed := []event.Commit{{SHA: "b", AuthoredAt: now.Add(-time.Hour), CommittedAt: now.Add(-time.Minute)}, {SHA: "a", AuthoredAt: now.Add(-48 * time.Hour), CommittedAt: now.Add(-time.Hour)}}
	c := Change{ID: db.NewID("chg"), Kind: OfApp, Subject: "shop", Team: "press", State: Checking, Revision: 1, Head: "b", Story: "STY-1", Fix: "chg_broken", Reasons: []Reason{}, Effects: []Effect{}, Authors: []string{},
		OpenedAt: now, UpdatedAt: now, commits: pushed}
	if err := d.Write(ctx, func(tx *db.Tx) error { return insert(tx, c) }); err != nil {
		t.Fatal(err)
	}
	for _, state := range []State{Ready, Merging, Merged} {
		now = now.Add(time.Minute)
		err := d.Write(ctx, func(tx *db.Tx) error {
			at, err := Take(tx, c.ID)
			at.State = state
			if err != nil {
				return err
			}
			return Save(tx, at)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	told(t, d, c.ID)
	var merged event.ChangeMerged
	err := d.Read(t.Context(), func(tx *db.Tx) error {
		events, err := event.After(tx, 0, event.Filter{Types: []string{event.TypeOf(event.ChangeMerged{})}}, 10)
		if err != nil || len(events) != 1 || events[0].Team != "press" || events[0].App != "shop" {
			return fmt.Errorf("%+v %w", events, err)
		}
		return events[0].Decode(&merged)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(merged.Commits) != 2 || !merged.Commits[1].AuthoredAt.Equal(pushed[1].AuthoredAt) || !merged.Commits[0].CommittedAt.Equal(pushed[0].CommittedAt) {
		t.Errorf("its commits are %+v", merged.Commits)
	}
	opened := now.Add(-3 * time.Minute)
	if !merged.OpenedAt.Equal(opened) || merged.CheckedAt == nil || !merged.CheckedAt.Equal(opened.Add(time.Minute)) || !merged.ReadyAt.Equal(opened.Add(time.Minute)) || !merged.Since.Equal(opened.Add(2*time.Minute)) {
		t.Errorf("opened %s, checked %v, ready %v, merging since %s", merged.OpenedAt, merged.CheckedAt, merged.ReadyAt, merged.Since)
	}
	if !merged.Planned || merged.Fixes != "chg_broken" {
		t.Errorf("planned %v, fixes %q", merged.Planned, merged.Fixes)
	}
}
