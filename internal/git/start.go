package git

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"flywheel.dev/flywheel/internal/fault"
)

const (
	oldestMajor, oldestMinor = 2, 38 // merge-tree --write-tree
	socketPathLimit          = 100   // a Unix socket's path holds 107 bytes
)

// hookScripts are the hooks that git runs, with their content. They only hand over to this program.
var hookScripts = map[string]string{
	"update":       "#!/bin/sh\nexec \"${" + envSelf + ":?this hook runs only under flywheel serve}\" hook update \"$@\"\n",
	"post-receive": "#!/bin/sh\nexec \"${" + envSelf + ":?this hook runs only under flywheel serve}\" hook post-receive\n",
}

// Start checks that git can do what Flywheel needs, writes and verifies the hooks and listens for
// them. It fails with a fault that says what to install or change.
func (h *Host) Start(ctx context.Context) error {
	if h.PushLimit == 0 {
		h.PushLimit = 512 << 20
	}
	if err := h.checkGit(ctx); err != nil {
		return err
	}
	if h.Self == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		h.Self = self
	}
	for _, folder := range []*string{&h.Root, &h.Run} {
		var err error
		if *folder, err = filepath.Abs(*folder); err != nil {
			return err
		}
		if err := os.MkdirAll(*folder, 0o700); err != nil {
			return err
		}
	}
	sweep(h.Root, h.Run)
	if err := h.start(); err != nil {
		h.Close()
		return err
	}
	return nil
}

func (h *Host) start() error {
	folder, err := os.MkdirTemp(h.Run, "git-*")
	if err != nil {
		return err
	}
	h.onClose(func() { removeAll(folder) })
	if err := h.holdLock(folder); err != nil {
		return err
	}
	h.hooks = filepath.Join(folder, "hooks")
	if err := writeHooks(h.hooks); err != nil {
		return err
	}
	if err := verifyHooks(h.hooks); err != nil {
		return err
	}
	return h.listen(folder)
}

func (h *Host) listen(folder string) error {
	h.socket = filepath.Join(folder, "hook.sock")
	if len(h.socket) > socketPathLimit {
		short, err := os.MkdirTemp("", "flywheel-")
		if err != nil {
			return err
		}
		h.onClose(func() { os.RemoveAll(short) })
		h.socket = filepath.Join(short, "hook.sock")
	}
	listener, err := net.Listen("unix", h.socket)
	if err != nil {
		return fault.New(fault.Unavailable, "git.socket", "The socket for git's hooks cannot be made: %v.", err).
			Do("Use a data folder with a shorter path, on a file system that has sockets.")
	}
	h.onClose(func() { listener.Close() })
	go h.answerHooks(listener)
	return nil
}

// Close ends the answers to hooks: pushes still under way are refused. It is called after the HTTP
// server has finished its requests.
func (h *Host) Close() {
	for i := len(h.teardown) - 1; i >= 0; i-- {
		h.teardown[i]()
	}
	h.teardown = nil
	h.hooks, h.socket = "", ""
}

func (h *Host) onClose(fn func()) { h.teardown = append(h.teardown, fn) }

func (h *Host) log() *slog.Logger {
	if h.Logger == nil {
		return slog.Default()
	}
	return h.Logger
}

var versionPattern = regexp.MustCompile(`^git version (\d+)\.(\d+)`)

func (h *Host) checkGit(ctx context.Context) error {
	remedy := fmt.Sprintf("Install git %d.%d or newer (on Debian: apt-get install git).", oldestMajor, oldestMinor)
	if _, err := exec.LookPath("git"); err != nil {
		return fault.New(fault.Unavailable, "git.missing", "git is not on PATH.").Do("%s", remedy)
	}
	out, err := h.run(ctx, h.environment(), nil, "version")
	if err != nil {
		return fault.New(fault.Unavailable, "git.missing", "git does not run.").Do("%s", remedy).Because(err)
	}
	if !newEnough(string(out)) {
		return fault.New(fault.Unavailable, "git.too_old", "%s is too old.", strings.TrimSpace(string(out))).Do("%s", remedy)
	}
	out, err = h.run(ctx, h.environment(), nil, "--exec-path")
	if err != nil {
		return err
	}
	backend := filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")
	if unix.Access(backend, unix.X_OK) != nil {
		return fault.New(fault.Unavailable, "git.backend_missing", "git has no http-backend (%s).", backend).
			Do("Install the whole of git: some distributions put it into a package of its own, such as git-daemon.")
	}
	return nil
}

func newEnough(version string) bool {
	m := versionPattern.FindStringSubmatch(version)
	if m == nil {
		return false
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	return major > oldestMajor || major == oldestMajor && minor >= oldestMinor
}

// writeHooks writes the hooks into a folder of their own, all read-only.
func writeHooks(folder string) error {
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	for name, script := range hookScripts {
		file := filepath.Join(folder, name)
		if err := os.WriteFile(file, []byte(script), 0o700); err != nil {
			return err
		}
		if err := os.Chmod(file, 0o500); err != nil {
			return err
		}
	}
	return os.Chmod(folder, 0o500)
}

// verifyHooks returns a fault unless the folder holds exactly the hooks, and git will run them. git
// ignores a hook that it may not execute, without a word.
func verifyHooks(folder string) error {
	damaged := func(format string, args ...any) error {
		return fault.New(fault.Unavailable, "git.hooks_damaged", "The hooks that protect %s cannot be relied on: %s.", Main, fmt.Sprintf(format, args...)).
			Do("Restart the server, with a data folder that is on a file system without noexec.")
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return damaged("their folder cannot be read").(*fault.Fault).Because(err)
	}
	if len(entries) != len(hookScripts) {
		return damaged("%s holds %d files instead of %d", folder, len(entries), len(hookScripts))
	}
	for name, script := range hookScripts {
		file := filepath.Join(folder, name)
		info, err := os.Lstat(file)
		if err != nil || info.Mode() != 0o500 || unix.Access(file, unix.X_OK) != nil {
			return damaged("%s may not be executed", name)
		}
		content, err := os.ReadFile(file)
		if err != nil || sha256.Sum256(content) != sha256.Sum256([]byte(script)) {
			return damaged("%s was changed", name)
		}
	}
	return nil
}

// holdLock marks the folder as one of a living process.
func (h *Host) holdLock(folder string) error {
	lock, err := os.Create(filepath.Join(folder, "lock"))
	if err != nil {
		return err
	}
	h.onClose(func() { lock.Close() })
	return unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

// sweep removes what killed processes left behind: their folders under run, and repositories that
// were being made or deleted.
func sweep(root, run string) {
	left, _ := filepath.Glob(filepath.Join(run, "git-*"))
	for _, folder := range left {
		lock, err := os.Open(filepath.Join(folder, "lock"))
		if err != nil {
			continue // being made right now
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			removeAll(folder)
		}
		lock.Close()
	}
	gone, _ := filepath.Glob(filepath.Join(root, ".gone-*"))
	for _, folder := range gone {
		os.RemoveAll(folder)
	}
	unborn, _ := filepath.Glob(filepath.Join(root, "*", ".new-*"))
	for _, folder := range unborn {
		// Another replica may be making one right now.
		if info, err := os.Stat(folder); err == nil && time.Since(info.ModTime()) > copyTimeout {
			os.RemoveAll(folder)
		}
	}
}

// removeAll removes a folder that holds the read-only folder of hooks.
func removeAll(folder string) {
	os.Chmod(filepath.Join(folder, "hooks"), 0o700)
	os.RemoveAll(folder)
}
