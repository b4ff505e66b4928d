package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/fault"
)

const copyTimeout = 30 * time.Minute // for one repository

// Bundle writes the repository, all refs as of one moment, to a new file, and reads the list of refs back
// from it: a backup that lacks one is none. Pushes may go on meanwhile.
//
// The list of refs is written here and not by `git bundle create`, which resolves even full names as if they
// were short, and leaves out refs/heads/main where a branch is called refs/heads/main.
func (h *Host) Bundle(ctx context.Context, r Repo, file string) error {
	if err := h.there(r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, copyTimeout)
	defer cancel()
	refs, err := h.refs(ctx, h.dir(r))
	if err != nil {
		return incomplete(r).Because(err)
	}
	if refs["refs/heads/"+Main] == "" {
		return incomplete(r).Because(errors.New("it has no " + Main))
	}
	out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(h.writeBundle(ctx, r, refs, out), out.Close()); err != nil {
		return err
	}
	held, err := h.bundled(ctx, file)
	if err != nil {
		return err
	}
	if !maps.Equal(held, refs) {
		return incomplete(r).Because(fmt.Errorf("the bundle has the refs %v instead of %v", held, refs))
	}
	return nil
}

// writeBundle writes the file format `git bundle` reads (gitformat-bundle(5), version 2).
func (h *Host) writeBundle(ctx context.Context, r Repo, refs map[string]string, out io.Writer) error {
	var head, ids strings.Builder
	head.WriteString("# v2 git bundle\n")
	for _, ref := range slices.Sorted(maps.Keys(refs)) {
		fmt.Fprintf(&head, "%s %s\n", refs[ref], ref)
		ids.WriteString(refs[ref] + "\n")
	}
	if _, err := io.WriteString(out, head.String()+"\n"); err != nil {
		return err
	}
	err := h.stream(ctx, h.environment("GIT_DIR="+h.dir(r)), strings.NewReader(ids.String()), out, "pack-objects", "--revs", "--stdout", "--quiet", "--delta-base-offset")
	if exitCode(err) > 0 && !errors.Is(err, syscall.ENOSPC) {
		return incomplete(r).Because(err)
	}
	return err
}

// bundled returns the refs that a bundle has.
func (h *Host) bundled(ctx context.Context, file string) (map[string]string, error) {
	out, err := h.run(ctx, h.environment(), nil, "bundle", "list-heads", file)
	return parseRefs(out), err
}

func incomplete(r Repo) *fault.Fault {
	return fault.New(fault.Unavailable, "backup.repository_incomplete", "Repository %s cannot be read whole, so the backup would not be whole either.", r).
		Do("Look at it with `git fsck` in the folder repos/%s.git, repair it, and take the backup again.", r)
}

// Restore makes the repository from what Bundle wrote. It appears whole or not at all; one that is
// there already is left alone and reported as a fault.
func (h *Host) Restore(ctx context.Context, r Repo, bundle io.Reader) error {
	ctx, cancel := context.WithTimeout(ctx, copyTimeout)
	defer cancel()
	return h.appear(ctx, r, func(dir string) error {
		file := filepath.Join(dir, "flywheel.bundle")
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		defer os.Remove(file)
		if _, err := io.Copy(f, bundle); err != nil {
			f.Close()
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		if err := h.unbundle(ctx, dir, file); exitCode(err) >= 0 {
			return fault.New(fault.Invalid, "backup.repository_damaged", "The backup of repository %s cannot be read.", r).
				Do("Use another backup.").Because(err)
		} else if err != nil {
			return err
		}
		return nil
	})
}

// unbundle makes the refs of a bundle in the empty repository dir, and checks that all are there with
// everything that they need.
func (h *Host) unbundle(ctx context.Context, dir, file string) error {
	held, err := h.bundled(ctx, file)
	if err != nil {
		return err
	}
	delete(held, "HEAD") // `git bundle create --all`, which made older backups, names it too
	if _, err := h.git(ctx, dir, nil, "fetch", "--quiet", "--no-write-fetch-head", file, "+refs/*:refs/*"); err != nil {
		return err
	}
	refs, err := h.refs(ctx, dir)
	if err != nil {
		return err
	}
	if !maps.Equal(refs, held) || refs["refs/heads/"+Main] == "" {
		return &exitError{[]string{"fetch"}, 0, fmt.Sprintf("the refs are %v instead of %v", refs, held)}
	}
	_, err = h.git(ctx, dir, nil, "fsck", "--connectivity-only", "--no-dangling", "--no-progress")
	return err
}

// Rewind takes main back to its newest merge that known says yes to, or else to its first commit, and
// drops the tags of what main then lacks. What the others merged and no branch holds any more gets the branch
// that branch names for the change. It returns the changes that were taken off main. It is for a repository
// that is newer than the database it was backed up with.
func (h *Host) Rewind(ctx context.Context, r Repo, known func(merge, change string) bool, branch func(change string) string) (dropped []string, err error) {
	const main = "refs/heads/" + Main
	out, err := h.git(ctx, h.dir(r), nil, "log", "-z", "--first-parent", "--format=tformat:%H%x00%P%x00%(trailers:key=Change,valueonly,separator=%x20)", main)
	if err != nil {
		return nil, err
	}
	fields := strings.Split(string(out), "\x00")
	tip, rest := fields[0], [][]string{}
	for ; len(fields) > 3; fields = fields[3:] {
		commit, parents, change := fields[0], strings.Fields(fields[1]), fields[2]
		if known(commit, change) || len(parents) == 0 {
			tip = commit
			break
		}
		rest = append(rest, []string{change, parents[len(parents)-1]})
	}
	if len(rest) == 0 {
		return nil, nil
	}
	if _, err := h.git(ctx, h.dir(r), nil, "update-ref", main, tip); err != nil {
		return nil, err
	}
	for _, one := range rest {
		dropped = append(dropped, one[0])
		holders, err := h.git(ctx, h.dir(r), nil, "for-each-ref", "--contains="+one[1], "refs/heads")
		if err != nil {
			return nil, err
		}
		if len(holders) > 0 {
			continue
		}
		ref := "refs/heads/" + branch(one[0])
		if _, err := h.git(ctx, h.dir(r), nil, "rev-parse", "--quiet", "--verify", ref); err == nil {
			ref += "-restored" // the branch was rewritten since
		} else if exitCode(err) < 0 {
			return nil, err
		}
		if err := h.moveRef(ctx, r, ref, one[1], ""); err != nil {
			return nil, err
		}
	}
	tags, err := h.git(ctx, h.dir(r), nil, "for-each-ref", "--format=%(refname)", "--no-merged="+main, "refs/tags")
	if err != nil {
		return nil, err
	}
	for _, tag := range strings.Fields(string(tags)) {
		if _, err := h.git(ctx, h.dir(r), nil, "update-ref", "-d", tag); err != nil {
			return nil, err
		}
	}
	return dropped, nil
}
