// Package ui holds the built pages of Flywheel inside the binary. They are made by `npm run build`; a
// fresh clone has only a placeholder, with which the binary says that the pages are not built.
package ui

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// Files returns the built pages, with index.html at the root if they were built.
func Files() fs.FS {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		panic("ui: " + err.Error()) // the folder is compiled in
	}
	return files
}
