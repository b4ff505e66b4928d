package git

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"database/sql/driver"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/patience"
)

func TestAPushedBranchIsToldAndAnsweredOnTheTerminal(t *testing.T) {
	f := newForge(t)
	main := f.create(storefront)
	f.said = func(p Push) []string {
		return []string{"Change chg_1: https://flywheel.example/changes/chg_1", "lane software", "\x1b[2Jtitle\nforged"}
	}
	c := f.clone(storefront, "ann")
	c.git("switch", "--quiet", "-c", "fix/#1-größe")
	one := c.commit("a", "1", "One")
	two := c.commit("a", "2", "Two")
	contains(t, c.git("push", "origin", "HEAD"), "remote: Change chg_1: https://flywheel.example/changes/chg_1", "remote: lane software", "remote: ⟨U+001B⟩[2Jtitle forged")

	ref := "refs/heads/fix/#1-größe"
	f.wants(Push{storefront, []RefUpdate{{ref, "", two, 2}}})
	c.git("reset", "--quiet", "--hard", one)
	three := c.commit("a", "3", "Three")
	contains(t, c.fails("push", "origin", "HEAD"), "non-fast-forward")
	c.git("push", "--force", "origin", "HEAD")
	f.wants(Push{storefront, []RefUpdate{{ref, two, three, 2}}})
	c.git("push", "origin", "--delete", "fix/#1-größe")
	f.wants(Push{storefront, []RefUpdate{{ref, three, "", 0}}})
	if heads := must[map[string]string](t)(f.Heads(t.Context(), storefront)); len(heads) != 1 || heads["main"] != main {
		t.Errorf("heads %v", heads)
	}
}

// wants fails unless the newest push is this one.
func (f *forge) wants(want Push) {
	f.t.Helper()
	all := f.pushes()
	if len(all) == 0 || fmt.Sprint(all[len(all)-1]) != fmt.Sprint(want) {
		f.t.Errorf("pushed %v, want %v last", all, want)
	}
}

func TestMainIsProtected(t *testing.T) {
	f := newForge(t)
	main := f.create(storefront)
	c := f.clone(storefront, "ann")
	c.commit("a", "1", "One")

	t.Run("a push to main is refused before git runs", func(t *testing.T) {
		out := c.fails("push", "origin", "HEAD:main")
		contains(t, out, "! [remote rejected] HEAD -> main (main is protected: push a branch, Flywheel merges it (git.main_protected))")
		if got, err := f.git(t.Context(), f.dir(storefront), nil, "cat-file", "-t", c.git("rev-parse", "HEAD")); err == nil {
			t.Errorf("git took the %s", got)
		}
	})
	t.Run("by force too", func(t *testing.T) {
		c.git("commit", "--quiet", "--amend", "--allow-empty", "-m", "Rewritten")
		contains(t, c.fails("push", "--force", "origin", "HEAD:main"), "main is protected")
	})
	t.Run("it cannot be deleted", func(t *testing.T) {
		contains(t, c.fails("push", "origin", "--delete", "main"), "(main is protected: it cannot be deleted (git.main_protected))")
	})
	t.Run("tags and other refs are refused, each with its reason", func(t *testing.T) {
		c.git("tag", "v9.9.9")
		out := c.fails("push", "origin", "v9.9.9", "HEAD:refs/notes/x", "HEAD:main", "HEAD:refs/flywheel/x")
		contains(t, out, "v9.9.9 -> v9.9.9 (tags are protected: Flywheel makes them when a version is published (git.tag_protected))", "refs/notes/x (only branches can be pushed (git.branches_only))",
			"refs/flywheel/x (only branches can be pushed (git.branches_only))", "HEAD -> main (main is protected")
	})
	t.Run("the innocent branch of the same push goes through", func(t *testing.T) {
		out := c.fails("push", "origin", "HEAD:innocent", "HEAD:main", "HEAD:refs/tags/v1")
		contains(t, out, "* [new branch]      HEAD -> innocent", "remote: main is protected: push a branch, Flywheel merges it",
			"! [remote rejected] HEAD -> main (hook declined)", "remote: tags are protected", "! [remote rejected] HEAD -> v1 (hook declined)")
		f.wants(Push{storefront, []RefUpdate{{"refs/heads/innocent", "", c.git("rev-parse", "HEAD"), 1}}})
	})
	t.Run("unless the pusher asks for all or nothing", func(t *testing.T) {
		contains(t, c.fails("push", "--atomic", "origin", "HEAD:all", "HEAD:main"), "main is protected", "atomic push fail")
	})
	heads := must[map[string]string](t)(f.Heads(t.Context(), storefront))
	if heads["main"] != main || heads["innocent"] == "" || len(heads) != 2 {
		t.Errorf("heads %v", heads)
	}
	if tags := must[[]byte](t)(f.git(t.Context(), f.dir(storefront), nil, "for-each-ref", "refs/tags", "refs/notes", "refs/flywheel")); len(tags) > 0 {
		t.Errorf("refs %s", tags)
	}
}

