// Package screen knows what a recording shows: the screen of a terminal from the
// bytes that it was sent, and that of a desktop from its messages.
//
// [Terminal] is a terminal emulator that can say all of what it shows in one
// escape sequence ([Terminal.Redraw]) that makes any other terminal show the same
// and go on the same. That is what a seek index stores, and why the emulator is
// here and not a library's: the ones that are kept (gdamore/tcell/v3/vt 3.6,
// charmbracelet/x/vt 0.1) hold the margins, the saved cursor, the character sets,
// a wrap that is pending and the screen under the alternate one where nobody can
// read them, and take more than a second for a megabyte that scrolls (40 times
// what this one takes), which is most of an hour for a recording of a gigabyte.
// tcell's has no alternate screen and no line drawing besides. What is a library's
// is the state machine of escape sequences, x/ansi, and the widths of characters.
//
// The oracle is tmux: the tests hold every fixture and a stream of random
// sequences against it.
//
// # What may be relied on
//
// Memory depends on the size of the screen, [MaxCols] by [MaxRows] at most, and on
// nothing that is written. Whatever bytes come, nothing panics, and how they are
// cut into writes makes no difference. Types here are not safe for concurrent use.
package screen

// The largest terminal. A size beyond is cut to this.
const (
	MaxCols = 1000
	MaxRows = 500
)
