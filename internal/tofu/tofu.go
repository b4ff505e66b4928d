// Package tofu runs OpenTofu and Terraform for Flywheel, and keeps the state they write.
//
// The life of one infrastructure run: Prepare turns a pattern version into a workspace, once, by
// `init`; Plan runs `plan` and `show -json` in a run folder of its own and returns what would change;
// Apply runs `apply` on exactly that saved plan. The commands of a run are children of a supervisor, a
// process of its own (`flywheel engine-run`) that outlives the server and leaves a result behind, so
// that a server that died in the middle finds out how the run ended (Plan and Apply on the same folder
// attach to it) instead of running it twice. State goes through States, the `http` backend, whose
// tokens belong to one run.
//
// Code from strangers is first read without running it (Gate), then validated, tested and planned
// inside the sandbox. Only `show -json` and the engine's JSON lines are read; text is never parsed.
//
// Deliberately absent: engine workspaces, -target, -refresh-only and every other way by which a run
// could do something else than bring an instance to its desired state. No engine is downloaded here.
package tofu

import (
	"context"
	"io"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"flywheel.dev/flywheel/internal/sandbox"
	"flywheel.dev/flywheel/internal/tofu/supervisor"
)

// ProviderAddress is where the engines look for Flywheel's own provider, which the supervisor serves.
const ProviderAddress = "registry.flywheel.dev/flywheel/flywheel"

// Engine is the program that runs modules.
type Engine struct {
	Path    string `json:"path"`
	Name    string `json:"name"` // "tofu" or "terraform"
	Version string `json:"version"`
}

// ServeProvider serves Flywheel's own provider for one instance on a Unix socket until ctx ends, and
// returns the value of TF_REATTACH_PROVIDERS. Package local has it.
type ServeProvider func(ctx context.Context, socket string, scope Scope) (reattach string, err error)

// Scope is what Flywheel's own provider may touch in one step of a run.
type Scope = supervisor.Scope

// Service runs engines. Its fields are set once, before the first use.
type Service struct {
	Engine Engine
	// Self is the flywheel binary, which has `engine-run`; empty means the running one.
	Self string
	// Dir holds the prepared workspaces, one folder a pattern digest.
	Dir string
	// States issues the token of each run; StateSocket is the Unix socket where its handler answers.
	States      *States
	StateSocket string
	// Agent is the socket of the local agent, for Flywheel's own provider.
	Agent string
	// ServeProvider serves Flywheel's own provider to Validate and Test. Plan and Apply have it from the
	// supervisor.
	ServeProvider ServeProvider
	// Sandbox is where every engine runs, whoever certified what it runs. Without one nothing is run.
	Sandbox *sandbox.Sandbox
	// Mirror is a folder of provider plugins (`terraform providers mirror`); Registry lets init download
	// modules and providers from RegistryHosts.
	Mirror        string
	Registry      bool
	RegistryHosts []string
	// Allow is what a module that init downloaded may use, as the gate judges the pattern itself.
	Allow    Allow
	Timeouts Timeouts
	// Grace is how long an interrupted engine has before it is interrupted again; zero means 5m.
	Grace time.Duration

	preparing singleflight.Group
	mu        sync.Mutex
	children  map[string]chan struct{} // by folder: closed when the supervisor has ended
}

// Timeouts bound each command; zero means the default in brackets.
type Timeouts struct {
	Init     time.Duration // 5m
	Plan     time.Duration // 15m
	Apply    time.Duration // 1h
	Validate time.Duration // 2m
	Test     time.Duration // 15m
}

// Workspace is a module that init has prepared. It serves every instance of its pattern digest and is
// never written after Prepare.
type Workspace struct {
	Digest string `json:"digest"`
	Dir    string `json:"-"`
	Own    bool   `json:"own"` // the module uses Flywheel's own provider
}

// Run is one infrastructure run of an instance. Its folder is used once: another attempt takes another
// run with another ID and folder.
type Run struct {
	ID        string // the tokens and the lock of the state belong to it
	Dir       string // of this run alone; made by Plan
	Instance  string
	Workspace Workspace
	Fence     int64 // the fencing token of the instance, checked on every write of the state
	Destroy   bool  // plan the removal of everything
	Untrusted bool  // not certified: it gets no credentials and cannot be applied
	Network   bool  // the environment grants the host's network
	Variables map[string]any
	// Secrets are values of ephemeral variables: never on disk, hidden in every log and plan, given again to the
	// apply. Untrusted runs get a placeholder for each.
	Secrets map[string]string
	// Environment is for foreign providers, for example credentials of the target; its values are hidden
	// like Secrets. Untrusted runs never get it.
	Environment map[string]string
	Log         io.Writer // receives the log while Plan or Apply waits; may be nil
	// Cancel, when it is closed, asks the step that is waited for to stop. The engine stops in an orderly way;
	// what it has finished stays finished. A step that has not begun does not begin.
	Cancel <-chan struct{}
}

// PlanLog is the log of the plan, complete also if the server was gone in between; ApplyLog that of the apply.
func (r Run) PlanLog() string  { return filepath.Join(r.Dir, planStep, supervisor.LogFile) }
func (r Run) ApplyLog() string { return filepath.Join(r.Dir, applyStep, supervisor.LogFile) }

// Outcome says how a run ended.
type Outcome = supervisor.Outcome

const (
	Succeeded   = supervisor.Succeeded
	Failed      = supervisor.Failed
	Cancelled   = supervisor.Cancelled
	TimedOut    = supervisor.TimedOut
	Interrupted = supervisor.Interrupted
)

// Result is what a run left behind.
type Result struct {
	supervisor.Result
	Plan *Plan `json:"-"` // of a plan
	// MayExist lists, after an interrupted apply, what may have been made without getting into the state.
	MayExist []string `json:"may_exist,omitempty"`
}

// Diagnostic is one message of the engine.
type Diagnostic = supervisor.Diagnostic

// Folders and files of a run. Only work and out are seen from inside the sandbox: a plan can write out, an apply
// work, and what shows the plan nothing, so that what was judged is what is applied.
const (
	planStep  = "plan"
	applyStep = "apply"
)

func (r Run) work() string         { return filepath.Join(r.Dir, "work") }
func (r Run) erroredState() string { return filepath.Join(r.work(), "errored.tfstate") }
func (r Run) out() string          { return filepath.Join(r.Dir, "out") }
func (r Run) variables() string    { return filepath.Join(r.out(), "variables.tfvars.json") }
func (r Run) planFile() string     { return filepath.Join(r.out(), "plan") }
func (r Run) planJSON() string     { return filepath.Join(r.Dir, planStep, "plan.json") }
