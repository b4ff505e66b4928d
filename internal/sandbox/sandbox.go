// Package sandbox runs code we do not trust: the commands of an app's build, the checks and plans of a
// pattern, and apps on the local target.
//
// A command runs in bubblewrap, as nobody, in namespaces of its own, without capabilities. It sees the
// base system read-only, an empty /tmp, and what its Spec binds, and the kernel refuses it calls that no namespace
// holds (filter.go). It has no network but its own loopback.
// What it may reach outside is given by name: a Forward makes a Unix socket of the host a port inside, a
// Proxy lets it fetch from listed hosts, and Dial or Listen reach a server inside from the host. None of
// these puts a socket into the file system of the sandbox: package first, the first process inside, hands
// fresh sockets of its network namespace to the host, and the host connects and listens on them. The
// command can neither replace such a socket nor find another one beside it. Every binary that imports this
// package can be that first process: see package first for why it needs no command of its own.
//
// The memory and the number of tasks are limited by cgroups where they can be written, else by watching the
// process tree, which is slower to notice. Address space is never limited: Go programs reserve far more
// than they use. The tasks of a sandbox end with its Cmd, with its context, and with the platform.
//
// With Options.Off there is no isolation at all: the same calls run the command on the host with a cleared
// environment. Binds are then not made; the folder, arguments and environment of the Spec are rewritten from
// Target to Source where they begin with a Target, and ports inside are ports of the host's loopback.
//
// Deliberately absent: images and layers, user name mapping (files written inside belong to the platform's
// user), quotas that the kernel keeps on bound folders (a watcher looks at them), and any way to add privileges.
package sandbox

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/fault"
)

// Options say how sandboxes are made.
type Options struct {
	Self string // the flywheel binary, by default the running one
	Off  bool   // run without isolation; whoever sets it has it audited
}

// Sandbox makes sandboxes. It is safe for concurrent use and is never closed.
type Sandbox struct {
	settings Settings
	self     *os.File // kept open: an upgrade of the binary must not change what runs inside
	base     []string // flags that show the base system
	filter   string   // of the kernel's calls
}

// Settings are what New found out. They let another process of the platform make the same sandboxes without
// proving and searching again.
type Settings struct {
	Off   bool
	Bwrap string
	// Folders in which groups can be made that limit memory and tasks, "" where there is none. On cgroup v2
	// both are the same folder; file names tell the versions apart.
	Memory, Tasks string
}

// Settings returns what Open takes.
func (s *Sandbox) Settings() Settings { return s.settings }

// Open returns what makes sandboxes as New of another process did. Nothing is run without isolation where
// the first one fails: it has the same fault.
func Open(settings Settings) (*Sandbox, error) {
	if settings == (Settings{}) {
		return nil, errors.New("sandbox: no settings")
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	return &Sandbox{settings: settings, self: self, base: baseSystem(), filter: string(callFilter())}, nil
}

// isolation is the part of the flags that must never be weakened: without them, a read-only bind was
// remounted writable by a command that ran as root.
var isolation = []string{
	"--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534", "--cap-drop", "ALL",
	"--disable-userns", "--new-session", "--clearenv",
}

// New returns what makes sandboxes, after it has run one. Where that fails, the fault
// "sandbox.unavailable" says why and what to do; nothing is ever run without isolation instead.
func New(options Options) (*Sandbox, error) {
	if options.Self == "" {
		options.Self = "/proc/self/exe"
	}
	self, err := os.Open(options.Self)
	if err != nil {
		return nil, err
	}
	s := &Sandbox{settings: findCgroups(), self: self}
	if s.settings.Off = options.Off; options.Off {
		return s, nil
	}
	if s.settings.Bwrap, err = exec.LookPath("bwrap"); err != nil {
		return nil, fault.New(fault.Unavailable, "sandbox.unavailable", "Bubblewrap is not installed, so neither the engine nor apps can be run.").
			Do("Install the package bubblewrap, version 0.8 or newer.").Because(err)
	}
	if s.base, s.filter = baseSystem(), string(callFilter()); s.filter == "" {
		return nil, fault.New(fault.Unavailable, "sandbox.unavailable", "The calls that the sandbox must refuse are not known for the architecture %s, so neither the engine nor apps can be run.", runtime.GOARCH).
			Do("Run Flywheel on amd64 or arm64, or start it with --sandbox=off, which is audited.")
	}
	return s, s.prove()
}

// Off reports whether commands run without isolation.
func (s *Sandbox) Off() bool { return s.settings.Off }

// prove runs a command that does nothing.
func (s *Sandbox) prove() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd, err := s.Command(ctx, Spec{Args: []string{"true"}})
	if err != nil {
		return err
	}
	return cmd.Run()
}

// unavailable explains why bubblewrap ended before the command began.
func unavailable(complaint string, cause error) error {
	lines := strings.Split(strings.TrimSpace(complaint), "\n")
	reason := strings.TrimPrefix(lines[len(lines)-1], "bwrap: ")
	if reason == "" {
		reason = "it ended without a reason"
	}
	return fault.New(fault.Unavailable, "sandbox.unavailable", "The sandbox cannot be made: %s.", strings.TrimSuffix(reason, ".")).
		Do("Allow user namespaces (sysctl user.max_user_namespaces; on Ubuntu an AppArmor profile for bwrap; in a container, " +
			"its seccomp and /proc settings) and use bubblewrap 0.8 or newer, or accept the risk with --sandbox=off.").Because(cause)
}

