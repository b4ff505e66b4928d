// Package redact takes known secret values out of text, before it is stored or shown.
//
// A value is also found as JSON, in a URL, in HTML and in base64, wherever it stands in what was encoded; one of
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
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
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
	r.add(inHTML.Replace(value))
	for _, escaped := range inURLs(value) {
		r.add(escaped)
		r.add(lowerHex.ReplaceAllStringFunc(escaped, strings.ToLower))
	}
	for _, escaped := range inJSON(value) {
		for range 3 { // JSON in JSON, as states and plans hold it, and a log of those
			r.add(escaped)
			escaped = quoted(escaped, false)
		}
	}
	r.add(url.QueryEscape(quoted(value, true)))
	r.base64(value)
	r.base64(quoted(value, true)) // as jsonencode writes it
}

// base64 adds a text as it is in base64, alone or inside of something longer.
func (r *Redactor) base64(value string) {
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		text := encoding.EncodeToString([]byte(value))
		r.add(text)
		r.add(strings.TrimRight(text, "="))
		for _, width := range []int{64, 76} { // the lines of PEM and of MIME
			for from := 0; from < len(text) && len(text) > width; from += width {
				r.add(strings.TrimRight(text[from:min(from+width, len(text))], "="))
			}
		}
		for before := range 3 { // how a value begins depends on how many bytes stand before it
			text := encoding.EncodeToString(append(make([]byte, before), value...))
			r.add(text[(before*8+5)/6 : (before+len(value))*8/6])
		}
	}
}

var (
	inHTML   = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")
	lowerHex = regexp.MustCompile(`%[0-9A-F]{2}`)
)

// inURLs returns how a text stands in URLs: libraries differ in what they leave as it is.
func inURLs(value string) []string {
	escaped := []string{url.QueryEscape(value), url.PathEscape(value), url.UserPassword("", value).String()[1:]}
	return append(escaped, strings.NewReplacer("+", "%20", "%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*").Replace(escaped[0])) // browsers
}

// inJSON returns how a text stands between the quotes of JSON: writers differ in what they escape.
func inJSON(value string) []string {
	ascii := func(text, also, form string) string {
		var out strings.Builder
		for _, c := range text {
			if c < utf8.RuneSelf && !strings.ContainsRune(also, c) {
				out.WriteRune(c)
				continue
			}
			for _, unit := range utf16.Encode([]rune{c}) {
				fmt.Fprintf(&out, form, unit)
			}
		}
		return out.String()
	}
	plain := quoted(value, false)
	python := ascii(plain, "", `\u%04x`)
	return []string{
		plain, quoted(value, true), python, strings.ReplaceAll(plain, "/", `\/`), strings.ReplaceAll(python, "/", `\/`), // PHP
		ascii(strings.ReplaceAll(plain, `\"`, `"`), "\"&'+<>`", `\u%04X`), // .NET
	}
}

// quoted returns how Go writes a text between the quotes of JSON.
func quoted(value string, escapeHTML bool) string {
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
