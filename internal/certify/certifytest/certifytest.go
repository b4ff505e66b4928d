// Package certifytest is a platform without its outside for tests: real database, repositories, workflows
// and sandbox, with plans and rollouts that a test decides about. Nothing is deployed; a rollout is
// recorded as if every instance had got there at once.
package certifytest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/certify"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/git"
	"flywheel.dev/flywheel/internal/local"
	"flywheel.dev/flywheel/internal/patience"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/runlog"
	"flywheel.dev/flywheel/internal/sandbox"
	"flywheel.dev/flywheel/internal/tofu"
)

// Platform is everything from a push to a rollout.
type Platform struct {
	T        testing.TB
	DB       *db.DB
	Git      *git.Host
	Patterns *pattern.Service
	Apps     *app.Service
	Changes  *change.Service
	Certify  *certify.Service
	Durable  *durable.Engine

	// Plan answers for every plan of a change; nil: nothing destructive.
	Plan func(c change.Change, environment string, desired app.Desired) (change.Planned, error)
	// PlanInstance answers for every plan of a live instance on an uncertified pattern.
	PlanInstance func(instance app.Instance, desired app.Desired) (change.Planned, error)

	blobs   *blob.Bucket
	mu      sync.Mutex
	rollout []string
	handed  map[string]bool // changes of apps whose rollout is in there: that is told a moment after the commit
}

// Module is a pattern without providers that need to be there.
const Module = `
variable "artifact"   { type = string }
variable "instances"  {
  type    = number
  default = 2
}
variable "db_version" {
  type    = string
  default = "15"
}
variable "vpc_id" {
  type    = string
  default = ""
}
resource "terraform_data" "service" { input = [var.artifact, var.instances, var.db_version, var.vpc_id] }
output "service" { value = terraform_data.service.id }
`

// Manifest is the pattern.yaml of Module.
const Manifest = `apiVersion: flywheel.dev/v1
kind: Pattern
metadata: {name: web-service, title: Web service, owner: coe}
spec:
  variables:
    db_version: {control: team, enum: ["15", "16"]}
    instances:  {control: team, minimum: 1, maximum: 10, classes: {production: {minimum: 2}}}
    vpc_id:     {control: coe}
  artifact: {variable: artifact}
  release:  {driver: noop}
  skeleton: skeleton
`

// App is the flywheel.yaml of an app, with %s for the range and the block of environments.
const App = `apiVersion: flywheel.dev/v1
kind: App
metadata: {name: storefront, team: shop}
spec:
  pattern: {name: web-service, version: "%s"}
  build: {command: "true", artifact: src}
  test: {command: "! grep -r FAILS src"}
%s`

// Environments is the usual block for App.
const Environments = `  environments:
    staging: {variables: {instances: 1}}
    prod: {variables: {instances: 2, db_version: "15"}}
`

// Files are those of the pattern, edited.
func Files(edits ...string) map[string][]byte {
	files := map[string]string{
		"main.tf": Module, "pattern.yaml": Manifest, "README.md": "# Web service\n",
		"skeleton/flywheel.yaml": strings.ReplaceAll(strings.ReplaceAll(fmt.Sprintf(App, "{{version}}", Environments), "storefront", "{{name}}"), "team: shop", "team: {{team}}"),
		"skeleton/src/main.txt":  "hello\n",
	}
	for i := 0; i+2 < len(edits); i += 3 {
		if edits[i+1] == "" {
			files[edits[i]] += edits[i+2]
		} else {
			files[edits[i]] = strings.ReplaceAll(files[edits[i]], edits[i+1], edits[i+2])
		}
	}
	out := map[string][]byte{}
	for name, content := range files {
		out[name] = []byte(content)
	}
	return out
}

