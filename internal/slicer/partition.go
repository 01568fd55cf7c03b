package slicer

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A journal is the upload log as the owner of a partition sees it; see
// [uploadlog.Owner], which is one, for what its methods promise.
type journal interface {
	// Append stores all records or none and returns their sequences. After
	// uploadlog.ErrFenced or ErrUnknown the partition must be given up.
	Append(ctx context.Context, recs ...uploadlog.Record) ([]uint64, error)
	// ReadCheckpoint reads back what one checkpoint record holds.
	ReadCheckpoint(ctx context.Context, seq uint64) (rec bus.CheckpointRecord, blocks, tail []byte, err error)
	// Forget deletes superseded records in the background, as well as it can.
	Forget(ctx context.Context, seqs ...uint64)
	// NoteCursor says where a cursor record was stored.
	NoteCursor(ctx context.Context, seq uint64)
	// Check returns an error that wraps uploadlog.ErrFenced if the partition has
	// another owner.
	Check(ctx context.Context) error
	// Release lets the partition go.
	Release(ctx context.Context) error
}

// A partition is one claim of one partition. Its actor, run, is the only
// goroutine that touches its sessions; what the others learn they post to it.
type partition struct {
	*shared
	p     int
	log   *slog.Logger
	owner journal

	// ctx ends when the partition is given up; everything started for it ends then.
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	sessions map[string]*session
	ended    map[string]past   // sessions that are over
	endedLog []endedAt         // oldest first, for forgetting them
	frozen   map[string]uint64 // sessions of a newer version: their first message seen; 0: none

	hot, cold, dirty, seen, ending list
	holds                          holds
	loose                          map[uint64]int // messages without a session on their way to .late

	in      chan *input
	posts   chan func()
	crew    crew
	ready   []*session
	writing bool      // an Append is under way
	single  bool      // one record at a time, after a batch was refused
	notYet  time.Time // no Append before, after one was refused
	full    int       // sessions that wait for uploads and stop the reading
	loading int64     // bytes that wait for checkpoints to be read back
	evict   int64     // bytes that will be let go once their checkpoints are acknowledged
	rewinds int       // rewinds that read

	starting int        // sessions whose first event is being looked for
	trimming sync.Mutex // held during a step of trimming
	closedAt time.Time  // when slices were closed early last

	created    time.Time // of the EVENTS stream
	read       uint64    // every message up to it was taken in
	cursor     uint64    // as it was written last and acknowledged
	cursorAt   time.Time
	hasCursor  bool
	mark       mark      // where abandonment stands
	heardAt    time.Time // bus time of the stream's newest answer
	askedAt    time.Time // when that answer was asked for, by the clock here
	since      time.Time // bus time from when on it has answered without a break
	infoAt     time.Time
	infoAsked  bool
	short      int           // answers in a row that say the stream ends before what was read
	readAt     time.Time     // bus time of the newest message
	trimmable  atomic.Uint64 // what may be trimmed, as far as durability goes
	draining   bool
	releasing  bool
	gaugedAt   time.Time
	prog       *progress
	tally      tally
	stream     jetstream.Stream
	trimStream jetstream.Stream
	replaced   time.Time // bus time at which the stream was accepted as a new one; zero: it is not
	lastSeq    uint64    // of the stream, as it was heard last
	rewinding  map[*session]*rewind
	waiting    []*session // to be rewound
	drainUntil time.Time
	ownedAt    time.Time // when it was known last that nobody else owns the partition
	checking   bool      // whether somebody does is being asked
	now, born  time.Time
}

// clock is the nanoseconds since the claim, by the monotonic clock: one that is set
// back must not put off what is due.
func (p *partition) clock() int64 { return int64(p.now.Sub(p.born)) }

type endedAt struct {
	sid string
	at  time.Time
}

