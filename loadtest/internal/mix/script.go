package mix

import (
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// A Script is what happens in one session, event by event. It is not safe for
// concurrent use.
type Script struct {
	kind     Kind
	seed, id uint64
	sid      string
	node     string
	start    time.Time

	random *rand.PCG
	data   []byte
	sent   int64 // bytes of prints before the next
	next   int64

	print printEvent
	frame frameEvent
}

type printEvent struct {
	one   events.OneOf
	print events.SessionPrint
	md    events.Metadata
	at    timestamppb.Timestamp
}

type frameEvent struct {
	one   events.OneOf
	frame events.DesktopRecording
	md    events.Metadata
	at    timestamppb.Timestamp
}

// NewScript is session number id of a test with a seed. The first event is at start.
func NewScript(kind Kind, seed, id uint64, sid, node string, start time.Time) *Script {
	s := &Script{kind: kind, seed: seed, id: id, sid: sid, node: node, start: start.UTC().Truncate(time.Millisecond), random: rand.NewPCG(0, 0)}
	if kind.Name == "desktop" {
		f := &s.frame
		f.md.Type, f.md.Time, f.frame.Metadata = "desktop.recording", &f.at, &f.md
		f.one.Event = &events.OneOf_DesktopRecording{DesktopRecording: &f.frame}
	} else {
		p := &s.print
		p.md.Type, p.md.Time, p.print.Metadata = "print", &p.at, &p.md
		p.one.Event = &events.OneOf_SessionPrint{SessionPrint: &p.print}
	}
	return s
}

// Kind is what sort of session it is.
func (s *Script) Kind() Kind { return s.kind }

// Next appends the session's next event to dst, as it is encoded: session.start
// first, then output without end. Events are made in their order.
func (s *Script) Next(dst []byte) ([]byte, error) {
	index := s.next
	s.next++
	if index == 0 {
		return s.begin(dst)
	}
	// Each event's randomness depends on its place alone, so that what one source
	// takes of it does not show in the next.
	s.random.Seed(s.seed^s.id*0x9e3779b97f4a7c15, s.perEvent(index))
	s.data = s.kind.source(s.data[:0], index, s.random)
	delay := time.Duration(index-1) * s.kind.Every
	at := s.start.Add(delay)
	if s.kind.Name == "desktop" {
		f := &s.frame
		f.md.Index, f.frame.Message, f.frame.DelayMilliseconds = index, s.data, delay.Milliseconds()
		f.at.Seconds, f.at.Nanos = at.Unix(), int32(at.Nanosecond())
		return events.Append(dst, &f.one)
	}
	p := &s.print
	p.md.Index, p.print.ChunkIndex, p.print.Data, p.print.Bytes = index, index-1, s.data, int64(len(s.data))
	p.print.Offset, p.print.DelayMilliseconds = s.sent, delay.Milliseconds()
	p.at.Seconds, p.at.Nanos = at.Unix(), int32(at.Nanosecond())
	s.sent += int64(len(s.data))
	return events.Append(dst, &p.one)
}

// perEvent is what differs from event to event: nothing for programs, which go on
// where they were.
func (s *Script) perEvent(index int64) uint64 {
	if s.kind.Name == "desktop" {
		return uint64(index)
	}
	return 0
}

func (s *Script) begin(dst []byte) ([]byte, error) {
	e := &events.SessionStart{
		Metadata:         s.metadata(0, "session.start", "T2000I", s.start),
		User:             &events.UserMetadata{User: "loadtest", Login: "loadtest"},
		Session:          &events.SessionMetadata{SessionId: s.sid},
		Server:           &events.ServerMetadata{ServerId: s.node, ServerHostname: s.node},
		TerminalSize:     "80:25",
		SessionRecording: "node",
	}
	return wrap(dst, e)
}

// End appends the session.end event, after which there is no other.
func (s *Script) End(dst []byte) ([]byte, error) {
	index := s.next
	at := s.start.Add(time.Duration(index) * s.kind.Every)
	e := &events.SessionEnd{
		Metadata:     s.metadata(index, "session.end", "T2004I", at),
		User:         &events.UserMetadata{User: "loadtest", Login: "loadtest"},
		Session:      &events.SessionMetadata{SessionId: s.sid},
		Server:       &events.ServerMetadata{ServerId: s.node, ServerHostname: s.node},
		Participants: []string{"loadtest"},
		Interactive:  s.kind.Name != "exec",
		StartTime:    timestamppb.New(s.start),
		EndTime:      timestamppb.New(at),
	}
	return wrap(dst, e)
}

func (s *Script) metadata(index int64, typ, code string, at time.Time) *events.Metadata {
	return &events.Metadata{Index: index, Type: typ, Code: code, Id: fmt.Sprintf("%s-%d", s.sid, index), Time: timestamppb.New(at), ClusterName: "loadtest"}
}

func wrap(dst []byte, e events.Event) ([]byte, error) {
	one, err := events.Wrap(e)
	if err != nil {
		return nil, err
	}
	return events.Append(dst, one)
}
