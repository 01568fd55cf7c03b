package slicefmt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tapedeck-io/tapedeck/pkg/events"
)

func TestWhatAReaderMeets(t *testing.T) {
	p := prints(t, 0, 10)
	whole := ours(t, p[:3]...)
	flip := func(part []byte, at int) []byte {
		part = bytes.Clone(part)
		part[(at+len(part))%len(part)] ^= 0xff
		return part
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	length := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	stored := func(raw []byte) []byte { return foreign(Version1, 0, member(t, raw), 0) }
	v2 := foreign(Version2, 0, member(t, frames(p[:3]...)), 0)
	encrypted := foreign(Version2, 1, []byte("age-encryption.org/v1\n"), 0)
	cut := member(t, frames(p[:3]...))

	tests := []struct {
		name string
		in   []byte
		want []int64 // indexes that are returned
		err  error   // io.EOF is nil
		at   int     // part that the error names
		text string  // in the error
		more Counts  // Duplicates, Gaps, Missing and Unknown
	}{
		{name: "nothing"},
		{name: "a whole part", in: whole, want: []int64{0, 1, 2}},
		{name: "a part of an unbroken gzip stream", in: stored(frames(p[:3]...)), want: []int64{0, 1, 2}},
		{name: "version 2, not encrypted", in: v2, want: []int64{0, 1, 2}},
		{name: "an end after 8 bytes of a header", in: join(whole, whole[:8]), want: []int64{0, 1, 2}, err: ErrTruncated, at: 2},
		{name: "an end after 16 bytes of a header", in: join(whole, whole[:16]), want: []int64{0, 1, 2}, err: ErrTruncated, at: 2},
		{name: "an end after 24 bytes of a version 2 header", in: join(whole, v2[:24]), want: []int64{0, 1, 2}, err: ErrTruncated, at: 2},
		{name: "an end after the header", in: whole[:24], err: ErrTruncated, at: 1},
		{name: "an end in the gzip header", in: whole[:30], err: ErrTruncated, at: 1},
		{name: "an end in the gzip trailer", in: whole[:len(whole)-1], want: []int64{0, 1, 2}, err: ErrTruncated, at: 1},
		{name: "an end in the padding", in: foreign(1, 0, cut, 9)[:24+len(cut)+8], want: []int64{0, 1, 2}, err: ErrTruncated, at: 1},
		{name: "version 0", in: join(whole, foreign(0, 0, cut, 0)), want: []int64{0, 1, 2}, err: ErrVersion, at: 2, text: "unsupported version 0"},
		{name: "version 3", in: foreign(3, 0, cut, 0), err: ErrVersion, at: 1, text: "unsupported version 3"},
		{name: "a short file that is something else", in: []byte("asciicast"), err: ErrVersion, at: 1},
		{name: "no body, version 1", in: join(foreign(1, 0, nil, 0), foreign(1, 0, nil, 7), whole), want: []int64{0, 1, 2}},
		{name: "no body, version 2", in: join(foreign(2, 1, nil, 7), whole), want: []int64{0, 1, 2}},
		{name: "no body, and the padding cut short", in: foreign(1, 0, nil, 7)[:30], err: ErrTruncated, at: 1},
		{name: "zeros after the member, counted as body", in: join(foreign(1, 0, join(cut, make([]byte, 100_000)), 0), ours(t, p[3])), want: []int64{0, 1, 2, 3}},
		{name: "other bytes after the member, counted as body", in: join(foreign(1, 0, join(cut, cut), 0), ours(t, p[3])), want: []int64{0, 1, 2, 3}},
		{name: "bad gzip checksum", in: join(ours(t, p[0]), flip(ours(t, p[1:3]...), -8)), want: []int64{0, 1, 2}, err: ErrCorrupt, at: 2},
		{name: "bad gzip size", in: flip(whole, -1), want: []int64{0, 1, 2}, err: ErrCorrupt, at: 1},
		{name: "bad gzip magic", in: flip(whole, 24), err: ErrCorrupt, at: 1},
		{name: "bad DEFLATE", in: join(whole, foreign(1, 0, join(gzipHeader[:], []byte{0xff, 0xff}), 0)), want: []int64{0, 1, 2}, err: ErrCorrupt, at: 2},
		{name: "a body that is shorter than its member", in: join(foreign(1, 0, cut[:len(cut)-5], 0), whole), want: []int64{0, 1, 2}, err: ErrCorrupt, at: 1},
		{name: "a body that is no gzip at all", in: foreign(1, 0, []byte("hello, reader, this is text"), 0), err: ErrCorrupt, at: 1},
		{name: "a body of 2^63 bytes", in: join(length(0), length(1), []byte{0x80}, make([]byte, 15)), err: ErrCorrupt, at: 1},
		{name: "a record of no bytes", in: stored(join(frames(p[0]), length(0))), want: []int64{0}, err: ErrCorrupt, at: 1, text: "record of 0 bytes"},
		{name: "a record over the limit", in: stored(join(frames(p[0]), length(65537))), want: []int64{0}, err: ErrCorrupt, at: 1, text: "record of 65537 bytes"},
		{name: "a record of 4 GiB", in: stored(length(1<<32 - 1)), err: ErrCorrupt, at: 1, text: "record of 4294967295 bytes"},
		{name: "a member that ends in a length", in: stored(join(frames(p[0]), []byte{0, 0})), want: []int64{0}, err: ErrCorrupt, at: 1},
		{name: "a member that ends in a record", in: stored(join(frames(p[0]), length(9), []byte("abc"))), want: []int64{0}, err: ErrCorrupt, at: 1},
		{name: "a member that ends between length and record", in: stored(join(frames(p[0]), length(9))), want: []int64{0}, err: ErrCorrupt, at: 1},
		{name: "a record that is no OneOf", in: stored(frames(p[0], []byte{0xff})), want: []int64{0}, err: ErrCorrupt, at: 1},
		{name: "an unknown case", in: stored(frames(p[0], unknownEvent(1), p[2])), want: []int64{0, 1, 2}, more: Counts{Unknown: 1}},
		{name: "duplicates", in: join(whole, ours(t, p[1], p[3], p[3], p[0], p[4])), want: []int64{0, 1, 2, 3, 4}, more: Counts{Duplicates: 3}},
		{name: "a gap after index 0", in: ours(t, p[0], p[2]), want: []int64{0, 2}, more: Counts{Gaps: 1, Missing: 1}},
		{name: "a gap at the start, and one between parts", in: join(ours(t, p[2]), ours(t, p[5], p[6])), want: []int64{2, 5, 6}, more: Counts{Gaps: 2, Missing: 4}},
		{name: "an encrypted part", in: join(whole, encrypted), want: []int64{0, 1, 2}, err: ErrEncrypted, at: 2, text: "part 2"},
		{name: "a version 2 header with unknown flags", in: foreign(2, 2, cut, 0), err: ErrVersion, at: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for how, src := range sources(tt.in) {
				r := NewReader(src)
				records, err := drain(r)
				if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
					t.Fatalf("%s: error %v, want %v", how, err, tt.err)
				}
				if got := indexes(records); !slices.Equal(got, tt.want) {
					t.Fatalf("%s: events %v, want %v", how, got, tt.want)
				}
				checkPartError(t, err, tt.at, tt.text)
				if _, again := r.Next(); err != nil && !errors.Is(again, err) {
					t.Fatalf("%s: then the error was %v", how, again)
				}
				got := r.Counts()
				want := tt.more
				want.Records, want.Parts, want.LastIndex = int64(len(tt.want)), got.Parts, -1
				if len(tt.want) > 0 {
					want.LastIndex = tt.want[len(tt.want)-1]
				}
				if got != want {
					t.Fatalf("%s: counts %+v, want %+v", how, got, want)
				}
			}
		})
	}
}

