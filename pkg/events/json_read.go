package events

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// UnmarshalJSON reads what MarshalJSON writes, and lines that other programs
// write. The event type in "event" says which kind it is; "case" does, where it
// is there. The code is taken as it is.
//
// It is strict: a member that the kind does not have, a member twice, a value of
// the wrong type, an event type of no kind, or anything behind the object is an
// error that names it. null, or leaving a member out, gives its zero value; a
// time that is left out is the zero time.
//
// The result has every sub-message set that Marshal writes: what MarshalJSON
// wrote with data reads back as the event it was written from.
func UnmarshalJSON(line []byte) (*OneOf, error) {
	o, err := readEvent(line)
	if err != nil {
		return nil, fmt.Errorf("read event: %w", err)
	}
	return o, nil
}

func readEvent(line []byte) (*OneOf, error) {
	if !utf8.Valid(line) {
		return nil, errUTF8
	}
	obj, err := readObject(line)
	if err != nil {
		return nil, err
	}
	k, err := kindOf(obj)
	if err != nil {
		return nil, err
	}
	if k == nil {
		return readUnknown(obj)
	}
	o := &OneOf{}
	m := o.ProtoReflect().NewField(k.field).Message()
	if err := readMembers(m, obj); err != nil {
		return nil, fmt.Errorf("%s: %w", k.kind.Name, err)
	}
	o.ProtoReflect().Set(k.field, protoreflect.ValueOfMessage(completed(m)))
	return o, nil
}

// kindOf finds the kind of the event in obj and takes out "case", which is no
// field. A nil entry is a case that has no kind.
func kindOf(obj object) (*entry, error) {
	if raw, ok := obj[memberCase]; ok {
		n, err := readInt(raw, 32)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", memberCase, err)
		}
		k := byCase[int32(n)]
		if k != nil {
			delete(obj, memberCase)
		}
		return k, nil
	}
	raw, ok := obj["event"]
	if !ok {
		return nil, errors.New(`event: missing, so the event type is not known`)
	}
	typ, err := readString(raw)
	if err != nil {
		return nil, fmt.Errorf("event: %w", err)
	}
	k := byType[typ]
	if k == nil {
		return nil, fmt.Errorf("event: %w: %q is no event type", ErrUnknownCase, typ)
	}
	return k, nil
}

// An object is a JSON object whose values are not read yet.
type object map[string]json.RawMessage

func readObject(b []byte) (object, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil {
		return nil, jsonError(err)
	} else if t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	obj := object{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, jsonError(err)
		}
		name := t.(string)
		if _, twice := obj[name]; twice {
			return nil, fmt.Errorf("%s: there twice", name)
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, fmt.Errorf("%s: %w", name, jsonError(err))
		}
		obj[name] = raw
	}
	if _, err := d.Token(); err != nil {
		return nil, jsonError(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("something stands behind the object, at byte %d", d.InputOffset())
	}
	return obj, nil
}

// jsonError says in our words that the input ends too soon.
func jsonError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON ends too soon")
	}
	return fmt.Errorf("malformed JSON: %w", err)
}

