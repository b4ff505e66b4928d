package local

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// elfFor returns the beginning of a program for a machine, which asks for a loader if one is named.
func elfFor(machine uint16, loader string) string {
	head := make([]byte, 64+56)
	copy(head, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(head[16:], 2)
	binary.LittleEndian.PutUint16(head[18:], machine)
	binary.LittleEndian.PutUint32(head[20:], 1)
	binary.LittleEndian.PutUint64(head[32:], 64)
	binary.LittleEndian.PutUint16(head[52:], 64)
	binary.LittleEndian.PutUint16(head[54:], 56)
	binary.LittleEndian.PutUint16(head[56:], 1)
	part := head[64:]
	binary.LittleEndian.PutUint32(part, 3)
	binary.LittleEndian.PutUint64(part[8:], 64+56)
	binary.LittleEndian.PutUint64(part[32:], uint64(len(loader)+1))
	return string(head) + loader + "\x00"
}

func TestAServiceThatCannotStartSaysWhyInItsOwnSentence(t *testing.T) {
	agent, _ := startAgent(t)
	for name, tt := range map[string]struct {
		command []string
		file    string // run
		mode    os.FileMode
		why     string
	}{
		"Windows line endings":             {[]string{"./run"}, "#!/bin/sh\r\nexec sleep 100\r\n", 0o755, `line endings of Windows (CR LF), so that its first line is read as "#!/bin/sh\r"`},
		"Windows line endings behind env":  {[]string{"./run"}, "#!/usr/bin/env sh\r\nexec sleep 100\r\n", 0o755, "line endings of Windows"},
		"Windows line endings for a shell": {[]string{"/bin/sh", "run"}, "#!/bin/sh\r\nset -e\r\nexit 3\r\n", 0o644, "line endings of Windows"},
		"no such interpreter":              {[]string{"./run"}, "#!/opt/python9/bin/python\nprint()\n", 0o755, "./run needs /opt/python9/bin/python, which is not there"},
		"no such loader":                   {[]string{"./run"}, elfFor(62, "/lib/ld-nowhere.so.1"), 0o755, "./run needs /lib/ld-nowhere.so.1, which is not there"},
		"another machine":                  {[]string{"./run"}, elfFor(243, ""), 0o755, "./run is a program for linux on riscv"},
		"another system":                   {[]string{"./run"}, "MZ\x90\x00\x03", 0o755, "./run is a program for Windows"},
		"no permission":                    {[]string{"./run"}, "#!/bin/sh\n", 0o644, "./run may not be executed: say `chmod +x`"},
		"neither program nor script":       {[]string{"./run"}, "\x01\x02\x03", 0o755, "./run is neither a program nor a script"},
		"no such file":                     {[]string{"./server"}, "x", 0o755, "the artifact has no file ./server"},
		"no such program":                  {[]string{"gunicorn9"}, "x", 0o755, "there is no program gunicorn9"},
		"a folder":                         {[]string{"./dir"}, "x", 0o755, "./dir is a folder"},
		"nothing listens":                  {[]string{"./run"}, "#!/bin/sh\nexec sleep 100\n", 0o755, "nothing listens on port 8080 of 127.0.0.1, which $PORT names, after 1 s"},
		"it ends at once":                  {[]string{"./run"}, "#!/bin/sh\nexit 4\n", 0o755, "it ended: exit status 4"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.WriteFile(filepath.Join(dir, "run"), []byte(tt.file), tt.mode))
			must(t, os.Chmod(filepath.Join(dir, "run"), tt.mode))
			must(t, os.Mkdir(filepath.Join(dir, "dir"), 0o755))
			var archive bytes.Buffer
			digest, err := PackDir(&archive, dir)
			must(t, err)
			must(t, agent.PutArtifact(t.Context(), digest, &archive))
			service := shop(digest)
			service.Command, service.StartSec = tt.command, 1
			_, err = agent.ApplyService(t.Context(), service)
			if f := wantFault(t, err, "service.unhealthy"); !strings.Contains(f.Message, tt.why) || strings.Contains(f.Message, "..") {
				t.Errorf("it says %q, want %q", f.Message, tt.why)
			}
		})
	}
}
