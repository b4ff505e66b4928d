package pattern

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"flywheel.dev/flywheel/internal/manifest"
)

// How much of a version number a difference moves.
const (
	patch = iota
	minor
	major
)

// differences collects how two interfaces differ.
type differences struct {
	rank    int
	reasons []string
}

func (d *differences) note(rank int, format string, args ...any) {
	d.rank = max(d.rank, rank)
	d.reasons = append(d.reasons, fmt.Sprintf(format, args...))
}

// Compare says how the new interface differs from the old one, with its reasons. Removed or newly
// required variables, narrower bounds or types, and removed outputs break those who use the pattern:
// major. New optional variables, wider bounds and new outputs are minor; all else is a patch.
func Compare(old, new Interface) (bump string, reasons []string) {
	d := &differences{}
	before := map[string]Variable{}
	for _, v := range old.Variables {
		before[v.Name] = v
	}
	for _, v := range new.Variables {
		o, existed := before[v.Name]
		delete(before, v.Name)
		switch {
		case existed:
			d.variable(o, v)
		case v.Required && v.Secret:
			d.note(major, "new required variable %s, a secret of every %s", v.Name, map[string]string{"team": "app", "coe": "environment"}[v.Control])
		case v.Required && v.Control == "team":
			d.note(major, "new required variable %s", v.Name)
		case v.Required && v.Control == "coe":
			d.note(major, "new required variable %s, a value of every environment", v.Name)
		default:
			d.note(minor, "new variable %s", v.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		d.note(major, "variable %s is removed", name)
	}
	for _, name := range without(new.Credentials, old.Credentials) {
		d.note(major, "new credential %s, a secret of every environment", name)
	}
	for _, name := range without(old.Credentials, new.Credentials) {
		d.note(minor, "the credential %s is not needed any more", name)
	}
	d.outputs(old, new)
	if d.reasons == nil {
		d.reasons = []string{"the interface is unchanged"}
	}
	return []string{"patch", "minor", "major"}[d.rank], d.reasons
}

// without returns the names that are not among the others.
func without(names, others []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(others, name) })
}

func (d *differences) outputs(old, new Interface) {
	for _, name := range without(old.outputNames(), new.outputNames()) {
		d.note(major, "output %s is removed", name)
	}
	for _, o := range new.Outputs {
		at := slices.IndexFunc(old.Outputs, func(before Output) bool { return before.Name == o.Name })
		if at < 0 {
			d.note(minor, "new output %s", o.Name)
			continue
		}
		before := old.Outputs[at]
		switch {
		case !before.Ephemeral && o.Ephemeral:
			d.note(major, "output %s becomes ephemeral: no state keeps it", o.Name)
		case before.Ephemeral && !o.Ephemeral:
			d.note(minor, "output %s is ephemeral no longer: states keep it", o.Name)
		}
		switch {
		case !before.Sensitive && o.Sensitive:
			d.note(minor, "output %s becomes sensitive: it is shown no more", o.Name)
		case before.Sensitive && !o.Sensitive:
			d.note(minor, "output %s is sensitive no longer: it is shown", o.Name)
		}
		d.deprecated("output "+o.Name, before.Deprecated, o.Deprecated)
	}
}

func (d *differences) deprecated(what, old, new string) {
	switch {
	case old == new:
	case old == "":
		d.note(minor, "%s is deprecated: %s", what, new)
	case new == "":
		d.note(patch, "%s is deprecated no longer", what)
	default:
		d.note(patch, "%s is deprecated in other words: %s", what, new)
	}
}

