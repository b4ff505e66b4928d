package change

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/git"
	"flywheel.dev/flywheel/internal/web"
)

// Routes registers the operations of changes. The answer to "one change" with everything needed to
// decide is composed in package server, from this package and those below it.
func (s *Service) Routes(api *web.API) {
	api.Metrics.MustRegister(metrics{s})
	huma.Register(api, huma.Operation{OperationID: "list-changes", Method: http.MethodGet, Path: "/api/v1/changes", Tags: []string{"changes"},
		Summary: "List changes, newest first"}, s.listHTTP)
	huma.Register(api, huma.Operation{OperationID: "get-change-diff", Method: http.MethodGet, Path: "/api/v1/changes/{change}/diff", Tags: []string{"changes"},
		Summary: "Files a change alters"}, s.diffHTTP)
	huma.Register(api, huma.Operation{OperationID: "get-change-file-diff", Method: http.MethodGet, Path: "/api/v1/changes/{change}/diff/file", Tags: []string{"changes"},
		Summary: "The whole patch of one file, however long; who has read it to its end may approve the change"}, s.fileDiffHTTP)
	huma.Register(api, huma.Operation{OperationID: "get-change-check", Method: http.MethodGet, Path: "/api/v1/changes/{change}/checks/{check}", Tags: []string{"changes"},
		Summary: "One check of a change with its whole detail, such as a plan"}, s.checkHTTP)
	huma.Register(api, huma.Operation{OperationID: "merge-change", Method: http.MethodPost, Path: "/api/v1/changes/{change}/merge", Tags: []string{"changes"},
		Summary: "Merge a green change whose app says `merge: manual`"}, s.mergeHTTP)
	huma.Register(api, huma.Operation{OperationID: "release-change", Method: http.MethodPost, Path: "/api/v1/changes/{change}/release", Tags: []string{"changes"},
		Summary: "Let a held change go on"}, s.releaseHTTP)
	huma.Register(api, huma.Operation{OperationID: "recheck-change", Method: http.MethodPost, Path: "/api/v1/changes/{change}/recheck", Tags: []string{"changes"},
		Summary: "Check a change again that was refused, failed or blocked, when the cause was not in it"}, s.recheckHTTP)
	huma.Register(api, huma.Operation{OperationID: "close-change", Method: http.MethodPost, Path: "/api/v1/changes/{change}/close", Tags: []string{"changes"},
		Summary: "Close a change without merging it"}, s.closeHTTP)
	huma.Register(api, huma.Operation{OperationID: "fix-change", Method: http.MethodPost, Path: "/api/v1/changes/{change}/fix", Tags: []string{"changes"},
		Summary: "Declare that a change mends one that was rolled back"}, s.fixHTTP)
	huma.Register(api, huma.Operation{OperationID: "post-change-result", Method: http.MethodPost, Path: "/api/v1/changes/{change}/results", Tags: []string{"changes"},
		Summary: "Post the result of a check that an outer CI ran"}, s.resultHTTP)
	huma.Register(api, huma.Operation{OperationID: "create-change", Method: http.MethodPost, Path: "/api/v1/apps/{app}/changes", Tags: []string{"changes"},
		Summary: "Change an app's variables or pattern version by a form", DefaultStatus: http.StatusCreated}, s.createHTTP)
	huma.Register(api, huma.Operation{OperationID: "push-app", Method: http.MethodPost, Path: "/api/v1/apps/{app}/folder", Tags: []string{"changes"}, MaxBodyBytes: 12 << 20,
		Summary: "Push the content of an app without git: your open change gets it, or a new one", DefaultStatus: http.StatusCreated}, s.pushAppHTTP)
	huma.Register(api, huma.Operation{OperationID: "push-pattern", Method: http.MethodPost, Path: "/api/v1/patterns/{pattern}/folder", Tags: []string{"changes"}, MaxBodyBytes: 12 << 20,
		Summary: "Push the content of a pattern without git: your open change gets it, or a new one", DefaultStatus: http.StatusCreated}, s.pushPatternHTTP)
	huma.Register(api, huma.Operation{OperationID: "preview-change", Method: http.MethodPost, Path: "/api/v1/apps/{app}/changes/preview", Tags: []string{"changes"},
		Summary: "The lane a change by form would take, without making it"}, s.previewHTTP)
	huma.Register(api, huma.Operation{OperationID: "get-app-form", Method: http.MethodGet, Path: "/api/v1/apps/{app}/form", Tags: []string{"changes"},
		Summary: "Variables of each environment with their bounds, as JSON Schema"}, s.formHTTP)
	huma.Register(api, huma.Operation{OperationID: "delete-app", Method: http.MethodDelete, Path: "/api/v1/apps/{app}", Tags: []string{"apps"},
		Summary: "Ask for an app to be removed; an operator releases the destroy plans", DefaultStatus: http.StatusAccepted}, s.deleteAppHTTP)
	huma.Register(api, huma.Operation{OperationID: "remove-app-environment", Method: http.MethodDelete, Path: "/api/v1/apps/{app}/environments/{environment}", Tags: []string{"apps"},
		Summary: "Ask for an app to be removed from an environment", DefaultStatus: http.StatusAccepted}, s.removeEnvironmentHTTP)
}

