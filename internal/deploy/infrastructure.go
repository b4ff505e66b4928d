package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"gocloud.dev/blob"

	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/local"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/outbound"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/runlog"
	"flywheel.dev/flywheel/internal/sandbox"
	"flywheel.dev/flywheel/internal/secret"
	"flywheel.dev/flywheel/internal/tofu"
)

// Runs makes infrastructure runs: the plans that changes and certifications ask for, and the plans and
// applies of deployments.
type Runs struct {
	DB       *db.DB
	Engine   *tofu.Service
	Policies *tofu.Policies
	Patterns *pattern.Service
	Secrets  *secret.Service
	Blobs    *blob.Bucket
	Agent    *local.Client
	Logs     *runlog.Store
	Outbound *outbound.Guard
	Dir      string // one folder a run
}

// planned is a plan as a decision needs it.
type planned = change.Planned

// certified returns the certified version that a desired state names. Only certified digests are applied.
func (r *Runs) certified(tx *db.Tx, digest string) (pattern.Version, error) {
	v, err := r.Patterns.ByDigest(tx, digest)
	if err == nil && v.State != pattern.Certified && v.State != pattern.Deprecated {
		err = fault.New(fault.Forbidden, "pattern.not_certified", "%s %s is %s, so nothing is deployed with it.", v.Pattern, v.Version, v.State).
			Do("Move the app to a certified version.")
	}
	return v, err
}

func (r *Runs) version(ctx context.Context, digest string) (v pattern.Version, err error) {
	err = r.DB.Read(ctx, func(tx *db.Tx) error { v, err = r.certified(tx, digest); return err })
	return v, err
}

// workspace prepares the pattern once for all its instances.
func (r *Runs) workspace(ctx context.Context, digest string) (tofu.Workspace, error) {
	dir, err := r.Patterns.Unpack(ctx, digest)
	if err != nil {
		return tofu.Workspace{}, err
	}
	return r.Engine.Prepare(ctx, digest, dir)
}

// variables returns what the module is given: of the desired variables those it declares (an
// environment holds values for every pattern), and the artifact.
func variables(v pattern.Version, d app.Desired) (manifest.Values, error) {
	out := manifest.Values{}
	f := fault.New(fault.Invalid, "variable.type", "A value does not have the type that %s %s asks for.", v.Pattern, v.Version).
		Do("Correct it: what the Center of Excellence controls with `flywheel environment update`, what the team does in flywheel.yaml.")
	typed, wrong := v.Interface.Typed(d.Variables)
	for _, declared := range v.Interface.Variables {
		value, set := typed[declared.Name]
		if !set || declared.Secret {
			continue
		}
		if wrong[declared.Name] != nil {
			f.Message += fmt.Sprintf(" %s: %s.", declared.Name, wrong[declared.Name])
			f.At(declared.Name, "%s", wrong[declared.Name])
		}
		out[declared.Name] = value
	}
	if name := v.Manifest.Spec.Artifact.Variable; name != "" {
		out[name] = d.Artifact
	}
	if len(f.Fields) > 0 {
		return out, f
	}
	return out, nil
}

// ask is a secret that a version asks for.
type ask struct {
	app        string // "" for one of the environment
	name       string
	needed     bool
	credential bool // a variable of the engine's environment, not of the module
}

// asks returns the secrets that a version asks for when an app is deployed with it.
func asks(v pattern.Version, name string) []ask {
	list := []ask{}
	for _, declared := range v.Interface.Variables {
		switch {
		case declared.Secret && declared.Control == "coe":
			list = append(list, ask{name: declared.Name, needed: declared.Required})
		case declared.Secret:
			list = append(list, ask{app: name, name: declared.Name, needed: declared.Required})
		}
	}
	for _, credential := range v.Interface.Credentials {
		list = append(list, ask{name: credential, needed: true, credential: true})
	}
	return list
}

