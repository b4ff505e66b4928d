package main

import (
	"html/template"
	"net/http"
)

var contents = map[string]string{
	"about":    "We make things for the house that last, and we mend them when they do not.",
	"shipping": "Everything leaves our house within a day, in paper.",
	"imprint":  "The shop of the Flywheel demo.",
}

var layout = template.Must(template.New("page").Funcs(template.FuncMap{"money": money, "title": title}).Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{{.Title}} · Storefront</title>
<style>
:root{color-scheme:light dark;--ink:#1d2a24;--paper:#faf9f5;--line:#ddd9cd;--accent:#2f6f4f}
@media(prefers-color-scheme:dark){:root{--ink:#ecebe4;--paper:#161a18;--line:#2e3632;--accent:#7cc29f}}
body{margin:0 auto;max-width:62rem;padding:2rem 1.25rem;font:1rem/1.6 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
header{display:flex;gap:1.5rem;align-items:baseline;border-bottom:1px solid var(--line);padding-bottom:1rem}
header b{font:600 1.4rem/1 Georgia,serif;margin-right:auto}a{color:var(--accent)}
ul{list-style:none;padding:0;display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(16rem,1fr))}
li{border:1px solid var(--line);border-radius:.6rem;padding:1.1rem 1.2rem}h2{margin:0;font:600 1.1rem/1.3 Georgia,serif}
li p{margin:.4rem 0 .8rem}strong{font-variant-numeric:tabular-nums}
</style>
<header><b>Storefront</b><a href="/">Products</a><a href="/pages/about">About</a><a href="/pages/shipping">Shipping</a></header>
<main><h1>{{.Title}}</h1>{{if .Text}}<p>{{.Text}}</p>{{end}}
{{if .Products}}<ul>{{range .Products}}<li><h2>{{.Name}}</h2><p>{{.About}}</p><strong>{{money .Cents}}</strong></li>{{end}}</ul>{{end}}</main></html>`))

type view struct {
	Title, Text string
	Products    []Product
}

func home(w http.ResponseWriter, r *http.Request) {
	show(w, view{Title: "Things that last", Products: products})
}

func page(w http.ResponseWriter, r *http.Request) {
	text, ok := contents[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	show(w, view{Title: title(r.PathValue("name")), Text: text})
}

func show(w http.ResponseWriter, v view) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = layout.Execute(w, v) // the customer may be gone
}
