package pattern

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"flywheel.dev/flywheel/internal/manifest"
)

// constraint returns the type of a variable. What cannot be read as one takes any value: the engine says
// what is wrong with it.
func (v Variable) constraint() cty.Type {
	switch v.Type {
	case "string":
		return cty.String
	case "number":
		return cty.Number
	case "bool":
		return cty.Bool
	case "any":
		return cty.DynamicPseudoType
	}
	if known, ok := parseType(v.Type); ok {
		return known.Type
	}
	return cty.DynamicPseudoType
}

// Value returns what a value is by the type of the variable: of the text 02142 and the type string comes
// "02142", and of 1.10 and the type number comes 1.1. The error says in words for people why it cannot be
// that, and how to write what may have been meant.
func (v Variable) Value(given any) (any, error) {
	if given == nil {
		return nil, fmt.Errorf("it has no value; leave it out for the default, or write \"\" for an empty text")
	}
	t := v.constraint()
	if t == cty.DynamicPseudoType { // the bounds may say more than the module
		switch manifest.TypeIn(v.Bounds) {
		case "string":
			t = cty.String
		case "number":
			t = cty.Number
		case "boolean":
			t = cty.Bool
		}
	}
	typed, err := valueOf(given, t)
	if err != nil || !t.HasDynamicTypes() || t == cty.DynamicPseudoType {
		return typed, err
	}
	if t, err = settled(typed, t); err != nil {
		return nil, err
	}
	if exact, err := valueOf(given, t); err == nil { // 1.10 beside a text is a text
		return exact, nil
	}
	return typed, nil
}

// settled returns what the engines make of a type that leaves a part open, such as list(any), whose elements they want
// to be of one type.
func settled(typed any, t cty.Type) (cty.Type, error) {
	text, err := json.Marshal(typed)
	if err != nil {
		return t, err
	}
	implied, err := ctyjson.ImpliedType(text)
	if err != nil {
		return t, err
	}
	value, err := ctyjson.Unmarshal(text, implied)
	if err != nil {
		return t, err
	}
	value, err = convert.Convert(value, t)
	return value.Type(), err
}

func valueOf(given any, t cty.Type) (any, error) {
	if given == nil { // inside of another value: the engine knows what an attribute without one is
		return nil, nil
	}
	switch {
	case t == cty.String:
		return manifest.AsText(given)
	case t == cty.Number:
		return manifest.AsNumber(given)
	case t == cty.Bool:
		return manifest.AsTruth(given)
	case t.IsListType() || t.IsSetType() || t.IsTupleType():
		return elements(given, t)
	case t.IsMapType() || t.IsObjectType():
		return attributes(given, t)
	}
	return manifest.AsAny(given)
}

func elements(given any, t cty.Type) (any, error) {
	list, isList := given.([]any)
	if !isList {
		return nil, manifest.Misfit(given, "a list", "")
	}
	if t.IsTupleType() && len(list) != t.Length() {
		return nil, fmt.Errorf("it has %d elements where %d are needed", len(list), t.Length())
	}
	out := make([]any, len(list))
	for i := range list {
		var element cty.Type
		if t.IsTupleType() {
			element = t.TupleElementType(i)
		} else {
			element = t.ElementType()
		}
		var err error
		if out[i], err = valueOf(list[i], element); err != nil {
			return nil, inside(fmt.Sprintf("[%d]", i), err)
		}
	}
	return out, nil
}

func attributes(given any, t cty.Type) (any, error) {
	values, isMap := asMap(given)
	if !isMap {
		return nil, manifest.Misfit(given, "a list of names and values", "")
	}
	out := make(map[string]any, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		var kind cty.Type
		switch {
		case t.IsMapType():
			kind = t.ElementType()
		case t.HasAttribute(name):
			kind = t.AttributeType(name)
		default:
			return nil, fmt.Errorf("it has no attribute %q; known are %s", name, strings.Join(slices.Sorted(maps.Keys(t.AttributeTypes())), ", "))
		}
		var err error
		if out[name], err = valueOf(values[name], kind); err != nil {
			return nil, inside("."+name, err)
		}
	}
	if t.IsObjectType() {
		for _, name := range slices.Sorted(maps.Keys(t.AttributeTypes())) {
			if _, given := values[name]; !given && !t.AttributeOptional(name) {
				return nil, fmt.Errorf("it lacks the attribute %q", name)
			}
		}
	}
	return out, nil
}

func asMap(v any) (map[string]any, bool) {
	if m, ok := v.(manifest.Values); ok {
		return m, true
	}
	m, ok := v.(map[string]any)
	return m, ok
}

// nested is an error about a part of a value.
type nested struct {
	path string
	err  error
}

func (n nested) Error() string { return "at " + strings.TrimPrefix(n.path, ".") + ": " + n.err.Error() }

func inside(step string, err error) error {
	if n, ok := err.(nested); ok {
		return nested{step + n.path, n.err}
	}
	return nested{step, err}
}

// Typed returns the values as the types of the module make them, and for each that cannot be what its type
// asks for, why. What the module does not declare stays as it is.
func (i Interface) Typed(values map[string]any) (typed manifest.Values, wrong map[string]error) {
	typed, wrong = manifest.Values{}, map[string]error{}
	maps.Copy(typed, values)
	for _, v := range i.Variables {
		given, set := values[v.Name]
		if !set {
			continue
		}
		var err error
		if typed[v.Name], err = v.Value(given); err != nil {
			typed[v.Name], wrong[v.Name] = given, err
		}
	}
	return typed, wrong
}

// Check returns a team's values as the types of the module make them, and those that the team may not set like
// this in a class of environments, by name (rule of change 3).
func (v Version) Check(class string, values map[string]any) (typed manifest.Values, bad []manifest.Violation) {
	typed, wrong := v.Interface.Typed(values)
	bad = manifest.CheckBounds(v.Manifest, class, typed)
	for name, err := range wrong {
		at := slices.IndexFunc(bad, func(b manifest.Violation) bool { return b.Variable == name })
		switch {
		case at < 0:
			bad = append(bad, v.Manifest.Mistyped(class, name, err))
		case bad[at].Theirs:
			bad[at] = v.Manifest.Mistyped(class, name, err)
		}
	}
	slices.SortFunc(bad, func(a, b manifest.Violation) int { return strings.Compare(a.Variable, b.Variable) })
	return typed, bad
}

// fit gives the allowed values of bounds the type of the variable. The error names one that has another.
func (v Variable) fit(bounds manifest.Values) error {
	for _, key := range []string{"enum", "const"} {
		given, set := bounds[key]
		if !set {
			continue
		}
		list, isList := given.([]any)
		if !isList || key == "const" {
			list = []any{given}
		}
		typed := make([]any, len(list))
		for i := range list {
			var err error
			if typed[i], err = v.Value(list[i]); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
		if bounds[key] = any(typed); key == "const" {
			bounds[key] = typed[0]
		}
	}
	return nil
}
