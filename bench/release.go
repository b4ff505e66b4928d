package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rs/xid"
	"gocloud.dev/blob/memblob"
	"golang.org/x/sync/errgroup"

	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/deploy"
	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/runlog"
)

const (
	instances   = 50
	deployments = 1000
	rate        = 50 // arrivals a second in the open loop
	arrivals    = 250
	queued      = 10_000
	history     = 100_000 // finished deployments
	turns       = 80
	bare        = 500 // workflows
)

// release measures software-lane deployments with a release driver that does nothing: what the platform
// itself costs. Everything is real but the rollout: the transactions, the workflows, their checkpoints,
// the events, and somebody who follows them.
func (b *bench) release(ctx context.Context) error {
	if err := b.releaseOn(ctx, "SQLite", func() (string, func(), error) {
		dir, err := b.folder("db")
		return filepath.Join(dir, "flywheel.db"), func() {}, err
	}); err != nil {
		return err
	}
	base, stop, err := startPostgres(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "PostgreSQL is not measured:", err)
		return nil
	}
	defer stop()
	return b.releaseOn(ctx, "PostgreSQL", func() (string, func(), error) { return freshPostgres(ctx, base) })
}

// startPostgres starts a server whose commits wait for the disk, unless FLYWHEEL_TEST_DATABASE_URL names one.
func startPostgres(ctx context.Context) (base string, stop func(), err error) {
	if base = os.Getenv("FLYWHEEL_TEST_DATABASE_URL"); base != "" {
		return base, func() {}, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // for a free port
	if err != nil {
		return "", nil, err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return "", nil, err
	}
	if err := l.Close(); err != nil {
		return "", nil, err
	}
	script := func(ctx context.Context, verb string) error {
		cmd := exec.CommandContext(ctx, "scripts/postgres.sh", verb)
		cmd.Env = append(os.Environ(), "FLYWHEEL_TEST_POSTGRES_FSYNC=on", "FLYWHEEL_TEST_POSTGRES_PORT="+port,
			"FLYWHEEL_TEST_POSTGRES_DIR="+filepath.Join(os.TempDir(), "flywheel-bench-postgres-"+port)) // another user's, so not in the run's folder
		if said, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, said)
		}
		return nil
	}
	stop = func() {
		if err := script(context.WithoutCancel(ctx), "stop"); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	if err := script(ctx, "start"); err != nil {
		stop()
		return "", nil, err
	}
	return "postgres://postgres@127.0.0.1:" + port + "/postgres?sslmode=disable", stop, nil
}

// freshPostgres makes a database that goes away with the returned function.
func freshPostgres(ctx context.Context, base string) (string, func(), error) {
	u, err := url.Parse(base)
	if err != nil {
		return "", nil, err
	}
	name := "bench_" + strings.ToLower(xid.New().String())
	do := func(statement string) error {
		conn, err := pgx.Connect(ctx, base)
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, statement)
		return err
	}
	if err := do("create database " + name); err != nil {
		return "", nil, err
	}
	u.Path = "/" + name
	return u.String(), func() {
		if err := do("drop database " + name + " with (force)"); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}, nil
}

