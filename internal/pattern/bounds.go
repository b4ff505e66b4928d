package pattern

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"flywheel.dev/flywheel/internal/manifest"
)

// boundsOf recognises the common forms of a validation's condition as bounds: contains([…], var.x),
// can(regex("…", var.x)), comparisons of var.x and of length(var.x), several of them joined by &&, and
// any of them after `var.x == null ||`. It returns nil for everything else.
func boundsOf(e hclsyntax.Expression, v Variable) map[string]any {
	switch e := e.(type) {
	case *hclsyntax.ParenthesesExpr:
		return boundsOf(e.Expression, v)
	case *hclsyntax.BinaryOpExpr:
		switch e.Op {
		case hclsyntax.OpLogicalAnd:
			return both(boundsOf(e.LHS, v), boundsOf(e.RHS, v))
		case hclsyntax.OpLogicalOr:
			if isNull(e.LHS, v) {
				return boundsOf(e.RHS, v)
			}
			return oneOf(boundsOf(e.LHS, v), boundsOf(e.RHS, v))
		}
		return comparison(e, v)
	case *hclsyntax.FunctionCallExpr:
		return call(e, v)
	}
	return nil
}

// both returns bounds that mean the two together, or nil if they cannot be told in keywords.
func both(a, b map[string]any) map[string]any {
	if a == nil || b == nil {
		return nil
	}
	for key, bound := range b {
		if _, twice := a[key]; twice {
			return nil
		}
		a[key] = bound
	}
	return a
}

// oneOf returns the enum of `var.x == "a" || var.x == "b"`.
func oneOf(a, b map[string]any) map[string]any {
	left, right := asEnum(a), asEnum(b)
	if left == nil || right == nil {
		return nil
	}
	return map[string]any{"enum": append(slices.Clone(left), right...)}
}

func asEnum(bounds map[string]any) []any {
	if len(bounds) != 1 {
		return nil
	}
	if c, ok := bounds["const"]; ok {
		return []any{c}
	}
	list, _ := bounds["enum"].([]any)
	return list
}

func call(e *hclsyntax.FunctionCallExpr, v Variable) map[string]any {
	switch {
	case e.Name == "contains" && len(e.Args) == 2 && isVariable(e.Args[1], v):
		if list, ok := literal(unwrap(e.Args[0])).([]any); ok && len(list) > 0 {
			return map[string]any{"enum": list}
		}
	case e.Name == "can" && len(e.Args) == 1:
		inner, ok := e.Args[0].(*hclsyntax.FunctionCallExpr)
		if ok && inner.Name == "regex" && len(inner.Args) == 2 && isVariable(inner.Args[1], v) {
			if text, ok := literal(inner.Args[0]).(string); ok {
				return map[string]any{"pattern": text}
			}
		}
	}
	return nil
}

// unwrap looks inside toset([…]) and tolist([…]).
func unwrap(e hclsyntax.Expression) hclsyntax.Expression {
	if c, ok := e.(*hclsyntax.FunctionCallExpr); ok && (c.Name == "toset" || c.Name == "tolist") && len(c.Args) == 1 {
		return c.Args[0]
	}
	return e
}

