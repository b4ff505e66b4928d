// Package outbound holds every connection that Flywheel makes because a pattern, an app or a user named an address:
// probes, smoke tests, and what comes later, such as webhooks and checks of links. What the operator configures, for
// example a mirror or a database, does not pass here.
//
// Two things may be reached: the instance's own addresses, as its agent knows them, and what its environment allows
// (Allowed, kept by the Center of Excellence). The answer is given twice: for the address as it is written, so that a refusal is a
// sentence, and for each address that is then connected to, after its name was resolved. Only the second holds: a name
// may lead elsewhere a moment later. Redirects are never followed, and no proxy of the environment is asked.
package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/fault"
)

// Guard knows the listeners of this platform, which nobody reaches through it, whatever an environment allows.
type Guard struct {
	platform []netip.AddrPort
	hosts    []string
}

// Name adds the host of a URL under which the platform is known, such as that of a proxy in front of it.
func (g *Guard) Name(publicURL string) {
	if u, err := url.Parse(publicURL); err == nil && u.Hostname() != "" {
		g.hosts = append(g.hosts, strings.TrimSuffix(strings.ToLower(u.Hostname()), "."))
	}
}

func (g *Guard) names() []string {
	if g == nil {
		return nil
	}
	return g.hosts
}

// Protect adds a listener of the platform. It is called before the guard is used.
func (g *Guard) Protect(listener net.Addr) {
	if tcp, ok := listener.(*net.TCPAddr); ok {
		g.platform = append(g.platform, tcp.AddrPort())
	}
}

// Policy says what may be reached for one instance.
type Policy struct {
	Guard   *Guard
	Own     []string // host:port of the instance's own addresses
	Allowed []string // what the environment allows, see CheckAllowed
}

// Target is a URL that the policy lets pass.
type Target struct {
	URL    *url.URL
	policy Policy
}

// refused is the fault of an address that may not be reached.
func refused(where, format string, args ...any) *fault.Fault {
	return fault.New(fault.Conflict, "outbound.refused", "Flywheel does not connect to %s: %s.", where, fmt.Sprintf(format, args...)).
		Do("Use an address of the instance itself; or let the Center of Excellence allow this one: `flywheel environment update ENVIRONMENT --reach HOST`.")
}

// Check reads a URL and refuses what can never be reached. Whether its host leads to an address that may be is
// known when it is connected to.
func (p Policy) Check(text string) (Target, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return Target{}, refused(quote(text), "it is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return Target{}, refused(quote(text), "only http and https are spoken")
	case u.User != nil:
		return Target{}, refused(u.Redacted(), "it names a user, which hides the host")
	case u.Opaque != "" || u.Hostname() == "":
		return Target{}, refused(quote(text), "it names no host")
	}
	port := uint64(80)
	if u.Scheme == "https" {
		port = 443
	}
	if u.Port() != "" {
		if port, err = strconv.ParseUint(u.Port(), 10, 16); err != nil || port == 0 {
			return Target{}, refused(quote(text), "it has no port from 1 to 65535")
		}
	}
	if _, err := p.host(u.Hostname(), uint16(port)); err != nil {
		return Target{}, err
	}
	return Target{u, p}, nil
}

// Address is the host and the port, which is there also where the URL leaves it out.
func (t Target) Address() string {
	port := t.URL.Port()
	if port == "" && t.URL.Scheme == "https" {
		port = "443"
	}
	if port == "" {
		port = "80"
	}
	return net.JoinHostPort(t.URL.Hostname(), port)
}

// Dial connects to the target, with TLS where its URL is https.
func (t Target) Dial(ctx context.Context) (net.Conn, error) {
	conn, err := t.policy.DialContext(ctx, "tcp", t.Address())
	if err != nil || t.URL.Scheme != "https" {
		return conn, err
	}
	secured := tls.Client(conn, &tls.Config{ServerName: t.URL.Hostname()})
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secured, nil
}

// Client returns a client that only connects where the policy allows, follows nothing and asks no proxy.
func (p Policy) Client(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout:       timeout,
		Transport:     &http.Transport{DialContext: p.DialContext, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// DialContext connects to host:port if the policy allows the host, and then each address that it resolves to.
func (p Policy) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	name, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, refused(quote(address), "it names no host and port")
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || network != "tcp" {
		return nil, refused(quote(address), "it has no port from 1 to 65535")
	}
	named, err := p.host(name, uint16(port))
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: func(_, resolved string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(resolved)
		if err != nil {
			return refused(quote(resolved), "it is no address")
		}
		return p.connect(name, named, to)
	}}
	conn, err := dialer.DialContext(ctx, network, address)
	var known *fault.Fault
	if errors.As(err, &known) {
		return nil, known
	}
	return conn, err
}

// host checks a host as it is written, and reports whether an entry of the environment names it.
func (p Policy) host(name string, port uint16) (named bool, err error) {
	where := net.JoinHostPort(name, strconv.Itoa(int(port)))
	if ip, err := netip.ParseAddr(name); err == nil {
		return false, p.connect(name, false, netip.AddrPortFrom(ip, port))
	}
	labels := strings.Split(strings.TrimSuffix(strings.ToLower(name), "."), ".")
	if last := labels[len(labels)-1]; last == "" || strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return false, refused(where, "an address is written as four decimal numbers, or as IPv6") // 2130706433, 0x7f.1, 127.1
	}
	if slices.Contains(p.Guard.names(), strings.Join(labels, ".")) {
		return false, refused(where, "that is Flywheel itself")
	}
	ranges := false
	for _, text := range p.Allowed {
		e, err := parse(text)
		if err == nil && e.names(name, port) {
			return true, nil
		}
		ranges = ranges || err == nil && e.host == ""
	}
	if !ranges { // else what it resolves to may be in one of them
		return false, refused(where, "it is no address of the instance, and the environment does not allow it")
	}
	return false, nil
}

