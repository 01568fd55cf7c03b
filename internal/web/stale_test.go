package web_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/seekindex"
	"github.com/tapedeck-io/tapedeck/internal/web"
)

func (s *site) stored(key string) []byte {
	s.t.Helper()
	body, err := s.store.Get(s.t.Context(), s.store.Key(key))
	must(s.t, err)
	defer body.Close()
	b, err := io.ReadAll(body)
	must(s.t, err)
	return b
}

// makeIndex makes the index of a session, as 'tapedeck index' does.
func (s *site) makeIndex(sid string) {
	s.t.Helper()
	rec, err := s.lib.Open(s.t.Context(), sid)
	must(s.t, err)
	_, err = seekindex.Make(s.t.Context(), rec, s.store, sid)
	must(s.t, err)
}

func (s *site) timeline(sid string) seekindex.Timeline {
	s.t.Helper()
	var tl seekindex.Timeline
	s.want("/sessions/"+sid+"/timeline", &tl)
	return tl
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

// What is kept of an index goes by the object that it was read from and by the
// recording that it is of: when another program changes one or the other, it is over.
func TestAnIndexThatWasReplacedIsNotUsed(t *testing.T) {
	s := newSite(t)
	s.finished("story", story(t))
	s.makeIndex("story")
	whole, good := s.stored("story.tar"), s.stored("story.index")
	used := func(when string, want bool) {
		t.Helper()
		if got := s.timeline("story").Indexed; got != want {
			t.Errorf("%s: from an index: %t, want %t", when, got, want)
		}
	}
	used("when it is made", true)
	s.object("story.index", flipped(good, 70))
	used("when it was changed", false)
	s.object("story.index", good)
	used("when it is back", true)
	must(t, s.store.Delete(t.Context(), s.store.Key("story.index")))
	used("when it was removed", false)
	s.object("story.index", good)
	used("when it is back again", true)
	s.object("story.tar", flipped(whole, len(whole)-30))
	used("when the recording is another one of the same size", false)
	if a := s.get("/sessions/story/screen?at_ms=8000"); a.status == http.StatusOK {
		t.Errorf("a picture of another recording is shown: %s", a.body)
	}
	s.object("story.tar", whole)
	used("when the recording is the one it was", true)
}

// A browser that has what was made of a recording is sent what is made of another one.
func TestWhatABrowserHasGoesByTheRecordingAndTheIndex(t *testing.T) {
	s := newSite(t)
	s.finished("story", story(t))
	s.makeIndex("story")
	whole := s.stored("story.tar")
	for _, path := range []string{"/sessions/story/output", "/sessions/story/timeline"} {
		r := s.request(s.admin, http.MethodGet, path, nil)
		r.Header.Set("If-None-Match", s.get(path).header.Get("ETag"))
		if a := s.do(r); a.status != http.StatusNotModified {
			t.Errorf("%s of the same: %d", path, a.status)
		}
		s.object("story.tar", flipped(whole, len(whole)-30))
		if a := s.do(r); a.status != http.StatusOK {
			t.Errorf("%s of another one of the same size: %d", path, a.status)
		}
		s.object("story.tar", whole)
	}
}

// A picture that has changed in the store is not shown; a player begins at the start,
// and the next one finds an index that was made anew.
func TestAPictureThatHasChangedIsMadeAnew(t *testing.T) {
	s := newSite(t)
	s.finished("story", story(t))
	s.stop()
	s.makes = seekindex.NewWorker(s.lib, s.store, nil)
	s.serve()
	s.makeIndex("story")
	const screen = "/sessions/story/screen?at_ms=8000"
	want := s.want(screen, nil)
	film := s.want("/sessions/story/export?format=png&at_ms=8000", nil)
	good := s.stored("story.index")
	at := func(i int) int { return int(binary.BigEndian.Uint64(good[16+8*i:])) }
	first, all := len(good)-at(2)-at(3), at(2)
	bad := bytes.Clone(good)
	for i := range all {
		bad[first+i] ^= 0x55
	}
	for _, look := range []func(){
		func() { wantError(t, s.get(screen), http.StatusNotFound, "no_keyframe") },
		func() {
			if got := s.want("/sessions/story/export?format=png&at_ms=8000", nil); got != film {
				t.Error("a film begins with a picture that has changed")
			}
		},
	} {
		s.object("story.index", bad)
		look()
		eventually(t, "the index is made anew", func() bool { return bytes.Equal(s.stored("story.index"), good) })
		if got := s.want(screen, nil); got != want {
			t.Errorf("the picture is %s, not %s", got, want)
		}
	}
}

// A stuck indexer does not come to an end, whatever it is told.
type stuck struct{ asked, release chan struct{} }

func (s stuck) Ensure(context.Context, string) (*seekindex.Index, error) {
	close(s.asked)
	<-s.release
	return nil, seekindex.ErrNotFound
}

func (s stuck) Mend(context.Context, string) error { return nil }

func TestTheServerStopsWhateverIsBeingMade(t *testing.T) {
	s := newSite(t)
	s.finished("story", story(t))
	s.stop()
	held := stuck{make(chan struct{}), make(chan struct{})}
	defer close(held.release)
	s.makes = held
	s.serve(func(c *web.Config) { c.Drain = 300 * time.Millisecond })
	s.timeline("story")
	<-held.asked
	stopped := make(chan struct{})
	go func() {
		s.stop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(20 * time.Second):
		t.Fatal("it waits for an index that is not made")
	}
}
