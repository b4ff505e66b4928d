package server_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/patience"
	"flywheel.dev/flywheel/internal/web"
)

// ear is a page that is open as somebody.
type ear struct {
	mu    sync.Mutex
	nouns map[web.Noun]int
	all   strings.Builder // everything it was sent
	ended bool
}

// hears opens a page at a replica.
func (a *person) hears(replica string) *ear {
	a.p.t.Helper()
	r, err := http.NewRequestWithContext(a.p.t.Context(), "GET", "http://"+a.p.replica(replica).listen+"/api/v1/live", nil)
	must(a.p.t, err)
	r.Header.Set("Authorization", "Bearer "+a.token)
	response, err := http.DefaultClient.Do(r)
	must(a.p.t, err)
	e := &ear{nouns: map[web.Noun]int{}}
	began := make(chan struct{})
	go func() {
		defer response.Body.Close()
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 1<<20)
		first := true
		for lines.Scan() {
			var news web.News
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			if !ok || json.Unmarshal([]byte(data), &news) != nil {
				continue
			}
			e.mu.Lock()
			e.all.WriteString(data + "\n")
			for _, one := range news.Topics {
				e.nouns[one.Noun]++
			}
			e.mu.Unlock()
			if first {
				close(began)
			}
			first = false
		}
		e.mu.Lock()
		e.ended = true
		e.mu.Unlock()
	}()
	select {
	case <-began:
	case <-time.After(patience.Of(patience.Limit)):
		a.p.t.Fatal("the page was told nothing")
	}
	return e
}

func (e *ear) heard(noun web.Noun) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.nouns[noun] > 0
}

func (e *ear) text() (all string, ended bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.all.String(), e.ended
}

// TestAWriteOfEveryNounReachesThePagesThatMayShowIt writes through the API; on PostgreSQL the pages are open at another
// replica.
func TestAWriteOfEveryNounReachesThePagesThatMayShowIt(t *testing.T) {
	p := newPlatform(t)
	p.admin.must("POST", "/users", map[string]any{"name": "otto", "title": "Otto", "password": p.secret}, nil)
	otto := p.signIn("otto", p.secret)
	at := "main"
	if strings.HasPrefix(p.database, "postgres") {
		at = "other"
		p.start(at)
	}
	admin, member, outsider := p.admin.hears(at), p.dana.hears(at), otto.hears(at)

	s := p.newShop(t, "heard", "staging")
	p.dana.must("PUT", "/apps/heard/environments/staging/secrets/KEY", map[string]any{"value": "a long secret value"}, nil)
	p.dana.must("POST", "/waivers", map[string]any{"app": "heard", "environment": "staging", "variable": "instances", "value": 9, "reason": "a sale", "until": time.Now().Add(48 * time.Hour).UTC().Format(time.RFC3339)}, nil)
	p.dana.must("POST", "/stories", map[string]any{"title": "Sell more", "team": "shop"}, nil)
	p.dana.must("POST", "/pattern-requests", map[string]any{"title": "A queue"}, nil)
	p.admin.must("POST", "/patterns", map[string]any{"name": "queue", "title": "Queue"}, nil)
	p.admin.push(p.admin.clone("patterns/queue"), "first", "Describe the queue") // what it would publish is a version
	p.admin.must("POST", "/environments", map[string]any{"name": "extra", "class": "staging"}, nil)
	p.admin.must("POST", "/teams", map[string]any{"name": "press", "title": "Press"}, nil)
	p.admin.must("POST", "/users", map[string]any{"name": "pia", "title": "Pia", "password": p.secret}, nil)
	p.admin.must("PATCH", "/settings", map[string]any{"fourEyes": false}, nil)
	p.signIn("dana", p.secret) // a session and a token

	for _, noun := range web.Nouns() {
		p.eventually("an admin's page hears of the noun "+string(noun), func() bool { return admin.heard(noun) })
	}
	for _, noun := range []web.Noun{web.NounApp, web.NounChange, web.NounCheck, web.NounDeployment, web.NounStep, web.NounSecret, web.NounWaiver, web.NounStory, web.NounSession, web.NounToken, web.NounTeam} {
		p.eventually("a member's page hears of the noun "+string(noun), func() bool { return member.heard(noun) })
	}
	p.eventually("an outsider's page hears of what is for everybody", func() bool { return outsider.heard(web.NounUser) && outsider.heard(web.NounSetting) })
	if all, _ := outsider.text(); strings.Contains(all, "heard") || strings.Contains(all, "shop") || strings.Contains(all, "dpl_") || outsider.heard(web.NounStory) || outsider.heard(web.NounAudit) {
		t.Errorf("an outsider's page was told %s", all)
	}
	if member.heard(web.NounAudit) {
		t.Error("a member's page was told of the audit log, which it may not show")
	}

	// An app that is given away: who saw it until then hears of it.
	p.admin.must("PUT", "/apps/"+s.name+"/team", map[string]any{"team": "press"}, nil)
	p.eventually("the team that had the app hears that it went", func() bool {
		all, _ := member.text()
		return strings.Contains(all, `"id":"heard","app":"heard","team":"shop"`)
	})

	// Credentials that end close the stream.
	var tokens struct{ Items []struct{ ID string } }
	otto.must("GET", "/tokens", nil, &tokens)
	for _, one := range tokens.Items {
		otto.must("DELETE", "/tokens/"+one.ID, nil, nil)
	}
	p.eventually("the page of somebody whose token was deleted is cut off", func() bool { _, ended := outsider.text(); return ended })
}
