package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/plain"
)

// Colours of the terminal. Nothing is said by colour alone.
const (
	dim    = "2"
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "34"
)

// isTerminal reports whether w is a terminal that a person looks at.
func isTerminal(w any) bool {
	if t, ok := w.(*terminal); ok {
		return t.file != nil
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// painter returns a function that colours text for w: not at all with NO_COLOR, on a dumb terminal, or
// when w is no terminal.
func painter(w io.Writer) func(colour, text string) string {
	t, ok := w.(*terminal)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || !isTerminal(w) {
		return func(_, text string) string { return text }
	}
	return func(colour, text string) string { return t.own(colour+"m") + text + t.own("0m") }
}

// show prints data as -o says; table is called for people.
func (s *shell) show(c *cobra.Command, data any, table func(p *page)) error {
	switch s.output {
	case "json":
		return writeJSON(c.OutOrStdout(), data)
	case "yaml":
		return writeYAML(c.OutOrStdout(), data)
	}
	p := newPage(c.OutOrStdout(), s.now())
	table(p)
	_, err := io.WriteString(c.OutOrStdout(), p.text.String())
	return err
}

func writeJSON(w io.Writer, data any) error {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(data); err != nil {
		return err
	}
	_, err := io.WriteString(w, escaped(out.String()))
	return err
}

// escaped writes the characters of a JSON text that are not shown as JSON escapes, so that it is exact and steers
// no terminal.
func escaped(text string) string {
	if !strings.ContainsFunc(text, plain.Hidden) {
		return text
	}
	var out strings.Builder
	for _, c := range text {
		switch {
		case !plain.Hidden(c):
			out.WriteRune(c)
		case c > 0xffff:
			high, low := utf16.EncodeRune(c)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, c)
		}
	}
	return out.String()
}

var control = regexp.MustCompile(`\\u00[01]`) // as JSON escapes it

func writeYAML(w io.Writer, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	if raw := string(text); escaped(raw) != raw || control.MatchString(raw) {
		return writeJSON(w, data) // which is YAML too, and can say such characters by their numbers
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	value, err := inOrder(decoder)
	if err != nil {
		return err
	}
	if text, err = yaml.Marshal(value); err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// digits is a number as JSON has it, digit for digit.
type digits string

// MarshalYAML implements yaml.BytesMarshaler.
func (d digits) MarshalYAML() ([]byte, error) { return []byte(d), nil }

// inOrder reads a JSON value for YAML: with its keys in their order, and its numbers as they are.
func inOrder(decoder *json.Decoder) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		out := yaml.MapSlice{}
		for decoder.More() {
			key, err := decoder.Token()
			if err != nil {
				return nil, err
			}
			value, err := inOrder(decoder)
			if err != nil {
				return nil, err
			}
			out = append(out, yaml.MapItem{Key: key, Value: value})
		}
		_, err := decoder.Token()
		return out, err
	case json.Delim('['):
		out := []any{}
		for decoder.More() {
			value, err := inOrder(decoder)
			if err != nil {
				return nil, err
			}
			out = append(out, value)
		}
		_, err := decoder.Token()
		return out, err
	}
	if number, ok := token.(json.Number); ok {
		return digits(number), nil
	}
	return token, nil
}

// page collects what a person reads.
type page struct {
	text    strings.Builder
	paint   func(colour, text string) string
	now     time.Time
	columns int // of the terminal; 0 if it is none
}

func newPage(w io.Writer, now time.Time) *page {
	p := &page{paint: painter(w), now: now}
	if t, ok := w.(*terminal); ok && t.file != nil {
		if columns, _, err := term.GetSize(int(t.file.Fd())); err == nil {
			p.columns = columns
		}
	}
	return p
}

func (p *page) line(format string, args ...any) { fmt.Fprintf(&p.text, format+"\n", args...) }

// heading begins a part of the page.
func (p *page) heading(text string) { p.line("\n%s", p.paint(bold, text)) }

// fields prints names and values in two columns and leaves out what is empty.
func (p *page) fields(pairs ...string) {
	rows := [][]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			rows = append(rows, []string{p.paint(dim, pairs[i]), pairs[i+1]})
		}
	}
	p.rows(rows)
}

// table prints rows under headers. What is too wide for the terminal is clipped in its prose, or,
// where that does not help, printed row by row with a line for each column.
func (p *page) table(headers []string, rows [][]string) {
	if p.columns > 0 {
		if over := tableWidth(headers, rows) - p.columns; over > 0 {
			clipped, fits := narrowed(headers, rows, over)
			if !fits {
				p.records(headers, rows)
				return
			}
			rows = clipped
		}
	}
	head := make([]string, len(headers))
	for i, h := range headers {
		head[i] = p.paint(dim, h)
	}
	p.rows(append([][]string{head}, rows...))
}

// tableWidth returns how many columns of a terminal a table takes.
func tableWidth(headers []string, rows [][]string) int {
	total := -2
	for i := range headers {
		widest := width(headers[i])
		for _, row := range rows {
			if i < len(row) {
				widest = max(widest, width(row[i]))
			}
		}
		total += widest + 2
	}
	return total
}

