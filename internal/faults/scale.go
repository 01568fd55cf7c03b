package faults

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A ScaleConfig is one measurement of how the slicers scale. All of them are bounded
// in load and time, and fail if a recording is not what was produced.
type ScaleConfig struct {
	Dir      string
	Programs Programs
	Log      *slog.Logger
	Seed     uint64
}

// bench is an installation to measure on.
func (c ScaleConfig) bench(ctx context.Context, name string, partitions int) (*Bench, error) {
	dir := filepath.Join(c.Dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	r, err := NewRig(ctx, RigConfig{Dir: dir, Programs: c.Programs, Partitions: partitions, Nodes: 1, EventsMaxBytes: 4 << 30})
	if err != nil {
		return nil, err
	}
	return &Bench{r: r, log: c.Log, pub: bus.NewPublisher(r.conn, r.layout, bus.PublisherOptions{AckTimeout: time.Minute})}, nil
}

// Takeovers are how long sessions stood still, in order of size.
type Takeovers []time.Duration

// Median is the middle one.
func (t Takeovers) Median() time.Duration { return t[len(t)/2] }

// Takeover ends the owner of some partitions times times, by kill -9 or gracefully,
// and measures each time how long it is until an event published at that moment is
// durable by the next owner. Beside the takeover that is a checkpoint and a cursor,
// which these slicers write within 0.3 s.
func (c ScaleConfig) Takeover(ctx context.Context, times int, graceful bool) (Takeovers, error) {
	const partitions = 4
	b, err := c.bench(ctx, fmt.Sprintf("takeover-%v", graceful), partitions)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	streams := make([]*bus.Stream, partitions)
	sessions := make([]Session, partitions)
	for i := 0; slices.Contains(streams, nil); i++ {
		s := sessionsOf(fmt.Sprintf("takeover-%x-%d", c.Seed, i))[2]
		p := bus.Partition(s.ID, partitions)
		if streams[p] == nil {
			if streams[p], err = b.pub.Open(ctx, nodeOf(s.ID), s.ID); err != nil {
				return nil, err
			}
			sessions[p] = s
		}
	}
	for range 2 {
		if err := b.r.AddSlicer("--idle-checkpoint=100ms", "--holdback=100ms", "--cursor-every=100ms"); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(b.r.AddCompleter(quickCompleter...), b.r.startAll()); err != nil {
		return nil, err
	}
	w := &watched{b: b, streams: streams, sessions: sessions, sent: make([]int64, partitions)}
	var took Takeovers
	for i := 0; len(took) < times; i++ {
		d, err := w.once(ctx, b.r.slicers[i%2], graceful)
		if err != nil {
			return took, err
		}
		if d > 0 {
			took = append(took, d)
			c.Log.Info("taken over", "graceful", graceful, "after", d.Round(time.Millisecond))
		}
	}
	for p, s := range sessions {
		sessions[p].Events = w.sent[p]
		if err := streams[p].End(ctx); err != nil {
			return took, fmt.Errorf("end session %s: %w", s.ID, err)
		}
	}
	slices.Sort(took)
	return took, b.verify(ctx, sessions)
}

// A watched installation has a session in each partition.
type watched struct {
	b        *Bench
	streams  []*bus.Stream
	sessions []Session
	sent     []int64
}

// publish sends one event of the session in partition p.
func (w *watched) publish(ctx context.Context, p int) error {
	one, err := w.sessions[p].Event(w.sent[p])
	if err == nil {
		err = w.streams[p].Append(ctx, one, w.sent[p])
	}
	if err == nil {
		err = w.streams[p].Flush(ctx)
	}
	w.sent[p]++
	return err
}

// settled waits until everything of these partitions is durable.
func (w *watched) settled(ctx context.Context, parts []int) error {
	for _, p := range parts {
		st, err := w.b.r.conn.JetStream().Stream(ctx, bus.EventStream(p))
		if err != nil {
			return err
		}
		last := st.CachedInfo().State.LastSeq
		for {
			cur, _, err := uploadlog.ReadCursor(ctx, w.b.r.conn, p)
			if err == nil && cur.Seq >= last {
				break
			}
			if err != nil && !errors.Is(err, uploadlog.ErrNotFound) {
				return err
			}
			sleep(ctx, 10*time.Millisecond)
			if ctx.Err() != nil {
				return fmt.Errorf("partition %d stands still: %w", p, ctx.Err())
			}
		}
	}
	return nil
}

// once ends one slicer and starts it again. It returns 0 if the slicer had no
// partition: then it gets another name, and perhaps some.
func (w *watched) once(ctx context.Context, p *proc, graceful bool) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for part := range w.streams {
		if err := w.publish(ctx, part); err != nil {
			return 0, err
		}
	}
	all := []int{0, 1, 2, 3}
	if err := w.settled(ctx, all); err != nil {
		return 0, err
	}
	sleep(ctx, 3*time.Second) // partitions have moved to where they belong
	var own []int
	for _, part := range all {
		l, err := uploadlog.ReadLease(ctx, w.b.r.conn, part)
		if err != nil {
			return 0, err
		}
		if strings.Contains(l.Owner, fmt.Sprintf("-%d-", p.pid())) {
			own = append(own, part)
		}
	}
	began := time.Now()
	if graceful {
		p.signal(syscall.SIGTERM)
	} else {
		p.signal(syscall.SIGKILL)
	}
	for _, part := range own {
		if err := w.publish(ctx, part); err != nil {
			return 0, err
		}
	}
	err := w.settled(ctx, own)
	took := time.Since(began)
	if err == nil {
		if err = p.wait(15 * time.Second); errors.Is(err, errStillRuns) {
			return 0, err
		}
		err = p.start()
	}
	if len(own) == 0 {
		took = 0
	}
	return took, err
}

// A Throughput is how fast slicers took a backlog in.
type Throughput struct {
	Slicers        int
	Events         int64
	Took           time.Duration
	EventsInSecond float64
}

// Throughput publishes sessions times of events, then starts n slicers and measures
// how long they take until all of it is durable. Afterwards every recording is
// checked.
func (c ScaleConfig) Throughput(ctx context.Context, n, sessions int, events int64) (Throughput, error) {
	res := Throughput{Slicers: n}
	b, err := c.bench(ctx, fmt.Sprintf("throughput-%d-%d", n, time.Now().UnixNano()), 4)
	if err != nil {
		return res, err
	}
	defer b.Close()
	var load []Session
	for i := range sessions {
		s := sessionsOf(fmt.Sprintf("throughput-%x-%d", c.Seed, i))[2]
		s.Events, s.size = events, 300
		s.burst = int(events)
		load = append(load, s)
		res.Events += events
	}
	if err := b.produce(ctx, load); err != nil {
		return res, err
	}
	for range n {
		if err := b.r.AddSlicer(); err != nil {
			return res, err
		}
	}
	began := time.Now()
	if err := b.r.startAll(); err != nil {
		return res, err
	}
	w := &watched{b: b}
	if err := w.settled(ctx, []int{0, 1, 2, 3}); err != nil {
		return res, err
	}
	res.Took = time.Since(began)
	res.EventsInSecond = float64(res.Events) / res.Took.Seconds()
	c.Log.Info("taken in", "slicers", n, "events", res.Events, "took", res.Took.Round(time.Millisecond))
	if err := errors.Join(b.r.AddCompleter(quickCompleter...), b.r.startAll()); err != nil {
		return res, err
	}
	return res, b.verify(ctx, load)
}

// An Open is what many open sessions cost one slicer.
type Open struct {
	Sessions             int
	Published            time.Duration // all opened, with their first events
	Taken                time.Duration // until all of that was durable
	Resident             int64         // bytes of the slicer then; the most of what was seen
	Takeover             time.Duration // from kill -9 of the slicer until an event published then was durable
	Ended, Finished      time.Duration // all ends published; from then on until all recordings were there
	Verified             int
	ResidentWhenFinished int64
}

// Open opens n sessions of a few events each on one slicer, kills it once and starts
// another, ends all sessions, and checks each recording.
func (c ScaleConfig) Open(ctx context.Context, n int) (res Open, err error) {
	res.Sessions = n
	b, err := c.bench(ctx, "open", 1)
	if err != nil {
		return res, err
	}
	defer b.Close()
	if err := errors.Join(b.r.AddSlicer("--cursor-every=100ms", "--idle-checkpoint=5s"), b.r.AddSlicer("--cursor-every=100ms", "--idle-checkpoint=1s", "--holdback=1s"),
		b.r.AddCompleter("--concurrency=32", "--sweep=1m"), b.r.slicers[0].start(), b.r.finishers[0].start()); err != nil {
		return res, err
	}
	load := make([]Session, n)
	streams := make([]*bus.Stream, n)
	began := time.Now()
	err = each(ctx, n, func(ctx context.Context, i int) error {
		s := sessionsOf(fmt.Sprintf("open-%x-%d", c.Seed, i))[1]
		s.Events, s.pace, s.burst = 3, 0, 1
		load[i] = s
		var err error
		if streams[i], err = b.pub.Open(ctx, nodeOf(s.ID), s.ID); err != nil {
			return err
		}
		some := s
		some.Events = 2
		if err := some.play(ctx, streams[i], 0); err != nil {
			return err
		}
		return streams[i].Flush(ctx)
	})
	if err != nil {
		return res, err
	}
	res.Published = time.Since(began)
	w := &watched{b: b, streams: streams[:1], sessions: load[:1], sent: []int64{2}}
	if err := w.settled(ctx, []int{0}); err != nil {
		return res, err
	}
	res.Taken, res.Resident = time.Since(began), resident(b.r.slicers[0].pid())
	c.Log.Info("open", "sessions", n, "published", res.Published, "durable", res.Taken, "resident", res.Resident)
	if res.Takeover, err = c.handOver(ctx, b, w); err != nil {
		return res, err
	}
	return res, c.finish(ctx, b, &res, load, streams)
}

// handOver kills the slicer and starts the other.
func (c ScaleConfig) handOver(ctx context.Context, b *Bench, w *watched) (time.Duration, error) {
	if err := b.r.slicers[1].start(); err != nil {
		return 0, err
	}
	if err := until(ctx, time.Minute, func() error {
		if findLine(b.r.slicers[1].log, "slicer started") == "" {
			return errors.New("the second slicer does not start")
		}
		return nil
	}); err != nil {
		return 0, err
	}
	// Until it is a member; it may be given the partition at once, and then the first
	// has to be taken from it.
	sleep(ctx, 5*time.Second)
	l, err := uploadlog.ReadLease(ctx, b.r.conn, 0)
	if err != nil {
		return 0, err
	}
	owner := b.r.slicers[0]
	if strings.Contains(l.Owner, fmt.Sprintf("-%d-", b.r.slicers[1].pid())) {
		owner = b.r.slicers[1]
	}
	began := time.Now()
	owner.signal(syscall.SIGKILL)
	if err := w.publish(ctx, 0); err != nil {
		return 0, err
	}
	err = w.settled(ctx, []int{0})
	took := time.Since(began)
	c.Log.Info("taken over", "after", took)
	return took, err
}

// finish ends the sessions and waits for their recordings.
func (c ScaleConfig) finish(ctx context.Context, b *Bench, res *Open, load []Session, streams []*bus.Stream) error {
	began := time.Now()
	err := each(ctx, len(load), func(ctx context.Context, i int) error {
		if i > 0 { // of the first it is published already
			if err := load[i].play(ctx, streams[i], 2); err != nil {
				return err
			}
		}
		return streams[i].End(ctx)
	})
	if err != nil {
		return err
	}
	res.Ended = time.Since(began)
	c.Log.Info("ended", "after", res.Ended)
	var verified atomic.Int64
	go func() {
		for ctx.Err() == nil && int(verified.Load()) < len(load) {
			sleep(ctx, 15*time.Second)
			c.Log.Info("verified", "recordings", verified.Load(), "of", len(load))
		}
	}()
	var mu sync.Mutex
	err = each(ctx, len(load), func(ctx context.Context, i int) error {
		for {
			err := check(ctx, b.r.lib, load[i])
			var worst *badError
			switch {
			case err == nil:
				verified.Add(1)
				return nil
			case errors.As(err, &worst), ctx.Err() != nil:
				return fmt.Errorf("session %s: %w", load[i].ID, err)
			}
			sleep(ctx, time.Second)
			for _, p := range b.r.slicers {
				mu.Lock()
				res.ResidentWhenFinished = max(res.ResidentWhenFinished, resident(p.pid()))
				mu.Unlock()
			}
		}
	})
	res.Finished, res.Verified = time.Since(began), int(verified.Load())
	return err
}

// each calls f for 0 to n-1, many at once, until one fails.
func each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(64)
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return f(ctx, i) })
	}
	return g.Wait()
}
