package pattern

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing/fstest"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/git"
	"flywheel.dev/flywheel/internal/local"
	"flywheel.dev/flywheel/internal/manifest"
)

// Service keeps the catalogue.
type Service struct {
	DB    *db.DB
	Git   *git.Host
	Blobs *blob.Bucket
	Dir   string // where versions are unpacked, one folder a digest

	BaseURL string // of the pages, which repositories are below

	// Feedback against the import order, from package change: the id of the change that a branch became, and
	// the pattern that an open pattern change is about.
	Opened func(ctx context.Context, pattern, branch, head string) (change string, err error)
	About  func(tx *db.Tx, change string) (pattern string, err error)
	// Proposed returns the versions that open changes of a pattern would publish, draft or in review, the
	// newest first. They are shown and never used: Resolve does not know them.
	Proposed func(tx *db.Tx, pattern string) ([]Version, error)
}

// Resolve returns the newest certified version in the range.
func (s *Service) Resolve(tx *db.Tx, name, wanted string) (Version, error) {
	list, err := s.Versions(tx, name)
	if err != nil {
		return Version{}, err
	}
	return Newest(name, wanted, list)
}

// Versions returns all versions of a pattern, in whatever state, the first one first.
func (s *Service) Versions(tx *db.Tx, name string) ([]Version, error) {
	if _, err := find(tx, name); err != nil {
		return nil, err
	}
	return versions(tx, name)
}

// ByDigest returns the version with this content, whatever its state.
func (s *Service) ByDigest(tx *db.Tx, digest string) (Version, error) { return byDigest(tx, digest) }

// Recommended returns the version a new app gets: the recommended one, else the newest certified.
func (s *Service) Recommended(tx *db.Tx, name string) (Version, error) {
	list, err := s.Versions(tx, name)
	if err != nil {
		return Version{}, err
	}
	for _, v := range list {
		if v.Recommended && v.State == Certified {
			return v, nil
		}
	}
	return Newest(name, "*", list)
}

// Outdated returns the version that an instance running on this one should move to, or "".
func (s *Service) Outdated(tx *db.Tx, name, running string) (string, error) {
	list, err := versions(tx, name)
	return Outdated(running, list), err
}

// Propose returns the version that the content of dir would be, compared with the newest published one.
func (s *Service) Propose(ctx context.Context, name, dir string) (p Proposal, err error) {
	m, itself, err := read(dir)
	if err != nil {
		return p, err
	}
	if p.Digest, err = Digest(dir); err != nil {
		return p, err
	}
	var list []Version
	if err := s.DB.Read(ctx, func(tx *db.Tx) error { list, err = versions(tx, name); return err }); err != nil {
		return p, err
	}
	old := latest(list)
	p.Manifest, p.Interface, p.Approvals = m, itself, approvals(old.Manifest, m)
	if old.Version == "" {
		p.Version, p.Bump, p.Reasons = "1.0.0", "major", []string{"the first version"}
		return p, nil
	}
	// What an earlier Flywheel stored lacks what that one did not read, so it is read again where it still can be.
	if content, err := s.Unpack(ctx, old.Digest); err == nil {
		if _, again, err := read(content); err == nil {
			old.Interface = again
		}
	}
	p.Bump, p.Reasons = Compare(old.Interface, itself)
	p.Version, err = NextVersion(old.Version, p.Bump)
	return p, err
}

// read returns the manifest and the interface of the module in dir.
func read(dir string) (*manifest.Pattern, Interface, error) {
	content, err := os.ReadFile(filepath.Join(dir, "pattern.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Interface{}, fault.New(fault.Invalid, "manifest.missing", "There is no pattern.yaml at the root of the pattern.").Do("Add it; `flywheel validate` checks it.")
	}
	if err != nil {
		return nil, Interface{}, err
	}
	m, err := manifest.ParsePattern("pattern.yaml", content)
	if err != nil {
		return nil, Interface{}, err
	}
	if folder := m.Spec.Skeleton; folder != "" {
		if info, err := os.Stat(filepath.Join(dir, filepath.Clean("/"+folder))); err != nil || !info.IsDir() {
			return nil, Interface{}, fault.New(fault.Invalid, "pattern.skeleton_missing", "There is no folder %q, which pattern.yaml names as the skeleton.", folder).Do("Add it, or take `skeleton` out.")
		}
	}
	i, err := ReadInterface(dir, m)
	return m, i, err
}

// Add stores the content of dir as a version that nothing may use before it is certified, and returns it. Adding the same content again
// returns the version that is there.
func (s *Service) Add(ctx context.Context, name, number, dir, commit string) (v Version, err error) {
	m, itself, err := read(dir)
	if err != nil {
		return v, err
	}
	digest, err := Digest(dir)
	if err != nil {
		return v, err
	}
	var packed bytes.Buffer
	if _, err := local.PackDir(&packed, dir); err != nil {
		return v, err
	}
	if err := s.Blobs.Upload(ctx, key(digest), &packed, &blob.WriterOptions{ContentType: "application/gzip"}); err != nil {
		return v, err
	}
	readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return v, err
	}
	v = Version{ID: db.NewID("ptv"), Pattern: name, Version: number, Digest: digest, State: InReview, Manifest: m, Interface: itself, Readme: string(readme), Commit: commit}
	err = s.DB.Write(ctx, func(tx *db.Tx) error { v, err = insertVersion(tx, v); return err })
	return v, err
}

