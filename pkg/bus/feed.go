package bus

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A feed reads the messages of a stream that match a filter, in order and each
// once, from one ephemeral consumer after another. The server numbers what a
// consumer delivers: a number that is missing, or a second without a heartbeat,
// and the feed goes on with a new consumer from where it was.
//
// The ordered consumer of nats.go does the same, but what goes on inside it can
// be waited for by no context.
type feed struct {
	c              *Conn
	stream, filter string
	from           uint64 // stream sequence to go on from
	patient        bool   // tries for as long as it takes

	cons      string
	it        jetstream.MessagesContext
	delivered uint64 // by this consumer
	stuck     time.Time

	soon     context.Context // of nextSoon; nil: none is running
	soonDone context.CancelFunc
}

const (
	feedBytes     = 4 << 20 // asked for at a time; above the largest message
	feedHeartbeat = time.Second
	feedPatience  = 30 * time.Second // for a server to come back, when not following
	feedIdle      = time.Minute      // after which the server forgets a consumer whose client is gone
)

// next waits for the next message, and says where in the stream it is.
func (f *feed) next(ctx context.Context) (jetstream.Msg, *jetstream.MsgMetadata, error) {
	for {
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		if f.it == nil {
			if err := f.open(ctx); err != nil {
				return nil, nil, err
			}
			continue
		}
		msg, err := f.it.Next(jetstream.NextContext(ctx))
		if err != nil {
			if ctx.Err() == nil {
				f.c.log.Debug("consumer is replaced", "stream", f.stream, "from", f.from, "err", err)
				f.stop()
			}
			continue
		}
		md, err := msg.Metadata()
		if err != nil {
			return nil, nil, err
		}
		if md.Sequence.Consumer != f.delivered+1 {
			f.c.log.Debug("consumer is replaced", "stream", f.stream, "from", f.from, "delivered", md.Sequence.Consumer, "want", f.delivered+1)
			f.stop()
			continue
		}
		f.delivered++
		f.from = md.Sequence.Stream + 1
		return msg, md, nil
	}
}

// nextBefore is next, but errStopped when no message up to sequence end is left.
func (f *feed) nextBefore(ctx context.Context, end uint64) (jetstream.Msg, *jetstream.MsgMetadata, error) {
	if end == math.MaxUint64 {
		return f.next(ctx)
	}
	for {
		msg, md, err := f.nextSoon(ctx)
		if err == nil && md.Sequence.Stream > end {
			return nil, nil, errStopped
		}
		if err == nil || !errors.Is(err, errNotYet) {
			return msg, md, err
		}
		_, last, _, err := f.c.last(ctx, f.stream, f.filter)
		if errors.Is(err, errNotFound) || err == nil && last < f.from {
			return nil, nil, fmt.Errorf("messages %d to %d were trimmed while reading: %w", f.from, end, ErrTrimmed)
		}
	}
}

var errNotYet = errors.New("no message yet")

// nextSoon is next, but errNotYet when none has come for a while, of which one
// context serves many messages: a new one for each costs as much as the message.
func (f *feed) nextSoon(ctx context.Context) (jetstream.Msg, *jetstream.MsgMetadata, error) {
	if f.soon == nil {
		f.soon, f.soonDone = context.WithTimeout(ctx, lookAgain)
	}
	msg, md, err := f.next(f.soon)
	if err == nil || f.soon.Err() == nil {
		return msg, md, err
	}
	f.soonDone()
	f.soon = nil
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	return nil, nil, errNotYet
}

// open makes a consumer, and tries again where that can help.
func (f *feed) open(ctx context.Context) error {
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
		f.it, err = cons.Messages(
			jetstream.PullMaxBytes(feedBytes),
			jetstream.PullHeartbeat(feedHeartbeat),
			jetstream.WithMessagesErrOnMissingHeartbeat(true),
		)
	}
	if err == nil {
		f.cons, f.delivered, f.stuck = cons.CachedInfo().Name, 0, time.Time{}
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
	case <-time.After(200 * time.Millisecond):
	}
	return nil
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

// close lets go of everything.
func (f *feed) close() {
	if f.soon != nil {
		f.soonDone()
	}
	f.stop()
}

// stop lets go of the consumer.
func (f *feed) stop() {
	if f.it == nil {
		return
	}
	f.it.Stop()
	f.it = nil
	if !f.c.nc.IsConnected() {
		return // the server forgets it
	}
	// Nobody waits for the answer; if it does not get there the server forgets
	// the consumer by itself.
	_ = f.c.nc.Publish("$JS.API.CONSUMER.DELETE."+f.stream+"."+f.cons, nil)
}
