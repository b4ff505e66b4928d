package local

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/patience"
)

func TestAReleaseUnderLoadFailsNoRequest(t *testing.T) {
	agent, _ := startAgent(t)
	first, second := artifact(t, agent, "one", ""), artifact(t, agent, "two", "")
	service := shop(first)
	service.Instances = 2
	status := apply(t, agent, service)

	stop := load(t, status.URL)
	status, err := agent.Release(t.Context(), status.ID, second, nil)
	must(t, err)
	if status.Artifact != second || version(t, status) != "two" {
		t.Errorf("after the release runs %s", status.Artifact)
	}
	service = status.Service
	service.Env = map[string]string{"COLOR": "blue"}
	if status = apply(t, agent, service); get(t, status.URL+"/env?name=COLOR") != "blue" {
		t.Error("the changed environment did not reach the app")
	}
	before := pids(status)
	service.Instances = 3
	status = apply(t, agent, service)
	if !containsAll(pids(status), before) {
		t.Error("adding a process restarted the others")
	}
	service.Instances = 1
	status = apply(t, agent, service)
	if !containsAll(before, pids(status)) {
		t.Error("removing processes restarted the one that stays")
	}
	sent, failures := stop()
	if len(failures) > 0 {
		t.Errorf("%d of %d requests failed, the first: %v", len(failures), sent, failures[0])
	}
}

// load sends about 200 requests a second over kept connections, among them POSTs and slow ones, until
// the returned func is called, but at least 400 requests.
func load(t *testing.T, url string) (stop func() (sent int, failures []error)) {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	client := &http.Client{Transport: transport, Timeout: patience.Of(patience.Limit)}
	var mu sync.Mutex
	var all sync.WaitGroup
	var failures []error
	sent, quit := 0, make(chan struct{})
	send := func(i int) error {
		var response *http.Response
		var err error
		switch body := fmt.Sprintf("order %d", i); {
		case i%10 == 0:
			response, err = client.Get(url + "/slow?ms=400")
		case i%3 == 0:
			// A body that cannot be read twice: the client could not repeat it either.
			response, err = client.Post(url+"/echo", "text/plain", io.MultiReader(strings.NewReader(body)))
		default:
			response, err = client.Get(url + "/version")
		}
		if err != nil {
			return err
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			return err
		}
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%d %s", response.StatusCode, text)
		}
		return nil
	}
	all.Go(func() {
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for i := 1; ; i++ {
			select {
			case <-quit:
				return
			case <-ticker.C:
			}
			all.Go(func() {
				err := send(i)
				mu.Lock()
				defer mu.Unlock()
				sent++
				if err != nil {
					failures = append(failures, err)
				}
			})
		}
	})
	return func() (int, []error) {
		eventually(t, func() error {
			mu.Lock()
			defer mu.Unlock()
			if sent < 400 {
				return fmt.Errorf("only %d requests were answered", sent)
			}
			return nil
		})
		close(quit)
		all.Wait()
		transport.CloseIdleConnections()
		return sent, failures
	}
}

func pids(s Status) []int {
	var all []int
	for _, p := range s.Processes {
		all = append(all, p.Pid)
	}
	return all
}

func containsAll(all, some []int) bool {
	for _, one := range some {
		if !slices.Contains(all, one) {
			return false
		}
	}
	return true
}