// New starts a platform with the environments staging and prod.
func New(t testing.TB) *Platform {
	t.Helper()
	dir := t.TempDir()
	p := &Platform{T: t, DB: dbtest.Open(t), handed: map[string]bool{}}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if os.Getenv("FLYWHEEL_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	p.Durable, err = durable.New(context.Background(), p.DB, "test", log)
	must(err)
	box, err := sandbox.New(sandbox.Options{})
	must(err)
	blobs := memblob.OpenBucket(nil)
	p.blobs = blobs
	logs := &runlog.Store{Dir: filepath.Join(dir, "logs")}
	p.Git = &git.Host{Root: filepath.Join(dir, "repos"), DB: p.DB, Person: func(ctx context.Context) string { return account.From(ctx).ID }}
	p.Patterns = &pattern.Service{DB: p.DB, Git: p.Git, Blobs: blobs, Dir: filepath.Join(dir, "patterns")}
	p.Apps = &app.Service{DB: p.DB, Git: p.Git, Patterns: p.Patterns}
	work := filepath.Join(dir, "work")
	must(os.MkdirAll(work, 0o700))
	builder := app.NewBuilder(app.Builder{DB: p.DB, Sandbox: box, Blobs: blobs, Logs: logs, Dir: work})
	p.Changes = &change.Service{DB: p.DB, Durable: p.Durable, Git: p.Git, Patterns: p.Patterns, Builder: builder, Logs: logs, Log: log, BaseURL: "http://flywheel.test"}
	p.Certify = &certify.Service{DB: p.DB, Durable: p.Durable, Git: p.Git, Changes: p.Changes, Patterns: p.Patterns, Builder: builder, Logs: logs, Log: log, Dir: work}
	if engine, err := tofu.Find(t.Context(), tofu.FindOptions{Sandbox: box}); err == nil {
		p.Certify.Engine = &tofu.Service{Engine: engine, Dir: filepath.Join(dir, "workspaces"), Sandbox: box}
	}
	p.Patterns.Opened = func(ctx context.Context, name, branch, head string) (string, error) {
		return p.Changes.Opened(ctx, git.Pattern(name), branch, head)
	}
	p.Patterns.About, p.Patterns.Proposed = change.About, certify.Proposed
	p.Apps.Opened = func(ctx context.Context, name, branch, head string) (string, error) {
		return p.Changes.Opened(ctx, git.App(name), branch, head)
	}
	p.Apps.Given = p.Changes.Given
	p.Changes.Certify = p.Certify.Begin
	p.Changes.Plan = func(_ context.Context, c change.Change, environment string, desired app.Desired) (change.Planned, error) {
		if p.Plan == nil {
			return change.Planned{Summary: "1 to update", Digest: "sha256:plan"}, nil
		}
		return p.Plan(c, environment, desired)
	}
	p.Certify.Plan = func(_ context.Context, _ string, i app.Instance, desired app.Desired, _ pattern.Version, _ string) (change.Planned, error) {
		if p.PlanInstance == nil {
			return change.Planned{Summary: "nothing to change", Digest: "sha256:plan"}, nil
		}
		return p.PlanInstance(i, desired)
	}
	p.Changes.Rollout = p.roll
	p.Changes.Register()
	p.Certify.Register()
	must(p.Durable.Launch())
	t.Cleanup(func() { p.Durable.Stop(10 * time.Second) })
	consumers := &event.Consumers{DB: p.DB, Events: event.New(p.DB), Log: log, As: account.System}
	for _, c := range p.Changes.Consumers() {
		consumers.Register(c)
	}
	must(consumers.Start(context.Background()))
	t.Cleanup(consumers.Stop)
	must(p.DB.Write(p.As("root"), func(tx *db.Tx) error {
		for _, name := range []string{"root", "dora", "dan", "olga", "owen", "eve", "sam", "sue", "otto", "dev", "both"} {
			a := account.From(p.As(name))
			_, err := tx.Exec(`insert into person (id, name, title, password, admin, disciplines, active, created_at, updated_at, updated_by) values ($1,$2,$2,'',$3,$4,$5,$6,$6,'')`,
				a.ID, a.Name, a.Admin, db.JSON(a.Disciplines), true, tx.Now())
			if err != nil {
				return err
			}
		}
		return nil
	}))
	for _, team := range []string{"shop", "other"} {
		_, err := account.New(p.DB).CreateTeam(p.As("root"), team, "")
		must(err)
	}
	for _, e := range []app.Environment{{Name: "staging", Class: "staging"}, {Name: "prod", Class: "production", After: "staging"}} {
		_, err := p.Apps.SaveEnvironment(p.As("root"), e, true, "")
		must(err)
	}
	return p
}

// roll records what would be rolled out, and that it is there.
func (p *Platform) roll(tx *db.Tx, c change.Change, targets []change.Target) error {
	for _, target := range targets {
		i, err := app.EnsureInstance(tx, c.Subject, target.Environment)
		if err != nil {
			return err
		}
		if err := app.Arrive(tx, &i, target.Desired, "", ""); err != nil {
			return err
		}
	}
	tx.AfterCommit(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.handed[c.ID] = true
		for _, t := range targets {
			p.rollout = append(p.rollout, fmt.Sprintf("%s %s %v", t.Environment, t.Desired.Version, t.Desired.Variables))
		}
	})
	return nil
}

// Runs records that an instance runs on other variables now, as a deployment would.
func (p *Platform) Runs(name, environment string, variables map[string]any) {
	p.T.Helper()
	err := p.DB.Write(account.System(context.Background(), "test"), func(tx *db.Tx) error {
		i, err := app.FindInstance(tx, name, environment)
		if err != nil {
			return err
		}
		i.Deployed.Variables = variables
		return app.Arrive(tx, &i, i.Deployed, i.URL, "")
	})
	if err != nil {
		p.T.Fatal(err)
	}
}