func newPartition(ctx context.Context, sh *shared, p int, owner journal) *partition {
	pt := &partition{
		shared: sh, p: p, owner: owner, log: sh.deps.Log.With("partition", p),
		sessions: map[string]*session{}, ended: map[string]past{}, frozen: map[string]uint64{}, loose: map[uint64]int{}, rewinding: map[*session]*rewind{},
		in: make(chan *input, 64), posts: make(chan func(), 64), now: time.Now(), prog: &progress{}, crew: crew{size: sh.crewSize, probed: time.Now()},
	}
	pt.hot.order, pt.cold.order, pt.dirty.order, pt.seen.order, pt.ending.order = byActivity, byActivity, byDirty, bySeen, bySeen
	pt.born, pt.ownedAt = pt.now, pt.now
	pt.ctx, pt.cancel = context.WithCancelCause(ctx)
	return pt
}

// errReleased is the cause with which a partition ends that was drained.
var errReleased = errors.New("released")

// run works until stop is done, then drains and releases the partition, or until
// the partition is lost, and then says why. It leaves nothing running.
func (p *partition) run(stop context.Context, loaded uploadlog.Loaded) error {
	defer p.close()
	if err := p.start(loaded); err != nil {
		return err
	}
	tick := time.NewTicker(p.tickEvery())
	defer tick.Stop()
	stopped := stop.Done()
	for {
		in := p.in
		if p.draining || p.paused() {
			// Backpressure: what is not read is safe where it is.
			in = nil
		}
		select {
		case m := <-in:
			p.now = time.Now()
			p.message(m)
			p.more()
		case f := <-p.posts:
			p.now = time.Now()
			f()
		case p.now = <-tick.C:
			p.tick()
		case <-stopped:
			stopped = nil
			p.now = time.Now()
			p.drain()
		case <-p.ctx.Done():
			if err := context.Cause(p.ctx); !errors.Is(err, errReleased) {
				return err
			}
			return nil
		}
		p.relieve()
		p.pump()
	}
}

// more takes what else has been read already, to spare the loop's overhead.
func (p *partition) more() {
	for range 63 {
		if p.paused() {
			return
		}
		select {
		case m := <-p.in:
			p.message(m)
		default:
			return
		}
	}
}

// close ends everything that was started and gives the memory back.
func (p *partition) close() {
	p.cancel(context.Canceled)
	p.wg.Wait()
	for _, s := range p.sessions {
		p.mem.add(-s.held)
		p.kept.add(-s.chain.cost)
		for _, c := range s.closed {
			p.kept.add(-c.cost)
		}
		if s.open != nil && s.open.buf != nil {
			s.open.buf.Reset()
		}
	}
	p.met.sessions.Add(context.Background(), -int64(len(p.sessions)))
}

// goDo runs f on a goroutine of the partition's.
func (p *partition) goDo(f func()) {
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		f()
	}()
}

// post has f run by the actor, unless the partition is given up.
func (p *partition) post(f func()) {
	select {
	case p.posts <- f:
	case <-p.ctx.Done():
	}
}

// start makes the sessions of what the log says. Start-up, takeover and going on
// after an error are all this one path.
func (p *partition) start(l uploadlog.Loaded) error {
	info, err := p.openStream()
	if err != nil {
		return err
	}
	if err := p.checkStream(info, l); err != nil {
		return err
	}
	for sid, e := range l.Ended {
		p.markEnded(sid, p.pastOf(e.StreamSeq, e.Next))
	}
	for _, sid := range l.Newer {
		p.freeze(sid, 0)
	}
	open := make([]*session, 0, len(l.Sessions))
	for _, e := range l.Sessions {
		if s := p.restore(e); s != nil {
			open = append(open, s)
		}
	}
	slices.SortFunc(open, func(a, b *session) int { return a.live.Seen.Compare(b.live.Seen) })
	for _, s := range open {
		p.sessions[s.live.SID] = s
		p.note(s)
	}
	p.met.sessions.Add(p.ctx, int64(len(open)))
	for _, s := range open {
		if s.live.RewindTo > s.live.StreamSeq {
			p.startRewind(s, s.live.StreamSeq+1, s.live.RewindTo)
		}
	}
	p.log.Info("partition taken over", "sessions", len(open), "ended", len(l.Ended), "cursor", p.cursor, "last", info.State.LastSeq)
	p.goDo(func() { p.readLoop(p.read + 1) })
	p.goDo(p.trimLoop)
	return nil
}