func TestAVersionThatCannotRunLeavesTheOldOneUntouched(t *testing.T) {
	agent, _ := startAgent(t)
	service := shop(artifact(t, agent, "one", ""))
	service.StartSec = 1
	status := apply(t, agent, service)
	for mode, want := range map[string]struct{ reason, line string }{
		"sick":  {"GET /healthz answered 500", "the database does not answer"},
		"crash": {"exit status 3", "boom: no configuration"},
		"hog":   {"more than its 128 MB of memory", "starting hog hog"},
	} {
		t.Run(mode, func(t *testing.T) {
			_, err := agent.Release(t.Context(), status.ID, artifact(t, agent, mode, mode), nil)
			f := wantFault(t, err, "service.unhealthy")
			if !strings.Contains(f.Message, want.reason) {
				t.Errorf("the message is %q, want %q in it", f.Message, want.reason)
			}
			if len(f.Fields) != 1 || f.Fields[0].Path != "log" || !strings.Contains(f.Fields[0].Message, want.line) {
				t.Errorf("the fields are %+v, want %q in them", f.Fields, want.line)
			}
		})
	}
	t.Run("a command that is not there", func(t *testing.T) {
		bad := service
		bad.Command = []string{"./shop"}
		_, err := agent.ApplyService(t.Context(), bad)
		wantFault(t, err, "service.unhealthy")
	})
	now, err := agent.GetService(t.Context(), status.ID)
	must(t, err)
	if now.Health != Healthy || !slices.Equal(pids(now), pids(status)) || now.Artifact != status.Artifact || version(t, now) != "one" {
		t.Errorf("what ran before is now %+v", now)
	}
	t.Run("a first version", func(t *testing.T) {
		bad := shop(artifact(t, agent, "crash", "crash"))
		bad.Name = "new"
		_, err := agent.ApplyService(t.Context(), bad)
		wantFault(t, err, "service.unhealthy")
		_, err = agent.GetService(t.Context(), bad.ID())
		wantFault(t, err, "service.not_found")
	})
}

func TestServicesComeBackOnTheirAddressesAfterTheAgentWasKilled(t *testing.T) {
	agent, dir := startAgent(t)
	must(t, agent.PutSecrets(t.Context(), "ins_shop", map[string]string{"token": "older"}))
	service := shop(artifact(t, agent, "one", ""))
	service.Instances, service.Secrets = 2, map[string]string{"TOKEN": "token"}
	apply(t, agent, service)
	before, err := agent.Release(t.Context(), service.ID(), service.Artifact, map[string]string{"token": "s3cr3t-token"})
	must(t, err)

	health, err := agent.Health(t.Context())
	must(t, err)
	must(t, syscall.Kill(health.Pid, syscall.SIGKILL))
	awaitEnd(t, health.Pid)
	for _, pid := range pids(before) {
		awaitEnd(t, pid)
	}
	again, err := ensureAgent(t, dir)
	must(t, err)
	var after Status
	eventually(t, func() error {
		if after, err = again.GetService(t.Context(), before.ID); err != nil || after.Health != Healthy {
			return fmt.Errorf("the service is %s %s %w", after.Health, after.Reason, err)
		}
		return nil
	})
	if after.URL != before.URL || get(t, after.URL+"/env?name=TOKEN") != "s3cr3t-token" {
		t.Errorf("the service came back as %+v", after)
	}
	homes, _ := os.ReadDir(filepath.Join(dir, "homes"))
	if len(homes) != 2 {
		t.Errorf("%d folders of processes are left, want 2", len(homes))
	}
	// A service that came back is not restarted by an apply that changes nothing.
	if same := apply(t, again, service); !slices.Equal(pids(same), pids(after)) {
		t.Error("an apply that changes nothing restarted the service")
	}
}

func TestAnAgentKilledInTheMiddleOfAReleaseComesBackWithWhatRan(t *testing.T) {
	agent, dir := startAgent(t)
	service := shop(artifact(t, agent, "one", ""))
	service.StartSec = 60
	before := apply(t, agent, service)
	late := artifact(t, agent, "two", "late")
	released := make(chan error, 1)
	go func() {
		_, err := agent.Release(t.Context(), before.ID, late, nil)
		released <- err
	}()
	eventually(t, func() error {
		if text := logs(t, agent, before.ID); !strings.Contains(text, "starting two late") {
			return fmt.Errorf("the new version has not started: %s", text)
		}
		return nil
	})
	if now, err := agent.GetService(t.Context(), before.ID); err != nil || now.Health != Progressing || now.Artifact != before.Artifact {
		t.Errorf("during the release the service is %+v, %v", now, err)
	}
	health, err := agent.Health(t.Context())
	must(t, err)
	must(t, syscall.Kill(health.Pid, syscall.SIGKILL))
	wantFault(t, <-released, "agent.unreachable")
	awaitEnd(t, health.Pid)
	again, err := ensureAgent(t, dir)
	must(t, err)
	after := apply(t, again, service)
	if after.URL != before.URL || after.Artifact != before.Artifact || version(t, after) != "one" {
		t.Errorf("the service came back as %+v", after)
	}
}

