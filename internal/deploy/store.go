package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/web"
)

const columns = `id, app, environment, instance, number, change, trigger_kind, kind, state, reason, code, desired, previous, fence, plan, plan_digest,
	destroys, shown, releases, was, cancelled_by, evidence, request_id, created_by, created_at, started_at, finished_at, undo, since, waits_for, team, class, lane`

// listed are the columns of a list: a plan may have megabytes, and a list has two hundred.
var listed = strings.Replace(columns, " plan,", " 'null',", 1)

func scan(r db.Row) (Deployment, error) {
	var d Deployment
	var plan json.RawMessage
	var since *time.Time
	err := r.Scan(&d.ID, &d.App, &d.Environment, &d.Instance, &d.Number, &d.Change, &d.Trigger, &d.Kind, &d.State, &d.Reason, &d.Code,
		db.Into(&d.Desired), db.Into(&d.Previous), &d.fence, db.Into(&plan), &d.PlanDigest, db.Into(&d.Destroys), db.Into(&d.shown), &d.releases, &d.was, &d.cancelledBy, db.Into(&d.Evidence), &d.RequestID,
		&d.CreatedBy, &d.CreatedAt, &d.StartedAt, &d.FinishedAt, db.Into(&d.undo), &since, &d.waitsFor, &d.team, &d.class, &d.lane)
	if string(plan) != "null" {
		d.Plan = plan
	}
	if since != nil {
		d.since = *since
	}
	return d, err
}

// Find returns the deployment with this id, or a fault that it is missing.
func Find(tx *db.Tx, id string) (Deployment, error) { return find(tx, id, "") }

func find(tx *db.Tx, id, lock string) (Deployment, error) {
	d, err := scan(tx.QueryRow(`select `+columns+` from deployment where id = $1`+lock, id))
	if errors.Is(err, db.ErrNoRows) {
		return Deployment{}, fault.Missing("deployment", id)
	}
	return d, err
}

// touch tells the pages that a deployment has changed.
func touch(tx *db.Tx, d Deployment) {
	web.Touch(tx, web.Topic{Noun: web.NounDeployment, ID: d.ID, App: d.App, Change: d.Change})
}

// touchStep tells them that a step of it has.
func touchStep(tx *db.Tx, d Deployment) {
	web.Touch(tx, web.Topic{Noun: web.NounStep, Deployment: d.ID, App: d.App, Change: d.Change})
}

func insert(tx *db.Tx, d Deployment) error {
	touch(tx, d)
	_, err := tx.Exec(`insert into deployment (`+columns+`) values ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23,$24,$25,$26,$27,$28,$29,$30,$31,$32,$33)`,
		d.ID, d.App, d.Environment, d.Instance, d.Number, d.Change, d.Trigger, d.Kind, d.State, d.Reason, d.Code, db.JSON(d.Desired), db.JSON(d.Previous),
		d.fence, db.JSON(d.Plan), d.PlanDigest, db.JSON(d.Destroys), db.JSON(d.shown), d.releases, d.was, d.cancelledBy, db.JSON(d.Evidence), web.RequestID(tx.Context()), d.CreatedBy, d.CreatedAt, d.StartedAt, d.FinishedAt,
		db.JSON(d.undo), d.since, d.waitsFor, d.team, d.class, d.lane)
	return err
}

// What follows writes what changes about a deployment when something happens to it, and nothing else.

func writeTurn(tx *db.Tx, d Deployment) error {
	touch(tx, d)
	_, err := tx.Exec(`update deployment set state = $2, code = $3, reason = $4, kind = $5, previous = $6, fence = $7, was = $8, started_at = $9, since = $10, waits_for = $11 where id = $1`,
		d.ID, d.State, d.Code, d.Reason, d.Kind, db.JSON(d.Previous), d.fence, d.was, d.StartedAt, d.since, d.waitsFor)
	return err
}

func writeReason(tx *db.Tx, d Deployment) error {
	touch(tx, d)
	_, err := tx.Exec(`update deployment set code = $2, reason = $3, since = $4, waits_for = $5 where id = $1`, d.ID, d.Code, d.Reason, d.since, d.waitsFor)
	return err
}

func writePlan(tx *db.Tx, d Deployment) error {
	touch(tx, d)
	_, err := tx.Exec(`update deployment set plan = $2, plan_digest = $3, destroys = $4 where id = $1`, d.ID, db.JSON(d.Plan), d.PlanDigest, db.JSON(d.Destroys))
	return err
}

func writeHold(tx *db.Tx, d Deployment) error {
	touch(tx, d)
	_, err := tx.Exec(`update deployment set state = $2, reason = $3, since = $4, waits_for = $5 where id = $1`, d.ID, d.State, d.Reason, d.since, d.waitsFor)
	return err
}

