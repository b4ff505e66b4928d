package main

import "testing"

func TestADozenIsATenthCheaper(t *testing.T) {
	soap := Product{Cents: 450}
	for pieces, want := range map[int]int{1: 450, 11: 4950, 12: 4860, 100: 40500} {
		if got := total(soap, pieces); got != want {
			t.Errorf("%d pieces cost %d, not %d", pieces, got, want)
		}
	}
}
