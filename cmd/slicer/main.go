// Slicer turns the events of sessions into parts of recordings. See slicer --help.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/alecthomas/kong"

	"github.com/tapedeck-io/tapedeck/internal/slicer"
	"github.com/tapedeck-io/tapedeck/internal/telemetry"
	"github.com/tapedeck-io/tapedeck/internal/version"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

const description = `Turns the events of sessions, as they happen, into parts of recordings in S3. Any number of slicers may run; they
share the partitions among them.

Exit status: 0 stopped by a signal, 1 could not start or go on, 2 wrong usage.`

type program struct {
	Bus       bus.Options          `embed:"" group:"NATS"`
	S3        s3store.Options      `embed:"" group:"S3"`
	Slicer    slicer.Config        `embed:"" group:"Slicer"`
	Telemetry telemetry.Options    `embed:"" group:"Watching"`
	Log       telemetry.LogOptions `embed:"" group:"Watching"`
	Health    bool                 `help:"Only ask whether work gets through: of the process that listens on metrics-addr if there is one, else whether bus and bucket answer. Status 1 if not, and a line says why."`
	Version   kong.VersionFlag     `help:"Print the version and end."`
}

// Validate is called by kong: what is wrong here is wrong usage.
func (r *program) Validate() error {
	return errors.Join(r.Bus.Validate(), r.S3.Validate(), r.Telemetry.Validate(), r.Slicer.Validate())
}

func main() {
	ctx := kong.Parse(&program{}, kong.Name("slicer"), kong.Description(description), kong.DefaultEnvars("TAPEDECK_SLICER"),
		kong.Vars{"version": version.Line("slicer")},
		kong.Exit(func(code int) { os.Exit(2 * min(code, 1)) })) // kong itself ends with 0 or for wrong usage
	if err := ctx.Run(); err != nil {
		fmt.Fprintf(os.Stderr, "slicer: %v\n", err)
		os.Exit(1)
	}
}
