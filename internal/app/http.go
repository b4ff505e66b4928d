package app

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/web"
)

// Routes registers the operations of apps and environments.
func (s *Service) Routes(api *web.API) {
	huma.Register(api, huma.Operation{OperationID: "list-apps", Method: http.MethodGet, Path: "/api/v1/apps", Tags: []string{"apps"},
		Summary: "List apps with where they run"}, s.listHTTP)
	huma.Register(api, huma.Operation{OperationID: "create-app", Method: http.MethodPost, Path: "/api/v1/apps", Tags: []string{"apps"},
		Summary: "Create an app from a certified pattern", DefaultStatus: http.StatusCreated}, s.createHTTP)
	huma.Register(api, huma.Operation{OperationID: "get-app", Method: http.MethodGet, Path: "/api/v1/apps/{app}", Tags: []string{"apps"},
		Summary: "One app with its instances"}, s.getHTTP)
	huma.Register(api, huma.Operation{OperationID: "give-app", Method: http.MethodPut, Path: "/api/v1/apps/{app}/team", Tags: []string{"apps"},
		Summary: "Give an app to another team"}, s.giveHTTP)
	huma.Register(api, huma.Operation{OperationID: "list-environments", Method: http.MethodGet, Path: "/api/v1/environments", Tags: []string{"environments"},
		Summary: "List environments in the order a change reaches them"}, s.environmentsHTTP)
	huma.Register(api, huma.Operation{OperationID: "create-environment", Method: http.MethodPost, Path: "/api/v1/environments", Tags: []string{"environments"},
		Summary: "Make an environment", DefaultStatus: http.StatusCreated}, s.createEnvironmentHTTP)
	huma.Register(api, huma.Operation{OperationID: "get-environment", Method: http.MethodGet, Path: "/api/v1/environments/{environment}", Tags: []string{"environments"},
		Summary: "One environment"}, s.environmentHTTP)
	huma.Register(api, huma.Operation{OperationID: "update-environment", Method: http.MethodPut, Path: "/api/v1/environments/{environment}", Tags: []string{"environments"},
		Summary: "Change an environment"}, s.updateEnvironmentHTTP)
	huma.Register(api, huma.Operation{OperationID: "delete-environment", Method: http.MethodDelete, Path: "/api/v1/environments/{environment}", Tags: []string{"environments"},
		Summary: "Delete an environment that no app is in", Description: "Its secrets are deleted with it, and waivers there end."}, s.deleteEnvironmentHTTP)
	huma.Register(api, huma.Operation{OperationID: "list-waivers", Method: http.MethodGet, Path: "/api/v1/waivers", Tags: []string{"waivers"},
		Summary: "List waivers, newest first"}, s.waiversHTTP)
	huma.Register(api, huma.Operation{OperationID: "request-waiver", Method: http.MethodPost, Path: "/api/v1/waivers", Tags: []string{"waivers"},
		Summary: "Ask for a value outside its bounds to be accepted", DefaultStatus: http.StatusCreated}, s.askWaiverHTTP)
	huma.Register(api, huma.Operation{OperationID: "get-waiver", Method: http.MethodGet, Path: "/api/v1/waivers/{waiver}", Tags: []string{"waivers"},
		Summary: "One waiver"}, s.waiverHTTP)
	huma.Register(api, huma.Operation{OperationID: "grant-waiver", Method: http.MethodPost, Path: "/api/v1/waivers/{waiver}/grant", Tags: []string{"waivers"},
		Summary: "Accept the value until a date"}, s.grantWaiverHTTP)
	huma.Register(api, huma.Operation{OperationID: "decline-waiver", Method: http.MethodPost, Path: "/api/v1/waivers/{waiver}/decline", Tags: []string{"waivers"},
		Summary: "Say no to a request"}, s.declineWaiverHTTP)
	huma.Register(api, huma.Operation{OperationID: "revoke-waiver", Method: http.MethodPost, Path: "/api/v1/waivers/{waiver}/revoke", Tags: []string{"waivers"},
		Summary: "End a waiver now"}, s.revokeWaiverHTTP)
}

