package server_test

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/deploy"
	"flywheel.dev/flywheel/internal/local"
)

// stuck is a mode of the app in which it does not get healthy within the time that it has.
const stuck = " start=60s"

// cancel asks a deployment to stop and returns what is answered.
func (p *platform) cancel(a *person, id string) (d deploy.Deployment) {
	p.t.Helper()
	a.must("POST", "/deployments/"+id+"/cancel", nil, &d)
	return d
}

// stays fails the test unless the cancelled deployment left the instance as it was: its page, its artifact,
// and no process of another version.
func (s *shop) stays(environment, page string, cancelled deploy.Deployment) {
	s.t.Helper()
	if d := s.over(cancelled.ID); d.State != deploy.Cancelled || !strings.Contains(d.Reason, "cancelled by dana during its step ") {
		s.t.Errorf("it ended %s: %s", d.State, d.Reason)
	}
	if got := s.page(environment); got != page {
		s.t.Errorf("it runs %q, want %q", got, page)
	}
	services, err := s.agent().ListServices(s.t.Context(), cancelled.Instance)
	must(s.t, err)
	if len(services) != 1 || services[0].Artifact != cancelled.Previous.Artifact || len(services[0].Processes) != 1 || services[0].Health != local.Healthy {
		s.t.Errorf("at the agent there is %+v", services)
	}
}

func cancelRelease(t *testing.T, p *platform) {
	s := p.newShop(t, "cancel", "staging")
	id := s.mode("stuck", "version=stuck"+stuck)
	running := p.during("staging", s.name, "release")
	d := p.cancel(s.by, running)
	if d.State != deploy.Cancelled {
		t.Errorf("the answer is %s: %s", d.State, d.Reason)
	}
	s.stays("staging", "version=1 color=red", d)
	if i := s.instance("staging"); i.State != app.Healthy || i.Running != "" || i.PinnedBy != "" {
		t.Errorf("the instance is %s, runs %q, pinned by %q", i.State, i.Running, i.PinnedBy)
	}
	if c := p.change(id).Change; c.State != change.Merged || !strings.Contains(c.Why, running+" in staging was cancelled by dana during its step release") {
		t.Errorf("the change is %s and says %q", c.State, c.Why)
	}
	if last := p.deployment(running).Steps; last[len(last)-1].Name != "release" || last[len(last)-1].State != "cancelled" {
		t.Errorf("its steps are %+v", last)
	}
	if len(p.query(`select name from audit where action = 'deployment.cancel' and subject = $1`, running)) != 1 {
		t.Error("it is not in the audit log")
	}
	if len(p.query(`select subject from event where subject = $1 and type = 'dev.cdeventsx.flywheel-deployment.cancelled'`, running)) != 1 {
		t.Error("its end is not told once")
	}

	// The next one does not wait until the health check has given up.
	s.mode("again", "version=again"+stuck)
	running = p.during("staging", s.name, "release")
	next := s.mode("next", "version=next")
	p.eventually("the next one waits", func() bool {
		return slices.ContainsFunc(s.deployments("staging"), func(d deploy.Deployment) bool { return d.State == deploy.Waiting })
	})
	p.cancel(s.by, running)
	p.settle(s.by, next, change.Deployed)
	p.settle(s.by, id, change.Deployed) // main is one line: it came with the next
	if got := s.page("staging"); got != "version=next color=red" {
		t.Errorf("it runs %q", got)
	}
}

func cancelApply(t *testing.T, p *platform) {
	s := p.newShop(t, "cancelled-apply", "staging")
	s.mode("stuck", "version=stuck"+stuck)
	p.cancel(s.by, p.during("staging", s.name, "release"))
	before := s.starts("staging", "stuck")
	var d deploy.Deployment
	s.by.must("POST", "/apps/"+s.name+"/environments/staging/redeploy", nil, &d)
	p.during("staging", s.name, "apply")
	s.eventually("the version starts", func() bool { return s.starts("staging", "stuck") > before })
	p.cancel(s.by, d.ID)
	s.stays("staging", "version=1 color=red", p.over(d.ID))
	if i := s.instance("staging"); i.State != app.Degraded || i.Running != "" {
		t.Errorf("the instance is %s and runs %q: an apply that was cut off is for a person to look at", i.State, i.Running)
	}
	p.settle(s.by, s.mode("well", "version=well"), change.Deployed)
}

func cancelTooLate(t *testing.T, p *platform) {
	s := p.newShop(t, "late", "staging")
	id := s.mode("thoughtful", "version=late think=2s")
	running := p.during("staging", s.name, "verify")
	if d := p.cancel(s.by, running); d.State != deploy.Succeeded && d.State != deploy.Running {
		t.Errorf("the answer is %s: %s", d.State, d.Reason)
	}
	if d := p.over(running); d.State != deploy.Succeeded || d.Reason != "" {
		t.Errorf("a finished release ended %s: %s", d.State, d.Reason)
	}
	p.settle(s.by, id, change.Deployed)
	if got := s.page("staging"); got != "version=late color=red" {
		t.Errorf("it runs %q", got)
	}
}

// TestACancelOutlivesWhoHasToObeyIt kills the server and the agent after a release was cancelled and before
// either could do anything about it.
func TestACancelOutlivesWhoHasToObeyIt(t *testing.T) {
	slow(t)
	p := newPlatform(t)
	s := p.newShop(t, "killed", "staging")
	for _, c := range []struct {
		who  string
		kill func(agent *os.Process)
	}{
		{"the server", func(agent *os.Process) {
			p.kill("main")
			must(t, agent.Signal(syscall.SIGCONT))
			p.start("main")
		}},
		{"the agent", func(agent *os.Process) { must(t, agent.Kill()) }},
		{"both", func(agent *os.Process) {
			p.kill("main")
			must(t, agent.Kill())
			p.start("main")
		}},
	} {
		t.Run(c.who, func(t *testing.T) {
			here := s.on(t)
			version := strings.ReplaceAll(c.who, " ", "-")
			here.mode(version, "version="+version+stuck)
			running := here.during("staging", s.name, "release")
			h, err := here.agent().Health(t.Context())
			must(t, err)
			agent, err := os.FindProcess(h.Pid)
			must(t, err)
			must(t, agent.Signal(syscall.SIGSTOP)) // it hears of nothing
			d := here.cancel(here.by, running)
			if d.State != deploy.Running || d.Reason != "cancelling, as dana asked" {
				t.Errorf("the answer is %s: %s", d.State, d.Reason)
			}
			c.kill(agent)
			here.stays("staging", "version=1 color=red", d)
		})
	}
	next := s.mode("next", "version=next")
	p.settle(s.by, next, change.Deployed)
	p.sound()
}

// TestAReleaseIsCancelledThroughAnotherReplica asks one of two replicas to stop what the other runs.
func TestAReleaseIsCancelledThroughAnotherReplica(t *testing.T) {
	if os.Getenv("FLYWHEEL_TEST_DATABASE_URL") == "" {
		t.Skip("replicas need PostgreSQL: FLYWHEEL_TEST_DATABASE_URL is not set")
	}
	p := newPlatform(t)
	s := p.newShop(t, "far", "staging")
	p.start("second")
	s.mode("stuck", "version=stuck"+stuck) // what is proposed to one replica runs there
	running := p.during("staging", s.name, "release")
	other := *s.by
	other.via = "second"
	if d := p.cancel(&other, running); d.State != deploy.Cancelled {
		t.Errorf("the answer is %s: %s", d.State, d.Reason)
	}
	s.stays("staging", "version=1 color=red", p.deployment(running))
	p.sound()
}
