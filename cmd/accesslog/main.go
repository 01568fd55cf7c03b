// Accesslog takes records of access sessions from the bus to where they are kept,
// and tells webhooks what became of recordings. See accesslog --help.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/tapedeck-io/tapedeck/internal/accesslog"
	"github.com/tapedeck-io/tapedeck/internal/telemetry"
	"github.com/tapedeck-io/tapedeck/internal/version"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

const description = `Delivers access-session records and notifications of recordings to sinks, each batch under one id until the sink has it.

For example: accesslog --sink s3 --sink parquet --sink http,url=https://example.com/log,token-env=TOKEN

Exits with 0 when told to stop, 1 when it cannot begin, 2 when the command line is wrong.`

type program struct {
	Version   kong.VersionFlag     `name:"version" help:"Print the version and end."`
	Health    bool                 `name:"health" help:"Only ask whether work gets through: of the process that listens on metrics-addr if there is one, else whether the bus, and the bucket if a sink needs it, answer. Status 1 if not, and a line says why."`
	Telemetry telemetry.Options    `embed:"" group:"Watching"`
	Log       telemetry.LogOptions `embed:"" group:"Watching"`
	Bus       bus.Options          `embed:"" group:"NATS"`
	S3        s3store.Options      `embed:"" group:"S3 (for the sinks s3 and parquet)"`
	Config    accesslog.Config     `embed:"" group:"Delivery"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var p program
	parser := kong.Must(&p, kong.Name("accesslog"), kong.Description(description), kong.Vars{"version": version.Line("accesslog")})
	if _, err := parser.Parse(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "accesslog: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(2)
	}
	if err := p.run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "accesslog: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
		stop()
		os.Exit(1)
	}
}
