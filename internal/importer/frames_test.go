package importer

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/screen"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// folder writes pictures under names, and returns where.
func folder(t *testing.T, pictures map[string]image.Image) string {
	t.Helper()
	dir := t.TempDir()
	for name, img := range pictures {
		var out bytes.Buffer
		if err := png.Encode(&out, img); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// scene is a picture with a square in it.
func scene(width, height int, square image.Rectangle) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.Draw(img, img.Rect, image.NewUniform(color.RGBA{R: 10, G: 20, B: 30, A: 255}), image.Point{}, draw.Src)
	draw.Draw(img, square, image.White, image.Point{}, draw.Src)
	return img
}

func TestAFolderOfPicturesIsADesktopSession(t *testing.T) {
	s := newSite(t)
	scenes := map[int64]*image.RGBA{
		0: scene(200, 130, image.Rect(0, 0, 10, 10)), 500: scene(200, 130, image.Rect(70, 70, 80, 80)), 900: scene(200, 130, image.Rect(70, 70, 80, 80)),
		1500: scene(120, 140, image.Rect(5, 5, 9, 9)),
	}
	for _, unix := range []int64{0, 1_700_000_000_000} {
		files := map[string]image.Image{}
		for ms, img := range scenes {
			files[fmt.Sprintf("Screen 2-%d.PNG", ms+unix)] = img
		}
		dir := folder(t, files)
		if err := os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		sids, said, err := s.run(t.Context(), nil, "--user", "ann", "--host", "pc-9", "--start", "2026-05-04T12:00:00Z", dir)
		if err != nil || len(sids) != 1 || !strings.Contains(said, "left out 1 other files") {
			t.Fatalf("%v, %q, %v", sids, said, err)
		}
		start := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
		if unix > 0 {
			start = time.UnixMilli(unix)
		}
		checkDesktop(t, s.session(sids[0]), scenes, start)
	}
}

// checkDesktop composes a recording and holds it against the scenes at their times.
func checkDesktop(t *testing.T, recording []byte, scenes map[int64]*image.RGBA, start time.Time) {
	t.Helper()
	var d screen.Desktop
	var last events.Event
	frames, sizes, seen := 0, 0, map[int64]bool{}
	check := func(ms int64) {
		want, ok := scenes[ms]
		if w, h := d.Size(); ok && (w != want.Rect.Dx() || h != want.Rect.Dy() || !bytes.Equal(d.Image().Pix, want.Pix)) {
			t.Errorf("at %d ms the desktop of %dx%d is another picture", ms, w, h)
		}
		seen[ms] = seen[ms] || ok
	}
	before := int64(-1)
	for rec, err := range records(recording) {
		if err != nil {
			t.Fatal(err)
		}
		last = unwrapped(t, rec)
		e, ok := last.(*events.DesktopRecording)
		if !ok {
			continue
		}
		if got := rec.Time().Sub(start).Milliseconds(); got != e.DelayMilliseconds {
			t.Errorf("an event %d ms after the start has a delay of %d", got, e.DelayMilliseconds)
		}
		if e.DelayMilliseconds != before && before >= 0 {
			check(before)
		}
		before = e.DelayMilliseconds
		if err := d.Apply(e.Message); err != nil {
			t.Fatal(err)
		}
		if e.Message[0] == 1 {
			sizes++
		} else {
			frames++
		}
	}
	check(before)
	// 4x3 tiles, two that changed, none, and 2x3 of the new size.
	if frames != 12+2+6 || sizes != 2 || len(seen) != 3 { // the scene that is the same has no events
		t.Errorf("%d tiles and %d sizes, scenes %v", frames, sizes, seen)
	}
	if end, ok := last.(*events.LinuxDesktopSessionEnd); !ok || end.User.User != "ann" || end.DesktopName != "pc-9" {
		t.Errorf("it ends with %v", last)
	}
}

func unwrapped(t *testing.T, rec slicefmt.Record) events.Event {
	t.Helper()
	one, err := events.Unmarshal(rec.OneOf)
	if err != nil {
		t.Fatal(err)
	}
	e, err := events.Unwrap(one)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestABadFolderNamesThePicture(t *testing.T) {
	s := newSite(t)
	good := scene(70, 10, image.Rect(0, 0, 2, 2))
	broken := folder(t, map[string]image.Image{"a-0.png": good, "a-2.png": good})
	if err := os.WriteFile(filepath.Join(broken, "a-1.png"), []byte("no picture"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ dir, want string }{
		{t.TempDir(), "no PNG file"},
		{folder(t, map[string]image.Image{"picture.png": good}), "picture.png: there is no time in its name"},
		{folder(t, map[string]image.Image{"1.png": good, "1700000000000.png": good}), "Unix milliseconds"},
		{folder(t, map[string]image.Image{"99999999999999999999.png": good}), "is no time"},
		{broken, "a-1.png"},
	} {
		sids, _, err := s.run(t.Context(), nil, tt.dir)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("error is %v, want %q in it", err, tt.want)
		}
		if tt.dir == broken { // what was good before it is a session
			n := 0
			for range records(s.session(sids[0])) {
				n++
			}
			if n != 1+1+2+1 {
				t.Errorf("%d events of the good picture", n)
			}
		}
	}
}
