package first

import (
	"strconv"
	"syscall"
	"time"
)

// orphanage is what lets a command end in order after its maker was killed: an engine that changes the world
// has to write down what it did. All of it is open before the command starts, so that the command meets no
// moment in between: a write to a pipe without a reader would end it.
type orphanage struct {
	grace   time.Duration
	sockets []int // that the maker got before the command started; those that listen are its Forwards
	outputs []int // reading ends of what the command writes to
}

// open prepares for the end of the maker. What needs no time to end needs nothing else either.
func (o *orphanage) open(c Command) {
	o.grace = c.Orphan
	if o.grace == 0 {
		for _, fd := range o.sockets {
			syscall.Close(fd)
		}
		return
	}
	for _, fd := range []int{1, StderrFD} {
		var info syscall.Stat_t
		if syscall.Fstat(fd, &info) == nil && info.Mode&syscall.S_IFMT == syscall.S_IFIFO {
			if end, err := syscall.Open("/proc/self/fd/"+strconv.Itoa(fd), syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err == nil {
				o.outputs = append(o.outputs, end)
			}
		}
	}
}

// end is the maker's end.
func (o *orphanage) end(child int) {
	if o.grace > 0 {
		for _, fd := range o.outputs {
			go drain(fd)
		}
		for _, fd := range o.sockets {
			if listens, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN); err == nil && listens == 1 {
				go refuse(fd)
			}
		}
		for range 2 {
			syscall.Kill(child, syscall.SIGINT)
			time.Sleep(o.grace)
		}
	}
	killAll()
}

func drain(fd int) {
	nowhere := make([]byte, 4096)
	for {
		if n, err := syscall.Read(fd, nowhere); n <= 0 && err != syscall.EINTR {
			return
		}
	}
}

// gone is the answer to every request: a command that would ask again for minutes gives up at once.
const gone = "HTTP/1.1 410 Gone\r\nContent-Type: text/plain\r\nContent-Length: 35\r\nConnection: close\r\n\r\nThe supervisor of this run is gone."

// refuse answers on a port inside in the maker's place. Nobody else can listen there meanwhile, since this
// socket never stopped to.
func refuse(listener int) {
	syscall.SetNonblock(listener, false)
	for {
		fd, _, err := syscall.Accept4(listener, syscall.SOCK_CLOEXEC)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return
		default:
			go func() {
				syscall.Write(fd, []byte(gone))
				syscall.Shutdown(fd, syscall.SHUT_WR)
				drain(fd) // a connection that is closed with something unread loses the answer
				syscall.Close(fd)
			}()
		}
	}
}
