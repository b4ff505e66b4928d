package certify

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/web"
)

// touch tells the pages that the certification of a change has changed, or an approval or effect of it. A pattern is
// for everybody, and so are its changes.
func touch(tx *db.Tx, change string) {
	web.Touch(tx, web.Topic{Noun: web.NounChange, ID: change, Everybody: true})
	web.Touch(tx, web.Topic{Noun: web.NounVersion, Everybody: true})
}

// begin writes the certification of a revision that is being checked, in the place of one that a run of the same
// revision began before. Nobody has decided about that one.
func begin(tx *db.Tx, c Certification) error {
	touch(tx, c.Change)
	_, err := tx.Exec(`insert into certification (change, revision, version, bump, reasons, pattern, manifest, interface, digest, needed, passes, created_at, lapses, destroys, own_version, own_bump)
		values ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16) on conflict (change, revision) do update set version = excluded.version, bump = excluded.bump,
		reasons = excluded.reasons, pattern = excluded.pattern, manifest = excluded.manifest, interface = excluded.interface, digest = excluded.digest,
		needed = excluded.needed, passes = excluded.passes, lapses = excluded.lapses, destroys = excluded.destroys,
		own_version = excluded.own_version, own_bump = excluded.own_bump`,
		c.Change, c.Revision, c.Version, c.Bump, db.JSON(c.Reasons), c.Pattern, db.JSON(c.manifest), db.JSON(c.asks), c.Digest, db.JSON(c.Needed), c.passes, tx.Now(), c.lapses, c.Destroys, c.ownVersion, c.ownBump)
	return err
}

// writeSettled writes what planning the effects made of a certification.
func writeSettled(tx *db.Tx, c Certification) error {
	touch(tx, c.Change)
	_, err := tx.Exec(`update certification set version = $3, bump = $4, destroys = $5, digest = $6, passes = $7 where change = $1 and revision = $2`,
		c.Change, c.Revision, c.Version, c.Bump, c.Destroys, c.Digest, c.passes)
	return err
}

// writeLapse writes that publishing stopped once more, because an approval did not count any more.
func writeLapse(tx *db.Tx, c Certification) error {
	touch(tx, c.Change)
	_, err := tx.Exec(`update certification set lapses = $3 where change = $1 and revision = $2`, c.Change, c.Revision, c.lapses)
	return err
}

// Find returns the certification of a change's revision with its approvals and without its effects, or a
// fault that there is none yet.
func Find(tx *db.Tx, id string, revision int) (Certification, error) {
	var c Certification
	err := tx.QueryRow(`select change, revision, version, bump, reasons, pattern, manifest, interface, digest, needed, passes, created_at, lapses, destroys, own_version, own_bump
		from certification where change = $1 and revision = $2`, id, revision).
		Scan(&c.Change, &c.Revision, &c.Version, &c.Bump, db.Into(&c.Reasons), &c.Pattern, db.Into(&c.manifest), db.Into(&c.asks), &c.Digest, db.Into(&c.Needed), &c.passes, &c.CreatedAt, &c.lapses, &c.Destroys, &c.ownVersion, &c.ownBump)
	if errors.Is(err, db.ErrNoRows) {
		return c, fault.Missing("certification", id)
	}
	if err != nil {
		return c, err
	}
	c.Approvals, err = db.Collect(tx, func(r db.Row) (a Approval, err error) {
		return a, r.Scan(&a.Discipline, &a.Person, &a.Name, &a.Decision, &a.Reason, &a.Digest, &a.At)
	}, `select discipline, person, name, decision, reason, digest, at from approval where change = $1 and revision = $2 order by at, person`, id, revision)
	if c.ownVersion == "" { // of before versions were breaking for their effect
		c.ownVersion, c.ownBump = c.Version, c.Bump
	}
	if err != nil || len(c.Approvals) == 0 {
		return c, err
	}
	of, err := change.Find(tx, id)
	for i, a := range c.Approvals {
		if err != nil {
			return c, err
		}
		c.Approvals[i].Lapsed, err = c.lapsed(tx, a, of.Authors)
	}
	return c, err
}

// Proposed returns the versions that the open changes of a pattern would publish, the newest first: draft while
// the change is checked or corrected, in review while people decide. A change whose interface is not known yet
// has none.
func Proposed(tx *db.Tx, name string) ([]pattern.Version, error) {
	open, err := change.OpenOf(tx, change.OfPattern, name)
	if err != nil {
		return nil, err
	}
	slices.Reverse(open)
	proposed := []pattern.Version{}
	for _, c := range open {
		found, err := Find(tx, c.ID, c.Revision)
		if fault.Is(err, "certification.not_found") {
			continue
		}
		if err != nil {
			return nil, err
		}
		v := found.version(name)
		v.ID, v.State, v.Change, v.Commit, v.CreatedAt, v.Breaking = c.ID, pattern.Draft, c.ID, c.Head, found.CreatedAt, found.breaking()
		if c.State == change.Review || c.State == change.Merging {
			v.State = pattern.InReview
		}
		proposed = append(proposed, v)
	}
	return proposed, nil
}

