package redact_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/redact"
)

const key = "-----BEGIN KEY-----\nMIIEabcd\n-----END KEY-----"

var values = []string{"hunter2", "hunter2-longer", "p&ss w/rd\"x", "ababab-x", key, "abc", ""}

func TestASecretIsTakenOutHoweverItIsWritten(t *testing.T) {
	r := redact.New(values...)
	for text, want := range map[string]string{
		"password=hunter2 ok":       "password=(sensitive) ok",
		"hunter2-longer":            "(sensitive)",
		"hunter2-long":              "(sensitive)-long",
		"hunter2hunter2":            "(sensitive)(sensitive)",
		"ababababab-x":              "abab(sensitive)",
		"?p=p%26ss+w%2Frd%22x&q=1":  "?p=(sensitive)&q=1",
		"/p&ss%20w%2Frd%22x/":       "/(sensitive)/",
		`{"p":"p\u0026ss w/rd\"x"}`: `{"p":"(sensitive)"}`,
		`{"p":"p&ss w/rd\"x"}`:      `{"p":"(sensitive)"}`,
		"aHVudGVyMg==":              "(sensitive)",
		"aHVudGVyMg":                "(sensitive)",
		"line MIIEabcd line":        "line (sensitive) line",
		"abc is too short to hide":  "abc is too short to hide",
		"":                          "",
	} {
		if got := r.Text(text); got != want {
			t.Errorf("%s became %s, want %s", text, got, want)
		}
	}
	whole, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Text(string(whole)); got != `"(sensitive)"` {
		t.Errorf("a value of several lines as JSON became %s", got)
	}
	if got := (*redact.Redactor)(nil).Text("hunter2"); got != "hunter2" {
		t.Error(got)
	}
}

// Programs differ in how they write the same text.
func TestASecretIsTakenOutWhateverProgramWroteIt(t *testing.T) {
	r := redact.New(`p&s<s/w+r'é!"$1:@`)
	for by, text := range map[string]string{
		"jsonencode":            `p\u0026s\u003cs/w+r'é!\"$1:@`,
		"jsonencode in a state": `p\\u0026s\\u003cs/w+r'é!\\\"$1:@`,
		"jsonencode in a log":   `p\\\\u0026s\\\\u003cs/w+r'é!\\\\\\\"$1:@`,
		"Python":                `p&s<s/w+r'\u00e9!\"$1:@`,
		"PHP":                   `p&s<s\/w+r'\u00e9!\"$1:@`,
		".NET":                  `p\u0026s\u003Cs/w\u002Br\u0027\u00E9!\u0022$1:@`,
		"HTML":                  `p&amp;s&lt;s/w+r&#39;é!&#34;$1:@`,
		"urlencode":             `p%26s%3Cs%2Fw%2Br%27%C3%A9%21%22%241%3A%40`,
		"urlencode in small":    `p%26s%3cs%2fw%2br%27%c3%a9%21%22%241%3a%40`,
		"urlencode of JSON":     `p%5Cu0026s%5Cu003cs%2Fw%2Br%27%C3%A9%21%5C%22%241%3A%40`,
		"a browser":             `p%26s%3Cs%2Fw%2Br'%C3%A9!%22%241%3A%40`,
		"the user of a URL":     `p&s%3Cs%2Fw+r%27%C3%A9%21%22$1%3A%40`,
		"base64encode":          "cCZzPHMvdytyJ8OpISIkMTpA",
	} {
		if got := r.Text("x=" + text + "."); got != "x=(sensitive)." {
			t.Errorf("by %s: %s", by, got)
		}
	}
	long := strings.Repeat("plant-9f31c0aa", 12)
	encoded := base64.StdEncoding.EncodeToString([]byte(long))
	for _, width := range []int{64, 76} {
		lines := string(bytes.Join(slices.Collect(slices.Chunk([]byte(encoded), width)), []byte("\n")))
		if got := strings.ReplaceAll(redact.New(long).Text(lines), redact.Mark, ""); strings.Trim(got, "=\n") != "" {
			t.Errorf("in lines of %d: %s", width, got)
		}
	}
}

func TestASecretInsideOfWhatWasEncodedIsTakenOut(t *testing.T) {
	const secret = "plant-9f31c0aa-never-shown"
	r := redact.New(secret)
	for _, before := range []string{"", "a", "ab", "abc", "user:"} {
		for _, encode := range []func([]byte) string{base64.StdEncoding.EncodeToString, base64.URLEncoding.EncodeToString, base64.RawStdEncoding.EncodeToString} {
			text := encode([]byte(before + secret + " and more"))
			got := r.Text("Basic " + text)
			kept := strings.NewReplacer("Basic ", "", redact.Mark, "").Replace(got)
			if !strings.Contains(got, redact.Mark) || len(kept) > len(text)-len(secret) {
				t.Errorf("%s%s became %s", before, secret, got)
			}
		}
	}
	if got := r.Text("?" + url.Values{"key": {secret}}.Encode()); got != "?key=(sensitive)" {
		t.Error(got)
	}
}

func TestASecretThatArrivesInPiecesIsTakenOut(t *testing.T) {
	text := "one hunter2 two\nhunter2-longer hunter2-lon abababab-x\n?p=p%26ss+w%2Frd%22x aHVudGVyMg== " + key + "\nends with hunter"
	r := redact.New(values...)
	want := r.Text(text)
	for size := 1; size < len(text); size++ {
		var out bytes.Buffer
		w := r.Writer(&out)
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			if _, err := io.WriteString(w, rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Fatalf("in pieces of %d it became\n%s\nwant\n%s", size, out.String(), want)
		}
	}
}

func TestALineIsPassedOnWhenItEnds(t *testing.T) {
	var out bytes.Buffer
	w := redact.New(values...).Writer(&out)
	for text, want := range map[string]string{"a whole line\n": "a whole line\n", "-----BEGIN KEY-----\n": "(sensitive)\n", "hunter\n": "hunter\n"} {
		out.Reset()
		if _, err := io.WriteString(w, text); err != nil || out.String() != want {
			t.Errorf("%q became %q, %v", text, out.String(), err)
		}
	}
}

func BenchmarkText(b *testing.B) {
	r := redact.New(values...)
	text := strings.Repeat("2026-05-04 an ordinary line of a log, with nothing to hide in it\n", 1000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		r.Text(text)
	}
}
