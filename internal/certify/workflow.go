package certify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/tofu"
)

// certify looks at one revision of a pattern change: gate → validate → test → interface → effect on
// every live instance → review. It ends where people decide.
func (s *Service) certify(flow durable.Flow, workflow string) (string, error) {
	id, revision := parse(workflow)
	// A stopping server must not turn a running check into a failed one.
	ctx := account.System(context.WithoutCancel(flow), "certify")
	ended, err := s.attempt(flow, ctx, id, revision)
	if err = durable.UnlessOutdated(err); err != nil && flow.Err() == nil {
		s.troubled(ctx, id, revision, err)
	}
	return ended, err
}

func (s *Service) attempt(flow durable.Flow, ctx context.Context, id string, revision int) (string, error) {
	tree, err := durable.Step(flow, "merge", func(context.Context) (string, error) { return s.mergeTree(ctx, id, revision) })
	if err != nil || tree == "" {
		return "merge", err
	}
	for _, check := range []struct {
		name string
		do   func(ctx context.Context, c change.Change, dir string, log io.Writer) (summary string, detail any, err error)
	}{{"gate", s.gate}, {"validate", s.validate}, {"test", s.test}, {"interface", s.interfaceOf}, {"skeleton", s.skeleton}, {"effect", s.effect}} {
		passed, err := durable.Step(flow, check.name, func(context.Context) (bool, error) {
			return s.check(ctx, id, revision, tree, check.name, check.do)
		})
		if err != nil || !passed {
			return check.name, err
		}
	}
	_, err = durable.Transaction(s.Durable, flow, "review", func(tx *db.Tx) (string, error) {
		return "", s.review(tx.In(ctx), id, revision)
	})
	return "review", err
}

// review hands a checked revision to the people who decide.
func (s *Service) review(tx *db.Tx, id string, revision int) error {
	c, err := current(tx, change.Take, id, revision, change.Checking)
	if err != nil {
		return err
	}
	found, err := Find(tx, id, revision)
	if err != nil {
		return err
	}
	c.State, c.Lane, c.Why = change.Review, change.Pattern, "waits for the approval of "+strings.Join(found.Missing(), ", ")
	c.Remedy = "`flywheel change approve " + c.ID + " --discipline … --digest " + found.Digest + "`"
	c.Reasons = []change.Reason{{Text: "the pattern itself changes: " + c.Subject + " " + found.Version + " (" + found.Bump + ")"}}
	for _, r := range found.Reasons {
		c.Reasons = append(c.Reasons, change.Reason{Text: r})
	}
	if len(found.Missing()) == 0 { // a pattern that asks for no approval at all
		c.State, c.Why, c.Remedy = change.Merging, "", ""
		tx.AfterCommit(func() { _ = s.Start(c) }) // the sweeper starts it otherwise
	}
	return change.Save(tx, c)
}

func parse(workflow string) (id string, revision int) {
	parts := strings.Split(workflow, ".")
	revision, _ = strconv.Atoi(parts[1])
	return parts[0], revision
}

// troubled says that a revision could not be certified because of the platform, not of the change. The
// engine tries again.
func (s *Service) troubled(ctx context.Context, id string, revision int, cause error) {
	s.Log.Error("a pattern change could not be certified", "change", id, "revision", revision, "error", cause)
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		c, err := current(tx, change.Take, id, revision, change.Checking)
		if err != nil {
			return err
		}
		c.Why, c.Remedy = "something went wrong inside Flywheel", "It is tried again by itself. What went wrong is in the server's log."
		return change.Save(tx, c)
	})
	if durable.UnlessOutdated(err) != nil {
		s.Log.Error("nor could that be noted", "change", id, "error", err)
	}
}

// current loads the change, with change.Find or change.Take, and fails with durable.ErrOutdated unless it is
// still at this revision and in this state.
func current(tx *db.Tx, load func(*db.Tx, string) (change.Change, error), id string, revision int, state change.State) (change.Change, error) {
	c, err := load(tx, id)
	if err == nil && (c.Revision != revision || c.State != state) {
		err = durable.ErrOutdated
	}
	return c, err
}

