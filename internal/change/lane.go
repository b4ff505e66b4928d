package change

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/manifest"
)

// Lane is how much governance a change needs.
type Lane string

const (
	Software Lane = "software" // only the app's own code
	Variable Lane = "variable" // a variable inside its bounds, or another certified version
	Pattern  Lane = "pattern"  // the pattern itself
)

// Reason is one observation that led to the lane. Every reason is kept and shown.
type Reason struct {
	Environment string          `json:"environment,omitempty"`
	Variable    string          `json:"variable,omitempty"`
	Text        string          `json:"text"`
	Held        bool            `json:"held,omitempty" doc:"Whether an operator must release the change for it, whatever the plan says"`
	Needs       manifest.Who    `json:"needs,omitempty" enum:"owner,coe" doc:"Who must release the change for it, if not an operator"`
	Breaking    bool            `json:"breaking,omitempty" doc:"Of a pattern change: it destroys or replaces something stateful on live instances"`
	Value       json.RawMessage `json:"value,omitempty" doc:"Of what is refused: the value outside its bounds, which a waiver could accept"`
}

// Effect is what a change does to one environment.
type Effect struct {
	Environment string `json:"environment"`
	Action      string `json:"action" enum:"deploy,remove"`
	Plan        bool   `json:"plan" doc:"Whether an infrastructure plan is needed to confirm the lane"`
}

// Verdict is what the comparison of two descriptions finds.
type Verdict struct {
	Lane    Lane     `json:"lane"`
	Reasons []Reason `json:"reasons"`
	Effects []Effect `json:"effects"` // in the order of the environments; empty: nothing to deploy
}

// Held returns the reasons for which an operator must release the change, whatever the plan says.
func (v Verdict) Held() (texts []string) {
	for _, r := range v.Reasons {
		if r.Held {
			texts = append(texts, r.Text)
		}
	}
	return texts
}

// Classify compares what main describes with what the change, merged into main as it is now, would
// describe, environment by environment (rule of change 1). deployed is what is deployed, by environment: it
// alters no lane, but an instance that lags behind main needs an infrastructure run even for a new artifact,
// and the reasons say so (rule of change 2); nil if it is not known. explain says, for a variable of an
// environment, who controls it and which bounds it has; it may be nil.
//
// The verdict is the candidate lane: the plan of each effect confirms it or holds the change.
func Classify(main, merged app.Description, environments []app.Environment, deployed map[string]app.Desired, explain func(environment, variable string) string) Verdict {
	v := Verdict{Lane: Software, Reasons: []Reason{}, Effects: []Effect{}}
	raise := func(lane Lane, environment, variable, format string, args ...any) {
		if lane == Variable {
			v.Lane = Variable
		}
		v.Reasons = append(v.Reasons, Reason{Environment: environment, Variable: variable, Text: fmt.Sprintf(format, args...)})
	}
	hold := func(environment, format string, args ...any) {
		raise(Variable, environment, "", format, args...)
		v.Reasons[len(v.Reasons)-1].Held = true
	}
	first := main.Pin.Pattern == ""
	moved := !first && main.Pin.Pattern != merged.Pin.Pattern
	upgraded := !first && !moved && main.Pin.Digest != merged.Pin.Digest
	code := main.Source != merged.Source

	switch {
	case moved:
		hold("", "the app moves from pattern %s to %s: its infrastructure is replaced, so an operator releases it", main.Pin.Pattern, merged.Pin.Pattern)
	case upgraded:
		raise(Variable, "", "", "pattern %s %s → %s, both certified", main.Pin.Pattern, main.Pin.Version, merged.Pin.Version)
	}
	if code && !first {
		raise(Software, "", "", "the app's own code differs: a new artifact")
	}

	lags := false
	for _, e := range app.InOrder(environments) {
		old, had := main.Environments[e.Name]
		new, has := merged.Environments[e.Name]
		switch {
		case !had && !has:
			continue
		case !has:
			hold(e.Name, "%s is removed: an operator releases its destroy plan", e.Name)
			v.Effects = append(v.Effects, Effect{e.Name, "remove", true})
			continue
		case !had:
			raise(Variable, e.Name, "", "%s: first deployment", e.Name)
			v.Effects = append(v.Effects, Effect{e.Name, "deploy", true})
			continue
		}
		infrastructure := moved || upgraded
		for _, name := range names(old, new) {
			if app.SameValue(old[name], new[name]) {
				continue
			}
			infrastructure = true
			why := ""
			if explain != nil {
				why = explain(e.Name, name)
			}
			if why != "" {
				why = ": " + why
			}
			raise(Variable, e.Name, name, "%s.%s %s → %s%s", e.Name, name, show(old, name), show(new, name), why)
		}
		if infrastructure || code {
			v.Effects = append(v.Effects, Effect{e.Name, "deploy", infrastructure})
		}
		if there := deployed[e.Name]; code && !infrastructure && deployed != nil && !there.SameInfrastructure(main.Desired(e, "")) {
			lags = true
			raise(Software, e.Name, "", "%s lags behind main (%s): unless it has caught up by then, the new artifact comes with an infrastructure run", e.Name, lag(there, main))
		}
	}
	if len(v.Reasons) == 0 {
		v.Reasons = append(v.Reasons, Reason{Text: "nothing that runs differs: merging deploys nothing"})
	} else if v.Lane == Software && lags {
		v.Reasons = append(v.Reasons, Reason{Text: "variables and pattern are as on main: no infrastructure run where an instance does not lag"})
	} else if v.Lane == Software {
		v.Reasons = append(v.Reasons, Reason{Text: "variables and pattern are as on main: no infrastructure run"})
	}
	return v
}

// lag says in which way an instance is behind main.
func lag(deployed app.Desired, main app.Description) string {
	switch {
	case deployed.IsZero():
		return "nothing is deployed there yet"
	case deployed.Digest != main.Pin.Digest:
		return fmt.Sprintf("%s %s is deployed there", deployed.Pattern, deployed.Version)
	}
	return "other variables are deployed there"
}

func names(a, b manifest.Values) []string {
	all := map[string]bool{}
	for k := range maps.Keys(a) {
		all[k] = true
	}
	for k := range maps.Keys(b) {
		all[k] = true
	}
	return slices.Sorted(maps.Keys(all))
}

func show(values manifest.Values, name string) string {
	v, set := values[name]
	if !set {
		return "(default)"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return strings.Trim(string(b), `"`)
}
