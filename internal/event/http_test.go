package event_test

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/patience"
	"flywheel.dev/flywheel/internal/web"
)

// serve starts a server where a reader sees events without an app and those of "storefront".
func serve(t *testing.T) (*httptest.Server, func(...event.Event)) {
	t.Helper()
	d := dbtest.Open(t)
	server, err := web.New(web.Options{
		DB: d, Log: slog.New(slog.DiscardHandler),
		Authenticate: func(r *http.Request) (context.Context, string, error) {
			return r.Context(), r.Header.Get("Authorization"), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &event.Service{DB: d, Log: event.New(d), Visible: func(_ context.Context, events []event.Event) ([]event.Event, error) {
		return slices.DeleteFunc(events, func(e event.Event) bool { return e.App != "" && e.App != "storefront" }), nil
	}}
	s.Routes(server.API)
	h := httptest.NewServer(server)
	t.Cleanup(h.Close)
	return h, func(events ...event.Event) { add(t, d, events...) }
}

func get(t *testing.T, url string, headers ...string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience.Of(patience.Limit))
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "usr_1")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}

func TestTheListShowsTheNewestFirstAndOnlyWhatTheReaderMaySee(t *testing.T) {
	h, add := serve(t)
	for range 30 {
		add(event.Event{Type: event.TypeOf(event.ChangeOpened{}), Subject: "chg_1", App: "storefront"},
			event.Event{Type: event.TypeOf(event.ChangeOpened{}), Subject: "chg_2", App: "billing"},
			event.Event{Type: event.TypeOf(event.ChangeMerged{}), Subject: "chg_3"})
	}
	var seqs []int64
	cursor := ""
	for {
		var page struct {
			Items []event.CloudEvent
			Next  string
		}
		response := get(t, h.URL+"/api/v1/events?limit=7&cursor="+cursor)
		if err := json.NewDecoder(response.Body).Decode(&page); err != nil || response.StatusCode != 200 {
			t.Fatal(response.Status, err)
		}
		for _, e := range page.Items {
			if e.App == "billing" {
				t.Fatal("shown to somebody who may not see it")
			}
			seqs = append(seqs, e.Sequence)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if len(seqs) != 60 || !slices.IsSortedFunc(seqs, func(a, b int64) int { return int(b - a) }) || seqs[0] != 90 {
		t.Error(len(seqs), seqs)
	}
	if response := get(t, h.URL+"/api/v1/events", "Authorization", ""); response.StatusCode != 401 {
		t.Error(response.Status)
	}
}

// frames reads the ids of a stream until it has seen n events.
func frames(t *testing.T, response *http.Response, n int) (ids []string) {
	t.Helper()
	if response.StatusCode != 200 || response.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatal(response.Status, response.Header)
	}
	scanner := bufio.NewScanner(response.Body)
	id := ""
	for len(ids) < n && scanner.Scan() {
		if v, ok := strings.CutPrefix(scanner.Text(), "id: "); ok {
			id = v
		}
		if strings.HasPrefix(scanner.Text(), "data: ") {
			ids = append(ids, id)
		}
	}
	if len(ids) < n {
		t.Fatal("the stream ended after", ids, scanner.Err())
	}
	return ids
}

func TestAReaderThatReconnectsMissesNothing(t *testing.T) {
	h, add := serve(t)
	add(event.Event{Type: event.TypeOf(event.ChangeOpened{}), Subject: "before", App: "storefront"})
	response := get(t, h.URL+"/api/v1/events/stream?app=storefront")
	add(event.Event{Type: event.TypeOf(event.ChangeOpened{}), Subject: "chg_2", App: "storefront"},
		event.Event{Type: event.TypeOf(event.ChangeOpened{}), Subject: "chg_3", App: "billing"},
		event.Event{Type: event.TypeOf(event.ChangeMerged{}), Subject: "chg_2", App: "storefront"})
	ids := frames(t, response, 2)
	if strings.Join(ids, " ") != "2 4" {
		t.Error(ids)
	}
	response.Body.Close()
	add(event.Event{Type: event.TypeOf(event.ServiceDeployed{}), Subject: "dpl_1", App: "storefront"})
	ids = frames(t, get(t, h.URL+"/api/v1/events/stream", "Last-Event-ID", "4"), 1)
	if strings.Join(ids, " ") != "5" {
		t.Error(ids)
	}
	// A log that was restored from a backup is behind its readers, who go on from where it is.
	ahead := get(t, h.URL+"/api/v1/events/stream", "Last-Event-ID", "99999")
	add(event.Event{Type: event.TypeOf(event.ServiceDeployed{}), Subject: "dpl_2", App: "storefront"})
	if ids = frames(t, ahead, 1); strings.Join(ids, " ") != "6" {
		t.Error(ids)
	}
	if response := get(t, h.URL+"/api/v1/events/stream", "Last-Event-ID", "x"); response.StatusCode != 422 {
		t.Error(response.Status)
	}
}
