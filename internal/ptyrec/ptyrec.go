// Package ptyrec runs a command on a terminal of its own and records what it
// prints, or, where there is no terminal, runs it untouched and records that it
// ran. It is the record command of the producer and of tapedeck.
//
// # With a terminal
//
// The command gets a pseudo-terminal and the outer terminal goes raw, so that
// keys, colours and full-screen programs are as they would be without. Output
// is accepted by the recorder before it is shown: what a person has seen is in
// the recording. When the bus is away for so long that the recorder's queue is
// full, output waits, and after two seconds a line on the terminal says so; with
// the policy spool events go to disk instead, and are sent when the bus is back,
// by this session or the next one. When the recording cannot go on at all, or at
// once with the policy fail, the command is hung up: nothing goes on unrecorded.
// What is typed is not recorded, but for its echo.
//
// # Without one
//
// The command inherits standard input, output and error themselves, so that
// scp, sftp, rsync and git pass byte for byte. The recording has the session's
// start, the command with its exit status (an exec event), and the end. With
// --record-output it also has what the command wrote to standard output and
// error, as it came.
//
// In each case the outer terminal is put back as it was on every way out, the
// signals that a person or a service manager sends reach the command, and the
// exit status is the command's.
package ptyrec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
	"github.com/tapedeck-io/tapedeck/pkg/spool"
)

// A Command is the record command. Its fields are its manual.
type Command struct {
	Argv []string `arg:"" optional:"" passthrough:"partial" name:"command" help:"Command to run and its arguments. Default: $SSH_ORIGINAL_COMMAND if sshd set it, or else a shell."`

	ShellCommand string `name:"shell-command" short:"c" placeholder:"LINE" help:"Line for the shell to run, as sshd gives it to a login shell."`
	LoginShell   bool   `name:"login-shell" help:"Run the shell as a login shell. Implied by a name that begins with '-' and by sshd."`
	Shell        string `name:"shell" env:"TAPEDECK_SHELL" placeholder:"PATH" help:"Shell to run. Default: $$SHELL or the account's, unless that is this program; then bash or sh."`

	Node    string `name:"node" env:"TAPEDECK_NODE" help:"Name of this machine on the bus, 1 to 64 of A-Z a-z 0-9 _ -. Default: the host's name, with - for each other character."`
	Cluster string `name:"cluster" env:"TAPEDECK_CLUSTER" help:"Cluster name that every event carries."`
	User    string `name:"user" env:"TAPEDECK_USER" help:"Who the person is, where an account is shared. Default: $$USER."`
	Login   string `name:"login" help:"Account of the session. Default: $$LOGNAME."`
	Session string `name:"session-id" help:"Id of the session, 1 to 64 of A-Z a-z 0-9 _ -. Default: a random UUID, which is what it should be."`
	Reason  string `name:"reason" env:"TAPEDECK_REASON" help:"Why the session is held; goes into its start."`

	PTY          string `name:"pty" enum:"auto,always,never" default:"auto" help:"Give the command a terminal: auto (if standard input and output are one), always, never."`
	Size         Size   `name:"size" placeholder:"COLSxROWS" help:"Size of the terminal when there is none to take it from. Default: 80x24."`
	RecordOutput bool   `name:"record-output" env:"TAPEDECK_RECORD_OUTPUT" help:"Record the output of a command without a terminal too."`
	PrintSession bool   `name:"print-session" help:"Print the session's id on standard error before the command runs."`

	OnBusFailure recorder.Policy `name:"on-bus-failure" enum:"block,spool,fail" default:"block" env:"TAPEDECK_ON_BUS_FAILURE" help:"When the bus takes no events: block (output waits until it does), spool (events are kept in --spool-dir and sent when it does; sessions begin and end without the bus), fail (the command is hung up)."`
	Spool        SpoolDir        `embed:""`

	BusPatience    time.Duration `name:"bus-patience" default:"2s" env:"TAPEDECK_BUS_PATIENCE" help:"How long the bus may take for an event before spool or fail sets in; with spool also how long to try to reach it at the start."`
	ConnectTimeout time.Duration `name:"connect-timeout" default:"10s" env:"TAPEDECK_CONNECT_TIMEOUT" help:"How long to try to reach the bus before giving up with status 75; the command has not been run then."`
	EndTimeout     time.Duration `name:"end-timeout" default:"1m" env:"TAPEDECK_END_TIMEOUT" help:"How long the bus may take, once the command has ended, to accept the rest of the recording before giving up with status 74."`
	Alive          time.Duration `name:"alive" default:"10m" env:"TAPEDECK_ALIVE" help:"How often an idle session tells the bus that it lives; keep it well under the slicer's abandon time."`
}

// Deps are what a Command works with.
type Deps struct {
	// Connect reaches the bus. It should try until ctx is done; without a
	// deadline it may be called again and again. The connection is closed by Run.
	Connect func(ctx context.Context) (*bus.Conn, bus.Layout, error)
	// The outer terminal, or whatever stands in its place; all three are needed.
	Stdin, Stdout, Stderr *os.File
	// Environ is the environment, as os.Environ has it.
	Environ []string
	// Logger gets what is for no user's eyes; nil for none. It must not write
	// to the terminal.
	Logger *slog.Logger
	// Meter and Tracer, if not nil, measure and trace the session. A trace context
	// in the environment (TRACEPARENT) is the parent of its span.
	Meter  metric.Meter
	Tracer trace.Tracer
}

