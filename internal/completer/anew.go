package completer

import (
	"context"
	"errors"
	"fmt"

	"github.com/tapedeck-io/tapedeck/internal/failpoint"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// uploadAnew makes a recording whose upload the store has forgotten from what the
// bus still holds of the session.
//
// The parts are cut where the log says they were, and a part's bytes are a function
// of its records. So each part comes out with the SHA-256 in the log, or something
// is not as it was and the parts are lost. The object has the nonce of the first
// upload and, its parts being the same, its size: a crash after it was completed is
// seen by the next try as a lost reply. A crash before leaves an upload that no log
// knows, which goes with the orphans.
func (c *Completer) uploadAnew(ctx context.Context, pl *plan) (finished, error) {
	up := pl.state.Upload
	failpoint.Hit("completer/upload-anew/before")
	id, err := c.store.CreateUpload(ctx, up.Key, map[string]string{bus.MetaNonce: up.Nonce, bus.MetaSession: pl.state.SID})
	if err != nil {
		return finished{}, err
	}
	done, err := c.fillAnew(ctx, pl, id)
	failpoint.Hit("completer/upload-anew/after")
	if err != nil {
		if aerr := c.store.AbortUpload(ctx, up.Key, id); aerr != nil {
			c.log.Warn("upload not aborted", "key", up.Key, "upload", id, "err", aerr)
		}
		return finished{}, err
	}
	c.metrics.anew.Add(ctx, 1)
	c.log.Warn("recording uploaded anew: the store had lost its upload; look for a bucket lifecycle rule that aborts uploads",
		"session", pl.state.SID, "key", up.Key, "parts", len(pl.parts), "bytes", pl.bytes)
	return done, nil
}

// fillAnew puts all parts and completes the upload.
func (c *Completer) fillAnew(ctx context.Context, pl *plan, uploadID string) (finished, error) {
	done := finished{key: pl.state.Upload.Key}
	r := &rebuild{parts: pl.parts, put: func(p bus.PartRecord, body []byte) error {
		failpoint.Hit("completer/put-anew/before")
		part, err := c.store.PutPart(ctx, done.key, uploadID, p.Number, body)
		failpoint.Hit("completer/put-anew/after")
		done.parts = append(done.parts, part)
		return err
	}}
	// An end that is too early would have parts recorded as lost for good.
	opt := bus.ReadOptions{FromSeq: pl.parts[0].FirstSeq, Certain: true}
	for m, err := range bus.Read(ctx, c.conn, c.layout, pl.state.SID, opt) {
		if err != nil && m.Seq == 0 {
			return finished{}, fmt.Errorf("read session %s from the bus: %w", pl.state.SID, err)
		}
		if err != nil {
			continue // refused when it was recorded, too
		}
		if err := r.take(m); err != nil {
			return finished{}, err
		}
		if len(r.parts) == 0 {
			break
		}
	}
	if len(r.parts) > 0 {
		return finished{}, &lostError{reason: fmt.Sprintf("the upload is gone and the bus ends within part %d", r.parts[0].Number)}
	}
	var err error
	done.etag, err = c.store.CompleteUpload(ctx, done.key, uploadID, done.parts)
	if errors.Is(err, s3store.ErrUploadGone) {
		// Perhaps completed with its reply lost: the next try looks.
		err = fmt.Errorf("complete the new upload: %w", err)
	}
	return done, err
}

// A rebuild makes the parts that it lacks out of a session's messages.
type rebuild struct {
	parts []bus.PartRecord // still to be made
	put   func(bus.PartRecord, []byte) error
	slice slicefmt.Slice
	node  string // the session's owner so far
	next  int64  // every index below it was taken or is behind
}

// take uses what one message has of the parts.
func (r *rebuild) take(m bus.Message) error {
	if r.node == "" {
		r.node = m.Node
	}
	if m.Node != r.node {
		return nil // refused when it was recorded, too
	}
	if m.Control == bus.ControlHandover {
		r.node = m.To
	}
	for oneof, err := range m.Records() {
		if err != nil {
			return nil // a torn payload: the slicer took what was before, and so do we
		}
		h, err := events.Scan(oneof)
		if err != nil || len(oneof) > slicefmt.MaxRecord || h.Index < 0 || h.Index > slicefmt.MaxIndex {
			continue // refused, too
		}
		if err := r.record(h.Index, oneof); err != nil || len(r.parts) == 0 {
			return err
		}
	}
	return nil
}

// record takes one event, and puts a part when it is the part's last.
func (r *rebuild) record(index int64, oneof []byte) error {
	part := r.parts[0]
	if index < part.First || index < r.next {
		return nil // of a part before the first, or a duplicate
	}
	if r.slice.Records() == 0 && index != part.First || index > part.Last {
		return &lostError{reason: fmt.Sprintf("the upload is gone and the bus goes on with event %d within part %d (events %d to %d)",
			index, part.Number, part.First, part.Last)}
	}
	if err := r.slice.Append(oneof); err != nil {
		return alarm{fmt.Errorf("event %d: %w", index, err)}
	}
	r.next = index + 1
	if index < part.Last {
		return nil
	}
	body, sum, err := r.slice.Finish(nil)
	if err != nil {
		return alarm{fmt.Errorf("make part %d: %w", part.Number, err)}
	}
	if sum.SHA256 != part.SHA256 {
		return &lostError{reason: fmt.Sprintf("the upload is gone and what the bus has makes another part %d (%d events of %d, SHA-256 %s, was %s)",
			part.Number, sum.Records, part.Records, sum.SHA256, part.SHA256)}
	}
	if err := r.put(part, body); err != nil {
		return err
	}
	slicefmt.Recycle(body)
	r.parts = r.parts[1:]
	return nil
}
