package redact

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of what is looked for in one value. A value is at most some megabytes, and each part costs a dozen forms.
const (
	mostParts = 5000
	mostDepth = 6    // of structures in structures
	wordiest  = 5000 // bytes of a line that is looked at for settings
)

// parts returns a value and every part of it that is a secret by itself: its lines, the leaves of JSON, the values of
// settings (YAML, .env, INI, connection strings), the credentials in URLs, the body of PEM, and the same in base64.
// Names of settings are no secrets, nor are the words true, false and null, nor short numbers.
func parts(value string) []string {
	c := &collector{seen: map[string]bool{}}
	c.value(value, 0)
	return c.list
}

type collector struct {
	list []string
	seen map[string]bool
}

// add notes a part and reports whether it is a new one.
func (c *collector) add(text string) bool {
	if len(text) < Shortest || c.seen[text] || len(c.list) >= mostParts {
		return false
	}
	c.seen[text] = true
	c.list = append(c.list, text)
	return true
}

// value notes a text and looks into it.
func (c *collector) value(text string, depth int) {
	if !c.add(text) || depth > mostDepth {
		return
	}
	trimmed := strings.TrimSpace(text)
	if c.json(trimmed, depth) {
		return
	}
	c.pem(trimmed)
	c.encoded(trimmed, depth)
	lines := strings.Split(text, "\n")
	for _, line := range lines {
		line = strings.TrimSpace(line)
		c.add(line)
		if len(line) <= wordiest {
			c.line(line, depth)
		}
	}
}

// json notes the leaves of a JSON object, list or text, and reports whether it was one.
func (c *collector) json(text string, depth int) bool {
	if text == "" || !strings.ContainsRune("{[\"", rune(text[0])) {
		return false
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return false
	}
	c.leaves(v, depth+1)
	for line := range strings.SplitSeq(text, "\n") { // as it was written, when that was over several lines
		if line = strings.TrimSpace(line); line != text {
			c.add(line)
		}
	}
	return true
}

func (c *collector) leaves(v any, depth int) {
	switch v := v.(type) {
	case string:
		c.leaf(v, depth)
	case json.Number:
		c.leaf(v.String(), depth)
	case []any:
		for _, one := range v {
			c.leaves(one, depth)
		}
	case map[string]any:
		for _, one := range v {
			c.leaves(one, depth)
		}
	}
}

const shortestNumber = 6 // digits: a port or a year is no secret

// leaf looks into one part, unless it says nothing.
func (c *collector) leaf(text string, depth int) {
	switch strings.ToLower(text) {
	case "true", "false", "null", "none", "yes", "no":
		return
	}
	if len(text) < shortestNumber && strings.Trim(text, "0123456789.-") == "" {
		return
	}
	c.value(text, depth+1)
}

var (
	// A setting of a line: a name, maybe in quotes, then = or :, then the rest.
	settingForm = regexp.MustCompile(`^(?:- +)?(?:export +|set +)?["']?[A-Za-z_][\w.\- ]{0,100}["']?\s*(?:=|:(?:\s|$))\s*(.*)$`)
	itemForm    = regexp.MustCompile(`^- +(.*)$`)
	// A setting of a connection string, with its name.
	pairForm = regexp.MustCompile(`(?:^|[;\s,&?])([A-Za-z][\w .\-]{0,60}?)\s*=\s*("[^"]*"|'[^']*'|\{[^}]*\}|[^;\s,&]+)`)
	urlForm  = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.\-]*://[^\s"'<>]+`)
	pemForm  = regexp.MustCompile(`-----BEGIN [A-Z0-9 ]+-----([^-]+)-----END [A-Z0-9 ]+-----`)
)

// plain are settings of connection strings that say where and how, and not by what right.
var plain = map[string]bool{
	"host": true, "hostname": true, "hostaddr": true, "server": true, "address": true, "addr": true, "port": true, "data source": true, "endpoint": true,
	"db": true, "dbname": true, "database": true, "initial catalog": true, "schema": true, "sslmode": true, "ssl": true, "tls": true, "encrypt": true,
	"scheme": true, "protocol": true, "defaultendpointsprotocol": true, "endpointsuffix": true, "region": true, "timeout": true, "connect_timeout": true,
	"application_name": true, "charset": true, "pool": true, "version": true, "type": true, "driver": true, "provider": true, "trustservercertificate": true,
}

