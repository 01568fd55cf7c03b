package cast

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// A Writer writes asciicast v2 or v3. Close writes what is left; it does not
// close the io.Writer.
type Writer struct {
	w       *bufio.Writer
	version int
	shown   int64 // microseconds: the time of the last event as written
	carry   Carry
	text    []byte
	line    bytes.Buffer
	enc     *json.Encoder
	err     error
}

// NewWriter writes the header line, in the form that h.Version says (2 or 3).
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	if h.Version != 2 && h.Version != 3 {
		return nil, fmt.Errorf("write asciicast version %d: only 2 and 3 can be written", h.Version)
	}
	cw := &Writer{w: bufio.NewWriterSize(w, 64<<10), version: h.Version}
	cw.enc = json.NewEncoder(&cw.line)
	cw.enc.SetEscapeHTML(false)
	if err := cw.enc.Encode(h.json()); err != nil {
		return nil, fmt.Errorf("write header: %w", err)
	}
	return cw, cw.flushLine()
}

// Write writes one event. It does not keep e.Data. An output event of which
// only an unfinished UTF-8 sequence is new is held and comes with the next. The
// first error is kept and returned again.
func (w *Writer) Write(e Event) error {
	if w.err != nil {
		return w.err
	}
	if e.Code != Output {
		w.err = w.event(e.Time, e.Code, e.Data, e.JSON)
		return w.err
	}
	w.text = w.carry.Next(w.text[:0], e.Data)
	if len(w.text) > 0 {
		w.err = w.event(e.Time, Output, w.text, false)
	}
	return w.err
}

// Flush hands what was written so far to the io.Writer, but for an unfinished
// UTF-8 sequence.
func (w *Writer) Flush() error {
	if w.err == nil {
		w.err = w.w.Flush()
	}
	return w.err
}

// Close writes what is left, an unfinished UTF-8 sequence as U+FFFD.
func (w *Writer) Close() error {
	if w.carry.Held() > 0 && w.err == nil {
		at := time.Duration(w.shown) * time.Microsecond
		w.err = w.event(at, Output, w.carry.Flush(nil), false)
	}
	return w.Flush()
}

// Replaced returns how many bytes of output could not be represented and were
// written as U+FFFD.
func (w *Writer) Replaced() int64 { return w.carry.Replaced() }

func (w *Writer) event(at time.Duration, code string, data []byte, raw bool) error {
	us := max(at.Round(time.Microsecond).Microseconds(), w.shown)
	written := us
	if w.version == 3 {
		written -= w.shown
	}
	w.shown = us
	w.line.Reset()
	w.line.WriteByte('[')
	writeSeconds(&w.line, written)
	w.line.WriteString(", ")
	if err := w.value(code); err != nil {
		return err
	}
	w.line.WriteString(", ")
	if raw {
		w.line.Write(data)
	} else if err := w.value(string(data)); err != nil {
		return err
	}
	w.line.WriteString("]\n")
	return w.flushLine()
}

// value writes a JSON string without the newline that an Encoder adds.
func (w *Writer) value(s string) error {
	if err := w.enc.Encode(s); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	w.line.Truncate(w.line.Len() - 1)
	return nil
}

func (w *Writer) flushLine() error {
	_, err := w.w.Write(w.line.Bytes())
	w.line.Reset()
	return err
}

// writeSeconds writes microseconds as seconds, exactly, without needless zeros.
func writeSeconds(b *bytes.Buffer, us int64) {
	fmt.Fprintf(b, "%d", us/1e6)
	frac := us % 1e6
	if frac == 0 {
		b.WriteString(".0")
		return
	}
	digits := fmt.Sprintf("%06d", frac)
	b.WriteByte('.')
	b.WriteString(string(bytes.TrimRight([]byte(digits), "0")))
}
