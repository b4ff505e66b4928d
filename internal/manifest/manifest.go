// Package manifest reads the two files a user writes: pattern.yaml, beside the module of a pattern, and
// flywheel.yaml, at the root of an app's repository.
//
// Both have a published JSON Schema (folder schema), which editors use and which Parse checks first.
// Every problem names file, line and column and says what to do. A manifest says nothing about types
// and defaults of variables: those stay in the module.
//
// Deliberately absent: anything the platform knows. Whether a pattern, a version or an environment
// exists is for the packages above.
package manifest

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"flywheel.dev/flywheel/internal/fault"
)

//go:embed schema/*.json
var schemas embed.FS

// Limit is the largest manifest that is read, in bytes.
const Limit = 256 << 10

// Metadata names the thing that a manifest describes.
type Metadata struct {
	Name  string `json:"name"`
	Title string `json:"title,omitempty"`
	Owner string `json:"owner,omitempty"`
	Team  string `json:"team,omitempty"`
}

// Pattern is pattern.yaml.
type Pattern struct {
	Metadata Metadata    `json:"metadata"`
	Spec     PatternSpec `json:"spec"`
}

// PatternSpec is the governance of a pattern.
type PatternSpec struct {
	Variables map[string]Variable `json:"variables"`
	Artifact  struct {
		Variable string `json:"variable"`
	} `json:"artifact"`
	Release   Release        `json:"release"`
	Stateful  []string       `json:"stateful"`
	Approvals map[string]int `json:"approvals"`
	Skeleton  string         `json:"skeleton"`
}

// Release says how a software-lane change rolls out.
type Release struct {
	Driver  string   `json:"driver"`
	Output  string   `json:"output,omitempty"`
	Command []string `json:"command,omitempty"`
	URL     string   `json:"url,omitempty"`
	Health  string   `json:"health,omitempty"`
}

// Variable says who controls a variable, and its bounds. Bounds are JSON Schema keywords.
type Variable struct {
	Control     string                    `json:"control"`
	Description string                    `json:"description,omitempty"`
	Bounds      map[string]any            `json:"-"`
	Classes     map[string]map[string]any `json:"classes,omitempty"`
}

// UnmarshalJSON keeps the bounds apart from what the platform reads.
func (v *Variable) UnmarshalJSON(data []byte) error {
	type plain Variable
	if err := json.Unmarshal(data, (*plain)(v)); err != nil {
		return err
	}
	if err := json.Unmarshal(data, &v.Bounds); err != nil {
		return err
	}
	delete(v.Bounds, "control")
	delete(v.Bounds, "description")
	delete(v.Bounds, "classes")
	return nil
}

// MarshalJSON writes the bounds beside the other fields, as in the file.
func (v Variable) MarshalJSON() ([]byte, error) {
	out := map[string]any{"control": v.Control}
	for k, b := range v.Bounds {
		out[k] = b
	}
	if v.Description != "" {
		out["description"] = v.Description
	}
	if len(v.Classes) > 0 {
		out["classes"] = v.Classes
	}
	return json.Marshal(out)
}

// Approvals returns how many approvals a change of the pattern needs, by discipline. One of each is the
// rule where the file says nothing.
func (p *Pattern) Approvals() map[string]int {
	needed := map[string]int{"security": 1, "operations": 1, "development": 1}
	for discipline, n := range p.Spec.Approvals {
		needed[discipline] = n
	}
	return needed
}

// App is flywheel.yaml.
type App struct {
	Metadata     Metadata               `json:"metadata"`
	Pattern      PatternRef             `json:"pattern"`
	Build        Build                  `json:"build"`
	Test         Test                   `json:"test"`
	Merge        string                 `json:"merge"`
	Environments map[string]Environment `json:"environments"`
}

// PatternRef names a pattern and a range of its versions.
type PatternRef struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Build says how the artifact is made.
type Build struct {
	Fetch      string   `json:"fetch,omitempty"`
	Command    string   `json:"command,omitempty"`
	Artifact   string   `json:"artifact,omitempty"`
	Toolchains []string `json:"toolchains,omitempty"`
}

// Test says how the artifact is tested, before and after it is deployed.
type Test struct {
	Command string `json:"command,omitempty"`
	Smoke   string `json:"smoke,omitempty"`
}

// Environment is what a team sets for one environment.
type Environment struct {
	Variables map[string]any `json:"variables"`
}

// ParsePattern reads pattern.yaml. file is its name for messages.
func ParsePattern(file string, content []byte) (*Pattern, error) {
	var p Pattern
	return &p, parse(file, content, "pattern", &p)
}

// ParseApp reads flywheel.yaml. file is its name for messages.
func ParseApp(file string, content []byte) (*App, error) {
	var a struct {
		Metadata Metadata `json:"metadata"`
		Spec     App      `json:"spec"`
	}
	err := parse(file, content, "app", &a)
	a.Spec.Metadata = a.Metadata
	if a.Spec.Merge == "" {
		a.Spec.Merge = "auto"
	}
	if a.Spec.Build.Artifact == "" {
		a.Spec.Build.Artifact = "."
	}
	return &a.Spec, err
}

// Check reads a manifest of either kind and returns what is wrong with it, or nil.
func Check(file string, content []byte) error {
	var head struct {
		Kind string `yaml:"kind"`
	}
	_ = yaml.Unmarshal(content, &head) // what is wrong with the text is said below
	if head.Kind == "Pattern" || strings.HasSuffix(file, "pattern.yaml") {
		_, err := ParsePattern(file, content)
		return err
	}
	_, err := ParseApp(file, content)
	return err
}

