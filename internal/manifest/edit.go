package manifest

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"flywheel.dev/flywheel/internal/fault"
)

// File is a flywheel.yaml that is being edited as text: comments, order and style stay as people wrote
// them, except inside of what an edit has to write anew. Each edit is proven by reading its result.
type File struct {
	name    string
	text    []byte // with plain line ends
	windows bool   // the file had \r\n
	mark    []byte // its byte order mark, if it has one
}

// Open reads a flywheel.yaml for editing. It must be valid.
func Open(name string, content []byte) (*File, error) {
	if _, err := ParseApp(name, content); err != nil {
		return nil, err
	}
	text := bytes.TrimPrefix(content, byteOrderMark)
	return &File{name, unix(text), bytes.Contains(text, []byte("\r\n")), content[:len(content)-len(text)]}, nil
}

// Bytes returns the edited text.
func (f *File) Bytes() []byte {
	text := f.text
	if f.windows {
		text = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
	}
	return slices.Concat(f.mark, text)
}

// SetVersion sets the range of pattern versions.
func (f *File) SetVersion(wanted string) error {
	return f.edit([]string{"spec", "pattern", "version"}, func(doc map[string]any) error {
		child(child(doc, "spec"), "pattern")["version"] = wanted
		return nil
	})
}

// SetVariable sets a variable of an environment that the app selects; nil takes it back to its default.
func (f *File) SetVariable(environment, variable string, value any) error {
	value, err := plainValue(value)
	if err != nil {
		return err
	}
	return f.edit([]string{"spec", "environments", environment, "variables", variable}, func(doc map[string]any) error {
		all := child(child(doc, "spec"), "environments")
		if _, selected := all[environment]; !selected {
			return fault.New(fault.Invalid, "environment.not_selected", "The app does not select the environment %q.", environment).Do("Add it under `environments` in flywheel.yaml first.")
		}
		variables := child(child(all, environment), "variables")
		if value == nil {
			delete(variables, variable)
		} else {
			variables[variable] = value
		}
		return nil
	})
}

// RemoveEnvironment takes an environment out.
func (f *File) RemoveEnvironment(environment string) error {
	return f.edit([]string{"spec", "environments", environment}, func(doc map[string]any) error {
		all := child(child(doc, "spec"), "environments")
		if _, selected := all[environment]; !selected {
			return fault.New(fault.Invalid, "environment.not_selected", "The app is not in the environment %q.", environment)
		}
		delete(all, environment)
		return nil
	})
}

// RemoveEnvironments takes all environments out: the app is to run nowhere.
func (f *File) RemoveEnvironments() error {
	return f.edit([]string{"spec", "environments"}, func(doc map[string]any) error {
		clear(child(child(doc, "spec"), "environments"))
		return nil
	})
}

// child returns the mapping below a key, which it makes if it is missing or empty.
func child(parent map[string]any, key string) map[string]any {
	m, ok := parent[key].(map[string]any)
	if !ok {
		m = map[string]any{}
		parent[key] = m
	}
	return m
}

// edit brings the text to say what change makes of its value. It writes as little as it can: first the
// key at path alone, else what holds it, and so on. A way that does not read back as wanted is not taken.
func (f *File) edit(path []string, change func(doc map[string]any) error) error {
	d, err := read(f.name, f.text)
	if err != nil {
		return err
	}
	value, err := plainValue(d.value)
	if err != nil {
		return err
	}
	wanted := value.(map[string]any)
	if err := change(wanted); err != nil {
		return err
	}
	if f.says(f.text, wanted) {
		return nil
	}
	var refused error // why the first way makes no valid file
	for n := len(path); n > 0; n-- {
		for _, text := range f.ways(d, path[:n], wanted) {
			if f.says(text, wanted) {
				f.text = text
				return nil
			}
			if _, err := read(f.name, text); err != nil && refused == nil {
				refused = err
			}
		}
	}
	return cmp.Or(refused, fmt.Errorf("manifest: %s cannot be edited at %s", f.name, dotted(path)))
}

func (f *File) says(text []byte, wanted map[string]any) bool {
	d, err := read(f.name, text)
	if err != nil {
		return false
	}
	value, err := plainValue(d.value)
	return err == nil && reflect.DeepEqual(prune(value), prune(wanted))
}

// prune takes empty variables away: `prod: {}`, `prod:` and `prod: {variables: {}}` mean the same.
func prune(v any) any {
	doc, _ := plainValue(v)
	m, ok := doc.(map[string]any)
	if !ok {
		return doc
	}
	all := child(child(m, "spec"), "environments")
	for name := range all {
		e := child(all, name)
		if len(child(e, "variables")) == 0 {
			delete(e, "variables")
		}
	}
	return doc
}

