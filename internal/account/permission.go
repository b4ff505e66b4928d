package account

import (
	"slices"
	"strings"

	"flywheel.dev/flywheel/internal/fault"
)

// Permission is a verb that an actor may or may not do. See rules for who may.
type Permission string

const (
	// Of an app; the team is the app's.
	ViewApp         Permission = "view_app"         // see the app, its changes, deployments, logs and stories
	CreateApp       Permission = "create_app"       // make an app for the team
	PushApp         Permission = "push_app"         // push a branch; open, edit and close a change
	ChangeVariables Permission = "change_variables" // change variables inside the bounds, by a form
	Merge           Permission = "merge"            // merge a green change where merging is manual
	Deploy          Permission = "deploy"           // start, retry and cancel a deployment
	Rollback        Permission = "rollback"         // go back to an earlier desired state
	ManageSecrets   Permission = "manage_secrets"   // set, list and delete secrets of the app
	PlanStories     Permission = "plan_stories"     // write and order the stories of the app
	PostResult      Permission = "post_result"      // post a build or test result, as the outer CI that a token for checks names
	UploadArtifact  Permission = "upload_artifact"  // store what an outer CI built
	SpeakForChecks  Permission = "speak_for_checks" // make a token with which an outer CI posts results
	DropTests       Permission = "drop_tests"       // release a change with which an app is tested less than before
	HoldRelease     Permission = "release_hold"     // release or drop what is held: destroy plans, degraded instances
	RemoveApp       Permission = "remove_app"       // ask for an app or one of its environments to be removed
	GiveApp         Permission = "give_app"         // give the app to another team, where one may make apps as well

	// Of a team.
	ViewTeam      Permission = "view_team"
	ManageMembers Permission = "manage_members" // who is in the team, and as what

	// Of patterns; no team.
	ViewPattern        Permission = "view_pattern"
	RequestPattern     Permission = "request_pattern"     // ask for a pattern or a change to one, in words
	DevelopPattern     Permission = "develop_pattern"     // push a branch of a pattern, open a pattern change
	CreatePattern      Permission = "create_pattern"      // add a pattern to the catalogue
	DecideRequest      Permission = "decide_request"      // accept, decline or assign a pattern request
	CuratePattern      Permission = "curate_pattern"      // recommend, deprecate and retire versions
	ApproveSecurity    Permission = "approve_security"    // decide on a pattern change for security
	ApproveOperations  Permission = "approve_operations"  // … for operations
	ApproveDevelopment Permission = "approve_development" // … for development
	GrantWaiver        Permission = "grant_waiver"        // accept a value outside its bounds until a date

	// Of the platform; no team.
	ManageEnvironments Permission = "manage_environments"
	ViewCredentials    Permission = "view_credentials" // names of the secrets of an environment
	ViewAudit          Permission = "view_audit"
	ViewUsers          Permission = "view_users"
	ManageUsers        Permission = "manage_users"
	ManageTeams        Permission = "manage_teams"
	OperatePlatform    Permission = "operate_platform" // backup and restore
	ManageSettings     Permission = "manage_settings"  // settings of the platform, such as four eyes
	ViewConsumers      Permission = "view_consumers"   // how the consumers of facts get on
	SkipFact           Permission = "skip_fact"        // let a consumer pass a fact that it cannot handle
)

// rule says who may. A person may when any one of the conditions holds; the scope bounds tokens on top.
type rule struct {
	role        Role     // at least this role in the team; without a team: in any team
	disciplines []string // one of these disciplines
	admin       bool     // the global role admin
	everybody   bool     // whoever is signed in
	open        bool     // everybody may know of the thing, so a refusal need not hide it
	person      bool     // never a service token, never the platform itself
	checks      bool     // a token for checks may, which else only sees
	scope       Scope    // a token needs at least this
}

var anyDiscipline = Disciplines()

