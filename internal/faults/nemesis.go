package faults

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/failpoint"
)

// A nemesis breaks things, as the seed says.
type nemesis struct {
	r     *Rig
	cfg   Config
	rng   *rand.Rand
	log   *slog.Logger
	began time.Time
	wg    sync.WaitGroup

	mu   sync.Mutex
	rep  *Report
	busy map[*proc]bool // under a fault at the moment
	s3   bool           // the proxy makes trouble
}

// A fault is one that can be drawn. It takes what it needs from rng before it
// begins, so that what is drawn does not depend on how the run goes.
type fault struct {
	name   string
	weight int
	do     func(m *nemesis, a, b float64) func(ctx context.Context) bool
}

// faultTable is all of them.
var faultTable = []fault{
	{"kill slicer", 10, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.kill(pick(m.r.slicers, a), seconds(b*b*4))
	}},
	{"zombie slicer", 8, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.pause(pick(m.r.slicers, a), seconds(2.5+b*4))
	}},
	{"short stop of slicer", 2, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.pause(pick(m.r.slicers, a), seconds(b*2))
	}},
	{"leave of slicer", 4, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.leave(pick(m.r.slicers, a), seconds(b*4))
	}},
	{"cut off slicer", 4, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.cutOff(pick(m.r.slicers, a), seconds(b*8))
	}},
	{"cut off completer", 1, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.cutOff(pick(m.r.finishers, a), seconds(b*8))
	}},
	{"cut off producer", 2, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.cutOff(pick(m.r.producers, a), seconds(b*8))
	}},
	{"slow link of slicer", 1, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.slowLink(pick(m.r.slicers, a), seconds(0.2*b), 8*time.Second)
	}},
	{"slicer fails at a step", 5, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.failAt(pick(m.r.slicers, a), stepOf("slicer", b))
	}},
	{"completer fails at a step", 3, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.failAt(pick(m.r.finishers, a), stepOf("completer", b))
	}},
	{"kill completer", 5, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.kill(pick(m.r.finishers, a), seconds(b*3))
	}},
	{"zombie completer", 2, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.pause(pick(m.r.finishers, a), seconds(1+b*6))
	}},
	{"leave of completer", 1, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.leave(pick(m.r.finishers, a), seconds(b*3))
	}},
	{"kill producer", 4, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.kill(pick(m.r.producers, a), seconds(b*2))
	}},
	{"leave of producer", 2, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.leave(pick(m.r.producers, a), seconds(b*2))
	}},
	{"zombie producer", 1, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.pause(pick(m.r.producers, a), seconds(1+b*4))
	}},
	{"kill NATS", 2, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.kill(pick(m.r.nats, a), seconds(b*3))
	}},
	{"restart of NATS", 1, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.leave(pick(m.r.nats, a), seconds(b*2))
	}},
	{"stop of NATS", 1, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.pause(pick(m.r.nats, a), seconds(b*6))
	}},
	{"slow NATS", 1, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.slow(pick(m.r.nats, a), seconds(1+b*6))
	}},
	{"kill S3", 2, func(m *nemesis, _, b float64) func(context.Context) bool { return m.kill(m.r.s3, seconds(b*4)) }},
	{"S3 trouble", 3, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.trouble(uint64(a*1e9), 0.05+a*0.5, seconds(1+b*10), Troubles...)
	}},
	{"S3 slow", 1, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.trouble(uint64(a*1e9), 0.9, seconds(1+b*8), Slow)
	}},
	{"S3 refuses all", 1, func(m *nemesis, a, b float64) func(context.Context) bool {
		return m.trouble(uint64(a*1e9), 1, seconds(1+b*8), SlowDown)
	}},
	{"upload forgotten", 2, func(m *nemesis, a, _ float64) func(context.Context) bool { return m.forget(a) }},
}

