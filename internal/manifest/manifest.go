// Package manifest reads the two files a user writes: pattern.yaml, beside the module of a pattern, and
// flywheel.yaml, at the root of an app's repository.
//
// Both have a published JSON Schema (folder schema), which editors use and which Parse checks first.
// Every problem names file, line and column and says what to do. A manifest says nothing about types
// and defaults of variables: those stay in the module.
//
// Deliberately absent: anything the platform knows. Whether a pattern, a version or an environment
// exists is for the packages above.
package manifest

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

//go:embed schema/*.json
var schemas embed.FS

// What is read of a manifest at most. Every limit is far above what people write; they bound the time and
// memory that a hostile file costs.
const (
	Limit        = 64 << 10 // bytes
	deepest      = 100      // levels of nesting
	largestValue = 10_000   // values after every alias is replaced by what it stands for
)

// Metadata names the thing that a manifest describes.
type Metadata struct {
	Name  string `json:"name"`
	Title string `json:"title,omitempty"`
	Owner string `json:"owner,omitempty"`
	Team  string `json:"team,omitempty"`
}

// Pattern is pattern.yaml.
type Pattern struct {
	Metadata Metadata    `json:"metadata"`
	Spec     PatternSpec `json:"spec"`

	compiled sync.Map // bounds as a schema, by variable and class: campaigns check thousands of instances
}

// PatternSpec is the governance of a pattern.
type PatternSpec struct {
	Variables map[string]Variable `json:"variables"`
	Artifact  struct {
		Variable string `json:"variable"`
	} `json:"artifact"`
	Release Release `json:"release"`
	// Credentials are secrets of the environment that the engine gets, as variables of its environment.
	Credentials []string       `json:"credentials,omitempty"`
	Stateful    []string       `json:"stateful"`
	Approvals   map[string]int `json:"approvals"`
	Skeleton    string         `json:"skeleton"`
	Tests       Tests          `json:"tests,omitzero"`
}

// Tests says what a team may do about the tests of its app.
type Tests struct {
	Removal Who `json:"removal,omitempty"` // who releases a change with which an app is tested less
}

// Who releases something. Nobody is named where it is empty, and that is an owner of the team.
type Who string

const (
	Free  Who = "free"  // nobody has to
	Owner Who = "owner" // of the team
	CoE   Who = "coe"
)

// Stricter returns the stricter one of two rules.
func Stricter(a, b Who) Who {
	rank := func(w Who) int {
		switch w {
		case Free:
			return 0
		case CoE:
			return 2
		}
		return 1
	}
	if rank(b) > rank(a) {
		a = b
	}
	if rank(a) == 1 {
		return Owner
	}
	return a
}

// Release says how a software-lane change rolls out.
type Release struct {
	Driver string `json:"driver"`
	Output string `json:"output,omitempty"`
	URL    string `json:"url,omitempty"`
	Health string `json:"health,omitempty"`

	// For the driver command.
	Command []string          `json:"command,omitempty"`
	Secrets map[string]string `json:"secrets,omitempty"` // name in the command's environment → secret of the app
	Timeout int               `json:"timeout,omitempty"` // seconds
}

// Variable says who controls a variable, and its bounds. Bounds are JSON Schema keywords.
type Variable struct {
	Control     string            `json:"control"`
	Secret      bool              `json:"secret,omitempty"` // its value is the secret of its name
	Description string            `json:"description,omitempty"`
	Bounds      Values            `json:"-"`
	Classes     map[string]Values `json:"classes,omitempty"`
}

// UnmarshalJSON keeps the bounds apart from what the platform reads.
func (v *Variable) UnmarshalJSON(data []byte) error {
	type plain Variable
	if err := json.Unmarshal(data, (*plain)(v)); err != nil {
		return err
	}
	if err := json.Unmarshal(data, &v.Bounds); err != nil {
		return err
	}
	delete(v.Bounds, "control")
	delete(v.Bounds, "secret")
	delete(v.Bounds, "description")
	delete(v.Bounds, "classes")
	return nil
}

// MarshalJSON writes the bounds beside the other fields, as in the file.
func (v Variable) MarshalJSON() ([]byte, error) {
	out := map[string]any{"control": v.Control}
	for k, b := range v.Bounds {
		out[k] = b
	}
	if v.Secret {
		out["secret"] = true
	}
	if v.Description != "" {
		out["description"] = v.Description
	}
	if len(v.Classes) > 0 {
		out["classes"] = v.Classes
	}
	return json.Marshal(out)
}

// CenterOfExcellence is the owner of a pattern that no team owns.
const CenterOfExcellence = "coe"

// Owner returns who looks after the pattern: a team, or the Center of Excellence.
func (p *Pattern) Owner() string {
	if p.Metadata.Owner == "" {
		return CenterOfExcellence
	}
	return p.Metadata.Owner
}

// Approvals returns how many approvals a change of the pattern needs, by discipline. One of each is the
// rule where the file says nothing.
func (p *Pattern) Approvals() map[string]int {
	needed := map[string]int{"security": 1, "operations": 1, "development": 1}
	for discipline, n := range p.Spec.Approvals {
		needed[discipline] = n
	}
	return needed
}

// App is flywheel.yaml.
type App struct {
	Metadata     Metadata               `json:"metadata"`
	Pattern      PatternRef             `json:"pattern"`
	Build        Build                  `json:"build"`
	Test         Test                   `json:"test"`
	Merge        string                 `json:"merge"`
	Environments map[string]Environment `json:"environments"`

	document *document
}

// Place returns where the value of a variable stands: file, line and column.
func (a *App) Place(environment, variable string, inside ...string) string {
	if a.document == nil {
		return ""
	}
	return a.document.find(append([]string{"spec", "environments", environment, "variables", variable}, inside...), false)
}

// PatternRef names a pattern and a range of its versions.
type PatternRef struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Build says how the artifact is made.
type Build struct {
	Fetch      string   `json:"fetch,omitempty"`
	Command    string   `json:"command,omitempty"`
	Artifact   string   `json:"artifact,omitempty"`
	Outer      string   `json:"outer,omitempty"` // check of an outer CI that builds and tests instead
	Toolchains []string `json:"toolchains,omitempty"`
}

// Test says how the artifact is tested, before and after it is deployed.
type Test struct {
	Command string `json:"command,omitempty"`
	Smoke   string `json:"smoke,omitempty"`
}

// Environment is what a team sets for one environment.
type Environment struct {
	Variables Values `json:"variables"` // as they were typed: the module's types decide what they are
}

// Schemas returns the published JSON Schemas, by name: "pattern.schema.json" and "app.schema.json".
func Schemas() map[string][]byte {
	out := map[string][]byte{}
	for _, name := range []string{"pattern.schema.json", "app.schema.json"} {
		b, err := schemas.ReadFile("schema/" + name)
		if err != nil {
			panic(err) // embedded above
		}
		out[name] = b
	}
	return out
}

var compiled = sync.OnceValue(func() map[string]*jsonschema.Schema {
	c := jsonschema.NewCompiler()
	out := map[string]*jsonschema.Schema{}
	for name, text := range Schemas() {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err == nil {
			err = c.AddResource(name, doc)
		}
		if err == nil {
			out[strings.TrimSuffix(name, ".schema.json")], err = c.Compile(name)
		}
		if err != nil {
			panic(fmt.Sprintf("manifest: %s: %v", name, err)) // a test compiles them
		}
	}
	return out
})