// comparison reads `var.x >= 1`, `1 <= var.x` and the like, and the same of length(var.x).
func comparison(e *hclsyntax.BinaryOpExpr, v Variable) map[string]any {
	left, right, op := e.LHS, e.RHS, e.Op
	if literal(left) != nil {
		mirrored := map[*hclsyntax.Operation]*hclsyntax.Operation{
			hclsyntax.OpGreaterThan: hclsyntax.OpLessThan, hclsyntax.OpLessThan: hclsyntax.OpGreaterThan,
			hclsyntax.OpGreaterThanOrEqual: hclsyntax.OpLessThanOrEqual, hclsyntax.OpLessThanOrEqual: hclsyntax.OpGreaterThanOrEqual,
		}
		left, right = right, left
		if m := mirrored[op]; m != nil {
			op = m
		}
	}
	value := literal(right)
	if value == nil {
		return nil
	}
	if isVariable(left, v) {
		if op == hclsyntax.OpEqual {
			return map[string]any{"const": value}
		}
		number, isNumber := value.(json.Number)
		keyword := map[*hclsyntax.Operation]string{
			hclsyntax.OpGreaterThan: "exclusiveMinimum", hclsyntax.OpGreaterThanOrEqual: "minimum",
			hclsyntax.OpLessThan: "exclusiveMaximum", hclsyntax.OpLessThanOrEqual: "maximum",
		}[op]
		if !isNumber || keyword == "" {
			return nil
		}
		return map[string]any{keyword: number}
	}
	length, ok := left.(*hclsyntax.FunctionCallExpr)
	number, isNumber := value.(json.Number)
	if !ok || length.Name != "length" || len(length.Args) != 1 || !isVariable(length.Args[0], v) || !isNumber {
		return nil
	}
	least, most := "minLength", "maxLength"
	if strings.HasPrefix(v.Type, "list") || strings.HasPrefix(v.Type, "set") || strings.HasPrefix(v.Type, "tuple") {
		least, most = "minItems", "maxItems"
	} else if v.Type != "string" {
		return nil
	}
	switch op {
	case hclsyntax.OpGreaterThan:
		return map[string]any{least: beside(number, 1)}
	case hclsyntax.OpGreaterThanOrEqual:
		return map[string]any{least: number}
	case hclsyntax.OpLessThan:
		return map[string]any{most: beside(number, -1)}
	case hclsyntax.OpLessThanOrEqual:
		return map[string]any{most: number}
	case hclsyntax.OpEqual:
		return map[string]any{least: number, most: number}
	}
	return nil
}

// beside returns the length that is more than this one by a whole number.
func beside(length json.Number, more int64) json.Number {
	n, err := length.Int64()
	if err != nil {
		return length
	}
	return json.Number(strconv.FormatInt(n+more, 10))
}

func isVariable(e hclsyntax.Expression, v Variable) bool {
	t, ok := e.(*hclsyntax.ScopeTraversalExpr)
	if !ok || len(t.Traversal) != 2 || t.Traversal.RootName() != "var" {
		return false
	}
	name, ok := t.Traversal[1].(hcl.TraverseAttr)
	return ok && name.Name == v.Name
}

func isNull(e hclsyntax.Expression, v Variable) bool {
	b, ok := e.(*hclsyntax.BinaryOpExpr)
	if !ok || b.Op != hclsyntax.OpEqual {
		return false
	}
	null := func(e hclsyntax.Expression) bool {
		l, ok := e.(*hclsyntax.LiteralValueExpr)
		return ok && l.Val.IsNull()
	}
	return isVariable(b.LHS, v) && null(b.RHS) || null(b.LHS) && isVariable(b.RHS, v)
}

// literal returns the value of an expression that names nothing, or nil.
func literal(e hclsyntax.Expression) any {
	if len(e.Variables()) > 0 {
		return nil
	}
	value, diags := e.Value(nil)
	if diags.HasErrors() || !value.IsWhollyKnown() || value.Type() == cty.DynamicPseudoType {
		return nil
	}
	return plain(value)
}

// tighten adds bounds to those a variable has, keeping the narrower of two. It reports false if a keyword
// is there with another value and neither is known to be narrower; nothing is changed then.
func (v *Variable) tighten(found map[string]any) bool {
	out := v.bounds("")
	for key, bound := range found {
		old, had := out[key]
		switch {
		case !had || manifest.Same(old, bound):
			out[key] = bound
		case narrower(map[string]any{key: old}, map[string]any{key: bound}) && !narrower(map[string]any{key: bound}, map[string]any{key: old}):
			out[key] = bound
		case !narrower(map[string]any{key: old}, map[string]any{key: bound}):
		default:
			return false
		}
	}
	v.Bounds = out
	return true
}
