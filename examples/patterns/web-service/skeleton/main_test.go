package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestItAnswers(t *testing.T) {
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/": http.StatusOK, "/nowhere": http.StatusNotFound} {
		w := httptest.NewRecorder()
		routes().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != want {
			t.Errorf("%s answers %d, not %d", path, w.Code, want)
		}
	}
}
