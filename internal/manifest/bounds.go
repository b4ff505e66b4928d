package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

var printer = message.NewPrinter(language.English)

// boundsKeys are the keywords of bounds; variableKeys are what else a variable says, which its classes do not.
var (
	boundsKeys = []string{"enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
		"pattern", "minItems", "maxItems"}
	variableKeys = []string{"control", "secret", "description", "classes"}
)

// Violation is a variable that a team may not set to this value.
type Violation struct {
	Variable string
	Message  string // states the bound
	Bound    bool   // the value has the right type and is outside a bound, which a waiver can accept; nothing else can be accepted
	Theirs   bool   // the team may set the variable, to another value
}

// BoundsFor returns the bounds of a variable in a class of environments: the class's keywords over the
// general ones.
func (v Variable) BoundsFor(class string) Values {
	out := maps.Clone(v.Bounds)
	if out == nil {
		out = Values{}
	}
	maps.Copy(out, v.Classes[class])
	return out
}

// CheckBounds returns the variables that are outside the bounds the pattern sets for teams in this class
// of environments (rule of change 3), by name.
func CheckBounds(p *Pattern, class string, variables map[string]any) []Violation {
	violations := []Violation{}
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		v, known := p.Spec.Variables[name]
		switch {
		case !known:
			message := fmt.Sprintf("the pattern %s does not let a team set it%s", p.Metadata.Name, didYouMean(name, p.TeamVariables()))
			if !strings.HasSuffix(message, "?") {
				message += "."
			}
			violations = append(violations, Violation{Variable: name, Message: message})
			continue
		case v.Secret:
			violations = append(violations, Violation{Variable: name, Message: "it is a secret, whose value stands in no file: `flywheel secret set APP ENVIRONMENT " + name + "` sets it, or `flywheel environment secret set` if the Center of Excellence controls it."})
			continue
		case v.Control != "team":
			violations = append(violations, Violation{Variable: name, Message: "it is a value of the environment, which the Center of Excellence sets."})
			continue
		}
		if allowed, err := p.allows(name, class, variables[name]); err != nil {
			violations = append(violations, Violation{Variable: name, Message: fmt.Sprintf("its bounds in the pattern cannot be used: %v.", err)})
		} else if !allowed {
			violations = append(violations, outside(name, variables[name], v.BoundsFor(class), describe(v.BoundsFor(class), class, v)))
		}
	}
	return violations
}

// outside says how a value misses its bounds.
func outside(name string, value any, bounds map[string]any, words string) Violation {
	wanted, is := TypeIn(bounds), TypeOf(value)
	if wanted == "" || wanted == is {
		return Violation{name, fmt.Sprintf("%s is outside its bounds: %s.", show(value), words), true, true}
	}
	message := fmt.Sprintf("%s is a %s where a %s is needed: %s.", show(value), is, wanted, words)
	if wanted == "string" && is == "number" {
		message += fmt.Sprintf(" Write it in quotes: %q.", asTyped(value))
	}
	return Violation{name, message, false, true}
}

// Mistyped says that the value of a variable is not what the module's type asks for, and why.
func (p *Pattern) Mistyped(class, variable string, err error) Violation {
	v := p.Spec.Variables[variable]
	message := err.Error() + "."
	if words := describe(v.BoundsFor(class), class, v); words != "" {
		message += " Its bounds: " + words + "."
	}
	return Violation{Variable: variable, Message: message, Theirs: true}
}

// TeamVariables returns the names of the variables that a team may set in flywheel.yaml, sorted.
func (p *Pattern) TeamVariables() []string {
	names := []string{}
	for _, name := range slices.Sorted(maps.Keys(p.Spec.Variables)) {
		if v := p.Spec.Variables[name]; v.Control == "team" && !v.Secret {
			names = append(names, name)
		}
	}
	return names
}

// Explain says who controls a variable and which values are allowed in a class of environments, for
// example "team-controlled, allowed 15, 16".
func (p *Pattern) Explain(class, variable string) string {
	v, known := p.Spec.Variables[variable]
	if !known {
		return ""
	}
	if v.Secret {
		return "a secret"
	}
	if v.Control == "coe" {
		return "controlled by the Center of Excellence"
	}
	if d := describe(v.BoundsFor(class), class, v); d != "" {
		return "team-controlled, " + d
	}
	return "team-controlled"
}

