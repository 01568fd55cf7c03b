package video

import (
	"bytes"
	"context"
	"image"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
	"github.com/tapedeck-io/tapedeck/pkg/tdp"
)

// filming turns what happens into frames at a fixed rate.
type filming struct {
	o     Options
	out   sink
	stage *stage

	shown   *image.RGBA // the frame before
	next    *image.RGBA
	started bool
	cut     time.Duration // taken out of pauses so far
	last    time.Duration // when the newest record was drawn, cuts included
	written int64         // frames so far
}

// take shows what is on the stage for as long as it was there, and then draws the
// record. Several records within the time of one frame are one frame.
func (f *filming) take(ctx context.Context, rec slicefmt.Record) error {
	before := f.stage.clock
	if !f.stage.prepare(rec) {
		return ctx.Err()
	}
	if pause := f.stage.clock - before; f.o.MaxIdle > 0 && pause > f.o.MaxIdle {
		f.cut += pause - f.o.MaxIdle
	}
	at := f.stage.clock - f.cut
	due := int64(at * time.Duration(f.o.Rate) / time.Second)
	if !f.stage.drawn {
		f.written = due // the film begins with the first thing that is drawn
	}
	if due > f.written {
		if err := f.show(due - f.written); err != nil {
			return err
		}
	}
	f.last = at
	return f.stage.apply(ctx)
}

// show shows what is on the stage for n frames.
func (f *filming) show(n int64) error {
	img, err := f.stage.image()
	if err != nil || img == nil {
		return err
	}
	if f.next == nil {
		f.next = image.NewRGBA(f.shown.Rect)
	}
	blit(f.next, img)
	changed := f.next.Rect
	if f.started {
		changed = difference(f.shown, f.next)
	}
	f.started = true
	f.shown, f.next = f.next, f.shown
	f.written += n
	return f.out.frame(f.shown, changed, n)
}

// finish shows the last frame.
func (f *filming) finish() error {
	due := int64(f.last*time.Duration(f.o.Rate)/time.Second) + 1
	return f.show(max(due-f.written, 1))
}

// difference is the least rectangle outside of which two pictures are the same.
func difference(a, b *image.RGBA) image.Rectangle {
	var d image.Rectangle
	w := 4 * a.Rect.Dx()
	for y := range a.Rect.Dy() {
		ra, rb := a.Pix[y*a.Stride:][:w], b.Pix[y*b.Stride:][:w]
		if bytes.Equal(ra, rb) {
			continue
		}
		from, to := 0, w
		for ra[from] == rb[from] {
			from++
		}
		for ra[to-1] == rb[to-1] {
			to--
		}
		d = d.Union(image.Rect(from/4, y, (to+3)/4, y+1))
	}
	return d
}

// sizes learns from a record what size the picture has, and says whether it may
// have changed. It draws no more than it must.
func (s *stage) sizes(ctx context.Context, rec slicefmt.Record) (changed bool, err error) {
	if !s.prepare(rec) {
		return false, ctx.Err()
	}
	if !s.isDesk {
		if s.event.Code == cast.Resize {
			err = s.apply(ctx)
		}
		known := s.drawn
		s.drawn = true
		return !known || s.event.Code == cast.Resize, err
	}
	m, err := tdp.Parse(s.message.GetMessage())
	if err == nil && s.drawn && m.Type() != tdp.TypeScreenSize && m.Type() != tdp.TypeActivated {
		return false, ctx.Err()
	}
	err = s.apply(ctx)
	return s.drawn, err
}