func (b *bench) releaseOn(ctx context.Context, engine string, fresh func() (string, func(), error)) error {
	before, bareSpent, err := b.bareWorkflows(ctx, fresh)
	if err != nil {
		return err
	}
	p, err := b.newPlatform(ctx, fresh)
	if err != nil {
		return err
	}
	defer p.close()
	throughput, spent, err := p.closedLoop(ctx)
	if err != nil {
		return err
	}
	latencies, err := p.openLoop(ctx)
	if err != nil {
		return err
	}
	after, _, err := b.bareWorkflows(ctx, fresh)
	if err != nil {
		return err
	}
	quiet, err := b.newPlatform(ctx, fresh)
	if err != nil {
		return err
	}
	defer quiet.close()
	old, err := b.newPlatform(ctx, fresh)
	if err != nil {
		return err
	}
	defer old.close()
	if err := errors.Join(p.crowd(ctx), old.grow(ctx)); err != nil {
		return err
	}
	took, err := inTurns(ctx, quiet, p, old)
	if err != nil {
		return err
	}
	alone, crowded, aged := millis(median(took[0])), millis(median(took[1])), millis(median(took[2]))
	bareRate := (before + after) / 2
	b.atLeast(fmt.Sprintf("%s: software-lane deployments, %d on %d instances", engine, deployments, instances), throughput, 100, "/s")
	b.note("  bare workflows of five steps with two own writes each", bareRate, "/s")
	b.note("  deployments / bare workflows", throughput/bareRate, "×")
	b.note("  processor time of a deployment", millis(spent), "ms")
	b.note("  processor time of a bare workflow", millis(bareSpent), "ms")
	b.note(fmt.Sprintf("  %d a second, admission to record, p50", rate), millis(percentile(latencies, 50)), "ms")
	b.atMost(fmt.Sprintf("  %d a second, admission to record, p99", rate), millis(percentile(latencies, 99)), 1000, "ms")
	b.note("  one at a time, p50", alone, "ms")
	b.atMost(fmt.Sprintf("  the same beside %d waiting on another instance", queued), crowded/alone, 1.2, "×")
	b.atMost(fmt.Sprintf("  the same after %d finished deployments", history), aged/alone, 1.2, "×")
	return nil
}

// platform is the part of Flywheel that deploys, without a server around it.
type platform struct {
	db      *db.DB
	durable *durable.Engine
	deploy  *deploy.Service
	version pattern.Version
	drop    func()
	stop    context.CancelFunc
	next    atomic.Int64
	commit  string // of every change, where there are repositories

	mu   sync.Mutex
	done map[string]chan error // by change; told when its deployment is seen to have ended
}

const noopPattern = `apiVersion: flywheel.dev/v1
kind: Pattern
metadata: {name: noop, title: Nothing, owner: coe}
spec:
  variables: {}
  artifact: {variable: artifact}
  release: {driver: noop}
`

const noopModule = `variable "artifact" {
  description = "Digest of the app's artifact. Flywheel sets it."
  type        = string
}
`

func (b *bench) newPlatform(ctx context.Context, fresh func() (string, func(), error)) (*platform, error) {
	database, drop, err := fresh()
	if err != nil {
		return nil, err
	}
	dir, err := b.folder("platform")
	if err != nil {
		return nil, err
	}
	p := &platform{drop: drop, done: map[string]chan error{}}
	if p.db, err = db.Open(ctx, database); err != nil {
		return nil, err
	}
	if p.durable, err = durable.New(ctx, p.db, "bench", b.log); err != nil {
		return nil, err
	}
	patterns := &pattern.Service{DB: p.db, Blobs: memblob.OpenBucket(nil), Dir: filepath.Join(dir, "patterns")}
	p.deploy = &deploy.Service{
		DB: p.db, Durable: p.durable, Changes: &change.Service{DB: p.db, Log: b.log}, Log: b.log, Logs: &runlog.Store{Dir: filepath.Join(dir, "logs")},
		Runs: &deploy.Runs{DB: p.db, Patterns: patterns, Dir: filepath.Join(dir, "runs")},
	}
	p.deploy.Register()
	module := filepath.Join(dir, "noop")
	if p.version, err = addPattern(ctx, p.db, patterns, module, map[string]string{"pattern.yaml": noopPattern, "main.tf": noopModule}); err != nil {
		return nil, err
	}
	if err := p.seed(ctx); err != nil {
		return nil, err
	}
	if err := p.durable.Launch(); err != nil {
		return nil, err
	}
	p.deploy.Start()
	p.follow(ctx)
	return p, nil
}

