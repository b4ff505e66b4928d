package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/plain"
)

type change struct {
	ID, Kind, Subject, Team, Branch, Title, Body string
	State, Why, Remedy, Code, Lane               string
	Reasons                                      []reason
	Effects                                      []effect
	Head, Merged, Story, Needs, Reverts, Revert  string
	FixForward, RequestID                        string
	OpenedAt, UpdatedAt                          time.Time
}

// heading is the title of a change, and before it whether it is breaking on live instances.
func (v change) heading(p *page) string {
	if slices.ContainsFunc(v.Reasons, func(r reason) bool { return r.Breaking }) {
		return p.paint(red, "breaking:") + " " + v.Title
	}
	return v.Title
}

type reason struct {
	Environment, Variable, Text string
	Held, Breaking              bool
}

type effect struct {
	Environment, Action string
	Plan                bool
}

type check struct {
	Name, State, Summary, Log string
	StartedAt                 time.Time
	FinishedAt                *time.Time
}

// changePage is a change with everything needed to decide about it.
type changePage struct {
	Change        change
	Checks        []check
	Deployments   []deployment
	Certification *certification
	Requests      []request
	HeldDigest    string
}

type certification struct {
	Version, Bump, Digest string
	Destroys              int
	Reasons               []string
	Needed                map[string]int
	Radius                struct {
		radiusGroup
		Planned        int
		Classes, Teams []radiusGroup
	}
	Instances []instanceEffect
	Approvals []struct {
		Discipline, Person, Name, Decision, Reason, Lapsed string
		At                                                 time.Time
	}
}

// radiusGroup is a part of a blast radius: instances by outcome.
type radiusGroup struct {
	Name                string
	Instances, Breaking int
	Outcomes            map[string]int
}

// instanceEffect is what a pattern change would do to a live instance.
type instanceEffect struct {
	App, Environment, Team, Version, Outcome, Summary, Error string
	Breaking                                                 bool
	Destructive, OutOfBounds, NeedsValue                     []string
}

// outcomes are the effects in a word, the gravest first, with their headings.
var outcomes = [][2]string{{"fails", "FAILS"}, {"needs_value", "NEEDS A VALUE"}, {"out_of_bounds", "OUT OF BOUNDS"}, {"destroys", "DESTROYS"},
	{"replaces", "REPLACES"}, {"deferred", "DEFERRED"}, {"updates", "UPDATES"}, {"unplanned", "UNPLANNED"}, {"unchanged", "UNCHANGED"}}

// form is a change without a clone.
type form struct {
	Title   string                       `json:"title,omitempty"`
	Texts   map[string]map[string]string `json:"texts,omitempty"`
	Version string                       `json:"version,omitempty"`
	Story   string                       `json:"story,omitempty"`
}

func (s *shell) changeCommand() *cobra.Command {
	c := &cobra.Command{Use: "change", Short: "Changes: create, follow, decide"}
	c.AddCommand(s.changeCreate(), s.changeList(), s.changeShow(), s.changeDiff(), s.changeLog(), s.changeWatch(),
		s.changeMerge(), s.changeRelease(), s.changeRecheck(), s.changeClose(), s.changeFix(), s.changeEffects(), s.changeApprove(), s.changeRequest(), s.changeReject(), s.changeResult())
	return c
}

func (s *shell) changeCreate() *cobra.Command {
	var body form
	var set []string
	var preview, watch bool
	c := &cobra.Command{
		Use: "create APP --set ENVIRONMENT.VARIABLE=VALUE…", Short: "Change variables, or the range of pattern versions, without a clone",
		Long: `Change variables of an app's environments, or its range of pattern versions. It becomes a commit on a
branch and from there a change like any other. The type that the pattern's module has for a variable says
what its value is: 02142 stays as it is where a text is wanted. Lists and maps are written as in
flywheel.yaml, for example ["a", "b"]; an empty value takes a variable back to its default. Code is
changed by a push.`,
		Example: "  flywheel change create storefront --set prod.instances=3\n  flywheel change create storefront --set prod.db_version=16 --preview",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if body.Texts, err = assignments(set); err != nil {
				return err
			}
			if len(set) == 0 && body.Version == "" {
				return usage("A change needs at least one --set ENVIRONMENT.VARIABLE=VALUE, or --version.")
			}
			return s.propose(c, args[0], body, preview, watch)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&set, "set", nil, "ENVIRONMENT.VARIABLE=VALUE; may be given several times")
	f.StringVar(&body.Version, "version", "", "range of pattern versions, for example ~1.5")
	f.StringVar(&body.Title, "title", "", "what it is about")
	f.StringVar(&body.Story, "story", "", "story it serves")
	proposeFlags(c, &preview, &watch)
	return c
}

