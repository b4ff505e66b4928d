package git

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"time"
)

const heldLimit = 4 << 20 // bytes that git may say before the request has been read to its end

// bridge runs `git http-backend` for one request, after RFC 3875 (CGI). net/http/cgi is not used: it
// answers 400 to a body without Content-Length, which is what git sends for anything large.
//
// HTTP/1 answers after it has read the request. So what git says is held until the whole body was fed
// to it, and streamed from then on.
type bridge struct {
	host    *Host
	w       http.ResponseWriter
	r       *http.Request
	request request
	meter   *meter    // below stdin: knows why reading ended
	stdin   io.Reader // what git reads
	env     []string  // for the hooks

	gate gate
}

// run returns when git has ended and its answer was written. If it returns an error then nothing was
// written, unless started says so.
func (b *bridge) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	cmd := b.host.command(ctx, b.environment(), "http-backend")
	stderr := &limited{max: 8 << 10}
	cmd.Stderr = stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	b.gate.answer = &answerWriter{w: b.w, control: http.NewResponseController(b.w)}
	if b.request.service == "git-upload-pack" {
		b.gate.broken = cancel // nobody reads on: nothing more to fetch
	}
	read := make(chan error, 1)
	go func() {
		_, err := io.Copy(&b.gate, stdout)
		if err != nil {
			cancel()
		}
		read <- err
	}()

	fedErr := b.feed(stdin)
	if fedErr != nil {
		cancel()
	} else {
		b.gate.release()
	}
	readErr := <-read
	waitErr := cmd.Wait()
	if text := strings.TrimSpace(stderr.String()); text != "" || waitErr != nil {
		b.host.log().WarnContext(ctx, "git: http-backend", "repository", b.request.repo.String(), "stderr", text, "exit", waitErr)
	}
	if fedErr == nil && readErr == nil && !b.gate.started() {
		return errors.New("git http-backend ended without an answer")
	}
	return errors.Join(fedErr, readErr)
}

// feed gives the body to git. Git may end before it has read everything, with an answer: the rest is
// read and dropped, so that the client gets to read that answer.
func (b *bridge) feed(stdin io.WriteCloser) error {
	io.Copy(stdin, b.stdin)
	stdin.Close()
	if b.meter.err == nil && b.meter.in != http.NoBody {
		b.meter.drain(b.meter.left)
	}
	if b.meter.err == io.EOF {
		return nil
	}
	return b.meter.err
}

// fail answers a request that git could not serve, as far as an answer is still possible.
func (b *bridge) fail(err error) {
	if b.gate.started() {
		return // git's own framing tells the client that the answer is cut short
	}
	if b.meter.err != nil && b.meter.err != io.EOF {
		err = unreadable(b.meter.err)
	}
	if b.r.Context().Err() == nil {
		b.host.refuse(b.w, b.r, err)
	}
}

func (b *bridge) environment() []string {
	q, r := b.request, b.r
	env := b.host.environment(
		"GIT_PROJECT_ROOT="+b.host.Root, "GIT_HTTP_EXPORT_ALL=1",
		"REQUEST_METHOD="+r.Method, "SERVER_PROTOCOL=HTTP/1.1", "GATEWAY_INTERFACE=CGI/1.1",
		"REMOTE_ADDR=flywheel", "REMOTE_USER="+b.person(),
	)
	if q.refs {
		env = append(env, "PATH_INFO=/"+q.repo.String()+".git/info/refs", "QUERY_STRING=service="+q.service)
	} else {
		// Content-Length stays unset: git then reads to the end.
		env = append(env, "PATH_INFO=/"+q.repo.String()+".git/"+q.service, "CONTENT_TYPE="+r.Header.Get("Content-Type"))
	}
	if p := r.Header.Get("Git-Protocol"); protocolPattern.MatchString(p) {
		env = append(env, "GIT_PROTOCOL="+p)
	}
	return append(env, b.env...)
}

// person is who stands in the log of a ref.
func (b *bridge) person() string {
	if b.host.Person != nil {
		if p := b.host.Person(b.r.Context()); p != "" && !strings.Contains(p, "\x00") {
			return p
		}
	}
	return "somebody"
}

// gate holds what is written to it until release, and then passes it on. After the client went away
// it swallows everything, so that git is not held up.
type gate struct {
	answer *answerWriter
	broken func() // called once when the client does not read; may be nil

	mutex    sync.Mutex
	held     bytes.Buffer
	released bool
	dead     bool
}

func (g *gate) Write(p []byte) (int, error) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if g.released {
		g.pass(p)
		return len(p), nil
	}
	if g.held.Len()+len(p) > heldLimit {
		return 0, errors.New("git says too much before it has read the request")
	}
	return g.held.Write(p)
}

func (g *gate) release() {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.released = true
	g.pass(g.held.Bytes())
	g.held = bytes.Buffer{}
}

func (g *gate) started() bool {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	return g.answer != nil && g.answer.begun
}

func (g *gate) pass(p []byte) {
	if g.dead || len(p) == 0 {
		return
	}
	if _, err := g.answer.Write(p); err != nil {
		g.dead = true
		if g.broken != nil {
			g.broken()
		}
	}
}

// answerWriter turns the answer of a CGI program into that of the HTTP server.
type answerWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	head    bytes.Buffer
	begun   bool
}

func (a *answerWriter) Write(p []byte) (int, error) {
	a.control.SetWriteDeadline(time.Now().Add(idleTimeout))
	if !a.begun {
		rest, err := a.header(p)
		if err != nil || !a.begun {
			return len(p), err
		}
		p = rest
	}
	n, err := a.w.Write(p)
	if err == nil {
		if err = a.control.Flush(); errors.Is(err, http.ErrNotSupported) {
			err = nil
		}
	}
	return n, err
}

// header takes bytes until the head is whole, then writes it and returns what belongs to the body.
func (a *answerWriter) header(p []byte) ([]byte, error) {
	a.head.Write(p)
	head, rest, whole := bytes.Cut(a.head.Bytes(), []byte("\r\n\r\n"))
	if !whole {
		if a.head.Len() > 64<<10 {
			return nil, errors.New("git http-backend: no end of the head")
		}
		return nil, nil
	}
	fields, err := textproto.NewReader(bufio.NewReader(io.MultiReader(bytes.NewReader(head), strings.NewReader("\r\n\r\n")))).ReadMIMEHeader()
	if err != nil {
		return nil, err
	}
	status := http.StatusOK
	for name, values := range fields {
		if name == "Status" {
			code, _, _ := strings.Cut(values[0], " ")
			if status, err = strconv.Atoi(code); err != nil || status < 200 || status > 599 {
				return nil, errors.New("git http-backend: a status that is none")
			}
			continue
		}
		a.w.Header()[name] = values
	}
	a.begun = true
	a.w.WriteHeader(status)
	return rest, nil
}
