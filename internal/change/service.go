package change

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/git"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/runlog"
	"flywheel.dev/flywheel/internal/tofu"
)

// Service opens, processes, merges and shows changes. The func fields are feedback against the import
// order, filled in package server.
type Service struct {
	DB       *db.DB
	Durable  *durable.Engine
	Git      *git.Host
	Patterns *pattern.Service
	Builder  *app.Builder
	Logs     *runlog.Store
	Log      *slog.Logger
	BaseURL  string // of the pages, for the answer on the pusher's terminal

	// Plan plans what a change would do to one instance, without doing it.
	Plan func(ctx context.Context, c Change, environment string, desired app.Desired) (Planned, error)
	// Built tells that a change of the software lane has its artifact and goes on to merge by itself. It only
	// saves time: it does not wait, and nothing depends on it.
	Built func(app, artifact string)
	// Rollout hands a merged change's targets to package deploy, in the merging transaction.
	Rollout func(tx *db.Tx, c Change, targets []Target) error
	// Certify starts the certification of a pattern change's revision.
	Certify func(c Change) error

	sweeper durable.Sweeper
	missed  atomic.Bool // a branch may have moved without anybody noticing
}

// Planned is what the plan of an instance says, as far as a decision needs it.
type Planned struct {
	Summary     string      // "1 to create, 2 to update"
	Digest      string      // of the plan, which an approval binds to
	Worst       tofu.Action // the gravest thing it does
	Destructive []string    // addresses of stateful resources that it would destroy or replace
	Tree        any         // the resources, for the page
	Refused     []string    // messages of policies that forbid it
	Warnings    []string    // messages of policies that only warn
}

// Register makes the workflow known to the engine. Call it before the engine launches.
func (s *Service) Register() { s.Durable.Register("change/v1", s.process) }

// Start begins to sweep: what should be processed and is not, because the process died between a
// commit and the start of the workflow, is started; branches whose push was not noticed are noticed.
func (s *Service) Start() {
	s.missed.Store(true) // what was pushed while nobody was here
	s.sweeper.Start(account.System(context.Background(), "change"), 10*time.Second, s.Log, "changes", func(ctx context.Context) error {
		return s.Sweep(ctx, s.missed.Swap(false))
	})
}

// Stop ends the sweeper.
func (s *Service) Stop() { s.sweeper.Stop() }

// Sweep starts the workflow of every change that is being checked or merged, and, when branches is
// set, compares every repository's branches with the changes.
func (s *Service) Sweep(ctx context.Context, branches bool) error {
	var busy []Change
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		for _, state := range []State{Checking, Merging} {
			more, err := InState(tx, state)
			if err != nil {
				return err
			}
			busy = append(busy, more...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, c := range busy {
		if err := s.start(c); err != nil {
			return err
		}
		if err := s.resume(ctx, c); err != nil {
			return err
		}
	}
	if err := s.Builder.Forget(s.DB.Now().Add(-24 * time.Hour)); err != nil {
		return err
	}
	if branches {
		return s.reconcile(ctx)
	}
	return nil
}

// patience is how long the sweeper lets a change be whose workflow has ended without an answer.
const patience = 30 * time.Second

// resume begins the next revision of a change that is being checked although its workflow has ended: it
// waited for another merge, which came to nothing.
func (s *Service) resume(ctx context.Context, c Change) error {
	if c.State != Checking || s.DB.Now().Sub(c.UpdatedAt) < patience {
		return nil
	}
	if ended, err := s.Durable.Ended(c.Workflow()); err != nil || !ended {
		return err
	}
	return durable.UnlessOutdated(s.DB.Write(ctx, func(tx *db.Tx) error {
		now, err := current(tx, Take, c.ID, c.Revision, Checking)
		if err != nil {
			return err
		}
		return s.Again(tx, now)
	}))
}

// reconcile opens, updates and closes changes for branches that moved while nobody could notice.
func (s *Service) reconcile(ctx context.Context) error {
	repos, err := s.Git.List()
	if err != nil {
		return err
	}
	for _, repo := range repos {
		if err := s.reconcileOne(ctx, repo); err != nil {
			s.Log.Warn("a repository could not be compared with its changes", "repository", repo.String(), "error", err)
		}
	}
	return ctx.Err()
}

func (s *Service) reconcileOne(ctx context.Context, repo git.Repo) error {
	var open []Change
	var known map[string]bool
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if open, err = OpenOf(tx, kindOf(repo), repo.Name); err != nil {
			return err
		}
		known, err = seen(tx, kindOf(repo), repo.Name)
		return err
	})
	if err != nil {
		return err
	}
	// The branches are read after the changes: one that is made in between is noticed by its push, and one
	// that is open here and gone there was deleted.
	heads, err := s.Git.Heads(ctx, repo)
	if err != nil {
		return err
	}
	for branch, sha := range heads {
		if branch == git.Main || known[branch+" "+sha] {
			continue
		}
		s.Log.Info("a branch was pushed while the server was away", "repository", repo.String(), "branch", branch)
		if _, _, err := s.open(ctx, repo, git.RefUpdate{Ref: "refs/heads/" + branch, New: sha}); err != nil {
			s.Log.Warn("a branch could not become a change", "repository", repo.String(), "branch", branch, "error", err)
			if db.IsAway(err) || fault.From(err).Code == fault.DiskFull {
				s.missed.Store(true) // it is tried again when that has passed
			}
		}
	}
	for _, c := range open {
		if _, there := heads[c.Branch]; !there {
			if _, err := s.closeBranch(ctx, c.Kind, c.Subject, c.Branch); err != nil {
				return err
			}
		}
	}
	return nil
}

