package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/secret"
	"flywheel.dev/flywheel/internal/web"
)

const appColumns = `id, name, title, team, former_teams, state, pin, description, created_by, created_at, removed_by, removed_at`

func scanApp(r db.Row) (App, error) {
	var a App
	err := r.Scan(&a.ID, &a.Name, &a.Title, &a.Team, db.Into(&a.FormerTeams), &a.State, db.Into(&a.Pin), db.Into(&a.Description), &a.CreatedBy, &a.CreatedAt, &a.RemovedBy, &a.RemovedAt)
	return a, err
}

// Find returns the app with this name, or a fault that it is missing. Removed apps are not there, which those who
// may read their history are told.
func Find(tx *db.Tx, name string) (App, error) {
	a, err := Known(tx, name)
	if err == nil && a.State == Removed {
		if !account.From(tx.Context()).Sees(a.Team) {
			return App{}, fault.Missing("app", name)
		}
		return App{}, fault.New(fault.NotFound, "app.removed", "The app %s was removed on %s.", name, a.RemovedAt.Format(time.DateOnly)).
			Do("Its code and history can be read: git clone, and flywheel change list --app %s.", name)
	}
	return a, err
}

// Known returns the app with this name, also a removed one: its history can be read.
func Known(tx *db.Tx, name string) (App, error) { return known(tx, name, "") }

func known(tx *db.Tx, name, lock string) (App, error) {
	a, err := scanApp(tx.QueryRow(`select `+appColumns+` from app where name = $1`+lock, name))
	if errors.Is(err, db.ErrNoRows) {
		return App{}, fault.Missing("app", name)
	}
	return a, err
}

// touch tells the pages that an app, or what runs of it, has changed.
func touch(tx *db.Tx, name string) {
	web.Touch(tx, web.Topic{Noun: web.NounApp, ID: name, App: name})
}

// touchOf is touch for what a team may not see any more afterwards, or not yet.
func touchOf(tx *db.Tx, name, team string) {
	web.Touch(tx, web.Topic{Noun: web.NounApp, ID: name, App: name, Team: team})
}

func insertApp(tx *db.Tx, a App) error {
	touch(tx, a.Name)
	_, err := tx.Exec(`insert into app (`+appColumns+`) values ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12)`,
		a.ID, a.Name, a.Title, a.Team, db.JSON(a.FormerTeams), a.State, db.JSON(a.Pin), db.JSON(a.Description), a.CreatedBy, a.CreatedAt, a.RemovedBy, a.RemovedAt)
	if db.IsUnique(err) {
		return fault.New(fault.Conflict, "app.name_taken", "There is already an app named %q.", a.Name).Do("Choose another name.").At("name", "taken")
	}
	return err
}

func deleteApp(tx *db.Tx, a App) error {
	touchOf(tx, a.Name, a.Team)
	if _, err := tx.Exec(`delete from upload where app = $1`, a.Name); err != nil {
		return err // another app may get the name
	}
	_, err := tx.Exec(`delete from app where id = $1`, a.ID)
	return err
}

// setTeam gives an app to a team, if it is still as it was when that was decided.
func setTeam(tx *db.Tx, a App, team string) error {
	now, err := known(tx, a.Name, tx.ForUpdate())
	if err != nil {
		return err
	}
	if now.Team != a.Team || now.State != a.State {
		return fault.New(fault.Conflict, "app.changed", "The app %s was given away or removed at the same moment.", a.Name).Do("Look at it again: flywheel app show %s.", a.Name)
	}
	a = now
	touchOf(tx, a.Name, a.Team)
	former := slices.DeleteFunc(append(a.FormerTeams, a.Team), func(one string) bool { return one == team })
	_, err = tx.Exec(`update app set team = $2, former_teams = $3 where id = $1`, a.ID, team, db.JSON(former))
	return err
}

// CheckSeen returns a fault that the app is missing if there is none of the name, removed or not, that the
// actor may see.
func CheckSeen(tx *db.Tx, name string) error {
	a, err := Known(tx, name)
	if err != nil {
		return err
	}
	return account.From(tx.Context()).RequireOf(account.ViewApp, a.Team, "app", name)
}

