package seekindex

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// CatchUp is how often a Worker looks for recordings without an index, besides when
// it starts and when it may have missed a notification.
const CatchUp = time.Hour

// A Worker makes the indexes of finished recordings, one at a time: that takes a
// processor. Several may work on the same installation; the worst is that an index
// is made twice.
type Worker struct {
	lib   *recording.Library
	store IndexStore
	log   *slog.Logger
	turn  chan struct{} // one token: whoever has it makes an index

	every    time.Duration                            // it catches up
	patience func(recordingBytes int64) time.Duration // how long making one may take
	gaveUp   map[recording.Identity]time.Time         // those that took longer, and when; whoever has the turn
}

// patience is how long making an index may take: several times what it takes, so that
// a recording that is made to take for ever, or a store that answers a byte a minute,
// does not hold up the indexes of all others.
func patience(recordingBytes int64) time.Duration {
	return 10*time.Minute + time.Duration(recordingBytes>>20)*time.Second
}

const (
	// tryAgain is when one that took too long is tried again.
	tryAgain = 24 * time.Hour
	// maxGaveUp bounds what is remembered of them.
	maxGaveUp = 1000
)

// An IndexStore is a WriteStore that can be searched for recordings.
type IndexStore interface {
	WriteStore
	// ListFolder yields the objects whose key begins with prefix, has no slash after
	// it and sorts after after, ordered by key. After an error it yields nothing more.
	ListFolder(ctx context.Context, prefix, after string) iter.Seq2[s3store.Object, error]
}

// NewWorker makes a Worker on the sessions of an installation. The store is the
// library's. A nil logger logs nothing.
func NewWorker(lib *recording.Library, store IndexStore, log *slog.Logger) *Worker {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	w := &Worker{lib: lib, store: store, log: log, turn: make(chan struct{}, 1),
		every: CatchUp, patience: patience, gaveUp: map[recording.Identity]time.Time{}}
	w.turn <- struct{}{}
	return w
}

// Ensure opens the index of a finished session, and makes it first if there is none
// or if it is old, corrupt, of another recording, or of one that was damaged and is
// not any more. Its error wraps [recording.ErrNotFound] if there is no such session,
// [recording.ErrRunning] if it is not finished, and [ErrTooLong] if making the index
// took too long, today or a little while ago.
func (w *Worker) Ensure(ctx context.Context, sid string) (*Index, error) {
	return w.ensure(ctx, sid, false)
}

// Mend is Ensure for an index of which something is known to be wrong: it reads all of
// it, and makes it anew if any of it is not as its checksums say.
func (w *Worker) Mend(ctx context.Context, sid string) error {
	_, err := w.ensure(ctx, sid, true)
	return err
}

func (w *Worker) ensure(ctx context.Context, sid string, thorough bool) (*Index, error) {
	rec, err := w.lib.Open(ctx, sid)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rec.Close() }()
	if rec.FromBus() {
		return nil, fmt.Errorf("index %s: %w", sid, recording.ErrRunning)
	}
	if x, err := w.current(ctx, sid, rec, thorough); x != nil || err != nil {
		return x, err
	}
	select {
	case <-w.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { w.turn <- struct{}{} }()
	if x, err := w.current(ctx, sid, rec, thorough); x != nil || err != nil { // made while we waited
		return x, err
	}
	if at, ok := w.gaveUp[rec.Identity()]; ok && time.Since(at) < tryAgain {
		return nil, fmt.Errorf("index %s: %w when that was tried last", sid, ErrTooLong)
	}
	start := time.Now()
	size, err := w.within(ctx, rec, sid)
	if err != nil {
		return nil, err
	}
	w.log.Info("index made", "session", sid, "recording_bytes", rec.Size(), "index_bytes", size, "took", time.Since(start).Round(time.Millisecond))
	return Open(ctx, w.store, sid)
}

