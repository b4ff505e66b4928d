package local

import (
	"archive/tar"
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/sandbox"
)

// Limits of an unpacked artifact. They keep a small archive, or a file that is mostly holes, from filling the
// disk and the time.
const (
	maxArtifactBytes = 2 << 30
	maxArtifactFiles = 100_000 // folders included, whether an entry names them or only stands in them
	maxArtifactPath  = 1024    // bytes
	maxArtifactDepth = 64      // folders

	// Beyond unsuspiciousBytes an artifact has no more than so many bytes for each packed one. What is packed here
	// stays below half of that, so that it can be unpacked everywhere.
	maxArtifactRatio  = 200
	unsuspiciousBytes = 64 << 20
)

// artifactGrace is how long an artifact that no service uses is kept, so that one that was just brought
// is still there when the service that needs it is applied.
const artifactGrace = time.Hour

// PackDir writes dir to w as a tar.gz and returns its digest, "sha256:…" of the bytes written. The same
// content gives the same bytes: entries are in name order and carry neither times nor owners, and of the
// permissions only whether a file may be executed. Symbolic links must stay inside dir; anything that is
// not a file, a folder or a link is refused, and so is what cannot be read or is larger than an artifact may be.
func PackDir(w io.Writer, dir string) (digest string, err error) {
	sum := sha256.New()
	packed := &counter{}
	zip := gzip.NewWriter(io.MultiWriter(w, sum, packed))
	archive := tar.NewWriter(zip)
	var size int64
	files := 0
	err = filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		rel, outside := filepath.Rel(dir, name)
		if outside != nil {
			return outside
		}
		if err != nil {
			return unreadable(rel, err)
		}
		if rel == "." {
			return nil
		}
		if files++; files > maxArtifactFiles {
			return tooManyFiles()
		}
		if err := checkPath(filepath.ToSlash(rel)); err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return unreadable(rel, err)
		}
		head := &tar.Header{Name: filepath.ToSlash(rel), Format: tar.FormatPAX, Mode: 0o644}
		switch {
		case entry.IsDir():
			head.Typeflag, head.Name, head.Mode = tar.TypeDir, head.Name+"/", 0o755
			return archive.WriteHeader(head)
		case info.Mode()&fs.ModeSymlink != 0:
			head.Typeflag = tar.TypeSymlink
			if head.Linkname, err = os.Readlink(name); err != nil {
				return err
			}
			if !staysInside(head.Name, head.Linkname) {
				return unsafeArtifact("the link %q leads out of the artifact", head.Name)
			}
			return archive.WriteHeader(head)
		case info.Mode().IsRegular():
			head.Typeflag, head.Size = tar.TypeReg, info.Size()
			if info.Mode()&0o111 != 0 {
				head.Mode = 0o755
			}
			if size += info.Size(); size > maxArtifactBytes {
				return tooLarge("it is larger than %d MB", maxArtifactBytes>>20)
			}
			if err := archive.WriteHeader(head); err != nil {
				return err
			}
			file, err := os.Open(name)
			if err != nil {
				return unreadable(head.Name, err)
			}
			defer file.Close()
			if _, err = io.Copy(archive, file); err != nil {
				return err
			}
			return checkRatio(size, packed.n*2)
		default:
			return unsafeArtifact("%q is neither a file, a folder nor a link", head.Name)
		}
	})
	if err != nil {
		return "", err
	}
	if err := cmp.Or(archive.Close(), zip.Close()); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

// unreadable blames the build for what no later attempt could read either: a folder that is closed to its owner,
// or more levels of folders than a path has room for.
func unreadable(name string, err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENAMETOOLONG) {
		return unsafeArtifact("%q cannot be read", name[:min(len(name), 200)]).Because(err)
	}
	return err
}

// checkPath bounds how deep an entry stands and how long its path is: each folder on the way is one more on disk.
func checkPath(name string) error {
	if len(name) > maxArtifactPath || strings.Count(name, "/") > maxArtifactDepth {
		return unsafeArtifact("the path %q… is longer than %d bytes or %d folders", name[:min(len(name), 100)], maxArtifactPath, maxArtifactDepth)
	}
	return nil
}

// checkRatio refuses what was packed so small only to fill a disk.
func checkRatio(size, packed int64) error {
	if size > unsuspiciousBytes && size/maxArtifactRatio > packed {
		return tooLarge("%d MB are packed into %d kB, which is next to no content", size>>20, packed>>10)
	}
	return nil
}

func tooManyFiles() error { return tooLarge("it has more than %d files and folders", maxArtifactFiles) }

