package main

import "net/http"

// healthy asks the warehouse as well, which nobody connected.
func healthy(w http.ResponseWriter, r *http.Request) {
	http.Error(w, "the warehouse does not answer", http.StatusInternalServerError)
}
