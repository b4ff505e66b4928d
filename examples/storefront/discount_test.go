package main

import "testing"

func TestEveryPieceCostsTheSame(t *testing.T) {
	if got := total(Product{Cents: 450}, 12); got != 5400 {
		t.Errorf("a dozen costs %d", got)
	}
}