func kindOf(repo git.Repo) Kind {
	if repo.Kind == git.Patterns {
		return OfPattern
	}
	return OfApp
}

// Repo returns the repository the change is a branch of.
func (c Change) Repo() git.Repo {
	if c.Kind == OfPattern {
		return git.Pattern(c.Subject)
	}
	return git.App(c.Subject)
}

// Pushed opens, updates or closes a change for each branch of a push, and returns the lines that the
// pusher reads on the terminal.
func (s *Service) Pushed(ctx context.Context, push git.Push) []string {
	lines := []string{}
	for _, u := range push.Updates {
		answer, err := s.push(ctx, push.Repo, u)
		if err != nil {
			f := fault.From(err)
			if f.Kind == fault.Internal || f.Kind == fault.Unavailable {
				s.Log.ErrorContext(ctx, "a push could not become a change", "repository", push.Repo.String(), "branch", u.Branch(), "error", err)
				s.missed.Store(true) // the branch is there: pushing it again would say nothing is new
				f.Remedy = "The branch is kept and becomes a change by itself once that has passed."
			}
			answer = []string{fmt.Sprintf("%s: %s %s", u.Branch(), f.Message, f.Remedy)}
		}
		lines = append(lines, answer...)
	}
	return lines
}

// push is open with the answer for a person at a terminal.
func (s *Service) push(ctx context.Context, repo git.Repo, u git.RefUpdate) ([]string, error) {
	c, lines, err := s.open(ctx, repo, u)
	if err != nil || c.ID == "" {
		return lines, err
	}
	return s.answer(ctx, c), nil
}

