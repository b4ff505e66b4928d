package manifest

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"flywheel.dev/flywheel/internal/plain"
)

// check adds what the schema cannot say about a flywheel.yaml.
func (a *App) check(d *document) {
	if _, err := ParseRange(a.Pattern.Version); err != nil {
		d.note([]string{"spec", "pattern", "version"}, "%s", err)
	}
	if b := a.Build; b.Outer != "" {
		if b.Fetch+b.Command+b.Artifact+a.Test.Command != "" || len(b.Toolchains) > 0 {
			d.note([]string{"spec", "build", "outer"}, "spec.build.outer has an outer CI build and test; take fetch, command, artifact, toolchains and test.command out")
		}
		if !CheckName(b.Outer) {
			d.note([]string{"spec", "build", "outer"}, "%q cannot be the name of a check: use letters and digits of ASCII, single spaces, and . _ : / + - ( ) , = @ #", plain.Line(b.Outer))
		}
		if OwnCheck(b.Outer) {
			d.note([]string{"spec", "build", "outer"}, "%q is the name of a check that Flywheel runs itself; choose another", b.Outer)
		}
	}
}

var checkName = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9._:/+(),=@#-]| ?[A-Za-z0-9(])*$`)

// CheckName reports whether an outer check may have the name: no two names may look the same to a person.
func CheckName(name string) bool { return len(name) <= 60 && checkName.MatchString(name) }

// OwnCheck reports whether the name is one of a check of an app change that the platform runs itself. No
// outer check may have it.
func OwnCheck(name string) bool {
	switch name = strings.ToLower(name); name {
	case "lane", "tests", "policy", "plan":
		return true
	}
	return strings.HasPrefix(name, "plan:") // of an environment
}

// check adds what the schema cannot say about a pattern.yaml.
func (p *Pattern) check(d *document) {
	for _, name := range slices.Sorted(maps.Keys(p.Spec.Variables)) {
		v := p.Spec.Variables[name]
		path := []string{"spec", "variables", name}
		if name == p.Spec.Artifact.Variable {
			d.note(path, "spec.variables.%s is the artifact, which Flywheel sets; take one of the two out", name)
		}
		if v.Control == "coe" && len(v.Classes) > 0 {
			d.note(append(path, "classes"), "spec.variables.%s.classes bounds teams, but no team sets this variable", name)
		}
		if v.Secret && len(v.Bounds)+len(v.Classes) > 0 {
			d.note(append(slices.Clone(path), "secret"), "spec.variables.%s is a secret, so nobody can compare it with bounds; take them out", name)
		}
		checkBounds(d, path, v.Bounds)
		for class, own := range v.Classes {
			checkBounds(d, append(slices.Clone(path), "classes", class), own)
			for _, pair := range ranges {
				if contradict(v.BoundsFor(class), pair) && !contradict(v.Bounds, pair) && !contradict(own, pair) {
					d.note(append(slices.Clone(path), "classes", class), "nothing is allowed in %s: %s is larger than %s", class, pair[0], pair[1])
				}
			}
		}
	}
	for i, name := range p.Spec.Credentials {
		if reserved(name) {
			d.note([]string{"spec", "credentials", strconv.Itoa(i)}, "%s is what Flywheel itself tells the engine; no secret can have that name", name)
		}
	}
	p.checkRelease(d)
}

// reserved reports whether a variable of the engine's environment is Flywheel's own, or says what programs are loaded.
func reserved(name string) bool {
	for _, begin := range []string{"TF_", "LD_", "FLYWHEEL_"} {
		if strings.HasPrefix(name, begin) {
			return true
		}
	}
	return slices.Contains([]string{"PATH", "HOME", "LANG", "GOGC", "GOMEMLIMIT", "CHECKPOINT_DISABLE"}, name)
}

var ranges = [][2]string{{"minimum", "maximum"}, {"minLength", "maxLength"}, {"minItems", "maxItems"}}

func contradict(bounds Values, pair [2]string) bool {
	low, hasLow := bounds[pair[0]]
	high, hasHigh := bounds[pair[1]]
	order, numbers := Compare(low, high)
	return hasLow && hasHigh && numbers && order > 0
}

// checkBounds refuses bounds that no value meets, and a regular expression that is none.
func checkBounds(d *document, path []string, bounds Values) {
	for _, pair := range ranges {
		if contradict(bounds, pair) {
			d.note(append(slices.Clone(path), pair[0]), "nothing is allowed: %s is larger than %s", pair[0], pair[1])
		}
	}
	if text, ok := bounds["pattern"].(string); ok {
		if _, err := regexp.Compile(text); err != nil {
			d.note(append(slices.Clone(path), "pattern"), "%s is not a regular expression that can be used here: %v", strconv.Quote(text), err)
		}
	}
}

var variableName = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)

// checkRelease refuses a driver without what it needs.
func (p *Pattern) checkRelease(d *document) {
	r, path := p.Spec.Release, []string{"spec", "release"}
	switch {
	case r.Driver == "":
		return
	case r.Driver == "local" && r.Output == "":
		d.note(path, "the driver local needs output: the output of the module that is the id of the flywheel_service")
	case r.Driver == "command" && len(r.Command) == 0:
		d.note(path, "the driver command needs command: the rollout command as a list")
	case r.Driver == "command" && r.URL == "":
		d.note(path, "the driver command needs url: the output of the module with the address that is probed after a rollout")
	case r.Driver != "command" && len(r.Command) > 0:
		d.note(append(path, "command"), "command is for the driver command, and this is %s", r.Driver)
	case r.Driver != "command" && len(r.Secrets) > 0:
		d.note(append(path, "secrets"), "secrets is for the driver command, and this is %s", r.Driver)
	case r.Driver != "command" && r.Timeout > 0:
		d.note(append(path, "timeout"), "timeout is for the driver command, and this is %s", r.Driver)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Secrets)) {
		if !variableName.MatchString(name) {
			d.note(append(slices.Clone(path), "secrets", name), "%q cannot name a variable of the command's environment; use capital letters, digits and _", name)
		}
	}
	if p.Spec.Artifact.Variable == "" {
		d.note(path, "a release needs an artifact: name its variable as spec.artifact.variable")
	}
}
