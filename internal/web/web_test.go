package web_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/patience"
	"flywheel.dev/flywheel/internal/web"
)

// thing is a feature as small as it can be.
type thing struct {
	made    atomic.Int64
	failing atomic.Bool
	hold    chan struct{} // a handler waits here, if set
	entered chan struct{} // and says so here
}

type makeInput struct {
	Body struct {
		Name  string `json:"name" minLength:"2" maxLength:"20"`
		Count int64  `json:"count,omitempty" minimum:"0"`
	}
}

type makeOutput struct {
	Body struct {
		Name   string `json:"name"`
		Number int64  `json:"number"`
	}
}

func (f *thing) routes(api *web.API) {
	op := func(id, method, path string) huma.Operation {
		return huma.Operation{OperationID: id, Method: method, Path: path}
	}
	huma.Register(api, op("make", "POST", "/api/v1/things"), func(ctx context.Context, in *makeInput) (*makeOutput, error) {
		if f.hold != nil {
			close(f.entered)
			<-f.hold
		}
		if f.failing.Load() {
			return nil, errors.New("connection refused to 10.1.2.3")
		}
		out := &makeOutput{}
		out.Body.Name, out.Body.Number = in.Body.Name, f.made.Add(1)
		return out, nil
	})
	upload := op("upload", "POST", "/api/v1/uploads")
	upload.MaxBodyBytes = 4 << 20
	huma.Register(api, upload, func(_ context.Context, in *struct {
		RawBody []byte `contentType:"application/gzip"`
	}) (*uploadOutput, error) {
		out := &uploadOutput{}
		out.Body.Size = len(in.RawBody)
		return out, nil
	})
	huma.Register(api, op("get", "GET", "/api/v1/things/{thing}"), func(ctx context.Context, in *struct {
		Thing string `path:"thing"`
		Size  int    `query:"size" minimum:"1"`
	}) (*makeOutput, error) {
		switch in.Thing {
		case "bounds":
			return nil, fault.New(fault.Invalid, "variable.out_of_bounds", "db_version 17 is not allowed.").
				Do("Choose 15 or 16.").At("flywheel.yaml:12:5", "allowed: 15, 16")
		case "panic":
			panic("at the disco")
		case "often":
			return nil, web.TooMany(1200*time.Millisecond, "thing.too_many", "Too many things.")
		case "away":
			return nil, fmt.Errorf("reading: %w", driver.ErrBadConn)
		}
		return nil, fault.Missing("thing", in.Thing)
	})
	slow := op("slow", "POST", "/api/v1/slow")
	slow.BodyReadTimeout = 50 * time.Millisecond
	huma.Register(api, slow, func(ctx context.Context, in *makeInput) (*struct{}, error) {
		select { // longer than the body may take to arrive
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(300 * time.Millisecond):
			return nil, nil
		}
	})
	live := op("live", "GET", "/api/v1/live")
	live.Security = web.Anonymous()
	huma.Register(api, live, func(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
		return web.Live(func(ctx context.Context, s *web.Stream) {
			s.Send("7", "made", map[string]int{"n": 1})
			<-ctx.Done()
		}), nil
	})
}

type fixture struct {
	*httptest.Server
	t      *testing.T
	server *web.Server
	thing  *thing
	log    *syncBuffer
}

func start(t *testing.T, adjust ...func(*web.Options)) *fixture {
	t.Helper()
	f := &fixture{t: t, thing: &thing{}, log: &syncBuffer{}}
	o := web.Options{
		DB:  dbtest.Open(t),
		Log: slog.New(slog.NewJSONHandler(f.log, nil)),
		Authenticate: func(r *http.Request) (context.Context, string, error) {
			switch person := r.Header.Get("Authorization"); person {
			case "wrong":
				return r.Context(), "", fault.New(fault.Unauthenticated, "token.unknown", "This token is not valid.")
			default:
				return r.Context(), person, nil
			}
		},
	}
	for _, fn := range adjust {
		fn(&o)
	}
	server, err := web.New(o)
	if err != nil {
		t.Fatal(err)
	}
	f.server = server
	f.thing.routes(server.API)
	f.Server = httptest.NewUnstartedServer(server)
	f.Server.Config.MaxHeaderBytes = 64 << 10
	f.Start()
	t.Cleanup(f.Close)
	return f
}

