package app

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing/fstest"
	"time"
	"unicode/utf8"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/git"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/outbound"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/web"
)

// Service makes apps and keeps environments and waivers. The func fields are feedback against the import
// order, filled in package server.
type Service struct {
	DB       *db.DB
	Git      *git.Host
	Patterns *pattern.Service
	BaseURL  string // where clones come from

	// Opened tells the id of the change that a branch became.
	Opened func(ctx context.Context, app, branch, head string) (change string, err error)
	// Given tells what keeps the team beside an app that the app has another one.
	Given func(tx *db.Tx, app, team string) error

	sweeper durable.Sweeper
}

// Create is what a person says about a new app.
type Create struct {
	Name         string   `json:"name" doc:"Lower case letters, digits and hyphens" maxLength:"40"`
	Title        string   `json:"title,omitempty" maxLength:"120"`
	Team         string   `json:"team"`
	Pattern      string   `json:"pattern" doc:"Name of a certified pattern"`
	Version      string   `json:"version,omitempty" doc:"Range of versions, for example ~1.4; the recommended one if left out"`
	Environments []string `json:"environments,omitempty" doc:"All environments if left out"`
}

// Create makes the app, its repository and the change that brings the pattern's skeleton. From there
// on it is a change like any other: tested, merged, and deployed environment by environment. It
// returns the app and the id of that change.
func (s *Service) Create(ctx context.Context, in Create) (a App, change string, err error) {
	if err := CheckName("app", in.Name); err != nil {
		return a, "", err
	}
	var environments []Environment
	var version pattern.Version
	err = s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		team, err := account.TeamFor(tx, account.CreateApp, in.Team)
		if err != nil {
			return err
		}
		in.Team = team.Name
		if environments, err = Environments(tx); err != nil {
			return err
		}
		if in.Version == "" {
			if version, err = s.Patterns.Recommended(tx, in.Pattern); err == nil {
				in.Version = "~" + version.Version
			}
			return err
		}
		version, err = s.Patterns.Resolve(tx, in.Pattern, in.Version)
		return err
	})
	if err != nil {
		return a, "", err
	}
	if in.Environments, err = choose(environments, in.Environments); err != nil {
		return a, "", err
	}
	if err := CheckEnvironmentValues(version, environments, in.Environments); err != nil {
		return a, "", err
	}
	skeleton, err := s.Patterns.Skeleton(ctx, version)
	if err != nil {
		return a, "", err
	}
	if skeleton, err = Fill(skeleton, in); err != nil {
		return a, "", err
	}
	s.completed(skeleton)

	actor := account.From(ctx)
	a = App{ID: db.NewID("app"), Name: in.Name, Title: in.Title, Team: in.Team, State: Active, CreatedBy: actor.ID}
	if a.Title == "" {
		a.Title = in.Name
	}
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		a.CreatedAt = tx.Now()
		if err := s.clear(tx, a.Name); err != nil {
			return err
		}
		if err := insertApp(tx, a); err != nil {
			return err
		}
		if err := event.Emit(tx, event.AppCreated{App: a.Name, Team: a.Team}); err != nil {
			return err
		}
		return account.Audit(tx, account.Entry{Action: "app.create", Subject: a.Name, Decision: "allowed"})
	})
	if err != nil {
		return a, "", err
	}
	change, err = s.seed(ctx, a, skeleton, version)
	if err != nil {
		return a, "", errors.Join(err, s.undo(context.WithoutCancel(ctx), a, err))
	}
	return a, change, nil
}

// clear frees a name that an app only holds because the process died before its repository was there. The
// name of a removed app stays with its history: changes and deployments of another app under it would mix.
func (s *Service) clear(tx *db.Tx, name string) error {
	old, err := Known(tx, name)
	if fault.Is(err, "app.not_found") {
		return nil
	}
	if err == nil && old.State == Removed {
		return fault.New(fault.Conflict, "app.name_removed", "%q was the name of an app that was removed on %s, and stays with its history.", name, old.RemovedAt.Format(time.DateOnly)).
			Do("Choose another name; `flywheel app show %s` shows what it was to those who may see it.", name).At("name", "of a removed app")
	}
	if err != nil || s.Git.Exists(git.App(name)) || tx.Now().Sub(old.CreatedAt) < time.Minute {
		return err
	}
	return deleteApp(tx, old)
}