func proposeFlags(c *cobra.Command, preview, watch *bool) {
	c.Flags().BoolVar(preview, "preview", false, "show its lane and reasons without making it")
	c.Flags().BoolVar(watch, "watch", false, "follow it until it is deployed or somebody has to decide")
}

// assignments reads prod.instances=3 into the form's shape.
func assignments(set []string) (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	for _, one := range set {
		name, text, assigned := strings.Cut(one, "=")
		environment, variable, dotted := strings.Cut(name, ".")
		if !assigned || !dotted || environment == "" || variable == "" {
			return nil, usage("--set %s is not ENVIRONMENT.VARIABLE=VALUE, for example prod.instances=3.", one)
		}
		if _, err := valueOf(one, text); err != nil {
			return nil, err
		}
		if out[environment] == nil {
			out[environment] = map[string]string{}
		}
		out[environment][variable] = text
	}
	return out, nil
}

// valueOf reads the value of --set.
func valueOf(set, text string) (any, error) {
	value, err := manifest.ParseValue(text)
	if f := fault.From(err); f != nil && len(f.Fields) > 0 {
		return nil, usage("--set %s: the value cannot be read: %s.", set, f.Fields[0].Message)
	}
	return value, err
}

// propose makes a change from a form, or shows what it would be.
func (s *shell) propose(c *cobra.Command, app string, body form, preview, watch bool) error {
	return s.act(c, func(ctx context.Context, api *client) error {
		var raw json.RawMessage
		if preview {
			if err := api.post(ctx, path("apps", app, "changes", "preview"), body, &raw); err != nil {
				return err
			}
			return s.showPreview(c, raw)
		}
		if err := api.post(ctx, path("apps", app, "changes"), body, &raw); err != nil {
			return err
		}
		var made change
		if err := understand(raw, &made); err != nil {
			return err
		}
		if watch {
			return s.watchChange(c, api, made.ID, false)
		}
		end, _ := changeEnd(changePage{Change: made}, true)
		if end != nil {
			made.Why = "" // the error says it
		}
		if err := s.show(c, raw, func(p *page) { changeSummary(p, made) }); err != nil || end != nil {
			return errors.Join(err, end)
		}
		note(c, "Follow it: flywheel change watch %s", made.ID)
		return nil
	})
}

func (s *shell) showPreview(c *cobra.Command, raw json.RawMessage) error {
	type verdict struct {
		Lane            string
		Reasons         []reason
		Effects         []effect
		Refused, Remedy string
		Code            string
		Fields          []fault.Field
	}
	var v verdict
	if err := understand(raw, &v); err != nil {
		return err
	}
	if v.Refused != "" && s.output == "table" {
		f := fault.New(fault.Invalid, v.Code, "%s", v.Refused).Do("%s", v.Remedy)
		f.Fields = v.Fields
		return f
	}
	err := one(s, c, raw, func(p *page, v verdict) {
		held := ""
		if slices.ContainsFunc(v.Reasons, func(r reason) bool { return r.Held }) {
			held = "an operator releases it"
		}
		p.fields("lane", v.Lane, "held", held)
		reasons(p, v.Reasons)
		effects(p, v.Effects)
	})
	if err == nil && v.Refused != "" {
		return exitError(Failed)
	}
	return err
}

func reasons(p *page, list []reason) {
	if len(list) > 0 {
		p.heading("Reasons")
	}
	for _, r := range list {
		p.line("- %s", r.Text)
	}
}

func effects(p *page, list []effect) {
	if len(list) == 0 {
		return
	}
	p.heading("Effect")
	rows := [][]string{}
	for _, e := range list {
		how := "rollout only"
		if e.Plan {
			how = "infrastructure run"
		}
		rows = append(rows, []string{e.Environment, e.Action, p.paint(dim, how)})
	}
	p.rows(rows)
}

