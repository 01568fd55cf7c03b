package accesslog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/health"
)

// A Consumer delivers to sinks. Make one with New.
type Consumer struct {
	cfg     Config
	deps    Deps
	sinks   map[string]Sink
	lanes   []*lane
	ledger  ledgerStore
	poison  *poisonStore
	metrics *metrics
}

// New makes a consumer. It reads files with tokens and keys; Run does the work.
func New(cfg Config, deps Deps) (*Consumer, error) {
	cfg.Sinks = append([]SinkConfig(nil), cfg.Sinks...)
	for i, s := range cfg.Sinks {
		cfg.Sinks[i] = s.orDefault()
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("access log configuration: %w", err)
	}
	if deps.Conn == nil {
		return nil, errors.New("access log needs a connection")
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Stdout == nil {
		deps.Stdout = os.Stdout
	}
	m, err := newMetrics(deps.Meter)
	if err != nil {
		return nil, err
	}
	c := &Consumer{cfg: cfg, deps: deps, sinks: map[string]Sink{}, metrics: m,
		ledger: &kvStore{conn: deps.Conn, layout: deps.Layout},
		poison: &poisonStore{conn: deps.Conn, layout: deps.Layout, metrics: m}}
	if deps.wrapLedger != nil {
		c.ledger = deps.wrapLedger(c.ledger)
	}
	return c, c.addLanes()
}

func (c *Consumer) addLanes() error {
	var errs []error
	for _, s := range c.cfg.Sinks {
		sink, err := newSink(s, c.deps)
		if err != nil {
			errs = append(errs, fmt.Errorf("sink %s: %w", s.Name, err))
			continue
		}
		if c.deps.wrapSink != nil {
			sink = c.deps.wrapSink(s.Name, sink)
		}
		c.sinks[s.Name] = sink
		c.lanes = append(c.lanes, newLane(s, c))
		c.metrics.zero(s.Name)
	}
	return errors.Join(errs...)
}

// Run works until ctx is done, then delivers what it has read for the drain time
// at most, and returns nil. Trouble with NATS or a sink is logged and tried
// again; nothing of it ends Run. It may be called once.
func (c *Consumer) Run(ctx context.Context) error {
	return c.run(ctx, context.WithoutCancel(ctx))
}

// run ends at once when hard is done, as if killed.
func (c *Consumer) run(ctx, hard context.Context) error {
	router, err := c.newRouter()
	if err != nil {
		return fmt.Errorf("make router: %w", err)
	}
	routing := make(chan error, 1)
	go func() { routing <- router.Run(hard) }()
	<-router.Running()
	var lanes sync.WaitGroup
	for _, l := range c.lanes {
		lanes.Go(func() { l.run(ctx, hard) })
	}
	lanes.Wait()
	for _, l := range c.lanes {
		_ = l.feed.Close() // the router may forget to
	}
	closeErr := router.Close()
	if err := <-routing; err != nil {
		return fmt.Errorf("route batches: %w", err)
	}
	if closeErr != nil {
		c.deps.Log.Warn("a sink is still at work", "err", closeErr)
	}
	return nil
}

// stuckAfter is how long nothing may have worked before that is a problem: a server
// that is started again takes less.
const stuckAfter = time.Minute

// Checks say whether work gets through.
//
//	nats           the bus is connected
//	lane.SINK      the sink's records are read, or another process has the sink
//	delivery.SINK  of the batches that were tried lately one was taken
func (c *Consumer) Checks() health.Checks {
	checks := health.Checks{"nats": c.deps.Conn.Connected}
	for _, l := range c.lanes {
		checks["lane."+l.cfg.Name] = func(context.Context) error { return l.working.Problem(stuckAfter) }
		checks["delivery."+l.cfg.Name] = func(context.Context) error { return health.NoRestart(l.sending.Problem(stuckAfter)) }
	}
	return checks
}
