package recording

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// A damaged is a recording and its manifest that something was done to.
type damaged struct {
	whole []byte
	m     *slicefmt.Manifest
}

// repad makes a part longer by n bytes of padding, and the manifest say so.
func (d *damaged) repad(i int, n int64) {
	p := d.m.Parts[i]
	part := bytes.Clone(d.whole[p.Offset : p.Offset+p.Bytes])
	binary.BigEndian.PutUint64(part[16:], uint64(n))
	d.replace(i, append(part, make([]byte, n)...))
}

// replace puts another part in place of one, and has the manifest say so.
func (d *damaged) replace(i int, part []byte) {
	p := &d.m.Parts[i]
	d.whole = bytes.Join([][]byte{d.whole[:p.Offset], part, d.whole[p.Offset+p.Bytes:]}, nil)
	grown := int64(len(part)) - p.Bytes
	sum := sha256.Sum256(part)
	p.Bytes, p.SHA256 = int64(len(part)), hex.EncodeToString(sum[:])
	d.m.Bytes += grown
	for j := i + 1; j < len(d.m.Parts); j++ {
		d.m.Parts[j].Offset += grown
	}
}

func TestVerifyTellsWhatIsWrong(t *testing.T) {
	records := noise(t, 200)
	whole, m := build(t, "s1", "k", slicefmt.MinPartSize, records)
	if len(m.Parts) != 3 {
		t.Fatalf("%d parts", len(m.Parts))
	}
	second := m.Parts[1]
	tests := []struct {
		name   string
		change func(d *damaged)
		want   Verdict
		says   string
	}{
		{"nothing", func(*damaged) {}, OK, ""},
		{"a byte of a record changed", func(d *damaged) { d.whole[second.Offset+1_000_000] ^= 1 }, Corrupt, "part 2"},
		{"a byte of a gzip header changed, which readers ignore", func(d *damaged) { d.whole[second.Offset+24+9] ^= 1 }, Corrupt, "part 2 at byte"},
		{"a byte of the last part changed", func(d *damaged) { d.whole[len(d.whole)-1] ^= 1 }, Corrupt, "part 3"},
		{"the version of a part changed", func(d *damaged) { d.whole[second.Offset+7] = 9 }, Corrupt, "unsupported version 9"},
		{"the last byte gone", func(d *damaged) { d.whole = d.whole[:len(d.whole)-1] }, Truncated, "bytes, the manifest says"},
		{"the last part gone", func(d *damaged) { d.whole = d.whole[:d.m.Parts[2].Offset] }, Truncated, "1 of 3 parts"},
		{"half of it gone", func(d *damaged) { d.whole = d.whole[:len(d.whole)/2] }, Truncated, "part 2"},
		{"all of it gone", func(d *damaged) { d.whole = nil }, Truncated, "3 of 3 parts"},
		{"cut inside a header", func(d *damaged) { d.whole = d.whole[:second.Offset+8] }, Truncated, "header"},
		{"more after its end", func(d *damaged) { d.whole = append(d.whole, d.whole[second.Offset:second.Offset+second.Bytes]...) }, Mismatch, "not in the manifest"},
		{"two parts in each other's place", func(d *damaged) {
			a, b := d.m.Parts[0], d.m.Parts[1]
			d.whole = bytes.Join([][]byte{d.whole[b.Offset : b.Offset+b.Bytes], d.whole[:a.Bytes], d.whole[b.Offset+b.Bytes:]}, nil)
		}, Corrupt, "part 1"},
		{"padding", func(d *damaged) { d.repad(1, 100) }, Mismatch, "100 bytes after its gzip member"},
		{"a small part before the last", func(d *damaged) {
			var s slicefmt.Slice
			_ = s.Append(records[second.FirstIndex])
			part, _, _ := s.Finish(nil)
			d.replace(1, part)
		}, Mismatch, "only the last may have fewer"},
		{"the manifest has one record too many", func(d *damaged) {
			d.m.Parts[1].LastIndex--
			d.m.Parts[1].Records--
			d.m.Events--
			d.m.Outcome = slicefmt.OutcomeComplete
		}, Mismatch, "has records:"},
		{"the manifest has another index", func(d *damaged) { d.m.Parts[2].FirstIndex++; d.m.Parts[2].Records--; d.m.Events-- }, Mismatch, "has the first index"},
		{"the manifest has other raw bytes", func(d *damaged) { d.m.Parts[0].RawBytes++; d.m.RawBytes++ }, Mismatch, "uncompressed"},
		{"the manifest has another checksum", func(d *damaged) { d.m.Parts[0].SHA256 = strings.Repeat("0", 64) }, Corrupt, "SHA-256"},
		{"the manifest counts more", func(d *damaged) { d.m.Count++ }, Mismatch, "1 indexes are missing, the manifest says 0"},
		{"abandoned", func(d *damaged) { d.m.Outcome = slicefmt.OutcomeAbandoned }, Incomplete, "abandoned"},
		{"gapped", func(d *damaged) {
			d.whole, d.m = build(t, "s1", "k", slicefmt.MinPartSize, append(append([][]byte{}, records[:5]...), records[8:]...))
		}, Incomplete, "3 of 200 events are missing, in 1 gaps"},
		{"a gap that the manifest does not admit", func(d *damaged) {
			d.whole, d.m = build(t, "s1", "k", slicefmt.MinPartSize, append(append([][]byte{}, records[:5]...), records[8:]...))
			d.m.Missing, d.m.Gaps, d.m.Outcome = 0, nil, slicefmt.OutcomeComplete
		}, Mismatch, "3 indexes are missing, the manifest says 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := damaged{bytes.Clone(whole), new(slicefmt.Manifest)}
			*d.m = *m
			d.m.Parts = append([]slicefmt.ManifestPart{}, m.Parts...)
			tt.change(&d)
			r, err := OpenFile(writeFiles(t, t.TempDir(), d.whole, nil))
			if err != nil {
				t.Fatal(err)
			}
			defer closed(t, r)
			rep, err := Verify(t.Context(), r, d.m)
			if err != nil {
				t.Fatal(err)
			}
			if rep.Verdict != tt.want || !strings.Contains(strings.Join(rep.Problems, "\n"), tt.says) {
				t.Fatalf("%s, want %s with %q:\n%s", rep.Verdict, tt.want, tt.says, strings.Join(rep.Problems, "\n"))
			}
			if rep.Bytes != int64(len(d.whole)) || !rep.Manifest {
				t.Fatalf("report %+v", rep)
			}
		})
	}
}

