package git

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
)

// MergeTree returns the id of the tree that merging head into base gives. If both changed the same
// lines it returns no tree and the files in conflict. Nothing but unreferenced objects is written.
func (h *Host) MergeTree(ctx context.Context, r Repo, base, head string) (tree string, conflicts []string, err error) {
	if err := h.commits(ctx, r, &base, &head); err != nil {
		return "", nil, err
	}
	if _, err := h.MergeBase(ctx, r, base, head); err != nil {
		return "", nil, err
	}
	return h.mergeTree(ctx, r, base, head)
}

func (h *Host) mergeTree(ctx context.Context, r Repo, base, head string) (string, []string, error) {
	out, err := h.git(ctx, h.dir(r), nil, "merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", base, head)
	if err != nil && exitCode(err) != 1 {
		return "", nil, err
	}
	lines := strings.Split(strings.TrimRight(string(out), "\x00"), "\x00")
	if err == nil {
		return lines[0], nil, nil
	}
	conflicts := []string{}
	for _, name := range lines[1:] {
		conflicts = append(conflicts, display(name))
	}
	return "", conflicts, nil
}

// Conflicted is the fault of a merge that people must finish.
func Conflicted(conflicts []string) *fault.Fault {
	f := fault.New(fault.Conflict, "change.merge_conflict", "It conflicts with %s in %s.", Main, strings.Join(conflicts, ", ")).
		Do("Merge %s into the branch, resolve the conflict and push.", Main)
	for _, name := range conflicts {
		f.At(name, "changed on both sides")
	}
	return f
}

// CommitMerge merges head into main with a merge commit and returns it. main is the commit that main
// must still be at: if it moved the answer is the fault change.main_moved. Asked again after a crash
// it finds the merge that it made.
func (h *Host) CommitMerge(ctx context.Context, r Repo, main, head, message string, author Identity) (string, error) {
	if err := h.commits(ctx, r, &main, &head); err != nil {
		return "", err
	}
	if merged, err := h.Contains(ctx, r, main, head); err != nil {
		return "", err
	} else if merged {
		return "", fault.New(fault.Conflict, "change.nothing_to_merge", "%s has all commits of the change already.", Main).
			Do("Push a commit to the branch, or close the change.")
	}
	tree, conflicts, err := h.MergeTree(ctx, r, main, head)
	if err != nil {
		return "", err
	}
	if conflicts != nil {
		return "", Conflicted(conflicts)
	}
	merge, err := h.commitTree(ctx, r, tree, author, message, main, head)
	if err != nil {
		return "", err
	}
	if err := h.moveRef(ctx, r, "refs/heads/"+Main, merge, main); err == nil {
		return merge, nil
	} else if exitCode(err) < 0 {
		return "", err
	}
	if made, err := h.mergeOf(ctx, r, main, head); err != nil || made != "" {
		return made, err
	}
	return "", fault.New(fault.Conflict, "change.main_moved", "%s moved while the change was being merged.", Main).
		Do("It is checked again on the new %s.", Main)
}

// mergeOf returns the commit on main that merged head into it when main was at base, or "".
func (h *Host) mergeOf(ctx context.Context, r Repo, base, head string) (string, error) {
	out, err := h.git(ctx, h.dir(r), nil, "rev-list", "--first-parent", "--parents", "--max-count=1000", "refs/heads/"+Main, "^"+base)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 && f[1] == base && f[2] == head {
			return f[0], nil
		}
	}
	return "", nil
}

// moveRef moves a ref from one commit to another, atomically.
func (h *Host) moveRef(ctx context.Context, r Repo, ref, to, from string) error {
	_, err := h.git(ctx, h.dir(r), nil, "update-ref", "-m", "flywheel", ref, to, from)
	return err
}

func (h *Host) commitTree(ctx context.Context, r Repo, tree string, author Identity, message string, parents ...string) (string, error) {
	args := []string{"commit-tree", tree, "-F", "-"}
	for _, p := range parents {
		args = append(args, "-p", p)
	}
	author = author.clean()
	env := h.environment("GIT_DIR="+h.dir(r),
		"GIT_AUTHOR_NAME="+author.Name, "GIT_AUTHOR_EMAIL="+author.Email,
		"GIT_COMMITTER_NAME="+Platform.Name, "GIT_COMMITTER_EMAIL="+Platform.Email)
	out, err := h.run(ctx, env, strings.NewReader(message), args...)
	return strings.TrimSpace(string(out)), err
}

