package change

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/git"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/pattern"
)

// found is what looking at a revision answered: the proposal with its verdict, or the state that the
// change takes instead, with the reason.
type found struct {
	Proposal Proposal      `json:"proposal"`
	Verdict  Verdict       `json:"verdict"`
	Main     string        `json:"main"`
	Build    manifest.Build `json:"build"`
	Test     manifest.Test `json:"test"`
	State    State         `json:"state"`
	Why      string        `json:"why"`
	Remedy   string        `json:"remedy"`
	Needs    string        `json:"needs"`
}

// errOutdated ends a workflow whose revision is no longer the change's: a newer one is at work.
var errOutdated = errors.New("a newer revision is being processed")

// process carries one revision of an app change: lane → tests → plans → decision → merge. It ends
// where something has to be waited for; what ends the waiting starts the next revision.
func (s *Service) process(flow durable.Flow, workflow string) (string, error) {
	id, number, _ := strings.Cut(workflow, ".")
	revision, _ := strconv.Atoi(number)
	ctx := account.System(context.WithoutCancel(flow), "change")

	f, err := durable.Step(flow, "lane", func(context.Context) (found, error) { return s.findLane(ctx, id, revision) })
	if err != nil || f.State != Checking {
		return string(f.State), quiet(err)
	}
	artifact, err := durable.Step(flow, "tests", func(context.Context) (string, error) { return s.test(ctx, id, revision, f) })
	if err != nil || artifact == "" {
		return "tests", quiet(err)
	}
	held := []string{}
	for _, effect := range f.Verdict.Effects {
		if !effect.Plan {
			continue
		}
		why, err := durable.Step(flow, "plan: "+effect.Environment, func(context.Context) (string, error) {
			return s.planEffect(ctx, id, revision, f, effect, artifact)
		})
		if err != nil {
			return "plan", quiet(err)
		}
		if why != "" {
			held = append(held, why)
		}
	}
	decided, err := durable.Transaction(s.Durable, flow, "decide", func(tx *db.Tx) (State, error) {
		return s.decide(tx, id, revision, f, artifact, held)
	})
	if err != nil || decided != Merging {
		return string(decided), quiet(err)
	}
	merged, err := durable.Step(flow, "merge", func(context.Context) (string, error) { return s.merge(ctx, id) })
	if err != nil {
		return "merge", quiet(err)
	}
	_, err = durable.Transaction(s.Durable, flow, "merged", func(tx *db.Tx) (string, error) {
		return "", s.merged(tx, id, revision, f, artifact, merged)
	})
	return "merged", quiet(err)
}

// quiet ends an outdated workflow without a word.
func quiet(err error) error {
	if err != nil && strings.Contains(err.Error(), errOutdated.Error()) {
		return nil
	}
	return err
}

// current loads the change and fails with errOutdated unless it is still at this revision.
func current(tx *db.Tx, id string, revision int) (Change, error) {
	c, err := Find(tx, id)
	if err != nil {
		return c, err
	}
	if c.Revision != revision {
		return c, errOutdated
	}
	return c, nil
}

// findLane describes what the branch, merged into main as it is now, would make of every instance,
// and records the lane with its reasons.
func (s *Service) findLane(ctx context.Context, id string, revision int) (found, error) {
	var c Change
	var a app.App
	var environments []app.Environment
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if c, err = current(tx, id, revision); err != nil {
			return err
		}
		if a, err = app.Find(tx, c.Subject); err != nil {
			return err
		}
		environments, err = app.Environments(tx)
		return err
	})
	if err != nil {
		return found{}, err
	}
	f, err := s.look(ctx, c, a, environments)
	if err != nil {
		var refused *fault.Fault
		if !errors.As(err, &refused) || refused.Kind == fault.Internal {
			return f, err
		}
		f.State, f.Why, f.Remedy = Refused, refused.Message, refused.Remedy
		for _, field := range refused.Fields {
			f.Why += fmt.Sprintf(" (%s: %s)", field.Path, field.Message)
		}
	}
	return f, s.DB.Write(ctx, func(tx *db.Tx) error {
		if c, err = current(tx, id, revision); err != nil {
			return err
		}
		c.State, c.Why, c.Remedy, c.Main = f.State, f.Why, f.Remedy, f.Main
		if f.Needs != "" {
			c.Needs = f.Needs
		}
		if f.Verdict.Lane != "" {
			c.Lane, c.Reasons, c.Effects = f.Verdict.Lane, f.Verdict.Reasons, f.Verdict.Effects
		}
		check := Check{Name: "lane", State: CheckPassed, Summary: string(c.Lane), Detail: c.Reasons}
		if f.State != Checking {
			check.State, check.Summary = CheckFailed, f.Why
			if f.State == Waiting {
				check.State = CheckHeld
			}
		}
		if err := SetCheck(tx, c, check); err != nil {
			return err
		}
		return Save(tx, c)
	})
}

