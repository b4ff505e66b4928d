package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/deploy"
	"flywheel.dev/flywheel/internal/server"
)

// Report is what happened, for `-o json`.
type Report struct {
	URL     string  `json:"url"`
	Engine  string  `json:"engine"`
	Steps   []*Step `json:"steps"`
	Seconds float64 `json:"seconds"`
	OK      bool    `json:"ok"`
}

// Step is one part of the revolution with its evidence.
type Step struct {
	Name    string    `json:"name"`
	Title   string    `json:"title"`
	Changes []Change  `json:"changes"`
	Refused []Refusal `json:"refused,omitempty"`
	HTTP    []Answer  `json:"http"`
	Load    *Load     `json:"load,omitempty"`
	Seconds float64   `json:"seconds"`
	began   time.Time
}

// Change is a change as it ended in the step.
type Change struct {
	ID          string         `json:"id"`
	Title       string         `json:"title"`
	Kind        change.Kind    `json:"kind"`
	Lane        change.Lane    `json:"lane"`
	State       change.State   `json:"state"`
	Why         string         `json:"why,omitempty"`
	Waited      string         `json:"waitedFor,omitempty"`
	Revert      string         `json:"revert,omitempty"`
	Reasons     []string       `json:"reasons"`
	Checks      []change.Check `json:"checks"`
	Approvals   []string       `json:"approvals,omitempty"`
	Deployments []Deployment   `json:"deployments"`
}

// Deployment is one deployment with its times.
type Deployment struct {
	ID          string         `json:"id"`
	Environment string         `json:"environment"`
	Trigger     deploy.Trigger `json:"trigger"`
	Kind        deploy.Kind    `json:"kind"`
	State       deploy.State   `json:"state"`
	Reason      string         `json:"reason,omitempty"`
	StartedAt   *time.Time     `json:"startedAt"`
	FinishedAt  *time.Time     `json:"finishedAt"`
	Seconds     float64        `json:"seconds"`
	Steps       []deploy.Step  `json:"steps"`
	Evidence    []deploy.Probe `json:"evidence"`
}

// Refusal is something that was tried and must not work.
type Refusal struct {
	What   string `json:"what"`
	Answer string `json:"answer"`
}

// Answer is one question over HTTP and its answer.
type Answer struct {
	When   string `json:"when"`
	URL    string `json:"url"`
	Status int    `json:"status"`
	Body   string `json:"body"`
}

// Load is what a client saw that sent requests all the while.
type Load struct {
	Requests int     `json:"requests"`
	Posts    int     `json:"posts"`
	Slow     int     `json:"slow"`
	Failures int     `json:"failures"`
	First    string  `json:"firstFailure,omitempty"`
	Seconds  float64 `json:"seconds"`
}

// reported turns a change with everything about it into what the report keeps.
func reported(d server.ChangeDetail) Change {
	c := Change{ID: d.Change.ID, Title: d.Change.Title, Kind: d.Change.Kind, Lane: d.Change.Lane, State: d.Change.State, Why: d.Change.Why, Waited: d.Change.Needs,
		Revert: d.Change.Revert, Reasons: []string{}, Checks: d.Checks, Deployments: []Deployment{}}
	for _, r := range d.Change.Reasons {
		c.Reasons = append(c.Reasons, r.Text)
	}
	if d.Certification != nil {
		for _, a := range d.Certification.Approvals {
			c.Approvals = append(c.Approvals, fmt.Sprintf("%s: %s by %s", a.Discipline, a.Decision, a.Name))
		}
	}
	for i := range c.Checks {
		c.Checks[i].Detail = nil // plans are long; the page has them
	}
	for _, x := range d.Deployments {
		one := Deployment{ID: x.ID, Environment: x.Environment, Trigger: x.Trigger, Kind: x.Kind, State: x.State, Reason: x.Reason,
			StartedAt: x.StartedAt, FinishedAt: x.FinishedAt, Steps: x.Steps, Evidence: x.Evidence}
		if x.StartedAt != nil && x.FinishedAt != nil {
			one.Seconds = x.FinishedAt.Sub(*x.StartedAt).Seconds()
		}
		c.Deployments = append(c.Deployments, one)
	}
	return c
}

func (r *Report) write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// progress prints one line for each thing that happens, on standard error.
type progress struct {
	w     io.Writer
	color bool
}

func (p *progress) style(code, text string) string {
	if !p.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p *progress) head(format string, args ...any) {
	fmt.Fprintf(p.w, "\n%s\n", p.style("1", fmt.Sprintf(format, args...)))
}

func (p *progress) line(format string, args ...any) {
	fmt.Fprintf(p.w, "  %s %s\n", p.style("32", "✓"), fmt.Sprintf(format, args...))
}

func (p *progress) note(format string, args ...any) {
	fmt.Fprintf(p.w, "    %s\n", p.style("2", fmt.Sprintf(format, args...)))
}

func (p *progress) terminal(text string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, " \n"); strings.HasPrefix(line, "remote: ") && len(line) > 8 {
			p.note("%s", line)
		}
	}
}
