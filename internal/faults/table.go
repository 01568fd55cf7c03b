package faults

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tapedeck-io/tapedeck/internal/failpoint"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// rowLimit is how long one row may take to have everything verified.
const rowLimit = 90 * time.Second

// A Bench runs rows, one after the other, on one installation.
type Bench struct {
	r    *Rig
	log  *slog.Logger
	pub  *bus.Publisher
	n    int
	back []*proc // of the row that runs
}

// NewBench makes one. Close ends it.
func NewBench(ctx context.Context, dir string, programs Programs, log *slog.Logger) (*Bench, error) {
	r, err := NewRig(ctx, RigConfig{Dir: dir, Programs: programs, Partitions: 1, Nodes: 1})
	if err != nil {
		return nil, err
	}
	return &Bench{r: r, log: log, pub: bus.NewPublisher(r.conn, r.layout, bus.PublisherOptions{})}, nil
}

// Close kills everything.
func (b *Bench) Close() {
	b.pub.Close()
	for _, p := range b.back {
		p.kill()
	}
	b.r.Close()
}

// sessions are what a row records: a part and a last part, an idle one that is
// checkpointed and has a message from a stranger, one with many events, and one
// with none.
func (b *Bench) sessions(row Row) []Session {
	h := fnv.New64a()
	_, _ = h.Write([]byte(row.Name()))
	load := sessionsOf(fmt.Sprintf("row-%d-%x", b.n, h.Sum64()&0xffffff))
	load[1].late = 1
	return load
}

// sessionsOf are sessions of several sorts, whose ids begin with label.
func sessionsOf(label string) []Session {
	id := func(kind string) string { return label + "-" + kind }
	make := func(kind string, events int64, size int, random bool, pace time.Duration, burst int) Session {
		k := fnv.New64a()
		_, _ = k.Write([]byte(id(kind)))
		return Session{ID: id(kind), Kind: kind, Events: events, size: size, random: random, pace: pace, burst: burst, key: k.Sum64()}
	}
	return []Session{
		make("large", 150, 61_000, true, 20*time.Millisecond, 10),
		make("idle", 30, 40, false, 500*time.Millisecond, 10),
		make("flood", 2000, 100, false, 0, 500),
		make("empty", 0, 1, false, 0, 1),
	}
}

// Run runs one row. It returns nil if the fault happened and every session of the
// row is whole afterwards.
func (b *Bench) Run(ctx context.Context, row Row) error {
	b.n++
	ctx, cancel := context.WithTimeout(ctx, 2*rowLimit)
	defer cancel()
	b.back = nil
	defer func() {
		b.r.Proxy.Set(nil)
		for _, p := range b.back {
			// A graceful end frees the lease for the next row.
			_ = p.stop(10 * time.Second)
		}
	}()
	if row.operation != "" {
		return b.trouble(ctx, row)
	}
	return b.point(ctx, row)
}

func (b *Bench) service(program, name string, spec string, args ...string) *proc {
	bin := b.r.cfg.Programs.Slicer
	own := []string{"--idle-checkpoint=200ms", "--holdback=1s", "--cursor-every=50ms", "--retry-max=1s", "--drain-timeout=4s"}
	if program == "completer" {
		bin, own = b.r.cfg.Programs.Completer, []string{"--sweep=1s", "--retry-max=1s", "--drain=2s"}
	}
	url := strings.Join(b.r.urls(), ",")
	p := newProc(b.r.cfg.Dir, fmt.Sprintf("row-%d-%s-%s", b.n, program, name), bin, serviceEnv, append(append(b.r.serviceArgs(url), own...), args...)...)
	if spec != "" {
		p.env = append([]string{failpoint.Env + "=" + spec}, p.env...)
	}
	b.back = append(b.back, p)
	return p
}

