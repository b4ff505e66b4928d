package local

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The proxy passes messages on as the bytes that they came as: of HTTP/1 it knows only where a message ends, because a
// library that reads messages and writes them anew changes the order and the case of headers, queries,
// escapes and codings, and each of these is somebody's signature or cache key.

// maxHead is how long the first line and the headers of a message may be together.
const maxHead = 1 << 20

// malformed is what a client is told about a message that cannot be passed on.
type malformed struct {
	status int
	why    string
}

func (m malformed) Error() string { return m.why }

func bad(format string, args ...any) error { return malformed{400, fmt.Sprintf(format, args...)} }

// field is one header line.
type field struct {
	name  string // in lower case
	value string
	line  []byte // as it came, with its end
}

// head is the beginning of a message, up to the empty line.
type head struct {
	first  []byte // the first line, with its end
	fields []field
	end    []byte // the empty line
}

// readHead reads the beginning of a message. Nothing of it is judged but that its lines are lines; what comes from
// a client must be strict, see checkRequest.
func readHead(from *bufio.Reader) (h head, err error) {
	size := 0
	line := func() (whole []byte, err error) {
		for {
			part, err := from.ReadSlice('\n')
			if size += len(part); size > maxHead {
				return nil, malformed{431, "the headers are longer than 1 MiB"}
			}
			whole = append(whole, part...)
			if !errors.Is(err, bufio.ErrBufferFull) {
				if errors.Is(err, io.EOF) && size > 0 {
					err = io.ErrUnexpectedEOF
				}
				return whole, err
			}
		}
	}
	if h.first, err = line(); err != nil {
		return h, err
	}
	for {
		text, err := line()
		if err != nil {
			return h, err
		}
		if len(bytes.TrimRight(text, "\r\n")) == 0 {
			h.end = text
			return h, nil
		}
		name, value, _ := strings.Cut(string(text), ":")
		h.fields = append(h.fields, field{strings.ToLower(name), strings.Trim(value, " \t\r\n"), text})
	}
}

// bytes returns the head as it came.
func (h head) bytes() []byte {
	whole := bytes.Clone(h.first)
	for _, f := range h.fields {
		whole = append(whole, f.line...)
	}
	return append(whole, h.end...)
}

// values returns the values of a header, each line for itself.
func (h head) values(name string) (list []string) {
	for _, f := range h.fields {
		if f.name == name {
			list = append(list, f.value)
		}
	}
	return list
}

// has reports whether a header that is a list of words holds the word.
func (h head) has(name, word string) bool {
	for _, value := range h.values(name) {
		for one := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.Trim(one, " \t"), word) {
				return true
			}
		}
	}
	return false
}

// keeps reports whether the connection may carry another message after this one.
func (h head) keeps(version string) bool {
	if version == "HTTP/1.0" {
		return h.has("connection", "keep-alive")
	}
	return !h.has("connection", "close")
}

// body says where the body of a message ends.
type body struct {
	length  int64 // of it, where it is neither chunked nor ends with the connection
	chunked bool
	open    bool // it ends with the connection
	coded   bool // otherwise than in chunks alone
}

// body reads Content-Length and Transfer-Encoding. Two that disagree are two messages to two readers. What is coded
// otherwise than in chunks ends with the connection, which only an answer can.
func (h head) body() (b body, declared bool, err error) {
	lengths, codings := h.values("content-length"), h.values("transfer-encoding")
	if len(codings) > 0 {
		if len(lengths) > 0 {
			return b, true, bad("the length of the body is said in two ways")
		}
		words := strings.Split(strings.Join(codings, ","), ",")
		chunked := strings.EqualFold(strings.Trim(words[len(words)-1], " \t"), "chunked")
		return body{chunked: chunked, open: !chunked, coded: len(words) > 1 || !chunked}, true, nil
	}
	if len(lengths) == 0 {
		return b, false, nil
	}
	if slices.ContainsFunc(lengths, func(l string) bool { return l != lengths[0] }) {
		return b, true, bad("the length of the body is said in two ways")
	}
	if lengths[0] == "" || strings.Trim(lengths[0], "0123456789") != "" {
		return b, true, bad("the length of the body is no number")
	}
	b.length, err = strconv.ParseInt(lengths[0], 10, 64)
	if err != nil {
		return b, true, bad("the length of the body is no number")
	}
	return b, true, nil
}

// request is the beginning of a request.
type request struct {
	head
	method, target, version string
	body                    body
}

