package slicer

import (
	"context"
	"fmt"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A rewind reads the messages of one session again, by subject, from an earlier
// point of the stream on, while the partition's reader goes on with the others.
// It ends when it has come to the newest message that the reader skipped.
type rewind struct {
	from    uint64 // stream sequence to start from
	until   uint64 // newest message of the session known
	skipped uint64 // oldest message that the rewind must bring before the cursor may pass; 0: none
	taken   uint64 // newest message taken
	parked  bool   // waits for the session's parts to go through
	running bool
	queued  bool // in partition.waiting
	owed    bool // the reader waits for leave to go on
	credit  chan struct{}
	cancel  context.CancelFunc
}

// skip takes note of a message that the partition's reader came by.
func (r *rewind) skip(seq uint64) {
	r.until = max(r.until, seq)
	if r.skipped == 0 {
		r.skipped = seq
	}
}

// maxRewinds bounds the rewinds of a partition that read at once: each makes the
// server go through much of the stream.
const maxRewinds = 4

// restart begins a session's upload anew, because the store has forgotten it, it has
// no numbers left, or a checkpoint cannot be read. With no part committed its state still holds. With
// parts it starts over from its first event, if the bus still has that. If not,
// its parts are lost, and that is what the log then says: it is never completed as
// if it were whole.
func (p *partition) restart(s *session) {
	x := s.io
	u := s.dur.Upload
	if x.checking {
		return
	}
	if !x.damaged && (u == nil || u.Parts == 0) {
		st := s.dur
		p.log.Warn("upload is gone or has no numbers left, and no part was committed; a new one is made", "session", s.live.SID)
		p.startOver(s, st)
		return
	}
	if x.full && u.Bytes > p.cfg.uploadHolds()/10*9 {
		x.lost = "the recording needs more part numbers than an upload has; its parts are still in the store"
		p.want(s)
		return
	}
	x.checking = true
	p.starting++
	p.setTrimmable()
	sid := s.live.SID
	p.goDo(func() {
		// A step of trimming that is under way knows nothing of this.
		p.trimming.Lock()
		p.trimming.Unlock() //nolint:staticcheck // only waits
		var first uint64
		err := p.keepTrying(p.ctx, nil, "look for the session's first event", func(ctx context.Context) (err error) {
			first, err = p.findStart(ctx, sid)
			return err
		}, nil)
		if err != nil {
			return
		}
		p.post(func() {
			p.starting--
			if s.io != x {
				return
			}
			if first == 0 {
				x.lost = "the store has forgotten the upload, and the bus no longer has the session's first events"
				if x.full {
					x.lost = "the upload has no part numbers left, and the bus no longer has the session's first events; its parts are still in the store"
				}
				p.want(s)
				return
			}
			p.log.Error("upload is gone or has no numbers left; the session is recorded anew from the bus", "session", sid, "parts", partsOf(u), "full", x.full)
			st := newSession(p.p, sid).live
			st.StreamSeq, st.RewindTo = first-1, s.live.StreamSeq
			st.Upload = u
			p.startOver(s, st)
		})
	})
}

func partsOf(u *bus.UploadState) int {
	if u == nil {
		return 0
	}
	return u.Parts
}

// damaged starts a session over whose checkpoint cannot be read.
func (p *partition) damaged(s *session, queue []*input) {
	x := s.needIO()
	x.gone, x.damaged = true, true
	if n := len(queue); n > 0 {
		s.live.StreamSeq = max(s.live.StreamSeq, queue[n-1].Seq)
		if s.openFrom == 0 {
			s.openFrom = queue[0].Seq
		}
	}
	p.note(s)
	p.want(s)
}

// startOver throws away what the session has in memory and goes on from st, with a
// new upload, reading the messages after st again.
func (p *partition) startOver(s *session, st bus.SessionState) {
	p.met.restarts.Add(p.ctx, 1)
	r := &rewind{from: st.StreamSeq + 1, until: s.live.StreamSeq, skipped: s.pending()}
	if old := s.io.rew; old != nil {
		r.until = max(r.until, old.until)
	}
	p.resetTo(s, st)
	p.loading -= s.io.queuedBytes
	s.io.stop()
	p.endRewind(s)
	anew := st
	s.io = &sessionIO{anew: &anew}
	p.setRewind(s, r)
	p.prepare(s)
	p.note(s)
}

// resetTo makes the session what st says, and nothing more.
func (p *partition) resetTo(s *session, st bus.SessionState) {
	for _, c := range s.closed {
		p.kept.add(-c.cost)
	}
	p.kept.add(-s.chain.cost)
	if s.open != nil && s.open.buf != nil {
		s.open.buf.Reset()
	}
	s.open, s.closed, s.seen, s.chain = nil, nil, nil, chain{}
	s.openFrom, s.ckptFrom, s.over, s.ckpt, s.quit = 0, 0, false, false, false
	p.spared(s)
	p.setFull(s, false)
	s.live = st
	s.live.Upload, s.live.Slices = nil, nil
	if len(st.Slices) > 0 {
		s.chain.cost = st.Slices[0].BlockBytes + 1024
		p.kept.add(s.chain.cost)
		s.openFromLog(st.Slices[0])
	}
}

// lostStep says in the log that parts of the session are lost.
func (p *partition) lostStep(s *session) step {
	st := s.dur
	st.Ended, st.RewindTo = true, 0
	rec := bus.CompletedRecord{Events: st.Events, Outcome: bus.OutcomeGapped, At: p.now.UTC(), Lost: s.io.lost}
	if st.Upload != nil {
		rec.Key, rec.Bytes = st.Upload.Key, st.Upload.Bytes
	}
	return step{s, uploadlog.Record{Kind: bus.KindLost, State: st, Payload: encode(rec)}, func(uint64) {
		p.log.Error("parts of the session are lost; it will not be completed", "session", st.SID, "why", rec.Lost, "events", st.Events)
		p.met.lost.Add(p.ctx, 1)
		s.dur = st
		s.dur.StreamSeq = max(st.StreamSeq, s.live.StreamSeq)
		p.sessionOver(s)
	}}
}

// park sets a session aside whose parts the store refuses: what is not on its way
// is dropped and read again later. So it holds up nobody else; the cursor still
// waits for it.
func (p *partition) park(s *session) {
	n := 0
	for n < len(s.closed) && s.closed[n].number != 0 {
		n++
	}
	if n == len(s.closed) || n == 0 || s.busy || (s.io.rew != nil) {
		return
	}
	kept, dropped := s.closed[:n:n], s.closed[n:]
	r := &rewind{from: kept[n-1].snap.StreamSeq + 1, until: s.live.StreamSeq, parked: true}
	for _, c := range dropped {
		if r.skipped == 0 {
			r.skipped = c.from
		}
	}
	p.log.Error("store refuses the session's parts; it is set aside until they go through", "session", s.live.SID, "part", kept[0].number)
	s.closed = dropped
	p.resetTo(s, kept[n-1].snap)
	s.closed = kept
	p.setRewind(s, r)
	p.met.parked.Add(p.ctx, 1)
	p.note(s)
}

// unpark begins a rewind whose session is ready for it.
func (p *partition) unpark(s *session) {
	if s.io == nil || s.io.rew == nil || s.io.rew.running || s.io.anew != nil {
		return
	}
	r := s.io.rew
	if r.parked && len(s.closed) > 0 {
		return
	}
	if r.until < r.from {
		p.endRewind(s)
		p.note(s)
		return
	}
	if p.rewinds >= maxRewinds {
		if !r.queued {
			r.queued = true
			p.waiting = append(p.waiting, s)
		}
		return
	}
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(p.ctx)
	r.running, r.credit = true, make(chan struct{}, 1)
	p.rewinds++
	sid := s.live.SID
	p.goDo(func() { p.rewindLoop(ctx, s, sid, r) })
}

// startRewind reads a session again whose log says so.
func (p *partition) startRewind(s *session, from, until uint64) {
	p.setRewind(s, &rewind{from: from, until: until})
	p.unpark(s)
}

// setRewind has the session's messages brought by r, and by the partition's reader
// no more. The stream is not trimmed meanwhile beyond what the session needs.
func (p *partition) setRewind(s *session, r *rewind) {
	s.needIO().rew = r
	p.rewinding[s] = r
	p.setTrimmable()
}

// endRewind lets the partition's reader bring the session's messages again.
func (p *partition) endRewind(s *session) {
	r := s.io.rew
	if r == nil {
		return
	}
	s.io.rew = nil
	if r.running {
		r.cancel()
		p.rewinds--
	}
	delete(p.rewinding, s)
}

// rewindLoop brings the session's messages to the actor, one at a time. It does not
// look into s, which is the actor's.
func (p *partition) rewindLoop(ctx context.Context, s *session, sid string, r *rewind) {
	subject := fmt.Sprintf("tapedeck.events.%d.*.%s", p.p, sid)
	at := r.from
	for ctx.Err() == nil {
		err := p.consume(ctx, at, subject, func(m *input, pending uint64) bool {
			at = m.Seq + 1
			p.post(func() { p.rewound(s, r, m) })
			select {
			case <-r.credit:
				return true
			case <-ctx.Done():
				return false
			}
		}, func() { p.post(func() { p.rewindDry(s, r) }) })
		if err != nil && ctx.Err() == nil {
			p.log.Warn("reading a session again was interrupted", "session", sid, "err", err)
			pause(ctx, time.Second)
		}
	}
}

// rewound takes one message of a rewind.
func (p *partition) rewound(s *session, r *rewind, m *input) {
	if p.sessions[s.live.SID] != s || s.io == nil || s.io.rew != r {
		return
	}
	r.taken = m.Seq
	if index, ok := firstIndex(m.Message); ok && index != 0 && s.live.Next == 0 && s.live.RewindTo > 0 {
		// Somebody has trimmed it all the same: an owner that was fenced out while it
		// slept, or an operator.
		s.io.lost = "the session was to be recorded anew, and the bus has lost its first events meanwhile"
		p.want(s)
		return
	}
	p.take(s, m)
	if p.sessions[s.live.SID] != s || s.io == nil || s.io.rew != r {
		return
	}
	if r.taken >= r.until || s.over {
		p.endRewind(s)
		p.note(s)
		return
	}
	r.owed = true
	p.payRewind(s, r)
}

// payRewind lets the rewind go on if there is room.
func (p *partition) payRewind(s *session, r *rewind) {
	if r.owed && !s.isFull && !p.mem.over() && !p.draining {
		r.owed = false
		r.credit <- struct{}{}
	}
}

// rewindDry ends a rewind whose messages are no longer on the bus.
func (p *partition) rewindDry(s *session, r *rewind) {
	if p.sessions[s.live.SID] != s || s.io == nil || s.io.rew != r || r.taken >= r.until {
		return
	}
	p.log.Error("events of the session are no longer on the bus", "session", s.live.SID, "after", max(r.taken, r.from), "until", r.until)
	s.live.RewindTo = 0
	p.endRewind(s)
	p.note(s)
}
