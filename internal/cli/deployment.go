package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

type deployment struct {
	ID, App, Environment, Change, Trigger, Kind string
	Number                                      int64
	State, Reason, Code, PlanDigest, RequestID  string
	Desired, Previous                           desired
	Plan                                        json.RawMessage
	Evidence                                    []probe
	CreatedAt                                   time.Time
	StartedAt, FinishedAt                       *time.Time
	Steps                                       []step
}

type step struct {
	Name, State, Detail string
	StartedAt           time.Time
	FinishedAt          *time.Time
}

type probe struct {
	URL          string
	Status       int
	Error        string
	Milliseconds int64
}

func (d deployment) lasted(now time.Time) string {
	if d.StartedAt == nil {
		return ""
	}
	return lasted(now, *d.StartedAt, d.FinishedAt)
}

// what is the kind of run, and what asked for it where that was no change.
func (d deployment) what() string {
	if d.Trigger == "" || d.Trigger == "change" {
		return d.Kind
	}
	return d.Trigger + " (" + d.Kind + ")"
}

func (d deployment) over() bool {
	return !slices.Contains([]string{"waiting", "running", "held"}, d.State)
}

func (s *shell) deploymentCommand() *cobra.Command {
	c := &cobra.Command{Use: "deployment", Short: "Deployments: list, follow, roll back"}
	c.AddCommand(s.deploymentList(), s.deploymentShow(), s.deploymentWatch(), s.deploymentLog(), s.deploymentCancel(),
		s.deploymentRelease(), s.deploymentRollback(), s.deploymentRedeploy())
	return c
}

func (s *shell) deploymentList() *cobra.Command {
	var app, environment, change, state string
	limit := 0
	c := &cobra.Command{
		Use: "list", Short: "List deployments, the newest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				raw, err := api.list(ctx, path("deployments"), query("app", app, "environment", environment, "change", change, "state", state), limit)
				if err != nil {
					return err
				}
				return many(s, c, raw, none(app+environment+change+state, "Nothing was deployed yet. A merged change is deployed by itself: flywheel change list", "No deployment matches."), []string{"DEPLOYMENT", "INSTANCE", "KIND", "STATE", "TOOK", "STARTED", "BY"}, func(p *page, d deployment) []string {
					started := p.paint(dim, "not yet")
					if d.StartedAt != nil {
						started = p.ago(*d.StartedAt)
					}
					return []string{d.ID, d.App + "/" + d.Environment, d.what(), p.state(d.State), d.lasted(p.now), started, first(d.Change, d.Trigger)}
				})
			})
		},
	}
	f := c.Flags()
	f.StringVar(&app, "app", "", "of this app")
	f.StringVar(&environment, "environment", "", "in this environment")
	f.StringVar(&change, "change", "", "of this change")
	f.StringVar(&state, "state", "", "in this state, for example running, held or failed")
	completes(c, "state", "waiting", "running", "held", "succeeded", "failed", "cancelled", "superseded", "interrupted")
	limitFlag(c, &limit, 30)
	return c
}

func (s *shell) deploymentShow() *cobra.Command {
	return &cobra.Command{
		Use: "show DEPLOYMENT", Short: "Show a deployment with its steps", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.get(ctx, path("deployments", args[0]), &raw); err != nil {
					return err
				}
				return one(s, c, raw, deploymentDetail)
			})
		},
	}
}

func deploymentDetail(p *page, d deployment) {
	by := d.Trigger
	if d.Change != "" {
		by = d.Change
	}
	p.fields("deployment", d.ID, "instance", d.App+"/"+d.Environment+", number "+number(d.Number), "kind", d.what(), "state", p.state(d.State), "reason", d.Reason,
		"because of", by, "pattern", moves(d.Previous.Pattern+" "+d.Previous.Version, d.Desired.Pattern+" "+d.Desired.Version),
		"artifact", moves(short(d.Previous.Artifact), short(d.Desired.Artifact)), "created", p.ago(d.CreatedAt), "took", d.lasted(p.now), "request", d.RequestID)
	variables := [][]string{}
	names := maps.Clone(d.Previous.Variables)
	if names == nil {
		names = map[string]any{}
	}
	maps.Copy(names, d.Desired.Variables)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		before, after := value(d.Previous.Variables[name]), value(d.Desired.Variables[name])
		if before != after {
			variables = append(variables, []string{p.paint(dim, name), moves(before, after)})
		}
	}
	if len(variables) > 0 {
		p.heading("Variables")
		p.rows(variables)
	}
	if len(d.Steps) > 0 {
		p.heading("Steps")
		p.rows(stepRows(p, d.Steps))
	}
	if len(d.Evidence) > 0 {
		p.heading("Evidence")
		rows := [][]string{}
		for _, e := range d.Evidence {
			rows = append(rows, []string{e.URL, first(e.Error, fmt.Sprint(e.Status)), took(time.Duration(e.Milliseconds) * time.Millisecond)})
		}
		p.rows(rows)
	}
	if d.State == "held" {
		p.line("\nAn operator releases it: flywheel deployment release %s --digest %s", d.ID, d.PlanDigest)
	}
}

