package git

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree makes a commit from lines as `git mktree` reads them, past all checks of a push.
func (f *forge) rawCommit(ctx context.Context, lines ...string) string {
	f.t.Helper()
	dir := f.dir(storefront)
	tree := must[[]byte](f.t)(f.git(ctx, dir, strings.NewReader(strings.Join(lines, "\x00")+"\x00"), "mktree", "-z", "--missing"))
	commit := must[string](f.t)(f.commitTree(ctx, storefront, strings.TrimSpace(string(tree)), ann, "raw"))
	return commit
}

func (f *forge) blob(content string) string {
	f.t.Helper()
	out := must[[]byte](f.t)(f.git(f.t.Context(), f.dir(storefront), strings.NewReader(content), "hash-object", "-w", "--stdin"))
	return strings.TrimSpace(string(out))
}

func TestAnExportIsTheTree(t *testing.T) {
	f := newForge(t)
	ctx := t.Context()
	main := f.create(storefront)
	sha := must[string](t)(f.CommitFiles(ctx, storefront, "x", main, map[string][]byte{
		".gitattributes": []byte("hidden export-ignore\n* text eol=crlf\nid export-subst\n"),
		"hidden":         []byte("h\n"), "id": []byte("$Format:%H$\n"), "deep/er/file": []byte("d"),
	}, "X", ann))
	dir := filepath.Join(t.TempDir(), "out")
	if err := f.Export(ctx, storefront, sha, dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"hidden": "h\n", "id": "$Format:%H$\n", "deep/er/file": "d", "empty": ""} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "smoke.sh")); err != nil || info.Mode()&0o111 == 0 {
		t.Error("smoke.sh lost its run bit")
	}
}

func TestALinkMayNotLeadOutOfTheTree(t *testing.T) {
	f := newForge(t)
	f.create(storefront)
	link := func(target string) string { return "120000 blob " + f.blob(target) + "\tlink" }
	for _, target := range []string{"/etc/passwd", "..", "../x", "a/../../x", "a/..", "./../x", "//x", ""} {
		err := f.Export(t.Context(), storefront, f.rawCommit(t.Context(), link(target)), t.TempDir())
		isFault(t, err, "git.link_escapes")
	}
	for _, target := range []string{"file", "./file", "a/b/c", "missing"} {
		dir := t.TempDir()
		if err := f.Export(t.Context(), storefront, f.rawCommit(t.Context(), link(target)), dir); err != nil {
			t.Errorf("%q: %v", target, err)
		}
		if got, err := os.Readlink(filepath.Join(dir, "link")); err != nil || got != target {
			t.Errorf("%q became %q, %v", target, got, err)
		}
	}
	if !staysInside("a/b/link", "../../x") || staysInside("a/b/link", "../../../x") || staysInside("a/b/link", "../c/../../x") {
		t.Error("steps up are allowed as deep as the link is, at the start")
	}
}

func TestATreeThatNoPushCouldBringIsNotWritten(t *testing.T) {
	f := newForge(t)
	f.create(storefront)
	out := t.TempDir()
	for _, name := range []string{"..", ".git", ".GIT", "."} {
		err := f.Export(t.Context(), storefront, f.rawCommit(t.Context(), "100644 blob "+f.blob("x")+"\t"+name), filepath.Join(out, "in"))
		if err == nil {
			t.Errorf("%q was written", name)
		}
	}
	if entries, _ := os.ReadDir(out); len(entries) > 1 {
		t.Errorf("something was written outside: %v", entries)
	}
}

func TestATreeThatIsTooLargeIsNotExported(t *testing.T) {
	f := newForge(t, func(h *Host) { h.TreeLimit = 1000 })
	main := f.create(storefront)
	sha := must[string](t)(f.CommitFiles(t.Context(), storefront, "x", main, map[string][]byte{"big": make([]byte, 1001)}, "X", ann))
	isFault(t, f.Export(t.Context(), storefront, sha, t.TempDir()), "git.tree_too_large")
}

