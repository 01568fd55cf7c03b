package screen_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/tapedeck-io/tapedeck/internal/screen"
	"github.com/tapedeck-io/tapedeck/pkg/tdp"
)

// What output costs shows in Work, whatever it does to cost it.
func TestCostlyOutputIsCountedAsWork(t *testing.T) {
	const cols, rows = 200, 100
	cells := int64(cols * rows)
	for name, tt := range map[string]struct {
		output string
		least  int64 // for each
	}{
		"erase display": {"\x1b[2J", cells}, "erase above": {"\x1b[99H\x1b[1J", cells * 9 / 10}, "erase below": {"\x1b[H\x1b[J", cells},
		"insert lines": {"\x1b[H\x1b[99L", cells * 9 / 10}, "delete lines": {"\x1b[H\x1b[99M", cells * 9 / 10}, "scroll up": {"\x1b[100S", cells},
		"scroll down": {"\x1b[100T", cells}, "reset": {"\x1bc", cells}, "alternate": {"\x1b[?47h\x1b[?47l", cells}, "align": {"\x1b#8", cells},
		"insert": {"\x1b[G\x1b[@", cols}, "delete": {"\x1b[G\x1b[P", cols}, "insert mode": {"\x1b[4h\rx", cols - 1}, "line feed": {"\n", cols},
		"erase line": {"\x1b[2K", cols}, "repeat": {"\rx\x1b[999b", cols - 1},
	} {
		term := screen.NewTerminal(cols, rows)
		term.OnLine = func(string) {}
		before := term.Work()
		write(t, term, strings.Repeat(tt.output, 50))
		if got := (term.Work() - before) / 50; got < tt.least {
			t.Errorf("%s: work of %d, of %d cells", name, got, tt.least)
		}
	}
	term := screen.NewTerminal(1, 1)
	before := term.Work()
	for range 10 {
		term.Resize(cols, rows)
		term.Resize(1, 1)
	}
	term.Resize(cols, rows)
	resized := term.Work() - before
	term.Text()
	term.Redraw()
	if read := term.Work() - before - resized; resized < 11*cells || read < 2*cells {
		t.Errorf("resizing is a work of %d, reading one of %d", resized, read)
	}
}

// A picture that turns out to be bad at its end was decoded to there.
func TestAPictureThatCannotBeDrawnIsWorkToo(t *testing.T) {
	var d screen.Desktop
	img := square(500, red)
	picture := pngOf(t, img)
	picture[len(picture)-1] ^= 1
	message := tdp.Frame{Rect: img.Bounds(), PNG: picture}.Append(nil)
	if err := d.Apply(message); !errors.Is(err, screen.ErrFrame) || d.Work() < 500*500 {
		t.Errorf("a work of %d: %v", d.Work(), err)
	}
}

func write(t *testing.T, term *screen.Terminal, output string) {
	t.Helper()
	if _, err := term.Write([]byte(output)); err != nil {
		t.Fatal(err)
	}
}

// Usual output costs a few cells a byte: what bounds work is never met by it.
func TestUsualOutputIsLittleWork(t *testing.T) {
	for _, fx := range loadFixtures(t) {
		term := screen.NewTerminal(fx.cols, fx.rows)
		term.OnLine = func(string) {}
		n := int64(0)
		for _, e := range fx.events {
			n += int64(len(e.Data))
			write(t, term, string(e.Data))
		}
		if term.Work() > 64*n+100*int64(fx.cols*fx.rows) {
			t.Errorf("%s: work of %d for %d bytes", fx.name, term.Work(), n)
		}
	}
}

func TestDrawIsWriteThatStops(t *testing.T) {
	for _, fx := range loadFixtures(t) {
		a, b := screen.NewTerminal(fx.cols, fx.rows), screen.NewTerminal(fx.cols, fx.rows)
		for _, e := range fx.events {
			write(t, a, string(e.Data))
			if err := b.Draw(t.Context(), e.Data, math.MaxInt64); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(a.Redraw(), b.Redraw()) || a.Work() != b.Work() {
			t.Errorf("%s: drawn it is not what it is written", fx.name)
		}
	}
	term := screen.NewTerminal(screen.MaxCols, screen.MaxRows)
	hostile := bytes.Repeat([]byte("\x1b[2J"), 16<<10)
	before := term.Work()
	if err := term.Draw(t.Context(), hostile, before+10_000_000); !errors.Is(err, screen.ErrWork) {
		t.Fatalf("with little work allowed: %v", err)
	}
	if spent := term.Work() - before; spent > 10_000_000+64*screen.MaxCols*screen.MaxRows {
		t.Errorf("stopped after a work of %d", spent)
	}
	// Within one record, too, a reader that has gone ends it.
	ctx, cancel := context.WithCancel(t.Context())
	lines := 0
	term.OnLine = func(string) {
		if lines++; lines == 10 {
			cancel()
		}
	}
	if err := term.Draw(ctx, bytes.Repeat([]byte("\n"), 64<<10), math.MaxInt64); !errors.Is(err, context.Canceled) || lines > 1000 {
		t.Errorf("after %d lines: %v", lines, err)
	}
}
