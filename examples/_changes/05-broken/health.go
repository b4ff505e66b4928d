package main

import "net/http"

// healthy was "simplified": it asks for a warehouse that nobody connected.
func healthy(w http.ResponseWriter, r *http.Request) {
	http.Error(w, "the warehouse does not answer", http.StatusServiceUnavailable)
}