// secretsOf returns what a certified version is given of the secrets of its place: the values of its secret
// variables, of which an optional one may be unset, and the credentials that it names. The fault
// secret.missing names all that are not set.
func (r *Runs) secretsOf(ctx context.Context, v pattern.Version, name, environment string) (variables, credentials map[string]string, err error) {
	there := []ask{}
	missing, commands := []string{}, []string{}
	err = r.DB.Read(ctx, func(tx *db.Tx) error {
		for _, a := range asks(v, name) {
			set, err := secret.Has(tx, a.app, environment, a.name)
			switch {
			case err != nil:
				return err
			case set:
				there = append(there, a)
			case a.needed && a.app == "":
				missing, commands = append(missing, a.name), append(commands, "flywheel environment secret set "+environment+" "+a.name+" (the Center of Excellence does)")
			case a.needed:
				missing, commands = append(missing, a.name), append(commands, "flywheel secret set "+name+" "+environment+" "+a.name)
			}
		}
		return nil
	})
	if err == nil && len(missing) > 0 {
		err = fault.New(fault.Conflict, "secret.missing", "%s %s needs secrets that are not set for %s in %s: %s.", v.Pattern, v.Version, name, environment, strings.Join(missing, ", ")).
			Do("Set them: %s.", strings.Join(commands, "; "))
	}
	if err != nil {
		return nil, nil, err
	}
	variables, credentials = map[string]string{}, map[string]string{}
	for _, a := range there {
		value, err := r.Secrets.Resolve(ctx, a.app, environment, a.name)
		if err != nil {
			return nil, nil, err
		}
		if a.credential {
			credentials[a.name] = value[a.name]
		} else {
			variables[a.name] = value[a.name]
		}
	}
	return variables, credentials, nil
}

// run returns the engine run of a deployment. Its id is the workflow's, so that the plan of a released
// deployment is a new one.
func (r *Runs) run(ctx context.Context, d Deployment, log io.Writer) (tofu.Run, pattern.Version, error) {
	target := d.Desired
	if d.Kind == Destroy {
		target = d.Previous // what is destroyed is destroyed as it was deployed
	}
	v, err := r.version(ctx, target.Digest)
	if d.Kind == Destroy && fault.Is(err, "pattern.not_certified") {
		err = nil // a retired pattern must not keep an app from being removed
	}
	if err != nil {
		return tofu.Run{}, v, err
	}
	workspace, err := r.workspace(ctx, target.Digest)
	if err != nil {
		return tofu.Run{}, v, err
	}
	given, err := variables(v, target)
	if err != nil && d.Kind != Destroy {
		return tofu.Run{}, v, err
	}
	secrets, credentials, err := r.secretsOf(ctx, v, d.App, d.Environment)
	if err != nil {
		return tofu.Run{}, v, err
	}
	network, err := r.network(ctx, d.Environment)
	return tofu.Run{
		ID: d.engineRun(), Dir: filepath.Join(r.Dir, d.engineRun()), Instance: d.Instance, Workspace: workspace, Fence: d.fence, Network: network,
		Destroy: d.Kind == Destroy, Variables: given, Secrets: secrets, Environment: credentials, Log: log, Cancel: d.cancelled,
	}, v, err
}

// network reports whether an environment grants its engines, and what they bring, the network of this machine.
func (r *Runs) network(ctx context.Context, environment string) (granted bool, err error) {
	err = r.DB.Read(ctx, func(tx *db.Tx) error {
		e, err := app.FindEnvironment(tx, environment)
		granted = e.Network
		return err
	})
	return granted, err
}

// log opens the deployment's log, with the secrets of its place hidden, and whatever else is named.
func (r *Runs) log(ctx context.Context, d Deployment, hide ...string) (*runlog.Writer, map[string]string, error) {
	values, err := r.Secrets.Resolve(ctx, d.App, d.Environment)
	if err != nil {
		return nil, nil, err
	}
	for _, v := range values {
		hide = append(hide, v)
	}
	w, err := r.Logs.Open(d.ID, hide...)
	return w, values, err
}