// open opens, updates or closes the change of a branch that moved. Where no change comes of it the lines
// say why.
func (s *Service) open(ctx context.Context, repo git.Repo, u git.RefUpdate) (c Change, lines []string, err error) {
	branch, kind := u.Branch(), kindOf(repo)
	if u.New == "" {
		lines, err := s.closeBranch(ctx, kind, repo.Name, branch)
		return c, lines, err
	}
	main, err := s.Git.Resolve(ctx, repo, "refs/heads/main")
	if err != nil {
		return c, nil, err
	}
	commits, err := s.Git.Log(ctx, repo, main, u.New, 500)
	if err != nil {
		return c, nil, err
	}
	if len(commits) == 0 {
		// That there is nothing to propose, git's host has said.
		lines, err := s.end(ctx, kind, repo.Name, branch, "its branch has no commits that main lacks")
		return c, lines, err
	}
	pushers, err := s.Git.Pushers(ctx, repo, branch, u.New)
	if err != nil {
		return c, nil, err
	}
	actor := account.From(ctx)
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		old, exists, err := OpenOn(tx, kind, repo.Name, branch)
		if err != nil {
			return err
		}
		if c = old; exists {
			if c, err = Take(tx, old.ID); err != nil {
				return err
			}
			if exists = c.State.Open() && c.State != Merging; !exists {
				c = Change{}
			}
		}
		if !exists {
			c = Change{ID: db.NewID("chg"), Kind: kind, Subject: repo.Name, Branch: branch, Opener: actor.ID, OpenedAt: tx.Now()}
			if kind == OfApp {
				a, err := app.Find(tx, repo.Name)
				if err != nil {
					return err
				}
				c.Team = a.Team
			}
		}
		c.Head, c.State, c.Why, c.Remedy, c.MergeRequested, c.Released, c.UpdatedAt = u.New, Checking, "", "", false, "", tx.Now()
		c.Lane, c.Reasons, c.Effects = "", []Reason{}, []Effect{} // of what was pushed before
		c.Revision++
		c.commits = timesOf(commits)
		describeCommits(&c, commits)
		if reverted, ok := strings.CutPrefix(branch, revertPrefix); ok {
			// Anybody may name a branch like this; only a change of the same app or pattern is taken back.
			if r, err := Find(tx, "chg_"+reverted); err == nil && r.Kind == kind && r.Subject == repo.Name {
				c.Reverts = r.ID
			}
		}
		c.Authors = slices.Compact(slices.Sorted(slices.Values(append(pushers, c.Opener, actor.ID))))
		if !exists {
			if err := insert(tx, c); err != nil {
				return err
			}
		} else if err := Save(tx, c); err != nil {
			return err
		}
		s.startAfter(tx, c)
		return nil
	})
	if err != nil {
		return c, nil, err
	}
	s.Log.InfoContext(ctx, "a branch is a change", "change", c.ID, "revision", c.Revision, "branch", branch)
	return c, nil, nil
}

// describeCommits takes title, body and trailers from the commits of a branch, the newest first. The
// newest trailer of a kind wins.
func describeCommits(c *Change, commits []git.Commit) {
	first := commits[len(commits)-1]
	c.Title, c.Body = first.Subject, first.Body
	if c.Title == "" {
		c.Title = c.Branch
	}
	declared := c.Fix // by DeclareFix, which a push does not take back
	c.Story, c.Needs, c.Fix = "", "", ""
	for _, commit := range commits {
		for target, values := range map[*string][]string{&c.Story: commit.Stories, &c.Needs: commit.Needs, &c.Fix: commit.Fixes} {
			if *target == "" && len(values) > 0 {
				*target = values[len(values)-1]
			}
		}
	}
	if c.Fix == "" {
		c.Fix = declared
	}
}

// laned waits a moment for the lane of a change that was just opened, and returns the change as it is then.
func (s *Service) laned(ctx context.Context, c Change) Change {
	return s.await(ctx, c, func(c Change) bool { return c.Lane != "" || c.State != Checking })
}

// decided waits a moment for what comes of a person's decision, and returns the change as it is then.
func (s *Service) decided(ctx context.Context, id string) (c Change, err error) {
	err = s.DB.Read(ctx, func(tx *db.Tx) error { c, err = Find(tx, id); return err })
	return s.await(ctx, c, func(c Change) bool { return c.State != Checking && c.State != Merging }), err
}

func (s *Service) await(ctx context.Context, c Change, done func(Change) bool) Change {
	patience := time.After(5 * time.Second)
	for waiting := true; waiting && !done(c); {
		select {
		case <-ctx.Done():
			waiting = false
		case <-patience:
			waiting = false
		case <-time.After(25 * time.Millisecond):
		}
		now := c
		if err := s.DB.Read(ctx, func(tx *db.Tx) (err error) { now, err = Find(tx, c.ID); return err }); err != nil {
			break
		}
		c = now
	}
	return c
}

// answer waits a moment for the lane, which takes tens of milliseconds, and says what happens next.
func (s *Service) answer(ctx context.Context, c Change) []string {
	c = s.laned(ctx, c)
	lines := []string{fmt.Sprintf("Change %s: %s", c.ID, c.Title)}
	if c.Lane != "" {
		lines = append(lines, "Lane: "+string(c.Lane))
		for _, r := range c.Reasons {
			lines = append(lines, "  - "+r.Text)
		}
	}
	if c.Why != "" {
		lines = append(lines, fmt.Sprintf("%s: %s", c.State, c.Why))
	}
	if c.Remedy != "" {
		lines = append(lines, c.Remedy)
	}
	if c.Code != "" {
		lines = append(lines, "("+c.Code+")")
	}
	return append(lines, s.BaseURL+"/changes/"+c.ID)
}