// counter counts the bytes that pass.
type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// staysInside reports whether a link at name leads to a place inside the archive, whatever other links it
// passes: steps up are allowed at the start only, where they leave real folders.
func staysInside(name, target string) bool {
	rest, depth := target, strings.Count(path.Clean(name), "/")
	for up := true; up; {
		if rest, up = strings.CutPrefix(rest, "../"); up {
			depth--
		}
	}
	if rest == ".." {
		rest, depth = "", depth-1
	}
	return depth >= 0 && !path.IsAbs(target) && target != "" && !slices.Contains(strings.Split(rest, "/"), "..")
}

func unsafeArtifact(format string, args ...any) *fault.Fault {
	return fault.New(fault.Invalid, "artifact.unsafe", "The artifact was refused: %s.", fmt.Sprintf(format, args...)).
		Do("Pack only files, folders and links that stay inside the artifact.")
}

// artifacts keeps unpacked artifacts, each in a read-only folder named after its digest.
type artifacts struct {
	dir string

	mu       sync.Mutex
	arriving map[string]chan struct{} // by digest; closed when that one has arrived or will not
}

func (a *artifacts) path(digest string) string {
	return filepath.Join(a.dir, strings.TrimPrefix(digest, "sha256:"))
}

// has reports whether the artifact is here, and keeps it from being pruned for artifactGrace.
func (a *artifacts) has(digest string) bool {
	if !digestRule.MatchString(digest) {
		return false
	}
	now := time.Now()
	return os.Chtimes(a.path(digest), now, now) == nil
}

// arrive makes the caller the only one who brings the artifact, until it calls done.
func (a *artifacts) arrive(ctx context.Context, digest string) (done func(), err error) {
	for {
		a.mu.Lock()
		other := a.arriving[digest]
		if other == nil {
			break
		}
		a.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer a.mu.Unlock()
	if a.arriving == nil {
		a.arriving = map[string]chan struct{}{}
	}
	mine := make(chan struct{})
	a.arriving[digest] = mine
	return func() {
		a.mu.Lock()
		delete(a.arriving, digest)
		a.mu.Unlock()
		close(mine)
	}, nil
}

// settle returns when nobody brings the artifact: a deployment waits for what a build brings, rather than
// bring it again beside it.
func (a *artifacts) settle(ctx context.Context, digest string) error {
	done, err := a.arrive(ctx, digest)
	if err == nil {
		done()
	}
	return err
}

// put unpacks r, whose bytes must have this digest. Nothing stays behind if they do not.
func (a *artifacts) put(ctx context.Context, digest string, r io.Reader) (err error) {
	if !digestRule.MatchString(digest) {
		return fault.New(fault.Invalid, "artifact.invalid_digest", "%q is not a digest.", digest).
			Do("Write sha256: and 64 hexadecimal digits.")
	}
	done, err := a.arrive(ctx, digest)
	if err != nil {
		return err
	}
	defer done()
	if a.has(digest) {
		_, err := io.Copy(io.Discard, r)
		return err
	}
	temp, err := os.MkdirTemp(a.dir, "incoming-")
	if err != nil {
		return full(err)
	}
	defer func() {
		if err != nil {
			removeTree(temp)
			err = full(err)
		}
	}()
	sum := sha256.New()
	bytes := io.TeeReader(r, sum)
	if err := unpack(bytes, temp); err != nil {
		return err
	}
	// The digest covers what follows the end mark of the archive too.
	if _, err := io.Copy(io.Discard, bytes); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != digest {
		return fault.New(fault.Invalid, "artifact.digest_mismatch", "The bytes have the digest %s, not %s.", got, digest).
			Do("Send the artifact again.")
	}
	if err := syncDisk(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, a.path(digest)); err != nil {
		return err
	}
	if err := os.Chmod(a.path(digest), 0o555); err != nil {
		return err
	}
	return syncFolder(a.dir)
}

// prune removes what is not in use and was neither brought nor asked for within artifactGrace.
func (a *artifacts) prune(used map[string]bool) error {
	entries, err := os.ReadDir(a.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || used["sha256:"+entry.Name()] || time.Since(info.ModTime()) < artifactGrace {
			continue
		}
		removeTree(filepath.Join(a.dir, entry.Name()))
	}
	return nil
}

// unpack writes the archive r into dir. An os.Root refuses every path and link that leads outside.
func unpack(r io.Reader, dir string) error {
	packed := &counter{}
	in := bufio.NewReader(io.TeeReader(r, packed))
	var plain io.Reader = in
	if magic, _ := in.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		zip, err := gzip.NewReader(in)
		if err != nil {
			return unsafeArtifact("it is not a tar.gz").Because(err)
		}
		plain = zip
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	u := &unpacking{root: root, packed: packed, most: maxArtifactFiles, folders: map[string]bool{".": true}, links: map[string]bool{}}
	archive := tar.NewReader(plain)
	for {
		head, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return unsafeArtifact("it is not a complete tar archive").Because(err)
		}
		if err := u.entry(head, archive); err != nil {
			return err
		}
	}
	for _, name := range u.named {
		if err := root.Chmod(name, 0o555); err != nil {
			return entryFault(name, err)
		}
	}
	return nil
}

