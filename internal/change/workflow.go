package change

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/git"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/web"
)

// found is what looking at a revision answered: the proposal with its verdict, or the state that the
// change takes instead, with the reason.
type found struct {
	Proposal Proposal       `json:"proposal"`
	Verdict  Verdict        `json:"verdict"`
	Main     string         `json:"main"`
	Build    manifest.Build `json:"build"`
	Test     manifest.Test  `json:"test"`
	State    State          `json:"state"`
	Why      string         `json:"why"`
	Remedy   string         `json:"remedy"`
	Code     string         `json:"code"`
	Needs    string         `json:"needs"`
}

// process carries one revision of an app change: lane → tests → plans → decision → merge. It ends
// where something has to be waited for; what ends the waiting starts the next revision.
func (s *Service) process(flow durable.Flow, workflow string) (string, error) {
	id, number, _ := strings.Cut(workflow, ".")
	revision, _ := strconv.Atoi(number)
	// A stopping server must not turn a running step into a failed one.
	ctx, err := s.GoOn(flow, "change", id)
	if err != nil {
		return "", err
	}
	ended, err := s.attempt(flow, ctx, id, revision)
	if err = durable.UnlessOutdated(err); err != nil && flow.Err() == nil {
		s.troubled(ctx, id, revision, err)
	}
	return ended, err
}

// GoOn returns the context of a workflow that carries a change on: the named part of the platform acts in it,
// for the request that moved the change last.
func (s *Service) GoOn(flow durable.Flow, part, id string) (context.Context, error) {
	ctx := account.System(context.WithoutCancel(flow), part)
	var c Change
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) { c, err = Find(tx, id); return err })
	return web.ForRequest(ctx, c.RequestID), err
}

func (s *Service) attempt(flow durable.Flow, ctx context.Context, id string, revision int) (string, error) {
	f, err := durable.Step(flow, "lane", func(context.Context) (found, error) { return s.findLane(ctx, id, revision) })
	if err != nil || f.State != Checking || f.Why != "" {
		return string(f.State), err
	}
	artifact, err := durable.Step(flow, "tests", func(context.Context) (string, error) { return s.test(ctx, id, revision, f) })
	if err != nil || artifact == "" {
		return "tests", err
	}
	held := []string{}
	f.Proposal.Plans = map[string]Shown{}
	for _, effect := range f.Verdict.Effects {
		if !effect.Plan {
			continue
		}
		p, err := durable.Step(flow, "plan: "+effect.Environment, func(context.Context) (planned, error) {
			return s.planEffect(ctx, id, revision, f, effect, artifact)
		})
		if err != nil || p.Failed {
			return "plan", err
		}
		f.Proposal.Plans[effect.Environment] = p.Shown
		if p.Held != "" {
			held = append(held, p.Held)
		}
	}
	decided, err := durable.Transaction(s.Durable, flow, "decide", func(tx *db.Tx) (State, error) {
		return s.decide(tx.In(ctx), id, revision, f, artifact, held)
	})
	if err != nil || decided != Merging {
		return string(decided), err
	}
	// From here on main may have moved: the engine tries until that is recorded.
	commit, err := durable.Step(flow, "merge", func(context.Context) (string, error) { return s.merge(ctx, id, revision) })
	if err != nil {
		return "merge", err
	}
	_, err = durable.Transaction(s.Durable, flow, "merged", func(tx *db.Tx) (string, error) {
		return "", s.merged(tx.In(ctx), id, revision, f, artifact, commit)
	})
	return "merged", err
}

// troubled says that a revision could not be processed because of the platform, not of the change. The
// engine tries again.
func (s *Service) troubled(ctx context.Context, id string, revision int, cause error) {
	s.Log.ErrorContext(ctx, "a change could not be processed", "change", id, "revision", revision, "error", cause)
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		c, err := current(tx, Take, id, revision, Checking)
		if err != nil {
			return err
		}
		c.Code, c.Why, c.Remedy = codeTrouble, "something went wrong inside Flywheel", "It is tried again by itself. What went wrong is in the server's log."
		if f := fault.From(cause); f.Kind == fault.Unavailable {
			c.Why = f.Message
		}
		return Save(tx, c)
	})
	if durable.UnlessOutdated(err) != nil {
		s.Log.ErrorContext(ctx, "nor could that be noted", "change", id, "error", err)
	}
}

