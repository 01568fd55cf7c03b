// Package importer publishes recordings that exist already as sessions on the
// bus, with their own times, so that they are archived like any other.
//
// It reads asciicast v2 and v3, script(1)'s typescript with its timing file,
// recordings (the parts of a session as they lie in S3), JSON lines of events, and
// folders of PNG pictures whose names are their times. Casts, typescripts and
// folders become new sessions, whose events are made here; of recordings and JSON
// lines the events are published as they are, byte for byte or as they read.
//
// A folder becomes a desktop session. Of each picture only the tiles of 64 by 64
// pixels that differ from the picture before are published.
//
// # What is kept
//
// An event's time is the start plus its time in the file, to the millisecond
// that events have. Input, markers, exit statuses and codes that nobody knows
// are no events of a session: they are left out, and counted.
//
// # Bad input
//
// A line or an event that cannot be taken ends the import of its file with an
// error that names file, line or event, and reason. What was good before it is
// published and the session ended, so that it becomes a finished recording of
// that much; the exit status is not zero. The same holds when the import is
// interrupted. Files after it are imported all the same.
//
// # Indexes
//
// Events of recordings and JSON lines keep their indexes, which must rise. If
// they do not begin at 0 or jump, the recording is marked as having gaps, which
// is true. --renumber numbers them anew instead. session.upload and session.data
// are left out: in the audit log they carry a reserved index.
package importer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A Command is the import command. Its fields are its manual.
type Command struct {
	Files  []string `arg:"" name:"file" help:"Files to import, each as a session. - is standard input. A folder of PNG pictures is a desktop session; the number at the end of a picture's name is its time: milliseconds since the start, or Unix milliseconds (13 digits)."`
	Format string   `enum:"auto,cast,typescript,recording,json" default:"auto" help:"What the files are: asciicast v2 or v3, typescript (needs --timing), recording, json (a line an event). auto looks at how each begins."`
	Timing string   `placeholder:"FILE" type:"path" help:"Timing file of the typescript, classic or advanced."`

	Session  string `name:"session-id" help:"Id of the session, for one file. Default: the one that the file's events have, or else a random UUID."`
	Node     string `name:"node" env:"TAPEDECK_NODE" help:"Name of the machine on the bus. Default: the host's name, with - for each other character."`
	Cluster  string `name:"cluster" env:"TAPEDECK_CLUSTER" help:"Cluster name that every event made here carries."`
	User     string `name:"user" env:"TAPEDECK_USER" help:"Who the person was (casts and typescripts). Default: $$USER."`
	Login    string `name:"login" help:"Account of the session. Default: $$LOGNAME."`
	Host     string `name:"host" help:"Host that the session was on, or the desktop's name. Default: this one."`
	Start    Moment `name:"start" placeholder:"TIME" help:"When it began (RFC 3339), if the file does not say. Default: when the file was last changed."`
	Windows  bool   `name:"windows" help:"A folder of pictures is of a Windows desktop, not of a Linux one."`
	Renumber bool   `name:"renumber" help:"Number the events of recordings and JSON lines from 0."`

	EndTimeout time.Duration `name:"end-timeout" default:"1m" help:"How long the bus may take, after an error or an interruption, to accept the rest and the end."`
}

// A Moment is a time on the command line.
type Moment struct{ time.Time }

// UnmarshalText reads RFC 3339.
func (m *Moment) UnmarshalText(b []byte) (err error) {
	if m.Time, err = time.Parse(time.RFC3339Nano, string(b)); err != nil {
		err = fmt.Errorf("%q is not a time like 2026-01-31T18:00:00Z", b)
	}
	return err
}

// Deps are what a Command works with.
type Deps struct {
	// Connect reaches the bus. The connection is closed by Run.
	Connect func(ctx context.Context) (*bus.Conn, bus.Layout, error)
	Stdin   io.Reader
	Stdout  io.Writer    // gets the session ids, a line each
	Meter   metric.Meter // nil: nothing is measured
	Tracer  trace.Tracer // nil: nothing is traced
	Stderr  io.Writer    // gets what is to be said, and a progress bar if it is a terminal
}

