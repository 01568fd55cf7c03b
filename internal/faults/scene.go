package faults

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A Scene is one thing that goes wrong with a whole installation, by itself, where a
// Row is one write that fails.
type Scene struct {
	Name string
	What string // what is done, and what has to hold beside that every recording is whole
	rig  RigConfig
	disk string // the server that keeps its files on a small disk: nats or s3
	play func(ctx context.Context, a *act) error
}

// An act is a scene that is played.
type act struct {
	*Bench
	label string // of the sessions
	away  time.Duration
	rng   *rand.Rand
	disk  string // where the small disk is
}

// A SceneConfig is how scenes are played.
type SceneConfig struct {
	Seed     uint64        // of the sessions and of when things happen
	Away     time.Duration // how long a server is away
	Programs Programs
	Dir      string
	Log      *slog.Logger
}

// Play plays one scene. It returns nil if what had to hold did.
func (s Scene) Play(ctx context.Context, cfg SceneConfig) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute+2*cfg.Away)
	defer cancel()
	h := fnv.New64a()
	_, _ = h.Write([]byte(s.Name))
	a := &act{label: fmt.Sprintf("scene-%x-%x", cfg.Seed, h.Sum64()&0xffffff), away: cfg.Away, rng: rand.New(rand.NewPCG(cfg.Seed, h.Sum64()))}
	rc := s.rig
	rc.Dir, rc.Programs, rc.Partitions, rc.Nodes = filepath.Join(cfg.Dir, a.label), cfg.Programs, max(rc.Partitions, 1), max(rc.Nodes, 1)
	if err := os.MkdirAll(rc.Dir, 0o700); err != nil {
		return err
	}
	if s.disk != "" {
		a.disk = filepath.Join(rc.Dir, "disk")
		unmount, err := mountSmall(a.disk)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, unmount()) }()
		switch s.disk {
		case "s3":
			rc.S3Dir = filepath.Join(a.disk, "s3")
		case "nats":
			rc.NATSDir = filepath.Join(a.disk, "nats")
		}
	}
	r, err := NewRig(ctx, rc)
	if err != nil {
		return err
	}
	a.Bench = &Bench{r: r, log: cfg.Log, pub: bus.NewPublisher(r.conn, r.layout, bus.PublisherOptions{AckTimeout: 2 * time.Second})}
	defer a.Close()
	if err := s.play(ctx, a); err != nil {
		return fmt.Errorf("%w\n%s", err, r.lastLines(20))
	}
	if lines := r.unclean(); len(lines) > 0 {
		return fmt.Errorf("%s", lines[0])
	}
	return nil
}

// quickSlicer and quickCompleter are set up such that what is rare happens soon.
var (
	quickSlicer    = []string{"--idle-checkpoint=200ms", "--holdback=1s", "--cursor-every=50ms", "--retry-max=1s", "--drain-timeout=4s"}
	quickCompleter = []string{"--sweep=1s", "--retry-max=1s", "--drain=2s"}
)

// services starts n slicers and a completer, and waits until they are at work: what
// cannot reach its servers when it starts ends with an error, and whoever started it
// starts it again.
func (a *act) services(ctx context.Context, n int, args ...string) error {
	var errs []error
	for range n {
		errs = append(errs, a.r.AddSlicer(append(quickSlicer, args...)...))
	}
	errs = append(errs, a.r.AddCompleter(quickCompleter...))
	for _, p := range append(append([]*proc{}, a.r.slicers...), a.r.finishers...) {
		errs = append(errs, p.start())
	}
	for _, p := range a.r.slicers {
		errs = append(errs, a.said(ctx, p, "slicer started"))
	}
	return errors.Join(append(errs, a.said(ctx, a.r.finishers[0], "completer started"))...)
}

// during produces the load, does f meanwhile, and looks whether every session of the
// load comes to its recording.
func (a *act) during(ctx context.Context, load []Session, f func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- a.produce(ctx, load) }()
	if err := f(); err != nil {
		cancel()
		return errors.Join(err, <-done)
	}
	if err := <-done; err != nil {
		return err
	}
	return a.verify(ctx, load)
}

// load is sessions of several sorts; part tells those of one scene apart.
func (a *act) load(part int) []Session { return sessionsOf(fmt.Sprintf("%s-%d", a.label, part)) }

// said waits until a process has said something in its log.
func (a *act) said(ctx context.Context, p *proc, words string) error {
	return until(ctx, rowLimit, func() error {
		if findLine(p.log, words) == "" {
			return fmt.Errorf("%s does not say %q", p.name, words)
		}
		return nil
	})
}

// A SceneResult is what came of a scene.
type SceneResult struct {
	Scene Scene
	Err   error
	Took  time.Duration
}

// RunScenes plays scenes, several at once, and returns what came of them, in order.
// told is called after each.
func RunScenes(ctx context.Context, cfg SceneConfig, scenes []Scene, atOnce int, told func(SceneResult)) []SceneResult {
	results := make([]SceneResult, len(scenes))
	slots := make(chan struct{}, atOnce)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, s := range scenes {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			began := time.Now()
			err := s.Play(ctx, cfg)
			mu.Lock()
			defer mu.Unlock()
			results[i] = SceneResult{s, err, time.Since(began)}
			told(results[i])
		})
	}
	wg.Wait()
	return results
}
