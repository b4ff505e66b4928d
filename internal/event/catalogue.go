package event

import (
	"context"
	"time"

	"flywheel.dev/flywheel/internal/db"
)

// This file is the catalogue: every kind of fact is a struct here, and only these are written (Emit). A field is what
// a reader finds under its name in the data of the event. `make gen` makes the types of the pages from them, and
// docs/events.md is drawn from them.
//
// A fact is written once, at a transition, never because a row was saved again. It carries what a measure of the loop
// needs, so that measures are computed from facts alone (internal/flow will): the lane, the class of the environment,
// the team, commits with their times, and for every wait when it began and what it was for.

// Fact is one kind of fact with its data.
type Fact interface{ head() head }

// kinds are all kinds of facts, in the order of this file.
var kinds = []Fact{
	ChangeOpened{},
	ChangeRevised{},
	ChangeLaned{},
	CheckStarted{},
	CheckFinished{},
	ChangeMoved{},
	ChangeReviewed{},
	EffectChanged{},
	ChangeMerged{},
	ChangeAbandoned{},
	ChangeDeployed{},
	ChangeRolledBack{},
	FixDeclared{},
	ChangeRestored{},
	DeploymentQueued{},
	DeploymentDelayed{},
	DeploymentStarted{},
	DeploymentHeld{},
	DeploymentReleased{},
	DeploymentCancelling{},
	DeploymentCancelled{},
	DeploymentSuperseded{},
	DeploymentFailed{},
	StepStarted{},
	StepFinished{},
	ServiceDeployed{},
	ServiceUpgraded{},
	ServiceRolledBack{},
	ServiceRemoved{},
	PatternCreated{},
	PatternCertified{},
	PatternMoved{},
	PatternRequested{},
	PatternRequestMoved{},
	AppCreated{},
	AppRemoved{},
	AppGiven{},
	EnvironmentSaved{},
	EnvironmentDeleted{},
	WaiverRequested{},
	WaiverGranted{},
	WaiverDeclined{},
	WaiverRevoked{},
	WaiverEnded{},
	SecretSet{},
	SecretDeleted{},
	StoryCreated{},
	PersonCreated{},
	PersonUpdated{},
	TeamCreated{},
	TeamUpdated{},
	TeamDeleted{},
	TokenCreated{},
	TokenDeleted{},
	SessionEnded{},
	SettingsUpdated{},
}

// head is where a fact stands in the log and who may see it.
type head struct {
	kind     string // the type of its event
	subject  string
	app      string
	team     string
	audience Audience
}

// TypeOf returns the type of the event of a kind of fact, such as "dev.cdevents.change.merged".
func TypeOf(kind Fact) string { return kind.head().kind }

// Emit writes a fact in the caller's transaction and wakes the followers of the log after the commit.
func Emit(tx *db.Tx, f Fact) error {
	h := f.head()
	actor, _ := tx.Context().Value(actorKey{}).(string)
	return Append(tx, Event{Type: h.kind, Subject: h.subject, App: h.app, Team: h.team, Audience: h.audience, Actor: actor, Data: f})
}

type actorKey struct{}

// WithActor returns a context for Emit: facts written in it name the person, or the part of the platform, with this id.
func WithActor(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, actorKey{}, id)
}

// Cause is what a change or a deployment waits for, as a code.
type Cause string

// Causes. No cause means that the platform is at work, or that it is over.
const (
	WaitsForCertification Cause = "certification"
	WaitsForApproval      Cause = "approval"
	WaitsForOperator      Cause = "operator"
	WaitsForFreeze        Cause = "freeze"
	WaitsForQueue         Cause = "queue"
	WaitsForTest          Cause = "test"
	WaitsForPattern       Cause = "pattern"
	WaitsForAuthor        Cause = "author"
	WaitsForMerge         Cause = "merge"
	WaitsForFix           Cause = "fix"
	WaitsForPlatform      Cause = "platform"
)

