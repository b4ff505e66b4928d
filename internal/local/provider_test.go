package local

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"flywheel.dev/flywheel/internal/patience"
)

const module = `
terraform {
  required_providers {
    flywheel = { source = "registry.flywheel.dev/flywheel/flywheel" }
  }
}
variable "artifact" { type = string }
variable "instances" { default = 1 }
variable "color" { default = "red" }
variable "volume" { default = "data" }
resource "flywheel_volume" "data" {
  name    = var.volume
  size_mb = 64
}
resource "flywheel_service" "search" {
  name      = "search"
  artifact  = var.artifact
  command   = ["./app"]
  memory_mb = 128
}
resource "flywheel_service" "shop" {
  name      = "shop"
  artifact  = var.artifact
  command   = ["./app"]
  instances = var.instances
  memory_mb = 128
  env       = { COLOR = var.color }
  secrets   = { TOKEN = "token" }
  volumes   = { "/data" = flywheel_volume.data.id }
  uses      = { SEARCH_URL = flywheel_service.search.id }
}
output "url" { value = flywheel_service.shop.url }
output "service" { value = flywheel_service.shop.id }
`

// engines are the engines on this machine. Each must be proven where it is.
func engines() []string {
	var found []string
	for _, name := range []string{"terraform", "tofu", os.Getenv("FLYWHEEL_TOFU")} {
		if path, err := exec.LookPath(name); name != "" && err == nil && !slices.Contains(found, path) {
			found = append(found, path)
		}
	}
	return found
}

func TestTheProviderWithEachEngine(t *testing.T) {
	if len(engines()) == 0 {
		t.Fatal("neither terraform nor tofu is on PATH, and FLYWHEEL_TOFU names none")
	}
	for _, path := range engines() {
		t.Run(filepath.Base(path), func(t *testing.T) { testProvider(t, path) })
	}
}

// engine is a folder with the module and an engine that is attached to the provider.
type engine struct {
	t    *testing.T
	path string
	dir  string
	env  []string
	vars map[string]string
}

func newEngine(t *testing.T, path string, agent *Client, instance, module string) *engine {
	t.Helper()
	e := &engine{t: t, path: path, dir: t.TempDir(), vars: map[string]string{}}
	must(t, os.WriteFile(filepath.Join(e.dir, "main.tf"), []byte(module), 0o644))
	short, err := os.MkdirTemp("", "fw") // the engine needs a path that fits a socket's address
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); os.RemoveAll(short) })
	reattach, err := ServeProvider(ctx, filepath.Join(short, "provider.sock"), agent, instance)
	must(t, err)
	e.env = []string{"TF_REATTACH_PROVIDERS=" + reattach, "HOME=" + short, "PATH=/usr/bin:/bin", "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1"}
	e.run("init", "-input=false")
	return e
}

