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
	for _, body := range []string{`[{"name":"nowhere"}]`, `[{"id":"x","lat":91}]`, `{`, ``} {
		w := httptest.NewRecorder()
		f.routes().ServeHTTP(w, httptest.NewRequest("POST", "/index", strings.NewReader(body)))
		if w.Code != 400 {
			t.Errorf("%s: %d", body, w.Code)
		}
	}
}

func TestAStoreIsFoundWhereItMovedTo(t *testing.T) {
	f, err := newFinder()
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{`"lat":-17.7,"lon":179.9`, `"lat":64.1,"lon":-21.9`} {
		w := httptest.NewRecorder()
		f.routes().ServeHTTP(w, httptest.NewRequest("POST", "/index", strings.NewReader(`[{"id":"new","name":"New",`+place+`}]`)))
		if w.Code != 204 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	if found, err := f.near(64, -22, 100, 5); err != nil || len(found) != 1 || found[0].ID != "new" || found[0].Km > 20 {
		t.Errorf("near Reykjavik are %v, %v", found, err)
	}
	if found, err := f.near(-17.7, 179.9, 1000, 5); err != nil || len(found) != 0 {
		t.Errorf("it is still where it was: %v, %v", found, err)
	}
}

func TestOnlyStoresInsideTheCircleAreFound(t *testing.T) {
	f, err := newFinder()
	if err != nil {
		t.Fatal(err)
	}
	if found, err := f.near(52.52, 13.405, 300, 100); err != nil || len(found) < 2 || found[0].Km > 0.1 || found[len(found)-1].Km > 300 {
		t.Errorf("within 300 km of Berlin are %v, %v", found, err)
	}
	if found, err := f.near(-60, -120, 500, 100); err != nil || len(found) != 0 {
		t.Errorf("in the South Pacific are %v, %v", found, err)
	}
}
