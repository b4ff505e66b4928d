package sandbox

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/fault"
)

// watchDisk sends a fault when what the command may write to holds more than it may, or hides what it holds. Looking
// takes at most a twentieth of the time.
func (c *Cmd) watchDisk(exceeded chan<- error) {
	var dirs []string
	for _, b := range c.spec.Binds {
		if b.Writable {
			dirs = append(dirs, b.Source)
		}
	}
	folders := Folders{}
	for pause := time.Second; ; {
		select {
		case <-c.alive.Done():
			return
		case <-time.After(pause):
		}
		began := time.Now()
		bytes, err := folders.Measure(dirs...)
		if err == nil && bytes > c.spec.Disk {
			err = fault.New(fault.Invalid, "sandbox.too_much_disk", "The command filled more than its %d MB of disk.", c.spec.Disk>>20).
				Do("Have it write less, and remove what is not needed.")
		}
		if err != nil {
			exceeded <- err
			return
		}
		pause = max(time.Second, 20*time.Since(began))
	}
}

// Folders measures folders that commands write to, again and again.
type Folders struct{ closed map[uint64]bool } // at the last look, by inode

// Measure returns how many bytes of disk the folders hold. It returns a fault if they hide it: where no path leads, or
// in a folder that Flywheel may not read. Tests make such folders and remove them at once, so one is refused when it
// was closed at the last look too.
func (f *Folders) Measure(dirs ...string) (bytes int64, err error) {
	before := f.closed
	f.closed = map[uint64]bool{}
	hides := func(dir string) error {
		info, err := os.Lstat(dir)
		if err != nil {
			return nil // it went away meanwhile, or the folder around it is closed
		}
		inode := info.Sys().(*syscall.Stat_t).Ino
		f.closed[inode] = true
		if before[inode] {
			return fault.New(fault.Invalid, "sandbox.closed_folder", "The command keeps a folder closed, so that nobody can tell what it holds.").
				Do("Have it leave its folders readable.")
		}
		return nil
	}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
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
			return bytes, err
		}
	}
	return bytes, nil
}

// Removed returns how many bytes of disk the command holds in files that it has removed from where it may write and
// keeps open: no path leads to them, and they take room until it closes them.
func (c *Cmd) Removed() (bytes int64) {
	devices, seen := map[uint64]bool{}, map[[2]uint64]bool{}
	for _, b := range c.spec.Binds {
		var info syscall.Stat_t
		if b.Writable && syscall.Stat(b.Source, &info) == nil {
			devices[info.Dev] = true
		}
	}
	for _, pid := range tree(c.Pid()) {
		open := "/proc/" + itoa(pid) + "/fd/"
		entries, _ := os.ReadDir(open)
		for _, entry := range entries {
			var info syscall.Stat_t
			if syscall.Stat(open+entry.Name(), &info) != nil || info.Nlink > 0 || info.Mode&syscall.S_IFMT != syscall.S_IFREG || !devices[info.Dev] {
				continue
			}
			if id := [2]uint64{info.Dev, info.Ino}; !seen[id] {
				seen[id] = true
				bytes += info.Blocks * 512
			}
		}
	}
	return bytes
}

// tree returns a process and all that came of it.
func tree(pid int) []int {
	all := []int{pid}
	dir := "/proc/" + itoa(pid) + "/task/"
	threads, _ := os.ReadDir(dir)
	for _, thread := range threads {
		children, _ := os.ReadFile(dir + thread.Name() + "/children")
		for _, field := range strings.Fields(string(children)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(all, tree(child)...)
			}
		}
	}
	return all
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
