package git

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/plain"
	"flywheel.dev/flywheel/internal/web"
)

const (
	mainProtected = Main + " is protected: push a branch, Flywheel merges it"
	hookTimeout   = time.Minute // for what a push starts, while the pusher waits
)

// refusal returns why a push may not touch the ref, with its code, or "" if it may. It needs nothing but
// the command.
func refusal(c command) string {
	branch, isBranch := strings.CutPrefix(c.ref, "refs/heads/")
	switch {
	case c.ref == "refs/heads/"+Main && c.deletes():
		return coded(Main+" is protected: it cannot be deleted", "git.main_protected")
	case c.ref == "refs/heads/"+Main:
		return coded(mainProtected, "git.main_protected")
	case strings.HasPrefix(c.ref, "refs/tags/"):
		return coded("tags are protected: Flywheel makes them when a version is published", "git.tag_protected")
	case !isBranch:
		return coded("only branches can be pushed", "git.branches_only")
	case c.deletes():
		return ""
	case !utf8.ValidString(branch):
		return coded("the branch's name is not UTF-8: rename the branch", "git.branch_not_utf8")
	}
	if why := branchRefusal(branch); why != "" {
		return coded(why, "git.branch_name")
	}
	return ""
}

// coded is a reason with its stable code, as everything ends that a push is told.
func coded(why, code string) string { return why + " (" + code + ")" }

// unknownPush is told to a push that did not come through the server.
var unknownPush = coded("the server does not know this push: it is refused", "git.push_unknown")

// refusals returns why each ref of the push may not move.
func refusals(commands []command) map[string]string {
	refused := map[string]string{}
	for _, c := range commands {
		if why := refusal(c); why != "" {
			refused[c.ref] = why
		}
	}
	return refused
}

// session is one push while git works on it. The hooks name it by a key that only git's process got.
type session struct {
	ctx     context.Context // carries the pusher; outlives the request
	repo    Repo
	refused map[string]string
	known   map[string]command // the refs of the command list
}

type sessions struct {
	mutex sync.Mutex
	open  map[string]*session
}

func (s *sessions) add(one *session) (key string, remove func()) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.open == nil {
		s.open = map[string]*session{}
	}
	key = secretKey()
	s.open[key] = one
	return key, func() {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		delete(s.open, key)
	}
}

func (s *sessions) find(key string) *session {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.open[key]
}

func (h *Host) newSession(ctx context.Context, r Repo, list commandList) *session {
	s := &session{ctx: context.WithoutCancel(ctx), repo: r, refused: refusals(list.commands), known: map[string]command{}}
	for _, c := range list.commands {
		s.known[c.ref] = c
	}
	return s
}

// decide answers the update hook for one ref: the lines for the pusher if the ref may not move. What
// is pushed is in the repository by now, but no ref names it yet.
func (h *Host) decide(s *session, ref, new string) (allowed bool, lines []string) {
	if why := s.refused[ref]; why != "" {
		return false, []string{why}
	}
	c, known := s.known[ref]
	if !known || c.new != new {
		return false, []string{unknownPush}
	}
	ctx, cancel := context.WithTimeout(s.ctx, hookTimeout)
	defer cancel()
	err := h.inspect(ctx, s.repo, c)
	if err == nil && !c.deletes() {
		lines, err = h.submodules(ctx, s.repo, new)
	}
	if err == nil {
		err = h.record(ctx, s.repo, ref, new)
	}
	if err == nil {
		return true, lines
	}
	return false, h.explain(ctx, s.repo, err)
}

// explain turns an error into lines for the terminal. An unknown one is logged under an id.
func (h *Host) explain(ctx context.Context, r Repo, err error) []string {
	f := web.Known(err)
	if f.Kind == fault.Internal {
		id := web.RequestID(ctx)
		h.log().ErrorContext(ctx, "git: push failed", "repository", r.String(), "error", err)
		return []string{f.Message, "Ask an operator to look for " + id + " in the server's log."}
	}
	if f.Kind == fault.Unavailable {
		h.log().ErrorContext(ctx, "git: push failed", "repository", r.String(), "code", f.Code, "error", err)
	}
	lines := []string{f.Message}
	if f.Remedy != "" {
		lines = append(lines, f.Remedy)
	}
	return append(lines, "("+f.Code+")")
}

