package web

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/seekindex"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// maxIndexes is how many seek indexes are kept open. Their fronts are in memory: a
// few hundred KiB of a usual one.
const maxIndexes = 32

// An index is a seek index that was opened, and which object it was.
type index struct {
	*seekindex.Index
	etag string
}

// indexes are the seek indexes that were opened last. Each use asks the store whether
// the object is the one that was opened: another program may have replaced it.
type indexes struct {
	store recording.Store

	mu    sync.Mutex
	open  map[string]*index
	order []string // the oldest first
}

// of is the index of a recording, nil if it has none that can be used.
func (x *indexes) of(ctx context.Context, sid string, rec *recording.Recording) (*index, error) {
	if x.store == nil || rec.FromBus() {
		return nil, nil
	}
	object, err := x.store.Head(ctx, x.store.Key(sid+seekindex.Suffix))
	if errors.Is(err, s3store.ErrNotFound) {
		x.forget(sid)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	have := x.open[sid]
	x.mu.Unlock()
	if have != nil && have.etag == object.ETag && have.Of(rec) {
		return have, nil
	}
	// If it is replaced between the two requests, what is opened goes by the ETag of
	// the one before, and is opened again.
	found, err := seekindex.Open(ctx, x.store, sid)
	if errors.Is(err, seekindex.ErrNotFound) || errors.Is(err, seekindex.ErrVersion) || errors.Is(err, seekindex.ErrCorrupt) {
		return nil, nil
	}
	if err != nil || !found.Of(rec) {
		return nil, err
	}
	return x.keep(sid, &index{found, object.ETag}), nil
}

func (x *indexes) keep(sid string, found *index) *index {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.open == nil {
		x.open = map[string]*index{}
	}
	if x.open[sid] == nil {
		x.order = append(x.order, sid)
	}
	x.open[sid] = found
	if len(x.order) > maxIndexes {
		delete(x.open, x.order[0])
		x.order = x.order[1:]
	}
	return found
}

// forget closes the index of a session.
func (x *indexes) forget(sid string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.open[sid] == nil {
		return
	}
	delete(x.open, sid)
	x.order = slices.DeleteFunc(x.order, func(s string) bool { return s == sid })
}

// An Indexer makes seek indexes that are missing. [seekindex.Worker] is one.
type Indexer interface {
	// Ensure opens the index of a finished session and makes it first if there is
	// none that is good.
	Ensure(ctx context.Context, sid string) (*seekindex.Index, error)
	// Mend makes an index anew that is not as its checksums say.
	Mend(ctx context.Context, sid string) error
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
	s.makeWith(sid, func(ctx context.Context) error {
		_, err := s.indexer.Ensure(ctx, sid)
		return err
	})
}

// mendIndex has an index made anew of which something that was read is no good.
func (s *Server) mendIndex(sid string, why error) {
	s.log.Warn("index is no good", "session", sid, "err", why)
	s.indexes.forget(sid)
	s.makeWith(sid, func(ctx context.Context) error { return s.indexer.Mend(ctx, sid) })
}

func (s *Server) makeWith(sid string, how func(context.Context) error) {
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
		if err := how(s.stop); err != nil && s.stop.Err() == nil {
			s.log.Warn("index is not made", "session", sid, "err", err)
		}
		s.making.mu.Lock()
		defer s.making.mu.Unlock()
		delete(s.making.sids, sid)
	})
}