// addPattern makes a certified version of what files say, whose pattern has the name of the folder.
func addPattern(ctx context.Context, d *db.DB, patterns *pattern.Service, dir string, files map[string]string) (v pattern.Version, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return v, err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return v, err
		}
	}
	if v, err = patterns.Add(ctx, filepath.Base(dir), "1.0.0", dir, "0"); err != nil {
		return v, err
	}
	return v, d.Write(ctx, func(tx *db.Tx) error { return patterns.Certify(tx, v, "") })
}

func (p *platform) close() {
	p.stop()
	p.deploy.Stop()
	p.durable.Stop(5 * time.Second)
	p.db.Close()
	p.drop()
}

// seed makes the apps and their instances, already deployed, so that what follows are releases.
func (p *platform) seed(ctx context.Context) error {
	if err := addEnvironment(ctx, p.db); err != nil {
		return err
	}
	return p.db.Write(ctx, func(tx *db.Tx) error {
		for i := range instances + 2 {
			if err := addApp(tx, name(i)); err != nil {
				return err
			}
			instance, err := app.EnsureInstance(tx, name(i), "prod")
			if err != nil {
				return err
			}
			if err := app.Arrive(tx, &instance, p.desired(0), "", ""); err != nil {
				return err
			}
		}
		return nil
	})
}

func addEnvironment(ctx context.Context, d *db.DB) error {
	_, err := (&app.Service{DB: d}).SaveEnvironment(ctx, app.Environment{Name: "prod", Class: "production"}, true, "")
	return err
}

func name(i int) string { return fmt.Sprintf("app-%d", i) }

func addApp(tx *db.Tx, name string) error {
	_, err := tx.Exec(`insert into app (id, name, title, team, state, pin, description, created_by, created_at)
		values ($1, $2, $2, 'bench', 'active', '{}', '{}', '', $3)`, db.NewID("app"), name, tx.Now())
	return err
}

func (p *platform) desired(artifact int64) app.Desired {
	return app.Desired{Pattern: "noop", Version: p.version.Version, Digest: p.version.Digest, Variables: map[string]any{}, Artifact: fmt.Sprintf("sha256:%064x", artifact)}
}

// merged writes a change as a merge leaves it.
func merged(tx *db.Tx, app, commit string) (change.Change, error) {
	id := db.NewID("chg")
	_, err := tx.Exec(`insert into change (id, kind, subject, team, branch, title, body, state, why, remedy, lane, reasons, effects, revision, head, main, merged,
		story, needs, reverts, revert, fix, opener, authors, merge_requested, released, proposal, opened_at, updated_at)
		values ($1, 'app', $2, 'bench', $1, 'A change', '', 'merged', '', '', 'software', '[]', '[]', 1, $5, '', $5, '', '', '', '', '', '', '[]', $3, '', 'null', $4, $4)`,
		id, app, false, tx.Now(), commit)
	if err != nil {
		return change.Change{}, err
	}
	return change.Find(tx, id)
}

// admit merges a change that brings a new artifact to an app, and returns what tells when it is deployed.
func (p *platform) admit(ctx context.Context, app string) (<-chan error, error) {
	done := make(chan error, 1)
	return done, p.db.Write(ctx, func(tx *db.Tx) error { return p.rollout(tx, app, p.desired(p.next.Add(1)), done) })
}

func (p *platform) rollout(tx *db.Tx, app string, desired app.Desired, done chan error) error {
	c, err := merged(tx, app, p.commit)
	if err != nil {
		return err
	}
	if done != nil {
		p.mu.Lock()
		p.done[c.ID] = done
		p.mu.Unlock()
	}
	return p.deploy.Rollout(tx, c, []change.Target{{Environment: "prod", Desired: desired}})
}

// follow tells of every deployment that ends, as a page that shows it would.
func (p *platform) follow(ctx context.Context) {
	ctx, p.stop = context.WithCancel(ctx)
	go p.tell(event.New(p.db).Follow(ctx, -1, event.Filter{Types: []string{event.TypeOf(event.ServiceDeployed{}), event.TypeOf(event.ServiceUpgraded{}), event.TypeOf(event.DeploymentFailed{})}}))
}

