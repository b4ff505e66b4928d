package certify

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/web"
)

// Routes registers the decisions about pattern changes.
func (s *Service) Routes(api *web.API) {
	huma.Register(api, huma.Operation{OperationID: "approve-change", Method: http.MethodPost, Path: "/api/v1/changes/{change}/approve", Tags: []string{"changes"},
		Summary: "Approve a pattern change for a discipline"}, s.approveHTTP)
	huma.Register(api, huma.Operation{OperationID: "reject-change", Method: http.MethodPost, Path: "/api/v1/changes/{change}/reject", Tags: []string{"changes"},
		Summary: "Reject a pattern change for a discipline, with the reason"}, s.rejectHTTP)
}

type certifyDecisionInput struct {
	Change string `path:"change"`
	Body   struct {
		Discipline string `json:"discipline" enum:"security,operations,development"`
		Digest     string `json:"digest" doc:"The digest of the certification that was shown"`
		Reason     string `json:"reason,omitempty" maxLength:"4000"`
	}
}

type certifyDecisionOutput struct {
	Body change.Change
}

func (s *Service) approveHTTP(ctx context.Context, in *certifyDecisionInput) (*certifyDecisionOutput, error) {
	c, err := s.Approve(ctx, in.Change, in.Body.Discipline, in.Body.Digest, in.Body.Reason)
	return &certifyDecisionOutput{c}, err
}

func (s *Service) rejectHTTP(ctx context.Context, in *certifyDecisionInput) (*certifyDecisionOutput, error) {
	c, err := s.Reject(ctx, in.Change, in.Body.Discipline, in.Body.Digest, in.Body.Reason)
	return &certifyDecisionOutput{c}, err
}
