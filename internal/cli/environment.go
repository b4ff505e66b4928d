package cli

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"flywheel.dev/flywheel/internal/manifest"
)

// environment is read and sent back with its values as they are, so that an update changes only what
// was named.
type environment struct {
	Name      string          `json:"name"`
	Class     string          `json:"class"`
	After     string          `json:"after,omitempty"`
	Target    string          `json:"target,omitempty"`
	OnNewer   string          `json:"onNewer,omitempty"`
	Values    manifest.Values `json:"values,omitempty"`
	Network   bool            `json:"network,omitempty"`
	Reach     []string        `json:"reach,omitempty"`
	Freezes   []freeze        `json:"freezes,omitempty"`
	Order     int             `json:"-"`
	UpdatedAt time.Time       `json:"-"`
}

type freeze struct {
	From   time.Time `json:"from"`
	Until  time.Time `json:"until"`
	Reason string    `json:"reason,omitempty"`
}

func (f freeze) String() string {
	text := f.From.Format(time.RFC3339) + " to " + f.Until.Format(time.RFC3339)
	if f.Reason != "" {
		text += ": " + f.Reason
	}
	return text
}

func (s *shell) environmentCommand() *cobra.Command {
	c := &cobra.Command{Use: "environment", Short: "Environments: list, show, create, update, delete, their secrets; remove an app from one"}
	c.AddCommand(s.environmentList(), s.environmentShow(), s.environmentSave(true), s.environmentSave(false), s.environmentDelete(), s.environmentSecret(), s.environmentRemove())
	return c
}

func (s *shell) environmentList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List environments in the order a change reaches them", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				raw, err := api.list(ctx, path("environments"), nil, 0)
				if err != nil {
					return err
				}
				return many(s, c, raw, "There are no environments yet. Make one: flywheel environment create NAME --class staging",
					[]string{"ENVIRONMENT", "CLASS", "AFTER", "TARGET", "ON NEWER"}, func(_ *page, e environment) []string {
						return []string{e.Name, e.Class, e.After, e.Target, e.OnNewer}
					})
			})
		},
	}
}

// findEnvironment returns one environment, and the tag by which the server knows this state of it.
func findEnvironment(ctx context.Context, api *client, name string) (raw json.RawMessage, tag string, err error) {
	response, err := api.send(ctx, http.MethodGet, path("environments", name), nil, nil)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	raw, err = io.ReadAll(io.LimitReader(response.Body, answerLimit))
	return raw, response.Header.Get("ETag"), err
}

func environmentDetail(p *page, e environment) {
	values := ""
	if len(e.Values) > 0 {
		values = value(e.Values)
	}
	p.fields("environment", e.Name, "class", e.Class, "after", e.After, "target", e.Target, "on newer", e.OnNewer, "values", values)
	if e.Network {
		p.fields("network", "rollout commands, and plans of patterns under review, may reach it")
	}
	if len(e.Reach) > 0 {
		p.fields("reach", strings.Join(e.Reach, ", "))
	}
	for _, f := range e.Freezes {
		p.fields("frozen", f.String())
	}
}

func (s *shell) environmentShow() *cobra.Command {
	return &cobra.Command{
		Use: "show ENVIRONMENT", Short: "Show an environment", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				raw, _, err := findEnvironment(ctx, api, args[0])
				if err != nil {
					return err
				}
				return one(s, c, raw, environmentDetail)
			})
		},
	}
}

