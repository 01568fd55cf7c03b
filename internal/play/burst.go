package play

import (
	"io"
	"strings"
)

// A burst gathers output that is to be passed over, and writes no more of it
// than the screen that it leads to needs. That is how a seek shows the screen
// at its target without showing the way there.
//
// It knows nothing of what is on the screen. It drops what came before a moment
// from which the screen no longer depends on it, and writes the terminal's
// state of that moment instead (colours, margins, modes):
//
//   - the cursor is sent home and the screen erased;
//   - the alternate screen is left: what was drawn on it is dropped;
//   - [scrolledOff] lines were printed on the main screen one below the other,
//     without moving up or placing the cursor.
//
// Where something was done that cannot be set again from here (a saved cursor,
// tab stops: state.opaque) nothing is dropped. What is gathered is held up to
// [maxBurst] bytes; beyond that it is written, with synchronized output on, and
// gathering goes on. So memory is bounded, and the worst case is the viewer's
// terminal drawing everything as fast as it can.
type burst struct {
	f   *Filter
	out io.Writer
	err error

	start state // the terminal's, where buf begins
	buf   []byte
	alt   int // where in buf the alternate screen begins; -1 on the main one
	homed int // where in buf the cursor was sent home, if that was the last token; else -1
	wiped int // the same for the screen being erased

	mark     int   // where in buf a line begins, with nothing but lines since; -1 if none
	at       state // there
	lines    int   // since
	returned bool  // the last token was CR
}

const (
	// scrolledOff is more lines than a terminal has.
	scrolledOff = 1000
	maxBurst    = 8 << 20
)

// newBurst begins to gather what f lets through, for the terminal behind out,
// which is in f's state.
func newBurst(f *Filter, out io.Writer) *burst {
	b := &burst{f: f, out: out}
	b.begin()
	return b
}

func (b *burst) begin() {
	b.start, b.buf = b.f.term, b.buf[:0]
	b.alt, b.homed, b.wiped, b.mark = -1, -1, -1, -1
	if b.start.alt != "" {
		b.alt = 0
	}
}

// add takes more output. An error of writing is kept for finish.
func (b *burst) add(data []byte) {
	b.f.feed(data, b.token)
	if len(b.buf) > maxBurst {
		b.write(true)
	}
}

// raw takes more output that is written as it is. The state of the terminal is
// followed all the same, to be put back at the end.
func (b *burst) raw(data []byte) {
	b.f.feed(data, func(token) {})
	if b.buf = append(b.buf, data...); len(b.buf) > maxBurst {
		b.write(true)
	}
}

// finish writes what is held, and returns the first error of writing.
func (b *burst) finish() error {
	b.write(b.f.term.modes[modeSync] == 2)
	return b.err
}

// write writes what is held as one synchronized update, and begins anew.
func (b *burst) write(staysOn bool) {
	out := append([]byte("\x1b[?2026h"), b.buf...)
	if !staysOn {
		out = append(out, "\x1b[?2026l"...)
	}
	if _, err := b.out.Write(out); err != nil && b.err == nil {
		b.err = err
	}
	b.begin()
}

// token takes one token, which b.f's state already has in it.
func (b *burst) token(t token) {
	homed, wiped := b.homed, b.wiped
	b.homed, b.wiped = -1, -1
	at := len(b.buf)
	switch {
	case t.kind == reset:
		b.restart(&state{}, nil)
		return
	case t.kind == csi && t.args == "?2026":
		return
	case b.alt >= 0 && b.f.term.alt == "": // left the alternate screen
		b.leave(t)
		return
	case b.alt < 0 && b.f.term.alt != "":
		b.keep(t)
		b.alt = len(b.buf)
		b.mark = -1
		return
	}
	b.keep(t)
	switch {
	case isHome(t):
		if b.homed = at; wiped >= 0 {
			b.cut()
		}
	case isWipe(t, homed >= 0):
		if b.wiped = at; homed >= 0 {
			b.cut()
		}
	}
	b.countLines(t)
}

func (b *burst) keep(t token) { b.buf = append(b.buf, t.bytes...) }

// cut drops what no longer shows: the screen is empty and the cursor home.
func (b *burst) cut() {
	switch {
	case b.f.term.opaque:
	case b.alt >= 0:
		b.buf = b.f.term.appendSetup(b.buf[:b.alt])
		b.buf = append(b.buf, clearScreen...)
	default:
		b.restart(&b.f.term, nil)
	}
}

// restart makes buf what leads from its beginning to an empty main screen in
// state s and then draws rest.
func (b *burst) restart(s *state, rest []byte) {
	tail := append([]byte(clearScreen), rest...)
	b.buf = b.start.appendDefaults(b.buf[:0])
	b.buf = append(s.appendSetup(b.buf), tail...)
	b.alt, b.mark = -1, -1
}

// leave drops what was drawn on the alternate screen. The mode 47 keeps it for
// the next time, so there it stays.
func (b *burst) leave(t token) {
	if !strings.Contains(t.args, "47;") && t.args != "?47" && !b.f.term.opaque {
		b.buf = b.f.term.appendSetup(b.buf[:b.alt])
	}
	b.keep(t)
	b.alt, b.mark = -1, -1
}

// countLines looks for places where a line begins, and cuts at one that lies
// far enough back.
func (b *burst) countLines(t token) {
	afterReturn := b.returned
	b.returned = t.kind == c0 && t.final == '\r'
	if b.alt >= 0 || !onlyLines(t) || b.f.term.margins != "" || b.f.term.sides != "" || b.f.term.opaque {
		b.mark = -1
		return
	}
	if t.kind != c0 || t.final != '\n' {
		return
	}
	b.lines++
	if !afterReturn || b.mark >= 0 && b.lines < scrolledOff {
		return
	}
	if b.mark >= 0 {
		s := b.at
		b.restart(&s, b.buf[b.mark:])
	}
	b.mark, b.at, b.lines = len(b.buf), b.f.term, 0
}

// onlyLines says whether a token leaves the cursor on its line or takes it to
// the next.
func onlyLines(t token) bool {
	switch t.kind {
	case text:
		return true
	case c0:
		return t.final != '\v' && t.final != '\f'
	case esc:
		return strings.ContainsAny(t.args, "()*+-./") || strings.IndexByte("no|}~N", t.final) >= 0
	case csi:
		switch t.final {
		case 'm', 'K', 'C', 'D', 'G', 'P', 'X', '@', '`':
			return true
		case 'h', 'l':
			return t.args == "?25" || t.args == "?12" || t.args == "?12;25"
		}
	}
	return false
}

func isHome(t token) bool {
	if t.kind != csi || t.final != 'H' && t.final != 'f' {
		return false
	}
	row, column, _ := strings.Cut(t.args, ";")
	return (row == "" || row == "1") && (column == "" || column == "1")
}

// isWipe says whether a token erases the screen, with the cursor home or not.
func isWipe(t token, homed bool) bool {
	return t.kind == csi && t.final == 'J' && (t.args == "2" || homed && (t.args == "" || t.args == "0"))
}
