package web_test

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/web"
	"github.com/tapedeck-io/tapedeck/internal/web/token"
	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// busyScript is a session whose films are large: noise on a large screen.
func busyScript(t testing.TB, frames int) *script {
	sc := newScript(t, &events.SessionStart{TerminalSize: "160:50", User: &events.UserMetadata{User: "joe"}})
	for i := range frames {
		sc.wait(100 * time.Millisecond).print("\x1b[H" + noise(160*50, uint64(i)))
	}
	return sc
}

// Whoever takes long to download a film holds up nobody who wants to make one.
func TestADownloadHoldsUpNoFilm(t *testing.T) {
	s := newSite(t)
	s.finished("busy", busyScript(t, 16))
	client := &http.Client{Transport: &http.Transport{DialContext: narrow}}
	resp, err := client.Do(s.request(s.admin, http.MethodGet, "/sessions/busy/export?format=gif", nil))
	must(t, err)
	if resp.StatusCode != http.StatusOK || resp.ContentLength < 3<<19 {
		t.Fatalf("the film is answered with %d, %d bytes", resp.StatusCode, resp.ContentLength)
	}
	if picture := s.want("/sessions/busy/export?format=png&at_ms=1000", nil); !strings.HasPrefix(picture, "\x89PNG") {
		t.Errorf("the picture begins with %.8q", picture)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || n != resp.ContentLength {
		t.Errorf("of the film came %d bytes of %d: %v", n, resp.ContentLength, err)
	}
	resp.Body.Close()
}

// A film that would fill the disk, or take for ever, is refused, and leaves nothing.
func TestAFilmHasItsLimits(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	s := newSite(t)
	s.finished("busy", busyScript(t, 5))
	restart := func(bytes int64, long time.Duration) {
		s.stop()
		s.before = func(server *web.Server) { server.LimitFilms(bytes, long) }
		s.serve()
	}
	for _, limit := range []struct {
		bytes int64
		long  time.Duration
	}{{50_000, time.Hour}, {1 << 30, time.Nanosecond}} {
		restart(limit.bytes, limit.long)
		for _, format := range []string{"gif", "mp4"} {
			wantError(t, s.get("/sessions/busy/export?format="+format), http.StatusUnprocessableEntity, "too_long")
		}
	}
	wantError(t, s.get("/sessions/busy/export?format=png&at_ms=400"), http.StatusUnprocessableEntity, "too_long")
	restart(1<<30, time.Hour)
	s.want("/sessions/busy/export?format=gif", nil)
	eventually(t, "nothing is left", func() bool {
		left, err := filepath.Glob(filepath.Join(dir, "tapedeck-film-*"))
		return err == nil && len(left) == 0
	})
}

// Of a damaged recording the last picture is what was good, with an index as without.
func TestThePictureBehindTheDamageIsWhatWasThereBefore(t *testing.T) {
	s := newSite(t)
	s.broken("corrupt", false)
	const last = "/sessions/corrupt/export?format=png&at_ms=100000"
	want := s.want(last, nil)
	s.makeIndex("corrupt")
	if got := s.want(last, nil); got != want {
		t.Errorf("with an index it is another picture")
	}
}

// Whose token is taken away while others' films are made is not given an empty one.
func TestAFilmThatIsNotMadeIsNotEmpty(t *testing.T) {
	s := newSite(t)
	s.finished("busy", busyScript(t, 2))
	s.stop()
	s.before = func(server *web.Server) { server.TakeFilms() }
	s.serve(func(c *web.Config) { c.Recheck = 50 * time.Millisecond })
	tok := s.token(token.Token{Name: "gone", Role: token.Admin})
	answered := make(chan answer)
	go func() { answered <- s.do(s.request(tok, http.MethodGet, "/sessions/busy/export?format=gif", nil)) }()
	time.Sleep(200 * time.Millisecond) // so that it waits; if it does not yet, it is refused, too
	must(t, s.tokens.Remove("gone"))
	if a := <-answered; a.status < http.StatusBadRequest {
		t.Errorf("%d, %d bytes", a.status, len(a.body))
	}
}
