package local

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestAPreparedReleaseStartsInItsSandboxAndNothingRunsBefore(t *testing.T) {
	agent, dir := startAgent(t)
	service := shop(artifact(t, agent, "one", ""))
	service.Instances = 2
	status := apply(t, agent, service)
	next := artifact(t, agent, "two", "")
	prepared := prepare(t, agent, status, next, 2)
	if version(t, status) != "one" || strings.Contains(logs(t, agent, status.ID), "starting two") {
		t.Error("something of the new version runs before its release")
	}
	must(t, agent.Prepare(t.Context(), status.ID, next))
	if again := sandboxes(t, agent); len(again) != 4 {
		t.Errorf("prepared twice there are the sandboxes %v", again)
	}

	status, err := agent.Release(t.Context(), status.ID, next, nil)
	must(t, err)
	if !containsAll(prepared, pids(status)) || version(t, status) != "two" {
		t.Errorf("the release runs in %v, prepared were %v", pids(status), prepared)
	}
	homesAre(t, dir, 2)
}

func TestAReleaseNeedsNoPreparation(t *testing.T) {
	agent, dir := startAgent(t)
	status := apply(t, agent, shop(artifact(t, agent, "one", "")))
	next := artifact(t, agent, "two", "")
	for _, pid := range prepare(t, agent, status, next, 1) {
		must(t, syscall.Kill(pid, syscall.SIGKILL))
		awaitEnd(t, pid)
	}
	status, err := agent.Release(t.Context(), status.ID, next, nil)
	must(t, err)
	if version(t, status) != "two" {
		t.Error("the release did not go on without its sandbox")
	}
	third := artifact(t, agent, "three", "")
	status, err = agent.Release(t.Context(), status.ID, third, nil)
	must(t, err)
	if version(t, status) != "three" {
		t.Error("the release that nobody prepared did not happen")
	}
	homesAre(t, dir, 1)
}

func TestASandboxIsThrownAwayWhenTheServiceIsAnother(t *testing.T) {
	agent, dir := startAgent(t)
	service := shop(artifact(t, agent, "one", ""))
	status := apply(t, agent, service)
	next := artifact(t, agent, "two", "")
	prepared := prepare(t, agent, status, next, 1)
	service.Artifact, service.Env = next, map[string]string{"COLOR": "blue"}
	status = apply(t, agent, service)
	if status.Prepared != 0 || containsAll(prepared, pids(status)) || get(t, status.URL+"/env?name=COLOR") != "blue" {
		t.Errorf("after the change of its environment the service is %+v", status)
	}
	awaitEnd(t, prepared[0])
	homesAre(t, dir, 1)

	prepared = prepare(t, agent, status, artifact(t, agent, "three", ""), 1)
	other := prepare(t, agent, status, artifact(t, agent, "four", ""), 1)
	awaitEnd(t, prepared[0])
	must(t, agent.DeleteService(t.Context(), status.ID))
	awaitEnd(t, other[0])
	homesAre(t, dir, 0)
}

func TestAPreparedSandboxKnowsNoSecret(t *testing.T) {
	agent, _ := startAgent(t)
	service := shop(artifact(t, agent, "one", ""))
	service.Secrets = map[string]string{"TOKEN": "token"}
	must(t, agent.PutSecrets(t.Context(), "ins_shop", map[string]string{"token": "the-older-secret"}))
	status := apply(t, agent, service)
	next := artifact(t, agent, "two", "")
	for _, pid := range prepare(t, agent, status, next, 1) {
		if bytes.Contains(memory(t, pid), []byte("the-older-secret")) {
			t.Error("the sandbox knows the secret before the release")
		}
	}
	status, err := agent.Release(t.Context(), status.ID, next, map[string]string{"token": "the-newer-secret"})
	must(t, err)
	if got := get(t, status.URL+"/env?name=TOKEN"); got != "the-newer-secret" {
		t.Errorf("after the release the app has %q", got)
	}
	if text := logs(t, agent, status.ID); strings.Contains(text, "the-newer-secret") || !strings.Contains(text, "starting two  with (sensitive)") {
		t.Errorf("the log says %s", text)
	}
}

