package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/health"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// stuckAfter is how long the bus may take none of a session's events before that is a
// problem: a server that is started again takes less.
const stuckAfter = 30 * time.Second

// A way is the producer's way to the bus, as health asks for it. The zero value leads
// nowhere yet. Its methods may be called from several goroutines.
type way struct {
	mu    sync.Mutex
	conn  *bus.Conn // nil: not yet
	since time.Time // when a look first found that sessions wait; zero: none does
}

func (w *way) found(conn *bus.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn = conn
}

// checks say whether what is recorded gets to the bus.
//
//	nats    the bus is connected
//	events  it acknowledges what sessions publish
//
// Neither is for a restart to mend, which would end what is being recorded. Events that
// go to a spool meanwhile are safe, but nobody else can see them: the checks fail all
// the same.
func (w *way) checks() health.Checks {
	return health.Checks{
		"nats":   func(ctx context.Context) error { return health.NoRestart(w.connected(ctx)) },
		"events": func(context.Context) error { return health.NoRestart(w.acknowledged()) },
	}
}

func (w *way) connected(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn == nil {
		return errors.New("not connected yet")
	}
	return w.conn.Connected(ctx)
}

func (w *way) acknowledged() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn == nil {
		return nil // nothing was published
	}
	return w.looked(w.conn.Waiting())
}

// looked takes note of how many sessions wait. mu is held.
func (w *way) looked(waiting int64) error {
	switch {
	case waiting == 0:
		w.since = time.Time{}
	case w.since.IsZero():
		w.since = time.Now()
	case time.Since(w.since) > stuckAfter:
		return fmt.Errorf("for %s there have been sessions (%d now) that wait for the bus to take events: it is away, has no leader or no room",
			time.Since(w.since).Round(time.Second), waiting)
	}
	return nil
}
