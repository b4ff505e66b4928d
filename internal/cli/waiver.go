package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

type waiver struct {
	ID, App, Environment, Variable, Bound, Reason, State, AskedBy, DecidedBy, Decision string

	Value     any
	InForce   bool
	Until     *time.Time
	CreatedAt time.Time
}

func (s *shell) waiverCommand() *cobra.Command {
	c := &cobra.Command{Use: "waiver", Short: "Values outside their bounds that are accepted until a date",
		Long: `A value outside the bounds of a pattern is refused. A team may ask for a waiver, which accepts that one value
in one environment of one app until a date; somebody of the Center of Excellence grants or declines it.`}
	c.AddCommand(s.waiverList(), s.waiverShow(), s.waiverRequest(), s.waiverGrant(),
		s.waiverEnd("decline", "Say no to a request, with the reason"), s.waiverEnd("revoke", "End a waiver now; what runs is left alone"))
	return c
}

// state says in a word how far a waiver has come; that one has ended is not a state of its own.
func (v waiver) state() string {
	if v.State == "granted" && !v.InForce {
		return "ended"
	}
	return v.State
}

func (v waiver) what() string {
	return fmt.Sprintf("%s.%s=%s", v.Environment, v.Variable, asText(v.Value))
}

func asText(v any) string {
	if text, ok := v.(string); ok {
		return text
	}
	b, _ := json.Marshal(v)
	return string(b)
}

func until(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Local().Format(time.DateOnly)
}

func waiverDetail(p *page, v waiver) {
	p.fields("waiver", v.ID, "app", v.App, "value", v.what(), "bound", v.Bound, "state", p.state(v.state()), "until", until(v.Until), "asked by", v.AskedBy,
		"reason", v.Reason, "decided by", v.DecidedBy, "decision", v.Decision, "asked", p.ago(v.CreatedAt))
	if v.State == "requested" {
		p.line("\nSomebody else of the Center of Excellence decides: flywheel waiver grant %s --until DATE", v.ID)
	}
}

func (s *shell) waiverList() *cobra.Command {
	var app, environment, state string
	c := &cobra.Command{
		Use: "list", Short: "List waivers, newest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				raw, err := api.list(ctx, path("waivers"), query("app", app, "environment", environment, "state", state), 0)
				if err != nil {
					return err
				}
				return many(s, c, raw, none(app+environment+state, "There are no waivers. Ask for a value outside its bounds: flywheel waiver request APP --set ENVIRONMENT.VARIABLE=VALUE --reason WHY", "No waiver matches."), []string{"WAIVER", "APP", "VALUE", "STATE", "UNTIL", "ASKED BY", "DECIDED BY"}, func(p *page, v waiver) []string {
					return []string{v.ID, v.App, clip(v.what(), 40), p.state(v.state()), until(v.Until), v.AskedBy, v.DecidedBy}
				})
			})
		},
	}
	c.Flags().StringVar(&app, "app", "", "of this app only")
	c.Flags().StringVar(&state, "state", "", "requested, granted (those in force), ended, declined or revoked")
	completes(c, "state", "requested", "granted", "ended", "declined", "revoked")
	c.Flags().StringVar(&environment, "environment", "", "in this environment only")
	return c
}

func (s *shell) waiverShow() *cobra.Command {
	return &cobra.Command{
		Use: "show WAIVER", Short: "Show a waiver", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.get(ctx, path("waivers", args[0]), &raw); err != nil {
					return err
				}
				return one(s, c, raw, waiverDetail)
			})
		},
	}
}

func (s *shell) waiverRequest() *cobra.Command {
	var set []string
	var reason, end string
	c := &cobra.Command{
		Use: "request APP --set ENVIRONMENT.VARIABLE=VALUE --reason WHY", Short: "Ask for a value outside its bounds to be accepted",
		Example: "  flywheel waiver request storefront --set prod.instances=40 --reason 'Black Friday' --until 2026-12-01", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(set) != 1 {
				return usage("--set names the one value that is asked for.")
			}
			values, err := assignments(set)
			if err != nil {
				return err
			}
			body := map[string]any{"app": args[0], "reason": reason}
			for environment, variables := range values {
				for variable, value := range variables {
					body["environment"], body["variable"], body["text"] = environment, variable, value
				}
			}
			return s.waiverSend(c, path("waivers"), body, end)
		},
	}
	c.Flags().StringArrayVar(&set, "set", nil, "ENVIRONMENT.VARIABLE=VALUE that is asked for")
	c.Flags().StringVar(&reason, "reason", "", "why no value inside the bounds will do")
	c.Flags().StringVar(&end, "until", "", "last day that it is needed, for example 2026-12-01")
	return c
}

func (s *shell) waiverGrant() *cobra.Command {
	var reason, end string
	c := &cobra.Command{
		Use: "grant WAIVER [--until DATE]", Short: "Accept the value until a date, at most a year ahead", Args: cobra.ExactArgs(1),
		Long: "Accept the value until the end of a day. Changes of the app that were refused for it go on by themselves.",
		RunE: func(c *cobra.Command, args []string) error {
			return s.waiverSend(c, path("waivers", args[0], "grant"), map[string]any{"reason": reason}, end)
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why")
	c.Flags().StringVar(&end, "until", "", "last day (default what was asked for)")
	return c
}

func (s *shell) waiverEnd(verb, text string) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: verb + " WAIVER --reason WHY", Short: text, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.waiverSend(c, path("waivers", args[0], verb), map[string]any{"reason": reason}, "")
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the team that asked")
	return c
}

// waiverSend posts the body; end is a day, and the waiver lasts to its last second.
func (s *shell) waiverSend(c *cobra.Command, to string, body map[string]any, end string) error {
	if end != "" {
		day, err := time.ParseInLocation(time.DateOnly, end, time.Local)
		if err != nil {
			return usage("--until is a day like 2026-12-01, not %q.", end)
		}
		body["until"] = day.AddDate(0, 0, 1).Add(-time.Second)
	}
	return s.act(c, func(ctx context.Context, api *client) error {
		var raw json.RawMessage
		if err := api.post(ctx, to, body, &raw); err != nil {
			return err
		}
		return one(s, c, raw, waiverDetail)
	})
}
