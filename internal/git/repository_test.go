package git

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"flywheel.dev/flywheel/internal/fault"
)

var ann = Identity{"Ann", "ann@shop.example"}

func TestARepositoryIsMadeRenamedAndDeletedWhole(t *testing.T) {
	f := newForge(t)
	first := f.create(storefront)
	if got := must[string](t)(f.Resolve(t.Context(), storefront, "main")); got != first {
		t.Errorf("main is at %s, want %s", got, first)
	}
	head := must[[]byte](t)(os.ReadFile(filepath.Join(f.dir(storefront), "HEAD")))
	if string(head) != "ref: refs/heads/main\n" {
		t.Errorf("HEAD is %q", head)
	}
	c := must[Commit](t)(f.Commit(t.Context(), storefront, "main"))
	if c.Author != ann || c.Subject != "Start from pattern web-service 1.0.0" || len(c.Parents) != 0 {
		t.Errorf("the first commit is %+v", c)
	}
	for _, e := range must[[]Entry](t)(f.ListTree(t.Context(), storefront, "main")) {
		want := "100644"
		if e.Path == "smoke.sh" {
			want = "100755"
		}
		if e.Mode != want {
			t.Errorf("%s has mode %s, want %s", e.Path, e.Mode, want)
		}
	}

	_, err := f.Create(t.Context(), storefront, ann, fstest.MapFS{}, "again")
	isFault(t, err, "repository.name_taken")
	if err := f.Delete(t.Context(), storefront); err != nil {
		t.Fatal(err)
	}
	if err := f.Delete(t.Context(), storefront); err != nil {
		t.Errorf("deleting twice: %v", err)
	}
	if list := must[[]Repo](t)(f.List()); len(list) != 0 {
		t.Errorf("left are %v", list)
	}
	left, _ := filepath.Glob(filepath.Join(f.Root, "*", ".*"))
	more, _ := filepath.Glob(filepath.Join(f.Root, ".*"))
	if len(left)+len(more) != 0 {
		t.Errorf("left behind: %v %v", left, more)
	}
	_, err = f.Resolve(t.Context(), storefront, "main")
	isFault(t, err, "repository.not_found")
}

func TestANameThatIsNoNameIsRefused(t *testing.T) {
	f := newForge(t)
	for _, r := range []Repo{
		App(""), App("a"), App("../x"), App("a/b"), App("-x"), App("Shop"), App("a--b"), App(".git"), App("shop.git"),
		App(strings.Repeat("a", 41)), {"others", "shop"}, {"../apps", "shop"}, App("shop\x00"), App("shop\n"),
	} {
		_, err := f.Create(t.Context(), r, ann, fstest.MapFS{}, "x")
		isFault(t, err, "repository.name_invalid")
		if f.Exists(r) {
			t.Errorf("%q exists", r)
		}
	}
	for _, bad := range []string{"", "/etc/passwd", "../x", "a/../b", "a//b", ".git/config", "a/.GIT/x", "a\nb"} {
		isFault(t, checkPath(bad), "file.path_invalid")
	}
	for _, bad := range []string{"", "-x", "a..b", "a.lock", "a.lock/b", "a//b", "a/", "a b", "a~1", "a@{1}", "ä", ".a", "a/.b", "a."} {
		isFault(t, checkBranch(bad), "git.name_invalid")
	}
	isFault(t, checkBranch("main"), "git.main_protected")
	for _, bad := range []string{"HEAD", "head", "FETCH_HEAD", "refs/heads/main", "heads/main", "tags/v1", "remotes/origin/main", "origin/main", "Main", "MAIN", "main/x", "v1.2.3", "flywheel/x", strings.Repeat("a", 40)} {
		isFault(t, checkBranch(bad), "git.branch_name")
	}
}

