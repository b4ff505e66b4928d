package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/local"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/outbound"
	"flywheel.dev/flywheel/internal/plain"
	"flywheel.dev/flywheel/internal/sandbox"
)

// Rollout is what a driver is asked to do: put an artifact where a pattern's release says.
type Rollout struct {
	Deployment Deployment
	Release    manifest.Release
	Module     string         // folder with the certified pattern
	Outputs    map[string]any // of the instance's infrastructure
	Services   []string       // ids of the services that its own state holds; an output may say anything
	Log        io.Writer
	Cancel     <-chan struct{} // closed when the rollout is to be given up; it may be so from the beginning

	Credentials map[string]string // of the environment, which the pattern names; for what speaks to an outer target
}

// Driver rolls an artifact out without an infrastructure run. It returns when the new artifact is
// healthy, or a fault with what ran before still running where the target can do that. It may be asked
// again for the same rollout after a crash. One that is cancelled it gives up: it returns the fault
// service.cancelled where that leaves what ran before as it was, any other where nobody knows, and nil if the
// rollout has finished by then.
type Driver interface {
	Release(ctx context.Context, r Rollout) error

	// Prepare does beforehand what spares a release of the same artifact time, and nothing that anybody
	// could notice. Release does without where it did not happen.
	Prepare(ctx context.Context, r Rollout) error
}

// Local releases through the agent on this machine.
type Local struct{ Runs *Runs }

