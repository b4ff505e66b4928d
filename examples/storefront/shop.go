package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// Line is a product in a cart or in an order.
type Line struct {
	Product  string `json:"product"`
	Quantity int    `json:"quantity"`
	Cents    int    `json:"cents"` // for all of them
}

// Cart is what a customer wants to buy.
type Cart struct {
	ID    string `json:"id"`
	Lines []Line `json:"lines"`
	Cents int    `json:"cents"`
}

// Order is what a customer bought, at the prices of that moment.
type Order struct {
	ID    string `json:"id"`
	Cart  string `json:"cart"`
	Lines []Line `json:"lines"`
	Cents int    `json:"cents"`
	Paid  bool   `json:"paid"`
}

var (
	errEmpty   = errors.New("the cart is empty")
	errOther   = errors.New("this key belongs to the order of another cart")
	errTooMany = errors.New("nobody needs so many")
	errAmount  = errors.New("the order costs another amount")
)

// shop keeps its books as files, one for each cart and order. Processes of the same release, and of the
// one before, use them at the same time, so that whoever changes a cart holds the lock of the folder.
type shop struct {
	dir        string
	paymentKey string // "" takes no payments
}

func open(dir string) (*shop, error) {
	for _, sub := range []string{"carts", "orders"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	return &shop{dir: dir}, nil
}

func (s *shop) locked(do func() error) error {
	f, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() // which unlocks
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	return do()
}

// cart returns a cart at today's prices. One that nobody has put anything into is empty.
func (s *shop) cart(id string) (Cart, error) {
	c := Cart{ID: id, Lines: []Line{}}
	err := s.load(filepath.Join("carts", id), &c)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	c.Cents = 0
	for i, l := range c.Lines {
		p, _ := find(l.Product)
		c.Lines[i].Cents = total(p, l.Quantity)
		c.Cents += c.Lines[i].Cents
	}
	return c, err
}

func (s *shop) put(id, product string, quantity int) (c Cart, err error) {
	return c, s.locked(func() error {
		if c, err = s.cart(id); err != nil {
			return err
		}
		i := slices.IndexFunc(c.Lines, func(l Line) bool { return l.Product == product })
		if i < 0 {
			i, c.Lines = len(c.Lines), append(c.Lines, Line{Product: product})
		}
		if c.Lines[i].Quantity += quantity; c.Lines[i].Quantity > most {
			return errTooMany
		}
		if err := s.save(filepath.Join("carts", id), c, false); err != nil {
			return err
		}
		c, err = s.cart(id)
		return err
	})
}

// order turns a cart into an order, once for a key: asked again, it returns the same order.
func (s *shop) order(key, cart string) (o Order, again bool, err error) {
	sum := sha256.Sum256([]byte(key))
	id := hex.EncodeToString(sum[:12])
	return o, again, s.locked(func() error {
		err := s.load(filepath.Join("orders", id), &o)
		if again = err == nil; again && o.Cart != cart {
			return errOther
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		c, err := s.cart(cart)
		if err != nil {
			return err
		}
		if len(c.Lines) == 0 {
			return errEmpty
		}
		o = Order{ID: id, Cart: cart, Lines: c.Lines, Cents: c.Cents}
		if err := s.save(filepath.Join("orders", id), o, true); err != nil {
			return err
		}
		return os.Remove(filepath.Join(s.dir, "carts", cart)) // a crash before this leaves a full cart, and the order
	})
}

// pay marks an order as paid, which costs these cents.
func (s *shop) pay(id string, cents int) (o Order, err error) {
	name := filepath.Join("orders", id)
	return o, s.locked(func() error {
		if err := s.load(name, &o); err != nil || o.Paid {
			return err
		}
		if o.Cents != cents {
			return errAmount
		}
		o.Paid = true
		return s.save(name, o, true)
	})
}

func (s *shop) load(name string, into any) error {
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// save replaces a file whole, so that a reader sees the old one or the new one. A durable one is on the
// disk when save returns; a cart is not worth the wait.
func (s *shop) save(name string, v any, durable bool) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.dir, "new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already if all went well
	_, err = f.Write(text)
	if durable && err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(s.dir, name))
}
