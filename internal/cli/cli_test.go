package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/patience"
)

var update = flag.Bool("update", false, "write the golden files anew")

// noon is the present in these tests.
var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// run is one command line against a server, with its streams and exit code.
type run struct {
	code     int
	out, err string
}

// tell runs a command line as a person with a token would.
func tell(t *testing.T, server, stdin string, args ...string) run {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("FLYWHEEL_URL", server)
	t.Setenv("FLYWHEEL_TOKEN", "fly_test")
	return raw(t, stdin, args...)
}

func raw(t *testing.T, stdin string, args ...string) run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience.Of(patience.Limit))
	defer cancel()
	var out, err bytes.Buffer
	root := build(&shell{version: "1.2.3", now: func() time.Time { return noon }})
	code := Main(ctx, root, args, strings.NewReader(stdin), &out, &err)
	return run{code, out.String(), err.String()}
}

// answers is a server that gives fixed answers by "METHOD /path" and keeps what it was asked.
type answers struct {
	mu     sync.Mutex
	by     map[string]any
	asked  []string
	bodies map[string]string
	header map[string]http.Header
}

type refusal struct {
	status int
	body   string
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	key := r.Method + " " + r.URL.RequestURI()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.bodies == nil {
		a.bodies, a.header = map[string]string{}, map[string]http.Header{}
	}
	a.asked = append(a.asked, key)
	a.bodies[key], a.header[key] = string(body), r.Header
	answer, known := a.by[key]
	if list, several := answer.([]any); several && len(list) > 0 {
		answer = list[0]
		if len(list) > 1 {
			a.by[key] = list[1:]
		}
	}
	switch v := answer.(type) {
	case refusal:
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(v.status)
		io.WriteString(w, v.body)
	case string:
		io.WriteString(w, v)
	default:
		if !known {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, `{"code":"request.path","detail":"There is nothing at %s."}`, r.URL.Path)
			return
		}
		json.NewEncoder(w).Encode(v)
	}
}

func serve(t *testing.T, by map[string]any) (*answers, string) {
	t.Helper()
	a := &answers{by: by}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	return a, server.URL
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run with -update and look at the diff.\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

func TestTheExitCodeSaysHowACommandEnded(t *testing.T) {
	problem := func(status int, code, detail, remedy string) refusal {
		return refusal{status, fmt.Sprintf(`{"status":%d,"code":%q,"detail":%q,"remedy":%q,"requestId":"req_1"}`, status, code, detail, remedy)}
	}
	for _, c := range []struct {
		name   string
		answer any
		args   []string
		code   int
		says   []string // on standard error
	}{
		{"done", map[string]any{"items": []any{}}, []string{"change", "list"}, Done, []string{"There are no changes yet.", "flywheel change create APP"}},
		{"refused by a rule", problem(409, "change.not_ready", "It cannot be merged now.", "Wait for its checks."), []string{"change", "list"}, Failed, []string{"Error: It cannot be merged now.", "Wait for its checks.", "(change.not_ready)"}},
		{"out of bounds", refusal{422, `{"code":"variable.out_of_bounds","detail":"A variable is outside its bounds.","remedy":"Choose another value.","fields":[{"path":"prod.instances","message":"12 is outside its bounds: allowed 1 to 10."}]}`},
			[]string{"change", "list"}, Failed, []string{"  prod.instances: 12 is outside its bounds: allowed 1 to 10.", "Choose another value."}},
		{"not signed in", problem(401, "session.missing", "You are not signed in.", ""), []string{"change", "list"}, Denied, []string{"flywheel login"}},
		{"not allowed", problem(403, "permission.denied", "Only an operator may do that.", "Ask one."), []string{"change", "list"}, Denied, []string{"Ask one."}},
		{"not there", problem(404, "change.not_found", `There is no change "x".`, ""), []string{"change", "list"}, Failed, []string{"flywheel change list"}},
		{"an instance that is not there", problem(404, "instance.not_found", `There is no instance "x/y".`, ""), []string{"change", "list"}, Failed, []string{"flywheel app show APP"}},
		{"a defect of the server", problem(500, "internal", "Something went wrong inside Flywheel.", ""), []string{"change", "list"}, Failed, []string{"request req_1"}},
		{"not a Flywheel server", refusal{502, "<html>"}, []string{"change", "list"}, Failed, []string{"502"}},
		{"unknown noun", nil, []string{"chnge", "list"}, Usage, []string{"change", "--help"}},
		{"unknown verb", nil, []string{"change", "aprove"}, Usage, []string{`no command "aprove"`, "approve", "`flywheel change --help`"}},
		{"unknown flag", nil, []string{"change", "list", "--colour"}, Usage, []string{"--colour", "`flywheel change list --help`"}},
		{"missing argument", nil, []string{"change", "show"}, Usage, []string{"flywheel change show CHANGE"}},
		{"a limit below nothing", nil, []string{"change", "list", "--limit", "-3"}, Usage, []string{"--limit", "a number from 0 on"}},
		{"an empty environment", nil, []string{"app", "create", "x", "--team", "shop", "--pattern", "web", "--environment", ""}, Usage, []string{"--environment is empty"}},
		{"a value that cannot be read", nil, []string{"change", "create", "x", "--set", "prod.a=[1"}, Usage, []string{"the value cannot be read: sequence end token ']' not found."}},
		{"a shell that is not known", nil, []string{"completion", "tcsh"}, Usage, []string{`no command "tcsh"`}},
		{"missing flag", nil, []string{"app", "create", "x"}, Usage, []string{"pattern", "`flywheel app create --help`"}},
		{"unknown output", nil, []string{"change", "list", "-o", "xml"}, Usage, []string{"table, json or yaml", "`flywheel change list --help`"}},
		{"bad address", nil, []string{"change", "list", "--url", "localhost"}, Usage, []string{"http://127.0.0.1:7270"}},
		{"no verb shows help", nil, []string{"change"}, Done, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, url := serve(t, map[string]any{"GET /api/v1/changes?limit=30": c.answer})
			r := tell(t, url, "", c.args...)
			if r.code != c.code {
				t.Errorf("exit code %d, want %d\n%s", r.code, c.code, r.err)
			}
			for _, text := range c.says {
				if !strings.Contains(r.err, text) {
					t.Errorf("standard error lacks %q:\n%s", text, r.err)
				}
			}
		})
	}
}

