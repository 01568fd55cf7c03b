package accesslog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ErrUnsent is in the error of [Tracker.Run] if records were left when it had
// to stop, and no state file keeps them.
var ErrUnsent = errors.New("access records not sent")

// A Tracker follows sessions and sends their records. It is safe for concurrent
// use. A session that is idle costs it some hundred bytes, no goroutine and no
// runtime timer.
//
// Two goroutines, both Run's, do the work. One keeps the time of all sessions
// and takes each record, as it comes from a connection, to the log lines, the
// state file and the spool; the other takes it from the spool to the bus.
type Tracker struct {
	cfg     Config
	pub     Publisher
	log     *slog.Logger
	metrics *metrics
	writer  string
	base    time.Time // with a monotonic clock
	work    chan struct{}
	more    chan struct{}

	attempts atomic.Int64

	mu      sync.RWMutex
	due     timers
	wakes   int64                // when the keeper wakes by itself
	flows   map[flowKey]*Session // of UDP
	bursts  map[burstKey]*burst  // that a connection can join; empty without merging
	open    int
	fresh   []fresh // records that the keeper has not seen
	keeping int     // and that it has in hand
	spool   *spool
	sent    Counts
	done    []string // sessions whose end needs no state any more
	told    Counts   // drops that were logged
	stopped bool     // nothing new is followed
}

// A fresh record is as it came from a connection.
type fresh struct {
	rec Record
	b   *burst // nil: left behind by an earlier tracker
}

// New makes a tracker that sends through p. It follows sessions at once, and
// sends once Run is called.
func New(cfg Config, p Publisher) (*Tracker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("access tracker: %w", err)
	}
	cfg = cfg.orDefault()
	m, err := newMetrics(cfg.Meter)
	if err != nil {
		return nil, err
	}
	return &Tracker{
		cfg: cfg, pub: p, log: cfg.Logger, metrics: m, writer: newID() + newID(), base: time.Now(),
		work: make(chan struct{}, 1), more: make(chan struct{}, 1), wakes: never,
		flows: map[flowKey]*Session{}, bursts: map[burstKey]*burst{},
		spool: newSpool(cfg.SpoolRecords, cfg.SpoolBytes),
	}, nil
}

// now is the tracker's clock: nanoseconds that only go forward.
func (t *Tracker) now() int64 { return int64(time.Since(t.base)) }

// wall is a moment of the tracker's clock as others know it.
func (t *Tracker) wall(at int64) time.Time {
	now := time.Now() // one reading of both clocks
	return now.Add(time.Duration(at) - now.Sub(t.base)).Round(0).UTC()
}

// Start follows a session that ends with [Session.End]. Use [Tracker.Accept] or
// a [Listener] where there is a connection: they cannot forget to count.
func (t *Tracker) Start(f Flow) *Session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.start(f)
}

// Stats says what the tracker has done so far.
func (t *Tracker) Stats() Stats {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return Stats{
		Open: t.open, Spooled: len(t.fresh) + t.keeping + t.spool.n, SpooledBytes: t.spool.bytes,
		Sent: t.sent, Dropped: t.spool.dropped, Attempts: t.attempts.Load(),
	}
}

// add hands a record to the keeper; under the lock.
func (t *Tracker) add(b *burst, r Record) {
	if t.stopped {
		t.spool.dropped.add(r.Kind) // nobody will send it
		return
	}
	if len(t.fresh) >= t.cfg.SpoolRecords { // a disk or a log that hangs
		t.spool.dropped.add(t.fresh[0].rec.Kind)
		t.fresh[0] = fresh{}
		t.fresh = t.fresh[1:]
	}
	t.fresh = append(t.fresh, fresh{r, b})
	wake(t.work)
}

// Run sends records until ctx is done. Then it ends what is open with reason
// [ReasonShutdown], sends what is left, for [Config.Drain] at most, and returns
// nil, or an error that wraps [ErrUnsent]. It is called once.
func (t *Tracker) Run(ctx context.Context) error {
	st, err := t.openState()
	if err != nil {
		return err
	}
	defer st.close()
	unregister, err := t.observe()
	if err != nil {
		return err
	}
	defer unregister()
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var wg sync.WaitGroup
	s := &sender{t: t, pub: t.pub, results: make(chan result)}
	wg.Go(func() { s.run(sending) })
	t.keep(ctx, st)
	defer time.AfterFunc(t.cfg.Drain, cancel).Stop()
	wg.Wait()
	return t.finishRun(st)
}

