package fault_test

import (
	"testing"

	"flywheel.dev/flywheel/internal/fault"
)

func TestASentenceThatQuotesAnotherEndsWithOneFullStop(t *testing.T) {
	for format, want := range map[string]string{"It failed: %s.": "It failed: it broke.", "It failed: %s": "It failed: it broke.", "%s..": "it broke..."} {
		if got := fault.New(fault.Invalid, "x", format, "it broke.").Message; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