// undo takes back an app that could not be begun, so that nothing half-done stays. A repository that was
// there before is not its own.
func (s *Service) undo(ctx context.Context, a App, cause error) error {
	if !fault.Is(cause, "repository.name_taken") {
		if err := s.Git.Delete(ctx, git.App(a.Name)); err != nil {
			return err
		}
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error { return deleteApp(tx, a) })
}

func (s *Service) seed(ctx context.Context, a App, skeleton map[string][]byte, version pattern.Version) (string, error) {
	author := git.Identity{Name: account.From(ctx).Name, Email: account.From(ctx).Name + "@users.flywheel.invalid"}
	main, err := s.Git.Create(ctx, git.App(a.Name), author, fstest.MapFS{"README.md": {Data: []byte("# " + a.Title + "\n")}}, "Begin "+a.Name)
	if err != nil {
		return "", err
	}
	head, err := s.Git.CommitFiles(ctx, git.App(a.Name), "create", main, skeleton,
		fmt.Sprintf("Create %s from %s %s", a.Name, version.Pattern, version.Version), author)
	if err != nil {
		return "", err
	}
	return s.Opened(ctx, a.Name, "create", head)
}

// choose returns the environments to select, all if none is named, and refuses unknown ones.
func choose(all []Environment, wanted []string) ([]string, error) {
	known := []string{}
	for _, e := range all {
		known = append(known, e.Name)
	}
	if len(known) == 0 {
		return nil, fault.New(fault.Conflict, "environment.none", "The platform has no environments yet.").
			Do("Somebody of the Center of Excellence makes one: flywheel environment create staging --class staging.")
	}
	if len(wanted) == 0 {
		return known, nil
	}
	for _, w := range wanted {
		if !slices.Contains(known, w) {
			return nil, fault.New(fault.Invalid, "environment.unknown", "The platform has no environment %q.", w).Do("Choose among %s.", strings.Join(known, ", "))
		}
	}
	return wanted, nil
}

// Fill returns the skeleton with the app's own words in the place of {{name}}, {{team}}, {{pattern}}, {{version}} and
// {{environments}}, in the names of files and in every file that is text. Other words in braces stay as they are.
func Fill(files map[string][]byte, in Create) (map[string][]byte, error) {
	lines := ""
	for _, e := range in.Environments {
		lines += "    " + e + ": {}\n"
	}
	words := []string{"{{name}}", in.Name, "{{team}}", in.Team, "{{pattern}}", in.Pattern, "{{version}}", in.Version}
	paths := strings.NewReplacer(words...)
	text := strings.NewReplacer(append(words, "{{environments}}", strings.TrimRight(lines, "\n"))...)
	filled := map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		content, path := files[name], paths.Replace(name)
		if _, taken := filled[path]; taken {
			return nil, fault.New(fault.Invalid, "pattern.skeleton_names", "Two files of the skeleton would be named %s.", path).Do("Rename one of them in the skeleton of the pattern.")
		}
		if utf8.Valid(content) && !bytes.ContainsRune(content, 0) {
			content = []byte(text.Replace(string(content)))
		}
		filled[path] = content
	}
	return filled, nil
}

// completed names the schema in flywheel.yaml, in the words that editors know, so that they complete it.
func (s *Service) completed(files map[string][]byte) {
	const word = "# yaml-language-server: $schema="
	if content, there := files["flywheel.yaml"]; there && !strings.Contains(string(content), word) {
		files["flywheel.yaml"] = append([]byte(word+s.BaseURL+"/schemas/app.schema.json\n"), content...)
	}
}

// Detail is an app with where it runs.
type Detail struct {
	App
	Repository   string        `json:"repository" doc:"URL to clone"`
	Instances    []Instance    `json:"instances"`
	Environments []Environment `json:"environments" doc:"Those the app selects, in the order a change reaches them"`
	Recommended  string        `json:"recommended,omitempty" doc:"The recommended version of its pattern, where its own is older or not certified any more"`
	Waivers      []Waiver      `json:"waivers" doc:"Requested, in force, or ended while the value still runs"`
}