// CheckNamed is CheckSeen for the filters of a list: without it the list of what is not there would look like
// one of which there is nothing. Either may be empty.
func CheckNamed(tx *db.Tx, name, environment string) error {
	if name != "" {
		if err := CheckSeen(tx, name); err != nil {
			return err
		}
	}
	if environment != "" && !account.From(tx.Context()).Nobody() {
		_, err := FindEnvironment(tx, environment)
		return err
	}
	return nil
}

// SetDescription records what main describes now, with its pin.
func SetDescription(tx *db.Tx, name string, d Description) error {
	touch(tx, name)
	_, err := tx.Exec(`update app set description = $2, pin = $3 where name = $1`, name, db.JSON(d), db.JSON(d.Pin))
	return err
}

// RemoveIfGone marks an app removed, by the person with the id by, when its main selects no environment and
// no instance of it is left. Its repository and its history stay, and so does its name, which they carry; its
// secrets go.
func RemoveIfGone(tx *db.Tx, name, by string) error {
	a, err := Find(tx, name)
	if err != nil || a.Pin.Pattern == "" || len(a.Description.Environments) > 0 {
		return err
	}
	left, err := Instances(tx, name)
	if err != nil || len(left) > 0 {
		return err
	}
	if err := secret.DeleteAll(tx, name, ""); err != nil {
		return err
	}
	if err := event.Emit(tx, event.AppRemoved{App: name, Team: a.Team}); err != nil {
		return err
	}
	person, err := account.NameOf(tx, by)
	if err != nil {
		return err
	}
	touch(tx, name)
	_, err = tx.Exec(`update app set state = $2, removed_by = $3, removed_at = $4 where name = $1`, name, Removed, person, tx.Now())
	return err
}

// all returns the apps that match, by name, after a cursor.
func all(tx *db.Tx, f Filter, after string, limit int) ([]App, error) {
	words := "%" + strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(strings.ToLower(f.Words)) + "%"
	return db.Collect(tx, scanApp, `select `+appColumns+` from app where (state = 'removed') = $1 and name > $2 and ($3 = '' or team = $3)
		and (lower(name) like $4 escape '!' or lower(title) like $4 escape '!' or lower(team) like $4 escape '!') order by name limit $5`,
		f.Removed, after, f.Team, words, limit)
}

const environmentColumns = `name, class, position, after_name, target, on_newer, coe_values, network, reach, freezes, updated_at, updated_by`

func scanEnvironment(r db.Row) (Environment, error) {
	var e Environment
	err := r.Scan(&e.Name, &e.Class, &e.Order, &e.After, &e.Target, &e.OnNewer, db.Into(&e.Values), &e.Network, db.Into(&e.Reach), db.Into(&e.Freezes), &e.UpdatedAt, &e.UpdatedBy)
	return e, err
}

// Environments returns all environments in the order a change reaches them.
func Environments(tx *db.Tx) ([]Environment, error) {
	return db.Collect(tx, scanEnvironment, `select `+environmentColumns+` from environment order by position, name`)
}

// Place is where an environment stands in the order of all; the empty one is before the first.
type Place struct {
	Order int    `json:"order"`
	Name  string `json:"name"`
}

func environmentsAfter(tx *db.Tx, after Place, limit int) ([]Environment, error) {
	return db.Collect(tx, scanEnvironment, `select `+environmentColumns+` from environment where position > $1 or (position = $1 and name > $2)
		order by position, name limit $3`, after.Order, after.Name, limit)
}

// lockEnvironments returns all environments in their order, and lets nobody else change one until the transaction
// has ended.
func lockEnvironments(tx *db.Tx) ([]Environment, error) {
	list, err := db.Collect(tx, scanEnvironment, `select `+environmentColumns+` from environment order by name`+tx.ForUpdate())
	return InOrder(list), err
}

func touchEnvironment(tx *db.Tx, name string) {
	web.Touch(tx, web.Topic{Noun: web.NounEnvironment, ID: name, Everybody: true})
}

// saveEnvironment writes what somebody says about an environment, new or again.
func saveEnvironment(tx *db.Tx, e Environment, create bool) error {
	touchEnvironment(tx, e.Name)
	args := []any{e.Name, e.Class, e.Order, e.After, e.Target, e.OnNewer, db.JSON(e.Values), e.Network, db.JSON(e.Reach), db.JSON(e.Freezes), e.UpdatedAt, e.UpdatedBy}
	if create {
		_, err := tx.Exec(`insert into environment (`+environmentColumns+`, created_at) values ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$11)`, args...)
		if db.IsUnique(err) { // made at the same moment
			return nameTaken(e.Name)
		}
		return err
	}
	_, err := tx.Exec(`update environment set class = $2, position = $3, after_name = $4, target = $5, on_newer = $6, coe_values = $7, network = $8, reach = $9, freezes = $10,
		updated_at = $11, updated_by = $12 where name = $1`, args...)
	return err
}