func TestABranchThatLooksLikeSomethingElseIsRefused(t *testing.T) {
	f := newForge(t)
	main := f.create(storefront)
	if err := f.Tag(t.Context(), storefront, "stable", main); err != nil {
		t.Fatal(err)
	}
	c := f.clone(storefront, "ann")
	sha := c.commit("a", "1", "One")
	refused := map[string]string{
		"refs/heads/main":        "did you mean main?",
		"refs":                   "may not begin with refs",
		"REFS/x":                 "may not begin with REFS",
		"heads/fix":              "did you mean fix?",
		"tags/v1":                "did you mean v1?",
		"remotes/origin/main":    "did you mean main?",
		"origin/fix":             "did you mean fix?",
		"HEAD":                   "git has a meaning of its own for the name HEAD",
		"Head":                   "git has a meaning of its own",
		"FETCH_HEAD":             "git has a meaning of its own",
		"auto_merge":             "git has a meaning of its own",
		"NOTES_MERGE_REF":        "git has a meaning of its own",
		"main-worktree/HEAD":     "did you mean HEAD?", // the HEAD of the clone itself
		"worktrees/x/HEAD":       "may not begin with worktrees",
		"logs/HEAD":              "did you mean HEAD?", // a file that begins like a ref
		"stash":                  "may not begin with stash",
		"bisect/bad":             "may not begin with bisect",
		"notes/commits":          "did you mean commits?",
		"main\u2800":             "not shown: main⟨U+2800⟩",
		"fix1\u0430":             "mixes letters of several scripts",
		"@":                      "git has a meaning of its own",
		"-x":                     "begins with -",
		"--force":                "begins with -",
		"+main":                  "begins with +",
		"#1":                     "begins with #",
		"Main":                   "main in other letters",
		"MAIN":                   "main in other letters",
		"ｍａｉｎ":                   "main in other letters",
		"m\u0430in":              "mixes letters of several scripts that look alike, in mаin",
		"ma\u200bin":             "not shown: ma⟨U+200B⟩in",
		"main\u202e":             "not shown: main⟨U+202E⟩",
		"fix\u0085":              "not shown: fix⟨U+0085⟩",
		"fix\u00a0it":            "not shown",
		"gro\u0308\u00dfe":       "not in the usual form of Unicode",
		"main/x":                 "cannot be below main",
		"v1.2.3":                 "looks like the tag of a version",
		"v1.2.3-rc.1":            "looks like the tag of a version",
		"flywheel/x":             "are for Flywheel itself",
		"a$(reboot)":             "a character that a shell reads as something else",
		"a;b":                    "a character that a shell reads as something else",
		strings.Repeat("ab", 20): "looks like the id of a commit",
		strings.Repeat("x", 201): "too long",
	}
	push := []string{"push", "origin"}
	for name := range refused {
		push = append(push, sha+":refs/heads/"+name)
	}
	out := c.fails(push...)
	for name, why := range refused {
		_, line, _ := strings.Cut(out, " -> "+name+" (")
		line, _, _ = strings.Cut(line, "\n")
		if !strings.Contains(line, why) || !strings.Contains(line, "(git.branch_name)") {
			t.Errorf("%q is answered with %q, want %q", name, line, why)
		}
	}
	contains(t, c.fails("push", "origin", sha+":refs/heads/stable"), "remote: There is a tag of this name", "remote: (git.branch_name)")
	contains(t, c.fails("push", "origin", sha+":refs/heads/fine", sha+":refs/heads/HEAD"), "[new branch]", "remote: git has a meaning of its own for the name HEAD (git.branch_name)")
	push = []string{"push", "--quiet", "origin"}
	for _, name := range []string{"fix/#2-größe", "feature/検索-page", "поиск", "user@host", "release-1.2", "mainline", "refs-cleanup", "ahead", "stashed", "logs-cleanup", "fix2-поиск3"} {
		push = append(push, sha+":refs/heads/"+name)
	}
	c.git(push...)

	t.Run("one that is there already can be deleted", func(t *testing.T) {
		must[[]byte](t)(f.Host.git(t.Context(), f.dir(storefront), nil, "update-ref", "refs/heads/refs/heads/main", main))
		c.git("push", "origin", "--delete", "refs/heads/refs/heads/main")
	})
	if got := must[string](t)(f.Resolve(t.Context(), storefront, "refs/heads/main")); got != main {
		t.Errorf("main is at %s", got)
	}
}

