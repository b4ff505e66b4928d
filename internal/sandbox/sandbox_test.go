package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/patience"
	"flywheel.dev/flywheel/internal/sandbox/proxy"
)

var (
	backgroundContext = context.Background()
	insecure          = &tls.Config{InsecureSkipVerify: true} // the certificate of a test server
)

func TestMain(m *testing.M) {
	if len(os.Args) < 2 || attacks[os.Args[1]] == nil && helpers[os.Args[1]] == nil {
		os.Exit(m.Run())
	}
	act := attacks[os.Args[1]]
	if act == nil {
		act = helpers[os.Args[1]]
	}
	if err := act(os.Args[2:]); err != nil {
		fmt.Println("failed:", err)
		os.Exit(7)
	}
}

func open(t testing.TB, options Options) *Sandbox {
	t.Helper()
	s, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// program is the spec that runs one of the attacks or helpers.
func program(t testing.TB, args ...string) Spec {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Spec{Args: append([]string{"/program"}, args...), Binds: []Bind{{Source: self, Target: "/program"}}}
}

// run returns everything the command wrote and how it ended. It is killed after a minute.
func run(t testing.TB, s *Sandbox, spec Spec) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(backgroundContext, patience.Of(patience.Limit))
	defer cancel()
	var out bytes.Buffer
	spec.Stdout, spec.Stderr = &out, &out
	cmd, err := s.Command(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	err = cmd.Run()
	return out.String(), err
}

func shell(script string) Spec { return Spec{Args: []string{"sh", "-c", script}} }

// running is a command that has said "up".
type running struct {
	*Cmd
	out   *bufio.Reader
	input io.Writer
	drain *sync.Once
}

func start(t testing.TB, ctx context.Context, s *Sandbox, spec Spec) running {
	t.Helper()
	r, w := io.Pipe()
	in, input := io.Pipe()
	spec.Stdout, spec.Stderr, spec.Stdin = w, w, in
	cmd, err := s.Command(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	result := running{cmd, bufio.NewReader(r), input, new(sync.Once)}
	t.Cleanup(func() {
		input.Close()
		result.end()
	})
	return result
}

// end kills the command and waits for its end.
func (r running) end() error {
	r.Signal(syscall.SIGKILL)
	r.drain.Do(func() { go io.Copy(io.Discard, r.out) })
	return r.Wait()
}

func (r running) line(t testing.TB) string {
	t.Helper()
	line, err := r.out.ReadString('\n')
	if err != nil {
		t.Fatal(line, err)
	}
	return strings.TrimSpace(line)
}

// bothWays runs a test with and without isolation.
func bothWays(t *testing.T, test func(t *testing.T, s *Sandbox)) {
	t.Run("in the sandbox", func(t *testing.T) { test(t, open(t, Options{})) })
	t.Run("with the sandbox off", func(t *testing.T) { test(t, open(t, Options{Off: true})) })
}

func TestAllOfThisHoldsForANormalUserToo(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this is the normal user")
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "sandbox-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "sandbox.test")
	err = errors.Join(os.WriteFile(copied, binary, 0o755), os.Chmod(dir, 0o755), os.Chown(dir, nobody, nobody))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(copied, "-test.v", "-test.timeout=5m")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	passed := bytes.Count(out, []byte("--- PASS"))
	if err != nil || passed < 20 {
		t.Fatalf("%v; %d tests passed\n%s", err, passed, out)
	}
}

func TestEveryEscapeFailsInsideAndWorksWithout(t *testing.T) {
	inside, without := open(t, Options{}), open(t, Options{Off: true})
	dir := t.TempDir()
	secret, readOnly := filepath.Join(dir, "secret.key"), filepath.Join(dir, "read-only")
	if err := errors.Join(os.WriteFile(secret, []byte("hunter2-of-the-platform"), 0o600), os.Mkdir(readOnly, 0o700)); err != nil {
		t.Fatal(err)
	}
	leaked, err := syscall.Open(secret, syscall.O_RDONLY, 0) // on purpose without O_CLOEXEC
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(leaked)
	tcp, abstract, socket := listenOn(t, "tcp", "127.0.0.1:0"), listenOn(t, "unix", "@flywheel-"+filepath.Base(dir)), listenOn(t, "unix", socketPath(t))
	root := os.Getuid() == 0
	key, err := unix.AddKey("user", "flywheel-"+filepath.Base(dir), []byte("hunter2-in-a-keyring"), unix.KEY_SPEC_USER_KEYRING)
	hasKey := err == nil // a container may refuse it
	if hasKey {
		defer unix.KeyctlInt(unix.KEYCTL_UNLINK, key, unix.KEY_SPEC_USER_KEYRING, 0, 0)
	}

	for _, attack := range []struct {
		name    string
		args    []string
		control bool // works with the sandbox off: then the attack itself is sound
	}{
		{"read", []string{secret}, true},
		{"read", []string{"/etc/shadow"}, root},
		{"read", []string{"/etc/hostname"}, true},
		{"write", []string{"/read-only"}, true},
		{"write", []string{"/usr"}, false},
		{"write", []string{"/etc"}, false},
		{"write", []string{"/"}, false},
		{"write", []string{"/dev"}, false},
		{"open for writing", []string{"/program"}, false},
		{"open for writing", []string{"/bin/sh"}, false},
		{"open for writing", []string{"/proc/sys/kernel/core_pattern"}, root},
		{"open for writing", []string{"/proc/sys/user/max_user_namespaces"}, false},
		{"open for writing", []string{"/proc/sysrq-trigger"}, false},
		{"write somewhere in proc", nil, root},
		{"read", []string{"/proc/kmsg"}, false},
		{"read", []string{"/proc/kpagecount"}, root},
		{"open for writing", []string{"/proc/1/mem"}, false},
		{"open for writing", []string{"/proc/1/exe"}, false},
		{"open for writing", []string{"/proc/1/fd/3"}, false},
		{"read", []string{"/proc/1/environ"}, false},
		{"read", []string{"/sys/kernel/uevent_seqnum"}, true},
		{"remount", []string{"/read-only"}, false},
		{"remount", []string{"/usr"}, false},
		{"unmount", []string{"/read-only"}, false},
		{"unmount", []string{"/proc/sys"}, false},
		{"mount", nil, false},
		{"mount proc", nil, false},
		{"make a device", nil, false},
		{"change root", nil, root},
		{"become root", nil, root},
		{"read an open file of the platform", []string{"hunter2"}, false},
		{"see a process", []string{"victim"}, true},
		{"trace a process", []string{"victim"}, root},
		{"trace a process", []string{"1"}, false},
		{"read an environment", []string{"hunter2-in-the-environment"}, true},
		{"create a user namespace", nil, true},
		{"read a key of the platform", []string{"hunter2-in-a-keyring"}, hasKey},
		{"join a keyring of the platform", nil, hasKey},
		{"open a socket", []string{itoa(unix.AF_VSOCK)}, false},
		{"open a socket", []string{itoa(unix.AF_ALG)}, false},
		{"make a ring", nil, false},
		{"load a program into the kernel", nil, false},
		{"connect", []string{"tcp", tcp}, true},
		{"connect", []string{"unix", abstract}, true},
		{"connect", []string{"unix", socket}, true},
		{"kill a process", []string{"victim", "pid"}, true},
	} {
		t.Run(attack.name+" "+strings.Join(attack.args, " "), func(t *testing.T) {
			victim := exec.Command("/bin/sleep", "300")
			victim.Args[0] = "victim" + filepath.Base(filepath.Dir(dir))
			victim.Env = []string{"SECRET=hunter2-in-the-environment"}
			if err := victim.Start(); err != nil {
				t.Fatal(err)
			}
			defer victim.Wait()
			defer victim.Process.Kill()
			args := strings.Fields(attack.name)[:0]
			for _, arg := range attack.args {
				if arg == "victim" && attack.name == "trace a process" || arg == "pid" {
					arg = itoa(victim.Process.Pid)
				} else if arg == "victim" {
					arg = victim.Args[0]
				}
				args = append(args, arg)
			}
			spec := program(t, append([]string{attack.name}, args...)...)
			spec.Binds = append(spec.Binds, Bind{Source: readOnly, Target: "/read-only"})

			out, err := run(t, inside, spec)
			var exit *ExitError
			if !errors.As(err, &exit) || exit.Code != 7 || !strings.HasPrefix(out, "failed:") {
				t.Errorf("inside: %v, %s", err, out)
			}
			t.Log("inside:", strings.TrimSpace(out))
			if attack.control {
				if out, err := run(t, without, spec); err != nil {
					t.Errorf("without the sandbox the attack should work: %v, %s", err, out)
				}
			}
		})
	}
}

func listenOn(t *testing.T, network, address string) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go serveEcho(l)
	return l.Addr().String()
}

func TestACommandHasItsOwnEnvironmentAndNobodyElseSeesIt(t *testing.T) {
	t.Setenv("OF_THE_PLATFORM", "secret")
	bothWays(t, func(t *testing.T, s *Sandbox) {
		spec := shell("env; echo up; sleep 300")
		spec.Env = []string{"PATH=/first", "TOKEN=for-the-app", "PATH=/second"}
		cmd := start(t, backgroundContext, s, spec)
		var env []string
		for line := cmd.line(t); line != "up"; line = cmd.line(t) {
			env = append(env, line)
		}
		got := strings.Join(env, "\n")
		if strings.Contains(got, "OF_THE_PLATFORM") || !strings.Contains(got, "TOKEN=for-the-app") || !strings.Contains(got, "PATH=/first:/second:/usr/local/sbin:") {
			t.Error(got)
		}
		// Anybody on the host may read command lines.
		lines, _ := filepath.Glob("/proc/*/cmdline")
		for _, file := range lines {
			if text, _ := os.ReadFile(file); strings.Contains(string(text), "for-the-app") {
				t.Errorf("%s: %q", file, text)
			}
		}
	})
}

func TestNothingStaysBetweenTwoSandboxes(t *testing.T) {
	s := open(t, Options{})
	if out, err := run(t, s, shell("echo x > /tmp/left && echo x > /dev/shm/left")); err != nil {
		t.Fatal(out, err)
	}
	if out, err := run(t, s, shell("ls /tmp /dev/shm")); err != nil || strings.Contains(out, "left") {
		t.Fatal(out, err)
	}
}

func TestACommandEndsAsItWouldOutside(t *testing.T) {
	bothWays(t, func(t *testing.T, s *Sandbox) {
		if out, err := run(t, s, shell("echo one; echo two >&2; echo three")); err != nil || out != "one\ntwo\nthree\n" {
			t.Errorf("%q, %v", out, err)
		}
		var exit *ExitError
		if _, err := run(t, s, shell("exit 3")); !errors.As(err, &exit) || *exit != (ExitError{Code: 3}) {
			t.Error(err)
		}
		if _, err := run(t, s, shell("kill -SEGV $$")); !errors.As(err, &exit) || *exit != (ExitError{139, syscall.SIGSEGV}) {
			t.Error(err)
		}
		spec := shell("cat")
		spec.Stdin = strings.NewReader("some input")
		if out, err := run(t, s, spec); err != nil || out != "some input" {
			t.Errorf("%q, %v", out, err)
		}
		spec = shell("exit 0")
		spec.Stdin, _ = io.Pipe() // never ends
		if _, err := run(t, s, spec); err != nil {
			t.Error(err)
		}
		spec = shell("cat /dev/zero | head -c 3000000; echo 'not merged' >&2")
		var out, errOut bytes.Buffer
		spec.Stdout, spec.Stderr = &out, &errOut
		cmd, err := s.Command(backgroundContext, spec)
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Run(); err != nil || out.Len() != 3000000 || errOut.String() != "not merged\n" {
			t.Error(err, out.Len(), errOut.String())
		}
	})
}

func TestACommandThatCannotRunSaysWhy(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	bothWays(t, func(t *testing.T, s *Sandbox) {
		for _, c := range []struct {
			spec Spec
			why  string
		}{
			{Spec{Args: []string{"no-such-program"}}, "no such file"},
			{Spec{Args: []string{"/no/such/program"}}, "no such file"},
			{Spec{Args: []string{plain}, Binds: []Bind{{plain, plain, false}}}, "permission denied"},
			{Spec{Args: []string{"true"}, Dir: "/no/such/folder"}, "no such file"},
		} {
			_, err := run(t, s, c.spec)
			if !fault.Is(err, "sandbox.cannot_run") || !strings.Contains(err.Error(), c.why) {
				t.Errorf("%v: %v", c.spec.Args, err)
			}
		}
		if _, err := run(t, s, Spec{Args: []string{"true", strings.Repeat("x", 1<<20)}}); !fault.Is(err, "sandbox.environment_too_large") {
			t.Error(err)
		}
	})
}

func TestBindsShowWhatTheyNameAndWritableOnesKeepWhatIsWritten(t *testing.T) {
	bothWays(t, func(t *testing.T, s *Sandbox) {
		source, work := t.TempDir(), t.TempDir()
		if err := os.WriteFile(filepath.Join(source, "in"), []byte("text"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := run(t, s, Spec{
			Args: []string{"cp", "/source/in", "/work/out"}, Dir: "/work",
			Binds: []Bind{{Source: source, Target: "/source"}, {Source: work, Target: "/work", Writable: true}},
		})
		text, readErr := os.ReadFile(filepath.Join(work, "out"))
		if err != nil || readErr != nil || string(text) != "text" {
			t.Fatal(err, readErr, string(text))
		}
		if err := os.Remove(filepath.Join(work, "out")); err != nil {
			t.Error("what was written belongs to the platform:", err)
		}
		if _, err := s.Command(backgroundContext, Spec{Args: []string{"true"}, Binds: []Bind{{Source: "/no/such", Target: "/x"}}}); err == nil {
			t.Error("a bind of nothing was accepted")
		}
	})
}

func TestAnEndedContextEndsTheCommandPolitelyAndThenAllOfIt(t *testing.T) {
	bothWays(t, func(t *testing.T, s *Sandbox) {
		t.Run("it may tidy up", func(t *testing.T) {
			ctx, cancel := context.WithCancel(backgroundContext)
			cmd := start(t, ctx, s, shell(`trap "echo tidied; exit 0" TERM; echo up; while :; do sleep 0.01; done`))
			cmd.line(t)
			cancel()
			if line := cmd.line(t); line != "tidied" {
				t.Error(line)
			}
			if err := cmd.Wait(); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		t.Run("it must end", func(t *testing.T) {
			ctx, cancel := context.WithCancel(backgroundContext)
			mark := "stubborn" + filepath.Base(filepath.Dir(t.TempDir()))
			spec := program(t, "stubborn", mark)
			spec.Grace = 50 * time.Millisecond
			cmd := start(t, ctx, s, spec)
			cmd.line(t)
			if _, err := findProcess(mark); err != nil {
				t.Fatal("its children should run:", err)
			}
			cancel()
			if err := cmd.Wait(); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if pid, err := findProcess(mark); err == nil {
				t.Errorf("process %d is left", pid)
			}
		})
	})
}

func TestTheEndOfACommandIsTheEndOfWhatItStarted(t *testing.T) {
	bothWays(t, func(t *testing.T, s *Sandbox) {
		mark := "left" + filepath.Base(filepath.Dir(t.TempDir()))
		// exec -a is not in every sh; env in a renamed shell is.
		out, err := run(t, s, Spec{Args: []string{"bash", "-c", `(setsid bash -c 'trap "" TERM HUP; exec -a "$0" sleep 300' "$0" &) ; exit 4`, mark}})
		var exit *ExitError
		if !errors.As(err, &exit) || exit.Code != 4 {
			t.Fatal(out, err)
		}
		if pid, err := findProcess(mark); err == nil {
			t.Errorf("process %d is left", pid)
		}
	})
}

func TestAKilledPlatformLeavesNothingRunning(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"on", "off"} {
		t.Run("sandbox "+mode, func(t *testing.T) {
			mark := "orphan" + filepath.Base(filepath.Dir(t.TempDir()))
			platform := exec.Command(self, "platform", mode, mark)
			out, err := platform.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := platform.Start(); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(out).ReadString('\n'); line != "up\n" {
				t.Fatal(line, err)
			}
			if _, err := findProcess(mark); err != nil {
				t.Fatal(err)
			}
			platform.Process.Kill()
			platform.Wait()
			if err := poll(func() error {
				if pid, err := findProcess(mark); err == nil {
					return fmt.Errorf("process %d is left", pid)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSignalsReachTheCommand(t *testing.T) {
	bothWays(t, func(t *testing.T, s *Sandbox) {
		cmd := start(t, backgroundContext, s, shell(`trap "echo got it" USR1; echo up; while :; do sleep 0.01; done`))
		cmd.line(t)
		if err := cmd.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		if line := cmd.line(t); line != "got it" {
			t.Error(line)
		}
		var exit *ExitError
		if err := cmd.end(); !errors.As(err, &exit) || exit.Signal != syscall.SIGKILL {
			t.Error(err)
		}
		if err := cmd.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
	})
}

func TestZombiesAreReaped(t *testing.T) {
	if out, err := run(t, open(t, Options{}), program(t, "leave zombies")); err != nil {
		t.Error(out, err)
	}
}

func TestLimitsEndTheCommandAndSaySo(t *testing.T) {
	s := open(t, Options{})
	watching := *s
	watching.settings.Memory, watching.settings.Tasks = "", ""
	t.Logf("cgroups: %+v", s.settings)
	for name, s := range map[string]*Sandbox{"as this host allows": s, "watching the processes": &watching} {
		t.Run(name, func(t *testing.T) {
			memory := program(t, "use memory", "1000")
			memory.Memory = 64 << 20
			if out, err := run(t, s, memory); !fault.Is(err, "sandbox.out_of_memory") {
				t.Error(out, err)
			}
			memory = program(t, "use memory", "100")
			memory.Memory = 1 << 30
			if out, err := run(t, s, memory); err != nil {
				t.Error("below the limit:", out, err)
			}
			mark := "crowd" + filepath.Base(filepath.Dir(t.TempDir()))
			processes := program(t, "use processes", "100")
			processes.Args[0], processes.Processes = "/program", 60
			processes.Env = []string{"MARK=" + mark}
			if out, err := run(t, s, processes); !fault.Is(err, "sandbox.too_many_processes") {
				t.Error(out, err)
			}
			processes = program(t, "read", "/etc/passwd")
			processes.Processes = 60
			if out, err := run(t, s, processes); err != nil {
				t.Error("below the limit:", out, err)
			}
			for _, dir := range []string{"/tmp", "/dev/shm"} {
				disk := program(t, "use disk", dir, "100")
				disk.Memory = 16 << 20
				if out, err := run(t, s, disk); err == nil {
					t.Error(dir, out, err)
				}
			}
		})
	}
	left, _ := filepath.Glob(filepath.Join(s.settings.Memory, fmt.Sprintf("flywheel-%d-*", os.Getpid())))
	if s.settings.Memory != "" && len(left) > 0 {
		t.Error("groups are left:", left)
	}
}

func TestAForwardReachesItsSocketAlsoAfterTheServerRestarts(t *testing.T) {
	bothWays(t, func(t *testing.T, s *Sandbox) {
		socket := socketPath(t)
		server, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		go serveEcho(server)
		port := freePort(t)
		spec := program(t, "wait for a line, then run the echo client", itoa(port))
		spec.Forwards = []Forward{{Port: port, Socket: socket}}
		cmd := start(t, backgroundContext, s, spec)
		ask := func() string {
			fmt.Fprintln(cmd.input, "go")
			return cmd.line(t)
		}
		if got := ask(); got != "<nil>" {
			t.Error(got)
		}
		server.Close()
		if got := ask(); got == "<nil>" {
			t.Error("nobody is there to answer")
		}
		if server, err = net.Listen("unix", socket); err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		go serveEcho(server)
		if got := ask(); got != "<nil>" {
			t.Error(got)
		}
	})
}

// socketPath is short: the kernel takes 107 bytes.
func socketPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestAServerInsideIsReached(t *testing.T) {
	bothWays(t, func(t *testing.T, s *Sandbox) {
		port, socket := freePort(t), socketPath(t)
		if l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket}); err == nil {
			l.SetUnlinkOnClose(false)
			l.Close() // as a platform leaves it that was killed
		}
		spec := program(t, "echo server", itoa(port))
		spec.Listen = []Forward{{Port: port, Socket: socket}}
		cmd := start(t, backgroundContext, s, spec)
		cmd.line(t)

		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				conn, err := cmd.Dial(backgroundContext, port)
				if i%2 == 0 {
					conn, err = net.Dial("unix", socket)
				}
				if err == nil {
					err = askEcho(conn, 300_000)
				}
				if err != nil {
					t.Error(i, err)
				}
			})
		}
		all.Wait()

		if _, err := cmd.Dial(backgroundContext, freePort(t)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Error(err)
		}
		conn, err := cmd.Dial(backgroundContext, port)
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.RemoteAddr().String(); got != "127.0.0.1:"+itoa(port) {
			t.Error(got)
		}
		cmd.end()
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("the connection outlived its server")
		}
		if _, err := cmd.Dial(backgroundContext, port); err == nil {
			t.Error("a dead command was reached")
		}
		if _, err := os.Stat(socket); err == nil {
			t.Error("the socket is left")
		}
	})
}

func TestAnOrphanEndsInOrder(t *testing.T) {
	// It writes more than a pipe holds, to outputs that nobody reads any more, asks its forward, and says that it has done so.
	const orderly = `trap 'i=0; while [ $i -lt 3000 ]; do echo to nobody at all, 0123456789012345678901234567890; echo nor this >&2; i=$((i+1)); done
bash -c "exec 3<>/dev/tcp/127.0.0.1/$PORT && printf \"GET / HTTP/1.1\r\n\r\n\" >&3 && cat <&3 >answer"; touch done; exit 0' INT
touch up; while :; do sleep 0.05; done`
	for _, way := range []string{"on", "off"} {
		t.Run(way, func(t *testing.T) {
			for name, c := range map[string]struct {
				script, grace string
				done          bool
			}{
				"it may end":               {orderly, "1m", true},
				"it has no time":           {orderly, "0s", false},
				"it does not want to end":  {`trap "" INT TERM; touch up; while :; do sleep 0.05; done`, "200ms", false},
				"it ends at the second go": {`trap 'trap "touch done; exit" INT' INT; touch up; while :; do sleep 0.05; done`, "1s", true},
			} {
				t.Run(name, func(t *testing.T) {
					dir := t.TempDir()
					self, err := os.Executable()
					if err != nil {
						t.Fatal(err)
					}
					platform := exec.Command(self, "platform of an orphan", way, c.grace, c.script+" # "+dir, dir)
					platform.Stdout = struct{ io.Writer }{io.Discard}
					if err := platform.Start(); err != nil {
						t.Fatal(err)
					}
					there := func(name string) error { _, err := os.Stat(filepath.Join(dir, name)); return err }
					if err := poll(func() error { return there("up") }); err != nil {
						t.Fatal(err)
					}
					platform.Process.Kill()
					platform.Wait()
					running := func() error {
						all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
						for _, file := range all {
							if text, _ := os.ReadFile(file); bytes.Contains(text, []byte(dir)) && bytes.HasPrefix(text, []byte("sh\x00")) {
								return errors.New("it runs")
							}
						}
						return nil
					}
					if err := poll(running); err != nil {
						t.Fatal(err)
					}
					if (there("done") == nil) != c.done {
						t.Errorf("done: %v", there("done") == nil)
					}
					if answer, _ := os.ReadFile(filepath.Join(dir, "answer")); c.script == orderly && c.done && !strings.HasPrefix(string(answer), "HTTP/1.1 410 ") {
						t.Errorf("its forward answers %q", answer)
					}
				})
			}
		})
	}
}

func TestAForwardTakesAPortThatIsFree(t *testing.T) {
	bothWays(t, func(t *testing.T, s *Sandbox) {
		socket := socketPath(t)
		listenAt := func() net.Listener {
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			go serveEcho(l)
			return l
		}
		seen := map[int]bool{}
		for range 5 { // at the same time
			spec := program(t, "wait for a line, then run the echo client", "0")
			spec.Forwards = []Forward{{Socket: socket, Patience: time.Minute}, {Socket: socket}}
			cmd, err := s.Command(backgroundContext, spec)
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Prepare(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Signal(syscall.SIGKILL)
			if cmd.Port(0) == 0 || cmd.Port(0) == cmd.Port(1) || s.Off() && seen[cmd.Port(0)] {
				t.Errorf("ports %d and %d", cmd.Port(0), cmd.Port(1))
			}
			seen[cmd.Port(0)] = true
			conn, err := cmd.Dial(backgroundContext, cmd.Port(0)) // nobody serves the socket yet
			if err != nil {
				t.Fatal(err)
			}
			l := listenAt()
			if err := askEcho(conn, 100); err != nil {
				t.Error(err)
			}
			l.Close()
		}
	})
}

// Whoever prepared it learns that it never began from Start, and how it ended from Wait.
func TestACommandThatIsKilledBeforeItBeganWasKilled(t *testing.T) {
	bothWays(t, func(t *testing.T, s *Sandbox) {
		for name, kill := range map[string]func(cmd *Cmd) error{
			"by its parent":     func(cmd *Cmd) error { return cmd.Signal(syscall.SIGKILL) },
			"by somebody else":  func(cmd *Cmd) error { return syscall.Kill(cmd.Pid(), syscall.SIGKILL) },
			"and was gone then": func(cmd *Cmd) error { err := syscall.Kill(cmd.Pid(), syscall.SIGKILL); <-cmd.gone; return err },
		} {
			cmd, err := s.Command(backgroundContext, program(t, "wait for a line, then run the echo client", "0"))
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Prepare(); err != nil {
				t.Fatal(err)
			}
			if err := kill(cmd); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("%s: it does not begin: %v", name, err)
			}
			var end *ExitError
			if err := cmd.Wait(); !errors.As(err, &end) || end.Signal != syscall.SIGKILL {
				t.Errorf("%s: it ended with %v", name, err)
			}
		}
	})
}

func TestTheProxyReachesListedHostsOnly(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "plain") }))
	defer plain.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "secure") }))
	defer secure.Close()
	allowed := []string{plain.Listener.Addr().String(), secure.Listener.Addr().String()}
	outer := &proxy.Proxy{Allow: allowed}
	outerServer := httptest.NewServer(outer)
	defer outerServer.Close()
	outerURL, _ := url.Parse(outerServer.URL)

	bothWays(t, func(t *testing.T, s *Sandbox) {
		for name, p := range map[string]*proxy.Proxy{
			"directly":                   {Allow: allowed},
			"through the outer proxy":    {Allow: allowed, Upstream: outerURL},
			"nowhere with an empty list": {},
		} {
			t.Run(name, func(t *testing.T) {
				get := func(url string) string {
					spec := program(t, "get", url)
					spec.Proxy = p.Serve
					out, _ := run(t, s, spec)
					return out
				}
				wantPlain, wantSecure := "200 plain", "200 secure"
				if p.Allow == nil {
					wantPlain, wantSecure = "403 ", "Forbidden"
				}
				if got := get(plain.URL); !strings.Contains(got, wantPlain) {
					t.Error(got)
				}
				if got := get(secure.URL); !strings.Contains(got, wantSecure) {
					t.Error(got)
				}
				if got := get("https://not-listed.example"); !strings.Contains(got, "Forbidden") {
					t.Error(got)
				}
				refused := p.Refused()
				if len(refused) == 0 || refused[len(refused)-1] != "not-listed.example:443" {
					t.Error(refused)
				}
			})
		}
	})
}