// FaultNames are the names of all faults.
func FaultNames() []string {
	var names []string
	for _, f := range faultTable {
		names = append(names, f.name)
	}
	return names
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func pick(ps []*proc, a float64) *proc { return ps[min(int(a*float64(len(ps))), len(ps)-1)] }

func newNemesis(r *Rig, cfg Config, rng *rand.Rand, rep *Report) *nemesis {
	return &nemesis{r: r, cfg: cfg, rng: rng, log: cfg.Log, rep: rep, busy: map[*proc]bool{}, began: time.Now()}
}

// run breaks things until the time is up, and returns when all are mended.
func (m *nemesis) run(ctx context.Context) {
	var table []fault
	total := 0
	for _, f := range faultTable {
		if len(m.cfg.Only) == 0 || slices.Contains(m.cfg.Only, f.name) {
			table = append(table, f)
			total += f.weight
		}
	}
	for at := time.Duration(0); ; {
		at += time.Duration(m.rng.ExpFloat64() * float64(m.cfg.Every))
		draw, a, b := m.rng.IntN(max(total, 1)), m.rng.Float64(), m.rng.Float64()
		if at >= m.cfg.Duration || total == 0 {
			at = m.cfg.Duration
		}
		select {
		case <-time.After(time.Until(m.began.Add(at))):
		case <-ctx.Done():
			at = m.cfg.Duration
		}
		m.supervise()
		if at >= m.cfg.Duration {
			break
		}
		for _, f := range table {
			if draw -= f.weight; draw < 0 {
				m.begin(ctx, f, a, b)
				break
			}
		}
	}
	m.wg.Wait()
}

func (m *nemesis) begin(ctx context.Context, f fault, a, b float64) {
	do := f.do(m, a, b)
	if do == nil {
		return
	}
	m.wg.Go(func() {
		if do(ctx) {
			m.mu.Lock()
			m.rep.Faults[f.name]++
			m.mu.Unlock()
		}
	})
}

// supervise starts services again that have ended by themselves, as whoever runs them
// does: one that cannot reach its servers when it starts ends.
func (m *nemesis) supervise() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range append(slices.Clone(m.r.slicers), m.r.finishers...) {
		if !m.busy[p] && !p.alive() {
			if err := p.start(); err != nil {
				m.log.Error("not started", "process", p.name, "err", err)
			}
		}
	}
}

// take marks a process as under a fault; false if it is already.
func (m *nemesis) take(p *proc) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy[p] || !p.alive() {
		return false
	}
	m.busy[p] = true
	return true
}

func (m *nemesis) give(p *proc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.busy, p)
}

// around does one fault to a process and has it run again afterwards.
func (m *nemesis) around(p *proc, what string, d time.Duration, break_ func()) func(context.Context) bool {
	return func(ctx context.Context) bool {
		if !m.take(p) {
			return false
		}
		defer m.give(p)
		m.log.Info(what, "at", time.Since(m.began).Round(time.Millisecond), "process", p.name, "pid", p.pid(), "for", d.Round(time.Millisecond))
		break_()
		sleep(ctx, d)
		p.signal(syscall.SIGCONT)
		if err := p.start(); err != nil {
			m.log.Error("not started", "process", p.name, "err", err)
		}
		return true
	}
}

func (m *nemesis) kill(p *proc, d time.Duration) func(context.Context) bool {
	return m.around(p, "kill -9", d, p.kill)
}

func (m *nemesis) pause(p *proc, d time.Duration) func(context.Context) bool {
	return m.around(p, "stop", d, func() { p.signal(syscall.SIGSTOP) })
}

func (m *nemesis) leave(p *proc, d time.Duration) func(context.Context) bool {
	return m.around(p, "leave", d, func() {
		err := p.stop(15 * time.Second)
		m.mu.Lock()
		defer m.mu.Unlock()
		switch {
		case err == nil:
		case p.unborn():
			m.rep.Unborn = append(m.rep.Unborn, p.name)
		default:
			m.rep.Unclean = append(m.rep.Unclean, fmt.Sprintf("%s after SIGTERM: %v", p.name, err))
		}
	})
}

// cutOff has nothing pass between a process and its NATS server for a while.
func (m *nemesis) cutOff(p *proc, d time.Duration) func(context.Context) bool {
	return func(ctx context.Context) bool {
		l := m.r.links[p]
		if l == nil || !m.take(p) {
			return false
		}
		defer m.give(p)
		m.log.Info("cut off", "at", time.Since(m.began).Round(time.Millisecond), "process", p.name, "for", d.Round(time.Millisecond))
		l.Cut()
		sleep(ctx, d)
		l.Mend()
		return true
	}
}