// look is findLane without its writing. A fault it returns is a refusal.
func (s *Service) look(ctx context.Context, c Change, a app.App, environments []app.Environment) (f found, err error) {
	f.State = Checking
	repo := c.Repo()
	if f.Main, err = s.Git.Resolve(ctx, repo, "refs/heads/main"); err != nil {
		return f, err
	}
	tree, conflicts, err := s.Git.MergeTree(ctx, repo, f.Main, c.Head)
	if err != nil {
		return f, err
	}
	if len(conflicts) > 0 {
		f.State, f.Why = Blocked, "it conflicts with main in "+strings.Join(conflicts, ", ")
		f.Remedy = "Merge main into your branch, resolve the conflict and push again."
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
	f.Proposal.Auto = m.Merge != "manual" && c.Reverts == ""

	version, err := s.pin(ctx, &f, c, a, m)
	if err != nil || f.State != Checking {
		return f, err
	}
	source, err := s.source(ctx, repo, tree, a, m)
	if err != nil {
		return f, err
	}
	f.Proposal.Description = app.Description{
		Pin:          app.Pin{Pattern: m.Pattern.Name, Range: m.Pattern.Version, Version: version.Version, Digest: version.Digest},
		Source:       source,
		Environments: variablesOf(m),
	}
	if err := checkBounds(version.Manifest, environments, f.Proposal.Description); err != nil {
		return f, err
	}
	f.Verdict = Classify(a.Description, f.Proposal.Description, environments, func(environment, variable string) string {
		return version.Manifest.Explain(classOf(environments, environment), variable)
	})
	return f, nil
}

// pin resolves the pattern version of the proposal (rules of change 4 and 5). The range on main keeps
// the version it was resolved to; a new range takes the newest certified version in it. What is not
// certified yet is waited for, where a pattern change promises it.
func (s *Service) pin(ctx context.Context, f *found, c Change, a app.App, m *manifest.App) (v pattern.Version, err error) {
	if a.Pin.Pattern == m.Pattern.Name && a.Pin.Range == m.Pattern.Version {
		err = s.DB.Read(ctx, func(tx *db.Tx) (err error) {
			v, err = s.Patterns.ByDigest(tx, a.Pin.Digest)
			return err
		})
		return v, err
	}
	err = s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		v, err = s.Patterns.Resolve(tx, m.Pattern.Name, m.Pattern.Version)
		if !fault.Is(err, "pattern.nothing_in_range") {
			return err
		}
		missing := fault.From(err)
		awaited, err := s.awaited(tx, c, m)
		if err != nil {
			return err
		}
		f.Verdict.Lane, f.Verdict.Effects = Pattern, []Effect{}
		if awaited == nil {
			f.State, f.Why, f.Remedy = Blocked, missing.Message, missing.Remedy
			f.Verdict.Reasons = []Reason{{Text: missing.Message}}
			return nil
		}
		f.Needs = awaited.ID
		if !awaited.State.Open() {
			f.State = Blocked
			f.Why = fmt.Sprintf("%s needs %s %s, and the pattern change %s is %s: %s", c.Subject, m.Pattern.Name, m.Pattern.Version, awaited.ID, awaited.State, awaited.Why)
			f.Remedy = "Use a certified version, or name another pattern change with the trailer `Needs: chg_…`."
		} else {
			f.State = Waiting
			f.Why = fmt.Sprintf("for %s %s, which the pattern change %s (%s) brings once it is certified", m.Pattern.Name, m.Pattern.Version, awaited.ID, awaited.Title)
		}
		f.Verdict.Reasons = []Reason{{Text: fmt.Sprintf("it needs %s %s, which is not certified yet: pattern change %s", m.Pattern.Name, m.Pattern.Version, awaited.ID)}}
		return nil
	})
	return v, err
}

// awaited returns the pattern change this change waits for: the one its trailer names, or the only open
// one of that pattern. Nil if there is none.
func (s *Service) awaited(tx *db.Tx, c Change, m *manifest.App) (*Change, error) {
	if c.Needs != "" {
		p, err := Find(tx, c.Needs)
		if err != nil {
			return nil, err
		}
		if p.Kind != OfPattern || p.Subject != m.Pattern.Name {
			return nil, fault.New(fault.Invalid, "change.needs_wrong", "%s is not a change of the pattern %s.", c.Needs, m.Pattern.Name).Do("Correct the trailer `Needs:`.")
		}
		return &p, nil
	}
	open, err := OpenOf(tx, OfPattern, m.Pattern.Name)
	if err != nil || len(open) != 1 {
		return nil, err
	}
	return &open[0], nil
}