// point has a service fail at its failpoint and, where it does not go on by
// itself, another take over.
func (b *Bench) point(ctx context.Context, row Row) error {
	var args []string
	if row.scene == trimmed {
		args = []string{"--keep-time=1s", "--trim-step=1", "--trim-every=50ms"}
	}
	first := b.service(row.program, "a", row.spec, args...)
	other := b.service(map[string]string{"slicer": "completer", "completer": "slicer"}[row.program], "c", "")
	if err := other.start(); err != nil {
		return err
	}
	load := b.sessions(row)
	if row.scene == forgot {
		if err := b.forgetAll(ctx, load); err != nil {
			return err
		}
		if err := first.start(); err != nil {
			return err
		}
	} else {
		if err := first.start(); err != nil {
			return err
		}
		var open func() error
		if row.name == checkpoint {
			open = func() error { return b.reached(ctx, first, row) }
		}
		if err := b.produceUntil(ctx, load, open); err != nil {
			return err
		}
	}
	if row.scene == leaving {
		if err := b.verify(ctx, load); err != nil {
			return err
		}
		first.signal(syscall.SIGTERM)
	}
	if err := b.reached(ctx, first, row); err != nil {
		return err
	}
	if row.Fault == "refused" || row.Fault == "reply lost" {
		if row.scene == leaving {
			return first.wait(10 * time.Second)
		}
		return b.verify(ctx, load)
	}
	second := b.service(row.program, "b", "")
	if err := second.start(); err != nil {
		return err
	}
	if row.Fault == wakes {
		if err := b.wakeEarly(ctx, first, second); err != nil {
			return err
		}
	}
	if row.scene == leaving {
		if err := b.produce(ctx, b.again(load)); err != nil {
			return err
		}
		load = append(load, b.again(load)...)
	}
	if err := b.verify(ctx, load); err != nil {
		return err
	}
	if row.Fault == stopped {
		return b.wake(ctx, first, load)
	}
	return nil
}

// again is the same sessions with other names.
func (b *Bench) again(load []Session) []Session {
	var more []Session
	for _, s := range load {
		s.ID += "-2"
		more = append(more, s)
	}
	return more
}

// wake has a zombie go on after all is done, and looks whether it spoils anything.
func (b *Bench) wake(ctx context.Context, zombie *proc, load []Session) error {
	zombie.signal(syscall.SIGCONT)
	select {
	case <-time.After(1500 * time.Millisecond):
	case <-ctx.Done():
	}
	if !zombie.alive() && panicIn(zombie.log) != "" {
		return errors.New(panicIn(zombie.log))
	}
	return b.verify(ctx, load)
}

// wakeEarly has a zombie go on as soon as another has its partition, so that both
// are at work on the same sessions.
func (b *Bench) wakeEarly(ctx context.Context, zombie, second *proc) error {
	defer zombie.signal(syscall.SIGCONT)
	return until(ctx, rowLimit, func() error {
		if findLine(second.log, "partition taken over") == "" {
			return errors.New("nobody has taken the partition over")
		}
		return nil
	})
}

// reached waits until the failpoint has done what it was to do.
func (b *Bench) reached(ctx context.Context, p *proc, row Row) error {
	return until(ctx, rowLimit, func() error {
		if findLine(p.log, "failpoint: ") == "" {
			return fmt.Errorf("failpoint %s was not reached", row.spec)
		}
		if strings.HasPrefix(row.Fault, "crash") && !p.killedBy(syscall.SIGKILL) {
			return fmt.Errorf("process at %s did not die", row.spec)
		}
		return nil
	})
}

// produce publishes the sessions, all at once.
func (b *Bench) produce(ctx context.Context, load []Session) error {
	return b.produceUntil(ctx, load, nil)
}

