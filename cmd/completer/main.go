// Completer makes finished recordings out of sessions that have ended. See
// completer --help.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/alecthomas/kong"

	"github.com/tapedeck-io/tapedeck/internal/completer"
	"github.com/tapedeck-io/tapedeck/internal/telemetry"
	"github.com/tapedeck-io/tapedeck/internal/version"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

const description = `Makes finished recordings out of sessions that have ended. Any number of completers may run.

Exit status: 0 stopped by a signal, 1 could not start or go on, 2 wrong usage.`

type program struct {
	Bus       bus.Options          `embed:"" group:"NATS"`
	S3        s3store.Options      `embed:"" group:"S3"`
	Completer completer.Config     `embed:"" group:"Completer"`
	Telemetry telemetry.Options    `embed:"" group:"Watching"`
	Log       telemetry.LogOptions `embed:"" group:"Watching"`
	Health    bool                 `help:"Only ask whether work gets through: of the process that listens on metrics-addr if there is one, else whether bus and bucket answer. Status 1 if not, and a line says why."`
	Version   kong.VersionFlag     `help:"Print the version and end."`
}

// Validate is called by kong: what is wrong here is wrong usage.
func (r *program) Validate() error {
	return errors.Join(r.Bus.Validate(), r.S3.Validate(), r.Telemetry.Validate(), r.Completer.Validate())
}

func main() {
	// Only for wrong usage does kong itself end with anything but 0.
	exit := kong.Exit(func(code int) { os.Exit(2 * min(code, 1)) })
	ctx := kong.Parse(&program{}, kong.Name("completer"), kong.Description(description), exit,
		kong.Vars{"version": version.Line("completer")})
	if err := ctx.Run(); err != nil {
		fmt.Fprintf(os.Stderr, "completer: %v\n", err)
		os.Exit(1)
	}
}