// saveApproval writes a person's decision in the place of an earlier one.
func saveApproval(tx *db.Tx, change string, revision int, a Approval) error {
	touch(tx, change)
	_, err := tx.Exec(`insert into approval (change, revision, discipline, person, name, decision, reason, digest, at) values ($1,$2,$3,$4,$5,$6,$7,$8,$9)
		on conflict (change, revision, person) do update set discipline = excluded.discipline, decision = excluded.decision, reason = excluded.reason,
			digest = excluded.digest, at = excluded.at`,
		change, revision, a.Discipline, a.Person, a.Name, a.Decision, a.Reason, a.Digest, a.At)
	return err
}

const effectColumns = `instance, app, environment, class, team, version, outcome, summary, needs_value, out_of_bounds, destructive, error, plan_digest, seen_at, looked_at, position`

func scanEffect(r db.Row) (f Effect, err error) {
	err = r.Scan(&f.instance, &f.App, &f.Environment, &f.Class, &f.Team, &f.Version, &f.Outcome, &f.Summary, db.Into(&f.NeedsValue), db.Into(&f.OutOfBounds),
		db.Into(&f.Destructive), &f.Error, &f.PlanDigest, &f.seen, &f.looked, &f.position)
	f.Breaking = f.Outcome.breaking()
	if at := f.looked; f.Outcome != Unplanned {
		f.PlannedAt = &at
	}
	return f, err
}

// insertEffects adds effects that were foreseen, many rows with one statement.
func insertEffects(tx *db.Tx, c Certification, effects []Effect) error {
	touch(tx, c.Change)
	const columns, rows = 14, 20 // more is slower: SQLite looks for the name of every value from the first on
	for ; len(effects) > 0; effects = effects[min(rows, len(effects)):] {
		places, args := strings.Builder{}, []any{c.Change, c.Revision}
		for _, f := range effects[:min(rows, len(effects))] {
			places.WriteString(",($1,$2")
			for k := range columns {
				fmt.Fprintf(&places, ",$%d", len(args)+k+1)
			}
			places.WriteString(")")
			args = append(args, f.instance, f.App, f.Environment, f.Class, f.Team, f.Version, f.Outcome.gravity(), f.Outcome, f.Summary,
				db.JSON(f.NeedsValue), db.JSON(f.OutOfBounds), f.position, f.seen, f.looked)
		}
		_, err := tx.Exec(`insert into effect (change, revision, instance, app, environment, class, team, version, gravity, outcome, summary,
			needs_value, out_of_bounds, position, seen_at, looked_at) values `+places.String()[1:], args...)
		if err != nil {
			return err
		}
	}
	return nil
}

// saveEffect writes what was found about an instance in the place of what was known before.
func saveEffect(tx *db.Tx, c Certification, f Effect) error {
	touch(tx, c.Change)
	_, err := tx.Exec(`update effect set class = $4, team = $5, version = $6, gravity = $7, outcome = $8, summary = $9, needs_value = $10, out_of_bounds = $11,
		destructive = $12, error = $13, plan_digest = $14, plan = $15, seen_at = $16, looked_at = $17 where change = $1 and revision = $2 and instance = $3`,
		c.Change, c.Revision, f.instance, f.Class, f.Team, f.Version, f.Outcome.gravity(), f.Outcome, f.Summary, db.JSON(f.NeedsValue), db.JSON(f.OutOfBounds),
		db.JSON(f.Destructive), f.Error, f.PlanDigest, db.JSON(f.Plan), f.seen, f.looked)
	return err
}

// Given lets what pattern changes would do to an app be seen by the team that has it now.
func Given(tx *db.Tx, app, team string) error {
	touch(tx, "")
	_, err := tx.Exec(`update effect set team = $2 where app = $1`, app, team)
	return err
}

// counts returns how many instances of each class and team have which outcome.
func counts(tx *db.Tx, change string, revision int) ([]counted, error) {
	return db.Collect(tx, func(r db.Row) (c counted, err error) { return c, r.Scan(&c.class, &c.team, &c.outcome, &c.n) },
		`select class, team, outcome, count(*) from effect where change = $1 and revision = $2 group by class, team, outcome`, change, revision)
}

// losing counts the live instances on which something stateful is destroyed or replaced, also where a policy refuses that.
func losing(tx *db.Tx, change string, revision int) (n int, err error) {
	err = tx.QueryRow(`select count(*) from effect where change = $1 and revision = $2 and destructive not in ('null', '[]', '')`, change, revision).Scan(&n)
	return n, err
}

// allEffects returns every effect of a revision without its plan.
func allEffects(tx *db.Tx, change string, revision int) ([]Effect, error) {
	return db.Collect(tx, scanEffect, `select `+effectColumns+` from effect where change = $1 and revision = $2`, change, revision)
}

