package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"github.com/tapedeck-io/tapedeck/internal/accessproxy"
	"github.com/tapedeck-io/tapedeck/internal/accessrecv"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

type accessCommand struct {
	Ls      accessLsCommand      `cmd:"" help:"List access sessions that a receiver has stored."`
	Receive accessReceiveCommand `cmd:"" help:"Receive access records over HTTP and websocket, and store them in a SQLite file."`
	Proxy   accessProxyCommand   `cmd:"" help:"Forward TCP and UDP, and tell the bus who came."`
}

type accessReceiveCommand struct {
	accessrecv.Command `embed:""`
}

// Help says what to send.
func (c *accessReceiveCommand) Help() string {
	return `POST to /access, or open a websocket there and send one batch a message: a JSON array of records, or the envelope
{"type":"newt/access-log","data":{"compressed":"<base64 of zlib>"}}. The header Tapedeck-Batch names the batch. 200 means that all of it is on
disk; 422 that the good records are, and which were refused; 503 that it should come again. GET /healthz says whether the file can be read.`
}

// Run receives until ctx is done.
func (c *accessReceiveCommand) Run(ctx context.Context, s Streams, log *slog.Logger) error {
	return c.Command.Run(ctx, accessrecv.Deps{
		Logger: log,
		Ready:  func(url string) { fmt.Fprintf(s.Out, "receiving access records at %s, into %s\n", url, c.DB) },
	})
}

type accessProxyCommand struct {
	Dir                 string      `help:"Directory of the 'tapedeck up' to speak to, unless --nats-url names another bus." env:"TAPEDECK_DIR" default:"${dir}" type:"path" placeholder:"DIR"`
	NATS                bus.Options `embed:"" group:"NATS, if it is not the one of --dir"`
	accessproxy.Command `embed:""`
}

// Run forwards until ctx is done.
func (c *accessProxyCommand) Run(ctx context.Context, s Streams, log *slog.Logger) error {
	return c.Command.Run(ctx, accessproxy.Deps{
		Connect: func(ctx context.Context) (*bus.Conn, error) {
			t := target{Dir: c.Dir, NATS: c.NATS}
			if err := t.resolve(); err != nil {
				return nil, err
			}
			return bus.Connect(ctx, t.NATS, log)
		},
		Stdout: s.Out,
		Ready:  func(addrs []net.Addr) { fmt.Fprintf(s.Err, "forwarding %s to %s\n", addrsText(addrs), c.To) },
		Logger: log,
	})
}

func addrsText(addrs []net.Addr) string {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.Network() + " " + a.String()
	}
	return strings.Join(texts, ", ")
}
