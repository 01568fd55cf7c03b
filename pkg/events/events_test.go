package events

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// fieldList is what of events.proto must never change: every field's message,
// number, name, type and JSON member, and whether the member (always) and the
// sub-message (flat, emit) are written when empty.
func fieldList() string {
	var b strings.Builder
	messages := File_tapedeck_events_events_proto.Messages()
	for i := range messages.Len() {
		d := messages.Get(i)
		for _, f := range layouts[d.FullName()].fields {
			fmt.Fprintf(&b, "%s %d %s %s %s", d.Name(), f.Number(), f.Name(), typeOf(f), f.JSONName())
			for _, o := range []struct {
				on   bool
				word string
			}{{f.flat, " flat"}, {f.emit && !f.flat, " emit"}, {f.always, " always"}, {f.payload, " payload"}} {
				if o.on {
					b.WriteString(o.word)
				}
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func typeOf(f fieldLayout) string {
	typ := f.Kind().String()
	switch {
	case f.IsMap():
		return "map"
	case f.Message() != nil:
		typ = string(f.Message().Name())
	case f.Enum() != nil:
		typ = string(f.Enum().Name())
	}
	if f.IsList() {
		return "repeated-" + typ
	}
	return typ
}

// To add a field, add its line to testdata/fields.txt, and change no other.
func TestFieldsNeverChange(t *testing.T) {
	b, err := os.ReadFile("testdata/fields.txt")
	if err != nil {
		t.Fatal(err)
	}
	want, have := strings.Split(string(b), "\n"), strings.Split(fieldList(), "\n")
	for _, line := range want {
		if !slices.Contains(have, line) {
			t.Errorf("gone: %s", line)
		}
	}
	for _, line := range have {
		if !slices.Contains(want, line) {
			t.Errorf("new: %s", line)
		}
	}
}

func TestNoTwoMembersOfAnObjectShareAName(t *testing.T) {
	for name, l := range layouts {
		seen := map[string]bool{memberCase: true, memberRaw: true}
		var walk func(*layout)
		walk = func(l *layout) {
			for _, f := range l.fields {
				if f.flat {
					walk(f.msg)
				} else if n := f.JSONName(); seen[n] {
					t.Errorf("%s has two members %s", name, n)
				} else {
					seen[n] = true
				}
			}
		}
		if name != "events.OneOf" {
			walk(l)
		}
	}
}

// The reference encoder writes these bytes: what it never leaves out is there.
func TestMarshalWritesWhatIsNeverLeftOut(t *testing.T) {
	noTime := []byte{0x08, 0x80, 0x92, 0xb8, 0xc3, 0x98, 0xfe, 0xff, 0xff, 0xff, 0x01}
	meta := field(1, field(5, noTime))
	user := field(2, field(15))
	for _, tt := range []struct {
		in   Event
		want []byte
	}{
		{&SessionPrint{}, field(7, meta)},
		{&Resize{}, field(9, meta, user, field(3), field(4), field(5), field(7), field(8))},
		{&UserDelete{}, field(3, meta, user, field(3, field(2, noTime)), field(4))},
		{&SessionEnd{}, field(10, meta, user, field(3), field(4), field(5), field(9, noTime), field(10, noTime), field(11), field(12))},
		{&AccessRequestCreate{RequestedResourceAccessIds: []*ResourceAccessID{{}}}, field(23, meta, user, field(3, field(2, noTime)), field(13, noTime), []byte{0x92, 1, 2, 10, 0})},
	} {
		if got := mustMarshal(t, tt.in); !bytes.Equal(got, tt.want) {
			t.Errorf("%T\n got %x\nwant %x", tt.in, got, tt.want)
		}
		if !proto.Equal(tt.in, tt.in.ProtoReflect().New().Interface()) && tt.in.GetMetadata() != nil {
			t.Errorf("%T was changed: %v", tt.in, tt.in)
		}
	}
	if o, err := Wrap((*SessionPrint)(nil)); err == nil {
		t.Errorf("Wrap of a nil event: %v", o)
	}
	if got, err := Marshal(&OneOf{Event: &OneOf_SessionPrint{}}); err != nil || !bytes.Equal(got, field(7, meta)) {
		t.Errorf("a OneOf with a nil event: %x, %v", got, err)
	}
}

func TestMarshalLeavesWhatItIsGiven(t *testing.T) {
	for _, k := range Kinds() {
		for seed := range uint64(8) {
			o, b := sample(t, k, 0.5, seed)
			before := proto.Clone(o)
			if again, err := Append([]byte("x"), o); err != nil || !bytes.Equal(again[1:], b) || again[0] != 'x' {
				t.Fatalf("%s: encoded twice: %x, %x, %v", k.Name, b, again, err)
			}
			if !proto.Equal(o, before) {
				t.Fatalf("%s was changed", k.Name)
			}
		}
	}
}

func TestUnknownFieldsAreKept(t *testing.T) {
	more := field(9999, []byte("more"))
	in := mustMarshal(t, &SessionJoin{})
	in = field(6, in[2:], more)
	o, err := Unmarshal(in)
	if err != nil {
		t.Fatal(err)
	}
	o.GetSessionJoin().User = nil // so that Marshal has something to copy
	if got, err := Marshal(o); err != nil || !bytes.Contains(got, more) {
		t.Errorf("%x, %v", got, err)
	}
}

func TestMarshalRefuses(t *testing.T) {
	dst := []byte("x")
	for _, tt := range []struct {
		name string
		in   *OneOf
	}{
		{"nothing", &OneOf{}},
		{"nil", nil},
		{"a string that is not UTF-8", &OneOf{Event: &OneOf_SessionPrint{SessionPrint: &SessionPrint{Metadata: &Metadata{Type: "\xff"}}}}},
	} {
		if got, err := Append(dst, tt.in); err == nil || string(got) != "x" {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
}

func TestWrapAndUnwrap(t *testing.T) {
	for _, k := range Kinds() {
		fd := oneofEvent.Fields().ByNumber(protoreflect.FieldNumber(k.Case))
		e := (&OneOf{}).ProtoReflect().NewField(fd).Message().Interface().(Event)
		o, err := Wrap(e)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Unwrap(o); err != nil || got != e {
			t.Errorf("%s: %v, %v", k.Name, got, err)
		}
	}
	if _, err := Wrap(&AnyEvent{}); !errors.Is(err, ErrUnknownCase) {
		t.Errorf("Wrap of no event: %v", err)
	}
	if _, err := Wrap(nil); !errors.Is(err, ErrUnknownCase) {
		t.Errorf("Wrap of nil: %v", err)
	}
	if _, err := Unwrap(&OneOf{}); !errors.Is(err, ErrUnknownCase) {
		t.Errorf("Unwrap of nothing: %v", err)
	}
}

func TestKinds(t *testing.T) {
	var cases []int32
	for _, k := range Kinds() {
		cases = append(cases, k.Case)
		if got, ok := KindByCase(k.Case); !ok || got.Name != k.Name {
			t.Errorf("KindByCase(%d) = %v, %v", k.Case, got, ok)
		}
		for _, code := range append([]string{""}, k.Codes...) {
			if got, ok := KindByType(k.Type, code); !ok || got.Case != k.Case {
				t.Errorf("KindByType(%q, %q) = %v, %v", k.Type, code, got, ok)
			}
		}
	}
	var want []int32
	for n := int32(1); n <= 35; n++ {
		want = append(want, n)
	}
	want = append(want, 43, 59, 60, 69, 70, 71, 80, 91, 94, 254, 255)
	if !slices.Equal(cases, want) {
		t.Errorf("cases %v, want %v", cases, want)
	}
	for n := int32(-1); n < 300; n++ {
		if got := Known(n); got != slices.Contains(want, n) {
			t.Errorf("Known(%d) = %v", n, got)
		}
	}
	for _, tt := range []struct {
		name, typ, code string
		want            int32
	}{
		{"rejected is not the number it shares", "session.rejected", "T1006W", 8},
		{"the code of another event", "session.rejected", "T1006I", 0},
		{"a type of no kind", "user.update", "T1003I", 0},
		{"a code alone", "", "T2000I", 0},
		{"another type of the same kind", "recovery_token.create", "T6001I", 24},
	} {
		if k, ok := KindByType(tt.typ, tt.code); ok != (tt.want != 0) || k.Case != tt.want {
			t.Errorf("%s: %v, %v", tt.name, k, ok)
		}
	}
	kinds := Kinds()
	kinds[0].Codes[0] = "changed"
	if k, _ := KindByCase(1); k.Codes[0] == "changed" {
		t.Error("the registry can be changed from outside")
	}
}
