package server_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/deploy"
	"flywheel.dev/flywheel/internal/patience"
)

// slowMode makes each part of a rollout last long enough to be hit.
const slowMode = " start=300ms think=150ms"

// TestKilledAtEveryStep kills the server, the engine with its supervisor, and the agent, each while each
// step of a deployment runs. Whatever is killed, the change is deployed in the end, once.
func TestKilledAtEveryStep(t *testing.T) {
	slow(t)
	p := newPlatform(t)
	s := p.newShop(t, "steps", "staging")
	colors := []string{"green", "blue", "red"}
	n := 0
	infrastructure := func() string {
		n++
		return s.set(fmt.Sprintf("color %d", n), map[string]map[string]any{"staging": {"color": colors[n%3]}})
	}
	release := func() string {
		n++
		return s.mode(fmt.Sprintf("version-%d", n), fmt.Sprintf("version=%d", n)+slowMode)
	}
	p.settle(p.dana, release(), change.Deployed)
	kills := map[string]func(){
		"server": func() { p.kill("main"); p.start("main") },
		"agent":  p.killAgent,
		"engine": func() {
			for range 200 { // it may not have started yet
				if p.killEngine("engine.json") {
					return
				}
				time.Sleep(time.Millisecond)
			}
		},
		"supervisor": func() {
			for range 200 {
				if p.killEngine("run.json") {
					return
				}
				time.Sleep(time.Millisecond)
			}
		},
	}
	for _, c := range []struct {
		propose func() string
		steps   []string
		kills   []string
	}{
		{infrastructure, []string{"prepare", "plan", "policy", "apply", "verify"}, []string{"server", "agent"}},
		{infrastructure, []string{"plan", "apply"}, []string{"engine", "supervisor"}},
		{release, []string{"release", "verify"}, []string{"server", "agent"}},
	} {
		for _, step := range c.steps {
			for _, kill := range c.kills {
				t.Run(kill+" during "+step, func(t *testing.T) {
					here := p.at(t)
					before := len(s.deployments("staging"))
					id := c.propose()
					// A step of milliseconds may be over before anybody sees it: then the kill hits the next one.
					here.eventually("the step runs, or has run", func() bool {
						return len(here.query(`select s.name from deployment d join deployment_step s on s.deployment = d.id where d.change = $1 and s.name = $2`, id, step)) > 0
					})
					kills[kill]()
					now := here.settle(here.dana, id, change.Deployed)
					if list := s.deployments("staging"); len(list) != before+1 {
						t.Errorf("there were %d deployments, want one", len(list)-before)
					}
					if d := now.Deployments[0]; d.State != deploy.Succeeded {
						t.Errorf("it ended %s: %s", d.State, d.Reason)
					}
					here.sound()
				})
				if t.Failed() {
					return
				}
			}
		}
	}
}

// TestKilledWhileItIsRecorded kills the server when everything is done and only the record is missing: the
// database is kept busy, so that the last transaction of the deployment waits.
func TestKilledWhileItIsRecorded(t *testing.T) {
	slow(t)
	p := newPlatform(t)
	s := p.newShop(t, "record", "staging")
	id := s.mode("done", "version=done think=1s") // it thinks about its health as well, while it is verified
	running := p.during("staging", s.name, "verify")
	busy, killed, free := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	d := p.look()
	go func() {
		free <- d.Write(context.Background(), func(tx *db.Tx) error {
			_, err := tx.Exec(`update instance set fence = fence where app = $1`, s.name)
			close(busy)
			<-killed
			return err
		})
	}()
	<-busy
	time.Sleep(3 * time.Second) // the verification ends meanwhile, and its record waits
	p.kill("main")
	close(killed)
	must(t, <-free)
	if state := p.query(`select state from deployment where id = $1`, running); state[0] != string(deploy.Running) {
		t.Fatalf("it was recorded already: %s", state)
	}
	p.start("main")
	p.settle(p.dana, id, change.Deployed)
	if list := s.deployments("staging"); len(list) != 2 || list[1].State != deploy.Succeeded {
		t.Errorf("the deployments are %v", states(list))
	}
	if n := s.starts("staging", "done"); n != 1 {
		t.Errorf("the version was started %d times", n)
	}
	p.sound()
}

