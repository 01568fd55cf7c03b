package seekindex

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/screen"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/tdp"
)

func protoValue(m proto.Message) protoreflect.Value {
	return protoreflect.ValueOfMessage(m.ProtoReflect())
}

// show plays the records of a range on a terminal, up to a time.
func show(t testing.TB, rec *recording.Recording, term *screen.Terminal, dec *cast.Decoder, from, toMS int64) {
	t.Helper()
	for r, err := range rec.Records(t.Context(), recording.Range{FromIndex: from}) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Time().Sub(epoch).Milliseconds() > toMS {
			return
		}
		e, ok, err := dec.Decode(r)
		if err != nil {
			t.Fatal(err)
		}
		if r.Index == 0 {
			term.Resize(dec.Header().Width, dec.Header().Height)
		}
		switch {
		case ok && e.Code == cast.Output:
			_, _ = term.Write(e.Data)
		case ok && e.Code == cast.Resize:
			w, h, _ := cast.ParseSize(string(e.Data), 'x')
			term.Resize(w, h)
		}
	}
}

// jump is the screen at a time by way of the index.
func jump(t testing.TB, rec *recording.Recording, x *Index, atMS int64) (*screen.Terminal, *cast.Decoder) {
	t.Helper()
	f, err := x.Keyframe(t.Context(), atMS)
	if err != nil {
		t.Fatal(err)
	}
	if f.TMS > atMS {
		t.Fatalf("keyframe at %d for %d", f.TMS, atMS)
	}
	term, dec := screen.NewTerminal(f.Cols, f.Rows), cast.DecoderAt(f.Clock, f.Cols, f.Rows)
	_, _ = term.Write(f.Data)
	show(t, rec, term, dec, f.Index+1, atMS)
	return term, dec
}

// Whatever the time, the screen by way of the index is that of a replay from the
// start, and so is the clock.
func TestAJumpShowsWhatAReplayFromTheStartShows(t *testing.T) {
	s := newSite(t)
	for _, name := range []string{"flood", "htop", "shell-colours", "vim-unicode-resize"} {
		t.Run(name, func(t *testing.T) {
			s.finish(t, name, 4<<10, fixture(t, name).records) // many small parts
			x := s.index(t, name)
			rec := s.open(t, name)
			line := x.Timeline()
			if len(line.Keyframes) < 2 || !line.Indexed || line.Kind != "terminal" {
				t.Fatalf("timeline %+v", line)
			}
			for k := range 9 {
				at := line.Keyframes[0].TMS + (line.DurationMS-line.Keyframes[0].TMS)*int64(k)/8
				want, wantDec := screen.NewTerminal(80, 24), &cast.Decoder{}
				show(t, rec, want, wantDec, 0, at)
				got, gotDec := jump(t, rec, x, at)
				if !bytes.Equal(got.Redraw(), want.Redraw()) {
					t.Fatalf("at %d ms the screen is\n%q\nnot\n%q", at, got.Redraw(), want.Redraw())
				}
				if g, w := gotDec.Clock(), wantDec.Clock(); g.Last != w.Last || g.Base != w.Base || !g.LastAt.Equal(w.LastAt) {
					t.Fatalf("at %d ms the clock is %+v, not %+v", at, g, w)
				}
			}
		})
	}
}

func TestTheSameRecordingGivesTheSameIndex(t *testing.T) {
	s := newSite(t)
	s.finish(t, "twice", 64<<10, fixture(t, "flood").records)
	if a, b := build(t, s.open(t, "twice")), build(t, s.open(t, "twice")); !bytes.Equal(a, b) {
		t.Error("built twice, it is not the same")
	}
}