func (p *platform) tell(events <-chan event.Event) {
	for e := range events {
		var data struct {
			Change, Outcome, Why string
		}
		if e.Decode(&data) != nil {
			continue
		}
		p.mu.Lock()
		if done := p.done[data.Change]; done != nil {
			if delete(p.done, data.Change); data.Outcome != "" {
				done <- errors.New(data.Why)
			}
			close(done)
		}
		p.mu.Unlock()
	}
}

func wait(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(2 * time.Minute):
		return fmt.Errorf("a deployment has not ended in two minutes")
	}
}

// closedLoop admits everything as fast as it goes. It returns deployments a second until the last one is
// recorded, and the processor time of one.
func (p *platform) closedLoop(ctx context.Context) (float64, time.Duration, error) {
	began, used := time.Now(), cpu()
	group, ctx := errgroup.WithContext(ctx)
	for i := range instances {
		group.Go(func() error {
			var last <-chan error
			for range deployments / instances {
				done, err := p.admit(ctx, name(i))
				if err != nil {
					return err
				}
				last = done // they run in order
			}
			return wait(ctx, last)
		})
	}
	err := group.Wait()
	return deployments / time.Since(began).Seconds(), (cpu() - used) / deployments, err
}

// openLoop admits deployments at a fixed rate, whatever becomes of them, and returns how long each took.
func (p *platform) openLoop(ctx context.Context) ([]time.Duration, error) {
	took := make([]time.Duration, arrivals)
	group, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for i := range arrivals {
		due := began.Add(time.Duration(i) * time.Second / rate)
		time.Sleep(time.Until(due))
		group.Go(func() error {
			done, err := p.admit(ctx, name(i%instances))
			if err != nil {
				return err
			}
			err = wait(ctx, done)
			took[i] = time.Since(due)
			return err
		})
	}
	return took, group.Wait()
}

// crowd makes many deployments wait for an instance that never gets free.
func (p *platform) crowd(ctx context.Context) error {
	blocked := name(instances)
	return p.db.Write(ctx, func(tx *db.Tx) error {
		instance, err := app.FindInstance(tx, blocked, "prod")
		if err != nil {
			return err
		}
		if err := app.Occupy(tx, &instance, "dpl_endless"); err != nil {
			return err
		}
		if err := p.rollout(tx, blocked, p.desired(p.next.Add(1)), nil); err != nil {
			return err
		}
		return copies(tx, "deployment", queued, "instance = '"+instance.ID+"'", map[string]string{"id": "t.id || '_' || i", "number": "number + i"})
	})
}

// grow gives a platform the history of many finished deployments, of all instances: copies of one that was.
func (p *platform) grow(ctx context.Context) error {
	done, err := p.admit(ctx, name(0))
	if err == nil {
		err = wait(ctx, done)
	}
	if err == nil {
		err = event.Number(ctx, p.db)
	}
	if err != nil {
		return err
	}
	app := fmt.Sprintf("'app-' || (i %% %d)", instances+2)
	deployment, change := fmt.Sprintf("'dpl_0' || (%d + i)", history), fmt.Sprintf("'chg_0' || (%d + i)", history)
	for _, table := range []struct {
		name, which string
		set         map[string]string
	}{
		{"deployment", "state = 'succeeded'", map[string]string{"id": deployment, "change": change, "number": "number + i", "app": app,
			"instance": "(select id from instance where app = " + app + ")"}},
		{"rollout", "state = 'succeeded'", map[string]string{"change": change, "deployment": deployment, "app": app}},
		{"change", "state = 'deployed'", map[string]string{"id": change, "branch": change, "subject": app}},
		{"event", "type = '" + event.TypeOf(event.ServiceUpgraded{}) + "'", map[string]string{"seq": "(select max(seq) from event) + i", "subject": deployment, "app": app}},
	} {
		if err := p.db.Write(ctx, func(tx *db.Tx) error { return copies(tx, table.name, history, table.which, table.set) }); err != nil {
			return err
		}
	}
	if done, err = p.admit(ctx, name(0)); err != nil {
		return err
	}
	return wait(ctx, done) // whoever follows has read all of it then
}

