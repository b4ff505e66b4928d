// Package scenario tells stories of the whole product as scripts that read like a terminal session: the
// real binary, the real git, an engine, processes that serve HTTP, and nothing but the command line in
// between. Every scenario/*.txtar is one story (see the package testscript for the language).
//
// Besides git and flywheel the scripts know these commands of their own:
//
//	serve [FLAGS]              start the server on this script's data folder; $URL is its address
//	kill-server                end it as a loss of power would
//	serve-restart [FLAGS]      end it as an init system would, and start it again
//	restore FILE               restore a backup into a new data folder and database, which are used from here on
//	company                    serve, people, environments and the certified pattern web; then you are dana,
//	                           operator of the team shop (vera is its viewer, otto is of no team, and
//	                           sam, olga and devi are the Center of Excellence)
//	as NAME                    from here on this person sits at the terminal
//	approve CHANGE             wait for the certification of a pattern change and let every discipline approve it
//	app NAME [ENVIRONMENT…]    create an app of the pattern web and wait until it is deployed
//	clone KIND/NAME            clone a repository into the folder NAME and go there
//	commit MESSAGE…            commit everything; further arguments are trailers
//	change NAME                keep the id of the change that the last push or command named in $NAME
//	exits CODE COMMAND…        run a command that must end with this exit code
//	wait-for PATH OP VALUE COMMAND…   repeat a command until its JSON answer is so
//	json PATH OP VALUE         check the JSON that the last command printed
//	let NAME PATH              keep a value of the JSON that the last command printed in $NAME
//	get [STATUS] URL           ask an app until it answers with the status (200); the body is the output
//	pay STATUS URL KEY         buy in the storefront at the URL, pay with a signature under KEY, and expect the status
//	walk PAGE                  play the blocks of a Markdown page that are marked sh, as one session of bash, on this server's address
//	hides TEXT PATH…           fail if a file below the paths holds the text, plain or in base64
//
// They run on SQLite with the engine on PATH, or on PostgreSQL at FLYWHEEL_TEST_DATABASE_URL with
// FLYWHEEL_TOFU, so that the two runs of `make test` see both databases and both engines; FLYWHEEL_ENGINE
// chooses another. FLYWHEEL_TEST_MIRROR names a folder of provider plugins for the script that needs one (`make cloud`).
// FLYWHEEL_PROGRAMS may name a folder with flywheel, searchd, web
// (testdata/app) and target (testdata/target) that are to be tested as they are, instead of built from this tree.
package scenario

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/demo"
	"flywheel.dev/flywheel/internal/local"
	"flywheel.dev/flywheel/internal/patience"
)

// limit is how long a script waits for anything; it is far more than what is waited for takes.
var limit = patience.Of(patience.Limit)

func TestScenarios(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs the whole product for minutes")
	}
	scripts, err := filepath.Glob("*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("there are no scenarios: %v", err)
	}
	bin, founded := build(t), &founding{backup: filepath.Join(t.TempDir(), "company.tgz"), people: filepath.Join(t.TempDir(), "people")}
	testscript.Run(t, testscript.Params{
		Files:               scripts,
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup:               func(env *testscript.Env) error { return setUp(env, bin, founded) },
		Condition:           condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"flywheel": program("flywheel"), "git": program("git"),
			"serve": serve, "kill-server": killServer, "serve-restart": serveAgain, "company": company, "as": as, "restore": restore, "approve": approveChange,
			"app": createApp, "clone": clone, "commit": commit, "change": nameChange,
			"exits": exits, "wait-for": waitFor, "json": checkJSON, "let": let, "get": get, "pay": pay, "walk": walk, "hides": hides,
		},
	})
}

// condition says what this machine has for a script that not every machine can play.
func condition(name string) (bool, error) {
	if name != "cloud" {
		return false, fmt.Errorf("unknown condition %s", name)
	}
	_, server := exec.LookPath("moto_server")
	_, client := exec.LookPath("curl")
	plugin, _ := filepath.Glob(filepath.Join(os.Getenv("FLYWHEEL_TEST_MIRROR"), "registry.terraform.io/hashicorp/aws/*"))
	return server == nil && client == nil && len(plugin) > 0, nil
}

