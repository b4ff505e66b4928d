package app

import (
	"fmt"
	"slices"
	"strings"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/pattern"
)

// WithoutValue returns the variables that a version needs and that have no value in an environment: coe those that
// the Center of Excellence sets there, team those that a team sets and own does not. Secrets have their own check, and
// the platform sets the artifact.
func WithoutValue(v pattern.Version, e Environment, own map[string]any) (coe, team []string) {
	for _, needed := range v.Interface.Variables {
		if !needed.Required || needed.Secret || needed.Name == v.Manifest.Spec.Artifact.Variable {
			continue
		}
		_, given := own[needed.Name]
		_, set := e.Values[needed.Name]
		switch {
		case given || set:
		case needed.Control == "coe":
			coe = append(coe, needed.Name)
		case needed.Control == "team":
			team = append(team, needed.Name)
		}
	}
	return coe, team
}

// NoEnvironmentValue says which values of the Center of Excellence an environment lacks for a version, and the command
// that sets them.
func NoEnvironmentValue(v pattern.Version, environment string, names []string) (sentence, command string) {
	sets := ""
	for _, name := range names {
		sets += " --set " + name + "=VALUE"
	}
	return fmt.Sprintf("%s has no value of %s, which %s %s needs.", environment, strings.Join(names, ", "), v.Pattern, v.Version),
		"flywheel environment update " + environment + sets
}

// CheckEnvironmentValues refuses environments that lack a value which every app of the version needs there.
func CheckEnvironmentValues(v pattern.Version, environments []Environment, chosen []string) error {
	for _, e := range InOrder(environments) {
		if !slices.Contains(chosen, e.Name) {
			continue
		}
		if coe, _ := WithoutValue(v, e, nil); len(coe) > 0 {
			sentence, command := NoEnvironmentValue(v, e.Name, coe)
			return fault.New(fault.Conflict, "environment.value_missing", "%s", sentence).Do("Somebody of the Center of Excellence sets it: %s. Or leave that environment out.", command)
		}
	}
	return nil
}
