package main

import (
	"context"

	"github.com/alecthomas/kong"

	"github.com/tapedeck-io/tapedeck/internal/importer"
	"github.com/tapedeck-io/tapedeck/internal/ptyrec"
	"github.com/tapedeck-io/tapedeck/internal/telemetry"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

const description = `Records sessions on the event bus.

As a login shell (listed in /etc/shells) or sshd's ForceCommand ("ForceCommand /usr/bin/producer record") it runs what the
client asked for, or the account's shell, with settings from the environment and from ` + configFile + `.

` + ptyrec.ExitHelp + `

import ends with 1 if a file could not be imported whole, spool send if a session stays on disk.`

type program struct {
	Config    configFlag        `name:"config" type:"path" placeholder:"FILE" env:"TAPEDECK_PRODUCER_CONFIG" help:"JSON file with settings: an object of flag names (nats-url, node, ...) and values. Flags and the environment win. Default: ${config}, if it is there."`
	Version   kong.VersionFlag  `name:"version" help:"Print the version and end."`
	Bus       bus.Options       `embed:"" group:"NATS"`
	Telemetry telemetry.Options `embed:"" group:"Watching"`

	Record ptyrec.Command   `cmd:"" help:"Run a command, or a shell, and record it."`
	Import importer.Command `cmd:"" help:"Publish existing recordings: asciicast, typescript, recordings, JSON lines of events."`

	Spool ptyrec.SpoolCommand `cmd:"" help:"What waits on disk because the bus was away: list it, send it."`

	way way // to the bus, once there is one
}

// connect tries until ctx is done.
func (p *program) connect(ctx context.Context) (*bus.Conn, bus.Layout, error) {
	conn, layout, err := ptyrec.Connect(ctx, p.Bus)
	if err == nil {
		p.way.found(conn)
	}
	return conn, layout, err
}
