package completer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/failpoint"
	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// An alarm is an error that trying again will not mend by itself.
type alarm struct{ err error }

func (a alarm) Error() string { return a.err.Error() }
func (a alarm) Unwrap() error { return a.err }

func isAlarm(err error) bool {
	var a alarm
	return errors.As(err, &a)
}

// lostError says that parts of a session exist nowhere any more.
type lostError struct{ reason string }

func (e *lostError) Error() string { return "parts are lost: " + e.reason }

// ttlBeyondKeep is how much longer than its events a session's last record lives.
const ttlBeyondKeep = 24 * time.Hour

// advance takes a session as far as it goes, from wherever it is. Every step looks
// at the newest record only, is safe to repeat, and ends with a record that is
// stored only if nobody else's came first; then it starts over from what is there.
// Without shrink it stops when the world has been told.
func (c *Completer) advance(ctx context.Context, p int, sid string, shrink bool) (result string, err error) {
	result, _, err = c.advanceTo(ctx, p, sid, shrink)
	return result, err
}

// A rest is a log that is to be shrunk, as far as its records are known.
type rest struct {
	last  uploadlog.Entry // the newest, notified
	older []uint64        // all others
}

// advanceTo is advance, and says what is left to be shrunk: nil if nothing is, or if
// that is to be found out.
func (c *Completer) advanceTo(ctx context.Context, p int, sid string, shrink bool) (result string, left *rest, err error) {
	for range 5 {
		log, err := uploadlog.ReadLog(ctx, c.conn, p, sid)
		if err != nil {
			return "", nil, err
		}
		tracing, done := c.span(ctx, log)
		result, left, err := c.steps(tracing, log, shrink)
		done(result, err)
		if err == nil {
			return result, left, nil
		}
		if errors.Is(err, uploadlog.ErrMoved) || c.moved(ctx, log) {
			// Another replica is at it, or has shrunk the log while we read it.
			continue
		}
		return "", nil, err
	}
	return "", nil, fmt.Errorf("complete session %s: its log moves on under us", sid)
}

// moved says whether a log has a newer record than when it was read.
func (c *Completer) moved(ctx context.Context, log uploadlog.Log) bool {
	last, err := uploadlog.ReadLast(ctx, c.conn, log.Partition, log.SID)
	return errors.Is(err, uploadlog.ErrNotFound) || (err == nil && last.Seq != log.Last().Seq)
}

// steps goes from the newest record of log to the end.
func (c *Completer) steps(ctx context.Context, log uploadlog.Log, shrink bool) (result string, left *rest, err error) {
	last := log.Last()
	var seqs []uint64
	for _, e := range log.Records {
		seqs = append(seqs, e.Seq)
	}
	if last.Kind == bus.KindEnded {
		if last, err = c.finish(ctx, log); err != nil {
			return "", nil, err
		}
		seqs = append(seqs, last.Seq)
	}
	if last.Kind == bus.KindCompleted {
		if last, err = c.announce(ctx, log.Partition, log.SID, last); err != nil {
			return "", nil, err
		}
		seqs = append(seqs, last.Seq)
	}
	left = &rest{last: last, older: seqs[:len(seqs)-1]}
	switch {
	case last.Kind == bus.KindLost:
		return resultLost, nil, nil
	case last.Kind != bus.KindNotified: // it has not ended
		return resultDone, nil, nil
	case !last.Expires && !shrink:
		return resultDone, left, nil
	case !last.Expires:
		return resultDone, nil, c.shrink(ctx, log.Partition, log.SID, left)
	case shrink:
		// Found so: a crash may have come between the two notified records.
		for _, seq := range left.older {
			if err := c.forget(ctx, seq); err != nil {
				return "", nil, err
			}
		}
	}
	return resultDone, nil, nil
}

// finish makes the recording and its manifest, and records *completed*; or
// *parts-lost*.
func (c *Completer) finish(ctx context.Context, log uploadlog.Log) (uploadlog.Entry, error) {
	pl, err := newPlan(log)
	if err != nil {
		// The log contradicts itself or has a hole: never completed as if whole.
		return uploadlog.Entry{}, alarm{err}
	}
	rec := bus.CompletedRecord{
		Bytes: pl.bytes, Events: pl.ended.Events, Outcome: pl.ended.Outcome, At: time.Now().UTC().Truncate(time.Millisecond),
	}
	obj, err := c.object(ctx, pl)
	var lost *lostError
	if errors.As(err, &lost) {
		return c.lose(ctx, pl, rec, lost.reason)
	}
	if err != nil {
		return uploadlog.Entry{}, err
	}
	// A crash here leaves the finished object. The next try finds it and sees by
	// nonce and size that it is ours.
	rec.Key, rec.ETag, rec.Manifest = obj.key, obj.etag, c.manifestKey(pl.state.SID)
	failpoint.Hit("completer/manifest/before")
	if err := c.putManifest(ctx, pl, obj); err != nil {
		return uploadlog.Entry{}, err
	}
	failpoint.Hit("completer/manifest/after")
	// A crash here leaves object and manifest. The manifest is written once more,
	// the same bytes.
	e, err := c.commit(ctx, bus.KindCompleted, pl.log.Partition, pl.log.SID, pl.entry, rec, 0)
	if err != nil {
		return uploadlog.Entry{}, err
	}
	c.log.InfoContext(ctx, "recording completed", "session", pl.state.SID, "key", obj.key, "parts", len(pl.parts),
		"bytes", pl.bytes, "events", rec.Events, "outcome", rec.Outcome)
	return e, nil
}

