package change

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/fault"
)

// Two replicas act on the changes of two apps at the same moment, as people and runs do; what is answered as done
// has to be true afterwards. FLYWHEEL_TEST_SEED and FLYWHEEL_TEST_INTERLEAVINGS as in package deploy.
func TestTwoReplicasAgreeAboutEveryChange(t *testing.T) {
	url := dbtest.URL(t)
	number := func(name string, otherwise uint64) uint64 {
		if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
			return n
		}
		return otherwise
	}
	as := account.With(context.Background(), account.Actor{ID: "usr_1", Name: "dana", Admin: true})
	var replicas [2]*Service
	for i := range replicas {
		d, err := db.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.Close)
		log := slog.New(slog.DiscardHandler)
		engine, err := durable.New(t.Context(), d, fmt.Sprint("replica-", i), log) // never launched: the test runs the revisions
		if err != nil {
			t.Fatal(err)
		}
		s := &Service{DB: d, Durable: engine, Log: log}
		s.Rollout = func(tx *db.Tx, c Change, _ []Target) error { return MarkDeployed(tx, c) }
		s.Register()
		replicas[i] = s
	}
	dbtest.Watch(t, url)
	seed := number("FLYWHEEL_TEST_SEED", uint64(time.Now().UnixNano())%1_000_000)
	rounds := int(number("FLYWHEEL_TEST_INTERLEAVINGS", map[bool]uint64{true: 1000, false: 100}[replicas[0].DB.Postgres()]))
	t.Logf("FLYWHEEL_TEST_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // a seed that can be replayed
	write := func(s *Service, fn func(tx *db.Tx) error) error { return s.DB.Write(as, fn) }
	ids, over, revisions, fixes := []string{}, map[string]State{}, map[string]int{}, map[string]map[string]bool{}
	mu := sync.Mutex{}
	done := map[string]int{}
	for n := range rounds {
		if n%20 == 0 { // fresh changes of fresh apps
			ids = nil
			for a := range 2 {
				name := fmt.Sprintf("app-%d-%d", n, a)
				err := write(replicas[0], func(tx *db.Tx) error {
					if _, err := tx.Exec(`insert into app (id, name, title, team, state, pin, description, created_by, created_at) values ($1,$1,'','shop','active','{}','{}','',$2)`, name, tx.Now()); err != nil {
						return err
					}
					for range 4 {
						c := Change{ID: db.NewID("chg"), Kind: OfApp, Subject: name, Team: "shop", Branch: "b", State: Checking, Revision: 1, Opener: "usr_1", OpenedAt: tx.Now(), UpdatedAt: tx.Now(), Proposal: &Proposal{}}
						ids = append(ids, c.ID)
						if err := insert(tx, c); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		operation := func() (what string, do func() error) {
			s, id, other, draw := replicas[random.IntN(2)], ids[random.IntN(len(ids))], ids[random.IntN(len(ids))], random.IntN(100)
			var c Change
			if err := s.DB.Read(as, func(tx *db.Tx) (err error) { c, err = Find(tx, id); return err }); err != nil {
				t.Fatal(err)
			}
			moves := func(from, to State) func() error {
				return func() error {
					return write(s, func(tx *db.Tx) error {
						now, err := current(tx, Take, id, c.Revision, from)
						if err != nil {
							return err
						}
						if now.State = to; to == Waiting {
							now.Lane = Pattern
						}
						return Save(tx, now)
					})
				}
			}
			switch {
			case draw < 20:
				f, held := found{Proposal: Proposal{Auto: draw < 12}}, []string{}
				if draw < 4 {
					held = append(held, "prod: it would destroy volume.x")
				}
				return "decide", func() error {
					return write(s, func(tx *db.Tx) error { _, err := s.decide(tx, id, c.Revision, f, "art", held); return err })
				}
			case draw < 35:
				commit := map[bool]string{true: "abc"}[draw < 31]
				return "merged", func() error {
					return write(s, func(tx *db.Tx) error { return s.merged(tx, id, c.Revision, found{}, "art", commit) })
				}
			case draw < 42:
				return "refused", moves(Checking, Refused)
			case draw < 49:
				return "waiting", moves(Checking, Waiting)
			case draw < 59: // as a push, or a recheck
				return "again", func() error {
					return write(s, func(tx *db.Tx) error {
						now, err := Take(tx, id)
						if err != nil || !now.State.Open() || now.State == Merging {
							return notNow(err)
						}
						return s.Again(tx, now)
					})
				}
			case draw < 64:
				return "close", func() error {
					_, err := s.Close(as, id, "enough")
					if err == nil {
						mu.Lock()
						over[id] = Closed
						mu.Unlock()
					}
					return err
				}
			case draw < 74:
				return "fix", func() error {
					_, err := s.DeclareFix(as, id, other)
					if err == nil {
						mu.Lock()
						if fixes[id] == nil {
							fixes[id] = map[string]bool{}
						}
						fixes[id][other] = true
						mu.Unlock()
					}
					return err
				}
			case draw < 82:
				return "wake", func() error { return write(s, s.Wake) }
			case draw < 90:
				return "reconsider", func() error { return write(s, func(tx *db.Tx) error { return s.reconsider(tx, c.Subject) }) }
			case draw < 94:
				return "given", func() error {
					return write(s, func(tx *db.Tx) error { return s.Given(tx, c.Subject, "shop") })
				}
			}
			return "stuck", func() error {
				return write(s, func(tx *db.Tx) error {
					if _, err := app.LockInstances(tx, c.Subject); err != nil {
						return err
					}
					return MarkStuck(tx, id, "its deployment failed")
				})
			}
		}
		begin, all := make(chan struct{}), sync.WaitGroup{}
		for range 2 + random.IntN(4) {
			what, do := operation()
			all.Go(func() {
				<-begin
				err := do()
				mu.Lock()
				defer mu.Unlock()
				switch f := fault.From(err); {
				case err == nil:
					done[what]++
				case errors.Is(err, durable.ErrOutdated), f.Kind == fault.Conflict, f.Kind == fault.Stale, f.Kind == fault.Invalid:
				default:
					t.Errorf("%s: %v", what, err)
				}
			})
		}
		close(begin)
		all.Wait()
		for _, id := range ids {
			var c Change
			if err := replicas[0].DB.Read(as, func(tx *db.Tx) (err error) { c, err = Find(tx, id); return err }); err != nil {
				t.Fatal(err)
			}
			if c.Revision < revisions[id] {
				t.Errorf("%s was at revision %d and is at %d", id, revisions[id], c.Revision)
			}
			if was := over[id]; was != "" && was != c.State {
				t.Errorf("%s was %s and is %s", id, was, c.State)
			}
			if len(fixes[id]) > 0 && !fixes[id][c.Fix] {
				t.Errorf("%s mends %q, and was declared to mend %v", id, c.Fix, fixes[id])
			}
			if revisions[id] = c.Revision; !c.State.Open() {
				over[id] = c.State
			}
		}
		if t.Failed() {
			t.Fatalf("in the round %d, with FLYWHEEL_TEST_SEED=%d", n, seed)
		}
	}
	for _, what := range []string{"decide", "merged", "refused", "waiting", "again", "close", "fix", "wake", "reconsider"} {
		if rounds >= 500 && done[what] < 10 {
			t.Errorf("%s happened only %d times", what, done[what])
		}
	}
	t.Logf("%d interleavings with the seed %d: %v", rounds, seed, done)
}

// notNow is err, or that the moment for it has passed.
func notNow(err error) error {
	if err != nil {
		return err
	}
	return durable.ErrOutdated
}