// clean returns the identity as git can store it.
func (i Identity) clean() Identity {
	strip := func(s string) string {
		return strings.Trim(strings.Map(func(c rune) rune {
			if c < ' ' || c == '<' || c == '>' || c == 0x7f {
				return -1
			}
			return c
		}, display(s)), " .,:;\"'\\")
	}
	i = Identity{strip(i.Name), strip(i.Email)}
	if i.Name == "" {
		i.Name = "nobody"
	}
	if i.Email == "" {
		i.Email = "nobody@flywheel.invalid"
	}
	return i
}

// RevertCommit makes a branch at main with one commit that takes back what sha did, and returns that
// commit. For a merge it takes back what the merge brought to its first parent. Asked again with the
// same arguments it returns the commit that is there.
func (h *Host) RevertCommit(ctx context.Context, r Repo, main, sha, branch string, author Identity) (string, error) {
	if err := checkBranch(branch); err != nil {
		return "", err
	}
	if err := h.commits(ctx, r, &main, &sha); err != nil {
		return "", err
	}
	reverted, err := h.Commit(ctx, r, sha)
	if err != nil {
		return "", err
	}
	if len(reverted.Parents) == 0 {
		return "", fault.New(fault.Conflict, "git.revert_first", "The first commit of a repository cannot be reverted.")
	}
	tree, err := h.revertTree(ctx, r, main, sha, reverted.Parents[0])
	if err != nil {
		return "", err
	}
	if mainTree, err := h.tree(ctx, r, main); err != nil {
		return "", err
	} else if tree == mainTree {
		return "", fault.New(fault.Conflict, "git.revert_empty", "%s no longer has what %.10s did: there is nothing to revert.", Main, sha)
	}
	message := fmt.Sprintf("Revert %q\n\nThis reverts commit %s.\n", reverted.Subject, sha)
	commit, err := h.commitTree(ctx, r, tree, author, message, main)
	if err != nil {
		return "", err
	}
	if err := h.record(ctx, r, "refs/heads/"+branch, commit); err != nil {
		return "", err
	}
	if err := h.moveRef(ctx, r, "refs/heads/"+branch, commit, zeroOID); err == nil || exitCode(err) < 0 {
		return commit, err
	}
	if there, err := h.Commit(ctx, r, "refs/heads/"+branch); err == nil && there.Tree == tree && slices.Equal(there.Parents, []string{main}) {
		return there.SHA, nil
	}
	return "", branchTaken(branch)
}

// revertTree merges the step from sha back to its parent into main. merge-tree finds its own base, so
// the step is made of commits that are there for this merge alone: base ← main, base ← parent.
func (h *Host) revertTree(ctx context.Context, r Repo, main, sha, parent string) (string, error) {
	base, err := h.commitTree(ctx, r, sha+"^{tree}", Platform, "base")
	if err != nil {
		return "", err
	}
	ours, err := h.commitTree(ctx, r, main+"^{tree}", Platform, "ours", base)
	if err != nil {
		return "", err
	}
	theirs, err := h.commitTree(ctx, r, parent+"^{tree}", Platform, "theirs", base)
	if err != nil {
		return "", err
	}
	tree, conflicts, err := h.mergeTree(ctx, r, ours, theirs)
	if err == nil && conflicts != nil {
		return "", fault.New(fault.Conflict, "git.revert_conflict", "%.10s cannot be reverted by itself: later commits changed %s.", sha, strings.Join(conflicts, ", ")).
			Do("Revert it on a branch by hand, or fix forward.")
	}
	return tree, err
}

// CommitFiles commits files to a branch on top of parent and returns the commit. A nil content removes
// the file. The branch is made if it is not there; else it must be at parent.
func (h *Host) CommitFiles(ctx context.Context, r Repo, branch, parent string, files map[string][]byte, message string, author Identity) (string, error) {
	if err := checkBranch(branch); err != nil {
		return "", err
	}
	if err := h.commits(ctx, r, &parent); err != nil {
		return "", err
	}
	old := zeroOID
	heads, err := h.Heads(ctx, r)
	if err != nil {
		return "", err
	}
	if at, there := heads[branch]; there {
		if old = at; at != parent {
			return "", branchTaken(branch)
		}
	}
	ref := "refs/heads/" + branch
	return h.commit(ctx, h.dir(r), parent, files, author, message, ref, old, func(sha string) error {
		return h.record(ctx, r, ref, sha)
	})
}

func branchTaken(branch string) *fault.Fault {
	return fault.New(fault.Conflict, "git.branch_moved", "Branch %s is there already, with other commits.", branch).
		Do("Look at it again and retry, or use another branch name.")
}

