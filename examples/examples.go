// Package examples holds what the demo uses, so that the built binary can play it anywhere: a pattern,
// the storefront, and the files that each step changes. Read them, or start from them.
//
// A file named go.mod.skeleton is a go.mod: under its own name it would make its folder a module that
// Go leaves out of the binary.
package examples

import "embed"

// Files are the folders patterns, storefront and _changes (what each step of the demo pushes).
//
//go:embed all:patterns all:storefront all:_changes
var Files embed.FS
