package slicer

import (
	"context"
	"errors"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// A session that is over is remembered for as long as its events are on the bus.
// What comes of it later than that looks like a new session, and its upload could
// only end in an alarm: the key is taken. So a session whose first message is not
// its first event is looked up before it is opened.

// askFor is how long a session may wait for that. One that cannot be looked up, as
// neither the log nor the store answers, is opened.
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

// ask looks a session up. Its messages wait meanwhile.
func (p *partition) ask(s *session) {
	x := s.needIO()
	x.asking = true
	sid := s.live.SID
	p.goDo(func() {
		ctx, cancel := context.WithTimeout(p.ctx, askFor)
		defer cancel()
		over := false
		err := p.keepTrying(ctx, p.smallSlots, "look a session up", func(ctx context.Context) (err error) {
			over, err = p.finished(ctx, sid)
			return err
		}, nil)
		p.post(func() { p.answered(s, x, over, err) })
	})
}

// finished says whether the log or the store knows the session as one that is over.
func (p *partition) finished(ctx context.Context, sid string) (bool, error) {
	last, err := uploadlog.ReadLast(ctx, p.deps.Conn, p.p, sid)
	switch {
	case err == nil:
		return last.State.Ended, nil
	case errors.Is(err, uploadlog.ErrNewer):
		return false, nil
	case !errors.Is(err, uploadlog.ErrNotFound):
		return false, err
	}
	_, err = p.deps.Store.Head(ctx, p.deps.Store.Key(sid+".manifest.json"))
	if errors.Is(err, s3store.ErrNotFound) {
		return false, p.inStore(nil)
	}
	return err == nil, p.inStore(err)
}

// answered opens a session that was looked up, or keeps its messages beside the
// recording that it has already.
func (p *partition) answered(s *session, x *sessionIO, over bool, err error) {
	if p.sessions[s.live.SID] != s || s.io != x {
		return
	}
	queue := x.queue
	p.loading -= x.queuedBytes
	x.asking, x.queue, x.queuedBytes = false, nil, 0
	if err != nil {
		p.log.Warn("session is opened though it is not known whether it was recorded before", "session", s.live.SID, "err", err)
	}
	if over {
		p.log.Info("messages came of a session that was recorded before", "session", s.live.SID, "messages", len(queue))
		for _, m := range queue {
			p.late(nil, m, lateEnded)
		}
		p.markEnded(s.live.SID, 0)
		p.drop(s)
		return
	}
	for _, m := range queue {
		p.take(s, m)
	}
	p.note(s)
	p.advance(s)
}
