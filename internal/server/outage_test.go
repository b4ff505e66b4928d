package server_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/deploy"
)

// TestTheOtherReplicaFinishes kills one of two replicas on PostgreSQL in the middle of a rollout.
func TestTheOtherReplicaFinishes(t *testing.T) {
	slow(t)
	if os.Getenv("FLYWHEEL_TEST_DATABASE_URL") == "" {
		t.Skip("replicas need PostgreSQL: FLYWHEEL_TEST_DATABASE_URL is not set")
	}
	p := newPlatform(t)
	s := p.newShop(t, "twins", "staging", "prod")
	p.start("second")
	for i, step := range []string{"release", "apply"} {
		var id string
		if step == "release" {
			id = s.mode("next", "version=next start=1s")
		} else {
			id = s.set("green", map[string]map[string]any{"staging": {"color": "green"}, "prod": {"color": "green"}})
		}
		p.during("staging", s.name, step)
		victim, other := "main", "second"
		if i == 1 {
			victim, other = other, victim
		}
		p.kill(victim) // what was proposed to one replica is at work there
		p.dana.via, p.admin.via = other, other
		now := p.settle(p.dana, id, change.Deployed)
		for _, d := range now.Deployments {
			if d.State != deploy.Succeeded {
				t.Errorf("%s ended %s: %s", d.ID, d.State, d.Reason)
			}
		}
		p.start(victim)
	}
	if n := s.starts("prod", "next"); n != 2 { // once for the release, once for its new color
		t.Errorf("the version was started %d times in prod", n)
	}
	p.sound()
}

// TestUpgradedInTheMiddle replaces the binary while a rollout runs: once after an orderly stop, once after
// a kill.
func TestUpgradedInTheMiddle(t *testing.T) {
	slow(t)
	p := newPlatform(t)
	newer := filepath.Join(t.TempDir(), "flywheel")
	must(t, goBuild("-ldflags", "-X main.version=newer", "-o", newer, "flywheel.dev/flywheel/cmd/flywheel"))
	older := p.binary
	s := p.newShop(t, "upgrade", "staging", "prod")
	for i, end := range []func(string){p.terminate, p.kill} {
		id := s.mode(fmt.Sprintf("v%d", i), fmt.Sprintf("version=%d start=2s", i+2))
		running := p.during("staging", s.name, "release")
		end("main")
		if p.binary = newer; i == 1 {
			p.binary = older // and back again: both speak of the same workflows
		}
		p.start("main")
		p.settle(p.dana, id, change.Deployed)
		if d := p.deployment(running); d.State != deploy.Succeeded {
			t.Errorf("the rollout under the upgrade ended %s: %s", d.State, d.Reason)
		}
		if n := s.starts("staging", fmt.Sprint(i+2)); n != 1 {
			t.Errorf("version %d was started %d times", i+2, n)
		}
	}
	p.sound()
}