func changeSummary(p *page, v change) {
	p.fields("change", v.ID, "title", v.heading(p), v.Kind, v.Subject, "branch", v.Branch, "lane", v.Lane, "state", p.state(v.State), "why", v.Why,
		"story", v.Story, "needs", v.Needs, "reverts", v.Reverts, "reverted by", v.Revert, "fixes", v.FixForward,
		"head", short(v.Head), "merged", short(v.Merged), "opened", p.ago(v.OpenedAt), "updated", p.ago(v.UpdatedAt), "request", v.RequestID)
}

func (s *shell) changeList() *cobra.Command {
	var kind, subject, state, story string
	limit := 0
	c := &cobra.Command{
		Use: "list", Short: "List changes, the newest first", Args: cobra.NoArgs,
		Example: "  flywheel change list --app storefront\n  flywheel change list --state review",
		RunE: func(c *cobra.Command, _ []string) error {
			app, _ := c.Flags().GetString("app")
			pattern, _ := c.Flags().GetString("pattern")
			switch {
			case app != "":
				kind, subject = "app", app
			case pattern != "":
				kind, subject = "pattern", pattern
			}
			return s.act(c, func(ctx context.Context, api *client) error {
				raw, err := api.list(ctx, path("changes"), query("kind", kind, "subject", subject, "state", state, "story", story), limit)
				if err != nil {
					return err
				}
				return many(s, c, raw, none(kind+subject+state+story, "There are no changes yet. Push a branch of an app, or change a variable: flywheel change create APP --set ENVIRONMENT.VARIABLE=VALUE", "No change matches."), []string{"CHANGE", "OF", "LANE", "STATE", "TITLE", "UPDATED", "WHY"}, func(p *page, v change) []string {
					return []string{v.ID, v.Subject, v.Lane, p.state(v.State), clip(v.heading(p), 60), p.ago(v.UpdatedAt), clip(v.Why, 70)}
				})
			})
		},
	}
	f := c.Flags()
	f.String("app", "", "of this app")
	f.String("pattern", "", "of this pattern")
	f.StringVar(&state, "state", "", "in this state, for example review, held or checking")
	completes(c, "state", "checking", "waiting", "review", "changes_requested", "held", "ready", "refused", "failed", "blocked", "merging", "merged", "deployed", "rolled_back", "closed", "rejected")
	f.StringVar(&story, "story", "", "of this story")
	c.MarkFlagsMutuallyExclusive("app", "pattern")
	limitFlag(c, &limit, 30)
	return c
}

func (s *shell) changeShow() *cobra.Command {
	return &cobra.Command{
		Use: "show CHANGE", Short: "Show a change with everything needed to decide about it", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.get(ctx, path("changes", args[0]), &raw); err != nil {
					return err
				}
				return one(s, c, raw, changeDetail)
			})
		},
	}
}

func changeDetail(p *page, v changePage) {
	changeSummary(p, v.Change)
	reasons(p, v.Change.Reasons)
	effects(p, v.Change.Effects)
	if len(v.Checks) > 0 {
		p.heading("Checks")
		rows := [][]string{}
		for _, k := range v.Checks {
			rows = append(rows, []string{k.Name, p.state(k.State), p.paint(dim, lasted(p.now, k.StartedAt, k.FinishedAt)), clip(k.Summary, 100)})
		}
		p.rows(rows)
	}
	if v.Certification != nil {
		certificationDetail(p, v.Change.ID, v.Certification)
	}
	if len(v.Requests) > 0 {
		p.heading("Requests it is to fulfil")
		rows := [][]string{}
		for _, q := range v.Requests {
			rows = append(rows, []string{q.ID, p.state(q.State), clip(q.Title, 80)})
		}
		p.rows(rows)
	}
	if len(v.Deployments) > 0 {
		p.heading("Deployments")
		rows := [][]string{}
		for _, d := range v.Deployments {
			rows = append(rows, []string{d.ID, d.Environment, d.what(), p.state(d.State), d.lasted(p.now), clip(d.Reason, 80)})
		}
		p.rows(rows)
	}
	if v.Change.State == "held" && v.HeldDigest != "" {
		p.heading("What an operator releases")
		p.line("%s", v.HeldDigest)
	}
	if v.Change.Remedy != "" {
		p.line("\n%s", v.Change.Remedy)
	}
}