// causes are all of them with what they mean, in the order that documents show them.
var causes = []struct {
	cause Cause
	means string
}{
	{WaitsForCertification, "A pattern version that is proposed and not certified yet"},
	{WaitsForApproval, "The disciplines of the Center of Excellence, to decide about a pattern change"},
	{WaitsForOperator, "An operator, to release what would destroy or replace something"},
	{WaitsForFreeze, "The end of a freeze of the environment"},
	{WaitsForQueue, "Others of the same app, which come first"},
	{WaitsForTest, "The result of an outer system"},
	{WaitsForPattern, "A pattern: no version fits, or its change came to nothing"},
	{WaitsForAuthor, "Its author, to correct what was refused, failed or conflicts"},
	{WaitsForMerge, "A person, to merge it, because the app says so"},
	{WaitsForFix, "The revert or the fix of a change that was rolled back there"},
	{WaitsForPlatform, "Something of Flywheel or its host that passes, as a full disk"},
}

// Commit is one commit of a change, as it was pushed: before a merge or a squash gives it other times.
type Commit struct {
	SHA         string    `json:"sha"`
	AuthoredAt  time.Time `json:"authoredAt" doc:"As its author's machine says"`
	CommittedAt time.Time `json:"committedAt" doc:"As its author's machine says"`
}

// OfChange is what every fact about a change says.
type OfChange struct {
	Change   string `json:"change" doc:"Id of the change"`
	Kind     string `json:"kind" enum:"app,pattern" doc:"What it alters"`
	Subject  string `json:"subject" doc:"Name of the app or the pattern"`
	Team     string `json:"team,omitempty" doc:"Team of the app"`
	Lane     string `json:"lane,omitempty" doc:"Once it is found"`
	Revision int    `json:"revision"`
	Story    string `json:"story,omitempty"`
	By       string `json:"by" doc:"Name of the person, or flywheel"`
}

func (c OfChange) of(kind string) head {
	if c.Kind == "app" {
		return head{kind: kind, subject: c.Change, app: c.Subject, team: c.Team, audience: OfApp}
	}
	return head{kind: kind, subject: c.Change, audience: Everybody} // patterns are for everybody
}

// ChangeOpened says that a branch became a change.
type ChangeOpened struct {
	OfChange
	Branch  string   `json:"branch"`
	Title   string   `json:"title"`
	Head    string   `json:"head"`
	Commits []Commit `json:"commits" doc:"The newest first"`
	Planned bool     `json:"planned" doc:"Whether it names a story"`
	Reverts string   `json:"reverts,omitempty" doc:"The change that it takes back"`
	Fixes   string   `json:"fixes,omitempty" doc:"The change that it mends"`
}

func (f ChangeOpened) head() head { return f.of("dev.cdevents.change.created") }

// ChangeRevised says that a change is looked at anew.
type ChangeRevised struct {
	OfChange
	Head    string   `json:"head"`
	Pushed  bool     `json:"pushed" doc:"Whether somebody pushed; else what it depends on has moved, or somebody asked"`
	Commits []Commit `json:"commits,omitempty" doc:"If it was pushed: all of its commits, the newest first"`
	Planned bool     `json:"planned" doc:"Whether it names a story"`
	Reverts string   `json:"reverts,omitempty"`
	Fixes   string   `json:"fixes,omitempty"`
}

func (f ChangeRevised) head() head { return f.of("dev.cdevents.change.updated") }

// ChangeLaned says which lane a revision takes.
type ChangeLaned struct {
	OfChange
	Reasons []string `json:"reasons"`
}

func (f ChangeLaned) head() head { return f.of(Own("change", "laned")) }

// CheckStarted says that a check of a revision began.
type CheckStarted struct {
	OfChange
	Check CheckResult `json:"check"`
}

func (f CheckStarted) head() head { return f.of(Own("check", "started")) }

// CheckFinished says how a check of a revision ended.
type CheckFinished struct {
	OfChange
	Check CheckResult `json:"check"`
}

func (f CheckFinished) head() head { return f.of(Own("check", "finished")) }

// CheckResult is how a check stands.
type CheckResult struct {
	Name      string    `json:"name" example:"plan: staging"`
	State     string    `json:"state" enum:"running,passed,failed,held,warning"`
	Summary   string    `json:"summary"`
	StartedAt time.Time `json:"startedAt"`
}

