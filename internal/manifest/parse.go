package manifest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/plain"
)

// ParsePattern reads pattern.yaml. file is its name for messages.
func ParsePattern(file string, content []byte) (*Pattern, error) {
	var p Pattern
	d, err := read(file, content)
	if err != nil {
		return &p, err
	}
	if err := d.decode("pattern", &p); err != nil {
		return &p, err
	}
	// The module says what its variables are, so what they may be stays as it was typed until then.
	variables := child(child(d.value.(map[string]any), "spec"), "variables")
	for name, v := range p.Spec.Variables {
		asWritten(v.Bounds, child(variables, name))
		for class, own := range v.Classes {
			asWritten(own, child(child(child(variables, name), "classes"), class))
		}
	}
	p.check(d)
	return &p, d.err()
}

// ParseApp reads flywheel.yaml. file is its name for messages.
func ParseApp(file string, content []byte) (*App, error) {
	var a struct {
		Metadata Metadata `json:"metadata"`
		Spec     App      `json:"spec"`
	}
	d, err := read(file, content)
	if err == nil {
		err = d.decode("app", &a)
	}
	a.Spec.Metadata = a.Metadata
	if a.Spec.Merge == "" {
		a.Spec.Merge = "auto"
	}
	if a.Spec.Build.Artifact == "" && a.Spec.Build.Outer == "" {
		a.Spec.Build.Artifact = "."
	}
	if err != nil {
		return &a.Spec, err
	}
	all := child(child(d.value.(map[string]any), "spec"), "environments")
	for name := range a.Spec.Environments {
		a.Spec.Environments[name] = Environment{Variables: child(child(all, name), "variables")}
	}
	a.Spec.document = d
	a.Spec.check(d)
	return &a.Spec, d.err()
}

// asWritten puts the allowed values of bounds back as they are in the file.
func asWritten(bounds Values, written map[string]any) {
	for _, key := range []string{"enum", "const"} {
		if _, given := bounds[key]; given {
			bounds[key] = written[key]
		}
	}
}

// Check reads a manifest of either kind and returns what is wrong with it, or nil.
func Check(file string, content []byte) error {
	d, err := read(file, content)
	if err != nil {
		return err
	}
	said, _ := d.value.(map[string]any)["kind"].(string)
	if said == "Pattern" || said != "App" && strings.HasSuffix(file, "pattern.yaml") {
		_, err = ParsePattern(file, content)
	} else {
		_, err = ParseApp(file, content)
	}
	return err
}

// document is a manifest as YAML: its value, and its syntax tree, which knows where everything stands.
type document struct {
	file     string
	root     ast.Node
	value    any
	problems *fault.Fault
}

func invalid(file string) *fault.Fault {
	return fault.New(fault.Invalid, "manifest.invalid", "%s is not valid.", file).Do("`flywheel validate %s` shows every problem.", file)
}

// read parses YAML that holds keys and values, within the limits.
func read(file string, content []byte) (*document, error) {
	d, err := parse(file, content)
	if err != nil {
		return nil, err
	}
	if _, isMap := d.value.(map[string]any); !isMap {
		return nil, invalid(file).At(file+":1:1", "it must hold keys and values, beginning with apiVersion and kind")
	}
	return d, nil
}

