package completer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

const (
	durableName = "completer"
	ackWait     = 30 * time.Second // a session whose completer is silent for so long goes to another
	maxTries    = 10               // by the consumer; then the sweep has it
	retryFirst  = time.Second
)

// consume works on what the shared durable consumer delivers, until ctx is done;
// then it waits for what is under way.
func (c *Completer) consume(ctx, work context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for wait := retryFirst; ctx.Err() == nil; wait = min(2*wait, c.cfg.RetryMax) {
		start := time.Now()
		err := c.consumeOnce(ctx, work, &wg)
		if ctx.Err() != nil {
			return
		}
		if time.Since(start) > time.Minute {
			wait = retryFirst
		}
		c.consuming.Saw(err)
		c.log.Warn("consumer of the upload log interrupted", "err", err, "again_in", wait)
		sleep(ctx, wait)
	}
}

// consumeOnce attaches to the consumer and works until that fails.
func (c *Completer) consumeOnce(ctx, work context.Context, wg *sync.WaitGroup) error {
	cons, err := c.conn.JetStream().CreateOrUpdateConsumer(ctx, bus.StreamUploads, jetstream.ConsumerConfig{
		Durable:       durableName,
		Description:   "sessions that ended; a hint for the completers",
		FilterSubject: uploadlog.AllLogs,
		HeadersOnly:   true,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       ackWait,
		// Also those whose logs are not shrunk yet.
		MaxAckPending: max(4096, 4*c.cfg.Concurrency),
		MaxDeliver:    -1,
	})
	if err != nil {
		return fmt.Errorf("create consumer %s on %s: %w", durableName, bus.StreamUploads, err)
	}
	// Few ahead: what waits here for a slot is kept from other replicas.
	it, err := cons.Messages(jetstream.PullMaxMessages(max(32, 2*c.cfg.Concurrency)),
		jetstream.PullHeartbeat(time.Second), jetstream.PullExpiry(10*time.Second))
	if err != nil {
		return fmt.Errorf("consume %s: %w", bus.StreamUploads, err)
	}
	defer it.Stop()
	defer context.AfterFunc(ctx, it.Stop)()
	c.consuming.Saw(nil)
	for {
		m, err := it.Next() // blocks; Stop ends it
		if err != nil {
			return fmt.Errorf("consume %s: %w", bus.StreamUploads, err)
		}
		if meta, err := m.Metadata(); err == nil {
			c.metrics.unread.Record(ctx, int64(meta.NumPending))
		}
		if m.Headers().Get(bus.HeaderKind) != bus.KindEnded {
			// Steps before are the slicer's. Those after are taken by whoever
			// holds the ended record, which is acknowledged last of all.
			_ = m.Ack()
			continue
		}
		if c.slots.Acquire(ctx, 1) != nil {
			return ctx.Err()
		}
		wg.Go(func() { c.handle(ctx, work, m) })
	}
}

// handle works on one session and acknowledges its message when nothing is left to
// do, or when the sweep is to have it. A crash anywhere leaves the message
// unacknowledged, and another completer gets it. It gives its slot back once the world
// has been told.
func (c *Completer) handle(ctx, work context.Context, m jetstream.Msg) {
	release := sync.OnceFunc(func() { c.slots.Release(1) })
	defer release()
	p, sid, err := uploadlog.ParseLogSubject(m.Subject())
	if err != nil {
		c.log.Error("subject in the upload log is none of ours", "subject", m.Subject(), "err", err)
		_ = m.Term()
		return
	}
	if !c.begin(sid) {
		_ = m.NakWithDelay(ackWait)
		return
	}
	defer c.end(sid)
	defer c.keepAlive(m)()
	left, err := c.try(work, p, sid, false)
	release()
	if err == nil {
		err = c.tidy(ctx, work, p, sid, left)
	}
	if err == nil {
		_ = m.Ack()
		return
	}
	tries := uint64(1)
	if meta, err := m.Metadata(); err == nil {
		tries = meta.NumDelivered
	}
	if tries >= maxTries {
		// Held any longer, enough of these would fill the consumer.
		_ = m.Ack()
		return
	}
	_ = m.NakWithDelay(min(retryFirst<<(tries-1), c.cfg.RetryMax))
}

// keepAlive says that m is being worked on until the returned function is called.
func (c *Completer) keepAlive(m jetstream.Msg) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(ackWait / 3)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				_ = m.InProgress()
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

// Shrinking the log of a session that is finished can wait for those that are not: its
// records are many small writes, and each is synced to disk. So it waits until no
// session is being completed, but not for ever, and few do it at once.
const (
	tidiers  = 4
	maxLull  = 5 * time.Second
	lullLook = 20 * time.Millisecond
)

// tidy shrinks the log of a session of which the world has been told. It does not begin
// once ctx is done.
func (c *Completer) tidy(ctx, work context.Context, p int, sid string, left *rest) error {
	began := time.Now()
	if err := c.tidying.Acquire(ctx, 1); err != nil {
		return err
	}
	defer c.tidying.Release(1)
	// Thousands may wait, but they came first who look, and the others need not.
	for c.completing.Load() > 0 && time.Since(began) < maxLull && ctx.Err() == nil {
		sleep(ctx, lullLook)
	}
	if left != nil && c.shrink(work, p, sid, left) == nil {
		return nil
	}
	// Nothing is known of it, or somebody else was at it.
	_, err := c.try(work, p, sid, true)
	return err
}

// try takes a session as far as it goes, logs what came of it and counts it; with
// shrink also what comes after the world has been told. The session is at work here:
// the caller has called begin.
func (c *Completer) try(ctx context.Context, p int, sid string, shrink bool) (*rest, error) {
	start := time.Now()
	if !shrink {
		c.completing.Add(1)
		defer c.completing.Add(-1)
	}
	c.metrics.working.Add(ctx, 1)
	defer c.metrics.working.Add(ctx, -1)
	result, left, err := c.advanceTo(ctx, p, sid, shrink)
	switch {
	case errors.Is(err, uploadlog.ErrNotFound):
		return nil, nil // gone by its time to live, long finished
	case errors.Is(err, uploadlog.ErrNewer):
		c.log.Warn("session left to a newer completer", "session", sid, "err", err)
		return nil, nil
	case isAlarm(err):
		result = resultAlarm
		c.log.Error("session cannot be completed and needs a person", "session", sid, "partition", p, "err", err)
	case err != nil:
		saw(ctx, &c.tries, err)
		result = resultRetry
		c.log.Warn("session not completed yet", "session", sid, "partition", p, "err", err)
	}
	if err == nil {
		c.tries.Saw(nil)
	}
	if !shrink || err != nil { // a session is counted once
		c.metrics.tried(ctx, result, time.Since(start))
	}
	return left, err
}

// sleep waits for d or until ctx is done.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
