package bus

import (
	"context"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Conn is one connection to NATS. It reconnects for ever, and is safe for
// concurrent use.
type Conn struct {
	nc *nats.Conn
	js jetstream.JetStream
}

// Connect connects, and returns once it is connected. log may be nil.
func Connect(ctx context.Context, o Options, log *slog.Logger) (*Conn, error) { return nil, nil }

// NATS is the client's connection.
func (c *Conn) NATS() *nats.Conn { return c.nc }

// JetStream is the client's JetStream on the connection.
func (c *Conn) JetStream() jetstream.JetStream { return c.js }

// Close closes the connection.
func (c *Conn) Close() {}
