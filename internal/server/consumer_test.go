package server_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/event"
)

// TestAConsumerThatStandsStillIsSeenAndSkipped writes a fact that no release of Flywheel would: it is about a change
// that is not there.
func TestAConsumerThatStandsStillIsSeenAndSkipped(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs the whole product for a while")
	}
	must(t, build())
	dir, err := os.MkdirTemp("", "fwd") // sockets need a short path
	must(t, err)
	t.Cleanup(func() { removeAll(dir) })
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	metrics := free.Addr().String()
	must(t, free.Close())
	p := &platform{t: t, running: &running{binary: binaries.flywheel, data: dir, database: dbtest.URL(t), replicas: map[string]*replica{}, secret: "correct horse battery staple"}}
	t.Cleanup(p.stop)
	signIn := p.start("main", "--metrics-listen", metrics)
	p.admin = p.signIn(signIn[0], signIn[1])
	for name, disciplines := range map[string][]string{"sam": {"security"}, "dana": {}} {
		p.admin.must("POST", "/users", map[string]any{"name": name, "title": name, "password": p.secret, "disciplines": disciplines}, nil)
	}
	sam, dana := p.signIn("sam", p.secret), p.signIn("dana", p.secret)

	poison := event.Event{ID: "evt_poison", Type: event.TypeOf(event.FixDeclared{}), Subject: "chg_gone", App: "nowhere"}
	must(t, p.look().Write(t.Context(), func(tx *db.Tx) error { return event.Append(tx, poison) }))
	places := func(a *person) map[string]event.Place {
		t.Helper()
		var page struct{ Items []event.Place }
		a.must("GET", "/consumers", nil, &page)
		found := map[string]event.Place{}
		for _, one := range page.Items {
			found[one.Consumer] = one
		}
		return found
	}
	p.eventually("it stands still", func() bool { return places(sam)["deploy-mended"].Attempts > 0 })
	stands := places(p.admin)
	if one := stands["deploy-mended"]; one.Event != "evt_poison" || one.Subject != "chg_gone" || one.Lag != 1 || one.Failure != `There is no change "chg_gone".` || one.NextAt == nil {
		t.Errorf("%+v", one)
	}
	if one, ok := stands["change-waived"]; !ok || one.Attempts != 0 {
		t.Errorf("the other one: %+v", one)
	}
	if _, answer := p.ready(); !strings.HasPrefix(answer["consumers"], "The consumer deploy-mended stands still at evt_poison") {
		t.Errorf("readiness tells %v", answer)
	}
	p.eventually("it is ready all the same", func() bool { status, _ := p.ready(); return status == 200 })
	response, err := plain.Get("http://" + metrics + "/metrics")
	must(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(t, err)
	for _, want := range []string{`flywheel_consumer_lag{consumer="deploy-mended"} 1`, `flywheel_consumer_lag{consumer="change-waived"} 0`, `flywheel_consumer_failures{consumer="change-waived"} 0`} {
		if !strings.Contains(string(text), want+"\n") {
			t.Errorf("the metrics lack %s", want)
		}
	}
	log, err := os.ReadFile(filepath.Join(dir, "serve-main.log"))
	if err != nil || !strings.Contains(string(log), "a consumer failed at a fact") || !strings.Contains(string(log), "evt_poison") {
		t.Errorf("the log does not tell it: %v", err)
	}

	dana.refused("permission.denied", "GET", "/consumers", nil)
	dana.refused("permission.denied", "POST", "/consumers/deploy-mended/skip", map[string]any{"event": "evt_poison"})
	sam.refused("consumer.elsewhere", "POST", "/consumers/deploy-mended/skip", map[string]any{"event": "evt_0"})
	sam.refused("consumer.elsewhere", "POST", "/consumers/change-waived/skip", map[string]any{"event": "evt_poison"})
	sam.refused("consumer.not_found", "POST", "/consumers/nobody/skip", map[string]any{"event": "evt_poison"})
	var skipped event.Place
	sam.must("POST", "/consumers/deploy-mended/skip", map[string]any{"event": "evt_poison"}, &skipped)
	if skipped.Event != "evt_poison" || skipped.Failure == "" {
		t.Errorf("%+v", skipped)
	}
	sam.refused("consumer.elsewhere", "POST", "/consumers/deploy-mended/skip", map[string]any{"event": "evt_poison"})
	if one := places(sam)["deploy-mended"]; one.Attempts != 0 || one.Lag != 0 {
		t.Errorf("%+v", one)
	}
	if _, answer := p.ready(); answer["consumers"] != "ok" {
		t.Errorf("%v", answer)
	}
	var audit struct{ Items []account.Record }
	sam.must("GET", "/audit?action=consumer.skip", nil, &audit)
	if len(audit.Items) != 1 || audit.Items[0].Name != "sam" || audit.Items[0].Subject != "deploy-mended" ||
		!strings.Contains(audit.Items[0].Reason, fmt.Sprintf("evt_poison, %s of chg_gone", event.TypeOf(event.FixDeclared{}))) {
		t.Errorf("%+v", audit.Items)
	}
}
