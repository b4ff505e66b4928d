package manifest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/fault"
)

const goodApp = `apiVersion: flywheel.dev/v1
kind: App
metadata: {name: storefront, team: shop}
spec:
  pattern: {name: web-service, version: "~1.4"}
  build: {fetch: "go mod download", command: "go build -o dist/ .", artifact: dist/, toolchains: [go]}
  test:  {command: "go test ./...", smoke: "./smoke.sh"}
  merge: auto
  environments:
    staging: {variables: {instances: 1}}
    prod:    {variables: {instances: 3, db_version: "16"}}
`

const goodPattern = `apiVersion: flywheel.dev/v1
kind: Pattern
metadata: {name: web-service, title: Web service, owner: coe}
spec:
  variables:
    db_version:  {control: team, enum: ["15", "16"]}
    instances:   {control: team, minimum: 1, maximum: 10, classes: {production: {minimum: 2}}}
    domain:      {control: team, pattern: "^[a-z.]+$", maxLength: 20}
    vpc_id:      {control: coe}
  artifact: {variable: artifact}
  release:  {driver: local, output: service}
  stateful: [flywheel_volume]
  approvals: {security: 2}
  skeleton: skeleton/
`

func TestTheFilesOfTheDesignAreRead(t *testing.T) {
	a, err := ParseApp("flywheel.yaml", []byte(goodApp))
	if err != nil {
		t.Fatal(err)
	}
	if a.Metadata.Team != "shop" || a.Pattern != (PatternRef{"web-service", "~1.4"}) || a.Build.Fetch != "go mod download" || a.Test.Smoke != "./smoke.sh" || a.Merge != "auto" {
		t.Errorf("read %+v", a)
	}
	if want := (Values{"instances": json.Number("3"), "db_version": "16"}); !reflect.DeepEqual(a.Environments["prod"].Variables, want) {
		t.Errorf("prod is %v", a.Environments["prod"])
	}
	p, err := ParsePattern("pattern.yaml", []byte(goodPattern))
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]int{"security": 2, "operations": 1, "development": 1}; !reflect.DeepEqual(p.Approvals(), want) {
		t.Errorf("approvals are %v", p.Approvals())
	}
	if p.Spec.Artifact.Variable != "artifact" || p.Spec.Release.Output != "service" || p.Spec.Skeleton != "skeleton/" || p.Spec.Variables["instances"].Bounds["maximum"] != json.Number("10") {
		t.Errorf("read %+v", p.Spec)
	}
}

func TestAPatternSurvivesTheWayThroughTheDatabase(t *testing.T) {
	p := mustPattern(t, goodPattern)
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var again Pattern
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(p.Spec, again.Spec) {
		t.Errorf("%+v became %+v", p.Spec, again.Spec)
	}
}

