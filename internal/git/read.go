package git

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/plain"
)

const fileLimit = 16 << 20 // bytes of a file that ReadFile gives to memory

var oidPattern = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// Resolve returns the id of the commit that a branch, a tag or an id names, or a fault that it is
// missing.
func (h *Host) Resolve(ctx context.Context, r Repo, ref string) (string, error) {
	if err := h.there(r); err != nil {
		return "", err
	}
	return h.resolve(ctx, r, ref)
}

func (h *Host) resolve(ctx context.Context, r Repo, ref string) (string, error) {
	missing := fault.Missing("commit", display(ref))
	if ref == "" || strings.ContainsAny(ref, "\x00\n") {
		return "", missing
	}
	out, err := h.git(ctx, h.dir(r), nil, "rev-parse", "--verify", "--quiet", "--end-of-options", ref+"^{commit}")
	if exitCode(err) > 0 {
		return "", missing.Because(err)
	}
	return strings.TrimSpace(string(out)), err
}

// commits resolves several names at once.
func (h *Host) commits(ctx context.Context, r Repo, refs ...*string) error {
	if err := h.there(r); err != nil {
		return err
	}
	for _, ref := range refs {
		sha, err := h.resolve(ctx, r, *ref)
		if err != nil {
			return err
		}
		*ref = sha
	}
	return nil
}

// tree returns the id of the tree that a commit, a branch or a tree id names.
func (h *Host) tree(ctx context.Context, r Repo, treeish string) (string, error) {
	if err := h.there(r); err != nil {
		return "", err
	}
	missing := fault.Missing("commit", display(treeish))
	if treeish == "" || strings.ContainsAny(treeish, "\x00\n") {
		return "", missing
	}
	out, err := h.git(ctx, h.dir(r), nil, "rev-parse", "--verify", "--quiet", "--end-of-options", treeish+"^{tree}")
	if exitCode(err) > 0 {
		return "", missing.Because(err)
	}
	return strings.TrimSpace(string(out)), err
}

func (h *Host) there(r Repo) error {
	if !h.Exists(r) {
		return fault.Missing("repository", display(r.String()))
	}
	return nil
}

// Heads returns the commit of every branch, by the branch's name.
func (h *Host) Heads(ctx context.Context, r Repo) (map[string]string, error) {
	if err := h.there(r); err != nil {
		return nil, err
	}
	out, err := h.git(ctx, h.dir(r), nil, "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads/")
	if err != nil {
		return nil, err
	}
	heads := map[string]string{}
	for line := range strings.Lines(string(out)) {
		sha, ref, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		heads[strings.TrimPrefix(ref, "refs/heads/")] = sha
	}
	return heads, nil
}

// Commit is one commit as people see it.
type Commit struct {
	SHA         string    `json:"sha"`
	Tree        string    `json:"tree"`
	Parents     []string  `json:"parents"`
	Subject     string    `json:"subject"`
	Body        string    `json:"body,omitempty"`
	Stories     []string  `json:"stories"` // trailers `Story:`
	Needs       []string  `json:"needs"`   // trailers `Needs:`
	Fixes       []string  `json:"fixes"`   // trailers `Fixes:`
	Author      Identity  `json:"author"`
	AuthoredAt  time.Time `json:"authoredAt"`
	CommittedAt time.Time `json:"committedAt"`
}

const commitFields = "%H%x00%T%x00%P%x00%an%x00%ae%x00%at%x00%ct%x00%s%x00%b%x00%(trailers:only=true,unfold=true)"

// Log returns the commits of to that from does not have, newest first, at most limit of them. An
// empty from means the whole history.
func (h *Host) Log(ctx context.Context, r Repo, from, to string, limit int) ([]Commit, error) {
	if err := h.commits(ctx, r, &to); err != nil {
		return nil, err
	}
	args := []string{"log", "-z", "--format=tformat:" + commitFields, "--max-count=" + strconv.Itoa(limit), to}
	if from != "" {
		if err := h.commits(ctx, r, &from); err != nil {
			return nil, err
		}
		args = append(args, "^"+from)
	}
	out, err := h.git(ctx, h.dir(r), nil, args...)
	if err != nil {
		return nil, err
	}
	fields := strings.Split(display(string(out)), "\x00")
	list := []Commit{}
	for width := strings.Count(commitFields, "%x00") + 1; len(fields) > width; fields = fields[width:] {
		list = append(list, parseCommit(fields[:width]))
	}
	return list, nil
}