// setOrder writes the place of an environment, which another one may have moved.
func setOrder(tx *db.Tx, e Environment) error {
	n, err := tx.Exec(`update environment set position = $2 where name = $1 and position <> $2`, e.Name, e.Order)
	if n > 0 {
		touchEnvironment(tx, e.Name)
	}
	return err
}

// deleteEnvironment deletes an environment that no app is in. A later one of its name does not inherit secrets
// or waivers.
func deleteEnvironment(tx *db.Tx, name string) error {
	touchEnvironment(tx, name)
	web.Touch(tx, web.Topic{Noun: web.NounWaiver, Everybody: true}) // of which apps is not said
	if err := secret.DeleteAll(tx, "", name); err != nil {
		return err
	}
	_, err := tx.Exec(`update waiver set state = case state when 'granted' then 'revoked' else 'declined' end, decision = 'the environment was deleted',
		ended_at = case state when 'granted' then coalesce(ended_at, $2) end, decided_by = $3, updated_at = $2 where environment = $1 and state in ('granted', 'requested')`,
		name, tx.Now(), account.From(tx.Context()).Name)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`delete from environment where name = $1`, name)
	return err
}

// appsIn returns the names of the apps that run in an environment, or whose main selects it.
func appsIn(tx *db.Tx, environment string) ([]string, error) {
	in, err := db.Collect(tx, func(r db.Row) (name string, err error) { return name, r.Scan(&name) },
		`select app from instance where environment = $1 and state <> 'removed'`, environment)
	if err != nil {
		return nil, err
	}
	all, err := db.Collect(tx, scanApp, `select `+appColumns+` from app where state <> 'removed'`)
	for _, a := range all {
		if _, selected := a.Description.Environments[environment]; selected {
			in = append(in, a.Name)
		}
	}
	slices.Sort(in)
	return slices.Compact(in), err
}

// FindEnvironment returns one environment, or a fault that it is missing.
func FindEnvironment(tx *db.Tx, name string) (Environment, error) {
	e, err := scanEnvironment(tx.QueryRow(`select `+environmentColumns+` from environment where name = $1`, name))
	if errors.Is(err, db.ErrNoRows) {
		return Environment{}, fault.Missing("environment", name)
	}
	return e, err
}

// ComesBefore reports whether a change reaches the one environment before the other.
func ComesBefore(tx *db.Tx, one, other string) (bool, error) {
	first, err := FindEnvironment(tx, one)
	if err != nil {
		return false, err
	}
	second, err := FindEnvironment(tx, other)
	return first.Order < second.Order, err
}

const instanceColumns = `id, app, environment, state, reason, deployed, url, running, fence, pinned_by, updated_at`

func scanInstance(r db.Row) (Instance, error) {
	var i Instance
	err := r.Scan(&i.ID, &i.App, &i.Environment, &i.State, &i.Reason, db.Into(&i.Deployed), &i.URL, &i.Running, &i.Fence, &i.PinnedBy, &i.UpdatedAt)
	return i, err
}

// FindInstance returns the app's instance in the environment, or a fault that it is missing.
func FindInstance(tx *db.Tx, app, environment string) (Instance, error) {
	return findInstance(tx, app, environment, "")
}

func findInstance(tx *db.Tx, app, environment, lock string) (Instance, error) {
	i, err := scanInstance(tx.QueryRow(`select `+instanceColumns+` from instance where app = $1 and environment = $2`+lock, app, environment))
	if errors.Is(err, db.ErrNoRows) {
		return Instance{}, fault.Missing("instance", app+"/"+environment)
	}
	return i, err
}

// EnsureInstance returns the app's instance in the environment, locked, and makes it on first use.
func EnsureInstance(tx *db.Tx, app, environment string) (Instance, error) {
	i, err := findInstance(tx, app, environment, tx.ForUpdate())
	if !fault.Is(err, "instance.not_found") {
		return i, err
	}
	touch(tx, app)
	_, err = tx.Exec(`insert into instance (id, app, environment, state, deployed, updated_at) values ($1,$2,$3,$4,$5,$6)
		on conflict (app, environment) do nothing`, db.NewID("ins"), app, environment, New, db.JSON(Desired{}), tx.Now())
	if err != nil {
		return Instance{}, err
	}
	return findInstance(tx, app, environment, tx.ForUpdate())
}

