// Faultrun breaks a whole installation and checks every recording that comes out
// of it. See faultrun --help.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/tapedeck-io/tapedeck/internal/faults"
)

type program struct {
	Random randomCommand `cmd:"" default:"withargs" help:"Break things at random (the default)."`
	Table  tableCommand  `cmd:"" help:"Fail each write in each way, once at a time, then play each scene, and write what came of it."`
	Scenes sceneCommand  `cmd:"" help:"Play each scene: one thing that goes wrong with a whole installation."`

	Takeover   takeoverCommand   `cmd:"" help:"Measure how long sessions stand still when their slicer is killed, and when it leaves."`
	Throughput throughputCommand `cmd:"" help:"Measure how fast 1, 2 and 4 slicers take in the same backlog."`
	Open       openCommand       `cmd:"" help:"Open very many sessions on one slicer, kill it, end all and check each."`
}

// where are the programs and their files.
type where struct {
	Dir     string `help:"Where streams, recordings and logs go; kept if something is bad." type:"path"`
	Race    bool   `help:"Build the services with the race detector."`
	Bin     string `help:"Directory with slicer and completer, built already." type:"existingdir"`
	NoFence bool   `help:"Build the services without the fence, to see that the suite finds what it is there for."`
}

type randomCommand struct {
	where
	ExpectBad bool `help:"Succeed only if recordings are bad: for a build without the fence."`
	faults.Config
}

type tableCommand struct {
	where
	sceneFlags
	Benches int    `help:"Rows that run at once." default:"2"`
	Times   int    `help:"How often each row runs." default:"1"`
	Out     string `help:"File for the table; standard output if there is none." type:"path"`
}

type sceneFlags struct {
	Match string        `help:"Only rows and scenes whose name has this in it."`
	Seed  uint64        `help:"Seed of what the scenes draw; 0: a random one, which is printed." env:"SEED"`
	Away  time.Duration `help:"How long a server is away." default:"20s" env:"AWAY"`
}

type sceneCommand struct {
	where
	sceneFlags
	AtOnce int `help:"Scenes that are played at once." default:"2"`
}