func TestAnAgentThatStopsLetsRequestsFinish(t *testing.T) {
	agent, dir := startAgent(t)
	service := shop(artifact(t, agent, "one", ""))
	service.Instances = 2
	status := apply(t, agent, service)
	health, err := agent.Health(t.Context())
	must(t, err)
	answered := make(chan string, 1)
	go func() {
		response, err := http.Get(status.URL + "/slow?ms=1000")
		if err != nil {
			answered <- err.Error()
			return
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		answered <- string(text)
	}()
	eventually(t, func() error {
		if text := logs(t, agent, status.ID); !strings.Contains(text, "slow request") {
			return errors.New("the slow request has not arrived")
		}
		return nil
	})
	must(t, agent.Stop(t.Context()))
	if text := <-answered; text != "one" {
		t.Errorf("the request in flight was answered with %q", text)
	}
	awaitEnd(t, health.Pid)
	for _, pid := range pids(status) {
		awaitEnd(t, pid)
	}
	for _, name := range []string{"homes", "run"} {
		if left, _ := filepath.Glob(filepath.Join(dir, name, "p*")); len(left) > 0 {
			t.Errorf("the agent left %v", left)
		}
	}
}

func TestAFullDiskIsSaidAndLeavesNothingHalfDone(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=48m"); err != nil {
		t.Skipf("a small disk needs the right to mount: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(disk, syscall.MNT_DETACH) })
	dir := filepath.Join(disk, "agent")
	agent := startAgentIn(t, dir)
	status := apply(t, agent, shop(artifact(t, agent, "one", "")))
	filler := filepath.Join(disk, "filler")
	must(t, os.WriteFile(filler, nil, 0o600))
	fill(t, filler)
	wantFault(t, tryArtifact(t, agent, "two"), "agent.disk_full")
	_, err := agent.ApplyVolume(t.Context(), Volume{Instance: "ins_shop", Name: "data", SizeMB: 1})
	wantFault(t, err, "agent.disk_full")
	service := status.Service
	service.Env = map[string]string{"COLOR": strings.Repeat("blue", 4096)}
	_, err = agent.ApplyService(t.Context(), service)
	wantFault(t, err, "agent.disk_full")
	now, err := agent.GetService(t.Context(), status.ID)
	must(t, err)
	if now.Health != Healthy || !slices.Equal(pids(now), pids(status)) {
		t.Errorf("what ran before is now %+v", now)
	}
	must(t, os.Remove(filler))
	must(t, tryArtifact(t, agent, "two"))
	if now = apply(t, agent, service); get(t, now.URL+"/env?name=COLOR") != service.Env["COLOR"] {
		t.Error("with room again the service does not change")
	}
}

// fill writes until the disk is full.
func fill(t *testing.T, name string) {
	t.Helper()
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	defer file.Close()
	for size := 1 << 20; size > 0; {
		if _, err := file.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}

func TestWithoutTheSandboxTheSameServicesRun(t *testing.T) {
	agent, _ := startAgent(t, "--sandbox=off")
	search := shop(artifact(t, agent, "one", ""))
	search.Name, search.Instances = "search", 2
	used := apply(t, agent, search)
	service := shop(used.Artifact)
	service.Uses = map[string]string{"SEARCH_URL": used.ID}
	status := apply(t, agent, service)
	if got := get(t, status.URL+"/fetch?url="+get(t, status.URL+"/env?name=SEARCH_URL")+"/version"); !strings.HasPrefix(got, "one ") {
		t.Errorf("the used service answered %q", got)
	}
	if _, err := agent.Release(t.Context(), used.ID, artifact(t, agent, "two", ""), nil); err != nil {
		t.Error(err)
	}
}

func TestACrashedProcessIsSeenAndStartedAgain(t *testing.T) {
	agent, _ := startAgent(t)
	status := apply(t, agent, shop(artifact(t, agent, "one", "")))
	if code, _ := ask(t, status.URL+"/exit"); code != http.StatusBadGateway {
		t.Errorf("the request that ended the process was answered with %d", code)
	}
	eventually(t, func() error {
		now, err := agent.GetService(t.Context(), status.ID)
		if err != nil {
			return err
		}
		if p := now.Processes[0]; now.Health != Healthy || p.Restarts != 1 || p.LastExit != "exit status 7" {
			return fmt.Errorf("the service is %+v", now)
		}
		return nil
	})
	if version(t, status) != "one" {
		t.Error("the service does not answer after the restart")
	}
	// One that takes more memory than it may.
	ask(t, status.URL+"/hog")
	eventually(t, func() error {
		now, err := agent.GetService(t.Context(), status.ID)
		if err != nil {
			return err
		}
		if p := now.Processes[0]; now.Health != Healthy || p.Restarts != 2 {
			return fmt.Errorf("the service is %+v", now)
		}
		return nil
	})
	t.Run("and the metrics tell of it", func(t *testing.T) {
		registry := prometheus.NewRegistry()
		registry.MustRegister(Metrics{agent})
		tells := func(want map[string]float64) {
			t.Helper()
			eventually(t, func() error {
				families, err := registry.Gather()
				if err != nil {
					return err
				}
				got := map[string]float64{}
				for _, f := range families {
					for _, m := range f.GetMetric() {
						name := f.GetName()
						for _, l := range m.GetLabel() {
							name += " " + l.GetValue()
						}
						got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
					}
				}
				for name, v := range want {
					if n, told := got[name]; !told || v > 0 && n < v || v == 0 && n != 0 {
						return fmt.Errorf("%s is %v in %v", name, n, got)
					}
				}
				return nil
			})
		}
		// Bytes are counted beside the work, and there are at least so many.
		tells(map[string]float64{"flywheel_agent_up": 1, "flywheel_agent_processes Healthy": 1, "flywheel_agent_processes Missing": 0,
			"flywheel_agent_restarts_total": 2, "flywheel_agent_bytes artifacts": 1000, "flywheel_agent_bytes volumes": 0})
		must(t, agent.Stop(t.Context()))
		tells(map[string]float64{"flywheel_agent_up": 0})
	})
}

func TestAServiceWhoseProcessesCannotComeBackIsMissingUntilItIsRepaired(t *testing.T) {
	agent, dir := startAgent(t)
	digest := artifact(t, agent, "one", "")
	status := apply(t, agent, shop(digest))
	removeTree((&artifacts{dir: filepath.Join(dir, "artifacts")}).path(digest))
	must(t, syscall.Kill(status.Processes[0].Pid, syscall.SIGKILL))
	eventually(t, func() error {
		if now, err := agent.GetService(t.Context(), status.ID); err != nil || now.Health != Missing {
			return fmt.Errorf("the service is %+v %w", now, err)
		}
		return nil
	})
	_, err := agent.ApplyService(t.Context(), status.Service)
	wantFault(t, err, "artifact.not_found")
	artifact(t, agent, "one", "")
	if now := apply(t, agent, status.Service); now.URL != status.URL || version(t, now) != "one" {
		t.Errorf("the repaired service is %+v", now)
	}
}

func TestAnAppReadsNothingOfThePlatformOrItsNeighbours(t *testing.T) {
	agent, dir := startAgent(t)
	must(t, os.WriteFile(filepath.Join(filepath.Dir(dir), "flywheel.db"), []byte("platform data"), 0o644))
	must(t, agent.PutSecrets(t.Context(), "ins_other", map[string]string{"token": "neighbours-token"}))
	digest := artifact(t, agent, "one", "")
	other := shop(digest)
	other.Instance, other.Secrets = "ins_other", map[string]string{"TOKEN": "token"}
	neighbour := apply(t, agent, other)
	must(t, agent.PutSecrets(t.Context(), "ins_shop", map[string]string{"token": "own-token-1"}))
	service := shop(digest)
	service.Secrets = map[string]string{"TOKEN": "token"}
	status := apply(t, agent, service)

	for _, path := range []string{
		filepath.Join(filepath.Dir(dir), "flywheel.db"), filepath.Join(dir, "secret.key"), filepath.Join(dir, "agent.sock"),
		filepath.Join(dir, "state/services", neighbour.ID+".json"), filepath.Join(dir, "homes"), dir, "/etc/shadow", "/root", "/home/app/../../root",
		fmt.Sprintf("/proc/%d/environ", neighbour.Processes[0].Pid), fmt.Sprintf("/proc/%d/environ", os.Getpid()),
	} {
		if code, text := ask(t, status.URL+"/read?path="+path); code != http.StatusNotFound {
			t.Errorf("the app reads %s: %s", path, text)
		}
	}
	if got := get(t, status.URL+"/read?path=/home"); got != "app" {
		t.Errorf("below /home the app sees %q", got)
	}
	for _, path := range []string{"/app/version", "/usr/x", "/etc/x", "/x"} {
		if code := post(t, status.URL+"/write?path="+path, "x"); code != http.StatusForbidden {
			t.Errorf("the app may write %s", path)
		}
	}
	for _, path := range []string{"/home/app/x", "/tmp/x"} {
		if code := post(t, status.URL+"/write?path="+path, "x"); code != http.StatusOK {
			t.Errorf("the app may not write %s", path)
		}
	}
	if code, _ := ask(t, status.URL+"/fetch?url="+neighbour.URL+"/env?name=TOKEN"); code != http.StatusBadGateway {
		t.Error("the app reaches its neighbour over the network")
	}
	// Nor does the agent tell a secret: not in answers, not in logs, not in its folder.
	answers, err := agent.ListServices(t.Context(), "")
	must(t, err)
	if text := fmt.Sprintf("%+v", answers); strings.Contains(text, "own-token-1") {
		t.Error("an answer holds a secret")
	}
	if text := logs(t, agent, status.ID); strings.Contains(text, "own-token-1") || !strings.Contains(text, "with (sensitive)") {
		t.Errorf("the log is %s", text)
	}
	filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && path != filepath.Join(dir, "x") {
			if content, _ := os.ReadFile(path); bytes.Contains(content, []byte("own-token-1")) {
				t.Errorf("%s holds a secret", path)
			}
		}
		return nil
	})
}

func post(t *testing.T, url, body string) int {
	t.Helper()
	response, err := http.Post(url, "text/plain", strings.NewReader(body))
	must(t, err)
	response.Body.Close()
	return response.StatusCode
}

func logs(t *testing.T, agent *Client, id string) string {
	t.Helper()
	r, err := agent.Logs(t.Context(), id, false)
	must(t, err)
	defer r.Close()
	text, err := io.ReadAll(r)
	must(t, err)
	return string(text)
}

func TestASecretThatChangedReachesTheAppWithTheNextRelease(t *testing.T) {
	agent, _ := startAgent(t)
	service := shop(artifact(t, agent, "one", ""))
	service.Secrets = map[string]string{"TOKEN": "token"}
	_, err := agent.ApplyService(t.Context(), service)
	wantFault(t, err, "secret.not_set")
	must(t, agent.PutSecrets(t.Context(), "ins_shop", map[string]string{"token": "first"}))
	status := apply(t, agent, service)
	must(t, agent.PutSecrets(t.Context(), "ins_shop", map[string]string{"token": "unused"}))
	if got := get(t, status.URL+"/env?name=TOKEN"); got != "first" {
		t.Errorf("before the release the app has %q", got)
	}
	status, err = agent.Release(t.Context(), status.ID, status.Artifact, map[string]string{"token": "second"})
	must(t, err)
	if got := get(t, status.URL+"/env?name=TOKEN"); got != "second" {
		t.Errorf("after the release the app has %q", got)
	}
}

func TestAVolumeOutlivesItsServices(t *testing.T) {
	agent, _ := startAgent(t)
	volume, err := agent.ApplyVolume(t.Context(), Volume{Instance: "ins_shop", Name: "data", SizeMB: 10})
	must(t, err)
	service := shop(artifact(t, agent, "one", ""))
	service.Volumes = map[string]string{"/data": volume.ID}
	status := apply(t, agent, service)
	if code := post(t, status.URL+"/write?path=/data/orders", strings.Repeat("x", 3<<20)); code != http.StatusOK {
		t.Fatalf("the volume cannot be written: %d", code)
	}
	must(t, agent.DeleteService(t.Context(), status.ID))
	awaitEnd(t, status.Processes[0].Pid)
	if _, err := net.Dial("tcp", strings.TrimPrefix(status.URL, "http://")); err == nil {
		t.Error("the address of a deleted service still answers")
	}
	if volume, err = agent.GetVolume(t.Context(), volume.ID); err != nil || volume.UsedMB != 3 {
		t.Errorf("the volume is %+v, %v", volume, err)
	}
	if status = apply(t, agent, service); len(get(t, status.URL+"/read?path=/data/orders")) != 3<<20 {
		t.Error("the volume lost its content")
	}
	other := service
	other.Instance = "ins_other"
	_, err = agent.ApplyService(t.Context(), other)
	wantFault(t, err, "volume.not_found")
	// What the app put into its volume leads nowhere: not through a link under the volume's own name either.
	must(t, os.Symlink("/", filepath.Join(volume.Path, volume.ID)))
	service.Volumes = map[string]string{"/data": volume.ID + "/" + volume.ID}
	_, err = agent.ApplyService(t.Context(), service)
	wantFault(t, err, "volume.not_found")
	must(t, agent.DeleteService(t.Context(), status.ID))
	must(t, agent.DeleteVolume(t.Context(), volume.ID))
	if _, err := os.Stat(volume.Path); !errors.Is(err, os.ErrNotExist) {
		t.Error("a deleted volume is still there")
	}
}

func TestADeletedVolumeGoesWhenItsServiceHasLetGoOfIt(t *testing.T) {
	agent, dir := startAgent(t)
	volume := func(name string) Volume {
		t.Helper()
		v, err := agent.ApplyVolume(t.Context(), Volume{Instance: "ins_shop", Name: name, SizeMB: 1})
		must(t, err)
		return v
	}
	gone := func(v Volume) {
		t.Helper()
		eventually(t, func() error {
			if _, err := os.Stat(v.Path); !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("%s is still there: %w", v.Name, err)
			}
			return nil
		})
	}
	old := volume("old")
	service := shop(artifact(t, agent, "one", ""))
	service.DrainSec = 1
	service.Volumes = map[string]string{"/data": old.ID}
	status := apply(t, agent, service)
	post(t, status.URL+"/write?path=/data/orders", "42")

	// As an engine replaces a mounted volume: first the old one is deleted.
	must(t, agent.DeleteVolume(t.Context(), old.ID))
	_, err := agent.GetVolume(t.Context(), old.ID)
	wantFault(t, err, "volume.not_found")
	if list, err := agent.ListVolumes(t.Context(), "ins_shop"); err != nil || len(list) != 0 {
		t.Errorf("there is %+v, %v", list, err)
	}
	// Should it fail here, what runs has its data, also with another artifact and after a restart.
	if status, err = agent.Release(t.Context(), status.ID, artifact(t, agent, "two", ""), nil); err != nil || get(t, status.URL+"/read?path=/data/orders") != "42" {
		t.Fatalf("the service lost its data: %v", err)
	}
	must(t, agent.Stop(t.Context()))
	for _, p := range status.Processes {
		awaitEnd(t, p.Pid)
	}
	eventually(t, func() error {
		if _, err := agent.Health(t.Context()); err == nil {
			return errors.New("the agent still runs")
		}
		return nil
	})
	agent = startAgentIn(t, dir)
	eventually(t, func() error {
		if code, body := ask(t, status.URL+"/read?path=/data/orders"); body != "42" {
			return fmt.Errorf("the service answers %d %s", code, body)
		}
		return nil
	})
	// And a volume that is made again under its name is the same.
	volume("old")
	must(t, agent.DeleteVolume(t.Context(), old.ID))

	fresh := volume("fresh")
	service.Artifact = artifact(t, agent, "two", "")
	service.Volumes = map[string]string{"/data": fresh.ID}
	apply(t, agent, service)
	gone(old)

	// A service that ends lets go as well.
	must(t, agent.DeleteVolume(t.Context(), fresh.ID))
	if _, err := os.Stat(fresh.Path); err != nil {
		t.Errorf("a mounted volume is gone: %v", err)
	}
	must(t, agent.DeleteService(t.Context(), status.ID))
	gone(fresh)
}

