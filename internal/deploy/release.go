package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/local"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/sandbox"
)

// Rollout is what a driver is asked to do: put an artifact where a pattern's release says.
type Rollout struct {
	Deployment Deployment
	Release    manifest.Release
	Module     string         // folder with the certified pattern
	Outputs    map[string]any // of the instance's infrastructure
	Log        io.Writer
}

// Driver rolls an artifact out without an infrastructure run. It returns when the new artifact is
// healthy, or a fault with what ran before still running where the target can do that. It may be asked
// again for the same rollout after a crash.
type Driver interface {
	Release(ctx context.Context, r Rollout) error
}

// Local releases through the agent on this machine.
type Local struct{ Runs *Runs }

// Release implements Driver.
func (l Local) Release(ctx context.Context, r Rollout) error {
	id, _ := r.Outputs[r.Release.Output].(string)
	if object, ok := r.Outputs[r.Release.Output].(map[string]any); ok {
		id, _ = object["id"].(string)
	}
	if id == "" {
		return fault.New(fault.Conflict, "release.no_service", "The output %q of the pattern names no service.", r.Release.Output).Do("Correct release.output in pattern.yaml.")
	}
	agent := *l.Runs.Agent
	agent.Fence = r.Deployment.fence
	secrets, err := l.Runs.Secrets.Resolve(ctx, r.Deployment.App, r.Deployment.Environment)
	if err != nil {
		return err
	}
	if err := agent.PutSecrets(ctx, r.Deployment.Instance, secrets); err != nil {
		return err
	}
	if err := l.Runs.bring(ctx, &agent, r.Deployment.Desired.Artifact); err != nil {
		return err
	}
	status, err := agent.Release(ctx, id, r.Deployment.Desired.Artifact)
	if err != nil {
		return err
	}
	fmt.Fprintf(r.Log, "%d processes healthy at %s\n", len(status.Processes), status.URL)
	return nil
}

// Command runs the rollout command that the certified pattern declares, in the sandbox.
type Command struct{ Sandbox *sandbox.Sandbox }

