package local

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTheSameFolderPacksToTheSameBytes(t *testing.T) {
	pack := func(modified time.Time, names ...string) (string, []byte) {
		dir := t.TempDir()
		for _, name := range names {
			must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
			must(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600))
			must(t, os.Chtimes(filepath.Join(dir, name), modified, modified))
		}
		must(t, os.Symlink("b/c", filepath.Join(dir, "link")))
		var archive bytes.Buffer
		digest, err := PackDir(&archive, dir)
		must(t, err)
		return digest, archive.Bytes()
	}
	one, bytes1 := pack(time.Unix(1, 0), "a", "b/c")
	two, bytes2 := pack(time.Unix(2, 0), "b/c", "a")
	if one != two || !bytes.Equal(bytes1, bytes2) {
		t.Error("the same content gave other bytes")
	}
	if other, _ := pack(time.Unix(1, 0), "a", "b/d"); other == one {
		t.Error("other content gave the same digest")
	}
	store := artifacts{dir: t.TempDir()}
	must(t, store.put(t.Context(), one, bytes.NewReader(bytes1)))
	t.Cleanup(func() { removeTree(store.path(one)) })
	if text, err := os.ReadFile(filepath.Join(store.path(one), "link")); err != nil || string(text) != "b/c" {
		t.Errorf("unpacked, the link leads to %q, %v", text, err)
	}
	if info, err := os.Stat(filepath.Join(store.path(one), "a")); err != nil || info.Mode().Perm() != 0o444 {
		t.Errorf("unpacked, the file is %v, %v", info.Mode(), err)
	}
}

func TestAnArtifactCannotLeaveItsFolder(t *testing.T) {
	for name, entries := range map[string][]tar.Header{
		"a path above":                           {{Name: "../x", Typeflag: tar.TypeReg}},
		"an absolute path":                       {{Name: "/x", Typeflag: tar.TypeReg}},
		"a link above":                           {{Name: "x", Typeflag: tar.TypeSymlink, Linkname: "../y"}},
		"an absolute link":                       {{Name: "x", Typeflag: tar.TypeSymlink, Linkname: "/etc"}},
		"through links":                          {{Name: "a/b/", Typeflag: tar.TypeDir}, {Name: "l", Typeflag: tar.TypeSymlink, Linkname: "a/b"}, {Name: "m", Typeflag: tar.TypeSymlink, Linkname: "l/../.."}, {Name: "m/x", Typeflag: tar.TypeReg}},
		"a link by a link":                       {{Name: "a/b/c/up", Typeflag: tar.TypeSymlink, Linkname: "../../.."}, {Name: "x", Typeflag: tar.TypeSymlink, Linkname: "a/b/c/up/../.."}},
		"a link below a link to a higher folder": {{Name: "top/", Typeflag: tar.TypeDir}, {Name: "p/q/r", Typeflag: tar.TypeSymlink, Linkname: "../../top"}, {Name: "p/q/r/l", Typeflag: tar.TypeSymlink, Linkname: "../../../etc/passwd"}},
		"a file below a link":                    {{Name: "top/", Typeflag: tar.TypeDir}, {Name: "l", Typeflag: tar.TypeSymlink, Linkname: "top"}, {Name: "l/x", Typeflag: tar.TypeReg}},
		"a folder below a link":                  {{Name: "top/", Typeflag: tar.TypeDir}, {Name: "l", Typeflag: tar.TypeSymlink, Linkname: "top"}, {Name: "l/x/", Typeflag: tar.TypeDir}},
		"a folder in place of a link":            {{Name: "top/", Typeflag: tar.TypeDir}, {Name: "l", Typeflag: tar.TypeSymlink, Linkname: "top"}, {Name: "l/", Typeflag: tar.TypeDir}},
		"a link to itself as a folder":           {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "l"}, {Name: "l/x", Typeflag: tar.TypeReg}},
		"a device":                               {{Name: "x", Typeflag: tar.TypeChar}},
		"a pipe":                                 {{Name: "x", Typeflag: tar.TypeFifo}},
		"a hard link":                            {{Name: "x", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}},
		"the same file twice":                    {{Name: "x", Typeflag: tar.TypeReg}, {Name: "x", Typeflag: tar.TypeReg}},
		"a file as a folder":                     {{Name: "x", Typeflag: tar.TypeReg}, {Name: "x/y", Typeflag: tar.TypeReg}},
		"a file twice by another spelling":       {{Name: "a/x", Typeflag: tar.TypeReg}, {Name: "a/./b/../x", Typeflag: tar.TypeReg}},
		"a file in place of a link":              {{Name: "x", Typeflag: tar.TypeSymlink, Linkname: "y"}, {Name: "x", Typeflag: tar.TypeReg}},
		"a link in place of a folder":            {{Name: "x/", Typeflag: tar.TypeDir}, {Name: "x", Typeflag: tar.TypeSymlink, Linkname: "y"}},
		"a hard link inside":                     {{Name: "x", Typeflag: tar.TypeReg}, {Name: "y", Typeflag: tar.TypeLink, Linkname: "x"}},
		"a block device":                         {{Name: "x", Typeflag: tar.TypeBlock}},
		"a contiguous file":                      {{Name: "x", Typeflag: tar.TypeCont}},
		"a path of 120 kB":                       {{Name: strings.Repeat("d/", 60_000) + "x", Typeflag: tar.TypeReg}},
		"a folder of 120 kB":                     {{Name: strings.Repeat("d/", 60_000), Typeflag: tar.TypeDir}},
		"a long path":                            {{Name: strings.Repeat(strings.Repeat("d", 200)+"/", 6) + "x", Typeflag: tar.TypeReg}},
		"a deep path":                            {{Name: strings.Repeat("d/", 65) + "x", Typeflag: tar.TypeReg}},
		"a long name":                            {{Name: strings.Repeat("d", 300), Typeflag: tar.TypeReg}},
	} {
		t.Run(name, func(t *testing.T) {
			var archive bytes.Buffer
			w := tar.NewWriter(&archive)
			for _, entry := range entries {
				must(t, w.WriteHeader(&entry))
			}
			must(t, w.Close())
			wantFault(t, put(t, archive.Bytes()), "artifact.unsafe")
		})
	}
}