// Moved is what every fact about a new state says: from where to where, since when it stood there, and what it waited
// for meanwhile and waits for now.
type Moved struct {
	From      string    `json:"from,omitempty" doc:"State before"`
	State     string    `json:"state" doc:"State now"`
	Since     time.Time `json:"since,omitzero" doc:"When the state before began"`
	WaitedFor Cause     `json:"waitedFor,omitempty" doc:"What it waited for from then until now"`
	WaitsFor  Cause     `json:"waitsFor,omitempty" doc:"What it waits for from now on"`
	Why       string    `json:"why,omitempty" doc:"In a sentence"`
	Code      string    `json:"code,omitempty" doc:"Stable name of why"`
}

// ChangeMoved says that a change, still open, took another state or waits for something else.
type ChangeMoved struct {
	OfChange
	Moved
}

func (f ChangeMoved) head() head { return f.of(Own("change", "moved")) }

// ChangeReviewed says that a discipline decided about a pattern change.
type ChangeReviewed struct {
	OfChange
	Discipline string `json:"discipline"`
	Decision   string `json:"decision" enum:"approved,rejected,changes_requested"`
	Name       string `json:"name" doc:"Who decided"`
	Reason     string `json:"reason"`
	Digest     string `json:"digest" doc:"Of what was shown"`
}

func (f ChangeReviewed) head() head { return f.of("dev.cdevents.change.reviewed") }

// EffectChanged says that a pattern change under review would do something else to live instances than its approvers saw.
type EffectChanged struct {
	OfChange
	Digest    string   `json:"digest"`
	Earlier   string   `json:"earlier"`
	Approvals []string `json:"approvals" doc:"People whose approval does not count any more"`
}

func (f EffectChanged) head() head { return f.of(Own("change", "effectchanged")) }

// ChangeMerged says that a change is on main. Of a pattern change it says that its version is published.
type ChangeMerged struct {
	OfChange
	Moved
	Commit    string     `json:"commit" doc:"The merge commit"`
	Commits   []Commit   `json:"commits" doc:"What was pushed, the newest first"`
	Planned   bool       `json:"planned" doc:"Whether it names a story"`
	Reverts   string     `json:"reverts,omitempty"`
	Fixes     string     `json:"fixes,omitempty"`
	OpenedAt  time.Time  `json:"openedAt" doc:"When its first commits were pushed"`
	CheckedAt *time.Time `json:"checkedAt,omitempty" doc:"When the checks of what was merged had passed"`
	ReadyAt   *time.Time `json:"readyAt,omitempty" doc:"When nothing but the merge was missing"`
}

func (f ChangeMerged) head() head { return f.of("dev.cdevents.change.merged") }

// ChangeAbandoned says that a change was closed or rejected.
type ChangeAbandoned struct {
	OfChange
	Moved
}

func (f ChangeAbandoned) head() head { return f.of("dev.cdevents.change.abandoned") }

// ChangeDeployed says that a change is verified in the last environment of its order.
type ChangeDeployed struct {
	OfChange
	Moved
}

func (f ChangeDeployed) head() head { return f.of(Own("change", "deployed")) }

// ChangeRolledBack says that an environment goes back to what ran before the change.
type ChangeRolledBack struct {
	OfChange
	Moved
}

func (f ChangeRolledBack) head() head { return f.of(Own("change", "rolledback")) }

// FixDeclared says which change an open change was declared to mend, so that it may pass where that was rolled back.
type FixDeclared struct {
	OfChange
	Fixes string `json:"fixes"`
}

func (f FixDeclared) head() head { return f.of(Own("change", "fixdeclared")) }

// ChangeRestored says that a rollback of a change was never carried out, so that the change stands as before.
type ChangeRestored struct {
	OfChange
	Moved
}

func (f ChangeRestored) head() head { return f.of(Own("change", "restored")) }

// OfDeployment is what every fact about a deployment says.
type OfDeployment struct {
	Deployment     string `json:"deployment" doc:"Id of the deployment"`
	App            string `json:"app"`
	Team           string `json:"team"`
	Environment    string `json:"environment"`
	Class          string `json:"class" enum:"development,staging,production" doc:"Of the environment"`
	Change         string `json:"change,omitempty" doc:"The change that it brings, or takes back"`
	Lane           string `json:"lane,omitempty" doc:"Of the change"`
	Kind           string `json:"kind" enum:"release,infrastructure,destroy"`
	Trigger        string `json:"trigger" enum:"change,rollback,redeploy"`
	Number         int64  `json:"number" doc:"Its place in the order of its instance"`
	Artifact       string `json:"artifact,omitempty"`
	PatternVersion string `json:"patternVersion,omitempty"`
	By             string `json:"by" doc:"Name of the person, or flywheel"`
}