// leastClipped is what is left of a text that is clipped for a terminal.
const leastClipped = 20

// narrowed returns the rows with their title and their last column shorter by over in all, and whether that
// left enough of them. Everything else, names, ids and addresses, is copied as it is and stays whole.
func narrowed(headers []string, rows [][]string, over int) ([][]string, bool) {
	out := make([][]string, len(rows))
	for i, row := range rows {
		out[i] = append([]string{}, row...)
	}
	for _, column := range []int{len(headers) - 1, slices.Index(headers, "TITLE")} {
		if column < 0 || over <= 0 {
			continue
		}
		widest := width(headers[column])
		for _, row := range out {
			widest = max(widest, width(row[column]))
		}
		left := max(leastClipped, widest-over)
		if left >= widest {
			continue
		}
		over -= widest - left
		for _, row := range out {
			row[column] = cut(row[column], left)
		}
	}
	return out, over <= 0
}

// records prints each row as names and values.
func (p *page) records(headers []string, rows [][]string) {
	for i, row := range rows {
		if i > 0 {
			p.line("")
		}
		pairs := []string{}
		for j, cell := range row {
			pairs = append(pairs, headers[j], cell)
		}
		p.fields(pairs...)
	}
}

func (p *page) rows(rows [][]string) {
	widths := []int{}
	for _, row := range rows {
		for i, cell := range row {
			if strings.Contains(cell, "\n") { // one row stays one line
				cell = strings.ReplaceAll(cell, "\n", " ")
				row[i] = cell
			}
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], width(cell))
		}
	}
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			line += cell
			if i < len(row)-1 {
				line += strings.Repeat(" ", widths[i]-width(cell)+2)
			}
		}
		p.line("%s", strings.TrimRight(line, " "))
	}
}

// width returns how many columns text takes on a terminal, without its colours.
func width(text string) int {
	n := 0
	for len(text) > 0 {
		if strings.HasPrefix(text, "\x1b[") {
			if _, rest, ended := strings.Cut(text, "m"); ended {
				text = rest
				continue
			}
		}
		_, size := utf8.DecodeRuneInString(text)
		text = text[size:]
		n++
	}
	return n
}

// clip shortens text to one line of at most n columns.
func clip(text string, n int) string {
	text = strings.Join(strings.Fields(text), " ")
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return strings.TrimRight(string(runes[:n-1]), " ") + "…"
}

// ago says how long ago t was, or how soon it will be.
func (p *page) ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	d := p.now.Sub(t)
	if d < 0 {
		return "in " + roughly(-d+time.Minute/2) // the seconds since it was set do not make a day less
	}
	if d < 5*time.Second {
		return "just now"
	}
	return roughly(d) + " ago"
}

func roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// took says how long something lasted, precisely enough to compare.
func took(d time.Duration) string {
	switch {
	case d < 0:
		return ""
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 100*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
}

// state colours the state of anything, by what it asks of the reader.
func (p *page) state(state string) string {
	return p.paint(colourOf(state), strings.ReplaceAll(state, "_", " "))
}

func colourOf(state string) string {
	switch state {
	case "deployed", "succeeded", "healthy", "passed", "certified", "approved", "active", "done", "merged":
		return green
	case "failed", "refused", "blocked", "rejected", "degraded", "interrupted", "declined", "rolled_back":
		return red
	case "held", "review", "changes_requested", "ready", "waiting", "open", "warning", "deprecated":
		return yellow
	case "checking", "running", "deploying", "merging", "developing", "in_review", "accepted":
		return blue
	}
	return dim
}

// short shows the part of a digest or commit that tells it apart for a person.
func short(digest string) string {
	digest = strings.TrimPrefix(digest, "sha256:")
	return digest[:min(12, len(digest))]
}

// one prints a single thing that the server answered: raw for machines, table for people.
func one[T any](s *shell, c *cobra.Command, raw json.RawMessage, table func(p *page, v T)) error {
	var v T
	if err := manifest.Decode(raw, &v); err != nil {
		return err
	}
	return s.show(c, raw, func(p *page) { table(p, v) })
}

// many prints a list: raw for machines, a table for people. An empty one says so beside the data.
func many[T any](s *shell, c *cobra.Command, raw []json.RawMessage, none string, headers []string, row func(p *page, v T) []string) error {
	items := make([]T, len(raw))
	for i := range raw {
		if err := manifest.Decode(raw[i], &items[i]); err != nil {
			return err
		}
	}
	if len(raw) == 0 && s.output == "table" {
		fmt.Fprintln(c.ErrOrStderr(), none)
		return nil
	}
	return s.show(c, raw, func(p *page) {
		rows := make([][]string, len(items))
		for i, v := range items {
			rows[i] = row(p, v)
		}
		p.table(headers, rows)
	})
}

// none is what an empty list says: how to fill it, or, where a filter was given, that nothing matches it.
func none(filter, empty, unmatched string) string {
	if filter == "" {
		return empty
	}
	return unmatched
}

// note tells a person something beside the data.
func note(c *cobra.Command, format string, args ...any) {
	fmt.Fprintf(c.ErrOrStderr(), format+"\n", args...)
}
