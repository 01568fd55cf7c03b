package video

import (
	"bufio"
	"compress/lzw"
	"context"
	"encoding/binary"
	"image"
	"image/color"
	"image/color/palette"
	"io"
)

// GIF writes a recording as an animated GIF, at 10 frames a second whatever o says
// less: viewers play no more. Its error wraps [ErrNothing] if nothing was drawn.
func GIF(ctx context.Context, w io.Writer, open Open, o Options) error {
	o.Rate = min(o.Rate, 10)
	if o.MaxBytes > 0 {
		w = &limited{w, o.MaxBytes}
	}
	g := &gifWriter{w: bufio.NewWriterSize(w, 64<<10), rate: o.Rate}
	return film(ctx, open, o, g)
}

// limited is a writer that takes so many bytes.
type limited struct {
	w    io.Writer
	left int64
}

// Write fails with ErrTooLong rather than write more.
func (l *limited) Write(b []byte) (int, error) {
	if l.left -= int64(len(b)); l.left < 0 {
		return 0, ErrTooLong
	}
	return l.w.Write(b)
}

// A gifWriter writes frames as they come: image/gif wants all of them in memory.
// Each frame is the rectangle that changed, with a palette of its own.
type gifWriter struct {
	w    *bufio.Writer
	rate int
	done int64 // frames, for delays that do not drift
}

const maxDelay = 65_000 // hundredths of a second

func (g *gifWriter) begin(size image.Point) error {
	b := []byte("GIF89a")
	b = binary.LittleEndian.AppendUint16(b, uint16(size.X))
	b = binary.LittleEndian.AppendUint16(b, uint16(size.Y))
	b = append(b, 0, 0, 0)                                          // no palette for all frames
	b = append(b, "\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"...) // again and again
	_, err := g.w.Write(b)
	return err
}

func (g *gifWriter) frame(img *image.RGBA, changed image.Rectangle, n int64) error {
	if changed.Empty() {
		changed = image.Rect(0, 0, 1, 1)
	}
	delay := (g.done+n)*100/int64(g.rate) - g.done*100/int64(g.rate)
	g.done += n
	for ; delay > maxDelay; delay -= maxDelay {
		if err := g.picture(img, changed, maxDelay); err != nil {
			return err
		}
	}
	return g.picture(img, changed, delay)
}

func (g *gifWriter) picture(img *image.RGBA, r image.Rectangle, delay int64) error {
	pixels, colors := quantize(img, r)
	b := []byte{0x21, 0xf9, 4, 1 << 2} // stays when the next is drawn
	b = binary.LittleEndian.AppendUint16(b, uint16(delay))
	b = append(b, 0, 0, 0x2c)
	for _, v := range []int{r.Min.X, r.Min.Y, r.Dx(), r.Dy()} {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	b = append(b, 0x87) // a palette of 256
	for i := range 256 {
		var c color.RGBA
		if i < len(colors) {
			c = colors[i]
		}
		b = append(b, c.R, c.G, c.B)
	}
	b = append(b, 8)
	if _, err := g.w.Write(b); err != nil {
		return err
	}
	blocks := &blockWriter{w: g.w}
	z := lzw.NewWriter(blocks, lzw.LSB, 8)
	if _, err := z.Write(pixels); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return blocks.close()
}

func (g *gifWriter) end() error {
	if err := g.w.WriteByte(0x3b); err != nil {
		return err
	}
	return g.w.Flush()
}

// quantize gives pixels of a rectangle numbers of colors: its own if there are not
// more than 256, or the nearest of a fixed palette.
func quantize(img *image.RGBA, r image.Rectangle) ([]byte, []color.RGBA) {
	pixels := make([]byte, 0, r.Dx()*r.Dy())
	number, colors := map[color.RGBA]byte{}, []color.RGBA(nil)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			c := img.RGBAAt(x, y)
			n, known := number[c]
			if !known {
				if len(colors) == 256 {
					return nearest(img, r)
				}
				n = byte(len(colors))
				number[c] = n
				colors = append(colors, c)
			}
			pixels = append(pixels, n)
		}
	}
	return pixels, colors
}

// plan9 are the colors that photographs get.
var plan9 = func() (colors []color.RGBA) {
	for _, c := range palette.Plan9 {
		colors = append(colors, color.RGBAModel.Convert(c).(color.RGBA))
	}
	return colors
}()

func nearest(img *image.RGBA, r image.Rectangle) ([]byte, []color.RGBA) {
	pixels := make([]byte, 0, r.Dx()*r.Dy())
	number := map[uint16]byte{} // by five, six and five bits: more nobody sees here
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			c := img.RGBAAt(x, y)
			key := uint16(c.R>>3)<<11 | uint16(c.G>>2)<<5 | uint16(c.B>>3)
			n, known := number[key]
			if !known {
				n = byte(color.Palette(palette.Plan9).Index(c))
				number[key] = n
			}
			pixels = append(pixels, n)
		}
	}
	return pixels, plan9
}

// A blockWriter cuts what is written into blocks of up to 255 bytes.
type blockWriter struct {
	w   *bufio.Writer
	buf [256]byte
	n   int
}

// Write gathers blocks.
func (b *blockWriter) Write(p []byte) (int, error) {
	for i, c := range p {
		b.n++
		b.buf[b.n] = c
		if b.n == 255 {
			if err := b.flush(); err != nil {
				return i, err
			}
		}
	}
	return len(p), nil
}

func (b *blockWriter) flush() error {
	if b.n == 0 {
		return nil
	}
	b.buf[0] = byte(b.n)
	_, err := b.w.Write(b.buf[:b.n+1])
	b.n = 0
	return err
}

// close writes the last block, and the empty one that ends them.
func (b *blockWriter) close() error {
	if err := b.flush(); err != nil {
		return err
	}
	return b.w.WriteByte(0)
}