func value(v any) string {
	if v == nil {
		return ""
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

// moves shows a value before and after.
func moves(before, after string) string {
	before, after = strings.TrimSpace(before), strings.TrimSpace(after)
	switch {
	case before == after:
		return after
	case before == "":
		return after
	case after == "":
		return before + " → (none)"
	}
	return before + " → " + after
}

func stepRows(p *page, steps []step) [][]string {
	rows := [][]string{}
	for _, st := range steps {
		rows = append(rows, []string{p.mark(st.State), st.Name, p.paint(dim, lasted(p.now, st.StartedAt, st.FinishedAt)), clip(st.Detail, 100)})
	}
	return rows
}

// mark is the sign for a state, so that a column of them is read at a glance.
func (p *page) mark(state string) string {
	sign := "·"
	switch colourOf(state) {
	case green:
		sign = "✓"
	case red:
		sign = "✗"
	case yellow:
		sign = "!"
	case blue:
		sign = "→"
	}
	return p.paint(colourOf(state), sign)
}

func (s *shell) deploymentLog() *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use: "log DEPLOYMENT", Short: "Print the log of a deployment", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				return api.text(ctx, path("deployments", args[0], "log")+following(follow), c.OutOrStdout())
			})
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until it ends")
	return c
}

// control sends a verb about a deployment and shows the deployment that it answers.
func (s *shell) control(c *cobra.Command, where string, body any, watch bool) error {
	return s.act(c, func(ctx context.Context, api *client) error {
		var raw json.RawMessage
		if err := api.post(ctx, where, body, &raw); err != nil {
			return err
		}
		var d deployment
		if err := understand(raw, &d); err != nil {
			return err
		}
		if d.Trigger == "rollback" && d.Change != "" {
			note(c, "Later changes stop before %s until the revert of %s is merged, or one is declared to fix it.\nIts revert: flywheel change show %s", d.Environment, d.Change, d.Change)
		}
		if watch {
			return s.watchDeployment(c, api, d.ID)
		}
		if err := one(s, c, raw, deploymentDetail); err != nil {
			return err
		}
		if !d.over() && d.State != "held" {
			note(c, "Follow it: flywheel deployment watch %s", d.ID)
		}
		return nil
	})
}

func (s *shell) deploymentCancel() *cobra.Command {
	return &cobra.Command{
		Use: "cancel DEPLOYMENT", Short: "Ask a deployment to stop",
		Long: "Ask a deployment to stop. One that runs gives up what it is doing, and what ran before serves on;\na release or an apply that has finished by then stays.", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.control(c, path("deployments", args[0], "cancel"), nil, false)
		},
	}
}

func (s *shell) deploymentRelease() *cobra.Command {
	var plan, name string
	var watch bool
	c := &cobra.Command{
		Use: "release DEPLOYMENT --digest DIGEST", Short: "Let a held deployment go on, as an operator",
		Long: "Let a held deployment go on. The digest says which plan you looked at: `flywheel deployment show`\nprints it.", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.control(c, path("deployments", args[0], "release"), map[string]any{"planDigest": plan, "confirm": name}, watch)
		},
	}
	c.Flags().StringVar(&plan, "digest", "", "digest of the plan that was shown")
	c.Flags().StringVar(&name, "confirm", "", "name of the app, where you are the only active person and release what you wrote")
	c.Flags().BoolVar(&watch, "watch", false, "follow it to its end")
	must(c.MarkFlagRequired("digest"))
	return c
}

func (s *shell) deploymentRollback() *cobra.Command {
	var to string
	var watch bool
	c := &cobra.Command{
		Use: "rollback APP ENVIRONMENT", Short: "Go back to what an earlier deployment brought",
		Long: "Go back to what an earlier deployment brought. Later changes stop before this environment until the\nrevert is merged, a fix is declared (flywheel change fix), or main is deployed there again (flywheel deployment redeploy).", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			body := map[string]any{}
			if to != "" {
				body["to"] = to
			}
			return s.control(c, path("apps", args[0], "environments", args[1], "rollback"), body, watch)
		},
	}
	c.Flags().StringVar(&to, "to", "", "deployment to go back to (default the one before)")
	c.Flags().BoolVar(&watch, "watch", false, "follow it to its end")
	return c
}

func (s *shell) deploymentRedeploy() *cobra.Command {
	var watch bool
	c := &cobra.Command{
		Use: "redeploy APP ENVIRONMENT", Short: "Deploy what main describes again", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return s.control(c, path("apps", args[0], "environments", args[1], "redeploy"), nil, watch)
		},
	}
	c.Flags().BoolVar(&watch, "watch", false, "follow it to its end")
	return c
}