// Get returns an app with its instances.
func (s *Service) Get(ctx context.Context, name string) (d Detail, err error) {
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		if d.App, err = s.visible(ctx, tx, name, account.ViewApp); err != nil {
			return err
		}
		if d.Instances, err = Instances(tx, name); err != nil {
			return err
		}
		all, err := Environments(tx)
		if err != nil {
			return err
		}
		d.Environments = slices.DeleteFunc(slices.Clone(all), func(e Environment) bool {
			_, selected := d.Description.Environments[e.Name]
			return !selected
		})
		waivers, err := Waivers(tx, name)
		if err != nil {
			return err
		}
		if err := s.setOutside(tx, d.Instances, all, waivers); err != nil {
			return err
		}
		d.Waivers = slices.DeleteFunc(waivers, func(w Waiver) bool { return !w.matters(d.Instances) })
		d.Repository = s.BaseURL + git.App(name).Path()
		return s.setOutdated(tx, &d, map[string]string{})
	})
	return d, err
}

// setOutdated says which version an app and each of its instances should move to. known keeps what was found
// for other apps.
func (s *Service) setOutdated(tx *db.Tx, d *Detail, known map[string]string) (err error) {
	of := func(name, version string) string {
		key := name + " " + version
		if _, found := known[key]; !found && version != "" && err == nil {
			known[key], err = s.Patterns.Outdated(tx, name, version)
		}
		return known[key]
	}
	if d.State == Active {
		d.Recommended = of(d.Pin.Pattern, d.Pin.Version)
	}
	for i := range d.Instances {
		d.Instances[i].Outdated = of(d.Instances[i].Deployed.Pattern, d.Instances[i].Deployed.Version)
	}
	return err
}

func (s *Service) visible(ctx context.Context, tx *db.Tx, name string, p account.Permission) (App, error) {
	a, err := Known(tx, name)
	if err != nil {
		return a, err
	}
	if err := account.From(ctx).RequireOf(p, a.Team, "app", name); err != nil {
		return App{}, err
	}
	return a, nil
}

// Give gives an app to another team, in which the actor may make apps as well, and returns it. Its flywheel.yaml
// may go on naming the team it was of: that is corrected with any later change.
func (s *Service) Give(ctx context.Context, name, team string) (Detail, error) {
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		if _, err := LockInstances(tx, name); err != nil {
			return err
		}
		a, err := s.visible(ctx, tx, name, account.GiveApp)
		if err != nil {
			return err
		}
		if a.State == Removed {
			return fault.New(fault.Conflict, "app.removed", "The app %s was removed, and its history stays with the team %s.", name, a.Team)
		}
		to, err := account.TeamFor(tx, account.CreateApp, team)
		if err != nil || to.Name == a.Team {
			return err
		}
		if err := s.Given(tx, name, to.Name); err != nil {
			return err
		}
		if err := setTeam(tx, a, to.Name); err != nil {
			return err
		}
		if err := event.Emit(tx, event.AppGiven{App: name, From: a.Team, To: to.Name}); err != nil {
			return err
		}
		return account.Audit(tx, account.Entry{Action: "app.give", Subject: name, Decision: "allowed", Reason: a.Team + " to " + to.Name})
	})
	if err != nil {
		return Detail{}, err
	}
	return s.Get(ctx, name)
}

// Filter of a list of apps.
type Filter struct {
	Removed  bool // the removed ones instead
	Outdated bool // only those with an outdated instance
	Team     string
	Words    string // part of the name, the title or the team
}

// List returns the apps that match and that the actor may see, by name, after a cursor, with their instances.
func (s *Service) List(ctx context.Context, f Filter, after string, limit int) (found []Detail, err error) {
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		if f.Team != "" {
			if _, err := account.TeamByName(tx, f.Team); err != nil {
				return err
			}
		}
		actor, known := account.From(ctx), map[string]string{}
		found = []Detail{}
		var failed error
		matches := func(a App) bool {
			if !actor.Sees(a.Team) || failed != nil {
				return false
			}
			d := Detail{App: a, Environments: []Environment{}, Waivers: []Waiver{}, Repository: s.BaseURL + git.App(a.Name).Path()}
			if d.Instances, failed = Instances(tx, a.Name); failed == nil {
				failed = s.setOutdated(tx, &d, known)
			}
			if f.Outdated && !slices.ContainsFunc(d.Instances, func(i Instance) bool { return i.Outdated != "" }) {
				return false
			}
			found = append(found, d)
			return true
		}
		_, err := db.Fill(limit, matches, func(last *App) ([]App, error) {
			if last != nil {
				after = last.Name
			}
			return all(tx, f, after, limit)
		})
		return cmp.Or(failed, err)
	})
	return found, err
}