// ours reports whether err is the platform's own trouble, which passes, and not what a check found.
func ours(err error) bool {
	f := fault.From(err)
	return f != nil && (f.Kind == fault.Internal || f.Code == fault.DiskFull)
}

// current loads the change and fails with durable.ErrOutdated unless it is still at this revision and in this
// state.
func current(tx *db.Tx, load func(*db.Tx, string) (Change, error), id string, revision int, state State) (Change, error) {
	c, err := load(tx, id)
	if err == nil && (c.Revision != revision || c.State != state) {
		err = durable.ErrOutdated
	}
	return c, err
}

// findLane describes what the branch, merged into main as it is now, would make of every instance,
// and records the lane with its reasons.
func (s *Service) findLane(ctx context.Context, id string, revision int) (f found, err error) {
	var c Change
	var a app.App
	var environments []app.Environment
	var waivers []app.Waiver
	var deployed map[string]app.Desired
	var beside Change
	var busy bool
	err = s.DB.Read(ctx, func(tx *db.Tx) error { c, err = current(tx, Find, id, revision, Checking); return err })
	if err != nil {
		return f, err
	}
	// First main, then what is recorded about it: a merge that comes between the two makes ours fail, and
	// a merge that began before is seen below.
	if f.Main, err = s.Git.Resolve(ctx, c.Repo(), "refs/heads/main"); err != nil {
		return f, err
	}
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		if a, err = app.Find(tx, c.Subject); err != nil {
			return err
		}
		if beside, busy, err = MergingBeside(tx, c); err != nil {
			return err
		}
		if environments, err = app.Environments(tx); err != nil {
			return err
		}
		if deployed, err = app.Deployed(tx, c.Subject); err != nil {
			return err
		}
		waivers, err = app.Waivers(tx, c.Subject)
		return err
	})
	switch {
	case fault.Is(err, "app.not_found"), fault.Is(err, "app.removed"):
		f.State, f.Why = Closed, "the app is removed"
	case err != nil:
		return f, err
	case busy:
		f.State, f.Code, f.Why = Checking, codeQueued, "waits until the change "+beside.ID+" is merged"
	default:
		if f, err = s.look(ctx, c, f.Main, a, environments, deployed, waivers); err != nil {
			refused := fault.From(err)
			if refused.Kind == fault.Internal || refused.Kind == fault.Unavailable {
				return f, err
			}
			f.State, f.Why, f.Remedy, f.Code = Refused, refused.Message, refused.Remedy, refused.Code
			for _, field := range refused.Fields {
				f.Why += fmt.Sprintf(" (%s: %s)", field.Path, field.Message)
			}
		}
	}
	return f, s.DB.Write(ctx, func(tx *db.Tx) error {
		if c, err = current(tx, Take, id, revision, Checking); err != nil {
			return err
		}
		c.State, c.Why, c.Remedy, c.Code, c.Main = f.State, f.Why, f.Remedy, f.Code, f.Main
		if f.Needs != "" {
			c.Needs = f.Needs
		}
		if f.Verdict.Lane != "" {
			c.Lane, c.Reasons, c.Effects = f.Verdict.Lane, f.Verdict.Reasons, f.Verdict.Effects
		} else if f.State == Refused && len(f.Verdict.Reasons) > 0 {
			c.Lane, c.Reasons, c.Effects = "", f.Verdict.Reasons, []Effect{}
		}
		check := Check{Name: "lane", State: CheckPassed, Summary: string(c.Lane), Detail: c.Reasons}
		switch {
		case f.State == Checking && f.Why != "":
			check.State, check.Summary = CheckRunning, f.Why
		case f.State == Waiting:
			check.State, check.Summary = CheckHeld, f.Why
		case f.State != Checking:
			check.State, check.Summary = CheckFailed, f.Why
		}
		if err := SetCheck(tx, c, check); err != nil {
			return err
		}
		return Save(tx, c)
	})
}

