package events

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// unknown writes a case that has no message here.
func (w *writer) unknown(oneof []byte) ([]byte, error) {
	h, err := Scan(oneof)
	if err != nil {
		return nil, err
	}
	e, err := anyEvent(oneof, h.Case)
	if err != nil {
		return nil, err
	}
	typ := e.GetMetadata().GetType()
	if e.Metadata == nil {
		e.Metadata = &Metadata{}
	}
	e.Metadata.Type = unknownType
	m := e.ProtoReflect()
	w.b = append(w.b, '{')
	if err := w.members(m, layoutOf(m)); err != nil {
		return nil, fmt.Errorf("write case %d as JSON: %w", h.Case, err)
	}
	w.name(memberCase)
	w.b = strconv.AppendInt(w.b, int64(h.Case), 10)
	w.name(memberType)
	w.string(typ)
	if w.withData {
		w.name(memberRaw)
		w.bytes(oneof)
	}
	return append(w.b, '}'), nil
}

// anyEvent decodes the Metadata of an unknown case that Scan has accepted: of
// its last unbroken run among the unknown fields, merged.
func anyEvent(oneof []byte, c int32) (*AnyEvent, error) {
	e := &AnyEvent{}
	last := int32(0)
	err := eachCase(oneof, func(num int32, v []byte) error {
		if num != last {
			proto.Reset(e)
		}
		last = num
		return proto.UnmarshalOptions{Merge: true}.Unmarshal(v, e)
	})
	if err != nil || last != c {
		return nil, fmt.Errorf("decode case %d: %w", c, errors.Join(ErrNotOneOf, err))
	}
	return e, nil
}

// readUnknown reads the line of an unknown case, which is its raw bytes. What
// else the line says must agree with them.
func readUnknown(obj object) (*OneOf, error) {
	raw, ok := obj[memberRaw]
	if !ok {
		return nil, fmt.Errorf("%s: missing; case %s cannot be read without it", memberRaw, obj[memberCase])
	}
	b, err := readBytes(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", memberRaw, err)
	}
	o, err := Unmarshal(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", memberRaw, err)
	}
	line, err := MarshalJSON(b, JSONOptions{WithData: true})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", memberRaw, err)
	}
	have, err := readObject(line)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", memberRaw, err)
	}
	for _, name := range slices.Sorted(maps.Keys(obj)) {
		if !bytes.Equal(obj[name], have[name]) {
			return nil, fmt.Errorf("%s: %s is not what %s holds", name, obj[name], memberRaw)
		}
	}
	return o, nil
}

// eachCase calls f with each field of a OneOf that can be a case.
func eachCase(oneof []byte, f func(num int32, v []byte) error) error {
	for len(oneof) > 0 {
		num, typ, n := consumeTag(oneof)
		if n < 0 {
			return errWire
		}
		oneof = oneof[n:]
		v, n := consumeValue(num, typ, oneof)
		if n < 0 {
			return errWire
		}
		if typ == protowire.BytesType {
			if err := f(int32(num), v); err != nil {
				return err
			}
		}
		oneof = oneof[n:]
	}
	return nil
}