// build makes the programs once for all scripts and returns their folder.
func build(t *testing.T) string {
	if dir := os.Getenv("FLYWHEEL_PROGRAMS"); dir != "" {
		return dir
	}
	dir := t.TempDir()
	for name, from := range map[string]string{"flywheel": "../cmd/flywheel", "searchd": "../examples/searchd", "web": "./testdata/app", "target": "./testdata/target"} {
		cmd := exec.Command("go", "build", "-ldflags", "-s -w", "-o", filepath.Join(dir, name), from)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // web runs where nothing else is
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build %s: %v\n%s", from, err, out)
		}
	}
	return dir
}

// world is what surrounds one script.
type world struct {
	bin      string
	founding *founding
	data     string
	database string
	spare    string // another empty database
	agent    string // folder of the agent, when it is not the data folder's own
	listen   string
	peopled  bool // a backup brought people, so that the first start prints no password
	server   *exec.Cmd
	gone     chan struct{}
}

type worldKey struct{}

func of(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

func setUp(env *testscript.Env, bin string, founded *founding) error {
	t := env.T().(testing.TB)
	data, err := os.MkdirTemp("", "fws") // the path of a socket must be short
	if err != nil {
		return err
	}
	w := &world{bin: bin, founding: founded, data: data, database: dbtest.URL(t), listen: "127.0.0.1:0"}
	env.Values[worldKey{}] = w
	env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	env.Setenv("BIN", bin)
	env.Setenv("DATA", data)
	env.Setenv("DATABASE", w.database)
	w.spare = dbtest.URL(t)
	env.Setenv("DEMO_DATABASE", "")
	if strings.HasPrefix(w.spare, "postgres") {
		env.Setenv("DEMO_DATABASE", w.spare)
	}
	cache, err := os.UserHomeDir()
	if err != nil {
		return err
	}
	env.Setenv("CACHE", cache) // the demo compiles its shop
	engine := os.Getenv("FLYWHEEL_ENGINE")
	if engine == "" && os.Getenv("FLYWHEEL_TEST_DATABASE_URL") != "" {
		engine = os.Getenv("FLYWHEEL_TOFU")
	}
	env.Setenv("ENGINE", engine)
	env.Setenv("MIRROR", os.Getenv("FLYWHEEL_TEST_MIRROR"))
	for name, path := range map[string]string{"PATTERN": "testdata/pattern", "EXAMPLES": "../examples", "DOCS": "../docs"} {
		path, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		env.Setenv(name, path)
	}
	for name, value := range person(env.WorkDir, "admin") {
		env.Setenv(name, value)
	}
	env.Defer(func() {
		w.stop()
		if t.Failed() {
			t.Logf("the end of the server's log:\n%s", w.tail())
		}
		removeAll(data)
	})
	return nil
}

// person returns the environment of somebody's terminal.
func person(work, name string) map[string]string {
	home := filepath.Join(work, ".people", name)
	_ = os.MkdirAll(home, 0o700) // what needs it says so
	return map[string]string{
		"HOME": home, "XDG_CONFIG_HOME": filepath.Join(home, ".config"), "XDG_DATA_HOME": filepath.Join(home, ".local/share"),
		"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": name + "@example.com", "GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": name + "@example.com",
		"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
	}
}

func as(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "as NAME")
	for name, value := range person(ts.Getenv("WORK"), args[0]) {
		ts.Setenv(name, value)
	}
}

func usage(ts *testscript.TestScript, ok bool, line string) {
	if !ok {
		ts.Fatalf("usage: %s", line)
	}
}

func program(name string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		err := run(ts, name, args...)
		var exit *exec.ExitError
		switch {
		case err != nil && !errors.As(err, &exit):
			ts.Fatalf("%s: %v", name, err)
		case neg && err == nil:
			ts.Fatalf("%s was to fail and did not", name)
		case !neg && err != nil:
			ts.Fatalf("%s: %v", name, err)
		}
	}
}

// run runs a command that must not hang: what is watched may never come.
func run(ts *testscript.TestScript, name string, args ...string) error {
	return ts.Exec("timeout", append([]string{fmt.Sprint(limit.Seconds()), name}, args...)...)
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 1, "exits CODE COMMAND…")
	code := 0
	err := run(ts, args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("%s ended with %d, want %s", args[1], code, args[0])
	}
}

