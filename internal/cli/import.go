package cli

import (
	"context"

	"github.com/tapedeck-io/tapedeck/internal/importer"
	"github.com/tapedeck-io/tapedeck/internal/ptyrec"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

type importCommand struct {
	Dir              string      `help:"Directory of the 'tapedeck up' to speak to, unless --nats-url names another bus." env:"TAPEDECK_DIR" default:"${dir}" type:"path" placeholder:"DIR"`
	NATS             bus.Options `embed:"" group:"NATS, if it is not the one of --dir"`
	importer.Command `embed:""`
}

// Run publishes existing recordings as sessions.
func (c *importCommand) Run(ctx context.Context, s Streams) error {
	return c.Command.Run(ctx, importer.Deps{
		Connect: connectTo(c.Dir, c.NATS),
		Stdin:   s.In, Stdout: s.Out, Stderr: s.Err,
	})
}

// connectTo connects to the bus of the `up` over dir, or to the one that the
// options name.
func connectTo(dir string, nats bus.Options) func(context.Context) (*bus.Conn, bus.Layout, error) {
	return func(ctx context.Context) (*bus.Conn, bus.Layout, error) {
		t := target{Dir: dir, NATS: nats}
		if err := t.resolve(); err != nil {
			return nil, bus.Layout{}, err
		}
		return ptyrec.Connect(ctx, t.NATS)
	}
}
