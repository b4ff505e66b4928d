package pattern

import (
	"errors"
	"time"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/web"
)

func scanPattern(r db.Row) (p Pattern, err error) {
	err = r.Scan(&p.Name, &p.Title, &p.Owner, &p.CreatedAt)
	return p, err
}

func find(tx *db.Tx, name string) (Pattern, error) {
	p, err := scanPattern(tx.QueryRow(`select name, title, owner, created_at from pattern where name = $1`, name))
	if errors.Is(err, db.ErrNoRows) {
		return p, fault.Missing("pattern", name)
	}
	return p, err
}

// CheckKnown returns a fault that the pattern is missing if the catalogue has none of the name.
func CheckKnown(tx *db.Tx, name string) error {
	_, err := find(tx, name)
	return err
}

// touch tells the pages that a pattern, or a version of it, has changed.
func touch(tx *db.Tx, name string) {
	web.Touch(tx, web.Topic{Noun: web.NounPattern, ID: name, Everybody: true})
}

func deletePattern(tx *db.Tx, name string) error {
	touch(tx, name)
	_, err := tx.Exec(`delete from pattern where name = $1`, name)
	return err
}

func all(tx *db.Tx, after string, limit int) ([]Pattern, error) {
	return db.Collect(tx, scanPattern, `select name, title, owner, created_at from pattern where name > $1 order by name limit $2`, after, limit)
}

func insertPattern(tx *db.Tx, p Pattern, by string) error {
	touch(tx, p.Name)
	_, err := tx.Exec(`insert into pattern (name, title, owner, created_by, created_at) values ($1,$2,$3,$4,$5)`, p.Name, p.Title, p.Owner, by, tx.Now())
	if db.IsUnique(err) {
		return fault.New(fault.Conflict, "pattern.name_taken", "There is already a pattern named %q.", p.Name).Do("Choose another name, or change that pattern: flywheel pattern push FOLDER.").At("name", "taken")
	}
	return err
}

func missingVersion(name string) error {
	return fault.New(fault.NotFound, "pattern_version.not_found", "There is no pattern version %q.", name)
}

const versionColumns = `id, pattern, version, digest, state, recommended, manifest, interface, readme, commit_id, change, created_at, breaking`

func scanVersion(r db.Row) (v Version, err error) {
	err = r.Scan(&v.ID, &v.Pattern, &v.Version, &v.Digest, &v.State, &v.Recommended, db.Into(&v.Manifest), db.Into(&v.Interface), &v.Readme, &v.Commit, &v.Change, &v.CreatedAt, &v.Breaking)
	return v, err
}

func versions(tx *db.Tx, name string) ([]Version, error) {
	return db.Collect(tx, scanVersion, `select `+versionColumns+` from pattern_version where pattern = $1 order by id`, name)
}

// takeVersion returns a version as it is now, for writing: until the transaction ends nobody else changes a version of
// the pattern, of which one is recommended.
func takeVersion(tx *db.Tx, name, version string) (Version, error) {
	_, err := db.Collect(tx, scanVersion, `select `+versionColumns+` from pattern_version where pattern = $1 order by id`+tx.ForUpdate(), name)
	if err != nil {
		return Version{}, err
	}
	return findVersion(tx, name, version)
}

func findVersion(tx *db.Tx, name, version string) (Version, error) {
	v, err := scanVersion(tx.QueryRow(`select `+versionColumns+` from pattern_version where pattern = $1 and version = $2`, name, version))
	if errors.Is(err, db.ErrNoRows) {
		return v, missingVersion(name + " " + version)
	}
	return v, err
}

func byDigest(tx *db.Tx, digest string) (Version, error) {
	v, err := scanVersion(tx.QueryRow(`select `+versionColumns+` from pattern_version where digest = $1 order by id desc limit 1`, digest))
	if errors.Is(err, db.ErrNoRows) {
		return v, missingVersion(digest)
	}
	return v, err
}

// saveTicket lets whoever has the ticket download what has the digest, and forgets those that are over.
func saveTicket(tx *db.Tx, hash, digest string, until time.Time) error {
	if _, err := tx.Exec(`delete from module_ticket where until < $1`, tx.Now()); err != nil {
		return err
	}
	_, err := tx.Exec(`insert into module_ticket (hash, digest, until) values ($1, $2, $3)`, hash, digest, until)
	return err
}

// checkTicket returns that the version is missing unless the ticket is for this digest and not over.
func checkTicket(tx *db.Tx, hash, digest string) error {
	var n int64
	err := tx.QueryRow(`select count(*) from module_ticket where hash = $1 and digest = $2 and until >= $3`, hash, digest, tx.Now()).Scan(&n)
	if err == nil && n == 0 {
		err = missingVersion(digest)
	}
	return err
}

