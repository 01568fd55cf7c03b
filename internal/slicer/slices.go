package slicer

import (
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// An openSlice is the events that will be the session's next part.
type openSlice struct {
	// buf holds the records; nil if they were let go and lie in the checkpoint.
	buf *slicefmt.Slice
	// meta says what is in it. Its sizes are filled in when it is checkpointed.
	meta bus.SliceState
	// dropped is how many bytes of blocks are only in the checkpoints.
	dropped int64
}

// add appends one event.
func (o *openSlice) add(oneof []byte, h events.Header, m *input) error {
	if err := o.buf.Append(oneof); err != nil {
		return err
	}
	at := h.Time()
	x := &o.meta
	if x.Records == 0 {
		*x = bus.SliceState{First: h.Index, FirstSeq: m.Seq, FirstTime: m.Time, FirstEvent: at, FirstDelay: -1, LastDelay: -1}
	}
	x.Records++
	x.Last, x.LastSeq, x.LastTime, x.LastEvent = h.Index, m.Seq, m.Time, at
	if h.HasDelay {
		if x.FirstDelay < 0 {
			x.FirstDelay = h.Delay
		}
		x.LastDelay = h.Delay
	}
	return nil
}

// state is the slice as a checkpoint of this moment describes it.
func (o *openSlice) state() bus.SliceState {
	st, x := o.buf.State(), o.meta
	x.Records, x.RawBytes, x.BlockBytes, x.CRC = st.Records, st.RawBytes, st.BlockBytes, st.CRC
	return x
}

// A closedSlice becomes a part. It is fixed: neither its bytes nor the state that
// its commit will record change any more.
type closedSlice struct {
	snap    bus.SessionState // the session's state where the slice ends
	meta    bus.SliceState
	buf     *slicefmt.Slice  // nil when its part was made, or if it has no records
	dropped int64            // bytes of blocks to be read back from the checkpoints
	chain   uint64           // the newest of those
	old     []uint64         // checkpoint records to be forgotten once the part is committed
	lone    uint64           // one more of them
	cost    int64            // bytes that these take
	from    uint64           // first message that this slice's commit makes durable; 0: none
	end     *bus.EndedRecord // the session is over with this slice

	number  int // of the part; 0 before it is on its way
	stored  bool
	part    s3store.Part
	sum     slicefmt.Sum
	held    int64
	failing time.Time // since when tries to upload it have failed

	was *openSlice // the open slice that it was
}

// records says whether there is anything to upload.
func (c *closedSlice) records() bool { return c.meta.Records > 0 }

// record is the slice as the log will name it.
func (c *closedSlice) record() *bus.PartRecord {
	m := &c.meta
	r := &bus.PartRecord{
		Number: c.number, ETag: c.part.ETag, Checksum: c.part.Checksum, SHA256: c.sum.SHA256,
		Bytes: c.sum.Bytes, RawBytes: c.sum.RawBytes, Records: c.sum.Records,
		First: m.First, Last: m.Last, FirstSeq: m.FirstSeq, LastSeq: m.LastSeq, FirstTime: m.FirstTime, LastTime: m.LastTime,
		FirstEvent: m.FirstEvent, LastEvent: m.LastEvent, FirstDelay: m.FirstDelay, LastDelay: m.LastDelay,
	}
	for _, g := range c.snap.Gaps {
		if g.To >= m.First && g.To <= m.Last {
			r.Gaps = append(r.Gaps, g)
		}
	}
	return r
}

// seal closes the open slice if it is large enough. It is called where a message
// ends, as closeSlice is between messages, and nowhere else: so the state at the end of a slice is the state after a
// message, and what comes before and after it can be told by sequence.
//
// Only whole blocks are counted, so that a part that is not the last is never
// below the target by what its pending records shrink.
func (s *session) seal(target int64) {
	if s.over || s.open == nil || s.open.buf == nil || s.open.buf.BlockBytes() < target {
		return
	}
	s.closeSlice(nil)
}

// closeSlice moves the open slice, which may have no events when the session is
// over, to the closed ones.
func (s *session) closeSlice(end *bus.EndedRecord) {
	c := &closedSlice{snap: s.live, from: s.openFrom, end: end}
	if o := s.open; o != nil {
		c.buf, c.meta, c.dropped, c.was = o.buf, o.meta, o.dropped, o
		c.held = o.buf.State().BlockBytes + int64(len(o.buf.Tail())) + slicefmt.HeaderSize
	}
	c.chain, c.old, c.lone, c.cost = s.chain.blocks, s.chain.all, s.chain.lone, s.chain.cost
	s.open, s.openFrom, s.chain = nil, 0, chain{}
	s.closed = append(s.closed, c)
}

// finish applies the end of the session: nothing follows it. at is the bus time of
// the message that says so, or of the last one seen.
func (s *session) finish(at time.Time, abandoned bool) {
	s.over = true
	end := &bus.EndedRecord{Outcome: bus.OutcomeComplete, Count: s.live.Next, Events: s.live.Events, At: at}
	switch {
	case abandoned:
		end.Outcome = bus.OutcomeAbandoned
	case s.live.Missing > 0:
		end.Outcome = bus.OutcomeGapped
	}
	s.live.Ended = true
	s.closeSlice(end)
	s.seen = nil
}
