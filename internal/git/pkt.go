package git

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	pktMax       = 65520   // bytes of a pkt-line, its length included
	commandMax   = 1000    // refs one push may update
	commandBytes = 1 << 20 // bytes of a command list
)

var errFlush = errors.New("flush")

// readPkt returns the payload of one pkt-line, or errFlush. Any other error says what is malformed.
func readPkt(in io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, fmt.Errorf("it ends in the middle of a line's length: %w", err)
	}
	n, err := strconv.ParseUint(string(head[:]), 16, 16)
	if err != nil {
		return nil, fmt.Errorf("%q is not the length of a line", head[:])
	}
	if n == 0 {
		return nil, errFlush
	}
	if n < 4 || n > pktMax {
		return nil, fmt.Errorf("a line cannot have the length %d", n)
	}
	payload := make([]byte, n-4)
	if _, err := io.ReadFull(in, payload); err != nil {
		return nil, fmt.Errorf("it ends in the middle of a line: %w", err)
	}
	return payload, nil
}

func writePkt(out *bytes.Buffer, payload string) {
	fmt.Fprintf(out, "%04x%s", len(payload)+4, payload)
}

// command is one ref that a push wants to move.
type command struct {
	old, new, ref string
}

func (c command) deletes() bool { return strings.Trim(c.new, "0") == "" }

// commandList is what stands before the pack of a push.
type commandList struct {
	commands     []command
	capabilities []string
	raw          []byte // exactly what was read, for git to read again
}

func (l commandList) can(capability string) bool {
	for _, c := range l.capabilities {
		if c == capability {
			return true
		}
	}
	return false
}

// readCommands reads the command list of a push, and not one byte more. An error says what is
// malformed. A list of nothing is what a client sends to try its sign-in.
func readCommands(in *bufio.Reader) (commandList, error) {
	var list commandList
	var raw bytes.Buffer
	seen := map[string]bool{}
	for {
		payload, err := readPkt(io.TeeReader(in, &raw))
		list.raw = raw.Bytes()
		if errors.Is(err, errFlush) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		if raw.Len() > commandBytes || len(list.commands) >= commandMax {
			return list, fmt.Errorf("it updates more than %d refs at once", commandMax)
		}
		line, capabilities, first := strings.Cut(string(payload), "\x00")
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "shallow ") {
			continue
		}
		if line == "push-cert" {
			return list, errors.New("signed pushes are not taken")
		}
		if first && len(list.commands) == 0 {
			list.capabilities = strings.Fields(capabilities)
		}
		c, err := parseCommand(line)
		if err != nil {
			return list, err
		}
		if seen[c.ref] {
			return list, fmt.Errorf("it updates %q twice", display(c.ref))
		}
		seen[c.ref] = true
		list.commands = append(list.commands, c)
	}
}

func parseCommand(line string) (command, error) {
	f := strings.SplitN(line, " ", 3)
	if len(f) != 3 || !oidPattern.MatchString(f[0]) || !oidPattern.MatchString(f[1]) || len(f[0]) != len(f[1]) {
		return command{}, errors.New("a line is not of the form: old id, new id, ref")
	}
	if !strings.HasPrefix(f[2], "refs/") || strings.ContainsFunc(f[2], func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return command{}, fmt.Errorf("%q is not the name of a ref", display(f[2]))
	}
	return command{f[0], f[1], f[2]}, nil
}

// report is the server's answer to a push, as git would give it: the text for the terminal, whether
// the pack was taken, and why each ref was not moved.
func (l commandList) report(text, unpack string, refused map[string]string) []byte {
	var status, out bytes.Buffer
	if l.can("report-status") || l.can("report-status-v2") {
		writePkt(&status, "unpack "+unpack+"\n")
		for _, c := range l.commands {
			writePkt(&status, "ng "+c.ref+" "+refused[c.ref]+"\n")
		}
		status.WriteString("0000")
	}
	if !l.can("side-band-64k") {
		return status.Bytes()
	}
	if text != "" {
		writePkt(&out, "\x02"+text+"\n")
	}
	for part := status.Bytes(); len(part) > 0; {
		n := min(len(part), pktMax-5)
		writePkt(&out, "\x01"+string(part[:n]))
		part = part[n:]
	}
	out.WriteString("0000")
	return out.Bytes()
}
