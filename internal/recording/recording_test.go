package recording

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

func TestRangesDownloadOnlyTheirParts(t *testing.T) {
	store := openStore(t)
	records := noise(t, 600) // 36 MB
	m := put(t, store, "s1", slicefmt.MinPartSize, records)
	if len(m.Parts) < 6 {
		t.Fatalf("%d parts", len(m.Parts))
	}
	last := int64(len(records))
	edge := m.Parts[3].FirstIndex
	tests := []struct {
		name     string
		g        Range
		from, to int64
		parts    int64 // downloaded at most
	}{
		{"the last ten by index", Range{FromIndex: last - 10}, last - 10, last, 2},
		{"the last ten by time", Range{FromTime: at(last - 10)}, last - 10, last, 2},
		{"a few near the end by index", Range{FromIndex: last - 40, ToIndex: last - 35}, last - 40, last - 35, 1},
		{"a few near the end by time", Range{FromTime: at(last - 40), ToTime: at(last - 36)}, last - 40, last - 35, 1},
		{"both sides of a part's end", Range{FromIndex: edge - 2, ToIndex: edge + 2}, edge - 2, edge + 2, 2},
		{"both sides of a part's end by time", Range{FromTime: at(edge - 2), ToTime: at(edge + 1)}, edge - 2, edge + 2, 2},
		{"the first", Range{ToIndex: 1}, 0, 1, 1},
		{"index and time, the narrower of both", Range{FromIndex: last - 20, ToTime: at(last - 15)}, last - 20, last - 14, 1},
		{"beyond the end", Range{FromIndex: last}, 0, 0, 0},
		{"before the beginning", Range{ToTime: at(-1)}, 0, 0, 0},
		{"everything", Range{}, 0, last, int64(len(m.Parts))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := store.Stats()
			r, err := OpenObject(t.Context(), store, "s1")
			if err != nil {
				t.Fatal(err)
			}
			opened := store.Stats()
			same(t, mustRead(t, r, tt.g), records[tt.from:tt.to])
			after := store.Stats()
			if n := opened.Downloaded - before.Downloaded; n > 8<<10 {
				t.Fatalf("opening downloaded %d bytes", n)
			}
			if n := after.Requests - opened.Requests; n > tt.parts {
				t.Fatalf("%d requests for at most %d parts", n, tt.parts)
			}
			if n, most := after.Downloaded-opened.Downloaded, tt.parts*(slicefmt.MinPartSize+2*slicefmt.BlockSize); n > most {
				t.Fatalf("downloaded %d bytes, %d parts are %d", n, tt.parts, most)
			}
			if c := r.Counts(); c.Gaps != 0 {
				t.Fatalf("what is before the range counts as a gap: %+v", c)
			}
		})
	}
}

func TestRecordingWithoutManifestIsReadFromItsStart(t *testing.T) {
	store := openStore(t)
	records := lines(t, 100)
	whole, _ := build(t, "s1", "k", 0, records)
	object(t, store, "s1"+suffix, whole)
	r, err := OpenObject(t.Context(), store, "s1")
	if err != nil {
		t.Fatal(err)
	}
	if m, why := r.Manifest(); m != nil || !errors.Is(why, s3store.ErrNotFound) {
		t.Fatalf("manifest %v, %v", m, why)
	}
	same(t, mustRead(t, r, Range{FromIndex: 90, ToTime: at(95)}), records[90:96])
}

func TestManifestThatIsNotTheRecordingsIsNotTrusted(t *testing.T) {
	dir := t.TempDir()
	records := lines(t, 50)
	whole, _ := build(t, "s1", "k", 0, records)
	_, other := build(t, "s1", "k", 0, lines(t, 60))
	path := writeFiles(t, dir, whole, other)
	r, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, r)
	same(t, mustRead(t, r, Range{FromIndex: 10}), records[10:])
}

