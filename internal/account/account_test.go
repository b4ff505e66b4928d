package account_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/web"
)

// platform is a server with accounts only, and its first admin.
type platform struct {
	*httptest.Server
	t        *testing.T
	db       *db.DB
	accounts *account.Service
	password string
}

func start(t *testing.T) *platform {
	t.Helper()
	d := dbtest.Open(t)
	accounts := account.New(d)
	_, password, err := accounts.Bootstrap(t.Context())
	if err != nil || password == "" {
		t.Fatal(password, err)
	}
	server, err := web.New(web.Options{DB: d, Authenticate: accounts.Authenticate, Refused: accounts.Refused, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	accounts.Routes(server.API)
	p := &platform{httptest.NewServer(server), t, d, accounts, password}
	t.Cleanup(p.Close)
	return p
}

type credentials func(*http.Request)

func bearer(secret string) credentials {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) }
}

func nobody(*http.Request) {}

// call sends a request and returns the status and the decoded answer.
func (p *platform) call(who credentials, method, path string, body any) (int, map[string]any, *http.Response) {
	p.t.Helper()
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			p.t.Fatal(err)
		}
		reader = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.URL+"/api/v1"+path, reader)
	if err != nil {
		p.t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	who(r)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	var decoded map[string]any
	if len(text) > 0 {
		if err := json.Unmarshal(text, &decoded); err != nil {
			p.t.Fatalf("%s %s answered %q", method, path, text)
		}
	}
	return answer.StatusCode, decoded, answer
}

// must is call for what has to succeed.
func (p *platform) must(who credentials, method, path string, body any) map[string]any {
	p.t.Helper()
	status, answer, _ := p.call(who, method, path, body)
	if status > 299 {
		p.t.Fatalf("%s %s: %d %v", method, path, status, answer)
	}
	return answer
}

// refused is call for what has to be refused with a code.
func (p *platform) refused(who credentials, method, path string, body any, status int, code string) {
	p.t.Helper()
	got, answer, _ := p.call(who, method, path, body)
	if got != status || answer["code"] != code {
		p.t.Errorf("%s %s: got %d %v, want %d %s", method, path, got, answer, status, code)
	}
}

func (p *platform) signIn(name, password string) credentials {
	p.t.Helper()
	status, answer, response := p.call(nobody, "POST", "/session", map[string]any{"name": name, "password": password})
	if status != 200 {
		p.t.Fatalf("sign-in of %s: %d %v", name, status, answer)
	}
	cookie := response.Cookies()[0]
	return func(r *http.Request) { r.AddCookie(cookie) }
}

func (p *platform) person(admin credentials, name string, disciplines ...string) credentials {
	p.t.Helper()
	body := map[string]any{"name": name}
	if len(disciplines) > 0 {
		body["disciplines"] = disciplines
	}
	made := p.must(admin, "POST", "/users", body)
	return p.signIn(name, made["password"].(string))
}

func TestTheFirstStartMakesOneAdminAndSaysThePasswordOnce(t *testing.T) {
	p := start(t)
	name, password, err := p.accounts.Bootstrap(t.Context())
	if err != nil || name != "" || password != "" {
		t.Fatalf("the second start made %q %q %v", name, password, err)
	}
	me := p.must(p.signIn("admin", p.password), "GET", "/me", nil)
	if me["admin"] != true || me["name"] != "admin" {
		t.Fatal(me)
	}
}

