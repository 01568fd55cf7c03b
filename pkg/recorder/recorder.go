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
// or the caller's context is done. That is [PolicyBlock]. With [PolicyFail] the
// session fails instead, and with [PolicySpool] what waits goes to disk: whatever
// the bus has not acknowledged within [Options.Patience] is synced to a file, and
// from then on each event is before it is accepted. It is sent, in order, when the
// bus is back, by this process or another. Sessions can then begin and end
// without the bus, and Flush and End mean the bus or the disk.
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
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/spool"
)

// Errors that a caller can test for. Those of the bus (bus.ErrConflict,
// bus.ErrEnded, bus.ErrPermission) come through wrapped.
var (
	ErrClosed   = errors.New("session is closed")       // after End, Close or Recorder.Close
	ErrTooLarge = errors.New("event is too large")      // over 65,536 bytes as an encoded OneOf
	ErrNotFound = errors.New("bus has no such session") // nothing to resume
	ErrBusAway  = errors.New("bus takes no events")     // of a session with PolicyFail
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
	// Policy is what happens when the bus takes no events. Default PolicyBlock.
	Policy Policy
	// Patience is how long the bus may leave an event unacknowledged before
	// PolicySpool or PolicyFail acts. Default 2 s, in which a server restarts or
	// a cluster elects a leader.
	Patience time.Duration
	// Spool is where PolicySpool keeps events.
	Spool *spool.Dir
	// Logger gets warnings that no caller sees. Default: none.
	Logger *slog.Logger
	// Meter measures what is published and what is spooled. Default: nothing is
	// measured.
	Meter metric.Meter
	// Tracer has each session be a span, under the one in the context that it is
	// started with, and the parent of what becomes of the session elsewhere.
	// Default: nothing is traced.
	Tracer trace.Tracer
}

// A Recorder records the sessions of one node. Its methods may be called from
// several goroutines.
type Recorder struct {
	opts    Options
	log     *slog.Logger
	connect Connect // nil: there is a link from the beginning
	dialing chan struct{}
	link    atomic.Pointer[link]

	sending   sync.WaitGroup // goroutines that send what is spooled
	stopCtx   context.Context
	stop      context.CancelFunc
	unmeasure func() error

	mu       sync.Mutex
	sessions map[string]*Session
	timer    *time.Timer // shared by all sessions; nil while there are none
	closed   bool
}

// New makes a Recorder on a connection, which stays the caller's to close.
func New(conn *bus.Conn, layout bus.Layout, opts Options) (*Recorder, error) {
	r, err := newRecorder(opts)
	if err != nil {
		return nil, err
	}
	r.link.Store(r.newLink(conn, layout, false))
	return r, nil
}

func newRecorder(opts Options) (*Recorder, error) {
	if err := bus.ValidName(opts.Node); err != nil {
		return nil, fmt.Errorf("check node %q: %w", opts.Node, err)
	}
	if err := opts.policy(); err != nil {
		return nil, err
	}
	if opts.Alive <= 0 {
		opts.Alive = DefaultAlive
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Tracer == nil {
		opts.Tracer = noop.NewTracerProvider().Tracer("")
	}
	r := &Recorder{opts: opts, log: opts.Logger, dialing: make(chan struct{}, 1), sessions: make(map[string]*Session)}
	r.stopCtx, r.stop = context.WithCancel(context.Background())
	var err error
	r.unmeasure, err = measure(opts)
	return r, err
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
// first error. What is spooled is sent on for as long as Options.Patience if the
// bus takes it, and stays on disk for the next process if not. No session can be
// started afterwards.
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
	r.finishSending(ctx)
	if link := r.link.Load(); link != nil {
		link.close()
	}
	return errors.Join(append(errs, r.unmeasure())...)
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
	if link := r.link.Load(); link != nil {
		if err := r.watch(link, s); err != nil {
			return fmt.Errorf("open session %s: %w", s.id, err)
		}
	}
	r.track(s)
	return nil
}

// watch has the session told how far S3 has it. r.mu is held.
func (r *Recorder) watch(link *link, s *Session) error {
	stop, err := bus.WatchStatus(link.conn, r.opts.Node, s.id, s.onStatus)
	if err == nil {
		s.unwatch = stop
	}
	return err
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
