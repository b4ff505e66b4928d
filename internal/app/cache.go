package app

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/sandbox"
)

// What builds cache makes the next ones faster, and must not be a way from one to another that nobody decided about.
//
// A build works in a cache of its own, which is thrown away with it. It begins as a copy of what the build of the
// app's main left: what a branch cached counts only when that very source is main. Before there is any, it begins as a
// copy of the app's seed: what building the skeleton of its certified pattern version cached, from nothing. Tests run
// after what is kept was set aside, so that nothing they write is ever seen again. What is kept is mounted nowhere.
//
//	caches/<id of the app>/main          what the last build of main left, or of what became it
//	caches/<id of the app>/<source>      what the builds of branches left, the newest few
//	seeds/<digest of a pattern version>

const keepBranches = 2 // caches of branches that an app may have

// begin makes the cache of a build in its work folder, and returns it with the id of the app.
func (b *Builder) begin(ctx context.Context, r BuildRequest, work string) (cache, id string, err error) {
	cache = filepath.Join(work, "cache")
	var a App
	certified := false
	err = b.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if a, err = Find(tx, r.App); err != nil || r.Pattern == "" {
			return err
		}
		certified, err = pattern.WasCertified(tx, r.Pattern)
		return err
	})
	if err != nil {
		return "", "", err
	}
	give, err := b.turn(ctx)
	if err != nil {
		return "", "", err
	}
	defer give()
	from := b.cache(a.ID, "main")
	if branch := b.cache(a.ID, a.Description.Source); a.Description.Source != "" && there(branch) {
		if err := errors.Join(sandbox.RemoveAll(from), os.Rename(branch, from)); err != nil {
			return "", "", err
		}
	}
	if !there(from) && certified {
		from = b.seed(r.Pattern)
	}
	if there(from) {
		err := copyTree(cache, from)
		if err == nil || isFull(err) {
			return cache, a.ID, err
		}
		// What was left cannot be copied: this build takes longer.
		if err := sandbox.RemoveAll(cache); err != nil {
			return "", "", err
		}
	}
	return cache, a.ID, os.Mkdir(cache, 0o700)
}

// setAside returns a copy of what a build has left in its cache, which its tests do not see, or "" where it cannot be
// copied. Without tests it is the cache itself.
func setAside(cache string, test manifest.Test) (left string, err error) {
	if test.Command == "" {
		return cache, nil
	}
	left = cache + ".left"
	if err := copyTree(left, cache); err != nil {
		full := isFull(err)
		if err := errors.Join(err, sandbox.RemoveAll(left)); full {
			return "", err
		}
		return "", nil
	}
	return left, nil
}

// keepCache keeps what the build of a source left, for when that source is main.
func (b *Builder) keepCache(ctx context.Context, left, id, source string) error {
	if left == "" {
		return nil
	}
	give, err := b.turn(ctx)
	if err != nil {
		return err
	}
	defer give()
	place := b.cache(id, source)
	if err := errors.Join(os.MkdirAll(filepath.Dir(place), 0o700), sandbox.RemoveAll(place)); err != nil {
		return err
	}
	now := time.Now()
	if err := errors.Join(os.Rename(left, place), os.Chtimes(place, now, now)); err != nil {
		return err
	}
	return dropOldest(filepath.Dir(place))
}

// dropOldest leaves the caches of few branches.
func dropOldest(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	type branch struct {
		name string
		at   time.Time
	}
	var branches []branch
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.Name() != "main" {
			branches = append(branches, branch{e.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(branches, func(a, b branch) int { return b.at.Compare(a.at) })
	for _, old := range branches[min(len(branches), keepBranches):] {
		if err := sandbox.RemoveAll(filepath.Join(dir, old.name)); err != nil {
			return err
		}
	}
	return nil
}

// dropFull forgets what is kept for an app after a build that the cache may have made too large: the next one begins
// with an empty one.
func (b *Builder) dropFull(ctx context.Context, id string, failed error) error {
	if !fault.Is(failed, "sandbox.too_much_disk") && !fault.Is(failed, "sandbox.too_deep") && !fault.Is(failed, "sandbox.closed_folder") {
		return nil
	}
	give, err := b.turn(ctx)
	if err != nil {
		return err
	}
	defer give()
	return sandbox.RemoveAll(filepath.Dir(b.cache(id, "main")))
}

// turn waits until nobody else changes or copies what is kept.
func (b *Builder) turn(ctx context.Context) (give func(), err error) {
	select {
	case b.caches <- struct{}{}:
		return func() { <-b.caches }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b *Builder) cache(id, name string) string {
	return filepath.Join(b.Dir, "caches", id, strings.TrimPrefix(name, "sha256:"))
}

// seed is the folder with what building the skeleton of this pattern version cached.
func (b *Builder) seed(digest string) string {
	return filepath.Join(b.Dir, "seeds", strings.TrimPrefix(digest, "sha256:"))
}

// keepSeeds is how long the cache of a skeleton is kept whose version was not published.
const keepSeeds = 14 * 24 * time.Hour

// prune removes what skeletons of versions cached that were never published.
func (b *Builder) prune(ctx context.Context) error {
	entries, err := os.ReadDir(filepath.Join(b.Dir, "seeds"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || time.Since(info.ModTime()) < keepSeeds {
			continue
		}
		var published bool
		err = b.DB.Read(ctx, func(tx *db.Tx) (err error) { published, err = pattern.Published(tx, "sha256:"+e.Name()); return err })
		if err != nil {
			return err
		}
		if !published {
			if err := sandbox.RemoveAll(b.seed(e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// Forget removes the work folders that were left long ago by a server that was killed: all but what is kept of caches.
func (b *Builder) Forget(before time.Time) error {
	entries, err := os.ReadDir(b.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || e.Name() == "caches" || e.Name() == "seeds" || !info.ModTime().Before(before) {
			continue
		}
		if err := sandbox.RemoveAll(filepath.Join(b.Dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func there(dir string) bool {
	_, err := os.Lstat(dir)
	return err == nil
}

func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// copyTree copies a folder that untrusted code has written to. No link in it is followed; each becomes the same link,
// which means something only inside of the sandbox. What is neither a file, a folder nor a link is left out. Times
// stay, because tools tell by them what of their caches is old.
func copyTree(to, from string) error {
	type folder struct {
		path string
		info fs.FileInfo
	}
	var folders []folder
	err := filepath.WalkDir(from, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case entry.IsDir():
			folders = append(folders, folder{target, info})
			return os.Mkdir(target, 0o700)
		case info.Mode()&fs.ModeSymlink != 0:
			link, err := os.Readlink(name)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case info.Mode().IsRegular():
			return copyFile(target, name, info)
		}
		return nil
	})
	for _, f := range slices.Backward(folders) { // read-only ones when nothing more goes into them
		err = errors.Join(err, os.Chmod(f.path, f.info.Mode().Perm()|0o700), os.Chtimes(f.path, f.info.ModTime(), f.info.ModTime()))
	}
	return err
}

func copyFile(to, from string, info fs.FileInfo) error {
	in, err := os.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return errors.Join(err, out.Close())
	}
	return errors.Join(out.Chmod(info.Mode().Perm()), out.Close(), os.Chtimes(to, info.ModTime(), info.ModTime()))
}
