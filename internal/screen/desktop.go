package screen

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"

	"github.com/tapedeck-io/tapedeck/pkg/tdp"
)

// MaxPixels is how many pixels a desktop has at most (8K). A size beyond loses
// lines at the bottom.
const MaxPixels = 7680 * 4320

// ErrFrame is a picture of a desktop that cannot be drawn. The desktop is as it
// was.
var ErrFrame = errors.New("picture cannot be drawn")

// What a desktop says in place of frames that it cannot draw.
const (
	placeholderFastPath = "This recording has RDP fast-path frames, which cannot be drawn here."
	placeholderTDPB     = "This recording has frames in the protobuf form of the desktop protocol, which cannot be drawn here."
)

// A Desktop composes what a desktop session's messages draw. The zero value is a
// desktop without a size, which takes that of what is drawn on it.
type Desktop struct {
	canvas      *image.RGBA
	pointer     image.Point
	pointed     bool
	down        [3]bool // left, middle, right button
	placeholder string  // is drawn on the canvas
	frames      int64
	work        int64 // pixels touched
}

// Size is the desktop's size in pixels, 0 by 0 before anything says one.
func (d *Desktop) Size() (width, height int) {
	if d.canvas == nil {
		return 0, 0
	}
	return d.canvas.Rect.Dx(), d.canvas.Rect.Dy()
}

// Frames is how many pictures were drawn.
func (d *Desktop) Frames() int64 { return d.frames }

// Work is how much drawing there was, in pixels. See [Terminal.Work].
func (d *Desktop) Work() int64 { return d.work }

// Placeholder is what the desktop says because there are frames that it cannot
// draw; empty without them.
func (d *Desktop) Placeholder() string { return d.placeholder }

// Apply takes one desktop message. A message that cannot be read or drawn leaves
// the desktop as it was, and its error wraps [ErrFrame] or one of package tdp.
func (d *Desktop) Apply(message []byte) error {
	m, err := tdp.Parse(message)
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case tdp.ScreenSize:
		d.resize(m.Width, m.Height)
	case tdp.Activated:
		d.resize(m.Width, m.Height)
	case tdp.Frame:
		return d.draw(m)
	case tdp.MouseMove:
		d.pointer, d.pointed = image.Point{X: m.X, Y: m.Y}, true
	case tdp.Button:
		if int(m.Button) < len(d.down) {
			d.down[m.Button] = m.Down
		}
	case tdp.FastPath:
		d.hold(placeholderFastPath)
	}
	return nil
}

// ApplyTDPB takes a message in the protobuf form of the protocol, which is not
// read here.
func (d *Desktop) ApplyTDPB() { d.hold(placeholderTDPB) }

// ApplyKeyframe makes the desktop what PNG said it was.
func (d *Desktop) ApplyKeyframe(picture []byte) error {
	img, err := DecodePNG(picture)
	if err != nil {
		return err
	}
	d.canvas = image.NewRGBA(image.Rectangle{Max: img.Bounds().Size()})
	draw.Draw(d.canvas, d.canvas.Rect, img, img.Bounds().Min, draw.Src)
	return nil
}

// resize keeps what is there and still has room.
func (d *Desktop) resize(width, height int) {
	if width < 1 || height < 1 {
		return
	}
	width = min(width, tdp.MaxSide)
	height = max(min(height, tdp.MaxSide, MaxPixels/width), 1)
	if w, h := d.Size(); w == width && h == height {
		return
	}
	d.work += 2 * int64(width*height)
	was := d.canvas
	d.canvas = image.NewRGBA(image.Rect(0, 0, width, height))
	draw.Draw(d.canvas, d.canvas.Rect, image.Black, image.Point{}, draw.Src)
	if was != nil {
		draw.Draw(d.canvas, was.Rect, was, image.Point{}, draw.Src)
	}
	if d.placeholder != "" {
		d.drawPlaceholder()
	}
}

// DecodePNG decodes a picture of MaxPixels at most. Its error wraps [ErrFrame].
func DecodePNG(picture []byte) (image.Image, error) {
	if _, err := pixels(picture); err != nil {
		return nil, err
	}
	return decode(picture)
}

func decode(picture []byte) (image.Image, error) {
	img, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFrame, err)
	}
	return img, nil
}