func TestASessionIsForHTTPSOnlyWherePeopleReachFlywheelSo(t *testing.T) {
	p := start(t)
	for _, https := range []bool{false, true} {
		p.accounts.HTTPS = https
		_, _, response := p.call(func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https") }, "POST", "/session", map[string]any{"name": "admin", "password": p.password})
		if cookie := response.Cookies()[0]; cookie.Secure != https || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode {
			t.Errorf("with HTTPS %t the cookie is %v", https, cookie)
		}
	}
}

func TestReplicasThatStartTogetherMakeOneAdmin(t *testing.T) {
	d := dbtest.Open(t)
	var wg sync.WaitGroup
	made := make(chan string, 4)
	for range 4 {
		wg.Go(func() {
			_, password, err := account.New(d).Bootstrap(t.Context())
			if err != nil {
				t.Error(err)
			}
			if password != "" {
				made <- password
			}
		})
	}
	wg.Wait()
	if len(made) != 1 {
		t.Fatalf("%d replicas made an admin", len(made))
	}
}

func TestSessions(t *testing.T) {
	p := start(t)
	admin := p.signIn("admin", p.password)

	t.Run("nobody is asked to sign in", func(t *testing.T) {
		p.refused(nobody, "GET", "/me", nil, 401, "session.missing")
	})
	t.Run("a wrong password and an unknown name get the same answer", func(t *testing.T) {
		p.refused(nobody, "POST", "/session", map[string]any{"name": "admin", "password": "wrong"}, 401, "session.refused")
		p.refused(nobody, "POST", "/session", map[string]any{"name": "ghost", "password": "wrong"}, 401, "session.refused")
	})
	t.Run("the cookie cannot be read by scripts or sent by other sites", func(t *testing.T) {
		_, _, response := p.call(nobody, "POST", "/session", map[string]any{"name": "admin", "password": p.password})
		cookie := response.Cookies()[0]
		if !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode {
			t.Error(cookie)
		}
	})
	t.Run("a page of another site cannot act", func(t *testing.T) {
		p.refused(func(r *http.Request) {
			admin(r)
			r.Header.Set("Origin", "https://evil.example")
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		}, "POST", "/teams", map[string]any{"name": "evil"}, 403, "request.cross_origin")
	})
	t.Run("guessing is slowed down, for this name and address", func(t *testing.T) {
		for range 5 {
			p.call(nobody, "POST", "/session", map[string]any{"name": "victim", "password": "guess"})
		}
		status, answer, response := p.call(nobody, "POST", "/session", map[string]any{"name": "victim", "password": "guess"})
		if wait := response.Header.Get("Retry-After"); status != 429 || answer["code"] != "session.too_many" || wait == "" || wait == "0" || !strings.Contains(fmt.Sprint(answer["remedy"]), wait+" second") {
			t.Error(status, answer, response.Header)
		}
		p.signIn("admin", p.password)
	})
	t.Run("a failed attempt is audited with its name and address, without the password, and a flood is not", func(t *testing.T) {
		p := start(t)
		admin := p.signIn("admin", p.password)
		p.must(admin, "POST", "/users", map[string]any{"name": "gone", "title": "Gone", "password": "correct horse battery"})
		p.must(admin, "PATCH", "/users/gone", map[string]any{"active": false})
		now := time.Now()
		p.db.Now = func() time.Time { return now }
		try := func(name, password string) {
			p.call(nobody, "POST", "/session", map[string]any{"name": name, "password": password})
		}
		try("admin", "planted-guess-1")
		try("ghost\n\x1b[31m", "planted-guess-2")
		try("gone", "correct horse battery")
		for i := range 60 {
			try(fmt.Sprintf("name-%d", i/6), "planted-guess-3")
		}
		now = now.Add(2 * time.Minute)
		try("late", "planted-guess-4")
		text := fmt.Sprint(p.must(admin, "GET", "/audit?action=session.refused&limit=100", nil))
		for _, want := range []string{"admin", "wrong password, from 127.0.0.1", "ghost??[31m", "no such person", "deactivated", "53 more since the entry before were not written"} {
			if !strings.Contains(text, want) {
				t.Errorf("the audit log does not say %q: %s", want, text)
			}
		}
		if n := strings.Count(text, "session.refused"); n != 11 || strings.Contains(text, "planted") || strings.Contains(text, "correct horse") {
			t.Errorf("%d entries, or a password: %s", n, text)
		}
	})
	t.Run("it ends after twelve hours without use, and goes on with use", func(t *testing.T) {
		p := start(t)
		now := time.Now()
		p.db.Now = func() time.Time { return now }
		who := p.signIn("admin", p.password)
		for range 3 {
			now = now.Add(11 * time.Hour)
			p.must(who, "GET", "/me", nil)
		}
		now = now.Add(12 * time.Hour)
		p.refused(who, "GET", "/me", nil, 401, "session.ended")
		p.refused(who, "POST", "/session", map[string]any{"name": "admin", "password": "wrong"}, 401, "session.refused")
	})
	t.Run("signing out ends it", func(t *testing.T) {
		who := p.signIn("admin", p.password)
		p.must(who, "DELETE", "/session", nil)
		p.refused(who, "GET", "/me", nil, 401, "session.ended")
	})
	t.Run("a new password ends the other sessions", func(t *testing.T) {
		grace := p.person(admin, "grace")
		reset := p.must(admin, "POST", "/users/grace/password", nil)
		p.refused(grace, "GET", "/me", nil, 401, "session.ended")
		first, second := p.signIn("grace", reset["password"].(string)), p.signIn("grace", reset["password"].(string))
		p.refused(first, "PUT", "/me/password", map[string]any{"present": "no", "next": "correct horse battery"}, 403, "password.wrong")
		p.refused(first, "PUT", "/me/password", map[string]any{"present": reset["password"], "next": "short"}, 422, "password.length")
		p.must(first, "PUT", "/me/password", map[string]any{"present": reset["password"], "next": "correct horse battery"})
		p.must(first, "GET", "/me", nil)
		p.refused(second, "GET", "/me", nil, 401, "session.ended")
		p.signIn("grace", "correct horse battery")
	})
}

func TestAPersonSeesAndEndsTheirSessions(t *testing.T) {
	p := start(t)
	now := time.Now()
	p.db.Now = func() time.Time { return now }
	admin := p.signIn("admin", p.password)
	const password = "correct horse battery"
	p.must(admin, "POST", "/users", map[string]any{"name": "grace", "password": password})
	p.signIn("grace", password)
	first := p.signIn("grace", password)
	now = now.Add(time.Hour)
	second := p.signIn("grace", password)
	list := func(who credentials, query string) []map[string]any {
		t.Helper()
		found := []map[string]any{}
		for _, x := range p.must(who, "GET", "/sessions"+query, nil)["items"].([]any) {
			found = append(found, x.(map[string]any))
		}
		return found
	}
	sessions := list(second, "")
	if len(sessions) != 3 || sessions[2]["current"] != true || sessions[1]["current"] != false || sessions[1]["address"] == "" || sessions[1]["browser"] == "" {
		t.Fatal(sessions)
	}
	t.Run("its last use is kept to within minutes", func(t *testing.T) {
		before := sessions[1]["seenAt"]
		p.must(first, "GET", "/me", nil)
		if seen := list(second, "")[1]["seenAt"]; seen == before {
			t.Error(seen)
		}
	})
	t.Run("nothing of it opens anything", func(t *testing.T) {
		for _, x := range sessions {
			r := func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "flywheel_session", Value: x["id"].(string)}) }
			p.refused(r, "GET", "/me", nil, 401, "session.ended")
		}
	})
	t.Run("others do not see them, an admin does", func(t *testing.T) {
		ada := p.person(admin, "ada")
		p.refused(ada, "GET", "/sessions?user=grace", nil, 403, "permission.denied")
		p.refused(ada, "DELETE", "/sessions/"+sessions[0]["id"].(string), nil, 404, "session.not_found")
		if len(list(admin, "?user=grace")) != 3 || len(list(ada, "")) != 1 {
			t.Error("the wrong sessions are listed")
		}
	})
	t.Run("a token ends them only with the scope for it, and none of a machine does", func(t *testing.T) {
		for scopes, code := range map[string]string{"read": "token.scope", "write": "token.scope", "service": "session.service"} {
			body := map[string]any{"name": scopes, "scopes": []string{scopes}}
			if scopes == "service" {
				body = map[string]any{"name": scopes, "service": true}
			}
			token := p.must(second, "POST", "/tokens", body)["secret"].(string)
			p.refused(bearer(token), "DELETE", "/sessions", nil, 403, code)
		}
	})
	t.Run("one is ended, then all others", func(t *testing.T) {
		p.must(second, "DELETE", "/sessions/"+sessions[1]["id"].(string), nil)
		p.refused(first, "GET", "/me", nil, 401, "session.ended")
		p.refused(second, "DELETE", "/sessions/"+sessions[1]["id"].(string), nil, 404, "session.not_found")
		if ended := p.must(second, "DELETE", "/sessions", nil)["ended"]; ended != 1.0 {
			t.Error(ended)
		}
		if left := list(second, ""); len(left) != 1 || left[0]["current"] != true {
			t.Error(left)
		}
	})
	t.Run("and it is in the audit log", func(t *testing.T) {
		if text := fmt.Sprint(p.must(admin, "GET", "/audit?action=session.end", nil)); strings.Count(text, "of grace") != 2 {
			t.Error(text)
		}
	})
}