func certificationDetail(p *page, id string, v *certification) {
	p.heading("Certification of " + v.Version + ", a " + v.Bump + " version")
	if v.Destroys > 0 {
		p.line("%s it destroys or replaces something stateful on %s; to approve it, name the pattern with --confirm", p.paint(red, "breaking:"), plain.Count(v.Destroys, "live instance", "live instances"))
	}
	for _, r := range v.Reasons {
		p.line("- %s", r)
	}
	radiusDetail(p, v)
	if len(v.Instances) > 0 {
		p.line("")
		p.table(effectHeaders, effectRows(p, v.Instances))
	}
	if more := v.Radius.Instances - len(v.Instances); more > 0 && len(v.Instances) > 0 {
		p.line("%s", p.paint(dim, fmt.Sprintf("and %d more: flywheel change effects %s", more, id)))
	}
	p.line("")
	rows := [][]string{}
	for _, discipline := range slices.Sorted(maps.Keys(v.Needed)) {
		said, have := []string{}, 0
		for _, a := range v.Approvals {
			if a.Discipline == discipline {
				lapsed := ""
				switch {
				case a.Lapsed != "":
					lapsed = ", which does not count: " + a.Lapsed
				case a.Decision == "approved":
					have++
				}
				said = append(said, strings.TrimSpace(p.state(a.Decision)+" by "+a.Name+lapsed+" "+p.paint(dim, p.ago(a.At))+" "+a.Reason))
			}
		}
		if have < v.Needed[discipline] {
			said = append([]string{p.state("waiting")}, said...)
		}
		rows = append(rows, []string{discipline, strings.Join(said, ", ")})
	}
	p.rows(rows)
	p.fields("digest", v.Digest)
}

// radiusDetail prints the blast radius: how many instances, by class and by team, have which outcome.
func radiusDetail(p *page, v *certification) {
	if v.Radius.Instances == 0 {
		return
	}
	v.Radius.Name = "all"
	headers, shown := []string{""}, []string{}
	for _, o := range outcomes {
		if v.Radius.Outcomes[o[0]] > 0 {
			headers, shown = append(headers, o[1]), append(shown, o[0])
		}
	}
	rows := [][]string{}
	for _, g := range append(append([]radiusGroup{v.Radius.radiusGroup}, v.Radius.Classes...), v.Radius.Teams...) {
		row := []string{g.Name}
		for _, o := range shown {
			row = append(row, strconv.Itoa(g.Outcomes[o]))
		}
		rows = append(rows, row)
	}
	p.heading(fmt.Sprintf("Blast radius: %s, %d of them planned, %d would break", plain.Count(v.Radius.Instances, "live instance", "live instances"), v.Radius.Planned, v.Radius.Breaking))
	p.table(headers, rows)
}

var effectHeaders = []string{"INSTANCE", "TEAM", "ON", "OUTCOME", "PLAN", ""}

func effectRows(p *page, list []instanceEffect) [][]string {
	rows := [][]string{}
	for _, i := range list {
		outcome := strings.ReplaceAll(i.Outcome, "_", " ")
		if i.Breaking {
			outcome = p.paint(red, outcome)
		}
		note := first(i.Error, strings.Join(i.Destructive, ", "), strings.Join(i.NeedsValue, ", "), strings.Join(i.OutOfBounds, "; "))
		rows = append(rows, []string{i.App + "/" + i.Environment, i.Team, i.Version, outcome, i.Summary, clip(note, 80)})
	}
	return rows
}

