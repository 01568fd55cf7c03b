package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tapedeck-io/tapedeck/internal/completer"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// listen hears which recordings are finished, until Close.
func (r *Runner) listen() error {
	sub, err := r.conns[0].NATS().Subscribe(bus.NotifySubject("*"), r.notified)
	if err != nil {
		return fmt.Errorf("subscribe to notifications: %w", err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return fmt.Errorf("subscribe to notifications: %w", err)
	}
	r.unlisten = func() { _ = sub.Unsubscribe() } // fails only on a closed connection
	return nil
}

func (r *Runner) notified(m *nats.Msg) {
	now := time.Now()
	var n completer.Notification
	if err := json.Unmarshal(m.Data, &n); err != nil {
		r.trouble(fmt.Errorf("read notification: %w", err))
		return
	}
	r.mu.Lock()
	s := r.sessions[n.Session]
	r.mu.Unlock()
	if s == nil {
		return // somebody else's
	}
	s.mu.Lock()
	again, ended := s.done, s.ended
	s.done = true
	s.mu.Unlock()
	if again {
		return // notifications come at least once
	}
	if n.What != completer.NotifyCompleted {
		r.trouble(fmt.Errorf("recording of session %s: %s %s", n.Session, n.What, n.Reason))
	}
	r.finished.Add(1)
	r.Finish.Add(now.Sub(ended))
}

// settle is how long a follower is given to begin: what was meant to be published
// before is not counted.
const settle = time.Second

// follow reads a session live, from before it begins.
func (r *Runner) follow(ctx context.Context, s *Session) {
	from := time.Now().Add(settle)
	conn := r.conns[len(r.conns)-1]
	r.follows.Go(func() {
		var next int64
		for m, err := range bus.Read(ctx, conn, r.layout, s.SID, bus.ReadOptions{Node: r.cfg.Node, Follow: true, StopAtEnd: true}) {
			if err != nil {
				if !errors.Is(err, context.Canceled) {
					r.trouble(fmt.Errorf("follow session %s: %w", s.SID, err))
				}
				return
			}
			now := time.Now()
			n, err := s.arrived(m, next, now, from)
			if err != nil {
				r.trouble(fmt.Errorf("follow session %s: %w", s.SID, err))
				return
			}
			next += n
			r.seen.Add(n)
		}
	})
}

// arrived counts the events of a message that a follower has got, of which next is to
// be the first.
func (s *Session) arrived(m bus.Message, next int64, now, from time.Time) (n int64, err error) {
	var latencies []time.Duration
	s.mu.Lock()
	defer s.mu.Unlock()
	for record, err := range m.Records() {
		if err != nil {
			return n, err
		}
		h, err := events.Scan(record)
		if err != nil {
			return n, err
		}
		if h.Index != next+n && s.r.cfg.Drop == nil {
			return n, fmt.Errorf("event %d came where %d was to come", h.Index, next+n)
		}
		if i := next + n; i < int64(len(s.times)) && s.times[i].After(from) {
			latencies = append(latencies, now.Sub(s.times[i]))
		}
		n++
	}
	s.r.Followed.Add(latencies...)
	return n, nil
}