// listEffects returns a page of effects, the gravest first.
func listEffects(tx *db.Tx, change string, revision int, f Filter) ([]Effect, error) {
	return db.Collect(tx, scanEffect, `select `+effectColumns+` from effect where change = $1 and revision = $2
		and (gravity > $3 or gravity = $3 and (app > $4 or app = $4 and environment > $5))
		and ($6 = '' or outcome = $6) and ($7 = '' or class = $7) and ($8 = '' or environment = $8) and ($9 = '' or team = $9) and ($10 = '' or app = $10)
		order by gravity, app, environment limit $11`,
		change, revision, f.After.Gravity, f.After.App, f.After.Environment, string(f.Outcome), f.Class, f.Environment, f.Team, f.App, f.Limit)
}

// findEffect returns the effect on one instance with its plan.
func findEffect(tx *db.Tx, change string, revision int, name, environment string) (Effect, error) {
	var plan json.RawMessage
	f, err := scanEffect(tx.QueryRow(`select `+effectColumns+` from effect where change = $1 and revision = $2 and app = $3 and environment = $4`, change, revision, name, environment))
	if err == nil {
		err = tx.QueryRow(`select plan from effect where change = $1 and revision = $2 and instance = $3`, change, revision, f.instance).Scan(db.Into(&plan))
	}
	if errors.Is(err, db.ErrNoRows) {
		return f, fault.Missing("effect", name+"/"+environment)
	}
	if len(plan) > 0 && string(plan) != "null" {
		f.Plan = plan
	}
	return f, err
}

// outdated tells which live instances of a pattern an effect is to be found again for: the instance, its
// environment, or a waiver of it was changed after the effect was found. What is known of an instance stays while
// it is being deployed: a plan in the middle of that would show an effect that is gone a moment later, and with it
// the approvals.
const outdated = `(f.outcome = 'unplanned' or i.state <> 'deploying' and (f.seen_at <> i.updated_at or n.updated_at > f.looked_at
	or exists (select 1 from waiver w where w.app = f.app and w.environment = f.environment and w.updated_at > f.looked_at)))`

// due returns the effects that are outdated and that were not looked at since then, in their order.
func due(tx *db.Tx, c Certification, since time.Time, limit int) ([]Effect, error) {
	return db.Collect(tx, scanEffect, `select f.`+strings.ReplaceAll(effectColumns, ", ", ", f.")+` from effect f
		join instance i on i.id = f.instance join environment n on n.name = f.environment
		where f.change = $1 and f.revision = $2 and f.looked_at < $3 and `+outdated+`
		order by f.position, f.app, f.environment limit $4`, c.Change, c.Revision, since, limit)
}

// compare counts the effects of a revision that are outdated, to be found again or forgotten, and the live
// instances whose effect is not known because a deployment that was there at the last decision still runs.
// A later one does not count, so that publishing comes to an end however often instances are deployed.
func compare(tx *db.Tx, c Certification, pattern string) (stale, moving int, err error) {
	err = tx.QueryRow(`select (select count(*) from instance i join environment n on n.name = i.environment
			left join effect f on f.change = $1 and f.revision = $2 and f.instance = i.id
			where i.pattern = $3 and i.state <> 'removed' and (f.instance is null or `+outdated+`))
		+ (select count(*) from effect f where f.change = $1 and f.revision = $2
			and not exists (select 1 from instance i where i.id = f.instance and i.pattern = $3 and i.state <> 'removed')),
		(select count(*) from instance i where i.pattern = $3 and i.state = 'deploying' and i.updated_at <= $4)`,
		c.Change, c.Revision, pattern, c.lastDecision()).Scan(&stale, &moving)
	return stale, moving, err
}

// forget removes every effect of a revision, which is looked at once more.
func forget(tx *db.Tx, c Certification) error {
	touch(tx, c.Change)
	_, err := tx.Exec(`delete from effect where change = $1 and revision = $2`, c.Change, c.Revision)
	return err
}

// forgetGone removes the effects on instances that are gone or run on another pattern now.
func forgetGone(tx *db.Tx, c Certification, pattern string) error {
	touch(tx, c.Change)
	_, err := tx.Exec(`delete from effect where change = $1 and revision = $2
		and instance not in (select id from instance where pattern = $3 and state <> 'removed')`, c.Change, c.Revision, pattern)
	return err
}

// unforeseen returns the live instances of the pattern that have no effect yet.
func unforeseen(tx *db.Tx, c Certification, pattern string) ([]app.Instance, error) {
	known, err := db.Collect(tx, func(r db.Row) (id string, err error) { return id, r.Scan(&id) },
		`select instance from effect where change = $1 and revision = $2`, c.Change, c.Revision)
	if err != nil {
		return nil, err
	}
	all, err := app.InstancesOf(tx, pattern)
	if err != nil || len(known) == 0 {
		return all, err
	}
	seen := map[string]bool{}
	for _, id := range known {
		seen[id] = true
	}
	fresh := []app.Instance{}
	for _, i := range all {
		if !seen[i.ID] {
			fresh = append(fresh, i)
		}
	}
	return fresh, nil
}
