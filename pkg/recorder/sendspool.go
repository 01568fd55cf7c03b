package recorder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/spool"
)

// send sends the file of a session of this process until the bus has it, the
// recorder is closed, or the bus refuses it.
func (s *spooled) send(file *spool.File) {
	ctx := s.r.stopCtx
	err := s.sendFile(ctx, file)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		return
	}
	if ctx.Err() == nil && !errors.Is(err, bus.ErrClosed) && !s.ended.Load() {
		s.fail(err)
	}
	_ = file.Close() // what was accepted is synced
	if s.file == file && !s.direct && !s.over {
		s.finish(bus.ErrClosed)
	}
}

func (s *spooled) sendFile(ctx context.Context, file *spool.File) error {
	replay := newSession(s.r, Spec{ID: s.session.id}, nil)
	s.replay.Store(replay)
	defer s.replay.CompareAndSwap(replay, nil)
	out, err := s.stream(ctx)
	if err != nil {
		return err
	}
	var last int64
	for r := file.NewReader(); ; {
		if last, err = replayFile(ctx, r, last, out, replay); err != nil {
			return err
		}
		sent, err := s.caughtUp(ctx, out, last, replay)
		if sent || err != nil {
			return err
		}
	}
}

// stream is the session's, opened when the bus is there.
func (s *spooled) stream(ctx context.Context) (*bus.Stream, error) {
	if out := s.out.Load(); out != nil {
		return out, nil
	}
	link, err := s.r.reach(ctx)
	if err != nil {
		return nil, err
	}
	out, err := link.pub.Open(trace.ContextWithSpan(ctx, s.session.span), s.r.opts.Node, s.session.id)
	if err == nil {
		s.attach(out)
	}
	return out, err
}

// replayFile gives the stream what is in the file behind event next and returns
// the index behind that. replay is how the session stood, event for event.
func replayFile(ctx context.Context, r *spool.Reader, next int64, out *bus.Stream, replay *Session) (int64, error) {
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return next, nil
		}
		if err != nil {
			return next, err
		}
		if e.Note != nil {
			if err := replay.resetTo(*e.Note); err != nil {
				return next, fmt.Errorf("read note before event %d: %w", e.Index, err)
			}
		}
		if e.Index >= out.Next() {
			if err := out.Append(ctx, e.OneOf, e.Index); err != nil {
				return next, err
			}
		}
		if err := replay.recallEvent(e.OneOf); err != nil {
			return next, fmt.Errorf("read event %d: %w", e.Index, err)
		}
		replay.takeNote()
		next = e.Index + 1
	}
}

// resetTo makes the session stand as a note says.
func (s *Session) resetTo(note string) error {
	s.print, s.participants, s.over = printState{}, nil, false
	err := s.recallNote(note)
	s.takeNote()
	return err
}

// caughtUp: the stream has been given the file up to event last. If that is all,
// events go to the stream again, and the file is removed when it is acknowledged.
func (s *spooled) caughtUp(ctx context.Context, out *bus.Stream, last int64, replay *Session) (sent bool, err error) {
	s.mu.Lock()
	if s.file == nil { // the end was acknowledged just now
		s.mu.Unlock()
		return true, nil
	}
	info := s.file.Info()
	if info.Next > last && info.Events > 0 {
		s.mu.Unlock()
		return false, nil // more has come
	}
	over := s.over
	if !over && !info.Ended && !s.back {
		// The stream has all of it in memory, as it may have had all along: that
		// says nothing of the bus. Until it does, what comes goes to the file.
		s.mu.Unlock()
		if err := out.Flush(ctx); err != nil {
			return false, err
		}
		s.mu.Lock()
		s.back = true
		s.mu.Unlock()
		return false, nil
	}
	if !over && !info.Ended {
		s.direct = true
		s.replay.Store(nil)
		s.change()
	}
	s.mu.Unlock()
	if info.Ended {
		err = out.End(ctx)
	} else {
		err = out.Flush(ctx)
	}
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.file == nil: // End was faster
		return true, nil
	case !over && !info.Ended && !s.direct: // the bus went away again
		s.replay.Store(replay)
		return false, nil
	case over && !info.Ended:
		_ = out.Close(queueOnly) // flushed
	}
	s.r.log.Info("the spooled events are on the bus", "session", s.session.id, "events", info.Events)
	s.remove()
	return true, nil
}

// finishSending gives what is being sent a moment, and then stops it.
func (r *Recorder) finishSending(ctx context.Context) {
	sent := make(chan struct{})
	go func() { r.sending.Wait(); close(sent) }()
	patience := time.NewTimer(r.opts.Patience)
	defer patience.Stop()
	select {
	case <-sent:
	case <-ctx.Done():
	case <-patience.C:
	}
	r.stop()
	<-sent
}
