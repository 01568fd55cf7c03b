package recorder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// Resume goes on with a session of this node that an earlier process left
// open: it was closed, or it died. spec.ID says which; the rest of spec must
// be what it was, because later events carry it. There is no second
// session.start.
//
// The bus knows where it stands: the last message tells the next index, and
// carries in a note what the prints before it add up to (chunk index, offset,
// when the first one was), so one direct read resumes a session of any length.
// What the earlier process had accepted but not flushed is not there. If the
// session was silent for so long that the bus has trimmed all of it, the prints
// count from 0 again, with delays since spec.Started.
//
// An earlier process that still runs gets bus.ErrConflict. Errors: ErrNotFound,
// bus.ErrEnded if the session is over.
func (r *Recorder) Resume(ctx context.Context, spec Spec) (*Session, error) {
	if spec.ID == "" {
		return nil, errors.New("resume session: no id")
	}
	if err := spec.fill(r.opts); err != nil {
		return nil, err
	}
	if r.has(spec.ID) {
		return nil, fmt.Errorf("resume session %s: it is open here", spec.ID)
	}
	if err := r.sendFirst(ctx, spec.ID); err != nil {
		return nil, err
	}
	link, err := r.reach(ctx)
	if err != nil {
		return nil, fmt.Errorf("resume session %s: %w", spec.ID, err)
	}
	ctx, span := r.span(ctx, spec.ID)
	var s *Session
	out, next, err := link.pub.ResumeWith(ctx, r.opts.Node, spec.ID, func(last bus.Message) (func() string, error) {
		s = newSession(r, spec, nil)
		return s.encodeNote, s.recall(last)
	})
	if errors.Is(err, bus.ErrNoSession) {
		err = fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if err != nil {
		fail(span, err)
		return nil, err
	}
	s.out, s.next, s.span = r.guard(s, out), next, span
	if err := r.add(s); err != nil {
		s.shut()
		return nil, err
	}
	return s, nil
}

// A note is what a session needs to know to be resumed. It goes into a header
// of each message, as JSON; nobody else reads it. Times are Unix milliseconds.
type note struct {
	Started      int64    `json:"start"`
	First        int64    `json:"first,omitempty"` // the first print; 0 before it
	Delay        int64    `json:"ms,omitempty"`
	Chunk        int64    `json:"ci,omitempty"`
	Offset       int64    `json:"offset,omitempty"`
	Participants []string `json:"who,omitempty"` // maxNoted of them
}

// maxNoted is how many participants a resumed session remembers.
const maxNoted = 100

// takeNote makes the note say where the session stands. It is called with the
// turn, after each event, so that the note of a message is what comes before
// the first event in it.
func (s *Session) takeNote() {
	s.noteMu.Lock()
	defer s.noteMu.Unlock()
	s.note.Started = s.spec.Started.UnixMilli()
	s.note.Participants = s.participants[:min(len(s.participants), maxNoted)]
	if ps := &s.print; ps.started {
		s.note.First, s.note.Delay, s.note.Chunk, s.note.Offset = stamp(ps.first).UnixMilli(), ps.delay, ps.chunk, ps.offset
	}
}

// encodeNote is called by the stream for each message that it begins.
func (s *Session) encodeNote() string {
	s.noteMu.Lock()
	defer s.noteMu.Unlock()
	b, _ := json.Marshal(&s.note) // numbers and strings: cannot fail
	return string(b)
}

// recall takes over what the last message of the session says.
func (s *Session) recall(last bus.Message) error {
	if err := s.recallNote(last.Note); err != nil {
		return fmt.Errorf("read note of message %d: %w", last.Seq, err)
	}
	for oneof, err := range last.Records() {
		if err == nil {
			err = s.recallEvent(oneof)
		}
		if err != nil {
			return fmt.Errorf("read message %d: %w", last.Seq, err)
		}
	}
	if s.spec.Started.IsZero() {
		s.spec.Started = stamp(time.Now())
	}
	s.takeNote()
	return nil
}

// recallNote takes over what a note says; an empty one says nothing.
func (s *Session) recallNote(text string) error {
	if text == "" {
		return nil
	}
	var n note
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		return err
	}
	if n.Started != 0 {
		s.spec.Started = time.UnixMilli(n.Started)
	}
	for _, user := range n.Participants {
		s.addParticipant(user)
	}
	if n.First != 0 {
		s.print = printState{started: true, first: time.UnixMilli(n.First), delay: n.Delay, chunk: n.Chunk, offset: n.Offset}
	}
	return nil
}

func (s *Session) recallEvent(oneof []byte) error {
	one, err := events.Unmarshal(oneof)
	if err != nil {
		return err
	}
	e, err := events.Unwrap(one)
	if errors.Is(err, events.ErrUnknownCase) {
		return nil // counts for nothing here
	}
	if err != nil {
		return err
	}
	s.over = s.over || ends(e)
	switch e := e.(type) {
	case *events.SessionStart:
		s.spec.Started = e.GetMetadata().GetTime().AsTime()
	case *events.SessionJoin:
		s.addParticipant(e.GetUser().GetUser())
	case *events.WindowsDesktopSessionStart:
		s.spec.Started = e.GetMetadata().GetTime().AsTime()
	case *events.LinuxDesktopSessionStart:
		s.spec.Started = e.GetMetadata().GetTime().AsTime()
	case *events.DesktopRecording:
		s.desktopLast = max(s.desktopLast, e.DelayMilliseconds)
	case *events.SessionPrint:
		at := e.GetMetadata().GetTime().AsTime()
		if !s.print.started {
			s.print.started, s.print.first = true, at.Add(-time.Duration(e.DelayMilliseconds)*time.Millisecond)
		}
		s.print.advance(e, at)
	}
	return nil
}