// pixels is how many a picture says that it has.
func pixels(picture []byte) (int, error) {
	c, err := png.DecodeConfig(bytes.NewReader(picture))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrFrame, err)
	}
	if c.Width > tdp.MaxSide || c.Height > tdp.MaxSide || c.Width*c.Height > MaxPixels {
		return 0, fmt.Errorf("%w: it has %dx%d pixels, %d at most", ErrFrame, c.Width, c.Height, MaxPixels)
	}
	return c.Width * c.Height, nil
}

func (d *Desktop) draw(f tdp.Frame) error {
	n, err := pixels(f.PNG)
	if err != nil {
		return err
	}
	d.work += 2 * int64(n) // before it is decoded: one that turns out to be bad at its end costs as much
	img, err := decode(f.PNG)
	if err != nil {
		return err
	}
	at := image.Rectangle{Min: f.Rect.Min, Max: f.Rect.Min.Add(img.Bounds().Size())}
	if w, h := d.Size(); w == 0 || d.frames == 0 && (at.Max.X > w || at.Max.Y > h) {
		d.resize(max(w, at.Max.X), max(h, at.Max.Y))
	}
	draw.Draw(d.canvas, at, img, img.Bounds().Min, draw.Src)
	d.frames++
	return nil
}

// hold draws a placeholder, once for each kind.
func (d *Desktop) hold(text string) {
	if d.placeholder == text {
		return
	}
	d.placeholder = text
	if d.canvas == nil {
		d.resize(1024, 768)
		return
	}
	d.drawPlaceholder()
}

func (d *Desktop) drawPlaceholder() {
	d.work += 40 * int64(d.canvas.Rect.Dx())
	grey := image.NewUniform(color.RGBA{R: 60, G: 60, B: 66, A: 255})
	b := d.canvas.Rect
	band := image.Rect(0, b.Max.Y/2-20, b.Max.X, b.Max.Y/2+20)
	draw.Draw(d.canvas, band, grey, image.Point{}, draw.Src)
	width := font.MeasureString(basicfont.Face7x13, d.placeholder).Ceil()
	text := font.Drawer{Dst: d.canvas, Src: image.White, Face: basicfont.Face7x13,
		Dot: fixed.P(max((b.Max.X-width)/2, 4), b.Max.Y/2+4)}
	text.DrawString(d.placeholder)
}

// PNG is the desktop as a picture, without the pointer. It is empty while the
// desktop has no size.
func (d *Desktop) PNG() ([]byte, error) {
	if d.canvas == nil {
		return nil, nil
	}
	d.work += 4 * int64(d.canvas.Rect.Dx()*d.canvas.Rect.Dy())
	var out bytes.Buffer
	enc := png.Encoder{CompressionLevel: png.BestSpeed}
	if err := enc.Encode(&out, d.canvas); err != nil {
		return nil, fmt.Errorf("encode the desktop: %w", err)
	}
	return out.Bytes(), nil
}

// Image is a copy of the desktop with the pointer where it is, and a ring around
// it while a button is down. It is nil while the desktop has no size.
func (d *Desktop) Image() *image.RGBA {
	if d.canvas == nil {
		return nil
	}
	img := image.NewRGBA(d.canvas.Rect)
	copy(img.Pix, d.canvas.Pix)
	if d.pointed {
		d.drawPointer(img)
	}
	return img
}

// arrow is the pointer: # black, . white.
var arrow = [...]string{"#", "##", "#.#", "#..#", "#...#", "#....#", "#.....#", "#......#", "#.......#", "#....####", "#.##.#", "##  #.#", "#    #.#", "      ##"}

func (d *Desktop) drawPointer(img *image.RGBA) {
	if d.down != [3]bool{} {
		ring := color.RGBA{R: 255, G: 190, B: 0, A: 255}
		for y := -12; y <= 12; y++ {
			for x := -12; x <= 12; x++ {
				if q := x*x + y*y; q <= 144 && q >= 100 {
					img.Set(d.pointer.X+x, d.pointer.Y+y, ring)
				}
			}
		}
	}
	for y, row := range arrow {
		for x, c := range row {
			switch c {
			case '#':
				img.Set(d.pointer.X+x, d.pointer.Y+y, color.Black)
			case '.':
				img.Set(d.pointer.X+x, d.pointer.Y+y, color.White)
			}
		}
	}
}
