package account

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/plain"
	"flywheel.dev/flywheel/internal/web"
)

const (
	sessionLasts   = 12 * time.Hour
	sessionRenewed = 5 * time.Minute // a session in use is extended at most this often
	tokenLasts     = 90 * 24 * time.Hour
	tokenAtMost    = 365 * 24 * time.Hour
	cookieName     = "flywheel_session"
	clientCookie   = "flywheel_client" // by which a browser is known where attempts to sign in are limited
)

// Service does everything with accounts.
type Service struct {
	db        *db.DB
	strangers *lane // where the passwords of those are hashed of whom nothing is known
	known     *lane // and of those who signed in before, or are signed in

	unwritten atomic.Int64 // failed attempts that are not in the audit log
	refusals  atomic.Int64 // and refusals that are not
	swept     atomic.Int64 // when attempts were swept last, in Unix seconds

	// TeamInUse says what still belongs to a team, for example "the app storefront", or "" if nothing
	// does. Apps come later in the order of packages.
	TeamInUse func(tx *db.Tx, team string) (string, error)
	// TeamOf returns the team of an app.
	TeamOf func(tx *db.Tx, app string) (string, error)

	HTTPS bool // people reach Flywheel so, and browsers send the session no other way
}

// New returns the accounts of a database.
func New(d *db.DB) *Service {
	s := &Service{db: d}
	s.strangers, s.known = newLanes()
	return s
}

// Bootstrap makes the first admin of an empty database and returns the name and the password, which is
// stored nowhere. Later it returns two empty strings.
func (s *Service) Bootstrap(ctx context.Context) (name, password string, err error) {
	ctx = System(ctx, "bootstrap")
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		name, password = "", ""
		if err := lockPeople(tx); err != nil { // replicas may start together
			return err
		}
		n, err := countPeople(tx, "1 = 1")
		if err != nil || n > 0 {
			return err
		}
		name, password = "admin", newPassword()
		u := User{ID: db.NewID("usr"), Name: name, Title: "Administrator", Admin: true, Disciplines: []string{}, Active: true, CreatedAt: tx.Now(), UpdatedAt: tx.Now(), UpdatedBy: From(ctx).Name}
		if err := insertUser(tx, u, hashPassword(password)); err != nil {
			return err
		}
		return record(tx, event.PersonCreated{OfAccount: of("user.create", u.Name, "")}, "first start")
	})
	return name, password, err
}

// Authenticate is the web.Authenticate of the platform. It knows the session cookie, `Authorization:
// Bearer` with a token, and `Basic` with a token as the password, which is how Git signs in.
func (s *Service) Authenticate(r *http.Request) (context.Context, string, error) {
	ctx := r.Context()
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		if strings.EqualFold(scheme, "Basic") {
			_, token, _ = r.BasicAuth()
		} else if !strings.EqualFold(scheme, "Bearer") {
			token = ""
		}
		actor, err := s.byToken(ctx, strings.TrimSpace(token))
		return With(ctx, actor), actor.ID, err
	}
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return ctx, "", nil
	}
	actor, err := s.bySession(ctx, cookie.Value)
	return With(ctx, actor), actor.ID, err
}

func (s *Service) byToken(ctx context.Context, token string) (actor Actor, err error) {
	var expires, now time.Time
	err = s.db.Read(ctx, func(tx *db.Tx) (err error) {
		now = tx.Now()
		actor, expires, err = actorByToken(tx, hashSecret(token))
		return err
	})
	switch {
	case errors.Is(err, db.ErrNoRows):
		return Actor{}, tokenUnknown()
	case err != nil:
		return Actor{}, err
	case !now.Before(expires):
		return Actor{}, fault.New(fault.Unauthenticated, "token.expired", "This token ended on %s.", expires.Format(time.DateOnly)).
			Do("Sign in again, `flywheel login`, or make a new token.")
	}
	return actor, nil
}

func tokenUnknown() error {
	return fault.New(fault.Unauthenticated, "token.unknown", "This token is not valid.").
		Do("It was mistyped, deleted or its person deactivated: sign in again or make a new one.")
}

