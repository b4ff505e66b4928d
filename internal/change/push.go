package change

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/rs/xid"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/git"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/pattern"
)

// Folder is the whole content of an app or a pattern, as a person without git sends it.
type Folder struct {
	Branch  string            `json:"branch,omitempty" maxLength:"200" doc:"The branch that gets it; if left out the one of your open change, or a new one"`
	Message string            `json:"message,omitempty" maxLength:"2000" doc:"What it is about"`
	Files   map[string]string `json:"files" doc:"Every text file by its path; what is not among them is taken out"`
}

// folderPrefix begins the branches of folders that were pushed without git.
const folderPrefix = "folder-"

// PushFolder puts a folder on a branch, as a push with git would, and returns the change that it became: the open one
// that the actor has there already, or a new one.
func (s *Service) PushFolder(ctx context.Context, repo git.Repo, in Folder) (c Change, err error) {
	name := "flywheel.yaml"
	if repo.Kind == git.Patterns {
		name = "pattern.yaml"
	}
	branch := in.Branch
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		if err := s.mayPush(tx, repo); err != nil || branch != "" {
			return err
		}
		branch, err = ownBranch(tx, repo)
		return err
	})
	if err != nil {
		return c, err
	}
	content, there := in.Files[name]
	if !there {
		return c, fault.New(fault.Invalid, "manifest.missing", "There is no %s in the folder.", name).Do("Name the folder that holds it at its root.").At("files", "without %s", name)
	}
	if said := namedIn(repo, []byte(content)); said != repo.Name {
		return c, fault.New(fault.Invalid, "manifest.name_differs", "%s describes %q, but this is %q.", name, said, repo.Name).Do("Set metadata.name to %s.", repo.Name)
	}
	heads, err := s.Git.Heads(ctx, repo)
	if err != nil {
		return c, err
	}
	if branch == git.Main {
		return c, fault.New(fault.Forbidden, "git.main_protected", "Main is protected: it moves only by a merge.").Do("Leave the branch out, or name another one.")
	}
	parent := cmp.Or(heads[branch], heads[git.Main])
	old, err := s.Git.ListTree(ctx, repo, parent)
	if err != nil {
		return c, err
	}
	files := map[string][]byte{}
	for _, e := range old {
		files[e.Path] = nil // taken out, unless the folder has it
	}
	for path, text := range in.Files {
		files[path] = []byte(text)
	}
	actor := account.From(ctx)
	message := strings.TrimSpace(in.Message)
	if message == "" {
		message = "Push the folder of " + repo.Name
	}
	head, err := s.Git.CommitFiles(ctx, repo, branch, parent, files, message, git.Identity{Name: actor.Name, Email: actor.Name + "@users.flywheel.invalid"})
	if err != nil {
		return c, err
	}
	id, err := s.Opened(ctx, repo, branch, head)
	if err != nil {
		return c, err
	}
	if err := s.DB.Read(ctx, func(tx *db.Tx) error { c, err = Find(tx, id); return err }); err != nil {
		return c, err
	}
	return s.laned(ctx, c), nil
}

// namedIn returns the name in a manifest. What is wrong with the rest of it, the checks of the change say.
func namedIn(repo git.Repo, content []byte) string {
	if repo.Kind == git.Patterns {
		if m, err := manifest.ParsePattern("pattern.yaml", content); err == nil {
			return m.Metadata.Name
		}
	} else if m, err := manifest.ParseApp("flywheel.yaml", content); err == nil {
		return m.Metadata.Name
	}
	return repo.Name
}

// mayPush refuses whoever may not push to the repository.
func (s *Service) mayPush(tx *db.Tx, repo git.Repo) error {
	actor := account.From(tx.Context())
	if repo.Kind == git.Patterns {
		if err := actor.Require(account.DevelopPattern, ""); err != nil {
			return err
		}
		return pattern.CheckKnown(tx, repo.Name)
	}
	a, err := app.Find(tx, repo.Name)
	if err != nil {
		return err
	}
	return actor.RequireOf(account.PushApp, a.Team, "app", repo.Name)
}

// ownBranch returns the branch of the only open change that the actor has in the repository, or a new one.
func ownBranch(tx *db.Tx, repo git.Repo) (string, error) {
	open, err := OpenOf(tx, kindOf(repo), repo.Name)
	if err != nil {
		return "", err
	}
	actor := account.From(tx.Context())
	own := slices.DeleteFunc(open, func(c Change) bool { return c.State == Merging || c.Opener != actor.ID })
	switch len(own) {
	case 0:
		return folderPrefix + xid.New().String(), nil
	case 1:
		return own[0].Branch, nil
	}
	branches := []string{}
	for _, c := range own {
		branches = append(branches, c.Branch+" ("+c.Title+")")
	}
	return "", fault.New(fault.Conflict, "change.which", "You have %d open changes of %s.", len(own), repo.Name).
		Do("Name the branch of one with --branch, or a new one: %s.", strings.Join(branches, ", ")).At("branch", "name one")
}
