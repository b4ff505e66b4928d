package tofu_test

import (
	"fmt"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/tofu"
)

func planOf(resourceType, before, after string) []byte {
	return fmt.Appendf(nil, `{"format_version":"1.2","resource_changes":[{"address":"%[1]s.x","mode":"managed","type":"%[1]s","name":"x",
		"change":{"actions":["update"],"before":%s,"after":%s,"after_unknown":{}}}]}`, resourceType, before, after)
}

func judge(t *testing.T, plan []byte, policies ...tofu.Policy) []tofu.PolicyResult {
	t.Helper()
	compiled, err := tofu.CompilePolicies(t.Context(), policies)
	if err != nil {
		t.Fatal(err)
	}
	results, err := compiled.Judge(t.Context(), plan, "hunter2")
	if err != nil {
		t.Fatal(err)
	}
	return results
}

func TestTheShippedPoliciesSayWhatAPlanLacks(t *testing.T) {
	for name, c := range map[string]struct {
		plan []byte
		want string
	}{
		"nothing":               {planOf("flywheel_service", "null", `{"health_path":"/healthz","memory_mb":256}`), ""},
		"no health path":        {planOf("flywheel_service", "null", `{"health_path":null,"memory_mb":256}`), "flywheel.health flywheel_service.x"},
		"no memory limit":       {planOf("flywheel_service", "null", `{"health_path":"/"}`), "flywheel.memory flywheel_service.x"},
		"a service that goes":   {planOf("flywheel_service", `{"health_path":"/"}`, "null"), ""},
		"a volume that shrinks": {planOf("flywheel_volume", `{"size_mb":100}`, `{"size_mb":50}`), "flywheel.volume flywheel_volume.x"},
		"a volume that grows":   {planOf("flywheel_volume", `{"size_mb":100}`, `{"size_mb":150}`), ""},
	} {
		t.Run(name, func(t *testing.T) {
			failed := ""
			results := judge(t, c.plan, tofu.ShippedPolicies()...)
			for _, r := range results {
				if !r.Pass {
					failed += r.ID + " " + r.Address
				}
			}
			if failed != c.want {
				t.Errorf("failed %q, want %q", failed, c.want)
			}
			if len(results) != len(tofu.ShippedPolicies()) {
				t.Errorf("not every policy says something: %v", results)
			}
		})
	}
}

func TestConftestPoliciesRunUnchanged(t *testing.T) {
	old := tofu.Policy{ID: "old", Rego: `package main
deny_a[msg] { input.resource_changes[_].type == "a"; msg := "no a: hunter2" }
warn[msg] { input.resource_changes[_].type == "a"; msg := "soon no b" }`}
	object := tofu.Policy{ID: "object", Enforcement: tofu.Advisory, Rego: `package main
import rego.v1
deny contains {"msg": "held", "enforcement": "soft-mandatory"} if input.format_version == "1.2"`}
	got := judge(t, planOf("a", "null", "{}"), old, object)
	want := []tofu.PolicyResult{
		{ID: "old", Message: "no a: (sensitive)", Enforcement: tofu.HardMandatory},
		{ID: "old", Message: "soon no b", Enforcement: tofu.Advisory},
		{ID: "object", Message: "held", Enforcement: tofu.SoftMandatory},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestAPolicyThatCannotBeUsedIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"syntax":          "package flywheel\ndeny contains",
		"no rule":         "package flywheel\ndenny contains 1 if true",
		"another package": "package other\ndeny contains 1 if true",
		"the network":     `package flywheel` + "\n" + `deny contains x if x := http.send({"method": "get", "url": "http://a"})`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := tofu.CompilePolicies(t.Context(), []tofu.Policy{{ID: "p", Rego: text}}); !fault.Is(err, "policy.malformed") {
				t.Errorf("error: %v", err)
			}
		})
	}
}

func TestAPolicyThatFailsWhileItJudgesDoesNotPass(t *testing.T) {
	got := judge(t, planOf("a", "null", "{}"), tofu.Policy{ID: "p", Rego: "package flywheel\ndeny contains x if x := 1 / (count(input.resource_changes) - 1)"})
	if len(got) != 1 || got[0].Pass || !strings.Contains(got[0].Message, "could not be evaluated") {
		t.Errorf("results: %v", got)
	}
}
