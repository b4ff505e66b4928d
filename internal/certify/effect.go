package certify

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/plain"
	"flywheel.dev/flywheel/internal/tofu"
)

// Effect is what the new version would do to one live instance.
type Effect struct {
	App         string     `json:"app"`
	Environment string     `json:"environment"`
	Class       string     `json:"class" doc:"Of the environment"`
	Team        string     `json:"team"`
	Version     string     `json:"version" doc:"The version it runs on"`
	Outcome     Outcome    `json:"outcome" enum:"fails,needs_value,out_of_bounds,destroys,replaces,deferred,updates,unplanned,unchanged"`
	Summary     string     `json:"summary"`
	Breaking    bool       `json:"breaking" doc:"It cannot move to the version as it is, or would lose something"`
	NeedsValue  []string   `json:"needsValue,omitempty" doc:"Variables that the new version needs and that have no value"`
	OutOfBounds []string   `json:"outOfBounds,omitempty" doc:"Variables that the new bounds exclude"`
	Destructive []string   `json:"destructive,omitempty" doc:"Stateful resources that would be destroyed or replaced"`
	Error       string     `json:"error,omitempty" doc:"Why it cannot be planned"`
	PlanDigest  string     `json:"planDigest,omitempty"`
	Plan        any        `json:"plan,omitempty" doc:"Only with one effect, not in a list"`
	PlannedAt   *time.Time `json:"plannedAt,omitempty"`

	instance string    // its id
	seen     time.Time // when the instance was last changed, as this effect knows it
	looked   time.Time // when the effect was found
	position int       // in the order of planning
}

// Outcome is the effect in a word. They are declared from the gravest to none.
type Outcome string

const (
	Fails       Outcome = "fails"         // its plan fails, or a policy refuses it
	NeedsValue  Outcome = "needs_value"   // a variable that the version needs has no value
	OutOfBounds Outcome = "out_of_bounds" // a variable has a value that the version does not allow
	Destroys    Outcome = "destroys"      // something stateful is destroyed or replaced
	Replaces    Outcome = "replaces"      // something without state of its own is
	Deferred    Outcome = "deferred"      // only a certified version gets the credentials that its plan needs
	Updates     Outcome = "updates"       // in place
	Unplanned   Outcome = "unplanned"     // its variables fit; what it does is not known before its plan
	Unchanged   Outcome = "unchanged"
)

var outcomes = []Outcome{Fails, NeedsValue, OutOfBounds, Destroys, Replaces, Deferred, Updates, Unplanned, Unchanged}

func (o Outcome) gravity() int { return slices.Index(outcomes, o) }

func (o Outcome) breaking() bool { return o.gravity() <= Destroys.gravity() }

// Radius is how far a version reaches: live instances by outcome, and the same for each class of
// environments and each team.
type Radius struct {
	Instances int             `json:"instances"`
	Planned   int             `json:"planned" doc:"Those whose effect is known: planned, or known without a plan"`
	Breaking  int             `json:"breaking"`
	Outcomes  map[Outcome]int `json:"outcomes"`
	Classes   []Group         `json:"classes"`
	Teams     []Group         `json:"teams" doc:"Teams that the reader may see"`
}

// Group is the part of a blast radius in one class of environments, or of one team.
type Group struct {
	Name      string          `json:"name"`
	Instances int             `json:"instances"`
	Breaking  int             `json:"breaking"`
	Outcomes  map[Outcome]int `json:"outcomes"`
}

// counted is how many instances of a team in a class have an outcome.
type counted struct {
	class, team string
	outcome     Outcome
	n           int
}

// radius adds up what was counted, with the teams that may be seen.
func radius(counts []counted, seen func(team string) bool) Radius {
	r := Radius{Outcomes: map[Outcome]int{}}
	classes, teams := map[string]*Group{}, map[string]*Group{}
	add := func(groups map[string]*Group, name string, c counted) {
		g := groups[name]
		if g == nil {
			g = &Group{Name: name, Outcomes: map[Outcome]int{}}
			groups[name] = g
		}
		g.Instances += c.n
		g.Outcomes[c.outcome] += c.n
		if c.outcome.breaking() {
			g.Breaking += c.n
		}
	}
	for _, c := range counts {
		r.Instances += c.n
		r.Outcomes[c.outcome] += c.n
		if c.outcome.breaking() {
			r.Breaking += c.n
		}
		add(classes, c.class, c)
		if seen(c.team) {
			add(teams, c.team, c)
		}
	}
	r.Planned = r.Instances - r.Outcomes[Unplanned]
	r.Classes, r.Teams = gravest(classes), gravest(teams)
	return r
}

// move counts an instance under another outcome. The groups stay as they were read.
func (r *Radius) move(from, to Outcome) {
	r.Outcomes[from]--
	r.Outcomes[to]++
	if from.breaking() {
		r.Breaking--
	}
	if to.breaking() {
		r.Breaking++
	}
	r.Planned = r.Instances - r.Outcomes[Unplanned]
}

// gravest sorts groups: most breaking first, then by name.
func gravest(groups map[string]*Group) []Group {
	list := []Group{}
	for _, g := range groups {
		list = append(list, *g)
	}
	slices.SortFunc(list, func(a, b Group) int { return cmp.Or(cmp.Compare(b.Breaking, a.Breaking), cmp.Compare(a.Name, b.Name)) })
	return list
}

