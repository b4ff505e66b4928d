package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gocloud.dev/blob/memblob"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/local"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/runlog"
	"flywheel.dev/flywheel/internal/sandbox"
)

// caching is a builder whose builds say what they find in their caches.
type caching struct {
	*Builder
	t *testing.T
	n int
}

func newCaching(t *testing.T) *caching {
	t.Helper()
	box, err := sandbox.New(sandbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Cleanup(func() { sandbox.RemoveAll(dir) })
	return &caching{t: t, Builder: NewBuilder(Builder{DB: dbtest.Open(t), Sandbox: box, Blobs: memblob.OpenBucket(nil), Logs: &runlog.Store{Dir: filepath.Join(dir, "logs")}, Dir: filepath.Join(dir, "work")})}
}

func (b *caching) write(do func(tx *db.Tx) error) {
	b.t.Helper()
	if err := b.DB.Write(b.t.Context(), do); err != nil {
		b.t.Fatal(err)
	}
}

func (b *caching) app(name, team string) {
	b.t.Helper()
	b.write(func(tx *db.Tx) error {
		return insertApp(tx, App{ID: db.NewID("app"), Name: name, Title: name, Team: team, State: Active, CreatedAt: tx.Now()})
	})
}

// merged makes a source what main of the app is.
func (b *caching) merged(name, source string) {
	b.t.Helper()
	b.write(func(tx *db.Tx) error { return SetDescription(tx, name, Description{Source: source}) })
}

func (b *caching) certified(digest string) {
	b.t.Helper()
	b.write(func(tx *db.Tx) error {
		_, err := tx.Exec(`insert into pattern_version (id, pattern, version, digest, state, recommended, manifest, interface, readme, commit_id, change, created_at)
			values ($1,'web',$1,$1,'certified',false,'{}','{}','','','',$2)`, digest, tx.Now())
		return err
	})
}

const cached = "$XDG_CACHE_HOME"

// build builds a source and returns the names that it found in its cache.
func (b *caching) build(app, source, pattern, command, test string) string {
	b.t.Helper()
	b.n++
	var found string
	out := filepath.Join(b.t.TempDir(), "found")
	_, err := b.Build(b.t.Context(), BuildRequest{
		App: app, Source: source, Pattern: pattern, Log: "build",
		Build:  manifest.Build{Command: "mkdir dist && find " + cached + " -mindepth 1 ! -path '*/home*' | sort > dist/found && " + command, Artifact: "dist/"},
		Test:   manifest.Test{Command: test},
		Export: func(_ context.Context, dir string) error { return os.MkdirAll(dir, 0o755) },
	})
	if err != nil {
		b.t.Fatal(err)
	}
	var digest string
	b.write(func(tx *db.Tx) (err error) { digest, err = Artifact(tx, app, source); return err })
	r, err := OpenArtifact(b.t.Context(), b.Blobs, digest)
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Close()
	if err := errors.Join(os.MkdirAll(out, 0o700), local.UnpackDir(out, r)); err != nil {
		b.t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(out, "found"))
	if err != nil {
		b.t.Fatal(err)
	}
	for line := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n") {
		found += " " + strings.TrimPrefix(line, sandbox.CacheDir+"/")
	}
	return strings.TrimSpace(found)
}

