package tofu_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/tofu"
)

func change(address, actions, rest string) string {
	kind, _, _ := strings.Cut(address, ".")
	return fmt.Sprintf(`{"address":%q,"mode":"managed","type":%q,"name":"x","provider_name":"p","change":{"actions":[%s],%s}}`, address, kind, actions, rest)
}

func plan(changes ...string) []byte {
	return []byte(`{"format_version":"1.9","terraform_version":"1.99.0","resource_changes":[` + strings.Join(changes, ",") + `],"new_key":{}}`)
}

func read(t *testing.T, data []byte, secrets ...string) *tofu.Plan {
	t.Helper()
	p, err := tofu.ReadPlan(data, secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const none = `"before":null,"after":null,"after_unknown":false,"before_sensitive":false,"after_sensitive":false`

func TestEveryActionIsNamed(t *testing.T) {
	for actions, want := range map[string]tofu.Action{
		`"no-op"`: tofu.NoOp, `"create"`: tofu.Create, `"read"`: tofu.Read, `"update"`: tofu.Update, `"delete"`: tofu.Delete,
		`"delete","create"`: tofu.Replace, `"create","delete"`: tofu.Replace, `"forget"`: tofu.Forget, `"create","forget"`: tofu.Replace,
	} {
		if got := read(t, plan(change("a.x", actions, none))).Changes[0].Action; got != want {
			t.Errorf("%s is %s, want %s", actions, got, want)
		}
	}
	if _, err := tofu.ReadPlan(plan(change("a.x", `"teleport"`, none))); !fault.Is(err, "plan.action") {
		t.Errorf("an unknown action: %v", err)
	}
}

func TestOnlyFormat1IsRead(t *testing.T) {
	for data, code := range map[string]string{
		`{"format_version":"2.0"}`: "plan.format", `{"format_version":""}`: "plan.format", `{}`: "plan.format",
		`[]`: "plan.malformed", `not json`: "plan.malformed", `{"format_version":"1.0","resource_changes":7}`: "plan.malformed",
	} {
		if _, err := tofu.ReadPlan([]byte(data)); !fault.Is(err, code) {
			t.Errorf("%s: %v, want %s", data, err, code)
		}
	}
}

func TestSensitiveAndUnknownValuesAreHiddenAtEveryDepth(t *testing.T) {
	p := read(t, plan(change("a.x", `"update"`, `
		"before": {"all": {"k": "s1"}, "list": ["open", "s2"], "deep": {"a": {"b": "s3", "c": "open"}}, "number": 12345678901234567890, "gone": "pre-hunter2-post"},
		"before_sensitive": {"all": true, "list": [false, true], "deep": {"a": {"b": true}}},
		"after": {"all": {"k": "s4"}, "list": ["open", "s5"], "deep": {"a": {"c": "open"}}},
		"after_sensitive": {"all": true, "list": [false, true], "both": true},
		"after_unknown": {"id": true, "deep": {"a": {"b": true}}, "list": [false, false, true], "both": true, "no": false, "empty": {}, "nested": [{"id": true}]}`)), "hunter2")
	shown, err := json.Marshal(p.Changes[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"s1", "s2", "s3", "s4", "s5", "hunter2"} {
		if strings.Contains(string(shown), secret) {
			t.Errorf("%s is shown: %s", secret, shown)
		}
	}
	want := `{"all":"(sensitive)","both":"(sensitive)","deep":{"a":{"b":"(known after apply)","c":"open"}},"id":"(known after apply)",` +
		`"list":["open","(sensitive)","(known after apply)"],"nested":[{"id":"(known after apply)"}]}`
	if got, _ := json.Marshal(p.Changes[0].After); string(got) != want {
		t.Errorf("after:\n%s\nwant:\n%s", got, want)
	}
	if !strings.Contains(string(shown), "12345678901234567890") {
		t.Errorf("a long number is rounded: %s", shown)
	}
}

func TestOnlyWhatIsStatefulCountsAsDestroyed(t *testing.T) {
	p := read(t, plan(
		change("flywheel_volume.data", `"delete","create"`, none), change("flywheel_service.web", `"delete"`, none),
		change("unheard_of.x", `"delete"`, none), change("terraform_data.x", `"delete"`, none), change("flywheel_volume.new", `"create"`, none),
		change("flywheel_volume.kept", `"update"`, none)))
	if got := p.Destructive(tofu.Stateful(nil)); !slices.Equal(got, []string{"unheard_of.x", "flywheel_volume.data"}) {
		t.Errorf("destroyed: %v", got)
	}
	if got := p.Destructive(tofu.Stateful([]string{"flywheel_service"})); !slices.Contains(got, "flywheel_service.web") {
		t.Errorf("a type that the pattern calls stateful is not: %v", got)
	}
}

func TestTheDigestNamesWhatAPlanDoes(t *testing.T) {
	one, two := change("a.x", `"create"`, `"before":null,"after":{"n":1,"m":2},"after_unknown":{},"after_sensitive":{}`), change("b.x", `"update"`, none)
	same := read(t, plan(one, two)).Digest()
	for name, data := range map[string][]byte{
		"another order":         plan(two, one),
		"another engine":        []byte(strings.Replace(string(plan(one, two)), "1.99.0", "1.12.0", 1)),
		"something that stays":  plan(one, two, change("c.x", `"no-op"`, none)),
		"another order of keys": plan(strings.Replace(one, `"n":1,"m":2`, `"m":2,"n":1`, 1), two),
	} {
		if read(t, data).Digest() != same {
			t.Errorf("%s changes the digest", name)
		}
	}
	for name, data := range map[string][]byte{
		"another value": plan(strings.Replace(one, `"n":1`, `"n":3`, 1), two), "one less": plan(one), "another action": plan(one, strings.Replace(two, "update", "delete", 1)),
	} {
		if read(t, data).Digest() == same {
			t.Errorf("%s does not change the digest", name)
		}
	}
}

func TestMovesReplacementsAndChecksAreTold(t *testing.T) {
	data := `{"format_version":"1.2","resource_changes":[{"address":"a.new","previous_address":"a.old","mode":"managed","type":"a","name":"new",
		"action_reason":"replace_because_cannot_update","change":{"actions":["delete","create"],"replace_paths":[["disk",0,"size"],["zone"]],` + none + `}}],
		"resource_drift":[` + change("a.drifted", `"update"`, none) + `],
		"checks":[{"address":{"kind":"check","to_display":"check.up"},"status":"fail","instances":[{"address":{"to_display":"check.up"},"status":"fail","problems":[{"message":"It is down."}]}]},
		{"address":{"kind":"check","to_display":"check.ok"},"status":"pass"}]}`
	p := read(t, []byte(data))
	c := p.Changes[0]
	if c.Previous != "a.old" || !slices.Equal(c.ReplacePaths, []string{"disk[0].size", "zone"}) || c.Reason != "replace_because_cannot_update" {
		t.Errorf("change: %+v", c)
	}
	if len(p.Drift) != 1 || p.Drift[0].Address != "a.drifted" {
		t.Errorf("drift: %+v", p.Drift)
	}
	if len(p.Checks) != 1 || p.Checks[0].Address != "check.up" || p.Checks[0].Problems[0] != "It is down." {
		t.Errorf("checks: %+v", p.Checks)
	}
	if p.Empty() || !read(t, plan(change("a.x", `"no-op"`, none))).Empty() {
		t.Error("empty plans are not told from others")
	}
}

func TestAReleaseInBetweenDoesNotMakeAnotherEffect(t *testing.T) {
	plan := func(artifact string, size int, rest string) *tofu.Plan {
		return &tofu.Plan{Changes: []tofu.ResourceChange{
			{Address: "flywheel_service.app", Action: tofu.Update, Before: map[string]any{"artifact": artifact, "size": 1.0, "name": "app"}, After: map[string]any{"artifact": artifact, "size": float64(size), "name": "app"}},
			{Address: "flywheel_service.new", Action: tofu.Create, After: map[string]any{"args": []any{artifact, "-v"}}},
			{Address: "terraform_data.old", Action: tofu.Delete, Before: map[string]any{"id": rest}},
		}}
	}
	one := plan("sha256:a", 2, "id-1")
	if one.Effect("sha256:a") != plan("sha256:b", 2, "id-2").Effect("sha256:b") {
		t.Error("another artifact is another effect")
	}
	if one.Digest() == plan("sha256:b", 2, "id-2").Digest() {
		t.Error("another artifact is the same plan")
	}
	if one.Effect("sha256:a") == plan("sha256:a", 3, "id-1").Effect("sha256:a") {
		t.Error("another size is the same effect")
	}
	for want, p := range map[tofu.Action]*tofu.Plan{tofu.Delete: one, tofu.NoOp: {Changes: []tofu.ResourceChange{{Action: tofu.Read, Data: true}}}, tofu.Update: {Outputs: []tofu.OutputChange{{Name: "x", Action: tofu.Create}}}} {
		if got := p.Worst(); got != want {
			t.Errorf("the gravest is %s, not %s", got, want)
		}
	}
}

func TestWhatFlywheelReleasedIsNoDrift(t *testing.T) {
	const before = `"before":{"artifact":"sha256:one","env":{"A":"1","DIGEST":"sha256:one"}},`
	drift := func(name, after string) string {
		return change(name, `"update"`, before+`"after":`+after+`,"after_unknown":false,"before_sensitive":false,"after_sensitive":false`)
	}
	p := read(t, []byte(`{"format_version":"1.9","resource_drift":[`+strings.Join([]string{
		drift("a.released", `{"artifact":"sha256:two","env":{"A":"1","DIGEST":"sha256:two"}}`),
		drift("a.other", `{"artifact":"sha256:three","env":{"A":"1","DIGEST":"sha256:one"}}`),
		drift("a.more", `{"artifact":"sha256:two","env":{"A":"2","DIGEST":"sha256:two"}}`),
		drift("a.less", `{"artifact":"sha256:two","env":{"A":"1"}}`),
	}, ",")+`]}`))
	p.Released("sha256:two")
	left := []string{}
	for _, c := range p.Drift {
		left = append(left, c.Address)
	}
	if !slices.Equal(left, []string{"a.other", "a.more", "a.less"}) {
		t.Errorf("the drift that is left is %v", left)
	}
}

// all is a module that has the instance of before imported, moved, forgotten, checked and its outputs changed, and
// nothing else.
const (
	before = "resource \"terraform_data\" \"old\" {}\nresource \"terraform_data\" \"kept\" {}\noutput \"x\" { value = \"a\" }\n"
	after  = `resource "terraform_data" "new" {}
moved {
  from = terraform_data.old
  to   = terraform_data.new
}
removed {
  from = terraform_data.kept
  lifecycle { destroy = false }
}
resource "terraform_data" "adopted" {}
import {
  to = terraform_data.adopted
  id = "was-there"
}
output "x" { value = "b" }
output "y" { value = "new" }
check "up" {
  assert {
    condition     = terraform_data.new.id == ""
    error_message = "It is down."
  }
}
`
)

func TestWhatIsNeitherMadeNorLostHasItsWordAndCount(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		p := start(t, engine)
		p.deploy(t, p.run(t, "i", f("main.tf", before)))
		result, err := p.Plan(t.Context(), p.run(t, "i", f("main.tf", after)))
		if err != nil {
			t.Fatal(err)
		}
		if got := result.Plan.Summary(); got != "1 to forget, 1 to import, 1 to move, 2 outputs change, 1 check fails" {
			t.Errorf("it is summed up as %s", got)
		}
		found := []string{}
		for _, e := range result.Plan.Effects() {
			found = append(found, string(e.Kind)+" "+e.Address+e.Previous+e.Import)
		}
		want := []string{"forget terraform_data.kept", "import terraform_data.adoptedwas-there", "move terraform_data.newterraform_data.old", "output x", "output y", "check check.up"}
		if !slices.Equal(found, want) {
			t.Errorf("effects:\n%q\nwant\n%q", found, want)
		}
		if got := result.Plan.Worst(); got != tofu.Forget {
			t.Errorf("the gravest is %s", got)
		}
		// Each alone is something.
		for name, module := range map[string]string{
			"import": before + "resource \"terraform_data\" \"adopted\" {}\nimport {\n  to = terraform_data.adopted\n  id = \"x\"\n}\n",
			"move":   strings.Replace(before, "\"old\"", "\"new\"", 1) + "moved {\n  from = terraform_data.old\n  to = terraform_data.new\n}\n",
			"output": strings.Replace(before, "\"a\"", "\"c\"", 1),
			"check":  before + "check \"up\" {\n  assert {\n    condition = terraform_data.old.id == \"\"\n    error_message = \"It is down.\"\n  }\n}\n",
		} {
			result, err := p.Plan(t.Context(), p.run(t, "i", f("main.tf", module)))
			if err != nil {
				t.Fatal(err)
			}
			if effects := result.Plan.Effects(); len(effects) != 1 || string(effects[0].Kind) != name || result.Plan.Summary() == "nothing to change" {
				t.Errorf("%s alone is %v, summed up as %s", name, effects, result.Plan.Summary())
			}
		}
		result, err = p.Plan(t.Context(), p.run(t, "i", f("main.tf", before)))
		if err != nil || result.Plan.Summary() != "nothing to change" || !result.Plan.Empty() {
			t.Errorf("what changes nothing is summed up as %s, %v", result.Plan.Summary(), err)
		}
	})
}

// What happens to one resource in several ways is told in all of them, the gravest first.
func TestWhatHappensTogetherIsToldTogether(t *testing.T) {
	const (
		imports = "\nimport {\n  to = terraform_data.%[1]s\n  id = \"x\"\n}\n"
		old     = "resource \"terraform_data\" \"old\" { input = 1 }\nresource \"terraform_data\" \"made\" { triggers_replace = 1 }\noutput \"x\" { value = 9007199254740993 }\n"
		moves   = "\nmoved {\n  from = terraform_data.%[1]s\n  to   = terraform_data.new\n}\n"
	)
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		p := start(t, engine)
		p.deploy(t, p.run(t, "i", f("main.tf", old)))
		for _, c := range []struct {
			module, want string
			worst        tofu.Action
		}{
			{old + "resource \"terraform_data\" \"new\" { input = 2 }" + fmt.Sprintf(imports, "new"), "1 to update, 1 to import", tofu.Update},
			{old + "resource \"terraform_data\" \"new\" { triggers_replace = 2 }" + fmt.Sprintf(imports, "new"), "1 to replace, 1 to import", tofu.Replace},
			{strings.Replace(old, "\"old\" { input = 1 }", "\"new\" { input = 2 }", 1) + fmt.Sprintf(moves, "old"), "1 to update, 1 to move", tofu.Update},
			{strings.Replace(old, "\"made\" { triggers_replace = 1 }", "\"new\" { triggers_replace = 2 }", 1) + fmt.Sprintf(moves, "made"), "1 to replace, 1 to move", tofu.Replace},
			{strings.Replace(old, "resource \"terraform_data\" \"old\" { input = 1 }", "", 1) + fmt.Sprintf(moves, "old"), "1 to destroy, 1 to move", tofu.Delete},
			{strings.Replace(old, "{ triggers_replace = 1 }", "{\n  triggers_replace = 1\n  lifecycle { replace_triggered_by = [terraform_data.old.input] }\n}", 1), "nothing to change", tofu.NoOp},
			{strings.Replace(strings.Replace(old, "input = 1", "input = 2", 1), "{ triggers_replace = 1 }", "{\n  triggers_replace = 1\n  lifecycle { replace_triggered_by = [terraform_data.old.input] }\n}", 1), "1 to replace, 1 to update", tofu.Replace},
			{strings.Replace(old, "{ input = 1 }", "{\n  input = 1\n  count = 2\n}", 1), "1 to create, 1 to move", tofu.Create},
			{strings.Replace(old, "{ value = 9007199254740993 }", "{\n  value = 9007199254740993\n  sensitive = true\n}", 1), "1 output changes", tofu.Update},
			{strings.Replace(old, "993", "992", 1), "1 output changes", tofu.Update},
			{strings.Replace(old, "output \"x\" { value = 9007199254740993 }", "", 1), "1 output changes", tofu.Update},
			{old + "check \"later\" {\n  assert {\n    condition = terraform_data.old.output == 1\n    error_message = \"no\"\n  }\n}\n", "nothing to change", tofu.NoOp},
		} {
			result, err := p.Plan(t.Context(), p.run(t, "i", f("main.tf", c.module)))
			if err != nil {
				t.Fatal(err)
			}
			if got := result.Plan; got.Summary() != c.want || got.Worst() != c.worst || (got.Worst() == tofu.NoOp) != got.Empty() {
				t.Errorf("%s\nis summed up as %s, the gravest is %s; want %s, %s", c.module, got.Summary(), got.Worst(), c.want, c.worst)
			}
		}
	})
}

