package cast

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// A Reader reads asciicast v2 or v3. It is a [Source].
type Reader struct {
	lines    *Lines
	header   Header
	last     time.Duration // of the last event, as read
	shown    time.Duration // the highest time given out
	comments int64
	backward int64
	err      error
}

// NewReader reads the header line of an asciicast from r. The error is a
// *LineError, or a bare io.EOF if r is empty.
func NewReader(r io.Reader) (*Reader, error) {
	ls := NewLines(r)
	line, err := ls.Next()
	if err != nil {
		return nil, err
	}
	h, err := parseHeader(line)
	if err != nil {
		return nil, &LineError{1, err}
	}
	return &Reader{lines: ls, header: h}, nil
}

// Header returns what the header line says.
func (r *Reader) Header() Header { return r.header }

// Comments returns how many comment lines were passed over so far.
func (r *Reader) Comments() int64 { return r.comments }

// Backward returns how many events had a time before the event in front of
// them. They are given the time of that event.
func (r *Reader) Backward() int64 { return r.backward }

// Next returns the next event.
func (r *Reader) Next() (Event, error) {
	if r.err != nil {
		return Event{}, r.err
	}
	e, err := r.next()
	r.err = err
	return e, err
}

func (r *Reader) next() (Event, error) {
	for {
		line, err := r.lines.Next()
		if err != nil {
			return Event{}, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if line[0] == '#' && r.header.Version == 3 {
			r.comments++
			continue
		}
		e, err := r.parse(line)
		if err != nil {
			return Event{}, &LineError{r.lines.n, err}
		}
		e.Line = r.lines.n
		return e, nil
	}
}

// parse reads one event line and advances the clock.
func (r *Reader) parse(line []byte) (Event, error) {
	if !utf8.Valid(line) {
		return Event{}, errors.New("not valid UTF-8")
	}
	var m []json.RawMessage
	if err := json.Unmarshal(line, &m); err != nil {
		return Event{}, reason(err)
	}
	if len(m) != 3 {
		return Event{}, fmt.Errorf("event has %d members, want 3: time, code, data", len(m))
	}
	t, err := parseTime(m[0])
	if err != nil {
		return Event{}, err
	}
	e := Event{}
	if err := json.Unmarshal(m[1], &e.Code); err != nil || e.Code == "" {
		return Event{}, fmt.Errorf("event code %s is not a string of one letter or more", clip(string(m[1])))
	}
	if err := e.setData(m[2]); err != nil {
		return Event{}, err
	}
	e.Time, err = r.advance(t)
	return e, err
}

// setData takes the third member. What has a meaning to us must be a string; an
// unknown code may carry any JSON.
func (e *Event) setData(raw json.RawMessage) error {
	var s string
	if raw[0] == '"' {
		if err := json.Unmarshal(raw, &s); err != nil {
			return reason(err)
		}
		e.Data = []byte(s)
		return nil
	}
	switch e.Code {
	case Output, Input, Resize, Marker, Exit:
		return fmt.Errorf("data of a %q event is not a string: %s", e.Code, clip(string(raw)))
	}
	e.Data, e.JSON = bytes.Clone(raw), true
	return nil
}

// advance turns the time of a line into the time since the start.
func (r *Reader) advance(t time.Duration) (time.Duration, error) {
	if r.header.Version == 3 {
		t += r.last
	}
	if t > MaxTime {
		return 0, fmt.Errorf("time %v is beyond %v", t, MaxTime)
	}
	r.last = t
	if t < r.shown {
		r.backward++
	}
	r.shown = max(r.shown, t)
	return r.shown, nil
}

// parseTime reads seconds as JSON writes them, to the nanosecond.
func parseTime(raw json.RawMessage) (time.Duration, error) {
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return 0, fmt.Errorf("time %s is not a number of seconds", clip(string(raw)))
	}
	if f < 0 || f > MaxTime.Seconds() {
		return 0, fmt.Errorf("time %s is not from 0 to %.0f seconds", clip(string(raw)), MaxTime.Seconds())
	}
	return time.Duration(math.Round(f * 1e9)), nil
}

// reason makes the messages of encoding/json name the place.
func reason(err error) error {
	var syn *json.SyntaxError
	if errors.As(err, &syn) {
		return fmt.Errorf("not JSON at byte %d: %w", syn.Offset, err)
	}
	var typ *json.UnmarshalTypeError
	if errors.As(err, &typ) && typ.Field != "" {
		return fmt.Errorf("%q is a JSON %s, want %s", typ.Field, typ.Value, typ.Type)
	}
	if errors.As(err, &typ) {
		return fmt.Errorf("a JSON %s, want an array", typ.Value)
	}
	return err
}