// commit writes a commit with the files and moves ref to it, if ref is still at old. fast-import makes
// all objects in one process, under a ref of its own that no client sees. before runs when the commit
// is there and the ref has not moved yet.
func (h *Host) commit(ctx context.Context, dir, parent string, files map[string][]byte, author Identity, message, ref, old string, before func(sha string) error) (string, error) {
	modes, err := h.modes(ctx, dir, parent)
	if err != nil {
		return "", err
	}
	scratch := "refs/flywheel/" + db.NewID("new")
	var in bytes.Buffer
	author = author.clean()
	now := time.Now().Unix()
	fmt.Fprintf(&in, "commit %s\nmark :1\nauthor %s <%s> %d +0000\ncommitter %s <%s> %d +0000\n",
		scratch, author.Name, author.Email, now, Platform.Name, Platform.Email, now)
	fmt.Fprintf(&in, "data %d\n%s\n", len(message), message)
	if parent != "" {
		fmt.Fprintf(&in, "from %s\n", parent)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := checkPath(name); err != nil {
			return "", err
		}
		if files[name] == nil {
			fmt.Fprintf(&in, "D %s\n", quote(name))
			continue
		}
		fmt.Fprintf(&in, "M %s inline %s\ndata %d\n%s\n", modes(name, files[name]), quote(name), len(files[name]), files[name])
	}
	in.WriteString("get-mark :1\ndone\n")
	out, err := h.git(ctx, dir, &in, "fast-import", "--quiet", "--done")
	if err != nil {
		return "", err
	}
	sha := strings.TrimSpace(string(out))
	if err := before(sha); err != nil {
		return "", err
	}
	moves := fmt.Sprintf("start\nupdate %s %s %s\ndelete %s %s\ncommit\n", ref, sha, old, scratch, sha)
	if _, err := h.git(ctx, dir, strings.NewReader(moves), "update-ref", "--stdin"); err != nil {
		h.git(context.WithoutCancel(ctx), dir, nil, "update-ref", "-d", scratch, sha)
		if exitCode(err) > 0 {
			return "", branchTaken(strings.TrimPrefix(ref, "refs/heads/")).Because(err)
		}
		return "", err
	}
	return sha, nil
}

// modes returns the mode each written file gets: the one it has in parent, or else the run bit if it
// is a script.
func (h *Host) modes(ctx context.Context, dir, parent string) (func(name string, content []byte) string, error) {
	had := map[string]string{}
	if parent != "" {
		out, err := h.git(ctx, dir, nil, "ls-tree", "-r", "-z", "--full-tree", parent)
		if err != nil {
			return nil, err
		}
		for record := range strings.SplitSeq(string(out), "\x00") {
			if meta, name, ok := strings.Cut(record, "\t"); ok {
				had[name], _, _ = strings.Cut(meta, " ")
			}
		}
	}
	return func(name string, content []byte) string {
		if m := had[name]; m == "100644" || m == "100755" {
			return m
		}
		if bytes.HasPrefix(content, []byte("#!")) {
			return "100755"
		}
		return "100644"
	}, nil
}

// quote writes a path as fast-import reads it.
func quote(name string) string {
	if !strings.HasPrefix(name, `"`) {
		return name
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
}

func readAll(files fs.FS) (map[string][]byte, error) {
	contents := map[string][]byte{}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := files.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		content, err := io.ReadAll(f)
		contents[name] = append([]byte{}, content...) // never nil: an empty file is a file
		return err
	})
	return contents, err
}

// Tag names a commit for ever. The same tag at the same commit is no error; at another it is.
func (h *Host) Tag(ctx context.Context, r Repo, name, commit string) error {
	if err := checkRefName("tag", name); err != nil {
		return err
	}
	if heads, err := h.Heads(ctx, r); err != nil {
		return err
	} else if heads[name] != "" {
		return fault.New(fault.Conflict, "git.tag_is_branch", "There is a branch called %s, so git could not tell the tag from it.", name).
			Do("Delete the branch: git push origin --delete refs/heads/%s", name)
	}
	if err := h.commits(ctx, r, &commit); err != nil {
		return err
	}
	err := h.moveRef(ctx, r, "refs/tags/"+name, commit, zeroOID)
	if err == nil || exitCode(err) < 0 {
		return err
	}
	if at, err := h.resolve(ctx, r, "refs/tags/"+name); err != nil || at == commit {
		return err
	}
	return fault.New(fault.Conflict, "git.tag_moved", "Tag %s names another commit already, and tags never move.", name).
		Do("Publish a new version instead.")
}
