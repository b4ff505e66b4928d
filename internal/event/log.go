package event

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"flywheel.dev/flywheel/internal/db"
)

// poll is how long an event of another replica may stay unseen; this process's own events are seen at
// once through the nudge.
const poll = 500 * time.Millisecond

// kept is how many of the newest events stay in memory, so that a thousand followers cost one query.
const kept = 1024

// Log follows the event table. All followers of a process share one reader, which runs only while
// somebody follows.
type Log struct {
	db *db.DB

	mu        sync.Mutex
	followers int
	stop      context.CancelFunc
	tail      []Event       // the newest events in order; the last one is the head
	head      int64         // everything up to here was read, or was there before the reader began
	grown     chan struct{} // closed and replaced when head moves
}

// New returns the log of a database.
func New(d *db.DB) *Log { return &Log{db: d, grown: make(chan struct{})} }

// Follow returns the events after seq that pass the filter, first those already written and then each
// new one, in order and none twice. The channel is closed when ctx ends. A seq of -1 means "from now".
// A reader that falls behind is not dropped: it continues from the table.
func (l *Log) Follow(ctx context.Context, seq int64, filter Filter) <-chan Event {
	out := make(chan Event)
	if seq < 0 {
		// "Now" is the moment of this call, not the moment the goroutine gets to run. If the database
		// is away, the first successful read decides.
		var err error
		if seq, err = now(ctx, l.db); err != nil {
			seq = -1
		}
	}
	l.enter()
	go func() {
		defer close(out)
		defer l.leave()
		for ctx.Err() == nil {
			events, through, grown, err := l.next(ctx, seq, filter)
			if err != nil {
				if ctx.Err() == nil {
					slog.WarnContext(ctx, "events cannot be read, trying again", "error", err)
				}
				wait(ctx, poll)
				continue
			}
			for _, e := range events {
				if !filter.Match(e) {
					continue
				}
				select {
				case out <- e:
				case <-ctx.Done():
					return
				}
			}
			if through > seq {
				seq = through
				continue
			}
			select {
			case <-grown:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

// next returns what follows seq, from memory when the reader has it, else from the table, and the number
// up to which that is everything. When through is not beyond seq, grown is closed as soon as there may
// be more.
func (l *Log) next(ctx context.Context, seq int64, filter Filter) (events []Event, through int64, grown <-chan struct{}, err error) {
	l.mu.Lock()
	grown = l.grown
	if n := len(l.tail); n > 0 && seq >= l.tail[0].Seq-1 {
		if behind := l.head - seq; behind > 0 {
			events = append(events, l.tail[n-int(behind):]...)
		}
		through = l.head
		l.mu.Unlock()
		return events, through, grown, nil
	}
	l.mu.Unlock()
	const batch = 256
	err = l.db.Read(ctx, func(tx *db.Tx) (err error) {
		if events, err = After(tx, seq, filter, batch); err != nil {
			return err
		}
		if len(events) == batch {
			through = events[batch-1].Seq
			return nil
		}
		through, err = Head(tx) // of the same state of the database
		return err
	})
	return events, through, grown, err
}

func (l *Log) enter() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.followers++; l.followers == 1 {
		ctx, cancel := context.WithCancel(context.Background())
		l.stop, l.tail, l.head = cancel, nil, -1
		go l.read(ctx)
	}
}

func (l *Log) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.followers--; l.followers == 0 {
		l.stop()
	}
}

// read is the one reader of the process. It starts at the head of the table; followers fetch what is
// older themselves.
func (l *Log) read(ctx context.Context) {
	wake := nudge.join()
	defer nudge.part(wake)
	head := int64(-1)
	for ctx.Err() == nil {
		var events []Event
		err := Number(ctx, l.db)
		if err == nil {
			err = l.db.Read(ctx, func(tx *db.Tx) (err error) {
				if head < 0 {
					head, err = Head(tx)
					return err
				}
				events, err = After(tx, head, Filter{}, 512)
				return err
			})
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			slog.WarnContext(ctx, "events cannot be read, trying again", "error", err)
			wait(ctx, poll)
			continue
		}
		if n := len(events); n > 0 {
			head = events[n-1].Seq
		}
		l.grow(ctx, head, events)
		if len(events) == 512 {
			continue
		}
		select {
		case <-wake:
		case <-time.After(poll):
		case <-ctx.Done():
		}
	}
}

func (l *Log) grow(ctx context.Context, head int64, events []Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil || head == l.head {
		return // ended, and perhaps already replaced by a newer reader; or nothing new
	}
	l.head = head
	l.tail = append(l.tail, events...)
	if n := len(l.tail); n > 2*kept {
		l.tail = append([]Event(nil), l.tail[n-kept:]...)
	}
	close(l.grown)
	l.grown = make(chan struct{})
}

// now returns the number of the last event that has been committed.
func now(ctx context.Context, d *db.DB) (seq int64, err error) {
	if err := Number(ctx, d); err != nil {
		return 0, err
	}
	err = d.Read(ctx, func(tx *db.Tx) (err error) { seq, err = Head(tx); return err })
	return seq, err
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// nudge tells the readers of this process that a transaction with an event has committed. It is the
// package's only variable: it holds no data, a reader of another database merely looks once for
// nothing, and with it Append needs no handle that every transaction would have to carry.
var nudge = &nudges{waiting: map[chan struct{}]bool{}}

type nudges struct {
	mu      sync.Mutex
	waiting map[chan struct{}]bool
}

func (n *nudges) join() chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := make(chan struct{}, 1)
	n.waiting[c] = true
	return c
}

func (n *nudges) part(c chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.waiting, c)
}

func (n *nudges) all() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.waiting {
		select {
		case c <- struct{}{}:
		default: // already told
		}
	}
}
