package events

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A Header is what [Scan] reads of a record.
type Header struct {
	// Case is the field number of the event in OneOf.
	Case int32
	// Index is the event's place in its session, from 0.
	Index int64
	// Type is the event type as the Metadata has it. It aliases the scanned bytes.
	Type []byte
	// Seconds and Nanos are the event's Unix time; see Time.
	Seconds int64
	Nanos   int32
	// Delay is the milliseconds since the start of the session. Only prints and
	// desktop recordings have one: HasDelay.
	Delay    int64
	HasDelay bool
}

// Time returns the event's time in UTC. It is the zero time.Time if the event
// has none, or one outside the years 1 to 9999: such a time has no text form, so
// a record that had it could not be written.
func (h Header) Time() time.Time {
	t := time.Unix(h.Seconds, int64(h.Nanos)).UTC()
	if y := t.Year(); y < 1 || y > 9999 {
		return time.Time{}
	}
	return t
}

// Reasons why bytes are no OneOf. They are values so that a scan that fails in
// the middle of a message allocates nothing until it knows where.
var (
	errWire  = errors.New("malformed field")
	errUTF8  = errors.New("string is not UTF-8")
	errDepth = errors.New("nested too deeply")
	errEmpty = errors.New("no event")
)

// Fields that Scan reads.
const (
	fieldMetadata = 1 // of every event

	fieldIndex = 1 // of Metadata
	fieldType  = 2
	fieldTime  = 5

	fieldSeconds = 1 // of Timestamp
	fieldNanos   = 2
)

// Scan reads the case, index, type, time and delay out of a OneOf without
// decoding it, and checks all of it. It allocates nothing.
//
// It accepts what the decoder accepts and reads what the decoder would give:
// the last of several cases wins, repeated sub-messages are merged, a field of
// another wire type than its own is skipped like an unknown one, and a bad
// string anywhere in a message that this package knows is an error.
//
// A case that this package does not know is taken for a message whose field 1
// is Metadata, as in every event so far, and of which nothing else is known. A
// known case beside it wins, as it does in the decoder.
//
// The error wraps [ErrNotOneOf].
func Scan(oneof []byte) (Header, error) {
	if h, ok := scanPlain(oneof); ok {
		return h, nil
	}
	s := scanner{Header: Header{Seconds: yearOne}}
	if err := s.oneOf(oneof); err != nil {
		return Header{}, fmt.Errorf("scan OneOf (%d bytes, case %d): %w: %w", len(oneof), s.Case, ErrNotOneOf, err)
	}
	return s.Header, nil
}

type scanner struct {
	Header
	known   bool
	hasTime bool
	other   error // why an unknown case cannot be read
}

func (s *scanner) oneOf(b []byte) error {
	for len(b) > 0 {
		num, typ, n := consumeTag(b)
		if n < 0 {
			return errWire
		}
		b = b[n:]
		v, n := consumeValue(num, typ, b)
		if n < 0 {
			return errWire
		}
		if typ == protowire.BytesType {
			if err := s.choose(num, v); err != nil {
				return err
			}
		}
		b = b[n:]
	}
	if s.Case == 0 {
		return errEmpty
	}
	return s.other
}

// choose reads v as the case num. The same case once more adds to what is
// there; another takes its place.
func (s *scanner) choose(num protowire.Number, v []byte) error {
	shape := oneOfShape.field(num).msg
	if shape == nil && s.known {
		return nil
	}
	if s.Case != int32(num) {
		*s = scanner{Header: Header{Case: int32(num), Seconds: yearOne}, other: s.other}
		_, s.HasDelay = delayField(int32(num))
	}
	if shape == nil {
		if err := s.event(v, anyShape, protowire.DefaultRecursionLimit-1); err != nil {
			s.other = err
		}
		return nil
	}
	s.known, s.other = true, nil
	return s.event(v, shape, protowire.DefaultRecursionLimit-1)
}

// delayField returns the field of the case's message that holds its delay.
func delayField(c int32) (protowire.Number, bool) {
	switch c {
	case 7: // SessionPrint
		return 5, true
	case 69: // DesktopRecording
		return 3, true
	}
	return 0, false
}

// event reads one occurrence of the event, checking all of it.
func (s *scanner) event(b []byte, shape *shape, depth int) error {
	if depth--; depth < 0 {
		return errDepth
	}
	delay, _ := delayField(s.Case)
	for len(b) > 0 {
		num, typ, n := consumeTag(b)
		if n < 0 {
			return errWire
		}
		b = b[n:]
		if num == fieldMetadata && typ == protowire.BytesType {
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return errWire
			}
			if err := s.metadata(v); err != nil {
				return err
			}
			b = b[n:]
			continue
		}
		_, n, err := shape.value(num, typ, b, depth)
		if err != nil {
			return err
		}
		if num == delay && typ == protowire.VarintType {
			s.Delay = int64(varint(b))
		}
		b = b[n:]
	}
	return nil
}

