package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// Scenes are all of them.
func Scenes() []Scene {
	return []Scene{
		{Name: "a slicer is cut off from its server, the others are not", What: "another takes its partition over meanwhile; then the same happens to that one", play: cutOffSlicers},
		{Name: "a completer is cut off from its server", What: "it goes on where it was", play: cutOffCompleter},
		{Name: "a producer is cut off from its server", What: "what it has gathered is sent afterwards, once and in order", play: cutOffProducer},
		{Name: "the server is slow", What: "NATS runs for a tenth of the time only, as with a slow disk", play: slowServer},
		{Name: "the leader of three servers is lost", What: "the other two go on, and it comes back", rig: RigConfig{Nodes: 3}, play: loseLeader},
		{Name: "the disk of S3 is full", What: "a tmpfs of 64 MiB; nothing can be stored until there is room again", disk: "s3", play: fullS3},
		{Name: "the disk of NATS is full", What: "a tmpfs of 64 MiB; the server gives up and is started again once there is room", disk: "nats", play: fullNATS},
		{Name: "the event stream is full", What: "EVENTS has 8 MiB and refuses (discard: new) while S3 refuses too: producers wait, and go on by themselves", rig: RigConfig{EventsMaxBytes: 8 << 20}, play: fullStream},
		{Name: "the upload log is full of checkpoints", What: "UPLOADS has 16 MiB for 32 MiB of open sessions: all of them can end", rig: RigConfig{UploadsMaxBytes: 16 << 20}, play: fullLog},
		{Name: "S3 is away", What: "producers go on, a slicer with a budget of 64 MiB stays below 256 MiB resident, and everything finishes afterwards", play: awayS3},
		{Name: "S3 answers with errors", What: "half of all requests are refused, reset, slow, or done without a good answer, for as long as S3 is away above: producers go on, memory stays as low, and everything finishes afterwards", play: troubledS3},
		{Name: "the links to NATS are slow", What: "64 KiB in 20 ms in either direction for two slicers and the completer", play: slowLinks},
		{Name: "a stream is made anew under a running slicer", What: "it is not read until the operator says so, and then it is", play: recreated},
		{Name: "a session is silent for three hours", What: "one hour lasts 8 s, alive messages come, its slicer is killed on the way: one complete recording", play: silent},
		{Name: "a session never ends", What: "its events are made durable and trimmed while it is open, over three kills; when its producer is gone it is abandoned with all of them", play: endless},
		{Name: "producers do what they must not", What: oddityNames(), rig: RigConfig{Partitions: 2}, play: odd},
	}
}

func oddityNames() string {
	var names []string
	for _, o := range oddities {
		names = append(names, o.name)
	}
	return strings.Join(names, "; ")
}

