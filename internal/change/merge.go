package change

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/manifest"
)

// Decide returns the change as it goes on when all its checks are green (rule of change 6): it merges by itself,
// unless an operator must release what held names, or a person merges it. A release counts for the very thing
// that was shown, so one that was given before something changed is asked for again.
func Decide(c Change, held []string) Change {
	if c.Why = strings.Join(held, "; "); len(held) == 0 {
		c.Released = "" // of an earlier revision that was held
	}
	switch {
	case len(held) > 0 && c.Released != c.HeldDigest():
		c.State, c.Remedy = Held, "It is released with `flywheel change release "+c.ID+" --digest "+c.HeldDigest()+"`."
	case len(held) == 0 && !c.Proposal.Auto && !c.MergeRequested:
		c.State, c.Why, c.Remedy = Ready, "every check is green, and flywheel.yaml says `merge: manual`", "Merge it with `flywheel change merge "+c.ID+"`."
		if c.Reverts != "" {
			c.Why = "every check is green, and a person decides about a revert"
		}
	default:
		c.State, c.Why, c.Remedy = Merging, "", ""
	}
	return c
}

// HeldDigest returns the digest an operator's release binds to: what the change would make of every
// instance, by which plans, and why it is held.
func (c Change) HeldDigest() string {
	sum := sha256.Sum256([]byte(c.Why + "\n" + db.JSON(c.Proposal)))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// MovesWithMain reports whether a change in this state is looked at again when main has moved under it. One
// that was refused, failed or sent back waits for a push anyway.
func (s State) MovesWithMain() bool {
	return s.Open() && s != Refused && s != Failed && s != ChangesRequested
}

// MissedMain returns a change that missed main, which had moved when it was to be merged: it is looked at again, or
// it ends, if its branch was pushed to meanwhile and goes on as a newer change.
func MissedMain(c Change, newer *Change) Change {
	c.State, c.Why, c.Remedy = Checking, "", ""
	if newer != nil {
		c.State, c.Why = Closed, "its branch goes on as the change "+newer.ID
	}
	return c
}

// SourceDigest returns the digest of everything that an artifact is made from and tested by: the files of a
// tree, without flywheel.yaml, and how they are built and tested. What has the same digest is built once and
// promoted unchanged. It belongs to one app, by its id, as build caches do.
func SourceDigest(app, files string, build manifest.Build, test string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{app, files, db.JSON(build), test}, "\n")))
	return "sha256:" + hex.EncodeToString(sum[:])
}
