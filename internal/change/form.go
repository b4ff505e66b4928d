package change

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/rs/xid"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/git"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/plain"
)

// Form is a change made without a clone: variables of environments, or another range of versions. It
// becomes a commit on a branch, and from there a change like any other.
type Form struct {
	Title        string                       `json:"title,omitempty" maxLength:"200"`
	Environments map[string]manifest.Values   `json:"environments,omitempty" doc:"Variables to set, by environment; null takes one back to its default"`
	Texts        map[string]map[string]string `json:"texts,omitempty" doc:"The same as people type them, which the module's types decide about: 02142 is a text, or no number. Empty takes one back to its default"`
	Version      string                       `json:"version,omitempty" doc:"Range of pattern versions, for example ~1.5"`
	Story        string                       `json:"story,omitempty"`
}

// What a form, and the removal of something, begin their branches with.
const (
	formPrefix    = "form-"
	removalPrefix = "remove-"
)

// madeByForm reports whether a branch was made without a clone, so that nobody has it at hand.
func madeByForm(branch string) bool {
	return strings.HasPrefix(branch, formPrefix) || strings.HasPrefix(branch, removalPrefix)
}

// Preview is the lane a form would take, or why it would be refused.
type Preview struct {
	Verdict
	Refused string        `json:"refused,omitempty"`
	Remedy  string        `json:"remedy,omitempty"`
	Code    string        `json:"code,omitempty" doc:"Stable name of why it is refused"`
	Fields  []fault.Field `json:"fields,omitempty"`
}

// Fields are the variables of one environment that a team may set, as JSON Schema.
type Fields struct {
	Name   string          `json:"name"`
	Class  string          `json:"class"`
	Schema map[string]any  `json:"schema"`
	Values manifest.Values `json:"values"`

	Waivers []app.Waiver `json:"waivers" doc:"Those in force"`
}

// Create makes a change from a form.
func (s *Service) Create(ctx context.Context, name string, in Form) (c Change, err error) {
	a, main, content, err := s.edit(ctx, name, account.ChangeVariables, func(m *manifest.File) error { return apply(m, in) })
	if err != nil {
		return c, err
	}
	if in.Title = strings.TrimSpace(in.Title); in.Title == "" {
		in.Title = "Change variables of " + a.Name
	}
	message := in.Title
	if in.Story != "" {
		message += "\n\nStory: " + in.Story + "\n"
	}
	return s.commit(ctx, a, formPrefix+xid.New().String(), main, content, message)
}

// Preview says which lane a form would take, without making the change.
func (s *Service) Preview(ctx context.Context, name string, in Form) (p Preview, err error) {
	a, _, content, err := s.edit(ctx, name, account.ViewApp, func(m *manifest.File) error { return apply(m, in) })
	if err != nil {
		return refusal(err)
	}
	m, err := manifest.ParseApp("flywheel.yaml", content)
	if err != nil {
		return refusal(err)
	}
	var environments []app.Environment
	var version pattern.Version
	var waivers []app.Waiver
	err = s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if environments, err = app.Environments(tx); err != nil {
			return err
		}
		if waivers, err = app.Waivers(tx, a.Name); err != nil {
			return err
		}
		if m.Pattern.Version == a.Pin.Range {
			version, err = s.Patterns.ByDigest(tx, a.Pin.Digest)
		} else {
			version, err = s.Patterns.Resolve(tx, m.Pattern.Name, m.Pattern.Version)
		}
		return err
	})
	if err != nil {
		return refusal(err)
	}
	d := app.Description{Pin: app.Pin{Pattern: m.Pattern.Name, Range: m.Pattern.Version, Version: version.Version, Digest: version.Digest}, Source: a.Description.Source}
	waived, outside, err := describe(&d, version, m, environments, a.Name, waivers)
	if err != nil {
		if p, err = refusal(err); err == nil {
			p.Reasons = outside
		}
		return p, err
	}
	p.Verdict = Classify(a.Description, d, environments, nil, func(e, v string) string { return version.Manifest.Explain(classOf(environments, e), v) })
	p.Reasons = append(p.Reasons, waived...)
	if err := checkValues(version, environments, d, a.Name, p.Effects); err != nil {
		return refusal(err)
	}
	return p, nil
}

