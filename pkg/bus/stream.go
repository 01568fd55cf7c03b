package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// A Stream publishes one session. It is safe for concurrent use, but the order
// of events is the caller's to keep.
//
// The first error that ends it is kept, and every later call returns it.
type Stream struct {
	p         *Publisher
	partition int
	node, sid string
	subject   string
	writer    string  // nonce of this writer
	trace     string  // of the session, as in HeaderTrace
	resumed   Message // what Resume found to be the session's last

	mu      sync.Mutex // taken before the publisher's
	next    int64      // index that comes next
	stored  int64      // every event below it is acknowledged
	last    uint64     // sequence of the session's newest message, as far as we know
	queue   []*message // oldest first; only the first is ever in flight
	bytes   int        // of records in the queue
	queued  uint64     // messages ever put into the queue, and of those acknowledged
	acked   uint64
	ending  uint64    // the number of the message that ends the session for us; 0: none
	token   uint64    // of the first message's claim; 0: none
	sent    bool      // the first message is in flight
	batch   *batch    // that it is in flight in; nil: by itself
	busy    bool      // the first message is claimed, in flight, put off or asked about
	tries   int       // of the first message
	heard   time.Time // when the bus last acknowledged something; zero: never
	timer   *time.Timer
	round   int // makes a timer that fired late harmless
	waiting error
	grants  []grant // to pass on when mu is released
	note    func() string
	changed chan struct{} // closed at the next change, if somebody waits for one
	closed  bool
	err     error
	done    chan struct{}
	then    func() // once done, on a goroutine of its own; nil: nothing
}

// A message is one message of the session, before and while it is in flight.
type message struct {
	control     Control
	to          string
	note        string
	first, next int64 // event indexes; equal for a control message
	body        []byte
	msg         *nats.Msg // nil until it is first sent; from then on it does not grow
	out         bool      // it was given to the connection, so it may be stored
	alone       bool      // not to be sent in a batch: it may be stored, or a batch with it was refused
}

func newStream(p *Publisher, node, sid string, next int64, last uint64) *Stream {
	part := Partition(sid, p.l.Partitions)
	return &Stream{
		p: p, partition: part, node: node, sid: sid, subject: EventSubject(part, node, sid), writer: nuid.Next(),
		next: next, stored: next, last: last, done: make(chan struct{}),
	}
}

func (s *Stream) errorf(format string, a ...any) error {
	return fmt.Errorf("publish session %s from event %d: "+format, append([]any{s.sid, s.stored}, a...)...)
}

// Append queues one event, which it copies. It waits while the session's queue
// is full; an error of ctx then means that the event was not taken. That it
// returns nil does not mean that the event is stored.
//
// index is the event's own and not below [Stream.Next]; else the error wraps
// [ErrIndex], as it does if the event says otherwise. An event that is over
// events.MaxOneOf wraps [ErrTooLarge], what is no event events.ErrNotOneOf. None
// of these harms the stream.
func (s *Stream) Append(ctx context.Context, oneof []byte, index int64) error {
	if len(oneof) > events.MaxOneOf {
		return fmt.Errorf("append event %d of session %s (%d bytes, limit %d): %w", index, s.sid, len(oneof), events.MaxOneOf, ErrTooLarge)
	}
	h, err := events.Scan(oneof)
	if err != nil {
		return fmt.Errorf("append event %d of session %s: %w", index, s.sid, err)
	}
	if h.Index != index {
		return fmt.Errorf("append event %d of session %s: the event says %d: %w", index, s.sid, h.Index, ErrIndex)
	}
	s.mu.Lock()
	defer s.unlock()
	if err := s.room(ctx, len(oneof)+frameSize); err != nil {
		return err
	}
	if index < s.next {
		return fmt.Errorf("append event %d of session %s, whose next is %d: %w", index, s.sid, s.next, ErrIndex)
	}
	m := s.gathering(len(oneof)+frameSize, index)
	m.grow(len(oneof)+frameSize, s.p.o.MaxMessage)
	m.body = slicefmt.AppendFrame(m.body, oneof)
	m.next = index + 1
	s.next = index + 1
	s.bytes += len(oneof) + frameSize
	s.send()
	return nil
}

