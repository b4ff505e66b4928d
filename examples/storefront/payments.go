package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
)

// takePayment hears from the payment provider that an order is paid. Its word counts only with a
// signature: HMAC-SHA256 of the body under the key that shop and provider share, in hexadecimal. Said
// again, it changes nothing.
func (s *shop) takePayment(w http.ResponseWriter, r *http.Request) {
	if s.paymentKey == "" {
		refuse(w, 503, "This shop takes no payments: it was started without PAYMENT_KEY.")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4096))
	if err != nil {
		refuse(w, 400, "Send an order and its cents.")
		return
	}
	mac := hmac.New(sha256.New, []byte(s.paymentKey))
	mac.Write(body)
	signature, err := hex.DecodeString(r.Header.Get("Payment-Signature"))
	if err != nil || !hmac.Equal(signature, mac.Sum(nil)) {
		refuse(w, 401, "This is not signed with the key of the shop.")
		return
	}
	var in struct {
		Order string
		Cents int
	}
	if json.Unmarshal(body, &in) != nil || !idRule.MatchString(in.Order) {
		refuse(w, 400, "Send an order and its cents.")
		return
	}
	order, err := s.pay(in.Order, in.Cents)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		refuse(w, 404, "There is no such order.")
	case errors.Is(err, errAmount):
		refuse(w, 409, "The order costs another amount.")
	case err != nil:
		broken(w, err)
	default:
		answer(w, 200, order)
	}
}
