package seekindex

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/screen"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// Build reads a finished recording once and writes its index to w. The same
// recording gives the same bytes.
//
// A recording that is damaged gets an index of what is good before the damage,
// which says so. When the recording cannot be read for another reason, or ctx is
// done, Build fails and what was written is no index.
func Build(ctx context.Context, rec *recording.Recording, w io.Writer) error {
	spool, err := os.CreateTemp("", "tapedeck-index-*")
	if err != nil {
		return fmt.Errorf("index %s: %w", rec.Name(), err)
	}
	defer func() {
		_ = spool.Close()
		_ = os.Remove(spool.Name())
	}()
	return newBuilder(spool).build(ctx, rec, w)
}

func (b *builder) build(ctx context.Context, rec *recording.Recording, w io.Writer) error {
	if err := b.read(ctx, rec); err != nil {
		return fmt.Errorf("index %s: %w", rec.Name(), err)
	}
	m, _ := rec.Manifest()
	b.survey.finish(m)
	if err := b.writeTo(w, rec.Identity()); err != nil {
		return fmt.Errorf("index %s: write: %w", rec.Name(), err)
	}
	return nil
}

// A builder makes an index of records.
type builder struct {
	survey  *survey
	dec     cast.Decoder
	term    *screen.Terminal
	desktop screen.Desktop
	shows   bool // something was drawn
	script  transcript
	events  int64

	drawn   int64  // bytes given to the screen
	free    int64  // work that nothing need be drawn for
	blind   bool   // there was too much work: nothing is drawn any more
	damaged *int64 // the first index that could not be read

	spool   *os.File // pictures, those that were thinned out included
	out     *bufio.Writer
	spooled int64
	dir     []entry

	since    int64 // bytes drawn since the last picture
	lastAt   int64 // its time
	lastPart int
	lastSize int64 // bytes of it, packed
	spacing  int64 // bytes between two pictures of a terminal
	every    int64 // milliseconds between two
	sampled  int64 // when the alternate screen was last read for the transcript
}

// Between two pictures of a terminal there are this many bytes of output; when
// output is slow, less of it and a time.
const (
	firstSpacing = 256 << 10
	slowBytes    = 8 << 10
	firstEvery   = 5_000
	sampleEvery  = 2_000
	desktopBytes = 1 << 20 // at least, between two pictures of a desktop
)

// What drawing may cost, in cells and pixels (see [screen.Terminal.Work]): half a
// minute or so for nothing, and for every byte several times what usual output takes.
const (
	freeWork    = 1 << 32
	workPerByte = 64
)

func newBuilder(spool *os.File) *builder {
	b := &builder{survey: newSurvey(), spool: spool, out: bufio.NewWriterSize(spool, 256<<10), spacing: firstSpacing, every: firstEvery, free: freeWork}
	b.term = screen.NewTerminal(80, 24)
	b.term.OnLine = func(line string) { b.script.add(b.survey.now, line) }
	return b
}