// slowLink has little pass between a process and its NATS server for a while.
func (m *nemesis) slowLink(p *proc, delay, d time.Duration) func(context.Context) bool {
	return func(ctx context.Context) bool {
		l := m.r.links[p]
		if l == nil || !m.take(p) {
			return false
		}
		defer m.give(p)
		m.log.Info("slow link", "at", time.Since(m.began).Round(time.Millisecond), "process", p.name, "delay", delay.Round(time.Millisecond), "for", d)
		l.Slow(delay)
		sleep(ctx, d)
		l.Mend()
		return true
	}
}

// stepOf draws a failpoint of a program, and what happens there at which time.
func stepOf(program string, draw float64) string {
	var specs []string
	for _, s := range steps {
		if s.program != program || s.scene != plain {
			continue // it is not reached within seconds
		}
		specs = append(specs, s.name+"/before=crash", s.name+"/after=crash")
		if s.write {
			specs = append(specs, s.name+"=refuse", s.name+"=lose")
		}
	}
	times := []int{3, 1, 1} // that the process comes there; what is rare comes once, if at all
	i := min(int(draw*float64(len(specs)*len(times))), len(specs)*len(times)-1)
	return fmt.Sprintf("%s@%d", specs[i/len(times)], times[i%len(times)])
}

// failAt starts a process anew such that it fails at a step of its commits, and once
// more when that has ended it, or after a while.
func (m *nemesis) failAt(p *proc, spec string) func(context.Context) bool {
	return func(ctx context.Context) bool {
		if !m.take(p) {
			return false
		}
		defer m.give(p)
		m.log.Info("fails at a step", "at", time.Since(m.began).Round(time.Millisecond), "process", p.name, "step", spec)
		p.kill()
		err := p.startWith(failpoint.Env + "=" + spec)
		for end := time.Now().Add(8 * time.Second); err == nil && p.alive() && time.Now().Before(end) && ctx.Err() == nil; {
			sleep(ctx, 100*time.Millisecond)
		}
		met := p.said("failpoint: ")
		p.kill()
		if err = errors.Join(err, p.start()); err != nil {
			m.log.Error("not started", "process", p.name, "err", err)
		}
		return met
	}
}

// slow lets a process run for a tenth of the time only, as one whose disk is slow.
func (m *nemesis) slow(p *proc, d time.Duration) func(context.Context) bool {
	return m.around(p, fmt.Sprintf("slow for %s", d.Round(time.Millisecond)), 0, func() { pulse(p, d) })
}

// pulse stops p for nine tenths of d, in short turns.
func pulse(p *proc, d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		p.signal(syscall.SIGSTOP)
		time.Sleep(90 * time.Millisecond)
		p.signal(syscall.SIGCONT)
		time.Sleep(10 * time.Millisecond)
	}
}

// trouble has the proxy make trouble for a while.
func (m *nemesis) trouble(seed uint64, share float64, d time.Duration, troubles ...Trouble) func(context.Context) bool {
	return func(ctx context.Context) bool {
		m.mu.Lock()
		taken := m.s3
		m.s3 = true
		m.mu.Unlock()
		if taken {
			return false
		}
		m.log.Info("S3 trouble", "at", time.Since(m.began).Round(time.Millisecond), "share", share, "for", d.Round(time.Millisecond), "kinds", troubles)
		m.r.Proxy.Random(seed, share, troubles...)
		sleep(ctx, d)
		m.r.Proxy.Set(nil)
		m.mu.Lock()
		m.s3 = false
		m.mu.Unlock()
		return true
	}
}

// forget has S3 forget one of the uploads that are under way.
func (m *nemesis) forget(a float64) func(context.Context) bool {
	return func(ctx context.Context) bool {
		type upload struct{ key, id string }
		var ups []upload
		for u, err := range m.r.store.ListUploads(ctx, "") {
			if err != nil {
				return false
			}
			ups = append(ups, upload{u.Key, u.ID})
		}
		if len(ups) == 0 {
			return false
		}
		u := ups[min(int(a*float64(len(ups))), len(ups)-1)]
		m.log.Info("upload forgotten", "at", time.Since(m.began).Round(time.Millisecond), "key", u.key)
		return m.r.store.AbortUpload(ctx, u.key, u.id) == nil
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// unclean lists the services that panicked, by what they left in their logs.
func (r *Rig) unclean() []string {
	var found []string
	for _, p := range r.all() {
		if line := panicIn(p.log); line != "" {
			found = append(found, p.name+": "+line)
		}
	}
	return found
}
