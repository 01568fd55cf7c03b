package video

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/png"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/internal/screen"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
	"github.com/tapedeck-io/tapedeck/pkg/tdp"
)

var epoch = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

type tape struct {
	t    *testing.T
	recs []slicefmt.Record
}

func (tp *tape) add(at time.Duration, e events.Event, md *events.Metadata) {
	tp.t.Helper()
	md.Index, md.Time = int64(len(tp.recs)), timestamppb.New(epoch.Add(at))
	one, err := events.Wrap(e)
	if err != nil {
		tp.t.Fatal(err)
	}
	b, err := events.Marshal(one)
	if err != nil {
		tp.t.Fatal(err)
	}
	h, err := events.Scan(b)
	if err != nil {
		tp.t.Fatal(err)
	}
	tp.recs = append(tp.recs, slicefmt.Record{OneOf: b, Header: h})
}

func (tp *tape) start(size string) {
	md := &events.Metadata{}
	tp.add(0, &events.SessionStart{Metadata: md, TerminalSize: size}, md)
}

func (tp *tape) print(at time.Duration, data string) {
	md := &events.Metadata{}
	tp.add(at, &events.SessionPrint{Metadata: md, Data: []byte(data), DelayMilliseconds: at.Milliseconds()}, md)
}

func (tp *tape) resize(at time.Duration, size string) {
	md := &events.Metadata{}
	tp.add(at, &events.Resize{Metadata: md, TerminalSize: size}, md)
}

func (tp *tape) message(at time.Duration, m tdp.Message) {
	md := &events.Metadata{}
	tp.add(at, &events.DesktopRecording{Metadata: md, Message: m.Append(nil), DelayMilliseconds: at.Milliseconds()}, md)
}

func (tp *tape) open(err error) Open {
	return func(context.Context) iter.Seq2[slicefmt.Record, error] {
		return func(yield func(slicefmt.Record, error) bool) {
			for _, r := range tp.recs {
				if !yield(r, nil) {
					return
				}
			}
			if err != nil {
				yield(slicefmt.Record{}, err)
			}
		}
	}
}

// terminal is a session of three pictures: a red line, 60 s later a wider screen
// with a green one, and a second later a blue one.
func terminal(t *testing.T) *tape {
	tp := &tape{t: t}
	tp.start("20:5")
	tp.print(0, "\x1b[48;2;255;0;0m\x1b[K\x1b[?25l")
	tp.resize(60*time.Second, "30:5")
	tp.print(60*time.Second, "\x1b[2;1H\x1b[48;2;0;255;0m\x1b[K")
	tp.print(61*time.Second, "\x1b[3;1H\x1b[48;2;0;0;255m\x1b[K")
	return tp
}

var red, green, blue = color.RGBA{R: 255, A: 255}, color.RGBA{G: 255, A: 255}, color.RGBA{B: 255, A: 255}

// row is a place in a row of a terminal's picture.
func row(n int) image.Point { return image.Pt(4, n*screen.CellHeight+4) }

func checkPixels(t *testing.T, what string, img image.Image, want map[image.Point]color.RGBA, near int) {
	t.Helper()
	for p, w := range want {
		got := color.RGBAModel.Convert(img.At(p.X, p.Y)).(color.RGBA)
		for _, d := range []int{int(got.R) - int(w.R), int(got.G) - int(w.G), int(got.B) - int(w.B)} {
			if d > near || d < -near {
				t.Errorf("%s: %v is %v, want %v", what, p, got, w)
				break
			}
		}
	}
}

func TestAPictureIsTheScreenAtItsTime(t *testing.T) {
	tp := terminal(t)
	for at, want := range map[time.Duration]map[image.Point]color.RGBA{
		0:                {row(0): red, row(1): {0x12, 0x13, 0x14, 255}},
		60 * time.Second: {row(0): red, row(1): green, row(2): {0x12, 0x13, 0x14, 255}},
		1 << 62:          {row(0): red, row(1): green, row(2): blue},
	} {
		var out bytes.Buffer
		if err := PNG(t.Context(), &out, tp.open(nil), nil, at); err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(&out)
		if err != nil {
			t.Fatal(err)
		}
		checkPixels(t, at.String(), img, want, 0)
	}
	empty := &tape{t: t}
	empty.start("20:5")
	if err := PNG(t.Context(), &bytes.Buffer{}, empty.open(nil), nil, 0); !errors.Is(err, ErrNothing) {
		t.Errorf("of nothing: %v", err)
	}
}

