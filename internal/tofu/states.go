package tofu

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"gocloud.dev/secrets"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
)

// Kept is how many versions of a state stay; older ones are pruned when a new one is written.
const Kept = 20

// States keeps the state of every instance: versioned, encrypted, locked by one run at a time, and
// written only with the current fencing token.
type States struct {
	DB     *db.DB
	Keeper *secrets.Keeper
	// Fenced fails if token is no longer the current fencing token of the instance. Package deploy has
	// it; nil lets every token write.
	Fenced func(tx *db.Tx, instance string, token int64) error
}

// StateVersion is one kept version of a state, without its content.
type StateVersion struct {
	Version int64     `json:"version"`
	Lineage string    `json:"lineage"`
	Serial  int64     `json:"serial"`
	Digest  string    `json:"digest"` // of the plain text
	Run     string    `json:"run"`    // that wrote it
	Size    int       `json:"size"`   // as stored
	At      time.Time `json:"at"`
}

// grant is what a token allows.
type grant struct {
	run      string
	instance string
	writes   bool
	fence    int64
}

// Issue returns a new token for one run on the state of one instance. A token that writes is checked
// against the fence at every write. Revoke ends it. Earlier tokens of the run stay: another server may
// just be starting the same run, and only one of the two supervisors will get it.
func (s *States) Issue(ctx context.Context, run, instance string, writes bool, fence int64) (string, error) {
	token := rand.Text()
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		return insertToken(tx, digestOf([]byte(token)), grant{run, instance, writes, fence})
	})
	return token, err
}

// Revoke ends every token of a run.
func (s *States) Revoke(ctx context.Context, run string) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(`delete from state_token where run = $1`, run)
		return err
	})
}

// Current returns the plain text of an instance's state. It is empty for an instance that has none.
func (s *States) Current(ctx context.Context, instance string) ([]byte, error) {
	var body []byte
	err := s.DB.Read(ctx, func(tx *db.Tx) error {
		head, err := latestState(tx, instance)
		body = head.body
		return err
	})
	if err != nil || len(body) == 0 {
		return nil, err
	}
	return s.open(ctx, body)
}

// Versions lists the kept versions of an instance's state, the newest first.
func (s *States) Versions(ctx context.Context, instance string) ([]StateVersion, error) {
	var list []StateVersion
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		list, err = stateVersions(tx, instance)
		return err
	})
	return list, err
}

// At returns the plain text of one kept version.
func (s *States) At(ctx context.Context, instance string, version int64) ([]byte, error) {
	var body []byte
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		body, err = stateBody(tx, instance, version)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.open(ctx, body)
}

// Output is one output of a module. A sensitive one is for those who may see secrets.
type Output struct {
	Value     any  `json:"value"`
	Sensitive bool `json:"sensitive"`
}

// Outputs reads the outputs from a state, as Current returns it. No state has no outputs.
func Outputs(state []byte) (map[string]Output, error) {
	var s struct {
		Outputs map[string]Output `json:"outputs"`
	}
	if len(state) == 0 {
		return map[string]Output{}, nil
	}
	err := json.Unmarshal(state, &s)
	return s.Outputs, err
}

// Unlock breaks the lock that a run left on the state of an instance. The lock of another run stays,
// and that is no error: then there was nothing of this run to break.
func (s *States) Unlock(ctx context.Context, instance, run string) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(`delete from state_lock where instance = $1 and run = $2`, instance, run)
		return err
	})
}

// Recover takes up what a run that ended badly left behind: it pushes the state that the engine could
// not write (`errored.tfstate` in the run folder), breaks the run's own lock and revokes its tokens.
// The fence decides as for every write: a run that was overtaken pushes nothing.
func (s *States) Recover(ctx context.Context, run Run) error {
	left, err := readLeft(run.erroredState())
	if err == nil {
		left = begun(left)
		err = s.push(ctx, grant{run.ID, run.Instance, true, run.Fence}, left, "")
	}
	switch {
	case err == nil:
		if err := os.Remove(run.erroredState()); err != nil {
			return err
		}
	case errors.Is(err, os.ErrNotExist):
		err = nil
	case !fault.Is(err, "state.malformed"):
		return err
	}
	// What is no state can never be stored: it stays for an operator, and holds nobody up.
	return errors.Join(err, s.Unlock(ctx, run.Instance, run.ID), s.Revoke(ctx, run.ID))
}

