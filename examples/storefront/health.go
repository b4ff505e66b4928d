package main

import (
	"fmt"
	"net/http"
)

func healthy(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") }
