package cli

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/tapedeck-io/tapedeck/internal/ptyrec"
	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/stack"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

type demoCommand struct {
	Keep bool `help:"Keep the directory and say where it is."`
}

// demoScript is the session that the demo records.
//
//go:embed demo.sh
var demoScript string

// demoWait bounds each wait for another part of the system.
const demoWait = 60 * time.Second

// Run does the main job once, in a directory of its own.
func (c *demoCommand) Run(ctx context.Context, s Streams, log *slog.Logger) (err error) {
	dir, err := os.MkdirTemp("", "tapedeck-demo-")
	if err != nil {
		return err
	}
	defer func() {
		if c.Keep {
			fmt.Fprintf(s.Out, "Kept: %s (start it with: tapedeck up --dir %s)\n", dir, dir)
		} else {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ready := make(chan stack.Info, 1)
	ended := make(chan error, 1)
	begin := time.Now()
	go func() {
		ended <- stack.Run(ctx, stack.Config{Dir: dir, Log: log}, func(i stack.Info) { ready <- i })
	}()
	select {
	case err := <-ended:
		return err
	case info := <-ready:
		d := &demo{Streams: s, log: log, info: info, sid: uuid.NewString()}
		d.step("NATS, S3, a slicer and a completer are up in %s, over %s", since(begin), dir)
		err = d.run(ctx)
	}
	stop()
	return errors.Join(err, <-ended)
}

// A demo is one run of it.
type demo struct {
	Streams
	log  *slog.Logger
	info stack.Info
	sid  string
	in   *installation
}

func (d *demo) step(format string, args ...any) {
	fmt.Fprintf(d.Out, "• "+format+"\n", args...)
}

func (d *demo) run(ctx context.Context) error {
	t := target{Dir: d.info.Dir, NATS: d.info.NATS, S3: d.info.S3}
	in, err := t.open(ctx, d.log)
	if err != nil {
		return err
	}
	defer in.close()
	d.in = in
	for _, part := range []func(context.Context) error{d.record, d.finish, d.verify, d.replay} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) record(ctx context.Context) error {
	d.step("recording session %s on a terminal of its own:\n", d.sid)
	quiet, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer quiet.Close()
	out, ok := d.Out.(*os.File)
	if !ok {
		out = quiet
	}
	begin := time.Now()
	command := ptyrec.Command{
		Argv: []string{"/bin/sh", "-c", demoScript}, Session: d.sid, Node: "demo", User: "demo", Login: "demo",
		PTY: "always", OnBusFailure: "block", ConnectTimeout: demoWait, EndTimeout: demoWait, Alive: time.Minute,
	}
	err = command.Run(ctx, ptyrec.Deps{
		Connect: func(ctx context.Context) (*bus.Conn, bus.Layout, error) { return ptyrec.Connect(ctx, d.info.NATS) },
		Stdin:   quiet, Stdout: out, Stderr: quiet,
		Environ: append(os.Environ(), "TERM=xterm-256color"),
		Logger:  d.log,
	})
	if err != nil {
		return fmt.Errorf("record the demo session: %w", err)
	}
	fmt.Fprintln(d.Out)
	d.step("recorded in %s; the bus has every event, synced to disk", since(begin))
	return nil
}

func (d *demo) finish(ctx context.Context) error {
	begin := time.Now()
	if err := waitFinished(ctx, d.in.library(), d.sid, demoWait); err != nil {
		return err
	}
	key := d.in.store.Key(d.sid + ".tar")
	object, err := d.in.store.Head(ctx, key)
	if err != nil {
		return err
	}
	d.step("finished %s after its end: %s/%s, %s", since(begin), d.info.S3.Bucket, key, bytesText(object.Size))
	return nil
}

func (d *demo) verify(ctx context.Context) error {
	begin := time.Now()
	report, err := d.in.library().Verify(ctx, d.sid, nil)
	if err != nil {
		return err
	}
	if report.Verdict != recording.OK {
		return errors.Join(writeReport(d.Out, d.sid, report), verdictStatus(report.Verdict))
	}
	d.step("checked against its manifest in %s: %s", since(begin), reportText(report))
	return nil
}

func (d *demo) replay(ctx context.Context) error {
	begin := time.Now()
	diff, err := compareWithBus(ctx, d.in, d.sid, d.Err)
	if err != nil {
		return err
	}
	if !diff.Equal() {
		writeDiff(d.Out, diff)
		return withStatus(exitDiffers, nil)
	}
	d.step("replayed from the bus in %s: all %d events are the same", since(begin), diff.Same)
	fmt.Fprintln(d.Out, "verified")
	return nil
}

func since(t time.Time) string { return durationText(time.Since(t)) }