func TestAFolderThatCannotBecomeAnArtifactIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		make func(dir string) error
		want string
	}{
		"a file of holes": {func(dir string) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, "x"), nil, 0o600), os.Truncate(filepath.Join(dir, "x"), 1<<40))
		}, "artifact.too_large"},
		"a link by a link": {func(dir string) error {
			return errors.Join(os.MkdirAll(filepath.Join(dir, "a/b/c"), 0o700), os.Symlink("../../..", filepath.Join(dir, "a/b/c/up")), os.Symlink("a/b/c/up/../..", filepath.Join(dir, "x")))
		}, "artifact.unsafe"},
		"more levels than a path has": {func(dir string) error {
			root, err := os.OpenRoot(dir)
			if err != nil {
				return err
			}
			return errors.Join(root.MkdirAll(strings.Repeat(strings.Repeat("d", 200)+"/", 30), 0o700), root.Close())
		}, "artifact.unsafe"},
		"a deep path": {func(dir string) error {
			return os.MkdirAll(filepath.Join(dir, strings.Repeat("d/", maxArtifactDepth+2)), 0o700)
		}, "artifact.unsafe"},
		"a long path": {func(dir string) error {
			return os.MkdirAll(filepath.Join(dir, strings.Repeat(strings.Repeat("d", 200)+"/", 6)), 0o700)
		}, "artifact.unsafe"},
		"next to no content": {func(dir string) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, "x"), nil, 0o600), os.Truncate(filepath.Join(dir, "x"), unsuspiciousBytes+1))
		}, "artifact.too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "dist")
			t.Cleanup(func() { removeTree(dir) })
			must(t, errors.Join(os.Mkdir(dir, 0o700), c.make(dir)))
			_, err := PackDir(io.Discard, dir)
			wantFault(t, err, c.want)
		})
	}
}

func TestAnArtifactThatIsTooLargeOrBrokenLeavesNothing(t *testing.T) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	must(t, w.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Size: maxArtifactBytes + 1}))
	wantFault(t, put(t, archive.Bytes()), "artifact.too_large")
	wantFault(t, put(t, []byte(strings.Repeat("no archive ", 100))), "artifact.unsafe")
	wantFault(t, put(t, []byte{0x1f, 0x8b, 1, 2, 3}), "artifact.unsafe")
	store := artifacts{dir: t.TempDir()}
	wantFault(t, store.put(t.Context(), "sha256:"+strings.Repeat("0", 64), bytes.NewReader(make([]byte, 1024))), "artifact.digest_mismatch")
	wantFault(t, store.put(t.Context(), "../../x", io.LimitReader(nil, 0)), "artifact.invalid_digest")
	if entries, _ := os.ReadDir(store.dir); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

