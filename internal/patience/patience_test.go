package patience

import (
	"testing"
	"time"
)

func TestAFactorScalesEveryLimit(t *testing.T) {
	for text, want := range map[string]time.Duration{"": time.Minute, "1": time.Minute, "2.5": 150 * time.Second, "0.5": 30 * time.Second} {
		t.Setenv(Variable, text)
		if got := Of(time.Minute); got != want {
			t.Errorf("with %q a minute becomes %s, want %s", text, got, want)
		}
	}
}

func TestAFactorThatIsNoNumberAboveZeroIsRefused(t *testing.T) {
	for _, text := range []string{"fast", "0", "-1", "2x", "NaN", "Inf"} {
		t.Setenv(Variable, text)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q was taken for a factor", text)
				}
			}()
			Of(time.Minute)
		}()
	}
}

func TestWhatHappensLaterIsWaitedFor(t *testing.T) {
	times := 0
	Until(t, "three looks", func() bool { times++; return times == 3 })
	if times != 3 {
		t.Errorf("it looked %d times", times)
	}
}
