package pattern

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
)

// folder writes files and returns their folder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func digest(t *testing.T, dir string) string {
	t.Helper()
	d, err := Digest(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestTheDigestIsOverContentAlone(t *testing.T) {
	files := map[string]string{"main.tf": "a", "skeleton/run.sh": "b", "README.md": "c"}
	want := digest(t, folder(t, files))
	t.Run("the same content elsewhere has the same one", func(t *testing.T) {
		if got := digest(t, folder(t, files)); got != want {
			t.Errorf("%s is not %s", got, want)
		}
	})
	for name, change := range map[string]func(dir string) error{
		"other content":         func(dir string) error { return os.WriteFile(filepath.Join(dir, "main.tf"), []byte("A"), 0o644) },
		"another name":          func(dir string) error { return os.Rename(filepath.Join(dir, "main.tf"), filepath.Join(dir, "x.tf")) },
		"one file more":         func(dir string) error { return os.WriteFile(filepath.Join(dir, "z"), nil, 0o644) },
		"a run bit":             func(dir string) error { return os.Chmod(filepath.Join(dir, "skeleton/run.sh"), 0o755) },
		"content moved between": func(dir string) error { return os.WriteFile(filepath.Join(dir, "README.md"), []byte("ca"), 0o644) },
	} {
		t.Run(name+" has another one", func(t *testing.T) {
			dir := folder(t, files)
			if err := change(dir); err != nil {
				t.Fatal(err)
			}
			if got := digest(t, dir); got == want {
				t.Error("it is the same")
			}
		})
	}
	t.Run("a link is refused", func(t *testing.T) {
		dir := folder(t, files)
		if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
		if _, err := Digest(dir); !fault.Is(err, "pattern.not_a_file") {
			t.Errorf("got %v", err)
		}
	})
}

// asked returns pattern.yaml with these variables.
func asked(t *testing.T, variables string) *manifest.Pattern {
	t.Helper()
	m, err := manifest.ParsePattern("pattern.yaml", []byte("apiVersion: flywheel.dev/v1\nkind: Pattern\nmetadata: {name: web-service}\nspec:\n  variables: {"+variables+"}\n"))
	if err != nil {
		t.Fatal(err, fault.From(err).Fields)
	}
	return m
}

func TestValidationsOfTheModuleAreShownAsBounds(t *testing.T) {
	for _, c := range []struct {
		kind, condition string
		want            map[string]any // nil: kept as a condition
	}{
		{"string", `contains(["15", "16"], var.x)`, map[string]any{"enum": []any{"15", "16"}}},
		{"number", `contains(toset([1, 2]), var.x)`, map[string]any{"enum": []any{1.0, 2.0}}},
		{"string", `can(regex("^[a-z]+$", var.x))`, map[string]any{"pattern": "^[a-z]+$"}},
		{"number", `var.x >= 1 && var.x <= 10`, map[string]any{"minimum": 1.0, "maximum": 10.0}},
		{"number", `1 < var.x && (10 > var.x)`, map[string]any{"exclusiveMinimum": 1.0, "exclusiveMaximum": 10.0}},
		{"number", `var.x > -3`, map[string]any{"exclusiveMinimum": -3.0}},
		{"string", `length(var.x) > 2 && length(var.x) <= 8`, map[string]any{"minLength": 3.0, "maxLength": 8.0}},
		{"list(string)", `length(var.x) >= 1`, map[string]any{"minItems": 1.0}},
		{"string", `var.x == "a" || var.x == "b" || var.x == "c"`, map[string]any{"enum": []any{"a", "b", "c"}}},
		{"string", `var.x == null || can(regex("^a", var.x))`, map[string]any{"pattern": "^a"}},
		{"string", `var.x == "only"`, map[string]any{"const": "only"}},
		{"number", `floor(var.x) == var.x`, nil},
		{"number", `var.x > var.y`, nil},
		{"number", `var.x >= 1 && var.x >= 2`, nil},
		{"string", `!contains(["root"], var.x)`, nil},
		{"string", `contains(["a"], var.y)`, nil},
		{"string", `contains(local.names, var.x)`, nil},
		{"string", `can(regex(var.y, var.x))`, nil},
		{"string", `var.x != "root"`, nil},
		{"string", `alltrue([for c in var.x : c != ""])`, nil},
		{"map(string)", `length(var.x) > 1`, nil},
		{"number", `var.x > 1 || var.x < -1`, nil},
	} {
		t.Run(c.condition, func(t *testing.T) {
			dir := folder(t, map[string]string{"main.tf": fmt.Sprintf("variable \"x\" {\n  type = %s\n  validation {\n    condition     = %s\n    error_message = \"No.\"\n  }\n}\n", c.kind, c.condition)})
			i, err := ReadInterface(dir, asked(t, "x: {control: team}"))
			if err != nil {
				t.Fatal(err, fault.From(err).Fields)
			}
			x := i.Variables[0]
			if c.want == nil && (!slices.Equal(x.Conditions, []string{c.condition}) || len(x.Bounds) > 0) || c.want != nil && (!manifest.Same(x.Bounds, c.want) || len(x.Conditions) > 0) {
				t.Errorf("bounds %v, conditions %q", x.Bounds, x.Conditions)
			}
		})
	}
}

func TestTheNarrowerOfTwoBoundsCounts(t *testing.T) {
	dir := folder(t, map[string]string{"main.tf": `
variable "x" {
  type = number
  validation {
    condition     = var.x >= 2 && var.x <= 20
    error_message = "No."
  }
}`})
	i, err := ReadInterface(dir, asked(t, "x: {control: team, minimum: 1, maximum: 10, classes: {production: {minimum: 3}}}"))
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]any{"minimum": 2.0, "maximum": 10.0}; !manifest.Same(i.Variables[0].Bounds, want) {
		t.Errorf("bounds are %v", i.Variables[0].Bounds)
	}
	if got := i.Variables[0].bounds("production")["minimum"]; !manifest.Same(got, 3) {
		t.Errorf("production begins at %v", got)
	}
}

