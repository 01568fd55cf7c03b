package sessions

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tapedeck-io/tapedeck/internal/health"
	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// How often a Keeper looks.
const (
	lookEvery = time.Second      // for sessions that have begun
	syncEvery = 10 * time.Minute // at everything, for what was missed
	retryWait = 2 * time.Second  // after an error
)

// atOnce is how many manifests are downloaded at a time, and perWrite how many
// sessions are written at once.
const (
	atOnce   = 8
	perWrite = 200
)

// A Keeper keeps an index as the installation is: it brings it up to date when it
// starts, and follows from then on.
//
// A session shows when its first message is on the bus, at the next look; it
// changes with the records of its upload log; it is finished when that says so, and
// from then on its manifest is what counts.
type Keeper struct {
	Index   *Index
	Library *recording.Library
	Log     *slog.Logger
	Tries   *health.Pulse // takes note of how bringing it up to date goes; may be nil
}

// Run keeps the index until ctx is done. It returns nil.
func (k *Keeper) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := k.round(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		k.tried(err)
		k.Log.Warn("list of sessions is not up to date, trying again", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(retryWait):
		}
	}
	return nil
}

func (k *Keeper) tried(err error) {
	if k.Tries != nil {
		k.Tries.Saw(err)
	}
}

// round brings the index up to date and follows until it is time to do so again,
// or something goes wrong.
func (k *Keeper) round(ctx context.Context) error {
	if k.Library.Conn == nil {
		if err := k.Sync(ctx); err != nil {
			return err
		}
		k.tried(nil)
		select {
		case <-ctx.Done():
		case <-time.After(10 * lookEvery):
		}
		return nil
	}
	// What comes while the index is brought up to date is read again after.
	last, err := k.Library.LogLast(ctx)
	if err != nil {
		return err
	}
	if err := k.Sync(ctx); err != nil {
		return err
	}
	k.tried(nil)
	ctx, cancel := context.WithTimeout(ctx, syncEvery)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return k.follow(ctx, last) })
	for p := range k.Library.Layout.Partitions {
		group.Go(func() error { return k.look(ctx, p) })
	}
	if err := group.Wait(); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// Sync brings the index up to what the manifests and logs say now. Manifests that
// it has read before are not read again.
func (k *Keeper) Sync(ctx context.Context) error {
	known, err := k.Index.known(ctx)
	if err != nil {
		return err
	}
	gone, err := k.syncStored(ctx, known)
	if err != nil {
		return err
	}
	open, err := k.Library.Unfinished(ctx, func(sid string) bool { _, ok := known[sid]; return ok })
	if err != nil {
		return err
	}
	var entries []entry
	for _, i := range open {
		delete(gone, i.Session)
		entries = append(entries, entry{Session: k.merge(ctx, i)})
	}
	if err := k.Index.put(ctx, entries...); err != nil {
		return err
	}
	if k.Library.Conn == nil {
		return nil // those that are not finished may be there all the same
	}
	var sids []string
	for sid := range gone {
		sids = append(sids, sid)
	}
	return k.Index.remove(ctx, sids...)
}

// syncStored brings the finished sessions up to date, and returns those of known
// that are not stored.
func (k *Keeper) syncStored(ctx context.Context, known map[string]string) (gone map[string]bool, err error) {
	gone = make(map[string]bool, len(known))
	for sid := range known {
		gone[sid] = true
	}
	var batch []recording.Stored
	for st, err := range k.Library.Stored(ctx) {
		if err != nil {
			return nil, err
		}
		delete(gone, st.Session)
		if known[st.Session] == st.Tag {
			continue
		}
		if batch = append(batch, st); len(batch) < perWrite {
			continue
		}
		if err := k.readAll(ctx, batch); err != nil {
			return nil, err
		}
		batch = batch[:0]
	}
	return gone, k.readAll(ctx, batch)
}

