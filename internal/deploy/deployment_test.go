package deploy

import (
	"testing"

	"flywheel.dev/flywheel/internal/app"
)

func TestTheKindOfRunComparesWithWhatIsDeployed(t *testing.T) {
	main := app.Desired{Pattern: "web-service", Version: "1.1.0", Digest: "sha256:two", Variables: map[string]any{"instances": 2}, Artifact: "sha256:new"}
	but := func(edit func(*app.Desired)) app.Desired {
		d := main
		d.Artifact = "sha256:old"
		edit(&d)
		return d
	}
	for name, tt := range map[string]struct {
		deployed, desired app.Desired
		want              Kind
	}{
		"only the artifact differs":                            {but(func(*app.Desired) {}), main, Release},
		"nothing differs":                                      {main, main, Release},
		"a number written as a float is no difference":         {but(func(d *app.Desired) { d.Variables = map[string]any{"instances": 2.0} }), main, Release},
		"a variable of an earlier change has not arrived":      {but(func(d *app.Desired) { d.Variables = map[string]any{"instances": 1} }), main, Infrastructure},
		"a version of an earlier change has not arrived":       {but(func(d *app.Desired) { d.Version, d.Digest = "1.0.0", "sha256:one" }), main, Infrastructure},
		"another number for the same content is no difference": {but(func(d *app.Desired) { d.Version = "1.0.9" }), main, Release},
		"nothing is deployed yet":                              {app.Desired{}, main, Infrastructure},
		"the instance is removed":                              {main, app.Desired{}, Destroy},
	} {
		t.Run(name, func(t *testing.T) {
			if got := KindOf(tt.deployed, tt.desired); got != tt.want {
				t.Errorf("a %s run, want %s", got, tt.want)
			}
		})
	}
}
