package screen

import "github.com/charmbracelet/x/ansi"

// limit is more than any count or place that makes a difference.
const limit = 1 << 16

// param is the i-th parameter, or def if it is absent.
func param(params ansi.Params, i, def int) int {
	v, _, ok := params.Param(i, def)
	if !ok {
		return def
	}
	return min(max(v, 0), limit)
}

// count is the first parameter where 0 and absent mean 1.
func count(params ansi.Params) int { return max(param(params, 0, 1), 1) }

// sequence does what a control sequence says.
func (t *Terminal) sequence(cmd ansi.Cmd, params ansi.Params) {
	final := cmd.Final()
	switch {
	case cmd.Prefix() == '?' && cmd.Intermediate() == 0:
		switch final {
		case 'h', 'l':
			for i := range params {
				t.privateMode(param(params, i, 0), final == 'h')
			}
		case 'J':
			t.eraseDisplay(param(params, 0, 0))
		case 'K':
			t.eraseInLine(param(params, 0, 0))
		}
	case cmd.Prefix() != 0:
	case cmd.Intermediate() == ' ' && final == 'q':
		t.shape = param(params, 0, 0)
	case cmd.Intermediate() == '!' && final == 'p':
		t.softReset()
	case cmd.Intermediate() == 0:
		if !t.moves(final, params) {
			t.changes(final, params)
		}
	}
}

// moves does the sequences that move the cursor, and says whether it was one.
func (t *Terminal) moves(final byte, params ansi.Params) bool {
	n := count(params)
	switch final {
	case 'A':
		t.up(n)
	case 'B', 'e':
		t.down(n)
	case 'C', 'a':
		t.cur.x = min(t.cur.x+n, t.cols-1)
	case 'D':
		t.cur.x = max(t.cur.x-n, 0)
	case 'E':
		t.down(n)
		t.cur.x = 0
	case 'F':
		t.up(n)
		t.cur.x = 0
	case 'G', '`':
		t.cur.x = min(n, t.cols) - 1
	case 'H', 'f':
		t.moveTo(max(param(params, 1, 1), 1)-1, n-1)
	case 'I':
		t.tab(n)
	case 'Z':
		t.tab(-n)
	case 'd':
		t.moveTo(t.cur.x, n-1)
	case 'u':
		t.restore()
	default:
		return false
	}
	t.wrap = false
	return true
}

// up moves the cursor, and stops at the margin if it begins below it.
func (t *Terminal) up(n int) {
	edge := 0
	if t.cur.y >= t.top {
		edge = t.top
	}
	t.cur.y = max(t.cur.y-n, edge)
}

func (t *Terminal) down(n int) {
	edge := t.rows
	if t.cur.y < t.bottom {
		edge = t.bottom
	}
	t.cur.y = min(t.cur.y+n, edge-1)
}

// moveTo puts the cursor at a place, which with origin counts from the margin.
func (t *Terminal) moveTo(x, y int) {
	first, behind := 0, t.rows
	if t.cur.origin {
		first, behind = t.top, t.bottom
	}
	t.cur.x, t.cur.y, t.wrap = min(x, t.cols-1), min(y+first, behind-1), false
}

// changes does the sequences that change what is shown, and the modes.
func (t *Terminal) changes(final byte, params ansi.Params) {
	n, p, x, y, st := count(params), t.page, t.cur.x, t.cur.y, t.cur.style
	within := y >= t.top && y < t.bottom
	switch final {
	case '@':
		p.insert(x, y, n, st)
		t.wrap = false
	case 'P':
		p.remove(x, y, n, st)
		t.wrap = false
	case 'X':
		p.eraseLine(y, x, min(x+n, t.cols), st)
		t.wrap = false
	case 'J':
		t.eraseDisplay(param(params, 0, 0))
	case 'K':
		t.eraseInLine(param(params, 0, 0))
	case 'L':
		if within {
			p.scrollDown(y, t.bottom, n, st)
			t.wrap = false
		}
	case 'M':
		if within {
			p.scrollUp(y, t.bottom, n, st)
			t.wrap = false
		}
	case 'S':
		p.scrollUp(t.top, t.bottom, n, st)
	case 'T':
		if len(params) < 2 { // with more it is about the mouse
			p.scrollDown(t.top, t.bottom, n, st)
		}
	case 'b':
		t.repeat(n)
	case 'g':
		t.clearTabs(param(params, 0, 0))
	case 'h', 'l':
		t.ansiModes(params, final == 'h')
	case 'm':
		t.cur.style.apply(params)
	case 'r':
		t.margins(params)
	case 's':
		p.saved = t.cur
	}
}

func (t *Terminal) eraseDisplay(which int) {
	p, y, st := t.page, t.cur.y, t.cur.style
	switch which {
	case 0:
		p.eraseLine(y, t.cur.x, t.cols, st)
		p.eraseLines(y+1, t.rows, st)
	case 1:
		p.eraseLines(0, y, st)
		p.eraseLine(y, 0, t.cur.x+1, st)
	case 2:
		p.eraseLines(0, t.rows, st)
	default:
		return
	}
	t.wrap = false
}

func (t *Terminal) eraseInLine(which int) {
	from, to := 0, t.cols
	switch which {
	case 0:
		from = t.cur.x
	case 1:
		to = t.cur.x + 1
	case 2:
	default:
		return
	}
	t.page.eraseLine(t.cur.y, from, to, t.cur.style)
	t.wrap = false
}

// printCost is what printing a character costs, in cells that are touched. It is counted
// where output has more of it than bytes.
const printCost = 8

// repeat prints the last character again, at most until the screen is full of it.
func (t *Terminal) repeat(n int) {
	if t.last == 0 {
		return
	}
	n = min(n, t.cols-t.cur.x) // to the end of the line, as in tmux
	t.work += printCost * int64(n)
	for range n {
		t.print(t.last)
	}
}

func (t *Terminal) clearTabs(which int) {
	switch which {
	case 0:
		t.tabs[t.cur.x] = false
	case 3:
		clear(t.tabs)
	}
}

func (t *Terminal) margins(params ansi.Params) {
	top, bottom := max(param(params, 0, 1), 1)-1, param(params, 1, t.rows)
	if bottom == 0 || bottom > t.rows {
		bottom = t.rows
	}
	if bottom-top < 2 {
		return
	}
	t.top, t.bottom = top, bottom
	t.moveTo(0, 0)
}
