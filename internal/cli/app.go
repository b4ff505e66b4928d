package cli

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"flywheel.dev/flywheel/internal/manifest"
)

type app struct {
	Name, Title, Team, State string
	Pattern                  pin
	Repository               string
	Recommended              string
	Waivers                  []waiver
	Instances                []instance
	CreatedAt                time.Time
	RemovedBy                string
	RemovedAt                *time.Time
}

type pin struct {
	Name, Range, Version, Digest string
}

type instance struct {
	Environment, State, Reason, URL, Outdated string
	PinnedBy, RunningDeployment               string
	Deployed                                  desired
	UpdatedAt                                 time.Time

	Outside []struct {
		Variable, Waiver string
		Value            any
		Since            time.Time
	}
}

type desired struct {
	Pattern, Version, Digest, Artifact string
	Variables                          manifest.Values
}

func (s *shell) appCommand() *cobra.Command {
	c := &cobra.Command{Use: "app", Short: "Apps: create, list, show, upgrade, push, give, delete"}
	c.AddCommand(s.appCreate(), s.appList(), s.appShow(), s.appUpgrade(), s.push("an app", "apps", "flywheel.yaml"), s.appGive(), s.appDelete())
	return c
}

func (s *shell) appCreate() *cobra.Command {
	var body struct {
		Name         string   `json:"name"`
		Title        string   `json:"title,omitempty"`
		Team         string   `json:"team"`
		Pattern      string   `json:"pattern"`
		Version      string   `json:"version,omitempty"`
		Environments []string `json:"environments,omitempty"`
	}
	var watch bool
	c := &cobra.Command{
		Use: "create NAME --team TEAM --pattern PATTERN", Short: "Create an app from a certified pattern",
		Long:    "Create an app from a certified pattern. Its repository is made from the pattern's skeleton and deployed,\nenvironment by environment, as the app's first change.",
		Example: "  flywheel app create storefront --team shop --pattern web-service --environment staging,prod --watch",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("environment") && len(slices.DeleteFunc(body.Environments, func(e string) bool { return e == "" })) == 0 {
				return usage("--environment is empty. Name an environment, or leave the flag out to run in all.")
			}
			return s.act(c, func(ctx context.Context, api *client) error {
				body.Name = args[0]
				var raw json.RawMessage
				if err := api.post(ctx, path("apps"), body, &raw); err != nil {
					return err
				}
				var made struct{ Change string }
				if err := understand(raw, &made); err != nil {
					return err
				}
				if watch && made.Change != "" {
					note(c, "Created %s. Its first change is %s.", body.Name, made.Change)
					return s.watchChange(c, api, made.Change, false)
				}
				var detail struct{ Repository string }
				_ = api.get(ctx, path("apps", body.Name), &detail) // the app is made; the address is a courtesy
				return s.show(c, raw, func(p *page) {
					p.fields("app", body.Name, "repository", detail.Repository, "change", made.Change)
					p.line("\nFollow its first deployments: flywheel change watch %s", made.Change)
					if detail.Repository != "" {
						p.line("Get its code: git clone %s (flywheel login --git lets git sign in as you)", detail.Repository)
					}
				})
			})
		},
	}
	f := c.Flags()
	f.StringVar(&body.Team, "team", "", "team that owns it")
	f.StringVar(&body.Pattern, "pattern", "", "certified pattern it runs on")
	f.StringVar(&body.Version, "version", "", "range of pattern versions, for example ~1.4 (default the recommended one)")
	f.StringVar(&body.Title, "title", "", "what people call it")
	f.StringSliceVar(&body.Environments, "environment", nil, "environments to run in (default all)")
	f.BoolVar(&watch, "watch", false, "follow its first change until it is deployed")
	must(c.MarkFlagRequired("team"), c.MarkFlagRequired("pattern"))
	return c
}

