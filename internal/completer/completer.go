// Package completer makes finished recordings out of sessions that have ended.
//
// When a session's upload log says *ended*, the completer checks that the
// committed parts hold every event, completes the multipart upload with exactly
// those parts, writes the manifest beside the recording, and tells the world. Each
// step is recorded in the session's log by compare and swap, so any number of
// replicas may work on any session at any time, and each may be killed at any
// moment: the next one goes on from the newest record.
//
//	ended ──▶ completed ──▶ notified ──▶ notified, with a time to live
//	   └────▶ parts-lost
//
// # What may be relied on
//
// A recording is completed only if its parts cover all of its events, gaps that
// the log admits excepted. A finished object is never overwritten. The manifest of
// a session is the same bytes whoever writes it and however often. The
// notification and the session.upload event come at least once; a repeat carries
// the same id. A session that fails never holds up another.
//
// # Where sessions come from
//
// A durable consumer, shared by the replicas, says which sessions have ended. It is
// a hint: what it loses a periodic look through the log finds.
package completer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/tapedeck-io/tapedeck/internal/failpoint"
	"github.com/tapedeck-io/tapedeck/internal/health"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// Config is how a completer works. Its zero value is refused; [DefaultConfig] and
// kong fill in the defaults.
type Config struct {
	Concurrency int           `name:"concurrency" default:"16" env:"TAPEDECK_COMPLETER_CONCURRENCY" help:"Sessions completed at once (1 to 1000). Each holds at most one part in memory, and only while it uploads a recording anew."`
	Sweep       time.Duration `name:"sweep" default:"5m" env:"TAPEDECK_COMPLETER_SWEEP" help:"How often to look through the whole upload log for sessions that ended and are not finished (1s to 24h). A safety net: costs one header a session."`
	RetryMax    time.Duration `name:"retry-max" default:"1m" env:"TAPEDECK_COMPLETER_RETRY_MAX" help:"Longest wait between tries of one session (1s to 1h). Tries begin a second apart; after ten the session is left to the sweep."`
	KeepTime    time.Duration `name:"keep-time" default:"72h" env:"TAPEDECK_KEEP_TIME" help:"How long events stay on the bus, as the slicers have it (1h at least). The last record of a session's log goes a day later."`
	OrphanAge   time.Duration `name:"orphan-age" default:"24h" env:"TAPEDECK_COMPLETER_ORPHAN_AGE" help:"Uploads that no log knows are aborted at this age (1h at least), so that their parts cost nothing."`
	OwnBucket   bool          `name:"own-bucket" env:"TAPEDECK_COMPLETER_OWN_BUCKET" help:"Nothing else uploads into the bucket. Without it and without a prefix no upload is aborted, since it could be somebody else's."`
	OrphanSweep time.Duration `name:"orphan-sweep" default:"1h" env:"TAPEDECK_COMPLETER_ORPHAN_SWEEP" help:"How often to look for such uploads; 0 turns it off."`
	Drain       time.Duration `name:"drain" default:"10s" env:"TAPEDECK_COMPLETER_DRAIN" help:"How long sessions under way may go on when the completer is told to stop (0 to 10m). One that is cut short is taken up by the next completer."`
}

// DefaultConfig is what the tags say.
func DefaultConfig() Config {
	return Config{Concurrency: 16, Sweep: 5 * time.Minute, RetryMax: time.Minute, KeepTime: 72 * time.Hour,
		OrphanAge: 24 * time.Hour, OrphanSweep: time.Hour, Drain: 10 * time.Second}
}

// Validate says everything that is wrong with the configuration at once.
func (c Config) Validate() error {
	var errs []error
	between := func(what string, v, low, high time.Duration) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("%s: %s is not within %s to %s", what, v, low, high))
		}
	}
	if c.Concurrency < 1 || c.Concurrency > 1000 {
		errs = append(errs, fmt.Errorf("concurrency: %d is not within 1 to 1000", c.Concurrency))
	}
	between("sweep", c.Sweep, time.Second, 24*time.Hour)
	between("retry-max", c.RetryMax, time.Second, time.Hour)
	between("keep-time", c.KeepTime, time.Hour, 10*365*24*time.Hour)
	between("orphan-age", c.OrphanAge, time.Hour, 365*24*time.Hour)
	if c.OrphanSweep != 0 {
		between("orphan-sweep", c.OrphanSweep, time.Second, 30*24*time.Hour)
	}
	between("drain", c.Drain, 0, 10*time.Minute)
	return errors.Join(errs...)
}

