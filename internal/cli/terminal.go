package cli

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"flywheel.dev/flywheel/internal/plain"
)

// terminal is where everything goes that the command line says, whatever it is and whoever wrote it: nothing
// reaches the stream behind it that could steer a terminal or hide a part of the text, except the sequences that
// this program makes itself. Those carry a mark that nobody else knows.
type terminal struct {
	w    io.Writer
	file *os.File // the stream, if it is a terminal
	mark string   // begins our own sequences, after "\x1b["

	mutex    sync.Mutex
	colours  bool // whether text of others keeps the colours that hide nothing, as logs do
	coloured bool
	rest     []byte // the beginning of a sequence or a character whose end has not come yet
}

func newTerminal(w io.Writer) *terminal {
	var n [8]byte
	rand.Read(n[:]) // never fails
	t := &terminal{w: w, mark: fmt.Sprintf("%d;", binary.BigEndian.Uint64(n[:]))}
	if f, ok := w.(*os.File); ok && isTerminal(f) {
		t.file = f
	}
	return t
}

// own returns a control sequence of this program, for example own("2K").
func (t *terminal) own(sequence string) string { return "\x1b[" + t.mark + sequence }

// log returns a writer for what a program of others said, which keeps its colours.
func (t *terminal) log() *terminal {
	return &terminal{w: t.w, file: t.file, mark: t.mark, colours: os.Getenv("NO_COLOR") == ""}
}

// longestSequence is more than any sequence that is passed on has.
const longestSequence = 64

func (t *terminal) Write(p []byte) (int, error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	text := append(t.rest, p...)
	whole := len(text)
	if i := bytes.LastIndexByte(text, 0x1b); i >= 0 && len(text)-i < longestSequence && !sequence.Match(text[i:]) {
		whole = i
	}
	if i := bytes.LastIndexByte(text, '\r'); i == len(text)-1 && i >= 0 {
		whole = min(whole, i) // a line feed may follow
	}
	for n := 1; n < utf8.UTFMax && n <= whole; n++ {
		if utf8.RuneStart(text[whole-n]) {
			if !utf8.FullRune(text[whole-n : whole]) {
				whole -= n
			}
			break
		}
	}
	_, err := io.WriteString(t.w, t.clean(string(text[:whole])))
	t.rest = bytes.Clone(text[whole:])
	return len(p), err
}

// Close writes what is left.
func (t *terminal) Close() error {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	text := t.clean(string(t.rest))
	if t.coloured {
		text += "\x1b[0m"
	}
	t.rest, t.coloured = nil, false
	if text == "" {
		return nil
	}
	_, err := io.WriteString(t.w, text)
	return err
}

var sequence = regexp.MustCompile(`^\x1b\[([0-9;]*)([A-Za-z])`)

// clean returns text as it may be shown.
func (t *terminal) clean(text string) string {
	if t.colours {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n") // a line drawn over another hides it
	}
	var out strings.Builder
	for {
		before, from, found := strings.Cut(text, "\x1b")
		before = plain.Show(before)
		if t.coloured { // no colour outlives its line
			if line, rest, more := strings.Cut(before, "\n"); more {
				before, t.coloured = line+"\x1b[0m\n"+rest, false
			}
		}
		out.WriteString(before)
		if !found {
			return out.String()
		}
		text = "\x1b" + from
		m := sequence.FindStringSubmatch(text)
		switch {
		case m != nil && strings.HasPrefix(m[1]+m[2], t.mark):
			out.WriteString("\x1b[" + strings.TrimPrefix(m[1], t.mark) + m[2])
		case m != nil && m[2] == "m" && t.colours:
			if safe := harmless(m[1]); safe != "" {
				out.WriteString("\x1b[" + safe + "m")
				t.coloured = true
			}
		default:
			out.WriteString(plain.Show("\x1b"))
			text = text[1:]
			continue
		}
		text = text[len(m[0]):]
	}
}

// harmless returns the attributes of a sequence that leave text readable on any background: none that conceals,
// paints the background or chooses any colour it likes.
func harmless(attributes string) string {
	kept := []string{}
	for a := range strings.SplitSeq(attributes, ";") {
		if slices.Contains([]string{"38", "48", "58"}, a) { // what follows belongs to it
			break
		}
		if a == "" {
			a = "0"
		}
		if slices.Contains(readable, a) {
			kept = append(kept, a)
		}
	}
	return strings.Join(kept, ";")
}

var readable = strings.Fields("0 1 2 3 4 22 23 24 31 32 33 34 35 36 39 91 92 93 94 95 96")
