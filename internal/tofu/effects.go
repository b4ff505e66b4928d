package tofu

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// EffectKind is what a plan does to one thing, in the word that every display uses.
type EffectKind string

const (
	Destroys        EffectKind = "destroy"
	DestroysDeposed EffectKind = "destroy_deposed" // what a replacement has left behind
	Replaces        EffectKind = "replace"
	Forgets         EffectKind = "forget" // leaves it alone and stops managing it
	Updates         EffectKind = "update"
	Invokes         EffectKind = "invoke" // an action of a provider
	Creates         EffectKind = "create"
	Imports         EffectKind = "import" // begins to manage what is there
	Moves           EffectKind = "move"   // another address, nothing else
	Reads           EffectKind = "read"   // a data source, during the apply
	ChangesOutput   EffectKind = "output"
	FailsCheck      EffectKind = "check"
)

// gravity is the order of the kinds, and the action that stands for each.
var gravity = []struct {
	kind   EffectKind
	action Action
	words  string // for how many
}{
	{Destroys, Delete, "%d to destroy"}, {DestroysDeposed, Delete, "%d deposed to destroy"}, {Replaces, Replace, "%d to replace"},
	{Forgets, Forget, "%d to forget"}, {Updates, Update, "%d to update"}, {Invokes, Update, "%d actions run"}, {Creates, Create, "%d to create"}, {Imports, Import, "%d to import"},
	{Moves, Move, "%d to move"}, {ChangesOutput, Update, "%d outputs change"}, {Reads, NoOp, "%d to read"}, {FailsCheck, NoOp, "%d checks fail"},
}

func (k EffectKind) gravity() int {
	for i, g := range gravity {
		if g.kind == k {
			return i
		}
	}
	return len(gravity)
}

// PlanEffect is one thing that a plan does. A resource may have several: it is moved and updated.
type PlanEffect struct {
	Kind     EffectKind `json:"kind"`
	Address  string     `json:"address"`            // of a resource, an action or a check, or the name of an output
	Previous string     `json:"previous,omitempty"` // address before a move
	Import   string     `json:"import,omitempty"`   // what is imported, as its provider calls it
	Deposed  string     `json:"deposed,omitempty"`  // key of the object that a replacement has left behind

	resource string // type, of a managed one
}

// Effects is the one reading of a plan that every count, summary and list derives from: all that it does, the
// gravest first. It is empty only if there is truly nothing.
func (p *Plan) Effects() []PlanEffect {
	list := []PlanEffect{}
	for _, c := range p.Changes {
		list = append(list, c.effects()...)
	}
	for _, a := range p.Invocations {
		list = append(list, PlanEffect{Kind: Invokes, Address: a.Address})
	}
	for _, o := range p.Outputs {
		if o.Action != NoOp {
			list = append(list, PlanEffect{Kind: ChangesOutput, Address: o.Name})
		}
	}
	for _, c := range p.Checks {
		if c.failed() {
			list = append(list, PlanEffect{Kind: FailsCheck, Address: c.Address})
		}
	}
	slices.SortStableFunc(list, func(a, b PlanEffect) int {
		return cmp.Or(a.Kind.gravity()-b.Kind.gravity(), strings.Compare(a.Address, b.Address))
	})
	return list
}

func (c ResourceChange) effects() []PlanEffect {
	list := []PlanEffect{}
	add := func(kind EffectKind) {
		e := PlanEffect{Kind: kind, Address: c.Address, Deposed: c.Deposed}
		if !c.Data {
			e.resource = c.Type
		}
		switch kind {
		case Moves:
			e.Previous = c.Previous
		case Imports:
			e.Import = c.Import
		}
		list = append(list, e)
	}
	if c.Import != "" {
		add(Imports)
	}
	if c.Previous != "" && c.Previous != c.Address {
		add(Moves)
	}
	switch c.Action {
	case Create:
		add(Creates)
	case Update:
		add(Updates)
	case Replace:
		add(Replaces)
	case Forget:
		add(Forgets)
	case Read:
		add(Reads)
	case Delete:
		if c.Deposed != "" {
			add(DestroysDeposed)
		} else {
			add(Destroys)
		}
	}
	return list
}

// effective reports whether something of the resource changes: what is only read is not.
func (c ResourceChange) effective() bool {
	return slices.ContainsFunc(c.effects(), func(e PlanEffect) bool { return e.Kind != Reads })
}

// failed leaves out what is known only after the apply.
func (c Check) failed() bool { return c.Status == "fail" || c.Status == "error" }

// Empty reports whether applying the plan would change nothing.
func (p *Plan) Empty() bool { return p.Worst() == NoOp }

// Summary counts what the plan does, for example "1 to create, 2 to update".
func (p *Plan) Summary() string {
	count := map[EffectKind]int{}
	for _, e := range p.Effects() {
		count[e.Kind]++
	}
	parts := []string{}
	for _, g := range gravity {
		n := count[g.kind]
		text := fmt.Sprintf(g.words, n)
		switch {
		case n == 0:
			continue
		case n == 1 && g.kind == ChangesOutput:
			text = "1 output changes"
		case n == 1 && g.kind == FailsCheck:
			text = "1 check fails"
		case n == 1 && g.kind == Invokes:
			text = "1 action runs"
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return "nothing to change"
	}
	return strings.Join(parts, ", ")
}

// Worst returns the gravest thing the plan does, NoOp for nothing. A plan that only changes outputs updates.
func (p *Plan) Worst() Action {
	worst := len(gravity)
	for _, e := range p.Effects() {
		if i := e.Kind.gravity(); gravity[i].action != NoOp {
			worst = min(worst, i)
		}
	}
	if worst == len(gravity) {
		return NoOp
	}
	return gravity[worst].action
}

// Destructive lists what would be destroyed or replaced and whose type holds something that would be lost with
// it. Stateful gives the usual judgement of types.
func (p *Plan) Destructive(stateful func(resourceType string) bool) []string {
	list := []string{}
	for _, e := range p.Effects() {
		if e.resource == "" || !stateful(e.resource) {
			continue
		}
		switch e.Kind {
		case Destroys, Replaces:
			list = append(list, e.Address)
		case DestroysDeposed:
			list = append(list, fmt.Sprintf("%s (deposed %s)", e.Address, e.Deposed))
		}
	}
	return list
}

// MarshalJSON adds the effects and their summary to what readers get.
func (p *Plan) MarshalJSON() ([]byte, error) {
	type plain Plan
	return json.Marshal(struct {
		*plain
		Summary string       `json:"summary"`
		Effects []PlanEffect `json:"effects"`
	}{(*plain)(p), p.Summary(), p.Effects()})
}
