package git

import (
	"context"
	"fmt"
	"strconv"
	"strings"
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
	Binary    bool   `json:"binary"`
	Patch     string `json:"patch" doc:"Unified patch; empty for a binary file"`
	Truncated bool   `json:"truncated" doc:"The patch is longer than what is shown"`
}

var statuses = map[byte]string{'A': "added", 'M': "modified", 'D': "deleted", 'R': "renamed", 'T': "type_changed"}

// Diff returns the files in which two commits or trees differ, by path, with patches up to a limit.
// Names and lines that are not UTF-8 are made showable; they are for reading, not for applying.
func (h *Host) Diff(ctx context.Context, r Repo, base, head string) ([]FileDiff, error) {
	oldTree, err := h.tree(ctx, r, base)
	if err != nil {
		return nil, err
	}
	newTree, err := h.tree(ctx, r, head)
	if err != nil {
		return nil, err
	}
	out, err := h.git(ctx, h.dir(r), nil, "diff-tree", "-r", "-M", "-z", "--raw", "--numstat", oldTree, newTree)
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
		f := FileDiff{Status: statuses[meta[4][0]], OldMode: meta[0], NewMode: meta[1], Path: display(next())}
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

// patches cuts the patch of the whole into those of the files: they come in the same order, and no
// line of a file's content can begin with "diff --git ".
func (h *Host) patches(ctx context.Context, r Repo, oldTree, newTree string, files []FileDiff) error {
	out := &limited{max: patchLimit}
	err := h.stream(ctx, h.environment("GIT_DIR="+h.dir(r)), nil, out,
		"diff-tree", "-r", "-M", "-p", "--no-color", "--no-ext-diff", "--no-textconv", oldTree, newTree)
	if err != nil {
		return err
	}
	const mark = "diff --git "
	sections := strings.Split("\n"+out.String(), "\n"+mark)[1:]
	for i := range files {
		f := &files[i]
		take := 1
		if f.Status == "type_changed" {
			take = 2 // git shows one file going and another coming
		}
		for ; take > 0 && len(sections) > 0; take-- {
			if !f.Binary {
				f.Patch += mark + sections[0] + "\n"
			}
			f.Truncated = out.over && len(sections) == 1
			sections = sections[1:]
		}
		f.Truncated = f.Truncated || (out.over && take > 0)
		if len(f.Patch) > filePatchLimit {
			f.Patch, f.Truncated = f.Patch[:filePatchLimit], true
		}
		f.Patch = display(f.Patch)
	}
	return nil
}