func TestANameIsNeverTakenForAnOption(t *testing.T) {
	f := newForge(t)
	f.create(storefront)
	for _, ref := range []string{"", "--all", "-h", "--git-dir=/", "main\nHEAD", "main\x00", "nope", "main..main", strings.Repeat("a", 40)} {
		_, err := f.Resolve(t.Context(), storefront, ref)
		isFault(t, err, "commit.not_found")
		_, err = f.ListTree(t.Context(), storefront, ref)
		isFault(t, err, "commit.not_found")
	}
	for _, name := range []string{"nope", "", "../main.go", "./main.go", ".", "main.go/x", "a\x00b"} {
		_, err := f.ReadFile(t.Context(), storefront, "main", name)
		isFault(t, err, "file.not_found")
	}
}

func TestTheLogSaysWhatTheCommitsSay(t *testing.T) {
	f := newForge(t)
	first := f.create(storefront)
	c := f.clone(storefront, "ann")
	c.git("switch", "--quiet", "-c", "near")
	c.commit("a", "1", "Find shops\n\nBecause people ask: where?\n\nStory: STY-12, sty_34\nstory: STY-12\nNeeds: chg_1\nNeeds: chg_2\nCo-authored-by: Bob <bob@shop.example>")
	c.git("-c", "i18n.commitEncoding=ISO-8859-1", "commit", "--quiet", "--allow-empty", "-m", "caf\xe9")
	c.git("push", "--quiet", "origin", "near")

	log := must[[]Commit](t)(f.Log(t.Context(), storefront, "main", "near", 10))
	if len(log) != 2 {
		t.Fatalf("%d commits: %+v", len(log), log)
	}
	if log[0].Subject != "café" {
		t.Errorf("the subject in another encoding is %q", log[0].Subject)
	}
	near := log[1]
	if near.Subject != "Find shops" || !strings.HasPrefix(near.Body, "Because people ask: where?") {
		t.Errorf("subject %q, body %q", near.Subject, near.Body)
	}
	if !slices.Equal(near.Stories, []string{"STY-12", "sty_34"}) || !slices.Equal(near.Needs, []string{"chg_1", "chg_2"}) {
		t.Errorf("stories %v, needs %v", near.Stories, near.Needs)
	}
	if !slices.Equal(near.Parents, []string{first}) || near.AuthoredAt.IsZero() || near.Author != ann {
		t.Errorf("commit %+v", near)
	}
	if all := must[[]Commit](t)(f.Log(t.Context(), storefront, "", "near", 2)); len(all) != 2 {
		t.Errorf("the limit gave %d commits", len(all))
	}
	if none := must[[]Commit](t)(f.Log(t.Context(), storefront, "near", "main", 5)); none == nil || len(none) != 0 {
		t.Errorf("main has %v that near has not", none)
	}
	if n := must[int](t)(f.Ahead(t.Context(), storefront, near.SHA)); n != 1 {
		t.Errorf("ahead by %d", n)
	}
}

