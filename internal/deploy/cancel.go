package deploy

import (
	"context"
	"sync"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/db"
)

// A cancel of a running deployment is a wish in its row. Whichever replica runs the effect of its step hears of
// it and tells the effect, which gives up what it can and says so, or says that it has finished (rule of
// change 11).

// codeCancelled is the code of the outcome of a step that somebody stopped.
const codeCancelled = "deployment.cancelled"

// ongoing are the effects that run in this process, by their deployment. The zero value has none.
type ongoing struct {
	mu   sync.Mutex
	stop map[string]context.CancelFunc
}

// begin returns what is closed when somebody cancels the deployment, until done.
func (o *ongoing) begin(id string) (cancelled <-chan struct{}, done func()) {
	wish, stop := context.WithCancel(context.Background())
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stop == nil {
		o.stop = map[string]context.CancelFunc{}
	}
	o.stop[id] = stop
	return wish.Done(), func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.stop, id)
		stop()
	}
}

// cancel tells the effects of these deployments, where they run here.
func (o *ongoing) cancel(ids ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range ids {
		if stop, here := o.stop[id]; here {
			stop()
		}
	}
}

func (o *ongoing) none() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.stop) == 0
}

// obey stops the effects of this process whose deployment was cancelled through another replica.
func (s *Service) obey(ctx context.Context) error {
	if s.ongoing.none() {
		return nil
	}
	var ids []string
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) { ids, err = unwanted(tx); return err })
	s.ongoing.cancel(ids...)
	return err
}

// onCancel does something when cancelled is closed, until stop.
func onCancel(cancelled <-chan struct{}, do func()) (stop func()) {
	over := make(chan struct{})
	go func() {
		select {
		case <-cancelled:
			do()
		case <-over:
		}
	}()
	return func() { close(over) }
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Cancel asks a deployment to stop, and returns it as it is when it has. One that waits ends at once. One that
// runs gives up what it is doing: what ran before goes on, and what it has finished by then stays.
func (s *Service) Cancel(ctx context.Context, id string) (Deployment, error) {
	d, opens, err := s.ask(ctx, id)
	if err != nil {
		return d, err
	}
	if opens {
		if err := s.Changes.OpenRevert(account.System(context.WithoutCancel(ctx), "deploy"), d.Change); err != nil {
			s.Log.WarnContext(ctx, "a revert could not be opened", "change", d.Change, "error", err)
		}
	}
	if d.State != Running {
		return d, nil
	}
	return s.stopped(ctx, d), nil
}

// ask is Cancel without waiting for what comes of it. opens reports whether the revert of its change is to be
// opened.
func (s *Service) ask(ctx context.Context, id string) (d Deployment, opens bool, err error) {
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if d, _, err = s.visible(ctx, tx, id, account.Deploy); err != nil {
			return err
		}
		var instance app.Instance
		if d, instance, err = take(tx, d); err != nil {
			return err
		}
		w := with{code: codeCancelled, who: account.From(ctx).Name}
		w.reason = "cancelled by " + w.who + " before it started"
		if d.State == Held {
			w.reason = "cancelled by " + w.who + " while its plan was held"
			if w.touched, err = touches(tx, d); err != nil { // by a run before, which its plan was to end
				return err
			}
		}
		if opens, err = s.accept(tx, &d, &instance, cancel, w); err != nil {
			return err
		}
		return account.Audit(tx, account.Entry{Action: "deployment.cancel", Subject: d.ID, Decision: "allowed", Reason: d.Reason})
	})
	return d, opens, err
}

// stopped waits a moment for what comes of a cancel, and returns the deployment as it is then.
func (s *Service) stopped(ctx context.Context, d Deployment) Deployment {
	patience := time.After(5 * time.Second)
	for {
		select {
		case <-ctx.Done():
			return d
		case <-patience:
			return d
		case <-time.After(25 * time.Millisecond):
		}
		now, err := s.Get(ctx, d.ID)
		if err != nil {
			return d
		}
		if d = now; d.State != Running {
			return d
		}
	}
}
