package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/patience"
	"flywheel.dev/flywheel/internal/web"
)

// replica is one process on a database, as pages see it. Who reads there may hear of everything but of what is
// another person's.
type replica struct {
	*db.DB
	t   *testing.T
	url string
}

func newReplica(t *testing.T, database string) *replica {
	t.Helper()
	d, err := db.Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	server, err := web.New(web.Options{
		DB: d, Log: slog.New(slog.DiscardHandler),
		Authenticate: func(r *http.Request) (context.Context, string, error) {
			return r.Context(), r.Header.Get("Authorization"), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	topics := web.NewTopics(d, slog.New(slog.DiscardHandler))
	topics.Visible = func(_ context.Context, topics []web.Topic) ([]web.Topic, error) {
		return slices.DeleteFunc(topics, func(t web.Topic) bool { return t.Person != "" && t.Person != "usr_1" }), nil
	}
	topics.Routes(server.API)
	topics.Start()
	t.Cleanup(topics.Stop)
	h := httptest.NewServer(server)
	t.Cleanup(h.Close)
	return &replica{DB: d, t: t, url: h.URL}
}

// touch commits a transaction for each of the topics, or one for all.
func (r *replica) touch(topics ...web.Topic) {
	r.t.Helper()
	err := r.Write(r.t.Context(), func(tx *db.Tx) error {
		for _, one := range topics {
			web.Touch(tx, one)
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// page is one that is connected.
type page struct {
	t     *testing.T
	lines *bufio.Scanner
}

// opens connects a page, which has been told to look at everything.
func (r *replica) opens() *page {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience.Of(patience.Limit))
	r.t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, "GET", r.url+"/api/v1/live", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Authorization", "usr_1")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { response.Body.Close() })
	if response.StatusCode != 200 || response.Header.Get("Content-Type") != "text/event-stream" {
		r.t.Fatal(response.Status, response.Header)
	}
	p := &page{t: r.t, lines: bufio.NewScanner(response.Body)}
	p.lines.Buffer(nil, 1<<20)
	if first := p.news(); !first.Again {
		r.t.Fatalf("a page is first told %+v", first)
	}
	return p
}

// news returns the next message.
func (p *page) news() (n web.News) {
	p.t.Helper()
	for p.lines.Scan() {
		if data, ok := strings.CutPrefix(p.lines.Text(), "data: "); ok {
			if err := json.Unmarshal([]byte(data), &n); err != nil {
				p.t.Fatal(err)
			}
			return n
		}
	}
	p.t.Fatal("the stream has ended: ", p.lines.Err())
	return n
}

// hears reads until it was told of the last of the topics, and returns of which it was told.
func (p *page) hears(last string) (ids []string) {
	p.t.Helper()
	for !slices.Contains(ids, last) {
		for _, one := range p.news().Topics {
			ids = append(ids, one.ID)
		}
	}
	return ids
}

func everybody(id string) web.Topic {
	return web.Topic{Noun: web.NounPattern, ID: id, Everybody: true}
}

func TestAPageHearsOnceOfWhatWasCommittedAndOfNothingElse(t *testing.T) {
	r := newReplica(t, dbtest.URL(t))
	page := r.opens()
	err := r.Write(t.Context(), func(tx *db.Tx) error {
		web.Touch(tx, everybody("undone"))
		return errors.New("it fails")
	})
	if err == nil {
		t.Fatal("it did not fail")
	}
	theirs := web.Topic{Noun: web.NounToken, ID: "theirs", Person: "usr_2"}
	news, ids := web.News{Again: true}, []string{}
	for news.Again { // as long as the replica begins to listen
		r.touch(everybody("one"), everybody("two"), everybody("one"), theirs, web.Topic{Noun: web.NounToken, ID: "mine", Person: "usr_1"})
		news = page.news()
	}
	for _, one := range news.Topics {
		ids = append(ids, one.ID)
	}
	slices.Sort(ids)
	if strings.Join(ids, " ") != "mine one two" {
		t.Errorf("it heard of %v", ids)
	}
	if n := len(r.opens().hearsNothing(300 * time.Millisecond)); n > 0 {
		t.Errorf("one that came later heard of %d topics", n)
	}
}

// hearsNothing touches nothing and waits; what is heard all the same is returned.
func (p *page) hearsNothing(d time.Duration) []web.Topic {
	got := make(chan []web.Topic, 1)
	go func() {
		for p.lines.Scan() {
			if data, ok := strings.CutPrefix(p.lines.Text(), "data: "); ok {
				var n web.News
				_ = json.Unmarshal([]byte(data), &n)
				got <- n.Topics
				return
			}
		}
	}()
	select {
	case topics := <-got:
		return topics
	case <-time.After(d):
		return nil
	}
}

func TestAPageGetsAtMostFourMessagesASecondHoweverMuchChanges(t *testing.T) {
	r := newReplica(t, dbtest.URL(t))
	page := r.opens()
	began, n := time.Now(), 0
	go func() {
		for i := 0; time.Since(began) < 1500*time.Millisecond; i++ {
			_ = r.Write(t.Context(), func(tx *db.Tx) error { web.Touch(tx, everybody(fmt.Sprint("p", i%50))); return nil })
			time.Sleep(time.Millisecond)
		}
		_ = r.Write(t.Context(), func(tx *db.Tx) error { web.Touch(tx, everybody("last")); return nil })
	}()
	for heard := false; !heard; n++ {
		heard = slices.ContainsFunc(page.news().Topics, func(one web.Topic) bool { return one.ID == "last" })
	}
	if most := int(time.Since(began)/(250*time.Millisecond)) + 2; n < 2 || n > most {
		t.Errorf("%d messages in %s", n, time.Since(began))
	}
}

func TestASlowReaderIsToldToLookAtEverythingInPlaceOfAQueueThatGrows(t *testing.T) {
	r := newReplica(t, dbtest.URL(t))
	page := r.opens()
	many := []web.Topic{}
	for i := range 1000 {
		many = append(many, everybody(fmt.Sprint("pattern-", i)))
	}
	r.touch(many...)
	if news := page.news(); !news.Again || len(news.Topics) > 0 {
		t.Errorf("it was told of %d topics, again %v", len(news.Topics), news.Again)
	}
	r.touch(everybody("after"))
	if ids := page.hears("after"); len(ids) != 1 {
		t.Errorf("afterwards it heard of %v", ids)
	}
}

// postgres returns an empty database that several processes can share.
func postgres(t *testing.T) string {
	t.Helper()
	database := dbtest.URL(t)
	if !strings.HasPrefix(database, "postgres") {
		t.Skip("SQLite has one process")
	}
	return database
}

func TestAWriteOnOneReplicaReachesThePagesOfTheOther(t *testing.T) {
	database := postgres(t)
	here, there := newReplica(t, database), newReplica(t, database)
	page := there.opens()
	here.until(2)
	here.reaches(page, "before")
	here.touch(everybody("one"), web.Topic{Noun: web.NounToken, ID: "theirs", Person: "usr_2"}, web.Topic{Noun: web.NounToken, ID: "mine", Person: "usr_1"})
	ids := page.hears("one")
	for len(ids) < 2 {
		ids = append(ids, page.hears("mine")...)
	}
	if slices.Contains(ids, "theirs") {
		t.Errorf("it heard of what is another person's: %v", ids)
	}
	// What one message cannot hold comes in several.
	many := []web.Topic{}
	for i := range 200 {
		many = append(many, everybody(fmt.Sprintf("a-pattern-with-a-name-that-is-as-long-as-names-get-and-longer-%03d", i)))
	}
	here.touch(many...)
	for heard := 0; heard < 200; {
		news := page.news()
		if news.Again {
			break
		}
		heard += len(news.Topics)
	}
}

// reaches touches one thing until a page of another replica hears of it: what those say that begin has been told then.
func (r *replica) reaches(p *page, id string) {
	r.t.Helper()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			_ = r.Write(r.t.Context(), func(tx *db.Tx) error { web.Touch(tx, everybody(id)); return nil })
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	p.hears(id)
}

// until waits until so many processes listen.
func (r *replica) until(n int) {
	r.t.Helper()
	patience.Until(r.t, fmt.Sprintf("%d replicas listen", n), func() bool {
		var listening int
		err := r.Pool.QueryRow(r.t.Context(), `select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen %'`).Scan(&listening)
		return err == nil && listening == n
	})
}

func TestAReplicaThatLostItsConnectionTellsItsPagesToLookAtEverything(t *testing.T) {
	database := postgres(t)
	here, there := newReplica(t, database), newReplica(t, database)
	page := there.opens()
	here.until(2)
	here.reaches(page, "before")
	if _, err := here.Pool.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query ilike 'listen %'`); err != nil {
		t.Fatal(err)
	}
	for !page.news().Again { // what is left of the one before
	}
	here.until(2)
	here.touch(everybody("afterwards"))
	page.hears("afterwards")
}

func TestTheListOfNounsHasEveryNoun(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "topic.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := []string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Noun" {
			declared = append(declared, strings.Trim(spec.Values[0].(*ast.BasicLit).Value, `"`))
		}
		return true
	})
	listed := []string{}
	for _, n := range web.Nouns() {
		listed = append(listed, string(n))
	}
	if !slices.Equal(declared, listed) {
		t.Errorf("declared are %v, listed %v", declared, listed)
	}
}
