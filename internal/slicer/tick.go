package slicer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
)

// A mark is a moment of the bus's clock and the stream's last sequence then. Once
// everything up to seq is taken in, whoever was silent at that moment was silent.
type mark struct {
	at  time.Time
	seq uint64
	set bool
}

// tickEvery is how often what depends on time is looked at.
func (p *partition) tickEvery() time.Duration {
	return min(100*time.Millisecond, p.cfg.IdleCheckpoint/2+time.Millisecond, p.cfg.CursorEvery/2+time.Millisecond)
}

// tick does what time has made due. What it costs depends on how much that is, not
// on how many sessions there are.
func (p *partition) tick() {
	now := p.clock()
	for s := p.hot.front; s != nil && now-s.active >= int64(p.cfg.IdleCheckpoint); s = p.hot.front {
		if !p.wantCheckpoint(s, false) {
			p.hot.out(s)
			s.active = now
			p.hot.toBack(s)
			break
		}
	}
	for range p.dirty.n {
		s := p.dirty.front
		if s == nil || now-s.dirtyAt < int64(p.cfg.Holdback) {
			break
		}
		p.wantCheckpoint(s, false)
		s.dirtyAt = now
		p.dirty.toBack(s)
	}
	for s, r := range p.rewinding {
		p.payRewind(s, r)
	}
	for len(p.waiting) > 0 && p.rewinds < maxRewinds {
		s := p.waiting[0]
		p.waiting = p.waiting[1:]
		if s.io != nil && s.io.rew != nil {
			s.io.rew.queued = false
		}
		p.unpark(s)
	}
	if p.full > 0 {
		p.parkFailing()
	}
	if p.full > 0 || p.loading > maxLoading {
		p.setAsideDue()
	}
	p.closeEarly()
	p.forgetEnded()
	p.abandonDue()
	p.askInfo()
	p.askOwner()
	p.setTrimmable()
	p.stand()
	if p.draining {
		p.drained()
	}
}

// parkFailing sets sessions aside that hold up the others because their parts fail.
func (p *partition) parkFailing() {
	for _, s := range p.sessions {
		if s.isFull && len(s.closed) > 0 && !s.closed[0].failing.IsZero() && p.now.Sub(s.closed[0].failing) >= p.cfg.ParkAfter {
			p.park(s)
		}
	}
}

// infoEvery is how often the stream is asked for its end and the bus's time.
func (p *partition) infoEvery() time.Duration {
	return min(max(min(p.cfg.AbandonAfter, p.cfg.AbandonEnd)/10, 100*time.Millisecond), 5*time.Second)
}

// askInfo asks for the stream's state now and then.
func (p *partition) askInfo() {
	if p.infoAsked || p.now.Sub(p.infoAt) < p.infoEvery() {
		return
	}
	p.infoAsked, p.infoAt = true, p.now
	read, cursor := p.read, p.cursor
	p.goDo(func() {
		info, err := p.streamInfo(p.ctx)
		var oldest uint64
		var oldestAt time.Time
		if err == nil {
			oldest, oldestAt = p.askOldest(p.ctx, cursor, info.State.LastSeq)
		}
		p.post(func() {
			p.infoAsked = false
			if err != nil {
				p.log.Warn("stream does not answer", "err", err)
				return
			}
			p.tally.oldest, p.tally.oldestAt = oldest, oldestAt
			p.tally.perMessage = float64(info.State.Bytes) / float64(max(info.State.Msgs, 1))
			p.heard(info, read)
		})
	})
}

// ownerEvery is how often an owner that writes nothing asks whether it still is one.
const ownerEvery = 5 * time.Second

// askOwner has an owner that was fenced out notice it although it has nothing to
// write. Otherwise it would hold the memory of its sessions until it had.
func (p *partition) askOwner() {
	if p.checking || p.writing || p.releasing || p.now.Sub(p.ownedAt) < ownerEvery {
		return
	}
	p.checking = true
	p.goDo(func() {
		ctx, cancel := context.WithTimeout(p.ctx, ownerEvery)
		defer cancel()
		err := p.owner.Check(ctx)
		p.post(func() {
			p.checking, p.ownedAt = false, p.now
			if errors.Is(err, uploadlog.ErrFenced) && !p.releasing {
				p.fail(err)
			}
		})
	})
}

// shortAnswers is how many answers in a row must say that the stream ends before
// what was read of it, until that is believed: a new leader may have to catch up.
const shortAnswers = 5

// maxSilence is how long the stream may not answer before the bus counts as having
// been away.
const maxSilence = 10 * time.Second

