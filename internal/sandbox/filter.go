package sandbox

import (
	"bytes"
	"encoding/binary"
	"runtime"

	"golang.org/x/sys/unix"
)

// What the kernel keeps for a user or for the machine, and not for a namespace, is reached by these calls.
// The user inside is the one of the platform to the kernel, so that its keyrings could be read by keyctl; and
// a socket of another family, as vsock to the host of a virtual machine, knows nothing of a network namespace.
// io_uring makes sockets without asking the filter. The rest is what no build and no app needs, and where most
// holes of the kernel were.
var (
	refusedCalls = []uint32{
		unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
		unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_OPEN_BY_HANDLE_AT,
	}
	families = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}
)

// Places in what a filter is given: struct seccomp_data.
const (
	callAt     = 0
	archAt     = 4
	argumentAt = 16 // the lower half of the first one; each has 8 bytes
)

// No library writes it: libseccomp needs C, and github.com/elastic/go-seccomp-bpf 1.6 lets the calls of another
// architecture pass where everything else is allowed, which 32-bit code would use.

// callFilter returns the program of the kernel that refuses these calls, in the form that bubblewrap takes, or
// nothing for an architecture whose calls are not known here.
func callFilter() []byte {
	arch, known := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
	if !known {
		return nil
	}
	var program []unix.SockFilter
	load := func(at uint32) {
		program = append(program, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at})
	}
	compare := func(how uint16, value uint32, ifTrue, ifFalse uint8) {
		program = append(program, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | how, K: value, Jt: ifTrue, Jf: ifFalse})
	}
	end := func(verdict uint32) {
		program = append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: verdict})
	}
	refuse := func(with unix.Errno) { end(unix.SECCOMP_RET_ERRNO | uint32(with)) }

	load(archAt) // calls of another architecture have other numbers
	compare(unix.BPF_JEQ, arch, 1, 0)
	end(unix.SECCOMP_RET_KILL_PROCESS)
	load(callAt)
	compare(unix.BPF_JGE, 0x40000000, 0, 1) // the numbers of x32 again
	refuse(unix.ENOSYS)
	for _, call := range refusedCalls {
		compare(unix.BPF_JEQ, call, 0, 1)
		refuse(unix.ENOSYS)
	}
	// Of keyctl only that which leaves the keyring of the session for a new one without a name.
	compare(unix.BPF_JEQ, unix.SYS_KEYCTL, 0, 8)
	load(argumentAt)
	compare(unix.BPF_JEQ, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 5)
	load(argumentAt + 8)
	compare(unix.BPF_JEQ, 0, 0, 3)
	load(argumentAt + 12)
	compare(unix.BPF_JEQ, 0, 0, 1)
	end(unix.SECCOMP_RET_ALLOW)
	refuse(unix.ENOSYS)
	compare(unix.BPF_JEQ, unix.SYS_SOCKET, 1, 0)
	compare(unix.BPF_JEQ, unix.SYS_SOCKETPAIR, 0, uint8(len(families)+2))
	load(argumentAt)
	for i, family := range families {
		compare(unix.BPF_JEQ, family, uint8(len(families)-i), 0)
	}
	refuse(unix.EAFNOSUPPORT)
	end(unix.SECCOMP_RET_ALLOW)

	var text bytes.Buffer
	_ = binary.Write(&text, binary.NativeEndian, program) // into memory, of a fixed size
	return text.Bytes()
}
