// Package patience says how long a test waits before it gives up. A limit is a last resort: it ends a test
// that hangs, and never measures how fast something is, so it is generous. A machine that is slower than
// expected, or busy, sets FLYWHEEL_TEST_PATIENCE to a factor, 3 for example, and every limit grows with it.
//
// Only tests import it.
package patience

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// Variable is the environment variable that holds the factor, a number above 0 and below 1000. Without it the factor is 1.
const Variable = "FLYWHEEL_TEST_PATIENCE"

// Limit is how long a test waits for one thing where it has no reason for another limit.
const Limit = 2 * time.Minute

// Of returns a limit of time scaled by the factor of this machine. It panics when the factor is no number
// above 0: a limit nobody meant would only be noticed when a test hangs.
func Of(limit time.Duration) time.Duration {
	text := os.Getenv(Variable)
	if text == "" {
		return limit
	}
	factor, err := strconv.ParseFloat(text, 64)
	if err != nil || !(factor > 0 && factor < 1000) {
		panic(Variable + " must be a number above 0 and below 1000, such as 2.5, not " + strconv.Quote(text))
	}
	return time.Duration(float64(limit) * factor)
}

// Until asks every ten milliseconds whether something has happened. After Limit it ends the test and names
// what never happened.
func Until(t testing.TB, what string, happened func() bool) {
	t.Helper()
	limit := Of(Limit)
	for end := time.Now().Add(limit); !happened(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}