func TestWhatIsLeftOutHasADefault(t *testing.T) {
	a, err := ParseApp("flywheel.yaml", []byte("apiVersion: flywheel.dev/v1\nkind: App\nmetadata: {name: storefront, team: shop}\nspec:\n  pattern: {name: web-service, version: \"1.4\"}\n  environments:\n    prod:\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, selected := a.Environments["prod"]; a.Merge != "auto" || a.Build.Artifact != "." || !selected {
		t.Errorf("read %+v", a)
	}
}

// Every mistake names its place and says what to do. `replace` is turned into `with` in a good file.
func TestEveryMistakeIsNamedWithItsPlace(t *testing.T) {
	for _, c := range []struct {
		name, file, replace, with string
		want                      []string
	}{
		{"an unknown key", goodApp, "merge: auto", "mereg: auto", []string{`flywheel.yaml:8:3: the key "mereg" is not known here; did you mean "merge"?`}},
		{"a wrong choice", goodApp, "merge: auto", "merge: automatic", []string{`flywheel.yaml:8:10: spec.merge must be one of auto, manual`}},
		{"a near choice", goodApp, "merge: auto", "merge: atuo", []string{`flywheel.yaml:8:10: spec.merge must be one of auto, manual; did you mean "auto"?`}},
		{"a version that is a number", goodApp, `"~1.4"`, "1.4", []string{`flywheel.yaml:5:41: spec.pattern.version must be text, not a number; put it in quotes: "1.4"`}},
		{"a version that is no range", goodApp, `"~1.4"`, "newest", []string{`flywheel.yaml:5:41: "newest" is not a range of versions; write for example ~1.4, ^1.2 or 1.4.2`}},
		{"a wrong choice after Windows line ends", strings.ReplaceAll(goodApp, "\n", "\r\n"), "merge: auto", "merge: never", []string{`flywheel.yaml:8:10: spec.merge must be one of auto, manual`}},
		{"a missing key", goodApp, "name: web-service, ", "", []string{`flywheel.yaml:5:13: spec.pattern lacks the key "name"`}},
		{"an unknown key of an environment", goodApp, "staging: {variables:", "staging: {variabels:", []string{`flywheel.yaml:10:15: the key "variabels" is not known here; did you mean "variables"?`}},
		{"an environment that is a number", goodApp, "staging: {variables: {instances: 1}}", "staging: 4", []string{"flywheel.yaml:10:14: spec.environments.staging must be empty or keys and values, not a number"}},
		{"a name with capitals", goodApp, "name: storefront", "name: Storefront", []string{`flywheel.yaml:3:18: metadata.name is "Storefront"; use lower case letters, digits and single hyphens, beginning with a letter`}},
		{"the other kind", goodApp, "kind: App", "kind: Service", []string{"flywheel.yaml:2:7: kind must be App"}},
		{"another version of the format", goodApp, "flywheel.dev/v1", "flywheel.dev/v2", []string{"flywheel.yaml:1:13: apiVersion must be flywheel.dev/v1"}},
		{"a key twice", goodApp, "  merge: auto", "  merge: auto\n  merge: manual", []string{`flywheel.yaml:9:3: mapping key "merge" already defined at [8:3]`}},
		{"two documents", goodApp, "  merge: auto\n", "---\na: 1\n---\n", []string{"flywheel.yaml:1:1: it must hold exactly one YAML document, not 3"}},
		{"a tab", goodApp, "  merge", "\tmerge", []string{"flywheel.yaml:8:1: a tab cannot indent; use spaces"}},
		{"an open bracket", goodApp, "toolchains: [go]", "toolchains: [go", []string{"flywheel.yaml:6:"}},
		{"no number", goodPattern, "minimum: 1,", "minimum: .nan,", []string{`pattern.yaml:7:43: .nan is a number in one reader of YAML and another number or a text in the next; write ".nan" for the text`}},
		{"a section left empty", goodApp, "metadata: {name: storefront, team: shop}", "metadata:", []string{"flywheel.yaml:3:10: metadata must be keys and values, not empty"}},
		{"an alias without its anchor", goodApp, "instances: 3", "instances: *three", []string{"flywheel.yaml:11:38: the alias *three stands before its anchor, or inside of it"}},
		{"two mistakes, in order", goodApp, "metadata: {name: storefront, team: shop}\nspec:", "metadata: {nam: storefront, team: shop}\nspec:\n  mereg: auto", []string{
			`flywheel.yaml:3:12: metadata lacks the key "name"`, `flywheel.yaml:3:12: the key "nam" is not known here; did you mean "name"?`, `flywheel.yaml:5:3: the key "mereg"`}},

		{"an unknown keyword of bounds", goodPattern, "enum:", "enmu:", []string{`pattern.yaml:6:34: the key "enmu" is not known here; did you mean "enum"?`}},
		{"an unknown class", goodPattern, "production:", "prod:", []string{`pattern.yaml:7:69: the key "prod" is not known here; known are development, production, staging`}},
		{"an unknown keyword in a class", goodPattern, "{minimum: 2}", "{minimun: 2}", []string{`pattern.yaml:7:82: the key "minimun" is not known here; did you mean "minimum"?`}},
		{"a bound that is no number", goodPattern, "minimum: 1, maximum: 10", "minimum: one, maximum: 10", []string{"pattern.yaml:7:43: spec.variables.instances.minimum must be a number, not text"}},
		{"a bound of a class that is no number", goodPattern, "{minimum: 2}", "{minimum: two}", []string{"pattern.yaml:7:91: spec.variables.instances.classes.production.minimum must be a number, not text"}},
		{"a class that says who sets the variable", goodPattern, "{minimum: 2}", "{control: coe}", []string{`pattern.yaml:7:82: the key "control" is not known here; known are enum, const,`}},
		{"an unknown control", goodPattern, "control: coe", "control: ceo", []string{`pattern.yaml:9:28: spec.variables.vpc_id.control must be one of team, coe; did you mean "coe"?`}},
		{"bounds that allow nothing", goodPattern, "minimum: 1, maximum: 10", "minimum: 11, maximum: 10", []string{"pattern.yaml:7:43: nothing is allowed: minimum is larger than maximum"}},
		{"a class that allows nothing", goodPattern, "{minimum: 2}", "{minimum: 20}", []string{"pattern.yaml:7:82: nothing is allowed in production: minimum is larger than maximum"}},
		{"no regular expression", goodPattern, `"^[a-z.]+$"`, `"^[a-z"`, []string{`pattern.yaml:8:43: "^[a-z" is not a regular expression that can be used here`}},
		{"no approval at all", goodPattern, "security: 2", "security: 0", []string{"pattern.yaml:13:25: spec.approvals.security: minimum: got 0, want 1"}},
		{"an unknown discipline", goodPattern, "security: 2", "secruity: 2", []string{`the key "secruity" is not known here; did you mean "security"?`}},
		{"a driver without its output", goodPattern, ", output: service", "", []string{"pattern.yaml:11:14: the driver local needs output"}},
		{"a driver without its command", goodPattern, "{driver: local, output: service}", "{driver: command}", []string{"pattern.yaml:11:14: the driver command needs command"}},
		{"a rollout command that nobody probes", goodPattern, "{driver: local, output: service}", "{driver: command, command: [./rollout]}", []string{"pattern.yaml:11:14: the driver command needs url"}},
		{"a rollout command without words", goodPattern, "{driver: local, output: service}", "{driver: command, command: [], url: url}", []string{"pattern.yaml:11:"}},
		{"a rollout that may take for ever", goodPattern, "{driver: local, output: service}", "{driver: command, command: [./rollout], url: url, timeout: 86400}", []string{"pattern.yaml:11:72: spec.release.timeout"}},
		{"a secret under a name that is no variable", goodPattern, "{driver: local, output: service}", "{driver: command, command: [./rollout], url: url, secrets: {a-b: c}}", []string{`"a-b" cannot name a variable`}},
		{"secrets for a driver that takes none", goodPattern, "output: service}", "output: service, secrets: {A: b}}", []string{"pattern.yaml:11:56: secrets is for the driver command"}},
		{"a timeout for a driver that takes none", goodPattern, "output: service}", "output: service, timeout: 5}", []string{"pattern.yaml:11:55: timeout is for the driver command"}},
		{"the artifact as a team's variable", goodPattern, "vpc_id: ", "artifact: ", []string{"pattern.yaml:9:21: spec.variables.artifact is the artifact, which Flywheel sets; take one of the two out"}},
		{"a credential that says where Flywheel's state is", goodPattern, "  artifact:", "  credentials: [AWS_ACCESS_KEY_ID, TF_HTTP_ADDRESS]\n  artifact:", []string{"pattern.yaml:10:36: TF_HTTP_ADDRESS is what Flywheel itself tells the engine"}},
		{"a credential that names the loader's library", goodPattern, "  artifact:", "  credentials: [LD_PRELOAD]\n  artifact:", []string{"pattern.yaml:10:17: LD_PRELOAD is what Flywheel itself tells the engine"}},
		{"a credential that names no variable", goodPattern, "  artifact:", "  credentials: [a-b]\n  artifact:", []string{`spec.credentials.0 is "a-b"; use letters, digits and _`}},
		{"a secret with bounds", goodPattern, "{control: coe}", "{control: coe, secret: true, minLength: 3}", []string{"pattern.yaml:9:41: spec.variables.vpc_id is a secret, so nobody can compare it with bounds"}},
		{"bounds for a class of what no team sets", goodPattern, "{control: coe}", "{control: coe, classes: {staging: {minimum: 1}}}", []string{"spec.variables.vpc_id.classes bounds teams, but no team sets this variable"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(c.file, c.replace) {
				t.Fatalf("the good file does not say %q", c.replace)
			}
			name := "flywheel.yaml"
			if strings.Contains(c.file, "kind: Pattern") {
				name = "pattern.yaml"
			}
			got := problems(t, Check(name, []byte(strings.Replace(c.file, c.replace, c.with, 1))))
			if len(got) != len(c.want) {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			for i := range got {
				if !strings.Contains(got[i], c.want[i]) {
					t.Errorf("got  %s\nwant %s", got[i], c.want[i])
				}
			}
		})
	}
}

// Whatever the bytes are, the answer is a sentence with a place, and soon.
func TestNonsenseAndBombsGetASentence(t *testing.T) {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 15; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), ","))
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty":                     {"", "it is empty"},
		"only blanks":               {" \n\n", "it is empty"},
		"only a comment":            {"# nothing\n", "nothing but comments"},
		"not UTF-8":                 {"kind: App\nname: caf\xe9\n", "flywheel.yaml:2:10: it is not UTF-8"},
		"UTF-16":                    {"\xff\xfek\x00i\x00", "1:1: it is not UTF-8"},
		"a zip":                     {"PK\x03\x04\x14\x00\x08\x00\x00", "flywheel.yaml:"},
		"a list":                    {"- a\n- b\n", "it must hold keys and values"},
		"a text":                    {"hello", "it must hold keys and values"},
		"an anchor bomb":            {bomb, "it stands for more than 10000 values"},
		"an anchor inside itself":   {"a: &a [*a]\n", "the alias *a stands before its anchor"},
		"deep brackets":             {strings.Repeat("[", 50_000), "nested more than 100 levels"},
		"deep brackets, many lines": {strings.Repeat("[\n", 20_000), "nested more than 100 levels"},
		"deep braces":               {strings.Repeat("{a: ", 10_000), "nested more than 100 levels"},
		"deep lists":                {strings.Repeat("- ", 30_000), "nested more than 100 levels"},
		"deep keys":                 {strings.Repeat("? ", 30_000), "nested more than 100 levels"},
		"a directive":               {"%YAML 1.1\n---\n" + goodApp, "flywheel.yaml:1:1: a directive such as %YAML or %TAG means nothing here; take it out"},
		"a directive for tags":      {"# ours\n%TAG !! tag:x,2000:\n---\n" + goodApp, "a directive such as %YAML or %TAG means nothing here"},
		"a second document":         {goodApp + "---\n" + goodApp, "exactly one YAML document, not 2"},
		"a key that is a list":      {"[a, b]: 1\n", "flywheel.yaml:"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, kind := range []string{"flywheel.yaml", "pattern.yaml"} {
				got := problems(t, Check(kind, []byte(c.text)))
				if want := strings.ReplaceAll(c.want, "flywheel.yaml", kind); len(got) == 0 || !strings.Contains(got[0], want) {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		})
	}
	t.Run("too large", func(t *testing.T) {
		if err := Check("flywheel.yaml", []byte(goodApp+strings.Repeat("# more\n", Limit))); !fault.Is(err, "manifest.too_large") {
			t.Errorf("got %v", err)
		}
	})
}