// prepare brings everything an apply needs to where it is needed: the workspace, the artifact and the
// secrets. All of it is content-addressed or replaced whole, so that it may run again.
func (r *Runs) prepare(ctx context.Context, d Deployment) outcome {
	log, secrets, err := r.log(ctx, d)
	if err != nil {
		return failed(err)
	}
	defer log.Close()
	fmt.Fprintf(log, "prepare %s %s for %s in %s\n", d.Desired.Pattern, d.Desired.Version, d.App, d.Environment)
	if _, _, err := r.run(ctx, d, log); err != nil {
		return failed(err)
	}
	if d.Kind == Destroy {
		return outcome{}
	}
	agent := *r.Agent
	agent.Fence = d.fence
	if err := agent.PutSecrets(ctx, d.Instance, secrets); err != nil {
		return failed(err)
	}
	if err := r.bring(ctx, &agent, d.Desired.Artifact); err != nil {
		return failed(err)
	}
	// A pattern may run artifacts of its own beside the app's: as the value or the default of a variable.
	v, err := r.version(ctx, d.Desired.Digest)
	if err != nil {
		return failed(err)
	}
	given, err := variables(v, d.Desired)
	if err != nil {
		return failed(err)
	}
	for _, declared := range v.Interface.Variables {
		value, set := given[declared.Name]
		if !set {
			value = declared.Default
		}
		if digest, ok := value.(string); ok && strings.HasPrefix(digest, "sha256:") && digest != d.Desired.Artifact {
			if err := r.mayRun(ctx, d.App, digest); err != nil {
				return failed(err)
			}
			if err := r.bring(ctx, &agent, digest); err != nil {
				return failed(err)
			}
		}
	}
	return outcome{}
}

// mayRun refuses an artifact that is neither the app's nor one of patterns: another team's looks as if it were
// not there, whoever knows its digest.
func (r *Runs) mayRun(ctx context.Context, name, digest string) error {
	return r.DB.Read(ctx, func(tx *db.Tx) error {
		for _, of := range []string{name, ""} {
			if has, err := app.HasArtifact(tx, of, digest); err != nil || has {
				return err
			}
		}
		return fault.Missing("artifact", digest)
	})
}

// artifactsOf returns the artifacts that services would run by a plan, besides the app's own new one. The agent has
// those of all apps and would run any that a module comes to name, in whatever way. One that is known only
// after the apply, or hidden, is nobody's.
func artifactsOf(p *tofu.Plan, own string) []string {
	list := []string{}
	for _, c := range p.Changes {
		after, _ := c.After.(map[string]any)
		if digest, _ := after["artifact"].(string); c.Type == "flywheel_service" && c.Action != tofu.NoOp && digest != "" && digest != own {
			list = append(list, digest)
		}
	}
	return list
}

// bring gives the agent an artifact that it does not have.
func (r *Runs) bring(ctx context.Context, agent *local.Client, digest string) error {
	if digest == "" || digest == "none" {
		return nil
	}
	for attempt := 1; ; attempt++ {
		if there, err := agent.HasArtifact(ctx, digest); err != nil || there {
			return err
		}
		content, err := app.OpenArtifact(ctx, r.Blobs, digest)
		if err != nil {
			return err
		}
		err = agent.PutArtifact(ctx, digest, content)
		content.Close()
		if err == nil || attempt == attempts || !fault.Is(err, "agent.unreachable") {
			return err
		}
		// The agent went away in the middle. The next question waits until it is back.
	}
}

// plan makes the deployment's own plan: against the world as it is now, which may differ from when the
// change was planned.
func (r *Runs) plan(ctx context.Context, d Deployment) (planned, outcome) {
	log, _, err := r.log(ctx, d)
	if err != nil {
		return planned{}, failed(err)
	}
	defer log.Close()
	fmt.Fprintln(log, "plan")
	run, v, err := r.run(ctx, d, log)
	if err != nil {
		return planned{}, failed(err)
	}
	result, err := r.Engine.Plan(ctx, run)
	if err != nil {
		return planned{}, r.engineFailed(result, err)
	}
	for _, digest := range artifactsOf(result.Plan, d.Desired.Artifact) {
		if err := r.mayRun(ctx, d.App, digest); err != nil {
			return planned{}, failed(err)
		}
	}
	p := summarise(result.Plan, v.Manifest.Spec.Stateful, d.Previous)
	fmt.Fprintln(log, p.Summary)
	return p, outcome{Detail: p.Summary}
}

