package bus

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// A feed reads the messages of a stream that match a filter, in order and each
// once, from one ephemeral consumer after another. The server numbers what a
// consumer delivers: a number that is missing, or two seconds without a heartbeat,
// and the feed goes on with a new consumer from where it was.
//
// The ordered consumer of nats.go does the same, but what goes on inside it can
// be waited for by no context, and its iterator makes a timer for each message and
// has room for as many as may come: a million, if what is asked for is bytes.
type feed struct {
	c              *Conn
	stream, filter string
	replicas       int    // of the stream
	certain        bool   // takes no replica's word for what is the last message
	from           uint64 // stream sequence to go on from
	patient        bool   // tries for as long as it takes

	pull      *pull  // nil: there is no consumer
	delivered uint64 // by it
	stuck     time.Time
}

const (
	feedPatience = 30 * time.Second // for a server to come back, when not following
	feedIdle     = time.Minute      // after which the server forgets a consumer whose client is gone
)

var errNotYet = errors.New("no message yet")

// next waits for the next message. It returns errNotYet when none has come for as
// long as look says, unless that is 0.
func (f *feed) next(ctx context.Context, look time.Duration) (*nats.Msg, place, error) {
	for {
		if f.pull == nil {
			if err := f.open(ctx); err != nil {
				return nil, place{}, err
			}
		}
		msg, err := f.pull.next(ctx, look)
		if ctx.Err() != nil {
			return nil, place{}, context.Cause(ctx)
		}
		var at place
		if err == nil {
			at, err = placeOf(msg.Reply)
		}
		if err == nil && at.delivery != f.delivered+1 {
			err = fmt.Errorf("message %d of the consumer came, want %d", at.delivery, f.delivered+1)
		}
		if errors.Is(err, errNotYet) {
			return nil, place{}, err
		}
		if err != nil {
			f.c.log.Debug("consumer is replaced", "stream", f.stream, "from", f.from, "err", err)
			f.close()
			continue
		}
		f.delivered++
		f.from = at.seq + 1
		return msg, at, nil
	}
}

// nextBefore is next, but errStopped when no message up to sequence end is left.
func (f *feed) nextBefore(ctx context.Context, end uint64) (*nats.Msg, place, error) {
	if end == math.MaxUint64 {
		return f.next(ctx, 0)
	}
	for {
		msg, at, err := f.next(ctx, lookAgain)
		if err == nil && at.seq > end {
			return nil, place{}, errStopped
		}
		if err == nil || !errors.Is(err, errNotYet) {
			return msg, at, err
		}
		last, err := f.newest(ctx)
		if errors.Is(err, errNotFound) || err == nil && last < f.from {
			return nil, place{}, fmt.Errorf("messages %d to %d were trimmed while reading: %w", f.from, end, ErrTrimmed)
		}
	}
}

// openAndLast makes a consumer and asks for the last message at the same time: what
// is read is mostly short, and each takes a round trip.
func (f *feed) openAndLast(ctx context.Context) (last uint64, err error) {
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return f.open(ctx) })
	both.Go(func() (err error) { last, err = f.newest(ctx); return err })
	err = both.Wait()
	return last, err
}

// newest is the last message's sequence, asked for again while nobody answers: the
// server may be starting, or the stream electing a leader.
func (f *feed) newest(ctx context.Context) (uint64, error) {
	for begun := time.Now(); ; {
		last, err := f.last(ctx)
		if !Away(err) || errors.Is(err, nats.ErrConnectionClosed) || ctx.Err() != nil || time.Since(begun) > feedPatience {
			return last, err
		}
		f.c.log.Debug("the last message is not known", "stream", f.stream, "err", err)
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (f *feed) last(ctx context.Context) (uint64, error) {
	if f.certain && f.replicas > 1 {
		return f.c.leaderLast(ctx, f.stream, f.filter)
	}
	return f.c.newest(ctx, f.stream, f.filter, f.replicas)
}

// open makes a consumer, and tries again where that can help. It returns nil with
// one, and an error if there will be none.
func (f *feed) open(ctx context.Context) error {
	for {
		cons, err := f.c.js.CreateConsumer(ctx, f.stream, jetstream.ConsumerConfig{
			FilterSubject:     f.filter,
			DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
			OptStartSeq:       f.from,
			AckPolicy:         jetstream.AckNonePolicy,
			MemoryStorage:     true,
			Replicas:          1,
			InactiveThreshold: feedIdle,
		})
		if err == nil {
			f.pull, err = newPull(f.c, f.stream, cons.CachedInfo().Name)
		}
		if err == nil {
			f.delivered, f.stuck = 0, time.Time{}
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !f.mayPass(err) {
			return fmt.Errorf("make a consumer on %s from %d: %w", f.stream, f.from, err)
		}
		f.c.log.Debug("consumer is not made", "stream", f.stream, "err", err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (f *feed) mayPass(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) && api.Code < 500 || errors.Is(err, nats.ErrConnectionClosed) {
		return false
	}
	if f.stuck.IsZero() {
		f.stuck = time.Now()
	}
	return f.patient || time.Since(f.stuck) < feedPatience
}

// close lets go of the consumer.
func (f *feed) close() {
	if f.pull != nil {
		f.pull.close()
		f.pull = nil
	}
}
