package redact

import (
	"encoding/base64"
	"encoding/json"
	"io"
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
// settings (YAML, .env, INI, connection strings, XML, .netrc), the credentials in URLs and headers, the body of PEM, and
// the same in base64.
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

// json notes the leaves of JSON texts, one or several after each other, and reports whether there was nothing else.
func (c *collector) json(text string, depth int) bool {
	if text == "" || !strings.ContainsRune("{[\"", rune(text[0])) {
		return false
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	for {
		var v any
		if err := d.Decode(&v); err != nil {
			if err != io.EOF {
				return false
			}
			break
		}
		c.leaves(v, depth+1)
	}
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
	if decoded, err := url.QueryUnescape(text); err == nil && strings.Contains(text, "%") {
		c.value(decoded, depth+1)
		decoded, _ = url.PathUnescape(text) // where + is itself
		c.value(decoded, depth+1)
	}
	if strings.Contains(text, "&") {
		c.value(entities.Replace(text), depth+1)
	}
}

var entities = strings.NewReplacer("&amp;", "&", "&lt;", "<", "&gt;", ">", "&quot;", `"`, "&#34;", `"`, "&apos;", "'", "&#39;", "'")

var (
	// A setting of a line: a name, maybe in quotes, then = or :, then the rest.
	settingForm = regexp.MustCompile(`^(?:- +)?(?:export +|set +)?["']?[A-Za-z_/][\w.\-/:@ ]{0,100}?["']?\s*(?:=|:(?:\s|$))\s*(.*)$`)
	itemForm    = regexp.MustCompile(`^- +(.*)$`)
	// A setting of a connection string, with its name.
	pairForm = regexp.MustCompile(`(?:^|[;\s,&?])([A-Za-z][\w .\-]{0,60}?)\s*=\s*("[^"]*"|'[^']*'|\{[^}]*\}|[^;\s,&]+)`)
	// One value among braces and brackets, after its name if it has one.
	flowForm = regexp.MustCompile(`(?:["']?[\w.\-/ ]+["']?\s*[:=]\s*)?("(?:[^"\\]|\\.)*"|'[^']*'|[^\s,{}\[\]][^,{}\[\]]*)`)
	// What stands after a word: in a .netrc, and in a header.
	wordForm   = regexp.MustCompile(`(?i)(?:^|\s)(?:login|account|password|^bearer|^basic|^token)\s+(\S+)`)
	slashForm  = regexp.MustCompile(`([^\s:/@]+)/([^\s/@]+)@`) // Oracle's name/password@host
	xmlForm    = regexp.MustCompile(`>([^<>]+)<`)
	schemeForm = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.\-]*://`)
	markForm   = regexp.MustCompile(`^[!&]\S*\s+`) // a type or an anchor of YAML
	pemForm    = regexp.MustCompile(`-----BEGIN [A-Z0-9 ]+-----([^-]+)-----END [A-Z0-9 ]+-----`)
)

// plain are settings of connection strings that say where and how, and not by what right.
var plain = map[string]bool{
	"host": true, "hostname": true, "hostaddr": true, "server": true, "address": true, "addr": true, "port": true, "data source": true, "endpoint": true,
	"db": true, "dbname": true, "database": true, "databasename": true, "initial catalog": true, "schema": true, "sslmode": true, "ssl": true, "tls": true, "encrypt": true,
	"scheme": true, "protocol": true, "defaultendpointsprotocol": true, "endpointsuffix": true, "blobendpoint": true, "queueendpoint": true, "tableendpoint": true, "fileendpoint": true, "region": true, "timeout": true, "connect_timeout": true,
	"application_name": true, "charset": true, "pool": true, "version": true, "type": true, "driver": true, "provider": true, "trustservercertificate": true,
}

// line looks for settings in a line.
func (c *collector) line(line string, depth int) {
	if line == "" || strings.HasPrefix(line, "-----") {
		return
	}
	starts := schemeForm.FindAllStringIndex(line, 20)
	for i, start := range starts {
		end := len(line)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		found := strings.TrimRight(line[start[0]:end], ",;|")
		if stop := strings.IndexAny(found, " \t\"'<>"); stop >= 0 {
			found = found[:stop]
		}
		c.url(found, depth)
	}
	if strings.ContainsAny(line, "{[") {
		for _, m := range flowForm.FindAllStringSubmatch(line, 200) {
			if value := strings.TrimSpace(m[1]); !strings.HasSuffix(value, ":") && !strings.HasSuffix(value, "=") {
				c.setting(value, depth)
			}
		}
	}
	for _, form := range []*regexp.Regexp{wordForm, slashForm, xmlForm} {
		if form == slashForm && len(starts) > 0 {
			continue // a path
		}
		for _, m := range form.FindAllStringSubmatch(line, 100) {
			for _, found := range m[1:] {
				c.leaf(found, depth)
			}
		}
	}
	pairs := pairForm.FindAllStringSubmatch(line, 100)
	if m := settingForm.FindStringSubmatch(line); m != nil && (len(pairs) <= 1 || strings.Contains(m[1], "://")) {
		c.setting(m[1], depth)
		if len(pairs) <= 1 {
			return
		}
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
	if len(pairs) == 0 && len(starts) == 0 && !strings.ContainsAny(line, " \t") && strings.Contains(line, ",") {
		for field := range strings.SplitSeq(line, ",") {
			c.leaf(strings.Trim(field, `"`), depth)
		}
	}
}

// setting looks into the value of a setting, without the quotes and the comment around it.
func (c *collector) setting(text string, depth int) {
	text = strings.TrimRight(strings.TrimSpace(text), ",")
	if mark := markForm.FindString(text); mark != "" {
		c.leaf(text[len(mark):], depth)
	}
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

const longest = 16 // characters of a part of a path that is still a word

// url notes who signs in with a URL and by what, the values of its query and fragment, and keys in its path.
func (c *collector) url(text string, depth int) {
	_, rest, _ := strings.Cut(text, "://")
	where, after, _ := strings.Cut(strings.ReplaceAll(rest, "#", "?"), "?")
	authority, path, _ := strings.Cut(where, "/")
	if at := strings.LastIndex(rest, "@"); at >= 0 && !strings.Contains(authority, "@") && strings.Contains(authority, ":") {
		authority, path = rest[:at+1], "" // a password with a slash or a question mark that nobody escaped
	}
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		name, password, _ := strings.Cut(authority[:at], ":")
		c.leaf(name, depth)
		c.leaf(password, depth)
		c.add(authority[:at])
	}
	for part := range strings.SplitSeq(path, "/") {
		if len(part) >= longest {
			c.leaf(part, depth)
		}
	}
	for pair := range strings.FieldsFuncSeq(after, func(r rune) bool { return r == '&' || r == '?' || r == ';' }) {
		if name, written, _ := strings.Cut(pair, "="); !plain[strings.ToLower(name)] {
			c.leaf(written, depth)
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