// TestFoldersThatNoEntryNamesCountToo has fewer entries than are allowed, which would leave more folders.
func TestFoldersThatNoEntryNamesCountToo(t *testing.T) {
	const most = 1000
	deep := strings.Repeat("d/", 60)
	for name, c := range map[string]struct {
		entries int
		name    func(i int) string
	}{
		"deep folders of few files":          {most / 50, func(i int) string { return fmt.Sprintf("%d/%sx", i, deep) }},
		"one folder for each of many files":  {most/2 + 1, func(i int) string { return fmt.Sprintf("%d/x", i) }},
		"folders that lie beside each other": {most / 2, func(i int) string { return fmt.Sprintf("a/%d/b/x", i) }},
	} {
		t.Run(name, func(t *testing.T) {
			u := &unpacking{most: most, packed: &counter{}, folders: map[string]bool{".": true}}
			var err error
			if u.root, err = os.OpenRoot(t.TempDir()); err != nil {
				t.Fatal(err)
			}
			defer u.root.Close()
			made := 0
			for i := 0; i < c.entries && err == nil; i++ {
				err = u.entry(&tar.Header{Name: c.name(i), Typeflag: tar.TypeXGlobalHeader}, nil)
				made++
			}
			wantFault(t, err, "artifact.too_large")
			if n := made + len(u.folders); n > most+3 {
				t.Errorf("it went on to %d files and folders", n)
			}
		})
	}
}

// TestAnArchiveOfNextToNoContentIsRefusedEarly packs many zeros into few bytes.
func TestAnArchiveOfNextToNoContentIsRefusedEarly(t *testing.T) {
	var archive bytes.Buffer
	zip := gzip.NewWriter(&archive)
	w := tar.NewWriter(zip)
	must(t, w.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Size: 4 * unsuspiciousBytes}))
	_, err := io.CopyN(w, zeros{}, 4*unsuspiciousBytes)
	must(t, errors.Join(err, w.Close(), zip.Close()))
	dir := t.TempDir()
	wantFault(t, UnpackDir(dir, &archive), "artifact.too_large")
	if info, err := os.Stat(filepath.Join(dir, "x")); err != nil || info.Size() > unsuspiciousBytes+1<<20 {
		t.Errorf("%v bytes were written, %v", info.Size(), err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// put unpacks the archive into an empty store, which must stay empty if it is refused.
func put(t *testing.T, archive []byte) error {
	t.Helper()
	store := artifacts{dir: t.TempDir()}
	sum := sha256.Sum256(archive)
	err := store.put(t.Context(), "sha256:"+hex.EncodeToString(sum[:]), bytes.NewReader(archive))
	if entries, _ := os.ReadDir(store.dir); err != nil && len(entries) != 0 {
		t.Errorf("a refused artifact left %v", entries)
	}
	return err
}

func TestALogIsRotatedAndKeepsItsLastLines(t *testing.T) {
	name := filepath.Join(t.TempDir(), "app.log")
	log := openLog(name)
	out := newOutput(log, "p1")
	out.hides(map[string]string{"A": "secret-a", "B": "secret-and-more"})
	io.WriteString(out, "first secret-and-more\nsecond sec")
	io.WriteString(out, "ret-a\nthird")
	out.flush()
	for i, want := range []string{"first (sensitive)", "second (sensitive)", "third"} {
		if line := log.last(3)[i]; !strings.HasSuffix(line, " p1 "+want) {
			t.Errorf("line %d is %q, want %q", i, line, want)
		}
	}
	long := strings.Repeat("x", logLine) + "y\n"
	for range logFileBytes/len(long) + 10 {
		io.WriteString(out, long)
	}
	log.close(false)
	for _, file := range []string{name, name + ".1"} {
		if info, err := os.Stat(file); err != nil || info.Size() > logFileBytes+2*logLine {
			t.Errorf("%s is %v, %v", file, info, err)
		}
	}
	if again := openLog(name); len(again.last(2)) != 2 || !strings.HasSuffix(again.last(1)[0], "y") {
		t.Error("a log that is opened again lost its tail")
	}
}