// Instances returns an app's instances in the order of their environments.
func Instances(tx *db.Tx, app string) ([]Instance, error) {
	return db.Collect(tx, scanInstance, `select i.id, i.app, i.environment, i.state, i.reason, i.deployed, i.url, i.running, i.fence, i.pinned_by, i.updated_at
		from instance i join environment e on e.name = i.environment where i.app = $1 and i.state <> 'removed' order by e.position, e.name`, app)
}

// Deployed returns what is deployed of an app, by environment.
func Deployed(tx *db.Tx, app string) (map[string]Desired, error) {
	instances, err := Instances(tx, app)
	deployed := map[string]Desired{}
	for _, i := range instances {
		deployed[i.Environment] = i.Deployed
	}
	return deployed, err
}

// InstancesOf returns every live instance whose app runs on the pattern.
func InstancesOf(tx *db.Tx, pattern string) ([]Instance, error) {
	return db.Collect(tx, scanInstance, `select `+instanceColumns+` from instance where pattern = $1 and state <> 'removed' order by app, environment`, pattern)
}

// LockInstances returns all instances of an app, removed ones too, by id, and lets nobody else lock or change them
// until the transaction has ended. Every transaction that decides about deployments of the app, or about several of
// its changes, begins with it: what happens in one environment may begin something in the next. The instances of
// several apps are locked in the order of the apps' names.
func LockInstances(tx *db.Tx, app string) ([]Instance, error) {
	found, err := db.Collect(tx, scanInstance, lockInstances+tx.ForUpdate(), app)
	if err != nil || len(found) > 0 {
		return found, err
	}
	// An app that was never deployed has no row to wait at. Whoever comes now waits for its name, and looks again:
	// the one before may have made the first instance.
	if err := tx.Lock(app); err != nil {
		return nil, err
	}
	return db.Collect(tx, scanInstance, lockInstances+tx.ForUpdate(), app)
}

const lockInstances = `select ` + instanceColumns + ` from instance where app = $1 order by id`

// What follows writes what changes about an instance when something happens to it, and nothing else. The
// caller has locked it.

// Occupy gives an instance to a deployment. The fence it raises makes every older run of the instance powerless.
func Occupy(tx *db.Tx, i *Instance, deployment string) error {
	i.Running, i.Fence, i.State = deployment, i.Fence+1, Deploying
	touch(tx, i.App)
	_, err := tx.Exec(`update instance set running = $2, fence = $3, state = $4, updated_at = $5 where id = $1`, i.ID, i.Running, i.Fence, i.State, tx.Now())
	return err
}

// Tell says how an instance is that goes on to be a deployment's.
func Tell(tx *db.Tx, i *Instance, state InstanceState, reason string) error {
	i.State, i.Reason = state, reason
	touch(tx, i.App)
	_, err := tx.Exec(`update instance set state = $2, reason = $3, updated_at = $4 where id = $1`, i.ID, i.State, i.Reason, tx.Now())
	return err
}

// Leave gives an instance free on which nothing new is deployed, and says how it is.
func Leave(tx *db.Tx, i *Instance, state InstanceState, reason string) error {
	i.State, i.Reason, i.Running = state, reason, ""
	touch(tx, i.App)
	_, err := tx.Exec(`update instance set state = $2, reason = $3, running = '', updated_at = $4 where id = $1`, i.ID, i.State, i.Reason, tx.Now())
	return err
}

// Arrive records what is deployed on an instance now, and gives it free. The zero Desired removes it.
func Arrive(tx *db.Tx, i *Instance, deployed Desired, url, reason string) error {
	i.State, i.Reason, i.Deployed, i.URL, i.Running = Healthy, reason, deployed, url, ""
	if deployed.IsZero() {
		i.State, i.URL = Gone, ""
	}
	touch(tx, i.App)
	_, err := tx.Exec(`update instance set state = $2, reason = $3, deployed = $4, pattern = $5, url = $6, running = '', updated_at = $7 where id = $1`,
		i.ID, i.State, i.Reason, db.JSON(i.Deployed), i.Deployed.Pattern, i.URL, tx.Now())
	return err
}

