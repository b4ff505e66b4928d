package pattern

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// kind is the parsed type of a variable.
type kind struct {
	cty.Type
	defaults *typeexpr.Defaults // of optional attributes; may be nil
}

// readType reads the type of a variable as the engines do.
func readType(e hcl.Expression) (kind, hcl.Diagnostics) {
	switch hcl.ExprAsKeyword(e) { // short forms that the engines still take
	case "list":
		return kind{Type: cty.List(cty.DynamicPseudoType)}, nil
	case "map":
		return kind{Type: cty.Map(cty.DynamicPseudoType)}, nil
	}
	t, defaults, diagnostics := typeexpr.TypeConstraintWithDefaults(e)
	return kind{t, defaults}, diagnostics
}

// parseType reads a type from its text.
func parseType(text string) (kind, bool) {
	e, diagnostics := hclsyntax.ParseExpression([]byte(text), "type", hcl.InitialPos)
	if diagnostics.HasErrors() {
		return kind{}, false
	}
	k, diagnostics := readType(e)
	return k, !diagnostics.HasErrors()
}

// String writes a type in one way, whatever its layout and comments were.
func (k kind) String() string {
	switch t := k.Type; {
	case t == cty.DynamicPseudoType:
		return "any"
	case t.IsCollectionType():
		word := "list"
		if t.IsMapType() {
			word = "map"
		} else if t.IsSetType() {
			word = "set"
		}
		return word + "(" + k.element().String() + ")"
	case t.IsTupleType():
		words := []string{}
		for i := range t.TupleElementTypes() {
			words = append(words, k.item(i).String())
		}
		return "tuple([" + strings.Join(words, ", ") + "])"
	case t.IsObjectType():
		words := []string{}
		for _, name := range slices.Sorted(maps.Keys(t.AttributeTypes())) {
			word := k.attribute(name).String()
			if t.AttributeOptional(name) {
				if fallback, ok := k.fallback(name); ok {
					word += ", " + literalText(fallback)
				}
				word = "optional(" + word + ")"
			}
			words = append(words, name+" = "+word)
		}
		return "object({" + strings.Join(words, ", ") + "})"
	default:
		return t.FriendlyName()
	}
}

func (k kind) child(key string) *typeexpr.Defaults {
	if k.defaults == nil {
		return nil
	}
	return k.defaults.Children[key]
}

func (k kind) element() kind { return kind{k.ElementType(), k.child("")} }

func (k kind) item(i int) kind {
	return kind{k.TupleElementTypes()[i], k.child(strconv.Itoa(i))}
}

func (k kind) attribute(name string) kind { return kind{k.AttributeType(name), k.child(name)} }

// fallback is the value of an optional attribute that is left out, if the type names one.
func (k kind) fallback(name string) (cty.Value, bool) {
	if k.defaults == nil {
		return cty.NilVal, false
	}
	v, ok := k.defaults.DefaultValues[name]
	return v, ok && !v.IsNull()
}

// types compares two types by their structure. A type is wider if it takes every value that the other takes, and
// keeps every part of it.
func (d *differences) types(where string, old, new kind) {
	switch {
	case new.Type == cty.DynamicPseudoType:
		if old.Type != cty.DynamicPseudoType {
			d.note(minor, "%s takes any type, before it was %s", where, old)
		}
	case old.IsObjectType() && new.IsObjectType():
		d.attributes(where, old, new)
	case old.IsListType() && new.IsListType(), old.IsSetType() && new.IsSetType(), old.IsMapType() && new.IsMapType():
		d.types("each element of "+where, old.element(), new.element())
	case old.IsTupleType() && new.IsTupleType() && len(old.TupleElementTypes()) == len(new.TupleElementTypes()):
		for i := range old.TupleElementTypes() {
			d.types("an element of "+where, old.item(i), new.item(i))
		}
	case old.Type.Equals(new.Type):
	case new.Type == cty.String && (old.Type == cty.Number || old.Type == cty.Bool):
		d.note(minor, "%s takes any text, before it was %s", where, old)
	default:
		d.note(major, "%s changes its type from %s to %s", where, old, new)
	}
}

func (d *differences) attributes(where string, old, new kind) {
	for _, name := range slices.Sorted(maps.Keys(old.AttributeTypes())) {
		if !new.HasAttribute(name) {
			d.note(major, "%s loses the attribute %s", where, name)
			continue
		}
		at := where + "." + name
		switch was, is := old.AttributeOptional(name), new.AttributeOptional(name); {
		case was && !is:
			d.note(major, "%s becomes required", at)
		case !was && is:
			d.note(minor, "%s becomes optional", at)
		default:
			before, _ := old.fallback(name)
			after, _ := new.fallback(name)
			if literalText(before) != literalText(after) {
				d.note(patch, "the default of %s changes", at)
			}
		}
		d.types(at, old.attribute(name), new.attribute(name))
	}
	for _, name := range slices.Sorted(maps.Keys(new.AttributeTypes())) {
		switch {
		case old.HasAttribute(name):
		case new.AttributeOptional(name):
			d.note(minor, "%s has the new optional attribute %s", where, name)
		default:
			d.note(major, "%s has the new required attribute %s", where, name)
		}
	}
}

// literalText writes a value as the module would.
func literalText(v cty.Value) string {
	if v == cty.NilVal {
		return ""
	}
	return string(hclwrite.TokensForValue(v).Bytes())
}
