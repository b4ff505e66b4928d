package change

import (
	"fmt"
	"slices"

	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/pattern"
)

// ResolvePin returns the version of its pattern that a proposal uses (rule of change 4). Where pattern and range
// are as on main it is the version that main is pinned to, whatever was published since and whatever became of
// that version; a new range takes the newest certified version in it. versions are all of the wanted pattern.
// It fails with pattern.nothing_in_range where the range holds no certified version.
func ResolvePin(main app.Pin, want manifest.PatternRef, versions []pattern.Version) (pattern.Version, error) {
	if main.Pattern != want.Name || main.Range != want.Version {
		return pattern.Newest(want.Name, want.Version, versions)
	}
	pinned := slices.IndexFunc(versions, func(v pattern.Version) bool { return v.Version == main.Version && v.Digest == main.Digest })
	if pinned < 0 {
		return pattern.Version{}, fault.New(fault.NotFound, "pattern_version.not_found", "There is no pattern version %q.", main.Pattern+" "+main.Version)
	}
	return versions[pinned], nil
}

// Wait is what becomes of a change whose pattern version is not certified yet (rule of change 5).
type Wait struct {
	State  State  // Waiting or Blocked
	Needs  string // id of the pattern change that brings the version, or should have
	Code   string
	Why    string
	Remedy string
	Reason string
}

// WaitFor says what a change waits for that wants a version which nothing certified offers; missing says so.
// trailer is the pattern change that its trailer `Needs:` names, nil if that does not exist; without a trailer
// it is the only open change of the pattern, if there is exactly one in open. A pattern change that has ended
// blocks the change: one that was rejected or closed brings no version, one that was merged brought another.
func WaitFor(c Change, want manifest.PatternRef, trailer *Change, open []Change, missing *fault.Fault) (Wait, error) {
	awaited := trailer
	switch {
	case c.Needs != "" && (trailer == nil || trailer.Kind != OfPattern || trailer.Subject != want.Name):
		return Wait{}, fault.New(fault.Invalid, "change.needs_wrong", "%s is not a change of the pattern %s.", c.Needs, want.Name).Do("Correct the trailer `Needs:`.")
	case c.Needs == "" && len(open) == 1:
		awaited = &open[0]
	case c.Needs == "":
		return Wait{State: Blocked, Code: missing.Code, Why: missing.Message, Remedy: missing.Remedy, Reason: missing.Message}, nil
	}
	w := Wait{State: Waiting, Needs: awaited.ID,
		Why:    fmt.Sprintf("for %s %s, which the pattern change %s (%s) brings once it is certified", want.Name, want.Version, awaited.ID, awaited.Title),
		Reason: fmt.Sprintf("it needs %s %s, which is not certified yet: pattern change %s", want.Name, want.Version, awaited.ID),
	}
	if !awaited.State.Open() {
		w.State, w.Code = Blocked, "change.needs_ended"
		w.Why = fmt.Sprintf("%s needs %s %s, and the pattern change %s is %s: %s", c.Subject, want.Name, want.Version, awaited.ID, awaited.State, awaited.Why)
		w.Remedy = "Use a certified version, or name another pattern change with the trailer `Needs: chg_…`."
	}
	return w, nil
}
