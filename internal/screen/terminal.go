package screen

import (
	"strings"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/ansi/parser"
	"github.com/mattn/go-runewidth"
)

// A Terminal shows what it is written, as a terminal of the VT family does.
type Terminal struct {
	// OnLine is told what stands on a line of the main screen when a line feed
	// leaves it. The text has no spaces at its end. May be nil.
	OnLine func(text string)

	cols, rows int
	main, alt  page
	page       *page  // the one that is shown
	altBy      string // the mode that it was changed with; "" while main is shown

	cur         cursor
	wrap        bool // the next character goes to the next line
	top, bottom int  // margins: the first line, and the one behind the last
	tabs        []bool
	last        rune // for REP

	noWrap, insert, newline, inverse, hidden bool
	shape                                    int // of the cursor, as DECSCUSR has it; 0 is the default

	single int // the set that the next character is of, 2 or 3; 0 for none
	parser *ansi.Parser
	held   [utf8.UTFMax]byte // an unfinished character
	heldN  int
	line   []byte // reused
	work   int64  // cells touched besides those that were printed on
}

// NewTerminal is a terminal of a size in columns and rows. A size out of range is
// made one that is in range.
func NewTerminal(cols, rows int) *Terminal {
	t := &Terminal{parser: ansi.NewParser()}
	t.parser.SetDataSize(64) // strings are not looked at
	t.parser.SetHandler(ansi.Handler{Print: t.print, Execute: t.control, HandleCsi: t.sequence, HandleEsc: t.escape})
	t.cols, t.rows = ClampSize(cols, rows)
	t.reset()
	return t
}

// ClampSize is the size that a [Terminal] takes when it is told one: at least a cell,
// at most [MaxCols] by [MaxRows].
func ClampSize(cols, rows int) (int, int) {
	return min(max(cols, 1), MaxCols), min(max(rows, 1), MaxRows)
}

// reset is what a full reset does.
func (t *Terminal) reset() {
	t.main, t.alt = newPage(t.cols, t.rows, &t.work), page{}
	t.page, t.altBy = &t.main, ""
	t.cur, t.wrap, t.top, t.bottom, t.last = cursor{}, false, 0, t.rows, 0
	t.noWrap, t.insert, t.newline, t.inverse, t.hidden, t.shape, t.single = false, false, false, false, false, 0, 0
	t.resetTabs()
}

func (t *Terminal) resetTabs() {
	t.tabs = make([]bool, t.cols)
	for x := 8; x < t.cols; x += 8 {
		t.tabs[x] = true
	}
}

// Size is the terminal's columns and rows.
func (t *Terminal) Size() (cols, rows int) { return t.cols, t.rows }

// Cursor is where the cursor is, from 0, and whether it is shown.
func (t *Terminal) Cursor() (x, y int, shown bool) { return t.cur.x, t.cur.y, !t.hidden }

// Alternate says whether the alternate screen is shown.
func (t *Terminal) Alternate() bool { return t.altBy != "" }

// Settled says whether what was written so far ends between sequences and
// characters. In the middle of one, Redraw does not have its beginning.
func (t *Terminal) Settled() bool {
	return t.parser.State() == parser.GroundState && t.heldN == 0 && t.single == 0
}

// Resize makes the terminal another size. Lines are cut or filled up at the right
// and not laid out anew; when they become too many, those below the cursor go
// first and then those at the top.
func (t *Terminal) Resize(cols, rows int) {
	cols, rows = ClampSize(cols, rows)
	if cols == t.cols && rows == t.rows {
		return
	}
	above := max(t.cur.y-rows+1, 0)
	t.page.resize(cols, rows, above)
	if t.altBy != "" {
		t.main.resize(cols, rows, max(t.main.saved.y-rows+1, 0))
	}
	tabs := t.tabs
	t.cols, t.rows = cols, rows
	t.resetTabs()
	copy(t.tabs, tabs)
	t.top, t.bottom, t.wrap = 0, rows, false
	t.cur.x, t.cur.y = min(t.cur.x, cols-1), t.cur.y-above
}

// Text is what each row shows, without spaces at its end.
func (t *Terminal) Text() []string {
	text := make([]string, t.rows)
	for y := range text {
		text[y] = t.rowText(t.page.lines[y])
	}
	return text
}

func (t *Terminal) rowText(line []cell) string {
	t.work += int64(len(line))
	t.line = t.line[:0]
	for x := range line {
		t.line = line[x].append(t.line)
	}
	return strings.TrimRight(string(t.line), " ")
}

// Write takes output. It always takes all of it, and keeps nothing of b.
func (t *Terminal) Write(b []byte) (int, error) {
	n := len(b)
	for t.heldN > 0 && len(b) > 0 {
		t.held[t.heldN] = b[0]
		t.heldN++
		b = b[1:]
		if utf8.FullRune(t.held[:t.heldN]) {
			held := t.held
			whole := held[:t.heldN]
			t.heldN = 0
			t.write(whole)
		}
	}
	t.write(b)
	return n, nil
}

