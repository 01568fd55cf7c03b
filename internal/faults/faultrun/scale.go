package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/faults"
)

type takeoverCommand struct {
	where
	Times int           `help:"Kills, and as many graceful leaves." default:"20"`
	Kill  time.Duration `help:"Fail if the median after a kill is above this; 0: do not." default:"5s"`
	Leave time.Duration `help:"The same after a graceful leave." default:"1.5s"`
}

type throughputCommand struct {
	where
	Rounds   int   `help:"How often each number of slicers has its turn." default:"3"`
	Sessions int   `help:"Sessions of the backlog." default:"64"`
	Events   int64 `help:"Events of a session, of some 225 bytes." default:"5000"`
	Slicers  []int `help:"Numbers of slicers." default:"1,2,4"`
}

type openCommand struct {
	where
	Sessions int           `help:"Sessions that are open at once." default:"100000"`
	Limit    time.Duration `help:"How long all of it may take." default:"60m"`
	Resident int64         `help:"Fail if the slicer ever has more bytes resident; 0: do not." default:"1073741824"`
}

func (w *where) scale(ctx context.Context) (faults.ScaleConfig, error) {
	programs, err := w.build(ctx)
	return faults.ScaleConfig{Dir: w.Dir, Programs: programs, Log: logger(), Seed: uint64(time.Now().UnixNano())}, err
}

// Run measures takeovers.
func (c *takeoverCommand) Run(ctx context.Context) error {
	cfg, err := c.scale(ctx)
	if err != nil {
		return err
	}
	for _, t := range []struct {
		what     string
		graceful bool
		limit    time.Duration
	}{{"a kill", false, c.Kill}, {"a graceful leave", true, c.Leave}} {
		took, terr := cfg.Takeover(ctx, c.Times, t.graceful)
		if terr != nil {
			return fmt.Errorf("%w (logs in %s)", terr, c.Dir)
		}
		ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
		fmt.Printf("after %s: median %v of %d, least %v, most %v\n", t.what, ms(took.Median()), len(took), ms(took[0]), ms(took[len(took)-1]))
		if t.limit > 0 && took.Median() > t.limit {
			err = errors.Join(err, fmt.Errorf("median after %s is above %v", t.what, t.limit))
		}
	}
	return errors.Join(err, os.RemoveAll(c.Dir))
}

// Run measures throughput.
func (c *throughputCommand) Run(ctx context.Context) error {
	cfg, err := c.scale(ctx)
	if err != nil {
		return err
	}
	rates := map[int][]float64{}
	for range c.Rounds {
		for _, n := range c.Slicers { // in turn, so that what else the machine does falls on all
			res, err := cfg.Throughput(ctx, n, c.Sessions, c.Events)
			if err != nil {
				return fmt.Errorf("%w (logs in %s)", err, c.Dir)
			}
			rates[n] = append(rates[n], res.EventsInSecond)
		}
	}
	for _, n := range c.Slicers {
		slices.Sort(rates[n])
	}
	middle := func(n int) float64 { return rates[n][len(rates[n])/2] }
	for _, n := range c.Slicers {
		fmt.Printf("%d slicers: %.0f events/s, %.2f times that of %d\n", n, middle(n), middle(n)/middle(c.Slicers[0]), c.Slicers[0])
	}
	return os.RemoveAll(c.Dir)
}

// Run measures open sessions.
func (c *openCommand) Run(ctx context.Context) error {
	cfg, err := c.scale(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.Limit)
	defer cancel()
	res, err := cfg.Open(ctx, c.Sessions)
	s := func(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }
	fmt.Printf("%d sessions open: published in %v, durable after %v, slicer %d MiB resident; takeover %v; ended in %v, all recordings there and verified (%d) after %v, slicer %d MiB\n",
		res.Sessions, s(res.Published), s(res.Taken), res.Resident>>20, s(res.Takeover), s(res.Ended), res.Verified, s(res.Finished), res.ResidentWhenFinished>>20)
	if err != nil {
		return fmt.Errorf("%w (logs in %s)", err, c.Dir)
	}
	if most := max(res.Resident, res.ResidentWhenFinished); c.Resident > 0 && most > c.Resident {
		err = fmt.Errorf("the slicer had %d bytes resident, above %d", most, c.Resident)
	}
	return errors.Join(err, os.RemoveAll(c.Dir))
}
