package web

import (
	"net/http"
	"strings"
)

// fallback is shown where the page was not built.
const fallback = `<!doctype html><html lang="en"><title>Tapedeck</title><h1>Tapedeck</h1><p>This program was built without its page. The API is at /api/v1.</p></html>
`

// page serves the page. Its files may be cached for ever but for the first, which
// names them: / and the permalinks /s/SESSION are one page.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" && !strings.HasPrefix(r.URL.Path, "/s/") {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write([]byte(fallback))
}
