package recorder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/spool"
)

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
	standing, err := link.pub.Standing(ctx, info.Header.Node, info.Header.SID)
	if errors.Is(err, bus.ErrNoSession) {
		if err = r.sendUnknown(ctx, link.pub, file, info, err); !errors.Is(err, bus.ErrConflict) {
			return err
		}
		// The session is there: the replica that was asked lagged behind.
		standing, err = link.pub.Standing(ctx, info.Header.Node, info.Header.SID)
	}
	switch {
	case err != nil:
		return err
	case standing.Next >= info.Next && (standing.Over || !info.Ended):
		return nil // a crash came between the last acknowledgement and here
	}
	return r.sendTo(ctx, link.pub, file, info, false)
}

// sendUnknown sends a file of whose session the bus says, with err, that it has nothing.
func (r *Recorder) sendUnknown(ctx context.Context, pub *bus.Publisher, file *spool.File, info spool.Info, err error) error {
	h := info.Header
	kept := time.Since(h.Created) < surelyKept
	switch {
	case errors.Is(err, bus.ErrPermission) && (h.First > 0 || !kept):
		return err // what has been recorded of it only the upload log knows
	case h.First > 0 && kept:
		return fmt.Errorf("the bus had %d events of it, and a replica that perhaps lags behind says that it has none: %w", h.First, err)
	case h.First > 0:
		return fmt.Errorf("the bus knows nothing of session %s, which had %d events: %w", h.SID, h.First, bus.ErrEnded)
	}
	return r.sendTo(ctx, pub, file, info, true)
}

// sendTo sends a file to the session's stream, which it begins or resumes.
func (r *Recorder) sendTo(ctx context.Context, pub *bus.Publisher, file *spool.File, info spool.Info, begin bool) error {
	h, replay := info.Header, newSession(r, Spec{ID: info.Header.SID}, nil)
	var out *bus.Stream
	var err error
	if begin {
		if out, err = pub.Open(ctx, h.Node, h.SID); err == nil {
			out.SetNote(replay.encodeNote)
		}
	} else {
		out, _, err = pub.ResumeWith(ctx, h.Node, h.SID, func(last bus.Message) (func() string, error) {
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