func (b *caching) skeleton(digest, command, test string) {
	b.t.Helper()
	_, err := b.BuildSkeleton(b.t.Context(), SkeletonRequest{Pattern: digest, Build: manifest.Build{Command: "mkdir -p dist; date > dist/app; " + command, Artifact: "dist/"},
		Test: manifest.Test{Command: test}, Files: map[string][]byte{"readme": nil}, Log: discard{}})
	if err != nil {
		b.t.Fatal(err)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// TestACacheIsNoWayFromOneToAnother has code of one write into its cache, and another's build look.
func TestACacheIsNoWayFromOneToAnother(t *testing.T) {
	b := newCaching(t)
	put := func(name string) string { return "echo x > " + cached + "/" + name }
	b.app("shop", "shop")
	b.app("till", "shop")
	b.app("blog", "press")
	b.certified("sha256:v1")
	b.certified("sha256:v2")
	expect := func(t *testing.T, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("the build found %q in its cache, want %q", got, want)
		}
	}
	t.Run("what a skeleton's tests write is in no app's first build", func(t *testing.T) {
		b.skeleton("sha256:v1", put("built"), put("tested"))
		expect(t, b.build("shop", "sha256:s1", "sha256:v1", put("shop"), ""), "built")
	})
	t.Run("what an earlier version's skeleton cached is in no later one's", func(t *testing.T) {
		b.skeleton("sha256:v2", "find "+cached+" -name built | grep . && exit 1; "+put("second"), "true")
		expect(t, b.build("blog", "sha256:b1", "sha256:v2", put("blog"), ""), "second")
	})
	t.Run("the cache of a version that is not certified is nobody's", func(t *testing.T) {
		b.skeleton("sha256:v3", put("third"), "true")
		expect(t, b.build("till", "sha256:t1", "sha256:v3", "true", ""), "")
	})
	t.Run("apps of one team have caches of their own", func(t *testing.T) {
		b.merged("shop", "sha256:s1")
		expect(t, b.build("till", "sha256:t2", "sha256:v1", "true", ""), "built")
		expect(t, b.build("shop", "sha256:s2", "sha256:v1", "true", ""), "built shop")
	})
	t.Run("what tests write is in no later build", func(t *testing.T) {
		b.build("shop", "sha256:s3", "sha256:v1", put("three"), put("tested")+"; rm "+cached+"/shop; echo y > "+cached+"/three")
		b.merged("shop", "sha256:s3")
		expect(t, b.build("shop", "sha256:s4", "sha256:v1", "true", ""), "built shop three")
	})
	t.Run("what a branch's build writes is in none of main's until it is main", func(t *testing.T) {
		b.build("shop", "sha256:evil", "sha256:v1", put("evil")+"; echo poison > "+cached+"/three", "")
		expect(t, b.build("shop", "sha256:s5", "sha256:v1", "grep -q x "+cached+"/three", ""), "built shop three")
		expect(t, b.build("shop", "sha256:s6", "sha256:v1", put("six"), ""), "built shop three")
		b.merged("shop", "sha256:s6")
		expect(t, b.build("shop", "sha256:s7", "sha256:v1", "true", ""), "built shop six three")
	})
	t.Run("what failing tests and builds leave is thrown away", func(t *testing.T) {
		for source, test := range map[string]string{"sha256:f1": "exit 1", "sha256:f2": ""} {
			command := put("failed")
			if test == "" {
				command += "; exit 1"
			}
			if _, err := b.Build(t.Context(), BuildRequest{App: "shop", Source: source, Pattern: "sha256:v1", Log: "build", Build: manifest.Build{Command: "mkdir dist; date > dist/x; " + command, Artifact: "dist/"},
				Test: manifest.Test{Command: test}, Export: func(_ context.Context, dir string) error { return os.MkdirAll(dir, 0o755) }}); err == nil {
				t.Error("the build passes")
			}
			b.merged("shop", source)
		}
		expect(t, b.build("shop", "sha256:s8", "sha256:v1", "true", ""), "built shop six three")
	})
	t.Run("links in a cache lead nowhere outside of it", func(t *testing.T) {
		secret := filepath.Join(b.Dir, "secret")
		if err := os.WriteFile(secret, []byte("the platform's"), 0o600); err != nil {
			t.Fatal(err)
		}
		b.build("blog", "sha256:b2", "", "ln -s "+secret+" "+cached+"/file; ln -s "+b.Dir+" "+cached+"/folder; ln -s loop "+cached+"/loop; mkfifo "+cached+"/pipe", "true")
		b.merged("blog", "sha256:b2")
		expect(t, b.build("blog", "sha256:b3", "", "! grep -r platform "+cached+"; test -L "+cached+"/folder", ""), "file folder loop")
		if text, err := os.ReadFile(secret); err != nil || string(text) != "the platform's" {
			t.Errorf("it is %q now, %v", text, err)
		}
	})
	t.Run("few caches of branches are kept", func(t *testing.T) {
		for _, source := range []string{"sha256:k1", "sha256:k2", "sha256:k3", "sha256:k4"} {
			b.build("till", source, "", "true", "")
		}
		if kept, err := filepath.Glob(filepath.Join(b.Dir, "caches", "*", "k*")); err != nil || len(kept) != keepBranches {
			t.Errorf("kept are %v, %v", kept, err)
		}
	})
	t.Run("one that cannot be read costs time and nothing else", func(t *testing.T) {
		b.build("till", "sha256:c1", "", "mkdir -p "+cached+"/a/b; chmod 0 "+cached+"/a/b "+cached+"/a", "true")
		b.merged("till", "sha256:c1")
		b.build("till", "sha256:c2", "", "true", "true")
	})
	if left, err := filepath.Glob(filepath.Join(b.Dir, "build-*")); err != nil || len(left) > 0 {
		t.Errorf("the builds left %v, %v", left, err)
	}
	if err := b.Forget(time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if kept, err := os.ReadDir(b.Dir); err != nil || len(kept) != 2 {
		t.Errorf("forgetting work folders left %v, %v", kept, err)
	}
}
