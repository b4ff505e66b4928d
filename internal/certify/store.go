package certify

import (
	"errors"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
)

func save(tx *db.Tx, c Certification) error {
	_, err := tx.Exec(`insert into certification (change, revision, version, bump, reasons, pattern, digest, effects, needed, created_at)
		values ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10) on conflict (change, revision) do update set version = excluded.version, bump = excluded.bump,
		reasons = excluded.reasons, pattern = excluded.pattern, digest = excluded.digest, effects = excluded.effects, needed = excluded.needed`,
		c.Change, c.Revision, c.Version, c.Bump, db.JSON(c.Reasons), c.Pattern, c.Digest, db.JSON(c.Instances), db.JSON(c.Needed), tx.Now())
	return err
}

// Find returns the certification of a change's revision with its approvals, or a fault that there is
// none yet.
func Find(tx *db.Tx, change string, revision int) (Certification, error) {
	var c Certification
	err := tx.QueryRow(`select change, revision, version, bump, reasons, pattern, digest, effects, needed, created_at
		from certification where change = $1 and revision = $2`, change, revision).
		Scan(&c.Change, &c.Revision, &c.Version, &c.Bump, db.Into(&c.Reasons), &c.Pattern, &c.Digest, db.Into(&c.Instances), db.Into(&c.Needed), &c.CreatedAt)
	if errors.Is(err, db.ErrNoRows) {
		return c, fault.Missing("certification", change)
	}
	if err != nil {
		return c, err
	}
	c.Approvals, err = db.Collect(tx, func(r db.Row) (a Approval, err error) {
		err = r.Scan(&a.Discipline, &a.Person, &a.Name, &a.Decision, &a.Reason, &a.Digest, &a.At)
		return a, err
	}, `select discipline, person, name, decision, reason, digest, at from approval where change = $1 and revision = $2 order by at`, change, revision)
	return c, err
}

func saveApproval(tx *db.Tx, change string, revision int, a Approval) error {
	_, err := tx.Exec(`insert into approval (change, revision, discipline, person, name, decision, reason, digest, at) values ($1,$2,$3,$4,$5,$6,$7,$8,$9)`,
		change, revision, a.Discipline, a.Person, a.Name, a.Decision, a.Reason, a.Digest, a.At)
	return err
}