type one struct {
	Body Change
}

// ByID is exported because huma reads embedded structs only then.
type ByID struct {
	Change string `path:"change" example:"chg_d0c5ghq23akk2s3lvr9g"`
}

type changeListInput struct {
	web.Paging
	Kind    string `query:"kind" enum:"app,pattern"`
	Subject string `query:"subject" doc:"Name of an app or a pattern"`
	State   string `query:"state" enum:"checking,waiting,review,changes_requested,held,ready,refused,failed,blocked,merging,merged,deployed,rolled_back,closed,rejected"`
	Story   string `query:"story"`
}

func (s *Service) listHTTP(ctx context.Context, in *changeListInput) (*web.Page[Change], error) {
	f := Filter{Kind: Kind(in.Kind), Subject: in.Subject, State: State(in.State), Story: in.Story, Limit: in.Limit + 1}
	if _, err := in.After(&f.Before); err != nil {
		return nil, err
	}
	found, err := s.List(ctx, f)
	return web.Paged(found, in.Limit, func(c Change) any { return c.ID }), err
}

type changeDiffOutput struct {
	Body struct {
		Files []git.FileDiff `json:"files"`
	}
}

func (s *Service) diffHTTP(ctx context.Context, in *ByID) (*changeDiffOutput, error) {
	out := &changeDiffOutput{}
	var err error
	out.Body.Files, err = s.Diff(ctx, in.Change)
	return out, err
}

type changeFileDiffInput struct {
	ByID
	File string `query:"file" required:"true" maxLength:"1024" doc:"Its path, as in the diff"`
}

func (s *Service) fileDiffHTTP(ctx context.Context, in *changeFileDiffInput) (*huma.StreamResponse, error) {
	files, err := s.Diff(ctx, in.Change)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(files, func(f git.FileDiff) bool { return f.Path == in.File }) {
		return nil, fault.Missing("file", in.File).Do("`flywheel change diff %s` lists those of the change.", in.Change)
	}
	return &huma.StreamResponse{Body: func(h huma.Context) {
		h.SetHeader("Content-Type", "text/plain; charset=utf-8")
		if err := s.FileDiff(h.Context(), in.Change, in.File, h.BodyWriter()); err != nil && h.Context().Err() == nil {
			s.Log.ErrorContext(h.Context(), "a file of a change could not be shown", "change", in.Change, "file", in.File, "error", err)
			panic(http.ErrAbortHandler) // the reader must not take what came for the whole
		}
	}}, nil
}

type changeCheckInput struct {
	ByID
	Check string `path:"check" example:"plan: staging" maxLength:"200"`
}

type changeCheckOutput struct {
	Body Check
}

func (s *Service) checkHTTP(ctx context.Context, in *changeCheckInput) (*changeCheckOutput, error) {
	_, checks, err := s.Get(ctx, in.Change)
	if err != nil {
		return nil, err
	}
	for _, k := range checks {
		if k.Name == in.Check {
			return &changeCheckOutput{k}, nil
		}
	}
	return nil, fault.Missing("check", in.Check)
}

func (s *Service) mergeHTTP(ctx context.Context, in *ByID) (*one, error) {
	c, err := s.Merge(ctx, in.Change)
	return &one{c}, err
}

type changeReleaseInput struct {
	ByID
	Body struct {
		Digest  string `json:"digest" doc:"The heldDigest that was shown with the change"`
		Confirm string `json:"confirm,omitempty" maxLength:"100" doc:"Name of the app; asked for where the only active person releases what they wrote"`
	}
}

