package cast

import (
	"bufio"
	"errors"
	"io"
)

// Lines reads lines of at most [MaxLine] bytes and counts them. A line without
// its newline at the end of the input is a line too.
type Lines struct {
	r   *bufio.Reader
	buf []byte
	n   int // the number of the line last returned, from 1
}

// NewLines reads lines from r.
func NewLines(r io.Reader) *Lines { return &Lines{r: bufio.NewReaderSize(r, 64<<10)} }

// Number is the number of the line last returned, from 1.
func (l *Lines) Number() int { return l.n }

// Next returns the next line without its line end. It is valid until the call
// after. At the end the error is a bare io.EOF; any other is a *LineError.
func (l *Lines) Next() ([]byte, error) {
	l.buf = l.buf[:0]
	for {
		frag, err := l.r.ReadSlice('\n')
		if len(l.buf)+len(frag) > MaxLine {
			return nil, &LineError{l.n + 1, ErrLineTooLong}
		}
		if len(l.buf) == 0 && err == nil { // the common case: no copy
			l.n++
			return trimEnd(frag), nil
		}
		l.buf = append(l.buf, frag...)
		switch {
		case err == nil, errors.Is(err, io.EOF) && len(l.buf) > 0:
			l.n++
			return trimEnd(l.buf), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil, io.EOF
		default:
			return nil, &LineError{l.n + 1, err}
		}
	}
}

func trimEnd(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == '\n' {
		b = b[:n-1]
	}
	if n := len(b); n > 0 && b[n-1] == '\r' {
		b = b[:n-1]
	}
	return b
}
