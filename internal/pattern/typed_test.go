package pattern

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
)

// module is a module with one variable x, whose governance is in spec.
func module(t *testing.T, variable, spec string) (*manifest.Pattern, Interface, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte("variable \"x\" {\n"+variable+"\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := manifest.ParsePattern("pattern.yaml", []byte("apiVersion: flywheel.dev/v1\nkind: Pattern\nmetadata: {name: web}\nspec:\n  variables:\n    x: "+spec+"\n"))
	if err != nil {
		return nil, Interface{}, err
	}
	i, err := ReadInterface(dir, m)
	return m, i, err
}

// said returns what flywheel.yaml says of x in prod.
func said(t *testing.T, value string) (*manifest.App, any, error) {
	t.Helper()
	a, err := manifest.ParseApp("flywheel.yaml", []byte("apiVersion: flywheel.dev/v1\nkind: App\nmetadata: {name: shop, team: shop}\nspec:\n  pattern: {name: web, version: \"~1.4\"}\n  environments:\n    prod:\n      variables:\n        x: "+value+"\n"))
	return a, a.Environments["prod"].Variables["x"], err
}

// values says, for a text in flywheel.yaml and a type of the module, what the engine gets, as JSON, or what
// people are told.
var values = []struct{ text, kind, want, wrong string }{
	// Text is what was typed, letter for letter.
	{`02142`, `string`, `"02142"`, ``},
	{`1.10`, `string`, `"1.10"`, ``},
	{`010`, `string`, `"010"`, ``},
	{`1e3`, `string`, `"1e3"`, ``},
	{`1E+3`, `string`, `"1E+3"`, ``},
	{`+1`, `string`, `"+1"`, ``},
	{`-0`, `string`, `"-0"`, ``},
	{`0x1F`, `string`, `"0x1F"`, ``},
	{`0o17`, `string`, `"0o17"`, ``},
	{`0b11`, `string`, `"0b11"`, ``},
	{`1_000`, `string`, `"1_000"`, ``},
	{`.5`, `string`, `".5"`, ``},
	{`.inf`, `string`, `".inf"`, ``},
	{`12:30:45`, `string`, `"12:30:45"`, ``},
	{`2026-11-30`, `string`, `"2026-11-30"`, ``},
	{`2026-11-30T10:00:00Z`, `string`, `"2026-11-30T10:00:00Z"`, ``},
	{`yes`, `string`, `"yes"`, ``},
	{`NO`, `string`, `"NO"`, ``},
	{`true`, `string`, `"true"`, ``},
	{`True`, `string`, `"True"`, ``},
	{`"02142"`, `string`, `"02142"`, ``},
	{`'1.10'`, `string`, `"1.10"`, ``},
	{`!!str 02142`, `string`, `"02142"`, ``},
	{`!!str "x"`, `string`, `"x"`, ``},
	{`&zip 02142`, `string`, `"02142"`, ``},
	{`99999999999999999999999999999999`, `string`, `"99999999999999999999999999999999"`, ``},
	{"|\n          02142\n", `string`, `"02142\n"`, ``},
	{`9007199254740993`, `string`, `"9007199254740993"`, ``},
	{`""`, `string`, `""`, ``},
	{`null`, `string`, ``, `it has no value; leave it out for the default`},
	{`~`, `string`, ``, `it has no value`},
	{``, `string`, ``, `it has no value`},
	{`"null"`, `string`, `"null"`, ``},
	{`[a]`, `string`, ``, `["a"] is a list where text is needed`},
	{`{a: 010}`, `string`, ``, `{"a":"010"} is keys and values where text is needed`},

	// Numbers are exact, and written as JSON writes them.
	{`3`, `number`, `3`, ``},
	{`3.0`, `number`, `3`, ``},
	{`1.10`, `number`, `1.1`, ``},
	{`1e3`, `number`, `1000`, ``},
	{`9007199254740993`, `number`, `9007199254740993`, ``},
	{`-9223372036854775809`, `number`, `-9223372036854775809`, ``},
	{`123456789012345678901234567890`, `number`, `1.2345678901234567890123456789e+29`, ``},
	{`0.1234567890123456789012345678901234567890`, `number`, `0.123456789012345678901234567890123456789`, ``},
	{`"3"`, `number`, `3`, ``},
	{`!!int "3"`, `number`, `3`, ``},
	{`-0`, `number`, `0`, ``},
	{`02142`, `number`, ``, `"02142" is text where a number is needed; write 2142`},
	{`+1`, `number`, ``, `"+1" is text where a number is needed; write 1`},
	{`.5`, `number`, ``, `write 0.5`},
	{`1_000`, `number`, ``, `write 1000`},
	{`0x1F`, `number`, ``, `write 31`},
	{`0o17`, `number`, ``, `write 15`},
	{`.inf`, `number`, ``, `".inf" is text where a number is needed`},
	{`.nan`, `number`, ``, `".nan" is text where a number is needed`},
	{`12:30:45`, `number`, ``, `"12:30:45" is text where a number is needed`},
	{`true`, `number`, ``, `true is true or false where a number is needed`},
	{`1e999999999999`, `number`, ``, `cannot be carried exactly`},
	{`1e5000`, `number`, ``, `cannot be carried exactly`},
	{`1` + strings.Repeat("0", 120) + `1`, `number`, ``, `cannot be carried exactly`},
	{`~`, `number`, ``, `it has no value`},
	{`!!float x`, `number`, ``, `x is nothing that !!float can be said of`},

	// true and false are those of YAML 1.2.
	{`true`, `bool`, `true`, ``},
	{`False`, `bool`, `false`, ``},
	{`TRUE`, `bool`, `true`, ``},
	{`"true"`, `bool`, `true`, ``},
	{`!!bool true`, `bool`, `true`, ``},
	{`yes`, `bool`, ``, `"yes" is text where true or false is needed; write true`},
	{`on`, `bool`, ``, `write true`},
	{`No`, `bool`, ``, `write false`},
	{`1`, `bool`, ``, `1 is a number where true or false is needed; write true`},
	{`tRue`, `bool`, ``, `write true`},

	// What is inside of a value has its own type.
	{`[02142, 1.10, "a"]`, `list(string)`, `["02142","1.10","a"]`, ``},
	{`[3, 3.0]`, `set(number)`, `[3,3]`, ``},
	{`[3, 0x1F]`, `list(number)`, ``, `at [1]: "0x1F" is text where a number is needed; write 31`},
	{`{010: 02, 8: x}`, `map(string)`, `{"010":"02","8":"x"}`, ``},
	{`{true: 1, ~: 2}`, `map(number)`, `{"true":1,"~":2}`, ``},
	{`{zip: 02142, n: 1.0}`, `object({zip = string, n = number})`, `{"n":1,"zip":"02142"}`, ``},
	{`{zip: 02142}`, `object({zip = string, n = optional(number, 3)})`, `{"zip":"02142"}`, ``},
	{`{zip: 02142, n: ~}`, `object({zip = string, n = optional(number)})`, `{"n":null,"zip":"02142"}`, ``},
	{`{zip: 02142, m: 1}`, `object({zip = string})`, ``, `it has no attribute "m"; known are zip`},
	{`{n: 1}`, `object({zip = string, n = number})`, ``, `it lacks the attribute "zip"`},
	{`{a: {zip: [1, x]}}`, `map(object({zip = list(number)}))`, ``, `at a.zip[1]: "x" is text where a number is needed`},
	{`[010, 010, true]`, `tuple([string, string, bool])`, `["010","010",true]`, ``},
	{`[1]`, `tuple([string, string])`, ``, `it has 1 elements where 2 are needed`},
	{`3`, `list(number)`, ``, `3 is a number where a list is needed`},
	{`{<<: &more {a: 01}, b: 02}`, `map(string)`, `{"a":"01","b":"02"}`, ``},

	// Where the module takes anything, JSON and YAML have to agree what it is.
	{`1.10`, `any`, `1.1`, ``},
	{`9007199254740993`, `any`, `9007199254740993`, ``},
	{`true`, `any`, `true`, ``},
	{`2026-11-30`, `any`, `"2026-11-30"`, ``},
	{`12:30:45`, `any`, `"12:30:45"`, ``},
	{`1_000`, `any`, `"1_000"`, ``},
	{`yes`, `any`, `"yes"`, ``},
	{`02142`, `any`, ``, `02142 is ambiguous where any type is taken; write 2142 for the number, or "02142" for the text`},
	{`"02142"`, `any`, `"02142"`, ``},
	{`True`, `any`, ``, `write true, or "True" for the text`},
	{`0x1F`, `any`, ``, `write 31 for the number, or "0x1F" for the text`},
	{`.inf`, `any`, ``, `write ".inf" for the text`},
	{`[{a: 010}]`, `any`, ``, `010 is ambiguous`},
	{`[{010: a}]`, `any`, `[{"010":"a"}]`, ``},

	// What the module leaves open inside of a value is of one type, as the engines want it.
	{`[1.10, a]`, `list(any)`, `["1.10","a"]`, ``},
	{`[[1.10], [a]]`, `list(list(any))`, `[["1.10"],["a"]]`, ``},
	{`{a: 1e3, b: 9007199254740993, c: x}`, `map(any)`, `{"a":"1e3","b":"9007199254740993","c":"x"}`, ``},
	{`[true, ~, "x"]`, `set(any)`, `["true",null,"x"]`, ``},
	{`[1.10, 2]`, `list(any)`, `[1.1,2]`, ``},
	{`[~, 1]`, `list(any)`, `[null,1]`, ``},
	{`{a: [1], b: x}`, `map(any)`, ``, `all map elements must have the same type`},
	{`[[1], {a: 1}]`, `list(any)`, ``, `all list elements must have the same type`},
	{`[{a: 1}, {a: x, b: [2]}]`, `list(any)`, ``, `all list elements must have the same type`},
	{`{n: {a: 1}, o: [1, [2]]}`, `object({n = map(any), o = optional(any)})`, `{"n":{"a":1},"o":[1,[2]]}`, ``},
	{`[1, [2]]`, `tuple([any, list(any)])`, `[1,[2]]`, ``},
	{`[]`, `list(any)`, `[]`, ``},
	{`{}`, `map(any)`, `{}`, ``},

	// Where the colon of a key without quotes has no space behind it, readers disagree where the key ends.
	{`{12:30: c}`, `map(string)`, ``, `a space must follow the colon behind 12; if the colon is part of the key, put the key in quotes`},
	{`{a:1, b: 2}`, `map(number)`, ``, `a space must follow the colon behind a`},
	{`{fd00::1: x}`, `any`, ``, `a space must follow the colon behind fd00`},
	{`{a:"x"}`, `map(string)`, ``, `a space must follow the colon behind a`},
	{`{"12:30": c}`, `map(string)`, `{"12:30":"c"}`, ``},
	{`{"a":1,'b':02,c:[03]}`, `any`, ``, `02 is ambiguous`},
	{`{"a":1,b:[03]}`, `object({a = number, b = list(string)})`, `{"a":1,"b":["03"]}`, ``},
	{`{url: http://x:80/a?b#c, ip: ::1, at: 12:30}`, `map(string)`, `{"at":"12:30","ip":"::1","url":"http://x:80/a?b#c"}`, ``},
	{`[8080:80, a:b, fe80::1]`, `list(string)`, `["8080:80","a:b","fe80::1"]`, ``},

	// Keys, anchors and tags.
	{`{&k 010: a, b: *k}`, `map(string)`, `{"010":"a","b":"010"}`, ``},
	{`{1.10: a, 1.1: b, 1e1: c, .inf: d, -0: e}`, `map(string)`, `{"-0":"e",".inf":"d","1.1":"b","1.10":"a","1e1":"c"}`, ``},
	{`{? 010 : a, !!str 011: b}`, `map(string)`, `{"010":"a","011":"b"}`, ``},
	{`{!mine a: 1}`, `map(number)`, ``, `the tag !mine means nothing here`},
	{`{a: &z 02142, *z : c}`, `map(string)`, ``, `a key must be plain text`},
	{`[&a 010, &a 011, *a]`, `list(string)`, `["010","011","011"]`, ``},
	{`{<<: [{a: 01}, {a: 02, b: 03}], b: 04}`, `map(string)`, `{"a":"01","b":"04"}`, ``},
	{`{"<<": {a: 1}}`, `any`, `{"\u003c\u003c":{"a":1}}`, ``},
	{`!!str ~`, `string`, `"~"`, ``},
	{`[!!str 010, !!str True]`, `any`, `["010","True"]`, ``},
	{`!!int 3.0`, `number`, ``, `3.0 is nothing that !!int can be said of`},
	{`!!int 1e3`, `any`, ``, `1e3 is nothing that !!int can be said of`},
	{`!!float 1`, `any`, `1`, ``},
	{`!!set {a, b}`, `any`, ``, `the tag !!set means nothing here`},
	{"|-\n          010 # text", `string`, `"010 # text"`, ``},
	{">-\n          02142\n          1.10", `string`, `"02142 1.10"`, ``},
	{"|-\n          3", `number`, `3`, ``},

	// A hint is given only where it is sure.
	{`""`, `number`, ``, `"" is text where a number is needed.`},
	{`"."`, `number`, ``, `"." is text where a number is needed.`},
	{`"-"`, `number`, ``, `"-" is text where a number is needed.`},
	{`"+-3"`, `number`, ``, `"+-3" is text where a number is needed.`},
	{`"1,5"`, `number`, ``, `"1,5" is text where a number is needed.`},
	{`"1.000,5"`, `number`, ``, `"1.000,5" is text where a number is needed.`},
	{`"12,34,567"`, `number`, ``, `"12,34,567" is text where a number is needed.`},
	{`"1,234,567.80"`, `number`, ``, `write 1234567.80`},
	{`1'000`, `number`, ``, `write 1000`},
	{`-0x1F`, `number`, ``, `"-0x1F" is text where a number is needed.`},
	{`1.`, `number`, ``, `write 1`},
	{`1.`, `string`, `"1."`, ``},

	// What is no value at all.
	{`!!binary aGk=`, `string`, ``, `the tag !!binary means nothing here; take it out`},
	{`!mine x`, `string`, ``, `the tag !mine means nothing here`},
	{`{a: 1, a: 2}`, `map(number)`, ``, `already defined`},
	{`{a: 1, "a": 2}`, `map(number)`, ``, `already defined`},
	{`{? [a] : 1}`, `map(number)`, ``, `flywheel.yaml:9:`},
	{`*nothing`, `string`, ``, `stands before its anchor`},
}

func TestTheTextAndTheTypeOfTheModuleDecideWhatAValueIs(t *testing.T) {
	for _, c := range values {
		t.Run(c.text+" as "+c.kind, func(t *testing.T) {
			m, i, err := module(t, "type = "+c.kind, "{control: team}")
			if err != nil {
				t.Fatal(err)
			}
			a, given, err := said(t, c.text)
			if err != nil {
				if text := fmt.Sprint(fault.From(err).Fields); c.wrong == "" || !strings.Contains(text, c.wrong) {
					t.Fatalf("refused: %s, want %q %s", text, c.want, c.wrong)
				}
				return
			}
			typed, bad := Version{Manifest: m, Interface: i}.Check("production", manifest.Values{"x": given})
			switch {
			case c.wrong != "" && (len(bad) != 1 || bad[0].Bound || !strings.Contains(bad[0].Message, c.wrong)):
				t.Errorf("got %v %v, want %s", typed, bad, c.wrong)
			case c.wrong != "":
				if place := a.Place("prod", "x"); !strings.HasPrefix(place, "flywheel.yaml:9:") {
					t.Errorf("it stands at %s", place)
				}
				return
			case len(bad) > 0:
				t.Errorf("refused: %v", bad)
			}
			if got, err := json.Marshal(typed["x"]); err != nil || c.wrong == "" && string(got) != c.want {
				t.Errorf("got %s, want %s (%v)", got, c.want, err)
			}
			if again, bad := (Version{Manifest: m, Interface: i}).Check("production", typed); len(bad) > 0 || !manifest.Same(again, typed) {
				t.Errorf("the second time: %v %v", again, bad)
			}
			// Through the database it stays the same.
			text, _ := json.Marshal(typed)
			var stored manifest.Values
			if err := json.Unmarshal(text, &stored); err != nil {
				t.Fatal(err)
			}
			if back, _ := json.Marshal(stored["x"]); string(back) != c.want {
				t.Errorf("stored as %s", back)
			}
		})
	}
}

func TestWhatIsTypedAtTheCommandLineMeansTheSameAsInTheFile(t *testing.T) {
	for _, c := range values {
		if c.text == "" || strings.ContainsAny(c.text[:1], "!&*|>'~n") { // syntax of the file, or nothing
			continue
		}
		_, i, err := module(t, "type = "+c.kind, "{control: team}")
		if err != nil {
			t.Fatal(err)
		}
		given, err := manifest.ParseValue(c.text)
		if err == nil {
			given, err = i.Variables[0].Value(given)
		}
		got, _ := json.Marshal(given)
		if (err == nil) != (c.wrong == "") || err == nil && string(got) != c.want {
			t.Errorf("%s as %s: got %s %v, want %s%s", c.text, c.kind, got, err, c.want, c.wrong)
		}
	}
	for text, want := range map[string]string{"#fff": `"#fff"`, "a: b": `"a: b"`, "a #b": `"a #b"`, "- x": `"- x"`, " a ": `" a "`, "*a": `"*a"`, "!!str 1": `"!!str 1"`, "|": `"|"`, "": `null`, "~": `null`} {
		given, err := manifest.ParseValue(text)
		if got, _ := json.Marshal(given); err != nil || string(got) != want {
			t.Errorf("%q is %s (%v), want %s", text, got, err, want)
		}
	}
}

func TestWhatCannotBeReadAtTheCommandLineIsSaidWithTheValue(t *testing.T) {
	for text, want := range map[string]string{
		"'":     `The value "'" cannot be read: could not find end character of single-quoted text.`,
		"[1":    `The value "[1" cannot be read: `,
		"[1] 2": `The value "[1] 2" cannot be read: `,
		"{a:1}": `The value "{a:1}" cannot be read: a space must follow the colon behind a`,
		"\xff":  `The value "\xff" is not UTF-8.`,
		"a\xe9": `The value "a\xe9" is not UTF-8.`,
	} {
		if _, err := manifest.ParseValue(text); err == nil || !strings.HasPrefix(fault.From(err).Message, want) || strings.Contains(fault.From(err).Remedy, "validate") {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestBoundsHaveTheTypeOfTheVariable(t *testing.T) {
	for _, c := range []struct{ variable, spec, value, want string }{
		{"type = string", `{control: team, enum: [02142, 10001]}`, `02142`, ``},
		{"type = string", `{control: team, enum: [02142, 10001]}`, `2142`, `"2142" is outside its bounds: allowed 02142, 10001.`},
		{"type = string", `{control: team, enum: ["1.10", 1.2]}`, `1.10`, ``},
		{"type = string", `{control: team, enum: ["1.10", 1.2]}`, `1.1`, `"1.1" is outside its bounds: allowed 1.10, 1.2.`},
		{"type = string", `{control: team, const: yes}`, `yes`, ``},
		{"type = string", `{control: team, const: 010}`, `8`, `"8" is outside its bounds: const 010.`},
		{"type = number", `{control: team, enum: [1.0, 2]}`, `1`, ``},
		{"type = number", `{control: team, maximum: 9007199254740992}`, `9007199254740993`, `9007199254740993 is outside its bounds: at most 9007199254740992.`},
		{"type = number", `{control: team, maximum: 9007199254740993}`, `9007199254740993`, ``},
		{"type = number", `{control: team, minimum: 0.1, multipleOf: 0.1}`, `0.3`, ``},
		{"type = number", `{control: team, const: 12345678901234567890}`, `12345678901234567891`, `is outside its bounds`},
		{"type = number", `{control: team, minimum: 1, maximum: 10}`, `0x1F`, `"0x1F" is text where a number is needed; write 31. Its bounds: allowed 1 to 10.`},
		{"type = bool", `{control: team, const: True}`, `true`, ``},
		{"type = number", `{control: team, maximum: 10, classes: {production: {enum: [01]}}}`, `1`, `!spec.variables.x`},
		{"type = string", `{control: team, maxLength: 9, classes: {production: {enum: [01]}}}`, `01`, ``},
		{"type = string\n validation {\n condition = contains([\"02142\"], var.x)\n error_message = \"no\"\n}", `{control: team}`, `02142`, ``},
		{"type = number\n validation {\n condition = var.x <= 9007199254740993\n error_message = \"no\"\n}", `{control: team}`, `9007199254740993`, ``},
		{"", `{control: team, enum: ["15", "16"]}`, `15`, ``},
		{"", `{control: team, enum: ["1.10", "1.2"]}`, `1.10`, ``},
		{"type = number", `{control: team, enum: [a]}`, `1`, `!spec.variables.x`},
		{"type = number\n default = 9007199254740993", `{control: team, maximum: 9007199254740992}`, `1`, `!its default 9007199254740993`},
	} {
		t.Run(c.variable+" "+c.spec+" "+c.value, func(t *testing.T) {
			m, i, err := module(t, c.variable, c.spec)
			if want, refused := strings.CutPrefix(c.want, "!"); refused || err != nil {
				if !refused || err == nil || !strings.Contains(fmt.Sprint(fault.From(err).Fields), want) {
					t.Fatalf("got %v %v", err, fault.From(err))
				}
				return
			}
			_, given, err := said(t, c.value)
			if err != nil {
				t.Fatal(err)
			}
			_, bad := Version{Manifest: m, Interface: i}.Check("production", manifest.Values{"x": given})
			if len(bad) > 1 || (len(bad) == 1) != (c.want != "") || len(bad) == 1 && !strings.Contains(bad[0].Message, c.want) {
				t.Errorf("got %v, want %s", bad, c.want)
			}
		})
	}
}

func TestLargeNumbersInBoundsAreComparedExactly(t *testing.T) {
	narrow := func(keyword, old, new string) bool {
		return narrower(manifest.Values{keyword: json.Number(old)}, manifest.Values{keyword: json.Number(new)})
	}
	for _, c := range []struct {
		keyword, old, new string
		want              bool
	}{
		{"maximum", "9007199254740993", "9007199254740992", true},
		{"maximum", "9007199254740992", "9007199254740993", false},
		{"minimum", "9007199254740992", "9007199254740993", true},
		{"maximum", "10", "1e1", false},
		{"multipleOf", "1.0", "1", false},
	} {
		if narrow(c.keyword, c.old, c.new) != c.want {
			t.Errorf("%s from %s to %s: %v", c.keyword, c.old, c.new, !c.want)
		}
	}
}

func TestNumbersOfAFileOfThePatternAreExactAndSayHowToWriteThem(t *testing.T) {
	for text, want := range map[string]string{
		"{control: team, maximum: 1_000}":    `spec.variables.x.maximum must be a number, not text; write 1000`,
		"{control: team, maximum: 0x1F}":     `write 31 for the number`,
		"{control: team, maximum: 010}":      `write 10 for the number, or "010" for the text`,
		"{control: team, maximum: 1e9999}":   `cannot be carried exactly`,
		"{control: team, secret: yes}":       `spec.variables.x.secret must be true or false, not text; write true`,
		"{control: team, description: 1.10}": `spec.variables.x.description must be text, not a number; put it in quotes: "1.10"`,
		"{control: team, description: true}": `put it in quotes: "true"`,
	} {
		_, err := manifest.ParsePattern("pattern.yaml", []byte("apiVersion: flywheel.dev/v1\nkind: Pattern\nmetadata: {name: web}\nspec:\n  variables:\n    x: "+text+"\n"))
		if f := fault.From(err); f == nil || len(f.Fields) != 1 || !strings.Contains(f.Fields[0].Message, want) || !strings.HasPrefix(f.Fields[0].Path, "pattern.yaml:6:") {
			t.Errorf("%s: got %v", text, f)
		}
	}
}
