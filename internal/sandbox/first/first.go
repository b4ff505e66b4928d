// Package first is the first process inside a sandbox.
//
// It talks to the process that made the sandbox over one socket, on file descriptor 3: it says that it
// is there, hands out fresh TCP sockets of the network namespace it lives in, starts the one command it
// is told to, passes on signals, reaps what the command leaves behind, and reports how the command
// ended. When the socket closes, its maker is gone and everything inside is killed, or first interrupted
// and given time (see Command.Orphan).
//
// It runs from init, before the other packages of the binary are initialised, and imports almost
// nothing: measured on the whole binary, a start costs 5 ms this way and 28 ms from main, and an app
// keeps a few megabytes rather than what the platform's packages hold. So everything here is done with
// os and syscall.
//
// Deliberately absent: forwarding of bytes. Who has a socket of the namespace can connect and listen
// from outside, so no byte of a connection passes through this process.
package first

import (
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// Name is the argument that makes the binary run as this process.
const Name = "sandbox-init"

// File descriptors this process is born with, besides 0 and 1, which are the command's own; 2 is for
// complaints to the maker.
const (
	ControlFD = 3 // SOCK_SEQPACKET to the maker
	SelfFD    = 4 // the running binary
	StderrFD  = 5 // the command's standard error
)

// Messages from the maker. One packet is one message: a letter and its text.
const (
	Socket  = 'N' // make a TCP socket and answer Socket with it
	Start   = 'S' // text is a Command; answered by Started or Failed
	Signal  = 'K' // text is the number of a signal for the command
	KillAll = 'Q' // kill everything, then exit
)

// Messages to the maker.
const (
	Ready   = 'R'
	Started = 'P'
	Failed  = 'F' // text is "errno sentence"
	Exited  = 'X' // text is "code signal"
)

// MaxMessage is the size that fits every message; a command with its environment must be smaller.
const MaxMessage = 192 << 10

// Command is what Start carries.
type Command struct {
	Dir         string
	Args, Env   []string
	MergeStderr bool // standard error goes where standard output goes
	// Orphan is what the command has to end when the maker is killed: it is interrupted, interrupted again after
	// that time, and killed after it once more. Zero kills it at once.
	Orphan time.Duration
}

// Encode returns the command as text. No field can hold a zero byte: the kernel ends strings there.
func (c Command) Encode() string {
	parts := []string{strconv.FormatBool(c.MergeStderr), strconv.FormatInt(int64(c.Orphan), 10), c.Dir, strconv.Itoa(len(c.Args))}
	parts = append(append(parts, c.Args...), c.Env...)
	return strings.Join(parts, "\x00")
}

func decode(text string) Command {
	parts := strings.Split(text, "\x00")
	orphan, _ := strconv.ParseInt(parts[1], 10, 64)
	n, _ := strconv.Atoi(parts[3])
	return Command{
		MergeStderr: parts[0] == "true", Orphan: time.Duration(orphan), Dir: parts[2],
		Args: parts[4 : 4+n], Env: parts[4+n:],
	}
}

func init() {
	if len(os.Args) == 2 && os.Args[1] == Name {
		os.Exit(run())
	}
}

func run() int {
	if kind, err := syscall.GetsockoptInt(ControlFD, syscall.SOL_SOCKET, syscall.SO_TYPE); err != nil || kind != syscall.SOCK_SEQPACKET {
		os.Stderr.WriteString("flywheel " + Name + " is started by Flywheel itself.\n")
		return 2
	}
	guard()
	send(Ready, "", -1)
	child, o, ok := prepare()
	if !ok {
		return 1
	}
	go obey(child, o)
	go forward(child)
	return reap(child)
}

// guard takes from the command what it could do to this process or by way of it.
func guard() {
	// Not only 3, 4 and 5: whatever the platform was started with is open here too.
	open, _ := os.ReadDir("/proc/self/fd")
	for _, file := range open {
		if fd, err := strconv.Atoi(file.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
	const setDumpable, setName, setSubreaper, joinSession = 4, 15, 36, 1
	// When the machine runs out of memory, what runs here goes first, not the platform.
	os.WriteFile("/proc/self/oom_score_adj", []byte("500"), 0)
	// Nobody may trace this process, read its memory, or open its binary and sockets through /proc.
	prctl(setDumpable, 0)
	// Orphans come to this process, also where it is not the first of its namespace (--sandbox=off).
	prctl(setSubreaper, 1)
	name := append([]byte(Name), 0)
	prctl(setName, uintptr(unsafe.Pointer(&name[0])))
	// The platform lets nobody read what it writes; the command decides that itself, as anywhere else.
	syscall.Umask(0o022)
	// The keys of the session that started the platform are not the command's.
	syscall.RawSyscall(syscall.SYS_KEYCTL, joinSession, 0, 0)
}

func prctl(option int, value uintptr) {
	syscall.RawSyscall6(syscall.SYS_PRCTL, uintptr(option), value, 0, 0, 0, 0)
}

// prepare hands out sockets until the command is to start, and starts it.
func prepare() (child int, o orphanage, ok bool) {
	for {
		kind, text, ok := receive()
		switch {
		case !ok || kind == KillAll:
			return 0, o, false
		case kind == Socket:
			o.sockets = append(o.sockets, giveSocket())
		case kind == Start:
			command := decode(text)
			o.open(command)
			child, err := start(command)
			if err != nil {
				errno, _ := err.(syscall.Errno)
				send(Failed, strconv.Itoa(int(errno))+" "+err.Error(), -1)
				return 0, o, false
			}
			send(Started, "", -1)
			return child, o, true
		}
	}
}

// start runs the command in a process group of its own: what it sends to its group is not for this process.
func start(c Command) (int, error) {
	path, err := lookPath(c)
	if err != nil {
		return 0, err
	}
	stderr := uintptr(StderrFD)
	if c.MergeStderr {
		stderr = 1
	}
	child, _, err := syscall.StartProcess(path, c.Args, &syscall.ProcAttr{
		Dir: c.Dir, Env: c.Env, Files: []uintptr{0, 1, stderr},
		Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	return child, err
}

// lookPath finds a bare name in the PATH of the command's own environment.
func lookPath(c Command) (string, error) {
	name := c.Args[0]
	if strings.Contains(name, "/") {
		return name, nil
	}
	var result error = syscall.ENOENT
	for _, v := range c.Env {
		path, found := strings.CutPrefix(v, "PATH=")
		if !found {
			continue
		}
		for _, dir := range strings.Split(path, ":") {
			file := dir + "/" + name
			if info, err := os.Stat(file); err == nil && !info.IsDir() {
				if info.Mode()&0o111 != 0 {
					return file, nil
				}
				result = syscall.EACCES
			}
		}
	}
	return "", result
}

// obey serves the maker while the command runs. Signals go to the command only, which knows how its
// children are to end: OpenTofu could not finish if its providers were ended beside it.
func obey(child int, o orphanage) {
	for {
		kind, text, ok := receive()
		switch {
		case !ok:
			o.end(child)
		case kind == KillAll:
			killAll()
		case kind == Socket:
			syscall.Close(giveSocket())
		case kind == Signal:
			n, _ := strconv.Atoi(text)
			syscall.Kill(child, syscall.Signal(n))
		}
	}
}

// forward passes on the signals this process gets itself.
func forward(child int) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	for s := range signals {
		syscall.Kill(child, s.(syscall.Signal))
	}
}

// reap waits for every process; the command's end is reported at once, then the rest is killed.
func reap(child int) int {
	code := 137
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return code
		case pid == child:
			code = status.ExitStatus()
			sig := 0
			if status.Signaled() {
				sig = int(status.Signal())
				code = 128 + sig
			}
			send(Exited, strconv.Itoa(code)+" "+strconv.Itoa(sig), -1)
			go killAll()
		}
	}
}

// killAll kills until nothing is left, which ends reap and so this process. The children of what it
// kills become its own, and are found in the next round.
func killAll() {
	for {
		if os.Getpid() == 1 {
			syscall.Kill(-1, syscall.SIGKILL)
		} else {
			for _, pid := range children() {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func children() (pids []int) {
	threads, _ := os.ReadDir("/proc/self/task")
	for _, thread := range threads {
		text, _ := os.ReadFile("/proc/self/task/" + thread.Name() + "/children")
		for _, field := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// giveSocket returns its own descriptor of the socket, -1 for none.
func giveSocket() int {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		send(Socket, err.Error(), -1)
		return -1
	}
	send(Socket, "", fd)
	return fd
}

func send(kind byte, text string, fd int) {
	var rights []byte
	if fd >= 0 {
		rights = syscall.UnixRights(fd)
	}
	for {
		if err := syscall.Sendmsg(ControlFD, append([]byte{kind}, text...), rights, nil, 0); err != syscall.EINTR {
			return
		}
	}
}

var buffer []byte

func receive() (kind byte, text string, ok bool) {
	if buffer == nil {
		buffer = make([]byte, MaxMessage)
	}
	for {
		n, err := syscall.Read(ControlFD, buffer)
		switch {
		case err == syscall.EINTR:
		case err != nil || n <= 0:
			return 0, "", false
		default:
			return buffer[0], string(buffer[1:n]), true
		}
	}
}
