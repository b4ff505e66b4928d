package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

func newShop(t *testing.T) *shop {
	t.Helper()
	s, err := open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// do sends a request as a program does; headers come in pairs.
func do(s *shop, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	s.routes().ServeHTTP(w, r)
	return w
}

func TestEveryAddressAnswersProgramsAndBrowsers(t *testing.T) {
	s := newShop(t)
	do(s, "POST", "/cart/c1/items", `{"product":"soap","quantity":1}`)
	for path, want := range map[string]int{
		"/": 200, "/version": 200, "/products": 200, "/products/soap": 200, "/products/none": 404,
		"/price?product=soap&quantity=2": 200, "/price?product=soap&quantity=-1": 400, "/price?product=none&quantity=1": 400, "/price": 400,
		"/cart/c1": 200, "/cart/empty": 200, "/cart/..%2f..%2flock": 404, "/orders/none": 404, "/orders/..%2flock": 404,
		"/pages/about": 200, "/pages/none": 404, "/stores": 200, "/reports/sales?ms=1": 200, "/nowhere": 404,
	} {
		for _, accept := range []string{"application/json", "text/html"} {
			if w := do(s, "GET", path, "", "Accept", accept); w.Code != want {
				t.Errorf("%s answers %d to %s, not %d", path, w.Code, accept, want)
			}
		}
	}
}

func TestAnOrderIsMadeOnceForAKey(t *testing.T) {
	s := newShop(t)
	do(s, "POST", "/cart/c1/items", `{"product":"brush","quantity":1}`)
	do(s, "POST", "/cart/c1/items", `{"product":"brush","quantity":1}`)
	first := do(s, "POST", "/checkout", `{"cart":"c1"}`, "Idempotency-Key", "k1")
	again := do(s, "POST", "/checkout", `{"cart":"c1"}`, "Idempotency-Key", "k1")
	if first.Code != 201 || again.Code != 200 || first.Body.String() != again.Body.String() {
		t.Errorf("first %d %s, again %d %s", first.Code, first.Body, again.Code, again.Body)
	}
	var order Order
	if err := json.Unmarshal(first.Body.Bytes(), &order); err != nil || order.Cents != 1780 {
		t.Errorf("the order is %s", first.Body)
	}
	for what, w := range map[string]*httptest.ResponseRecorder{
		"the cart is empty now":            do(s, "POST", "/checkout", `{"cart":"c1"}`, "Idempotency-Key", "k2"),
		"the key belongs to another order": do(s, "POST", "/checkout", `{"cart":"c2"}`, "Idempotency-Key", "k1"),
	} {
		if w.Code != 409 {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
}

func TestAPaymentCountsOnlyWithTheSignatureOfTheKey(t *testing.T) {
	s := newShop(t)
	do(s, "POST", "/cart/c1/items", `{"product":"brush","quantity":1}`)
	var order Order
	if err := json.Unmarshal(do(s, "POST", "/checkout", `{"cart":"c1"}`, "Idempotency-Key", "k1").Body.Bytes(), &order); err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"order":%q,"cents":%d}`, order.ID, order.Cents)
	pay := func(body, key string) int {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(body))
		return do(s, "POST", "/payments", body, "Payment-Signature", hex.EncodeToString(mac.Sum(nil))).Code
	}
	if got := pay(body, ""); got != 503 {
		t.Errorf("a shop without a key answers %d", got)
	}
	s.paymentKey = "the key of the shop"
	for _, c := range []struct {
		body, key string
		want      int
	}{
		{body, "", 401}, {body, "another key", 401}, {`{"order":"none","cents":1}`, s.paymentKey, 404}, {`{"order":"../lock"}`, s.paymentKey, 400},
		{`not JSON`, s.paymentKey, 400}, {fmt.Sprintf(`{"order":%q,"cents":1}`, order.ID), s.paymentKey, 409}, {body, s.paymentKey, 200}, {body, s.paymentKey, 200},
	} {
		if got := pay(c.body, c.key); got != c.want {
			t.Errorf("%s signed with %q: %d, not %d", c.body, c.key, got, c.want)
		}
	}
	if w := do(s, "POST", "/payments", body); w.Code != 401 {
		t.Errorf("without a signature: %d", w.Code)
	}
	if w := do(s, "GET", "/orders/"+order.ID, ""); !strings.Contains(w.Body.String(), `"paid":true`) {
		t.Errorf("the order is %s", w.Body)
	}
}

func TestNonsenseIsRefused(t *testing.T) {
	s := newShop(t)
	for _, c := range []struct{ path, body string }{
		{"/cart/c1/items", `{"product":"soap","quantity":0}`}, {"/cart/c1/items", `{"product":"none","quantity":1}`},
		{"/cart/c1/items", `{"product":"soap","quantity":10001}`}, {"/cart/c1/items", `not JSON`}, {"/cart/..%2fc1/items", `{"product":"soap","quantity":1}`},
		{"/cart/c1/items", `{"product":"` + strings.Repeat("x", 5000) + `"}`}, {"/checkout", `{"cart":"c1"}`}, {"/checkout", ``},
	} {
		if w := do(s, "POST", c.path, c.body); w.Code < 400 || w.Code >= 500 {
			t.Errorf("%s %s: %d %s", c.path, c.body, w.Code, w.Body)
		}
	}
	if w := do(s, "GET", "/cart/c1", ""); !strings.Contains(w.Body.String(), `"lines":[]`) {
		t.Errorf("something came into the cart: %s", w.Body)
	}
}

func TestProcessesShareCartsAndLoseNothing(t *testing.T) {
	one := newShop(t)
	other, err := open(one.dir)
	if err != nil {
		t.Fatal(err)
	}
	var both sync.WaitGroup
	for _, s := range []*shop{one, other, one, other} {
		both.Add(1)
		go func() {
			defer both.Done()
			for range 25 {
				if w := do(s, "POST", "/cart/c1/items", `{"product":"soap","quantity":1}`); w.Code != 200 {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			}
		}()
	}
	both.Wait()
	if c, err := other.cart("c1"); err != nil || len(c.Lines) != 1 || c.Lines[0].Quantity != 100 {
		t.Errorf("the cart holds %v, %v", c, err)
	}
}

// A customer does what the pages offer: follow the forms, in one browser.
func TestACustomerBuysInABrowser(t *testing.T) {
	server := httptest.NewServer(newShop(t).routes())
	defer server.Close()
	page := do(newShop(t), "GET", "/", "", "Accept", "text/html")
	action := between(page.Body.String(), `action="`, `"`)
	if cookie := page.Result().Cookies()[0]; action != "/cart/"+cookie.Value+"/items" {
		t.Fatalf("the form leads to %s, the cookie is %s", action, cookie.Value)
	}
	post := func(path string, form url.Values) string {
		response, err := http.PostForm(server.URL+path, form)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.Request.URL.Path
	}
	cart := post(action, url.Values{"product": {"candle"}, "quantity": {"2"}})
	r, _ := http.NewRequest("GET", server.URL+cart, nil)
	r.Header.Set("Accept", "text/html")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var text strings.Builder
	if err := response.Write(&text); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "Beeswax candle") || !strings.Contains(text.String(), "€ 33.80") {
		t.Errorf("the cart shows %s", text.String())
	}
	key := between(text.String(), `name="key" value="`, `"`)
	order := post("/checkout", url.Values{"cart": {strings.TrimPrefix(cart, "/cart/")}, "key": {key}})
	if !strings.HasPrefix(order, "/orders/") || post("/checkout", url.Values{"cart": {strings.TrimPrefix(cart, "/cart/")}, "key": {key}}) != order {
		t.Errorf("the order is %s", order)
	}
}

func between(s, from, to string) string {
	_, rest, _ := strings.Cut(s, from)
	found, _, _ := strings.Cut(rest, to)
	return found
}