// parse parses YAML, within the limits.
func parse(file string, content []byte) (*document, error) {
	content = unix(content)
	start := file + ":1:1"
	switch {
	case len(content) > Limit:
		return nil, fault.New(fault.TooLarge, "manifest.too_large", "%s is larger than %d KiB.", file, Limit>>10).Do("Describe less in it: it names variables, it does not hold data.")
	case !utf8.Valid(content):
		return nil, invalid(file).At(place(file, content), "it is not UTF-8 text; save it as UTF-8")
	case len(bytes.TrimSpace(content)) == 0:
		return nil, invalid(file).At(start, "it is empty")
	}
	if at, found := plain.Find(content); found {
		return nil, invalid(file).At(fmt.Sprintf("%s:%d:%d", file, at.Line, at.Column), "%s", at.What)
	}
	if line := tooDeep(content); line > 0 {
		return nil, invalid(file).At(fmt.Sprintf("%s:%d:1", file, line), "it is nested more than %d levels deep", deepest)
	}
	tree, err := parser.ParseBytes(content, 0)
	if err != nil {
		return nil, syntax(file, err)
	}
	for _, doc := range tree.Docs {
		if _, is := doc.Body.(*ast.DirectiveNode); is {
			return nil, invalid(file).At(at(file, doc.Body), "a directive such as %%YAML or %%TAG means nothing here; take it out")
		}
	}
	if len(tree.Docs) != 1 {
		return nil, invalid(file).At(start, "it must hold exactly one YAML document, not %d", len(tree.Docs))
	}
	d := &document{file: file, root: tree.Docs[0].Body, problems: invalid(file)}
	if d.root == nil {
		return nil, invalid(file).At(start, "it holds nothing but comments")
	}
	if _, err := (&measure{file: file, anchors: map[string]int{}}).node(d.root); err != nil {
		return nil, err
	}
	t := &translation{d: d, anchors: map[string]any{}}
	d.value = t.value(d.root, "")
	if err := d.err(); err != nil {
		return nil, err
	}
	return d, nil
}

var byteOrderMark = []byte("\ufeff")

// unix returns the content without a byte order mark and with plain line ends, by which the parser
// counts lines rightly.
func unix(content []byte) []byte {
	content = bytes.TrimPrefix(content, byteOrderMark)
	content = bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(content, []byte("\r"), []byte("\n"))
}

// place finds the first byte that is no UTF-8.
func place(file string, content []byte) string {
	line, column := 1, 1
	for len(content) > 0 {
		r, size := utf8.DecodeRune(content)
		if r == utf8.RuneError && size == 1 {
			break
		}
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
		content = content[size:]
	}
	return fmt.Sprintf("%s:%d:%d", file, line, column)
}

// tooDeep returns the line from which the text may be nested deeper than the limit, or 0. It looks at the
// text alone, because the parser's time grows with the square of the depth.
func tooDeep(content []byte) int {
	depth := 0
	number := 0
	for line := range bytes.Lines(content) {
		number++
		indent := len(line) - len(bytes.TrimLeft(line, " -?:"))
		depth += bytes.Count(line, []byte("[")) + bytes.Count(line, []byte("{"))
		if depth > deepest || indent > 2*deepest {
			return number
		}
		depth = max(0, depth-bytes.Count(line, []byte("]"))-bytes.Count(line, []byte("}")))
	}
	return 0
}

// measure counts the values of a document with every alias replaced, without replacing them.
type measure struct {
	file    string
	anchors map[string]int
}

func (m *measure) node(n ast.Node) (size int, err error) {
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			size, err = m.add(size, err, v)
		}
	case *ast.MappingValueNode:
		size, err = m.add(0, nil, n.Key)
		size, err = m.add(size, err, n.Value)
	case *ast.MappingKeyNode:
		return m.node(n.Value)
	case *ast.SequenceNode:
		for _, v := range n.Values {
			size, err = m.add(size, err, v)
		}
	case *ast.TagNode:
		return m.node(n.Value)
	case *ast.AnchorNode:
		size, err = m.node(n.Value)
		m.anchors[n.Name.GetToken().Value] = size
	case *ast.AliasNode:
		name := n.Value.GetToken().Value
		known := false
		if size, known = m.anchors[name]; !known {
			return 0, invalid(m.file).At(at(m.file, n), "the alias *%s stands before its anchor, or inside of it", name)
		}
	}
	if err == nil && size > largestValue {
		err = invalid(m.file).At(at(m.file, n), "it stands for more than %d values", largestValue)
	}
	return size + 1, err
}

func (m *measure) add(size int, err error, n ast.Node) (int, error) {
	if err != nil || n == nil {
		return size, err
	}
	more, err := m.node(n)
	return size + more, err
}

// syntax turns an error of the YAML parser into a fault with its place.
func syntax(file string, err error) error {
	where, message := file+":1:1", err.Error()
	var y yaml.Error
	if errors.As(err, &y) {
		message = y.GetMessage()
		if t := y.GetToken(); t != nil && t.Position != nil {
			where = fmt.Sprintf("%s:%d:%d", file, t.Position.Line, t.Position.Column)
		}
	}
	if strings.Contains(message, "character '\t'") {
		message = "a tab cannot indent; use spaces"
	}
	return invalid(file).At(where, "%s", message)
}

