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

// A screen is one line that is written again and again on a terminal, and elsewhere a
// line now and then.
type screen struct {
	mu    sync.Mutex
	w     io.Writer
	tty   bool
	drawn time.Time
}

// How often the line is written.
const (
	drawEvery  = 100 * time.Millisecond
	printEvery = 10 * time.Second
)

func newScreen(w io.Writer) *screen {
	f, ok := w.(*os.File)
	return &screen{w: w, tty: ok && term.IsTerminal(int(f.Fd())), drawn: time.Now()}
}

func (s *screen) line(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	every, before, after := printEvery, "", "\n"
	if s.tty {
		every, before, after = drawEvery, "\r\x1b[K", ""
	}
	if time.Since(s.drawn) < every {
		return
	}
	s.drawn = time.Now()
	fmt.Fprintf(s.w, before+format+after, args...)
}

// clear takes the line away.
func (s *screen) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tty {
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
