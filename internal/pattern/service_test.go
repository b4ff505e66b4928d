package pattern_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gocloud.dev/blob/fileblob"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/git"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/web"
)

// TestMain lets the hooks of the hosted repositories run this test program.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "hook" {
		os.Exit(git.RunHook(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// catalogue is a service with real repositories and a real blob store, and the heads that Opened saw.
type catalogue struct {
	*pattern.Service
	t      *testing.T
	opened []string
	broken error // what Opened answers
}

func newCatalogue(t *testing.T) *catalogue {
	t.Helper()
	dir := t.TempDir()
	blobs, err := fileblob.OpenBucket(filepath.Join(dir, "blobs"), &fileblob.Options{NoTempDir: true, CreateDir: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blobs.Close() })
	d := dbtest.Open(t)
	host := &git.Host{Root: filepath.Join(dir, "repos"), Run: filepath.Join(dir, "run"), DB: d, Logger: slog.New(slog.DiscardHandler)}
	if err := host.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Close)
	c := &catalogue{t: t, Service: &pattern.Service{DB: d, Git: host, Blobs: blobs, Dir: filepath.Join(dir, "patterns")}}
	c.Opened = func(_ context.Context, name, branch, head string) (string, error) {
		c.opened = append(c.opened, name+" "+branch)
		return "chg_1", c.broken
	}
	c.Proposed = func(*db.Tx, string) ([]pattern.Version, error) { return nil, nil }
	c.About = func(_ *db.Tx, change string) (string, error) {
		if change == "chg_other" {
			return "another", nil
		}
		return "web-service", nil
	}
	return c
}

var (
	olga = account.Actor{ID: "usr_olga", Name: "olga", Disciplines: []string{"operations"}}
	dana = account.Actor{ID: "usr_dana", Name: "dana", Teams: map[string]account.Role{"shop": account.Developer}}
)

func as(t *testing.T, a account.Actor) context.Context { return account.With(t.Context(), a) }

const module = `
variable "artifact" { type = string }
variable "instances" {
  type    = number
  default = 2
}
output "service" { value = var.artifact }
`

const governance = `apiVersion: flywheel.dev/v1
kind: Pattern
metadata: {name: web-service, title: Web service}
spec:
  variables: {instances: {control: team, minimum: 1, maximum: 10}}
  artifact: {variable: artifact}
  release: {driver: local, output: service}
  skeleton: skeleton
`

func files(change ...string) map[string]string {
	out := map[string]string{"main.tf": module, "pattern.yaml": governance, "README.md": "# Web service\n", "skeleton/go.mod.skeleton": "module {{name}}\n", "skeleton/cmd/main.go": "package main\n"}
	for i := 0; i < len(change); i += 2 {
		out[change[i]] = change[i+1]
	}
	return out
}

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func (c *catalogue) create() {
	c.t.Helper()
	if _, err := c.Create(as(c.t, olga), "web-service", "Web service", nil); err != nil {
		c.t.Fatal(err)
	}
}

// publish proposes, adds and certifies a content, as package certify does.
func (c *catalogue) publish(files map[string]string, change string) pattern.Version {
	c.t.Helper()
	ctx := account.System(c.t.Context(), "certify")
	dir := folder(c.t, files)
	p, err := c.Propose(ctx, "web-service", dir)
	if err != nil {
		c.t.Fatal(err)
	}
	v, err := c.Add(ctx, "web-service", p.Version, dir, "commit-"+p.Version)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.DB.Write(ctx, func(tx *db.Tx) error { return c.Certify(tx, v, change) }); err != nil {
		c.t.Fatal(err)
	}
	if v, err = c.GetVersion(as(c.t, dana), "web-service", p.Version); err != nil {
		c.t.Fatal(err)
	}
	return v
}

func (c *catalogue) resolve(wanted string) (v pattern.Version, err error) {
	c.t.Helper()
	err = c.DB.Read(c.t.Context(), func(tx *db.Tx) error { v, err = c.Resolve(tx, "web-service", wanted); return err })
	return v, err
}

func TestAPatternIsCreatedWithItsRepositoryAndItsFirstChange(t *testing.T) {
	c := newCatalogue(t)
	content := map[string][]byte{}
	for name, text := range files() {
		content[name] = []byte(text)
	}
	change, err := c.Create(as(t, olga), "web-service", "", content) // the title is in pattern.yaml
	if err != nil || change != "chg_1" || !slices.Equal(c.opened, []string{"web-service create"}) {
		t.Fatalf("%q %v %v", change, c.opened, err)
	}
	text, err := c.Git.ReadFile(t.Context(), git.Pattern("web-service"), "refs/heads/create", "skeleton/cmd/main.go")
	if err != nil || string(text) != "package main\n" {
		t.Errorf("the branch holds %q, %v", text, err)
	}
	list, err := c.List(as(t, dana), "", 50)
	if err != nil || len(list) != 1 || list[0].Title != "Web service" || len(list[0].Versions) != 0 {
		t.Errorf("listed are %+v, %v", list, err)
	}
	if _, err := c.resolve("*"); !fault.Is(err, "pattern.nothing_in_range") {
		t.Errorf("it has a version before anybody approved it: %v", err)
	}
	t.Run("a name is taken once", func(t *testing.T) {
		if _, err := c.Create(as(t, olga), "web-service", "Again", nil); !fault.Is(err, "pattern.name_taken") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a name is safe as a folder", func(t *testing.T) {
		for _, name := range []string{"../etc", "Web", "a", "", "a_b", "-a", strings.Repeat("a", 41)} {
			if _, err := c.Create(as(t, olga), name, "", nil); !fault.Is(err, "pattern.name_invalid") {
				t.Errorf("%q: %v", name, err)
			}
		}
	})
	t.Run("a folder that is no pattern, or another one, takes no name", func(t *testing.T) {
		for code, files := range map[string]map[string][]byte{"manifest.missing": {"main.go": []byte("package main")}, "manifest.name_differs": content} {
			if _, err := c.Create(as(t, olga), "queue", "Queue", files); !fault.Is(err, code) {
				t.Errorf("got %v, not %s", err, code)
			}
		}
		if c.Git.Exists(git.Pattern("queue")) {
			t.Error("its repository is there")
		}
	})
	t.Run("nothing half-done stays", func(t *testing.T) {
		content := maps.Clone(content)
		content["pattern.yaml"] = bytes.ReplaceAll(content["pattern.yaml"], []byte("web-service"), []byte("queue"))
		c.broken = fault.New(fault.Unavailable, "test.away", "Away.")
		if _, err := c.Create(as(t, olga), "queue", "Queue", content); !fault.Is(err, "test.away") {
			t.Fatal(err)
		}
		c.broken = nil
		if c.Git.Exists(git.Pattern("queue")) {
			t.Error("its repository is there")
		}
		if _, err := c.Create(as(t, olga), "queue", "Queue", content); err != nil {
			t.Errorf("its name is not free: %v", err)
		}
	})
}

func TestAVersionGoesFromProposalToRetirement(t *testing.T) {
	c := newCatalogue(t)
	c.create()
	first := c.publish(files(), "chg_1")
	if first.Version != "1.0.0" || first.State != pattern.Certified || !first.Recommended || first.Change != "chg_1" || first.Readme != "# Web service\n" {
		t.Fatalf("published %+v", first)
	}
	wider := files("pattern.yaml", strings.Replace(governance, "maximum: 10", "maximum: 20", 1))
	second := c.publish(wider, "chg_2")
	if second.Version != "1.1.0" {
		t.Fatalf("wider bounds are %s", second.Version)
	}
	if v, err := c.resolve("~1.0"); err != nil || v.ID != first.ID {
		t.Errorf("~1.0 is %s, %v: a range must not move by itself", v.Version, err)
	}
	if v, err := c.GetVersion(as(t, dana), "web-service", "1.0.0"); err != nil || v.Recommended {
		t.Errorf("two versions are recommended: %v", err)
	}

	t.Run("content is kept under its digest", func(t *testing.T) {
		dir, err := c.Unpack(t.Context(), second.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := pattern.Digest(dir); err != nil || got != second.Digest {
			t.Errorf("unpacked is %s, %v", got, err)
		}
		again, err := c.Unpack(t.Context(), second.Digest)
		if err != nil || again != dir {
			t.Errorf("unpacked twice: %s, %v", again, err)
		}
		if _, err := c.Unpack(t.Context(), "sha256:"+strings.Repeat("0", 64)); !fault.Is(err, "pattern_version.not_found") {
			t.Errorf("nothing unpacks as %v", err)
		}
	})
	t.Run("a skeleton comes under its own names", func(t *testing.T) {
		got, err := c.Skeleton(t.Context(), second)
		if err != nil || len(got) != 2 || string(got["go.mod"]) != "module {{name}}\n" || string(got["cmd/main.go"]) != "package main\n" {
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("the same content again is the same version", func(t *testing.T) {
		v, err := c.Add(t.Context(), "web-service", "1.1.0", folder(t, wider), "elsewhere")
		if err != nil || v.ID != second.ID {
			t.Errorf("%s is not %s, %v", v.ID, second.ID, err)
		}
	})
	t.Run("other content under its number is refused", func(t *testing.T) {
		if _, err := c.Add(t.Context(), "web-service", "1.1.0", folder(t, files()), "elsewhere"); !fault.Is(err, "pattern.version_taken") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a deprecated version answers to no range, and its number stays taken", func(t *testing.T) {
		if _, err := c.Move(as(t, olga), "web-service", "1.1.0", pattern.Deprecated); err != nil {
			t.Fatal(err)
		}
		if v, err := c.resolve("^1.0"); err != nil || v.Version != "1.0.0" {
			t.Errorf("^1.0 is %s, %v", v.Version, err)
		}
		p, err := c.Propose(t.Context(), "web-service", folder(t, files("README.md", "# New words\n", "pattern.yaml", wider["pattern.yaml"])))
		if err != nil || p.Version != "1.1.1" || p.Bump != "patch" || p.Approvals["security"] != 1 {
			t.Errorf("proposed %+v, %v", p, err)
		}
		if _, err := c.Recommend(as(t, olga), "web-service", "1.1.0"); !fault.Is(err, "pattern.not_certified") {
			t.Errorf("recommended: %v", err)
		}
	})
	t.Run("only steps that make sense are taken", func(t *testing.T) {
		for _, to := range []pattern.State{pattern.Deprecated, pattern.Draft, pattern.InReview} {
			if _, err := c.Move(as(t, olga), "web-service", "1.1.0", to); !fault.Is(err, "pattern.state") {
				t.Errorf("deprecated became %s: %v", to, err)
			}
		}
		if _, err := c.Move(as(t, olga), "web-service", "1.1.0", pattern.Retired); err != nil {
			t.Error(err)
		}
		if _, err := c.Move(as(t, olga), "web-service", "1.1.0", pattern.Certified); !fault.Is(err, "pattern.state") {
			t.Errorf("a retired version came back at once: %v", err)
		}
		for _, to := range []pattern.State{pattern.Deprecated, pattern.Retired} {
			if _, err := c.Move(as(t, olga), "web-service", "1.1.0", to); err != nil {
				t.Errorf("step by step it does not become %s: %v", to, err)
			}
		}
		err := c.DB.Write(as(t, olga), func(tx *db.Tx) error { return c.Certify(tx, second, "chg_9") })
		if !fault.Is(err, "pattern.state") {
			t.Errorf("a retired version was certified again: %v", err)
		}
		if _, err := c.Move(as(t, olga), "web-service", "7.0.0", pattern.Deprecated); !fault.Is(err, "pattern_version.not_found") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the newest certified one is recommended where none is", func(t *testing.T) {
		err := c.DB.Read(t.Context(), func(tx *db.Tx) error {
			v, err := c.Recommended(tx, "web-service")
			if err == nil && v.Version != "1.0.0" {
				t.Errorf("recommended is %s", v.Version)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("events and audit tell all of it", func(t *testing.T) {
		count := func(query string, args ...any) (n int) {
			if err := c.DB.Read(t.Context(), func(tx *db.Tx) error { return tx.QueryRow(query, args...).Scan(&n) }); err != nil {
				t.Fatal(err)
			}
			return n
		}
		if err := event.Number(t.Context(), c.DB); err != nil {
			t.Fatal(err)
		}
		if n := count(`select count(*) from event where type = $1 and subject = 'web-service'`, event.Own("pattern", "certified")); n != 2 {
			t.Errorf("%d events of certification", n)
		}
		for _, action := range []string{"pattern.create", "pattern.certify", "pattern.deprecated", "pattern.retired"} {
			if count(`select count(*) from audit where action = $1`, action) == 0 {
				t.Errorf("the audit log has no %s", action)
			}
		}
	})
}

func TestWhatCannotBeAPatternIsRefusedBeforeItIsStored(t *testing.T) {
	c := newCatalogue(t)
	c.create()
	missing := files()
	delete(missing, "pattern.yaml")
	for name, x := range map[string]struct {
		files map[string]string
		code  string
	}{
		"no pattern.yaml":      {missing, "manifest.missing"},
		"a broken one":         {files("pattern.yaml", "kind: Pattern\n"), "manifest.invalid"},
		"a broken module":      {files("main.tf", "variable {"), "pattern.syntax"},
		"two that do not meet": {files("main.tf", `variable "artifact" {}`), "pattern.interface"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, x.files)
			if _, err := c.Propose(t.Context(), "web-service", dir); !fault.Is(err, x.code) {
				t.Errorf("proposed: %v", err)
			}
			if _, err := c.Add(t.Context(), "web-service", "1.0.0", dir, "x"); !fault.Is(err, x.code) {
				t.Errorf("added: %v", err)
			}
		})
	}
	found := 0
	err := fs.WalkDir(c.Blobs, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(path, "patterns/") && !d.IsDir() {
			found++
		}
		return err
	})
	if err != nil || found > 0 {
		t.Errorf("%d blobs stay, %v", found, err)
	}
}

func TestASkeletonThatIsNotThereIsSaid(t *testing.T) {
	c := newCatalogue(t)
	c.create()
	v := c.publish(files("pattern.yaml", strings.Replace(governance, "  skeleton: skeleton\n", "", 1)), "")
	if _, err := c.Skeleton(t.Context(), v); !fault.Is(err, "pattern.no_skeleton") {
		t.Errorf("got %v", err)
	}
	for _, folder := range []string{"../../nothing", "README.md", "nothing"} {
		_, err := c.Propose(t.Context(), "web-service", folderWith(t, folder))
		if !fault.Is(err, "pattern.skeleton_missing") {
			t.Errorf("%s: %v", folder, err)
		}
	}
}

func folderWith(t *testing.T, skeleton string) string {
	return folder(t, files("pattern.yaml", strings.Replace(governance, "skeleton: skeleton", "skeleton: "+skeleton, 1)))
}

func TestOnlyWhoMayCurates(t *testing.T) {
	c := newCatalogue(t)
	c.create()
	c.publish(files(), "")
	for name, try := range map[string]func(ctx context.Context) error{
		"create": func(ctx context.Context) error { _, err := c.Create(ctx, "queue", "", nil); return err },
		"deprecate": func(ctx context.Context) error {
			_, err := c.Move(ctx, "web-service", "1.0.0", pattern.Deprecated)
			return err
		},
		"recommend": func(ctx context.Context) error { _, err := c.Recommend(ctx, "web-service", "1.0.0"); return err },
		"answer":    func(ctx context.Context) error { _, err := c.Answer(ctx, "prq_1", "accepted", "", "", ""); return err },
	} {
		t.Run(name, func(t *testing.T) {
			if err := try(as(t, dana)); fault.From(err) == nil || fault.From(err).Kind != fault.Forbidden {
				t.Errorf("a developer: %v", err)
			}
			if err := try(t.Context()); fault.From(err) == nil || fault.From(err).Kind != fault.Unauthenticated {
				t.Errorf("nobody: %v", err)
			}
		})
	}
	for name, try := range map[string]func(ctx context.Context) error{
		"list":     func(ctx context.Context) error { _, err := c.List(ctx, "", 50); return err },
		"get":      func(ctx context.Context) error { _, err := c.Get(ctx, "web-service"); return err },
		"version":  func(ctx context.Context) error { _, err := c.GetVersion(ctx, "web-service", "1.0.0"); return err },
		"requests": func(ctx context.Context) error { _, err := c.Requests(ctx, "", "", 50); return err },
		"ask":      func(ctx context.Context) error { _, err := c.Ask(ctx, pattern.Request{Title: "x"}); return err },
	} {
		t.Run(name, func(t *testing.T) {
			if err := try(as(t, dana)); err != nil {
				t.Errorf("a developer: %v", err)
			}
			if err := try(t.Context()); fault.From(err) == nil || fault.From(err).Kind != fault.Unauthenticated {
				t.Errorf("nobody: %v", err)
			}
		})
	}
}

func TestARequestIsAskedInWordsAndAnswered(t *testing.T) {
	c := newCatalogue(t)
	c.create()
	ask := func(title string) pattern.Request {
		t.Helper()
		q, err := c.Ask(as(t, dana), pattern.Request{Pattern: "web-service", Title: title, Body: "Shops near me need a search.", Story: "sty_1", Discipline: "development", State: "done", AskedBy: "somebody else"})
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	q := ask("Geo-search")
	if q.State != "open" || q.AskedBy != "dana" || q.Story != "sty_1" {
		t.Fatalf("asked %+v", q)
	}
	answer := func(id, state, reason, change string) (pattern.Request, error) {
		return c.Answer(as(t, olga), id, state, reason, change, "")
	}
	if got, err := answer(q.ID, "accepted", "Good idea.", ""); err != nil || got.State != "accepted" {
		t.Fatal(got, err)
	}
	got, err := answer(q.ID, "developing", "", "chg_7")
	if err != nil || got.Change != "chg_7" || got.Reason != "Good idea." || got.Story != "sty_1" {
		t.Fatal(got, err)
	}
	if _, err := answer(q.ID, "accepted", "", ""); !fault.Is(err, "request.state") {
		t.Errorf("it went back: %v", err)
	}
	if _, err := answer(q.ID, "developing", "", "chg_other"); !fault.Is(err, "request.other_pattern") {
		t.Errorf("a change of another pattern: %v", err)
	}
	t.Run("it is done when its change is published", func(t *testing.T) {
		other := ask("Something else")
		c.publish(files(), "chg_7")
		done, err := c.Requests(as(t, dana), "done", "", 50)
		if err != nil || len(done) != 1 || done[0].ID != q.ID || done[0].Reason != "published as web-service 1.0.0" {
			t.Errorf("done are %+v, %v", done, err)
		}
		open, err := c.Requests(as(t, dana), "open", "", 50)
		if err != nil || len(open) != 1 || open[0].ID != other.ID {
			t.Errorf("open are %+v, %v", open, err)
		}
		if _, err := answer(q.ID, "declined", "No.", ""); !fault.Is(err, "request.over") {
			t.Errorf("it was answered again: %v", err)
		}
	})
	t.Run("declining needs a reason", func(t *testing.T) {
		q := ask("A mainframe")
		if _, err := answer(q.ID, "declined", " ", ""); !fault.Is(err, "request.reason_missing") {
			t.Errorf("got %v", err)
		}
		if got, err := answer(q.ID, "declined", "We have none.", ""); err != nil || got.Reason != "We have none." {
			t.Error(got, err)
		}
	})
	t.Run("nonsense is refused", func(t *testing.T) {
		if _, err := c.Ask(as(t, dana), pattern.Request{Title: " "}); !fault.Is(err, "request.title_missing") {
			t.Errorf("got %v", err)
		}
		if _, err := c.Ask(as(t, dana), pattern.Request{Title: "x", Pattern: "nothing"}); !fault.Is(err, "pattern.not_found") {
			t.Errorf("got %v", err)
		}
		if _, err := answer("prq_nothing", "done", "", ""); !fault.Is(err, "pattern_request.not_found") {
			t.Errorf("got %v", err)
		}
	})
}

// serve speaks HTTP as the person whose name is the token.
func (c *catalogue) serve() func(token, method, path string, body any) (int, map[string]any) {
	c.t.Helper()
	people := map[string]account.Actor{"olga": olga, "dana": dana}
	server, err := web.New(web.Options{
		DB: c.DB, Log: slog.New(slog.DiscardHandler), Schemas: manifest.Schemas(),
		Authenticate: func(r *http.Request) (context.Context, string, error) {
			name := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			return account.With(r.Context(), people[name]), people[name].ID, nil
		},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.Routes(server.API)
	h := httptest.NewServer(server)
	c.t.Cleanup(h.Close)
	return func(token, method, path string, body any) (int, map[string]any) {
		c.t.Helper()
		text, err := json.Marshal(body)
		if err != nil {
			c.t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(c.t.Context(), method, h.URL+path, bytes.NewReader(text))
		if err != nil {
			c.t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			c.t.Fatal(err)
		}
		defer response.Body.Close()
		text, err = io.ReadAll(response.Body)
		if err != nil {
			c.t.Fatal(err)
		}
		out := map[string]any{}
		if err := json.Unmarshal(text, &out); err != nil {
			c.t.Fatalf("%s %s answers %d %s", method, path, response.StatusCode, text)
		}
		return response.StatusCode, out
	}
}

func TestTheCatalogueOverHTTP(t *testing.T) {
	c := newCatalogue(t)
	call := c.serve()
	if status, got := call("olga", "POST", "/api/v1/patterns", map[string]any{"name": "web-service", "title": "Web service", "files": files()}); status != 201 || got["change"] != "chg_1" {
		t.Fatal(status, got)
	}
	v := c.publish(files(), "chg_1")
	for _, x := range []struct {
		token, method, path string
		body                any
		status              int
		holds               string
	}{
		{"dana", "GET", "/api/v1/patterns", nil, 200, `"recommended":"1.0.0"`},
		{"dana", "GET", "/api/v1/patterns/web-service", nil, 200, v.Digest},
		{"dana", "GET", "/api/v1/patterns/nothing", nil, 404, `"code":"pattern.not_found"`},
		{"dana", "GET", "/api/v1/patterns/web-service/versions/1.0.0", nil, 200, `"maximum":10`},
		{"dana", "GET", "/api/v1/patterns/web-service/versions/9.9.9", nil, 404, `"code":"pattern_version.not_found"`},
		{"", "GET", "/api/v1/patterns", nil, 401, `"code":"session.missing"`},
		{"dana", "POST", "/api/v1/patterns", map[string]any{"name": "queue"}, 403, `"code":"permission.denied"`},
		{"olga", "POST", "/api/v1/patterns", map[string]any{"name": "../x"}, 422, `"code":"pattern.name_invalid"`},
		{"dana", "POST", "/api/v1/patterns/web-service/versions/1.0.0/state", map[string]any{"state": "deprecated"}, 403, `"code":"permission.denied"`},
		{"olga", "POST", "/api/v1/patterns/web-service/versions/1.0.0/state", map[string]any{"state": "draft"}, 422, `"code"`},
		{"olga", "POST", "/api/v1/patterns/web-service/versions/1.0.0/state", map[string]any{"state": "retired"}, 409, `"code":"pattern.state"`},
		{"olga", "POST", "/api/v1/patterns/web-service/versions/1.0.0/state", map[string]any{"state": "deprecated"}, 200, `"state":"deprecated"`},
		{"olga", "POST", "/api/v1/patterns/web-service/versions/1.0.0/state", map[string]any{"state": "recommended"}, 409, `"code":"pattern.not_certified"`},
		{"olga", "POST", "/api/v1/patterns/web-service/versions/1.0.0/state", map[string]any{"state": "certified"}, 200, `"state":"certified"`},
		{"dana", "POST", "/api/v1/pattern-requests", map[string]any{"title": "Search", "pattern": "web-service"}, 201, `"state":"open"`},
		{"dana", "GET", "/api/v1/pattern-requests?state=open", nil, 200, `"title":"Search"`},
		{"dana", "GET", "/api/v1/pattern-requests?state=lost", nil, 422, `"code"`},
		{"dana", "POST", "/api/v1/validate", map[string]any{"file": "pattern.yaml", "content": governance}, 200, `"valid":true`},
		{"dana", "POST", "/api/v1/validate", map[string]any{"file": "flywheel.yaml", "content": "kind: App\nsepc: {}\n"}, 200, `the key \"sepc\" is not known here; did you mean \"spec\"?`},
		{"dana", "POST", "/api/v1/validate", map[string]any{"file": "flywheel.yaml", "content": strings.Repeat("# long\n", 20_000)}, 200, `"message":"flywheel.yaml is larger than 64 KiB.`},
		{"", "POST", "/api/v1/validate", map[string]any{"file": "flywheel.yaml", "content": "x"}, 401, `"code":"session.missing"`},
	} {
		t.Run(x.method+" "+x.path, func(t *testing.T) {
			status, got := call(x.token, x.method, x.path, x.body)
			text := &bytes.Buffer{}
			e := json.NewEncoder(text)
			e.SetEscapeHTML(false)
			if err := e.Encode(got); err != nil {
				t.Fatal(err)
			}
			if status != x.status || !strings.Contains(text.String(), x.holds) {
				t.Errorf("answers %d %s, not %d with %s", status, text, x.status, x.holds)
			}
		})
	}
}