func serve(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg, "serve [FLAGS]")
	w := of(ts)
	flags := []string{"serve", "--data", w.data, "--database-url", w.database, "--listen", w.listen}
	if engine := ts.Getenv("ENGINE"); engine != "" {
		flags = append(flags, "--engine", engine)
	}
	if w.agent != "" {
		flags = append(flags, "--agent", w.agent)
	}
	said, err := w.serve(append(flags, args...))
	if err != nil {
		ts.Fatalf("flywheel serve: %v\n%s", err, w.tail())
	}
	ts.Setenv("URL", "http://"+w.listen)
	if said != "" {
		ts.Setenv("PASSWORD", said)
	}
}

func restore(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "restore FILE")
	w := of(ts)
	// The agent of before lives on in its folder, as it does when only the server is moved.
	if w.agent == "" {
		w.agent = filepath.Join(w.data, "agent")
	}
	w.data = filepath.Join(w.data, "restored")
	if w.database, w.spare = w.spare, ""; !strings.HasPrefix(w.database, "postgres") {
		w.database = filepath.Join(w.data, "flywheel.db")
	}
	ts.Setenv("DATA", w.data)
	ts.Check(run(ts, "flywheel", "restore", ts.MkAbs(args[0]), "--data", w.data, "--database-url", w.database))
}

// serve starts the server and waits until it is ready. It returns the password of a first start. A
// server that was here before keeps its address.
func (w *world) serve(args []string) (password string, err error) {
	log, err := os.OpenFile(w.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer log.Close()
	first := strings.HasSuffix(w.listen, ":0")
	cmd, gone := exec.Command(filepath.Join(w.bin, "flywheel"), args...), make(chan struct{})
	// Its own environment: what this shell says to an engine must not matter.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir()}
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	w.server, w.gone = cmd, gone
	ready := make(chan error, 2)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			fmt.Sscanf(lines.Text(), "Sign in as admin with the password %s", &password)
			if listen, ok := strings.CutPrefix(lines.Text(), "Flywheel is ready at http://"); ok {
				w.listen = listen
			}
			if w.listen != "127.0.0.1:0" && (password != "" || !first || w.peopled) {
				ready <- nil
			}
		}
		ready <- fmt.Errorf("it ended: %w", errors.Join(cmd.Wait(), errors.New("not ready")))
		close(gone)
	}()
	select {
	case err = <-ready:
	case <-time.After(limit):
		err = errors.New("it is not ready")
	}
	return password, err
}

func (w *world) log() string { return filepath.Join(w.data, "serve.log") }

func (w *world) tail() string {
	text, err := os.ReadFile(w.log())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-6000):])
}

func (w *world) end(how syscall.Signal) error {
	if w.server == nil {
		return nil
	}
	_ = w.server.Process.Signal(how) // it may have ended
	select {
	case <-w.gone:
		return nil
	case <-time.After(limit):
		_ = w.server.Process.Kill()
		return fmt.Errorf("the server does not end after %v", how)
	}
}

func (w *world) stop() {
	_ = w.end(syscall.SIGKILL) // the script is over
	for _, dir := range []string{filepath.Join(w.data, "agent"), w.agent} {
		agent := &local.Client{Socket: filepath.Join(dir, "agent.sock")}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		if h, err := agent.Health(ctx); err == nil && agent.Stop(ctx) == nil {
			for ctx.Err() == nil && syscall.Kill(h.Pid, 0) == nil {
				time.Sleep(10 * time.Millisecond)
			}
		}
		cancel()
	}
}

func killServer(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 0, "kill-server")
	ts.Check(of(ts).end(syscall.SIGKILL))
}

func serveAgain(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(of(ts).end(syscall.SIGTERM))
	serve(ts, neg, args)
}

// do runs a command of a script for a person, and returns what it printed.
func do(ts *testscript.TestScript, name, input, command string, args ...string) string {
	cmd := exec.Command(filepath.Join(of(ts).bin, command), args...)
	if command == "git" {
		cmd = exec.Command(command, args...)
	}
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "TMPDIR=" + ts.Getenv("TMPDIR")}
	for key, value := range person(ts.Getenv("WORK"), name) {
		cmd.Env = append(cmd.Env, key+"="+value)
	}
	cmd.Dir = ts.Getenv("WORK")
	cmd.Stdin = strings.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		ts.Fatalf("%s: %s %s: %v\n%s%s", name, command, strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String() + errs.String()
}

const password = "correct horse battery staple"

// founding is the company that most stories begin with. The first script that asks for it does by command
// what self-service.txtar does by hand; the others restore its backup, which takes a tenth of the time.
type founding struct {
	once   sync.Once
	backup string
	people string // a folder with everybody's home, signed in
	url    string // where they signed in
}

