package main

import (
	_ "embed"
	"encoding/json"
	"net/http"
)

// Store is a shop one can walk into.
type Store struct {
	ID   string  `json:"id"`
	Name string  `json:"name"`
	City string  `json:"city"`
	Lat  float64 `json:"lat"`
	Lon  float64 `json:"lon"`
}

//go:embed stores.json
var storeList []byte

var stores = func() (list []Store) {
	if err := json.Unmarshal(storeList, &list); err != nil {
		panic(err) // it is part of the program
	}
	return list
}()

func listStores(w http.ResponseWriter, r *http.Request) {
	if inBrowser(w, r) {
		show(w, r, 200, "stores", "Our stores", stores)
		return
	}
	answer(w, 200, stores)
}
