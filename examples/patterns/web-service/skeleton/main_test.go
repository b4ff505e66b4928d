package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestItIsHealthy(t *testing.T) {
	w := httptest.NewRecorder()
	routes().ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil))
	if w.Code != http.StatusOK {
		t.Errorf("/healthz answers %d", w.Code)
	}
}