func (s *Service) bySession(ctx context.Context, secret string) (actor Actor, err error) {
	var expires, now time.Time
	hash := hashSecret(secret)
	err = s.db.Read(ctx, func(tx *db.Tx) (err error) {
		now = tx.Now()
		actor, expires, err = actorBySession(tx, hash)
		return err
	})
	if errors.Is(err, db.ErrNoRows) || err == nil && !now.Before(expires) {
		return Actor{}, fault.New(fault.Unauthenticated, "session.ended", "Your session has ended.").Do("Sign in again.")
	}
	if err == nil && expires.Sub(now) < sessionLasts-sessionRenewed {
		err = s.db.Write(ctx, func(tx *db.Tx) error { return extendSession(tx, hash, tx.Now().Add(sessionLasts)) })
	}
	if err != nil {
		return Actor{}, err
	}
	return actor, nil
}

// Attempt is an attempt to sign in.
type Attempt struct {
	Name, Password string
	Address        string // from where
	Browser        string // what the browser says it is
	Client         string // the secret by which it is known, from an earlier sign-in
}

// SignedIn is what a browser gets: the secret of its session, and the one by which it is known later.
type SignedIn struct {
	Session, Client string
}

// SignIn checks a name and password and opens a session. Attempts are limited, see limit.go: somebody who guesses is
// slowed down, and the person is not locked out of the browsers and networks from which they signed in before.
func (s *Service) SignIn(ctx context.Context, a Attempt) (actor Actor, in SignedIn, err error) {
	a.Name = strings.ToLower(strings.TrimSpace(a.Name))
	from := network(a.Address)
	var person, hash string
	var active, knownClient, knownNetwork bool
	var pause time.Duration
	// For a stranger in this order; the first one is forgotten when the password is right.
	charges := []charge{ofPair.of(a.Name, from), ofNetwork.of(from), ofName.of(a.Name)}
	err = s.db.Read(ctx, func(tx *db.Tx) (err error) {
		if person, hash, active, err = passwordOf(tx, a.Name); err != nil {
			return err
		}
		if person != "" && a.Client != "" {
			if knownClient, err = known(tx, clientOf(person, "browser", a.Client)); err != nil {
				return err
			}
		}
		if person != "" && !knownClient {
			if knownNetwork, err = known(tx, clientOf(person, "network", from)); err != nil {
				return err
			}
		}
		if knownClient {
			charges = []charge{ofClient.of(a.Name, a.Client)}
		} else if knownNetwork {
			charges = charges[:1]
		}
		pause, err = wait(tx, charges...)
		return err
	})
	if err != nil {
		return actor, in, err
	}
	if pause > 0 {
		return actor, in, s.tooMany(ctx, a, pause)
	}
	place, client := s.strangers, from
	if knownClient || knownNetwork {
		place, client = s.known, person
	}
	release, err := place.acquire(ctx, client)
	if err != nil {
		s.unwritten.Add(1)
		return actor, in, err
	}
	defer release()
	err = s.db.Write(ctx, func(tx *db.Tx) (err error) {
		if err := s.sweep(tx); err != nil {
			return err
		}
		if pause, err = take(tx, slices.Clone(charges)...); err == nil && pause > 0 {
			err = errPause // counts nothing
		}
		return err
	})
	if errors.Is(err, errPause) {
		return actor, in, s.tooMany(ctx, a, pause)
	}
	if err != nil {
		return actor, in, err
	}
	fits := false
	if hash != "" && len(a.Password) <= 200 {
		fits = passwordFits(hash, a.Password)
	} else {
		hashPassword("x") // an unknown name takes as long as a wrong password
	}
	if !fits || !active {
		why := "wrong password"
		switch {
		case hash == "":
			why = "no such person"
		case fits:
			why = "deactivated"
		}
		if err := s.refused(ctx, a.Name, a.Address, why); err != nil {
			return actor, in, err
		}
		return actor, in, fault.New(fault.Unauthenticated, "session.refused", "Name and password do not fit.").
			Do("Try again, or ask an admin for a new password.")
	}
	secret, sessionHash := newSecret("")
	in = SignedIn{secret, a.Client}
	if !knownClient {
		in.Client, _ = newSecret("")
	}
	err = s.db.Write(ctx, func(tx *db.Tx) (err error) {
		if err = insertSession(tx, sessionHash, person, a.Address, a.Browser, tx.Now().Add(sessionLasts)); err != nil {
			return err
		}
		if err = errors.Join(forget(tx, charges[0]), giveBack(tx, charges[1:]...)); err != nil {
			return err
		}
		if err = remember(tx, person, clientOf(person, "browser", in.Client), clientOf(person, "network", from)); err != nil {
			return err
		}
		if actor, _, err = actorBySession(tx, sessionHash); err != nil {
			return err
		}
		return Audit(tx.In(With(ctx, actor)), Entry{Action: "session.create", Subject: actor.Name, Decision: "allowed", Reason: "from " + a.Address})
	})
	if err != nil {
		return Actor{}, SignedIn{}, err
	}
	return actor, in, nil
}