func TestAServerThatIsAwayIsSaidWithTheWayOut(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	r := tell(t, server.URL, "", "app", "list")
	if r.code != Failed || !strings.Contains(r.err, "does not answer") || !strings.Contains(r.err, "flywheel serve") {
		t.Errorf("code %d: %s", r.code, r.err)
	}
}

// everything is a server with one of each.
func everything() map[string]any {
	at := func(ago time.Duration) string { return noon.Add(-ago).Format(time.RFC3339Nano) }
	ch := map[string]any{
		"id": "chg_1", "kind": "app", "subject": "storefront", "branch": "more", "title": "Raise instances", "state": "held", "lane": "variable",
		"why": "prod: it would replace module.db.flywheel_volume.data", "remedy": "An operator releases it with `flywheel change release chg_1 --digest sha256:aa`.",
		"reasons": []any{map[string]any{"environment": "prod", "variable": "instances", "text": "prod.instances 1 → 3: team-controlled, allowed 1 to 10"}},
		"effects": []any{map[string]any{"environment": "prod", "action": "deploy", "plan": true}},
		"head":    "0123456789abcdef", "openedAt": at(90 * time.Minute), "updatedAt": at(time.Minute),
	}
	stands := map[string]any{
		"consumer": "deploy-mended", "types": []any{"dev.cdeventsx.flywheel-change.fixdeclared"}, "sequence": 41, "lag": 2, "attempts": 3, "failure": "There is no change \"chg_1\".",
		"nextAt": noon.Add(4 * time.Second).Format(time.RFC3339), "event": "evt_1", "type": "dev.cdeventsx.flywheel-change.fixdeclared", "subject": "chg_1", "app": "storefront",
	}
	dep := map[string]any{
		"id": "dpl_1", "app": "storefront", "environment": "prod", "number": 7, "kind": "infrastructure", "trigger": "change", "change": "chg_1", "state": "succeeded",
		"desired":   map[string]any{"pattern": "web-service", "version": "1.1.0", "artifact": "sha256:bbbbbbbbbbbbbbbb", "variables": map[string]any{"instances": 3}},
		"previous":  map[string]any{"pattern": "web-service", "version": "1.0.0", "artifact": "sha256:bbbbbbbbbbbbbbbb", "variables": map[string]any{"instances": 1}},
		"createdAt": at(3 * time.Minute), "startedAt": at(2 * time.Minute), "finishedAt": at(2*time.Minute - 1530*time.Millisecond),
		"steps": []any{
			map[string]any{"name": "plan", "state": "succeeded", "detail": "1 to update", "startedAt": at(2 * time.Minute), "finishedAt": at(2*time.Minute - time.Second)},
			map[string]any{"name": "apply", "state": "succeeded", "startedAt": at(2*time.Minute - time.Second), "finishedAt": at(2*time.Minute - 1500*time.Millisecond)},
		},
		"evidence": []any{map[string]any{"url": "http://127.0.0.1:4000/health", "status": 200, "milliseconds": 3}},
	}
	certified := map[string]any{
		"change": map[string]any{"id": "chg_2", "kind": "pattern", "subject": "web-service", "title": "Add search", "state": "review", "lane": "pattern", "why": "waits for the approval of security", "openedAt": at(time.Hour), "updatedAt": at(time.Hour)},
		"checks": []any{map[string]any{"name": "gate", "state": "passed", "summary": "only allowed providers", "startedAt": at(time.Hour), "finishedAt": at(time.Hour - 40*time.Millisecond)}},
		"certification": map[string]any{
			"version": "1.1.0", "bump": "minor", "reasons": []any{"new output search_url"}, "digest": "sha256:cc", "needed": map[string]any{"security": 1, "operations": 1},
			"radius": map[string]any{"instances": 2, "planned": 1, "breaking": 1, "outcomes": map[string]any{"needs_value": 1, "updates": 1},
				"classes": []any{map[string]any{"name": "production", "instances": 2, "breaking": 1, "outcomes": map[string]any{"needs_value": 1, "updates": 1}}},
				"teams":   []any{map[string]any{"name": "shop", "instances": 1, "outcomes": map[string]any{"updates": 1}}}},
			"instances": []any{map[string]any{"app": "storefront", "environment": "prod", "team": "shop", "version": "1.0.0", "outcome": "updates", "summary": "1 to create"}},
			"approvals": []any{map[string]any{"discipline": "operations", "name": "grace", "decision": "approved", "at": at(time.Minute)},
				map[string]any{"discipline": "security", "name": "ada", "decision": "approved", "lapsed": "given on an earlier digest", "at": at(time.Hour)}},
		},
	}
	items := func(v ...any) map[string]any { return map[string]any{"items": v} }
	app := map[string]any{
		"name": "storefront", "title": "Storefront", "team": "shop", "state": "active", "createdAt": at(72 * time.Hour), "repository": "http://flywheel/git/apps/storefront.git", "recommended": "1.1.0",
		"pattern":   map[string]any{"name": "web-service", "version": "1.0.0", "range": "~1.0"},
		"instances": []any{map[string]any{"environment": "staging", "state": "healthy", "url": "http://127.0.0.1:4001", "updatedAt": at(time.Hour), "deployed": map[string]any{"pattern": "web-service", "version": "1.0.0", "artifact": "sha256:0123456789abcdef"}}},
	}
	version := map[string]any{
		"pattern": "web-service", "version": "1.0.0", "state": "certified", "recommended": true, "digest": "sha256:0123456789abcdef", "createdAt": at(24 * time.Hour),
		"interface": map[string]any{"outputs": []any{map[string]any{"name": "service"}}, "variables": []any{map[string]any{"name": "instances", "type": "number", "control": "team", "default": 1, "bounds": map[string]any{"minimum": 1, "maximum": 10}, "classes": map[string]any{"production": map[string]any{"minimum": 2}}}}},
	}
	prod := map[string]any{"name": "prod", "class": "production", "after": "staging", "target": "local", "onNewer": "queue", "values": map[string]any{"vpc_id": "vpc-1"}}
	p := map[string]any{"name": "web-service", "title": "Web service", "owner": "coe", "recommended": "1.0.0", "repository": "http://flywheel/git/patterns/web-service.git", "versions": []any{version}}
	return map[string]any{
		"GET /api/v1/apps": items(app), "GET /api/v1/apps/storefront": app,
		"GET /api/v1/changes?limit=30": items(ch), "GET /api/v1/changes/chg_1": map[string]any{"change": ch, "checks": []any{}, "deployments": []any{dep}, "heldDigest": "sha256:aa"},
		"GET /api/v1/changes/chg_2":        certified,
		"GET /api/v1/changes/chg_1/diff":   map[string]any{"files": []any{map[string]any{"path": "flywheel.yaml", "status": "modified", "patch": "@@ -1 +1 @@\n-instances: 1\n+instances: 3\n"}}},
		"GET /api/v1/deployments?limit=30": items(dep), "GET /api/v1/deployments/dpl_1": dep, "GET /api/v1/deployments/dpl_1/log": "$ plan\n1 to update\n",
		"GET /api/v1/patterns": items(p), "GET /api/v1/patterns/web-service": p, "GET /api/v1/patterns/web-service/versions/1.0.0": version,
		"GET /api/v1/pattern-requests": items(map[string]any{"id": "prq_1", "title": "Search near a place", "pattern": "web-service", "state": "open", "createdAt": at(time.Hour)}),
		"GET /api/v1/environments":     items(map[string]any{"name": "staging", "class": "staging", "target": "local", "onNewer": "queue"}, prod), "GET /api/v1/environments/prod": prod,
		"GET /api/v1/stories?limit=30": items(map[string]any{"id": "sty_1", "key": "STY-1", "title": "Shops near me", "team": "shop", "state": "open", "createdAt": at(time.Hour)}),
		"GET /api/v1/me":               map[string]any{"name": "grace", "title": "Grace Hopper", "admin": true, "disciplines": []any{"security"}, "teams": map[string]any{"shop": "owner"}},
		"GET /api/v1/users":            items(map[string]any{"name": "grace", "title": "Grace Hopper", "admin": true, "active": true, "teams": map[string]any{"shop": "owner"}}),
		"GET /api/v1/teams":            items(map[string]any{"name": "shop", "title": "Web shop", "members": []any{map[string]any{"user": "grace", "role": "owner"}}}),
		"GET /api/v1/tokens":           items(map[string]any{"id": "tok_1", "name": "laptop", "user": "grace", "scopes": []any{"read", "write"}, "expiresAt": noon.Add(240 * time.Hour).Format(time.RFC3339)}),
		"GET /api/v1/sessions":         items(map[string]any{"id": "ses_1", "user": "grace", "address": "192.0.2.7", "browser": "Mozilla/5.0 (X11; Linux x86_64) Firefox/127.0", "current": false, "createdAt": noon.Add(-26 * time.Hour).Format(time.RFC3339), "seenAt": noon.Add(-5 * time.Minute).Format(time.RFC3339)}),
		"GET /api/v1/apps/storefront/environments/prod/secrets": items(map[string]any{"name": "payment_key", "updatedAt": at(time.Hour), "updatedBy": "grace"}),
		"GET /api/v1/environments/prod/secrets":                 items(map[string]any{"name": "AWS_ACCESS_KEY_ID", "updatedAt": at(time.Hour), "updatedBy": "olga"}),
		"GET /api/v1/consumers":                                 items(map[string]any{"consumer": "change-waived", "types": []any{"dev.cdeventsx.flywheel-waiver.granted"}, "sequence": 40, "lag": 0, "attempts": 0}, stands),
		"POST /api/v1/consumers/deploy-mended/skip":             stands,
		"GET /api/v1/audit?limit=50":                            items(map[string]any{"at": at(time.Minute), "name": "grace", "action": "change.approve", "subject": "chg_2", "decision": "approved", "reason": "security sha256:cc"}),
		"GET /api/v1/audit/verify":                              map[string]any{"sound": 12, "last": "abc"},
		"POST /api/v1/apps/storefront/changes/preview":          map[string]any{"lane": "variable", "reasons": []any{map[string]any{"text": "prod.instances 1 → 3"}}, "effects": []any{map[string]any{"environment": "prod", "action": "deploy", "plan": true}}},
	}
}