func TestAnAgentThatIsKilledLeavesNoPreparedSandbox(t *testing.T) {
	agent, dir := startAgent(t)
	status := apply(t, agent, shop(artifact(t, agent, "one", "")))
	prepared := prepare(t, agent, status, artifact(t, agent, "two", ""), 1)
	health, err := agent.Health(t.Context())
	must(t, err)
	must(t, syscall.Kill(health.Pid, syscall.SIGKILL))
	awaitEnd(t, prepared[0])
	agent = startAgentIn(t, dir)
	eventually(t, func() error {
		status, err = agent.GetService(t.Context(), status.ID)
		if err == nil && status.Health != Healthy {
			err = errors.New("the service is not back")
		}
		return err
	})
	if status.Prepared != 0 || version(t, status) != "one" {
		t.Errorf("after the restart the service is %+v", status)
	}
	homesAre(t, dir, 1)
}

func TestWhoAsksForAnArtifactThatArrivesWaitsForIt(t *testing.T) {
	agent, dir := startAgent(t)
	digest, archive := pack(t, "one", "")
	r, w := io.Pipe()
	brought := make(chan error, 2)
	go func() { brought <- agent.PutArtifact(t.Context(), digest, r) }()
	_, err := w.Write(archive.Next(1000))
	must(t, err)
	eventually(t, func() error {
		if begun, _ := filepath.Glob(filepath.Join(dir, "artifacts", "incoming-*")); len(begun) == 0 {
			return errors.New("the artifact does not arrive")
		}
		return nil
	})
	go func() {
		there, err := agent.HasArtifact(t.Context(), digest)
		if !there {
			err = errors.Join(err, errors.New("the artifact that arrived is said to be missing"))
		}
		brought <- err
	}()
	_, err = io.Copy(w, archive)
	must(t, err)
	must(t, w.Close())
	must(t, <-brought)
	must(t, <-brought)
}

func TestAnArtifactThatDoesNotArriveIsMissing(t *testing.T) {
	agent, _ := startAgent(t)
	digest, archive := pack(t, "one", "")
	wantFault(t, agent.PutArtifact(t.Context(), digest, strings.NewReader(archive.String()[:1000])), "artifact.unsafe")
	if there, err := agent.HasArtifact(t.Context(), digest); err != nil || there {
		t.Errorf("the artifact is there: %v, %v", there, err)
	}
	must(t, agent.PutArtifact(t.Context(), digest, archive))
}

// prepare prepares a release and returns the n sandboxes that were made for it.
func prepare(t *testing.T, agent *Client, s Status, artifact string, n int) (fresh []int) {
	t.Helper()
	before := sandboxes(t, agent)
	must(t, agent.Prepare(t.Context(), s.ID, artifact))
	status, err := agent.GetService(t.Context(), s.ID)
	must(t, err)
	for _, pid := range sandboxes(t, agent) {
		if !slices.Contains(before, pid) {
			fresh = append(fresh, pid)
		}
	}
	if status.Prepared != n || len(fresh) != n {
		t.Fatalf("%d sandboxes are prepared, of them new: %v", status.Prepared, fresh)
	}
	return fresh
}

// sandboxes returns the first processes of the sandboxes that the agent runs.
func sandboxes(t *testing.T, agent *Client) (found []int) {
	t.Helper()
	health, err := agent.Health(t.Context())
	must(t, err)
	var below func(pid int)
	below = func(pid int) {
		children, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		for _, name := range children {
			text, _ := os.ReadFile(name)
			for _, field := range strings.Fields(string(text)) {
				child, err := strconv.Atoi(field)
				must(t, err)
				if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", child)); string(name) == "sandbox-init\n" {
					found = append(found, child)
				}
				below(child)
			}
		}
	}
	below(health.Pid)
	return found
}

// memory returns what the process has in its memory, its environment and its arguments.
func memory(t *testing.T, pid int) []byte {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if os.Geteuid() != 0 && err != nil {
		return nil // nobody but root may look
	}
	must(t, err)
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	must(t, err)
	defer mem.Close()
	var all []byte
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil || !strings.HasPrefix(mode, "rw") || to-from > 64<<20 {
			continue
		}
		part := make([]byte, to-from)
		n, _ := mem.ReadAt(part, from)
		all = append(all, part[:n]...)
	}
	if len(all) == 0 {
		t.Errorf("nothing of the memory of %d can be read", pid)
	}
	return all
}

// homesAre waits until there are the folders of n processes and no others.
func homesAre(t *testing.T, dir string, n int) {
	t.Helper()
	eventually(t, func() error {
		if homes, _ := os.ReadDir(filepath.Join(dir, "homes")); len(homes) != n {
			return fmt.Errorf("there are the homes %v, not %d", homes, n)
		}
		return nil
	})
}
