package recorder_test

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math/rand/v2"
	"testing"

	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
	"github.com/tapedeck-io/tapedeck/pkg/tdp"
)

// noise is a picture that does not compress.
func noise(width, height int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	random := rand.New(rand.NewPCG(1, 2))
	for i := range img.Pix {
		img.Pix[i] = byte(random.Uint32())
		if i%4 == 3 {
			img.Pix[i] = 255
		}
	}
	return img
}

func encodePNG(t *testing.T, img image.Image) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A picture of 1 MB goes into many events, which drawn one after the other are
// the picture again; between and around them is what else was said.
func TestADesktopSessionReadsBackAsItWasDrawn(t *testing.T) {
	for _, linux := range []bool{false, true} {
		site := newSite(t)
		rec := site.recorder(t, recorder.Options{})
		s, err := rec.Start(t.Context(), recorder.Spec{ID: "desk", User: "joe", Login: "admin",
			Desktop: &recorder.Desktop{Linux: linux, Name: "pc-7", Addr: "10.0.0.7:3389"}})
		if err != nil {
			t.Fatal(err)
		}
		large, small := noise(700, 500), noise(16, 16)
		at, ctx := image.Pt(20, 10), t.Context()
		for _, err := range []error{
			s.ScreenSize(ctx, 800, 600), s.Draw(ctx, at, encodePNG(t, large)), s.MouseMove(ctx, 5, 6), s.MouseButton(ctx, 0, true),
			s.Clipboard(ctx, []byte("copied")), s.Draw(ctx, image.Point{}, encodePNG(t, small)), s.End(ctx),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		want := image.NewRGBA(image.Rect(0, 0, 800, 600))
		draw.Draw(want, large.Bounds().Add(at), large, image.Point{}, draw.Src)
		draw.Draw(want, small.Bounds(), small, image.Point{}, draw.Src)

		all := site.read(t, "desk").events
		canvas := image.NewRGBA(want.Bounds())
		kinds, delay := map[tdp.Type]int{}, int64(0)
		for _, e := range all {
			d, ok := e.(*events.DesktopRecording)
			if !ok {
				continue
			}
			if d.DelayMilliseconds < delay {
				t.Fatalf("delay goes back from %d to %d", delay, d.DelayMilliseconds)
			}
			delay = d.DelayMilliseconds
			m, err := tdp.Parse(d.Message)
			if err != nil {
				t.Fatal(err)
			}
			kinds[m.Type()]++
			if f, ok := m.(tdp.Frame); ok {
				img, err := png.Decode(bytes.NewReader(f.PNG))
				if err != nil {
					t.Fatal(err)
				}
				draw.Draw(canvas, f.Rect, img, img.Bounds().Min, draw.Src)
			}
		}
		if !bytes.Equal(canvas.Pix, want.Pix) {
			t.Errorf("linux %t: what the events draw is not what was drawn", linux)
		}
		if kinds[tdp.TypeFrame2] < 20 || kinds[tdp.TypeScreenSize] != 1 || kinds[tdp.TypeMouseMove] != 1 || kinds[tdp.TypeClipboard] != 1 {
			t.Errorf("linux %t: messages by type: %v", linux, kinds)
		}
		checkEnds(t, linux, all[0], all[len(all)-1])
	}
}

func checkEnds(t *testing.T, linux bool, first, last events.Event) {
	t.Helper()
	if linux {
		start, end := first.(*events.LinuxDesktopSessionStart), last.(*events.LinuxDesktopSessionEnd)
		if start.LinuxUser != "admin" || start.DesktopName != "pc-7" || !end.Recorded || end.Participants[0] != "joe" {
			t.Errorf("begins with %v and ends with %v", start, end)
		}
		return
	}
	start, end := first.(*events.WindowsDesktopSessionStart), last.(*events.WindowsDesktopSessionEnd)
	if start.WindowsUser != "admin" || start.Metadata.Code != "TDP00I" || start.User.User != "joe" || !end.Recorded || end.DesktopName != "pc-7" {
		t.Errorf("begins with %v and ends with %v", start, end)
	}
}

func TestAPictureThatCannotBeRecordedCostsNothing(t *testing.T) {
	site := newSite(t)
	s, err := site.recorder(t, recorder.Options{}).Start(t.Context(), recorder.Spec{Desktop: &recorder.Desktop{Name: "pc"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, before := t.Context(), s.Next()
	uniform := image.NewPaletted(image.Rect(0, 0, tdp.MaxSide, 2), color.Palette{color.Black})
	for name, err := range map[string]error{
		"no PNG":           s.Draw(ctx, image.Point{}, []byte("GIF89a")),
		"beyond the edge":  s.Draw(ctx, image.Pt(1, 0), encodePNG(t, uniform)),
		"before the start": s.Draw(ctx, image.Pt(-1, 0), encodePNG(t, noise(2, 2))),
	} {
		if !errors.Is(err, recorder.ErrPicture) {
			t.Errorf("%s: %v, want ErrPicture", name, err)
		}
	}
	if err := s.Clipboard(ctx, make([]byte, 70_000)); !errors.Is(err, recorder.ErrTooLarge) {
		t.Errorf("clipboard of 70,000 bytes: %v, want ErrTooLarge", err)
	}
	if err := s.ScreenSize(ctx, 0, 600); err == nil {
		t.Error("a screen of 0x600 was recorded")
	}
	if s.Next() != before {
		t.Errorf("%d events were recorded", s.Next()-before)
	}
}