func writeRelease(tx *db.Tx, d Deployment) error {
	touch(tx, d)
	_, err := tx.Exec(`update deployment set state = $2, reason = $3, releases = $4, shown = $5, since = $6, waits_for = $7 where id = $1`, d.ID, d.State, d.Reason, d.releases, db.JSON(d.shown), d.since, d.waitsFor)
	return err
}

func writeWish(tx *db.Tx, d Deployment) error {
	touch(tx, d)
	_, err := tx.Exec(`update deployment set cancelled_by = $2, reason = $3, since = $4, waits_for = $5 where id = $1`, d.ID, d.cancelledBy, d.Reason, d.since, d.waitsFor)
	return err
}

func writeEnd(tx *db.Tx, d Deployment) error {
	touch(tx, d)
	_, err := tx.Exec(`update deployment set state = $2, code = $3, reason = $4, finished_at = $5, since = $5, waits_for = '' where id = $1`, d.ID, d.State, d.Code, d.Reason, d.FinishedAt)
	return err
}

func writeEvidence(tx *db.Tx, d Deployment) error {
	touch(tx, d)
	_, err := tx.Exec(`update deployment set evidence = $2 where id = $1`, d.ID, db.JSON(d.Evidence))
	return err
}

func writeUndo(tx *db.Tx, id string, u *undo) error {
	_, err := tx.Exec(`update deployment set undo = $2 where id = $1`, id, db.JSON(u))
	return err
}

// waiting returns the deployments of an instance that wait for their turn, in order. A rollback comes
// before what waits: after it, it would take back more than it was asked to.
func waiting(tx *db.Tx, instance string, limit int) ([]Deployment, error) {
	return db.Collect(tx, scan, selectWaiting, instance, limit)
}

const selectWaiting = `select ` + columns + ` from deployment where instance = $1 and state = 'waiting'
	order by (trigger_kind <> 'rollback'), number limit $2`

const selectSucceeded = `select ` + columns + ` from deployment where instance = $1 and state = 'succeeded' order by number desc limit 50`

// succeededBefore returns the id of the last deployment of the instance that succeeded before this one, or "". It
// looks at them one after another: asked for by state as well, PostgreSQL may take the index of all that ever
// succeeded.
func succeededBefore(tx *db.Tx, d Deployment) (string, error) {
	for number := d.Number; ; {
		var id string
		var state State
		err := tx.QueryRow(selectBefore, d.Instance, number).Scan(&id, &state, &number)
		switch {
		case errors.Is(err, db.ErrNoRows):
			return "", nil
		case err != nil:
			return "", err
		case state == Succeeded:
			return id, nil
		}
	}
}

const selectBefore = `select id, state, number from deployment where instance = $1 and number < $2 order by number desc limit 1`

// newerThanRollbacks reports whether a deployment was asked for after every rollback of its instance. One that was
// never carried out is none.
func newerThanRollbacks(tx *db.Tx, d Deployment) (newer bool, err error) {
	err = tx.QueryRow(`select not exists (select 1 from deployment where instance = $1 and trigger_kind = 'rollback' and number > $2
		and not (undo = 'null' and state in ('cancelled', 'failed')))`, d.Instance, d.Number).Scan(&newer)
	return newer, err
}

// laterRollbacks returns the rollbacks of an instance that were asked for after the one with this number and have
// not ended, in their order.
func laterRollbacks(tx *db.Tx, d Deployment) ([]Deployment, error) {
	return db.Collect(tx, scan, `select `+columns+` from deployment where instance = $1 and number > $2 and trigger_kind = 'rollback'
		and state in ('waiting', 'running', 'held') order by number`, d.Instance, d.Number)
}

// otherRollbacks returns the other rollbacks of the same change, in whichever environment, that were carried out or
// may still be, the oldest first.
func otherRollbacks(tx *db.Tx, d Deployment) ([]Deployment, error) {
	return db.Collect(tx, scan, `select `+columns+` from deployment where change = $1 and id <> $2 and trigger_kind = 'rollback'
		and (undo <> 'null' or state = 'succeeded') order by id`, d.Change, d.ID)
}

// described returns what the newest change on its way to an instance brings there, which is what main describes
// of it, or nothing if none ever came.
func described(tx *db.Tx, instance string) (desired app.Desired, err error) {
	err = tx.QueryRow(`select desired from deployment where instance = $1 and trigger_kind = 'change' order by number desc limit 1`, instance).Scan(db.Into(&desired))
	if errors.Is(err, db.ErrNoRows) {
		return app.Desired{}, nil
	}
	return desired, err
}

// waitedFor returns the instances on which nothing runs although a deployment waits: for the end of a freeze.
// A rollback that stops later changes is not a matter of time.
func waitedFor(tx *db.Tx) ([]app.Instance, error) {
	return db.Collect(tx, func(r db.Row) (i app.Instance, err error) { return i, r.Scan(&i.ID, &i.App) },
		`select i.id, i.app from instance i where i.running = '' and i.pinned_by = ''
			and exists (select 1 from deployment d where d.instance = i.id and d.state = 'waiting') order by i.app, i.environment`)
}

