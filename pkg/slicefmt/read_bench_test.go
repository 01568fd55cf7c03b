package slicefmt

import (
	"bytes"
	"io"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// A tape is a recording in parts, for benchmarks of reading.
type tape struct {
	data    []byte
	raw     int64
	records int64
	offsets []int64 // of the parts
	first   []int64 // indexes
}

// programTape is what recorded programs wrote, times over.
func programTape(t testing.TB, times int, partSize int64) *tape {
	t.Helper()
	p, in := &tape{}, programFrames(t)
	var s Slice
	next := int64(0)
	cut := func() {
		part, sum := finish(t, &s, nil)
		p.offsets = append(p.offsets, int64(len(p.data)))
		p.data = append(p.data, part...)
		p.raw += sum.RawBytes
		p.records += sum.Records
	}
	for range times {
		for rest := in; len(rest) > 0; {
			var record []byte
			var err error
			if record, rest, err = NextFrame(rest); err != nil {
				t.Fatal(err)
			}
			if s.Records() == 0 {
				p.first = append(p.first, next)
			}
			if err := s.Append(atIndex(t, record, next)); err != nil {
				t.Fatal(err)
			}
			next++
			if s.Size() >= partSize {
				cut()
			}
		}
	}
	cut()
	return p
}

func atIndex(t testing.TB, record []byte, index int64) []byte {
	o, err := events.Unmarshal(record)
	if err != nil {
		t.Fatal(err)
	}
	e, err := events.Unwrap(o)
	if err != nil {
		t.Fatal(err)
	}
	e.GetMetadata().Index = index
	return oneof(t, e)
}

// readTape reads every record, and knows that they are all there.
func readTape(t testing.TB, p *tape) {
	r, n := NewReader(bytes.NewReader(p.data)), int64(0)
	for {
		if _, err := r.Next(); isEOF(err) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != p.records {
		t.Fatalf("%d records, want %d", n, p.records)
	}
}

// decompressOnly is the limit: the parts' bodies through the same decompressor, its
// checksum checked, and nothing made of them.
func decompressOnly(t testing.TB, z *gzip.Reader, p *tape, buf []byte) {
	raw := int64(0)
	for i, offset := range p.offsets {
		end := int64(len(p.data))
		if i+1 < len(p.offsets) {
			end = p.offsets[i+1]
		}
		if err := z.Reset(bytes.NewReader(p.data[offset+HeaderSize : end])); err != nil {
			t.Fatal(err)
		}
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{z}, buf)
		if err != nil {
			t.Fatal(err)
		}
		raw += n
	}
	if raw != p.raw {
		t.Fatalf("%d bytes, want %d", raw, p.raw)
	}
}

// BenchmarkReading has a recording in and its records out, against expanding it and
// nothing else; and what it takes to the first event, and to one in the middle.
func BenchmarkReading(b *testing.B) {
	p := programTape(b, 8, 256<<10)
	rate := func(b *testing.B) {
		b.ReportMetric(float64(p.records)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	}
	b.Run("reader", func(b *testing.B) {
		b.SetBytes(p.raw)
		b.ReportAllocs()
		for b.Loop() {
			readTape(b, p)
		}
		rate(b)
	})
	b.Run("decompress-only", func(b *testing.B) {
		b.SetBytes(p.raw)
		b.ReportAllocs()
		z, buf := new(gzip.Reader), make([]byte, 32<<10)
		for b.Loop() {
			decompressOnly(b, z, p, buf)
		}
		rate(b)
	})
	b.Run("first-event", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r := NewReader(bytes.NewReader(p.data))
			if rec, err := r.Next(); err != nil || rec.Index != 0 {
				b.Fatal(rec.Index, err)
			}
			r.closePart()
		}
	})
	// Of a part that its manifest names, the last event, which is the worst case.
	b.Run("seek", func(b *testing.B) {
		b.ReportAllocs()
		b.ReportMetric(float64(len(p.data))/float64(len(p.offsets)), "part-bytes")
		part := len(p.offsets) / 2
		want := p.first[part+1] - 1
		for b.Loop() {
			size := p.offsets[part+1] - p.offsets[part]
			r := NewReaderAt(bytes.NewReader(p.data), p.offsets[part], size)
			r.StartAt(part+1, p.offsets[part], p.first[part])
			for {
				rec, err := r.Next()
				if err != nil {
					b.Fatal(err)
				}
				if rec.Index == want {
					break
				}
			}
			r.closePart()
		}
	})
}