// look is findLane without its writing. A fault it returns is a refusal.
func (s *Service) look(ctx context.Context, c Change, main string, a app.App, environments []app.Environment, deployed map[string]app.Desired, waivers []app.Waiver) (f found, err error) {
	f.State, f.Main = Checking, main
	repo := c.Repo()
	if there, err := s.Git.Contains(ctx, repo, f.Main, c.Head); err != nil {
		return f, err
	} else if there {
		f.State, f.Why = Closed, "main has all its commits already"
		return f, nil
	}
	tree, conflicts, err := s.Git.MergeTree(ctx, repo, f.Main, c.Head)
	if err != nil {
		return f, err
	}
	if len(conflicts) > 0 {
		f.State, f.Code, f.Why = Blocked, CodeConflict, "it conflicts with main in "+strings.Join(conflicts, ", ")
		f.Remedy = "Merge main into your branch, resolve the conflict and push again."
		if madeByForm(c.Branch) {
			f.Remedy = fmt.Sprintf("Close it, `flywheel change close %s`, and ask for it again from what main is now.", c.ID)
		}
		return f, nil
	}
	f.Proposal.Tree = tree
	content, err := s.Git.ReadFile(ctx, repo, tree, "flywheel.yaml")
	if fault.From(err) != nil && fault.From(err).Kind == fault.NotFound {
		return f, fault.New(fault.Invalid, "manifest.missing", "The branch has no flywheel.yaml at its root.").
			Do("Add it; `flywheel app delete` is the way to remove an app.")
	} else if err != nil {
		return f, err
	}
	m, err := manifest.ParseApp("flywheel.yaml", content)
	if err != nil {
		return f, err
	}
	if err := checkManifest(m, a, environments); err != nil {
		return f, err
	}
	f.Build, f.Test = m.Build, m.Test
	if m.Build.Outer != "" {
		// What an outer CI builds is the branch, so it must be what the merge would make.
		if whole, err := s.Git.Contains(ctx, repo, c.Head, main); err != nil {
			return f, err
		} else if !whole {
			f.State, f.Code, f.Why, f.Remedy = Blocked, codeBehind, "main has moved, and the outer check "+m.Build.Outer+" builds the branch alone", "Merge main into your branch and push it."
			return f, nil
		}
	}
	f.Proposal.Smoke = m.Test.Smoke
	f.Proposal.Auto = m.Merge != "manual" && c.Reverts == ""

	version, err := s.pin(ctx, &f, c, a, m)
	if err != nil || f.State != Checking {
		return f, err
	}
	files, err := s.Git.TreeDigest(ctx, repo, tree, "flywheel.yaml")
	if err != nil {
		return f, err
	}
	f.Proposal.Description = app.Description{
		Pin:    app.Pin{Pattern: m.Pattern.Name, Range: m.Pattern.Version, Version: version.Version, Digest: version.Digest},
		Source: SourceDigest(a.ID, files, m.Build, m.Test.Command),
	}
	waived, outside, err := describe(&f.Proposal.Description, version, m, environments, c.Subject, waivers)
	if err != nil {
		f.Verdict.Reasons = outside
		return f, err
	}
	f.Verdict = Classify(a.Description, f.Proposal.Description, environments, deployed, func(environment, variable string) string {
		return version.Manifest.Explain(classOf(environments, environment), variable)
	})
	f.Verdict.Reasons = append(f.Verdict.Reasons, waived...)
	if err := checkValues(version, environments, f.Proposal.Description, c.Subject, f.Verdict.Effects); err != nil {
		return f, err
	}
	dropped, err := s.dropped(ctx, c, a, m, version, main)
	if err != nil {
		return f, err
	}
	f.Verdict.Reasons = append(f.Verdict.Reasons, dropped...)
	if version.State == pattern.Retired && slices.ContainsFunc(f.Verdict.Effects, func(e Effect) bool { return e.Action == "deploy" }) {
		return f, fault.New(fault.Conflict, "pattern.retired", "%s %s is retired: nothing is deployed on it any more.", version.Pattern, version.Version).
			Do("Move to a certified version in the same change.")
	}
	return f, nil
}