func company(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg, "company [FLAGS OF SERVE]")
	w, first := of(ts), false
	w.founding.once.Do(func() {
		first = true
		serve(ts, false, nil)
		found(ts)
		do(ts, "admin", "", "flywheel", "backup", w.founding.backup, "--data", w.data, "--database-url", w.database)
		ts.Check(os.CopyFS(w.founding.people, os.DirFS(people(ts))))
		w.founding.url = ts.Getenv("URL")
		ts.Check(w.end(syscall.SIGTERM))
	})
	if w.founding.url == "" {
		ts.Fatalf("the company was not founded: see the script that tried")
	}
	if !first {
		do(ts, "admin", "", "flywheel", "restore", w.founding.backup, "--data", w.data, "--database-url", w.database)
		w.peopled = true
		ts.Check(os.CopyFS(people(ts), os.DirFS(w.founding.people)))
	}
	serve(ts, false, args)
	ts.Check(readdress(people(ts), w.founding.url, ts.Getenv("URL")))
	as(ts, false, []string{"dana"})
}

func people(ts *testscript.TestScript) string { return filepath.Join(ts.Getenv("WORK"), ".people") }

// readdress replaces the address of a server in all files of a folder.
func readdress(dir, from, to string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(text, []byte(from)) {
			return err
		}
		return os.WriteFile(name, bytes.ReplaceAll(text, []byte(from), []byte(to)), 0o600)
	})
}

// found makes the people, environments and the certified pattern of the company.
func found(ts *testscript.TestScript) {
	url := ts.Getenv("URL")
	admin := func(args ...string) { do(ts, "admin", "", "flywheel", args...) }
	do(ts, "admin", ts.Getenv("PASSWORD"), "flywheel", "login", url, "--name", "admin", "--password-stdin", "--git")
	for name, discipline := range map[string]string{"dana": "", "vera": "", "otto": "", "sam": "security", "olga": "operations", "devi": "development"} {
		flags := []string{"user", "create", name, "--title", strings.ToUpper(name[:1]) + name[1:], "--password-stdin"}
		if discipline != "" {
			flags = append(flags, "--discipline", discipline)
		}
		do(ts, "admin", password, "flywheel", flags...)
		do(ts, name, password, "flywheel", "login", url, "--name", name, "--password-stdin", "--git")
	}
	admin("team", "create", "shop", "--title", "Shop")
	admin("team", "add", "shop", "dana", "--role", "operator")
	admin("team", "add", "shop", "vera", "--role", "viewer")
	admin("environment", "create", "staging", "--class", "staging")
	admin("environment", "create", "prod", "--class", "production", "--after", "staging")
	admin("pattern", "create", "web", "--title", "Web")

	folder := filepath.Join(ts.Getenv("WORK"), ".people", "web")
	do(ts, "admin", "", "git", "clone", "-q", url+"/git/patterns/web.git", folder)
	ts.Check(os.Remove(filepath.Join(folder, "README.md")))
	ts.Check(os.CopyFS(folder, os.DirFS(ts.Getenv("PATTERN"))))
	app, err := os.ReadFile(filepath.Join(of(ts).bin, "web"))
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Join(folder, "skeleton", "app"), app, 0o755))
	do(ts, "admin", "", "git", "-C", folder, "checkout", "-q", "-b", "first")
	do(ts, "admin", "", "git", "-C", folder, "add", "-A")
	do(ts, "admin", "", "git", "-C", folder, "commit", "-q", "-m", "Add the pattern")
	approve(ts, changeIn(do(ts, "admin", "", "git", "-C", folder, "push", "origin", "first")))
}

// approve waits for the certification of a pattern change and lets every discipline approve it.
func approve(ts *testscript.TestScript, id string) {
	var page struct{ Certification struct{ Digest string } }
	wait(ts, "change.state", "=", "review", func() string {
		return do(ts, "admin", "", "flywheel", "change", "show", id, "-o", "json")
	})
	ts.Check(json.Unmarshal([]byte(do(ts, "admin", "", "flywheel", "change", "show", id, "-o", "json")), &page))
	cut, err := lookUp(do(ts, "admin", "", "flywheel", "change", "diff", id, "-o", "json"), "files.[truncated=true].path")
	ts.Check(err)
	for discipline, name := range map[string]string{"security": "sam", "operations": "olga", "development": "devi"} {
		for _, file := range cut {
			do(ts, name, "", "flywheel", "change", "diff", id, "--file", file)
		}
		do(ts, name, "", "flywheel", "change", "approve", id, "--discipline", discipline, "--digest", page.Certification.Digest, "--reason", "looked")
	}
	do(ts, "admin", "", "flywheel", "change", "watch", id)
}

