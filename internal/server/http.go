package server

import (
	"context"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/certify"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/deploy"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/web"
)

// routes registers the operations that are composed of several features.
func (s *Server) routes(api *web.API) {
	(&event.Service{DB: s.DB, Log: s.Events, Visible: s.visibleEvents}).Routes(api)
	s.Topics.Routes(api)
	huma.Register(api, huma.Operation{OperationID: "get-change", Method: http.MethodGet, Path: "/api/v1/changes/{change}", Tags: []string{"changes"},
		Summary: "One change with everything needed to decide"}, s.getChange)
	huma.Register(api, huma.Operation{OperationID: "get-change-log", Method: http.MethodGet, Path: "/api/v1/changes/{change}/log/{check}", Tags: []string{"changes"},
		Summary: "Log of a check; with follow, until it ends"}, s.getChangeLog)
	huma.Register(api, huma.Operation{OperationID: "get-home", Method: http.MethodGet, Path: "/api/v1/home", Tags: []string{"home"},
		Summary: "What is moving, and what waits for a decision"}, s.getHome)
	huma.Register(api, huma.Operation{OperationID: "list-consumers", Method: http.MethodGet, Path: "/api/v1/consumers", Tags: []string{"event"},
		Summary: "List the consumers of facts, with what holds them up"}, s.listConsumers)
	huma.Register(api, huma.Operation{OperationID: "skip-fact", Method: http.MethodPost, Path: "/api/v1/consumers/{consumer}/skip", Tags: []string{"event"},
		Summary: "Let a consumer pass the fact where it stands still, without handling it"}, s.skipFact)
	huma.Register(api, huma.Operation{OperationID: "create-artifact", Method: http.MethodPost, Path: "/api/v1/artifacts", Tags: []string{"patterns"},
		Summary: "Upload an artifact: what an outer CI built, or what a pattern runs beside the app's", DefaultStatus: http.StatusCreated,
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/gzip": {
			Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}}, s.createArtifact)
}

// visibleEvents returns the events in whose audience the actor is. Whoever sees all teams sees all events.
func (s *Server) visibleEvents(ctx context.Context, events []event.Event) (seen []event.Event, err error) {
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		actor := account.From(ctx)
		may, err := app.Visible(tx, actor)
		if err != nil {
			return err
		}
		for _, e := range events {
			if actor.SeesAll() || e.Audience == event.OfApp && may(e.App) || e.Audience.Includes(actor.Name, actor.TeamNames()) {
				seen = append(seen, e)
			}
		}
		return nil
	})
	return seen, err
}

// visibleTopics returns the topics that the actor may hear of: the same question, of the apps that they name.
func (s *Server) visibleTopics(ctx context.Context, topics []web.Topic) (seen []web.Topic, err error) {
	actor := account.From(ctx)
	if actor.SeesAll() {
		return topics, nil
	}
	teams := map[string]string{}
	for _, t := range topics {
		if t.App != "" {
			teams[t.App] = ""
		}
	}
	if len(teams) > 0 {
		named := slices.Collect(maps.Keys(teams))
		if err := s.DB.Read(ctx, func(tx *db.Tx) error { teams, err = app.TeamsOf(tx, named); return err }); err != nil {
			return nil, err
		}
	}
	for _, t := range topics {
		team, there := teams[t.App]
		if t.Everybody || there && actor.Sees(team) || event.OfTeam(t.Team).Includes(actor.Name, actor.TeamNames()) || t.Person != "" && t.Person == actor.ID {
			seen = append(seen, t)
		}
	}
	return seen, nil
}

// ChangeDetail is one change with everything needed to decide about it.
type ChangeDetail struct {
	Change        change.Change          `json:"change"`
	Checks        []change.Check         `json:"checks"`
	Deployments   []deploy.Deployment    `json:"deployments" doc:"Its deployments, the first one first, with their steps"`
	Certification *certify.Certification `json:"certification,omitempty" doc:"Of a pattern change: effects and approvals"`
	Requests      []pattern.Request      `json:"requests" doc:"Wishes that a pattern change is to fulfil"`
	HeldDigest    string                 `json:"heldDigest,omitempty" doc:"What a release of the held change binds to"`
	MayDecide     []string               `json:"mayDecide" doc:"Disciplines the reader may decide for; release when the reader may release it"`
}