func TestTheTimelineSaysWhatHappened(t *testing.T) {
	tp := &tape{t: t}
	second := time.Second
	tp.add(0, &events.SessionStart{User: &events.UserMetadata{User: "joe"}, TerminalSize: "80:25"}, "session.start")
	tp.print(second, []byte("$ ls\r\nneedle <b>\x1b[31m\r\n"))
	tp.add(5*second, &events.SessionJoin{User: &events.UserMetadata{User: "ann\x1b[2J"}}, "session.join")
	tp.add(6*second, &events.Resize{TerminalSize: "100:30"}, "resize")
	tp.add(6*second, &events.SCP{Action: "upload", Path: "/etc/passwd"}, "scp")
	tp.add(6*second, &events.SessionDisk{Path: "/etc/hosts"}, "session.disk")
	tp.next += 3 // a gap
	tp.print(7*second, []byte("\x1b[?1049hfull screen\x1b[2;1Hsecond row"))
	tp.print(60*second, []byte("."))
	tp.add(61*second, &events.SessionEnd{}, "session.end")
	s := newSite(t)
	m := s.finish(t, "tl", 1<<20, tp.records)
	m.Outcome = "abandoned"
	x := s.index(t, "tl")
	line := x.Timeline()
	if line.DurationMS != 61_000 || line.Cols != 80 || line.Rows != 25 || x.Events() != int64(len(tp.records)) {
		t.Errorf("timeline %+v of %d events", line, x.Events())
	}
	var labels []string
	for _, m := range line.Markers {
		labels = append(labels, m.Type+" "+m.Label)
	}
	want := "session.start joe, session.join ann\uFFFD[2J, resize 100x30, scp upload /etc/passwd, session.end "
	if got := strings.Join(labels, ", "); got != want {
		t.Errorf("markers %q, want %q", got, want)
	}
	if got := fmt.Sprint(line.Idle); got != "[{1000 5000} {7000 60000}]" {
		t.Errorf("idle %s", got)
	}
	if got := fmt.Sprint(line.Sizes); got != "[{0 80 25} {6000 100 30}]" {
		t.Errorf("sizes %s", got)
	}
	if len(line.Problems) != 1 || line.Problems[0].Kind != "gap" || line.Problems[0].TMS != 7_000 || !strings.HasPrefix(line.Problems[0].Text, "3 events") {
		t.Errorf("problems %+v", line.Problems)
	}
	sum := int64(0)
	for _, n := range line.Activity {
		sum += n
	}
	if sum == 0 || len(line.Activity) > maxBuckets || int64(len(line.Activity))*line.BucketMS < line.DurationMS {
		t.Errorf("activity of %d buckets of %d ms, %d bytes", len(line.Activity), line.BucketMS, sum)
	}
	for text, at := range map[string]int64{"NEEDLE": 1_000, "second row": 7_000} {
		found, err := x.Search(t.Context(), text, 5)
		if err != nil || len(found) == 0 || found[0].TMS != at {
			t.Errorf("search for %q: %v, %v; want the first at %d", text, found, err, at)
		}
	}
}

// A recording that is damaged has an index of what is good, which says so.
func TestDamageIsAProblemWhereItIs(t *testing.T) {
	s := newSite(t)
	m := s.finish(t, "cut", 4<<10, fixture(t, "shell-colours").records)
	body, err := s.Get(t.Context(), m.Key)
	if err != nil {
		t.Fatal(err)
	}
	whole := make([]byte, m.Bytes)
	if _, err := body.Read(whole); err != nil && int64(len(whole)) != m.Bytes {
		t.Fatal(err)
	}
	body.Close()
	if err := s.Put(t.Context(), m.Key, whole[:m.Bytes*2/3], false); err != nil {
		t.Fatal(err)
	}
	x := s.index(t, "cut")
	line := x.Timeline()
	last := line.Problems[len(line.Problems)-1]
	if last.Kind != "gap" && last.Kind != "truncated" && last.Kind != "corrupt" || len(line.Keyframes) == 0 {
		t.Errorf("problems %+v, %d keyframes", line.Problems, len(line.Keyframes))
	}
	if _, err := x.Keyframe(t.Context(), line.DurationMS); err != nil {
		t.Error(err)
	}
}

