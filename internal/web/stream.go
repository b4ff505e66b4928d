package web

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
)

// heartbeat is how often a silent stream shows that it lives; it is also how soon a stream ends after
// its person has lost the right to it.
const heartbeat = 10 * time.Second

// Stream sends Server-Sent Events to one reader.
type Stream struct {
	mu      sync.Mutex
	ctx     context.Context
	w       http.ResponseWriter
	control *http.ResponseController
}

// Live returns the answer of a streaming operation: run sends until it returns or ctx ends, which it
// does when the reader goes, the server stops, or the credentials of the request no longer count.
func Live(run func(ctx context.Context, s *Stream)) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		_, w := humachi.Unwrap(hctx)
		x := exchangeOf(hctx.Context())
		ctx, cancel := context.WithCancel(hctx.Context())
		defer cancel()
		s := &Stream{ctx: ctx, w: w, control: http.NewResponseController(w)}
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Accel-Buffering", "no") // proxies must not hold events back
		if hctx.Method() == http.MethodHead {
			return // what a stream is like, without following it
		}
		if s.write("retry: 1000\n\n") != nil {
			return
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer cancel()
			s.keepAlive(ctx, x)
		}()
		run(ctx, s)
		cancel()
		<-done // w must not be used after the handler has returned
		s.control.SetWriteDeadline(time.Time{})
	}}
}

func (s *Stream) keepAlive(ctx context.Context, x *exchange) {
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-x.draining:
			return
		case <-ticker.C:
		}
		if x.renew != nil {
			fresh, err := x.renew()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.ctx = fresh
			s.mu.Unlock()
		}
		if s.write(": alive\n\n") != nil {
			return
		}
	}
}

// Context returns the request's context with the actor as it is now, not as it was when the stream
// began.
func (s *Stream) Context() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ctx
}

// Send sends one event. The id is what the reader sends back as Last-Event-ID; id and name may be
// empty.
func (s *Stream) Send(id, name string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	var b strings.Builder
	if id != "" {
		b.WriteString("id: " + id + "\n")
	}
	if name != "" {
		b.WriteString("event: " + name + "\n")
	}
	b.WriteString("data: ")
	b.Write(text)
	b.WriteString("\n\n")
	return s.write(b.String())
}

// Position tells the reader from where to continue, without an event.
func (s *Stream) Position(id string) error { return s.write("id: " + id + "\n\n") }

func (s *Stream) write(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A reader that takes nothing for this long has gone without saying so.
	s.control.SetWriteDeadline(time.Now().Add(2 * heartbeat))
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.control.Flush()
}
