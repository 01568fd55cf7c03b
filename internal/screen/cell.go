package screen

import "unicode/utf8"

// A Color is the default one (0), one of the palette, or one of 24 bits.
type Color uint32

const (
	palette Color = 1 << 24
	direct  Color = 2 << 24
)

// Indexed is the color n (0 to 255) of the palette.
func Indexed(n int) Color { return palette | Color(n&0xff) }

// RGB is a color of 24 bits.
func RGB(r, g, b int) Color { return direct | Color(r&0xff)<<16 | Color(g&0xff)<<8 | Color(b&0xff) }

// An Attr is what a character has besides its colors.
type Attr uint16

// The attributes. Underline is one of five styles, in three bits.
const (
	Bold Attr = 1 << iota
	Faint
	Italic
	Blink
	Inverse
	Hidden
	Struck
	Over
	underline1
	underline2
	underline3

	underlineShift = 8
	underlineMask  = underline1 | underline2 | underline3
)

// A Style is how a character is drawn.
type Style struct {
	Fg, Bg, Line Color // Line is the color of the underline
	Attr         Attr
}

// underline is the style of the underline: 0 none, 1 single, 2 double, 3 curly,
// 4 dotted, 5 dashed.
func (s Style) underline() int { return int(s.Attr&underlineMask) >> underlineShift }

func (s *Style) setUnderline(n int) {
	s.Attr = s.Attr&^underlineMask | Attr(n)<<underlineShift&underlineMask
}

// A cell is one place on the screen. The right half of a wide character has width
// 0 and no rune; a place where nothing was written has none and width 1.
type cell struct {
	r     rune
	width uint8
	style Style
	more  string // what combines with r
}

// maxCombined bounds what a cell holds besides its first character.
const maxCombined = 32

func (c *cell) combine(r rune) {
	if len(c.more)+utf8.RuneLen(r) <= maxCombined {
		c.more += string(r)
	}
}

// append appends what the cell shows: a space where nothing was written.
func (c *cell) append(dst []byte) []byte {
	if c.width == 0 {
		return dst
	}
	if c.r == 0 {
		return append(dst, ' ')
	}
	return append(utf8.AppendRune(dst, c.r), c.more...)
}

func (c *cell) blank() bool { return c.width == 1 && (c.r == 0 || c.r == ' ' && c.more == "") }