// Team returns the team of an app, for packages that stand above this one.
func Team(tx *db.Tx, name string) (string, error) {
	a, err := Find(tx, name)
	return a.Team, err
}

// SaveEnvironment makes or changes an environment. A value the Center of Excellence sets there counts
// for every instance from its next deployment on. ifMatch is the entity tag of what the change was made to.
func (s *Service) SaveEnvironment(ctx context.Context, e Environment, create bool, ifMatch string) (Environment, error) {
	if err := account.From(ctx).Require(account.ManageEnvironments, ""); err != nil {
		return e, err
	}
	if err := CheckName("environment", e.Name); err != nil {
		return e, err
	}
	if !slices.Contains([]string{"development", "staging", "production"}, e.Class) {
		return e, fault.New(fault.Invalid, "environment.class_unknown", "%q is not a class of environments.", e.Class).Do("Use development, staging or production.").At("class", "unknown")
	}
	if e.Target == "" {
		e.Target = "local"
	}
	if e.OnNewer == "" {
		e.OnNewer = Queue
	}
	if e.OnNewer != Queue && e.OnNewer != ReplacePending {
		return e, fault.New(fault.Invalid, "environment.policy_unknown", "%q is not a policy for waiting deployments.", e.OnNewer).Do("Use queue or replace-pending.").At("onNewer", "unknown")
	}
	if e.Values == nil {
		e.Values = manifest.Values{}
	}
	if e.Freezes == nil {
		e.Freezes = []Freeze{}
	}
	if err := checkFreezes(e.Freezes); err != nil {
		return e, err
	}
	if e.Reach == nil {
		e.Reach = []string{}
	}
	if err := outbound.CheckAllowed(e.Reach); err != nil {
		return e, fault.From(err).At("reach", "%s", fault.From(err).Message)
	}
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		all, err := lockEnvironments(tx)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(all, func(o Environment) bool { return o.Name == e.Name })
		switch {
		case at >= 0 && create:
			return nameTaken(e.Name)
		case at < 0 && !create:
			return fault.Missing("environment", e.Name)
		case at < 0:
			all = append(all, e)
		default:
			if err := web.Match(ifMatch, all[at].etag(), all[at].UpdatedBy); err != nil {
				return err
			}
			if err := leavesProduction(tx, all[at], e); err != nil {
				return err
			}
			all[at] = e
		}
		if err := arrange(all); err != nil {
			return err
		}
		for _, one := range all {
			if one.Name != e.Name {
				err = setOrder(tx, one)
			} else {
				one.UpdatedAt, one.UpdatedBy = tx.Now(), account.From(ctx).Name
				e, err = one, saveEnvironment(tx, one, create)
			}
			if err != nil {
				return err
			}
		}
		if err := event.Emit(tx, event.EnvironmentSaved{Environment: e.Name, Class: e.Class}); err != nil {
			return err
		}
		return account.Audit(tx, account.Entry{Action: "environment.save", Subject: e.Name, Decision: "allowed", Reason: db.JSON(e)})
	})
	return e, err
}

// leavesProduction refuses that an environment with apps in it stops to be one of production, unless by who may also turn
// off four eyes: else one person alone could release there what they wrote.
func leavesProduction(tx *db.Tx, was, is Environment) error {
	if was.Class != "production" || is.Class == was.Class || account.From(tx.Context()).Can(account.ManageSettings, "") {
		return nil
	}
	in, err := appsIn(tx, was.Name)
	if err != nil || len(in) == 0 {
		return err
	}
	return fault.New(fault.Forbidden, "environment.production", "Apps are in the environment %s, and what would destroy their data needs a second person only in production.", was.Name).
		Do("Ask an admin to change its class.").At("class", "production")
}

func nameTaken(environment string) error {
	return fault.New(fault.Conflict, "environment.name_taken", "There is already an environment %q.", environment).Do("Change it with `flywheel environment update %s`.", environment)
}