// line looks for settings in a line.
func (c *collector) line(line string, depth int) {
	if line == "" || strings.HasPrefix(line, "-----") {
		return
	}
	for _, found := range urlForm.FindAllString(line, 20) {
		c.url(found, depth)
	}
	if strings.Contains(line, "://") {
		if m := settingForm.FindStringSubmatch(line); m != nil && strings.Contains(m[1], "://") {
			c.setting(m[1], depth)
		}
		return
	}
	pairs := pairForm.FindAllStringSubmatch(line, 100)
	if m := settingForm.FindStringSubmatch(line); m != nil && len(pairs) <= 1 {
		c.setting(m[1], depth)
		return
	}
	for _, pair := range pairs {
		if !plain[strings.ToLower(strings.TrimSpace(pair[1]))] {
			c.setting(pair[2], depth)
		}
	}
	if m := itemForm.FindStringSubmatch(line); m != nil && len(pairs) == 0 {
		c.setting(m[1], depth)
	}
	if before, after, found := strings.Cut(line, ":"); found && len(pairs) == 0 && !strings.ContainsAny(line, " \t/") && before != "" {
		c.leaf(after, depth) // name:password
	}
}

// setting looks into the value of a setting, without the quotes and the comment around it.
func (c *collector) setting(text string, depth int) {
	text = strings.TrimRight(strings.TrimSpace(text), ",")
	if len(text) >= 2 && strings.ContainsRune("\"'{", rune(text[0])) {
		if c.json(text, depth) {
			return
		}
		closing := map[byte]string{'"': "\"", '\'': "'", '{': "}"}[text[0]]
		if end := strings.LastIndex(text[1:], closing); end >= 0 {
			c.leaf(text[1:1+end], depth)
			return
		}
	}
	if bare, _, commented := strings.Cut(text, " #"); commented {
		c.leaf(strings.TrimSpace(bare), depth)
	}
	c.leaf(text, depth)
}

// url notes who signs in with a URL and by what, and the values of its query.
func (c *collector) url(text string, depth int) {
	_, rest, _ := strings.Cut(text, "://")
	authority, after, _ := strings.Cut(rest, "/")
	if query := strings.Index(authority, "?"); query >= 0 {
		authority, after = authority[:query], authority[query:]
	}
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		name, password, _ := strings.Cut(authority[:at], ":")
		for _, written := range []string{name, password} {
			c.leaf(written, depth)
			if plain, err := url.PathUnescape(written); err == nil {
				c.leaf(plain, depth)
			}
		}
		c.add(authority[:at])
	}
	if _, query, found := strings.Cut(after, "?"); found {
		query, _, _ = strings.Cut(query, "#")
		for pair := range strings.SplitSeq(query, "&") {
			name, written, _ := strings.Cut(pair, "=")
			if plain[strings.ToLower(name)] {
				continue
			}
			c.leaf(written, depth)
			if text, err := url.QueryUnescape(written); err == nil {
				c.leaf(text, depth)
			}
		}
	}
}

// pem notes the bodies of PEM blocks without their line ends, as some settings hold them.
func (c *collector) pem(text string) {
	for _, m := range pemForm.FindAllStringSubmatch(strings.ReplaceAll(text, `\n`, "\n"), 100) {
		var body strings.Builder
		for line := range strings.SplitSeq(m[1], "\n") {
			line = strings.TrimSpace(line)
			c.add(line)
			body.WriteString(line)
		}
		c.add(body.String())
	}
}

// encoded looks into what is text in base64.
func (c *collector) encoded(text string, depth int) {
	if len(text) < 8 || strings.ContainsFunc(text, func(r rune) bool { return r == ' ' || r == '{' || r == ':' }) {
		return
	}
	joined := strings.NewReplacer("\n", "", "\r", "", "=", "").Replace(text)
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		plain, err := encoding.DecodeString(joined)
		if err == nil && utf8.Valid(plain) && !strings.ContainsFunc(string(plain), func(r rune) bool { return unicode.IsControl(r) && !unicode.IsSpace(r) }) {
			c.value(string(plain), depth+1)
			return
		}
	}
}
