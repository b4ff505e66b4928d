package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

var loopback = [4]byte{127, 0, 0, 1}

// connect connects a socket of the sandbox to a port inside and returns it as a connection.
func connect(ctx context.Context, fd, port int) (net.Conn, error) {
	if err := syscall.SetNonblock(fd, true); err != nil {
		syscall.Close(fd)
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "inside")
	defer file.Close()
	defer context.AfterFunc(ctx, func() { file.SetDeadline(time.Unix(1, 0)) })()
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var result error
	begun := false
	err = raw.Write(func(fd uintptr) (done bool) {
		if !begun {
			begun = true
			result = syscall.Connect(int(fd), &syscall.SockaddrInet4{Port: port, Addr: loopback})
			return result != syscall.EINPROGRESS
		}
		var errno int
		if errno, result = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR); result == nil && errno != 0 {
			result = syscall.Errno(errno)
		}
		return true
	})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err = errors.Join(err, result); err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: loopback[:], Port: port}, Err: err}
	}
	return net.FileConn(file)
}

// connectPatiently connects a socket of the sandbox as soon as something listens on the port. It asks with the
// same socket again and again, which costs next to nothing, so that it can ask often while a command starts.
func (c *Cmd) connectPatiently(ctx context.Context, fd, port int) error {
	// A server that listens and never accepts must not keep the thread for ever.
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &syscall.Timeval{Sec: 1}); err != nil {
		return err
	}
	began := time.Now()
	pause := 200 * time.Microsecond
	for {
		err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: port, Addr: loopback})
		if err == nil {
			return nil
		}
		if err != syscall.ECONNREFUSED && err != syscall.EINTR {
			return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: loopback[:], Port: port}, Err: err}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.gone:
			return os.ErrProcessDone
		case <-time.After(pause):
		}
		if time.Since(began) > 200*time.Millisecond {
			pause = min(2*pause, 50*time.Millisecond)
		}
	}
}

// listenInside returns a listener on a port inside; 0 takes a free one. It closes with the command.
func (c *Cmd) listenInside(port int) (net.Listener, error) {
	fd, err := c.control.socket()
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "inside")
	defer file.Close()
	syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	err = syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: loopback})
	if err == nil {
		err = syscall.Listen(fd, syscall.SOMAXCONN)
	}
	if err != nil {
		return nil, fmt.Errorf("sandbox: port %d inside: %w", port, err)
	}
	listener, err := net.FileListener(file)
	if err == nil {
		c.open = append(c.open, listener)
	}
	return listener, err
}

// forward serves a port inside by connecting to a Unix socket of the host, anew for each connection, so
// that the server behind it may restart.
func (c *Cmd) forward(f Forward) (port int, err error) {
	listener, err := c.listenInside(f.Port)
	if err != nil {
		return 0, err
	}
	go c.join(listener, func() (net.Conn, error) {
		deadline := time.Now().Add(f.Patience)
		for {
			conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(c.alive, "unix", f.Socket)
			if err == nil || time.Now().After(deadline) {
				return conn, err
			}
			select {
			case <-c.alive.Done():
				return nil, err
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// listen serves a Unix socket on the host by connecting to a port inside.
func (c *Cmd) listen(f Forward) error {
	if info, err := os.Lstat(f.Socket); err == nil && info.Mode().Type() == fs.ModeSocket {
		os.Remove(f.Socket) // left by a platform that was killed
	}
	listener, err := net.Listen("unix", f.Socket)
	if err != nil {
		return err
	}
	c.open = append(c.open, listener)
	go c.join(listener, func() (net.Conn, error) { return c.Dial(c.alive, f.Port) })
	return nil
}

// join connects each connection of the listener with one of dial, until the command has ended. Where
// dial fails, the connection closes, as a connection to a port that nobody listens on would.
func (c *Cmd) join(listener net.Listener, dial func() (net.Conn, error)) {
	for {
		near, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of file descriptors: the next one may go
			continue
		}
		go func() {
			defer near.Close()
			far, err := dial()
			if err != nil {
				return
			}
			defer far.Close()
			defer context.AfterFunc(c.alive, func() { near.Close(); far.Close() })()
			var both sync.WaitGroup
			both.Go(func() { pass(near, far) })
			both.Go(func() { pass(far, near) })
			both.Wait()
		}()
	}
}

// pass copies one direction of a connection, and its end: a clean one lets the other direction go on.
func pass(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		from.Close()
		return
	}
	to.(interface{ CloseWrite() error }).CloseWrite()
}