func TestAGoProgramIsBuiltOffline(t *testing.T) {
	goTools, err := FindToolchain(backgroundContext, "go")
	if err != nil {
		t.Fatal(err)
	}
	source, cache := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  "module example.org/hello\n\ngo 1.21\n",
		"main.go": "package main\n\nfunc main() { println(\"hello\") }\n",
	} {
		if err := os.WriteFile(filepath.Join(source, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := run(t, open(t, Options{}), Spec{
		Args: []string{"sh", "-c", "go build -o hello . && ./hello"}, Dir: "/source", Env: append(goTools.Env, "CGO_ENABLED=0"),
		Binds:  append(goTools.Binds, Bind{source, "/source", true}, Bind{cache, CacheDir, true}),
		Memory: 2 << 30, Processes: 500,
	})
	if err != nil || out != "hello\n" {
		t.Error(out, err)
	}
	if files, err := os.ReadDir(filepath.Join(cache, "go-build")); err != nil || len(files) == 0 {
		t.Error("nothing is in the cache:", err)
	}
	// Go makes its caches read-only; the test must be able to remove them.
	exec.Command("chmod", "-R", "u+w", cache).Run()
}

func TestAnUnknownToolchainNamesTheKnownOnes(t *testing.T) {
	_, err := FindToolchain(backgroundContext, "cobol")
	if !fault.Is(err, "toolchain.unknown") || !strings.Contains(err.Error(), "go, node") {
		t.Error(err)
	}
}

func TestWithoutASandboxNothingRuns(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	_, err := New(Options{})
	if !fault.Is(err, "sandbox.unavailable") || !strings.Contains(err.Error(), "Install the package bubblewrap") {
		t.Error(err)
	}
	fake := "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(dir, "bwrap"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = New(Options{})
	if !fault.Is(err, "sandbox.unavailable") || !strings.Contains(err.Error(), "No permissions to create new namespace") || !strings.Contains(err.Error(), "Allow user namespaces") {
		t.Error(err)
	}
}

func TestAnUpgradeOfTheBinaryDoesNotDisturb(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "flywheel")
	if err := os.WriteFile(binary, self, 0o755); err != nil {
		t.Fatal(err)
	}
	s := open(t, Options{Self: binary})
	if err := os.Remove(binary); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, s, shell("echo still here")); err != nil || out != "still here\n" {
		t.Error(out, err)
	}
}

func TestTheFirstProcessIsNotForUsers(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(self, "sandbox-init").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "is started by Flywheel itself") {
		t.Error(string(out), err)
	}
}

// BenchmarkStart measures a command that does nothing, in the sandbox and outside.
func BenchmarkStart(b *testing.B) {
	b.Run("sandbox", func(b *testing.B) {
		s := open(b, Options{})
		for b.Loop() {
			if _, err := run(b, s, Spec{Args: []string{"true"}, Memory: 1 << 30, Processes: 100}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command("true").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDial(b *testing.B) {
	port := freePort(b)
	cmd := start(b, backgroundContext, open(b, Options{}), program(b, "echo server", itoa(port)))
	cmd.line(b)
	for b.Loop() {
		conn, err := cmd.Dial(backgroundContext, port)
		if err != nil {
			b.Fatal(err)
		}
		conn.Close()
	}
}
