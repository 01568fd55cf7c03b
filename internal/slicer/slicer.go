package slicer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/tapedeck-io/tapedeck/internal/failpoint"
	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// Deps is what a Slicer works with.
type Deps struct {
	Conn   *bus.Conn
	Layout bus.Layout // as bus.Ensure or bus.Inspect returned it
	Store  PartStore
	Log    *slog.Logger // nil: nothing is logged
	Meter  metric.Meter // nil: nothing is measured
	Tracer trace.Tracer // nil: nothing is traced
}

// shared is what the partitions of a slicer have in common. It is safe for
// concurrent use.
type shared struct {
	cfg  Config
	deps Deps
	met  *metrics

	mem, kept         budget        // bytes in memory; bytes of checkpoints on the bus
	slots, smallSlots chan struct{} // parts on their way; other calls to the store
	crewSize          int           // sessions of a partition that deal with the store at once
	store3            storeHealth
	claims            claims
	room              room
	found             finds
}

// A Slicer owns some of the partitions and records their sessions.
type Slicer struct {
	*shared
	members *uploadlog.Members
	log     *slog.Logger

	// dead, when closed, ends everything at once without a word to anybody, as a
	// kill of the process would.
	dead chan struct{}
	// wrap, if set, stands between the partitions and the upload log.
	wrap func(p int, j journal) journal

	mu  sync.Mutex
	own map[int]*running
}

// A running is a partition that this slicer is at work on.
type running struct {
	stop  context.CancelFunc // has it drain and release
	since time.Time          // since when it falls to this slicer
}

// New makes a Slicer. Run does the work.
func New(cfg Config, deps Deps) (*Slicer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("slicer: %w", err)
	}
	if deps.Conn == nil || deps.Store == nil || deps.Layout.Partitions < 1 {
		return nil, fmt.Errorf("slicer: a connection, a store and a layout are needed; the layout has %d partitions", deps.Layout.Partitions)
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Meter == nil {
		deps.Meter = noop.NewMeterProvider().Meter("")
	}
	if deps.Tracer == nil {
		deps.Tracer = tracenoop.NewTracerProvider().Tracer("")
	}
	met, err := newMetrics(deps.Meter)
	if err != nil {
		return nil, fmt.Errorf("slicer: %w", err)
	}
	if cfg.Member == "" {
		host, _ := os.Hostname()
		cfg.Member = fmt.Sprintf("%.32s-%d-%.6s", memberName(host), os.Getpid(), rand.Text())
	}
	sh := &shared{cfg: cfg, deps: deps, met: met,
		slots: make(chan struct{}, cfg.Uploads), smallSlots: make(chan struct{}, 2*cfg.Uploads), crewSize: crewSize}
	sh.mem.limit, sh.kept.limit = cfg.MemoryBudget, cfg.CheckpointBudget
	return &Slicer{shared: sh, log: deps.Log, own: map[int]*running{}, dead: make(chan struct{}),
		members: uploadlog.NewMembers(deps.Conn, cfg.Member, deps.Layout.Replicas, deps.Log)}, nil
}

// memberName makes a host's name fit for a key.
func memberName(host string) string {
	b := []byte(host)
	for i, c := range b {
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-'
		if !ok {
			b[i] = '-'
		}
	}
	return string(b)
}

// Member is the name under which the others know this slicer.
func (s *Slicer) Member() string { return s.cfg.Member }

