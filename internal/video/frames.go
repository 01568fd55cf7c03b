package video

import (
	"context"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"io"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/screen"
)

// PNG writes a picture of the screen as it was at a time. Records come from open,
// behind the keyframe if there is one. Its error wraps [ErrNothing] if nothing was
// drawn by then.
func PNG(ctx context.Context, w io.Writer, open Open, from *Keyframe, at time.Duration) error {
	s := newStage()
	if err := s.begin(from); err != nil {
		return err
	}
	for rec, err := range open(ctx) {
		if err != nil {
			return err
		}
		if s.begun && !rec.Time().IsZero() && rec.Time().Sub(s.origin) > at {
			break
		}
		if err := s.take(ctx, rec); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !s.drawn {
		return fmt.Errorf("picture at %v: %w", at, ErrNothing)
	}
	img, err := s.image()
	if err != nil {
		return err
	}
	return png.Encode(w, img)
}

// Options say how a film is made.
type Options struct {
	// Rate is frames a second, 1 to 60.
	Rate int
	// MaxIdle shortens every pause to this; 0 keeps them.
	MaxIdle time.Duration
	// MaxBytes is what the film may take; 0 for no limit. A film that would take
	// noticeably more fails with [ErrTooLong].
	MaxBytes int64
}

// A sink takes the frames of a film. An image is the caller's again afterwards.
type sink interface {
	// begin says the size of the film, which every frame has.
	begin(size image.Point) error
	// frame shows img for n frames. changed is what differs from the frame before.
	frame(img *image.RGBA, changed image.Rectangle, n int64) error
	// end completes the film.
	end() error
}

// maxSide bounds a film: encoders take no more.
const maxSide = 8192

// film shows a recording to a sink: the size first, which takes a reading of its
// own, and then each frame that differs from the one before.
func film(ctx context.Context, open Open, o Options, out sink) error {
	size, err := largest(ctx, open)
	if err != nil {
		return err
	}
	if err := out.begin(size); err != nil {
		return err
	}
	f := &filming{o: o, out: out, stage: newStage(), shown: image.NewRGBA(image.Rectangle{Max: size})}
	for rec, err := range open(ctx) {
		if err == nil {
			err = f.take(ctx, rec)
		}
		if err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := f.finish(); err != nil {
		return err
	}
	return out.end()
}

// largest is the size that holds all sizes of the recording, with even sides.
func largest(ctx context.Context, open Open) (image.Point, error) {
	s, size := newStage(), image.Point{}
	for rec, err := range open(ctx) {
		if err != nil {
			return size, err
		}
		changed, err := s.sizes(ctx, rec)
		if err != nil {
			return size, err
		}
		if changed {
			p := s.size()
			size = image.Point{X: max(size.X, p.X), Y: max(size.Y, p.Y)}
		}
	}
	if err := ctx.Err(); err != nil {
		return size, err
	}
	if size.X == 0 {
		return size, ErrNothing
	}
	size.X = min(size.X+size.X%2, maxSide)
	size.Y = min(size.Y+size.Y%2, maxSide, screen.MaxPixels/size.X&^1)
	return size, nil
}

// blit is img on a canvas, at the upper left corner, and black around it.
func blit(canvas, img *image.RGBA) {
	draw.Draw(canvas, canvas.Rect, image.Black, image.Point{}, draw.Src)
	draw.Draw(canvas, img.Rect, img, image.Point{}, draw.Src)
}
