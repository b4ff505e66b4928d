package pattern

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/tofu"
)

// Interface is what a version asks for and gives: its variables and outputs.
type Interface struct {
	Variables   []Variable `json:"variables"`
	Outputs     []Output   `json:"outputs"`
	Credentials []string   `json:"credentials,omitempty" doc:"Secrets of the environment that the engine gets as variables of its environment"`
}

// SignsIn reports whether the engine gets secrets of the environment, so that a plan without them, as of a
// version under review, would say nothing.
func (i Interface) SignsIn() bool {
	return len(i.Credentials) > 0 || slices.ContainsFunc(i.Variables, func(v Variable) bool { return v.Secret && v.Control == "coe" })
}

// Variable is an input of the module with its governance.
type Variable struct {
	Name        string                     `json:"name"`
	Type        string                     `json:"type"`
	Description string                     `json:"description,omitempty"`
	Required    bool                       `json:"required"`
	Default     any                        `json:"default,omitempty" doc:"As the type makes it"`
	Nullable    *bool                      `json:"nullable,omitempty" doc:"False if null means its default; left out if null is a value"`
	Sensitive   bool                       `json:"sensitive,omitempty"`
	Ephemeral   bool                       `json:"ephemeral,omitempty" doc:"In neither plan nor state"`
	Deprecated  string                     `json:"deprecated,omitempty" doc:"What the module says to those who still set it"`
	Secret      bool                       `json:"secret,omitempty" doc:"Its value is the secret of its name: of the app if team controls it, of the environment if coe does"`
	Control     string                     `json:"control" doc:"team, coe, or platform for what Flywheel sets itself or the module keeps"`
	Bounds      manifest.Values            `json:"bounds,omitempty" doc:"JSON Schema keywords, from pattern.yaml and from the module's validations"`
	Classes     map[string]manifest.Values `json:"classes,omitempty" doc:"Other bounds for a class of environments"`
	Conditions  []string                   `json:"conditions,omitempty" doc:"Validations of the module that are no bounds, as they are written"`

	misfit error // of an allowed value in pattern.yaml
}

// Output is what the module gives.
type Output struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Sensitive   bool   `json:"sensitive,omitempty"`
	Ephemeral   bool   `json:"ephemeral,omitempty" doc:"In neither plan nor state"`
	Deprecated  string `json:"deprecated,omitempty" doc:"What the module says to those who still use it"`
}

// UnmarshalJSON reads also the name alone, which earlier versions are stored with.
func (o *Output) UnmarshalJSON(text []byte) error {
	if json.Unmarshal(text, &o.Name) == nil {
		return nil
	}
	type plain Output
	return json.Unmarshal(text, (*plain)(o))
}

// outputNames returns the names of the outputs.
func (i Interface) outputNames() []string {
	names := []string{}
	for _, o := range i.Outputs {
		names = append(names, o.Name)
	}
	return names
}

// bounds returns the bounds of a variable in a class of environments.
func (v Variable) bounds(class string) manifest.Values {
	out := maps.Clone(v.Bounds)
	if out == nil {
		out = manifest.Values{}
	}
	maps.Copy(out, v.Classes[class])
	return out
}

var moduleSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
	{Type: "variable", LabelNames: []string{"name"}}, {Type: "output", LabelNames: []string{"name"}},
}}

var variableSchema = &hcl.BodySchema{
	Attributes: []hcl.AttributeSchema{{Name: "type"}, {Name: "default"}, {Name: "description"}, {Name: "nullable"}, {Name: "sensitive"}, {Name: "ephemeral"}, {Name: "deprecated"}},
	Blocks:     []hcl.BlockHeaderSchema{{Type: "validation"}},
}

var outputSchema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "description"}, {Name: "sensitive"}, {Name: "ephemeral"}, {Name: "deprecated"}}}

var validationSchema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "condition"}}}