func (d OfDeployment) of(kind string) head {
	return head{kind: kind, subject: d.Deployment, app: d.App, team: d.Team, audience: OfApp}
}

// DeploymentQueued says that a deployment was asked for.
type DeploymentQueued struct {
	OfDeployment
	Moved
}

func (f DeploymentQueued) head() head { return f.of("dev.cdevents.pipelinerun.queued") }

// DeploymentDelayed says that a deployment, or its step, waits for something else than before, or for nothing more.
type DeploymentDelayed struct {
	OfDeployment
	Moved
}

func (f DeploymentDelayed) head() head { return f.of(Own("deployment", "delayed")) }

// DeploymentStarted says that the turn of a deployment came.
type DeploymentStarted struct {
	OfDeployment
	Moved
}

func (f DeploymentStarted) head() head { return f.of("dev.cdevents.pipelinerun.started") }

// DeploymentHeld says that the plan of a deployment waits for an operator.
type DeploymentHeld struct {
	OfDeployment
	Moved
	Destroys []string `json:"destroys" doc:"Stateful addresses that it would destroy or replace"`
}

func (f DeploymentHeld) head() head { return f.of(Own("deployment", "held")) }

// DeploymentReleased says that an operator let a held plan go on.
type DeploymentReleased struct {
	OfDeployment
	Moved
}

func (f DeploymentReleased) head() head { return f.of(Own("deployment", "released")) }

// DeploymentCancelling says that somebody wants a running deployment to stop.
type DeploymentCancelling struct {
	OfDeployment
	Moved
}

func (f DeploymentCancelling) head() head { return f.of(Own("deployment", "cancelling")) }

// DeploymentCancelled says that a deployment ended because somebody wanted that.
type DeploymentCancelled struct {
	OfDeployment
	Moved
}

func (f DeploymentCancelled) head() head { return f.of(Own("deployment", "cancelled")) }

// DeploymentSuperseded says that a newer deployment took the place of one that waited.
type DeploymentSuperseded struct {
	OfDeployment
	Moved
	Newer string `json:"newer" doc:"The deployment that took its place"`
}

func (f DeploymentSuperseded) head() head { return f.of(Own("deployment", "superseded")) }

// DeploymentFailed says that a deployment failed, or its engine was killed and what it did is not known.
type DeploymentFailed struct {
	OfDeployment
	Moved
	Outcome string `json:"outcome" enum:"failure,error" doc:"error: the engine was killed"`
}

func (f DeploymentFailed) head() head { return f.of("dev.cdevents.pipelinerun.finished") }

// StepStarted says that a step of a deployment began.
type StepStarted struct {
	OfDeployment
	Step string `json:"step"`
}

func (f StepStarted) head() head { return f.of("dev.cdevents.taskrun.started") }

// StepFinished says how a step of a deployment ended.
type StepFinished struct {
	OfDeployment
	Step      string    `json:"step"`
	State     string    `json:"state" enum:"succeeded,failed,cancelled,held"`
	StartedAt time.Time `json:"startedAt"`
}

func (f StepFinished) head() head { return f.of("dev.cdevents.taskrun.finished") }

// Brought is what every fact about a deployment that succeeded says.
type Brought struct {
	OfDeployment
	Moved
	Changes  []string  `json:"changes" doc:"Every change that it brought here: its own and those that came with it"`
	Previous string    `json:"previous,omitempty" doc:"The deployment that was here before it"`
	QueuedAt time.Time `json:"queuedAt"`
	BegunAt  time.Time `json:"begunAt"`
}

// ServiceDeployed says that an instance is verified that nothing was deployed to before.
type ServiceDeployed struct{ Brought }

func (f ServiceDeployed) head() head { return f.of("dev.cdevents.service.deployed") }

// ServiceUpgraded says that an instance is verified with what is newer.
type ServiceUpgraded struct{ Brought }

