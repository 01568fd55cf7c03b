package events

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A seed is an input of the scan and whether it is a OneOf.
type seed struct {
	name string
	in   []byte
	ok   bool
}

// seeds returns the inputs that tests and fuzzing start from: every kind filled
// by reflection, and the corners of the wire format by hand.
func seeds(tb testing.TB) []seed {
	meta := func(v ...[]byte) []byte { return field(1, v...) }
	at := func(v ...[]byte) []byte { return field(5, v...) }
	typ := func(s string) []byte { return field(2, []byte(s)) }
	all := []seed{
		{"nothing", nil, false},
		{"an event without fields", field(7), true},
		{"an unknown case without fields", field(137), true},
		{"the highest case number", field(protowire.MaxValidNumber, meta(number(1, 5))), true},
		{"field number 0", []byte{2, 0}, false},
		{"a field number too high", protowire.AppendBytes(protowire.AppendVarint(nil, uint64(protowire.MaxValidNumber+1)<<3|2), nil), false},
		{"a case with the wire type of a number", number(7, 1), false},
		{"an event beside a case with another wire type", join(field(7, meta(number(1, 9))), number(5, 1)), true},
		{"an unknown number alone", number(137, 1), false},
		{"two cases, the last wins", join(field(5, meta(number(1, 1))), field(7, meta(number(1, 2)), number(5, 3))), true},
		{"a case, another and the first again starts anew", join(field(7, meta(number(1, 1), typ("print"))), field(5, meta(number(1, 2))), field(7, number(5, 4))), true},
		{"the same case twice is merged", join(field(7, meta(number(1, 1), typ("a"))), field(7, meta(typ("b")), number(5, 3))), true},
		{"Metadata twice is merged", field(7, meta(number(1, 1), at(number(1, 100))), meta(typ("b"), at(number(2, 7)))), true},
		{"an empty type after another", field(7, meta(typ("a"), typ(""))), true},
		{"an empty time", field(7, meta(at())), true},
		{"a time before 1970", field(7, meta(at(number(1, 1<<63), number(2, 1<<33|5)))), true},
		{"Metadata with the wire type of a number", field(7, number(1, 1)), true},
		{"an index with the wire type of bytes", field(7, meta(field(1, []byte{1}))), true},
		{"a delay with the wire type of bytes", field(7, field(5, []byte{1})), true},
		{"a delay of a desktop recording", field(69, number(3, 12)), true},
		{"an index of ten bytes", field(7, meta(number(1, 1<<64-1))), true},
		{"a number of eleven bytes", field(7, meta([]byte{8, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1})), false},
		{"a number over 64 bits", field(7, meta([]byte{8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2})), false},
		{"a truncated number", field(7, meta([]byte{8, 0x80})), false},
		{"a length beyond the end", []byte{58, 5, 1}, false},
		{"a length beyond the end, inside", field(7, []byte{10, 5, 1}), false},
		{"a wire type that does not exist", field(7, []byte{14}), false},
		{"a type that is not UTF-8", field(7, meta(typ("\xff"))), false},
		{"a code that is not UTF-8", field(7, meta(field(4, []byte("\xc0\x80")))), false},
		{"a user that is not UTF-8", field(5, field(2, field(1, []byte("\xff")))), false},
		{"a label that is not UTF-8", field(5, field(4, field(5, field(2, []byte("\xff"))))), false},
		{"a label entry with more in it", field(5, field(4, field(5, number(1, 1), field(9, []byte("\xff")), field(1, []byte("k"))))), true},
		{"bytes that are not UTF-8", field(7, field(3, []byte("\xff"))), true},
		{"an unknown field that is not UTF-8", field(7, field(99, []byte("\xff"))), true},
		{"a truncated field in a sub-message", field(5, field(3, []byte{8})), false},
		{"a packed list", field(59, field(14, field(6, []byte{1, 0x80, 1}))), true},
		{"a packed list cut short", field(59, field(14, field(6, []byte{1, 0x80}))), false},
		{"a list not packed", field(59, field(14, number(6, 1), number(6, 2))), true},
		{"a group", field(7, []byte{0x0b, 0x08, 0x01, 0x0c}), true},
		{"a group that does not end", field(7, []byte{0x0b, 0x08, 0x01}), false},
		{"a group that ends as another", field(7, []byte{0x0b, 0x14}), false},
		{"the end of a group alone", field(7, []byte{0x0c}), false},
		{"the end of a group at the top", []byte{0x0c}, false},
		{"an event and a group", join(field(7), []byte{0x0b, 0x0c}), true},
		{"a group for a case", []byte{0x3b, 0x3c}, false},
		{"a known case, then an unknown one", join(field(7, meta(number(1, 4))), field(137, []byte("\xff\xff"))), true},
		{"an unknown case, then a known one", join(field(137, []byte("\xff\xff")), field(7, meta(number(1, 4)))), true},
		{"an unknown case", field(137, meta(number(1, 4), typ("oidc.updated"), at(number(1, 9))), number(5, 1)), true},
		{"an unknown case in two pieces", join(field(137, meta(number(1, 4))), field(137, meta(typ("x")))), true},
		{"two unknown cases", join(field(137, meta(number(1, 4))), field(138, meta(typ("x")))), true},
		{"an unknown case without Metadata", field(137, number(1, 7)), true},
		{"an unknown case whose field 1 is no Metadata", field(137, field(1, []byte("{"))), false},
		{"an unknown case that is no message", field(137, []byte("\xff\xff")), false},
		{"a bad unknown case and a good one", join(field(137, []byte("\xff\xff")), field(138)), false},
		{"JSON", []byte(`{"ei":0,"event":"session.start"}`), false},
		{"text", []byte("hello world, this is a terminal"), false},
		{"attributes nested as deeply as may be", nested(4996), true},
		{"attributes nested too deeply", nested(4998), false},
		{"groups nested as deeply as may be", groups(10000), true},
		{"groups nested too deeply", groups(10002), false},
	}
	for _, k := range Kinds() {
		_, full := sample(tb, k, 1, 0)
		_, half := sample(tb, k, 0.5, 1)
		all = append(all,
			seed{k.Name + " with every field", full, true},
			seed{k.Name + " with some fields", half, true},
			seed{k.Name + " cut short", full[:len(full)-1], false})
	}
	return all
}

