package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// secretCommand is about the secrets of an app in an environment.
func (s *shell) secretCommand() *cobra.Command {
	return s.secretsOf(secretPlace{
		of: "an app in an environment", words: "APP ENVIRONMENT", n: 2, example: "  flywheel secret set storefront prod payment_key < key.txt",
		then: "What runs keeps the old value until its next deployment.",
		set: func(args []string) string {
			return "It takes effect with the next deployment: flywheel deployment redeploy " + args[0] + " " + args[1]
		},
		path: func(args []string) []string { return []string{"apps", args[0], "environments", args[1], "secrets"} },
	})
}

// environmentSecret is about the secrets of an environment itself.
func (s *shell) environmentSecret() *cobra.Command {
	return s.secretsOf(secretPlace{
		of: "an environment itself", words: "ENVIRONMENT", n: 1, example: "  flywheel environment secret set prod AWS_SECRET_ACCESS_KEY < key.txt",
		then: "Infrastructure runs of certified patterns that name it get it from then on.",
		set: func([]string) string {
			return "Infrastructure runs of certified patterns that name it get it from now on."
		},
		path: func(args []string) []string { return []string{"environments", args[0], "secrets"} },
	})
}

// secretPlace is where secrets belong, in words.
type secretPlace struct {
	of, words, example, then string
	n                        int                        // arguments that name it
	set                      func(args []string) string // what comes of a secret that was set
	path                     func(args []string) []string
}

func (s *shell) secretsOf(where secretPlace) *cobra.Command {
	type secret struct {
		Name      string
		UpdatedAt time.Time `json:"updatedAt"`
		UpdatedBy string    `json:"updatedBy"`
	}
	set := &cobra.Command{
		Use: "set " + where.words + " NAME", Short: "Set a secret; its value comes from standard input or a prompt",
		Long:    "Set a secret. The value is read from standard input, or asked for at a terminal; it is never shown\nagain. " + where.then,
		Example: where.example, Args: cobra.ExactArgs(where.n + 1),
		RunE: func(c *cobra.Command, args []string) error {
			value, err := askSecret(c, bufio.NewReader(c.InOrStdin()), "Value: ", false)
			if err != nil {
				return err
			}
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.call(ctx, http.MethodPut, path(append(where.path(args), args[where.n])...), map[string]string{"value": value}, &raw); err != nil {
					return err
				}
				if s.output == "table" {
					note(c, "Set %s of %s. %s", args[where.n], strings.Join(args[:where.n], "/"), where.set(args))
					return nil
				}
				return s.show(c, raw, nil)
			})
		},
	}
	list := &cobra.Command{
		Use: "list " + where.words, Short: "List names of secrets; no command shows a value", Args: cobra.ExactArgs(where.n),
		RunE: func(c *cobra.Command, args []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				raw, err := api.list(ctx, path(where.path(args)...), nil, 0)
				if err != nil {
					return err
				}
				return many(s, c, raw, "There are no secrets here. Set one: "+c.Parent().CommandPath()+" set", []string{"SECRET", "SET", "BY"}, func(p *page, v secret) []string {
					return []string{v.Name, p.ago(v.UpdatedAt), v.UpdatedBy}
				})
			})
		},
	}
	remove := &cobra.Command{
		Use: "remove " + where.words + " NAME", Short: "Delete a secret", Args: cobra.ExactArgs(where.n + 1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.delete(c, path(append(where.path(args), args[where.n])...), "Deleted %s of %s.", args[where.n], strings.Join(args[:where.n], "/"))
		},
	}
	c := &cobra.Command{Use: "secret", Short: "Secrets of " + where.of + ": set, list, remove"}
	c.AddCommand(set, list, remove)
	return c
}
