package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"

	"github.com/tapedeck-io/tapedeck/internal/version"
)

// Streams are what a command reads and writes.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

type commands struct {
	Log         logFlags         `embed:"" prefix:"log-" group:"Messages"`
	VersionFlag kong.VersionFlag `name:"version" help:"Print the version and end."`

	Up     upCommand     `cmd:"" help:"Run everything (NATS, S3, slicer, completer, access log) in this process, over one directory."`
	Demo   demoCommand   `cmd:"" help:"Show it working: record, finish, verify and replay a short session in a temporary directory."`
	Record recordCommand `cmd:"" help:"Run a command on a terminal of its own and record it."`
	Import importCommand `cmd:"" help:"Publish existing recordings: asciicast, typescript, recordings, JSON lines of events."`

	Ls     lsCommand     `cmd:"" help:"List sessions, live and finished."`
	Show   showCommand   `cmd:"" help:"Show one session: who, when, its parts, its events."`
	Play   playCommand   `cmd:"" help:"Play a session in this terminal."`
	Export exportCommand `cmd:"" help:"Write a session in another format."`
	Verify verifyCommand `cmd:"" help:"Check a recording against its manifest; the exit status says what is wrong."`
	Replay replayCommand `cmd:"" help:"Rebuild a recording from the bus alone and compare it with the one in S3."`
	Index  indexCommand  `cmd:"" help:"Make the seek index of finished sessions, for jumping and searching."`

	Serve serveCommand `cmd:"" help:"Serve the page in the browser and its API, for an installation whose services run apart."`
	Token tokenCommand `cmd:"" help:"Who may watch in the browser: make, list and take away tokens."`

	Access accessCommand `cmd:"" help:"Access sessions of proxies and tunnels: list, receive, forward."`

	Install    installCommand            `cmd:"" help:"Make the streams and the bucket of an installation whose services run apart."`
	Top        topCommand                `cmd:"" help:"Watch an installation at work: partitions, streams, sessions, and what is wrong."`
	Doctor     doctorCommand             `cmd:"" help:"Check what this installation can reach, and what is about to go wrong."`
	Version    versionCommand            `cmd:"" help:"Print the version."`
	Completion kongcompletion.Completion `cmd:"" help:"Print shell code for tab completion (bash, zsh, fish)."`
}

type logFlags struct {
	Level  string `help:"Least level of messages on standard error: debug, info, warn or error." enum:"debug,info,warn,error" default:"warn" env:"TAPEDECK_LOG_LEVEL"`
	Format string `help:"Their format: text or json." enum:"text,json" default:"text" env:"TAPEDECK_LOG_FORMAT"`
}

func (f logFlags) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	// The enum tag lets nothing through that does not parse.
	_ = level.UnmarshalText([]byte(f.Level))
	opts := &slog.HandlerOptions{Level: level}
	if f.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

const description = `Session recording on an event bus: what runs a session publishes its events to NATS JetStream,
and each session becomes one verifiable recording in S3 while it runs.

Start with: tapedeck demo; then tapedeck up, and in another terminal tapedeck record -- bash

Exit statuses: 0 good, 1 did not work, 2 wrong command line, 130 interrupted; verify: 3 truncated, 4 corrupt, 5 missing,
6 incomplete, 7 differs. record ends with the status of what it ran.`

// newParser is the command line. exit is called for --help.
func newParser(ctx context.Context, cmds *commands, s Streams, exit func(status int)) (*kong.Kong, error) {
	return kong.New(cmds,
		kong.Name(program),
		kong.Description(description),
		kong.Vars{"dir": defaultDir(), "version": version.Line(program)},
		kong.Writers(s.Out, s.Err),
		kong.Exit(exit),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 120}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(s),
	)
}

const program = "tapedeck"

// Main runs one command line, without the program's name, and returns the exit
// status. It returns when ctx is done, after a clean stop.
func Main(ctx context.Context, args []string, s Streams) int {
	var cmds commands
	exited := -1
	parser, err := newParser(ctx, &cmds, s, func(status int) { exited = status })
	if err != nil {
		return exitStatus(s.Err, program, fmt.Errorf("build the command line: %w", err))
	}
	kongcompletion.Register(parser)
	parsed, err := parser.Parse(args)
	if exited >= 0 { // --help was answered
		return exited
	}
	if err != nil {
		return usage(s.Err, err)
	}
	return exitStatus(s.Err, program, parsed.Run(cmds.Log.logger(s.Err)))
}

func usage(stderr io.Writer, err error) int {
	hint := program + " --help"
	if parse, ok := errors.AsType[*kong.ParseError](err); ok && parse.Context != nil && parse.Context.Selected() != nil {
		hint = parse.Context.Selected().Path() + " --help"
	}
	fmt.Fprintf(stderr, "%s: %s (see: %s)\n", program, oneLine(err.Error()), hint)
	return exitUsage
}

// defaultDir is where `up` keeps its data unless told otherwise.
func defaultDir() string {
	if d := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "tapedeck")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "share", "tapedeck")
	}
	return "tapedeck-data"
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(s Streams) error {
	_, err := fmt.Fprintln(s.Out, version.Line("tapedeck"))
	return err
}
