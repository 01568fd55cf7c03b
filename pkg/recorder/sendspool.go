package recorder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
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

// Spooled says what the spool holds, all processes' sessions included.
func (r *Recorder) Spooled() (spool.Usage, error) {
	if r.opts.Spool == nil {
		return spool.Usage{}, nil
	}
	return r.opts.Spool.Usage()
}

// A Sent says what became of one spooled session.
type Sent struct {
	Info spool.Info
	// Err is why the session is still in the spool: nil if the bus has it,
	// spool.ErrInUse if its process is running and sends it itself, bus.ErrEnded
	// or bus.ErrConflict if the bus will never take it.
	Err error
}

// SendSpool sends what earlier processes of this node left in the spool, oldest
// first, and calls f, if it is not nil, with what became of each. Events that the
// bus has already are not sent again. A session whose producer died without
// ending it stays open on the bus, and is abandoned in time.
//
// It returns an error if it cannot go on with any session.
func (r *Recorder) SendSpool(ctx context.Context, f func(Sent)) error {
	if r.opts.Spool == nil {
		return errors.New("send spool: there is none")
	}
	if _, err := r.reach(ctx); err != nil { // until then nobody need be kept out of a file
		return fmt.Errorf("send spool: %w", err)
	}
	names, err := r.opts.Spool.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		info, err := r.sendLeft(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // somebody else has sent it
		}
		if f != nil {
			f(Sent{info, err})
		}
		if ctx.Err() != nil {
			return fmt.Errorf("send spool: %w", context.Cause(ctx))
		}
	}
	return nil
}

// sendFirst sends what is spooled of a session that is to be resumed.
func (r *Recorder) sendFirst(ctx context.Context, sid string) error {
	if r.opts.Spool == nil {
		return nil
	}
	_, err := r.sendLeft(ctx, spool.NameOf(r.opts.Node, sid))
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("resume session %s, of which events are spooled: %w", sid, err)
}

// sendLeft sends a file that an earlier process left.
func (r *Recorder) sendLeft(ctx context.Context, name string) (spool.Info, error) {
	file, err := r.opts.Spool.Open(name)
	if err != nil {
		info, _ := r.opts.Spool.Look(name) // as far as it can be read: err says what is wrong
		return info, err
	}
	info := file.Info()
	switch {
	case info.Refused != "":
		err = fmt.Errorf("%w: %s", errRefused, info.Refused)
	case info.Header.Node != r.opts.Node:
		err = fmt.Errorf("it is of node %s, and this is %s", info.Header.Node, r.opts.Node)
	default:
		err = r.sendOpened(ctx, file, info)
	}
	if err != nil {
		refuse(file, err)
		_ = file.Close()
		return info, err
	}
	r.log.Info("a spooled session is on the bus", "session", info.Header.SID, "events", info.Events)
	return info, file.Remove()
}

// refuse marks the file if the bus will never take it. That it could not be
// marked is of no account: err is returned too, and comes again.
func refuse(file *spool.File, err error) {
	if errors.Is(err, bus.ErrEnded) || errors.Is(err, bus.ErrConflict) {
		_ = file.Refuse(err.Error())
	}
}

// surelyKept is for how long the bus has a session's messages, whatever became of
// it: well below the keep time of slicers. A younger session of which it has none is
// one that it never had.
const surelyKept = 48 * time.Hour

var errRefused = errors.New("the bus has refused it for good")

func (r *Recorder) sendOpened(ctx context.Context, file *spool.File, info spool.Info) error {
	link, err := r.reach(ctx)
	if err != nil {
		return err
	}
	h := info.Header
	standing, err := link.pub.Standing(ctx, h.Node, h.SID)
	switch {
	case err == nil && standing.Over && standing.Next >= info.Next:
		return nil // a crash came between the last acknowledgement and here
	case err == nil && standing.Next >= info.Next && !info.Ended:
		return nil
	case errors.Is(err, bus.ErrPermission) && (h.First > 0 || time.Since(h.Created) > surelyKept):
		return err // what has been recorded of it only the upload log knows
	case errors.Is(err, bus.ErrNoSession) && h.First > 0:
		return fmt.Errorf("the bus knows nothing of session %s, which had %d events: %w", h.SID, h.First, bus.ErrEnded)
	case err != nil && !errors.Is(err, bus.ErrNoSession):
		return err
	}
	var replay *Session
	var out *bus.Stream
	if err != nil {
		replay = newSession(r, Spec{ID: h.SID}, nil)
		if out, err = link.pub.Open(ctx, h.Node, h.SID); err == nil {
			out.SetNote(replay.encodeNote)
		}
	} else {
		out, _, err = link.pub.ResumeWith(ctx, h.Node, h.SID, func(last bus.Message) (func() string, error) {
			replay = newSession(r, Spec{ID: h.SID}, nil)
			return replay.encodeNote, replay.recall(last)
		})
	}
	if err != nil {
		return err
	}
	defer out.Close(queueOnly) //nolint:errcheck // flushed below, or the error says that it is not
	if _, err := replayFile(ctx, file.NewReader(), 0, out, replay); err != nil {
		return err
	}
	if info.Ended {
		return out.End(ctx)
	}
	return out.Flush(ctx)
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
