package slicer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// A session that is over is remembered for as long as its events are kept on the
// bus. What comes of it later looks like a new session, and its upload could only end
// in an alarm: the key is taken. So a session is looked up before it is opened when
// its first message is not its first event, and when that message is older than what
// is kept. The second happens where one session could not be finished for days and
// held the cursor: the next owner reads again what came after it.

// askFor is how long a session may wait for that whose first message was lost: one
// that cannot be looked up, as neither the log nor the store answers, is opened.
// Nobody waits for what is days old.
const askFor = 15 * time.Second

// firstIndex is the index of a message's first event; false if it has none.
func firstIndex(m bus.Message) (int64, bool) {
	for oneof, err := range m.Records() {
		if err != nil {
			return 0, false
		}
		if h, err := events.Scan(oneof); err == nil {
			return h.Index, true
		}
	}
	return 0, false
}

// begins says whether a message has a session's first event.
func (m *input) begins() bool {
	if m.err != nil {
		return false
	}
	first, ok := firstIndex(m.Message)
	return ok && first == 0
}

// old says whether the session's log may be gone although the message is there.
func (p *partition) old(m *input) bool {
	return p.heardAt.Sub(m.Time) > p.cfg.KeepTime
}

// A past is what is known of a session that is over: which messages it has taken.
type past struct {
	taken uint64    // those up to it
	until time.Time // or, where sequences are not known: those up to that moment of the bus's clock
	next  int64     // every event below it is recorded or known to be missing
}

// controlSlack is how much later than the last event a control message may be and
// still be taken for one that was there before the end. It says nothing new then.
const controlSlack = time.Minute

// has says whether a message was taken before the session was over; if not, it is
// late. What was refused then was kept before the end was recorded. So of messages
// that are old enough only those are late that have an event beyond the recording, or
// cannot be read: kept once more they are the same objects under the same names.
func (k past) has(m *input) bool {
	old := m.Seq <= k.taken || !m.Time.After(k.until)
	if m.Control != bus.ControlNone && m.err == nil {
		return old || !m.Time.After(k.until.Add(controlSlack))
	}
	if !old || m.err != nil {
		return false
	}
	for oneof, err := range m.Records() {
		if err != nil {
			return false
		}
		if h, err := events.Scan(oneof); err != nil || h.Index < 0 || h.Index >= k.next {
			return false
		}
	}
	return true
}

// admit has a new session looked up if it may be over. It returns false if it is known
// to be, and its message has been dealt with.
func (p *partition) admit(s *session, m *input) bool {
	old := p.old(m)
	if !old && m.begins() {
		return true
	}
	k, known := p.found.get(m.SID, p.created)
	switch {
	case !known:
		p.ask(s, old)
	case k != nil:
		p.markEnded(m.SID, *k)
		p.drop(s)
		p.afterEnd(*k, m)
		return false
	}
	return true
}

// ask looks a session up. Its messages wait meanwhile, for as long as it takes if the
// asker is patient; if they become too many reading waits as well (holdFor).
func (p *partition) ask(s *session, patient bool) {
	x := s.needIO()
	x.asking, x.patient, x.askedAt = true, patient, p.now
	sid := s.live.SID
	p.goDo(func() {
		ctx, cancel := p.ctx, context.CancelFunc(func() {})
		if !patient {
			ctx, cancel = context.WithTimeout(ctx, askFor)
		}
		defer cancel()
		var k *past
		newer := false
		err := p.keepTrying(ctx, p.smallSlots, "look a session up", func(ctx context.Context) (err error) {
			k, err = p.lookUp(ctx, sid)
			if newer = errors.Is(err, uploadlog.ErrNewer); newer {
				return nil
			}
			return err
		}, nil)
		if newer {
			err = uploadlog.ErrNewer
		}
		p.post(func() { p.answered(s, x, k, err) })
	})
}

// lookUp says what the log or the store knows of a session that is over; nil if
// neither knows it as one.
func (p *partition) lookUp(ctx context.Context, sid string) (*past, error) {
	last, err := uploadlog.ReadLast(ctx, p.deps.Conn, p.p, sid)
	switch {
	case err == nil && last.State.Ended:
		k := p.pastOf(last.State.StreamSeq, last.State.Next)
		return &k, nil
	case err == nil:
		return nil, nil
	case !errors.Is(err, uploadlog.ErrNotFound):
		return nil, err
	}
	body, err := p.deps.Store.Get(ctx, p.deps.Store.Key(sid+".manifest.json"))
	if errors.Is(err, s3store.ErrNotFound) && !errors.Is(err, s3store.ErrNoBucket) {
		return nil, p.inStore(nil)
	}
	if err != nil {
		return nil, p.inStore(err)
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, slicefmt.MaxManifest+1))
	if p.inStore(err) != nil {
		return nil, err
	}
	m, err := slicefmt.ParseManifest(data)
	if err != nil {
		p.log.Error("session has a manifest that cannot be read; what comes of it is kept as late", "session", sid, "err", err)
		return &past{}, nil
	}
	k := &past{next: m.Count}
	if n := len(m.Parts); n > 0 {
		k.until = m.Parts[n-1].LastTime
	} else {
		k.until = m.Created // it has no events
	}
	return k, nil
}

