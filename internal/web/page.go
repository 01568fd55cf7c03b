package web

import (
	"io/fs"
	"net/http"
	"strings"

	"github.com/tapedeck-io/tapedeck/web"
)

// page serves the page. / and the permalinks /s/SESSION are one document; the files
// that it names change their names when they change, and may be kept for ever.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "The page can only be read.", http.StatusMethodNotAllowed)
		return
	}
	files, built := web.Files()
	name := strings.TrimPrefix(r.URL.Path, "/")
	switch {
	case name == "" || strings.HasPrefix(name, "s/"):
		name = "index.html"
		if !built {
			name = web.Unbuilt
		}
		w.Header().Set("Cache-Control", "no-cache")
	case strings.HasPrefix(name, "assets/"):
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	if info, err := fs.Stat(files, name); err != nil || info.IsDir() {
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, "There is nothing here.", http.StatusNotFound)
		return
	}
	http.ServeFileFS(w, r, files, name)
}
