package server_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/deploy"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/local"
	"flywheel.dev/flywheel/internal/patience"
	"flywheel.dev/flywheel/internal/server"
)

// The tests of this package run the real binary as an operator would: as processes of their own, which
// are killed. They speak to it over HTTP and with the real git, and look into its database to see what
// is true. A platform is one Flywheel with a certified pattern; its tests use an app each.

// binaries are built once for all tests: the product and the app.
var binaries struct {
	folder            string
	flywheel, webpage string
}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "fw")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binaries.folder = dir
		return m.Run()
	}())
}

var build = sync.OnceValue(func() error {
	binaries.flywheel, binaries.webpage = filepath.Join(binaries.folder, "flywheel"), filepath.Join(binaries.folder, "app")
	return errors.Join(goBuild("-o", binaries.webpage, "-ldflags", "-s -w", "./testdata/app"), goBuild("-o", binaries.flywheel, "flywheel.dev/flywheel/cmd/flywheel"))
})

func goBuild(args ...string) error {
	cmd := exec.Command("go", append([]string{"build"}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // the app runs where nothing else is
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %v: %w\n%s", args, err, out)
	}
	return nil
}

// platform is a running Flywheel as one test sees it.
type platform struct {
	*running
	t     *testing.T
	admin *person
	olga  *person // Center of Excellence, operations
	dana  *person // operator of the team shop
}

// running is what tests of one platform share.
type running struct {
	data     string
	database string
	secret   string // password of everybody

	mu       sync.Mutex
	binary   string
	replicas map[string]*replica
	db       *db.DB
}

// at returns the platform for a test of its own.
func (p *platform) at(t *testing.T) *platform {
	here := &platform{running: p.running, t: t}
	for _, a := range []struct{ from, to **person }{{&p.admin, &here.admin}, {&p.olga, &here.olga}, {&p.dana, &here.dana}} {
		one := **a.from
		one.p = here
		*a.to = &one
	}
	return here
}

// replica is one process `flywheel serve`.
type replica struct {
	name   string
	listen string
	cmd    *exec.Cmd
	gone   chan struct{}
	log    string
}

// person speaks to the API.
type person struct {
	p     *platform
	name  string
	token string
	via   string // replica; "" is main
}

// newPlatform starts a Flywheel with people, environments and the certified pattern tiny.
func newPlatform(t *testing.T) *platform {
	t.Helper()
	dir, err := os.MkdirTemp("", "fwd") // sockets need a short path
	must(t, err)
	t.Cleanup(func() { removeAll(dir) })
	return newPlatformIn(t, dir, dbtest.URL(t))
}

// slow skips a proof that takes minutes unless it is asked for: `make kill` does.
func slow(t *testing.T) {
	t.Helper()
	if os.Getenv("FLYWHEEL_KILL") == "" {
		t.Skip("it takes minutes: make kill runs it")
	}
}

func newPlatformIn(t *testing.T, dir, database string) *platform {
	t.Helper()
	if testing.Short() {
		t.Skip("it runs the whole product for a while")
	}
	must(t, build())
	p := &platform{t: t, running: &running{binary: binaries.flywheel, data: dir, database: database, replicas: map[string]*replica{}, secret: "correct horse battery staple"}}
	t.Cleanup(p.stop)
	signIn := p.start("main")
	p.admin = p.signIn(signIn[0], signIn[1])
	people := []map[string]any{{"name": "sam", "disciplines": []string{"security"}}, {"name": "olga", "disciplines": []string{"operations"}},
		{"name": "devi", "disciplines": []string{"development"}}, {"name": "dana"}}
	for _, u := range people {
		u["title"], u["password"] = u["name"], p.secret
		p.admin.must("POST", "/users", u, nil)
	}
	p.admin.must("POST", "/teams", map[string]any{"name": "shop", "title": "Shop"}, nil)
	p.admin.must("PUT", "/teams/shop/members/dana", map[string]any{"role": "operator"}, nil)
	for _, e := range []map[string]any{
		{"name": "staging", "class": "staging"},
		{"name": "prod", "class": "production", "after": "staging"},
		{"name": "lab", "class": "development", "onNewer": "replace-pending"},
	} {
		p.admin.must("POST", "/environments", e, nil)
	}
	p.olga, p.dana = p.signIn("olga", p.secret), p.signIn("dana", p.secret)
	p.certify()
	return p
}

// start starts a replica and waits until it is ready. It returns the sign-in of a first start.
func (p *platform) start(name string, flags ...string) (signIn [2]string) {
	p.t.Helper()
	p.mu.Lock()
	old := p.replicas[name]
	p.mu.Unlock()
	r := &replica{name: name, listen: "127.0.0.1:0", gone: make(chan struct{}), log: filepath.Join(p.data, "serve-"+name+".log")}
	if old != nil {
		<-old.gone
		r.listen = old.listen
	}
	log, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(p.t, err)
	defer log.Close()
	args := slices.Concat([]string{"serve", "--data", p.data, "--database-url", p.database, "--listen", r.listen, "--replica", name}, flags)
	r.cmd = exec.Command(p.binary, args...)
	// Its own environment: what this shell says to an engine must not matter.
	r.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir()}
	r.cmd.Stderr = log
	out, err := r.cmd.StdoutPipe()
	must(p.t, err)
	must(p.t, r.cmd.Start())
	ready := make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			line := lines.Text()
			if url, ok := strings.CutPrefix(line, "Flywheel is ready at http://"); ok {
				r.listen = url
				// The sign-in, if any, is in the same write.
				if old != nil || name != "main" {
					ready <- nil
				}
			}
			if n, err := fmt.Sscanf(line, "Sign in as %s with the password %s", &signIn[0], &signIn[1]); n == 2 && err == nil {
				ready <- nil
			}
		}
		r.cmd.Wait()
		close(r.gone)
		select {
		case ready <- errors.New("it ended"):
		default:
		}
	}()
	select {
	case err = <-ready:
	case <-time.After(patience.Of(patience.Limit)):
		err = errors.New("it is not ready after 30 seconds")
	}
	if err != nil {
		r.cmd.Process.Kill()
		p.t.Fatalf("flywheel serve: %v\n%s", err, tailOf(r.log))
	}
	p.mu.Lock()
	p.replicas[name] = r
	p.mu.Unlock()
	return signIn
}

