package bus

import (
	"context"
	"log/slog"
	"time"
)

// PublisherOptions tune a [Publisher]. The zero value is right for most.
type PublisherOptions struct {
	Logger      *slog.Logger  // nil: discard
	MaxMessage  int           // bytes of records in a message, 64 KiB; a single record may be more
	MaxInFlight int           // bytes sent and not acknowledged, all sessions together, 8 MiB
	MaxQueue    int           // bytes of one session that wait, sent or not, 256 KiB; then Append waits
	AckTimeout  time.Duration // before a message is sent again, 5 s
}

// A Publisher publishes the events of any number of sessions over one
// connection. It is safe for concurrent use. A session that is idle costs it
// some hundred bytes and no goroutine.
type Publisher struct{}

// NewPublisher makes a publisher. It does nothing until a session is opened.
func NewPublisher(c *Conn, l Layout, o PublisherOptions) *Publisher { return &Publisher{} }

// Open begins session sid of node. Nothing is published yet; a session that
// exists already is an [ErrConflict] at the first event.
func (p *Publisher) Open(ctx context.Context, node, sid string) (*Stream, error) {
	return p.OpenAt(ctx, node, sid, 0)
}

// OpenAt is Open for the node that goes on with a session that another handed
// over to it, at event index next.
func (p *Publisher) OpenAt(ctx context.Context, node, sid string, next int64) (*Stream, error) {
	return &Stream{}, nil
}

// Resume goes on with a session of node that an earlier writer left open, and
// says which index comes next. Errors: [ErrNoSession], [ErrEnded].
func (p *Publisher) Resume(ctx context.Context, node, sid string) (*Stream, int64, error) {
	return &Stream{}, 0, nil
}

// Close lets go of all sessions, which stay open on the bus. What was not
// acknowledged may or may not be stored; flush first.
func (p *Publisher) Close() {}