func TestTheInterfaceIsReadFromEveryFile(t *testing.T) {
	dir := folder(t, map[string]string{
		"variables.tf": `
variable "artifact" { type = string }
variable "tags" {
  description = "Tags"
  type        = map( string )
  default     = { a = "b", n = 1 }
}
variable "key" {
  type      = string
  sensitive = true
  default   = "x"
}
variable "free" {}
`,
		"more.tf.json":             `{"variable": {"size": {"type": "number", "default": 3}}, "output": {"url": {"value": "x"}}}`,
		"outputs.tf":               "output \"id\" {\n  value = 1\n  sensitive = true\n  description = \"Which\"\n}",
		"modules/inner/main.tf":    `variable "not_ours" {}`,
		"tests/service.tftest.hcl": `variables { a = 1 }`,
	})
	m := asked(t, "free: {control: coe, description: From the environment}")
	m.Spec.Artifact.Variable = "artifact"
	i, err := ReadInterface(dir, m)
	if err != nil {
		t.Fatal(err, fault.From(err).Fields)
	}
	want := Interface{Outputs: []Output{{Name: "id", Sensitive: true, Description: "Which"}, {Name: "url"}}, Variables: []Variable{
		{Name: "artifact", Type: "string", Required: true, Control: "platform"},
		{Name: "free", Type: "any", Required: true, Control: "coe", Description: "From the environment", Bounds: manifest.Values{}},
		{Name: "key", Type: "string", Sensitive: true, Control: "platform"},
		{Name: "size", Type: "number", Default: json.Number("3"), Control: "platform"},
		{Name: "tags", Type: "map(string)", Description: "Tags", Default: map[string]any{"a": "b", "n": "1"}, Control: "platform"},
	}}
	if !reflect.DeepEqual(i, want) {
		t.Errorf("got  %+v\nwant %+v", i, want)
	}
}