// summary says the radius in a sentence.
func (r Radius) summary() string {
	switch {
	case r.Instances == 0:
		return "no instance runs on this pattern yet"
	case r.Planned < r.Instances:
		return fmt.Sprintf("planned %d of %d", r.Planned, r.Instances)
	}
	words := []string{}
	for _, o := range outcomes {
		if n := r.Outcomes[o]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, map[Outcome]string{
				Fails: "cannot be planned", NeedsValue: "need a value", OutOfBounds: "have a value outside the new bounds", Destroys: "would lose something stateful",
				Replaces: "replace something", Deferred: "are planned only with a certified version, which gets credentials", Updates: "are updated in place", Unchanged: "stay as they are",
			}[o]))
		}
	}
	if r.Breaking > 0 {
		return fmt.Sprintf("%d of %s would break: %s", r.Breaking, live(r.Instances), strings.Join(words, ", "))
	}
	return fmt.Sprintf("%s can move to it: %s", live(r.Instances), strings.Join(words, ", "))
}

func live(instances int) string { return plain.Count(instances, "live instance", "live instances") }

// foresee returns what is known of the effect on an instance without a plan: what the new interface and
// bounds make of its variables, where no waiver in force accepts them.
func foresee(v pattern.Version, i app.Instance, e app.Environment, team string, waivers []app.Waiver) Effect {
	f := Effect{App: i.App, Environment: i.Environment, Class: e.Class, Team: team, Version: i.Deployed.Version, Outcome: Unplanned, instance: i.ID, seen: i.UpdatedAt}
	own, outside := v.Check(e.Class, e.Own(i.Deployed.Variables))
	for _, bad := range outside {
		if slices.ContainsFunc(waivers, func(w app.Waiver) bool { return w.Accepts(i.App, i.Environment, bad.Variable, own[bad.Variable]) }) {
			continue
		}
		f.OutOfBounds = append(f.OutOfBounds, bad.Variable+": "+bad.Message)
	}
	for _, needed := range v.Interface.Variables {
		_, given := i.Deployed.Variables[needed.Name]
		_, coe := e.Values[needed.Name]
		if needed.Required && !needed.Secret && !given && !coe && needed.Name != v.Manifest.Spec.Artifact.Variable {
			f.NeedsValue = append(f.NeedsValue, needed.Name)
		}
	}
	switch {
	case len(f.NeedsValue) > 0:
		f.Outcome, f.Summary = NeedsValue, "needs a value of "+strings.Join(f.NeedsValue, ", ")
	case len(f.OutOfBounds) > 0:
		f.Outcome, f.Summary = OutOfBounds, "a value is outside the new bounds"
	case i.Deployed.Digest == v.Digest:
		f.Outcome, f.Summary = Unchanged, "runs this content already"
	case v.Interface.SignsIn():
		f.Outcome, f.Summary = Deferred, "its plan needs credentials, which no version under review gets; it is planned before it is deployed"
	}
	f.Breaking = f.Outcome.breaking()
	return f
}

// foreseeAll returns foresee of every instance in the order they are planned in: first one of each kind,
// with equal version and variables, so that people soon see all there is to see.
func foreseeAll(v pattern.Version, instances []app.Instance, environments []app.Environment, teams map[string]string, waivers map[string][]app.Waiver) []Effect {
	byName := map[string]app.Environment{}
	for _, e := range environments {
		byName[e.Name] = e
	}
	like := map[string]int{}
	effects := make([]Effect, len(instances))
	for n, i := range instances {
		f := foresee(v, i, byName[i.Environment], teams[i.App], waivers[i.App])
		kind := f.Class + i.Deployed.Digest + db.JSON(i.Deployed.Variables)
		f.position = like[kind]
		like[kind]++
		effects[n] = f
	}
	return effects
}

// desired is the state of an instance on the version, with what the environment says now.
func desired(v pattern.Version, i app.Instance, e app.Environment) app.Desired {
	d := i.Deployed
	d.Digest, d.Version, d.Variables = v.Digest, v.Version, maps.Clone(d.Variables)
	if d.Variables == nil {
		d.Variables = manifest.Values{}
	}
	maps.Copy(d.Variables, e.Values)
	return d
}

// plan adds what a plan said.
func (f Effect) plan(p change.Planned) Effect {
	f.Summary, f.PlanDigest, f.Plan, f.Destructive = p.Summary, p.Digest, p.Tree, p.Destructive
	switch {
	case len(p.Refused) > 0:
		f.Outcome, f.Error = Fails, "a policy refuses it: "+strings.Join(p.Refused, "; ")
	case len(p.Destructive) > 0:
		f.Outcome = Destroys
	case p.Worst == tofu.Replace || p.Worst == tofu.Delete || p.Worst == tofu.Forget:
		f.Outcome = Replaces
	case p.Worst == tofu.NoOp || p.Worst == "":
		f.Outcome = Unchanged
	default:
		f.Outcome = Updates
	}
	f.Breaking = f.Outcome.breaking()
	return f
}

// Filter of a list of effects. Empty fields match everything.
type Filter struct {
	Outcome     Outcome
	Class       string
	Environment string
	Team        string
	App         string
	After       Cursor
	Limit       int
}

// Cursor is the place of an effect in the list.
type Cursor struct {
	Gravity     int    `json:"g"`
	App         string `json:"a"`
	Environment string `json:"e"`
}

// Cursor returns the effect's own place.
func (f Effect) Cursor() Cursor { return Cursor{f.Outcome.gravity(), f.App, f.Environment} }
