// Package local is the local target: the agent that runs apps on this machine, and its OpenTofu provider.
//
// The agent (RunAgent) is a process of its own with its own folder, so that apps and their addresses
// survive the death and the upgrade of the server. It runs services: each is N processes of one
// artifact, in the sandbox, behind one stable address. The server and the provider speak to it through
// a Client over DIR/agent.sock; EnsureAgent starts it where it does not answer.
//
// The life of a service: ApplyService or Release → a new fleet of processes starts beside the old one
// → each process answers its health check → the service's record is written → the proxy switches to the
// new fleet → the old one finishes its requests and ends. If the new fleet does not become healthy, or is
// given up before (Cancel), it is stopped and nothing has changed. The record on disk is always what runs, never what was wished: after
// a crash of the agent the same services come back on the same addresses.
//
// Prepare makes the sandboxes of an imminent release beforehand (standby.go). They hold no secret and run
// nothing of the app, and a release does without them.
//
// Everything is idempotent by (instance, address), where the address is the service's or volume's name
// inside its app's instance: ids are computed from the two, so that a run that was interrupted finds what
// it made.
//
// Deliberately absent: images, a scheduler over many machines, retries in the proxy.
// Kubernetes and the `command` driver are the way beyond one machine.
package local

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/fault"
)

// Service is what a service is asked to be, and, read back, what it is.
type Service struct {
	Instance   string            `json:"instance"`            // the app's instance it belongs to, ins_…
	Name       string            `json:"name"`                // its address inside the instance
	Artifact   string            `json:"artifact"`            // sha256:… of a tar(.gz) that PutArtifact brought
	Command    []string          `json:"command"`             // run inside the artifact's folder
	Instances  int               `json:"instances"`           // how many processes; 0 means 1
	Port       int               `json:"port"`                // the stable address on 127.0.0.1; 0 lets the agent choose and keep one
	Env        map[string]string `json:"env,omitempty"`       // plain values
	Secrets    map[string]string `json:"secrets,omitempty"`   // environment name → name of a secret of the instance
	HealthPath string            `json:"health_path"`         // GET answers 200 when a process is ready; "" means /healthz
	MemoryMB   int               `json:"memory_mb,omitempty"` // limit of each process; 0 means 512
	Volumes    map[string]string `json:"volumes,omitempty"`   // absolute path inside → volume id
	Uses       map[string]string `json:"uses,omitempty"`      // environment name → id of another service of the instance; the process gets that one's URL
	StartSec   int               `json:"start_seconds,omitempty"`
	DrainSec   int               `json:"drain_seconds,omitempty"`
}

// What the zero values of a Service mean.
const (
	DefaultHealth   = "/healthz"
	DefaultMemoryMB = 512
	DefaultStartSec = 30 // a new process must be healthy within this
	DefaultDrainSec = 15 // an old one may finish its requests for this long
)

// Health is how a service or a process does.
type Health string

const (
	Healthy     Health = "Healthy"     // every process answers
	Progressing Health = "Progressing" // processes are starting or being replaced
	Degraded    Health = "Degraded"    // some process crashed or does not answer its health check
	Missing     Health = "Missing"     // no process runs and the agent could not bring one back
)

// Status is a service as it is now.
type Status struct {
	Service
	ID        string    `json:"id"`
	URL       string    `json:"url"`
	Health    Health    `json:"health"`
	Reason    string    `json:"reason,omitempty"` // why it is not Healthy
	Processes []Process `json:"processes"`
	Prepared  int       `json:"prepared,omitempty"` // sandboxes that wait for the next release
	Outdated  bool      `json:"outdated,omitempty"` // a secret it refers to was set anew since its processes were started; only told of one service
	Updated   time.Time `json:"updated"`            // when its record last changed
}

// Process is one running copy of a service.
type Process struct {
	ID       string    `json:"id"`
	Pid      int       `json:"pid"` // of the sandbox around it; 0 while none runs
	Health   Health    `json:"health"`
	Restarts int       `json:"restarts"`
	Started  time.Time `json:"started"`
	LastExit string    `json:"last_exit,omitempty"`
}

// Volume is a folder that outlives the services that mount it.
type Volume struct {
	Instance string `json:"instance"`
	Name     string `json:"name"`
	SizeMB   int    `json:"size_mb"` // what it may hold; a service that fills it further is stopped
	ID       string `json:"id"`
	Path     string `json:"path"`
	UsedMB   int    `json:"used_mb"`
	Deleted  bool   `json:"deleted,omitempty"` // it goes when the last service has let go of it
}

// ServiceID returns the id of the service with this name in this instance, whether it exists or not.
func ServiceID(instance, name string) string { return "svc_" + digest16(instance, name) }

// VolumeID returns the id of the volume with this name in this instance, whether it exists or not.
func VolumeID(instance, name string) string { return "vol_" + digest16(instance, name) }

func digest16(instance, name string) string {
	sum := sha256.Sum256([]byte(instance + "\x00" + name))
	return hex.EncodeToString(sum[:10])
}

// ID returns the service's id.
func (s Service) ID() string { return ServiceID(s.Instance, s.Name) }