// refusal shows a fault as the answer of a preview; other errors stay errors.
func refusal(err error) (Preview, error) {
	f := fault.From(err)
	if f.Kind == fault.Internal || f.Kind == fault.Unavailable || f.Kind == fault.NotFound || f.Kind == fault.Forbidden || f.Kind == fault.Unauthenticated {
		return Preview{}, err
	}
	return Preview{Verdict: Verdict{Reasons: []Reason{}, Effects: []Effect{}}, Refused: f.Message, Remedy: f.Remedy, Code: f.Code, Fields: f.Fields}, nil
}

func apply(m *manifest.File, in Form) error {
	for _, e := range slices.Sorted(maps.Keys(in.Texts)) {
		for _, v := range slices.Sorted(maps.Keys(in.Texts[e])) {
			value, err := manifest.ParseValue(in.Texts[e][v])
			if err != nil {
				return err
			}
			if err := m.SetVariable(e, v, value); err != nil {
				return err
			}
		}
	}
	for _, e := range slices.Sorted(maps.Keys(in.Environments)) {
		for _, v := range slices.Sorted(maps.Keys(in.Environments[e])) {
			if err := m.SetVariable(e, v, in.Environments[e][v]); err != nil {
				return err
			}
		}
	}
	if in.Version != "" {
		return m.SetVersion(in.Version)
	}
	return nil
}

// Remove makes the change that removes an app from one environment, or from all of them if environment
// is empty. An operator releases it with its destroy plans.
func (s *Service) Remove(ctx context.Context, name, environment string) (c Change, err error) {
	title := "Remove " + name
	if environment != "" {
		title += " from " + environment
	}
	a, main, content, err := s.edit(ctx, name, account.RemoveApp, func(m *manifest.File) error {
		if environment == "" {
			return m.RemoveEnvironments()
		}
		return m.RemoveEnvironment(environment)
	})
	if err != nil {
		return c, err
	}
	return s.commit(ctx, a, removalPrefix+xid.New().String(), main, content, title)
}

// edit applies an edit to flywheel.yaml as it is on main and returns the new content.
func (s *Service) edit(ctx context.Context, name string, p account.Permission, edit func(*manifest.File) error) (a app.App, main string, content []byte, err error) {
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		if a, err = app.Find(tx, name); err != nil {
			return err
		}
		return account.From(ctx).RequireOf(p, a.Team, "app", name)
	})
	if err != nil {
		return a, "", nil, err
	}
	if main, err = s.Git.Resolve(ctx, git.App(name), "refs/heads/main"); err != nil {
		return a, "", nil, err
	}
	old, err := s.Git.ReadFile(ctx, git.App(name), main, "flywheel.yaml")
	if err != nil {
		return a, "", nil, fault.New(fault.Conflict, "app.not_begun", "%s has no flywheel.yaml on main yet.", name).Do("Wait until its first change is merged.").Because(err)
	}
	file, err := manifest.Open("flywheel.yaml", old)
	if err != nil {
		return a, "", nil, err
	}
	if err := edit(file); err != nil {
		return a, "", nil, err
	}
	return a, main, file.Bytes(), nil
}

func (s *Service) commit(ctx context.Context, a app.App, branch, main string, content []byte, message string) (c Change, err error) {
	actor := account.From(ctx)
	old, err := s.Git.ReadFile(ctx, git.App(a.Name), main, "flywheel.yaml")
	if err != nil {
		return c, err
	}
	if before, err := manifest.ParseApp("flywheel.yaml", old); err != nil {
		return c, err
	} else if after, err := manifest.ParseApp("flywheel.yaml", content); err != nil {
		return c, err
	} else if app.SameValue(before, after) {
		return c, fault.New(fault.Invalid, "change.nothing_changes", "Main says all of this already.").Do("Set something to another value.")
	}
	author := git.Identity{Name: actor.Name, Email: actor.Name + "@users.flywheel.invalid"}
	head, err := s.Git.CommitFiles(ctx, git.App(a.Name), branch, main, map[string][]byte{"flywheel.yaml": content}, message, author)
	if err != nil {
		return c, err
	}
	id, err := s.Opened(ctx, git.App(a.Name), branch, head)
	if err != nil {
		return c, err
	}
	if err := s.DB.Read(ctx, func(tx *db.Tx) error { c, err = Find(tx, id); return err }); err != nil {
		return c, err
	}
	return s.laned(ctx, c), nil
}

