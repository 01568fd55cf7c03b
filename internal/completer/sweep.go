package completer

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// sweepInHand is how many sessions a sweep has in hand at most, those that wait for
// their logs to be shrunk included: after a long absence there may be very many.
const sweepInHand = 256

// sweep looks through all logs and works on each session that has ended and has not
// come to its last record, as long as the consumer should have brought it by now.
func (c *Completer) sweep(ctx, work context.Context) {
	var due []uploadlog.Head
	before := time.Now().Add(-min(ackWait, c.cfg.Sweep))
	err := uploadlog.EachLog(ctx, c.conn, func(h uploadlog.Head) error {
		if unfinished(h) && h.Time.Before(before) {
			due = append(due, h)
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		c.log.Warn("look through the upload log interrupted", "err", err)
	}
	saw(ctx, &c.looked, err)
	c.noteOverdue(ctx, due)
	if len(due) > 0 {
		c.log.Info("sessions found that ended and are not finished", "sessions", len(due))
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	inHand := make(chan struct{}, sweepInHand)
	for _, h := range due {
		select {
		case inHand <- struct{}{}:
		case <-ctx.Done():
			return
		}
		if c.slots.Acquire(ctx, 1) != nil {
			return
		}
		wg.Go(func() {
			defer func() { <-inHand }()
			release := sync.OnceFunc(func() { c.slots.Release(1) })
			defer release()
			if !c.begin(h.SID) {
				return
			}
			defer c.end(h.SID)
			// Errors are logged and counted there; the next sweep tries again.
			if left, err := c.try(work, h.Partition, h.SID, false); err == nil {
				release()
				_ = c.tidy(ctx, work, h.Partition, h.SID, left)
			}
		})
	}
}

func (c *Completer) noteOverdue(ctx context.Context, due []uploadlog.Head) {
	var waited time.Duration
	for _, h := range due {
		waited = max(waited, time.Since(h.Time))
	}
	c.metrics.overdue.Record(ctx, int64(len(due)))
	c.metrics.waited.Record(ctx, waited.Seconds())
}

// unfinished says whether there is something left to do after this record.
func unfinished(h uploadlog.Head) bool {
	switch h.Kind {
	case bus.KindEnded, bus.KindCompleted:
		return true
	case bus.KindNotified:
		return !h.Expires
	}
	return false
}

// abortOrphans aborts uploads under the installation's prefix that are old and that
// no log knows: a slicer died between creating one and recording it, or a recording
// was begun anew. Whoever uses an upload has recorded it long before that age.
//
// In a bucket without a prefix of ours they could be somebody else's, and are left
// alone unless the operator says that the bucket is ours.
func (c *Completer) abortOrphans(ctx context.Context) {
	if c.store.Key("") == "" && !c.cfg.OwnBucket {
		return
	}
	for up, err := range c.store.ListUploads(ctx, c.store.Key("")) {
		if err != nil {
			if ctx.Err() == nil {
				c.log.Warn("look for orphaned uploads interrupted", "err", err)
			}
			return
		}
		if time.Since(up.Initiated) < c.cfg.OrphanAge {
			continue
		}
		orphan, err := c.orphan(ctx, up)
		if err == nil && orphan {
			err = c.store.AbortUpload(ctx, up.Key, up.ID)
		}
		switch {
		case err != nil:
			c.log.Warn("orphaned upload not aborted", "key", up.Key, "upload", up.ID, "err", err)
		case orphan:
			c.metrics.orphans.Add(ctx, 1)
			c.log.Info("orphaned upload aborted", "key", up.Key, "upload", up.ID, "since", up.Initiated)
		}
	}
}

func validName(sid string) bool { return bus.ValidName(sid) == nil }

// orphan says whether an upload is of a recording of ours and is not the one that
// the session's log, read now, names.
func (c *Completer) orphan(ctx context.Context, up s3store.Upload) (bool, error) {
	name := strings.TrimPrefix(up.Key, c.store.Key(""))
	sid, ok := strings.CutSuffix(name, ".tar")
	if !ok || !validName(sid) {
		return false, nil // not a recording's key
	}
	last, err := uploadlog.ReadLast(ctx, c.conn, bus.Partition(sid, c.layout.Partitions), sid)
	switch {
	case errors.Is(err, uploadlog.ErrNotFound):
		return true, nil
	case errors.Is(err, uploadlog.ErrNewer):
		return false, nil
	case err != nil:
		return false, err
	}
	return last.State.Upload == nil || last.State.Upload.ID != up.ID, nil
}
