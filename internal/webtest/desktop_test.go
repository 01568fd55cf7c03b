package webtest

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
	"github.com/tapedeck-io/tapedeck/pkg/tdp"
)

const (
	deskWidth, deskHeight = 1280, 800
	square                = 64
)

// A desk records a desktop session with times of its own, and keeps what its
// screen must look like.
type desk struct {
	t     *testing.T
	s     *recorder.Session
	start time.Time
	want  *image.RGBA
}

func newDesk(t *testing.T, sid string) *desk {
	t.Helper()
	d := &desk{t: t, start: time.Now().Add(-time.Hour).UTC().Truncate(time.Second)}
	s, err := newRecorder(t).Start(t.Context(), recorder.Spec{ID: sid, User: "carol", Login: "Administrator", Started: d.start,
		ServerHostname: "desk-3", Desktop: &recorder.Desktop{Name: "desk-3", Addr: "10.0.0.3:3389"}})
	must(t, err)
	d.s = s
	return d
}

func (d *desk) message(at time.Duration, m tdp.Message) {
	d.t.Helper()
	must(d.t, d.s.Emit(d.t.Context(), &events.DesktopRecording{
		Metadata: &events.Metadata{Time: timestamppb.New(d.start.Add(at))}, Message: m.Append(nil), DelayMilliseconds: at.Milliseconds(),
	}))
}

// size sets the size of the screen, which is black then.
func (d *desk) size(at time.Duration, width, height int) {
	d.t.Helper()
	d.message(at, tdp.ScreenSize{Width: width, Height: height})
	d.want = image.NewRGBA(image.Rect(0, 0, width, height))
	draw.Draw(d.want, d.want.Bounds(), image.NewUniform(color.Black), image.Point{}, draw.Src)
}

func (d *desk) draw(at time.Duration, where image.Point, img image.Image) {
	d.t.Helper()
	rect := img.Bounds().Sub(img.Bounds().Min).Add(where)
	d.message(at, tdp.Frame{Rect: rect, PNG: encode(d.t, img)})
	draw.Draw(d.want, rect, img, img.Bounds().Min, draw.Src)
}

func (d *desk) end(at time.Duration) {
	d.t.Helper()
	must(d.t, d.s.Emit(d.t.Context(), &events.WindowsDesktopSessionEnd{Metadata: &events.Metadata{Time: timestamppb.New(d.start.Add(at))}}))
	must(d.t, d.s.End(d.t.Context()))
	awaitFinished(d.t, d.s.ID())
}

func encode(t *testing.T, img image.Image) []byte {
	t.Helper()
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestSpeed}
	must(t, encoder.Encode(&out, img))
	return out.Bytes()
}

// tile is a square with a pattern that its number decides.
func tile(n int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, square, square))
	base := color.RGBA{uint8(n * 37), uint8(n*91 + 40), uint8(n*53 + 90), 255}
	for y := range square {
		for x := range square {
			c := base
			if (x/8+y/8)%2 == 0 {
				c.R, c.B = uint8(x*4), uint8(y*4)
			}
			img.SetRGBA(x, y, c)
		}
	}
	return img
}

func place(n int) image.Point {
	columns := deskWidth / square
	return image.Pt(n%columns*square, n/columns%(deskHeight/square)*square)
}

// canvasJS reads the pixels of the canvas, in base64.
const canvasJS = `(() => {
	const c = document.querySelector('.desktop-screen');
	const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
	let s = '';
	for (let i = 0; i < d.length; i += 32768) s += String.fromCharCode(...d.subarray(i, i + 32768));
	return btoa(s);
})()`

// differs says where the canvas is not what it must be, or nothing.
func (tb *tab) differs(want *image.RGBA) string {
	tb.t.Helper()
	got := eval[[]int](tb, `[document.querySelector('.desktop-screen').width, document.querySelector('.desktop-screen').height]`)
	if b := want.Bounds(); got[0] != b.Dx() || got[1] != b.Dy() {
		return fmt.Sprintf("the canvas is %d × %d, want %d × %d", got[0], got[1], b.Dx(), b.Dy())
	}
	pixels := eval[pixelData](tb, canvasJS)
	wrong, first := 0, ""
	for i := 0; i < len(want.Pix); i += 4 {
		if !bytes.Equal(pixels[i:i+4], want.Pix[i:i+4]) {
			if wrong == 0 {
				at := i / 4
				first = fmt.Sprintf("at %d,%d %v, want %v", at%want.Rect.Dx(), at/want.Rect.Dx(), pixels[i:i+4], want.Pix[i:i+4])
			}
			wrong++
		}
	}
	if wrong == 0 {
		return ""
	}
	return fmt.Sprintf("%d pixels differ, the first %s", wrong, first)
}

// pixelData is bytes that come as base64.
type pixelData []byte

// The canvas at three times, pixel for pixel: while the screen is being built, when
// it is there, and after its size has changed. Forwards, and then back again.
func TestDesktopPixels(t *testing.T) {
	d := newDesk(t, "desk-pixels")
	d.size(0, deskWidth, deskHeight)
	type moment struct {
		at   float64
		want *image.RGBA
	}
	var moments []moment
	keep := func(at float64) {
		img := *d.want
		img.Pix = bytes.Clone(d.want.Pix)
		moments = append(moments, moment{at, &img})
	}
	at := time.Duration(0)
	for n := range 500 {
		at += 20 * time.Millisecond
		d.draw(at, place(n), tile(n))
		switch n {
		case 99:
			keep(2.005)
		case 400:
			keep(8.025)
		}
	}
	d.message(at+50*time.Millisecond, tdp.MouseMove{X: 300, Y: 200})
	d.message(at+60*time.Millisecond, tdp.Button{Button: 0, Down: true})
	d.size(at+100*time.Millisecond, 1024, 768)
	d.draw(at+200*time.Millisecond, image.Pt(13, 29), tile(7))
	d.message(at+300*time.Millisecond, tdp.FastPath{Data: []byte{1, 2, 3}})
	keep(at.Seconds() + 0.35)
	d.end(at + time.Second)

	tb := newTab(t, 1440, 900)
	tb.openPlayer(d.s.ID(), "")
	check := func(m moment) {
		tb.openPlayer(d.s.ID(), fmt.Sprintf("?t=%.3f", m.at))
		eventually(t, fmt.Sprintf("the canvas at %.3f s", m.at), func() (bool, string) {
			diff := tb.differs(m.want)
			return diff == "", diff
		})
	}
	for _, m := range moments {
		check(m)
	}
	if text := tb.text(".stage-notice"); text == "" {
		t.Error("a frame that needs another decoder is passed over in silence")
	}
	tb.shot("desktop")
	// Within one page: on, and back.
	for _, m := range []moment{moments[1], moments[0]} {
		check(m)
	}
	// And played instead of jumped to.
	tb.openPlayer(d.s.ID(), "?t=7")
	tb.press(" ")
	tb.await("it plays to the end", fmt.Sprintf(`document.querySelector('.stage').dataset.state === 'paused' && Number(document.querySelector('.stage').dataset.position) > %d`, at.Milliseconds()))
	if diff := tb.differs(moments[2].want); diff != "" {
		t.Error("played to the end:", diff)
	}
}
