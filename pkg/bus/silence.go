package bus

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// surelyAbandoned is a silence that no installation lets pass when its producers
// say every ten minutes that they are there. It decides only where a producer
// may not read its upload log.
const surelyAbandoned = 24 * time.Hour

// enquire finds out whether a session that was silent for long is still open,
// and goes on with the first message, or ends the stream. Without it events would
// be stored that no recording takes: behind the end of one that was abandoned, or
// as the beginning of a second when the first is finished and forgotten.
func (s *Stream) enquire() {
	token, silent := s.token, time.Since(s.heard)
	s.round++ // no timer of before
	s.p.request(func(ctx context.Context) {
		over, err := s.isOver(ctx, silent)
		s.mu.Lock()
		defer s.unlock()
		switch {
		case s.err != nil || s.token != token:
		case over != nil:
			s.fail(s.errorf("the bus heard nothing of the session for %s: %w", silent.Round(time.Second), over))
		case err != nil:
			s.putOff(err)
		default:
			s.heard = time.Now()
			s.publish()
		}
	})
}

// isOver says why the session is over, if it is; err is why that cannot be told.
func (s *Stream) isOver(ctx context.Context, silent time.Duration) (over, err error) {
	st, err := s.p.c.sessionState(ctx, s.partition, s.sid)
	switch {
	case err == nil && st.Ended:
		return fmt.Errorf("it was abandoned meanwhile; its upload log is closed at event %d: %w", st.Next, ErrEnded), nil
	case err == nil:
		return st.mayContinue(s.node), nil
	case errors.Is(err, ErrVersion):
		return nil, nil // whoever wrote it knows what to do
	case !errors.Is(err, errNotFound) && !errors.Is(err, ErrPermission):
		return nil, err
	}
	denied := errors.Is(err, ErrPermission)
	_, _, _, err = s.p.c.last(ctx, EventStream(s.partition), s.subject)
	switch {
	case err == nil && (!denied || silent < surelyAbandoned):
		return nil, nil // not even the slicer has come to it yet, or so it must be taken
	case err != nil && !errors.Is(err, errNotFound):
		return nil, err
	case denied && silent < surelyAbandoned:
		return nil, nil
	case denied:
		return fmt.Errorf("it counts as abandoned (its upload log, which would tell, cannot be read): %w", ErrEnded), nil
	}
	return fmt.Errorf("neither its messages nor its upload log are there any more: %w", ErrEnded), nil
}