func (t *Terminal) write(b []byte) {
	for len(b) > 0 {
		if t.parser.State() == parser.GroundState {
			if n := plain(b); n > 0 {
				t.printPlain(b[:n])
				b = b[n:]
				continue
			}
		}
		if b[0] < utf8.RuneSelf {
			t.parser.Advance(b[0])
			b = b[1:]
			continue
		}
		if !utf8.FullRune(b) {
			t.heldN = copy(t.held[:], b)
			return
		}
		r, n := utf8.DecodeRune(b)
		t.beyondASCII(r)
		b = b[n:]
	}
}

// plain is how many characters of ASCII b begins with.
func plain(b []byte) int {
	for i, c := range b {
		if c < 0x20 || c > 0x7e {
			return i
		}
	}
	return len(b)
}

// beyondASCII takes a character that the parser is not given: it takes bytes,
// and would read a character's bytes as controls.
func (t *Terminal) beyondASCII(r rune) {
	switch state := t.parser.State(); {
	case r < 0xa0: // a control of C1, as xterm takes it
		t.parser.Advance(0x1b)
		t.parser.Advance(byte(r - 0x40))
	case state == parser.GroundState:
		t.print(r)
	case state >= parser.DcsEntryState && state <= parser.DcsStringState || state >= parser.OscStringState: // in a string
		t.parser.Advance('?')
	default: // it breaks a sequence off
		t.parser.Advance(0x18)
		t.print(r)
	}
}

// widths knows how wide characters are, whatever this machine's locale is.
var widths = runewidth.Condition{StrictEmojiNeutral: true}

func runeWidth(r rune) int {
	if r < 0x300 {
		return 1
	}
	return widths.RuneWidth(r)
}

// printPlain prints characters of ASCII.
func (t *Terminal) printPlain(b []byte) {
	if t.insert || t.single != 0 || t.cur.sets[t.cur.gl] != 0 {
		for _, c := range b {
			t.print(rune(c))
		}
		return
	}
	t.last = rune(b[len(b)-1])
	for len(b) > 0 {
		t.wrapIfDue()
		x, line := t.cur.x, t.page.lines[t.cur.y]
		n := min(len(line)-x, len(b))
		mend(line, x)
		mend(line, x+n)
		cells := line[x : x+n]
		for i, c := range b[:n] {
			cells[i] = cell{r: rune(c), width: 1, style: t.cur.style}
		}
		b = b[n:]
		t.advance(n)
		if t.noWrap && len(b) > 0 { // all that is left goes into the last column
			b = b[len(b)-1:]
		}
	}
}

// advance moves the cursor behind n columns that were written.
func (t *Terminal) advance(n int) {
	t.cur.x += n
	if t.cur.x >= t.cols {
		t.cur.x, t.wrap = t.cols-1, !t.noWrap
	}
}

func (t *Terminal) wrapIfDue() {
	if t.wrap && !t.noWrap {
		t.cur.x = 0
		t.index()
	}
	t.wrap = false
}

// print prints one character.
func (t *Terminal) print(r rune) {
	set := t.cur.sets[t.cur.gl]
	if t.single != 0 {
		set, t.single = t.cur.sets[t.single], 0
	}
	r = translate(set, r)
	width := runeWidth(r)
	if width == 0 || t.joins() {
		t.combine(r)
		return
	}
	if t.wrapIfDue(); width > t.cols-t.cur.x { // a wide one does not fit
		if t.noWrap || width > t.cols {
			return
		}
		t.cur.x = 0
		t.index()
	}
	t.last = r
	if t.insert {
		t.page.insert(t.cur.x, t.cur.y, width, t.cur.style)
	}
	x, line := t.cur.x, t.page.lines[t.cur.y]
	mend(line, x)
	mend(line, x+width)
	line[x] = cell{r: r, width: uint8(width), style: t.cur.style}
	if width == 2 {
		line[x+1] = cell{style: t.cur.style}
	}
	t.advance(width)
}

// before is the cell that was written last if the cursor is still behind it.
func (t *Terminal) before() *cell {
	x, line := t.cur.x, t.page.lines[t.cur.y]
	if !t.wrap {
		x--
	}
	if x > 0 && line[x].width == 0 {
		x--
	}
	if x < 0 || line[x].r == 0 {
		return nil
	}
	return &line[x]
}

const joiner = 0x200d // zero width joiner

// joins says whether the character before wants the next one in its own cell.
func (t *Terminal) joins() bool {
	if t.last < 0x2000 { // joiners follow none of these
		return false
	}
	c := t.before()
	return c != nil && strings.HasSuffix(c.more, string(rune(joiner)))
}

func (t *Terminal) combine(r rune) {
	if c := t.before(); c != nil {
		c.combine(r)
	}
}