func TestAServiceReachesAnotherOneThatItUses(t *testing.T) {
	agent, _ := startAgent(t)
	digest := artifact(t, agent, "one", "")
	search := shop(digest)
	search.Name = "search"
	used := apply(t, agent, search)
	service := shop(digest)
	service.Uses = map[string]string{"SEARCH_URL": used.ID}
	status := apply(t, agent, service)
	url := get(t, status.URL+"/env?name=SEARCH_URL")
	if got := get(t, status.URL+"/fetch?url="+url+"/version"); !strings.HasPrefix(got, "one ") {
		t.Errorf("the used service answered %q", got)
	}
	// A release of the used service is nothing its user notices.
	_, err := agent.Release(t.Context(), used.ID, artifact(t, agent, "two", ""), nil)
	must(t, err)
	if got := get(t, status.URL+"/fetch?url="+url+"/version"); !strings.HasPrefix(got, "two ") {
		t.Errorf("the released service answered %q", got)
	}
	other := service
	other.Instance = "ins_other"
	_, err = agent.ApplyService(t.Context(), other)
	wantFault(t, err, "service.not_found")
}

func TestStreamsAndUpgradedConnectionsPass(t *testing.T) {
	agent, _ := startAgent(t)
	status := apply(t, agent, shop(artifact(t, agent, "one", "")))
	if got := get(t, status.URL+"/stream"); got != "0\n1\n2" {
		t.Errorf("the stream was %q", got)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(status.URL, "http://"))
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(patience.Of(patience.Limit))))
	fmt.Fprint(conn, "GET /upgrade HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, nil)
	must(t, err)
	if response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the upgrade was answered with %s", response.Status)
	}
	for _, word := range []string{"hello", "again"} {
		fmt.Fprintln(conn, word)
		line, err := in.ReadString('\n')
		must(t, err)
		if line != "echo "+word+"\n" {
			t.Errorf("the app answered %q", line)
		}
	}
}