func TestAPatternThatDoesNotAgreeWithItsModuleIsRefused(t *testing.T) {
	for _, c := range []struct {
		name, variables, module string
		code, want              string
	}{
		{"a variable that is not there", "colour: {control: team}", `variable "color" { default = 1 }`, "pattern.interface", `spec.variables.colour: the module has no variable "colour"`},
		{"a variable nobody may set", "", `variable "color" {}`, "pattern.interface", "variable.color: it has no default, and pattern.yaml says neither team nor coe"},
		{"a default outside of the bounds", "n: {control: team, minimum: 1}", `variable "n" { default = 0 }`, "pattern.interface", "variable.n: its default 0 is outside its bounds: at least 1."},
		{"a default outside of the bounds of a class", "n: {control: team, minimum: 1, classes: {production: {minimum: 2}}}", `variable "n" { default = 1 }`, "pattern.interface", "variable.n: its default 1 is outside its bounds: at least 2 in production."},
		{"a secret that plans and states would keep", "key: {control: team, secret: true}", "variable \"key\" {\n  type = string\n  sensitive = true\n}", "pattern.interface", "variable.key: pattern.yaml calls it a secret, so the module must declare it with `type = string` and `ephemeral = true`"},
		{"a secret that is no text", "key: {control: coe, secret: true}", "variable \"key\" {\n  type = number\n  ephemeral = true\n}", "pattern.interface", "variable.key: pattern.yaml calls it a secret"},
		{"an ephemeral variable that is no secret", "key: {control: team}", "variable \"key\" {\n  type = string\n  ephemeral = \"true\"\n}", "pattern.interface", "variable.key: it is ephemeral, so pattern.yaml must call it a secret"},
		{"a variable twice", "", "variable \"n\" { default = 1 }\nvariable \"n\" { default = 2 }", "pattern.interface", "variable.n: the module declares it twice"},
		{"a module that is no HCL", "", "variable \"n\" {", "pattern.syntax", "main.tf:1:14:"},
		{"a variable without a name", "", "variable {}", "pattern.syntax", "main.tf:1:10: Missing name for variable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadInterface(folder(t, map[string]string{"main.tf": c.module}), asked(t, c.variables))
			if !fault.Is(err, c.code) || len(fault.From(err).Fields) == 0 || fault.From(err).Remedy == "" {
				t.Fatalf("got %v", err)
			}
			if f := fault.From(err).Fields[0]; !strings.Contains(f.Path+": "+f.Message, c.want) {
				t.Errorf("got  %s: %s\nwant %s", f.Path, f.Message, c.want)
			}
		})
	}
	for name, file := range map[string]string{"a file of one engine only": "main.tofu", "an override": "main_override.tf", "another override": "override.tf.json",
		"values": "terraform.tfvars", "values in JSON": "terraform.tfvars.json", "values that are read by themselves": ".x.auto.tfvars", "values of tests": "tests/x.auto.tfvars.json"} {
		t.Run(name, func(t *testing.T) {
			if _, err := ReadInterface(folder(t, map[string]string{"main.tf": "", file: "{}"}), asked(t, "")); !fault.Is(err, "pattern.files") {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := ReadInterface(folder(t, map[string]string{"README.md": ""}), asked(t, "")); !fault.Is(err, "pattern.no_module") {
		t.Errorf("without a module: %v", err)
	}
}

func TestWhatEditorsLeaveBehindIsNoPartOfTheModule(t *testing.T) {
	i, err := ReadInterface(folder(t, map[string]string{
		"main.tf": `output "url" { value = "" }`, "._main.tf": "\x00\x05\x16\x07", ".old.tf": `variable "gone" {}`, "main.tf~": "{", "#main.tf#": "{", ".#main.tf": "{",
	}), asked(t, ""))
	if err != nil || len(i.Variables) > 0 || len(i.Outputs) != 1 {
		t.Errorf("the interface is %+v, %v", i, err)
	}
}

func TestTheBumpFollowsFromTheInterface(t *testing.T) {
	base := Interface{Outputs: []Output{{Name: "url"}}, Variables: []Variable{
		{Name: "instances", Type: "number", Default: 2.0, Control: "team", Bounds: map[string]any{"minimum": 1.0, "maximum": 10.0}, Classes: map[string]manifest.Values{"production": {"minimum": 2.0}}},
		{Name: "db", Type: "string", Default: "15", Control: "team", Bounds: map[string]any{"enum": []any{"15", "16"}}},
		{Name: "vpc", Type: "string", Required: true, Control: "coe"},
	}}
	// with returns the base with one variable changed.
	with := func(name string, change func(*Variable)) Interface {
		out := Interface{Outputs: base.Outputs}
		for _, v := range base.Variables {
			if v.Name == name {
				change(&v)
			}
			out.Variables = append(out.Variables, v)
		}
		return out
	}
	plus := func(v Variable) Interface {
		return Interface{Outputs: base.Outputs, Variables: append(slices.Clone(base.Variables), v)}
	}
	for _, c := range []struct {
		name    string
		new     Interface
		bump    string
		reasons string
	}{
		{"nothing differs", base, "patch", "the interface is unchanged"},
		{"a variable goes", Interface{Outputs: base.Outputs, Variables: base.Variables[1:]}, "major", "variable instances is removed"},
		{"an output goes", Interface{Variables: base.Variables}, "major", "output url is removed"},
		{"an output comes", Interface{Outputs: []Output{{Name: "id"}, {Name: "url"}}, Variables: base.Variables}, "minor", "new output id"},
		{"an optional variable comes", plus(Variable{Name: "new", Control: "team"}), "minor", "new variable new"},
		{"a required variable comes", plus(Variable{Name: "new", Required: true, Control: "team"}), "major", "new required variable new"},
		{"a required value of environments comes", plus(Variable{Name: "new", Required: true, Control: "coe"}), "major", "new required variable new, a value of every environment"},
		{"a required secret comes", plus(Variable{Name: "new", Required: true, Secret: true, Control: "team"}), "major", "new required variable new, a secret of every app"},
		{"a variable becomes a secret", with("vpc", func(v *Variable) { v.Secret = true }), "major", "variable vpc becomes a secret"},
		{"a credential comes", Interface{Outputs: base.Outputs, Variables: base.Variables, Credentials: []string{"AWS_PROFILE"}}, "major", "new credential AWS_PROFILE, a secret of every environment"},
		{"a variable becomes required", with("db", func(v *Variable) { v.Required, v.Default = true, nil }), "major", "variable db becomes required"},
		{"a variable becomes optional", with("vpc", func(v *Variable) { v.Required, v.Default = false, "vpc-1" }), "minor", "variable vpc becomes optional"},
		{"a default changes", with("db", func(v *Variable) { v.Default = "16" }), "patch", "the default of variable db changes"},
		{"a type changes", with("db", func(v *Variable) { v.Type = "number" }), "major", "variable db changes its type from string to number"},
		{"a type is laid out otherwise", with("db", func(v *Variable) { v.Type = " string " }), "patch", "the interface is unchanged"},
		{"any type is taken", with("db", func(v *Variable) { v.Type = "any" }), "minor", "variable db takes any type, before it was string"},
		{"a team loses a variable", with("db", func(v *Variable) { v.Control = "coe" }), "major", "variable db is no longer the team's"},
		{"a team gets a variable", with("vpc", func(v *Variable) { v.Control = "team" }), "minor", "variable vpc is now controlled by the team"},
		{"a maximum sinks", with("instances", func(v *Variable) { v.Bounds = map[string]any{"minimum": 1.0, "maximum": 9.0} }), "major", "the bounds of variable instances are narrower"},
		{"a maximum rises", with("instances", func(v *Variable) { v.Bounds = map[string]any{"minimum": 1.0, "maximum": 11.0} }), "minor", "the bounds of variable instances are wider"},
		{"one rises and one sinks", with("instances", func(v *Variable) { v.Bounds = map[string]any{"minimum": 0.0, "maximum": 9.0} }), "major", "the bounds of variable instances are narrower"},
		{"a bound goes", with("instances", func(v *Variable) { v.Bounds = map[string]any{"minimum": 1.0} }), "minor", "the bounds of variable instances are wider"},
		{"a bound comes", with("vpc", func(v *Variable) { v.Bounds = map[string]any{"minLength": 3.0} }), "major", "the bounds of variable vpc are narrower"},
		{"production narrows", with("instances", func(v *Variable) { v.Classes = map[string]manifest.Values{"production": {"minimum": 3.0}} }), "major", "the bounds of variable instances are narrower in production"},
		{"production widens", with("instances", func(v *Variable) { v.Classes = nil }), "minor", "the bounds of variable instances are wider"},
		{"staging narrows anew", with("instances", func(v *Variable) {
			v.Classes = map[string]manifest.Values{"production": {"minimum": 2.0}, "staging": {"maximum": 2.0}}
		}), "major", "the bounds of variable instances are narrower in staging"},
		{"a choice goes", with("db", func(v *Variable) { v.Bounds = map[string]any{"enum": []any{"16"}} }), "major", "the bounds of variable db are narrower"},
		{"a choice comes", with("db", func(v *Variable) { v.Bounds = map[string]any{"enum": []any{"15", "16", "17"}} }), "minor", "the bounds of variable db are wider"},
		{"choices change their order", with("db", func(v *Variable) { v.Bounds = map[string]any{"enum": []any{"16", "15"}} }), "patch", "the interface is unchanged"},
		{"a choice changes its type", with("db", func(v *Variable) { v.Bounds = map[string]any{"enum": []any{15.0, 16.0}} }), "major", "the bounds of variable db are narrower"},
		{"choices become a pattern", with("db", func(v *Variable) { v.Bounds = map[string]any{"pattern": "^1[56]$"} }), "major", "the bounds of variable db are narrower"},
		{"a validation comes", with("db", func(v *Variable) { v.Conditions = []string{"var.db != var.x"} }), "major", "variable db has a new validation: var.db != var.x"},
		{"only the words change", with("db", func(v *Variable) { v.Description = "Another" }), "patch", "the interface is unchanged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bump, reasons := Compare(base, c.new)
			if bump != c.bump || strings.Join(reasons, "; ") != c.reasons {
				t.Errorf("got  %s: %s\nwant %s: %s", bump, strings.Join(reasons, "; "), c.bump, c.reasons)
			}
		})
	}
}

// A type is wider if it takes every value that the other took and keeps every part of it.
func TestTypesAreComparedByTheirStructure(t *testing.T) {
	for _, c := range []struct{ name, old, new, bump, reasons string }{
		{"a comment and a comma", "object({\n  a = string # the first\n  b = number,\n})", "object({a = string, b = number})", "patch", "the interface is unchanged"},
		{"another order", "object({a = string, b = number})", "object({b = number, a = string})", "patch", "the interface is unchanged"},
		{"short forms", "list", "list(any)", "patch", "the interface is unchanged"},
		{"a new optional attribute", "object({a = string})", "object({a = string, b = optional(number)})", "minor", "variable x has the new optional attribute b"},
		{"a new optional attribute with a default", "object({a = string})", "object({a = string, b = optional(number, 3)})", "minor", "variable x has the new optional attribute b"},
		{"a new required attribute", "object({a = string})", "object({a = string, b = number})", "major", "variable x has the new required attribute b"},
		{"an attribute goes", "object({a = string, b = number})", "object({a = string})", "major", "variable x loses the attribute b"},
		{"an optional attribute goes", "object({a = string, b = optional(number)})", "object({a = string})", "major", "variable x loses the attribute b"},
		{"an attribute becomes optional", "object({a = string})", "object({a = optional(string)})", "minor", "variable x.a becomes optional"},
		{"an attribute becomes required", "object({a = optional(string, \"b\")})", "object({a = string})", "major", "variable x.a becomes required"},
		{"another default of an attribute", "object({a = optional(number, 1)})", "object({a = optional(number, 2)})", "patch", "the default of variable x.a changes"},
		{"another default of an attribute in a list", "list(object({a = optional(number, 1)}))", "list(object({a = optional(number, 2)}))", "patch", "the default of each element of variable x.a changes"},
		{"an attribute deep inside narrows", "map(list(object({a = object({b = string})})))", "map(list(object({a = object({b = number})})))", "major", "each element of each element of variable x.a.b changes its type from string to number"},
		{"a number becomes a text", "number", "string", "minor", "variable x takes any text, before it was number"},
		{"a truth becomes a text", "list(bool)", "list(string)", "minor", "each element of variable x takes any text, before it was bool"},
		{"a text becomes a number", "string", "number", "major", "variable x changes its type from string to number"},
		{"a list becomes a set", "list(string)", "set(string)", "major", "variable x changes its type from list(string) to set(string)"},
		{"a map becomes an object", "map(string)", "object({a = string})", "major", "variable x changes its type from map(string) to object({a = string})"},
		{"any becomes a type", "any", "string", "major", "variable x changes its type from any to string"},
		{"a type becomes any", "list(string)", "list(any)", "minor", "each element of variable x takes any type, before it was string"},
		{"comments and line ends everywhere", "object({ # one\n  a = optional( // two\n    list(string), /* three */ [\"b\"],\n  ),\n})", "object({ a = optional(list(string), [\"b\"]) })", "patch", "the interface is unchanged"},
		{"defaults in another spelling", "object({a = optional(number, 1.0), b = optional(string, \"x\")})", "object({b = optional(string, \"\\u0078\"), a = optional(number, 1)})", "patch", "the interface is unchanged"},
		{"a default that the type makes the same", "object({a = optional(string, 3)})", "object({a = optional(string, \"3\")})", "patch", "the interface is unchanged"},
		{"a default deep inside", "object({a = optional(object({b = optional(number, 1)}), {})})", "object({a = optional(object({b = optional(number, 2)}), {})})", "patch", "the default of variable x.a.b changes"},
		{"a default goes", "object({a = optional(number, 1)})", "object({a = optional(number)})", "patch", "the default of variable x.a changes"},
		{"a default of null", "object({a = optional(number, null)})", "object({a = optional(number)})", "patch", "the interface is unchanged"},
		{"an attribute takes any type", "object({a = optional(string)})", "object({a = optional(any)})", "minor", "variable x.a takes any type, before it was string"},
		{"any becomes a type inside", "set(any)", "set(string)", "major", "each element of variable x changes its type from any to string"},
		{"a part of a tuple narrows", "tuple([string, bool])", "tuple([number, string])", "major", "an element of variable x changes its type from string to number; an element of variable x takes any text, before it was bool"},
		{"the defaults of a tuple", "tuple([object({a = optional(number, 1)}), string])", "tuple([object({a = optional(number, 2)}), string])", "patch", "the default of an element of variable x.a changes"},
		{"two attributes at once", "map(object({a = string}))", "map(object({a = optional(string), b = bool}))", "major", "each element of variable x.a becomes optional; each element of variable x has the new required attribute b"},
		{"a set becomes a list", "set(string)", "list(string)", "major", "variable x changes its type from set(string) to list(string)"},
		{"an empty object gets an attribute", "object({})", "object({a = optional(string)})", "minor", "variable x has the new optional attribute a"},
		{"large numbers as defaults", "object({a = optional(number, 9007199254740993)})", "object({a = optional(number, 9007199254740992)})", "patch", "the default of variable x.a changes"},
		{"a tuple grows", "tuple([string])", "tuple([string, number])", "major", "variable x changes its type from tuple([string]) to tuple([string, number])"},
		{"a part of a tuple widens", "tuple([string, number])", "tuple([string, any])", "minor", "an element of variable x takes any type, before it was number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			read := func(text string) Interface {
				i, err := ReadInterface(folder(t, map[string]string{"main.tf": "variable \"x\" {\n  default = null\n  type = " + text + "\n}"}), asked(t, ""))
				if err != nil {
					t.Fatal(err, fault.From(err).Fields)
				}
				return i
			}
			bump, reasons := Compare(read(c.old), read(c.new))
			if bump != c.bump || strings.Join(reasons, "; ") != c.reasons {
				t.Errorf("got  %s: %s\nwant %s: %s", bump, strings.Join(reasons, "; "), c.bump, c.reasons)
			}
			stored := Interface{Variables: []Variable{{Name: "x", Type: c.old, Control: "platform"}}, Outputs: []Output{}} // as it was written, by an earlier Flywheel
			if again, _ := Compare(stored, read(c.new)); again != c.bump {
				t.Errorf("after a stored type it is %s, want %s", again, c.bump)
			}
		})
	}
}

