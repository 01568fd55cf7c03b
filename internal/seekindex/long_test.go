package seekindex

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/screen"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// longBytes is how long the recording of TestSeekInALongRecording is, as stored.
// TAPEDECK_LONG_RECORDING=1073741824 makes it a gigabyte, which takes minutes.
func longBytes(t *testing.T) int64 {
	v := os.Getenv("TAPEDECK_LONG_RECORDING")
	if v == "" {
		return 16 << 20
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		t.Fatalf("TAPEDECK_LONG_RECORDING: %v", err)
	}
	return n
}

// partBytes is the size of part n, as the slicer makes them: 5 MiB at first,
// growing to 64 MiB.
func partBytes(n int) int64 { return min(5<<20+int64(n-1)*(59<<20)/800, 64<<20) }

// busy is output that does not compress well, and draws in many ways.
func busy(random *rand.Rand, i int) []byte {
	var out []byte
	for range 40 {
		switch random.IntN(12) {
		case 0:
			out = fmt.Appendf(out, "\x1b[%d;%dH\x1b[%dm", 1+random.IntN(40), 1+random.IntN(120), 30+random.IntN(8))
		case 1:
			out = fmt.Appendf(out, "\x1b[38;5;%dm\x1b[K", random.IntN(256))
		case 2:
			out = append(out, "\x1b[m\r\n世界"...)
		default:
			out = fmt.Appendf(out, "%d %016x%016x%016x\r\n", i, random.Uint64(), random.Uint64(), random.Uint64())
		}
	}
	return out
}

// pressLong makes a recording of at least size stored bytes in the bucket, holding
// one part at a time.
func (s *site) pressLong(t *testing.T, sid string, size int64) {
	t.Helper()
	key := s.Key(sid + ".tar")
	upload, err := s.CreateUpload(t.Context(), key, nil)
	if err != nil {
		t.Fatal(err)
	}
	var parts []s3store.Part
	p := press(t, s, sid, partBytes(1), nil)
	p.store = func(part []byte) {
		stored, err := s.PutPart(t.Context(), key, upload, len(parts)+1, part)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, stored)
		p.size = partBytes(len(parts) + 1)
	}
	tp := &tape{t: t}
	tp.add(0, &events.SessionStart{User: &events.UserMetadata{User: "joe"}, TerminalSize: "120:40"}, "session.start")
	random := rand.New(rand.NewPCG(3, 4))
	for i := 0; p.m.Bytes+p.slice.BlockBytes() < size; i++ {
		tp.print(time.Duration(i)*20*time.Millisecond, busy(random, i))
		for _, r := range tp.records {
			p.add(r)
		}
		tp.records = tp.records[:0]
	}
	p.manifest()
	if _, err := s.CompleteUpload(t.Context(), key, upload, parts); err != nil {
		t.Fatal(err)
	}
}

// A jump into the last tenth of a long recording reads the manifest, the index and
// at most two parts, shows a picture within a second, and what a replay from the
// start shows.
func TestSeekInALongRecording(t *testing.T) {
	size := longBytes(t)
	s := newSite(t)
	s.pressLong(t, "long", size)

	start := time.Now()
	bytesOfIndex, err := Make(t.Context(), s.open(t, "long"), s, "long")
	if err != nil {
		t.Fatal(err)
	}
	made := time.Since(start)

	x, err := Open(t.Context(), s, "long")
	if err != nil {
		t.Fatal(err)
	}
	target := x.Timeline().DurationMS * 95 / 100
	s.gets.Store(0)
	s.ranges.Store(0)
	s.read.Store(0)
	start = time.Now()
	rec := s.open(t, "long") // reads the manifest
	if x, err = Open(t.Context(), s, "long"); err != nil {
		t.Fatal(err)
	}
	f, err := x.Keyframe(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	got, dec := screen.NewTerminal(f.Cols, f.Rows), cast.DecoderAt(f.Clock, f.Cols, f.Rows)
	_, _ = got.Write(f.Data)
	first := time.Since(start)
	indexReads := s.ranges.Load()
	show(t, rec, got, dec, f.Index+1, target)
	there := time.Since(start)
	parts := s.ranges.Load() - indexReads
	t.Logf("recording of %d bytes in %d parts: index of %d bytes made in %v; jump: first picture after %v, the moment itself after %v; %d requests for the manifest, %d for the index, %d for parts",
		rec.Size(), len(manifest(t, rec).Parts), bytesOfIndex, made.Round(time.Millisecond), first.Round(time.Millisecond), there.Round(time.Millisecond), s.gets.Load(), indexReads, parts)
	if s.gets.Load() != 1 || indexReads > 3 || parts > 2 {
		t.Errorf("%d requests for the manifest, %d for the index, %d for parts", s.gets.Load(), indexReads, parts)
	}
	if first > time.Second {
		t.Errorf("the first picture took %v", first)
	}
	if x.header.pictures > rec.Size()/10 {
		t.Errorf("%d bytes of pictures", x.header.pictures)
	}
	want := screen.NewTerminal(80, 24)
	show(t, rec, want, new(cast.Decoder), 0, target)
	if !bytes.Equal(got.Redraw(), want.Redraw()) {
		t.Error("the screen is not that of a replay from the start")
	}
}

func manifest(t *testing.T, rec *recording.Recording) *slicefmt.Manifest {
	t.Helper()
	m, err := rec.Manifest()
	if m == nil {
		t.Fatal(err)
	}
	return m
}