// The engines of today know changes that those before did not. What is not shown is not approved.
func TestActionsOfProvidersAreToldAndLaterChangesRefused(t *testing.T) {
	runs := func(with string) *tofu.Plan {
		return read(t, []byte(`{"format_version":"1.2","resource_changes":[`+change("a.x", `"no-op"`, none)+`],"action_invocations":[{"address":"action.mail_send.x","type":"mail_send","name":"x",
			"config_values":{"to":`+with+`,"key":"hunter22","n":9007199254740993},"config_sensitive":{"key":true},"config_unknown":{"id":true},"lifecycle_action_trigger":{"triggering_resource_address":"a.x"}}]}`))
	}
	p := runs(`"hunter22"`)
	text, err := json.Marshal(p)
	if err != nil || strings.Contains(string(text), "hunter22") || !strings.Contains(string(text), "9007199254740993") || !strings.Contains(string(text), "(known after apply)") {
		t.Errorf("it is %s, %v", text, err)
	}
	if p.Summary() != "1 action runs" || p.Empty() || p.Worst() != tofu.Update || p.Effects()[0].Address != "action.mail_send.x" {
		t.Errorf("it is summed up as %s, the gravest is %s", p.Summary(), p.Worst())
	}
	nothing := read(t, plan(change("a.x", `"no-op"`, none)))
	if p.Digest() == nothing.Digest() || p.Effect("") == nothing.Effect("") || runs(`"a"`).Digest() == runs(`"b"`).Digest() {
		t.Error("an approval of nothing is one of it")
	}
	if _, err := tofu.ReadPlan([]byte(`{"format_version":"1.2","deferred_changes":[{"reason":"instance_count_unknown","resource_change":` + change("a.x", `"create"`, none) + `}]}`)); !fault.Is(err, "plan.deferred") {
		t.Errorf("a plan that leaves changes for later: %v", err)
	}
}

