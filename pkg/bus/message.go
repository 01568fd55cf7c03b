package bus

import (
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// MessageVersion is the version of messages on EVENTS that this package writes.
// A message without one is of version 1.
const MessageVersion = 1

// Headers of a message on EVENTS.
const (
	HeaderVersion = "Tapedeck-Version" // MessageVersion
	HeaderWriter  = "Tapedeck-Writer"  // nonce of the writer, new with each Open and Resume
	HeaderFirst   = "Tapedeck-First"   // index of the first event in the message
	HeaderControl = "Tapedeck-Control" // one of the Control constants; the message has no payload
	HeaderCount   = "Tapedeck-Count"   // of a control message: events so far, which is the next index
	HeaderTo      = "Tapedeck-To"      // of a handover: the node that goes on
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
	Payload   []byte
}

// Records yields the records of the message, one OneOf each, that alias
// Payload. If the payload is no whole number of records it yields the good ones
// and then an error that says at which byte it goes wrong and wraps
// [ErrPayload]. A control message has none.
func (m Message) Records() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {}
}

// DecodeMessage reads what a message from EVENTS says. It does not look into
// the payload, which the Message aliases. With an error that wraps [ErrVersion]
// or [ErrPayload] the Message says as much as could be read.
func DecodeMessage(msg jetstream.Msg) (Message, error) { return Message{}, nil }
