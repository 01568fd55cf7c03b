package accesslog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/tapedeck-io/tapedeck/internal/health"
	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

// A lane takes one sink's batches from the stream to the sink.
type lane struct {
	cfg     SinkConfig
	conf    Config
	deps    Deps
	src     source
	store   ledgerStore
	feed    *feed
	poison  *poisonStore
	metrics *metrics
	log     *slog.Logger

	sending, working health.Pulse // of tries of batches; of shifts

	newBuilder func() builder
	flush      time.Duration
	ackWait    time.Duration
	maxOpen    int // batches that are closed and not done: no more is read then
	maxPending int // messages under way, as the server counts them
}

func newLane(cfg SinkConfig, c *Consumer) *lane {
	l := &lane{cfg: cfg, conf: c.cfg, deps: c.deps, store: c.ledger, feed: newFeed(), poison: c.poison, metrics: c.metrics,
		log: c.deps.Log.With("sink", cfg.Name), flush: c.cfg.Flush, ackWait: c.cfg.AckWait, maxOpen: 2 * cfg.InFlight}
	perBatch := c.cfg.Records
	switch cfg.Kind {
	case KindWebhook:
		l.src, perBatch = notifySource(), 1
		l.newBuilder = func() builder { return &singleBuilder{} }
	case KindParquet:
		l.src, perBatch, l.flush = accessSource(nil), 100_000, c.cfg.ParquetFlush
		l.maxOpen = cfg.InFlight // files are large
		l.newBuilder = func() builder { return newParquetBuilder(c.cfg.ParquetBytes) }
	default:
		field := cfg.Format == FormatEnvelope
		l.src = accessSource(func(r *accesslog.Record) ([]byte, error) { return encode(r, field) })
		l.newBuilder = func() builder { return &jsonBuilder{records: c.cfg.Records, bytes: c.cfg.Bytes} }
	}
	l.maxPending = min(max(perBatch*(l.maxOpen+2), 1000)+2*aheadMessages, 200_000)
	return l
}

// run works until ctx is done, and then lets what is under way go on for the
// drain time. hard ends everything at once.
func (l *lane) run(ctx, hard context.Context) {
	for wait := l.conf.RetryMin; ctx.Err() == nil; wait = min(2*wait, l.conf.RetryMax) {
		start := time.Now()
		err := l.shift(ctx, hard)
		switch {
		case err == nil || hard.Err() != nil:
			return
		case errors.Is(err, errFenced):
			l.working.Saw(nil)
			l.log.Info("another process has the sink; standing by")
			l.standBy(ctx)
			wait = l.conf.RetryMin
			continue
		case time.Since(start) > l.conf.RetryMax:
			wait = l.conf.RetryMin
		}
		l.working.Saw(err)
		l.log.Error("lane interrupted", "err", err, "again_in", wait)
		sleep(ctx, wait)
	}
}

// standBy returns when the sink is free, or its ledger has been silent for the
// takeover time, or ctx is done.
func (l *lane) standBy(ctx context.Context) {
	last, since := uint64(0), time.Now()
	for sleep(ctx, l.conf.Takeover/10) {
		led, rev, err := l.store.Load(ctx, l.cfg.Name)
		switch {
		case err != nil || rev != last:
			last, since = rev, time.Now()
			if err == nil && led.Owner == "" {
				return
			}
		case time.Since(since) >= l.conf.Takeover:
			l.log.Warn("sink's process is silent; taking over", "silent", time.Since(since))
			return
		}
	}
}

// shift claims the sink and works until it has to stop (nil), is displaced, or
// something is wrong with the bus.
func (l *lane) shift(ctx, hard context.Context) error {
	hard, cancel := context.WithCancel(hard)
	s := &shift{lane: l, arrivals: make(chan arrival), saved: make(chan error, 1), sent: make(chan *batch),
		build: l.newBuilder(), w: &writer{store: l.store, sink: l.cfg.Name, nonce: uuid.NewString(), timeout: 5 * time.Second}}
	defer s.wg.Wait()
	defer cancel()
	if err := s.claim(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	l.working.Saw(nil)
	reading, stopReading := context.WithCancel(hard)
	s.wg.Go(func() { s.read(reading) })
	return s.loop(ctx, hard, stopReading)
}

// claim reads where the sink is, and makes its ledger ours. From here on the
// lane that had it can write no more, so it sends nothing that is not listed.
func (s *shift) claim(ctx context.Context) error {
	info, err := s.deps.Conn.JetStream().Stream(ctx, s.src.stream)
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", s.src.stream, err)
	}
	state := info.CachedInfo().State
	s.created = info.CachedInfo().Created.UTC()
	led, rev, err := s.store.Load(ctx, s.cfg.Name)
	if err != nil {
		return err
	}
	fresh := ledger{Stream: s.created, Cursor: position{Seq: 1}}
	switch {
	case rev == 0 && s.cfg.Start == "new":
		led = fresh
		led.Cursor.Seq = state.LastSeq + 1
	case rev == 0:
		led = fresh
	case !led.Stream.Equal(s.created) || led.Cursor.Seq > state.LastSeq+1:
		s.log.Error("stream is not the one that the ledger is of; beginning at its first message", "stream", s.src.stream,
			"made", s.created, "ledger_made", led.Stream, "cursor", led.Cursor.Seq, "last", state.LastSeq, "batches_open", len(led.Open))
		led = fresh
	}
	s.w.rev = rev
	s.from, s.next, s.plan = led.Cursor, led.Cursor, led.Open
	s.readFrom.Store(led.Cursor.Seq)
	if err := s.w.write(ctx, s.snapshot(), false); err != nil {
		return err
	}
	s.log.Info("sink taken", "cursor", led.Cursor.Seq, "batches_open", len(led.Open))
	return nil
}
