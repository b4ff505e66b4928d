// Package pattern is the catalogue: patterns, their immutable versions, what a version's interface is,
// and which version a range means.
//
// A version is the content of a commit of the pattern's repository: a module with pattern.yaml. Its
// digest is over the content, its number follows from how its interface differs from the newest
// certified one, and its state goes draft → in_review → certified → deprecated → retired. One certified
// version may be recommended. Only certified versions answer to a range.
//
// Deliberately absent: deciding about a version (package certify) and running it (package tofu).
package pattern

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
)

// Pattern is a name in the catalogue.
type Pattern struct {
	Name      string    `json:"name"`
	Title     string    `json:"title"`
	Owner     string    `json:"owner,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
}

// Version is one immutable version of a pattern.
type Version struct {
	ID          string            `json:"id"`
	Pattern     string            `json:"pattern"`
	Version     string            `json:"version"`
	Digest      string            `json:"digest"`
	State       State             `json:"state" enum:"draft,in_review,certified,deprecated,retired"`
	Recommended bool              `json:"recommended"`
	Breaking    string            `json:"breaking,omitempty" doc:"What it destroyed or replaced on live instances when it was certified; such a version is not recommended by itself"`
	Manifest    *manifest.Pattern `json:"manifest"`
	Interface   Interface         `json:"interface"`
	Readme      string            `json:"readme,omitempty"`
	Commit      string            `json:"commit"`
	Change      string            `json:"change,omitempty"`
	CreatedAt   time.Time         `json:"createdAt"`
}

// State of a version.
type State string

const (
	Draft      State = "draft"      // what an open change would publish; its checks are not all green
	InReview   State = "in_review"  // the same, and the disciplines decide
	Certified  State = "certified"  // published: its content and number are its own for good
	Deprecated State = "deprecated" // still runs and is still repaired; new apps do not get it
	Retired    State = "retired"    // nothing may be deployed on it
)

// Deployable reports whether instances may be brought to a version in this state.
func (s State) Deployable() bool { return s == Certified || s == Deprecated }

// published reports whether a version was certified once: its number is taken for good.
func (s State) published() bool { return s.Deployable() || s == Retired }

// next lists where the Center of Excellence may take a published version. What leads to that is the work of
// package certify.
var next = map[State][]State{Certified: {Deprecated}, Deprecated: {Certified, Retired}, Retired: {Deprecated}}

// Proposal is the next version that a content would be.
type Proposal struct {
	Version string   `json:"version"`
	Bump    string   `json:"bump"`
	Reasons []string `json:"reasons"`
	Digest  string   `json:"digest"`

	Manifest  *manifest.Pattern `json:"-"`
	Interface Interface         `json:"-"`

	// Approvals needed, by discipline: at least what the version before it needs, so that a change
	// cannot lower the bar for itself.
	Approvals map[string]int `json:"approvals"`
}

// Digest returns the content digest of a folder: sha256 over the sorted paths, run bits and contents.
// Tool folders (.terraform, .git) do not belong to the content.
func Digest(dir string) (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".terraform" || d.Name() == ".git" {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return fault.New(fault.Invalid, "pattern.not_a_file", "%s is not a plain file, so it cannot be part of a pattern.", d.Name())
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%s\x00%t\x00%d\x00", filepath.ToSlash(rel), info.Mode()&0o100 != 0, len(content))
		sum.Write(content)
		return nil
	})
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), err
}

// NextVersion returns the version after newest that a bump makes; the first is 1.0.0.
func NextVersion(newest, bump string) (string, error) {
	if newest == "" {
		return "1.0.0", nil
	}
	v, err := semver.StrictNewVersion(newest)
	if err != nil {
		return "", err
	}
	switch bump {
	case "major":
		return v.IncMajor().String(), nil
	case "minor":
		return v.IncMinor().String(), nil
	}
	return v.IncPatch().String(), nil
}

// Newest returns the newest certified version in the range, or a fault that says what there is.
func Newest(name, wanted string, versions []Version) (Version, error) {
	in, err := manifest.ParseRange(wanted)
	if err != nil {
		return Version{}, fault.New(fault.Invalid, "pattern.range_invalid", "%s.", err).Do("docs/patterns.md says what each range means.")
	}
	var best *semver.Version
	var found Version
	there := []string{}
	for _, v := range versions {
		if v.State != Certified {
			continue
		}
		there = append(there, v.Version)
		parsed, err := semver.StrictNewVersion(v.Version)
		if err == nil && in.Holds(parsed) && (best == nil || parsed.GreaterThan(best)) {
			best, found = parsed, v
		}
	}
	if best == nil {
		f := fault.New(fault.Conflict, "pattern.nothing_in_range", "No certified version of %s is in the range %s.", name, wanted)
		if len(there) == 0 {
			return found, f.Do("None is certified yet.")
		}
		return found, f.Do("Certified are %s. Use one of them, or change the pattern.", strings.Join(there, ", "))
	}
	return found, nil
}

// Outdated returns the recommended version if what runs should move to it, because it is older or because the
// version that runs is not certified any more, and else "".
func Outdated(running string, versions []Version) string {
	var recommended, now *Version
	for i, v := range versions {
		if v.Recommended && v.State == Certified {
			recommended = &versions[i]
		}
		if v.Version == running {
			now = &versions[i]
		}
	}
	if recommended == nil || now == nil || now.Version == recommended.Version {
		return ""
	}
	old, err := semver.StrictNewVersion(now.Version)
	wanted, err2 := semver.StrictNewVersion(recommended.Version)
	if err != nil || err2 != nil || now.State == Certified && !old.LessThan(wanted) {
		return ""
	}
	return recommended.Version
}

// Passed returns the published versions between the two, the first one left out, whatever became of them since, and
// whichever is newer: what moves from one to the other meets what they brought. From "" it is the second one alone.
func Passed(from, to string, versions []Version) (passed []Version) {
	end, err := semver.StrictNewVersion(to)
	if err != nil {
		return nil
	}
	begin, err := semver.StrictNewVersion(from)
	for _, v := range versions {
		n, bad := semver.StrictNewVersion(v.Version)
		switch {
		case bad != nil || !v.State.published():
		case v.Version == to && (err != nil || !begin.Equal(end)),
			err == nil && begin.LessThan(end) && n.GreaterThan(begin) && n.LessThan(end),
			err == nil && begin.GreaterThan(end) && n.GreaterThan(end) && !n.GreaterThan(begin):
			passed = append(passed, v)
		}
	}
	return passed
}

// latest returns the published version with the highest number, whatever became of it since, or the zero
// Version. The next one is compared with it and numbered after it.
func latest(versions []Version) Version {
	var best *semver.Version
	var found Version
	for _, v := range versions {
		parsed, err := semver.StrictNewVersion(v.Version)
		if err == nil && v.State.published() && (best == nil || parsed.GreaterThan(best)) {
			best, found = parsed, v
		}
	}
	return found
}

// approvals returns the approvals a new content needs: the larger of what it asks for itself and what the
// version before it does, which is nil for the first.
func approvals(before, itself *manifest.Pattern) map[string]int {
	needed := itself.Approvals()
	if before != nil {
		for discipline, n := range before.Approvals() {
			needed[discipline] = max(needed[discipline], n)
		}
	}
	return needed
}