// Commit returns one commit.
func (h *Host) Commit(ctx context.Context, r Repo, ref string) (Commit, error) {
	list, err := h.Log(ctx, r, "", ref, 1)
	if err != nil {
		return Commit{}, err
	}
	return list[0], nil
}

func parseCommit(f []string) Commit {
	c := Commit{
		SHA: f[0], Tree: f[1], Parents: strings.Fields(f[2]), Subject: plain.Line(f[7]), Body: strings.TrimSpace(plain.Show(f[8])),
		Author: Identity{plain.Line(f[3]), plain.Line(f[4])}, AuthoredAt: unixTime(f[5]), CommittedAt: unixTime(f[6]),
	}
	c.Stories, c.Needs = trailers(f[9], "story"), trailers(f[9], "needs")
	c.Fixes = trailers(f[9], "fixes")
	return c
}

func unixTime(s string) time.Time {
	n, _ := strconv.ParseInt(s, 10, 64)
	return time.Unix(n, 0).UTC()
}

// trailers returns the values of a trailer, each once. A line may name several, with commas.
func trailers(block, key string) []string {
	found := []string{}
	seen := map[string]bool{}
	for line := range strings.Lines(block) {
		k, values, ok := strings.Cut(line, ":")
		if !ok || !strings.EqualFold(strings.TrimSpace(k), key) {
			continue
		}
		for v := range strings.SplitSeq(plain.Line(values), ",") {
			if v = strings.TrimSpace(v); v != "" && !seen[v] {
				seen[v] = true
				found = append(found, v)
			}
		}
	}
	return found
}

// MergeBase returns the commit where two histories parted, or a fault if they share none.
func (h *Host) MergeBase(ctx context.Context, r Repo, a, b string) (string, error) {
	if err := h.commits(ctx, r, &a, &b); err != nil {
		return "", err
	}
	out, err := h.git(ctx, h.dir(r), nil, "merge-base", a, b)
	if exitCode(err) == 1 {
		return "", unrelated()
	}
	return strings.TrimSpace(string(out)), err
}

func unrelated() *fault.Fault {
	return fault.New(fault.Conflict, "git.unrelated_histories", "The branch shares no commit with %s.", Main).
		Do("Start the branch from %s: git switch -c my-branch origin/%s.", Main, Main)
}

// Contains reports whether the history of ref has the commit.
func (h *Host) Contains(ctx context.Context, r Repo, ref, commit string) (bool, error) {
	if err := h.commits(ctx, r, &ref, &commit); err != nil {
		return false, err
	}
	_, err := h.git(ctx, h.dir(r), nil, "merge-base", "--is-ancestor", commit, ref)
	if exitCode(err) == 1 {
		return false, nil
	}
	return err == nil, err
}

// ReadFile returns the content of a file in a tree, or a fault that it is missing.
func (h *Host) ReadFile(ctx context.Context, r Repo, treeish, name string) ([]byte, error) {
	tree, err := h.tree(ctx, r, treeish)
	if err != nil {
		return nil, err
	}
	missing := fault.Missing("file", display(name))
	if checkPath(name) != nil {
		return nil, missing
	}
	content := []byte(nil)
	err = h.blobs(ctx, r, []string{tree + ":" + name}, func(_ int, kind string, size int64, body io.Reader) error {
		if kind != "blob" {
			return missing
		}
		if size > fileLimit {
			return fault.New(fault.TooLarge, "file.too_large", "%s is larger than %d MiB.", display(name), fileLimit>>20)
		}
		content, err = io.ReadAll(body)
		return err
	})
	return content, err
}