// pastOf is what the log says of a session that is over. Sequences of a stream that
// was replaced mean nothing in the new one.
func (p *partition) pastOf(taken uint64, next int64) past {
	if !p.replaced.IsZero() {
		return past{until: p.replaced, next: next}
	}
	return past{taken: taken, next: next}
}

// answered opens a session that was looked up, or keeps its messages beside the
// recording that it has already.
func (p *partition) answered(s *session, x *sessionIO, k *past, err error) {
	if x.aside && err == nil {
		p.found.keep(s.live.SID, found{k, p.created, time.Now()})
		if p.draining {
			return // whoever is next reads them
		}
		p.fail(fmt.Errorf("session %s could not be looked up, and can now: its messages are read again", s.live.SID))
		return
	}
	if p.sessions[s.live.SID] != s || s.io != x {
		return
	}
	queue := x.queue
	p.loading -= x.queuedBytes
	x.asking, x.queue, x.queuedBytes = false, nil, 0
	p.setFull(s, false)
	switch {
	case errors.Is(err, uploadlog.ErrNewer):
		p.freeze(s.live.SID, queue[0].Seq)
		p.drop(s)
		return
	case err != nil:
		p.log.Warn("session is opened though it is not known whether it was recorded before", "session", s.live.SID, "err", err)
	case k != nil:
		p.log.Info("messages came of a session that was recorded before", "session", s.live.SID, "messages", len(queue))
		p.markEnded(s.live.SID, *k)
		p.drop(s)
		for _, m := range queue {
			p.afterEnd(*k, m)
		}
		return
	}
	for _, m := range queue {
		p.take(s, m)
	}
	p.note(s)
	p.advance(s)
}

// maxAsked is the bytes of messages that wait for one session that is not opened before
// it is known. When there are more, reading waits, and for maxHeld at most: then the
// session is set aside. Others are opened after askFor, whatever waits for them.
const (
	maxAsked = 1 << 20
	maxHeld  = 2 * time.Second
)

// holdFor stops reading while a session is looked up that many messages wait for.
func (p *partition) holdFor(s *session) {
	if s.io.asking && s.io.patient && s.io.queuedBytes > maxAsked {
		p.setFull(s, true)
	}
}

// setAsideDue sets sessions aside that have held up the others for long enough: by
// themselves, or all together.
func (p *partition) setAsideDue() {
	waits := func(s *session) bool { return s.io != nil && s.io.asking && s.io.patient && len(s.io.queue) > 0 }
	asked := int64(0) // what is read back of checkpoints comes by itself
	for _, s := range p.sessions {
		if waits(s) {
			asked += s.io.queuedBytes
		}
	}
	for _, s := range p.sessions {
		if waits(s) && (s.isFull || asked > maxLoading) && p.now.Sub(s.io.askedAt) >= maxHeld {
			asked -= s.io.queuedBytes
			p.setAside(s)
		}
	}
}

// setAside forgets a session that cannot be looked up, so that it holds up no other.
// Its messages hold the cursor. Once it is known what the session is the partition is
// given up, and whoever claims it reads them again; the answer is kept for that, or a
// store that always takes longer than maxHeld would have it begin again for ever.
func (p *partition) setAside(s *session) {
	first := s.io.queue[0].Seq
	p.log.Error("session cannot be looked up; it is set aside and holds the cursor", "session", s.live.SID, "sequence", first)
	x := s.io
	x.aside = true
	p.frozen[s.live.SID] = first
	p.drop(s)
	x.queue = nil
}

// A found is the answer about a session that was set aside.
type found struct {
	past    *past // nil: it is not over
	created time.Time
	at      time.Time
}

// foundFor is how long such an answer is good for: until others that were set aside
// are known too, and all has been read again.
const foundFor = 30 * time.Minute

// A finds keeps answers for who claims the partition next.
type finds struct {
	mu sync.Mutex
	m  map[string]found
}

func (f *finds) keep(sid string, a found) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m == nil {
		f.m = map[string]found{}
	}
	maps.DeleteFunc(f.m, func(_ string, a found) bool { return time.Since(a.at) > foundFor })
	f.m[sid] = a
}

// get is the answer about a session, if there is one that is of the stream created
// then: sequences mean nothing in another. It remains, for who claims next because
// another session was set aside.
func (f *finds) get(sid string, created time.Time) (*past, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, ok := f.m[sid]
	return a.past, ok && a.created.Equal(created) && time.Since(a.at) <= foundFor
}

// afterEnd deals with a message of a session that is over.
func (p *partition) afterEnd(k past, m *input) {
	if !k.has(m) {
		p.late(nil, m, lateEnded)
	}
}

// freeze leaves a session alone whose log a newer version wrote. From its message
// first on its events hold the cursor; 0: from the first that comes.
func (p *partition) freeze(sid string, first uint64) {
	p.frozen[sid] = first
	p.log.Error("session was written by a newer version and is left alone; its events hold the cursor until that version runs here", "session", sid)
}
