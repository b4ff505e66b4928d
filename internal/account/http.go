package account

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/web"
)

// Routes registers the operations of accounts.
func (s *Service) Routes(api *web.API) {
	operation := func(id, method, path, tag, summary string) huma.Operation {
		return huma.Operation{OperationID: id, Method: method, Path: "/api/v1" + path, Tags: []string{tag}, Summary: summary}
	}
	signIn := operation("sign-in", http.MethodPost, "/session", "session", "Sign in at a browser")
	signIn.Security = web.Anonymous()
	huma.Register(api, signIn, s.signIn)
	huma.Register(api, operation("sign-out", http.MethodDelete, "/session", "session", "Sign out"), s.signOut)
	huma.Register(api, operation("list-sessions", http.MethodGet, "/sessions", "session", "List my sessions"), s.listSessions)
	huma.Register(api, operation("end-session", http.MethodDelete, "/sessions/{session}", "session", "End a session"), s.endSession)
	huma.Register(api, operation("end-other-sessions", http.MethodDelete, "/sessions", "session", "End all my sessions but the one that asks"), s.endOtherSessions)
	huma.Register(api, operation("get-me", http.MethodGet, "/me", "session", "Who am I, and what may I do"), s.me)
	huma.Register(api, operation("change-password", http.MethodPut, "/me/password", "session", "Change my password"), s.changePassword)

	huma.Register(api, operation("list-users", http.MethodGet, "/users", "user", "List people"), s.listUsers)
	huma.Register(api, operation("create-user", http.MethodPost, "/users", "user", "Add a person"), s.createUser)
	huma.Register(api, operation("get-user", http.MethodGet, "/users/{user}", "user", "Show a person"), s.getUser)
	huma.Register(api, operation("edit-user", http.MethodPatch, "/users/{user}", "user", "Change a person's rights, or deactivate them"), s.editUser)
	huma.Register(api, operation("reset-password", http.MethodPost, "/users/{user}/password", "user", "Give a person a new password"), s.resetPassword)

	huma.Register(api, operation("list-teams", http.MethodGet, "/teams", "team", "List teams"), s.listTeams)
	huma.Register(api, operation("create-team", http.MethodPost, "/teams", "team", "Make a team"), s.createTeam)
	huma.Register(api, operation("get-team", http.MethodGet, "/teams/{team}", "team", "Show a team"), s.getTeam)
	huma.Register(api, operation("rename-team", http.MethodPatch, "/teams/{team}", "team", "Change a team's title"), s.renameTeam)
	huma.Register(api, operation("delete-team", http.MethodDelete, "/teams/{team}", "team", "Delete a team that owns nothing"), s.deleteTeam)
	huma.Register(api, operation("put-member", http.MethodPut, "/teams/{team}/members/{user}", "team", "Put a person into a team"), s.putMember)
	huma.Register(api, operation("delete-member", http.MethodDelete, "/teams/{team}/members/{user}", "team", "Take a person out of a team"), s.deleteMember)

	huma.Register(api, operation("list-tokens", http.MethodGet, "/tokens", "token", "List my tokens"), s.listTokens)
	huma.Register(api, operation("create-token", http.MethodPost, "/tokens", "token", "Make a token"), s.createToken)
	huma.Register(api, operation("delete-token", http.MethodDelete, "/tokens/{token}", "token", "Delete a token"), s.deleteToken)

	huma.Register(api, operation("get-settings", http.MethodGet, "/settings", "settings", "Show the settings of the platform"), s.getSettings)
	huma.Register(api, operation("edit-settings", http.MethodPatch, "/settings", "settings", "Change the settings of the platform"), s.editSettings)

	huma.Register(api, operation("list-audit", http.MethodGet, "/audit", "audit", "List decisions, the newest first"), s.listAudit)
	huma.Register(api, operation("verify-audit", http.MethodGet, "/audit/verify", "audit", "Check that no entry was changed or removed"), s.verifyAudit)
}

