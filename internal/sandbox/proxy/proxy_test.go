package proxy

import "testing"

func TestHostsAreMatchedWithTheirPort(t *testing.T) {
	p := &Proxy{Allow: []string{"proxy.golang.org", "*.npmjs.org", "mirror.corp:8443"}}
	for host, want := range map[string]bool{
		"proxy.golang.org:443": true, "PROXY.golang.org:443": true, "proxy.golang.org.:443": true,
		"proxy.golang.org:22": false, "evil-proxy.golang.org:443": false, "proxy.golang.org.evil.com:443": false,
		"registry.npmjs.org:443": true, "npmjs.org:443": false, "evilnpmjs.org:443": false,
		"mirror.corp:8443": true, "mirror.corp:443": false, "127.0.0.1:443": false, "[::1]:443": false,
	} {
		if got := p.allows(host, "443"); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
}