var errPause = errors.New("one attempt too many")

// tooMany refuses an attempt that has to wait.
func (s *Service) tooMany(ctx context.Context, a Attempt, pause time.Duration) error {
	if err := s.refused(ctx, a.Name, a.Address, "too many attempts"); err != nil {
		return err
	}
	return web.TooMany(pause, "session.too_many", "Too many attempts to sign in.")
}

// sweep forgets, once in a while, what is worked off.
func (s *Service) sweep(tx *db.Tx) error {
	last, now := s.swept.Load(), tx.Now().Unix()
	if now-last < int64(attemptsSwept.Seconds()) || !s.swept.CompareAndSwap(last, now) {
		return nil
	}
	return sweep(tx, attemptsKept)
}

// refused writes a failed attempt to sign in into the audit log: the name that was tried and from where,
// never the password.
func (s *Service) refused(ctx context.Context, name, address, why string) error {
	return s.writeFew(ctx, &s.unwritten, []charge{ofLogNetwork.of(network(address)), ofLog.of()}, func(missed string) Entry {
		return Entry{Action: "session.refused", Subject: plainly(name), Decision: "refused", Reason: why + ", from " + address + missed}
	})
}

// Refused writes into the audit log that the actor may not do what they asked for: what is the request.
func (s *Service) Refused(ctx context.Context, what string, f *fault.Fault) {
	actor := From(ctx)
	if actor.Nobody() || actor.system {
		return
	}
	err := s.writeFew(context.WithoutCancel(ctx), &s.refusals, []charge{ofRefusal.of(actor.ID), ofRefusals.of()}, func(missed string) Entry {
		return Entry{Action: "permission.refused", Subject: plainly(what), Decision: "refused", Reason: f.Code + ": " + f.Message + missed}
	})
	if err != nil {
		slog.ErrorContext(ctx, "a refusal could not be written into the audit log", "error", err)
	}
}

// writeFew writes an entry about what a flood may bring, which must fill neither the disk nor the log: of one network
// or person the first few are written, then one a minute, and of all together no more than one a second; an entry says
// how many were left out before it.
func (s *Service) writeFew(ctx context.Context, unwritten *atomic.Int64, charges []charge, entry func(missed string) Entry) error {
	var pause time.Duration
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) { pause, err = wait(tx, charges...); return err })
	if err != nil {
		return err
	}
	if pause > 0 {
		unwritten.Add(1)
		return nil
	}
	missed, words := unwritten.Swap(0), ""
	if missed > 0 {
		words = fmt.Sprintf("; %d more since the entry before were not written", missed)
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		pause, err := take(tx, slices.Clone(charges)...)
		if err == nil && pause > 0 {
			err = errPause
		}
		if err != nil {
			return err
		}
		return Audit(tx, entry(words))
	})
	if errors.Is(err, errPause) {
		unwritten.Add(missed + 1)
		return nil
	}
	return err
}

