package event

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/web"
)

// Consumer is a named function over facts. It gets each fact of its types exactly once and in the order of the log:
// what Handle writes commits together with the consumer's place behind the fact.
//
// Handle must have no effect outside of its transaction, which may be tried again. It acts as the platform, under
// the name of the consumer, and for the request that led to the fact.
type Consumer struct {
	// Name is unique and never changes: the place in the log is kept under it. A consumer that is to hear of facts
	// it has passed already, because it has new types, gets a new name.
	Name   string
	Types  []string // as in Filter.Types
	Handle func(tx *db.Tx, e Event) error
	// FromStart lets a new consumer begin with the first fact of the log. Without it, it begins with what comes
	// after its first registration.
	FromStart bool
}

// Consumers hand the facts of a log to those who registered. On several replicas one of them works for a consumer
// at a time; whichever is first.
type Consumers struct {
	DB     *db.DB
	Events *Log
	Log    *slog.Logger
	// As returns a context in which the platform acts under a name.
	As func(ctx context.Context, name string) context.Context

	workers []*worker
	stop    context.CancelFunc
	running sync.WaitGroup
}

// worker is what this process does for one consumer.
type worker struct {
	*Consumers
	Consumer
	passed int64 // no fact up to here is left for the consumer
	kept   int64 // the place in the database, when it was last looked at
	stands bool  // the fact after passed could not be handled
}

// stride is how many facts that are nothing to a consumer it passes before it writes down where it is. After a
// restart it looks at so many again.
const stride = 1000

// Register adds a consumer. Call it before Start; a name that is there already is a defect.
func (c *Consumers) Register(consumer Consumer) {
	if c.find(consumer.Name) != nil {
		panic("event: two consumers are called " + consumer.Name)
	}
	c.workers = append(c.workers, &worker{Consumers: c, Consumer: consumer})
}

func (c *Consumers) find(name string) *worker {
	i := slices.IndexFunc(c.workers, func(w *worker) bool { return w.Name == name })
	if i < 0 {
		return nil
	}
	return c.workers[i]
}

// Begin gives every consumer its place in the log, a new one its first. Start does it as well.
func (c *Consumers) Begin(ctx context.Context) error {
	head, err := now(ctx, c.DB)
	if err != nil {
		return err
	}
	return c.DB.Write(ctx, func(tx *db.Tx) error {
		for _, w := range c.workers {
			seq := head
			if w.FromStart {
				seq = 0
			}
			if w.passed, err = begin(tx, w.Name, seq); err != nil {
				return err
			}
			w.kept = w.passed
		}
		return nil
	})
}

// Start begins to hand out facts, until Stop.
func (c *Consumers) Start(ctx context.Context) error {
	if err := c.Begin(ctx); err != nil {
		return err
	}
	ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	c.Events.enter()
	for _, w := range c.workers {
		c.running.Go(func() { w.run(ctx) })
	}
	return nil
}

// Stop ends the work and waits for the facts that are being handled.
func (c *Consumers) Stop() {
	if c.stop != nil {
		c.stop()
		c.stop = nil
		c.running.Wait()
		c.Events.leave()
	}
}

// CatchUp does what there is to do now, after Begin and instead of Start, for whoever cannot wait for it. A consumer
// whose fact is not to be tried yet is left as it is.
func (c *Consumers) CatchUp(ctx context.Context) error {
	if err := Number(ctx, c.DB); err != nil {
		return err
	}
	for _, w := range c.workers {
		for idle := false; !idle; {
			moved, _, err := w.turn(ctx)
			if err != nil {
				return err
			}
			idle = !moved
		}
	}
	return nil
}

func (w *worker) run(ctx context.Context) {
	for {
		moved, grown, err := w.turn(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			w.Log.WarnContext(ctx, "a consumer cannot work, trying again", "consumer", w.Name, "error", err)
			wait(ctx, poll)
		case grown != nil:
			select {
			case <-grown:
			case <-ctx.Done():
			}
		case !moved:
			wait(ctx, poll)
		}
	}
}