// summarise turns a plan into what a decision needs. deployed is what Flywheel brought the instance to, by a
// release perhaps, of which the engine's state does not know yet.
func summarise(p *tofu.Plan, stateful []string, deployed app.Desired) planned {
	p.Released(deployed.Artifact)
	return planned{Summary: p.Summary(), Digest: p.Digest(), Worst: p.Worst(), Destructive: p.Destructive(tofu.Stateful(stateful)), Tree: p}
}

// policy evaluates the policies over the deployment's plan.
func (r *Runs) policy(ctx context.Context, d Deployment) outcome {
	run, _, err := r.run(ctx, d, io.Discard)
	if err != nil {
		return failed(err)
	}
	refused, warnings, err := r.evaluate(ctx, run)
	if err != nil {
		return failed(err)
	}
	if len(refused) > 0 {
		return outcome{Failed: "A policy refuses it: " + strings.Join(refused, "; "), Code: "policy.refused"}
	}
	if len(warnings) > 0 {
		return outcome{Detail: strings.Join(warnings, "; ")}
	}
	return outcome{Detail: "every policy passes"}
}

func (r *Runs) evaluate(ctx context.Context, run tofu.Run) (refused, warnings []string, err error) {
	text, err := r.Engine.PlanJSON(run)
	if err != nil {
		return nil, nil, err
	}
	results, err := r.Policies.Judge(ctx, text)
	if err != nil {
		return nil, nil, err
	}
	for _, x := range results {
		switch {
		case x.Pass:
		case x.Enforcement == tofu.Advisory:
			warnings = append(warnings, x.Message)
		default:
			refused = append(refused, x.Message)
		}
	}
	return refused, warnings, nil
}

// apply applies exactly the plan that was made and judged.
func (r *Runs) apply(ctx context.Context, d Deployment) outcome {
	log, _, err := r.log(ctx, d)
	if err != nil {
		return failed(err)
	}
	defer log.Close()
	fmt.Fprintln(log, "apply")
	run, _, err := r.run(ctx, d, log)
	if err != nil {
		return failed(err)
	}
	// The engine is interrupted, and what it waits for at the agent as well.
	defer onCancel(d.cancelled, func() {
		if err := r.giveUp(ctx, d); err != nil {
			fmt.Fprintf(log, "the agent could not be asked to give up: %v\n", err)
		}
	})()
	result, err := r.Engine.Apply(ctx, run)
	if err != nil {
		return r.engineFailed(result, err)
	}
	if err := r.Engine.Close(ctx, run); err != nil {
		fmt.Fprintf(log, "the run's folder could not be tidied: %v\n", err)
	}
	return outcome{}
}

// giveUp has the agent give up what it is bringing up for the deployment.
func (r *Runs) giveUp(ctx context.Context, d Deployment) error {
	agent := *r.Agent
	agent.Fence = d.fence
	return agent.Cancel(ctx, d.Instance)
}

// noRoom is what a full disk is called by the kernel, wherever an engine repeats it, and by our provider.
var noRoom = []string{syscall.ENOSPC.Error(), syscall.EDQUOT.Error(), "[agent.disk_full]"}

// room reports whether something can be written where the engines work.
func (r *Runs) room() bool {
	f, err := os.CreateTemp(r.Dir, "room-")
	if err != nil {
		return false
	}
	defer os.Remove(f.Name())
	_, err = f.Write(make([]byte, 1<<20))
	return errors.Join(err, f.Close()) == nil
}

// engineFailed turns the end of an engine run into a step's outcome: the first diagnostics say why.
func (r *Runs) engineFailed(result tofu.Result, err error) outcome {
	out := failed(err)
	messages := []string{}
	for _, d := range result.Diagnostics {
		if d.Severity == "error" && len(messages) < 3 {
			said, code := told(d.Summary, d.Detail)
			messages = append(messages, said)
			if len(messages) == 1 && code != "" {
				out.Code = code
			}
		}
	}
	if len(messages) > 0 {
		out.Failed = strings.Join(messages, " ")
	}
	if result.Outcome == tofu.Interrupted {
		out.Interrupted, out.Addresses = true, result.MayExist
		out.Failed = "The engine was killed in the middle."
		if len(result.MayExist) > 0 {
			out.Failed += " These may exist without being recorded: " + strings.Join(result.MayExist, ", ") + "."
		}
	}
	// An engine does not always know why it could not write, and rarely says it where it is looked for.
	text := fmt.Sprintf("%s %v %v", out.Failed, err, result.Diagnostics)
	known := slices.ContainsFunc(noRoom, func(words string) bool { return strings.Contains(text, words) })
	if (known || !r.room()) && len(out.Addresses) == 0 && result.Outcome != tofu.Cancelled {
		return outcome{Full: true, Failed: "The disk under the engine or the agent is full: it waits until there is room.", Code: "engine.disk_full"}
	}
	return out
}