// copies adds n copies of the rows of a table that match, each with an i from 1 on and some columns set anew.
func copies(tx *db.Tx, table string, n int, which string, set map[string]string) error {
	rows, err := tx.Query("select * from " + table + " limit 0")
	if err != nil {
		return err
	}
	var columns, values []string
	switch rows := rows.(type) {
	case *sql.Rows:
		if columns, err = rows.Columns(); err != nil {
			return err
		}
	case interface {
		FieldDescriptions() []pgconn.FieldDescription
	}:
		for _, f := range rows.FieldDescriptions() {
			columns = append(columns, f.Name)
		}
	}
	if err := rows.Close(); err != nil {
		return err
	}
	for _, c := range columns {
		value := "t." + c
		if v := set[c]; v != "" {
			value = v
		}
		values = append(values, value)
	}
	_, err = tx.Exec(fmt.Sprintf("with recursive n (i) as (select 1 union all select i + 1 from n where i < %d) insert into %s (%s) select %s from n cross join %s t where %s",
		n, table, strings.Join(columns, ", "), strings.Join(values, ", "), table, which))
	return err
}

// inTurns returns how long deployments of an instance take one at a time, on each of the platforms.
func inTurns(ctx context.Context, platforms ...*platform) ([][]time.Duration, error) {
	took := make([][]time.Duration, len(platforms))
	for range turns {
		for i, p := range platforms {
			began := time.Now()
			done, err := p.admit(ctx, name(instances+1))
			if err == nil {
				err = wait(ctx, done)
			}
			if err != nil {
				return nil, err
			}
			took[i] = append(took[i], time.Since(began))
		}
	}
	return took, nil
}

// bareWorkflows returns how many workflows a second the engine does that consist of five steps with two
// writes of one row each, in one commit with their checkpoint, and the processor time of one.
func (b *bench) bareWorkflows(ctx context.Context, fresh func() (string, func(), error)) (float64, time.Duration, error) {
	database, drop, err := fresh()
	if err != nil {
		return 0, 0, err
	}
	defer drop()
	d, err := db.Open(ctx, database)
	if err != nil {
		return 0, 0, err
	}
	defer d.Close()
	if err := d.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(`create table own (id text primary key, step bigint not null, at timestamp not null)`)
		return err
	}); err != nil {
		return 0, 0, err
	}
	w := &bareWorkflow{}
	if w.engine, err = durable.New(ctx, d, "bare", b.log); err != nil {
		return 0, 0, err
	}
	w.engine.Register("bare/v1", w.run)
	if err := w.engine.Launch(); err != nil {
		return 0, 0, err
	}
	defer w.engine.Stop(5 * time.Second)
	w.left.Add(bare)
	began, used := time.Now(), cpu()
	group := errgroup.Group{}
	for i := range instances {
		group.Go(func() error {
			for n := range bare / instances {
				if err := w.engine.Start(w.run, fmt.Sprintf("bare-%d-%d", i, n)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, 0, err
	}
	w.left.Wait()
	return bare / time.Since(began).Seconds(), (cpu() - used) / bare, nil
}

type bareWorkflow struct {
	engine *durable.Engine
	left   sync.WaitGroup
}

func (w *bareWorkflow) run(flow durable.Flow, id string) (string, error) {
	defer w.left.Done()
	for step := range 5 {
		if _, err := durable.Transaction(w.engine, flow, fmt.Sprint("step-", step), func(tx *db.Tx) (string, error) {
			for write := range 2 {
				if _, err := tx.Exec(`insert into own (id, step, at) values ($1, $2, $3)`, fmt.Sprintf("%s-%d-%d", id, step, write), step, tx.Now()); err != nil {
					return "", err
				}
			}
			return "done", nil
		}); err != nil {
			return "", err
		}
	}
	return "done", nil
}
