package tofu_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"gocloud.dev/secrets/localsecrets"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/tofu"
)

// backend is the state backend as an engine sees it.
type backend struct {
	*tofu.States
	t      *testing.T
	server *httptest.Server
	fence  int64
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	key, err := localsecrets.NewRandomKey()
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{t: t, fence: 1}
	b.States = &tofu.States{DB: dbtest.Open(t), Keeper: localsecrets.NewKeeper(key), Fenced: func(_ *db.Tx, _ string, token int64) error {
		if token != b.fence {
			return fault.New(fault.Stale, "instance.fenced", "A newer run has the instance.")
		}
		return nil
	}}
	b.server = httptest.NewServer(b.Handler())
	t.Cleanup(b.server.Close)
	return b
}

// engine is one run with its token.
type engine struct {
	*backend
	run, token, instance string
}

func (b *backend) engine(run, instance string, writes bool, fence int64) engine {
	b.t.Helper()
	token, err := b.Issue(b.t.Context(), run, instance, writes, fence)
	if err != nil {
		b.t.Fatal(err)
	}
	return engine{b, run, token, instance}
}

func (e engine) do(method, query, body string) (int, string) {
	e.t.Helper()
	r, err := http.NewRequestWithContext(e.t.Context(), method, e.server.URL+"/internal/state/"+e.instance+query, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	r.SetBasicAuth(e.run, e.token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		e.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func (e engine) want(status int, method, query, body string) string {
	e.t.Helper()
	got, text := e.do(method, query, body)
	if got != status {
		e.t.Errorf("%s %s%s as %s answers %d (%s), want %d", method, e.instance, query, e.run, got, strings.TrimSpace(text), status)
	}
	return text
}

func stateOf(serial int, lineage, value string) string {
	return fmt.Sprintf(`{"version":4,"serial":%d,"lineage":%q,"outputs":{"x":{"value":%q}}}`, serial, lineage, value)
}

func TestARunLocksWritesAndReadsItsState(t *testing.T) {
	b := newBackend(t)
	e := b.engine("dpl_1", "ins_a", true, 1)
	e.want(404, "GET", "", "")
	e.want(200, "LOCK", "", `{"ID":"l1","Who":"me"}`)
	e.want(200, "POST", "?ID=l1", stateOf(1, "a", "one"))
	e.want(200, "POST", "?ID=l1", stateOf(1, "a", "one")) // the answer to the first was lost
	if got := e.want(200, "GET", "", ""); got != stateOf(1, "a", "one") {
		t.Errorf("state: %s", got)
	}
	e.want(200, "UNLOCK", "", `{"ID":"l1"}`)
	versions, err := b.Versions(t.Context(), "ins_a")
	if err != nil || len(versions) != 1 || versions[0].Run != "dpl_1" || versions[0].Serial != 1 {
		t.Errorf("versions: %+v, %v", versions, err)
	}
	e.want(200, "DELETE", "", "")
	e.want(404, "GET", "", "")
	if old, err := b.At(t.Context(), "ins_a", 1); err != nil || string(old) != stateOf(1, "a", "one") {
		t.Errorf("the version before the deletion: %s, %v", old, err)
	}
}

func TestATokenOpensOneInstanceForOneRun(t *testing.T) {
	b := newBackend(t)
	e := b.engine("dpl_1", "ins_a", true, 1)
	e.want(200, "POST", "", stateOf(1, "a", "one"))

	other := e
	other.instance = "ins_b"
	other.want(401, "GET", "", "")
	pretender := e
	pretender.run = "dpl_2"
	pretender.want(401, "GET", "", "")
	guess := e
	guess.token = "guess"
	guess.want(401, "GET", "", "")
	guess.token = ""
	guess.want(401, "POST", "", stateOf(2, "a", "two"))

	if err := b.Revoke(t.Context(), "dpl_1"); err != nil {
		t.Fatal(err)
	}
	e.want(401, "GET", "", "")
}

func TestATokenOfAPlanOnlyReads(t *testing.T) {
	b := newBackend(t)
	b.engine("dpl_1", "ins_a", true, 1).want(200, "POST", "", stateOf(1, "a", "one"))
	plan := b.engine("dpl_2", "ins_a", false, 1)
	plan.want(200, "GET", "", "")
	plan.want(403, "POST", "", stateOf(2, "a", "two"))
	plan.want(403, "DELETE", "", "")
	plan.want(403, "LOCK", "", `{"ID":"l"}`)
}

func TestAnOvertakenRunWritesNothing(t *testing.T) {
	b := newBackend(t)
	old := b.engine("dpl_1", "ins_a", true, 1)
	old.want(200, "POST", "", stateOf(1, "a", "one"))
	b.fence = 2
	old.want(409, "POST", "", stateOf(2, "a", "late"))
	old.want(409, "LOCK", "", `{"ID":"l"}`)
	b.engine("dpl_2", "ins_a", true, 2).want(200, "POST", "", stateOf(2, "a", "two"))
}

func TestALockIsHeldByOneRunAndBrokenOnlyByItsOwn(t *testing.T) {
	b := newBackend(t)
	one, two := b.engine("dpl_1", "ins_a", true, 1), b.engine("dpl_2", "ins_a", true, 1)
	one.want(200, "LOCK", "", `{"ID":"l1","Who":"one"}`)
	one.want(200, "LOCK", "", `{"ID":"l1","Who":"one"}`) // the same request again
	if info := two.want(423, "LOCK", "", `{"ID":"l2"}`); info != `{"ID":"l1","Who":"one"}` {
		t.Errorf("the holder's info: %s", info)
	}
	two.want(423, "POST", "", stateOf(1, "a", "two"))
	two.want(423, "UNLOCK", "", `{"ID":"l1"}`)
	one.want(423, "POST", "?ID=other", stateOf(1, "a", "one"))
	if err := b.Unlock(t.Context(), "ins_a", "dpl_2"); err != nil {
		t.Fatal(err)
	}
	two.want(423, "LOCK", "", `{"ID":"l2"}`)
	if err := b.Unlock(t.Context(), "ins_a", "dpl_1"); err != nil {
		t.Fatal(err)
	}
	two.want(200, "LOCK", "", `{"ID":"l2"}`)
}

func TestOfManyWhoLockAtOnceOneGetsIt(t *testing.T) {
	b := newBackend(t)
	var all sync.WaitGroup
	statuses := make([]int, 8)
	for i := range statuses {
		e := b.engine(fmt.Sprint("dpl_", i), "ins_a", true, 1)
		all.Go(func() { statuses[i], _ = e.do("LOCK", "", fmt.Sprintf(`{"ID":"l%d"}`, i)) })
	}
	all.Wait()
	taken := 0
	for _, s := range statuses {
		if s == 200 {
			taken++
		} else if s != 423 {
			t.Errorf("status %d", s)
		}
	}
	if taken != 1 {
		t.Errorf("%d got the lock", taken)
	}
}

func TestAStateThatDoesNotFollowIsRefused(t *testing.T) {
	b := newBackend(t)
	e := b.engine("dpl_1", "ins_a", true, 1)
	e.want(200, "POST", "", stateOf(5, "a", "five"))
	e.want(409, "POST", "", stateOf(4, "a", "four"))
	e.want(409, "POST", "", stateOf(6, "b", "six"))
	e.want(400, "POST", "", "no state")
	e.want(400, "POST", "", "{}")
	e.want(400, "LOCK", "", "{}")
	e.want(405, "PATCH", "", "")
	if got := e.want(200, "GET", "", ""); got != stateOf(5, "a", "five") {
		t.Errorf("state: %s", got)
	}
}

func TestOnlyTheNewestVersionsOfAStateAreKept(t *testing.T) {
	b := newBackend(t)
	e := b.engine("dpl_1", "ins_a", true, 1)
	for serial := 1; serial <= tofu.Kept+5; serial++ {
		e.want(200, "POST", "", stateOf(serial, "a", "x"))
	}
	versions, err := b.Versions(t.Context(), "ins_a")
	if err != nil || len(versions) != tofu.Kept || versions[0].Serial != tofu.Kept+5 {
		t.Errorf("%d versions, %v", len(versions), err)
	}
}

func TestAStateIsEncryptedAtRest(t *testing.T) {
	b := newBackend(t)
	b.engine("dpl_1", "ins_a", true, 1).want(200, "POST", "", stateOf(1, "a", "hunter2"))
	err := b.DB.Read(t.Context(), func(tx *db.Tx) error {
		var body []byte
		if err := tx.QueryRow(`select body from state_version where instance = 'ins_a'`).Scan(&body); err != nil {
			return err
		}
		if len(body) == 0 || bytes.Contains(body, []byte("hunter2")) {
			t.Errorf("stored: %q", body)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	key, err := localsecrets.NewRandomKey()
	if err != nil {
		t.Fatal(err)
	}
	b.Keeper = localsecrets.NewKeeper(key)
	if _, err := b.Current(t.Context(), "ins_a"); !fault.Is(err, "state.sealed") {
		t.Errorf("with another key: %v", err)
	}
}
