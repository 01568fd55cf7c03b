package screen

// A page is one of the terminal's two screens.
type page struct {
	lines [][]cell
	saved cursor // what DECSC saved; the zero value is home
	work  *int64 // the terminal's
}

// A cursor is what saving the cursor saves.
type cursor struct {
	x, y   int
	style  Style
	sets   [4]byte // what G0 to G3 are; 0 is ASCII
	gl     uint8   // which of them is in use
	origin bool
}

func newPage(cols, rows int, work *int64) page {
	p := page{lines: make([][]cell, rows), work: work}
	p.cost(newCost * cols * rows)
	for i := range p.lines {
		p.lines[i] = newLine(cols)
	}
	return p
}

func newLine(cols int) []cell {
	line := make([]cell, cols)
	erase(line, Style{})
	return line
}

// erase makes cells empty, with the background of a style.
func erase(cells []cell, st Style) {
	empty := cell{width: 1, style: Style{Bg: st.Bg}}
	for i := range cells {
		cells[i] = empty
	}
}

// mend makes what is left of a wide character at x empty when the other half is
// about to go: x is where a change of the line begins or has ended.
func mend(line []cell, x int) {
	if x > 0 && x < len(line) && line[x].width == 0 {
		for _, i := range [...]int{x - 1, x} {
			line[i] = cell{width: 1, style: Style{Bg: line[i].style.Bg}}
		}
	}
}

// newCost is what a new cell costs, in cells that are touched: it is memory.
const newCost = 16

// cost counts cells that were touched.
func (p *page) cost(cells int) { *p.work += int64(cells) }

// eraseLine empties the columns from up to but without to.
func (p *page) eraseLine(y, from, to int, st Style) {
	line := p.lines[y]
	mend(line, from)
	mend(line, to)
	erase(line[from:to], st)
	p.cost(to - from)
}

func (p *page) eraseLines(from, to int, st Style) {
	for y := from; y < to; y++ {
		erase(p.lines[y], st)
		p.cost(len(p.lines[y]))
	}
}

// scrollUp moves the lines from top up to but without bottom up by n.
func (p *page) scrollUp(top, bottom, n int, st Style) {
	n = min(n, bottom-top)
	lines := p.lines[top:bottom]
	p.cost(len(lines))
	if n == 1 {
		first := lines[0]
		copy(lines, lines[1:])
		lines[len(lines)-1] = first
	} else {
		rotate(lines, n)
	}
	p.eraseLines(bottom-n, bottom, st)
}

func (p *page) scrollDown(top, bottom, n int, st Style) {
	n = min(n, bottom-top)
	p.cost(bottom - top)
	rotate(p.lines[top:bottom], bottom-top-n)
	p.eraseLines(top, top+n, st)
}

// rotate moves the first n lines behind the others.
func rotate(lines [][]cell, n int) {
	first := append([][]cell(nil), lines[:n]...)
	copy(lines, lines[n:])
	copy(lines[len(lines)-n:], first)
}

// insert makes room for n empty cells at x; what does not fit is gone.
func (p *page) insert(x, y, n int, st Style) {
	line := p.lines[y]
	p.cost(len(line) - x)
	n = min(n, len(line)-x)
	mend(line, x)
	mend(line, len(line)-n)
	copy(line[x+n:], line[x:])
	erase(line[x:x+n], st)
}

// remove takes n cells away at x and fills up from the right.
func (p *page) remove(x, y, n int, st Style) {
	line := p.lines[y]
	p.cost(len(line) - x)
	n = min(n, len(line)-x)
	mend(line, x)
	mend(line, x+n)
	copy(line[x:], line[x+n:])
	erase(line[len(line)-n:], st)
}

// resize makes the page another size. Lines above the first stay only as far as
// the cursor's line stays on the page.
func (p *page) resize(cols, rows, above int) {
	p.cost(newCost * cols * rows)
	if above > 0 {
		p.lines = append(p.lines[:0:0], p.lines[above:]...)
	}
	for len(p.lines) < rows {
		p.lines = append(p.lines, newLine(cols))
	}
	p.lines = p.lines[:rows]
	for y, line := range p.lines {
		if len(line) == cols {
			continue
		}
		resized := newLine(cols)
		copy(resized, line)
		if len(line) > cols && line[cols].width == 0 { // half of it is beyond the edge
			resized[cols-1] = cell{width: 1, style: Style{Bg: resized[cols-1].style.Bg}}
		}
		p.lines[y] = resized
	}
	p.saved.x, p.saved.y = min(p.saved.x, cols-1), min(max(p.saved.y-above, 0), rows-1)
}
