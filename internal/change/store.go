package change

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/web"
)

const columns = `id, kind, subject, team, branch, title, body, state, why, remedy, code, lane, reasons, effects, revision, head, main, merged,
	story, needs, reverts, revert, fix, opener, authors, merge_requested, released, proposal, request_id, opened_at, updated_at`

func scan(r db.Row) (Change, error) {
	var c Change
	err := r.Scan(&c.ID, &c.Kind, &c.Subject, &c.Team, &c.Branch, &c.Title, &c.Body, &c.State, &c.Why, &c.Remedy, &c.Code, &c.Lane,
		db.Into(&c.Reasons), db.Into(&c.Effects), &c.Revision, &c.Head, &c.Main, &c.Merged, &c.Story, &c.Needs, &c.Reverts, &c.Revert, &c.Fix,
		&c.Opener, db.Into(&c.Authors), &c.MergeRequested, &c.Released, db.Into(&c.Proposal), &c.RequestID, &c.OpenedAt, &c.UpdatedAt)
	return c, err
}

// Find returns the change with this id, or a fault that it is missing.
func Find(tx *db.Tx, id string) (Change, error) { return find(tx, id, "") }

func find(tx *db.Tx, id, lock string) (Change, error) {
	c, err := scan(tx.QueryRow(`select `+columns+` from change where id = $1`+lock, id))
	if errors.Is(err, db.ErrNoRows) {
		return Change{}, fault.Missing("change", id)
	}
	return c, err
}

// LaneOf returns the lane of a change. Each deployment asks for it, so it reads nothing else.
func LaneOf(tx *db.Tx, id string) (lane Lane, err error) {
	err = tx.QueryRow(`select lane from change where id = $1`, id).Scan(&lane)
	if errors.Is(err, db.ErrNoRows) {
		return "", fault.Missing("change", id)
	}
	return lane, err
}

// About returns the pattern that an open pattern change is about. It fails with a fault for any other
// change: nothing can be made of it any more.
func About(tx *db.Tx, id string) (pattern string, err error) {
	c, err := Find(tx, id)
	switch {
	case err != nil:
		return "", err
	case c.Kind != OfPattern:
		return "", fault.New(fault.Invalid, "change.not_of_pattern", "Change %s is one of the app %s, not of a pattern.", id, c.Subject).Do("Name a change of a pattern.").At("change", "of an app")
	case !c.State.Open():
		return "", fault.New(fault.Conflict, "change.not_open", "Change %s is %s.", id, c.State).Do("Name a change that is open.").At("change", "not open")
	}
	return c.Subject, nil
}

// Take returns the change for writing: until the transaction ends nobody else takes it. Whoever takes several
// changes of an app has locked the app's instances before, and takes them in the order of their ids.
func Take(tx *db.Tx, id string) (Change, error) { return find(tx, id, tx.ForUpdate()) }

// TakeOpen takes all open changes of an app or a pattern, oldest first.
func TakeOpen(tx *db.Tx, kind Kind, subject string) error {
	_, err := db.Collect(tx, scan, `select `+columns+` from change where kind = $1 and subject = $2 and `+open+` order by id`+tx.ForUpdate(), kind, subject)
	return err
}

// OpenOn returns the open change of a branch, and false if there is none. A change that is being merged
// is not open to its branch any more: what is pushed now is the next change.
func OpenOn(tx *db.Tx, kind Kind, subject, branch string) (Change, bool, error) {
	c, err := scan(tx.QueryRow(`select `+columns+` from change where kind = $1 and subject = $2 and branch = $3
		and `+open+` and state <> 'merging' order by id desc limit 1`, kind, subject, branch))
	if errors.Is(err, db.ErrNoRows) {
		return Change{}, false, nil
	}
	return c, err == nil, err
}

// OpenOf returns all open changes of an app or a pattern, oldest first.
func OpenOf(tx *db.Tx, kind Kind, subject string) ([]Change, error) {
	return db.Collect(tx, scan, `select `+columns+` from change where kind = $1 and subject = $2 and `+open+` order by id`, kind, subject)
}

// Of returns every change of a repository there ever was.
func Of(tx *db.Tx, kind Kind, subject string) ([]Change, error) {
	return db.Collect(tx, scan, `select `+columns+` from change where kind = $1 and subject = $2 order by id`, kind, subject)
}

// open is the condition of an index, word for word.
const open = `state not in ('merged', 'deployed', 'rolled_back', 'closed', 'rejected')`

// MergingBeside returns another change of the same repository that is being merged, and false if there
// is none. While there is one, main and what is recorded about it may differ.
func MergingBeside(tx *db.Tx, c Change) (Change, bool, error) {
	other, err := scan(tx.QueryRow(`select `+columns+` from change where kind = $1 and subject = $2 and `+open+` and state = 'merging' and id <> $3 order by id limit 1`, c.Kind, c.Subject, c.ID))
	if errors.Is(err, db.ErrNoRows) {
		return Change{}, false, nil
	}
	return other, err == nil, err
}

// InState returns the changes in one of the open states, oldest first.
func InState(tx *db.Tx, s State) ([]Change, error) {
	return db.Collect(tx, scan, `select `+columns+` from change where state = $1 order by id`, s)
}

