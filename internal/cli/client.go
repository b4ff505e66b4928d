package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/plain"
)

// client talks to one server.
type client struct {
	base  string
	token string
	http  *http.Client

	cookies   []*http.Cookie // of the short session that login uses
	impatient bool           // asks once and no second time
}

// answerLimit is more than any answer of the API has.
const answerLimit = 64 << 20

func (s *shell) client() (*client, error) {
	base, token, err := s.server()
	if err != nil {
		return nil, err
	}
	return newClient(base, token)
}

func newClient(base, token string) (*client, error) {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, usage("%q is not the address of a server. Write it like http://127.0.0.1:7270.", base)
	}
	return &client{base: strings.TrimRight(base, "/"), token: token, http: &http.Client{}}, nil
}

// get reads path into v.
func (c *client) get(ctx context.Context, path string, v any) error {
	return c.call(ctx, http.MethodGet, path, nil, v)
}

// post sends body and reads the answer into v; both may be nil.
func (c *client) post(ctx context.Context, path string, body, v any) error {
	return c.call(ctx, http.MethodPost, path, body, v)
}

func (c *client) call(ctx context.Context, method, path string, body, v any) error {
	return c.change(ctx, method, path, http.Header{}, body, v)
}

// change is call with headers, which it may add to.
func (c *client) change(ctx context.Context, method, path string, header http.Header, body, v any) error {
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return err
		}
	} else if method == http.MethodPost {
		content = []byte("{}")
	}
	if content != nil {
		header.Set("Content-Type", "application/json")
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	response, err := c.send(ctx, method, path, header, content)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, answerLimit+1))
	if err != nil {
		return c.unreachable(err)
	}
	if len(answer) > answerLimit {
		return fault.New(fault.TooLarge, "cli.answer_too_large", "The answer of %s is larger than %d MB, which this program does not read.", path, answerLimit>>20).
			Do("Ask for less with --limit, or for one thing by its name.")
	}
	if v == nil || len(answer) == 0 {
		return nil
	}
	return understand(answer, v)
}

// understand decodes an answer of the server.
func understand(answer []byte, v any) error {
	if err := json.Unmarshal(answer, v); err != nil {
		return fault.New(fault.Internal, "cli.answer", "The server did not answer like a Flywheel server of this version.").
			Do("Check the address, or whether this program and the server are of versions that fit: flywheel version.").Because(err)
	}
	return nil
}

// longestWait is the longest that a command waits on its own because a server asked it to. What takes longer
// is said, and the person decides.
const longestWait = 15 * time.Second

// send sends a request and returns its successful answer. A request that got no answer is sent again:
// reading has no effect, and a creation carries a key by which the server knows it. So is one that came
// too often or while something was away, when the server says that it will do (Retry-After).
func (c *client) send(ctx context.Context, method, path string, header http.Header, body []byte) (*http.Response, error) {
	key := ""
	if method == http.MethodPost {
		key = rand.Text()
	}
	for attempt := 1; ; attempt++ {
		response, err := c.once(ctx, method, path, header, key, body)
		if err == nil && response.StatusCode < 300 {
			return response, nil
		}
		var failure error
		again, wait := true, time.Duration(attempt)*300*time.Millisecond
		if err != nil {
			failure = c.unreachable(err)
		} else {
			failure = c.problem(response)
			asked, known := retryAfter(response)
			again = asked <= longestWait && (response.StatusCode == http.StatusServiceUnavailable || response.StatusCode == http.StatusBadGateway ||
				response.StatusCode == http.StatusTooManyRequests && known)
			wait = max(wait, asked)
			response.Body.Close()
		}
		if !again || attempt == 3 || c.impatient || ctx.Err() != nil {
			return nil, failure
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// retryAfter returns how long an answer asks to wait, in seconds or until a date, and whether it does.
func retryAfter(response *http.Response) (time.Duration, bool) {
	text := response.Header.Get("Retry-After")
	if n, err := strconv.Atoi(text); err == nil && n >= 0 {
		return time.Duration(min(n, 1<<30)) * time.Second, true
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at)), true
	}
	return 0, false
}

// seconds says a wait in whole seconds, rounded up.
func seconds(wait time.Duration) string {
	n := int((wait + time.Second - 1) / time.Second)
	return plain.Count(n, "second", "seconds")
}

func (c *client) once(ctx context.Context, method, path string, header http.Header, key string, body []byte) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(body)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	for _, cookie := range c.cookies {
		request.AddCookie(cookie)
	}
	return c.http.Do(request)
}

