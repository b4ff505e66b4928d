package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/local"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/runlog"
	"flywheel.dev/flywheel/internal/sandbox"
)

// Builder turns the source of an app into its artifact, once for a source, in the sandbox.
//
// `fetch` may reach the listed hosts through a proxy and gets no secret; `command` and `test` run
// without network. Toolchains are read-only mounts the platform declares; the cache belongs to one app
// and is shown to its builds only.
type Builder struct {
	DB      *db.DB
	Sandbox *sandbox.Sandbox
	Blobs   *blob.Bucket
	Logs    *runlog.Store
	Dir     string   // of caches and work folders
	Hosts   []string // that fetch may reach

	slots chan struct{}
}

// NewBuilder returns a builder that runs at most two builds at a time.
func NewBuilder(b Builder) *Builder {
	b.slots = make(chan struct{}, 2)
	return &b
}

// BuildRequest names what to build.
type BuildRequest struct {
	App    string
	Source string // digest of the source; an artifact is built once for each
	Log    string // name of the log
	Build  manifest.Build
	Test   manifest.Test
	Export func(ctx context.Context, dir string) error // puts the source into a folder
}

// BuildResult is a built and tested artifact.
type BuildResult struct {
	Digest  string
	Summary string
}

const buildTimeout = 15 * time.Minute

// Build returns the artifact of the source, from before or newly built and tested. A fault says which
// command failed and how.
func (b *Builder) Build(ctx context.Context, r BuildRequest) (result BuildResult, err error) {
	err = b.DB.Read(ctx, func(tx *db.Tx) (err error) { result.Digest, err = Artifact(tx, r.Source); return err })
	if err != nil {
		return result, err
	}
	if result.Digest != "" {
		result.Summary = "built and tested before: " + short(result.Digest)
		return result, nil
	}
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
	case <-ctx.Done():
		return result, ctx.Err()
	}
	log, err := b.Logs.Open(r.Log)
	if err != nil {
		return result, err
	}
	defer log.Close()
	began := time.Now()
	work, err := os.MkdirTemp(filepath.Join(b.Dir), "build-")
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(b.Dir, 0o700); err == nil {
			work, err = os.MkdirTemp(b.Dir, "build-")
		}
	}
	if err != nil {
		return result, err
	}
	defer os.RemoveAll(work)
	source := filepath.Join(work, "source")
	if err := r.Export(ctx, source); err != nil {
		return result, err
	}
	for _, command := range []struct {
		name, line string
		online     bool
	}{{"fetch", r.Build.Fetch, true}, {"command", r.Build.Command, false}, {"test", r.Test.Command, false}} {
		if command.line == "" {
			continue
		}
		if err := b.command(ctx, r, source, command.name, command.line, command.online, log); err != nil {
			return result, err
		}
	}
	result.Digest, err = b.pack(ctx, r, source)
	if err != nil {
		return result, err
	}
	result.Summary = fmt.Sprintf("built and tested in %.1f s: %s", time.Since(began).Seconds(), short(result.Digest))
	fmt.Fprintln(log, result.Summary)
	return result, nil
}

func short(digest string) string { return strings.TrimPrefix(digest, "sha256:")[:12] }

func (b *Builder) command(ctx context.Context, r BuildRequest, source, name, line string, online bool, log io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	fmt.Fprintf(log, "$ %s\n", line)
	cache := filepath.Join(b.Dir, "cache", r.App)
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return err
	}
	spec := sandbox.Spec{
		Args: []string{"/bin/sh", "-c", line}, Dir: "/app",
		// The same flags in build and test: with others, Go would compile everything twice.
		Env:    []string{"HOME=" + sandbox.CacheDir + "/home", "XDG_CACHE_HOME=" + sandbox.CacheDir, "CI=true", "CGO_ENABLED=0", "GOFLAGS=-trimpath -buildvcs=false -mod=mod"},
		Binds:  []sandbox.Bind{{Source: source, Target: "/app", Writable: true}, {Source: cache, Target: sandbox.CacheDir, Writable: true}},
		Stdout: log, Stderr: log, Memory: 4 << 30, Processes: 2000,
	}
	hosts := slices.Clone(b.Hosts)
	for _, name := range r.Build.Toolchains {
		t, err := sandbox.FindToolchain(ctx, name)
		if err != nil {
			return err
		}
		spec.Binds = append(spec.Binds, t.Binds...)
		spec.Env = append(spec.Env, t.Env...)
		hosts = append(hosts, t.Hosts...)
	}
	if online {
		spec.Proxy = &sandbox.Proxy{Allow: hosts}
	} else {
		spec.Env = append(spec.Env, "GOPROXY=off", "npm_config_offline=true")
	}
	cmd, err := b.Sandbox.Command(ctx, spec)
	if err != nil {
		return err
	}
	err = cmd.Run()
	var exit *sandbox.ExitError
	switch {
	case ctx.Err() != nil:
		return fault.New(fault.Invalid, "build.timeout", "`%s` did not end within %s.", line, buildTimeout)
	case errors.As(err, &exit):
		return fault.New(fault.Invalid, "build."+name+"_failed", "`%s` failed: %s.", line, exit).Do("Its output is in the log.")
	}
	return err
}

// pack puts the built files into the blob store under their digest.
func (b *Builder) pack(ctx context.Context, r BuildRequest, source string) (string, error) {
	// Clean with a leading slash cannot climb out of the source.
	dir := filepath.Join(source, path.Clean("/"+r.Build.Artifact))
	if entries, err := os.ReadDir(dir); err != nil || len(entries) == 0 {
		return "", fault.New(fault.Invalid, "build.no_artifact", "The build left nothing in %q.", r.Build.Artifact).Do("Correct build.artifact in flywheel.yaml, or the build command.")
	}
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	if root, err := filepath.EvalSymlinks(source); err != nil || !strings.HasPrefix(resolved+"/", root+"/") {
		return "", fault.New(fault.Invalid, "build.artifact_outside", "The artifact folder %q leads out of the app.", r.Build.Artifact)
	}
	file, err := os.CreateTemp(b.Dir, "artifact-")
	if err != nil {
		return "", err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	digest, err := local.PackDir(file, resolved)
	if err != nil {
		return "", err
	}
	size, err := PutArtifact(ctx, b.Blobs, digest, file)
	if err != nil {
		return "", err
	}
	return digest, b.DB.Write(ctx, func(tx *db.Tx) error { return saveArtifact(tx, r.Source, r.App, digest, size) })
}

// PutArtifact stores a packed artifact under its digest and returns its size.
func PutArtifact(ctx context.Context, blobs *blob.Bucket, digest string, file io.ReadSeeker) (int64, error) {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	key := artifactKey(digest)
	if there, err := blobs.Exists(ctx, key); err != nil || there {
		return size, err
	}
	return size, blobs.Upload(ctx, key, file, &blob.WriterOptions{ContentType: "application/gzip"})
}

// OpenArtifact returns the packed artifact with this digest.
func OpenArtifact(ctx context.Context, blobs *blob.Bucket, digest string) (io.ReadCloser, error) {
	r, err := blobs.NewReader(ctx, artifactKey(digest), nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, fault.Missing("artifact", digest)
	}
	return r, err
}

func artifactKey(digest string) string { return "artifacts/" + strings.TrimPrefix(digest, "sha256:") }
