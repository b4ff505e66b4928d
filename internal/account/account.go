// Package account knows who acts and what they may do: people, teams, roles, tokens, sessions, and the
// audit log of every decision.
//
// An Actor travels in the context. Services ask it with Require before they do anything; handlers
// never decide. What a permission needs is one table, in permission.go.
//
// A person has global roles (admin, and the disciplines of the Center of Excellence) and one role in
// each of their teams. A token stands for its person with fewer scopes; a service token also stands
// for its person, but never approves (rule 10). A session is a person at a browser.
//
// Deliberately absent: groups of teams, custom roles, and a cache of actors. A request costs one read
// of a few rows, and what an admin takes away is gone with the next request.
package account

import (
	"context"
	"slices"
	"time"

	"flywheel.dev/flywheel/internal/event"
)

// Role is what a person is in a team. Each role includes the ones after it.
type Role string

const (
	Owner     Role = "owner"     // decides who is in the team
	Operator  Role = "operator"  // releases what is held, removes apps
	Developer Role = "developer" // creates apps, changes and deploys them
	Viewer    Role = "viewer"    // sees
)

// atLeast reports whether r includes the rights of least.
func (r Role) atLeast(least Role) bool {
	order := []Role{Viewer, Developer, Operator, Owner}
	return slices.Index(order, r) >= slices.Index(order, least) && r != ""
}

// Disciplines of the Center of Excellence.
const (
	Security    = "security"
	Operations  = "operations"
	Development = "development"
)

// Disciplines lists every discipline in the order in which pages show them.
func Disciplines() []string { return []string{Security, Operations, Development} }

// Scope bounds what a token may do. Each scope includes the ones before it.
type Scope string

const (
	ScopeRead  Scope = "read"  // see
	ScopeWrite Scope = "write" // the work of a team: push, change, deploy
	ScopeAdmin Scope = "admin" // decisions for others: approvals, environments, people

	ScopeChecks Scope = "checks:write" // results of the outer system that the token speaks for; it includes read only
)

// Actor is who acts. The zero Actor is nobody.
type Actor struct {
	ID          string // usr_…, or "system:deploy" when the platform acts by itself
	Name        string // the name they sign in with
	TokenID     string // set when a token acts
	Service     bool   // a service token acts for the person
	Admin       bool
	Disciplines []string        // of the Center of Excellence
	Teams       map[string]Role // by team name
	Scopes      []Scope         // empty for a session: no bound
	System      string          // the outer system that a token for checks speaks for, else empty
	App         string          // the only app whose results such a token may post; empty for all of its team

	system  bool
	session string // hash of the session, so that signing out ends this one
}

// Nobody reports whether there is no actor.
func (a Actor) Nobody() bool { return a.ID == "" }

// CoE reports whether the actor belongs to the Center of Excellence, in any discipline.
func (a Actor) CoE() bool { return len(a.Disciplines) > 0 }

// Sees reports whether the actor may see what belongs to the team.
func (a Actor) Sees(team string) bool {
	return a.system || a.Admin || a.CoE() || a.Teams[team] != ""
}

// SeesAll reports whether the actor may see what belongs to every team, so that a list needs no filter
// by team.
func (a Actor) SeesAll() bool { return a.system || a.Admin || a.CoE() }

// TeamNames returns the names of the actor's own teams, sorted.
func (a Actor) TeamNames() []string {
	names := make([]string, 0, len(a.Teams))
	for name := range a.Teams {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

type contextKey struct{}

// From returns the actor of a context, or nobody.
func From(ctx context.Context) Actor {
	actor, _ := ctx.Value(contextKey{}).(Actor)
	return actor
}

// With returns a context in which actor acts. Facts that are written in it name the actor.
func With(ctx context.Context, actor Actor) context.Context {
	return context.WithValue(event.WithActor(ctx, actor.ID), contextKey{}, actor)
}

// System returns a context in which the platform itself acts, named after the part that does, for
// example "deploy". It may do everything except approve.
func System(ctx context.Context, name string) context.Context {
	return With(ctx, Actor{ID: "system:" + name, Name: "flywheel", system: true})
}

// User is a person's account. Its name is what they sign in with.
type User struct {
	ID          string          `json:"id" example:"usr_d0c5ghq23akk2s3lvr9g"`
	Name        string          `json:"name" doc:"Name to sign in with" example:"grace"`
	Title       string          `json:"title" doc:"Full name" example:"Grace Hopper"`
	Admin       bool            `json:"admin" doc:"May manage people and teams"`
	Disciplines []string        `json:"disciplines" doc:"Disciplines in the Center of Excellence" enum:"security,operations,development"`
	Teams       map[string]Role `json:"teams" doc:"Role by team"`
	Active      bool            `json:"active" doc:"An inactive person cannot sign in and has no tokens"`
	CreatedAt   time.Time       `json:"createdAt"`
	UpdatedAt   time.Time       `json:"updatedAt"`
	UpdatedBy   string          `json:"updatedBy" doc:"Name of who last changed it"`
}

// Team owns apps.
type Team struct {
	ID        string    `json:"id" example:"team_d0c5ghq23akk2s3lvr9g"`
	Name      string    `json:"name" example:"shop"`
	Title     string    `json:"title" example:"Web shop"`
	Members   []Member  `json:"members"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
	UpdatedBy string    `json:"updatedBy" doc:"Name of who last changed it"`
}

// Member is a person in a team.
type Member struct {
	User  string `json:"user" doc:"Name of the person" example:"grace"`
	Title string `json:"title" doc:"Full name"`
	Role  Role   `json:"role" enum:"owner,operator,developer,viewer"`
}

// Token is a secret that stands for a person outside the browser. The secret itself is shown once.
type Token struct {
	ID        string    `json:"id" example:"tok_d0c5ghq23akk2s3lvr9g"`
	Name      string    `json:"name" doc:"What it is for" example:"laptop"`
	User      string    `json:"user" doc:"Name of the person it stands for"`
	Scopes    []Scope   `json:"scopes" enum:"read,write,admin,checks:write"`
	System    string    `json:"system,omitempty" doc:"The outer system that it speaks for, with the scope checks:write" example:"ci"`
	Team      string    `json:"team,omitempty" doc:"The team about whose apps it posts results"`
	App       string    `json:"app,omitempty" doc:"The only app about which it posts results"`
	Service   bool      `json:"service" doc:"Used by a machine; it cannot approve"`
	CreatedAt time.Time `json:"createdAt"`
	ExpiresAt time.Time `json:"expiresAt"`
}
