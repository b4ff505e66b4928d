package pattern

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/web"
)

// Routes registers the operations of the catalogue.
func (s *Service) Routes(api *web.API) {
	huma.Register(api, huma.Operation{OperationID: "list-patterns", Method: http.MethodGet, Path: "/api/v1/patterns", Tags: []string{"patterns"},
		Summary: "List patterns with their versions"}, s.listHTTP)
	huma.Register(api, huma.Operation{OperationID: "create-pattern", Method: http.MethodPost, Path: "/api/v1/patterns", Tags: []string{"patterns"},
		Summary: "Add a pattern to the catalogue, with its repository", DefaultStatus: http.StatusCreated}, s.createHTTP)
	huma.Register(api, huma.Operation{OperationID: "get-pattern", Method: http.MethodGet, Path: "/api/v1/patterns/{pattern}", Tags: []string{"patterns"},
		Summary: "One pattern with its versions"}, s.getHTTP)
	huma.Register(api, huma.Operation{OperationID: "get-pattern-version", Method: http.MethodGet, Path: "/api/v1/patterns/{pattern}/versions/{version}", Tags: []string{"patterns"},
		Summary: "One version: its interface, bounds and README"}, s.versionHTTP)
	huma.Register(api, huma.Operation{OperationID: "move-pattern-version", Method: http.MethodPost, Path: "/api/v1/patterns/{pattern}/versions/{version}/state", Tags: []string{"patterns"},
		Summary: "Deprecate or retire a version, or recommend it"}, s.moveHTTP)
	huma.Register(api, huma.Operation{OperationID: "list-pattern-requests", Method: http.MethodGet, Path: "/api/v1/pattern-requests", Tags: []string{"patterns"},
		Summary: "List requests for patterns"}, s.requestsHTTP)
	huma.Register(api, huma.Operation{OperationID: "create-pattern-request", Method: http.MethodPost, Path: "/api/v1/pattern-requests", Tags: []string{"patterns"},
		Summary: "Ask for a pattern, or a change to one, in words", DefaultStatus: http.StatusCreated}, s.askHTTP)
	huma.Register(api, huma.Operation{OperationID: "get-pattern-request", Method: http.MethodGet, Path: "/api/v1/pattern-requests/{request}", Tags: []string{"patterns"},
		Summary: "One request for a pattern"}, s.requestHTTP)
	huma.Register(api, huma.Operation{OperationID: "answer-pattern-request", Method: http.MethodPost, Path: "/api/v1/pattern-requests/{request}/answer", Tags: []string{"patterns"},
		Summary: "Accept, develop, finish or decline a request"}, s.answerHTTP)
	huma.Register(api, huma.Operation{OperationID: "validate", Method: http.MethodPost, Path: "/api/v1/validate", Tags: []string{"patterns"},
		Summary: "Check a pattern.yaml or a flywheel.yaml"}, s.validateHTTP)
	s.registry(api)
}

type patternListInput struct{ web.Paging }

func (s *Service) listHTTP(ctx context.Context, in *patternListInput) (*web.Page[Summary], error) {
	after := ""
	if _, err := in.After(&after); err != nil {
		return nil, err
	}
	found, err := s.List(ctx, after, in.Limit+1)
	return web.Paged(found, in.Limit, func(p Summary) any { return p.Name }), err
}

type patternCreateInput struct {
	Body struct {
		Name  string            `json:"name"`
		Title string            `json:"title,omitempty"`
		Files map[string]string `json:"files,omitempty" doc:"First content of the repository, by path"`
	}
}

type patternCreateOutput struct {
	Body struct {
		Name   string `json:"name"`
		Change string `json:"change,omitempty" doc:"The change that brings the first content, to be certified"`
	}
}

func (s *Service) createHTTP(ctx context.Context, in *patternCreateInput) (*patternCreateOutput, error) {
	files := map[string][]byte{}
	for path, content := range in.Body.Files {
		files[path] = []byte(content)
	}
	out := &patternCreateOutput{}
	out.Body.Name = in.Body.Name
	var err error
	out.Body.Change, err = s.Create(ctx, in.Body.Name, in.Body.Title, files)
	return out, err
}

type byName struct {
	Pattern string `path:"pattern"`
}

type patternGetOutput struct {
	Body Summary
}

func (s *Service) getHTTP(ctx context.Context, in *byName) (*patternGetOutput, error) {
	p, err := s.Get(ctx, in.Pattern)
	return &patternGetOutput{p}, err
}

