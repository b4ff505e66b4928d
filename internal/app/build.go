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
// and is shown to its builds only. A new app's cache begins as a copy of the one that the skeleton of its
// certified pattern left behind, so that its first build does not compile the standard library anew.
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
	App     string
	Pattern string // digest of its pattern version, whose skeleton's cache a first build begins with
	Source  string // digest of the source; an artifact is built once for each
	Log     string // name of the log
	Build   manifest.Build
	Test    manifest.Test
	Export  func(ctx context.Context, dir string) error // puts the source into a folder
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
	log, err := b.Logs.Open(r.Log)
	if err != nil {
		return result, err
	}
	defer log.Close()
	began := time.Now()
	err = b.inWork(ctx, func(source string) error {
		if err := r.Export(ctx, source); err != nil {
			return err
		}
		cache := filepath.Join(b.Dir, "cache", r.App)
		if err := b.begin(cache, r.Pattern); err != nil {
			return err
		}
		if err := b.commands(ctx, r.Build, r.Test, source, cache, log); err != nil {
			return err
		}
		result.Digest, err = b.pack(ctx, r, source)
		return err
	})
	if err != nil {
		return result, err
	}
	result.Summary = fmt.Sprintf("built and tested in %.1f s: %s", time.Since(began).Seconds(), short(result.Digest))
	fmt.Fprintln(log, result.Summary)
	return result, nil
}

// SkeletonRequest names the skeleton of a pattern version that is being certified.
type SkeletonRequest struct {
	Pattern  string // digest of the version
	Previous string // digest of the recommended version, whose skeleton's cache this build begins with
	Build    manifest.Build
	Test     manifest.Test
	Files    map[string][]byte // filled with words of an app
	Log      io.Writer
}

// BuildSkeleton builds and tests the skeleton as the first build of an app would. What the build cached
// is kept for the apps that will begin with this version, which only a certified one can have.
func (b *Builder) BuildSkeleton(ctx context.Context, r SkeletonRequest) (summary string, err error) {
	kept := b.seed(r.Pattern)
	if _, err := os.Stat(kept); err == nil {
		return "built and tested before", nil
	}
	began := time.Now()
	err = b.inWork(ctx, func(source string) error {
		for name, content := range r.Files {
			file := filepath.Join(source, filepath.FromSlash(path.Clean("/"+name)))
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(file, content, 0o755); err != nil {
				return err
			}
		}
		cache := filepath.Join(filepath.Dir(source), "cache")
		if err := b.begin(cache, r.Previous); err != nil {
			return err
		}
		if err := b.commands(ctx, r.Build, r.Test, source, cache, r.Log); err != nil {
			return err
		}
		if _, err := artifactDir(source, r.Build); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(kept), 0o700); err != nil {
			return err
		}
		if err := os.Rename(cache, kept); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		return b.prune(ctx)
	})
	return fmt.Sprintf("builds, and its tests pass, in %.1f s", time.Since(began).Seconds()), err
}

// seed is the folder with what building the skeleton of this pattern version cached.
func (b *Builder) seed(digest string) string {
	return filepath.Join(b.Dir, "skeleton", strings.TrimPrefix(digest, "sha256:"))
}

// begin makes the cache folder where there is none yet, as a copy of the skeleton's if that is known. A
// copy, because the builds of an app write into it.
func (b *Builder) begin(cache, pattern string) error {
	if _, err := os.Stat(cache); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(cache), 0o700); err != nil {
		return err
	}
	from := b.seed(pattern)
	if _, err := os.Stat(from); pattern == "" || err != nil {
		return os.MkdirAll(cache, 0o700)
	}
	half := cache + ".half" // one that was killed in the middle is not taken for a whole one
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	if err := os.CopyFS(half, os.DirFS(from)); err != nil {
		return err
	}
	return os.Rename(half, cache)
}