func TestADesktopJumpsToo(t *testing.T) {
	tp := &tape{t: t}
	tp.add(0, &events.WindowsDesktopSessionStart{}, "windows.desktop.session.start")
	tp.desktop(0, tdp.ScreenSize{Width: 640, Height: 480}.Append(nil))
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 400 { // squares all over, that do not compress away
		img := image.NewRGBA(image.Rect(0, 0, 64, 64))
		for p := range img.Pix {
			if img.Pix[p] = byte(random.Uint32()); p%4 == 3 {
				img.Pix[p] = 255
			}
		}
		draw.Draw(img, image.Rect(0, 0, 8, 8), image.NewUniform(color.RGBA{R: byte(i), A: 255}), image.Point{}, draw.Src)
		var out bytes.Buffer
		if err := png.Encode(&out, img); err != nil {
			t.Fatal(err)
		}
		at := time.Duration(i) * 100 * time.Millisecond
		tp.desktop(at, tdp.Frame{Rect: img.Rect.Add(image.Pt(i%10*64, i/10%7*64)), PNG: out.Bytes()}.Append(nil))
	}
	s := newSite(t)
	s.finish(t, "desk", 1<<20, tp.records)
	x := s.index(t, "desk")
	line := x.Timeline()
	if line.Kind != "desktop" || line.Cols != 640 || line.Rows != 480 || len(line.Keyframes) < 3 {
		t.Fatalf("timeline %+v", line)
	}
	rec := s.open(t, "desk")
	compose := func(d *screen.Desktop, from, toMS int64) {
		for r, err := range rec.Records(t.Context(), recording.Range{FromIndex: from}) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Time().Sub(epoch).Milliseconds() > toMS {
				return
			}
			one, err := events.Unmarshal(r.OneOf)
			if err != nil {
				t.Fatal(err)
			}
			if m := one.GetDesktopRecording().GetMessage(); m != nil {
				if err := d.Apply(m); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, at := range []int64{0, 9_950, 25_000, line.DurationMS} {
		var want, got screen.Desktop
		compose(&want, 0, at)
		f, err := x.Keyframe(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		if err := got.ApplyKeyframe(f.PNG); err != nil {
			t.Fatal(err)
		}
		compose(&got, f.Index+1, at)
		a, _ := want.PNG()
		b, _ := got.PNG()
		if !bytes.Equal(a, b) {
			t.Errorf("at %d ms the picture is another one", at)
		}
	}
}

func TestAnIndexThatIsNoGoodIsNoticed(t *testing.T) {
	s := newSite(t)
	s.finish(t, "bad", 1<<20, fixture(t, "htop").records)
	if _, err := Open(t.Context(), s, "bad"); !errors.Is(err, ErrNotFound) {
		t.Errorf("without an index: %v", err)
	}
	good := build(t, s.open(t, "bad"))
	broken := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] ^= v
		return b
	}
	for name, tt := range map[string]struct {
		body []byte
		want error
	}{
		"empty": {nil, ErrCorrupt}, "other": {[]byte(strings.Repeat("x", 100)), ErrCorrupt}, "version": {broken(11, 6), ErrVersion},
		"cut": {good[:90], ErrCorrupt}, "old": {broken(11, Version^1), ErrVersion}, "identity": {broken(60, 1), ErrCorrupt}, "timeline": {broken(headerSize+3, 1), ErrCorrupt}, "lengths": {broken(16, 0x40), ErrCorrupt},
	} {
		if err := s.Put(t.Context(), s.Key("bad"+Suffix), tt.body, false); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), s, "bad"); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

func FuzzFront(f *testing.F) {
	front, err := encodeFront(header{pictures: 10}, summary{}, []entry{{offset: 0, bytes: 10, cols: 80, rows: 24}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(front)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeader(b)
		if err != nil || int64(len(b)) < h.front() {
			return
		}
		if _, dir, err := decodeFront(h, b[:h.front()]); err == nil && len(dir) > maxKeyframes {
			t.Fatalf("%d pictures", len(dir))
		}
	})
}
