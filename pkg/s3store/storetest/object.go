package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

func cmpString(a, b string) int { return strings.Compare(a, b) }

func putGetDelete(t *testing.T, s *s3store.Store) {
	key := s.Key("a/b c+d.json")
	body := random(1000)
	want := bytes.Clone(body)
	must(t, s.Put(t.Context(), key, body, false))
	clear(body)
	wantObject(t, s, key, want)
	if o := ok(s.Head(t.Context(), key))(t); o.Size != 1000 || o.Key != key {
		t.Errorf("head says %+v", o)
	}
	now := random(10)
	must(t, s.Put(t.Context(), key, now, false))
	wantObject(t, s, key, now)
	must(t, s.Delete(t.Context(), key))
	_, err := s.Head(t.Context(), key)
	wantErr(t, err, s3store.ErrNotFound)
}

func notFound(t *testing.T, s *s3store.Store) {
	key := s.Key("nothing")
	_, err := s.Head(t.Context(), key)
	wantErr(t, err, s3store.ErrNotFound)
	_, err = s.Get(t.Context(), key)
	wantErr(t, err, s3store.ErrNotFound)
	_, err = s.GetRange(t.Context(), key, 0, 1)
	wantErr(t, err, s3store.ErrNotFound)
	must(t, s.Delete(t.Context(), key))
	if got := collect(t, s.List(t.Context(), key, ""), 0); len(got) != 0 {
		t.Errorf("listed %+v", got)
	}
}

func putIfAbsent(t *testing.T, s *s3store.Store) {
	key := s.Key("absent")
	first := random(10)
	must(t, s.Put(t.Context(), key, first, true))
	wantErr(t, s.Put(t.Context(), key, random(10), true), s3store.ErrExists)
	wantErr(t, s.Put(t.Context(), key, first, true), s3store.ErrExists)
	wantObject(t, s, key, first)
}

func putIfAbsentRace(t *testing.T, s *s3store.Store) {
	key := s.Key("absent-race")
	bodies := make([][]byte, 8)
	for i := range bodies {
		bodies[i] = random(100)
	}
	winner := -1
	for i, err := range each(len(bodies), func(i int) error { return s.Put(t.Context(), key, bodies[i], true) }) {
		switch {
		case err == nil && winner >= 0:
			t.Fatalf("puts %d and %d both won", winner, i)
		case err == nil:
			winner = i
		default:
			wantErr(t, err, s3store.ErrExists)
		}
	}
	if winner < 0 {
		t.Fatal("no put won")
	}
	wantObject(t, s, key, bodies[winner])
}

func emptyObject(t *testing.T, s *s3store.Store) {
	key := s.Key("empty")
	must(t, s.Put(t.Context(), key, nil, true))
	wantObject(t, s, key, nil)
	_, err := s.GetRange(t.Context(), key, 0, 1)
	wantErr(t, err, s3store.ErrRange)
}

func ranges(t *testing.T, s *s3store.Store) {
	key := s.Key("range")
	body := random(100_000)
	must(t, s.Put(t.Context(), key, body, true))
	for _, r := range []struct{ off, n, want int64 }{
		{0, 1, 1}, {0, 100_000, 100_000}, {0, 1 << 40, 100_000}, {99_999, 1, 1}, {99_999, 10, 1}, {12_345, 54_321, 54_321},
	} {
		before := s.Stats()
		rc := ok(s.GetRange(t.Context(), key, r.off, r.n))(t)
		got, err := io.ReadAll(rc)
		must(t, errors.Join(err, rc.Close()))
		if !bytes.Equal(got, body[r.off:r.off+r.want]) {
			t.Errorf("%d bytes from %d: got %d wrong ones", r.n, r.off, len(got))
		}
		if down := s.Stats().Downloaded - before.Downloaded; down != r.want {
			t.Errorf("%d bytes from %d: downloaded %d; want %d", r.n, r.off, down, r.want)
		}
	}
	for _, r := range []struct{ off, n int64 }{{100_000, 1}, {1 << 40, 1}, {-1, 5}, {0, 0}, {0, -1}} {
		_, err := s.GetRange(t.Context(), key, r.off, r.n)
		wantErr(t, err, s3store.ErrRange)
	}
}