// checkValues refuses a change that needs a plan where a variable has no value and no default: the engine would say so
// in its own words.
func checkValues(v pattern.Version, environments []app.Environment, d app.Description, name string, effects []Effect) error {
	for _, effect := range effects {
		at := slices.IndexFunc(environments, func(e app.Environment) bool { return e.Name == effect.Environment })
		if !effect.Plan || effect.Action != "deploy" || at < 0 {
			continue
		}
		coe, team := app.WithoutValue(v, environments[at], d.Environments[effect.Environment])
		if len(coe) > 0 {
			sentence, command := app.NoEnvironmentValue(v, effect.Environment, coe)
			return fault.New(fault.Conflict, "environment.value_missing", "%s", sentence).
				Do("Somebody of the Center of Excellence sets it: `%s`. Then check the change again: flywheel change recheck CHANGE.", command)
		}
		if len(team) > 0 {
			return fault.New(fault.Invalid, "variable.missing", "%s.%s has no value, and %s %s needs one.", effect.Environment, team[0], v.Pattern, v.Version).
				Do("Set it under environments in flywheel.yaml and push that; for an app that runs: `flywheel change create %s --set %s.%s=VALUE`.", name, effect.Environment, team[0])
		}
	}
	return nil
}

// dropped returns how the change lets its app be tested less than main does, and who must release it for that: whom
// the pattern names, as main has it or as the change would, whichever is stricter.
func (s *Service) dropped(ctx context.Context, c Change, a app.App, m *manifest.App, version pattern.Version, main string) ([]Reason, error) {
	if a.Pin.Pattern == "" { // nothing is on main yet
		return nil, nil
	}
	content, err := s.Git.ReadFile(ctx, c.Repo(), main, "flywheel.yaml")
	if err != nil {
		return nil, err
	}
	old, err := manifest.ParseApp("flywheel.yaml", content)
	if err != nil {
		return nil, err
	}
	texts := weaker(old, m)
	if len(texts) == 0 {
		return nil, nil
	}
	var before pattern.Version
	err = s.DB.Read(ctx, func(tx *db.Tx) error { before, err = s.Patterns.ByDigest(tx, a.Pin.Digest); return err })
	if err != nil {
		return nil, err
	}
	who := manifest.Stricter(before.Manifest.Spec.Tests.Removal, version.Manifest.Spec.Tests.Removal)
	reasons := []Reason{}
	for _, text := range texts {
		r := Reason{Text: text}
		if who != manifest.Free {
			r.Text, r.Held, r.Needs = text+"; "+map[manifest.Who]string{manifest.Owner: "an owner of the team", manifest.CoE: "the Center of Excellence"}[who]+" releases that", true, who
		}
		reasons = append(reasons, r)
	}
	return reasons, nil
}

// pin resolves the pattern version of the proposal (rules of change 4 and 5). What is not certified yet is
// waited for, where a pattern change promises it.
func (s *Service) pin(ctx context.Context, f *found, c Change, a app.App, m *manifest.App) (v pattern.Version, err error) {
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		versions, err := s.Patterns.Versions(tx, m.Pattern.Name)
		if err != nil {
			return err
		}
		if v, err = ResolvePin(a.Pin, m.Pattern, versions); !fault.Is(err, "pattern.nothing_in_range") {
			return err
		}
		missing := fault.From(err)
		var trailer *Change
		if c.Needs != "" {
			named, err := Find(tx, c.Needs)
			if err == nil {
				trailer = &named
			} else if !fault.Is(err, "change.not_found") {
				return err
			}
		}
		open, err := OpenOf(tx, OfPattern, m.Pattern.Name)
		if err != nil {
			return err
		}
		w, err := WaitFor(c, m.Pattern, trailer, open, missing)
		if err != nil {
			return err
		}
		f.Verdict.Lane, f.Verdict.Effects, f.Verdict.Reasons = Pattern, []Effect{}, []Reason{{Text: w.Reason}}
		f.State, f.Needs, f.Code, f.Why, f.Remedy = w.State, w.Needs, w.Code, w.Why, w.Remedy
		return nil
	})
	return v, err
}