// blobs streams objects to each, in order; kind is "" for an object that is not there.
func (h *Host) blobs(ctx context.Context, r Repo, names []string, each func(i int, kind string, size int64, body io.Reader) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pipe, out := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		stdin := strings.NewReader(strings.Join(names, "\x00") + "\x00")
		out.CloseWithError(h.stream(ctx, h.environment("GIT_DIR="+h.dir(r)), stdin, out, "cat-file", "--batch", "-z"))
	}()
	err := readBatch(bufio.NewReader(pipe), len(names), each)
	cancel()
	pipe.CloseWithError(errors.New("nobody reads on"))
	<-done
	return err
}

func readBatch(in *bufio.Reader, n int, each func(i int, kind string, size int64, body io.Reader) error) error {
	for i := range n {
		header, err := in.ReadString('\n')
		if err != nil {
			return fmt.Errorf("git cat-file: %w", err)
		}
		f := strings.Fields(header)
		if len(f) != 3 || !oidPattern.MatchString(f[0]) {
			// "<name> missing", where the name may hold anything but NUL, a line feed too.
			if err := each(i, "", 0, nil); err != nil {
				return err
			}
			if n > 1 {
				return fmt.Errorf("git cat-file: an object is missing: %q", header)
			}
			return nil
		}
		size, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return err
		}
		body := &io.LimitedReader{R: in, N: size}
		if err := each(i, f[1], size, body); err != nil {
			return err
		}
		if _, err := in.Discard(int(body.N) + 1); err != nil {
			return fmt.Errorf("git cat-file: %w", err)
		}
	}
	return nil
}

// Entry is one file, link or submodule of a tree.
type Entry struct {
	Path string // bytes as in git, which need not be UTF-8
	Mode string // 100644, 100755, 120000 (link), 160000 (submodule)
	OID  string
	Size int64
}

// ListTree returns every entry below a tree, in git's order.
func (h *Host) ListTree(ctx context.Context, r Repo, treeish string) ([]Entry, error) {
	tree, err := h.tree(ctx, r, treeish)
	if err != nil {
		return nil, err
	}
	return h.listTree(ctx, r, tree)
}

func (h *Host) listTree(ctx context.Context, r Repo, tree string) ([]Entry, error) {
	out, err := h.git(ctx, h.dir(r), nil, "ls-tree", "-r", "-z", "-l", "--full-tree", tree)
	if err != nil {
		return nil, err
	}
	list := []Entry{}
	for record := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		meta, name, ok := strings.Cut(record, "\t")
		if f := strings.Fields(meta); ok && len(f) == 4 {
			size, _ := strconv.ParseInt(f[3], 10, 64) // "-" for a submodule
			list = append(list, Entry{Path: name, Mode: f[0], OID: f[2], Size: size})
		}
	}
	return list, nil
}

// TreeDigest returns "sha256:…" over mode, path and content id of every entry, without the excluded
// files and folders. Trees with equal content have equal digests, whatever their history.
func (h *Host) TreeDigest(ctx context.Context, r Repo, treeish string, exclude ...string) (string, error) {
	list, err := h.ListTree(ctx, r, treeish)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, e := range list {
		if !excluded(e.Path, exclude) {
			fmt.Fprintf(sum, "%s %s %s\x00", e.Mode, e.OID, e.Path)
		}
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

func excluded(name string, exclude []string) bool {
	for _, x := range exclude {
		x = strings.TrimSuffix(x, "/")
		if name == x || strings.HasPrefix(name, x+"/") {
			return true
		}
	}
	return false
}

// checkPath returns a fault unless name is a clean path inside a repository.
func checkPath(name string) error {
	ok := name != "" && name != "." && !path.IsAbs(name) && path.Clean(name) == name && !strings.ContainsAny(name, "\x00\n")
	for part := range strings.SplitSeq(name, "/") {
		ok = ok && part != ".." && !strings.EqualFold(part, ".git")
	}
	if !ok {
		return fault.New(fault.Invalid, "file.path_invalid", "%q cannot be the path of a file in a repository.", display(name)).
			Do("Use a path relative to the repository's root, without . and ..")
	}
	return nil
}

// display makes bytes from a repository safe to show: they may be in any encoding.
func display(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string(bytes.ToValidUTF8([]byte(s), []byte("\uFFFD")))
}
