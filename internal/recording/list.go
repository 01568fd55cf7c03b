package recording

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// A Filter says which sessions are listed: those that all of its members allow.
// The zero Filter is all sessions.
type Filter struct {
	Status Status    // only these; "" for any
	Since  time.Time // seen then or later
	User   string    // of those that are not finished, only the newest maxDescribed are asked whose they are
}

func (f Filter) has(i Info) bool {
	return (f.Status == "" || f.Status == i.Status) &&
		(f.Since.IsZero() || i.Seen.IsZero() || !i.Seen.Before(f.Since)) &&
		(f.User == "" || f.User == i.Metadata.User)
}

// List yields the sessions that are on the bus and not finished, the newest first,
// and then the finished ones in the order of their keys. Rebuilt recordings are
// not sessions and not among them. An error ends it and comes last.
//
// Each finished session costs one small download, so ask for no more than needed.
func (l *Library) List(ctx context.Context, f Filter) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		if l.Conn != nil && f.Status != Finished {
			infos, err := l.onBus(ctx)
			if err != nil {
				yield(Info{}, err)
				return
			}
			for _, i := range infos {
				if f.has(i) && !yield(i, nil) {
					return
				}
			}
		}
		if l.Store != nil && (f.Status == "" || f.Status == Finished) {
			l.listFinished(ctx, f, yield)
		}
	}
}

// onBus is the sessions that are not finished, the newest first, with who and when
// of the first few.
func (l *Library) onBus(ctx context.Context) ([]Info, error) {
	infos, err := l.openSessions(ctx)
	if err == nil {
		l.describe(ctx, infos)
	}
	return infos, err
}

// openSessions is the sessions that are not finished, the newest first.
func (l *Library) openSessions(ctx context.Context) ([]Info, error) {
	logs, err := l.readLogs(ctx)
	if err != nil {
		return nil, err
	}
	infos, err := l.unlogged(ctx, logs)
	if err != nil {
		return nil, err
	}
	// A session whose log has gone outlived by its events, or that ended
	// while we looked, may be finished.
	infos = slices.DeleteFunc(infos, func(i Info) bool { return l.hasManifest(ctx, i.Session) })
	for _, found := range logs {
		if i := found.info(); i.Status != Finished {
			infos = append(infos, i)
		}
	}
	slices.SortFunc(infos, func(a, b Info) int {
		return cmp.Or(b.Seen.Compare(a.Seen), cmp.Compare(a.Session, b.Session))
	})
	return infos, nil
}

func (l *Library) hasManifest(ctx context.Context, sid string) bool {
	if l.Store == nil {
		return false
	}
	_, err := l.Store.Head(ctx, l.Store.Key(sid+manifestSuffix))
	return err == nil
}

// atOnce is how many manifests are downloaded at once.
const atOnce = 8

func (l *Library) listFinished(ctx context.Context, f Filter, yield func(Info, error) bool) {
	var batch []string
	for obj, err := range l.Store.ListFolder(ctx, l.Store.Key(""), "") {
		if err != nil {
			yield(Info{}, fmt.Errorf("list recordings: %w", err))
			return
		}
		sid, ok := l.session(obj)
		if !ok || !f.Since.IsZero() && obj.Modified.Before(f.Since) {
			continue
		}
		if batch = append(batch, sid); len(batch) < atOnce {
			continue
		}
		if !l.yieldBatch(ctx, f, batch, yield) {
			return
		}
		batch = batch[:0]
	}
	l.yieldBatch(ctx, f, batch, yield)
}

// session is the session whose manifest an object is.
func (l *Library) session(obj s3store.Object) (sid string, ok bool) {
	name, ok := strings.CutSuffix(strings.TrimPrefix(obj.Key, l.Store.Key("")), manifestSuffix)
	return name, ok && bus.ValidName(name) == nil
}

func (l *Library) yieldBatch(ctx context.Context, f Filter, batch []string, yield func(Info, error) bool) bool {
	infos, errs := make([]Info, len(batch)), make([]error, len(batch))
	var wg sync.WaitGroup
	for n, sid := range batch {
		wg.Go(func() {
			m, err := readManifest(ctx, l.Store, sid)
			if err == nil {
				infos[n] = finished(m)
				return
			}
			infos[n], errs[n] = Info{Session: sid, Status: Finished}, err
		})
	}
	wg.Wait()
	for n, i := range infos {
		err := errs[n]
		if errors.Is(err, s3store.ErrNotFound) {
			continue // gone since
		}
		if err != nil && !manifestAtFault(err) {
			yield(Info{}, err)
			return false
		}
		if f.has(i) && !yield(i, nil) {
			return false
		}
	}
	return true
}

// A Late is a message that has no place in its session's recording and is kept
// beside it.
type Late struct {
	Key    string
	Size   int64
	Stored time.Time
}

// Late yields what is kept beside the recording of a session, in the order in
// which the bus took it.
func (l *Library) Late(ctx context.Context, sid string) iter.Seq2[Late, error] {
	return func(yield func(Late, error) bool) {
		if l.Store == nil {
			return
		}
		for obj, err := range l.Store.ListFolder(ctx, l.Store.Key(sid+".late/"), "") {
			if err != nil {
				yield(Late{}, fmt.Errorf("list late messages of %s: %w", sid, err))
				return
			}
			if !yield(Late{Key: obj.Key, Size: obj.Size, Stored: obj.Modified}, nil) {
				return
			}
		}
	}
}

// CountLate is how many messages are kept beside the recording of a session.
func (l *Library) CountLate(ctx context.Context, sid string) (n int, err error) {
	for _, err := range l.Late(ctx, sid) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
