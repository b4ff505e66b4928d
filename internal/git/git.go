// Package git hosts the repositories of apps and patterns: smart HTTP in front of `git http-backend`,
// protection of main, the answer on the pusher's terminal, and the operations other packages need on
// a bare repository (merge, revert, export, diff, …).
//
// Everything goes through the git program, never through a library: people's clients, hooks and the
// platform then agree on every corner of the format. Git is run with an empty environment and the
// settings of Host.config only; a repository's own configuration holds nothing that Flywheel needs,
// so that restoring or copying a repository loses nothing.
//
// Who may write what is decided in the server, which reads the list of commands of a push before git
// runs (receive.go). A push that touches protected refs only never reaches git. A mixed push does,
// and the `update` hook asks the server again, ref by ref; without an answer it refuses. What was
// pushed by whom is recorded before a ref moves (store.go), so that no crash can hide an author.
//
// Only objects' ids are given to git as revisions, after Resolve checked them: no name that a person
// chose can be taken for an option.
//
// Deliberately absent: working copies, ssh, the dumb HTTP protocol, and what a push means (package
// change finds out, through Host.Pushed).
package git

import (
	"context"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
)

// Main is the protected branch of every repository.
const Main = "main"

const zeroOID = "0000000000000000000000000000000000000000"

// Kind tells the repositories of apps from those of patterns.
type Kind string

// The kinds of repositories, as they stand in URLs and folders.
const (
	Apps     Kind = "apps"
	Patterns Kind = "patterns"
)

// Repo names one repository.
type Repo struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name"`
}

// App returns the repository of an app.
func App(name string) Repo { return Repo{Apps, name} }

// Pattern returns the repository of a pattern.
func Pattern(name string) Repo { return Repo{Patterns, name} }

// String returns the repository as in its URL, for example "apps/storefront".
func (r Repo) String() string { return string(r.Kind) + "/" + r.Name }

// Path returns the path of the repository's URL.
func (r Repo) Path() string { return "/git/" + r.String() + ".git" }

// Identity is a name and an address as a commit shows them. It is display only (rule of change 10).
type Identity struct {
	Name  string `json:"name"`
	Email string `json:"email"`
}

// Platform is the committer of everything Flywheel commits.
var Platform = Identity{"Flywheel", "flywheel@flywheel.invalid"}

// Host keeps the repositories below Root. Fill the fields, call Start, serve it below /git/ and call
// Close at the end. The repository operations need Root only.
type Host struct {
	Root      string // folder of the repositories
	Run       string // folder for the socket and the hooks of this process; needed by Start
	Self      string // the flywheel binary that the hooks execute; default: this program
	DB        *db.DB // where pushers are recorded; nil records nothing (tests)
	PushLimit int64  // bytes a push may have; default 512 MiB
	TreeLimit int64  // bytes an exported tree may have; default 2 GiB
	Logger    *slog.Logger

	// Authenticate returns the context of the person whom the token stands for.
	Authenticate func(ctx context.Context, user, token string) (context.Context, error)
	// Authorize returns a fault if the person may not read, or write, the repository.
	Authorize func(ctx context.Context, repo Repo, write bool) error
	// Person returns the id of the person in a context that Authenticate returned, "" for nobody.
	Person func(ctx context.Context) string
	// Pushed is told what a push did and returns the lines for the pusher's terminal.
	Pushed func(ctx context.Context, push Push) []string

	hooks    string // core.hooksPath of this process
	socket   string
	pushes   sessions
	teardown []func()
}

// Push is what one push changed, refused refs left out.
type Push struct {
	Repo    Repo
	Updates []RefUpdate
}

// RefUpdate is one branch that a push moved.
type RefUpdate struct {
	Ref   string // refs/heads/…
	Old   string // "" if the branch is new
	New   string // "" if the branch is gone
	Ahead int    // commits that main does not have
}

