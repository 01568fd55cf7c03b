// Package events holds the events of a session recording: their messages, the
// registry of types and codes, a flat JSON form, and a scan that reads what a
// record is without decoding it.
//
// A record is one [OneOf]. The field numbers, types and JSON names in
// events.proto are those of a public protocol and never change, so recordings
// can be read by the tools that exist and theirs by us. A case of OneOf that
// this package does not know is no error: its bytes pass through untouched and
// it is shown by its number.
//
// # Compatibility
//
// What [Marshal] writes has the sub-messages and times that the protocol's
// first encoder always writes, empty or not, because readers exist that rely on
// them. A time that is not set is written as the first moment of the year 1,
// Go's zero [time.Time], as that encoder does. Bytes are the same for the same
// event, but need not be another encoder's bytes: compare events, not bytes.
package events

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// MaxOneOf is the most bytes a record's OneOf may have. Marshal does not
	// enforce it; what frames records does.
	MaxOneOf = 65536
	// MaxPrintData is the most bytes of terminal output to put into one
	// SessionPrint, so that with its metadata it stays below MaxOneOf.
	MaxPrintData = 61440
)

// Errors that callers can test for with errors.Is.
var (
	// ErrNotOneOf says that bytes hold no OneOf with one event in it.
	ErrNotOneOf = errors.New("not a OneOf with one event")
	// ErrUnknownCase says that a OneOf or a message is of a case that this
	// package has no message for.
	ErrUnknownCase = errors.New("event of an unknown case")
)

// An Event is any message that can stand in a OneOf.
type Event interface {
	proto.Message
	GetMetadata() *Metadata
}

// Unmarshal decodes a OneOf. It accepts exactly what [Scan] accepts; any error
// wraps [ErrNotOneOf]. A case that this package does not know is kept in the
// unknown fields, so that Marshal gives the same event again; [Unwrap] then
// gives ErrUnknownCase. The result does not alias oneof.
func Unmarshal(oneof []byte) (*OneOf, error) {
	if _, err := Scan(oneof); err != nil {
		return nil, err
	}
	o := &OneOf{}
	if err := proto.Unmarshal(oneof, o); err != nil {
		return nil, fmt.Errorf("decode OneOf (%d bytes): %w: %w", len(oneof), ErrNotOneOf, err)
	}
	return o, nil
}

// Marshal encodes o, the same event always as the same bytes. It does not
// change o. It refuses a OneOf that holds no event (ErrNotOneOf) or a string
// that is not UTF-8.
func Marshal(o *OneOf) ([]byte, error) { return Append(nil, o) }

// Append is Marshal at the end of dst. When it returns an error dst is returned
// as it was.
func Append(dst []byte, o *OneOf) ([]byte, error) {
	m := o.ProtoReflect()
	if o.GetEvent() == nil {
		unknown := m.GetUnknown()
		if _, err := Scan(unknown); err != nil {
			return dst, fmt.Errorf("encode OneOf: %w", err)
		}
		return append(dst, unknown...), nil
	}
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(dst, completed(m).Interface())
	if err != nil {
		return dst, fmt.Errorf("encode OneOf: %w", err)
	}
	return b, nil
}

// Wrap puts e into a OneOf, which then shares it. It gives ErrUnknownCase for a
// message that is not a case of OneOf.
func Wrap(e Event) (*OneOf, error) {
	if e == nil {
		return nil, fmt.Errorf("wrap nil: %w", ErrUnknownCase)
	}
	m := e.ProtoReflect()
	k, ok := byName[m.Descriptor().FullName()]
	if !ok {
		return nil, fmt.Errorf("wrap %s: %w", m.Descriptor().FullName(), ErrUnknownCase)
	}
	if !m.IsValid() {
		return nil, fmt.Errorf("wrap nil %s: %w", k.kind.Name, ErrNotOneOf)
	}
	o := &OneOf{}
	o.ProtoReflect().Set(k.field, protoreflect.ValueOfMessage(m))
	return o, nil
}

// Unwrap returns the event in o, which stays shared with o. It gives
// ErrUnknownCase if o holds a case that this package does not know, or none.
func Unwrap(o *OneOf) (Event, error) {
	m := o.ProtoReflect()
	fd := m.WhichOneof(oneofEvent)
	if fd == nil {
		return nil, fmt.Errorf("unwrap OneOf: %w", ErrUnknownCase)
	}
	return m.Get(fd).Message().Interface().(Event), nil
}