func (t *Tracker) finishRun(st *state) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	st.append(nil, t.done)
	t.tell(t.spool.dropped.minus(t.told))
	left := t.spool.left()
	if left.Total() == 0 {
		return nil
	}
	if st.ok() {
		t.log.Info("access records wait in the state file for the next start", "file", t.cfg.StateFile, "start", left.Start, "alive", left.Alive, "end", left.End)
		return nil
	}
	return fmt.Errorf("%w: %s", ErrUnsent, left)
}

// keep is the life of the first goroutine. It returns when ctx is done and all
// sessions are ended and in the spool.
func (t *Tracker) keep(ctx context.Context, st *state) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		stop := ctx.Err() != nil
		next := t.step(st, stop)
		if stop {
			return
		}
		timer.Reset(time.Duration(min(next-t.now(), int64(time.Hour))))
		select {
		case <-timer.C:
		case <-t.work:
		case <-ctx.Done():
		}
	}
}

// step does all that is due, and says when the next is.
func (t *Tracker) step(st *state, stop bool) (next int64) {
	t.mu.Lock()
	var calls []func()
	for now := t.now(); t.due.next() <= now; now = t.now() {
		calls = append(calls, t.pop().owner.fire(t, now)...)
	}
	if stop {
		calls = append(calls, t.stop()...)
	}
	batch, done := t.fresh, t.done
	t.fresh, t.done, t.keeping = nil, nil, len(t.fresh)
	next = min(t.due.next(), st.next(t.now()))
	t.wakes = next
	t.mu.Unlock()

	call(calls)
	entries := t.write(batch, done, st)
	t.mu.Lock()
	t.keeping = 0
	for i, e := range entries {
		t.keepEntry(batch[i], e)
	}
	dropped := t.spool.dropped.minus(t.told)
	t.told = t.spool.dropped
	t.mu.Unlock()
	wake(t.more)
	t.tell(dropped)
	if st.full() {
		st.rewrite(t.snapshot())
	}
	return next
}

// pop takes out the timer that is due first.
func (t *Tracker) pop() *timer {
	first := t.due[0]
	t.due.remove(first)
	return first
}

// keepEntry puts a record into the spool; under the lock.
func (t *Tracker) keepEntry(f fresh, e *entry) {
	var earlier *entry
	if f.b != nil {
		earlier, f.b.newest = f.b.newest, e
	}
	for _, gone := range t.spool.add(f.rec.ResourceID, e, earlier) {
		if gone.kind == KindEnd {
			t.done = append(t.done, gone.id)
		}
	}
}

// write makes the JSON of records, and the log lines, and saves them.
func (t *Tracker) write(batch []fresh, done []string, st *state) []*entry {
	var lines []byte
	var made Counts
	entries := make([]*entry, len(batch))
	for i := range batch {
		r := &batch[i].rec
		b, _ := json.Marshal(r) // its times are of this clock, and there is nothing else that can fail
		entries[i] = &entry{json: b, kind: r.Kind, id: r.SessionID}
		made.add(r.Kind)
		if t.cfg.Lines != nil {
			lines = AppendLine(lines, r)
		}
	}
	st.append(entries, done)
	t.metrics.made(made)
	if len(lines) > 0 {
		if _, err := t.cfg.Lines.Write(lines); err != nil {
			t.log.Warn("access log lines not written", "bytes", len(lines), "err", err)
		}
	}
	return entries
}

// tell reports drops.
func (t *Tracker) tell(c Counts) {
	if c.Total() == 0 {
		return
	}
	t.metrics.gone(c)
	t.log.Warn("access records dropped: the spool is full", "start", c.Start, "alive", c.Alive, "end", c.End,
		"spool_records", t.cfg.SpoolRecords, "spool_bytes", t.cfg.SpoolBytes)
}

// stop ends all that is open; under the lock.
func (t *Tracker) stop() (calls []func()) {
	now := t.now()
	for _, s := range t.flows {
		calls = append(calls, t.end(s, ReasonShutdown, s.last.Load())...)
	}
	for _, m := range slices.Clone(t.due) {
		if b, ok := m.owner.(*burst); ok && !b.over {
			if b.open > 0 {
				b.lastEnd, b.reason = now, ReasonShutdown
			}
			t.finish(b)
		}
	}
	t.stopped = true
	return calls
}

// drained says whether the tracker is stopped and the spool empty.
func (t *Tracker) drained() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.stopped && t.keeping == 0 && t.spool.n == 0
}

// stored notes that the bus has a message.
func (t *Tracker) stored(m *message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range m.entries {
		t.sent.add(e.kind)
		if e.kind == KindEnd && t.cfg.StateFile != "" {
			t.done = append(t.done, e.id)
		}
	}
	t.spool.stored(m)
	if len(t.done) > 0 {
		wake(t.work)
	}
}