// DeleteEnvironment deletes an environment with its secrets, and ends the waivers there. It refuses while an app
// is in it or its main says that it is to be, and while another environment comes after it.
func (s *Service) DeleteEnvironment(ctx context.Context, name string) error {
	if err := account.From(ctx).Require(account.ManageEnvironments, ""); err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		all, err := lockEnvironments(tx)
		if err != nil {
			return err
		}
		gone, err := FindEnvironment(tx, name)
		if err != nil {
			return err
		}
		for _, e := range all {
			if e.After == name {
				return fault.New(fault.Conflict, "environment.has_next", "The environment %s comes after %s.", e.Name, name).
					Do("Say first what it comes after then: flywheel environment update %s --after %s", e.Name, cmp.Or(gone.After, `''`))
			}
		}
		in, err := appsIn(tx, name)
		if err != nil {
			return err
		}
		if len(in) > 0 {
			shown := strings.Join(in[:min(len(in), 5)], ", ")
			if more := len(in) - 5; more > 0 {
				shown += fmt.Sprintf(" and %d more", more)
			}
			return fault.New(fault.Conflict, "environment.in_use", "Apps are in the environment %s, or are to be: %s.", name, shown).
				Do("Remove each from it first: flywheel environment remove %s %s.", in[0], name)
		}
		if err := deleteEnvironment(tx, name); err != nil {
			return err
		}
		if err := event.Emit(tx, event.EnvironmentDeleted{Environment: name}); err != nil {
			return err
		}
		return account.Audit(tx, account.Entry{Action: "environment.delete", Subject: name, Decision: "allowed"})
	})
}

// GetEnvironment returns one environment.
func (s *Service) GetEnvironment(ctx context.Context, name string) (e Environment, err error) {
	if account.From(ctx).Nobody() {
		return e, account.From(ctx).Require(account.ViewPattern, "")
	}
	err = s.DB.Read(ctx, func(tx *db.Tx) (err error) { e, err = FindEnvironment(tx, name); return err })
	return e, err
}

// etag names what people have said about the environment. Its place in the order is not of it, nor the
// moment of its last writing: both move when another environment is saved.
func (e Environment) etag() string {
	e.Order, e.UpdatedAt, e.UpdatedBy = 0, time.Time{}, ""
	return web.ETag(db.JSON(e))
}

// ListEnvironments returns the environments in the order a change reaches them, after a cursor.
func (s *Service) ListEnvironments(ctx context.Context, after Place, limit int) (list []Environment, err error) {
	if account.From(ctx).Nobody() {
		return nil, account.From(ctx).Require(account.ViewPattern, "")
	}
	err = s.DB.Read(ctx, func(tx *db.Tx) (err error) { list, err = environmentsAfter(tx, after, limit); return err })
	return list, err
}

// AskWaiver is what a team says about a value it needs outside its bounds.
type AskWaiver struct {
	App         string     `json:"app"`
	Environment string     `json:"environment"`
	Variable    string     `json:"variable"`
	Value       any        `json:"value,omitempty" doc:"The value that is to be accepted"`
	Text        string     `json:"text,omitempty" doc:"In place of value: the value as it is typed, which the module's type decides about" maxLength:"10000"`
	Reason      string     `json:"reason" doc:"Why it is needed" maxLength:"2000"`
	Until       *time.Time `json:"until,omitempty" doc:"When it may end; who grants it sets the end"`
}

// RequestWaiver records that a team asks for a value outside its bounds.
func (s *Service) RequestWaiver(ctx context.Context, in AskWaiver) (w Waiver, err error) {
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		a, err := s.visible(ctx, tx, in.App, account.ChangeVariables)
		if err != nil {
			return err
		}
		if a.State == Removed {
			return fault.Missing("app", in.App)
		}
		if strings.TrimSpace(in.Reason) == "" {
			return fault.New(fault.Invalid, "waiver.reason_missing", "A waiver needs a reason.").Do("Say why no value inside the bounds will do.").At("reason", "missing")
		}
		if err := checkEnd(in.Until, tx.Now()); in.Until != nil && err != nil {
			return err
		}
		bound, err := s.outside(tx, a, &in)
		if err != nil {
			return err
		}
		earlier, err := Waivers(tx, a.Name)
		if err != nil {
			return err
		}
		for _, e := range earlier {
			if e.Environment == in.Environment && e.Variable == in.Variable && SameValue(e.Value, in.Value) && (e.State == Requested || e.InForce) {
				return fault.New(fault.Conflict, "waiver.exists", "There is one already: %s is %s.", e.ID, e.State).Do("Look at it: flywheel waiver show %s", e.ID)
			}
		}
		actor := account.From(ctx)
		w = Waiver{ID: db.NewID("wvr"), App: a.Name, Environment: in.Environment, Variable: in.Variable, Value: in.Value, Bound: bound, Reason: in.Reason,
			State: Requested, Until: in.Until, AskedBy: actor.Name, CreatedAt: tx.Now(), UpdatedAt: tx.Now(), askedBy: actor.ID}
		return s.decided(tx, w, "requested", in.Reason)
	})
	return w, err
}

