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
	for pause := time.Second; ; {
		select {
		case <-c.alive.Done():
			return
		case <-time.After(pause):
		}
		began := time.Now()
		if err := c.overDisk(); err != nil {
			exceeded <- err
			return
		}
		pause = max(time.Second, 20*time.Since(began))
	}
}

// overDisk returns a fault if the writable binds hold too much, or hide it where no path leads.
func (c *Cmd) overDisk() error {
	var bytes int64
	for _, b := range c.spec.Binds {
		if !b.Writable {
			continue
		}
		err := filepath.WalkDir(b.Source, func(_ string, entry fs.DirEntry, err error) error {
			if errors.Is(err, syscall.ENAMETOOLONG) {
				return err
			}
			if err != nil {
				return nil // it went away meanwhile
			}
			if info, err := entry.Info(); err == nil {
				bytes += info.Sys().(*syscall.Stat_t).Blocks * 512
			}
			return nil
		})
		if err != nil {
			return fault.New(fault.Invalid, "sandbox.too_deep", "The command made folders in folders until no path could name them.").
				Do("Have it make fewer levels of folders.").Because(err)
		}
	}
	if bytes > c.spec.Disk {
		return fault.New(fault.Invalid, "sandbox.too_much_disk", "The command filled more than its %d MB of disk.", c.spec.Disk>>20).
			Do("Have it write less, and remove what is not needed.")
	}
	return nil
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
