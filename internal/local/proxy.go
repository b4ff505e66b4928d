package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// proxy spreads the requests to one service over its processes (front.go carries them). It never retries: a request
// reaches at most one process, at most once. Each request has its own connection to the process, because a kept
// one that the process closes at the same moment would fail a POST.
type proxy struct {
	mu       sync.Mutex
	backends []*backend
	turn     int
}

// backend is the way to one process.
type backend struct {
	dial  dialer
	log   *slog.Logger
	ready bool          // answers its health check
	busy  int           // requests in flight
	idle  chan struct{} // not nil once retired; closed when busy is 0
}

type dialer func(context.Context) (net.Conn, error)

// newBackend returns a backend that reaches its server by dial.
func newBackend(dial dialer, log *slog.Logger) *backend { return &backend{dial: dial, log: log} }

// take picks the ready backend with the fewest requests in flight, in turn among equals.
func (p *proxy) take() *backend {
	p.mu.Lock()
	defer p.mu.Unlock()
	var best *backend
	for i := range p.backends {
		b := p.backends[(p.turn+i)%len(p.backends)]
		if b.ready && (best == nil || b.busy < best.busy) {
			best = b
		}
	}
	if best != nil {
		p.turn++
		best.busy++
	}
	return best
}

func (p *proxy) give(b *backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.busy--
	if b.idle != nil && b.busy == 0 {
		close(b.idle)
	}
}

// setReady opens or closes the way to b. A change of readiness never interrupts a request.
func (p *proxy) setReady(b *backend, ready bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.ready = ready
}

// replace makes backends the only ones, in one step: a request sees either the old ones or the new.
// It returns, for each backend that left, a channel that is closed when its last request has ended.
func (p *proxy) replace(backends []*backend) []<-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	stays := map[*backend]bool{}
	for _, b := range backends {
		stays[b] = true
	}
	var left []<-chan struct{}
	for _, b := range p.backends {
		if stays[b] {
			continue
		}
		b.idle = make(chan struct{})
		if b.busy == 0 {
			close(b.idle)
		}
		left = append(left, b.idle)
	}
	p.backends = backends
	return left
}

// A socket's address has room for 107 bytes; a folder's file descriptor stands in for a longer path.
const maxSocketPath = 107

// shortPath calls use with a path to name that fits a socket's address.
func shortPath(name string, use func(name string) error) error {
	if len(name) <= maxSocketPath {
		return use(name)
	}
	folder, err := unix.Open(filepath.Dir(name), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: filepath.Dir(name), Err: err}
	}
	defer unix.Close(folder)
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", folder, filepath.Base(name)))
}

func dialUnix(ctx context.Context, name string) (conn net.Conn, err error) {
	err = shortPath(name, func(name string) error {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", name)
		return err
	})
	return conn, err
}

// listenUnix makes the socket name, in place of one that a dead process left behind. Only this user may
// connect.
func listenUnix(name string) (listener net.Listener, err error) {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	err = shortPath(name, func(short string) error {
		listener, err = net.Listen("unix", short)
		return err
	})
	if err != nil {
		return nil, err
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Chmod(name, 0o600); err != nil {
		listener.Close()
		return nil, err
	}
	return listener, nil
}

// answers reports whether a GET of path is answered with 200, and if not, why.
func answers(ctx context.Context, dial dialer, path string) error {
	client := &http.Client{
		Transport: &http.Transport{
			DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://service"+path, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("GET %s was not answered", path)
	}
	defer response.Body.Close()
	io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s answered %d", path, response.StatusCode)
	}
	return nil
}