// kill ends a replica as the loss of power would, terminate as an init system does.
func (p *platform) kill(name string)      { p.end(name, syscall.SIGKILL) }
func (p *platform) terminate(name string) { p.end(name, syscall.SIGTERM) }

func (p *platform) end(name string, how syscall.Signal) {
	p.t.Helper()
	r := p.replica(name)
	r.cmd.Process.Signal(how)
	select {
	case <-r.gone:
	case <-time.After(patience.Of(patience.Limit)):
		r.cmd.Process.Kill()
		p.t.Errorf("replica %s did not end after %s", name, how)
	}
}

func (p *platform) replica(name string) *replica {
	p.mu.Lock()
	defer p.mu.Unlock()
	if name == "" {
		name = "main"
	}
	return p.replicas[name]
}

func (p *platform) stop() {
	for _, r := range p.replicas {
		r.cmd.Process.Kill()
		<-r.gone
	}
	if p.db != nil {
		p.db.Close()
	}
	agent := p.agent()
	if h, err := agent.Health(context.Background()); err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience.Of(patience.Limit))
		defer cancel()
		if agent.Stop(ctx) == nil {
			for wait := time.Now().Add(patience.Of(patience.Limit)); time.Now().Before(wait) && syscall.Kill(h.Pid, 0) == nil; {
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
	if p.t.Failed() {
		for _, r := range p.replicas {
			p.t.Logf("log of %s:\n%s", r.name, tailOf(r.log))
		}
	}
}

func (p *platform) agent() *local.Client {
	return &local.Client{Socket: filepath.Join(p.data, "agent", "agent.sock")}
}

// killAgent ends the agent, and with it every app.
func (p *platform) killAgent() {
	p.t.Helper()
	h, err := p.agent().Health(p.t.Context())
	if err != nil {
		return // it is on its way back from another kill
	}
	syscall.Kill(h.Pid, syscall.SIGKILL)
}

// killEngine ends the engine, or its supervisor, of a run that is going on. It reports whether there was
// one.
func (p *platform) killEngine(file string) bool {
	found, _ := filepath.Glob(filepath.Join(p.data, "run", "engine", "dpl_*", "*", file))
	for _, name := range found {
		if _, err := os.Stat(filepath.Join(filepath.Dir(name), "result.json")); err == nil {
			continue
		}
		text, err := os.ReadFile(name)
		var who struct{ Pid int }
		if err == nil && json.Unmarshal(text, &who) == nil && who.Pid > 0 && syscall.Kill(who.Pid, syscall.SIGKILL) == nil {
			return true
		}
	}
	return false
}

// look opens the platform's database beside it.
func (p *platform) look() *db.DB {
	p.t.Helper()
	if p.db == nil {
		var err error
		p.db, err = db.Open(context.Background(), p.database)
		must(p.t, err)
	}
	return p.db
}

// leave closes the test's own connections to the database, which is about to go.
func (p *platform) leave() {
	if p.db != nil {
		p.db.Close()
		p.db = nil
	}
}

// query reads one column of the database.
func (p *platform) query(sql string, args ...any) (found []string) {
	p.t.Helper()
	must(p.t, event.Number(context.Background(), p.look()))
	must(p.t, p.look().Read(context.Background(), func(tx *db.Tx) (err error) {
		found, err = db.Collect(tx, func(r db.Row) (s string, err error) { return s, r.Scan(&s) }, sql, args...)
		return err
	}))
	return found
}

func (p *platform) signIn(name, password string) *person {
	p.t.Helper()
	jar, err := cookiejar.New(nil)
	must(p.t, err)
	var token struct{ Secret string }
	one := &person{p: p, name: name}
	client := &http.Client{Jar: jar, Timeout: patience.Of(patience.Limit)}
	must(p.t, one.send(client, "POST", "/session", map[string]any{"name": name, "password": password}, nil))
	must(p.t, one.send(client, "POST", "/tokens", map[string]any{"name": "test", "scopes": []string{"read", "write", "admin"}}, &token))
	one.token = token.Secret
	return one
}

// problem is an answer that says no.
type problem struct {
	Status               int
	Code, Detail, Remedy string
}

func (p *problem) Error() string {
	return fmt.Sprintf("%d %s: %s %s", p.Status, p.Code, p.Detail, p.Remedy)
}

var plain = &http.Client{Timeout: patience.Of(patience.Limit), Transport: &http.Transport{DisableKeepAlives: true}}

func (a *person) call(method, path string, in, out any) error {
	return a.send(plain, method, path, in, out)
}

func (a *person) send(client *http.Client, method, path string, in, out any) error {
	text, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequest(method, "http://"+a.p.replica(a.via).listen+"/api/v1"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if a.token != "" {
		r.Header.Set("Authorization", "Bearer "+a.token)
	}
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err = io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 400 {
		no := &problem{Status: response.StatusCode}
		json.Unmarshal(text, no)
		return no
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

func (a *person) must(method, path string, in, out any) {
	a.p.t.Helper()
	if err := a.call(method, path, in, out); err != nil {
		a.p.t.Fatalf("%s %s: %v", method, path, err)
	}
}

// refused fails the test unless the answer is this code.
func (a *person) refused(code, method, path string, in any) {
	a.p.t.Helper()
	err := a.call(method, path, in, nil)
	var no *problem
	if !errors.As(err, &no) || no.Code != code {
		a.p.t.Errorf("%s %s: %v, want %s", method, path, err, code)
	}
}

// certify makes the pattern tiny and takes it to its first certified version.
func (p *platform) certify() {
	p.t.Helper()
	author := p.admin
	author.must("POST", "/patterns", map[string]any{"name": "tiny", "title": "Tiny"}, nil)
	clone := author.clone("patterns/tiny")
	must(p.t, os.Remove(filepath.Join(clone, "README.md")))
	must(p.t, os.CopyFS(clone, os.DirFS("testdata/pattern")))
	program, err := os.ReadFile(binaries.webpage)
	must(p.t, err)
	must(p.t, os.WriteFile(filepath.Join(clone, "skeleton", "app"), program, 0o755))
	id := author.push(clone, "first", "Add the pattern")
	now := p.settle(author, id, change.Review)
	for discipline, who := range map[string]*person{"security": p.signIn("sam", p.secret), "operations": p.olga, "development": p.signIn("devi", p.secret)} {
		who.must("GET", "/changes/"+id+"/diff/file?file=skeleton/app", nil, nil) // too long to be shown whole with the others
		who.must("POST", "/changes/"+id+"/approve", map[string]any{"discipline": discipline, "digest": now.Certification.Digest, "reason": "looked"}, nil)
	}
	p.settle(author, id, change.Merged)
}

// clone clones a repository into a folder of its own.
func (a *person) clone(repository string) string {
	a.p.t.Helper()
	dir := filepath.Join(a.p.t.TempDir(), "clone")
	a.git("", "clone", "-q", a.remote(repository), dir)
	return dir
}

func (a *person) remote(repository string) string {
	return fmt.Sprintf("http://%s:%s@%s/git/%s.git", a.name, a.token, a.p.replica(a.via).listen, repository)
}

func (a *person) git(dir string, args ...string) string {
	a.p.t.Helper()
	out, err := a.tryGit(dir, args...)
	if err != nil {
		a.p.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return out
}

func (a *person) tryGit(dir string, args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"-c", "user.name=" + a.name, "-c", "user.email=" + a.name + "@example.com"}, args...)...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// push commits everything in the clone on a new branch, pushes it, and returns the id of the change.
func (a *person) push(clone, branch, message string) string {
	a.p.t.Helper()
	a.git(clone, "checkout", "-q", "-b", branch)
	a.git(clone, "add", "-A")
	a.git(clone, "commit", "-q", "--allow-empty", "-m", message)
	out := a.git(clone, "push", "origin", branch)
	_, rest, found := strings.Cut(out, "Change chg_")
	if !found {
		a.p.t.Fatalf("the push names no change:\n%s", out)
	}
	id, _, _ := strings.Cut(rest, ":")
	return "chg_" + id
}

// shop is one app and a clone of it.
type shop struct {
	*platform
	by    *person
	name  string
	clone string
}

// newShop creates an app in the environments and waits until it is deployed.
func (p *platform) newShop(t *testing.T, name string, environments ...string) *shop {
	t.Helper()
	here := p.at(t)
	s := &shop{platform: here, by: here.dana, name: name}
	var made struct{ Change string }
	s.by.must("POST", "/apps", map[string]any{"name": name, "team": "shop", "pattern": "tiny", "environments": environments}, &made)
	here.settle(s.by, made.Change, change.Deployed)
	s.clone = s.by.clone("apps/" + name)
	return s
}

// on returns the shop for a test of its own.
func (s *shop) on(t *testing.T) *shop {
	here := *s
	here.platform = s.at(t)
	here.by = here.dana
	return &here
}

// mode commits how the app behaves and pushes it as a change of its own.
func (s *shop) mode(branch, mode string, trailers ...string) string {
	s.t.Helper()
	s.by.git(s.clone, "fetch", "-q", "origin", "main")
	s.by.git(s.clone, "checkout", "-q", "--detach", "origin/main")
	must(s.t, os.WriteFile(filepath.Join(s.clone, "mode"), []byte(strings.ReplaceAll(mode, " ", "\n")+"\n"), 0o644))
	message := branch
	if len(trailers) > 0 {
		message += "\n\n" + strings.Join(trailers, "\n")
	}
	id := s.by.push(s.clone, branch, message)
	s.merged(id)
	return id
}

// merged waits until a change is on main, however it goes on from there.
func (s *shop) merged(id string) {
	s.t.Helper()
	var d server.ChangeDetail
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("change %s is %s: %s %s", id, d.Change.State, d.Change.Why, checksOf(d))
		}
	})
	s.eventually("change "+id+" is merged", func() bool {
		if s.by.call("GET", "/changes/"+id, nil, &d) != nil {
			return false
		}
		switch d.Change.State {
		case change.Failed, change.Refused, change.Blocked, change.Closed:
			s.t.Fatalf("change %s is %s: %s %s", id, d.Change.State, d.Change.Why, checksOf(d))
		}
		return d.Change.Merged != ""
	})
}

// set changes variables of environments by a form.
func (s *shop) set(title string, environments map[string]map[string]any) string {
	s.t.Helper()
	var c change.Change
	s.by.must("POST", "/apps/"+s.name+"/changes", map[string]any{"title": title, "environments": environments}, &c)
	return c.ID
}

func (s *shop) detail() (d app.Detail) {
	s.t.Helper()
	s.by.must("GET", "/apps/"+s.name, nil, &d)
	return d
}

func (s *shop) instance(environment string) app.Instance {
	s.t.Helper()
	for _, i := range s.detail().Instances {
		if i.Environment == environment {
			return i
		}
	}
	s.t.Fatalf("%s is not in %s", s.name, environment)
	return app.Instance{}
}

// page returns what the app answers in an environment.
func (s *shop) page(environment string) string {
	s.t.Helper()
	url := s.instance(environment).URL
	var body string
	s.eventually("the app answers", func() bool {
		response, err := plain.Get(url)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		body = string(text)
		return err == nil && response.StatusCode == 200
	})
	return body
}

// starts counts how often a version was started in an environment.
func (s *shop) starts(environment, version string) (n int) {
	s.t.Helper()
	volumes, err := s.agent().ListVolumes(s.t.Context(), s.instance(environment).ID)
	must(s.t, err)
	for _, v := range volumes {
		text, _ := os.ReadFile(filepath.Join(v.Path, "starts"))
		for line := range strings.Lines(string(text)) {
			if strings.TrimSpace(line) == version {
				n++
			}
		}
	}
	return n
}

func (s *shop) deployments(environment string) (list []deploy.Deployment) {
	s.t.Helper()
	var page struct{ Items []deploy.Deployment }
	s.by.must("GET", "/deployments?limit=100&app="+s.name+"&environment="+environment, nil, &page)
	slices.SortFunc(page.Items, func(a, b deploy.Deployment) int { return cmp.Compare(a.Number, b.Number) })
	return page.Items
}

func (p *platform) deployment(id string) (d deploy.Deployment) {
	p.t.Helper()
	p.dana.must("GET", "/deployments/"+id, nil, &d)
	return d
}

func (p *platform) change(id string) (d server.ChangeDetail) {
	p.t.Helper()
	p.admin.must("GET", "/changes/"+id, nil, &d)
	return d
}

// settle waits until a change is in the state, and fails if it ends in another one.
func (p *platform) settle(a *person, id string, wanted change.State) (d server.ChangeDetail) {
	p.t.Helper()
	var last error
	for deadline := time.Now().Add(patience.Of(patience.Limit)); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if last = a.call("GET", "/changes/"+id, nil, &d); last != nil {
			var no *problem
			if errors.As(last, &no) && no.Status < 500 {
				p.t.Fatalf("change %s: %v", id, last)
			}
			continue // the server is being killed
		}
		if d.Change.State == wanted {
			return d
		}
		switch d.Change.State {
		case change.Checking, change.Merging, change.Merged, change.Waiting, change.Review, change.Held, change.Ready:
		default:
			p.t.Fatalf("change %s is %s, want %s: %s %s %s", id, d.Change.State, wanted, d.Change.Why, d.Change.Remedy, checksOf(d))
		}
	}
	p.t.Fatalf("change %s is still %s, want %s: %s %v %s %s", id, d.Change.State, wanted, d.Change.Why, last, checksOf(d), deploymentsOf(d))
	return d
}

