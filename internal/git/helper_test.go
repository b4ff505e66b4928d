package git

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/patience"
)

// TestMain lets the hooks run this test program as they run flywheel.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "hook" {
		os.Exit(RunHook(os.Args[2:]))
	}
	os.Exit(m.Run())
}

type personKey struct{}

// forge is a host behind a real HTTP server, with the people ann and bob, whose tokens are
// ann-token and bob-token, and eve, who may see nothing but apps/open, and may not write it.
type forge struct {
	*Host
	t      *testing.T
	server *httptest.Server
	mutex  sync.Mutex
	pushed []Push
	said   func(Push) []string
}

var storefront = App("storefront")

func newForge(t *testing.T, options ...func(*Host)) *forge {
	t.Helper()
	dir := t.TempDir()
	f := &forge{t: t}
	f.Host = &Host{
		Root: filepath.Join(dir, "repos"), Run: filepath.Join(dir, "run"), DB: dbtest.Open(t),
		Logger: slog.New(slog.DiscardHandler),
		Authenticate: func(ctx context.Context, _, token string) (context.Context, error) {
			person, ok := strings.CutSuffix(token, "-token")
			if !ok {
				return nil, fault.New(fault.Unauthenticated, "token.unknown", "This token is not known, or it has expired.")
			}
			return context.WithValue(ctx, personKey{}, person), nil
		},
		Authorize: func(ctx context.Context, r Repo, write bool) error {
			if person(ctx) != "eve" {
				return nil
			}
			if r.Name != "open" {
				return fault.Missing("repository", r.String())
			}
			if write {
				return fault.New(fault.Forbidden, "repository.read_only", "You may read %s, but not push to it.", r).Do("Ask team shop to add you.")
			}
			return nil
		},
		Person: person,
		Pushed: func(_ context.Context, p Push) []string {
			f.mutex.Lock()
			defer f.mutex.Unlock()
			f.pushed = append(f.pushed, p)
			if f.said != nil {
				return f.said(p)
			}
			return nil
		},
	}
	for _, o := range options {
		o(f.Host)
	}
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	f.server = httptest.NewServer(f.Host)
	t.Cleanup(f.server.Close)
	return f
}

func person(ctx context.Context) string {
	p, _ := ctx.Value(personKey{}).(string)
	return p
}

func (f *forge) pushes() []Push {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return append([]Push{}, f.pushed...)
}

func (f *forge) create(r Repo) string {
	f.t.Helper()
	sha, err := f.Create(f.t.Context(), r, Identity{"Ann", "ann@shop.example"}, fstest.MapFS{
		"flywheel.yaml": {Data: []byte("kind: App\n")},
		"main.go":       {Data: []byte("package main\n\nfunc main() {}\n")},
		"smoke.sh":      {Data: []byte("#!/bin/sh\nexit 0\n")},
		"empty":         {},
	}, "Start from pattern web-service 1.0.0")
	if err != nil {
		f.t.Fatal(err)
	}
	return sha
}

func (f *forge) url(r Repo, person string) string {
	u, _ := url.Parse(f.server.URL + r.Path())
	if person != "" {
		u.User = url.UserPassword("any", person+"-token")
	}
	return u.String()
}

// clone is a working copy of a person.
type clone struct {
	t   *testing.T
	dir string
}

func (f *forge) clone(r Repo, person string) *clone {
	f.t.Helper()
	c := &clone{f.t, filepath.Join(f.t.TempDir(), "work")}
	if out, err := c.try("clone", "--quiet", f.url(r, person), c.dir); err != nil {
		f.t.Fatalf("clone: %v\n%s", err, out)
	}
	return c
}

func (c *clone) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience.Of(patience.Limit))
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", args...)
	if _, err := os.Stat(c.dir); err == nil {
		cmd.Dir = c.dir
	}
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@shop.example", "GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@shop.example",
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func (c *clone) git(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

// fails runs git, which must fail, and returns what it printed.
func (c *clone) fails(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err == nil {
		c.t.Fatalf("git %s succeeded:\n%s", strings.Join(args, " "), out)
	}
	return out
}

func (c *clone) write(name, content string) {
	c.t.Helper()
	file := filepath.Join(c.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
		c.t.Fatal(err)
	}
}

// commit writes a file, commits it and returns the commit.
func (c *clone) commit(name, content, message string) string {
	c.t.Helper()
	c.write(name, content)
	c.git("add", "--all")
	c.git("commit", "--quiet", "--allow-empty", "-m", message)
	return c.git("rev-parse", "HEAD")
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is missing in:\n%s", p, text)
		}
	}
}

func isFault(t *testing.T, err error, code string) {
	t.Helper()
	if !fault.Is(err, code) {
		t.Errorf("got %v, want the fault %s", err, code)
	}
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