func TestWhatPeopleReadIsAlignedAndComplete(t *testing.T) {
	for name, line := range map[string]string{
		"app-list": "app list", "app-show": "app show storefront",
		"change-list": "change list", "change-show": "change show chg_1", "change-show-certification": "change show chg_2", "change-diff": "change diff chg_1",
		"change-preview":  "change create storefront --set prod.instances=3 --preview",
		"deployment-list": "deployment list", "deployment-show": "deployment show dpl_1", "deployment-log": "deployment log dpl_1",
		"pattern-list": "pattern list", "pattern-show": "pattern show web-service", "pattern-version": "pattern show web-service 1.0.0", "pattern-versions": "pattern versions web-service",
		"pattern-requests": "pattern request list", "environment-list": "environment list", "environment-show": "environment show prod",
		"story-list": "story list", "user-list": "user list", "team-list": "team list", "token-list": "token list", "session-list": "session list", "secret-list": "secret list storefront prod", "environment-secret-list": "environment secret list prod",
		"audit-list": "audit list", "audit-verify": "audit verify", "consumer-list": "consumer list", "consumer-skip": "consumer skip deploy-mended --event evt_1",
	} {
		t.Run(name, func(t *testing.T) {
			_, url := serve(t, everything())
			r := tell(t, url, "", strings.Fields(line)...)
			if r.code != Done {
				t.Fatalf("exit code %d: %s", r.code, r.err)
			}
			if strings.Contains(r.out, "\x1b") {
				t.Error("a pipe got colours")
			}
			golden(t, name+".golden", r.out)
		})
	}
}

