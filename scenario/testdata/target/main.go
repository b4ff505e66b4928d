// Command target is a place that Flywheel has no driver for: it serves the file `page` of whatever was
// last sent to it, and keeps that on disk. `target serve FILE TOKEN` writes its address to FILE and wants
// the token in the file TOKEN; `target put URL DIR` is what a rollout command calls.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

func main() {
	var err error
	switch args := append(os.Args[1:], "", "", ""); args[0] {
	case "serve":
		err = serve(args[1], args[2])
	case "put":
		err = put(args[1], args[2])
	default:
		err = fmt.Errorf("usage: target serve FILE TOKEN | target put URL DIR")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(file, tokenFile string) error {
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte("http://"+l.Addr().String()), 0o644); err != nil {
		return err
	}
	var mu sync.Mutex
	pages, rollouts := map[string]string{}, 0
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		name, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		page, there := pages[name]
		switch {
		case r.Method == http.MethodPut:
			if r.Header.Get("Authorization") != "Bearer "+strings.TrimSpace(string(token)) {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			rollouts++
			pages[name] = string(body)
		case rest == "rollouts":
			fmt.Fprintf(w, "rollouts=%d", rollouts)
		case !there:
			w.WriteHeader(http.StatusNotFound)
		case rest == "healthz" && strings.Contains(page, "sick"):
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			fmt.Fprint(w, page)
		}
	}))
}

func put(url, dir string) error {
	page, err := os.ReadFile(filepath.Join(dir, "page"))
	if err != nil {
		return err
	}
	request, err := http.NewRequest(http.MethodPut, url, bytes.NewReader(page))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("TARGET_TOKEN"))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the target answers %s", response.Status)
	}
	return nil
}
