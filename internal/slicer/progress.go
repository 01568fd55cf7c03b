package slicer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/internal/health"
)

// A progress is how far one claimed partition has come. Its actor writes it, and
// metrics and health read it.
type progress struct {
	began time.Time // of the claim
	now   atomic.Pointer[standing]
}

// A standing is one look of the actor at its partition. It is not changed.
type standing struct {
	at                 time.Time
	cursor, read, last uint64
	lagEvents          int64 // not read yet; an estimate
	lagBytes           int64 // the same
	lagSeconds         float64
	age                float64   // seconds, of the oldest event that the cursor has not passed
	halted             time.Time // since when nothing was read although there is something; zero: it is read
	reason             string    // why reading waits, if the actor makes it wait
}

// claims are the partitions that this slicer has the lease of.
type claims struct {
	mu sync.Mutex
	m  map[int]*progress
}

func (c *claims) begin(p int) *progress {
	x := &progress{began: time.Now()}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = map[int]*progress{}
	}
	c.m[p] = x
	return x
}

func (c *claims) end(p int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.m, p)
}

func (c *claims) get(p int) *progress {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m[p]
}

// each calls f for every claimed partition that has been looked at.
func (c *claims) each(f func(p int, st *standing)) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p, x := range c.m {
		if st := x.now.Load(); st != nil {
			f(p, st)
		}
	}
	return len(c.m)
}

// A tally is what the lag in events and bytes is estimated from.
type tally struct {
	messages, events int64     // taken in since the claim
	perMessage       float64   // bytes, in the stream as it was heard last
	oldest           uint64    // the first message beyond the cursor when it was asked for
	oldestAt         time.Time // its bus time
}

// stand says where the partition stands, once a second.
func (p *partition) stand() {
	if p.now.Sub(p.gaugedAt) < time.Second {
		return
	}
	p.gaugedAt = p.now
	st := &standing{at: p.now, cursor: p.cursor, read: p.read, last: max(p.lastSeq, p.read)}
	unread := float64(st.last - st.read)
	busNow := p.heardAt.Add(p.now.Sub(p.askedAt)) // not infoAt: the newest question may be open
	if unread > 0 {
		st.lagEvents = int64(unread * max(1, float64(p.tally.events)/float64(max(p.tally.messages, 1))))
		st.lagBytes = int64(unread * p.tally.perMessage)
		from := p.readAt
		if from.IsZero() {
			from = p.tally.oldestAt
		}
		if !from.IsZero() {
			st.lagSeconds = max(0, busNow.Sub(from).Seconds())
		}
		if before := p.prog.now.Load(); before != nil && before.read == st.read {
			st.halted = before.halted
			if st.halted.IsZero() {
				st.halted = before.at
			}
		}
		st.reason = p.pauseReason()
	}
	switch s := p.dirty.front; {
	case st.cursor >= st.last:
	case p.tally.oldest > p.cursor:
		st.age = max(0, busNow.Sub(p.tally.oldestAt).Seconds())
	case s != nil: // the cursor has moved since the stream was asked
		st.age = float64(p.clock()-s.dirtyAt) / 1e9
	}
	p.prog.now.Store(st)
}

// pauseReason says why the actor does not read, or "".
func (p *partition) pauseReason() string {
	switch {
	case p.draining:
		return "the slicer is being stopped"
	case p.full > 0:
		return fmt.Sprintf("%d sessions hold all that they may: they wait for their parts to be uploaded, or to be looked up", p.full)
	case p.mem.over():
		return "the memory budget is used up"
	case len(p.loose) >= maxLoose:
		return "refused messages wait to be stored"
	case p.loading > maxLoading:
		return "messages wait for checkpoints to be read back, or for sessions to be looked up"
	}
	return ""
}

// askOldest asks for the bus time of the first message beyond the cursor. That it
// cannot be had only makes a metric less exact.
func (p *partition) askOldest(ctx context.Context, cursor, last uint64) (uint64, time.Time) {
	if cursor >= last {
		return 0, time.Time{}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	m, err := p.stream.GetMsg(ctx, cursor+1, jetstream.WithGetMsgSubject(fmt.Sprintf("tapedeck.events.%d.*.*", p.p)))
	if err != nil {
		return 0, time.Time{}
	}
	return m.Sequence, m.Time
}

// Times after which something that should move counts as stuck.
const (
	stuckRead  = 30 * time.Second // messages are there and none is read
	stuckLease = 15 * time.Second // the partition falls to this slicer and is not held
	stuckActor = 20 * time.Second // the partition's goroutine has not looked up
	stuckAge   = time.Minute      // beyond Holdback, which is how long an event may wait
)

// Checks say whether work gets through, each by its own means. They are nil when
// it does, else they say what is wrong; they are quick and ask nobody.
//
//	nats    the bus is connected
//	s3      the last call to the store succeeded, or none failed lately
//	leases  every partition that falls to this slicer is held
//	cursor  where there is a lag, messages are read and the cursor follows
//
// What a restart would not mend says so: a successor would have to read everything
// again, and wait for the same store, room or session.
func (s *Slicer) Checks() health.Checks {
	return health.Checks{
		"nats":   s.deps.Conn.Connected,
		"s3":     func(context.Context) error { return health.NoRestart(s.store3.problem(time.Now())) },
		"leases": func(context.Context) error { return s.checkLeases(time.Now()) },
		"cursor": func(context.Context) error { return s.checkCursors(time.Now()) },
	}
}

func (s *Slicer) checkLeases(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for p, r := range s.own {
		if d := now.Sub(r.since); d > stuckLease && s.claims.get(p) == nil {
			errs = append(errs, fmt.Errorf("partition %d falls to this slicer and is not held (for %s)", p, d.Round(time.Second)))
		}
	}
	return health.NoRestart(errors.Join(errs...))
}

func (s *Slicer) checkCursors(now time.Time) error {
	var errs []error
	restart := false
	s.claims.each(func(p int, st *standing) {
		if mends, err := s.stuck(now, st); err != nil {
			restart = restart || mends
			errs = append(errs, fmt.Errorf("partition %d: %w", p, err))
		}
	})
	err := errors.Join(errs...)
	if restart {
		return err
	}
	return health.NoRestart(err)
}

// stuck says what stands still, and whether a restart may mend that.
func (s *Slicer) stuck(now time.Time, st *standing) (restart bool, problem error) {
	switch {
	case now.Sub(st.at) > stuckActor:
		return true, fmt.Errorf("its work has not moved for %s", now.Sub(st.at).Round(time.Second))
	case !st.halted.IsZero() && now.Sub(st.halted) > stuckRead:
		why := st.reason
		if why == "" {
			why = "none comes"
		}
		return st.reason == "", fmt.Errorf("%d messages wait and none was read for %s: %s", st.last-st.read, now.Sub(st.halted).Round(time.Second), why)
	case st.age > (s.cfg.Holdback + stuckAge).Seconds():
		return false, fmt.Errorf("its oldest event is not archived for %.0f s; holdback is %s", st.age, s.cfg.Holdback)
	}
	return false, nil
}

// problem says that the store does not answer.
func (h *storeHealth) problem(now time.Time) error {
	if !h.down(now) {
		return nil
	}
	if good := h.good.Load(); good > 0 {
		return fmt.Errorf("no call has succeeded for %s", now.Sub(time.Unix(0, good)).Round(time.Second))
	}
	return errors.New("no call has succeeded yet")
}