func TestJSONAndYAMLAreWhatTheServerAnswered(t *testing.T) {
	_, url := serve(t, everything())
	r := tell(t, url, "", "change", "list", "-o", "json")
	var list []map[string]any
	if err := json.Unmarshal([]byte(r.out), &list); err != nil || len(list) != 1 || list[0]["updatedAt"] == nil {
		t.Errorf("%v: %s", err, r.out)
	}
	r = tell(t, url, "", "app", "show", "storefront", "-o", "yaml")
	if r.code != Done || !strings.Contains(r.out, "name: storefront\n") || !strings.Contains(r.out, "  version: 1.0.0\n") {
		t.Errorf("code %d: %s %s", r.code, r.out, r.err)
	}
}

func TestListsAreReadPageByPageUpToTheLimit(t *testing.T) {
	a, url := serve(t, map[string]any{
		"GET /api/v1/changes?limit=3":          map[string]any{"items": []any{map[string]any{"id": "a"}, map[string]any{"id": "b"}}, "next": "n"},
		"GET /api/v1/changes?cursor=n&limit=1": map[string]any{"items": []any{map[string]any{"id": "c"}}, "next": "m"},
	})
	r := tell(t, url, "", "change", "list", "--limit", "3", "-o", "json")
	if r.code != Done || strings.Count(r.out, `"id"`) != 3 {
		t.Errorf("code %d, asked %q: %s%s", r.code, a.asked, r.out, r.err)
	}
}

func TestACreationThatGotNoAnswerIsSentAgainWithTheSameKey(t *testing.T) {
	keys := []string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keys = append(keys, r.Header.Get("Idempotency-Key"))
		if len(keys) == 1 {
			panic(http.ErrAbortHandler) // the connection breaks before the answer
		}
		io.WriteString(w, `{"id":"sty_1","key":"STY-1"}`)
	}))
	defer server.Close()
	r := tell(t, server.URL, "", "story", "create", "Shops near me", "--team", "shop")
	if r.code != Done || len(keys) != 2 || keys[0] == "" || keys[0] != keys[1] {
		t.Errorf("code %d, keys %q: %s", r.code, keys, r.err)
	}
}

