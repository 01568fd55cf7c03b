package events

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Members of the JSON that are no field of any event.
const (
	memberCase = "case"
	memberRaw  = "raw"
	memberType = "type"
)

// unknownType is the event type that the JSON of an unknown case shows.
const unknownType = "unknown"

// JSONOptions says what MarshalJSON writes.
type JSONOptions struct {
	// WithData adds what is left out by default: a print's data, and the bytes of
	// an unknown case, without which it cannot be read back.
	WithData bool
}

// MarshalJSON writes a OneOf as one line of flat JSON, without a line feed: the
// members of Metadata, User, Session and the like stand in the event's own
// object, numbers of 64 bits are numbers, enums are numbers, times are RFC 3339
// in UTC, bytes are base64, and members that the protocol writes even when they
// are empty are there.
//
// A case that this package does not know becomes
//
//	{"ei":4,"event":"unknown","uid":"…","time":"…","case":137,"type":"oidc.updated","raw":"…"}
//
// where type is the event's own and raw, only with data, is the whole OneOf. An
// event whose type is not one of its kind's carries its case too. Fields that
// this package does not know are not shown.
//
// It fails for bytes that Scan refuses (ErrNotOneOf) and for what JSON cannot
// say: a time outside the years 1 to 9999, a number that is not finite. The
// error names the member.
func MarshalJSON(oneof []byte, opt JSONOptions) ([]byte, error) {
	o, err := Unmarshal(oneof)
	if err != nil {
		return nil, err
	}
	w := writer{withData: opt.WithData}
	e, err := Unwrap(o)
	if err != nil {
		return w.unknown(oneof)
	}
	m := e.ProtoReflect()
	w.b = append(make([]byte, 0, 512), '{')
	if err := w.members(m, layoutOf(m)); err != nil {
		return nil, fmt.Errorf("write %s as JSON: %w", m.Descriptor().Name(), err)
	}
	if k := byName[m.Descriptor().FullName()]; byType[e.GetMetadata().GetType()] != k {
		w.name(memberCase)
		w.b = strconv.AppendInt(w.b, int64(k.kind.Case), 10)
	}
	return append(w.b, '}'), nil
}

type writer struct {
	b        []byte
	withData bool
}

// members writes the members of m, and of its flat sub-messages, set or not.
func (w *writer) members(m protoreflect.Message, l *layout) error {
	for _, f := range l.fields {
		fd := f.FieldDescriptor
		if f.flat {
			if err := w.members(m.Get(fd).Message(), f.msg); err != nil {
				return err
			}
			continue
		}
		if !w.shown(m, f) {
			continue
		}
		w.name(fd.JSONName())
		if err := w.field(m, f); err != nil {
			return fmt.Errorf("%s: %w", fd.JSONName(), err)
		}
	}
	return nil
}

// shown reports whether a member is to be written.
func (w *writer) shown(m protoreflect.Message, f fieldLayout) bool {
	switch {
	case f.payload && !w.withData:
		return false
	case f.always:
		return true
	case isTraits(f.FieldDescriptor):
		return m.Get(f.FieldDescriptor).Message().Interface().(*LabelValues).GetValues() != nil
	}
	return f.emit || m.Has(f.FieldDescriptor)
}

func (w *writer) field(m protoreflect.Message, f fieldLayout) error {
	fd := f.FieldDescriptor
	switch {
	case fd.IsMap():
		return w.object(m.Get(fd).Map(), fd.MapValue())
	case fd.IsList():
		return w.list(m.Get(fd).List(), fd)
	case fd.Message() == nil || m.Has(fd):
		return w.value(m.Get(fd), fd)
	case isTime(fd):
		return w.time(&timestamppb.Timestamp{Seconds: yearOne})
	case f.emit:
		return w.value(m.Get(fd), fd)
	}
	w.b = append(w.b, "null"...)
	return nil
}

func isTime(fd protoreflect.FieldDescriptor) bool {
	return fd.Message() != nil && fd.Message().FullName() == "google.protobuf.Timestamp"
}

func isTraits(fd protoreflect.FieldDescriptor) bool {
	return fd.Message() != nil && fd.Message().FullName() == "events.LabelValues"
}

func (w *writer) object(v protoreflect.Map, fd protoreflect.FieldDescriptor) error {
	w.b = append(w.b, '{')
	for _, k := range sortedKeys(v) {
		w.name(k)
		if err := w.value(v.Get(protoreflect.ValueOfString(k).MapKey()), fd); err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
	}
	w.b = append(w.b, '}')
	return nil
}

func (w *writer) list(v protoreflect.List, fd protoreflect.FieldDescriptor) error {
	w.b = append(w.b, '[')
	for i := range v.Len() {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		if err := w.value(v.Get(i), fd); err != nil {
			return fmt.Errorf("%d: %w", i, err)
		}
	}
	w.b = append(w.b, ']')
	return nil
}