// Rolled returns and forgets what was rolled out, in order: environment, version, variables.
func (p *Platform) Rolled() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.rollout
	p.rollout = nil
	return out
}

func (p *Platform) told(change string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.handed[change]
}

// As returns the context of a person: root is an admin; dora and dan develop for the team shop, olga
// operates it and owen owns it; sam and sue decide for security, otto for operations and dev for development; eve belongs to
// another team. A name with the suffix "-token" acts through a service token, and with "-ci"
// through a token for the checks of the system ci about apps of the team shop.
func (p *Platform) As(name string) context.Context {
	name, ci := strings.CutSuffix(name, "-ci")
	if ci {
		return account.With(context.Background(), account.Actor{ID: "usr_" + name, Name: name, Service: true, Teams: map[string]account.Role{"shop": account.Developer},
			Scopes: []account.Scope{account.ScopeChecks}, System: "ci"})
	}
	name, service := strings.CutSuffix(name, "-token")
	a := account.Actor{ID: "usr_" + name, Name: name, Service: service, Teams: map[string]account.Role{}}
	switch name {
	case "root":
		a.Admin = true
	case "dora", "dan":
		a.Teams["shop"] = account.Developer
	case "olga":
		a.Teams["shop"] = account.Operator
	case "owen":
		a.Teams["shop"], a.Teams["other"] = account.Owner, account.Developer
	case "eve":
		a.Teams["other"] = account.Developer
	case "sam", "sue":
		a.Disciplines = []string{account.Security}
	case "otto":
		a.Disciplines = []string{account.Operations}
	case "dev":
		a.Disciplines = []string{account.Development}
	case "both":
		a.Disciplines = []string{account.Security, account.Operations}
	}
	return account.With(context.Background(), a)
}

// Certified puts a version into the catalogue as if it had been certified.
func (p *Platform) Certified(version string, edits ...string) pattern.Version {
	p.T.Helper()
	repo := git.Pattern("web-service")
	if !p.Git.Exists(repo) {
		if _, err := p.Patterns.Create(p.As("root"), repo.Name, "", nil); err != nil {
			p.T.Fatal(err)
		}
	}
	main := p.resolve(repo, "refs/heads/main")
	head, err := p.Git.CommitFiles(context.Background(), repo, "certified-"+version, main, Files(edits...), "Version "+version, git.Platform)
	if err == nil {
		_, err = p.Git.CommitMerge(context.Background(), repo, main, head, "Version "+version, git.Platform)
	}
	if err != nil {
		p.T.Fatal(err)
	}
	dir := p.T.TempDir()
	for name, content := range Files(edits...) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			p.T.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			p.T.Fatal(err)
		}
	}
	v, err := p.Patterns.Add(p.As("root"), repo.Name, version, dir, "")
	if err == nil {
		err = p.DB.Write(account.System(context.Background(), "test"), func(tx *db.Tx) error { return p.Patterns.Certify(tx, v, "") })
	}
	if err != nil {
		p.T.Fatal(err, fault.From(err).Fields)
	}
	return v
}

// Storefront makes the app storefront on web-service and waits until it is deployed.
func (p *Platform) Storefront(wanted string) {
	p.T.Helper()
	_, id, err := p.Apps.Create(p.As("dora"), app.Create{Name: "storefront", Team: "shop", Pattern: "web-service", Version: wanted})
	if err != nil {
		p.T.Fatal(err)
	}
	p.Reaches(id, change.Merged)
	p.Rolled()
}

// Store stores an artifact with one file, as the outer CI of an app uploads it, or for no app somebody for
// patterns, and returns its digest.
func (p *Platform) Store(name, file, content string) string {
	p.T.Helper()
	dir := p.T.TempDir()
	var packed bytes.Buffer
	err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600)
	if err != nil {
		p.T.Fatal(err)
	}
	if _, err := local.PackDir(&packed, dir); err != nil {
		p.T.Fatal(err)
	}
	digest, _, err := p.Changes.Builder.Upload(p.As("dora"), name, &packed)
	if err != nil {
		p.T.Fatal(err)
	}
	return digest
}

// Built returns a file of the artifact that runs in prod.
func (p *Platform) Built(name, file string) string {
	p.T.Helper()
	var i app.Instance
	err := p.DB.Read(context.Background(), func(tx *db.Tx) (err error) { i, err = app.FindInstance(tx, name, "prod"); return err })
	if err != nil {
		p.T.Fatal(err)
	}
	packed, err := app.OpenArtifact(context.Background(), p.blobs, i.Deployed.Artifact)
	if err != nil {
		p.T.Fatal(err)
	}
	defer packed.Close()
	dir := p.T.TempDir()
	if err := local.UnpackDir(dir, packed); err != nil {
		p.T.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		p.T.Fatal(err)
	}
	return string(content)
}