func TestAServerThatAsksToWaitIsAskedAgainThenOrTheWaitIsSaid(t *testing.T) {
	soon := time.Now().UTC().Add(-time.Second).Format(http.TimeFormat) // over, so that the test does not wait
	for _, c := range []struct {
		name, header string
		status       int
		problem      string
		code, asked  int
		says         string
	}{
		{"too many attempts, over in a moment", "0", 429, `{"code":"session.too_many","detail":"Too many attempts."}`, Done, 2, ""},
		{"away until a date", soon, 503, `{"code":"database.away","detail":"Away."}`, Done, 2, ""},
		{"too many attempts, for long", "90", 429, `{"code":"session.too_many","detail":"Too many attempts."}`, Failed, 1, "Wait 90 seconds and try again."},
		{"away for long", "3600", 503, `{"code":"database.away","detail":"Away."}`, Failed, 1, "Wait 3600 seconds and try again."},
		{"a proxy in between, for long", "61", 429, `<h1>Slow down</h1>`, Failed, 1, "Wait 61 seconds and try again, as it asks."},
		{"too many attempts, nobody knows how long", "", 429, `{"code":"x.y","detail":"Too many."}`, Failed, 1, "Too many."},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				w.Header().Set("Content-Type", "application/json")
				if asked > 1 {
					io.WriteString(w, `{"items":[]}`)
					return
				}
				if c.header != "" {
					w.Header().Set("Retry-After", c.header)
				}
				w.WriteHeader(c.status)
				io.WriteString(w, c.problem)
			}))
			defer server.Close()
			r := tell(t, server.URL, "", "app", "list")
			if r.code != c.code || asked != c.asked || !strings.Contains(r.err, c.says) {
				t.Errorf("code %d after %d requests: %s", r.code, asked, r.err)
			}
		})
	}
}

func TestARefusedFormSaysItsReasonOnce(t *testing.T) {
	for _, state := range []string{"refused", "blocked"} {
		_, url := serve(t, map[string]any{"POST /api/v1/apps/storefront/changes": map[string]any{
			"id": "chg_1", "kind": "app", "subject": "storefront", "state": state, "why": "prod.instances: 99 is outside its bounds.", "remedy": "Push another value.", "code": "variable.out_of_bounds"}})
		r := tell(t, url, "", "change", "create", "storefront", "--set", "prod.instances=99")
		if r.code != Failed || strings.Count(r.out+r.err, "outside its bounds") != 1 || !strings.Contains(r.err, "(variable.out_of_bounds)") || strings.Contains(r.err, "Follow it") {
			t.Errorf("%s: code %d\n%s%s", state, r.code, r.out, r.err)
		}
	}
}

func TestAFormSendsWhatWasTyped(t *testing.T) {
	a, url := serve(t, map[string]any{"POST /api/v1/apps/storefront/changes": map[string]any{"id": "chg_1", "kind": "app", "subject": "storefront"}})
	r := tell(t, url, "", "change", "create", "storefront", "--set", "prod.instances=3", "--set", `prod.db_version="16"`, "--set", "prod.zip=02142", "--set", "staging.instances=")
	want := `{"texts":{"prod":{"db_version":"\"16\"","instances":"3","zip":"02142"},"staging":{"instances":""}}}`
	if got := a.bodies["POST /api/v1/apps/storefront/changes"]; r.code != Done || got != want {
		t.Errorf("code %d, sent %s: %s", r.code, got, r.err)
	}
	if r := tell(t, url, "", "change", "create", "storefront", "--set", "instances=3"); r.code != Usage || !strings.Contains(r.err, "prod.instances=3") {
		t.Errorf("code %d: %s", r.code, r.err)
	}
}

func TestUpdatingAnEnvironmentKeepsWhatIsNotNamed(t *testing.T) {
	by := everything()
	by["PUT /api/v1/environments/prod"] = map[string]any{"name": "prod"}
	a, url := serve(t, by)
	r := tell(t, url, "", "environment", "update", "prod", "--on-newer", "replace-pending", "--set", "zone=a")
	want := `{"name":"prod","class":"production","after":"staging","target":"local","onNewer":"replace-pending","values":{"vpc_id":"vpc-1","zone":"a"}}`
	if got := a.bodies["PUT /api/v1/environments/prod"]; r.code != Done || got != want {
		t.Errorf("code %d, sent %s: %s", r.code, got, r.err)
	}
}

func TestASecretComesFromStandardInputAndIsNotShown(t *testing.T) {
	key := "PUT /api/v1/apps/storefront/environments/prod/secrets/payment_key"
	a, url := serve(t, map[string]any{key: map[string]any{"name": "payment_key"}})
	r := tell(t, url, "s3cret\n", "secret", "set", "storefront", "prod", "payment_key")
	if r.code != Done || a.bodies[key] != `{"value":"s3cret"}` || strings.Contains(r.out+r.err, "s3cret") {
		t.Errorf("code %d, sent %s: %s%s", r.code, a.bodies[key], r.out, r.err)
	}
}

