package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"flywheel.dev/flywheel/internal/fault"
)

// said returns what a terminal writer passes on of parts written one after the other.
func said(t *terminal, out *bytes.Buffer, parts ...string) string {
	for _, part := range parts {
		io.WriteString(t, part)
	}
	t.Close()
	return out.String()
}

func TestNothingThatOthersWroteSteersTheTerminal(t *testing.T) {
	for name, c := range map[string]struct {
		parts []string
		want  string
	}{
		"clearing the screen":         {[]string{"a\x1b[2Jb"}, "a⟨U+001B⟩[2Jb"},
		"a colour":                    {[]string{"\x1b[31mred"}, "⟨U+001B⟩[31mred"},
		"a guessed mark":              {[]string{"\x1b[1;31mred"}, "⟨U+001B⟩[1;31mred"},
		"a title of the window":       {[]string{"\x1b]0;evil\x07"}, "⟨U+001B⟩]0;evil⟨U+0007⟩"},
		"an eight-bit sequence":       {[]string{"\u009b2J"}, "⟨U+009B⟩2J"},
		"a line drawn over":           {[]string{"bad\rgood"}, "bad⟨U+000D⟩good"},
		"a line end of Windows":       {[]string{"a\r", "\nb"}, "a\r\nb"},
		"the other direction":         {[]string{"a\u202eb"}, "a⟨U+202E⟩b"},
		"no width":                    {[]string{"a\u200bb"}, "a⟨U+200B⟩b"},
		"a sequence in two parts":     {[]string{"a\x1b", "[2J"}, "a⟨U+001B⟩[2J"},
		"a character in two parts":    {[]string{"gr\xc3", "\xb6\u00dfe"}, "größe"},
		"an end in the middle of one": {[]string{"a\x1b["}, "a⟨U+001B⟩["},
		"deleting":                    {[]string{"a\x08\x7f"}, "a⟨U+0008⟩⟨U+007F⟩"},
	} {
		var out bytes.Buffer
		if got := said(newTerminal(&out), &out, c.parts...); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	var out bytes.Buffer
	own := newTerminal(&out)
	if got := said(own, &out, own.own("32m")+"fine"+own.own("0m")); got != "\x1b[32mfine\x1b[0m" {
		t.Errorf("our own colour is %q", got)
	}
}

func TestALogKeepsTheColoursThatHideNothing(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	for name, c := range map[string][2]string{
		"a colour":              {"\x1b[31mFAIL\x1b[0m\n", "\x1b[31mFAIL\x1b[0m\x1b[0m\n"},
		"concealed":             {"\x1b[8mhidden", "hidden"},
		"a background":          {"\x1b[30;40mhidden", "hidden"},
		"any colour":            {"\x1b[38;5;0mhidden", "hidden"},
		"bold and concealed":    {"\x1b[1;8mx", "\x1b[1mx\x1b[0m"},
		"moving up":             {"a\x1b[1Ab", "a⟨U+001B⟩[1Ab"},
		"a line drawn over":     {"bad\rgood", "bad\ngood"},
		"a colour that goes on": {"\x1b[31ma\nb\n", "\x1b[31ma\x1b[0m\nb\n"},
	} {
		var out bytes.Buffer
		if got := said(newTerminal(&out).log(), &out, c[0]); got != c[1] {
			t.Errorf("%s: %q, want %q", name, got, c[1])
		}
	}
}

// evil is a title as an attacker would choose it.
const evil = "Fix\x1b[2J\u202e\u200b\ntitle"

func TestTablesErrorsAndLogsAreCleanAndJSONIsExact(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/log/tests"):
			io.WriteString(w, "ok\x1b[2J\x1b[31mred\x1b[8mgone")
		case strings.HasSuffix(r.URL.Path, "/chg_no"):
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusConflict)
			json.NewEncoder(w).Encode(map[string]string{"code": "x", "detail": "No " + evil})
		default:
			json.NewEncoder(w).Encode(map[string]any{"items": []map[string]string{{"id": "chg_1", "title": evil}}})
		}
	}))
	defer server.Close()
	run := func(args ...string) (string, string) {
		t.Helper()
		var out, err bytes.Buffer
		t.Setenv("FLYWHEEL_URL", server.URL)
		t.Setenv("FLYWHEEL_TOKEN", "x")
		Main(context.Background(), New("test"), args, strings.NewReader(""), &out, &err)
		return out.String(), err.String()
	}
	out, _ := run("change", "list")
	if strings.Contains(out, "\x1b") || !strings.Contains(out, "Fix⟨U+001B⟩[2J⟨U+202E⟩⟨U+200B⟩ title") || strings.Count(out, "\n") != 2 {
		t.Errorf("the table is %q", out)
	}
	_, said := run("change", "show", "chg_no")
	if strings.ContainsAny(said, "\x1b\u202e") || !strings.Contains(said, "No Fix⟨U+001B⟩") {
		t.Errorf("the error is %q", said)
	}
	if out, _ := run("change", "log", "chg_1", "tests"); strings.Contains(out, "\x1b[2J") || strings.Contains(out, "\x1b[8m") {
		t.Errorf("the log is %q", out)
	}
	for _, format := range []string{"json", "yaml"} {
		out, _ := run("change", "list", "-o", format)
		var list []struct{ Title string }
		if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 || list[0].Title != evil || strings.ContainsAny(out, "\x1b\u202e\u200b") {
			t.Errorf("-o %s is %q: %v", format, out, err)
		}
	}
}

func TestWhoDecidesAtATerminalSeesEveryPatchWhole(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/diff/file") && r.URL.Query().Get("file") == "big.tf":
			io.WriteString(w, "@@ -0,0 +1,2 @@\n+begin\n+the very end\n")
		case strings.HasSuffix(r.URL.Path, "/diff"):
			io.WriteString(w, `{"files":[{"path":"main.tf","status":"modified","patch":"@@ -1 +1 @@\n-old line\n+new line\n"},{"path":"big.tf","status":"added","patch":"@@ -0,0 +1,2 @@\n+begin\n","truncated":true}]}`)
		default:
			io.WriteString(w, `{"change":{"id":"chg_1","lane":"pattern","state":"review"},"certification":{"version":"1.1.0","bump":"minor","digest":"sha256:abc","needed":{"security":1}}}`)
		}
	}))
	defer server.Close()
	s := &shell{now: time.Now}
	api, err := newClient(server.URL, "x")
	if err != nil {
		t.Fatal(err)
	}
	v, text, err := s.everything(t.Context(), &cobra.Command{}, api, "chg_1")
	if err != nil || v.Certification.Digest != "sha256:abc" {
		t.Fatalf("%+v: %v", v, err)
	}
	for _, part := range []string{"pattern", "1.1.0", "sha256:abc", "-old line", "+new line", "+the very end"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in:\n%s", part, text)
		}
	}
}

func TestAnAnswerThatIsTooLargeIsSaidToBe(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.Copy(w, io.LimitReader(zeros{}, answerLimit+10))
	}))
	defer server.Close()
	api, err := newClient(server.URL, "x")
	if err != nil {
		t.Fatal(err)
	}
	var v any
	var f *fault.Fault
	if err := api.get(t.Context(), "/x", &v); !errors.As(err, &f) || f.Code != "cli.answer_too_large" || !strings.Contains(f.Message, "larger than 64 MB") {
		t.Errorf("got %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}
