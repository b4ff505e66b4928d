package certify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/pattern"
)

// Two replicas certify the changes of one pattern at the same moment, while people decide and live instances are
// deployed. FLYWHEEL_TEST_SEED and FLYWHEEL_TEST_INTERLEAVINGS as in package deploy. Git has no part in it: what it
// would answer is drawn.
func TestTwoReplicasAgreeAboutEveryCertification(t *testing.T) {
	r := newRace(t)
	for n := range r.rounds {
		if n%30 == 0 {
			r.begin(n)
		}
		r.round()
		r.check()
		if n%30 == 29 && !t.Failed() {
			r.comeToRest()
		}
		if t.Failed() {
			t.Fatalf("in the round %d, with FLYWHEEL_TEST_SEED=%d", n, r.seed)
		}
	}
	for _, what := range []string{"foresee", "review", "push", "approved", "changes_requested", "rejected", "deploy", "plan", "pass", "recheck", "publish", "leave"} {
		if r.rounds >= 500 && r.done[what] < 2 {
			t.Errorf("%s happened only %d times: %v", what, r.done[what], r.done)
		}
	}
	t.Logf("%d interleavings with the seed %d: %v", r.rounds, r.seed, r.done)
}

type race struct {
	*testing.T
	replicas [2]*Service
	random   *rand.Rand
	seed     uint64
	rounds   int
	pattern  string
	changes  []string
	mu       sync.Mutex
	done     map[string]int            // operations that took effect
	votes    map[string]map[string]int // answered as given, by change and person: at which revision
	seen     map[string]Certification  // by change, as it was after the round before
	over     map[string]change.State
}

// colored lets a team set its color.
var colored = &manifest.Pattern{Spec: manifest.PatternSpec{Variables: map[string]manifest.Variable{"color": {Control: "team"}}}}

var deciders = map[string]string{"sam": "security", "sue": "security", "otto": "operations", "dev": "development"}

func newRace(t *testing.T) *race {
	t.Helper()
	number := func(name string, otherwise uint64) uint64 {
		if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
			return n
		}
		return otherwise
	}
	r := &race{T: t, seed: number("FLYWHEEL_TEST_SEED", uint64(time.Now().UnixNano())%1_000_000), done: map[string]int{}}
	url := dbtest.URL(t)
	for i := range r.replicas {
		d, err := db.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.Close)
		log := slog.New(slog.DiscardHandler)
		engine, err := durable.New(t.Context(), d, fmt.Sprint("replica-", i), log) // never launched: the test runs the steps
		if err != nil {
			t.Fatal(err)
		}
		patterns := &pattern.Service{DB: d}
		s := &Service{DB: d, Durable: engine, Log: log, Patterns: patterns, Changes: &change.Service{DB: d, Durable: engine, Patterns: patterns, Log: log}}
		s.Changes.Certify = func(change.Change) error { return nil }
		s.Plan = func(_ context.Context, _ string, i app.Instance, _ app.Desired, v pattern.Version, _ string) (change.Planned, error) {
			return change.Planned{Summary: "1 to update", Digest: fmt.Sprint(v.Digest, " ", i.Deployed.Variables["color"])}, nil
		}
		r.replicas[i] = s
	}
	r.rounds = int(number("FLYWHEEL_TEST_INTERLEAVINGS", map[bool]uint64{true: 1000, false: 100}[r.replicas[0].DB.Postgres()]))
	r.random = rand.New(rand.NewPCG(r.seed, 3)) //nolint:gosec // a seed that can be replayed
	t.Logf("FLYWHEEL_TEST_SEED=%d", r.seed)
	r.write(func(tx *db.Tx) error {
		for name, discipline := range deciders {
			if _, err := tx.Exec(`insert into person (id, name, title, password, admin, disciplines, active, created_at, updated_at, updated_by) values ($1,$1,'','',$4,$2,$5,$3,$3,'')`,
				name, db.JSON([]string{discipline}), tx.Now(), false, true); err != nil {
				return err
			}
		}
		return nil
	})
	if _, err := (&app.Service{DB: r.replicas[0].DB}).SaveEnvironment(r.as(""), app.Environment{Name: "prod", Class: "staging"}, true, ""); err != nil {
		t.Fatal(err)
	}
	dbtest.Watch(t, url)
	return r
}

func (r *race) as(who string) context.Context {
	a := account.Actor{ID: "usr_1", Name: "root", Admin: true}
	if who != "" {
		a = account.Actor{ID: who, Name: who, Disciplines: []string{deciders[who]}}
	}
	return account.With(context.Background(), a)
}

