package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/tapedeck-io/tapedeck/internal/completer"
	"github.com/tapedeck-io/tapedeck/internal/telemetry"
	"github.com/tapedeck-io/tapedeck/internal/version"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// Run works until a signal comes. One that comes while it starts is followed as well.
func (r *program) Run() (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer func() {
		if ctx.Err() != nil {
			err = nil // what it was about to do was cut short because it was told to stop
		}
	}()
	log := r.Log.Logger(os.Stderr)
	if r.Health {
		if asked, err := r.Telemetry.Alive(ctx); asked {
			return err
		}
		r.Telemetry.MetricsAddr = telemetry.Off
	}
	tel, err := telemetry.Start(ctx, "completer", r.Telemetry, log)
	if err != nil {
		return err
	}
	defer tel.Stop()
	conn, err := bus.Connect(ctx, r.Bus, log)
	if err != nil {
		return err
	}
	defer conn.Close()
	layout, err := bus.Inspect(ctx, conn)
	if err != nil {
		return err
	}
	r.S3.Tracer = tel.Spans()
	store, err := s3store.Open(ctx, r.S3, log)
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	if r.Health {
		return store.CheckBucket(ctx)
	}
	if err := tel.AwaitBucket(ctx, "completer", store); err != nil {
		return err
	}
	warnOfRules(ctx, store, log)
	c, err := completer.New(r.Completer, completer.Deps{Conn: conn, Layout: layout, Store: store, Bucket: r.S3.Bucket, Log: log, Meter: tel.Meter, Tracer: tel.Tracer.Tracer("tapedeck")})
	if err != nil {
		return err
	}
	if err := tel.Installation(conn, layout, store); err != nil {
		return err
	}
	tel.Health.Add("completer", c.Checks())
	log.Info("completer started", "version", version.String(), "bucket", r.S3.Bucket, "partitions", layout.Partitions)
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
