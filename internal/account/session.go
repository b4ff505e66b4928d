package account

import (
	"context"
	"errors"
	"time"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
)

// Session is a person signed in at a browser, until it ends.
type Session struct {
	ID        string    `json:"id" example:"ses_06h0eebhhlqrfcvhouk0"`
	User      string    `json:"user" doc:"Name of the person"`
	Address   string    `json:"address" doc:"From where they signed in; behind a proxy, the proxy's"`
	Browser   string    `json:"browser" doc:"What the browser says it is"`
	Current   bool      `json:"current" doc:"The one that asks"`
	CreatedAt time.Time `json:"createdAt" doc:"When they signed in"`
	SeenAt    time.Time `json:"seenAt" doc:"When it was last used, to within five minutes"`
	ExpiresAt time.Time `json:"expiresAt" doc:"When it ends if it is not used"`
}

const selectSession = `select s.id, p.name, s.address, s.browser, s.hash, s.created_at, s.expires_at from session s join person p on p.id = s.person`

func scanSession(current string) func(r db.Row) (Session, error) {
	return func(r db.Row) (x Session, err error) {
		var hash string
		err = r.Scan(&x.ID, &x.User, &x.Address, &x.Browser, &hash, &x.CreatedAt, &x.ExpiresAt)
		x.Current, x.SeenAt = hash == current, x.ExpiresAt.Add(-sessionLasts) // it is extended when it is used
		return x, err
	}
}

// Sessions returns the actor's own sessions that have not ended, or those of another person for who may manage
// people, from one id on.
func (s *Service) Sessions(ctx context.Context, name, after string, limit int) (list []Session, err error) {
	actor := From(ctx)
	if name == "" {
		name = actor.Name
	}
	if actor.Nobody() || name != actor.Name {
		if err := actor.Require(ManageUsers, ""); err != nil {
			return nil, err
		}
	}
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		list, err = db.Collect(tx, scanSession(actor.session), selectSession+" where p.name = $1 and s.expires_at > $2 and s.id > $3 order by s.id limit $4", name, tx.Now(), after, int64(limit))
		return err
	})
	return list, err
}

// EndSession ends one session: the actor's own, or anybody's for who may manage people.
func (s *Service) EndSession(ctx context.Context, id string) error {
	actor := From(ctx)
	if err := mayEndSessions(actor); err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx *db.Tx) error {
		x, err := scanSession(actor.session)(tx.QueryRow(selectSession+" where s.id = $1", id))
		if errors.Is(err, db.ErrNoRows) || err == nil && x.User != actor.Name && !actor.Can(ManageUsers, "") {
			return fault.Missing("session", id)
		}
		if err != nil {
			return err
		}
		if err := endSession(tx, "id", id); err != nil {
			return err
		}
		return record(tx, event.SessionEnded{OfAccount: of("session.end", id, x.User)}, "of "+x.User)
	})
}

// EndOtherSessions ends all sessions of the actor but the one that asks, and returns how many those were. A
// token is no session, so that it ends all of them.
func (s *Service) EndOtherSessions(ctx context.Context) (n int64, err error) {
	actor := From(ctx)
	if err := mayEndSessions(actor); err != nil {
		return 0, err
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		n = 0
		others, err := db.Collect(tx, scanSession(actor.session), selectSession+" where s.person = $1 and s.hash <> $2 order by s.id", actor.ID, actor.session)
		if err != nil {
			return err
		}
		for _, x := range others {
			if err := record(tx, event.SessionEnded{OfAccount: of("session.end", x.ID, x.User)}, "of "+x.User); err != nil {
				return err
			}
			if x.ExpiresAt.After(tx.Now()) {
				n++
			}
		}
		return deleteSessions(tx, actor.ID, actor.session)
	})
	return n, err
}

// mayEndSessions returns nil for a person who is signed in, and for a token that bounds its person in nothing.
func mayEndSessions(actor Actor) error {
	switch {
	case actor.Nobody() || actor.system:
		return actor.Require(ViewTeam, "")
	case actor.Service:
		return fault.New(fault.Forbidden, "session.service", "A service token cannot end sessions.").Do("Sign in as a person.")
	case !actor.wholePerson():
		return fault.New(fault.Forbidden, "token.scope", "This token may not end sessions: it lacks the scope admin.").Do("Sign in as a person.")
	}
	return nil
}