// turn hands out some facts. It reports whether it came further. At the end of the log it returns what is closed as
// soon as there may be more; otherwise the consumer stands still, or another replica works for it.
func (w *worker) turn(ctx context.Context) (moved bool, grown <-chan struct{}, err error) {
	if w.stands { // reads no facts, and locks nothing, for one whose time has not come
		p, err := w.look(ctx)
		if err != nil || p.waits(w.DB.Now()) {
			return false, nil, err
		}
		w.passed, w.kept, w.stands = max(w.passed, p.Seq), p.Seq, false
	}
	filter := Filter{Types: w.Types}
	events, through, grown, err := w.Events.next(ctx, w.passed, filter)
	if err != nil {
		return false, nil, err
	}
	for _, e := range events {
		if e.Seq <= w.passed || !filter.Match(e) {
			continue // passed on another replica, or nothing to this consumer
		}
		place, err := w.hand(ctx, e)
		if err != nil || place < e.Seq {
			return moved, nil, err
		}
		w.passed, w.kept, moved = place, place, true
	}
	if through > w.passed {
		w.passed, moved = through, true
	}
	if w.passed-w.kept >= stride {
		if err := w.DB.Write(ctx, func(tx *db.Tx) error { return keep(tx, w.Name, w.passed) }); err != nil {
			return moved, nil, err
		}
		w.kept = w.passed
	}
	if moved {
		return true, nil, nil
	}
	return false, grown, nil
}

// hand lets the consumer handle a fact, and returns its place afterwards, which is before the fact if it stands
// still or if another replica is at it.
func (w *worker) hand(ctx context.Context, e Event) (int64, error) {
	ctx = web.ForRequest(w.As(ctx, w.Name), e.RequestID)
	p, mine, err := w.handle(ctx, e)
	switch {
	case err == nil && mine:
		return e.Seq, nil
	case err == nil:
		p, err = w.look(ctx)
		w.stands = p.Attempts > 0
		return p.Seq, err
	case !mine || ctx.Err() != nil || passes(err):
		return p.Seq, err
	}
	w.stands = true
	return p.Seq, w.fail(ctx, e, p, err)
}

// handle runs the consumer in the transaction that moves its place. mine is false if another replica has the
// consumer, or the fact is behind it, or is not to be tried yet.
func (w *worker) handle(ctx context.Context, e Event) (p Place, mine bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	err = w.DB.Write(ctx, func(tx *db.Tx) (err error) {
		if p, mine, err = take(tx, w.Name, e.Seq); err != nil || !mine {
			return err
		}
		if err := w.Handle(tx, e); err != nil {
			return err
		}
		return move(tx.In(ctx), w.Name, e.Seq)
	})
	return p, mine, err
}

// passes reports whether err is no fault of the fact: the database is away, or a disk is full. What was tried is
// then tried again and not counted.
func passes(err error) bool {
	return db.IsAway(err) || db.IsFull(err) || errors.Is(err, syscall.ENOSPC) || fault.Is(err, fault.DiskFull)
}

// fail notes that a fact could not be handled, and when it is tried again. Of two replicas that fail at the same
// attempt, one notes it. What fails after the commit is only told: the fact is behind the consumer.
func (w *worker) fail(ctx context.Context, e Event, p Place, cause error) error {
	f := fault.From(cause)
	p.Attempts++
	err := w.DB.Write(ctx, func(tx *db.Tx) error {
		return saveFailure(tx, w.Name, e.Seq, p.Attempts, f.Message, tx.Now().Add(backOff(p.Attempts)))
	})
	level := slog.LevelWarn
	if f.Kind == fault.Internal { // a defect
		level = slog.LevelError
	}
	w.Log.LogAttrs(ctx, level, "a consumer failed at a fact", slog.String("consumer", w.Name), slog.String("event", e.ID),
		slog.String("type", e.Type), slog.Int("attempt", p.Attempts), slog.Duration("again", backOff(p.Attempts)), slog.Any("error", cause))
	return err
}

// backOff is how long after a number of failed attempts the next one comes.
func backOff(attempts int) time.Duration {
	const longest = 5 * time.Minute
	if attempts > 9 {
		return longest
	}
	return min(time.Second<<(attempts-1), longest)
}

