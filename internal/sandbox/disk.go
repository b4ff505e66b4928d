package sandbox

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/fault"
)

// watchDisk sends a fault when what the command may write to holds more than it may. Looking takes at most a
// twentieth of the time.
func (c *Cmd) watchDisk(exceeded chan<- error) {
	var closed map[uint64]bool
	for pause := time.Second; ; {
		select {
		case <-c.alive.Done():
			return
		case <-time.After(pause):
		}
		began := time.Now()
		var err error
		if closed, err = c.overDisk(closed); err != nil {
			exceeded <- err
			return
		}
		pause = max(time.Second, 20*time.Since(began))
	}
}

// overDisk returns a fault if the writable binds hold too much, or hide it: where no path leads, or in a folder that
// Flywheel may not read. Tests make such folders and remove them at once, so one is refused when it was closed at the
// last look too. It returns the folders that are closed now, by inode.
func (c *Cmd) overDisk(before map[uint64]bool) (closed map[uint64]bool, err error) {
	var bytes int64
	closed = map[uint64]bool{}
	hides := func(dir string) error {
		info, err := os.Lstat(dir)
		if err != nil {
			return nil // it went away meanwhile, or the folder around it is closed
		}
		inode := info.Sys().(*syscall.Stat_t).Ino
		closed[inode] = true
		if before[inode] {
			return fault.New(fault.Invalid, "sandbox.closed_folder", "The command keeps a folder closed, so that nobody can tell what it holds.").
				Do("Have it leave its folders readable.")
		}
		return nil
	}
	for _, b := range c.spec.Binds {
		if !b.Writable {
			continue
		}
		err := filepath.WalkDir(b.Source, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, syscall.ENAMETOOLONG):
				return fault.New(fault.Invalid, "sandbox.too_deep", "The command made folders in folders until no path could name them.").
					Do("Have it make fewer levels of folders.").Because(err)
			case errors.Is(err, fs.ErrPermission):
				return hides(path)
			case err != nil:
				return nil // it went away meanwhile
			}
			info, err := entry.Info()
			if errors.Is(err, fs.ErrPermission) {
				return hides(filepath.Dir(path))
			}
			if err == nil {
				bytes += info.Sys().(*syscall.Stat_t).Blocks * 512
			}
			return nil
		})
		if err != nil {
			return closed, err
		}
	}
	if bytes > c.spec.Disk {
		return closed, fault.New(fault.Invalid, "sandbox.too_much_disk", "The command filled more than its %d MB of disk.", c.spec.Disk>>20).
			Do("Have it write less, and remove what is not needed.")
	}
	return closed, nil
}

// RemoveAll removes a folder that commands could write to, once none of them runs: also folders that nobody
// may read or write, and more levels of them than a path, or the open files of a process, can have.
func RemoveAll(dir string) error {
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
		return os.RemoveAll(dir)
	}
	// What lies two levels down comes up one level, under a name of its own, until nothing is left.
	name, number := ".removed-"+rand.Text()+"-", 0
	for {
		left, err := entries(dir)
		if err != nil || len(left) == 0 {
			return errors.Join(err, os.Remove(dir))
		}
		for _, entry := range left {
			child := filepath.Join(dir, entry.Name())
			var below []fs.DirEntry
			if entry.IsDir() {
				if below, err = entries(child); err != nil {
					return err
				}
			}
			for _, deep := range below {
				at := filepath.Join(child, deep.Name())
				if !deep.IsDir() {
					err = os.Remove(at)
				} else if err = os.Chmod(at, 0o700); err == nil { // a moved folder is told of its new parent
					number++
					err = os.Rename(at, filepath.Join(dir, name+strconv.Itoa(number)))
				}
				if err != nil {
					return err
				}
			}
			if err := os.Remove(child); err != nil {
				return err
			}
		}
	}
}

// entries makes a folder one that its owner may change, and returns what it holds.
func entries(dir string) ([]fs.DirEntry, error) {
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	return os.ReadDir(dir)
}
