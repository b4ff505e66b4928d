package sandbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"flywheel.dev/flywheel/internal/patience"
)

// attacks are what a stranger's command may try. Each returns nil if it got what it wanted.
var attacks = map[string]func(args []string) error{
	// The host's files.
	"read": func(args []string) error {
		_, err := os.ReadFile(args[0])
		return err
	},
	"write": func(args []string) error {
		return os.WriteFile(filepath.Join(args[0], "escaped"), []byte("x"), 0o600)
	},
	"open for writing": func(args []string) error {
		f, err := os.OpenFile(args[0], os.O_WRONLY, 0)
		if err == nil {
			f.Close()
		}
		return err
	},
	"write somewhere in proc": func([]string) error {
		var open []string
		filepath.WalkDir("/proc", func(path string, entry os.DirEntry, err error) error {
			if err != nil || strings.Trim(strings.TrimPrefix(path, "/proc/"), "0123456789") == "" {
				if entry != nil && entry.IsDir() && path != "/proc" {
					return filepath.SkipDir
				}
				return nil
			}
			if entry.Type().IsRegular() {
				if f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
					f.Close()
					open = append(open, path)
				}
			}
			return nil
		})
		if len(open) == 0 {
			return errors.New("nothing can be written")
		}
		fmt.Println(len(open), "files can be written, for example", open[0])
		return nil
	},
	"remount": func(args []string) error {
		if err := syscall.Mount("none", args[0], "", syscall.MS_REMOUNT|syscall.MS_BIND, ""); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(args[0], "escaped"), []byte("x"), 0o600)
	},
	"unmount": func(args []string) error { return syscall.Unmount(args[0], syscall.MNT_DETACH) },
	"mount":   func([]string) error { return syscall.Mount("tmpfs", "/tmp", "tmpfs", 0, "") },
	"mount proc": func([]string) error {
		return syscall.Mount("proc", "/tmp", "proc", 0, "")
	},
	"make a device": func([]string) error { return syscall.Mknod("/tmp/disk", syscall.S_IFBLK|0o600, 8<<8) },
	"change root":   func([]string) error { return syscall.Chroot("/tmp") },
	"become root":   func([]string) error { return syscall.Setuid(0) },
	"read an open file of the platform": func(args []string) error {
		for fd := 3; fd < 1024; fd++ {
			text := make([]byte, 64)
			if n, _ := syscall.Pread(fd, text, 0); n > 0 && strings.Contains(string(text[:n]), args[0]) {
				return nil
			}
		}
		return errors.New("no such open file")
	},

	// The host's processes.
	"see a process": func(args []string) error {
		_, err := findProcess(args[0])
		return err
	},
	"kill a process": func(args []string) error {
		pid, err := findProcess(args[0])
		if err != nil {
			return errors.Join(err, syscall.Kill(atoi(args[1]), syscall.SIGKILL))
		}
		return syscall.Kill(pid, syscall.SIGKILL)
	},
	"trace a process": func(args []string) error {
		runtime.LockOSThread()
		if err := syscall.PtraceAttach(atoi(args[0])); err != nil {
			return err
		}
		syscall.Wait4(atoi(args[0]), nil, 0, nil)
		return syscall.PtraceDetach(atoi(args[0]))
	},
	"read an environment": func(args []string) error {
		all, _ := filepath.Glob("/proc/*/environ")
		for _, file := range all {
			if text, _ := os.ReadFile(file); bytes.Contains(text, []byte(args[0])) {
				return nil
			}
		}
		return fmt.Errorf("not in the %d that are here", len(all))
	},
	"create a user namespace": func([]string) error {
		cmd := exec.Command("/bin/true")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
		return cmd.Run()
	},

	// The host's network.
	"connect": func(args []string) error {
		conn, err := net.DialTimeout(args[0], args[1], patience.Of(time.Minute))
		if err == nil {
			conn.Close()
		}
		return err
	},

	// What the kernel keeps for the user of the platform.
	"read a key of the platform": func(args []string) error {
		runtime.LockOSThread()
		keys, _ := os.ReadFile("/proc/keys")
		for line := range strings.Lines(strings.Repeat(string(keys), 2)) {
			id, _ := strconv.ParseInt(strings.Fields(line)[0], 16, 64)
			unix.KeyctlInt(unix.KEYCTL_LINK, int(id), unix.KEY_SPEC_SESSION_KEYRING, 0, 0) // who owns a keyring may use what it holds
			text := make([]byte, 64)
			if n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, int(id), text, 0); err == nil && bytes.HasPrefix(text[:min(n, len(text))], []byte(args[0])) {
				return nil
			}
		}
		return errors.New("no such key")
	},
	"join a keyring of the platform": func([]string) error {
		_, err := unix.KeyctlJoinSessionKeyring("flywheel")
		return err
	},
	"open a socket": func(args []string) error {
		fd, err := unix.Socket(atoi(args[0]), unix.SOCK_STREAM, 0)
		if err == nil {
			unix.Close(fd)
		}
		return err
	},
	"make a ring": func([]string) error {
		_, _, err := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&[120]byte{})), 0)
		return orNil(err)
	},
	"load a program into the kernel": func([]string) error {
		_, _, err := unix.Syscall(unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&[128]byte{0: 2, 4: 4, 8: 4, 12: 1})), 20)
		return orNil(err)
	},

	// More than it may use.
	"use memory": func(args []string) error {
		var kept [][]byte
		for range atoi(args[0]) {
			block := make([]byte, 1<<20)
			for i := range block {
				block[i] = 1
			}
			kept = append(kept, block)
			time.Sleep(2 * time.Millisecond)
		}
		runtime.KeepAlive(kept)
		return nil
	},
	"use disk": func(args []string) error {
		f, err := os.Create(filepath.Join(args[0], "big"))
		if err != nil {
			return err
		}
		defer os.Remove(f.Name())
		for range atoi(args[1]) {
			if _, err := f.Write(make([]byte, 1<<20)); err != nil {
				return err
			}
		}
		return nil
	},
	"use processes": func(args []string) error {
		for range atoi(args[0]) {
			if err := exec.Command("/bin/sleep", "300").Start(); err != nil {
				return err
			}
		}
		time.Sleep(time.Minute)
		return nil
	},
}

