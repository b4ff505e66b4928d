package deploy

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/fault"
)

var update = flag.Bool("update", false, "write docs/deployments.md anew")

func TestEveryHappeningHasAnAnswerInEveryState(t *testing.T) {
	if len(table) != len(states) {
		t.Errorf("the table has %d states, not %d", len(table), len(states))
	}
	for _, s := range states {
		if len(table[s]) != len(inputs) {
			t.Errorf("%q answers %d inputs, not %d", s, len(table[s]), len(inputs))
		}
		for _, h := range inputs {
			m, known := table[s][h.input]
			if !known || (m.refused == "") != slices.Contains(states[1:], m.to) {
				t.Errorf("%q, %s: it is neither moved nor refused: %+v", s, h.input, m)
			}
			if m.refused != "" && (m.to != "" || len(m.effects) > 0) {
				t.Errorf("%q, %s: it is refused and moves: %+v", s, h.input, m)
			}
		}
	}
}

// What the rules of change say of the table, pair by pair, is said here once more, from their side.
func TestTheTableKeepsTheRulesOfChange(t *testing.T) {
	for _, s := range states {
		for _, h := range inputs {
			m := decide(s, h.input)
			name := fmt.Sprintf("%q, %s", s, h.input)
			has := func(e effect) bool { return slices.Contains(m.effects, e) }
			switch {
			case m.refused != "":
				continue
			case s.Over() && s != absent:
				t.Errorf("%s: what has ended moves to %s", name, m.to)
			case s != absent && h.input == admission, s != Waiting && h.input == turn:
				t.Errorf("%s: it moves to %s", name, m.to)
			case (s == Running || s == cancelling || s == Held) && m.to.Over() && !has(free):
				t.Errorf("%s: the instance is never free again", name)
			case m.to.Over() && s != Waiting && s != Held && !has(closeSteps):
				t.Errorf("%s: its step goes on for ever", name)
			case m.to.Over() && m.to != Succeeded && !has(stick) && !has(carry) && !has(goBack):
				t.Errorf("%s: its change is dropped silently", name)
			case m.to.Over() && m.to != Succeeded && m.to != Superseded && !has(restore) && !has(goBack):
				t.Errorf("%s: a rollback that was not carried out stays", name)
			case s == cancelling && !m.to.Over() && m.to != cancelling:
				t.Errorf("%s: the wish to cancel is lost", name)
			case m.to == Running && s != Running && !has(start):
				t.Errorf("%s: nobody runs it", name)
			case s == Waiting && m.to == Running && !has(occupy):
				t.Errorf("%s: it runs without the instance", name)
			}
		}
	}
}

func TestARefusalIsAnsweredToWhoCausedIt(t *testing.T) {
	d := Deployment{ID: "dpl_1"}
	for _, tt := range []struct {
		state State
		h     input
		code  string
	}{
		{Succeeded, cancel, "deployment.over"}, {Failed, cancel, "deployment.over"}, {Superseded, cancel, "deployment.over"}, {Interrupted, cancel, "deployment.over"},
		{Waiting, release, "deployment.not_held"}, {Running, release, "deployment.not_held"}, {Cancelled, release, "deployment.not_held"},
		{absent, cancel, "deployment.not_found"},
	} {
		if err := decide(tt.state, tt.h).refused.answer(d, tt.h); !fault.Is(err, tt.code) {
			t.Errorf("%q, %s: %v, want %s", tt.state, tt.h, err, tt.code)
		}
	}
	for _, h := range []input{planning, pause, hold, success, failure, partialFailure, stopping, crash} {
		for _, s := range states {
			late := s != absent && s != Running && s != cancelling
			if err := decide(s, h).refused.answer(d, h); late != errors.Is(err, durable.ErrOutdated) && s != absent {
				t.Errorf("%q, %s: a run is answered %v", s, h, err)
			}
		}
	}
	if err := decide(Held, turn).refused.answer(d, turn); err == nil || fault.From(err).Kind != fault.Internal {
		t.Errorf("a defect is answered %v", err)
	}
}

