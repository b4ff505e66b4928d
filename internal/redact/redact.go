// Package redact takes known secret values out of text, before it is stored or shown.
//
// A value is also found as JSON, in a URL and in base64, wherever it stands in what was encoded; one of
// several lines is taken out line by line, and of one that has a structure each part (parts.go). Nothing that is
// taken out contains the end of a line, so that a log that is read line by line is held back only within a line.
//
// Deliberately absent: guessing what looks like a secret. The supervisor of engines starts without the rest of the
// binary, hence this package imports the standard library only.
package redact

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Mark stands where a secret was.
const Mark = "(sensitive)"

// Shortest is the length from which a value, or a part of one, is taken out: without shorter ones no log could be
// read, and hiding them would hide nothing.
const Shortest = 4

// Redactor takes secret values out of text. The zero value and nil know none.
type Redactor struct {
	known  map[string]bool
	forms  map[string][]string // by their first Shortest bytes, the longest first
	begins [256][]string       // the same by their first byte
}

// New returns a redactor for these values.
func New(values ...string) *Redactor {
	r := &Redactor{known: map[string]bool{}, forms: map[string][]string{}}
	for _, value := range values {
		for _, part := range parts(value) {
			r.encoded(part)
		}
	}
	for first := range r.forms {
		// Of two values that begin alike, the whole of the longer must go.
		slices.SortFunc(r.forms[first], func(a, b string) int { return len(b) - len(a) })
	}
	return r
}

// encoded adds a value as it is and as others write it.
func (r *Redactor) encoded(value string) {
	if len(value) < Shortest {
		return
	}
	r.add(value)
	r.add(url.QueryEscape(value))
	r.add(url.PathEscape(value))
	for _, escape := range []bool{true, false} {
		r.add(inJSON(value, escape))
	}
	r.add(inJSON(inJSON(value, false), false)) // JSON in JSON, as states and plans hold it
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		text := encoding.EncodeToString([]byte(value))
		r.add(text)
		r.add(strings.TrimRight(text, "="))
		for before := range 3 { // how a value begins depends on how many bytes stand before it
			text := encoding.EncodeToString(append(make([]byte, before), value...))
			r.add(text[(before*8+5)/6 : (before+len(value))*8/6])
		}
	}
}

// inJSON returns how a text stands between the quotes of JSON.
func inJSON(value string, escapeHTML bool) string {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(escapeHTML)
	_ = e.Encode(value) // a string never fails
	quoted := strings.TrimSuffix(text.String(), "\n")
	return quoted[1 : len(quoted)-1]
}

func (r *Redactor) add(form string) {
	if len(form) < Shortest || strings.Contains(form, "\n") || r.known[form] {
		return
	}
	r.known[form] = true
	r.forms[form[:Shortest]] = append(r.forms[form[:Shortest]], form)
	r.begins[form[0]] = append(r.begins[form[0]], form)
}

// Text returns text without the secrets.
func (r *Redactor) Text(text string) string {
	if r == nil || len(r.forms) == 0 {
		return text
	}
	out, _ := r.scan(nil, []byte(text), true)
	return string(out)
}

// scan appends text without the secrets to out. Unless this is the end, what could be the beginning of a
// secret stays in rest.
func (r *Redactor) scan(out, text []byte, end bool) (redacted, rest []byte) {
	from := 0 // of what is to be copied
next:
	for i := 0; i < len(text); i++ {
		if len(r.begins[text[i]]) == 0 {
			continue
		}
		left := text[i:]
		if len(left) < Shortest {
			if !end && slices.ContainsFunc(r.begins[text[i]], func(form string) bool { return strings.HasPrefix(form, string(left)) }) {
				return append(out, text[from:i]...), left
			}
			continue
		}
		for _, form := range r.forms[string(left[:Shortest])] {
			switch {
			case len(left) < len(form):
				if !end && strings.HasPrefix(form, string(left)) {
					return append(out, text[from:i]...), left
				}
			case string(left[:len(form)]) == form:
				out = append(append(out, text[from:i]...), Mark...)
				from = i + len(form)
				i = from - 1
				continue next
			}
		}
	}
	return append(out, text[from:]...), nil
}

// Writer returns a writer that passes on to w what is written to it without the secrets, also those that
// arrive in pieces. Only what could be the beginning of one is held back; Close passes that on and does
// not close w. It may be used by several goroutines.
func (r *Redactor) Writer(w io.Writer) io.WriteCloser { return &writer{redactor: r, w: w} }

type writer struct {
	mu       sync.Mutex
	redactor *Redactor
	w        io.Writer
	rest     []byte
}

func (x *writer) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.pass(p, false); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (x *writer) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.pass(nil, true)
}

func (x *writer) pass(p []byte, end bool) error {
	out := p
	if x.redactor != nil && len(x.redactor.forms) > 0 {
		var rest []byte
		out, rest = x.redactor.scan(make([]byte, 0, len(x.rest)+len(p)), append(x.rest, p...), end)
		x.rest = bytes.Clone(rest)
	}
	if len(out) == 0 {
		return nil
	}
	_, err := x.w.Write(out)
	return err
}
