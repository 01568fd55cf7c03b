package main

import (
	"context"
	"fmt"
	"os"

	"github.com/tapedeck-io/tapedeck/internal/accesslog"
	"github.com/tapedeck-io/tapedeck/internal/telemetry"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// run works until ctx is done.
func (p *program) run(ctx context.Context) (err error) {
	defer func() {
		if ctx.Err() != nil {
			err = nil // what it was about to do was cut short because it was told to stop
		}
	}()
	log := p.Log.Logger(os.Stderr)
	if p.Health {
		if asked, err := p.Telemetry.Alive(ctx); asked {
			return err
		}
		p.Telemetry.MetricsAddr = telemetry.Off
	}
	tel, err := telemetry.Start(ctx, "accesslog", p.Telemetry, log)
	if err != nil {
		return err
	}
	defer tel.Stop()
	conn, err := bus.Connect(ctx, p.Bus, log)
	if err != nil {
		return err
	}
	defer conn.Close()
	layout, err := bus.Inspect(ctx, conn)
	if err != nil {
		return fmt.Errorf("read the installation: %w", err)
	}
	deps := accesslog.Deps{Conn: conn, Layout: layout, Log: log, Meter: tel.Meter, Tracer: tel.Tracer.Tracer("tapedeck")}
	p.S3.Tracer = tel.Spans()
	var store *s3store.Store
	if p.Config.NeedsStore() {
		if store, err = s3store.Open(ctx, p.S3, log); err != nil {
			return err
		}
		defer func() { _ = store.Close() }()
		deps.Store = store
	}
	if p.Health {
		if store == nil {
			return nil
		}
		return store.CheckBucket(ctx)
	}
	if store != nil {
		if err := tel.AwaitBucket(ctx, "accesslog", store); err != nil {
			return err
		}
	}
	consumer, err := accesslog.New(p.Config, deps)
	if err != nil {
		return err
	}
	if err := tel.Installation(conn, layout, store); err != nil {
		return err
	}
	tel.Health.Add("accesslog", consumer.Checks())
	return consumer.Run(ctx)
}
