package web

import (
	_ "embed"
	"net/http"

	"github.com/klauspost/compress/gzhttp"
)

// OpenAPI is the description of the API.
//
//go:embed openapi.yaml
var OpenAPI []byte

const api = "/api/v1"

// Handler answers requests.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	zip := compressor()
	for pattern, h := range s.plain() {
		mux.Handle(pattern, zip(h))
	}
	for pattern, h := range s.streams() {
		mux.Handle(pattern, h)
	}
	mux.HandleFunc(api+"/", func(w http.ResponseWriter, _ *http.Request) {
		s.fail(w, errNotFound("there is nothing here; the API is described at "+api+"/openapi.yaml"))
	})
	return s.guard(mux)
}

// plain are the handlers whose answers may be compressed.
func (s *Server) plain() map[string]http.Handler {
	one := func(f sessionHandler) http.Handler { return s.session(f) }
	return map[string]http.Handler{
		"GET " + api + "/openapi.yaml":            http.HandlerFunc(s.openapi),
		"POST " + api + "/login":                  http.HandlerFunc(s.login),
		"POST " + api + "/logout":                 http.HandlerFunc(s.logout),
		"GET " + api + "/me":                      s.authorized(s.me),
		"GET " + api + "/sessions":                s.authorized(s.list),
		"GET " + api + "/sessions/{sid}":          one(s.one),
		"GET " + api + "/sessions/{sid}/timeline": one(s.timeline),
		"GET " + api + "/sessions/{sid}/events":   one(s.events),
		"GET " + api + "/sessions/{sid}/output":   one(s.output),
		"GET " + api + "/sessions/{sid}/cast":     one(s.cast),
		"GET " + api + "/sessions/{sid}/raw":      one(s.raw),
		"GET " + api + "/sessions/{sid}/screen":   one(s.screen),
		"GET " + api + "/sessions/{sid}/manifest": one(s.manifest),
		"GET " + api + "/sessions/{sid}/export":   one(s.export),
		"POST " + api + "/sessions/{sid}/verify":  one(s.verify),
		"GET /login":                              http.HandlerFunc(s.loginLink),
		"/":                                       http.HandlerFunc(s.page),
	}
}

// streams are the handlers whose answers are sent as they are.
func (s *Server) streams() map[string]http.Handler {
	one := func(f sessionHandler) http.Handler { return s.session(f) }
	return map[string]http.Handler{
		"GET " + api + "/sessions/changes":         s.authorized(s.changes),
		"GET " + api + "/sessions/{sid}/live":      one(s.live),
		"GET " + api + "/sessions/{sid}/desktop":   one(s.desktop),
		"GET " + api + "/sessions/{sid}/recording": one(s.recording),
	}
}

// compressor compresses what is text.
func compressor() func(http.Handler) http.HandlerFunc {
	wrap, err := gzhttp.NewWrapper(gzhttp.ContentTypes([]string{
		"application/json", typeNDJSON, typeCast, "application/javascript", "text/javascript", "text/css", "text/html", "text/plain",
		"image/svg+xml", "application/wasm", "application/yaml",
	}), gzhttp.EnableZstd(false))
	if err != nil {
		panic(err) // the options are constant
	}
	return wrap
}

// Content types.
const (
	typeNDJSON = "application/x-ndjson"
	typeCast   = "application/x-asciicast"
	typeSSE    = "text/event-stream"
	typeBytes  = "application/octet-stream"
)

func (s *Server) openapi(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(OpenAPI)
}