// Schemas returns the published JSON Schemas, by name: "pattern.schema.json" and "app.schema.json".
func Schemas() map[string][]byte {
	out := map[string][]byte{}
	for _, name := range []string{"pattern.schema.json", "app.schema.json"} {
		b, err := schemas.ReadFile("schema/" + name)
		if err != nil {
			panic(err) // embedded above
		}
		out[name] = b
	}
	return out
}

var compiled = sync.OnceValue(func() map[string]*jsonschema.Schema {
	c := jsonschema.NewCompiler()
	out := map[string]*jsonschema.Schema{}
	for name, text := range Schemas() {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err == nil {
			err = c.AddResource(name, doc)
		}
		if err == nil {
			out[strings.TrimSuffix(name, ".schema.json")], err = c.Compile(name)
		}
		if err != nil {
			panic(fmt.Sprintf("manifest: %s: %v", name, err)) // a test compiles them
		}
	}
	return out
})

func invalid(file string) *fault.Fault {
	return fault.New(fault.Invalid, "manifest.invalid", "%s is not valid.", file).Do("`flywheel validate %s` shows every problem.", file)
}

func parse(file string, content []byte, schema string, into any) error {
	switch {
	case len(content) > Limit:
		return fault.New(fault.TooLarge, "manifest.too_large", "%s is larger than %d KiB.", file, Limit>>10)
	case !utf8.Valid(content):
		return invalid(file).At(file+":1:1", "it is not UTF-8 text")
	case len(bytes.TrimSpace(content)) == 0:
		return invalid(file).At(file+":1:1", "it is empty")
	case bytes.Contains(content, []byte("*")) && bytes.Count(content, []byte("&")) > 20:
		return invalid(file).At(file+":1:1", "it uses more than 20 anchors")
	}
	tree, err := parser.ParseBytes(content, 0)
	if err != nil {
		return syntax(file, err)
	}
	if len(tree.Docs) != 1 {
		return invalid(file).At(file+":1:1", "it must hold exactly one YAML document, not %d", len(tree.Docs))
	}
	var doc any
	if err := yaml.NodeToValue(tree.Docs[0].Body, &doc); err != nil {
		return syntax(file, err)
	}
	text, err := json.Marshal(doc)
	if err != nil { // keys that are not strings
		return invalid(file).At(file+":1:1", "it holds a key or a value that JSON does not have")
	}
	plain, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	var broken *jsonschema.ValidationError
	if err := compiled()[schema].Validate(plain); errors.As(err, &broken) {
		f := invalid(file)
		report(f, file, tree.Docs[0].Body, broken)
		return f
	} else if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// syntax turns an error of the YAML parser into a fault with its place.
func syntax(file string, err error) error {
	at, message := file+":1:1", err.Error()
	var y yaml.Error
	if errors.As(err, &y) {
		message = y.GetMessage()
		if t := y.GetToken(); t != nil && t.Position != nil {
			at = fmt.Sprintf("%s:%d:%d", file, t.Position.Line, t.Position.Column)
		}
	}
	return invalid(file).At(at, "%s", message)
}

// report adds one field for each leaf of a validation error, with its place in the file.
func report(f *fault.Fault, file string, root ast.Node, e *jsonschema.ValidationError) {
	if len(e.Causes) > 0 {
		for _, c := range e.Causes {
			report(f, file, root, c)
		}
		return
	}
	path := e.InstanceLocation
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			f.At(place(file, root, append(slices.Clone(path), name), true), "the key %q is not known here%s", name, didYouMean(name, siblings(e)))
		}
	case *kind.Required:
		for _, name := range k.Missing {
			f.At(place(file, root, path, false), "%s lacks the key %q", dotted(path), name)
		}
	case *kind.Type:
		f.At(place(file, root, path, false), "%s must be %s, not %s", dotted(path), strings.Join(k.Want, " or "), k.Got)
	case *kind.Enum:
		f.At(place(file, root, path, false), "%s must be one of %s", dotted(path), list(k.Want))
	case *kind.Const:
		f.At(place(file, root, path, false), "%s must be %v", dotted(path), k.Want)
	case *kind.FalseSchema: // an unevaluated property
		name := path[len(path)-1]
		f.At(place(file, root, path, true), "the key %q is not known here%s", name, didYouMean(name, boundsKeys))
	default:
		f.At(place(file, root, path, false), "%s: %s", dotted(path), e.ErrorKind.LocalizedString(printer))
	}
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

// place finds the line and column of a value, or of its key, in the syntax tree.
func place(file string, node ast.Node, path []string, key bool) string {
	at := node
	for i, name := range path {
		next := ast.Node(nil)
		switch n := at.(type) {
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
		at = next
	}
	if t := at.GetToken(); t != nil && t.Position != nil {
		if m, isMap := at.(*ast.MappingNode); isMap && len(m.Values) > 0 {
			t = m.Values[0].Key.GetToken()
		} else if v, isPair := at.(*ast.MappingValueNode); isPair {
			t = v.Key.GetToken()
		}
		return fmt.Sprintf("%s:%d:%d", file, t.Position.Line, t.Position.Column)
	}
	return file + ":1:1"
}

func keyName(v *ast.MappingValueNode) string { return strings.Trim(v.Key.String(), `"'`) }

func pick(v *ast.MappingValueNode, key bool) ast.Node {
	if key {
		return v.Key
	}
	return v.Value
}
