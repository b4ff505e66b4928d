package pattern

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
)

// Request is a wish, in words, for a pattern or for a change to one.
type Request struct {
	ID         string    `json:"id"`
	Pattern    string    `json:"pattern,omitempty" doc:"The pattern to change; empty for a new one"`
	Title      string    `json:"title"`
	Body       string    `json:"body,omitempty"`
	State      string    `json:"state" enum:"open,accepted,developing,done,declined"`
	Reason     string    `json:"reason,omitempty"`
	Change     string    `json:"change,omitempty" doc:"The pattern change that fulfils it"`
	Story      string    `json:"story,omitempty"`
	AskedBy    string    `json:"askedBy"`
	Discipline string    `json:"discipline,omitempty" enum:"security,operations,development"`
	CreatedAt  time.Time `json:"createdAt"`
	UpdatedAt  time.Time `json:"updatedAt"`
}

// Ask records a request.
func (s *Service) Ask(ctx context.Context, q Request) (Request, error) {
	actor := account.From(ctx)
	if err := actor.Require(account.RequestPattern, ""); err != nil {
		return q, err
	}
	if strings.TrimSpace(q.Title) == "" {
		return q, fault.New(fault.Invalid, "request.title_missing", "A request needs a title.").Do("Say in a few words what is needed.").At("title", "missing")
	}
	q.ID, q.State, q.AskedBy = db.NewID("prq"), "open", actor.Name
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		if q.Pattern != "" {
			if _, err := find(tx, q.Pattern); err != nil {
				return err
			}
		}
		q.CreatedAt, q.UpdatedAt = tx.Now(), tx.Now()
		return s.saveRequest(tx, q, "created")
	})
	return q, err
}

func (s *Service) saveRequest(tx *db.Tx, q Request, what string) error {
	if err := saveRequest(tx, q); err != nil {
		return err
	}
	of := event.OfRequest{Request: q.ID, Pattern: q.Pattern, State: q.State}
	var told event.Fact = event.PatternRequestMoved{OfRequest: of}
	if what == "created" {
		told = event.PatternRequested{OfRequest: of}
	}
	if err := event.Emit(tx, told); err != nil {
		return err
	}
	return account.Audit(tx, account.Entry{Action: "pattern_request." + what, Subject: q.ID, Decision: "allowed", Reason: q.Reason})
}

// GetRequest returns one request.
func (s *Service) GetRequest(ctx context.Context, id string) (q Request, err error) {
	if err := account.From(ctx).Require(account.ViewPattern, ""); err != nil {
		return q, err
	}
	err = s.DB.Read(ctx, func(tx *db.Tx) error { q, err = findRequest(tx, id, ""); return err })
	return q, err
}

// RequestsOf returns the requests that a pattern change is to fulfil, or has fulfilled.
func (s *Service) RequestsOf(ctx context.Context, change string) (list []Request, err error) {
	if err := account.From(ctx).Require(account.ViewPattern, ""); err != nil {
		return nil, err
	}
	err = s.DB.Read(ctx, func(tx *db.Tx) error { list, err = requestsOf(tx, change, ""); return err })
	return list, err
}

// Requests returns the requests in a state, or in any, newest first, from before a cursor.
func (s *Service) Requests(ctx context.Context, state, before string, limit int) (list []Request, err error) {
	if err := account.From(ctx).Require(account.ViewPattern, ""); err != nil {
		return nil, err
	}
	err = s.DB.Read(ctx, func(tx *db.Tx) error { list, err = requests(tx, state, before, limit); return err })
	return list, err
}

// answers lists where a request may go. The same state again is how links are added.
var answers = map[string][]string{
	"open": {"accepted", "developing", "done", "declined"}, "accepted": {"accepted", "developing", "done", "declined"},
	"developing": {"developing", "done", "declined"}, "done": {}, "declined": {},
}

// Answer moves a request: the Center of Excellence accepts, develops, finishes or declines it. A request
// whose pattern change is published is done by that.
func (s *Service) Answer(ctx context.Context, id, state, reason, change, story string) (q Request, err error) {
	if err := account.From(ctx).Require(account.DecideRequest, ""); err != nil {
		return q, err
	}
	if state == "declined" && strings.TrimSpace(reason) == "" {
		return q, fault.New(fault.Invalid, "request.reason_missing", "Declining a request needs a reason.").Do("Say in a sentence why, for the person who asked.").At("reason", "missing")
	}
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if q, err = findRequest(tx, id, tx.ForUpdate()); err != nil {
			return err
		}
		switch {
		case len(answers[q.State]) == 0:
			return fault.New(fault.Conflict, "request.over", "Request %s is already %s.", id, q.State).Do("Open a new request.")
		case !slices.Contains(answers[q.State], state):
			return fault.New(fault.Conflict, "request.state", "Request %s is %s and cannot become %s.", id, q.State, state).Do("It can become %s.", strings.Join(answers[q.State], ", "))
		}
		if change != "" {
			about, err := s.About(tx, change)
			if err != nil {
				return err
			}
			if q.Pattern != "" && q.Pattern != about {
				return fault.New(fault.Invalid, "request.other_pattern", "Change %s is one of %s, and request %s is about %s.", change, about, id, q.Pattern).Do("Name a change of %s.", q.Pattern).At("change", "of another pattern")
			}
			q.Pattern = about
		}
		q.State, q.UpdatedAt = state, tx.Now()
		q.Reason, q.Change, q.Story = cmp.Or(reason, q.Reason), cmp.Or(change, q.Change), cmp.Or(story, q.Story)
		return s.saveRequest(tx, q, state)
	})
	return q, err
}

// fulfil marks the requests that a published change was made for as done.
func (s *Service) fulfil(tx *db.Tx, v Version, change string) error {
	list, err := requestsOf(tx, change, tx.ForUpdate())
	if err != nil {
		return err
	}
	for _, q := range list {
		if len(answers[q.State]) == 0 {
			continue
		}
		q.State, q.Reason, q.UpdatedAt = "done", "published as "+v.Pattern+" "+v.Version, tx.Now()
		if err := s.saveRequest(tx, q, "done"); err != nil {
			return err
		}
	}
	return nil
}

// Unfulfilled takes the requests that a change was to fulfil back to accepted, because nothing will come of
// the change.
func (s *Service) Unfulfilled(tx *db.Tx, change, why string) error {
	list, err := requestsOf(tx, change, tx.ForUpdate())
	if err != nil {
		return err
	}
	for _, q := range list {
		if len(answers[q.State]) == 0 {
			continue
		}
		q.State, q.Reason, q.UpdatedAt = "accepted", "its change "+change+" came to nothing: "+why, tx.Now()
		if err := s.saveRequest(tx, q, "accepted"); err != nil {
			return err
		}
	}
	return nil
}
