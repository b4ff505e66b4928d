package git

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/plain"
)

const (
	patchLimit     = 2 << 20   // bytes of all patches of a diff
	filePatchLimit = 256 << 10 // bytes of the patch of one file
)

// FileDiff is what two commits differ in, for one file.
type FileDiff struct {
	Path      string `json:"path"`
	OldPath   string `json:"oldPath,omitempty" doc:"Where the file was before it was renamed"`
	Status    string `json:"status" enum:"added,modified,deleted,renamed,type_changed"`
	OldMode   string `json:"oldMode"`
	NewMode   string `json:"newMode"`
	Added     int    `json:"added" doc:"Lines added"`
	Removed   int    `json:"removed" doc:"Lines removed"`
	Binary    bool   `json:"binary" doc:"It holds NUL bytes; its patch is text all the same"`
	Patch     string `json:"patch" doc:"Unified patch; characters that are not shown stand as marks such as ⟨U+202E⟩"`
	Truncated bool   `json:"truncated" doc:"The patch is longer than what is shown; the whole one is under diff/file"`

	Content string `json:"-"` // the ids of both contents
}

var statuses = map[byte]string{'A': "added", 'M': "modified", 'D': "deleted", 'R': "renamed", 'T': "type_changed"}

// Diff returns the files in which two commits or trees differ, by path, with patches up to a limit.
// What is not shown as it is, or not UTF-8, stands as a mark: patches are for reading, not for applying. Every
// file has a patch, and no attribute of a branch changes one.
func (h *Host) Diff(ctx context.Context, r Repo, base, head string) ([]FileDiff, error) {
	oldTree, err := h.tree(ctx, r, base)
	if err != nil {
		return nil, err
	}
	newTree, err := h.tree(ctx, r, head)
	if err != nil {
		return nil, err
	}
	out, err := h.git(ctx, h.dir(r), nil, "diff-tree", "-r", "-M", "-z", "--raw", "--no-abbrev", "--numstat", "--no-ext-diff", "--no-textconv", oldTree, newTree)
	if err != nil {
		return nil, err
	}
	files, err := parseRaw(string(out))
	if err != nil || len(files) == 0 {
		return files, err
	}
	return files, h.patches(ctx, r, oldTree, newTree, files)
}

// parseRaw reads `:old new oid oid status NUL path NUL [path NUL]` for each file, and then
// `added TAB removed TAB path NUL` (or `… TAB NUL old NUL new NUL`) for each file in the same order.
func parseRaw(out string) ([]FileDiff, error) {
	fields := strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")
	next := func() string {
		if len(fields) == 0 {
			return ""
		}
		f := fields[0]
		fields = fields[1:]
		return f
	}
	files := []FileDiff{}
	for len(fields) > 0 && strings.HasPrefix(fields[0], ":") {
		meta := strings.Fields(next()[1:])
		if len(meta) != 5 {
			return nil, fmt.Errorf("git diff-tree: unexpected output %q", meta)
		}
		f := FileDiff{Status: statuses[meta[4][0]], OldMode: meta[0], NewMode: meta[1], Content: meta[2] + ".." + meta[3] + " " + meta[0] + ".." + meta[1], Path: display(next())}
		if f.Status == "renamed" {
			f.OldPath, f.Path = f.Path, display(next())
		}
		files = append(files, f)
	}
	for i := range files {
		counts := strings.SplitN(next(), "\t", 3)
		if len(counts) != 3 {
			return nil, fmt.Errorf("git diff-tree: unexpected counts %q", counts)
		}
		if counts[2] == "" { // renamed
			next()
			next()
		}
		files[i].Binary = counts[0] == "-"
		files[i].Added, _ = strconv.Atoi(counts[0])
		files[i].Removed, _ = strconv.Atoi(counts[1])
	}
	return files, nil
}

// asPatch has every content compared as text: that a file is binary, or how its lines are compared, would
// else be said by .gitattributes of the branch, or by one NUL.
var asPatch = []string{"diff-tree", "-r", "-M", "-p", "--text", "--no-color", "--no-ext-diff", "--no-textconv"}

