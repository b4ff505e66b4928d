package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"flywheel.dev/flywheel/internal/fault"
)

// lookEvery bounds how old what a watcher shows can be when no topic arrives.
const lookEvery = 500 * time.Millisecond

// sight is what a watcher sees at one moment.
type sight struct {
	frame func(p *page)   // everything, for a terminal
	facts []fact          // one by one, for a log
	last  json.RawMessage // the thing itself, for -o
	end   error           // how watching ends, if over
	over  bool
}

// fact is a line of progress. It is printed when it is new for its key, and its reason unless that was said.
type fact struct{ key, text, why string }

// watch follows something until it is over: topics that are about it wake it, and it looks again by itself.
func (s *shell) watch(c *cobra.Command, api *client, about func(topic) bool, look func(ctx context.Context) (sight, error)) error {
	ctx, stop := context.WithCancel(c.Context())
	defer stop()
	wake := make(chan struct{}, 1)
	go api.follow(ctx, about, func() {
		select {
		case wake <- struct{}{}:
		default: // it will look anyway
		}
	})
	var out screen = &lines{w: c.ErrOrStderr(), now: s.now, told: map[string]fact{}}
	if isTerminal(c.ErrOrStderr()) && os.Getenv("TERM") != "dumb" {
		out = &redraw{to: c.ErrOrStderr().(*terminal), now: s.now}
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		seen, err := look(ctx)
		if err != nil {
			return err
		}
		out.show(seen)
		if seen.over {
			if s.output != "table" {
				if err := s.show(c, seen.last, nil); err != nil {
					return err
				}
			}
			return seen.end
		}
		select {
		case <-ctx.Done():
			if c.Context().Err() == context.DeadlineExceeded {
				return fault.New(fault.Unavailable, "cli.timeout", "It is not over yet, and --timeout has passed.").
					Do("It goes on by itself; watch it again to see how it ends.")
			}
			return ctx.Err()
		case <-wake:
		case <-tick.C:
		}
	}
}

// screen shows progress.
type screen interface{ show(sight) }

// lines prints what is new, for logs and pipes.
type lines struct {
	w    io.Writer
	now  func() time.Time
	told map[string]fact
	whys []string // that were said
}

func (l *lines) show(seen sight) {
	for _, f := range seen.facts {
		if f.text == "" || l.told[f.key] == f {
			continue
		}
		l.told[f.key] = f
		text := f.text
		if why := l.unsaid(f.why, seen); why != "" {
			text += ": " + why
		}
		fmt.Fprintf(l.w, "%s %s\n", l.now().Format("15:04:05"), text)
	}
}

// unsaid returns of a reason what was not said yet, and is not said by how watching ends: a failure is the reason of
// its step, its check, its deployment and its change.
func (l *lines) unsaid(why string, seen sight) string {
	why = strings.TrimSuffix(why, ".")
	if why == "" || seen.over && seen.end != nil && strings.Contains(seen.end.Error(), why) {
		return ""
	}
	for _, said := range l.whys {
		if strings.Contains(said, why) {
			return ""
		}
		if rest, again := strings.CutSuffix(why, ": "+said); again {
			return rest
		}
	}
	l.whys = append(l.whys, why)
	return why
}

// redraw keeps one picture on a terminal. It writes only when the picture differs.
type redraw struct {
	to     *terminal
	now    func() time.Time
	drawn  string
	height int
}

func (r *redraw) show(seen sight) {
	columns, rows, err := term.GetSize(int(r.to.file.Fd()))
	if err != nil || columns < 20 || rows < 5 {
		columns, rows = 80, 24
	}
	p := newPage(r.to, r.now())
	seen.frame(p)
	text := strings.Split(strings.TrimRight(p.text.String(), "\n"), "\n")
	if len(text) > rows-1 { // the end is what moves
		text = text[len(text)-rows+1:]
	}
	var b strings.Builder
	for _, line := range text {
		b.WriteString(r.to.own("2K") + cut(line, columns-1) + "\n")
	}
	if b.String() == r.drawn {
		return
	}
	up := ""
	if r.height > 0 {
		up = r.to.own(fmt.Sprintf("%dA", r.height))
	}
	r.drawn = b.String()
	fmt.Fprint(r.to, up+r.drawn+r.to.own("J"))
	r.height = len(text)
}