func (s *shell) appList() *cobra.Command {
	limit, removed, outdated, team := 0, false, false, ""
	c := &cobra.Command{
		Use: "list", Short: "List the apps you may see", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				if removed {
					raw, err := api.list(ctx, path("apps"), query("removed", "true", "team", team), limit)
					if err != nil {
						return err
					}
					return many(s, c, raw, "No app was removed.", []string{"APP", "TEAM", "PATTERN", "REMOVED", "BY"}, func(p *page, a app) []string {
						return []string{a.Name, a.Team, a.Pattern.Name + " " + a.Pattern.Version, p.ago(*a.RemovedAt), a.RemovedBy}
					})
				}
				filter, none := query("team", team), none(team, "There are no apps yet. Create one: flywheel app create NAME --team TEAM --pattern PATTERN", "The team "+team+" owns no app that you may see.")
				if outdated {
					filter, none = query("outdated", "true", "team", team), "Every instance runs on the recommended version of its pattern, or a newer one."
				}
				raw, err := api.list(ctx, path("apps"), filter, limit)
				if err != nil {
					return err
				}
				return many(s, c, raw, none,
					[]string{"APP", "TEAM", "PATTERN", "RUNS IN", "CREATED"}, func(p *page, a app) []string {
						places := []string{}
						for _, i := range a.Instances {
							place := i.Environment + " " + p.state(i.State)
							if i.Outdated != "" {
								place += " (" + i.Deployed.Version + ", outdated)"
							}
							places = append(places, place)
						}
						return []string{a.Name, a.Team, a.Pattern.Name + " " + a.Pattern.Version, strings.Join(places, ", "), p.ago(a.CreatedAt)}
					})
			})
		},
	}
	c.Flags().BoolVar(&outdated, "outdated", false, "only those with an instance that should move to the recommended version of its pattern")
	c.Flags().BoolVar(&removed, "removed", false, "the removed apps instead; their history can be read")
	c.Flags().StringVar(&team, "team", "", "of this team")
	c.MarkFlagsMutuallyExclusive("removed", "outdated")
	limitFlag(c, &limit, 0)
	return c
}

// runsOn says the pattern version of an instance, and the one it should move to.
func runsOn(i instance) string {
	on := strings.TrimSpace(i.Deployed.Pattern + " " + i.Deployed.Version)
	if i.Outdated != "" {
		on += " → " + i.Outdated
	}
	return on
}

func (s *shell) appShow() *cobra.Command {
	return &cobra.Command{
		Use: "show APP", Short: "Show an app and what runs where", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.get(ctx, path("apps", args[0]), &raw); err != nil {
					return err
				}
				return one(s, c, raw, func(p *page, a app) {
					newer := ""
					if a.Recommended != "" {
						newer = a.Recommended + ": flywheel app upgrade " + a.Name + " --version ~" + a.Recommended
					}
					removed := ""
					if a.RemovedAt != nil {
						removed = p.ago(*a.RemovedAt) + " by " + a.RemovedBy
					}
					p.fields("app", a.Name, "title", a.Title, "team", a.Team, "state", p.state(a.State), "removed", removed,
						"pattern", strings.TrimSpace(a.Pattern.Name+" "+a.Pattern.Version+" "+p.paint(dim, a.Pattern.Range)), "recommended", newer, "repository", a.Repository)
					if a.RemovedAt != nil {
						p.line("\nIts history: flywheel change list --app %s, flywheel deployment list --app %s", a.Name, a.Name)
					}
					if len(a.Instances) == 0 {
						return
					}
					p.line("")
					rows := [][]string{}
					for _, i := range a.Instances {
						rows = append(rows, []string{i.Environment, p.state(i.State), runsOn(i), short(i.Deployed.Artifact), i.URL, p.ago(i.UpdatedAt), i.Reason})
					}
					p.table([]string{"ENVIRONMENT", "STATE", "RUNS ON", "ARTIFACT", "URL", "SINCE", ""}, rows)
					for _, i := range a.Instances {
						for _, o := range i.Outside {
							p.line("%s.%s=%s is outside its bounds since %s, when the waiver %s ended", i.Environment, o.Variable, asText(o.Value), o.Since.Local().Format(time.DateOnly), o.Waiver)
						}
					}
					for n, w := range a.Waivers {
						if n == 0 {
							p.heading("Waivers")
						}
						p.line("- %s %s, until %s: %s", w.what(), p.state(w.state()), first(until(w.Until), "not said"), w.ID)
					}
				})
			})
		},
	}
}