// plainly returns what a stranger wrote as it may stand in the audit log.
func plainly(text string) string {
	if runes := []rune(strings.ToValidUTF8(text, "?")); len(runes) > 80 {
		text = string(runes[:80]) + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}

// SignOut ends the session of the context's actor.
func (s *Service) SignOut(ctx context.Context) error {
	return s.db.Write(ctx, func(tx *db.Tx) error { return deleteSession(tx, From(ctx).session) })
}

// CreateUser makes a person. Without a password one is made and returned, to be shown once.
func (s *Service) CreateUser(ctx context.Context, u User, password string) (User, string, error) {
	if err := From(ctx).Require(ManageUsers, ""); err != nil {
		return u, "", err
	}
	shown := ""
	if password == "" {
		password = newPassword()
		shown = password
	}
	if err := checkPassword(password); err != nil {
		return u, "", err
	}
	if u.Title == "" {
		u.Title = u.Name
	}
	if err := checkShown("title", u.Title); err != nil {
		return u, "", err
	}
	hash, err := s.hash(ctx, password)
	if err != nil {
		return u, "", err
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		u.ID, u.Active, u.CreatedAt, u.UpdatedAt, u.UpdatedBy = db.NewID("usr"), true, tx.Now(), tx.Now(), From(ctx).Name
		u.Disciplines, u.Teams = unique(u.Disciplines), map[string]Role{}
		if err := insertUser(tx, u, hash); err != nil {
			return err
		}
		return record(tx, event.PersonCreated{OfAccount: of("user.create", u.Name, "")}, u.rights())
	})
	return u, shown, err
}

// UserEdit is what may be changed about a person; nil leaves it as it is.
type UserEdit struct {
	Title       *string
	Admin       *bool
	Disciplines *[]string
	Active      *bool
}

// EditUser changes a person. To deactivate ends their sessions and deletes their tokens.
func (s *Service) EditUser(ctx context.Context, name, ifMatch string, edit UserEdit) (u User, err error) {
	if err := From(ctx).Require(ManageUsers, ""); err != nil {
		return u, err
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if err := lockPeople(tx); err != nil {
			return err
		}
		if u, err = userByName(tx, name); err != nil {
			return err
		}
		if err := web.Match(ifMatch, u.etag(), u.UpdatedBy); err != nil {
			return err
		}
		set(&u.Title, edit.Title)
		if err := checkShown("title", u.Title); edit.Title != nil && err != nil {
			return err
		}
		set(&u.Admin, edit.Admin)
		set(&u.Active, edit.Active)
		if edit.Disciplines != nil {
			u.Disciplines = unique(*edit.Disciplines)
		}
		u.UpdatedAt, u.UpdatedBy = tx.Now(), From(ctx).Name
		if err := updateUser(tx, u); err != nil {
			return err
		}
		if admins, err := countPeople(tx, "admin and active"); err != nil {
			return err
		} else if admins == 0 {
			return fault.New(fault.Conflict, "user.last_admin", "%s is the last admin.", u.Name).Do("Make somebody else an admin first.")
		}
		if !u.Active {
			if err := errors.Join(deleteSessions(tx, u.ID, ""), deleteTokens(tx, u.ID)); err != nil {
				return err
			}
		}
		return record(tx, event.PersonUpdated{OfAccount: of("user.edit", u.Name, "")}, u.rights())
	})
	return u, err
}

// ChangePassword sets the actor's own password and ends their other sessions.
func (s *Service) ChangePassword(ctx context.Context, present, next string) error {
	actor := From(ctx)
	if actor.Nobody() || actor.session == "" {
		return fault.New(fault.Forbidden, "password.session", "A password is changed in the browser, not with a token.")
	}
	if err := checkPassword(next); err != nil {
		return err
	}
	var hash string
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		_, hash, _, err = passwordOf(tx, actor.Name)
		return err
	})
	if err != nil {
		return err
	}
	var pause time.Duration
	err = s.db.Write(ctx, func(tx *db.Tx) (err error) {
		if pause, err = take(tx, ofPassword.of(actor.ID)); err == nil && pause > 0 {
			err = errPause
		}
		return err
	})
	if errors.Is(err, errPause) {
		return web.TooMany(pause, "session.too_many", "Too many attempts.")
	}
	if err != nil {
		return err
	}
	release, err := s.known.acquire(ctx, actor.ID)
	if err != nil {
		return err
	}
	fits := passwordFits(hash, present)
	release()
	if !fits {
		return fault.New(fault.Forbidden, "password.wrong", "The present password is not right.").At("body.present", "not right")
	}
	if hash, err = s.hash(ctx, next); err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx *db.Tx) error {
		if err := errors.Join(setPassword(tx, actor.ID, hash), deleteSessions(tx, actor.ID, actor.session)); err != nil {
			return err
		}
		return record(tx, event.PersonUpdated{OfAccount: of("user.password", actor.Name, actor.Name)}, "changed by the person")
	})
}

