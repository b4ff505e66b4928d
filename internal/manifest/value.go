package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"flywheel.dev/flywheel/internal/fault"
)

// Values are the values of variables by name, as a file, the API or the database says them. A number is a
// json.Number, which keeps every digit and how it was typed: a float64 would do neither.
type Values map[string]any

// UnmarshalJSON keeps the digits of numbers.
func (v *Values) UnmarshalJSON(data []byte) error {
	var out map[string]any
	if err := Decode(data, &out); err != nil {
		return err
	}
	*v = out
	return nil
}

// Decode is json.Unmarshal, but a number that goes into an any keeps its digits, as a json.Number.
func Decode(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("there is more after the value")
	}
	return nil
}

// spelled is an unquoted text of a file that YAML has a number or a truth value for and JSON has not, like
// 02142, 0x1F, .5 or True. It becomes a text only where the module asks for one.
type spelled string

var (
	jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)
	// What YAML 1.2 (core schema) calls a number, and JSON does not.
	yamlNumber = regexp.MustCompile(`^([-+]?([0-9]+|\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)
	yamlTruth  = regexp.MustCompile(`^(True|TRUE|False|FALSE)$`)
)

// unquoted returns what an unquoted text means: a number, true, false or nothing where JSON and YAML 1.2 agree
// about it, and else text.
func unquoted(text string) any {
	switch {
	case text == "" || text == "~" || text == "null" || text == "Null" || text == "NULL":
		return nil
	case text == "true" || text == "false":
		return text == "true"
	case jsonNumber.MatchString(text):
		return json.Number(text)
	case yamlNumber.MatchString(text) || yamlTruth.MatchString(text):
		return spelled(text)
	}
	return text
}

// ParseValue reads the value of one variable, as it is typed at a command line or in a form. What begins with
// a bracket, a brace or a quote is read as in flywheel.yaml; everything else stands for itself, as one unquoted
// text of that file would. nil is nothing.
func ParseValue(text string) (any, error) {
	switch {
	case !utf8.ValidString(text):
		return nil, fault.New(fault.Invalid, "value.not_utf8", "The value %s is not UTF-8.", strconv.QuoteToASCII(short(text))).
			Do("Type it where text is UTF-8.")
	case text == "" || !strings.Contains("[{\"'", text[:1]):
		return unquoted(text), nil
	}
	d, err := parse("value", []byte(text))
	var f *fault.Fault
	if errors.As(err, &f) && len(f.Fields) > 0 {
		f.Message = fmt.Sprintf("The value %s cannot be read: %s.", strconv.QuoteToASCII(short(text)), f.Fields[0].Message)
		f.Remedy = "Put a text that begins with a bracket, a brace or a quote in quotes."
	}
	if err != nil {
		return nil, err
	}
	return d.value, nil
}

// What a number may have at most, so that no engine rounds it: they reckon with 512 bits.
const (
	mostDigits   = 100
	mostExponent = 400
)

// Number returns the one way to write a number, by which equal ones are equal: 3 for 3.0, 1000 for 1e3. It is
// how JSON writes numbers of this size. It fails for a text that is no JSON number, and for more digits than
// an engine carries.
func Number(text string) (json.Number, error) {
	if !jsonNumber.MatchString(text) {
		return "", fmt.Errorf("%s is not a number", text)
	}
	sign, rest := "", text
	if rest[0] == '-' {
		sign, rest = "-", rest[1:]
	}
	mantissa, power, _ := strings.Cut(strings.ToLower(rest), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "0", nil
	}
	exponent := 0
	if power != "" {
		var err error
		if exponent, err = strconv.Atoi(power); err != nil {
			return "", fmt.Errorf("%s is too large or too small to be carried exactly", short(text))
		}
	}
	point := exponent + len(digits) - len(fraction) // of 0.digits × 10^point
	digits = strings.TrimRight(digits, "0")
	if len(digits) > mostDigits || point > mostExponent || point < -mostExponent {
		return "", fmt.Errorf("%s cannot be carried exactly: a number may have %d digits", short(text), mostDigits)
	}
	switch {
	case point > 21 || point < -5:
		out := digits[:1]
		if len(digits) > 1 {
			out += "." + digits[1:]
		}
		return json.Number(fmt.Sprintf("%s%se%+d", sign, out, point-1)), nil
	case point <= 0:
		return json.Number(sign + "0." + strings.Repeat("0", -point) + digits), nil
	case len(digits) <= point:
		return json.Number(sign + digits + strings.Repeat("0", point-len(digits))), nil
	}
	return json.Number(sign + digits[:point] + "." + digits[point:]), nil
}

func short(text string) string {
	if len(text) > 40 {
		return text[:37] + "…"
	}
	return text
}

// Compare compares two numbers exactly, like cmp.Compare. ok is false if one of them is none.
func Compare(a, b any) (order int, ok bool) {
	x, ok1 := rational(a)
	y, ok2 := rational(b)
	if !ok1 || !ok2 {
		return 0, false
	}
	return x.Cmp(y), true
}

// rational returns a number as it is, without rounding.
func rational(v any) (*big.Rat, bool) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, false
	}
	n, err := Number(string(text))
	if err != nil {
		return nil, false
	}
	return new(big.Rat).SetString(string(n))
}

// canonical returns a value with every number in the one way to write it, where it has one.
func canonical(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := Number(string(v)); err == nil {
			return n
		}
	case spelled:
		return string(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = canonical(v[i])
		}
		return out
	case Values:
		return canonical(map[string]any(v))
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = canonical(v[k])
		}
		return out
	}
	return v
}

// plainValue returns a copy of a value in the types that a file is read into.
func plainValue(v any) (any, error) {
	switch v := v.(type) {
	case nil, bool, string, spelled, json.Number:
		return v, nil
	case Values:
		return plainValue(map[string]any(v))
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			var err error
			if out[k], err = plainValue(v[k]); err != nil {
				return nil, err
			}
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i := range v {
			var err error
			if out[i], err = plainValue(v[i]); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out any
	return out, Decode(text, &out)
}

// translation makes values of syntax.
type translation struct {
	d       *document
	anchors map[string]any
}

// value returns what a node says. A tag in front of it decides how a scalar is read.
func (t *translation) value(n ast.Node, tag string) any {
	switch n := n.(type) {
	case nil:
		return nil
	case *ast.TagNode:
		if tag = n.Start.Value; !slices.Contains([]string{"!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq"}, tag) {
			t.wrong(n, "the tag %s means nothing here; take it out", tag)
		}
		return t.value(n.Value, tag)
	case *ast.AnchorNode:
		v := t.value(n.Value, tag)
		t.anchors[n.Name.GetToken().Value] = v
		return v
	case *ast.AliasNode:
		v, _ := plainValue(t.anchors[n.Value.GetToken().Value]) // measure has found the anchor
		return v
	case *ast.SequenceNode:
		out := make([]any, len(n.Values))
		for i := range n.Values {
			out[i] = t.value(n.Values[i], "")
		}
		return out
	case *ast.MappingNode:
		return t.mapping(n.Values)
	case *ast.MappingValueNode:
		return t.mapping([]*ast.MappingValueNode{n})
	}
	return t.scalar(n, tag)
}

func (t *translation) mapping(pairs []*ast.MappingValueNode) map[string]any {
	out := map[string]any{}
	merged := map[string]any{}
	for _, pair := range pairs {
		if pair.Key.IsMergeKey() {
			t.merge(merged, pair.Value)
			continue
		}
		name, ok := keyOf(pair)
		if _, twice := out[name]; twice {
			t.wrong(pair.Key, "the key %q stands here twice", name)
		} else if !ok {
			t.wrong(pair.Key, "a key must be plain text")
		} else if glued(pair) {
			t.wrong(pair.Key, "a space must follow the colon behind %s; if the colon is part of the key, put the key in quotes", name)
		} else {
			t.value(keyNode(pair), "") // for its anchor and its tag
		}
		out[name] = t.value(pair.Value, "")
	}
	for name, v := range merged {
		if _, own := out[name]; !own {
			out[name] = v
		}
	}
	return out
}

// merge adds what `<<` stands for: one mapping, or several of which the first has precedence.
func (t *translation) merge(into map[string]any, n ast.Node) {
	found := []any{t.value(n, "")}
	if list, isList := found[0].([]any); isList {
		found = list
	}
	for _, one := range found {
		more, isMap := one.(map[string]any)
		if !isMap {
			t.wrong(n, "<< takes keys and values, or an alias of them")
			return
		}
		for name, v := range more {
			if _, had := into[name]; !had {
				into[name] = v
			}
		}
	}
}

// scalar returns what a text means, by its quotes, its tag, or what YAML and JSON say of it.
func (t *translation) scalar(n ast.Node, tag string) any {
	text, quoted, ok := textOf(n)
	if !ok {
		t.wrong(n, "this cannot be a value")
	}
	meant := unquoted(text)
	switch tag {
	case "!!str":
		return text
	case "!!null":
		if meant == nil {
			return nil
		}
	case "!!int", "!!float":
		if _, isNumber := meant.(json.Number); isNumber && (tag == "!!float" || !strings.ContainsAny(text, ".eE")) {
			return meant
		}
	case "!!bool":
		if truth, is := Truth(meant); is {
			return truth
		}
	case "!!map", "!!seq":
	default:
		if quoted {
			return text
		}
		return meant
	}
	t.wrong(n, "%s is nothing that %s can be said of", text, tag)
	return nil
}

func (t *translation) wrong(n ast.Node, format string, args ...any) {
	t.d.problems.At(at(t.d.file, n), format, args...)
}

// textOf returns the text of a scalar as it was typed, and whether it stands in quotes or in a block.
func textOf(n ast.Node) (text string, quoted, ok bool) {
	switch n := n.(type) {
	case *ast.LiteralNode:
		return n.Value.Value, true, true
	case *ast.StringNode:
		kind := n.GetToken().Type
		return n.Value, kind == token.SingleQuoteType || kind == token.DoubleQuoteType, true
	case *ast.NullNode:
		if n.GetToken().Type == token.ImplicitNullType {
			return "", false, true
		}
		return n.GetToken().Value, false, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, false, true
	}
	return "", false, false
}

// glued reports whether the value follows the colon of an unquoted key without a space, as in {12:30}. Readers of
// YAML do not agree where the key ends there.
func glued(pair *ast.MappingValueNode) bool {
	_, quoted, _ := textOf(keyNode(pair))
	switch pair.Value.(type) {
	case *ast.SequenceNode, *ast.MappingNode:
		return false // a bracket ends the key for all of them
	}
	colon, value := pair.Start.Position, pair.Value.GetToken()
	return !quoted && value.Type != token.ImplicitNullType && value.Position.Line == colon.Line && value.Position.Column == colon.Column+1
}

// keyNode returns what stands as a key, with its anchor and its tag.
func keyNode(pair *ast.MappingValueNode) ast.Node {
	if asked, explicit := pair.Key.(*ast.MappingKeyNode); explicit {
		return asked.Value
	}
	return pair.Key
}

// keyOf returns the text of a key. A key is always text: 010 is "010".
func keyOf(pair *ast.MappingValueNode) (name string, ok bool) {
	n := keyNode(pair)
	for {
		switch inner := n.(type) {
		case *ast.AnchorNode:
			n = inner.Value
		case *ast.TagNode:
			n = inner.Value
		default:
			name, _, ok = textOf(n)
			return name, ok
		}
	}
}

// Truth returns what a value says as true or false, in the spellings that YAML 1.2 has.
func Truth(v any) (truth, ok bool) {
	switch v := v.(type) {
	case bool:
		return v, true
	case spelled:
		return Truth(string(v))
	case string:
		switch v {
		case "true", "True", "TRUE":
			return true, true
		case "false", "False", "FALSE":
			return false, true
		}
	}
	return false, false
}

// asTyped returns the text of a scalar as it was typed.
func asTyped(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return v
	case spelled:
		return string(v)
	case json.Number:
		return string(v)
	}
	return fmt.Sprint(v)
}

// grouped is a number whose thousands stand apart. 1,5 is none: half of the world means 1.5 by it.
var grouped = regexp.MustCompile(`^[0-9]{1,3}(?:(?:,[0-9]{3})+|(?:'[0-9]{3})+)(?:\.[0-9]+)?$`)

// Likely returns how a text may have to be written as a number or as true or false, or "".
func Likely(kind, text string) string {
	switch kind {
	case "number":
		switch lower := strings.ToLower(strings.TrimSpace(text)); {
		case strings.HasPrefix(lower, "0x"), strings.HasPrefix(lower, "0o"), strings.HasPrefix(lower, "0b"):
			if n, err := strconv.ParseUint(lower, 0, 63); err == nil {
				return strconv.FormatUint(n, 10)
			}
		default:
			sign, rest := "", strings.TrimPrefix(lower, "+")
			if after, negative := strings.CutPrefix(lower, "-"); negative {
				sign, rest = "-", after
			}
			rest = strings.ReplaceAll(rest, "_", "")
			if grouped.MatchString(rest) {
				rest = strings.NewReplacer(",", "", "'", "").Replace(rest)
			}
			whole, more, _ := strings.Cut(rest, ".")
			if whole+more == "" || strings.HasPrefix(whole, "-") {
				return "" // no digit, or two signs
			}
			if whole = strings.TrimLeft(whole, "0"); whole == "" {
				whole = "0"
			}
			if rest = sign + whole; more != "" {
				rest += "." + more
			}
			if jsonNumber.MatchString(rest) {
				return rest
			}
		}
	case "bool":
		switch strings.ToLower(strings.TrimSpace(text)) {
		case "yes", "on", "y", "1", "true":
			return "true"
		case "no", "off", "n", "0", "false":
			return "false"
		}
	}
	return ""
}

// Misfit says that a value is of another kind than is needed, and how to write what may have been meant.
func Misfit(v any, needed, instead string) error {
	text := show(v)
	switch v := v.(type) {
	case string, spelled:
		text = strconv.Quote(asTyped(v))
	}
	text = fmt.Sprintf("%s is %s where %s is needed", short(text), kindOf(v), needed)
	if instead != "" {
		text += "; write " + instead
	}
	return errors.New(text)
}

func kindOf(v any) string {
	return typeNames([]string{TypeOf(v)})
}

// AsText returns a value that a module takes as text: what was typed, letter for letter.
func AsText(v any) (string, error) {
	switch v.(type) {
	case string, spelled, json.Number, bool:
		return asTyped(v), nil
	}
	return "", Misfit(v, "text", "")
}

// AsNumber returns a value that a module takes as a number.
func AsNumber(v any) (json.Number, error) {
	switch v.(type) {
	case string, spelled, json.Number:
		if n, err := Number(asTyped(v)); err == nil || jsonNumber.MatchString(asTyped(v)) {
			return n, err
		}
		return "", Misfit(v, "a number", Likely("number", asTyped(v)))
	case bool, []any, map[string]any, Values:
		return "", Misfit(v, "a number", "")
	}
	text, err := json.Marshal(v) // a number of Go
	if err != nil {
		return "", err
	}
	return Number(string(text))
}

// AsTruth returns a value that a module takes as true or false.
func AsTruth(v any) (bool, error) {
	if truth, ok := Truth(v); ok {
		return truth, nil
	}
	return false, Misfit(v, "true or false", Likely("bool", asTyped(v)))
}

// AsAny returns a value that a module takes as it comes. What readers of YAML take for different things has to
// say what it is.
func AsAny(v any) (any, error) {
	switch v := v.(type) {
	case spelled:
		if truth, is := Truth(v); is {
			return nil, fmt.Errorf("%s is ambiguous where any type is taken; write %t, or %q for the text", string(v), truth, string(v))
		}
		number := Likely("number", string(v))
		if number != "" {
			number += " for the number, or "
		}
		return nil, fmt.Errorf("%s is ambiguous where any type is taken; write %s%q for the text", string(v), number, string(v))
	case json.Number:
		return Number(string(v))
	case []any:
		out := make([]any, len(v))
		for i := range v {
			var err error
			if out[i], err = AsAny(v[i]); err != nil {
				return nil, err
			}
		}
		return out, nil
	case Values:
		return AsAny(map[string]any(v))
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) { // so that of two mistakes the same one is told each time
			var err error
			if out[k], err = AsAny(v[k]); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

// Same reports whether two values are the same: 3 and 3.0 are, "3" and 3 are not.
func Same(a, b any) bool {
	x, err1 := plainValue(a)
	y, err2 := plainValue(b)
	return err1 == nil && err2 == nil && reflect.DeepEqual(canonical(x), canonical(y))
}
