package web

import (
	"net"
	"net/http"
	"slices"

	"github.com/realclientip/realclientip-go"

	"flywheel.dev/flywheel/internal/fault"
)

// clients lets a request that a trusted proxy passes on come from the address of its client: in X-Forwarded-For, the
// last one that is no trusted proxy. Whoever else sends that header is not believed, or one client could pass for
// many where attempts to sign in are counted.
func clients(proxies []string) (func(http.Handler) http.Handler, error) {
	trusted, err := realclientip.AddressesAndRangesToIPNets(proxies...)
	if err != nil {
		return nil, fault.New(fault.Invalid, "configuration.proxy", "%q are not the addresses of proxies.", proxies).
			Do("Write addresses or ranges, for example 127.0.0.1 or 10.0.0.0/8.").Because(err)
	}
	forwarded, err := realclientip.NewRightmostTrustedRangeStrategy("X-Forwarded-For", trusted)
	if err != nil {
		return nil, err
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			host, _, err := net.SplitHostPort(r.RemoteAddr)
			peer := net.ParseIP(host)
			if err == nil && slices.ContainsFunc(trusted, func(n net.IPNet) bool { return n.Contains(peer) }) {
				// Without an address, or with none that can be read, it is the proxy's own request.
				if client := forwarded.ClientIP(r.Header, r.RemoteAddr); client != "" {
					r.RemoteAddr = net.JoinHostPort(client, "0")
				}
			}
			next.ServeHTTP(w, r)
		})
	}, nil
}
