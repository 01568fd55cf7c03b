package importer

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// waiting reads from what cannot be interrupted, such as standard input, and
// gives up when ctx is done. The read under way then ends with the process.
type waiting struct {
	ctx  context.Context
	r    io.Reader
	rest []byte
	err  error
}

type chunk struct {
	b   []byte
	err error
}

func newWaiting(ctx context.Context, r io.Reader) *waiting {
	return &waiting{ctx: ctx, r: r}
}

// Read reads on a goroutine of its own.
func (w *waiting) Read(b []byte) (int, error) {
	if len(w.rest) == 0 && w.err == nil {
		got := make(chan chunk, 1)
		go func() {
			buf := make([]byte, 64<<10)
			n, err := w.r.Read(buf)
			got <- chunk{buf[:n], err}
		}()
		select {
		case c := <-got:
			w.rest, w.err = c.b, c.err
		case <-w.ctx.Done():
			w.err = context.Cause(w.ctx)
		}
	}
	n := copy(b, w.rest)
	w.rest = w.rest[n:]
	if n == 0 {
		return 0, w.err
	}
	return n, nil
}

func (w *waiting) Close() error { return nil }

// A bar shows how far an import is, on a terminal and once it takes long.
type bar struct {
	bar   *progressbar.ProgressBar // nil for none
	start time.Time
}

// barAfter is how long something takes before it gets a bar.
const barAfter = 2 * time.Second

func newBar(w io.Writer, what string, size int64) *bar {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return &bar{}
	}
	return &bar{start: time.Now(), bar: progressbar.NewOptions64(size,
		progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what), progressbar.OptionShowBytes(true),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetRenderBlankState(false), progressbar.OptionSetVisibility(false))}
}

// reader counts what is read from r.
func (b *bar) reader(r io.Reader) io.Reader {
	if b.bar == nil {
		return r
	}
	return io.TeeReader(r, b)
}

// Write counts.
func (b *bar) Write(p []byte) (int, error) {
	if b.bar == nil {
		return len(p), nil
	}
	if time.Since(b.start) > barAfter {
		progressbar.OptionSetVisibility(true)(b.bar)
	}
	_ = b.bar.Add(len(p)) // a bar that cannot be drawn is no reason to stop
	return len(p), nil
}

// close takes the bar away.
func (b *bar) close() {
	if b.bar != nil {
		_ = b.bar.Finish()
		b.bar = nil
	}
}
