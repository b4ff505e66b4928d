package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	headTimeout = 30 * time.Second
	// Long, because a client that sends at the moment its idle connection is closed sees a failure.
	idleTimeout = time.Hour
	dialTimeout = 30 * time.Second
	lateBody    = 5 * time.Second  // for the rest of a body whose answer is there already
	lateEnd     = 10 * time.Second // for the client's end of a tunnel whose other end has ended
)

// front is one listener, through which clients reach the processes of a service.
type front struct {
	listener net.Listener
	proxy    func() *proxy  // asked for each request; nil while there is no service
	trusted  []netip.Prefix // proxies that are believed who their clients are
	log      *slog.Logger

	mu       sync.Mutex
	visitors map[*visitor]bool
	closing  bool
	all      sync.WaitGroup
}

// visitor is the connection of one client.
type visitor struct {
	conn  net.Conn
	in    *bufio.Reader
	out   *bufio.Writer
	to    net.Conn  // the process, while it carries a request
	busy  bool      // carries a request
	since time.Time // when it began to wait for one; zero before the first
}

func serveFront(listener net.Listener, to func() *proxy, trusted []netip.Prefix, log *slog.Logger) *front {
	f := &front{listener: listener, proxy: to, trusted: trusted, log: log, visitors: map[*visitor]bool{}}
	f.all.Go(func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				time.Sleep(10 * time.Millisecond) // out of file descriptors: the next one may go
				continue
			}
			v := &visitor{conn: conn, in: bufio.NewReader(conn), out: bufio.NewWriterSize(conn, 16<<10)}
			f.mu.Lock()
			f.visitors[v] = true
			f.mu.Unlock()
			f.all.Go(func() { f.serve(v) })
		}
	})
	return f
}

// serve carries the requests of one connection, one after the other.
func (f *front) serve(v *visitor) {
	defer func() {
		v.conn.Close()
		f.mu.Lock()
		delete(f.visitors, v)
		f.mu.Unlock()
	}()
	patience := headTimeout
	for {
		v.conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := v.in.Peek(1); err != nil {
			return
		}
		f.turn(v, true)
		v.conn.SetReadDeadline(time.Now().Add(headTimeout))
		r, err := readRequest(v.in)
		var wrong malformed
		switch {
		case errors.As(err, &wrong):
			v.refuse(r.method, wrong.status, "The request cannot be passed on: "+wrong.why+".")
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			v.refuse("", http.StatusRequestTimeout, "The request took too long.")
			return
		case err != nil:
			return
		}
		v.conn.SetReadDeadline(time.Time{})
		if !f.exchange(v, r) || !f.turn(v, false) {
			return
		}
		patience = idleTimeout
	}
}

// turn notes that the connection begins to carry a request, or waits for the next; it reports whether it may.
func (f *front) turn(v *visitor, busy bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	v.busy = busy
	if !busy {
		v.since = time.Now()
	}
	return busy || !f.closing
}

// exchange carries one request to a process and its answer back. It reports whether the connection may carry another.
func (f *front) exchange(v *visitor, r request) bool {
	p := f.proxy()
	if p == nil {
		v.refuse(r.method, http.StatusServiceUnavailable, "The service does not exist.")
		return false
	}
	b := p.take()
	if b == nil {
		v.refuse(r.method, http.StatusServiceUnavailable, "The service has no running process.", "Retry-After: 1\r\n")
		return false
	}
	defer p.give(b)
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	conn, err := b.dial(ctx)
	cancel()
	if err != nil {
		f.unanswered(v, b, r, err)
		return false
	}
	defer conn.Close()
	f.mu.Lock()
	v.to = conn
	f.mu.Unlock()

	// One side carries the request and then watches whether the client goes away; the other carries the answer.
	up := &upload{v: v, conn: conn, sent: make(chan struct{}), done: make(chan struct{})}
	go up.run(r, f.from(v))
	defer up.stop()
	back := relay{from: bufio.NewReaderSize(conn, 16<<10), to: v.out}
	begun, invited := false, !r.has("expect", "100-continue")
	for {
		a, err := readAnswer(back.from, r.method)
		if err == nil && a.status == http.StatusSwitchingProtocols && len(r.values("upgrade")) == 0 {
			err = bad("it changed the protocol without being asked")
		}
		if err != nil {
			if up.stop(); !begun && !up.left() {
				f.unanswered(v, b, r, err)
			}
			return false
		}
		v.out.Write(a.bytes()) // an error stays until Flush
		begun, invited = true, invited || a.status == http.StatusContinue
		tunnel := a.status == http.StatusSwitchingProtocols || r.method == http.MethodConnect && a.status/100 == 2
		switch {
		case tunnel:
			v.tunnel(up, back, conn)
			return false
		case a.status < 200:
			if v.out.Flush() != nil {
				return false
			}
			continue
		}
		if err := back.message(a.body); err != nil {
			v.abort() // or a client could take what it has for the whole
			return false
		}
		whole := up.finish(invited)
		if a.body.open || !r.keeps(r.version) || !a.keeps(a.version) || !whole {
			v.hangUp(whole)
			return false
		}
		return true
	}
}

