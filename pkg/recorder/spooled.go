package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/spool"
)

// spooled is a sink that keeps on disk what the bus does not take.
//
// It is direct, and events go to the stream, until one is not acknowledged in
// time. Then all that is not acknowledged is written to a file, and what comes
// after it too, each synced before it is accepted, while a goroutine sends what
// is in the file. Once the stream has taken all of it, the sink is direct again,
// and once the bus has acknowledged all of it, the file goes.
//
//	crash before the file is there    loses what was accepted and not flushed, as without a spool
//	crash while there is a file       whoever finds it asks the bus for the next index, and sends from there
//	crash between the last ack and the file's removal   the same, and finds that nothing is left to send
//
// What comes in (Append, Flush, End) comes from one caller at a time.
type spooled struct {
	r       *Recorder
	session *Session
	w       watch
	life    context.Context // ends when the sink is closed
	kill    context.CancelFunc

	mu      sync.Mutex // held while the stream takes an event, patience at most
	direct  bool
	file    *spool.File // nil: there is none
	next    int64       // index that comes next, while there is no stream
	asked   bool        // the stream was told to end the session
	over    bool        // nothing more comes in
	lost    bool        // the stream has failed; its file stays for a person
	back    bool        // the bus has acknowledged something since events went to the file
	changed chan struct{}

	out    atomic.Pointer[bus.Stream]
	replay atomic.Pointer[Session] // whose note counts while the file is sent
	stuck  atomic.Pointer[error]   // why the spool takes nothing; nil: it does
	ended  atomic.Bool             // by End
	err    atomic.Pointer[error]
	done   chan struct{}
}

var _ sink = (*spooled)(nil)

func newSpooled(r *Recorder, s *Session, out *bus.Stream) *spooled {
	sp := &spooled{r: r, session: s, changed: make(chan struct{}), done: make(chan struct{})}
	sp.life, sp.kill = context.WithCancel(context.Background())
	sp.w = watch{patience: r.opts.Patience, progress: sp.progress, late: sp.late}
	if out != nil {
		sp.attach(out)
		sp.direct = true
	}
	return sp
}

func (s *spooled) attach(out *bus.Stream) {
	out.SetNote(s.note)
	out.AfterDone(func() { s.streamDone(out) })
	s.out.Store(out)
}

// note is how the session stands before the event that the stream gets next.
func (s *spooled) note() string {
	if replay := s.replay.Load(); replay != nil {
		return replay.encodeNote()
	}
	return s.session.encodeNote()
}

func (s *spooled) progress() (stored, next int64) {
	out := s.out.Load()
	return out.Stored(), out.Next()
}

// beginInFile is for a session that begins without the bus.
func (s *spooled) beginInFile() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.toFile()
}

// late: the bus has not acknowledged an event in time.
func (s *spooled) late() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.direct && !s.over {
		s.setStuck(s.toFile())
	}
}

// setStuck notes why the spool does not take what it should, or that it does. It
// is tried again at each look.
func (s *spooled) setStuck(err error) {
	if err == nil {
		s.stuck.Store(nil)
		return
	}
	if s.stuck.Swap(&err) == nil {
		s.r.log.Warn("the spool takes nothing; the session waits for the bus", "session", s.session.id, "err", err)
	}
}

// toFile writes all that the bus has not acknowledged to the file. From then on
// what comes goes there. mu is held.
func (s *spooled) toFile() error {
	first, note := s.next, ""
	var evs []spool.Event
	if out := s.out.Load(); out != nil {
		if err := out.Err(); err != nil && !errors.Is(err, bus.ErrEnded) {
			return err
		}
		var err error
		first, note, err = out.Unstored(func(index int64, oneof []byte) error {
			evs = append(evs, spool.Event{Index: index, OneOf: bytes.Clone(oneof)})
			return nil
		})
		if err != nil {
			return err
		}
	}
	if s.file != nil { // and has been sent, but for what is not acknowledged
		if err := errors.Join(s.file.Renew(first, note), s.file.Append(evs...)); err != nil {
			return err
		}
		s.goFile()
		return nil
	}
	file, err := s.r.opts.Spool.Create(spool.Header{Node: s.r.opts.Node, SID: s.session.id, First: first, Note: note})
	if err != nil {
		return err
	}
	if err := file.Append(evs...); err != nil {
		return errors.Join(err, file.Remove())
	}
	s.file = file
	s.goFile()
	s.r.sending.Go(func() { s.send(file) })
	return nil
}

func (s *spooled) goFile() {
	s.direct, s.back = false, false
	s.change()
	s.r.log.Info("the session's events go to the spool", "session", s.session.id)
}

func (s *spooled) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// soon is ctx, but for patience at most, and it ends with the sink.
func (s *spooled) soon(ctx context.Context) (context.Context, context.CancelFunc) {
	soon, cancel := context.WithTimeout(ctx, s.r.opts.Patience)
	stop := context.AfterFunc(s.life, cancel)
	return soon, func() { stop(); cancel() }
}

// A step tries to be done with something at once.
type step func() (done bool, err error)

// until repeats a step until it is done, something has changed or time has
// passed in between. mu is held during the step.
func (s *spooled) until(ctx context.Context, f step) error {
	for {
		s.mu.Lock()
		if err := s.err.Load(); err != nil {
			s.mu.Unlock()
			return *err
		}
		done, err := f()
		changed, direct := s.changed, s.direct
		s.mu.Unlock()
		switch {
		case done || err != nil:
			return err
		case ctx.Err() != nil:
			return s.waited(ctx, context.Cause(ctx))
		case s.life.Err() != nil:
			return fmt.Errorf("record session %s: %w", s.session.id, bus.ErrClosed)
		case direct:
			continue // the step has waited
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-s.life.Done():
		case <-time.After(spoolAgain):
		}
	}
}

