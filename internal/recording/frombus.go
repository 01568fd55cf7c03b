package recording

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// BusInfo is what reading a session from the bus found beside its events.
type BusInfo struct {
	Messages int64 // of any kind
	Late     int64 // messages that no recording takes, or takes only in part
	First    int64 // index of the first event; -1 without any
	Ended    bool  // its end was there
	Count    int64 // events that the producer said there were, if it ended
	Node     string
}

// Trimmed is the indexes before the first event that the bus holds. Unless the
// session began with a gap, they were there and have been trimmed.
func (i BusInfo) Trimmed() slicefmt.Gap { return slicefmt.Gap{To: max(i.First, 0)} }

// FromBus opens what the bus holds of a session: the events that belong in its
// recording, in order, each once. With follow it goes on with what comes until
// the session's end or until ctx is done. It returns ErrNotOnBus if the bus has
// nothing.
func FromBus(ctx context.Context, conn *bus.Conn, layout bus.Layout, sid string, follow bool) (*Recording, error) {
	if err := bus.ValidName(sid); err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	p := bus.Partition(sid, layout.Partitions)
	stream, err := conn.JetStream().Stream(ctx, bus.EventStream(p))
	if err == nil {
		_, err = stream.GetLastMsgForSubject(ctx, bus.EventSubject(p, "*", sid))
	}
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, fmt.Errorf("open session %s: %w", sid, ErrNotOnBus)
	}
	if err != nil {
		return nil, fmt.Errorf("open session %s: %w", sid, err)
	}
	b := &busReader{conn: conn, layout: layout, sid: sid, follow: follow}
	return &Recording{name: "session " + sid + " on the bus", bus: b, noMan: errors.New("the bus has no manifest")}, nil
}

// BusInfo is what the last Records found on the bus; the zero BusInfo for a
// recording that is not read from there.
func (r *Recording) BusInfo() BusInfo {
	if r.bus == nil {
		return BusInfo{}
	}
	return r.bus.info
}

// A busReader reads a session off its stream and takes what the slicer would.
type busReader struct {
	conn   *bus.Conn
	layout bus.Layout
	sid    string
	follow bool

	at     bus.Message // the message that the newest record came in
	next   string      // node that a handover named and that has not gone on yet
	info   BusInfo
	counts slicefmt.Counts
}

func (b *busReader) records(ctx context.Context, g Range, yield func(slicefmt.Record, error) bool) {
	b.info, b.next, b.counts = BusInfo{First: -1}, "", slicefmt.NewCounts()
	for m, err := range bus.Read(ctx, b.conn, b.layout, b.sid, bus.ReadOptions{Follow: b.follow, StopAtEnd: true}) {
		if err != nil && m.Seq == 0 {
			yield(slicefmt.Record{}, err)
			return
		}
		b.info.Messages++
		if !b.admit(m, err) {
			b.info.Late++
			continue
		}
		if m.Control == bus.ControlEnd {
			b.info.Ended, b.info.Count = true, m.Count
			return
		}
		if m.Control == bus.ControlHandover && m.To != b.info.Node {
			b.next = m.To
		}
		if !b.message(m, g, yield) {
			return
		}
	}
}

// admit says whether the session's owner sent the message and it can be read.
func (b *busReader) admit(m bus.Message, err error) bool {
	if m.SID == "" {
		return false // its subject is none of a session's
	}
	if b.info.Node == "" {
		b.info.Node = m.Node
	}
	if m.Node != b.next && (m.Node != b.info.Node || b.next != "") || err != nil {
		return false
	}
	b.info.Node, b.next = m.Node, ""
	return true
}

// message yields the events of a message that are new, the good ones also of a
// message that is bad further on. It returns false when no more are wanted.
func (b *busReader) message(m bus.Message, g Range, yield func(slicefmt.Record, error) bool) bool {
	late := false
	b.at = m
	for oneof, err := range m.Records() {
		if err != nil {
			late = true
			break
		}
		h, err := events.Scan(oneof)
		if err != nil || len(oneof) > slicefmt.MaxRecord || h.Index < 0 || h.Index > slicefmt.MaxIndex {
			late = true
			continue
		}
		rec := slicefmt.Record{OneOf: oneof, Header: h}
		if g.over(rec) {
			return false
		}
		if !b.counts.Take(h) {
			continue
		}
		if b.info.First < 0 {
			b.info.First = h.Index
		}
		if g.has(rec) && !yield(rec, nil) {
			return false
		}
	}
	if late {
		b.info.Late++
	}
	return true
}
