// Package durable runs workflows that survive the death of the process, on DBOS Transact.
//
// A workflow is a function of one id that reads top to bottom like the business process. It does its
// work in steps: Step for an effect outside the database, Transaction for writes, which commit
// together with the step's own checkpoint. After a crash the workflow runs again from the top, and a
// finished step gives its recorded answer instead of running. A step that was running when the
// process died runs again: an effect outside must be idempotent or carry the deployment's fence.
//
// Who recovers: every replica of the server has a name and a heartbeat lease. At launch DBOS resumes
// what its own name left behind; when another replica's lease has ended, whoever sees it first takes
// its pending workflows over. The application version is a constant; a workflow whose steps change
// gets a new name (`deploy/v2` beside `deploy/v1` until that is drained).
//
// A workflow that ends with an error has met something it does not know: a full disk, a database that
// is away. It is tried again from its last finished step, later and later, until it ends without one. So
// a workflow must return an error only for what is worth another attempt, and record everything else.
//
// Deliberately absent: queues (they poll, and partitions starve: the order of work is a table of its
// owner), timers, and waiting for people. What waits for a person waits as a row.
package durable

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
	_ "github.com/dbos-inc/dbos-transact-golang/dbos/driver/sqlite" // tells DBOS how to read SQLite's errors

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/web"
)

// Flow is the context of a running workflow.
type Flow = dbos.Context

// Workflow is a durable function of one id. What it returns is only kept for the log.
type Workflow = dbos.Workflow[string, string]

// Engine starts workflows and recovers them.
type Engine struct {
	db      *db.DB
	ctx     dbos.Context
	source  *dbos.DataSource
	replica string
	log     *slog.Logger
	busy    *activity
	tries   map[string]try // of workflows that ended with an error; only watch uses it
	stop    context.CancelFunc
	done    chan struct{}
}

// ErrOutdated ends a workflow whose work nobody wants any more, because something newer has taken its
// place. A step returns it, and the workflow answers with UnlessOutdated.
var ErrOutdated = errors.New("something newer has taken the place of this work")

// UnlessOutdated returns err, or nil where it is ErrOutdated: such an end is no failure, and trying again
// would not change it. The engine remembers the error of a step as its text, and after a restart the text
// is all there is.
func UnlessOutdated(err error) error {
	if err != nil && strings.Contains(err.Error(), ErrOutdated.Error()) {
		return nil
	}
	return err
}

type try struct {
	count int
	next  time.Time
}

const (
	heartbeat    = 2 * time.Second
	lease        = 10 * time.Second // five missed heartbeats
	keep         = 24 * time.Hour   // of a finished workflow's checkpoints
	quietness    = 10 * time.Second // after this without a step, a pending workflow is not running any more
	longestPause = 5 * time.Minute  // at most between two tries
)

// New prepares the engine of the replica with this name. Register workflows, then Launch.
func New(ctx context.Context, d *db.DB, replica string, log *slog.Logger) (*Engine, error) {
	config := dbos.Config{
		AppName: "flywheel", ApplicationVersion: "1", ExecutorID: replica,
		Logger: slog.New(quiet{log.Handler()}),
	}
	if d.Postgres() {
		config.SystemDBPool = d.Pool
	} else {
		config.SQLiteSystemDB = d.SQL
	}
	busy := &activity{last: map[string]time.Time{}, steps: map[string]int{}}
	c, err := dbos.NewContext(context.WithValue(ctx, activityKey{}, busy), config)
	if err != nil {
		return nil, err
	}
	e := &Engine{db: d, ctx: c, replica: replica, log: log, busy: busy, tries: map[string]try{}, done: make(chan struct{})}
	// The same handle as the engine's own: a Transaction is then one commit, not two.
	if d.Postgres() {
		e.source, err = dbos.NewDataSource(c, d.Pool)
	} else {
		e.source, err = dbos.NewDataSource(c, d.SQL)
	}
	return e, err
}

// Register makes a workflow known under a name that carries its version, for example "deploy/v1".
// fn is a top-level function or a method value, each registered once.
func (e *Engine) Register(name string, fn Workflow) {
	dbos.RegisterWorkflow(e.ctx, fn, dbos.WithWorkflowName(name), dbos.WithMaxRecoveryAttempts(1000))
}