// TestKilledWhileItDestroys kills each part while an instance is removed. It is gone in the end, and nothing else.
func TestKilledWhileItDestroys(t *testing.T) {
	slow(t)
	p := newPlatform(t)
	for kill, do := range map[string]func(p *platform){
		"server":     func(p *platform) { p.kill("main"); p.start("main") },
		"agent":      (*platform).killAgent,
		"engine":     func(p *platform) { p.killEngine("engine.json") },
		"supervisor": func(p *platform) { p.killEngine("run.json") },
	} {
		t.Run(kill, func(t *testing.T) {
			p := p.at(t)
			s := p.newShop(t, "gone-"+kill, "staging", "prod")
			var c change.Change
			s.by.must("DELETE", "/apps/"+s.name+"/environments/prod", nil, &c)
			held := p.settle(p.dana, c.ID, change.Held)
			p.olga.must("POST", "/changes/"+c.ID+"/release", map[string]any{"digest": held.HeldDigest}, nil)
			p.eventually("the step runs, or has run", func() bool {
				return len(p.query(`select s.name from deployment d join deployment_step s on s.deployment = d.id where d.change = $1 and s.name = 'destroy'`, c.ID)) > 0
			})
			do(p)
			now := p.settle(p.dana, c.ID, change.Deployed)
			if len(now.Deployments) != 1 || now.Deployments[0].State != deploy.Succeeded {
				t.Errorf("the deployments are %v", states(now.Deployments))
			}
			if left, err := p.agent().ListServices(t.Context(), now.Deployments[0].Instance); err != nil || len(left) != 0 {
				t.Errorf("of the removed instance there is %v, %v", left, err)
			}
			if s.page("staging") == "" {
				t.Error("staging does not answer")
			}
			p.sound()
		})
		if t.Failed() {
			return
		}
	}
}

// TestKilledAtRandomMoments kills the server again and again while thirty changes are on their way.
func TestKilledAtRandomMoments(t *testing.T) {
	slow(t)
	p := newPlatform(t)
	shops := []*shop{}
	for i := range 3 {
		shops = append(shops, p.newShop(t, fmt.Sprintf("random%d", i), "staging", "prod"))
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	stop, killing := make(chan struct{}), sync.WaitGroup{}
	kills := 0
	killing.Go(func() {
		for kills < 25 {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(100+random.IntN(2500)) * time.Millisecond):
			}
			p.kill("main")
			p.start("main")
			kills++
		}
	})
	var changes sync.Map // change → shop and content
	var pushing sync.WaitGroup
	for _, s := range shops {
		pushing.Go(func() {
			for n := range 10 {
				version := fmt.Sprintf("%s-%d", s.name, n)
				if id := s.insist(version, n); id != "" {
					changes.Store(id, version)
				}
			}
		})
	}
	pushing.Wait()
	changes.Range(func(id, _ any) bool { p.settle(p.dana, id.(string), change.Deployed); return true })
	close(stop)
	killing.Wait()
	t.Logf("%d kills", kills)

	total := 0
	changes.Range(func(id, version any) bool {
		total++
		d := p.change(id.(string))
		environments := []string{}
		for _, x := range d.Deployments {
			environments = append(environments, x.Environment)
			if x.State != deploy.Succeeded {
				t.Errorf("deployment %s of %s ended %s: %s", x.ID, version, x.State, x.Reason)
			}
		}
		if !slices.Equal(environments, []string{"staging", "prod"}) {
			t.Errorf("%s was deployed to %v", version, environments)
		}
		return true
	})
	if total != 30 {
		t.Errorf("%d changes were opened, want 30", total)
	}
	for _, s := range shops {
		for _, environment := range []string{"staging", "prod"} {
			for i, d := range s.deployments(environment) {
				if d.Number != int64(i+1) {
					t.Errorf("%s in %s: deployment %d has the number %d", s.name, environment, i+1, d.Number)
				}
			}
			if got := s.page(environment); !strings.Contains(got, "version="+s.name+"-9") {
				t.Errorf("%s in %s runs %q", s.name, environment, got)
			}
			for n := range 10 {
				if starts := s.starts(environment, fmt.Sprintf("%s-%d", s.name, n)); starts != 1 {
					t.Errorf("version %d was started %d times in %s", n, starts, environment)
				}
			}
		}
	}
	p.sound()
}

// insist pushes a version until the server has taken it, as a person with a bad connection would, and
// returns its change once that is on main.
func (s *shop) insist(version string, n int) string {
	branch := fmt.Sprintf("v%d", n)
	deadline := time.Now().Add(patience.Of(patience.Limit))
	for ; time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, err := s.by.tryGit(s.clone, "fetch", "-q", "origin", "main"); err == nil {
			break
		}
	}
	s.by.git(s.clone, "checkout", "-q", "--detach", "origin/main")
	if err := os.WriteFile(filepath.Join(s.clone, "mode"), []byte("version="+version+"\n"), 0o644); err != nil {
		s.t.Error(err)
		return ""
	}
	s.by.git(s.clone, "checkout", "-q", "-b", branch)
	s.by.git(s.clone, "commit", "-q", "-a", "-m", version)
	for ; time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		s.by.tryGit(s.clone, "push", "-q", "origin", branch)
		var page struct{ Items []change.Change }
		if s.by.call("GET", "/changes?limit=100&kind=app&subject="+s.name, nil, &page) != nil {
			continue
		}
		for _, c := range page.Items {
			if c.Branch == branch && c.Merged != "" {
				return c.ID
			}
		}
	}
	s.t.Errorf("the push of %s was not taken", version)
	return ""
}
