package recording

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// A Status says how far a session is.
type Status string

// How far a session is.
const (
	Live     Status = "live"     // it runs, or its producer is away and may come back
	Ending   Status = "ending"   // it is over and its recording is being finished
	Finished Status = "finished" // its recording is in S3
	Lost     Status = "lost"     // parts of it are lost, and it will not be finished
)

// Info is what is known of a session without reading its recording. What is not
// known is zero.
type Info struct {
	Session   string
	Status    Status
	Outcome   string // of a finished session
	Node      string // of one that is on the bus
	Partition int
	Started   time.Time
	Seen      time.Time // of the newest event or message
	Events    int64     // recorded; of a live session as of its newest record in the log
	Missing   int64
	Late      int64
	Parts     int
	Bytes     int64 // stored
	Key       string
	Metadata  slicefmt.Metadata
}

// A Library is the sessions of an installation. Without Conn, which may be nil,
// only finished ones are known; without Store only those on the bus.
type Library struct {
	Store  Store
	Conn   *bus.Conn
	Layout bus.Layout // as installed
}

// sessionOf is the session that a name of a recording belongs to.
func sessionOf(name string) string {
	sid, _, _ := strings.Cut(name, ".")
	return sid
}

// Find returns what is known of a session, or an error that wraps ErrNotFound. A
// finished recording may also be called by the name that [Rebuild] gave it.
func (l *Library) Find(ctx context.Context, name string) (Info, error) {
	sid, _, rebuilt := strings.Cut(name, ".")
	if err := bus.ValidName(sid); err != nil {
		return Info{}, fmt.Errorf("find session: %w", err)
	}
	if l.Store != nil {
		info, err := l.findFinished(ctx, name)
		if err == nil && info.Outcome == "" && !rebuilt && l.beingFinished(ctx, sid) {
			info.Status = Ending
		}
		if err == nil || !errors.Is(err, s3store.ErrNotFound) {
			return info, err
		}
	}
	if l.Conn == nil || rebuilt {
		return Info{}, fmt.Errorf("find %s: %w", name, ErrNotFound)
	}
	return l.findOnBus(ctx, sid)
}

func (l *Library) findFinished(ctx context.Context, name string) (Info, error) {
	m, err := readManifest(ctx, l.Store, name)
	if err == nil {
		return finished(m), nil
	}
	if !manifestAtFault(err) {
		return Info{}, err
	}
	obj, err := l.Store.Head(ctx, l.Store.Key(name+suffix))
	if err != nil {
		return Info{}, err
	}
	return Info{Session: name, Status: Finished, Key: obj.Key, Bytes: obj.Size, Seen: obj.Modified}, nil
}

// beingFinished says whether the session's log is short of its completed record:
// the manifest is written between the object and that.
func (l *Library) beingFinished(ctx context.Context, sid string) bool {
	if l.Conn == nil {
		return false
	}
	info, err := l.findOnBus(ctx, sid)
	return err == nil && info.Status == Ending
}

func finished(m *slicefmt.Manifest) Info {
	return Info{
		Session: m.Session, Status: Finished, Outcome: m.Outcome, Started: m.Metadata.Start, Seen: m.Metadata.End,
		Events: m.Events, Missing: m.Missing, Late: m.Late, Parts: len(m.Parts), Bytes: m.Bytes, Key: m.Key, Metadata: m.Metadata,
	}
}

// Open opens the recording of a session: the finished one, or else what the bus
// holds of it now. It returns ErrNotFound if there is neither.
func (l *Library) Open(ctx context.Context, name string) (*Recording, error) {
	return l.open(ctx, name, false)
}

// Follow is Open for a session that may still run: its Records go on with what
// comes until its end.
func (l *Library) Follow(ctx context.Context, name string) (*Recording, error) {
	return l.open(ctx, name, true)
}

func (l *Library) open(ctx context.Context, name string, follow bool) (*Recording, error) {
	sid, _, rebuilt := strings.Cut(name, ".")
	if err := bus.ValidName(sid); err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	if l.Store != nil {
		r, err := OpenObject(ctx, l.Store, name)
		if err == nil || !errors.Is(err, s3store.ErrNotFound) {
			return r, err
		}
	}
	if l.Conn == nil || rebuilt {
		return nil, fmt.Errorf("open %s: %w", name, ErrNotFound)
	}
	if follow {
		// One whose end the log has will get no end message any more.
		info, err := l.findOnBus(ctx, sid)
		if err != nil {
			return nil, err
		}
		follow = info.Status == Live
	}
	r, err := FromBus(ctx, l.Conn, l.Layout, sid, follow)
	if errors.Is(err, ErrNotOnBus) {
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return r, err
}

// FromBus opens what the bus holds of a session, finished or not.
func (l *Library) FromBus(ctx context.Context, sid string) (*Recording, error) {
	if l.Conn == nil {
		return nil, fmt.Errorf("open session %s: %w: there is no connection to it", sid, ErrNotOnBus)
	}
	return FromBus(ctx, l.Conn, l.Layout, sid, false)
}
