// Package pattern is the catalogue: patterns, their immutable versions, what a version's interface is,
// and which version a range means.
//
// A version is the content of a commit of the pattern's repository: a module with pattern.yaml. Its
// digest is over the content, its number follows from how its interface differs from the newest
// certified one, and its state goes draft → in_review → certified → deprecated → retired. One certified
// version may be recommended. Only certified versions answer to a range.
//
// Deliberately absent: deciding about a version (package certify) and running it (package tofu).
package pattern

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
)

// Pattern is a name in the catalogue.
type Pattern struct {
	Name      string    `json:"name"`
	Title     string    `json:"title"`
	Owner     string    `json:"owner,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
}

// Version is one immutable version of a pattern.
type Version struct {
	ID          string            `json:"id"`
	Pattern     string            `json:"pattern"`
	Version     string            `json:"version"`
	Digest      string            `json:"digest"`
	State       State             `json:"state" enum:"draft,in_review,certified,deprecated,retired"`
	Recommended bool              `json:"recommended"`
	Manifest    *manifest.Pattern `json:"manifest"`
	Interface   Interface         `json:"interface"`
	Readme      string            `json:"readme,omitempty"`
	Commit      string            `json:"commit"`
	Change      string            `json:"change,omitempty"`
	CreatedAt   time.Time         `json:"createdAt"`
}

// State of a version.
type State string

const (
	Draft      State = "draft"
	InReview   State = "in_review"
	Certified  State = "certified"
	Deprecated State = "deprecated" // still runs and is still repaired; new apps do not get it
	Retired    State = "retired"    // nothing may be deployed on it
)

// next lists where a state may go.
var next = map[State][]State{
	Draft: {InReview, Certified}, InReview: {Draft, Certified}, Certified: {Deprecated}, Deprecated: {Certified, Retired}, Retired: {},
}

// Interface is what a version asks for and gives: its variables and outputs.
type Interface struct {
	Variables []Variable `json:"variables"`
	Outputs   []string   `json:"outputs"`
}

// Variable is an input of the module with its governance.
type Variable struct {
	Name        string         `json:"name"`
	Type        string         `json:"type"`
	Description string         `json:"description,omitempty"`
	Required    bool           `json:"required"`
	Default     any            `json:"default,omitempty"`
	Sensitive   bool           `json:"sensitive,omitempty"`
	Control     string         `json:"control" doc:"team, coe, or platform for what Flywheel sets itself"`
	Bounds      map[string]any `json:"bounds,omitempty"`
}

// Proposal is the next version that a content would be.
type Proposal struct {
	Version string   `json:"version"`
	Bump    string   `json:"bump"`
	Reasons []string `json:"reasons"`
	Digest  string   `json:"digest"`
}

// Digest returns the content digest of a folder: sha256 over the sorted paths, run bits and contents.
// Tool folders (.terraform, .git) do not belong to the content.
func Digest(dir string) (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".terraform" || d.Name() == ".git" {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return fault.New(fault.Invalid, "pattern.not_a_file", "%s is not a plain file, so it cannot be part of a pattern.", d.Name())
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%s\x00%t\x00%d\x00", filepath.ToSlash(rel), info.Mode()&0o100 != 0, len(content))
		sum.Write(content)
		return nil
	})
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), err
}

// ReadInterface reads the variables and outputs of the module in dir, with the governance of m.
func ReadInterface(dir string, m *manifest.Pattern) (Interface, error) {
	out := Interface{Variables: []Variable{}, Outputs: []string{}}
	files, err := filepath.Glob(filepath.Join(dir, "*.tf"))
	if err != nil {
		return out, err
	}
	if len(files) == 0 {
		return out, fault.New(fault.Invalid, "pattern.no_module", "There is no *.tf file beside pattern.yaml.")
	}
	parser := hclparse.NewParser()
	for _, file := range files {
		parsed, diags := parser.ParseHCLFile(file)
		if diags.HasErrors() {
			return out, broken(dir, diags)
		}
		for _, block := range parsed.Body.(*hclsyntax.Body).Blocks {
			switch {
			case block.Type == "variable" && len(block.Labels) == 1:
				out.Variables = append(out.Variables, readVariable(block, m, parsed.Bytes))
			case block.Type == "output" && len(block.Labels) == 1:
				out.Outputs = append(out.Outputs, block.Labels[0])
			}
		}
	}
	slices.SortFunc(out.Variables, func(a, b Variable) int { return cmp.Compare(a.Name, b.Name) })
	slices.Sort(out.Outputs)
	return out, checkVariables(out, m)
}

func broken(dir string, diags hcl.Diagnostics) error {
	f := fault.New(fault.Invalid, "pattern.syntax", "The module cannot be read.")
	for _, d := range diags {
		at := ""
		if d.Subject != nil {
			rel, _ := filepath.Rel(dir, d.Subject.Filename)
			at = fmt.Sprintf("%s:%d:%d", rel, d.Subject.Start.Line, d.Subject.Start.Column)
		}
		f.At(at, "%s", d.Summary)
	}
	return f
}

func readVariable(block *hclsyntax.Block, m *manifest.Pattern, source []byte) Variable {
	v := Variable{Name: block.Labels[0], Type: "any", Required: true, Control: "platform"}
	for name, attr := range block.Body.Attributes {
		value, diags := attr.Expr.Value(nil)
		switch {
		case name == "type":
			v.Type = strings.TrimSpace(string(attr.Expr.Range().SliceBytes(source)))
		case name == "default":
			v.Required = false
			if !diags.HasErrors() {
				v.Default = plain(value)
			}
		case name == "description" && !diags.HasErrors() && value.Type() == cty.String:
			v.Description = value.AsString()
		case name == "sensitive" && !diags.HasErrors() && value.Type() == cty.Bool:
			v.Sensitive = value.True()
		}
	}
	if g, ok := m.Spec.Variables[v.Name]; ok {
		v.Control, v.Bounds = g.Control, g.Bounds
	}
	if v.Sensitive {
		v.Default = nil
	}
	return v
}

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
		f, _ := v.AsBigFloat().Float64()
		return f
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

// checkVariables refuses a pattern.yaml that speaks of variables the module does not have, and an
// artifact or output that is not there.
func checkVariables(i Interface, m *manifest.Pattern) error {
	has := func(name string) bool {
		return slices.ContainsFunc(i.Variables, func(v Variable) bool { return v.Name == name })
	}
	f := fault.New(fault.Invalid, "pattern.interface", "pattern.yaml and the module do not agree.").Do("Correct one of them.")
	for _, name := range slices.Sorted(maps.Keys(m.Spec.Variables)) {
		if !has(name) {
			f.At("spec.variables."+name, "the module has no variable %q", name)
		}
	}
	if a := m.Spec.Artifact.Variable; a != "" && !has(a) {
		f.At("spec.artifact.variable", "the module has no variable %q", a)
	}
	for key, output := range map[string]string{"output": m.Spec.Release.Output, "url": m.Spec.Release.URL} {
		if output != "" && !slices.Contains(i.Outputs, output) {
			f.At("spec.release."+key, "the module has no output %q", output)
		}
	}
	if len(f.Fields) > 0 {
		return f
	}
	return nil
}

// Compare says how the new interface differs from the old one (conventions: removed or newly required
// variables, narrowed bounds or types and removed outputs are major; new optional variables and new
// outputs are minor; all else is a patch), with its reasons.
func Compare(old, new Interface) (bump string, reasons []string) {
	rank := 0
	note := func(r int, format string, args ...any) {
		rank = max(rank, r)
		reasons = append(reasons, fmt.Sprintf(format, args...))
	}
	before := map[string]Variable{}
	for _, v := range old.Variables {
		before[v.Name] = v
	}
	for _, v := range new.Variables {
		o, existed := before[v.Name]
		delete(before, v.Name)
		switch {
		case !existed && v.Required && v.Control != "platform":
			note(2, "new required variable %s", v.Name)
		case !existed:
			note(1, "new variable %s", v.Name)
		default:
			if o.Type != v.Type {
				note(2, "variable %s changes its type from %s to %s", v.Name, o.Type, v.Type)
			}
			if !o.Required && v.Required {
				note(2, "variable %s becomes required", v.Name)
			}
			if o.Control == "team" && v.Control != "team" {
				note(2, "variable %s is no longer the team's", v.Name)
			} else if o.Control != v.Control {
				note(1, "variable %s is now controlled by %s", v.Name, v.Control)
			}
			if narrower(o.Bounds, v.Bounds) {
				note(2, "the bounds of variable %s are narrower", v.Name)
			} else if fmt.Sprint(o.Bounds) != fmt.Sprint(v.Bounds) {
				note(1, "the bounds of variable %s are wider", v.Name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		note(2, "variable %s is removed", name)
	}
	for _, name := range old.Outputs {
		if !slices.Contains(new.Outputs, name) {
			note(2, "output %s is removed", name)
		}
	}
	for _, name := range new.Outputs {
		if !slices.Contains(old.Outputs, name) {
			note(1, "new output %s", name)
		}
	}
	if reasons == nil {
		reasons = []string{"the interface is unchanged"}
	}
	return []string{"patch", "minor", "major"}[rank], reasons
}

// narrower reports whether new bounds exclude a value that the old ones allow, as far as their keywords
// tell; a keyword it does not know counts as narrower when it is added or changed.
func narrower(old, new map[string]any) bool {
	number := func(v any) float64 { f, _ := v.(float64); return f }
	for key, n := range new {
		o, had := old[key]
		switch key {
		case "minimum", "exclusiveMinimum", "minLength", "minItems":
			if !had || number(n) > number(o) {
				return true
			}
		case "maximum", "exclusiveMaximum", "maxLength", "maxItems":
			if !had || number(n) < number(o) {
				return true
			}
		case "enum":
			allowed, _ := n.([]any)
			before, _ := o.([]any)
			if !had {
				return true
			}
			for _, v := range before {
				if !slices.Contains(allowed, v) {
					return true
				}
			}
		default:
			if !had || fmt.Sprint(o) != fmt.Sprint(n) {
				return true
			}
		}
	}
	return false
}

// NextVersion returns the version after newest that a bump makes; the first is 1.0.0.
func NextVersion(newest, bump string) (string, error) {
	if newest == "" {
		return "1.0.0", nil
	}
	v, err := semver.StrictNewVersion(newest)
	if err != nil {
		return "", err
	}
	switch bump {
	case "major":
		return v.IncMajor().String(), nil
	case "minor":
		return v.IncMinor().String(), nil
	}
	return v.IncPatch().String(), nil
}

// Newest returns the newest certified version in the range, or a fault that says what there is.
func Newest(name, wanted string, versions []Version) (Version, error) {
	constraint, err := semver.NewConstraint(wanted)
	if err != nil {
		return Version{}, fault.New(fault.Invalid, "pattern.range_invalid", "%q is not a range of versions.", wanted).Do("Write for example ~1.4, ^1.2 or 1.4.2.")
	}
	var best *semver.Version
	var found Version
	there := []string{}
	for _, v := range versions {
		if v.State != Certified {
			continue
		}
		there = append(there, v.Version)
		parsed, err := semver.StrictNewVersion(v.Version)
		if err == nil && constraint.Check(parsed) && (best == nil || parsed.GreaterThan(best)) {
			best, found = parsed, v
		}
	}
	if best == nil {
		f := fault.New(fault.Conflict, "pattern.nothing_in_range", "No certified version of %s is in the range %s.", name, wanted)
		if len(there) == 0 {
			return found, f.Do("None is certified yet.")
		}
		return found, f.Do("Certified are %s. Use one of them, or change the pattern.", strings.Join(there, ", "))
	}
	return found, nil
}