// sources are ways in which the same bytes can arrive.
func sources(b []byte) map[string]io.Reader {
	return map[string]io.Reader{
		"whole":               bytes.NewReader(b),
		"byte by byte":        iotest.OneByteReader(bytes.NewReader(b)),
		"end with last bytes": iotest.DataErrReader(bytes.NewReader(b)),
		"range":               io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))),
	}
}

func checkPartError(t *testing.T, err error, part int, text string) {
	t.Helper()
	if err == nil {
		return
	}
	var pe *PartError
	if !errors.As(err, &pe) || pe.Part != part {
		t.Fatalf("error %q does not name part %d", err, part)
	}
	if !strings.Contains(err.Error(), text) {
		t.Fatalf("error %q does not say %q", err, text)
	}
}

func TestTruncationAtEveryByte(t *testing.T) {
	whole := smallRecording(t)
	var ends []int64 // of parts
	r := NewReader(bytes.NewReader(whole))
	records := map[int]int{}
	r.OnPart(func(p PartInfo) {
		ends = append(ends, p.Offset+p.Size())
		records[len(ends)] = int(p.Records) + records[len(ends)-1]
	})
	all, err := drain(r)
	if err != nil || len(all) != 12 || len(ends) != 4 || ends[3] != int64(len(whole)) {
		t.Fatalf("%d records, parts end at %v, %v", len(all), ends, err)
	}
	for n := range len(whole) {
		for how, src := range sources(whole[:n]) {
			got, err := drain(NewReader(src))
			parts, clean := slices.BinarySearch(ends, int64(n))
			if clean {
				parts++
			}
			clean = clean || n == 0
			if clean && err != nil || !clean && !errors.Is(err, ErrTruncated) {
				t.Fatalf("%s: cut after byte %d of %d: %v", how, n, len(whole), err)
			}
			if len(got) < records[parts] || clean && len(got) > records[parts] {
				t.Fatalf("%s: cut after byte %d: %d records, the whole parts have %d", how, n, len(got), records[parts])
			}
			for i := range got {
				if !bytes.Equal(got[i].OneOf, all[i].OneOf) {
					t.Fatalf("%s: cut after byte %d: record %d differs", how, n, i)
				}
			}
		}
	}
}

