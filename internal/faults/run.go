package faults

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"
)

const sigCont = syscall.SIGCONT

// A Config is one run.
type Config struct {
	Seed       uint64        `help:"Seed of all that is drawn; 0: a random one, which is printed." default:"0" env:"SEED"`
	Duration   time.Duration `help:"How long things are broken." default:"10m" env:"DURATION"`
	Every      time.Duration `help:"Time between two faults, on average." default:"3s"`
	Slicers    int           `help:"Slicers." default:"3"`
	Completers int           `help:"Completers." default:"2"`
	Producers  int           `help:"Producers." default:"2"`
	Slots      int           `help:"Sessions that each producer has open at once." default:"12"`
	Limit      int           `help:"Sessions that each slot has in all; 0: no limit." default:"0"`
	Partitions int           `help:"Partitions." default:"4"`
	Nodes      int           `help:"NATS servers, and replicas: 1 or 3." default:"1"`
	Only       []string      `help:"Faults to draw from; all if none is given."`
	Dir        string        `kong:"-"` // of streams, recordings and logs
	Calm       time.Duration `help:"How long nothing may get on, once nothing is broken any more, until what is not finished counts as missing." default:"90s"`

	Programs Programs     `kong:"-"`
	Log      *slog.Logger `kong:"-"`
}

// A Report is what came of a run.
type Report struct {
	Seed     uint64
	Sessions int // that the bus has whole
	Verified int
	Events   int64
	Faults   map[string]int
	Strange  int // producers that did what they must not, beside the others
	S3       map[string]int64
	Bad      map[string]string // by session
	Unclean  []string          // processes that ended as they must not
	Unborn   []string          // processes that SIGTERM ended before their main began
	Alarms   []string          // what the completers say needs a person
	Took     time.Duration
	Drained  time.Duration // from the last fault until all was verified
}

// Failed says whether anything is wrong.
func (r Report) Failed() bool { return len(r.Bad) > 0 || len(r.Unclean) > 0 || len(r.Alarms) > 0 }

// Run does one run. It returns an error if the run itself did not work; whether
// what was recorded is good the report says.
func Run(ctx context.Context, cfg Config) (Report, error) {
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64N(1 << 32)
	}
	rep := Report{Seed: cfg.Seed, Faults: map[string]int{}, Bad: map[string]string{}}
	began := time.Now()
	r, err := NewRig(ctx, RigConfig{Dir: cfg.Dir, Programs: cfg.Programs, Partitions: cfg.Partitions, Nodes: cfg.Nodes, Log: nil, SyncAlways: cfg.Nodes == 1})
	if err != nil {
		return rep, err
	}
	defer r.Close()
	rng := rand.New(rand.NewPCG(cfg.Seed, 0))
	for range cfg.Slicers {
		if err := r.AddSlicer(slicerArgs(rng)...); err != nil {
			return rep, err
		}
	}
	for range cfg.Completers {
		if err := r.AddCompleter("--sweep=5s", "--retry-max=2s", "--keep-time=1h", "--drain=2s"); err != nil {
			return rep, err
		}
	}
	for range cfg.Producers {
		if err := r.AddProducer(cfg.Seed, cfg.Slots, cfg.Limit); err != nil {
			return rep, err
		}
	}
	if err := r.startAll(); err != nil {
		return rep, err
	}
	v := &verifier{r: r, rep: &rep, done: map[string]bool{}, log: cfg.Log}
	verifying, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { v.run(verifying) })
	odd, goodbye := context.WithCancel(ctx)
	wg.Go(func() { rep.Strange = r.strangers(odd, cfg.Seed) })
	m := newNemesis(r, cfg, rng, &rep)
	m.run(ctx)
	goodbye()
	calm := time.Now()
	err = r.settle(ctx, cfg, v)
	stop()
	wg.Wait()
	if err != nil {
		return rep, err
	}
	v.missing()
	rep.Took, rep.Drained, rep.S3 = time.Since(began).Round(time.Second), time.Since(calm).Round(time.Second), r.Proxy.Met()
	rep.Unclean = append(rep.Unclean, r.unclean()...)
	for _, p := range r.finishers {
		if line := findLine(p.log, "needs a person"); line != "" {
			rep.Alarms = append(rep.Alarms, p.name+": "+line)
		}
	}
	return rep, nil
}