// told returns what a diagnostic says in a sentence or two, and the code that our own provider ends its
// details with, or "". The lines between them, such as the last ones of a program, are in the log.
func told(summary, detail string) (said, code string) {
	if begun := strings.LastIndex(detail, "\n["); begun >= 0 && strings.HasSuffix(detail, "]") {
		detail, code = detail[:begun], detail[begun+2:len(detail)-1]
		detail, _, _ = strings.Cut(detail, "\n")
	}
	separator := ": "
	if strings.HasSuffix(summary, ".") {
		separator = " "
	}
	return strings.TrimSuffix(strings.TrimSpace(summary+separator+detail), ":"), code
}

// applied is what a release needs of an instance's state.
type applied struct {
	outputs  map[string]any
	hidden   []string // texts of the outputs that the module calls sensitive
	services []string // ids of the services in it
}

// applied returns what the last apply of an instance left, which is nothing before the first.
func (r *Runs) applied(ctx context.Context, instance string) (applied, error) {
	text, err := r.Engine.States.Current(ctx, instance)
	if err != nil || len(text) == 0 {
		return applied{}, err
	}
	return readState(text)
}

// reach says what may be connected to for an instance whatever its outputs say: its own addresses, and what
// its environment allows.
func (r *Runs) reach(ctx context.Context, d Deployment, now applied) (outbound.Policy, error) {
	p := outbound.Policy{Guard: r.Outbound}
	err := r.DB.Read(ctx, func(tx *db.Tx) error {
		environment, err := app.FindEnvironment(tx, d.Environment)
		p.Allowed = environment.Reach
		return err
	})
	if err != nil || len(now.services) == 0 {
		return p, err
	}
	agent := *r.Agent
	agent.Instance = d.Instance
	p.Own, err = agent.Addresses(ctx)
	return p, err
}

func readState(text []byte) (applied, error) {
	var raw struct {
		Outputs map[string]struct {
			Value     any  `json:"value"`
			Sensitive bool `json:"sensitive"`
		} `json:"outputs"`
		Resources []struct {
			Mode      string `json:"mode"`
			Type      string `json:"type"`
			Provider  string `json:"provider"`
			Instances []struct {
				Deposed    string         `json:"deposed"`
				Attributes map[string]any `json:"attributes"`
			} `json:"instances"`
		} `json:"resources"`
	}
	if err := manifest.Decode(text, &raw); err != nil {
		return applied{}, err
	}
	s := applied{outputs: map[string]any{}}
	for name, o := range raw.Outputs {
		if s.outputs[name] = o.Value; o.Sensitive {
			s.hidden = append(s.hidden, outputText(o.Value))
		}
	}
	for _, resource := range raw.Resources {
		if resource.Mode != "managed" || resource.Type != "flywheel_service" || !strings.Contains(resource.Provider, `provider["`+local.ProviderAddress+`"]`) {
			continue
		}
		for _, one := range resource.Instances {
			if id, _ := one.Attributes["id"].(string); id != "" && one.Deposed == "" {
				s.services = append(s.services, id)
			}
		}
	}
	return s, nil
}

// outputText is how a command sees an output: a text as it is, everything else as JSON.
func outputText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, _ := json.Marshal(v) // it came from JSON
	return string(b)
}