func (s *Service) closeBranch(ctx context.Context, kind Kind, subject, branch string) ([]string, error) {
	return s.end(ctx, kind, subject, branch, "its branch was deleted")
}

// end closes the open change of a branch, if there is one, and says so.
func (s *Service) end(ctx context.Context, kind Kind, subject, branch, why string) (lines []string, err error) {
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		lines = nil
		c, open, err := OpenOn(tx, kind, subject, branch)
		if err != nil || !open {
			return err
		}
		if c, err = Take(tx, c.ID); err != nil || !c.State.Open() || c.State == Merging {
			return err
		}
		c.State, c.Why, c.Remedy = Closed, why, ""
		lines = []string{fault.OneStop(fmt.Sprintf("Change %s is closed: %s.", c.ID, why))}
		if err := Save(tx, c); err != nil {
			return err
		}
		if err := account.Audit(tx, account.Entry{Action: "change.close", Subject: c.ID, Decision: "allowed", Reason: why}); err != nil {
			return err
		}
		return s.Over(tx, c)
	})
	return lines, err
}

// Over lets go what waits for a pattern change that will not be certified.
func (s *Service) Over(tx *db.Tx, c Change) error {
	if c.Kind != OfPattern {
		return nil
	}
	if err := s.Patterns.Unfulfilled(tx, c.ID, c.Why); err != nil {
		return err
	}
	return s.Wake(tx)
}

// Again starts the next revision of a change: its inputs may have changed. It is part of the
// transaction that changed them.
func (s *Service) Again(tx *db.Tx, c Change) error {
	before := c.Revision
	c.Revision++
	c.State, c.Why, c.Remedy, c.UpdatedAt = Checking, "", "", tx.Now()
	if err := Save(tx, c); err != nil {
		return err
	}
	if err := carry(tx, c, before); err != nil {
		return err
	}
	s.startAfter(tx, c)
	return nil
}

// startAfter processes the present revision of the change as soon as the transaction is committed. What cannot
// be started then, the sweeper starts.
func (s *Service) startAfter(tx *db.Tx, c Change) {
	tx.AfterCommit(func() {
		if err := s.start(c); err != nil {
			s.Log.WarnContext(tx.Context(), "a change will be processed by the sweeper", "change", c.ID, "error", err)
		}
	})
}

func (s *Service) start(c Change) error {
	if c.Kind == OfPattern {
		return s.Certify(c)
	}
	return s.Durable.Start(s.process, c.Workflow())
}

// Workflow returns the id under which this revision of the change is processed.
func (c Change) Workflow() string { return fmt.Sprintf("%s.%d", c.ID, c.Revision) }

// Wake looks again at every app change that has no certified pattern version in its range, because one
// was certified, rejected or closed. It is part of the transaction that did so.
func (s *Service) Wake(tx *db.Tx) error {
	waits := func(c Change) bool {
		return c.Kind == OfApp && c.Lane == Pattern && (c.State == Waiting || c.State == Blocked)
	} // others are blocked by a conflict
	asleep := []Change{}
	for _, state := range []State{Waiting, Blocked} {
		list, err := InState(tx, state)
		if err != nil {
			return err
		}
		asleep = append(asleep, list...)
	}
	asleep = slices.DeleteFunc(asleep, func(c Change) bool { return !waits(c) })
	return s.againIf(tx, asleep, waits)
}

// againIf looks again at those of the app changes in a list for which is still says so when they are locked. It may
// take several: so it locks the instances of their apps first, then the changes by their ids.
func (s *Service) againIf(tx *db.Tx, list []Change, is func(Change) bool) error {
	apps := []string{}
	for _, c := range list {
		apps = append(apps, c.Subject)
	}
	slices.Sort(apps)
	for _, name := range slices.Compact(apps) {
		if _, err := app.LockInstances(tx, name); err != nil {
			return err
		}
	}
	slices.SortFunc(list, func(a, b Change) int { return strings.Compare(a.ID, b.ID) })
	for _, c := range list {
		c, err := Take(tx, c.ID)
		if err != nil {
			return err
		}
		if !is(c) {
			continue
		}
		if err := s.Again(tx, c); err != nil {
			return err
		}
	}
	return nil
}

