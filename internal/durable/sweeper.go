package durable

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Sweeper does work at once and then again and again: it starts what was committed and not started,
// because the process died between the two. The zero value is a sweeper that was never started.
type Sweeper struct {
	stop    context.CancelFunc
	stopped sync.WaitGroup
}

// Start begins to sweep. What sweep returns is logged, and the next round comes all the same.
func (s *Sweeper) Start(ctx context.Context, every time.Duration, log *slog.Logger, what string, sweep func(context.Context) error) {
	ctx, s.stop = context.WithCancel(ctx)
	s.stopped.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			if err := sweep(ctx); err != nil && ctx.Err() == nil {
				log.Warn(what+" could not be swept", "error", err)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
}

// Stop ends the sweeper and waits for its round.
func (s *Sweeper) Stop() {
	if s.stop != nil {
		s.stop()
		s.stopped.Wait()
	}
}
