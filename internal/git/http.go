package git

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/web"
)

const (
	serviceTimeout = time.Hour       // for one fetch or push
	idleTimeout    = 2 * time.Minute // without a byte from or to the client
	fetchLimit     = 32 << 20        // bytes of what a fetch asks for
)

var (
	pathPattern     = regexp.MustCompile(`^/git/(apps|patterns)/([^/]+)\.git/(info/refs|git-upload-pack|git-receive-pack)$`)
	protocolPattern = regexp.MustCompile(`^[a-z0-9=:.-]{1,100}$`)
)

// request is one call of a git client, as far as git is concerned.
type request struct {
	repo    Repo
	service string // git-upload-pack or git-receive-pack
	refs    bool   // whether only the list of refs is asked for
}

// ServeHTTP serves /git/{apps|patterns}/{name}.git to git clients.
func (h *Host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q, err := parseRequest(r)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	ctx, err := h.admit(r, q)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	h.unbind(w)
	r = r.WithContext(ctx)
	switch {
	case q.refs:
		h.serveRefs(w, r, q)
	case q.service == "git-upload-pack":
		h.serveFetch(w, r, q)
	default:
		h.servePush(w, r, q)
	}
}

func parseRequest(r *http.Request) (request, error) {
	m := pathPattern.FindStringSubmatch(r.URL.Path)
	if m == nil {
		return request{}, fault.Missing("page", r.URL.Path).
			Do("Repositories are at /git/apps/<name>.git and /git/patterns/<name>.git; a current git client is needed.")
	}
	q := request{repo: Repo{Kind(m[1]), m[2]}, service: m[3], refs: m[3] == "info/refs"}
	if q.refs {
		q.service = r.URL.Query().Get("service")
	}
	method, typ := http.MethodPost, "application/x-"+q.service+"-request"
	if q.refs {
		method, typ = http.MethodGet, ""
	}
	known := q.service == "git-upload-pack" || q.service == "git-receive-pack"
	if !known || r.Method != method || typ != "" && r.Header.Get("Content-Type") != typ {
		return request{}, fault.New(fault.Invalid, "git.request_invalid", "This is not a request of the smart HTTP protocol.").
			Do("Use a current git client.")
	}
	return q, nil
}

// admit returns the context of the person, or why they may not do this.
func (h *Host) admit(r *http.Request, q request) (context.Context, error) {
	user, token, given := r.BasicAuth()
	if !given {
		return nil, fault.New(fault.Unauthenticated, "git.sign_in", "Sign in with a token as the password; any user name will do.").
			Do("Make a token with: flywheel token create.")
	}
	ctx, err := h.Authenticate(r.Context(), user, token)
	if err != nil {
		return nil, err
	}
	if err := h.Authorize(ctx, q.repo, q.service == "git-receive-pack"); err != nil {
		return nil, err
	}
	return ctx, h.there(q.repo)
}