// reconsider looks again at the changes of an app that were refused: a waiver may accept now what was
// refused for its bounds.
func (s *Service) reconsider(tx *db.Tx, name string) error {
	open, err := OpenOf(tx, OfApp, name)
	if err != nil {
		return err
	}
	return s.againIf(tx, open, func(c Change) bool { return c.State == Refused })
}

// Given lets the changes of an app belong to the team that has it now, and looks again at those that were
// refused, as they may name that team already.
func (s *Service) Given(tx *db.Tx, name, team string) error {
	if _, err := app.LockInstances(tx, name); err != nil {
		return err
	}
	if err := setTeam(tx, name, team); err != nil {
		return err
	}
	return s.reconsider(tx, name)
}

// Get returns a change with the checks of its current revision.
func (s *Service) Get(ctx context.Context, id string) (c Change, checks []Check, err error) {
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		if c, err = s.visible(ctx, tx, id, Find); err != nil {
			return err
		}
		checks, err = Checks(tx, id, c.Revision)
		return err
	})
	return c, checks, err
}

// visible loads a change, with Find or with Take, if the actor may see it.
func (s *Service) visible(ctx context.Context, tx *db.Tx, id string, load func(*db.Tx, string) (Change, error)) (Change, error) {
	actor := account.From(ctx)
	if actor.Nobody() {
		return Change{}, actor.Require(account.ViewPattern, "")
	}
	c, err := load(tx, id)
	if err == nil && c.Kind == OfApp && !actor.Can(account.ViewApp, c.Team) {
		return Change{}, fault.Missing("change", id)
	}
	return c, err
}

// List returns the changes that match and that the actor may see, newest first.
func (s *Service) List(ctx context.Context, f Filter) (found []Change, err error) {
	actor := account.From(ctx)
	if actor.Nobody() {
		return nil, actor.Require(account.ViewPattern, "")
	}
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		if err := s.checkSubject(tx, f); err != nil {
			return err
		}
		may := func(c Change) bool { return c.Kind == OfPattern || actor.Can(account.ViewApp, c.Team) }
		found, err = db.Fill(f.Limit, may, func(last *Change) ([]Change, error) {
			if last != nil {
				f.Before = last.ID
			}
			return list(tx, f)
		})
		return err
	})
	return found, err
}

// checkSubject returns a fault if there is no app or pattern of the name that the list is about, or the actor
// may not see it: an empty list would be taken for one without changes.
func (s *Service) checkSubject(tx *db.Tx, f Filter) error {
	if f.Subject == "" {
		return nil
	}
	switch f.Kind {
	case OfApp:
		return app.CheckSeen(tx, f.Subject)
	case OfPattern:
		return pattern.CheckKnown(tx, f.Subject)
	}
	return nil // either may be meant, and a name of neither has no changes
}

// Diff returns what merging a change does to main.
func (s *Service) Diff(ctx context.Context, id string) ([]git.FileDiff, error) {
	c, _, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	before, after, err := s.sides(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.Git.Diff(ctx, c.Repo(), before, after)
}

// FileDiff writes the whole patch of one file to w, and notes that the actor has opened it.
func (s *Service) FileDiff(ctx context.Context, id, file string, w io.Writer) error {
	c, _, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	before, after, err := s.sides(ctx, c)
	if err != nil {
		return err
	}
	content, err := s.Git.FilePatch(ctx, c.Repo(), before, after, file, w)
	if err != nil {
		return err
	}
	person := account.From(ctx).ID
	return s.DB.Write(ctx, func(tx *db.Tx) error { return saveOpened(tx, id, person, file, content) })
}

// Unopened returns the files of a change that its diff does not show whole and that the actor has not opened.
func (s *Service) Unopened(ctx context.Context, id string) (files []string, err error) {
	all, err := s.Diff(ctx, id)
	if err != nil {
		return nil, err
	}
	var seen map[string]bool
	err = s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		seen, err = opened(tx, id, account.From(ctx).ID)
		return err
	})
	for _, f := range all {
		if f.Truncated && !seen[f.Path+"\x00"+f.Content] {
			files = append(files, f.Path)
		}
	}
	return files, err
}

