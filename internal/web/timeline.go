package web

import (
	"errors"
	"net/http"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/seekindex"
)

func (s *Server) timeline(w http.ResponseWriter, r *http.Request, v *view) {
	rec, done, err := s.read(r.Context(), v)
	if err != nil {
		s.fail(w, err)
		return
	}
	defer done()
	if err := s.looked(r.Context(), v, lookPage); err != nil {
		s.fail(w, err)
		return
	}
	t, fresh, err := s.timelineOf(w, r, v, rec)
	if err != nil {
		s.fail(w, err)
		return
	}
	if fresh {
		writeJSON(w, http.StatusOK, t)
	}
}

// timelineOf is the timeline from the index, or else from reading the recording.
func (s *Server) timelineOf(w http.ResponseWriter, r *http.Request, v *view, rec *recording.Recording) (t seekindex.Timeline, fresh bool, err error) {
	sid := v.Session.Session
	index, err := s.indexes.of(r.Context(), sid, rec)
	if err != nil {
		return t, false, err
	}
	if index != nil {
		if index.Damaged() { // if it is not any more, the next look sees all of it
			s.makeIndex(sid)
		}
		t, fresh = index.Timeline(), s.fresh(w, r, rec, "indexed", index.etag)
	} else if fresh = s.fresh(w, r, rec); fresh {
		if !rec.FromBus() {
			s.makeIndex(sid)
		}
		if t, err = seekindex.Survey(r.Context(), rec); err != nil {
			return t, false, err
		}
	}
	if v.State == string(recording.Lost) {
		t.Problems = append(t.Problems, seekindex.Problem{TMS: t.DurationMS, Kind: "lost", Text: "Parts of the recording are lost."})
	}
	return t, fresh, nil
}

// screenAt is the screen as the API gives it.
type screenAt struct {
	TMS   int64  `json:"t_ms"`
	Index int64  `json:"index"`
	Cols  int    `json:"cols"`
	Rows  int    `json:"rows"`
	Data  string `json:"data,omitempty"`
	PNG   []byte `json:"png,omitempty"`
}

// errNoKeyframe: a player begins at the start then.
var errNoKeyframe = &problem{http.StatusNotFound, "no_keyframe", "There is no picture of the screen at or before that time: begin at the start."}

// screen sends the newest picture of the screen at or before a time.
func (s *Server) screen(w http.ResponseWriter, r *http.Request, v *view) {
	p := params{q: r.URL.Query()}
	at := p.number("at_ms", -1, maxMS)
	if p.err == nil && at < 0 {
		p.bad("at_ms: say when.")
	}
	if p.err != nil {
		s.fail(w, p.err)
		return
	}
	rec, done, err := s.read(r.Context(), v)
	if err != nil {
		s.fail(w, err)
		return
	}
	defer done()
	if err := s.looked(r.Context(), v, lookPage); err != nil {
		s.fail(w, err)
		return
	}
	index, err := s.indexes.of(r.Context(), v.Session.Session, rec)
	if err == nil && index == nil {
		err = errNoKeyframe
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	if !s.fresh(w, r, rec, index.etag) {
		return
	}
	f, err := index.Keyframe(r.Context(), at)
	if errors.Is(err, seekindex.ErrCorrupt) {
		s.mendIndex(v.Session.Session, err)
		err = errNoKeyframe
	}
	if errors.Is(err, seekindex.ErrNoKeyframe) {
		err = errNoKeyframe
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	writeJSON(w, http.StatusOK, screenAt{f.TMS, f.Index, f.Cols, f.Rows, string(f.Data), f.PNG})
}