// outside returns the bound that the asked value is outside of, and gives the value the type that the module
// has for it. Anything else that is wrong with it no waiver can help.
func (s *Service) outside(tx *db.Tx, a App, in *AskWaiver) (string, error) {
	if in.Text != "" {
		var err error
		if in.Value, err = manifest.ParseValue(in.Text); err != nil {
			return "", err
		}
	}
	e, err := FindEnvironment(tx, in.Environment)
	if err != nil {
		return "", err
	}
	v, err := s.Patterns.ByDigest(tx, a.Pin.Digest)
	if err != nil {
		return "", err
	}
	typed, bad := v.Check(e.Class, manifest.Values{in.Variable: in.Value})
	in.Value = typed[in.Variable]
	switch {
	case len(bad) == 0:
		return "", fault.New(fault.Conflict, "waiver.needless", "%s.%s may be set to that: it is inside its bounds.", in.Environment, in.Variable).Do("Push the value.")
	case !bad[0].Bound:
		return "", fault.New(fault.Invalid, "waiver.impossible", "%s.%s: %s", in.Environment, in.Variable, bad[0].Message).
			Do("No waiver can accept that; ask for a change of the pattern: flywheel pattern request create.")
	}
	return bad[0].Message, nil
}

// setOutside sets what each instance runs with outside its bounds since a waiver ended.
func (s *Service) setOutside(tx *db.Tx, instances []Instance, environments []Environment, waivers []Waiver) error {
	for n, i := range instances {
		at := slices.IndexFunc(environments, func(e Environment) bool { return e.Name == i.Environment })
		ended := slices.ContainsFunc(waivers, func(w Waiver) bool { return w.Environment == i.Environment && w.EndedAt != nil })
		if at < 0 || !ended || i.Deployed.IsZero() {
			continue
		}
		v, err := s.Patterns.ByDigest(tx, i.Deployed.Digest)
		if err != nil {
			return err
		}
		instances[n].Outside = outsideSince(v, environments[at], i, waivers)
	}
	return nil
}

// Start begins to tell of waivers whose end has come.
func (s *Service) Start(log *slog.Logger) {
	s.sweeper.Start(account.System(context.Background(), "waiver"), 30*time.Second, log, "waivers", s.EndWaivers)
}

// Stop ends that.
func (s *Service) Stop() { s.sweeper.Stop() }

