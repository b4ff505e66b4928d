package deploy

import (
	"fmt"

	"flywheel.dev/flywheel/internal/durable"
	"flywheel.dev/flywheel/internal/fault"
)

// A deployment is a state machine. decide is the whole of it: what an input makes of a deployment in a state,
// and what follows from that. It reads nothing; who calls it has locked the instance and the deployment
// (Service.take), so that the state is still true when the answer is written. docs/deployments.md is drawn from
// the table below.

// absent and cancelling are states of the machine only: no row says them. A running deployment is cancelling
// when its row names who wants it to stop.
const (
	absent     State = ""
	cancelling State = "cancelling"
)

// states are all states of the machine, in the order that documents show them.
var states = []State{absent, Waiting, Running, cancelling, Held, Succeeded, Failed, Cancelled, Superseded, Interrupted}

// at returns the deployment's state in the machine.
func (d Deployment) at() State {
	if d.State == Running && d.cancelledBy != "" {
		return cancelling
	}
	return d.State
}

// input is what may happen to a deployment.
type input string

const (
	admission      input = "admission"
	delay          input = "delay"
	turn           input = "turn"
	replacement    input = "replacement"
	planning       input = "planning"
	pause          input = "pause"
	hold           input = "hold"
	release        input = "release"
	cancel         input = "cancel"
	success        input = "success"
	failure        input = "failure"
	partialFailure input = "partial failure"
	stopping       input = "stop"
	crash          input = "crash"
)

// inputs are all of them with what they mean, in the order that documents show them.
var inputs = []struct {
	input
	means string
}{
	{admission, "A change, a person or a failure asks for it"},
	{delay, "A freeze or a rollback keeps it from its turn"},
	{turn, "Its turn comes"},
	{replacement, "A newer change brings its state"},
	{planning, "Its plan is made"},
	{pause, "Its step waits for something that passes, or goes on"},
	{hold, "Its plan needs an operator"},
	{release, "An operator releases its plan"},
	{cancel, "Somebody cancels it"},
	{success, "Its last step succeeds"},
	{failure, "A step fails, and there is nothing to take back or nothing to go back to"},
	{partialFailure, "A step fails after it changed something, and an earlier state is known"},
	{stopping, "A step gives up what it was doing, as somebody asked"},
	{crash, "The engine was killed, and what it did is not known"},
}

// effect is what follows when a deployment moves, in the same transaction.
type effect string

const (
	tryNext    effect = "the first that may run on the instance begins"
	occupy     effect = "the instance is its own, and its fence rises"
	start      effect = "its workflow starts after the commit"
	tell       effect = "whoever runs its step is told after the commit"
	closeSteps effect = "its step ends"
	rest       effect = "the instance is as it was before"
	wake       effect = "the instance is deploying"
	arrive     effect = "what it brought is recorded of the instance"
	free       effect = "the instance is free, and the next deployment begins"
	advance    effect = "its change goes on, with those it carries"
	stick      effect = "its change, and those it carries, say why they do not get here"
	carry      effect = "its change comes with the newer one"
	goBack     effect = "its change is marked as rolled back, and the rollback is admitted"
	restore    effect = "of a rollback that changed nothing: change and pin are as before it; of one that did: the revert opens"
	openRevert effect = "of a rollback: the revert of its change opens"
)

// refusal is why an input moves nothing.
type refusal string

const (
	missing  refusal = "missing"   // nobody can name it
	over     refusal = "over"      // it has ended
	notHeld  refusal = "not held"  // there is no plan to release
	outdated refusal = "outdated"  // the run that says so has been overtaken, and ends
	never    refusal = "never"     // nobody says so of it
	kept     refusal = "no change" // it stays as it is, and nothing is told
)