func TestTokens(t *testing.T) {
	p := start(t)
	admin := p.signIn("admin", p.password)
	ada := p.person(admin, "ada", "security")

	t.Run("a token stands for its person", func(t *testing.T) {
		made := p.must(ada, "POST", "/tokens", map[string]any{"name": "laptop"})
		secret := made["secret"].(string)
		if !strings.HasPrefix(secret, "fly_") {
			t.Error(secret)
		}
		me := p.must(bearer(secret), "GET", "/me", nil)
		if me["name"] != "ada" || me["token"] != made["id"] {
			t.Error(me)
		}
		p.must(func(r *http.Request) { r.SetBasicAuth("git", secret) }, "GET", "/me", nil)
		if days := time.Until(parse(t, made["expiresAt"])).Hours() / 24; days < 89 || days > 91 {
			t.Errorf("it lasts %v days", days)
		}
	})
	t.Run("its secret is stored nowhere", func(t *testing.T) {
		once := func(r *http.Request) { ada(r); r.Header.Set("Idempotency-Key", "hidden") }
		secret := p.must(once, "POST", "/tokens", map[string]any{"name": "hidden"})["secret"].(string)
		if err := event.Number(t.Context(), p.db); err != nil {
			t.Fatal(err)
		}
		for _, query := range []string{
			"select count(*) from token where id || hash || name || scopes like '%' || $1 || '%'",
			"select count(*) from audit where subject || reason like '%' || $1 || '%'",
			"select count(*) from event where subject || data like '%' || $1 || '%'",
			"select count(*) from idempotency where body || headers like '%' || $1 || '%'",
		} {
			var found int64
			err := p.db.Read(t.Context(), func(tx *db.Tx) error { return tx.QueryRow(query, secret).Scan(&found) })
			if err != nil || found != 0 {
				t.Error(query, found, err)
			}
		}
	})
	t.Run("a repeated creation does not give the secret again", func(t *testing.T) {
		who := func(r *http.Request) { ada(r); r.Header.Set("Idempotency-Key", "once") }
		p.must(who, "POST", "/tokens", map[string]any{"name": "once"})
		p.refused(who, "POST", "/tokens", map[string]any{"name": "once"}, 409, "idempotency.shown_once")
	})
	t.Run("it ends", func(t *testing.T) {
		p.refused(ada, "POST", "/tokens", map[string]any{"name": "forever", "expiresAt": time.Now().AddDate(2, 0, 0)}, 422, "token.expiry")
		secret := p.must(ada, "POST", "/tokens", map[string]any{"name": "short", "expiresAt": time.Now().Add(time.Hour)})["secret"].(string)
		p.refused(bearer(secret), "POST", "/tokens", map[string]any{"name": "longer", "expiresAt": time.Now().Add(2 * time.Hour)}, 422, "token.expiry")
		real := p.db.Now
		p.db.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
		p.refused(bearer(secret), "GET", "/me", nil, 401, "token.expired")
		p.db.Now = real
	})
	t.Run("its scopes bound it", func(t *testing.T) {
		secret := p.must(admin, "POST", "/tokens", map[string]any{"name": "reader", "scopes": []string{"read"}})["secret"].(string)
		p.must(bearer(secret), "GET", "/teams", nil)
		p.refused(bearer(secret), "POST", "/teams", map[string]any{"name": "x"}, 403, "token.scope")
		p.refused(bearer(secret), "POST", "/tokens", map[string]any{"name": "more", "scopes": []string{"admin"}}, 403, "token.scope")
	})
	t.Run("a deleted, malformed or foreign one is refused", func(t *testing.T) {
		made := p.must(ada, "POST", "/tokens", map[string]any{"name": "gone"})
		p.refused(p.person(admin, "mallory"), "DELETE", "/tokens/"+made["id"].(string), nil, 404, "token.not_found")
		p.must(ada, "DELETE", "/tokens/"+made["id"].(string), nil)
		p.refused(bearer(made["secret"].(string)), "GET", "/me", nil, 401, "token.unknown")
		for _, header := range []string{"Bearer", "Bearer ", "Basic x", "Digest y", "Bearer \xff\xfe", "'; drop table token; --"} {
			p.refused(func(r *http.Request) { r.Header.Set("Authorization", header) }, "GET", "/me", nil, 401, "token.unknown")
		}
	})
	t.Run("a service token cannot approve or make tokens", func(t *testing.T) {
		secret := p.must(ada, "POST", "/tokens", map[string]any{"name": "ci", "service": true, "scopes": []string{"admin"}})["secret"].(string)
		p.refused(bearer(secret), "POST", "/tokens", map[string]any{"name": "x"}, 403, "token.service")
		r := httptest.NewRequest("GET", "/", nil)
		bearer(secret)(r)
		ctx, _, err := p.accounts.Authenticate(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := account.From(ctx).Require(account.ApproveSecurity, ""); !fault.Is(err, "permission.person") {
			t.Error(err)
		}
	})
	t.Run("deactivating the person ends sessions and tokens", func(t *testing.T) {
		secret := p.must(ada, "POST", "/tokens", map[string]any{"name": "last"})["secret"].(string)
		p.must(admin, "PATCH", "/users/ada", map[string]any{"active": false})
		p.refused(ada, "GET", "/me", nil, 401, "session.ended")
		p.refused(bearer(secret), "GET", "/me", nil, 401, "token.unknown")
		p.must(admin, "PATCH", "/users/ada", map[string]any{"active": true})
		p.refused(bearer(secret), "GET", "/me", nil, 401, "token.unknown")
	})
}

// TestATokenIsNoWayPastItself tries every verb about tokens, sessions and passwords with tokens of all kinds.
func TestANameIsWhatPeopleSee(t *testing.T) {
	p := start(t)
	admin := p.signIn("admin", p.password)
	p.person(admin, "ada")
	p.must(admin, "POST", "/teams", map[string]any{"name": "shop"})
	for _, name := range []string{"ci\u200b", "\u202eic", "ci\nscopes [read]", "ci\u2800", "\x1b[8mci", "c\u00adi", "ci\x7f", "ci\ufe0f", "ci\U000e0041"} {
		p.refused(admin, "POST", "/tokens", map[string]any{"name": name}, 422, "name.hidden")
		p.refused(admin, "POST", "/users", map[string]any{"name": "bob", "title": name}, 422, "name.hidden")
		p.refused(admin, "PATCH", "/users/ada", map[string]any{"title": name}, 422, "name.hidden")
		p.refused(admin, "POST", "/teams", map[string]any{"name": "more", "title": name}, 422, "name.hidden")
		p.refused(admin, "PATCH", "/teams/shop", map[string]any{"title": name}, 422, "name.hidden")
	}
	for _, name := range []string{"größe", "می\u200cخواهم", "👩\u200d🚀", "O’Neil, Søren"} {
		p.must(admin, "POST", "/tokens", map[string]any{"name": name})
		p.must(admin, "PATCH", "/users/ada", map[string]any{"title": name})
	}
}

func TestATokenIsNoWayPastItself(t *testing.T) {
	p := start(t)
	admin := p.signIn("admin", p.password)
	p.person(admin, "ada")
	made := p.must(admin, "POST", "/users/ada/password", nil)
	ada := p.signIn("ada", made["password"].(string))
	type token struct {
		id  string
		who credentials
	}
	mint := func(who credentials, body map[string]any) token {
		t.Helper()
		made := p.must(who, "POST", "/tokens", body)
		return token{made["id"].(string), bearer(made["secret"].(string))}
	}
	scopes := func(name string, list ...string) map[string]any { return map[string]any{"name": name, "scopes": list} }
	victim := mint(ada, scopes("victim", "read", "write", "admin"))
	session := p.must(ada, "GET", "/sessions", nil)["items"].([]any)[0].(map[string]any)["id"].(string)
	for name, body := range map[string]map[string]any{
		"read": scopes("reader", "read"), "write": scopes("writer", "write"),
		"service": {"name": "ci", "service": true, "scopes": []string{"read", "write", "admin"}},
	} {
		t.Run("a token of the kind "+name+" leaves the others alone", func(t *testing.T) {
			mine := mint(ada, body)
			code, ended := "token.other", "token.scope"
			if name == "service" {
				code, ended = "token.service", "session.service"
			}
			p.refused(mine.who, "DELETE", "/tokens/"+victim.id, nil, 403, code)
			p.refused(mine.who, "DELETE", "/sessions/"+session, nil, 403, ended)
			p.refused(mine.who, "DELETE", "/sessions", nil, 403, ended)
			p.refused(mine.who, "PUT", "/me/password", map[string]any{"present": made["password"], "next": "correct horse battery"}, 403, "password.session")
			p.must(victim.who, "GET", "/me", nil)
			p.must(ada, "GET", "/me", nil)
		})
	}
	t.Run("one that may only read makes none, and no service token does", func(t *testing.T) {
		p.refused(mint(ada, scopes("reader", "read")).who, "POST", "/tokens", scopes("another", "read"), 403, "token.scope")
		p.refused(mint(ada, map[string]any{"name": "ci", "service": true}).who, "POST", "/tokens", scopes("another", "read"), 403, "token.service")
	})
	t.Run("what is made with one is not wider", func(t *testing.T) {
		writer := mint(ada, scopes("writer", "write"))
		p.refused(writer.who, "POST", "/tokens", scopes("wider", "admin"), 403, "token.scope")
		p.refused(writer.who, "POST", "/tokens", scopes("wider", "read", "admin"), 403, "token.scope")
		p.must(writer.who, "POST", "/tokens", scopes("as wide", "read", "write"))
	})
	t.Run("what is made with one ends with it, over all generations", func(t *testing.T) {
		first := mint(ada, scopes("first", "write"))
		second := mint(first.who, scopes("second", "write"))
		third := mint(second.who, scopes("third", "write"))
		beside := mint(ada, scopes("beside", "write"))
		p.refused(second.who, "DELETE", "/tokens/"+first.id, nil, 403, "token.other")
		p.must(ada, "DELETE", "/tokens/"+first.id, nil)
		for _, gone := range []token{first, second, third} {
			p.refused(gone.who, "GET", "/me", nil, 401, "token.unknown")
		}
		p.must(beside.who, "GET", "/me", nil)
		if text := fmt.Sprint(p.must(admin, "GET", "/audit?action=token.delete&limit=20", nil)); strings.Count(text, third.id) != 1 {
			t.Error("the audit log does not tell of the third one", text)
		}
	})
	t.Run("one deletes itself, and what was made with it", func(t *testing.T) {
		first := mint(ada, scopes("first", "write"))
		second := mint(first.who, scopes("second", "write"))
		third := mint(second.who, scopes("third", "write"))
		p.must(first.who, "DELETE", "/tokens/"+third.id, nil)
		p.must(second.who, "GET", "/me", nil)
		p.must(first.who, "DELETE", "/tokens/"+first.id, nil)
		p.refused(second.who, "GET", "/me", nil, 401, "token.unknown")
	})
	t.Run("the command line's, which is bounded in nothing, stands for the person", func(t *testing.T) {
		whole, other := mint(ada, scopes("command line", "read", "write", "admin")), mint(ada, scopes("lost", "write"))
		p.must(whole.who, "DELETE", "/tokens/"+other.id, nil)
		ci := mint(whole.who, map[string]any{"name": "ci", "service": true, "scopes": []string{"read"}})
		p.must(whole.who, "DELETE", "/tokens/"+mint(whole.who, scopes("spare", "read")).id, nil)
		leaving := mint(ada, scopes("command line", "read", "write", "admin"))
		kept := mint(leaving.who, scopes("kept", "read"))
		p.must(leaving.who, "DELETE", "/tokens/"+leaving.id, nil)
		p.must(kept.who, "GET", "/me", nil)
		p.must(ci.who, "GET", "/me", nil)
		p.refused(whole.who, "DELETE", "/tokens/"+mint(admin, scopes("of another", "read")).id, nil, 404, "token.not_found")
	})
	t.Run("an admin's does not reset the password of its own person", func(t *testing.T) {
		whole := mint(admin, scopes("command line", "read", "write", "admin"))
		p.refused(whole.who, "POST", "/users/admin/password", nil, 403, "password.session")
		p.must(whole.who, "POST", "/users/ada/password", nil)
	})
}

func parse(t *testing.T, v any) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, v.(string))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestPeopleAndTeams(t *testing.T) {
	p := start(t)
	admin := p.signIn("admin", p.password)
	owner, viewer := p.person(admin, "owen"), p.person(admin, "vera")
	p.must(admin, "POST", "/teams", map[string]any{"name": "shop", "title": "Web shop"})
	p.must(admin, "PUT", "/teams/shop/members/owen", map[string]any{"role": "owner"})

	t.Run("a name is taken once", func(t *testing.T) {
		p.refused(admin, "POST", "/users", map[string]any{"name": "owen"}, 409, "user.taken")
		p.refused(admin, "POST", "/teams", map[string]any{"name": "shop"}, 409, "team.taken")
	})
	t.Run("an owner decides who is in the team", func(t *testing.T) {
		p.must(owner, "PUT", "/teams/shop/members/vera", map[string]any{"role": "viewer"})
		p.refused(viewer, "PUT", "/teams/shop/members/vera", map[string]any{"role": "owner"}, 403, "permission.denied")
		_, err := p.accounts.PutMember(account.System(t.Context(), "test"), "shop", "vera", `"of-before"`, account.Owner)
		if !fault.Is(err, "edit.stale") {
			t.Errorf("a role that was changed over something older is answered %v", err)
		}
		p.refused(owner, "PUT", "/teams/shop/members/ghost", map[string]any{"role": "viewer"}, 404, "user.not_found")
		p.refused(admin, "PUT", "/teams/ghosts/members/vera", map[string]any{"role": "viewer"}, 404, "team.not_found")
	})
	t.Run("me says what I may do in my team", func(t *testing.T) {
		may := fmt.Sprint(p.must(owner, "GET", "/me", nil)["mayInTeam"].(map[string]any)["shop"])
		if !strings.Contains(may, "manage_members") || !strings.Contains(may, "release_hold") {
			t.Error(may)
		}
		may = fmt.Sprint(p.must(viewer, "GET", "/me", nil)["mayInTeam"].(map[string]any)["shop"])
		if may != "[view_app view_team]" && may != "[view_app]" {
			t.Error(may)
		}
	})
	t.Run("only an admin adds people", func(t *testing.T) {
		p.refused(owner, "POST", "/users", map[string]any{"name": "friend"}, 403, "permission.denied")
	})
	t.Run("the last admin stays", func(t *testing.T) {
		p.refused(admin, "PATCH", "/users/admin", map[string]any{"admin": false}, 409, "user.last_admin")
		p.refused(admin, "PATCH", "/users/admin", map[string]any{"active": false}, 409, "user.last_admin")
	})
	t.Run("an edit of something older is refused", func(t *testing.T) {
		_, _, response := p.call(admin, "GET", "/users/vera", nil)
		with := func(r *http.Request) { admin(r); r.Header.Set("If-Match", response.Header.Get("ETag")) }
		p.must(with, "PATCH", "/users/vera", map[string]any{"title": "Vera"})
		p.refused(with, "PATCH", "/users/vera", map[string]any{"title": "Vera again"}, 412, "edit.stale")
	})
	t.Run("a team that owns something stays", func(t *testing.T) {
		p.accounts.TeamInUse = func(*db.Tx, string) (string, error) { return "the app storefront", nil }
		p.refused(admin, "DELETE", "/teams/shop", nil, 409, "team.in_use")
		p.accounts.TeamInUse = nil
		p.must(admin, "DELETE", "/teams/shop", nil)
		p.refused(admin, "GET", "/teams/shop", nil, 404, "team.not_found")
	})
	t.Run("lists come in pages", func(t *testing.T) {
		for i := range 5 {
			p.must(admin, "POST", "/teams", map[string]any{"name": fmt.Sprintf("team-%d", i)})
		}
		var names []string
		cursor := ""
		for {
			page := p.must(viewer, "GET", "/teams?limit=2&cursor="+cursor, nil)
			for _, item := range page["items"].([]any) {
				names = append(names, item.(map[string]any)["name"].(string))
			}
			if page["next"] == nil {
				break
			}
			cursor = page["next"].(string)
		}
		if fmt.Sprint(names) != "[team-0 team-1 team-2 team-3 team-4]" {
			t.Error(names)
		}
		p.refused(viewer, "GET", "/teams?cursor=%21", nil, 422, "cursor.malformed")
	})
}

