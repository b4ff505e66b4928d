// Package event is the log of everything that happened: append-only, numbered without gaps in the
// order of the commits, and followed live by pages, the command line and other parts.
//
// An event is written in the transaction that made it true, so there is no event without its fact and
// no fact without its event. Readers continue after the last number they saw and miss nothing; that
// needs numbers in commit order, which Append pays for with one lock on PostgreSQL.
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
	"time"

	"flywheel.dev/flywheel/internal/db"
)

// CDEvents types that Flywheel emits. Packages name their own types under Own.
const (
	ChangeCreated       = "dev.cdevents.change.created"
	ChangeUpdated       = "dev.cdevents.change.updated"
	ChangeReviewed      = "dev.cdevents.change.reviewed"
	ChangeMerged        = "dev.cdevents.change.merged"
	ChangeAbandoned     = "dev.cdevents.change.abandoned"
	RepositoryCreated   = "dev.cdevents.repository.created"
	RepositoryDeleted   = "dev.cdevents.repository.deleted"
	BranchCreated       = "dev.cdevents.branch.created"
	BranchDeleted       = "dev.cdevents.branch.deleted"
	BuildQueued         = "dev.cdevents.build.queued"
	BuildStarted        = "dev.cdevents.build.started"
	BuildFinished       = "dev.cdevents.build.finished"
	TestSuiteStarted    = "dev.cdevents.testsuiterun.started"
	TestSuiteFinished   = "dev.cdevents.testsuiterun.finished"
	ArtifactPackaged    = "dev.cdevents.artifact.packaged"
	ArtifactPublished   = "dev.cdevents.artifact.published"
	EnvironmentCreated  = "dev.cdevents.environment.created"
	EnvironmentModified = "dev.cdevents.environment.modified"
	EnvironmentDeleted  = "dev.cdevents.environment.deleted"
	PipelineQueued      = "dev.cdevents.pipelinerun.queued"
	PipelineStarted     = "dev.cdevents.pipelinerun.started"
	PipelineFinished    = "dev.cdevents.pipelinerun.finished"
	TaskStarted         = "dev.cdevents.taskrun.started"
	TaskFinished        = "dev.cdevents.taskrun.finished"
	ServiceDeployed     = "dev.cdevents.service.deployed"
	ServiceUpgraded     = "dev.cdevents.service.upgraded"
	ServiceRolledBack   = "dev.cdevents.service.rolledback"
	ServiceRemoved      = "dev.cdevents.service.removed"
	IncidentDetected    = "dev.cdevents.incident.detected"
	IncidentResolved    = "dev.cdevents.incident.resolved"
	TicketCreated       = "dev.cdevents.ticket.created"
	TicketUpdated       = "dev.cdevents.ticket.updated"
	TicketClosed        = "dev.cdevents.ticket.closed"
)

// Own returns the type of an event that CDEvents has no name for: Own("waiver", "granted") is
// "dev.cdeventsx.flywheel-waiver.granted".
func Own(subject, predicate string) string {
	return "dev.cdeventsx.flywheel-" + subject + "." + predicate
}

// Event is one thing that happened. Seq, ID and At are set by Append when they are empty. Subject is
// the id or name of the thing; App is the app it belongs to, by name, and decides who may see it; an
// event without App is for everybody signed in, so it must not tell what only a team may know.
type Event struct {
	Seq     int64
	ID      string
	Type    string
	Subject string
	App     string
	Actor   string
	At      time.Time
	Data    any // a struct when appended, json.RawMessage when read
}

// Decode reads the event's data into v, a pointer.
func (e Event) Decode(v any) error {
	raw, ok := e.Data.(json.RawMessage)
	if !ok {
		return fmt.Errorf("event %s was not read from the log", e.ID)
	}
	return json.Unmarshal(raw, v)
}

// CloudEvent is an event as the outside sees it: CloudEvents 1.0 in JSON, with three extension
// attributes (sequence, app, actor).
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
	Actor           string    `json:"actor,omitempty" doc:"Who did it"`
}

// Cloud returns the event as a CloudEvent.
func (e Event) Cloud() CloudEvent {
	return CloudEvent{
		SpecVersion: "1.0", ID: e.ID, Source: "/flywheel", Type: e.Type, Subject: e.Subject, Time: e.At,
		DataContentType: "application/json", Data: e.Data, Sequence: e.Seq, App: e.App, Actor: e.Actor,
	}
}

// Serialize makes the caller the only transaction that numbers rows until it commits. The audit log
// uses the same lock: with two of them, transactions that need both would block each other.
func Serialize(tx *db.Tx) error { return tx.Serialize() }

// Append writes e with the caller's transaction and wakes the followers after its commit.
//
// On PostgreSQL the number is taken under a lock that lasts until the commit: without it a transaction
// with a lower number could commit after a reader has passed it, and the reader would miss it. The row is
// therefore written as the last thing before the commit. SQLite has one writer anyway.
func Append(tx *db.Tx, e Event) error {
	if e.ID == "" {
		e.ID = db.NewID("evt")
	}
	if e.At.IsZero() {
		e.At = tx.Now()
	}
	if e.Data == nil {
		e.Data = json.RawMessage("{}")
	}
	data := db.JSON(e.Data) // as it is now
	tx.BeforeCommit(func() error {
		if err := Serialize(tx); err != nil {
			return err
		}
		_, err := tx.Exec(`insert into event (seq, id, type, subject, app, actor, at, data)
			select coalesce(max(seq), 0) + 1, $1, $2, $3, $4, $5, $6, $7 from event`,
			e.ID, e.Type, e.Subject, e.App, e.Actor, e.At, data)
		return err
	})
	tx.AfterCommit(nudge.all)
	return nil
}