// allows reports whether the value of a variable is inside its bounds in a class of environments.
func (p *Pattern) allows(variable, class string, value any) (bool, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return false, err
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return false, err
	}
	name := variable + "\x00" + class
	schema, known := p.compiled.Load(name)
	if !known {
		if schema, err = compileBounds(p.Spec.Variables[variable].BoundsFor(class)); err != nil {
			return false, err
		}
		p.compiled.Store(name, schema)
	}
	return schema.(*jsonschema.Schema).Validate(parsed) == nil, nil
}

func compileBounds(bounds map[string]any) (*jsonschema.Schema, error) {
	text, err := json.Marshal(withTypes(bounds))
	if err != nil {
		return nil, err
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("bounds.json", parsed); err != nil {
		return nil, err
	}
	return c.Compile("bounds.json")
}

// withTypes adds the type that numeric and text keywords mean: in JSON Schema "abc" satisfies
// `minimum: 1`, which would let a wrong type through.
func withTypes(bounds map[string]any) map[string]any {
	out := maps.Clone(bounds)
	if _, given := out["type"]; given {
		return out
	}
	for key := range bounds {
		switch {
		case slices.Contains([]string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}, key):
			out["type"] = "number"
		case slices.Contains([]string{"minLength", "maxLength", "pattern"}, key):
			out["type"] = "string"
		case slices.Contains([]string{"minItems", "maxItems"}, key):
			out["type"] = "array"
		}
	}
	return out
}

// TypeIn returns the type that bounds mean, or "" where they allow several.
func TypeIn(bounds map[string]any) string {
	if wanted, ok := withTypes(bounds)["type"].(string); ok {
		return wanted
	}
	choices, _ := bounds["enum"].([]any)
	if len(choices) == 0 || slices.ContainsFunc(choices, func(c any) bool { return TypeOf(c) != TypeOf(choices[0]) }) {
		return ""
	}
	return TypeOf(choices[0])
}

// TypeOf returns the name that JSON Schema has for the type of a value.
func TypeOf(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	switch text[0] {
	case '"':
		return "string"
	case '[':
		return "array"
	case '{':
		return "object"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

// describe says bounds in words.
func describe(bounds map[string]any, class string, v Variable) string {
	words := []string{}
	if enum, ok := bounds["enum"].([]any); ok {
		words = append(words, "allowed "+list(enum))
	}
	low, high := bounds["minimum"], bounds["maximum"]
	switch {
	case low != nil && high != nil:
		words = append(words, fmt.Sprintf("allowed %v to %v", low, high))
	case low != nil:
		words = append(words, fmt.Sprintf("at least %v", low))
	case high != nil:
		words = append(words, fmt.Sprintf("at most %v", high))
	}
	for _, key := range slices.Sorted(maps.Keys(bounds)) {
		switch key {
		case "enum", "minimum", "maximum", "type":
		case "pattern":
			words = append(words, fmt.Sprintf("must match %v", bounds[key]))
		default:
			words = append(words, fmt.Sprintf("%s %v", key, bounds[key]))
		}
	}
	text := strings.Join(words, ", ")
	if len(v.Classes[class]) > 0 && text != "" {
		text += " in " + class
	}
	return text
}

func show(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// siblings returns the keys that are known where a validation error found an unknown one.
func siblings(e *jsonschema.ValidationError) []string {
	at := e.SchemaURL
	var doc any
	name, pointer, _ := strings.Cut(at, "#")
	name = name[strings.LastIndex(name, "/")+1:]
	if json.Unmarshal(Schemas()[name], &doc) != nil {
		return nil
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		if part == "" {
			continue
		}
		m, ok := doc.(map[string]any)
		if !ok {
			return nil
		}
		doc = m[part]
	}
	m, _ := doc.(map[string]any)
	properties, _ := m["properties"].(map[string]any)
	return slices.Sorted(maps.Keys(properties))
}

// didYouMean suggests the known name that is nearest to a wrong one.
func didYouMean(wrong string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		if d := edits(strings.ToLower(wrong), strings.ToLower(k)); d < distance {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	if len(known) > 0 {
		return "; known are " + strings.Join(known, ", ")
	}
	return ""
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		previous := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := previous
			if a[i-1] != b[j-1] {
				cost++
			}
			previous = row[j]
			row[j] = min(row[j]+1, row[j-1]+1, cost)
		}
	}
	return row[len(b)]
}
