// Storefront is the shop of a maker of consumer goods: products, a cart, checkout, content pages and
// stores. Programs get JSON, browsers get pages, from the same addresses.
//
// It listens on 127.0.0.1:$PORT and keeps carts and orders in the folder $DATA_DIR, which all of its
// processes share and which outlives every release of it. With $PAYMENT_KEY it takes payments, which are
// signed with that key; without, it says so.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	dir := os.Getenv("DATA_DIR")
	if dir == "" {
		dir = "data"
	}
	shop, err := open(dir)
	if err != nil {
		log.Fatal(err)
	}
	shop.paymentKey = os.Getenv("PAYMENT_KEY")
	server := &http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT"), Handler: shop.routes(), ReadHeaderTimeout: 5 * time.Second}
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

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the customer may be gone
}

func refuse(w http.ResponseWriter, status int, sentence string) {
	answer(w, status, map[string]string{"error": sentence})
}

// broken answers when it is the shop's fault. What happened is for the log.
func broken(w http.ResponseWriter, err error) {
	log.Print(err)
	refuse(w, http.StatusInternalServerError, "Something broke here. Please try again.")
}

// inBrowser reports whether the answer should be a page.
func inBrowser(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Add("Vary", "Accept")
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}