// readMembers sets in m, and in its flat sub-messages, what obj says. The order
// is by name, so that of several errors the same one is always reported.
func readMembers(m protoreflect.Message, obj object) error {
	members := layoutOf(m).byJSON
	for _, name := range slices.Sorted(maps.Keys(obj)) {
		mem := members[name]
		if mem == nil {
			return fmt.Errorf("%s: no such member", name)
		}
		if string(obj[name]) == "null" {
			continue
		}
		in := m
		for _, fd := range mem.via {
			in = in.Mutable(fd).Message()
		}
		if err := readField(in, mem.field, obj[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func readField(m protoreflect.Message, fd protoreflect.FieldDescriptor, raw json.RawMessage) error {
	switch {
	case fd.IsMap():
		return readMap(m.Mutable(fd).Map(), fd.MapValue(), raw)
	case fd.IsList():
		return readList(m.Mutable(fd).List(), fd, raw)
	}
	if o := fd.ContainingOneof(); o != nil && m.WhichOneof(o) != nil {
		return fmt.Errorf("%s is there already", m.WhichOneof(o).JSONName())
	}
	v, err := readValue(m.NewField(fd), fd, raw)
	if err != nil {
		return err
	}
	m.Set(fd, v)
	return nil
}

func readMap(to protoreflect.Map, fd protoreflect.FieldDescriptor, raw json.RawMessage) error {
	obj, err := readObject(raw)
	if err != nil {
		return err
	}
	for _, k := range slices.Sorted(maps.Keys(obj)) {
		v, err := readValue(to.NewValue(), fd, obj[k])
		if err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
		to.Set(protoreflect.ValueOfString(k).MapKey(), v)
	}
	return nil
}

func readList(to protoreflect.List, fd protoreflect.FieldDescriptor, raw json.RawMessage) error {
	var items []json.RawMessage
	if raw[0] != '[' {
		return fmt.Errorf("%s is no list", raw)
	}
	if err := json.Unmarshal(raw, &items); err != nil {
		return jsonError(err)
	}
	for i, item := range items {
		v, err := readValue(to.NewElement(), fd, item)
		if err != nil {
			return fmt.Errorf("%d: %w", i, err)
		}
		to.Append(v)
	}
	return nil
}

// readValue reads one value, of a field or of a list's or a map's element. zero
// is such a value, new.
func readValue(zero protoreflect.Value, fd protoreflect.FieldDescriptor, raw json.RawMessage) (protoreflect.Value, error) {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		if s := string(raw); s != "true" && s != "false" {
			return zero, fmt.Errorf("%s is neither true nor false", short(raw))
		}
		return protoreflect.ValueOfBool(raw[0] == 't'), nil
	case protoreflect.EnumKind:
		n, err := readInt(raw, 32)
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n)), err
	case protoreflect.Int32Kind:
		n, err := readInt(raw, 32)
		return protoreflect.ValueOfInt32(int32(n)), err
	case protoreflect.Int64Kind:
		n, err := readInt(raw, 64)
		return protoreflect.ValueOfInt64(n), err
	case protoreflect.Uint32Kind:
		n, err := readUint(raw, 32)
		return protoreflect.ValueOfUint32(uint32(n)), err
	case protoreflect.Uint64Kind:
		n, err := readUint(raw, 64)
		return protoreflect.ValueOfUint64(n), err
	case protoreflect.StringKind:
		s, err := readString(raw)
		return protoreflect.ValueOfString(s), err
	case protoreflect.BytesKind:
		b, err := readBytes(raw)
		return protoreflect.ValueOfBytes(b), err
	case protoreflect.MessageKind:
		return zero, readMessage(zero.Message(), raw)
	}
	return zero, fmt.Errorf("no JSON for %s", fd.Kind())
}

func readMessage(m protoreflect.Message, raw json.RawMessage) error {
	switch x := m.Interface().(type) {
	case *timestamppb.Timestamp:
		return readTime(x, raw)
	case *structpb.Struct:
		return readStruct(x, raw)
	case *wrapperspb.UInt32Value:
		n, err := readUint(raw, 32)
		x.Value = uint32(n)
		return err
	case *wrapperspb.UInt64Value:
		n, err := readUint(raw, 64)
		x.Value = n
		return err
	case *LabelValues, *StringValues:
		return readField(m, layoutOf(m).fields[0].FieldDescriptor, raw)
	}
	obj, err := readObject(raw)
	if err != nil {
		return err
	}
	return readMembers(m, obj)
}

func readTime(to *timestamppb.Timestamp, raw json.RawMessage) error {
	s, err := readString(raw)
	if err != nil {
		return err
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return fmt.Errorf("%q is no time in the form of RFC 3339", s)
	}
	ts := timestamppb.New(t)
	if err := ts.CheckValid(); err != nil {
		return fmt.Errorf("%q is not in the years 1 to 9999", s)
	}
	proto.Merge(to, ts)
	return nil
}

func readStruct(to *structpb.Struct, raw json.RawMessage) error {
	var v map[string]any
	if err := json.Unmarshal(raw, &v); err != nil {
		return fmt.Errorf("%s is no object", short(raw))
	}
	s, err := structpb.NewStruct(v)
	if err != nil {
		return err
	}
	proto.Merge(to, s)
	return nil
}

func readString(raw json.RawMessage) (string, error) {
	var s string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return "", fmt.Errorf("%s is no string", short(raw))
	}
	return s, nil
}

func readBytes(raw json.RawMessage) ([]byte, error) {
	s, err := readString(raw)
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("not base64: %w", err)
	}
	return b, nil
}

func readInt(raw json.RawMessage, bits int) (int64, error) {
	n, err := strconv.ParseInt(string(raw), 10, bits)
	if err != nil {
		return 0, fmt.Errorf("%s is no whole number of %d bits", short(raw), bits)
	}
	return n, nil
}

func readUint(raw json.RawMessage, bits int) (uint64, error) {
	n, err := strconv.ParseUint(string(raw), 10, bits)
	if err != nil {
		return 0, fmt.Errorf("%s is no whole number of %d bits from 0", short(raw), bits)
	}
	return n, nil
}

// short is raw for an error message.
func short(raw json.RawMessage) string {
	const limit = 40
	if len(raw) <= limit {
		return string(raw)
	}
	return strings.ToValidUTF8(string(raw[:limit]), "") + "…"
}

func sortedKeys(m protoreflect.Map) []string {
	keys := make([]string, 0, m.Len())
	for k := range m.Range {
		keys = append(keys, k.String())
	}
	slices.Sort(keys)
	return keys
}
