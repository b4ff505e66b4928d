package supervisor

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// away is how long a connection waits for a server that restarts, so that a finished apply still gets
// its state stored.
const away = 2 * time.Minute

// forward makes the Unix socket reachable on a port of the loopback until ctx ends, and returns the port.
func forward(ctx context.Context, socket string) (port int, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	context.AfterFunc(ctx, func() { l.Close() })
	go func() {
		for {
			inside, err := l.Accept()
			if err != nil {
				return
			}
			go join(ctx, inside.(*net.TCPConn), socket)
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func join(ctx context.Context, inside *net.TCPConn, socket string) {
	defer inside.Close()
	outside, err := dial(ctx, socket)
	if err != nil {
		return // the engine sees its connection closed and tries again or says so
	}
	defer outside.Close()
	var both sync.WaitGroup
	both.Go(func() { io.Copy(outside, inside); outside.CloseWrite() })
	both.Go(func() { io.Copy(inside, outside); inside.CloseWrite() })
	both.Wait()
}

func dial(ctx context.Context, socket string) (*net.UnixConn, error) {
	deadline := time.Now().Add(away)
	for {
		c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
		if err == nil || time.Now().After(deadline) {
			return c, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
