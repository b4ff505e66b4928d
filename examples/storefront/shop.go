package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Product is something to buy. Money is in cents.
type Product struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	About string `json:"about"`
	Cents int    `json:"cents"`
}

var products = []Product{
	{"soap", "Olive soap", "Cold-pressed olive oil, nothing else that needs a name.", 450},
	{"brush", "Dish brush", "Beech and bristle. The head is exchanged, the handle stays.", 890},
	{"cloth", "Linen cloth", "Dries a glass without leaving a trace.", 1250},
	{"candle", "Beeswax candle", "Burns for thirty hours and smells of summer.", 1690},
	{"balm", "Hand balm", "For hands that work.", 1190},
}

func find(id string) (Product, bool) {
	i := slices.IndexFunc(products, func(p Product) bool { return p.ID == id })
	if i < 0 {
		return Product{}, false
	}
	return products[i], true
}

// Line is a product in a cart.
type Line struct {
	Product  string `json:"product"`
	Quantity int    `json:"quantity"`
}

// Order is what a customer bought.
type Order struct {
	ID    string `json:"id"`
	Lines []Line `json:"lines"`
	Cents int    `json:"cents"`
}

type shop struct {
	mu     sync.Mutex
	carts  map[string][]Line
	orders map[string]Order // by idempotency key
}

func newShop() *shop { return &shop{carts: map[string][]Line{}, orders: map[string]Order{}} }

func (s *shop) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", healthy)
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, r *http.Request) { answer(w, 200, map[string]string{"version": version}) })
	mux.HandleFunc("GET /{$}", home)
	mux.HandleFunc("GET /products", func(w http.ResponseWriter, r *http.Request) { answer(w, 200, products) })
	mux.HandleFunc("GET /products/{id}", product)
	mux.HandleFunc("GET /price", price)
	mux.HandleFunc("GET /pages/{name}", page)
	mux.HandleFunc("GET /stores", func(w http.ResponseWriter, r *http.Request) { answer(w, 200, stores) })
	mux.HandleFunc("GET /reports/sales", sales)
	mux.HandleFunc("POST /cart/{id}/items", s.add)
	mux.HandleFunc("GET /cart/{id}", s.cart)
	mux.HandleFunc("POST /checkout", s.checkout)
	more(mux)
	return mux
}

func product(w http.ResponseWriter, r *http.Request) {
	p, ok := find(r.PathValue("id"))
	if !ok {
		refuse(w, 404, "There is no such product.")
		return
	}
	answer(w, 200, p)
}

// price says what a quantity of a product costs, with every discount.
func price(w http.ResponseWriter, r *http.Request) {
	p, ok := find(r.FormValue("product"))
	n, err := strconv.Atoi(r.FormValue("quantity"))
	if !ok || err != nil || n < 1 || n > 10_000 {
		refuse(w, 400, "Say product and a quantity from 1 to 10000.")
		return
	}
	answer(w, 200, map[string]any{"product": p.ID, "quantity": n, "cents": total(p, n)})
}

func (s *shop) add(w http.ResponseWriter, r *http.Request) {
	var line Line
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&line); err != nil || line.Quantity < 1 || line.Quantity > 10_000 {
		refuse(w, 400, "Say product and a quantity from 1 to 10000.")
		return
	}
	if _, ok := find(line.Product); !ok {
		refuse(w, 404, "There is no such product.")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := r.PathValue("id")
	i := slices.IndexFunc(s.carts[id], func(l Line) bool { return l.Product == line.Product })
	if i < 0 {
		s.carts[id] = append(s.carts[id], line)
	} else {
		s.carts[id][i].Quantity += line.Quantity
	}
	answer(w, 200, s.carts[id])
}

func (s *shop) cart(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer(w, 200, append([]Line{}, s.carts[r.PathValue("id")]...))
}

// checkout turns a cart into an order, once for an idempotency key.
func (s *shop) checkout(w http.ResponseWriter, r *http.Request) {
	var in struct{ Cart string }
	key := r.Header.Get("Idempotency-Key")
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&in); err != nil || key == "" {
		refuse(w, 400, "Send the cart's id, and the header Idempotency-Key.")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if done, again := s.orders[key]; again {
		answer(w, 200, done)
		return
	}
	lines := s.carts[in.Cart]
	if len(lines) == 0 {
		refuse(w, 409, "The cart is empty.")
		return
	}
	order := Order{ID: fmt.Sprintf("order-%d", len(s.orders)+1), Lines: lines}
	for _, l := range lines {
		p, _ := find(l.Product)
		order.Cents += total(p, l.Quantity)
	}
	s.orders[key] = order
	delete(s.carts, in.Cart)
	answer(w, 201, order)
}

// sales is slow on purpose, as reports are: it writes a line now and then for so many milliseconds.
func sales(w http.ResponseWriter, r *http.Request) {
	ms, err := strconv.Atoi(r.FormValue("ms"))
	if err != nil || ms < 0 || ms > 10_000 {
		ms = 1000
	}
	flush := http.NewResponseController(w)
	for i := range 10 {
		fmt.Fprintf(w, "%s %d\n", products[i%len(products)].ID, i)
		_ = flush.Flush() // a proxy that buffers is fine
		select {
		case <-r.Context().Done():
			return
		case <-time.After(time.Duration(ms/10) * time.Millisecond):
		}
	}
}

func money(cents int) string { return fmt.Sprintf("€ %d.%02d", cents/100, cents%100) }

func title(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