func variablesOf(m *manifest.App) map[string]manifest.Values {
	out := map[string]manifest.Values{}
	for name, e := range m.Environments {
		out[name] = e.Variables
		if out[name] == nil {
			out[name] = manifest.Values{}
		}
	}
	return out
}

func checkManifest(m *manifest.App, a app.App, environments []app.Environment) error {
	if m.Metadata.Name != a.Name {
		return fault.New(fault.Invalid, "manifest.name_differs", "flywheel.yaml describes %q, but this is the repository of %q.", m.Metadata.Name, a.Name).Do("Set metadata.name to %s.", a.Name)
	}
	if m.Metadata.Team != a.Team && !slices.Contains(a.FormerTeams, m.Metadata.Team) {
		return fault.New(fault.Invalid, "manifest.team_differs", "flywheel.yaml names the team %q, but the app belongs to %q.", m.Metadata.Team, a.Team).
			Do("Set metadata.team to %s, or give the app to that team: flywheel app give %s %s.", a.Team, a.Name, m.Metadata.Team)
	}
	known := []string{}
	for _, e := range environments {
		known = append(known, e.Name)
	}
	for name := range m.Environments {
		if classOf(environments, name) == "" {
			return fault.New(fault.Invalid, "environment.unknown", "flywheel.yaml selects the environment %q, which the platform does not have.", name).
				Do("Choose among %s; the Center of Excellence adds environments.", strings.Join(known, ", "))
		}
	}
	return nil
}

func classOf(environments []app.Environment, name string) string {
	for _, e := range environments {
		if e.Name == name {
			return e.Class
		}
	}
	return ""
}

// describe adds to a description the variables of flywheel.yaml as the types of the version make them. It refuses
// one that has another type or is outside its bounds, with the bound and the way out (rule of change 3). What a
// waiver in force accepts passes, and the reasons in waived name the waiver; outside has those of the refusal.
func describe(d *app.Description, version pattern.Version, m *manifest.App, environments []app.Environment, name string, waivers []app.Waiver) (waived, outside []Reason, err error) {
	d.Environments = variablesOf(m)
	refused := fault.New(fault.Invalid, "variable.out_of_bounds", "")
	theirs := false
	messages, ask := []string{}, []string{}
	for _, e := range app.InOrder(environments) {
		own, selected := d.Environments[e.Name]
		if !selected {
			continue
		}
		own, bad := version.Check(e.Class, own)
		d.Environments[e.Name] = own
		for _, v := range bad {
			at := slices.IndexFunc(waivers, func(w app.Waiver) bool { return w.Accepts(name, e.Name, v.Variable, own[v.Variable]) })
			if v.Bound && at >= 0 {
				w := waivers[at]
				waived = append(waived, Reason{Environment: e.Name, Variable: v.Variable, Text: fmt.Sprintf("%s.%s: %s Accepted by %s until %s with the waiver %s.",
					e.Name, v.Variable, v.Message, w.DecidedBy, w.Until.Format(time.DateOnly), w.ID)})
				continue
			}
			theirs = theirs || v.Theirs
			text := fmt.Sprintf("%s.%s: %s", e.Name, v.Variable, v.Message)
			if at := slices.IndexFunc(waivers, func(w app.Waiver) bool { return w.Over(name, e.Name, v.Variable, own[v.Variable]) }); at >= 0 {
				text += fmt.Sprintf(" The waiver %s that accepted it is over.", waivers[at].ID)
			}
			if v.Theirs && !v.Bound {
				text += fmt.Sprintf(" See %s.", m.Place(e.Name, v.Variable))
			}
			messages = append(messages, text)
			reason := Reason{Environment: e.Name, Variable: v.Variable, Text: text}
			if v.Bound {
				reason.Value, _ = json.Marshal(own[v.Variable])
				ask = append(ask, fmt.Sprintf("flywheel waiver request %s --set %s --reason …", name, quoted(e.Name+"."+v.Variable+"="+show(own, v.Variable))))
			}
			outside = append(outside, reason)
		}
	}
	if len(messages) == 0 {
		return waived, nil, nil
	}
	refused.Message = strings.Join(messages, " ")
	if !theirs {
		refused.Code = "variable.not_yours"
		return nil, outside, refused.Do("Leave it out, or ask for a change of the pattern: flywheel pattern request create.")
	}
	if len(ask) == 0 {
		return nil, outside, refused.Do("Push another value, or ask for a change of the pattern: flywheel pattern request create.")
	}
	return nil, outside, refused.Do("Push another value, or ask the Center of Excellence for a waiver with an end date: %s", strings.Join(ask, "; "))
}