// decode validates the document by a schema and reads it into a value.
func (d *document) decode(schema string, into any) error {
	settled := d.settle(d.value, nil, schema)
	if err := d.err(); err != nil {
		return err
	}
	text, err := json.Marshal(settled)
	if err != nil {
		return invalid(d.file).At(d.file+":1:1", "it holds a key or a value that JSON does not have")
	}
	plain, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	var broken *jsonschema.ValidationError
	if err := compiled()[schema].Validate(plain); errors.As(err, &broken) {
		d.report(broken)
		return d.err()
	} else if err != nil {
		return err
	}
	return Decode(text, into)
}

// settle decides what the values are whose types the format itself knows. Those of the module's variables stay
// open.
func (d *document) settle(v any, path []string, schema string) any {
	if open(path, schema) {
		return canonical(v)
	}
	switch v := v.(type) {
	case spelled:
		if truth, is := Truth(v); is {
			return truth
		}
		number := ""
		if likely := Likely("number", string(v)); likely != "" {
			number = likely + " for the number, or "
		}
		d.note(path, "%s is a number in one reader of YAML and another number or a text in the next; write %s%q for the text", string(v), number, string(v))
		return nil
	case json.Number:
		n, err := Number(string(v))
		if err != nil {
			d.note(path, "%s", err)
		}
		return n
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = d.settle(v[i], append(slices.Clone(path), strconv.Itoa(i)), schema)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = d.settle(v[k], append(slices.Clone(path), k), schema)
		}
		return out
	}
	return v
}

// open reports whether a path of a file leads into a value of a variable, whose type only the module knows.
func open(path []string, schema string) bool {
	switch {
	case len(path) < 4 || path[0] != "spec":
		return false
	case schema == "app":
		return path[1] == "environments" && path[3] == "variables"
	case len(path) > 5 && path[1] == "variables" && path[3] == "classes":
		return path[5] == "enum" || path[5] == "const"
	}
	return path[1] == "variables" && (path[3] == "enum" || path[3] == "const")
}

// err returns what was found, by line and column, or nil.
func (d *document) err() error {
	if len(d.problems.Fields) == 0 {
		return nil
	}
	position := func(f fault.Field) int {
		parts := strings.Split(f.Path, ":")
		line, _ := strconv.Atoi(parts[len(parts)-2])
		column, _ := strconv.Atoi(parts[len(parts)-1])
		return line<<20 + column
	}
	slices.SortStableFunc(d.problems.Fields, func(a, b fault.Field) int { return cmp.Compare(position(a), position(b)) })
	d.problems.Fields = slices.Compact(d.problems.Fields)
	return d.problems
}

// note adds a problem with the value at a path.
func (d *document) note(path []string, format string, args ...any) {
	d.problems.At(d.find(path, false), format, args...)
}

// report adds one problem for each leaf of a validation error.
func (d *document) report(e *jsonschema.ValidationError) {
	if len(e.Causes) > 0 {
		for _, c := range e.Causes {
			d.report(c)
		}
		return
	}
	path := e.InstanceLocation
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			d.problems.At(d.find(append(slices.Clone(path), name), true), "the key %q is not known here%s", name, didYouMean(name, siblings(e)))
		}
	case *kind.Required:
		for _, name := range k.Missing {
			d.note(path, "%s lacks the key %q", dotted(path), name)
		}
	case *kind.Type:
		d.note(path, "%s must be %s, not %s%s", dotted(path), typeNames(k.Want), typeNames([]string{k.Got}), d.remedy(k, path))
	case *kind.Enum:
		d.note(path, "%s must be one of %s%s", dotted(path), list(k.Want), nearest(k.Got, k.Want))
	case *kind.Const:
		d.note(path, "%s must be %v", dotted(path), k.Want)
	case *kind.FalseSchema: // an unevaluated property
		name, known := path[len(path)-1], boundsKeys
		if path[len(path)-3] != "classes" {
			known = slices.Concat(variableKeys, boundsKeys)
		}
		if slices.Contains(known, name) {
			return // one beside it is wrong, and is reported itself: then none counts as evaluated
		}
		d.problems.At(d.find(path, true), "the key %q is not known here%s", name, didYouMean(name, known))
	case *kind.Pattern:
		d.note(path, "%s is %q; use %s", dotted(path), k.Got, patternWords[k.Want])
	default:
		d.note(path, "%s: %s", dotted(path), e.ErrorKind.LocalizedString(printer))
	}
}