func (s *shell) environmentSave(create bool) *cobra.Command {
	var given environment
	var set, frozen, reach []string
	c := &cobra.Command{
		Use: "update ENVIRONMENT", Short: "Change an environment; what is not named stays", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			values, err := environmentValues(set)
			if err != nil {
				return err
			}
			freezes, err := environmentFreezes(frozen)
			if err != nil {
				return err
			}
			return s.act(c, func(ctx context.Context, api *client) error {
				e, method, where, header := environment{Name: args[0]}, http.MethodPost, path("environments"), http.Header{}
				if !create {
					now, tag, err := findEnvironment(ctx, api, args[0])
					if err != nil {
						return err
					}
					if err := understand(now, &e); err != nil {
						return err
					}
					method, where = http.MethodPut, path("environments", args[0])
					header.Set("If-Match", tag) // what somebody else says meanwhile is not undone
				}
				for name, field := range map[string][2]*string{"class": {&e.Class, &given.Class}, "after": {&e.After, &given.After}, "target": {&e.Target, &given.Target}, "on-newer": {&e.OnNewer, &given.OnNewer}} {
					if c.Flags().Changed(name) {
						*field[0] = *field[1]
					}
				}
				if c.Flags().Changed("network") {
					e.Network = given.Network
				}
				if c.Flags().Changed("reach") {
					e.Reach = slices.DeleteFunc(slices.Clone(reach), func(one string) bool { return one == "" })
				}
				if c.Flags().Changed("freeze") {
					e.Freezes = freezes
				}
				if e.Values == nil {
					e.Values = manifest.Values{}
				}
				for name, v := range values {
					if e.Values[name] = v; v == nil {
						delete(e.Values, name)
					}
				}
				var raw json.RawMessage
				if err := api.change(ctx, method, where, header, e, &raw); err != nil {
					return err
				}
				return one(s, c, raw, environmentDetail)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&given.Class, "class", "", "development, staging or production")
	f.StringVar(&given.After, "after", "", "environment that a change must pass first")
	f.StringVar(&given.Target, "target", "", "where it runs (default local)")
	f.StringVar(&given.OnNewer, "on-newer", "", "what happens to a waiting deployment when a newer one comes: queue or replace-pending")
	f.StringArrayVar(&set, "set", nil, "VARIABLE=VALUE that the Center of Excellence controls; an empty value removes it")
	f.BoolVar(&given.Network, "network", false, "let the engine with its providers, and rollout commands, reach the network")
	f.StringSliceVar(&reach, "reach", nil, "what probes and smoke tests may connect to besides an instance's own addresses: shop.example.com, *.example.com, 10.1.0.0/16, 127.0.0.1:8080; repeatable, an empty one forbids all")
	f.StringArrayVar(&frozen, "freeze", nil, "FROM/UNTIL or FROM/UNTIL=REASON, as in 2026-11-23T00:00:00Z/2026-11-30T00:00:00Z='Black Friday': only rollbacks are deployed then; an empty one lifts all")
	if create {
		c.Use, c.Short = "create ENVIRONMENT --class CLASS", "Make an environment"
		must(c.MarkFlagRequired("class"))
	}
	return c
}

func (s *shell) environmentDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete ENVIRONMENT", Short: "Delete an environment that no app is in, with its secrets", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.delete(c, path("environments", args[0]), "Deleted the environment %s with its secrets.", args[0])
		},
	}
}

func environmentFreezes(given []string) (list []freeze, err error) {
	for _, one := range given {
		if one == "" {
			continue
		}
		window, reason, _ := strings.Cut(one, "=")
		from, until, _ := strings.Cut(window, "/")
		f := freeze{Reason: reason}
		if f.From, err = time.Parse(time.RFC3339, from); err == nil {
			f.Until, err = time.Parse(time.RFC3339, until)
		}
		if err != nil {
			return nil, usage("--freeze %s is not FROM/UNTIL=REASON, for example 2026-11-23T00:00:00Z/2026-11-30T00:00:00Z=Black Friday.", one)
		}
		list = append(list, f)
	}
	return list, nil
}

func environmentValues(set []string) (manifest.Values, error) {
	values := manifest.Values{}
	for _, one := range set {
		name, text, assigned := strings.Cut(one, "=")
		if !assigned || name == "" {
			return nil, usage("--set %s is not VARIABLE=VALUE, for example vpc_id=vpc-1.", one)
		}
		v, err := valueOf(one, text)
		if err != nil {
			return nil, err
		}
		values[name] = v
	}
	return values, nil
}

func (s *shell) environmentRemove() *cobra.Command {
	var watch bool
	c := &cobra.Command{
		Use: "remove APP ENVIRONMENT", Short: "Ask for an app to be removed from an environment",
		Long: "Ask for an app to be removed from an environment. What it runs there is destroyed only after an operator\nhas released the plan that says what is destroyed; the app's secrets there are deleted with it.", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return s.removal(c, path("apps", args[0], "environments", args[1]), watch)
		},
	}
	c.Flags().BoolVar(&watch, "watch", false, "follow it until it is gone or an operator has to decide")
	return c
}