// quoted returns a word as a shell takes it.
func quoted(word string) string {
	if strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.,:=/@%+-") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// test builds and tests the merge result once for its source. It returns the artifact's digest, or ""
// after it recorded the failure.
func (s *Service) test(ctx context.Context, id string, revision int, f found) (string, error) {
	if f.Build.Outer != "" {
		return s.outer(ctx, id, revision, f)
	}
	var c Change
	err := s.DB.Write(ctx, func(tx *db.Tx) (err error) {
		if c, err = current(tx, Take, id, revision, Checking); err != nil {
			return err
		}
		return SetCheck(tx, c, Check{Name: "tests", State: CheckRunning, Summary: "building and testing", Log: c.Workflow() + ".tests"})
	})
	if err != nil {
		return "", err
	}
	result, err := s.Builder.Build(ctx, app.BuildRequest{
		App: c.Subject, Pattern: f.Proposal.Description.Pin.Digest, Source: f.Proposal.Description.Source, Log: c.Workflow() + ".tests", Build: f.Build, Test: f.Test,
		Export: func(ctx context.Context, dir string) error { return s.Git.Export(ctx, c.Repo(), f.Proposal.Tree, dir) },
	})
	if ours(err) {
		return "", err
	}
	passed := err == nil
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if c, err2 := current(tx, Take, id, revision, Checking); err2 != nil {
			return err2
		} else if err != nil {
			if err := SetCheck(tx, c, Check{Name: "tests", State: CheckFailed, Summary: fault.From(err).Message}); err != nil {
				return err
			}
			failed := fault.From(err)
			c.State, c.Why, c.Code = Failed, failed.Message, failed.Code
			c.Remedy = strings.TrimSpace(failed.Remedy + " `flywheel change log " + c.ID + " tests` shows how it went. Push a correction, also with `flywheel app push FOLDER --branch " + c.Branch + "`, or check it again: `flywheel change recheck " + c.ID + "`.")
			return Save(tx, c)
		} else {
			return SetCheck(tx, c, Check{Name: "tests", State: CheckPassed, Summary: result.Summary})
		}
	})
	if s.Built != nil && err == nil && passed && f.Verdict.Lane == Software && f.Proposal.Auto {
		s.Built(c.Subject, result.Digest)
	}
	return result.Digest, err
}

