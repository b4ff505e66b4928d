package account_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/web"
)

// TestAFloodOfStrangersDelaysNobodyWhoIsKnown has 200 strangers of as many networks try to sign in at once, again and
// again, and compares what a known browser waits for a sign-in, and a session for an answer, with a quiet time. The
// bounds are ratios, with a floor against the noise of short times.
func TestAFloodOfStrangersDelaysNobodyWhoIsKnown(t *testing.T) {
	d := dbtest.Open(t)
	accounts := account.New(d)
	_, password, err := accounts.Bootstrap(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server, err := web.New(web.Options{DB: d, Authenticate: accounts.Authenticate, Log: slog.New(slog.DiscardHandler), Proxies: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	accounts.Routes(server.API)
	h := httptest.NewServer(server)
	t.Cleanup(h.Close)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 300}}
	send := func(ctx context.Context, method, path, from string, cookies []*http.Cookie, body any) (int, []*http.Cookie) {
		text, err := json.Marshal(body)
		if err != nil {
			t.Error(err)
		}
		r, err := http.NewRequestWithContext(ctx, method, h.URL+"/api/v1"+path, bytes.NewReader(text))
		if err != nil {
			t.Error(err)
			return 0, nil
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Forwarded-For", from)
		for _, c := range cookies {
			r.AddCookie(c)
		}
		answer, err := client.Do(r)
		if err != nil {
			return 0, nil // the flood is over
		}
		answer.Body.Close()
		return answer.StatusCode, answer.Cookies()
	}
	right := map[string]string{"name": "admin", "password": password}
	status, cookies := send(t.Context(), "POST", "/session", "198.51.100.1", nil, right)
	if status != 200 || len(cookies) != 2 {
		t.Fatal(status, cookies)
	}
	median := func(do func() int) time.Duration {
		var took []time.Duration
		for range 7 {
			began := time.Now()
			if status := do(); status != 200 {
				t.Errorf("answered %d", status)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		return max(took[3], 20*time.Millisecond)
	}
	signIn := func() int {
		status, _ := send(t.Context(), "POST", "/session", "198.51.100.9", cookies, right)
		return status
	}
	look := func() int {
		status, _ := send(t.Context(), "GET", "/teams", "198.51.100.9", cookies, nil)
		return status
	}
	quietSignIn, quietLook := median(signIn), median(look)

	flood, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var mu sync.Mutex
	answers := map[int]int{}
	for i := range 200 {
		wg.Go(func() {
			for n := 0; flood.Err() == nil; n++ {
				status, _ := send(flood, "POST", "/session", fmt.Sprintf("203.0.%d.%d", 100+i/100, i%100), nil, map[string]string{"name": fmt.Sprintf("name-%d", n%3), "password": "guess"})
				mu.Lock()
				answers[status]++
				mu.Unlock()
				time.Sleep(10 * time.Millisecond) // as a client over a network would at least
			}
		})
	}
	busySignIn, busyLook := median(signIn), median(look)
	stop()
	wg.Wait()
	t.Logf("sign-in %s, %s in the flood; look %s, %s in the flood; strangers got %v", quietSignIn, busySignIn, quietLook, busyLook, answers)
	const most = 150 // on a busy machine it was 28; before there were lanes it was 250, with 80 strangers
	if busySignIn > most*quietSignIn || busyLook > most*quietLook {
		t.Errorf("in a flood a sign-in takes %s instead of %s, a look %s instead of %s", busySignIn, quietSignIn, busyLook, quietLook)
	}
	if answers[429] == 0 {
		t.Errorf("nobody was refused: %v", answers)
	}
}