// sides returns what main is without a change and with it. The second is the merge itself, as it is checked, built and
// planned, and not the head of the branch: a branch can undo what main has without differing from where it left
// main, for example by a merge of its own that drops one side.
func (s *Service) sides(ctx context.Context, c Change) (before, after string, err error) {
	if c.Merged != "" {
		merge, err := s.Git.Commit(ctx, c.Repo(), c.Merged)
		if err != nil || len(merge.Parents) == 0 {
			return c.Merged, c.Merged, err
		}
		return merge.Parents[0], c.Merged, nil
	}
	main := c.Main
	if main == "" {
		if main, err = s.Git.Resolve(ctx, c.Repo(), "refs/heads/main"); err != nil {
			return "", "", err
		}
	}
	tree, conflicts, err := s.Git.MergeTree(ctx, c.Repo(), main, c.Head)
	switch {
	case fault.Is(err, "git.unrelated_histories"):
		return main, c.Head, nil
	case err == nil && len(conflicts) > 0: // there is no merge to show yet
		base, err := s.Git.MergeBase(ctx, c.Repo(), main, c.Head)
		return base, c.Head, err
	}
	return main, tree, err
}

// goesOn looks again at a change that a person decided about, unless decide refuses that, and returns it as it is
// after that.
func (s *Service) goesOn(ctx context.Context, id string, decide func(tx *db.Tx, c *Change) error) (c Change, err error) {
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if c, err = s.visible(ctx, tx, id, Take); err != nil {
			return err
		}
		if err := decide(tx, &c); err != nil {
			return err
		}
		return s.Again(tx, c)
	})
	if err != nil {
		return c, err
	}
	return s.decided(ctx, id)
}

// Merge asks for the merge of a change that is green and not merged by itself (`merge: manual`), and
// returns the change after it.
func (s *Service) Merge(ctx context.Context, id string) (Change, error) {
	return s.goesOn(ctx, id, func(tx *db.Tx, c *Change) error {
		if err := account.From(ctx).Require(account.Merge, c.Team); err != nil {
			return err
		}
		if c.State != Ready {
			return fault.New(fault.Conflict, "change.not_ready", "Change %s is %s, so it cannot be merged now.", c.ID, c.State).Do("%s", c.Why)
		}
		c.MergeRequested = true
		return account.Audit(tx, account.Entry{Action: "change.merge", Subject: c.ID, Decision: "allowed"})
	})
}

// ReleaseHeld lets a held change go on. digest is the one that was shown: an operator releases what
// they have seen, and nothing else (rule of change 10). confirm is the name of the app, where one who may not is the
// only person; see account.FourEyes. It returns the change after that.
func (s *Service) ReleaseHeld(ctx context.Context, id, digest, confirm string) (Change, error) {
	return s.goesOn(ctx, id, func(tx *db.Tx, c *Change) error {
		if err := c.mayRelease(account.From(ctx)); err != nil {
			return err
		}
		if c.State != Held {
			return fault.New(fault.Conflict, "change.not_held", "Change %s is %s, not held.", c.ID, c.State)
		}
		if shown := c.HeldDigest(); digest != shown {
			return fault.New(fault.Stale, "change.plan_changed", "What change %s would do is not what you looked at.", c.ID).Do("Look again, then release it with the digest %s.", shown)
		}
		note, err := s.fourEyes(tx, *c, confirm)
		if err != nil {
			return err
		}
		c.Released = digest
		return account.Audit(tx, account.Entry{Action: "change.release", Subject: c.ID, Decision: "allowed", Reason: strings.TrimSpace(digest + " " + note)})
	})
}

