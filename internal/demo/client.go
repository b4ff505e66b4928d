package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"flywheel.dev/flywheel/internal/fault"
)

// person speaks to the API as one of the people of the demo, with a token, as a script would.
type person struct {
	name  string
	url   string
	token string

	client *http.Client
}

// call sends a request and reads the answer into out, which may be nil. A problem becomes its fault.
func (p *person) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	return p.send(ctx, method, path, "application/json", body, out)
}

func (p *person) send(ctx context.Context, method, path, contentType string, body io.Reader, out any) error {
	r, err := http.NewRequestWithContext(ctx, method, p.url+path, body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", contentType)
	if p.token != "" {
		r.Header.Set("Authorization", "Bearer "+p.token)
	}
	response, err := p.client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 400 {
		var problem struct {
			Code   string        `json:"code"`
			Detail string        `json:"detail"`
			Remedy string        `json:"remedy"`
			Fields []fault.Field `json:"fields"`
		}
		if json.Unmarshal(text, &problem) != nil || problem.Code == "" {
			return fmt.Errorf("%s %s: %s", method, path, response.Status)
		}
		return &fault.Fault{Kind: fault.Conflict, Code: problem.Code, Message: problem.Detail, Remedy: problem.Remedy, Fields: problem.Fields}
	}
	if out == nil || len(text) == 0 {
		return nil
	}
	return json.Unmarshal(text, out)
}

// ask sends one GET to an app and keeps the answer as evidence.
func ask(ctx context.Context, when, url string) Answer {
	a := Answer{When: when, URL: url}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		a.Body = err.Error()
		return a
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		a.Body = err.Error()
		return a
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 4096)) // an excerpt is enough
	a.Status, a.Body = response.StatusCode, string(text)
	return a
}
