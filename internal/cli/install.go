package cli

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

type installCommand struct {
	Layout bus.Layout      `embed:"" group:"Streams (fixed once they are made)"`
	NATS   bus.Options     `embed:"" group:"NATS"`
	S3     s3store.Options `embed:"" group:"S3"`
}

// Help says what is made, and as whom.
func (c *installCommand) Help() string {
	return `Makes the streams and the bucket of an installation, or checks that those that are there are as asked for: it changes none. It needs a NATS user that may create streams; the services need none such. Without --s3-bucket only the streams are made.`
}

// Run makes what is missing.
func (c *installCommand) Run(ctx context.Context, s Streams, log *slog.Logger) error {
	conn, err := bus.Connect(ctx, c.NATS, log)
	if err != nil {
		return err
	}
	defer conn.Close()
	layout, err := bus.Ensure(ctx, conn, c.Layout)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "streams: %d partition(s), %d replica(s), room for %s in all\n", layout.Partitions, layout.Replicas, bytesText(layout.Total()))
	if c.S3.Bucket == "" {
		return nil
	}
	store, err := s3store.Open(ctx, c.S3, log)
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	if err := store.EnsureBucket(ctx); err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "bucket: %s at %s\n", c.S3.Bucket, endpointText(c.S3))
	return nil
}