func (f *fixture) call(method, path, body string, headers ...string) (*http.Response, map[string]any) {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), method, f.URL+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	r.Header.Set("Authorization", "usr_1")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	var answer map[string]any
	json.Unmarshal(text, &answer)
	return response, answer
}

type uploadOutput struct {
	Body struct {
		Size int `json:"size"`
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestAFaultIsShownAsAProblem(t *testing.T) {
	f := start(t)
	response, problem := f.call("GET", "/api/v1/things/bounds", "", "X-Request-Id", "from-client")
	if response.StatusCode != 422 || response.Header.Get("Content-Type") != "application/problem+json" {
		t.Error(response.Status, response.Header)
	}
	want := map[string]any{
		"type": "urn:flywheel:problem:variable.out_of_bounds", "title": "Unprocessable Entity", "status": 422.0,
		"code": "variable.out_of_bounds", "detail": "db_version 17 is not allowed.", "remedy": "Choose 15 or 16.",
		"fields":    []any{map[string]any{"path": "flywheel.yaml:12:5", "message": "allowed: 15, 16"}},
		"requestId": response.Header.Get("X-Request-Id"),
	}
	if fmt.Sprint(problem) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", problem, want)
	}
	if id := response.Header.Get("X-Request-Id"); !strings.HasPrefix(id, "req_") {
		t.Error("no request id")
	}
}

func TestWhoMayTryAgainIsToldWhen(t *testing.T) {
	f := start(t)
	response, problem := f.call("GET", "/api/v1/things/often", "")
	if response.StatusCode != 429 || response.Header.Get("Retry-After") != "2" || problem["remedy"] != "Wait 2 seconds and try again." {
		t.Error(response.Status, response.Header, problem)
	}
	response, problem = f.call("GET", "/api/v1/things/away", "")
	if response.StatusCode != 503 || response.Header.Get("Retry-After") == "" || problem["code"] != "database.away" {
		t.Error(response.Status, response.Header, problem)
	}
	if response, _ = f.call("GET", "/api/v1/things/bounds", ""); response.Header.Get("Retry-After") != "" {
		t.Error("trying again cannot help, and yet it says", response.Header)
	}
	t.Run("outside of huma as well", func(t *testing.T) {
		rec := httptest.NewRecorder()
		web.Fail(rec, httptest.NewRequest("GET", "/", nil), web.TooMany(time.Second, "thing.too_many", "Too many things."))
		if rec.Code != 429 || rec.Header().Get("Retry-After") != "1" {
			t.Error(rec.Code, rec.Header())
		}
	})
}

func TestAnUnknownErrorIsLoggedOnceAndHidden(t *testing.T) {
	f := start(t)
	f.thing.failing.Store(true)
	response, problem := f.call("POST", "/api/v1/things", `{"name":"abc"}`)
	if response.StatusCode != 500 || problem["code"] != "internal" || strings.Contains(fmt.Sprint(problem), "10.1.2.3") {
		t.Error(response.Status, problem)
	}
	if n := strings.Count(f.log.String(), "10.1.2.3"); n != 1 {
		t.Errorf("logged %d times: %s", n, f.log)
	}
	if !strings.Contains(f.log.String(), problem["requestId"].(string)) {
		t.Error("the log does not name the request")
	}
}

func TestAPanicIsAnsweredAndLogged(t *testing.T) {
	f := start(t)
	response, problem := f.call("GET", "/api/v1/things/panic", "")
	if response.StatusCode != 500 || problem["code"] != "internal" || !strings.Contains(f.log.String(), "at the disco") {
		t.Error(response.Status, problem, f.log)
	}
}

func TestMalformedInputIsNeverOurFailure(t *testing.T) {
	f := start(t)
	long := strings.Repeat("x", 2<<20)
	for _, c := range []struct {
		name, method, path, body, kind string
		status                         int
		code                           string
	}{
		{"not JSON", "POST", "/api/v1/things", `{"name":`, "application/json", 400, "request.malformed"},
		{"another type", "POST", "/api/v1/things", `{"name":7}`, "application/json", 422, "request.invalid"},
		{"an unknown key", "POST", "/api/v1/things", `{"name":"abc","nmae":"x"}`, "application/json", 422, "request.invalid"},
		{"a list", "POST", "/api/v1/things", `[]`, "application/json", 422, "request.invalid"},
		{"null", "POST", "/api/v1/things", `null`, "application/json", 422, "request.invalid"},
		{"too short", "POST", "/api/v1/things", `{"name":"a"}`, "application/json", 422, "request.invalid"},
		{"no body", "POST", "/api/v1/things", ``, "application/json", 400, "request.malformed"},
		{"a number too large", "POST", "/api/v1/things", `{"name":"abc","count":1e400}`, "application/json", 400, "request.malformed"},
		{"a number past 64 bits", "POST", "/api/v1/things", `{"name":"abc","count":99999999999999999999}`, "application/json", 422, "request.invalid"},
		{"bytes that are not UTF-8", "POST", "/api/v1/things", "{\"name\":\"a\xff\xfe\"}", "application/json", 400, "request.malformed"},
		{"U+0000", "POST", "/api/v1/things", `{"name":"a\u0000b"}`, "application/json", 400, "request.malformed"},
		{"a backslash before u0000", "POST", "/api/v1/things", `{"name":"a\\u0000b"}`, "application/json", 200, ""},
		{"a body too large", "POST", "/api/v1/things", `{"name":"` + long + `"}`, "application/json", 413, "request.too_large"},
		{"deep nesting", "POST", "/api/v1/things", strings.Repeat("[", 20000), "application/json", 400, "request.malformed"},
		{"XML", "POST", "/api/v1/things", `<name/>`, "application/xml", 415, "request.media_type"},
		{"a content type that is none", "POST", "/api/v1/things", `{"name":"abc"}`, ";;;", 200, ""},
		{"a path not UTF-8", "GET", "/api/v1/things/%ff%fe", "", "", 422, "request.text"},
		{"a path with NUL", "GET", "/api/v1/things/a%00b", "", "", 422, "request.text"},
		{"a query not UTF-8", "GET", "/api/v1/things/x?size=%ff", "", "", 422, "request.text"},
		{"a query badly encoded", "GET", "/api/v1/things/x?size=%zz", "", "", 422, "request.query"},
		{"a query of another type", "GET", "/api/v1/things/x?size=big", "", "", 422, "request.invalid"},
		{"an unknown query", "GET", "/api/v1/things/x?sise=1", "", "", 422, "request.invalid"},
		{"an unknown path", "GET", "/api/v1/nothing", "", "", 404, "request.path"},
		{"an unknown method", "PATCH", "/api/v1/things", "", "", 405, "request.method"},
	} {
		t.Run(c.name, func(t *testing.T) {
			response, problem := f.call(c.method, c.path, c.body, "Content-Type", c.kind)
			code, _ := problem["code"].(string)
			if response.StatusCode != c.status || code != c.code {
				t.Errorf("got %d %v", response.StatusCode, problem)
			}
			if strings.Contains(fmt.Sprint(problem), "xxxxxxxx") {
				t.Error("the answer repeats the input")
			}
		})
	}
	t.Run("a method that is not there says which are", func(t *testing.T) {
		if response, _ := f.call("PATCH", "/api/v1/things", ""); response.Header.Get("Allow") != "POST" {
			t.Error(response.Header)
		}
	})
	t.Run("HEAD answers like GET, without a body", func(t *testing.T) {
		for path, status := range map[string]int{"/healthz": 200, "/api/v1/nothing": 404, "/api/v1/live": 200} {
			if response, _ := f.call("HEAD", path, ""); response.StatusCode != status {
				t.Error(path, response.Status)
			}
		}
	})
	t.Run("huge headers", func(t *testing.T) {
		response, _ := f.call("GET", "/api/v1/things/x", "", "X-Large", strings.Repeat("x", 200<<10))
		if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Error(response.Status)
		}
	})
	t.Run("a request id that would break the log", func(t *testing.T) {
		response, _ := f.call("GET", "/healthz", "", "X-Request-Id", `"} evil`)
		if id := response.Header.Get("X-Request-Id"); !strings.HasPrefix(id, "req_") {
			t.Error(id)
		}
	})
	t.Run("a body that ends early", func(t *testing.T) {
		conn, err := net.Dial("tcp", f.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "POST /api/v1/things HTTP/1.1\r\nHost: x\r\nAuthorization: usr_1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || response.StatusCode != 400 {
			t.Error(response, err)
		}
	})
}

