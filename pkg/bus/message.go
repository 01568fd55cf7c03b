package bus

import (
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// MessageVersion is the version of messages on EVENTS that this package writes.
// A message without one is of version 1.
const MessageVersion = 1

// Headers of a message on EVENTS.
const (
	HeaderVersion = "Tapedeck-Version" // MessageVersion
	HeaderWriter  = "Tapedeck-Writer"  // nonce of the writer, new with each Open and Resume; MaxName bytes at most
	HeaderFirst   = "Tapedeck-First"   // index of the first event in the message
	HeaderControl = "Tapedeck-Control" // one of the Control constants; the message has no payload
	HeaderCount   = "Tapedeck-Count"   // of a control message: events so far, which is the next index
	HeaderTo      = "Tapedeck-To"      // of a handover: the node that goes on
	HeaderNote    = "Tapedeck-Note"    // what the writer wants to know when it resumes; nobody else reads it
)

// A Control is what a control message says.
type Control string

// What control messages say.
const (
	ControlNone     Control = ""         // the message carries records
	ControlAlive    Control = "alive"    // the session is idle and open
	ControlEnd      Control = "end"      // it is over, and has HeaderCount events
	ControlHandover Control = "handover" // the node HeaderTo goes on with it, at HeaderCount
)

// A Message is one message of a session as it is on EVENTS.
type Message struct {
	Partition int
	Node, SID string
	Seq       uint64    // in the partition's stream
	Time      time.Time // of the bus
	Version   int
	Writer    string  // empty for a simple client
	First     int64   // index of the first event; -1 if the message does not say
	Control   Control // ControlNone for records
	Count     int64   // with a Control
	To        string  // with ControlHandover
	Note      string  // see [Stream.SetNote]
	Trace     string  // see [HeaderTrace]; on few messages
	Payload   []byte
}

// Records yields the records of the message, one OneOf each, that alias
// Payload. If the payload is no whole number of records it yields the good ones
// and then an error that says at which byte it goes wrong and wraps
// [ErrPayload]. A control message has none. That a record is a OneOf is not
// checked.
func (m Message) Records() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if m.Control != ControlNone {
			return
		}
		if !slicefmt.IsFramed(m.Payload) {
			yield(bareRecord(m.Payload))
			return
		}
		rest := m.Payload
		for n := 1; len(rest) > 0; n++ {
			at := len(m.Payload) - len(rest)
			var rec []byte
			var err error
			if rec, rest, err = slicefmt.NextFrame(rest); err != nil {
				yield(nil, fmt.Errorf("record %d at byte %d of %d: %w: %w", n, at, len(m.Payload), ErrPayload, err))
				return
			}
			if !yield(rec, nil) {
				return
			}
		}
	}
}

func bareRecord(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("no record and no control: %w", ErrPayload)
	}
	if len(b) > slicefmt.MaxRecord {
		return nil, fmt.Errorf("bare record of %d bytes, over %d: %w", len(b), slicefmt.MaxRecord, ErrPayload)
	}
	return b, nil
}

// next is the index that follows the message: of an event, or as a control
// message says.
func (m Message) next() (int64, error) {
	if m.Control != ControlNone {
		return m.Count, nil
	}
	var last []byte
	for rec, err := range m.Records() {
		if err != nil {
			return 0, err
		}
		last = rec
	}
	h, err := events.Scan(last)
	if err != nil {
		return 0, fmt.Errorf("last record: %w: %w", ErrPayload, err)
	}
	return h.Index + 1, nil
}

// DecodeMessage reads what a message from EVENTS says. It does not look into
// the payload, which the Message aliases.
//
// An error that wraps [ErrVersion] or [ErrPayload] means that the message is
// not to be read as records; the Message then still says where it stands and
// whose it is. Any other error is of a message whose subject is no session's: if it
// came from a stream at all, Seq and Time are all that is known of it.
func DecodeMessage(msg jetstream.Msg) (Message, error) {
	md, err := msg.Metadata()
	if err != nil {
		return Message{}, fmt.Errorf("decode message on %s: %w", msg.Subject(), err)
	}
	return decode(msg.Subject(), msg.Headers(), msg.Data(), md.Sequence.Stream, md.Timestamp)
}

func decode(subject string, h nats.Header, payload []byte, seq uint64, at time.Time) (Message, error) {
	p, node, sid, err := ParseEventSubject(subject)
	if err != nil {
		// Who may publish to any subject can give a node a name that is none.
		return Message{Seq: seq, Time: at, First: -1}, fmt.Errorf("decode message %d: %w", seq, err)
	}
	m := Message{
		Partition: p, Node: node, SID: sid, Seq: seq, Time: at, Version: 1, First: -1,
		Writer: h.Get(HeaderWriter), Control: Control(h.Get(HeaderControl)), To: h.Get(HeaderTo), Note: h.Get(HeaderNote),
		Trace: traceOf(h.Get(HeaderTrace)), Payload: payload,
	}
	if err := m.header(h); err != nil {
		return m, fmt.Errorf("decode message %d of session %s: %w", seq, sid, err)
	}
	return m, nil
}

func (m *Message) header(h nats.Header) error {
	if v, ok, err := number(h, HeaderVersion); err != nil {
		return err
	} else if ok {
		if m.Version = int(v); v > MessageVersion {
			return fmt.Errorf("version %d: %w than %d", v, ErrVersion, MessageVersion)
		}
	}
	if n := len(m.Writer); n > MaxName {
		// It goes into the session's state, which has to fit into a header.
		return fmt.Errorf("%s of %d bytes, over %d: %w", HeaderWriter, n, MaxName, ErrPayload)
	}
	if v, ok, err := number(h, HeaderFirst); err != nil {
		return err
	} else if ok {
		m.First = v
	}
	var err error
	var counted bool
	if m.Count, counted, err = number(h, HeaderCount); err != nil {
		return err
	}
	switch m.Control {
	case ControlNone:
		return nil
	case ControlAlive, ControlEnd:
	case ControlHandover:
		if err := ValidName(m.To); err != nil {
			return fmt.Errorf("%s: %w: %w", HeaderTo, ErrPayload, err)
		}
	default:
		return fmt.Errorf("%s %q is not known: %w", HeaderControl, m.Control, ErrPayload)
	}
	if !counted || len(m.Payload) > 0 {
		return fmt.Errorf("control %s with %s %q and %d bytes: %w", m.Control, HeaderCount, h.Get(HeaderCount), len(m.Payload), ErrPayload)
	}
	return nil
}

// number reads a header that holds a number from 0 up.
func number(h nats.Header, key string) (n int64, ok bool, err error) {
	s := h.Get(key)
	if s == "" {
		return 0, false, nil
	}
	n, err = strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, false, fmt.Errorf("%s %q is not a number from 0 up: %w", key, s, ErrPayload)
	}
	return n, true, nil
}