func readerAt(t *testing.T, s *s3store.Store) {
	key := s.Key("at")
	body := random(150)
	must(t, s.Put(t.Context(), key, body, true))
	ra := s.ReaderAt(t.Context(), key, int64(len(body)))
	must(t, iotest.TestReader(io.NewSectionReader(ra, 0, int64(len(body))), body))
	for _, off := range []int64{150, 151, 1 << 40} {
		if n, err := ra.ReadAt(make([]byte, 1), off); n != 0 || err != io.EOF {
			t.Errorf("read at %d: %d, %v; want 0, EOF", off, n, err)
		}
	}
	p := make([]byte, 10)
	if n, err := ra.ReadAt(p, 145); n != 5 || err != io.EOF || !bytes.Equal(p[:n], body[145:]) {
		t.Errorf("read over the end: %d, %v; want 5, EOF", n, err)
	}
	if _, err := ra.ReadAt(p, -1); err == nil {
		t.Error("read at -1 was taken")
	}
}

func listMany(t *testing.T, s *s3store.Store) {
	const n = 1005
	name := func(i int) string { return s.Key(fmt.Sprintf("list/%04d.tar", i)) }
	errs := each(8, func(worker int) error {
		for i := worker; i < n; i += 8 {
			if err := s.Put(t.Context(), name(i), []byte{byte(i)}, true); err != nil {
				return err
			}
		}
		return nil
	})
	must(t, errors.Join(errs...))
	must(t, s.Put(t.Context(), s.Key("other"), nil, true))
	got := collect(t, s.List(t.Context(), s.Key("list/"), ""), 0)
	if len(got) != n {
		t.Fatalf("listed %d objects; want %d", len(got), n)
	}
	for i, o := range got {
		if o.Key != name(i) || o.Size != 1 || o.ETag == "" || o.Modified.IsZero() {
			t.Fatalf("object %d is %+v; want %s with 1 byte", i, o, name(i))
		}
	}
	if got := collect(t, s.List(t.Context(), s.Key("list/"), name(2)), 0); len(got) != n-3 || got[0].Key != name(3) {
		t.Errorf("after %s: listed %d, first %s", name(2), len(got), got[0].Key)
	}
}

func listAfter(t *testing.T, s *s3store.Store) {
	var keys []string
	for _, k := range []string{"l/a", "l/b", "l/b.late/1", "l/c"} {
		keys = append(keys, s.Key(k))
		must(t, s.Put(t.Context(), s.Key(k), nil, true))
	}
	names := func(after string, limit int) []string {
		var got []string
		for _, o := range collect(t, s.List(t.Context(), s.Key("l/"), after), limit) {
			got = append(got, o.Key)
		}
		return got
	}
	for _, tt := range []struct {
		after string
		limit int
		want  []string
	}{
		{"", 0, keys}, {keys[0], 0, keys[1:]}, {keys[0] + "!", 0, keys[1:]}, {keys[3], 0, nil}, {"", 2, keys[:2]},
	} {
		if got := names(tt.after, tt.limit); !slices.Equal(got, tt.want) {
			t.Errorf("after %q, %d at most: %q; want %q", tt.after, tt.limit, got, tt.want)
		}
	}
	var folder []string
	for _, o := range collect(t, s.ListFolder(t.Context(), s.Key("l/"), keys[0]), 0) {
		folder = append(folder, o.Key)
	}
	if want := []string{keys[1], keys[3]}; !slices.Equal(folder, want) {
		t.Errorf("in the folder, after %q: %q; want %q", keys[0], folder, want)
	}
}
