package screen

import (
	"strconv"

	"github.com/charmbracelet/x/ansi"
)

// ansiModes sets or resets the modes of the standard.
func (t *Terminal) ansiModes(params ansi.Params, on bool) {
	for i := range params {
		switch param(params, i, 0) {
		case 4:
			t.insert = on
		case 20:
			t.newline = on
		}
	}
}

// privateMode sets or resets a mode of the VT family. Those that change nothing
// that is drawn (mouse, paste, keys) are not kept.
func (t *Terminal) privateMode(mode int, on bool) {
	switch mode {
	case 5:
		t.inverse = on
	case 6:
		t.cur.origin = on
		t.moveTo(0, 0)
	case 7:
		t.noWrap = !on
	case 25:
		t.hidden = !on
	case 47, 1047, 1049:
		t.alternate(mode, on)
	case 1048:
		if on {
			t.page.saved = t.cur
		} else {
			t.restore()
		}
	}
}

// alternate changes to the alternate screen, which is then empty, or back.
func (t *Terminal) alternate(mode int, on bool) {
	switch {
	case on && t.altBy == "":
		t.main.saved, t.alt = t.savedFor(mode), newPage(t.cols, t.rows, &t.work)
		t.page, t.altBy = &t.alt, strconv.Itoa(mode)
	case !on && t.altBy != "":
		t.page, t.altBy, t.alt = &t.main, "", page{}
		if mode == 1049 {
			t.restore()
		}
	}
	t.wrap = false
}

// savedFor is what the main screen has saved after it was left: the cursor only
// with the mode that says so.
func (t *Terminal) savedFor(mode int) cursor {
	if mode == 1049 {
		return t.cur
	}
	return t.main.saved
}

func (t *Terminal) softReset() {
	t.cur.style, t.cur.sets, t.cur.gl, t.cur.origin = Style{}, [4]byte{}, 0, false
	t.insert, t.hidden, t.noWrap, t.wrap = false, false, false, false
	t.top, t.bottom = 0, t.rows
	t.page.saved = cursor{}
}

// apply takes in the parameters of one SGR sequence.
func (s *Style) apply(params ansi.Params) {
	if len(params) == 0 {
		*s = Style{}
	}
	for i := 0; i < len(params); {
		i += s.attribute(params[i:])
	}
}

// attribute takes the first parameter, with what belongs to it, and returns how
// many it took.
func (s *Style) attribute(params ansi.Params) int {
	n, more, _ := params.Param(0, 0)
	took := 1
	for more && took < len(params) {
		more = params[took].HasMore()
		took++
	}
	switch {
	case n == 0:
		*s = Style{}
	case n == 4:
		style := 1
		if took > 1 {
			style = min(param(params, 1, 1), 5)
		}
		s.setUnderline(style)
	case n == 21:
		s.setUnderline(2)
	case n <= 9 || n == 53:
		s.Attr |= sgrAttr[n]
	case n == 22:
		s.Attr &^= Bold | Faint
	case n == 24:
		s.setUnderline(0)
	case n >= 23 && n <= 29 || n == 55:
		s.Attr &^= sgrAttr[n-20] // 3 and 23, 5 and 25
		if n == 55 {
			s.Attr &^= Over
		}
	case n >= 30 && n <= 37:
		s.Fg = Indexed(n - 30)
	case n >= 40 && n <= 47:
		s.Bg = Indexed(n - 40)
	case n >= 90 && n <= 97:
		s.Fg = Indexed(n - 90 + 8)
	case n >= 100 && n <= 107:
		s.Bg = Indexed(n - 100 + 8)
	case n == 39:
		s.Fg = 0
	case n == 49:
		s.Bg = 0
	case n == 59:
		s.Line = 0
	case n == 38 || n == 48 || n == 58:
		return s.extended(n, params, took)
	}
	return took
}

// sgrAttr is the attribute that a parameter sets.
var sgrAttr = map[int]Attr{1: Bold, 2: Faint, 3: Italic, 5: Blink, 6: Blink, 7: Inverse, 8: Hidden, 9: Struck, 53: Over}

// extended takes a color of the palette or of 24 bits, with semicolons or colons.
func (s *Style) extended(which int, params ansi.Params, took int) int {
	args := params[1:]
	colons := took > 1
	if colons {
		args = params[1:took]
	}
	var c Color
	switch param(args, 0, 0) {
	case 5:
		if len(args) < 2 {
			return max(took, len(params))
		}
		c = Indexed(param(args, 1, 0))
		took = max(took, 3)
	case 2:
		rgb := 1
		if colons && len(args) >= 5 { // a color space comes first
			rgb = 2
		}
		if len(args) < rgb+3 {
			return max(took, len(params))
		}
		c = RGB(param(args, rgb, 0), param(args, rgb+1, 0), param(args, rgb+2, 0))
		took = max(took, 5)
	default:
		return took
	}
	switch which {
	case 38:
		s.Fg = c
	case 48:
		s.Bg = c
	case 58:
		s.Line = c
	}
	return took
}
