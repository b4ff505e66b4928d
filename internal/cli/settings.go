package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

type settings struct {
	FourEyes  bool
	UpdatedAt time.Time
	UpdatedBy string
}

func settingsDetail(p *page, v settings) {
	rule := "on: who wrote what destroys something stateful in production does not release it"
	if !v.FourEyes {
		rule = p.paint(yellow, "off")
	}
	changed := ""
	if v.UpdatedBy != "" {
		changed = p.ago(v.UpdatedAt) + " by " + v.UpdatedBy
	}
	p.fields("four eyes", rule, "changed", changed)
}

func (s *shell) settingsCommand() *cobra.Command {
	show := &cobra.Command{
		Use: "show", Short: "Show the settings of the platform", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.get(ctx, path("settings"), &raw); err != nil {
					return err
				}
				return one(s, c, raw, settingsDetail)
			})
		},
	}
	var fourEyes bool
	edit := &cobra.Command{
		Use: "edit --four-eyes=true|false", Short: "Change the settings of the platform, as an admin", Args: cobra.NoArgs,
		Long: `Change the settings of the platform. With four eyes, which is how it begins, who wrote what would destroy or
replace something stateful in production cannot release it; another operator does. Turning it off is in the audit log.`,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.call(ctx, http.MethodPatch, path("settings"), map[string]any{"fourEyes": fourEyes}, &raw); err != nil {
					return err
				}
				return one(s, c, raw, settingsDetail)
			})
		},
	}
	edit.Flags().BoolVar(&fourEyes, "four-eyes", true, "whether somebody else has to release what a person wrote")
	must(edit.MarkFlagRequired("four-eyes"))
	c := &cobra.Command{Use: "settings", Short: "Settings of the platform: show, edit"}
	c.AddCommand(show, edit)
	return c
}
