package slicefmt

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
)

// BenchmarkRatio compares in time of the processor, each with its limit or with the
// field's way, taking turns: what else the machine does falls on both alike. The
// figure to look at is times: how much faster the first is, by the middle of the
// rounds. benchstat reads it like any other.
func BenchmarkRatio(b *testing.B) {
	in := programFrames(b)
	tape := programTape(b, 4, 256<<10)
	var s Slice
	w, out := levelOne(b), new(bytes.Buffer)
	z, buf := new(gzip.Reader), make([]byte, 32<<10)
	slicing := func() { sliceParts(b, &s, in) }
	b.Run("slicing-to-field", func(b *testing.B) { ratio(b, slicing, func() { gzipRemarshal(b, w, out, in) }) })
	b.Run("slicing-to-compressor", func(b *testing.B) { ratio(b, slicing, func() { compressAlone(in) }) })
	b.Run("reading-to-decompressor", func(b *testing.B) {
		ratio(b, func() { readTape(b, tape) }, func() { decompressOnly(b, z, tape, buf) })
	})
}

func ratio(b *testing.B, ours, theirs func()) {
	var a, c []time.Duration
	for b.Loop() {
		a, c = append(a, cpuTime(ours)), append(c, cpuTime(theirs))
	}
	slices.Sort(a)
	slices.Sort(c)
	b.ReportMetric(c[len(c)/2].Seconds()/a[len(a)/2].Seconds(), "times")
	b.ReportMetric(float64(a[len(a)/2].Nanoseconds()), "cpu-ns/op")
}