func TestADiffShowsEveryKindOfDifference(t *testing.T) {
	f := newForge(t)
	ctx := t.Context()
	f.create(storefront)
	text := strings.Repeat("line\n", 20)
	old := f.rawCommit(ctx,
		"100644 blob "+f.blob("1\n")+"\tchanged", "100644 blob "+f.blob("d\n")+"\tgone", "100644 blob "+f.blob(text)+"\tmoved-from",
		"100644 blob "+f.blob("t\n")+"\ttype", "100644 blob "+f.blob("m\n")+"\tmode", "100644 blob "+f.blob("a\x00b")+"\tbinary", "100644 blob "+f.blob("caf\xe9\n")+"\tlatin")
	new := f.rawCommit(ctx,
		"100644 blob "+f.blob("diff --git a/x b/x\n2\n")+"\tchanged", "100644 blob "+f.blob("n\n")+"\tadded", "100644 blob "+f.blob(text+"more\n")+"\tmoved-to",
		"120000 blob "+f.blob("mode")+"\ttype", "100755 blob "+f.blob("m\n")+"\tmode", "100644 blob "+f.blob("a\x00c")+"\tbinary",
		"100644 blob "+f.blob("caf\xe9s\n")+"\tlatin", "100644 blob "+f.blob("x\n")+"\tz\xff\n")
	files := must[[]FileDiff](t)(f.Diff(ctx, storefront, old, new))
	got := map[string]FileDiff{}
	for _, d := range files {
		got[d.Path] = d
		if !d.Binary && !strings.HasPrefix(d.Patch, "diff --git ") {
			t.Errorf("%s has the patch %q", d.Path, d.Patch)
		}
	}
	for name, want := range map[string]string{
		"changed": "modified", "added": "added", "gone": "deleted", "moved-to": "renamed", "type": "type_changed",
		"mode": "modified", "binary": "modified", "latin": "modified", "z\uFFFD\n": "added",
	} {
		if got[name].Status != want {
			t.Errorf("%q is %q, want %q", name, got[name].Status, want)
		}
	}
	if d := got["moved-to"]; d.OldPath != "moved-from" || d.Added != 1 || d.Removed != 0 {
		t.Errorf("the rename is %+v", d)
	}
	if d := got["changed"]; d.Added != 2 || d.Removed != 1 || strings.Count(d.Patch, "diff --git") != 2 || strings.Contains(d.Patch, "gone") {
		t.Errorf("the change is %+v", d)
	}
	if d := got["type"]; strings.Count(d.Patch, "diff --git") != 2 {
		t.Errorf("the change of type is %+v", d)
	}
	if d := got["binary"]; !d.Binary || !strings.Contains(d.Patch, "-a⟨U+0000⟩b") || !strings.Contains(d.Patch, "+a⟨U+0000⟩c") {
		t.Errorf("the binary file is %+v", d)
	}
	contains(t, got["latin"].Patch, "+caf⟨0xE9⟩s")
	contains(t, got["mode"].Patch, "new mode 100755")
	if none := must[[]FileDiff](t)(f.Diff(ctx, storefront, old, old)); none == nil || len(none) != 0 {
		t.Errorf("the same differs in %v", none)
	}
}

func TestALargeDiffIsCutAndSaysSo(t *testing.T) {
	f := newForge(t)
	ctx := t.Context()
	main := f.create(storefront)
	files := map[string][]byte{}
	for i := range 4 {
		files[fmt.Sprint("big", i)] = []byte(strings.Repeat("0123456789\n", 60_000))
	}
	files["a-small"] = []byte("x\n")
	sha := must[string](t)(f.CommitFiles(ctx, storefront, "x", main, files, "X", ann))
	total := 0
	for _, d := range must[[]FileDiff](t)(f.Diff(ctx, storefront, main, sha)) {
		total += len(d.Patch)
		if d.Truncated != (d.Path != "a-small") {
			t.Errorf("%s: truncated %v", d.Path, d.Truncated)
		}
	}
	if total > patchLimit {
		t.Errorf("%d bytes of patches", total)
	}
}

