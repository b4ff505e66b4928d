package local

import (
	"bytes"
	"context"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"flywheel.dev/flywheel/internal/redact"
)

const (
	logFileBytes = 8 << 20 // a file of a service's log grows to this; one older file is kept
	logTail      = 1000    // lines kept at least in memory, for followers and for the reason of a failure
	logLine      = 8 << 10 // a longer line is cut into several
)

// serviceLog is what the processes of one service printed: a file that is rotated and a tail in memory.
type serviceLog struct {
	mu      sync.Mutex
	name    string
	file    *os.File
	size    int64
	tail    []string // the last lines; tail[0] has the number first
	first   int64
	changed chan struct{} // closed and replaced with each line
	closed  bool
}

func openLog(name string) *serviceLog {
	l := &serviceLog{name: name, changed: make(chan struct{})}
	if old, err := os.ReadFile(name); err == nil {
		for line := range strings.Lines(string(old[max(0, len(old)-64<<10):])) {
			l.keep(strings.TrimSuffix(line, "\n"))
		}
	}
	return l
}

// add appends one line. A log that cannot be written (a full disk) loses the line in the file, not in
// memory, and never stops the app.
func (l *serviceLog) add(process, text string) {
	line := time.Now().UTC().Format("2006-01-02T15:04:05.000Z") + " " + process + " " + strings.ToValidUTF8(text, "\uFFFD")
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.write(line)
	l.keep(line)
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *serviceLog) keep(line string) {
	l.tail = append(l.tail, line)
	if len(l.tail) >= 2*logTail { // rarely, because the rest is copied
		surplus := len(l.tail) - logTail
		l.tail = append(l.tail[:0:0], l.tail[surplus:]...)
		l.first += int64(surplus)
	}
}

func (l *serviceLog) write(line string) {
	if l.file != nil && l.size > logFileBytes {
		l.file.Close()
		l.file = nil
		os.Rename(l.name, l.name+".1")
	}
	if l.file == nil {
		var err error
		if l.file, err = os.OpenFile(l.name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
			l.file = nil
			return
		}
		l.size = 0
		if info, err := l.file.Stat(); err == nil {
			l.size = info.Size()
		}
	}
	n, _ := io.WriteString(l.file, line+"\n")
	l.size += int64(n)
}

// last returns the newest n lines that came from one of these processes, or from any if none is named.
func (l *serviceLog) last(n int, processes ...string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []string
	for i := len(l.tail) - 1; i >= 0 && len(lines) < n; i-- {
		if len(processes) == 0 || from(l.tail[i], processes) {
			lines = append(lines, l.tail[i])
		}
	}
	for i, j := 0, len(lines)-1; i < j; i, j = i+1, j-1 {
		lines[i], lines[j] = lines[j], lines[i]
	}
	return lines
}

func from(line string, processes []string) bool {
	_, rest, _ := strings.Cut(line, " ")
	process, _, _ := strings.Cut(rest, " ")
	for _, p := range processes {
		if p == process {
			return true
		}
	}
	return false
}

// copyTo writes the tail to w and, with follow, each new line until ctx ends or the log is closed. A
// follower that is too slow misses lines; it never slows the app.
func (l *serviceLog) copyTo(ctx context.Context, w io.Writer, follow bool) error {
	var next int64
	for {
		l.mu.Lock()
		from := max(next, l.first)
		lines := append([]string(nil), l.tail[from-l.first:]...)
		next = l.first + int64(len(l.tail))
		changed, closed := l.changed, l.closed
		l.mu.Unlock()
		if len(lines) > 0 {
			if _, err := io.WriteString(w, strings.Join(lines, "\n")+"\n"); err != nil {
				return err
			}
		}
		if !follow || closed {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// close ends the followers; with remove the files go too.
func (l *serviceLog) close(remove bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.changed)
	}
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
	if remove {
		os.Remove(l.name)
		os.Remove(l.name + ".1")
	}
}

// output takes what a process prints into the log, without the secrets it was given.
type output struct {
	mu    sync.Mutex
	lines lineWriter
	out   io.WriteCloser // to lines
}

func newOutput(log *serviceLog, process string) *output {
	o := &output{lines: lineWriter{log: log, process: process}}
	o.hides(nil)
	return o
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.out.Write(p)
}

// hides makes o hide the values of secrets from now on.
func (o *output) hides(secrets map[string]string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.out = redact.New(slices.Collect(maps.Values(secrets))...).Writer(&o.lines)
}

// flush ends an unfinished last line.
func (o *output) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	_ = o.out.Close() // lines take everything
	o.lines.flush()
}

// lineWriter cuts what it is given into lines of the log.
type lineWriter struct {
	log     *serviceLog
	process string
	rest    []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		end := bytes.IndexByte(w.rest, '\n')
		if end < 0 && len(w.rest) < logLine {
			return len(p), nil
		}
		cut := end
		if end < 0 || end > logLine {
			cut, end = logLine, logLine-1
		}
		w.log.add(w.process, strings.TrimSuffix(string(w.rest[:cut]), "\r"))
		w.rest = w.rest[end+1:]
	}
}

func (w *lineWriter) flush() {
	if len(w.rest) > 0 {
		w.log.add(w.process, string(w.rest))
		w.rest = nil
	}
}