// Me is who the actor is and what they may do.
type Me struct {
	ID          string                  `json:"id"`
	Name        string                  `json:"name"`
	Title       string                  `json:"title"`
	Admin       bool                    `json:"admin"`
	Disciplines []string                `json:"disciplines"`
	Teams       map[string]Role         `json:"teams"`
	Token       string                  `json:"token,omitempty" doc:"Id of the token that acts"`
	Service     bool                    `json:"service" doc:"A service token acts"`
	Scopes      []Scope                 `json:"scopes" doc:"Scopes of the token; empty for a browser, which has no bound"`
	May         []Permission            `json:"may" doc:"What I may do that belongs to no team"`
	MayInTeam   map[string][]Permission `json:"mayInTeam" doc:"What I may do, by team"`
}

type meOutput struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
	Body      Me
}

func (s *Service) meOf(ctx context.Context, a Actor) (*meOutput, error) {
	var u User
	var teams []Team
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		if u, err = userByName(tx, a.ID); err == nil && a.SeesAll() {
			teams, err = db.Collect(tx, scanTeam, selectTeam+" order by name limit 1000")
		}
		return err
	})
	me := Me{
		ID: u.ID, Name: u.Name, Title: u.Title, Admin: a.Admin, Disciplines: unique(a.Disciplines), Teams: a.Teams,
		Token: a.TokenID, Service: a.Service, Scopes: append([]Scope{}, a.Scopes...), May: a.permitted(""), MayInTeam: map[string][]Permission{},
	}
	for team := range a.Teams {
		me.MayInTeam[team] = a.permitted(team)
	}
	for _, t := range teams {
		me.MayInTeam[t.Name] = a.permitted(t.Name)
	}
	return &meOutput{Body: me}, err
}

type signInInput struct {
	remote  string
	browser string
	client  string
	Body    struct {
		Name     string `json:"name" minLength:"1" maxLength:"100"`
		Password string `json:"password" minLength:"1" maxLength:"200"`
	}
}

// Resolve implements huma.Resolver: it reads what only the connection knows.
func (in *signInInput) Resolve(ctx huma.Context) []error {
	in.remote = address(ctx.RemoteAddr())
	if cookie, err := huma.ReadCookie(ctx, clientCookie); err == nil {
		in.client = cookie.Value[:min(len(cookie.Value), 100)]
	}
	if in.browser = strings.ToValidUTF8(ctx.Header("User-Agent"), ""); len(in.browser) > 300 {
		in.browser = strings.ToValidUTF8(in.browser[:300], "")
	}
	return nil
}

func (s *Service) signIn(ctx context.Context, in *signInInput) (*meOutput, error) {
	actor, signed, err := s.SignIn(ctx, Attempt{in.Body.Name, in.Body.Password, in.remote, in.browser, in.client})
	if err != nil {
		return nil, err
	}
	out, err := s.meOf(ctx, actor)
	if err != nil {
		return nil, err
	}
	// The browser keeps it as long as it likes; how long it counts is decided here.
	out.SetCookie = []http.Cookie{{
		Name: cookieName, Value: signed.Session, Path: "/", HttpOnly: true, Secure: s.HTTPS, SameSite: http.SameSiteLaxMode,
		MaxAge: int((30 * 24 * time.Hour).Seconds()),
	}, { // opens nothing
		Name: clientCookie, Value: signed.Client, Path: "/api/v1/session", HttpOnly: true, Secure: s.HTTPS, SameSite: http.SameSiteStrictMode,
		MaxAge: int(clientsKnown.Seconds()),
	}}
	return out, nil
}

type signOutOutput struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
}

func (s *Service) signOut(ctx context.Context, _ *struct{}) (*signOutOutput, error) {
	err := s.SignOut(ctx)
	return &signOutOutput{SetCookie: []http.Cookie{{Name: cookieName, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: -1}}}, err
}

func (s *Service) me(ctx context.Context, _ *struct{}) (*meOutput, error) {
	return s.meOf(ctx, From(ctx))
}

type changePasswordInput struct {
	Body struct {
		Present string `json:"present" maxLength:"200" doc:"The password as it is"`
		Next    string `json:"next" maxLength:"200" doc:"The new one, 10 to 200 characters"`
	}
}

func (s *Service) changePassword(ctx context.Context, in *changePasswordInput) (*struct{}, error) {
	return nil, s.ChangePassword(ctx, in.Body.Present, in.Body.Next)
}

