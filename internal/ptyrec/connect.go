package ptyrec

import (
	"context"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// Connect reaches the bus and reads its layout. It tries until ctx is done.
func Connect(ctx context.Context, opts bus.Options) (*bus.Conn, bus.Layout, error) {
	if deadline, ok := ctx.Deadline(); ok && opts.Wait == 0 {
		opts.Wait = time.Until(deadline)
	}
	if opts.Name == "" {
		opts.Name = "producer"
	}
	conn, err := bus.Connect(ctx, opts, nil)
	if err != nil {
		return nil, bus.Layout{}, err
	}
	layout, err := bus.Inspect(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, bus.Layout{}, err
	}
	return conn, layout, nil
}
