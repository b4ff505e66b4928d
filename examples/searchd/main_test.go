package main

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestTheNearestStoresComeFirst(t *testing.T) {
	f, err := newFinder()
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	f.routes().ServeHTTP(w, httptest.NewRequest("GET", "/near?lat=52.4&lon=13.1&limit=3", nil))
	var found []Store
	if err := json.Unmarshal(w.Body.Bytes(), &found); err != nil || len(found) != 3 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if found[0].City != "Berlin" || found[0].Km < 20 || found[0].Km > 30 || found[1].Km < found[0].Km {
		t.Errorf("near Potsdam are %v", found)
	}
}

func TestNonsenseIsRefusedWithASentence(t *testing.T) {
	f, err := newFinder()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/near", "/near?lat=x&lon=1", "/near?lat=99&lon=1", "/near?lat=NaN&lon=1", "/near?lat=1&lon=1&limit=0", "/near?lat=1&lon=1&km=-4"} {
		w := httptest.NewRecorder()
		f.routes().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != 400 {
			t.Errorf("%s answers %d", path, w.Code)
		}
	}
	w := httptest.NewRecorder()
	f.routes().ServeHTTP(w, httptest.NewRequest("POST", "/index", strings.NewReader(`[{"name":"nowhere"}]`)))
	if w.Code != 400 {
		t.Errorf("a store without a place was taken: %d", w.Code)
	}
}