func (c *client) unreachable(err error) error {
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fault.New(fault.Unavailable, "cli.unreachable", "%s does not answer: %s.", c.base, err).
		Do("Start it there with `flywheel serve`, or name another address with --url or FLYWHEEL_URL.").Because(err)
}

// problem turns an answer that is not a success into a fault.
func (c *client) problem(response *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<20)) // half a problem is better than none
	var p struct {
		Code      string        `json:"code"`
		Detail    string        `json:"detail"`
		Remedy    string        `json:"remedy"`
		Fields    []fault.Field `json:"fields"`
		RequestID string        `json:"requestId"`
	}
	kind := kindOf(response.StatusCode)
	wait, asked := retryAfter(response)
	if !strings.Contains(response.Header.Get("Content-Type"), "json") || json.Unmarshal(text, &p) != nil || p.Detail == "" {
		f := fault.New(kind, "cli.answer", "%s answered %s, which is not how a Flywheel server answers.", c.base, response.Status)
		if asked {
			return f.Do("Wait %s and try again, as it asks.", seconds(wait))
		}
		return f.Do("Check the address; --url or FLYWHEEL_URL name another one.")
	}
	f := fault.New(kind, p.Code, "%s", p.Detail)
	f.Fields, f.Remedy = p.Fields, p.Remedy
	switch {
	case f.Remedy != "":
	case asked:
		f.Do("Wait %s and try again.", seconds(wait))
	case kind == fault.Unauthenticated:
		f.Do("Sign in: flywheel login.")
	case kind == fault.Forbidden:
		f.Do("Ask somebody who may: flywheel whoami shows what you may do.")
	case kind == fault.NotFound:
		f.Do("Check the name.")
		if where := listing(strings.TrimSuffix(p.Code, ".not_found")); where != "" {
			f.Do("Check the name; `flywheel %s` shows what there is.", where)
		}
	case kind == fault.Stale:
		f.Do("Read it again and repeat the change.")
	case kind == fault.Internal || kind == fault.Unavailable:
		f.Do("Try again; if it stays, look for request %s in the server's log.", p.RequestID)
	default:
		f.Do("Correct that and try again.")
	}
	if kind == fault.NotFound && !strings.HasSuffix(p.Code, ".not_found") && p.Remedy == "" {
		f.Do("This program and the server may be of versions that do not fit: flywheel version.")
	}
	return f
}

// listing returns the command that lists what a name of this noun may be, or "" if none does.
func listing(noun string) string {
	switch noun {
	case "instance":
		return "app show APP"
	case "check", "certification", "effect":
		return "change show CHANGE"
	case "member":
		return "team show TEAM"
	case "secret":
		return "secret list APP ENVIRONMENT"
	case "request", "pattern_request":
		return "pattern request list"
	case "repository":
		return "app list"
	case "pattern_version":
		return "pattern versions PATTERN"
	case "app", "environment", "change", "deployment", "pattern", "team", "user", "token", "session", "waiver", "story", "consumer":
		return noun + " list"
	}
	return ""
}

func kindOf(status int) fault.Kind {
	switch status {
	case http.StatusUnauthorized:
		return fault.Unauthenticated
	case http.StatusForbidden:
		return fault.Forbidden
	case http.StatusNotFound:
		return fault.NotFound
	case http.StatusConflict:
		return fault.Conflict
	case http.StatusPreconditionFailed:
		return fault.Stale
	case http.StatusRequestEntityTooLarge:
		return fault.TooLarge
	case http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusGatewayTimeout:
		return fault.Unavailable
	}
	if status >= 500 {
		return fault.Internal
	}
	return fault.Invalid
}