func TestAMergeIsMadeOnceAndOnlyOnTheMainThatWasChecked(t *testing.T) {
	f := newForge(t)
	ctx := t.Context()
	main := f.create(storefront)
	left := must[string](t)(f.CommitFiles(ctx, storefront, "left", main, map[string][]byte{"left.go": []byte("package main\n")}, "Left", ann))
	right := must[string](t)(f.CommitFiles(ctx, storefront, "right", main, map[string][]byte{"right.go": []byte("package main\n"), "empty": nil}, "Right", ann))

	tree, conflicts, err := f.MergeTree(ctx, storefront, main, left)
	if err != nil || conflicts != nil {
		t.Fatal(err, conflicts)
	}
	merge := must[string](t)(f.CommitMerge(ctx, storefront, main, left, "Merge left", ann))
	made := must[Commit](t)(f.Commit(ctx, storefront, "main"))
	if made.SHA != merge || made.Tree != tree || !slices.Equal(made.Parents, []string{main, left}) || made.Author != ann {
		t.Errorf("merged %+v, want %s with tree %s", made, merge, tree)
	}
	if again := must[string](t)(f.CommitMerge(ctx, storefront, main, left, "Merge left", ann)); again != merge {
		t.Errorf("asked again it made %s", again)
	}
	_, err = f.CommitMerge(ctx, storefront, main, right, "Merge right", ann)
	isFault(t, err, "change.main_moved")
	if fault.From(err).Kind != fault.Conflict {
		t.Errorf("kind %s", fault.From(err).Kind)
	}
	second := must[string](t)(f.CommitMerge(ctx, storefront, merge, right, "Merge right", ann))
	if again := must[string](t)(f.CommitMerge(ctx, storefront, main, left, "Merge left", ann)); again != merge {
		t.Errorf("after another merge it made %s", again)
	}
	if _, err := f.ReadFile(ctx, storefront, second, "empty"); !fault.Is(err, "file.not_found") {
		t.Errorf("the removed file: %v", err)
	}
	_, err = f.CommitMerge(ctx, storefront, second, left, "Merge left", ann)
	isFault(t, err, "change.nothing_to_merge")
	if ok := must[bool](t)(f.Contains(ctx, storefront, "main", left)); !ok {
		t.Error("main does not contain left")
	}
}

func TestOfManyMergesAtOnceOneWins(t *testing.T) {
	f := newForge(t)
	ctx := t.Context()
	main := f.create(storefront)
	var heads []string
	for _, name := range []string{"one", "two", "three", "four"} {
		heads = append(heads, must[string](t)(f.CommitFiles(ctx, storefront, name, main, map[string][]byte{name: []byte(name)}, name, ann)))
	}
	var group sync.WaitGroup
	errs := make([]error, len(heads))
	for i, head := range heads {
		group.Go(func() { _, errs[i] = f.CommitMerge(ctx, storefront, main, head, "Merge", ann) })
	}
	group.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			isFault(t, err, "change.main_moved")
		}
	}
	if won != 1 {
		t.Errorf("%d merges won", won)
	}
}

func TestAConflictNamesItsFiles(t *testing.T) {
	f := newForge(t)
	ctx := t.Context()
	main := f.create(storefront)
	a := must[string](t)(f.CommitFiles(ctx, storefront, "a", main, map[string][]byte{"main.go": []byte("a\n"), "fine": []byte("x")}, "A", ann))
	b := must[string](t)(f.CommitFiles(ctx, storefront, "b", main, map[string][]byte{"main.go": []byte("b\n")}, "B", ann))
	main = must[string](t)(f.CommitMerge(ctx, storefront, main, a, "Merge a", ann))
	tree, conflicts, err := f.MergeTree(ctx, storefront, main, b)
	if err != nil || tree != "" || !slices.Equal(conflicts, []string{"main.go"}) {
		t.Errorf("tree %q, conflicts %v, error %v", tree, conflicts, err)
	}
	_, err = f.CommitMerge(ctx, storefront, main, b, "Merge b", ann)
	isFault(t, err, "change.merge_conflict")
	contains(t, err.Error(), "main.go", "Merge main into the branch")
}

