package cli

import (
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/plain"
)

// checked is what validate says about one file.
type checked struct {
	File     string        `json:"file"`
	Valid    bool          `json:"valid"`
	Problems []fault.Field `json:"problems"`
	message  string
	remedy   string
}

func (s *shell) validateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "validate [FILE…]", Short: "Check flywheel.yaml or pattern.yaml, without a server",
		Long: `Check the two files that people write. Every problem is shown with its line and column and what to do.
Without a file, the flywheel.yaml and pattern.yaml of this folder are checked; - is standard input.`,
		Example: "  flywheel validate\n  flywheel validate flywheel.yaml -o json",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				for _, name := range []string{"flywheel.yaml", "pattern.yaml"} {
					if _, err := os.Stat(name); err == nil {
						args = append(args, name)
					}
				}
				if len(args) == 0 {
					return fault.New(fault.NotFound, "cli.no_manifest", "There is neither a flywheel.yaml nor a pattern.yaml in this folder.").
						Do("Name the file: flywheel validate FILE.")
				}
			}
			results, failed := []checked{}, false
			for _, file := range args {
				r, err := checkFile(file, c.InOrStdin())
				if err != nil {
					return err
				}
				failed = failed || !r.Valid
				results = append(results, r)
			}
			err := s.show(c, results, func(p *page) {
				for _, r := range results {
					r.print(p)
				}
			})
			if err == nil && failed {
				err = exitError(Failed)
			}
			return err
		},
	}
}

func (r checked) print(p *page) {
	if r.Valid {
		p.line("%s %s", p.mark("passed"), r.File)
		return
	}
	p.line("%s %s", p.mark("failed"), r.message)
	for _, problem := range r.Problems {
		p.line("  %s: %s", problem.Path, problem.Message)
	}
	if r.remedy != "" {
		p.line("%s", r.remedy)
	}
}

func checkFile(file string, stdin io.Reader) (r checked, err error) {
	var content []byte
	name := file
	if file == "-" {
		name = "standard input"
		content, err = io.ReadAll(io.LimitReader(stdin, manifest.Limit+1))
	} else {
		if info, statErr := os.Stat(file); statErr == nil && info.IsDir() {
			found := filepath.Join(file, "pattern.yaml")
			if _, err := os.Stat(found); err != nil {
				found = filepath.Join(file, "flywheel.yaml")
			}
			return r, usage("%s is a folder. Name the file in it: %s.", file, found)
		}
		content, err = os.ReadFile(file)
	}
	if err != nil {
		return r, err
	}
	r = checked{File: name, Valid: true, Problems: []fault.Field{}}
	if err := manifest.Check(name, content); err != nil {
		f := fault.From(err)
		if f.Kind == fault.Internal {
			return r, err
		}
		r.Valid, r.message, r.Problems = false, f.Message, append(r.Problems, f.Fields...)
		// The usual remedy of this fault is to run this command.
		r.remedy = "Correct " + plain.Count(len(f.Fields), "place above", "places above") + "; editors complete it with the schema at /schemas/ of a server."
	}
	return r, nil
}
