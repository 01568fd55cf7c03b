package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// Small messages of one partition's sessions travel together where that is faster
// (pace): a server that syncs every write then syncs once for all of them.
//
//	lineUp     sends the message by itself while not too many are in flight, or queues it
//	next       makes batches, or singles, of what is queued when a place is free
//	sendBatch  publishes one, and the last message of it asks for the answer
//	batchAnswered   stored: every session goes on. Refused, or in doubt: each
//	           message is sent by itself
//
// At low load nothing ever waits. A batch is all or nothing, and its refusal
// does not say whose message was at fault, so nothing is concluded from one: the
// message sent by itself names the sequence that it must follow like any other,
// and if the batch was stored after all it is refused and found to be ours.

const (
	// serverMaxBatch is the most messages that a server takes in a batch.
	serverMaxBatch = 1000
	// maxBatched is the largest message, in bytes, that a batch is of use to: a
	// larger one carries many events to the sync that it costs.
	maxBatched = 8 << 10
	// A batch costs a server several syncs (it stages the batch in a file of its
	// own), so fewer than minBatch go by themselves.
	minBatch = 8
	// maxBatches of a publisher are in flight in a partition: while there is one,
	// what comes gathers, and another goes out only if it is full. A server takes
	// 50 of all publishers together for a stream.
	maxBatches = 2
)

// Headers and error codes of batches.
const (
	headerBatchID     = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"

	codeBatchDisabled jetstream.ErrorCode = 10174
	codeBatchTooLarge jetstream.ErrorCode = 10199
	codeBatchInflight jetstream.ErrorCode = 10210
	// A server with too many batches under way says so to a batch's first message,
	// which asks for no answer; the last one hears that the batch lacks its beginning.
	codeBatchIncomplete jetstream.ErrorCode = 10176
)

// A lane is what is small and in flight in one partition. It is used under the
// publisher's lock.
type lane struct {
	pace             pace
	singles, batches int
	ready            []grant   // have their bytes, and wait for company or a place
	max              int       // messages in a batch
	off              time.Time // no batches until then
}

// A batch is one batch in flight.
type batch struct {
	lane    *lane
	token   uint64
	id      string
	members []grant
	msgs    []*nats.Msg
	timer   *time.Timer
	sent    time.Time
	first   bool // no other batch was in flight
}

// lineUp says whether the message of s may go by itself. If not it goes with
// what is granted, now or later.
func (p *Publisher) lineUp(s *Stream) (now bool, gs []grant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.lanes[s.partition]
	if l == nil {
		l = &lane{max: p.o.MaxBatch, pace: newPace()}
		p.lanes[s.partition] = l
	}
	if c := p.pending[s.token]; c.lane != nil { // it had a place when there was no connection to send it on
		c.lane.singles--
		c.lane = nil
		p.pending[s.token] = c
	}
	if p.o.MaxBatch == 1 || l.isOff() {
		return true, nil
	}
	if len(l.ready) == 0 && l.batches == 0 && l.singles < l.pace.singles() {
		p.single(l, s.token)
		return true, nil
	}
	l.ready = append(l.ready, grant{s: s, token: s.token})
	return false, p.next(l)
}

func (l *lane) isOff() bool { return !l.off.IsZero() && time.Now().Before(l.off) }

// single counts a message among the singles until its claim is released.
func (p *Publisher) single(l *lane, token uint64) {
	c := p.pending[token]
	if c.lane != nil {
		return // it waited twice
	}
	c.lane, c.sent = l, time.Now()
	p.pending[token] = c
	l.singles++
}

// batchMay says whether a batch may go: the only one, or one that is full, unless
// those in flight are the last before messages go by themselves again.
func (l *lane) batchMay() bool {
	if !l.pace.gather {
		return false
	}
	return l.batches == 0 && len(l.ready) >= minBatch || l.batches < maxBatches && len(l.ready) >= l.max && !l.pace.due()
}

// next grants what the lane has places for. p.mu is held.
func (p *Publisher) next(l *lane) []grant {
	var gs []grant
	off := l.isOff()
	if l.batches == 0 {
		l.pace.turn(time.Now(), len(l.ready))
	}
	for len(l.ready) > 0 {
		if _, ok := p.pending[l.ready[0].token]; !ok {
			l.ready = l.ready[1:] // its stream failed
			continue
		}
		switch {
		case off:
			g := l.ready[0]
			g.now = true
			gs = append(gs, g)
			l.ready = l.ready[1:]
		case l.batchMay():
			n := min(len(l.ready), l.max)
			gs = append(gs, grant{lane: l, batch: l.ready[:n:n]})
			l.ready = l.ready[n:]
			l.batches++
			l.pace.turns++
		case l.batches == 0 && l.singles < l.pace.singles():
			g := l.ready[0]
			g.now = true
			gs = append(gs, g)
			l.ready = l.ready[1:]
			p.single(l, g.token)
		default:
			return gs
		}
	}
	l.ready = nil
	return gs
}

// goAhead sends the message that waited in its lane, unless it is gone.
func (s *Stream) goAhead(token uint64) {
	if s.token == token && !s.sent && s.err == nil {
		s.transmit()
	}
}

