package supervisor

import (
	"encoding/json"
	"io"
	"slices"
	"strings"
)

// Hidden stands where a secret was.
const Hidden = "(sensitive)"

// Redactor hides known secret values in text.
type Redactor struct{ replacer *strings.Replacer }

// NewRedactor returns a Redactor of these values in the forms an engine may print them: plain, as JSON,
// and line by line, because logs are cut into lines.
func NewRedactor(secrets []string) *Redactor {
	forms := []string{}
	for _, secret := range secrets {
		forms = append(forms, secret, inJSON(secret))
		if strings.Contains(secret, "\n") {
			for line := range strings.Lines(secret) {
				forms = append(forms, strings.TrimSpace(line))
			}
		}
	}
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) }) // a secret may be part of another
	pairs := []string{}
	for _, form := range slices.Compact(forms) {
		if form != "" {
			pairs = append(pairs, form, Hidden)
		}
	}
	return &Redactor{strings.NewReplacer(pairs...)}
}

// String returns s without the secrets.
func (r *Redactor) String(s string) string { return r.replacer.Replace(s) }

func inJSON(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return s
	}
	return strings.Trim(string(b), `"`)
}

// lines hands every line of what is written to it to fn, without its end. Close hands over the rest.
type lines struct {
	fn   func(line []byte)
	rest []byte
}

// longestLine bounds what is kept of a line that does not end; it is handed over in pieces.
const longestLine = 1 << 20

func (l *lines) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := slices.Index(p, '\n')
		if i < 0 {
			break
		}
		l.fn(append(l.rest, p[:i]...))
		l.rest, p = l.rest[:0], p[i+1:]
	}
	l.rest = append(l.rest, p...)
	if len(l.rest) > longestLine {
		l.fn(l.rest)
		l.rest = l.rest[:0]
	}
	return n, nil
}

func (l *lines) Close() error {
	if len(l.rest) > 0 {
		l.fn(l.rest)
		l.rest = nil
	}
	return nil
}

var _ io.WriteCloser = (*lines)(nil)
