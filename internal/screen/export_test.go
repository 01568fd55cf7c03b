package screen

// CellAt is what a cell shows and how, for tests.
func (t *Terminal) CellAt(x, y int) (string, Style) {
	c := &t.page.lines[y][x]
	return string(c.append(nil)), c.style
}