func TestTheEndOfARunIsOneHappening(t *testing.T) {
	previous := state("a")
	for name, tt := range map[string]struct {
		d       Deployment
		out     outcome
		touched bool
		want    input
	}{
		"before it touched anything":     {Deployment{Previous: previous}, outcome{Failed: "no"}, false, failure},
		"after it did":                   {Deployment{Previous: previous}, outcome{Failed: "no"}, true, partialFailure},
		"the first one":                  {Deployment{}, outcome{Failed: "no"}, true, failure},
		"a rollback":                     {Deployment{Previous: previous, Trigger: ByRollback}, outcome{Failed: "no"}, true, failure},
		"a removal":                      {Deployment{Previous: previous, Kind: Destroy}, outcome{Failed: "no"}, true, failure},
		"as somebody asked":              {Deployment{Previous: previous}, outcome{Failed: "no", Code: codeCancelled}, true, stopping},
		"interrupted by somebody else":   {Deployment{Previous: previous}, outcome{Failed: "no", Code: "engine.cancelled"}, true, stopping},
		"killed":                         {Deployment{Previous: previous}, outcome{Failed: "no", Interrupted: true}, true, crash},
		"killed while somebody wants it": {Deployment{Previous: previous}, outcome{Failed: "no", Interrupted: true, Code: codeCancelled}, true, crash},
	} {
		if got := tt.d.ending(tt.out, tt.touched); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

const drawing = "../../docs/deployments.md"

func TestTheDrawingOfTheMachineIsThatOfItsTable(t *testing.T) {
	want := draw()
	if *update {
		if err := os.WriteFile(drawing, []byte(want), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(drawing)
	if err != nil || string(have) != want {
		t.Errorf("docs/deployments.md is not drawn from the table (%v): go test ./internal/deploy -run TheDrawing -update", err)
	}
}

// shown is how documents name a state of the machine.
func (s State) shown() string {
	switch s {
	case absent:
		return "not there"
	case cancelling:
		return "running, to be cancelled"
	}
	return string(s)
}

// draw returns docs/deployments.md.
func draw() string {
	var b strings.Builder
	b.WriteString(`# States of a deployment

<!-- Drawn from internal/deploy/machine.go by its tests: go test ./internal/deploy -run TheDrawing -update -->

A deployment is a state machine. Whatever happens to it is decided in one function, on rows that are locked: first the
instances of the app, then the deployment, then changes. In the same transaction only the columns that the input
changes are written, the fact is appended, and what follows is done.

` + "```mermaid\nstateDiagram-v2\n")
	for _, s := range states[1:] {
		if strings.ContainsAny(s.shown(), " ,") {
			fmt.Fprintf(&b, "  state %q as %s\n", s.shown(), s)
		}
	}
	for _, s := range states {
		for _, h := range inputs {
			if m := decide(s, h.input); m.refused == "" && (m.to != s) {
				from := string(s)
				if s == absent {
					from = "[*]"
				}
				fmt.Fprintf(&b, "  %s --> %s: %s\n", from, m.to, h.input)
			}
		}
	}
	for _, s := range states[1:] {
		if s.Over() {
			fmt.Fprintf(&b, "  %s --> [*]\n", s)
		}
	}
	b.WriteString("```\n\n## Inputs\n\n| input | what it means |\n|---|---|\n")
	for _, h := range inputs {
		fmt.Fprintf(&b, "| **%s** | %s |\n", h.input, h.means)
	}
	b.WriteString("\n## What comes of it\n\nBold is the state after it. Everything else is a refusal.\n\n| |")
	for _, s := range states {
		fmt.Fprintf(&b, " %s |", s.shown())
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(states)) + "\n")
	for _, h := range inputs {
		fmt.Fprintf(&b, "| %s |", h.input)
		for _, s := range states {
			if m := decide(s, h.input); m.refused != "" {
				fmt.Fprintf(&b, " %s |", m.refused)
			} else {
				fmt.Fprintf(&b, " **%s** |", m.to.shown())
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("\n| refusal | what it means |\n|---|---|\n")
	for _, r := range refusals {
		fmt.Fprintf(&b, "| %s | %s |\n", r.refusal, r.means)
	}
	b.WriteString("\n## What follows\n\nIn this order, in the transaction that moves the deployment.\n\n| state | input | state after it | what follows |\n|---|---|---|---|\n")
	for _, s := range states {
		for _, h := range inputs {
			m := decide(s, h.input)
			if m.refused != "" || len(m.effects) == 0 {
				continue
			}
			follows := make([]string, len(m.effects))
			for i, e := range m.effects {
				follows[i] = string(e)
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", s.shown(), h.input, m.to.shown(), strings.Join(follows, " · "))
		}
	}
	return b.String()
}
