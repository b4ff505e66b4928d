package event_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/patience"
	"flywheel.dev/flywheel/internal/web"
)

var waived, other = event.TypeOf(event.WaiverGranted{}), event.TypeOf(event.ChangeRevised{})

// ledger is what consumers of a test write: a row for each fact that one has handled, in order.
func ledger(t *testing.T, d *db.DB) {
	t.Helper()
	write(t, d, func(tx *db.Tx) error {
		_, err := tx.Exec("create table ledger (consumer text not null, seq bigint not null, subject text not null)")
		return err
	})
}

func write(t *testing.T, d *db.DB, fn func(tx *db.Tx) error) {
	t.Helper()
	if err := d.Write(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func enter(consumer string) func(*db.Tx, event.Event) error {
	return func(tx *db.Tx, e event.Event) error {
		_, err := tx.Exec("insert into ledger (consumer, seq, subject) values ($1, $2, $3)", consumer, e.Seq, e.Subject)
		return err
	}
}

// entries returns the subjects of the facts that a consumer has handled, and fails unless they are in the order of
// the log and none is there twice.
func entries(t *testing.T, d *db.DB, consumer string) []string {
	t.Helper()
	last, subjects := int64(0), []string{}
	err := d.Read(t.Context(), func(tx *db.Tx) error {
		order := "rowid"
		if tx.Postgres() {
			order = "ctid"
		}
		_, err := db.Collect(tx, func(r db.Row) (string, error) {
			var seq int64
			var subject string
			err := r.Scan(&seq, &subject)
			if seq <= last {
				t.Errorf("%s got fact %d after %d", consumer, seq, last)
			}
			last, subjects = seq, append(subjects, subject)
			return subject, err
		}, "select seq, subject from ledger where consumer = $1 order by "+order, consumer)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return subjects
}

type actorKey struct{}

func consumers(d *db.DB, list ...event.Consumer) *event.Consumers {
	c := &event.Consumers{DB: d, Events: event.New(d), Log: slog.New(slog.DiscardHandler), As: func(ctx context.Context, name string) context.Context {
		return context.WithValue(ctx, actorKey{}, name)
	}}
	for _, one := range list {
		c.Register(one)
	}
	return c
}

func begin(t *testing.T, c *event.Consumers) {
	t.Helper()
	if err := c.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func catchUp(t *testing.T, c *event.Consumers) {
	t.Helper()
	if err := c.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func place(t *testing.T, c *event.Consumers, name string) event.Place {
	t.Helper()
	list, err := c.Places(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(p event.Place) bool { return p.Consumer == name })
	if i < 0 {
		t.Fatalf("%s is not among %+v", name, list)
	}
	return list[i]
}

// until waits for something that other goroutines bring about.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience.Of(patience.Limit)); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never came to this: " + what)
		}
	}
}

func some(kind string, subjects ...string) (events []event.Event) {
	for _, s := range subjects {
		events = append(events, event.Event{Type: kind, Subject: s})
	}
	return events
}

func TestAConsumerGetsEachFactOfItsTypesOnceAndInOrder(t *testing.T) {
	d := dbtest.Open(t)
	ledger(t, d)
	c := consumers(d, event.Consumer{Name: "one", Types: []string{waived}, Handle: enter("one")},
		event.Consumer{Name: "whole", Types: []string{"dev.cdevents*"}, Handle: enter("whole")})
	add(t, d, some(waived, "before")...)
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	want, all := []string{}, []string{}
	for i := range 50 {
		a, b := fmt.Sprint("a", i), fmt.Sprint("b", i)
		add(t, d, append(some(other, a), some(waived, b)...)...)
		want, all = append(want, b), append(all, a, b)
	}
	until(t, "both have all", func() bool {
		return len(entries(t, d, "one")) >= len(want) && len(entries(t, d, "whole")) >= len(all)
	})
	if got := entries(t, d, "one"); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if got := entries(t, d, "whole"); !slices.Equal(got, all) {
		t.Errorf("%v", got)
	}
}

func TestAConsumerThatIsNewBeginsAtTheEndOrAtTheStart(t *testing.T) {
	d := dbtest.Open(t)
	ledger(t, d)
	add(t, d, some(waived, "old-1", "old-2")...)
	both := []event.Consumer{{Name: "late", Types: []string{waived}, Handle: enter("late")}, {Name: "whole", FromStart: true, Handle: enter("whole")}}
	c := consumers(d, both...)
	begin(t, c)
	add(t, d, some(waived, "new")...)
	catchUp(t, c)
	again := consumers(d, both...) // a restart: neither begins anew
	begin(t, again)
	add(t, d, some(waived, "newer")...)
	catchUp(t, again)
	if late, whole := entries(t, d, "late"), entries(t, d, "whole"); !slices.Equal(late, []string{"new", "newer"}) || !slices.Equal(whole, []string{"old-1", "old-2", "new", "newer"}) {
		t.Errorf("%v, %v", late, whole)
	}
}

func TestWhatAConsumerDidCommitsWithItsPlaceOrNotAtAll(t *testing.T) {
	d := dbtest.Open(t)
	ledger(t, d)
	ctx, kill := context.WithCancel(t.Context())
	killed := false
	list := event.Consumer{Name: "one", Types: []string{waived}, Handle: func(tx *db.Tx, e event.Event) error {
		if err := enter("one")(tx, e); err != nil || killed {
			return err
		}
		tx.BeforeCommit(func() error { // everything is written, nothing is committed
			killed = true
			kill()
			return ctx.Err()
		})
		return nil
	}}
	c := consumers(d, list)
	begin(t, c)
	add(t, d, some(waived, "a", "b")...)
	if err := c.CatchUp(ctx); !killed || !errors.Is(err, context.Canceled) {
		t.Fatal(killed, err)
	}
	if got := entries(t, d, "one"); len(got) != 0 {
		t.Errorf("%v is there without the consumer's place", got)
	}
	if p := place(t, c, "one"); p.Attempts != 0 || p.Lag != 2 {
		t.Errorf("a server that ends is taken for a failure: %+v", p)
	}
	c = consumers(d, list)
	begin(t, c)
	catchUp(t, c)
	catchUp(t, c)
	if got := entries(t, d, "one"); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%v", got)
	}
}

func TestReplicasShareAConsumerWithoutDoingAnythingTwice(t *testing.T) {
	url := dbtest.URL(t)
	var replicas [2]*db.DB
	for i := range replicas {
		d, err := db.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.Close)
		replicas[i] = d
	}
	ledger(t, replicas[0])
	var mu sync.Mutex
	fails := map[string]int{"f30": 1, "f77": 1} // facts that fail at their first attempt, on whichever replica
	var all []*event.Consumers
	for _, d := range replicas {
		c := consumers(d, event.Consumer{Name: "one", Types: []string{waived}, Handle: func(tx *db.Tx, e event.Event) error {
			if err := enter("one")(tx, e); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if fails[e.Subject] > 0 {
				fails[e.Subject]--
				return errors.New("not now")
			}
			return nil
		}})
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Stop)
		all = append(all, c)
	}
	var wg sync.WaitGroup
	const writers, each = 4, 25
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				add(t, replicas[w%2], append(some(other, "x"), some(waived, fmt.Sprint("f", w*each+i))...)...)
			}
		})
	}
	wg.Wait()
	until(t, "all facts are handled", func() bool { return len(entries(t, replicas[0], "one")) >= writers*each })
	for _, c := range all {
		c.Stop()
	}
	got := entries(t, replicas[0], "one")
	slices.Sort(got)
	if n := len(slices.Compact(got)); n != writers*each {
		t.Errorf("%d different facts of %d were handled", n, writers*each)
	}
}

