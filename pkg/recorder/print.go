package recorder

import (
	"context"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// printState is where the session's terminal output stands.
type printState struct {
	started bool
	first   time.Time // of the first print
	delay   int64     // of the last print: milliseconds since the first
	chunk   int64     // of the next print
	offset  int64     // bytes before the next print

	tail    [utf8.UTFMax - 1]byte // the beginning of a UTF-8 sequence, not yet written
	tailLen int
}

// fill sets what depends on the prints before p, which happens at at.
func (ps *printState) fill(p *events.SessionPrint, at time.Time) {
	p.ChunkIndex, p.Offset, p.Bytes = ps.chunk, ps.offset, int64(len(p.Data))
	switch {
	case !ps.started:
		p.DelayMilliseconds = 0
	case p.DelayMilliseconds == 0:
		p.DelayMilliseconds = at.Sub(ps.first).Milliseconds()
	}
	p.DelayMilliseconds = max(p.DelayMilliseconds, ps.delay)
}

// advance goes on behind p, which was accepted.
func (ps *printState) advance(p *events.SessionPrint, at time.Time) {
	if !ps.started {
		ps.started, ps.first = true, at
	}
	ps.delay = p.DelayMilliseconds
	ps.chunk = p.ChunkIndex + 1
	ps.offset = p.Offset + int64(len(p.Data))
}

// A printMessage is a SessionPrint in its OneOf, made once for each session.
type printMessage struct {
	one   events.OneOf
	print events.SessionPrint
	md    events.Metadata
	time  timestamppb.Timestamp
}

func (m *printMessage) init() {
	kind, _ := events.KindByCase(caseOf(&m.print))
	m.md.Type, m.md.Time = kind.Type, &m.time
	m.print.Metadata = &m.md
	m.one.Event = &events.OneOf_SessionPrint{SessionPrint: &m.print}
}

// Write records terminal output. It makes prints of at most 60 KiB, and cuts
// inside a UTF-8 sequence only where it cannot be avoided: up to 3 bytes at the
// end of b that begin a sequence wait for the rest of it, which comes with the
// next Write. Flush, End and Close write them as they are.
//
// Write blocks while the bus is away and the session's queue is full. It keeps
// nothing of b. A short count comes with the error that says why.
func (s *Session) Write(b []byte) (int, error) {
	if err := s.acquire(s.ctx); err != nil {
		return 0, err
	}
	defer s.release()
	return s.write(s.ctx, b)
}

func (s *Session) write(ctx context.Context, b []byte) (int, error) {
	done := 0
	if s.print.tailLen > 0 && len(b) > 0 {
		n, err := s.writeJoined(ctx, b)
		if err != nil {
			return 0, err
		}
		done = n
	}
	for done < len(b) {
		chunk := cut(b[done:])
		if len(chunk) == 0 { // the beginning of a sequence, and no more
			s.print.tailLen = copy(s.print.tail[:], b[done:])
			return len(b), nil
		}
		if err := s.writePrint(ctx, chunk); err != nil {
			return done, err
		}
		done += len(chunk)
	}
	return done, nil
}

// writeJoined writes the tail with what b adds to it as one print, and returns
// how much of b that took.
func (s *Session) writeJoined(ctx context.Context, b []byte) (int, error) {
	ps := &s.print
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	joined := append((*buf)[:0], ps.tail[:ps.tailLen]...)
	joined = append(joined, b[:min(len(b), events.MaxPrintData-ps.tailLen)]...)
	*buf = joined
	chunk := cut(joined)
	if len(chunk) == 0 {
		ps.tailLen = copy(ps.tail[:], joined)
		return len(b), nil
	}
	if err := s.writePrint(ctx, chunk); err != nil {
		return 0, err
	}
	n := len(chunk) - ps.tailLen
	ps.tailLen = 0
	return n, nil
}

// writeTail writes the beginning of a sequence whose rest has not come.
func (s *Session) writeTail(ctx context.Context) error {
	if s.print.tailLen == 0 {
		return nil
	}
	if err := s.writePrint(ctx, s.print.tail[:s.print.tailLen]); err != nil {
		return err
	}
	s.print.tailLen = 0
	return nil
}

func (s *Session) writePrint(ctx context.Context, data []byte) error {
	if s.over {
		return s.place(&s.scratch.print)
	}
	m, at := &s.scratch, time.Now()
	wall := stamp(at)
	m.time.Seconds, m.time.Nanos = wall.Unix(), int32(wall.Nanosecond())
	m.md.Index, m.md.ClusterName = s.next, s.spec.Cluster
	m.print.Data, m.print.DelayMilliseconds = data, 0
	s.print.fill(&m.print, at)
	err := s.append(ctx, &m.one)
	if err == nil {
		s.print.advance(&m.print, at)
		s.takeNote()
	}
	m.print.Data = nil
	return err
}

// cut returns the first print of b: at most MaxPrintData bytes that do not end
// inside a UTF-8 sequence. It is empty if b is nothing but the beginning of one.
func cut(b []byte) []byte {
	b = b[:min(len(b), events.MaxPrintData)]
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if tail := b[len(b)-i:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				return b[:len(b)-i]
			}
			break
		}
	}
	return b
}