// Run announces the slicer and works on the partitions that fall to it until ctx
// is done. Then it finishes what is under way, checkpoints the rest, frees its
// leases and returns nil; that takes DrainTimeout and a little at most. It ends with
// an error only if another slicer that is alive has the same name.
func (s *Slicer) Run(ctx context.Context) error {
	hard, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	stopKill := make(chan struct{})
	defer close(stopKill)
	go func() {
		select {
		case <-s.dead:
			kill()
		case <-stopKill:
		}
	}()
	unregister, err := s.observe()
	if err != nil {
		return err
	}
	defer unregister()
	soft, stop := context.WithCancel(ctx)
	defer stop()
	context.AfterFunc(hard, stop)

	// It stays a member until it has drained: the others would take what it has
	// not finished for left behind.
	announced, leave := context.WithCancel(hard)
	defer leave()
	var wg, parts sync.WaitGroup
	var taken error
	wg.Go(func() {
		if err := s.members.Run(announced); errors.Is(err, uploadlog.ErrNameTaken) {
			taken = err
			stop()
		}
	})
	wg.Go(func() { s.watchRoom(announced) })
	s.log.Info("slicer started", "member", s.cfg.Member, "partitions", s.deps.Layout.Partitions)
	for soft.Err() == nil {
		live, changed := s.members.Live()
		s.assign(soft, hard, &parts, uploadlog.Owners(live, s.deps.Layout.Partitions))
		select {
		case <-soft.Done():
		case <-changed:
		case <-time.After(250 * time.Millisecond):
		}
	}
	parts.Wait()
	leave()
	wg.Wait()
	s.log.Info("slicer stopped", "member", s.cfg.Member)
	if taken != nil {
		return fmt.Errorf("slicer: %w", taken)
	}
	return nil
}

// assign starts work on the partitions that fall to this member, and ends it on
// those that no longer do.
func (s *Slicer) assign(soft, hard context.Context, wg *sync.WaitGroup, owners []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, owner := range owners {
		r := s.own[p]
		switch {
		case owner == s.cfg.Member && r == nil:
			ctx, stop := context.WithCancel(soft)
			s.own[p] = &running{stop: stop, since: time.Now()}
			wg.Go(func() {
				defer stop()
				s.work(ctx, hard, p)
				s.mu.Lock()
				delete(s.own, p)
				s.mu.Unlock()
			})
		case owner != s.cfg.Member && owner != "" && r != nil:
			r.stop()
		}
	}
}

// work claims partition p, works on it, and claims it again when it is lost, for
// as long as it falls to this member.
func (s *Slicer) work(ctx, hard context.Context, p int) {
	log := s.log.With("partition", p)
	var watch watch
	stranded := false // the lease may be ours though nobody works on the partition
	for wait := 50 * time.Millisecond; ctx.Err() == nil; {
		prev, why, err := s.claimable(ctx, p, &watch)
		if err == nil && why == "" {
			stranded = false
			pause(ctx, 150*time.Millisecond)
			continue
		}
		began := time.Now()
		if err == nil {
			err = s.hold(ctx, hard, p, prev, why)
			stranded = err != nil && !errors.Is(err, uploadlog.ErrLost) && !errors.Is(err, uploadlog.ErrFenced)
		}
		switch {
		case err == nil || ctx.Err() != nil:
			continue
		case errors.Is(err, uploadlog.ErrLost):
			log.Info("another member has the partition", "err", err)
		case errors.Is(err, errStream):
			log.Error("partition is not read", "err", err)
			wait = 2 * time.Second
		default:
			log.Warn("partition was given up", "err", err)
		}
		if time.Since(began) > time.Second && !errors.Is(err, errStream) {
			wait = 50 * time.Millisecond
		}
		pause(ctx, wait)
		wait = min(2*wait, 2*time.Second)
	}
	if stranded && hard.Err() == nil {
		s.giveBack(hard, p)
	}
}

// hold claims the partition and works on it until it is lost or ctx is done. That
// does not cut the claim short: a lease of a member that is alive and has turned
// away would be waited for by the next one until it counts as hung.
func (s *Slicer) hold(ctx, hard context.Context, p int, prev uploadlog.LeaseInfo, why string) error {
	claiming, cancel := context.WithCancel(hard)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(turnAway, cancel) })()
	owner, err := uploadlog.Claim(claiming, s.deps.Conn, p, s.cfg.Member, &prev, why)
	if err != nil {
		return err
	}
	prog := s.claims.begin(p)
	defer s.claims.end(p)
	s.met.takeovers.Add(ctx, 1)
	failpoint.Hit("slicer/load/before")
	loaded, err := owner.Load(ctx)
	if err != nil {
		return err
	}
	failpoint.Hit("slicer/load/after")
	var j journal = owner
	if s.wrap != nil {
		j = s.wrap(p, j)
	}
	pt := newPartition(hard, s.shared, p, j)
	pt.prog = prog
	err = pt.run(ctx, loaded)
	if errors.Is(err, uploadlog.ErrFenced) || errors.Is(err, uploadlog.ErrUnknown) {
		s.met.fenced.Add(context.WithoutCancel(ctx), 1)
	}
	return err
}