// Run records the command and returns nil if that ended with status 0, and
// otherwise an *ExitError. What a person must know is on Stderr already. When
// ctx is done the command gets a SIGTERM, and the recording is finished.
func (c *Command) Run(ctx context.Context, d Deps) error {
	r := &run{cmd: c, deps: d, env: environ(d.Environ), signals: watchSignals()}
	defer r.signals.stop()
	if d.Logger == nil {
		r.deps.Logger = slog.New(slog.DiscardHandler)
	}
	plan, err := c.plan(r.env)
	if err != nil {
		return r.fail(err)
	}
	r.plan = plan
	r.size, r.terminal = c.terminal(d)
	if err := r.begin(ctx); err != nil {
		return r.fail(err)
	}
	defer r.close()
	if c.PrintSession {
		r.say("session %s", r.session.ID())
	}
	r.sendLeftovers(ctx)
	return r.record(ctx)
}

// A run is one run of a Command.
type run struct {
	cmd     *Command
	deps    Deps
	env     environ
	signals *signals
	plan    plan

	terminal bool // the command gets a pseudo-terminal
	size     Size

	rec     *recorder.Recorder
	session *recorder.Session
	spool   *spool.Dir // nil without the policy

	leftovers     sync.WaitGroup
	stopLeftovers context.CancelFunc
}

// begin connects and starts the session, within the connect time-out.
func (r *run) begin(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, r.cmd.ConnectTimeout)
	defer stop()
	ctx, stop = r.signals.cancels(ctx)
	defer stop()
	err := r.connect(ctx)
	if err == nil {
		err = r.start(ctx)
	}
	if err == nil {
		return nil
	}
	if r.rec != nil {
		_ = r.rec.Close(ctx) // nothing has begun
	}
	if sig := r.signals.cause(ctx); sig != 0 {
		return &ExitError{Code: 128 + int(sig), Err: fmt.Errorf("%s before the session began", sig)}
	}
	return beginError(err)
}

func (r *run) connect(ctx context.Context) error {
	opts := recorder.Options{
		Node: r.cmd.node(), Cluster: r.cmd.Cluster, Alive: r.cmd.Alive, Logger: r.deps.Logger,
		Policy: r.cmd.OnBusFailure, Patience: r.cmd.BusPatience, Meter: r.deps.Meter, Tracer: r.deps.Tracer,
	}
	var err error
	if opts.Policy == recorder.PolicySpool {
		if r.spool, err = r.cmd.Spool.open(r.env); err != nil {
			return &ExitError{Code: ExitConfig, Err: fmt.Errorf("no recording, no session: %w; name a directory with --spool-dir", err)}
		}
		opts.Spool = r.spool
	}
	r.rec, err = recorder.Open(ctx, r.deps.Connect, opts)
	return err
}

func (c *Command) node() string {
	if c.Node == "" {
		return nodeName()
	}
	return c.Node
}

func (r *run) start(ctx context.Context) error {
	spec := recorder.LoadSpec(r.env.get)
	if r.cmd.User != "" {
		spec.User = r.cmd.User
	}
	if r.cmd.Login != "" {
		spec.Login = r.cmd.Login
	}
	spec.ID, spec.Reason = r.cmd.Session, r.cmd.Reason
	spec.InitialCommand = clip(r.plan.command)
	if r.terminal {
		spec.Width, spec.Height = r.size.Columns, r.size.Rows
	}
	var err error
	r.session, err = r.rec.Start(bus.WithTrace(ctx, r.env.get("TRACEPARENT")), spec)
	return err
}

// record runs the command and finishes the recording.
func (r *run) record(ctx context.Context) error {
	cmd := r.plan.exec(r.session.ID())
	cmd.Dir, _ = os.Getwd() // without one it inherits ours
	var status int
	var err error
	if r.terminal {
		status, err = r.runTerminal(ctx, cmd)
	} else {
		status, err = r.runPlain(ctx, cmd)
	}
	if !r.terminal {
		r.emitExec(ctx, status, err)
	}
	if endErr := r.end(); endErr != nil {
		return r.fail(endErr)
	}
	if err != nil {
		return r.fail(err)
	}
	return exitStatus(status)
}

// emitExec records the command of a session that has no terminal. What stands
// in the way of it stands in the way of the end too, which tells.
func (r *run) emitExec(ctx context.Context, status int, err error) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), r.cmd.EndTimeout)
	defer stop()
	e := &events.Exec{Command: &events.CommandMetadata{
		Command:  clip([]string{r.plan.line()})[0],
		ExitCode: fmt.Sprint(status),
	}}
	if err != nil {
		e.Command.Error = err.Error()
	}
	if err := r.session.Emit(ctx, e); err != nil {
		r.deps.Logger.Warn("record exec", "session", r.session.ID(), "err", err)
	}
}

// end finishes the session, also when ctx of the run is done.
func (r *run) end() error {
	if err := r.session.Err(); err != nil {
		return brokenError(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), r.cmd.EndTimeout)
	defer stop()
	patience := time.AfterFunc(sayAfter, func() {
		r.say("the event bus does not answer; waiting up to %s for it to take the rest of the recording", r.cmd.EndTimeout)
	})
	defer patience.Stop()
	if err := r.session.End(ctx); err != nil {
		closed, stop := context.WithCancel(ctx)
		stop()
		_ = r.session.Close(closed) // lets go; End has said what is wrong
		return brokenError(err)
	}
	return nil
}

// say tells the person something. On a raw terminal a line feed alone does not
// go back to the first column.
func (r *run) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.deps.Stderr, "tapedeck: "+format+"\r\n", args...) // nowhere to report to
}

// fail says what is wrong and returns it with its exit status.
func (r *run) fail(err error) error {
	var exit *ExitError
	if !errors.As(err, &exit) {
		exit = &ExitError{Code: ExitUsage, Err: err}
	}
	if exit.Err != nil {
		r.say("%v", exit.Err)
	}
	return exit
}