func key(digest string) string { return "patterns/" + strings.TrimPrefix(digest, "sha256:") }

// Certify makes a version certified and, unless it is breaking on live instances, recommended, as the outcome of a
// pattern change. A retired or deprecated version does not come back this way.
func (s *Service) Certify(tx *db.Tx, v Version, change string) error {
	now, err := takeVersion(tx, v.Pattern, v.Version)
	if err != nil {
		return err
	}
	if now.Digest != v.Digest || now.State == Deprecated || now.State == Retired {
		return fault.New(fault.Conflict, "pattern.state", "%s %s is %s and cannot be certified by a change.", v.Pattern, v.Version, now.State)
	}
	if err := setState(tx, v, Certified); err != nil {
		return err
	}
	if _, err := tx.Exec(`update pattern_version set change = $2, breaking = $3 where id = $1`, v.ID, change, v.Breaking); err != nil {
		return err
	}
	if _, err := tx.Exec(`update pattern set owner = $2 where name = $1`, v.Pattern, v.Manifest.Owner()); err != nil {
		return err
	}
	if v.Breaking == "" {
		if err := recommend(tx, v); err != nil {
			return err
		}
	}
	if err := event.Emit(tx, event.PatternCertified{Pattern: v.Pattern, Version: v.Version, Digest: v.Digest, Change: change}); err != nil {
		return err
	}
	if err := s.fulfil(tx, v, change); err != nil {
		return err
	}
	return account.Audit(tx, account.Entry{Action: "pattern.certify", Subject: v.Pattern + " " + v.Version, Decision: "allowed", Reason: change})
}

// Unpack returns a folder with the content of the version with this digest. The folder is shared and
// must not be written to.
func (s *Service) Unpack(ctx context.Context, digest string) (string, error) {
	dir := filepath.Join(s.Dir, strings.TrimPrefix(digest, "sha256:"))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	r, err := s.Blobs.NewReader(ctx, key(digest), nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return "", missingVersion(digest)
	}
	if err != nil {
		return "", err
	}
	defer r.Close()
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(s.Dir, ".unpack-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := local.UnpackDir(tmp, r); err != nil {
		return "", err
	}
	// Somebody else may have been faster with the same content.
	if err := os.Rename(tmp, dir); err != nil {
		if _, there := os.Stat(dir); there == nil {
			return dir, nil
		}
		return "", err
	}
	return dir, nil
}

// Skeleton returns the starter files of a version, by their path in the new repository.
func (s *Service) Skeleton(ctx context.Context, v Version) (map[string][]byte, error) {
	if v.Manifest.Spec.Skeleton == "" {
		return nil, fault.New(fault.Conflict, "pattern.no_skeleton", "%s %s has no skeleton to begin an app with.", v.Pattern, v.Version).
			Do("Whoever develops it adds a folder skeleton/ with a flywheel.yaml, names it as spec.skeleton in pattern.yaml and pushes that; others ask for one: flywheel pattern request create.")
	}
	dir, err := s.Unpack(ctx, v.Digest)
	if err != nil {
		return nil, err
	}
	return ReadSkeleton(dir, v.Manifest)
}

// ReadSkeleton returns the starter files of the pattern in a folder, by their path in the repository of a
// new app.
func ReadSkeleton(dir string, m *manifest.Pattern) (map[string][]byte, error) {
	root := filepath.Join(dir, filepath.Clean("/"+m.Spec.Skeleton))
	files := map[string][]byte{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		// go.mod would make the skeleton a module of the pattern's own repository; its name has a suffix there.
		files[strings.TrimSuffix(filepath.ToSlash(rel), ".skeleton")], err = os.ReadFile(path)
		return err
	})
	return files, err
}

