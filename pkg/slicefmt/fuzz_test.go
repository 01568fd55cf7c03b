package slicefmt

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// A seed of FuzzReader. The seeds are code, so none can go missing unnoticed, and
// TestSeedsAreWhatTheySay holds them to what they are meant to reach.
type seed struct {
	name    string
	in      []byte
	records int
	err     error
}

func readerSeeds(t testing.TB) []seed {
	p := prints(t, 0, 6)
	whole := smallRecording(t)
	body := member(t, frames(p...))
	bad := bytes.Clone(whole)
	bad[40] ^= 0xff
	return []seed{
		{"nothing", nil, 0, nil},
		{"a small recording", whole, 12, nil},
		{"a small recording, cut", whole[:len(whole)-3], 12, ErrTruncated},
		{"a small recording, damaged", bad, 0, ErrCorrupt},
		{"part of ours", ours(t, p...), 6, nil},
		{"part of ours without records", ours(t), 0, nil},
		{"padded", foreign(1, 0, body, 100), 6, nil},
		{"zeros in the body", foreign(1, 0, append(bytes.Clone(body), make([]byte, 50)...), 0), 6, nil},
		{"version 2", foreign(2, 0, body, 3), 6, nil},
		{"encrypted", foreign(2, 1, body, 0), 0, ErrEncrypted},
		{"version 7", foreign(7, 0, body, 0), 0, ErrVersion},
		{"unknown case", foreign(1, 0, member(t, frames(p[0], unknownEvent(1))), 0), 2, nil},
		{"duplicates and gaps", foreign(1, 0, member(t, frames(p[1], p[0], p[5], p[2])), 0), 2, nil},
		{"record of no bytes", foreign(1, 0, member(t, []byte{0, 0, 0, 0}), 0), 0, ErrCorrupt},
		{"record too long", foreign(1, 0, member(t, []byte{0, 1, 0, 1}), 0), 0, ErrCorrupt},
		{"no OneOf", foreign(1, 0, member(t, frames([]byte{0xff, 0xff})), 0), 0, ErrCorrupt},
	}
}

func TestSeedsAreWhatTheySay(t *testing.T) {
	if n := len(readerSeeds(t)); n != 16 {
		t.Errorf("FuzzReader has %d seeds, not 16", n)
	}
	if n := len(frameSeeds()); n != 12 {
		t.Errorf("FuzzNextFrame has %d seeds, not 12", n)
	}
	for _, s := range readerSeeds(t) {
		got, err := drain(NewReader(bytes.NewReader(s.in)))
		if !errors.Is(err, s.err) || (err == nil) != (s.err == nil) || len(got) != s.records {
			t.Errorf("%s: %d records and %v, want %d and %v", s.name, len(got), err, s.records, s.err)
		}
	}
}

// FuzzReader holds that no input makes a Reader panic, go on for ever, return an
// event twice or out of order, or say something that depends on how the input
// arrives.
func FuzzReader(f *testing.F) {
	for _, s := range readerSeeds(f) {
		f.Add(s.in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 1<<20 {
			return // time is better spent on small ones
		}
		counts, fail := readAll(t, bytes.NewReader(in))
		again, failAgain := readAll(t, iotest.HalfReader(bytes.NewReader(in)))
		if counts != again || (fail == nil) != (failAgain == nil) || fail != nil && fail.Error() != failAgain.Error() {
			t.Fatalf("%+v and %v, in smaller reads %+v and %v", counts, fail, again, failAgain)
		}
	})
}

func readAll(t *testing.T, src io.Reader) (Counts, error) {
	r := NewReader(src)
	last, n := int64(-1), int64(0)
	for {
		rec, err := r.Next()
		if err != nil {
			c := r.Counts()
			if c.Records != n || c.LastIndex != last {
				t.Fatalf("counts %+v after %d records up to %d", c, n, last)
			}
			if isEOF(err) {
				return c, nil
			}
			for _, known := range []error{ErrTruncated, ErrCorrupt, ErrVersion, ErrEncrypted} {
				if errors.Is(err, known) {
					return c, err
				}
			}
			t.Fatalf("error %v", err)
		}
		if rec.Index <= last || len(rec.OneOf) == 0 || len(rec.OneOf) > MaxRecord {
			t.Fatalf("record %d of %d bytes after %d", rec.Index, len(rec.OneOf), last)
		}
		last = rec.Index
		n++
	}
}
