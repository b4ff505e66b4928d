package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"flywheel.dev/flywheel/internal/local"
)

func (s *shell) artifactCommand() *cobra.Command {
	var app string
	upload := &cobra.Command{
		Use: "upload FOLDER|FILE", Short: "Upload what an outer CI built, or what a pattern runs beside the app",
		Long: `Upload an artifact (what an outer CI built for an app, or what patterns run beside the app) and
print its digest. A folder is packed: the same content gives the same digest. A file is sent as it
is and must be a gzipped tar archive.`,
		Example: "  flywheel artifact upload dist/ --app storefront\n  flywheel artifact upload bin/searchd/", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			file, err := artifactFile(args[0])
			if err != nil {
				return err
			}
			defer file.Close()
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				where := path("artifacts")
				if app != "" {
					where += "?" + url.Values{"app": {app}}.Encode()
				}
				if err := api.upload(ctx, where, "application/gzip", file, &raw); err != nil {
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
	upload.Flags().StringVar(&app, "app", "", "app whose outer CI built it; without it patterns may run it")
	c := &cobra.Command{Use: "artifact", Short: "Artifacts: upload"}
	c.AddCommand(upload)
	return c
}

// artifactFile opens a packed artifact, or packs a folder into a temporary file that is gone when it is
// closed.
func artifactFile(name string) (*os.File, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return os.Open(name)
	}
	file, err := os.CreateTemp("", "flywheel-artifact-")
	if err != nil {
		return nil, err
	}
	_, err = local.PackDir(file, name)
	err = errors.Join(err, os.Remove(file.Name()))
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
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