// PinTo stops changes at an instance where the one with this id was rolled back; "" lets them pass again.
func PinTo(tx *db.Tx, i *Instance, change string) error {
	i.PinnedBy = change
	touch(tx, i.App)
	_, err := tx.Exec(`update instance set pinned_by = $2, updated_at = $3 where id = $1`, i.ID, i.PinnedBy, tx.Now())
	return err
}

// OfTeam says what still belongs to a team, for example "the app storefront", or "" if nothing does.
func OfTeam(tx *db.Tx, team string) (string, error) {
	var name string
	err := tx.QueryRow(`select name from app where team = $1 and state <> 'removed' order by name limit 1`, team).Scan(&name)
	if errors.Is(err, db.ErrNoRows) {
		return "", nil
	}
	return "the app " + name, err
}

// Teams returns the team of every app, removed or not, by the app's name.
func Teams(tx *db.Tx) (map[string]string, error) {
	list, err := db.Collect(tx, func(r db.Row) (a [2]string, err error) { return a, r.Scan(&a[0], &a[1]) },
		`select name, team from app`)
	teams := make(map[string]string, len(list))
	for _, a := range list {
		teams[a[0]] = a[1]
	}
	return teams, err
}

// TeamsOf is Teams of some apps, for a question that is asked often.
func TeamsOf(tx *db.Tx, names []string) (map[string]string, error) {
	teams := make(map[string]string, len(names))
	for some := range slices.Chunk(names, 100) {
		places, args := make([]string, len(some)), make([]any, len(some))
		for i, name := range some {
			places[i], args[i] = fmt.Sprintf("$%d", i+1), name
		}
		list, err := db.Collect(tx, func(r db.Row) (a [2]string, err error) { return a, r.Scan(&a[0], &a[1]) },
			`select name, team from app where name in (`+strings.Join(places, ",")+`)`, args...)
		if err != nil {
			return nil, err
		}
		for _, a := range list {
			teams[a[0]] = a[1]
		}
	}
	return teams, nil
}

// Visible returns a test of whether the actor may see an app, removed or not, for lists over many apps.
func Visible(tx *db.Tx, actor account.Actor) (func(app string) bool, error) {
	if actor.SeesAll() {
		return func(string) bool { return true }, nil
	}
	teams, err := Teams(tx)
	return func(app string) bool {
		team, there := teams[app]
		return there && actor.Sees(team)
	}, err
}

// Artifact returns the digest of the artifact that was built from an app's source, or "" if none was yet. What
// another app made of the same source does not count: its outer CI could have sent anything.
func Artifact(tx *db.Tx, app, source string) (digest string, err error) {
	err = tx.QueryRow(`select digest from artifact where app = $1 and source = $2`, app, source).Scan(&digest)
	if errors.Is(err, db.ErrNoRows) {
		return "", nil
	}
	return digest, err
}

func saveArtifact(tx *db.Tx, source, app, digest string, size int64) error {
	_, err := tx.Exec(`insert into artifact (source, app, digest, size, built_at) values ($1,$2,$3,$4,$5)
		on conflict (app, source) do nothing`, source, app, digest, size, tx.Now())
	return err
}

// HasArtifact reports whether the artifact was built from, or uploaded for, the app; for no app, whether it was
// uploaded for patterns. Who only knows a digest has nothing by it.
func HasArtifact(tx *db.Tx, app, digest string) (bool, error) {
	var n int64
	err := tx.QueryRow(`select (select count(*) from upload where app = $1 and digest = $2) + (select count(*) from artifact where app = $1 and digest = $2)`, app, digest).Scan(&n)
	return n > 0, err
}

func saveUpload(tx *db.Tx, app, digest string) error {
	_, err := tx.Exec(`insert into upload (app, digest, actor, uploaded_at) values ($1,$2,$3,$4) on conflict (app, digest) do nothing`,
		app, digest, account.From(tx.Context()).ID, tx.Now())
	return err
}

const waiverColumns = `id, app, environment, variable, value, bound, reason, state, until, ended_at, asked_by, asked_name, decided_by, decision, created_at, updated_at`

