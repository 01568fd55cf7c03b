package recording

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// Sizes of the parts of a rebuilt recording, in stored bytes: small at first, and
// then as large as 10,000 parts must be for 600 GiB.
const (
	rebuildPart  = 8 << 20
	rebuildLarge = 64 << 20
	rebuildSmall = 100 // parts of the small size
)

// A Rebuilt is a recording that Rebuild made.
type Rebuilt struct {
	Name     string // what [Library.Open] and [Library.Verify] know it by
	Key      string
	Manifest *slicefmt.Manifest
	Trimmed  slicefmt.Gap // what the bus no longer holds; also the first of the manifest's gaps
	Bus      BusInfo
}

// Rebuild makes a recording of a session from what the bus holds, under a key of
// its own, with a manifest. It never replaces anything: an object of that key is
// an error. It returns ErrRunning for a session that is not over, and ErrNotOnBus
// if the bus holds no event of it.
//
// A crash on the way leaves an upload without an owner, which holds nothing that
// anyone reads; a crash between recording and manifest leaves a recording that can
// be read and not verified.
func (l *Library) Rebuild(ctx context.Context, sid string, store UploadStore) (Rebuilt, error) {
	info, err := l.Find(ctx, sid)
	if err != nil {
		return Rebuilt{}, err
	}
	if info.Status == Live {
		return Rebuilt{}, fmt.Errorf("rebuild session %s: %w", sid, ErrRunning)
	}
	r, err := l.FromBus(ctx, sid)
	if err != nil {
		return Rebuilt{}, err
	}
	now := time.Now().UTC()
	name := sid + ".rebuilt-" + now.Format("20060102T150405Z")
	b := &rebuilder{
		store: store, from: r, nonce: uuid.NewString(), key: store.Key(name + suffix),
		m: &slicefmt.Manifest{Session: sid, Rebuilt: true, Created: now, Types: map[string]int64{}},
	}
	if err := b.run(ctx); err != nil {
		b.abort(ctx)
		return Rebuilt{}, fmt.Errorf("rebuild session %s: %w", sid, err)
	}
	data, err := b.m.Marshal()
	if err == nil {
		err = store.Put(ctx, store.Key(name+manifestSuffix), data, true)
	}
	if err != nil {
		return Rebuilt{}, fmt.Errorf("write the manifest of %s: %w", b.key, err)
	}
	return Rebuilt{Name: name, Key: b.key, Manifest: b.m, Trimmed: r.BusInfo().Trimmed(), Bus: r.BusInfo()}, nil
}

type rebuilder struct {
	store  UploadStore
	from   *Recording
	key    string
	nonce  string
	upload string // "" before the first part and after the last
	parts  []s3store.Part
	slice  slicefmt.Slice
	part   slicefmt.ManifestPart // the one being built
	m      *slicefmt.Manifest
}

func (b *rebuilder) run(ctx context.Context) error {
	next := int64(0)
	for rec, err := range b.from.Records(ctx, Range{}) {
		if err != nil {
			return err
		}
		b.gap(next, rec.Index)
		next = rec.Index + 1
		if err := b.add(ctx, rec); err != nil {
			return err
		}
	}
	if b.slice.Records() > 0 {
		if err := b.put(ctx); err != nil {
			return err
		}
	}
	if len(b.parts) == 0 {
		return ErrNotOnBus
	}
	info := b.from.BusInfo()
	b.gap(next, info.Count)
	b.m.Count = max(next, info.Count)
	b.m.Key, b.m.Late, b.m.Duplicates = b.key, info.Late, b.from.Counts().Duplicates
	switch {
	case !info.Ended:
		b.m.Outcome = slicefmt.OutcomeAbandoned
	case b.m.Missing > 0:
		b.m.Outcome = slicefmt.OutcomeGapped
	default:
		b.m.Outcome = slicefmt.OutcomeComplete
	}
	etag, err := b.store.CompleteUpload(ctx, b.key, b.upload, b.parts)
	if err != nil {
		return err
	}
	b.upload, b.m.ETag, b.m.UploadNonce = "", etag, b.nonce
	return nil
}

// gap takes note that the bus has no event from one index up to another.
func (b *rebuilder) gap(from, to int64) {
	if from >= to {
		return
	}
	b.m.Missing += to - from
	if b.m.GapCount++; len(b.m.Gaps) < bus.MaxListedGaps {
		b.m.Gaps = append(b.m.Gaps, slicefmt.Gap{From: from, To: to})
	}
}

// maxTypes bounds how many types are counted: a type is whatever an event says.
const maxTypes = 1000

func (b *rebuilder) add(ctx context.Context, rec slicefmt.Record) error {
	if err := b.slice.Append(rec.OneOf); err != nil {
		return err
	}
	at, m := &b.part, b.from.bus.at
	if b.slice.Records() == 1 {
		*at = slicefmt.ManifestPart{
			FirstIndex: rec.Index, FirstEvent: rec.Time(), FirstDelay: -1, LastDelay: -1,
			FirstSequence: m.Seq, FirstTime: m.Time.UTC(),
		}
	}
	at.LastIndex, at.LastEvent, at.LastSequence, at.LastTime = rec.Index, rec.Time(), m.Seq, m.Time.UTC()
	if rec.HasDelay {
		if at.FirstDelay < 0 {
			at.FirstDelay = rec.Delay
		}
		at.LastDelay = rec.Delay
	}
	b.m.Metadata.Observe(rec.Header, rec.OneOf)
	if typ := string(rec.Type); b.m.Types[typ] > 0 || len(b.m.Types) < maxTypes {
		b.m.Types[typ]++
	}
	limit := int64(rebuildPart)
	if len(b.parts) >= rebuildSmall {
		limit = rebuildLarge
	}
	if b.slice.Size() < limit {
		return nil
	}
	return b.put(ctx)
}

// put finishes the part and uploads it.
func (b *rebuilder) put(ctx context.Context) error {
	body, sum, err := b.slice.Finish(nil)
	if err != nil {
		return err
	}
	defer slicefmt.Recycle(body)
	if b.upload == "" {
		meta := map[string]string{bus.MetaNonce: b.nonce, bus.MetaSession: b.m.Session}
		if b.upload, err = b.store.CreateUpload(ctx, b.key, meta); err != nil {
			return err
		}
	}
	n := len(b.parts) + 1
	if n > slicefmt.MaxPartNumber {
		return errors.New("the recording is too large: it takes more than 10,000 parts")
	}
	stored, err := b.store.PutPart(ctx, b.key, b.upload, n, body)
	if err != nil {
		return err
	}
	b.parts = append(b.parts, stored)
	p := b.part
	p.Number, p.Offset, p.Bytes, p.RawBytes, p.Records = n, b.m.Bytes, sum.Bytes, sum.RawBytes, sum.Records
	p.SHA256, p.ETag, p.Checksum = sum.SHA256, stored.ETag, stored.Checksum
	b.m.Parts = append(b.m.Parts, p)
	b.m.Bytes, b.m.RawBytes, b.m.Events = b.m.Bytes+sum.Bytes, b.m.RawBytes+sum.RawBytes, b.m.Events+sum.Records
	return nil
}

// abort drops an upload that came to nothing, if it can.
func (b *rebuilder) abort(ctx context.Context) {
	b.slice.Reset()
	if b.upload == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_ = b.store.AbortUpload(ctx, b.key, b.upload)
}
