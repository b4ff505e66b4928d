// Package certify decides about changes of patterns: it runs the checks, shows the effect on every live
// instance before anyone decides, collects the approvals by discipline, and publishes the version.
//
// The effect is known twice. What the new interface and its bounds make of every instance follows from
// what is stored, and is there in less than a second for 10,000 of them (Foresee). What the engine would
// do follows from a plan of each, a few at a time, and takes as long as it takes.
//
// People only decide; everything else runs by itself. An approval binds to the digest of what was
// shown, the content of the pattern and its effect on the live instances, so that a push after it
// needs new approvals. So does an instance that changes meanwhile, if the effect on it is another one
// then. Authors of a change cannot approve it, a person counts for one discipline, and machines do not
// approve at all (rule of change 10).
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
	"fmt"
	"slices"
	"strings"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/plain"
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
	Destroys  int            `json:"destroys" doc:"Live instances on which it destroys or replaces something stateful; an approval then names the pattern"`
	Radius    Radius         `json:"radius" doc:"The blast radius: how many live instances it affects, and how"`
	Instances []Effect       `json:"instances" doc:"Effect on live instances that the reader may see, the gravest first; the rest is under effects"`
	Needed    map[string]int `json:"needed" doc:"Approvals by discipline"`
	Approvals []Approval     `json:"approvals"`
	CreatedAt time.Time      `json:"createdAt"`

	manifest   *manifest.Pattern
	asks       pattern.Interface
	ownVersion string // what the interface alone makes of it
	ownBump    string
	passes     int // how often the effect was planned since the revision was handed to people
	lapses     int // how often publishing stopped because an approval did not count any more
}

// Approval is one person's decision for one discipline.
type Approval struct {
	Discipline string    `json:"discipline"`
	Person     string    `json:"person"`
	Name       string    `json:"name"`
	Decision   Decision  `json:"decision" enum:"approved,changes_requested,rejected"`
	Reason     string    `json:"reason,omitempty"`
	Digest     string    `json:"digest"`
	Lapsed     string    `json:"lapsed,omitempty" doc:"Why an approval does not count any more; it counts where this is missing"`
	At         time.Time `json:"at"`
}

// Decision is what a person says about a pattern change.
type Decision string

const (
	Approved         Decision = "approved"
	ChangesRequested Decision = "changes_requested" // the next push clears it
	Rejected         Decision = "rejected"
)

// Vote is what a person says with a decision.
type Vote struct {
	Discipline string
	Digest     string // of the certification that was shown
	Reason     string
	Confirm    string // name of the pattern, for the approval of a version that loses something stateful
}

// version returns the pattern version that the certification is about, as far as planning it needs it.
func (c Certification) version(name string) pattern.Version {
	return pattern.Version{Pattern: name, Version: c.Version, Digest: c.Pattern, Manifest: c.manifest, Interface: c.asks}
}