func TestADecisionWithoutATerminalNeedsTheDigest(t *testing.T) {
	_, url := serve(t, everything())
	r := tell(t, url, "", "change", "approve", "chg_2", "--discipline", "security")
	if r.code != Usage || !strings.Contains(r.err, "flywheel change show chg_2") {
		t.Errorf("code %d: %s", r.code, r.err)
	}
}

func TestSigningInKeepsATokenThatOnlyItsPersonCanRead(t *testing.T) {
	config := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", config)
	t.Setenv("FLYWHEEL_URL", "")
	t.Setenv("FLYWHEEL_TOKEN", "")
	a := &answers{by: map[string]any{
		"POST /api/v1/tokens":         map[string]any{"id": "tok_1", "user": "grace", "secret": "fly_x", "expiresAt": "2026-08-01T00:00:00Z"},
		"DELETE /api/v1/session":      map[string]any{},
		"GET /api/v1/me":              map[string]any{"name": "grace"},
		"DELETE /api/v1/tokens/tok_1": map[string]any{},
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Path == "/api/v1/session" {
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "one"})
			return
		}
		a.ServeHTTP(w, r)
	}))
	defer server.Close()
	other := httptest.NewServer(a)
	defer other.Close()

	r := raw(t, "correct horse\n", "login", server.URL, "--name", "grace", "--password-stdin")
	if r.code != Done || !strings.Contains(r.err, "as grace until 1 August 2026") {
		t.Fatalf("code %d: %s", r.code, r.err)
	}
	if cookie := a.header["POST /api/v1/tokens"].Get("Cookie"); cookie != "session=one" {
		t.Errorf("the token was asked for with the cookie %q", cookie)
	}
	info, err := os.Stat(filepath.Join(config, "flywheel", "config.yaml"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
	if r := raw(t, "", "whoami"); r.code != Done || a.header["GET /api/v1/me"].Get("Authorization") != "Bearer fly_x" {
		t.Errorf("code %d: %s", r.code, r.err)
	}
	if r := raw(t, "", "whoami", "--url", other.URL); r.code != Done || a.header["GET /api/v1/me"].Get("Authorization") != "" {
		t.Error("the token of one server was sent to another")
	}
	if r := raw(t, "", "logout"); r.code != Done {
		t.Errorf("code %d: %s", r.code, r.err)
	}
	if _, err := os.Stat(filepath.Join(config, "flywheel", "config.yaml")); !os.IsNotExist(err) {
		t.Error("the token is still there")
	}
}

func TestWatchingEndsWithTheCodeOfWhatHappened(t *testing.T) {
	ch := func(state, why string) map[string]any {
		return map[string]any{"change": map[string]any{"id": "chg_1", "kind": "app", "subject": "storefront", "title": "x", "state": state, "why": why, "remedy": "Do this."}, "deployments": []any{}}
	}
	with := func(page map[string]any, deployments ...any) map[string]any {
		page["deployments"] = deployments
		return page
	}
	dep := func(state string) map[string]any {
		return map[string]any{"id": "dpl_1", "app": "storefront", "environment": "prod", "kind": "release", "state": state, "reason": "because", "planDigest": "sha256:dd",
			"startedAt": noon, "finishedAt": noon.Add(120 * time.Millisecond),
			"steps": []any{map[string]any{"name": "release", "state": "succeeded", "startedAt": noon, "finishedAt": noon.Add(100 * time.Millisecond)}}}
	}
	waits := func(code, reason string) map[string]any {
		d := dep("waiting")
		d["code"], d["reason"] = code, reason
		return d
	}
	for _, c := range []struct {
		name string
		args string
		seen []any
		code int
		says string
	}{
		{"a change that gets deployed", "change watch chg_1", []any{ch("checking", ""), ch("checking", ""), with(ch("merged", ""), dep("running")), with(ch("deployed", ""), dep("succeeded"))}, Done, "storefront/prod release succeeded (120 ms)"},
		{"a change that waits for an operator", "change watch chg_1", []any{ch("held", "it replaces a volume")}, Waiting, "Waiting: Change chg_1: it replaces a volume"},
		{"a change that waits for its pattern", "change watch chg_1", []any{ch("waiting", "for chg_2")}, Waiting, "Do this."},
		{"a change whose people have decided meanwhile", "change watch chg_1 --keep", []any{ch("review", ""), ch("review", ""), ch("deployed", "")}, Done, "chg_1 is deployed"},
		{"a refused change", "change watch chg_1", []any{ch("refused", "out of bounds")}, Failed, "Do this."},
		{"a change that was rolled back", "change watch chg_1", []any{ch("rolled_back", "its health check failed")}, Failed, "rolled back"},
		{"a change whose deployment is held", "change watch chg_1", []any{with(ch("merged", ""), dep("held"))}, Waiting, "--digest sha256:dd"},
		{"a change behind a rollback that a person has to answer", "change watch chg_1", []any{with(ch("merged", ""), waits("change.rolled_back", "chg_0 was rolled back here: waits until its revert is merged, or a fix is declared"))}, Waiting, "flywheel change fix chg_1 chg_0"},
		{"a change that a freeze holds", "change watch chg_1", []any{with(ch("merged", ""), waits("environment.frozen", "prod is frozen until 2026-12-27 08:00 UTC"))}, Waiting, "prod is frozen until 2026-12-27 08:00 UTC"},
		{"a revert that waits until the rollback has ended", "change watch chg_1", []any{with(ch("merged", ""), waits("deployment.queued", "waits for dpl_0, which runs on this instance")), with(ch("merged", ""), waits("deployment.queued", "waits for dpl_0, which runs on this instance")), with(ch("deployed", ""), dep("succeeded"))}, Done, "chg_1 is deployed"},
		{"a change whose deployment failed for good", "change watch chg_1", []any{with(ch("merged", ""), dep("failed"))}, Failed, "dpl_1"},
		{"watching for too long", "change watch chg_1 --timeout 100ms", []any{ch("checking", "")}, Failed, "--timeout"},
		{"a deployment that succeeds", "deployment watch dpl_1", []any{dep("running"), dep("running"), dep("succeeded")}, Done, "release succeeded (100 ms)"},
		{"a deployment that is held", "deployment watch dpl_1", []any{dep("held")}, Waiting, "held"},
		{"a deployment that fails", "deployment watch dpl_1", []any{dep("failed")}, Failed, "flywheel deployment log dpl_1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, url := serve(t, map[string]any{
				"GET /api/v1/changes/chg_1": c.seen, "GET /api/v1/deployments/dpl_1": c.seen,
				"GET /api/v1/live":            "retry: 1000\n\ndata: {\"topics\":[{\"noun\":\"app\",\"id\":\"storefront\",\"app\":\"storefront\"}]}\n\n",
				"GET /api/v1/apps/storefront": map[string]any{"instances": []any{map[string]any{"environment": "prod", "pinnedBy": "chg_0"}}},
			})
			r := tell(t, url, "", strings.Fields(c.args)...)
			if r.code != c.code || !strings.Contains(r.err, c.says) {
				t.Errorf("code %d, want %d and %q:\n%s", r.code, c.code, c.says, r.err)
			}
			if r.out != "" {
				t.Errorf("progress on standard output: %s", r.out)
			}
		})
	}
	t.Run("with -o json the end of it is the data", func(t *testing.T) {
		_, url := serve(t, map[string]any{"GET /api/v1/changes/chg_1": ch("deployed", "")})
		r := tell(t, url, "", "change", "watch", "chg_1", "-o", "json")
		if !json.Valid([]byte(r.out)) || !strings.Contains(r.out, `"deployed"`) {
			t.Error(r.out)
		}
	})
}