// lose tells that a session's parts are lost and records it.
func (c *Completer) lose(ctx context.Context, pl *plan, rec bus.CompletedRecord, reason string) (uploadlog.Entry, error) {
	rec.Lost = reason
	if pl.state.Upload != nil {
		rec.Key = pl.state.Upload.Key
	}
	// Told first: once parts-lost is recorded nothing brings a completer back.
	if err := c.notify(ctx, NotifyFailed, pl.log.SID, pl.entry.Seq, rec); err != nil {
		return uploadlog.Entry{}, err
	}
	// A crash here leaves a notification that comes once more with the same id.
	e, err := c.commit(ctx, bus.KindLost, pl.log.Partition, pl.log.SID, pl.entry, rec, 0)
	if err != nil {
		return uploadlog.Entry{}, err
	}
	c.log.ErrorContext(ctx, "parts of a recording are lost", "session", pl.log.SID, "key", rec.Key, "reason", reason)
	return e, nil
}

// announce tells that a recording is there, and records *notified*.
func (c *Completer) announce(ctx context.Context, p int, sid string, last uploadlog.Entry) (uploadlog.Entry, error) {
	var rec bus.CompletedRecord
	if err := json.Unmarshal(last.Payload, &rec); err != nil {
		return uploadlog.Entry{}, alarm{fmt.Errorf("read the completed record of session %s: %w", sid, err)}
	}
	if err := c.publishUpload(ctx, sid, last.Seq, rec); err != nil {
		return uploadlog.Entry{}, err
	}
	what := NotifyCompleted
	if rec.Outcome == bus.OutcomeAbandoned {
		what = NotifyAbandoned
	}
	if err := c.notify(ctx, what, sid, last.Seq, rec); err != nil {
		return uploadlog.Entry{}, err
	}
	// A crash between any of these leaves messages that come once more, with the
	// same ids.
	return c.commit(ctx, bus.KindNotified, p, sid, last, rec, 0)
}

// shrink leaves one record of a session's log, which goes when its events are gone.
//
// All older records and checkpoints must be deleted before anything of the log has a
// time to live: one left behind would be the newest when the last one goes, and a
// slicer would take the session for open. So *notified* is written twice.
func (c *Completer) shrink(ctx context.Context, p int, sid string, left *rest) error {
	last := left.last
	err := c.write("shrink", func() error {
		_, err := uploadlog.ShrinkKnown(ctx, c.conn, p, sid, last.Seq, left.older)
		return err
	})
	if err != nil {
		return err
	}
	// A crash here, or before: the newest record is still one without a time to
	// live, and the next try goes on deleting.
	var rec bus.CompletedRecord
	if err := json.Unmarshal(last.Payload, &rec); err != nil {
		return alarm{fmt.Errorf("read the notified record of session %s: %w", sid, err)}
	}
	if _, err := c.commit(ctx, bus.KindNotified, p, sid, last, rec, c.cfg.KeepTime+ttlBeyondKeep); err != nil {
		return err
	}
	// A crash here leaves the first notified record. It goes with the next try, or
	// is found again when the second one has gone.
	return c.forget(ctx, last.Seq)
}

// forget deletes a notified record that has been written once more.
func (c *Completer) forget(ctx context.Context, seq uint64) error {
	return c.write("delete", func() error { return uploadlog.Delete(ctx, c.conn, seq) })
}

// commit stores the next record of a session if last is still the newest.
func (c *Completer) commit(ctx context.Context, kind string, p int, sid string, last uploadlog.Entry,
	rec bus.CompletedRecord, ttl time.Duration) (uploadlog.Entry, error) {
	payload, err := json.Marshal(rec)
	if err != nil {
		return uploadlog.Entry{}, fmt.Errorf("encode %s record: %w", kind, err)
	}
	step := "commit " + kind
	if ttl > 0 {
		step += " with ttl"
	}
	var seq uint64
	err = c.write(step, func() error {
		seq, err = c.commits.append(ctx, uploadlog.Successor{Partition: p, SID: sid, Prev: last.Seq,
			Record: uploadlog.Record{Kind: kind, State: last.State, Payload: payload, TTL: ttl}})
		return err
	})
	if err != nil {
		return uploadlog.Entry{}, err
	}
	return uploadlog.Entry{Kind: kind, Seq: seq, State: last.State, Payload: payload, Expires: ttl > 0}, nil
}