func (r *race) write(fn func(tx *db.Tx) error) {
	r.Helper()
	if err := r.replicas[0].DB.Write(r.as(""), fn); err != nil {
		r.Fatal(err)
	}
}

func (r *race) read(fn func(tx *db.Tx) error) {
	r.Helper()
	if err := r.replicas[0].DB.Read(r.as(""), fn); err != nil {
		r.Fatal(err)
	}
}

// begin makes a fresh pattern with three open changes and three live instances.
func (r *race) begin(n int) {
	r.pattern, r.changes = fmt.Sprintf("web-%d", n), nil
	r.votes, r.seen, r.over = map[string]map[string]int{}, map[string]Certification{}, map[string]change.State{}
	r.write(func(tx *db.Tx) error {
		if _, err := tx.Exec(`insert into pattern (name, title, owner, created_by, created_at) values ($1,'','','',$2)`, r.pattern, tx.Now()); err != nil {
			return err
		}
		if _, err := tx.Exec(`update person set active = $1`, true); err != nil {
			return err
		}
		for k := range 3 {
			id := db.NewID("chg")
			r.changes = append(r.changes, id)
			if _, err := tx.Exec(`insert into change (id, kind, subject, team, branch, title, body, state, why, remedy, lane, reasons, effects, revision, head, main,
				merged, story, needs, reverts, revert, fix, opener, authors, merge_requested, released, proposal, opened_at, updated_at)
				values ($1,'pattern',$2,'',$1,'','','checking','','','pattern','[]','[]',1,'','','','','','','','','usr_1','[]',false,'','null',$3,$3)`, id, r.pattern, tx.Now()); err != nil {
				return err
			}
			name := fmt.Sprintf("%s-app-%d", r.pattern, k)
			if _, err := tx.Exec(`insert into app (id, name, title, team, state, pin, description, created_by, created_at) values ($1,$1,'','shop','active','{}','{}','',$2)`, name, tx.Now()); err != nil {
				return err
			}
			if _, err := tx.Exec(`insert into instance (id, app, environment, state, deployed, pattern, updated_at) values ($1,$1,'prod','healthy',$2,$3,$4)`, name, db.JSON(r.deployed("blue")), r.pattern, tx.Now()); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *race) deployed(color string) app.Desired {
	return app.Desired{Pattern: r.pattern, Version: "1.0.0", Digest: "sha256:old", Artifact: "a", Variables: map[string]any{"color": color}}
}

// round lets some operations begin at the same moment.
func (r *race) round() {
	operations := make([]func(), 2+r.random.IntN(4))
	for i := range operations {
		operations[i] = r.operation()
	}
	begin, all := make(chan struct{}), sync.WaitGroup{}
	for _, operation := range operations {
		all.Go(func() { <-begin; operation() })
	}
	close(begin)
	all.Wait()
}

// operation draws what a person, or a run of the change as it is now, does next.
func (r *race) operation() func() {
	s, id, draw := r.replicas[r.random.IntN(2)], r.changes[r.random.IntN(len(r.changes))], r.random.IntN(100)
	who, color := slices.Sorted(maps.Keys(deciders))[r.random.IntN(len(deciders))], []string{"blue", "green"}[r.random.IntN(2)]
	instance, busy := fmt.Sprintf("%s-app-%d", r.pattern, r.random.IntN(3)), r.random.IntN(3) == 0
	var c change.Change
	var found Certification
	r.read(func(tx *db.Tx) (err error) {
		if c, err = change.Find(tx, id); err != nil {
			return err
		}
		if found, err = Find(tx, id, c.Revision); fault.Is(err, "certification.not_found") {
			err = nil
		}
		return err
	})
	run := func(what string, fn func() error) func() { return func() { r.report(what, fn()) } }
	transaction := func(what string, fn func(tx *db.Tx) error) func() {
		return run(what, func() error { return s.DB.Write(r.as(""), fn) })
	}
	vote := func(decision Decision) func() {
		return run(string(decision), func() error {
			_, err := s.decide(r.as(who), id, Vote{Discipline: deciders[who], Digest: found.Digest, Reason: "so"}, decision)
			if err == nil {
				r.mu.Lock()
				defer r.mu.Unlock()
				if r.votes[id] == nil {
					r.votes[id] = map[string]int{}
				}
				r.votes[id][who] = max(r.votes[id][who], c.Revision)
			}
			return err
		})
	}
	switch {
	case draw < 3:
		return transaction("push", func(tx *db.Tx) error {
			now, err := change.Take(tx, id)
			if err != nil || !now.State.Open() || now.State == change.Merging {
				return errors.Join(err, durable.ErrOutdated)
			}
			return s.Changes.Again(tx, now)
		})
	case draw < 5:
		return transaction("leave", func(tx *db.Tx) error {
			_, err := tx.Exec(`update person set active = $2 where name = $1`, who, busy)
			return err
		})
	case draw < 12:
		return transaction("deploy", func(tx *db.Tx) error {
			if _, err := app.LockInstances(tx, instance); err != nil {
				return err
			}
			_, err := tx.Exec(`update instance set state = $2, deployed = $3, updated_at = $4 where id = $1`, instance,
				map[bool]string{true: "deploying", false: "healthy"}[busy], db.JSON(r.deployed(color)), tx.Now())
			return err
		})
	case draw < 13:
		return vote(Rejected)
	case draw < 16:
		return vote(ChangesRequested)
	}
	switch c.State {
	case change.Checking:
		if draw < 50 || found.Change == "" {
			next := pattern.Proposal{Version: fmt.Sprintf("1.%d.0", 1+slices.Index(r.changes, id)), Bump: "minor", Digest: "sha256:" + id, Manifest: colored, Interface: pattern.Interface{Variables: []pattern.Variable{{Name: "color", Type: "string", Control: "team"}}}, Approvals: map[string]int{"security": 1, "operations": 1, "development": 1}}
			return run("foresee", func() error { return s.Foresee(r.as(""), c, next) })
		}
		return transaction("review", func(tx *db.Tx) error { return s.review(tx, id, c.Revision) })
	case change.Merging:
		if draw < 60 {
			return run("recheck", func() error { _, err := s.recheck(r.as(""), id, c.Revision); return err })
		}
		return run("publish", func() error {
			if _, err := s.recheck(r.as(""), id, c.Revision); err != nil {
				return err
			}
			return s.DB.Write(r.as(""), func(tx *db.Tx) error {
				v := found.version(r.pattern)
				v.ID, v.State = db.NewID("ver"), pattern.InReview
				if _, err := tx.Exec(`insert into pattern_version (id, pattern, version, digest, state, recommended, manifest, interface, readme, commit_id, change, created_at)
					values ($1,$2,$3,$4,'in_review',$5,'{}','{}','','','',$6) on conflict do nothing`, v.ID, v.Pattern, v.Version, v.Digest, false, tx.Now()); err != nil {
					return err
				}
				return s.certified(tx, id, c.Revision, v, "abc")
			})
		})
	}
	switch {
	case draw < 64:
		return vote(Approved)
	case draw < 82:
		return run("plan", func() error { return r.plans(s, c, found) })
	}
	return transaction("pass", func(tx *db.Tx) error { return r.passes(tx, s, c, found) })
}

// plans finds the effects that are due, as a pass does.
func (r *race) plans(s *Service, c change.Change, found Certification) error {
	var list []Effect
	var environments []app.Environment
	err := s.DB.Write(r.as(""), func(tx *db.Tx) (err error) {
		if _, err = underReview(tx, c.ID, c.Revision); err != nil {
			return err
		}
		if environments, err = app.Environments(tx); err != nil {
			return err
		}
		list, err = due(tx, found, tx.Now().Add(time.Second), batch)
		return err
	})
	for _, old := range list {
		if err == nil {
			_, err = s.planOne(r.as(""), found, found.version(c.Subject), old, environments, "")
		}
	}
	return err
}

func (r *race) passes(tx *db.Tx, s *Service, c change.Change, found Certification) error {
	if _, err := s.foreseeNew(tx, found, c.Subject); err != nil {
		return err
	}
	return s.endPass(tx, c.ID, c.Revision, tx.Now())
}

func (r *race) report(what string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch f := fault.From(err); {
	case err == nil:
		r.done[what]++
	case errors.Is(err, durable.ErrOutdated):
	case f.Kind == fault.Conflict, f.Kind == fault.Stale, f.Kind == fault.NotFound, f.Kind == fault.Forbidden:
	default:
		r.Errorf("%s: %v", what, err)
	}
}

// check compares what the database says with what was answered.
func (r *race) check() {
	r.Helper()
	r.read(func(tx *db.Tx) error {
		for _, id := range r.changes {
			c, err := change.Find(tx, id)
			if err != nil {
				return err
			}
			if was := r.over[id]; was != "" && was != c.State {
				r.Errorf("%s was %s and is %s", id, was, c.State)
			}
			if !c.State.Open() {
				r.over[id] = c.State
			}
			found, err := Find(tx, id, c.Revision)
			if fault.Is(err, "certification.not_found") {
				if c.State != change.Checking && c.State.Open() {
					r.Errorf("%s is %s without a certification", id, c.State)
				}
				continue
			}
			if err != nil {
				return err
			}
			r.certification(c, found)
		}
		return nil
	})
}

func (r *race) certification(c change.Change, found Certification) {
	r.Helper()
	if was, known := r.seen[c.ID]; known && was.Revision == found.Revision && (found.passes < was.passes || found.lapses < was.lapses) {
		r.Errorf("%s had %d passes and %d lapses, and has %d and %d", c.ID, was.passes, was.lapses, found.passes, found.lapses)
	}
	r.seen[c.ID] = found
	for who, revision := range r.votes[c.ID] {
		if revision == c.Revision && !slices.ContainsFunc(found.Approvals, func(a Approval) bool { return a.Person == who }) {
			r.Errorf("%s has lost the decision of %s", c.ID, who)
		}
	}
	for _, a := range found.Approvals {
		switch {
		case a.Decision == Rejected && c.State != change.Rejected:
			r.Errorf("%s was rejected by %s and is %s", c.ID, a.Person, c.State)
		case a.Decision == ChangesRequested && (c.State == change.Merging || c.State == change.Merged || c.State == change.Review):
			r.Errorf("%s asks for changes of %s, which is %s", a.Person, c.ID, c.State)
		}
	}
	if c.State == change.Merging || c.State == change.Merged {
		for discipline := range found.Needed {
			if !slices.ContainsFunc(found.Approvals, func(a Approval) bool {
				return a.Discipline == discipline && a.Decision == Approved && a.Digest == found.Digest
			}) {
				r.Errorf("%s is %s without an approval of %s: %+v", c.ID, c.State, discipline, found.Approvals)
			}
		}
	}
}

// comeToRest lets every deployment end and every pass run, and compares what is left with what it has to be.
func (r *race) comeToRest() {
	r.write(func(tx *db.Tx) error {
		if _, err := tx.Exec(`update person set active = $1`, true); err != nil {
			return err
		}
		_, err := tx.Exec(`update instance set state = 'healthy', updated_at = $2 where pattern = $1 and state = 'deploying'`, r.pattern, tx.Now())
		return err
	})
	s := r.replicas[r.random.IntN(2)]
	for _, id := range r.changes {
		var c change.Change
		var found Certification
		r.read(func(tx *db.Tx) (err error) { c, err = change.Find(tx, id); return err })
		if !decidable(c) {
			continue
		}
		r.read(func(tx *db.Tx) (err error) { found, err = Find(tx, id, c.Revision); return err })
		if err := r.plans(s, c, found); err != nil {
			r.Error(err)
		}
		r.write(func(tx *db.Tx) error { return r.passes(tx, s, c, found) })
		r.read(func(tx *db.Tx) error {
			if c, err := change.Find(tx, id); err != nil || !decidable(c) {
				return err
			}
			found, err := Find(tx, id, c.Revision)
			if err != nil {
				return err
			}
			effects, err := allEffects(tx, id, c.Revision)
			if err != nil {
				return err
			}
			if found.digest(effects) != found.Digest {
				r.Errorf("%s has the digest %s, and its effects have %s", id, found.Digest, found.digest(effects))
			}
			for _, e := range effects {
				i, err := app.FindInstance(tx, e.App, e.Environment)
				if err != nil {
					return err
				}
				if want := fmt.Sprint(found.Pattern, " ", i.Deployed.Variables["color"]); e.Outcome != Unchanged && e.PlanDigest != want {
					text, _ := json.Marshal(e)
					r.Errorf("%s shows of %s the plan %q, and it runs with %v: %s", id, e.App, e.PlanDigest, i.Deployed.Variables, text)
				}
			}
			now, err := change.Find(tx, id)
			if state, why := found.standing(); err == nil && (now.State != state || now.Why != why) {
				r.Errorf("%s is %s (%s), and its decisions make it %s (%s)", id, now.State, now.Why, state, why)
			}
			return err
		})
	}
}
