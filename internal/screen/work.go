package screen

import (
	"context"
	"errors"
)

// ErrWork is output that takes more work to draw than there is to be.
var ErrWork = errors.New("output takes too much work to draw")

// piece is how many bytes are drawn between two looks at what they cost. Three bytes
// can touch every cell of the largest screen, so a piece of them may take a tenth of a
// second.
const piece = 64

// Work is how much drawing there was besides laying down what was written: cells that
// were erased, moved, laid out anew or read. It depends on the output alone and not
// on the machine, so that who stops at a number of it always stops at the same byte.
//
// Output chooses what it costs: the 4 bytes that clear a screen touch [MaxCols] by
// [MaxRows] cells, so a recording of a few megabytes can take days to draw.
func (t *Terminal) Work() int64 { return t.work }

// Draw is Write for output that nobody vouches for: it returns [ErrWork] as soon as
// Work is more than most, and ctx's error as soon as ctx is done, having drawn some
// of b.
func (t *Terminal) Draw(ctx context.Context, b []byte, most int64) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if t.work > most {
			return ErrWork
		}
		if len(b) == 0 {
			return nil
		}
		n := min(len(b), piece)
		_, _ = t.Write(b[:n])
		b = b[n:]
	}
}
