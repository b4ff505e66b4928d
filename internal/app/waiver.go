package app

import (
	"slices"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/pattern"
)

// Waiver accepts one value of a variable outside its bounds, in one instance and until a date (rule of
// change 3). A team asks, the Center of Excellence decides. When it ends, what runs is left alone, and the
// next change of the app that keeps the value is refused.
type Waiver struct {
	ID          string      `json:"id"`
	App         string      `json:"app"`
	Environment string      `json:"environment"`
	Variable    string      `json:"variable"`
	Value       any         `json:"value" doc:"The one value that is accepted"`
	Bound       string      `json:"bound" doc:"The bound that it is outside of, as it was when the waiver was asked for"`
	Reason      string      `json:"reason" doc:"Why the team needs it"`
	State       WaiverState `json:"state" enum:"requested,granted,declined,revoked"`
	InForce     bool        `json:"inForce" doc:"Granted, and its end has not come"`
	Until       *time.Time  `json:"until,omitempty" doc:"When it ends; asked for by the team, and set by who grants it"`
	EndedAt     *time.Time  `json:"endedAt,omitempty" doc:"When a granted one ended: at its end date, or when it was revoked"`
	AskedBy     string      `json:"askedBy"`
	DecidedBy   string      `json:"decidedBy,omitempty"`
	Decision    string      `json:"decision,omitempty" doc:"What who decided said"`
	CreatedAt   time.Time   `json:"createdAt"`
	UpdatedAt   time.Time   `json:"updatedAt"`

	askedBy string // id of the person, who may not decide
}

// WaiverFilter says which waivers are listed; what is empty lets all through.
type WaiverFilter struct {
	App         string
	Environment string
	State       WaiverState // Granted lets through those in force, Ended those whose end date has come
}

// WaiverState is how far a waiver has come. That one has ended is not a state: its end date says it.
type WaiverState string

const (
	Requested WaiverState = "requested"
	Granted   WaiverState = "granted"
	Declined  WaiverState = "declined"
	Revoked   WaiverState = "revoked"

	Ended WaiverState = "ended" // in a filter only
)

// longestWaiver is how far away the end of a waiver may be. What has to last longer belongs in the
// pattern.
const longestWaiver = 366 * 24 * time.Hour

// Accepts reports whether the waiver was in force when it was read and accepts the value there.
func (w Waiver) Accepts(app, environment, variable string, value any) bool {
	return w.InForce && w.about(app, environment, variable, value)
}

// Over reports whether the waiver accepted the value there, and does not any more.
func (w Waiver) Over(app, environment, variable string, value any) bool {
	return (w.State == Revoked || w.State == Granted && !w.InForce) && w.about(app, environment, variable, value)
}

func (w Waiver) about(app, environment, variable string, value any) bool {
	return w.App == app && w.Environment == environment && w.Variable == variable && SameValue(w.Value, value)
}

// GrantedBy reports whether the actor may grant the waiver: its rights allow it, and it did not ask itself.
func (w Waiver) GrantedBy(actor account.Actor) bool {
	return w.State == Requested && w.askedBy != actor.ID && actor.Can(account.GrantWaiver, "")
}

func (w Waiver) inForce(at time.Time) bool {
	return w.State == Granted && w.Until != nil && at.Before(*w.Until)
}

// matters reports whether people have to know of the waiver: it is asked for, in force, or over while what it
// accepted still runs.
func (w Waiver) matters(instances []Instance) bool {
	if w.State == Requested || w.InForce {
		return true
	}
	return w.State != Declined && slices.ContainsFunc(instances, func(i Instance) bool {
		value, set := i.Deployed.Variables[w.Variable]
		return i.Environment == w.Environment && set && SameValue(value, w.Value)
	})
}

// Outside is a value that an instance runs with although the waiver that accepted it has ended.
type Outside struct {
	Variable string    `json:"variable"`
	Value    any       `json:"value"`
	Since    time.Time `json:"since"`
	Waiver   string    `json:"waiver" doc:"The waiver that accepted it"`
}

// outsideSince returns the values of an instance that are outside the bounds of the pattern it runs on
// because the last waiver that accepted them has ended.
func outsideSince(p pattern.Version, e Environment, i Instance, waivers []Waiver) []Outside {
	own, bad := p.Check(e.Class, e.Own(i.Deployed.Variables))
	var found []Outside
	for _, v := range bad {
		last := Outside{Variable: v.Variable, Value: own[v.Variable]}
		for _, w := range waivers {
			about := w.about(i.App, i.Environment, v.Variable, last.Value)
			if about && w.InForce {
				last.Waiver = ""
				break
			}
			if about && w.EndedAt != nil && w.EndedAt.After(last.Since) {
				last.Since, last.Waiver = *w.EndedAt, w.ID
			}
		}
		if last.Waiver != "" {
			found = append(found, last)
		}
	}
	return found
}

// fact returns what is told when the waiver of a team's app is requested, ended, or decided about.
func (w Waiver) fact(what, team string) event.Fact {
	of := event.OfWaiver{Waiver: w.ID, App: w.App, Team: team, Environment: w.Environment, Variable: w.Variable}
	switch WaiverState(what) {
	case Granted:
		return event.WaiverGranted{OfWaiver: of, Until: *w.Until}
	case Declined:
		return event.WaiverDeclined{OfWaiver: of}
	case Revoked:
		return event.WaiverRevoked{OfWaiver: of}
	case Ended:
		return event.WaiverEnded{OfWaiver: of}
	}
	return event.WaiverRequested{OfWaiver: of}
}