func TestARevertTakesBackOneCommitOnABranch(t *testing.T) {
	f := newForge(t)
	ctx := t.Context()
	main := f.create(storefront)
	bad := must[string](t)(f.CommitFiles(ctx, storefront, "bad", main, map[string][]byte{"main.go": []byte("broken\n"), "new.go": []byte("x\n")}, "Break it", ann))
	merged := must[string](t)(f.CommitMerge(ctx, storefront, main, bad, "Merge bad", ann))
	good := must[string](t)(f.CommitFiles(ctx, storefront, "good", merged, map[string][]byte{"good.go": []byte("g\n")}, "Good", ann))
	tip := must[string](t)(f.CommitMerge(ctx, storefront, merged, good, "Merge good", ann))

	revert := must[string](t)(f.RevertCommit(ctx, storefront, tip, merged, "revert-bad", ann))
	c := must[Commit](t)(f.Commit(ctx, storefront, "revert-bad"))
	if c.SHA != revert || !slices.Equal(c.Parents, []string{tip}) || c.Subject != `Revert "Merge bad"` {
		t.Errorf("the revert is %+v", c)
	}
	var names []string
	for _, e := range must[[]Entry](t)(f.ListTree(ctx, storefront, revert)) {
		names = append(names, e.Path)
	}
	if !slices.Equal(names, []string{"empty", "flywheel.yaml", "good.go", "main.go", "smoke.sh"}) {
		t.Errorf("the revert has %v", names)
	}
	if again := must[string](t)(f.RevertCommit(ctx, storefront, tip, merged, "revert-bad", ann)); again != revert {
		t.Errorf("asked again it made %s", again)
	}
	_, err := f.RevertCommit(ctx, storefront, tip, good, "revert-bad", ann)
	isFault(t, err, "git.branch_moved")
	_, err = f.RevertCommit(ctx, storefront, tip, main, "revert-first", ann)
	isFault(t, err, "git.revert_first")
	tip = must[string](t)(f.CommitMerge(ctx, storefront, tip, revert, "Merge revert", ann))
	_, err = f.RevertCommit(ctx, storefront, tip, merged, "revert-twice", ann)
	isFault(t, err, "git.revert_empty")
	over := must[string](t)(f.CommitFiles(ctx, storefront, "over", tip, map[string][]byte{"good.go": []byte("other\n")}, "Over", ann))
	tip = must[string](t)(f.CommitMerge(ctx, storefront, tip, over, "Merge over", ann))
	_, err = f.RevertCommit(ctx, storefront, tip, good, "revert-good", ann)
	isFault(t, err, "git.revert_conflict")
}

func TestFilesFromAFormBecomeACommitOnABranch(t *testing.T) {
	f := newForge(t)
	ctx := t.Context()
	main := f.create(storefront)
	files := map[string][]byte{
		"smoke.sh": []byte("echo changed\n"), `"quoted" \name`: []byte("q"), "a folder/ä": {}, "empty": nil, "binary": {0, 1, 2, '\n'},
	}
	sha := must[string](t)(f.CommitFiles(ctx, storefront, "form", main, files, "Change\n\nStory: STY-1", Identity{"Eve <x>\n", ""}))
	got := map[string]string{}
	for _, e := range must[[]Entry](t)(f.ListTree(ctx, storefront, "form")) {
		got[e.Path] = e.Mode
	}
	want := []string{`"quoted" \name`, "a folder/ä", "binary", "flywheel.yaml", "main.go", "smoke.sh"}
	if !slices.Equal(slices.Sorted(maps.Keys(got)), want) || got["smoke.sh"] != "100755" {
		t.Errorf("the commit has %v", got)
	}
	if b := must[[]byte](t)(f.ReadFile(ctx, storefront, sha, "binary")); !bytes.Equal(b, files["binary"]) {
		t.Errorf("binary is %q", b)
	}
	if c := must[Commit](t)(f.Commit(ctx, storefront, sha)); c.Author.Name != "Eve x" || !slices.Equal(c.Stories, []string{"STY-1"}) {
		t.Errorf("commit %+v", c)
	}
	_, err := f.CommitFiles(ctx, storefront, "form", main, files, "Again", ann)
	isFault(t, err, "git.branch_moved")
	must[string](t)(f.CommitFiles(ctx, storefront, "form", sha, map[string][]byte{"x": []byte("y")}, "Next", ann))
	_, err = f.CommitFiles(ctx, storefront, "main", main, files, "No", ann)
	isFault(t, err, "git.main_protected")
	_, err = f.CommitFiles(ctx, storefront, "x", main, map[string][]byte{"../x": nil}, "No", ann)
	isFault(t, err, "file.path_invalid")
	if refs := must[[]byte](t)(f.git(ctx, f.dir(storefront), nil, "for-each-ref", "refs/flywheel")); len(refs) != 0 {
		t.Errorf("refs left: %s", refs)
	}
}