func TestWhoMayDoWhat(t *testing.T) {
	member := func(role account.Role) account.Actor {
		return account.Actor{ID: "usr_1", Teams: map[string]account.Role{"shop": role}}
	}
	coe := func(d ...string) account.Actor { return account.Actor{ID: "usr_2", Disciplines: d} }
	system := account.From(account.System(context.Background(), "deploy"))
	for _, c := range []struct {
		actor account.Actor
		p     account.Permission
		team  string
		code  string // "" is allowed
	}{
		{account.Actor{}, account.ViewApp, "shop", "session.missing"},
		{member(account.Viewer), account.ViewApp, "shop", ""},
		{member(account.Viewer), account.PushApp, "shop", "permission.denied"},
		{member(account.Viewer), account.ViewApp, "billing", "not_found"},
		{member(account.Owner), account.PushApp, "billing", "not_found"},
		{member(account.Developer), account.PushApp, "shop", ""},
		{member(account.Developer), account.HoldRelease, "shop", "permission.denied"},
		{member(account.Operator), account.HoldRelease, "shop", ""},
		{member(account.Developer), account.DevelopPattern, "", ""},
		{member(account.Viewer), account.DevelopPattern, "", "permission.denied"},
		{member(account.Viewer), account.RequestPattern, "", ""},
		{member(account.Owner), account.ApproveSecurity, "", "permission.denied"},
		{coe(account.Security), account.ApproveSecurity, "", ""},
		{coe(account.Security), account.ApproveOperations, "", "permission.denied"},
		{coe(account.Security), account.ViewApp, "shop", ""},
		{coe(account.Security), account.PushApp, "shop", "permission.denied"},
		{coe(account.Security), account.HoldRelease, "shop", "permission.denied"},
		{coe(account.Operations), account.HoldRelease, "shop", ""},
		{coe(account.Development), account.ManageEnvironments, "", ""},
		{account.Actor{ID: "usr_3", Admin: true}, account.PushApp, "shop", ""},
		{account.Actor{ID: "usr_3", Admin: true}, account.ApproveSecurity, "", "permission.denied"},
		{system, account.Deploy, "shop", ""},
		{system, account.ApproveSecurity, "", "permission.person"},
		{account.Actor{ID: "usr_4", Service: true, Disciplines: []string{account.Security}}, account.ApproveSecurity, "", "permission.person"},
		{account.Actor{ID: "usr_5", Admin: true}, account.Approve("sales"), "", "permission.unknown"},
	} {
		err := c.actor.Require(c.p, c.team)
		if c.code == "" && err != nil || c.code != "" && !fault.Is(err, c.code) {
			t.Errorf("%+v %s in %q: got %v, want %q", c.actor, c.p, c.team, err, c.code)
		}
	}
}

