package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/local"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/runlog"
	"flywheel.dev/flywheel/internal/sandbox"
	"flywheel.dev/flywheel/internal/sandbox/proxy"
)

// Builder turns the source of an app into its artifact, once for a source, in the sandbox.
//
// `fetch` may reach the listed hosts through a proxy and gets no secret; `command` and `test` run
// without network. Toolchains are read-only mounts the platform declares. Each build has a cache of its own, which
// begins as a copy of what the build of the app's main left, see cache.go.
type Builder struct {
	DB      *db.DB
	Sandbox *sandbox.Sandbox
	Blobs   *blob.Bucket
	Logs    *runlog.Store
	Dir     string   // of caches and work folders
	Hosts   []string // that fetch may reach

	// Bring takes a new artifact to where it will run, while its tests still run. Whoever deploys it brings
	// it again where this did not happen.
	Bring func(ctx context.Context, digest string, archive io.Reader) error

	slots  chan struct{}
	caches chan struct{} // holds the turn of who changes or copies what is kept of caches
}

// NewBuilder returns a builder that runs at most two builds at a time.
func NewBuilder(b Builder) *Builder {
	b.slots, b.caches = make(chan struct{}, 2), make(chan struct{}, 1)
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

const (
	buildTimeout = 15 * time.Minute
	buildDisk    = 10 << 30 // bytes that the source with what is built from it and the cache may take
)

// Build returns the artifact of the source, from before or newly built and tested. A fault says which
// command failed and how.
func (b *Builder) Build(ctx context.Context, r BuildRequest) (result BuildResult, err error) {
	err = b.DB.Read(ctx, func(tx *db.Tx) (err error) { result.Digest, err = Artifact(tx, r.App, r.Source); return err })
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
		cache, app, err := b.begin(ctx, r, filepath.Dir(source))
		if err != nil {
			return err
		}
		if err := b.produce(ctx, r.Build, source, cache, log); err != nil {
			return errors.Join(err, b.dropFull(ctx, app, err))
		}
		file, digest, err := b.pack(r, source)
		if err != nil {
			return err
		}
		defer os.Remove(file.Name())
		defer file.Close()
		stop := b.bring(ctx, digest, file.Name())
		left, err := setAside(cache, r.Test) // before the tests can write to it
		if err == nil {
			err = b.test(ctx, r.Build, r.Test, source, cache, log)
		}
		if err != nil {
			stop()
			return errors.Join(err, b.dropFull(ctx, app, err))
		}
		result.Digest = digest
		return errors.Join(b.keep(ctx, r, digest, file), b.keepCache(ctx, left, app, r.Source))
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
	Pattern string // digest of the version
	Build   manifest.Build
	Test    manifest.Test
	Files   map[string][]byte // filled with words of an app
	Log     io.Writer
}

// BuildSkeleton builds and tests the skeleton as the first build of an app would. What the build cached, and not
// what the tests did, is kept for the apps that will begin with this version, which only a certified one can have.
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
		if err := os.Mkdir(cache, 0o700); err != nil { // empty: what another version left is not this one's
			return err
		}
		if err := b.produce(ctx, r.Build, source, cache, r.Log); err != nil {
			return err
		}
		left, err := setAside(cache, r.Test)
		if err != nil {
			return err
		}
		if err := b.test(ctx, r.Build, r.Test, source, cache, r.Log); err != nil {
			return err
		}
		if _, err := artifactDir(source, r.Build); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(kept), 0o700); err != nil {
			return err
		}
		if left != "" {
			if err := os.Rename(left, kept); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
		}
		return b.prune(ctx)
	})
	return fmt.Sprintf("builds, and its tests pass, in %.1f s", time.Since(began).Seconds()), err
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
	defer sandbox.RemoveAll(work)
	return build(filepath.Join(work, "source"))
}

// produce runs what the app declares to become its artifact, in the sandbox.
func (b *Builder) produce(ctx context.Context, build manifest.Build, source, cache string, log io.Writer) error {
	if err := b.command(ctx, build.Toolchains, source, cache, "fetch", build.Fetch, true, log); err != nil {
		return err
	}
	return b.command(ctx, build.Toolchains, source, cache, "command", build.Command, false, log)
}

// test runs the app's tests, where the build has left everything.
func (b *Builder) test(ctx context.Context, build manifest.Build, test manifest.Test, source, cache string, log io.Writer) error {
	return b.command(ctx, build.Toolchains, source, cache, "test", test.Command, false, log)
}

func short(digest string) string { return strings.TrimPrefix(digest, "sha256:")[:12] }

