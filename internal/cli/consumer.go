package cli

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

type consumer struct {
	Consumer, Failure, Event, Type, Subject string

	Types         []string
	Sequence, Lag int64
	Attempts      int
	NextAt        *time.Time
}

func (s *shell) consumerCommand() *cobra.Command {
	c := &cobra.Command{Use: "consumer", Short: "Consumers of facts: list, skip",
		Long: `A consumer is a part of Flywheel that does something about facts, in their order. One that cannot handle a fact
stands still there and tries again. The Center of Excellence and admins see them and may let one pass that fact.`}
	c.AddCommand(s.consumerList(), s.consumerSkip())
	return c
}

func (s *shell) consumerList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the consumers of facts, with what holds them up", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				raw, err := api.list(ctx, path("consumers"), query(), 0)
				if err != nil {
					return err
				}
				columns := []string{"CONSUMER", "FACTS LEFT", "STANDS AT", "WHAT IT IS", "ATTEMPTS", "NEXT", "FAILURE"}
				return many(s, c, raw, "There are no consumers.", columns, func(p *page, v consumer) []string {
					if v.Attempts == 0 {
						return []string{v.Consumer, number(v.Lag), "", "", "", "", ""}
					}
					next := ""
					if v.NextAt != nil {
						next = "now"
						if d := v.NextAt.Sub(p.now); d > 0 {
							next = "in " + roughly(d)
						}
					}
					return []string{v.Consumer, number(v.Lag), p.paint(red, v.Event), what(v), number(int64(v.Attempts)), next, v.Failure}
				})
			})
		},
	}
}

// what says what the fact is where a consumer stands still.
func what(v consumer) string {
	return strings.TrimPrefix(strings.TrimPrefix(v.Type, "dev.cdevents."), "dev.cdeventsx.flywheel-") + " of " + v.Subject
}

func (s *shell) consumerSkip() *cobra.Command {
	var event string
	c := &cobra.Command{
		Use: "skip CONSUMER --event EVENT", Short: "Let a consumer pass the fact where it stands still, without handling it", Args: cobra.ExactArgs(1),
		Long: `Let a consumer pass the fact where it stands still. What it would have done about that fact is not done, now or
later: see what the fact is about, and do it by hand. It is in the audit log.`,
		RunE: func(c *cobra.Command, args []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.post(ctx, path("consumers", args[0], "skip"), map[string]any{"event": event}, &raw); err != nil {
					return err
				}
				return one(s, c, raw, func(p *page, v consumer) {
					p.line("%s goes on behind %s (%s), which it did not handle. Attempts: %d. The last one: %s", v.Consumer, v.Event, what(v), v.Attempts, v.Failure)
				})
			})
		},
	}
	c.Flags().StringVar(&event, "event", "", "id of the fact where it stands still, as the list shows it")
	must(c.MarkFlagRequired("event"))
	return c
}
