package account

import (
	"errors"
	"time"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/web"
)

const selectUser = "select id, name, title, admin, disciplines, active, created_at, updated_at, updated_by from person"

func scanUser(row db.Row) (u User, err error) {
	u.Teams = map[string]Role{}
	err = row.Scan(&u.ID, &u.Name, &u.Title, &u.Admin, db.Into(&u.Disciplines), &u.Active, &u.CreatedAt, &u.UpdatedAt, &u.UpdatedBy)
	return u, err
}

// userByName returns a person by name or id.
func userByName(tx *db.Tx, name string) (User, error) {
	u, err := scanUser(tx.QueryRow(selectUser+" where name = $1 or id = $1", name))
	if errors.Is(err, db.ErrNoRows) {
		return u, fault.Missing("user", name)
	}
	if err == nil {
		u.Teams, err = teamsOf(tx, u.ID)
	}
	return u, err
}

func teamsOf(tx *db.Tx, person string) (map[string]Role, error) {
	type membership struct {
		team string
		role Role
	}
	list, err := db.Collect(tx, func(row db.Row) (m membership, err error) {
		err = row.Scan(&m.team, &m.role)
		return m, err
	}, "select t.name, m.role from member m join team t on t.id = m.team where m.person = $1", person)
	teams := make(map[string]Role, len(list))
	for _, m := range list {
		teams[m.team] = m.role
	}
	return teams, err
}

func listUsers(tx *db.Tx, after string, limit int) ([]User, error) {
	users, err := db.Collect(tx, scanUser, selectUser+" where name > $1 order by name limit $2", after, int64(limit))
	for i := range users {
		if err != nil {
			break
		}
		users[i].Teams, err = teamsOf(tx, users[i].ID)
	}
	return users, err
}