// restore makes a session of its newest record. Nothing of it is in memory yet.
func (p *partition) restore(e uploadlog.Session) *session {
	st := e.State
	if len(st.Slices) > 1 {
		p.log.Error("session's log has more than one open slice and is left alone", "session", st.SID, "slices", len(st.Slices))
		p.frozen[st.SID] = 0
		return nil
	}
	s := newSession(p.p, st.SID)
	st.Slices = slices.Clone(st.Slices)
	if len(st.Slices) == 1 {
		x := &st.Slices[0]
		if x.Seq == 0 {
			x.Seq = e.Seq
		}
		s.openFromLog(*x)
		s.chain.cost = x.BlockBytes + 1024
		p.kept.add(s.chain.cost)
	}
	if e.Kind == bus.KindCheckpoint && s.chain.newest != e.Seq {
		s.chain.lone = e.Seq
	}
	s.dur = st
	s.live = st
	s.live.Upload, s.live.Slices = nil, nil
	p.trusted(s)
	return s
}

// openFromLog makes the open slice one whose bytes lie in the log only.
func (s *session) openFromLog(x bus.SliceState) {
	s.open = &openSlice{meta: x, dropped: x.BlockBytes}
	s.chain = chain{newest: x.Seq, bytes: x.BlockBytes, records: x.Records, cost: s.chain.cost, lone: s.chain.lone}
}

// message takes one message of the partition's reader.
func (p *partition) message(m *input) {
	p.read = max(p.read, m.Seq)
	p.readAt = m.Time
	p.met.messages.Add(p.ctx, 1)
	p.tally.messages++
	switch {
	case m.SID == "":
		p.late(nil, m, lateSubject)
		return
	case m.Partition != p.p || bus.Partition(m.SID, p.deps.Layout.Partitions) != p.p:
		p.late(nil, m, latePartition)
		return
	}
	if k, ok := p.ended[m.SID]; ok {
		p.afterEnd(k, m)
		return
	}
	if first, ok := p.frozen[m.SID]; ok {
		if first == 0 {
			p.frozen[m.SID] = m.Seq
		}
		return
	}
	s := p.sessions[m.SID]
	if s == nil {
		s = newSession(p.p, m.SID)
		p.sessions[m.SID] = s
		p.met.sessions.Add(p.ctx, 1)
		p.log.Debug("session opened", "session", m.SID, "node", m.Node)
		if !p.admit(s, m) {
			return
		}
	}
	if s.io != nil && s.io.rew != nil {
		// It is being read again and will come to this message by itself.
		s.io.rew.skip(m.Seq)
		p.hold(s)
		return
	}
	p.take(s, m)
}

// take gives a message to its session, or keeps it until the session's checkpoint
// has been read back, or the session looked up.
func (p *partition) take(s *session, m *input) {
	if s.io != nil && (s.io.loading || s.io.asking) {
		p.enqueue(s, m)
		p.holdFor(s)
		return
	}
	if s.letGo() && m.Control != bus.ControlAlive && (m.Seq > s.live.StreamSeq || s.bringsNew(m)) {
		p.load(s)
		p.enqueue(s, m)
		return
	}
	o := s.apply(m, p.target(s))
	p.report(s, m, o)
	if o.reread {
		return
	}
	s.active = p.clock()
	p.note(s)
	p.advance(s)
}

