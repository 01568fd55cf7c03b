package slicefmt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

func TestNextFrameJudgesTheLengthBeforeTheBytes(t *testing.T) {
	length := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	tests := []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, ErrTorn},
		{"three bytes of a length", []byte{0, 0, 0}, ErrTorn},
		{"a record of no bytes", length(0), ErrRecordSize},
		{"a record one byte too long", length(MaxRecord + 1), ErrRecordSize},
		{"a record of 4 GiB", length(1<<32 - 1), ErrRecordSize},
		{"the longest record without its bytes", length(MaxRecord), ErrTorn},
		{"a record short of one byte", append(length(3), 'a', 'b'), ErrTorn},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			oneof, rest, err := NextFrame(tt.in)
			if !errors.Is(err, tt.want) || oneof != nil || !bytes.Equal(rest, tt.in) {
				t.Fatalf("NextFrame = %q, %q, %v, want %v", oneof, rest, err, tt.want)
			}
		})
	}
}

func TestFramesComeBackInOrder(t *testing.T) {
	records := [][]byte{[]byte("a"), bytes.Repeat([]byte("b"), MaxRecord), []byte("c")}
	var b []byte
	for _, r := range records {
		b = AppendFrame(b, r)
	}
	if !IsFramed(b) || IsFramed(records[0]) || IsFramed(nil) {
		t.Fatal("IsFramed does not tell a frame from a bare message")
	}
	for i, want := range records {
		var got []byte
		var err error
		if got, b, err = NextFrame(b); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("record %d: %d bytes, %v, want %d bytes", i, len(got), err, len(want))
		}
		if cap(got) != len(got) {
			t.Fatalf("record %d can be appended to over the one after it", i)
		}
	}
	if len(b) != 0 {
		t.Fatalf("%d bytes are left", len(b))
	}
}

// frameSeeds are the seeds of FuzzNextFrame, in code so that they cannot vanish.
func frameSeeds() [][]byte {
	return [][]byte{
		nil,
		{0},
		{0, 0, 0, 0},
		{0, 0, 0, 1},
		{0, 0, 0, 1, 'x'},
		{0, 0, 0, 2, 'x'},
		{0, 1, 0, 0},
		{0, 1, 0, 1},
		{255, 255, 255, 255, 'x'},
		AppendFrame(AppendFrame(nil, []byte("one")), []byte("two")),
		append(AppendFrame(nil, []byte("one")), 0, 0, 0, 9, 't'),
		AppendFrame(nil, make([]byte, MaxRecord)),
	}
}

func FuzzNextFrame(f *testing.F) {
	for _, s := range frameSeeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var again []byte
		rest := in
		for {
			oneof, r, err := NextFrame(rest)
			if err != nil {
				if !errors.Is(err, ErrTorn) && !errors.Is(err, ErrRecordSize) {
					t.Fatalf("unknown error %v", err)
				}
				break
			}
			if len(oneof) == 0 || len(oneof) > MaxRecord {
				t.Fatalf("record of %d bytes", len(oneof))
			}
			again, rest = AppendFrame(again, oneof), r
		}
		if !bytes.Equal(append(again, rest...), in) {
			t.Fatal("frames and rest are not what went in")
		}
	})
}
