package secret

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"flywheel.dev/flywheel/internal/web"
)

const (
	path  = "/api/v1/apps/{app}/environments/{environment}/secrets"
	above = "/api/v1/environments/{environment}/secrets" // of the environment itself
)

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
	huma.Register(api, huma.Operation{
		OperationID: "list-environment-secrets", Method: http.MethodGet, Path: above, Tags: []string{"secret"},
		Summary: "List secrets of an environment", Description: "Names only; no operation shows a value.",
	}, s.listAbove)
	huma.Register(api, huma.Operation{
		OperationID: "set-environment-secret", Method: http.MethodPut, Path: above + "/{name}", Tags: []string{"secret"},
		Summary: "Set a secret of an environment", Description: "Infrastructure runs of patterns that name it get it from now on.",
	}, s.setAbove)
	huma.Register(api, huma.Operation{
		OperationID: "delete-environment-secret", Method: http.MethodDelete, Path: above + "/{name}", Tags: []string{"secret"},
		Summary: "Delete a secret of an environment",
	}, s.deleteAbove)
}

// Place is where a secret belongs. It is exported because huma reads embedded structs only then.
type Place struct {
	App string `path:"app" maxLength:"100" doc:"Name of the app"`
	Environment
}

// Environment is where a secret of no app belongs.
type Environment struct {
	Environment string `path:"environment" maxLength:"100" doc:"Name of the environment"`
}

type listInput struct {
	Place
	web.Paging
}

func (s *Service) list(ctx context.Context, in *listInput) (*web.Page[Secret], error) {
	return s.page(ctx, in.App, in.Environment.Environment, in.Paging)
}

func (s *Service) page(ctx context.Context, app, environment string, p web.Paging) (*web.Page[Secret], error) {
	after := ""
	if _, err := p.After(&after); err != nil {
		return nil, err
	}
	found, err := s.List(ctx, app, environment, after, p.Limit+1)
	return web.Paged(found, p.Limit, func(x Secret) any { return x.Name }), err
}

// PlaceAndName is one secret.
type PlaceAndName struct {
	Place
	Name
}

// EnvironmentAndName is one secret of an environment.
type EnvironmentAndName struct {
	Environment
	Name
}

// Name is that of a secret.
type Name struct {
	Name string `path:"name" pattern:"^[A-Za-z_][A-Za-z0-9_.-]{0,99}$" patternDescription:"letter or underscore first, then letters, digits, underscore, dot, dash"`
}

// Value is what a secret is set to.
type Value struct {
	Body struct {
		Value string `json:"value" maxLength:"65536" doc:"At least 4 characters"`
	}
}

type setInput struct {
	PlaceAndName
	Value
}

type setAboveInput struct {
	EnvironmentAndName
	Value
}

type setOutput struct{ Body Secret }

func (s *Service) set(ctx context.Context, in *setInput) (*setOutput, error) {
	secret, err := s.Set(ctx, in.App, in.Environment.Environment, in.Name.Name, in.Body.Value)
	return &setOutput{Body: secret}, err
}

func (s *Service) delete(ctx context.Context, in *PlaceAndName) (*struct{}, error) {
	return nil, s.Delete(ctx, in.App, in.Environment.Environment, in.Name.Name)
}

type listAboveInput struct {
	Environment
	web.Paging
}

func (s *Service) listAbove(ctx context.Context, in *listAboveInput) (*web.Page[Secret], error) {
	return s.page(ctx, "", in.Environment.Environment, in.Paging)
}

func (s *Service) setAbove(ctx context.Context, in *setAboveInput) (*setOutput, error) {
	secret, err := s.Set(ctx, "", in.Environment.Environment, in.Name.Name, in.Body.Value)
	return &setOutput{Body: secret}, err
}

func (s *Service) deleteAbove(ctx context.Context, in *EnvironmentAndName) (*struct{}, error) {
	return nil, s.Delete(ctx, "", in.Environment.Environment, in.Name.Name)
}
