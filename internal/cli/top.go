package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/stack"
	"github.com/tapedeck-io/tapedeck/internal/top"
)

type topCommand struct {
	Scrape   []string      `name:"scrape" placeholder:"HOST:PORT" env:"TAPEDECK_SCRAPE" help:"Where services answer for their metrics (their --metrics-addr); give all of them. Default: the one of the 'tapedeck up' over --dir."`
	Interval time.Duration `name:"interval" default:"1s" help:"Time from one look to the next (200ms to 1m)."`
	JSON     bool          `name:"json" help:"Print one snapshot as JSON and end."`
	target
}

// Help says what is read from where.
func (c *topCommand) Help() string {
	return `Who slices which partition and how far behind, how full the streams are, sessions, memory, parts, uploads, and what is wrong, live; q ends
it. Where standard output is no terminal, it prints one snapshot and ends. Slicers, lags in messages and streams are read from the bus; the rest needs
the addresses where services answer for their metrics.`
}

// Validate says what is wrong with the flags.
func (c *topCommand) Validate() error {
	var errs []error
	if c.Interval < 200*time.Millisecond || c.Interval > time.Minute {
		errs = append(errs, fmt.Errorf("interval %v: not 200ms to 1m", c.Interval))
	}
	for _, addr := range c.Scrape {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			errs = append(errs, fmt.Errorf("scrape %q: not HOST:PORT", addr))
		}
	}
	return errors.Join(errs...)
}

// Run shows the installation until it is told to stop.
func (c *topCommand) Run(ctx context.Context, s Streams, log *slog.Logger) error {
	in, err := c.openBus(ctx, log)
	if err != nil {
		return err
	}
	defer in.close()
	collector := &top.Collector{Conn: in.conn, Layout: in.layout, Scrape: c.addrs()}
	out, isFile := s.Out.(*os.File)
	if !c.JSON && isFile && isTerminal(out) {
		return top.Live(ctx, collector, os.Stdin, out, c.Interval)
	}
	// Rates need two looks.
	if _, err := collector.Collect(ctx); err != nil {
		return err
	}
	select {
	case <-time.After(c.Interval):
	case <-ctx.Done():
		return ctx.Err()
	}
	shot, err := collector.Collect(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		enc := json.NewEncoder(s.Out)
		enc.SetIndent("", "  ")
		return enc.Encode(shot)
	}
	for _, line := range shot.Lines() {
		if _, err := fmt.Fprintln(s.Out, line); err != nil {
			return err
		}
	}
	return nil
}

// addrs are those of the flag, or the one of a running `up` if it is the target.
func (c *topCommand) addrs() []string {
	if len(c.Scrape) > 0 {
		return c.Scrape
	}
	running, err := stack.ReadConnect(c.Dir)
	if err != nil || running.Metrics == "" || len(c.NATS.URL) != 1 || running.NATS.URL != c.NATS.URL[0] {
		return nil
	}
	return []string{running.Metrics}
}
