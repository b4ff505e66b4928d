package server_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/deploy"
	"flywheel.dev/flywheel/internal/event"
)

// TestARequestIsFoundInEverythingItLedTo pushes under a name of its own, kills the server in the middle, and
// finds the request by that name, and its id in the change, its deployment, the audit log, the events, and the logs of server and agent.
func TestARequestIsFoundInEverythingItLedTo(t *testing.T) {
	p := newPlatform(t)
	s := p.newShop(t, "traced", "staging")
	const given = "push-1"
	must(t, os.WriteFile(filepath.Join(s.clone, "mode"), []byte("version=traced\nstart=4s\n"), 0o644))
	s.by.git(s.clone, "checkout", "-q", "-b", "traced")
	s.by.git(s.clone, "add", "-A")
	s.by.git(s.clone, "commit", "-q", "-m", "Traced")
	_, rest, found := strings.Cut(s.by.git(s.clone, "-c", "http.extraHeader=X-Request-Id: "+given, "push", "origin", "traced"), "Change chg_")
	if !found {
		t.Fatal("the push names no change")
	}
	id := "chg_" + strings.FieldsFunc(rest, func(r rune) bool { return r < '0' || r > 'z' || r > '9' && r < 'a' })[0]
	p.during("staging", s.name, "release")
	p.kill("main")
	p.start("main")
	d := p.settle(p.dana, id, change.Deployed)

	request := d.Change.RequestID // ours, whatever the client said
	if !strings.HasPrefix(request, "req_") {
		t.Errorf("the change names the request %q", d.Change.RequestID)
	}
	if len(d.Deployments) != 1 || d.Deployments[0].RequestID != request {
		t.Errorf("its deployments name %+v", d.Deployments)
	}
	var events struct{ Items []event.CloudEvent }
	p.dana.must("GET", "/events?limit=200&requestId="+given, nil, &events)
	types := []string{}
	for _, e := range events.Items {
		types = append(types, e.Type)
		if e.RequestID != request {
			t.Errorf("%s names the request %q", e.Type, e.RequestID)
		}
	}
	for _, want := range []string{event.TypeOf(event.ChangeOpened{}), event.TypeOf(event.ChangeMerged{}), event.TypeOf(event.DeploymentStarted{}), event.TypeOf(event.ServiceUpgraded{})} {
		if !slices.Contains(types, want) {
			t.Errorf("no %s among the events of the request: %v", want, types)
		}
	}
	var audit struct{ Items []account.Record }
	p.admin.must("GET", "/audit?requestId="+given, nil, &audit)
	if !slices.ContainsFunc(audit.Items, func(r account.Record) bool { return r.Action == "change.merged" && r.Subject == id }) {
		t.Errorf("the audit log says of the request: %+v", audit.Items)
	}
	var verdict struct{ Broken *account.Broken }
	p.admin.must("GET", "/audit/verify", nil, &verdict)
	if verdict.Broken != nil {
		t.Errorf("the audit log is broken at %+v", verdict.Broken)
	}
	log, err := os.ReadFile(p.replica("main").log)
	must(t, err)
	agent, err := os.ReadFile(filepath.Join(p.data, "agent", "agent.log"))
	must(t, err)
	for what, line := range map[string]string{
		"a push":                "method=POST path=/git/apps/traced.git/git-receive-pack",
		"a change":              `msg="a branch is a change" change=` + id,
		"the restarted rollout": `msg="a deployment succeeds" deployment=` + d.Deployments[0].ID,
		"the agent's release":   "/release",
	} {
		if !slices.ContainsFunc(strings.Split(string(log)+string(agent), "\n"), func(l string) bool {
			return strings.Contains(l, line) && strings.Contains(l, "request_id="+request)
		}) {
			t.Errorf("no line of the logs tells of %s (%s) under the request:\n%s", what, line, log)
		}
	}

	// What a person does later is another request's.
	p.dana.must("POST", "/apps/traced/environments/staging/redeploy", nil, nil)
	var list struct{ Items []deploy.Deployment }
	p.dana.must("GET", "/deployments?app=traced&limit=1", nil, &list)
	if got := list.Items[0]; got.RequestID == request || !strings.HasPrefix(got.RequestID, "req_") {
		t.Errorf("the redeployment names the request %q", got.RequestID)
	}
}