const frameSize = 4

// room waits until n bytes more may be queued.
func (s *Stream) room(ctx context.Context, n int) error {
	for {
		switch {
		case s.err != nil:
			return s.err
		case s.ending != 0:
			return s.errorf("%w", ErrEnded)
		case s.bytes == 0 || s.bytes+n <= s.p.o.MaxQueue:
			return nil
		}
		if err := s.wait(ctx); err != nil {
			return fmt.Errorf("append event %d of session %s (%d bytes wait): %w", s.next, s.sid, s.bytes, err)
		}
	}
}

// gathering is the message that takes n bytes more.
func (s *Stream) gathering(n int, index int64) *message {
	if k := len(s.queue); k > 0 {
		m := s.queue[k-1]
		claimed := k == 1 && s.busy
		if !claimed && m.control == ControlNone && len(m.body)+n <= s.p.o.MaxMessage {
			return m
		}
	}
	m := &message{first: index}
	if k := len(s.queue); k > 0 { // more will follow
		m.body = getBody()
		if len(s.queue[k-1].body) >= s.p.o.MaxMessage/2 { // and as much again
			m.grow(s.p.o.MaxMessage, s.p.o.MaxMessage)
		}
	}
	s.enqueue(m)
	return m
}

// grow makes room for n bytes more in a body, of limit in the end. One that fills
// up grows fast, so that less is copied than append would; few events, as a
// hundred thousand sessions may hold while the bus is away, get little more than
// they need.
func (m *message) grow(n, limit int) {
	want, size := len(m.body)+n, cap(m.body)
	if want <= size {
		return
	}
	if size < 4<<10 {
		size *= 2
	} else {
		size = min(4*size, limit)
	}
	m.body = append(make([]byte, 0, max(want, size)), m.body...)
}

func (s *Stream) enqueue(m *message) {
	if s.note != nil {
		m.note = s.note()
	}
	s.queue = append(s.queue, m)
	s.queued++
}

// SetNote has note called for each message, control messages included, when its
// first event comes or it is made: what it returns says how things stand before
// that event, and stands in a header of the message ([Message.Note]). Whoever
// resumes the session finds it with [Publisher.ResumeWith]. note is called under the
// stream's lock and must not use the stream; the text has no line ends.
func (s *Stream) SetNote(note func() string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note = note
}

// wait releases the lock until something changes.
func (s *Stream) wait(ctx context.Context) error {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	changed := s.changed
	s.unlock()
	defer s.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Stream) change() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// unlock passes on, without the lock, the room that was made under it.
func (s *Stream) unlock() {
	gs := s.takeGrants()
	s.mu.Unlock()
	s.p.dispatch(gs)
}

func (s *Stream) takeGrants() []grant {
	gs := s.grants
	s.grants = nil
	return gs
}

// until waits for the acknowledgement of the message with number n.
func (s *Stream) until(ctx context.Context, n uint64) error {
	for s.acked < n {
		if s.err != nil {
			return s.err
		}
		if err := s.wait(ctx); err != nil {
			return s.errorf("%d messages are not acknowledged: %w", n-s.acked, err)
		}
	}
	return nil
}

// Flush returns nil when everything appended before is stored. When ctx ends
// first, nothing is lost: the stream goes on publishing.
func (s *Stream) Flush(ctx context.Context) error {
	s.mu.Lock()
	defer s.unlock()
	if err := s.until(ctx, s.queued); err != nil {
		return err
	}
	if !s.ended() {
		return s.err
	}
	return nil
}

// ended: all there was to say is stored.
func (s *Stream) ended() bool { return s.ending != 0 && s.acked >= s.ending }

// Alive says that the session is open though idle, and returns when the bus has
// that. If events wait, they say it, and Alive is Flush.
func (s *Stream) Alive(ctx context.Context) error {
	s.mu.Lock()
	defer s.unlock()
	if s.err == nil && s.ending != 0 {
		return s.errorf("%w", ErrEnded)
	}
	if s.err != nil {
		return s.err
	}
	if len(s.queue) == 0 {
		s.control(&message{control: ControlAlive})
	}
	return s.until(ctx, s.queued)
}

