package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestTheNearestStoresComeFromTheSearch(t *testing.T) {
	asked := ""
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked = r.URL.String(); r.FormValue("lat") == "" {
			w.WriteHeader(http.StatusBadRequest)
		}
		fmt.Fprint(w, `[{"id":"berlin","name":"Store Berlin","city":"Berlin","lat":52.52,"lon":13.405,"km":0.3}]`)
	}))
	t.Setenv("SEARCH_URL", service.URL)
	s := newShop(t)
	w := do(s, "GET", "/stores/near?lat=52.52&lon=13.40", "")
	var found []Near
	if err := json.Unmarshal(w.Body.Bytes(), &found); err != nil || len(found) != 1 || found[0].City != "Berlin" || found[0].Km != 0.3 {
		t.Errorf("near are %d %s", w.Code, w.Body)
	}
	if !strings.HasPrefix(asked, "/near?") || !strings.Contains(asked, "lon=13.40") {
		t.Errorf("the search was asked %s", asked)
	}
	if w := do(s, "GET", "/stores/near?lat=52.52&lon=13.40", "", "Accept", "text/html"); !strings.Contains(w.Body.String(), "0.3 km") {
		t.Errorf("the page shows %s", w.Body)
	}
	if w := do(s, "GET", "/stores/near", ""); w.Code != 400 {
		t.Errorf("nowhere is %d", w.Code)
	}
	service.Close()
	if w := do(s, "GET", "/stores/near?lat=52.52&lon=13.40", ""); w.Code != 503 {
		t.Errorf("without a search it is %d", w.Code)
	}
	t.Setenv("SEARCH_URL", "")
	if w := do(s, "GET", "/stores/near?lat=52.52&lon=13.40", ""); w.Code != 503 {
		t.Errorf("where there is no search it is %d", w.Code)
	}
}