func TestTheAuditLog(t *testing.T) {
	d := dbtest.Open(t)
	ctx := account.With(t.Context(), account.Actor{ID: "usr_1", Name: "ada"})
	decide := func(i int) {
		err := d.Write(ctx, func(tx *db.Tx) error {
			return account.Audit(tx, account.Entry{Action: "change.approved", Subject: fmt.Sprint("chg_", i), Decision: "approved", Reason: "quote \" and <b> and ü"})
		})
		if err != nil {
			t.Error(err)
		}
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 5 {
				decide(w*5 + i)
			}
		})
	}
	wg.Wait()
	sound, last, broken, err := account.Verify(ctx, d, account.Kept{})
	if err != nil || broken != nil || sound != 40 {
		t.Fatal("concurrent writers broke the chain", sound, broken, err)
	}
	t.Run("what was kept is compared with the log", func(t *testing.T) {
		for name, tt := range map[string]struct {
			kept account.Kept
			want int64 // the entry that is not sound
		}{
			"as it was":      {account.Kept{Sound: sound, Last: last}, 0},
			"end cut off":    {account.Kept{Sound: sound + 2, Last: last}, sound + 1},
			"written anew":   {account.Kept{Sound: sound, Last: "another"}, sound},
			"long ago, anew": {account.Kept{Sound: 7, Last: last}, 7},
		} {
			_, _, broken, err := account.Verify(ctx, d, tt.kept)
			if err != nil || (broken == nil) != (tt.want == 0) || broken != nil && broken.Seq != tt.want {
				t.Errorf("%s: %+v, %v", name, broken, err)
			}
		}
	})
	tamper := func(t *testing.T, statement string, want int64) {
		t.Helper()
		if err := d.Write(ctx, func(tx *db.Tx) error { _, err := tx.Exec(statement); return err }); err != nil {
			t.Fatal(err)
		}
		sound, _, broken, err := account.Verify(ctx, d, account.Kept{})
		if err != nil || broken == nil || broken.Seq != want || sound != want-1 {
			t.Fatal(sound, broken, err)
		}
	}
	t.Run("two entries that changed places are noticed", func(t *testing.T) {
		if err := d.Write(ctx, func(tx *db.Tx) error {
			for _, move := range [][2]int64{{35, -1}, {36, 35}, {-1, 36}} {
				if _, err := tx.Exec("update audit set seq = $2 where seq = $1", move[0], move[1]); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if sound, _, broken, err := account.Verify(ctx, d, account.Kept{}); err != nil || broken == nil || sound != 34 {
			t.Fatal(sound, broken, err)
		}
	})
	t.Run("a removed entry is noticed", func(t *testing.T) { tamper(t, "delete from audit where seq = 30", 30) })
	t.Run("a changed entry is noticed", func(t *testing.T) {
		tamper(t, "update audit set decision = 'rejected' where seq = 20", 20)
	})
	t.Run("a changed hash is noticed", func(t *testing.T) { tamper(t, "update audit set hash = 'x' where seq = 10", 10) })
	t.Run("a changed first entry is noticed", func(t *testing.T) { tamper(t, "update audit set actor = 'usr_2' where seq = 1", 1) })
}

func TestDecisionsAboutAccountsAreAudited(t *testing.T) {
	p := start(t)
	admin := p.signIn("admin", p.password)
	p.person(admin, "ada", "security")
	page := p.must(admin, "GET", "/audit?limit=1&action=user", nil)
	last := page["items"].([]any)[0].(map[string]any)
	if last["action"] != "user.create" || last["subject"] != "ada" || last["name"] != "admin" {
		t.Error(last)
	}
	verified := p.must(admin, "GET", "/audit/verify", nil)
	if verified["broken"] != nil || verified["sound"].(float64) != 4 {
		t.Error(verified)
	}
	kept := fmt.Sprintf("/audit/verify?keptSound=4&keptLast=%s", verified["last"])
	p.person(admin, "dan")
	if again := p.must(admin, "GET", kept, nil); again["broken"] != nil || again["sound"].(float64) != 6 {
		t.Error(again)
	}
	if again := p.must(admin, "GET", "/audit/verify?keptSound=9&keptLast=x", nil); again["broken"].(map[string]any)["seq"].(float64) != 7 {
		t.Error(again)
	}
	p.refused(admin, "GET", "/audit/verify?keptSound=2", nil, 422, "audit.kept")
	for query, want := range map[string]int{"person=flywheel": 1, "person=admin": 3, "action=user": 3, "action=user.create": 3, "action=session": 3, "subject=dan": 2, "subject=dan&person=flywheel": 0} {
		if found := p.must(admin, "GET", "/audit?"+query, nil)["items"].([]any); len(found) != want {
			t.Errorf("%s found %d entries, not %d", query, len(found), want)
		}
	}
	p.refused(p.person(admin, "vera"), "GET", "/audit", nil, 403, "permission.denied")
}