func TestWhatAVariableOrOutputIsMarkedAsBelongsToTheInterface(t *testing.T) {
	read := func(text string) Interface {
		i, err := ReadInterface(folder(t, map[string]string{"main.tf": text}), asked(t, ""))
		if err != nil {
			t.Fatal(err, fault.From(err).Fields)
		}
		return i
	}
	variable := func(line string) string { return "variable \"x\" {\n  default = \"\"\n  " + line + "\n}" }
	output := func(line string) string { return "output \"x\" {\n  value = \"\"\n  " + line + "\n}" }
	for _, c := range []struct{ name, old, new, bump, reasons string }{
		{"null is refused", variable(""), variable("nullable = false"), "major", "variable x takes null no longer"},
		{"null is taken", variable("nullable = false"), variable(""), "minor", "variable x takes null"},
		{"null is taken as before", variable(""), variable("nullable = true"), "patch", "the interface is unchanged"},
		{"a variable becomes sensitive", variable(""), variable("sensitive = true"), "patch", "variable x becomes sensitive: it is shown no more"},
		{"a variable is shown", variable("sensitive = \"true\""), variable("sensitive = false"), "minor", "variable x is sensitive no longer: it is shown"},
		{"a variable becomes ephemeral", variable(""), variable("ephemeral = true"), "patch", "variable x becomes ephemeral: no plan and no state keeps it"},
		{"a variable is deprecated", variable(""), variable("deprecated = \"Set y.\""), "minor", "variable x is deprecated: Set y."},
		{"a deprecation in other words", variable("deprecated = \"Set y.\""), variable("deprecated = \"Set z.\""), "patch", "variable x is deprecated in other words: Set z."},
		{"an output becomes ephemeral", output(""), output("ephemeral = true"), "major", "output x becomes ephemeral: no state keeps it"},
		{"an output becomes sensitive", output(""), output("sensitive = true"), "minor", "output x becomes sensitive: it is shown no more"},
		{"an output is shown", output("sensitive = true"), output(""), "minor", "output x is sensitive no longer: it is shown"},
		{"an output is deprecated", output(""), output("deprecated = \"Use y.\""), "minor", "output x is deprecated: Use y."},
		{"a variable is deprecated no longer", variable("deprecated = \"Set y.\""), variable(""), "patch", "variable x is deprecated no longer"},
		{"a variable is kept", variable("ephemeral = true"), variable("ephemeral = \"false\""), "minor", "variable x is ephemeral no longer: plans and states keep it"},
		{"null is refused and it is hidden", variable(""), variable("nullable = false\n  sensitive = true"), "major", "variable x takes null no longer; variable x becomes sensitive: it is shown no more"},
		{"a text of another spelling", variable("deprecated = \"Set y.\""), variable("deprecated = \"Set \\u0079.\""), "patch", "the interface is unchanged"},
		{"an output is kept", output("ephemeral = true"), output(""), "minor", "output x is ephemeral no longer: states keep it"},
		{"an output depends on more", output(""), output("depends_on = [terraform_data.a]"), "patch", "the interface is unchanged"},
		{"an output is described", output(""), output("description = \"X\""), "patch", "the interface is unchanged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bump, reasons := Compare(read(c.old), read(c.new))
			if bump != c.bump || strings.Join(reasons, "; ") != c.reasons {
				t.Errorf("got  %s: %s\nwant %s: %s", bump, strings.Join(reasons, "; "), c.bump, c.reasons)
			}
		})
	}
	if _, err := ReadInterface(folder(t, map[string]string{"main.tf": variable("type = strnig")}), asked(t, "")); !fault.Is(err, "pattern.syntax") {
		t.Errorf("a type that there is not: %v", err)
	}
}