func TestWhatFollowsAValueOfJSONIsRefused(t *testing.T) {
	for _, text := range []string{"1 x", "{} ]", "{} {}", "1,", "{}x", "nul"} {
		var v any
		if Decode([]byte(text), &v) == nil {
			t.Errorf("%s is read as %v", text, v)
		}
	}
	var v any
	if err := Decode([]byte(" {} \n"), &v); err != nil {
		t.Error(err)
	}
}

func TestHowItWasTypedDoesNotMatter(t *testing.T) {
	want, err := ParseApp("flywheel.yaml", []byte(goodApp))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"Windows line ends":         strings.ReplaceAll(goodApp, "\n", "\r\n"),
		"a byte order mark":         "\ufeff" + goodApp,
		"a document marker":         "---\n" + goodApp,
		"an anchor and its alias":   strings.Replace(strings.Replace(goodApp, "version: \"~1.4\"", "version: &v \"~1.4\"", 1), "instances: 1", "instances: &one 1", 1),
		"the end of the document":   goodApp + "...\n",
		"a mark before a document":  "\ufeff# ours\n---\n" + strings.ReplaceAll(goodApp, "\n", "\r\n"),
		"spaces at the ends":        strings.ReplaceAll(goodApp, "\n", "   \n"),
		"a comment":                 "# ours\n" + goodApp,
		"a number with a fraction":  strings.Replace(goodApp, "instances: 3,", "instances: 3.0,", 1),
		"no line end at the bottom": strings.TrimSuffix(goodApp, "\n"),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseApp("flywheel.yaml", []byte(text))
			if err != nil {
				t.Fatal(problems(t, err))
			}
			if got.document, want.document = nil, nil; !Same(got, want) {
				t.Errorf("read %+v", got)
			}
		})
	}
}

