package slicer

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// roomEvery is how often the upload log's stream is asked how full it is.
const roomEvery = time.Second

// roomFor is the percentage of the upload log's stream up to which checkpoints are
// written. The rest is for the records without which no session can end, and none
// of what checkpoints hold can ever be given back.
const roomFor = 80

// A room is how full the upload log's stream is.
type room struct {
	limit   atomic.Int64 // bytes; 0: not known, or no limit
	used    atomic.Int64 // as it was heard last
	written atomic.Int64 // by this slicer since
	short   atomic.Bool
}

// add takes note of a checkpoint that was written.
func (r *room) add(n int64) { r.written.Add(n) }

// none says whether there is no room for more checkpoints.
func (r *room) none() bool {
	limit := r.limit.Load()
	return limit > 0 && r.used.Load()+r.written.Load() > limit/100*roomFor
}

// closeEarly closes slices that S3 takes as parts, though they should grow on, where
// there is no room for checkpoints and no memory to read what would end sessions. The
// largest in memory go first, and not more than can be on their way, since a part
// takes what it has in the log into memory as well. An upload that has used half of
// its numbers keeps the others for parts of full size.
func (p *partition) closeEarly() {
	if !p.mem.over() || !p.room.none() || p.now.Sub(p.closedAt) < roomEvery {
		return
	}
	p.closedAt = p.now
	n := p.cfg.Uploads
	var large []*session
	for _, s := range p.sessions {
		switch o := s.open; {
		case len(s.closed) > 0 && s.closed[0].failing.IsZero():
			n--
		case len(s.closed) == 0 && !s.over && o != nil && o.buf != nil && o.buf.BlockBytes() >= slicefmt.MinPartSize &&
			newBase(s.dur.Upload) <= maxPartNumber/2:
			large = append(large, s)
		}
	}
	slices.SortFunc(large, func(a, b *session) int { return cmp.Compare(b.held, a.held) })
	for _, s := range large[:min(max(n, 0), len(large))] {
		s.closeSlice(nil)
		p.note(s)
		p.advance(s)
	}
}

// watchRoom asks again and again until ctx is done.
func (s *Slicer) watchRoom(ctx context.Context) {
	for ctx.Err() == nil {
		if err := s.askRoom(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("upload log does not say how full it is", "err", err)
		}
		pause(ctx, roomEvery)
	}
}

func (s *Slicer) askRoom(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	before := s.room.written.Load()
	st, err := s.deps.Conn.JetStream().Stream(ctx, bus.StreamUploads)
	if err != nil {
		return fmt.Errorf("ask for the state of stream %s: %w", bus.StreamUploads, err)
	}
	info := st.CachedInfo()
	s.room.limit.Store(max(info.Config.MaxBytes, 0))
	s.room.used.Store(int64(min(info.State.Bytes, 1<<62)))
	// What was written while it was asked may be counted twice for a second.
	s.room.written.Add(-before)
	if none := s.room.none(); s.room.short.Swap(none) != none {
		if none {
			s.log.Error("upload log has no room for more checkpoints; open sessions stay in memory, and when that is full reading stops, for good if no slice is large enough for a part; give it more room (uploads-max-bytes)",
				"bytes", info.State.Bytes, "room", info.Config.MaxBytes)
		} else {
			s.log.Info("upload log has room for checkpoints again", "bytes", info.State.Bytes, "room", info.Config.MaxBytes)
		}
	}
	return nil
}