// TestAFullDisk fills the disk under the data folder in the middle of work, and empties it again.
func TestAFullDisk(t *testing.T) {
	slow(t)
	if testing.Short() {
		t.Skip("it runs the whole product for a while")
	}
	dir, err := os.MkdirTemp("", "fwd")
	must(t, err)
	t.Cleanup(func() { removeAll(dir) })
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=400m"); err != nil {
		t.Skipf("a small disk cannot be mounted: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	database := filepath.Join(dir, "flywheel.db")
	if os.Getenv("FLYWHEEL_TEST_DATABASE_URL") != "" {
		database = dbtest.URL(t)
	}
	p := newPlatformIn(t, dir, database)
	s := p.newShop(t, "full", "staging")

	ballast := filepath.Join(dir, "ballast")
	// In the middle of a rollout.
	id := s.mode("next", "version=next start=1s")
	p.during("staging", s.name, "release")
	fill(t, ballast)
	// What comes now is refused with a sentence, or taken: never half.
	s.by.git(s.clone, "checkout", "-q", "--detach", "origin/main")
	must(t, os.WriteFile(filepath.Join(s.clone, "mode"), []byte("version=later\n"), 0o644))
	s.by.git(s.clone, "checkout", "-q", "-b", "later")
	s.by.git(s.clone, "commit", "-q", "-a", "-m", "later")
	out, pushed := s.by.tryGit(s.clone, "push", "-q", "origin", "later")
	t.Logf("a push on a full disk: %v %s", pushed, out)
	if pushed != nil && !strings.Contains(string(out), "(disk.full)") {
		t.Errorf("a push on a full disk is answered %s", out)
	}
	for _, one := range []struct {
		path string
		body any
	}{
		{"/stories", map[string]any{"title": "On a full disk", "team": "shop"}},
		{"/apps", map[string]any{"name": "half", "team": "shop", "pattern": "tiny"}},
		{"/apps/full/changes", map[string]any{"environments": map[string]any{"staging": map[string]any{"color": "blue"}}}},
	} {
		err := p.dana.call("POST", one.path, one.body, nil)
		var no *problem
		if errors.As(err, &no) && no.Code != "disk.full" {
			t.Errorf("POST %s on a full disk is answered %v", one.path, err)
		}
		if err == nil && one.path == "/apps" {
			t.Error("an app was made on a full disk")
		}
	}
	time.Sleep(3 * time.Second) // the disk stays full for a while
	must(t, os.Remove(ballast))
	p.settle(p.dana, id, change.Deployed)
	if pushed != nil {
		s.by.git(s.clone, "fetch", "-q", "origin", "main")
		s.by.tryGit(s.clone, "push", "-q", "origin", "later")
	}
	p.eventually("the later push is a change", func() bool {
		return len(p.query(`select id from change where subject = $1 and branch = 'later'`, s.name)) == 1
	})
	p.newShop(t, "half", "staging") // nothing half-done holds the name
	p.sound()
}

// fill writes until the disk is full.
func fill(t *testing.T, ballast string) {
	t.Helper()
	f, err := os.Create(ballast)
	must(t, err)
	defer f.Close()
	block := make([]byte, 1<<20)
	for size := len(block); size >= 512; {
		if _, err := f.Write(block[:size]); err != nil {
			size /= 2
		}
	}
}

// TestADiskThatFillsInAnInfrastructureRun fills the disk under the engine, which goes on when there is room.
func TestADiskThatFillsInAnInfrastructureRun(t *testing.T) {
	slow(t)
	if testing.Short() {
		t.Skip("it runs the whole product for a while")
	}
	dir, err := os.MkdirTemp("", "fwd")
	must(t, err)
	t.Cleanup(func() { removeAll(dir) })
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=400m"); err != nil {
		t.Skipf("a small disk cannot be mounted: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	// The database is elsewhere, so that what is shown meanwhile can be written.
	p := newPlatformIn(t, dir, dbtest.URL(t))
	s := p.newShop(t, "full", "staging")
	p.settle(p.dana, s.mode("slow", "version=slow start=2s"), change.Deployed)
	ballast := filepath.Join(dir, "ballast")
	for i, step := range []string{"plan", "apply"} {
		color := []string{"green", "red"}[i]
		id := s.set(color, map[string]map[string]any{"staging": {"color": color}})
		running := p.during("staging", s.name, step)
		fill(t, ballast)
		var d deploy.Deployment
		p.eventually("it waits for room in "+step, func() bool {
			d = p.deployment(running)
			last := d.Steps[len(d.Steps)-1]
			return last.State == "waiting" && strings.Contains(d.Reason, "full") || d.State.Over()
		})
		if d.State != deploy.Running {
			t.Fatalf("with a full disk in the step %s it is %s: %s", step, d.State, d.Reason)
		}
		must(t, os.Remove(ballast))
		now := p.settle(p.dana, id, change.Deployed)
		if d = p.deployment(running); len(now.Deployments) != 1 || d.State != deploy.Succeeded || d.Reason != "" {
			t.Errorf("with room again it is %s: %s; %s", d.State, d.Reason, deploymentsOf(now))
		}
		if got := s.page("staging"); got != "version=slow color="+color {
			t.Errorf("in the end it runs %q", got)
		}
	}
	// One that waits can be cancelled.
	s.set("cancelled", map[string]map[string]any{"staging": {"color": "blue"}})
	running := p.during("staging", s.name, "plan")
	fill(t, ballast)
	p.eventually("it waits", func() bool {
		d := p.deployment(running)
		return d.Steps[len(d.Steps)-1].State == "waiting" || d.State.Over()
	})
	p.dana.must("POST", "/deployments/"+running+"/cancel", nil, nil)
	if d := p.over(running); d.State != deploy.Cancelled {
		t.Errorf("it is %s: %s", d.State, d.Reason)
	}
	must(t, os.Remove(ballast))
	p.sound()
}

// TestTheDatabaseIsRestarted ends every connection to PostgreSQL, again and again, in the middle of work.
func TestTheDatabaseIsRestarted(t *testing.T) {
	slow(t)
	base := os.Getenv("FLYWHEEL_TEST_DATABASE_URL")
	if base == "" {
		t.Skip("FLYWHEEL_TEST_DATABASE_URL is not set")
	}
	p := newPlatform(t)
	s := p.newShop(t, "away", "staging", "prod")
	name := p.database[strings.LastIndex(p.database, "/")+1:]
	name, _, _ = strings.Cut(name, "?")
	away := func(forSeconds float64) {
		conn, err := pgx.Connect(t.Context(), base)
		must(t, err)
		defer conn.Close(t.Context())
		_, err = conn.Exec(t.Context(), "alter database "+name+" with allow_connections false")
		must(t, err)
		_, err = conn.Exec(t.Context(), "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()", name)
		must(t, err)
		time.Sleep(time.Duration(forSeconds * float64(time.Second)))
		_, err = conn.Exec(t.Context(), "alter database "+name+" with allow_connections true")
		must(t, err)
	}
	for i, step := range []string{"release", "prepare", "plan", "apply"} {
		var id string
		if step == "release" {
			id = s.mode("next", "version=next start=1s")
		} else {
			color := []string{"red", "green", "blue"}[i%3]
			id = s.set(color+" "+step, map[string]map[string]any{"staging": {"color": color}, "prod": {"color": color}})
		}
		p.during("staging", s.name, step)
		away(2)
		now := p.settle(p.dana, id, change.Deployed)
		for _, d := range now.Deployments {
			if d.State != deploy.Succeeded {
				t.Errorf("%s ended %s: %s", d.ID, d.State, d.Reason)
			}
		}
	}
	p.sound()
}
