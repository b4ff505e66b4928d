package git

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/fault"
)

func newBufio(b []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(b)) }

func TestAHookThatGitWouldIgnoreIsFound(t *testing.T) {
	for what, damage := range map[string]func(folder string) error{
		"no run bit":      func(f string) error { return os.Chmod(filepath.Join(f, "update"), 0o444) },
		"writable":        func(f string) error { return os.Chmod(filepath.Join(f, "update"), 0o755) },
		"gone":            func(f string) error { return os.Remove(filepath.Join(f, "update")) },
		"another content": func(f string) error { return rewrite(filepath.Join(f, "update"), "#!/bin/sh\nexit 0\n") },
		"a link":          func(f string) error { return relink(filepath.Join(f, "update")) },
		"one more":        func(f string) error { return rewrite(filepath.Join(f, "reference-transaction"), "#!/bin/sh\n") },
		"no folder":       os.RemoveAll,
	} {
		folder := filepath.Join(t.TempDir(), "hooks")
		if err := writeHooks(folder); err != nil {
			t.Fatal(err)
		}
		if err := verifyHooks(folder); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := damage(folder); err != nil {
			t.Fatal(err)
		}
		if err := verifyHooks(folder); !fault.Is(err, "git.hooks_damaged") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func rewrite(file, content string) error {
	os.Remove(file)
	if err := os.WriteFile(file, []byte(content), 0o700); err != nil {
		return err
	}
	return os.Chmod(file, 0o500)
}

func relink(file string) error {
	if err := os.Rename(file, filepath.Join(filepath.Dir(filepath.Dir(file)), "elsewhere")); err != nil {
		return err
	}
	return os.Symlink("../elsewhere", file)
}

func TestAPushIsRefusedWhileTheHooksAreDamaged(t *testing.T) {
	f := newForge(t)
	f.create(storefront)
	c := f.clone(storefront, "ann")
	c.commit("a", "1", "One")
	if err := os.Chmod(filepath.Join(f.hooks, "update"), 0o444); err != nil {
		t.Fatal(err)
	}
	out := c.fails("push", "origin", "HEAD:x", "HEAD:main")
	contains(t, out, "remote: The hooks that protect main cannot be relied on: update may not be executed.", "(the server cannot take pushes now)")
}

func TestAHookWithoutItsServerRefuses(t *testing.T) {
	f := newForge(t)
	main := f.create(storefront)
	c := f.clone(storefront, "ann")
	c.commit("a", "1", "One")
	hook := func(env ...string) string {
		t.Helper()
		cmd := exec.Command(filepath.Join(f.hooks, "update"), "refs/heads/x", zeroOID, main)
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Errorf("with %v the hook allows", env)
		}
		return string(out)
	}
	contains(t, hook(), "this hook runs only under flywheel serve")
	self := envSelf + "=" + f.Self
	contains(t, hook(self), "Flywheel does not answer, so the push is refused", "only for a push through the server")
	contains(t, hook(self, envSocket+"=/nowhere", envPush+"=x"), "Flywheel does not answer")
	contains(t, hook(self, envSocket+"="+f.socket, envPush+"=made-up"), "the server does not know this push")
	for _, args := range [][]string{nil, {"update"}, {"pre-push"}} {
		if RunHook(args) == 0 {
			t.Errorf("hook %v allows", args)
		}
	}
}

func TestAPushThatTheServerDoesNotKnowMovesNothing(t *testing.T) {
	f := newForge(t)
	main := f.create(storefront)
	c := f.clone(storefront, "ann")
	f.Self = "/bin/false" // as if the binary were gone
	c.commit("a", "1", "One")
	contains(t, c.fails("push", "origin", "HEAD:x"), "hook declined")
	if heads := must[map[string]string](t)(f.Heads(t.Context(), storefront)); len(heads) != 1 || heads["main"] != main {
		t.Errorf("heads %v", heads)
	}
}

func TestWhatAKilledProcessLeftIsRemoved(t *testing.T) {
	f := newForge(t)
	left := filepath.Join(f.Run, "git-left")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeHooks(filepath.Join(left, "hooks")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left, "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	second := &Host{Root: f.Root, Run: f.Run}
	if err := second.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("the folder of a dead process is still there")
	}
	if err := verifyHooks(f.hooks); err != nil {
		t.Errorf("the folder of a living process was touched: %v", err)
	}
	second.Close()
	f.Close()
	if folders, _ := filepath.Glob(filepath.Join(f.Run, "*")); len(folders) != 0 {
		t.Errorf("left after Close: %v", folders)
	}
}

func TestAGitThatCannotServeStopsTheStart(t *testing.T) {
	for version, want := range map[string]bool{
		"git version 2.38.0": true, "git version 2.39.5": true, "git version 2.50.1 (Apple Git-155)": true, "git version 3.0.rc1": true,
		"git version 2.37.9": false, "git version 1.99": false, "hello": false, "": false,
	} {
		if newEnough(version) != want {
			t.Errorf("%q: new enough is %v", version, !want)
		}
	}
	start := func() error { return (&Host{Root: t.TempDir(), Run: t.TempDir()}).Start(t.Context()) }
	t.Setenv("PATH", t.TempDir())
	isFault(t, start(), "git.missing")

	fake := filepath.Join(os.Getenv("PATH"), "git")
	write := func(script string) {
		t.Helper()
		if err := os.WriteFile(fake, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("echo git version 2.20.1\n")
	err := start()
	isFault(t, err, "git.too_old")
	if !strings.Contains(err.Error(), "Install git 2.38") {
		t.Errorf("no way out in %q", err)
	}
	write("case $1 in version) echo git version 2.40.0;; *) echo /nowhere;; esac\n")
	isFault(t, start(), "git.backend_missing")
	write("exit 1\n")
	isFault(t, start(), "git.missing")
}
