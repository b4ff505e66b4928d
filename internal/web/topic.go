package web

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/rs/xid"

	"flywheel.dev/flywheel/internal/db"
)

// Noun is a kind of thing that pages show.
type Noun string

// The nouns. The queries of the pages begin with the same words, and the types of the pages are made from this list.
const (
	NounApp         Noun = "app"         // with its instances
	NounAudit       Noun = "audit"       // the audit log as a whole
	NounChange      Noun = "change"      // with its certification and approvals
	NounCheck       Noun = "check"       // of a change
	NounDeployment  Noun = "deployment"  // without its steps
	NounEnvironment Noun = "environment" //
	NounPattern     Noun = "pattern"     // with its versions
	NounRequest     Noun = "request"     // a pattern request
	NounSecret      Noun = "secret"      // of an app or an environment
	NounSession     Noun = "session"     // of a person
	NounSetting     Noun = "setting"     // of the platform
	NounStep        Noun = "step"        // of a deployment
	NounStory       Noun = "story"       //
	NounTeam        Noun = "team"        // with its members
	NounToken       Noun = "token"       // of a person
	NounUser        Noun = "user"        //
	NounVersion     Noun = "version"     // of a pattern, that an open change would publish
	NounWaiver      Noun = "waiver"      //
)

// Nouns returns every noun.
func Nouns() []Noun {
	return []Noun{NounApp, NounAudit, NounChange, NounCheck, NounDeployment, NounEnvironment, NounPattern, NounRequest, NounSecret,
		NounSession, NounSetting, NounStep, NounStory, NounTeam, NounToken, NounUser, NounVersion, NounWaiver}
}

// Schema implements huma.SchemaProvider.
func (Noun) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString, Description: "Kind of the thing"}
	for _, n := range Nouns() {
		s.Enum = append(s.Enum, string(n))
	}
	return s
}

// Topic says that something has changed which a page may show. It says what to read again, never what is there
// now. Change and Deployment name what a part belongs to: a page that shows the whole shows the part.
//
// App, Team, Person and Everybody say who may hear of it, besides those who see everything: who may see that app,
// who is in that team, that person, or whoever is signed in. A topic that says nothing of them is heard by nobody
// else.
type Topic struct {
	Noun       Noun   `json:"noun"`
	ID         string `json:"id,omitempty" doc:"Id of the thing, or its name where it goes by one; absent for all of the kind" example:"storefront"`
	App        string `json:"app,omitempty" doc:"App it belongs to, by name"`
	Change     string `json:"change,omitempty" doc:"Change it belongs to"`
	Deployment string `json:"deployment,omitempty" doc:"Deployment it belongs to"`
	Team       string `json:"team,omitempty" doc:"Team it belongs to, by name"`

	Person    string `json:"-"` // by name
	Everybody bool   `json:"-"`
}

// Touch tells the pages, once the transaction has committed, that what the topic names has changed. The store
// functions that write a row which a page shows call it.
func Touch(tx *db.Tx, t Topic) { tx.Tell(t) }

// News is what a reader of topics gets with one event.
type News struct {
	Again  bool    `json:"again,omitempty" doc:"Anything may have changed: look at everything again. It is the first that a reader gets"`
	Topics []Topic `json:"topics" doc:"What has changed"`
}

const (
	topicsPause = 250 * time.Millisecond // between two messages to a reader
	topicsSlow  = 256                    // topics that may wait for a reader; with more it looks at everything again
	topicsSend  = 75 * time.Millisecond  // in which topics for other replicas are gathered
	topicsRetry = time.Second            // after which a lost connection to the database is tried again
	topicsKept  = 2048                   // topics that may wait to be sent to other replicas
)

const topicsChannel = "flywheel_topics"

// Topics brings topics to the pages that are connected to this process: those of its own transactions at once, those
// of other replicas on the same PostgreSQL soon.
type Topics struct {
	// Visible returns those topics that the actor of the context may hear of. It is asked anew for every message.
	// Without it nobody hears anything.
	Visible func(ctx context.Context, topics []Topic) ([]Topic, error)

	db   *db.DB
	log  *slog.Logger
	self string // this process, among those that send

	mu      sync.Mutex
	readers map[*inbox]bool
	stop    func()
}

// NewTopics returns the topics of a database. They arrive from Start to Stop.
func NewTopics(d *db.DB, log *slog.Logger) *Topics {
	return &Topics{db: d, log: log, self: xid.New().String(), readers: map[*inbox]bool{}}
}

// inbox gathers topics for one that takes them at its own pace. Each stands there once, and when there are too many
// "look at everything again" stands in their place, so that it never grows.
type inbox struct {
	most int
	wake chan struct{} // holds something when there is something to take

	mu     sync.Mutex
	topics map[Topic]bool
	again  bool
}

func newInbox(most int) *inbox {
	return &inbox{most: most, wake: make(chan struct{}, 1), topics: map[Topic]bool{}}
}

func (i *inbox) put(topics []Topic, again bool) {
	i.mu.Lock()
	i.again = i.again || again
	for _, t := range topics {
		if !i.again {
			i.topics[t] = true
			i.again = len(i.topics) > i.most
		}
	}
	if i.again {
		clear(i.topics)
	}
	i.mu.Unlock()
	select {
	case i.wake <- struct{}{}:
	default: // it will look anyway
	}
}

func (i *inbox) take() (topics []Topic, again bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	topics, again = slices.Collect(maps.Keys(i.topics)), i.again
	clear(i.topics)
	i.again = false
	return topics, again
}

