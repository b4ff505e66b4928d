// Package event is the log of everything that happened: append-only, numbered without gaps, and followed
// live by pages, the command line and other parts.
//
// An event is written in the transaction that made it true, so there is no event without its fact and
// no fact without its event. Readers continue after the last number they saw and miss nothing, because no
// number appears below one that was read: on SQLite the one writer numbers its events, on PostgreSQL an
// event gets its number after its commit (Number).
//
// Types are CDEvents names where one exists (dev.cdevents.service.deployed), else our own under
// dev.cdeventsx.flywheel-…; outside, an event is shown as CloudEvents 1.0 JSON.
//
// Deliberately absent: topics, brokers and replay of state from events. The tables are the truth; the
// log says how they came to be.
package event

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/web"
)

// Own returns the type of an event that CDEvents has no name for: Own("waiver", "granted") is
// "dev.cdeventsx.flywheel-waiver.granted".
func Own(subject, predicate string) string {
	return "dev.cdeventsx.flywheel-" + subject + "." + predicate
}

// Audience says who may see an event, besides the Center of Excellence and admins, who see every one. An audience
// that nobody knows is nobody's.
type Audience string

// Audiences. An event that names an app and no audience is OfApp.
const (
	CoE       Audience = ""          // the Center of Excellence and admins only
	Everybody Audience = "everybody" // who is signed in
	OfApp     Audience = "app"       // who may see the app now
)

// OfTeam is the audience of the members of a team, by its name.
func OfTeam(name string) Audience { return Audience("team:" + name) }

// OfPerson is the audience of one person, by the name they sign in with.
func OfPerson(name string) Audience { return Audience("person:" + name) }

// Includes reports whether somebody with this name and these teams is in the audience; of an app's, who may see the
// app decides.
func (a Audience) Includes(person string, teams []string) bool {
	kind, name, _ := strings.Cut(string(a), ":")
	switch {
	case a == Everybody:
		return true
	case kind == "team":
		return slices.Contains(teams, name)
	case kind == "person":
		return name != "" && name == person
	}
	return false
}

// Event is one thing that happened. Seq, ID, At and the ids of the request are set by Append when they are empty.
// Subject is the id or name of the thing; App is the app it belongs to, by name.
type Event struct {
	Seq      int64
	ID       string
	Type     string
	Subject  string
	App      string
	Team     string // it belonged to, when it happened
	Audience Audience
	Actor    string
	// RequestID names the request that led to it, whether it was still under way or not; empty for what
	// the platform did by itself.
	RequestID string
	// ClientRequestID is what the client itself called that request: its word, which anybody may have chosen.
	ClientRequestID string
	At              time.Time
	Data            any // a struct when appended, json.RawMessage when read
}

// Decode reads the event's data into v, a pointer.
func (e Event) Decode(v any) error {
	raw, ok := e.Data.(json.RawMessage)
	if !ok {
		return fmt.Errorf("event %s was not read from the log", e.ID)
	}
	return json.Unmarshal(raw, v)
}

// CloudEvent is an event as the outside sees it: CloudEvents 1.0 in JSON, with extension
// attributes (sequence, app, team, actor, requestid, clientrequestid).
type CloudEvent struct {
	SpecVersion     string    `json:"specversion" doc:"CloudEvents version" example:"1.0"`
	ID              string    `json:"id" example:"evt_d0c5ghq23akk2s3lvr9g"`
	Source          string    `json:"source" example:"/flywheel"`
	Type            string    `json:"type" example:"dev.cdevents.service.deployed"`
	Subject         string    `json:"subject,omitempty" doc:"Id or name of the thing it happened to"`
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype" example:"application/json"`
	Data            any       `json:"data"`
	Sequence        int64     `json:"sequence" doc:"Place in the log, without gaps"`
	App             string    `json:"app,omitempty" doc:"App it belongs to"`
	Team            string    `json:"team,omitempty" doc:"Team it belonged to when it happened"`
	Actor           string    `json:"actor,omitempty" doc:"Who did it"`
	RequestID       string    `json:"requestid,omitempty" doc:"Id of the request that led to it" example:"req_d0c5ghq23akk2s3lvr9g"`
	ClientRequestID string    `json:"clientrequestid,omitempty" doc:"What the client called that request in X-Request-Id; its word only"`
}

// Cloud returns the event as a CloudEvent.
func (e Event) Cloud() CloudEvent {
	return CloudEvent{
		SpecVersion: "1.0", ID: e.ID, Source: "/flywheel", Type: e.Type, Subject: e.Subject, Time: e.At,
		DataContentType: "application/json", Data: e.Data, Sequence: e.Seq, App: e.App, Team: e.Team, Actor: e.Actor, RequestID: e.RequestID, ClientRequestID: e.ClientRequestID,
	}
}

// Append writes e in the caller's transaction and wakes the followers of the log after the commit. Packages call Emit
// instead, which knows the kinds of the catalogue; tests call Append to write events of any type.
//
// The row is written as the last thing before the commit, when the transaction has every lock it needs:
// of two transactions that met, the events of the first stand before those of the second.
func Append(tx *db.Tx, e Event) error {
	if e.ID == "" {
		e.ID = db.NewID("evt")
	}
	if e.At.IsZero() {
		e.At = tx.Now()
	}
	if e.RequestID == "" {
		e.RequestID, e.ClientRequestID = web.RequestID(tx.Context()), web.ClientRequestID(tx.Context())
	}
	if e.Audience == CoE && e.App != "" {
		e.Audience = OfApp
	}
	if e.Data == nil {
		e.Data = json.RawMessage("{}")
	}
	data := db.JSON(e.Data) // as it is now
	tx.BeforeCommit(func() error { return insert(tx, e, data) })
	tx.AfterCommit(nudge.all)
	return nil
}