func (b *Builder) command(ctx context.Context, toolchains []string, source, cache, name, line string, online bool, log io.Writer) error {
	if line == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	fmt.Fprintf(log, "$ %s\n", line)
	spec := sandbox.Spec{
		Args: []string{"/bin/sh", "-c", line}, Dir: "/app",
		// The same flags in build and test: with others, Go would compile everything twice.
		Env:    []string{"HOME=" + sandbox.CacheDir + "/home", "XDG_CACHE_HOME=" + sandbox.CacheDir, "CI=true", "CGO_ENABLED=0", "GOFLAGS=-trimpath -buildvcs=false -mod=mod"},
		Binds:  []sandbox.Bind{{Source: source, Target: "/app", Writable: true}, {Source: cache, Target: sandbox.CacheDir, Writable: true}},
		Stdout: log, Stderr: log, Memory: 4 << 30, Processes: 2000, Disk: buildDisk,
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
		spec.Proxy = (&proxy.Proxy{Allow: hosts}).Serve
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
	case fault.Is(err, "sandbox.too_much_disk"), fault.Is(err, "sandbox.too_deep"), fault.Is(err, "sandbox.closed_folder"):
		return err
	case ctx.Err() != nil:
		return fault.New(fault.Invalid, "build.timeout", "`%s` did not end within %s.", line, buildTimeout)
	case errors.As(err, &exit):
		return fault.New(fault.Invalid, "build."+name+"_failed", "`%s` failed: %s.", line, exit)
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

// pack packs the built files: what the build left, before the tests may add to it.
func (b *Builder) pack(r BuildRequest, source string) (file *os.File, digest string, err error) {
	dir, err := artifactDir(source, r.Build)
	if err != nil {
		return nil, "", err
	}
	if file, err = os.CreateTemp(b.Dir, "artifact-"); err != nil {
		return nil, "", err
	}
	if digest, err = local.PackDir(file, dir); err != nil {
		file.Close()
		os.Remove(file.Name())
	}
	return file, digest, err
}

// bringTimeout bounds what is only there to save time later.
const bringTimeout = 2 * time.Minute

// bring begins to bring the packed artifact, which goes on when the build has ended unless it is stopped.
func (b *Builder) bring(ctx context.Context, digest, name string) (stop func()) {
	if b.Bring == nil {
		return func() {}
	}
	archive, err := os.Open(name) // a file of its own, which stays when the name is removed
	if err != nil {
		return func() {}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bringTimeout)
	go func() {
		defer cancel()
		defer archive.Close()
		_ = b.Bring(ctx, digest, archive) // what is wrong with the target, the deployment will say
	}()
	return cancel
}

// keep puts the packed artifact into the blob store under its digest, as what this source becomes.
func (b *Builder) keep(ctx context.Context, r BuildRequest, digest string, file io.ReadSeeker) error {
	size, err := PutArtifact(ctx, b.Blobs, digest, file)
	if err != nil {
		return err
	}
	return b.DB.Write(ctx, func(tx *db.Tx) error { return saveArtifact(tx, r.Source, r.App, digest, size) })
}

const uploadLimit = 512 << 20

// Upload stores an artifact that was packed elsewhere: for an app by its outer CI, or for no app by somebody whose
// pattern runs it beside the app's own. It returns its digest and its size in bytes.
func (b *Builder) Upload(ctx context.Context, name string, archive io.Reader) (digest string, size int64, err error) {
	err = b.DB.Read(ctx, func(tx *db.Tx) error {
		if name == "" {
			return account.From(ctx).Require(account.DevelopPattern, "")
		}
		team, err := Team(tx, name)
		if err != nil {
			return err
		}
		return account.From(ctx).RequireOf(account.UploadArtifact, team, "app", name)
	})
	if err != nil {
		return "", 0, err
	}
	if err := os.MkdirAll(b.Dir, 0o700); err != nil {
		return "", 0, err
	}
	file, err := os.CreateTemp(b.Dir, "upload-")
	if err != nil {
		return "", 0, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	sum := sha256.New()
	size, err = io.Copy(io.MultiWriter(file, sum), io.LimitReader(archive, uploadLimit+1))
	var onDisk *fs.PathError // everything else is the client's: it went away, or sent what is no body
	switch {
	case errors.As(err, &onDisk):
		return "", 0, err
	case err != nil:
		return "", 0, fault.New(fault.Invalid, "request.malformed", "The body cannot be read.").Because(err)
	case size > uploadLimit:
		return "", 0, fault.New(fault.TooLarge, "request.too_large", "The artifact is larger than %d MiB.", uploadLimit>>20)
	case size == 0:
		return "", 0, fault.New(fault.Invalid, "artifact.empty", "The artifact is empty.").Do("Send a gzipped tar archive as the body.")
	}
	digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	if size, err = PutArtifact(ctx, b.Blobs, digest, file); err != nil {
		return "", 0, err
	}
	return digest, size, b.DB.Write(ctx, func(tx *db.Tx) error {
		if err := saveUpload(tx, name, digest); err != nil {
			return err
		}
		return account.Audit(tx, account.Entry{Action: "artifact.upload", Subject: digest, Decision: "allowed", Reason: name})
	})
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

// KeepOuter records that an outer CI built the artifact from the source, unless one was built from it before, and
// returns the one that counts.
func KeepOuter(tx *db.Tx, source, name, digest string) (string, error) {
	if before, err := Artifact(tx, name, source); err != nil || before != "" {
		return before, err
	}
	return digest, saveArtifact(tx, source, name, digest, 0)
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
