package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/redact"
)

// Outcome says how a run ended.
type Outcome string

const (
	Succeeded   Outcome = "succeeded"
	Failed      Outcome = "failed"      // the engine said no; its diagnostics say why
	Cancelled   Outcome = "cancelled"   // it was asked to cancel, and it stopped in an orderly way
	TimedOut    Outcome = "timed_out"   // its timeout interrupted it, and it stopped in an orderly way
	Interrupted Outcome = "interrupted" // engine or supervisor were killed: what they did last is unknown
)

// Result is how a run ended.
type Result struct {
	Outcome     Outcome      `json:"outcome"`
	Commands    []Command    `json:"commands"`
	Diagnostics []Diagnostic `json:"diagnostics"`
	Failure     string       `json:"failure,omitempty"` // why the engine could not be run at all
	Fault       *fault.Fault `json:"fault,omitempty"`   // what the sandbox says of it
	Started     time.Time    `json:"started"`
	Ended       time.Time    `json:"ended"`
}

// Command is one engine command that was run.
type Command struct {
	Name    string    `json:"name"`
	Exit    int       `json:"exit"` // 128 and its number if a signal ended it, negative if the sandbox did
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"`
}

// Diagnostic is one message of the engine.
type Diagnostic struct {
	Severity string `json:"severity"` // "error" or "warning"
	Summary  string `json:"summary"`
	Detail   string `json:"detail,omitempty"`
	Address  string `json:"address,omitempty"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
}

// Where returns the place of a diagnostic as people write it: an address, or file:line:column.
func (d Diagnostic) Where() string {
	switch {
	case d.File != "":
		return fmt.Sprintf("%s:%d:%d", d.File, d.Line, d.Column)
	case d.Address != "":
		return d.Address
	}
	return "module"
}

// rawDiagnostic is a diagnostic in the JSON lines of an engine.
type rawDiagnostic struct {
	Severity, Summary, Detail, Address string
	Range                              *struct {
		Filename string
		Start    struct{ Line, Column int }
	}
}

func (d rawDiagnostic) hidden(r *redact.Redactor) Diagnostic {
	out := Diagnostic{Severity: d.Severity, Summary: r.Text(d.Summary), Detail: r.Text(d.Detail), Address: r.Text(d.Address)}
	if d.Range != nil {
		out.File, out.Line, out.Column = d.Range.Filename, d.Range.Start.Line, d.Range.Start.Column
		if filepath.IsAbs(out.File) { // of the run, not of the module: its folder tells nobody anything
			out.File = filepath.Base(out.File)
		}
	}
	return out
}

// Save writes the result, unless there is one already: the first word on how a run ended stands.
func (r Result) Save(folder string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	part := partOf(folder)
	f, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Truncate(int64(len(b)))
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	defer os.Remove(part)
	if err := os.Link(part, filepath.Join(folder, ResultFile)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(folder)
}

// partOf is the file that this process makes its result of.
func partOf(folder string) string {
	return filepath.Join(folder, ResultFile+"."+strconv.Itoa(os.Getpid()))
}

// reserve takes the room that a result needs, while there is some.
func reserve(folder string) error {
	f, err := os.OpenFile(partOf(folder), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 64<<10))
	return errors.Join(err, f.Close())
}

// Load reads the result of a run. The error is fs.ErrNotExist while there is none.
func Load(folder string) (Result, error) {
	var r Result
	return r, readJSON(filepath.Join(folder, ResultFile), &r)
}

// Identity is one process named for good: a pid comes again, with another start time.
type Identity struct {
	Pid   int    `json:"pid"`
	Start string `json:"start"` // in ticks of the kernel
}

// Self is the running process.
func Self() Identity { return IdentityOf(os.Getpid()) }

// IdentityOf names the process that has the pid now.
func IdentityOf(pid int) Identity { return Identity{pid, startTime(pid)} }

// LoadIdentity reads run.json or engine.json. The error is fs.ErrNotExist if there is none.
func LoadIdentity(folder, file string) (Identity, error) {
	var i Identity
	return i, readJSON(filepath.Join(folder, file), &i)
}

// Running reports whether the process still runs.
func (i Identity) Running() bool { return i.Pid > 0 && i.Start != "" && startTime(i.Pid) == i.Start }

// Signal sends to this process and to no other that got its pid: the handle is taken before the start
// time is compared. The error is os.ErrProcessDone if it has ended.
func (i Identity) Signal(sig os.Signal) error {
	p, err := os.FindProcess(i.Pid)
	if err != nil {
		return err
	}
	defer p.Release()
	if !i.Running() {
		return os.ErrProcessDone
	}
	return p.Signal(sig)
}

// startTime returns when a process was started, or "" if it has ended.
func startTime(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// The name of the program stands in brackets and may hold anything, brackets too.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return ""
	}
	return fields[19]
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeJSON writes a file that is there whole or not at all; a durable one also after a loss of power.
func writeJSON(path string, v any, durable bool) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	part := path + ".part"
	f, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if durable && err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(part, path)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