// connect decides about an address itself, just before it is connected to.
func (p Policy) connect(name string, named bool, to netip.AddrPort) error {
	ip := plain(to.Addr())
	to = netip.AddrPortFrom(ip, to.Port())
	where := to.String()
	if name != ip.String() {
		where = fmt.Sprintf("%s, which is %s", net.JoinHostPort(name, strconv.Itoa(int(to.Port()))), to)
	}
	switch {
	case p.Guard == nil:
		return refused(where, "nobody said what the platform's own listeners are")
	case p.Guard.listens(to):
		return refused(where, "that is Flywheel itself")
	case p.owns(to):
		return nil
	case never(ip) != "":
		return refused(where, "%s", never(ip))
	}
	allowed := slices.ContainsFunc(p.Allowed, func(text string) bool { e, err := parse(text); return err == nil && e.holds(to) })
	switch {
	case allowed:
		return nil
	case isInner(ip) != "":
		return refused(where, "%s, and no entry of the environment names this very address or a range inside it", isInner(ip))
	case isOurs(ip):
		return refused(where, "that is the machine of Flywheel")
	case named:
		return nil
	}
	return refused(where, "it is no address of the instance, and the environment does not allow it")
}

func (p Policy) owns(to netip.AddrPort) bool {
	return slices.ContainsFunc(p.Own, func(text string) bool {
		own, err := netip.ParseAddrPort(text)
		return err == nil && own == to
	})
}

// listens reports whether a listener of the platform answers there.
func (g *Guard) listens(to netip.AddrPort) bool {
	return slices.ContainsFunc(g.platform, func(own netip.AddrPort) bool {
		here := own.Addr().Unmap()
		return own.Port() == to.Port() && (here == to.Addr() || here.IsUnspecified() && (to.Addr().IsLoopback() || to.Addr().IsUnspecified() || isOurs(to.Addr())))
	})
}

// isOurs reports whether an interface of this machine has the address.
func isOurs(ip netip.Addr) bool {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return true // nobody can tell
	}
	return slices.ContainsFunc(addresses, func(a net.Addr) bool {
		own, err := netip.ParsePrefix(a.String())
		return err == nil && own.Addr().Unmap() == ip
	})
}

// plain returns the IPv4 address that is meant where IPv6 only carries it: mapped, by NAT64 or by 6to4.
func plain(ip netip.Addr) netip.Addr {
	ip = ip.WithZone("").Unmap()
	b := ip.As16()
	switch {
	case ip.Is4():
	case netip.MustParsePrefix("64:ff9b::/96").Contains(ip):
		return netip.AddrFrom4([4]byte(b[12:16]))
	case netip.MustParsePrefix("2002::/16").Contains(ip):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return ip
}

// ranges that are never reached, whoever allows them.
var neverRanges = []struct{ prefix, what string }{
	{"0.0.0.0/8", "that is this machine"},
	{"169.254.0.0/16", "that is a link-local address, where clouds tell machines their credentials"},
	{"192.0.0.0/24", "that is an address of the network itself"},
	{"224.0.0.0/4", "that is a group of machines"},
	{"240.0.0.0/4", "that is no machine's address"},
	{"100.100.100.200/32", "that is where a cloud tells machines their credentials"},
	{"168.63.129.16/32", "that is where a cloud tells machines their settings"},
	{"fd00:ec2::/32", "that is where a cloud tells machines their credentials"},
	{"fd20:ce::254/128", "that is where a cloud tells machines their credentials"},
	{"fd00:c1::a9fe:a9fe/128", "that is where a cloud tells machines their credentials"},
	{"fd00:42::42/128", "that is where a cloud tells machines their credentials"},
	{"fe80::/10", "that is a link-local address"},
	{"fec0::/10", "that is a link-local address"},
	{"ff00::/8", "that is a group of machines"},
	{"64:ff9b:1::/48", "it hides another address"},
	{"2001::/32", "it hides another address"},
	{"::/96", "it hides another address"},
	{"::ffff:0:0:0/96", "it hides another address"},
}

func never(ip netip.Addr) string {
	if ip == netip.IPv6Loopback() {
		return ""
	}
	for _, r := range neverRanges {
		if netip.MustParsePrefix(r.prefix).Contains(ip) {
			return r.what
		}
	}
	return ""
}

// innerRanges are networks that are not public: only an entry that lies in the same one opens them.
var innerRanges = []struct{ prefix, what string }{
	{"127.0.0.0/8", "that is the machine of Flywheel"},
	{"::1/128", "that is the machine of Flywheel"},
	{"10.0.0.0/8", "that is a private address"},
	{"172.16.0.0/12", "that is a private address"},
	{"192.168.0.0/16", "that is a private address"},
	{"100.64.0.0/10", "that is a private address"},
	{"198.18.0.0/15", "that is a private address"},
	{"fc00::/7", "that is a private address"},
}

func isInner(ip netip.Addr) string {
	for _, r := range innerRanges {
		if netip.MustParsePrefix(r.prefix).Contains(ip) {
			return r.what
		}
	}
	return ""
}

func quote(text string) string {
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	return strconv.Quote(text)
}
