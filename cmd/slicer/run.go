package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"go.opentelemetry.io/otel"

	"github.com/tapedeck-io/tapedeck/internal/slicer"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// Run works until a signal comes.
func (r *program) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opt := &slog.HandlerOptions{Level: r.LogLevel}
	log := slog.New(slog.NewTextHandler(os.Stderr, opt))
	if r.LogFormat == "json" {
		log = slog.New(slog.NewJSONHandler(os.Stderr, opt))
	}
	conn, err := bus.Connect(ctx, r.Bus, log)
	if err != nil {
		return err
	}
	defer conn.Close()
	layout, err := bus.Inspect(ctx, conn)
	if err != nil {
		return err
	}
	store, err := s3store.Open(ctx, r.S3, log)
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	if r.Health {
		return store.CheckBucket(ctx)
	}
	s, err := slicer.New(r.Slicer, slicer.Deps{Conn: conn, Layout: layout, Store: store, Log: log, Meter: otel.Meter("tapedeck")})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}
