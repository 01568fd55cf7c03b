package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Sequences of the terminal: another screen without a cursor, and back.
const (
	enter   = "\x1b[?1049h\x1b[?25l\x1b[?7l"
	leave   = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	home    = "\x1b[H"
	toEnd   = "\x1b[K"
	below   = "\x1b[J"
	bold    = "\x1b[1m"
	red     = "\x1b[31m"
	regular = "\x1b[0m"
)

// Live shows snapshots on a terminal, one each period, until ctx is done or q, Escape
// or Ctrl-C is typed. The terminal is put back as it was, whatever happens.
func Live(ctx context.Context, c *Collector, in, out *os.File, every time.Duration) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if term.IsTerminal(int(in.Fd())) {
		before, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return fmt.Errorf("prepare the terminal: %w", err)
		}
		defer func() { _ = term.Restore(int(in.Fd()), before) }()
	}
	if _, err := io.WriteString(out, enter); err != nil {
		return err
	}
	defer func() { _, _ = io.WriteString(out, leave) }()

	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	defer signal.Stop(resized)
	shots := make(chan *Snapshot)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { keys(ctx, in, stop) })
	wg.Go(func() { collect(ctx, c, shots, every) })
	lines := []string{"tapedeck top: asking ..."}
	for {
		width, height, err := term.GetSize(int(out.Fd()))
		if err != nil {
			width, height = 80, 24
		}
		if _, err := io.WriteString(out, Frame(lines, width, height)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-resized:
		case s := <-shots:
			lines = s.Lines()
		}
	}
}

func collect(ctx context.Context, c *Collector, shots chan<- *Snapshot, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		s, err := c.Collect(ctx)
		if err != nil {
			return
		}
		select {
		case shots <- s:
		case <-ctx.Done():
			return
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// keys calls stop when somebody wants to go. It looks ten times a second whether it
// is to end: a read cannot be called off.
func keys(ctx context.Context, in *os.File, stop func()) {
	fds := []unix.PollFd{{Fd: int32(in.Fd()), Events: unix.POLLIN}}
	for buf := make([]byte, 16); ctx.Err() == nil; {
		n, err := unix.Poll(fds, 100)
		if errors.Is(err, unix.EINTR) || err == nil && n == 0 {
			continue
		}
		if err != nil {
			return
		}
		k, err := in.Read(buf)
		if err != nil {
			return // it goes on without keys
		}
		const ctrlC, escape = 3, 27
		if strings.ContainsAny(string(buf[:k]), "qQ\x03") || k == 1 && (buf[0] == ctrlC || buf[0] == escape) {
			stop()
			return
		}
	}
}

// Frame draws lines on a screen of that size, from its upper left corner. What does
// not fit is cut off, and the last line says so.
func Frame(lines []string, width, height int) string {
	width, height = max(width, 1), max(height, 1)
	var b strings.Builder
	b.WriteString(home)
	shown := lines
	if len(lines) > height {
		shown = append(append([]string(nil), lines[:height-1]...), fmt.Sprintf("… %d lines more: make the window higher, or use --json", len(lines)-height+1))
	}
	for i, line := range shown {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(style(line) + ansi.Truncate(line, width, "…") + regular + toEnd)
	}
	b.WriteString(below)
	return b.String()
}

// style marks headings and problems.
func style(line string) string {
	switch {
	case strings.HasPrefix(line, "! "):
		return red
	case strings.HasPrefix(line, "PARTITION "), strings.HasPrefix(line, "STREAM "), strings.HasPrefix(line, "SERVICE "), strings.HasPrefix(line, "tapedeck top"):
		return bold
	}
	return ""
}
