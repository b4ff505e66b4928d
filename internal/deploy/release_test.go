package deploy

import (
	"slices"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
)

// shopState is the state of an instance with a service of its own, and with whatever else is said.
func shopState(output, more string) string {
	return `{"version": 4, "outputs": {"service": {"value": ` + output + `}},
		"resources": [{"mode": "managed", "type": "flywheel_service", "name": "app", "provider": "provider[\"registry.flywheel.dev/flywheel/flywheel\"]",
			"instances": [{"attributes": {"id": "svc_own"}}]}` + more + `]}`
}

func TestAReleaseNamesOnlyAServiceOfTheInstancesOwnState(t *testing.T) {
	for name, tt := range map[string]struct{ output, more, code string }{
		"its own":                       {output: `"svc_own"`},
		"its own, as an object":         {output: `{"id": "svc_own", "url": "http://x"}`},
		"one of several":                {output: `"svc_second"`, more: `, {"mode": "managed", "type": "flywheel_service", "provider": "module.web.provider[\"registry.flywheel.dev/flywheel/flywheel\"]", "instances": [{"index_key": 0, "attributes": {"id": "svc_first"}}, {"index_key": 1, "attributes": {"id": "svc_second"}}]}`},
		"none":                          {output: `""`, code: "release.no_service"},
		"a number":                      {output: `7`, code: "release.no_service"},
		"a neighbour's":                 {output: `"svc_neighbour"`, code: "release.foreign_service"},
		"a neighbour's, as an object":   {output: `{"id": "svc_neighbour"}`, code: "release.foreign_service"},
		"a path to its own":             {output: `"svc_neighbour/../svc_own"`, code: "release.foreign_service"},
		"its own with a query":          {output: `"svc_own?x=1"`, code: "release.foreign_service"},
		"another kind of resource":      {output: `"svc_neighbour"`, more: `, {"mode": "managed", "type": "terraform_data", "provider": "provider[\"terraform.io/builtin/terraform\"]", "instances": [{"attributes": {"id": "svc_neighbour"}}]}`, code: "release.foreign_service"},
		"a data source":                 {output: `"svc_neighbour"`, more: `, {"mode": "data", "type": "flywheel_service", "provider": "provider[\"registry.flywheel.dev/flywheel/flywheel\"]", "instances": [{"attributes": {"id": "svc_neighbour"}}]}`, code: "release.foreign_service"},
		"another provider's look-alike": {output: `"svc_neighbour"`, more: `, {"mode": "managed", "type": "flywheel_service", "provider": "provider[\"registry.terraform.io/evil/flywheel\"]", "instances": [{"attributes": {"id": "svc_neighbour"}}]}`, code: "release.foreign_service"},
		"one that was replaced":         {output: `"svc_old"`, more: `, {"mode": "managed", "type": "flywheel_service", "provider": "provider[\"registry.flywheel.dev/flywheel/flywheel\"]", "instances": [{"deposed": "0a1b", "attributes": {"id": "svc_old"}}]}`, code: "release.foreign_service"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := readState([]byte(shopState(tt.output, tt.more)))
			if err != nil {
				t.Fatal(err)
			}
			id, err := Rollout{Release: manifest.Release{Output: "service"}, Outputs: s.outputs, Services: s.services}.service()
			switch {
			case tt.code == "" && (err != nil || !slices.Contains(s.services, id)):
				t.Errorf("it is refused: %v", err)
			case tt.code != "" && !fault.Is(err, tt.code):
				t.Errorf("got %q, %v; want %s", id, err, tt.code)
			case err != nil && strings.Contains(err.Error(), "svc_"):
				t.Errorf("the answer tells what exists: %v", err)
			}
		})
	}
}