func TestOperationsNeedSomebodySignedInUnlessTheySayOtherwise(t *testing.T) {
	f := start(t)
	for authorization, code := range map[string]string{"": "session.missing", "wrong": "token.unknown"} {
		response, problem := f.call("POST", "/api/v1/things", `{"name":"abc"}`, "Authorization", authorization)
		if response.StatusCode != 401 || problem["code"] != code || response.Header.Get("WWW-Authenticate") == "" {
			t.Error(response.Status, problem)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/openapi.json"} {
		if response, _ := f.call("GET", path, "", "Authorization", "wrong"); response.StatusCode != 200 {
			t.Error(path, response.Status)
		}
	}
}

func TestAHandlerMayTakeLongerThanItsBodyMayTakeToArrive(t *testing.T) {
	f := start(t)
	for name, headers := range map[string][]string{"plain": nil, "with a key": {"Idempotency-Key", "k1"}} {
		if response, problem := f.call("POST", "/api/v1/slow", `{"name":"abc"}`, headers...); response.StatusCode != 204 {
			t.Error(name, response.Status, problem)
		}
	}
}

func TestARepeatedCreationIsDoneOnce(t *testing.T) {
	f := start(t)
	key := []string{"Idempotency-Key", "k1"}
	t.Run("and gets the first answer", func(t *testing.T) {
		_, first := f.call("POST", "/api/v1/things", `{"name":"abc"}`, key...)
		response, second := f.call("POST", "/api/v1/things", `{"name":"abc"}`, key...)
		if fmt.Sprint(first) != fmt.Sprint(second) || response.Header.Get("Idempotency-Replayed") != "true" || f.thing.made.Load() != 1 {
			t.Error(first, second, response.Header)
		}
	})
	t.Run("another request with the key is refused", func(t *testing.T) {
		if response, problem := f.call("POST", "/api/v1/things", `{"name":"other"}`, key...); response.StatusCode != 422 || problem["code"] != "idempotency.reused" {
			t.Error(response.Status, problem)
		}
	})
	t.Run("another person's key is another key", func(t *testing.T) {
		if _, answer := f.call("POST", "/api/v1/things", `{"name":"abc"}`, append(key, "Authorization", "usr_2")...); answer["number"] != 2.0 {
			t.Error(answer)
		}
	})
	t.Run("a failure may be tried again", func(t *testing.T) {
		f.thing.failing.Store(true)
		f.call("POST", "/api/v1/things", `{"name":"abc"}`, "Idempotency-Key", "k2")
		f.thing.failing.Store(false)
		if response, answer := f.call("POST", "/api/v1/things", `{"name":"abc"}`, "Idempotency-Key", "k2"); response.StatusCode != 200 {
			t.Error(response.Status, answer)
		}
	})
	t.Run("an upload is kept by its content, not by a key, and may be large", func(t *testing.T) {
		large := strings.Repeat("x", 2<<20)
		for range 2 {
			response, answer := f.call("POST", "/api/v1/uploads", large, append(key, "Content-Type", "application/gzip")...)
			if response.StatusCode != 200 || answer["size"] != float64(len(large)) {
				t.Error(response.Status, answer)
			}
		}
	})
	t.Run("while the first is running the second is told so", func(t *testing.T) {
		f.thing.hold, f.thing.entered = make(chan struct{}), make(chan struct{})
		before := f.thing.made.Load()
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.call("POST", "/api/v1/things", `{"name":"abc"}`, "Idempotency-Key", "k3")
		}()
		<-f.thing.entered
		if response, problem := f.call("POST", "/api/v1/things", `{"name":"abc"}`, "Idempotency-Key", "k3"); response.StatusCode != 409 || problem["code"] != "idempotency.busy" {
			t.Error(response.Status, problem)
		}
		close(f.thing.hold)
		<-done
		if f.thing.made.Load() != before+1 {
			t.Error("made", f.thing.made.Load()-before)
		}
	})
}

