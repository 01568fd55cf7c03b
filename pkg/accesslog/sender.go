package accesslog

import (
	"context"
	"math/rand/v2"
	"time"
)

// width is how many messages are on their way at once, each of another resource.
const width = 16

const (
	firstWait = 100 * time.Millisecond
	longWait  = 5 * time.Second
)

// A sender takes messages out of the spool and to the bus. It runs on one
// goroutine, and has one for each message while it is with the publisher.
type sender struct {
	t       *Tracker
	pub     Publisher
	number  int64
	under   int        // messages with the publisher
	waiting []*message // to be tried again
	results chan result
}

type result struct {
	m   *message
	err error
}

// run returns when ctx is done, or when the tracker is stopped and all is sent.
func (s *sender) run(ctx context.Context) {
	defer func() {
		for ; s.under > 0; s.under-- {
			s.settle(<-s.results)
		}
	}()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		for m := s.next(); m != nil; m = s.next() {
			s.under++
			s.t.attempts.Add(1)
			go func() { s.results <- result{m, s.try(ctx, m)} }()
		}
		if s.t.drained() {
			return
		}
		timer.Reset(s.pause())
		select {
		case r := <-s.results:
			s.under--
			s.settle(r)
		case <-s.t.more:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *sender) try(ctx context.Context, m *message) error {
	ctx, cancel := context.WithTimeout(ctx, s.t.cfg.AckTimeout)
	defer cancel()
	return s.pub.Publish(ctx, m.Message)
}

// next is the message to send now, nil if there is none.
func (s *sender) next() *message {
	for i, m := range s.waiting {
		if !time.Now().Before(m.at) {
			s.waiting = append(s.waiting[:i], s.waiting[i+1:]...)
			return m
		}
	}
	if s.under+len(s.waiting) >= width {
		return nil
	}
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	m := s.t.spool.take()
	if m != nil {
		m.Writer, m.Number, m.Dropped = s.t.writer, s.number, s.t.spool.dropped
		s.number++
	}
	return m
}

// pause is the time to the next try.
func (s *sender) pause() time.Duration {
	d := time.Hour
	for _, m := range s.waiting {
		d = min(d, time.Until(m.at))
	}
	return max(d, 0)
}

func (s *sender) settle(r result) {
	s.t.metrics.sent(r.err)
	if r.err == nil {
		s.t.stored(r.m)
		return
	}
	d := min(firstWait<<min(r.m.tries, 10), longWait)
	if r.m.tries++; r.m.tries == 3 {
		s.t.log.Warn("access records wait: the bus does not take them", "resource", r.m.Resource, "records", len(r.m.entries), "err", r.err)
	} else {
		s.t.log.Debug("access records put off", "resource", r.m.Resource, "try", r.m.tries, "err", r.err)
	}
	r.m.at = time.Now().Add(d/2 + rand.N(d/2))
	s.waiting = append(s.waiting, r.m)
}