// mergeTree returns the tree of the change merged into main as it is now, or "" after it recorded why
// there is none.
func (s *Service) mergeTree(ctx context.Context, id string, revision int) (string, error) {
	var c, beside change.Change
	var busy bool
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		c, err = current(tx, change.Find, id, revision, change.Checking)
		return err
	})
	if err != nil {
		return "", err
	}
	main, err := s.Git.Resolve(ctx, c.Repo(), "refs/heads/main")
	if err != nil {
		return "", err
	}
	// Asked after main was read, so that no version that is on main already is missing in the catalogue.
	if err := s.DB.Read(ctx, func(tx *db.Tx) error { beside, busy, err = change.MergingBeside(tx, c); return err }); err != nil {
		return "", err
	}
	tree, state, why, remedy := "", change.Checking, "", ""
	if busy {
		why = "waits until the change " + beside.ID + " is published"
	} else if tree, state, why, remedy, err = s.merged(ctx, c, main); err != nil {
		return "", err
	}
	return tree, s.DB.Write(ctx, func(tx *db.Tx) error {
		if c, err = current(tx, change.Take, id, revision, change.Checking); err != nil {
			return err
		}
		c.Main, c.State, c.Why, c.Remedy = main, state, why, remedy
		return change.Save(tx, c)
	})
}

// merged merges the change into main without moving it; without a tree it says what becomes of it.
func (s *Service) merged(ctx context.Context, c change.Change, main string) (tree string, state change.State, why, remedy string, err error) {
	if there, err := s.Git.Contains(ctx, c.Repo(), main, c.Head); err != nil {
		return "", "", "", "", err
	} else if there {
		return "", change.Closed, "main has all its commits already", "", nil
	}
	tree, conflicts, err := s.Git.MergeTree(ctx, c.Repo(), main, c.Head)
	if f := fault.From(err); f != nil && f.Kind == fault.Conflict { // unrelated histories
		return "", change.Blocked, f.Message, f.Remedy, nil
	}
	if len(conflicts) > 0 {
		return "", change.Blocked, "it conflicts with main in " + strings.Join(conflicts, ", "), "Merge main into your branch, resolve the conflict and push again.", nil
	}
	return tree, change.Checking, "", "", err
}

// check runs one check on the exported pattern and records how it went. A fault is a failed check.
func (s *Service) check(ctx context.Context, id string, revision int, tree, name string,
	do func(context.Context, change.Change, string, io.Writer) (string, any, error)) (bool, error) {
	var c change.Change
	logName := fmt.Sprintf("%s.%d.%s", id, revision, name)
	err := s.DB.Write(ctx, func(tx *db.Tx) (err error) {
		if c, err = current(tx, change.Take, id, revision, change.Checking); err != nil {
			return err
		}
		return change.SetCheck(tx, c, change.Check{Name: name, State: change.CheckRunning, Summary: "running", Log: logName})
	})
	if err != nil {
		return false, err
	}
	dir := filepath.Join(s.Dir, strings.ReplaceAll(logName, ".", "-"))
	if err := os.RemoveAll(dir); err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	if err := s.Git.Export(ctx, c.Repo(), tree, dir); err != nil {
		return false, err
	}
	log, err := s.Logs.Open(logName)
	if err != nil {
		return false, err
	}
	defer log.Close()
	summary, detail, checkErr := do(ctx, c, dir, log)
	if checkErr != nil && fault.From(checkErr).Kind == fault.Internal {
		return false, checkErr
	}
	passed := checkErr == nil
	return passed, s.DB.Write(ctx, func(tx *db.Tx) error {
		if c, err = current(tx, change.Take, id, revision, change.Checking); err != nil {
			return err
		}
		k := change.Check{Name: name, State: change.CheckPassed, Summary: summary, Detail: detail}
		if !passed {
			f := fault.From(checkErr)
			k.State, k.Summary = change.CheckFailed, f.Message
			if len(f.Fields) > 0 {
				k.Detail = f.Fields
			}
			c.State, c.Why, c.Remedy = change.Failed, fmt.Sprintf("the check %s failed: %s", name, f.Message), f.Remedy
			if len(f.Fields) > 0 {
				c.Why += fmt.Sprintf(" (%s: %s)", f.Fields[0].Path, f.Fields[0].Message)
			}
			if err := change.Save(tx, c); err != nil {
				return err
			}
		}
		return change.SetCheck(tx, c, k)
	})
}