// seen returns every branch and head, with a space between, that a change of the repository has.
func seen(tx *db.Tx, kind Kind, subject string) (map[string]bool, error) {
	heads, err := db.Collect(tx, func(r db.Row) (s [2]string, err error) { return s, r.Scan(&s[0], &s[1]) },
		`select branch, head from change where kind = $1 and subject = $2`, kind, subject)
	known := map[string]bool{}
	for _, h := range heads {
		known[h[0]+" "+h[1]] = true
	}
	return known, err
}

// setTeam lets all changes of an app belong to a team.
func setTeam(tx *db.Tx, name, team string) error {
	_, err := db.Collect(tx, func(r db.Row) (id string, err error) { return id, r.Scan(&id) },
		`select id from change where kind = $1 and subject = $2 order by id`+tx.ForUpdate(), OfApp, name)
	if err != nil {
		return err
	}
	web.Touch(tx, web.Topic{Noun: web.NounChange, App: name})
	_, err = tx.Exec(`update change set team = $3 where kind = $1 and subject = $2`, OfApp, name, team)
	return err
}

// Filter of a list of changes. Empty fields match everything.
type Filter struct {
	Kind    Kind
	Subject string
	State   State
	Story   string
	Before  string // cursor: the id of the last change of the page before
	Limit   int
}

func list(tx *db.Tx, f Filter) ([]Change, error) {
	query, args := f.query()
	return db.Collect(tx, scan, query, args...)
}

// query names only the fields that are set: with a condition that may match everything, no index serves.
func (f Filter) query() (string, []any) {
	where, args := "true", []any{f.Limit}
	for _, c := range []struct{ column, value string }{{"kind", string(f.Kind)}, {"subject", f.Subject}, {"state", string(f.State)}, {"story", f.Story}} {
		if c.value != "" {
			args = append(args, c.value)
			where += fmt.Sprintf(" and %s = $%d", c.column, len(args))
		}
	}
	if f.Before != "" {
		args = append(args, f.Before)
		where += fmt.Sprintf(" and id < $%d", len(args))
	}
	return `select ` + columns + ` from change where ` + where + ` order by id desc limit $1`, args
}

// touch tells the pages that a change has changed, or what they show with it; a pattern shows the versions that its
// changes would publish.
func touch(tx *db.Tx, c Change) {
	if c.Kind == OfApp {
		web.Touch(tx, web.Topic{Noun: web.NounChange, ID: c.ID, App: c.Subject})
		return
	}
	web.Touch(tx, web.Topic{Noun: web.NounChange, ID: c.ID, Everybody: true})
	web.Touch(tx, web.Topic{Noun: web.NounVersion, Everybody: true})
}

// insert writes a new change, and that it was opened.
func insert(tx *db.Tx, c Change) error {
	touch(tx, c)
	n := stored{}.next(c, tx.Now())
	_, err := tx.Exec(`insert into change (`+columns+`, since, waits_for, commits) values ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23,$24,$25,$26,$27,$28,$29,$30,$31,$32,$33,$34)`,
		c.ID, c.Kind, c.Subject, c.Team, c.Branch, c.Title, c.Body, c.State, c.Why, c.Remedy, c.Code, c.Lane, db.JSON(c.Reasons), db.JSON(c.Effects),
		c.Revision, c.Head, c.Main, c.Merged, c.Story, c.Needs, c.Reverts, c.Revert, c.Fix, c.Opener, db.JSON(c.Authors), c.MergeRequested,
		c.Released, db.JSON(c.Proposal), web.RequestID(tx.Context()), c.OpenedAt, c.UpdatedAt, n.since, n.waitsFor, db.JSON(c.commits))
	if err != nil {
		return err
	}
	return event.Emit(tx, event.ChangeOpened{OfChange: c.OfChange(tx), Branch: c.Branch, Title: c.Title, Head: c.Head, Commits: c.commits, Planned: c.Story != "", Reverts: c.Reverts, Fixes: c.Fix})
}

// Save writes a change and the facts that this makes true, if any. A change names the last request that moved it,
// itself or through the work that went on for it.
func Save(tx *db.Tx, c Change) error {
	switch c.State {
	case Refused, Failed, Blocked:
		if c.Code == "" {
			c.Code = "change." + string(c.State)
		}
	case Waiting: // it may have the code of what it waits for
	case Checking: // so may one that stands still, and then it says why
		if c.Why == "" {
			c.Code = ""
		}
	default:
		c.Code = "" // of what is mended
	}
	touch(tx, c)
	before, err := findStored(tx, c.ID)
	if err != nil {
		return err
	}
	n := before.next(c, tx.Now())
	_, err = tx.Exec(`update change set title=$2, body=$3, state=$4, why=$5, remedy=$6, lane=$7, reasons=$8, effects=$9, revision=$10, head=$11, main=$12,
		merged=$13, story=$14, needs=$15, reverts=$16, revert=$17, fix=$18, authors=$19, merge_requested=$20, released=$21, proposal=$22, updated_at=$23, code=$24, request_id = case when $25 = '' then request_id else $25 end,
		since=$26, waits_for=$27, checked_at=$28, ready_at=$29, commits=$30 where id = $1`,
		c.ID, c.Title, c.Body, c.State, c.Why, c.Remedy, c.Lane, db.JSON(c.Reasons), db.JSON(c.Effects), c.Revision, c.Head, c.Main, c.Merged,
		c.Story, c.Needs, c.Reverts, c.Revert, c.Fix, db.JSON(c.Authors), c.MergeRequested, c.Released, db.JSON(c.Proposal), tx.Now(), c.Code, web.RequestID(tx.Context()),
		n.since, n.waitsFor, n.checkedAt, n.readyAt, db.JSON(n.commits))
	if err != nil {
		return err
	}
	for _, f := range before.facts(n, c, account.From(tx.Context()).Name) {
		if err := event.Emit(tx, f); err != nil {
			return err
		}
	}
	return nil
}