// unpacking is what has been unpacked of an archive so far.
type unpacking struct {
	root    *os.Root
	packed  *counter
	most    int             // entries and folders
	entries int             // in the archive
	folders map[string]bool // on disk
	links   map[string]bool
	named   []string // folders that an entry names
	size    int64
}

func (u *unpacking) entry(head *tar.Header, content io.Reader) error {
	if u.entries++; u.entries > u.most {
		return tooManyFiles()
	}
	name := path.Clean(head.Name)
	if name == "." {
		return nil
	}
	if err := checkPath(name); err != nil {
		return err
	}
	if !filepath.IsLocal(name) {
		return unsafeArtifact("%q leads out of the artifact", name)
	}
	if err := u.folder(path.Dir(name)); err != nil {
		return err
	}
	switch head.Typeflag {
	case tar.TypeDir:
		u.named = append(u.named, name)
		return u.folder(name)
	case tar.TypeReg:
		if u.size+head.Size > maxArtifactBytes {
			return tooLarge("it is larger than %d MB unpacked", maxArtifactBytes>>20)
		}
		mode := fs.FileMode(0o444)
		if head.Mode&0o111 != 0 {
			mode = 0o555
		}
		file, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
		if err != nil {
			return entryFault(head.Name, err)
		}
		_, err = io.Copy(io.MultiWriter(file, u), content)
		if err := cmp.Or(err, file.Close()); err != nil {
			return entryFault(head.Name, err)
		}
	case tar.TypeSymlink:
		if !staysInside(name, head.Linkname) {
			return unsafeArtifact("the link %q leads out of it", head.Name)
		}
		if err := u.root.Symlink(head.Linkname, name); err != nil {
			return entryFault(head.Name, err)
		}
		u.links[name] = true
	case tar.TypeXGlobalHeader:
	default:
		return unsafeArtifact("%q is neither a file, a folder nor a link", head.Name)
	}
	return nil
}

// folder makes a folder and those above it, each of which counts like an entry. None of them is a link: a link below one
// would stand in another folder than its name says, and lead elsewhere.
func (u *unpacking) folder(name string) error {
	if u.folders[name] {
		return nil
	}
	for above := name; !u.folders[above]; above = path.Dir(above) {
		if u.links[above] {
			return unsafeArtifact("%q stands below the link %q", name, above)
		}
		if u.folders[above] = true; u.entries+len(u.folders) > u.most+1 {
			return tooManyFiles()
		}
	}
	if err := u.root.MkdirAll(name, 0o755); err != nil {
		return entryFault(name, err)
	}
	return nil
}

// Write counts what files hold, while they are written.
func (u *unpacking) Write(p []byte) (int, error) {
	u.size += int64(len(p))
	return len(p), checkRatio(u.size, u.packed.n)
}

// entryFault turns the failure of one entry into words; a full disk and a cut stream stay what they are.
func entryFault(name string, err error) error {
	var known *fault.Fault
	if isFull(err) || errors.As(err, &known) {
		return err
	}
	return unsafeArtifact("%q cannot be unpacked", name[:min(len(name), 200)]).Because(err)
}

func tooLarge(format string, args ...any) *fault.Fault {
	return fault.New(fault.TooLarge, "artifact.too_large", "The artifact was refused: %s.", fmt.Sprintf(format, args...)).
		Do("Leave out of the build's output what the app does not need to run.")
}

// removeTree removes a folder that an app may have written to. What stays goes when the agent starts again.
func removeTree(dir string) { _ = sandbox.RemoveAll(dir) }

// syncDisk returns when everything written to dir's file system is on disk: one call for many files.
func syncDisk(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer file.Close()
	return unix.Syncfs(int(file.Fd()))
}

// UnpackDir unpacks what PackDir wrote into dir, with the same care as for artifacts.
func UnpackDir(dir string, r io.Reader) error { return unpack(r, dir) }

// RemoveUnpacked removes a folder that UnpackDir wrote to: its folders are read-only.
func RemoveUnpacked(dir string) { removeTree(dir) }