func (f ServiceUpgraded) head() head { return f.of("dev.cdevents.service.upgraded") }

// ServiceRolledBack says that an instance is verified with what ran there earlier.
type ServiceRolledBack struct {
	Brought
	TakesBack string `json:"takesBack,omitempty" doc:"The change that it takes back"`
}

func (f ServiceRolledBack) head() head { return f.of("dev.cdevents.service.rolledback") }

// ServiceRemoved says that an instance is removed.
type ServiceRemoved struct{ Brought }

func (f ServiceRemoved) head() head { return f.of("dev.cdevents.service.removed") }

// PatternCreated says that a pattern has a repository.
type PatternCreated struct {
	Pattern string `json:"pattern"`
}

func (f PatternCreated) head() head { return ofPattern("created", f.Pattern) }

// PatternCertified says that a version was certified by a pattern change.
type PatternCertified struct {
	Pattern string `json:"pattern"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
	Change  string `json:"change"`
}

func (f PatternCertified) head() head { return ofPattern("certified", f.Pattern) }

// PatternMoved says that somebody deprecated or retired a version, or took that back.
type PatternMoved struct {
	Pattern string `json:"pattern"`
	Version string `json:"version"`
	State   string `json:"state" enum:"certified,deprecated,retired"`
}

func (f PatternMoved) head() head { return ofPattern("moved", f.Pattern) }

func ofPattern(what, name string) head {
	return head{kind: Own("pattern", what), subject: name, audience: Everybody}
}

// PatternRequested says that somebody asked for a change of a pattern.
type PatternRequested struct{ OfRequest }

func (f PatternRequested) head() head { return f.of("created") }

// PatternRequestMoved says how a request goes on.
type PatternRequestMoved struct{ OfRequest }

func (f PatternRequestMoved) head() head { return f.of("moved") }

// OfRequest is what every fact about a request says.
type OfRequest struct {
	Request string `json:"request"`
	Pattern string `json:"pattern"`
	State   string `json:"state"`
}

func (r OfRequest) of(what string) head {
	return head{kind: Own("patternrequest", what), subject: r.Request, audience: Everybody}
}

// AppCreated says that an app has a repository.
type AppCreated struct {
	App  string `json:"app"`
	Team string `json:"team"`
}

func (f AppCreated) head() head { return ofApp("created", f.App, f.Team) }

// AppRemoved says that the last instance of an app is gone, and the app with it.
type AppRemoved struct {
	App  string `json:"app"`
	Team string `json:"team"`
}

func (f AppRemoved) head() head { return ofApp("removed", f.App, f.Team) }

// AppGiven says that an app belongs to another team.
type AppGiven struct {
	App  string `json:"app"`
	From string `json:"from"`
	To   string `json:"to"`
}

func (f AppGiven) head() head { return ofApp("given", f.App, f.To) }

func ofApp(what, name, team string) head {
	return head{kind: Own("app", what), subject: name, app: name, team: team, audience: OfApp}
}

// EnvironmentSaved says that the Center of Excellence made or changed an environment.
type EnvironmentSaved struct {
	Environment string `json:"environment"`
	Class       string `json:"class" enum:"development,staging,production"`
}

func (f EnvironmentSaved) head() head {
	return head{kind: "dev.cdevents.environment.modified", subject: f.Environment, audience: Everybody}
}

// EnvironmentDeleted says that an environment is gone.
type EnvironmentDeleted struct {
	Environment string `json:"environment"`
}

func (f EnvironmentDeleted) head() head {
	return head{kind: "dev.cdevents.environment.deleted", subject: f.Environment, audience: Everybody}
}

// OfWaiver is what every fact about a waiver says.
type OfWaiver struct {
	Waiver      string `json:"waiver"`
	App         string `json:"app"`
	Team        string `json:"team"`
	Environment string `json:"environment"`
	Variable    string `json:"variable"`
}

func (w OfWaiver) of(what string) head {
	return head{kind: Own("waiver", what), subject: w.Waiver, app: w.App, team: w.Team, audience: OfApp}
}

// WaiverRequested says that a team asked for a value outside its bounds.
type WaiverRequested struct{ OfWaiver }

func (f WaiverRequested) head() head { return f.of("requested") }

// WaiverGranted says that the Center of Excellence accepts the value until a day.
type WaiverGranted struct {
	OfWaiver
	Until time.Time `json:"until"`
}

func (f WaiverGranted) head() head { return f.of("granted") }

// WaiverDeclined says that the Center of Excellence does not accept the value.
type WaiverDeclined struct{ OfWaiver }

func (f WaiverDeclined) head() head { return f.of("declined") }

// WaiverRevoked says that a value is accepted no longer, before its day.
type WaiverRevoked struct{ OfWaiver }

func (f WaiverRevoked) head() head { return f.of("revoked") }

// WaiverEnded says that the day of a waiver has come.
type WaiverEnded struct{ OfWaiver }

func (f WaiverEnded) head() head { return f.of("ended") }

// SecretSet says that a secret has a value, or another one, which is never in the log.
type SecretSet struct{ OfSecret }

func (f SecretSet) head() head { return f.of("set") }

// SecretDeleted says that a secret is gone.
type SecretDeleted struct{ OfSecret }

func (f SecretDeleted) head() head { return f.of("deleted") }

// OfSecret is what every fact about a secret says.
type OfSecret struct {
	App         string `json:"app,omitempty" doc:"Empty for one of an environment"`
	Environment string `json:"environment"`
	Name        string `json:"name"`
}

func (s OfSecret) of(what string) head {
	h := head{kind: Own("secret", what), subject: s.Name, app: s.App, audience: OfApp}
	if s.App == "" {
		h.audience = CoE // which secrets an environment has is for those who keep it
	}
	return h
}

// StoryCreated says that a story is in the backlog.
type StoryCreated struct {
	Story string `json:"story"`
	Key   string `json:"key" example:"STY-2"`
	Team  string `json:"team"`
}

func (f StoryCreated) head() head {
	return head{kind: "dev.cdevents.ticket.created", subject: f.Story, team: f.Team, audience: OfTeam(f.Team)}
}

// OfAccount is what every fact about people, teams and tokens says. Everybody sees who there is and in which team; what
// is a person's own only they see.
type OfAccount struct {
	Subject string `json:"subject" doc:"Name of the person, team or setting, or id of the token or session"`
	Action  string `json:"action" doc:"As in the audit log"`
	Person  string `json:"person,omitempty" doc:"Whose own it is"`
}

// Account returns the data that all facts about accounts share. The audit log takes its action and subject from them.
func (a OfAccount) Account() OfAccount { return a }

func (a OfAccount) of(noun, what string) head {
	h := head{kind: Own(noun, what), subject: a.Subject, audience: Everybody}
	if a.Person != "" {
		h.audience = OfPerson(a.Person)
	}
	return h
}

// PersonCreated says that a person has an account.
type PersonCreated struct{ OfAccount }

func (f PersonCreated) head() head { return f.of("user", "created") }

// PersonUpdated says that something of an account changed: its rights, or its password.
type PersonUpdated struct{ OfAccount }

func (f PersonUpdated) head() head { return f.of("user", "updated") }

// TeamCreated says that there is a new team.
type TeamCreated struct{ OfAccount }

func (f TeamCreated) head() head { return f.of("team", "created") }

// TeamUpdated says that a team has another title or other members.
type TeamUpdated struct{ OfAccount }

func (f TeamUpdated) head() head { return f.of("team", "updated") }

// TeamDeleted says that a team is gone.
type TeamDeleted struct{ OfAccount }

func (f TeamDeleted) head() head { return f.of("team", "deleted") }

// TokenCreated says that a person has a new token.
type TokenCreated struct{ OfAccount }

func (f TokenCreated) head() head { return f.of("token", "created") }

// TokenDeleted says that a token is gone.
type TokenDeleted struct{ OfAccount }

func (f TokenDeleted) head() head { return f.of("token", "deleted") }

// SessionEnded says that a session was ended, by its person or an admin.
type SessionEnded struct{ OfAccount }

func (f SessionEnded) head() head { return f.of("session", "ended") }

// SettingsUpdated says that an admin changed a setting.
type SettingsUpdated struct{ OfAccount }

func (f SettingsUpdated) head() head { return f.of("settings", "updated") }
