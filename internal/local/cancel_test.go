package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"flywheel.dev/flywheel/internal/fault"
)

// deployment is a client as a deployment with this fence has it.
func deployment(agent *Client, fence int64) *Client {
	c := *agent
	c.Fence = fence
	return &c
}

// begun starts a release in the background and returns when its version has started. The channel gets how
// it ended.
func begun(t *testing.T, d *Client, id, artifact, line string) chan error {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		_, err := d.Release(context.WithoutCancel(t.Context()), id, artifact, nil)
		ended <- err
	}()
	eventually(t, func() error {
		if text := logs(t, d, id); !strings.Contains(text, line) {
			return fmt.Errorf("the new version has not started: %s", text)
		}
		return nil
	})
	return ended
}

func TestACancelledReleaseIsGivenUpAndWhatRanServesOn(t *testing.T) {
	agent, dir := startAgent(t)
	service := shop(artifact(t, agent, "one", ""))
	service.Instances, service.StartSec = 2, 60
	before := apply(t, agent, service)
	late := artifact(t, agent, "two", "late")
	second := deployment(agent, 2)
	stop := load(t, before.URL)
	ended := begun(t, second, before.ID, late, "starting two late")
	must(t, second.Cancel(t.Context(), service.Instance))
	wantFault(t, <-ended, "service.cancelled")
	if sent, failures := stop(); len(failures) > 0 {
		t.Errorf("%d of %d requests failed, the first: %v", len(failures), sent, failures[0])
	}
	untouched := func() {
		t.Helper()
		now, err := agent.GetService(t.Context(), before.ID)
		must(t, err)
		if now.Health != Healthy || now.Artifact != before.Artifact || !slices.Equal(pids(now), pids(before)) {
			t.Errorf("what ran before is now %+v", now)
		}
		if homes, err := os.ReadDir(filepath.Join(dir, "homes")); err != nil || len(homes) != 2 {
			t.Errorf("%d folders of processes are left, want 2: %v", len(homes), err)
		}
	}
	untouched()

	// What still comes of that deployment is refused, whatever it is.
	_, err := second.Release(t.Context(), before.ID, late, nil)
	wantFault(t, err, "service.cancelled")
	_, err = second.Release(t.Context(), before.ID, artifact(t, agent, "three", ""), nil)
	wantFault(t, err, "service.cancelled")
	must(t, second.Cancel(t.Context(), service.Instance))
	untouched()

	// One that was overtaken cancels nothing of a newer one.
	third := deployment(agent, 3)
	ended = begun(t, third, before.ID, artifact(t, agent, "four", "late"), "starting four late")
	wantFault(t, second.Cancel(t.Context(), service.Instance), "instance.fenced")
	select {
	case err := <-ended:
		t.Errorf("the newer release ended with %v", err)
	default:
	}
	must(t, third.Cancel(t.Context(), service.Instance))
	wantFault(t, <-ended, "service.cancelled")
	untouched()
	status, err := deployment(agent, 4).Release(t.Context(), before.ID, artifact(t, agent, "five", ""), nil)
	must(t, err)
	if version(t, status) != "five" {
		t.Errorf("after the next release runs %s", version(t, status))
	}
}

func TestACancelIsRememberedByAnAgentThatWasKilled(t *testing.T) {
	agent, dir := startAgent(t)
	service := shop(artifact(t, agent, "one", ""))
	service.StartSec = 60
	before := apply(t, agent, service)
	late := artifact(t, agent, "two", "late")
	second := deployment(agent, 2)
	ended := begun(t, second, before.ID, late, "starting two late")
	health, err := agent.Health(t.Context())
	must(t, err)
	must(t, syscall.Kill(health.Pid, syscall.SIGKILL))
	wantFault(t, <-ended, "agent.unreachable")
	awaitEnd(t, health.Pid)
	again, err := ensureAgent(t, dir)
	must(t, err)
	must(t, deployment(again, 2).Cancel(t.Context(), service.Instance))
	_, err = deployment(again, 2).Release(t.Context(), before.ID, late, nil)
	wantFault(t, err, "service.cancelled")
	health, err = again.Health(t.Context())
	must(t, err)
	must(t, syscall.Kill(health.Pid, syscall.SIGKILL))
	awaitEnd(t, health.Pid)
	again, err = ensureAgent(t, dir)
	must(t, err)
	_, err = deployment(again, 2).Release(t.Context(), before.ID, late, nil)
	wantFault(t, err, "service.cancelled")
	if after := apply(t, again, service); version(t, after) != "one" {
		t.Errorf("the service came back as %+v", after)
	}
}

func TestAFirstVersionThatIsGivenUpLeavesNothing(t *testing.T) {
	agent, dir := startAgent(t)
	service := shop(artifact(t, agent, "one", "late"))
	service.StartSec = 60
	first := deployment(agent, 1)
	ended := make(chan error, 1)
	go func() {
		_, err := first.ApplyService(context.WithoutCancel(t.Context()), service)
		ended <- err
	}()
	eventually(t, func() error {
		if homes, err := os.ReadDir(filepath.Join(dir, "homes")); err != nil || len(homes) == 0 {
			return fmt.Errorf("no process has begun: %w", err)
		}
		return nil
	})
	must(t, first.Cancel(t.Context(), service.Instance))
	wantFault(t, <-ended, "service.cancelled")
	_, err := agent.GetService(t.Context(), service.ID())
	wantFault(t, err, "service.not_found")
	if homes, err := os.ReadDir(filepath.Join(dir, "homes")); err != nil || len(homes) != 0 {
		t.Errorf("%d folders of processes are left: %v", len(homes), err)
	}
}

// TestACancelThatCrossesAReleaseLosesNothing cancels at every moment: either the new version runs and the
// release says so, or the old one runs and the release says that.
func TestACancelThatCrossesAReleaseLosesNothing(t *testing.T) {
	agent, _ := startAgent(t)
	artifacts := []string{artifact(t, agent, "one", ""), artifact(t, agent, "two", "")}
	status := apply(t, agent, shop(artifacts[0]))
	switched, given, moment := 0, 0, 0
	for fence := int64(1); fence <= 40; fence++ {
		wanted := artifacts[0]
		if status.Artifact == wanted {
			wanted = artifacts[1]
		}
		d, ended := deployment(agent, fence), make(chan error, 1)
		go func() {
			_, err := d.Release(context.WithoutCancel(t.Context()), status.ID, wanted, nil)
			ended <- err
		}()
		for range moment { // it comes nearer to the switch from both sides
			_, err := agent.GetService(t.Context(), status.ID)
			must(t, err)
		}
		must(t, d.Cancel(t.Context(), "ins_shop"))
		err := <-ended
		now, failure := agent.GetService(t.Context(), status.ID)
		must(t, failure)
		_, again := d.Release(t.Context(), status.ID, wanted, nil)
		switch {
		case err == nil && again == nil && now.Artifact == wanted:
			switched++
			moment = moment * 3 / 4
		case fault.Is(err, "service.cancelled") && fault.Is(again, "service.cancelled") && now.Artifact == status.Artifact && slices.Equal(pids(now), pids(status)):
			given++
			moment += 8
		default:
			t.Fatalf("release %d ended with %v, then %v, and the service is %+v, before %+v", fence, err, again, now, status)
		}
		status = now
	}
	t.Logf("%d switched, %d were given up", switched, given)
	if given == 0 || switched == 0 {
		t.Error("every cancel came before the switch, or every one after it")
	}
}
