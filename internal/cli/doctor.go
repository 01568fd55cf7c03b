package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tapedeck-io/tapedeck/internal/stack"
	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/internal/version"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

type doctorCommand struct {
	Quick bool `help:"Only say whether bus and store answer."`
	target
}

// Help says what the marks mean.
func (c *doctorCommand) Help() string {
	return `Each line is marked: ok; warn, which works and will not for long, or not when something else fails; FAIL. Exit status: 1 if there is a FAIL.`
}

// An examination collects findings.
type examination struct {
	w      io.Writer
	failed int
}

func (e *examination) ok(format string, args ...any)   { e.line("ok  ", format, args...) }
func (e *examination) warn(format string, args ...any) { e.line("warn", format, args...) }
func (e *examination) fail(format string, args ...any) {
	e.failed++
	e.line("FAIL", format, args...)
}

func (e *examination) line(mark, format string, args ...any) {
	fmt.Fprintf(e.w, "%s  %s\n", mark, oneLine(fmt.Sprintf(format, args...)))
}

// Run checks what the installation can reach.
func (c *doctorCommand) Run(ctx context.Context, s Streams, log *slog.Logger) error {
	e := &examination{w: s.Out}
	e.ok("%s", version.Line("tapedeck"))
	if err := c.resolve(); err != nil {
		e.fail("%v", err)
		return withStatus(exitFailed, nil)
	}
	c.bus(ctx, e, log)
	c.store(ctx, e, log)
	if !c.Quick {
		c.disk(e)
	}
	if e.failed > 0 {
		return withStatus(exitFailed, nil)
	}
	return nil
}

func (c *doctorCommand) bus(ctx context.Context, e *examination, log *slog.Logger) {
	conn, err := bus.Connect(ctx, c.NATS, log)
	if err != nil {
		e.fail("bus: %v", err)
		return
	}
	defer conn.Close()
	rtt, err := conn.NATS().RTT()
	if err != nil {
		e.fail("bus: %v", err)
		return
	}
	e.ok("bus: %s, nats-server %s, round trip %v", c.NATS, conn.NATS().ConnectedServerVersion(), rtt.Round(time.Microsecond))
	layout, err := bus.Inspect(ctx, conn)
	switch {
	case errors.Is(err, bus.ErrNotInstalled):
		e.fail("streams: %v (start a slicer: it makes them)", err)
		return
	case err != nil:
		e.fail("streams: %v", err)
		return
	}
	e.ok("streams: %d partition(s), %d replica(s), room for %s in all", layout.Partitions, layout.Replicas, bytesText(layout.Total()))
	if c.Quick {
		return
	}
	for _, name := range layout.Streams() {
		c.stream(ctx, e, conn, name)
	}
	for p := range layout.Partitions {
		c.partition(ctx, e, conn, p)
	}
	c.fits(ctx, e, conn, layout)
}

// nearlyFull is the share of a stream's room from which on it is worth a word:
// there is time to act, and producers do not wait yet.
const nearlyFull = 0.8

func (c *doctorCommand) stream(ctx context.Context, e *examination, conn *bus.Conn, name string) {
	stream, err := conn.JetStream().Stream(ctx, name)
	if err != nil {
		e.fail("stream %s: %v", name, err)
		return
	}
	info := stream.CachedInfo()
	used := float64(info.State.Bytes) / float64(max(info.Config.MaxBytes, 1))
	say := e.ok
	if used > nearlyFull {
		say = e.warn
	}
	say("stream %s: %d messages, %s of %s (%.0f %%)", name, info.State.Msgs, bytesText(int64(info.State.Bytes)), bytesText(info.Config.MaxBytes), used*100)
	if info.Cluster != nil {
		for _, r := range info.Cluster.Replicas {
			if !r.Current || r.Offline {
				e.warn("stream %s: replica %s is not current (offline: %t, %d behind)", name, r.Name, r.Offline, r.Lag)
			}
		}
	}
}

// partition says who slices a partition, and how far behind.
func (c *doctorCommand) partition(ctx context.Context, e *examination, conn *bus.Conn, p int) {
	lease, err := uploadlog.ReadLease(ctx, conn, p)
	if err != nil {
		e.fail("partition %d: %v", p, err)
		return
	}
	if lease.Free {
		e.fail("partition %d: nobody slices it (start a slicer)", p)
		return
	}
	cursor, _, err := uploadlog.ReadCursor(ctx, conn, p)
	if err != nil && !errors.Is(err, uploadlog.ErrNotFound) {
		e.fail("partition %d: %v", p, err)
		return
	}
	stream, err := conn.JetStream().Stream(ctx, bus.EventStream(p))
	if err != nil {
		e.fail("partition %d: %v", p, err)
		return
	}
	state := stream.CachedInfo().State
	e.ok("partition %d: sliced by %s, fence %d; its cursor is %d messages behind the stream", p, lease.Owner, lease.Seq, state.LastSeq-min(cursor.Seq, state.LastSeq))
	if state.FirstSeq > cursor.Seq+1 {
		e.warn("partition %d: the stream begins at %d and the cursor is at %d: messages between were removed before they were archived", p, state.FirstSeq, cursor.Seq)
	}
}

func (c *doctorCommand) store(ctx context.Context, e *examination, log *slog.Logger) {
	begin := time.Now()
	store, err := c.openStore(ctx, log)
	if err != nil {
		e.fail("store: %v", err)
		return
	}
	defer func() { _ = store.Close() }()
	e.ok("store: bucket %s at %s answers, %v", c.S3.Bucket, endpointText(c.S3), time.Since(begin).Round(time.Millisecond))
	if c.Quick {
		return
	}
	warnings, err := store.LifecycleWarnings(ctx)
	if err != nil {
		e.warn("store: its lifecycle rules cannot be read: %v", err)
		return
	}
	for _, w := range warnings {
		e.warn("store: %s", w)
	}
}

func endpointText(o s3store.Options) string {
	if o.Endpoint == "" {
		return "AWS"
	}
	return o.Endpoint
}

// diskWarn is how little free space of `up`'s directory is worth a word.
const diskWarn = 2 << 30

func (c *doctorCommand) disk(e *examination) {
	running, err := stack.ReadConnect(c.Dir)
	if err != nil || running.S3.Endpoint != c.S3.Endpoint {
		return // the target is no `up` on this machine
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(c.Dir, &fs); err != nil {
		e.warn("disk: %s: %v", c.Dir, err)
		return
	}
	free := int64(fs.Bavail) * fs.Bsize
	say := e.ok
	if free < diskWarn {
		say = e.warn
	}
	say("disk: %s free in %s", bytesText(free), filepath.Clean(c.Dir))
}