func (s *shell) changeEffects() *cobra.Command {
	var outcome, class, environment, team, app string
	limit := 0
	c := &cobra.Command{
		Use: "effects CHANGE", Short: "List what a pattern change would do to live instances, the gravest first", Args: cobra.ExactArgs(1),
		Example: "  flywheel change effects chg_d0c5ghq23akk2s3lvr9g --outcome out_of_bounds --class production",
		RunE: func(c *cobra.Command, args []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				q := query("outcome", outcome, "class", class, "environment", environment, "team", team, "app", app)
				raw, err := api.list(ctx, path("changes", args[0], "effects"), q, limit)
				if err != nil {
					return err
				}
				return many(s, c, raw, "No live instance matches.", effectHeaders, func(p *page, v instanceEffect) []string { return effectRows(p, []instanceEffect{v})[0] })
			})
		},
	}
	f := c.Flags()
	f.StringVar(&outcome, "outcome", "", "fails, needs_value, out_of_bounds, destroys, replaces, deferred, updates, unplanned or unchanged")
	f.StringVar(&class, "class", "", "in environments of this class")
	f.StringVar(&environment, "environment", "", "in this environment")
	f.StringVar(&team, "team", "", "of this team")
	f.StringVar(&app, "app", "", "of this app")
	limitFlag(c, &limit, 50)
	return c
}

// diff is what a change alters.
type diff struct {
	Files []struct {
		Path, OldPath, Status, Patch string
		Binary, Truncated            bool
	}
}

func (s *shell) changeDiff() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "diff CHANGE", Short: "Show the files a change alters, as a patch", Args: cobra.ExactArgs(1),
		Long: `Show what merging a change does to main, as a patch. A patch that is too long is cut; --file shows the
whole one of a file, and who approves the change has to have seen it.`,
		RunE: func(c *cobra.Command, args []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				if file != "" {
					whole, err := api.wholePatch(ctx, args[0], file)
					if err != nil {
						return err
					}
					p := newPage(c.OutOrStdout(), s.now())
					patch(p, whole)
					_, err = io.WriteString(c.OutOrStdout(), p.text.String())
					return err
				}
				var raw json.RawMessage
				if err := api.get(ctx, path("changes", args[0], "diff"), &raw); err != nil {
					return err
				}
				return one(s, c, raw, func(p *page, v diff) { diffDetail(p, args[0], v) })
			})
		},
	}
	c.Flags().StringVar(&file, "file", "", "the whole patch of this file")
	return c
}

func (c *client) wholePatch(ctx context.Context, id, file string) (string, error) {
	var out strings.Builder
	err := c.text(ctx, path("changes", id, "diff", "file")+"?"+query("file", file).Encode(), &out)
	return out.String(), err
}

func diffDetail(p *page, id string, v diff) {
	for _, f := range v.Files {
		from := ""
		if f.OldPath != "" {
			from = " from " + f.OldPath
		}
		kind := ""
		if f.Binary {
			kind = " (a binary file)"
		}
		p.line("%s", p.paint(bold, f.Status+" "+f.Path+from+kind))
		patch(p, f.Patch)
		if f.Truncated {
			p.line("%s", p.paint(dim, "(the patch goes on: flywheel change diff "+id+" --file "+quoted(f.Path)+")"))
		}
	}
}

// quoted writes an argument as a shell reads it.
func quoted(s string) string {
	if !strings.ContainsFunc(s, func(c rune) bool { return !strings.ContainsRune("._-/+", c) && !unicode.In(c, unicode.L, unicode.Nd) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func patch(p *page, text string) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "+"):
			line = p.paint(green, line)
		case strings.HasPrefix(line, "-"):
			line = p.paint(red, line)
		case strings.HasPrefix(line, "@@"):
			line = p.paint(blue, line)
		}
		p.line("%s", line)
	}
}

func (s *shell) changeLog() *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use: "log CHANGE CHECK", Short: "Print the log of a check", Args: cobra.ExactArgs(2),
		Example: "  flywheel change log chg_d0c5ghq23akk2s3lvr9g tests",
		RunE: func(c *cobra.Command, args []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				return api.text(ctx, path("changes", args[0], "log", args[1])+following(follow), c.OutOrStdout())
			})
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until it ends")
	return c
}

func following(follow bool) string {
	if follow {
		return "?follow=true"
	}
	return ""
}

// decide sends a decision about a change and shows the change after it.
func (s *shell) decide(c *cobra.Command, id, verb string, body any) error {
	return s.act(c, func(ctx context.Context, api *client) error {
		var raw json.RawMessage
		if err := api.post(ctx, path("changes", id, verb), body, &raw); err != nil {
			return err
		}
		return one(s, c, raw, changeSummary)
	})
}