func TestOutputsThatWereStoredByNameAreRead(t *testing.T) {
	var i Interface
	if err := json.Unmarshal([]byte(`{"variables": [], "outputs": ["id", {"name": "url", "sensitive": true}]}`), &i); err != nil {
		t.Fatal(err)
	}
	if want := []Output{{Name: "id"}, {Name: "url", Sensitive: true}}; !reflect.DeepEqual(i.Outputs, want) {
		t.Errorf("outputs: %+v", i.Outputs)
	}
}

func TestTheNextNumberFollowsFromTheBump(t *testing.T) {
	for _, c := range [][3]string{{"", "major", "1.0.0"}, {"1.4.2", "patch", "1.4.3"}, {"1.4.2", "minor", "1.5.0"}, {"1.4.2", "major", "2.0.0"}} {
		if got, err := NextVersion(c[0], c[1]); err != nil || got != c[2] {
			t.Errorf("%s after %q is %s, %v", c[1], c[0], got, err)
		}
	}
}

func TestARangeMeansTheNewestCertifiedVersion(t *testing.T) {
	all := []Version{{Version: "1.4.0", State: Certified}, {Version: "1.10.0", State: Certified}, {Version: "1.4.10", State: Certified}, {Version: "1.4.9", State: Certified},
		{Version: "1.4.11", State: Draft}, {Version: "1.4.12", State: InReview}, {Version: "1.4.13", State: Deprecated}, {Version: "2.0.0", State: Retired}}
	for wanted, want := range map[string]string{"~1.4": "1.4.10", "~1.4.0": "1.4.10", "^1.2": "1.10.0", "1.4.0": "1.4.0", "1.4": "1.4.10", "*": "1.10.0", ">=1.4 <1.5": "1.4.10"} {
		if got, err := Newest("web-service", wanted, all); err != nil || got.Version != want {
			t.Errorf("%s is %s, %v", wanted, got.Version, err)
		}
	}
	for wanted, c := range map[string][2]string{
		"~2.0":   {"pattern.nothing_in_range", "No certified version of web-service is in the range ~2.0. Certified are 1.4.0, 1.10.0, 1.4.10, 1.4.9. Use one of them, or change the pattern."},
		"newest": {"pattern.range_invalid", `"newest" is not a range of versions; write for example ~1.4, ^1.2 or 1.4.2. docs/patterns.md says what each range means.`},
	} {
		if _, err := Newest("web-service", wanted, all); !fault.Is(err, c[0]) || err.Error() != c[1] {
			t.Errorf("%s: %v", wanted, err)
		}
	}
	if _, err := Newest("web-service", "*", nil); err == nil || err.Error() != "No certified version of web-service is in the range *. None is certified yet." {
		t.Errorf("without any: %v", err)
	}
}