// patternWords say the patterns of the schemas in words. A test compares the two.
var patternWords = map[string]string{
	"^[a-z][a-z0-9]*(-[a-z0-9]+)*$": "lower case letters, digits and single hyphens, beginning with a letter",
	"^[A-Za-z_][A-Za-z0-9_]*$":      "letters, digits and _, not beginning with a digit",
}

func typeNames(names []string) string {
	words := map[string]string{"object": "keys and values", "array": "a list", "string": "text", "number": "a number", "integer": "a whole number", "boolean": "true or false", "null": "empty"}
	out := []string{}
	for _, n := range names {
		out = append(out, cmp.Or(words[n], n))
	}
	return strings.Join(out, " or ")
}

// remedy is how to write what was meant, where `version: 1.10` is a number in YAML, or `minimum: 1_000` none.
func (d *document) remedy(k *kind.Type, path []string) string {
	v := d.value
	for _, name := range path {
		switch inside := v.(type) {
		case map[string]any:
			v = inside[name]
		case []any:
			i, _ := strconv.Atoi(name)
			v = inside[i]
		}
	}
	switch {
	case slices.Contains(k.Want, "string") && (k.Got == "number" || k.Got == "integer" || k.Got == "boolean"):
		return fmt.Sprintf("; put it in quotes: %q", asTyped(v))
	case k.Got != "string":
		return ""
	}
	for _, wanted := range [][2]string{{"number", "number"}, {"integer", "number"}, {"boolean", "bool"}} {
		if likely := Likely(wanted[1], asTyped(v)); slices.Contains(k.Want, wanted[0]) && likely != "" {
			return "; write " + likely
		}
	}
	return ""
}

func nearest(got any, want []any) string {
	names := []string{}
	for _, w := range want {
		names = append(names, fmt.Sprint(w))
	}
	if s := didYouMean(fmt.Sprint(got), names); strings.HasPrefix(s, "; did you mean") {
		return s
	}
	return ""
}

func dotted(path []string) string {
	if len(path) == 0 {
		return "the file"
	}
	return strings.Join(path, ".")
}

func list(values []any) string {
	out := []string{}
	for _, v := range values {
		out = append(out, fmt.Sprint(v))
	}
	return strings.Join(out, ", ")
}

// find returns the line and column of a value, or of its key, in the syntax tree. Where the path leads
// through an alias, it is the alias.
func (d *document) find(path []string, key bool) string {
	node := d.root
	for i, name := range path {
		if a, isAnchor := node.(*ast.AnchorNode); isAnchor {
			node = a.Value
		}
		next := ast.Node(nil)
		switch n := node.(type) {
		case *ast.MappingNode:
			for _, v := range n.Values {
				if keyName(v) == name {
					next = pick(v, key && i == len(path)-1)
				}
			}
		case *ast.MappingValueNode:
			if keyName(n) == name {
				next = pick(n, key && i == len(path)-1)
			}
		case *ast.SequenceNode:
			if j, err := strconv.Atoi(name); err == nil && j < len(n.Values) {
				next = n.Values[j]
			}
		}
		if next == nil {
			break
		}
		node = next
	}
	return at(d.file, node)
}

// at returns where a node begins. A mapping begins at its first key.
func at(file string, n ast.Node) string {
	t := n.GetToken()
	if m, isMap := n.(*ast.MappingNode); isMap && len(m.Values) > 0 {
		t = m.Values[0].Key.GetToken()
	} else if v, isPair := n.(*ast.MappingValueNode); isPair {
		t = v.Key.GetToken()
	}
	if t == nil || t.Position == nil {
		return file + ":1:1"
	}
	return fmt.Sprintf("%s:%d:%d", file, t.Position.Line, t.Position.Column)
}

func keyName(v *ast.MappingValueNode) string {
	name, _ := keyOf(v)
	return name
}

func pick(v *ast.MappingValueNode, key bool) ast.Node {
	if key {
		return v.Key
	}
	return v.Value
}