func TestALogIsFollowedWhileTheAppPrints(t *testing.T) {
	agent, _ := startAgent(t)
	status := apply(t, agent, shop(artifact(t, agent, "one", "")))
	r, err := agent.Logs(t.Context(), status.ID, true)
	must(t, err)
	defer r.Close()
	lines := bufio.NewScanner(r)
	if !lines.Scan() || !strings.Contains(lines.Text(), status.Processes[0].ID+" starting one") {
		t.Fatalf("the first line is %q", lines.Text())
	}
	_, err = agent.Release(t.Context(), status.ID, artifact(t, agent, "two", ""), nil)
	must(t, err)
	seen := map[string]bool{}
	for !(seen["starting two"] && seen["stopping politely"]) && lines.Scan() {
		for _, text := range []string{"starting two", "stopping politely"} {
			seen[text] = seen[text] || strings.Contains(lines.Text(), text)
		}
	}
	must(t, agent.DeleteService(t.Context(), status.ID))
	for lines.Scan() {
	}
	if len(seen) != 2 || lines.Err() != nil {
		t.Errorf("the follower saw %v, %v", slices.Collect(maps.Keys(seen)), lines.Err())
	}
}

func TestAnOvertakenDeploymentChangesNothing(t *testing.T) {
	agent, _ := startAgent(t)
	digest := artifact(t, agent, "one", "")
	newer, older, looking := *agent, *agent, *agent
	newer.Fence, older.Fence, looking.ReadOnly = 7, 6, true
	status := apply(t, &newer, shop(digest))
	_, err := older.Release(t.Context(), status.ID, digest, nil)
	wantFault(t, err, "instance.fenced")
	wantFault(t, older.DeleteService(t.Context(), status.ID), "instance.fenced")
	wantFault(t, older.PutSecrets(t.Context(), "ins_shop", nil), "instance.fenced")
	wantFault(t, looking.DeleteService(t.Context(), status.ID), "agent.read_only")
	if _, err := newer.Release(t.Context(), status.ID, digest, nil); err != nil {
		t.Error(err)
	}
}