func nextNumber(tx *db.Tx, instance string) (n int64, err error) {
	err = tx.QueryRow(`select coalesce(max(number), 0) + 1 from deployment where instance = $1`, instance).Scan(&n)
	return n, err
}

// Filter of a list of deployments. Empty fields match everything.
type Filter struct {
	App, Environment, Change string
	State                    State
	Before                   string // cursor: the id of the last one of the page before
	Limit                    int
}

func list(tx *db.Tx, f Filter) ([]Deployment, error) {
	query, args := f.query()
	return db.Collect(tx, scan, query, args...)
}

// query names only the fields that are set: with a condition that may match everything, no index serves.
func (f Filter) query() (string, []any) {
	where, args := "true", []any{f.Limit}
	for _, c := range []struct{ column, value string }{{"app", f.App}, {"environment", f.Environment}, {"change", f.Change}, {"state", string(f.State)}} {
		if c.value != "" {
			args = append(args, c.value)
			where += fmt.Sprintf(" and %s = $%d", c.column, len(args))
		}
	}
	if f.Before != "" {
		args = append(args, f.Before)
		where += fmt.Sprintf(" and id < $%d", len(args))
	}
	return `select ` + listed + ` from deployment where ` + where + ` order by id desc limit $1`, args
}

// unwanted returns the running deployments that somebody wants to stop.
func unwanted(tx *db.Tx) ([]string, error) {
	return db.Collect(tx, func(r db.Row) (id string, err error) { return id, r.Scan(&id) }, selectUnwanted)
}

const selectUnwanted = `select id from deployment where state = 'running' and cancelled_by <> ''`

func inState(tx *db.Tx, s State) ([]Deployment, error) {
	return db.Collect(tx, scan, selectInState, s)
}

const selectInState = `select ` + columns + ` from deployment where state = $1 order by id`

// beginStep writes that a step runs. It reports false for one that a dead process has begun already.
func beginStep(tx *db.Tx, d Deployment, position int, name string) (bool, error) {
	touchStep(tx, d)
	n, err := tx.Exec(`insert into deployment_step (deployment, position, name, state, detail, started_at) values ($1,$2,$3,'running','',$4)
		on conflict (deployment, position) do update set name = excluded.name, state = 'running', started_at = excluded.started_at, finished_at = null
		where deployment_step.state not in ('running', 'waiting')`, d.ID, position, name, tx.Now())
	return n > 0, err
}

// stepRuns reports whether the step has begun and not ended.
func stepRuns(tx *db.Tx, d Deployment, position int) (bool, error) {
	var n int
	err := tx.QueryRow(`select count(*) from deployment_step where deployment = $1 and position = $2 and state in ('running', 'waiting')`, d.ID, position).Scan(&n)
	return n > 0, err
}

// Steps returns the steps of a deployment in their order.
func Steps(tx *db.Tx, id string) ([]Step, error) {
	return db.Collect(tx, func(r db.Row) (s Step, err error) {
		err = r.Scan(&s.Position, &s.Name, &s.State, &s.Detail, &s.StartedAt, &s.FinishedAt)
		return s, err
	}, `select position, name, state, detail, started_at, finished_at from deployment_step where deployment = $1 order by position`, id)
}

// leg is one environment of a change's way to the last one.
type leg struct {
	Position    int
	App         string
	Environment string
	Desired     app.Desired
	Shown       *change.Shown
	Deployment  string
	State       string // waiting, running, succeeded, failed, or carried by the change that Deployment then names
}

// endLeg says how the way of a deployment's change ended in its environment.
func endLeg(tx *db.Tx, d Deployment, state string) error {
	if d.Change == "" || d.Trigger != ByChange {
		return nil
	}
	_, err := tx.Exec(`update rollout set state = $3 where change = $1 and deployment = $2`, d.Change, d.ID, state)
	return err
}

func scanLeg(r db.Row) (l leg, err error) {
	err = r.Scan(&l.Position, &l.App, &l.Environment, db.Into(&l.Desired), db.Into(&l.Shown), &l.Deployment, &l.State)
	return l, err
}

func legs(tx *db.Tx, change string) ([]leg, error) {
	return db.Collect(tx, scanLeg, `select position, app, environment, desired, shown, deployment, state from rollout where change = $1 order by position`, change)
}

func saveLeg(tx *db.Tx, change string, l leg) error {
	_, err := tx.Exec(`insert into rollout (change, position, app, environment, desired, shown, deployment, state) values ($1,$2,$3,$4,$5,$6,$7,$8)
		on conflict (change, position) do update set deployment = excluded.deployment, state = excluded.state`,
		change, l.Position, l.App, l.Environment, db.JSON(l.Desired), db.JSON(l.Shown), l.Deployment, l.State)
	return err
}
