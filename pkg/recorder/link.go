package recorder

import (
	"context"
	"fmt"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A link is the way to the bus.
type link struct {
	conn   *bus.Conn
	layout bus.Layout
	pub    *bus.Publisher
	own    bool // the connection is ours to close
}

func (r *Recorder) newLink(conn *bus.Conn, layout bus.Layout, own bool) *link {
	return &link{conn: conn, layout: layout, own: own, pub: bus.NewPublisher(conn, layout, bus.PublisherOptions{Logger: r.opts.Logger, Meter: r.opts.Meter})}
}

func (l *link) close() {
	l.pub.Close()
	if l.own {
		l.conn.Close()
	}
}

// A Connect reaches the bus and reads its layout, or says why it cannot by the
// time that ctx is done.
type Connect func(ctx context.Context) (*bus.Conn, bus.Layout, error)

// Open makes a Recorder that connects by itself, and closes its connection. With
// PolicySpool the bus may be away: if it cannot be reached within Options.Patience
// the recorder works all the same, and connects when that can be done. What time
// cannot mend (bus.Away says no) is an error with any policy.
func Open(ctx context.Context, connect Connect, opts Options) (*Recorder, error) {
	r, err := newRecorder(opts)
	if err != nil {
		return nil, err
	}
	r.connect = connect
	soon, cancel := ctx, context.CancelFunc(func() {})
	if r.opts.Policy == PolicySpool {
		soon, cancel = context.WithTimeout(ctx, r.opts.Patience)
	}
	defer cancel()
	conn, layout, err := connect(soon)
	switch {
	case err == nil:
		r.link.Store(r.newLink(conn, layout, true))
	case r.opts.Policy != PolicySpool || !bus.Away(err) || ctx.Err() != nil:
		_ = r.Close(ctx) // there is nothing to lose
		return nil, err
	default:
		r.log.Warn("the bus is away; sessions are spooled", "spool", r.opts.Spool.Path(), "err", err)
	}
	return r, nil
}

// connectEvery is between two tries to reach a bus that is away.
const connectEvery = time.Second

// reach waits until there is a link. One of those who wait makes it.
func (r *Recorder) reach(ctx context.Context) (*link, error) {
	if l := r.link.Load(); l != nil {
		return l, nil
	}
	select {
	case r.dialing <- struct{}{}:
		defer func() { <-r.dialing }()
	case <-ctx.Done():
		return nil, fmt.Errorf("reach the bus: %w", context.Cause(ctx))
	}
	for {
		if l := r.link.Load(); l != nil {
			return l, nil
		}
		conn, layout, err := r.connect(ctx)
		if err == nil {
			r.arrive(r.newLink(conn, layout, true))
			continue
		}
		if !bus.Away(err) && ctx.Err() == nil {
			return nil, fmt.Errorf("reach the bus: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("reach the bus: %w (last try: %w)", context.Cause(ctx), err)
		case <-time.After(connectEvery):
		}
	}
}

// arrive: the bus is there. The sessions that began without it hear from it.
func (r *Recorder) arrive(l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sessions {
		if err := r.watch(l, s); err != nil {
			r.log.Warn("watch status", "session", s.id, "err", err)
		}
	}
	r.link.Store(l)
	r.log.Info("the bus is there")
}
