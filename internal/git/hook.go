package git

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/plain"
)

// The environment that the server gives to git, and git to the hooks.
const (
	envSelf   = "FLYWHEEL_SELF"
	envSocket = "FLYWHEEL_HOOK_SOCKET"
	envPush   = "FLYWHEEL_HOOK_PUSH"
)

const hookMessageLimit = 4 << 20 // bytes of what a hook and the server say to each other

// question is what a hook asks the server.
type question struct {
	Push    string
	Hook    string
	Ref     string      `json:",omitempty"` // update
	New     string      `json:",omitempty"`
	Updates []RefUpdate `json:",omitempty"` // post-receive
}

type answer struct {
	Allowed bool
	Lines   []string
}

// RunHook is what `flywheel hook <update|post-receive>` does: it asks the server that started git, says
// what the server says, and returns the exit code. Without an answer the update hook refuses.
func RunHook(args []string) int {
	q, err := hookQuestion(args, os.Stdin)
	var a answer
	if err == nil {
		a, err = ask(q)
	}
	if err != nil {
		if q.Hook == "post-receive" {
			fmt.Fprintln(os.Stderr, "The branch is pushed, but Flywheel does not answer. It looks at the branch when it is back.")
		} else {
			fmt.Fprintln(os.Stderr, "Flywheel does not answer, so the push is refused. Try again.")
		}
		fmt.Fprintln(os.Stderr, "("+err.Error()+")")
		return 1
	}
	for _, line := range a.Lines {
		fmt.Fprintln(os.Stderr, line)
	}
	if !a.Allowed {
		return 1
	}
	return 0
}

func hookQuestion(args []string, stdin io.Reader) (question, error) {
	q := question{Push: os.Getenv(envPush)}
	switch {
	case len(args) == 4 && args[0] == "update":
		q.Hook, q.Ref, q.New = args[0], args[1], args[3]
	case len(args) == 1 && args[0] == "post-receive":
		q.Hook = args[0]
		lines := bufio.NewScanner(stdin)
		for lines.Scan() {
			f := strings.SplitN(lines.Text(), " ", 3)
			if len(f) != 3 {
				return q, errors.New("git gave a line that is not a ref update")
			}
			q.Updates = append(q.Updates, RefUpdate{Ref: f[2], Old: present(f[0]), New: present(f[1])})
		}
		return q, lines.Err()
	default:
		return q, errors.New("usage: flywheel hook update <ref> <old> <new>, or flywheel hook post-receive; git runs it")
	}
	return q, nil
}

// present turns git's id of nothing into "".
func present(oid string) string {
	if strings.Trim(oid, "0") == "" {
		return ""
	}
	return oid
}

func ask(q question) (a answer, err error) {
	socket := os.Getenv(envSocket)
	if socket == "" || q.Push == "" {
		return a, errors.New("this hook runs only for a push through the server")
	}
	conn, err := net.DialTimeout("unix", socket, 10*time.Second)
	if err != nil {
		return a, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * hookTimeout))
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		return a, err
	}
	err = json.NewDecoder(io.LimitReader(conn, hookMessageLimit)).Decode(&a)
	return a, err
}

// answerHooks answers the hooks of all pushes until the listener is closed.
func (h *Host) answerHooks(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			h.log().Error("git: hook socket", "error", err)
			time.Sleep(100 * time.Millisecond) // out of files, for example: the next try may work
			continue
		}
		go h.answerHook(conn)
	}
}

func (h *Host) answerHook(conn net.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * hookTimeout))
	var q question
	if err := json.NewDecoder(io.LimitReader(conn, hookMessageLimit)).Decode(&q); err != nil {
		return
	}
	a := answer{Lines: []string{unknownPush}}
	if s := h.pushes.find(q.Push); s != nil {
		a = h.answer(s, q)
	}
	for i, line := range a.Lines {
		a.Lines[i] = plain.Line(line) // nothing that a stranger wrote steers the pusher's terminal
	}
	if err := json.NewEncoder(conn).Encode(a); err != nil {
		h.log().WarnContext(context.Background(), "git: hook went away", "error", err)
	}
}

// answer never panics: a defect in what a push starts must not end the server.
func (h *Host) answer(s *session, q question) (a answer) {
	defer func() {
		if defect := recover(); defect != nil {
			err := fmt.Errorf("panic: %v\n%s", defect, debug.Stack())
			a.Lines = append(a.Lines, h.explain(s.ctx, s.repo, err)...)
		}
	}()
	switch q.Hook {
	case "update":
		a.Allowed, a.Lines = h.decide(s, q.Ref, q.New)
	case "post-receive":
		a.Allowed, a.Lines = true, h.received(s, q.Updates)
	}
	return a
}

func secretKey() string { return rand.Text() }