// cut shortens a coloured line to n columns, so that it never wraps.
func cut(line string, n int) string {
	if width(line) <= n {
		return line
	}
	var b strings.Builder
	columns := 0
	for i := 0; i < len(line) && columns < n-1; {
		if strings.HasPrefix(line[i:], "\x1b[") {
			end := strings.IndexByte(line[i:], 'm')
			if end < 0 {
				break
			}
			b.WriteString(line[i : i+end+1])
			i += end + 1
			continue
		}
		size := len(string([]rune(line[i:min(len(line), i+4)])[0]))
		b.WriteString(line[i : i+size])
		i += size
		columns++
	}
	if strings.Contains(line, "\x1b[") {
		return b.String() + "…" + reset(line)
	}
	return b.String() + "…"
}

// reset returns the sequence at the end of a coloured line, which takes its colours back.
func reset(line string) string {
	last := strings.LastIndex(line, "\x1b[")
	end := strings.IndexByte(line[last:], 'm')
	if end < 0 {
		return ""
	}
	return line[last : last+end+1]
}

func (s *shell) changeWatch() *cobra.Command {
	var keep bool
	var timeout time.Duration
	c := &cobra.Command{
		Use: "watch CHANGE", Short: "Follow a change until it is deployed",
		Long: `Follow a change until it is deployed (exit code 0), has ended another way (1), or waits for somebody's
decision (8). With --keep it goes on while people decide.`, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.within(c, timeout, func(api *client) error { return s.watchChange(c, api, args[0], keep) })
		},
	}
	c.Flags().BoolVar(&keep, "keep", false, "go on while somebody has to decide")
	c.Flags().DurationVar(&timeout, "timeout", 0, "give up after this time, for example 10m")
	return c
}

// within bounds watching in time.
func (s *shell) within(c *cobra.Command, timeout time.Duration, do func(api *client) error) error {
	return s.act(c, func(ctx context.Context, api *client) error {
		if timeout > 0 {
			bounded, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			c.SetContext(bounded)
		}
		return do(api)
	})
}

func (s *shell) watchChange(c *cobra.Command, api *client, id string, keep bool) error {
	var raw json.RawMessage
	var v changePage
	if err := api.get(c.Context(), path("changes", id), &v); err != nil {
		return err
	}
	of := ""
	if v.Change.Kind == "app" {
		of = v.Change.Subject
	}
	about := func(t topic) bool { return t.ID == id || t.Change == id || of != "" && t.App == of }
	return s.watch(c, api, about, func(ctx context.Context) (sight, error) {
		if err := api.get(ctx, path("changes", id), &raw); err != nil {
			return sight{}, err
		}
		v = changePage{}
		if err := understand(raw, &v); err != nil {
			return sight{}, err
		}
		end, ended := changeEnd(v, keep)
		if !ended && !keep {
			waits, err := api.pinned(ctx, v)
			if err != nil {
				return sight{}, err
			}
			end, ended = waits, waits != nil
		}
		seen := v
		if end != nil { // which says why
			seen.Change.Why = ""
		}
		return sight{frame: func(p *page) { changeFrame(p, seen) }, facts: changeFacts(v), last: raw, end: end, over: ended}, nil
	})
}

// pinned returns what a person has to decide when a deployment of the change waits because an earlier
// change was rolled back where it is to go, else nil.
func (c *client) pinned(ctx context.Context, v changePage) (decision, err error) {
	for _, d := range v.Deployments {
		if d.State != "waiting" || d.Code != "change.rolled_back" {
			continue // what waits for its turn goes on by itself: it may be the revert
		}
		var a app
		if err := c.get(ctx, path("apps", d.App), &a); err != nil {
			return nil, err
		}
		for _, i := range a.Instances {
			if i.Environment == d.Environment && i.PinnedBy != "" && i.PinnedBy != v.Change.ID {
				return &waitingError{fault.OneStop(fmt.Sprintf("Deployment %s of %s/%s: %s.", d.ID, d.App, d.Environment, d.Reason)),
					fmt.Sprintf("If this change mends it, say so: flywheel change fix %s %s", v.Change.ID, i.PinnedBy)}, nil
			}
		}
	}
	return nil, nil
}

