package manifest

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"reflect"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/fault"
)

const byHand = `# Ours.
apiVersion: flywheel.dev/v1
kind: App
metadata:
  name: storefront
  team: shop
spec:
  pattern:
    name: web-service
    version: ~1.4 # the shop needs search
  # where it runs
  environments:
    staging:   # small
    prod:
      # three for the sale
      variables:
        instances: 3 # for now
        db_version: "16"

  merge: auto # quick
`

func TestAnEditChangesNothingElse(t *testing.T) {
	for _, c := range []struct {
		name, text, old, new string
		edit                 func(*File) error
	}{
		{"the version", byHand, `version: ~1.4 #`, `version: "~1.5" #`, func(f *File) error { return f.SetVersion("~1.5") }},
		{"the version in a flow", goodApp, `version: "~1.4"`, `version: "~1.5"`, func(f *File) error { return f.SetVersion("~1.5") }},
		{"a variable", byHand, "instances: 3 #", "instances: 4 #", func(f *File) error { return f.SetVariable("prod", "instances", 4) }},
		{"a variable in a flow", goodApp, "instances: 3", "instances: 4", func(f *File) error { return f.SetVariable("prod", "instances", 4.0) }},
		{"a quoted variable", byHand, `db_version: "16"`, `db_version: "15"`, func(f *File) error { return f.SetVariable("prod", "db_version", "15") }},
		{"the last variable of a flow", goodApp, `db_version: "16"`, `db_version: "15"`, func(f *File) error { return f.SetVariable("prod", "db_version", "15") }},
		{"a new variable", byHand, "        instances: 3", "        memory_mb: 64\n        instances: 3", func(f *File) error { return f.SetVariable("prod", "memory_mb", 64) }},
		{"a new variable in a flow", goodApp, "{instances: 3", "{memory_mb: 64, instances: 3", func(f *File) error { return f.SetVariable("prod", "memory_mb", 64) }},
		{"the first variable of an environment", byHand, "staging:   #", "staging: {variables: {instances: 2}}   #", func(f *File) error { return f.SetVariable("staging", "instances", 2) }},
		{"a variable back to its default", byHand, "        instances: 3 # for now\n", "", func(f *File) error { return f.SetVariable("prod", "instances", nil) }},
		{"a variable of a flow back to its default", goodApp, "{instances: 3, ", "{", func(f *File) error { return f.SetVariable("prod", "instances", nil) }},
		{"the last variable of a flow back to its default", goodApp, `{variables: {instances: 3, db_version: "16"}}`, `{variables: {instances: 3}}`, func(f *File) error { return f.SetVariable("prod", "db_version", nil) }},
		{"what is so already", goodApp, "merge", "merge", func(f *File) error { return f.SetVariable("prod", "instances", 3) }},
		{"an environment", byHand, "    staging:   # small\n", "", func(f *File) error { return f.RemoveEnvironment("staging") }},
		{"an environment with content", byHand, "    prod:\n      # three for the sale\n      variables:\n        instances: 3 # for now\n        db_version: \"16\"\n", "", func(f *File) error { return f.RemoveEnvironment("prod") }},
		{"an environment written as a flow", goodApp, "    staging: {variables: {instances: 1}}\n", "", func(f *File) error { return f.RemoveEnvironment("staging") }},
		{"a variable, with Windows line ends", strings.ReplaceAll(byHand, "\n", "\r\n"), "instances: 3 #", "instances: 4 #", func(f *File) error { return f.SetVariable("prod", "instances", 4) }},
		{"a variable, with a byte order mark", "\ufeff" + byHand, "instances: 3 #", "instances: 4 #", func(f *File) error { return f.SetVariable("prod", "instances", 4) }},
		{"a variable, as editors of Windows write it", "\ufeff" + strings.ReplaceAll(goodApp, "\n", "\r\n"), "instances: 3", "instances: 4", func(f *File) error { return f.SetVariable("prod", "instances", 4) }},
		{"a number of many digits", byHand, "instances: 3 #", "instances: 9007199254740993 #", func(f *File) error { return f.SetVariable("prod", "instances", json.Number("9007199254740993")) }},
		{"a text that looks like YAML", byHand, `db_version: "16"`, `db_version: "a: b\n# c"`, func(f *File) error { return f.SetVariable("prod", "db_version", "a: b\n# c") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Open("flywheel.yaml", []byte(c.text))
			if err != nil {
				t.Fatal(problems(t, err))
			}
			if err := c.edit(f); err != nil {
				t.Fatal(err)
			}
			if want := strings.Replace(c.text, c.old, c.new, 1); string(f.Bytes()) != want {
				t.Errorf("got\n%s\nwant\n%s", f.Bytes(), want)
			}
		})
	}
}

