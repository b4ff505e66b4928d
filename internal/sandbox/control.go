package sandbox

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/sandbox/first"
)

// errSilent is what a first process that never spoke leaves: bubblewrap failed before it.
var errSilent = errors.New("sandbox: the first process did not answer")

// control is the maker's end of the socket to the first process. See package first for the messages.
type control struct {
	conn    *net.UnixConn
	asking  sync.Mutex    // every question has one answer, in order
	answers chan answer   // closed with gone
	gone    chan struct{} // closed when the first process is dead, and with it all inside
	end     *ExitError    // how the command ended, as reported; read it after gone
}

type answer struct {
	kind byte
	text string
	fd   int // -1 without a file descriptor
	pid  int // of the sender, as the kernel says it
}

// newControl returns both ends of a fresh socket.
func newControl() (*control, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	defer ours.Close()
	// The kernel tells us the process id of the first process in our own numbers.
	if err := syscall.SetsockoptInt(fds[0], syscall.SOL_SOCKET, syscall.SO_PASSCRED, 1); err != nil {
		theirs.Close()
		return nil, nil, err
	}
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	c := &control{conn: conn.(*net.UnixConn), answers: make(chan answer, 1), gone: make(chan struct{})}
	go c.serve()
	return c, theirs, nil
}

// abandon tells the first process that nobody waits for it. It then kills all and ends.
func (c *control) abandon() { c.conn.CloseWrite() }

func (c *control) send(kind byte, text string) error {
	_, err := c.conn.Write(append([]byte{kind}, text...))
	return err
}

func (c *control) signal(n syscall.Signal) error { return c.send(first.Signal, itoa(int(n))) }
func (c *control) killAll() error                { return c.send(first.KillAll, "") }

func (c *control) receive() (answer, error) {
	text, extra := make([]byte, 4096), make([]byte, 256)
	n, extraN, _, _, err := c.conn.ReadMsgUnix(text, extra)
	if err != nil {
		return answer{}, err
	}
	if n == 0 {
		return answer{}, io.EOF
	}
	a := answer{kind: text[0], text: string(text[1:n]), fd: -1}
	messages, err := syscall.ParseSocketControlMessage(extra[:extraN])
	if err != nil {
		return answer{}, err
	}
	for _, m := range messages {
		if fds, err := syscall.ParseUnixRights(&m); err == nil && len(fds) == 1 {
			a.fd = fds[0]
		} else if who, err := syscall.ParseUnixCredentials(&m); err == nil {
			a.pid = int(who.Pid)
		}
	}
	return a, nil
}

// awaitReady returns the process id of the first process.
func (c *control) awaitReady() (pid int, err error) {
	a, ok := <-c.answers
	if !ok || a.kind != first.Ready {
		return 0, errSilent
	}
	return a.pid, nil
}

func (c *control) ask(kind byte, text string) (answer, error) {
	c.asking.Lock()
	defer c.asking.Unlock()
	if err := c.send(kind, text); err != nil {
		return answer{}, os.ErrProcessDone
	}
	a, ok := <-c.answers
	if !ok {
		return answer{}, os.ErrProcessDone
	}
	return a, nil
}

// socket returns the file descriptor of a fresh TCP socket of the network namespace inside.
func (c *control) socket() (fd int, err error) {
	a, err := c.ask(first.Socket, "")
	if err != nil {
		return -1, err
	}
	if a.fd < 0 {
		return -1, fmt.Errorf("sandbox: no socket: %s", a.text)
	}
	return a.fd, nil
}

// start has the command started and returns when it runs.
func (c *control) start(command first.Command) error {
	text := command.Encode()
	if len(text) >= first.MaxMessage {
		return fault.New(fault.TooLarge, "sandbox.environment_too_large",
			"The arguments and environment of the command take %d bytes; at most %d fit.", len(text), first.MaxMessage)
	}
	a, err := c.ask(first.Start, text)
	switch {
	case err != nil:
		return err
	case a.kind == first.Failed:
		number, reason, _ := strings.Cut(a.text, " ")
		errno, _ := strconv.Atoi(number)
		return fault.New(fault.Invalid, "sandbox.cannot_run", "The command %q cannot be run in %s: %s.", command.Args[0], command.Dir, reason).
			Because(syscall.Errno(errno))
	}
	return nil
}

// serve reads what the first process says until it is gone.
func (c *control) serve() {
	defer c.conn.Close()
	defer close(c.gone)
	defer close(c.answers)
	for {
		a, err := c.receive()
		switch {
		case err != nil:
			return
		case a.kind == first.Exited:
			code, sig, _ := strings.Cut(a.text, " ")
			n, _ := strconv.Atoi(sig)
			c.end = &ExitError{Signal: syscall.Signal(n)}
			c.end.Code, _ = strconv.Atoi(code)
		default:
			c.answers <- a
		}
	}
}