func approveChange(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "approve CHANGE")
	approve(ts, args[0])
}

// walk plays a page as it stands: nothing of it but the address is another one.
func walk(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "walk PAGE")
	page := ts.ReadFile(args[0])
	script, blocks := "set -euo pipefail\n", 0
	for _, part := range strings.Split(page, "\n```sh\n")[1:] {
		block, _, closed := strings.Cut(part, "\n```\n")
		if !closed {
			ts.Fatalf("%s: a block does not end", args[0])
		}
		script, blocks = script+strings.ReplaceAll(block, "127.0.0.1:7270", of(ts).listen)+"\n", blocks+1
	}
	if blocks == 0 {
		ts.Fatalf("%s has no block to play", args[0])
	}
	ts.Check(ts.Exec("bash", "-c", script))
}

func createApp(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 0, "app NAME [ENVIRONMENT…]")
	flags := []string{"app", "create", args[0], "--team", "shop", "--pattern", "web", "--watch"}
	for _, e := range args[1:] {
		flags = append(flags, "--environment", e)
	}
	ts.Check(run(ts, "flywheel", flags...))
}

func clone(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "clone apps/NAME")
	folder := filepath.Join(ts.Getenv("WORK"), filepath.Base(args[0]))
	ts.Check(ts.Exec("git", "clone", "-q", ts.Getenv("URL")+"/git/"+args[0]+".git", folder))
	ts.Check(ts.Chdir(folder))
}

func commit(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 0, "commit MESSAGE [TRAILER…]")
	message := args[0]
	if len(args) > 1 {
		message += "\n\n" + strings.Join(args[1:], "\n")
	}
	ts.Check(ts.Exec("git", "add", "-A"))
	ts.Check(ts.Exec("git", "commit", "-q", "-m", message))
}

var changePattern = regexp.MustCompile(`chg_[0-9a-v]{20}`)

func changeIn(text string) string { return changePattern.FindString(text) }

func nameChange(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "change NAME")
	id := changeIn(ts.ReadFile("stderr") + ts.ReadFile("stdout"))
	if id == "" {
		ts.Fatalf("the last command named no change")
	}
	ts.Setenv(args[0], id)
}

func get(ts *testscript.TestScript, neg bool, args []string) {
	status := 200
	if len(args) == 2 {
		var err error
		status, err = strconv.Atoi(args[0])
		ts.Check(err)
		args = args[1:]
	}
	usage(ts, !neg && len(args) == 1, "get [STATUS] URL")
	client := http.Client{Timeout: limit, Transport: &http.Transport{DisableKeepAlives: true}}
	said := ""
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		response, err := client.Get(args[0])
		if err != nil {
			said = err.Error()
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if said = fmt.Sprintf("%s %s", response.Status, body); err == nil && response.StatusCode == status {
			fmt.Fprintf(ts.Stdout(), "%s\n", body)
			return
		}
	}
	ts.Fatalf("%s answers %s, want %d", args[0], said, status)
}

func pay(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 3, "pay STATUS URL KEY")
	answer, err := demo.Pay(context.Background(), args[1], args[2])
	ts.Check(err)
	if strconv.Itoa(answer.Status) != args[0] {
		ts.Fatalf("the payment is answered with %d %s, want %s", answer.Status, answer.Body, args[0])
	}
}

func hides(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 1, "hides TEXT PATH…")
	// Base64 of a text that stands somewhere in a longer one has three forms, by its place.
	forms := [][]byte{[]byte(args[0])}
	for pad := range 3 {
		text := base64.StdEncoding.EncodeToString(append(make([]byte, pad), args[0]...))
		forms = append(forms, []byte(text[pad+1:len(text)-4]))
	}
	read := 0
	for _, path := range args[1:] {
		if path == "stdout" || path == "stderr" {
			look(ts, path, []byte(ts.ReadFile(path)), forms)
			read++
			continue
		}
		ts.Check(filepath.WalkDir(ts.MkAbs(path), func(name string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || err == nil && !d.Type().IsRegular() {
				return nil // the platform works meanwhile
			}
			if err != nil {
				return err
			}
			text, err := os.ReadFile(name)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			look(ts, name, text, forms)
			read++
			return err
		}))
	}
	if read == 0 {
		ts.Fatalf("there is nothing at %v", args[1:])
	}
}