// ways returns texts that may say the wanted value at path: with the key's value replaced, with the key
// inserted, or with it cut out.
func (f *File) ways(d *document, path []string, wanted map[string]any) [][]byte {
	var value any = wanted
	there := true
	for _, name := range path {
		m, _ := value.(map[string]any)
		value, there = m[name]
	}
	parent, i := d.entry(path)
	if parent == nil {
		return nil
	}
	lines := bytes.SplitAfter(f.text, []byte("\n"))
	splice := func(from, to int, with string) []byte {
		return slices.Concat(f.text[:from], []byte(with), f.text[to:])
	}
	key := path[len(path)-1]
	switch {
	case i >= 0 && there:
		start := f.offset(lines, parent.Values[i].Key)
		out := [][]byte{}
		for _, s := range f.spans(start, parent.IsFlowStyle) {
			out = append(out, splice(s[0], s[1], " "+flow(value)))
		}
		return out
	case i >= 0: // cut it out
		start := f.offset(lines, parent.Values[i].Key)
		if parent.IsFlowStyle {
			if i+1 < len(parent.Values) {
				return [][]byte{splice(start, f.offset(lines, parent.Values[i+1].Key), "")}
			}
			return nil
		}
		line := bytes.LastIndexByte(f.text[:start], '\n') + 1
		out := [][]byte{}
		for _, s := range f.spans(start, false) {
			end := s[1]
			if n := bytes.IndexByte(f.text[end:], '\n'); n >= 0 {
				end += n + 1
			} else {
				end = len(f.text)
			}
			out = append(out, splice(line, end, ""))
		}
		return out
	case there && len(parent.Values) > 0: // insert it before the first key
		start := f.offset(lines, parent.Values[0].Key)
		entry := flowKey(key) + ": " + flow(value)
		if parent.IsFlowStyle {
			return [][]byte{splice(start, start, entry+", ")}
		}
		line := bytes.LastIndexByte(f.text[:start], '\n') + 1
		return [][]byte{splice(start, start, entry+"\n"+strings.Repeat(" ", start-line))}
	}
	return nil
}

// entry returns the mapping that holds the last key of the path, and the key's place in it or -1. The
// mapping is nil where the text has none.
func (d *document) entry(path []string) (*ast.MappingNode, int) {
	node := d.root
	for n, name := range path {
		m, ok := node.(*ast.MappingNode)
		if !ok {
			return nil, -1
		}
		i := slices.IndexFunc(m.Values, func(v *ast.MappingValueNode) bool { return keyName(v) == name })
		if i < 0 || n == len(path)-1 {
			if n < len(path)-1 {
				return nil, -1
			}
			return m, i
		}
		node = m.Values[i].Value
	}
	return nil, -1
}

// offset returns where a key begins in the text.
func (f *File) offset(lines [][]byte, key ast.Node) int {
	p := key.GetToken().Position
	at := 0
	for _, line := range lines[:p.Line-1] {
		at += len(line)
	}
	column := 1
	for i := range string(lines[p.Line-1]) {
		if column == p.Column {
			return at + i
		}
		column++
	}
	return at
}

var keyText = regexp.MustCompile(`^("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^:#\s]+)[ \t]*:`)

// spans returns where the value of the key at start may lie, without the space before it, the likeliest
// first.
func (f *File) spans(start int, inFlow bool) [][2]int {
	colon := keyText.FindIndex(f.text[start:])
	if colon == nil {
		return nil
	}
	from := start + colon[1]
	line, _, _ := bytes.Cut(f.text[from:], []byte("\n"))
	out := [][2]int{}
	value := bytes.TrimLeft(line, " ")
	begin := from + len(line) - len(value)
	if len(value) > 0 && bytes.IndexByte([]byte("{[\"'"), value[0]) >= 0 {
		out = append(out, [2]int{from, closing(f.text, begin)})
	}
	plain := value
	if i := bytes.Index(line, []byte(" #")); i >= 0 {
		plain = bytes.TrimLeft(line[:i], " ")
	}
	if inFlow {
		if i := bytes.IndexAny(plain, ",}]"); i >= 0 {
			plain = plain[:i]
		}
		return append(out, [2]int{from, begin + len(bytes.TrimRight(plain, " "))})
	}
	if len(plain) > 0 {
		return append(out, [2]int{from, begin + len(bytes.TrimRight(plain, " "))})
	}
	if end := f.block(start, from+len(line)); end > from+len(line) {
		return append(out, [2]int{from, end})
	}
	return append(out, [2]int{from, from}) // empty, but there may be a comment
}

// block returns the end of the lines below the key at start that are indented deeper than it.
func (f *File) block(start, end int) int {
	column := start - (bytes.LastIndexByte(f.text[:start], '\n') + 1)
	last := end
	for end < len(f.text) {
		line, _, _ := bytes.Cut(f.text[end+1:], []byte("\n"))
		text := bytes.TrimLeft(line, " ")
		if len(bytes.TrimSpace(text)) > 0 {
			if len(line)-len(text) <= column {
				break
			}
			last = end + 1 + len(line)
		}
		end += 1 + len(line)
	}
	return last
}

// closing returns the end of the bracketed or quoted value that begins at start.
func closing(text []byte, start int) int {
	depth := 0
	quote := byte(0)
	for i := start; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0:
			if c == '\\' && quote == '"' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
		if depth == 0 && quote == 0 {
			return i + 1
		}
	}
	return len(text)
}

// flow writes a value on one line, as in DESIGN.md. Texts are always quoted, so that "16" stays a text.
func flow(v any) string {
	switch v := v.(type) {
	case map[string]any:
		parts := []string{}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, flowKey(k)+": "+flow(v[k]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		parts := []string{}
		for _, e := range v {
			parts = append(parts, flow(e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	if s, ok := v.(spelled); ok {
		return string(s)
	}
	return show(v) // what JSON writes for the rest, YAML reads
}

var plainKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

func flowKey(k string) string {
	if plainKey.MatchString(k) && !slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off"}, strings.ToLower(k)) {
		return k
	}
	return show(k)
}
