// Package runlog keeps the logs of checks and deployments: one text file each, appended while the
// work runs, readable at any time, and followed live by pages and the command line.
//
// A log is named by its owner (a deployment's id, or a change's revision and check). Whoever runs the
// same step again after a crash goes on in the same file. Secret values are replaced before a line
// reaches the disk (package redact), by the list that who opens it brings.
//
// Deliberately absent: levels, structure and search; a log is what a person would have seen on a
// terminal. Events (package event) are what machines read.
package runlog

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/redact"
)

// Limit is how much of one log is kept; a program that writes for ever must not fill the disk.
const Limit = 8 << 20

// Store is a folder of logs.
type Store struct{ Dir string }

var nameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$`)

// Open returns a writer that appends lines with their time to the log of this name. hide lists secret
// values that must not appear. Close it when the work ends.
func (s *Store) Open(name string, hide ...string) (*Writer, error) {
	if !nameRule.MatchString(name) {
		return nil, errors.New("runlog: bad name " + name)
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(s.Dir, name+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	l := &lines{file: f, size: info.Size()}
	return &Writer{redact.New(hide...).Writer(l), l}, nil
}

// Writer appends to one log, without the secrets. It may be used by several goroutines.
type Writer struct {
	io.WriteCloser
	lines *lines
}

// Close writes what is left of the last line.
func (w *Writer) Close() error { return errors.Join(w.WriteCloser.Close(), w.lines.close()) }

// lines appends whole lines with their time and keeps an unfinished one back.
type lines struct {
	file *os.File
	size int64
	rest []byte
	full bool
}

func (w *lines) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		end := bytes.IndexByte(w.rest, '\n')
		if end < 0 && len(w.rest) < 64<<10 {
			return len(p), nil
		}
		if end < 0 {
			end = len(w.rest) - 1
		}
		line := w.rest[:end+1]
		w.rest = w.rest[end+1:]
		if err := w.line(line); err != nil {
			return 0, err
		}
	}
}

func (w *lines) line(line []byte) error {
	if w.full {
		return nil
	}
	text := time.Now().UTC().Format("15:04:05.000 ") + strings.ToValidUTF8(strings.TrimRight(string(line), "\r\n"), "�") + "\n"
	if w.size += int64(len(text)); w.size > Limit {
		w.full = true
		text = "… the rest is left out: a log keeps 8 MiB\n"
	}
	_, err := io.WriteString(w.file, text)
	return err
}

func (w *lines) close() error {
	if len(w.rest) > 0 {
		_ = w.line(w.rest) // the file is closed either way
		w.rest = nil
	}
	return w.file.Close()
}

// Read copies the log to out. With follow it goes on until over says that the work has ended, or ctx
// does. A log that does not exist yet is empty.
func (s *Store) Read(ctx context.Context, name string, out io.Writer, follow bool, over func() bool) error {
	if !nameRule.MatchString(name) {
		return fault.Missing("log", name)
	}
	var f *os.File
	defer func() {
		if f != nil {
			f.Close()
		}
	}()
	for {
		ended := !follow || over() // asked before the read, so that nothing written before the end is missed
		if f == nil {
			opened, err := os.Open(filepath.Join(s.Dir, name+".log"))
			if err != nil && !os.IsNotExist(err) {
				return err
			}
			if err == nil {
				f = opened
			}
		}
		if f != nil {
			if _, err := io.Copy(out, f); err != nil {
				return err
			}
		}
		if flush, ok := out.(interface{ Flush() }); ok {
			flush.Flush()
		}
		if ended {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(150 * time.Millisecond):
		}
	}
}