func (s *shell) changeMerge() *cobra.Command {
	return &cobra.Command{
		Use: "merge CHANGE", Short: "Merge a green change whose app says `merge: manual`", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return s.decide(c, args[0], "merge", nil) },
	}
}

func (s *shell) changeRelease() *cobra.Command {
	var digest, name string
	c := &cobra.Command{
		Use: "release CHANGE --digest DIGEST", Short: "Let a held change go on, as an operator",
		Long: "Let a held change go on. The digest says what you looked at: `flywheel change show` prints it. Without\n--digest, at a terminal, the change is shown and you are asked.", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.bind(c, args[0], digest, "Release what this would do?", func(v changePage) (string, string) { return v.HeldDigest, "" },
				func(digest, _ string) error {
					return s.decide(c, args[0], "release", map[string]any{"digest": digest, "confirm": name})
				})
		},
	}
	c.Flags().StringVar(&digest, "digest", "", "what was shown")
	c.Flags().StringVar(&name, "confirm", "", "name of the app, where you are the only active person and release what you wrote")
	return c
}

// bind calls do with the digest that the person has seen: the one they name, or the one that is shown
// to them now and that they confirm. Where of returns a name as well, they confirm it by typing that name.
func (s *shell) bind(c *cobra.Command, id, digest, question string, of func(changePage) (digest, name string), do func(digest, typed string) error) error {
	if digest != "" {
		return do(digest, "")
	}
	if !isTerminal(c.InOrStdin()) {
		return usage("--digest is needed: it says what you looked at. `flywheel change show %s` prints it.", id)
	}
	return s.act(c, func(ctx context.Context, api *client) error {
		v, text, err := s.everything(ctx, c, api, id)
		if err != nil {
			return err
		}
		if err := s.present(c, text); err != nil {
			return err
		}
		digest, name := of(v)
		if name != "" {
			typed, err := ask(c, bufio.NewReader(c.InOrStdin()), question+" Type the name of the pattern: ")
			if err != nil {
				return err
			}
			if typed != name {
				note(c, "That is not %s. Nothing was decided.", name)
				return exitError(Failed)
			}
			return do(digest, typed)
		}
		yes, err := confirm(c, question)
		if err != nil {
			return err
		}
		if !yes {
			note(c, "Nothing was decided.")
			return exitError(Failed)
		}
		return do(digest, "")
	})
}

// everything returns a change and all that a person has to see before they decide about it: its lane and effects,
// and what it does to main, every patch whole.
func (s *shell) everything(ctx context.Context, c *cobra.Command, api *client, id string) (v changePage, text string, err error) {
	var files diff
	if err = api.get(ctx, path("changes", id), &v); err == nil {
		err = api.get(ctx, path("changes", id, "diff"), &files)
	}
	if err != nil {
		return v, "", err
	}
	for i := range files.Files {
		f := &files.Files[i]
		if f.Truncated {
			if f.Patch, err = api.wholePatch(ctx, id, f.Path); err != nil {
				return v, "", err
			}
			f.Truncated = false
		}
	}
	p := newPage(c.ErrOrStderr(), s.now())
	changeDetail(p, v)
	p.heading("What it does to main")
	diffDetail(p, id, files)
	return v, p.text.String(), nil
}

// present shows a text that may be longer than the terminal, in a pager where it is.
func (s *shell) present(c *cobra.Command, text string) error {
	t, ok := c.ErrOrStderr().(*terminal)
	if ok && t.file != nil {
		_, rows, err := term.GetSize(int(t.file.Fd()))
		pager, given := os.LookupEnv("PAGER")
		if !given {
			pager = "less"
		}
		if words := strings.Fields(pager); err == nil && len(words) > 0 && strings.Count(text, "\n") >= rows {
			if found, err := exec.LookPath(words[0]); err == nil {
				cmd := exec.CommandContext(c.Context(), found, words[1:]...)
				cmd.Env = append(os.Environ(), "LESS=-R", "LESSSECURE=1")
				cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(t.clean(text)), t.file, t.file
				return cmd.Run()
			}
		}
	}
	_, err := fmt.Fprintln(c.ErrOrStderr(), text)
	return err
}

