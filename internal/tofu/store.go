package tofu

import (
	"errors"
	"time"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
)

// state is a version with its sealed content. An empty content says that the state was deleted.
type state struct {
	StateVersion
	body []byte
}

type stateLock struct {
	run, id, info string
	at            time.Time
}

// latestState returns the newest version, or the zero state if there is none.
func latestState(tx *db.Tx, instance string) (state, error) {
	var s state
	err := tx.QueryRow(`
		select version, lineage, serial, digest, run, body, at from state_version
		where instance = $1 order by version desc limit 1`, instance).
		Scan(&s.Version, &s.Lineage, &s.Serial, &s.Digest, &s.Run, &s.body, &s.At)
	if errors.Is(err, db.ErrNoRows) {
		return state{}, nil
	}
	return s, err
}

func stateBody(tx *db.Tx, instance string, version int64) ([]byte, error) {
	var body []byte
	err := tx.QueryRow(`select body from state_version where instance = $1 and version = $2`, instance, version).Scan(&body)
	if errors.Is(err, db.ErrNoRows) || err == nil && len(body) == 0 {
		return nil, fault.Missing("state version", instance)
	}
	return body, err
}

func stateVersions(tx *db.Tx, instance string) ([]StateVersion, error) {
	return db.Collect(tx, func(row db.Row) (StateVersion, error) {
		var v StateVersion
		err := row.Scan(&v.Version, &v.Lineage, &v.Serial, &v.Digest, &v.Run, &v.Size, &v.At)
		return v, err
	}, `
		select version, lineage, serial, digest, run, length(body), at from state_version
		where instance = $1 order by version desc`, instance)
}

func insertState(tx *db.Tx, instance string, s state) error {
	if _, err := tx.Exec(`
		insert into state_version (instance, version, lineage, serial, digest, run, body, at)
		values ($1, $2, $3, $4, $5, $6, $7, $8)`,
		instance, s.Version, s.Lineage, s.Serial, s.Digest, s.Run, s.body, tx.Now()); err != nil {
		return err
	}
	_, err := tx.Exec(`delete from state_version where instance = $1 and version <= $2`, instance, s.Version-Kept)
	return err
}

// lockOf returns the lock of an instance, or the zero lock if it is free.
func lockOf(tx *db.Tx, instance string) (stateLock, error) {
	var l stateLock
	err := tx.QueryRow(`select run, lock_id, info, at from state_lock where instance = $1`, instance).
		Scan(&l.run, &l.id, &l.info, &l.at)
	if errors.Is(err, db.ErrNoRows) {
		return stateLock{}, nil
	}
	return l, err
}

// insertLock takes the lock unless somebody has it; the answer says whether it was taken.
func insertLock(tx *db.Tx, instance string, l stateLock) (bool, error) {
	n, err := tx.Exec(`
		insert into state_lock (instance, run, lock_id, info, at) values ($1, $2, $3, $4, $5)
		on conflict (instance) do nothing`, instance, l.run, l.id, l.info, tx.Now())
	return n == 1, err
}

func insertToken(tx *db.Tx, digest string, g grant) error {
	_, err := tx.Exec(`
		insert into state_token (digest, run, instance, writes, fence, issued_at) values ($1, $2, $3, $4, $5, $6)`,
		digest, g.run, g.instance, g.writes, g.fence, tx.Now())
	return err
}

func grantOf(tx *db.Tx, digest string) (grant, error) {
	var g grant
	err := tx.QueryRow(`select run, instance, writes, fence from state_token where digest = $1`, digest).
		Scan(&g.run, &g.instance, &g.writes, &g.fence)
	return g, err
}