// patches gives every file its patch: they come in the same order, and no line of a file's content can begin
// with "diff --git ".
func (h *Host) patches(ctx context.Context, r Repo, oldTree, newTree string, files []FileDiff) error {
	out := &sections{lineStart: true}
	err := h.stream(ctx, h.environment("GIT_DIR="+h.dir(r)), nil, out, append(slices.Clone(asPatch), oldTree, newTree)...)
	if err != nil {
		return err
	}
	rest := out.end()
	left := patchLimit
	for i := range files {
		f := &files[i]
		take := 1
		if f.Status == "type_changed" {
			take = 2 // git shows one file going and another coming
		}
		for ; take > 0 && len(rest) > 0; take-- {
			f.Patch += string(rest[0].text)
			f.Truncated = f.Truncated || rest[0].cut
			rest = rest[1:]
		}
		f.Truncated = f.Truncated || take > 0
		f.Patch = plain.Show(f.Patch) // marks make it longer
		if most := min(filePatchLimit, left); len(f.Patch) > most {
			f.Patch, f.Truncated = strings.ToValidUTF8(f.Patch[:most], ""), true
		}
		left -= len(f.Patch)
	}
	return nil
}

// sections cuts the patch of a whole diff into those of its files and keeps the beginning of each, so that a large
// file takes no place from those after it.
type sections struct {
	all       []section
	kept      int    // bytes of all of them
	lineStart bool   // what comes next begins a line
	head      []byte // the beginning of a line that is too short yet to tell a new section
}

type section struct {
	text []byte
	cut  bool // there is more than text
}

const sectionMark = "diff --git "

func (s *sections) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		line, rest, ended := p, []byte(nil), false
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			line, rest, ended = p[:i+1], p[i+1:], true
		}
		p = rest
		if s.lineStart {
			s.head = append(s.head, line...)
			if !ended && len(s.head) < len(sectionMark) {
				continue
			}
			line = s.head
			if bytes.HasPrefix(line, []byte(sectionMark)) {
				s.all = append(s.all, section{})
			}
		}
		s.keep(line)
		s.lineStart, s.head = ended, s.head[:0]
	}
	return n, nil
}

func (s *sections) keep(line []byte) {
	if len(s.all) == 0 {
		return
	}
	last := &s.all[len(s.all)-1]
	if room := min(filePatchLimit-len(last.text), patchLimit-s.kept); len(line) > room {
		line, last.cut = line[:room], true
	}
	last.text = append(last.text, line...)
	s.kept += len(line)
}

func (s *sections) end() []section {
	s.keep(s.head)
	return s.all
}

// FilePatch writes the whole patch of one file to w, as Diff shows it, and returns what it is the patch of. A
// file in which the two do not differ is missing.
func (h *Host) FilePatch(ctx context.Context, r Repo, base, head, name string, w io.Writer) (content string, err error) {
	oldTree, err := h.tree(ctx, r, base)
	if err != nil {
		return "", err
	}
	newTree, err := h.tree(ctx, r, head)
	if err != nil {
		return "", err
	}
	out, err := h.git(ctx, h.dir(r), nil, "diff-tree", "-r", "-M", "-z", "--raw", "--no-abbrev", "--numstat", "--no-ext-diff", "--no-textconv", oldTree, newTree)
	if err != nil {
		return "", err
	}
	files, err := parseRaw(string(out))
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(files, func(f FileDiff) bool { return f.Path == name })
	if at < 0 {
		return "", fault.Missing("file", name).Do("The files that a change alters are in its diff.")
	}
	paths := []string{name}
	if old := files[at].OldPath; old != "" {
		paths = append(paths, old)
	}
	args := append(slices.Clone(asPatch), oldTree, newTree, "--")
	marked := &marker{w: w}
	if err := h.stream(ctx, h.environment("GIT_DIR="+h.dir(r)), nil, marked, append(args, paths...)...); err != nil {
		return "", err
	}
	return files[at].Content, marked.end()
}

// marker writes text line by line as plain.Show shows it.
type marker struct {
	w    io.Writer
	rest []byte
}

const longestLine = 1 << 20

func (m *marker) Write(p []byte) (int, error) {
	m.rest = append(m.rest, p...)
	cut := bytes.LastIndexByte(m.rest, '\n') + 1
	if cut == 0 && len(m.rest) < longestLine {
		return len(p), nil
	}
	if cut == 0 { // a character that is cut in two here shows as marks
		cut = len(m.rest)
	}
	_, err := io.WriteString(m.w, plain.Show(string(m.rest[:cut])))
	m.rest = append(m.rest[:0], m.rest[cut:]...)
	return len(p), err
}

func (m *marker) end() error {
	_, err := io.WriteString(m.w, plain.Show(string(m.rest)))
	return err
}
