package cli

import (
	"context"
	"encoding/json"
	"time"

	"github.com/spf13/cobra"
)

type story struct {
	ID, Key, Title, Team, State string
	CreatedAt                   time.Time
}

func (s *shell) storyCommand() *cobra.Command {
	var team, of string
	limit := 0
	create := &cobra.Command{
		Use: "create TITLE --team TEAM", Short: "Write a story", Args: cobra.ExactArgs(1),
		Long: "Write a story. A commit with the trailer `Story: STY-12` links its change to it.",
		RunE: func(c *cobra.Command, args []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.post(ctx, path("stories"), map[string]string{"title": args[0], "team": team}, &raw); err != nil {
					return err
				}
				return one(s, c, raw, func(p *page, v story) {
					p.fields("story", v.Key, "id", v.ID, "title", v.Title, "team", v.Team)
					p.line("\nLink a commit to it with the trailer: Story: %s", v.Key)
				})
			})
		},
	}
	create.Flags().StringVar(&team, "team", "", "team whose story it is")
	must(create.MarkFlagRequired("team"))
	list := &cobra.Command{
		Use: "list", Short: "List stories", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				raw, err := api.list(ctx, path("stories"), query("team", of), limit)
				if err != nil {
					return err
				}
				return many(s, c, raw, "There are no stories yet. Write one: flywheel story create TITLE --team TEAM", []string{"STORY", "TEAM", "STATE", "TITLE", "WRITTEN"}, func(p *page, v story) []string {
					return []string{v.Key, v.Team, p.state(v.State), clip(v.Title, 70), p.ago(v.CreatedAt)}
				})
			})
		},
	}
	list.Flags().StringVar(&of, "team", "", "of this team")
	limitFlag(list, &limit, 30)
	c := &cobra.Command{Use: "story", Short: "Stories: create, list"}
	c.AddCommand(create, list)
	return c
}
