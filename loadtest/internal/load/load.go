// Package load publishes the sessions of a load test and measures how they fare.
//
// # Open loop
//
// At a rate, each event has a moment at which it is meant to be published, decided
// before the test. A producer that is late goes on without a pause, and every latency
// is counted from the meant moment. So when the bus stalls, the events that would have
// come during the stall are counted as waiting for it, and not left out because their
// producer waited too. As fast as it goes, the moment is when the event is handed to
// the publisher.
package load

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tapedeck-io/tapedeck/loadtest/internal/mix"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// Flat out, as a rate.
const Flat = -1

// A Config says what load to make.
type Config struct {
	Seed     uint64
	Sessions int // at once
	Mix      mix.Mix
	Rate     float64       // events a second over all sessions; 0: each kind's own; Flat: as fast as it goes
	Duration time.Duration // of publishing; 0: until Events
	Events   int64         // stop after so many; 0: after Duration
	Ramp     time.Duration // sessions begin one after another over this long
	Length   time.Duration // of a session; then the next one takes its place. 0: all of the test
	End      float64       // of the sessions that are open at the end, this share is ended; the rest stay open
	EndOver  time.Duration // and these one after another over this long
	Follow   int           // sessions that are also followed live
	Node     string

	// Drop says of an event that it is not to be published: for tests that want a
	// recording with a hole in it.
	Drop func(session uint64, index int64) bool
}

// A Runner makes load, once.
type Runner struct {
	cfg    Config
	layout bus.Layout
	pubs   []*bus.Publisher
	conns  []*bus.Conn
	run    string // part of the sessions' names
	begun  time.Time
	until  time.Time // zero: no end but the count

	stop     chan struct{} // closed when nothing more is to be published
	stopOnce sync.Once
	ids      atomic.Uint64
	taken    atomic.Int64 // events given out, for Config.Events
	open     atomic.Int64
	ended    atomic.Int64
	finished atomic.Int64
	followed atomic.Int64

	follows   sync.WaitGroup
	following context.CancelFunc // ends them
	unlisten  func()

	Ack, Followed, Finish Latencies

	published, acked, ackedBytes, seen atomic.Int64

	mu       sync.Mutex
	sessions map[string]*Session
	list     []*Session
	errs     []error
	failed   int
}

// New makes a Runner that publishes over the connections, each with a publisher of
// its own.
func New(cfg Config, layout bus.Layout, conns []*bus.Conn) *Runner {
	r := &Runner{
		cfg: cfg, layout: layout, conns: conns, stop: make(chan struct{}), sessions: map[string]*Session{},
		run: strings.ToLower(rand.Text()[:10]),
	}
	for _, c := range conns {
		r.pubs = append(r.pubs, bus.NewPublisher(c, layout, bus.PublisherOptions{}))
	}
	return r
}

// Run publishes until the duration is over, the count is reached or ctx is done, and
// then ends the sessions. It returns when the bus has everything. What went wrong
// with sessions is in Trouble; an error is of the whole.
func (r *Runner) Run(ctx context.Context) error {
	if err := r.listen(); err != nil {
		return err
	}
	var follow context.Context
	follow, r.following = context.WithCancel(ctx)
	r.begun = time.Now()
	if r.cfg.Duration > 0 {
		r.until = r.begun.Add(r.cfg.Duration)
		timer := time.AfterFunc(r.cfg.Duration, r.halt)
		defer timer.Stop()
	}
	defer context.AfterFunc(ctx, r.halt)()
	kinds := r.cfg.Mix.Spread(r.cfg.Sessions)
	factor := r.factor(kinds)
	var wg sync.WaitGroup
	for n, k := range kinds {
		p := &place{r: r, n: n, kind: k}
		if factor > 0 {
			p.every = time.Duration(float64(k.Every) / factor)
		}
		wg.Go(func() { p.run(ctx, follow) })
	}
	wg.Wait()
	return context.Cause(ctx)
}

// factor is how much faster than its own rate each session publishes; 0: flat out.
func (r *Runner) factor(kinds []mix.Kind) float64 {
	switch {
	case r.cfg.Rate < 0:
		return 0
	case r.cfg.Rate == 0:
		return 1
	}
	natural := 0.0
	for _, k := range kinds {
		natural += 1 / k.Every.Seconds()
	}
	return r.cfg.Rate / natural
}

// followGrace is how long followers may take to see the end of their sessions.
const followGrace = 5 * time.Second

// Close lets go of sessions and followers. Call it after AwaitFinished.
func (r *Runner) Close() {
	if r.following != nil {
		timer := time.AfterFunc(followGrace, r.following)
		r.follows.Wait()
		timer.Stop()
		r.following()
	}
	if r.unlisten != nil {
		r.unlisten()
	}
	for _, p := range r.pubs {
		p.Close()
	}
}

func (r *Runner) halt() { r.stopOnce.Do(func() { close(r.stop) }) }

func (r *Runner) over() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

// take asks for one more event to publish.
func (r *Runner) take() bool {
	if r.over() {
		return false
	}
	if r.cfg.Events > 0 && r.taken.Add(1) > r.cfg.Events {
		r.halt()
		return false
	}
	return true
}

// trouble keeps the first errors.
func (r *Runner) trouble(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed++
	if len(r.errs) < 20 {
		r.errs = append(r.errs, err)
	}
}

// Trouble is what went wrong with sessions: how many things, and the first of them.
func (r *Runner) Trouble() (int, []error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed, r.errs
}

// A Progress is how far a Runner is.
type Progress struct {
	Open, Ended, Finished          int64
	Published, Acked, AckedBytes   int64
	FollowedSessions, FollowedSeen int64
}

// Progress is how far it is now.
func (r *Runner) Progress() Progress {
	return Progress{
		Open: r.open.Load(), Ended: r.ended.Load(), Finished: r.finished.Load(),
		Published: r.published.Load(), Acked: r.acked.Load(), AckedBytes: r.ackedBytes.Load(),
		FollowedSessions: min(r.followed.Load(), int64(r.cfg.Follow)), FollowedSeen: r.seen.Load(),
	}
}

// Sessions are all that were begun, in the order in which they were.
func (r *Runner) Sessions() []*Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*Session(nil), r.list...)
}

// name is the id of session number id, among all that there ever are.
func (r *Runner) name(id uint64) string { return fmt.Sprintf("load-%s-%d", r.run, id) }

// phase spreads sessions of one kind over the time between two events.
func phase(seed uint64, n int, every time.Duration) time.Duration {
	if every <= 0 {
		return 0
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%d/%d", seed, n)
	return time.Duration(h.Sum64() % uint64(every))
}

var errNotFinished = errors.New("recordings are not finished")

// AwaitFinished waits until every recording whose session was ended is finished.
func (r *Runner) AwaitFinished(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		p := r.Progress()
		if p.Finished >= p.Ended {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait %v for the end: %d of %d %w", limit, p.Ended-p.Finished, p.Ended, errNotFinished)
		case <-tick.C:
		}
	}
}
