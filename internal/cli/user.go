package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

type user struct {
	Name, Title, Password string
	Admin, Active         bool
	Disciplines           []string
	Teams                 map[string]string
}

func (s *shell) userCommand() *cobra.Command {
	c := &cobra.Command{Use: "user", Short: "People: create, list, show, update, reset-password, password"}
	c.AddCommand(s.userCreate(), s.userList(), s.userShow(), s.userUpdate(), s.userReset(), s.userPassword())
	return c
}

func userDetail(p *page, v user) {
	teams := []string{}
	for _, team := range slices.Sorted(maps.Keys(v.Teams)) {
		teams = append(teams, team+" ("+v.Teams[team]+")")
	}
	state := "active"
	if !v.Active {
		state = "inactive"
	}
	p.fields("name", v.Name, "full name", v.Title, "state", p.state(state), "roles", strings.Join(v.roles(), ", "), "teams", strings.Join(teams, ", "), "password", v.Password)
	if v.Password != "" {
		p.line("\nHand the password over; it is not shown again.")
	}
}

func (v user) roles() []string {
	roles := []string{}
	if v.Admin {
		roles = append(roles, "admin")
	}
	for _, d := range v.Disciplines {
		roles = append(roles, "coe:"+d)
	}
	return roles
}

func (s *shell) userCreate() *cobra.Command {
	var title string
	var admin, fromStdin bool
	var disciplines []string
	c := &cobra.Command{
		Use: "create NAME", Short: "Add a person; a password is made unless you give one",
		Example: "  flywheel user create grace --title 'Grace Hopper' --discipline security", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			body := map[string]any{"name": args[0], "title": title, "admin": admin, "disciplines": append([]string{}, disciplines...)}
			if fromStdin {
				password, err := askSecret(c, bufio.NewReader(c.InOrStdin()), "", true)
				if err != nil {
					return err
				}
				body["password"] = password
			}
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.post(ctx, path("users"), body, &raw); err != nil {
					return err
				}
				return one(s, c, raw, userDetail)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&title, "title", "", "full name")
	f.BoolVar(&admin, "admin", false, "may manage people, teams and the platform")
	f.StringSliceVar(&disciplines, "discipline", nil, "security, operations or development: member of the Center of Excellence")
	f.BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input")
	return c
}

func (s *shell) userList() *cobra.Command {
	limit := 0
	c := &cobra.Command{
		Use: "list", Short: "List people", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				raw, err := api.list(ctx, path("users"), nil, limit)
				if err != nil {
					return err
				}
				return many(s, c, raw, "There is nobody.", []string{"NAME", "FULL NAME", "ROLES", "TEAMS", ""}, func(p *page, v user) []string {
					inactive := ""
					if !v.Active {
						inactive = "inactive"
					}
					return []string{v.Name, v.Title, strings.Join(v.roles(), ", "), strings.Join(slices.Sorted(maps.Keys(v.Teams)), ", "), p.paint(dim, inactive)}
				})
			})
		},
	}
	limitFlag(c, &limit, 0)
	return c
}

func (s *shell) userShow() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show a person", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.get(ctx, path("users", args[0]), &raw); err != nil {
					return err
				}
				return one(s, c, raw, userDetail)
			})
		},
	}
}

func (s *shell) userUpdate() *cobra.Command {
	var title string
	var admin, active bool
	var disciplines []string
	c := &cobra.Command{
		Use: "update NAME", Short: "Change a person's rights, or deactivate them with --active=false", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			body := map[string]any{}
			for name, v := range map[string]any{"title": title, "admin": admin, "active": active} {
				if c.Flags().Changed(name) {
					body[name] = v
				}
			}
			if c.Flags().Changed("discipline") {
				body["disciplines"] = slices.DeleteFunc(append([]string{}, disciplines...), func(d string) bool { return d == "" })
			}
			if len(body) == 0 {
				return usage("Nothing is to change: name at least one of --title, --admin, --active and --discipline.")
			}
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.call(ctx, http.MethodPatch, path("users", args[0]), body, &raw); err != nil {
					return err
				}
				return one(s, c, raw, userDetail)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&title, "title", "", "full name")
	f.BoolVar(&admin, "admin", false, "may manage people, teams and the platform")
	f.BoolVar(&active, "active", true, "may sign in; false ends sessions and deletes tokens")
	f.StringSliceVar(&disciplines, "discipline", nil, "disciplines in the Center of Excellence; empty for none")
	return c
}

func (s *shell) userReset() *cobra.Command {
	return &cobra.Command{
		Use: "reset-password NAME", Short: "Give a person a new password", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.post(ctx, path("users", args[0], "password"), nil, &raw); err != nil {
					return err
				}
				return one(s, c, raw, func(p *page, v struct{ Password string }) {
					p.fields("name", args[0], "password", v.Password)
					p.line("\nHand the password over; it is not shown again.")
				})
			})
		},
	}
}

func (s *shell) userPassword() *cobra.Command {
	return &cobra.Command{
		Use: "password", Short: "Change your own password", Args: cobra.NoArgs,
		Long: "Change your own password. Without a terminal, standard input holds the present password and the new one,\none a line.",
		RunE: func(c *cobra.Command, _ []string) error {
			var present, next string
			var err error
			if isTerminal(c.InOrStdin()) {
				in := bufio.NewReader(c.InOrStdin())
				if present, err = askSecret(c, in, "Present password: ", false); err != nil {
					return err
				}
				if next, err = askSecret(c, in, "New password: ", false); err != nil {
					return err
				}
				again, err := askSecret(c, in, "New password again: ", false)
				if err != nil {
					return err
				}
				if again != next {
					return usage("The two new passwords differ.")
				}
			} else if _, err := fmt.Fscanln(c.InOrStdin(), &present); err != nil {
				return usage("Standard input does not hold two passwords, one a line.")
			} else if _, err := fmt.Fscanln(c.InOrStdin(), &next); err != nil {
				return usage("Standard input does not hold two passwords, one a line.")
			}
			return s.act(c, func(ctx context.Context, api *client) error {
				if err := api.call(ctx, http.MethodPut, path("me", "password"), map[string]string{"present": present, "next": next}, nil); err != nil {
					return err
				}
				note(c, "Your password is changed.")
				return nil
			})
		},
	}
}