// source returns the digest of everything that the artifact is made from: the files, without
// flywheel.yaml, and how they are built. It belongs to one app, as build caches do.
func (s *Service) source(ctx context.Context, repo git.Repo, tree string, a app.App, m *manifest.App) (string, error) {
	files, err := s.Git.TreeDigest(ctx, repo, tree, "flywheel.yaml")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{a.ID, files, db.JSON(m.Build)}, "\n")))
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

func variablesOf(m *manifest.App) map[string]map[string]any {
	out := map[string]map[string]any{}
	for name, e := range m.Environments {
		out[name] = e.Variables
		if out[name] == nil {
			out[name] = map[string]any{}
		}
	}
	return out
}

func checkManifest(m *manifest.App, a app.App, environments []app.Environment) error {
	if m.Metadata.Name != a.Name {
		return fault.New(fault.Invalid, "manifest.name_differs", "flywheel.yaml describes %q, but this is the repository of %q.", m.Metadata.Name, a.Name).Do("Set metadata.name to %s.", a.Name)
	}
	if m.Metadata.Team != a.Team {
		return fault.New(fault.Invalid, "manifest.team_differs", "flywheel.yaml names the team %q, but the app belongs to %q.", m.Metadata.Team, a.Team).
			Do("Set metadata.team to %s; an admin moves an app to another team.", a.Team)
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

// checkBounds refuses a variable outside its bounds with the bound and the way out (rule of change 3).
func checkBounds(m *manifest.Pattern, environments []app.Environment, d app.Description) error {
	refused := fault.New(fault.Invalid, "variable.out_of_bounds", "")
	messages := []string{}
	for _, e := range app.InOrder(environments) {
		own, selected := d.Environments[e.Name]
		if !selected {
			continue
		}
		for _, v := range manifest.CheckBounds(m, e.Class, own) {
			messages = append(messages, fmt.Sprintf("%s.%s: %s", e.Name, v.Variable, v.Message))
			refused.At("environments."+e.Name+".variables."+v.Variable, "%s", v.Message)
		}
	}
	if len(messages) == 0 {
		return nil
	}
	refused.Message, refused.Fields = strings.Join(messages, " "), nil
	return refused.Do("Push another value, or ask the Center of Excellence for a waiver with an end date.")
}

// test builds and tests the merge result once for its source. It returns the artifact's digest, or ""
// after it recorded the failure.
func (s *Service) test(ctx context.Context, id string, revision int, f found) (string, error) {
	if f.Proposal.Description.Source == "" || len(f.Verdict.Effects) == 0 && f.Proposal.Description.Source == "" {
		return "none", nil
	}
	var c Change
	err := s.DB.Write(ctx, func(tx *db.Tx) (err error) {
		if c, err = current(tx, id, revision); err != nil {
			return err
		}
		return SetCheck(tx, c, Check{Name: "tests", State: CheckRunning, Summary: "building and testing", Log: c.Workflow() + ".tests"})
	})
	if err != nil {
		return "", err
	}
	result, err := s.Builder.Build(ctx, app.BuildRequest{
		App: c.Subject, Source: f.Proposal.Description.Source, Log: c.Workflow() + ".tests", Build: f.Build, Test: f.Test,
		Export: func(ctx context.Context, dir string) error { return s.Git.Export(ctx, c.Repo(), f.Proposal.Tree, dir) },
	})
	if err != nil && fault.From(err).Kind == fault.Internal {
		return "", err
	}
	return result.Digest, s.DB.Write(ctx, func(tx *db.Tx) error {
		if c, err2 := current(tx, id, revision); err2 != nil {
			return err2
		} else if err != nil {
			if err := SetCheck(tx, c, Check{Name: "tests", State: CheckFailed, Summary: fault.From(err).Message}); err != nil {
				return err
			}
			c.State, c.Why, c.Remedy = Failed, fault.From(err).Message, "Look at the log of the check `tests` and push a correction."
			return Save(tx, c)
		} else {
			return SetCheck(tx, c, Check{Name: "tests", State: CheckPassed, Summary: result.Summary})
		}
	})
}

// planEffect plans one instance as it would be after the merge, and says why the change must be held,
// or "".
func (s *Service) planEffect(ctx context.Context, id string, revision int, f found, effect Effect, artifact string) (string, error) {
	var c Change
	var e app.Environment
	name := "plan: " + effect.Environment
	err := s.DB.Write(ctx, func(tx *db.Tx) (err error) {
		if c, err = current(tx, id, revision); err != nil {
			return err
		}
		if e, err = app.FindEnvironment(tx, effect.Environment); err != nil {
			return err
		}
		return SetCheck(tx, c, Check{Name: name, State: CheckRunning, Summary: "planning", Log: c.Workflow() + ".plan-" + effect.Environment})
	})
	if err != nil {
		return "", err
	}
	desired := f.Proposal.Description.Desired(e, artifact)
	planned, planErr := s.Plan(ctx, c, effect.Environment, desired)
	if planErr != nil && fault.From(planErr).Kind == fault.Internal {
		return "", planErr
	}
	why := ""
	if len(planned.Destructive) > 0 {
		why = fmt.Sprintf("%s: it would destroy or replace %s", effect.Environment, strings.Join(planned.Destructive, ", "))
	}
	return why, s.DB.Write(ctx, func(tx *db.Tx) error {
		c, err := current(tx, id, revision)
		if err != nil {
			return err
		}
		check := Check{Name: name, State: CheckPassed, Summary: planned.Summary, Detail: planned.Tree}
		switch {
		case planErr != nil:
			check.State, check.Summary = CheckFailed, fault.From(planErr).Message
		case len(planned.Refused) > 0:
			check.State, check.Summary = CheckFailed, "a policy refuses it: "+strings.Join(planned.Refused, "; ")
		case why != "":
			check.State, check.Summary = CheckHeld, planned.Summary+"; "+why
		case len(planned.Warnings) > 0:
			check.State, check.Summary = CheckWarning, planned.Summary+"; "+strings.Join(planned.Warnings, "; ")
		}
		if err := SetCheck(tx, c, check); err != nil || check.State != CheckFailed {
			return err
		}
		c.State, c.Why, c.Remedy = Failed, fmt.Sprintf("The plan of %s failed: %s", effect.Environment, check.Summary), "Look at the check's log and push a correction."
		c.Revision++ // the rest of this workflow finds itself outdated
		return Save(tx, c)
	})
}

// HeldDigest returns the digest an operator's release binds to: what the change would make of every
// instance, and why it is held.
func (c Change) HeldDigest() string {
	sum := sha256.Sum256([]byte(c.Why + "\n" + db.JSON(c.Proposal)))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// decide says whether the change merges now, or what it waits for.
func (s *Service) decide(tx *db.Tx, id string, revision int, f found, artifact string, held []string) (State, error) {
	c, err := current(tx, id, revision)
	if err != nil {
		return "", err
	}
	f.Proposal.Artifact = artifact
	c.Proposal = &f.Proposal
	if f.Verdict.Held {
		for _, r := range f.Verdict.Reasons {
			if strings.Contains(r.Text, "operator") {
				held = append(held, r.Text)
			}
		}
	}
	released := c.Released
	switch {
	case len(held) > 0:
		c.State, c.Why = Held, strings.Join(held, "; ")
		c.Remedy = "An operator releases it with `flywheel change release " + c.ID + " --digest " + c.HeldDigest() + "`."
		if released == c.HeldDigest() {
			c.State, c.Why, c.Remedy = Merging, "", ""
		}
	case !f.Proposal.Auto && !c.MergeRequested:
		c.State, c.Why, c.Remedy = Ready, "every check is green, and flywheel.yaml says `merge: manual`", "Merge it with `flywheel change merge "+c.ID+"`."
		if c.Reverts != "" {
			c.Why = "every check is green, and a person decides about a revert"
		}
	default:
		c.State = Merging
	}
	return c.State, Save(tx, c)
}

func (s *Service) merge(ctx context.Context, id string) (string, error) {
	var c Change
	if err := s.DB.Read(ctx, func(tx *db.Tx) (err error) { c, err = Find(tx, id); return err }); err != nil {
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
	if fault.Is(err, "change.main_moved") {
		return "", nil
	}
	return commit, err
}

// merged records the merge, hands the targets over to be deployed, and lets every other open change of
// the app be laned anew, since main moved under it.
func (s *Service) merged(tx *db.Tx, id string, revision int, f found, artifact, commit string) error {
	c, err := current(tx, id, revision)
	if err != nil {
		return err
	}
	if commit == "" {
		return s.Again(tx, c)
	}
	c.State, c.Why, c.Remedy, c.Merged = Merged, "", "", commit
	if err := Save(tx, c); err != nil {
		return err
	}
	if err := app.SetDescription(tx, c.Subject, f.Proposal.Description); err != nil {
		return err
	}
	targets := []Target{}
	for _, effect := range f.Verdict.Effects {
		e, err := app.FindEnvironment(tx, effect.Environment)
		if err != nil {
			return err
		}
		targets = append(targets, Target{effect.Environment, f.Proposal.Description.Desired(e, artifact)})
	}
	if err := s.Rollout(tx, c, targets); err != nil {
		return err
	}
	others, err := OpenOf(tx, c.Kind, c.Subject)
	if err != nil {
		return err
	}
	for _, other := range others {
		if other.ID != c.ID && other.State != Refused && other.State != Failed {
			if err := s.Again(tx, other); err != nil {
				return err
			}
		}
	}
	return nil
}