// Create makes a pattern with its repository, and the change that brings its first content. The pattern
// has no version until that change is certified.
func (s *Service) Create(ctx context.Context, name, title string, files map[string][]byte) (change string, err error) {
	if err := account.From(ctx).Require(account.CreatePattern, ""); err != nil {
		return "", err
	}
	if err := git.Pattern(name).Check(); err != nil {
		return "", fault.New(fault.Invalid, "pattern.name_invalid", "%q cannot be the name of a pattern.", name).
			Do("Use 2 to 40 lower case letters, digits and single hyphens, beginning with a letter.").At("name", "not a valid name")
	}
	if content, there := files["pattern.yaml"]; len(files) > 0 && !there {
		return "", fault.New(fault.Invalid, "manifest.missing", "There is no pattern.yaml among the files, so this is no pattern.").Do("Name the folder that holds it, or leave the files out and push them later.")
	} else if p, err := manifest.ParsePattern("pattern.yaml", content); err == nil && p.Metadata.Name != name {
		return "", fault.New(fault.Invalid, "manifest.name_differs", "pattern.yaml describes %q, and the pattern is to be named %q.", p.Metadata.Name, name).Do("Let both be the same.")
	}
	if title == "" {
		// What is wrong with the file is said by the checks of the change that brings it.
		if p, err := manifest.ParsePattern("pattern.yaml", files["pattern.yaml"]); err == nil {
			title = p.Metadata.Title
		}
	}
	if title == "" {
		title = name
	}
	actor := account.From(ctx)
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := s.clear(tx, name); err != nil {
			return err
		}
		if err := insertPattern(tx, Pattern{Name: name, Title: title, Owner: manifest.CenterOfExcellence}, actor.ID); err != nil {
			return err
		}
		if err := event.Emit(tx, event.PatternCreated{Pattern: name}); err != nil {
			return err
		}
		return account.Audit(tx, account.Entry{Action: "pattern.create", Subject: name, Decision: "allowed"})
	})
	if err != nil {
		return "", err
	}
	author := git.Identity{Name: actor.Name, Email: actor.Name + "@users.flywheel.invalid"}
	main, err := s.Git.Create(ctx, git.Pattern(name), author, start(title), "Begin "+name)
	if err != nil {
		return "", errors.Join(err, s.undo(context.WithoutCancel(ctx), name, err))
	}
	if len(files) == 0 {
		return "", nil
	}
	head, err := s.Git.CommitFiles(ctx, git.Pattern(name), "create", main, files, "Add "+name, author)
	if err == nil {
		change, err = s.Opened(ctx, name, "create", head)
	}
	if err != nil {
		return "", errors.Join(err, s.undo(context.WithoutCancel(ctx), name, err))
	}
	return change, nil
}

// clear frees a name that a pattern only holds because the process died before its repository was there.
func (s *Service) clear(tx *db.Tx, name string) error {
	old, err := find(tx, name)
	if fault.Is(err, "pattern.not_found") {
		return nil
	}
	if err != nil || s.Git.Exists(git.Pattern(name)) || tx.Now().Sub(old.CreatedAt) < time.Minute {
		return err
	}
	return deletePattern(tx, name)
}

// undo takes back a pattern that could not be begun, so that nothing half-done stays. A repository that
// was there before is not its own.
func (s *Service) undo(ctx context.Context, name string, cause error) error {
	if !fault.Is(cause, "repository.name_taken") {
		if err := s.Git.Delete(ctx, git.Pattern(name)); err != nil {
			return err
		}
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error { return deletePattern(tx, name) })
}

// Summary is a pattern with its newest versions, for lists.
type Summary struct {
	Pattern
	Recommended string    `json:"recommended,omitempty"`
	Versions    []Version `json:"versions"`
	Repository  string    `json:"repository,omitempty"`
}

// List returns the patterns by name, after a cursor, with their versions.
func (s *Service) List(ctx context.Context, after string, limit int) (list []Summary, err error) {
	if err := account.From(ctx).Require(account.ViewPattern, ""); err != nil {
		return nil, err
	}
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		patterns, err := all(tx, after, limit)
		if err != nil {
			return err
		}
		list = []Summary{}
		for _, p := range patterns {
			one, err := s.summary(tx, p)
			if err != nil {
				return err
			}
			list = append(list, one)
		}
		return nil
	})
	return list, err
}