type userOutput struct {
	ETag         string `header:"ETag"`
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		User
		Password string `json:"password,omitempty" doc:"Password to hand over; shown only in this answer"`
	}
}

func userAnswer(u User, password string, err error) (*userOutput, error) {
	out := &userOutput{ETag: u.etag(), CacheControl: cacheControl(password)}
	out.Body.User, out.Body.Password = u, password
	return out, err
}

// cacheControl keeps an answer with a secret out of every store, the one of idempotency keys included.
func cacheControl(secret string) string {
	if secret != "" {
		return "no-store"
	}
	return "private, no-cache"
}

func (s *Service) listUsers(ctx context.Context, in *struct{ web.Paging }) (*web.Page[User], error) {
	var after string
	if _, err := in.After(&after); err != nil {
		return nil, err
	}
	users, err := s.Users(ctx, after, in.Limit+1)
	return web.Paged(users, in.Limit, func(u User) any { return u.Name }), err
}

type createUserInput struct {
	Body struct {
		Name        string   `json:"name" pattern:"^[a-z][a-z0-9._-]{0,62}$" patternDescription:"lower-case letter first, then letters, digits, dot, dash, underscore" doc:"Name to sign in with"`
		Title       string   `json:"title,omitempty" maxLength:"200" doc:"Full name"`
		Password    string   `json:"password,omitempty" maxLength:"200" doc:"Leave it out to get one made"`
		Admin       bool     `json:"admin,omitempty"`
		Disciplines []string `json:"disciplines,omitempty" maxItems:"3" enum:"security,operations,development"`
	}
}

func (s *Service) createUser(ctx context.Context, in *createUserInput) (*userOutput, error) {
	b := in.Body
	return userAnswer(s.CreateUser(ctx, User{Name: b.Name, Title: b.Title, Admin: b.Admin, Disciplines: b.Disciplines}, b.Password))
}

// UserPath names a person in a path. It is exported because huma reads embedded structs only then.
type UserPath struct {
	User string `path:"user" maxLength:"100" doc:"Name or id"`
}

func (s *Service) getUser(ctx context.Context, in *UserPath) (*userOutput, error) {
	u, err := s.User(ctx, in.User)
	return userAnswer(u, "", err)
}

type editUserInput struct {
	UserPath
	IfMatch string `header:"If-Match"`
	Body    struct {
		Title       *string   `json:"title,omitempty" minLength:"1" maxLength:"200"`
		Admin       *bool     `json:"admin,omitempty"`
		Disciplines *[]string `json:"disciplines,omitempty" maxItems:"3" enum:"security,operations,development"`
		Active      *bool     `json:"active,omitempty" doc:"false ends the sessions and deletes the tokens"`
	}
}

func (s *Service) editUser(ctx context.Context, in *editUserInput) (*userOutput, error) {
	u, err := s.EditUser(ctx, in.User, in.IfMatch, UserEdit(in.Body))
	return userAnswer(u, "", err)
}

type passwordOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		Password string `json:"password" doc:"Password to hand over; shown only in this answer"`
	}
}

func (s *Service) resetPassword(ctx context.Context, in *UserPath) (*passwordOutput, error) {
	password, err := s.ResetPassword(ctx, in.User)
	out := &passwordOutput{CacheControl: cacheControl(password)}
	out.Body.Password = password
	return out, err
}

type teamOutput struct {
	ETag string `header:"ETag"`
	Body Team
}

func teamAnswer(t Team, err error) (*teamOutput, error) {
	return &teamOutput{ETag: t.etag(), Body: t}, err
}

func (s *Service) listTeams(ctx context.Context, in *struct{ web.Paging }) (*web.Page[Team], error) {
	var after string
	if _, err := in.After(&after); err != nil {
		return nil, err
	}
	teams, err := s.Teams(ctx, after, in.Limit+1)
	return web.Paged(teams, in.Limit, func(t Team) any { return t.Name }), err
}

type createTeamInput struct {
	Body struct {
		Name  string `json:"name" pattern:"^[a-z][a-z0-9-]{0,38}$" patternDescription:"lower-case letter first, then letters, digits, dash" doc:"As it stands in flywheel.yaml"`
		Title string `json:"title,omitempty" maxLength:"200"`
	}
}

