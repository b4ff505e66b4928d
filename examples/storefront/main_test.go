package main

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func do(t *testing.T, s *shop, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Idempotency-Key", "key-1")
	s.routes().ServeHTTP(w, r)
	return w
}

func TestAnOrderIsMadeOnceForAKey(t *testing.T) {
	s := newShop()
	do(t, s, "POST", "/cart/c1/items", `{"product":"brush","quantity":2}`)
	first := do(t, s, "POST", "/checkout", `{"cart":"c1"}`)
	again := do(t, s, "POST", "/checkout", `{"cart":"c1"}`)
	if first.Code != 201 || again.Code != 200 || first.Body.String() != again.Body.String() {
		t.Errorf("first %d %s, again %d %s", first.Code, first.Body, again.Code, again.Body)
	}
	if !strings.Contains(first.Body.String(), `"cents":1780`) {
		t.Errorf("the order is %s", first.Body)
	}
}

func TestPagesAndProductsAnswer(t *testing.T) {
	for path, want := range map[string]int{"/": 200, "/products": 200, "/products/soap": 200, "/products/none": 404, "/pages/about": 200, "/pages/none": 404, "/stores": 200, "/price?product=soap&quantity=2": 200, "/price?product=soap&quantity=-1": 400, "/reports/sales?ms=10": 200, "/version": 200} {
		if w := do(t, newShop(), "GET", path, ""); w.Code != want {
			t.Errorf("%s answers %d, not %d", path, w.Code, want)
		}
	}
}