// readLeft reads a file that the code of a module could have made itself: a link would lead to what the platform
// may read and the module may not, and a pipe would hold whoever opens it.
func readLeft(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENXIO) {
		return nil, notAState(path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxState {
		return nil, notAState(path)
	}
	return io.ReadAll(io.LimitReader(f, maxState))
}

// begun gives a state the lineage that it gets from an engine only when it is stored for the first time.
func begun(state []byte) []byte {
	var fields map[string]json.RawMessage
	if json.Unmarshal(state, &fields) != nil || string(fields["lineage"]) != `""` {
		return state
	}
	fields["lineage"] = json.RawMessage(`"` + rand.Text() + `"`)
	text, err := json.Marshal(fields)
	if err != nil {
		return state
	}
	return text
}

func notAState(path string) error {
	return fault.New(fault.Invalid, "state.malformed", "%s is not a state of an engine.", path)
}

// push stores body as the next version. lockID is the lock that the writer holds; it may be empty only
// where nobody, or the writer's own run, holds one.
func (s *States) push(ctx context.Context, g grant, body []byte, lockID string) error {
	var meta struct {
		Version int64  `json:"version"`
		Lineage string `json:"lineage"`
		Serial  int64  `json:"serial"`
	}
	if err := json.Unmarshal(body, &meta); err != nil || meta.Version == 0 || meta.Lineage == "" {
		return fault.New(fault.Invalid, "state.malformed", "This is not a state of an engine.").Because(err)
	}
	sealed, err := s.Keeper.Encrypt(ctx, body)
	if err != nil {
		return fmt.Errorf("encrypt state: %w", err)
	}
	next := state{StateVersion{Lineage: meta.Lineage, Serial: meta.Serial, Digest: digestOf(body), Run: g.run}, sealed}
	for {
		err := s.DB.Write(ctx, func(tx *db.Tx) error { return s.store(tx, g, next, lockID) })
		if !db.IsFull(err) {
			return err
		}
		// An engine that cannot store what it did gives up after a minute, and where the disk is full it has no
		// other place for it either: it waits for the answer instead.
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}

// store is the rule of every write: right to write, current fence, own lock, same lineage, not older.
func (s *States) store(tx *db.Tx, g grant, next state, lockID string) error {
	if err := s.mayWrite(tx, g); err != nil {
		return err
	}
	lock, err := lockOf(tx, g.instance)
	if err != nil {
		return err
	}
	if lock.id != "" && lock.run != g.run || lockID != "" && lock.id != lockID {
		return locked(lock)
	}
	head, err := latestState(tx, g.instance)
	if err != nil {
		return err
	}
	switch {
	case len(head.body) == 0 || len(next.body) == 0: // the first one, or the end of it
	case head.Digest == next.Digest:
		return nil // the same write again, after an answer that was lost
	case head.Lineage != next.Lineage:
		return fault.New(fault.Conflict, "state.other_lineage", "The state of this instance has another history (lineage %s).", head.Lineage)
	case next.Serial < head.Serial:
		return fault.New(fault.Stale, "state.stale", "The state of this instance is already at serial %d, this one has %d.", head.Serial, next.Serial)
	}
	next.Version = head.Version + 1
	return insertState(tx, g.instance, next)
}

// mayWrite asks the fence in the transaction that writes.
func (s *States) mayWrite(tx *db.Tx, g grant) error {
	if !g.writes {
		return fault.New(fault.Forbidden, "state.read_only", "The token of a plan cannot write or lock the state.")
	}
	if s.Fenced == nil {
		return nil
	}
	return s.Fenced(tx, g.instance, g.fence)
}

func (s *States) open(ctx context.Context, sealed []byte) ([]byte, error) {
	plain, err := s.Keeper.Decrypt(ctx, sealed)
	if err != nil {
		return nil, fault.New(fault.Internal, "state.sealed", "The stored state cannot be decrypted with this platform's key.").
			Do("Restore the key file that belongs to this database.").Because(err)
	}
	return plain, nil
}

func locked(l stateLock) error {
	return fault.New(fault.Conflict, "state.locked", "The state is locked by run %s since %s.", l.run, l.at.Format(time.RFC3339))
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