func cutOffSlicers(ctx context.Context, a *act) error {
	if err := a.services(ctx, 2); err != nil {
		return err
	}
	return a.during(ctx, a.load(0), func() error {
		for range 2 {
			owner, err := a.owner(ctx)
			if err != nil {
				return err
			}
			sleep(ctx, time.Duration(a.rng.Int64N(int64(500*time.Millisecond))))
			a.log.Info("cut off", "process", owner.name)
			a.r.links[owner].Cut()
			err = until(ctx, rowLimit, func() error {
				now, err := a.owner(ctx)
				if err == nil && now == owner {
					err = fmt.Errorf("nobody has taken the partition of %s over", owner.name)
				}
				return err
			})
			a.r.links[owner].Mend()
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// owner is the slicer that has partition 0.
func (a *act) owner(ctx context.Context) (owner *proc, err error) {
	err = until(ctx, rowLimit, func() error {
		l, err := uploadlog.ReadLease(ctx, a.r.conn, 0)
		if err != nil {
			return err
		}
		for _, p := range a.r.slicers {
			if pid := p.pid(); l.Owner != "" && strings.Contains(l.Owner, fmt.Sprintf("-%d-", pid)) {
				owner = p
				return nil
			}
		}
		return fmt.Errorf("partition 0 is owned by %q", l.Owner)
	})
	return owner, err
}

func cutOffCompleter(ctx context.Context, a *act) error {
	if err := a.services(ctx, 1); err != nil {
		return err
	}
	return a.during(ctx, a.load(0), func() error {
		sleep(ctx, time.Duration(a.rng.Int64N(int64(2*time.Second))))
		l := a.r.links[a.r.finishers[0]]
		l.Cut()
		sleep(ctx, 4*time.Second)
		l.Mend()
		return nil
	})
}

func cutOffProducer(ctx context.Context, a *act) error {
	if err := a.services(ctx, 1); err != nil {
		return err
	}
	l, url, err := a.r.link()
	if err != nil {
		return err
	}
	defer l.Close()
	conn, err := bus.Connect(ctx, bus.Options{URL: []string{url}, Name: "cut off", Wait: time.Minute}, a.log)
	if err != nil {
		return err
	}
	defer conn.Close()
	a.pub.Close()
	a.pub = bus.NewPublisher(conn, a.r.layout, bus.PublisherOptions{AckTimeout: 2 * time.Second})
	return a.during(ctx, a.load(0), func() error {
		for range 2 {
			sleep(ctx, time.Duration(a.rng.Int64N(int64(time.Second))))
			l.Cut()
			sleep(ctx, 3*time.Second)
			l.Mend()
		}
		return nil
	})
}

func slowLinks(ctx context.Context, a *act) error {
	if err := a.services(ctx, 2); err != nil {
		return err
	}
	for _, l := range a.r.links {
		l.Slow(20 * time.Millisecond)
	}
	return a.during(ctx, append(a.load(0), a.load(1)...), func() error { return nil })
}

func slowServer(ctx context.Context, a *act) error {
	if err := a.services(ctx, 1); err != nil {
		return err
	}
	return a.during(ctx, a.load(0), func() error {
		pulse(a.r.nats[0], 8*time.Second)
		return nil
	})
}

func loseLeader(ctx context.Context, a *act) error {
	if err := a.services(ctx, 2); err != nil {
		return err
	}
	return a.during(ctx, a.load(0), func() error {
		st, err := a.r.conn.JetStream().Stream(ctx, bus.EventStream(0))
		if err != nil {
			return err
		}
		for _, p := range a.r.nats {
			if c := st.CachedInfo().Cluster; c != nil && c.Leader == p.name {
				a.log.Info("kill -9", "process", p.name)
				p.kill()
				sleep(ctx, 3*time.Second+time.Duration(a.rng.Int64N(int64(2*time.Second))))
				return p.start()
			}
		}
		return errors.New("the stream has no leader")
	})
}

func fullS3(ctx context.Context, a *act) error {
	if err := a.services(ctx, 1); err != nil {
		return err
	}
	free, err := fillDisk(a.disk, 256<<10)
	if err != nil {
		return err
	}
	return a.during(ctx, a.load(0), func() error {
		if err := a.said(ctx, a.r.slicers[0], "trying again"); err != nil {
			return err
		}
		sleep(ctx, 2*time.Second)
		return free()
	})
}

func fullNATS(ctx context.Context, a *act) error {
	if err := a.services(ctx, 1); err != nil {
		return err
	}
	if err := a.during(ctx, a.load(0), func() error { return nil }); err != nil {
		return err
	}
	free, err := fillDisk(a.disk, 1<<20)
	if err != nil {
		return err
	}
	return a.during(ctx, a.load(1), func() error {
		if err := a.said(ctx, a.r.nats[0], "no space left"); err != nil {
			return err
		}
		sleep(ctx, 2*time.Second)
		if err := free(); err != nil {
			return err
		}
		// What JetStream does without room is to end. The operator starts it anew.
		a.r.nats[0].kill()
		return a.r.nats[0].start()
	})
}

func fullStream(ctx context.Context, a *act) error {
	if err := a.services(ctx, 1, "--keep-time=1s", "--trim-step=1", "--trim-every=50ms", "--checkpoint-budget=1048576"); err != nil {
		return err
	}
	a.r.Proxy.Set(func(*http.Request) Trouble { return SlowDown })
	load := append(a.load(0), a.load(1)...)
	return a.during(ctx, load, func() error {
		err := until(ctx, rowLimit, func() error {
			st, err := a.r.conn.JetStream().Stream(ctx, bus.EventStream(0))
			if err != nil {
				return err
			}
			if info := st.CachedInfo(); info.State.Bytes < uint64(info.Config.MaxBytes)*95/100 {
				return fmt.Errorf("stream has %d of %d bytes", info.State.Bytes, info.Config.MaxBytes)
			}
			return nil
		})
		sleep(ctx, 2*time.Second)
		a.r.Proxy.Set(nil)
		return err
	})
}

func fullLog(ctx context.Context, a *act) error {
	if err := a.services(ctx, 1); err != nil {
		return err
	}
	var load []Session
	for i := range 8 {
		s := a.load(i)[0]
		s.Events, s.pace = 65, 3*time.Second // 4 MB that do not shrink, and then time to be checkpointed
		s.burst = 60
		load = append(load, s)
	}
	return a.during(ctx, load, func() error { return nil })
}

func awayS3(ctx context.Context, a *act) error {
	return a.withoutS3(ctx, func() error { a.r.s3.kill(); return nil }, a.r.s3.start)
}

func troubledS3(ctx context.Context, a *act) error {
	var n atomic.Int64
	inTurn := func(*http.Request) Trouble {
		if i := int(n.Add(1)); i%2 == 0 {
			return Troubles[i/2%len(Troubles)]
		}
		return ""
	}
	return a.withoutS3(ctx, func() error { a.r.Proxy.Set(inTurn); return nil }, func() error {
		a.r.Proxy.Set(nil)
		for _, t := range Troubles {
			if t != Error200 && t != Lost200 && a.r.Proxy.Met()[string(t)] == 0 {
				return fmt.Errorf("no request met %q", t)
			}
		}
		return nil
	})
}

// withoutS3 has the load go on between away and back, and finish afterwards.
func (a *act) withoutS3(ctx context.Context, away, back func() error) error {
	if err := a.services(ctx, 1, "--memory-budget=67108864", "--checkpoint-budget=33554432"); err != nil {
		return err
	}
	if err := a.during(ctx, a.load(0), func() error { return nil }); err != nil {
		return err
	}
	if err := away(); err != nil {
		return err
	}
	var all []Session
	most := int64(0)
	for i, end := 1, time.Now().Add(a.away); time.Now().Before(end) || i == 1; i++ {
		load := a.load(i)
		all = append(all, load...)
		if err := a.produce(ctx, load); err != nil {
			return fmt.Errorf("without S3: %w", err)
		}
		most = max(most, resident(a.r.slicers[0].pid()))
	}
	if err := back(); err != nil {
		return err
	}
	if err := a.verify(ctx, all); err != nil {
		return err
	}
	a.log.Info("went on without S3", "for", a.away, "sessions", len(all), "resident", most)
	if most > 256<<20 && !a.r.cfg.Programs.Race {
		return fmt.Errorf("the slicer had %d bytes resident", most)
	}
	return nil
}

// resident is the memory of a process in bytes; 0 if it cannot be told.
func resident(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

func recreated(ctx context.Context, a *act) error {
	if err := a.services(ctx, 1); err != nil {
		return err
	}
	first := a.load(0)
	if err := a.during(ctx, first, func() error { return nil }); err != nil {
		return err
	}
	slicer := a.r.slicers[0]
	if err := a.r.conn.JetStream().DeleteStream(ctx, bus.EventStream(0)); err != nil {
		return err
	}
	if _, err := bus.Ensure(ctx, a.r.conn, a.r.layout); err != nil {
		return err
	}
	a.pub.Close()
	a.pub = bus.NewPublisher(a.r.conn, a.r.layout, bus.PublisherOptions{})
	load := a.load(1)
	return a.during(ctx, load, func() error {
		if err := a.said(ctx, slicer, "partition is not read"); err != nil {
			return err
		}
		sleep(ctx, time.Second)
		if _, err := a.r.lib.Find(ctx, load[3].ID); err == nil {
			if info, _ := a.r.lib.Find(ctx, load[3].ID); info.Status == recording.Finished {
				return errors.New("the new stream was read though nobody had said so")
			}
		}
		if err := slicer.stop(10 * time.Second); err != nil {
			return err
		}
		slicer.args = append(slicer.args, "--accept-stream=0")
		return slicer.start()
	})
}

func silent(ctx context.Context, a *act) error {
	const hour = 8 * time.Second
	if err := a.services(ctx, 2, fmt.Sprintf("--abandon-after=%s", hour)); err != nil {
		return err
	}
	s := a.load(0)[1]
	out, err := a.pub.Open(ctx, nodeOf(s.ID), s.ID)
	if err != nil {
		return err
	}
	half := s
	half.Events /= 2
	if err := half.play(ctx, out, out.Next()); err != nil {
		return err
	}
	killed := false
	for began := time.Now(); time.Since(began) < 3*hour; sleep(ctx, hour/6) {
		if err := out.Alive(ctx); err != nil {
			return err
		}
		if !killed && time.Since(began) > hour {
			killed = true
			owner, err := a.owner(ctx)
			if err != nil {
				return err
			}
			owner.kill()
		}
	}
	err = s.play(ctx, out, half.Events)
	if err == nil {
		err = out.End(ctx)
	}
	if err != nil {
		return err
	}
	return a.verify(ctx, []Session{s})
}

func endless(ctx context.Context, a *act) error {
	if err := a.services(ctx, 1, "--abandon-after=8s", "--keep-time=1s", "--trim-step=1", "--trim-every=50ms"); err != nil {
		return err
	}
	s := a.load(0)[1]
	s.Events = 100
	out, err := a.pub.Open(ctx, nodeOf(s.ID), s.ID)
	if err != nil {
		return err
	}
	for i := int64(0); i < s.Events; i += 10 {
		some := s
		some.Events, some.pace = i+10, 10*time.Millisecond
		if err := some.play(ctx, out, i); err != nil {
			return err
		}
		if i%30 == 20 {
			a.r.slicers[0].kill()
			if err := a.r.slicers[0].start(); err != nil {
				return err
			}
		}
		sleep(ctx, 300*time.Millisecond)
	}
	if err := out.Flush(ctx); err != nil {
		return err
	}
	if err := until(ctx, rowLimit, func() error { return a.trimmed(ctx) }); err != nil {
		return err
	}
	var m *slicefmt.Manifest
	c := a.r.stranger(ctx, s.ID)
	if m, err = c.await(); err != nil {
		return err
	}
	if m.Outcome != slicefmt.OutcomeAbandoned || m.Events != s.Events || m.Missing != 0 {
		return fmt.Errorf("it is %s with %d events, %d missing", m.Outcome, m.Events, m.Missing)
	}
	rec, err := recording.OpenObject(ctx, a.r.store, s.ID)
	if err != nil {
		return err
	}
	defer func() { _ = rec.Close() }()
	return checkEvents(ctx, rec, s)
}

// trimmed says whether the stream has let go of everything while a session is open.
func (a *act) trimmed(ctx context.Context) error {
	st, err := a.r.conn.JetStream().Stream(ctx, bus.EventStream(0))
	if err != nil {
		return err
	}
	if info := st.CachedInfo(); info.State.FirstSeq < info.State.LastSeq {
		return fmt.Errorf("the stream still has %d to %d", info.State.FirstSeq, info.State.LastSeq)
	}
	return nil
}

func odd(ctx context.Context, a *act) error {
	if err := a.services(ctx, 1); err != nil {
		return err
	}
	for i, o := range oddities {
		if err := o.check(a.r.stranger(ctx, fmt.Sprintf("%s-%d", a.label, i))); err != nil {
			return fmt.Errorf("%s: %w", o.name, err)
		}
	}
	return a.during(ctx, a.load(0), func() error { return nil })
}
