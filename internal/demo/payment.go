package demo

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Pay buys a piece of soap in the storefront at base and then is its payment provider: it says that the
// order is paid, signed with key. It returns the shop's answer to that.
func Pay(ctx context.Context, base, key string) (Answer, error) {
	cart := "demo-" + rand.Text()
	if _, err := post(ctx, base+"/cart/"+cart+"/items", `{"product":"soap","quantity":1}`, "", ""); err != nil {
		return Answer{}, err
	}
	bought, err := post(ctx, base+"/checkout", fmt.Sprintf(`{"cart":%q}`, cart), "Idempotency-Key", cart)
	if err != nil {
		return Answer{}, err
	}
	var order struct {
		ID    string
		Cents int
	}
	if err := json.Unmarshal([]byte(bought.Body), &order); err != nil {
		return Answer{}, fmt.Errorf("the checkout answered %d %s: %w", bought.Status, bought.Body, err)
	}
	word := fmt.Sprintf(`{"order":%q,"cents":%d}`, order.ID, order.Cents)
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(word))
	return post(ctx, base+"/payments", word, "Payment-Signature", hex.EncodeToString(mac.Sum(nil)))
}

// pay keeps the answer of Pay as evidence.
func (d *demo) pay(ctx context.Context, when, base, key string) (Answer, error) {
	a, err := Pay(ctx, base, key)
	a.When = when
	d.step.HTTP = append(d.step.HTTP, a)
	return a, err
}

// post sends JSON to an app, with one more header if it has a name.
func post(ctx context.Context, url, body, header, value string) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader([]byte(body)))
	if err != nil {
		return Answer{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	if header != "" {
		r.Header.Set(header, value)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return Answer{URL: url, Status: response.StatusCode, Body: string(text)}, err
}