func TestAFailureIsSaidOnce(t *testing.T) {
	const why = "it was not healthy within 10 s: GET /healthz was not answered"
	step := map[string]any{"name": "release", "state": "failed", "startedAt": noon, "finishedAt": noon.Add(time.Second), "detail": why}
	failed := map[string]any{"id": "dpl_1", "app": "storefront", "environment": "prod", "kind": "release", "state": "failed", "reason": why, "startedAt": noon, "finishedAt": noon.Add(time.Second), "steps": []any{step}}
	page := func(state, reason string, checks, deployments []any) map[string]any {
		return map[string]any{"change": map[string]any{"id": "chg_1", "kind": "app", "subject": "storefront", "title": "x", "state": state, "why": reason}, "checks": checks, "deployments": deployments}
	}
	check := map[string]any{"name": "tests", "state": "failed", "summary": why, "startedAt": noon, "finishedAt": noon.Add(time.Second)}
	for name, one := range map[string]struct {
		args string
		seen any
	}{
		"a deployment that failed":             {"deployment watch dpl_1", failed},
		"a change that was rolled back":        {"change watch chg_1", page("rolled_back", "prod went back by itself, because dpl_1 failed: "+why+".", nil, []any{failed})},
		"a change whose tests failed":          {"change watch chg_1", page("failed", "the check tests failed: "+why+".", []any{check}, nil)},
		"a change whose deployment has failed": {"change watch chg_1", page("merged", "", nil, []any{failed})},
	} {
		seen := one.seen
		_, url := serve(t, map[string]any{"GET /api/v1/changes/chg_1": seen, "GET /api/v1/deployments/dpl_1": seen, "GET /api/v1/live": "data: {\"again\":true,\"topics\":[]}\n\n"})
		if r := tell(t, url, "", strings.Fields(one.args)...); r.code != Failed || strings.Count(r.err, why) != 1 {
			t.Errorf("%s ends with %d and says %d times why:\n%s", name, r.code, strings.Count(r.err, why), r.err)
		}
	}
}

