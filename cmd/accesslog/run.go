package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/tapedeck-io/tapedeck/internal/accesslog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// run works until ctx is done.
func (p *program) run(ctx context.Context) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: p.LogLevel}))
	conn, err := bus.Connect(ctx, p.Bus, log)
	if err != nil {
		return err
	}
	defer conn.Close()
	layout, err := bus.Inspect(ctx, conn)
	if err != nil {
		return fmt.Errorf("read the installation: %w", err)
	}
	deps := accesslog.Deps{Conn: conn, Layout: layout, Log: log}
	if p.Config.NeedsStore() {
		store, err := s3store.Open(ctx, p.S3, log)
		if err != nil {
			return err
		}
		defer func() { _ = store.Close() }()
		if err := store.CheckBucket(ctx); err != nil {
			return err
		}
		deps.Store = store
	}
	if p.Health {
		return nil
	}
	consumer, err := accesslog.New(p.Config, deps)
	if err != nil {
		return err
	}
	return consumer.Run(ctx)
}
