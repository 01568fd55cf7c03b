// Package web holds the page that shows sessions in a browser: TypeScript under
// src, built into dist by scripts/build-web.sh and embedded from there.
//
// dist is not committed. A checkout, and a build on a machine without Node, has
// one file in it, [Unbuilt], which says how to get the page.
package web

import (
	"embed"
	"io/fs"
)

// Unbuilt is the name of the page to show when there is no other.
const Unbuilt = "unbuilt.html"

//go:embed dist
var dist embed.FS

// Files returns the page: index.html, and what it loads under assets/, whose
// names change with their content and so may be cached for ever. If the page was
// not built, built is false and [Unbuilt] is all there is.
func Files() (files fs.FS, built bool) {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // the name is constant and embedded
	}
	_, err = fs.Stat(files, "index.html")
	return files, err == nil
}