// ResetPassword gives a person a new password, returns it to be shown once, and ends their sessions.
func (s *Service) ResetPassword(ctx context.Context, name string) (string, error) {
	if err := From(ctx).Require(ManageUsers, ""); err != nil {
		return "", err
	}
	password := newPassword()
	hash, err := s.hash(ctx, password)
	if err != nil {
		return "", err
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		u, err := userByName(tx, name)
		if err != nil {
			return err
		}
		if actor := From(ctx); u.ID == actor.ID && actor.session == "" {
			// It would let whoever has the token sign in as its person, without its scopes and after its end.
			return fault.New(fault.Forbidden, "password.session", "A token cannot reset the password of its own person.").Do("Change it in the browser, or ask another admin.")
		}
		if err := errors.Join(setPassword(tx, u.ID, hash), deleteSessions(tx, u.ID, "")); err != nil {
			return err
		}
		return record(tx, event.PersonUpdated{OfAccount: of("user.password", u.Name, u.Name)}, "reset by an admin")
	})
	return password, err
}

// CreateTeam makes a team; its maker is not a member.
func (s *Service) CreateTeam(ctx context.Context, name, title string) (t Team, err error) {
	if err := From(ctx).Require(ManageTeams, ""); err != nil {
		return t, err
	}
	if title == "" {
		title = name
	}
	if err := checkShown("title", title); err != nil {
		return t, err
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		t = Team{ID: db.NewID("team"), Name: name, Title: title, Members: []Member{}, CreatedAt: tx.Now(), UpdatedAt: tx.Now(), UpdatedBy: From(ctx).Name}
		if err := insertTeam(tx, t); err != nil {
			return err
		}
		return record(tx, event.TeamCreated{OfAccount: of("team.create", t.Name, "")}, "")
	})
	return t, err
}

// RenameTeam changes the title of a team; the name is in the files of its apps and stays.
func (s *Service) RenameTeam(ctx context.Context, name, ifMatch, title string) (t Team, err error) {
	if err := errors.Join(From(ctx).Require(ManageTeams, ""), checkShown("title", title)); err != nil {
		return t, err
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if t, err = teamByName(tx, name, tx.ForUpdate()); err != nil {
			return err
		}
		if err := web.Match(ifMatch, t.etag(), t.UpdatedBy); err != nil {
			return err
		}
		t.Title, t.UpdatedAt, t.UpdatedBy = title, tx.Now(), From(ctx).Name
		if err := touchTeam(tx, t); err != nil {
			return err
		}
		return record(tx, event.TeamUpdated{OfAccount: of("team.edit", t.Name, "")}, title)
	})
	return t, err
}

// DeleteTeam removes a team that owns nothing any more.
func (s *Service) DeleteTeam(ctx context.Context, name string) error {
	if err := From(ctx).Require(ManageTeams, ""); err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx *db.Tx) error {
		t, err := teamByName(tx, name, tx.ForUpdate())
		if err != nil {
			return err
		}
		if s.TeamInUse != nil {
			if what, err := s.TeamInUse(tx, t.Name); err != nil {
				return err
			} else if what != "" {
				return fault.New(fault.Conflict, "team.in_use", "The team %s still owns %s.", t.Name, what).Do("Remove that first (flywheel app delete), or give it to another team: flywheel app give APP TEAM.")
			}
		}
		if err := deleteTeam(tx, t); err != nil {
			return err
		}
		return record(tx, event.TeamDeleted{OfAccount: of("team.delete", t.Name, "")}, "")
	})
}

