package git

import (
	"context"
	"io"
	"os"
	"path/filepath"
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