type changeInput struct {
	Change string `path:"change"`
}

type changeOutput struct {
	Body ChangeDetail
}

func (s *Server) getChange(ctx context.Context, in *changeInput) (*changeOutput, error) {
	out := &changeOutput{}
	d := &out.Body
	var err error
	if d.Change, d.Checks, err = s.Changes.Get(ctx, in.Change); err != nil {
		return nil, err
	}
	for i := range d.Checks {
		d.Checks[i].Detail, d.Checks[i].DetailSize = db.Within(d.Checks[i].Detail)
	}
	if d.Deployments, err = s.Deploy.OfChange(ctx, in.Change); err != nil {
		return nil, err
	}
	d.MayDecide = []string{}
	actor := account.From(ctx)
	d.Requests = []pattern.Request{}
	if d.Change.Kind == change.OfPattern {
		if d.Requests, err = s.Patterns.RequestsOf(ctx, d.Change.ID); err != nil {
			return nil, err
		}
		found, err := s.Certify.Get(ctx, d.Change)
		switch {
		case err == nil:
			d.Certification = &found
		case fault.From(err).Kind != fault.NotFound:
			return nil, err
		}
		for _, discipline := range account.Disciplines() {
			if actor.Can(account.Approve(discipline), "") {
				d.MayDecide = append(d.MayDecide, discipline)
			}
		}
	}
	if d.Change.State == change.Held {
		d.HeldDigest = d.Change.HeldDigest()
		if d.Change.Awaits(actor) == "release" {
			d.MayDecide = append(d.MayDecide, "release")
		}
	}
	return out, nil
}

type changeLogInput struct {
	Change string `path:"change"`
	Check  string `path:"check" doc:"Name of the check, for example tests"`
	Follow bool   `query:"follow" doc:"Go on until the check ends"`
}

func (s *Server) getChangeLog(ctx context.Context, in *changeLogInput) (*huma.StreamResponse, error) {
	find := func() (change.Check, error) {
		_, checks, err := s.Changes.Get(ctx, in.Change)
		for _, k := range checks {
			if k.Name == in.Check {
				return k, nil
			}
		}
		if err == nil {
			err = fault.Missing("check", in.Check)
		}
		return change.Check{}, err
	}
	k, err := find()
	if err != nil {
		return nil, err
	}
	over := func() bool {
		now, err := find()
		return err != nil || now.State != change.CheckRunning
	}
	return &huma.StreamResponse{Body: func(h huma.Context) {
		h.SetHeader("Content-Type", "text/plain; charset=utf-8")
		if k.Log != "" {
			// The reader may leave at any time; there is nobody left to tell then.
			_ = s.Changes.Logs.Read(h.Context(), k.Log, h.BodyWriter(), in.Follow, over)
		}
	}}, nil
}

// Home is what a person looks at first.
type Home struct {
	Mine    []Item `json:"mine" doc:"What waits for the reader, with what they can do"`
	Waiting []Item `json:"waiting" doc:"What waits for somebody else's decision"`
	Moving  []Item `json:"moving" doc:"Changes and deployments that the platform works on"`
}

// Item is a change, a deployment, a pattern request or a waiver that is asked for.
type Item struct {
	Change      *change.Change     `json:"change,omitempty"`
	Deployment  *deploy.Deployment `json:"deployment,omitempty"`
	Request     *pattern.Request   `json:"request,omitempty"`
	Waiver      *app.Waiver        `json:"waiver,omitempty"`
	Awaits      string             `json:"awaits,omitempty" enum:"approve,release,merge,correct,answer,grant" doc:"What the reader can do about it"`
	Disciplines []string           `json:"disciplines,omitempty" doc:"For which the reader may approve"`
}

type homeOutput struct {
	Body Home
}

// add puts an item where it belongs: to the reader's own when it awaits something of them.
func (h *Home) add(i Item) {
	if i.Awaits != "" {
		h.Mine = append(h.Mine, i)
	} else {
		h.Waiting = append(h.Waiting, i)
	}
}

