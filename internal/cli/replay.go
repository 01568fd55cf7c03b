package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

type replayCommand struct {
	Session string `arg:"" name:"session" help:"Session id." placeholder:"SID"`
	Rebuild bool   `help:"Write the recording that the bus gives under a new key. The finished one stays as it is."`
	target
}

// Help says what is compared.
func (c *replayCommand) Help() string {
	return `Rebuilds the recording from the session's subject alone and compares it, event for event, with the object in S3. What has been trimmed from the bus is named by index; it is no difference.

Exit status: 0 the same; 7 different; 5 nothing to compare; 1 it could not be read.`
}

// Run replays a session from the bus.
func (c *replayCommand) Run(ctx context.Context, s Streams, log *slog.Logger) error {
	in, err := c.open(ctx, log)
	if err != nil {
		return err
	}
	defer in.close()
	if in.conn == nil {
		return errors.New("replay needs the bus, and it does not answer (see: tapedeck doctor)")
	}
	if c.Rebuild {
		return c.rebuild(ctx, s, in)
	}
	diff, err := compareWithBus(ctx, in, c.Session, s.Err)
	if err != nil {
		return replayError(err)
	}
	writeDiff(s.Out, diff)
	if !diff.Equal() {
		return withStatus(exitDiffers, nil)
	}
	return nil
}

func replayError(err error) error {
	if errors.Is(err, recording.ErrNotFound) || errors.Is(err, recording.ErrNotOnBus) {
		return withStatus(exitMissing, err)
	}
	return err
}

// compareWithBus holds a finished recording against what the bus has of it.
func compareWithBus(ctx context.Context, in *installation, sid string, progressTo io.Writer) (recording.Diff, error) {
	lib := in.library()
	info, err := lib.Find(ctx, sid)
	if err != nil {
		return recording.Diff{}, err
	}
	if info.Status != recording.Finished {
		return recording.Diff{}, fmt.Errorf("replay session %s: there is no recording to compare with: it is %s", sid, info.Status)
	}
	stored, err := lib.Open(ctx, sid)
	if err != nil {
		return recording.Diff{}, err
	}
	defer func() { _ = stored.Close() }()
	bar := newProgress(progressTo, "comparing", stored.Size(), false)
	defer bar.done()
	stored.OnRead(func(n int) { bar.add(int64(n)) })
	replayed, err := lib.FromBus(ctx, sid)
	if err != nil {
		return recording.Diff{}, err
	}
	defer func() { _ = replayed.Close() }()
	return recording.Compare(ctx, stored, replayed)
}

// writeDiff says what was the same and what was not. The first recording is the
// one in S3, the second the one from the bus.
func writeDiff(w io.Writer, d recording.Diff) {
	verdict := "the same"
	if !d.Equal() {
		verdict = "DIFFERENT"
	}
	fmt.Fprintf(w, "%s: %d events are in S3 and on the bus alike\n", verdict, d.Same)
	if d.TrimmedEvents > 0 {
		fmt.Fprintf(w, "  trimmed from the bus, so not compared: events %d to %d (%d)\n", d.Trimmed.From, d.Trimmed.To-1, d.TrimmedEvents)
	}
	for _, e := range d.Events {
		fmt.Fprintf(w, "  event %d differs: %s of %d bytes in S3, %s of %d bytes on the bus\n", e.Index, clean(e.TypeA), e.BytesA, clean(e.TypeB), e.BytesB)
	}
	if more := d.Other - int64(len(d.Events)); more > 0 {
		fmt.Fprintf(w, "  and %d more that differ\n", more)
	}
	writeOnly(w, "in S3", d.OnlyA, d.ListedA)
	writeOnly(w, "on the bus", d.OnlyB, d.ListedB)
}

func writeOnly(w io.Writer, where string, n int64, listed []slicefmt.Gap) {
	if n == 0 {
		return
	}
	fmt.Fprintf(w, "  only %s: %d events", where, n)
	for _, g := range listed {
		fmt.Fprintf(w, ", %d to %d", g.From, g.To-1)
	}
	fmt.Fprintln(w)
}

func (c *replayCommand) rebuild(ctx context.Context, s Streams, in *installation) error {
	built, err := in.library().Rebuild(ctx, c.Session, in.store)
	if err != nil {
		return replayError(err)
	}
	fmt.Fprintf(s.Out, "rebuilt %s: %d events in %d parts, %s\n", built.Key, built.Manifest.Events, len(built.Manifest.Parts), bytesText(built.Manifest.Bytes))
	if built.Trimmed.To > built.Trimmed.From {
		fmt.Fprintf(s.Out, "  trimmed from the bus, so not in it: events %d to %d\n", built.Trimmed.From, built.Trimmed.To-1)
	}
	if built.Bus.Late > 0 {
		fmt.Fprintf(s.Out, "  %d messages on the bus have no place in a recording and are not in it (see: tapedeck show %s)\n", built.Bus.Late, c.Session)
	}
	fmt.Fprintf(s.Out, "read it like a session: tapedeck verify %s\n", built.Name)
	return nil
}
