package outbound

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/fault"
)

// guarded is a platform that listens on 127.0.0.1:7270 and on every address at 9090.
func guarded() *Guard {
	g := &Guard{}
	g.Protect(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7270})
	g.Protect(&net.TCPAddr{IP: net.IPv6unspecified, Port: 9090})
	g.Name("https://flywheel.example.com/")
	return g
}

func TestAURLIsRefusedAsItIsWritten(t *testing.T) {
	p := Policy{Guard: guarded(), Own: []string{"127.0.0.1:20001"}, Allowed: []string{"shop.example.com", "*.example.org", "127.0.0.1:8080", "10.1.0.0/16:443", "203.0.113.7", "0.0.0.0/0:8443"}}
	for url, why := range map[string]string{
		"http://127.0.0.1:20001/healthz": "",
		"http://127.0.0.1:8080":          "",
		"https://10.1.2.3/":              "",
		"http://203.0.113.7:81/":         "",
		"https://198.51.100.7:8443/":     "",
		"https://shop.example.com/":      "",
		"https://SHOP.example.COM.:444/": "",
		"https://a.b.example.org/":       "",

		"http://127.0.0.1:7270/":                 "Flywheel itself",
		"http://127.0.0.1:9090/metrics":          "Flywheel itself",
		"http://[::1]:9090/metrics":              "Flywheel itself",
		"http://flywheel.example.com/":           "Flywheel itself",
		"http://127.0.0.1:20002/":                "machine of Flywheel", // a neighbour
		"http://127.0.0.2:20001/":                "machine of Flywheel",
		"http://[::1]:20001/":                    "machine of Flywheel",
		"http://[::ffff:127.0.0.1]:7270/":        "Flywheel itself",
		"http://[::ffff:7f00:1]:7270/":           "Flywheel itself",
		"http://[::127.0.0.1]:7270/":             "hides another address",
		"http://[64:ff9b::7f00:1]:7270/":         "Flywheel itself",
		"http://[64:ff9b::a9fe:a9fe]/":           "link-local",
		"http://[64:ff9b:1::a9fe:a9fe]/":         "hides another address",
		"http://[2002:a9fe:a9fe::1]/":            "link-local",
		"http://[2001:0:a9fe:a9fe::1]/":          "hides another address",
		"http://0.0.0.0:7270/":                   "this machine",
		"http://[::]:7270/":                      "hides another address",
		"http://0:7270/":                         "four decimal numbers",
		"http://2130706433:7270/":                "four decimal numbers",
		"http://0x7f000001:7270/":                "four decimal numbers",
		"http://0x7f.0.0.1:7270/":                "four decimal numbers",
		"http://0177.0.0.1:7270/":                "four decimal numbers",
		"http://127.1:7270/":                     "four decimal numbers",
		"http://127.0.0.1.:7270/":                "four decimal numbers",
		"http://169.254.169.254/latest/":         "link-local",
		"http://[fe80::1]/":                      "link-local",
		"http://[fe80::1%25eth0]/":               "link-local",
		"http://[fd00:ec2::254]/":                "credentials",
		"http://[fd00:ec2::23]/v1/credentials":   "credentials",
		"http://[fd20:ce::254]/":                 "credentials",
		"http://[FD00:C1::169.254.169.254]/":     "credentials",
		"http://[fd00:42:0:0::42]/":              "credentials",
		"http://168.63.129.16/":                  "settings",
		"http://192.0.0.192/":                    "network itself",
		"http://[::ffff:0:127.0.0.1]:7270/":      "hides another address",
		"http://[::ffff:0:a9fe:a9fe]/":           "hides another address",
		"http://[64:ff9b::192.168.1.1]:8443/":    "private",
		"http://flywheel.example.com.:443/":      "Flywheel itself",
		"http://127.0.0.1%00.shop.example.com/":  "not a URL",
		"http://1.0x7f/":                         "four decimal numbers",
		"http://１２７.0.0.1:20001/":                "four decimal numbers",
		"http://100.100.100.200/":                "credentials",
		"http://10.1.2.3/":                       "private", // another port
		"http://10.2.0.1:8443/":                  "private", // 0.0.0.0/0 is the public internet
		"http://192.168.1.1:8443/":               "private",
		"http://[fd12::1]/":                      "private",
		"http://224.0.0.1/":                      "group",
		"http://255.255.255.255/":                "no machine's",
		"http://8.8.8.8/":                        "does not allow it",
		"http://localhost:7270/":                 "", // a name: what it leads to is known at the connection
		"http://127.0.0.1:20001@127.0.0.1:7270/": "names a user",
		"http://shop.example.com:pass@evil/":     "names a user",
		"http://127.0.0.1:20001#@evil/":          "",
		"file:///etc/passwd":                     "only http",
		"gopher://127.0.0.1:20001/":              "only http",
		"unix:///run/docker.sock":                "only http",
		"javascript:alert(1)":                    "only http",
		"http:127.0.0.1:20001":                   "names no host",
		"http:///healthz":                        "names no host",
		"http://127.0.0.1:0/":                    "port",
		"http://127.0.0.1:99999/":                "port",
		"http://127.0.0.1:20001\r\nHost: x/":     "not a URL",
		"http://127.0.0.1\\@evil/":               "not a URL",
		"//127.0.0.1:20001/":                     "only http",
		"":                                       "only http",
	} {
		_, err := p.Check(url)
		switch {
		case why == "" && err != nil:
			t.Errorf("%s is refused: %v", url, err)
		case why != "" && (!fault.Is(err, "outbound.refused") || !strings.Contains(err.Error(), why)):
			t.Errorf("%s: %v; want %q", url, err, why)
		}
	}
	if _, err := (Policy{Own: []string{"127.0.0.1:20001"}}).Check("http://127.0.0.1:20001/"); err == nil {
		t.Error("a policy that does not know the platform lets something pass")
	}
	if _, err := (Policy{Guard: guarded(), Allowed: []string{"shop.example.com"}}).Check("http://localhost:20001/"); err == nil {
		t.Error("a name that nobody allows passes where no range is allowed")
	}
}

