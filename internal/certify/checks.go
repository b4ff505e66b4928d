package certify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/tofu"
)

// gate reads the pattern without running it and refuses what no plan may meet.
func (s *Service) gate(_ context.Context, c change.Change, dir string, log io.Writer) (string, any, error) {
	m, err := readManifest(dir)
	if err != nil {
		return "", nil, err
	}
	if m.Metadata.Name != c.Subject {
		return "", nil, fault.New(fault.Invalid, "manifest.name_differs", "pattern.yaml describes %q, but this is the repository of %q.", m.Metadata.Name, c.Subject).Do("Set metadata.name to %s.", c.Subject)
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
	case len(runs) == 1:
		return "1 test run passed", nil
	}
	return fmt.Sprintf("%d test runs passed", len(runs)), nil
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