// Fuzzing is worth what its seeds are worth, so they are counted.
const seedCount = 60 + 3*46

func TestNoSeedIsLost(t *testing.T) {
	all := seeds(t)
	if len(all) != seedCount {
		t.Fatalf("%d seeds, want %d", len(all), seedCount)
	}
	cases := map[int32]bool{}
	for _, s := range all {
		if h, err := Scan(s.in); err == nil {
			cases[h.Case] = true
		}
	}
	for _, k := range Kinds() {
		if !cases[k.Case] {
			t.Errorf("no seed of case %d", k.Case)
		}
	}
}

func TestScanReadsWhatTheDecoderGives(t *testing.T) {
	for _, s := range seeds(t) {
		t.Run(s.name, func(t *testing.T) {
			checkScan(t, s.in)
			if _, err := Scan(s.in); (err == nil) != s.ok {
				t.Fatalf("Scan: %v, want ok %v", err, s.ok)
			}
		})
	}
}

func TestScanOfEveryPrefix(t *testing.T) {
	for _, k := range Kinds() {
		_, b := sample(t, k, 0.4, 1)
		for i := range b {
			checkScan(t, b[:i])
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s.in)
	}
	f.Fuzz(func(t *testing.T, b []byte) { checkScan(t, b) })
}

// checkScan holds Scan against the full decoder: the same verdict, the same
// values, and Unmarshal and MarshalJSON agree.
func checkScan(t *testing.T, b []byte) {
	t.Helper()
	got, err := Scan(b)
	want, wantErr := decode(b)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("Scan of %x: %v, decoder: %v", b, err, wantErr)
	}
	if err != nil && !errors.Is(err, ErrNotOneOf) {
		t.Fatalf("Scan of %x: %v, which is not ErrNotOneOf", b, err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("Scan of %x\n     = %+v\n want: %+v", b, got, want)
	}
	o, err := Unmarshal(b)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("Unmarshal of %x: %v, decoder: %v", b, err, wantErr)
	}
	if err != nil {
		return
	}
	again, err := Marshal(o)
	if err != nil {
		t.Fatalf("Marshal after Unmarshal of %x: %v", b, err)
	}
	if got, err = Scan(again); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("Scan after Marshal of %x\n     = %+v, %v\n want: %+v", b, got, err, want)
	}
}

