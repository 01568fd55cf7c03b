// Package recorder records sessions: it is what an SSH gateway, a bastion or
// any other program that runs sessions imports.
//
// A [Recorder] stands for one node: one connection to the event bus and any
// number of sessions. A [Session] takes events as they happen, in one order,
// and numbers them:
//
//	s, err := rec.Start(ctx, recorder.Spec{User: "joe", Login: "root", Width: 80, Height: 25})
//	...
//	io.Copy(s, output)         // terminal bytes
//	err = s.Resize(ctx, 120, 40)
//	...
//	err = s.End(ctx)           // the bus has everything
//
// A session whose [Spec] has a [Desktop] is one on a desktop: instead of terminal
// bytes it takes pictures ([Session.Draw]), sizes, the pointer and the clipboard.
//
// # What is promised
//
// An event that was accepted (a nil error) goes to the bus in its place or the
// session stops and says why ([Session.Done], [Session.Err]); nothing is left
// out in silence. Accepted means queued: the bus has it on disk once Flush,
// End or Close has returned nil, and S3 has it once [Session.Status] says so.
// Start returns when the bus has the session.start event, so a session whose
// recording cannot begin never begins.
//
// When the bus is away, accepted events wait in a bounded queue, and once that
// is full Write and Emit block until the bus is back, the session is closed,
// or the caller's context is done. That is the policy called block.
//
// A process that dies loses what was accepted and not flushed. Another can
// [Recorder.Resume] the session behind the last event that the bus has.
package recorder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// Errors that a caller can test for. Those of the bus (bus.ErrConflict,
// bus.ErrEnded, bus.ErrPermission) come through wrapped.
var (
	ErrClosed   = errors.New("session is closed")       // after End, Close or Recorder.Close
	ErrTooLarge = errors.New("event is too large")      // over 65,536 bytes as an encoded OneOf
	ErrNotFound = errors.New("bus has no such session") // nothing to resume
)

// DefaultAlive is how often an idle session says that it is alive. Abandoning
// a session takes six times as long by default.
const DefaultAlive = 10 * time.Minute

// Options are the settings of a Recorder.
type Options struct {
	// Node is the server that the sessions run on: 1 to 64 of A-Z a-z 0-9 _ -.
	// A session belongs to its node; the node's bus user may publish for no other.
	Node string
	// Cluster is the cluster name put into every event that has none. May be empty.
	Cluster string
	// Alive is how often a session with nothing to say tells the bus that it
	// lives. Default DefaultAlive. Keep it well under the slicer's abandon time.
	Alive time.Duration
	// Logger gets warnings that no caller sees. Default: none.
	Logger *slog.Logger
	// Meter measures what is published. Default: nothing is measured.
	Meter metric.Meter
}

// A Recorder records the sessions of one node. Its methods may be called from
// several goroutines.
type Recorder struct {
	opts   Options
	conn   *bus.Conn
	layout bus.Layout
	pub    *bus.Publisher
	log    *slog.Logger

	mu       sync.Mutex
	sessions map[string]*Session
	timer    *time.Timer // shared by all sessions; nil while there are none
	closed   bool
}

// New makes a Recorder on a connection, which stays the caller's to close.
func New(conn *bus.Conn, layout bus.Layout, opts Options) (*Recorder, error) {
	if err := bus.ValidName(opts.Node); err != nil {
		return nil, fmt.Errorf("check node %q: %w", opts.Node, err)
	}
	if opts.Alive <= 0 {
		opts.Alive = DefaultAlive
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Recorder{
		opts:     opts,
		conn:     conn,
		layout:   layout,
		log:      opts.Logger,
		pub:      bus.NewPublisher(conn, layout, bus.PublisherOptions{Logger: opts.Logger, Meter: opts.Meter}),
		sessions: make(map[string]*Session),
	}, nil
}

// Sessions returns how many sessions are open.
func (r *Recorder) Sessions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sessions)
}

func (r *Recorder) has(sid string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions[sid] != nil
}

// Close closes every session that is still open, as [Session.Close] does: what
// was accepted is flushed and the sessions stay resumable. It returns the
// first error. No session can be started afterwards.
func (r *Recorder) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	open := make([]*Session, 0, len(r.sessions))
	for _, s := range r.sessions {
		open = append(open, s)
	}
	r.mu.Unlock()

	errs := make([]error, len(open))
	var wg sync.WaitGroup
	for i, s := range open {
		wg.Go(func() { errs[i] = s.Close(ctx) })
	}
	wg.Wait()
	r.pub.Close()
	return errors.Join(errs...)
}

// add lists the session, so that it is kept alive and gets its status.
func (r *Recorder) add(s *Session) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fmt.Errorf("open session %s: recorder: %w", s.id, ErrClosed)
	}
	if r.sessions[s.id] != nil {
		return fmt.Errorf("open session %s: it is already open here", s.id)
	}
	stop, err := bus.WatchStatus(r.conn, r.opts.Node, s.id, s.onStatus)
	if err != nil {
		return fmt.Errorf("open session %s: %w", s.id, err)
	}
	s.unwatch = stop
	r.track(s)
	return nil
}

// track keeps s alive from now on. r.mu is held.
func (r *Recorder) track(s *Session) {
	r.sessions[s.id] = s
	if r.timer == nil {
		r.timer = time.AfterFunc(r.opts.Alive/aliveChecks, r.keepAlive)
	}
}

// remove forgets a session; with the last one the timer goes.
func (r *Recorder) remove(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sessions[s.id] != s {
		return
	}
	s.unwatch()
	delete(r.sessions, s.id)
	if len(r.sessions) == 0 && r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
}