func TestATagNeverMoves(t *testing.T) {
	f := newForge(t)
	ctx := t.Context()
	main := f.create(Pattern("web-service"))
	next := must[string](t)(f.CommitFiles(ctx, Pattern("web-service"), "next", main, map[string][]byte{"x": []byte("y")}, "Next", ann))
	for range 2 {
		if err := f.Tag(ctx, Pattern("web-service"), "v1.0.0", main); err != nil {
			t.Fatal(err)
		}
	}
	isFault(t, f.Tag(ctx, Pattern("web-service"), "v1.0.0", next), "git.tag_moved")
	isFault(t, f.Tag(ctx, Pattern("web-service"), "-d", next), "git.name_invalid")
	if got := must[string](t)(f.Resolve(ctx, Pattern("web-service"), "v1.0.0")); got != main {
		t.Errorf("v1.0.0 is %s", got)
	}
}

func TestTheDigestIsThatOfTheContentOnly(t *testing.T) {
	f := newForge(t)
	ctx := t.Context()
	main := f.create(storefront)
	digest := func(treeish string, exclude ...string) string {
		t.Helper()
		return must[string](t)(f.TreeDigest(ctx, storefront, treeish, exclude...))
	}
	a := must[string](t)(f.CommitFiles(ctx, storefront, "a", main, map[string][]byte{"docs/x": []byte("1")}, "A", ann))
	b := must[string](t)(f.CommitFiles(ctx, storefront, "a", a, map[string][]byte{"docs/x": nil}, "B", ann))
	if digest(main) != digest(b) || digest(main) == digest(a) {
		t.Error("equal content must have an equal digest, and only that")
	}
	if digest(main) != digest(a, "docs/") || digest(main) != digest(a, "docs/x") || digest(main) == digest(a, "doc") {
		t.Error("excluded files and folders must not count, and only those")
	}
	if !strings.HasPrefix(digest(main), "sha256:") || len(digest(main)) != 71 {
		t.Errorf("the digest is %s", digest(main))
	}
}

func TestABackupHoldsEveryRef(t *testing.T) {
	f := newForge(t)
	ctx := t.Context()
	main := f.create(storefront)
	must[string](t)(f.CommitFiles(ctx, storefront, "a/b", main, map[string][]byte{"x": []byte("y")}, "A", ann))
	if err := f.Tag(ctx, storefront, "v1.0.0", main); err != nil {
		t.Fatal(err)
	}
	heads := must[map[string]string](t)(f.Heads(ctx, storefront))
	bundle := f.bundle(storefront)
	isFault(t, f.Restore(ctx, storefront, bytes.NewReader(bundle)), "repository.name_taken")
	if err := f.Delete(ctx, storefront); err != nil {
		t.Fatal(err)
	}
	damaged := bytes.NewReader(bundle[:len(bundle)-30])
	isFault(t, f.Restore(ctx, storefront, damaged), "backup.repository_damaged")
	if f.Exists(storefront) {
		t.Error("a damaged backup left a repository")
	}
	if err := f.Restore(ctx, storefront, bytes.NewReader(bundle)); err != nil {
		t.Fatal(err)
	}
	if got := must[map[string]string](t)(f.Heads(ctx, storefront)); !maps.Equal(got, heads) || len(got) != 2 {
		t.Errorf("restored %v, want %v", got, heads)
	}
	if got := must[string](t)(f.Resolve(ctx, storefront, "refs/tags/v1.0.0")); got != main {
		t.Errorf("the tag is %s", got)
	}
	if c := f.clone(storefront, "ann"); c.git("rev-parse", "HEAD") != main {
		t.Error("the restored repository cannot be cloned")
	}
	if err := f.Maintain(ctx); err != nil {
		t.Error(err)
	}
}

