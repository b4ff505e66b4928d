package server_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/deploy"
	"flywheel.dev/flywheel/internal/local"
)

func TestRulesOfChange(t *testing.T) {
	if os.Getenv("FLYWHEEL_TEST_DATABASE_URL") != "" {
		slow(t) // once is enough where minutes count
	}
	p := newPlatform(t)
	for name, test := range map[string]func(t *testing.T, p *platform){
		"waiting deployments run in their order, or end when cancelled":       queueAndCancel,
		"a newer deployment replaces the waiting ones where the policy says":  replacePending,
		"a cancelled release is given up at once, and the next one goes on":   cancelRelease,
		"a cancelled apply is given up, and what ran before serves on":        cancelApply,
		"a cancel that comes too late loses nothing":                          cancelTooLate,
		"a destroy plan waits for an operator who has seen it":                heldDestroy,
		"a variable that would replace a volume is held":                      heldReplacement,
		"a plan that destroys more than was released is held again":           heldForMore,
		"a sick release goes back and stops later changes until it is mended": automaticRollback,
		"a way back that would replace a volume is held, and nothing is lost": heldRollback,
		"a person rolls back, and a running deployment does not lift the pin": manualRollback,
		"releases and infrastructure agree":                                   releasesAgree,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, p.at(t))
		})
	}
	t.Cleanup(func() {
		if !t.Failed() {
			p.sound()
		}
	})
}

func states(list []deploy.Deployment) []deploy.State {
	found := []deploy.State{}
	for _, d := range list {
		found = append(found, d.State)
	}
	return found
}

func queueAndCancel(t *testing.T, p *platform) {
	s := p.newShop(t, "queue", "staging")
	slow := s.mode("slow", "version=slow start=12s")
	p.during("staging", s.name, "release")
	second, third := s.mode("second", "version=second"), s.mode("third", "version=third")
	var waiting []deploy.Deployment
	p.eventually("two wait", func() bool {
		waiting = slices.DeleteFunc(s.deployments("staging"), func(d deploy.Deployment) bool { return d.State != deploy.Waiting })
		return len(waiting) == 2
	})
	if !strings.Contains(waiting[0].Reason, "waits for dpl_") {
		t.Errorf("the reason of waiting is %q", waiting[0].Reason)
	}
	p.dana.must("POST", "/deployments/"+waiting[0].ID+"/cancel", nil, nil)
	if c := p.change(second).Change; c.State != change.Merged || !strings.Contains(c.Why, "cancelled by dana") {
		t.Errorf("the change of the cancelled deployment is %s: %s", c.State, c.Why)
	}
	p.settle(p.dana, slow, change.Deployed)
	p.settle(p.dana, third, change.Deployed)
	if got := s.page("staging"); got != "version=third color=red" {
		t.Errorf("it runs %q", got)
	}
	list := s.deployments("staging")
	want := []deploy.State{deploy.Succeeded, deploy.Succeeded, deploy.Cancelled, deploy.Succeeded}
	if !slices.Equal(states(list), want) {
		t.Errorf("the deployments ended %v, want %v", states(list), want)
	}
	for i, d := range list {
		if d.Number != int64(i+1) {
			t.Errorf("deployment %d has the number %d", i+1, d.Number)
		}
	}
	p.settle(p.dana, second, change.Deployed) // main is one line: it came with the third
	if n := s.starts("staging", "second"); n != 0 {
		t.Errorf("the cancelled version was started %d times", n)
	}
	p.dana.refused("deployment.over", "POST", "/deployments/"+waiting[0].ID+"/cancel", nil)
}

