package recorder

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A Policy is what happens to a session when the bus takes no events: it is
// away, has no leader, or its stream is full.
type Policy string

// The policies. None ever drops an event that was accepted.
const (
	// PolicyBlock: what is recorded waits until the bus is back.
	PolicyBlock Policy = "block"
	// PolicySpool: events go to a file, and from there to the bus when it is
	// back. A full spool falls back to waiting.
	PolicySpool Policy = "spool"
	// PolicyFail: the session fails with ErrBusAway, and Done is closed, so that
	// whoever runs it can end it.
	PolicyFail Policy = "fail"
)

const defaultPatience = 2 * time.Second

// policy checks what belongs to the policy and puts the defaults in.
func (o *Options) policy() error {
	if o.Patience <= 0 {
		o.Patience = defaultPatience
	}
	switch o.Policy {
	case "":
		o.Policy = PolicyBlock
	case PolicyBlock, PolicyFail:
	case PolicySpool:
		if o.Spool == nil {
			return errors.New("check policy spool: no spool given to keep events in")
		}
	default:
		return fmt.Errorf("check policy %q: it is none of block, spool, fail", o.Policy)
	}
	return nil
}

// open gives a new session its sink.
func (r *Recorder) open(ctx context.Context, s *Session) error {
	link := r.link.Load()
	if link == nil {
		sp := newSpooled(r, s, nil)
		s.out = sp
		return sp.beginInFile()
	}
	out, err := link.pub.Open(ctx, r.opts.Node, s.id)
	if err != nil {
		return err
	}
	out.SetNote(s.encodeNote)
	s.out = r.guard(s, out)
	return nil
}

// guard puts the policy in front of a stream.
func (r *Recorder) guard(s *Session, out *bus.Stream) sink {
	switch r.opts.Policy {
	case PolicySpool:
		return newSpooled(r, s, out)
	case PolicyFail:
		return newStrict(out, r.opts.Patience)
	}
	return out
}

// A watch notices that the bus leaves an event unacknowledged for too long. It
// costs a timer while something is under way and nothing in between.
type watch struct {
	patience time.Duration
	progress func() (stored, next int64) // of the stream
	late     func()

	mu    sync.Mutex
	timer *time.Timer
	armed bool
	until int64
	ended bool
}

// appended: an event before next is with the stream.
func (w *watch) appended(next int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.armed || w.ended {
		return
	}
	w.armed, w.until = true, next
	if w.timer == nil {
		w.timer = time.AfterFunc(w.patience, w.look)
		return
	}
	w.timer.Reset(w.patience)
}

func (w *watch) look() {
	stored, next := w.progress()
	w.mu.Lock()
	late := !w.ended && stored < w.until
	switch {
	case w.ended:
	case late, stored < next:
		w.until = max(w.until, next)
		w.timer.Reset(w.patience)
	default:
		w.armed = false
	}
	w.mu.Unlock()
	if late {
		w.late()
	}
}

func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// strict is a stream that fails when the bus is away.
type strict struct {
	*bus.Stream
	w watch
}

func newStrict(out *bus.Stream, patience time.Duration) *strict {
	s := &strict{Stream: out}
	s.w = watch{patience: patience, progress: func() (int64, int64) { return out.Stored(), out.Next() }, late: s.giveUp}
	return s
}

func (s *strict) giveUp() {
	if why := s.Waiting(); why != nil {
		s.Abort(fmt.Errorf("%w within %s: %w", ErrBusAway, s.w.patience, why))
		return
	}
	s.Abort(fmt.Errorf("%w within %s", ErrBusAway, s.w.patience))
}

func (s *strict) Append(ctx context.Context, oneof []byte, index int64) error {
	err := s.Stream.Append(ctx, oneof, index)
	if err == nil {
		s.w.appended(index + 1)
	}
	return err
}

func (s *strict) End(ctx context.Context) error {
	defer s.w.end()
	soon, cancel := context.WithTimeout(ctx, s.w.patience)
	defer cancel()
	err := s.Stream.End(soon)
	if err != nil && soon.Err() != nil && ctx.Err() == nil {
		s.giveUp()
		return s.Err()
	}
	return err
}

func (s *strict) Close(ctx context.Context) error {
	s.w.end()
	return s.Stream.Close(ctx)
}