func (s *shell) changeRecheck() *cobra.Command {
	return &cobra.Command{
		Use: "recheck CHANGE", Short: "Check a change again that failed for a cause outside of it, such as a missing secret", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return s.decide(c, args[0], "recheck", nil) },
	}
}

func (s *shell) changeClose() *cobra.Command {
	var why string
	c := &cobra.Command{
		Use: "close CHANGE", Short: "Close a change without merging it", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.decide(c, args[0], "close", map[string]any{"reason": why})
		},
	}
	c.Flags().StringVar(&why, "reason", "", "why")
	return c
}

func (s *shell) changeFix() *cobra.Command {
	return &cobra.Command{
		Use: "fix CHANGE ROLLED-BACK-CHANGE", Short: "Declare that a change mends one that was rolled back", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return s.decide(c, args[0], "fix", map[string]any{"fixes": args[1]})
		},
	}
}

func (s *shell) changeApprove() *cobra.Command {
	return s.decision("approve", "Approve a pattern change for a discipline", "Approve this for %s?")
}

func (s *shell) changeRequest() *cobra.Command {
	return s.decision("request-changes", "Ask the authors of a pattern change for another push, with the reason", "Ask for changes, for %s?")
}

func (s *shell) changeReject() *cobra.Command {
	return s.decision("reject", "Reject a pattern change for a discipline, with the reason", "Reject this for %s?")
}

func (s *shell) decision(verb, shortText, question string) *cobra.Command {
	var discipline, digest, why, name string
	c := &cobra.Command{
		Use: verb + " CHANGE --discipline DISCIPLINE --digest DIGEST", Short: shortText,
		Long: shortText + ". The digest says what you looked at: `flywheel change show` prints it. Without\n--digest, at a terminal, the change is shown and you are asked.", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if verb != "approve" && why == "" {
				return usage("--reason is needed: the authors are told why.")
			}
			return s.bind(c, args[0], digest, fmt.Sprintf(question, discipline), func(v changePage) (string, string) {
				switch {
				case v.Certification == nil:
					return "", ""
				case verb == "approve" && v.Certification.Destroys > 0 && name == "":
					return v.Certification.Digest, v.Change.Subject
				}
				return v.Certification.Digest, ""
			}, func(digest, typed string) error {
				body := map[string]any{"discipline": discipline, "digest": digest, "reason": why}
				if verb == "approve" {
					body["confirm"] = first(name, typed)
				}
				return s.decide(c, args[0], verb, body)
			})
		},
	}
	c.Flags().StringVar(&discipline, "discipline", "", "security, operations or development")
	c.Flags().StringVar(&digest, "digest", "", "what was shown")
	c.Flags().StringVar(&why, "reason", "", "why")
	if verb == "approve" {
		c.Flags().StringVar(&name, "confirm", "", "name of the pattern, for a version that destroys or replaces something stateful on live instances")
	}
	must(c.MarkFlagRequired("discipline"))
	return c
}

func (s *shell) changeResult() *cobra.Command {
	var head, name, summary, artifact string
	var passed bool
	c := &cobra.Command{
		Use: "result CHANGE --name CHECK --head COMMIT --passed=true|false", Short: "Post the result of a check that an outer CI ran", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.decide(c, args[0], "results", map[string]any{"head": head, "name": name, "passed": passed, "summary": summary, "artifact": artifact})
		},
	}
	f := c.Flags()
	f.StringVar(&name, "name", "", "name of the check")
	f.StringVar(&head, "head", "", "commit that was checked")
	f.BoolVar(&passed, "passed", false, "whether it passed")
	f.StringVar(&summary, "summary", "", "in a sentence")
	f.StringVar(&artifact, "artifact", "", "digest of what it built and uploaded, where build.outer names this check")
	must(c.MarkFlagRequired("name"), c.MarkFlagRequired("head"), c.MarkFlagRequired("passed"))
	return c
}

// lasted says how long something took, or takes so far.
func lasted(now, start time.Time, end *time.Time) string {
	if start.IsZero() {
		return ""
	}
	if end != nil {
		now = *end
	}
	return took(now.Sub(start))
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