// SetCheck writes how a check of a revision stands, with the fact that it began or ended. One that had ended begins
// anew.
func SetCheck(tx *db.Tx, c Change, k Check) error {
	var finished any
	if k.State != CheckRunning {
		finished = tx.Now()
	}
	web.Touch(tx, c.topicOfCheck())
	var before CheckState
	var summary string
	var began, ended *time.Time
	err := tx.QueryRow(`select state, summary, started_at, finished_at from change_check where change = $1 and revision = $2 and name = $3`, c.ID, c.Revision, k.Name).
		Scan(&before, &summary, &began, &ended)
	if err != nil && !errors.Is(err, db.ErrNoRows) {
		return err
	}
	if now := tx.Now(); began == nil || ended != nil {
		began = &now
	}
	_, err = tx.Exec(`insert into change_check (id, change, revision, name, state, summary, detail, log, started_at, finished_at)
		values ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)
		on conflict (change, revision, name) do update set state = excluded.state, summary = excluded.summary, detail = excluded.detail,
			log = case when excluded.log = '' then change_check.log else excluded.log end, finished_at = excluded.finished_at,
			started_at = excluded.started_at`,
		db.NewID("chk"), c.ID, c.Revision, k.Name, k.State, k.Summary, db.JSON(k.Detail), k.Log, began, finished)
	result := event.CheckResult{Name: k.Name, State: string(k.State), Summary: k.Summary, StartedAt: *began}
	switch {
	case err != nil:
		return err
	case k.State != before && k.State == CheckRunning:
		return event.Emit(tx, event.CheckStarted{OfChange: c.OfChange(tx), Check: result})
	case k.State != CheckRunning && (k.State != before || k.Summary != summary):
		return event.Emit(tx, event.CheckFinished{OfChange: c.OfChange(tx), Check: result})
	}
	return nil // it is as it was, or says something else of how far it is
}

// topicOfCheck says that a check of the change has changed.
func (c Change) topicOfCheck() web.Topic {
	t := web.Topic{Noun: web.NounCheck, Change: c.ID, Everybody: true} // patterns are for everybody
	if c.Kind == OfApp {
		t.App, t.Everybody = c.Subject, false
	}
	return t
}

// carry keeps what an outer CI said about the head, which the next revision still has.
func carry(tx *db.Tx, c Change, from int) error {
	checks, err := Checks(tx, c.ID, from)
	if err != nil || c.Kind != OfApp {
		return err
	}
	for _, k := range checks {
		if manifest.OwnCheck(k.Name) {
			continue
		}
		if err := SetCheck(tx, c, k); err != nil {
			return err
		}
	}
	return nil
}

// Checks returns the checks of a revision in the order they began.
func Checks(tx *db.Tx, change string, revision int) ([]Check, error) {
	return db.Collect(tx, scanCheck, selectChecks+` order by started_at, id`, change, revision)
}

const selectChecks = `select id, change, revision, name, state, summary, detail, log, started_at, finished_at
	from change_check where change = $1 and revision = $2`

func scanCheck(r db.Row) (Check, error) {
	var k Check
	var detail json.RawMessage
	err := r.Scan(&k.ID, &k.Change, &k.Revision, &k.Name, &k.State, &k.Summary, db.Into(&detail), &k.Log, &k.StartedAt, &k.FinishedAt)
	if string(detail) != "null" {
		k.Detail = detail
	}
	return k, err
}

// saveOpened notes that a person has opened the whole patch of a file.
func saveOpened(tx *db.Tx, change, person, file, content string) error {
	_, err := tx.Exec(`insert into opened_file (change, person, file, content, at) values ($1,$2,$3,$4,$5) on conflict do nothing`, change, person, file, content, tx.Now())
	return err
}

// opened returns the files, with what they held, that a person has opened.
func opened(tx *db.Tx, change, person string) (map[string]bool, error) {
	list, err := db.Collect(tx, func(r db.Row) (key string, err error) {
		var file, content string
		err = r.Scan(&file, &content)
		return file + "\x00" + content, err
	}, `select file, content from opened_file where change = $1 and person = $2`, change, person)
	seen := map[string]bool{}
	for _, key := range list {
		seen[key] = true
	}
	return seen, err
}