type waiverListInput struct {
	web.Paging
	App         string      `query:"app"`
	Environment string      `query:"environment"`
	State       WaiverState `query:"state" enum:"requested,granted,ended,declined,revoked" doc:"granted are those in force; ended those whose end date has come"`
}

func (s *Service) waiversHTTP(ctx context.Context, in *waiverListInput) (*web.Page[Waiver], error) {
	before := ""
	if _, err := in.After(&before); err != nil {
		return nil, err
	}
	found, err := s.ListWaivers(ctx, WaiverFilter{App: in.App, Environment: in.Environment, State: in.State}, before, in.Limit+1)
	return web.Paged(found, in.Limit, func(w Waiver) any { return w.ID }), err
}

type waiverAskInput struct {
	Body AskWaiver
}

type waiverOutput struct {
	Body Waiver
}

func (s *Service) askWaiverHTTP(ctx context.Context, in *waiverAskInput) (*waiverOutput, error) {
	w, err := s.RequestWaiver(ctx, in.Body)
	return &waiverOutput{w}, err
}

type waiverInput struct {
	Waiver string `path:"waiver"`
}

func (s *Service) waiverHTTP(ctx context.Context, in *waiverInput) (*waiverOutput, error) {
	w, err := s.Waiver(ctx, in.Waiver)
	return &waiverOutput{w}, err
}

type waiverGrantInput struct {
	Waiver string `path:"waiver"`
	Body   struct {
		Until  *time.Time `json:"until,omitempty" doc:"When it ends, at most a year ahead; what was asked for if left out"`
		Reason string     `json:"reason,omitempty" maxLength:"2000"`
	}
}

func (s *Service) grantWaiverHTTP(ctx context.Context, in *waiverGrantInput) (*waiverOutput, error) {
	w, err := s.GrantWaiver(ctx, in.Waiver, in.Body.Until, in.Body.Reason)
	return &waiverOutput{w}, err
}

type waiverDecisionInput struct {
	Waiver string `path:"waiver"`
	Body   struct {
		Reason string `json:"reason" maxLength:"2000"`
	}
}

func (s *Service) declineWaiverHTTP(ctx context.Context, in *waiverDecisionInput) (*waiverOutput, error) {
	w, err := s.DeclineWaiver(ctx, in.Waiver, in.Body.Reason)
	return &waiverOutput{w}, err
}

func (s *Service) revokeWaiverHTTP(ctx context.Context, in *waiverDecisionInput) (*waiverOutput, error) {
	w, err := s.RevokeWaiver(ctx, in.Waiver, in.Body.Reason)
	return &waiverOutput{w}, err
}

type appListInput struct {
	web.Paging
	Removed  bool   `query:"removed" doc:"The removed apps instead of those that are there"`
	Outdated bool   `query:"outdated" doc:"Only apps with an instance that should move to the recommended version of its pattern"`
	Team     string `query:"team" maxLength:"100" doc:"Of this team only"`
	Words    string `query:"q" maxLength:"100" doc:"Part of the name, the title or the team"`
}

func (s *Service) listHTTP(ctx context.Context, in *appListInput) (*web.Page[Detail], error) {
	after := ""
	if _, err := in.After(&after); err != nil {
		return nil, err
	}
	found, err := s.List(ctx, Filter{Removed: in.Removed, Outdated: in.Outdated, Team: in.Team, Words: in.Words}, after, in.Limit+1)
	return web.Paged(found, in.Limit, func(d Detail) any { return d.Name }), err
}

type appCreateInput struct {
	Body Create
}

type appCreateOutput struct {
	Body struct {
		App    App    `json:"app"`
		Change string `json:"change" doc:"The change that brings the skeleton and the first deployments"`
	}
}

func (s *Service) createHTTP(ctx context.Context, in *appCreateInput) (*appCreateOutput, error) {
	out := &appCreateOutput{}
	var err error
	out.Body.App, out.Body.Change, err = s.Create(ctx, in.Body)
	return out, err
}

type appGetInput struct {
	App string `path:"app"`
}

