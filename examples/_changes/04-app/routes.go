package main

import (
	"net/http"
	"os"
)

func (s *shop) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", healthy)
	mux.HandleFunc("GET /version", version)
	mux.HandleFunc("GET /{$}", home)
	mux.HandleFunc("GET /products", listProducts)
	mux.HandleFunc("GET /products/{id}", product)
	mux.HandleFunc("GET /price", price)
	mux.HandleFunc("GET /cart/{id}", s.showCart)
	mux.HandleFunc("POST /cart/{id}/items", s.addItem)
	mux.HandleFunc("POST /checkout", s.checkout)
	mux.HandleFunc("GET /orders/{id}", s.showOrder)
	mux.HandleFunc("POST /payments", s.takePayment)
	mux.HandleFunc("GET /pages/{name}", page)
	mux.HandleFunc("GET /stores", listStores)
	mux.HandleFunc("GET /stores/near", near)
	mux.HandleFunc("GET /reports/sales", sales)
	return mux
}

// version says which release answers. Flywheel tells every process.
func version(w http.ResponseWriter, r *http.Request) {
	answer(w, 200, map[string]string{"release": os.Getenv("FLYWHEEL_RELEASE"), "process": os.Getenv("FLYWHEEL_PROCESS")})
}
