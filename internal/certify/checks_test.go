package certify

import (
	"testing"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/tofu"
)

func TestOnlyTestRunsThatRanHavePassed(t *testing.T) {
	for _, c := range []struct {
		statuses []string
		summary  string
		code     string
	}{
		{[]string{}, "no tests: a pattern should bring tests/*.tftest.hcl", ""},
		{[]string{"pass"}, "1 test run passed", ""},
		{[]string{"pass", "pass"}, "2 test runs passed", ""},
		{[]string{"pass", "skip"}, "", "pattern.test_skipped"},
		{[]string{"skip"}, "", "pattern.test_skipped"},
		{[]string{"pending", "pass"}, "", "pattern.test_skipped"},
		{[]string{"fail", "skip"}, "", "pattern.test_failed"},
		{[]string{"error", "pass"}, "", "pattern.test_failed"},
		{[]string{"a status that nobody knows"}, "", "pattern.test_failed"},
	} {
		runs := []tofu.TestRun{}
		for _, s := range c.statuses {
			runs = append(runs, tofu.TestRun{File: "tests/a.tftest.hcl", Name: "a", Status: s})
		}
		summary, err := tested(runs)
		if summary != c.summary || (err == nil) != (c.code == "") || c.code != "" && !fault.Is(err, c.code) {
			t.Errorf("%v: %q, %v", c.statuses, summary, err)
		}
	}
}
