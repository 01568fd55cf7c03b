package slicer

import (
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// An input is one message from EVENTS, decoded on the reader's goroutine.
type input struct {
	bus.Message
	raw jetstream.Msg // for what has to be kept as it came
	err error         // why it is not to be read as records
}

// size is the bytes that a waiting input takes.
func (m *input) size() int64 { return int64(len(m.Payload)) + 512 }

// Reasons for which a message, or a part of it, cannot be recorded. They are in
// what is written under <sid>.late and label the metric, so they stay few.
const (
	lateSubject   = "subject"   // the subject is none of ours
	latePartition = "partition" // the partition is not the session's
	lateNode      = "node"      // the session belongs to another node
	lateEnded     = "ended"     // the session is over
	lateIndex     = "index"     // the index was used before with other bytes, or may have been
	lateRange     = "range"     // the index is negative or one of the reserved ones
	latePayload   = "payload"   // torn frames, a record of a wrong size, bytes that are no OneOf
	lateControl   = "control"   // an unknown control header, or one that lacks what it needs
	lateVersion   = "version"   // a message of a later version than this build knows
)

// decode reads a message. It fails only if the message does not say where in the
// stream it stands; anything else that is wrong with it is in the input's err.
func decode(raw jetstream.Msg) (*input, error) {
	md, err := raw.Metadata()
	if err != nil {
		return nil, err
	}
	m, err := bus.DecodeMessage(raw)
	m.Seq, m.Time = md.Sequence.Stream, md.Timestamp
	return &input{Message: m, raw: raw, err: err}, nil
}

// refused says why a message cannot be read at all, or "".
func (m *input) refused() string {
	switch {
	case m.err == nil:
		return ""
	case m.SID == "":
		return lateSubject
	case errors.Is(m.err, bus.ErrVersion):
		return lateVersion
	case m.Control != bus.ControlNone:
		return lateControl
	}
	return latePayload
}
