package seekindex

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/screen"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/tdp"
)

// newTestBuilder is a builder with a spool that the test removes.
func newTestBuilder(t *testing.T) *builder {
	t.Helper()
	spool, err := os.CreateTemp(t.TempDir(), "spool")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { spool.Close() })
	return newBuilder(spool)
}

// buildWith builds the index of a session with little work for nothing, and opens it.
func (s *site) buildWith(t *testing.T, sid string, free int64) (*Index, []byte) {
	t.Helper()
	b := newTestBuilder(t)
	b.free = free
	var out bytes.Buffer
	if err := b.build(t.Context(), s.open(t, sid), &out); err != nil {
		t.Fatal(err)
	}
	s.put(t, s.Key(sid+Suffix), out.Bytes())
	x, err := Open(t.Context(), s, sid)
	if err != nil {
		t.Fatal(err)
	}
	return x, out.Bytes()
}

// Output that would take days to draw is not drawn to its end: the index has what was
// there before, and all of the timeline.
func TestHostileOutputEndsThePicturesAndNotTheIndex(t *testing.T) {
	s := newSite(t)
	for name, hostile := range map[string]func(tp *tape, at time.Duration){
		"clears": func(tp *tape, at time.Duration) { tp.print(at, bytes.Repeat([]byte("\x1b[2J"), 2<<10)) },
		"resizes": func(tp *tape, at time.Duration) {
			tp.add(at, &events.Resize{TerminalSize: "1000:500"}, "resize")
			tp.add(at, &events.Resize{TerminalSize: "80:25"}, "resize")
		},
		"samples": func(tp *tape, at time.Duration) { tp.print(at*1000, []byte("\x1b[?1049h.")) },
	} {
		tp := &tape{t: t}
		tp.add(0, &events.SessionStart{TerminalSize: "1000:500"}, "session.start")
		tp.print(time.Second, []byte("all is well\r\n"))
		for i := range 40 {
			hostile(tp, 10*time.Second+time.Duration(i)*10*time.Millisecond)
		}
		tp.add(100*time.Hour, &events.SessionEnd{}, "session.end")
		s.finish(t, name, 1<<20, tp.records)
		x, first := s.buildWith(t, name, 20<<20)
		line := x.Timeline()
		if kinds(x) != "undrawn" || x.Events() != int64(len(tp.records)) || line.DurationMS != 360_000_000 || len(line.Markers) == 0 ||
			line.Markers[len(line.Markers)-1].Type != "session.end" {
			t.Errorf("%s: problems %q, %d events of %d in %d ms", name, kinds(x), x.Events(), len(tp.records), line.DurationMS)
		}
		if k := line.Keyframes; len(k) == 0 || k[len(k)-1].TMS >= line.DurationMS || line.Problems[0].TMS < k[len(k)-1].TMS {
			t.Errorf("%s: pictures at %v, problems %v", name, k, line.Problems)
		}
		if found, err := x.Search(t.Context(), "all is well", 2); err != nil || len(found) == 0 {
			t.Errorf("%s: before it %v, %v", name, found, err)
		}
		if _, from := x.Omitted(); from == 0 {
			t.Errorf("%s: the transcript is said to be whole", name)
		}
		if _, second := s.buildWith(t, name, 20<<20); !bytes.Equal(first, second) {
			t.Errorf("%s: built twice, it is not the same", name)
		}
	}
}

func TestAHostileDesktopEndsThePicturesToo(t *testing.T) {
	s := newSite(t)
	tp := &tape{t: t}
	tp.add(0, &events.WindowsDesktopSessionStart{}, "windows.desktop.session.start")
	for i := range 20 {
		tp.desktop(time.Duration(i)*time.Second, tdp.ScreenSize{Width: 1000 + i, Height: 1000}.Append(nil))
	}
	s.finish(t, "wide", 1<<20, tp.records)
	x, _ := s.buildWith(t, "wide", 10_000_000)
	if line := x.Timeline(); kinds(x) != "undrawn" || len(line.Keyframes) == 0 || len(line.Keyframes) > 10 || len(line.Sizes) != 20 {
		t.Errorf("problems %q, %d pictures, %d sizes", kinds(x), len(line.Keyframes), len(line.Sizes))
	}
	if x := s.index(t, "wide"); kinds(x) != "" {
		t.Errorf("with the usual budget: %q", kinds(x))
	}
}

