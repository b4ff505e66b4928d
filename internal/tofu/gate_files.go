package tofu

import (
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// kind is what a file of a module is to the engines, by its name.
type kind int

const (
	ignored       kind = iota // no engine reads it
	configuration             // of a module
	tests                     // run blocks
	mocks                     // made-up values for tests
	refused                   // it would make the module another one than the other files show
)

// kindOf returns the kind of a file, and why it is refused if it is.
func kindOf(name string) (k kind, why string) {
	ends := func(ends ...string) bool {
		for _, end := range ends {
			if strings.HasSuffix(name, end) {
				return true
			}
		}
		return false
	}
	switch {
	// Hidden files and those that editors leave behind.
	case strings.HasPrefix(name, "."), strings.HasSuffix(name, "~"), strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#"):
		return ignored, ""
	case ends(".tofu", ".tofu.json", ".tofutest.hcl", ".tofutest.json"):
		return refused, "Only OpenTofu reads this file, so the pattern would be another one with Terraform. Write it in *.tf files."
	case ends(".tftest.hcl", ".tftest.json"):
		return tests, ""
	case ends(".tfmock.hcl", ".tfmock.json"):
		return mocks, ""
	case !ends(".tf", ".tf.json"):
		return ignored, ""
	}
	base := strings.TrimSuffix(strings.TrimSuffix(name, ".json"), ".tf")
	if base == "override" || strings.HasSuffix(base, "_override") {
		return refused, "This file overrides what the other files show. Change those instead."
	}
	return configuration, ""
}

// ModuleFiles returns the names of the files of configuration in a module's folder, as both engines read it,
// and a problem for every file that a pattern must not have there.
func ModuleFiles(dir string) (names []string, problems []Problem, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		switch k, why := kindOf(e.Name()); {
		case e.IsDir():
		case k == configuration:
			names = append(names, e.Name())
		case k == refused:
			problems = append(problems, Problem{Code: "gate.file", Message: why, File: e.Name()})
		}
	}
	g := newGate(dir, Allow{})
	g.values(".")
	g.values("tests")
	return names, append(problems, g.problems...), nil
}

// values refuses files of values in a folder. The engines read them by themselves, hidden ones too, so a value
// there would be one that nobody checked against the bounds.
func (g *gate) values(dir string) {
	entries, err := os.ReadDir(filepath.Join(g.root, dir))
	if err != nil {
		return // there need be no tests
	}
	for _, e := range entries {
		name := e.Name()
		plain := strings.TrimSuffix(name, ".json")
		if !e.IsDir() && (plain == "terraform.tfvars" || strings.HasSuffix(plain, ".auto.tfvars")) {
			g.refuse("values", hcl.Range{Filename: path.Join(dir, name)}, "The engine takes values from this file past every bound. Write defaults into the variables, and values for tests into variables blocks.")
		}
	}
}
