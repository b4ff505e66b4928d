package certify

import (
	"maps"
	"testing"
)

// TestARadiusThatIsKeptUpSaysWhatOneThatIsReadSays moves an instance from every outcome to every other.
func TestARadiusThatIsKeptUpSaysWhatOneThatIsReadSays(t *testing.T) {
	none := func(string) bool { return false }
	for _, from := range outcomes {
		for _, to := range outcomes {
			counts := map[Outcome]int{}
			for n, o := range outcomes {
				counts[o] = n + 1
			}
			read := func() Radius {
				list := []counted{}
				for o, n := range counts {
					list = append(list, counted{class: "staging", outcome: o, n: n})
				}
				return radius(list, none)
			}
			kept := read()
			kept.move(from, to)
			counts[from]--
			counts[to]++
			again := read()
			maps.DeleteFunc(kept.Outcomes, func(_ Outcome, n int) bool { return n == 0 })
			maps.DeleteFunc(again.Outcomes, func(_ Outcome, n int) bool { return n == 0 })
			if kept.summary() != again.summary() || kept.Planned != again.Planned || kept.Breaking != again.Breaking || !maps.Equal(kept.Outcomes, again.Outcomes) {
				t.Errorf("%s → %s: kept %+v, read %+v", from, to, kept, again)
			}
		}
	}
}
