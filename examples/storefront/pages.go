package main

import (
	"bytes"
	"crypto/rand"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
)

//go:embed *.html
var files embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"money": func(cents int) string { return fmt.Sprintf("€ %d.%02d", cents/100, cents%100) },
	"name":  func(id string) string { p, _ := find(id); return p.Name },
}).ParseFS(files, "*.html"))

var contents = map[string][2]string{
	"about":    {"About us", "We make things for the house that last, and we mend them when they do not."},
	"shipping": {"Shipping", "Everything leaves our house within a day, wrapped in paper."},
	"imprint":  {"Imprint", "A shop that does not exist: it is the example of Flywheel."},
}

func home(w http.ResponseWriter, r *http.Request) {
	show(w, r, 200, "home", "Things that last", products)
}

func page(w http.ResponseWriter, r *http.Request) {
	c, ok := contents[r.PathValue("name")]
	if !ok {
		missing(w, r)
		return
	}
	show(w, r, 200, "text", c[0], c[1])
}

func missing(w http.ResponseWriter, r *http.Request) {
	show(w, r, 404, "text", "Not here", "There is nothing at this address.")
}

// show writes the page with this name. A template that breaks must not leave half a page behind.
func show(w http.ResponseWriter, r *http.Request, status int, name, title string, data any) {
	view := struct {
		Title, Cart string
		Data        any
		Body        template.HTML
	}{Title: title, Cart: cartOf(w, r), Data: data}
	var body, whole bytes.Buffer
	err := pages.ExecuteTemplate(&body, name, view)
	if err == nil {
		view.Body = template.HTML(body.String()) // escaped by the template that made it
		err = pages.ExecuteTemplate(&whole, "layout", view)
	}
	if err != nil {
		broken(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = whole.WriteTo(w) // the customer may be gone
}

// cartOf returns the id of the visitor's cart, which a cookie keeps. It cannot be guessed.
func cartOf(w http.ResponseWriter, r *http.Request) string {
	if c, err := r.Cookie("cart"); err == nil && idRule.MatchString(c.Value) {
		return c.Value
	}
	id := strings.ToLower(rand.Text())
	http.SetCookie(w, &http.Cookie{Name: "cart", Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: 30 * 24 * 3600})
	return id
}
