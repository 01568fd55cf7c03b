// Producer records sessions on the bus: it runs a command on a terminal, or
// serves as a login shell or as sshd's ForceCommand, or imports what was
// recorded by other means. See producer --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/tapedeck-io/tapedeck/internal/importer"
	"github.com/tapedeck-io/tapedeck/internal/ptyrec"
	"github.com/tapedeck-io/tapedeck/internal/telemetry"
	"github.com/tapedeck-io/tapedeck/internal/version"
)

func main() {
	os.Exit(run(os.Args))
}

func run(argv []string) int {
	args, isShell := ptyrec.ShellArgs(argv)
	if !isShell {
		args = argv[1:]
	}
	var prog program
	parser := kong.Must(&prog,
		kong.Name("producer"), kong.Description(description),
		kong.Vars{"version": version.Line("producer"), "config": configFile},
	)
	parsed, err := parse(parser, args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "producer: %v\n", err)
		if errors.As(err, new(*configError)) {
			return ptyrec.ExitConfig
		}
		return ptyrec.ExitUsage
	}
	ctx := context.Background() // of record, whose signals are for what it runs
	if parsed.Selected().Name != "record" {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		defer stop()
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	tel, err := telemetry.Start(ctx, "producer", prog.Telemetry, nil) // no logger: the terminal is somebody else's
	if err != nil {                                                   // no reason to keep anybody from logging in
		fmt.Fprintf(os.Stderr, "producer: %v; going on without\n", err)
		tel = telemetry.None()
	}
	defer tel.Stop()
	tel.Health.Add("producer", prog.way.checks())
	tracer := tel.Tracer.Tracer("tapedeck")
	err = parsed.Run(
		ptyrec.Deps{Connect: prog.connect, Meter: tel.Meter, Tracer: tracer, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ()},
		importer.Deps{Connect: prog.connect, Meter: tel.Meter, Tracer: tracer, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr},
	)
	var exit *ptyrec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit): // what is wrong has been said
		return exit.Code
	}
	fmt.Fprintf(os.Stderr, "producer: %v\n", err)
	return 1
}