// A picture by way of a keyframe is the picture.
func TestAPictureBeginsAtAKeyframe(t *testing.T) {
	tp := terminal(t)
	s := newStage()
	for _, r := range tp.recs[:3] {
		if err := s.take(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	w, h := s.term.Size()
	from := &Keyframe{At: 60 * time.Second, Zero: epoch, Width: w, Height: h, Screen: s.term.Redraw(), Clock: s.dec.Clock()}
	var want, got bytes.Buffer
	if err := PNG(t.Context(), &want, tp.open(nil), nil, 60500*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	rest := &tape{t: t, recs: tp.recs[3:]}
	if err := PNG(t.Context(), &got, rest.open(nil), from, 60500*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want.Bytes(), got.Bytes()) {
		t.Error("it is another one")
	}
}

func TestAGIFShowsEachScreenForItsTime(t *testing.T) {
	for maxIdle, want := range map[time.Duration][]int{0: {6000, 100, 10}, 2 * time.Second: {200, 100, 10}} {
		var out bytes.Buffer
		if err := GIF(t.Context(), &out, terminal(t).open(nil), Options{Rate: 30, MaxIdle: maxIdle}); err != nil {
			t.Fatal(err)
		}
		g, err := gif.DecodeAll(&out)
		if err != nil {
			t.Fatal(err)
		}
		if len(g.Image) != 3 || g.Delay[0] != want[0] || g.Delay[1] != want[1] || g.Delay[2] != want[2] {
			t.Fatalf("%d frames with delays %v, want %v", len(g.Image), g.Delay, want)
		}
		if g.Config.Width != 240 || g.Config.Height != 86 {
			t.Errorf("a GIF of %dx%d", g.Config.Width, g.Config.Height)
		}
		canvas := image.NewRGBA(image.Rect(0, 0, g.Config.Width, g.Config.Height))
		for i, img := range g.Image {
			draw.Draw(canvas, img.Bounds(), img, img.Bounds().Min, draw.Over)
			checkPixels(t, "frame", canvas, [...]map[image.Point]color.RGBA{{row(0): red}, {row(0): red, row(1): green}, {row(1): green, row(2): blue}}[i], 0)
		}
	}
}

// desktop is a film of 3 s in which a square of many colors moves.
func desktop(t *testing.T) *tape {
	tp := &tape{t: t}
	md := &events.Metadata{}
	tp.add(0, &events.WindowsDesktopSessionStart{Metadata: md}, md)
	tp.message(0, tdp.ScreenSize{Width: 161, Height: 121})
	for i := range 4 {
		img := image.NewRGBA(image.Rect(0, 0, 40, 40))
		for p := range img.Pix {
			img.Pix[p] = byte(p*7) | 0xff*boolByte(p%4 == 3)
		}
		draw.Draw(img, image.Rect(4, 4, 36, 36), image.NewUniform([]color.RGBA{red, green, blue, red}[i]), image.Point{}, draw.Src)
		var out bytes.Buffer
		if err := png.Encode(&out, img); err != nil {
			t.Fatal(err)
		}
		tp.message(time.Duration(i)*time.Second, tdp.Frame{Rect: img.Rect.Add(image.Pt(40*i, 40)), PNG: out.Bytes()})
	}
	return tp
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// frameAt has ffmpeg, which knows films better than we do, take one frame out.
func frameAt(t *testing.T, file string, n int) image.Image {
	t.Helper()
	out, err := exec.Command("ffmpeg", "-loglevel", "error", "-i", file, "-vf", fmt.Sprintf("fps=10,select=eq(n\\,%d)", n),
		"-frames:v", "1", "-f", "image2pipe", "-c:v", "png", "-").Output()
	if err != nil {
		t.Fatalf("ffmpeg (make test-deps installs it): %v", err)
	}
	img, err := png.Decode(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestFilmsShowWhatTheDesktopShowed(t *testing.T) {
	films := map[string]func(f *os.File, open Open) error{
		"mp4": func(f *os.File, open Open) error { return MP4(t.Context(), f, open, Options{Rate: 10}) },
		"avi": func(f *os.File, open Open) error { return AVI(t.Context(), f, open, Options{Rate: 10}) },
	}
	for name, film := range films {
		f, err := os.Create(filepath.Join(t.TempDir(), "film."+name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := film(f, desktop(t).open(nil)); err != nil {
			t.Fatal(err)
		}
		said, err := exec.Command("ffprobe", "-loglevel", "error", "-count_packets", "-select_streams", "v:0", "-show_entries",
			"stream=width,height,nb_read_packets,r_frame_rate", "-of", "csv=p=0", f.Name()).CombinedOutput()
		if err != nil || !strings.HasPrefix(string(said), "162,122,10/1") {
			t.Errorf("%s: ffprobe says %q, %v", name, said, err)
		}
		checkPixels(t, name+" at 0.5 s", frameAt(t, f.Name(), 5), map[image.Point]color.RGBA{{20, 60}: red, {60, 60}: {A: 255}}, 40)
		checkPixels(t, name+" at 2.5 s", frameAt(t, f.Name(), 25), map[image.Point]color.RGBA{{20, 60}: red, {60, 60}: green, {100, 60}: blue}, 40)
	}
}

// A film over what it may take is refused, as is one for which nobody waits.
func TestAFilmMayTakeSoMuchAndNoMore(t *testing.T) {
	gone, stop := context.WithCancel(t.Context())
	stop()
	films := map[string]func(ctx context.Context, f *os.File, o Options) error{
		"gif": func(ctx context.Context, f *os.File, o Options) error { return GIF(ctx, f, desktop(t).open(nil), o) },
		"avi": func(ctx context.Context, f *os.File, o Options) error { return AVI(ctx, f, desktop(t).open(nil), o) },
		"mp4": func(ctx context.Context, f *os.File, o Options) error { return MP4(ctx, f, desktop(t).open(nil), o) },
	}
	for name, film := range films {
		f, err := os.Create(filepath.Join(t.TempDir(), "film."+name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := film(t.Context(), f, Options{Rate: 10, MaxBytes: 300}); !errors.Is(err, ErrTooLong) {
			t.Errorf("%s of 300 bytes at most: %v", name, err)
		}
		if err := f.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if err := film(t.Context(), f, Options{Rate: 10, MaxBytes: 1 << 20}); err != nil {
			t.Errorf("%s of a megabyte at most: %v", name, err)
		}
		if err := film(gone, f, Options{Rate: 10}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s for nobody: %v", name, err)
		}
	}
}

// What cannot be read to its end gives an error, and leaves no process behind.
func TestARecordingThatBreaksOffIsAnError(t *testing.T) {
	broken := errors.New("the recording is cut here")
	f, err := os.Create(filepath.Join(t.TempDir(), "film"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, err := range map[string]error{
		"png": PNG(t.Context(), &bytes.Buffer{}, desktop(t).open(broken), nil, time.Hour),
		"gif": GIF(t.Context(), &bytes.Buffer{}, desktop(t).open(broken), Options{Rate: 10}),
		"avi": AVI(t.Context(), f, desktop(t).open(broken), Options{Rate: 10}),
		"mp4": MP4(t.Context(), f, desktop(t).open(broken), Options{Rate: 10}),
	} {
		if !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := MP4(t.Context(), f, (&tape{t: t}).open(nil), Options{Rate: 10}); !errors.Is(err, ErrNothing) {
		t.Errorf("of nothing: %v", err)
	}
}

func TestColorsBeyondAPaletteAreTheNearest(t *testing.T) {
	img := image.NewRGBA(image.Rect(0, 0, 64, 64))
	for i := range 64 * 64 {
		img.SetRGBA(i%64, i/64, color.RGBA{R: byte(i % 64 * 4), G: byte(i / 64 * 4), B: byte(i), A: 255})
	}
	pixels, colors := quantize(img, img.Rect)
	for i, n := range pixels {
		c, w := colors[n], img.RGBAAt(i%64, i/64)
		if d := abs(int(c.R)-int(w.R)) + abs(int(c.G)-int(w.G)) + abs(int(c.B)-int(w.B)); d > 120 {
			t.Fatalf("%v has become %v", w, c)
		}
	}
	if d := difference(img, img); !d.Empty() {
		t.Errorf("a picture differs from itself at %v", d)
	}
}

func abs(n int) int { return max(n, -n) }
