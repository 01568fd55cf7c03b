package recording

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// A Verdict is what Verify found, in one word.
type Verdict string

// Verdicts, the worst last. Of several that hold, a report has the worst.
const (
	OK         Verdict = "ok"         // every byte and every event is there
	Incomplete Verdict = "incomplete" // all that was recorded is there, but the session was abandoned, has gaps, or is not over
	Mismatch   Verdict = "mismatch"   // it reads well and is not what its manifest says, or what one of ours can be
	Truncated  Verdict = "truncated"  // it ends before its end
	Corrupt    Verdict = "corrupt"    // bytes have changed
	Missing    Verdict = "missing"    // the recording, or its manifest, is not there
)

var severity = map[Verdict]int{OK: 0, Incomplete: 1, Mismatch: 2, Truncated: 3, Corrupt: 4, Missing: 5}

// A Report is what Verify found.
type Report struct {
	Verdict  Verdict
	Problems []string // the first maxProblems of them, with where they are
	Found    int      // all of them
	Manifest bool     // it was checked against one
	Outcome  string   // as the manifest has it
	Bytes    int64    // read
	Counts   slicefmt.Counts
}

// maxProblems bounds what a report lists.
const maxProblems = 50

func (r *Report) add(v Verdict, format string, args ...any) {
	if severity[v] > severity[r.Verdict] {
		r.Verdict = v
	}
	if r.Found++; len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// Verify reads all of a recording and says whether it is whole. With a manifest,
// m, everything in it is checked: size and offset of each part, its SHA-256, its
// records and their indexes, and the sums over all; and the recording must be
// laid out strictly, as those made here are: version 1, one gzip member a part
// and nothing after it, indexes that only grow, from 0 but for admitted gaps, and
// no part but the last below 5 MiB. Without one, which is how a recording of
// another writer is checked, it must read to its end without an error.
//
// The error is of reading, not of what was read: then nothing is known.
func Verify(ctx context.Context, r *Recording, m *slicefmt.Manifest) (Report, error) {
	rep := Report{Verdict: OK, Counts: slicefmt.NewCounts()}
	if r.bus != nil {
		return rep, errors.New("verify: what the bus holds is no recording yet")
	}
	v := &verifier{rep: &rep, m: m}
	if m != nil {
		rep.Manifest, rep.Outcome = true, m.Outcome
	}
	whole := &parts{ctx: ctx, r: r}
	if r.size > 0 {
		whole.left = []numbered{{slicefmt.ManifestPart{Bytes: r.size}, 1}}
	}
	defer func() { _ = whole.Close() }()
	v.stream = hasher{src: whole, v: v}
	v.stream.begin()
	err := v.read()
	rep.Bytes = v.stream.at
	if errors.Is(err, s3store.ErrNotFound) {
		rep.add(Missing, "the recording is not there: %v", err)
		return rep, nil
	}
	if err != nil {
		return rep, fmt.Errorf("verify %s: %w", r.name, err)
	}
	v.totals()
	if rep.Bytes == 0 && m == nil {
		rep.add(Truncated, "there is not one byte in it")
	}
	return rep, nil
}

// Verify finds the recording of a session and checks it against its manifest.
// What is not there is reported as Missing, and what is not finished as
// Incomplete. It returns ErrNotFound if nothing is known of the session.
func (l *Library) Verify(ctx context.Context, name string, onRead func(n int)) (Report, error) {
	rep := Report{Verdict: OK, Counts: slicefmt.NewCounts()}
	m, noMan := readManifest(ctx, l.Store, name)
	if noMan != nil && !manifestAtFault(noMan) {
		return rep, noMan
	}
	r, err := OpenObject(ctx, l.Store, name)
	switch {
	case errors.Is(err, s3store.ErrNotFound) && m != nil:
		rep.Manifest, rep.Outcome = true, m.Outcome
		rep.add(Missing, "there is a manifest and no recording %s", m.Key)
		return rep, nil
	case errors.Is(err, s3store.ErrNotFound):
		info, err := l.Find(ctx, name)
		if err != nil {
			return rep, err
		}
		rep.add(Incomplete, "the session is %s: there is no finished recording yet", info.Status)
		if info.Status == Lost || info.Status == Finished {
			rep.add(Missing, "the recording is not there, though the session's log says that it is %s", info.Status)
		}
		return rep, nil
	case err != nil:
		return rep, err
	}
	defer func() { _ = r.Close() }()
	r.OnRead(onRead)
	if rep, err = Verify(ctx, r, m); err != nil {
		return rep, err
	}
	switch {
	case errors.Is(noMan, s3store.ErrNotFound) && l.beingFinished(ctx, name):
		rep.add(Incomplete, "the recording is being finished: its manifest is to come")
	case errors.Is(noMan, s3store.ErrNotFound):
		rep.add(Missing, "the manifest is not there: %v", noMan)
	case noMan != nil:
		rep.add(Corrupt, "the manifest cannot be used: %v", noMan)
	case m.Session != sessionOf(name):
		rep.add(Mismatch, "the manifest is that of session %s", m.Session)
	}
	return rep, nil
}

// A verifier reads a recording once, and checks its bytes and its events as they
// pass.
type verifier struct {
	rep    *Report
	m      *slicefmt.Manifest // nil if there is none
	stream hasher
	parts  int // whole ones that were read
}

func (v *verifier) read() error {
	zr := slicefmt.NewReader(&v.stream)
	zr.OnPart(v.part)
	var err error
	for err == nil {
		_, err = zr.Next()
	}
	v.rep.Counts = zr.Counts()
	broken := v.told(err)
	if !broken && !isEOF(err) {
		return err
	}
	// The rest is no longer read as records, but its checksums are checked.
	if _, err := io.Copy(io.Discard, &v.stream); err != nil {
		return err
	}
	v.stream.end()
	return nil
}

// told reports an error that says that the recording is at fault.
func (v *verifier) told(err error) bool {
	switch {
	case errors.Is(err, slicefmt.ErrTruncated):
		v.rep.add(Truncated, "%v", err)
	case errors.Is(err, slicefmt.ErrCorrupt), errors.Is(err, slicefmt.ErrVersion):
		v.rep.add(Corrupt, "%v", err)
	case errors.Is(err, slicefmt.ErrEncrypted):
		v.rep.add(Mismatch, "%v", err)
	default:
		return false
	}
	return true
}

// part checks a part that was read to its end.
func (v *verifier) part(p slicefmt.PartInfo) {
	v.parts++
	if v.m == nil {
		return
	}
	v.strict(p)
	if v.parts > len(v.m.Parts) {
		v.rep.add(Mismatch, "part %d at byte %d is not in the manifest", p.Part, p.Offset)
		return
	}
	want := v.m.Parts[v.parts-1]
	checks := []struct {
		what      string
		got, want int64
	}{
		{"begins at byte", p.Offset, want.Offset},
		{"has bytes:", p.Size(), want.Bytes},
		{"has uncompressed bytes:", p.RawBytes, want.RawBytes},
		{"has records:", p.Records, want.Records},
		{"has the first index", p.FirstSeen, want.FirstIndex},
		{"has the last index", p.LastSeen, want.LastIndex},
	}
	for _, c := range checks {
		if c.got != c.want {
			v.rep.add(Mismatch, "part %d %s %d, the manifest says %d", p.Part, c.what, c.got, c.want)
		}
	}
}

// strict checks what only recordings made here promise.
func (v *verifier) strict(p slicefmt.PartInfo) {
	if p.Version != slicefmt.Version1 {
		v.rep.add(Mismatch, "part %d has version %d", p.Part, p.Version)
	}
	if p.Padding > 0 || p.Trailing > 0 {
		v.rep.add(Mismatch, "part %d has %d bytes after its gzip member", p.Part, p.Padding+p.Trailing)
	}
	if !p.Ascending {
		v.rep.add(Mismatch, "part %d has an index that is not above the one before", p.Part)
	}
	if p.Size() < slicefmt.MinPartSize && v.parts < len(v.m.Parts) {
		v.rep.add(Mismatch, "part %d has %d bytes, and only the last may have fewer than %d", p.Part, p.Size(), slicefmt.MinPartSize)
	}
}

// totals checks what can be said at the end.
func (v *verifier) totals() {
	c, rep := v.rep.Counts, v.rep
	if v.m == nil {
		if c.Gaps > 0 {
			rep.add(Incomplete, "%d indexes are missing, in %d gaps", c.Missing, c.Gaps)
		}
		return
	}
	m := v.m
	switch {
	case rep.Bytes < m.Bytes:
		rep.add(Truncated, "the recording has %d bytes, the manifest says %d", rep.Bytes, m.Bytes)
	case rep.Bytes > m.Bytes:
		rep.add(Mismatch, "the recording has %d bytes, the manifest says %d", rep.Bytes, m.Bytes)
	}
	if rep.Verdict == OK { // else what was not read would be counted as missing
		v.events()
	}
	switch m.Outcome {
	case slicefmt.OutcomeAbandoned:
		rep.add(Incomplete, "the session was abandoned: its producer fell silent after %d events", m.Events)
	case slicefmt.OutcomeGapped:
		rep.add(Incomplete, "%d of %d events are missing, in %d gaps", m.Missing, m.Count, max(m.GapCount, int64(len(m.Gaps))))
	}
}

// events checks the counts of events against the manifest.
func (v *verifier) events() {
	c, m, rep := v.rep.Counts, v.m, v.rep
	if c.Records != m.Events {
		rep.add(Mismatch, "the recording has %d events, the manifest says %d", c.Records, m.Events)
	}
	if missing := c.Missing + m.Count - (c.LastIndex + 1); missing != m.Missing {
		rep.add(Mismatch, "%d indexes are missing, the manifest says %d", missing, m.Missing)
	}
	if m.Outcome == slicefmt.OutcomeComplete && m.Missing != 0 {
		rep.add(Mismatch, "the manifest says complete, and that %d indexes are missing", m.Missing)
	}
}

// A hasher passes a recording's bytes on and takes the checksums of the parts that
// the manifest says there are, wherever the bytes say that parts begin.
type hasher struct {
	src  io.Reader
	v    *verifier
	at   int64 // bytes that have passed
	n    int   // the manifest's part that at is in
	left int64 // of it
	sum  hash.Hash
}

func (h *hasher) begin() {
	h.sum = sha256.New()
	if h.v.m != nil && h.n < len(h.v.m.Parts) {
		h.left = h.v.m.Parts[h.n].Bytes
	}
}

func (h *hasher) Read(b []byte) (int, error) {
	n, err := h.src.Read(b)
	h.at += int64(n)
	for p := b[:n]; h.left > 0 && len(p) > 0; {
		k := min(h.left, int64(len(p)))
		h.sum.Write(p[:k])
		p, h.left = p[k:], h.left-k
		if h.left == 0 {
			h.check()
		}
	}
	return n, err
}

// check compares the checksum of a whole part and begins the next.
func (h *hasher) check() {
	want := h.v.m.Parts[h.n]
	if got := hex.EncodeToString(h.sum.Sum(nil)); got != want.SHA256 {
		h.v.rep.add(Corrupt, "part %d at byte %d has SHA-256 %s, the manifest says %s", h.n+1, want.Offset, got, want.SHA256)
	}
	h.n++
	h.begin()
}

// end reports the parts that did not pass in full.
func (h *hasher) end() {
	if h.left > 0 {
		missing := len(h.v.m.Parts) - h.n
		h.v.rep.add(Truncated, "it ends at byte %d, in part %d: %d of %d parts are not there in full", h.at, h.n+1, missing, len(h.v.m.Parts))
	}
}