func (d *differences) variable(old, new Variable) {
	before, known := parseType(old.Type)
	after, readable := parseType(new.Type)
	if known && readable {
		d.types("variable "+new.Name, before, after)
	} else if words(old.Type) != words(new.Type) { // one that was stored before types were read
		d.note(major, "variable %s changes its type from %s to %s", new.Name, words(old.Type), words(new.Type))
	}
	switch {
	case old.Nullable == nil && new.Nullable != nil:
		d.note(major, "variable %s takes null no longer", new.Name)
	case old.Nullable != nil && new.Nullable == nil:
		d.note(minor, "variable %s takes null", new.Name)
	}
	switch {
	case !old.Sensitive && new.Sensitive:
		d.note(patch, "variable %s becomes sensitive: it is shown no more", new.Name)
	case old.Sensitive && !new.Sensitive:
		d.note(minor, "variable %s is sensitive no longer: it is shown", new.Name)
	}
	switch {
	case old.Secret != new.Secret: // said below
	case !old.Ephemeral && new.Ephemeral:
		d.note(patch, "variable %s becomes ephemeral: no plan and no state keeps it", new.Name)
	case old.Ephemeral && !new.Ephemeral:
		d.note(minor, "variable %s is ephemeral no longer: plans and states keep it", new.Name)
	}
	d.deprecated("variable "+new.Name, old.Deprecated, new.Deprecated)
	switch {
	case !old.Required && new.Required:
		d.note(major, "variable %s becomes required", new.Name)
	case old.Required && !new.Required:
		d.note(minor, "variable %s becomes optional", new.Name)
	case old.Sensitive != new.Sensitive || old.Ephemeral != new.Ephemeral: // one of the defaults is not kept
	case !manifest.Same(old.Default, new.Default):
		d.note(patch, "the default of variable %s changes", new.Name)
	}
	switch {
	case old.Control == new.Control:
	case old.Control == "team":
		d.note(major, "variable %s is no longer the team's", new.Name)
	default:
		d.note(minor, "variable %s is now controlled by %s", new.Name, map[string]string{"team": "the team", "coe": "the Center of Excellence", "platform": "the pattern itself"}[new.Control])
	}
	switch {
	case !old.Secret && new.Secret:
		d.note(major, "variable %s becomes a secret", new.Name)
	case old.Secret && !new.Secret:
		d.note(major, "variable %s is a secret no longer", new.Name)
	}
	d.bounds(old, new)
}

// bounds compares what is allowed, everywhere and in each class of environments.
func (d *differences) bounds(old, new Variable) {
	added := []string{}
	for _, c := range new.Conditions {
		if !slices.Contains(old.Conditions, c) {
			added = append(added, c)
		}
	}
	if len(added) > 0 {
		d.note(major, "variable %s has a new validation: %s", new.Name, strings.Join(added, "; "))
	} else if len(new.Conditions) < len(old.Conditions) {
		d.note(minor, "variable %s has a validation less", new.Name)
	}
	if narrower(old.Bounds, new.Bounds) {
		d.note(major, "the bounds of variable %s are narrower", new.Name)
		return
	}
	wider := !sameBounds(old.Bounds, new.Bounds)
	classes := map[string]bool{}
	for class := range old.Classes {
		classes[class] = true
	}
	for class := range new.Classes {
		classes[class] = true
	}
	for _, class := range slices.Sorted(maps.Keys(classes)) {
		before, after := old.bounds(class), new.bounds(class)
		if narrower(before, after) {
			d.note(major, "the bounds of variable %s are narrower in %s", new.Name, class)
			wider = false
		} else if !sameBounds(before, after) {
			wider = true
		}
	}
	if wider {
		d.note(minor, "the bounds of variable %s are wider", new.Name)
	}
}

func sameBounds(a, b manifest.Values) bool { return !narrower(a, b) && !narrower(b, a) }

// narrower reports whether new bounds exclude a value that the old ones allow, as far as their keywords
// tell; a keyword it does not know counts as narrower when it is added or changed.
func narrower(old, new manifest.Values) bool {
	for _, key := range slices.Sorted(maps.Keys(new)) {
		o, had := old[key]
		if !had {
			if key == "const" || key == "enum" {
				if allOf(old, new[key], key) {
					continue
				}
			}
			return true
		}
		order, _ := manifest.Compare(new[key], o)
		switch key {
		case "minimum", "exclusiveMinimum", "minLength", "minItems":
			if order > 0 {
				return true
			}
		case "maximum", "exclusiveMaximum", "maxLength", "maxItems":
			if order < 0 {
				return true
			}
		case "enum":
			if !subset(o, new[key]) {
				return true
			}
		default:
			if !manifest.Same(o, new[key]) {
				return true
			}
		}
	}
	return false
}

// allOf reports whether a list of values replaces another one that it contains: const by enum and back.
func allOf(old map[string]any, allowed any, key string) bool {
	if key == "const" {
		allowed = []any{allowed}
	}
	before := old["enum"]
	if c, ok := old["const"]; ok {
		before = []any{c}
	}
	return before != nil && subset(before, allowed)
}

func subset(of, in any) bool {
	values, _ := of.([]any)
	allowed, _ := in.([]any)
	for _, v := range values {
		if !slices.ContainsFunc(allowed, func(a any) bool { return manifest.Same(a, v) }) {
			return false
		}
	}
	return true
}
