package server_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestNobodyElseReadsTheDataFolder walks over everything that a first start, people, teams and
// a backup leave, under umasks that would let others read and write.
func TestNobodyElseReadsTheDataFolder(t *testing.T) {
	for _, umask := range []string{"000", "022"} {
		t.Run("umask "+umask, func(t *testing.T) {
			if testing.Short() {
				t.Skip("it runs the whole product for a while")
			}
			must(t, build())
			dir, err := os.MkdirTemp("", "fwd") // sockets need a short path
			must(t, err)
			t.Cleanup(func() { removeAll(dir) })
			wrapped := filepath.Join(t.TempDir(), "flywheel")
			must(t, os.WriteFile(wrapped, []byte("#!/bin/sh\numask "+umask+"\nexec "+binaries.flywheel+" \"$@\"\n"), 0o755))
			p := &platform{t: t, running: &running{binary: wrapped, data: dir, database: filepath.Join(dir, "flywheel.db"), replicas: map[string]*replica{}, secret: "correct horse battery staple"}}
			t.Cleanup(p.stop)
			signIn := p.start("main")
			p.admin = p.signIn(signIn[0], signIn[1])
			p.admin.must("POST", "/teams", map[string]any{"name": "shop", "title": "Shop"}, nil)
			if umask == "000" {
				p.admin.must("POST", "/users", map[string]any{"name": "dana", "title": "Dana", "password": p.secret}, nil)
			}
			p.eventually("the agent answers", func() bool { _, err := p.agent().Health(t.Context()); return err == nil })
			backup := filepath.Join(dir, "backup.tar.gz")
			if said, err := exec.CommandContext(t.Context(), wrapped, "backup", backup, "--data", dir).CombinedOutput(); err != nil {
				t.Fatalf("backup: %v\n%s", err, said)
			}
			seen := map[string]bool{}
			must(t, filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				info, err := entry.Info()
				if err != nil {
					return err
				}
				rel, err := filepath.Rel(dir, name)
				if seen[rel] = true; info.Mode()&fs.ModeSymlink == 0 && info.Mode().Perm()&0o077 != 0 {
					t.Errorf("%s has %s", rel, info.Mode())
				}
				return err
			}))
			for _, want := range []string{"flywheel.db", "flywheel.db-wal", "flywheel.db-shm", "keys/secret.key", "agent/secret.key", "agent/agent.log", "agent/agent.sock", "run/main.state.sock", "backup.tar.gz", "backup.tar.gz.keys"} {
				if !seen[want] {
					t.Errorf("%s is not there to be looked at: %v", want, seen)
				}
			}
		})
	}
}
