package completer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// headRecords is how many of the first events are looked through for the one that
// says how the session began; producers write it first.
const headRecords = 64

func (c *Completer) manifestKey(sid string) string { return c.store.Key(sid + ".manifest.json") }

// putManifest writes the manifest beside the recording. Everything in it comes from
// the log and the recording, so it is the same bytes each time.
func (c *Completer) putManifest(ctx context.Context, pl *plan, obj finished) error {
	m := pl.manifest(obj)
	if len(pl.parts) > 0 {
		if err := c.describe(ctx, pl, m); err != nil {
			return fmt.Errorf("read %s back: %w", obj.key, err)
		}
	}
	data, err := m.Marshal()
	if err != nil {
		return alarm{fmt.Errorf("manifest of session %s: %w", pl.state.SID, err)}
	}
	// A session without events may be the echo of one that was recorded, a message
	// of which came after its log was gone: its manifest must not take the place of
	// the other's. With a recording it is the completion that sees to that.
	err = c.store.Put(ctx, c.manifestKey(pl.state.SID), data, len(pl.parts) == 0)
	if len(pl.parts) == 0 && errors.Is(err, s3store.ErrExists) {
		return nil
	}
	return err
}

// manifest is the manifest without what only the recording says.
func (pl *plan) manifest(obj finished) *slicefmt.Manifest {
	st := pl.state
	m := &slicefmt.Manifest{
		Session: st.SID, Key: obj.key, Outcome: pl.ended.Outcome,
		Events: pl.ended.Events, Count: pl.ended.Count, Duplicates: st.Duplicates, Late: st.Late,
		Missing: pl.ended.Count - pl.ended.Events, GapCount: st.GapCount,
		Bytes: pl.bytes, RawBytes: pl.raw, ETag: obj.etag, Created: pl.entry.Time.UTC(),
	}
	if obj.key != "" {
		m.UploadNonce = st.Upload.Nonce
	}
	for _, g := range st.Gaps {
		m.Gaps = append(m.Gaps, slicefmt.Gap{From: g.From, To: g.To})
	}
	m.Parts = make([]slicefmt.ManifestPart, len(pl.parts))
	var offset int64
	for i, p := range pl.parts {
		m.Parts[i] = slicefmt.ManifestPart{
			Number: p.Number, Offset: offset, Bytes: p.Bytes, RawBytes: p.RawBytes, Records: p.Records,
			FirstIndex: p.First, LastIndex: p.Last,
			FirstEvent: p.FirstEvent, LastEvent: p.LastEvent, FirstDelay: p.FirstDelay, LastDelay: p.LastDelay,
			FirstSequence: p.FirstSeq, LastSequence: p.LastSeq, FirstTime: p.FirstTime, LastTime: p.LastTime,
			SHA256: p.SHA256, ETag: obj.parts[i].ETag, Checksum: obj.parts[i].Checksum,
		}
		offset += p.Bytes
	}
	return m
}

// describe fills in what the events at both ends of the recording say. A recording
// of one part is read once and its events are counted by type.
func (c *Completer) describe(ctx context.Context, pl *plan, m *slicefmt.Manifest) error {
	first, last := m.Parts[0], m.Parts[len(m.Parts)-1]
	// The log knows when it began and ended, whatever of it is looked at here.
	defer func() { m.Metadata.Start, m.Metadata.End = first.FirstEvent, last.LastEvent }()
	head := 0
	types := map[string]int64{}
	err := c.readPart(ctx, m.Key, first, func(r slicefmt.Record) (more bool, err error) {
		count(types, r.Type)
		head++
		if head <= headRecords || len(m.Parts) == 1 {
			m.Metadata.Observe(r.Header, r.OneOf)
		}
		return len(m.Parts) == 1 || head < headRecords, nil
	})
	if err != nil || len(m.Parts) == 1 {
		m.Types = types
		return err
	}
	return c.readPart(ctx, m.Key, last, func(r slicefmt.Record) (bool, error) {
		m.Metadata.Observe(r.Header, r.OneOf)
		return true, nil
	})
}

// A type is whatever an event says, so how many are counted, and how long ones, is
// bounded; the rest is counted as otherType.
const (
	maxTypes  = 1000
	maxType   = 64
	otherType = "other"
)

func count(types map[string]int64, typ []byte) {
	if len(typ) == 0 {
		typ = []byte("unknown")
	}
	switch name := string(typ[:min(len(typ), maxType+1)]); {
	case len(name) <= maxType && (types[name] > 0 || len(types) < maxTypes):
		types[name]++
	default:
		types[otherType]++
	}
}

// readPart reads the records of one part until f wants no more.
func (c *Completer) readPart(ctx context.Context, key string, part slicefmt.ManifestPart, f func(slicefmt.Record) (bool, error)) error {
	body, err := c.store.GetRange(ctx, key, part.Offset, part.Bytes)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	r := slicefmt.NewReader(body)
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if errors.Is(err, slicefmt.ErrCorrupt) || errors.Is(err, slicefmt.ErrVersion) {
			return alarm{err}
		}
		if err != nil {
			return err
		}
		if more, err := f(rec); !more || err != nil {
			return err
		}
	}
}
