package server_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/deploy"
)

// postgres is a PostgreSQL of one test's own, whose commits wait for the disk, so that it can be ended in the
// middle of work without touching anybody else's.
type postgres struct {
	t   *testing.T
	env []string
	url string
}

func newPostgres(t *testing.T) *postgres {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	port := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	must(t, l.Close())
	dir, err := os.MkdirTemp("", "fwpg")
	must(t, err)
	s := &postgres{t: t, env: append(os.Environ(), "FLYWHEEL_TEST_POSTGRES_PORT="+port, "FLYWHEEL_TEST_POSTGRES_DIR="+dir, "FLYWHEEL_TEST_POSTGRES_FSYNC=on")}
	t.Cleanup(func() { s.do("stop") })
	out := s.do("start")
	_, s.url, _ = strings.Cut(strings.TrimSuffix(strings.TrimSpace(out), "'"), "'")
	return s
}

func (s *postgres) do(what string) string {
	s.t.Helper()
	script, err := filepath.Abs("../../scripts/postgres.sh")
	must(s.t, err)
	cmd := exec.Command(script, what)
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", script, what, err, out)
	}
	return string(out)
}

// ready asks the server whether it is ready.
func (p *platform) ready() (status int, answer map[string]string) {
	p.t.Helper()
	response, err := plain.Get("http://" + p.replica("main").listen + "/readyz")
	must(p.t, err)
	defer response.Body.Close()
	must(p.t, json.NewDecoder(response.Body).Decode(&answer))
	return response.StatusCode, answer
}

// reader asks for a list again and again, until the returned func is called, which returns what was answered
// besides lists and the sentence that the database is away.
func (p *platform) reader() (stop func() []error) {
	quit, answers := make(chan struct{}), make(chan []error)
	go func() {
		var odd []error
		for {
			select {
			case <-quit:
				answers <- odd
				return
			case <-time.After(5 * time.Millisecond):
			}
			var no *problem
			if err := p.dana.call("GET", "/deployments", nil, nil); err != nil && !(errors.As(err, &no) && no.Code == "database.away") {
				odd = append(odd, err)
			}
		}
	}()
	return func() []error { close(quit); return <-answers }
}

// TestTheDatabaseCrashes stops PostgreSQL at once, as a failure would, under a release and an infrastructure
// run that go on and deployments that wait, and starts it again.
func TestTheDatabaseCrashes(t *testing.T) {
	slow(t)
	database := newPostgres(t)
	dir, err := os.MkdirTemp("", "fwd")
	must(t, err)
	t.Cleanup(func() { removeAll(dir) })
	p := newPlatformIn(t, dir, database.url)
	releases, runs := p.newShop(t, "releases", "staging", "prod"), p.newShop(t, "runs", "staging", "prod")
	url := runs.instance("staging").URL
	// Its infrastructure runs are slow from here on, because the app is.
	p.settle(p.dana, runs.mode("slow", "version=slow start=1s"), change.Deployed)
	colors := []string{"green", "blue", "red"}
	for n, step := range []string{"prepare", "plan", "apply", "verify"} {
		color := colors[n%3]
		changes := []string{
			releases.mode(fmt.Sprintf("a%d", n), fmt.Sprintf("version=a%d start=2s", n)),
		}
		p.during("staging", releases.name, "release")
		changes = append(changes, releases.mode(fmt.Sprintf("b%d", n), fmt.Sprintf("version=b%d", n)), releases.mode(fmt.Sprintf("c%d", n), fmt.Sprintf("version=c%d", n)))
		changes = append(changes, runs.set(fmt.Sprint(color, n), map[string]map[string]any{"staging": {"color": color}, "prod": {"color": color}}))
		p.eventually("the infrastructure run has come to "+step, func() bool {
			return len(p.query(`select s.name from deployment_step s join deployment d on d.id = s.deployment where d.change = $1 and s.name = $2`, changes[3], step)) > 0
		})
		p.leave()
		stop := p.reader()
		database.do("crash")

		status, answer := p.ready()
		if status != http.StatusServiceUnavailable || answer["database"] == "ok" || strings.Contains(answer["database"], "wrong") || answer["agent"] != "ok" {
			t.Errorf("without its database the server says %d %v", status, answer)
		}
		var no *problem
		if err := p.dana.call("GET", "/deployments", nil, nil); !errors.As(err, &no) || no.Status != http.StatusServiceUnavailable || no.Code != "database.away" {
			t.Errorf("without its database a list is answered %v", err)
		}
		if response, err := plain.Get(url); err != nil || response.StatusCode != http.StatusOK {
			t.Errorf("without the database of the platform the app answers %v", err)
		} else {
			response.Body.Close()
		}
		time.Sleep(2 * time.Second) // it stays away for a while
		database.do("resume")
		p.eventually("the server is ready again", func() bool { status, _ := p.ready(); return status == http.StatusOK })
		if odd := stop(); len(odd) > 0 {
			t.Errorf("who read meanwhile was answered %v and so %d times", odd[0], len(odd))
		}

		for _, id := range changes {
			for _, d := range p.settle(p.dana, id, change.Deployed).Deployments {
				if d.State != deploy.Succeeded {
					t.Errorf("%s of %s in %s ended %s: %s", d.ID, d.App, d.Environment, d.State, d.Reason)
				}
			}
		}
		for _, environment := range []string{"staging", "prod"} {
			if got, want := releases.page(environment), fmt.Sprintf("version=c%d color=red", n); got != want {
				t.Errorf("in %s runs %q, want %q", environment, got, want)
			}
			if got, want := runs.page(environment), "version=slow color="+color; got != want {
				t.Errorf("in %s runs %q, want %q", environment, got, want)
			}
			for _, version := range []string{"a", "b", "c"} {
				if starts := releases.starts(environment, fmt.Sprint(version, n)); starts != 1 {
					t.Errorf("version %s%d was started %d times in %s", version, n, starts, environment)
				}
			}
			for _, s := range []*shop{releases, runs} {
				list := s.deployments(environment)
				if slices.ContainsFunc(list, func(d deploy.Deployment) bool { return d.State != deploy.Succeeded }) {
					t.Errorf("%s in %s: %v", s.name, environment, states(list))
				}
				if i := s.instance(environment); i.State != app.Healthy {
					t.Errorf("%s in %s is %s: %s", s.name, environment, i.State, i.Reason)
				}
			}
		}
		p.sound()
		if t.Failed() {
			return
		}
	}
}