// Start begins to bring topics to readers.
func (t *Topics) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	fresh := newInbox(topicsKept)
	deaf := t.db.Hear(func(told []any) {
		topics := make([]Topic, 0, len(told))
		for _, one := range told {
			if topic, ok := one.(Topic); ok {
				topics = append(topics, topic)
			}
		}
		fresh.put(topics, false)
	})
	others := newInbox(topicsKept)
	running.Go(func() {
		// Not in the transaction's own goroutine: a commit does not wait until a thousand readers are told.
		for {
			select {
			case <-ctx.Done():
				return
			case <-fresh.wake:
			}
			topics, again := fresh.take()
			t.give(topics, again)
			others.put(topics, again)
		}
	})
	if t.db.Postgres() {
		// Its predecessor may have died between a commit and its topics.
		others.put(nil, true)
		running.Go(func() { t.send(ctx, others) })
		running.Go(func() { t.listen(ctx) })
	}
	t.stop = func() { deaf(); cancel(); running.Wait() }
}

// Stop ends what Start began. The streams of readers end with the server.
func (t *Topics) Stop() {
	if t.stop != nil {
		t.stop()
	}
}

// give passes topics on to everybody who is connected to this process.
func (t *Topics) give(topics []Topic, again bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for r := range t.readers {
		r.put(topics, again)
	}
}

func (t *Topics) join(r *inbox) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.readers[r] = true
}

func (t *Topics) part(r *inbox) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.readers, r)
}

// Routes registers the stream of topics.
func (t *Topics) Routes(api *API) {
	news := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[News](), true, "News")
	huma.Register(api, huma.Operation{
		OperationID: "follow-topics", Method: http.MethodGet, Path: "/api/v1/live", Tags: []string{"live"},
		Summary: "Follow what has changed",
		Description: "Server-Sent Events, each with what the reader may see and should read again; at most four a second. " +
			"The first says to look at everything again, and so does one to a reader that was too slow or may have missed something: " +
			"there is nothing to continue after.",
		Responses: map[string]*huma.Response{"200": {
			Description: "A stream of events, each with such data",
			Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: news}},
		}},
	}, t.stream)
}

func (t *Topics) stream(context.Context, *struct{}) (*huma.StreamResponse, error) {
	return Live(func(ctx context.Context, live *Stream) {
		r := newInbox(topicsSlow)
		t.join(r)
		defer t.part(r)
		r.put(nil, true) // what happened before is not told
		for {
			select {
			case <-ctx.Done():
				return
			case <-r.wake:
			}
			topics, again := r.take()
			seen, err := t.visible(live.Context(), topics)
			if err != nil {
				return // the reader reconnects and looks at everything again
			}
			if (again || len(seen) > 0) && live.Send("", "", News{Again: again, Topics: seen}) != nil {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(topicsPause):
			}
		}
	}), nil
}

func (t *Topics) visible(ctx context.Context, topics []Topic) ([]Topic, error) {
	seen := []Topic{}
	if t.Visible == nil || len(topics) == 0 {
		return seen, nil
	}
	found, err := t.Visible(ctx, topics)
	return append(seen, found...), err
}

// message is what one replica sends to the others.
type message struct {
	From   string       `json:"from"`
	Again  bool         `json:"again,omitempty"`
	Topics []wholeTopic `json:"topics,omitempty"`
}

// wholeTopic is a topic with the audience that readers are not told of.
type wholeTopic struct {
	Topic
	Person    string `json:"person,omitempty"`
	Everybody bool   `json:"everybody,omitempty"`
}

// send sends what gathers to the other replicas, in transactions of its own: NOTIFY lets commits wait for each other,
// and deployments are not to.
func (t *Topics) send(ctx context.Context, from *inbox) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-from.wake:
		}
		if !pause(ctx, topicsSend) {
			return
		}
		topics, again := from.take()
		if len(topics) == 0 && !again {
			continue
		}
		if err := t.db.Notify(ctx, topicsChannel, t.messages(topics, again)); err != nil && ctx.Err() == nil {
			t.log.WarnContext(ctx, "other replicas cannot be told what has changed, trying again", "error", err)
			from.put(topics, again)
			pause(ctx, topicsRetry)
		}
	}
}

// messages writes topics in as few messages as their length allows.
func (t *Topics) messages(topics []Topic, again bool) (texts []string) {
	m := message{From: t.self, Again: again}
	size := 0
	flush := func() {
		texts = append(texts, db.JSON(m))
		m.Topics, size = nil, 0
	}
	for _, one := range topics {
		whole := wholeTopic{Topic: one, Person: one.Person, Everybody: one.Everybody}
		n := len(db.JSON(whole)) + 1
		if n > db.MessageLimit-100 { // no name is that long
			m.Again = true
			continue
		}
		if size+n > db.MessageLimit-100 {
			flush()
		}
		m.Topics, size = append(m.Topics, whole), size+n
	}
	flush()
	return texts
}

// listen passes on what other replicas send. Whenever it begins, something may have been missed.
func (t *Topics) listen(ctx context.Context) {
	for ctx.Err() == nil {
		err := t.db.Listen(ctx, topicsChannel, func() { t.give(nil, true) }, t.heard)
		if ctx.Err() == nil {
			t.log.WarnContext(ctx, "what other replicas change is not heard, connecting again", "error", err)
		}
		pause(ctx, topicsRetry)
	}
}

func (t *Topics) heard(text string) {
	var m message
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.give(nil, true) // of another version
		return
	}
	if m.From == t.self {
		return
	}
	topics := make([]Topic, 0, len(m.Topics))
	for _, whole := range m.Topics {
		one := whole.Topic
		one.Person, one.Everybody = whole.Person, whole.Everybody
		topics = append(topics, one)
	}
	t.give(topics, m.Again)
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