// End says that the session is over with the events appended so far, and
// returns when all of it is stored. Append returns [ErrEnded] from the moment
// that End is called. When ctx ends first the end is still on its way, and End
// can be called again to wait for it.
func (s *Stream) End(ctx context.Context) error {
	return s.finish(ctx, &message{control: ControlEnd})
}

// Handover names the node that goes on with the session, at [Stream.Next], and
// returns when that is stored: only then may the other node begin, with
// [Publisher.OpenAt]. In all else it is like End.
func (s *Stream) Handover(ctx context.Context, to string) error {
	if err := ValidName(to); err != nil {
		return fmt.Errorf("hand over session %s: %w", s.sid, err)
	}
	return s.finish(ctx, &message{control: ControlHandover, to: to})
}

func (s *Stream) finish(ctx context.Context, m *message) error {
	s.mu.Lock()
	defer s.unlock()
	if s.ending == 0 {
		if s.err != nil {
			return s.err
		}
		s.control(m)
		s.ending = s.queued
	}
	return s.until(ctx, s.ending)
}

func (s *Stream) control(m *message) {
	m.first, m.next = s.next, s.next
	s.enqueue(m)
	s.send()
}

// Close flushes and lets go of the session, which stays open on the bus and can
// be resumed. It lets go also if ctx ends before all is stored, and says so.
func (s *Stream) Close(ctx context.Context) error {
	s.mu.Lock()
	defer s.unlock()
	if s.closed || s.ended() {
		return nil
	}
	if s.err != nil {
		return s.err
	}
	err := s.until(ctx, s.queued)
	s.closed = true
	s.fail(s.errorf("%w", ErrClosed))
	return err
}

// Abort gives the session up: every call from now on returns err, and Done is
// closed. What was not stored may still be, if it is under way; the session stays
// open on the bus and can be resumed.
func (s *Stream) Abort(err error) {
	s.mu.Lock()
	defer s.unlock()
	s.fail(s.errorf("%w", err))
}

// Unstored calls f with each event that was appended and that the bus has not
// acknowledged, in order, and returns the note that was made before the first of
// them ([Stream.SetNote]), or would be made now if there is none. f must not keep
// the bytes nor use the stream.
func (s *Stream) Unstored(f func(index int64, oneof []byte) error) (first int64, note string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first = s.stored
	if s.note != nil {
		note = s.note()
	}
	for i, m := range s.queue {
		if i == 0 {
			first, note = m.first, m.note
		}
		for rest := m.body; len(rest) > 0; {
			var rec []byte
			if rec, rest, err = slicefmt.NextFrame(rest); err != nil {
				return first, note, err
			}
			h, err := events.Scan(rec)
			if err != nil {
				return first, note, err
			}
			if err := f(h.Index, rec); err != nil {
				return first, note, err
			}
		}
	}
	return first, note, nil
}

// Next is the index that the next event should have.
func (s *Stream) Next() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

// Stored is the index below which the bus has acknowledged every event of this
// writer.
func (s *Stream) Stored() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stored
}

// Waiting says what the stream waits for before it can go on, nil if nothing:
// room, a leader, a connection.
func (s *Stream) Waiting() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil && s.busy && !s.p.c.nc.IsConnected() {
		return errNotConnected
	}
	return s.waiting
}

// Err says why the stream cannot go on; nil while it can. After End it wraps
// [ErrEnded], after Close [ErrClosed].
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Done is closed when Err is no longer nil.
func (s *Stream) Done() <-chan struct{} { return s.done }

// AfterDone has f called, on a goroutine of its own, when Done is closed. It is
// for a caller that cannot keep a goroutine waiting for each of many streams.
func (s *Stream) AfterDone(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		go f()
		return
	}
	s.then = f
}

// fail ends the stream. What is in flight may still be stored.
func (s *Stream) fail(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	if !errors.Is(err, ErrEnded) && !errors.Is(err, ErrClosed) {
		s.p.failed.Add(1)
	}
	s.rest()
	s.queue, s.bytes, s.waiting = nil, 0, nil
	s.p.forget(s)
	close(s.done)
	if s.then != nil {
		go s.then()
	}
	s.change()
}