func insertUser(tx *db.Tx, u User, password string) error {
	web.Touch(tx, web.Topic{Noun: web.NounUser, ID: u.Name, Everybody: true})
	_, err := tx.Exec(`insert into person (id, name, title, password, admin, disciplines, active, created_at, updated_at, updated_by)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		u.ID, u.Name, u.Title, password, u.Admin, db.JSON(u.Disciplines), u.Active, u.CreatedAt, u.UpdatedAt, u.UpdatedBy)
	if db.IsUnique(err) {
		return fault.New(fault.Conflict, "user.taken", "There is already a user %q.", u.Name).Do("Choose another name.").At("body.name", "taken")
	}
	return err
}

func updateUser(tx *db.Tx, u User) error {
	web.Touch(tx, web.Topic{Noun: web.NounUser, ID: u.Name, Everybody: true})
	_, err := tx.Exec("update person set title = $1, admin = $2, disciplines = $3, active = $4, updated_at = $5, updated_by = $6 where id = $7",
		u.Title, u.Admin, db.JSON(u.Disciplines), u.Active, u.UpdatedAt, u.UpdatedBy, u.ID)
	return err
}

func setPassword(tx *db.Tx, person, hash string) error {
	// It is nothing that an edit of the person shows, so it makes none stale.
	_, err := tx.Exec("update person set password = $1 where id = $2", hash, person)
	return err
}

// passwordOf returns what a sign-in needs. The hash is empty for a name that nobody has.
func passwordOf(tx *db.Tx, name string) (person, hash string, active bool, err error) {
	err = tx.QueryRow("select id, password, active from person where name = $1", name).Scan(&person, &hash, &active)
	if errors.Is(err, db.ErrNoRows) {
		err = nil
	}
	return person, hash, active, err
}

func countPeople(tx *db.Tx, where string, args ...any) (n int64, err error) {
	err = tx.QueryRow("select count(*) from person where "+where, args...).Scan(&n)
	return n, err
}

func insertSession(tx *db.Tx, hash, person, address, browser string, expires time.Time) error {
	if _, err := tx.Exec("delete from session where expires_at < $1", tx.Now()); err != nil {
		return err
	}
	web.Touch(tx, web.Topic{Noun: web.NounSession, Person: person})
	_, err := tx.Exec("insert into session (hash, id, person, address, browser, created_at, expires_at) values ($1, $2, $3, $4, $5, $6, $7)",
		hash, db.NewID("ses"), person, address, browser, tx.Now(), expires)
	return err
}

// extendSession touches nothing: every page does it by being open.
func extendSession(tx *db.Tx, hash string, expires time.Time) error {
	_, err := tx.Exec("update session set expires_at = $1 where hash = $2", expires, hash)
	return err
}

func deleteSession(tx *db.Tx, hash string) error { return endSession(tx, "hash", hash) }

// endSession deletes the session whose column has the value.
func endSession(tx *db.Tx, column, value string) error {
	var person string
	err := tx.QueryRow("delete from session where "+column+" = $1 returning person", value).Scan(&person)
	if errors.Is(err, db.ErrNoRows) {
		return nil
	}
	web.Touch(tx, web.Topic{Noun: web.NounSession, Person: person})
	return err
}

// deleteSessions ends a person's sessions except one, which may be empty.
func deleteSessions(tx *db.Tx, person, except string) error {
	web.Touch(tx, web.Topic{Noun: web.NounSession, Person: person})
	_, err := tx.Exec("delete from session where person = $1 and hash <> $2", person, except)
	return err
}

func deleteTokens(tx *db.Tx, person string) error {
	web.Touch(tx, web.Topic{Noun: web.NounToken, Person: person})
	_, err := tx.Exec("delete from token where person = $1", person)
	return err
}

// actorBySession returns the actor of a session and when the session ends; ErrNoRows if there is none.
func actorBySession(tx *db.Tx, hash string) (a Actor, expires time.Time, err error) {
	err = tx.QueryRow(`select p.id, p.name, p.admin, p.disciplines, s.expires_at from session s join person p on p.id = s.person
		where s.hash = $1 and p.active`, hash).Scan(&a.ID, &a.Name, &a.Admin, db.Into(&a.Disciplines), &expires)
	if err == nil {
		a.session = hash
		a.Teams, err = teamsOf(tx, a.ID)
	}
	return a, expires, err
}

// actorByToken returns the actor of a token and when the token ends; ErrNoRows if there is none.
func actorByToken(tx *db.Tx, hash string) (a Actor, expires time.Time, err error) {
	var team string
	err = tx.QueryRow(`select p.id, p.name, p.admin, p.disciplines, t.id, t.service, t.scopes, t.expires_at, t.system, t.team, t.app from token t join person p on p.id = t.person
		where t.hash = $1 and p.active`, hash).
		Scan(&a.ID, &a.Name, &a.Admin, db.Into(&a.Disciplines), &a.TokenID, &a.Service, db.Into(&a.Scopes), &expires, &a.System, &team, &a.App)
	if err == nil {
		a.Teams, err = teamsOf(tx, a.ID)
	}
	if a.System != "" {
		a = a.speaking(team)
	}
	return a, expires, err
}

// ActorOf returns the actor that stands for a person now, for work that was asked for earlier. It does
// not exist for a person who was deactivated meanwhile: fault user.not_found.
func ActorOf(tx *db.Tx, person string) (Actor, error) {
	u, err := userByName(tx, person)
	if err == nil && !u.Active {
		err = fault.Missing("user", person)
	}
	return Actor{ID: u.ID, Name: u.Name, Admin: u.Admin, Disciplines: u.Disciplines, Teams: u.Teams}, err
}

// NameOf returns the name of the person with this id, or the id where there is none: the platform has no person.
func NameOf(tx *db.Tx, id string) (name string, err error) {
	err = tx.QueryRow("select name from person where id = $1", id).Scan(&name)
	if errors.Is(err, db.ErrNoRows) {
		return id, nil
	}
	return name, err
}

func insertToken(tx *db.Tx, t Token, hash, person, parent string) error {
	web.Touch(tx, web.Topic{Noun: web.NounToken, ID: t.ID, Person: person})
	_, err := tx.Exec("insert into token (id, hash, person, name, scopes, service, created_at, expires_at, parent, system, team, app) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
		t.ID, hash, person, t.Name, db.JSON(t.Scopes), t.Service, t.CreatedAt, t.ExpiresAt, parent, t.System, t.Team, t.App)
	return err
}

func deleteToken(tx *db.Tx, id string) error {
	var person string
	err := tx.QueryRow("delete from token where id = $1 returning person", id).Scan(&person)
	if errors.Is(err, db.ErrNoRows) {
		return nil
	}
	web.Touch(tx, web.Topic{Noun: web.NounToken, ID: id, Person: person})
	return err
}

// lockToken lets no other transaction make a token with this one, or delete it, before the end of this transaction.
func lockToken(tx *db.Tx, id string) error {
	_, err := tx.Exec("update token set parent = parent where id = $1", id)
	return err
}

const selectToken = "select t.id, t.name, p.name, t.scopes, t.service, t.created_at, t.expires_at, t.system, t.team, t.app from token t join person p on p.id = t.person"

func scanToken(row db.Row) (t Token, err error) {
	err = row.Scan(&t.ID, &t.Name, &t.User, db.Into(&t.Scopes), &t.Service, &t.CreatedAt, &t.ExpiresAt, &t.System, &t.Team, &t.App)
	return t, err
}

const selectTeam = "select id, name, title, created_at, updated_at, updated_by from team"

func scanTeam(row db.Row) (t Team, err error) {
	err = row.Scan(&t.ID, &t.Name, &t.Title, &t.CreatedAt, &t.UpdatedAt, &t.UpdatedBy)
	return t, err
}

// TeamByName returns a team by name or id, with its members.
func TeamByName(tx *db.Tx, name string) (Team, error) { return teamByName(tx, name, "") }

func teamByName(tx *db.Tx, name, lock string) (Team, error) {
	t, err := scanTeam(tx.QueryRow(selectTeam+" where name = $1 or id = $1"+lock, name))
	if errors.Is(err, db.ErrNoRows) {
		return t, fault.Missing("team", name)
	}
	if err == nil {
		t.Members, err = membersOf(tx, t.ID)
	}
	return t, err
}

// TeamFor returns the team that is to own something new, if the actor may do p there. Everybody may know
// of a team, so a refusal says why.
func TeamFor(tx *db.Tx, p Permission, name string) (Team, error) {
	actor := From(tx.Context())
	if actor.Nobody() {
		return Team{}, actor.Require(p, name)
	}
	t, err := TeamByName(tx, name)
	if fault.Is(err, "team.not_found") {
		return t, fault.Missing("team", name).At("team", "not a team")
	}
	if err != nil {
		return t, err
	}
	if err = actor.Require(p, t.Name); fault.Is(err, "not_found") {
		err = fault.New(fault.Forbidden, "permission.denied", "You are not in the team %s.", t.Name).Do("Ask %s.", rules[p].who(t.Name))
	}
	return t, err
}

func membersOf(tx *db.Tx, team string) ([]Member, error) {
	return db.Collect(tx, func(row db.Row) (m Member, err error) {
		err = row.Scan(&m.User, &m.Title, &m.Role)
		return m, err
	}, "select p.name, p.title, m.role from member m join person p on p.id = m.person where m.team = $1 order by p.name", team)
}

func listTeams(tx *db.Tx, after string, limit int) ([]Team, error) {
	teams, err := db.Collect(tx, scanTeam, selectTeam+" where name > $1 order by name limit $2", after, int64(limit))
	for i := range teams {
		if err != nil {
			break
		}
		teams[i].Members, err = membersOf(tx, teams[i].ID)
	}
	return teams, err
}

func insertTeam(tx *db.Tx, t Team) error {
	web.Touch(tx, web.Topic{Noun: web.NounTeam, ID: t.Name, Everybody: true})
	_, err := tx.Exec("insert into team (id, name, title, created_at, updated_at, updated_by) values ($1, $2, $3, $4, $5, $6)", t.ID, t.Name, t.Title, t.CreatedAt, t.UpdatedAt, t.UpdatedBy)
	if db.IsUnique(err) {
		return fault.New(fault.Conflict, "team.taken", "There is already a team %q.", t.Name).Do("Choose another name.").At("body.name", "taken")
	}
	return err
}

// touchTeam writes a team of which something has changed, or who is in it.
func touchTeam(tx *db.Tx, t Team) error {
	web.Touch(tx, web.Topic{Noun: web.NounTeam, ID: t.Name, Everybody: true})
	_, err := tx.Exec("update team set title = $1, updated_at = $2, updated_by = $3 where id = $4", t.Title, t.UpdatedAt, t.UpdatedBy, t.ID)
	return err
}

func deleteTeam(tx *db.Tx, t Team) error {
	web.Touch(tx, web.Topic{Noun: web.NounTeam, ID: t.Name, Everybody: true})
	if _, err := tx.Exec("delete from member where team = $1", t.ID); err != nil {
		return err
	}
	_, err := tx.Exec("delete from team where id = $1", t.ID)
	return err
}

// putMember and deleteMember are followed by touchTeam.
func putMember(tx *db.Tx, team, person string, role Role) error {
	_, err := tx.Exec("insert into member (team, person, role) values ($1, $2, $3) on conflict (team, person) do update set role = excluded.role",
		team, person, string(role))
	return err
}

func deleteMember(tx *db.Tx, team, person string) (int64, error) {
	return tx.Exec("delete from member where team = $1 and person = $2", team, person)
}