// readRequest reads the beginning of a request and refuses what two readers could understand differently.
func readRequest(from *bufio.Reader) (r request, err error) {
	// An empty line before a request is the end of the one before, as some clients send it.
	for range 2 {
		if next, err := from.Peek(2); err == nil && string(next) == "\r\n" {
			from.Discard(2)
		}
	}
	if begin, err := from.Peek(1); err == nil && !isToken(string(begin)) {
		return r, bad("the first line is not METHOD TARGET VERSION") // TLS, whose end would be waited for
	}
	if r.head, err = readHead(from); err != nil {
		return r, err
	}
	lines := [][]byte{r.first, r.end}
	for _, f := range r.fields {
		lines = append(lines, f.line)
	}
	for _, line := range lines {
		text, ended := bytes.CutSuffix(line, []byte("\r\n"))
		if !ended || bytes.ContainsAny(text, "\r\x00") {
			return r, bad("a line does not end with CR LF, or holds what no line may")
		}
	}
	words := strings.Split(strings.TrimSuffix(string(r.first), "\r\n"), " ")
	if len(words) != 3 || !isToken(words[0]) || words[1] == "" || strings.ContainsFunc(words[1], func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return r, bad("the first line is not METHOD TARGET VERSION")
	}
	r.method, r.target, r.version = words[0], words[1], words[2]
	if r.version != "HTTP/1.1" && r.version != "HTTP/1.0" {
		return r, malformed{505, "only HTTP/1.0 and HTTP/1.1 are spoken"}
	}
	for _, f := range r.fields {
		if !isToken(f.name) { // also a folded line, and a space before the colon
			return r, bad("a header has no name")
		}
	}
	if len(r.values("transfer-encoding")) > 0 && r.version == "HTTP/1.0" {
		return r, bad("HTTP/1.0 has no transfer codings")
	}
	if len(r.values("host")) > 1 {
		return r, bad("the host is said twice")
	}
	if r.body, _, err = r.head.body(); err == nil && r.body.coded {
		err = malformed{501, "the transfer coding is not chunked"}
	}
	return r, err
}

func isToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	})
}

// answer is the beginning of an answer.
type answer struct {
	head
	version string
	status  int
	body    body
}

// readAnswer reads the beginning of an answer to a request with this method.
func readAnswer(from *bufio.Reader, method string) (a answer, err error) {
	if a.head, err = readHead(from); err != nil {
		return a, err
	}
	words := strings.Fields(string(a.first))
	if len(words) < 2 || words[0] != "HTTP/1.1" && words[0] != "HTTP/1.0" || len(words[1]) != 3 {
		return a, bad("it answered something that is not HTTP/1")
	}
	a.version = words[0]
	if a.status, err = strconv.Atoi(words[1]); err != nil || a.status < 100 {
		return a, bad("it answered something that is not HTTP/1")
	}
	if method == "HEAD" || a.status < 200 || a.status == 204 || a.status == 304 {
		return a, nil
	}
	var declared bool
	if a.body, declared, err = a.head.body(); !declared {
		a.body.open = true
	}
	return a, err
}

// forwarding says who is in front of the proxy.
type forwarding struct {
	peer    netip.Addr // invalid where it is a service of the same instance
	trusted bool       // its headers about who is in front of it are believed
}

// isForwarding reports whether a header says who a request came from. Underscores are hyphens to some frameworks.
func isForwarding(name string) bool {
	name = strings.ReplaceAll(name, "_", "-")
	return name == "forwarded" || name == "x-real-ip" || name == "x-forwarded" || strings.HasPrefix(name, "x-forwarded-")
}

// withoutHTTP2 returns the line of an Upgrade header as it is passed on: as it came where it offers no HTTP/2, and nil
// where it offers nothing else.
func withoutHTTP2(f field) []byte {
	offered := strings.Split(f.value, ",")
	kept := slices.DeleteFunc(slices.Clone(offered), func(one string) bool { return strings.Contains(strings.ToLower(one), "h2c") })
	switch len(kept) {
	case len(offered):
		return f.line
	case 0:
		return nil
	}
	return []byte("Upgrade: " + strings.TrimSpace(strings.Join(kept, ",")) + "\r\n")
}