// ReadInterface reads the variables and outputs of the module in dir, with the governance of m.
func ReadInterface(dir string, m *manifest.Pattern) (Interface, error) {
	out := Interface{Variables: []Variable{}, Outputs: []Output{}, Credentials: m.Spec.Credentials}
	files, err := moduleFiles(dir)
	if err != nil {
		return out, err
	}
	parser := hclparse.NewParser()
	for _, file := range files {
		var parsed *hcl.File
		var diags hcl.Diagnostics
		if strings.HasSuffix(file, ".json") {
			parsed, diags = parser.ParseJSONFile(file)
		} else {
			parsed, diags = parser.ParseHCLFile(file)
		}
		if diags.HasErrors() {
			return out, broken(dir, diags)
		}
		content, _, diags := parsed.Body.PartialContent(moduleSchema)
		if diags.HasErrors() {
			return out, broken(dir, diags)
		}
		for _, block := range content.Blocks {
			if block.Type == "output" {
				out.Outputs = append(out.Outputs, readOutput(block))
				continue
			}
			v, diags := readVariable(block, m, parsed.Bytes)
			if diags.HasErrors() {
				return out, broken(dir, diags)
			}
			out.Variables = append(out.Variables, v)
		}
	}
	slices.SortFunc(out.Variables, func(a, b Variable) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(out.Outputs, func(a, b Output) int { return cmp.Compare(a.Name, b.Name) })
	return out, checkVariables(out, m)
}

// moduleFiles returns the files of the module that the engines read. It refuses what would make the module
// another one than its *.tf files show.
func moduleFiles(dir string) ([]string, error) {
	names, problems, err := tofu.ModuleFiles(dir)
	if err != nil {
		return nil, err
	}
	f := fault.New(fault.Invalid, "pattern.files", "The module has files that a pattern must not have.").Do("Remove them.")
	for _, p := range problems {
		f.At(p.Where(), "%s", p.Message)
	}
	switch {
	case len(f.Fields) > 0:
		return nil, f
	case len(names) == 0:
		return nil, fault.New(fault.Invalid, "pattern.no_module", "There is no *.tf file beside pattern.yaml.").Do("Put the module at the root of the pattern's repository.")
	}
	for i, name := range names {
		names[i] = filepath.Join(dir, name)
	}
	return names, nil
}

func broken(dir string, diags hcl.Diagnostics) error {
	f := fault.New(fault.Invalid, "pattern.syntax", "The module cannot be read.").Do("`terraform validate` or `tofu validate` in its folder shows more.")
	for _, d := range diags {
		at := ""
		if d.Subject != nil {
			rel, err := filepath.Rel(dir, d.Subject.Filename)
			if err != nil {
				rel = filepath.Base(d.Subject.Filename)
			}
			at = fmt.Sprintf("%s:%d:%d", rel, d.Subject.Start.Line, d.Subject.Start.Column)
		}
		f.At(at, "%s", d.Summary)
	}
	return f
}

func readVariable(block *hcl.Block, m *manifest.Pattern, source []byte) (Variable, hcl.Diagnostics) {
	v := Variable{Name: block.Labels[0], Type: "any", Required: true, Control: "platform"}
	content, _, diags := block.Body.PartialContent(variableSchema)
	for name, attr := range content.Attributes {
		switch name {
		case "type":
			read, wrong := readType(attr.Expr)
			diags = append(diags, wrong...)
			v.Type = read.String()
		case "default":
			v.Required = false
			if value, wrong := attr.Expr.Value(nil); !wrong.HasErrors() {
				v.Default = plain(value)
			}
		case "description":
			v.Description = textOf(attr)
		case "deprecated":
			v.Deprecated = textOf(attr)
		case "nullable":
			if nullable := truth(attr, true); !nullable {
				v.Nullable = &nullable
			}
		case "sensitive":
			v.Sensitive = truth(attr, false)
		case "ephemeral":
			v.Ephemeral = truth(attr, false)
		}
	}
	if diags.HasErrors() {
		return v, diags
	}
	if v.Default != nil {
		if typed, err := v.Value(v.Default); err == nil {
			v.Default = typed
		}
	}
	if g, ok := m.Spec.Variables[v.Name]; ok {
		v.misfit = v.fit(g.Bounds)
		for _, class := range slices.Sorted(maps.Keys(g.Classes)) {
			v.misfit = cmp.Or(v.misfit, v.fit(g.Classes[class]))
		}
		v.Control, v.Secret, v.Bounds, v.Classes = g.Control, g.Secret, maps.Clone(g.Bounds), g.Classes
		if v.Description == "" {
			v.Description = g.Description
		}
	}
	for _, b := range content.Blocks {
		validation, _, _ := b.Body.PartialContent(validationSchema)
		condition := validation.Attributes["condition"]
		if condition == nil {
			continue
		}
		expression, isNative := condition.Expr.(hclsyntax.Expression)
		found := map[string]any(nil)
		if isNative {
			found = boundsOf(expression, v)
		}
		if found == nil || !v.tighten(found) {
			v.Conditions = append(v.Conditions, words(string(condition.Expr.Range().SliceBytes(source))))
		}
	}
	slices.Sort(v.Conditions)
	if v.Sensitive || v.Ephemeral {
		v.Default = nil
	}
	return v, diags
}

func readOutput(block *hcl.Block) Output {
	o := Output{Name: block.Labels[0]}
	content, _, _ := block.Body.PartialContent(outputSchema)
	for name, attr := range content.Attributes {
		switch name {
		case "description":
			o.Description = textOf(attr)
		case "deprecated":
			o.Deprecated = textOf(attr)
		case "sensitive":
			o.Sensitive = truth(attr, false)
		case "ephemeral":
			o.Ephemeral = truth(attr, false)
		}
	}
	return o
}

// textOf returns the text of an attribute that is one.
func textOf(attr *hcl.Attribute) string {
	value, diags := attr.Expr.Value(nil)
	if diags.HasErrors() || value.IsNull() || !value.IsKnown() || value.Type() != cty.String {
		return ""
	}
	return value.AsString()
}

// truth returns the truth of an attribute as the engines take it, also from a text.
func truth(attr *hcl.Attribute, otherwise bool) bool {
	value, _ := attr.Expr.Value(nil)
	is, err := convert.Convert(value, cty.Bool)
	if err != nil || !is.IsKnown() || is.IsNull() {
		return otherwise
	}
	return is.True()
}

// words makes differences of layout go away.
func words(s string) string { return strings.Join(strings.Fields(s), " ") }

// plain turns a literal default into what JSON has.
func plain(v cty.Value) any {
	if v.IsNull() || !v.IsKnown() {
		return nil
	}
	switch t := v.Type(); {
	case t == cty.String:
		return v.AsString()
	case t == cty.Bool:
		return v.True()
	case t == cty.Number:
		text := v.AsBigFloat().Text('g', -1)
		if n, err := manifest.Number(text); err == nil {
			return n
		}
		return json.Number(text)
	case t.IsTupleType() || t.IsListType() || t.IsSetType():
		list := []any{}
		for _, e := range v.AsValueSlice() {
			list = append(list, plain(e))
		}
		return list
	case t.IsObjectType() || t.IsMapType():
		m := map[string]any{}
		for k, e := range v.AsValueMap() {
			m[k] = plain(e)
		}
		return m
	}
	return nil
}

// checkVariables refuses a pattern.yaml that does not agree with its module: variables and outputs that
// are not there, a required variable that nobody may set, and a default that a team could not set
// itself, which would be a way around the bounds.
func checkVariables(i Interface, m *manifest.Pattern) error {
	f := fault.New(fault.Invalid, "pattern.interface", "pattern.yaml and the module do not agree.").Do("Correct one of them.")
	has := map[string]bool{}
	for _, v := range i.Variables {
		if has[v.Name] {
			f.At("variable."+v.Name, "the module declares it twice")
		}
		has[v.Name] = true
		if v.misfit != nil {
			f.At("spec.variables."+v.Name, "%s; the module declares the variable as %s", v.misfit, v.Type)
		}
		if v.Required && v.Control == "platform" && v.Name != m.Spec.Artifact.Variable {
			f.At("variable."+v.Name, "it has no default, and pattern.yaml says neither team nor coe, so nobody could set it")
		}
		switch {
		case v.Secret && (!v.Ephemeral || v.Type != "string"):
			f.At("variable."+v.Name, "pattern.yaml calls it a secret, so the module must declare it with `type = string` and `ephemeral = true`: plans and states would keep it")
		case v.Ephemeral && !v.Secret && v.Control != "platform":
			f.At("variable."+v.Name, "it is ephemeral, so pattern.yaml must call it a secret: no plan keeps its value for the apply")
		case v.Ephemeral && v.Name == m.Spec.Artifact.Variable:
			f.At("variable."+v.Name, "the artifact stands in the plan, so its variable cannot be ephemeral")
		}
		if v.Control != "team" || v.Default == nil {
			continue
		}
		for _, class := range []string{"", "development", "staging", "production"} {
			if bad := manifest.CheckBounds(m, class, map[string]any{v.Name: v.Default}); len(bad) > 0 && v.misfit == nil {
				f.At("variable."+v.Name, "its default %s", bad[0].Message)
				break
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Spec.Variables)) {
		if !has[name] {
			f.At("spec.variables."+name, "the module has no variable %q", name)
		}
	}
	if a := m.Spec.Artifact.Variable; a != "" && !has[a] {
		f.At("spec.artifact.variable", "the module has no variable %q", a)
	}
	for _, given := range [][2]string{{"output", m.Spec.Release.Output}, {"url", m.Spec.Release.URL}} {
		if given[1] != "" && !slices.Contains(i.outputNames(), given[1]) {
			f.At("spec.release."+given[0], "the module has no output %q", given[1])
		}
	}
	if len(f.Fields) > 0 {
		return f
	}
	return nil
}
