package screen_test

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"testing"

	"github.com/tapedeck-io/tapedeck/internal/screen"
	"github.com/tapedeck-io/tapedeck/pkg/tdp"
)

func square(side int, c color.Color) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, side, side))
	draw.Draw(img, img.Rect, image.NewUniform(c), image.Point{}, draw.Src)
	return img
}

func pngOf(t testing.TB, img image.Image) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func frame(t testing.TB, x, y int, img image.Image, old bool) []byte {
	t.Helper()
	return tdp.Frame{Rect: img.Bounds().Add(image.Pt(x, y)), PNG: pngOf(t, img), Old: old}.Append(nil)
}

func apply(t testing.TB, d *screen.Desktop, messages ...[]byte) {
	t.Helper()
	for _, m := range messages {
		if err := d.Apply(m); err != nil {
			t.Fatal(err)
		}
	}
}

var red, blue = color.RGBA{R: 255, A: 255}, color.RGBA{B: 255, A: 255}

func TestADesktopIsComposedOfItsFrames(t *testing.T) {
	var d screen.Desktop
	apply(t, &d, tdp.ScreenSize{Width: 100, Height: 50}.Append(nil), frame(t, 10, 10, square(20, red), true), frame(t, 20, 20, square(20, blue), false))
	check := func(what string, want map[image.Point]color.RGBA) {
		t.Helper()
		picture, err := d.PNG()
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(bytes.NewReader(picture))
		if err != nil {
			t.Fatal(err)
		}
		for p, c := range want {
			if got := color.RGBAModel.Convert(img.At(p.X, p.Y)); got != c {
				t.Errorf("%s: %v is %v, want %v", what, p, got, c)
			}
		}
	}
	black := color.RGBA{A: 255}
	want := map[image.Point]color.RGBA{{9, 10}: black, {10, 10}: red, {29, 19}: red, {29, 20}: blue, {39, 39}: blue, {40, 39}: black}
	check("two frames", want)
	apply(t, &d, tdp.Activated{Width: 60, Height: 80}.Append(nil))
	if w, h := d.Size(); w != 60 || h != 80 {
		t.Errorf("after a resize it is %dx%d", w, h)
	}
	check("resized", want)

	apply(t, &d, tdp.MouseMove{X: 50, Y: 60}.Append(nil), tdp.Button{Down: true}.Append(nil), tdp.Unknown{Data: []byte{77}}.Append(nil))
	check("the pointer is not in the keyframe", map[image.Point]color.RGBA{{50, 60}: black, {51, 62}: black})
	if got := d.Image().RGBAAt(51, 63); got != (color.RGBA{R: 255, G: 255, B: 255, A: 255}) {
		t.Errorf("the pointer is not in the picture: %v", got)
	}

	keyframe, err := d.PNG()
	if err != nil {
		t.Fatal(err)
	}
	var again screen.Desktop
	if err := again.ApplyKeyframe(keyframe); err != nil {
		t.Fatal(err)
	}
	if other, _ := again.PNG(); !bytes.Equal(other, keyframe) {
		t.Error("a desktop made of its keyframe is another")
	}
}

func TestFramesThatCannotBeDrawnSaySo(t *testing.T) {
	for name, put := range map[string]func(*screen.Desktop){
		"fast path": func(d *screen.Desktop) { apply(t, d, tdp.FastPath{Data: []byte{1}}.Append(nil)) },
		"tdpb":      func(d *screen.Desktop) { d.ApplyTDPB() },
	} {
		var d screen.Desktop
		put(&d)
		if d.Placeholder() == "" {
			t.Errorf("%s: the desktop says nothing", name)
		}
		white := 0
		for _, v := range d.Image().Pix {
			if v == 255 {
				white++
			}
		}
		if w, h := d.Size(); white < w*h+500 { // alpha is one of four
			t.Errorf("%s: nothing is written on %dx%d", name, w, h)
		}
	}
}

func TestABadFrameLeavesTheDesktopAsItWas(t *testing.T) {
	var d screen.Desktop
	apply(t, &d, frame(t, 0, 0, square(4, red), false))
	before, _ := d.PNG()
	huge := pngOf(t, image.NewPaletted(image.Rect(0, 0, 16000, 4000), color.Palette{color.Black}))
	for name, m := range map[string][]byte{
		"no PNG":    tdp.Frame{Rect: image.Rect(0, 0, 4, 4), PNG: []byte("GIF")}.Append(nil),
		"cut short": frame(t, 0, 0, square(4, blue), true)[:60],
		"huge":      tdp.Frame{Rect: image.Rect(0, 0, 16000, 4000), PNG: huge}.Append(nil),
	} {
		if err := d.Apply(m); !errors.Is(err, screen.ErrFrame) {
			t.Errorf("%s: %v, want ErrFrame", name, err)
		}
	}
	if after, _ := d.PNG(); !bytes.Equal(before, after) {
		t.Error("it changed")
	}
	apply(t, &d, tdp.ScreenSize{Width: tdp.MaxSide, Height: tdp.MaxSide}.Append(nil))
	if w, h := d.Size(); w*h > screen.MaxPixels {
		t.Errorf("a desktop of %dx%d", w, h)
	}
}

func FuzzDesktop(f *testing.F) {
	f.Add(frame(f, 3, 3, square(2, red), false), tdp.ScreenSize{Width: 9, Height: 9}.Append(nil))
	f.Add(tdp.FastPath{Data: []byte{1}}.Append(nil), tdp.Activated{Width: 3, Height: 3}.Append(nil))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var d screen.Desktop
		_, _ = d.Apply(first), d.Apply(second)
		if w, h := d.Size(); w*h > screen.MaxPixels {
			t.Fatalf("a desktop of %dx%d", w, h)
		}
	})
}