func TestAConsumerStandsAtAFactItCannotHandleAndOthersGoOn(t *testing.T) {
	d := dbtest.Open(t)
	ledger(t, d)
	clock := time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
	d.Now = func() time.Time { return clock }
	tries := 0
	var log bytes.Buffer
	c := consumers(d, event.Consumer{Name: "one", Types: []string{waived}, Handle: func(tx *db.Tx, e event.Event) error {
		if err := enter("one")(tx, e); err != nil || e.Subject != "poison" {
			return err
		}
		if tries++; tries%2 == 0 {
			panic("hunter2")
		}
		return fmt.Errorf("cannot read hunter2")
	}}, event.Consumer{Name: "two", Types: []string{waived}, Handle: enter("two")})
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	begin(t, c)
	add(t, d, some(waived, "a", "poison", "b")...)
	catchUp(t, c)
	if one, two := entries(t, d, "one"), entries(t, d, "two"); !slices.Equal(one, []string{"a"}) || !slices.Equal(two, []string{"a", "poison", "b"}) {
		t.Fatalf("%v, %v", one, two)
	}
	p := place(t, c, "one")
	if p.Attempts != 1 || p.Lag != 2 || p.Type != waived || p.Subject != "poison" || !strings.HasPrefix(p.Event, "evt_") || p.NextAt == nil || !p.NextAt.Equal(clock.Add(time.Second)) {
		t.Errorf("%+v", p)
	}
	if p.Failure == "" || strings.Contains(p.Failure, "hunter2") {
		t.Errorf("it tells %q", p.Failure)
	}
	err := c.Check(t.Context())
	if !fault.Is(err, "consumer.stands") || !strings.Contains(err.Error(), "one stands still at "+p.Event) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("readiness: %v", err)
	}

	// It is tried again when its time has come, not before, and after ever longer times.
	waits := []time.Duration{}
	for range 12 {
		catchUp(t, c)
		before := tries
		clock = p.NextAt.Add(-time.Microsecond)
		catchUp(t, c)
		if tries != before {
			t.Fatal("it was tried before its time")
		}
		waits = append(waits, p.NextAt.Sub(clock.Add(time.Microsecond)))
		clock = clock.Add(time.Microsecond)
		catchUp(t, c)
		catchUp(t, c)
		if tries != before+1 {
			t.Fatalf("it was tried %d times", tries-before)
		}
		next := place(t, c, "one")
		waits[len(waits)-1] = next.NextAt.Sub(clock)
		p = next
	}
	if p.Attempts != 13 || waits[0] != 2*time.Second || waits[3] != 16*time.Second || waits[11] != 5*time.Minute || !slices.IsSorted(waits) {
		t.Errorf("%d attempts, %v", p.Attempts, waits)
	}
	if n := strings.Count(log.String(), "failed at a fact"); n != 13 || strings.Count(log.String(), "level=ERROR") != 13 || !strings.Contains(log.String(), p.Event) {
		t.Errorf("%d lines for 13 attempts: %s", n, log.String())
	}
	if got := entries(t, d, "one"); len(got) != 1 {
		t.Errorf("what failed left %v", got)
	}

	// A restart changes nothing about that.
	again := consumers(d, event.Consumer{Name: "one", Types: []string{waived}, Handle: enter("one")})
	begin(t, again)
	catchUp(t, again)
	if got := entries(t, d, "one"); len(got) != 1 {
		t.Errorf("it was tried before its time: %v", got)
	}

	// Only the fact where it stands is skipped.
	skip := func(name, id string) (skipped event.Place, err error) {
		err = d.Write(t.Context(), func(tx *db.Tx) error { skipped, err = c.Skip(tx, name, id); return err })
		return skipped, err
	}
	for code, at := range map[string][2]string{"consumer.not_found": {"three", p.Event}, "consumer.elsewhere": {"one", "evt_0"}} {
		if _, err := skip(at[0], at[1]); !fault.Is(err, code) {
			t.Errorf("%v: %v", at, err)
		}
	}
	if _, err := skip("two", p.Event); !fault.Is(err, "consumer.elsewhere") {
		t.Errorf("one that goes on: %v", err)
	}
	skipped, err := skip("one", p.Event)
	if err != nil || skipped.Subject != "poison" || skipped.Attempts != 13 {
		t.Fatal(skipped, err)
	}
	catchUp(t, c)
	if got := entries(t, d, "one"); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%v", got)
	}
	if p := place(t, c, "one"); p.Attempts != 0 || p.Lag != 0 || p.Failure != "" || p.NextAt != nil || p.Event != "" {
		t.Errorf("%+v", p)
	}
	if err := c.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := skip("one", p.Event); !fault.Is(err, "consumer.elsewhere") {
		t.Errorf("skipped twice: %v", err)
	}
}

