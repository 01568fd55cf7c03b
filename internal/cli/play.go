package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"

	"github.com/tapedeck-io/tapedeck/internal/play"
	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

type playCommand struct {
	source
	play.Options
	target
}

// Help says what the keys do.
func (c *playCommand) Help() string {
	return `Keys: space pauses, left and right go 5 s back and on, . shows the next output while paused, + and - change the speed, q quits.

What a recording would set or ask of your terminal (clipboard, title, questions that answer as typed keys) is dropped unless --raw.`
}

// Run plays a session or a file in this terminal.
func (c *playCommand) Run(ctx context.Context, s Streams, log *slog.Logger) error {
	if err := c.Validate(); err != nil {
		return withStatus(exitUsage, err)
	}
	rec, err := c.openRecording(ctx, &c.target, log)
	if err != nil {
		return err
	}
	defer rec.close()
	rec.looked(ctx, c.source, "play", log)
	open := func(ctx context.Context) iter.Seq2[slicefmt.Record, error] {
		return rec.Records(ctx, recording.Range{})
	}
	if c.Follow {
		if open, err = c.follow(ctx, rec); err != nil {
			return err
		}
	}
	out, ok := s.Out.(*os.File)
	if !ok {
		return errors.New("play needs a file or a terminal to write to")
	}
	return play.OnTerminal(ctx, c.Options, open, out, s.Err)
}

// follow reads a session that is still live from the bus. One that is finished
// is played from where it is kept, and ends.
func (c *playCommand) follow(ctx context.Context, rec *opened) (play.Open, error) {
	if c.isFile() {
		return nil, withStatus(exitUsage, fmt.Errorf("follow %s: a file does not grow; --follow is for sessions", c.What))
	}
	if !rec.FromBus() {
		return func(ctx context.Context) iter.Seq2[slicefmt.Record, error] {
			return rec.Records(ctx, recording.Range{})
		}, nil
	}
	return func(ctx context.Context) iter.Seq2[slicefmt.Record, error] {
		return func(yield func(slicefmt.Record, error) bool) {
			live, err := rec.in.library().Follow(ctx, c.What)
			if err != nil {
				yield(slicefmt.Record{}, err)
				return
			}
			defer func() { _ = live.Close() }()
			live.Records(ctx, recording.Range{})(yield)
		}
	}, nil
}
