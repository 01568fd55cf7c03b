// Package service is what the programs of an installation have in common: a slicer, a
// completer and a consumer of access records differ in their work, not in how they are
// called, reach bus and store, are watched, and end.
//
// A program embeds [Reach] and [Process] in its flags, says in a [Program] what it is,
// and leaves the rest to [Main]:
//
//  1. The command line is read. What is wrong with it ends the process with status 2.
//  2. Telemetry starts, then the bus is connected to and asked for its layout, then the
//     store is opened if the program needs one. With --health that, and whether the
//     bucket answers, is all there is to do, and a process that listens on the metrics
//     address is asked instead.
//  3. The program works, until a signal comes. It is followed while all this begins, too.
//  4. Store, bus and telemetry are closed, in this order, whatever happened.
//
// What was going on when a signal came is no error: the status is 0. Any other error is
// status 1. Errors are one line on standard error, those that are several joined by "; ",
// since what runs a service keeps its last line.
//
// Nothing is tried twice here, other than what [bus.Options] says of the first
// connection and [telemetry.Telemetry.AwaitBucket] of the store.
package service

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/tapedeck-io/tapedeck/internal/health"
	"github.com/tapedeck-io/tapedeck/internal/telemetry"
	"github.com/tapedeck-io/tapedeck/internal/version"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// Exit statuses other than 0.
const (
	statusFailed = 1 // it could not start or go on
	statusUsage  = 2 // the command line is wrong
)

// Reach are the flags of how a service reaches its installation. Where a program embeds
// it is where --help lists them.
type Reach struct {
	Bus bus.Options     `embed:"" group:"NATS"`
	S3  s3store.Options `embed:"" group:"S3"`
}

// Process are the flags of a service as a process: how it is watched, what it logs, and
// the questions that end it.
type Process struct {
	Telemetry telemetry.Options    `embed:"" group:"Watching"`
	Log       telemetry.LogOptions `embed:"" group:"Watching"`
	Health    bool                 `help:"Only ask whether work gets through: of the process that listens on metrics-addr if there is one, else whether ${health_asks} answer. Status 1 if not, and a line says why."`
	Version   kong.VersionFlag     `help:"Print the version and end."`
}

// A Program says what a service is to [Main]. The zero value of what is not marked as
// needed is the usual.
type Program struct {
	Name  string // needed: of the program, in its version, its lines and its telemetry
	About string // needed: what --help says first

	Flags   any           // needed: pointer to the struct of all flags, with the two below in it
	Reach   *Reach        // needed: the one in Flags
	Process *Process      // needed: the one in Flags
	Options []kong.Option // how the flags are read, beyond what Main says

	// Asks is what --health says it asks when nobody listens. "": bus and bucket.
	Asks string

	// NeedsStore says, once the flags are read, whether there is to be a store. nil: yes.
	NeedsStore func() bool

	// AwaitBucket makes Main wait until the store answers for its bucket, for as long as
	// it takes, before Work begins. Without it Work must do with a store that is away.
	AwaitBucket bool

	// Work is what the service is there for. It is called once, owns what it was given
	// until it returns, and returns when ctx is done, having waited for what it started.
	// It must not close what is in the Installation.
	Work func(context.Context, Installation) error // needed
}

// An Installation is what a service works with.
type Installation struct {
	Conn      *bus.Conn
	Layout    bus.Layout
	Store     *s3store.Store // nil: NeedsStore said that there is no need of one
	Log       *slog.Logger
	Telemetry *telemetry.Telemetry

	name string
}

// Watch measures the installation, and adds the checks of the service to those that
// health is answered from. It is called once the service is made, before it runs.
func (in Installation) Watch(cs health.Checks) error {
	if err := in.Telemetry.Installation(in.Conn, in.Layout, in.Store); err != nil {
		return err
	}
	in.Telemetry.Health.Add(in.name, cs)
	return nil
}

// Main is the main function of the program: it ends the process unless all went well.
func Main(p Program) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if _, err := p.parser().Parse(os.Args[1:]); err != nil {
		fail(statusUsage, p.Name+": ", err)
	}
	if err := p.run(ctx); err != nil {
		fail(statusFailed, p.Name+": ", err)
	}
}

// fail ends the process with a line.
func fail(status int, before string, err error) {
	fmt.Fprintf(os.Stderr, "%s%s\n", before, strings.ReplaceAll(err.Error(), "\n", "; "))
	os.Exit(status)
}

// parser reads the command line. It panics if the flags cannot be ones.
func (p Program) parser() *kong.Kong {
	asks := p.Asks
	if asks == "" {
		asks = "bus and bucket"
	}
	return kong.Must(p.Flags, append([]kong.Option{kong.Name(p.Name), kong.Description(p.About),
		kong.Vars{"version": version.Line(p.Name), "health_asks": asks}}, p.Options...)...)
}

// run works until ctx is done.
func (p Program) run(ctx context.Context) (err error) {
	defer func() {
		if ctx.Err() != nil {
			err = nil // what it was about to do was cut short because it was told to stop
		}
	}()
	log := p.Process.Log.Logger(os.Stderr)
	if p.Process.Health {
		if asked, err := p.Process.Telemetry.Alive(ctx); asked {
			return err
		}
		p.Process.Telemetry.MetricsAddr = telemetry.Off
	}
	tel, err := telemetry.Start(ctx, p.Name, p.Process.Telemetry, log)
	if err != nil {
		return err
	}
	defer tel.Stop()
	conn, err := bus.Connect(ctx, p.Reach.Bus, log)
	if err != nil {
		return err
	}
	defer conn.Close()
	layout, err := bus.Inspect(ctx, conn)
	if err != nil {
		return fmt.Errorf("read the installation: %w", err)
	}
	in := Installation{Conn: conn, Layout: layout, Log: log, Telemetry: tel, name: p.Name}
	if p.NeedsStore == nil || p.NeedsStore() {
		p.Reach.S3.Tracer = tel.Spans()
		if in.Store, err = s3store.Open(ctx, p.Reach.S3, log); err != nil {
			return err
		}
		defer func() { _ = in.Store.Close() }()
	}
	switch {
	case p.Process.Health && in.Store == nil:
		return nil
	case p.Process.Health:
		return in.Store.CheckBucket(ctx)
	case p.AwaitBucket && in.Store != nil:
		if err := tel.AwaitBucket(ctx, p.Name, in.Store); err != nil {
			return err
		}
	}
	return p.Work(ctx, in)
}