func TestAFaultIsToldInItsWordsAndIsNoDefect(t *testing.T) {
	d := dbtest.Open(t)
	var log bytes.Buffer
	c := consumers(d, event.Consumer{Name: "one", Types: []string{waived}, Handle: func(*db.Tx, event.Event) error {
		return fault.Missing("change", "chg_1")
	}})
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	begin(t, c)
	add(t, d, some(waived, "a")...)
	catchUp(t, c)
	if p := place(t, c, "one"); p.Failure != `There is no change "chg_1".` || p.Attempts != 1 {
		t.Errorf("%+v", p)
	}
	if !strings.Contains(log.String(), "level=WARN") {
		t.Error(log.String())
	}
}

func TestWhatFailsAfterTheCommitIsToldAndNotDoneAgain(t *testing.T) {
	d := dbtest.Open(t)
	ledger(t, d)
	var log bytes.Buffer
	c := consumers(d, event.Consumer{Name: "one", Types: []string{waived}, Handle: func(tx *db.Tx, e event.Event) error {
		tx.AfterCommit(func() {
			if e.Subject == "a" {
				panic("nobody there")
			}
		})
		return enter("one")(tx, e)
	}})
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	begin(t, c)
	add(t, d, some(waived, "a", "b")...)
	catchUp(t, c)
	catchUp(t, c)
	if got := entries(t, d, "one"); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%v", got)
	}
	if p := place(t, c, "one"); p.Attempts != 0 || p.Lag != 0 {
		t.Errorf("%+v", p)
	}
	if strings.Count(log.String(), "nobody there") != 1 || strings.Count(log.String(), "level=ERROR") != 1 {
		t.Error(log.String())
	}
}

