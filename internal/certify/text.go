package certify

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"flywheel.dev/flywheel/internal/plain"
	"flywheel.dev/flywheel/internal/tofu"
)

// readAsText are the files that are read as text by the platform or by people who decide. Scripts and templates may
// need other characters; a diff shows those as marks.
var readAsText = []string{".tf", ".tofu", ".hcl", ".tfvars", ".json", ".yaml", ".yml", ".md", ".txt", ".rego"}

// hidden returns where a file hides something from people, one place for each file.
func hidden(dir string) (problems []tofu.Problem, err error) {
	err = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name := strings.ToLower(d.Name())
		if !slices.Contains(readAsText, path.Ext(name)) && !slices.Contains([]string{"readme", "license", "codeowners", ".gitattributes"}, name) {
			return nil
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		at, found := plain.Find(content)
		if !found {
			return nil
		}
		rel, err := filepath.Rel(dir, file)
		problems = append(problems, tofu.Problem{File: filepath.ToSlash(rel), Line: at.Line, Column: at.Column, Code: "gate.hidden_text", Message: at.What})
		return err
	})
	return problems, err
}
