package play

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/cast"
)

func join(errs []error) error { return errors.Join(errs...) }

// A frame is one thing to show.
type frame struct {
	at            time.Duration
	when          time.Time // the event's own time
	data          []byte    // output; nil for a resize
	width, height int       // of a resize, or the size at the start
	err           error     // the recording ends with it
}

// A tape reads a recording ahead of what is shown, a little.
type tape struct {
	frames chan frame // closed at the end
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// readAhead is how many frames are decoded ahead. A frame is 60 KiB at most.
const readAhead = 64

// openTape reads with a decoder: a new one, or one that goes on in the middle.
func openTape(ctx context.Context, open Open, d *cast.Decoder) *tape {
	ctx, cancel := context.WithCancel(ctx)
	t := &tape{frames: make(chan frame, readAhead), cancel: cancel}
	t.done.Go(func() {
		defer close(t.frames)
		t.read(ctx, open, d)
	})
	return t
}

// close stops reading and waits until it has stopped.
func (t *tape) close() {
	t.cancel()
	t.done.Wait()
}

func (t *tape) read(ctx context.Context, open Open, d *cast.Decoder) {
	first := !d.Clock().Begun
	for rec, err := range open(ctx) {
		f := frame{err: err}
		if err == nil {
			var e cast.Event
			var ok bool
			e, ok, f.err = d.Decode(rec)
			if f.err == nil && !ok && !first {
				continue
			}
			f.at, f.when = e.Time, rec.Time()
			f.fill(e)
			if first && !ok {
				h := d.Header()
				f.width, f.height = h.Width, h.Height
			}
			first = false
		}
		if !t.send(ctx, f) || f.err != nil {
			return
		}
	}
}

func (t *tape) send(ctx context.Context, f frame) bool {
	select {
	case t.frames <- f:
		return true
	case <-ctx.Done():
		return false
	}
}

func (f *frame) fill(e cast.Event) {
	switch e.Code {
	case cast.Output:
		f.data = e.Data
	case cast.Resize:
		f.width, f.height, _ = cast.ParseSize(string(e.Data), 'x') // the Decoder wrote it
	}
}