func replacePending(t *testing.T, p *platform) {
	s := p.newShop(t, "replace", "lab")
	first := s.mode("first", "version=first start=12s")
	p.during("lab", s.name, "release")
	second := s.mode("second", "version=second")
	p.eventually("the second waits", func() bool { return len(s.deployments("lab")) == 3 })
	third := s.mode("third", "version=third")
	for _, id := range []string{first, second, third} {
		p.settle(p.dana, id, change.Deployed)
	}
	list := s.deployments("lab")
	want := []deploy.State{deploy.Succeeded, deploy.Succeeded, deploy.Superseded, deploy.Succeeded}
	if !slices.Equal(states(list), want) {
		t.Fatalf("the deployments ended %v, want %v", states(list), want)
	}
	if !strings.Contains(list[2].Reason, list[3].ID) {
		t.Errorf("the replaced one says %q, not by which", list[2].Reason)
	}
	if n := s.starts("lab", "second"); n != 0 {
		t.Errorf("the replaced version was started %d times", n)
	}
}

func heldDestroy(t *testing.T, p *platform) {
	s := p.newShop(t, "remove", "staging", "prod")
	p.admin.must("POST", "/users", map[string]any{"name": "vera", "title": "Vera", "password": p.secret}, nil)
	p.admin.must("PUT", "/teams/shop/members/vera", map[string]any{"role": "developer"}, nil)
	developer := p.signIn("vera", p.secret)
	var c change.Change
	s.by.must("DELETE", "/apps/"+s.name+"/environments/prod", nil, &c)
	now := p.settle(p.dana, c.ID, change.Held)
	developer.refused("permission.denied", "POST", "/changes/"+c.ID+"/release", map[string]any{"digest": now.HeldDigest})
	p.dana.refused("change.plan_changed", "POST", "/changes/"+c.ID+"/release", map[string]any{"digest": "sha256:0"})
	if s.instance("prod").URL == "" || s.page("prod") == "" {
		t.Error("it was removed before anybody released it")
	}
	p.dana.refused("release.own_change", "POST", "/changes/"+c.ID+"/release", map[string]any{"digest": now.HeldDigest})
	p.admin.must("POST", "/changes/"+c.ID+"/release", map[string]any{"digest": now.HeldDigest}, nil)
	// One decision is enough: the deployment destroys what was shown.
	list := p.settle(p.dana, c.ID, change.Deployed).Deployments
	if len(list) != 1 || list[0].Kind != deploy.Destroy || list[0].State != deploy.Succeeded {
		t.Fatalf("the removal ended %s", deploymentsOf(p.change(c.ID)))
	}
	d := list[0]
	services, err := p.agent().ListServices(t.Context(), d.Instance)
	if err != nil || len(services) != 0 {
		t.Errorf("of the removed instance there is %v, %v", services, err)
	}
	for _, i := range s.detail().Instances {
		if i.Environment == "prod" && (i.State != app.Gone || i.URL != "") {
			t.Errorf("the removed instance is %s at %q", i.State, i.URL)
		}
	}
	if s.page("staging") == "" {
		t.Error("staging is gone as well")
	}

	// The whole app goes the same way.
	s.by.must("DELETE", "/apps/"+s.name, nil, &c)
	now = p.settle(p.dana, c.ID, change.Held)
	p.admin.must("POST", "/changes/"+c.ID+"/release", map[string]any{"digest": now.HeldDigest}, nil)
	// The app is gone for its people, so the database says how it ended.
	p.eventually("the app is removed", func() bool {
		return slices.Equal(p.query(`select state from deployment where change = $1`, c.ID), []string{"succeeded"})
	})
	d.Instance = p.query(`select instance from deployment where change = $1`, c.ID)[0]
	if volumes, err := p.agent().ListVolumes(t.Context(), d.Instance); err != nil || len(volumes) != 0 {
		t.Errorf("the removed app left %v, %v", volumes, err)
	}
}