// from says who is in front of the connection.
func (f *front) from(v *visitor) forwarding {
	tcp, ok := v.conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return forwarding{}
	}
	peer := tcp.AddrPort().Addr().Unmap().WithZone("") // no range has a zone
	return forwarding{peer, slices.ContainsFunc(f.trusted, func(p netip.Prefix) bool { return p.Contains(peer) })}
}

// unanswered tells a client, before it got anything, that the process did not answer.
func (f *front) unanswered(v *visitor, b *backend, r request, err error) {
	b.log.Warn("a request reached no answer", "target", r.target, "error", err)
	v.refuse(r.method, http.StatusBadGateway, "The service did not answer.")
}

// refuse answers in place of a process, and ends the connection.
func (v *visitor) refuse(method string, status int, why string, headers ...string) {
	v.conn.SetReadDeadline(time.Time{})
	fmt.Fprintf(v.out, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n", status, http.StatusText(status), len(why)+1)
	for _, h := range headers {
		v.out.WriteString(h)
	}
	v.out.WriteString("\r\n")
	if method != http.MethodHead {
		v.out.WriteString(why + "\n")
	}
	if v.out.Flush() == nil {
		v.hangUp(false)
	}
}

// hangUp ends the connection so that the client reads what it was sent last: one that closes with bytes unread
// takes back what is under way.
func (v *visitor) hangUp(read bool) {
	if end, ok := v.conn.(interface{ CloseWrite() error }); ok && !read {
		end.CloseWrite()
		v.conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		io.Copy(io.Discard, io.LimitReader(v.in, 1<<20))
	}
	v.conn.Close()
}

// abort ends the connection so that the client sees that something is missing.
func (v *visitor) abort() {
	v.out.Flush()
	if tcp, ok := v.conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	v.conn.Close()
}

// tunnel carries what is no longer HTTP, until one side has ended.
func (v *visitor) tunnel(up *upload, back relay, conn net.Conn) {
	up.finish(true)
	v.conn.SetReadDeadline(time.Time{})
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		to := relay{from: v.in, to: bufio.NewWriter(conn)}
		if to.rest() != nil || to.to.Flush() != nil {
			conn.Close()
			return
		}
		halfClose(conn)
	}()
	if back.rest() != nil || back.to.Flush() != nil {
		v.conn.Close()
	}
	halfClose(v.conn)
	select {
	case <-sent:
	case <-time.After(lateEnd):
	}
	v.conn.Close()
	conn.Close()
	<-sent
}

func halfClose(conn net.Conn) {
	if end, ok := conn.(interface{ CloseWrite() error }); ok {
		end.CloseWrite()
	}
}

// upload carries a request to a process. Then it watches the client, whose end is passed on as what it is: one that
// only has nothing more to say still reads.
type upload struct {
	v    *visitor
	conn net.Conn
	sent chan struct{} // closed when no more of the request is carried
	done chan struct{}

	mu      sync.Mutex
	stopped bool
	whole   bool // the request was carried to its end
	gone    bool // the client went away
}

func (u *upload) run(r request, from forwarding) {
	defer close(u.done)
	to := relay{u.v.in, bufio.NewWriterSize(u.conn, 16<<10), true}
	_, err := to.to.Write(r.passedOn(from))
	if err == nil {
		err = to.message(r.body)
	}
	u.mu.Lock()
	u.whole = err == nil
	u.mu.Unlock()
	close(u.sent)
	if err == nil {
		_, err = u.v.in.Peek(1) // the next request waits for the end of this one
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	var op *net.OpError
	switch {
	case err == nil || u.stopped:
	case errors.Is(err, io.EOF):
		halfClose(u.conn)
	case errors.As(err, &op) && op.Op == "write": // the process reads no more, and may have answered why
	default:
		u.gone = true
		u.conn.Close()
	}
}

// stop ends the watch. Nobody else reads from the client before it has returned.
func (u *upload) stop() {
	u.mu.Lock()
	u.stopped = true
	u.mu.Unlock()
	u.v.conn.SetReadDeadline(time.Unix(1, 0))
	select {
	case <-u.sent:
	default:
		u.conn.Close() // what does not read the request must not hold it up
	}
	<-u.done
}

// finish lets the rest of a request go through whose answer is complete, and reports whether it went. A client that
// waited to be invited and was not sends none.
func (u *upload) finish(invited bool) bool {
	if invited {
		select {
		case <-u.sent:
		case <-time.After(lateBody):
		}
	}
	u.stop()
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.whole
}

// left reports whether the client went away.
func (u *upload) left() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.gone
}

// stop refuses new connections, lets requests finish within the patience and ends what is left.
func (f *front) stop(patience time.Duration) {
	f.listener.Close()
	began := time.Now()
	f.mu.Lock()
	f.closing = true
	f.mu.Unlock()
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		f.mu.Lock()
		over := time.Since(began) >= patience
		for v := range f.visitors {
			// One that has just come may have sent a request that nobody has read yet.
			if idle := !v.busy && (!v.since.IsZero() || time.Since(began) > time.Second); idle || over {
				v.conn.Close()
				if v.to != nil {
					v.to.Close()
				}
			}
		}
		left := len(f.visitors)
		f.mu.Unlock()
		if left == 0 || over {
			break
		}
		time.Sleep(pause)
	}
	f.all.Wait()
}