func TestADatabaseThatIsFullIsNoFaultOfTheFact(t *testing.T) {
	d := dbtest.Open(t)
	full := true
	c := consumers(d, event.Consumer{Name: "one", Types: []string{waived}, Handle: func(*db.Tx, event.Event) error {
		if full {
			return fault.New(fault.Unavailable, fault.DiskFull, "The disk is full.")
		}
		return nil
	}})
	begin(t, c)
	add(t, d, some(waived, "a")...)
	if err := c.CatchUp(t.Context()); !fault.Is(err, fault.DiskFull) {
		t.Error(err)
	}
	if p := place(t, c, "one"); p.Attempts != 0 || p.Lag != 1 {
		t.Errorf("%+v", p)
	}
	full = false
	catchUp(t, c)
	if p := place(t, c, "one"); p.Lag != 0 {
		t.Errorf("%+v", p)
	}
}

func TestAConsumerActsUnderItsNameForTheRequestThatLedToTheFact(t *testing.T) {
	d := dbtest.Open(t)
	name, request := "", ""
	c := consumers(d, event.Consumer{Name: "one", Types: []string{waived}, Handle: func(tx *db.Tx, _ event.Event) error {
		name, _ = tx.Context().Value(actorKey{}).(string)
		request = web.RequestID(tx.Context())
		return event.Append(tx, event.Event{Type: other, Subject: "led to"})
	}})
	begin(t, c)
	err := d.Write(web.ForRequest(t.Context(), "req_1"), func(tx *db.Tx) error { return event.Append(tx, some(waived, "a")[0]) })
	if err != nil {
		t.Fatal(err)
	}
	catchUp(t, c)
	if name != "one" || request != "req_1" {
		t.Errorf("%q for %q", name, request)
	}
	if err := event.Number(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	err = d.Read(t.Context(), func(tx *db.Tx) error {
		found, err := event.After(tx, 0, event.Filter{Subjects: []string{"led to"}}, 10)
		if err == nil && (len(found) != 1 || found[0].RequestID != "req_1") {
			t.Errorf("%+v", found)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAConsumerForWhichThereIsNothingWritesNothing(t *testing.T) {
	d := dbtest.Open(t)
	clock := time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
	d.Now = func() time.Time { return clock }
	c := consumers(d, event.Consumer{Name: "one", Types: []string{waived}, Handle: func(*db.Tx, event.Event) error { return nil }})
	begin(t, c)
	state := func() (seq int64, at time.Time) {
		t.Helper()
		err := d.Read(t.Context(), func(tx *db.Tx) error { return tx.QueryRow("select seq, updated_at from consumer").Scan(&seq, &at) })
		if err != nil {
			t.Fatal(err)
		}
		return seq, at
	}
	began := clock
	clock = clock.Add(time.Hour)
	catchUp(t, c)
	begin(t, c)
	add(t, d, some(other, make([]string, 998)...)...)
	catchUp(t, c)
	if seq, at := state(); seq != 0 || !at.Equal(began) {
		t.Errorf("it wrote %d at %s", seq, at)
	}
	if p := place(t, c, "one"); p.Lag != 0 {
		t.Errorf("facts that are nothing to it count: %+v", p)
	}
	add(t, d, some(other, make([]string, 4)...)...)
	catchUp(t, c)
	if seq, at := state(); seq != 1002 || !at.Equal(clock) {
		t.Errorf("after a thousand facts it is at %d since %s", seq, at)
	}
}

func TestMetricsTellWhatConsumersHaveLeft(t *testing.T) {
	d := dbtest.Open(t)
	c := consumers(d, event.Consumer{Name: "one", Types: []string{waived}, Handle: func(*db.Tx, event.Event) error { return errors.New("no") }},
		event.Consumer{Name: "two", Handle: func(*db.Tx, event.Event) error { return nil }})
	begin(t, c)
	add(t, d, append(some(waived, "a", "b"), some(other, "c")...)...)
	registry := prometheus.NewRegistry()
	registry.MustRegister(event.ConsumerMetrics{Consumers: c})
	tell := func() map[string]float64 {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]float64{}
		for _, family := range families {
			for _, m := range family.GetMetric() {
				values[family.GetName()+" "+m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
		return values
	}
	want := map[string]float64{"flywheel_consumer_lag one": 2, "flywheel_consumer_lag two": 3, "flywheel_consumer_failures one": 0, "flywheel_consumer_failures two": 0}
	if got := tell(); !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
	catchUp(t, c)
	want["flywheel_consumer_lag two"], want["flywheel_consumer_failures one"] = 0, 1
	if got := tell(); !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
