package accesslog

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// A feed is how a lane gives batches to Watermill's router: a subscriber.
type feed struct {
	ch   chan *message.Message
	once sync.Once
}

func newFeed() *feed { return &feed{ch: make(chan *message.Message)} }

// Subscribe is for the router.
func (f *feed) Subscribe(context.Context, string) (<-chan *message.Message, error) { return f.ch, nil }

// Close ends the handler. Nothing may be delivered after.
func (f *feed) Close() error {
	f.once.Do(func() { close(f.ch) })
	return nil
}

type batchKey struct{}

// deliver returns nil when b is done with: the sink has it, or it is kept aside.
// It returns an error when ctx is done, and only then.
func (f *feed) deliver(ctx context.Context, b *Batch, wait time.Duration) error {
	for {
		m := message.NewMessageWithContext(context.WithValue(ctx, batchKey{}, b), b.ID, b.Body())
		select {
		case f.ch <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-m.Acked():
			return nil
		case <-m.Nacked(): // refused for good, and could not be kept aside
			if !sleep(ctx, wait) {
				return ctx.Err()
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// newRouter makes a router with a handler for each lane.
func (c *Consumer) newRouter() (*message.Router, error) {
	quiet := map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug, slog.LevelError: slog.LevelDebug}
	r, err := message.NewRouter(message.RouterConfig{CloseTimeout: 5 * time.Second},
		watermill.NewSlogLoggerWithLevelMapping(c.deps.Log, quiet))
	if err != nil {
		return nil, err
	}
	for _, l := range c.lanes {
		poison, err := middleware.PoisonQueueWithFilter(c.poison, poisonBatches+l.cfg.Name,
			func(err error) bool { return errors.Is(err, ErrRefused) })
		if err != nil {
			return nil, err
		}
		sink := c.sinks[l.cfg.Name]
		h := r.AddConsumerHandler(l.cfg.Name, l.cfg.Name, l.feed, func(m *message.Message) error {
			b, ok := m.Context().Value(batchKey{}).(*Batch)
			if !ok {
				return errors.New("message without a batch")
			}
			ctx, cancel := context.WithTimeout(m.Context(), c.cfg.Timeout)
			defer cancel()
			return sink.Send(ctx, b)
		})
		h.AddMiddleware(l.trace, poison, l.measure, l.retry().Middleware, heedRetryAfter, l.countAttempts, middleware.Recoverer)
	}
	return r, nil
}

// retry tries a batch for as long as it takes, unless it is refused for good.
func (l *lane) retry() middleware.Retry {
	return middleware.Retry{
		MaxRetries: math.MaxInt32, InitialInterval: l.conf.RetryMin, MaxInterval: l.conf.RetryMax,
		// Watermill takes a step of the backoff more each time that it asks
		// ShouldRetry, so this doubles.
		Multiplier: math.Sqrt2, RandomizationFactor: 0.3, ResetContextOnRetry: true,
		ShouldRetry: func(p middleware.RetryParams) bool {
			switch {
			case errors.Is(p.Err, ErrRefused):
				return false
			case p.RetryNum == 0:
				l.log.Warn("batch not delivered; trying again", "err", p.Err)
			case p.RetryNum%10 == 0:
				l.log.Error("batch not delivered for long", "tries", p.RetryNum+1, "err", p.Err)
			}
			return true
		},
	}
}

// heedRetryAfter leaves the sink alone for as long as it has asked for.
func heedRetryAfter(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		out, err := next(m)
		var after *RetryAfterError
		if errors.As(err, &after) {
			sleep(m.Context(), after.After)
		}
		return out, err
	}
}

func (l *lane) countAttempts(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		out, err := next(m)
		l.metrics.tried(m.Context(), l.cfg.Name, err)
		switch {
		case err == nil || errors.Is(err, ErrRefused): // an answer, and the batch is kept aside
			l.sending.Saw(nil)
		case m.Context().Err() == nil:
			l.sending.Saw(err)
		}
		return out, err
	}
}

// measure sees a batch once, whatever its tries.
func (l *lane) measure(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		start := time.Now()
		out, err := next(m)
		b, _ := m.Context().Value(batchKey{}).(*Batch)
		switch {
		case b == nil:
		case err == nil:
			l.metrics.delivered(m.Context(), l.cfg.Name, b.Records, time.Since(start))
			l.log.Debug("batch delivered", "batch", b.ID, "records", b.Records, "bytes", len(b.Body()))
		case errors.Is(err, ErrRefused):
			l.metrics.batches.Add(m.Context(), 1, metric.WithAttributes(sinkLabel(l.cfg.Name), attribute.String("result", "kept_aside")))
			l.log.Error("batch is refused and kept aside", "batch", b.ID, "records", b.Records, "kept", poisonBatches+l.cfg.Name, "err", err)
		}
		return out, err
	}
}

func (l *lane) trace(next message.HandlerFunc) message.HandlerFunc {
	if l.deps.Tracer == nil {
		return next
	}
	return func(m *message.Message) ([]*message.Message, error) {
		ctx, span := l.deps.Tracer.Start(m.Context(), "deliver batch", trace.WithSpanKind(trace.SpanKindProducer),
			trace.WithAttributes(sinkLabel(l.cfg.Name), attribute.String("batch", m.UUID)))
		defer span.End()
		m.SetContext(ctx)
		out, err := next(m)
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		return out, err
	}
}
