package recorder

import (
	"context"
	"errors"
	"time"
)

// aliveChecks is how many times per Options.Alive the shared timer looks. A
// session that has been silent for all but one of them says that it is alive,
// so that no silence is longer than Options.Alive.
const aliveChecks = 4

// keepAlive is what the shared timer runs: every session that is silent says
// that it is there. It waits for nothing.
func (r *Recorder) keepAlive() {
	limit := time.Now().Add(-r.opts.Alive / aliveChecks * (aliveChecks - 1))
	r.mu.Lock()
	var silent []*Session
	for _, s := range r.sessions {
		if s.last.Load() <= limit.UnixNano() {
			silent = append(silent, s)
		}
	}
	r.mu.Unlock()
	for _, s := range silent {
		s.sayAlive()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer != nil {
		r.timer.Reset(r.opts.Alive / aliveChecks)
	}
}

// queueOnly is done: what is called with it queues and does not wait.
var queueOnly = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// sayAlive queues the message; while the bus is away there is one at most. It
// also writes a tail that has waited all this time: whatever that is, it is no
// UTF-8 sequence under way.
func (s *Session) sayAlive() {
	select {
	case <-s.turn:
	default:
		return // somebody is saying something
	}
	defer s.release()
	if s.ctx.Err() != nil || s.ended.Load() {
		return
	}
	err := s.writeTail(queueOnly)
	if err == nil {
		err = s.out.Alive(queueOnly)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		s.r.log.Warn("keep session alive", "session", s.id, "err", err)
		return
	}
	s.touch()
}