func (s *Service) createTeam(ctx context.Context, in *createTeamInput) (*teamOutput, error) {
	return teamAnswer(s.CreateTeam(ctx, in.Body.Name, in.Body.Title))
}

// TeamPath names a team in a path.
type TeamPath struct {
	Team string `path:"team" maxLength:"100" doc:"Name"`
}

func (s *Service) getTeam(ctx context.Context, in *TeamPath) (*teamOutput, error) {
	return teamAnswer(s.Team(ctx, in.Team))
}

type renameTeamInput struct {
	TeamPath
	IfMatch string `header:"If-Match"`
	Body    struct {
		Title string `json:"title" minLength:"1" maxLength:"200"`
	}
}

func (s *Service) renameTeam(ctx context.Context, in *renameTeamInput) (*teamOutput, error) {
	return teamAnswer(s.RenameTeam(ctx, in.Team, in.IfMatch, in.Body.Title))
}

func (s *Service) deleteTeam(ctx context.Context, in *TeamPath) (*struct{}, error) {
	return nil, s.DeleteTeam(ctx, in.Team)
}

type putMemberInput struct {
	TeamPath
	UserPath
	IfMatch string `header:"If-Match"`
	Body    struct {
		Role Role `json:"role" enum:"owner,operator,developer,viewer"`
	}
}

func (s *Service) putMember(ctx context.Context, in *putMemberInput) (*teamOutput, error) {
	return teamAnswer(s.PutMember(ctx, in.Team, in.User, in.IfMatch, in.Body.Role))
}

type deleteMemberInput struct {
	TeamPath
	UserPath
	IfMatch string `header:"If-Match"`
}

func (s *Service) deleteMember(ctx context.Context, in *deleteMemberInput) (*teamOutput, error) {
	return teamAnswer(s.PutMember(ctx, in.Team, in.User, in.IfMatch, ""))
}

type listTokensInput struct {
	web.Paging
	User string `query:"user" maxLength:"100" doc:"An admin may ask for another person's"`
}

func (s *Service) listTokens(ctx context.Context, in *listTokensInput) (*web.Page[Token], error) {
	var after string
	if _, err := in.After(&after); err != nil {
		return nil, err
	}
	tokens, err := s.Tokens(ctx, in.User, after, in.Limit+1)
	return web.Paged(tokens, in.Limit, func(t Token) any { return t.ID }), err
}

type createTokenInput struct {
	Body struct {
		Name      string    `json:"name" minLength:"1" maxLength:"100" doc:"What it is for"`
		Scopes    []Scope   `json:"scopes,omitempty" maxItems:"3" enum:"read,write,admin,checks:write" doc:"Read and write if left out; checks:write stands alone, and posts results of an outer system"`
		System    string    `json:"system,omitempty" maxLength:"40" doc:"With checks:write: the outer system that it speaks for" example:"ci"`
		Team      string    `json:"team,omitempty" maxLength:"100" doc:"With checks:write: the team about whose apps it posts results"`
		App       string    `json:"app,omitempty" maxLength:"100" doc:"With checks:write: the only app about which it posts results"`
		Service   bool      `json:"service,omitempty" doc:"For a machine: it stands for you and cannot approve"`
		ExpiresAt time.Time `json:"expiresAt,omitempty" doc:"In 90 days if left out, within a year at most"`
	}
}

type createTokenOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		Token
		Secret string `json:"secret" doc:"The token itself; shown only in this answer" example:"fly_…"`
	}
}

func (s *Service) createToken(ctx context.Context, in *createTokenInput) (*createTokenOutput, error) {
	b := in.Body
	t, secret, err := s.CreateToken(ctx, Token{Name: b.Name, Scopes: b.Scopes, Service: b.Service, ExpiresAt: b.ExpiresAt, System: b.System, Team: b.Team, App: b.App})
	out := &createTokenOutput{CacheControl: "no-store"}
	out.Body.Token, out.Body.Secret = t, secret
	return out, err
}

type settingsOutput struct {
	Body Settings
}

