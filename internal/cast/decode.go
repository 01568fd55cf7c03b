package cast

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// ErrDesktop is what a Decoder returns for a recording of a desktop.
var ErrDesktop = errors.New("this is a recording of a desktop: it has no terminal output")

// A Decoder turns the records of a terminal session, in their order, into
// events. The zero value is ready.
//
// Time zero is the time of session.start, or of the first record if that is
// another (a range of a recording). The first print is at its event time; every
// print after it is as much later as its delay says, because a delay is exact
// and cannot go back when a clock is set. A resize is as long after the print
// before it as their event times are apart. No event is before the one in
// front of it.
type Decoder struct {
	header  Header
	clock   Clock
	resizes int64 // that had no size that can be used
}

// A Clock is where a Decoder stands in time. One that was kept lets another go on
// in the middle of a recording, with [DecoderAt].
type Clock struct {
	Begun, Printed bool
	Origin         time.Time     // of time zero
	Base           time.Duration // of a print with delay 0
	Last           time.Duration // the time given out last
	LastAt         time.Time     // the event time of the event that had it
}

// DecoderAt is a Decoder that goes on behind the record after which another's
// Clock was c and the terminal had a size.
func DecoderAt(c Clock, width, height int) *Decoder {
	return &Decoder{clock: c, header: Header{Start: c.Origin, Width: width, Height: height}}
}

// Clock is where the Decoder stands.
func (d *Decoder) Clock() Clock { return d.clock }

// Header says what session.start says; its size is 80 by 24 until then, and if
// that has none.
func (d *Decoder) Header() Header {
	h := d.header
	if h.Width == 0 {
		h.Width, h.Height = 80, 24
	}
	return h
}

// BadResizes returns how many resize events had no size and were passed over.
func (d *Decoder) BadResizes() int64 { return d.resizes }

// Decode returns the event that a record is, or false if it is none that shows
// on a terminal. The event does not alias the record.
func (d *Decoder) Decode(rec slicefmt.Record) (Event, bool, error) {
	at := rec.Time()
	if !d.clock.Begun {
		d.clock = Clock{Begun: true, Origin: at, LastAt: at}
		d.header.Start = at
	}
	switch rec.Case {
	case caseStart, casePrint, caseResize:
	case caseWindowsStart, caseDesktop, caseLinuxStart:
		return Event{}, false, ErrDesktop
	default:
		return Event{}, false, nil
	}
	one, err := events.Unmarshal(rec.OneOf)
	if err != nil {
		return Event{}, false, fmt.Errorf("decode event %d: %w", rec.Index, err)
	}
	switch {
	case one.GetSessionStart() != nil:
		d.start(one.GetSessionStart())
	case one.GetSessionPrint() != nil:
		return d.print(at, one.GetSessionPrint()), true, nil
	case one.GetResize() != nil:
		e, ok := d.resize(at, one.GetResize())
		return e, ok, nil
	}
	return Event{}, false, nil
}

// The cases of OneOf that matter here.
const (
	caseStart        = 5
	casePrint        = 7
	caseResize       = 9
	caseWindowsStart = 59
	caseDesktop      = 69
	caseLinuxStart   = 254
)

func (d *Decoder) start(s *events.SessionStart) {
	d.header.Command = strings.Join(s.GetInitialCommand(), " ")
	if w, h, err := ParseSize(s.GetTerminalSize(), ':'); err == nil {
		d.header.Width, d.header.Height = w, h
	}
}

func (d *Decoder) print(at time.Time, p *events.SessionPrint) Event {
	delay := milliseconds(p.GetDelayMilliseconds())
	if !d.clock.Printed {
		d.clock.Printed = true
		d.clock.Base = between(d.clock.Origin, at) - delay
	}
	return d.event(at, d.clock.Base+delay, Output, p.GetData())
}

func (d *Decoder) resize(at time.Time, r *events.Resize) (Event, bool) {
	w, h, err := ParseSize(r.GetTerminalSize(), ':')
	if err != nil {
		d.resizes++
		return Event{}, false
	}
	return d.event(at, d.clock.Last+between(d.clock.LastAt, at), Resize, []byte(FormatSize(w, h, 'x'))), true
}

func (d *Decoder) event(at time.Time, t time.Duration, code string, data []byte) Event {
	d.clock.Last, d.clock.LastAt = max(d.clock.Last, min(t, MaxTime)), at
	return Event{Time: d.clock.Last, Code: code, Data: data}
}

// between is how much later b is than a: 0 if it is not, [MaxTime] at most.
func between(a, b time.Time) time.Duration { return min(max(b.Sub(a), 0), MaxTime) }

// milliseconds turns a delay into a Duration that later sums cannot overflow.
func milliseconds(ms int64) time.Duration {
	const limit = int64(math.MaxInt64 / 4 / time.Millisecond)
	return time.Duration(min(max(ms, 0), limit)) * time.Millisecond
}