func TestAPushThatCannotBecomeAChangeIsRefusedWithTheReason(t *testing.T) {
	f := newForge(t)
	f.create(storefront)
	c := f.clone(storefront, "ann")
	t.Run("a file name that is not UTF-8", func(t *testing.T) {
		c.git("switch", "--quiet", "-c", "latin", "origin/main")
		c.commit("caf\xe9.txt", "x", "Latin")
		contains(t, c.fails("push", "origin", "latin"), `remote: The file name "caf\xe9.txt" is not UTF-8.`, "remote: Rename the file", "latin -> latin (hook declined)")
	})
	t.Run("a file below too many folders", func(t *testing.T) {
		c.git("switch", "--quiet", "-c", "deep", "origin/main")
		c.commit(strings.Repeat("deep/", 250)+"file", "x", "Deep")
		contains(t, c.fails("push", "origin", "deep"), "has 1254 bytes, more than the 1024 that are allowed.", "remote: Use fewer levels", "deep -> deep (hook declined)")
	})
	t.Run("a file name that hides something", func(t *testing.T) {
		c.git("switch", "--quiet", "-c", "sly", "origin/main")
		c.commit("main\u202e.tf", "x", "Sly")
		contains(t, c.fails("push", "origin", "sly"), "remote: The file name main⟨U+202E⟩.tf has a character that is not shown.", "remote: (file.name_hidden)")
	})
	t.Run("a file that git LFS keeps elsewhere", func(t *testing.T) {
		c.git("switch", "--quiet", "-c", "lfs", "origin/main")
		c.commit("model.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n", "Large")
		contains(t, c.fails("push", "origin", "lfs"), "remote: The file model.bin is kept by git LFS", "git lfs untrack", "remote: (git.lfs)")
	})
	t.Run("a pointer in a folder, as git LFS wrote it first", func(t *testing.T) {
		c.git("switch", "--quiet", "-c", "hawser", "origin/main")
		c.commit("data/.gitkeep", "version https://hawser.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n", "Large")
		contains(t, c.fails("push", "origin", "hawser"), "remote: The file data/.gitkeep is kept by git LFS", "remote: (git.lfs)")
	})
	t.Run("a text about git LFS is taken", func(t *testing.T) {
		c.git("switch", "--quiet", "-c", "about", "origin/main")
		c.commit("lfs.md", "A pointer begins with\nversion https://git-lfs.github.com/spec/v1\n", "About")
		contains(t, c.git("push", "origin", "about"), "[new branch]")
	})
	for name, target := range map[string]string{"absolute": "/etc/passwd", "upwards": "../../etc", "through a folder": "docs/../../x"} {
		t.Run("a link that leads out, "+name, func(t *testing.T) {
			c.git("switch", "--quiet", "-C", "link", "origin/main")
			if err := os.Symlink(target, filepath.Join(c.dir, "leads")); err != nil {
				t.Fatal(err)
			}
			c.commit("a", "x", "Link")
			contains(t, c.fails("push", "origin", "link"), "remote: The link leads leads out of the repository.", "remote: (git.link_escapes)")
		})
	}
	t.Run("a submodule is taken and named", func(t *testing.T) {
		c.git("switch", "--quiet", "-c", "sub", "origin/main")
		c.git("update-index", "--add", "--cacheinfo", "160000,"+c.git("rev-parse", "HEAD")+",lib")
		c.git("commit", "--quiet", "-m", "Sub")
		contains(t, c.git("push", "origin", "sub"), "remote: lib is a submodule: Flywheel does not fetch it", "(git.submodule)", "[new branch]")
	})
	t.Run("many submodules are named, and how many more there are", func(t *testing.T) {
		c.git("switch", "--quiet", "-c", "subs", "origin/main")
		for n := range 22 {
			c.git("update-index", "--add", "--cacheinfo", "160000,"+c.git("rev-parse", "HEAD")+","+fmt.Sprintf("deep/lib%02d", n))
		}
		c.git("commit", "--quiet", "-m", "Subs")
		contains(t, c.git("push", "origin", "subs"), "remote: deep/lib00 is a submodule", "remote: deep/lib19 is a submodule", "remote: And 2 more submodules.", "[new branch]")
	})
	t.Run("a branch name that is not UTF-8", func(t *testing.T) {
		c.git("switch", "--quiet", "-c", "fine", "origin/main")
		contains(t, c.fails("push", "origin", "HEAD:refs/heads/caf\xe9"), "(the branch's name is not UTF-8: rename the branch (git.branch_not_utf8))")
		out := c.fails("push", "origin", "HEAD:fine", "HEAD:refs/heads/caf\xe9")
		contains(t, out, "[new branch]      HEAD -> fine", "(hook declined)")
	})
	t.Run("a history of its own", func(t *testing.T) {
		c.git("switch", "--quiet", "--orphan", "alone")
		c.commit("b", "x", "Alone")
		contains(t, c.fails("push", "origin", "alone"), "remote: The branch shares no commit with main.", "git switch -c my-branch origin/main")
	})
	t.Run("a push of no commits is taken and says so", func(t *testing.T) {
		contains(t, c.git("push", "origin", "origin/main:refs/heads/nothing"), "remote: nothing has no commit that main does not have: there is nothing to propose yet.")
	})
	t.Run("objects that would harm a checkout", func(t *testing.T) {
		blob := c.git("rev-parse", "origin/main:flywheel.yaml")
		inner := filepath.Join(t.TempDir(), "tree")
		if err := os.WriteFile(inner, []byte("100644 blob "+blob+"\t.git\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		script := "git commit-tree -p origin/main -m x $(git mktree < " + inner + ")"
		sha := c.git("-c", "alias.harm=!"+script, "harm")
		contains(t, c.fails("push", "origin", sha+":refs/heads/harm"), "hasDotgit", "(unpacker error)")
	})
}

func TestAPushToNothingOrByNobodyIsRefusedInWords(t *testing.T) {
	f := newForge(t)
	f.create(storefront)
	f.create(App("open"))
	c := &clone{t, filepath.Join(t.TempDir(), "x")}

	out := c.fails("clone", strings.Replace(f.url(storefront, "ann"), "ann-token", "wrong", 1), c.dir)
	contains(t, out, "remote: This token is not known, or it has expired.", "Authentication failed")
	contains(t, c.fails("clone", f.url(storefront, ""), c.dir), "could not read Username")
	contains(t, c.fails("clone", f.url(App("nope"), "ann"), c.dir), `remote: There is no repository "apps/nope".`, "not found")
	hidden := c.fails("clone", f.url(storefront, "eve"), c.dir)
	contains(t, hidden, `remote: There is no repository "apps/storefront".`, "not found")

	open := f.clone(App("open"), "eve")
	open.commit("a", "1", "One")
	contains(t, open.fails("push", "origin", "HEAD:x"), "remote: You may read apps/open, but not push to it.", "remote: Ask team shop to add you.", "403")

	for path, status := range map[string]int{
		"/git/apps/storefront.git/info/refs": 400, "/git/apps/storefront.git/HEAD": 404, "/git/apps/../storefront.git/info/refs": 404,
		"/git/x/storefront.git/info/refs?service=git-upload-pack": 404, "/git/apps/storefront.git/info/refs?service=git-upload-archive": 400,
		"/git/apps/storefront.git/git-receive-pack": 400,
	} {
		if got := f.get(path); got != status {
			t.Errorf("%s answers %d, want %d", path, got, status)
		}
	}
	r, err := http.Get(f.server.URL + "/git/apps/storefront.git/info/refs?service=git-upload-pack")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != 401 || !strings.HasPrefix(r.Header.Get("WWW-Authenticate"), "Basic ") {
		t.Errorf("nobody gets %d %q", r.StatusCode, r.Header.Get("WWW-Authenticate"))
	}
}

func TestADatabaseThatIsAwayIsSaidToWhoeverClonesAndPushes(t *testing.T) {
	f := newForge(t)
	f.create(storefront)
	c := f.clone(storefront, "ann")
	c.commit("a", "1", "One")
	known := f.Authenticate
	f.Authenticate = func(context.Context, string, string) (context.Context, error) { return nil, driver.ErrBadConn }
	for _, command := range [][]string{{"fetch", "origin"}, {"push", "origin", "HEAD:x"}} {
		contains(t, c.fails(command...), "remote: The database does not answer right now.", "remote: Try again in a moment; nothing is lost.", "remote: (database.away)", "503")
	}
	r, err := http.NewRequest("GET", f.server.URL+"/git/apps/storefront.git/info/refs?service=git-upload-pack", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("x", "ann-token")
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != 503 || answer.Header.Get("Retry-After") != "2" {
		t.Errorf("it answers %d, to be tried again after %q", answer.StatusCode, answer.Header.Get("Retry-After"))
	}
	f.Authenticate = known
	c.git("push", "origin", "HEAD:x")
}

func (f *forge) get(path string) int {
	f.t.Helper()
	r, err := http.NewRequest("GET", f.server.URL+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	r.SetBasicAuth("x", "ann-token")
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		f.t.Fatal(err)
	}
	answer.Body.Close()
	return answer.StatusCode
}

// big writes a file of n bytes that cannot be compressed.
func (c *clone) big(name string, n int) string {
	c.t.Helper()
	content := make([]byte, n)
	rand.Read(content)
	return c.commit(name, string(content), "Add "+name)
}

func TestALargePushComesInChunks(t *testing.T) {
	f := newForge(t)
	f.create(storefront)
	c := f.clone(storefront, "ann")
	sha := c.big("big", 5<<20)
	c.git("-c", "http.postBuffer=65536", "push", "origin", "HEAD:big")
	f.wants(Push{storefront, []RefUpdate{{"refs/heads/big", "", sha, 1}}})
	other := f.clone(storefront, "bob")
	other.git("switch", "--quiet", "big")
	if info, err := os.Stat(filepath.Join(other.dir, "big")); err != nil || info.Size() != 5<<20 {
		t.Errorf("fetched %v, %v", info, err)
	}
	contains(t, c.fails("-c", "http.postBuffer=65536", "push", "origin", "HEAD:main"), "main is protected: push a branch")
}

func TestAPushOverTheLimitIsRefusedInWords(t *testing.T) {
	f := newForge(t, func(h *Host) { h.PushLimit = 1 << 20 })
	main := f.create(storefront)
	c := f.clone(storefront, "ann")
	c.commit("small", "x", "Small")
	c.git("push", "origin", "HEAD:small")
	c.big("big", 2<<20)
	for _, buffer := range []string{"65536", "100000000"} { // in chunks, and with a Content-Length
		out := c.fails("-c", "http.postBuffer="+buffer, "push", "origin", "HEAD:big", "HEAD:other")
		contains(t, out, "HEAD -> big (the push is larger than 1 MB)", "HEAD -> other (the push is larger than 1 MB)",
			"remote: Push an older commit of the branch first")
	}
	heads := must[map[string]string](t)(f.Heads(t.Context(), storefront))
	if len(heads) != 2 || heads["main"] != main {
		t.Errorf("heads %v", heads)
	}
	if left, _ := filepath.Glob(filepath.Join(f.dir(storefront), "objects", "*", "tmp_*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestEveryAuthenticatedPusherSinceMainIsAnAuthor(t *testing.T) {
	f := newForge(t)
	ctx := t.Context()
	main := f.create(storefront)
	a := f.clone(storefront, "ann")
	a.git("switch", "--quiet", "-c", "work")
	anns := a.commit("a", "1", "Ann's")
	a.git("push", "--quiet", "origin", "work")
	f.authors("work", "ann")

	b := f.clone(storefront, "bob")
	b.git("switch", "--quiet", "work")
	bobs := b.commit("b", "1", "Bob's, whatever its author field says")
	b.git("push", "--quiet", "origin", "work")
	f.authors("work", "ann", "bob")

	t.Run("rewriting the branch removes nobody", func(t *testing.T) {
		b.git("reset", "--quiet", "--hard", main)
		b.commit("b", "2", "Alone")
		b.git("push", "--quiet", "--force", "origin", "work")
		f.authors("work", "ann", "bob")
	})
	t.Run("carrying the commits to another branch removes nobody", func(t *testing.T) {
		b.git("push", "--quiet", "origin", anns+":refs/heads/part")
		f.authors("part", "ann", "bob")
		b.git("push", "--quiet", "origin", "--delete", "work")
		b.git("push", "--quiet", "origin", bobs+":refs/heads/work")
		f.authors("work", "ann", "bob")
	})
	t.Run("a branch made anew begins anew", func(t *testing.T) {
		b.git("push", "--quiet", "origin", "--delete", "work")
		b.git("switch", "--quiet", "--detach", main)
		b.commit("c", "3", "New")
		b.git("push", "--quiet", "origin", "HEAD:refs/heads/work")
		f.authors("work", "bob")
	})
	t.Run("what is on main has no authors left", func(t *testing.T) {
		must[string](t)(f.CommitMerge(ctx, storefront, main, anns, "Merge", Identity{"Ann", ""}))
		carol := context.WithValue(ctx, personKey{}, "carol")
		merged := must[string](t)(f.Resolve(ctx, storefront, "main"))
		must[string](t)(f.CommitFiles(carol, storefront, "form", merged, map[string][]byte{"x": {}}, "Form", Identity{"Carol", ""}))
		f.authors("form", "carol")
	})
	t.Run("a deleted repository has none", func(t *testing.T) {
		if err := f.Delete(ctx, storefront); err != nil {
			t.Fatal(err)
		}
		if got := must[[]string](t)(f.Pushers(ctx, storefront, "work", "")); len(got) != 0 {
			t.Errorf("authors %v", got)
		}
	})
}

func (f *forge) authors(branch string, want ...string) {
	f.t.Helper()
	got, err := f.Pushers(f.t.Context(), storefront, branch, "refs/heads/"+branch)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		f.t.Errorf("the authors of %s are %v, %v; want %v", branch, got, err, want)
	}
}

// post sends a raw push as ann and returns status and text.
func (f *forge) post(body io.Reader, header ...string) (int, string) {
	f.t.Helper()
	r, err := http.NewRequest("POST", f.server.URL+storefront.Path()+"/git-receive-pack", body)
	if err != nil {
		f.t.Fatal(err)
	}
	r.SetBasicAuth("x", "ann-token")
	r.Header.Set("Content-Type", "application/x-git-receive-pack-request")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func pkt(payload string) string { return fmt.Sprintf("%04x%s", len(payload)+4, payload) }

func TestAMalformedPushIsRefusedInWords(t *testing.T) {
	f := newForge(t)
	main := f.create(storefront)
	id := strings.Repeat("1", 40)
	for name, body := range map[string]string{
		"nothing":                   "",
		"a cut length":              "00",
		"no length":                 "zzzz",
		"a reserved length":         "0003",
		"a cut line":                "00ff" + id,
		"no flush":                  pkt(id + " " + main + " refs/heads/x\x00report-status"),
		"no ids":                    pkt("hello world refs/heads/x") + "0000",
		"a short id":                pkt("1 2 refs/heads/x") + "0000",
		"no ref":                    pkt(id+" "+main+" HEAD") + "0000",
		"a control character":       pkt(id+" "+main+" refs/heads/a\tb") + "0000",
		"the same ref twice":        pkt(id+" "+main+" refs/heads/x\x00") + pkt(id+" "+main+" refs/heads/x") + "0000",
		"a certificate":             pkt("push-cert\x00") + "0000",
		"more refs than make sense": strings.Repeat(pkt(id+" "+main+" refs/heads/x"), 2) + "0000",
	} {
		status, text := f.post(strings.NewReader(body))
		if status != 400 || !strings.HasPrefix(text, "The request cannot be read: ") || !strings.HasSuffix(text, "Use a current git client.\n(git.request_malformed)\n") {
			t.Errorf("%s: %d %q", name, status, text)
		}
	}
	var many strings.Builder
	for i := range commandMax + 1 {
		many.WriteString(pkt(fmt.Sprintf("%s %s refs/heads/b%d", id, main, i)))
	}
	if status, text := f.post(strings.NewReader(many.String() + "0000")); status != 400 || !strings.Contains(text, "more than 1000 refs") {
		t.Errorf("many refs: %d %q", status, text)
	}
	if status, text := f.post(strings.NewReader("0000")); status != 200 || text != "" {
		t.Errorf("an empty list, with which git tries its sign-in: %d %q", status, text)
	}
	if status, text := f.post(strings.NewReader("x"), "Content-Encoding", "gzip"); status != 400 {
		t.Errorf("no gzip: %d %q", status, text)
	}
	list := pkt(zeroOID+" "+main+" refs/heads/x\x00report-status side-band-64k agent=x") + "0000"
	if status, text := f.post(strings.NewReader(list + "garbage, not a pack")); status != 200 || !strings.Contains(text, "ng refs/heads/x") {
		t.Errorf("garbage for a pack: %d %q", status, text)
	}
	if heads := must[map[string]string](t)(f.Heads(t.Context(), storefront)); len(heads) != 1 {
		t.Errorf("heads %v", heads)
	}
	if len(f.pushes()) != 0 {
		t.Errorf("told of %v", f.pushes())
	}
}

func TestAPackedRequestIsUnpacked(t *testing.T) {
	f := newForge(t)
	main := f.create(storefront)
	pack := must[[]byte](t)(f.git(t.Context(), f.dir(storefront), strings.NewReader(""), "pack-objects", "--stdout"))
	var body bytes.Buffer
	z := gzip.NewWriter(&body)
	io.WriteString(z, pkt(zeroOID+" "+main+" refs/heads/packed\x00report-status")+"0000")
	z.Write(pack)
	z.Close()
	whole := body.Bytes()
	if status, text := f.post(bytes.NewReader(whole), "Content-Encoding", "gzip"); status != 200 || !strings.Contains(text, "ok refs/heads/packed") {
		t.Errorf("%d %q", status, text)
	}
	if status, text := f.post(bytes.NewReader(whole[:len(whole)-6]), "Content-Encoding", "gzip"); status != 400 {
		t.Errorf("cut short: %d %q", status, text)
	}
}

func TestAClientThatGoesAwayLeavesNothingRunning(t *testing.T) {
	f := newForge(t)
	main := f.create(storefront)
	conn, err := net.Dial("tcp", f.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	list := pkt(zeroOID+" "+main+" refs/heads/x\x00report-status") + "0000"
	fmt.Fprintf(conn, "POST %s/git-receive-pack HTTP/1.1\r\nHost: x\r\nAuthorization: Basic eDphbm4tdG9rZW4=\r\n"+
		"Content-Type: application/x-git-receive-pack-request\r\nContent-Length: 1000000\r\n\r\n%sPACK", storefront.Path(), list)
	marker := envSocket + "=" + f.socket
	await(t, "git works on the push", func() bool { return len(processesWith(marker)) > 0 })
	conn.Close()
	await(t, "git is gone", func() bool { return len(processesWith(marker)) == 0 })
	await(t, "the push is forgotten", func() bool {
		f.Host.pushes.mutex.Lock()
		defer f.Host.pushes.mutex.Unlock()
		return len(f.Host.pushes.open) == 0
	})
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	patience.Until(t, what, done)
}

// processesWith returns the processes that have the variable in their environment.
func processesWith(variable string) (pids []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		if content, err := os.ReadFile(file); err == nil && bytes.Contains(content, []byte(variable)) {
			pids = append(pids, file)
		}
	}
	return pids
}

func TestPushedRunsToItsEndThoughThePusherLeft(t *testing.T) {
	f := newForge(t)
	f.create(storefront)
	reached, left := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	pushed := f.Host.Pushed
	f.Host.Pushed = func(ctx context.Context, p Push) []string {
		if person(ctx) != "ann" {
			t.Errorf("pushed by %q", person(ctx))
		}
		close(reached)
		<-left
		ended <- ctx.Err()
		return pushed(ctx, p)
	}
	c := f.clone(storefront, "ann")
	c.commit("a", "1", "One")
	cmd := exec.Command("git", "push", "origin", "HEAD:x")
	cmd.Dir = c.dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-reached
	cmd.Process.Kill()
	cmd.Wait()
	close(left)
	if err := <-ended; err != nil {
		t.Errorf("the context had ended: %v", err)
	}
	await(t, "the push is told", func() bool { return len(f.pushes()) == 1 })
}

func TestAPushWhoseConsequencesFailIsKept(t *testing.T) {
	f := newForge(t)
	f.create(storefront)
	c := f.clone(storefront, "ann")
	sha := c.commit("a", "1", "One")
	found := func(branch string) {
		t.Helper()
		if heads := must[map[string]string](t)(f.Heads(t.Context(), storefront)); heads[branch] != sha {
			t.Errorf("heads %v", heads)
		}
		f.authors(branch, "ann")
	}
	t.Run("when Pushed panics", func(t *testing.T) {
		f.said = func(Push) []string { panic("a defect") }
		contains(t, c.git("push", "origin", "HEAD:defect"), "remote: Something went wrong inside Flywheel.", "remote: Ask an operator to look for ")
		found("defect")
	})
	t.Run("when the server goes away", func(t *testing.T) {
		cmd := exec.Command(filepath.Join(f.hooks, "post-receive"))
		cmd.Env = []string{envSelf + "=" + f.Self, envSocket + "=/nowhere", envPush + "=x"}
		cmd.Stdin = strings.NewReader(zeroOID + " " + sha + " refs/heads/defect\n")
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Error("nobody answered, and it did not say so")
		}
		contains(t, string(out), "The branch is pushed, but Flywheel does not answer. It looks at the branch when it is back.")
	})
}

func FuzzACommandListOfAnyBytesIsReadOrRefused(fz *testing.F) {
	id := strings.Repeat("1", 40)
	fz.Add([]byte(pkt(id+" "+zeroOID+" refs/heads/x\x00report-status side-band-64k") + "0000PACK"))
	fz.Add([]byte(pkt("shallow "+id) + pkt(zeroOID+" "+id+" refs/heads/main\n") + "0000"))
	fz.Add([]byte("0000"))
	fz.Add([]byte("fff0"))
	fz.Add([]byte("0004"))
	fz.Add([]byte("+123"))
	fz.Fuzz(func(t *testing.T, input []byte) {
		in := newBufio(input)
		list, err := readCommands(in)
		if err != nil {
			return
		}
		rest, _ := io.ReadAll(in)
		if !bytes.Equal(append(append([]byte{}, list.raw...), rest...), input) {
			t.Error("git would not read what was sent")
		}
		again, err := readCommands(newBufio(list.raw))
		if err != nil || len(again.commands) != len(list.commands) {
			t.Error("reading again differs")
		}
		list.report("text", "ok", refusals(list.commands))
		for _, c := range list.commands {
			if refusal(c) == "" && !strings.HasPrefix(c.ref, "refs/heads/") {
				t.Errorf("%q may be pushed", c.ref)
			}
		}
	})
}

func TestEveryWayToFetchWorks(t *testing.T) {
	f := newForge(t)
	main := f.create(storefront)
	for _, args := range [][]string{
		{"-c", "protocol.version=0"}, {"-c", "protocol.version=1"}, {"-c", "protocol.version=2"},
	} {
		for _, more := range [][]string{nil, {"--depth=1"}, {"--filter=blob:none"}, {"--mirror"}} {
			c := &clone{t, filepath.Join(t.TempDir(), "work")}
			c.git(append(append(append(args, "clone", "--quiet"), more...), f.url(storefront, "bob"), c.dir)...)
			if got := c.git("rev-parse", "HEAD"); got != main {
				t.Errorf("%v %v: %s", args, more, got)
			}
		}
	}
	t.Run("a fetch with much to say, which git packs", func(t *testing.T) {
		c := f.clone(storefront, "ann")
		for range 60 {
			c.git("commit", "--quiet", "--allow-empty", "-m", "mine")
		}
		sha := must[string](t)(f.CommitFiles(t.Context(), storefront, "theirs", main, map[string][]byte{"x": []byte("y")}, "Theirs", ann))
		out, err := c.try("fetch", "--quiet", "origin", "theirs")
		if err != nil || c.git("rev-parse", "FETCH_HEAD") != sha {
			t.Errorf("%v %s", err, out)
		}
	})
	t.Run("a push from a shallow clone", func(t *testing.T) {
		c := &clone{t, filepath.Join(t.TempDir(), "work")}
		c.git("clone", "--quiet", "--depth=1", "--branch=theirs", f.url(storefront, "bob"), c.dir)
		sha := c.commit("z", "1", "Shallow")
		c.git("push", "origin", "HEAD:shallow")
		f.wants(Push{storefront, []RefUpdate{{"refs/heads/shallow", "", sha, 2}}})
	})
}
