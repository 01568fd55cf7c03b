package web

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/seekindex"
)

// maxIndexes is how many seek indexes are kept open. Their fronts are in memory: a
// few hundred KiB of a usual one.
const maxIndexes = 32

// indexes are the seek indexes that were opened last.
type indexes struct {
	store seekindex.Store

	mu    sync.Mutex
	open  map[string]*seekindex.Index
	order []string // the oldest first
}

// of is the index of a recording, nil if it has none that can be used.
func (x *indexes) of(ctx context.Context, sid string, rec *recording.Recording) (*seekindex.Index, error) {
	if x.store == nil || rec.FromBus() {
		return nil, nil
	}
	x.mu.Lock()
	have := x.open[sid]
	x.mu.Unlock()
	if have != nil && have.Of(rec.Size()) {
		return have, nil
	}
	found, err := seekindex.Open(ctx, x.store, sid)
	switch {
	case errors.Is(err, seekindex.ErrNotFound), errors.Is(err, seekindex.ErrVersion), errors.Is(err, seekindex.ErrCorrupt):
		return nil, nil
	case err != nil:
		return nil, err
	case !found.Of(rec.Size()):
		return nil, nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.open == nil {
		x.open = map[string]*seekindex.Index{}
	}
	if x.open[sid] == nil {
		x.order = append(x.order, sid)
	}
	x.open[sid] = found
	if len(x.order) > maxIndexes {
		delete(x.open, x.order[0])
		x.order = x.order[1:]
	}
	return found, nil
}

// An Indexer makes seek indexes that are missing. [seekindex.Worker] is one.
type Indexer interface {
	// Ensure opens the index of a finished session and makes it first if there is
	// none.
	Ensure(ctx context.Context, sid string) (*seekindex.Index, error)
}

// maxMaking is how many recordings may wait for their index.
const maxMaking = 100

// making are the indexes that are being made because somebody looked.
type making struct {
	mu   sync.Mutex
	sids map[string]bool
	done sync.WaitGroup
}

// makeIndex has the index of a recording made for whoever looks next. Nobody waits
// for it.
func (s *Server) makeIndex(sid string) {
	if s.indexer == nil {
		return
	}
	s.making.mu.Lock()
	defer s.making.mu.Unlock()
	if s.making.sids == nil {
		s.making.sids = map[string]bool{}
	}
	if s.making.sids[sid] || len(s.making.sids) >= maxMaking || s.stop.Err() != nil {
		return
	}
	s.making.sids[sid] = true
	s.making.done.Go(func() {
		if _, err := s.indexer.Ensure(s.stop, sid); err != nil && s.stop.Err() == nil {
			s.log.Warn("index is not made", "session", sid, "err", err)
		}
		s.making.mu.Lock()
		defer s.making.mu.Unlock()
		delete(s.making.sids, sid)
	})
}

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
	m, _ := rec.Manifest()
	if index != nil {
		t, fresh = index.Timeline(), s.fresh(w, r, m, "indexed")
	} else if fresh = s.fresh(w, r, m); fresh {
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
	m, _ := rec.Manifest()
	if err != nil || !s.fresh(w, r, m) {
		if err != nil {
			s.fail(w, err)
		}
		return
	}
	f, err := index.Keyframe(r.Context(), at)
	if errors.Is(err, seekindex.ErrNoKeyframe) {
		err = errNoKeyframe
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	writeJSON(w, http.StatusOK, screenAt{f.TMS, f.Index, f.Cols, f.Rows, string(f.Data), f.PNG})
}
