// Package app knows what teams run: apps, the environments the platform has, and the instances, one
// app in one environment each. It also turns what a commit of an app's repository says into the
// desired state of every instance, and builds the artifact that such a state names.
//
// An app is described by `flywheel.yaml` in its repository and by nothing else. What the platform
// adds is the pin (the pattern version that the range in the file was resolved to, which only a
// variable-lane change moves) and, for each instance, what runs there now.
//
// Deliberately absent: the comparison of two descriptions (package change finds the lane) and every
// effect on the world (package deploy).
package app

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
)

// App is something a team runs.
type App struct {
	ID          string      `json:"id"`
	Name        string      `json:"name"`
	Title       string      `json:"title"`
	Team        string      `json:"team"`
	FormerTeams []string    `json:"-"` // flywheel.yaml may still name one of them
	State       State       `json:"state"`
	Pin         Pin         `json:"pattern" doc:"The pattern version the app runs on"`
	Description Description `json:"-"`
	CreatedBy   string      `json:"createdBy"`
	CreatedAt   time.Time   `json:"createdAt"`
	RemovedBy   string      `json:"removedBy,omitempty" doc:"Name of the person who asked for its removal"`
	RemovedAt   *time.Time  `json:"removedAt,omitempty"`
}

// State of an app.
type State string

const (
	Active  State = "active"
	Removed State = "removed"
)

// Pin is a pattern version with the range it was resolved from. The digest is what runs; the rest is
// for people.
type Pin struct {
	Pattern string `json:"name"`
	Range   string `json:"range,omitempty"`
	Version string `json:"version,omitempty"`
	Digest  string `json:"digest,omitempty"`
}

// Description is what one commit says about an app, as far as it matters to instances.
// The zero Description is that of a main branch without an app.
type Description struct {
	Pin          Pin                        `json:"pin"`
	Source       string                     `json:"source"`       // digest of what the artifact is made from
	Environments map[string]manifest.Values `json:"environments"` // the team's variables, as the module's types make them
}

// Desired is the state an instance should be in.
type Desired struct {
	Pattern   string          `json:"pattern"`
	Version   string          `json:"version"`
	Digest    string          `json:"digest"`
	Variables manifest.Values `json:"variables"`
	Artifact  string          `json:"artifact"` // digest of the built artifact
	Source    string          `json:"source,omitempty"`
}

// IsZero reports whether nothing is desired, or nothing was ever deployed.
func (d Desired) IsZero() bool { return d.Digest == "" }

// SameInfrastructure reports whether only the artifact can differ between the two: moving from one to
// the other then needs no infrastructure run. Values of the environment count letter by letter: 1.1 and 1.10 are
// two texts, and only the module knows whether it takes a number.
func (d Desired) SameInfrastructure(other Desired) bool {
	return d.Digest == other.Digest && (len(d.Variables)+len(other.Variables) == 0 || db.JSON(d.Variables) == db.JSON(other.Variables))
}

// Hash returns the digest an approval binds to.
func (d Desired) Hash() string {
	b, _ := json.Marshal(d) // encoding/json sorts map keys, so equal states give equal text
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// SameValue compares two values from YAML or JSON: 3 and 3.0 are the same.
func SameValue(a, b any) bool {
	return manifest.Same(normal(a), normal(b))
}

func normal(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		return v
	}
	var out any
	if manifest.Decode(b, &out) != nil {
		return v
	}
	if m, ok := out.(map[string]any); ok && len(m) == 0 {
		return nil // no variables is no variables, however it is written
	}
	return out
}

// Environment is a place where apps run, kept by the Center of Excellence.
type Environment struct {
	Name      string          `json:"name"`
	Class     string          `json:"class" enum:"development,staging,production"`
	After     string          `json:"after,omitempty" doc:"The environment that a change must pass before this one"`
	Order     int             `json:"order" doc:"Its place in the order that follows from after"`
	Target    string          `json:"target" doc:"Where it runs: local, or the name of an outer target"`
	OnNewer   string          `json:"onNewer" enum:"queue,replace-pending" doc:"What happens to a waiting deployment when a newer one comes"`
	Values    manifest.Values `json:"values" doc:"Values of variables that the Center of Excellence controls, as they were typed: the module's types decide what they are"`
	Network   bool            `json:"network" doc:"Whether the engine with its providers, and rollout commands, may reach the network"`
	Reach     []string        `json:"reach" doc:"What Flywheel may connect to there for probes and smoke tests, besides an instance's own addresses: hosts, *.hosts, addresses and ranges, each with :port where only one is meant"`
	Freezes   []Freeze        `json:"freezes" doc:"Windows in which only rollbacks are deployed"`
	UpdatedAt time.Time       `json:"updatedAt"`
	UpdatedBy string          `json:"updatedBy" doc:"Name of who last changed it"`
}

// Own returns those of an instance's variables that its team set: all but the values of the environment.
func (e Environment) Own(variables manifest.Values) manifest.Values {
	own := manifest.Values{}
	for name, value := range variables {
		if _, coe := e.Values[name]; !coe {
			own[name] = value
		}
	}
	return own
}