// passedOn returns the head as it is passed on: as it came, but for the headers that say who the request came from. Of a
// peer that is trusted they are kept, and it is added; of anybody else they are replaced. Services of the same instance
// are passed on as they are. An upgrade to HTTP/2 is not offered: it would carry such headers past the proxy.
func (r request) passedOn(from forwarding) []byte {
	out := bytes.Clone(r.first)
	last := -1 // the line that the peer is added to
	for i, f := range r.fields {
		if f.name == "x-forwarded-for" {
			last = i
		}
	}
	said := map[string]bool{}
	for i, f := range r.fields {
		if f.name == "upgrade" {
			if f.line = withoutHTTP2(f); f.line == nil {
				continue
			}
		}
		switch {
		case f.name == "http2-settings":
			continue
		case !from.peer.IsValid() || !isForwarding(f.name):
		case !from.trusted:
			continue
		case i == last:
			said[f.name] = true
			out = append(out, bytes.TrimRight(f.line, " \t\r\n")...)
			if f.value != "" {
				out = append(out, ',')
			}
			out = append(out, " "+from.peer.String()+"\r\n"...)
			continue
		}
		said[f.name] = true
		out = append(out, f.line...)
	}
	if from.peer.IsValid() {
		host := ""
		if hosts := r.values("host"); len(hosts) > 0 {
			host = hosts[0]
		}
		for _, one := range [][2]string{{"X-Forwarded-For", from.peer.String()}, {"X-Forwarded-Host", host}, {"X-Forwarded-Proto", "http"}} {
			if one[1] != "" && !said[strings.ToLower(one[0])] {
				out = append(out, one[0]+": "+one[1]+"\r\n"...)
			}
		}
	}
	return append(out, r.end...)
}

// relay passes bytes on. What it has is written before it waits for more.
type relay struct {
	from   *bufio.Reader
	to     *bufio.Writer
	strict bool // lines between chunks end with CR LF, for every reader at the same place
}

// wait makes sure that there is something to read.
func (r relay) wait() error {
	if r.from.Buffered() > 0 {
		return nil
	}
	if err := r.to.Flush(); err != nil {
		return err
	}
	_, err := r.from.Peek(1)
	return err
}

// exactly passes on the next n bytes.
func (r relay) exactly(n int64) error {
	for n > 0 {
		if err := r.wait(); err != nil {
			return cut(err)
		}
		part, _ := r.from.Peek(int(min(n, int64(r.from.Buffered()))))
		if _, err := r.to.Write(part); err != nil {
			return err
		}
		r.from.Discard(len(part))
		n -= int64(len(part))
	}
	return nil
}

// maxLine is how long a line between chunks may be.
const maxLine = 64 << 10

// line passes on a line, as it comes, and returns it.
func (r relay) line() (line []byte, err error) {
	for len(line) < maxLine {
		if err := r.wait(); err != nil {
			return nil, cut(err)
		}
		part, _ := r.from.Peek(r.from.Buffered())
		end := bytes.IndexByte(part, '\n')
		if end >= 0 {
			part = part[:end+1]
		}
		line = append(line, part...)
		text, whole := bytes.CutSuffix(line, []byte("\r\n"))
		if !whole {
			text = bytes.TrimSuffix(text, []byte("\r")) // whose line feed is still to come
		}
		if r.strict && bytes.ContainsAny(text, "\r\n") {
			return nil, bad("a line between chunks does not end with CR LF")
		}
		if _, err := r.to.Write(part); err != nil {
			return nil, err
		}
		r.from.Discard(len(part))
		if end >= 0 {
			return line, nil
		}
	}
	return nil, bad("a line between chunks is longer than 64 KiB")
}

// chunks passes on a chunked body, with its trailers.
func (r relay) chunks() error {
	for {
		line, err := r.line()
		if err != nil {
			return err
		}
		text, _, _ := strings.Cut(string(line), ";")
		size, err := strconv.ParseUint(strings.Trim(text, " \t\r\n"), 16, 62)
		if err != nil {
			return bad("a chunk has no size")
		}
		if size == 0 {
			break
		}
		if err := r.exactly(int64(size)); err != nil {
			return err
		}
		if end, err := r.line(); err != nil || len(bytes.TrimRight(end, "\r\n")) > 0 {
			return errors.Join(bad("a chunk is longer than it says"), err)
		}
	}
	for size := 0; size < maxHead; {
		line, err := r.line()
		if err != nil || len(bytes.TrimRight(line, "\r\n")) == 0 {
			return err
		}
		size += len(line)
	}
	return bad("the trailers are longer than 1 MiB")
}

// rest passes on everything until the other side ends.
func (r relay) rest() error {
	for {
		if err := r.wait(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := r.exactly(int64(r.from.Buffered())); err != nil {
			return err
		}
	}
}

// message passes on the body of a message.
func (r relay) message(b body) error {
	var err error
	switch {
	case b.chunked:
		err = r.chunks()
	case b.open:
		err = r.rest()
	default:
		err = r.exactly(b.length)
	}
	return errors.Join(err, r.to.Flush())
}

// cut is the error of a message that ended in its middle.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