func TestBoundsSayWhatIsAllowedAndWhere(t *testing.T) {
	p := mustPattern(t, goodPattern)
	for _, c := range []struct {
		class, variable string
		value           any
		want            string // "" is allowed
	}{
		{"staging", "instances", 1.0, ""},
		{"production", "instances", 2.0, ""},
		{"production", "instances", 1.0, "1 is outside its bounds: allowed 2 to 10 in production."},
		{"staging", "instances", 40.0, "40 is outside its bounds: allowed 1 to 10."},
		{"staging", "instances", 40, "40 is outside its bounds: allowed 1 to 10."},
		{"staging", "instances", "three", `"three" is a string where a number is needed: allowed 1 to 10.`},
		{"staging", "instances", nil, "null is a null where a number is needed: allowed 1 to 10."},
		{"staging", "db_version", "16", ""},
		{"staging", "db_version", 16.0, `16 is a number where a string is needed: allowed 15, 16. Write it in quotes: "16".`},
		{"staging", "db_version", "17", `"17" is outside its bounds: allowed 15, 16.`},
		{"staging", "domain", "shop.example", ""},
		{"staging", "domain", "Shop", `"Shop" is outside its bounds: maxLength 20, must match ^[a-z.]+$.`},
		{"staging", "domain", 5.0, `5 is a number where a string is needed: maxLength 20, must match ^[a-z.]+$. Write it in quotes: "5".`},
		{"staging", "vpc_id", "vpc-1", "it is a value of the environment, which the Center of Excellence sets."},
		{"staging", "colour", "red", "the pattern web-service does not let a team set it; known are db_version, domain, instances."},
		{"staging", "instanecs", 3.0, `the pattern web-service does not let a team set it; did you mean "instances"?`},
	} {
		t.Run(fmt.Sprintf("%s %s %v", c.class, c.variable, c.value), func(t *testing.T) {
			got := CheckBounds(p, c.class, map[string]any{c.variable: c.value})
			switch {
			case c.want == "" && len(got) > 0:
				t.Errorf("refused: %v", got)
			case c.want != "" && (len(got) != 1 || got[0].Variable != c.variable || got[0].Message != c.want):
				t.Errorf("got  %v\nwant %s", got, c.want)
			}
		})
	}
	if got := p.Explain("staging", "db_version"); got != "team-controlled, allowed 15, 16" {
		t.Errorf("explained as %q", got)
	}
}