// within makes an index, and gives up when that takes too long.
func (w *Worker) within(ctx context.Context, rec *recording.Recording, sid string) (int64, error) {
	limit := w.patience(rec.Size())
	making, stop := context.WithTimeout(ctx, limit)
	defer stop()
	size, err := Make(making, rec, w.store, sid)
	if err == nil || ctx.Err() != nil || making.Err() == nil {
		return size, err
	}
	if len(w.gaveUp) >= maxGaveUp {
		clear(w.gaveUp)
	}
	w.gaveUp[rec.Identity()] = time.Now()
	return 0, fmt.Errorf("%w: %w, over %s", err, ErrTooLong, limit)
}

// current is the index if it is good, nil if it is to be made.
func (w *Worker) current(ctx context.Context, sid string, rec *recording.Recording, thorough bool) (*Index, error) {
	x, err := Open(ctx, w.store, sid)
	if err == nil && thorough {
		err = x.verify(ctx)
	}
	mended := false
	if err == nil && x.Of(rec) {
		mended, err = x.mended(ctx, rec)
	}
	switch {
	case err == nil && x.Of(rec) && !mended:
		return x, nil
	case err == nil, errors.Is(err, ErrNotFound), errors.Is(err, ErrVersion), errors.Is(err, ErrCorrupt):
		return nil, nil
	}
	return nil, err
}

// Run makes the indexes of recordings as they are finished, and of those that have
// none, until ctx is done. What goes wrong with one is logged and tried again at
// the next catching up. It returns nil when ctx is done.
func (w *Worker) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := w.listen(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("listening for finished recordings was interrupted", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

// listen catches up and then follows the notifications. It listens first, so that
// nothing is missed in between.
func (w *Worker) listen(ctx context.Context) error {
	cons, err := w.lib.Conn.JetStream().OrderedConsumer(ctx, bus.StreamNotify, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{bus.NotifySubject("completed"), bus.NotifySubject("abandoned")}, DeliverPolicy: jetstream.DeliverNewPolicy,
	})
	if err != nil {
		return err
	}
	msgs, err := cons.Messages(jetstream.PullHeartbeat(time.Second), jetstream.PullExpiry(5*time.Second))
	if err != nil {
		return err
	}
	defer msgs.Stop()
	// Only listening ends then: an index that is being made takes the time that it takes.
	listening, stop := context.WithTimeout(ctx, w.every)
	defer stop()
	defer context.AfterFunc(listening, msgs.Stop)()
	if err := w.catchUp(ctx); err != nil {
		return err
	}
	for {
		msg, err := msgs.Next() // blocks; Stop ends it
		if listening.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		var n struct {
			Session string `json:"session"`
			Key     string `json:"key"`
		}
		if json.Unmarshal(msg.Data(), &n) == nil && n.Key != "" { // a session without events has no recording
			w.make(ctx, n.Session)
		}
	}
}

func (w *Worker) make(ctx context.Context, sid string) {
	if _, err := w.Ensure(ctx, sid); err != nil && ctx.Err() == nil {
		w.log.Warn("make index", "session", sid, "err", err)
	}
}

// catchUp makes the indexes of recordings that have none.
func (w *Worker) catchUp(ctx context.Context) error {
	for sid, err := range w.Missing(ctx) {
		if err != nil {
			return err
		}
		w.make(ctx, sid)
		if ctx.Err() != nil {
			return nil
		}
	}
	return nil
}

// Missing yields the finished sessions that have a recording and no index. Whether
// an index that is there is of this version only opening it tells.
func (w *Worker) Missing(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		has := "" // an index sorts before the manifest and the recording of its session
		for obj, err := range w.store.ListFolder(ctx, w.store.Key(""), "") {
			if err != nil {
				yield("", fmt.Errorf("list recordings: %w", err))
				return
			}
			sid, suffix, _ := strings.Cut(strings.TrimPrefix(obj.Key, w.store.Key("")), ".")
			switch {
			case "."+suffix == Suffix:
				has = sid
			case suffix == "tar" && sid != has && bus.ValidName(sid) == nil:
				if !yield(sid, nil) {
					return
				}
			}
		}
	}
}