// digest is what an approval binds to: the content of the pattern and what it would do to each live
// instance. An instance to which it does nothing is left out, so that it may come and go.
func (c Certification) digest(effects []Effect) string {
	parts := []string{c.Pattern, c.Version}
	for _, e := range effects {
		if e.Outcome != Unchanged {
			parts = append(parts, strings.Join([]string{e.App, e.Environment, string(e.Outcome), e.PlanDigest, e.Error, db.JSON(e.OutOfBounds), db.JSON(e.NeedsValue)}, " "))
		}
	}
	slices.Sort(parts)
	sum := sha256.Sum256([]byte(db.JSON(parts)))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// lapsed says why an approval does not count any more, or "" if it counts: what was shown, and who the person
// is, may have changed since. It is asked anew whenever approvals are counted.
func (c Certification) lapsed(tx *db.Tx, a Approval, authors []string) (string, error) {
	if a.Decision != Approved {
		return "", nil
	}
	if a.Digest != c.Digest {
		return earlierDigest, nil
	}
	if slices.Contains(authors, a.Person) {
		return a.Name + " is an author of the change by now", nil
	}
	person, err := account.ActorOf(tx, a.Person)
	switch {
	case fault.Is(err, "user.not_found"):
		return a.Name + " is not active any more", nil
	case err != nil:
		return "", err
	case !person.Can(account.Approve(a.Discipline), ""):
		return a.Name + " does not belong to " + a.Discipline + " any more", nil
	}
	return "", nil
}

const earlierDigest = "given on an earlier digest"

// lose says what the version does on how many live instances, when something stateful is lost on them. That makes
// it a major version, whatever its interface says, and takes the number back to what that says when no instance
// loses anything any more.
func (c *Certification) lose(instances int) error {
	c.Destroys, c.Version, c.Bump = instances, c.ownVersion, c.ownBump
	if instances == 0 || c.ownBump == "major" {
		return nil
	}
	next, err := pattern.NextVersion(c.ownVersion, "major")
	c.Version, c.Bump = next, "major"
	return err
}

// breaking says in a sentence why the version is breaking although it can be moved to, or "".
func (c Certification) breaking() string {
	if c.Destroys == 0 {
		return ""
	}
	return "it destroys or replaces something stateful on " + live(c.Destroys)
}

// reasons returns why the change needs its lane and its version its number.
func (c Certification) reasons(name string) []change.Reason {
	list := []change.Reason{{Text: "the pattern itself changes: " + name + " " + c.Version + " (" + c.Bump + ")"}}
	if b := c.breaking(); b != "" {
		list = append(list, change.Reason{Text: "breaking: " + b, Breaking: true})
	}
	for _, r := range c.Reasons {
		list = append(list, change.Reason{Text: r})
	}
	return list
}

// Missing returns the disciplines that have not approved yet, in the order pages show them.
func (c Certification) Missing() []string {
	missing := []string{}
	for _, d := range account.Disciplines() {
		have := 0
		for _, a := range c.Approvals {
			if a.Discipline == d && a.Decision == Approved && a.Lapsed == "" {
				have++
			}
		}
		if have < c.Needed[d] {
			missing = append(missing, d)
		}
	}
	return missing
}

// lastDecision is when the newest decision was given.
func (c Certification) lastDecision() (at time.Time) {
	for _, a := range c.Approvals {
		if a.At.After(at) {
			at = a.At
		}
	}
	return at
}

// standing returns what the decisions so far make of the change: a reviewer asks for changes, approvals
// are missing, or it can be merged. A request for changes stands whatever digest it was given on.
func (c Certification) standing() (state change.State, why string) {
	lapsed, earlier := []string{}, 0
	for _, a := range c.Approvals {
		switch {
		case a.Decision == ChangesRequested:
			return change.ChangesRequested, fmt.Sprintf("%s (%s) asks for changes: %s", a.Discipline, a.Name, a.Reason)
		case a.Lapsed == earlierDigest:
			earlier++
		case a.Lapsed != "":
			lapsed = append(lapsed, fmt.Sprintf("the approval for %s does not count: %s", a.Discipline, a.Lapsed))
		}
	}
	missing := c.Missing()
	if len(missing) == 0 {
		return change.Merging, ""
	}
	if earlier > 0 {
		lapsed = append(lapsed, plain.Count(earlier, "approval was given on an earlier digest and does not count", "approvals were given on an earlier digest and do not count"))
	}
	why = strings.Join(append([]string{"waits for the approval of " + strings.Join(missing, ", ")}, lapsed...), "; ")
	if b := c.breaking(); b != "" {
		why = "breaking, " + b + "; " + why
	}
	return change.Review, why
}

// mayDecide refuses a decision that rule of change 10 forbids. An approval that does not count any more is
// replaced by the new decision, and so is another decision for the same discipline.
func (c Certification) mayDecide(actor account.Actor, of change.Change, v Vote, decision Decision) error {
	discipline := v.Discipline
	if slices.Contains(of.Authors, actor.ID) {
		return fault.New(fault.Forbidden, "approval.own_change", "You wrote part of this change, so somebody else must decide about it.").
			Do("Ask another person of %s.", discipline)
	}
	if v.Digest != c.Digest {
		return fault.New(fault.Stale, "approval.not_what_was_shown", "This is not what you looked at: the change, or its effect on an instance, is different now.").
			Do("Look at the change again, then decide with the digest %s.", c.Digest)
	}
	for _, a := range c.Approvals {
		if a.Person == actor.ID && a.Digest == c.Digest && a.Lapsed == "" && (a.Discipline != discipline || a.Decision == decision) {
			return fault.New(fault.Conflict, "approval.one_discipline", "You have already decided about this change, for %s. One person counts for one discipline.", a.Discipline).
				Do("Ask another person of %s.", discipline)
		}
	}
	if decision == Approved && c.Destroys > 0 && v.Confirm != of.Subject {
		return fault.New(fault.Invalid, "approval.confirm", "This version would destroy or replace something stateful on %s, so its approval names the pattern: %s.", live(c.Destroys), of.Subject).
			Do("See what is lost, `flywheel change effects %s`, then approve with `--confirm %s`.", of.ID, of.Subject).At("confirm", "the name of the pattern")
	}
	return nil
}
