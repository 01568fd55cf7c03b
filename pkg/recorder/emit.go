package recorder

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// ErrMisplaced is in the error of an event that has no place in a recording:
// one of another session, session.upload and session.data (which carry a
// reserved index in the audit log), or anything after session.end.
var ErrMisplaced = errors.New("event has no place in this recording")

// buffers hold encoded events while they are handed over.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// Emit records an event. It fills in what is missing and keeps what is there,
// in e itself, which is the caller's again afterwards:
//
//   - index always; type, code, uid, time (now, UTC, in milliseconds) and
//     cluster where they are empty. The code is that of success unless the
//     event's status, error or exit code says otherwise.
//   - user, session, server and connection where they are not set.
//   - of a print: chunk index, offset and bytes always, the delay unless it is
//     set. A time that is set decides the delay. [Session.Write] is the way
//     for live output.
//   - of a desktop message: the delay since the session's start, unless it is set.
//
// The beginning of a UTF-8 sequence that Write has kept is written before,
// unless e is a resize, join or leave, which come in the middle of output.
//
// An event that encodes to more than 65,536 bytes is refused with ErrTooLarge
// and costs nothing: the session goes on with the same index.
func (s *Session) Emit(ctx context.Context, e events.Event) error {
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	switch e.(type) {
	case *events.Resize, *events.SessionJoin, *events.SessionLeave: // come in the middle of output
	default:
		if err := s.writeTail(ctx); err != nil {
			return err
		}
	}
	return s.emit(ctx, e)
}

// emit is Emit with the turn in hand.
func (s *Session) emit(ctx context.Context, e events.Event) error {
	if err := s.place(e); err != nil {
		return err
	}
	one, err := events.Wrap(e)
	if err != nil {
		return fmt.Errorf("record event %d: %w", s.next, err)
	}
	at := s.fill(e)
	p, isPrint := e.(*events.SessionPrint)
	if isPrint {
		s.print.fill(p, at)
	}
	if d, ok := e.(*events.DesktopRecording); ok {
		s.desktopDelay(d, at)
	}
	if err := s.append(ctx, one); err != nil {
		return err
	}
	switch e := e.(type) {
	case *events.SessionPrint:
		s.print.advance(p, at)
	case *events.SessionJoin:
		s.addParticipant(e.GetUser().GetUser())
	case *events.DesktopRecording:
		s.desktopLast = e.DelayMilliseconds
	}
	s.over = s.over || ends(e)
	s.takeNote()
	return nil
}

// append encodes and queues. The index is used up only by an accepted event.
func (s *Session) append(ctx context.Context, one *events.OneOf) error {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	b, err := events.Append((*buf)[:0], one)
	if err != nil {
		return fmt.Errorf("encode event %d: %w", s.next, err)
	}
	*buf = b
	return s.appendEncoded(ctx, b)
}

func (s *Session) appendEncoded(ctx context.Context, b []byte) error {
	if len(b) > events.MaxOneOf {
		return fmt.Errorf("record event %d (%d bytes encoded, %d at most): %w", s.next, len(b), events.MaxOneOf, ErrTooLarge)
	}
	if err := s.out.Append(ctx, b, s.next); err != nil {
		return s.why(err)
	}
	s.next++
	s.touch()
	return nil
}

// place refuses what must not stand in this recording here.
func (s *Session) place(e events.Event) error {
	switch e.(type) {
	case *events.SessionUpload, *events.SessionData:
		return fmt.Errorf("record %s: %w", e.ProtoReflect().Descriptor().Name(), ErrMisplaced)
	}
	if s.over {
		return fmt.Errorf("record event %d after session.end: %w", s.next, ErrMisplaced)
	}
	if of, ok := e.(interface {
		GetSession() *events.SessionMetadata
	}); ok {
		if sid := of.GetSession().GetSessionId(); sid != "" && sid != s.id {
			return fmt.Errorf("record event of session %s in session %s: %w", sid, s.id, ErrMisplaced)
		}
	}
	return nil
}

// fill completes what all events have and returns the event's time, with a
// monotonic part if it is now.
func (s *Session) fill(e events.Event) time.Time {
	md := e.GetMetadata()
	if md == nil {
		md = &events.Metadata{}
		m := e.ProtoReflect()
		m.Set(m.Descriptor().Fields().ByNumber(1), valueOf(md))
	}
	at := time.Now()
	if md.Time != nil {
		at = md.Time.AsTime()
	}
	md.Index, md.Time = s.next, timestamppb.New(stamp(at))
	md.ClusterName = first(md.ClusterName, s.spec.Cluster)
	kind, _ := events.KindByCase(caseOf(e)) // Wrap knew it
	md.Type = first(md.Type, kind.Type)
	switch e.(type) {
	case *events.SessionPrint, *events.DesktopRecording: // have no code and no uid
		return at
	}
	if md.Code == "" && len(kind.Codes) > 0 {
		md.Code = code(e, kind.Codes)
	}
	if md.Id == "" {
		md.Id = uuid.NewString()
	}
	s.spec.fillIn(e)
	return at
}

// stamp is a time as events carry it.
func stamp(t time.Time) time.Time { return t.UTC().Round(time.Millisecond) }

func valueOf(m proto.Message) protoreflect.Value {
	return protoreflect.ValueOfMessage(m.ProtoReflect())
}

// code picks the code that says how it went: codes end in I for success, and
// in E or W for failure.
func code(e events.Event, codes []string) string {
	if scp, ok := e.(*events.SCP); ok {
		codes = scpCodes(scp)
	}
	good := func(c string) bool { return !strings.HasSuffix(c, "E") && !strings.HasSuffix(c, "W") }
	want := succeeded(e)
	for _, c := range codes {
		if good(c) == want {
			return c
		}
	}
	return codes[0]
}

func scpCodes(e *events.SCP) []string {
	if e.GetAction() == "upload" {
		return []string{"T3005I", "T3005E"}
	}
	return []string{"T3004I", "T3004E"}
}

func succeeded(e events.Event) bool {
	if e, ok := e.(interface{ GetStatus() *events.Status }); ok {
		return e.GetStatus() == nil || e.GetStatus().GetSuccess()
	}
	if e, ok := e.(interface {
		GetCommand() *events.CommandMetadata
	}); ok {
		cmd := e.GetCommand()
		return cmd.GetError() == "" && (cmd.GetExitCode() == "" || cmd.GetExitCode() == "0")
	}
	if e, ok := e.(*events.Subsystem); ok {
		return e.GetError() == ""
	}
	return true
}

// caseOf is the number of e's field in OneOf.
func caseOf(e events.Event) int32 {
	name := e.ProtoReflect().Descriptor().FullName()
	return caseByName[name]
}

var caseByName = func() map[protoreflect.FullName]int32 {
	cases := make(map[protoreflect.FullName]int32)
	fields := (*events.OneOf)(nil).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		cases[fd.Message().FullName()] = int32(fd.Number())
	}
	return cases
}()
