package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

type team struct {
	Name, Title string
	Members     []struct{ User, Title, Role string }
}

func (s *shell) teamCommand() *cobra.Command {
	c := &cobra.Command{Use: "team", Short: "Teams: create, list, show, update, delete; add and remove people"}
	c.AddCommand(s.teamCreate(), s.teamList(), s.teamShow(), s.teamUpdate(), s.teamDelete(), s.teamAdd(), s.teamRemove())
	return c
}

func teamDetail(p *page, v team) {
	p.fields("team", v.Name, "title", v.Title)
	rows := [][]string{}
	for _, m := range v.Members {
		rows = append(rows, []string{m.User, m.Role, m.Title})
	}
	if len(rows) > 0 {
		p.line("")
		p.table([]string{"MEMBER", "ROLE", ""}, rows)
	}
}

// teamVerb is a command about one team whose answer is the team.
func (s *shell) teamVerb(c *cobra.Command, method, where string, body any) error {
	return s.act(c, func(ctx context.Context, api *client) error {
		var raw json.RawMessage
		if err := api.call(ctx, method, where, body, &raw); err != nil {
			return err
		}
		return one(s, c, raw, teamDetail)
	})
}

func (s *shell) teamCreate() *cobra.Command {
	var title string
	c := &cobra.Command{
		Use: "create TEAM", Short: "Make a team", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.teamVerb(c, http.MethodPost, path("teams"), map[string]string{"name": args[0], "title": title})
		},
	}
	c.Flags().StringVar(&title, "title", "", "what people call it")
	return c
}

func (s *shell) teamList() *cobra.Command {
	limit := 0
	c := &cobra.Command{
		Use: "list", Short: "List teams", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				raw, err := api.list(ctx, path("teams"), nil, limit)
				if err != nil {
					return err
				}
				return many(s, c, raw, "There are no teams yet. Make one: flywheel team create NAME", []string{"TEAM", "TITLE", "MEMBERS"}, func(_ *page, v team) []string {
					members := []string{}
					for _, m := range v.Members {
						members = append(members, m.User)
					}
					return []string{v.Name, v.Title, clip(strings.Join(members, ", "), 80)}
				})
			})
		},
	}
	limitFlag(c, &limit, 0)
	return c
}

func (s *shell) teamShow() *cobra.Command {
	return &cobra.Command{
		Use: "show TEAM", Short: "Show a team with its members", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.teamVerb(c, http.MethodGet, path("teams", args[0]), nil)
		},
	}
}

func (s *shell) teamUpdate() *cobra.Command {
	var title string
	c := &cobra.Command{
		Use: "update TEAM --title TITLE", Short: "Change what people call a team; its name stays", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.teamVerb(c, http.MethodPatch, path("teams", args[0]), map[string]string{"title": title})
		},
	}
	c.Flags().StringVar(&title, "title", "", "what people call it")
	must(c.MarkFlagRequired("title"))
	return c
}

func (s *shell) teamDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete TEAM", Short: "Delete a team that owns nothing", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.delete(c, path("teams", args[0]), "Deleted the team %s.", args[0])
		},
	}
}

func (s *shell) teamAdd() *cobra.Command {
	role := "developer"
	c := &cobra.Command{
		Use: "add TEAM PERSON --role ROLE", Short: "Put a person into a team, or give them another role there", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return s.teamVerb(c, http.MethodPut, path("teams", args[0], "members", args[1]), map[string]string{"role": role})
		},
	}
	c.Flags().StringVar(&role, "role", role, "owner, operator, developer or viewer")
	return c
}

func (s *shell) teamRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove TEAM PERSON", Short: "Take a person out of a team", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return s.teamVerb(c, http.MethodDelete, path("teams", args[0], "members", args[1]), nil)
		},
	}
}
