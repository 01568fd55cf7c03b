package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/internal/play"
	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/seekindex"
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
	return play.OnTerminal(ctx, c.Options, open, c.jump(rec, log), out, s.Err)
}

// jump seeks by the index of a finished session, nil where there can be none. An
// index that is not there or is no good is only told of: playing from the start
// shows the same.
func (c *playCommand) jump(rec *opened, log *slog.Logger) play.Jump {
	if c.isFile() || rec.FromBus() {
		return nil
	}
	var index *seekindex.Index
	return func(ctx context.Context, at time.Duration) *play.Start {
		f, err := keyframe(ctx, rec, c.What, &index, at)
		if err != nil {
			log.Debug("seek from the start", "session", c.What, "err", err)
			return nil
		}
		return &play.Start{
			At: f.Clock.Last, Screen: f.Data, Width: f.Cols, Height: f.Rows, Decoder: cast.DecoderAt(f.Clock, f.Cols, f.Rows),
			Open: func(ctx context.Context) iter.Seq2[slicefmt.Record, error] {
				return rec.Records(ctx, recording.Range{FromIndex: f.Index + 1})
			},
		}
	}
}

// keyframe reads a picture out of an index, which is opened the first time.
func keyframe(ctx context.Context, rec *opened, sid string, index **seekindex.Index, at time.Duration) (seekindex.Frame, error) {
	if *index == nil {
		x, err := seekindex.Open(ctx, rec.in.store, sid)
		if err == nil && !x.Of(rec.Recording) {
			err = seekindex.ErrCorrupt
		}
		if err != nil {
			return seekindex.Frame{}, err
		}
		*index = x
	}
	return (*index).KeyframeBefore(ctx, at)
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