func (w *worker) look(ctx context.Context) (p Place, err error) {
	err = w.DB.Read(ctx, func(tx *db.Tx) error { p, err = findPlace(tx, w.Name, ""); return err })
	return p, err
}

// Place is where a consumer is in the log, and what holds it up.
type Place struct {
	Consumer string     `json:"consumer" example:"change-waived"`
	Types    []string   `json:"types" doc:"Types of the facts that it handles; none means all"`
	Seq      int64      `json:"sequence" doc:"No fact up to this number is left for it; it may be further and not have written it down"`
	Lag      int64      `json:"lag" doc:"How many facts are left for it, of the next 100,000 in the log"`
	Attempts int        `json:"attempts" doc:"How often it failed at the fact where it stands still; 0 while it goes on"`
	Failure  string     `json:"failure,omitempty" doc:"How it failed the last time"`
	NextAt   *time.Time `json:"nextAt,omitempty" doc:"When it tries again"`
	Event    string     `json:"event,omitempty" doc:"The fact where it stands still" example:"evt_d0c5ghq23akk2s3lvr9g"`
	Type     string     `json:"type,omitempty" doc:"Type of that fact"`
	Subject  string     `json:"subject,omitempty" doc:"What that fact is about"`
	App      string     `json:"app,omitempty" doc:"App that the fact belongs to"`

	standsAt int64
}

func (p Place) waits(now time.Time) bool { return p.NextAt != nil && now.Before(*p.NextAt) }

// Places returns where every consumer is, in the order in which they were registered.
func (c *Consumers) Places(ctx context.Context) ([]Place, error) {
	places := []Place{}
	if err := Number(ctx, c.DB); err != nil {
		return nil, err
	}
	err := c.DB.Read(ctx, func(tx *db.Tx) error {
		for _, w := range c.workers {
			p, err := w.place(tx, "")
			if err == nil {
				p.Lag, err = behind(tx, p.Seq, Filter{Types: w.Types})
			}
			if err != nil {
				return err
			}
			places = append(places, p)
		}
		return nil
	})
	return places, err
}

// place returns where the consumer is, with the fact where it stands still.
func (w *worker) place(tx *db.Tx, lock string) (Place, error) {
	p, err := findPlace(tx, w.Name, lock)
	p.Types = append([]string{}, w.Types...)
	if err != nil || p.Attempts == 0 {
		return p, err
	}
	e, err := at(tx, p.standsAt)
	p.Event, p.Type, p.Subject, p.App = e.ID, e.Type, e.Subject, e.App
	return p, err
}

// Skip lets a consumer pass the fact where it stands still, without handling it, and returns where it stood.
func (c *Consumers) Skip(tx *db.Tx, name, id string) (Place, error) {
	w := c.find(name)
	if w == nil {
		return Place{}, fault.Missing("consumer", name)
	}
	p, err := w.place(tx, tx.ForUpdate())
	switch {
	case err != nil:
		return Place{}, err
	case p.Attempts == 0:
		return Place{}, fault.New(fault.Conflict, "consumer.elsewhere", "The consumer %s stands still at no fact.", name).Do("There is nothing to skip.")
	case p.Event != id:
		return Place{}, fault.New(fault.Conflict, "consumer.elsewhere", "The consumer %s does not stand still at %s, but at %s.", name, id, p.Event).
			Do("Look at that fact first: flywheel consumer list.")
	}
	return p, move(tx, name, p.standsAt)
}

// Check fails with the consumers that stand still, if any does.
func (c *Consumers) Check(ctx context.Context) error {
	return c.DB.Read(ctx, func(tx *db.Tx) error {
		for _, w := range c.workers {
			p, err := w.place(tx, "")
			if err != nil {
				return err
			}
			if p.Attempts > 0 {
				return fault.New(fault.Unavailable, "consumer.stands", "The consumer %s stands still at %s: %d attempts failed.", w.Name, p.Event, p.Attempts).
					Do("Look at it: flywheel consumer list.")
			}
		}
		return nil
	})
}
