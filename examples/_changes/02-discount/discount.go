package main

// total returns the price of n pieces in cents: from a dozen on, a tenth less.
func total(p Product, n int) int {
	cents := p.Cents * n
	if n >= 12 {
		cents -= cents / 10
	}
	return cents
}
