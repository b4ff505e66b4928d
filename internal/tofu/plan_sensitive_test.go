package tofu_test

import (
	"encoding/json"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/tofu"
)

// TestWhatIsSensitiveInOnePlaceIsHiddenInAll has a sensitive object whose parts stand unmarked elsewhere in the plan.
func TestWhatIsSensitiveInOnePlaceIsHiddenInAll(t *testing.T) {
	const parts = `{"user":"svc-app","password":"pl4nt-one","pin":123456,"port":5432,"json":"{\"key\":\"pl4nt-two\"}"}`
	const unmarked = `{"url":"postgres://svc-app:pl4nt-one@db:5432/x","note":"pl4nt-two and 123456","auth":"c3ZjLWFwcDpwbDRudC1vbmU="}`
	changed := func(name string, before, after, beforeSensitive, afterSensitive string) string {
		return change(name, `"update"`, `"before":`+before+`,"after":`+after+`,"after_unknown":false,"before_sensitive":`+beforeSensitive+`,"after_sensitive":`+afterSensitive)
	}
	for name, c := range map[string]struct{ resource, outputs string }{
		"an output":                  {changed("a.x", `{}`, unmarked, "{}", "{}"), `"o":{"actions":["update"],"before":null,"after":` + parts + `,"after_unknown":false,"before_sensitive":false,"after_sensitive":true}`},
		"an output as it was":        {changed("a.x", `{}`, unmarked, "{}", "{}"), `"o":{"actions":["update"],"before":` + parts + `,"after":null,"after_unknown":false,"before_sensitive":true,"after_sensitive":false}`},
		"an attribute":               {changed("a.x", `{}`, unmarked, "{}", "{}") + "," + changed("b.x", `{}`, `{"all":`+parts+`}`, "{}", `{"all":true}`), ""},
		"an attribute inside a list": {changed("a.x", `{}`, unmarked, "{}", "{}") + "," + changed("b.x", `{"all":[`+parts+`]}`, `{}`, `{"all":[true]}`, "{}"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := tofu.ReadPlan([]byte(`{"format_version":"1.2","terraform_version":"1.14.0","resource_changes":[` + c.resource + `],"output_changes":{` + c.outputs + `}}`))
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range []string{"pl4nt", "svc-app", "123456", "c3ZjLWFwcDpwbDRudC1vbmU"} {
				if strings.Contains(string(text), part) {
					t.Errorf("%q is in %s", part, text)
				}
			}
			if !strings.Contains(string(text), "5432") {
				t.Errorf("what is no secret is gone: %s", text)
			}
		})
	}
}
