// Producer records sessions on the bus: it runs a command on a terminal, or
// serves as a login shell or as sshd's ForceCommand. See producer --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/alecthomas/kong"

	"github.com/tapedeck-io/tapedeck/internal/ptyrec"
	"github.com/tapedeck-io/tapedeck/internal/version"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

const description = `Records sessions on the event bus.

As a login shell (a link in /etc/shells, chsh) or sshd's ForceCommand ("ForceCommand /usr/bin/producer record") it runs what
the client asked for, or the account's shell, and takes its settings from the environment and from ` + configFile + `.

` + ptyrec.ExitHelp

type program struct {
	Config  configFlag       `name:"config" type:"path" placeholder:"FILE" env:"TAPEDECK_PRODUCER_CONFIG" help:"JSON file with settings: an object of flag names (nats-url, node, ...) and values. Flags and the environment win. Default: ${config}, if it is there."`
	Version kong.VersionFlag `name:"version" help:"Print the version and end."`
	Bus     bus.Options      `embed:"" group:"NATS"`

	Record ptyrec.Command `cmd:"" help:"Run a command, or a shell, and record it."`
}

func main() {
	os.Exit(run(os.Args))
}

func run(argv []string) int {
	args, isShell := ptyrec.ShellArgs(argv)
	if !isShell {
		args = argv[1:]
	}
	var prog program
	parser := kong.Must(&prog,
		kong.Name("producer"), kong.Description(description),
		kong.Vars{"version": version.Line("producer"), "config": configFile},
	)
	parsed, err := parse(parser, args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "producer: %v\n", err)
		if errors.As(err, new(*configError)) {
			return ptyrec.ExitConfig
		}
		return ptyrec.ExitUsage
	}
	parsed.BindTo(context.Background(), (*context.Context)(nil))
	err = parsed.Run(ptyrec.Deps{
		Connect: prog.connect,
		Stdin:   os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Environ: os.Environ(),
	})
	var exit *ptyrec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit): // what is wrong has been said
		return exit.Code
	}
	fmt.Fprintf(os.Stderr, "producer: %v\n", err)
	return 1
}

// connect tries until ctx is done.
func (p *program) connect(ctx context.Context) (*bus.Conn, bus.Layout, error) {
	return ptyrec.Connect(ctx, p.Bus)
}