// withDefaults fills what was left out.
func (s Service) withDefaults() Service {
	if s.Instances == 0 {
		s.Instances = 1
	}
	if s.HealthPath == "" {
		s.HealthPath = DefaultHealth
	}
	if s.MemoryMB == 0 {
		s.MemoryMB = DefaultMemoryMB
	}
	if s.StartSec == 0 {
		s.StartSec = DefaultStartSec
	}
	if s.DrainSec == 0 {
		s.DrainSec = DefaultDrainSec
	}
	return s
}

// sameFleet reports whether processes of s can go on as processes of t: everything that a process can
// notice is equal. The number of processes, the stable port and the patience with them are not such.
func (s Service) sameFleet(t Service) bool {
	return s.Artifact == t.Artifact && slices.Equal(s.Command, t.Command) && maps.Equal(s.Env, t.Env) &&
		maps.Equal(s.Secrets, t.Secrets) && s.HealthPath == t.HealthPath && s.MemoryMB == t.MemoryMB &&
		maps.Equal(s.Volumes, t.Volumes) && maps.Equal(s.Uses, t.Uses)
}

var (
	nameRule     = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	instanceRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)
	envRule      = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	digestRule   = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// reservedEnv are the names the agent sets itself.
var reservedEnv = []string{"PORT", "HOME", "PATH", "TMPDIR", "FLYWHEEL_SERVICE", "FLYWHEEL_PROCESS", "FLYWHEEL_RELEASE"}

// reservedPaths are where the sandbox puts its own things; a volume may lie below none of them.
var reservedPaths = []string{"/app", "/home", "/proc", "/dev", "/sys", "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/tmp", "/run"}

// check returns a fault that names every field that cannot be.
func (s Service) check() error {
	f := fault.New(fault.Invalid, "service.invalid", "The service cannot run as it is described.")
	if !instanceRule.MatchString(s.Instance) {
		f.At("instance", "must be the id of an instance")
	}
	if !nameRule.MatchString(s.Name) {
		f.At("name", "must be lower-case letters, digits and hyphens, at most 63 of them")
	}
	if !digestRule.MatchString(s.Artifact) {
		f.At("artifact", "must be a digest, sha256: and 64 hexadecimal digits")
	}
	if len(s.Command) == 0 || s.Command[0] == "" {
		f.At("command", "must name the program to run")
	}
	for _, arg := range s.Command {
		if strings.ContainsRune(arg, 0) {
			f.At("command", "must not contain a NUL character")
		}
	}
	if s.Instances < 1 || s.Instances > 64 {
		f.At("instances", "must be between 1 and 64")
	}
	if s.Port != 0 && (s.Port < 1024 || s.Port > 65535) {
		f.At("port", "must be between 1024 and 65535, or left out")
	}
	if !strings.HasPrefix(s.HealthPath, "/") || strings.ContainsAny(s.HealthPath, " \r\n\x00#") {
		f.At("health_path", "must be a path that begins with /")
	}
	if s.MemoryMB < 16 || s.MemoryMB > 1<<20 {
		f.At("memory_mb", "must be at least 16")
	}
	if s.StartSec < 1 || s.StartSec > 600 {
		f.At("start_seconds", "must be between 1 and 600")
	}
	if s.DrainSec < 1 || s.DrainSec > 600 {
		f.At("drain_seconds", "must be between 1 and 600")
	}
	taken := map[string]string{}
	for _, given := range []struct {
		field  string
		values map[string]string
	}{{"env", s.Env}, {"secrets", s.Secrets}, {"uses", s.Uses}} {
		for _, name := range sortedKeys(given.values) {
			switch {
			case !envRule.MatchString(name):
				f.At(given.field+"."+name, "is not a name of an environment variable")
			case slices.Contains(reservedEnv, name):
				f.At(given.field+"."+name, "is set by the agent itself")
			case taken[name] != "":
				f.At(given.field+"."+name, "is also given in %s", taken[name])
			}
			taken[name] = given.field
		}
	}
	for name, value := range s.Env {
		if strings.ContainsRune(value, 0) {
			f.At("env."+name, "must not contain a NUL character")
		}
	}
	for _, target := range sortedKeys(s.Volumes) {
		if !path.IsAbs(target) || path.Clean(target) != target || target == "/" {
			f.At("volumes."+target, "must be an absolute path below /, written plainly")
		}
		for _, reserved := range reservedPaths {
			if target == reserved || strings.HasPrefix(target, reserved+"/") {
				f.At("volumes."+target, "must lie outside %s", reserved)
			}
		}
	}
	if len(f.Fields) > 0 {
		slices.SortFunc(f.Fields, func(a, b fault.Field) int { return strings.Compare(a.Path, b.Path) })
		return f
	}
	return nil
}

// check returns a fault that names every field that cannot be.
func (v Volume) check() error {
	f := fault.New(fault.Invalid, "volume.invalid", "The volume cannot be made as it is described.")
	if !instanceRule.MatchString(v.Instance) {
		f.At("instance", "must be the id of an instance")
	}
	if !nameRule.MatchString(v.Name) {
		f.At("name", "must be lower-case letters, digits and hyphens, at most 63 of them")
	}
	if v.SizeMB < 1 {
		f.At("size_mb", "must be at least 1")
	}
	if len(f.Fields) > 0 {
		return f
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
