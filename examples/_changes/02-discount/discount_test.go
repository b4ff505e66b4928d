package main

import "testing"

func TestADozenIsATenthCheaper(t *testing.T) {
	soap := Product{Cents: 450}
	if got := total(soap, 12); got != 4860 {
		t.Errorf("a dozen costs %d", got)
	}
	if got := total(soap, 11); got != 4950 {
		t.Errorf("eleven cost %d", got)
	}
}