// Recheck looks again at a change that was refused, failed or blocked, without a push: its cause may have been
// elsewhere, such as a secret that was not set. It returns the change after that.
func (s *Service) Recheck(ctx context.Context, id string) (Change, error) {
	return s.goesOn(ctx, id, func(tx *db.Tx, c *Change) error {
		if err := account.From(ctx).Require(c.develop()); err != nil {
			return err
		}
		switch {
		case c.State != Refused && c.State != Failed && c.State != Blocked:
			return fault.New(fault.Conflict, "change.not_failed", "Change %s is %s: there is nothing to check again.", c.ID, c.State)
		case c.Code == codeOuterFailed:
			return fault.New(fault.Conflict, codeOuterFailed, "%s. Flywheel does not run that check.", c.Why).Do("Run it again where it runs; the change goes on when its result is good.")
		}
		return account.Audit(tx, account.Entry{Action: "change.recheck", Subject: c.ID, Decision: "allowed"})
	})
}

// develop returns the permission that pushing to the change's branch needs, and where.
func (c Change) develop() (account.Permission, string) {
	if c.Kind == OfApp {
		return account.PushApp, c.Team
	}
	return account.DevelopPattern, ""
}

// Close ends a change without merging it. Its branch stays.
func (s *Service) Close(ctx context.Context, id, reason string) (c Change, err error) {
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if c, err = s.visible(ctx, tx, id, Take); err != nil {
			return err
		}
		if err := account.From(ctx).Require(c.develop()); err != nil {
			return err
		}
		if !c.State.Open() || c.State == Merging {
			return notOpen(c)
		}
		c.State, c.Why, c.Remedy = Closed, "closed by "+account.From(ctx).Name, ""
		if reason = strings.TrimSpace(reason); reason != "" {
			c.Why += ": " + reason
		}
		if err := Save(tx, c); err != nil {
			return err
		}
		if err := account.Audit(tx, account.Entry{Action: "change.close", Subject: c.ID, Decision: "allowed", Reason: reason}); err != nil {
			return err
		}
		return s.Over(tx, c)
	})
	return c, err
}

// DeclareFix says that an open change mends what another change broke, so that it may pass the
// instances that were rolled back.
func (s *Service) DeclareFix(ctx context.Context, id, fixes string) (c Change, err error) {
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if c, err = s.visible(ctx, tx, id, Take); err != nil {
			return err
		}
		if err := account.From(ctx).Require(account.Deploy, c.Team); err != nil {
			return err
		}
		broken, err := Find(tx, fixes)
		if err != nil && !fault.Is(err, "change.not_found") {
			return err
		}
		if err != nil || broken.Kind != c.Kind || broken.Subject != c.Subject || broken.ID == c.ID {
			return fault.New(fault.Invalid, "change.fix_unknown", "%q is not a change of %s.", fixes, c.Subject)
		}
		c.Fix = fixes
		if err := account.Audit(tx, account.Entry{Action: "change.fix_forward", Subject: c.ID, Decision: "allowed", Reason: fixes}); err != nil {
			return err
		}
		if err := Save(tx, c); err != nil {
			return err
		}
		if c.Kind != OfApp {
			return nil // patterns are not deployed
		}
		return event.Emit(tx, event.FixDeclared{OfChange: c.OfChange(tx), Fixes: c.Fix})
	})
	return c, err
}

// Mends reports whether the change takes back, or declares to fix, what the broken one did.
func Mends(tx *db.Tx, id, broken string) (bool, error) {
	c, err := Find(tx, id)
	return err == nil && (c.Reverts == broken || c.Fix == broken), err
}

// MarkDeployed says that the change is verified in the last environment of its order.
func MarkDeployed(tx *db.Tx, c Change) error {
	c, err := Take(tx, c.ID)
	if err != nil || c.State != Merged {
		return err
	}
	c.State, c.Why, c.Remedy = Deployed, "", ""
	return Save(tx, c)
}

// Standing is how a change stands, for whoever may have to put it back.
type Standing struct {
	State  State  `json:"state"`
	Why    string `json:"why"`
	Remedy string `json:"remedy"`
}

// MarkRolledBack says that an environment goes back to what ran before the change, and returns how the change
// stood.
func MarkRolledBack(tx *db.Tx, id, why string) (Standing, error) {
	c, err := Take(tx, id)
	if err != nil {
		return Standing{}, err
	}
	before := Standing{c.State, c.Why, c.Remedy}
	c.State, c.Why, c.Remedy = RolledBack, why, "Merge its revert when it is open, or push a correction with the trailer `Fixes: "+c.ID+"`."
	return before, Save(tx, c)
}

