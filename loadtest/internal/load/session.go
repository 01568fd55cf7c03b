package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tapedeck-io/tapedeck/loadtest/internal/mix"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// aliveEvery is how often a session without events says that it lives.
const aliveEvery = 5 * time.Minute

// A place holds one session at a time. When it is over the next takes its place.
type place struct {
	r     *Runner
	n     int
	kind  mix.Kind
	every time.Duration // between events; 0: as fast as it goes
}

func (p *place) run(ctx, follow context.Context) {
	at := p.r.begun.Add(time.Duration(float64(p.r.cfg.Ramp) * float64(p.n) / float64(p.r.cfg.Sessions)))
	at = at.Add(phase(p.r.cfg.Seed, p.n, min(p.every, time.Second)))
	for p.sleep(ctx, nil, at) {
		s, err := p.r.begin(ctx, follow, p, at)
		if err != nil {
			p.r.trouble(err)
			return
		}
		at, err = p.session(ctx, s, at)
		if err != nil {
			p.r.trouble(fmt.Errorf("session %s: %w", s.SID, err))
			return
		}
		if p.r.over() {
			return
		}
	}
}

// session publishes one session and returns when the next is to begin.
func (p *place) session(ctx context.Context, s *Session, at time.Time) (time.Time, error) {
	defer p.r.open.Add(-1)
	begun := at
	var b []byte
	first := at
	for index := int64(0); ; index++ {
		if p.kind.Events > 0 && index > p.kind.Events || p.r.cfg.Length > 0 && at.Sub(begun) >= p.r.cfg.Length {
			break
		}
		// The first event comes at its phase, so that sessions that begin together do
		// not all publish together for ever.
		if index == 1 && p.every > 0 {
			first = at.Add(phase(p.r.cfg.Seed^s.ID, p.n, p.every))
		}
		if index > 0 && p.every > 0 {
			at = first.Add(time.Duration(index-1) * p.every)
		}
		if !p.sleep(ctx, s, at) || !p.r.take() {
			break
		}
		var err error
		if b, err = s.script.Next(b[:0]); err != nil {
			return at, err
		}
		if p.every == 0 {
			at = time.Now()
		}
		if err := s.append(ctx, b, at); err != nil {
			return at, err
		}
	}
	if p.r.over() && rand.Float64() >= p.r.cfg.End { // which of them does not matter
		return at, s.stream.Flush(ctx)
	}
	if p.r.over() && p.r.cfg.EndOver > 0 {
		if err := p.linger(ctx); err != nil {
			return at, err
		}
	}
	return at.Add(p.every), s.finish(ctx, b)
}

// linger waits for the place's turn to end its session after the test.
func (p *place) linger(ctx context.Context) error {
	timer := time.NewTimer(time.Duration(float64(p.r.cfg.EndOver) * float64(p.n) / float64(p.r.cfg.Sessions)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sleep waits for a moment; false if nothing more is to be published.
func (p *place) sleep(ctx context.Context, s *Session, at time.Time) bool {
	for {
		d := time.Until(at)
		if d <= 0 {
			return !p.r.over()
		}
		timer := time.NewTimer(min(d, aliveEvery))
		select {
		case <-p.r.stop:
			timer.Stop()
			return false
		case <-timer.C:
		}
		if d > aliveEvery && s != nil {
			if err := s.stream.Alive(ctx); err != nil {
				p.r.trouble(fmt.Errorf("session %s: %w", s.SID, err))
			}
		}
	}
}

// A Session is one session as it was published.
type Session struct {
	ID    uint64
	SID   string
	Kind  mix.Kind
	Start time.Time

	r      *Runner
	script *mix.Script
	stream *bus.Stream
	index  int64

	mu      sync.Mutex
	waiting []sent // not acknowledged, in their order
	asking  bool   // somebody waits for the bus
	failed  bool
	times   []time.Time // of all events, if it is followed
	count   int64       // events of the session, its end included; set when it has ended
	ended   time.Time
	done    bool
}

type sent struct {
	index int64
	at    time.Time
	bytes int
}

func (r *Runner) begin(ctx, follow context.Context, p *place, at time.Time) (*Session, error) {
	id := r.ids.Add(1) - 1
	sid := r.name(id)
	s := &Session{ID: id, SID: sid, Kind: p.kind, Start: at, r: r}
	s.script = s.Script()
	if p.kind.Every < time.Second && r.followed.Load() < int64(r.cfg.Follow) && r.followed.Add(1) <= int64(r.cfg.Follow) {
		s.times = []time.Time{}
		r.follow(follow, s)
	}
	pub := r.pubs[int(id)%len(r.pubs)]
	var err error
	if s.stream, err = pub.Open(ctx, r.cfg.Node, sid); err != nil {
		return nil, err
	}
	r.open.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions[sid] = s
	r.list = append(r.list, s)
	return s, nil
}

// Script makes the session's events again.
func (s *Session) Script() *mix.Script {
	return mix.NewScript(s.Kind, s.r.cfg.Seed, s.ID, s.SID, s.r.cfg.Node, s.Start)
}

// append publishes the next event, which was meant for at.
func (s *Session) append(ctx context.Context, b []byte, at time.Time) error {
	index := s.index
	s.index++
	if s.r.cfg.Drop != nil && s.r.cfg.Drop(s.ID, index) {
		return nil
	}
	s.note(at)
	if err := s.stream.Append(ctx, b, index); err != nil {
		return err
	}
	s.r.published.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, sent{index, at, len(b)})
	if !s.asking && !s.failed {
		s.asking = true
		go s.ask(ctx)
	}
	return nil
}

func (s *Session) note(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.times != nil {
		s.times = append(s.times, at)
	}
}

// ask waits for acknowledgements until none is awaited. A Flush ends with the
// message that was gathering when it began, so what it acknowledges is counted as
// soon as it is there, or, when a session publishes more than one message at a time,
// a little later: never too early.
func (s *Session) ask(ctx context.Context) {
	var latencies []time.Duration
	for {
		err := s.stream.Flush(ctx)
		now, stored := time.Now(), s.stream.Stored()
		s.mu.Lock()
		n, bytes := 0, 0
		latencies = latencies[:0]
		for n < len(s.waiting) && s.waiting[n].index < stored {
			latencies = append(latencies, now.Sub(s.waiting[n].at))
			bytes += s.waiting[n].bytes
			n++
		}
		s.waiting = s.waiting[:copy(s.waiting, s.waiting[n:])]
		s.asking = len(s.waiting) > 0 && err == nil
		s.failed = s.failed || err != nil
		again := s.asking
		s.mu.Unlock()
		s.r.Ack.Add(latencies...)
		s.r.acked.Add(int64(n))
		s.r.ackedBytes.Add(int64(bytes))
		if !again {
			return
		}
	}
}

// finish ends the session.
func (s *Session) finish(ctx context.Context, b []byte) error {
	b, err := s.script.End(b[:0])
	if err != nil {
		return err
	}
	now := time.Now()
	if err := s.append(ctx, b, now); err != nil {
		return err
	}
	s.mu.Lock()
	s.count, s.ended = s.index, now
	s.mu.Unlock()
	s.r.ended.Add(1)
	return s.stream.End(ctx)
}

// Events is how many events the session has, and whether it was ended.
func (s *Session) Events() (int64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count, !s.ended.IsZero()
}
