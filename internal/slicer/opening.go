package slicer

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// A session that is over is remembered for as long as its events are kept on the
// bus. What comes of it later than that looks like a new session, and its upload
// could only end in an alarm: the key is taken. So a session is looked up before it
// is opened if its first message is not its first event, or is older than that: one
// session that could not be finished for days holds the cursor, and the next owner
// reads again what came after, of sessions whose logs are gone.

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

// A past is what is known of a session that is over: which messages were taken.
type past struct {
	taken uint64 // those up to it
	// Where the log is gone, or the stream is another than it speaks of: those that
	// came until then and have no event from next on.
	until time.Time
	next  int64
}

// has says whether a message was taken before the session was over. Otherwise it is
// late. One that was refused then, and not kept before its slicer died, and of which
// nobody knew until the session's log was gone, is taken for an event of the
// recording; whoever owned the partition in those days has kept it.
func (k past) has(m *input) bool {
	if m.Seq <= k.taken {
		return true
	}
	if m.err != nil || m.Time.After(k.until) {
		return false
	}
	if m.Control != bus.ControlNone {
		return true
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

// ask looks a session up. Its messages wait meanwhile, for as long as it takes if the
// asker is patient.
func (p *partition) ask(s *session, patient bool) {
	x := s.needIO()
	x.asking = true
	sid := s.live.SID
	p.goDo(func() {
		ctx, cancel := p.ctx, context.CancelFunc(func() {})
		if !patient {
			ctx, cancel = context.WithTimeout(ctx, askFor)
		}
		defer cancel()
		var k *past
		err := p.keepTrying(ctx, p.smallSlots, "look a session up", func(ctx context.Context) (err error) {
			k, err = p.lookUp(ctx, sid)
			return err
		}, nil)
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
	if errors.Is(err, s3store.ErrNotFound) {
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
	return &past{until: m.Created, next: m.Count}, nil
}

// pastOf is what the log says of a session that is over. Sequences of a stream that
// was replaced mean nothing in the new one.
func (p *partition) pastOf(taken uint64, next int64) past {
	if p.fresh {
		return past{until: p.since, next: next}
	}
	return past{taken: taken}
}

// answered opens a session that was looked up, or keeps its messages beside the
// recording that it has already.
func (p *partition) answered(s *session, x *sessionIO, k *past, err error) {
	if p.sessions[s.live.SID] != s || s.io != x {
		return
	}
	queue := x.queue
	p.loading -= x.queuedBytes
	x.asking, x.queue, x.queuedBytes = false, nil, 0
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
