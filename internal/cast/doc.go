// Package cast reads and writes terminal recordings in the formats of other
// tools, and turns the records of a recording into the same simple events.
//
// Every format is a [Source] of [Event] values: output, input, resizes and
// markers, each with its time since the start. [Reader] reads asciicast v2 and
// v3, [Typescript] the typescript and timing files of script(1), and a
// [Decoder] makes events of the records of a recording. [Writer] writes
// asciicast v2 or v3.
//
// # What may be relied on
//
// Everything streams: memory is bounded by one line ([MaxLine]) whatever the
// input says. Times are kept to the nanosecond on the way in and to the
// microsecond on the way out; the intervals of v3 are differences of rounded
// times, so their rounding errors do not add up. An event code nobody knows is
// kept. An error names the line, and the events before it are good.
//
// # Text that is no text
//
// Output is bytes; asciicast is JSON and holds only Unicode. A UTF-8 sequence
// split over two events is carried over to the second and written whole. Bytes
// that can never become UTF-8 are written as U+FFFD, one for each byte, and
// counted ([Writer.Replaced]), so that whoever exports can say so. The text and
// recording formats keep every byte.
package cast

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The event codes of asciicast v2 and v3. Exit is v3 only. Any other code may
// come too and is kept.
const (
	Output = "o"
	Input  = "i"
	Resize = "r"
	Marker = "m"
	Exit   = "x"
)

// MaxLine is the longest line, in bytes, that a reader takes. The longest line
// of a real recording is one event of a burst of output, a few hundred KiB.
const MaxLine = 16 << 20

// MaxTime is the longest time since the start that a reader takes.
const MaxTime = 1e9 * time.Second

// maxSide is the largest terminal width or height: what the kernel's window
// size can hold.
const maxSide = 65535

// An Event is one event of a terminal recording. Data is never changed by who
// made it and may be kept.
type Event struct {
	Time time.Duration // since the start of the recording; never goes back
	Code string        // Output, Input, …
	Data []byte        // output, input, "80x24", a label, an exit status
	JSON bool          // Data is JSON text and no string (unknown codes only)
	Line int           // where it was read, counted from 1; 0 if not from lines
}

// A Header says what a terminal recording is. Zero fields are absent.
type Header struct {
	Version       int // 2 or 3; 0 if not from asciicast
	Width, Height int
	Start         time.Time
	Duration      time.Duration
	IdleTimeLimit time.Duration
	Command       string
	Title         string
	Env           map[string]string
	TermType      string // v3: term.type; v2: env TERM
}

// A Source gives the events of one terminal recording in order of time.
type Source interface {
	// Header says what the recording is. It can be called at any time.
	Header() Header
	// Next returns the next event, or a bare io.EOF after the last. Any other
	// error is final and is returned again; a *LineError names the line.
	Next() (Event, error)
}

// A LineError says which line of the input could not be taken, and why.
type LineError struct {
	Line int // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns the reason.
func (e *LineError) Unwrap() error { return e.Err }

// ErrLineTooLong is the reason when a line is over [MaxLine] bytes.
var ErrLineTooLong = errors.New("line is over 16 MiB")

// ParseSize parses a terminal size written with the given separator: 'x' as
// in asciicast ("80x24"), ':' as in session events ("80:24"). Both sides are
// 1 to 65,535.
func ParseSize(s string, sep byte) (width, height int, err error) {
	w, h, ok := strings.Cut(s, string(sep))
	if !ok {
		return 0, 0, fmt.Errorf("size %q is not WIDTH%cHEIGHT", clip(s), sep)
	}
	if width, err = parseSide(w); err == nil {
		height, err = parseSide(h)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("size %q: %w", clip(s), err)
	}
	return width, height, nil
}

func parseSide(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n < 1 || n > maxSide {
		return 0, fmt.Errorf("%q is not a number from 1 to %d", clip(s), maxSide)
	}
	return int(n), nil
}

// FormatSize writes a terminal size with the given separator.
func FormatSize(width, height int, sep byte) string {
	return strconv.Itoa(width) + string(sep) + strconv.Itoa(height)
}

// clip shortens what is quoted in an error.
func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}
