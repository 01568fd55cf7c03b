package events

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A filler sets the fields of messages: each with the given probability, and to
// a value that no other field has.
type filler struct {
	r    *rand.Rand
	prob float64
	n    int64
}

func (f *filler) fill(m protoreflect.Message) {
	switch x := m.Interface().(type) {
	case *timestamppb.Timestamp:
		f.n++
		x.Seconds, x.Nanos = 1637249633+f.n, int32(f.n)*1000
		return
	case *structpb.Struct:
		s, err := structpb.NewStruct(map[string]any{
			"list": []any{"a", 1.5, true, nil, map[string]any{"<&>": -0.25}}, "big": 1e300, "empty": map[string]any{},
		})
		if err != nil {
			panic(err)
		}
		proto.Merge(x, s)
		return
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if f.r.Float64() >= f.prob || fd.ContainingOneof() != nil && m.WhichOneof(fd.ContainingOneof()) != nil {
			continue
		}
		switch {
		case fd.IsMap():
			for range 3 {
				key := protoreflect.ValueOfString(f.text()).MapKey()
				m.Mutable(fd).Map().Set(key, f.value(m.Mutable(fd).Map().NewValue(), fd.MapValue()))
			}
		case fd.IsList():
			for range 3 {
				m.Mutable(fd).List().Append(f.value(m.Mutable(fd).List().NewElement(), fd))
			}
		default:
			m.Set(fd, f.value(m.NewField(fd), fd))
		}
	}
}

func (f *filler) text() string {
	f.n++
	return fmt.Sprintf("v%d \"\\\x00\x1f\t\r\n é\u2028😀<>&", f.n)
}

func (f *filler) value(zero protoreflect.Value, fd protoreflect.FieldDescriptor) protoreflect.Value {
	f.n++
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(f.n))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(math.MinInt32 + int32(f.n))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(math.MinInt64 + f.n)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(math.MaxUint32 - uint32(f.n))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(math.MaxUint64 - uint64(f.n))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(f.text())
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{0, 0xff, byte(f.n)})
	}
	f.fill(zero.Message())
	return zero
}

// sample returns an event of the kind with each field set with probability
// prob, encoded.
func sample(tb testing.TB, k Kind, prob float64, seed uint64) (*OneOf, []byte) {
	tb.Helper()
	f := filler{r: rand.New(rand.NewPCG(seed, uint64(k.Case))), prob: prob}
	m := oneofEvent.Fields().ByNumber(protoreflect.FieldNumber(k.Case))
	o := &OneOf{}
	v := o.ProtoReflect().NewField(m)
	f.fill(v.Message())
	if md := v.Message().Interface().(Event).GetMetadata(); md != nil && seed%2 == 0 {
		md.Type = k.Type
	}
	o.ProtoReflect().Set(m, v)
	b, err := Marshal(o)
	if err != nil {
		tb.Fatal(err)
	}
	return o, b
}

// field encodes one length-delimited field.
func field(num protowire.Number, v ...[]byte) []byte {
	var all []byte
	for _, p := range v {
		all = append(all, p...)
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), all)
}

// number encodes one varint field.
func number(num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v)
}

func join(v ...[]byte) []byte {
	var all []byte
	for _, p := range v {
		all = append(all, p...)
	}
	return all
}

// nested encodes a UserLogin whose attributes are n lists within each other.
func nested(n int) []byte {
	var v []byte
	for range n {
		v = field(6, field(1, v)) // Value.list_value, ListValue.values
	}
	entry := join(field(1, []byte("k")), field(2, v))
	return field(1, field(5, field(1, entry)))
}

// groups encodes n groups within each other, as field 100 of a SessionPrint.
func groups(n int) []byte {
	b := []byte(strings.Repeat(string(protowire.AppendTag(nil, 100, protowire.StartGroupType)), n))
	b = append(b, strings.Repeat(string(protowire.AppendTag(nil, 100, protowire.EndGroupType)), n)...)
	return field(7, b)
}