func TestRecordsBeforeTheCutAreReturned(t *testing.T) {
	// Incompressible records lie in the part almost byte for byte, so how many
	// must come back is known.
	var records [][]byte
	for i := range int64(20) {
		records = append(records, printEvent(t, i, noise(uint64(i), 50_000)))
	}
	part := ours(t, records...)
	got, err := drain(NewReader(bytes.NewReader(part[:len(part)/2])))
	if !errors.Is(err, ErrTruncated) || len(got) < 9 {
		t.Fatalf("%d of 20 records came from half of the part, %v", len(got), err)
	}
}

func TestReadErrorIsNotTakenForDamage(t *testing.T) {
	whole := smallRecording(t)
	for _, lost := range []error{errors.New("connection lost"), fmt.Errorf("connection closed: %w", io.EOF)} {
		for n := range len(whole) + 1 {
			_, err := drain(NewReader(io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(lost))))
			if !errors.Is(err, lost) || errors.Is(err, ErrTruncated) || errors.Is(err, ErrCorrupt) {
				t.Fatalf("%v after byte %d: %v", lost, n, err)
			}
		}
	}
}

func TestContinueDropsWhatTheFirstInputHad(t *testing.T) {
	p := prints(t, 0, 10)
	first := ours(t, p[:5]...)
	r := NewReader(bytes.NewReader(first[:len(first)-1]))
	if got, err := drain(r); !errors.Is(err, ErrTruncated) || len(got) != 5 {
		t.Fatalf("%d records, %v", len(got), err)
	}
	r.Continue(bytes.NewReader(bytes.Join([][]byte{ours(t, p[2:7]...), ours(t, p[8:]...)}, nil)))
	got, err := drain(r)
	if err != nil || !slices.Equal(indexes(got), []int64{5, 6, 8, 9}) {
		t.Fatalf("events %v, %v", indexes(got), err)
	}
	if got[0].Part != 1 || got[2].Part != 2 {
		t.Fatalf("parts of the second input are %d and %d", got[0].Part, got[2].Part)
	}
	want := Counts{Records: 9, Duplicates: 3, Gaps: 1, Missing: 1, Parts: 2, LastIndex: 9}
	if c := r.Counts(); c != want {
		t.Fatalf("counts %+v, want %+v", c, want)
	}
}