// scanWaiver reads a waiver as it is at a time.
func scanWaiver(at time.Time) func(db.Row) (Waiver, error) {
	return func(r db.Row) (w Waiver, err error) {
		err = r.Scan(&w.ID, &w.App, &w.Environment, &w.Variable, db.Into(&w.Value), &w.Bound, &w.Reason, &w.State, &w.Until, &w.EndedAt, &w.askedBy, &w.AskedBy,
			&w.DecidedBy, &w.Decision, &w.CreatedAt, &w.UpdatedAt)
		if w.InForce = w.inForce(at); w.State == Granted && !w.InForce && w.EndedAt == nil {
			w.EndedAt = w.Until // also before that is noted
		}
		return w, err
	}
}

func findWaiver(tx *db.Tx, id string) (Waiver, error) { return readWaiver(tx, id, "") }

func readWaiver(tx *db.Tx, id, lock string) (Waiver, error) {
	w, err := scanWaiver(tx.Now())(tx.QueryRow(`select `+waiverColumns+` from waiver where id = $1`+lock, id))
	if errors.Is(err, db.ErrNoRows) {
		return w, fault.Missing("waiver", id)
	}
	return w, err
}

func touchWaiver(tx *db.Tx, w Waiver) {
	web.Touch(tx, web.Topic{Noun: web.NounWaiver, ID: w.ID, App: w.App})
}

func saveWaiver(tx *db.Tx, w Waiver) error {
	touchWaiver(tx, w)
	_, err := tx.Exec(`insert into waiver (`+waiverColumns+`) values ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16)
		on conflict (id) do update set state = excluded.state, until = excluded.until, ended_at = excluded.ended_at, decided_by = excluded.decided_by, decision = excluded.decision, updated_at = excluded.updated_at`,
		w.ID, w.App, w.Environment, w.Variable, db.JSON(w.Value), w.Bound, w.Reason, w.State, w.Until, w.EndedAt, w.askedBy, w.AskedBy, w.DecidedBy, w.Decision, w.CreatedAt, w.UpdatedAt)
	return err
}

// Waivers returns the waivers of an app, newest first.
func Waivers(tx *db.Tx, name string) ([]Waiver, error) {
	return db.Collect(tx, scanWaiver(tx.Now()), `select `+waiverColumns+` from waiver where app = $1 order by id desc`, name)
}

// WaiversInForce returns those that are granted and have not ended, by app.
func WaiversInForce(tx *db.Tx) (map[string][]Waiver, error) {
	list, err := db.Collect(tx, scanWaiver(tx.Now()), `select `+waiverColumns+` from waiver where state = 'granted' and until > $1`, tx.Now())
	byApp := map[string][]Waiver{}
	for _, w := range list {
		byApp[w.App] = append(byApp[w.App], w)
	}
	return byApp, err
}

// takeWaiver returns a waiver that nobody else decides about until the transaction has ended.
func takeWaiver(tx *db.Tx, id string) (Waiver, error) {
	return readWaiver(tx, id, tx.ForUpdate())
}

// dueWaivers returns the granted waivers whose end has come and was not told yet.
func dueWaivers(tx *db.Tx) ([]Waiver, error) {
	return db.Collect(tx, scanWaiver(tx.Now()), `select `+waiverColumns+` from waiver where state = 'granted' and ended_at is null and until <= $1 order by until`, tx.Now())
}

// noteEnd records the end of a waiver and reports whether that was news.
func noteEnd(tx *db.Tx, w Waiver) (bool, error) {
	n, err := tx.Exec(`update waiver set ended_at = until, updated_at = $2 where id = $1 and state = 'granted' and ended_at is null and until <= $2`, w.ID, tx.Now())
	if n == 1 {
		touchWaiver(tx, w)
	}
	return n == 1, err
}

// allWaivers returns the waivers that a filter lets through, newest first, from before a cursor.
func allWaivers(tx *db.Tx, filter WaiverFilter, before string, limit int) ([]Waiver, error) {
	state := string(filter.State)
	within := "" // the end date tells a granted one in force from one that has ended
	switch filter.State {
	case Granted:
		within = " and until > $6"
	case Ended:
		state, within = string(Granted), " and until <= $6"
	}
	args := []any{filter.App, filter.Environment, state, before, limit}
	if within != "" {
		args = append(args, tx.Now())
	}
	return db.Collect(tx, scanWaiver(tx.Now()), `select `+waiverColumns+` from waiver
		where ($1 = '' or app = $1) and ($2 = '' or environment = $2) and ($3 = '' or state = $3) and ($4 = '' or id < $4)`+within+` order by id desc limit $5`, args...)
}