// gate reads the pattern without running it and refuses what no plan may meet.
func (s *Service) gate(_ context.Context, c change.Change, dir string, log io.Writer) (string, any, error) {
	m, err := readManifest(dir)
	if err != nil {
		return "", nil, err
	}
	if m.Metadata.Name != c.Subject {
		return "", nil, fault.New(fault.Invalid, "manifest.name_differs", "pattern.yaml describes %q, but this is the repository of %q.", m.Metadata.Name, c.Subject)
	}
	problems := tofu.Gate(dir, s.Allowed)
	if err := refuse("gate.refused", "The pattern uses what no pattern may use", problems, log); err != nil {
		return "", nil, err
	}
	return "only allowed providers, modules and functions", nil, nil
}

func readManifest(dir string) (*manifest.Pattern, error) {
	content, err := os.ReadFile(filepath.Join(dir, "pattern.yaml"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fault.New(fault.Invalid, "manifest.missing", "The pattern has no pattern.yaml at its root.")
	}
	if err != nil {
		return nil, err
	}
	return manifest.ParsePattern("pattern.yaml", content)
}

func refuse(code, sentence string, problems []tofu.Problem, log io.Writer) error {
	if len(problems) == 0 {
		return nil
	}
	f := fault.New(fault.Invalid, code, "%s.", sentence).Do("Correct it and push again.")
	for _, p := range problems {
		at := fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
		f.At(at, "%s", p.Message)
		fmt.Fprintf(log, "%s: %s\n", at, p.Message)
	}
	return f
}

func (s *Service) validate(ctx context.Context, _ change.Change, dir string, log io.Writer) (string, any, error) {
	problems, err := s.Engine.Validate(ctx, dir)
	if err != nil {
		return "", nil, err
	}
	if err := refuse("pattern.invalid", "The pattern does not validate", problems, log); err != nil {
		return "", nil, err
	}
	return "valid", nil, nil
}

func (s *Service) test(ctx context.Context, _ change.Change, dir string, log io.Writer) (string, any, error) {
	runs, err := s.Engine.Test(ctx, dir)
	if err != nil {
		return "", nil, err
	}
	failed := 0
	for _, r := range runs {
		fmt.Fprintf(log, "%s %s: %s\n", r.File, r.Name, r.Status)
		for _, p := range r.Problems {
			fmt.Fprintf(log, "  %s:%d:%d %s\n", p.File, p.Line, p.Column, p.Message)
		}
		if r.Status == "fail" || r.Status == "error" {
			failed++
		}
	}
	switch {
	case failed > 0:
		return "", nil, fault.New(fault.Invalid, "pattern.test_failed", "%d of %d test runs of the pattern failed.", failed, len(runs)).Do("Its output is in the check's log.")
	case len(runs) == 0:
		return "no tests: a pattern should bring tests/*.tftest.hcl", nil, nil
	}
	return fmt.Sprintf("%d test runs passed", len(runs)), runs, nil
}

// interfaceOf compares the interface with the newest certified version and proposes the next version.
func (s *Service) interfaceOf(ctx context.Context, c change.Change, dir string, _ io.Writer) (string, any, error) {
	next, err := s.Patterns.Propose(ctx, c.Subject, dir)
	if err != nil {
		return "", nil, err
	}
	found := Certification{Change: c.ID, Revision: c.Revision, Version: next.Version, Bump: next.Bump, Reasons: next.Reasons, Pattern: next.Digest, Needed: next.Approvals, Instances: []Effect{}}
	found.Digest = found.digest()
	err = s.DB.Write(ctx, func(tx *db.Tx) error { return save(tx, found) })
	return fmt.Sprintf("%s, a %s version", next.Version, next.Bump), next.Reasons, err
}

// skeleton builds and tests what an app begins with, as the first build of an app would.
func (s *Service) skeleton(ctx context.Context, c change.Change, dir string, log io.Writer) (string, any, error) {
	m, err := readManifest(dir)
	if err != nil {
		return "", nil, err
	}
	if m.Spec.Skeleton == "" {
		return "no skeleton: no app can begin with it", nil, nil
	}
	files, err := pattern.ReadSkeleton(dir, m)
	if err != nil {
		return "", nil, err
	}
	example := app.Create{Name: "example", Team: "example", Pattern: c.Subject}
	var found Certification
	var previous pattern.Version
	err = s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if found, err = Find(tx, c.ID, c.Revision); err != nil {
			return err
		}
		environments, err := app.Environments(tx)
		if err != nil {
			return err
		}
		for _, e := range environments {
			example.Environments = append(example.Environments, e.Name)
		}
		previous, err = s.Patterns.Recommended(tx, c.Subject)
		if f := fault.From(err); f != nil && f.Kind != fault.Internal { // there is none yet
			return nil
		}
		return err
	})
	if err != nil {
		return "", nil, err
	}
	if len(example.Environments) == 0 {
		example.Environments = []string{"staging"}
	}
	example.Version = "~" + found.Version
	app.Fill(files, example)
	file := path.Join(m.Spec.Skeleton, "flywheel.yaml")
	a, err := manifest.ParseApp(file, files["flywheel.yaml"])
	if err != nil {
		return "", nil, err
	}
	summary, err := s.Builder.BuildSkeleton(ctx, app.SkeletonRequest{Pattern: found.Pattern, Previous: previous.Digest, Build: a.Build, Test: a.Test, Files: files, Log: log})
	return summary, nil, err
}