// refuse answers with a text that git prints as `remote: …` when it is the first answer it gets.
func (h *Host) refuse(w http.ResponseWriter, r *http.Request, err error) {
	f := web.Known(err)
	status := map[fault.Kind]int{
		fault.Invalid: 400, fault.Unauthenticated: 401, fault.Forbidden: 403, fault.NotFound: 404,
		fault.Conflict: 409, fault.Stale: 412, fault.TooLarge: 413, fault.Unavailable: 503,
	}[f.Kind]
	if status == 0 {
		status = http.StatusInternalServerError
	}
	if f.Wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(web.Seconds(f.Wait)))
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="Flywheel", charset="UTF-8"`)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(status)
	for _, line := range h.explain(r.Context(), Repo{}, err) {
		fmt.Fprintln(w, line)
	}
}

// unbind lifts the server's deadlines for whole requests: a large push takes as long as it takes, as
// long as bytes come.
func (h *Host) unbind(w http.ResponseWriter) {
	c := http.NewResponseController(w)
	c.SetReadDeadline(time.Time{})
	c.SetWriteDeadline(time.Time{})
}

// errTooLarge is what a meter answers when its limit is reached.
var errTooLarge = errors.New("the request is too large")

// meter reads a request's body, unpacked, up to a limit and gives up on a client that falls silent.
// It remembers the error that ended it, to be told from one of the writing side.
type meter struct {
	in   io.Reader
	idle *http.ResponseController
	left int64
	err  error
}

func (h *Host) meter(w http.ResponseWriter, r *http.Request, limit int64) (*meter, error) {
	m := &meter{in: r.Body, idle: http.NewResponseController(w), left: limit}
	if r.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, unreadable(err)
		}
		m.in = unpacked
	}
	return m, nil
}

func (m *meter) Read(p []byte) (int, error) {
	if m.left <= 0 {
		m.err = errTooLarge
		return 0, m.err
	}
	m.idle.SetReadDeadline(time.Now().Add(idleTimeout))
	n, err := m.in.Read(p[:min(int64(len(p)), m.left)])
	m.left -= int64(n)
	if err != nil {
		m.err = err
	}
	return n, err
}

// drain reads what the client still sends, up to more bytes: it reads no answer before it has sent
// everything.
func (m *meter) drain(more int64) {
	m.left, m.err = more, nil
	io.Copy(io.Discard, m)
}

func unreadable(err error) error {
	return fault.New(fault.Invalid, "git.request_malformed", "The request cannot be read: %v.", err).Do("Use a current git client.")
}

func (h *Host) serveFetch(w http.ResponseWriter, r *http.Request, q request) {
	m, err := h.meter(w, r, fetchLimit)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	b := &bridge{host: h, w: w, r: r, request: q, meter: m, stdin: m}
	if err := b.run(r.Context()); err != nil {
		b.fail(err)
	}
}

func (h *Host) serveRefs(w http.ResponseWriter, r *http.Request, q request) {
	b := &bridge{host: h, w: w, r: r, request: q, meter: &meter{in: http.NoBody}, stdin: http.NoBody}
	if err := b.run(r.Context()); err != nil {
		b.fail(err)
	}
}

func (h *Host) servePush(w http.ResponseWriter, r *http.Request, q request) {
	// A byte more than the limit, so that a push of exactly the limit ends as it should.
	m, err := h.meter(w, r, h.PushLimit+1)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	in := bufio.NewReader(m)
	list, err := readCommands(in)
	if err != nil {
		h.refuse(w, r, unreadable(err))
		return
	}
	s := h.newSession(r.Context(), q.repo, list)
	switch err := verifyHooks(h.hooks); {
	case s.all():
		m.drain(h.PushLimit)
		h.respond(w, list.report("", "ok", s.refused))
		return
	case err != nil:
		m.drain(h.PushLimit)
		h.respond(w, list.report(err.Error(), "refused", s.same("the server cannot take pushes now")))
		return
	case !h.room():
		m.drain(h.PushLimit)
		h.respond(w, list.report(strings.Join(h.explain(r.Context(), q.repo, syscall.ENOSPC), "\n"), "refused", s.same("the server's disk is full")))
		return
	}
	key, remove := h.pushes.add(s)
	defer remove()
	b := &bridge{
		host: h, w: w, r: r, request: q, meter: m, stdin: io.MultiReader(bytes.NewReader(list.raw), in),
		env: []string{envSelf + "=" + h.Self, envSocket + "=" + h.socket, envPush + "=" + key},
	}
	// A push that came whole is finished, whether its sender still waits or not.
	switch err := b.run(context.WithoutCancel(r.Context())); {
	case errors.Is(err, errTooLarge):
		m.drain(h.PushLimit)
		sentence := "the push is larger than " + size(h.PushLimit)
		remedy := "Push an older commit of the branch first, then the rest; or ask an operator to raise the limit for pushes.\n(git.push_too_large)"
		h.respond(w, list.report(remedy, sentence, s.same(sentence)))
	case err != nil:
		b.fail(err)
	}
}

// room reports whether the disk under the repositories has any. Without it git would say in its own words
// which of its files it cannot write.
func (h *Host) room() bool {
	var disk syscall.Statfs_t
	err := syscall.Statfs(h.Root, &disk)
	return err != nil || disk.Bavail*uint64(disk.Bsize) >= 1<<20
}

func size(n int64) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%d MB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}

func (h *Host) respond(w http.ResponseWriter, result []byte) {
	w.Header().Set("Content-Type", "application/x-git-receive-pack-result")
	w.Header().Set("Cache-Control", "no-cache")
	w.Write(result)
}