func TestANumberIsNeverUsedAgain(t *testing.T) {
	for _, c := range []struct {
		want string
		of   []Version
	}{
		{"", nil},
		{"", []Version{{Version: "1.0.0", State: Draft}}},
		{"1.1.0", []Version{{Version: "1.0.0", State: Certified}, {Version: "1.1.0", State: Deprecated}, {Version: "1.2.0", State: Draft}}},
		{"1.10.0", []Version{{Version: "1.10.0", State: Retired}, {Version: "1.9.0", State: Certified}}},
	} {
		if got := latest(c.of); got.Version != c.want {
			t.Errorf("after %v comes %q", c.of, got.Version)
		}
	}
}

func TestAChangeCannotLowerTheApprovalsItNeeds(t *testing.T) {
	before := &manifest.Pattern{Spec: manifest.PatternSpec{Approvals: map[string]int{"security": 2}}}
	itself := &manifest.Pattern{Spec: manifest.PatternSpec{Approvals: map[string]int{"security": 1, "operations": 3}}}
	if got, want := approvals(before, itself), map[string]int{"security": 2, "operations": 3, "development": 1}; !reflect.DeepEqual(got, want) {
		t.Errorf("needs %v", got)
	}
	if got := approvals(nil, itself)["operations"]; got != 3 {
		t.Errorf("the first version needs %d", got)
	}
}

