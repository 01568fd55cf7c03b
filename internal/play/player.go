package play

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/cast"
)

// A Player plays one recording once.
type Player struct {
	Options
	Open Open
	Jump Jump // nil without an index
	Out  io.Writer
	// Screen says that Out is a terminal: it is cleared before (what was on it
	// is scrolled off, not erased) and put back after. Otherwise what is played
	// is written and nothing else.
	Screen        bool
	Width, Height int        // of that terminal; 0 if not known
	Keys          <-chan Key // nil without a keyboard
	Notes         io.Writer  // gets what is to be said, after the end; nil: nobody

	ctx    context.Context // of Run, for the tapes it opens
	filter Filter
	tape   *tape
	next   *frame // read and not yet due
	burst  *burst // while seeking
	target time.Duration
	live   bool // what comes is shown as it comes
	paused bool
	steps  int
	pos    time.Duration // the position at ref
	ref    time.Time
	opened time.Time
	width  int // the largest size of the recording so far
	height int
	out    []byte
}

const (
	// quiet is how long nothing comes from a session that is followed before
	// what has come so far is taken to be all.
	quiet = 300 * time.Millisecond
	// lateness is how far behind its time a frame may be shown before the clock
	// is set back to it, so that a source that was slow is not made up for by
	// showing what follows in a rush.
	lateness = 100 * time.Millisecond
	// forever is a target that is never reached.
	forever = time.Duration(1<<63 - 1)
)

// Run plays to the end of the recording, until the viewer quits (nil), or until
// ctx is done (its error). A recording that ends with an error is played up to
// there and the error returned.
func (p *Player) Run(ctx context.Context) error {
	if err := p.Validate(); err != nil {
		return err
	}
	p.ctx, p.opened = ctx, time.Now()
	p.anchor(0)
	err := p.begin()
	defer func() {
		if p.tape != nil {
			p.tape.close()
		}
	}()
	quit := false
	for err == nil && !quit {
		quit, err = p.turn(ctx)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if end := p.end(quit); err == nil {
		err = end
	}
	return err
}

// begin clears the screen and goes to where playing begins.
func (p *Player) begin() error {
	if p.Screen {
		if _, err := io.WriteString(p.Out, "\x1b[999;1H"+strings.Repeat("\n", p.Height)+clearScreen); err != nil {
			return fmt.Errorf("write to terminal: %w", err)
		}
	}
	if p.At > 0 {
		p.startFor(p.At)
		return nil
	}
	p.tape = openTape(p.ctx, p.Open, new(cast.Decoder))
	if p.Follow {
		p.seek(forever)
	}
	return nil
}

// startFor begins to read where the way to the target is shortest, and seeks it.
func (p *Player) startFor(target time.Duration) {
	var s *Start
	if p.Jump != nil {
		s = p.Jump(p.ctx, target)
	}
	if s == nil {
		p.tape = openTape(p.ctx, p.Open, new(cast.Decoder))
		p.seek(target)
		return
	}
	p.tape = openTape(p.ctx, s.Open, s.Decoder)
	p.width, p.height = max(p.width, s.Width), max(p.height, s.Height)
	p.seek(target)
	p.anchor(s.At)
	p.burst.add(s.Screen) // filtered, also with Raw: it begins with a full reset, which is ours
}

// end shows what a seek still held and puts the terminal back.
func (p *Player) end(quit bool) error {
	err := p.land()
	if p.Screen {
		p.out = p.filter.term.appendRestore(p.out[:0])
		if p.Raw {
			p.out = append(p.out, rawRestore...)
		}
		if quit && p.filter.term.alt == "" {
			p.out = append(p.out, "\x1b[999;1H\r\n"...)
		}
		if werr := p.write(p.out); err == nil {
			err = werr
		}
	}
	if p.Notes != nil && p.Width > 0 && (p.width > p.Width || p.height > p.Height) {
		fmt.Fprintf(p.Notes, "The session's terminal was up to %dx%d, this one is %dx%d: lines may be broken or missing.\n",
			p.width, p.height, p.Width, p.Height)
	}
	return err
}

// rawRestore ends what the raw bytes may have begun: mouse, focus and paste
// reports, keyboard modes.
const rawRestore = "\x1b[?9l\x1b[?1000l\x1b[?1001l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l" +
	"\x1b[?2004l\x1b[?2031l\x1b[?2048l\x1b[?9001l\x1b[?1l\x1b>\x1b[>4m\x1b[<99u"

// turn waits for the one thing that comes first and does it. It returns io.EOF
// at the end of the recording, and true if the viewer quits.
func (p *Player) turn(ctx context.Context) (quit bool, err error) {
	if p.next != nil && p.due() <= 0 {
		return false, p.showNext()
	}
	frames := p.tape.frames
	var alarm <-chan time.Time
	switch {
	case p.next != nil:
		frames = nil
		if !p.paused {
			t := time.NewTimer(p.due())
			defer t.Stop()
			alarm = t.C
		}
	case p.burst != nil && p.Follow:
		t := time.NewTimer(quiet)
		defer t.Stop()
		alarm = t.C
	}
	select {
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case k, ok := <-p.Keys:
		if !ok {
			p.Keys = nil
			return false, nil
		}
		return k == KeyQuit, p.key(k)
	case f, ok := <-frames:
		if !ok {
			return false, io.EOF
		}
		return false, p.take(f)
	case <-alarm:
		if p.burst != nil { // followed up to now
			p.live, p.target = true, forever
			return false, p.land()
		}
		return false, nil
	}
}

// due is how long it is until the next frame is to be shown.
func (p *Player) due() time.Duration {
	if p.live || p.steps > 0 {
		return 0
	}
	if p.paused {
		return 1
	}
	return time.Duration(float64(p.next.at-p.position()) / p.Speed)
}

// take receives a frame from the tape.
func (p *Player) take(f frame) error {
	if f.err != nil {
		return f.err
	}
	p.width, p.height = max(p.width, f.width), max(p.height, f.height)
	if p.burst != nil {
		now := p.Follow && p.target == forever && !f.when.Before(p.opened)
		if f.at <= p.target && !now {
			p.pass(f)
			return nil
		}
		p.live = now
		if err := p.land(); err != nil {
			return err
		}
	}
	if f.data == nil {
		return nil
	}
	p.next = &f
	if p.MaxIdle > 0 && f.at-p.position() > p.MaxIdle {
		p.anchor(f.at - p.MaxIdle)
	}
	return nil
}

// showNext shows the frame whose time has come.
func (p *Player) showNext() error {
	f := p.next
	p.next = nil
	p.steps = max(p.steps-1, 0)
	if p.paused || p.live || p.position()-f.at > time.Duration(float64(lateness)*p.Speed) {
		p.anchor(f.at)
	}
	if p.Raw {
		p.filter.feed(f.data, func(token) {}) // what it sets is put back at the end
		return p.write(f.data)
	}
	p.out = p.filter.Append(p.out[:0], f.data)
	return p.write(p.out)
}

func (p *Player) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if _, err := p.Out.Write(b); err != nil {
		return fmt.Errorf("write to terminal: %w", err)
	}
	return nil
}

// position is where in the recording one is now.
func (p *Player) position() time.Duration {
	if p.paused {
		return p.pos
	}
	return p.pos + time.Duration(float64(time.Since(p.ref))*p.Speed)
}

// anchor says that the position is now pos.
func (p *Player) anchor(pos time.Duration) { p.pos, p.ref = pos, time.Now() }