func (f *forge) bundle(r Repo) []byte {
	f.t.Helper()
	file := filepath.Join(f.t.TempDir(), "bundle")
	if err := f.Bundle(f.t.Context(), r, file); err != nil {
		f.t.Fatal(err)
	}
	return must[[]byte](f.t)(os.ReadFile(file))
}

func TestABackupKeepsBranchesThatLookLikeOtherRefs(t *testing.T) {
	f := newForge(t)
	ctx := t.Context()
	first := f.create(storefront)
	second := must[string](t)(f.CommitFiles(ctx, storefront, "work", first, map[string][]byte{"x": []byte("y")}, "A", ann))
	main := must[string](t)(f.CommitMerge(ctx, storefront, first, second, "Merge", Platform))
	// An older Flywheel took these names at a push.
	for _, ref := range []string{
		"refs/heads/refs/heads/main", "refs/heads/HEAD", "refs/heads/-x", "refs/heads/--all", "refs/heads/heads/main", "refs/heads/origin/main",
		"refs/heads/@", "refs/heads/" + first, "refs/tags/main", "refs/tags/work", "refs/tags/refs/heads/main", "refs/main", "refs/heads/\u202emain", "refs/flywheel/x",
	} {
		must[[]byte](t)(f.Host.git(ctx, f.dir(storefront), strings.NewReader("create "+ref+" "+first+"\n"), "update-ref", "--stdin"))
	}
	had := must[map[string]string](t)(f.refs(ctx, f.dir(storefront)))
	if had["refs/heads/main"] != main || len(had) != 16 {
		t.Fatalf("the repository has %v", had)
	}
	bundle := f.bundle(storefront)
	if err := f.Delete(ctx, storefront); err != nil {
		t.Fatal(err)
	}
	if err := f.Restore(ctx, storefront, bytes.NewReader(bundle)); err != nil {
		t.Fatal(err)
	}
	if got := must[map[string]string](t)(f.refs(ctx, f.dir(storefront))); !maps.Equal(got, had) {
		t.Errorf("restored %v, want %v", got, had)
	}
	if got := must[string](t)(f.Resolve(ctx, storefront, "refs/heads/main")); got != main {
		t.Errorf("main is %s, want %s", got, main)
	}
}

func TestABackupOfADamagedRepositoryFails(t *testing.T) {
	for name, damage := range map[string]func(dir, first, main string) error{
		"a ref that holds no id": func(dir, _, _ string) error {
			return os.WriteFile(filepath.Join(dir, "refs/heads/broken"), []byte("x\n"), 0o600)
		},
		"a main that holds no id": func(dir, _, _ string) error { return os.WriteFile(filepath.Join(dir, "refs/heads/main"), nil, 0o600) },
		"a main that is gone":     func(dir, _, _ string) error { return os.Remove(filepath.Join(dir, "refs/heads/main")) },
		"a ref with a broken name": func(dir, first, _ string) error {
			return os.WriteFile(filepath.Join(dir, "refs/heads/a..b"), []byte(first+"\n"), 0o600)
		},
		"a commit that is gone": func(dir, first, _ string) error {
			return os.Remove(filepath.Join(dir, "objects", first[:2], first[2:]))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForge(t)
			first := f.create(storefront)
			second := must[string](t)(f.CommitFiles(t.Context(), storefront, "work", first, map[string][]byte{"x": []byte("y")}, "A", ann))
			main := must[string](t)(f.CommitMerge(t.Context(), storefront, first, second, "Merge", Platform))
			unpack(t, f, storefront)
			if err := damage(f.dir(storefront), first, main); err != nil {
				t.Fatal(err)
			}
			isFault(t, f.Bundle(t.Context(), storefront, filepath.Join(t.TempDir(), "bundle")), "backup.repository_incomplete")
		})
	}
}

