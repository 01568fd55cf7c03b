package slicer

import (
	"context"
	"fmt"
	"slices"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// maxCheckpoint bounds the bytes of one checkpoint record; what is more goes into
// several.
const maxCheckpoint = uploadlog.MaxCheckpointData - slicefmt.BlockSize - 4096

// wantCheckpoint asks for a checkpoint of s, if one can be made: not while closed
// slices wait, because a checkpoint belongs to the slice after the last part.
func (p *partition) wantCheckpoint(s *session, letgo bool) bool {
	if s.openFrom == 0 || len(s.closed) > 0 || s.over || p.tooManyCheckpoints() {
		return false
	}
	s.ckpt, s.letgo = true, letgo
	p.cold.toBack(s)
	p.want(s)
	return true
}

// tooManyCheckpoints says whether the backlog is being copied from one stream into
// another for want of S3, or the log has no room for more. It is safe where it is;
// the memory budget then stops the reading.
func (p *partition) tooManyCheckpoints() bool {
	return p.room.none() || p.kept.over() && p.store3.down(p.now)
}

// checkpointStep makes the next record of a checkpoint. Blocks that one record
// cannot hold go first, in records that repeat the state before: a crash between
// them leaves bytes that no state counts. The last record has the tail and the
// state, and with it the set is valid.
func (p *partition) checkpointStep(s *session) (step, bool) {
	o := s.open
	if s.letGo() || o == nil || o.meta.Records == s.chain.records {
		return p.statusStep(s), true
	}
	rec := bus.CheckpointRecord{First: o.meta.First, Offset: s.chain.bytes, Prev: s.chain.blocks}
	blocks := o.buf.Blocks(s.chain.bytes)
	if limit := p.checkpointLimit(); len(blocks) > limit {
		return p.blocksStep(s, rec, blocks[:limit])
	}
	s.ckpt = false
	tail := slicefmt.CompressTail(nil, o.buf.Tail())
	payload, err := uploadlog.EncodeCheckpoint(rec, blocks, tail)
	if err != nil {
		p.fail(fmt.Errorf("session %s: %w", s.live.SID, err))
		return step{}, false
	}
	st := s.live
	st.Upload = s.dur.Upload
	slice := o.state()
	slice.Seq = 0
	st.Slices = []bus.SliceState{slice}
	s.ckptFrom, s.openFrom = s.openFrom, 0
	return step{s, uploadlog.Record{Kind: bus.KindCheckpoint, State: st, Payload: payload}, func(seq uint64) {
		st.Slices = slices.Clone(st.Slices)
		st.Slices[0].Seq = seq
		s.dur, s.ckptFrom = st, 0
		p.checkpointed(s, o, seq, len(blocks), len(payload), true)
		if s.open == o {
			s.chain.records = slice.Records
		}
		p.ease(s)
	}}, true
}

// statusStep is a checkpoint of a state whose slice is in the log already as it is.
func (p *partition) statusStep(s *session) step {
	s.ckpt = false
	st := s.live
	st.Upload = s.dur.Upload
	st.Slices = s.dur.Slices
	payload, _ := uploadlog.EncodeCheckpoint(bus.CheckpointRecord{First: -1}, nil, nil)
	s.ckptFrom, s.openFrom = s.openFrom, 0
	return step{s, uploadlog.Record{Kind: bus.KindCheckpoint, State: st, Payload: payload}, func(seq uint64) {
		s.dur, s.ckptFrom = st, 0
		c := &s.chain.lone
		if len(s.closed) > 0 {
			c = &s.closed[0].lone
		}
		p.forget(nil, *c)
		*c = seq
		p.ease(s)
	}}
}

// blocksStep stores blocks ahead of the record that makes them count.
func (p *partition) blocksStep(s *session, rec bus.CheckpointRecord, blocks []byte) (step, bool) {
	payload, err := uploadlog.EncodeCheckpoint(rec, blocks, nil)
	if err != nil {
		p.fail(fmt.Errorf("session %s: %w", s.live.SID, err))
		return step{}, false
	}
	o, n := s.open, len(blocks)
	return step{s, uploadlog.Record{Kind: bus.KindCheckpoint, State: s.dur, Payload: payload}, func(seq uint64) {
		p.checkpointed(s, o, seq, n, len(payload), false)
		s.ckpt = s.ckpt || s.open == o
	}}, true
}

// checkpointed takes note of a record with bytes of slice o, which may have been
// closed while the record was under way.
func (p *partition) checkpointed(s *session, o *openSlice, seq uint64, blocks, size int, last bool) {
	p.met.checkpoints.Add(p.ctx, 1)
	p.met.checkpointBytes.Add(p.ctx, int64(size))
	p.room.add(int64(size))
	p.kept.add(int64(size))
	if s.open != o {
		for _, c := range s.closed {
			if c.was == o {
				c.old = append(c.old, seq)
				c.cost += int64(size)
				return
			}
		}
		p.kept.add(-int64(size))
		p.forget(nil, seq)
		return
	}
	c := &s.chain
	c.cost += int64(size)
	c.all = append(c.all, seq)
	if blocks > 0 {
		c.blocks = seq
		c.bytes += int64(blocks)
	}
	if !last {
		return
	}
	// What carried the tail or the state before is superseded; blocks are not.
	if c.tailOnly {
		p.forget(nil, c.newest)
		c.all = slices.DeleteFunc(c.all, func(x uint64) bool { return x == c.newest })
	}
	p.forget(nil, c.lone)
	c.lone, c.newest, c.tailOnly = 0, seq, blocks == 0
}

// ease gives memory back after a checkpoint: blocks always, since a slice keeps
// growing, and all of it if the session is to be let go.
func (p *partition) ease(s *session) {
	if s.letgo && p.letGo(s) {
		return
	}
	if o := s.open; o != nil && o.buf != nil && o.buf.BlockBytes() == s.chain.bytes && s.chain.newest != 0 {
		// Nothing was compressed since the record was made.
		o.buf.Drop()
		o.dropped = s.chain.bytes
	}
	p.note(s)
}

// letGo takes a session that the log has whole out of memory; false if it cannot.
func (p *partition) letGo(s *session) bool {
	if s.pending() != 0 || (s.io != nil && (s.io.loading || s.io.rew != nil)) {
		return false
	}
	s.seen = nil
	if o := s.open; o != nil && o.buf != nil {
		if o.meta.Records != s.chain.records || s.chain.newest == 0 {
			return false
		}
		o.dropped = s.chain.bytes
		o.buf.Reset()
		o.buf = nil
	}
	p.note(s)
	p.met.letgo.Add(p.ctx, 1)
	return true
}

// relieve lets the coldest sessions go while memory is near its budget.
func (p *partition) relieve() {
	for range 64 {
		if !p.mem.near(p.evict) {
			return
		}
		if s := p.cold.front; s != nil {
			if p.letGo(s) {
				continue
			}
			p.cold.out(s)
		}
		s := p.hot.front
		if s == nil {
			return
		}
		held := s.held
		if !p.wantCheckpoint(s, true) {
			return
		}
		s.evict = held
		p.evict += held
	}
}

// load reads the open slice of a session back that was let go. Meanwhile the
// session's messages wait.
func (p *partition) load(s *session) {
	x := s.needIO()
	x.loading = true
	// The sizes are those of the checkpoint, which s.open.meta does not keep.
	o, seq, size := s.open, s.chain.newest, s.dur.Slices[0]
	p.goDo(func() {
		buf, rec, err := p.readOpen(seq, size)
		p.post(func() { p.loaded(s, o, seq, buf, rec, err) })
	})
}

// readOpen restores a slice from its newest checkpoint record.
func (p *partition) readOpen(seq uint64, st bus.SliceState) (*slicefmt.Slice, bus.CheckpointRecord, error) {
	var rec bus.CheckpointRecord
	var tail []byte
	err := p.keepTrying(p.ctx, nil, "read checkpoint", func(ctx context.Context) (err error) {
		rec, _, tail, err = p.owner.ReadCheckpoint(ctx, seq)
		return err
	}, nil)
	if err != nil {
		return nil, rec, err
	}
	if rec.First != st.First {
		return nil, rec, fmt.Errorf("read checkpoint %d: it is of slice %d, not %d", seq, rec.First, st.First)
	}
	raw, err := slicefmt.ExpandTail(tail, slicefmt.BlockSize+slicefmt.MaxRecord)
	if err != nil {
		return nil, rec, fmt.Errorf("read checkpoint %d: %w", seq, err)
	}
	buf, err := slicefmt.Restore(slicefmt.State{Records: st.Records, RawBytes: st.RawBytes, BlockBytes: st.BlockBytes, CRC: st.CRC}, raw)
	if err != nil {
		return nil, rec, fmt.Errorf("read checkpoint %d: %w", seq, err)
	}
	return buf, rec, nil
}

// loaded goes on with a session whose slice was read back.
func (p *partition) loaded(s *session, o *openSlice, seq uint64, buf *slicefmt.Slice, rec bus.CheckpointRecord, err error) {
	if p.sessions[s.live.SID] != s || s.open != o || o.buf != nil {
		return
	}
	x := s.io
	x.loading = false
	queue := x.queue
	p.loading -= x.queuedBytes
	x.queue, x.queuedBytes = nil, 0
	if err != nil {
		p.log.Error("checkpoint cannot be used", "session", s.live.SID, "err", err)
		p.damaged(s, queue)
		return
	}
	o.buf = buf
	s.chain.blocks, s.chain.tailOnly = rec.Prev, true
	if rec.Blocks > 0 {
		s.chain.blocks, s.chain.tailOnly = seq, false
	}
	if len(s.chain.all) == 0 {
		s.chain.all = append(s.chain.all, seq)
	}
	for _, m := range queue {
		p.take(s, m)
	}
	if s.quit && !s.over {
		p.abandon(s)
	}
	p.note(s)
	p.advance(s)
}

// enqueue keeps a message until its session's slice is read back.
func (p *partition) enqueue(s *session, m *input) {
	x := s.needIO()
	x.queue = append(x.queue, m)
	x.queuedBytes += m.size()
	p.loading += m.size()
	s.quit = false
	s.active = p.clock()
	p.note(s)
}

// readChain reads back the first n bytes of a slice's blocks, and which records
// they were in.
func (p *partition) readChain(ctx context.Context, seq uint64, n int64) ([]byte, []uint64, error) {
	out := make([]byte, n)
	var seqs []uint64
	for at := int64(-1); seq != 0; {
		rec, blocks, _, err := p.owner.ReadCheckpoint(ctx, seq)
		if err != nil {
			return nil, nil, err
		}
		end := rec.Offset + int64(len(blocks))
		if rec.Offset < 0 || (at >= 0 && end != at) || (at < 0 && end < n) {
			return nil, nil, fmt.Errorf("checkpoint %d has bytes %d to %d, not up to %d of %d: %w", seq, rec.Offset, end, at, n, errChain)
		}
		if rec.Offset < n {
			copy(out[rec.Offset:], blocks)
		}
		seqs = append(seqs, seq)
		at, seq = rec.Offset, rec.Prev
		if at == 0 {
			return out, seqs, nil
		}
		if seq >= seqs[len(seqs)-1] {
			break
		}
	}
	return nil, nil, fmt.Errorf("checkpoints end before byte 0 of %d: %w", n, errChain)
}

// checkpointLimit is how many bytes of blocks fit into one record.
func (p *partition) checkpointLimit() int {
	limit := maxCheckpoint
	if n := p.deps.Conn.NATS().MaxPayload(); n > 0 {
		limit = min(limit, int(n)-2*slicefmt.BlockSize)
	}
	return max(limit, slicefmt.BlockSize)
}