// sendBatch publishes what still waits of members as one batch.
func (p *Publisher) sendBatch(l *lane, members []grant) []grant {
	b := &batch{lane: l, id: nuid.Next()}
	if p.c.nc.IsConnected() {
		for _, g := range members {
			g.s.join(b, g.token)
		}
	}
	if len(b.members) == 0 {
		gs := p.leave(b)
		for _, g := range members { // each says by itself that it waits for a connection
			g.now = true
			gs = append(gs, g)
		}
		return gs
	}
	p.mu.Lock()
	p.token++
	b.token = p.token
	p.batches[b.token] = b
	b.sent, b.first = time.Now(), l.batches == 1
	b.timer = time.AfterFunc(p.o.AckTimeout, func() { p.dispatch(p.leave(b)) })
	p.mu.Unlock()
	last := len(b.msgs) - 1
	b.msgs[last].Reply = p.replyTo(b.token)
	b.msgs[last].Header[headerBatchCommit] = []string{"1"}
	for _, m := range b.msgs {
		if err := p.c.nc.PublishMsg(m); err != nil {
			p.undo(b, fmt.Errorf("publish a batch of %d messages: %w", len(b.msgs), err))
			return p.leave(b)
		}
	}
	b.msgs = nil
	return nil
}

// join adds the first message of s to the batch.
func (s *Stream) join(b *batch, token uint64) {
	s.mu.Lock()
	defer s.mu.Unlock() // makes no room, so there is nothing to pass on
	if s.token != token || s.sent || s.err != nil {
		return
	}
	m := s.queue[0]
	m.out = true
	s.sent, s.batch = true, b
	s.after(s.ackTimeout())
	h := make(nats.Header, len(m.msg.Header)+3)
	for k, v := range m.msg.Header {
		h[k] = v
	}
	h[headerBatchID] = []string{b.id}
	h[headerBatchSeq] = []string{strconv.Itoa(len(b.members) + 1)}
	b.members = append(b.members, grant{s: s, token: token})
	b.msgs = append(b.msgs, &nats.Msg{Subject: s.subject, Header: h, Data: m.body})
}

// leave gives the batch's place to the next. A batch that was not answered in
// time leaves too: each of its messages is sent again by its own session.
func (p *Publisher) leave(b *batch) []grant {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.timer != nil {
		b.timer.Stop()
		if p.batches[b.token] != b {
			return nil // it has left, or the publisher is closed
		}
		delete(p.batches, b.token)
	}
	b.lane.batches--
	return p.next(b.lane)
}

func (p *Publisher) batchAnswered(b *batch, reply *nats.Msg) {
	seq, err := parseBatchAck(reply, len(b.members))
	if err != nil {
		p.heed(b, err)
		p.undo(b, err)
	} else {
		p.timed(b)
		p.stored.Add(uint64(len(b.members)))
		p.batched.Add(uint64(len(b.members)))
		for i, g := range b.members {
			g.s.mu.Lock()
			// A batch is stored in one run of sequences.
			g.s.storedAs(g.token, seq-uint64(len(b.members)-1-i))
			g.s.unlock()
		}
	}
	// Only now, so that what the sessions sent next can go in one batch.
	p.dispatch(p.leave(b))
}

// timed learns from a batch that was stored.
func (p *Publisher) timed(b *batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.first {
		b.lane.pace.batched(time.Since(b.sent))
	}
}

func (p *Publisher) batchesInFlight() []*batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.batches))
}

// undo sends the messages of a batch by themselves.
func (p *Publisher) undo(b *batch, why error) {
	p.o.Logger.Debug("batch is taken apart", "messages", len(b.members), "err", why)
	for _, g := range b.members {
		g.s.mu.Lock()
		if g.s.token == g.token && g.s.batch == b && g.s.err == nil {
			g.s.queue[0].alone = true
			g.s.transmit()
		}
		g.s.unlock()
	}
}

// heed does without batches for a while, or makes smaller ones, where the server
// takes none or not such.
func (p *Publisher) heed(b *batch, err error) {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch api.ErrorCode {
	case codeBatchDisabled:
		b.lane.off = time.Now().Add(time.Minute)
	case codeBatchInflight, codeBatchIncomplete:
		b.lane.off = time.Now().Add(time.Second)
	case codeBatchTooLarge:
		b.lane.max = max(minBatch, min(b.lane.max, len(b.members)/2))
	}
}

// storedAs: a batch with the message that has the token was stored.
func (s *Stream) storedAs(token, seq uint64) {
	if s.token != token || s.err != nil {
		return
	}
	s.rest()
	s.advance(seq)
}

func parseBatchAck(m *nats.Msg, n int) (last uint64, err error) {
	seq, err := parseAck(m)
	if err != nil {
		return 0, err
	}
	var ack struct {
		Count int `json:"count"`
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil || ack.Count != n {
		return 0, fmt.Errorf("acknowledgement of %d messages for a batch of %d", ack.Count, n)
	}
	return seq, nil
}

// PublisherStats say how messages travelled.
type PublisherStats struct {
	Stored  uint64 // messages that the bus has acknowledged
	Batched uint64 // of those, in batches
}

// Stats says how the publisher's messages have travelled so far.
func (p *Publisher) Stats() PublisherStats {
	return PublisherStats{Stored: p.stored.Load(), Batched: p.batched.Load()}
}
