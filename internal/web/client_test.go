package web_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/web"
)

func TestOnlyATrustedProxySaysWhereARequestComesFrom(t *testing.T) {
	var from string
	s, err := web.New(web.Options{DB: dbtest.Open(t), Proxies: []string{"10.1.0.0/16", "127.0.0.1", "fd00::/8"},
		Authenticate: func(r *http.Request) (context.Context, string, error) {
			from = r.RemoteAddr
			return r.Context(), "", nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	(&thing{}).routes(s.API)
	for _, c := range []struct {
		name, peer string
		forwarded  []string
		from       string
	}{
		{"nobody speaks for it", "192.0.2.7:5", nil, "192.0.2.7:5"},
		{"a stranger's word", "192.0.2.7:5", []string{"203.0.113.9"}, "192.0.2.7:5"},
		{"one proxy", "127.0.0.1:5", []string{"203.0.113.9"}, "203.0.113.9:0"},
		{"two proxies", "127.0.0.1:5", []string{"203.0.113.9, 10.1.2.3"}, "203.0.113.9:0"},
		{"two proxies that add lines", "127.0.0.1:5", []string{"203.0.113.9", "10.1.2.3"}, "203.0.113.9:0"},
		{"a client that says it is another", "127.0.0.1:5", []string{"198.51.100.1, 203.0.113.9"}, "203.0.113.9:0"},
		{"a client that says it is a proxy", "192.0.2.7:5", []string{"127.0.0.1"}, "192.0.2.7:5"},
		{"IPv6", "[fd00::1]:5", []string{"2001:db8::9"}, "[2001:db8::9]:0"},
		{"IPv6 with a port", "[fd00::1]:5", []string{"[2001:db8::9]:443"}, "[2001:db8::9]:0"},
		{"IPv4 in IPv6", "[::ffff:127.0.0.1]:5", []string{"203.0.113.9"}, "203.0.113.9:0"},
		{"the proxy itself", "127.0.0.1:5", nil, "127.0.0.1:5"},
		{"only proxies", "127.0.0.1:5", []string{"10.1.2.3"}, "127.0.0.1:5"},
		{"what is no address", "127.0.0.1:5", []string{"203.0.113.9, unknown"}, "127.0.0.1:5"},
		{"far too much", "127.0.0.1:5", []string{",,,,,"}, "127.0.0.1:5"},
	} {
		r := httptest.NewRequest("GET", "/api/v1/things/1", nil)
		r.RemoteAddr = c.peer
		for _, line := range c.forwarded {
			r.Header.Add("X-Forwarded-For", line)
		}
		from = ""
		s.ServeHTTP(httptest.NewRecorder(), r)
		if from != c.from {
			t.Errorf("%s: it comes from %q, not %q", c.name, from, c.from)
		}
	}
	if _, err := web.New(web.Options{DB: dbtest.Open(t), Proxies: []string{"the proxy"}}); !fault.Is(err, "configuration.proxy") {
		t.Error(err)
	}
}