// changeEnd says whether watching a change is over, and how.
func changeEnd(v changePage, keep bool) (error, bool) {
	ch := v.Change
	failure := func(sentence string) (error, bool) {
		return fault.New(fault.Conflict, first(ch.Code, "change."+ch.State), "%s", capital(sentence)).Do("%s", first(ch.Remedy, "Look at it: flywheel change show "+ch.ID+".")), true
	}
	switch ch.State {
	case "deployed":
		return nil, true
	case "merged":
		if ch.Kind == "pattern" {
			return nil, true
		}
	case "closed", "rejected", "failed", "refused", "blocked", "rolled_back":
		return failure(fmt.Sprintf("change %s is %s: %s", ch.ID, phrase(ch.State), ch.Why))
	case "review", "changes_requested", "held", "ready", "waiting":
		// While a check runs, the platform is at work, and what people are to decide about may become another.
		working := slices.ContainsFunc(v.Checks, func(k check) bool { return k.State == "running" })
		if !keep && !working {
			return &waitingError{capital(fmt.Sprintf("change %s: %s", ch.ID, ch.Why)), ch.Remedy}, true
		}
		return nil, false
	}
	if ch.State != "merged" {
		return nil, false
	}
	stopped := ""
	for _, d := range v.Deployments {
		switch {
		case d.State == "held" && !keep:
			return &waitingError{fmt.Sprintf("Deployment %s of %s/%s is held: %s", d.ID, d.App, d.Environment, d.Reason),
				fmt.Sprintf("An operator releases it: flywheel deployment release %s --digest %s", d.ID, d.PlanDigest)}, true
		case d.State == "waiting" && !keep && d.Code == "environment.frozen":
			return &waitingError{fault.OneStop(fmt.Sprintf("Deployment %s of %s/%s waits: %s.", d.ID, d.App, d.Environment, d.Reason)), "It goes on by itself then, or when the Center of Excellence lifts the freeze."}, true
		case !d.over():
			return nil, false
		case d.State == "failed" || d.State == "cancelled" || d.State == "interrupted":
			stopped = fmt.Sprintf("change %s stops: deployment %s of %s/%s is %s: %s", ch.ID, d.ID, d.App, d.Environment, d.State, d.Reason)
		}
	}
	if stopped != "" {
		return failure(stopped)
	}
	return nil, false
}

// phrase returns the state of a change as it follows "is".
func phrase(state string) string {
	switch state {
	case "review":
		return "in review"
	case "changes_requested":
		return "back with its author"
	case "waiting", "checking":
		return state
	}
	return strings.ReplaceAll(state, "_", " ")
}

func changeFrame(p *page, v changePage) {
	ch := v.Change
	lane := ""
	if ch.Lane != "" {
		lane = "  lane " + p.paint(bold, ch.Lane)
	}
	p.line("%s %s  %s%s", p.paint(bold, ch.Title), p.paint(dim, ch.ID), p.state(ch.State), lane)
	if ch.Why != "" {
		p.line("  %s", ch.Why)
	}
	for _, r := range ch.Reasons {
		p.line("  %s", p.paint(dim, "- "+r.Text))
	}
	rows := [][]string{}
	for _, k := range v.Checks {
		rows = append(rows, []string{p.mark(k.State), k.Name, p.paint(dim, lasted(p.now, k.StartedAt, k.FinishedAt)), k.Summary})
	}
	p.rows(rows)
	for _, d := range v.Deployments {
		deploymentFrame(p, d)
	}
}

func deploymentFrame(p *page, d deployment) {
	p.line("%s %s  %s %s  %s", p.mark(d.State), p.paint(bold, d.App+"/"+d.Environment), d.what(), p.paint(dim, d.lasted(p.now)), d.Reason)
	rows := stepRows(p, d.Steps)
	for i := range rows {
		rows[i][0] = "  " + rows[i][0]
	}
	p.rows(rows)
}