// PutMember puts a person into a team or changes their role in it. An empty role takes them out. ifMatch is
// the entity tag of the team as it was seen.
func (s *Service) PutMember(ctx context.Context, team, user, ifMatch string, role Role) (t Team, err error) {
	if err := From(ctx).Require(ManageMembers, team); err != nil {
		return t, err
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if t, err = teamByName(tx, team, tx.ForUpdate()); err != nil {
			return err
		}
		if err := web.Match(ifMatch, t.etag(), t.UpdatedBy); err != nil {
			return err
		}
		u, err := userByName(tx, user)
		if err != nil {
			return err
		}
		if role == "" {
			n, err := deleteMember(tx, t.ID, u.ID)
			if err != nil {
				return err
			}
			if n == 0 {
				return fault.Missing("member", user)
			}
		} else if err := putMember(tx, t.ID, u.ID, role); err != nil {
			return err
		}
		t.UpdatedAt, t.UpdatedBy = tx.Now(), From(ctx).Name
		if err := touchTeam(tx, t); err != nil {
			return err
		}
		if t.Members, err = membersOf(tx, t.ID); err != nil {
			return err
		}
		if role == "" {
			return record(tx, event.TeamUpdated{OfAccount: of("team.remove_member", t.Name, "")}, u.Name)
		}
		return record(tx, event.TeamUpdated{OfAccount: of("team.put_member", t.Name, "")}, fmt.Sprintf("%s is %s", u.Name, role))
	})
	return t, err
}

// CreateToken makes a token for the actor and returns its secret, to be shown once. A token made with
// a token has no more scopes and no later end than that one, and is deleted with it. The command line's
// token stands for the person: what is made with it stays when the person signs out there.
//
// A token for checks speaks for an outer system and does nothing else; who operates the team makes it.
func (s *Service) CreateToken(ctx context.Context, t Token) (Token, string, error) {
	actor := From(ctx)
	if actor.Nobody() || actor.system {
		return t, "", actor.Require(ViewTeam, "")
	}
	if actor.Service {
		return t, "", fault.New(fault.Forbidden, "token.service", "A service token cannot make tokens.").Do("Sign in as a person.")
	}
	if !actor.has(ScopeWrite) {
		return t, "", fault.New(fault.Forbidden, "token.scope", "This token may not make tokens: it lacks the scope write.").Do("Sign in as a person.")
	}
	if err := errors.Join(checkShown("name", t.Name), t.checkSystem(actor)); err != nil {
		return t, "", err
	}
	if len(t.Scopes) == 0 {
		t.Scopes = []Scope{ScopeRead, ScopeWrite}
	}
	slices.Sort(t.Scopes)
	t.Scopes = slices.Compact(t.Scopes)
	for _, scope := range t.Scopes {
		if scope != ScopeChecks && !actor.has(scope) {
			return t, "", fault.New(fault.Forbidden, "token.scope", "This token lacks the scope %s and cannot pass it on.", scope).Do("Sign in as a person.")
		}
	}
	secret, hash := newSecret("fly_")
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		if err := s.bind(tx, &t); err != nil {
			return err
		}
		now := tx.Now()
		latest, standard := now.Add(tokenAtMost), now.Add(tokenLasts)
		parent := ""
		if !actor.wholePerson() { // so it is a token: at a browser, everybody is
			parent = actor.TokenID
			// Locked, so that it is not deleted before what is made with it is there to be deleted too.
			if err := lockToken(tx, parent); err != nil {
				return err
			}
			err := tx.QueryRow("select expires_at from token where id = $1", parent).Scan(&latest)
			if errors.Is(err, db.ErrNoRows) {
				return tokenUnknown()
			}
			if err != nil {
				return err
			}
			if latest.Before(standard) {
				standard = latest
			}
		}
		if t.ExpiresAt.IsZero() {
			t.ExpiresAt = standard
		}
		if !t.ExpiresAt.After(now) || t.ExpiresAt.After(latest) {
			return fault.New(fault.Invalid, "token.expiry", "A token ends within a year, and one made with a token not after that.").
				Do("Choose a time until %s.", latest.Format(time.DateOnly)).At("body.expiresAt", "between now and %s", latest.Format(time.RFC3339))
		}
		t.ID, t.User, t.CreatedAt, t.ExpiresAt = db.NewID("tok"), actor.Name, now, t.ExpiresAt.UTC().Truncate(time.Microsecond)
		if err := insertToken(tx, t, hash, actor.ID, parent); err != nil {
			return err
		}
		return record(tx, event.TokenCreated{OfAccount: of("token.create", t.ID, t.User)}, fmt.Sprintf("%s, scopes %v, service %v%s, until %s", t.Name, t.Scopes, t.Service, t.speaks(), t.ExpiresAt.Format(time.DateOnly)))
	})
	return t, secret, err
}

