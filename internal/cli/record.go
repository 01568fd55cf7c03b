package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/tapedeck-io/tapedeck/internal/ptyrec"
	"github.com/tapedeck-io/tapedeck/internal/telemetry"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

type recordCommand struct {
	Dir            string      `help:"Directory of the 'tapedeck up' to speak to, unless --nats-url names another bus." env:"TAPEDECK_DIR" default:"${dir}" type:"path" placeholder:"DIR"`
	NATS           bus.Options `embed:"" group:"NATS, if it is not the one of --dir"`
	ptyrec.Command `embed:""`
}

// Help is the table of exit statuses.
func (c *recordCommand) Help() string { return ptyrec.ExitHelp }

// Run records a command, and ends with the command's status.
//
// Signals are for what it runs, which gets them from ptyrec, so they do not end
// the command's context. There is no logger: the terminal belongs to what runs.
func (c *recordCommand) Run(ctx context.Context) error {
	tel, err := telemetry.Start(ctx, "producer", telemetry.Options{}, nil)
	if err != nil { // no reason not to record
		fmt.Fprintf(os.Stderr, "tapedeck: %v; going on without\n", err)
		tel = telemetry.None()
	}
	defer tel.Stop()
	err = c.Command.Run(context.WithoutCancel(ctx), ptyrec.Deps{
		Connect: connectTo(c.Dir, c.NATS),
		Stdin:   os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Environ: os.Environ(),
		Meter:   tel.Meter, Tracer: tel.Tracer.Tracer("tapedeck"),
	})
	if exit, ok := errors.AsType[*ptyrec.ExitError](err); ok {
		return withStatus(exit.Code, nil) // it has said why
	}
	return err
}
