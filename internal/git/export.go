package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/plain"
)

const entryLimit = 200_000 // entries and folders an exported tree may have

// Export writes a tree below dir, which is made if it is not there and must be empty. It writes the
// very content that TreeDigest covers: no attribute of the tree changes, adds or leaves out anything.
// A link may only lead to a place inside the tree; a submodule becomes an empty folder.
func (h *Host) Export(ctx context.Context, r Repo, treeish, dir string) error {
	entries, err := h.ListTree(ctx, r, treeish)
	if err != nil {
		return err
	}
	if err := h.checkExport(entries); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir) // nothing is ever written outside, whatever the paths say
	if err != nil {
		return err
	}
	defer root.Close()
	return h.writeTree(ctx, r, root, entries)
}

// pathLimit is how many bytes the path of a file may have: every step of it costs time for every file below.
const pathLimit = 1024

func checkLength(name string) error {
	if len(name) <= pathLimit {
		return nil
	}
	return fault.New(fault.Invalid, "file.path_too_long", "The path %s… has %d bytes, more than the %d that are allowed.", display(name[:60]), len(name), pathLimit).
		Do("Use fewer levels of folders, or shorter names.")
}

func (h *Host) checkExport(entries []Entry) error {
	limit := h.TreeLimit
	if limit == 0 {
		limit = 2 << 30
	}
	total := int64(0)
	folders := map[string]bool{".": true} // that no entry names, and that are made all the same
	for _, e := range entries {
		if err := errors.Join(checkLength(e.Path), checkPath(e.Path)); err != nil {
			return err
		}
		total += e.Size
		for above := path.Dir(e.Path); !folders[above] && len(folders) <= entryLimit; above = path.Dir(above) {
			folders[above] = true
		}
	}
	if n := len(entries) + len(folders) - 1; total > limit || n > entryLimit {
		return fault.New(fault.TooLarge, "git.tree_too_large", "The files take %d MB in %d files and folders, more than the %d MB in %d that are allowed.",
			total/1e6, n, limit/1e6, entryLimit).Do("Keep large files out of the repository.")
	}
	return nil
}

func (h *Host) writeTree(ctx context.Context, r Repo, root *os.Root, entries []Entry) error {
	var blobs []Entry
	for _, e := range entries {
		folder := path.Dir(e.Path)
		if e.Mode == "160000" {
			folder = e.Path
		} else {
			blobs = append(blobs, e)
		}
		if err := root.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	if len(blobs) == 0 {
		return nil
	}
	names := make([]string, len(blobs))
	for i, e := range blobs {
		names[i] = e.OID
	}
	return h.blobs(ctx, r, names, func(i int, kind string, _ int64, body io.Reader) error {
		if kind != "blob" {
			return fmt.Errorf("git: %s is not a file in %s", blobs[i].OID, r)
		}
		return writeEntry(root, blobs[i], body)
	})
}

func writeEntry(root *os.Root, e Entry, body io.Reader) error {
	if e.Mode == "120000" {
		target, err := io.ReadAll(io.LimitReader(body, linkLimit+1))
		if err != nil {
			return err
		}
		if err := checkLink(e.Path, string(target)); err != nil {
			return err
		}
		return root.Symlink(string(target), e.Path)
	}
	mode := os.FileMode(0o644)
	if e.Mode == "100755" {
		mode = 0o755
	}
	f, err := root.OpenFile(e.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, body); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// linkLimit is how many bytes a link's target may have.
const linkLimit = 4096

func checkLink(name, target string) error {
	if staysInside(name, target) {
		return nil
	}
	return fault.New(fault.Invalid, "git.link_escapes", "The link %s leads out of the repository.", plain.Line(name)).
		Do("Let it lead to a file of the repository, by a relative path, or remove it.").At(plain.Line(name), "leads to %s", plain.Line(target))
}

// staysInside reports whether a link at name leads to a place inside the tree, whatever other links of
// the tree it passes. Steps up are allowed at the start only, where they leave real folders: after a
// name that may be another link, `..` could lead anywhere.
func staysInside(name, target string) bool {
	if target == "" || len(target) > linkLimit || path.IsAbs(target) || strings.Contains(target, "\x00") {
		return false
	}
	depth := strings.Count(name, "/")
	down := false
	for part := range strings.SplitSeq(target, "/") {
		switch {
		case part == "" || part == ".":
		case part != "..":
			down = true
		case down || depth == 0:
			return false
		default:
			depth--
		}
	}
	return true
}
