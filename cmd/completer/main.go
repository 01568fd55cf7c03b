// Completer makes finished recordings out of sessions that have ended. See
// completer --help.
package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/tapedeck-io/tapedeck/internal/completer"
	"github.com/tapedeck-io/tapedeck/internal/service"
	"github.com/tapedeck-io/tapedeck/internal/version"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

const description = `Makes finished recordings out of sessions that have ended. Any number of completers may run.

Exit status: 0 stopped by a signal, 1 could not start or go on, 2 wrong usage.`

type program struct {
	service.Reach   `embed:""`
	Completer       completer.Config `embed:"" group:"Completer"`
	service.Process `embed:""`
}

// Validate is called by kong: what is wrong here is wrong usage.
func (p *program) Validate() error {
	return errors.Join(p.Bus.Validate(), p.S3.Validate(), p.Telemetry.Validate(), p.Completer.Validate())
}

func (p *program) work(ctx context.Context, in service.Installation) error {
	warnOfRules(ctx, in.Store, in.Log)
	c, err := completer.New(p.Completer, completer.Deps{Conn: in.Conn, Layout: in.Layout, Store: in.Store, Bucket: p.S3.Bucket, Log: in.Log,
		Meter: in.Telemetry.Meter, Tracer: in.Telemetry.Tracer.Tracer("tapedeck")})
	if err != nil {
		return err
	}
	if err := in.Watch(c.Checks()); err != nil {
		return err
	}
	in.Log.Info("completer started", "version", version.String(), "bucket", p.S3.Bucket, "partitions", in.Layout.Partitions)
	return c.Run(ctx)
}

// warnOfRules warns of rules of the bucket that would cost recordings.
func warnOfRules(ctx context.Context, store *s3store.Store, log *slog.Logger) {
	warnings, err := store.LifecycleWarnings(ctx)
	if err != nil {
		log.Warn("lifecycle rules of the bucket not read", "err", err)
	}
	for _, w := range warnings {
		log.Warn("lifecycle rule of the bucket endangers recordings", "rule", w)
	}
}

func main() {
	var p program
	service.Main(service.Program{Name: "completer", About: description, Flags: &p, Reach: &p.Reach, Process: &p.Process,
		AwaitBucket: true, Work: p.work})
}
