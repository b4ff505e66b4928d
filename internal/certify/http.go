package certify

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/web"
)

// Routes registers the decisions about pattern changes, and their effects.
func (s *Service) Routes(api *web.API) {
	api.Metrics.MustRegister(metrics{s})
	huma.Register(api, huma.Operation{OperationID: "approve-change", Method: http.MethodPost, Path: "/api/v1/changes/{change}/approve", Tags: []string{"changes"},
		Summary: "Approve a pattern change for a discipline"}, s.approveHTTP)
	huma.Register(api, huma.Operation{OperationID: "request-changes", Method: http.MethodPost, Path: "/api/v1/changes/{change}/request-changes", Tags: []string{"changes"},
		Summary: "Ask the authors of a pattern change for another push, with the reason"}, s.requestChangesHTTP)
	huma.Register(api, huma.Operation{OperationID: "reject-change", Method: http.MethodPost, Path: "/api/v1/changes/{change}/reject", Tags: []string{"changes"},
		Summary: "Reject a pattern change for a discipline, with the reason"}, s.rejectHTTP)
	huma.Register(api, huma.Operation{OperationID: "list-change-effects", Method: http.MethodGet, Path: "/api/v1/changes/{change}/effects", Tags: []string{"changes"},
		Summary: "Effects of a pattern change on live instances, the gravest first"}, s.effectsHTTP)
	huma.Register(api, huma.Operation{OperationID: "get-change-effect", Method: http.MethodGet, Path: "/api/v1/changes/{change}/effects/{app}/{environment}", Tags: []string{"changes"},
		Summary: "Effect of a pattern change on one live instance, with its plan"}, s.effectHTTP)
}

type certifyDecisionInput struct {
	Change string `path:"change"`
	Body   struct {
		Discipline string `json:"discipline" enum:"security,operations,development"`
		Digest     string `json:"digest" doc:"The digest of the certification that was shown"`
		Reason     string `json:"reason,omitempty" maxLength:"4000"`
		Confirm    string `json:"confirm,omitempty" maxLength:"100" doc:"Name of the pattern; needed to approve a version that destroys or replaces something stateful on live instances"`
	}
}

func (in *certifyDecisionInput) vote() Vote { return Vote(in.Body) }

type certifyDecisionOutput struct {
	Body change.Change
}

func (s *Service) approveHTTP(ctx context.Context, in *certifyDecisionInput) (*certifyDecisionOutput, error) {
	c, err := s.Approve(ctx, in.Change, in.vote())
	return &certifyDecisionOutput{c}, err
}

func (s *Service) requestChangesHTTP(ctx context.Context, in *certifyDecisionInput) (*certifyDecisionOutput, error) {
	c, err := s.RequestChanges(ctx, in.Change, in.vote())
	return &certifyDecisionOutput{c}, err
}

func (s *Service) rejectHTTP(ctx context.Context, in *certifyDecisionInput) (*certifyDecisionOutput, error) {
	c, err := s.Reject(ctx, in.Change, in.vote())
	return &certifyDecisionOutput{c}, err
}

type certifyEffectsInput struct {
	web.Paging
	Change      string `path:"change"`
	Outcome     string `query:"outcome" enum:"fails,needs_value,out_of_bounds,destroys,replaces,deferred,updates,unplanned,unchanged"`
	Class       string `query:"class" enum:"development,staging,production"`
	Environment string `query:"environment"`
	Team        string `query:"team"`
	App         string `query:"app"`
}

func (s *Service) effectsHTTP(ctx context.Context, in *certifyEffectsInput) (*web.Page[Effect], error) {
	f := Filter{Outcome: Outcome(in.Outcome), Class: in.Class, Environment: in.Environment, Team: in.Team, App: in.App, Limit: in.Limit + 1}
	if _, err := in.Paging.After(&f.After); err != nil {
		return nil, err
	}
	found, err := s.Effects(ctx, in.Change, f)
	return web.Paged(found, in.Limit, func(e Effect) any { return e.Cursor() }), err
}

type certifyEffectInput struct {
	Change      string `path:"change"`
	App         string `path:"app"`
	Environment string `path:"environment"`
}

type certifyEffectOutput struct {
	Body Effect
}

func (s *Service) effectHTTP(ctx context.Context, in *certifyEffectInput) (*certifyEffectOutput, error) {
	e, err := s.Effect(ctx, in.Change, in.App, in.Environment)
	return &certifyEffectOutput{e}, err
}