// report counts and tells what a message did.
func (p *partition) report(s *session, m *input, o outcome) {
	p.met.events.Add(p.ctx, o.events)
	p.tally.events += o.events
	if o.dups > 0 {
		p.met.duplicates.Add(p.ctx, o.dups)
	}
	for _, g := range o.gaps {
		p.log.WarnContext(s.traced(p.ctx), "events are missing", "session", s.live.SID, "from", g.From, "to", g.To, "sequence", m.Seq)
		p.met.gaps.Add(p.ctx, 1)
	}
	if o.anomaly {
		p.log.Error("a message below the session's state brought new events; they were recorded", "session", s.live.SID, "sequence", m.Seq, "state", s.live.StreamSeq)
	}
	if o.late != "" {
		p.late(s, m, o.late)
	}
	if o.ended {
		p.log.InfoContext(s.traced(p.ctx), "session ended", "session", s.live.SID, "events", s.live.Events, "missing", s.live.Missing)
	}
}

// note puts the session where it belongs in the orders, the heap and the budget,
// after anything about it changed.
func (p *partition) note(s *session) {
	p.account(s)
	p.hold(s)
	if s.over {
		p.seen.out(s)
	} else if s.live.SessionEnd {
		p.ending.toBack(s)
	} else {
		p.seen.toBack(s)
	}
	switch {
	case s.openFrom != 0 && len(s.closed) == 0 && !s.ckpt && !s.over:
		p.hot.toBack(s)
	case s.held > 0:
		p.cold.toBack(s)
	default:
		p.cold.out(s)
	}
}

// hold says to the heap what of the session is not durable.
func (p *partition) hold(s *session) {
	at := s.pending()
	switch {
	case at == 0 && s.holdIdx > 0:
		heap.Remove(&p.holds, s.holdIdx-1)
		p.dirty.out(s)
	case at == 0:
	case s.holdIdx == 0:
		s.holdAt, s.dirtyAt = at, p.clock()
		heap.Push(&p.holds, s)
		p.dirty.toBack(s)
	case at != s.holdAt:
		s.holdAt = at
		heap.Fix(&p.holds, s.holdIdx-1)
		s.dirtyAt = p.clock()
		p.dirty.toBack(s)
	}
}

// account brings the budget up to what the session holds now.
func (p *partition) account(s *session) {
	var n int64
	if s.open != nil && s.open.buf != nil {
		n += int64(s.open.buf.Held())
	}
	if s.seen != nil {
		n += window * 8
	}
	for _, c := range s.closed {
		n += c.held
	}
	if s.io != nil {
		n += s.io.queuedBytes
	}
	if n != s.held {
		p.mem.add(n - s.held)
		s.held = n
	}
}

// durable is the rule that all else serves: the highest sequence such that every
// message up to it is in a committed part, a checkpoint, a record of the log, or
// under .late.
func (p *partition) durable() uint64 {
	d := p.read
	if len(p.holds) > 0 {
		d = min(d, p.holds[0].holdAt-1)
	}
	for seq := range p.loose {
		d = min(d, seq-1)
	}
	for _, seq := range p.frozen {
		if seq != 0 {
			d = min(d, seq-1)
		}
	}
	return max(d, p.cursor)
}

// paused says whether reading has to wait.
func (p *partition) paused() bool {
	return p.full > 0 || p.mem.over() || len(p.loose) >= maxLoose || p.loading > maxLoading
}

const (
	maxLoose   = 256     // refused messages on their way at once
	maxLoading = 8 << 20 // bytes of messages that wait for checkpoints to be read
)

// markEnded keeps a session that is over, so that what comes after is told from a
// new session.
func (p *partition) markEnded(sid string, k past) {
	p.ended[sid] = k
	p.endedLog = append(p.endedLog, endedAt{sid, p.now})
}

// fail gives the partition up.
func (p *partition) fail(err error) {
	p.cancel(fmt.Errorf("partition %d: %w", p.p, err))
}
