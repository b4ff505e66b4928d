package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

func (s *shell) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show the versions of this program and of the server", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			out := map[string]string{"program": s.version}
			if api, err := s.client(); err == nil {
				ctx, cancel := context.WithTimeout(c.Context(), 2*time.Second)
				defer cancel()
				var document struct{ Info struct{ Version string } }
				if err := api.get(ctx, "/openapi.json", &document); err == nil {
					out["server"], out["url"] = document.Info.Version, api.base
				}
			}
			return s.show(c, out, func(p *page) {
				p.fields("program", out["program"], "server", first(out["server"], "does not answer"), "at", out["url"])
			})
		},
	}
}
