package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

func (s *shell) secretCommand() *cobra.Command {
	type secret struct {
		Name      string
		UpdatedAt time.Time `json:"updatedAt"`
	}
	set := &cobra.Command{
		Use: "set APP ENVIRONMENT NAME", Short: "Set a secret; its value comes from standard input or a prompt",
		Long:    "Set a secret. The value is read from standard input, or asked for at a terminal; it is never shown\nagain. What runs keeps the old value until its next deployment.",
		Example: "  flywheel secret set storefront prod payment_key < key.txt", Args: cobra.ExactArgs(3),
		RunE: func(c *cobra.Command, args []string) error {
			value, err := askSecret(c, bufio.NewReader(c.InOrStdin()), "Value: ", false)
			if err != nil {
				return err
			}
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.call(ctx, http.MethodPut, path("apps", args[0], "environments", args[1], "secrets", args[2]), map[string]string{"value": value}, &raw); err != nil {
					return err
				}
				if s.output == "table" {
					note(c, "Set %s of %s/%s. It takes effect with the next deployment: flywheel deployment redeploy %s %s", args[2], args[0], args[1], args[0], args[1])
					return nil
				}
				return s.show(c, raw, nil)
			})
		},
	}
	list := &cobra.Command{
		Use: "list APP ENVIRONMENT", Short: "List names of secrets; no command shows a value", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				raw, err := api.list(ctx, path("apps", args[0], "environments", args[1], "secrets"), nil, 0)
				if err != nil {
					return err
				}
				return many(s, c, raw, "There are no secrets here.", []string{"SECRET", "SET"}, func(p *page, v secret) []string {
					return []string{v.Name, p.ago(v.UpdatedAt)}
				})
			})
		},
	}
	remove := &cobra.Command{
		Use: "remove APP ENVIRONMENT NAME", Short: "Delete a secret", Args: cobra.ExactArgs(3),
		RunE: func(c *cobra.Command, args []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				if err := api.call(ctx, http.MethodDelete, path("apps", args[0], "environments", args[1], "secrets", args[2]), nil, nil); err != nil {
					return err
				}
				note(c, "Deleted %s of %s/%s.", args[2], args[0], args[1])
				return nil
			})
		},
	}
	c := &cobra.Command{Use: "secret", Short: "Secrets of an app in an environment: set, list, remove"}
	c.AddCommand(set, list, remove)
	return c
}
