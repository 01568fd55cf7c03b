package play

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/internal/screen"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// castRecords are the records of a fixture, and the size of its terminal.
func castRecords(t *testing.T, name string) (recs []slicefmt.Record, width, height int) {
	t.Helper()
	f, err := os.Open(filepath.Join("../cast/testdata", name+".cast"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := cast.NewReader(bufio.NewReader(f))
	if err != nil {
		t.Fatal(err)
	}
	var all []cast.Event
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			h := r.Header()
			return session(t, h.Width, h.Height, all...), h.Width, h.Height
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Code == cast.Output || e.Code == cast.Resize {
			e.Time = e.Time.Round(time.Millisecond)
			all = append(all, e)
		}
	}
}

// pictureAt is a Jump to the newest moment at or before half of a time.
func pictureAt(t *testing.T, recs []slicefmt.Record, width, height int, jumps *int) Jump {
	return func(_ context.Context, at time.Duration) *Start {
		*jumps++
		term, dec := screen.NewTerminal(width, height), new(cast.Decoder)
		var s *Start
		for i, rec := range recs {
			e, ok, err := dec.Decode(rec)
			if err != nil {
				t.Fatal(err)
			}
			if ok && e.Time > at/2 {
				break
			}
			switch {
			case ok && e.Code == cast.Output:
				_, _ = term.Write(e.Data)
			case ok && e.Code == cast.Resize:
				w, h, _ := cast.ParseSize(string(e.Data), 'x')
				term.Resize(w, h)
			}
			if ok && term.Settled() {
				w, h := term.Size()
				s = &Start{At: e.Time, Screen: term.Redraw(), Width: w, Height: h, Decoder: cast.DecoderAt(dec.Clock(), w, h), Open: from(recs[i+1:], nil)}
			}
		}
		return s
	}
}

// With an index the screen after a seek is what it is without, and what was before
// the picture is not read.
func TestAJumpShowsWhatPlayingFromTheStartShows(t *testing.T) {
	for _, name := range []string{"flood", "htop", "shell-colours", "vim-unicode-resize"} {
		recs, width, height := castRecords(t, name)
		whole := recs[len(recs)-1].Time().Sub(recs[0].Time())
		for _, part := range []time.Duration{2, 3, 5} {
			at, jumps := whole*part/6, 0
			shown := func(p *Player) []byte {
				got, err := playFor(t, p, nil)
				if err != nil {
					t.Fatal(err)
				}
				term := screen.NewTerminal(width, height)
				_, burst, found := strings.Cut(got[0], "\x1b[?2026h") // what a seek writes, behind its time
				if !found {
					t.Fatalf("%q is no seek", got[0])
				}
				_, _ = term.Write([]byte(burst))
				return term.Redraw()
			}
			p := &Player{Options: Options{At: at}, Jump: pictureAt(t, recs, width, height, &jumps), Open: func(context.Context) iter.Seq2[slicefmt.Record, error] {
				t.Fatal("the recording was read from its start")
				return nil
			}}
			want := shown(&Player{Options: Options{At: at}, Open: from(recs, nil)})
			if got := shown(p); !bytes.Equal(got, want) {
				t.Errorf("%s at %v: the screen is\n%q\nnot\n%q", name, at, got, want)
			}
			if jumps != 1 {
				t.Errorf("%s: %d jumps", name, jumps)
			}
		}
	}
}

func TestGoingBackJumpsToo(t *testing.T) {
	recs, jumps := steady(t), 0
	p := &Player{Open: from(recs, nil), Jump: pictureAt(t, recs, 80, 24, &jumps)}
	got, err := playFor(t, p, func(key func(Key)) {
		time.Sleep(8500 * time.Millisecond)
		key(KeyBack) // to 3.5 s, by way of the picture at 1.75 s
	})
	all := strings.Join(got, "")
	if err != nil || jumps != 1 || !strings.HasSuffix(all, "j") || strings.Count(all, "e") != 2 {
		t.Errorf("%d jumps, played %q, %v", jumps, all, err)
	}
}