// Branch returns the name of the branch.
func (u RefUpdate) Branch() string { return strings.TrimPrefix(u.Ref, "refs/heads/") }

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// Check returns a fault unless the repository has a name that is safe as a folder and in a URL.
func (r Repo) Check() error {
	if r.Kind != Apps && r.Kind != Patterns || len(r.Name) < 2 || len(r.Name) > 40 || !namePattern.MatchString(r.Name) {
		return fault.New(fault.Invalid, "repository.name_invalid", "%q cannot be the name of a repository.", r.String()).
			Do("Use apps/<name> or patterns/<name>, with 2 to 40 lower case letters, digits and single hyphens.")
	}
	return nil
}

func (h *Host) dir(r Repo) string { return filepath.Join(h.Root, string(r.Kind), r.Name+".git") }

// Exists reports whether the repository is there.
func (h *Host) Exists(r Repo) bool {
	if r.Check() != nil {
		return false
	}
	_, err := os.Stat(filepath.Join(h.dir(r), "HEAD"))
	return err == nil
}

// List returns all repositories, apps first, by name.
func (h *Host) List() ([]Repo, error) {
	var list []Repo
	for _, kind := range []Kind{Apps, Patterns} {
		entries, err := os.ReadDir(filepath.Join(h.Root, string(kind)))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			name, isRepo := strings.CutSuffix(e.Name(), ".git")
			if r := (Repo{kind, name}); isRepo && h.Exists(r) {
				list = append(list, r)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Repo) int { return strings.Compare(a.String(), b.String()) })
	return list, nil
}

// Create makes a bare repository whose main has one commit with the files, and returns that commit.
// The repository appears whole or not at all.
func (h *Host) Create(ctx context.Context, r Repo, author Identity, files fs.FS, message string) (string, error) {
	var sha string
	err := h.appear(ctx, r, func(dir string) error {
		contents, err := readAll(files)
		if err != nil {
			return err
		}
		sha, err = h.commit(ctx, dir, "", contents, author, message, "refs/heads/"+Main, zeroOID, func(string) error { return nil })
		return err
	})
	return sha, err
}

// appear makes an empty repository in a folder beside, lets fill work on it, and moves it in place.
func (h *Host) appear(ctx context.Context, r Repo, fill func(dir string) error) error {
	if err := r.Check(); err != nil {
		return err
	}
	taken := fault.New(fault.Conflict, "repository.name_taken", "There is already a repository %s.", r)
	if h.Exists(r) {
		return taken
	}
	parent := filepath.Dir(h.dir(r))
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(parent, ".new-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) // nothing is left there after the move
	if _, err := h.git(ctx, dir, nil, "init", "--bare", "--quiet", "--initial-branch="+Main, "--template="); err != nil {
		return err
	}
	if err := fill(dir); err != nil {
		return err
	}
	if err := os.Rename(dir, h.dir(r)); err != nil {
		if h.Exists(r) {
			return taken
		}
		return err
	}
	return syncDir(parent)
}

// Delete removes a repository and what is recorded about it. One that is not there is no error.
func (h *Host) Delete(ctx context.Context, r Repo) error {
	if err := r.Check(); err != nil {
		return err
	}
	if h.DB != nil {
		if err := h.DB.Write(ctx, func(tx *db.Tx) error { return deletePushes(tx, r) }); err != nil {
			return err
		}
	}
	// Moved away first: a reader finds the whole repository or none.
	trash, err := os.MkdirTemp(h.Root, ".gone-*")
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer os.RemoveAll(trash)
	if err := os.Rename(h.dir(r), filepath.Join(trash, "repository")); err != nil && !os.IsNotExist(err) {
		return err
	}
	return syncDir(filepath.Dir(h.dir(r)))
}

// Maintain packs what has grown loose, repository by repository. Pushes never do it themselves, so
// that nobody waits for it. Of two replicas that do it at once, git lets one.
func (h *Host) Maintain(ctx context.Context) error {
	list, err := h.List()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	for _, r := range list {
		if _, err := h.git(ctx, h.dir(r), nil, "gc", "--auto", "--quiet"); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

var _ http.Handler = (*Host)(nil)
