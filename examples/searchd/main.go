// Searchd finds the stores nearest to a place. It is the search service of the demo's pattern: small,
// real, on bleve's geo index.
//
// GET /near?lat=…&lon=…&km=…&limit=…  the nearest stores with their distance
// POST /index                         adds or replaces stores, a JSON list
// GET /healthz
package main

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/mapping"
	"github.com/blevesearch/bleve/v2/search"
)

//go:embed stores.json
var shipped []byte

// Store is a place with a name.
type Store struct {
	ID   string  `json:"id"`
	Name string  `json:"name"`
	City string  `json:"city"`
	Lat  float64 `json:"lat"`
	Lon  float64 `json:"lon"`
	Km   float64 `json:"km"` // from the place that was asked about
}

type finder struct {
	index bleve.Index

	mu     sync.RWMutex
	stores map[string]Store
}

func newFinder() (*finder, error) {
	place := bleve.NewDocumentMapping()
	place.AddFieldMappingsAt("location", mapping.NewGeoPointFieldMapping())
	m := bleve.NewIndexMapping()
	m.DefaultMapping = place
	index, err := bleve.NewMemOnly(m)
	if err != nil {
		return nil, err
	}
	f := &finder{index: index, stores: map[string]Store{}}
	var stores []Store
	if err := json.Unmarshal(shipped, &stores); err != nil {
		return nil, err
	}
	return f, f.add(stores)
}

var errNowhere = errors.New("a store has no id or no place on earth")

// add adds or replaces all of the stores, or none.
func (f *finder) add(stores []Store) error {
	batch := f.index.NewBatch()
	for _, s := range stores {
		if s.ID == "" || math.Abs(s.Lat) > 90 || math.Abs(s.Lon) > 180 {
			return errNowhere
		}
		if err := batch.Index(s.ID, map[string]any{"location": map[string]any{"lat": s.Lat, "lon": s.Lon}}); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.index.Batch(batch); err != nil {
		return err
	}
	for _, s := range stores {
		f.stores[s.ID] = s
	}
	return nil
}

// near returns up to limit stores within km of the place, the nearest first.
func (f *finder) near(lat, lon, km float64, limit int) ([]Store, error) {
	query := bleve.NewGeoDistanceQuery(lon, lat, fmt.Sprintf("%fkm", km))
	query.SetField("location")
	request := bleve.NewSearchRequestOptions(query, limit, 0, false)
	byDistance, err := search.NewSortGeoDistance("location", "km", lon, lat, false)
	if err != nil {
		return nil, err
	}
	request.SortByCustom(search.SortOrder{byDistance})
	result, err := f.index.Search(request)
	if err != nil {
		return nil, err
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	found := []Store{}
	for _, hit := range result.Hits {
		s := f.stores[hit.ID]
		s.Km = math.Round(distance(lat, lon, s.Lat, s.Lon)*10) / 10
		found = append(found, s)
	}
	return found, nil
}

// distance is the great-circle distance in km (haversine).
func distance(lat1, lon1, lat2, lon2 float64) float64 {
	rad := func(d float64) float64 { return d * math.Pi / 180 }
	a := math.Pow(math.Sin(rad(lat2-lat1)/2), 2) + math.Cos(rad(lat1))*math.Cos(rad(lat2))*math.Pow(math.Sin(rad(lon2-lon1)/2), 2)
	return 2 * 6371 * math.Asin(math.Min(1, math.Sqrt(a)))
}

func (f *finder) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /near", func(w http.ResponseWriter, r *http.Request) {
		lat, err1 := strconv.ParseFloat(r.FormValue("lat"), 64)
		lon, err2 := strconv.ParseFloat(r.FormValue("lon"), 64)
		km, err3 := strconv.ParseFloat(cmp.Or(r.FormValue("km"), "20000"), 64)
		limit, err4 := strconv.Atoi(cmp.Or(r.FormValue("limit"), "5"))
		// Written so that NaN, which is no number of degrees, is refused too.
		if errors.Join(err1, err2, err3, err4) != nil || !(math.Abs(lat) <= 90 && math.Abs(lon) <= 180 && km > 0 && km <= 20000) || limit < 1 || limit > 100 {
			refuse(w, 400, "Say lat (-90 to 90), lon (-180 to 180), and if you like km (up to 20000) and limit (1 to 100).")
			return
		}
		found, err := f.near(lat, lon, km, limit)
		if err != nil {
			log.Print(err)
			refuse(w, 500, "The search failed.")
			return
		}
		answer(w, 200, found)
	})
	mux.HandleFunc("POST /index", func(w http.ResponseWriter, r *http.Request) {
		var stores []Store
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 8<<20)).Decode(&stores); err != nil {
			refuse(w, 400, "Send a JSON list of stores.")
			return
		}
		switch err := f.add(stores); {
		case errors.Is(err, errNowhere):
			refuse(w, 400, "A store has no id or no place on earth.")
			return
		case err != nil:
			log.Print(err)
			refuse(w, 500, "The stores could not be indexed.")
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the reader may be gone
}

func refuse(w http.ResponseWriter, status int, sentence string) {
	answer(w, status, map[string]string{"error": sentence})
}

func main() {
	f, err := newFinder()
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT"), Handler: f.routes(), ReadHeaderTimeout: 5 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	finished := make(chan error)
	go func() {
		<-ctx.Done()
		patience, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		finished <- server.Shutdown(patience)
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	if err := <-finished; err != nil { // ListenAndServe returns before the last requests have ended
		log.Fatal(err)
	}
}
