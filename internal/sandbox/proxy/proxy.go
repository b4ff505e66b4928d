// Package proxy is the way out of a sandbox that may fetch from listed hosts and from no others. It stands apart
// from package sandbox because net/http is late among the packages that start with the binary.
package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Proxy lets a command fetch from listed hosts and no others. One Proxy may serve many commands.
type Proxy struct {
	// Allow are names of hosts, "example.org" or "*.example.org", with ":port" where the port is not 443
	// for a tunnel or 80 for plain HTTP.
	Allow []string
	// Upstream is the HTTP proxy that leads out, where the host has no direct way. It is the platform's
	// setting: no environment variable is read.
	Upstream *url.URL

	mu      sync.Mutex
	refused []string
}

// Refused returns the hosts that were asked for and are not allowed, each once, in order. A tool that was
// refused often only says "Forbidden", so its log should end with these.
func (p *Proxy) Refused() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.refused)
}

// Serve answers on a port inside until it is closed.
func (p *Proxy) Serve(l net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // tunnels end too
	server := &http.Server{Handler: p, ReadHeaderTimeout: 30 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	defer server.Close()
	server.Serve(l)
}

// ServeHTTP answers CONNECT and plain requests to absolute URLs.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	port := "80"
	if r.Method == http.MethodConnect {
		port = "443"
	}
	host := r.URL.Host
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(strings.Trim(host, "[]"), port)
	}
	switch {
	case r.URL.Host == "" || r.Method != http.MethodConnect && r.URL.Scheme != "http":
		http.Error(w, "This is a proxy.", http.StatusBadRequest)
	case !p.allows(host, port):
		p.refuse(host)
		http.Error(w, fmt.Sprintf("The host %s is not among those this command may fetch from.", host), http.StatusForbidden)
	case r.Method == http.MethodConnect:
		p.tunnel(w, r, host)
	default:
		p.relay(w, r)
	}
}

func (p *Proxy) allows(address, defaultPort string) bool {
	host, port, _ := net.SplitHostPort(address)
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return slices.ContainsFunc(p.Allow, func(pattern string) bool {
		name, allowedPort, err := net.SplitHostPort(pattern)
		if err != nil {
			name, allowedPort = pattern, defaultPort
		}
		if suffix, ok := strings.CutPrefix(name, "*"); ok {
			return port == allowedPort && strings.HasSuffix(host, strings.ToLower(suffix))
		}
		return port == allowedPort && host == strings.ToLower(name)
	})
}

func (p *Proxy) refuse(host string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.refused, host) && len(p.refused) < 100 {
		p.refused = append(p.refused, host)
	}
}

func (p *Proxy) tunnel(w http.ResponseWriter, r *http.Request, host string) {
	out, err := p.dial(r.Context(), host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer out.Close()
	in, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer in.Close()
	defer context.AfterFunc(r.Context(), func() { in.Close(); out.Close() })()
	io.WriteString(in, "HTTP/1.1 200 Connection established\r\n\r\n")
	var both sync.WaitGroup
	both.Go(func() {
		if n := buffered.Reader.Buffered(); n > 0 {
			io.CopyN(out, buffered, int64(n))
		}
		pass(out, in)
	})
	both.Go(func() { pass(in, out) })
	both.Wait()
}

// dial connects to a host, through the upstream proxy where there is one.
func (p *Proxy) dial(ctx context.Context, host string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: 30 * time.Second}
	if p.Upstream == nil {
		return dialer.DialContext(ctx, "tcp", host)
	}
	conn, err := dialer.DialContext(ctx, "tcp", p.Upstream.Host)
	if err != nil {
		return nil, err
	}
	ask := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: host}, Host: host, Header: http.Header{}}
	if user := p.Upstream.User; user != nil {
		password, _ := user.Password()
		r := &http.Request{Header: http.Header{}}
		r.SetBasicAuth(user.Username(), password)
		ask.Header.Set("Proxy-Authorization", r.Header.Get("Authorization"))
	}
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	err = ask.Write(conn)
	if err == nil {
		var answer *http.Response
		// One byte at a time: what follows the answer belongs to the tunnel.
		//nolint:bodyclose // closing the body would read what belongs to the tunnel
		if answer, err = http.ReadResponse(bufio.NewReaderSize(oneByte{conn}, 16), ask); err == nil && answer.StatusCode != http.StatusOK {
			err = fmt.Errorf("the outer proxy answered %s", answer.Status)
		}
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	conn.SetDeadline(time.Time{})
	return conn, nil
}

type oneByte struct{ io.Reader }

func (o oneByte) Read(b []byte) (int, error) { return o.Reader.Read(b[:1]) }

// relay passes on a plain request.
func (p *Proxy) relay(w http.ResponseWriter, r *http.Request) {
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	if p.Upstream != nil {
		transport.Proxy = http.ProxyURL(p.Upstream)
	}
	out := r.Clone(r.Context())
	out.RequestURI = ""
	for _, name := range []string{"Connection", "Proxy-Connection", "Proxy-Authorization", "Keep-Alive", "Te", "Trailer", "Upgrade"} {
		out.Header.Del(name)
	}
	answer, err := transport.RoundTrip(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.StatusCode)
	io.Copy(w, answer.Body)
}

// pass copies one direction of a connection, and its end: a clean one lets the other direction go on.
func pass(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		from.Close()
		return
	}
	to.(interface{ CloseWrite() error }).CloseWrite()
}