// Freeze is a window in which changes wait: nothing but a rollback is deployed.
type Freeze struct {
	From   time.Time `json:"from"`
	Until  time.Time `json:"until"`
	Reason string    `json:"reason,omitempty" maxLength:"200"`
}

// Frozen returns the freeze of the environment at this moment that ends last, if there is one.
func (e Environment) Frozen(at time.Time) (f Freeze, frozen bool) {
	for _, one := range e.Freezes {
		if !at.Before(one.From) && at.Before(one.Until) && one.Until.After(f.Until) {
			f, frozen = one, true
		}
	}
	return f, frozen
}

// checkFreezes refuses a window that no moment is in.
func checkFreezes(list []Freeze) error {
	for _, f := range list {
		if !f.From.Before(f.Until) {
			return fault.New(fault.Invalid, "environment.freeze_invalid", "The freeze from %s ends at %s, before it begins.", f.From.UTC().Format(time.RFC3339), f.Until.UTC().Format(time.RFC3339)).
				Do("Give an end after the beginning.").At("freezes", "ends before it begins")
		}
	}
	return nil
}

// arrange sets the order of environments from what each comes after. It refuses an unknown
// predecessor and a cycle, naming it.
func arrange(list []Environment) error {
	byName := map[string]*Environment{}
	for i := range list {
		byName[list[i].Name] = &list[i]
	}
	for i := range list {
		e := &list[i]
		e.Order = 1
		path := []string{e.Name}
		for at := e; at.After != ""; e.Order++ {
			before, known := byName[at.After]
			if !known {
				return fault.New(fault.Invalid, "environment.after_unknown", "%s is to come after %q, which is not an environment.", at.Name, at.After).
					Do("Name one that `flywheel environment list` shows, or leave it out.").At("after", "not an environment")
			}
			path = append(path, before.Name)
			if len(path) > len(list) {
				return fault.New(fault.Invalid, "environment.cycle", "The order of environments is a circle: %s.", strings.Join(path, " after ")).
					Do("Let one of them come after none.").At("after", "closes a circle")
			}
			at = before
		}
	}
	return nil
}

// What happens to a waiting deployment when a newer one comes.
const (
	Queue          = "queue"
	ReplacePending = "replace-pending"
)

// Instance is one app in one environment.
type Instance struct {
	ID          string        `json:"id"`
	App         string        `json:"app"`
	Environment string        `json:"environment"`
	State       InstanceState `json:"state"`
	Reason      string        `json:"reason,omitempty"`
	Deployed    Desired       `json:"deployed"`
	URL         string        `json:"url,omitempty"`
	Running     string        `json:"runningDeployment,omitempty"`
	Fence       int64         `json:"-"` // grows with each deployment; an older one may no longer write
	PinnedBy    string        `json:"pinnedBy,omitempty" doc:"The change whose rollback stops later ones here"`
	Outside     []Outside     `json:"outside,omitempty" doc:"Values that run outside their bounds because a waiver has ended; told of one app, not in lists"`
	Outdated    string        `json:"outdated,omitempty" doc:"The recommended version of its pattern, where what runs is older or not certified any more"`
	UpdatedAt   time.Time     `json:"updatedAt"`
}

// InstanceState is what people see at a glance.
type InstanceState string

const (
	New       InstanceState = "new"
	Deploying InstanceState = "deploying"
	Healthy   InstanceState = "healthy"
	Degraded  InstanceState = "degraded"
	Gone      InstanceState = "removed"
)

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// CheckName returns a fault unless name can name a thing in URLs, hosts and folders: 2 to 40 lower
// case letters, digits and single hyphens, beginning with a letter.
func CheckName(what, name string) error {
	if len(name) < 2 || len(name) > 40 || !namePattern.MatchString(name) {
		return fault.New(fault.Invalid, what+".name_invalid", "%q cannot be the name of a%s %s.", name, n(what), what).
			Do("Use 2 to 40 lower case letters, digits and single hyphens, beginning with a letter.").At("name", "not a valid name")
	}
	return nil
}

func n(what string) string {
	switch what[0] {
	case 'a', 'e', 'i', 'o':
		return "n"
	}
	return ""
}

// Desired returns what the instance of this description in the environment should be, or the zero
// Desired if the app does not select the environment. artifact is the digest of the built Source.
// The environment's own values win: a team cannot set what the Center of Excellence controls.
func (d Description) Desired(e Environment, artifact string) Desired {
	own, selected := d.Environments[e.Name]
	if !selected || d.Pin.Digest == "" {
		return Desired{}
	}
	variables := manifest.Values{}
	maps.Copy(variables, own)
	maps.Copy(variables, e.Values)
	return Desired{
		Pattern: d.Pin.Pattern, Version: d.Pin.Version, Digest: d.Pin.Digest,
		Variables: variables, Artifact: artifact, Source: d.Source,
	}
}

// InOrder returns the environments sorted by their order, first to deploy first.
func InOrder(list []Environment) []Environment {
	return slices.SortedFunc(slices.Values(list), func(a, b Environment) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Name, b.Name))
	})
}
