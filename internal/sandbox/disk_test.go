package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/fault"
)

func TestACommandMayFillOnlySoMuchDisk(t *testing.T) {
	s := open(t, Options{})
	for name, attack := range map[string]struct{ script, want string }{
		"it is ended":                       {"while :; do head -c 1000000 /dev/zero >> /out/big; done", "sandbox.too_much_disk"},
		"also where it hides what it wrote": {"cd /out; while mkdir " + deep + "; do cd " + deep + "; done; head -c 100000000 /dev/zero > big; sleep 60", "sandbox.too_deep"},
		"also in a folder that it closes":   {"mkdir /out/c; exec 3>/out/c/big; chmod 0 /out/c; head -c 100000000 /dev/zero >&3; sleep 60", "sandbox.too_much_disk sandbox.closed_folder"},
		"and in one that it half closes":    {"mkdir /out/c; exec 3>/out/c/big; chmod 444 /out/c; head -c 100000000 /dev/zero >&3; sleep 60", "sandbox.too_much_disk sandbox.closed_folder"},
		"a folder may be closed a moment":   {"mkdir /out/c; chmod 0 /out/c; sleep 0.5; chmod 755 /out/c; sleep 3", ""},
		"a file with holes fills nothing":   {"truncate -s 1T /out/big; sleep 3", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			spec := shell(attack.script)
			spec.Binds, spec.Disk = []Bind{{Source: dir, Target: "/out", Writable: true}}, 20<<20
			out, err := run(t, s, spec)
			code := "" // root reads closed folders, a normal user does not
			if err != nil {
				code = fault.From(err).Code
			}
			if !slices.Contains(strings.Split(attack.want, " "), code) {
				t.Error(code, out, err)
			}
			if err := RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
	}
}

// deep is a name so long that few of them make a path that no call takes.
var deep = strings.Repeat("d", 200)

func TestWhateverACommandLeftIsRemoved(t *testing.T) {
	s := open(t, Options{})
	dir, kept := t.TempDir(), filepath.Join(t.TempDir(), "kept")
	if err := errors.Join(os.WriteFile(kept, nil, 0o600), os.Mkdir(filepath.Join(dir, "left"), 0o755)); err != nil {
		t.Fatal(err)
	}
	spec := shell(`
		mkdir -p sealed/in/side wide/a wide/b/c; touch sealed/in/file wide/a/x wide/b/c/y; mkfifo pipe
		ln -s ` + filepath.Dir(kept) + ` away; ln -s ` + filepath.Dir(kept) + ` sealed/away
		chmod 0 sealed/in/side sealed/in sealed`)
	out := Bind{Source: filepath.Join(dir, "left"), Target: "/out", Writable: true}
	spec.Dir, spec.Binds = "/out", []Bind{out}
	digging := program(t, "dig", "/out", "20000")
	digging.Binds = append(digging.Binds, out)
	for _, spec := range []Spec{spec, digging} {
		if out, err := run(t, s, spec); err != nil {
			t.Fatal(out, err)
		}
	}
	for range 2 { // that it is gone already is fine
		if err := RemoveAll(filepath.Join(dir, "left")); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Error("there is still", left, err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error("a link was followed:", err)
	}
}