// Opened makes a change of a branch that the platform itself committed, and returns its id.
func (s *Service) Opened(ctx context.Context, repo git.Repo, branch, head string) (string, error) {
	if _, _, err := s.open(ctx, repo, git.RefUpdate{Ref: "refs/heads/" + branch, New: head}); err != nil {
		return "", err
	}
	var id string
	err := s.DB.Read(ctx, func(tx *db.Tx) error {
		// It may be merged already, so it is found by its head and not among the open ones.
		err := tx.QueryRow(`select id from change where subject = $1 and branch = $2 and head = $3 order by id desc limit 1`, repo.Name, branch, head).Scan(&id)
		return err
	})
	return id, err
}

// Form returns the variables a team may set, environment by environment, with their bounds.
func (s *Service) Form(ctx context.Context, name string) (fields []Fields, err error) {
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		a, err := app.Find(tx, name)
		if err != nil {
			return err
		}
		if account.From(ctx).Require(account.ViewApp, a.Team) != nil {
			return fault.Missing("app", name)
		}
		environments, err := app.Environments(tx)
		if err != nil {
			return err
		}
		v, err := s.Patterns.ByDigest(tx, a.Pin.Digest)
		if err != nil {
			return err
		}
		waivers, err := app.Waivers(tx, name)
		if err != nil {
			return err
		}
		fields = []Fields{}
		for _, e := range environments {
			values, selected := a.Description.Environments[e.Name]
			if !selected {
				continue
			}
			here := slices.DeleteFunc(slices.Clone(waivers), func(w app.Waiver) bool { return !w.InForce || w.Environment != e.Name })
			fields = append(fields, Fields{Name: e.Name, Class: e.Class, Schema: schemaOf(v, e.Class), Values: values, Waivers: here})
		}
		return nil
	})
	return fields, err
}

// schemaOf returns the JSON Schema of what a team may set in a class of environments.
func schemaOf(v pattern.Version, class string) map[string]any {
	properties := map[string]any{}
	for _, variable := range v.Interface.Variables {
		g, ok := v.Manifest.Spec.Variables[variable.Name]
		if !ok || g.Control != "team" || g.Secret {
			continue
		}
		p := g.BoundsFor(class)
		p["description"] = variable.Description
		p["default"] = variable.Default
		switch kind, _, _ := strings.Cut(variable.Type, "("); kind {
		case "number":
			p["type"] = "number"
		case "bool":
			p["type"] = "boolean"
		case "string":
			p["type"] = "string"
		case "list", "set", "tuple":
			p["type"] = "array"
		case "map", "object":
			p["type"] = "object"
		}
		properties[variable.Name] = p
	}
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}

// The codes of a change that an outer check holds up.
const (
	codeOuterFailed  = "change.outer_failed"
	codeOuterAwaited = "change.outer_awaited" // it builds the artifact
)

// outerFailure says that an outer check failed.
func outerFailure(k Check) string { return "the outer check " + k.Name + " failed: " + k.Summary }

// outerBuild is the detail of the outer check that built the artifact.
type outerBuild struct {
	Artifact string `json:"artifact,omitempty"`
	System   string `json:"system"` // that posted it
}

func (k Check) outer() (built outerBuild) {
	detail, err := json.Marshal(k.Detail)
	if err == nil {
		_ = json.Unmarshal(detail, &built) // the detail of a check that is none
	}
	return built
}

// outerName returns the check that builds the change according to its branch, or "".
func (s *Service) outerName(ctx context.Context, c Change) (string, error) {
	if c.Kind != OfApp {
		return "", nil
	}
	content, err := s.Git.ReadFile(ctx, c.Repo(), c.Head, "flywheel.yaml")
	if err != nil {
		if f := fault.From(err); f.Kind == fault.NotFound {
			return "", nil
		}
		return "", err
	}
	m, err := manifest.ParseApp("flywheel.yaml", content)
	if err != nil {
		return "", nil // its lane says so
	}
	return m.Build.Outer, nil
}

// maySay refuses a result that the system of the token does not speak for: the build belongs to the system that
// flywheel.yaml names, every check to the one that posted it first, and a token for one app says nothing of another.
func maySay(actor account.Actor, c Change, builds string, checks []Check, name string) error {
	if actor.App != "" && (c.Kind != OfApp || actor.App != c.Subject) {
		return fault.New(fault.Forbidden, "token.other_app", "This token posts results about %s only.", actor.App).Do("Make another one: flywheel token create NAME --scope checks:write --system %s --app %s.", actor.System, c.Subject)
	}
	owner := ""
	if at := slices.IndexFunc(checks, func(k Check) bool { return k.Name == name }); at >= 0 {
		owner = checks[at].outer().System
	}
	if name == builds {
		owner = builds
	}
	if owner != "" && owner != actor.System {
		return fault.New(fault.Forbidden, "change.result_system", "The check %s is of the system %s, and this token speaks for %s.", name, owner, actor.System).
			Do("Post it with a token of that system: flywheel token create NAME --scope checks:write --system %s --app %s.", owner, c.Subject)
	}
	return nil
}

