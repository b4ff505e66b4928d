package event_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/patience"
)

func add(t testing.TB, d *db.DB, events ...event.Event) {
	t.Helper()
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		for _, e := range events {
			if err := event.Append(tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, events <-chan event.Event) event.Event {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			t.Fatal("the channel was closed")
		}
		return e
	case <-time.After(patience.Of(patience.Limit)):
		t.Fatal("no event arrived")
	}
	panic("unreachable")
}

func TestNumbersHaveNoGaps(t *testing.T) {
	d := dbtest.Open(t)
	log := event.New(d)
	live := log.Follow(t.Context(), 0, event.Filter{})

	const writers, each = 8, 20
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				e := event.Event{Type: event.TypeOf(event.ServiceDeployed{}), Subject: fmt.Sprintf("dpl_%d_%d", w, i)}
				err := d.Write(t.Context(), func(tx *db.Tx) error {
					if err := event.Append(tx, e); err != nil {
						return err
					}
					if i%5 == 4 {
						return errors.New("taken back")
					}
					return nil
				})
				if err != nil && err.Error() != "taken back" {
					t.Error(err)
				}
			}
		})
	}
	for want := int64(1); want <= writers*each*4/5; want++ {
		if e := receive(t, live); e.Seq != want {
			t.Fatalf("event %d arrived as number %d", e.Seq, want)
		}
	}
	wg.Wait()
}

