package certify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/plain"
	"flywheel.dev/flywheel/internal/tofu"
)

// gate reads the pattern without running it and refuses what no plan may meet.
func (s *Service) gate(ctx context.Context, c change.Change, dir string, log io.Writer) (string, any, error) {
	unseen, err := hidden(dir)
	if err == nil {
		err = refuse("gate.hidden_text", "The pattern has text that people do not see as programs read it", unseen, log)
	}
	if err != nil {
		return "", nil, err
	}
	m, err := readManifest(dir)
	if err != nil {
		return "", nil, err
	}
	if m.Metadata.Name != c.Subject {
		return "", nil, fault.New(fault.Invalid, "manifest.name_differs", "pattern.yaml describes %q, but this is the repository of %q.", m.Metadata.Name, c.Subject).Do("Set metadata.name to %s.", c.Subject)
	}
	if err := s.checkOwner(ctx, m.Owner()); err != nil {
		return "", nil, err
	}
	problems := tofu.Gate(dir, s.Allowed)
	if len(problems) > 0 && problems[0].Code == "gate.syntax" {
		return "", nil, refuse("gate.syntax", "The module cannot be read", problems, log)
	}
	if err := refuse("gate.refused", "The pattern uses what no pattern may use", problems, log); err != nil {
		return "", nil, err
	}
	return "only allowed providers, modules and functions", nil, nil
}

// checkOwner refuses an owner of a pattern that is neither a team nor the Center of Excellence.
func (s *Service) checkOwner(ctx context.Context, owner string) error {
	if owner == manifest.CenterOfExcellence {
		return nil
	}
	err := s.DB.Read(ctx, func(tx *db.Tx) error { _, err := account.TeamByName(tx, owner); return err })
	if fault.Is(err, "team.not_found") {
		return fault.New(fault.Invalid, "pattern.owner_unknown", "pattern.yaml names the owner %q, and there is no team of that name.", owner).
			Do("Name a team, or %s for the Center of Excellence, as metadata.owner.", manifest.CenterOfExcellence).At("metadata.owner", "not a team")
	}
	return err
}

// warning is what a check says that found something which is no reason to stop.
type warning string

func (w warning) Error() string { return string(w) }

func readManifest(dir string) (*manifest.Pattern, error) {
	content, err := os.ReadFile(filepath.Join(dir, "pattern.yaml"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fault.New(fault.Invalid, "manifest.missing", "The pattern has no pattern.yaml at its root.").Do("Add it; `flywheel validate` checks it.")
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
		f.At(p.Where(), "%s", p.Message)
		fmt.Fprintf(log, "%s\n", p)
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
	for _, r := range runs {
		fmt.Fprintf(log, "%s %s: %s\n", r.File, r.Name, r.Status)
		for _, p := range r.Problems {
			fmt.Fprintf(log, "  %s\n", p)
		}
	}
	summary, err := tested(runs)
	if err != nil {
		return "", nil, err
	}
	return summary, runs, nil
}

// tested says how the tests went. Only what ran to its end has passed.
func tested(runs []tofu.TestRun) (string, error) {
	failed, skipped := 0, 0
	for _, r := range runs {
		switch r.Status {
		case "pass":
		case "skip", "pending":
			skipped++
		default:
			failed++
		}
	}
	switch {
	case failed > 0:
		return "", fault.New(fault.Invalid, "pattern.test_failed", "%d of %d test runs of the pattern failed.", failed, len(runs))
	case skipped > 0:
		return "", fault.New(fault.Invalid, "pattern.test_skipped", "%d of %d test runs of the pattern were skipped, and what did not run did not pass.", skipped, len(runs)).
			Do("Look at the log of the check for what kept them from running.")
	case len(runs) == 0:
		return "no tests: a pattern should bring tests/*.tftest.hcl", nil
	}
	return plain.Count(len(runs), "test run", "test runs") + " passed", nil
}

// interfaceOf compares the interface with the newest certified version, proposes the next version, and
// foresees what it makes of the live instances.
func (s *Service) interfaceOf(ctx context.Context, c change.Change, dir string, _ io.Writer) (string, any, error) {
	next, err := s.Patterns.Propose(ctx, c.Subject, dir)
	if err != nil {
		return "", nil, err
	}
	if err := s.Foresee(ctx, c, next); err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("%s, a %s version", next.Version, next.Bump), next.Reasons, s.announce(ctx, c)
}

// skeleton builds and tests what an app begins with, as the first build of an app would.
func (s *Service) skeleton(ctx context.Context, c change.Change, dir string, log io.Writer) (string, any, error) {
	m, err := readManifest(dir)
	if err != nil {
		return "", nil, err
	}
	if err := s.foreseeValues(ctx, c); err != nil {
		return "", nil, err
	}
	if m.Spec.Skeleton == "" {
		return "", nil, warning("there is none: `flywheel app create` refuses this version until the pattern brings one, a folder with a flywheel.yaml that spec.skeleton names")
	}
	files, err := pattern.ReadSkeleton(dir, m)
	if err != nil {
		return "", nil, err
	}
	example := app.Create{Name: "example", Team: "example", Pattern: c.Subject}
	var found Certification
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
		return nil
	})
	if err != nil {
		return "", nil, err
	}
	if len(example.Environments) == 0 {
		example.Environments = []string{"staging"}
	}
	example.Version = "~" + found.Version
	if files, err = app.Fill(files, example); err != nil {
		return "", nil, err
	}
	file := path.Join(m.Spec.Skeleton, "flywheel.yaml")
	a, err := manifest.ParseApp(file, files["flywheel.yaml"])
	if err != nil {
		return "", nil, err
	}
	summary, err := s.Builder.BuildSkeleton(ctx, app.SkeletonRequest{Pattern: found.Pattern, Build: a.Build, Test: a.Test, Files: files, Log: log})
	return summary, nil, err
}

// foreseeValues says in a check which environments lack a value that every app of the version needs there: nothing can
// be deployed on it before somebody sets that.
func (s *Service) foreseeValues(ctx context.Context, c change.Change) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		c, err := current(tx, change.Take, c.ID, c.Revision, change.Checking)
		if err != nil {
			return err
		}
		found, err := Find(tx, c.ID, c.Revision)
		if err != nil {
			return err
		}
		environments, err := app.Environments(tx)
		if err != nil {
			return err
		}
		v := found.version(c.Subject)
		said := []string{}
		for _, e := range app.InOrder(environments) {
			if coe, _ := app.WithoutValue(v, e, nil); len(coe) > 0 {
				sentence, command := app.NoEnvironmentValue(v, e.Name, coe)
				said = append(said, sentence+" Set it: `"+command+"`.")
			}
		}
		k := change.Check{Name: "environments", State: change.CheckPassed, Summary: "every environment has the values that it needs"}
		if len(said) > 0 {
			k.State, k.Summary, k.Detail = change.CheckWarning, strings.Join(said, " "), said
		}
		return change.SetCheck(tx, c, k)
	})
}
