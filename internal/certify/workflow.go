package certify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/fault"
)

// certify looks at one revision of a pattern change: gate → interface → validate → test → skeleton → effect
// on every live instance → review. It ends where people decide.
func (s *Service) certify(flow durable.Flow, workflow string) (string, error) {
	id, revision := parse(workflow)
	// A stopping server must not turn a running check into a failed one.
	ctx, err := s.Changes.GoOn(flow, "certify", id)
	if err != nil {
		return "", err
	}
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
	}{{"gate", s.gate}, {"interface", s.interfaceOf}, {"validate", s.validate}, {"test", s.test}, {"skeleton", s.skeleton}} {
		passed, err := durable.Step(flow, check.name, func(context.Context) (bool, error) {
			return s.check(ctx, id, revision, tree, check.name, check.do)
		})
		if err != nil || !passed {
			return check.name, err
		}
	}
	since, err := durable.Step(flow, "effects", func(context.Context) (time.Time, error) { return s.DB.Now().UTC(), nil })
	if err != nil {
		return "effects", err
	}
	if err := s.planEffects(flow, ctx, id, revision, tree, since); err != nil {
		return "effects", err
	}
	_, err = durable.Transaction(s.Durable, flow, "review", func(tx *db.Tx) (string, error) {
		return "", s.review(tx.In(ctx), id, revision)
	})
	return "review", err
}

func parse(workflow string) (id string, revision int) {
	parts := strings.Split(workflow, ".")
	revision, _ = strconv.Atoi(parts[1])
	return parts[0], revision
}

// troubled says that a revision could not be certified because of the platform, not of the change. The
// engine tries again.
func (s *Service) troubled(ctx context.Context, id string, revision int, cause error) {
	s.Log.ErrorContext(ctx, "a pattern change could not be certified", "change", id, "revision", revision, "error", cause)
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		c, err := current(tx, change.Take, id, revision, change.Checking)
		if err != nil {
			return err
		}
		c.Why, c.Remedy = "something went wrong inside Flywheel", "It is tried again by itself. What went wrong is in the server's log."
		return change.Save(tx, c)
	})
	if durable.UnlessOutdated(err) != nil {
		s.Log.ErrorContext(ctx, "nor could that be noted", "change", id, "error", err)
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
	m := merged{State: change.Checking, Why: "waits until the change " + beside.ID + " is published"}
	if !busy {
		if m, err = s.merge(ctx, c, main); err != nil {
			return "", err
		}
	}
	return m.Tree, s.DB.Write(ctx, func(tx *db.Tx) error {
		if c, err = current(tx, change.Take, id, revision, change.Checking); err != nil {
			return err
		}
		c.Main, c.State, c.Why, c.Remedy, c.Code = main, m.State, m.Why, m.Remedy, m.Code
		return change.Save(tx, c)
	})
}

// merged is a change merged into main without moving it; without a tree it says what becomes of the change.
type merged struct {
	Tree        string
	State       change.State
	Why, Remedy string
	Code        string
}

func (s *Service) merge(ctx context.Context, c change.Change, main string) (merged, error) {
	if there, err := s.Git.Contains(ctx, c.Repo(), main, c.Head); err != nil || there {
		return merged{State: change.Closed, Why: "main has all its commits already"}, err
	}
	tree, conflicts, err := s.Git.MergeTree(ctx, c.Repo(), main, c.Head)
	if f := fault.From(err); f != nil && f.Kind == fault.Conflict { // unrelated histories
		return merged{State: change.Blocked, Why: f.Message, Remedy: f.Remedy, Code: f.Code}, nil
	}
	if len(conflicts) > 0 {
		return merged{State: change.Blocked, Code: change.CodeConflict, Why: "it conflicts with main in " + strings.Join(conflicts, ", "), Remedy: "Merge main into your branch, resolve the conflict and push again."}, nil
	}
	return merged{Tree: tree, State: change.Checking}, err
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
	var warned warning
	if errors.As(checkErr, &warned) {
		checkErr = nil
	}
	if f := fault.From(checkErr); f != nil && (f.Kind == fault.Internal || f.Code == fault.DiskFull) {
		return false, checkErr
	}
	passed := checkErr == nil
	return passed, s.DB.Write(ctx, func(tx *db.Tx) error {
		if c, err = current(tx, change.Take, id, revision, change.Checking); err != nil {
			return err
		}
		k := change.Check{Name: name, State: change.CheckPassed, Summary: summary, Detail: detail}
		if warned != "" {
			k.State, k.Summary = change.CheckWarning, string(warned)
		}
		if !passed {
			f := fault.From(checkErr)
			k.State, k.Summary = change.CheckFailed, f.Message
			if len(f.Fields) > 0 {
				k.Detail = f.Fields
			}
			c.State, c.Why, c.Code = change.Failed, fmt.Sprintf("the check %s failed: %s", name, f.Message), f.Code
			c.Remedy = strings.TrimSpace(f.Remedy + " `flywheel change log " + c.ID + " " + name + "` shows more. Push a correction: with git to " + c.Branch + ", or `flywheel pattern push FOLDER --branch " + c.Branch + "`.")
			if len(f.Fields) > 0 {
				c.Why = fmt.Sprintf("%s (%s: %s)", strings.TrimSuffix(c.Why, "."), f.Fields[0].Path, strings.TrimSuffix(f.Fields[0].Message, "."))
			}
			if err := change.Save(tx, c); err != nil {
				return err
			}
		}
		return change.SetCheck(tx, c, k)
	})
}