// heard takes note of the stream's state; read is what had been read when it was
// asked for. A stream that was replaced while it was being read is found out here.
func (p *partition) heard(info *jetstream.StreamInfo, read uint64) {
	if err := sameStream(info, p.created, read); err != nil {
		p.short++
		if p.short >= shortAnswers || !info.Created.UTC().Equal(p.created) {
			p.fail(err)
		}
		return
	}
	p.short = 0
	p.lastSeq = info.State.LastSeq
	if info.TimeStamp.Sub(p.heardAt) > 4*p.infoEvery()+maxSilence {
		p.since = info.TimeStamp
	}
	p.heardAt, p.askedAt = info.TimeStamp, p.infoAt
	if !p.mark.set {
		p.mark = mark{at: info.TimeStamp, seq: info.State.LastSeq, set: true}
	}
	p.abandonDue()
}

// abandonDue abandons the sessions that were silent for too long at the mark, once
// everything that was in the stream at that moment has been taken in: a backlog is
// not silence.
func (p *partition) abandonDue() {
	if !p.mark.set || p.read < p.mark.seq || p.draining {
		return
	}
	p.mark.set = false
	p.abandonSilent(&p.seen, p.cfg.AbandonAfter)
	p.abandonSilent(&p.ending, p.cfg.AbandonEnd)
}

// listened says whether the bus has been heard for long enough that silence for d
// can be the producers': while it was away, or nobody was here, they could not be
// heard, and they need a while to come back.
func (p *partition) listened(d time.Duration) bool {
	return p.mark.at.Sub(p.since) >= d/listenPart
}

// listenPart is the part of the abandon time for which the bus must have been
// heard: with the defaults 15 min, in which a producer says that it is alive.
const listenPart = 4

func (p *partition) abandonSilent(l *list, after time.Duration) {
	if !p.listened(after) {
		return
	}
	before := p.mark.at.Add(-after)
	for range l.n {
		s := l.front
		if s == nil || s.live.Seen.After(before) {
			return
		}
		l.out(s)
		switch {
		case s.io != nil && s.io.rew != nil, s.io != nil && len(s.io.queue) > 0, s.live.Seen.IsZero():
			// It is being read again: not silent, only behind.
			l.toBack(s)
		case s.letGo():
			s.quit = true
			if !s.needIO().loading {
				p.load(s)
			}
		default:
			p.abandon(s)
		}
	}
}

// abandon ends a session whose producer has fallen silent.
func (p *partition) abandon(s *session) {
	p.log.WarnContext(s.traced(p.ctx), "session abandoned: nothing came of it for too long", "session", s.live.SID, "node", s.live.Node, "seen", s.live.Seen, "events", s.live.Events)
	p.met.abandoned.Add(p.ctx, 1)
	s.finish(s.live.Seen, true)
	p.note(s)
	p.advance(s)
}

// forgetEnded forgets sessions whose events are long gone from the stream.
func (p *partition) forgetEnded() {
	for len(p.endedLog) > 0 && p.now.Sub(p.endedLog[0].at) > p.cfg.KeepTime+time.Hour {
		delete(p.ended, p.endedLog[0].sid)
		p.endedLog = p.endedLog[1:]
	}
}

// drain begins a graceful stop: nothing more is read, what is on its way is
// finished, the rest is checkpointed, and the lease is freed.
func (p *partition) drain() {
	p.draining, p.drainUntil = true, p.now.Add(p.cfg.DrainTimeout)
	p.drained()
}

// drained releases the partition when nothing is left to do or the time is up.
// What is not durable by then, the next owner reads again.
func (p *partition) drained() {
	for _, s := range p.holds {
		if !s.ckpt {
			p.wantCheckpoint(s, false)
		}
	}
	if p.releasing || p.writing {
		return
	}
	_, move := p.cursorDue()
	idle := len(p.holds) == 0 && len(p.loose) == 0 && len(p.ready) == 0 && !move
	if !idle && p.now.Before(p.drainUntil) {
		return
	}
	p.releasing = true
	p.goDo(p.release)
}

// setTrimmable says how far the stream may be trimmed: to the cursor, but not what
// a session has still to be read again from, and nothing while the first event of
// one is being looked for.
func (p *partition) setTrimmable() {
	t := p.cursor
	for s := range p.rewinding {
		// Until its new upload is in the log, only live says where it begins.
		t = min(t, s.dur.StreamSeq, s.live.StreamSeq)
	}
	if p.starting > 0 {
		t = 0
	}
	p.trimmable.Store(t)
}

// release lets the partition go, within what is left of the time to stop.
func (p *partition) release() {
	ctx, cancel := context.WithTimeout(p.ctx, max(time.Until(p.drainUntil), 2*time.Second))
	defer cancel()
	if err := p.owner.Release(ctx); err != nil && !errors.Is(err, uploadlog.ErrFenced) {
		p.cancel(fmt.Errorf("release: %w", err)) // work tries once more (giveBack)
	}
	p.cancel(errReleased)
}