// strangers has producers do what they must not, one after the other, until ctx is
// done. What becomes of their own sessions is not looked at here, where the servers
// fail as well; that they spoil no other's is.
func (r *Rig) strangers(ctx context.Context, seed uint64) (n int) {
	rng := rand.New(rand.NewPCG(seed, 4))
	for ; ctx.Err() == nil; n++ {
		o := oddities[rng.IntN(len(oddities))]
		o.do(r.stranger(ctx, fmt.Sprintf("odd%x-%d", seed, n)))
		sleep(ctx, time.Duration(rng.Int64N(int64(2*time.Second))))
	}
	return n
}

// slicerArgs draws how a slicer is set up: what is rare with the defaults happens
// all the time here.
func slicerArgs(rng *rand.Rand) []string {
	pick := func(from ...string) string { return from[rng.IntN(len(from))] }
	return []string{
		"--idle-checkpoint=" + pick("200ms", "1s", "5s"),
		"--holdback=" + pick("1s", "3s", "20s"),
		"--memory-budget=" + pick("4194304", "33554432", "536870912"),
		"--uploads-per-session=" + pick("1", "2", "4"),
		"--uploads=" + pick("2", "16"),
		"--cursor-every=" + pick("100ms", "1s"),
		"--retry-max=2s", "--park-after=5s", "--drain-timeout=4s", "--upload-timeout=30s", "--keep-time=10m",
	}
}

// settle ends the faults and waits until everything that was produced is verified,
// or nothing gets on any more.
func (r *Rig) settle(ctx context.Context, cfg Config, v *verifier) error {
	r.Proxy.Set(nil)
	for _, l := range r.links {
		l.Mend()
	}
	if err := r.startAll(); err != nil {
		return err
	}
	for _, p := range r.producers {
		p.closeInput()
	}
	last, since := -1, time.Now()
	for {
		running := 0
		for _, p := range r.producers {
			if p.alive() {
				running++
			}
		}
		produced, verified := v.counts()
		if running == 0 && produced == verified {
			return nil
		}
		if produced+verified-running != last {
			last, since = produced+verified-running, time.Now()
		}
		if time.Since(since) > cfg.Calm {
			if running > 0 {
				return fmt.Errorf("%d producers do not finish within %s; %d sessions produced, %d verified", running, cfg.Calm, produced, verified)
			}
			return nil // the oracle says what is missing
		}
		if err := r.startServices(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// startServices starts services that have ended by themselves; producers end when they
// have finished.
func (r *Rig) startServices() error {
	var errs []error
	for _, p := range append(append([]*proc{r.s3}, r.nats...), append(r.slicers, r.finishers...)...) {
		errs = append(errs, p.start())
	}
	return errors.Join(errs...)
}

// A verifier checks recordings while the run goes on.
type verifier struct {
	r   *Rig
	log *slog.Logger

	mu       sync.Mutex
	rep      *Report
	produced int
	done     map[string]bool // good or bad
	waits    map[string]error
}

func (v *verifier) run(ctx context.Context) {
	for ctx.Err() == nil {
		v.round(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func (v *verifier) round(ctx context.Context) {
	produced, err := readState(v.r.states...)
	if err != nil {
		v.log.Error("state not read", "err", err)
		return
	}
	v.mu.Lock()
	v.produced = len(produced)
	v.waits = map[string]error{}
	v.mu.Unlock()
	for id := range produced {
		if ctx.Err() != nil {
			return
		}
		v.mu.Lock()
		known := v.done[id]
		v.mu.Unlock()
		if known {
			continue
		}
		s := NewSession(id)
		one, cancel := context.WithTimeout(ctx, time.Minute)
		err := check(one, v.r.lib, s)
		cancel()
		v.verdict(s, err)
	}
}

func (v *verifier) verdict(s Session, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var b *badError
	switch {
	case err == nil:
		v.rep.Verified++
		v.rep.Events += s.Events
	case errors.As(err, &b):
		v.rep.Bad[s.ID] = b.why
		v.log.Error("BAD", "session", s.ID, "kind", s.Kind, "why", b.why)
	default:
		v.waits[s.ID] = err
		return
	}
	v.done[s.ID] = true
}

func (v *verifier) counts() (produced, settled int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.produced, len(v.done)
}

// missing counts what never came as bad.
func (v *verifier) missing() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.rep.Sessions = v.produced
	for id, err := range v.waits {
		if !v.done[id] {
			v.rep.Bad[id] = "missing: " + err.Error()
		}
	}
}