func (s *shell) appUpgrade() *cobra.Command {
	var version, story string
	var preview, watch bool
	c := &cobra.Command{
		Use: "upgrade APP --version RANGE", Short: "Move an app to another range of its pattern's versions",
		Example: "  flywheel app upgrade storefront --version ~1.1", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			body := form{Title: "Move " + args[0] + " to " + version, Version: version, Story: story}
			return s.propose(c, args[0], body, preview, watch)
		},
	}
	c.Flags().StringVar(&version, "version", "", "range of versions, for example ~1.5")
	c.Flags().StringVar(&story, "story", "", "story it serves")
	must(c.MarkFlagRequired("version"))
	proposeFlags(c, &preview, &watch)
	return c
}

func (s *shell) appGive() *cobra.Command {
	return &cobra.Command{
		Use: "give APP TEAM", Short: "Give an app to another team, with its changes, secrets and history",
		Long: "Give an app to another team. An owner of its team does that who is also a developer of the other team, or\nan admin. What runs is not touched. Its flywheel.yaml may go on naming the old team: correct metadata.team with\nany later change.", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.call(ctx, http.MethodPut, path("apps", args[0], "team"), map[string]string{"team": args[1]}, &raw); err != nil {
					return err
				}
				return one(s, c, raw, func(p *page, a app) { p.fields("app", a.Name, "team", a.Team) })
			})
		},
	}
}

func (s *shell) appDelete() *cobra.Command {
	var watch bool
	c := &cobra.Command{
		Use: "delete APP", Short: "Ask for an app to be removed",
		Long: "Ask for an app to be removed. What it runs is destroyed only after an operator has released the plan\nthat says what is destroyed. Its code and history can be read afterwards, and its name stays with them: no\nother app can have it.\n\nTo start over, keep the app and push other code.", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.removal(c, path("apps", args[0]), watch)
		},
	}
	c.Flags().BoolVar(&watch, "watch", false, "follow it until it is gone or an operator has to decide")
	return c
}

// removal asks for something to be removed; the answer is the change that does it.
func (s *shell) removal(c *cobra.Command, where string, watch bool) error {
	return s.act(c, func(ctx context.Context, api *client) error {
		var raw json.RawMessage
		if err := api.call(ctx, http.MethodDelete, where, nil, &raw); err != nil {
			return err
		}
		var made change
		if err := understand(raw, &made); err != nil {
			return err
		}
		if watch {
			return s.watchChange(c, api, made.ID, false)
		}
		if err := one(s, c, raw, changeSummary); err != nil {
			return err
		}
		if made.State == "refused" || made.State == "blocked" {
			note(c, "Nothing is removed yet: %s", first(made.Remedy, "flywheel change show "+made.ID))
			return nil
		}
		note(c, "An operator releases its destroy plan: flywheel change show %s", made.ID)
		return nil
	})
}

// limitFlag adds --limit; 0 means everything.
func limitFlag(c *cobra.Command, limit *int, usual int) {
	*limit = usual
	c.Flags().Var((*count)(limit), "limit", "at most this many; 0 for all")
}

// count is a flag that is a number and not below 0.
type count int

func (n *count) Set(text string) error {
	v, err := strconv.Atoi(text)
	if err != nil || v < 0 {
		return errors.New("it is a number from 0 on")
	}
	*n = count(v)
	return nil
}

func (n *count) String() string { return strconv.Itoa(int(*n)) }

func (n *count) Type() string { return "number" }

// completes tells the shell what a flag may be.
func completes(c *cobra.Command, flag string, values ...string) {
	must(c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)))
}

// query builds a query from names and values, without the empty ones.
func query(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

// must stops the program on a mistake in a command's own definition, which any test finds.
func must(errs ...error) {
	for _, err := range errs {
		if err != nil {
			panic("cli: " + err.Error())
		}
	}
}
