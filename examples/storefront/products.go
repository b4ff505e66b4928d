package main

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Product is something to buy. Money is in cents.
type Product struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	About string `json:"about"`
	Cents int    `json:"cents"`
	Hue   int    `json:"-"` // of its picture
}

var products = []Product{
	{"soap", "Olive soap", "Cold-pressed olive oil, nothing else that needs a name.", 450, 85},
	{"brush", "Dish brush", "Beech and bristle. The head is exchanged, the handle stays.", 890, 30},
	{"cloth", "Linen cloth", "Dries a glass without leaving a trace.", 1250, 210},
	{"candle", "Beeswax candle", "Burns for thirty hours and smells of summer.", 1690, 45},
	{"balm", "Hand balm", "For hands that work.", 1190, 150},
	{"broom", "Hazel broom", "Sweeps a yard for ten years.", 2400, 15},
}

// most is the largest quantity of one product in a cart.
const most = 10_000

func find(id string) (Product, bool) {
	i := slices.IndexFunc(products, func(p Product) bool { return p.ID == id })
	if i < 0 {
		return Product{}, false
	}
	return products[i], true
}

func listProducts(w http.ResponseWriter, r *http.Request) { answer(w, 200, products) }

func product(w http.ResponseWriter, r *http.Request) {
	p, ok := find(r.PathValue("id"))
	switch browser := inBrowser(w, r); {
	case !ok && browser:
		missing(w, r)
	case !ok:
		refuse(w, 404, "There is no such product.")
	case browser:
		show(w, r, 200, "product", p.Name, p)
	default:
		answer(w, 200, p)
	}
}

// price says what a quantity of a product costs, with every discount.
func price(w http.ResponseWriter, r *http.Request) {
	p, ok := find(r.FormValue("product"))
	n, err := strconv.Atoi(r.FormValue("quantity"))
	if !ok || err != nil || n < 1 || n > most {
		refuse(w, 400, "Say product and a quantity from 1 to 10000.")
		return
	}
	answer(w, 200, map[string]any{"product": p.ID, "quantity": n, "cents": total(p, n)})
}

// sales is slow, as reports are: it writes a line now and then, for so many milliseconds.
func sales(w http.ResponseWriter, r *http.Request) {
	ms, err := strconv.Atoi(r.FormValue("ms"))
	if err != nil || ms < 0 || ms > 10_000 {
		ms = 1000
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	flush := http.NewResponseController(w)
	for i := range 10 {
		fmt.Fprintf(w, "%s %d\n", products[i%len(products)].ID, i)
		_ = flush.Flush() // whoever buffers may do so
		select {
		case <-r.Context().Done():
			return
		case <-time.After(time.Duration(ms) * time.Millisecond / 10):
		}
	}
	fmt.Fprintln(w, "end")
}