func TestAnEventThatCommitsLateIsSeenAfterTheOnesThatOvertookIt(t *testing.T) {
	d := dbtest.Open(t)
	if !d.Postgres() {
		t.Skip("SQLite has one writer: nothing overtakes")
	}
	live := event.New(d).Follow(t.Context(), 0, event.Filter{})
	see := func(want string) {
		t.Helper()
		if e := receive(t, live); e.Subject != want {
			t.Fatalf("%s arrived, want %s", e.Subject, want)
		}
	}
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		if err := event.Append(tx, event.Event{Type: event.TypeOf(event.ChangeOpened{}), Subject: "slow"}); err != nil {
			return err
		}
		tx.BeforeCommit(func() error { // the slow one has written its event
			add(t, d, event.Event{Type: event.TypeOf(event.ChangeOpened{}), Subject: "fast"})
			see("fast")
			return nil
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	see("slow")
}

func TestAllFollowersOfAllReplicasSeeTheSameOrder(t *testing.T) {
	url := dbtest.URL(t)
	var replicas [2]*db.DB
	for i := range replicas {
		var err error
		if replicas[i], err = db.Open(t.Context(), url); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(replicas[i].Close)
	}
	const writers, each = 6, 30
	follow := func(d *db.DB, after int64) <-chan event.Event {
		return event.New(d).Follow(t.Context(), after, event.Filter{})
	}
	followers := []<-chan event.Event{follow(replicas[0], 0), follow(replicas[1], 0)}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			d := replicas[w%2]
			for i := range each {
				err := d.Write(t.Context(), func(tx *db.Tx) error {
					for part := range 2 {
						if err := event.Append(tx, event.Event{Type: event.TypeOf(event.ServiceDeployed{}), Subject: fmt.Sprintf("dpl_%d_%d_%d", w, i, part)}); err != nil {
							return err
						}
					}
					if i%3 == 0 { // holds its commit back until another one has come before it, where the engine lets it
						tx.BeforeCommit(func() error {
							if tx.Postgres() {
								add(t, replicas[1-w%2], event.Event{Type: event.TypeOf(event.ServiceDeployed{}), Subject: fmt.Sprintf("between_%d_%d", w, i)})
							}
							return nil
						})
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	want := writers * each * 2
	if replicas[0].Postgres() {
		want += writers * each / 3
	}
	var order []string
	last := map[string]int{} // by writer: its events stand in its order
	for seq := int64(1); len(order) < want; seq++ {
		e := receive(t, followers[0])
		if e.Seq != seq {
			t.Fatalf("number %d follows number %d", e.Seq, seq-1)
		}
		var w, i, part int
		if n, _ := fmt.Sscanf(e.Subject, "dpl_%d_%d_%d", &w, &i, &part); n == 3 {
			key := fmt.Sprint(w)
			if place := 1 + 2*i + part; place != last[key]+1 {
				t.Fatalf("%s arrived after number %d of its writer", e.Subject, last[key])
			}
			last[key]++
		}
		order = append(order, e.Subject)
	}
	wg.Wait()
	middle := int64(want / 2)
	late := follow(replicas[1], middle) // one that comes back
	for i, subject := range order {
		if e := receive(t, followers[1]); e.Subject != subject {
			t.Fatalf("number %d is %s for one follower and %s for another", i+1, subject, e.Subject)
		}
		if int64(i) >= middle {
			if e := receive(t, late); e.Subject != subject {
				t.Fatalf("number %d is %s for one follower and %s for one that came back", i+1, subject, e.Subject)
			}
		}
	}
}

func TestEventsThatNobodyFollowsAreNumberedInTheirOrder(t *testing.T) {
	d := dbtest.Open(t)
	for i := range 50 {
		add(t, d, event.Event{Type: event.TypeOf(event.ChangeOpened{}), Subject: fmt.Sprint("first ", i)}, event.Event{Type: event.TypeOf(event.ChangeOpened{}), Subject: fmt.Sprint("second ", i)})
	}
	var wg sync.WaitGroup
	for range 4 { // replicas that begin to read together
		wg.Go(func() {
			if err := event.Number(t.Context(), d); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	live := event.New(d).Follow(t.Context(), 0, event.Filter{})
	for i := range 100 {
		want := fmt.Sprint([]string{"first ", "second "}[i%2], i/2)
		if e := receive(t, live); e.Seq != int64(i+1) || e.Subject != want {
			t.Fatalf("number %d is %q, want number %d to be %q", e.Seq, e.Subject, i+1, want)
		}
	}
}

func TestAFollowerContinuesAfterTheLastNumberItSaw(t *testing.T) {
	d := dbtest.Open(t)
	log := event.New(d)
	for i := range 600 { // more than one batch of the table
		add(t, d, event.Event{Type: event.TypeOf(event.ChangeOpened{}), Subject: fmt.Sprint("chg_", i)})
	}
	ctx, cancel := context.WithCancel(t.Context())
	first := log.Follow(ctx, 0, event.Filter{})
	for range 10 {
		receive(t, first)
	}
	cancel()
	for range first { // ends
	}
	second := log.Follow(t.Context(), 10, event.Filter{})
	for want := int64(11); want <= 600; want++ {
		if e := receive(t, second); e.Seq != want {
			t.Fatalf("got %d, want %d", e.Seq, want)
		}
	}
	add(t, d, event.Event{Type: event.TypeOf(event.ChangeMerged{}), Subject: "chg_0"})
	if e := receive(t, second); e.Seq != 601 || e.Type != event.TypeOf(event.ChangeMerged{}) {
		t.Fatalf("got %+v", e)
	}
}

func TestAFollowerSeesOnlyWhatItAskedFor(t *testing.T) {
	d := dbtest.Open(t)
	log := event.New(d)
	filters := []event.Filter{
		{App: "storefront"},
		{Subjects: []string{"dpl_2", "dpl_9"}},
		{Types: []string{"dev.cdevents.service.*", event.TypeOf(event.ChangeMerged{})}},
	}
	add(t, d,
		event.Event{Type: event.TypeOf(event.ChangeOpened{}), Subject: "chg_1", App: "billing"},
		event.Event{Type: event.TypeOf(event.ChangeMerged{}), Subject: "chg_1", App: "storefront"})
	var channels []<-chan event.Event
	for _, f := range filters {
		channels = append(channels, log.Follow(t.Context(), 0, f))
	}
	receive(t, channels[0])
	receive(t, channels[2])
	add(t, d,
		event.Event{Type: event.TypeOf(event.ServiceUpgraded{}), Subject: "dpl_2", App: "storefront"},
		event.Event{Type: event.TypeOf(event.DeploymentQueued{}), Subject: "dpl_3", App: "billing"})
	for i, c := range channels {
		if e := receive(t, c); e.Subject != "dpl_2" {
			t.Errorf("filter %d got %+v", i, e)
		}
	}
}

func TestFromNowSkipsWhatWasBefore(t *testing.T) {
	d := dbtest.Open(t)
	log := event.New(d)
	add(t, d, event.Event{Type: event.TypeOf(event.ChangeOpened{}), Subject: "old"})
	live := log.Follow(t.Context(), -1, event.Filter{})
	add(t, d, event.Event{Type: event.TypeOf(event.ChangeOpened{}), Subject: "new"})
	if e := receive(t, live); e.Subject != "new" {
		t.Fatalf("got %q", e.Subject)
	}
}

func TestAnEventIsShownAsACloudEvent(t *testing.T) {
	d := dbtest.Open(t)
	add(t, d, event.Event{
		Type: event.Own("waiver", "granted"), Subject: "wav_1", App: "storefront", Actor: "usr_1",
		Data: map[string]any{"reason": "legacy"},
	})
	if err := event.Number(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	var events []event.Event
	err := d.Read(t.Context(), func(tx *db.Tx) (err error) {
		events, err = event.Before(tx, 0, event.Filter{}, 10)
		return err
	})
	if err != nil || len(events) != 1 {
		t.Fatal(events, err)
	}
	text, err := json.Marshal(events[0].Cloud())
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"specversion": "1.0", "type": "dev.cdeventsx.flywheel-waiver.granted", "subject": "wav_1",
		"source": "/flywheel", "sequence": 1.0, "app": "storefront", "actor": "usr_1",
	} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	if got["data"].(map[string]any)["reason"] != "legacy" {
		t.Errorf("data is %v", got["data"])
	}
}

func BenchmarkAppend(b *testing.B) {
	d := dbtest.Open(b)
	for b.Loop() {
		add(b, d, event.Event{Type: event.TypeOf(event.ServiceDeployed{}), Subject: "dpl_1", App: "storefront", Data: map[string]string{"lane": "software"}})
	}
}
