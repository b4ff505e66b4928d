package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// load sends 200 requests a second over kept-alive connections until its stop function is called: most
// are quick reads, every tenth is a POST, and every twentieth is slow, so that some are always in
// flight. Nothing is retried: each failure counts.
type load struct {
	base   string
	client *http.Client
	stop   context.CancelFunc
	done   sync.WaitGroup
	began  time.Time

	mu  sync.Mutex
	sum Load
}

func startLoad(base string) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{base: base, stop: cancel, began: time.Now(), client: &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, MaxConnsPerHost: 64, DisableCompression: true},
	}}
	l.done.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				l.done.Go(func() { l.one(n) })
			}
		}
	})
	return l
}

func (l *load) one(n int) {
	method, path, body := http.MethodGet, "/products", io.Reader(nil)
	switch {
	case n%20 == 7:
		path = "/reports/sales?ms=700"
	case n%10 == 3:
		method, path = http.MethodPost, fmt.Sprintf("/cart/load-%d/items", n%50)
		body = bytes.NewReader([]byte(`{"product":"soap","quantity":1}`))
	}
	r, err := http.NewRequest(method, l.base+path, body)
	if err == nil && body != nil {
		r.Header.Set("Content-Type", "application/json")
		r.GetBody = nil // the client must not send a POST twice either
	}
	failure := ""
	if err == nil {
		var response *http.Response
		if response, err = l.client.Do(r); err == nil {
			_, err = io.Copy(io.Discard, response.Body)
			response.Body.Close()
			if response.StatusCode >= 400 {
				failure = fmt.Sprintf("%s %s answered %d", method, path, response.StatusCode)
			}
		}
	}
	if err != nil {
		failure = err.Error()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sum.Requests++
	if method == http.MethodPost {
		l.sum.Posts++
	}
	if n%20 == 7 {
		l.sum.Slow++
	}
	if failure != "" {
		if l.sum.Failures++; l.sum.First == "" {
			l.sum.First = failure
		}
	}
}

// end stops sending, waits for what is in flight and returns what was seen.
func (l *load) end() *Load {
	l.stop()
	l.done.Wait()
	l.client.CloseIdleConnections()
	l.sum.Seconds = time.Since(l.began).Seconds()
	return &l.sum
}
