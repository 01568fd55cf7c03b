package accessproxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

var errConnecting = errors.New("connecting")

// connectWait is the least time between two tries to connect.
const connectWait = time.Second

// A latePublisher connects when there is something to publish. One message at a
// time tries; the others are told that there is no bus.
type latePublisher struct {
	connect func(ctx context.Context) (*bus.Conn, error)
	log     *slog.Logger

	mu     sync.Mutex
	conn   *bus.Conn
	pub    accesslog.Publisher
	busy   bool
	next   time.Time
	reason error
}

// Publish does what [accesslog.Publisher] says.
func (l *latePublisher) Publish(ctx context.Context, m accesslog.Message) error {
	pub, err := l.publisher(ctx)
	if err != nil {
		return err
	}
	return pub.Publish(ctx, m)
}

func (l *latePublisher) publisher(ctx context.Context) (accesslog.Publisher, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pub != nil {
		return l.pub, nil
	}
	if l.busy || time.Now().Before(l.next) {
		return nil, fmt.Errorf("%w: %w", accesslog.ErrNotConnected, l.reason)
	}
	l.busy, l.reason = true, errConnecting
	l.mu.Unlock()
	conn, err := l.connect(ctx)
	l.mu.Lock()
	l.busy, l.next = false, time.Now().Add(connectWait)
	if err != nil {
		l.reason = err
		l.log.Debug("no bus yet", "err", err)
		return nil, fmt.Errorf("%w: %w", accesslog.ErrNotConnected, err)
	}
	l.conn, l.pub = conn, accesslog.NewPublisher(conn)
	return l.pub, nil
}

func (l *latePublisher) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		l.conn.Close()
	}
}