func TestThePublishedSchemasAreUsable(t *testing.T) {
	for name, text := range Schemas() {
		var schema struct {
			ID string `json:"$id"`
		}
		if err := json.Unmarshal(text, &schema); err != nil || !strings.HasSuffix(schema.ID, name) {
			t.Errorf("%s: id %q, %v", name, schema.ID, err)
		}
		var walk func(at string, v any)
		walk = func(at string, v any) {
			m, ok := v.(map[string]any)
			if !ok {
				return
			}
			if p, ok := m["pattern"].(string); ok && strings.Contains(p, "^") && patternWords[p] == "" {
				t.Errorf("%s: the pattern %s has no words", at, p)
			}
			for k, child := range m {
				walk(at+"/"+k, child)
			}
		}
		var all any
		if err := json.Unmarshal(text, &all); err != nil {
			t.Fatal(err)
		}
		walk(name, all)
	}
	compiled() // panics if they do not compile
}

func TestTheExamplesAreValid(t *testing.T) {
	found, err := filepath.Glob("../../examples/patterns/*/pattern.yaml")
	if err != nil || len(found) == 0 {
		t.Fatalf("found no example: %v", err)
	}
	for _, file := range found {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := Check(file, text); err != nil {
			t.Errorf("%s: %v", file, problems(t, err))
		}
	}
}

func FuzzCheckNeverFailsWithoutASentence(f *testing.F) {
	f.Add([]byte(goodApp))
	f.Add([]byte(goodPattern))
	f.Add([]byte("a: &a [*a]\n? b\n: {c: !!int d}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := Check("flywheel.yaml", text); err != nil && fault.From(err).Kind == fault.Internal {
			t.Errorf("%q: %v", text, err)
		}
	})
}

func BenchmarkCheckBounds(b *testing.B) {
	p := mustPattern(b, goodPattern)
	for b.Loop() {
		if v := CheckBounds(p, "production", map[string]any{"instances": 3.0, "db_version": "15", "domain": "a.b"}); len(v) > 0 {
			b.Fatal(v)
		}
	}
}

func mustPattern(t testing.TB, text string) *Pattern {
	t.Helper()
	p, err := ParsePattern("pattern.yaml", []byte(text))
	if err != nil {
		t.Fatal(problems(t, err))
	}
	return p
}

func problems(t testing.TB, err error) []string {
	t.Helper()
	f := fault.From(err)
	if f == nil {
		return nil
	}
	if f.Kind == fault.Internal || f.Remedy == "" {
		t.Errorf("not for users: %v", err)
	}
	out := []string{}
	for _, x := range f.Fields {
		out = append(out, x.Path+": "+x.Message)
	}
	return out
}

func TestTheNamesOfOwnChecksAreReserved(t *testing.T) {
	for name, own := range map[string]bool{
		"lane": true, "tests": true, "policy": true, "plan": true, "plan: prod": true,
		"ci": false, "planner": false, "tests of the browser": false, "lanes": false, "": false,
	} {
		if OwnCheck(name) != own {
			t.Errorf("%q: %v", name, !own)
		}
	}
}
