package bus

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ask finds out why the bus says that the session's last message is not the one
// that ours was to follow. n is the sequence it named, -1 if none.
func (s *Stream) ask(n int64) {
	if n == 0 {
		// The messages were trimmed, and with them ours if it was stored and archived
		// before we heard of it. Then it comes twice, and its indexes say so.
		s.follow(0)
		return
	}
	s.p.request(func(ctx context.Context) {
		m, err := s.lastMessage(ctx, uint64(max(n, 0)))
		s.mu.Lock()
		defer s.unlock()
		if s.err == nil {
			s.resolve(m, err)
		}
	})
}

// maxAsking requests of a publisher are under way at a time: after an outage
// every session may have something to ask.
const maxAsking = 64

// request runs f, which makes requests, on a goroutine of its own.
func (p *Publisher) request(f func(ctx context.Context)) {
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		p.asking <- struct{}{}
		defer func() { <-p.asking }()
		f(p.ctx)
	}()
}

// follow sends the same message again, to follow the one with sequence seq.
func (s *Stream) follow(seq uint64) {
	s.last = seq
	s.expect(s.queue[0].msg)
	s.tries++
	s.doubt()
	s.claim()
}

// errLags: a replica does not have what the leader has.
var errLags = errors.New("a replica lags behind")

// lastMessage reads the session's last message, which is at least atLeast.
func (s *Stream) lastMessage(ctx context.Context, atLeast uint64) (Message, error) {
	for wait := 5 * time.Millisecond; ; wait *= 2 {
		msg, seq, at, err := s.p.c.last(ctx, EventStream(s.partition), s.subject)
		if err == nil && seq >= atLeast {
			m, err := decode(s.subject, msg.Header, msg.Data, seq, at)
			if errors.Is(err, ErrPayload) || errors.Is(err, ErrVersion) {
				err = nil // whose it is can be told
			}
			return m, err
		}
		if err != nil && !errors.Is(err, errNotFound) {
			return Message{}, err
		}
		if wait > time.Second {
			return Message{}, fmt.Errorf("last message of %s is %d, the stream says %d: %w", s.subject, seq, atLeast, errLags)
		}
		select {
		case <-ctx.Done():
			return Message{}, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// resolve decides by the subject's last message what became of ours.
func (s *Stream) resolve(m Message, err error) {
	switch {
	case errors.Is(err, ErrPermission):
		s.fail(s.errorf("a publish was refused, and why: %w", err))
	case err != nil:
		// The same message again: the server says anew how things stand.
		s.putOff(err)
	case m.Seq == s.last:
		s.putOff(fmt.Errorf("message %d is the last and was refused as such", m.Seq))
	case m.Seq < s.last:
		// What was last is gone, and ours is not stored after it.
		s.follow(m.Seq)
	case m.Writer == s.writer && s.queue[0].is(m):
		// Stored the first time; its acknowledgement was lost.
		s.advance(m.Seq)
	case m.Writer == "":
		s.fail(s.errorf("message %d is from a client without a writer's name: %w", m.Seq, ErrConflict))
	default:
		s.fail(s.errorf("message %d is from writer %s: %w", m.Seq, m.Writer, ErrConflict))
	}
}

// is says whether m is this message as the bus has it.
func (q *message) is(m Message) bool {
	if q.control != ControlNone {
		return m.Control == q.control && m.Count == q.next
	}
	return m.Control == ControlNone && m.First == q.first
}
