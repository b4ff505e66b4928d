package local

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// anyProcess is what stands behind a proxy in these tests: whoever connects to it is handed over.
func anyProcess(t *testing.T) (address string, came chan net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	came = make(chan net.Conn, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			came <- c
		}
	}()
	return l.Addr().String(), came
}

// behind puts a proxy in front of the process: on a port as for clients, or on a socket as for services of the instance.
func behind(t *testing.T, address, network string, trusted ...netip.Prefix) (dial func() net.Conn, f *front) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	p := &proxy{}
	b := newBackend(func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "tcp", address) }, log)
	p.replace([]*backend{b})
	p.setReady(b, true)
	at := "127.0.0.1:0"
	if network == "unix" {
		at = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, at)
	must(t, err)
	f = serveFront(l, func() *proxy { return p }, trusted, log)
	t.Cleanup(func() { f.stop(0) })
	return func() net.Conn {
		c, err := net.Dial(network, l.Addr().String())
		must(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}, f
}

func next(t *testing.T, came chan net.Conn) net.Conn {
	t.Helper()
	select {
	case c := <-came:
		t.Cleanup(func() { c.Close() })
		return c
	case <-time.After(time.Minute):
		t.Fatal("nobody came")
		return nil
	}
}

// reads returns what a side gets: as much as is expected, or what came before the end.
func reads(t *testing.T, c net.Conn, n int) string {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(time.Minute))
	got := make([]byte, n)
	k, err := io.ReadFull(c, got)
	if err != nil {
		t.Errorf("after %q: %v", tail(string(got[:k])), err)
	}
	return string(got[:k])
}

func tail(text string) string { return text[max(0, len(text)-300):] }