func main() {
	faults.Child()
	faults.BeRoot()
	k := kong.Parse(&program{}, kong.Name("faultrun"), kong.Description("Breaks a whole installation and checks every recording that comes out of it."+
		"\n\nExit status: 0 all recordings are good, 1 some are bad, or the run did not work."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	k.BindTo(ctx, (*context.Context)(nil))
	k.FatalIfErrorf(k.Run())
}

func (w *where) build(ctx context.Context) (faults.Programs, error) {
	var err error
	if w.Dir == "" {
		w.Dir, err = os.MkdirTemp("", "tapedeck-faults-")
	} else {
		err = os.MkdirAll(w.Dir, 0o700)
	}
	if err != nil {
		return faults.Programs{}, err
	}
	if w.Bin != "" {
		return faults.Programs{Slicer: filepath.Join(w.Bin, "slicer"), Completer: filepath.Join(w.Bin, "completer")}, nil
	}
	var flags []string
	if w.Race {
		flags = append(flags, "-race")
	}
	if w.NoFence {
		flags = append(flags, "-tags=nofence")
	}
	return faults.Build(ctx, w.Dir, flags...)
}

func logger() *slog.Logger { return slog.New(slog.NewTextHandler(os.Stderr, nil)) }

// Run breaks things at random.
func (c *randomCommand) Run(ctx context.Context) error {
	programs, err := c.build(ctx)
	if err != nil {
		return err
	}
	c.Config.Dir, c.Programs, c.Log = c.where.Dir, programs, logger()
	rep, err := faults.Run(ctx, c.Config)
	tell(rep)
	if err != nil {
		return fmt.Errorf("%w (logs in %s)", err, c.where.Dir)
	}
	if c.ExpectBad {
		if len(rep.Bad) == 0 {
			return fmt.Errorf("no recording is bad (%d alarms): the suite is blind, or the run was too short", len(rep.Alarms))
		}
		return os.RemoveAll(c.where.Dir)
	}
	if rep.Failed() {
		return fmt.Errorf("%d of %d recordings are bad, %d processes ended badly, %d alarms; repeat with SEED=%d (logs in %s)",
			len(rep.Bad), rep.Sessions, len(rep.Unclean), len(rep.Alarms), rep.Seed, c.where.Dir)
	}
	return os.RemoveAll(c.where.Dir)
}

func tell(r faults.Report) {
	fmt.Printf("seed %d: %d sessions, %d verified with %d events, %d bad, in %s (last %s without faults)\n",
		r.Seed, r.Sessions, r.Verified, r.Events, len(r.Bad), r.Took, r.Drained)
	for _, name := range slices.Sorted(maps.Keys(r.Faults)) {
		fmt.Printf("  %5d × %s\n", r.Faults[name], name)
	}
	fmt.Printf("  %5d × strange producer\n", r.Strange)
	if len(r.Unborn) > 0 {
		fmt.Printf("  %5d × SIGTERM before the process could take it: %s\n", len(r.Unborn), strings.Join(r.Unborn, ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(r.S3)) {
		fmt.Printf("  %5d × S3 request: %s\n", r.S3[name], name)
	}
	for _, id := range slices.Sorted(maps.Keys(r.Bad)) {
		fmt.Printf("  BAD %s (%s): %s\n", id, faults.NewSession(id).Kind, r.Bad[id])
	}
	for _, line := range append(r.Unclean, r.Alarms...) {
		fmt.Printf("  %s\n", line)
	}
}

// play plays the scenes and tells of each.
func (f *sceneFlags) play(ctx context.Context, dir string, programs faults.Programs, atOnce int) (results []faults.SceneResult, bad int) {
	if f.Seed == 0 {
		f.Seed = rand.Uint64N(1 << 32)
	}
	fmt.Fprintf(os.Stderr, "SEED=%d AWAY=%s\n", f.Seed, f.Away)
	scenes := slices.DeleteFunc(faults.Scenes(), func(s faults.Scene) bool { return !strings.Contains(s.Name, f.Match) })
	cfg := faults.SceneConfig{Seed: f.Seed, Away: f.Away, Programs: programs, Dir: dir, Log: logger()}
	results = faults.RunScenes(ctx, cfg, scenes, atOnce, func(res faults.SceneResult) {
		verdict := "good"
		if res.Err != nil {
			verdict = "BAD: " + res.Err.Error()
			bad++
		}
		fmt.Fprintf(os.Stderr, "%6s %s: %s\n", res.Took.Round(100*time.Millisecond), res.Scene.Name, verdict)
	})
	return results, bad
}

// Run plays the scenes.
func (c *sceneCommand) Run(ctx context.Context) error {
	programs, err := c.build(ctx)
	if err != nil {
		return err
	}
	results, bad := c.play(ctx, c.Dir, programs, c.AtOnce)
	if bad > 0 || len(results) == 0 {
		return fmt.Errorf("%d of %d scenes are bad; repeat with SEED=%d (logs in %s)", bad, len(results), c.Seed, c.Dir)
	}
	return os.RemoveAll(c.Dir)
}

// Run runs the table and plays the scenes.
func (c *tableCommand) Run(ctx context.Context) error {
	programs, err := c.build(ctx)
	if err != nil {
		return err
	}
	rows := slices.DeleteFunc(faults.Rows(), func(r faults.Row) bool { return !strings.Contains(r.Name(), c.Match) })
	n, bad := 0, 0
	results, err := faults.RunTable(ctx, c.Dir, programs, rows, c.Benches, c.Times, logger(), func(res faults.RowResult) {
		n++
		verdict := "good"
		if res.Err != nil {
			verdict = "BAD: " + res.Err.Error()
			bad++
		}
		fmt.Fprintf(os.Stderr, "%3d/%d %6s %s: %s\n", n, len(rows), res.Took.Round(100*time.Millisecond), res.Row.Name(), verdict)
	})
	if err != nil {
		return err
	}
	scenes, badScenes := c.play(ctx, c.Dir, programs, c.Benches)
	out := os.Stdout
	if c.Out != "" {
		if out, err = os.Create(c.Out); err != nil {
			return err
		}
		defer out.Close()
	}
	faults.WriteTable(out, results, c.Times)
	faults.WriteScenes(out, scenes, c.Seed, c.Away)
	if bad+badScenes > 0 {
		return fmt.Errorf("%d of %d rows and %d of %d scenes are bad (logs in %s)", bad, len(rows), badScenes, len(scenes), c.Dir)
	}
	return os.RemoveAll(c.Dir)
}
