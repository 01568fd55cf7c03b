package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/seekindex"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

type indexCommand struct {
	Sessions []string `arg:"" optional:"" name:"session" help:"Ids of finished sessions." placeholder:"SID"`
	All      bool     `help:"All finished sessions."`
	Anew     bool     `help:"Make an index also where there is a good one."`
	target
}

// Help says what an index is.
func (c *indexCommand) Help() string {
	return `The seek index lies beside a recording: pictures of the screen to jump to, what the seek bar shows, and a transcript that
can be searched. "tapedeck up" makes it by itself when a session is finished. It can be made again at any time.`
}

// Run makes indexes, and says for each session what it has.
func (c *indexCommand) Run(ctx context.Context, s Streams, log *slog.Logger) error {
	if c.All == (len(c.Sessions) > 0) {
		return withStatus(exitUsage, errors.New("index: name sessions, or say --all"))
	}
	for _, sid := range c.Sessions {
		if err := bus.ValidName(sid); err != nil {
			return withStatus(exitUsage, fmt.Errorf("index %q: %w", sid, err))
		}
	}
	in, err := c.open(ctx, log)
	if err != nil {
		return err
	}
	defer in.close()
	w := seekindex.NewWorker(in.library(), in.store, log)
	if !c.All {
		var errs []error
		for _, sid := range c.Sessions {
			errs = append(errs, c.index(ctx, s, in, w, sid))
		}
		return errors.Join(errs...)
	}
	var errs []error
	for obj, err := range in.store.ListFolder(ctx, in.store.Key(""), "") {
		if err != nil {
			return err
		}
		sid, ok := strings.CutSuffix(strings.TrimPrefix(obj.Key, in.store.Key("")), ".tar")
		if !ok || bus.ValidName(sid) != nil {
			continue
		}
		if err := c.index(ctx, s, in, w, sid); err != nil {
			errs = append(errs, err)
		}
		if len(errs) == 20 || ctx.Err() != nil {
			return errors.Join(append(errs, errors.New("index: giving up"))...)
		}
	}
	return errors.Join(errs...)
}

func (c *indexCommand) index(ctx context.Context, s Streams, in *installation, w *seekindex.Worker, sid string) error {
	if c.Anew {
		if err := c.drop(ctx, in, sid); err != nil {
			return err
		}
	}
	x, err := w.Ensure(ctx, sid)
	if errors.Is(err, recording.ErrRunning) {
		return withStatus(exitIncomplete, fmt.Errorf("%w: an index is made of a finished recording", err))
	}
	if err != nil {
		return source{What: sid}.hint(err)
	}
	t := x.Timeline()
	fmt.Fprintf(s.Out, "%s: %d events, %d keyframes, %d markers, %d problems\n", sid, x.Events(), len(t.Keyframes), len(t.Markers), len(t.Problems))
	return nil
}

// drop removes an index, so that it is made anew; of a session that is there.
func (c *indexCommand) drop(ctx context.Context, in *installation, sid string) error {
	info, err := in.library().Find(ctx, sid)
	if err != nil {
		return source{What: sid}.hint(err)
	}
	if info.Status != recording.Finished {
		return nil
	}
	return in.store.Delete(ctx, in.store.Key(sid+seekindex.Suffix))
}