// produceUntil does not end the idle session before open returns, if it is not nil:
// what is for sessions that go on must not depend on how fast the services are.
func (b *Bench) produceUntil(ctx context.Context, load []Session, open func() error) error {
	var wg sync.WaitGroup
	errs := make([]error, len(load))
	for i, s := range load {
		wg.Go(func() {
			out, err := b.pub.Open(ctx, nodeOf(s.ID), s.ID)
			if err == nil && s.late > 0 {
				err = b.stranger(ctx, out, s)
			}
			if err == nil {
				err = s.play(ctx, out, out.Next())
			}
			if err == nil && s.Kind == "idle" && open != nil {
				err = open()
			}
			if err == nil {
				err = out.End(ctx)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// stranger publishes the first event, and then one from another node, which is
// refused and kept.
func (b *Bench) stranger(ctx context.Context, out *bus.Stream, s Session) error {
	one, err := s.Event(0)
	if err == nil {
		err = out.Append(ctx, one, 0)
	}
	if err == nil {
		err = out.Flush(ctx)
	}
	if err != nil {
		return err
	}
	m := nats.NewMsg(bus.EventSubject(bus.Partition(s.ID, b.r.layout.Partitions), "stranger", s.ID))
	m.Data = one
	_, err = b.r.conn.JetStream().PublishMsg(ctx, m)
	return err
}

// verify waits until all sessions are whole.
func (b *Bench) verify(ctx context.Context, load []Session) error {
	for _, s := range load {
		var worst *badError
		err := until(ctx, rowLimit, func() error {
			err := check(ctx, b.r.lib, s)
			if errors.As(err, &worst) {
				return nil
			}
			return err
		})
		if worst != nil {
			err = worst
		}
		if err != nil {
			return fmt.Errorf("session %s: %w", s.ID, err)
		}
	}
	return nil
}

// forgetAll records the sessions, and has S3 forget their uploads before they can
// be completed: there is no completer yet.
func (b *Bench) forgetAll(ctx context.Context, load []Session) error {
	if err := b.produce(ctx, load); err != nil {
		return err
	}
	err := until(ctx, rowLimit, func() error {
		for _, s := range load {
			info, err := b.r.lib.Find(ctx, s.ID)
			if err != nil {
				return err
			}
			if info.Status != "ending" {
				return fmt.Errorf("session %s is %s", s.ID, info.Status)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	forgotten := 0
	for u, err := range b.r.store.ListUploads(ctx, fmt.Sprintf("row-%d-", b.n)) {
		if err != nil {
			return err
		}
		if err := b.r.store.AbortUpload(ctx, u.Key, u.ID); err != nil {
			return err
		}
		forgotten++
	}
	if forgotten == 0 {
		return errors.New("there was no upload to forget")
	}
	return nil
}

// often is how many requests in a row meet trouble: more than one call sends.
const often = 5

// trouble has S3 fail at one operation.
func (b *Bench) trouble(ctx context.Context, row Row) error {
	var met atomic.Int64
	b.r.Proxy.Set(func(r *http.Request) Trouble {
		if Operation(r) == row.operation && met.Add(1) <= often {
			return row.trouble
		}
		return ""
	})
	for _, program := range []string{"slicer", "completer"} {
		if err := b.service(program, "a", "").start(); err != nil {
			return err
		}
	}
	load := b.sessions(row)
	if err := b.produce(ctx, load); err != nil {
		return err
	}
	if err := b.verify(ctx, load); err != nil {
		return err
	}
	if met.Load() == 0 {
		return fmt.Errorf("no request of S3 was a %s", row.operation)
	}
	return nil
}

// Trace runs everything once with nothing failing and returns the failpoints that
// were reached, so that none is without its rows.
func (b *Bench) Trace(ctx context.Context) (map[string]bool, error) {
	b.n++
	s, c := b.service("slicer", "t", "*=trace", "--keep-time=1s", "--trim-step=1", "--trim-every=50ms"), b.service("completer", "t", "*=trace")
	if err := errors.Join(s.start(), c.start()); err != nil {
		return nil, err
	}
	load := b.sessions(Row{})
	err := b.produceUntil(ctx, load, func() error {
		return until(ctx, rowLimit, func() error {
			if findLine(s.log, "failpoint: trace "+checkpoint) == "" {
				return errors.New("no checkpoint is written of a session that is open")
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	if err := b.verify(ctx, load); err != nil {
		return nil, err
	}
	time.Sleep(time.Second) // what comes after completion
	if err := errors.Join(s.stop(10*time.Second), c.stop(10*time.Second)); err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, p := range []*proc{s, c} {
		text, err := os.ReadFile(p.log)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(line, "failpoint: trace "); ok {
				name = strings.TrimSpace(name)
				name = strings.TrimSuffix(strings.TrimSuffix(name, "/before"), "/after")
				names[name] = true
			}
		}
	}
	return names, nil
}
