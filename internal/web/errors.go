package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/web/sessions"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// A problem is an answer that says what is wrong.
type problem struct {
	status int
	code   string
	text   string
}

func (p *problem) Error() string { return p.text }

func errBad(text string) error      { return &problem{http.StatusBadRequest, "bad_request", text} }
func errNotFound(text string) error { return &problem{http.StatusNotFound, "not_found", text} }
func errNoSession(sid string) error {
	return &problem{http.StatusNotFound, "not_found", "There is no session " + sid + ", or you may not see it."}
}

// problemOf is how an error is answered. What is not foreseen is for the log: it
// may name what a viewer is not to know.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	switch {
	case errors.Is(err, recording.ErrNotFound), errors.Is(err, recording.ErrNotOnBus), errors.Is(err, s3store.ErrNotFound):
		return &problem{http.StatusNotFound, "not_found", "The recording is not there."}
	case errors.Is(err, sessions.ErrCursor):
		return &problem{http.StatusBadRequest, "bad_request", "after: " + err.Error()}
	case errors.Is(err, cast.ErrDesktop):
		return &problem{http.StatusConflict, "desktop", "This is a recording of a desktop: it has no terminal output."}
	case damaged(err):
		return &problem{http.StatusUnprocessableEntity, "damaged", "The recording is damaged: " + oneLine(err.Error())}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &problem{http.StatusServiceUnavailable, "stopped", "The request was given up."}
	}
	return &problem{http.StatusInternalServerError, "internal", "The server could not read what this needs; its log says why."}
}

// damaged says that a recording is at fault, and not the way to it.
func damaged(err error) bool {
	return errors.Is(err, slicefmt.ErrTruncated) || errors.Is(err, slicefmt.ErrCorrupt) ||
		errors.Is(err, slicefmt.ErrVersion) || errors.Is(err, slicefmt.ErrEncrypted)
}

// fail answers with an error, unless the answer has begun: then the connection is
// cut, which tells the viewer that it is not whole.
func (s *Server) fail(w http.ResponseWriter, err error) {
	p := problemOf(err)
	if p.status == http.StatusInternalServerError {
		s.log.Error("request failed", "err", err)
	}
	h := w.Header()
	for _, name := range []string{"ETag", "Content-Disposition", "Content-Length"} {
		h.Del(name)
	}
	h.Set("Cache-Control", "no-store")
	writeJSON(w, p.status, map[string]string{"error": p.text, "code": p.code})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // what we answer with can be encoded
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // a viewer that has gone is told nothing
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