func (s *scanner) metadata(b []byte) error {
	for len(b) > 0 {
		num, typ, n := consumeTag(b)
		if n < 0 {
			return errWire
		}
		b = b[n:]
		// Metadata is a few levels deep at most: its depth cannot run out.
		v, n, err := metadataShape.value(num, typ, b, protowire.DefaultRecursionLimit)
		if err != nil {
			return err
		}
		switch {
		case num == fieldIndex && typ == protowire.VarintType:
			s.Index = int64(varint(b))
		case num == fieldType && typ == protowire.BytesType:
			s.Type = v
		case num == fieldTime && typ == protowire.BytesType:
			s.timestamp(v)
		}
		b = b[n:]
	}
	return nil
}

// timestamp reads bytes that have been checked.
func (s *scanner) timestamp(b []byte) {
	if !s.hasTime {
		s.Seconds, s.Nanos, s.hasTime = 0, 0, true
	}
	for len(b) > 0 {
		num, typ, n := consumeTag(b)
		b = b[n:]
		if typ == protowire.VarintType {
			switch num {
			case fieldSeconds:
				s.Seconds = int64(varint(b))
			case fieldNanos:
				s.Nanos = int32(varint(b))
			}
		}
		_, n = consumeValue(num, typ, b)
		b = b[n:]
	}
}

// varint reads a number that has been checked.
func varint(b []byte) uint64 {
	v, _ := protowire.ConsumeVarint(b)
	return v
}

// consumeValue returns the length of a field's value, negative if it is
// malformed, and what is in it if it is length-delimited.
func consumeValue(num protowire.Number, typ protowire.Type, b []byte) ([]byte, int) {
	if typ == protowire.BytesType {
		return protowire.ConsumeBytes(b)
	}
	return nil, protowire.ConsumeFieldValue(num, typ, b)
}

// consumeTag reads a tag as the decoder does: a field number out of range is an
// error.
func consumeTag(b []byte) (protowire.Number, protowire.Type, int) {
	if len(b) > 0 && b[0] < 0x80 && b[0] >= 8 {
		return protowire.Number(b[0] >> 3), protowire.Type(b[0] & 7), 1
	}
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 || num > protowire.MaxValidNumber {
		return 0, 0, -1
	}
	return num, typ, n
}

// A shape is what a message's fields must be checked for.
type shape struct {
	fields []fieldShape // by field number
}

type fieldShape struct {
	check check
	msg   *shape
}

type check uint8

const (
	checkWire   check = iota // its wire type alone
	checkUTF8                // a string
	checkMsg                 // a message
	checkMap                 // a map entry
	checkPacked              // a list of varints, which may be packed
)

var oneOfShape, anyShape, metadataShape *shape

func buildShapes() {
	built := shapes{}
	oneOfShape = built.of((*OneOf)(nil).ProtoReflect().Descriptor())
	anyShape = built.of((*AnyEvent)(nil).ProtoReflect().Descriptor())
	metadataShape = built.of((*Metadata)(nil).ProtoReflect().Descriptor())
}

type shapes map[protoreflect.FullName]*shape

// of builds the shape of a message and of all that it can hold.
func (built shapes) of(d protoreflect.MessageDescriptor) *shape {
	if s := built[d.FullName()]; s != nil {
		return s
	}
	s := &shape{}
	built[d.FullName()] = s // before its fields: messages may hold themselves
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		for len(s.fields) <= int(fd.Number()) {
			s.fields = append(s.fields, fieldShape{})
		}
		s.fields[fd.Number()] = built.field(fd)
	}
	return s
}

func (built shapes) field(fd protoreflect.FieldDescriptor) fieldShape {
	switch {
	case fd.IsMap():
		return fieldShape{checkMap, built.of(fd.Message())}
	case fd.Message() != nil:
		return fieldShape{checkMsg, built.of(fd.Message())}
	case fd.Kind() == protoreflect.StringKind:
		return fieldShape{check: checkUTF8}
	case fd.IsList() && fd.Kind() != protoreflect.BytesKind:
		return fieldShape{check: checkPacked}
	}
	return fieldShape{}
}

func (s *shape) field(num protowire.Number) fieldShape {
	if int(num) >= len(s.fields) {
		return fieldShape{}
	}
	return s.fields[num]
}

// value checks the value of one field at the start of b. It returns the value's
// length and, if it is length-delimited, what is in it.
func (s *shape) value(num protowire.Number, typ protowire.Type, b []byte, depth int) ([]byte, int, error) {
	f := s.field(num)
	if f.check == checkMap && depth < 1 {
		return nil, 0, errDepth
	}
	v, n := consumeValue(num, typ, b)
	if n < 0 {
		return nil, 0, errWire
	}
	if typ != protowire.BytesType {
		return nil, n, nil
	}
	switch f.check {
	case checkUTF8:
		if !utf8.Valid(v) {
			return nil, 0, errUTF8
		}
	case checkPacked:
		for rest := v; len(rest) > 0; {
			_, m := protowire.ConsumeVarint(rest)
			if m < 0 {
				return nil, 0, errWire
			}
			rest = rest[m:]
		}
	case checkMsg, checkMap:
		if err := f.msg.check(v, depth); err != nil {
			return nil, 0, err
		}
	}
	return v, n, nil
}

// check checks a whole message, which is one level below depth.
func (s *shape) check(b []byte, depth int) error {
	if depth--; depth < 0 {
		return errDepth
	}
	for len(b) > 0 {
		num, typ, n := consumeTag(b)
		if n < 0 {
			return errWire
		}
		b = b[n:]
		_, n, err := s.value(num, typ, b, depth)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
