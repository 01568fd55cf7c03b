package accesslog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/metric"
)

// An arrival is a message, read.
type arrival struct {
	seq   uint64
	at    time.Time // the bus's
	reply string    // where its acknowledgement goes
	items []item

	// ours, if not nil, makes the arrival no message but a question: it is
	// closed once the ledger has been written, and so the sink is still ours.
	ours chan struct{}
}

// Fetched ahead of the lane, at most: it waits in memory.
const (
	aheadMessages = 256
	aheadBytes    = 4 << 20
)

var errLost = errors.New("a message was lost on its way")

// read delivers the messages of the stream from the cursor on, in order, until
// ctx is done. After an interruption some come again.
func (s *shift) read(ctx context.Context) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		start := time.Now()
		err := s.readOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(start) > 10*time.Second {
			wait = 50 * time.Millisecond
		}
		s.log.Warn("consumer interrupted", "stream", s.src.stream, "err", err, "again_in", wait)
		if !sleep(ctx, wait) || !s.stillOurs(ctx) {
			return
		}
	}
}

// stillOurs returns once it is known that no other lane has taken the sink. If
// one has, which deletes the consumer, ctx is done soon: two lanes must not go on
// taking the consumer from each other.
func (s *shift) stillOurs(ctx context.Context) bool {
	ours := make(chan struct{})
	select {
	case s.arrivals <- arrival{ours: ours}:
	case <-ctx.Done():
		return false
	}
	select {
	case <-ours:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *shift) readOnce(ctx context.Context) error {
	cons, err := s.attach(ctx)
	if err != nil {
		return err
	}
	it, err := cons.Messages(jetstream.PullMaxMessagesWithBytesLimit(aheadMessages, aheadBytes),
		jetstream.PullHeartbeat(time.Second), jetstream.PullExpiry(30*time.Second))
	if err != nil {
		return fmt.Errorf("consume %s: %w", s.src.stream, err)
	}
	defer it.Stop()
	defer context.AfterFunc(ctx, it.Stop)()
	for delivery := uint64(1); ; delivery++ {
		m, err := it.Next() // blocks; Stop ends it
		if err != nil {
			return fmt.Errorf("consume %s: %w", s.src.stream, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("consume %s: %w", s.src.stream, err)
		}
		// Deliveries are numbered. One that was lost would come again only
		// after others, and boundaries need the order.
		if meta.Sequence.Consumer != delivery {
			return fmt.Errorf("consume %s: delivery %d came, want %d: %w", s.src.stream, meta.Sequence.Consumer, delivery, errLost)
		}
		s.metrics.lag.Record(ctx, int64(meta.NumPending), metric.WithAttributes(sinkLabel(s.cfg.Name)))
		if err := s.arrive(ctx, m, meta); err != nil {
			return err
		}
	}
}

// arrive parses m, keeps it aside if not all of it is good, and hands it to the lane.
func (s *shift) arrive(ctx context.Context, m jetstream.Msg, meta *jetstream.MsgMetadata) error {
	seq := meta.Sequence.Stream
	items, bad := s.src.parse(m, seq)
	if bad != nil && meta.NumDelivered == 1 {
		if err := s.keepAside(ctx, m, seq, bad); err != nil {
			return err
		}
	}
	select {
	case s.arrivals <- arrival{seq: seq, at: meta.Timestamp, reply: m.Reply(), items: items}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// keepAside returns an error only if trying again may help. If the server refuses
// to keep the message, it stays where it is and is told with its place.
func (s *shift) keepAside(ctx context.Context, m jetstream.Msg, seq uint64, why error) error {
	keep := nats.NewMsg(s.src.poison + "." + strconv.FormatInt(s.created.Unix(), 10) + "." + strconv.FormatUint(seq, 10))
	keep.Data = m.Data()
	keep.Header.Set(HeaderReason, oneLine(why.Error()))
	err := s.poison.keep(ctx, keep, "message")
	if err == nil {
		s.log.Warn("message kept aside", "stream", s.src.stream, "seq", seq, "subject", m.Subject(), "kept", keep.Subject, "err", why)
		return nil
	}
	var api *jetstream.APIError
	if errors.As(err, &api) && isFull(api) {
		s.log.Error("bad message stays in the stream only: no room to keep it aside", "stream", s.src.stream, "seq", seq, "bytes", len(m.Data()), "err", err)
		return nil
	}
	return err
}

// isFull says whether a stream refused because it is at its limits.
func isFull(api *jetstream.APIError) bool {
	const storeFailed, storageExceeded = 10077, 10047
	return api.ErrorCode == storeFailed || api.ErrorCode == storageExceeded
}

// attach makes the durable consumer anew, at the cursor. Whoever used it before
// hears that it is gone.
func (s *shift) attach(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	stream, err := s.deps.Conn.JetStream().Stream(ctx, s.src.stream)
	if err != nil {
		return nil, fmt.Errorf("look at stream %s: %w", s.src.stream, err)
	}
	name := "accesslog-" + s.cfg.Name
	if err := stream.DeleteConsumer(ctx, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, fmt.Errorf("renew consumer %s: %w", name, err)
	}
	from := max(s.readFrom.Load(), 1)
	if first := stream.CachedInfo().State.FirstSeq; first > from {
		s.metrics.expired.Add(ctx, int64(first-from), metric.WithAttributes(sinkLabel(s.cfg.Name)))
		s.log.Error("messages have left the stream before the sink had them", "stream", s.src.stream, "from", from, "first", first)
	}
	cons, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: name, Description: "access log, sink " + s.cfg.Name, FilterSubject: s.src.filter,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: s.ackWait, MaxAckPending: s.maxPending, MaxDeliver: -1,
	})
	if err != nil {
		return nil, fmt.Errorf("create consumer %s on %s: %w", name, s.src.stream, err)
	}
	return cons, nil
}