func (b *builder) read(ctx context.Context, rec *recording.Recording) error {
	for r, err := range rec.Records(ctx, recording.Range{}) {
		if err != nil {
			if damaged(err) && ctx.Err() == nil {
				b.survey.damage(err)
				b.damaged = &b.survey.next
				break
			}
			return err
		}
		if err := b.take(ctx, r); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !b.blind {
		b.readScreen()
	}
	return b.out.Flush()
}

// damaged says whether it is the recording that is at fault, and not what it is
// read from.
func damaged(err error) bool {
	for _, at := range []error{slicefmt.ErrTruncated, slicefmt.ErrCorrupt, slicefmt.ErrVersion, slicefmt.ErrEncrypted} {
		if errors.Is(err, at) {
			return true
		}
	}
	return false
}

// take learns from one record, and makes a picture behind it if one is due.
func (b *builder) take(ctx context.Context, r slicefmt.Record) error {
	if err := ctx.Err(); err != nil { // a few bytes of a part may be many records
		return err
	}
	b.events++
	var one *events.OneOf // nil for a print, and for an event that nobody knows
	if r.Case != casePrint {
		if known, err := events.Unmarshal(r.OneOf); err == nil {
			one = known
		}
	}
	b.survey.take(r, one)
	if b.blind {
		b.survey.desktopSize(one.GetDesktopRecording().GetMessage())
		return nil
	}
	if b.survey.Kind == "desktop" {
		b.takeDesktop(one)
	} else if err := b.takeTerminal(ctx, r); err != nil {
		return err
	}
	if b.blind = b.work() > b.budget(); b.blind {
		b.survey.problem("undrawn", "What the session shows takes more work to draw than its length allows. From here on there are no pictures to jump to.")
		if b.script.cutAt == 0 {
			b.script.cutAt = max(b.survey.now, 1)
		}
		return nil
	}
	if !b.due(r.Part) {
		return nil
	}
	return b.picture(r)
}

func (b *builder) work() int64 { return b.term.Work() + b.desktop.Work() }

func (b *builder) budget() int64 { return b.free + workPerByte*b.drawn }

func (b *builder) takeDesktop(one *events.OneOf) {
	d := one.GetDesktopRecording()
	if d == nil {
		return
	}
	switch {
	case len(d.GetMessage()) > 0:
		// A message that cannot be read draws nothing here, as in a viewer.
		_ = b.desktop.Apply(d.GetMessage())
	case len(d.GetTdpbMessage()) > 0:
		b.desktop.ApplyTDPB()
	}
	b.drew(len(d.GetMessage()) + len(d.GetTdpbMessage()))
	if w, h := b.desktop.Size(); w > 0 {
		b.survey.resized(w, h)
		b.shows = true
	}
	b.survey.Placeholder = b.desktop.Placeholder()
}

func (b *builder) drew(n int) { b.since, b.drawn = b.since+int64(n), b.drawn+int64(n) }

func (b *builder) takeTerminal(ctx context.Context, r slicefmt.Record) error {
	e, ok, err := b.dec.Decode(r)
	if err != nil && !errors.Is(err, cast.ErrDesktop) {
		return nil // as above
	}
	if r.Case == caseStart {
		b.term.Resize(b.dec.Header().Width, b.dec.Header().Height)
	}
	if !ok {
		return nil
	}
	switch e.Code {
	case cast.Output:
		b.drew(len(e.Data))
		b.shows = true
		// What is too much work take sees, and draws nothing any more.
		if err := b.term.Draw(ctx, e.Data, b.budget()-b.desktop.Work()); err != nil && !errors.Is(err, screen.ErrWork) {
			return err
		}
	case cast.Resize:
		if w, h, err := cast.ParseSize(string(e.Data), 'x'); err == nil {
			b.term.Resize(w, h)
			b.since += slowBytes // whoever jumps behind it needs its size
		}
	}
	if b.survey.now-b.sampled >= sampleEvery && b.term.Alternate() {
		b.sampled = b.survey.now
		b.readScreen()
	}
	return nil
}

// readScreen adds what stands on the screen, and was not there before, to the
// transcript: programs that draw whole screens leave no lines behind.
func (b *builder) readScreen() {
	if b.survey.Kind == "desktop" {
		return
	}
	for _, line := range b.term.Text() {
		b.script.addNew(b.survey.now, line)
	}
}

// writeTo writes the index, the pictures that are left from the spool.
func (b *builder) writeTo(w io.Writer, of recording.Identity) error {
	script := b.script.finish()
	s := summary{Timeline: b.survey.Timeline, Origin: b.survey.zero, TranscriptToMS: b.script.cutAt, LinesOmitted: b.script.omitted, DamagedAt: b.damaged}
	if c := b.dec.Clock(); c.Begun {
		s.BaseNS, s.Printed = int64(c.Base), c.Printed
	}
	h := header{transcript: int64(len(script)), recording: of, events: b.events, transcriptCRC: crc32.ChecksumIEEE(script)}
	// A recording may say what it is of more than once, and a reader goes by the last.
	b.dir = slices.DeleteFunc(b.dir, func(e entry) bool { return e.desktop != (b.survey.Kind == "desktop") })
	dir := make([]entry, len(b.dir))
	for i, e := range b.dir {
		dir[i] = e
		dir[i].offset = h.pictures
		h.pictures += e.bytes
	}
	front, err := encodeFront(h, s, dir)
	if err != nil {
		return err
	}
	if _, err := w.Write(front); err != nil {
		return err
	}
	for _, e := range b.dir {
		if _, err := io.Copy(w, io.NewSectionReader(b.spool, e.offset, e.bytes)); err != nil {
			return err
		}
	}
	_, err = w.Write(script)
	return err
}

// unixNano is the time that an entry has.
func unixNano(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
