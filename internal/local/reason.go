package local

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"flywheel.dev/flywheel/internal/fault"
)

// notStarted says why the kernel did not execute the service's program. What it says itself, "no such file or
// directory", it says of files that are there.
func (a *agent) notStarted(s Service, err error) error {
	if !fault.Is(err, "sandbox.cannot_run") {
		return err
	}
	if hint := a.lineEndings(s); hint != "" {
		return errors.New(hint)
	}
	name := s.Command[0]
	file, inside := inArtifact(name)
	if !inside {
		if errors.Is(err, syscall.ENOENT) {
			return fmt.Errorf("there is no program %s where it runs: those of the artifact are named as ./NAME", name)
		}
		return err
	}
	root, opening := os.OpenRoot(a.artifacts.path(s.Artifact))
	if opening != nil {
		return err
	}
	defer root.Close()
	info, looking := root.Stat(file)
	switch {
	case errors.Is(looking, os.ErrNotExist):
		return fmt.Errorf("the artifact has no file %s", name)
	case looking != nil: // a link that leads out of the artifact
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a folder and no program", name)
	case info.Mode()&0o111 == 0:
		return fmt.Errorf("%s may not be executed: say `chmod +x` of it in the build", name)
	}
	p := programIn(root, file)
	switch {
	case p.system != "":
		return fmt.Errorf("%s is a program for %s, and this machine is linux on %s", name, p.system, runtime.GOARCH)
	case p.needs != "" && errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("%s needs %s, which is not there where it runs: name one that is, or build a program that needs none", name, p.needs)
	case p.needs != "" && errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s needs %s, which may not be executed where it runs", name, p.needs)
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("%s is neither a program nor a script: a script begins with #! and its interpreter", name)
	}
	return err
}

// inArtifact returns the path in the artifact that a word of the command names, if it names one.
func inArtifact(word string) (file string, inside bool) {
	if below, ok := strings.CutPrefix(word, "/app/"); ok {
		word = "./" + below
	}
	return path.Clean(word), strings.Contains(word, "/") && filepath.IsLocal(word)
}

// lineEndings says which script of the command was saved with the line endings of Windows, "" if none was. The kernel
// and shells take the carriage return for a part of names.
func (a *agent) lineEndings(s Service) string {
	root, err := os.OpenRoot(a.artifacts.path(s.Artifact))
	if err != nil {
		return ""
	}
	defer root.Close()
	for i, word := range s.Command {
		if i > 0 && !strings.Contains(word, "/") {
			word = "./" + word // an argument of a shell
		}
		file, inside := inArtifact(word)
		if !inside {
			continue
		}
		line, ended := bytes.CutSuffix(beginning(root, file), []byte("\r\n"))
		if ended && (bytes.HasPrefix(line, []byte("#!")) || strings.HasSuffix(file, ".sh")) {
			return fmt.Sprintf("%s was saved with the line endings of Windows (CR LF), so that its first line is read as %q: save it with LF alone, and say `*.sh text eol=lf` in .gitattributes", word, string(line)+"\r")
		}
	}
	return ""
}

// beginning returns the first line of a regular file, or as much of it as counts.
func beginning(root *os.Root, name string) []byte {
	info, err := root.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	file, err := root.Open(name)
	if err != nil {
		return nil
	}
	defer file.Close()
	line, _ := bufio.NewReaderSize(io.LimitReader(file, 512), 512).ReadBytes('\n')
	return line
}

// program is what the beginning of an executable file says.
type program struct {
	needs  string // the interpreter of a script, or the loader of a program that is linked dynamically
	system string // what it was built for, where that is not this machine
}

func programIn(root *os.Root, name string) (p program) {
	line := beginning(root, name)
	if rest, ok := bytes.CutPrefix(line, []byte("#!")); ok {
		if words := strings.Fields(string(rest)); len(words) > 0 {
			p.needs = words[0]
		}
		return p
	}
	for magic, system := range map[string]string{"MZ": "Windows", "\xcf\xfa\xed\xfe": "macOS", "\xca\xfe\xba\xbe": "macOS"} {
		if bytes.HasPrefix(line, []byte(magic)) {
			p.system = system
			return p
		}
	}
	file, err := root.Open(name)
	if err != nil {
		return p
	}
	defer file.Close()
	// No more than the few fields that count: the file is anybody's, and debug/elf is not made for that.
	header := make([]byte, 64)
	if _, err := file.ReadAt(header, 0); err != nil || string(header[:6]) != "\x7fELF\x02\x01" {
		return p
	}
	machine := elf.Machine(binary.LittleEndian.Uint16(header[18:]))
	if own, known := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]; known && machine != own {
		p.system = "linux on " + strings.ToLower(strings.TrimPrefix(machine.String(), "EM_"))
		return p
	}
	at, count := binary.LittleEndian.Uint64(header[32:]), binary.LittleEndian.Uint16(header[56:])
	for i := range min(uint64(count), 64) {
		part := make([]byte, 56)
		if _, err := file.ReadAt(part, int64((at+i*56)&(1<<40-1))); err != nil {
			return p
		}
		if elf.ProgType(binary.LittleEndian.Uint32(part)) != elf.PT_INTERP {
			continue
		}
		loader := make([]byte, min(binary.LittleEndian.Uint64(part[32:]), 256))
		if _, err := file.ReadAt(loader, int64(binary.LittleEndian.Uint64(part[8:])&(1<<40-1))); err == nil {
			p.needs = strings.TrimRight(string(loader), "\x00")
		}
		return p
	}
	return p
}