// EndWaivers tells, once of each, that the end of a waiver has come. What runs is left alone.
func (s *Service) EndWaivers(ctx context.Context) error {
	var due []Waiver
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) { due, err = dueWaivers(tx); return err })
	if err != nil || len(due) == 0 {
		return err
	}
	for _, w := range due { // each for itself, so that nobody waits for two of them
		err := s.DB.Write(ctx, func(tx *db.Tx) error {
			news, err := noteEnd(tx, w)
			if err != nil || !news { // another replica was first
				return err
			}
			return tell(tx, w, "ended", "its end date has come")
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkEnd refuses an end that has passed or is too far away.
func checkEnd(until *time.Time, now time.Time) error {
	switch {
	case until == nil:
		return fault.New(fault.Invalid, "waiver.end_missing", "A waiver needs an end date.").Do("Say until when the value is accepted, at most a year ahead.").At("until", "missing")
	case !until.After(now):
		return fault.New(fault.Invalid, "waiver.end_passed", "The end of the waiver has passed already.").Do("Choose a later one.").At("until", "has passed")
	case until.Sub(now) > longestWaiver:
		return fault.New(fault.Invalid, "waiver.end_far", "A waiver ends within a year.").Do("Choose an earlier end. What has to last longer belongs in the pattern: flywheel pattern request create.").At("until", "too far away")
	}
	return nil
}

// GrantWaiver accepts the value until the date. Changes of the app that were refused for it go on by
// themselves.
func (s *Service) GrantWaiver(ctx context.Context, id string, until *time.Time, reason string) (Waiver, error) {
	return s.decideWaiver(ctx, id, Granted, until, reason)
}

// DeclineWaiver says no to a request, with the reason.
func (s *Service) DeclineWaiver(ctx context.Context, id, reason string) (Waiver, error) {
	return s.decideWaiver(ctx, id, Declined, nil, reason)
}

// RevokeWaiver ends a granted waiver now. What runs is left alone.
func (s *Service) RevokeWaiver(ctx context.Context, id, reason string) (Waiver, error) {
	return s.decideWaiver(ctx, id, Revoked, nil, reason)
}

func (s *Service) decideWaiver(ctx context.Context, id string, to WaiverState, until *time.Time, reason string) (w Waiver, err error) {
	actor := account.From(ctx)
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if w, err = s.visibleWaiver(ctx, tx, id, takeWaiver); err != nil {
			return err
		}
		if err := actor.Require(account.GrantWaiver, ""); err != nil {
			return err
		}
		from := Requested
		if to == Revoked {
			from = Granted
		}
		switch {
		case w.askedBy == actor.ID && to == Granted:
			return fault.New(fault.Forbidden, "waiver.own", "You asked for this waiver, so somebody else must grant it.").Do("Ask another person of the Center of Excellence.")
		case w.State != from:
			return fault.New(fault.Conflict, "waiver.state", "The waiver %s is %s already.", id, w.State).Do("Ask for a new one: flywheel waiver request.")
		case to != Granted && strings.TrimSpace(reason) == "":
			return fault.New(fault.Invalid, "waiver.reason_missing", "This needs a reason.").Do("Say in a sentence why, for the team that asked.").At("reason", "missing")
		}
		if to == Granted {
			if until == nil {
				until = w.Until
			}
			if err := checkEnd(until, tx.Now()); err != nil {
				return err
			}
			w.Until = until
		}
		w.State, w.DecidedBy, w.Decision, w.UpdatedAt = to, actor.Name, reason, tx.Now()
		if to == Revoked && w.EndedAt == nil { // one that came to its end date ended then
			w.EndedAt = &w.UpdatedAt
		}
		w.InForce = w.inForce(tx.Now())
		return s.decided(tx, w, string(to), reason)
	})
	return w, err
}

func (s *Service) decided(tx *db.Tx, w Waiver, what, reason string) error {
	if err := saveWaiver(tx, w); err != nil {
		return err
	}
	return tell(tx, w, what, reason)
}

func tell(tx *db.Tx, w Waiver, what, reason string) error {
	a, err := Known(tx, w.App)
	if err != nil {
		return err
	}
	if err := event.Emit(tx, w.fact(what, a.Team)); err != nil {
		return err
	}
	return account.Audit(tx, account.Entry{Action: "waiver." + what, Subject: fmt.Sprintf("%s/%s %s", w.App, w.Environment, w.Variable), Decision: "allowed", Reason: reason})
}

// Waiver returns one waiver.
func (s *Service) Waiver(ctx context.Context, id string) (w Waiver, err error) {
	err = s.DB.Read(ctx, func(tx *db.Tx) error { w, err = s.visibleWaiver(ctx, tx, id, findWaiver); return err })
	return w, err
}

func (s *Service) visibleWaiver(ctx context.Context, tx *db.Tx, id string, load func(*db.Tx, string) (Waiver, error)) (Waiver, error) {
	w, err := load(tx, id)
	if err != nil {
		return w, err
	}
	if _, err := s.visible(ctx, tx, w.App, account.ViewApp); err != nil {
		if fault.From(err).Kind == fault.NotFound {
			return Waiver{}, fault.Missing("waiver", id)
		}
		return Waiver{}, err
	}
	return w, nil
}

// ListWaivers returns the waivers the actor may see, newest first, from before a cursor. The filters may be
// empty.
func (s *Service) ListWaivers(ctx context.Context, filter WaiverFilter, before string, limit int) (found []Waiver, err error) {
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		if err := CheckNamed(tx, filter.App, filter.Environment); err != nil {
			return err
		}
		may, err := Visible(tx, account.From(ctx))
		if err != nil {
			return err
		}
		found, err = db.Fill(limit, func(w Waiver) bool { return may(w.App) }, func(last *Waiver) ([]Waiver, error) {
			if last != nil {
				before = last.ID
			}
			return allWaivers(tx, filter, before, limit)
		})
		return err
	})
	return found, err
}
