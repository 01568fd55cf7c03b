package web

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"

	"github.com/tapedeck-io/tapedeck/internal/web/sessions"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// Sessions on a page of the list.
const (
	pageLimit    = 50
	maxPageLimit = 200
)

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	p := params{q: r.URL.Query()}
	q := sessions.Query{
		State:   p.choice("state", "", "live", "ending", "finished", "lost"),
		Outcome: p.choice("outcome", "", slicefmt.OutcomeComplete, slicefmt.OutcomeAbandoned, slicefmt.OutcomeGapped),
		Kind:    p.choice("kind", "", sessions.Terminal, sessions.Exec, sessions.Desktop),
		User:    p.text("user"), Host: p.text("host"), Text: p.text("q"), From: p.time("from"), To: p.time("to"),
		After: p.text("after"), Limit: int(p.number("limit", pageLimit, maxPageLimit)), May: who(r.Context()),
	}
	if p.err != nil {
		s.fail(w, p.err)
		return
	}
	q.Limit = max(q.Limit, 1)
	page, next, err := s.index.List(r.Context(), q)
	if err != nil {
		s.fail(w, err)
		return
	}
	writeTagged(w, r, map[string]any{"sessions": page, "next": next})
}

// writeTagged answers with JSON, or says that it is what the viewer has.
func writeTagged(w http.ResponseWriter, r *http.Request, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // what we answer with can be encoded
	}
	sum := sha256.Sum256(data)
	tag := `W/"` + hex.EncodeToString(sum[:16]) + `"`
	w.Header().Set("ETag", tag)
	if matches(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(data, '\n'))
}

// A detail is what is said of one session.
type detail struct {
	sessions.Session
	Metadata slicefmt.Metadata `json:"metadata"`
	Manifest bool              `json:"manifest"`
	Indexed  bool              `json:"indexed"`
	Verify   *sessions.Verdict `json:"verify"`
}

func (s *Server) one(w http.ResponseWriter, r *http.Request, v *view) {
	d := detail{Session: v.Session, Metadata: v.Metadata}
	if v.State == "finished" {
		rec, done, err := s.read(r.Context(), v)
		if err != nil {
			s.fail(w, err)
			return
		}
		m, _ := rec.Manifest()
		index, err := s.indexes.of(r.Context(), v.Session.Session, rec)
		done()
		if err != nil {
			s.fail(w, err)
			return
		}
		d.Manifest, d.Indexed = m != nil, index != nil
		if d.Verify, err = s.index.Verdict(r.Context(), v.Session.Session, identity(m)); err != nil {
			s.fail(w, err)
			return
		}
	}
	writeTagged(w, r, d)
}

// identity tells one finished recording from another of the same name.
func identity(m *slicefmt.Manifest) string {
	if m == nil {
		return ""
	}
	return m.UploadNonce + " " + m.ETag
}