// spoolAgain is between two looks whether a full spool has room.
const spoolAgain = 500 * time.Millisecond

func (s *spooled) waited(_ context.Context, err error) error {
	if stuck := s.stuck.Load(); stuck != nil {
		return fmt.Errorf("record session %s: the bus and the spool (%w) take nothing: %w", s.session.id, *stuck, err)
	}
	return fmt.Errorf("record session %s: %w", s.session.id, err)
}

// ask has the stream do something within patience. If it does not, the file is
// next. mu is held.
func (s *spooled) ask(ctx context.Context, f func(context.Context, *bus.Stream) error) (done bool, err error) {
	out := s.out.Load()
	soon, cancel := s.soon(ctx)
	defer cancel()
	err = f(soon, out)
	switch {
	case err == nil:
		s.setStuck(nil)
		return true, nil
	case soon.Err() == nil:
		return false, err // time does not mend it
	case ctx.Err() == nil && s.life.Err() == nil:
		s.setStuck(s.toFile())
	}
	return false, nil
}

func (s *spooled) Append(ctx context.Context, oneof []byte, index int64) error {
	return s.until(ctx, func() (bool, error) {
		if s.direct {
			done, err := s.ask(ctx, func(ctx context.Context, out *bus.Stream) error { return out.Append(ctx, oneof, index) })
			if done {
				s.w.appended(index + 1)
			}
			return done, err
		}
		err := s.file.Append(spool.Event{Index: index, OneOf: oneof})
		s.setStuck(err)
		if err == nil {
			s.next = index + 1
		}
		return err == nil, nil
	})
}

// Flush waits for the bus if the sink is direct; what is in the file is safe.
func (s *spooled) Flush(ctx context.Context) error {
	return s.until(ctx, func() (bool, error) {
		if !s.direct {
			return true, nil
		}
		return s.ask(ctx, func(ctx context.Context, out *bus.Stream) error { return out.Flush(ctx) })
	})
}

// Alive says nothing while events wait in the file, which say it themselves when
// they are sent.
func (s *spooled) Alive(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.direct {
		return nil
	}
	return s.out.Load().Alive(ctx)
}

func (s *spooled) End(ctx context.Context) error {
	err := s.until(ctx, func() (bool, error) {
		if s.direct {
			s.asked = true
			done, err := s.ask(ctx, func(ctx context.Context, out *bus.Stream) error { return out.End(ctx) })
			if done {
				s.atEnd()
			}
			return done, err
		}
		err := s.file.End()
		s.setStuck(err)
		if err == nil {
			s.ended.Store(true)
			s.finish(bus.ErrEnded)
		}
		return err == nil, nil
	})
	if s.ended.Load() {
		return nil
	}
	return err
}

// atEnd: the bus has all of the session. mu is held.
func (s *spooled) atEnd() {
	s.remove()
	s.ended.Store(true)
	s.finish(bus.ErrEnded)
}

// finish: nothing more comes in. What is in a file is sent on. mu is held.
func (s *spooled) finish(why error) {
	s.over = true
	s.w.end()
	err := fmt.Errorf("record session %s: %w", s.session.id, why)
	if s.err.CompareAndSwap(nil, &err) {
		close(s.done)
	}
	s.change()
}

func (s *spooled) remove() {
	if s.file == nil {
		return
	}
	if err := s.file.Remove(); err != nil {
		s.r.log.Warn("a spool file that has been sent stays", "session", s.session.id, "err", err)
	}
	s.file = nil
}

func (s *spooled) Waiting() error {
	if stuck := s.stuck.Load(); stuck != nil {
		return *stuck
	}
	if out := s.out.Load(); out != nil {
		return out.Waiting()
	}
	return errNoLink
}

var errNoLink = errors.New("not connected to NATS")

func (s *spooled) Done() <-chan struct{} { return s.done }

func (s *spooled) Err() error {
	if err := s.err.Load(); err != nil {
		return *err
	}
	return nil
}

// Close leaves the session to be resumed: what the bus has not acknowledged when
// ctx is done goes to the file, and is sent from there.
func (s *spooled) Close(ctx context.Context) error {
	s.kill()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil
	}
	var err error
	if out := s.out.Load(); s.direct {
		err = out.Flush(ctx)
		if err != nil && out.Err() == nil && out.Stored() < out.Next() {
			err = s.toFile()
		}
		if s.direct {
			_ = out.Close(queueOnly) // flushed, or err says that it is not
			if err == nil {
				s.remove()
			}
		}
	}
	s.finish(bus.ErrClosed)
	return err
}

// streamDone: the stream takes no more.
func (s *spooled) streamDone(out *bus.Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := out.Err()
	if !s.over && s.asked && out.End(queueOnly) == nil {
		s.atEnd() // acknowledged just after patience
		return
	}
	if s.over && !s.lost && (errors.Is(err, bus.ErrEnded) || errors.Is(err, bus.ErrClosed)) {
		return // as it should
	}
	s.fail(err)
}

// fail: the bus will never take the session. What is in the file stays there. mu
// is held.
func (s *spooled) fail(err error) {
	if errors.Is(err, bus.ErrClosed) {
		s.finish(bus.ErrClosed)
		return
	}
	if s.lost {
		return
	}
	s.lost = true
	if s.file != nil {
		s.r.log.Error("the bus refuses a spooled session; its file stays", "session", s.session.id, "file", s.file.Path(), "err", err)
		refuse(s.file, err)
	}
	if s.err.CompareAndSwap(nil, &err) {
		close(s.done)
	}
	s.over = true
	s.w.end()
	s.change()
}