// inspect returns a fault if the pushed commit cannot become a change.
func (h *Host) inspect(ctx context.Context, r Repo, c command) error {
	if c.deletes() {
		return nil
	}
	tag := "refs/tags/" + strings.TrimPrefix(c.ref, "refs/heads/")
	if _, err := h.resolve(ctx, r, tag); err == nil {
		return fault.New(fault.Invalid, "git.branch_name", "There is a tag of this name, so git could not tell the branch from it.").Do("Rename the branch.")
	}
	if _, err := h.MergeBase(ctx, r, "refs/heads/"+Main, c.new); err != nil {
		return err
	}
	entries, err := h.listTree(ctx, r, c.new+"^{tree}")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := checkLength(e.Path); err != nil {
			return err
		}
		if !utf8.ValidString(e.Path) {
			return fault.New(fault.Invalid, "file.name_not_utf8", "The file name %s is not UTF-8.", strconv.QuoteToASCII(e.Path)).
				Do("Rename the file: git mv <old> <new>, commit and push again.")
		}
		if strings.ContainsFunc(e.Path, func(c rune) bool { return plain.Hidden(c) || c == '\n' || c == '\t' }) {
			return fault.New(fault.Invalid, "file.name_hidden", "The file name %s has a character that is not shown.", plain.Line(e.Path)).
				Do("Rename the file: git mv <old> <new>, commit and push again.")
		}
	}
	return h.carried(ctx, r, entries)
}

// carried returns a fault if the tree has what Flywheel cannot carry to a build: a pointer to a file that git LFS
// keeps elsewhere, or a link that leads out. What main has already is not looked at again.
func (h *Host) carried(ctx context.Context, r Repo, entries []Entry) error {
	there, err := h.listTree(ctx, r, "refs/heads/"+Main+"^{tree}")
	if err != nil {
		return err
	}
	had := map[Entry]bool{}
	for _, e := range there {
		had[e] = true
	}
	small := slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool {
		return had[e] || e.Mode != "120000" && (e.Mode == "160000" || e.Size > pointerLimit || e.Size < int64(len(earlyPointer)))
	})
	if len(small) == 0 {
		return nil
	}
	names := make([]string, len(small))
	for i, e := range small {
		names[i] = e.OID
	}
	return h.blobs(ctx, r, names, func(i int, _ string, _ int64, body io.Reader) error {
		content, err := io.ReadAll(io.LimitReader(body, linkLimit+1))
		if err != nil {
			return err
		}
		if small[i].Mode == "120000" {
			return checkLink(small[i].Path, string(content))
		}
		if bytes.HasPrefix(content, []byte(lfsPointer)) || bytes.HasPrefix(content, []byte(earlyPointer)) {
			return fault.New(fault.Invalid, "git.lfs", "The file %s is kept by git LFS, so only a pointer to it was pushed, and a build would get that pointer.", small[i].Path).
				Do("Take it out of LFS (git lfs untrack, then git add --renormalize and commit), or let the build fetch it.")
		}
		return nil
	})
}

const (
	lfsPointer   = "version https://git-lfs.github.com/spec/"
	earlyPointer = "version https://hawser.github.com/spec/" // which git LFS reads still
	mostNamed    = 20                                        // submodules
	pointerLimit = 1024                                      // bytes of a pointer, by the specification of git LFS
)

// submodules says which folders of a pushed commit stay empty, because they are repositories of their own.
func (h *Host) submodules(ctx context.Context, r Repo, commit string) ([]string, error) {
	entries, err := h.listTree(ctx, r, commit+"^{tree}")
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, e := range entries {
		if e.Mode == "160000" {
			lines = append(lines, e.Path+" is a submodule: Flywheel does not fetch it, so its folder is empty in builds and plans. Copy what they need into the repository, or fetch it in build.fetch. (git.submodule)")
		}
	}
	if more := len(lines) - mostNamed; more > 0 {
		lines = append(lines[:mostNamed], "And "+plain.Count(more, "more submodule.", "more submodules."))
	}
	return lines, nil
}

// received tells Pushed what git did, and returns the lines for the pusher.
func (h *Host) received(s *session, updates []RefUpdate) []string {
	ctx, cancel := context.WithTimeout(s.ctx, hookTimeout)
	defer cancel()
	var lines []string
	for i := range updates {
		u := &updates[i]
		ahead, err := h.Ahead(ctx, s.repo, u.New)
		if err != nil {
			return append(lines, h.explain(ctx, s.repo, err)...)
		}
		if u.Ahead = ahead; ahead == 0 && u.New != "" {
			lines = append(lines, fmt.Sprintf("%s has no commit that %s does not have: there is nothing to propose yet.", u.Branch(), Main))
		}
	}
	if h.Pushed != nil && len(updates) > 0 {
		lines = append(lines, h.Pushed(ctx, Push{s.repo, updates})...)
	}
	return lines
}

// Ahead returns how many commits a commit has that main does not have. "" has none.
func (h *Host) Ahead(ctx context.Context, r Repo, commit string) (int, error) {
	if commit == "" {
		return 0, nil
	}
	if err := h.commits(ctx, r, &commit); err != nil {
		return 0, err
	}
	out, err := h.git(ctx, h.dir(r), nil, "rev-list", "--count", commit, "^refs/heads/"+Main)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(out)))
}

// all reports whether every ref of the push is refused.
func (s *session) all() bool { return len(s.known) > 0 && len(s.refused) == len(s.known) }

// same returns the sentence for every ref of the push.
func (s *session) same(sentence string) map[string]string {
	m := map[string]string{}
	for ref := range maps.Keys(s.known) {
		m[ref] = sentence
	}
	return m
}
