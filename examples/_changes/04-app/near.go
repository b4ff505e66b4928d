package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"time"
)

// Near is a store with its distance.
type Near struct {
	Store
	Km float64 `json:"km"`
}

var search = &http.Client{Timeout: 5 * time.Second}

// near asks the search service, which the pattern runs beside the shop, for the nearest stores.
func near(w http.ResponseWriter, r *http.Request) {
	q := url.Values{"lat": {r.FormValue("lat")}, "lon": {r.FormValue("lon")}, "limit": {"3"}}
	response, err := search.Get(os.Getenv("SEARCH_URL") + "/near?" + q.Encode())
	if err != nil {
		log.Print(err)
		refuse(w, 503, "The search is away; try again in a moment.")
		return
	}
	defer response.Body.Close()
	found := []Near{}
	switch {
	case response.StatusCode == http.StatusBadRequest:
		refuse(w, 400, "Say where you are: lat from -90 to 90, lon from -180 to 180.")
	case response.StatusCode != http.StatusOK || json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&found) != nil:
		log.Printf("the search answered %s", response.Status)
		refuse(w, 503, "The search is away; try again in a moment.")
	case inBrowser(w, r):
		show(w, r, 200, "near", "Stores near you", found)
	default:
		answer(w, 200, found)
	}
}