// unpack makes every object of a repository a file of its own.
func unpack(t *testing.T, f *forge, r Repo) {
	t.Helper()
	packs := must[[]string](t)(filepath.Glob(filepath.Join(f.dir(r), "objects/pack/*.pack")))
	for i, pack := range packs {
		away := filepath.Join(t.TempDir(), strconv.Itoa(i))
		if err := os.Rename(pack, away); err != nil {
			t.Fatal(err)
		}
		in := must[*os.File](t)(os.Open(away))
		must[[]byte](t)(f.Host.git(t.Context(), f.dir(r), in, "unpack-objects", "-q"))
		in.Close()
	}
}

func TestABackupThatLacksMainIsNotRestored(t *testing.T) {
	f := newForge(t)
	first := f.create(storefront)
	var bundle bytes.Buffer
	if err := f.writeBundle(t.Context(), storefront, map[string]string{"refs/heads/refs/heads/main": first}, &bundle); err != nil {
		t.Fatal(err)
	}
	isFault(t, f.Restore(t.Context(), App("other"), &bundle), "backup.repository_damaged")
	if f.Exists(App("other")) {
		t.Error("it was restored all the same")
	}
}

func TestWhatWasMergedAfterTheDatabaseWasCopiedIsABranchAgain(t *testing.T) {
	f := newForge(t)
	ctx := t.Context()
	first := f.create(storefront)
	merged := func(branch, change, main string) (head, merge string) {
		t.Helper()
		head = must[string](t)(f.CommitFiles(ctx, storefront, branch, main, map[string][]byte{branch: []byte("x")}, branch, ann))
		return head, must[string](t)(f.CommitMerge(ctx, storefront, main, head, branch+"\n\nChange: "+change+"\n", Platform))
	}
	rewind := func(known ...string) []string {
		t.Helper()
		return must[[]string](t)(f.Rewind(ctx, storefront, func(merge, change string) bool {
			return slices.Contains(known, merge) || slices.Contains(known, change)
		}, func(change string) string { return "of-" + change }))
	}
	_, known := merged("known", "chg_1", first)
	_, merging := merged("merging", "chg_2", known)
	kept, late := merged("kept", "chg_3", merging)
	gone, later := merged("gone", "chg_4", late)
	must[[]byte](t)(f.Host.git(ctx, f.dir(storefront), nil, "update-ref", "-d", "refs/heads/gone"))
	for tag, at := range map[string]string{"v1.0.0": known, "v1.1.0": later} {
		if err := f.Tag(ctx, storefront, tag, at); err != nil {
			t.Fatal(err)
		}
	}
	if dropped := rewind(known, "chg_4"); len(dropped) != 0 || must[string](t)(f.Resolve(ctx, storefront, "refs/heads/main")) != later {
		t.Errorf("a main that the database knows lost %v", dropped)
	}
	if dropped := rewind(known, "chg_2"); !slices.Equal(dropped, []string{"chg_4", "chg_3"}) {
		t.Errorf("taken off main were %v", dropped)
	}
	heads := must[map[string]string](t)(f.Heads(ctx, storefront))
	if heads["main"] != merging || heads["of-chg_4"] != gone || heads["kept"] != kept || heads["of-chg_3"] != "" {
		t.Errorf("the branches are %v", heads)
	}
	if _, err := f.Resolve(ctx, storefront, "refs/tags/v1.1.0"); err == nil {
		t.Error("a tag still names what is not on main")
	}
	if must[string](t)(f.Resolve(ctx, storefront, "refs/tags/v1.0.0")) != known {
		t.Error("the tag of what is on main is gone")
	}
	if rewind(); must[string](t)(f.Resolve(ctx, storefront, "refs/heads/main")) != first {
		t.Error("where nothing is known main begins anew")
	}
}