// PlanChange plans what an app's change would do to one instance. The code that it runs is certified, so it has
// the secrets of a deployment: of the change it has nothing but values inside their bounds. It cannot write the state.
func (r *Runs) PlanChange(ctx context.Context, c change.Change, environment string, desired app.Desired) (p planned, err error) {
	log, err := r.Logs.Open(c.Workflow() + ".plan-" + environment)
	if err != nil {
		return p, err
	}
	defer log.Close()
	var instance app.Instance
	err = r.DB.Write(ctx, func(tx *db.Tx) (err error) {
		instance, err = app.EnsureInstance(tx, c.Subject, environment)
		return err
	})
	if err != nil {
		return p, err
	}
	destroy := desired.IsZero()
	if destroy {
		if instance.Deployed.IsZero() {
			return planned{Summary: "nothing is deployed there"}, nil
		}
		desired = instance.Deployed
	}
	v, err := r.version(ctx, desired.Digest)
	if err != nil {
		return p, err
	}
	workspace, err := r.workspace(ctx, desired.Digest)
	if err != nil {
		return p, err
	}
	secrets, credentials, err := r.secretsOf(ctx, v, c.Subject, environment)
	if err != nil {
		return p, err
	}
	given, err := variables(v, desired)
	if err != nil && !destroy {
		return p, err
	}
	network, err := r.network(ctx, environment)
	if err != nil {
		return p, err
	}
	id := c.Workflow() + "." + environment
	p, err = r.look(ctx, tofu.Run{
		ID: id, Dir: filepath.Join(r.Dir, id), Instance: instance.ID, Workspace: workspace, Network: network, Destroy: destroy, Variables: given,
		Secrets: secrets, Environment: credentials, Log: log,
	}, v.Manifest.Spec.Stateful, instance.Deployed)
	if plan, ok := p.Tree.(*tofu.Plan); ok && err == nil {
		for _, digest := range artifactsOf(plan, desired.Artifact) {
			if err := r.mayRun(ctx, c.Subject, digest); err != nil {
				return p, err
			}
		}
	}
	return p, err
}

// PlanInstance plans a live instance as it would be on an uncertified version, without a
// secret: placeholders stand for those of the app. The plan's digest is that of its effect: an approval of the
// version does not bind to what the version leaves alone.
func (r *Runs) PlanInstance(ctx context.Context, id string, instance app.Instance, desired app.Desired, v pattern.Version, moduleDir string) (p planned, err error) {
	workspace, err := r.Engine.Prepare(ctx, v.Digest, moduleDir)
	if err != nil {
		return p, err
	}
	network, err := r.network(ctx, instance.Environment)
	if err != nil {
		return p, err
	}
	given, err := variables(v, desired)
	if err != nil {
		return p, err
	}
	placeholders := map[string]string{}
	for _, declared := range v.Interface.Variables {
		if declared.Secret {
			placeholders[declared.Name] = ""
		}
	}
	p, err = r.look(ctx, tofu.Run{
		ID: id, Dir: filepath.Join(r.Dir, id), Instance: instance.ID, Workspace: workspace, Untrusted: true, Network: network,
		Variables: given, Secrets: placeholders,
	}, v.Manifest.Spec.Stateful, instance.Deployed)
	if plan, ok := p.Tree.(*tofu.Plan); ok {
		p.Digest = plan.Effect(desired.Artifact)
	}
	return p, err
}

// look plans, judges and forgets: nothing of the run is kept.
func (r *Runs) look(ctx context.Context, run tofu.Run, stateful []string, deployed app.Desired) (p planned, err error) {
	defer sandbox.RemoveAll(run.Dir)
	result, err := r.Engine.Plan(ctx, run)
	if err != nil {
		out := r.engineFailed(result, err)
		if out.Full {
			return p, fault.New(fault.Unavailable, out.Code, "%s", out.Failed).Because(err)
		}
		if fault.From(err).Kind != fault.Internal {
			return p, fault.New(fault.Invalid, "plan.failed", "%s", out.Failed).Because(err)
		}
		return p, err
	}
	p = summarise(result.Plan, stateful, deployed)
	p.Refused, p.Warnings, err = r.evaluate(ctx, run)
	if closing := r.Engine.Close(context.WithoutCancel(ctx), run); closing != nil && err == nil {
		err = closing
	}
	return p, err
}
