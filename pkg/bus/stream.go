package bus

import "context"

// A Stream publishes one session. It is safe for concurrent use, but the order
// of events is the caller's to keep.
type Stream struct{}

// Append queues one event, which is copied. It waits while the session's queue
// is full. index is the event's own, and at least [Stream.Next].
func (s *Stream) Append(ctx context.Context, oneof []byte, index int64) error { return nil }

// Flush returns nil when everything appended before is stored.
func (s *Stream) Flush(ctx context.Context) error { return nil }

// Alive says that the session is open though idle, and returns when the bus has
// that.
func (s *Stream) Alive(ctx context.Context) error { return nil }

// End says that the session is over with the events appended so far, and
// returns when all of it is stored. Append returns [ErrEnded] from then on.
func (s *Stream) End(ctx context.Context) error { return nil }

// Handover names the node that goes on with the session at [Stream.Next] and
// returns when that is stored. Append returns [ErrEnded] from then on.
func (s *Stream) Handover(ctx context.Context, to string) error { return nil }

// Close flushes and lets go of the session, which stays open on the bus and can
// be resumed.
func (s *Stream) Close(ctx context.Context) error { return nil }

// Next is the index that the next event should have.
func (s *Stream) Next() int64 { return 0 }

// Waiting says what the stream waits for before it can go on, nil if nothing:
// room, a leader, a connection.
func (s *Stream) Waiting() error { return nil }

// Err says why the stream cannot go on; nil while it can.
func (s *Stream) Err() error { return nil }

// Done is closed when Err is no longer nil.
func (s *Stream) Done() <-chan struct{} { return nil }