// Deps is what a completer works with.
type Deps struct {
	Conn   *bus.Conn
	Layout bus.Layout   // as installed
	Store  ObjectStore  // where recordings are
	Bucket string       // its name, for the URLs that are told
	Log    *slog.Logger // may be nil
	Meter  metric.Meter // may be nil
	Tracer trace.Tracer // may be nil
}

// A Completer completes sessions. Make one with New.
type Completer struct {
	cfg     Config
	conn    *bus.Conn
	layout  bus.Layout
	store   ObjectStore
	bucket  string
	log     *slog.Logger
	metrics *metrics
	tracer  trace.Tracer

	slots   *semaphore.Weighted // one a session that is being completed
	tidying *semaphore.Weighted // one a session whose log is being shrunk
	commits *commits

	completing atomic.Int32 // sessions that are being completed

	consuming, looked, tries health.Pulse // of the consumer, of looks through the log, of sessions

	// fault stands around each write to the bus when tests want it refused, or
	// done and its reply lost; nil otherwise.
	fault func(step string, write func() error) error

	mu   sync.Mutex
	busy map[string]bool // sessions at work here, by id
}

// New makes a completer. Run does the work.
func New(cfg Config, deps Deps) (*Completer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("completer configuration: %w", err)
	}
	if deps.Conn == nil || deps.Store == nil {
		return nil, errors.New("completer needs a connection and a store")
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Tracer == nil {
		deps.Tracer = noop.NewTracerProvider().Tracer("")
	}
	m, err := newMetrics(deps.Meter)
	if err != nil {
		return nil, err
	}
	return &Completer{cfg: cfg, conn: deps.Conn, layout: deps.Layout, store: deps.Store, bucket: deps.Bucket,
		log: deps.Log, metrics: m, tracer: deps.Tracer, slots: semaphore.NewWeighted(int64(cfg.Concurrency)), commits: &commits{conn: deps.Conn},
		tidying: semaphore.NewWeighted(tidiers), busy: map[string]bool{}}, nil
}

// Run works until ctx is done, then lets what is under way go on for the drain
// time. It returns nil if it was told to stop. Trouble with NATS or S3 is logged
// and tried again; nothing of it ends Run.
func (c *Completer) Run(ctx context.Context) error {
	// Work has a context of its own, which ends a drain time after ctx.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	drain := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(c.cfg.Drain, stop)
		context.AfterFunc(work, func() { t.Stop() })
	})
	defer drain()

	var g errgroup.Group
	g.Go(func() error { c.consume(ctx, work); return nil })
	g.Go(func() error { c.every(ctx, c.cfg.Sweep, func() { c.sweep(ctx, work) }); return nil })
	if c.cfg.OrphanSweep > 0 {
		g.Go(func() error { c.every(ctx, c.cfg.OrphanSweep, func() { c.abortOrphans(ctx) }); return nil })
	}
	return g.Wait()
}

// every calls f now and then once each period, until ctx is done.
func (c *Completer) every(ctx context.Context, period time.Duration, f func()) {
	t := time.NewTicker(period)
	defer t.Stop()
	for ctx.Err() == nil {
		f()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
}

// write does one write to the bus, which step names.
func (c *Completer) write(step string, write func() error) error {
	if c.fault != nil {
		return c.fault(step, write)
	}
	if strings.HasPrefix(step, "commit ") {
		return write() // the log has failpoints of its own
	}
	return failpoint.Around(write, "completer/"+step)
}

// begin marks a session as at work here; false if it is already.
func (c *Completer) begin(sid string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy[sid] {
		return false
	}
	c.busy[sid] = true
	return true
}

func (c *Completer) end(sid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.busy, sid)
}