func look(ts *testscript.TestScript, where string, text []byte, forms [][]byte) {
	for _, form := range forms {
		if bytes.Contains(text, form) {
			ts.Fatalf("%s holds it", where)
		}
	}
}

func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 3, "wait-for PATH OP VALUE COMMAND…")
	wait(ts, args[0], args[1], args[2], func() string {
		if err := run(ts, args[3], args[4:]...); err != nil {
			return ""
		}
		return ts.ReadFile("stdout")
	})
}

func wait(ts *testscript.TestScript, path, op, want string, ask func() string) {
	last := errors.New("it never answered")
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if text := ask(); text != "" {
			if last = compare(text, path, op, want); last == nil {
				return
			}
		}
	}
	ts.Fatalf("not within %s: %v", limit, last)
}

func checkJSON(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) == 3, "json PATH OP VALUE")
	err := compare(ts.ReadFile("stdout"), args[0], args[1], args[2])
	if neg && err == nil {
		ts.Fatalf("%s is %s %s", args[0], args[1], args[2])
	}
	if !neg {
		ts.Check(err)
	}
}

func let(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "let NAME PATH")
	found, err := lookUp(ts.ReadFile("stdout"), args[1])
	ts.Check(err)
	if len(found) != 1 || found[0] == "" {
		ts.Fatalf("%s is %q", args[1], found)
	}
	ts.Setenv(args[0], found[0])
}

// compare says why what path leads to in a JSON text is not as wanted. Every value must be, and there
// must be one; with `has` one of them is enough.
func compare(text, path, op, want string) error {
	found, err := lookUp(text, path)
	if err != nil {
		return err
	}
	matched := 0
	for _, v := range found {
		ok := false
		switch op {
		case "=":
			ok = v == want
		case "!=":
			ok = v != want
		case "~", "has":
			ok, err = regexp.MatchString(want, v)
		case "<", ">":
			var a, b float64
			_, err = fmt.Sscan(v+" "+want, &a, &b)
			ok = op == "<" && a < b || op == ">" && a > b
		default:
			err = fmt.Errorf("%s is no comparison", op)
		}
		if err != nil {
			return err
		}
		if ok {
			matched++
		}
	}
	if matched == 0 || op != "has" && matched < len(found) {
		return fmt.Errorf("%s is %q, want %s %s", path, found, op, want)
	}
	return nil
}

// lookUp returns what a path leads to in a JSON text: names and numbers joined by dots; * is every
// element, length the number of elements, and [name=value] the elements whose field has the value.
func lookUp(text, path string) ([]string, error) {
	var root any
	if err := json.Unmarshal([]byte(text), &root); err != nil {
		return nil, fmt.Errorf("the output is not JSON: %w", err)
	}
	values := []any{root}
	for segment := range strings.SplitSeq(path, ".") {
		next := []any{}
		for _, v := range values {
			next = append(next, step(v, segment)...)
		}
		values = next
	}
	found := []string{}
	for _, v := range values {
		if s, ok := v.(string); ok {
			found = append(found, s)
			continue
		}
		s, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		found = append(found, string(s))
	}
	return found, nil
}

func step(v any, segment string) (next []any) {
	if object, ok := v.(map[string]any); ok {
		if segment == "*" {
			for _, one := range object {
				next = append(next, one)
			}
		} else if one, has := object[segment]; has {
			next = append(next, one)
		}
		return next
	}
	list, _ := v.([]any)
	name, value, filtered := strings.Cut(strings.Trim(segment, "[]"), "=")
	n, err := strconv.Atoi(segment)
	switch {
	case segment == "length":
		return []any{len(list)}
	case segment == "*":
		return list
	case filtered:
		for _, one := range list {
			if object, ok := one.(map[string]any); ok && fmt.Sprint(object[name]) == value {
				next = append(next, one)
			}
		}
	case err == nil && n < len(list):
		next = append(next, list[n])
	}
	return next
}

// removeAll removes a data folder; unpacked patterns and artifacts in it are read-only.
func removeAll(dir string) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(path, 0o700) // what is left is a temporary folder
		}
		return nil
	})
	_ = os.RemoveAll(dir)
}