// rules is the whole of who may do what. Two lines that may surprise: an admin may do everything a
// team may, so that one person can start alone on a laptop, but approvals belong to the disciplines
// only, and an admin who wants to approve must be made a member of one, which is audited; and a
// developer of any team may push a branch of a pattern, because governance decides about changes, it
// does not forbid to propose them.
var rules = map[Permission]rule{
	ViewApp:         {role: Viewer, disciplines: anyDiscipline, admin: true, scope: ScopeRead},
	CreateApp:       {role: Developer, admin: true, scope: ScopeWrite},
	PushApp:         {role: Developer, admin: true, scope: ScopeWrite},
	ChangeVariables: {role: Developer, admin: true, scope: ScopeWrite},
	Merge:           {role: Developer, admin: true, scope: ScopeWrite},
	Deploy:          {role: Developer, admin: true, scope: ScopeWrite},
	Rollback:        {role: Developer, admin: true, scope: ScopeWrite},
	ManageSecrets:   {role: Developer, admin: true, scope: ScopeWrite},
	PlanStories:     {role: Developer, admin: true, scope: ScopeWrite},
	PostResult:      {role: Developer, checks: true, scope: ScopeChecks},
	UploadArtifact:  {role: Developer, admin: true, checks: true, scope: ScopeWrite},
	SpeakForChecks:  {role: Operator, admin: true, scope: ScopeWrite},
	DropTests:       {role: Owner, admin: true, scope: ScopeWrite},
	HoldRelease:     {role: Operator, disciplines: []string{Operations}, admin: true, scope: ScopeWrite},
	RemoveApp:       {role: Operator, admin: true, scope: ScopeWrite},
	GiveApp:         {role: Owner, admin: true, scope: ScopeAdmin},

	ViewTeam:      {everybody: true, scope: ScopeRead},
	ManageMembers: {role: Owner, admin: true, open: true, scope: ScopeAdmin},

	ViewPattern:        {everybody: true, scope: ScopeRead},
	RequestPattern:     {everybody: true, scope: ScopeWrite},
	DevelopPattern:     {role: Developer, disciplines: anyDiscipline, admin: true, scope: ScopeWrite},
	CreatePattern:      {disciplines: anyDiscipline, admin: true, scope: ScopeAdmin},
	DecideRequest:      {disciplines: anyDiscipline, admin: true, scope: ScopeAdmin},
	CuratePattern:      {disciplines: anyDiscipline, admin: true, scope: ScopeAdmin},
	ApproveSecurity:    {disciplines: []string{Security}, person: true, scope: ScopeAdmin},
	ApproveOperations:  {disciplines: []string{Operations}, person: true, scope: ScopeAdmin},
	ApproveDevelopment: {disciplines: []string{Development}, person: true, scope: ScopeAdmin},
	GrantWaiver:        {disciplines: anyDiscipline, admin: true, person: true, scope: ScopeAdmin},

	ManageEnvironments: {disciplines: anyDiscipline, admin: true, scope: ScopeAdmin},
	ViewCredentials:    {disciplines: anyDiscipline, admin: true, scope: ScopeRead},
	ViewAudit:          {disciplines: anyDiscipline, admin: true, scope: ScopeRead},
	ViewUsers:          {everybody: true, scope: ScopeRead},
	ManageUsers:        {admin: true, person: true, scope: ScopeAdmin},
	ManageTeams:        {admin: true, scope: ScopeAdmin},
	OperatePlatform:    {admin: true, scope: ScopeAdmin},
	ManageSettings:     {admin: true, person: true, scope: ScopeAdmin},
	ViewConsumers:      {disciplines: anyDiscipline, admin: true, scope: ScopeRead},
	SkipFact:           {disciplines: anyDiscipline, admin: true, person: true, scope: ScopeAdmin},
}

// Approve returns the permission to decide on pattern changes for a discipline, or "" for an unknown
// one, which nobody has.
func Approve(discipline string) Permission {
	if !slices.Contains(anyDiscipline, discipline) {
		return ""
	}
	return Permission("approve_" + discipline)
}

// Can reports whether the actor may; see Require.
func (a Actor) Can(p Permission, team string) bool { return a.Require(p, team) == nil }

// Require returns nil if the actor may do p to what belongs to team (empty for what belongs to no
// team). Otherwise it returns a fault: unauthenticated for nobody; not found if the actor may not even
// see what belongs to the team, which RequireOf says in the words of the thing; else forbidden, with the
// reason and who could.
func (a Actor) Require(p Permission, team string) error {
	r, known := rules[p]
	switch {
	case a.Nobody():
		return fault.New(fault.Unauthenticated, "session.missing", "You are not signed in.").
			Do("Sign in, or send a token: flywheel login.")
	case !known:
		return fault.New(fault.Forbidden, "permission.unknown", "Nobody may do %q.", p)
	case team != "" && !r.everybody && !r.open && !a.Sees(team):
		return fault.New(fault.NotFound, "not_found", "There is no such thing, or it is not yours to see.")
	case a.system && !r.person:
		return nil
	case p == PostResult && a.System == "":
		return fault.New(fault.Forbidden, "token.not_for_checks", "Results come only from a token that was made for the outer CI that speaks, not from a person.").
			Do("Let %s make one: flywheel token create NAME --scope checks:write --system ci --team %s.", rules[SpeakForChecks].who(team), team)
	case r.person && (a.Service || a.system):
		return fault.New(fault.Forbidden, "permission.person", "Only a person may %s, not a machine.", p.words()).
			Do("Let %s do it in the browser or with a personal token.", r.who(team))
	case !r.allows(a, team):
		return fault.New(fault.Forbidden, "permission.denied", "You may not %s.", p.words()).
			Do("Ask %s.", r.who(team))
	case !(r.checks && a.System != "") && !a.has(r.scope):
		return fault.New(fault.Forbidden, "token.scope", "This token may not %s: it lacks the scope %s.", p.words(), r.scope).
			Do("Make a token with that scope: flywheel token create --scope %s.", r.scope)
	}
	return nil
}