// Get returns a pattern with its versions.
func (s *Service) Get(ctx context.Context, name string) (found Summary, err error) {
	if err := account.From(ctx).Require(account.ViewPattern, ""); err != nil {
		return found, err
	}
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		p, err := find(tx, name)
		if err != nil {
			return err
		}
		found, err = s.summary(tx, p)
		return err
	})
	return found, err
}

// summary adds the versions of a pattern, the newest first.
func (s *Service) summary(tx *db.Tx, p Pattern) (one Summary, err error) {
	one.Pattern, one.Repository = p, s.BaseURL+git.Pattern(p.Name).Path()
	if one.Versions, err = versions(tx, p.Name); err != nil {
		return one, err
	}
	slices.Reverse(one.Versions)
	proposed, err := s.Proposed(tx, p.Name)
	if err != nil {
		return one, err
	}
	// While an approved change is published, its version is stored already.
	proposed = slices.DeleteFunc(proposed, func(p Version) bool {
		return slices.ContainsFunc(one.Versions, func(v Version) bool { return v.Version == p.Version && v.Digest == p.Digest })
	})
	one.Versions = append(proposed, one.Versions...)
	for i, v := range one.Versions {
		if v.Recommended {
			one.Recommended = v.Version
		}
		one.Versions[i].Readme = "" // long; the version itself has it
	}
	return one, nil
}

// GetVersion returns one version of a pattern, published or proposed. Of two changes that would publish the
// same number it is that of the newer one.
func (s *Service) GetVersion(ctx context.Context, name, number string) (v Version, err error) {
	if err := account.From(ctx).Require(account.ViewPattern, ""); err != nil {
		return v, err
	}
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		if v, err = findVersion(tx, name, number); !fault.Is(err, "pattern_version.not_found") {
			return err
		}
		missing := err
		proposed, err := s.Proposed(tx, name)
		if i := slices.IndexFunc(proposed, func(p Version) bool { return p.Version == number }); i >= 0 {
			v = proposed[i]
			return err
		}
		return cmp.Or(err, missing)
	})
	return v, err
}

// Move takes a version to another state: deprecate or retire it, or take that back.
func (s *Service) Move(ctx context.Context, name, number string, to State) (v Version, err error) {
	if err := account.From(ctx).Require(account.CuratePattern, ""); err != nil {
		return v, err
	}
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if v, err = takeVersion(tx, name, number); err != nil {
			return err
		}
		if !slices.Contains(next[v.State], to) {
			f := fault.New(fault.Conflict, "pattern.state", "%s %s is %s and cannot become %s.", name, number, v.State, to)
			switch {
			case to == Retired && v.State == Certified:
				return f.Do("Deprecate it first: flywheel pattern deprecate %s %s.", name, number)
			case v.State == to:
				return f.Do("There is nothing to do: it is that already.")
			}
			return f.Do("A version is certified by approving the change that brings it; afterwards it is deprecated, and then retired.")
		}
		if err := setState(tx, v, to); err != nil {
			return err
		}
		v.State, v.Recommended = to, v.Recommended && to == Certified
		if err := event.Emit(tx, event.PatternMoved{Pattern: name, Version: number, State: string(to)}); err != nil {
			return err
		}
		return account.Audit(tx, account.Entry{Action: "pattern." + string(to), Subject: name + " " + number, Decision: "allowed"})
	})
	return v, err
}

// Recommend makes a certified version the recommended one.
func (s *Service) Recommend(ctx context.Context, name, number string) (v Version, err error) {
	if err := account.From(ctx).Require(account.CuratePattern, ""); err != nil {
		return v, err
	}
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if v, err = takeVersion(tx, name, number); err != nil {
			return err
		}
		if v.State != Certified {
			return fault.New(fault.Conflict, "pattern.not_certified", "%s %s is %s; only a certified version can be recommended.", name, number, v.State).Do("Certify it first, or recommend another one.")
		}
		if err := recommend(tx, v); err != nil {
			return err
		}
		v.Recommended = true
		return account.Audit(tx, account.Entry{Action: "pattern.recommend", Subject: name + " " + number, Decision: "allowed"})
	})
	return v, err
}

func start(title string) fs.FS {
	return fstest.MapFS{"README.md": {Data: fmt.Appendf(nil, "# %s\n", title)}}
}
