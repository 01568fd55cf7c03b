package slicefmt

import (
	"bytes"
	"errors"
	"testing"
)

// TestCheckpointAtEveryRecordChangesNothing is the property that takeover rests
// on: whichever record a checkpoint is taken after, and however often, the part
// is what it would have been without.
func TestCheckpointAtEveryRecordChangesNothing(t *testing.T) {
	records := mixedRecords()
	var whole Slice
	appendAll(t, &whole, records)
	want, wantSum := finish(t, &whole, nil)

	for at := range len(records) + 1 {
		var s Slice
		appendAll(t, &s, records[:at])
		restored, stored := restore(t, &s, nil)
		s.Reset()
		appendAll(t, restored, records[at:])
		part, sum := finish(t, restored, stored)
		if !bytes.Equal(part, want) || sum != wantSum {
			t.Fatalf("checkpoint after record %d: the part differs", at)
		}
		Recycle(part)
	}
}

func TestCheckpointsMayFollowEachOther(t *testing.T) {
	records := mixedRecords()
	var whole Slice
	appendAll(t, &whole, records)
	want, _ := finish(t, &whole, nil)

	for _, every := range []int{1, 3, 40} {
		s := new(Slice)
		var stored []byte
		for i, r := range records {
			if err := s.Append(r); err != nil {
				t.Fatal(err)
			}
			if i%every != 0 {
				continue
			}
			if i%2 == 0 {
				s, stored = restore(t, s, stored)
				continue
			}
			stored = append(stored, s.Blocks(int64(len(stored)))...)
			s.Drop()
		}
		if part, _ := finish(t, s, stored); !bytes.Equal(part, want) {
			t.Fatalf("a checkpoint every %d records: the part differs", every)
		}
	}
}

// restore takes a checkpoint of s, of which the blocks in stored are dropped, and
// restores it.
func restore(t *testing.T, s *Slice, stored []byte) (*Slice, []byte) {
	t.Helper()
	stored = append(stored, s.Blocks(int64(len(stored)))...)
	st := s.State()
	if st.BlockBytes != int64(len(stored)) {
		t.Fatalf("%d bytes of blocks, the state says %d", len(stored), st.BlockBytes)
	}
	tail, err := ExpandTail(CompressTail([]byte("x"), s.Tail())[1:], BlockSize)
	if err != nil {
		t.Fatal(err)
	}
	restored, err := Restore(st, tail)
	if err != nil {
		t.Fatal(err)
	}
	if restored.State() != st {
		t.Fatalf("restored state %+v, want %+v", restored.State(), st)
	}
	return restored, stored
}

func TestDropLetsBlocksGo(t *testing.T) {
	var s Slice
	appendAll(t, &s, [][]byte{noise(1, 60000), noise(2, 60000), noise(3, 60000)})
	held, size := s.Held(), s.Size()
	blocks := bytes.Clone(s.Blocks(0))
	s.Drop()
	if s.Held() >= held-100_000 {
		t.Fatalf("holds %d bytes after Drop, %d before", s.Held(), held)
	}
	if s.Size() != size || s.BlockBytes() != int64(len(blocks)) || len(s.Blocks(s.BlockBytes())) != 0 {
		t.Fatal("Drop changed what the part is")
	}
	for _, prefix := range [][]byte{nil, blocks[1:], append(blocks, 0)} {
		if _, _, err := s.Finish(prefix); err == nil {
			t.Fatalf("finished with %d bytes of the %d that were dropped", len(prefix), len(blocks))
		}
	}
	part, _ := finish(t, &s, blocks)
	if got := partRecords(t, part); len(got) != 3 || !bytes.Equal(got[2], noise(3, 60000)) {
		t.Fatal("records differ")
	}
}

func TestBlocksThatAreGoneArePanickedAbout(t *testing.T) {
	var s Slice
	appendAll(t, &s, [][]byte{noise(1, 60000), noise(2, 60000)})
	s.Drop()
	defer func() {
		if recover() == nil {
			t.Fatal("Blocks returned bytes that were dropped")
		}
	}()
	s.Blocks(0)
}

func TestRestoreRefusesWhatDoesNotBelongTogether(t *testing.T) {
	tail := AppendFrame(AppendFrame(nil, []byte("one")), []byte("two"))
	size := int64(len(tail))
	tests := []struct {
		name string
		st   State
		tail []byte
	}{
		{"torn tail", State{Records: 2, RawBytes: size}, tail[:size-1]},
		{"fewer records than the tail has", State{Records: 1, RawBytes: size}, tail},
		{"fewer bytes than the tail has", State{Records: 2, RawBytes: size - 1}, tail},
		{"records without blocks", State{Records: 3, RawBytes: size + 9}, tail},
		{"blocks without records", State{Records: 2, RawBytes: size, BlockBytes: 9}, tail},
		{"blocks without bytes", State{Records: 3, RawBytes: size, BlockBytes: 9}, tail},
		{"negative blocks", State{Records: 2, RawBytes: size, BlockBytes: -1}, tail},
		{"a tail that is a block", State{Records: 1, RawBytes: BlockSize}, AppendFrame(nil, make([]byte, BlockSize-4))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Restore(tt.st, tt.tail); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("restored, or refused with %v", err)
			}
		})
	}
}

func TestExpandTailRefusesDamage(t *testing.T) {
	good := CompressTail(nil, bytes.Repeat([]byte("tail "), 1000))
	tests := []struct {
		name  string
		in    []byte
		limit int
	}{
		{"nothing", nil, 5000},
		{"cut short", good[:len(good)-1], 5000},
		{"more than the limit", good, 4999},
		{"bytes after it", append(bytes.Clone(good), 'x'), 5000},
		{"no DEFLATE", []byte{0xff, 0xff, 0xff}, 5000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ExpandTail(tt.in, tt.limit); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("expanded, or refused with %v", err)
			}
		})
	}
	if tail, err := ExpandTail(good, 5000); err != nil || len(tail) != 5000 {
		t.Fatalf("%d bytes, %v", len(tail), err)
	}
	if tail, err := ExpandTail(CompressTail(nil, nil), 0); err != nil || len(tail) != 0 {
		t.Fatalf("empty tail: %d bytes, %v", len(tail), err)
	}
}
