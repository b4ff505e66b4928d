package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

type token struct {
	ID, Name, User, Secret string
	System, Team, App      string
	Scopes                 []string
	Service                bool
	CreatedAt              time.Time `json:"createdAt"`
	ExpiresAt              time.Time `json:"expiresAt"`
}

// speaks says for which system the token posts results, and about what.
func (v token) speaks() string {
	if v.System == "" {
		return ""
	}
	return v.System + " about " + first(v.App, "team "+v.Team)
}

func (s *shell) tokenCommand() *cobra.Command {
	c := &cobra.Command{Use: "token", Short: "Tokens: create, list, revoke"}
	c.AddCommand(s.tokenCreate(), s.tokenList(), s.tokenRevoke())
	return c
}

func (s *shell) tokenCreate() *cobra.Command {
	var scopes []string
	var service bool
	var system, team, app string
	var expires time.Duration
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a token; it is shown once", Args: cobra.ExactArgs(1),
		Long: `Make a token; it is shown once. With --scope checks:write it posts the results of an outer CI, and does
nothing else: --system names the CI as flywheel.yaml does, and --team or --app says about what it may speak.`,
		Example: "  flywheel token create laptop\n  flywheel token create build --scope checks:write --system ci --app storefront",
		RunE: func(c *cobra.Command, args []string) error {
			body := map[string]any{"name": args[0], "service": service}
			if len(scopes) > 0 {
				body["scopes"] = scopes
			}
			for field, value := range map[string]string{"system": system, "team": team, "app": app} {
				if value != "" {
					body[field] = value
				}
			}
			if expires > 0 {
				body["expiresAt"] = s.now().Add(expires).UTC()
			}
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.post(ctx, path("tokens"), body, &raw); err != nil {
					return err
				}
				return one(s, c, raw, func(p *page, v token) {
					p.fields("token", v.ID, "name", v.Name, "scopes", strings.Join(v.Scopes, ", "), "speaks for", v.speaks(), "expires", p.ago(v.ExpiresAt), "secret", v.Secret)
					p.line("\nKeep the secret now; it is not shown again. Programs read it from FLYWHEEL_TOKEN.")
				})
			})
		},
	}
	f := c.Flags()
	f.StringSliceVar(&scopes, "scope", nil, "read, write or admin (default read and write); or checks:write, for the results of an outer CI")
	f.BoolVar(&service, "service", false, "for a machine: it stands for you and cannot approve")
	f.StringVar(&system, "system", "", "the outer CI that it speaks for, with --scope checks:write")
	f.StringVar(&team, "team", "", "about the apps of this team")
	f.StringVar(&app, "app", "", "about this app only")
	f.DurationVar(&expires, "expires", 0, "when it ends, from now, for example 720h (default 90 days)")
	return c
}

func (s *shell) tokenList() *cobra.Command {
	var of string
	limit := 0
	c := &cobra.Command{
		Use: "list", Short: "List your tokens", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				raw, err := api.list(ctx, path("tokens"), query("user", of), limit)
				if err != nil {
					return err
				}
				return many(s, c, raw, "There are no tokens. Make one: flywheel token create NAME", []string{"TOKEN", "NAME", "OF", "SCOPES", "KIND", "EXPIRES"}, func(p *page, v token) []string {
					kind := "personal"
					if v.Service {
						kind = first(v.speaks(), "service")
					}
					return []string{v.ID, v.Name, v.User, strings.Join(v.Scopes, ","), kind, p.ago(v.ExpiresAt)}
				})
			})
		},
	}
	c.Flags().StringVar(&of, "user", "", "of another person, as an admin")
	limitFlag(c, &limit, 0)
	return c
}

func (s *shell) tokenRevoke() *cobra.Command {
	return &cobra.Command{
		Use: "revoke TOKEN", Short: "Delete a token", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.delete(c, path("tokens", args[0]), "Deleted the token %s.", args[0])
		},
	}
}

func (s *shell) sessionCommand() *cobra.Command {
	type session struct {
		ID, User, Address, Browser string
		Current                    bool
		CreatedAt                  time.Time `json:"createdAt"`
		SeenAt                     time.Time `json:"seenAt"`
	}
	var of string
	limit := 0
	list := &cobra.Command{
		Use: "list", Short: "List your sessions", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				raw, err := api.list(ctx, path("sessions"), query("user", of), limit)
				if err != nil {
					return err
				}
				return many(s, c, raw, "There are no sessions.", []string{"SESSION", "SIGNED IN", "LAST SEEN", "FROM", "BROWSER"}, func(p *page, v session) []string {
					return []string{v.ID, p.ago(v.CreatedAt), p.ago(v.SeenAt), v.Address, clip(v.Browser, 60)}
				})
			})
		},
	}
	list.Flags().StringVar(&of, "user", "", "of another person, as an admin")
	limitFlag(list, &limit, 0)
	var others bool
	end := &cobra.Command{
		Use: "end [SESSION]", Short: "End a session, or with --others all of yours", Args: cobra.MaximumNArgs(1),
		Long: "End a session at a browser, or with --others all of yours. Tokens stay: flywheel token list.",
		RunE: func(c *cobra.Command, args []string) error {
			if others == (len(args) == 1) {
				return usage("Name one session, or say --others.")
			}
			if !others {
				return s.delete(c, path("sessions", args[0]), "Ended the session %s.", args[0])
			}
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.call(ctx, http.MethodDelete, path("sessions"), nil, &raw); err != nil {
					return err
				}
				return one(s, c, raw, func(p *page, v struct{ Ended int }) { p.fields("ended", strconv.Itoa(v.Ended)) })
			})
		},
	}
	end.Flags().BoolVar(&others, "others", false, "all of yours; the command line itself has a token, not a session")
	c := &cobra.Command{Use: "session", Short: "Sessions at browsers: list, end"}
	c.AddCommand(list, end)
	return c
}
