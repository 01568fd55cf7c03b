// Package video makes pictures and films of recordings: a PNG of one moment, an
// animated GIF, and a film in MP4 or AVI. It does so for desktops, and for
// terminals by rendering what an emulator shows.
//
// MP4 takes ffmpeg. Without it a film is an AVI of motion JPEG, made here, which
// every player plays and which is several times larger.
//
// Everything streams: memory holds one screen, whatever the recording's length.
// GIFs have at most 256 colors a frame, so photographs on a desktop suffer; and
// Go Mono, which terminals are rendered in, has no CJK and no emoji.
package video

import (
	"context"
	"errors"
	"fmt"
	"image"
	"iter"
	"math"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/internal/screen"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// Errors that a caller can test for.
var (
	// ErrNothing: nothing was on the screen up to that moment.
	ErrNothing = errors.New("nothing was drawn")
	// ErrTooLong: the film does not fit into its format.
	ErrTooLong = errors.New("film is too long for its format, or for what it may take")
)

// An Open reads a recording's records from the first.
type Open func(ctx context.Context) iter.Seq2[slicefmt.Record, error]

// A stage is what records draw on: a terminal or a desktop.
type stage struct {
	term    *screen.Terminal
	desktop screen.Desktop
	dec     *cast.Decoder
	clock   time.Duration // since the first record
	origin  time.Time
	begun   bool
	drawn   bool // something was, ever
	isDesk  bool
	event   cast.Event               // what apply draws on a terminal
	message *events.DesktopRecording // and on a desktop
	render  *screen.Renderer
}

func newStage() *stage {
	return &stage{term: screen.NewTerminal(80, 24), dec: new(cast.Decoder)}
}

// The cases of OneOf that matter here.
const (
	caseStart        = 5
	caseWindowsStart = 59
	caseDesktop      = 69
	caseLinuxStart   = 254
)

// take draws what a record says.
func (s *stage) take(ctx context.Context, rec slicefmt.Record) error {
	if !s.prepare(rec) {
		return ctx.Err()
	}
	return s.apply(ctx)
}

// prepare moves the clock to a record's time, and says whether it draws anything:
// apply then does.
func (s *stage) prepare(rec slicefmt.Record) bool {
	if !s.begun {
		s.begun, s.origin = true, rec.Time()
	}
	switch rec.Case {
	case caseWindowsStart, caseLinuxStart, caseDesktop:
		s.isDesk = true
		s.clock = max(s.clock, rec.Time().Sub(s.origin))
		return rec.Case == caseDesktop && s.prepareDesktop(rec)
	}
	e, ok, err := s.dec.Decode(rec)
	if err != nil {
		return false // an event that nobody can read draws nothing
	}
	if rec.Case == caseStart {
		s.term.Resize(s.dec.Header().Width, s.dec.Header().Height)
	}
	if ok {
		s.clock, s.event = e.Time, e
	}
	return ok
}

func (s *stage) prepareDesktop(rec slicefmt.Record) bool {
	one, err := events.Unmarshal(rec.OneOf)
	s.message = one.GetDesktopRecording()
	return err == nil
}

// apply draws it. A record may take long to draw, and ctx ends that, too.
func (s *stage) apply(ctx context.Context) error {
	switch {
	case s.isDesk:
		if len(s.message.GetTdpbMessage()) > 0 {
			s.desktop.ApplyTDPB()
		}
		if len(s.message.GetMessage()) > 0 {
			_ = s.desktop.Apply(s.message.GetMessage()) // what cannot be drawn leaves the screen as it is
		}
		w, _ := s.desktop.Size()
		s.drawn = w > 0
	case s.event.Code == cast.Output:
		s.drawn = true
		return s.term.Draw(ctx, s.event.Data, math.MaxInt64)
	case s.event.Code == cast.Resize:
		if w, h, err := cast.ParseSize(string(s.event.Data), 'x'); err == nil {
			s.term.Resize(w, h)
		}
	}
	return ctx.Err()
}

// begin makes the stage what a keyframe shows.
func (s *stage) begin(k *Keyframe) error {
	if k == nil {
		return nil
	}
	s.drawn, s.begun, s.origin, s.clock = true, true, k.Zero, k.At
	if k.PNG != nil {
		s.isDesk = true
		return s.desktop.ApplyKeyframe(k.PNG)
	}
	s.term.Resize(k.Width, k.Height)
	_, _ = s.term.Write(k.Screen)
	s.dec = cast.DecoderAt(k.Clock, k.Width, k.Height)
	return nil
}

// size is that of the picture, in pixels.
func (s *stage) size() image.Point {
	if s.isDesk {
		w, h := s.desktop.Size()
		return image.Point{X: w, Y: h}
	}
	cols, rows := s.term.Size()
	return image.Point{X: cols * screen.CellWidth, Y: rows * screen.CellHeight}
}

// image is what the stage shows now; nil if that is nothing.
func (s *stage) image() (*image.RGBA, error) {
	if s.isDesk {
		return s.desktop.Image(), nil
	}
	if s.render == nil {
		var err error
		if s.render, err = screen.NewRenderer(); err != nil {
			return nil, fmt.Errorf("load the font: %w", err)
		}
	}
	return s.render.Render(s.term), nil
}

// A Keyframe is where a picture begins if there is an index: the screen as it was
// at a time since the first event.
type Keyframe struct {
	At            time.Duration
	Zero          time.Time // of the first event
	Width, Height int       // of a terminal
	Screen        []byte    // of a terminal
	PNG           []byte    // of a desktop
	Clock         cast.Clock
}
