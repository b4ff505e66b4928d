package plain

import "fmt"

// Count returns a number with its noun: "1 test run", "3 test runs".
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