// Launch resumes what this replica left behind, and from then on what other replicas leave behind.
func (e *Engine) Launch() error {
	if err := e.beat(); err != nil {
		return err
	}
	if err := dbos.Launch(e.ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.stop = cancel
	go e.watch(ctx)
	return nil
}

// Stop waits up to timeout for running steps. What is not finished by then is resumed at the next
// launch.
func (e *Engine) Stop(timeout time.Duration) {
	if e.stop != nil {
		e.stop()
		<-e.done
	}
	if err := dbos.Shutdown(e.ctx, timeout); err != nil {
		e.log.Info("workflows are still running and will be resumed at the next start")
	}
}

// Start runs a registered workflow under an id. Starting the same id again does nothing, so a sweeper
// may start what it is not sure of.
func (e *Engine) Start(fn Workflow, id string) error {
	_, err := dbos.RunWorkflow(e.ctx, fn, id, dbos.WithWorkflowID(id))
	return err
}

// Ended reports whether the workflow under this id has come to its end. One that ended with an error has
// not: it is tried again.
func (e *Engine) Ended(id string) (bool, error) {
	list, err := dbos.ListWorkflows(e.ctx, dbos.WithFilterWorkflowIDs(id), dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
	if err != nil || len(list) == 0 {
		return false, err
	}
	switch list[0].Status {
	case dbos.WorkflowStatusPending, dbos.WorkflowStatusEnqueued, dbos.WorkflowStatusDelayed, dbos.WorkflowStatusError:
		return false, nil
	}
	return true, nil
}

// ForRequest returns the context of a workflow that goes on for a request: what its steps log, decide and tell
// names that request. The id is not part of what the engine remembers, so a workflow reads it from its row.
func ForRequest(flow Flow, id string) Flow {
	if id == "" {
		return flow
	}
	return dbos.WithValue(flow, web.RequestKey{}, id)
}

// Step runs an effect outside the database and remembers its answer. It runs at least once.
func Step[T any](flow Flow, name string, fn func(ctx context.Context) (T, error)) (T, error) {
	defer working(flow)()
	return dbos.RunAsStep(flow, fn, dbos.WithStepName(name))
}

// Transaction runs writes that commit together with the memory that they ran: exactly once.
func Transaction[T any](e *Engine, flow Flow, name string, fn func(tx *db.Tx) (T, error)) (T, error) {
	defer working(flow)()
	var joined *db.Tx
	out, err := dbos.RunAsTransaction(flow, e.source, func(ctx context.Context, q dbos.Tx) (T, error) {
		joined = e.db.Join(ctx, q)
		out, err := fn(joined)
		if err == nil {
			err = joined.Finish()
		}
		return out, err
	}, dbos.WithStepName(name))
	if err == nil && joined != nil {
		joined.Committed()
	}
	return out, err
}

// watch keeps the lease alive, takes over what dead replicas left, and forgets old checkpoints.
func (e *Engine) watch(ctx context.Context) {
	defer close(e.done)
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	pruned := time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			err := e.beat()
			if err == nil {
				err = e.takeOver(ctx)
			}
			if err == nil {
				err = e.again(now)
			}
			if err == nil && now.Sub(pruned) > 10*time.Minute {
				pruned, err = now, e.prune()
			}
			if err != nil && !errors.Is(err, context.Canceled) {
				e.log.Warn("workflows could not be looked after", "error", err)
			}
		}
	}
}

func (e *Engine) beat() error {
	return e.db.Write(context.Background(), func(tx *db.Tx) error {
		_, err := tx.Exec(`insert into replica (name, seen_at) values ($1, $2)
			on conflict (name) do update set seen_at = excluded.seen_at`, e.replica, tx.Now())
		return err
	})
}