func (e *engine) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(e.t.Context(), patience.Of(patience.Limit))
	defer cancel()
	cmd := exec.CommandContext(ctx, e.path, append(args, "-no-color")...)
	cmd.Dir, cmd.Env = e.dir, e.env
	for name, value := range e.vars {
		cmd.Env = append(cmd.Env, "TF_VAR_"+name+"="+value)
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (e *engine) run(args ...string) string {
	e.t.Helper()
	out, err := e.try(args...)
	if err != nil {
		e.t.Fatalf("%s %v: %v\n%s", filepath.Base(e.path), args, err, out)
	}
	return out
}

func (e *engine) apply() { e.t.Helper(); e.run("apply", "-input=false", "-auto-approve") }

// plan returns what is planned, "create flywheel_service.shop", without what stays.
func (e *engine) plan() []string {
	e.t.Helper()
	e.run("plan", "-input=false", "-out=plan")
	var plan struct {
		Changes []struct {
			Address string
			Change  struct{ Actions []string }
		} `json:"resource_changes"`
	}
	must(e.t, json.Unmarshal([]byte(e.run("show", "-json", "plan")), &plan))
	planned := []string{}
	for _, c := range plan.Changes {
		if action := strings.Join(c.Change.Actions, "+"); action != "no-op" {
			planned = append(planned, action+" "+c.Address)
		}
	}
	return planned
}

func (e *engine) wantPlan(want ...string) {
	e.t.Helper()
	if got := e.plan(); !slices.Equal(got, want) {
		e.t.Errorf("planned %q, want %q", got, want)
	}
}

func (e *engine) output(name string) string {
	e.t.Helper()
	return strings.TrimSpace(e.run("output", "-raw", name))
}

func testProvider(t *testing.T, path string) {
	agent, dir := startAgent(t)
	must(t, agent.PutSecrets(t.Context(), "ins_shop", map[string]string{"token": "planted-secret"}))
	one, two := artifact(t, agent, "one", ""), artifact(t, agent, "two", "")
	e := newEngine(t, path, agent, "ins_shop", module)
	e.vars["artifact"] = one
	e.wantPlan("create flywheel_service.search", "create flywheel_service.shop", "create flywheel_volume.data")
	e.apply()
	e.wantPlan()
	url, id := e.output("url"), e.output("service")
	if get(t, url+"/env?name=TOKEN") != "planted-secret" || id != ServiceID("ins_shop", "shop") {
		t.Errorf("the service %s does not run as it was described", id)
	}
	if state, _ := os.ReadFile(filepath.Join(e.dir, "terraform.tfstate")); strings.Contains(string(state), "planted-secret") {
		t.Error("the state holds the secret")
	}

	// Rule 9: releases outside of the engine and the engine agree.
	for _, service := range []string{id, ServiceID("ins_shop", "search")} {
		_, err := agent.Release(t.Context(), service, two, map[string]string{"token": "planted-secret"})
		must(t, err)
	}
	e.vars["artifact"] = two
	e.wantPlan()
	before, err := agent.GetService(t.Context(), id)
	must(t, err)
	e.vars["instances"] = "3"
	e.wantPlan("update flywheel_service.shop")
	e.apply()
	after, err := agent.GetService(t.Context(), id)
	must(t, err)
	if after.Instances != 3 || after.Artifact != two || !containsAll(pids(after), pids(before)) {
		t.Errorf("changing the number of instances led from %+v to %+v", before, after)
	}
	e.wantPlan()
	e.vars["color"] = "blue"
	e.apply()
	if get(t, url+"/env?name=COLOR") != "blue" {
		t.Error("the changed variable did not reach the app")
	}
	e.wantPlan()

	// A secret set anew, or taken away, is drift too: what runs knows it as it was.
	must(t, agent.PutSecrets(t.Context(), "ins_shop", map[string]string{"token": "planted-anew"}))
	if get(t, url+"/env?name=TOKEN") != "planted-secret" {
		t.Error("a running process was given another secret")
	}
	e.wantPlan("update flywheel_service.shop")
	e.apply()
	if get(t, url+"/env?name=TOKEN") != "planted-anew" {
		t.Error("the secret that was set anew did not reach the app")
	}
	e.wantPlan()
	must(t, agent.PutSecrets(t.Context(), "ins_shop", map[string]string{}))
	if out, err := e.try("apply", "-input=false", "-auto-approve"); err == nil || !strings.Contains(out, "[secret.not_set]") {
		t.Errorf("the run without the secret said %v\n%s", err, out)
	}
	must(t, agent.PutSecrets(t.Context(), "ins_shop", map[string]string{"token": "planted-anew"}))
	e.wantPlan()

	// A version that does not become healthy fails the run, and what ran runs on.
	good := e.vars["artifact"]
	e.vars["artifact"] = artifact(t, agent, "bad", "crash")
	if out, err := e.try("apply", "-input=false", "-auto-approve"); err == nil || !strings.Contains(out, "[service.unhealthy]") || !strings.Contains(out, "boom: no configuration") {
		t.Errorf("the run of a bad version said %v\n%s", err, out)
	}
	e.vars["artifact"] = good
	e.wantPlan()

	// Drift: a service that somebody deleted, and one whose processes cannot come back.
	must(t, agent.DeleteService(t.Context(), id))
	e.wantPlan("create flywheel_service.shop")
	e.apply()
	if e.output("url") != url {
		t.Error("the service created anew has another address")
	}
	crashed, err := agent.GetService(t.Context(), id)
	must(t, err)
	must(t, syscall.Kill(crashed.Processes[0].Pid, syscall.SIGKILL))
	e.wantPlan() // the agent starts it again by itself
	removeTree((&artifacts{dir: filepath.Join(dir, "artifacts")}).path(two))
	for _, p := range append(crashed.Processes, Process{}) {
		now, err := agent.GetService(t.Context(), id)
		must(t, err)
		for _, q := range now.Processes {
			if q.ID == p.ID && q.Pid != 0 {
				syscall.Kill(q.Pid, syscall.SIGKILL)
			}
		}
	}
	eventually(t, func() error {
		if now, err := agent.GetService(t.Context(), id); err != nil || now.Health != Missing {
			return fmt.Errorf("the service is %+v %w", now, err)
		}
		return nil
	})
	e.wantPlan("update flywheel_service.shop")
	artifact(t, agent, "two", "")
	e.apply()
	e.wantPlan()
	eventually(t, func() error { // some of its processes may have come back before the plan, and the others do now
		if now, err := agent.GetService(t.Context(), id); err != nil || now.Health != Healthy {
			return fmt.Errorf("the repaired service is %+v %w", now, err)
		}
		return nil
	})

	// A state that was lost is found again, by importing and by creating.
	same, err := agent.GetService(t.Context(), id)
	must(t, err)
	must(t, os.Remove(filepath.Join(e.dir, "terraform.tfstate")))
	for address, name := range map[string]string{"flywheel_volume.data": "data", "flywheel_service.search": "search", "flywheel_service.shop": "shop"} {
		e.run("import", "-input=false", address, name)
	}
	e.wantPlan()
	must(t, os.Remove(filepath.Join(e.dir, "terraform.tfstate")))
	e.wantPlan("create flywheel_service.search", "create flywheel_service.shop", "create flywheel_volume.data")
	e.apply()
	if now, err := agent.GetService(t.Context(), id); err != nil || !slices.Equal(pids(now), pids(same)) {
		t.Errorf("finding the service again restarted it: %+v, %v", now, err)
	}

	// A plan may look, not change; another instance sees nothing of this one.
	looking := *agent
	looking.ReadOnly = true
	readOnly := newEngine(t, path, &looking, "ins_other", module)
	readOnly.vars["artifact"] = two
	readOnly.wantPlan("create flywheel_service.search", "create flywheel_service.shop", "create flywheel_volume.data")
	if out, err := readOnly.try("apply", "-input=false", "-auto-approve"); err == nil || !strings.Contains(out, "[agent.read_only]") {
		t.Errorf("a run that may only look said %v\n%s", err, out)
	}

	// A mounted volume is replaced without a word about it in the module.
	post(t, url+"/write?path=/data/kept", "old")
	e.vars["volume"] = "other"
	e.wantPlan("update flywheel_service.shop", "delete+create flywheel_volume.data")
	e.apply()
	e.wantPlan()
	if code, body := ask(t, url+"/read?path=/data/kept"); code == http.StatusOK {
		t.Errorf("the new volume holds %q", body)
	}
	e.vars["volume"] = "data"
	e.apply()
	if code, body := ask(t, url+"/read?path=/data/kept"); code == http.StatusOK {
		t.Errorf("what was replaced is back: %q", body)
	}

	post(t, url+"/write?path=/data/kept", "kept")
	e.run("destroy", "-input=false", "-auto-approve", "-target=flywheel_service.shop")
	if text, err := os.ReadFile(filepath.Join(dir, "volumes", VolumeID("ins_shop", "data"), "kept")); err != nil || string(text) != "kept" {
		t.Errorf("the volume holds %q, %v", text, err)
	}
	e.run("destroy", "-input=false", "-auto-approve")
	services, err := agent.ListServices(t.Context(), "")
	must(t, err)
	volumes, err := agent.ListVolumes(t.Context(), "")
	must(t, err)
	if len(services)+len(volumes) != 0 {
		t.Errorf("after destroy are left %+v %+v", services, volumes)
	}
}