// DeleteToken deletes a token and the ones that were made with it: any of the actor's own for a person who is
// signed in, only itself and what was made with it for a token, and anybody's for who may manage people.
func (s *Service) DeleteToken(ctx context.Context, id string) error {
	actor := From(ctx)
	if actor.Nobody() {
		return actor.Require(ViewTeam, "")
	}
	return s.db.Write(ctx, func(tx *db.Tx) error {
		t, err := scanToken(tx.QueryRow(selectToken+" where t.id = $1", id))
		if errors.Is(err, db.ErrNoRows) || err == nil && t.User != actor.Name && !actor.Can(ManageUsers, "") {
			return fault.Missing("token", id)
		}
		if err != nil {
			return err
		}
		if err := mayDeleteToken(tx, actor, id); err != nil {
			return err
		}
		family, err := withMadeFrom(tx, t)
		if err != nil {
			return err
		}
		for _, t := range family {
			if err := deleteToken(tx, t.ID); err != nil {
				return err
			}
			if err := record(tx, event.TokenDeleted{OfAccount: of("token.delete", t.ID, t.User)}, t.Name+" of "+t.User); err != nil {
				return err
			}
		}
		return nil
	})
}

// mayDeleteToken returns nil if the actor may delete the token, which is their person's or which they see as one
// who manages people.
func mayDeleteToken(tx *db.Tx, actor Actor, id string) error {
	switch {
	case actor.Service:
		return fault.New(fault.Forbidden, "token.service", "A service token cannot delete tokens.").Do("Sign in as a person.")
	case actor.wholePerson() || actor.TokenID == id:
		return nil
	}
	for parent := id; parent != ""; {
		err := tx.QueryRow("select parent from token where id = $1", parent).Scan(&parent)
		switch {
		case errors.Is(err, db.ErrNoRows):
			parent = ""
		case err != nil:
			return err
		case parent == actor.TokenID:
			return nil
		}
	}
	return fault.New(fault.Forbidden, "token.other", "This token may delete only itself and the tokens that were made with it.").
		Do("Sign in at the page, or use a personal token with the scope admin.")
}

// withMadeFrom returns a token and all that were made with it, and with those.
func withMadeFrom(tx *db.Tx, t Token) ([]Token, error) {
	family := []Token{t}
	for i := 0; i < len(family); i++ {
		if err := lockToken(tx, family[i].ID); err != nil {
			return nil, err
		}
		made, err := db.Collect(tx, scanToken, selectToken+" where t.parent = $1 order by t.id", family[i].ID)
		if err != nil {
			return nil, err
		}
		family = append(family, made...)
	}
	return family, nil
}

// Users returns people by name, after a name.
func (s *Service) Users(ctx context.Context, after string, limit int) (users []User, err error) {
	if err := From(ctx).Require(ViewUsers, ""); err != nil {
		return nil, err
	}
	err = s.db.Read(ctx, func(tx *db.Tx) error { users, err = listUsers(tx, after, limit); return err })
	return users, err
}

// User returns one person, by name or id.
func (s *Service) User(ctx context.Context, name string) (u User, err error) {
	if err := From(ctx).Require(ViewUsers, ""); err != nil {
		return u, err
	}
	err = s.db.Read(ctx, func(tx *db.Tx) error { u, err = userByName(tx, name); return err })
	return u, err
}

// Teams returns teams by name, after a name.
func (s *Service) Teams(ctx context.Context, after string, limit int) (teams []Team, err error) {
	if err := From(ctx).Require(ViewTeam, ""); err != nil {
		return nil, err
	}
	err = s.db.Read(ctx, func(tx *db.Tx) error { teams, err = listTeams(tx, after, limit); return err })
	return teams, err
}

// Team returns one team with its members.
func (s *Service) Team(ctx context.Context, name string) (t Team, err error) {
	if err := From(ctx).Require(ViewTeam, ""); err != nil {
		return t, err
	}
	err = s.db.Read(ctx, func(tx *db.Tx) error { t, err = TeamByName(tx, name); return err })
	return t, err
}