// outer returns the artifact that an outer CI built, or "" after it recorded that the change waits for it.
func (s *Service) outer(ctx context.Context, id string, revision int, f found) (artifact string, err error) {
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		c, err := current(tx, Take, id, revision, Checking)
		if err != nil {
			return err
		}
		if artifact, err = app.Artifact(tx, c.Subject, f.Proposal.Description.Source); err != nil || artifact != "" {
			return err
		}
		checks, err := Checks(tx, c.ID, c.Revision)
		if err != nil {
			return err
		}
		for _, k := range checks {
			if built := k.outer(); k.Name == f.Build.Outer && k.State == CheckPassed && built.System == f.Build.Outer && built.Artifact != "" {
				artifact, err = app.KeepOuter(tx, f.Proposal.Description.Source, c.Subject, built.Artifact)
				return err
			}
		}
		c.State, c.Code, c.Why = Waiting, codeOuterAwaited, "for the outer check "+f.Build.Outer+", which builds it"
		c.Remedy = fmt.Sprintf("The outer CI builds %.10s, then: flywheel artifact upload FOLDER --app %s, flywheel change result %s --name %s --head %s --passed=true --artifact DIGEST", c.Head, c.Subject, c.ID, f.Build.Outer, c.Head)
		return Save(tx, c)
	})
	return artifact, err
}

// planned is what the plan of one effect answered.
type planned struct {
	Shown  Shown  `json:"shown"`
	Held   string `json:"held,omitempty"` // why the change must be held
	Failed bool   `json:"failed,omitempty"`
}

// planEffect plans one instance as it would be after the merge. A plan that fails, or that a policy
// refuses, fails the change.
func (s *Service) planEffect(ctx context.Context, id string, revision int, f found, effect Effect, artifact string) (answer planned, err error) {
	var c Change
	var e app.Environment
	name := "plan: " + effect.Environment
	err = s.DB.Write(ctx, func(tx *db.Tx) (err error) {
		if c, err = current(tx, Take, id, revision, Checking); err != nil {
			return err
		}
		if e, err = app.FindEnvironment(tx, effect.Environment); err != nil {
			return err
		}
		return SetCheck(tx, c, Check{Name: name, State: CheckRunning, Summary: "planning", Log: c.Workflow() + ".plan-" + effect.Environment})
	})
	if err != nil {
		return answer, err
	}
	desired := f.Proposal.Description.Desired(e, artifact)
	p, planErr := s.Plan(ctx, c, effect.Environment, desired)
	if ours(planErr) || fault.Is(planErr, "engine.disk_full") {
		return answer, planErr
	}
	answer.Shown = Shown{Desired: desired.Hash(), Plan: p.Digest, Destroys: p.Destructive}
	if len(p.Destructive) > 0 {
		answer.Held = fmt.Sprintf("%s: it would destroy or replace %s", effect.Environment, strings.Join(p.Destructive, ", "))
	}
	check := Check{Name: name, State: CheckPassed, Summary: p.Summary, Detail: p.Tree}
	switch {
	case planErr != nil:
		check.State, check.Summary = CheckFailed, fault.From(planErr).Message
	case len(p.Refused) > 0:
		check.State, check.Summary = CheckFailed, "a policy refuses it: "+strings.Join(p.Refused, "; ")
	case answer.Held != "":
		check.State, check.Summary = CheckHeld, p.Summary+"; "+answer.Held
	case len(p.Warnings) > 0:
		check.State, check.Summary = CheckWarning, p.Summary+"; "+strings.Join(p.Warnings, "; ")
	}
	answer.Failed = check.State == CheckFailed
	return answer, s.DB.Write(ctx, func(tx *db.Tx) error {
		c, err := current(tx, Take, id, revision, Checking)
		if err != nil {
			return err
		}
		if err := SetCheck(tx, c, check); err != nil || !answer.Failed {
			return err
		}
		c.State, c.Code, c.Why = Failed, "policy.refused", fmt.Sprintf("the plan of %s failed: %s", effect.Environment, check.Summary)
		if planErr != nil {
			c.Code, c.Remedy = fault.From(planErr).Code, fault.From(planErr).Remedy+" "
		}
		c.Remedy = strings.TrimLeft(c.Remedy+fmt.Sprintf("`flywheel change log %s '%s'` shows how it went. Push a correction, or check it again: `flywheel change recheck %s`.", c.ID, name, c.ID), " ")
		return Save(tx, c)
	})
}