// Real recordings stay far below what drawing may cost.
func TestUsualRecordingsAreDrawnToTheirEnd(t *testing.T) {
	s := newSite(t)
	for _, name := range []string{"flood", "htop", "shell-colours", "vim-unicode-resize"} {
		s.finish(t, name, 64<<10, fixture(t, name).records)
		if x, _ := s.buildWith(t, name, freeWork/100); kinds(x) != "" {
			t.Errorf("%s: %q", name, kinds(x))
		}
	}
}

// Who asked may go in the middle of a record.
func TestARecordIsNotDrawnForNobody(t *testing.T) {
	b := newTestBuilder(t)
	ctx, cancel := context.WithCancel(t.Context())
	lines := 0
	b.term.OnLine = func(string) {
		if lines++; lines == 10 {
			cancel()
		}
	}
	tp := &tape{t: t}
	tp.print(0, bytes.Repeat([]byte("\n"), 60<<10))
	if err := b.take(ctx, scan(t, tp.records[0])); !errors.Is(err, context.Canceled) || lines > 1000 {
		t.Errorf("after %d lines: %v", lines, err)
	}
}

// A picture is written if and only if it can be read.
func TestTheLargestPicture(t *testing.T) {
	zero := make([]byte, maxPicture+1)
	packed := packPicture(zero[:maxPicture])
	if b, err := unpack(packed, maxPicture); err != nil || len(b) != maxPicture {
		t.Errorf("the largest picture has %d bytes when it is read: %v", len(b), err)
	}
	if b := packPicture(zero); b != nil {
		t.Errorf("a picture of %d bytes is written", len(zero))
	}
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(zero)
	if b := packPicture(zero[:maxPicture]); b != nil {
		t.Errorf("a picture of %d bytes is written, which does not compress", len(b))
	}
}