// Tokens returns the actor's own tokens, or those of the person that an admin asks for, after an id.
func (s *Service) Tokens(ctx context.Context, person, after string, limit int) (tokens []Token, err error) {
	actor := From(ctx)
	if person == "" || person == actor.Name {
		person = actor.Name
	} else if err := actor.Require(ManageUsers, ""); err != nil {
		return nil, err
	}
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		tokens, err = db.Collect(tx, scanToken, selectToken+" where p.name = $1 and t.id > $2 order by t.id limit $3", person, after, int64(limit))
		return err
	})
	return tokens, err
}

// Log returns entries of the audit log, the newest first, from before a number. Empty words match all; an
// action without a verb matches every action of its noun.
func (s *Service) Log(ctx context.Context, subject, person, action, request string, before int64, limit int) (records []Record, err error) {
	if err := From(ctx).Require(ViewAudit, ""); err != nil {
		return nil, err
	}
	if err := checkAction(action); err != nil {
		return nil, err
	}
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		noun := strings.TrimSuffix(action, ".") + "."
		// What a client's own id names is what it named itself, and what went on for those requests.
		records, err = db.Collect(tx, scanRecord, selectRecord+` where seq < $1 and ($2 = '' or subject = $2) and ($3 = '' or name = $3)
			and ($4 = '' or action = $4 or substr(action, 1, $5) = $6) and ($7 = '' or request_id = $7 or client_request_id = $7
			or request_id in (select request_id from event where client_request_id = $7 union select request_id from audit where client_request_id = $7)) order by seq desc limit $8`,
			before, subject, person, action, int64(len(noun)), noun, request, int64(limit))
		return err
	})
	return records, err
}

// VerifyLog is Verify for those who may see the audit log.
func (s *Service) VerifyLog(ctx context.Context, kept Kept) (sound int64, last string, broken *Broken, err error) {
	if err := From(ctx).Require(ViewAudit, ""); err != nil {
		return 0, "", nil, err
	}
	return Verify(ctx, s.db, kept)
}

// accountFact is a fact about a person, a team, a token, a session or a setting.
type accountFact interface {
	event.Fact
	Account() event.OfAccount
}

// of returns the data of a fact about an account. If person is given, only that person sees the fact.
func of(action, subject, person string) event.OfAccount {
	return event.OfAccount{Subject: subject, Action: action, Person: person}
}

// record writes a fact about an account, and the same action to the audit log.
func record(tx *db.Tx, f accountFact, reason string) error {
	if err := event.Emit(tx, f); err != nil {
		return err
	}
	return Audit(tx, Entry{Action: f.Account().Action, Subject: f.Account().Subject, Decision: "done", Reason: reason})
}

// lockPeople makes rules about all people hold when two transactions would break them together, as two
// admins who demote each other.
func lockPeople(tx *db.Tx) error { return tx.Serialize() }

func (s *Service) hash(ctx context.Context, password string) (string, error) {
	release, err := s.known.acquire(ctx, From(ctx).ID)
	if err != nil {
		return "", err
	}
	defer release()
	return hashPassword(password), nil
}

func (u User) rights() string {
	return fmt.Sprintf("active %v, admin %v, disciplines %v", u.Active, u.Admin, u.Disciplines)
}

func (u User) etag() string { return web.ETag(u.ID, u.UpdatedAt.UnixMicro()) }
func (t Team) etag() string { return web.ETag(t.ID, t.UpdatedAt.UnixMicro()) }

// checkShown refuses a name or a title that people see otherwise than it is: it stands in lists, beside decisions and in
// the audit log.
func checkShown(field, text string) error {
	if plain.Line(text) == text {
		return nil
	}
	return fault.New(fault.Invalid, "name.hidden", "%s has a character that is not shown.", plain.Line(text)).Do("Leave it out.").At("body."+field, "a line of plain text")
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

func unique(list []string) []string {
	result := append([]string{}, list...)
	slices.Sort(result)
	return slices.Compact(result)
}

// address returns where a request comes from, without the port. Headers that a client can write are
// not believed.
func address(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	return host
}