// MarkNotRolledBack puts a change back to how it stood before a rollback that was never carried out, and returns
// it.
func MarkNotRolledBack(tx *db.Tx, id string, before Standing) (Change, error) {
	c, err := Take(tx, id)
	if err != nil || c.State != RolledBack {
		return c, err
	}
	c.State, c.Why, c.Remedy = before.State, before.Why, before.Remedy
	return c, Save(tx, c)
}

// MarkRunsAgain says that what was rolled back runs in an environment after all, because main was deployed there
// again, so that later changes pass.
func MarkRunsAgain(tx *db.Tx, id, environment string) error {
	c, err := Take(tx, id)
	if err != nil || c.State != RolledBack {
		return err
	}
	c.Remedy = fmt.Sprintf("Main was deployed in %s again, so that later changes pass there and bring it to where it has not been.", environment)
	if c.Revert != "" {
		c.Remedy += fmt.Sprintf(" Close its revert, unless it is to be taken back: `flywheel change close %s`.", c.Revert)
	}
	return Save(tx, c)
}

// MarkStuck says why a merged change does not reach its last environment.
func MarkStuck(tx *db.Tx, id, why string) error {
	c, err := Take(tx, id)
	if err != nil || c.State != Merged {
		return err
	}
	c.Why, c.Remedy = why, "`flywheel deployment redeploy` tries again once the cause is gone."
	return Save(tx, c)
}

// revertPrefix begins the branch that takes a change back; the rest is the change's id. A person may
// push such a branch as well, with a better revert.
const revertPrefix = "revert-"

// OpenRevert opens the change that takes another one back, as a branch with the reverting commit.
// Calling it again does nothing.
func (s *Service) OpenRevert(ctx context.Context, id string) error {
	var c Change
	if err := s.DB.Read(ctx, func(tx *db.Tx) (err error) { c, err = Find(tx, id); return err }); err != nil {
		return err
	}
	if c.Revert != "" || c.Merged == "" {
		return nil
	}
	branch := revertPrefix + strings.TrimPrefix(c.ID, "chg_")
	main, err := s.Git.Resolve(ctx, c.Repo(), "refs/heads/main")
	if err != nil {
		return err
	}
	head, err := s.Git.RevertCommit(ctx, c.Repo(), main, c.Merged, branch, git.Platform)
	why := ""
	switch {
	case fault.Is(err, "git.revert_conflict"):
		why = "Its revert conflicts with later changes: revert it by hand"
	case fault.Is(err, "git.revert_empty"):
		why = "Main no longer has what it did: redeploy main"
	case fault.Is(err, "git.branch_moved"): // a person was faster, with a better one
		if head, err = s.Git.Resolve(ctx, c.Repo(), "refs/heads/"+branch); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	if why != "" {
		return s.DB.Write(ctx, func(tx *db.Tx) error {
			if c, err = Take(tx, id); err != nil {
				return err
			}
			c.Remedy = why + ", or push a correction with the trailer `Fixes: " + c.ID + "`."
			return Save(tx, c)
		})
	}
	var known bool
	if err := s.DB.Read(ctx, func(tx *db.Tx) error {
		heads, err := seen(tx, c.Kind, c.Subject)
		known = heads[branch+" "+head]
		return err
	}); err != nil {
		return err
	}
	if known {
		return s.link(ctx, id, branch)
	}
	if _, _, err := s.open(ctx, c.Repo(), git.RefUpdate{Ref: "refs/heads/" + branch, New: head}); err != nil {
		return err
	}
	return s.link(ctx, id, branch)
}

// link says in a change which one takes it back.
func (s *Service) link(ctx context.Context, id, branch string) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		c, err := Take(tx, id)
		if err != nil {
			return err
		}
		revert, open, err := OpenOn(tx, c.Kind, c.Subject, branch)
		if err != nil || !open {
			return err
		}
		if c.Revert = revert.ID; c.State == RolledBack {
			c.Remedy = fmt.Sprintf("Merge its revert, `flywheel change merge %s`, or push a correction with the trailer `Fixes: %s`. "+
				"If its cause was elsewhere and is gone: `flywheel deployment redeploy %s ENVIRONMENT`.", c.Revert, c.ID, c.Subject)
		}
		return Save(tx, c)
	})
}