func TestVerifyAtEveryCutOfASmallRecording(t *testing.T) {
	whole, m := build(t, "s1", "k", 0, lines(t, 5))
	for n := range len(whole) {
		r, err := OpenFile(writeFiles(t, t.TempDir(), whole[:n], nil))
		if err != nil {
			t.Fatal(err)
		}
		rep, err := Verify(t.Context(), r, m)
		closed(t, r)
		if err != nil || rep.Verdict != Truncated {
			t.Fatalf("cut after byte %d of %d: %s, %v", n, len(whole), rep.Verdict, err)
		}
	}
}

func TestVerifyFindsEveryChangedByte(t *testing.T) {
	whole, m := build(t, "s1", "k", 0, lines(t, 5))
	for n := range len(whole) {
		changed := bytes.Clone(whole)
		changed[n] ^= 0x40
		r, err := OpenFile(writeFiles(t, t.TempDir(), changed, nil))
		if err != nil {
			t.Fatal(err)
		}
		rep, err := Verify(t.Context(), r, m)
		closed(t, r)
		if err != nil || rep.Verdict != Corrupt {
			t.Fatalf("byte %d of %d changed: %s, %v", n, len(whole), rep.Verdict, err)
		}
	}
}

func TestVerifyWithoutManifestReadsOtherWritersRecordings(t *testing.T) {
	records := lines(t, 5)
	whole, m := build(t, "s1", "k", 0, records)
	padded := damaged{bytes.Clone(whole), m}
	padded.repad(0, 77)
	gapped, _ := build(t, "s1", "k", 0, append(append([][]byte{}, records[:1]...), records[3:]...))
	for name, tt := range map[string]struct {
		in   []byte
		want Verdict
	}{
		"ours": {whole, OK}, "padded": {padded.whole, OK}, "nothing": {nil, Truncated},
		"cut": {whole[:len(whole)-1], Truncated}, "changed": {append(bytes.Clone(whole[:len(whole)-1]), whole[len(whole)-1]^1), Corrupt},
		"a gap": {gapped, Incomplete}, "something else": {[]byte("this is a text file, and no recording"), Corrupt},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := OpenFile(writeFiles(t, t.TempDir(), tt.in, nil))
			if err != nil {
				t.Fatal(err)
			}
			defer closed(t, r)
			rep, err := Verify(t.Context(), r, nil)
			if err != nil || rep.Verdict != tt.want || rep.Manifest {
				t.Fatalf("%+v, %v, want %s", rep, err, tt.want)
			}
		})
	}
}

func TestVerifySessions(t *testing.T) {
	s := newSite(t)
	put(t, s.store, "whole", 0, lines(t, 20))
	body, m := build(t, "bare", s.store.Key("bare"+suffix), 0, lines(t, 20))
	object(t, s.store, "bare"+suffix, body)
	putManifest(t, s.store, "lone", m)
	object(t, s.store, "odd"+suffix, body)
	object(t, s.store, "odd"+manifestSuffix, []byte(`{"version":1}`))
	object(t, s.store, "swapped"+suffix, body)
	putManifest(t, s.store, "swapped", m)
	putManifest(t, s.store, "empty", &slicefmt.Manifest{Session: "empty", Outcome: slicefmt.OutcomeComplete, Created: epoch})
	s.publish(t, "running", lines(t, 3))
	s.log(t, "ending", bus.KindEnded, bus.SessionState{Ended: true})
	s.log(t, "lost", bus.KindLost, bus.SessionState{Ended: true})
	s.log(t, "vanished", bus.KindNotified, bus.SessionState{Ended: true})
	tests := []struct {
		sid  string
		want Verdict
		says string
	}{
		{"whole", OK, ""},
		{"empty", OK, ""},
		{"bare", Missing, "manifest is not there"},
		{"lone", Missing, "no recording"},
		{"odd", Corrupt, "manifest cannot be used"},
		{"swapped", Mismatch, "session bare"},
		{"running", Incomplete, "live"},
		{"ending", Incomplete, "ending"},
		{"lost", Missing, "lost"},
		{"vanished", Missing, "finished"},
	}
	for _, tt := range tests {
		t.Run(tt.sid, func(t *testing.T) {
			rep, err := s.Verify(t.Context(), tt.sid, nil)
			if err != nil || rep.Verdict != tt.want || !strings.Contains(strings.Join(rep.Problems, "\n"), tt.says) {
				t.Fatalf("%+v, %v, want %s with %q", rep, err, tt.want, tt.says)
			}
		})
	}
	if _, err := s.Verify(t.Context(), "unheard-of", nil); !errors.Is(err, ErrNotFound) {
		t.Fatalf("a session that nobody knows: %v", err)
	}
	if _, err := s.Verify(t.Context(), "../etc", nil); err == nil {
		t.Fatal("a name that is none was looked for")
	}
}