// baseSystem returns the flags that show programs and libraries of the host, and of /etc only what
// programs need to start. /etc/ssl as a whole holds private keys that could be read where the platform
// runs as root. Each bind costs a start about 0.2 ms.
func baseSystem() []string {
	flags := []string{"--ro-bind", "/usr", "/usr"}
	for _, dir := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		if target, err := os.Readlink(dir); err == nil {
			flags = append(flags, "--symlink", target, dir)
		} else if _, err := os.Stat(dir); err == nil {
			flags = append(flags, "--ro-bind", dir, dir)
		}
	}
	if target, err := filepath.EvalSymlinks("/etc/localtime"); err == nil && strings.HasPrefix(target, "/usr/") {
		flags = append(flags, "--symlink", target, "/etc/localtime")
	}
	for _, path := range []string{
		"/etc/ld.so.cache", "/etc/alternatives",
		"/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf", "/etc/pki/tls/certs", "/etc/pki/ca-trust",
	} {
		if _, err := os.Stat(path); err == nil {
			flags = append(flags, "--ro-bind", path, path)
		}
	}
	return flags
}

// stubs are the files of /etc that would tell about the host. Network Host shows the real hosts file.
var stubs = []struct{ path, text string }{
	{"/etc/passwd", "nobody:x:65534:65534:nobody:/tmp:/bin/sh\n"},
	{"/etc/group", "nobody:x:65534:\n"},
	{"/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"},
}

// coverProc returns the flags that take from /proc what belongs to the whole machine. Where the platform
// runs as root, nobody inside is root outside, and the kernel lets that user write sysctls without any
// capability: through /proc/sys/kernel/core_pattern it became root of the host. Bubblewrap looks only at
// the mode of the folder and leaves it open, so everything that is not a process is made read-only, and
// files that only root may read, or that anybody may write, are covered.
//
// Where the platform is not root, modes hold, except for what anybody may write.
func coverProc() (flags []string) {
	if os.Geteuid() != 0 {
		return []string{"--ro-bind-try", "/proc/sys", "/proc/sys", "--ro-bind-try", "/proc/pressure", "/proc/pressure"}
	}
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		if strings.Trim(entry.Name(), "0123456789") == "" {
			continue
		}
		info, err := entry.Info()
		path := "/proc/" + entry.Name()
		switch {
		case err != nil || info.Mode().Type() == fs.ModeSymlink:
		case info.IsDir():
			flags = append(flags, "--ro-bind-try", path, path)
		case info.Mode()&0o004 == 0 || info.Mode()&0o222 != 0:
			flags = append(flags, "--ro-bind", "/dev/null", path)
		}
	}
	return flags
}

// flags returns the arguments of bubblewrap for spec, up to the command, and the files it reads from
// file descriptors that begin with firstFD.
func (s *Sandbox) flags(spec Spec, firstFD int) (flags []string, files []*os.File, err error) {
	flags = append(flags, isolation...)
	flags = append(flags, "--as-pid-1")
	if spec.Orphan == 0 { // else the first process ends everything: it too sees that the platform is gone
		flags = append(flags, "--die-with-parent")
	}
	if spec.Network == Host {
		flags = append(flags, "--share-net")
	}
	tmp := "1073741824"
	if spec.Memory > 0 {
		tmp = itoa(spec.Memory)
	}
	flags = append(flags, s.base...)
	flags = append(flags, "--proc", "/proc")
	flags = append(flags, coverProc()...)
	flags = append(flags, "--dev", "/dev", "--size", tmp, "--tmpfs", "/dev/shm", "--remount-ro", "/dev",
		"--size", tmp, "--tmpfs", "/tmp")
	give := func(text string) (fd string, err error) {
		file, err := readable(text)
		if err != nil {
			closeAll(files)
			return "", err
		}
		files = append(files, file)
		return itoa(firstFD + len(files) - 1), nil
	}
	if s.filter != "" {
		fd, err := give(s.filter)
		if err != nil {
			return nil, nil, err
		}
		flags = append(flags, "--seccomp", fd)
	}
	for _, stub := range stubs {
		if spec.Network == Host && stub.path == "/etc/hosts" {
			flags = append(flags, "--ro-bind-try", "/etc/hosts", "/etc/hosts", "--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf")
			continue
		}
		fd, err := give(stub.text)
		if err != nil {
			return nil, nil, err
		}
		flags = append(flags, "--file", fd, stub.path)
	}
	for _, b := range spec.Binds {
		how := "--ro-bind"
		if b.Writable {
			how = "--bind"
		}
		flags = append(flags, how, b.Source, b.Target)
	}
	// What is left of / is a file system in memory: it must not be a place to write without limit.
	return append(flags, "--remount-ro", "/"), files, nil
}

// readable returns the reading end of a pipe that holds text.
func readable(text string) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	_, err = io.WriteString(w, text)
	return r, err
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// hostPath returns text, or for --sandbox=off the path on the host if text begins with a Target.
func (s *Sandbox) hostPath(binds []Bind, text string) string {
	if !s.settings.Off {
		return text
	}
	best := Bind{}
	for _, b := range binds {
		target := filepath.Clean(b.Target)
		if (text == target || strings.HasPrefix(text, target+"/")) && len(target) > len(best.Target) {
			best = Bind{Source: b.Source, Target: target}
		}
	}
	return best.Source + strings.TrimPrefix(text, best.Target)
}