// value writes one value, of a field or of a list's or a map's element.
func (w *writer) value(v protoreflect.Value, fd protoreflect.FieldDescriptor) error {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		w.b = strconv.AppendBool(w.b, v.Bool())
	case protoreflect.EnumKind:
		w.b = strconv.AppendInt(w.b, int64(v.Enum()), 10)
	case protoreflect.Int32Kind, protoreflect.Int64Kind:
		w.b = strconv.AppendInt(w.b, v.Int(), 10)
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		w.b = strconv.AppendUint(w.b, v.Uint(), 10)
	case protoreflect.StringKind:
		w.string(v.String())
	case protoreflect.BytesKind:
		w.bytes(v.Bytes())
	case protoreflect.MessageKind:
		return w.message(v.Message())
	default:
		return fmt.Errorf("no JSON for %s", fd.Kind())
	}
	return nil
}

func (w *writer) message(m protoreflect.Message) error {
	switch x := m.Interface().(type) {
	case *timestamppb.Timestamp:
		return w.time(x)
	case *structpb.Struct:
		return w.structure(x.GetFields())
	case *wrapperspb.UInt32Value:
		w.b = strconv.AppendUint(w.b, uint64(x.GetValue()), 10)
	case *wrapperspb.UInt64Value:
		w.b = strconv.AppendUint(w.b, x.GetValue(), 10)
	case *LabelValues:
		return w.field(m, layoutOf(m).fields[0])
	case *StringValues:
		return w.field(m, layoutOf(m).fields[0])
	default:
		w.b = append(w.b, '{')
		if err := w.members(m, layoutOf(m)); err != nil {
			return err
		}
		w.b = append(w.b, '}')
	}
	return nil
}

// structure writes the JSON that a google.protobuf.Struct is made of.
func (w *writer) structure(fields map[string]*structpb.Value) error {
	w.b = append(w.b, '{')
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		w.name(k)
		if err := w.any(fields[k]); err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
	}
	w.b = append(w.b, '}')
	return nil
}

func (w *writer) any(v *structpb.Value) error {
	switch x := v.GetKind().(type) {
	case *structpb.Value_BoolValue:
		w.b = strconv.AppendBool(w.b, x.BoolValue)
	case *structpb.Value_StringValue:
		w.string(x.StringValue)
	case *structpb.Value_NumberValue:
		b, err := json.Marshal(x.NumberValue)
		if err != nil {
			return fmt.Errorf("%v is no number in JSON", x.NumberValue)
		}
		w.b = append(w.b, b...)
	case *structpb.Value_StructValue:
		return w.structure(x.StructValue.GetFields())
	case *structpb.Value_ListValue:
		w.b = append(w.b, '[')
		for i, e := range x.ListValue.GetValues() {
			if i > 0 {
				w.b = append(w.b, ',')
			}
			if err := w.any(e); err != nil {
				return fmt.Errorf("%d: %w", i, err)
			}
		}
		w.b = append(w.b, ']')
	default:
		w.b = append(w.b, "null"...)
	}
	return nil
}

func (w *writer) time(ts *timestamppb.Timestamp) error {
	if err := ts.CheckValid(); err != nil {
		return fmt.Errorf("time of %d s and %d ns is not in the years 1 to 9999", ts.GetSeconds(), ts.GetNanos())
	}
	w.b = append(w.b, '"')
	w.b = ts.AsTime().AppendFormat(w.b, time.RFC3339Nano)
	w.b = append(w.b, '"')
	return nil
}

func (w *writer) bytes(v []byte) {
	w.b = append(w.b, '"')
	w.b = base64.StdEncoding.AppendEncode(w.b, v)
	w.b = append(w.b, '"')
}

// name writes a member's name, and the comma before it.
func (w *writer) name(s string) {
	if w.b[len(w.b)-1] != '{' {
		w.b = append(w.b, ',')
	}
	w.string(s)
	w.b = append(w.b, ':')
}

const hex = "0123456789abcdef"

// string writes s, which is UTF-8, as a JSON string.
func (w *writer) string(s string) {
	w.b = append(w.b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf || c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		w.b = append(w.b, s[start:i]...)
		switch c {
		case '"', '\\':
			w.b = append(w.b, '\\', c)
		case '\n':
			w.b = append(w.b, '\\', 'n')
		case '\r':
			w.b = append(w.b, '\\', 'r')
		case '\t':
			w.b = append(w.b, '\\', 't')
		default:
			w.b = append(w.b, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		}
		i++
		start = i
	}
	w.b = append(append(w.b, s[start:]...), '"')
}
