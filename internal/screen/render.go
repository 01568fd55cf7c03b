package screen

import (
	"image"
	"image/color"
	"image/draw"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gomono"
	"golang.org/x/image/font/gofont/gomonobold"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// The size of a character in a rendered terminal, in pixels.
const (
	CellWidth  = 8
	CellHeight = 17
	fontSize   = 14
	baseline   = 14
)

// A Renderer makes pictures of terminals, in Go Mono. A character that this font
// does not have (CJK, emoji, some symbols) is drawn as a box.
type Renderer struct {
	faces [2]font.Face // normal and bold
	known map[rune]bool
}

// NewRenderer makes a Renderer.
func NewRenderer() (*Renderer, error) {
	r := &Renderer{known: map[rune]bool{}}
	for i, ttf := range [][]byte{gomono.TTF, gomonobold.TTF} {
		f, err := opentype.Parse(ttf)
		if err != nil {
			return nil, err
		}
		if r.faces[i], err = opentype.NewFace(f, &opentype.FaceOptions{Size: fontSize, DPI: 72, Hinting: font.HintingFull}); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// The colors of a terminal that nobody changed.
var (
	defaultFg = color.RGBA{R: 0xd8, G: 0xd8, B: 0xd8, A: 0xff}
	defaultBg = color.RGBA{R: 0x12, G: 0x13, B: 0x14, A: 0xff}
)

// Render is a picture of what a terminal shows, with its cursor.
func (r *Renderer) Render(t *Terminal) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, t.cols*CellWidth, t.rows*CellHeight))
	for y, line := range t.page.lines {
		for x := range line {
			if c := &line[x]; c.width > 0 {
				cursor := !t.hidden && x == t.cur.x && y == t.cur.y
				r.cell(img, x, y, c, t.inverse != cursor)
			}
		}
	}
	return img
}

func (r *Renderer) cell(img *image.RGBA, x, y int, c *cell, inverse bool) {
	box := image.Rect(x*CellWidth, y*CellHeight, (x+int(c.width))*CellWidth, (y+1)*CellHeight)
	fg, bg := c.style.colors(inverse)
	draw.Draw(img, box, image.NewUniform(bg), image.Point{}, draw.Src)
	if !c.blank() && c.style.Attr&Hidden == 0 {
		r.glyph(img, box, c, fg)
	}
	for _, line := range []struct {
		on bool
		y  int
	}{{c.style.underline() != 0, baseline + 2}, {c.style.underline() == 2, baseline}, {c.style.Attr&Struck != 0, 9}, {c.style.Attr&Over != 0, 0}} {
		if line.on {
			at := image.Rect(box.Min.X, box.Min.Y+line.y, box.Max.X, box.Min.Y+line.y+1)
			draw.Draw(img, at, image.NewUniform(fg), image.Point{}, draw.Src)
		}
	}
}

func (r *Renderer) glyph(img *image.RGBA, box image.Rectangle, c *cell, fg color.RGBA) {
	face := r.faces[0]
	if c.style.Attr&Bold != 0 {
		face = r.faces[1]
	}
	if !r.has(c.r) {
		outline(img, box.Inset(2), fg)
		return
	}
	d := font.Drawer{Dst: img.SubImage(box).(*image.RGBA), Src: image.NewUniform(fg), Face: face, Dot: fixed.P(box.Min.X, box.Min.Y+baseline)}
	d.DrawString(string(c.r))
}

func (r *Renderer) has(c rune) bool {
	known, ok := r.known[c]
	if !ok {
		_, known = r.faces[0].GlyphAdvance(c)
		r.known[c] = known
	}
	return known
}

func outline(img *image.RGBA, box image.Rectangle, c color.RGBA) {
	for x := box.Min.X; x < box.Max.X; x++ {
		img.SetRGBA(x, box.Min.Y, c)
		img.SetRGBA(x, box.Max.Y-1, c)
	}
	for y := box.Min.Y; y < box.Max.Y; y++ {
		img.SetRGBA(box.Min.X, y, c)
		img.SetRGBA(box.Max.X-1, y, c)
	}
}

// colors are the style's, as they are drawn.
func (s Style) colors(inverse bool) (fg, bg color.RGBA) {
	f := s.Fg
	if n := f &^ palette; s.Attr&Bold != 0 && f&palette != 0 && n < 8 {
		f += 8 // bold is bright, as terminals have it
	}
	fg, bg = f.rgba(defaultFg), s.Bg.rgba(defaultBg)
	if inverse != (s.Attr&Inverse != 0) {
		fg, bg = bg, fg
	}
	if s.Attr&Faint != 0 {
		fg = color.RGBA{R: fg.R/2 + bg.R/2, G: fg.G/2 + bg.G/2, B: fg.B/2 + bg.B/2, A: 0xff}
	}
	return fg, bg
}

// basic are the first 16 colors of the palette.
var basic = [16]uint32{0x2e3436, 0xcc3333, 0x4e9a06, 0xc4a000, 0x3f72c4, 0x8f5d9b, 0x06989a, 0xd3d7cf,
	0x6f7471, 0xef4040, 0x8ae234, 0xfce94f, 0x82aadf, 0xc08bc7, 0x34e2e2, 0xeeeeec}

func (c Color) rgba(def color.RGBA) color.RGBA {
	n := int(c &^ (palette | direct))
	switch {
	case c == 0:
		return def
	case c&direct != 0:
		return rgb(uint32(n))
	case n < 16:
		return rgb(basic[n])
	case n >= 232:
		v := uint8(8 + 10*(n-232))
		return color.RGBA{R: v, G: v, B: v, A: 0xff}
	}
	n -= 16
	step := func(i int) uint8 {
		if i == 0 {
			return 0
		}
		return uint8(55 + 40*i)
	}
	return color.RGBA{R: step(n / 36), G: step(n / 6 % 6), B: step(n % 6), A: 0xff}
}

func rgb(v uint32) color.RGBA {
	return color.RGBA{R: uint8(v >> 16), G: uint8(v >> 8), B: uint8(v), A: 0xff}
}
