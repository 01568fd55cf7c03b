// Slicer turns the events of sessions into parts of recordings. See slicer --help.
package main

import (
	"context"
	"errors"

	"github.com/alecthomas/kong"

	"github.com/tapedeck-io/tapedeck/internal/service"
	"github.com/tapedeck-io/tapedeck/internal/slicer"
)

const description = `Turns the events of sessions, as they happen, into parts of recordings in S3. Any number of slicers may run; they
share the partitions among them.

Exit status: 0 stopped by a signal, 1 could not start or go on, 2 wrong usage.`

type program struct {
	service.Reach   `embed:""`
	Slicer          slicer.Config `embed:"" group:"Slicer"`
	service.Process `embed:""`
}

// Validate is called by kong: what is wrong here is wrong usage.
func (p *program) Validate() error {
	return errors.Join(p.Bus.Validate(), p.S3.Validate(), p.Telemetry.Validate(), p.Slicer.Validate())
}

func (p *program) work(ctx context.Context, in service.Installation) error {
	s, err := slicer.New(p.Slicer, slicer.Deps{Conn: in.Conn, Layout: in.Layout, Store: in.Store, Log: in.Log,
		Meter: in.Telemetry.Meter, Tracer: in.Telemetry.Tracer.Tracer("tapedeck")})
	if err != nil {
		return err
	}
	if err := in.Watch(s.Checks()); err != nil {
		return err
	}
	return s.Run(ctx)
}

func main() {
	var p program
	service.Main(service.Program{Name: "slicer", About: description, Flags: &p, Reach: &p.Reach, Process: &p.Process,
		Options: []kong.Option{kong.DefaultEnvars("TAPEDECK_SLICER")}, Work: p.work})
}
