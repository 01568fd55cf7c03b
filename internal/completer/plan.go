package completer

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// A plan is what a session's log says its recording is made of.
type plan struct {
	log   uploadlog.Log
	entry uploadlog.Entry // the ended record
	ended bus.EndedRecord
	state bus.SessionState
	parts []bus.PartRecord // in order of number
	bytes int64            // of all parts
	raw   int64            // before compression
}

// newPlan reads the plan out of a log that has ended, and checks that it is whole.
func newPlan(log uploadlog.Log) (*plan, error) {
	pl := &plan{log: log, entry: log.Last()}
	pl.state = pl.entry.State
	if err := json.Unmarshal(pl.entry.Payload, &pl.ended); err != nil {
		return nil, fmt.Errorf("read the ended record of session %s: %w", log.SID, err)
	}
	for _, e := range log.Records {
		// Parts of an earlier upload, which the store forgot, are in no object.
		if e.Kind != bus.KindPart || !sameUpload(e.State.Upload, pl.state.Upload) {
			continue
		}
		var part bus.PartRecord
		if err := json.Unmarshal(e.Payload, &part); err != nil {
			return nil, fmt.Errorf("read the part record at %d of session %s: %w", e.Seq, log.SID, err)
		}
		pl.add(part)
	}
	if pl.ended.Part != nil {
		pl.add(*pl.ended.Part)
	}
	if err := pl.check(); err != nil {
		return nil, fmt.Errorf("check the parts of session %s: %w", log.SID, err)
	}
	return pl, nil
}

func sameUpload(a, b *bus.UploadState) bool {
	return a != nil && b != nil && a.ID == b.ID
}

// add appends a part. A record that was stored twice, because the answer to its
// first write was wrong, is one part.
func (pl *plan) add(part bus.PartRecord) {
	if n := len(pl.parts); n > 0 && pl.parts[n-1].Number == part.Number &&
		pl.parts[n-1].SHA256 == part.SHA256 && pl.parts[n-1].First == part.First {
		return
	}
	pl.parts = append(pl.parts, part)
	pl.bytes += part.Bytes
	pl.raw += part.RawBytes
}

// check holds the parts against what the session is said to have: numbers grow,
// indexes grow from 0 to the count, every index that no part has is one that the
// log admits, and the events add up.
func (pl *plan) check() error {
	if len(pl.parts) > 0 && pl.state.Upload == nil {
		return fmt.Errorf("%d parts and no upload", len(pl.parts))
	}
	if len(pl.parts) > s3store.MaxParts {
		return fmt.Errorf("%d parts, at most %d", len(pl.parts), s3store.MaxParts)
	}
	var missing, records int64
	next, number := int64(0), 0
	for _, part := range pl.parts {
		switch span := part.Last - part.First + 1; {
		case part.Number <= number:
			return fmt.Errorf("part %d comes after part %d", part.Number, number)
		case part.First < next:
			return fmt.Errorf("part %d begins with event %d, but event %d is in the one before", part.Number, part.First, next-1)
		case part.Last < part.First, part.Records < 1, part.Records > span, part.Bytes < 1:
			return fmt.Errorf("part %d has %d events in %d to %d, %d bytes", part.Number, part.Records, part.First, part.Last, part.Bytes)
		default:
			missing += part.First - next + span - part.Records
		}
		if part.First > next && !pl.admitted(part, next) {
			return fmt.Errorf("events %d to %d are in no part (part %d begins with %d), and the log knows of no gap there",
				next, part.First-1, part.Number, part.First)
		}
		next, number, records = part.Last+1, part.Number, records+part.Records
	}
	tail := pl.ended.Count - next
	switch {
	case tail < 0:
		return fmt.Errorf("the last event is %d, but the count is %d", next-1, pl.ended.Count)
	case records != pl.ended.Events:
		return fmt.Errorf("parts have %d events, the session has %d", records, pl.ended.Events)
	case pl.state.Missing != missing+tail && pl.state.Missing != missing:
		// The ended record itself admits what is missing at the end.
		return fmt.Errorf("parts lack %d events of %d, the log admits %d", missing+tail, pl.ended.Count, pl.state.Missing)
	case tail > 0 && pl.ended.Outcome == bus.OutcomeComplete:
		return fmt.Errorf("events %d to %d are in no part, and the session is said to be complete", next, pl.ended.Count-1)
	}
	return nil
}

// admitted says whether the hole from next up to where part begins is a gap that
// the log admits. When it has more gaps than it lists only their sum is checked.
func (pl *plan) admitted(part bus.PartRecord, next int64) bool {
	holds := func(g bus.Gap) bool { return g.From <= next && g.To >= part.First }
	if slices.ContainsFunc(part.Gaps, holds) || slices.ContainsFunc(pl.state.Gaps, holds) {
		return true
	}
	return pl.state.GapCount > int64(len(pl.state.Gaps))
}

// stored is the parts as the store is to complete them.
func (pl *plan) stored() []s3store.Part {
	parts := make([]s3store.Part, len(pl.parts))
	for i, p := range pl.parts {
		parts[i] = s3store.Part{Number: p.Number, ETag: p.ETag, Checksum: p.Checksum, Size: p.Bytes}
	}
	return parts
}
