package screen

import (
	"cmp"
	"strconv"
)

// Redraw is an escape sequence that makes a terminal of the same size, whatever
// state it is in, show what this one shows and go on as this one would: text,
// colors and attributes, cursor and saved cursor, the screen under the alternate
// one, margins, tab stops, character sets, and the modes that change how text is
// laid down. Modes that only change what keys and mouse send are not in it.
func (t *Terminal) Redraw() []byte {
	// Out of the alternate screen first: not every terminal's reset does that.
	t.work += 4 * int64(t.cols*t.rows)
	b := []byte("\x1b[?1049l\x1bc")
	b = t.main.append(b)
	if t.top != 0 || t.bottom != t.rows {
		b = csi(b, 'r', t.top+1, t.bottom)
	}
	if t.altBy != "" {
		b = t.appendCursor(b, t.main.saved)
		if t.altBy != "1049" { // which saves by itself
			b = append(b, "\x1b7"...)
		}
		b = append(b, "\x1b[?"...)
		b = append(b, t.altBy...)
		b = append(b, "h\x1b[?6l\x1b(B\x0f\x1b[m\x1b[2J"...)
		b = t.alt.append(b)
	}
	b = t.appendTabs(b)
	if t.page.saved != (cursor{}) {
		b = t.appendCursor(b, t.page.saved)
		b = append(b, "\x1b7"...)
	}
	b = t.appendCursor(b, t.cur)
	return t.appendModes(b)
}

// csi appends a control sequence with numbers.
func csi(b []byte, final byte, params ...int) []byte {
	b = append(b, "\x1b["...)
	for i, p := range params {
		if i > 0 {
			b = append(b, ';')
		}
		b = strconv.AppendInt(b, int64(p), 10)
	}
	return append(b, final)
}

// append draws the page on an empty one. The pen is any afterwards.
func (p *page) append(b []byte) []byte {
	pen := Style{}
	b = append(b, "\x1b[m"...)
	for y, line := range p.lines {
		end := len(line)
		for end > 0 && line[end-1].blank() && line[end-1].style == (Style{}) {
			end--
		}
		if end == 0 {
			continue
		}
		b = csi(b, 'H', y+1, 1)
		for x := range end {
			c := &line[x]
			if c.width == 0 {
				continue
			}
			if c.style != pen {
				pen = c.style
				b = pen.append(b)
			}
			b = c.append(b)
		}
	}
	return b
}

// appendTabs sets the tab stops where they are not every eight columns. The
// cursor is moved.
func (t *Terminal) appendTabs(b []byte) []byte {
	usual := true
	for x, set := range t.tabs {
		usual = usual && set == (x > 0 && x%8 == 0)
	}
	if usual {
		return b
	}
	b = append(b, "\x1b[3g"...)
	for x, set := range t.tabs {
		if set {
			b = append(csi(b, 'G', x+1), "\x1bH"...)
		}
	}
	return b
}

// appendCursor makes the cursor c, with the margins set already.
func (t *Terminal) appendCursor(b []byte, c cursor) []byte {
	y := c.y
	if c.origin {
		b = append(b, "\x1b[?6h"...)
		y = max(y-t.top, 0)
	} else {
		b = append(b, "\x1b[?6l"...)
	}
	b = append(b, "\x1b(B\x0f"...)
	b = csi(b, 'H', y+1, c.x+1)
	if c == t.cur && t.wrap {
		b = t.appendWrap(b, y)
	}
	b = c.style.append(b)
	for i, set := range c.sets {
		b = append(b, 0x1b, "()*+"[i], cmp.Or(set, 'B'))
	}
	return append(b, [...]string{"\x0f", "\x0e", "\x1bn", "\x1bo"}[c.gl]...)
}

// appendWrap leaves a terminal with the wrap pending: it does so by itself when
// the last column is written, so that is written again.
func (t *Terminal) appendWrap(b []byte, row int) []byte {
	line := t.page.lines[t.cur.y]
	x := t.cur.x
	if line[x].width == 0 && x > 0 {
		x--
	}
	b = csi(b, 'H', row+1, x+1)
	b = line[x].style.append(b)
	return line[x].append(b)
}

func (t *Terminal) appendModes(b []byte) []byte {
	for _, m := range []struct {
		on   bool
		code string
	}{{t.insert, "4h"}, {t.newline, "20h"}, {t.inverse, "?5h"}, {t.noWrap, "?7l"}, {t.hidden, "?25l"}} {
		if m.on {
			b = append(append(b, "\x1b["...), m.code...)
		}
	}
	if t.shape != 0 {
		b = append(csi(b, ' ', t.shape), 'q')
	}
	return b
}

// append chooses this style, whatever was chosen before.
func (s Style) append(b []byte) []byte {
	b = append(b, "\x1b[0"...)
	for _, a := range []struct {
		attr Attr
		code string
	}{{Bold, ";1"}, {Faint, ";2"}, {Italic, ";3"}, {Blink, ";5"}, {Inverse, ";7"}, {Hidden, ";8"}, {Struck, ";9"}, {Over, ";53"}} {
		if s.Attr&a.attr != 0 {
			b = append(b, a.code...)
		}
	}
	switch u := s.underline(); u {
	case 0:
	case 1:
		b = append(b, ";4"...)
	default:
		b = append(b, ";4:"...)
		b = strconv.AppendInt(b, int64(u), 10)
	}
	b = s.Fg.append(b, 30, 90)
	b = s.Bg.append(b, 40, 100)
	b = s.Line.append(b, 50, 0)
	return append(b, 'm')
}

// append appends the color's parameters; the first eight of the palette count
// from normal, the next from bright, if that is not 0.
func (c Color) append(b []byte, normal, bright int) []byte {
	n := int(c &^ (palette | direct))
	switch {
	case c == 0:
		return b
	case c&direct != 0:
		return appendParams(b, normal+8, 2, n>>16, n>>8&0xff, n&0xff)
	case bright != 0 && n < 8:
		return appendParams(b, normal+n)
	case bright != 0 && n < 16:
		return appendParams(b, bright+n-8)
	}
	return appendParams(b, normal+8, 5, n)
}

func appendParams(b []byte, params ...int) []byte {
	for _, p := range params {
		b = strconv.AppendInt(append(b, ';'), int64(p), 10)
	}
	return b
}