// writeFiles writes a recording and its manifest as they would lie in S3.
func writeFiles(t *testing.T, dir string, whole []byte, m *slicefmt.Manifest) string {
	t.Helper()
	path := filepath.Join(dir, "s1.tar")
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if m == nil {
		return path
	}
	data, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "s1.manifest.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFileIsReadWhereverItIs(t *testing.T) {
	records := noise(t, 200)
	whole, m := build(t, "s1", "k", slicefmt.MinPartSize, records)
	for name, m := range map[string]*slicefmt.Manifest{"with manifest": m, "without": nil} {
		t.Run(name, func(t *testing.T) {
			r, err := OpenFile(writeFiles(t, t.TempDir(), whole, m))
			if err != nil {
				t.Fatal(err)
			}
			defer closed(t, r)
			var n int
			r.OnRead(func(k int) { n += k })
			same(t, mustRead(t, r, Range{}), records)
			if n != len(whole) || r.Size() != int64(n) {
				t.Fatalf("OnRead told of %d bytes of %d", n, len(whole))
			}
			n = 0
			same(t, mustRead(t, r, Range{FromIndex: 190}), records[190:])
			if m != nil && n > 2*slicefmt.MinPartSize {
				t.Fatalf("read %d bytes for the last ten events", n)
			}
		})
	}
	if _, err := OpenFile(t.TempDir()); err == nil {
		t.Fatal("a directory was opened as a recording")
	}
	if _, err := OpenFile(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a file that is not there: %v", err)
	}
}

func TestDamageComesAfterWhatWasGood(t *testing.T) {
	records := noise(t, 200)
	whole, m := build(t, "s1", "k", slicefmt.MinPartSize, records)
	r, err := OpenFile(writeFiles(t, t.TempDir(), whole[:m.Parts[1].Offset+100_000], m))
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, r)
	got, err := read(t.Context(), r, Range{})
	if !errors.Is(err, slicefmt.ErrTruncated) || int64(len(got)) <= m.Parts[0].LastIndex {
		t.Fatalf("%d events and %v", len(got), err)
	}
	same(t, got, records[:len(got)])
}

func TestObjectThatShrankIsTruncatedNotEnded(t *testing.T) {
	store := openStore(t)
	m := put(t, store, "s1", slicefmt.MinPartSize, noise(t, 200))
	r, err := OpenObject(t.Context(), store, "s1")
	if err != nil {
		t.Fatal(err)
	}
	whole, _ := build(t, "s1", "k", slicefmt.MinPartSize, noise(t, 200))
	object(t, store, "s1"+suffix, whole[:m.Parts[1].Offset])
	got, err := read(t.Context(), r, Range{})
	if !errors.Is(err, slicefmt.ErrTruncated) || int64(len(got)) != m.Parts[0].Records {
		t.Fatalf("%d events and %v", len(got), err)
	}
}

func TestPartsOfAClockThatWasSetBackAreAllLookedAt(t *testing.T) {
	part := func(first, last int64, from, to time.Time) slicefmt.ManifestPart {
		return slicefmt.ManifestPart{FirstIndex: first, LastIndex: last, FirstEvent: from, LastEvent: to}
	}
	all := []slicefmt.ManifestPart{
		part(0, 9, at(0), at(9)), part(10, 19, at(110), at(19)), part(20, 29, at(20), at(29)), part(30, 39, at(30), at(39)),
	}
	run := choose(all, Range{FromTime: at(25), ToTime: at(26)})
	if len(run) != 2 || run[0].ordinal != 2 || run[1].ordinal != 3 {
		t.Fatalf("parts %+v", run)
	}
}

// A brokenSource gives parts until one at which the connection is closed.
type brokenSource struct {
	source
	from int64
	err  error
}

func (s brokenSource) open(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	if off >= s.from {
		return nil, s.err
	}
	return s.source.open(ctx, off, n)
}

func TestLostConnectionIsNoEnd(t *testing.T) {
	whole, m := build(t, "s1", "k", slicefmt.MinPartSize, noise(t, 200))
	r, err := OpenFile(writeFiles(t, t.TempDir(), whole, m))
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, r)
	lost := fmt.Errorf("get: %w", io.EOF)
	for _, from := range []int64{0, 1} {
		r.src = brokenSource{r.src, from, lost}
		got, err := read(t.Context(), r, Range{})
		if !errors.Is(err, lost) || errors.Is(err, slicefmt.ErrTruncated) || int64(len(got)) != from*m.Parts[0].Records {
			t.Fatalf("%d events and %v", len(got), err)
		}
		if _, err := Verify(t.Context(), r, m); from == 0 && !errors.Is(err, lost) {
			t.Fatalf("verified with %v", err)
		}
		r.src = r.src.(brokenSource).source
	}
}