func TestValidateSaysLineColumnAndRemedyWithoutAServer(t *testing.T) {
	dir := t.TempDir()
	good := "apiVersion: flywheel.dev/v1\nkind: App\nmetadata: {name: storefront, team: shop}\nspec:\n  pattern: {name: web-service, version: \"~1.4\"}\n  environments:\n    prod: {variables: {instances: 1}}\n"
	for name, content := range map[string]string{"good.yaml": good, "bad.yaml": strings.Replace(good, "  environments", "  enviroments", 1), "empty.yaml": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	if r := raw(t, "", "validate", "good.yaml"); r.code != Done || !strings.Contains(r.out, "✓ good.yaml") {
		t.Errorf("code %d: %s%s", r.code, r.out, r.err)
	}
	if r := raw(t, "", "validate", "good.yaml", "bad.yaml"); r.code != Failed || !strings.Contains(r.out, "bad.yaml:6:3") || !strings.Contains(r.out, "environments") {
		t.Errorf("code %d: %s%s", r.code, r.out, r.err)
	}
	if r := raw(t, good, "validate", "-", "-o", "json"); r.code != Done || !strings.Contains(r.out, `"valid": true`) {
		t.Errorf("code %d: %s%s", r.code, r.out, r.err)
	}
	if r := raw(t, "", "validate"); r.code != Failed || !strings.Contains(r.err, "flywheel validate FILE") {
		t.Errorf("code %d: %s%s", r.code, r.out, r.err)
	}
	if r := raw(t, "", "validate", "gone.yaml"); r.code != Failed || !strings.Contains(r.err, "gone.yaml") {
		t.Errorf("code %d: %s%s", r.code, r.out, r.err)
	}
}

func TestAPatternIsCreatedFromAFolder(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"main.tf": "# module\n", "tests/a.tftest.hcl": "", ".terraform/x": "no"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a, url := serve(t, map[string]any{"POST /api/v1/patterns": map[string]any{"name": "web-service", "change": "chg_1"}})
	r := tell(t, url, "", "pattern", "create", "web-service", "--from", dir)
	if got := a.bodies["POST /api/v1/patterns"]; r.code != Done || !strings.Contains(got, `"files":{"main.tf":"# module\n","tests/a.tftest.hcl":""}`) {
		t.Errorf("code %d, sent %s: %s", r.code, got, r.err)
	}
}

func TestAFolderUploadedTwiceHasOneDigest(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "run"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	a, url := serve(t, map[string]any{"POST /api/v1/artifacts": map[string]any{"digest": "sha256:aa", "size": 2048}})
	r := tell(t, url, "", "artifact", "upload", dir)
	one := a.bodies["POST /api/v1/artifacts"]
	tell(t, url, "", "artifact", "upload", dir)
	if r.code != Done || one == "" || one != a.bodies["POST /api/v1/artifacts"] || !strings.Contains(r.out, "2 KiB") {
		t.Errorf("code %d: %s%s", r.code, r.out, r.err)
	}
}

func TestWhatIsNotThereIsSaidWithACommandThatIs(t *testing.T) {
	root := build(&shell{now: time.Now})
	for _, noun := range []string{"app", "environment", "change", "deployment", "pattern", "pattern_version", "team", "user", "member", "token", "session", "waiver", "story", "secret", "instance", "check", "request", "consumer"} {
		words := strings.Fields(listing(noun))
		for len(words) > 0 && words[len(words)-1] == strings.ToUpper(words[len(words)-1]) { // APP
			words = words[:len(words)-1]
		}
		if c, rest, err := root.Find(words); err != nil || len(words) == 0 || len(rest) > 0 || c.HasSubCommands() {
			t.Errorf("%s: there is no command `flywheel %s`", noun, listing(noun))
		}
	}
	if got := listing("log"); got != "" {
		t.Errorf("a log is looked for with %q", got)
	}
}

func TestEveryCommandSaysWhatItDoesInOneLine(t *testing.T) {
	root := build(&shell{now: time.Now})
	for _, noun := range root.Commands() {
		if noun.Short == "" {
			t.Errorf("%s has no description", noun.CommandPath())
		}
		for _, verb := range noun.Commands() {
			if verb.Short == "" || strings.HasSuffix(verb.Short, ".") || len(verb.Short) > 90 {
				t.Errorf("%s: %q", verb.CommandPath(), verb.Short)
			}
		}
	}
}

func TestTheTerminalShowsColoursUnlessTheyAreNotWanted(t *testing.T) {
	if width("\x1b[32mäö\x1b[0m") != 2 {
		t.Error("colours count as columns")
	}
	if got := cut("\x1b[32mabcdef\x1b[0m", 4); got != "\x1b[32mabc…\x1b[0m" {
		t.Errorf("%q", got)
	}
	if got := cut("→→→→→→", 4); got != "→→→…" {
		t.Errorf("%q", got)
	}
}

func TestATableFitsTheTerminal(t *testing.T) {
	headers := []string{"CHANGE", "STATE", "WHY"}
	rows := [][]string{{"chg_d0c5ghq23akk2s3lvr9g", "failed", strings.Repeat("why ", 15)}, {"chg_d0c5ghq23akk2s3lvr90", "ready", ""}}
	for columns, want := range map[int]string{0: "why why", 120: "why why", 70: "…", 50: "STATE"} {
		p := &page{paint: painter(io.Discard), columns: columns}
		p.table(headers, rows)
		for line := range strings.SplitSeq(p.text.String(), "\n") {
			if columns >= 70 && width(line) > columns {
				t.Errorf("in %d columns a line takes %d: %s", columns, width(line), line)
			}
		}
		if text := p.text.String(); !strings.Contains(text, want) || !strings.Contains(text, rows[0][0]) {
			t.Errorf("in %d columns it is\n%s", columns, text)
		}
	}
}
