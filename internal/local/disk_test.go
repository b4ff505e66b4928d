package local

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/fault"
)

// writeMB has the app write so many megabytes to a file, which may end it.
func writeMB(t *testing.T, s Status, path string, mb int) {
	t.Helper()
	response, err := http.Post(s.URL+"/write?path="+url.QueryEscape(path), "text/plain", bytes.NewReader(make([]byte, mb<<20)))
	must(t, err)
	response.Body.Close()
}

func TestAServiceThatFillsItsVolumeIsStoppedUntilThereIsRoom(t *testing.T) {
	agent, _ := startAgent(t)
	volume, err := agent.ApplyVolume(t.Context(), Volume{Instance: "ins_shop", Name: "data", SizeMB: 8})
	must(t, err)
	service := shop(artifact(t, agent, "one", ""))
	service.Volumes = map[string]string{"/data": volume.ID}
	status := apply(t, agent, service)
	writeMB(t, status, "/data/small", 4)
	writeMB(t, status, "/data/large", 8)
	eventually(t, func() error {
		now, err := agent.GetService(t.Context(), status.ID)
		must(t, err)
		if now.Health != Missing || !strings.Contains(now.Reason, "its volume data holds ") || !strings.Contains(now.Reason, " and may hold 8 MB") {
			return fmt.Errorf("the service is %s: %s", now.Health, now.Reason)
		}
		return nil
	})
	_, err = agent.Release(t.Context(), status.ID, artifact(t, agent, "two", ""), nil)
	if f := wantFault(t, err, "service.unhealthy"); !strings.Contains(f.Message, "give it a larger size_mb") {
		t.Errorf("a release says %q", f.Message)
	}
	volume.SizeMB = 64
	_, err = agent.ApplyVolume(t.Context(), volume)
	must(t, err)
	eventually(t, func() error {
		if code, text := ask(t, status.URL+"/version"); code != http.StatusOK || !strings.HasPrefix(text, "one") {
			return fmt.Errorf("with a larger volume it answers %d %s", code, text)
		}
		return nil
	})
	if len(get(t, status.URL+"/read?path=/data/small")) != 4<<20 {
		t.Error("the volume lost its content")
	}
}

func TestAProcessThatFillsItsHomeBeginsAgainWithAnEmptyOne(t *testing.T) {
	agent, _ := startAgent(t, "--home-mb=8")
	status := apply(t, agent, shop(artifact(t, agent, "one", "")))
	writeMB(t, status, "/home/app/large", 12)
	eventually(t, func() error {
		now, err := agent.GetService(t.Context(), status.ID)
		must(t, err)
		if now.Health != Healthy || now.Processes[0].Restarts == 0 {
			return fmt.Errorf("the service is %s: %s", now.Health, now.Reason)
		}
		return nil
	})
	if code, _ := ask(t, status.URL+"/read?path=/home/app/large"); code != http.StatusNotFound {
		t.Error("the home is not empty")
	}
}

// What was removed and is kept open takes room that no path leads to, and so does what lies in a closed folder.
func TestAServiceThatHidesWhatItWritesIsStopped(t *testing.T) {
	agent, _ := startAgent(t, "--home-mb=8")
	for name, script := range map[string]string{
		"in a file that it removed": "exec 3>/home/app/x; rm /home/app/x; head -c 12582912 /dev/zero >&3; sleep 600",
		"in a child":                "(exec 3>/home/app/y; rm /home/app/y; head -c 12582912 /dev/zero >&3; sleep 600) & sleep 600",
		"in many files":             "i=0; while [ $i -lt 12 ]; do i=$((i+1)); head -c 1048576 /dev/zero >/home/app/$i; done; sleep 600",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.WriteFile(filepath.Join(dir, "run"), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
			var archive bytes.Buffer
			digest, err := PackDir(&archive, dir)
			must(t, err)
			must(t, agent.PutArtifact(t.Context(), digest, &archive))
			service := shop(digest)
			service.Command, service.StartSec = []string{"./run"}, 120
			_, err = agent.ApplyService(t.Context(), service)
			if !fault.Is(err, "service.unhealthy") || !strings.Contains(err.Error(), " and may hold 8 MB") {
				t.Errorf("it says %v", err)
			}
		})
	}
}