func TestRangeOfPartsReadsAlone(t *testing.T) {
	whole := smallRecording(t)
	var parts []PartInfo
	r := NewReader(bytes.NewReader(whole))
	r.OnPart(func(p PartInfo) { parts = append(parts, p) })
	if _, err := drain(r); err != nil {
		t.Fatal(err)
	}
	from := parts[1]
	r = NewReaderAt(bytes.NewReader(whole), from.Offset, int64(len(whole))-from.Offset)
	r.StartAt(from.Part, from.Offset, from.FirstSeen)
	var again []PartInfo
	r.OnPart(func(p PartInfo) { again = append(again, p) })
	got, err := drain(r)
	if err != nil || !slices.Equal(indexes(got), []int64{4, 5, 6, 7, 8, 9, 10, 11}) {
		t.Fatalf("events %v, %v", indexes(got), err)
	}
	if c := r.Counts(); c.Gaps != 0 || c.Missing != 0 {
		t.Fatalf("what is before the range counts as a gap: %+v", c)
	}
	if !slices.Equal(again, parts[1:]) {
		t.Fatalf("parts %+v, want %+v", again, parts[1:])
	}
}

func TestPartInfoSaysWhatAPartIs(t *testing.T) {
	p := prints(t, 0, 3)
	body := member(t, frames(p[0], p[2], p[1]))
	in := foreign(Version2, 0, append(bytes.Clone(body), 0, 0, 0), 5)
	r := NewReader(bytes.NewReader(in))
	var got PartInfo
	r.OnPart(func(p PartInfo) { got = p })
	records, err := drain(r)
	if err != nil || len(records) != 2 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	want := PartInfo{
		Part: 1, Version: 2, Body: int64(len(body)) + 3, Padding: 5, Trailing: 3,
		RawBytes: int64(len(frames(p...))), Records: 3, FirstSeen: 0, LastSeen: 2,
	}
	if got != want || got.Size() != int64(len(in)) {
		t.Fatalf("part %+v of %d bytes, want %+v of %d", got, got.Size(), want, len(in))
	}
}

func TestReadingHoldsLittleWhateverThePartHolds(t *testing.T) {
	const size, limit = 32 << 20, 1 << 20
	record := frames(printEvent(t, 0, make([]byte, 60_000)))
	tests := []struct {
		name string
		in   []byte
		err  error
	}{
		{"32 MiB of zeros in prints", foreign(1, 0, member(t, bytes.Repeat(record, size/len(record))), 0), nil},
		{"32 MiB of zeros in the padding", append(foreign(1, 0, nil, size)[:24], make([]byte, size)...), nil},
		{"a header that promises 2^60 bytes", append(append(binary.BigEndian.AppendUint64(make([]byte, 7, 40), 1<<56|1<<52), make([]byte, 9)...), gzipHeader[:]...), ErrTruncated},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.err != nil {
				binary.BigEndian.PutUint64(tt.in, 1)
				binary.BigEndian.PutUint64(tt.in[8:], 1<<60)
				binary.BigEndian.PutUint64(tt.in[16:], 1<<60)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r := NewReader(bytes.NewReader(tt.in))
			var err error
			for err == nil {
				_, err = r.Next()
			}
			runtime.ReadMemStats(&after)
			if tt.err == nil && !isEOF(err) || tt.err != nil && !errors.Is(err, tt.err) {
				t.Fatal(err)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > limit {
				t.Fatalf("allocated %d bytes", n)
			}
		})
	}
}

func TestNextAllocatesNothing(t *testing.T) {
	var records [][]byte
	for i := range int64(600) {
		records = append(records, printEvent(t, i, []byte("a line of output\r\n")))
	}
	r := NewReader(bytes.NewReader(ours(t, records...)))
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(500, func() {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 && !raceEnabled {
		t.Fatalf("%v allocations per record", n)
	}
}

func TestRecordsCarryTheirHeader(t *testing.T) {
	start := oneof(t, &events.SessionStart{Metadata: metadata(0, "session.start"), TerminalSize: "80:25"})
	in := ours(t, start, printEvent(t, 1, []byte("x")))
	got, err := drain(NewReader(bytes.NewReader(in)))
	if err != nil || len(got) != 2 {
		t.Fatal(len(got), err)
	}
	if got[0].Case != 5 || string(got[0].Type) != "session.start" || !got[0].Time().Equal(epoch) || got[0].Offset != 0 {
		t.Fatalf("start %+v", got[0])
	}
	if got[1].Case != 7 || !got[1].HasDelay || got[1].Delay != 1000 || got[1].Offset != int64(4+len(start)) || got[1].Part != 1 {
		t.Fatalf("print %+v", got[1])
	}
}
