package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"github.com/tapedeck-io/tapedeck/loadtest/internal/load"
	"github.com/tapedeck-io/tapedeck/loadtest/internal/report"
)

// A screen is one line that is written again and again, on a terminal only.
type screen struct {
	mu    sync.Mutex
	w     io.Writer // nil: nobody looks
	drawn time.Time
}

func newScreen(w io.Writer) *screen {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &screen{w: f}
	}
	return &screen{}
}

func (s *screen) line(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.w == nil || time.Since(s.drawn) < 100*time.Millisecond {
		return
	}
	s.drawn = time.Now()
	fmt.Fprintf(s.w, "\r\x1b[K"+format, args...)
}

// clear takes the line away.
func (s *screen) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.w != nil && !s.drawn.IsZero() {
		fmt.Fprint(s.w, "\r\x1b[K")
	}
}

func (s *screen) progress(c *command, x report.Sample, p load.Progress) {
	what := "publishing"
	if x.Stopped {
		what = fmt.Sprintf("finishing %d of %d", p.Finished, p.Ended)
	} else if c.Duration > 0 {
		what = fmt.Sprintf("publishing %.0f of %.0f s", x.T, c.Duration.Seconds())
	}
	s.line("%s  %d open  %.0f events/s  %.1f MiB/s  ack p99 %.1f ms  lag %d", what, x.Open, x.Rate, x.Bytes/(1<<20), x.Ack99, x.Lag)
}

// count is a function that counts up to total on the line.
func (s *screen) count(what string, total int) func() {
	var n atomic.Int64
	return func() { s.line("%s %d of %d", what, n.Add(1), total) }
}
