package tofu

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	tfjson "github.com/hashicorp/terraform-json"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/sandbox"
	"flywheel.dev/flywheel/internal/tofu/supervisor"
)

// TestRun is the result of one run block, or of a whole file if Name is empty.
type TestRun struct {
	File     string    `json:"file"`
	Name     string    `json:"name,omitempty"`
	Status   string    `json:"status"` // "pass", "fail", "error" or "skip"
	Problems []Problem `json:"problems"`
}

// Validate checks a module as the engine understands it, without any state or value. An empty list lets the
// module pass.
func (s *Service) Validate(ctx context.Context, dir string) ([]Problem, error) {
	problems := []Problem{}
	err := s.examine(ctx, dir, func(e examination) error {
		// What init names is the cause; what validate says without the modules and providers is what follows from it.
		// Only mistakes in the files are worth being named together.
		if e.initFailed != nil && !slices.ContainsFunc(e.named, func(p Problem) bool { return p.Line > 0 }) {
			return e.initFailed
		}
		problems = append(problems, e.named...)
		out, _, err := e.run(or(s.Timeouts.Validate, 2*time.Minute), "validate", "-json", "-no-color")
		if err != nil {
			return err
		}
		var answer tfjson.ValidateOutput
		if err := json.Unmarshal(out, &answer); err != nil {
			return fmt.Errorf("answer of validate: %w", err)
		}
		for _, d := range answer.Diagnostics {
			if d.Severity == tfjson.DiagnosticSeverityError {
				p := e.workspace.problem("validate", d)
				said := func(q Problem) bool { return q.File == p.File && q.Line == p.Line && q.Message == p.Message }
				if !slices.ContainsFunc(problems, said) {
					problems = append(problems, p)
				}
			}
		}
		return nil
	})
	return problems, err
}

// Test runs the module's tests and returns the result of each run block. What a test makes it can make only in
// the sandbox. A module without tests returns an empty list.
func (s *Service) Test(ctx context.Context, dir string) ([]TestRun, error) {
	runs := []TestRun{}
	err := s.examine(ctx, dir, func(e examination) error {
		if e.initFailed != nil {
			return e.initFailed
		}
		out, said, err := e.run(or(s.Timeouts.Test, 15*time.Minute), "test", "-json", "-no-color")
		if err != nil {
			return err
		}
		var ended bool
		if runs, ended, err = e.workspace.readTests(out); err == nil && !ended {
			err = fmt.Errorf("the tests ended without a summary: %s", clip(strings.TrimSpace(string(said))))
		}
		return err
	})
	return runs, err
}

// examination is a module initialised without a backend, in a folder that goes away.
type examination struct {
	run        func(limit time.Duration, args ...string) (stdout, stderr []byte, err error)
	workspace  Workspace
	initFailed error
	named      []Problem // what init named when it failed
}

func (s *Service) examine(ctx context.Context, dir string, with func(examination) error) error {
	temp, err := os.MkdirTemp("", "flywheel-examine-")
	if err != nil {
		return err
	}
	defer sandbox.RemoveAll(temp)
	w := Workspace{Dir: temp, Own: usesOwnProvider(dir)}
	if err := s.fill(w, dir); err != nil {
		return err
	}
	box, err := s.box()
	if err != nil {
		return err
	}
	e := examination{workspace: w}
	e.named, e.initFailed = s.runInit(ctx, w, supervisor.Call{}, "-backend=false")
	var f *fault.Fault
	if e.initFailed != nil && (!errors.As(e.initFailed, &f) || f.Code != "init.failed") {
		return e.initFailed
	}
	c := supervisor.Call{
		Engine: s.Engine.Path, Dir: w.module(), Env: engineEnv(box, w.data(), w.config(), w.data()),
		Readable: dirOf(s.Mirror), Writable: []string{w.Dir},
	}
	if w.Own {
		if s.ServeProvider == nil {
			return errors.New("tofu: nothing serves Flywheel's provider")
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		socket, err := os.MkdirTemp("", "flywheel-provider-") // its path must be short, and not below what can be written
		if err != nil {
			return err
		}
		defer os.RemoveAll(socket)
		c.Provider = filepath.Join(socket, "provider.sock")
		if c.Reattach, err = s.ServeProvider(ctx, c.Provider, Scope{}); err != nil {
			return fmt.Errorf("serve Flywheel's provider: %w", err)
		}
	}
	e.run = func(limit time.Duration, args ...string) ([]byte, []byte, error) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		var stdout, stderr bytes.Buffer
		c := c
		c.Args = args
		err := c.Run(ctx, box, &stdout, &stderr)
		if ctx.Err() != nil {
			return nil, nil, fault.New(fault.Unavailable, "engine.timeout", "`%s` took longer than %s.", args[0], limit).Because(err)
		}
		if code, _ := supervisor.ExitOf(err); err != nil && (code < 0 || code > 1) {
			return nil, nil, fmt.Errorf("%s: %w: %s", args[0], err, clip(stderr.String()))
		}
		return stdout.Bytes(), stderr.Bytes(), nil // 1 says that it found something
	}
	return with(e)
}

// readTests reads the JSON lines of `test`; ended says whether its summary came.
func (w Workspace) readTests(out []byte) (runs []TestRun, ended bool, err error) {
	runs = []TestRun{}
	found := map[string][]Problem{} // by file and run, before their results come
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var message struct {
			Type    string `json:"type"`
			File    string `json:"@testfile"`
			Run     string `json:"@testrun"`
			TestRun *struct {
				Path, Run, Status, Progress string
			} `json:"test_run"`
			Diagnostic *tfjson.Diagnostic `json:"diagnostic"`
			Summary    *struct{}          `json:"test_summary"`
		}
		if json.Unmarshal(lines.Bytes(), &message) != nil {
			continue // the engine's own notes
		}
		key := message.File + "\x00" + message.Run
		switch {
		case message.Diagnostic != nil && message.Diagnostic.Severity == tfjson.DiagnosticSeverityError:
			found[key] = append(found[key], w.problem("test", *message.Diagnostic))
		case message.TestRun != nil && (message.TestRun.Progress == "" || message.TestRun.Progress == "complete"):
			t := message.TestRun
			runs = append(runs, TestRun{File: t.Path, Name: t.Run, Status: t.Status})
		case message.Summary != nil:
			ended = true
		}
	}
	for i, r := range runs {
		key := r.File + "\x00" + r.Name
		runs[i].Problems = append([]Problem{}, found[key]...)
		delete(found, key)
	}
	for key, problems := range found { // what belongs to no run keeps all of them from passing
		file, name, _ := strings.Cut(key, "\x00")
		runs = append(runs, TestRun{File: file, Name: name, Status: "error", Problems: problems})
	}
	return runs, ended, lines.Err()
}

func problemOf(code string, d tfjson.Diagnostic) Problem {
	p := Problem{Code: code, Message: strings.TrimSpace(strings.TrimSuffix(d.Summary, ".") + ". " + d.Detail)}
	if d.Range != nil {
		p.File, p.Line, p.Column = d.Range.Filename, d.Range.Start.Line, d.Range.Start.Column
	}
	return p
}