func changeFacts(v changePage) []fact {
	ch := v.Change
	facts := []fact{}
	if ch.Lane != "" {
		facts = append(facts, fact{key: "lane", text: fmt.Sprintf("lane %s", ch.Lane)})
		for i, r := range ch.Reasons {
			facts = append(facts, fact{key: fmt.Sprintf("reason %d", i), text: "  - " + r.Text})
		}
	}
	for _, k := range v.Checks {
		f := fact{key: "check " + k.Name, text: line(k.Name, k.State, ended(k.StartedAt, k.FinishedAt))}
		switch {
		case k.State == "failed":
			f.why = k.Summary
		case k.State != k.Summary:
			f.text = line(f.text, k.Summary)
		}
		facts = append(facts, f)
	}
	state := fact{"state", fmt.Sprintf("%s is %s", ch.ID, phrase(ch.State)), ch.Why}
	after := []fact{}
	for _, d := range v.Deployments {
		after = append(after, deploymentFacts(d)...)
	}
	if ch.State == "deployed" || ch.State == "rolled_back" { // said last, because it happened last
		return append(append(facts, after...), state)
	}
	return append(append(facts, state), after...)
}

func deploymentFacts(d deployment) []fact {
	where := d.App + "/" + d.Environment
	facts := []fact{}
	for i, st := range d.Steps {
		if st.FinishedAt != nil {
			f := fact{key: fmt.Sprintf("%s %d", d.ID, i), text: line(where, st.Name, st.State, ended(st.StartedAt, st.FinishedAt))}
			if st.State == "succeeded" {
				f.text = line(f.text, clip(st.Detail, 120))
			} else {
				f.why = st.Detail
			}
			facts = append(facts, f)
		}
	}
	text := fmt.Sprintf("%s %s %s", where, d.what(), d.State)
	if d.over() && d.StartedAt != nil {
		text += " " + ended(*d.StartedAt, d.FinishedAt)
	}
	if d.over() || d.State == "held" {
		return append(facts, fact{d.ID, text, d.Reason})
	}
	return append([]fact{{d.ID, text, d.Reason}}, facts...)
}

// line joins the words that are there.
func line(words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

func ended(start time.Time, end *time.Time) string {
	if end == nil {
		return ""
	}
	return "(" + took(end.Sub(start)) + ")"
}

func (s *shell) deploymentWatch() *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use: "watch DEPLOYMENT", Short: "Follow a deployment to its end",
		Long: "Follow a deployment until it has succeeded (exit code 0), has ended another way (1), or is held for an\noperator's decision (8).", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.within(c, timeout, func(api *client) error { return s.watchDeployment(c, api, args[0]) })
		},
	}
	c.Flags().DurationVar(&timeout, "timeout", 0, "give up after this time, for example 10m")
	return c
}

func (s *shell) watchDeployment(c *cobra.Command, api *client, id string) error {
	var d deployment
	if err := api.get(c.Context(), path("deployments", id), &d); err != nil {
		return err
	}
	return s.watch(c, api, func(t topic) bool { return t.App == d.App }, func(ctx context.Context) (sight, error) {
		var raw json.RawMessage
		if err := api.get(ctx, path("deployments", id), &raw); err != nil {
			return sight{}, err
		}
		var d deployment
		if err := understand(raw, &d); err != nil {
			return sight{}, err
		}
		seen := sight{frame: func(p *page) { deploymentFrame(p, d) }, facts: deploymentFacts(d), last: raw, over: d.over() || d.State == "held"}
		switch {
		case d.State == "held":
			seen.end = &waitingError{fmt.Sprintf("Deployment %s is held: %s", d.ID, d.Reason), fmt.Sprintf("An operator releases it: flywheel deployment release %s --digest %s", d.ID, d.PlanDigest)}
		case d.over() && d.State != "succeeded":
			seen.end = fault.New(fault.Conflict, first(d.Code, "deployment."+d.State), "%s", capital(fmt.Sprintf("deployment %s is %s: %s", d.ID, d.State, d.Reason))).
				Do("Its log says more: flywheel deployment log %s.", d.ID)
		}
		return seen, nil
	})
}
