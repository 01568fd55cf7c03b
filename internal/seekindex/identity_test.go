package seekindex

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/recording"
)

func (s *site) bytes(t testing.TB, key string) []byte {
	t.Helper()
	body, err := s.Store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (s *site) put(t testing.TB, key string, body []byte) {
	t.Helper()
	if err := s.Put(t.Context(), key, body, false); err != nil {
		t.Fatal(err)
	}
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func kinds(x *Index) string {
	var all []string
	for _, p := range x.Timeline().Problems {
		all = append(all, p.Kind)
	}
	return strings.Join(all, " ")
}

// An index is of the recording that it was made of. One that takes its place, be it of
// the same size, gets an index of its own; so does one whose damage was mended.
func TestAnIndexIsOfOneRecording(t *testing.T) {
	s := newSite(t)
	m := s.finish(t, "one", 4<<10, fixture(t, "shell-colours").records)
	whole := s.bytes(t, m.Key)
	w := NewWorker(&recording.Library{Store: s}, s, nil)
	ensure := func(problems string) *Index {
		t.Helper()
		x, err := w.Ensure(t.Context(), "one")
		if err != nil {
			t.Fatal(err)
		}
		if !x.Of(s.open(t, "one")) || kinds(x) != problems || x.Damaged() != (problems != "") {
			t.Fatalf("an index of another recording (%t), or with the problems %q, not %q", !x.Of(s.open(t, "one")), kinds(x), problems)
		}
		return x
	}
	first := ensure("")
	s.put(t, m.Key, flipped(whole, len(whole)*2/3))
	if first.Of(s.open(t, "one")) {
		t.Error("a recording of the same size is taken for the one that the index is of")
	}
	ensure("corrupt")
	s.put(t, m.Key, whole)
	ensure("")
	// What the manifest says is in the index, too.
	m.Outcome = "abandoned"
	p := &pressing{t: t, site: s, m: m}
	p.manifest()
	ensureAbandoned, err := w.Ensure(t.Context(), "one")
	if err != nil || kinds(ensureAbandoned) != "abandoned" {
		t.Errorf("of a manifest that was changed: %q, %v", kinds(ensureAbandoned), err)
	}
}

// A faulty site gives bytes of recordings that are not those stored.
type faulty struct {
	*site
	bad  atomic.Bool
	puts atomic.Int64
}

func (s *faulty) GetRange(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	body, err := s.site.GetRange(ctx, key, off, n)
	if err != nil || !s.bad.Load() || !strings.HasSuffix(key, ".tar") || off == 0 {
		return body, err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(flipped(b, len(b)/2))), nil
}

func (s *faulty) Put(ctx context.Context, key string, body []byte, ifAbsent bool) error {
	s.puts.Add(1)
	return s.site.Put(ctx, key, body, ifAbsent)
}

// When a store gives the right bytes again, it may call the object what it called it
// before. What was damaged is read again, and no more than that.
func TestDamageThatIsGoneMakesTheIndexAnew(t *testing.T) {
	s := &faulty{site: newSite(t)}
	m := s.finish(t, "gone", 4<<10, fixture(t, "shell-colours").records)
	if len(m.Parts) < 2 {
		t.Fatalf("%d parts", len(m.Parts))
	}
	w := NewWorker(&recording.Library{Store: s}, s, nil)
	s.bad.Store(true)
	for range 3 {
		x, err := w.Ensure(t.Context(), "gone")
		if err != nil || kinds(x) != "corrupt" || s.puts.Load() != 1 {
			t.Fatalf("while it is damaged: %q, made %d times, %v", kinds(x), s.puts.Load(), err)
		}
	}
	s.bad.Store(false)
	for range 3 {
		x, err := w.Ensure(t.Context(), "gone")
		if err != nil || kinds(x) != "" || s.puts.Load() != 2 {
			t.Fatalf("when it is whole: %q, made %d times, %v", kinds(x), s.puts.Load(), err)
		}
	}
}

// A picture or a transcript that has changed is not given away, and the index that it
// is in can be made anew.
func TestWhatHasChangedInAnIndexIsNotShown(t *testing.T) {
	s := newSite(t)
	s.finish(t, "changed", 4<<10, fixture(t, "shell-colours").records)
	x := s.index(t, "changed")
	w := NewWorker(&recording.Library{Store: s}, s, nil)
	key := s.Key("changed" + Suffix)
	good := s.bytes(t, key)
	pictures, script := int(x.header.front()), int(x.header.front()+x.header.pictures)
	for name, body := range map[string][]byte{
		"a picture": flipped(good, pictures+5), "the last picture": flipped(good, script-1), "the transcript": flipped(good, len(good)-1),
		"the end": good[:len(good)-1], "all behind the front": good[:pictures],
	} {
		s.put(t, key, body)
		x, err := Open(t.Context(), s, "changed")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var failed error
		for _, k := range x.Timeline().Keyframes {
			if _, err := x.Keyframe(t.Context(), k.TMS); err != nil {
				failed = err
			}
		}
		if failed == nil {
			failed = x.Transcript(t.Context(), func(Line) bool { t.Errorf("%s: a line is shown", name); return false })
		}
		if !errors.Is(failed, ErrCorrupt) {
			t.Errorf("%s: %v, want %v", name, failed, ErrCorrupt)
		}
		if err := w.Mend(t.Context(), "changed"); err != nil || !bytes.Equal(s.bytes(t, key), good) {
			t.Errorf("%s: mending: %v", name, err)
		}
	}
	before, err := s.Head(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Mend(t.Context(), "changed"); err != nil {
		t.Fatal(err)
	}
	if after, err := s.Head(t.Context(), key); err != nil || !after.Modified.Equal(before.Modified) {
		t.Errorf("an index that is good was made at %v again, not %v: %v", after.Modified, before.Modified, err)
	}
}

// One recording that takes too long is given up, not tried again and again, and holds
// up no other.
func TestTheWorkerGivesUpWhatTakesTooLong(t *testing.T) {
	s := newSite(t)
	for i := range 2 {
		s.finish(t, name(i), 4<<10, fixture(t, "htop").records)
	}
	w := NewWorker(&recording.Library{Store: s}, s, nil)
	w.patience = func(int64) time.Duration { return 0 }
	if _, err := w.Ensure(t.Context(), name(0)); !errors.Is(err, ErrTooLong) {
		t.Fatalf("with no time: %v", err)
	}
	w.patience = patience
	if _, err := w.Ensure(t.Context(), name(1)); err != nil {
		t.Error(err)
	}
	if _, err := w.Ensure(t.Context(), name(0)); !errors.Is(err, ErrTooLong) {
		t.Errorf("tried again at once: %v", err)
	}
	clear(w.gaveUp)
	if _, err := w.Ensure(t.Context(), name(0)); err != nil {
		t.Error(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := w.Ensure(ctx, name(0)); errors.Is(err, ErrTooLong) || len(w.gaveUp) > 0 {
		t.Errorf("who asked has gone: %v, given up %d", err, len(w.gaveUp))
	}
}