func (s *Service) releaseHTTP(ctx context.Context, in *changeReleaseInput) (*one, error) {
	c, err := s.ReleaseHeld(ctx, in.Change, in.Body.Digest, in.Body.Confirm)
	return &one{c}, err
}

func (s *Service) recheckHTTP(ctx context.Context, in *ByID) (*one, error) {
	c, err := s.Recheck(ctx, in.Change)
	return &one{c}, err
}

type changeCloseInput struct {
	ByID
	Body struct {
		Reason string `json:"reason,omitempty" maxLength:"2000"`
	}
}

func (s *Service) closeHTTP(ctx context.Context, in *changeCloseInput) (*one, error) {
	c, err := s.Close(ctx, in.Change, in.Body.Reason)
	return &one{c}, err
}

type changeFixInput struct {
	ByID
	Body struct {
		Fixes string `json:"fixes" doc:"The change that was rolled back"`
	}
}

func (s *Service) fixHTTP(ctx context.Context, in *changeFixInput) (*one, error) {
	c, err := s.DeclareFix(ctx, in.Change, in.Body.Fixes)
	return &one{c}, err
}

// Result is what an outer CI says about a change's head.
type Result struct {
	Head     string    `json:"head" doc:"The commit that was checked; a result for another one is refused"`
	Name     string    `json:"name" doc:"Name of the check" example:"integration" maxLength:"60" minLength:"1" pattern:"^[A-Za-z0-9](?:[A-Za-z0-9._:/+(),=@#-]| ?[A-Za-z0-9(])*$" patternDescription:"letters and digits of ASCII, single spaces, and . _ : / + - ( ) , = @ #"`
	Passed   bool      `json:"passed"`
	Summary  string    `json:"summary,omitempty" maxLength:"2000"`
	Artifact string    `json:"artifact,omitempty" doc:"Digest of the uploaded artifact that was built, from the check that build.outer of flywheel.yaml names"`
	At       time.Time `json:"at,omitempty"`
}

type changeResultInput struct {
	ByID
	Body Result
}

func (s *Service) resultHTTP(ctx context.Context, in *changeResultInput) (*one, error) {
	c, err := s.PostResult(ctx, in.Change, in.Body)
	return &one{c}, err
}

type changeCreateInput struct {
	App  string `path:"app"`
	Body Form
}

func (s *Service) createHTTP(ctx context.Context, in *changeCreateInput) (*one, error) {
	c, err := s.Create(ctx, in.App, in.Body)
	return &one{c}, err
}

type changePushAppInput struct {
	App  string `path:"app"`
	Body Folder
}

func (s *Service) pushAppHTTP(ctx context.Context, in *changePushAppInput) (*one, error) {
	c, err := s.PushFolder(ctx, git.App(in.App), in.Body)
	return &one{c}, err
}

type changePushPatternInput struct {
	Pattern string `path:"pattern"`
	Body    Folder
}

func (s *Service) pushPatternHTTP(ctx context.Context, in *changePushPatternInput) (*one, error) {
	c, err := s.PushFolder(ctx, git.Pattern(in.Pattern), in.Body)
	return &one{c}, err
}

type changePreviewOutput struct {
	Body Preview
}

func (s *Service) previewHTTP(ctx context.Context, in *changeCreateInput) (*changePreviewOutput, error) {
	p, err := s.Preview(ctx, in.App, in.Body)
	return &changePreviewOutput{p}, err
}

type changeFormInput struct {
	App string `path:"app"`
}

type changeFormOutput struct {
	Body struct {
		Environments []Fields `json:"environments"`
	}
}

func (s *Service) formHTTP(ctx context.Context, in *changeFormInput) (*changeFormOutput, error) {
	out := &changeFormOutput{}
	var err error
	out.Body.Environments, err = s.Form(ctx, in.App)
	return out, err
}

func (s *Service) deleteAppHTTP(ctx context.Context, in *changeFormInput) (*one, error) {
	c, err := s.Remove(ctx, in.App, "")
	return &one{c}, err
}

type changeRemoveInput struct {
	App         string `path:"app"`
	Environment string `path:"environment"`
}

func (s *Service) removeEnvironmentHTTP(ctx context.Context, in *changeRemoveInput) (*one, error) {
	c, err := s.Remove(ctx, in.App, in.Environment)
	return &one{c}, err
}
