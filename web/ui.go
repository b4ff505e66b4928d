// Package ui holds the built pages. `make build` fills dist; a fresh clone has only a placeholder
// there, so that Go compiles without Node.
package ui

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// Files returns the built pages with index.html at their root.
func Files() fs.FS {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // dist is a valid path, and embedding it failed at compile time if it is missing
	}
	return files
}
