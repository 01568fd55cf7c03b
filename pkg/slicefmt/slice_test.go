package slicefmt

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
)

// noise is n bytes that cannot be compressed, the same for the same seed.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// mixedRecords are records of many sizes, compressible and not, that fill
// several blocks; some fill a block to the byte or go beyond one.
func mixedRecords() [][]byte {
	var records [][]byte
	r := rand.New(rand.NewPCG(7, 7))
	for i := range 100 {
		switch {
		case i%25 == 24:
			records = append(records, noise(uint64(i), MaxRecord-r.IntN(8)))
		case i%7 == 3:
			records = append(records, noise(uint64(i), 1+r.IntN(3000)))
		default:
			line := fmt.Sprintf("%06d the quick brown fox jumps over the lazy dog\r\n", i)
			records = append(records, bytes.Repeat([]byte(line), 1+r.IntN(20)))
		}
	}
	return append(records, []byte{1}, noise(1, BlockSize-frameSize), noise(2, BlockSize-frameSize-1), []byte{2})
}

func appendAll(t testing.TB, s *Slice, records [][]byte) {
	t.Helper()
	for _, r := range records {
		if err := s.Append(r); err != nil {
			t.Fatal(err)
		}
	}
}

func finish(t testing.TB, s *Slice, prefix []byte) ([]byte, Sum) {
	t.Helper()
	part, sum, err := s.Finish(prefix)
	if err != nil {
		t.Fatal(err)
	}
	return part, sum
}

// partRecords reads a part with the standard library alone, so that the package
// is not its own witness.
func partRecords(t testing.TB, part []byte) [][]byte {
	t.Helper()
	if v := binary.BigEndian.Uint64(part); v != 1 {
		t.Fatalf("version %d", v)
	}
	if n := binary.BigEndian.Uint64(part[8:]); int(n) != len(part)-24 {
		t.Fatalf("body of %d bytes in a part of %d", n, len(part))
	}
	if n := binary.BigEndian.Uint64(part[16:]); n != 0 {
		t.Fatalf("padding of %d bytes", n)
	}
	body := bytes.NewReader(part[24:])
	zr, err := gzip.NewReader(body)
	if err != nil {
		t.Fatal(err)
	}
	zr.Multistream(false)
	raw, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	if body.Len() != 0 {
		t.Fatalf("%d bytes after the gzip member", body.Len())
	}
	var records [][]byte
	for len(raw) > 0 {
		n := binary.BigEndian.Uint32(raw)
		records = append(records, raw[4:4+n])
		raw = raw[4+n:]
	}
	return records
}

func TestPartHoldsItsRecordsInOneGzipMember(t *testing.T) {
	records := mixedRecords()
	var s Slice
	appendAll(t, &s, records)
	raw := s.RawSize()
	part, sum := finish(t, &s, nil)
	got := partRecords(t, part)
	if len(got) != len(records) {
		t.Fatalf("%d records came back, want %d", len(got), len(records))
	}
	for i := range got {
		if !bytes.Equal(got[i], records[i]) {
			t.Fatalf("record %d differs", i)
		}
	}
	sha := sha256.Sum256(part)
	want := Sum{SHA256: hex.EncodeToString(sha[:]), Bytes: int64(len(part)), RawBytes: raw, Records: int64(len(records))}
	if sum != want {
		t.Fatalf("sum %+v, want %+v", sum, want)
	}
	if s.Records() != 0 || s.RawSize() != 0 || s.BlockBytes() != 0 {
		t.Fatal("the slice is not empty after Finish")
	}
}

