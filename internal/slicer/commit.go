package slicer

import (
	"errors"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A chain is the checkpoints of the open slice, as they lie in the log.
type chain struct {
	newest  uint64 // the record that has the tail; 0: the slice was never checkpointed
	blocks  uint64 // the newest record that has blocks; 0: none, or not known before newest was read
	bytes   int64  // of blocks in the chain
	records int64  // of the slice, as of newest
	// tailOnly says that newest has no blocks, so that the next replaces it.
	tailOnly bool
	lone     uint64   // a record that carries a newer state and no bytes, to be forgotten with the next
	all      []uint64 // records to be forgotten with the part
	cost     int64    // bytes counted against the checkpoint budget
}

// A step is one record on its way into the log, and what to do when it is there.
type step struct {
	s   *session
	rec uploadlog.Record
	ack func(seq uint64)
}

// Limits of one batch: well within what the server takes.
const (
	maxBatch      = 256
	maxBatchBytes = 4 << 20
)

// want has the partition look whether a record of s is ready.
func (p *partition) want(s *session) {
	if !s.queued && !s.busy {
		s.queued = true
		p.ready = append(p.ready, s)
	}
}

// pump begins the next Append if none is under way: all records that are ready,
// of different sessions, as one atomic batch. One at a time, because on a
// replicated stream two writes under one fence make the second fail.
func (p *partition) pump() {
	if p.writing || p.releasing || p.ctx.Err() != nil || p.now.Before(p.notYet) {
		return
	}
	limit := maxBatch
	if p.single {
		limit = 1
	}
	var steps []step
	size, n := 0, 0
	for ; n < len(p.ready) && len(steps) < limit && size < maxBatchBytes; n++ {
		s := p.ready[n]
		s.queued = false
		if s.busy {
			continue
		}
		if st, ok := p.next(s); ok {
			s.busy = true
			size += len(st.rec.Payload) + 1024
			steps = append(steps, st)
		}
	}
	p.ready = append(p.ready[:0], p.ready[n:]...)
	recs := make([]uploadlog.Record, 0, len(steps)+1)
	for i := range steps {
		recs = append(recs, steps[i].rec)
	}
	cursor, move := p.cursorDue()
	move = move && (!p.single || len(recs) == 0)
	if move {
		recs = append(recs, uploadlog.Record{Cursor: &cursor})
	}
	if len(recs) == 0 {
		return
	}
	p.writing = true
	p.goDo(func() {
		began := time.Now()
		seqs, err := p.owner.Append(p.ctx, recs...)
		p.met.commits.Record(p.ctx, time.Since(began).Seconds())
		p.post(func() {
			p.writing = false
			if err != nil {
				p.refused(steps, err)
				return
			}
			p.single, p.ownedAt = false, p.now
			for i, st := range steps {
				st.s.busy = false
				st.ack(seqs[i])
				p.after(st.s)
			}
			if move {
				p.cursorMoved(cursor, seqs[len(seqs)-1])
			}
		})
	})
}

// refused deals with a batch that was not stored. A crash here, or anywhere before
// the acknowledgement, leaves what the log said before: the next owner reads the
// messages again from there.
func (p *partition) refused(steps []step, err error) {
	if errors.Is(err, uploadlog.ErrFenced) || errors.Is(err, uploadlog.ErrUnknown) {
		p.fail(err)
		return
	}
	p.log.Error("upload log refused records; trying again", "records", len(steps), "err", err)
	p.met.refusals.Add(p.ctx, 1)
	p.single = true
	p.notYet = p.now.Add(500 * time.Millisecond)
	for _, st := range steps {
		st.s.busy = false
		p.undo(st)
		p.want(st.s)
	}
}

// undo takes back what making a step changed.
func (p *partition) undo(st step) {
	s := st.s
	if st.rec.Kind != bus.KindCheckpoint {
		return
	}
	s.ckpt = true
	switch {
	case s.ckptFrom == 0:
	case len(s.closed) > 0:
		// The slice was closed meanwhile: its commit makes them durable.
		s.closed[0].from = s.ckptFrom
	default:
		s.openFrom = s.ckptFrom
	}
	s.ckptFrom = 0
}

// after looks what a session needs once its record is acknowledged.
func (p *partition) after(s *session) {
	if p.sessions[s.live.SID] != s {
		return
	}
	p.spared(s)
	p.note(s)
	p.advance(s)
	p.unpark(s)
	if p.draining && s.openFrom != 0 {
		s.ckpt = true
	}
	p.want(s)
}

// next is the record that the session is ready for, by this order: what its upload
// needs, its parts in order, a checkpoint.
func (p *partition) next(s *session) (step, bool) {
	if p.sessions[s.live.SID] != s {
		return step{}, false
	}
	x := s.io
	if x != nil && x.lost != "" {
		return p.lostStep(s), true
	}
	if x != nil && x.gone {
		p.restart(s)
		return step{}, false
	}
	if x != nil && x.id != "" && p.nextBase(s) > maxPartNumber {
		p.outOfNumbers(s)
		return step{}, false
	}
	if x != nil && x.id != "" {
		return p.baseStep(s), true
	}
	if s.lates > 0 {
		// The state says how many messages are under .late, so they go first.
		return step{}, false
	}
	if len(s.closed) > 0 {
		c := s.closed[0]
		if c.stored || (c.end != nil && !c.records()) {
			return p.partStep(s, c), true
		}
		return step{}, false
	}
	if s.ckpt && s.openFrom != 0 && !s.over && (x == nil || !x.loading) && !p.room.none() {
		return p.checkpointStep(s)
	}
	s.ckpt = false
	p.spared(s)
	return step{}, false
}

// spared ends the wait for a session's memory, whatever became of it.
func (p *partition) spared(s *session) {
	if !s.ckpt {
		p.evict -= s.evict
		s.letgo, s.evict = false, 0
	}
}

// baseStep is the record that must be acknowledged before this owner's first
// upload of a session. A crash before it leaves an upload that nobody knows and
// that holds nothing; after it, numbers that stay unused.
func (p *partition) baseStep(s *session) step {
	x := s.io
	st := s.dur
	if x.anew != nil {
		st = *x.anew
	}
	if st.Node == "" {
		st.Node, st.Opened, st.Trace = s.live.Node, s.live.Opened, s.live.Trace
	}
	u := bus.UploadState{ID: x.id, Key: x.key, Nonce: x.nonce, Base: p.nextBase(s)}
	u.Limit = p.cfg.uploadsFrom(u.Base)
	if old := s.dur.Upload; old != nil && old.ID == x.id {
		u.Highest, u.Parts, u.Bytes = old.Highest, old.Parts, old.Bytes
	}
	st.Upload = &u
	return step{s, uploadlog.Record{Kind: bus.KindBase, State: st}, func(uint64) {
		x.id, x.base, x.next = "", true, u.Base
		first := s.dur.Upload == nil
		s.dur = st
		p.status(s, first)
		x.anew = nil
		if u.Base > maxPartNumber/2 {
			p.log.Warn("session runs out of part numbers; each owner that uploads a part of it skips some; when none are left it is recorded anew, if the bus still has its first event",
				"session", st.SID, "number", u.Base, "of", maxPartNumber)
		}
	}}
}

// nextBase is the first number that the session's next base record may allow. No
// other upload's parts can be taken for those of a new one.
func (p *partition) nextBase(s *session) int {
	if u := s.dur.Upload; u != nil && u.ID != s.io.id {
		return 1
	}
	return newBase(s.dur.Upload)
}

// outOfNumbers begins a session's recording anew whose upload has no number left
// for its next part.
func (p *partition) outOfNumbers(s *session) {
	s.io.gone, s.io.full, s.io.id = true, true, ""
	p.setFull(s, false)
	p.want(s)
}

// newBase is the first number that a new owner of an upload may use, beyond all
// that any earlier owner may still have on its way.
func newBase(u *bus.UploadState) int {
	if u == nil {
		return 1
	}
	return max(u.Highest, u.Base-1) + u.Limit + 1
}

// partStep commits the oldest closed slice: its part, or with it the end of the
// session. A crash before it leaves a part that no record lists; nothing that was
// uploaded later is committed before.
func (p *partition) partStep(s *session, c *closedSlice) step {
	st := c.snap
	st.Slices = nil
	if s.dur.Upload != nil {
		u := *s.dur.Upload
		if c.records() {
			u.Highest, u.Parts, u.Bytes = c.number, u.Parts+1, u.Bytes+c.sum.Bytes
		}
		st.Upload = &u
	}
	kind := bus.KindPart
	var payload any
	if c.records() {
		payload = c.record()
	}
	if c.end != nil {
		kind = bus.KindEnded
		end := *c.end
		if c.records() {
			end.Part = c.record()
		}
		payload = end
	}
	began := p.now
	return step{s, uploadlog.Record{Kind: kind, State: st, Payload: encode(payload)}, func(seq uint64) {
		p.committed(p.ctx, st, kind, seq, began)
		s.dur = st
		s.closed = s.closed[1:]
		p.forget(c.old, c.lone)
		p.kept.add(-c.cost)
		if c.records() {
			p.met.bytes.Add(p.ctx, c.sum.Bytes)
			s.io.flight--
			p.status(s, false)
		}
		if c.end != nil {
			p.sessionOver(s)
		}
	}}
}

// sessionOver lets go of a session whose end is in the log.
func (p *partition) sessionOver(s *session) {
	p.log.InfoContext(s.traced(p.ctx), "session's end is committed", "session", s.live.SID, "events", s.dur.Events)
	p.met.ended.Add(p.ctx, 1)
	p.markEnded(s.live.SID, past{taken: s.dur.StreamSeq, next: s.dur.Next})
	p.drop(s)
}

// drop forgets a session.
func (p *partition) drop(s *session) {
	for _, c := range s.closed {
		p.kept.add(-c.cost)
	}
	s.openFrom, s.ckptFrom, s.closed = 0, 0, nil
	if s.io != nil {
		p.endRewind(s)
		p.loading -= s.io.queuedBytes
		s.io.stop()
		s.io = nil
	}
	if s.open != nil && s.open.buf != nil {
		s.open.buf.Reset()
	}
	s.open, s.seen, s.ckpt = nil, nil, false
	p.spared(s)
	p.setFull(s, false)
	p.kept.add(-s.chain.cost)
	p.account(s)
	p.hold(s)
	p.cold.out(s)
	p.seen.out(s)
	p.dirty.out(s)
	delete(p.sessions, s.live.SID)
	p.met.sessions.Add(p.ctx, -1)
}

// forget deletes records that newer ones have superseded.
func (p *partition) forget(seqs []uint64, more ...uint64) {
	for _, seq := range more {
		if seq != 0 {
			seqs = append(seqs, seq)
		}
	}
	if len(seqs) > 0 {
		p.owner.Forget(p.ctx, seqs...)
	}
}

// cursorDue is the cursor to write now, if it is time to.
func (p *partition) cursorDue() (bus.Cursor, bool) {
	d := p.durable()
	if (d <= p.cursor && p.hasCursor) || (p.now.Sub(p.cursorAt) < p.cfg.CursorEvery && !p.draining) {
		return bus.Cursor{}, false
	}
	return bus.Cursor{Seq: d, Created: p.created, At: p.now.UTC()}, true
}

func (p *partition) cursorMoved(c bus.Cursor, seq uint64) {
	p.cursor, p.cursorAt, p.hasCursor = max(p.cursor, c.Seq), p.now, true
	p.owner.NoteCursor(p.ctx, seq)
	p.setTrimmable()
}

var _ journal = (*uploadlog.Owner)(nil)
