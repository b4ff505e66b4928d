package git

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/fault"
)

const copyTimeout = 30 * time.Minute // for one repository

// Bundle writes the repository, all refs as of one moment, to w. Pushes may go on meanwhile.
func (h *Host) Bundle(ctx context.Context, r Repo, w io.Writer) error {
	if err := h.there(r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, copyTimeout)
	defer cancel()
	return h.stream(ctx, h.environment("GIT_DIR="+h.dir(r)), nil, w, "bundle", "create", "--quiet", "-", "--all")
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
		_, err = h.git(ctx, dir, nil, "fetch", "--quiet", "--no-write-fetch-head", file, "+refs/*:refs/*")
		if exitCode(err) > 0 {
			return fault.New(fault.Invalid, "backup.repository_damaged", "The backup of repository %s cannot be read.", r).
				Do("Use another backup.").Because(err)
		}
		return err
	})
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