// refusals are all of them with what they mean, in the order that documents show them.
var refusals = []struct {
	refusal
	means string
}{
	{missing, "Nobody can name a deployment that is not there"},
	{over, "Refused with the code `deployment.over`"},
	{notHeld, "Refused with the code `deployment.not_held`"},
	{outdated, "The run that says so was overtaken. It writes nothing and ends"},
	{never, "A defect of Flywheel, and an error: nobody says this of a deployment in this state"},
	{kept, "Nothing is written: the wish to cancel stays what it says"},
}

// move is what becomes of a deployment.
type move struct {
	to      State
	effects []effect
	refused refusal // "" if it moves
}

func to(s State, effects ...effect) move { return move{to: s, effects: effects} }

func no(r refusal) move { return move{refused: r} }

// all returns a row in which everything is refused alike.
func all(r refusal) map[input]move {
	row := map[input]move{}
	for _, h := range inputs {
		row[h.input] = no(r)
	}
	return row
}

// row returns a row of the table: what a run says is outdated, what a person asks is answered, and nobody says the
// rest, unless moves says otherwise.
func row(person refusal, moves map[input]move) map[input]move {
	out := all(outdated)
	for _, h := range []input{admission, delay, turn, replacement} {
		out[h] = no(never)
	}
	out[cancel], out[release] = no(person), no(notHeld)
	for h, m := range moves {
		out[h] = m
	}
	return out
}

// ends are the moves of a deployment that runs, whether or not somebody wants it to stop: what has finished by
// then stays.
func ends(moves map[input]move) map[input]move {
	for h, m := range map[input]move{
		success:        to(Succeeded, closeSteps, arrive, free, advance, openRevert),
		failure:        to(Failed, closeSteps, stick, restore, free),
		partialFailure: to(Failed, closeSteps, goBack, free),
		stopping:       to(Cancelled, closeSteps, stick, restore, free),
		crash:          to(Interrupted, closeSteps, stick, restore, free),
	} {
		moves[h] = m
	}
	return moves
}

// table says what becomes of every state by every input.
var table = map[State]map[input]move{
	absent: func() map[input]move {
		row := all(missing)
		row[admission] = to(Waiting, tryNext)
		return row
	}(),
	Waiting: row(never, map[input]move{
		delay:       to(Waiting),
		turn:        to(Running, occupy, start),
		replacement: to(Superseded, carry),
		cancel:      to(Cancelled, stick, restore, tryNext),
	}),
	Running: row(never, ends(map[input]move{
		planning: to(Running),
		pause:    to(Running),
		hold:     to(Held, closeSteps, rest),
		cancel:   to(cancelling, tell),
	})),
	cancelling: row(never, ends(map[input]move{
		planning: to(cancelling),
		pause:    no(kept),
		hold:     to(Cancelled, closeSteps, stick, restore, free),
		cancel:   to(cancelling, tell),
	})),
	Held: row(never, map[input]move{
		release: to(Running, wake, start),
		cancel:  to(Cancelled, stick, restore, free),
	}),
	Succeeded:   row(over, nil),
	Failed:      row(over, nil),
	Cancelled:   row(over, nil),
	Superseded:  row(over, nil),
	Interrupted: row(over, nil),
}

// decide returns what becomes of a deployment in a state by an input.
func decide(s State, h input) move {
	if m, known := table[s][h]; known {
		return m
	}
	return no(never)
}

// answer is the error that says a refusal to who caused the input.
func (r refusal) answer(d Deployment, h input) error {
	switch r {
	case missing:
		return fault.Missing("deployment", d.ID)
	case over:
		return fault.New(fault.Conflict, "deployment.over", "Deployment %s has already %s.", d.ID, d.State)
	case notHeld:
		return fault.New(fault.Conflict, "deployment.not_held", "Deployment %s is %s, not held.", d.ID, d.State)
	case outdated:
		return durable.ErrOutdated
	case kept:
		return nil
	}
	return fmt.Errorf("deploy: %s is %s, and %s was said of it", d.ID, d.at(), h)
}