// ownCheck reports whether only the platform speaks for a check of that name. People decide about a pattern change
// by what its checks say, and every developer may post results about it.
func ownCheck(kind Kind, name string) bool {
	if kind == OfPattern {
		return slices.Contains([]string{"gate", "interface", "validate", "test", "skeleton", "environments", "effect"}, strings.ToLower(name))
	}
	return manifest.OwnCheck(name)
}

// pastOuter goes on with a change that outer checks held up, or says which one does so still.
func (s *Service) pastOuter(tx *db.Tx, c Change) error {
	checks, err := Checks(tx, c.ID, c.Revision)
	if err != nil {
		return err
	}
	for _, k := range checks {
		if k.State == CheckFailed && !ownCheck(c.Kind, k.Name) {
			c.Why = outerFailure(k)
			return Save(tx, c)
		}
	}
	return s.Again(tx, c)
}

// PostResult records what an outer CI says about the head of a change. A failed one fails the change
// like a failed check of the platform.
func (s *Service) PostResult(ctx context.Context, id string, r Result) (c Change, err error) {
	if c, _, err = s.Get(ctx, id); err != nil {
		return c, err
	}
	builds, err := s.outerName(ctx, c)
	if err != nil {
		return c, err
	}
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if c, err = s.visible(ctx, tx, id, Take); err != nil {
			return err
		}
		if err := account.From(ctx).Require(account.PostResult, c.Team); err != nil {
			return err
		}
		if !c.State.Open() {
			return notOpen(c)
		}
		if r.Head != c.Head {
			return fault.New(fault.Stale, "change.result_stale", "The result is about %.10s, but the change is at %.10s.", r.Head, c.Head).Do("Run the check again on the new head.")
		}
		if !manifest.CheckName(r.Name) {
			return fault.New(fault.Invalid, "change.result_name", "%q cannot be the name of a check.", plain.Line(r.Name)).
				Do("Use letters and digits of ASCII, single spaces, and . _ : / + - ( ) , = @ #").At("name", "choose another")
		}
		if ownCheck(c.Kind, r.Name) {
			return fault.New(fault.Invalid, "change.result_name", "%q is the name of a check that Flywheel runs itself.", r.Name).At("name", "choose another")
		}
		checks, err := Checks(tx, c.ID, c.Revision)
		if err != nil {
			return err
		}
		actor := account.From(ctx)
		if err := maySay(actor, c, builds, checks, r.Name); err != nil {
			return err
		}
		k := Check{Name: r.Name, State: CheckPassed, Summary: plain.Show(r.Summary), Detail: outerBuild{System: actor.System}}
		if !r.Passed {
			k.State = CheckFailed
		} else if r.Artifact != "" {
			if there, err := app.HasArtifact(tx, c.Subject, r.Artifact); err != nil {
				return err
			} else if !there {
				return fault.New(fault.Invalid, "artifact.not_found", "%s has no artifact %q.", c.Subject, r.Artifact).Do("Upload it first: flywheel artifact upload FOLDER --app %s", c.Subject).At("artifact", "unknown")
			}
			k.Detail = outerBuild{r.Artifact, actor.System}
		}
		state := k.State
		if err := SetCheck(tx, c, k); err != nil {
			return err
		}
		switch {
		case c.State == Merging: // too late to stop it
		case !r.Passed:
			c.State, c.Code, c.Why, c.Remedy = Failed, codeOuterFailed, outerFailure(k), "Push a correction, or run the check again."
			if err := Save(tx, c); err != nil {
				return err
			}
		case c.State == Failed && c.Code == codeOuterFailed, c.State == Waiting && c.Code == codeOuterAwaited:
			if err := s.pastOuter(tx, c); err != nil {
				return err
			}
		}
		return account.Audit(tx, account.Entry{Action: "change.result", Subject: id, Decision: "allowed", Reason: r.Name + " " + string(state) + ", said by " + actor.System})
	})
	return c, err
}