func TestTheExampleHasTheInterfaceItsReadmeSays(t *testing.T) {
	dir := "../../examples/patterns/web-service"
	m, i, err := read(dir)
	if err != nil {
		t.Fatal(err, fault.From(err).Fields)
	}
	readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range i.Variables {
		if !strings.Contains(string(readme), "| "+v.Name+" |") {
			t.Errorf("the README does not name the variable %s", v.Name)
		}
		if v.Control == "platform" && v.Name != m.Spec.Artifact.Variable {
			t.Errorf("nobody controls %s", v.Name)
		}
	}
	for _, o := range i.Outputs {
		if !strings.Contains(string(readme), "| "+o.Name+" |") {
			t.Errorf("the README does not name the output %s", o.Name)
		}
	}
}

func TestWhatRunsIsOutdatedWhenItIsOlderThanTheRecommendedOrNotCertifiedAnyMore(t *testing.T) {
	versions := []Version{{Version: "1.9.0", State: Certified}, {Version: "1.10.0", State: Certified, Recommended: true}, {Version: "1.11.0", State: Certified},
		{Version: "2.0.0", State: Deprecated}, {Version: "3.0.0", State: Retired}, {Version: "4.0.0", State: Draft}}
	for running, want := range map[string]string{"1.9.0": "1.10.0", "1.10.0": "", "1.11.0": "", "2.0.0": "1.10.0", "3.0.0": "1.10.0", "": "", "7.0.0": ""} {
		if got := Outdated(running, versions); got != want {
			t.Errorf("%q should move to %q, want %q", running, got, want)
		}
	}
	if got := Outdated("1.9.0", versions[:1]); got != "" {
		t.Errorf("without a recommended version it should move to %q", got)
	}
}