// Validate says what is wrong with the flags, everything at once.
func (c *Command) Validate() error {
	var wrong []error
	if c.Session != "" {
		if len(c.Files) > 1 {
			wrong = append(wrong, fmt.Errorf("--session-id is for one file, and there are %d", len(c.Files)))
		}
		if err := bus.ValidName(c.Session); err != nil {
			wrong = append(wrong, fmt.Errorf("--session-id %q: %w", c.Session, err))
		}
	}
	if c.Node != "" {
		if err := bus.ValidName(c.Node); err != nil {
			wrong = append(wrong, fmt.Errorf("--node %q: %w", c.Node, err))
		}
	}
	if c.Timing != "" && len(c.Files) > 1 {
		wrong = append(wrong, fmt.Errorf("--timing is for one typescript, and there are %d files", len(c.Files)))
	}
	if c.Timing == "" && c.Format == formatTypescript {
		wrong = append(wrong, errNoTiming)
	}
	return errors.Join(wrong...)
}

// Run imports the files one after the other. Its error is that of all files that
// could not be imported whole.
func (c *Command) Run(ctx context.Context, d Deps) error {
	if err := c.Validate(); err != nil {
		return err
	}
	conn, layout, err := d.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	var errs []error
	for _, name := range c.Files {
		if err := ctx.Err(); err != nil {
			errs = append(errs, fmt.Errorf("%s: not imported: %w", name, context.Cause(ctx)))
			continue
		}
		j := &job{cmd: c, deps: d, conn: conn, layout: layout, name: name}
		errs = append(errs, j.run(ctx))
	}
	return errors.Join(errs...)
}

// A job imports one file.
type job struct {
	cmd    *Command
	deps   Deps
	conn   *bus.Conn
	layout bus.Layout
	name   string // as it was given
	mtime  time.Time
	bar    *bar
	in     *bufio.Reader
}

// stdin is the name of standard input.
const stdin = "-"

func (j *job) run(ctx context.Context) error {
	if info, err := os.Stat(j.name); j.name != stdin && err == nil && info.IsDir() {
		j.mtime = info.ModTime()
		return j.importFrames(ctx)
	}
	file, size, err := j.open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	j.bar = newBar(j.deps.Stderr, "import "+j.name, size)
	defer j.bar.close()
	j.in = bufio.NewReaderSize(j.bar.reader(file), 64<<10)

	format := j.cmd.Format
	if format == "" || format == formatAuto {
		if format, err = detect(j.in); err != nil {
			return fmt.Errorf("%s: %w", j.name, err)
		}
	}
	switch format {
	case formatCast:
		return j.importCast(ctx)
	case formatTypescript:
		return j.importTypescript(ctx)
	case formatRecording:
		return j.importEvents(ctx, newRecordingFeed(j.in))
	case formatJSON:
		return j.importEvents(ctx, newJSONFeed(j.in))
	}
	return fmt.Errorf("%s: format %q is not one of auto, cast, typescript, recording, json", j.name, format)
}

// open opens the file. Its size is -1 if that is not known.
func (j *job) open(ctx context.Context) (io.ReadCloser, int64, error) {
	j.mtime = time.Now()
	if j.name == stdin {
		return newWaiting(ctx, j.deps.Stdin), -1, nil
	}
	f, err := os.Open(j.name)
	if err != nil {
		return nil, 0, fmt.Errorf("import: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	j.mtime = info.ModTime()
	if !info.Mode().IsRegular() {
		return f, -1, nil
	}
	return f, info.Size(), nil
}

// say writes a line for the person.
func (j *job) say(format string, a ...any) {
	j.bar.close()
	fmt.Fprintf(j.deps.Stderr, j.name+": "+format+"\n", a...)
}

func (j *job) node() string {
	if j.cmd.Node != "" {
		return j.cmd.Node
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "unknown"
	}
	valid := func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '-'
	}
	return strings.Map(valid, host[:min(len(host), 64)])
}

// ending is the context for what must be said although ctx may be done.
func (j *job) ending(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), max(j.cmd.EndTimeout, time.Second))
}
