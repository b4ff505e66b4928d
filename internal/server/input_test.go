package server_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/patience"
)

// TestNoInputMakesTheServerFail sends every operation of the API what nobody should send. The answer is
// never a 5xx, and a refusal always has a stable code and a sentence.
func TestNoInputMakesTheServerFail(t *testing.T) {
	api, p := described(t), newPlatform(t)
	if len(api.Paths) < 20 {
		t.Fatalf("openapi.json has %d paths", len(api.Paths))
	}
	names := []string{"nothing", "..%2f..%2fetc%2fpasswd", "%00", "a%0ab", "%ff%fe", "%F0%9F%9A%80", strings.Repeat("x", 3000), "'%20or%201=1--", "chg_", "%2e%2e"}
	queries := []string{"", "?cursor=nonsense&limit=1", "?cursor=%00%ff", "?cursor=" + strings.Repeat("A", 5000), "?limit=-1", "?limit=99999999999999999999", "?limit=x", "?state=%00&app=%27&follow=perhaps"}
	bodies := []string{
		"", "{", "null", "[]", `"x"`, "7", "{}", "\x00\xff", `{"name":7,"title":[],"values":"x","environments":[{}],"head":{}}`,
		`{"name":"a\u0000b","title":"\u0000","team":"shop","app":"\u0000","reason":"\u0000","digest":"\u0000","password":"\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000","secret":"\u0000","class":"staging","discipline":"security"}`,
		`{"name":"../../etc","title":"../x","team":"../shop","pattern":"../web","version":"../1","class":"staging","after":"../prod"}`,
		`{"name":"\ud800","title":"\ud800","team":"shop","class":"staging","reason":"\ud800"}`,
		strings.Repeat(`{"a":`, 3000), `{"title":"` + strings.Repeat("x", 3<<20) + `","name":"y","team":"shop"}`,
	}
	types := []string{"application/json", "text/plain", "application/x-nothing; charset=\xff", ""}
	client := &http.Client{Timeout: patience.Of(patience.Limit)}
	sent := 0
	send := func(method, path, body, kind, cursor string) {
		t.Helper()
		r, err := http.NewRequest(method, "http://"+p.replica("").listen+path+cursor, strings.NewReader(body))
		if err != nil {
			return // not even a request
		}
		r.Header.Set("Authorization", "Bearer "+p.admin.token)
		if kind != "" {
			r.Header["Content-Type"] = []string{kind}
		}
		response, err := client.Do(r)
		if err != nil && strings.Contains(err.Error(), "invalid header") {
			return
		}
		if err != nil {
			if len(body) > 1<<20 {
				return // it may hang up on what is too large
			}
			t.Fatalf("%s %.200s: %v", method, path, err)
		}
		defer response.Body.Close()
		answer, _ := io.ReadAll(io.LimitReader(response.Body, 1<<20)) // whatever came
		sent++
		var no problem
		switch {
		case response.StatusCode >= 500:
			t.Errorf("%s %.200s%.40s %.120q as %q is answered %d %.300s", method, path, cursor, body, kind, response.StatusCode, answer)
		case response.StatusCode >= 400 && strings.HasPrefix(path, "/api/") && response.StatusCode != 404 && response.StatusCode != 400:
			if json.Unmarshal(answer, &no) != nil || no.Code == "" || no.Detail == "" {
				t.Errorf("%s %.200s %.120q as %q is refused without a code and a sentence: %d %.300s", method, path, body, kind, response.StatusCode, answer)
			}
		}
	}
	for path, operations := range api.Paths {
		if strings.Contains(path, "stream") || path == "/api/v1/live" {
			continue // it does not end
		}
		for method := range operations {
			method = strings.ToUpper(method)
			if method == "PARAMETERS" || (method == "DELETE" && (strings.HasSuffix(path, "/session"))) {
				continue
			}
			for i, name := range names {
				at := path
				for strings.Contains(at, "{") {
					begin, end := strings.Index(at, "{"), strings.Index(at, "}")
					at = at[:begin] + name + at[end+1:]
				}
				if at == path && i > 0 {
					break
				}
				if method == "GET" || method == "DELETE" {
					for _, q := range queries {
						send(method, at, "", "", q)
					}
					continue
				}
				for j, body := range bodies {
					if i == 0 || j < 2 || j == 9 {
						send(method, at, body, types[0], "")
					}
				}
				if i == 0 {
					for _, kind := range types[1:] {
						send(method, at, `{"name":"x"}`, kind, "")
					}
				}
			}
		}
	}
	if sent < 500 {
		t.Errorf("only %d requests were sent", sent)
	}
	// It is alive, and said nothing of a panic.
	p.admin.must("GET", "/apps", nil, nil)
	log, err := os.ReadFile(p.replica("").log)
	must(t, err)
	if bytes.Contains(log, []byte("panic")) {
		t.Error("the log speaks of a panic")
	}
}
