package deploy

import "testing"

func TestADiagnosticIsToldInASentenceWithItsCode(t *testing.T) {
	for _, tt := range []struct{ summary, detail, said, code string }{
		{"The new version of app did not become healthy: no answer.", "What ran before still runs.\nlog: boom\nboom\n[service.unhealthy]", "The new version of app did not become healthy: no answer. What ran before still runs.", "service.unhealthy"},
		{"The agent is silent.", "\n[agent.silent]", "The agent is silent.", "agent.silent"},
		{"Invalid value for variable", "It must be at least 1.\n\nThis was checked by the rule at main.tf:3.", "Invalid value for variable: It must be at least 1.\n\nThis was checked by the rule at main.tf:3.", ""},
		{"Error creating bucket", "", "Error creating bucket", ""},
	} {
		if said, code := told(tt.summary, tt.detail); said != tt.said || code != tt.code {
			t.Errorf("%q, %q is told as %q (%s)", tt.summary, tt.detail, said, code)
		}
	}
}
