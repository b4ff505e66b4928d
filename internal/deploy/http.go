package deploy

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"flywheel.dev/flywheel/internal/web"
)

// Routes registers the operations of deployments.
func (s *Service) Routes(api *web.API) {
	api.Metrics.MustRegister(metrics{s})
	huma.Register(api, huma.Operation{OperationID: "list-deployments", Method: http.MethodGet, Path: "/api/v1/deployments", Tags: []string{"deployments"},
		Summary: "List deployments, newest first"}, s.listHTTP)
	huma.Register(api, huma.Operation{OperationID: "get-deployment", Method: http.MethodGet, Path: "/api/v1/deployments/{deployment}", Tags: []string{"deployments"},
		Summary: "One deployment with its steps"}, s.getHTTP)
	huma.Register(api, huma.Operation{OperationID: "get-deployment-log", Method: http.MethodGet, Path: "/api/v1/deployments/{deployment}/log", Tags: []string{"deployments"},
		Summary: "Log of a deployment; with follow, until it ends"}, s.logHTTP)
	huma.Register(api, huma.Operation{OperationID: "cancel-deployment", Method: http.MethodPost, Path: "/api/v1/deployments/{deployment}/cancel", Tags: []string{"deployments"},
		Summary: "Ask a deployment to stop"}, s.cancelHTTP)
	huma.Register(api, huma.Operation{OperationID: "release-deployment", Method: http.MethodPost, Path: "/api/v1/deployments/{deployment}/release", Tags: []string{"deployments"},
		Summary: "Let a held deployment go on"}, s.releaseHTTP)
	huma.Register(api, huma.Operation{OperationID: "rollback-instance", Method: http.MethodPost, Path: "/api/v1/apps/{app}/environments/{environment}/rollback", Tags: []string{"deployments"},
		Summary: "Go back to what an earlier deployment brought", DefaultStatus: http.StatusAccepted}, s.rollbackHTTP)
	huma.Register(api, huma.Operation{OperationID: "redeploy-instance", Method: http.MethodPost, Path: "/api/v1/apps/{app}/environments/{environment}/redeploy", Tags: []string{"deployments"},
		Summary: "Deploy what main describes again", DefaultStatus: http.StatusAccepted}, s.redeployHTTP)
}

type deploymentListInput struct {
	web.Paging
	App         string `query:"app"`
	Environment string `query:"environment"`
	Change      string `query:"change"`
	State       string `query:"state" enum:"waiting,running,held,succeeded,failed,cancelled,superseded,interrupted"`
}

func (s *Service) listHTTP(ctx context.Context, in *deploymentListInput) (*web.Page[Deployment], error) {
	f := Filter{App: in.App, Environment: in.Environment, Change: in.Change, State: State(in.State), Limit: in.Limit + 1}
	if _, err := in.After(&f.Before); err != nil {
		return nil, err
	}
	found, err := s.List(ctx, f)
	return web.Paged(found, in.Limit, func(d Deployment) any { return d.ID }), err
}

// ByID is exported because huma reads embedded structs only then.
type ByID struct {
	Deployment string `path:"deployment" example:"dpl_d0c5ghq23akk2s3lvr9g"`
}

type one struct {
	Body Deployment
}

func (s *Service) getHTTP(ctx context.Context, in *ByID) (*one, error) {
	d, err := s.Get(ctx, in.Deployment)
	return &one{d}, err
}

type deploymentLogInput struct {
	ByID
	Follow bool `query:"follow" doc:"Go on until the deployment ends"`
}

func (s *Service) logHTTP(ctx context.Context, in *deploymentLogInput) (*huma.StreamResponse, error) {
	if _, err := s.Get(ctx, in.Deployment); err != nil {
		return nil, err
	}
	over := func() bool {
		d, err := s.Get(ctx, in.Deployment)
		return err != nil || d.State.Over() || d.State == Held
	}
	return &huma.StreamResponse{Body: func(h huma.Context) {
		h.SetHeader("Content-Type", "text/plain; charset=utf-8")
		// The reader may leave at any time; there is nobody left to tell then.
		_ = s.Logs.Read(h.Context(), in.Deployment, h.BodyWriter(), in.Follow, over)
	}}, nil
}

func (s *Service) cancelHTTP(ctx context.Context, in *ByID) (*one, error) {
	d, err := s.Cancel(ctx, in.Deployment)
	return &one{d}, err
}

type deploymentReleaseInput struct {
	ByID
	Body struct {
		PlanDigest string `json:"planDigest" doc:"Digest of the plan that was shown"`
		Confirm    string `json:"confirm,omitempty" maxLength:"100" doc:"Name of the app; asked for where the only active person releases what they wrote"`
	}
}

func (s *Service) releaseHTTP(ctx context.Context, in *deploymentReleaseInput) (*one, error) {
	d, err := s.Proceed(ctx, in.Deployment, in.Body.PlanDigest, in.Body.Confirm)
	return &one{d}, err
}

type deploymentRollbackInput struct {
	App         string `path:"app"`
	Environment string `path:"environment"`
	Body        struct {
		To string `json:"to,omitempty" doc:"The deployment to go back to; the one before the current if left out"`
	}
}

func (s *Service) rollbackHTTP(ctx context.Context, in *deploymentRollbackInput) (*one, error) {
	d, err := s.RollBack(ctx, in.App, in.Environment, in.Body.To)
	return &one{d}, err
}

type deploymentRedeployInput struct {
	App         string `path:"app"`
	Environment string `path:"environment"`
}

func (s *Service) redeployHTTP(ctx context.Context, in *deploymentRedeployInput) (*one, error) {
	d, err := s.Redeploy(ctx, in.App, in.Environment)
	return &one{d}, err
}