func TestWhatAReplacementLeftBehindIsDestroyedToo(t *testing.T) {
	left := strings.Replace(change("flywheel_volume.data", `"delete"`, none), `"mode"`, `"deposed":"c0ffee00","mode"`, 1)
	p := read(t, plan(change("flywheel_volume.data", `"no-op"`, none), left))
	if p.Summary() != "1 deposed to destroy" || p.Empty() || p.Worst() != tofu.Delete {
		t.Errorf("it is summed up as %s, the gravest is %s", p.Summary(), p.Worst())
	}
	if got := p.Destructive(tofu.Stateful(nil)); !slices.Equal(got, []string{"flywheel_volume.data (deposed c0ffee00)"}) {
		t.Errorf("destroyed: %v", got)
	}
	if p.Digest() == read(t, plan(change("flywheel_volume.data", `"no-op"`, none))).Digest() {
		t.Error("an approval of nothing is one of it")
	}
}

func TestTheDigestNamesAdoptionsAndFailedChecks(t *testing.T) {
	nothing := read(t, plan(change("a.x", `"no-op"`, none))).Digest()
	adopts := func(id string) string {
		return read(t, plan(change("a.x", `"no-op"`, none+`,"importing":{"id":"`+id+`"}`))).Digest()
	}
	failed := read(t, []byte(`{"format_version":"1.2","checks":[{"address":{"kind":"check","to_display":"check.up"},"status":"fail"}]}`)).Digest()
	if adopts("1") == nothing || adopts("1") == adopts("2") || failed == nothing {
		t.Error("what is adopted, or which check fails, does not change the digest")
	}
	identity := read(t, plan(change("a.x", `"no-op"`, none+`,"importing":{"identity":{"name":"hunter2"}}`)), "hunter2")
	if got := identity.Effects(); len(got) != 1 || got[0].Kind != tofu.Imports || strings.Contains(got[0].Import, "hunter2") {
		t.Errorf("an adoption by identity is %+v", got)
	}
}

func TestWhatReadersGetHoldsTheEffects(t *testing.T) {
	text, err := json.Marshal(read(t, plan(change("a.x", `"create"`, none))))
	if err != nil || !strings.Contains(string(text), `"summary":"1 to create","effects":[{"kind":"create","address":"a.x"}]`) || !strings.Contains(string(text), `"changes":[`) {
		t.Errorf("the plan is %s, %v", text, err)
	}
}