// list reads pages until there are limit items, or all with limit 0, and returns them as the server
// wrote them.
func (c *client) list(ctx context.Context, path string, query url.Values, limit int) ([]json.RawMessage, error) {
	items := []json.RawMessage{}
	for cursor := ""; ; {
		page := url.Values{}
		for name, values := range query {
			if len(values) > 0 && values[0] != "" {
				page[name] = values
			}
		}
		if cursor != "" {
			page.Set("cursor", cursor)
		}
		if left := limit - len(items); limit > 0 {
			page.Set("limit", fmt.Sprint(min(left, 200)))
		}
		var answer struct {
			Items []json.RawMessage `json:"items"`
			Next  string            `json:"next"`
		}
		if err := c.get(ctx, strings.TrimSuffix(path+"?"+page.Encode(), "?"), &answer); err != nil {
			return nil, err
		}
		items = append(items, answer.Items...)
		if limit > 0 && len(items) >= limit {
			return items[:limit], nil
		}
		if answer.Next == "" || answer.Next == cursor {
			return items, nil
		}
		cursor = answer.Next
	}
}

// text copies a plain answer, such as a log, to w as it arrives.
func (c *client) text(ctx context.Context, path string, w io.Writer) error {
	response, err := c.send(ctx, http.MethodGet, path, http.Header{"Accept": {"text/plain"}}, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if t, ok := w.(*terminal); ok {
		log := t.log()
		defer log.Close()
		w = log
	}
	_, err = io.Copy(w, response.Body)
	if err != nil {
		return c.unreachable(err)
	}
	return nil
}

// topic says that something has changed; see GET /api/v1/live.
type topic struct {
	ID     string `json:"id"`
	App    string `json:"app"`
	Change string `json:"change"`
}

// follow calls nudge until ctx ends whenever something has changed that the watcher's page is about, or anything may have. It is a
// nudge only: who follows reads the state itself, so a lost topic costs a moment and nothing else.
func (c *client) follow(ctx context.Context, about func(topic) bool, nudge func()) {
	for ctx.Err() == nil {
		_ = c.topics(ctx, about, nudge) // without the stream the caller still looks from time to time
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (c *client) topics(ctx context.Context, about func(topic) bool, nudge func()) error {
	response, err := c.send(ctx, http.MethodGet, "/api/v1/live", http.Header{"Accept": {"text/event-stream"}}, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		if !ok {
			continue
		}
		var news struct {
			Again  bool    `json:"again"`
			Topics []topic `json:"topics"`
		}
		if err := json.Unmarshal([]byte(data), &news); err != nil {
			return err
		}
		if news.Again || slices.ContainsFunc(news.Topics, about) {
			nudge()
		}
	}
	return lines.Err()
}

// upload sends a large body that is not JSON, once: it may be more than memory should hold twice.
func (c *client) upload(ctx context.Context, path, contentType string, body io.Reader, v any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", contentType)
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return c.unreachable(err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		return c.problem(response)
	}
	return json.NewDecoder(io.LimitReader(response.Body, answerLimit)).Decode(v)
}

// act is the common shape of a verb: sign in, send, show.
func (s *shell) act(c *cobra.Command, do func(ctx context.Context, api *client) error) error {
	api, err := s.client()
	if err != nil {
		return err
	}
	return do(c.Context(), api)
}

// delete is the shape of the verbs that end something and have nothing to show: it says so.
func (s *shell) delete(c *cobra.Command, where, said string, what ...any) error {
	return s.act(c, func(ctx context.Context, api *client) error {
		if err := api.call(ctx, http.MethodDelete, where, nil, nil); err != nil {
			return err
		}
		note(c, said, what...)
		return nil
	})
}

// path joins escaped segments behind /api/v1.
func path(segments ...string) string {
	out := "/api/v1"
	for _, segment := range segments {
		out += "/" + url.PathEscape(segment)
	}
	return out
}