// RequireOf is Require for a thing with a name: to an actor who may not see it, it is not there.
func (a Actor) RequireOf(p Permission, team, what, name string) error {
	err := a.Require(p, team)
	if fault.Is(err, "not_found") {
		return fault.Missing(what, name)
	}
	return err
}

func (r rule) allows(a Actor, team string) bool {
	if r.everybody || r.admin && a.Admin {
		return true
	}
	for _, d := range r.disciplines {
		if slices.Contains(a.Disciplines, d) {
			return true
		}
	}
	if r.role == "" {
		return false
	}
	if team != "" {
		return a.Teams[team].atLeast(r.role)
	}
	for _, role := range a.Teams {
		if role.atLeast(r.role) {
			return true
		}
	}
	return false
}

// who says who could, for a remedy.
func (r rule) who(team string) string {
	var who []string
	if r.role != "" {
		of := "of a team"
		if team != "" {
			of = "of the team " + team
		}
		who = append(who, map[Role]string{
			Owner: "an owner ", Operator: "an operator or owner ", Developer: "a developer, operator or owner ", Viewer: "a member ",
		}[r.role]+of)
	}
	if len(r.disciplines) == len(anyDiscipline) {
		who = append(who, "the Center of Excellence")
	} else if len(r.disciplines) > 0 {
		who = append(who, "somebody of "+strings.Join(r.disciplines, " or ")+" in the Center of Excellence")
	}
	if r.admin {
		who = append(who, "an admin")
	}
	return strings.Join(who, ", or ")
}

func (p Permission) words() string {
	switch p {
	case PostResult:
		return "post results"
	case UploadArtifact:
		return "upload artifacts"
	case SpeakForChecks:
		return "make a token for the checks of an outer CI"
	case DropTests:
		return "let an app be tested less than before"
	case HoldRelease:
		return "release what is held"
	case GiveApp:
		return "give the app to another team"
	case ViewApp, PushApp, RemoveApp:
		return strings.Replace(string(p), "_app", " the app", 1)
	case CreateApp:
		return "create apps"
	case ApproveSecurity, ApproveOperations, ApproveDevelopment:
		return "approve for " + strings.TrimPrefix(string(p), "approve_")
	case Rollback:
		return "roll back"
	case PlanStories:
		return "plan its stories"
	case ViewTeam:
		return "view the team"
	case ManageMembers:
		return "manage the members of the team"
	case RequestPattern, DevelopPattern, CreatePattern, ViewPattern, GrantWaiver:
		return strings.ReplaceAll(string(p), "_", " ") + "s"
	case DecideRequest:
		return "decide about requests for patterns"
	case CuratePattern:
		return "recommend, deprecate or retire versions"
	case ViewAudit:
		return "view the audit log"
	case ViewConsumers:
		return "view the consumers of facts"
	case SkipFact:
		return "let a consumer pass a fact"
	case OperatePlatform:
		return "operate the platform"
	}
	return strings.ReplaceAll(string(p), "_", " ")
}

func (s Scope) includes(least Scope) bool {
	if s == ScopeChecks {
		return least == ScopeRead || least == ScopeChecks
	}
	order := []Scope{ScopeRead, ScopeWrite, ScopeAdmin}
	if !slices.Contains(order, least) {
		return false
	}
	return slices.Index(order, s) >= slices.Index(order, least)
}

// has reports whether the scopes of the actor's token include one. A session has no bound.
func (a Actor) has(scope Scope) bool {
	return len(a.Scopes) == 0 || slices.ContainsFunc(a.Scopes, func(s Scope) bool { return s.includes(scope) })
}

// wholePerson reports whether the actor stands for all that its person is: at a browser, or with a personal token
// that is bounded in nothing, such as the command line's. Only then it decides about the person's other tokens and
// sessions.
func (a Actor) wholePerson() bool { return !a.system && !a.Service && a.has(ScopeAdmin) }

// permitted returns what the actor may do to what belongs to team, for pages that hide what cannot be
// done. Without a team it returns what needs none.
func (a Actor) permitted(team string) []Permission {
	list := []Permission{}
	for p, r := range rules {
		if (r.role != "" && p != DevelopPattern) == (team != "") && a.Can(p, team) {
			list = append(list, p)
		}
	}
	slices.Sort(list)
	return list
}
