package slicer

import (
	"hash/maphash"
	"slices"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// A session is what its partition's owner knows of one open session. What the
// methods in this file do is a function of the messages alone, with no I/O.
type session struct {
	// live is the state after every message so far; its Upload and Slices are not
	// used. dur is the newest state that is acknowledged in the log.
	live, dur bus.SessionState

	open   *openSlice     // the events that are in no closed slice
	closed []*closedSlice // not yet committed, oldest first
	seen   *[window]uint64

	// openFrom is the first message since the state was last fixed for a record,
	// by closing a slice or by a checkpoint; ckptFrom is that of the checkpoint
	// under way. 0: none.
	openFrom, ckptFrom uint64

	holdAt  uint64 // the oldest message that is not durable; in partition.holds
	holdIdx int    // place there + 1; 0: nothing holds the cursor

	links   [orders]link
	active  int64 // monotonic nanoseconds of its newest message
	dirtyAt int64 // the same, of its oldest undurable one

	chain chain
	io    *sessionIO // nil before the first upload, read-back or rewind
	held  int64      // bytes counted against the memory budget

	evict int64 // of these, what is in partition.evict

	trust  int64 // events below it are re-reads of a restored stream: skipped in silence
	lates  int32 // messages on their way to <sid>.late
	queued bool  // in partition.ready
	busy   bool  // a record of it is under way
	ckpt   bool  // a checkpoint is wanted
	letgo  bool  // and then its memory back
	over   bool  // the end has been applied: nothing follows
	isFull bool  // counted in partition.full
	quit   bool  // to be abandoned once its checkpoint is read back
}

// window is how many of the newest events are kept, as hashes, to tell a
// duplicate from another event with the same index.
const window = 64

// hashSeed is the process's own; hashes are never stored.
var hashSeed = maphash.MakeSeed()

// newSession is a session of which nothing is known but its name.
func newSession(p int, sid string) *session {
	s := &session{}
	s.live = bus.SessionState{V: bus.LogVersion, SID: sid, Partition: p}
	s.dur = s.live
	return s
}

// An outcome is what one message did to its session.
type outcome struct {
	late    string // why some or all of it must be kept under <sid>.late; empty: nothing must
	events  int64  // recorded
	dups    int64  // events recorded before
	reread  bool   // the session's state had it already: nothing was done
	gaps    []bus.Gap
	ended   bool
	anomaly bool // a message that the state should have had brought new events
}

// apply takes one message. It must be the session's next by stream sequence, or
// one that the state already reflects.
func (s *session) apply(m *input, target int64) outcome {
	if m.Seq <= s.live.StreamSeq && s.live.StreamSeq > 0 {
		// The state was fixed after this message: all that it said is durable.
		// Still it is the indexes that decide.
		if !s.bringsNew(m) {
			return outcome{reread: true}
		}
		o := s.take(m, target)
		o.anomaly = true
		return o
	}
	return s.take(m, target)
}

// bringsNew says whether a message below StreamSeq has events that are not
// recorded, which only a bus that contradicts itself can bring.
func (s *session) bringsNew(m *input) bool {
	if m.err != nil || m.Control != bus.ControlNone || m.Node != s.live.Node || m.Writer != s.live.Writer {
		return false
	}
	for oneof, err := range m.Records() {
		if err != nil {
			return false
		}
		h, err := events.Scan(oneof)
		if err == nil && h.Index >= s.live.Next && h.Index <= slicefmt.MaxIndex {
			return true
		}
	}
	return false
}

func (s *session) take(m *input, target int64) (o outcome) {
	if s.over {
		return outcome{late: lateEnded}
	}
	st := &s.live
	if st.Opened.IsZero() {
		st.Opened = m.Time
	}
	if st.Node == "" || (st.StreamSeq == 0 && st.Next == 0) {
		// A base record names the owner of its time. Of a state that has no
		// message yet, it is whoever sent the first.
		st.Node = m.Node
	}
	if s.openFrom == 0 {
		s.openFrom = m.Seq
	}
	st.StreamSeq = max(st.StreamSeq, m.Seq)
	if m.Time.After(st.Seen) {
		// Of any kind: also one that is refused is a sign of life.
		st.Seen = m.Time
	}
	if st.StreamSeq >= st.RewindTo {
		st.RewindTo = 0
	}
	defer func() {
		if o.late != "" && !s.over {
			st.Late++
		}
		s.seal(target)
	}()
	if o.late = s.admit(m); o.late != "" {
		return o
	}
	if m.Control != bus.ControlNone {
		s.control(m, &o)
		return o
	}
	s.records(m, &o)
	return o
}

// admit says why the whole message is refused, or "".
func (s *session) admit(m *input) string {
	st := &s.live
	if m.Node != st.NextNode && (m.Node != st.Node || st.NextNode != "") {
		// Another node's, or the first node's after it handed the session over.
		return lateNode
	}
	if why := m.refused(); why != "" {
		return why
	}
	st.Node, st.NextNode = m.Node, ""
	if m.Writer != "" {
		st.Writer = m.Writer
	}
	if st.Trace == "" {
		st.Trace = m.Trace
	}
	return ""
}

func (s *session) control(m *input, o *outcome) {
	switch m.Control {
	case bus.ControlEnd:
		if m.Count > s.live.Next && m.Count <= slicefmt.MaxIndex+1 {
			// The producer made events that never came.
			s.gap(m.Count, o)
		}
		o.ended = true
		s.finish(m.Time, false)
	case bus.ControlHandover:
		if m.To != s.live.Node {
			s.live.NextNode = m.To
		}
	}
}

// records takes the events of a message, the good ones also of a message that is
// bad further on.
func (s *session) records(m *input, o *outcome) {
	any := false
	if s.open != nil && s.open.buf != nil {
		s.open.buf.Expect(len(m.Payload))
	}
	for oneof, err := range m.Records() {
		if err != nil {
			o.late = latePayload
			break
		}
		any = true
		if why := s.record(oneof, m, o); why != "" {
			o.late = why
		}
	}
	if !any {
		o.late = latePayload
	}
}

// record takes one event and says why it cannot, or "".
func (s *session) record(oneof []byte, m *input, o *outcome) string {
	h, err := events.Scan(oneof)
	if err != nil || len(oneof) > slicefmt.MaxRecord {
		return latePayload
	}
	st := &s.live
	switch {
	case h.Index < 0 || h.Index > slicefmt.MaxIndex:
		return lateRange
	case h.Index < s.trust:
		return ""
	case h.Index < st.Next:
		// The index decides what was recorded before, never the sequence.
		if !s.sawSame(h.Index, oneof) {
			return lateIndex
		}
		st.Duplicates++
		o.dups++
		return ""
	case h.Index > st.Next:
		s.gap(h.Index, o)
	}
	if s.open == nil {
		s.open = &openSlice{buf: &slicefmt.Slice{}}
		s.open.buf.Expect(len(m.Payload))
	}
	if err := s.open.add(oneof, h, m); err != nil {
		return latePayload
	}
	s.remember(h.Index, oneof)
	st.Next = h.Index + 1
	st.Events++
	o.events++
	switch string(h.Type) {
	case "session.end", "windows.desktop.session.end", "linux.desktop.session.end":
		st.SessionEnd = true
	}
	return ""
}

// gap takes note that no event has the indexes from Next up to but without to.
// They can never be filled: a session has one writer and one order.
func (s *session) gap(to int64, o *outcome) {
	st := &s.live
	g := bus.Gap{From: st.Next, To: to}
	st.GapCount++
	st.Missing += g.To - g.From
	if len(st.Gaps) < bus.MaxListedGaps {
		// Records under way share the gaps before, so they are copied.
		st.Gaps = append(slices.Clip(st.Gaps), g)
	}
	if s.seen != nil {
		for i := max(g.From, g.To-window); i < g.To; i++ {
			s.seen[i%window] = 0
		}
	}
	st.Next = to
	o.gaps = append(o.gaps, g)
}

func hashOf(b []byte) uint64 { return maphash.Bytes(hashSeed, b) | 1 }

func (s *session) remember(index int64, oneof []byte) {
	if s.seen == nil {
		s.seen = new([window]uint64)
	}
	s.seen[index%window] = hashOf(oneof)
}

// sawSame says whether the event with that index is known to have had these bytes.
func (s *session) sawSame(index int64, oneof []byte) bool {
	return s.seen != nil && index >= s.live.Next-window && s.seen[index%window] == hashOf(oneof)
}

// letGo says whether the open slice's records are in the log only.
func (s *session) letGo() bool { return s.open != nil && s.open.buf == nil }

// pending is the oldest message that is not durable, 0 if there is none.
func (s *session) pending() uint64 {
	at := s.openFrom
	for i := len(s.closed) - 1; i >= 0; i-- {
		if from := s.closed[i].from; from != 0 {
			at = from
		}
	}
	if s.ckptFrom != 0 {
		at = s.ckptFrom
	}
	if s.io != nil && len(s.io.queue) > 0 && (at == 0 || s.io.queue[0].Seq < at) {
		at = s.io.queue[0].Seq
	}
	if s.io != nil && s.io.rew != nil && s.io.rew.skipped != 0 && (at == 0 || s.io.rew.skipped < at) {
		at = s.io.rew.skipped
	}
	return at
}