// takeOver resumes what a replica left whose lease has ended. It renews that lease first, in its stead: one
// replica takes over at a time, and if it dies as well, the next one does.
func (e *Engine) takeOver(ctx context.Context) error {
	var dead []string
	err := e.db.Write(ctx, func(tx *db.Tx) error {
		var err error
		dead, err = db.Collect(tx, func(r db.Row) (name string, err error) { return name, r.Scan(&name) },
			`update replica set seen_at = $3 where seen_at < $1 and name <> $2 returning name`, tx.Now().Add(-lease), e.replica, tx.Now())
		return err
	})
	if err != nil || len(dead) == 0 {
		return err
	}
	left, err := dbos.ListWorkflows(e.ctx, dbos.WithFilterExecutorIDs(dead...),
		dbos.WithFilterStatus(dbos.WorkflowStatusPending), dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
	if err != nil {
		return err
	}
	for _, w := range left {
		e.log.Info("taking over the work of a replica that is gone", "workflow", w.ID)
		if _, err := dbos.ResumeWorkflow[string](e.ctx, w.ID); err != nil {
			return err
		}
	}
	return e.db.Write(ctx, func(tx *db.Tx) error {
		for _, name := range dead {
			if _, err := tx.Exec(`delete from replica where name = $1`, name); err != nil {
				return err
			}
		}
		return nil
	})
}

// again gives another try to what has stopped without an end: a workflow that ended with an error, and
// one whose end could not be written.
func (e *Engine) again(now time.Time) error {
	failed, err := dbos.ListWorkflows(e.ctx, dbos.WithFilterStatus(dbos.WorkflowStatusError), dbos.WithFilterLimit(100),
		dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
	if err != nil {
		return err
	}
	for _, w := range failed {
		t := e.tries[w.ID]
		if now.Before(t.next) {
			continue
		}
		t.next = now.Add(min(heartbeat<<min(t.count, 10), longestPause))
		t.count++
		e.tries[w.ID] = t
		if err := e.rewind(w.ID, t.count); err != nil {
			return err
		}
	}
	for id, t := range e.tries {
		if now.Sub(t.next) > 2*longestPause {
			delete(e.tries, id) // it went well, or another replica has it
		}
	}
	pending, err := dbos.ListWorkflows(e.ctx, dbos.WithFilterExecutorIDs(e.replica), dbos.WithFilterStatus(dbos.WorkflowStatusPending),
		dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
	if err != nil {
		return err
	}
	ids := make([]string, len(pending))
	for i, w := range pending {
		ids[i] = w.ID
	}
	for _, id := range e.busy.quiet(ids, now) {
		e.log.Warn("a workflow has stopped without an end and is resumed", "workflow", id)
		if _, err := dbos.ResumeWorkflow[string](e.ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// rewind runs a failed workflow again from the step that failed.
func (e *Engine) rewind(id string, count int) error {
	steps, err := dbos.GetWorkflowSteps(e.ctx, id)
	if err != nil {
		return err
	}
	from, why := len(steps), error(nil)
	for _, step := range steps {
		if step.Error != nil {
			from, why = step.StepID, step.Error
			break
		}
	}
	e.log.Warn("a workflow has failed and is tried again", "workflow", id, "step", from, "try", count, "error", why)
	if _, err := dbos.RewindWorkflow[string](e.ctx, id, dbos.WithRewindStartStep(uint(max(from, 0)))); err != nil {
		// Another replica may have done so, or the workflow is gone.
		e.log.Info("a workflow was not tried again", "workflow", id, "error", err)
	}
	return nil
}

// activity knows which workflows run in this process.
type activity struct {
	mu    sync.Mutex
	last  map[string]time.Time // end of the last step, or when it was first looked for
	steps map[string]int       // running now
}

type activityKey struct{}

// working notes that a workflow runs a step, until the function it returns is called.
func working(flow Flow) (done func()) {
	a, known := flow.Value(activityKey{}).(*activity)
	id, err := dbos.GetWorkflowID(flow)
	if !known || err != nil {
		return func() {}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.steps[id]++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.steps[id]--; a.steps[id] == 0 {
			delete(a.steps, id)
		}
		a.last[id] = time.Now()
	}
}

// quiet returns which of the pending workflows run no step and have not for a while. It forgets all others.
func (a *activity) quiet(pending []string, now time.Time) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, found := map[string]time.Time{}, []string{}
	for _, id := range pending {
		since, known := a.last[id]
		if !known {
			since = now
		}
		switch {
		case a.steps[id] > 0:
			last[id] = now
		case now.Sub(since) > quietness:
			found = append(found, id)
		default:
			last[id] = since
		}
	}
	a.last = last
	return found
}

// prune forgets the checkpoints of workflows that finished long ago; their outcome is in the tables
// of their owners.
func (e *Engine) prune() error {
	for {
		old, err := dbos.ListWorkflows(e.ctx, dbos.WithFilterCompletedBefore(e.db.Now().Add(-keep)),
			dbos.WithFilterLimit(500), dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
		if err != nil || len(old) == 0 {
			return err
		}
		ids := make([]string, len(old))
		for i, w := range old {
			ids[i] = w.ID
		}
		if err := dbos.DeleteWorkflows(e.ctx, ids); err != nil {
			return err
		}
	}
}

// quiet lowers DBOS's informational lines to debug: an operator's log tells what Flywheel does.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && q.Handler.Enabled(ctx, l)
}
func (q quiet) WithAttrs(a []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(a)} }
func (q quiet) WithGroup(n string) slog.Handler      { return quiet{q.Handler.WithGroup(n)} }
