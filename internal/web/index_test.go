package web_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/screen"
	"github.com/tapedeck-io/tapedeck/internal/seekindex"
)

type shot struct {
	TMS        int64 `json:"t_ms"`
	Index      int64
	Cols, Rows int
	Data, PNG  string
}

// With its index, a jump into a long recording reads the manifest, the index and
// the parts that the moment is in, and gives the screen that a replay from the
// start gives.
func TestAJumpReadsTheIndexAndTwoPartsAtMost(t *testing.T) {
	s := newSite(t)
	sc := terminal(t, "joe", "db-1")
	for i := range 120 {
		sc.wait(30 * time.Second).print(fmt.Sprintf("\x1b[%dm%d %s\x1b[0m\r\n", 31+i%6, i, noise(30_000, uint64(i))))
	}
	m := s.put("long", 300<<10, sc.records)
	s.sync()
	wantError(t, s.get("/sessions/long/screen?at_ms=3000000"), http.StatusNotFound, "no_keyframe")
	rec, err := s.lib.Open(t.Context(), "long")
	must(t, err)
	_, err = seekindex.Make(t.Context(), rec, s.store, "long")
	must(t, err)

	var tl seekindex.Timeline
	s.want("/sessions/long/timeline", &tl)
	if !tl.Indexed || len(tl.Keyframes) < 10 {
		t.Errorf("timeline has %d keyframes, indexed: %t", len(tl.Keyframes), tl.Indexed)
	}
	s.stop()
	s.serve() // which has nothing open
	const at = 55 * 60_000
	s.count.reset()
	var got shot
	s.want(fmt.Sprintf("/sessions/long/screen?at_ms=%d", at), &got)
	rest := s.want(fmt.Sprintf("/sessions/long/output?from_index=%d&to_ms=%d", got.Index+1, at+1), nil)
	parts, index := map[int64]bool{}, 0
	for _, r := range s.count.all() {
		if strings.HasSuffix(r.key, ".index") {
			index++
		} else {
			parts[r.off] = true
		}
	}
	if index > 2 || len(parts) > 2 || parts[0] || len(m.Parts) < 8 {
		t.Errorf("%d reads of the index, parts at %v of %d", index, parts, len(m.Parts))
	}
	jumped, replayed := screen.NewTerminal(got.Cols, got.Rows), screen.NewTerminal(80, 24)
	write(t, jumped, got.Data+outputOf(t, rest))
	write(t, replayed, outputOf(t, s.want(fmt.Sprintf("/sessions/long/output?to_ms=%d", at+1), nil)))
	if a, b := strings.Join(jumped.Text(), "\n"), strings.Join(replayed.Text(), "\n"); a != b {
		t.Errorf("screen after the jump\n%s\nis not the one of a replay\n%s", a, b)
	}
}

func write(t testing.TB, term *screen.Terminal, data string) {
	t.Helper()
	_, err := term.Write([]byte(data))
	must(t, err)
}

func TestADesktopsScreenIsAPicture(t *testing.T) {
	s := newSite(t)
	png, err := base64.StdEncoding.DecodeString("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
	must(t, err)
	sc := newScript(t, desktopStart()).message([]byte{1, 0, 0, 0, 64, 0, 0, 0, 48})
	for i := range byte(20) {
		sc.wait(time.Second).message(append([]byte{2, 0, 0, 0, i, 0, 0, 0, i, 0, 0, 0, i + 1, 0, 0, 0, i + 1}, png...))
	}
	s.finished("desk", sc)
	rec, err := s.lib.Open(t.Context(), "desk")
	must(t, err)
	_, err = seekindex.Make(t.Context(), rec, s.store, "desk")
	must(t, err)
	var got shot
	s.want("/sessions/desk/screen?at_ms=20000", &got)
	if raw, err := base64.StdEncoding.DecodeString(got.PNG); err != nil || !strings.HasPrefix(string(raw), "\x89PNG") || got.Cols != 64 || got.Rows != 48 {
		t.Errorf("screen is %dx%d, %d bytes, %v", got.Cols, got.Rows, len(raw), err)
	}
	doc := document(t)
	s.conform(t, doc, call{operation: "GET /sessions/{desk}/screen", query: "at_ms=20000", status: 200})
	s.conform(t, doc, call{operation: "GET /sessions/{desk}/timeline", status: 200})
}

// Whoever looks at a recording without an index has it made for the next look.
func TestALookMakesTheIndexThatIsMissing(t *testing.T) {
	s := newSite(t)
	s.finished("story", story(t))
	s.stop()
	s.makes = seekindex.NewWorker(s.lib, s.store, nil)
	s.serve()
	s.want("/sessions/story/timeline", nil)
	eventually(t, "there is an index", func() bool {
		var d struct{ Indexed bool }
		must(t, json.Unmarshal([]byte(s.want("/sessions/story", nil)), &d))
		return d.Indexed
	})
	// One that is damaged is as good as none.
	s.stop()
	s.object("story.index", []byte("this was an index"))
	s.makes = nil
	s.serve()
	var tl seekindex.Timeline
	s.want("/sessions/story/timeline", &tl)
	if tl.Indexed || tl.DurationMS != 10_000 {
		t.Errorf("timeline is %+v", tl)
	}
}

func TestPicturesAndFilms(t *testing.T) {
	s := newSite(t)
	s.finished("story", story(t))
	empty := s.get("/sessions/story/export?format=png&at_ms=10")
	wantError(t, empty, http.StatusNotFound, "no_picture")
	doc := document(t)
	for _, query := range []string{"format=png&at_ms=8000", "format=gif", "format=mp4"} {
		s.conform(t, doc, call{operation: "GET /sessions/{story}/export", query: query, status: 200})
	}
	before := s.want("/sessions/story/export?format=png&at_ms=8000", nil)
	if film := s.want("/sessions/story/export?format=gif", nil); !strings.HasPrefix(before, "\x89PNG") || !strings.HasPrefix(film, "GIF89a") {
		t.Errorf("picture begins with %.8q, film with %.8q", before, film)
	}
	// With an index it is the same picture, from less.
	rec, err := s.lib.Open(t.Context(), "story")
	must(t, err)
	_, err = seekindex.Make(t.Context(), rec, s.store, "story")
	must(t, err)
	if after := s.want("/sessions/story/export?format=png&at_ms=8000", nil); after != before {
		t.Errorf("with an index the picture has %d bytes and is another, of %d", len(after), len(before))
	}
}
