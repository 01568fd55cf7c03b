package ptyrec

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"
)

// A Size is a terminal's, in character cells. The zero Size stands for 80x24.
type Size struct {
	Columns, Rows int
}

// UnmarshalText reads "COLSxROWS".
func (s *Size) UnmarshalText(text []byte) error {
	cols, rows, ok := strings.Cut(string(text), "x")
	c, err := strconv.ParseUint(cols, 10, 16)
	r, err2 := strconv.ParseUint(rows, 10, 16)
	if !ok || err != nil || err2 != nil || c == 0 || r == 0 {
		return fmt.Errorf("%q is no size like 80x24", text)
	}
	s.Columns, s.Rows = int(c), int(r)
	return nil
}

// MarshalText is the reverse.
func (s Size) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%dx%d", s.Columns, s.Rows), nil }

// terminal says whether the command gets a terminal, and of which size.
func (c *Command) terminal(d Deps) (Size, bool) {
	on := c.PTY == "always" || c.PTY != "never" && isTerminal(d.Stdin) && isTerminal(d.Stdout)
	size := c.Size
	if size == (Size{}) {
		size = Size{80, 24}
	}
	if outer, ok := outerSize(d); ok {
		size = outer
	}
	return size, on
}

// outerSize is the size of the terminal that the person sits at.
func outerSize(d Deps) (Size, bool) {
	for _, f := range []*os.File{d.Stdin, d.Stdout} {
		if f == nil {
			continue
		}
		if cols, rows, err := term.GetSize(int(f.Fd())); err == nil && cols > 0 && rows > 0 {
			return Size{cols, rows}, true
		}
	}
	return Size{}, false
}

func isTerminal(f *os.File) bool { return f != nil && term.IsTerminal(int(f.Fd())) }