func heldReplacement(t *testing.T, p *platform) {
	s := p.newShop(t, "volume", "staging")
	before := s.instance("staging")
	id := s.set("another volume", map[string]map[string]any{"staging": {"volume": "other"}})
	now := p.settle(p.dana, id, change.Held)
	if !strings.Contains(now.Change.Why, "flywheel_volume.data") {
		t.Errorf("it is held and says %q, without the address", now.Change.Why)
	}
	if volumes, err := p.agent().ListVolumes(t.Context(), before.ID); err != nil || len(volumes) != 1 || volumes[0].Name != "data" {
		t.Errorf("there is %v, %v", volumes, err)
	}
	p.dana.must("POST", "/changes/"+id+"/release", map[string]any{"digest": now.HeldDigest}, nil)
	p.settle(p.dana, id, change.Deployed) // one decision is enough
	if volumes, err := p.agent().ListVolumes(t.Context(), before.ID); err != nil || len(volumes) != 1 || volumes[0].Name != "other" {
		t.Errorf("there is %v, %v", volumes, err)
	}
}

// heldForMore changes what is there behind the platform's back between each look and each release.
func heldForMore(t *testing.T, p *platform) {
	s := p.newShop(t, "more", "staging")
	p.settle(p.dana, s.set("spares", map[string]map[string]any{"staging": {"spare": []string{"x", "y", "z"}}}), change.Deployed)
	instance := s.instance("staging").ID
	agent := p.agent()
	agent.Instance = instance
	there := func(volumes ...string) {
		for _, name := range []string{"x", "y", "z"} {
			if slices.Contains(volumes, name) {
				_, err := agent.ApplyVolume(t.Context(), local.Volume{Instance: instance, Name: name, SizeMB: 1})
				must(t, err)
			} else {
				must(t, agent.DeleteVolume(t.Context(), local.VolumeID(instance, name)))
			}
		}
	}
	there("x")
	id := s.set("no spares", map[string]map[string]any{"staging": {"spare": []string{}}})
	p.settle(p.dana, id, change.Held)
	s.mode("slow", "version=slow start=4s") // the change has to wait for it
	p.during("staging", s.name, "release")
	now := p.settle(p.dana, id, change.Held)
	p.dana.must("POST", "/changes/"+id+"/release", map[string]any{"digest": now.HeldDigest}, nil)
	s.merged(id)
	there("x", "y")

	held := func(reason string) deploy.Deployment {
		t.Helper()
		var d deploy.Deployment
		p.eventually("it is held: "+reason, func() bool {
			list := s.deployments("staging")
			d = list[len(list)-1]
			return d.Change == id && d.State == deploy.Held && strings.Contains(d.Reason, reason)
		})
		return d
	}
	first := held(`destroy or replace flywheel_volume.spare["x"], flywheel_volume.spare["y"]; its release knew of flywheel_volume.spare["x"] only`)
	there("z")
	p.dana.refused("deployment.plan_changed", "POST", "/deployments/"+first.ID+"/release", map[string]any{"planDigest": "sha256:0"})
	p.dana.must("POST", "/deployments/"+first.ID+"/release", map[string]any{"planDigest": first.PlanDigest}, nil)
	second := held(`destroy or replace flywheel_volume.spare["z"]; its release knew of`)
	there("x", "y")
	p.dana.must("POST", "/deployments/"+first.ID+"/release", map[string]any{"planDigest": second.PlanDigest}, nil)
	third := held(`flywheel_volume.spare["y"]; its release knew of flywheel_volume.spare["z"] only`)
	if third.PlanDigest != first.PlanDigest {
		t.Errorf("the same plan has the digests %s and %s", first.PlanDigest, third.PlanDigest)
	}
	// It is released a second time with the same digest, and what is gone meanwhile asks nobody.
	there("y")
	p.dana.must("POST", "/deployments/"+first.ID+"/release", map[string]any{"planDigest": third.PlanDigest}, nil)
	p.settle(p.dana, id, change.Deployed)
}

