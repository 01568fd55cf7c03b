package screen

import "github.com/charmbracelet/x/ansi"

// control does what a control character says.
func (t *Terminal) control(c byte) {
	switch c {
	case '\b':
		if t.cur.x > 0 {
			t.cur.x--
		}
		t.wrap = false
	case '\t':
		t.tab(1)
	case '\n', '\v', '\f':
		if t.OnLine != nil && t.altBy == "" {
			t.OnLine(t.rowText(t.page.lines[t.cur.y]))
		}
		t.index()
		if t.newline {
			t.cur.x = 0
		}
	case '\r':
		t.cur.x, t.wrap = 0, false
	case 0x0e: // SO
		t.cur.gl = 1
	case 0x0f: // SI
		t.cur.gl = 0
	}
}

// index moves the cursor down, and the lines within the margins up if it stands
// on the last of them.
func (t *Terminal) index() {
	t.wrap = false
	switch {
	case t.cur.y == t.bottom-1:
		t.page.scrollUp(t.top, t.bottom, 1, t.cur.style)
	case t.cur.y < t.rows-1:
		t.cur.y++
	}
}

func (t *Terminal) reverseIndex() {
	t.wrap = false
	switch {
	case t.cur.y == t.top:
		t.page.scrollDown(t.top, t.bottom, 1, t.cur.style)
	case t.cur.y > 0:
		t.cur.y--
	}
}

// tab moves the cursor n tab stops on, or back.
func (t *Terminal) tab(n int) {
	step, edge := 1, t.cols-1
	if n < 0 {
		step, edge, n = -1, 0, -n
		t.wrap = false
	}
	for x := t.cur.x; n > 0 && x != edge; n-- {
		for x += step; x != edge && !t.tabs[x]; {
			x += step
		}
		t.cur.x = x
	}
}

// escape does what an escape sequence without CSI says.
func (t *Terminal) escape(cmd ansi.Cmd) {
	final := cmd.Final()
	if inter := cmd.Intermediate(); inter != 0 {
		t.designate(inter, final)
		return
	}
	switch final {
	case '7':
		t.page.saved = t.cur
	case '8':
		t.restore()
	case 'c':
		t.reset()
	case 'D':
		t.index()
	case 'E':
		t.index()
		t.cur.x = 0
	case 'H':
		t.tabs[t.cur.x] = true
	case 'M':
		t.reverseIndex()
	case 'N', 'O':
		t.single = int(final-'N') + 2
	case 'n', 'o':
		t.cur.gl = final - 'n' + 2
	}
}

// designate chooses a character set, or fills the screen for an adjustment.
func (t *Terminal) designate(inter, final byte) {
	switch inter {
	case '(', ')', '*', '+':
		if final == 'B' {
			final = 0
		}
		t.cur.sets[inter-'('] = final
	case '#':
		if final == '8' {
			t.adjust()
		}
	}
}

func (t *Terminal) adjust() {
	t.work += int64(t.cols * t.rows)
	for _, line := range t.page.lines {
		for x := range line {
			line[x] = cell{r: 'E', width: 1}
		}
	}
	t.top, t.bottom = 0, t.rows
	t.cur.x, t.cur.y, t.wrap = 0, 0, false
}

func (t *Terminal) restore() {
	t.cur, t.wrap = t.page.saved, false
}

// drawing is the line drawing set, from ` to ~.
var drawing = [...]rune{'◆', '▒', '␉', '␌', '␍', '␊', '°', '±', '␤', '␋', '┘', '┐', '┌', '└', '┼', '⎺', '⎻', '─', '⎼', '⎽', '├', '┤',
	'┴', '┬', '│', '≤', '≥', 'π', '≠', '£', '·'}

// translate is what a character is in a set.
func translate(set byte, r rune) rune {
	switch {
	case set == '0' && r >= '`' && r <= '~':
		return drawing[r-'`']
	case set == '0' && r == '_':
		return ' '
	case set == 'A' && r == '#':
		return '£'
	}
	return r
}
