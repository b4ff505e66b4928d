package account

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/web"
)

// Entry is a decision to put into the audit log.
type Entry struct {
	Action   string // "noun.verb", one of Actions
	Subject  string // id or name of what was decided on
	Decision string // "allowed", "denied", "approved", "rejected", "done"
	Reason   string // why, in words, with the digests an approval binds to
}

// Record is an entry of the audit log. Hash covers every other field and the hash before it, so that a
// changed, removed or inserted row breaks the chain there. What the chain cannot show by itself is
// that its end was cut off: keep the last hash elsewhere, as backups do.
type Record struct {
	Seq       int64     `json:"seq"`
	At        time.Time `json:"at"`
	Actor     string    `json:"actor" doc:"Id of who decided"`
	Name      string    `json:"name" doc:"Name of who decided, at that time"`
	Token     string    `json:"token,omitempty" doc:"Id of the token that acted"`
	Action    string    `json:"action" example:"change.approved"`
	Subject   string    `json:"subject" example:"chg_d0c5ghq23akk2s3lvr9g"`
	Decision  string    `json:"decision" example:"approved"`
	Reason    string    `json:"reason,omitempty"`
	RequestID string    `json:"requestId,omitempty" doc:"Id of the request that led to it" example:"req_d0c5ghq23akk2s3lvr9g"`
	// ClientRequestID is the client's word, and never takes the place of ours.
	ClientRequestID string `json:"clientRequestId,omitempty" doc:"What the client called that request in X-Request-Id; its word only" example:"push-1"`
	Prev            string `json:"prev" doc:"Hash of the entry before"`
	Hash            string `json:"hash" doc:"SHA-256 over this entry and prev"`
}

// Audit writes a decision of the transaction's actor into the audit log, as one of the last things of the
// transaction: an entry holds the hash of the one before, so those that write one wait for each other's commit.
func Audit(tx *db.Tx, e Entry) error {
	actor := From(tx.Context())
	r := Record{
		At: tx.Now(), Actor: actor.ID, Name: actor.Name, Token: actor.TokenID,
		Action: e.Action, Subject: e.Subject, Decision: e.Decision, Reason: e.Reason, RequestID: web.RequestID(tx.Context()), ClientRequestID: web.ClientRequestID(tx.Context()),
	}
	web.Touch(tx, web.Topic{Noun: web.NounAudit}) // those who see everything read it
	tx.BeforeCommit(func() error { return chain(tx, r) })
	return nil
}

// chain appends the record to the log.
func chain(tx *db.Tx, r Record) error {
	if err := tx.Serialize(); err != nil {
		return err
	}
	err := tx.QueryRow("select seq, hash from audit order by seq desc limit 1").Scan(&r.Seq, &r.Prev)
	if err != nil && !errors.Is(err, db.ErrNoRows) {
		return err
	}
	r.Seq++
	r.Hash = r.digest()
	_, err = tx.Exec(`insert into audit (seq, at, actor, name, token, action, subject, decision, reason, request_id, client_request_id, prev, hash)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		r.Seq, r.At, r.Actor, r.Name, r.Token, r.Action, r.Subject, r.Decision, r.Reason, r.RequestID, r.ClientRequestID, r.Prev, r.Hash)
	return err
}

// digest covers the record as a JSON array: its encoding is unambiguous and needs no program of ours
// to check it.
func (r Record) digest() string {
	covered := []any{
		r.Prev, r.Seq, r.At.UTC().Format("2006-01-02T15:04:05.000000Z"), r.Actor, r.Name, r.Token,
		r.Action, r.Subject, r.Decision, r.Reason, r.RequestID,
	}
	if r.ClientRequestID != "" { // entries from before there was one keep their hash
		covered = append(covered, r.ClientRequestID)
	}
	text, err := json.Marshal(covered)
	if err != nil {
		panic(err) // strings and a number
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Broken is the first entry at which the audit log was tampered with.
type Broken struct {
	Seq    int64  `json:"seq"`
	Reason string `json:"reason"`
}

// Kept is what somebody noted of an earlier look at the log: how many entries were sound, and the hash of
// the last of them. Whoever can write to the database can cut off the end of the log, or write all of it
// anew; only what was kept elsewhere shows that.
type Kept struct {
	Sound int64
	Last  string
}

// Verify recomputes the whole chain and compares it with what was kept, unless that is zero. It returns how
// many entries are sound, the hash of the last of them, and the first entry that is not, or nil.
func Verify(ctx context.Context, d *db.DB, kept Kept) (sound int64, last string, broken *Broken, err error) {
	for {
		var records []Record
		err := d.Read(ctx, func(tx *db.Tx) (err error) {
			records, err = db.Collect(tx, scanRecord, selectRecord+" where seq > $1 order by seq limit 1000", sound)
			return err
		})
		if err == nil && len(records) == 0 && sound < kept.Sound {
			broken = &Broken{sound + 1, fmt.Sprintf("The end was cut off: there were %d entries.", kept.Sound)}
		}
		if err != nil || len(records) == 0 {
			return sound, last, broken, err
		}
		for _, r := range records {
			switch {
			case r.Seq != sound+1:
				return sound, last, &Broken{sound + 1, fmt.Sprintf("Entry %d is missing.", sound+1)}, nil
			case r.Prev != last:
				return sound, last, &Broken{r.Seq, "It does not follow the entry before it."}, nil
			case r.Hash != r.digest():
				return sound, last, &Broken{r.Seq, "Its content was changed after it was written."}, nil
			case r.Seq == kept.Sound && r.Hash != kept.Last:
				return sound, last, &Broken{r.Seq, "It has not the hash that was kept: it, or one before it, was written anew."}, nil
			}
			sound, last = r.Seq, r.Hash
		}
	}
}

const selectRecord = "select seq, at, actor, name, token, action, subject, decision, reason, request_id, client_request_id, prev, hash from audit"

func scanRecord(row db.Row) (r Record, err error) {
	err = row.Scan(&r.Seq, &r.At, &r.Actor, &r.Name, &r.Token, &r.Action, &r.Subject, &r.Decision, &r.Reason, &r.RequestID, &r.ClientRequestID, &r.Prev, &r.Hash)
	return r, err
}
