package cli

import (
	"context"
	"encoding/json"
	"path/filepath"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"flywheel.dev/flywheel/internal/fault"
)

// push sends a folder to the repository of what its manifest describes, without git.
func (s *shell) push(noun, plural, file string) *cobra.Command {
	var body struct {
		Branch  string            `json:"branch,omitempty"`
		Message string            `json:"message,omitempty"`
		Files   map[string]string `json:"files"`
	}
	var watch bool
	c := &cobra.Command{
		Use: "push FOLDER", Short: "Push the folder of " + noun + " without git, to your open change or as a new one",
		Long: "Push a folder, with " + file + " at its root, as the whole content of a branch. It goes to your open change, so that\n" +
			"a correction is checked as its next revision, or it becomes a new change. Files have to be text; others go by git.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			if body.Files, err = readFolder(args[0]); err != nil {
				return err
			}
			var m struct {
				Metadata struct{ Name string }
			}
			if err := yaml.Unmarshal([]byte(body.Files[file]), &m); err != nil || m.Metadata.Name == "" {
				return fault.New(fault.Invalid, "cli.folder", "There is no %s with metadata.name in %s.", file, filepath.Clean(args[0])).Do("Check it: flywheel validate %s", filepath.Join(args[0], file))
			}
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.post(ctx, path(plural, m.Metadata.Name, "folder"), body, &raw); err != nil {
					return err
				}
				var made change
				if err := understand(raw, &made); err != nil {
					return err
				}
				if watch {
					return s.watchChange(c, api, made.ID, false)
				}
				if err := s.show(c, raw, func(p *page) { changeSummary(p, made) }); err != nil {
					return err
				}
				note(c, "Follow it: flywheel change watch %s", made.ID)
				return nil
			})
		},
	}
	f := c.Flags()
	f.StringVar(&body.Branch, "branch", "", "branch that gets it, if not that of your open change")
	f.StringVarP(&body.Message, "message", "m", "", "what it is about")
	f.BoolVar(&watch, "watch", false, "follow it until it is done or somebody has to decide")
	return c
}
