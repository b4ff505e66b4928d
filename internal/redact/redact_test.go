package redact_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/url"
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