// decide says whether the change merges now, or what it waits for.
func (s *Service) decide(tx *db.Tx, id string, revision int, f found, artifact string, held []string) (State, error) {
	c, err := current(tx, Take, id, revision, Checking)
	if err != nil {
		return "", err
	}
	f.Proposal.Artifact = artifact
	c.Proposal = &f.Proposal
	c = Decide(c, append(held, f.Verdict.Held()...))
	return c.State, Save(tx, c)
}

func (s *Service) merge(ctx context.Context, id string, revision int) (string, error) {
	var c Change
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) { c, err = current(tx, Find, id, revision, Merging); return err })
	if err != nil {
		return "", err
	}
	return s.MergeToMain(ctx, c)
}

// MergeToMain puts the change on main and returns the merge commit, or "" if main is not where the
// change was looked at any more. Asked again after a crash it finds the merge it made.
func (s *Service) MergeToMain(ctx context.Context, c Change) (string, error) {
	message := fmt.Sprintf("%s\n\nChange: %s\n", c.Title, c.ID)
	if c.Story != "" {
		message += "Story: " + c.Story + "\n"
	}
	commit, err := s.Git.CommitMerge(ctx, c.Repo(), c.Main, c.Head, message, git.Platform)
	if f := fault.From(err); f != nil && f.Kind == fault.Conflict { // whatever it is, looking again says it
		return "", nil
	}
	return commit, err
}

// merged records the merge, hands the targets over to be deployed, and lets every other open change of
// the app be laned anew, since main moved under it.
func (s *Service) merged(tx *db.Tx, id string, revision int, f found, artifact, commit string) error {
	c, err := Find(tx, id)
	if err != nil {
		return err
	}
	// It begins deployments, and looks again at every other change of the app.
	if _, err := app.LockInstances(tx, c.Subject); err != nil {
		return err
	}
	if err := TakeOpen(tx, c.Kind, c.Subject); err != nil {
		return err
	}
	if c, err = current(tx, Take, id, revision, Merging); err != nil {
		return err
	}
	if commit == "" {
		return s.Missed(tx, c)
	}
	c.State, c.Why, c.Remedy, c.Merged = Merged, "", "", commit
	if err := Save(tx, c); err != nil {
		return err
	}
	if err := account.Audit(tx, account.Entry{Action: "change.merged", Subject: c.ID, Decision: "allowed", Reason: string(c.Lane) + " lane, " + commit}); err != nil {
		return err
	}
	if err := app.SetDescription(tx, c.Subject, f.Proposal.Description); err != nil {
		return err
	}
	targets := []Target{}
	for _, effect := range f.Verdict.Effects {
		e, err := app.FindEnvironment(tx, effect.Environment)
		if fault.Is(err, "environment.not_found") {
			continue // deleted after the change was looked at: the next one is told
		}
		if err != nil {
			return err
		}
		target := Target{Environment: effect.Environment, Desired: f.Proposal.Description.Desired(e, artifact)}
		if shown, planned := f.Proposal.Plans[effect.Environment]; planned && c.Released != "" {
			target.Shown = &shown
		}
		targets = append(targets, target)
	}
	if err := s.Rollout(tx, c, targets); err != nil {
		return err
	}
	others, err := OpenOf(tx, c.Kind, c.Subject)
	if err != nil {
		return err
	}
	return s.AgainBeside(tx, c, others)
}

// Missed goes on with a change that could not be merged because main had moved.
func (s *Service) Missed(tx *db.Tx, c Change) error {
	newer, open, err := OpenOn(tx, c.Kind, c.Subject, c.Branch)
	if err != nil {
		return err
	}
	if !open {
		return s.Again(tx, MissedMain(c, nil))
	}
	return Save(tx, MissedMain(c, &newer))
}

// AgainBeside looks again at the other open changes of a repository whose main has moved.
func (s *Service) AgainBeside(tx *db.Tx, c Change, others []Change) error {
	for _, other := range others {
		if other.ID == c.ID {
			continue
		}
		other, err := Take(tx, other.ID)
		if err != nil {
			return err
		}
		if !other.State.MovesWithMain() {
			continue
		}
		if err := s.Again(tx, other); err != nil {
			return err
		}
	}
	return nil
}