// turnAway is how long it may take to claim a partition, and to free it, that falls
// to another member meanwhile.
const turnAway = 2 * time.Second

// giveBack frees the lease of a partition that falls to another member, if it is this
// one's: from a claim that was cut short, that failed, or whose outcome is not known.
// All that was started under such a claim has ended. To free it the lease is claimed
// once more, since an owner that does not know its own state frees nothing. A crash
// here leaves the lease of a member that is gone.
func (s *Slicer) giveBack(hard context.Context, p int) {
	ctx, cancel := context.WithTimeout(hard, turnAway)
	defer cancel()
	info, err := uploadlog.ReadLease(ctx, s.deps.Conn, p)
	if err == nil && info.Owner != s.cfg.Member {
		return
	}
	var owner *uploadlog.Owner
	if err == nil {
		owner, err = uploadlog.Claim(ctx, s.deps.Conn, p, s.cfg.Member, &info, "to free it")
	}
	if err == nil {
		err = owner.Release(ctx)
	}
	if err != nil && !errors.Is(err, uploadlog.ErrLost) && !errors.Is(err, uploadlog.ErrFenced) {
		s.log.Warn("partition not released; it is taken over when this member is gone or counts as hung", "partition", p, "err", err)
	}
}

// A watch is how another owner's progress looked when it was looked at last.
type watch struct {
	lease, cursor uint64
	since         time.Time
}

// claimable says why the partition may be claimed, or "" if it may not: its lease
// is free, is this member's own from an earlier claim, or is that of a member that
// is gone or does nothing though there is something to do. All of this is a hint;
// the compare and swap and the fence decide.
func (s *Slicer) claimable(ctx context.Context, p int, w *watch) (uploadlog.LeaseInfo, string, error) {
	info, err := uploadlog.ReadLease(ctx, s.deps.Conn, p)
	if err != nil {
		return info, "", err
	}
	switch {
	case info.Free:
		return info, "free", nil
	case info.Owner == s.cfg.Member:
		return info, "own lease of an earlier claim", nil
	}
	live, _ := s.members.Live()
	alive := false
	for _, id := range live {
		alive = alive || id == info.Owner
	}
	if !alive {
		return info, "member " + info.Owner + " is gone", nil
	}
	hung, err := s.hung(ctx, p, info, w)
	if hung {
		return info, "member " + info.Owner + " does nothing", err
	}
	return info, "", err
}

// hung says whether neither lease nor cursor has moved for HungAfter although the
// stream goes on beyond the cursor.
func (s *Slicer) hung(ctx context.Context, p int, info uploadlog.LeaseInfo, w *watch) (bool, error) {
	cursor, seq, err := uploadlog.ReadCursor(ctx, s.deps.Conn, p)
	if err != nil && !errors.Is(err, uploadlog.ErrNotFound) {
		return false, err
	}
	if w.since.IsZero() || w.lease != info.Seq || w.cursor != seq {
		*w = watch{lease: info.Seq, cursor: seq, since: time.Now()}
		return false, nil
	}
	if time.Since(w.since) < s.cfg.HungAfter {
		return false, nil
	}
	st, err := s.deps.Conn.JetStream().Stream(ctx, bus.EventStream(p))
	if err != nil {
		return false, fmt.Errorf("open stream %s: %w", bus.EventStream(p), err)
	}
	return st.CachedInfo().State.LastSeq > cursor.Seq, nil
}
