package manifest

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"flywheel.dev/flywheel/internal/fault"
)

// File is a flywheel.yaml that is being edited. Comments and order stay as people wrote them.
type File struct {
	name string
	tree *ast.File
}

// Open reads a flywheel.yaml for editing. It must be valid.
func Open(name string, content []byte) (*File, error) {
	if _, err := ParseApp(name, content); err != nil {
		return nil, err
	}
	tree, err := parser.ParseBytes(content, parser.ParseComments)
	return &File{name, tree}, err
}

// Bytes returns the edited text.
func (f *File) Bytes() []byte {
	return []byte(strings.TrimRight(f.tree.String(), "\n") + "\n")
}

// SetVersion sets the range of pattern versions.
func (f *File) SetVersion(wanted string) error {
	p, err := yaml.PathString("$.spec.pattern.version")
	if err != nil {
		return err
	}
	node, err := yaml.ValueToNode(wanted)
	if err != nil {
		return err
	}
	return p.ReplaceWithNode(f.tree, node)
}

// SetVariable sets a variable of an environment that the app selects; nil takes it back to its default.
func (f *File) SetVariable(environment, variable string, value any) error {
	return f.environments(func(all map[string]any) error {
		e, selected := all[environment]
		if !selected {
			return fault.New(fault.Invalid, "environment.not_selected", "The app does not select the environment %q.", environment).Do("Add it under `environments` in flywheel.yaml first.")
		}
		own, _ := e.(map[string]any)
		if own == nil {
			own = map[string]any{}
		}
		variables, _ := own["variables"].(map[string]any)
		if variables == nil {
			variables = map[string]any{}
		}
		if value == nil {
			delete(variables, variable)
		} else {
			variables[variable] = value
		}
		own["variables"] = variables
		all[environment] = own
		return nil
	})
}

// RemoveEnvironment takes an environment out.
func (f *File) RemoveEnvironment(environment string) error {
	return f.environments(func(all map[string]any) error {
		if _, selected := all[environment]; !selected {
			return fault.New(fault.Invalid, "environment.not_selected", "The app is not in the environment %q.", environment)
		}
		delete(all, environment)
		return nil
	})
}

// RemoveEnvironments takes all environments out: the app is to run nowhere.
func (f *File) RemoveEnvironments() error {
	return f.environments(func(all map[string]any) error { clear(all); return nil })
}

// environments edits the block `environments` as a value and writes it back. Comments outside it stay.
func (f *File) environments(edit func(map[string]any) error) error {
	p, err := yaml.PathString("$.spec.environments")
	if err != nil {
		return err
	}
	node, err := p.FilterFile(f.tree)
	if err != nil {
		return fault.New(fault.Conflict, "manifest.no_environments", "%s selects no environments.", f.name)
	}
	var value any
	if err := yaml.NodeToValue(node, &value); err != nil {
		return err
	}
	// Through JSON, so that every map has string keys.
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	all := map[string]any{}
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	if err := edit(all); err != nil {
		return err
	}
	replacement, err := yaml.ValueToNode(all, yaml.IndentSequence(true))
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	return p.ReplaceWithNode(f.tree, replacement)
}