// helpers are honest commands that tests run inside.
var helpers = map[string]func(args []string) error{
	// ignores every request to end, has children that left its group, and says when all of them run.
	"stubborn": func(args []string) error {
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		for range 3 {
			cmd := exec.Command("/bin/sh", "-c", `trap "" TERM HUP; (trap "" TERM HUP; setsid sleep 300) & sleep 300 & wait`, args[0])
			cmd.Args[0] = args[0]
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := cmd.Start(); err != nil {
				return err
			}
		}
		fmt.Println("up")
		time.Sleep(time.Minute)
		return nil
	},
	"echo server": func(args []string) error {
		l, err := net.Listen("tcp", "127.0.0.1:"+args[0])
		if err != nil {
			return err
		}
		fmt.Println("up")
		return serveEcho(l)
	},
	"echo client": func(args []string) error {
		conn, err := net.Dial("tcp", "127.0.0.1:"+args[0])
		if err != nil {
			return err
		}
		return askEcho(conn, 1<<20)
	},
	"wait for a line, then run the echo client": func(args []string) error {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			conn, err := net.Dial("tcp", "127.0.0.1:"+args[0])
			if err == nil {
				err = askEcho(conn, 100)
			}
			fmt.Println(err)
		}
		return nil
	},
	// makes folders in folders, a file at the end, and others that their owner may not look into.
	"dig": func(args []string) error {
		if err := os.Chdir(args[0]); err != nil {
			return err
		}
		for range atoi(args[1]) {
			if err := errors.Join(os.Mkdir("d", 0o700), os.Chdir("d")); err != nil {
				return err
			}
		}
		return errors.Join(os.WriteFile("end", nil, 0o600), os.MkdirAll("sealed/in/side", 0o700), os.Chmod("sealed/in", 0), os.Chmod("sealed", 0))
	},
	"get": func(args []string) error {
		proxy, err := url.Parse(os.Getenv("HTTPS_PROXY"))
		if err != nil {
			return err
		}
		client := http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: insecure}, Timeout: patience.Of(patience.Limit)}
		answer, err := client.Get(args[0])
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		fmt.Printf("%d %s", answer.StatusCode, text)
		return err
	},
	"leave zombies": func([]string) error {
		for range 20 {
			if err := exec.Command("/bin/sh", "-c", "true & exit").Run(); err != nil {
				return err
			}
		}
		return poll(func() error {
			stats, _ := filepath.Glob("/proc/[0-9]*/stat")
			for _, file := range stats {
				if text, _ := os.ReadFile(file); strings.Contains(string(text), ") Z ") {
					return fmt.Errorf("a zombie is left: %s", text)
				}
			}
			return nil
		})
	},
	// runs a command that may outlive it in a sandbox of its own, and waits to be killed.
	"platform of an orphan": func(args []string) error {
		s, err := New(Options{Off: args[0] == "off"})
		if err != nil {
			return err
		}
		grace, err := time.ParseDuration(args[1])
		if err != nil {
			return err
		}
		cmd, err := s.Command(backgroundContext, Spec{
			Args: []string{"sh", "-c", args[2]}, Dir: "/work", Orphan: grace, Stdout: os.Stdout, Stderr: struct{ io.Writer }{io.Discard},
			Binds: []Bind{{Source: args[3], Target: "/work", Writable: true}}, Forwards: []Forward{{Socket: "/nowhere"}},
		})
		if err != nil {
			return err
		}
		if err := cmd.Prepare(); err != nil {
			return err
		}
		if err := cmd.Start("PORT=" + itoa(cmd.Port(0))); err != nil {
			return err
		}
		return cmd.Wait()
	},
	// runs the command in a sandbox of its own and waits to be killed.
	"platform": func(args []string) error {
		s, err := New(Options{Off: args[0] == "off"})
		if err != nil {
			return err
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		cmd, err := s.Command(backgroundContext, Spec{
			Args: []string{"/program", "stubborn", args[1]}, Stdout: os.Stdout, Stderr: os.Stderr,
			Binds: []Bind{{Source: self, Target: "/program"}},
		})
		if err != nil {
			return err
		}
		return cmd.Run()
	},
}

func orNil(err syscall.Errno) error {
	if err == 0 {
		return nil
	}
	return err
}

func atoi(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}

// findProcess returns a process with this argument, other than the searching one.
func findProcess(arg string) (pid int, err error) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range all {
		text, _ := os.ReadFile(file)
		pid, _ = strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if pid != os.Getpid() && bytes.HasPrefix(text, []byte(arg+"\x00")) {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("it is none of the %d that are here", len(all))
}

func serveEcho(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			// Answers only after the end of the question: this needs half-closed connections.
			text, err := io.ReadAll(conn)
			if err == nil {
				conn.Write(text)
			}
		}()
	}
}

func askEcho(conn net.Conn, size int) error {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience.Of(patience.Limit)))
	question := bytes.Repeat([]byte("?"), size)
	if _, err := conn.Write(question); err != nil {
		return err
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err == nil && !bytes.Equal(answer, question) {
		err = fmt.Errorf("the echo has %d bytes of %d", len(answer), size)
	}
	return err
}

// poll tries until it works or ten seconds are over.
func poll(try func() error) error {
	deadline := time.Now().Add(patience.Of(patience.Limit))
	for {
		err := try()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}