type appGetOutput struct {
	Body Detail
}

func (s *Service) getHTTP(ctx context.Context, in *appGetInput) (*appGetOutput, error) {
	d, err := s.Get(ctx, in.App)
	return &appGetOutput{d}, err
}

type appGiveInput struct {
	App  string `path:"app"`
	Body struct {
		Team string `json:"team" maxLength:"100" doc:"The team that is to have it"`
	}
}

func (s *Service) giveHTTP(ctx context.Context, in *appGiveInput) (*appGetOutput, error) {
	d, err := s.Give(ctx, in.App, in.Body.Team)
	return &appGetOutput{d}, err
}

type environmentListInput struct{ web.Paging }

func (s *Service) environmentsHTTP(ctx context.Context, in *environmentListInput) (*web.Page[Environment], error) {
	var after Place
	if _, err := in.After(&after); err != nil {
		return nil, err
	}
	found, err := s.ListEnvironments(ctx, after, in.Limit+1)
	return web.Paged(found, in.Limit, func(e Environment) any { return Place{e.Order, e.Name} }), err
}

// environmentBody is what a person says about an environment.
type environmentBody struct {
	Name    string          `json:"name,omitempty"`
	Class   string          `json:"class" enum:"development,staging,production"`
	After   string          `json:"after,omitempty" doc:"The environment that a change must pass before this one"`
	Target  string          `json:"target,omitempty" doc:"Where it runs; local if left out"`
	OnNewer string          `json:"onNewer,omitempty" enum:"queue,replace-pending"`
	Values  manifest.Values `json:"values,omitempty" doc:"Values of variables that the Center of Excellence controls. The module's types decide what they are: a number keeps its text where a module takes text"`
	Network bool            `json:"network,omitempty" doc:"Whether the engine with its providers, and rollout commands, may reach the network"`
	Reach   []string        `json:"reach,omitempty" maxItems:"100" doc:"What Flywheel may connect to there for probes and smoke tests, besides an instance's own addresses: hosts, *.hosts, addresses and ranges, each with :port where only one is meant"`
	Freezes []Freeze        `json:"freezes,omitempty" doc:"Windows in which only rollbacks are deployed"`
}

func (b environmentBody) environment() Environment {
	return Environment{Name: b.Name, Class: b.Class, After: b.After, Target: b.Target, OnNewer: b.OnNewer, Values: b.Values, Network: b.Network, Reach: b.Reach, Freezes: b.Freezes}
}

type appEnvironmentOutput struct {
	ETag string `header:"ETag"`
	Body Environment
}

func environmentAnswer(e Environment, err error) (*appEnvironmentOutput, error) {
	return &appEnvironmentOutput{ETag: e.etag(), Body: e}, err
}

type appGetEnvironmentInput struct {
	Environment string `path:"environment"`
}

func (s *Service) environmentHTTP(ctx context.Context, in *appGetEnvironmentInput) (*appEnvironmentOutput, error) {
	return environmentAnswer(s.GetEnvironment(ctx, in.Environment))
}

type appCreateEnvironmentInput struct {
	Body environmentBody
}

func (s *Service) createEnvironmentHTTP(ctx context.Context, in *appCreateEnvironmentInput) (*appEnvironmentOutput, error) {
	return environmentAnswer(s.SaveEnvironment(ctx, in.Body.environment(), true, ""))
}

type appUpdateEnvironmentInput struct {
	Environment string `path:"environment"`
	IfMatch     string `header:"If-Match" doc:"ETag of the environment that was changed; without it the last one wins"`
	Body        environmentBody
}

func (s *Service) updateEnvironmentHTTP(ctx context.Context, in *appUpdateEnvironmentInput) (*appEnvironmentOutput, error) {
	in.Body.Name = in.Environment
	return environmentAnswer(s.SaveEnvironment(ctx, in.Body.environment(), false, in.IfMatch))
}

func (s *Service) deleteEnvironmentHTTP(ctx context.Context, in *appGetEnvironmentInput) (*struct{}, error) {
	return nil, s.DeleteEnvironment(ctx, in.Environment)
}