func checksOf(d server.ChangeDetail) string {
	said := []string{}
	for _, k := range d.Checks {
		said = append(said, fmt.Sprintf("%s %s: %s", k.Name, k.State, k.Summary))
	}
	return strings.Join(said, "; ")
}

func deploymentsOf(d server.ChangeDetail) string {
	said := []string{}
	for _, x := range d.Deployments {
		steps := []string{}
		for _, s := range x.Steps {
			steps = append(steps, s.Name+" "+s.State)
		}
		said = append(said, fmt.Sprintf("%s %s %s %s (%s) [%s]", x.ID, x.Environment, x.Kind, x.State, x.Reason, strings.Join(steps, ", ")))
	}
	return strings.Join(said, "; ")
}

// over waits until a deployment has ended or is held.
func (p *platform) over(id string) (d deploy.Deployment) {
	p.t.Helper()
	p.eventually("deployment "+id+" ends", func() bool {
		return p.dana.call("GET", "/deployments/"+id, nil, &d) == nil && (d.State.Over() || d.State == deploy.Held)
	})
	return d
}

// during waits until a deployment runs the step.
func (p *platform) during(environment, app, step string) (id string) {
	p.t.Helper()
	p.eventually("a deployment of "+app+" in "+environment+" runs "+step, func() bool {
		found := p.query(`select d.id from deployment d join deployment_step s on s.deployment = d.id
			where d.app = $1 and d.environment = $2 and d.state = 'running' and s.name = $3 and s.state = 'running'`, app, environment, step)
		if len(found) > 0 {
			id = found[0]
		}
		return id != ""
	})
	return id
}