// effect plans every live instance of the pattern as it would be on the new version, before anybody
// decides: what it would do, and which variables the new bounds exclude.
func (s *Service) effect(ctx context.Context, c change.Change, dir string, log io.Writer) (string, any, error) {
	m, err := readManifest(dir)
	if err != nil {
		return "", nil, err
	}
	var instances []app.Instance
	var environments []app.Environment
	var found Certification
	err = s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if found, err = Find(tx, c.ID, c.Revision); err != nil {
			return err
		}
		if environments, err = app.Environments(tx); err != nil {
			return err
		}
		instances, err = app.InstancesOf(tx, c.Subject)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	breaking := []string{}
	for i, instance := range instances {
		e := Effect{App: instance.App, Environment: instance.Environment, Version: instance.Deployed.Version}
		for _, environment := range environments {
			if environment.Name == instance.Environment {
				own := withoutValues(instance.Deployed.Variables, environment.Values)
				for _, v := range manifest.CheckBounds(m, environment.Class, own) {
					e.OutOfBounds = append(e.OutOfBounds, v.Variable+": "+v.Message)
				}
			}
		}
		desired := instance.Deployed
		desired.Digest, desired.Version = found.Pattern, found.Version
		planned, err := s.Plan(ctx, fmt.Sprintf("%s-%d-%d", c.ID, c.Revision, i), instance, desired, dir, m.Spec.Stateful)
		if err != nil {
			e.Error = fault.From(err).Message
			fmt.Fprintf(log, "%s/%s: %v\n", e.App, e.Environment, err)
		} else {
			e.Summary, e.PlanDigest, e.Plan, e.Destructive = planned.Summary, planned.Digest, planned.Tree, planned.Destructive
			fmt.Fprintf(log, "%s/%s: %s\n", e.App, e.Environment, e.Summary)
		}
		e.Breaking = e.Error != "" || len(e.Destructive) > 0 || len(e.OutOfBounds) > 0
		if e.Breaking {
			breaking = append(breaking, e.App+"/"+e.Environment+": "+e.why())
		}
		found.Instances = append(found.Instances, e)
	}
	found.Digest = found.digest()
	if err := s.DB.Write(ctx, func(tx *db.Tx) error { return save(tx, found) }); err != nil {
		return "", nil, err
	}
	switch {
	case len(instances) == 0:
		return "no instance runs on this pattern yet", nil, nil
	case len(breaking) > 0:
		return fmt.Sprintf("%d of %d live instances would break: %s", len(breaking), len(instances), strings.Join(breaking, "; ")), nil, nil
	}
	return fmt.Sprintf("%d live instances can move to it", len(instances)), nil, nil
}