// readAll reads manifests and stores what they say.
func (k *Keeper) readAll(ctx context.Context, batch []recording.Stored) error {
	entries := make([]entry, len(batch))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for n, st := range batch {
		group.Go(func() error {
			i, err := k.Library.Finished(gctx, st.Session)
			if errors.Is(err, s3store.ErrNotFound) {
				return nil // gone since
			}
			entries[n] = entry{FromInfo(i), st.Tag}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	there := entries[:0]
	for _, e := range entries {
		if e.Session.Session != "" {
			there = append(there, e)
		}
	}
	return k.Index.put(ctx, there...)
}

// follow takes what the upload logs say from after a record on.
func (k *Keeper) follow(ctx context.Context, after uint64) error {
	for i, err := range k.Library.Steps(ctx, after) {
		if err != nil {
			return err
		}
		if err := k.step(ctx, i); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// step takes one record. A session that is finished is what its manifest says, and
// its tag is left to the next Sync, which then reads the manifest once more.
func (k *Keeper) step(ctx context.Context, i recording.Info) error {
	var err error
	if i.Status == recording.Finished && k.Library.Store != nil {
		i, err = k.Library.Finished(ctx, i.Session)
		if errors.Is(err, s3store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return k.Index.put(ctx, entry{Session: FromInfo(i)})
	}
	if was, err := k.Index.Get(ctx, i.Session); err == nil && was.State == string(recording.Finished) {
		return nil // an old record, read again
	}
	return k.Index.put(ctx, entry{Session: k.merge(ctx, i)})
}

// merge adds to what a log says what is known of who and when.
func (k *Keeper) merge(ctx context.Context, i recording.Info) Session {
	if i.Metadata.Start.IsZero() {
		if was, err := k.Index.Get(ctx, i.Session); err == nil {
			i.Metadata = was.Metadata
		}
	}
	if i.Metadata.Start.IsZero() {
		if begun, err := k.Library.OnBus(ctx, i.Session); err == nil {
			i.Metadata, i.Node = begun.Metadata, cmp.Or(i.Node, begun.Node)
		}
	}
	return FromInfo(i)
}

// look looks for sessions that have begun on a partition. A look at the stream's
// sequence is cheap; at its subjects it is not where there are many, so the looks
// take a twentieth of the time at most.
func (k *Keeper) look(ctx context.Context, p int) error {
	var last uint64
	seen := map[string]bool{}
	wait := lookEvery
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		began := time.Now()
		seq, err := k.Library.LastOf(ctx, p)
		if err != nil {
			return err
		}
		if seq == last {
			continue
		}
		last = seq
		if seen, err = k.begun(ctx, p, seen); err != nil {
			return err
		}
		wait = max(lookEvery, 20*time.Since(began))
	}
}

// begun stores the sessions of a partition that were not there at the last look.
func (k *Keeper) begun(ctx context.Context, p int, seen map[string]bool) (now map[string]bool, err error) {
	sids, err := k.Library.SessionsOf(ctx, p)
	if err != nil {
		return nil, err
	}
	now = make(map[string]bool, len(sids))
	for _, sid := range sids {
		now[sid] = true
		if seen[sid] {
			continue
		}
		if _, err := k.Index.Get(ctx, sid); !errors.Is(err, ErrNotFound) {
			if err != nil {
				return nil, err
			}
			continue
		}
		i, err := k.Library.OnBus(ctx, sid)
		if errors.Is(err, recording.ErrNotFound) {
			continue // trimmed since
		}
		if err != nil {
			return nil, err
		}
		if i.Status == recording.Finished {
			continue // whoever tells of it tells of its manifest too
		}
		if err := k.Index.put(ctx, entry{Session: FromInfo(i)}); err != nil {
			return nil, err
		}
	}
	return now, nil
}

// Rebuild makes the index anew from the manifests and logs, and returns how many
// sessions there are. Whoever reads it meanwhile sees the list grow.
func (k *Keeper) Rebuild(ctx context.Context) (int, error) {
	err := k.Index.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM sessions; DELETE FROM verdicts")
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := k.Sync(ctx); err != nil {
		return 0, err
	}
	known, err := k.Index.known(ctx)
	return len(known), err
}