// The same bytes are sent to the process itself and through the proxy, and both sides must get what they get
// directly. A step that begins with "> " is what the client sends, one with "< " what the process does; the end of a side is "> end" or
// "< end", and "next" is another request on the client's connection.
func TestTheProxyPassesOnEveryByteAsItCame(t *testing.T) {
	large := strings.Repeat("x", 300<<10)
	ok := "< HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for name, steps := range map[string][]string{
		"a query with semicolons":              {"> GET /a;b?x=1;y=2&z=%3B HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"bad escapes":                          {"> GET /%zz%?q=%g&%=%% HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"an encoded slash":                     {"> GET /a%2Fb/..%2f/%2e%2e/ HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"double slashes and dots":              {"> GET //a//b/../c/./ HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"a question mark and no query":         {"> GET /? HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"bytes above 127":                      {"> GET /\xc3\xa4\xff HTTP/1.1\r\nHost: h\r\nX-N: \xff\r\n\r\n", ok},
		"an absolute form":                     {"> GET http://other.example:8080/a%2Fb//c?x;y HTTP/1.1\r\nHost: other.example:8080\r\n\r\n", ok},
		"an asterisk":                          {"> OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"an empty host":                        {"> GET / HTTP/1.1\r\nHost:\r\n\r\n", ok},
		"no host":                              {"> GET / HTTP/1.0\r\n\r\n", ok, "< end"},
		"a fragment":                           {"> GET /a#b?c=%23#d HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"brackets, quotes and pipes":           {"> GET /a[0]|{b}\"<c>`^\\?d[]=[1]&e='f' HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"question marks in a query":            {"> GET /a?b?c=?&&=&;;d HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"a host of IPv6":                       {"> GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", ok},
		"a host with a dot at its end":         {"> GET / HTTP/1.1\r\nhOST: Shop.Example.:080\r\n\r\n", ok},
		"a method of its own":                  {"> m-SEARCH / HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"empty values":                         {"> GET / HTTP/1.1\r\nHost: h\r\nA:\r\nA: \r\nA:\t\r\nCookie:\r\n\r\n", "< HTTP/1.1 200 OK\r\nB:\r\nB:  \r\nSet-Cookie:\r\nContent-Length: 0\r\n\r\n"},
		"names that are listed":                {"> GET / HTTP/1.1\r\nHost: h\r\nConnection: X-Forwarded-For, Cookie, close\r\nCookie: a=b\r\n\r\n", "< HTTP/1.1 200 OK\r\nConnection: Set-Cookie\r\nSet-Cookie: a\r\nContent-Length: 0\r\n\r\n"},
		"the same length twice":                {"> POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi", ok},
		"a GET with a body":                    {"> GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi", ok, "next", "> DELETE / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", ok},
		"an answer of HTTP/1.0":                {"> GET / HTTP/1.1\r\nHost: h\r\n\r\n", "< HTTP/1.0 200 OK\r\n\r\nhi", "< end"},
		"a status without a reason":            {"> GET / HTTP/1.1\r\nHost: h\r\n\r\n", "< HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"},
		"205 with a length":                    {"> GET / HTTP/1.1\r\nHost: h\r\n\r\n", "< HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", "next", "> GET / HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"a folded header of an answer":         {"> GET / HTTP/1.1\r\nHost: h\r\n\r\n", "< HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n"},
		"an answer coded twice":                {"> GET / HTTP/1.1\r\nHost: h\r\nTE: gzip\r\n\r\n", "< HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n\x1f\x8b\r\n0\r\n\r\n", "next", "> GET / HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"an answer that is not coded":          {"> GET / HTTP/1.1\r\nHost: h\r\n\r\n", "< HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhi", "< end"},
		"an empty line before":                 {"> GET / HTTP/1.1\r\nHost: h\r\n\r\n", ok, "next", "> GET / HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"a lasting 100":                        {"> GET / HTTP/1.1\r\nHost: h\r\n\r\n", "< HTTP/1.1 100 Continue\r\n\r\n", "< HTTP/1.1 199 Whatever\r\nA: b\r\n\r\n", ok, "next", "> GET / HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"a refused invitation, then the body":  {"> POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", "> hi", ok, "next", "> GET / HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"a tunnel that the process ends first": {"> GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: foo/2, bar\r\n\r\n", "< HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: bar\r\n\r\nhi", "> \x00\xff", "< bye", "< end"},
		"a web socket that ends":               {"> GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "< HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi", "< end"},
		"an upgrade with a body":               {"> POST / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: foo\r\nContent-Length: 2\r\n\r\nhi", "< HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n", "> more", "< rest", "> end", "< end"},
		"a CONNECT that is refused":            {"> CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "< HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n", "next", "> GET / HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"trailers of many lines":               {"> GET / HTTP/1.1\r\nHost: h\r\n\r\n", "< HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("Grpc-Status: 0\r\n", 500) + "\r\n", "next", "> GET / HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"a chunk of hexadecimal zeros":         {"> POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0000000002  \r\nhi\r\n000;x=\"y\"\r\n\r\n", ok},
		"order and case of headers":            {"> GET / HTTP/1.1\r\nzZ-b: 2\r\nhost: h\r\nAccept:*/*\r\nzZ-b:   1  \r\nX_y: \r\n\r\n", "< HTTP/1.1 200 Yes Really\r\nsErVer: me\r\nset-cookie: a\r\nSet-Cookie: b\r\ncontent-length: 0\r\n\r\n"},
		"forwarding headers of an app":         {"> GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-Proto: https\r\n\r\n", ok},
		"hop-by-hop headers":                   {"> GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-A\r\nX-A: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Connection: x\r\nProxy-Authorization: y\r\n\r\n", ok},
		"no type, no date, no length":          {"> GET / HTTP/1.1\r\nHost: h\r\n\r\n", "< HTTP/1.1 200 OK\r\n\r\n<html>", "< end"},
		"no reason":                            {"> GET / HTTP/1.1\r\nHost: h\r\n\r\n", "< HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n"},
		"compressed as it is":                  {"> GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n", "< HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"},
		"HEAD with a length":                   {"> HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "< HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", "next", "> GET / HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"HEAD of a chunked page":               {"> HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "< HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "next", "> GET / HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"nothing changed":                      {"> GET / HTTP/1.1\r\nHost: h\r\n\r\n", "< HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n", "next", "> GET / HTTP/1.1\r\nHost: h\r\n\r\n", "< HTTP/1.1 204 No Content\r\n\r\n", "next", "> GET / HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"a body with a length":                 {"> POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhel", "> lo", ok, "next", "> PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", ok},
		"a large body":                         {"> POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " + fmt.Sprint(len(large)) + "\r\n\r\n" + large, "< HTTP/1.1 200 OK\r\nContent-Length: " + fmt.Sprint(len(large)) + "\r\n\r\n" + large},
		"chunks with extensions and trailers": {"> POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5;a=b\r\nhello\r\n", "> 00A\r\n0123456789\r\n", "> 0\r\nX-Sum: 1\r\n\r\n",
			"< HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n", "< 3;q\r\nabc\r\n", "< 0;last\r\nx-sum: 2\r\n\r\n", "next", "> GET / HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"events as they come":         {"> GET /events HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n", "< HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", "< data: 1\n\n", "< d", "< ata: 2\n\n", "< end"},
		"chunked events as they come": {"> GET /events HTTP/1.1\r\nHost: h\r\n\r\n", "< HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "< 9\r\ndata: 1\n\n", "< \r\n3", "< \r\nabc\r\n", "> end"},
		"an invitation to send":       {"> POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", "< HTTP/1.1 100 Continue\r\nX-A: b\r\n\r\n", "> hi", ok, "next", "> GET / HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"no invitation":               {"> POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", "< HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "< end"},
		"early hints":                 {"> GET / HTTP/1.1\r\nHost: h\r\n\r\n", "< HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "< HTTP/1.1 102 Processing\r\n\r\n", ok},
		"an answer before the body":   {"> POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab", "< HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", "> cd", "next", "> GET / HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"a web socket":                {"> GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: k\r\n\r\n", "< HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x02hi", "> \x81\x85mask\x00\x01\x02\x03\x04", "< \x88\x00", "> \x88\x80mask", "< end"},
		"a refused web socket":        {"> GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "< HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno", "next", "> GET / HTTP/1.1\r\nHost: h\r\n\r\n", ok},
		"a tunnel":                    {"> CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "< HTTP/1.1 200 OK\r\n\r\n", "> one\x00", "< two\xff", "> end", "< three", "< end"},
		"headers of 600 kB":           {"> GET / HTTP/1.1\r\nHost: h\r\nX-Large: " + strings.Repeat("y", 600<<10) + "\r\n\r\n", "< HTTP/1.1 200 OK\r\nX-Large: " + strings.Repeat("z", 600<<10) + "\r\nContent-Length: 0\r\n\r\n"},
		"many headers":                {"> GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("A: b\r\n", 5000) + "\r\n", ok},
		"lines that end in LF alone":  {"> GET / HTTP/1.1\r\nHost: h\r\n\r\n", "< HTTP/1.1 200 OK\nContent-Length: 2\n\nok"},
		"the end of a connection":     {"> GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "< HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "< end"},
		"a client that says no more":  {"> GET / HTTP/1.1\r\nHost: h\r\n\r\n", "> end", ok},
		"HTTP/1.0 that goes on":       {"> GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "< HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", "next", "> GET / HTTP/1.0\r\n\r\n", "< HTTP/1.0 200 OK\r\n\r\nbye", "< end"},
	} {
		for _, way := range []string{"directly", "through the proxy"} {
			t.Run(name+" "+way, func(t *testing.T) {
				address, came := anyProcess(t)
				var client net.Conn
				if way == "directly" {
					var err error
					client, err = net.Dial("tcp", address)
					must(t, err)
					defer client.Close()
				} else {
					dial, _ := behind(t, address, "unix")
					client = dial()
				}
				var server net.Conn
				for _, step := range steps {
					if step == "next" {
						if way != "directly" {
							server = nil // each request has a connection of its own to the process
						}
						continue
					}
					who, text, _ := strings.Cut(step, " ")
					if who == ">" && text == "end" {
						halfClose(client)
						if got := reads(t, server, 0); got != "" {
							t.Errorf("the process got %q", got)
						}
						continue
					}
					if who == ">" {
						_, err := io.WriteString(client, text)
						must(t, err)
						if server == nil {
							server = next(t, came)
						}
						if got := reads(t, server, len(text)); got != text {
							t.Fatalf("the process got %q\nand not %q", tail(got), tail(text))
						}
						continue
					}
					if text == "end" {
						server.Close()
						client.SetReadDeadline(time.Now().Add(time.Minute))
						if rest, err := io.ReadAll(client); err != nil || len(rest) > 0 {
							t.Errorf("after the end the client got %q, %v", rest, err)
						}
						continue
					}
					go io.WriteString(server, text)
					if got := reads(t, client, len(text)); got != text {
						t.Fatalf("the client got %q\nand not %q", tail(got), tail(text))
					}
				}
			})
		}
	}
}

func TestWhoIsInFrontIsBelievedOnlyOfATrustedProxy(t *testing.T) {
	own := "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: shop.example.com\r\nX-Forwarded-Proto: http\r\n"
	for name, tt := range map[string]struct{ trusted, sent, got string }{
		"nothing was said":          {"", "A: b\r\n", "A: b\r\n" + own},
		"a stranger says something": {"", "X-Forwarded-For: 10.0.0.1\r\nA: b\r\nx-forwarded-proto: https\r\nForwarded: for=10.0.0.1\r\nX-Forwarded-Prefix: /x\r\nX-Real-IP: 10.0.0.1\r\n", "A: b\r\n" + own},
		"with underscores":          {"", "X_Forwarded_For: 10.0.0.1\r\nX-Forwarded_Proto: https\r\nX_REAL_IP: 1\r\n", own},
		"the word alone":            {"", "X-Forwarded: for=10.0.0.1\r\nX-forwarded-: b\r\n", own},
		"an empty line of a proxy":  {"127.0.0.1/32", "X-Forwarded-For:\r\n", "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: shop.example.com\r\nX-Forwarded-Proto: http\r\n"},
		"a web socket or HTTP/2":    {"", "Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n", "Upgrade: websocket\r\nConnection: Upgrade\r\n" + own},
		"HTTP/2 in other letters":   {"", "UPGRADE: H2C\r\nhttp2-settings: AAMAAABkAAQ\r\n", own},
		"twice":                     {"", "X-Forwarded-For: 10.0.0.1\r\nX-FORWARDED-FOR: 10.0.0.2\r\n", own},
		"a trusted proxy":           {"127.0.0.0/8", "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example.com\r\nForwarded: for=203.0.113.9;proto=https\r\nX-Forwarded-Port: 443\r\n", "X-Forwarded-For: 203.0.113.9, 127.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example.com\r\nForwarded: for=203.0.113.9;proto=https\r\nX-Forwarded-Port: 443\r\n"},
		"a trusted chain":           {"127.0.0.1/32", "x-forwarded-for: 1.1.1.1, 2.2.2.2 \r\nX-Forwarded-For: 3.3.3.3\r\n", "x-forwarded-for: 1.1.1.1, 2.2.2.2 \r\nX-Forwarded-For: 3.3.3.3, 127.0.0.1\r\nX-Forwarded-Host: shop.example.com\r\nX-Forwarded-Proto: http\r\n"},
		"another proxy is trusted":  {"10.0.0.0/8", "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n", own},
		"HTTP/2 is not offered":     {"", "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\nConnection: Upgrade, HTTP2-Settings\r\n", "Connection: Upgrade, HTTP2-Settings\r\n" + own},
	} {
		t.Run(name, func(t *testing.T) {
			var trusted []netip.Prefix
			if tt.trusted != "" {
				trusted = []netip.Prefix{netip.MustParsePrefix(tt.trusted)}
			}
			address, came := anyProcess(t)
			dial, _ := behind(t, address, "tcp", trusted...)
			_, err := io.WriteString(dial(), "GET /x HTTP/1.1\r\nHost: shop.example.com\r\n"+tt.sent+"\r\n")
			must(t, err)
			want := "GET /x HTTP/1.1\r\nHost: shop.example.com\r\n" + tt.got + "\r\n"
			if got := reads(t, next(t, came), len(want)); got != want {
				t.Errorf("the process got\n%s\nand not\n%s", got, want)
			}
		})
	}
}

// peered is a connection whose other side has an address that no test could come from.
type peered struct {
	net.Conn
	peer net.Addr
}

func (p peered) RemoteAddr() net.Addr { return p.peer }

func TestAPeerIsNamedAndTrustedByItsAddressAlone(t *testing.T) {
	for _, c := range []struct {
		peer, trusted, named string
		believed             bool
	}{
		{"[::1]:9", "::1", "::1", true},
		{"[2001:db8::7]:9", "2001:db8::/32", "2001:db8::7", true},
		{"[2001:db8::7]:9", "2001:db9::/32", "2001:db8::7", false},
		{"[fe80::1%eth0]:9", "fe80::/10", "fe80::1", true},
		{"[fe80::1%eth0]:9", "fe80::1%eth1", "fe80::1", true},
		{"[::ffff:10.1.2.3]:9", "10.0.0.0/8", "10.1.2.3", true},
		{"10.1.2.3:9", "::ffff:10.1.2.3", "10.1.2.3", true},
		{"10.1.2.3:9", "::ffff:10.0.0.0/104", "10.1.2.3", true},
		{"10.1.2.3:9", "::/0", "10.1.2.3", false},
	} {
		trusted, err := trustedProxy(c.trusted)
		must(t, err)
		f := &front{trusted: []netip.Prefix{trusted}}
		got := f.from(&visitor{conn: peered{peer: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.peer))}})
		if got.peer.String() != c.named || got.trusted != c.believed {
			t.Errorf("%s with %s is %s, believed: %v", c.peer, c.trusted, got.peer, got.trusted)
		}
	}
}

// What two readers could take for different messages reaches no process.
func TestARequestWithTwoMeaningsIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		request string
		status  int
	}{
		"length and chunks":        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		"two lengths":              {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", 400},
		"two lengths in one":       {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4, 5\r\n\r\nabcde", 400},
		"a signed length":          {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +4\r\n\r\nabcd", 400},
		"a hexadecimal length":     {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x4\r\n\r\nabcd", 400},
		"a length without end":     {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n", 400},
		"a hidden coding":          {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n", 501},
		"two codings":              {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", 501},
		"a coding of HTTP/1.0":     {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		"a space before the colon": {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n", 400},
		"a folded header":          {"POST / HTTP/1.1\r\nHost: h\r\nA: b\r\n Transfer-Encoding: chunked\r\n\r\n", 400},
		"two hosts":                {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
		"the same host twice":      {"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400},
		"a line without a colon":   {"GET / HTTP/1.1\r\nHost: h\r\nA\r\n\r\n", 400},
		"a coding without a word":  {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n\r\n", 501},
		"two codings in one":       {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
		"an empty length":          {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n", 400},
		"a length with a space":    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1 0\r\n\r\n", 400},
		"a tab in the first line":  {"GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		"two spaces":               {"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		"a version in lower case":  {"GET / http/1.1\r\nHost: h\r\n\r\n", 505},
		"HTTP/0.9":                 {"GET / HTTP/0.9\r\n\r\n", 505},
		"a name with a bracket":    {"GET / HTTP/1.1\r\nHost: h\r\n[a]: b\r\n\r\n", 400},
		"a bare line feed":         {"GET / HTTP/1.1\nHost: h\n\n", 400},
		"a bare carriage return":   {"GET / HTTP/1.1\r\nHost: h\r\nA: b\rTransfer-Encoding: chunked\r\n\r\n", 400},
		"a NUL":                    {"GET / HTTP/1.1\r\nHost: h\r\nA: \x00\r\n\r\n", 400},
		"no name":                  {"GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n", 400},
		"a space in the target":    {"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		"no version":               {"GET /\r\n\r\n", 400},
		"HTTP/2":                   {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
		"TLS":                      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400},
		"headers of 2 MiB":         {"GET / HTTP/1.1\r\nHost: h\r\nA: " + strings.Repeat("a", 2<<20) + "\r\n\r\n", 431},
	} {
		t.Run(name, func(t *testing.T) {
			address, came := anyProcess(t)
			dial, _ := behind(t, address, "tcp")
			client := dial()
			go io.WriteString(client, tt.request)
			want := fmt.Sprintf("HTTP/1.1 %d %s\r\n", tt.status, http.StatusText(tt.status))
			if got := reads(t, client, len(want)); got != want {
				t.Errorf("it answered %q, want %q", got, want)
			}
			select {
			case <-came:
				t.Error("the process was asked")
			default:
			}
		})
	}
}

// The head of a request is passed on before its chunks are read: what two readers could take for different chunks ends
// the connection before the process has them.
func TestChunksWithTwoMeaningsAreNotPassedOn(t *testing.T) {
	for name, chunks := range map[string]string{
		"a bare line feed":             "2\nhi\r\n0\r\n\r\n",
		"one inside an extension":      "2;a\nhi\r\n0\r\n\r\n",
		"a bare carriage return":       "2;a\rb\r\nhi\r\n0\r\n\r\n",
		"one before the end":           "2\r\r\nhi\r\n0\r\n\r\n",
		"a bare line feed after it":    "2\r\nhi\n0\r\n\r\n",
		"a bare line feed at the last": "0\n\n",
		"a trailer with a bare one":    "0\r\nA: b\nC: d\r\n\r\n",
		"a size with a sign":           "+2\r\nhi\r\n0\r\n\r\n",
		"a size that begins with 0x":   "0x2\r\nhi\r\n0\r\n\r\n",
		"a size that is too large":     "fffffffffffffffff2\r\nhi\r\n0\r\n\r\n",
		"a size that is empty":         ";a\r\nhi\r\n0\r\n\r\n",
		"a size with an underscore":    "1_0\r\nhi\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			address, came := anyProcess(t)
			dial, _ := behind(t, address, "tcp")
			client := dial()
			io.WriteString(client, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"+chunks)
			server := next(t, came)
			server.SetReadDeadline(time.Now().Add(time.Minute))
			got, err := io.ReadAll(server)
			if err != nil || strings.HasSuffix(string(got), "0\r\n\r\n") || strings.HasSuffix(string(got), "\n\n") {
				t.Errorf("the process got %q, %v", got, err)
			}
			client.SetReadDeadline(time.Now().Add(time.Minute))
			if got, err := io.ReadAll(client); err != nil && strings.Contains(err.Error(), "timeout") || strings.Contains(string(got), " 200 ") {
				t.Errorf("the client got %q, %v", got, err)
			}
		})
	}
}

func TestAnAnswerThatBreaksOffBreaksOffForTheClient(t *testing.T) {
	for name, tt := range map[string]struct{ answer, got string }{
		"nothing":          {"", "HTTP/1.1 502 Bad Gateway\r\n"},
		"half a line":      {"HTTP/1.1 200", "HTTP/1.1 502 Bad Gateway\r\n"},
		"no HTTP":          {"hello\r\n\r\n", "HTTP/1.1 502 Bad Gateway\r\n"},
		"two lengths":      {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 502 Bad Gateway\r\n"},
		"an odd upgrade":   {"HTTP/1.1 101 Switching Protocols\r\n\r\n", "HTTP/1.1 502 Bad Gateway\r\n"},
		"a short body":     {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"},
		"a chunk too long": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab"},
	} {
		t.Run(name, func(t *testing.T) {
			address, came := anyProcess(t)
			dial, _ := behind(t, address, "tcp")
			client := dial()
			io.WriteString(client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			server := next(t, came)
			reads(t, server, 30)
			io.WriteString(server, tt.answer)
			halfClose(server)
			client.SetReadDeadline(time.Now().Add(time.Minute))
			got, err := io.ReadAll(client)
			if !strings.HasPrefix(string(got), tt.got) && !(err != nil && strings.HasPrefix(tt.got, string(got))) {
				t.Errorf("the client got %q, %v", got, err)
			}
			if strings.HasPrefix(tt.answer, "HTTP/1.1 200 OK") && !strings.Contains(tt.got, "502") && err == nil {
				t.Error("the client cannot tell that something is missing")
			}
		})
	}
}

func TestAFrontThatStopsLetsRequestsFinish(t *testing.T) {
	address, came := anyProcess(t)
	dial, f := behind(t, address, "tcp")
	idle, busy, stuck := dial(), dial(), dial()
	answer := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	ask := func(c net.Conn) net.Conn {
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		server := next(t, came)
		reads(t, server, 30)
		return server
	}
	io.WriteString(ask(idle), answer)
	reads(t, idle, len(answer))
	server := ask(busy)
	ask(stuck)
	ended := make(chan time.Duration, 1)
	go func() {
		began := time.Now()
		f.stop(2 * time.Second)
		ended <- time.Since(began)
	}()
	idle.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := idle.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("an idle connection: %v", err)
	}
	io.WriteString(server, answer)
	if got := reads(t, busy, len(answer)); got != answer {
		t.Errorf("the request that ran got %q", got)
	}
	if took := <-ended; took < 2*time.Second {
		t.Errorf("it ended after %s, while a request ran", took)
	}
	stuck.SetReadDeadline(time.Now().Add(time.Minute))
	if n, err := stuck.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Errorf("the request that did not end got %d bytes, %v", n, err)
	}
}

// A client that goes away in the middle takes its request along.
func TestTheProcessNoticesThatAClientLeft(t *testing.T) {
	for _, how := range []string{"closes", "resets"} {
		t.Run(how, func(t *testing.T) {
			address, came := anyProcess(t)
			dial, _ := behind(t, address, "tcp")
			client := dial()
			io.WriteString(client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			server := next(t, came)
			reads(t, server, 30)
			if how == "resets" {
				client.(*net.TCPConn).SetLinger(0)
			}
			client.Close()
			server.SetReadDeadline(time.Now().Add(time.Minute))
			var got bytes.Buffer
			if _, err := io.Copy(&got, server); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("it noticed nothing: %v", err)
			}
		})
	}
}