func TestWhoGoesAwayDuringAReleaseFindsItDoneOrJoinsIt(t *testing.T) {
	agent, _ := startAgent(t)
	status := apply(t, agent, shop(artifact(t, agent, "one", "")))
	next := artifact(t, agent, "two", "")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	agent.Release(ctx, status.ID, next, nil)
	again, err := agent.Release(t.Context(), status.ID, next, nil)
	must(t, err)
	if version(t, again) != "two" {
		t.Error("the release was lost")
	}
}

func TestOneFolderHasOneAgent(t *testing.T) {
	agent, dir := startAgent(t)
	wantFault(t, RunAgent(t.Context(), AgentOptions{Data: dir}), "agent.running")
	same, err := EnsureAgent(t.Context(), dir, "/nowhere")
	must(t, err)
	if health, err := same.Health(t.Context()); err != nil || health.API != 2 || health.Version != "test" {
		t.Errorf("the agent says %+v, %v", health, err)
	}
	if info, err := os.Stat(agent.Socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", info, err)
	}
}

func TestAPortInUseIsRefused(t *testing.T) {
	agent, _ := startAgent(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	service := shop(artifact(t, agent, "one", ""))
	service.Port = taken.Addr().(*net.TCPAddr).Port
	_, err = agent.ApplyService(t.Context(), service)
	wantFault(t, err, "service.port_taken")
	must(t, taken.Close())
	status := apply(t, agent, service)
	if !strings.HasSuffix(status.URL, fmt.Sprintf(":%d", service.Port)) || version(t, status) != "one" {
		t.Errorf("the service is at %s", status.URL)
	}
	service.Port = 0 // keeps the one it has
	if same := apply(t, agent, service); same.URL != status.URL || same.Processes[0].Pid != status.Processes[0].Pid {
		t.Errorf("the service moved to %s", same.URL)
	}
}

func TestAServiceThatCannotBeIsRefusedByFields(t *testing.T) {
	agent := &agent{}
	_, err := agent.apply(Service{
		Instance: "../x", Name: "No Name", Artifact: "sha256:1", Instances: 65, Port: 80, HealthPath: "healthz", MemoryMB: 1,
		Env: map[string]string{"PORT": "1", "A-B": "", "X": ""}, Secrets: map[string]string{"X": "x"},
		Volumes: map[string]string{"/app/x": "v", "data": "v", "/data/..": "v"}, StartSec: 601, DrainSec: -1,
	}, 0)
	var got []string
	for _, field := range wantFault(t, err, "service.invalid").Fields {
		got = append(got, field.Path)
	}
	want := []string{
		"artifact", "command", "drain_seconds", "env.A-B", "env.PORT", "health_path", "instance", "instances", "memory_mb",
		"name", "port", "secrets.X", "start_seconds", "volumes./app/x", "volumes./data/..", "volumes.data",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

// awaitStop waits until every thread of a process stands still: the signal reaches them one after another.
func awaitStop(t *testing.T, pid int) {
	t.Helper()
	eventually(t, func() error {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil || len(files) == 0 {
			return errors.Join(fmt.Errorf("process %d has no threads", pid), err)
		}
		for _, file := range files {
			stat, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if _, rest, _ := strings.Cut(string(stat), ") "); !strings.HasPrefix(rest, "T") {
				return fmt.Errorf("a thread still runs: %s", stat)
			}
		}
		return nil
	})
}

func TestAnAgentThatStandsStillIsNotWaitedForForEver(t *testing.T) {
	agent, _ := startAgent(t)
	health, err := agent.Health(t.Context())
	must(t, err)
	must(t, syscall.Kill(health.Pid, syscall.SIGSTOP))
	defer syscall.Kill(health.Pid, syscall.SIGCONT)
	awaitStop(t, health.Pid)
	impatient := *agent
	impatient.Limit = 100 * time.Millisecond
	_, err = impatient.Release(t.Context(), ServiceID("ins_shop", "shop"), "sha256:"+strings.Repeat("0", 64), nil)
	wantFault(t, err, "agent.silent")
}

func TestAnAgentThatIsNotThereIsSaidSo(t *testing.T) {
	_, err := (&Client{Socket: filepath.Join(t.TempDir(), "agent.sock")}).Health(t.Context())
	if wantFault(t, err, "agent.unreachable").Kind != fault.Unavailable {
		t.Error("the fault's kind does not invite to try again")
	}
}
