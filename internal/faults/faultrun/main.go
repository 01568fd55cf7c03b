// Faultrun breaks a whole installation at random and checks every recording that
// comes out of it. See faultrun --help.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/tapedeck-io/tapedeck/internal/faults"
)

type program struct {
	faults.Config
	Race    bool `help:"Build the services with the race detector."`
	NoFence bool `help:"Build the services without the fence, to see that the suite finds what it is there for."`
}

func main() {
	faults.Child()
	var p program
	k := kong.Parse(&p, kong.Name("faultrun"), kong.Description("Breaks a whole installation at random and checks every recording that comes out of it."+
		"\n\nExit status: 0 all recordings are good, 1 some are bad, or the run did not work."))
	k.FatalIfErrorf(p.run())
}

func (p *program) run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	var err error
	if p.Dir == "" {
		if p.Dir, err = os.MkdirTemp("", "tapedeck-faults-"); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return err
	}
	var flags []string
	if p.Race {
		flags = append(flags, "-race")
	}
	if p.NoFence {
		flags = append(flags, "-tags=nofence")
	}
	if p.Programs, err = faults.Build(ctx, p.Dir, flags...); err != nil {
		return err
	}
	rep, err := faults.Run(ctx, p.Config)
	print(rep)
	if err != nil {
		return fmt.Errorf("%w (logs in %s)", err, p.Dir)
	}
	if rep.Failed() {
		return fmt.Errorf("%d of %d recordings are bad, %d processes ended badly; repeat with SEED=%d (logs in %s)", len(rep.Bad), rep.Sessions, len(rep.Unclean), rep.Seed, p.Dir)
	}
	return os.RemoveAll(p.Dir)
}

func print(r faults.Report) {
	fmt.Printf("seed %d: %d sessions, %d verified with %d events, %d bad, in %s (last %s without faults)\n",
		r.Seed, r.Sessions, r.Verified, r.Events, len(r.Bad), r.Took, r.Drained)
	for _, name := range slices.Sorted(maps.Keys(r.Faults)) {
		fmt.Printf("  %5d × %s\n", r.Faults[name], name)
	}
	for _, name := range slices.Sorted(maps.Keys(r.S3)) {
		fmt.Printf("  %5d × S3 request: %s\n", r.S3[name], name)
	}
	for _, id := range slices.Sorted(maps.Keys(r.Bad)) {
		fmt.Printf("  BAD %s (%s): %s\n", id, faults.NewSession(id).Kind, r.Bad[id])
	}
	for _, line := range r.Unclean {
		fmt.Printf("  UNCLEAN %s\n", line)
	}
}