// decode is Scan by way of the decoder.
func decode(b []byte) (Header, error) {
	o := &OneOf{}
	if err := proto.Unmarshal(b, o); err != nil {
		return Header{}, err
	}
	if e, err := Unwrap(o); err == nil {
		h := headerOf(e.GetMetadata(), int32(o.ProtoReflect().WhichOneof(oneofEvent).Number()))
		switch e := e.(type) {
		case *SessionPrint:
			h.Delay, h.HasDelay = e.GetDelayMilliseconds(), true
		case *DesktopRecording:
			h.Delay, h.HasDelay = e.GetDelayMilliseconds(), true
		}
		return h, nil
	}
	// The fields that the decoder did not know, in order: what a decoder would do
	// that has this case, with a message of nothing but Metadata.
	var c int32
	e := &AnyEvent{}
	for u := o.ProtoReflect().GetUnknown(); len(u) > 0; {
		num, typ, n := protowire.ConsumeField(u)
		if typ == protowire.BytesType {
			if c != int32(num) {
				c, e = int32(num), &AnyEvent{}
			}
			_, _, tag := protowire.ConsumeTag(u)
			v, _ := protowire.ConsumeBytes(u[tag:])
			if err := (proto.UnmarshalOptions{Merge: true}).Unmarshal(v, e); err != nil {
				return Header{}, err
			}
		}
		u = u[n:]
	}
	if c == 0 {
		return Header{}, errors.New("no event")
	}
	return headerOf(e.GetMetadata(), c), nil
}

func headerOf(m *Metadata, c int32) Header {
	h := Header{Case: c, Index: m.GetIndex(), Type: []byte(m.GetType()), Seconds: yearOne}
	if ts := m.GetTime(); ts != nil {
		h.Seconds, h.Nanos = ts.Seconds, ts.Nanos
	}
	return h
}

func TestHeaderTime(t *testing.T) {
	at := time.Date(2021, 11, 18, 15, 33, 59, 792e6, time.FixedZone("", 3600))
	for _, tt := range []struct {
		name string
		time *timestamppb.Timestamp
		want time.Time
	}{
		{"is in UTC", timestamppb.New(at), at.UTC()},
		{"is the zero time where there is none", nil, time.Time{}},
	} {
		o, err := Wrap(&SessionPrint{Metadata: &Metadata{Time: tt.time}})
		if err != nil {
			t.Fatal(err)
		}
		b, err := Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if h, err := Scan(b); err != nil || h.Time() != tt.want {
			t.Errorf("%s: %v, %v, want %v", tt.name, h.Time(), err, tt.want)
		}
	}
	if h, err := Scan(field(7)); err != nil || !h.Time().IsZero() {
		t.Errorf("an event without Metadata: %v, %v", h.Time(), err)
	}
}

func TestScanAllocatesNothing(t *testing.T) {
	for _, s := range seeds(t) {
		if !s.ok || len(s.in) > 10_000 {
			continue
		}
		if n := testing.AllocsPerRun(10, func() { _, _ = Scan(s.in) }); n != 0 {
			t.Errorf("%s: %v allocations", s.name, n)
		}
	}
}

func BenchmarkScan(b *testing.B) {
	print := &SessionPrint{
		Metadata:   &Metadata{Index: 1234, Type: "print", Time: timestamppb.New(time.Unix(1637249639, 792e6)), ClusterName: "example"},
		ChunkIndex: 1200, Data: make([]byte, 200), Bytes: 200, DelayMilliseconds: 123456, Offset: 987654,
	}
	o, err := Wrap(print)
	if err != nil {
		b.Fatal(err)
	}
	small, err := Marshal(o)
	if err != nil {
		b.Fatal(err)
	}
	start, _ := KindByCase(5)
	_, full := sample(b, start, 1, 0)
	for _, bb := range []struct {
		name string
		in   []byte
	}{{"print of 200 bytes", small}, {"session start with every field", full}} {
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(int64(len(bb.in)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Scan(bb.in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