func automaticRollback(t *testing.T, p *platform) {
	s := p.newShop(t, "sick", "staging", "prod")
	good := s.mode("good", "version=good")
	p.settle(p.dana, good, change.Deployed)
	sick := s.mode("sick", "version=sick crash=yes")
	now := p.settle(p.dana, sick, change.RolledBack)
	if !strings.Contains(now.Change.Why, "staging went back by itself") || !strings.Contains(now.Change.Why, "did not become healthy") {
		t.Errorf("the change says %q", now.Change.Why)
	}
	p.eventually("its revert is open", func() bool { now = p.change(sick); return now.Change.Revert != "" })
	if got := s.page("staging"); got != "version=good color=red" {
		t.Errorf("staging runs %q", got)
	}
	for _, d := range s.deployments("prod") {
		if d.Change == sick {
			t.Errorf("the sick version reached prod: %s", d.State)
		}
	}

	// What comes after it waits, until the revert is merged.
	later := s.set("green", map[string]map[string]any{"staging": {"color": "green"}})
	p.eventually("the later change waits before staging", func() bool {
		list := s.deployments("staging")
		d := list[len(list)-1]
		return d.Change == later && d.State == deploy.Waiting && strings.Contains(d.Reason, sick)
	})
	p.settle(p.dana, now.Change.Revert, change.Ready)
	p.dana.must("POST", "/changes/"+now.Change.Revert+"/merge", nil, nil)
	p.settle(p.dana, now.Change.Revert, change.Deployed)
	p.settle(p.dana, later, change.Deployed)
	if got := s.page("staging"); got != "version=good color=green" {
		t.Errorf("in the end staging runs %q", got)
	}
	if got := s.page("prod"); got != "version=good color=red" {
		t.Errorf("in the end prod runs %q", got)
	}
	if i := s.instance("staging"); i.PinnedBy != "" || i.State != app.Healthy {
		t.Errorf("in the end staging is %s, pinned by %q", i.State, i.PinnedBy)
	}
}

func heldRollback(t *testing.T, p *platform) {
	s := p.newShop(t, "back", "staging")
	p.settle(p.dana, s.mode("good", "version=good"), change.Deployed)
	before := s.starts("staging", "good")
	// Broken code and another volume in one change: the volume is replaced, and then the new version does not start.
	s.by.git(s.clone, "fetch", "-q", "origin", "main")
	s.by.git(s.clone, "checkout", "-q", "--detach", "origin/main")
	manifest := filepath.Join(s.clone, "flywheel.yaml")
	text, err := os.ReadFile(manifest)
	must(t, err)
	changed := strings.Replace(string(text), "staging: {}", "staging: {variables: {volume: other}}", 1)
	if changed == string(text) {
		t.Fatalf("the manifest is\n%s", text)
	}
	must(t, os.WriteFile(manifest, []byte(changed), 0o644))
	must(t, os.WriteFile(filepath.Join(s.clone, "mode"), []byte("version=sick\ncrash=yes\n"), 0o644))
	sick := s.by.push(s.clone, "sick", "sick")
	now := p.settle(p.dana, sick, change.Held)
	p.dana.must("POST", "/changes/"+sick+"/release", map[string]any{"digest": now.HeldDigest}, nil)
	p.settle(p.dana, sick, change.RolledBack)
	var back deploy.Deployment
	p.eventually("the way back is held", func() bool {
		list := s.deployments("staging")
		back = list[len(list)-1]
		return back.Trigger == deploy.ByRollback && back.State == deploy.Held
	})
	i := s.instance("staging")
	if i.State != app.Degraded || !strings.Contains(i.Reason, back.ID) || !strings.Contains(back.Reason, "flywheel_volume.data") {
		t.Errorf("the instance is %s: %s; the way back says %q", i.State, i.Reason, back.Reason)
	}
	if got := s.page("staging"); got != "version=good color=red" {
		t.Errorf("meanwhile it runs %q", got)
	}
	p.dana.must("POST", "/deployments/"+back.ID+"/release", map[string]any{"planDigest": back.PlanDigest}, nil)
	if d := p.over(back.ID); d.State != deploy.Succeeded {
		t.Fatalf("the way back ended %s: %s", d.State, d.Reason)
	}
	if i := s.instance("staging"); i.State != app.Healthy || i.PinnedBy != sick {
		t.Errorf("the instance is %s, pinned by %q", i.State, i.PinnedBy)
	}
	if got := s.page("staging"); got != "version=good color=red" {
		t.Errorf("in the end it runs %q", got)
	}
	if n := s.starts("staging", "good"); n < before {
		t.Errorf("the volume remembers %d starts, and held %d before", n, before)
	}
}