// Release implements Driver.
func (l Local) Release(ctx context.Context, r Rollout) error {
	id, err := r.service()
	if err != nil {
		return err
	}
	agent := *l.Runs.Agent
	agent.Instance, agent.Fence = r.Deployment.Instance, r.Deployment.fence
	secrets, err := l.Runs.Secrets.Resolve(ctx, r.Deployment.App, r.Deployment.Environment)
	if err != nil {
		return err
	}
	if isClosed(r.Cancel) { // from the beginning: where it has begun, in the life of a server before, the agent knows
		if err := l.Runs.giveUp(ctx, r.Deployment); err != nil {
			return err
		}
	}
	defer onCancel(r.Cancel, func() {
		if err := l.Runs.giveUp(ctx, r.Deployment); err != nil {
			fmt.Fprintf(r.Log, "the agent could not be asked to give up: %v\n", err)
		}
	})()
	artifact := r.Deployment.Desired.Artifact
	status, err := agent.Release(ctx, id, artifact, secrets)
	if fault.Is(err, "artifact.not_found") {
		if err := l.Runs.bring(ctx, &agent, artifact); err != nil {
			return err
		}
		status, err = agent.Release(ctx, id, artifact, secrets)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(r.Log, "%s healthy at %s\n", plain.Count(len(status.Processes), "process", "processes"), status.URL)
	return nil
}

// Prepare implements Driver: the agent gets the artifact and makes the sandboxes.
func (l Local) Prepare(ctx context.Context, r Rollout) error {
	id, err := r.service()
	if err != nil {
		return err
	}
	if err := l.Runs.bring(ctx, l.Runs.Agent, r.Deployment.Desired.Artifact); err != nil {
		return err
	}
	agent := *l.Runs.Agent
	agent.Instance = r.Deployment.Instance
	return agent.Prepare(ctx, id, r.Deployment.Desired.Artifact)
}

// service returns the id of the service that the pattern's release names. It is one of the instance's own: the output
// may come from a variable, and so from anybody.
func (r Rollout) service() (string, error) {
	id, _ := r.Outputs[r.Release.Output].(string)
	if object, ok := r.Outputs[r.Release.Output].(map[string]any); ok {
		id, _ = object["id"].(string)
	}
	if id == "" {
		return "", fault.New(fault.Conflict, "release.no_service", "The output %q of the pattern names no service.", r.Release.Output).Do("Correct release.output in pattern.yaml.")
	}
	if !slices.Contains(r.Services, id) {
		return "", fault.New(fault.Conflict, "release.foreign_service", "The output %q of the pattern names no service of this instance.", r.Release.Output).
			Do("Let it be the id of a flywheel_service of the pattern: value = flywheel_service.NAME.id.")
	}
	return id, nil
}

// Command runs the rollout command that the certified pattern declares, in the sandbox: for targets that
// Flywheel has no driver for. docs/patterns.md says what the command gets and owes.
type Command struct {
	Runs    *Runs
	Sandbox *sandbox.Sandbox
	Dir     string // of work folders
}

const commandTimeout = 10 * time.Minute

// Release implements Driver. The command finds the unpacked artifact in /artifact and its pattern in its
// working folder; it has the network only where the environment grants it, and of the secrets only those
// that the pattern names.
func (c Command) Release(ctx context.Context, r Rollout) error {
	var environment app.Environment
	err := c.Runs.DB.Read(ctx, func(tx *db.Tx) (err error) {
		environment, err = app.FindEnvironment(tx, r.Deployment.Environment)
		return err
	})
	if err != nil {
		return err
	}
	env, err := c.environment(ctx, r)
	if err != nil {
		return err
	}
	artifact, remove, err := c.unpack(ctx, r.Deployment.Desired.Artifact)
	if err != nil {
		return err
	}
	defer remove()
	network := sandbox.None
	if environment.Network {
		network = sandbox.Host
	}
	timeout := commandTimeout
	if r.Release.Timeout > 0 {
		timeout = time.Duration(r.Release.Timeout) * time.Second
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if isClosed(r.Cancel) {
		return commandCancelled()
	}
	fmt.Fprintf(r.Log, "$ %s\n", strings.Join(r.Release.Command, " "))
	cmd, err := c.Sandbox.Command(limited, sandbox.Spec{
		Args: r.Release.Command, Dir: "/pattern", Env: env,
		Binds:   []sandbox.Bind{{Source: r.Module, Target: "/pattern"}, {Source: artifact, Target: "/artifact"}},
		Network: network, Memory: 1 << 30, Processes: 200, Stdout: r.Log, Stderr: r.Log,
	})
	if err != nil {
		return err
	}
	if err = cmd.Start(); err == nil {
		defer onCancel(r.Cancel, func() { interrupt(cmd, r.Log) })()
		err = cmd.Wait()
	}
	var exit *sandbox.ExitError
	switch {
	case err == nil: // whatever was asked of it in the meantime
		return nil
	case isClosed(r.Cancel):
		return commandCancelled()
	case limited.Err() != nil:
		return fault.New(fault.Conflict, "release.command_timeout", "The rollout command of the pattern did not end within %s.", timeout).
			Do("Its output is in the deployment's log; release.timeout in pattern.yaml gives it longer.")
	case errors.As(err, &exit) && !environment.Network:
		return commandFailed(exit.Error(), fmt.Sprintf("; it had no network, which the Center of Excellence grants with `flywheel environment update %s --network`", environment.Name))
	case errors.As(err, &exit):
		return commandFailed(exit.Error(), "")
	case fault.Is(err, "sandbox.cannot_run"):
		return commandFailed(err.Error(), "; name a program in the pattern's folder as ./name and let it be executable")
	}
	return err
}

// commandGrace is what an interrupted command has to put things in order.
const commandGrace = 10 * time.Second

// interrupt asks the command to end, and ends it where it does not.
func interrupt(cmd *sandbox.Cmd, log io.Writer) {
	fmt.Fprintln(log, "Flywheel asks the command to end.")
	_ = cmd.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-cmd.Done():
	case <-time.After(commandGrace):
		fmt.Fprintln(log, "Flywheel kills the command.")
		_ = cmd.Signal(syscall.SIGKILL)
	}
}

func commandCancelled() *fault.Fault {
	return fault.New(fault.Conflict, "release.command_cancelled", "The rollout command of the pattern was interrupted.").
		Do("What it left at the target is for somebody to look at.")
}

func commandFailed(how, more string) error {
	return fault.New(fault.Conflict, "release.command_failed", "The rollout command of the pattern failed: %s.", strings.TrimRight(how, ".")).
		Do("Its output is in the deployment's log%s.", more)
}

// environment returns everything that the command sees in its environment.
func (c Command) environment(ctx context.Context, r Rollout) ([]string, error) {
	d := r.Deployment
	env := []string{
		"ARTIFACT=" + d.Desired.Artifact, "PREVIOUS_ARTIFACT=" + d.Previous.Artifact, "ARTIFACT_DIR=/artifact",
		"DEPLOYMENT=" + d.ID, "FENCE=" + strconv.FormatInt(d.fence, 10), "APP=" + d.App, "ENVIRONMENT=" + d.Environment,
	}
	for name, value := range r.Outputs {
		env = append(env, "OUTPUT_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"="+outputText(value))
	}
	for name, value := range r.Credentials {
		env = append(env, name+"="+value)
	}
	if len(r.Release.Secrets) == 0 {
		return env, nil
	}
	values, err := c.Runs.Secrets.Resolve(ctx, d.App, d.Environment, slices.Sorted(maps.Values(r.Release.Secrets))...)
	if err != nil {
		return nil, err
	}
	for name, secret := range r.Release.Secrets {
		env = append(env, name+"="+values[secret])
	}
	return env, nil
}

// unpack returns a folder with the content of an artifact, and what removes it.
func (c Command) unpack(ctx context.Context, digest string) (dir string, remove func(), err error) {
	if dir, err = os.MkdirTemp(c.Dir, "artifact-"); err != nil {
		return "", nil, err
	}
	remove = func() { local.RemoveUnpacked(dir) }
	// The user inside is nobody, and has to read it.
	err = os.Chmod(dir, 0o755)
	if err == nil && digest != "" && digest != "none" {
		err = c.fill(ctx, dir, digest)
	}
	if err != nil {
		remove()
	}
	return dir, remove, err
}

func (c Command) fill(ctx context.Context, dir, digest string) error {
	content, err := app.OpenArtifact(ctx, c.Runs.Blobs, digest)
	if err != nil {
		return err
	}
	defer content.Close()
	return local.UnpackDir(dir, content)
}

// Prepare implements Driver: a command is run once, for the release.
func (c Command) Prepare(context.Context, Rollout) error { return nil }

// Prepare has the drivers do beforehand what a release of this artifact to the app's instances will need.
// It is called when the artifact is built, while its change merges.
func (s *Service) Prepare(ctx context.Context, name, artifact string) error {
	var instances []app.Instance
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) { instances, err = app.Instances(tx, name); return err })
	if err != nil {
		return err
	}
	for _, i := range instances {
		if i.Deployed.IsZero() {
			continue
		}
		v, err := s.Runs.version(ctx, i.Deployed.Digest)
		if err != nil {
			return err
		}
		driver, known := s.Drivers[v.Manifest.Spec.Release.Driver]
		if !known {
			continue
		}
		state, err := s.Runs.applied(ctx, i.ID)
		if err != nil {
			return err
		}
		desired := i.Deployed
		desired.Artifact = artifact
		if err := driver.Prepare(ctx, Rollout{
			Deployment: Deployment{App: name, Environment: i.Environment, Instance: i.ID, Desired: desired},
			Release:    v.Manifest.Spec.Release, Outputs: state.outputs, Services: state.services, Log: io.Discard,
		}); err != nil {
			return err
		}
	}
	return nil
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
	state, err := s.Runs.applied(ctx, d.Instance)
	if err != nil {
		return failed(err)
	}
	hidden := state.hidden
	var credentials map[string]string
	if v.Manifest.Spec.Release.Driver == command {
		if _, credentials, err = s.Runs.secretsOf(ctx, v, d.App, d.Environment); err != nil {
			return failed(err)
		}
		hidden = slices.AppendSeq(hidden, maps.Values(credentials))
	}
	log, _, err := s.Runs.log(ctx, d, hidden...)
	if err != nil {
		return failed(err)
	}
	defer log.Close()
	fmt.Fprintf(log, "release %s to %s in %s\n", d.Desired.Artifact, d.App, d.Environment)
	module, err := s.Runs.Patterns.Unpack(ctx, d.Desired.Digest)
	if err != nil {
		return failed(err)
	}
	if err := driver.Release(ctx, Rollout{Deployment: d, Release: v.Manifest.Spec.Release, Module: module, Outputs: state.outputs, Services: state.services, Log: log, Cancel: d.cancelled, Credentials: credentials}); err != nil {
		out := failed(err)
		out.Untouched = fault.Is(err, "service.cancelled")
		fmt.Fprintln(log, out.Failed)
		for _, f := range fault.From(err).Fields {
			fmt.Fprintf(log, "%s: %s\n", f.Path, f.Message)
		}
		if out.Code == "service.unhealthy" {
			out.Failed += fmt.Sprintf(" Its last lines: `flywheel deployment log %s`.", d.ID)
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
	state, err := s.Runs.applied(ctx, d.Instance)
	if err != nil {
		return failed(err)
	}
	text, _ := state.outputs[release.URL].(string)
	if text == "" {
		return outcome{Failed: fmt.Sprintf("The output %q of the pattern is not a URL.", release.URL), Code: "verify.no_url"}
	}
	path := release.Health
	if path == "" {
		path = local.DefaultHealth
	}
	policy, err := s.Runs.reach(ctx, d, state)
	if err != nil {
		return failed(err)
	}
	// Both are looked at: a path that begins oddly would make another address of the first.
	at, err := policy.Check(text)
	if err != nil {
		return failed(err)
	}
	asked, err := policy.Check(strings.TrimRight(text, "/") + path)
	if err != nil {
		return failed(err)
	}
	if at.Address() != asked.Address() {
		return outcome{Failed: fmt.Sprintf("The path %q of the health check leads to another address than %s.", path, at.Address()), Code: "verify.no_url"}
	}
	prober := policy.Client(5 * time.Second)
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
		if probe, err = s.probe(ctx, prober, asked.URL.String()); probe.Status == http.StatusOK {
			return s.smoke(ctx, d, at, outcome{Detail: fmt.Sprintf("%s answered 200 in %d ms", probe.URL, probe.Millis), URL: text, Probes: []Probe{probe}})
		}
		var refused *fault.Fault
		if errors.As(err, &refused) {
			return failed(refused)
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
	return outcome{Failed: fault.OneStop(fmt.Sprintf("%s is not well: %s.", probe.URL, why)), Code: "verify.unhealthy", URL: text, Probes: []Probe{probe}}
}

// command names the driver that runs a command of the pattern.
const command = "command"

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
func (s *Service) smoke(ctx context.Context, d Deployment, at outbound.Target, passed outcome) outcome {
	log, _, err := s.Runs.log(ctx, d)
	if err != nil {
		return failed(err)
	}
	defer log.Close()
	summary, err := s.Smoke.run(ctx, d, at, log)
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

// probe asks once. The error is why nobody answered, which the probe says as well.
func (s *Service) probe(ctx context.Context, prober *http.Client, url string) (Probe, error) {
	p := Probe{URL: url, At: s.DB.Now().UTC()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		p.Error = err.Error()
		return p, err
	}
	began := time.Now()
	response, err := prober.Do(request)
	p.Millis = time.Since(began).Milliseconds()
	if err != nil {
		p.Error = err.Error()
		return p, err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20)) // the status is the answer
	p.Status = response.StatusCode
	return p, nil
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
