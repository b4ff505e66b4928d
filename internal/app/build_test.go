package app

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"gocloud.dev/blob/memblob"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/local"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/runlog"
	"flywheel.dev/flywheel/internal/sandbox"
)

func TestAnArtifactIsBroughtWhileItsTestsRunAndHoldsOnlyWhatTheBuildLeft(t *testing.T) {
	box, err := sandbox.New(sandbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	b := NewBuilder(Builder{DB: dbtest.Open(t), Sandbox: box, Blobs: memblob.OpenBucket(nil), Logs: &runlog.Store{Dir: filepath.Join(dir, "logs")}, Dir: filepath.Join(dir, "work")})
	unpacked := filepath.Join(dir, "unpacked")
	b.Bring = func(_ context.Context, _ string, archive io.Reader) error {
		err := errors.Join(os.MkdirAll(unpacked, 0o700), local.UnpackDir(unpacked, archive))
		caches, none := filepath.Glob(filepath.Join(dir, "work", "build-*", "cache"))
		for _, cache := range caches {
			err = errors.Join(err, os.WriteFile(filepath.Join(cache, "brought"), nil, 0o600)) // what the tests wait for
		}
		return errors.Join(err, none)
	}
	err = b.DB.Write(t.Context(), func(tx *db.Tx) error {
		return insertApp(tx, App{ID: "app_1", Name: "shop", Team: "shop", State: Active, CreatedAt: tx.Now()})
	})
	if err != nil {
		t.Fatal(err)
	}
	request := BuildRequest{
		App: "shop", Source: "sha256:one", Log: "build",
		Build:  manifest.Build{Command: "mkdir dist && echo app > dist/app", Artifact: "dist/"},
		Test:   manifest.Test{Command: "echo tests > dist/tests; until test -e $XDG_CACHE_HOME/brought; do :; done"},
		Export: func(_ context.Context, dir string) error { return os.MkdirAll(dir, 0o755) },
	}
	result, err := b.Build(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := OpenArtifact(t.Context(), b.Blobs, result.Digest)
	if err != nil {
		t.Fatal(err)
	}
	stored.Close()
	if left, err := os.ReadDir(unpacked); err != nil || len(left) != 1 || left[0].Name() != "app" {
		t.Errorf("the artifact holds %v, %v", left, err)
	}

	// A build that leaves what a folder cannot be removed with, as go mod download does for a normal user.
	request.Source, request.Test.Command = "sha256:two", "mkdir -p a/b && chmod 0 a/b && chmod 0 a; exit 1"
	if _, err := b.Build(t.Context(), request); !fault.Is(err, "build.test_failed") {
		t.Errorf("the failing tests end the build with %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "work", "[ab]*-*")); len(left) > 0 {
		t.Errorf("the builds left %v", left)
	}

	// What a killed server left goes in time, what others work with stays.
	long := time.Now().Add(-48 * time.Hour)
	for name, at := range map[string]time.Time{"build-old": long, "build-new": time.Now(), "caches": long} {
		dir := filepath.Join(b.Dir, name)
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chtimes(dir, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Forget(time.Now().Add(-24 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(b.Dir); err != nil || len(left) != 2 || left[0].Name() != "build-new" || left[1].Name() != "caches" {
		t.Errorf("after a day there are %v, %v", left, err)
	}
}

func TestAnUploadIsStoredUnderItsDigestByWhoMayAndLeavesNothingElse(t *testing.T) {
	d := dbtest.Open(t)
	b := NewBuilder(Builder{DB: d, Blobs: memblob.OpenBucket(nil), Dir: filepath.Join(t.TempDir(), "work")})
	var packed bytes.Buffer
	dir := t.TempDir()
	err := os.WriteFile(filepath.Join(dir, "run"), []byte("#!/bin/sh\n"), 0o755)
	if err != nil {
		t.Fatal(err)
	}
	want, err := local.PackDir(&packed, dir)
	if err != nil {
		t.Fatal(err)
	}
	dora := account.With(t.Context(), account.Actor{ID: "usr_dora", Name: "dora", Teams: map[string]account.Role{"shop": account.Developer}})
	vera := account.With(t.Context(), account.Actor{ID: "usr_vera", Name: "vera", Teams: map[string]account.Role{"shop": account.Viewer}})
	for name, tt := range map[string]struct {
		ctx  context.Context
		body io.Reader
		code string
	}{
		"a viewer":           {vera, bytes.NewReader(packed.Bytes()), "permission.denied"},
		"nothing":            {dora, strings.NewReader(""), "artifact.empty"},
		"a client that left": {dora, io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF)), "request.malformed"},
	} {
		if _, _, err := b.Upload(tt.ctx, "", tt.body); !fault.Is(err, tt.code) {
			t.Errorf("%s: %v, want %s", name, err, tt.code)
		}
	}
	if there, err := b.Blobs.Exists(t.Context(), artifactKey(want)); err != nil || there {
		t.Errorf("stored what was refused: %v, %v", there, err)
	}
	digest, size, err := b.Upload(dora, "", bytes.NewReader(packed.Bytes()))
	if err != nil || digest != want || size != int64(packed.Len()) {
		t.Errorf("%s of %d bytes, %v; want %s of %d", digest, size, err, want, packed.Len())
	}
	if there, err := b.Blobs.Exists(t.Context(), artifactKey(want)); err != nil || !there {
		t.Errorf("not stored: %v", err)
	}
	left, err := os.ReadDir(b.Dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if sound, _, broken, err := account.Verify(t.Context(), d, account.Kept{}); err != nil || broken != nil || sound != 1 {
		t.Errorf("%d entries in the audit log, %v, %v", sound, broken, err)
	}
}

func TestAnArtifactBelongsToWhomItWasBuiltOrUploadedFor(t *testing.T) {
	d := dbtest.Open(t)
	b := NewBuilder(Builder{DB: d, Blobs: memblob.OpenBucket(nil), Dir: filepath.Join(t.TempDir(), "work")})
	do := func(with func(tx *db.Tx) error) {
		t.Helper()
		if err := d.Write(t.Context(), with); err != nil {
			t.Fatal(err)
		}
	}
	do(func(tx *db.Tx) error {
		for name, team := range map[string]string{"storefront": "shop", "kiosk": "stalls"} {
			if err := insertApp(tx, App{ID: db.NewID("app"), Name: name, Team: team, State: Active, CreatedAt: tx.Now()}); err != nil {
				return err
			}
		}
		return nil
	})
	dora := account.With(t.Context(), account.Actor{ID: "usr_dora", Name: "dora", Teams: map[string]account.Role{"shop": account.Developer}})
	owns := func(want bool, name, digest string) {
		t.Helper()
		do(func(tx *db.Tx) error {
			if has, err := HasArtifact(tx, name, digest); err != nil || has != want {
				t.Errorf("%q has %s: %v, want %v, %v", name, digest, has, want, err)
			}
			return nil
		})
	}
	if _, _, err := b.Upload(dora, "kiosk", strings.NewReader("packed")); !fault.Is(err, "app.not_found") {
		t.Errorf("for another team's app: %v", err)
	}
	mine, _, err := b.Upload(dora, "storefront", strings.NewReader("packed"))
	if err != nil {
		t.Fatal(err)
	}
	owns(true, "storefront", mine)
	owns(false, "kiosk", mine)
	owns(false, "", mine)
	shared, _, err := b.Upload(dora, "", strings.NewReader("packed for patterns"))
	if err != nil {
		t.Fatal(err)
	}
	owns(true, "", shared)
	owns(false, "storefront", shared)

	// What an outer CI of one app made of a source is not what another app with the same source runs.
	do(func(tx *db.Tx) error {
		if kept, err := KeepOuter(tx, "src", "kiosk", "sha256:bad"); err != nil || kept != "sha256:bad" {
			t.Errorf("%s, %v", kept, err)
		}
		if built, err := Artifact(tx, "storefront", "src"); err != nil || built != "" {
			t.Errorf("storefront runs %s of kiosk, %v", built, err)
		}
		if kept, err := KeepOuter(tx, "src", "storefront", mine); err != nil || kept != mine {
			t.Errorf("%s, %v", kept, err)
		}
		return nil
	})
	owns(true, "kiosk", "sha256:bad")
	owns(false, "storefront", "sha256:bad")
}