// keepSeeds is how long the cache of a skeleton is kept whose version was not published.
const keepSeeds = 14 * 24 * time.Hour

// prune removes what skeletons of versions cached that were never published.
func (b *Builder) prune(ctx context.Context) error {
	entries, err := os.ReadDir(filepath.Join(b.Dir, "skeleton"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || time.Since(info.ModTime()) < keepSeeds {
			continue
		}
		var published bool
		err = b.DB.Read(ctx, func(tx *db.Tx) error {
			return tx.QueryRow(`select exists (select 1 from pattern_version where digest = $1)`, "sha256:"+e.Name()).Scan(&published)
		})
		if err != nil {
			return err
		}
		if !published {
			if err := os.RemoveAll(b.seed(e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// inWork runs a build in a folder of its own, source, beside which it may keep more, and removes all.
func (b *Builder) inWork(ctx context.Context, build func(source string) error) error {
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := os.MkdirAll(b.Dir, 0o700); err != nil {
		return err
	}
	work, err := os.MkdirTemp(b.Dir, "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	return build(filepath.Join(work, "source"))
}

// commands runs what the app declares, in the sandbox. The first that fails ends it.
func (b *Builder) commands(ctx context.Context, build manifest.Build, test manifest.Test, source, cache string, log io.Writer) error {
	for _, c := range []struct {
		name, line string
		online     bool
	}{{"fetch", build.Fetch, true}, {"command", build.Command, false}, {"test", test.Command, false}} {
		if c.line == "" {
			continue
		}
		if err := b.command(ctx, build.Toolchains, source, cache, c.name, c.line, c.online, log); err != nil {
			return err
		}
	}
	return nil
}

func short(digest string) string { return strings.TrimPrefix(digest, "sha256:")[:12] }

func (b *Builder) command(ctx context.Context, toolchains []string, source, cache, name, line string, online bool, log io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	fmt.Fprintf(log, "$ %s\n", line)
	spec := sandbox.Spec{
		Args: []string{"/bin/sh", "-c", line}, Dir: "/app",
		// The same flags in build and test: with others, Go would compile everything twice.
		Env:    []string{"HOME=" + sandbox.CacheDir + "/home", "XDG_CACHE_HOME=" + sandbox.CacheDir, "CI=true", "CGO_ENABLED=0", "GOFLAGS=-trimpath -buildvcs=false -mod=mod"},
		Binds:  []sandbox.Bind{{Source: source, Target: "/app", Writable: true}, {Source: cache, Target: sandbox.CacheDir, Writable: true}},
		Stdout: log, Stderr: log, Memory: 4 << 30, Processes: 2000,
	}
	hosts := slices.Clone(b.Hosts)
	for _, name := range toolchains {
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

// artifactDir returns the folder with the built files.
func artifactDir(source string, build manifest.Build) (string, error) {
	// Clean with a leading slash cannot climb out of the source.
	dir := filepath.Join(source, path.Clean("/"+build.Artifact))
	if entries, err := os.ReadDir(dir); err != nil || len(entries) == 0 {
		return "", fault.New(fault.Invalid, "build.no_artifact", "The build left nothing in %q.", build.Artifact).Do("Correct build.artifact in flywheel.yaml, or the build command.")
	}
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	if root, err := filepath.EvalSymlinks(source); err != nil || !strings.HasPrefix(resolved+"/", root+"/") {
		return "", fault.New(fault.Invalid, "build.artifact_outside", "The artifact folder %q leads out of the app.", build.Artifact)
	}
	return resolved, nil
}

// pack puts the built files into the blob store under their digest.
func (b *Builder) pack(ctx context.Context, r BuildRequest, source string) (string, error) {
	dir, err := artifactDir(source, r.Build)
	if err != nil {
		return "", err
	}
	file, err := os.CreateTemp(b.Dir, "artifact-")
	if err != nil {
		return "", err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	digest, err := local.PackDir(file, dir)
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
