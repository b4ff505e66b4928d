package cli

import (
	"context"
	"encoding/json"
	"os"

	"github.com/spf13/cobra"
)

func (s *shell) artifactCommand() *cobra.Command {
	var app, commit string
	upload := &cobra.Command{
		Use: "upload FILE --app APP --commit COMMIT", Short: "Upload an artifact that an outer CI has built",
		Long:    "Upload an artifact (a gzipped tar archive) that an outer CI has built and tested from a commit. A change\nof that content uses it in place of a build.",
		Example: "  tar -czf dist.tgz -C dist . && flywheel artifact upload dist.tgz --app storefront --commit $(git rev-parse HEAD)", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			file, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer file.Close()
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.upload(ctx, path("artifacts")+"?"+query("app", app, "commit", commit).Encode(), "application/gzip", file, &raw); err != nil {
					return err
				}
				return one(s, c, raw, func(p *page, v struct {
					Digest string
					Size   int64
				}) {
					p.fields("artifact", v.Digest, "size", size(v.Size))
				})
			})
		},
	}
	upload.Flags().StringVar(&app, "app", "", "app it belongs to")
	upload.Flags().StringVar(&commit, "commit", "", "commit it was built from")
	must(upload.MarkFlagRequired("app"), upload.MarkFlagRequired("commit"))
	c := &cobra.Command{Use: "artifact", Short: "Artifacts: upload"}
	c.AddCommand(upload)
	return c
}

// size says how large something is.
func size(n int64) string {
	switch {
	case n >= 1<<20:
		return number(n>>20) + " MiB"
	case n >= 1<<10:
		return number(n>>10) + " KiB"
	}
	return number(n) + " bytes"
}
