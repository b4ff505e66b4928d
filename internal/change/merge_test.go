package change

import (
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/manifest"
)

func TestAGreenChangeMergesByItselfUnlessSomebodyDecides(t *testing.T) {
	proposal := func(auto bool, artifact string) *Proposal { return &Proposal{Auto: auto, Artifact: artifact} }
	removal := []string{"prod is removed: an operator releases its destroy plan"}
	released := Change{ID: "chg_1", Why: removal[0], Proposal: proposal(true, "sha256:a")}.HeldDigest()
	for _, tt := range []struct {
		name  string
		c     Change
		held  []string
		state State
		why   string
	}{
		{"merge: auto", Change{Proposal: proposal(true, "sha256:a")}, nil, Merging, ""},
		{"merge: manual waits for a person", Change{Proposal: proposal(false, "sha256:a")}, nil, Ready, "merge: manual"},
		{"merge: manual, and a person said so", Change{Proposal: proposal(false, "sha256:a"), MergeRequested: true}, nil, Merging, ""},
		{"a revert waits for a person", Change{Proposal: proposal(false, "sha256:a"), Reverts: "chg_0"}, nil, Ready, "decides about a revert"},
		{"what would destroy waits for an operator, also with merge: auto", Change{ID: "chg_1", Proposal: proposal(true, "sha256:a")}, removal, Held, removal[0]},
		{"a person's wish to merge is not an operator's release", Change{ID: "chg_1", Proposal: proposal(false, "sha256:a"), MergeRequested: true}, removal, Held, removal[0]},
		{"an operator released what is held", Change{ID: "chg_1", Proposal: proposal(true, "sha256:a"), Released: released}, removal, Merging, ""},
		{"the release was of another artifact", Change{ID: "chg_1", Proposal: proposal(true, "sha256:b"), Released: released}, removal, Held, removal[0]},
		{"the release knew of less", Change{ID: "chg_1", Proposal: proposal(true, "sha256:a"), Released: released}, append(removal, "staging is removed"), Held, "; staging is removed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Decide(tt.c, tt.held)
			if got.State != tt.state || !strings.Contains(got.Why, tt.why) || (got.Why == "") != (tt.why == "") {
				t.Errorf("it is %s: %q", got.State, got.Why)
			}
			if got.State == Held && !strings.Contains(got.Remedy, got.HeldDigest()) {
				t.Errorf("the way out %q does not name the digest of what is held", got.Remedy)
			}
		})
	}
	if c := Decide(Change{Proposal: proposal(true, "sha256:a"), Released: "sha256:old"}, nil); c.Released != "" {
		t.Error("the release of an earlier revision is kept for a later one")
	}
}

func TestMainThatMovesIsLookedAtByWhoeverIsNotWaitingForAPush(t *testing.T) {
	for state, again := range map[State]bool{
		Checking: true, Waiting: true, Review: true, Held: true, Ready: true, Blocked: true, Merging: true,
		Refused: false, Failed: false, ChangesRequested: false,
		Merged: false, Deployed: false, RolledBack: false, Closed: false, Rejected: false,
	} {
		if state.MovesWithMain() != again {
			t.Errorf("a change that is %s: %v, want %v", state, !again, again)
		}
	}
}

// Two changes race for main when both were looked at on the same commit: git lets one of them in, and the
// other one is told that main has moved.
func TestWhoMissedMainGoesOnUnlessItsBranchDoes(t *testing.T) {
	if got := MissedMain(Change{ID: "chg_1", State: Merging}, nil); got.State != Checking || got.Why != "" {
		t.Errorf("whose branch did not move is %s: %s, not looked at again", got.State, got.Why)
	}
	if got := MissedMain(Change{ID: "chg_1", State: Merging}, &Change{ID: "chg_2"}); got.State != Closed || !strings.Contains(got.Why, "chg_2") {
		t.Errorf("whose branch goes on is %s: %s", got.State, got.Why)
	}
}

func TestAnArtifactIsBuiltOnceForWhatItIsMadeFrom(t *testing.T) {
	build := manifest.Build{Command: "go build", Artifact: "dist/"}
	same := SourceDigest("app_1", "tree", build, "go test")
	if again := SourceDigest("app_1", "tree", build, "go test"); again != same {
		t.Error("the same source has two digests")
	}
	other := build
	other.Command = "go build -race"
	for what, digest := range map[string]string{
		"other files":          SourceDigest("app_1", "tree2", build, "go test"),
		"another app":          SourceDigest("app_2", "tree", build, "go test"),
		"another build":        SourceDigest("app_1", "tree", other, "go test"),
		"another test command": SourceDigest("app_1", "tree", build, "true"),
	} {
		if digest == same {
			t.Errorf("%s: the artifact of another source would be promoted", what)
		}
	}
}