// ByVersion is exported because huma reads embedded structs only then.
type ByVersion struct {
	Pattern string `path:"pattern"`
	Version string `path:"version"`
}

type patternVersionOutput struct {
	Body Version
}

func (s *Service) versionHTTP(ctx context.Context, in *ByVersion) (*patternVersionOutput, error) {
	v, err := s.GetVersion(ctx, in.Pattern, in.Version)
	return &patternVersionOutput{v}, err
}

type patternMoveInput struct {
	ByVersion
	Body struct {
		State string `json:"state" enum:"recommended,certified,deprecated,retired"`
	}
}

func (s *Service) moveHTTP(ctx context.Context, in *patternMoveInput) (*patternVersionOutput, error) {
	if in.Body.State == "recommended" {
		v, err := s.Recommend(ctx, in.Pattern, in.Version)
		return &patternVersionOutput{v}, err
	}
	v, err := s.Move(ctx, in.Pattern, in.Version, State(in.Body.State))
	return &patternVersionOutput{v}, err
}

type patternRequestsInput struct {
	web.Paging
	State string `query:"state" enum:"open,accepted,developing,done,declined"`
}

func (s *Service) requestsHTTP(ctx context.Context, in *patternRequestsInput) (*web.Page[Request], error) {
	before := ""
	if _, err := in.After(&before); err != nil {
		return nil, err
	}
	found, err := s.Requests(ctx, in.State, before, in.Limit+1)
	return web.Paged(found, in.Limit, func(q Request) any { return q.ID }), err
}

type patternAskInput struct {
	Body struct {
		Pattern    string `json:"pattern,omitempty" doc:"The pattern to change; empty for a new one"`
		Title      string `json:"title" maxLength:"200"`
		Body       string `json:"body,omitempty" maxLength:"20000"`
		Story      string `json:"story,omitempty"`
		Discipline string `json:"discipline,omitempty" enum:"security,operations,development"`
	}
}

type patternRequestOutput struct {
	Body Request
}

func (s *Service) askHTTP(ctx context.Context, in *patternAskInput) (*patternRequestOutput, error) {
	q, err := s.Ask(ctx, Request{Pattern: in.Body.Pattern, Title: in.Body.Title, Body: in.Body.Body, Story: in.Body.Story, Discipline: in.Body.Discipline})
	return &patternRequestOutput{q}, err
}

type patternRequestInput struct {
	Request string `path:"request"`
}

func (s *Service) requestHTTP(ctx context.Context, in *patternRequestInput) (*patternRequestOutput, error) {
	q, err := s.GetRequest(ctx, in.Request)
	return &patternRequestOutput{q}, err
}

type patternAnswerInput struct {
	Request string `path:"request"`
	Body    struct {
		State  string `json:"state" enum:"accepted,developing,done,declined"`
		Reason string `json:"reason,omitempty" maxLength:"4000"`
		Change string `json:"change,omitempty"`
		Story  string `json:"story,omitempty"`
	}
}

func (s *Service) answerHTTP(ctx context.Context, in *patternAnswerInput) (*patternRequestOutput, error) {
	q, err := s.Answer(ctx, in.Request, in.Body.State, in.Body.Reason, in.Body.Change, in.Body.Story)
	return &patternRequestOutput{q}, err
}

type patternValidateInput struct {
	Body struct {
		File    string `json:"file" maxLength:"200" example:"flywheel.yaml"`
		Content string `json:"content" doc:"At most 64 KiB"`
	}
}

type patternValidateOutput struct {
	Body struct {
		Valid    bool          `json:"valid"`
		Problems []fault.Field `json:"problems"`
	}
}

func (s *Service) validateHTTP(_ context.Context, in *patternValidateInput) (*patternValidateOutput, error) {
	out := &patternValidateOutput{}
	out.Body.Problems = []fault.Field{}
	err := manifest.Check(in.Body.File, []byte(in.Body.Content))
	out.Body.Valid = err == nil
	if f := fault.From(err); f != nil {
		if f.Kind == fault.Internal {
			return nil, err
		}
		out.Body.Problems = append(out.Body.Problems, f.Fields...)
		if len(f.Fields) == 0 {
			out.Body.Problems = append(out.Body.Problems, fault.Field{Path: in.Body.File, Message: f.Error()})
		}
	}
	return out, nil
}
