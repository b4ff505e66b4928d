package secret

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"flywheel.dev/flywheel/internal/web"
)

const path = "/api/v1/apps/{app}/environments/{environment}/secrets"

// Routes registers the operations of secrets.
func (s *Service) Routes(api *web.API) {
	huma.Register(api, huma.Operation{
		OperationID: "list-secrets", Method: http.MethodGet, Path: path, Tags: []string{"secret"},
		Summary: "List secrets", Description: "Names only; no operation shows a value.",
	}, s.list)
	huma.Register(api, huma.Operation{
		OperationID: "set-secret", Method: http.MethodPut, Path: path + "/{name}", Tags: []string{"secret"},
		Summary: "Set a secret", Description: "What runs keeps the old value until its next deployment.",
	}, s.set)
	huma.Register(api, huma.Operation{
		OperationID: "delete-secret", Method: http.MethodDelete, Path: path + "/{name}", Tags: []string{"secret"},
		Summary: "Delete a secret",
	}, s.delete)
}

// Place is where a secret belongs. It is exported because huma reads embedded structs only then.
type Place struct {
	App         string `path:"app" maxLength:"100" doc:"Name of the app"`
	Environment string `path:"environment" maxLength:"100" doc:"Name of the environment"`
}

// list answers one page with everything: an app has few secrets.
func (s *Service) list(ctx context.Context, in *Place) (*web.Page[Secret], error) {
	secrets, err := s.List(ctx, in.App, in.Environment)
	return web.Paged(secrets, len(secrets), func(Secret) any { return nil }), err
}

// PlaceAndName is one secret.
type PlaceAndName struct {
	Place
	Name string `path:"name" pattern:"^[A-Za-z_][A-Za-z0-9_.-]{0,99}$" patternDescription:"letter or underscore first, then letters, digits, underscore, dot, dash"`
}

type setInput struct {
	PlaceAndName
	Body struct {
		Value string `json:"value" maxLength:"65536" doc:"At least 4 characters"`
	}
}

type setOutput struct{ Body Secret }

func (s *Service) set(ctx context.Context, in *setInput) (*setOutput, error) {
	secret, err := s.Set(ctx, in.App, in.Environment, in.Name, in.Body.Value)
	return &setOutput{Body: secret}, err
}

func (s *Service) delete(ctx context.Context, in *PlaceAndName) (*struct{}, error) {
	return nil, s.Delete(ctx, in.App, in.Environment, in.Name)
}
