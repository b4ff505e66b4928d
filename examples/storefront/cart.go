package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// An id becomes the name of a file.
var idRule = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// read fills in from a JSON body or, in a browser, from a form.
func read(w http.ResponseWriter, r *http.Request, in any, fromForm func(func(string) string)) (form bool, err error) {
	r.Body = http.MaxBytesReader(w, r.Body, 4096)
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		if err := r.ParseForm(); err != nil {
			return true, err
		}
		fromForm(r.PostForm.Get)
		return true, nil
	}
	return false, json.NewDecoder(r.Body).Decode(in)
}

func (s *shop) showCart(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if !idRule.MatchString(id) {
		refuse(w, 404, "There is no such cart.")
		return
	}
	c, err := s.cart(id)
	switch {
	case err != nil:
		broken(w, err)
	case inBrowser(w, r):
		show(w, r, 200, "cart", "Your cart", struct {
			Cart
			Key string
		}{c, rand.Text()})
	default:
		answer(w, 200, c)
	}
}

func (s *shop) addItem(w http.ResponseWriter, r *http.Request) {
	var in Line
	form, err := read(w, r, &in, func(field func(string) string) {
		in.Product = field("product")
		in.Quantity, _ = strconv.Atoi(field("quantity")) // 0 is refused below
	})
	id := r.PathValue("id")
	if err != nil || in.Quantity < 1 || in.Quantity > most || !idRule.MatchString(id) {
		refuse(w, 400, "Say product and a quantity from 1 to 10000.")
		return
	}
	if _, ok := find(in.Product); !ok {
		refuse(w, 404, "There is no such product.")
		return
	}
	c, err := s.put(id, in.Product, in.Quantity)
	switch {
	case errors.Is(err, errTooMany):
		refuse(w, 409, "A cart holds at most 10000 of a product.")
	case err != nil:
		broken(w, err)
	case form:
		http.Redirect(w, r, "/cart/"+id, http.StatusSeeOther)
	default:
		answer(w, 200, c)
	}
}

// checkout makes an order of a cart. Sent again with the same key, it answers with the same order.
func (s *shop) checkout(w http.ResponseWriter, r *http.Request) {
	var in struct{ Cart string }
	key := r.Header.Get("Idempotency-Key")
	form, err := read(w, r, &in, func(field func(string) string) { in.Cart, key = field("cart"), field("key") })
	if err != nil || key == "" || !idRule.MatchString(in.Cart) {
		refuse(w, 400, "Send the cart's id, and the header Idempotency-Key.")
		return
	}
	order, again, err := s.order(key, in.Cart)
	switch {
	case errors.Is(err, errEmpty):
		refuse(w, 409, "The cart is empty.")
	case errors.Is(err, errOther):
		refuse(w, 409, "This Idempotency-Key belongs to the order of another cart.")
	case err != nil:
		broken(w, err)
	case form:
		http.Redirect(w, r, "/orders/"+order.ID, http.StatusSeeOther)
	case again:
		answer(w, 200, order)
	default:
		answer(w, 201, order)
	}
}

func (s *shop) showOrder(w http.ResponseWriter, r *http.Request) {
	var o Order
	err := fs.ErrNotExist
	if id := r.PathValue("id"); idRule.MatchString(id) {
		err = s.load(filepath.Join("orders", id), &o)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		refuse(w, 404, "There is no such order.")
	case err != nil:
		broken(w, err)
	case inBrowser(w, r):
		show(w, r, 200, "order", "Thank you", o)
	default:
		answer(w, 200, o)
	}
}
