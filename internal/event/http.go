package event

import (
	"context"
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/web"
)

// Service shows the log to people.
type Service struct {
	DB  *db.DB
	Log *Log
	// Visible returns those of the events that the actor of the context may see. It is asked anew for
	// every batch, so that a stream stops showing what its reader may no longer see, and may reuse the
	// slice. Without it nobody sees anything.
	Visible func(ctx context.Context, events []Event) ([]Event, error)
}

// Routes registers the operations of the log.
func (s *Service) Routes(api *web.API) {
	api.Metrics.MustRegister(metrics{s})
	describe(api.OpenAPI().Components.Schemas)
	huma.Register(api, huma.Operation{
		OperationID: "list-events", Method: http.MethodGet, Path: "/api/v1/events", Tags: []string{"event"},
		Summary: "List what happened", Description: "As CloudEvents, the newest first.",
	}, s.list)
	huma.Register(api, huma.Operation{
		OperationID: "stream-events", Method: http.MethodGet, Path: "/api/v1/events/stream", Tags: []string{"event"},
		Summary: "Follow what happens",
		Description: "Server-Sent Events, each a CloudEvent named after its type, with its sequence number as id. " +
			"With Last-Event-ID it continues after that number; without it, it begins now.",
		Responses: map[string]*huma.Response{"200": {
			Description: "A stream of events",
			Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}},
		}},
	}, s.stream)
}

// describe adds the data of every kind of fact to the schemas, and under Facts which type of event has which.
func describe(schemas huma.Registry) {
	facts := &huma.Schema{Type: huma.TypeObject, Description: "The data of an event, by its type", Properties: map[string]*huma.Schema{}}
	for _, kind := range kinds {
		name := TypeOf(kind)
		facts.Properties[name] = schemas.Schema(reflect.TypeOf(kind), true, "")
		facts.Required = append(facts.Required, name)
	}
	schemas.Map()["Facts"] = facts
}

// Selection says which events. It is exported because huma reads embedded structs only then.
type Selection struct {
	Subjects  []string `query:"subject" maxItems:"20" doc:"Ids or names of the things it happened to, comma-separated"`
	App       string   `query:"app" maxLength:"200" doc:"Name of the app"`
	Types     []string `query:"type" maxItems:"20" doc:"Types, comma-separated; a trailing * matches the rest"`
	RequestID string   `query:"requestId" maxLength:"64" doc:"Id of the request that led to it, ours or the one its client gave it"`
}

func (s *Service) filter(ctx context.Context, i Selection) (f Filter, err error) {
	f = Filter{Subjects: i.Subjects, App: i.App, Types: i.Types}
	if i.RequestID != "" {
		err = s.DB.Read(ctx, func(tx *db.Tx) (err error) { f.Requests, err = RequestsNamed(tx, i.RequestID); return err })
	}
	return f, err
}

type listInput struct {
	Selection
	web.Paging
}

func (s *Service) list(ctx context.Context, in *listInput) (*web.Page[CloudEvent], error) {
	var before int64
	if _, err := in.After(&before); err != nil {
		return nil, err
	}
	if err := Number(ctx, s.DB); err != nil {
		return nil, err
	}
	filter, err := s.filter(ctx, in.Selection)
	if err != nil {
		return nil, err
	}
	page := &web.Page[CloudEvent]{}
	page.Body.Items = []CloudEvent{}
	// What the reader may not see is skipped, so several batches may be needed; their number is bounded
	// and the cursor continues where the search stopped.
	for range 20 {
		var events []Event
		err := s.DB.Read(ctx, func(tx *db.Tx) (err error) {
			events, err = Before(tx, before, filter, in.Limit)
			return err
		})
		if err != nil {
			return nil, err
		}
		more := len(events) == in.Limit
		if more {
			before = events[len(events)-1].Seq
		}
		visible, err := s.visible(ctx, events)
		if err != nil {
			return nil, err
		}
		for _, e := range visible {
			page.Body.Items = append(page.Body.Items, e.Cloud())
			if len(page.Body.Items) == in.Limit {
				page.Body.Next = web.Cursor(e.Seq)
				return page, nil
			}
		}
		if !more {
			return page, nil
		}
	}
	page.Body.Next = web.Cursor(before)
	return page, nil
}

type streamInput struct {
	Selection
	LastEventID string `header:"Last-Event-ID" maxLength:"20" doc:"Continue after this event"`
	After       string `query:"after" maxLength:"20" doc:"The same, for a first connection; 0 is the beginning"`
}

func (s *Service) stream(ctx context.Context, in *streamInput) (*huma.StreamResponse, error) {
	var after int64
	last := in.LastEventID
	if last == "" {
		last = in.After
	}
	newest, err := now(ctx, s.DB)
	if err != nil {
		return nil, err
	}
	if last == "" {
		after = newest
	} else if after, err = strconv.ParseInt(last, 10, 64); err != nil || after < 0 {
		return nil, fault.New(fault.Invalid, "event.last_id", "%q is not the id of an event.", last).Do("Leave it out to begin now.")
	}
	filter, err := s.filter(ctx, in.Selection)
	if err != nil {
		return nil, err
	}
	after = min(after, newest) // a log that was restored from a backup is behind its readers
	return web.Live(func(ctx context.Context, live *web.Stream) {
		// A reader that loses the connection before its first event must continue here, not at its "now".
		if live.Position(strconv.FormatInt(after, 10)) != nil {
			return
		}
		for e := range s.Log.Follow(ctx, after, filter) {
			visible, err := s.visible(live.Context(), []Event{e})
			if err != nil {
				return // the reader reconnects and continues after the last event it got
			}
			for _, e := range visible {
				if live.Send(strconv.FormatInt(e.Seq, 10), e.Type, e.Cloud()) != nil {
					return
				}
			}
		}
	}), nil
}

func (s *Service) visible(ctx context.Context, events []Event) ([]Event, error) {
	if s.Visible == nil || len(events) == 0 {
		return nil, nil
	}
	return s.Visible(ctx, events)
}