// why says in a few words why an instance would break.
func (e Effect) why() string {
	switch {
	case e.Error != "":
		return e.Error
	case len(e.Destructive) > 0:
		return "it destroys or replaces " + strings.Join(e.Destructive, ", ")
	}
	return strings.Join(e.OutOfBounds, ", ")
}

func withoutValues(variables, values map[string]any) map[string]any {
	own := map[string]any{}
	for k, v := range variables {
		if _, coe := values[k]; !coe {
			own[k] = v
		}
	}
	return own
}

// publish merges an approved pattern change and publishes its version. The engine tries until both are
// done: main would hold what nobody can use.
func (s *Service) publish(flow durable.Flow, workflow string) (string, error) {
	id, revision := parse(workflow)
	ctx := account.System(context.WithoutCancel(flow), "certify")
	return "published", durable.UnlessOutdated(s.publishOnce(flow, ctx, id, revision))
}

func (s *Service) publishOnce(flow durable.Flow, ctx context.Context, id string, revision int) error {
	commit, err := durable.Step(flow, "merge", func(context.Context) (string, error) {
		var c change.Change
		err := s.DB.Read(ctx, func(tx *db.Tx) (err error) {
			c, err = current(tx, change.Find, id, revision, change.Merging)
			return err
		})
		if err != nil {
			return "", err
		}
		return s.Changes.MergeToMain(ctx, c)
	})
	if err != nil {
		return err
	}
	if commit == "" { // main moved: what was approved is not what would be merged
		_, err = durable.Transaction(s.Durable, flow, "again", func(tx *db.Tx) (string, error) {
			c, err := current(tx.In(ctx), change.Take, id, revision, change.Merging)
			if err != nil {
				return "", err
			}
			return "", s.Changes.Missed(tx, c)
		})
		return err
	}
	version, err := durable.Step(flow, "publish", func(context.Context) (pattern.Version, error) {
		return s.publishVersion(ctx, id, revision, commit)
	})
	if err != nil {
		return err
	}
	_, err = durable.Transaction(s.Durable, flow, "certified", func(tx *db.Tx) (string, error) {
		return "", s.certified(tx.In(ctx), id, revision, version, commit)
	})
	return err
}

// certified records the published version, looks again at the other changes of the pattern, whose main
// has moved, and lets go what waits for it.
func (s *Service) certified(tx *db.Tx, id string, revision int, version pattern.Version, commit string) error {
	c, err := current(tx, change.Take, id, revision, change.Merging)
	if err != nil {
		return err
	}
	if err := s.Patterns.Certify(tx, version, c.ID); err != nil {
		return err
	}
	c.State, c.Merged, c.Why, c.Remedy = change.Merged, commit, "published as "+c.Subject+" "+version.Version, ""
	if err := change.Save(tx, c); err != nil {
		return err
	}
	others, err := change.OpenOf(tx, change.OfPattern, c.Subject)
	if err != nil {
		return err
	}
	if err := s.Changes.AgainBeside(tx, c, others); err != nil {
		return err
	}
	return s.Changes.Wake(tx)
}

func (s *Service) publishVersion(ctx context.Context, id string, revision int, commit string) (pattern.Version, error) {
	var c change.Change
	var found Certification
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if c, err = current(tx, change.Find, id, revision, change.Merging); err != nil {
			return err
		}
		found, err = Find(tx, id, revision)
		return err
	})
	if err != nil {
		return pattern.Version{}, err
	}
	dir, err := os.MkdirTemp(s.Dir, "publish-")
	if err != nil {
		return pattern.Version{}, err
	}
	defer os.RemoveAll(dir)
	if err := s.Git.Export(ctx, c.Repo(), commit, dir); err != nil {
		return pattern.Version{}, err
	}
	v, err := s.Patterns.Add(ctx, c.Subject, found.Version, dir, commit)
	if err != nil {
		return v, err
	}
	if v.Digest != found.Pattern {
		return v, fault.New(fault.Conflict, "pattern.content_differs", "What was merged is not what was approved.")
	}
	return v, s.Git.Tag(ctx, c.Repo(), "v"+found.Version, commit)
}
