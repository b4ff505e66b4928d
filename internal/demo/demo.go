// Package demo plays one revolution before a user's eyes: self-service, the three lanes, and a rollback,
// each of them real: a real git push, a real infrastructure run, real processes that serve HTTP.
//
// It starts a whole Flywheel and then is nothing but its user: it speaks the API with the tokens of
// several people, pushes with git, and asks the apps over HTTP. What it uses is in the folder
// examples, so that a reader can do every step by hand.
package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"flywheel.dev/flywheel/examples"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/local"
	"flywheel.dev/flywheel/internal/server"
)

// CommandOf returns `flywheel demo`.
func CommandOf(version string) *cobra.Command {
	o := server.Options{Version: version}
	var once bool
	var output string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Start Flywheel with everything embedded and play one revolution",
		Long: `Start Flywheel with everything embedded, in a folder of its own, and play one revolution: an app
from a certified pattern, a change in each lane, and a rollback. Afterwards it stays up to be looked
at; with --once it ends, and -o json prints what happened.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return run(ctx, o, once, c.Flags().Lookup("output").Value.String() == "json", c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().BoolVar(&once, "once", false, "end after the revolution")
	c.Flags().StringVarP(&output, "output", "o", "table", "table, or json for a report of what happened")
	c.Flags().StringVar(&o.Data, "data", "", "folder to use (default: a new one that is removed at the end)")
	c.Flags().StringVar(&o.Listen, "listen", "127.0.0.1:7270", "address to listen on; with --once any free port is used unless it is given")
	c.Flags().StringVar(&o.Engine, "engine", "", "path of tofu or terraform (default: as found on PATH)")
	c.Flags().StringVar(&o.DatabaseURL, "database-url", "", "an empty PostgreSQL database (default: SQLite)")
	c.PreRun = func(c *cobra.Command, _ []string) {
		if once && !c.Flags().Changed("listen") {
			o.Listen = "127.0.0.1:0"
		}
	}
	return c
}

// demo is one play.
type demo struct {
	*progress
	server *server.Server
	report *Report
	work   string // folder of clones
	admin  *person
	dana   *person // developer and operator of the team shop
	coe    map[string]*person
	step   *Step
	urls   map[string]string // of the app, by environment
	told   map[string]bool   // what was said of checks and deployments
}

func run(ctx context.Context, o server.Options, once, asJSON bool, out, errs io.Writer) (err error) {
	server.KeepPrivate()
	color := false
	if f, ok := errs.(*os.File); ok {
		color = term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == ""
	}
	p := &progress{w: errs, color: color}
	temporary := o.Data == ""
	if temporary {
		if o.Data, err = os.MkdirTemp("", "flywheel-demo-"); err != nil {
			return err
		}
		defer os.RemoveAll(o.Data)
	} else if err := os.MkdirAll(o.Data, 0o700); err != nil {
		return fault.New(fault.Unavailable, "data.unwritable", "The folder %s cannot be made.", o.Data).Do("Give --data a folder that this user may write.").Because(err)
	}
	log, err := os.Create(filepath.Join(o.Data, "serve.log"))
	if err != nil {
		return fault.New(fault.Unavailable, "data.unwritable", "The folder %s cannot be written.", o.Data).Do("Give --data a folder that this user may write.").Because(err)
	}
	defer log.Close()
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	began := time.Now()
	s, err := server.New(ctx, o)
	if err != nil {
		return err
	}
	defer func() {
		s.Stop()
		stopAgent(filepath.Join(o.Data, "agent"))
	}()
	if err := s.Start(ctx); err != nil {
		return err
	}
	if s.SignIn[0] == "" {
		return fault.New(fault.Conflict, "demo.data_in_use", "The folder %s, or the database, was used before, and the demo begins with an empty Flywheel.", o.Data).
			Do("Give --data a new folder, or leave it out; `flywheel serve --data %s` starts what is there.", o.Data)
	}
	d := &demo{progress: p, server: s, report: &Report{URL: s.URL(), Engine: s.Engine.Name + " " + s.Engine.Version}, work: filepath.Join(o.Data, "clones"),
		coe: map[string]*person{}, urls: map[string]string{}, told: map[string]bool{}}
	p.head("Flywheel is ready at %s (%.1f s, %s)", s.URL(), time.Since(began).Seconds(), d.report.Engine)
	p.note("sign in as %s with the password %s", s.SignIn[0], s.SignIn[1])
	err = d.play(ctx)
	d.report.Seconds, d.report.OK = time.Since(began).Seconds(), err == nil
	if asJSON {
		err = errors.Join(err, d.report.write(out))
	}
	if err != nil {
		if !temporary {
			p.note("the server's log is %s", log.Name())
		}
		return err
	}
	p.head("One revolution in %.0f seconds.", d.report.Seconds)
	if once {
		return nil
	}
	p.note("pages: %s", s.URL())
	p.note("people: admin (%s), dana, and for the Center of Excellence sam, olga, devi (password of all four: %s)", s.SignIn[1], password)
	for _, e := range []string{"staging", "prod"} {
		p.note("storefront in %s: %s", e, d.urls[e])
	}
	p.note("press Ctrl-C to end")
	<-ctx.Done()
	return nil
}

func stopAgent(dir string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_ = (&local.Client{Socket: filepath.Join(dir, "agent.sock")}).Stop(ctx) // it may not have been started
}

const password = "correct horse battery staple"

// play is the revolution, step by step.
func (d *demo) play(ctx context.Context) error {
	if err := d.prepare(ctx); err != nil {
		return err
	}
	for _, s := range []struct {
		name, title string
		do          func(context.Context) error
	}{
		{"self-service", "1. Self-service: an app from a certified pattern", d.selfService},
		{"software", "2. Software lane: business logic, under load, without an infrastructure run", d.softwareLane},
		{"variable", "3. Variable lane: inside the bounds by itself, outside refused", d.variableLane},
		{"pattern", "4. Pattern lane: the pattern itself changes, people only decide", d.patternLane},
		{"rollback", "5. Rollback: a sick release goes back by itself", d.rollback},
	} {
		d.head("%s", s.title)
		d.step = &Step{Name: s.name, Title: s.title, Changes: []Change{}, HTTP: []Answer{}, began: time.Now()}
		d.report.Steps = append(d.report.Steps, d.step)
		err := s.do(ctx)
		d.step.Seconds = time.Since(d.step.began).Seconds()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// prepare makes people, environments and the certified pattern, which a company has before the story
// begins.
func (d *demo) prepare(ctx context.Context) error {
	d.head("Before the story: people, environments, and a certified pattern")
	admin, err := d.signIn(ctx, d.server.SignIn[0], d.server.SignIn[1])
	if err != nil {
		return err
	}
	d.admin = admin
	for _, u := range []struct{ name, title, discipline string }{
		{"dana", "Dana Developer", "development"}, {"sam", "Sam Security", "security"}, {"olga", "Olga Operations", "operations"}, {"devi", "Devi Development", "development"},
	} {
		body := map[string]any{"name": u.name, "title": u.title, "password": password}
		if u.discipline != "" {
			body["disciplines"] = []string{u.discipline}
		}
		if err := admin.call(ctx, "POST", "/api/v1/users", body, nil); err != nil {
			return err
		}
	}
	if err := admin.call(ctx, "POST", "/api/v1/teams", map[string]any{"name": "shop", "title": "Web shop"}, nil); err != nil {
		return err
	}
	if err := admin.call(ctx, "PUT", "/api/v1/teams/shop/members/dana", map[string]any{"role": "operator"}, nil); err != nil {
		return err
	}
	for discipline, name := range map[string]string{"security": "sam", "operations": "olga", "development": "devi"} {
		if d.coe[discipline], err = d.signIn(ctx, name, password); err != nil {
			return err
		}
	}
	if d.dana, err = d.signIn(ctx, "dana", password); err != nil {
		return err
	}
	for _, e := range []map[string]any{{"name": "staging", "class": "staging"}, {"name": "prod", "class": "production", "after": "staging"}} {
		if err := admin.call(ctx, "POST", "/api/v1/environments", e, nil); err != nil {
			return err
		}
	}
	files, err := texts(examples.Files, "patterns/web-service")
	if err != nil {
		return err
	}
	var made struct{ Change string }
	if err := admin.call(ctx, "POST", "/api/v1/patterns", map[string]any{"name": "web-service", "title": "Web service", "files": files}, &made); err != nil {
		return err
	}
	if _, err := d.settle(ctx, made.Change, change.Review); err != nil {
		return err
	}
	if err := d.approve(ctx, made.Change); err != nil {
		return err
	}
	if _, err := d.settle(ctx, made.Change, change.Merged); err != nil {
		return err
	}
	d.line("pattern web-service 1.0.0 is certified by security, operations and development")
	return nil
}

// signIn signs a person in and makes a token, as `flywheel login` does.
func (d *demo) signIn(ctx context.Context, name, secret string) (*person, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	p := &person{name: name, url: d.server.URL(), client: &http.Client{Jar: jar}}
	if err := p.call(ctx, "POST", "/api/v1/session", map[string]any{"name": name, "password": secret}, nil); err != nil {
		return nil, err
	}
	var token struct{ Secret string }
	err = p.call(ctx, "POST", "/api/v1/tokens", map[string]any{"name": "demo", "scopes": []string{"read", "write", "admin"}}, &token)
	return &person{name: name, url: d.server.URL(), token: token.Secret, client: &http.Client{}}, err
}

func (d *demo) approve(ctx context.Context, id string) error {
	for _, discipline := range []string{"security", "operations", "development"} {
		p := d.coe[discipline]
		now, err := d.detail(ctx, id)
		if err != nil {
			return err
		}
		body := map[string]any{"discipline": discipline, "digest": now.Certification.Digest, "reason": "checked"}
		if err := p.call(ctx, "POST", "/api/v1/changes/"+id+"/approve", body, nil); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) detail(ctx context.Context, id string) (c server.ChangeDetail, err error) {
	return c, d.dana.orAdmin(d.admin).call(ctx, "GET", "/api/v1/changes/"+id, nil, &c)
}

func (p *person) orAdmin(admin *person) *person {
	if p == nil {
		return admin
	}
	return p
}

// settle waits until a change is in one of the states, telling its checks and deployments as they
// pass. A change that ends elsewhere is an error with its reason.
func (d *demo) settle(ctx context.Context, id string, wanted ...change.State) (server.ChangeDetail, error) {
	tell := func(key, format string, args ...any) {
		if !d.told[key] {
			d.told[key] = true
			d.note(format, args...)
		}
	}
	for {
		now, err := d.detail(ctx, id)
		if err != nil {
			return now, err
		}
		for _, k := range now.Checks {
			if k.State != change.CheckRunning && k.Name != "lane" {
				tell(k.ID+string(k.State), "%-18s %s: %s", k.Name, k.State, k.Summary)
			}
		}
		for _, x := range now.Deployments {
			if x.State.Over() {
				tell(x.ID, "%-18s %s (%s) %s in %.2f s", "deploy "+x.Environment, x.State, x.Kind, x.Reason, x.FinishedAt.Sub(*x.StartedAt).Seconds())
			}
		}
		for _, w := range wanted {
			if now.Change.State == w {
				return now, nil
			}
		}
		switch now.Change.State {
		case change.Checking, change.Merging, change.Waiting:
		case change.Merged:
			if now.Change.Why != "" {
				return now, fmt.Errorf("change %s is stuck: %s", id, now.Change.Why)
			}
		default:
			return now, fmt.Errorf("change %s is %s: %s %s", id, now.Change.State, now.Change.Why, now.Change.Remedy)
		}
		select {
		case <-ctx.Done():
			return now, ctx.Err()
		case <-time.After(60 * time.Millisecond):
		}
	}
}

func (d *demo) keep(c server.ChangeDetail) { d.step.Changes = append(d.step.Changes, reported(c)) }

func (d *demo) ask(ctx context.Context, when, url string) Answer {
	a := ask(ctx, when, url)
	d.step.HTTP = append(d.step.HTTP, a)
	return a
}

func (d *demo) selfService(ctx context.Context) error {
	var made struct{ Change string }
	err := d.dana.call(ctx, "POST", "/api/v1/apps", map[string]any{"name": "storefront", "title": "Storefront", "team": "shop", "pattern": "web-service"}, &made)
	if err != nil {
		return err
	}
	d.line("dana: flywheel app create storefront --team shop --pattern web-service")
	now, err := d.settle(ctx, made.Change, change.Deployed)
	if err != nil {
		return err
	}
	d.keep(now)
	var a app.Detail
	if err := d.dana.call(ctx, "GET", "/api/v1/apps/storefront", nil, &a); err != nil {
		return err
	}
	for _, i := range a.Instances {
		d.urls[i.Environment] = i.URL
		if got := d.ask(ctx, "after", i.URL+"/"); got.Status != 200 {
			return fmt.Errorf("%s answers %d", i.URL, got.Status)
		}
		d.line("storefront runs in %s at %s", i.Environment, i.URL)
	}
	if err := d.git(ctx, "", "clone", "--quiet", d.remote("apps/storefront"), d.clone("storefront")); err != nil {
		return err
	}
	// The shop itself is the team's first push: a software-lane change like any other.
	if err := d.lay("storefront", "storefront"); err != nil {
		return err
	}
	now, err = d.push(ctx, "storefront", "shop", "Sell products, take orders", change.Deployed)
	if err != nil {
		return err
	}
	d.keep(now)
	if got := d.ask(ctx, "after", d.urls["prod"]+"/products"); got.Status != 200 {
		return fmt.Errorf("the shop does not answer: %d", got.Status)
	}
	d.line("the shop is open in prod, by lane %s", now.Change.Lane)
	return nil
}

func (d *demo) softwareLane(ctx context.Context) error {
	d.ask(ctx, "before", d.urls["prod"]+"/price?product=soap&quantity=12")
	if err := d.lay("_changes/02-discount", "storefront"); err != nil {
		return err
	}
	l := startLoad(d.urls["prod"])
	now, err := d.push(ctx, "storefront", "discount", "Give a discount on a dozen", change.Deployed)
	d.step.Load = l.end()
	if err != nil {
		return err
	}
	d.keep(now)
	if now.Change.Lane != change.Software {
		return fmt.Errorf("the change took the lane %s", now.Change.Lane)
	}
	for _, x := range now.Deployments {
		if x.Kind != "release" {
			return fmt.Errorf("deployment %s was an infrastructure run", x.ID)
		}
	}
	d.ask(ctx, "after", d.urls["prod"]+"/price?product=soap&quantity=12")
	d.line("%d requests meanwhile (%d POSTs, %d slow ones): %d failed", d.step.Load.Requests, d.step.Load.Posts, d.step.Load.Slow, d.step.Load.Failures)
	if d.step.Load.Failures > 0 {
		return fmt.Errorf("%d of %d requests failed during the rollout: %s", d.step.Load.Failures, d.step.Load.Requests, d.step.Load.First)
	}
	return nil
}

func (d *demo) variableLane(ctx context.Context) error {
	// Payments need a secret: the platform stores it encrypted, and only the agent looks it up, when it starts the app.
	key := rand.Text()
	if _, err := d.pay(ctx, "before", d.urls["prod"], key); err != nil {
		return err
	}
	if err := d.dana.call(ctx, "PUT", "/api/v1/apps/storefront/environments/prod/secrets/payment_key", map[string]any{"value": key}, nil); err != nil {
		return err
	}
	d.line("dana: flywheel secret set storefront prod payment_key < key.txt")
	if err := d.variables("prod: {}", "prod: {variables: {instances: 3, payments: true}}"); err != nil {
		return err
	}
	now, err := d.push(ctx, "storefront", "more-instances", "Run three instances in prod, and take payments", change.Deployed)
	if err != nil {
		return err
	}
	d.keep(now)
	d.line("prod runs three instances; nobody was asked (lane %s)", now.Change.Lane)
	d.ask(ctx, "after", d.urls["prod"]+"/healthz")
	paid, err := d.pay(ctx, "after", d.urls["prod"], key)
	if err != nil || paid.Status != 200 {
		return errors.Join(err, fmt.Errorf("the payment was answered with %d %s", paid.Status, paid.Body))
	}
	d.line("a payment signed with the secret is taken; before, the shop took none")

	if err := d.variables("prod: {variables: {instances: 3, payments: true}}", "prod: {variables: {instances: 40, payments: true}}"); err != nil {
		return err
	}
	now, err = d.push(ctx, "storefront", "too-many", "Run forty instances in prod", change.Refused)
	if err != nil {
		return err
	}
	d.keep(now)
	d.step.Refused = append(d.step.Refused, Refusal{"40 instances in prod", now.Change.Why + " " + now.Change.Remedy})
	d.line("forty are refused: %s %s", now.Change.Why, now.Change.Remedy)
	if err := d.dana.call(ctx, "POST", "/api/v1/changes/"+now.Change.ID+"/close", map[string]any{"reason": "only shown"}, nil); err != nil {
		return err
	}
	return d.sync(ctx, "storefront")
}

func (d *demo) patternLane(ctx context.Context) error {
	var story struct{ Key string }
	if err := d.dana.call(ctx, "POST", "/api/v1/stories", map[string]any{"title": "Shops near me", "team": "shop"}, &story); err != nil {
		return err
	}
	near := d.urls["prod"] + "/stores/near?lat=52.52&lon=13.40"
	before := d.ask(ctx, "before", near)
	d.line("story %s: shops near me; /stores/near answers %d today", story.Key, before.Status)

	digest, err := d.uploadSearch(ctx)
	if err != nil {
		return err
	}
	if err := d.git(ctx, "", "clone", "--quiet", d.remote("patterns/web-service"), d.clone("web-service")); err != nil {
		return err
	}
	if err := d.layWith("_changes/04-pattern", "web-service", "@SEARCH_ARTIFACT@", strings.TrimPrefix(digest, "sha256:")); err != nil {
		return err
	}
	if err := d.commit(ctx, "web-service", "Add a search service\n\nStory: "+story.Key); err != nil {
		return err
	}
	if err := d.git(ctx, d.clone("web-service"), "push", "--quiet", d.remote("patterns/web-service"), "HEAD:main"); err == nil {
		return errors.New("a push to the pattern's main was accepted")
	} else {
		d.step.Refused = append(d.step.Refused, Refusal{"push to main of the pattern repository", lastLine(err.Error())})
		d.line("a push to main of the pattern repository is refused")
	}
	proposal, err := d.pushOnly(ctx, "web-service", "search", "patterns/web-service")
	if err != nil {
		return err
	}
	// The app that uses it is pushed at once, and waits.
	if err := d.lay("_changes/04-app", "storefront"); err != nil {
		return err
	}
	if err := d.replace("storefront", "flywheel.yaml", `version: "~1.0.0"`, `version: "~1.1"`); err != nil {
		return err
	}
	waiting, err := d.push(ctx, "storefront", "shops-near-me", "Find shops nearby\n\nStory: "+story.Key+"\nNeeds: "+proposal, change.Waiting)
	if err != nil {
		return err
	}
	d.line("the app change waits %s", waiting.Change.Why)

	review, err := d.settle(ctx, proposal, change.Review)
	if err != nil {
		return err
	}
	d.line("certified by itself so far: %s %s, a %s version; %d live instances were planned on it", "web-service", review.Certification.Version, review.Certification.Bump, review.Certification.Radius.Instances)
	own := map[string]any{"discipline": "development", "digest": review.Certification.Digest}
	if err := d.dana.call(ctx, "POST", "/api/v1/changes/"+proposal+"/approve", own, nil); err == nil {
		return errors.New("the author's own approval was accepted")
	} else {
		d.step.Refused = append(d.step.Refused, Refusal{"the author's own approval", err.Error()})
		d.line("the author's own approval is refused: %s", err)
	}
	if err := d.approve(ctx, proposal); err != nil {
		return err
	}
	d.line("security, operations and development approve")
	published, err := d.settle(ctx, proposal, change.Merged)
	if err != nil {
		return err
	}
	d.keep(published)
	done, err := d.settle(ctx, waiting.Change.ID, change.Deployed)
	if err != nil {
		return err
	}
	done.Change.Needs = proposal
	d.keep(done)
	d.line("version %s is published, and the waiting app was deployed with it by itself", published.Certification.Version)
	after := Answer{}
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if after = ask(ctx, "after", near); after.Status == 200 {
			break
		}
	}
	d.step.HTTP = append(d.step.HTTP, after)
	if after.Status != 200 || before.Status == 200 {
		return fmt.Errorf("/stores/near answered %d before and %d after", before.Status, after.Status)
	}
	d.line("/stores/near answers: %s", strings.TrimSpace(clip(after.Body, 110)))
	return d.sync(ctx, "storefront")
}

func (d *demo) rollback(ctx context.Context) error {
	if err := d.lay("_changes/05-broken", "storefront"); err != nil {
		return err
	}
	now, err := d.push(ctx, "storefront", "sick", "Refactor the health check", change.RolledBack)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(20 * time.Second); now.Change.Revert == "" && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if now, err = d.detail(ctx, now.Change.ID); err != nil {
			return err
		}
	}
	// The rollback itself may still be under way when the change is marked.
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if now, err = d.detail(ctx, now.Change.ID); err != nil {
			return err
		}
		if n := len(now.Deployments); n > 1 && now.Deployments[n-1].State.Over() {
			break
		}
	}
	d.keep(now)
	if now.Change.Revert == "" {
		return errors.New("no revert was opened")
	}
	revert, err := d.settle(ctx, now.Change.Revert, change.Ready)
	if err != nil {
		return err
	}
	d.keep(revert)
	d.line("rolled back: %s", now.Change.Why)
	d.line("its revert is open: %s %s", revert.Change.ID, revert.Change.Title)
	for _, e := range []string{"staging", "prod"} {
		if got := d.ask(ctx, "after", d.urls[e]+"/healthz"); got.Status != 200 {
			return fmt.Errorf("%s answers %d after the rollback", e, got.Status)
		}
	}
	d.line("customers noticed nothing: staging and prod answer")
	return nil
}

// push commits what was laid, pushes it on a branch and waits until its change is in a state.
func (d *demo) push(ctx context.Context, name, branch, message string, wanted change.State) (server.ChangeDetail, error) {
	if err := d.commit(ctx, name, message); err != nil {
		return server.ChangeDetail{}, err
	}
	id, err := d.pushOnly(ctx, name, branch, "apps/"+name)
	if err != nil {
		return server.ChangeDetail{}, err
	}
	now, err := d.settle(ctx, id, wanted)
	if err == nil && wanted == change.Deployed {
		err = d.sync(ctx, name)
	}
	return now, err
}

// pushOnly pushes the clone's head to a branch and returns the id of the change that git's answer names.
func (d *demo) pushOnly(ctx context.Context, name, branch, repo string) (string, error) {
	said, err := d.output(ctx, d.clone(name), "push", "--force", d.remote(repo), "HEAD:refs/heads/"+branch)
	if err != nil {
		return "", err
	}
	d.line("git push origin HEAD:%s", branch)
	d.terminal(said)
	_, rest, found := strings.Cut(said, "/changes/")
	id, _, _ := strings.Cut(rest, "\n")
	if !found {
		return "", fmt.Errorf("git push did not answer with a change: %s", said)
	}
	return strings.TrimSpace(id), nil
}

// sync brings a clone to main as it is now.
func (d *demo) sync(ctx context.Context, name string) error {
	if err := d.git(ctx, d.clone(name), "fetch", "--quiet", d.remote("apps/"+name), "main"); err != nil {
		return err
	}
	return d.git(ctx, d.clone(name), "reset", "--quiet", "--hard", "FETCH_HEAD")
}

func (d *demo) commit(ctx context.Context, name, message string) error {
	if err := d.git(ctx, d.clone(name), "add", "--all"); err != nil {
		return err
	}
	return d.git(ctx, d.clone(name), "-c", "user.name=Dana Developer", "-c", "user.email=dana@example.com", "commit", "--quiet", "-m", message)
}

func (d *demo) clone(name string) string { return filepath.Join(d.work, name) }

func (d *demo) remote(repo string) string {
	u, err := url.Parse(d.server.URL())
	if err != nil {
		return d.server.URL()
	}
	u.User, u.Path = url.UserPassword("dana", d.dana.token), "/git/"+repo+".git"
	return u.String()
}

func (d *demo) git(ctx context.Context, dir string, args ...string) error {
	_, err := d.output(ctx, dir, args...)
	return err
}

func (d *demo) output(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return said.String(), fmt.Errorf("git %s: %s", args[0], strings.ReplaceAll(strings.TrimSpace(said.String()), d.dana.token, "…"))
	}
	return said.String(), nil
}

// lay copies an example folder over a clone.
func (d *demo) lay(folder, name string) error { return d.layWith(folder, name, "", "") }

func (d *demo) layWith(folder, name, old, new string) error {
	files, err := texts(examples.Files, folder)
	if err != nil {
		return err
	}
	for path, text := range files {
		if old != "" {
			text = strings.ReplaceAll(text, old, new)
		}
		file := filepath.Join(d.clone(name), filepath.FromSlash(strings.TrimSuffix(path, ".skeleton")))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if strings.HasSuffix(path, ".sh") {
			mode = 0o755
		}
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) variables(old, new string) error {
	return d.replace("storefront", "flywheel.yaml", old, new)
}

func (d *demo) replace(name, file, old, new string) error {
	path := filepath.Join(d.clone(name), file)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), old) {
		return fmt.Errorf("%s does not say %q:\n%s", file, old, text)
	}
	return os.WriteFile(path, []byte(strings.Replace(string(text), old, new, 1)), 0o644)
}

// uploadSearch uploads the program of the search service, which the new pattern version runs.
func (d *demo) uploadSearch(ctx context.Context) (string, error) {
	program := filepath.Join(filepath.Dir(d.server.Options.Self), "searchd")
	text, err := os.ReadFile(program)
	if err != nil {
		return "", fault.New(fault.Unavailable, "demo.searchd_missing", "The program searchd is not beside flywheel.").Do("Run `make build`, which makes both.").Because(err)
	}
	dir := filepath.Join(d.work, "searchd")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "searchd"), text, 0o755); err != nil {
		return "", err
	}
	var packed bytes.Buffer
	if _, err := local.PackDir(&packed, dir); err != nil {
		return "", err
	}
	var uploaded struct{ Digest string }
	err = d.dana.send(ctx, "POST", "/api/v1/artifacts", "application/gzip", &packed, &uploaded)
	d.line("flywheel artifact upload searchd: %s", clip(uploaded.Digest, 19))
	return uploaded.Digest, err
}

// texts returns the files below a folder by their path in it.
func texts(from fs.FS, folder string) (map[string]string, error) {
	out := map[string]string{}
	err := fs.WalkDir(from, folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := fs.ReadFile(from, path)
		out[strings.TrimPrefix(path, folder+"/")] = string(text)
		return err
	})
	return out, err
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for _, l := range lines {
		if strings.Contains(l, "protected") {
			return strings.TrimSpace(strings.TrimPrefix(l, "remote: "))
		}
	}
	return lines[len(lines)-1]
}