func (p *Platform) resolve(repo git.Repo, ref string) string {
	p.T.Helper()
	sha, err := p.Git.Resolve(context.Background(), repo, ref)
	if err != nil {
		p.T.Fatal(err)
	}
	return sha
}

// Commit commits files to a branch, made from main if it is not there.
func (p *Platform) Commit(who string, repo git.Repo, branch, message string, files map[string][]byte) string {
	p.T.Helper()
	heads, err := p.Git.Heads(context.Background(), repo)
	if err != nil {
		p.T.Fatal(err)
	}
	parent := heads[branch]
	if parent == "" {
		parent = heads[git.Main]
	}
	head, err := p.Git.CommitFiles(p.As(who), repo, branch, parent, files, message, git.Identity{Name: who, Email: who + "@example.org"})
	if err != nil {
		p.T.Fatal(err)
	}
	return head
}

// Push commits files to a branch as a person and tells the platform of the push. It returns the change
// and what the pusher read.
func (p *Platform) Push(who string, repo git.Repo, branch, message string, files map[string]string) (change.Change, string) {
	p.T.Helper()
	bytes := map[string][]byte{}
	for name, content := range files {
		bytes[name] = []byte(content)
	}
	head := p.Commit(who, repo, branch, message, bytes)
	return p.Pushed(who, repo, branch, head)
}

// Pushed tells the platform that a branch moved.
func (p *Platform) Pushed(who string, repo git.Repo, branch, head string) (change.Change, string) {
	p.T.Helper()
	lines := p.Changes.Pushed(p.As(who), git.Push{Repo: repo, Updates: []git.RefUpdate{{Ref: "refs/heads/" + branch, New: head}}})
	list, err := p.Changes.List(p.As("root"), change.Filter{Subject: repo.Name, Limit: 1000})
	if err != nil {
		p.T.Fatal(err)
	}
	i := slices.IndexFunc(list, func(c change.Change) bool { return c.Head == head && c.Branch == branch })
	if i < 0 {
		return change.Change{}, strings.Join(lines, "\n")
	}
	return list[i], strings.Join(lines, "\n")
}

// Shop pushes to the app storefront.
func (p *Platform) Shop(branch, message string, files map[string]string) (change.Change, string) {
	p.T.Helper()
	return p.Push("dora", git.App("storefront"), branch, message, files)
}

// Get returns a change as it is now.
func (p *Platform) Get(id string) change.Change {
	p.T.Helper()
	c, _, err := p.Changes.Get(p.As("root"), id)
	if err != nil {
		p.T.Fatal(err)
	}
	return c
}

// Checks returns the checks of a change's current revision, by name.
func (p *Platform) Checks(id string) map[string]change.Check {
	p.T.Helper()
	_, list, err := p.Changes.Get(p.As("root"), id)
	if err != nil {
		p.T.Fatal(err)
	}
	out := map[string]change.Check{}
	for _, k := range list {
		out[k.Name] = k
	}
	return out
}

// Reaches waits until the change is in one of the states and returns it.
func (p *Platform) Reaches(id string, states ...change.State) change.Change {
	p.T.Helper()
	for deadline := time.Now().Add(patience.Of(patience.Limit)); ; time.Sleep(10 * time.Millisecond) {
		c := p.Get(id)
		if slices.Contains(states, c.State) && (c.State != change.Merged || c.Kind != change.OfApp || p.told(id)) {
			return c
		}
		if time.Now().After(deadline) || !c.State.Open() && !slices.Contains(states, c.State) {
			p.T.Fatalf("change %s is %s (%s), never %v; checks %v", id, c.State, c.Why, states, slices.Collect(maps.Values(p.Checks(id))))
		}
	}
}

// Texts joins the reasons of a change.
func Texts(c change.Change) string {
	texts := []string{}
	for _, r := range c.Reasons {
		texts = append(texts, r.Text)
	}
	return strings.Join(texts, "\n")
}

// Becomes changes what a person is, as an admin would: nil leaves it as it is.
func (p *Platform) Becomes(name string, active *bool, disciplines *[]string) {
	p.T.Helper()
	if _, err := account.New(p.DB).EditUser(p.As("root"), name, "", account.UserEdit{Active: active, Disciplines: disciplines}); err != nil {
		p.T.Fatal(err)
	}
}

// Audited returns how often the audit log has an action with a decision.
func (p *Platform) Audited(action, decision string) (n int) {
	p.T.Helper()
	err := p.DB.Read(context.Background(), func(tx *db.Tx) error {
		return tx.QueryRow(`select count(*) from audit where action = $1 and decision = $2 and actor <> ''`, action, decision).Scan(&n)
	})
	if err != nil {
		p.T.Fatal(err)
	}
	return n
}
