// Package certify decides about changes of patterns: it runs the checks, shows the effect on every live
// instance before anyone decides, collects the approvals by discipline, and publishes the version.
//
// People only decide; everything else runs by itself. An approval binds to the digest of what was
// shown, the content of the pattern and the plans of its live instances, so that a push after it
// needs new approvals. Authors of a change cannot approve it, a person counts for one discipline, and
// machines do not approve at all (rule of change 10).
//
// When the last approval is in, the change is merged, the version is published as certified and
// recommended, and every app that waits for it goes on by itself. A rejection blocks them with the
// reason.
//
// Deliberately absent: what a pattern is (package pattern), and moving instances to a new version
// (each app's own change does that).
package certify

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
)

// Certification is what is known about one revision of a pattern change.
type Certification struct {
	Change    string         `json:"change"`
	Revision  int            `json:"revision"`
	Version   string         `json:"version" doc:"The version that will be published"`
	Bump      string         `json:"bump" enum:"major,minor,patch"`
	Reasons   []string       `json:"reasons" doc:"Why this is a major, minor or patch version"`
	Pattern   string         `json:"patternDigest"`
	Digest    string         `json:"digest" doc:"What an approval binds to"`
	Instances []Effect       `json:"instances" doc:"Effect on every live instance of the pattern"`
	Needed    map[string]int `json:"needed" doc:"Approvals by discipline"`
	Approvals []Approval     `json:"approvals"`
	CreatedAt time.Time      `json:"createdAt"`
}

// Effect is what the new version would do to one live instance.
type Effect struct {
	App         string   `json:"app"`
	Environment string   `json:"environment"`
	Version     string   `json:"version" doc:"The version it runs on"`
	Summary     string   `json:"summary"`
	Breaking    bool     `json:"breaking"`
	Destructive []string `json:"destructive,omitempty" doc:"Stateful resources that would be destroyed or replaced"`
	OutOfBounds []string `json:"outOfBounds,omitempty" doc:"Variables that the new bounds exclude"`
	PlanDigest  string   `json:"planDigest,omitempty"`
	Plan        any      `json:"plan,omitempty"`
	Error       string   `json:"error,omitempty"`
}

// Approval is one person's decision for one discipline.
type Approval struct {
	Discipline string    `json:"discipline"`
	Person     string    `json:"person"`
	Name       string    `json:"name"`
	Decision   string    `json:"decision" enum:"approved,rejected"`
	Reason     string    `json:"reason,omitempty"`
	Digest     string    `json:"digest"`
	At         time.Time `json:"at"`
}

// digest is what an approval binds to: the content of the pattern and what it would do to each live
// instance.
func (c Certification) digest() string {
	parts := []string{c.Pattern, c.Version}
	for _, e := range c.Instances {
		parts = append(parts, e.App+"/"+e.Environment+" "+e.PlanDigest+" "+e.Error)
	}
	slices.Sort(parts)
	sum := sha256.Sum256([]byte(db.JSON(parts)))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Missing returns the disciplines that have not approved yet, in the order pages show them.
func (c Certification) Missing() []string {
	missing := []string{}
	for _, d := range account.Disciplines() {
		have := 0
		for _, a := range c.Approvals {
			if a.Discipline == d && a.Decision == "approved" && a.Digest == c.Digest {
				have++
			}
		}
		if have < c.Needed[d] {
			missing = append(missing, d)
		}
	}
	return missing
}

// mayDecide refuses a decision that rule of change 10 forbids.
func (c Certification) mayDecide(actor account.Actor, authors []string, discipline, digest string) error {
	if slices.Contains(authors, actor.ID) {
		return fault.New(fault.Forbidden, "approval.own_change", "You wrote part of this change, so somebody else must decide about it.").
			Do("Ask another person of %s.", discipline)
	}
	for _, a := range c.Approvals {
		if a.Person == actor.ID {
			return fault.New(fault.Conflict, "approval.one_discipline", "You have already decided about this change, for %s. One person counts for one discipline.", a.Discipline).
				Do("Ask another person of %s.", discipline)
		}
	}
	if digest != c.Digest {
		return fault.New(fault.Stale, "approval.not_what_was_shown", "This is not what you looked at: the change, or an instance it affects, is different now.").
			Do("Look at the change again; its digest is %s.", c.Digest)
	}
	return nil
}
