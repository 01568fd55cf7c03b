package slicer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// readLoop brings the partition's messages from sequence at on to the actor, for
// as long as the partition is owned.
func (p *partition) readLoop(at uint64) {
	for p.ctx.Err() == nil {
		err := p.consume(p.ctx, at, "", func(m *input, _ uint64) bool {
			if m.Seq < at {
				return true
			}
			at = m.Seq + 1
			select {
			case p.in <- m:
				return true
			case <-p.ctx.Done():
				return false
			}
		}, func() {})
		if p.ctx.Err() == nil {
			p.log.Warn("reading was interrupted", "sequence", at, "err", err)
			pause(p.ctx, time.Second)
		}
	}
}

// consume gives each message from sequence at on to fn, until fn says no, ctx is
// done or the consumer cannot go on. dry is called if there is none to begin with.
//
// It is an ordered consumer but for one thing: when it is lost, or a message is
// missing, the caller makes the next one, and each is looked at before it is read.
// The client's own would go on by itself on a stream that was made anew meanwhile.
//
// Next blocks, on this goroutine of its own, with a heartbeat; called with short
// waits it would never notice that its consumer is gone.
func (p *partition) consume(ctx context.Context, at uint64, subject string, fn func(m *input, pending uint64) bool, dry func()) error {
	cons, err := p.consumer(ctx, at, subject)
	if err != nil {
		return fmt.Errorf("create consumer at %d: %w", at, err)
	}
	if cons.CachedInfo().NumPending == 0 {
		dry()
	}
	it, err := cons.Messages(jetstream.PullHeartbeat(time.Second), jetstream.PullExpiry(10*time.Second),
		jetstream.PullMaxMessagesWithBytesLimit(512, 4<<20))
	if err != nil {
		return fmt.Errorf("consume at %d: %w", at, err)
	}
	stop := context.AfterFunc(ctx, it.Stop)
	defer it.Stop()
	defer stop()
	for n := uint64(1); ; n++ {
		raw, err := it.Next()
		if err != nil {
			return fmt.Errorf("read after %d: %w", at, err)
		}
		m, err := decode(raw)
		if err != nil {
			return fmt.Errorf("read after %d: %w", at, err)
		}
		md, err := raw.Metadata()
		if err != nil || md.Sequence.Consumer != n {
			return fmt.Errorf("read after %d: a message was lost on the way (%w)", at, errors.Join(err, errGap))
		}
		at = m.Seq
		if !fn(m, md.NumPending) {
			return nil
		}
	}
}

// errGap is a message missing between two that a consumer brought.
var errGap = errors.New("gap in the delivery")

// consumer makes a consumer that starts at a sequence, and then makes sure that
// the stream it is on is the one that this partition was claimed with.
func (p *partition) consumer(ctx context.Context, at uint64, subject string) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	js, name := p.deps.Conn.JetStream(), bus.EventStream(p.p)
	cons, err := js.CreateConsumer(ctx, name, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(at, 1), FilterSubject: subject,
		AckPolicy: jetstream.AckNonePolicy, MaxDeliver: 1, MemoryStorage: true, Replicas: 1, InactiveThreshold: 30 * time.Second,
	})
	if err != nil {
		return nil, err
	}
	st, err := js.Stream(ctx, name)
	if err != nil {
		return nil, err
	}
	if !st.CachedInfo().Created.UTC().Equal(p.created) {
		err := fmt.Errorf("%w: created %v, not %v", errStream, st.CachedInfo().Created.UTC(), p.created)
		p.fail(err)
		return nil, err
	}
	return cons, nil
}

// pause waits, or returns earlier when ctx is done.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// errStream is the bus contradicting the cursor. Such a partition is not read
// until an operator has said what is to become of it.
var errStream = errors.New("the stream is not the one that the cursor speaks of")

// openStream gets the EVENTS stream. Trimming has a handle of its own: each keeps
// the last information that it got.
func (p *partition) openStream() (_ *jetstream.StreamInfo, err error) {
	ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
	defer cancel()
	name := bus.EventStream(p.p)
	if p.stream, err = p.deps.Conn.JetStream().Stream(ctx, name); err == nil {
		p.trimStream, err = p.deps.Conn.JetStream().Stream(ctx, name)
	}
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", name, err)
	}
	return p.stream.CachedInfo(), nil
}

// streamInfo asks for the EVENTS stream's state.
func (p *partition) streamInfo(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	info, err := p.stream.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for the state of stream %s: %w", bus.EventStream(p.p), err)
	}
	return info, nil
}

// checkStream decides where to read from. A stream that was recreated or restored
// is not read: an ordered consumer that starts beyond its end would wait for ever
// without an error, and sequences would name other messages than before.
func (p *partition) checkStream(info *jetstream.StreamInfo, l uploadlog.Loaded) error {
	p.created = info.Created.UTC()
	p.heardAt, p.askedAt, p.since = info.TimeStamp, p.now, info.TimeStamp
	first, last := info.State.FirstSeq, info.State.LastSeq
	c := l.Cursor
	if l.HasCursor {
		if err := sameStream(info, c.Created, c.Seq); err != nil {
			if !p.accepted() {
				return fmt.Errorf("partition %d: %w; when it is right to go on, start a slicer with --accept-stream=%d", p.p, err, p.p)
			}
			p.log.Error("stream is read from its first message, as the operator has decided", "err", err, "first", first, "last", last)
			p.replaced = info.TimeStamp
			c.Seq = 0
			if first > 0 {
				c.Seq = first - 1
			}
		} else {
			p.hasCursor = true
		}
	}
	p.cursor, p.read = c.Seq, c.Seq
	if first > c.Seq+1 && l.HasCursor && p.replaced.IsZero() {
		p.log.Error("messages are gone that were never read", "from", c.Seq+1, "to", first-1)
		p.met.gone.Add(p.ctx, int64(first-1-c.Seq))
	}
	if first > c.Seq+1 {
		// What is not there holds nothing back.
		p.read = first - 1
	}
	p.setTrimmable()
	return nil
}

// sameStream says whether info is of the stream that a cursor speaks of.
func sameStream(info *jetstream.StreamInfo, created time.Time, seq uint64) error {
	switch {
	case !created.IsZero() && !info.Created.UTC().Equal(created):
		return fmt.Errorf("%w: created %v, not %v", errStream, info.Created.UTC(), created)
	case info.State.LastSeq < seq:
		return fmt.Errorf("%w: it ends at %d, before the cursor at %d", errStream, info.State.LastSeq, seq)
	}
	return nil
}

// accepted says whether the operator has told to read this partition's new stream.
func (p *partition) accepted() bool {
	for _, n := range p.cfg.AcceptStream {
		if n == p.p {
			return true
		}
	}
	return false
}

// trusted is the index below which events of a session that was open when its
// stream was replaced are taken for re-reads: a restored stream has them again.
// Sequences of the old stream mean nothing in the new one.
func (p *partition) trusted(s *session) {
	if !p.replaced.IsZero() {
		s.live.StreamSeq, s.live.RewindTo = 0, 0
		s.dur.StreamSeq, s.dur.RewindTo = 0, 0
		s.trust = s.live.Next
	}
}
