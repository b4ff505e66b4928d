// Package fault is the one error that users see.
//
// A fault says what kind of failure it is, carries a stable code that scripts may match, one clear
// sentence, what to do about it, and where it applies a message for each field. The kind decides the
// HTTP status (package web), the exit code (package cli) and whether a retry can help. Every other
// error is unknown: it is logged once, at the edge, and shown as "internal error" with the request id.
//
// Deliberately absent: stack traces, wrapping helpers and translation of texts. A cause is kept for
// the log with Because; it never reaches a user.
package fault

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
)

// Kind says what a caller can do about a failure.
type Kind string

const (
	Invalid         Kind = "invalid"         // the input is wrong: change it
	Unauthenticated Kind = "unauthenticated" // not signed in
	Forbidden       Kind = "forbidden"       // signed in and allowed to see, but not to act
	NotFound        Kind = "not_found"       // not there, or not for this person to see
	Conflict        Kind = "conflict"        // the state of the thing does not allow it now
	Stale           Kind = "stale"           // somebody else changed it since it was read
	TooLarge        Kind = "too_large"       // over a stated limit
	Unavailable     Kind = "unavailable"     // something the platform needs is away: try again
	Internal        Kind = "internal"        // a defect, or an error nobody foresaw
)

// Field is a message about one field of the input.
type Field struct {
	Path    string `json:"path" doc:"Where in the input, for example body.name or flywheel.yaml:12:5"`
	Message string `json:"message" doc:"What is wrong there"`
}

// Fault is an error made for a reader. Build it with New and the methods below.
type Fault struct {
	Kind    Kind
	Code    string // stable, dotted, for example "variable.out_of_bounds"
	Message string // one sentence
	Remedy  string // what to do next; may be empty
	Fields  []Field
	Wait    time.Duration // until trying again can help; 0 where nobody knows
	cause   error
}

// New returns a fault with a formatted sentence. What is put into it may be a sentence with a full stop of its own.
func New(kind Kind, code, format string, args ...any) *Fault {
	return &Fault{Kind: kind, Code: code, Message: OneStop(fmt.Sprintf(format, args...))}
}

// OneStop returns a sentence that ends with two full stops, as it does when it quotes another one, with one.
func OneStop(sentence string) string {
	if strings.HasSuffix(sentence, "..") && !strings.HasSuffix(sentence, "...") {
		return sentence[:len(sentence)-1]
	}
	return sentence
}

// Do adds what the reader can do about it and returns the same fault.
func (f *Fault) Do(format string, args ...any) *Fault {
	f.Remedy = fmt.Sprintf(format, args...)
	return f
}

// At adds a message for one field and returns the same fault.
func (f *Fault) At(path, format string, args ...any) *Fault {
	f.Fields = append(f.Fields, Field{Path: path, Message: fmt.Sprintf(format, args...)})
	return f
}

// After adds how long to wait before trying again can help and returns the same fault.
func (f *Fault) After(wait time.Duration) *Fault {
	f.Wait = wait
	return f
}

// Because keeps the underlying error for the log. It is never shown.
func (f *Fault) Because(err error) *Fault {
	f.cause = err
	return f
}

func (f *Fault) Error() string {
	if f.Remedy == "" {
		return f.Message
	}
	return f.Message + " " + f.Remedy
}

func (f *Fault) Unwrap() error { return f.cause }

// DiskFull is the code of what cannot be done because there is no room for it. What was asked is right:
// whoever judges input by a fault must not take this one for a refusal.
const DiskFull = "disk.full"

// From returns the fault inside err, that of a full disk, or an Internal one that hides err's text from
// readers and keeps it as the cause. It returns nil for a nil error.
func From(err error) *Fault {
	if err == nil {
		return nil
	}
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return New(Unavailable, DiskFull, "The disk under Flywheel's data is full, so nothing of this was done.").
			Do("Try again when an operator has made room there.").Because(err)
	}
	return New(Internal, "internal", "Something went wrong inside Flywheel.").
		Do("Look for the request id in the server's log.").Because(err)
}

// Is reports whether err is a fault with this code.
func Is(err error, code string) bool {
	var f *Fault
	return errors.As(err, &f) && f.Code == code
}

// Missing returns the answer for a thing that is not there and for a thing the reader may not see.
// Both give the same words, so that nobody can probe for names.
func Missing(what, name string) *Fault {
	return New(NotFound, what+".not_found", "There is no %s %q.", what, name)
}
