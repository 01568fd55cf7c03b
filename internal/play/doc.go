// Package play plays the recording of a terminal session on a terminal.
//
// It shows what the session's terminal was told, at the pace at which it was
// told, from records that come from anywhere: a file, S3, or a session that is
// still going on. What would do more than draw on the viewer's terminal is
// dropped by a [Filter] unless the viewer asks for the raw bytes.
//
// # Seeking
//
// A terminal's screen is the sum of all that it was told, so a seek goes through
// everything up to its target, from where one is or, backwards, from the start.
// It shows none of it: what no longer matters for the screen at the target is
// dropped, and the rest is written in one synchronized update. Where there is a
// seek index ([Jump]) it begins with the newest picture of the screen at or before
// the target instead of at the start.
//
// # What may be relied on
//
// Run leaves the terminal as a shell wants it, on every way out: main screen,
// cursor shown, no colours, margins or modes of the recording. It leaves no
// goroutine behind. Its memory does not depend on the recording's length.
package play

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// The limits of Options.Speed.
const (
	MinSpeed = 0.25
	MaxSpeed = 16.0
)

// Options are what the viewer chooses.
type Options struct {
	Speed   float64       `help:"Play this many times as fast (0.25 to 16)." default:"1" placeholder:"N"`
	At      time.Duration `help:"Begin this long after the start, with the screen as it was then." placeholder:"DURATION"`
	MaxIdle time.Duration `help:"Shorten every pause to this." placeholder:"DURATION"`
	Follow  bool          `help:"Show the screen as it is now, and go on as the session does."`
	Raw     bool          `help:"Let every byte through to this terminal. A recording can write your clipboard and type for you."`
}

// Validate says what is wrong with the options, everything at once.
func (o Options) Validate() error {
	var wrong []error
	if !(o.Speed >= MinSpeed && o.Speed <= MaxSpeed) { // NaN is neither
		wrong = append(wrong, fmt.Errorf("speed %v is not from %v to %v", o.Speed, MinSpeed, MaxSpeed))
	}
	if o.At < 0 {
		wrong = append(wrong, fmt.Errorf("begin at %v: before the start", o.At))
	}
	if o.MaxIdle < 0 {
		wrong = append(wrong, fmt.Errorf("longest pause %v is negative", o.MaxIdle))
	}
	return join(wrong)
}

// An Open begins to read the recording's records, from the first. It is called
// again for each seek backwards. The sequence ends when ctx is done; it may wait
// for records that are still to come.
type Open func(ctx context.Context) iter.Seq2[slicefmt.Record, error]

// A Start is where to begin in the middle of a recording.
type Start struct {
	At            time.Duration // of the picture
	Screen        []byte        // what makes a terminal show the screen as it was then
	Width, Height int           // of the session's terminal
	Decoder       *cast.Decoder // which goes on behind the picture
	Open          Open          // reads the records behind it
}

// A Jump finds the newest picture of the screen at or before a time. It returns
// nil if there is none: then playing begins at the recording's start.
type Jump func(ctx context.Context, at time.Duration) *Start

// A Key is something the viewer wants.
type Key int

// The keys, and what they are on a keyboard.
const (
	KeyPause   Key = iota + 1 // space
	KeyBack                   // left: 5 s back
	KeyForward                // right: 5 s on
	KeyStep                   // . (while paused): the next output
	KeyFaster                 // +
	KeySlower                 // -
	KeyQuit                   // q, Ctrl-C
)

// seekStep is how far an arrow key goes.
const seekStep = 5 * time.Second
