package seekindex

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
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
	b := newBuilder(spool)
	if err := b.read(ctx, rec); err != nil {
		return fmt.Errorf("index %s: %w", rec.Name(), err)
	}
	m, _ := rec.Manifest()
	b.survey.finish(m)
	if err := b.writeTo(w, rec.Size()); err != nil {
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

func newBuilder(spool *os.File) *builder {
	b := &builder{survey: newSurvey(), spool: spool, out: bufio.NewWriterSize(spool, 256<<10), spacing: firstSpacing, every: firstEvery}
	b.term = screen.NewTerminal(80, 24)
	b.term.OnLine = func(line string) { b.script.add(b.survey.now, line) }
	return b
}

func (b *builder) read(ctx context.Context, rec *recording.Recording) error {
	for r, err := range rec.Records(ctx, recording.Range{}) {
		if err != nil {
			if damaged(err) && ctx.Err() == nil {
				b.survey.damage(err)
				break
			}
			return err
		}
		if err := b.take(r); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	b.readScreen()
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
func (b *builder) take(r slicefmt.Record) error {
	b.events++
	var one *events.OneOf // nil for a print, and for an event that nobody knows
	if r.Case != casePrint {
		if known, err := events.Unmarshal(r.OneOf); err == nil {
			one = known
		}
	}
	b.survey.take(r, one)
	if b.survey.Kind == "desktop" {
		b.takeDesktop(one)
	} else if err := b.takeTerminal(r); err != nil {
		return err
	}
	if !b.due(r.Part) {
		return nil
	}
	return b.picture(r)
}

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
	b.since += int64(len(d.GetMessage()) + len(d.GetTdpbMessage()))
	if w, h := b.desktop.Size(); w > 0 {
		b.survey.resized(w, h)
		b.shows = true
	}
	b.survey.Placeholder = b.desktop.Placeholder()
}

func (b *builder) takeTerminal(r slicefmt.Record) error {
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
		_, _ = b.term.Write(e.Data)
		b.since += int64(len(e.Data))
		b.shows = true
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

// due says whether there should be a picture behind the record that was taken.
func (b *builder) due(part int) bool {
	if !b.shows || b.since == 0 {
		return false
	}
	if len(b.dir) == 0 {
		return b.survey.Kind == "desktop" || b.term.Settled()
	}
	passed := b.survey.now - b.lastAt
	if b.survey.Kind == "desktop" {
		// Pictures are large: together they are a part of what the frames are.
		enough := max(desktopBytes, 4*b.lastSize)
		return b.since >= enough || passed >= b.every && b.since >= enough/4 || part != b.lastPart && b.since >= b.lastSize
	}
	return b.term.Settled() && (b.since >= b.spacing || passed >= b.every && b.since >= slowBytes || part != b.lastPart)
}

// picture puts one behind record r.
func (b *builder) picture(r slicefmt.Record) error {
	data, err := b.draw()
	if err != nil {
		return err
	}
	if len(data) > maxPicture { // a desktop of 8K that does not compress: the next try is as far off as any
		b.since = 0
		return nil
	}
	if _, err := b.out.Write(data); err != nil {
		return err
	}
	clock := b.dec.Clock()
	e := entry{offset: b.spooled, bytes: int64(len(data)), tms: b.survey.now, index: r.Index, last: clock.Last}
	e.cols, e.rows = b.size()
	if clock.Begun {
		e.lastAt = clock.LastAt.UnixNano()
	}
	b.dir = append(b.dir, e)
	b.spooled += e.bytes
	b.since, b.lastAt, b.lastPart, b.lastSize = 0, e.tms, r.Part, e.bytes
	if len(b.dir) == maxKeyframes {
		b.thin()
	}
	return nil
}

func (b *builder) draw() ([]byte, error) {
	if b.survey.Kind == "desktop" {
		return b.desktop.PNG()
	}
	return pack(b.term.Redraw()), nil
}

func (b *builder) size() (int, int) {
	if b.survey.Kind == "desktop" {
		return b.desktop.Size()
	}
	return b.term.Size()
}

// thin keeps every second picture, and makes them half as often from now on.
func (b *builder) thin() {
	kept := b.dir[:0]
	for i, e := range b.dir {
		if i%2 == 0 {
			kept = append(kept, e)
		}
	}
	b.dir = kept
	b.spacing *= 2
	b.every *= 2
}

// writeTo writes the index, the pictures that are left from the spool.
func (b *builder) writeTo(w io.Writer, recordingBytes int64) error {
	script := b.script.finish()
	s := summary{Timeline: b.survey.Timeline, Origin: b.survey.zero, TranscriptToMS: b.script.cutAt, LinesOmitted: b.script.omitted}
	if c := b.dec.Clock(); c.Begun {
		s.BaseNS, s.Printed = int64(c.Base), c.Printed
	}
	h := header{transcript: int64(len(script)), recording: recordingBytes, events: b.events}
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