// Published reports whether a version of any pattern has this content.
func Published(tx *db.Tx, digest string) (is bool, err error) {
	err = tx.QueryRow(`select exists (select 1 from pattern_version where digest = $1)`, digest).Scan(&is)
	return is, err
}

// WasCertified reports whether some version with this content was certified, whatever became of it since.
func WasCertified(tx *db.Tx, digest string) (was bool, err error) {
	err = tx.QueryRow(`select exists (select 1 from pattern_version where digest = $1 and state <> $2)`, digest, InReview).Scan(&was)
	return was, err
}

// insertVersion writes a version. The same content again is fine: a step that ran twice; other content
// under the same number is refused, because a version is immutable.
func insertVersion(tx *db.Tx, v Version) (Version, error) {
	there, err := findVersion(tx, v.Pattern, v.Version)
	if err == nil {
		if there.Digest != v.Digest {
			return there, fault.New(fault.Conflict, "pattern.version_taken", "%s %s exists with other content, and a version never changes.", v.Pattern, v.Version).Do("Publish it under another number.")
		}
		return there, nil
	}
	if fault.From(err).Kind != fault.NotFound {
		return v, err
	}
	touch(tx, v.Pattern)
	_, err = tx.Exec(`insert into pattern_version (`+versionColumns+`) values ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)`,
		v.ID, v.Pattern, v.Version, v.Digest, v.State, v.Recommended, db.JSON(v.Manifest), db.JSON(v.Interface), v.Readme, v.Commit, v.Change, tx.Now(), v.Breaking)
	return v, err
}

func setState(tx *db.Tx, v Version, s State) error {
	touch(tx, v.Pattern)
	_, err := tx.Exec(`update pattern_version set state = $2, recommended = case when $2 = 'certified' then recommended else $3 end where id = $1`, v.ID, s, false)
	return err
}

func recommend(tx *db.Tx, v Version) error {
	touch(tx, v.Pattern)
	if _, err := tx.Exec(`update pattern_version set recommended = $2 where pattern = $1`, v.Pattern, false); err != nil {
		return err
	}
	_, err := tx.Exec(`update pattern_version set recommended = $2 where id = $1 and state = 'certified'`, v.ID, true)
	return err
}

const requestColumns = `id, pattern, title, body, state, reason, change, story, asked_by, discipline, created_at, updated_at`

func scanRequest(r db.Row) (q Request, err error) {
	err = r.Scan(&q.ID, &q.Pattern, &q.Title, &q.Body, &q.State, &q.Reason, &q.Change, &q.Story, &q.AskedBy, &q.Discipline, &q.CreatedAt, &q.UpdatedAt)
	return q, err
}

func findRequest(tx *db.Tx, id, lock string) (Request, error) {
	q, err := scanRequest(tx.QueryRow(`select `+requestColumns+` from pattern_request where id = $1`+lock, id))
	if errors.Is(err, db.ErrNoRows) {
		return q, fault.New(fault.NotFound, "pattern_request.not_found", "There is no pattern request %q.", id)
	}
	return q, err
}

func requests(tx *db.Tx, state, before string, limit int) ([]Request, error) {
	return db.Collect(tx, scanRequest, `select `+requestColumns+` from pattern_request where ($1 = '' or state = $1) and ($2 = '' or id < $2) order by id desc limit $3`, state, before, limit)
}

// requestsOf returns the requests that a change is to fulfil, or has fulfilled.
func requestsOf(tx *db.Tx, change, lock string) ([]Request, error) {
	if change == "" {
		return []Request{}, nil
	}
	return db.Collect(tx, scanRequest, `select `+requestColumns+` from pattern_request where change = $1 order by id`+lock, change)
}

func saveRequest(tx *db.Tx, q Request) error {
	web.Touch(tx, web.Topic{Noun: web.NounRequest, ID: q.ID, Change: q.Change, Everybody: true})
	_, err := tx.Exec(`insert into pattern_request (`+requestColumns+`) values ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12)
		on conflict (id) do update set pattern = excluded.pattern, state = excluded.state, reason = excluded.reason, change = excluded.change, story = excluded.story, updated_at = excluded.updated_at`,
		q.ID, q.Pattern, q.Title, q.Body, q.State, q.Reason, q.Change, q.Story, q.AskedBy, q.Discipline, q.CreatedAt, tx.Now())
	return err
}