// Release implements Driver. The command sees ARTIFACT, DEPLOYMENT, APP, ENVIRONMENT and each output as
// OUTPUT_<NAME>; it must be idempotent, and its exit code says how it went.
func (c Command) Release(ctx context.Context, r Rollout) error {
	env := []string{"ARTIFACT=" + r.Deployment.Desired.Artifact, "DEPLOYMENT=" + r.Deployment.ID, "APP=" + r.Deployment.App, "ENVIRONMENT=" + r.Deployment.Environment}
	for name, value := range r.Outputs {
		env = append(env, "OUTPUT_"+strings.ToUpper(name)+"="+fmt.Sprint(value))
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd, err := c.Sandbox.Command(ctx, sandbox.Spec{
		Args: r.Release.Command, Dir: "/pattern", Env: env, Binds: []sandbox.Bind{{Source: r.Module, Target: "/pattern"}},
		Network: sandbox.Host, Memory: 1 << 30, Processes: 200, Stdout: r.Log, Stderr: r.Log,
	})
	if err != nil {
		return err
	}
	err = cmd.Run()
	var exit *sandbox.ExitError
	if errors.As(err, &exit) {
		return fault.New(fault.Conflict, "release.command_failed", "The rollout command of the pattern failed: %s.", exit).Do("Its output is in the deployment's log.")
	}
	return err
}

// releaseArtifact rolls the artifact out with the driver that the pattern names.
func (s *Service) releaseArtifact(ctx context.Context, d Deployment) outcome {
	v, err := s.Runs.version(ctx, d.Desired.Digest)
	if err != nil {
		return failed(err)
	}
	driver, known := s.Drivers[v.Manifest.Spec.Release.Driver]
	if !known {
		return outcome{Failed: fmt.Sprintf("The pattern %s %s has no release driver.", v.Pattern, v.Version), Code: "release.no_driver"}
	}
	log, _, err := s.Runs.log(ctx, d)
	if err != nil {
		return failed(err)
	}
	defer log.Close()
	fmt.Fprintf(log, "release %s to %s in %s\n", d.Desired.Artifact, d.App, d.Environment)
	outputs, err := s.Runs.outputs(ctx, d.Instance)
	if err != nil {
		return failed(err)
	}
	module, err := s.Runs.Patterns.Unpack(ctx, d.Desired.Digest)
	if err != nil {
		return failed(err)
	}
	if err := driver.Release(ctx, Rollout{Deployment: d, Release: v.Manifest.Spec.Release, Module: module, Outputs: outputs, Log: log}); err != nil {
		out := failed(err)
		fmt.Fprintln(log, out.Failed)
		for _, f := range fault.From(err).Fields {
			fmt.Fprintf(log, "%s: %s\n", f.Path, f.Message)
		}
		return out
	}
	return outcome{}
}

// verify asks the deployed instance whether it is well, from outside, at its stable address.
func (s *Service) verify(ctx context.Context, d Deployment) outcome {
	v, err := s.Runs.version(ctx, d.Desired.Digest)
	if err != nil {
		return failed(err)
	}
	release := v.Manifest.Spec.Release
	if release.Driver == noop || release.URL == "" {
		return verifyNothing(nil, d)
	}
	outputs, err := s.Runs.outputs(ctx, d.Instance)
	if err != nil {
		return failed(err)
	}
	url, _ := outputs[release.URL].(string)
	if url == "" {
		return outcome{Failed: fmt.Sprintf("The output %q of the pattern is not a URL.", release.URL), Code: "verify.no_url"}
	}
	path := release.Health
	if path == "" {
		path = local.DefaultHealth
	}
	// It may need a moment to answer well. When nobody answers at all, what runs it was killed and is on its
	// way back, which takes longer.
	probe := Probe{}
	for bad, unanswered := 0, 0; bad < 10 && unanswered < 60; {
		if bad+unanswered > 0 {
			select {
			case <-ctx.Done():
				return failed(ctx.Err())
			case <-time.After(500 * time.Millisecond):
			}
		}
		if probe = s.probe(ctx, strings.TrimRight(url, "/")+path); probe.Status == http.StatusOK {
			return s.smoke(ctx, d, outcome{Detail: fmt.Sprintf("%s answered 200 in %d ms", probe.URL, probe.Millis), URL: url, Probes: []Probe{probe}})
		}
		if probe.Status == 0 {
			unanswered++
		} else {
			bad++
		}
	}
	why := probe.Error
	if why == "" {
		why = fmt.Sprintf("it answered %d", probe.Status)
	}
	return outcome{Failed: fmt.Sprintf("%s is not well: %s.", probe.URL, why), Code: "verify.unhealthy", URL: url, Probes: []Probe{probe}}
}

// noop names the driver that does nothing: for targets that follow the artifact by themselves, and to
// measure the platform.
const noop = "noop"

// releaseNothing is all that noop leaves to do: the pattern must still be certified.
func (r *Runs) releaseNothing(tx *db.Tx, d Deployment) outcome {
	if _, err := r.certified(tx, d.Desired.Digest); err != nil {
		return failed(err)
	}
	return outcome{}
}

func verifyNothing(*db.Tx, Deployment) outcome {
	return outcome{Detail: "the pattern names no URL to probe"}
}

// smoke adds the app's own smoke test to a passed probe.
func (s *Service) smoke(ctx context.Context, d Deployment, passed outcome) outcome {
	log, _, err := s.Runs.log(ctx, d)
	if err != nil {
		return failed(err)
	}
	defer log.Close()
	summary, err := s.Smoke.run(ctx, d, passed.URL, log)
	if err != nil {
		out := failed(err)
		out.URL, out.Probes = passed.URL, passed.Probes
		return out
	}
	if summary != "" {
		passed.Detail += "; " + summary
	}
	return passed
}

var prober = &http.Client{Timeout: 5 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (s *Service) probe(ctx context.Context, url string) Probe {
	p := Probe{URL: url, At: s.DB.Now().UTC()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		p.Error = err.Error()
		return p
	}
	began := time.Now()
	response, err := prober.Do(request)
	p.Millis = time.Since(began).Milliseconds()
	if err != nil {
		p.Error = err.Error()
		return p
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20)) // the status is the answer
	p.Status = response.StatusCode
	return p
}

// forget removes what runs left behind long ago.
func (r *Runs) forget(before time.Time) error {
	entries, err := os.ReadDir(r.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.ModTime().Before(before) {
			if err := os.RemoveAll(filepath.Join(r.Dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