func (p *platform) eventually(what string, done func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(patience.Of(patience.Limit)); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if done() {
			return
		}
	}
	p.t.Fatalf("it never came: %s", what)
}

// sound fails the test unless everything that must always be true is true, now that nothing moves.
func (p *platform) sound() {
	p.t.Helper()
	none := func(what, sql string) {
		p.t.Helper()
		if found := p.query(sql); len(found) > 0 {
			p.t.Errorf("%s: %v", what, found)
		}
	}
	none("deployments still move", `select id || ' ' || state from deployment where state in ('running', 'waiting')`)
	none("instances are taken by a deployment that is over", `select i.app || ' ' || i.running from instance i left join deployment d on d.id = i.running
		where i.running <> '' and (d.state is null or d.state not in ('running', 'held'))`)
	none("steps still run", `select s.deployment || ' ' || s.name from deployment_step s join deployment d on d.id = s.deployment where s.state = 'running'`)
	none("a number is taken twice", `select instance || ' ' || cast(number as text) from deployment group by instance, number having count(*) > 1`)
	none("a deployment began before the one in front of it ended", `select b.id from deployment a join deployment b on b.instance = a.instance and b.started_at < a.finished_at
		and b.started_at > a.started_at where a.started_at is not null and a.state <> 'held'`)
	none("a deployment ended twice", `select subject from event where type in ('dev.cdevents.service.upgraded', 'dev.cdevents.service.deployed') group by subject having count(*) > 1`)
	for _, of := range []string{"started", "finished"} { // a released one begins anew
		none("a step was not told once as "+of, `select e.subject from event e where e.type = 'dev.cdevents.taskrun.`+of+`' group by e.subject
			having count(*) <> (select count(*) from deployment_step s where s.deployment = e.subject)
				and e.subject in (select id from deployment where releases = 0)`)
	}
	none("a deployment began twice", `select subject from event where type = 'dev.cdevents.pipelinerun.started' group by subject having count(*) > 1`)
	none("a consumer of facts stands still", `select name || ' ' || failure from consumer where attempts > 0`)
	none("an instance is not what its last deployment brought", `select i.app || ' ' || i.environment from instance i where i.state = 'healthy' and i.deployed not in
		(select d.desired from deployment d where d.instance = i.id and d.state = 'succeeded' and d.number =
			(select max(number) from deployment where instance = i.id and state = 'succeeded'))`)
	var chain struct {
		Sound  int64
		Broken any
	}
	p.admin.must("GET", "/audit/verify", nil, &chain)
	if chain.Broken != nil || chain.Sound == 0 {
		p.t.Errorf("the audit log does not verify: %+v", chain)
	}
	// What runs is what was deployed.
	for _, line := range p.query(`select id || ' ' || deployed from instance where state = 'healthy'`) {
		id, text, _ := strings.Cut(line, " ")
		var d app.Desired
		must(p.t, json.Unmarshal([]byte(text), &d))
		var found []string
		for deadline := time.Now().Add(patience.Of(patience.Limit)); ; time.Sleep(20 * time.Millisecond) {
			found = nil
			services, err := p.agent().ListServices(context.Background(), id)
			for _, s := range services {
				if s.Artifact != d.Artifact || s.Health != local.Healthy {
					found = append(found, fmt.Sprintf("%s %s with %s", s.Name, s.Health, s.Artifact))
				}
			}
			if err == nil && len(services) == 1 && found == nil {
				break
			}
			if time.Now().After(deadline) {
				p.t.Errorf("in %v (%v) there runs %v of %d services, %v; deployed is %s", id, p.query(`select app from instance where id = $1`, id), found, len(services), err, text)
				break
			}
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func tailOf(file string) string {
	text, _ := os.ReadFile(file)
	kept := slices.DeleteFunc(strings.Split(string(text), "\n"), func(line string) bool { return strings.Contains(line, "msg=request ") })
	return strings.Join(kept[max(0, len(kept)-60):], "\n")
}

// removeAll removes a data folder; unpacked patterns and artifacts in it are read-only.
func removeAll(dir string) {
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			os.Chmod(path, 0o700)
		}
		return nil
	})
	os.RemoveAll(dir)
}