func TestAStreamSendsEventsAndEndsWhenTheServerStops(t *testing.T) {
	f := start(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- f.server.Serve(l) }()
	response, err := http.Get("http://" + l.Addr().String() + "/api/v1/live")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	reader := bufio.NewReader(response.Body)
	var got strings.Builder
	for !strings.Contains(got.String(), `data: {"n":1}`) {
		line, err := reader.ReadString('\n')
		if err != nil {
			t.Fatal(got.String(), err)
		}
		got.WriteString(line)
	}
	if !strings.Contains(got.String(), "id: 7\nevent: made\n") {
		t.Error(got.String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience.Of(patience.Limit))
	defer cancel()
	if err := f.server.Stop(ctx); err != nil {
		t.Fatal("an open stream kept the server from stopping:", err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(reader); err != nil {
		t.Error("the stream was cut instead of ended:", err)
	}
}

func TestReadinessNamesWhatIsAway(t *testing.T) {
	f := start(t, func(o *web.Options) {
		o.Ready = map[string]func(context.Context) error{
			"database": func(context.Context) error { return nil },
			"agent": func(context.Context) error {
				return fault.New(fault.Unavailable, "agent.away", "The agent does not answer.")
			},
		}
	})
	response, answer := f.call("GET", "/readyz", "")
	if response.StatusCode != 503 || answer["agent"] != "The agent does not answer." || answer["database"] != "ok" {
		t.Error(response.Status, answer)
	}
	if response, _ := f.call("GET", "/healthz", ""); response.StatusCode != 200 {
		t.Error(response.Status)
	}
}

func TestTheAPIDescribesItself(t *testing.T) {
	f := start(t)
	response, document := f.call("GET", "/openapi.json", "")
	if response.StatusCode != 200 || !strings.HasPrefix(document["openapi"].(string), "3.1") {
		t.Fatal(response.Status, document["openapi"])
	}
	post := document["paths"].(map[string]any)["/api/v1/things"].(map[string]any)["post"].(map[string]any)
	if text := fmt.Sprint(post); !strings.Contains(text, "Idempotency-Key") || !strings.Contains(text, "#/components/schemas/Problem") {
		t.Error(text)
	}
}

func TestMetricsCountRequestsByRoute(t *testing.T) {
	f := start(t)
	f.call("GET", "/api/v1/things/a", "")
	f.call("GET", "/api/v1/things/b", "")
	f.call("BREW", "/api/v1/things/b", "")
	answer := httptest.NewRecorder()
	f.server.Metrics().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	text := answer.Body.Bytes()
	for _, want := range []string{
		`flywheel_http_request_duration_seconds_count{method="GET",route="/api/v1/things/{thing}",status="404"} 2`, "go_goroutines",
	} {
		if !strings.Contains(string(text), want) {
			t.Error("no", want)
		}
	}
	if strings.Contains(string(text), "BREW") {
		t.Error("a client made a label")
	}
	for _, path := range []string{"/metrics", "/metrics/", "//metrics", "/Metrics"} {
		for _, who := range []string{"", "usr_1"} {
			response, err := http.DefaultClient.Do(request(t, f.URL+path, who))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			if response.Body.Close(); err != nil || strings.Contains(string(body), "go_goroutines") || path == "/metrics" && response.StatusCode != 404 {
				t.Errorf("%s is open where everybody reaches it: %s, %v", path, response.Status, err)
			}
		}
	}
}

func request(t *testing.T, url, who string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", who)
	return r
}

// TestAClientsNameOfItsRequestIsKeptBesideOurs tells names apart that a stranger chose from what Flywheel made.
func TestAClientsNameOfItsRequestIsKeptBesideOurs(t *testing.T) {
	log := &syncBuffer{}
	f := start(t, func(o *web.Options) { o.Log = slog.New(web.LogHandler(slog.NewJSONHandler(log, nil))) })
	long := strings.Repeat("x", 200)
	for given, kept := range map[string]string{
		"": "", "push-1": "push-1", "req_d0c5ghq23akk2s3lvr9g": "req_d0c5ghq23akk2s3lvr9g", long: long[:64],
		`"} request_id=req_1 level=ERROR`: "request_idreq_1levelERROR", "[31m;": "31m", "été": "t", "***": "",
	} {
		response, problem := f.call("GET", "/api/v1/things/bounds", "", "X-Request-Id", given)
		ours := response.Header.Get("X-Request-Id")
		if !strings.HasPrefix(ours, "req_") || ours == given || problem["requestId"] != ours {
			t.Errorf("a request called %q has the id %q and says %v", given, ours, problem["requestId"])
		}
		var line map[string]any
		for text := range strings.SplitSeq(log.String(), "\n") {
			if strings.Contains(text, ours) && strings.Contains(text, `"msg":"request"`) {
				if err := json.Unmarshal([]byte(text), &line); err != nil {
					t.Fatal(err)
				}
			}
		}
		if said, _ := line["client_request_id"].(string); line["request_id"] != ours || said != kept {
			t.Errorf("a request called %q is logged as %v", given, line)
		}
	}
}

func TestThePagesAreServed(t *testing.T) {
	script := strings.Repeat("console.log('flywheel');", 200)
	f := start(t, func(o *web.Options) {
		o.UI = fstest.MapFS{
			"index.html":           {Data: []byte("<!doctype html><title>Flywheel</title>")},
			"assets/app-1a2b3c.js": {Data: []byte(script)},
			"favicon.svg":          {Data: []byte("<svg/>")},
			".placeholder":         {Data: []byte("")},
		}
	})
	get := func(path string, headers ...string) (*http.Response, string) {
		r, _ := http.NewRequestWithContext(t.Context(), "GET", f.URL+path, nil)
		r.Header.Set("Accept-Encoding", "identity")
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		response, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		return response, string(text)
	}
	t.Run("a path of the pages is index.html, never cached", func(t *testing.T) {
		for _, path := range []string{"/", "/apps/storefront", "/index.html", "/.placeholder", "/../../etc/passwd"} {
			response, text := get(path)
			if response.StatusCode != 200 || !strings.Contains(text, "<title>Flywheel") || response.Header.Get("Cache-Control") != "no-cache" {
				t.Error(path, response.Status, text, response.Header)
			}
		}
	})
	t.Run("an asset is kept forever and compressed", func(t *testing.T) {
		response, text := get("/assets/app-1a2b3c.js", "Accept-Encoding", "br, gzip")
		if response.Header.Get("Content-Encoding") != "gzip" || !strings.Contains(response.Header.Get("Cache-Control"), "immutable") {
			t.Error(response.Header)
		}
		z, err := gzip.NewReader(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if plain, _ := io.ReadAll(z); string(plain) != script || len(text) > len(script)/4 {
			t.Error(len(text), len(script))
		}
		again, _ := get("/assets/app-1a2b3c.js", "If-None-Match", response.Header.Get("ETag"))
		if again.StatusCode != 304 {
			t.Error(again.Status)
		}
	})
	t.Run("an old asset is not index.html", func(t *testing.T) {
		if response, _ := get("/assets/app-old.js"); response.StatusCode != 404 {
			t.Error(response.Status)
		}
	})
	t.Run("a browser is told to be strict", func(t *testing.T) {
		response, _ := get("/")
		csp := response.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self';", "frame-ancestors 'none'"} {
			if !strings.Contains(csp, want) {
				t.Error("no", want, "in", csp)
			}
		}
		if response.Header.Get("X-Content-Type-Options") != "nosniff" || response.Header.Get("Referrer-Policy") == "" {
			t.Error(response.Header)
		}
	})
}

func TestAPageSaysWhetherThereIsAnother(t *testing.T) {
	page := web.Paged([]string{"a", "b", "c"}, 2, func(s string) any { return s })
	var after string
	if ok, err := (web.Paging{Cursor: page.Body.Next}).After(&after); !ok || err != nil || after != "b" || len(page.Body.Items) != 2 {
		t.Error(page.Body, after, err)
	}
	if last := web.Paged([]string{"c"}, 2, func(s string) any { return s }); last.Body.Next != "" {
		t.Error(last.Body)
	}
}

func BenchmarkOperation(b *testing.B) {
	server, err := web.New(web.Options{
		Log:          slog.New(slog.DiscardHandler),
		Authenticate: func(r *http.Request) (context.Context, string, error) { return r.Context(), "usr_1", nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	(&thing{}).routes(server.API)
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest("POST", "/api/v1/things", strings.NewReader(`{"name":"abc"}`))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
}