// A name may be resolved to something else each time: what counts is where the connection goes.
func TestAnAddressIsDecidedAboutWhenItIsConnectedTo(t *testing.T) {
	p := Policy{Guard: guarded(), Own: []string{"127.0.0.1:20001"}, Allowed: []string{"shop.example.com", "10.1.0.0/16", "127.0.0.1:8080"}}
	for address, why := range map[string]string{
		"203.0.113.7:80":              "",
		"127.0.0.1:20001":             "",
		"127.0.0.1:8080":              "",
		"10.1.2.3:443":                "",
		"10.2.2.3:443":                "private",
		"172.16.0.1:80":               "private",
		"100.64.0.1:80":               "private",
		"[fd12::1]:80":                "private",
		"127.0.0.1:7270":              "Flywheel itself",
		"127.0.0.1:9090":              "Flywheel itself",
		"[::1]:9090":                  "Flywheel itself",
		"[::ffff:127.0.0.1]:7270":     "Flywheel itself",
		"127.0.0.1:22":                "machine of Flywheel",
		"169.254.169.254:80":          "link-local",
		"[::ffff:169.254.169.254]:80": "link-local",
		"[64:ff9b::10.2.0.1]:80":      "private",
		"[fe80::1%eth0]:80":           "link-local",
		"0.0.0.0:20001":               "this machine",
	} {
		err := p.connect("shop.example.com", true, netip.MustParseAddrPort(address))
		if why == "" && err != nil || why != "" && (err == nil || !strings.Contains(err.Error(), why)) {
			t.Errorf("shop.example.com at %s: %v; want %q", address, err, why)
		}
	}
}

func TestAConnectionIsRefusedBeforeTheOtherSideSeesIt(t *testing.T) {
	asked := make(chan string, 10)
	secret := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		io.WriteString(w, "the platform's own")
	}))
	defer secret.Close()
	host := secret.Listener.Addr().String()
	_, port, _ := net.SplitHostPort(host)
	elsewhere := httptest.NewServer(http.RedirectHandler(secret.URL, http.StatusFound))
	defer elsewhere.Close()
	g := &Guard{}
	g.Protect(secret.Listener.Addr())
	p := Policy{Guard: g, Own: []string{elsewhere.Listener.Addr().String(), host}, Allowed: []string{"localhost", "127.0.0.0/8:" + port}}

	for _, url := range []string{secret.URL, "http://localhost:" + port, "http://[::ffff:127.0.0.1]:" + port} {
		_, err := p.Client(time.Minute).Get(url)
		var refused *fault.Fault
		if !errors.As(err, &refused) || !strings.Contains(refused.Error(), "Flywheel itself") {
			t.Errorf("%s: %v", url, err)
		}
	}
	response, err := p.Client(time.Minute).Get(elsewhere.URL)
	if err != nil || response.StatusCode != http.StatusFound {
		t.Fatalf("its own address answers %v, %v", response, err)
	}
	response.Body.Close()
	t.Setenv("HTTP_PROXY", secret.URL) // the environment's proxy is asked for nothing
	if response, err = p.Client(time.Minute).Get(elsewhere.URL); err != nil || response.StatusCode != http.StatusFound {
		t.Fatalf("its own address answers %v, %v", response, err)
	}
	response.Body.Close()
	select {
	case path := <-asked:
		t.Errorf("the platform was asked for %s", path)
	default:
	}
	at, err := p.Check(elsewhere.URL)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := at.Dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestAnEnvironmentAllowsHostsAddressesAndRanges(t *testing.T) {
	for entry, ok := range map[string]bool{
		"shop.example.com": true, "shop.example.com:8443": true, "*.example.com": true, "SHOP.example.com": true, "intranet": true,
		"10.1.2.3": true, "10.0.0.0/8": true, "10.0.0.0/8:443": true, "0.0.0.0/0": true, "::/0": true, "[2001:db8::1]:8443": true, "2001:db8::/32": true,
		"127.0.0.1:8080": true, "[::1]:8080": true, "127.0.0.0/8:8080": true,

		"": false, "*": false, "*.": false, "http://shop.example.com": false, "shop.example.com/path": false, "user@host": false, "a b": false,
		"127.0.0.1": false, "127.0.0.0/8": false, "::1": false, "::ffff:127.0.0.1": false, "0.0.0.0": false, "169.254.169.254": false, "169.254.0.0/16": false,
		"fe80::1": false, "fe80::1%eth0": false, "224.0.0.1": false, "shop.example.com:0": false, "shop.example.com:99999": false, "10.0.0.0/33": false,
		"2130706433": false, "0x7f.1": false, "127.1": false, "-x.example.com": false, "ex*mple.com": false, "sh\x00op": false, "shop\u200b.example.com": false,
	} {
		if err := CheckAllowed([]string{entry}); (err == nil) != ok {
			t.Errorf("%q: %v", entry, err)
		}
	}
	if CheckAllowed(make([]string, 101)) == nil {
		t.Error("a list without end is allowed")
	}
}
