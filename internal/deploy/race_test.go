package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
)

// The concurrency suite: two replicas on one database, each with a handle of its own. A round draws a few
// operations of people and of runs from a seed and lets them begin at the same moment; then what the database says
// is compared with a model. After some rounds everything is let come to rest, and nothing may be left over.
//
//	FLYWHEEL_TEST_SEED=7 FLYWHEEL_TEST_INTERLEAVINGS=20000 go test ./internal/deploy -run TwoReplicas
//
// The seed decides which operations meet, the database in which order.

const roundsOfAnEpisode = 25

func TestTwoReplicasAgreeAboutEveryDeployment(t *testing.T) {
	r := newRace(t)
	for n := 0; n < r.rounds; n += roundsOfAnEpisode {
		r.episode(n)
		if t.Failed() {
			t.Fatalf("in the rounds from %d on, with FLYWHEEL_TEST_SEED=%d", n, r.seed)
		}
	}
	for name, least := range map[string]int{"admit": 10, "success": 10, "failure": 5, "partial failure": 5, "rollback": 10, "cancel": 10, "redeploy": 10, "release": 1, "freeze": 5, "remove": 1, "hold": 1} {
		if r.rounds >= 1000 && r.done[name] < least {
			t.Errorf("%s happened only %d times: %v", name, r.done[name], r.done)
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
	apps     []string
	rest     []string // names of the environments
	mu       sync.Mutex
	done     map[string]int   // operations that took effect
	wishes   map[string]bool  // running deployments whose cancel was answered
	ended    map[string]State // deployments that were seen over
}

func newRace(t *testing.T) *race {
	t.Helper()
	r := &race{T: t, seed: number(t, "FLYWHEEL_TEST_SEED", uint64(time.Now().UnixNano())%1_000_000), done: map[string]int{}, rest: []string{"staging", "prod", "lab"}}
	url := dbtest.URL(t)
	for i := range r.replicas {
		d, err := db.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.Close)
		log := slog.New(slog.DiscardHandler)
		engine, err := durable.New(t.Context(), d, fmt.Sprint("replica-", i), log) // never launched: the test runs the deployments
		if err != nil {
			t.Fatal(err)
		}
		s := &Service{DB: d, Durable: engine, Changes: &change.Service{DB: d}, Log: log, Runs: &Runs{DB: d, Dir: t.TempDir()}}
		s.Register()
		r.replicas[i] = s
	}
	r.rounds = int(number(t, "FLYWHEEL_TEST_INTERLEAVINGS", map[bool]uint64{true: 5000, false: 200}[r.replicas[0].DB.Postgres()]))
	if testing.Short() {
		r.rounds = min(r.rounds, 500)
	}
	r.random = rand.New(rand.NewPCG(r.seed, 1)) //nolint:gosec // a seed that can be replayed
	t.Logf("FLYWHEEL_TEST_SEED=%d", r.seed)
	apps := &app.Service{DB: r.replicas[0].DB}
	for _, e := range []app.Environment{{Name: "staging", Class: "staging"}, {Name: "prod", Class: "staging", After: "staging"}, {Name: "lab", Class: "development", OnNewer: app.ReplacePending}} {
		if _, err := apps.SaveEnvironment(r.as(), e, true, ""); err != nil {
			t.Fatal(err)
		}
	}
	dbtest.Watch(t, url)
	return r
}

func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func (r *race) as() context.Context {
	return account.With(context.Background(), account.Actor{ID: "usr_1", Name: "dana", Admin: true})
}

// episode plays some rounds with fresh apps, and lets them come to rest.
func (r *race) episode(first int) {
	r.apps = nil
	r.wishes, r.ended = map[string]bool{}, map[string]State{}
	for i := range 1 + r.random.IntN(2) {
		name := fmt.Sprintf("app-%d-%d", first, i)
		r.apps = append(r.apps, name)
		r.write(0, func(tx *db.Tx) error {
			if _, err := tx.Exec(`insert into app (id, name, title, team, state, pin, description, created_by, created_at) values ($1,$1,'','shop','active','{}','{}','',$2)`, name, tx.Now()); err != nil {
				return err
			}
			if _, err := tx.Exec(`insert into artifact (source, app, digest, size, built_at) values ('src', $1, $2, 1, $3)`, name, "main of "+name, tx.Now()); err != nil {
				return err
			}
			return app.SetDescription(tx, name, app.Description{Pin: app.Pin{Pattern: "web", Digest: "sha256:web"}, Source: "src",
				Environments: map[string]manifest.Values{"staging": {}, "prod": {}, "lab": {}}})
		})
	}
	for n := range roundsOfAnEpisode {
		r.round()
		r.check(false)
		if r.Failed() {
			r.Logf("in the round %d", first+n)
			return
		}
	}
	r.comeToRest()
	if !r.Failed() {
		r.check(true)
	}
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

// operation draws one, and says of it what the model has to know.
func (r *race) operation() func() {
	s, name, environment := r.replicas[r.random.IntN(2)], r.apps[r.random.IntN(len(r.apps))], r.rest[r.random.IntN(len(r.rest))]
	d := r.pick(name, environment)
	step, draw, until := []string{"apply", "release", "plan"}[r.random.IntN(3)], r.random.IntN(100), r.random.IntN(2) == 0
	environments := r.rest[:1+r.random.IntN(len(r.rest))]
	id := fmt.Sprintf("chg_%08d", r.random.IntN(100_000_000))
	report := func(what string, err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		switch f := fault.From(err); {
		case err == nil:
			r.done[what]++
		case errors.Is(err, durable.ErrOutdated):
		case f.Kind == fault.Conflict, f.Kind == fault.Stale, f.Kind == fault.NotFound:
		default:
			r.Errorf("%s of %s in %s: %v", what, name, environment, err)
		}
	}
	run := func(what string, fn func(tx *db.Tx) error) func() {
		return func() { report(what, s.DB.Write(r.as(), fn)) }
	}
	switch {
	case draw < 14:
		return run("admit", func(tx *db.Tx) error { return r.merge(tx, s, id, name, "", state(id), environments) })
	case draw < 17:
		return run("remove", func(tx *db.Tx) error { return r.merge(tx, s, id, name, "", app.Desired{}, []string{environment}) })
	case draw < 22:
		return run("mend", func(tx *db.Tx) error {
			var broken string
			if err := tx.QueryRow(`select coalesce(max(pinned_by), '') from instance where app = $1`, name).Scan(&broken); err != nil {
				return err
			}
			return r.merge(tx, s, id, name, broken, state(id), r.rest)
		})
	case draw < 30:
		return func() { _, err := s.RollBack(r.as(), name, environment, ""); report("rollback", err) }
	case draw < 37:
		return func() { _, err := s.Redeploy(r.as(), name, environment); report("redeploy", err) }
	case draw < 40:
		e := app.Environment{Name: environment, Class: "development", After: map[string]string{"prod": "staging"}[environment], OnNewer: map[string]string{"lab": app.ReplacePending}[environment]}
		if until {
			e.Freezes = []app.Freeze{{From: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour)}}
		}
		return func() {
			_, err := (&app.Service{DB: s.DB}).SaveEnvironment(r.as(), e, false, "")
			report("freeze", err)
		}
	case draw < 43:
		return func() { report("sweep", s.thaw(r.as())) }
	case d.ID == "":
		return func() {}
	case draw < 54:
		return func() {
			now, _, err := s.ask(r.as(), d.ID)
			report("cancel", err)
			if err == nil && now.State == Running {
				r.mu.Lock()
				r.wishes[d.ID] = true
				r.mu.Unlock()
			}
		}
	case draw < 58:
		return func() { _, err := s.Proceed(r.as(), d.ID, d.PlanDigest, name); report("release", err) }
	case draw < 66:
		return run("planning", func(tx *db.Tx) error {
			return s.plans(tx, d, planned{Digest: "sha256:plan", Destructive: []string{"volume.x"}})
		})
	case draw < 69:
		return func() {
			if d.State == Running {
				s.waits(r.as(), d, 0, "waiting", "agent.disk_full", "the disk is full")
			}
		}
	case draw < 74:
		return run("hold", func(tx *db.Tx) error { _, err := s.holds(tx, d, "it destroys volume.x"); return err })
	case draw < 88:
		return run("success", func(tx *db.Tx) error { return s.succeed(tx, d, outcome{}) })
	}
	out := outcome{Failed: "it broke"}
	what := "failure"
	if step != "plan" {
		what = "partial failure"
	}
	if draw >= 97 {
		out.Interrupted, what = true, "crash"
	}
	return run(what, func(tx *db.Tx) error {
		if _, _, err := intend(tx, d, 0, step, outcome{}); err != nil {
			return err
		}
		_, err := s.giveUp(tx, d, out)
		return err
	})
}

// pick returns what runs on an instance, or else one of those that wait there.
func (r *race) pick(name, environment string) (d Deployment) {
	r.read(func(tx *db.Tx) error {
		found, err := list(tx, Filter{App: name, Environment: environment, Limit: 100})
		if err != nil || len(found) == 0 {
			return err
		}
		found = slices.DeleteFunc(found, func(d Deployment) bool { return d.State.Over() })
		slices.SortFunc(found, func(a, b Deployment) int { return int(b.fence - a.fence) })
		if len(found) > 0 {
			d = found[min(len(found)-1, r.random.IntN(4)/3)]
		}
		return nil
	})
	return d
}

// merge records a merged change as package change does.
func (r *race) merge(tx *db.Tx, s *Service, id, name, mends string, desired app.Desired, environments []string) error {
	if err := lockApp(tx, name); err != nil {
		return err
	}
	_, err := tx.Exec(`insert into change (id, kind, subject, team, branch, title, body, state, why, remedy, lane, reasons, effects, revision, head, main,
		merged, story, needs, reverts, revert, fix, opener, authors, merge_requested, released, proposal, opened_at, updated_at)
		values ($1,'app',$4,'shop',$1,'','','merged','','','software','[]','[]',1,'','','abc','','',$2,'','','usr_1','[]',false,'','null',$3,$3)`, id, mends, tx.Now(), name)
	if err != nil {
		return err
	}
	c, err := change.Find(tx, id)
	if err != nil {
		return err
	}
	targets := []change.Target{}
	for _, e := range environments {
		targets = append(targets, change.Target{Environment: e, Desired: desired})
	}
	return s.Rollout(tx, c, targets)
}

func lockApp(tx *db.Tx, name string) error { _, err := app.LockInstances(tx, name); return err }

func (r *race) write(replica int, fn func(tx *db.Tx) error) {
	r.Helper()
	if err := r.replicas[replica].DB.Write(r.as(), fn); err != nil {
		r.Fatal(err)
	}
}

func (r *race) read(fn func(tx *db.Tx) error) {
	r.Helper()
	if err := r.replicas[0].DB.Read(r.as(), fn); err != nil {
		r.Fatal(err)
	}
}

// comeToRest lets everything go on until nothing moves any more.
func (r *race) comeToRest() {
	apps := &app.Service{DB: r.replicas[1].DB}
	for _, name := range r.rest {
		e := app.Environment{Name: name, Class: "development", After: map[string]string{"prod": "staging"}[name], OnNewer: map[string]string{"lab": app.ReplacePending}[name]}
		if _, err := apps.SaveEnvironment(r.as(), e, false, ""); err != nil {
			r.Fatal(err)
		}
	}
	redeployed := map[string]bool{}
	for range 10_000 {
		s := r.replicas[r.random.IntN(2)]
		if err := s.thaw(r.as()); err != nil {
			r.Fatal(err)
		}
		moved := false
		for _, name := range r.apps {
			var instances []app.Instance
			r.write(0, func(tx *db.Tx) (err error) { instances, err = app.LockInstances(tx, name); return err })
			for _, i := range instances {
				switch {
				case i.Running != "":
					r.write(r.random.IntN(2), func(tx *db.Tx) error {
						d, err := Find(tx, i.Running)
						if err != nil {
							return err
						}
						if d.State == Held {
							tx.AfterCommit(func() {
								if _, _, err := s.ask(r.as(), d.ID); err != nil {
									r.Error(err)
								}
							})
							return nil
						}
						return s.succeed(tx, d, outcome{})
					})
					moved = true
				case i.PinnedBy != "" && !redeployed[i.ID]: // a person mends it
					if _, err := s.Redeploy(r.as(), name, i.Environment); err != nil {
						r.Fatal(err)
					}
					redeployed[i.ID], moved = true, true
				}
			}
		}
		if !moved {
			return
		}
	}
	r.Fatal("it does not come to rest")
}

// check compares what the database says with the model. At rest nothing may be left over.
func (r *race) check(rest bool) {
	r.Helper()
	r.read(func(tx *db.Tx) error {
		for _, name := range r.apps {
			instances, err := db.Collect(tx, func(row db.Row) (i app.Instance, err error) {
				return i, row.Scan(&i.ID, &i.Environment, &i.State, db.Into(&i.Deployed), &i.Running, &i.Fence, &i.PinnedBy)
			}, `select id, environment, state, deployed, running, fence, pinned_by from instance where app = $1`, name)
			if err != nil {
				return err
			}
			for _, i := range instances {
				all, err := db.Collect(tx, scan, `select `+columns+` from deployment where instance = $1 order by number`, i.ID)
				if err != nil {
					return err
				}
				r.instance(i, all, rest)
			}
			if err := r.changes(tx, name, rest); err != nil {
				return err
			}
		}
		return nil
	})
}

// instance is the model of one instance: what has to be true of it, whatever happened in whatever order.
func (r *race) instance(i app.Instance, all []Deployment, rest bool) {
	r.Helper()
	bad := func(format string, args ...any) {
		r.Helper()
		r.Errorf("%s in %s: %s\n%+v\n%s", r.apps, i.Environment, fmt.Sprintf(format, args...), i, lines(all))
	}
	deployed, last, running, fences := app.Desired{}, int64(0), "", map[int64]bool{}
	pinned := i.PinnedBy == ""
	for n, d := range all {
		if d.Number != int64(n+1) {
			bad("the numbers are not 1 to %d", len(all))
		}
		if d.fence > 0 && fences[d.fence] || d.fence > i.Fence {
			bad("%s has the fence %d, which another one has or which is too high", d.ID, d.fence)
		}
		fences[d.fence] = true
		if d.State == Succeeded && d.fence > last {
			deployed, last = d.Desired, d.fence
		}
		if d.State == Running || d.State == Held {
			if running != "" {
				bad("%s and %s run", running, d.ID)
			}
			if running = d.ID; d.fence != i.Fence {
				bad("%s runs with an old fence", d.ID)
			}
		}
		if was, over := r.ended[d.ID]; over && was != d.State {
			bad("%s was %s and is %s", d.ID, was, d.State)
		}
		if d.State.Over() {
			r.ended[d.ID] = d.State
			if d.FinishedAt == nil {
				bad("%s is over and never ended", d.ID)
			}
		}
		if r.wishes[d.ID] && (d.cancelledBy == "" || d.State == Held) {
			bad("the wish to cancel %s is lost", d.ID)
		}
		if d.Trigger == ByRollback && d.Change == i.PinnedBy && (d.undo != nil || d.State == Succeeded) {
			pinned = true
		}
		if rest && !d.State.Over() {
			bad("%s is left over", d.ID)
		}
	}
	if running != i.Running {
		bad("%q runs, and the instance says %q", running, i.Running)
	}
	if len(fences) > 0 && i.Fence > 0 && !fences[i.Fence] {
		bad("nobody has the fence of the instance")
	}
	if deployed.Hash() != i.Deployed.Hash() {
		bad("%s is deployed, and the last that succeeded brought %s", i.Deployed.Artifact, deployed.Artifact)
	}
	if !pinned {
		bad("it is pinned by %s, which no rollback took back", i.PinnedBy)
	}
	if i.Running == "" && i.State == app.Deploying {
		bad("it is deploying and nothing runs")
	}
	// What waits on a free instance waits for a reason that is told.
	if at := slices.IndexFunc(all, func(d Deployment) bool { return d.State == Waiting }); at >= 0 && i.Running == "" {
		if code := all[at].Code; code != "environment.frozen" && code != "change.rolled_back" {
			bad("%s waits for nothing", all[at].ID)
		}
	}
}

// changes is the model of the changes of an app.
func (r *race) changes(tx *db.Tx, name string, rest bool) error {
	r.Helper()
	list, err := change.Of(tx, change.OfApp, name)
	if err != nil {
		return err
	}
	for _, c := range list {
		way, err := legs(tx, c.ID)
		if err != nil {
			return err
		}
		arrived, stopped, with := true, false, false
		for _, l := range way {
			arrived = arrived && l.State == "succeeded"
			stopped = stopped || l.State == "failed"
			if l.State == "carried" { // by one that says itself why it is not there
				theirs, err := legs(tx, l.Deployment)
				if err != nil {
					return err
				}
				with = with || slices.ContainsFunc(theirs, func(t leg) bool { return t.Environment == l.Environment && t.State != "succeeded" })
			}
			if l.State != "running" {
				continue
			}
			if d, err := Find(tx, l.Deployment); err != nil || d.State.Over() {
				r.Errorf("%s waits in %s for %s, which is %s (%v)", c.ID, l.Environment, d.ID, d.State, err)
			}
		}
		var back int
		err = tx.QueryRow(`select count(*) from deployment where change = $1 and trigger_kind = 'rollback' and (undo <> 'null' or state = 'succeeded')`, c.ID).Scan(&back)
		if err != nil {
			return err
		}
		switch {
		case (c.State == change.RolledBack) != (back > 0) && c.State != change.Deployed:
			r.Errorf("%s is %s (%s), and %d rollbacks of it were asked for and not put back", c.ID, c.State, c.Why, back)
		case c.State == change.Deployed && !arrived, c.State == change.Merged && arrived && len(way) > 0:
			r.Errorf("%s is %s, and its way is %+v", c.ID, c.State, way)
		case rest && c.State == change.Merged && !stopped && !with:
			r.Errorf("%s is merged for ever, and its way is %+v", c.ID, way)
		case rest && c.State == change.Merged && !with && c.Why == "":
			r.Errorf("%s does not say why it is stuck", c.ID)
		}
	}
	return nil
}

func lines(all []Deployment) (text string) {
	for _, d := range all {
		text += fmt.Sprintf("  %d %s %s %s of %s: %s, fence %d, wish %q, undo %+v, brings %s: %s\n", d.Number, d.ID, d.Trigger, d.Kind, d.Change, d.State, d.fence, d.cancelledBy, d.undo, d.Desired.Artifact, d.Reason)
	}
	return text
}
