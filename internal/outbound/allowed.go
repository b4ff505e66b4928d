package outbound

import (
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"flywheel.dev/flywheel/internal/fault"
)

// entry is one thing that an environment allows: a host, *.host, an address or a range, with a port or for all.
type entry struct {
	host   string // in lower case, with "*." in front where what lies below is meant
	prefix netip.Prefix
	port   uint16 // 0 is any
}

var hostRule = regexp.MustCompile(`^(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

func parse(text string) (entry, error) {
	wrong := fault.New(fault.Invalid, "outbound.entry", "%s is no host, address or range that an environment can allow.", quote(text)).
		Do("Write shop.example.com, *.example.com, 10.1.2.3, 10.1.0.0/16 or [2001:db8::1]:8443, each with :PORT where only one port is meant.")
	e, host := entry{}, text
	if h, port, err := net.SplitHostPort(text); err == nil {
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil || number == 0 {
			return e, wrong
		}
		host, e.port = h, uint16(number)
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if ip, err := netip.ParseAddr(host); err == nil && ip.Zone() == "" {
		ip = plain(ip)
		e.prefix = netip.PrefixFrom(ip, ip.BitLen())
	} else if prefix, err := netip.ParsePrefix(host); err == nil {
		e.prefix = prefix.Masked()
	} else if hostRule.MatchString(host) && len(host) <= 253 {
		e.host = host
		return e, nil
	} else {
		return e, wrong
	}
	if what := never(e.prefix.Addr()); what != "" && e.prefix.Bits() > 0 {
		return e, fault.New(fault.Invalid, "outbound.entry", "%s cannot be allowed: %s.", quote(text), what).Do("Leave it out.")
	}
	if e.prefix.Addr().IsLoopback() && e.port == 0 {
		return e, fault.New(fault.Invalid, "outbound.entry", "%s would open everything on the machine of Flywheel.", quote(text)).
			Do("Name the one port: %s:8080.", host)
	}
	return e, nil
}

// CheckAllowed returns a fault that says which entry of the list cannot be.
func CheckAllowed(list []string) error {
	if len(list) > 100 {
		return fault.New(fault.Invalid, "outbound.entries", "An environment allows at most 100 hosts, addresses and ranges.").Do("Use *.HOST or a range.")
	}
	for _, text := range list {
		if _, err := parse(text); err != nil {
			return err
		}
	}
	return nil
}

// names reports whether the entry is this host.
func (e entry) names(host string, port uint16) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if e.host == "" || e.port != 0 && e.port != port {
		return false
	}
	below, any := strings.CutPrefix(e.host, "*.")
	return !any && host == e.host || any && strings.HasSuffix(host, "."+below)
}

// holds reports whether the entry is this address, or a range with it. An address that is not public needs an entry
// that lies in the same private network itself: 0.0.0.0/0 is the public internet.
func (e entry) holds(to netip.AddrPort) bool {
	if e.host != "" || !e.prefix.Contains(to.Addr()) || e.port != 0 && e.port != to.Port() {
		return false
	}
	for _, r := range innerRanges {
		if inner := netip.MustParsePrefix(r.prefix); inner.Contains(to.Addr()) {
			return inner.Contains(e.prefix.Addr()) && e.prefix.Bits() >= inner.Bits()
		}
	}
	return !isOurs(to.Addr()) || e.prefix.IsSingleIP()
}