func TestAValueThatNoFileMayHoldIsRefusedWithTheReason(t *testing.T) {
	for value, want := range map[string]string{
		"a\u202eb":                   "the character U+202E (it changes the direction of writing) is not shown",
		"\u200b":                     "the character U+200B",
		"a\x7f":                      "the character U+007F",
		"\u0085":                     "the character U+0085",
		strings.Repeat("x", Limit+1): "flywheel.yaml is larger than",
	} {
		f, err := Open("flywheel.yaml", []byte(goodApp))
		if err != nil {
			t.Fatal(err)
		}
		err = f.SetVariable("prod", "domain", value)
		if got := fault.From(err); got.Kind == fault.Internal || !strings.Contains(fmt.Sprint(got.Message, got.Fields), want) {
			t.Errorf("%.9q: got %v %v", value, err, got.Fields)
		}
		if string(f.Bytes()) != goodApp {
			t.Errorf("%.9q: the file is another one", value)
		}
	}
}

func TestRemovingEverythingLeavesAValidFile(t *testing.T) {
	for _, text := range []string{byHand, goodApp} {
		f, err := Open("flywheel.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.RemoveEnvironments(); err != nil {
			t.Fatal(err)
		}
		a, err := ParseApp("flywheel.yaml", f.Bytes())
		if err != nil || len(a.Environments) > 0 || !strings.Contains(string(f.Bytes()), "environments: {}") {
			t.Errorf("%v\n%s", err, f.Bytes())
		}
	}
}

func TestAnEnvironmentThatIsNotSelectedIsNotEdited(t *testing.T) {
	f, err := Open("flywheel.yaml", []byte("apiVersion: flywheel.dev/v1\nkind: App\nmetadata: {name: storefront, team: shop}\nspec:\n  pattern: {name: web-service, version: \"~1.4\"}\n"))
	if err != nil {
		t.Fatal(err)
	}
	before := string(f.Bytes())
	for _, err := range []error{f.SetVariable("prod", "instances", 2), f.RemoveEnvironment("prod")} {
		if !fault.Is(err, "environment.not_selected") {
			t.Errorf("got %v", err)
		}
	}
	if err := f.RemoveEnvironments(); err != nil || string(f.Bytes()) != before {
		t.Errorf("%v\n%s", err, f.Bytes())
	}
}

// Many edits one after another, on files of several styles, always end in what was asked for.
func TestManyEditsReadBackAsAsked(t *testing.T) {
	r := rand.New(rand.NewSource(7))
	names := []string{"instances", "db_version", "memory_mb", "a.b", "true", "with space", "é"}
	values := []any{1, 2.5, "16", "", "yes", "~", "a: b", "# no", "'", "\"\\", "line\nline", true, []any{"a", 1}, map[string]any{"k": []any{}}, nil, nil, nil, "日本"}
	for _, text := range []string{goodApp, byHand, strings.ReplaceAll(byHand, "\n", "\r\n"), strings.Replace(byHand, "instances: 3 # for now", "instances: &n 3\n        more: *n", 1),
		strings.Replace(goodApp, "{variables: {instances: 1}}", "{\n      variables: {\n        instances: 1,\n      }\n    }", 1)} {
		f, err := Open("flywheel.yaml", []byte(text))
		if err != nil {
			t.Fatal(problems(t, err))
		}
		a, _ := ParseApp("flywheel.yaml", []byte(text))
		want := map[string]map[string]any{"staging": {}, "prod": {}}
		for e := range want {
			for k, v := range a.Environments[e].Variables {
				want[e][k] = v
			}
		}
		for range 120 {
			e, name, value := []string{"staging", "prod"}[r.Intn(2)], names[r.Intn(len(names))], values[r.Intn(len(values))]
			before := string(f.Bytes())
			if err := f.SetVariable(e, name, value); err != nil {
				t.Fatalf("%s.%s = %v: %v in\n%s", e, name, value, err, before)
			}
			if value == nil {
				delete(want[e], name)
			} else if want[e][name], err = plainValue(value); err != nil {
				t.Fatal(err)
			}
			got, err := ParseApp("flywheel.yaml", f.Bytes())
			if err != nil {
				t.Fatalf("%v in\n%s", problems(t, err), f.Bytes())
			}
			for e := range want {
				if fmt.Sprint(got.Environments[e].Variables) != fmt.Sprint(want[e]) && !reflect.DeepEqual(got.Environments[e].Variables, want[e]) {
					t.Fatalf("after %s.%s = %v:\n%s\nbefore:\n%s", e, name, value, f.Bytes(), before)
				}
			}
		}
	}
}
