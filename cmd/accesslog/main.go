// Accesslog takes records of access sessions from the bus to where they are kept,
// and tells webhooks what became of recordings. See accesslog --help.
package main

import (
	"context"

	"github.com/alecthomas/kong"

	"github.com/tapedeck-io/tapedeck/internal/accesslog"
	"github.com/tapedeck-io/tapedeck/internal/service"
)

const description = `Delivers access-session records and notifications of recordings to sinks, each batch under one id until the sink has it.

For example: accesslog --sink s3 --sink parquet --sink http,url=https://example.com/log,token-env=TOKEN

Exits with 0 when told to stop, 1 when it cannot begin, 2 when the command line is wrong.`

type program struct {
	service.Process `embed:""`
	service.Reach   `embed:""`
	Config          accesslog.Config `embed:"" group:"Delivery"`
}

func (p *program) work(ctx context.Context, in service.Installation) error {
	deps := accesslog.Deps{Conn: in.Conn, Layout: in.Layout, Log: in.Log, Meter: in.Telemetry.Meter, Tracer: in.Telemetry.Tracer.Tracer("tapedeck")}
	if in.Store != nil {
		deps.Store = in.Store
	}
	consumer, err := accesslog.New(p.Config, deps)
	if err != nil {
		return err
	}
	if err := in.Watch(consumer.Checks()); err != nil {
		return err
	}
	return consumer.Run(ctx)
}

func main() {
	var p program
	service.Main(service.Program{Name: "accesslog", About: description, Flags: &p, Reach: &p.Reach, Process: &p.Process,
		Options:     []kong.Option{kong.ExplicitGroups([]kong.Group{{Key: "S3", Title: "S3 (for the sinks s3 and parquet)"}})},
		Asks:        "the bus, and the bucket if a sink needs it,",
		AwaitBucket: true, NeedsStore: func() bool { return p.Config.NeedsStore() }, Work: p.work})
}