func TestPartBytesDependOnRecordsAlone(t *testing.T) {
	records := mixedRecords()
	var first Slice
	appendAll(t, &first, records)
	want, _ := finish(t, &first, nil)

	for round := range 10 {
		// What the pooled compressors did before must not show.
		var other Slice
		appendAll(t, &other, [][]byte{noise(uint64(round), 50000), bytes.Repeat([]byte("the quick brown fox "), 1+round*100)})
		finish(t, &other, nil)

		var s Slice
		for i, r := range records {
			var err error
			if (i+round)%2 == 0 {
				err = s.Append(r)
			} else {
				err = s.AppendFrame(AppendFrame(nil, r))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if got, _ := finish(t, &s, nil); !bytes.Equal(got, want) {
			t.Fatalf("round %d: the same records made other bytes", round)
		}
	}
}

func TestSizeIsNeverTooLow(t *testing.T) {
	for name, records := range map[string][][]byte{
		"mixed": mixedRecords(),
		"noise": {noise(1, MaxRecord), noise(2, MaxRecord), noise(3, 60000), noise(4, 5000)},
		"tiny":  {{1}, {2}},
		"none":  nil,
	} {
		for n := range len(records) + 1 {
			var s Slice
			appendAll(t, &s, records[:n])
			size := s.Size()
			part, _ := finish(t, &s, nil)
			if size < int64(len(part)) {
				t.Fatalf("%s: Size said %d at most, the part of %d records has %d bytes", name, size, n, len(part))
			}
			if slack := size - int64(len(part)); name == "noise" && slack > 64 {
				t.Fatalf("%s: Size said %d, the part of %d records has %d bytes", name, size, n, len(part))
			}
			Recycle(part)
		}
	}
}

func TestRefusedRecordLeavesThePartAsItWas(t *testing.T) {
	var s Slice
	appendAll(t, &s, [][]byte{[]byte("before")})
	state := s.State()
	tests := []struct {
		name string
		err  error
		want error
	}{
		{"empty record", s.Append(nil), ErrRecordSize},
		{"record too long", s.Append(make([]byte, MaxRecord+1)), ErrRecordSize},
		{"empty frame", s.AppendFrame(nil), ErrTorn},
		{"torn frame", s.AppendFrame([]byte{0, 0, 0, 5, 1}), ErrTorn},
		{"two frames", s.AppendFrame([]byte{0, 0, 0, 1, 1, 0, 0, 0, 1, 1}), ErrTorn},
		{"frame of no bytes", s.AppendFrame([]byte{0, 0, 0, 0}), ErrRecordSize},
		{"frame too long", s.AppendFrame(AppendFrame(nil, make([]byte, MaxRecord+1))), ErrRecordSize},
	}
	for _, tt := range tests {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, tt.err, tt.want)
		}
	}
	if s.State() != state {
		t.Fatalf("state %+v, want %+v", s.State(), state)
	}
	part, _ := finish(t, &s, nil)
	if got := partRecords(t, part); len(got) != 1 || string(got[0]) != "before" {
		t.Fatalf("records %q", got)
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Log("the race detector empties pools at random: the count is only logged")
	}
	record := []byte("\x3a\x20" + "a print of a few dozen bytes, as they come")
	var s Slice
	events := 0
	step := func() {
		for range 1000 {
			if err := s.Append(record); err != nil {
				t.Fatal(err)
			}
			events++
		}
		if s.Size() > 1<<16 {
			part, _, err := s.Finish(nil)
			if err != nil {
				t.Fatal(err)
			}
			Recycle(part)
		}
	}
	for range 200 {
		step() // warms the pools
	}
	perRun := testing.AllocsPerRun(100, step)
	if perEvent := perRun / 1000; perEvent >= 0.01 {
		t.Logf("%.4f allocations per event", perEvent)
		if !raceEnabled {
			t.Fatal("appending allocates")
		}
	}
}

func TestTenThousandOpenSlicesHoldLittle(t *testing.T) {
	const open, pending, limit = 10_000, 2 << 10, 64 << 20
	record := bytes.Repeat([]byte("p"), 252) // 256 with its frame
	slices := make([]Slice, open)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // empties the pools
		runtime.ReadMemStats(&m)
		return m.HeapInuse
	}
	before := heap()
	held := 0
	for i := range slices {
		for slices[i].RawSize() < pending {
			if err := slices[i].Append(record); err != nil {
				t.Fatal(err)
			}
		}
		held += slices[i].Held()
	}
	grown := int64(heap()) - int64(before)
	t.Logf("%d open slices with %d bytes pending each: heap grew by %.1f MiB, Held says %.1f MiB",
		open, slices[0].RawSize(), float64(grown)/(1<<20), float64(held)/(1<<20))
	if grown > limit || held > limit {
		t.Fatalf("more than %d MiB", limit>>20)
	}
	runtime.KeepAlive(slices)
}

func TestPoolClassesFitTheirSizes(t *testing.T) {
	for n := 1; n < 1<<20; n += 1 + n/50 {
		class := classFor(n)
		if classSize(class) < n || class > 0 && classSize(class-1) >= n {
			t.Fatalf("%d bytes get a buffer of %d", n, classSize(class))
		}
	}
}

// What is said to be coming is a hint: too much, too little and nothing make the
// same part.
func TestWhatIsExpectedChangesNoByte(t *testing.T) {
	in := programFrames(t)
	build := func(expect func(s *Slice, i int)) string {
		var s Slice
		i := 0
		for rest := in; len(rest) > 0; i++ {
			expect(&s, i)
			var record []byte
			var err error
			if record, rest, err = NextFrame(rest); err != nil {
				t.Fatal(err)
			}
			if err := s.Append(record); err != nil {
				t.Fatal(err)
			}
			if len(s.pending.bytes()) > BlockSize {
				t.Fatalf("%d bytes are pending", len(s.pending.bytes()))
			}
		}
		_, sum, err := s.Finish(nil)
		if err != nil {
			t.Fatal(err)
		}
		return sum.SHA256
	}
	want := build(func(*Slice, int) {})
	for _, n := range []int{0, 1, 100, BlockSize / 4, BlockSize, 10 * BlockSize, -5} {
		for _, every := range []int{1, 7, 1000} {
			got := build(func(s *Slice, i int) {
				if i%every == 0 {
					s.Expect(n)
				}
			})
			if got != want {
				t.Errorf("%d bytes expected before every %d. record: another part", n, every)
			}
		}
	}
}