func TestFoldersOfATreeCountLikeItsFiles(t *testing.T) {
	h := &Host{}
	var entries []Entry
	for i := range 1000 {
		entries = append(entries, Entry{Mode: "100644", Path: fmt.Sprintf("%d/%sx", i, strings.Repeat("d/", 300))})
	}
	isFault(t, h.checkExport(entries), "git.tree_too_large")
	if err := h.checkExport(entries[:100]); err != nil {
		t.Error(err)
	}
}

func TestNoAttributeOfABranchChangesWhatIsShownMergedOrBuilt(t *testing.T) {
	f := newForge(t)
	ctx := t.Context()
	first := f.create(storefront)
	attributes := "* binary -diff export-ignore merge=ours filter=evil ident eol=crlf working-tree-encoding=UTF-16\nmain.go export-subst merge=union\n"
	main := must[string](t)(f.CommitFiles(ctx, storefront, "attributes", first, map[string][]byte{".gitattributes": []byte(attributes)}, "Attributes", ann))
	main = must[string](t)(f.CommitMerge(ctx, storefront, first, main, "Attributes", Platform)) // on main too: some versions of git read HEAD's
	content := "package main\n\n// $Id$ $Format:%H$ \u202e\x00\nfunc main() {}\n"
	head := must[string](t)(f.CommitFiles(ctx, storefront, "work", main, map[string][]byte{"main.go": []byte(content)}, "Work", ann))

	files := must[[]FileDiff](t)(f.Diff(ctx, storefront, main, head))
	if len(files) != 1 || files[0].Truncated {
		t.Fatalf("the diff is %+v", files)
	}
	contains(t, files[0].Patch, "+// $Id$ $Format:%H$ ⟨U+202E⟩⟨U+0000⟩\n")
	dir := filepath.Join(t.TempDir(), "tree")
	if err := f.Export(ctx, storefront, head, dir); err != nil {
		t.Fatal(err)
	}
	if got := must[[]byte](t)(os.ReadFile(filepath.Join(dir, "main.go"))); string(got) != content {
		t.Errorf("built is %q, want %q", got, content)
	}
	other := must[string](t)(f.CommitFiles(ctx, storefront, "other", main, map[string][]byte{"main.go": []byte("package other\n\nfunc main() {}\n")}, "Other", ann))
	rival := must[string](t)(f.CommitFiles(ctx, storefront, "rival", main, map[string][]byte{"main.go": []byte("package rival\n\nfunc main() {}\n")}, "Rival", ann))
	if _, conflicts, err := f.MergeTree(ctx, storefront, other, rival); err != nil || len(conflicts) != 1 {
		t.Errorf("conflicts %v, %v: an attribute chose how to merge", conflicts, err)
	}
}

func TestThePatchOfOneFileIsWhole(t *testing.T) {
	f := newForge(t)
	ctx := t.Context()
	main := f.create(storefront)
	long := strings.Repeat("0123456789\u202e\n", 40_000)
	head := must[string](t)(f.CommitFiles(ctx, storefront, "x", main, map[string][]byte{"big": []byte(long + "the end"), "main.go": []byte("x\n"), "one-line": bytes.Repeat([]byte("ä"), 1<<20)}, "X", ann))
	var out strings.Builder
	content := must[string](t)(f.FilePatch(ctx, storefront, main, head, "big", &out))
	if content == "" || strings.Count(out.String(), "+0123456789⟨U+202E⟩\n") != 40_000 || !strings.Contains(out.String(), "+the end") || strings.Contains(out.String(), "main.go") {
		t.Errorf("the patch of big has %d bytes", out.Len())
	}
	out.Reset()
	must[string](t)(f.FilePatch(ctx, storefront, main, head, "one-line", &out))
	if strings.Count(out.String(), "ä") < 1<<20-8 {
		t.Errorf("the patch of one line has %d bytes", out.Len())
	}
	_, err := f.FilePatch(ctx, storefront, main, head, "smoke.sh", io.Discard)
	isFault(t, err, "file.not_found")
}