// A screen that no reader would take a picture of has none, and no other is lost.
func TestAScreenTooLargeForAPictureIsLeftOut(t *testing.T) {
	b := newTestBuilder(t)
	b.shows, b.since = true, 1
	b.term = screen.NewTerminal(screen.MaxCols, screen.MaxRows)
	var row []byte // each cell with a style that is not the one before's
	for x := range screen.MaxCols {
		row = fmt.Appendf(row, "\x1b[0;1;2;3;4:3;5;7;9;53;38;2;100;%d;200;48;2;200;%d;200;58;2;%d;200;200mx\u0301\u0302\u0303", x%256, x%256, x%256)
	}
	for _, which := range []string{"\x1b[H", "\x1b[?1049h\x1b[H"} {
		if _, err := b.term.Write(append([]byte(which), bytes.Repeat(row, screen.MaxRows)...)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(b.term.Redraw()); n <= maxPicture {
		t.Fatalf("the screen is no larger than %d bytes", n)
	}
	tp := &tape{t: t}
	tp.print(0, []byte("x"))
	if err := b.picture(scan(t, tp.records[0])); err != nil || len(b.dir) != 0 || b.since != 0 {
		t.Errorf("%d pictures, %d bytes since: %v", len(b.dir), b.since, err)
	}
}

// Every list at its longest, and every text in it, makes an index that can be read.
func TestTheLongestTimelineCanBeRead(t *testing.T) {
	s := newSurvey()
	e := &events.SessionCommand{Path: strings.Repeat("<", 400)}
	for i := range int64(maxListed + 100) {
		tp := &tape{t: t, next: 2 * i} // with a gap before each
		tp.add(time.Duration(i)*time.Hour, e, strings.Repeat("\u2028", 500))
		one, err := events.Unmarshal(tp.records[0])
		if err != nil {
			t.Fatal(err)
		}
		one.GetSessionCommand().Metadata.Code = strings.Repeat("&", 500)
		s.take(scan(t, tp.records[0]), one)
		s.resized(int(1<<30+i%2), 1<<30)
	}
	if len(s.Markers) == 0 || s.Omitted == 0 || len(s.Idle) != maxListed {
		t.Fatalf("%d markers, %d omitted, %d idle", len(s.Markers), s.Omitted, len(s.Idle))
	}
	s.finish(nil)
	front, err := encodeFront(header{}, summary{Timeline: s.Timeline}, make([]entry, maxKeyframes))
	if err != nil {
		t.Fatal(err)
	}
	h, err := parseHeader(front)
	if err != nil {
		t.Fatal(err)
	}
	if got, dir, err := decodeFront(h, front); err != nil || len(got.Markers) != len(s.Markers) || len(dir) != maxKeyframes {
		t.Errorf("%d markers of %d: %v", len(got.Markers), len(s.Markers), err)
	}
	// And what would be too long is refused, not written.
	s.Markers = append(s.Markers, Marker{Label: strings.Repeat("x", maxSummary)})
	if _, err := encodeFront(header{}, summary{Timeline: s.Timeline}, nil); err == nil {
		t.Error("a timeline that no reader takes is written")
	}
}

// Of equally long idle stretches the first are kept, and longer ones go before them.
func TestTheFirstOfEquallyLongIdleStretchesAreKept(t *testing.T) {
	s := newSurvey()
	tp := &tape{t: t}
	at := time.Duration(0)
	for i := range maxListed + 1000 {
		if at += 3 * time.Second; i == maxListed+500 {
			at += 7 * time.Second
		}
		tp.print(at, []byte("."))
		s.take(scan(t, tp.records[0]), nil)
		tp.records = tp.records[:0]
	}
	s.finish(nil)
	if len(s.Idle) != maxListed {
		t.Fatalf("%d stretches", len(s.Idle))
	}
	for i, idle := range s.Idle[:maxListed-1] {
		if want := (Idle{int64(i) * 3000, int64(i+1) * 3000}); idle != want {
			t.Fatalf("stretch %d is %v, not %v", i, idle, want)
		}
	}
	if last := s.Idle[maxListed-1]; last.ToMS-last.FromMS != 10_000 {
		t.Errorf("the longest is not kept: the last is %v", last)
	}
}

// A recording that says it is of a desktop and then of a terminal has pictures of one.
func TestPicturesAreOfOneKind(t *testing.T) {
	s := newSite(t)
	tp := &tape{t: t}
	tp.add(0, &events.SessionStart{TerminalSize: "80:25"}, "session.start")
	tp.desktop(time.Second, tdp.ScreenSize{Width: 100, Height: 100}.Append(nil))
	tp.print(10*time.Second, bytes.Repeat([]byte("a terminal\r\n"), slowBytes/4))
	s.finish(t, "both", 1<<20, tp.records)
	x := s.index(t, "both")
	if len(x.dir) != 1 {
		t.Errorf("%d pictures", len(x.dir))
	}
	for _, k := range x.Timeline().Keyframes {
		if f, err := x.Keyframe(t.Context(), k.TMS); err != nil || !bytes.Contains(f.Data, []byte("a terminal")) {
			t.Errorf("the picture at %d ms is %d bytes: %v", k.TMS, len(f.Data), err)
		}
	}
}

// A picture that would lie beyond what numbers can say is none.
func TestAPictureBeyondTheEndIsCorrupt(t *testing.T) {
	front, err := encodeFront(header{pictures: 1000}, summary{}, []entry{{offset: math.MaxInt64, bytes: 100}})
	if err != nil {
		t.Fatal(err)
	}
	h, err := parseHeader(front)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := decodeFront(h, front); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%v, want %v", err, ErrCorrupt)
	}
}