func (s *Service) getSettings(ctx context.Context, _ *struct{}) (*settingsOutput, error) {
	found, err := s.Settings(ctx)
	return &settingsOutput{found}, err
}

type editSettingsInput struct {
	Body struct {
		FourEyes *bool `json:"fourEyes,omitempty" doc:"Whether whoever wrote what destroys something stateful in production is kept from releasing it"`
	}
}

func (s *Service) editSettings(ctx context.Context, in *editSettingsInput) (*settingsOutput, error) {
	now, err := s.EditSettings(ctx, SettingsEdit(in.Body))
	return &settingsOutput{now}, err
}

type listSessionsInput struct {
	web.Paging
	User string `query:"user" maxLength:"100" doc:"An admin may ask for another person's"`
}

func (s *Service) listSessions(ctx context.Context, in *listSessionsInput) (*web.Page[Session], error) {
	var after string
	if _, err := in.After(&after); err != nil {
		return nil, err
	}
	sessions, err := s.Sessions(ctx, in.User, after, in.Limit+1)
	return web.Paged(sessions, in.Limit, func(x Session) any { return x.ID }), err
}

type sessionInput struct {
	Session string `path:"session" maxLength:"100" doc:"Id"`
}

func (s *Service) endSession(ctx context.Context, in *sessionInput) (*struct{}, error) {
	return nil, s.EndSession(ctx, in.Session)
}

type endedOutput struct {
	Body struct {
		Ended int64 `json:"ended" doc:"How many were ended"`
	}
}

func (s *Service) endOtherSessions(ctx context.Context, _ *struct{}) (*endedOutput, error) {
	n, err := s.EndOtherSessions(ctx)
	out := &endedOutput{}
	out.Body.Ended = n
	return out, err
}

type tokenInput struct {
	Token string `path:"token" maxLength:"100" doc:"Id"`
}

func (s *Service) deleteToken(ctx context.Context, in *tokenInput) (*struct{}, error) {
	return nil, s.DeleteToken(ctx, in.Token)
}

type listAuditInput struct {
	web.Paging
	Subject   string `query:"subject" maxLength:"200" doc:"Only about this"`
	Person    string `query:"person" maxLength:"100" doc:"Only by the person of this name"`
	Action    string `query:"action" maxLength:"100" doc:"Only this action, or all of a noun" example:"change.approved"`
	RequestID string `query:"requestId" maxLength:"64" doc:"Only what this request led to: its id, or the one that its client gave it"`
}

func (s *Service) listAudit(ctx context.Context, in *listAuditInput) (*web.Page[Record], error) {
	before := int64(1<<63 - 1)
	if _, err := in.After(&before); err != nil {
		return nil, err
	}
	records, err := s.Log(ctx, in.Subject, in.Person, in.Action, in.RequestID, before, in.Limit+1)
	return web.Paged(records, in.Limit, func(r Record) any { return r.Seq }), err
}

type verifyAuditOutput struct {
	Body struct {
		Sound  int64   `json:"sound" doc:"How many entries are as they were written, from the first on"`
		Last   string  `json:"last" doc:"Hash of the last sound entry; keep it elsewhere to notice a cut-off end"`
		Broken *Broken `json:"broken,omitempty" doc:"The first entry that is not sound"`
	}
}

type verifyAuditInput struct {
	KeptSound int64  `query:"keptSound" minimum:"0" doc:"How many entries were sound when keptLast was noted"`
	KeptLast  string `query:"keptLast" maxLength:"64" doc:"The last hash of an earlier verification, noted elsewhere: shows whether the log was cut off or written anew since"`
}

func (s *Service) verifyAudit(ctx context.Context, in *verifyAuditInput) (*verifyAuditOutput, error) {
	out := &verifyAuditOutput{}
	if (in.KeptSound == 0) != (in.KeptLast == "") {
		return nil, fault.New(fault.Invalid, "audit.kept", "What was kept is a number of entries and a hash, both.").
			Do("Give keptSound and keptLast together, or neither.")
	}
	var err error
	out.Body.Sound, out.Body.Last, out.Body.Broken, err = s.VerifyLog(ctx, Kept{in.KeptSound, in.KeptLast})
	return out, err
}