func manualRollback(t *testing.T, p *platform) {
	s := p.newShop(t, "manual", "staging")
	second := s.mode("second", "version=second")
	p.settle(p.dana, second, change.Deployed)
	third := s.mode("third", "version=third start=5s")
	p.during("staging", s.name, "release")
	var back deploy.Deployment
	s.by.must("POST", "/apps/"+s.name+"/environments/staging/rollback", map[string]any{}, &back)
	fourth := s.mode("fourth", "version=fourth")
	if d := p.over(back.ID); d.State != deploy.Succeeded {
		t.Fatalf("the rollback ended %s: %s", d.State, d.Reason)
	}
	p.settle(p.dana, second, change.RolledBack)
	if got := s.page("staging"); got != "version=1 color=red" {
		t.Errorf("after the rollback it runs %q", got)
	}
	if i := s.instance("staging"); i.PinnedBy != second {
		t.Errorf("the instance is pinned by %q, want %s", i.PinnedBy, second)
	}
	p.eventually("the fourth waits", func() bool {
		list := s.deployments("staging")
		d := list[len(list)-1]
		return d.Change == fourth && d.State == deploy.Waiting && strings.Contains(d.Reason, second)
	})
	_ = third
	fix := s.mode("fix", "version=fix", "Fixes: "+second)
	p.settle(p.dana, fix, change.Deployed)
	p.settle(p.dana, fourth, change.Deployed)
	if i := s.instance("staging"); i.PinnedBy != "" {
		t.Errorf("the instance is still pinned by %q", i.PinnedBy)
	}
}

func releasesAgree(t *testing.T, p *platform) {
	s := p.newShop(t, "agree", "staging")
	for _, v := range []string{"two", "three"} {
		p.settle(p.dana, s.mode(v, "version="+v), change.Deployed)
	}
	// A plan with unchanged variables is empty.
	var d deploy.Deployment
	id := s.set("more", map[string]map[string]any{"staging": {"instances": 2}})
	now := p.settle(p.dana, id, change.Deployed)
	d = now.Deployments[0]
	if d.Kind != deploy.Infrastructure {
		t.Errorf("a variable was changed by a %s", d.Kind)
	}
	if got := s.page("staging"); got != "version=three color=red" {
		t.Errorf("the variable change brought %q", got)
	}
	// The process that ran goes on, and one more is started.
	if n := s.starts("staging", "three"); n != 2 {
		t.Errorf("the version was started %d times, want 2: one for the release, one more for the variable", n)
	}
	p.settle(p.dana, s.mode("four", "version=four"), change.Deployed)
	if n := s.starts("staging", "three"); n != 2 {
		t.Errorf("the old version was started %d times in the end", n)
	}
	plan := p.plan(t, s, "staging")
	if !strings.Contains(plan, "nothing to change") {
		t.Errorf("after releases, the plan with unchanged variables is: %s", plan)
	}
}

// plan returns the summary of the plan of what is deployed: a change that sets a variable to the value it
// has by default differs in words only.
func (p *platform) plan(t *testing.T, s *shop, environment string) string {
	id := s.set("the same in other words", map[string]map[string]any{environment: {"color": "red"}})
	now := p.settle(p.dana, id, change.Deployed)
	for _, k := range now.Checks {
		if k.Name == "plan: "+environment {
			return k.Summary
		}
	}
	t.Fatalf("there was no plan: %s", checksOf(now))
	return ""
}