func (s *Server) getHome(ctx context.Context, _ *struct{}) (*homeOutput, error) {
	out := &homeOutput{}
	for _, part := range []func(context.Context, *Home) error{s.homeChanges, s.homeDeployments, s.homeWaivers, s.homeRequests} {
		if err := part(ctx, &out.Body); err != nil {
			return nil, err
		}
	}
	return out, nil
}

const homeLimit = 50 // of each state: a person looks at lists for more

func (s *Server) homeChanges(ctx context.Context, home *Home) error {
	actor := account.From(ctx)
	states := []change.State{change.Review, change.ChangesRequested, change.Held, change.Ready, change.Blocked, change.Refused, change.Failed, change.Checking, change.Merging, change.Merged, change.Waiting}
	for _, state := range states {
		found, err := s.Changes.List(ctx, change.Filter{State: state, Limit: homeLimit})
		if err != nil {
			return err
		}
		for _, c := range found {
			i := Item{Change: &c, Awaits: c.Awaits(actor)}
			switch state {
			case change.Review:
				if i.Disciplines, err = s.Certify.Awaits(ctx, c); err != nil {
					return err
				}
				if len(i.Disciplines) > 0 {
					i.Awaits = "approve"
				}
				home.add(i)
			case change.ChangesRequested, change.Held, change.Ready, change.Blocked:
				home.add(i)
			case change.Refused, change.Failed:
				if i.Awaits != "" { // others need not correct it
					home.add(i)
				}
			default:
				if state == change.Merged && c.Kind == change.OfPattern {
					continue // published: nothing moves any more
				}
				home.Moving = append(home.Moving, i)
			}
		}
	}
	return nil
}

func (s *Server) homeDeployments(ctx context.Context, home *Home) error {
	for _, state := range []deploy.State{deploy.Held, deploy.Running, deploy.Waiting} {
		found, err := s.Deploy.List(ctx, deploy.Filter{State: state, Limit: homeLimit})
		if err != nil {
			return err
		}
		for _, d := range found {
			d.Plan = nil
			if state != deploy.Held {
				home.Moving = append(home.Moving, Item{Deployment: &d})
				continue
			}
			i := Item{Deployment: &d}
			mine, err := s.Deploy.Awaits(ctx, d)
			if err != nil {
				return err
			}
			if mine {
				i.Awaits = "release"
			}
			home.add(i)
		}
	}
	return nil
}

// homeWaivers adds the waivers that nobody has decided about. Who asked waits for somebody else.
func (s *Server) homeWaivers(ctx context.Context, home *Home) error {
	open, err := s.Apps.ListWaivers(ctx, app.WaiverFilter{State: app.Requested}, "", homeLimit)
	if err != nil {
		return err
	}
	for _, w := range open {
		i := Item{Waiver: &w}
		if w.GrantedBy(account.From(ctx)) {
			i.Awaits = "grant"
		}
		home.add(i)
	}
	return nil
}

// homeRequests adds the pattern requests that nobody has answered, for those who may.
func (s *Server) homeRequests(ctx context.Context, home *Home) error {
	if !account.From(ctx).Can(account.DecideRequest, "") {
		return nil
	}
	open, err := s.Patterns.Requests(ctx, "open", "", homeLimit)
	if err != nil {
		return err
	}
	for _, q := range open {
		home.add(Item{Request: &q, Awaits: "answer"})
	}
	return nil
}

// artifactInput hands the body on unread: an artifact is too large to be held in memory.
type artifactInput struct {
	App  string `query:"app" maxLength:"100" doc:"The app whose outer CI built it; left out if patterns run it"`
	body io.Reader
}

// Resolve implements huma.Resolver.
func (in *artifactInput) Resolve(ctx huma.Context) []error {
	in.body = ctx.BodyReader()
	return nil
}

type artifactOutput struct {
	Body struct {
		Digest string `json:"digest"`
		Size   int64  `json:"size"`
	}
}

func (s *Server) createArtifact(ctx context.Context, in *artifactInput) (*artifactOutput, error) {
	out := &artifactOutput{}
	var err error
	out.Body.Digest, out.Body.Size, err = s.Changes.Builder.Upload(ctx, in.App, in.body)
	return out, err
}
